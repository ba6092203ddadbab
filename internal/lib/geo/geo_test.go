package geo_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"anwang/internal/lib/geo"
)

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance }

func TestDistance(t *testing.T) {
	t.Parallel()
	cases := []struct {
		a, b            geo.Point
		want, tolerance float64
	}{
		{geo.Point{Lon: 118.65, Lat: 24.73}, geo.Point{Lon: 118.65, Lat: 24.73}, 0, 0},
		{geo.Point{}, geo.Point{Lon: 1}, 111195.08, 0.01},                                                       // a degree of the equator
		{geo.Point{}, geo.Point{Lon: 180}, math.Pi * 6371008.8, 0.001},                                          // antipodes
		{geo.Point{Lon: 116.4074, Lat: 39.9042}, geo.Point{Lon: 121.4737, Lat: 31.2304}, 1067_300, 1000},        // Beijing – Shanghai
		{geo.Point{Lon: 118.65, Lat: 24.73}, geo.Point{Lon: 118.65, Lat: 24.730001}, 0.1112, 0.0001},            // a decimetre
		{geo.Point{Lon: 118.65, Lat: 24.73}, geo.Point{Lon: 118.66, Lat: 24.73}, 1112 * math.Cos(0.43162), 0.5}, // along a parallel
	}
	for _, c := range cases {
		if got := geo.Distance(c.a, c.b); !near(got, c.want, c.tolerance) || got != geo.Distance(c.b, c.a) {
			t.Errorf("%v–%v: %f, want %f", c.a, c.b, got, c.want)
		}
	}
}

func TestLength(t *testing.T) {
	t.Parallel()
	track := []geo.Point{{}, {Lon: 1}, {Lon: 0}, {Lon: 0}}
	if got := geo.Length(track); !near(got, 2*111195.08, 0.02) {
		t.Errorf("there and back: %f", got)
	}
	if geo.Length(nil) != 0 || geo.Length(track[:1]) != 0 {
		t.Error("a track of one point has a length")
	}
}

func TestPointCheck(t *testing.T) {
	t.Parallel()
	cases := []struct {
		lon, lat float64
		want     error
	}{
		{118.6485, 24.7316, nil},
		{24.7316, 118.6485, geo.ErrSwapped},
		{39.47, 75.99, geo.ErrSwapped}, // Kashi: its longitude is a possible latitude
		{75.99, 39.47, nil},
		{122.34, 53.48, nil}, // Mohe
		{112.34, 16.83, nil}, // Yongxing
		{121.56, 25.04, nil}, // Taipei
		{0, 0, geo.ErrNotDegrees},
		{118648500, 24731600, geo.ErrNotDegrees},
		{math.NaN(), 24, geo.ErrNotDegrees},
		{118, math.Inf(1), geo.ErrNotDegrees},
		{-0.13, 51.5, geo.ErrOutsideChina},
		{139.7, 35.7, geo.ErrOutsideChina},
	}
	for _, c := range cases {
		if got := (geo.Point{Lon: c.lon, Lat: c.lat}).Check(); got != c.want {
			t.Errorf("%v, %v: %v, want %v", c.lon, c.lat, got, c.want)
		}
	}
	if !strings.Contains(geo.ErrSwapped.Error(), "经纬度可能填反") {
		t.Error("the hint has lost its words")
	}
}

// The expected values are those of the implementations that map makers in China use.
func TestConvertVectors(t *testing.T) {
	t.Parallel()
	cases := []struct {
		from, to       geo.CRS
		in, want       geo.Point
		toleranceMetre float64
	}{
		{geo.WGS84, geo.GCJ02, geo.Point{Lon: 116.404, Lat: 39.915}, geo.Point{Lon: 116.41024449916938, Lat: 39.91640428150164}, 1e-6},
		{geo.CGCS2000, geo.GCJ02, geo.Point{Lon: 116.404, Lat: 39.915}, geo.Point{Lon: 116.41024449916938, Lat: 39.91640428150164}, 1e-6},
		{geo.GCJ02, geo.BD09, geo.Point{Lon: 116.404, Lat: 39.915}, geo.Point{Lon: 116.41036949371029, Lat: 39.92133699351021}, 1e-3},
		{geo.BD09, geo.GCJ02, geo.Point{Lon: 116.404, Lat: 39.915}, geo.Point{Lon: 116.39762729119315, Lat: 39.90865673957631}, 0.5}, // theirs is approximate
		{geo.GCJ02, geo.WGS84, geo.Point{Lon: 116.404, Lat: 39.915}, geo.Point{Lon: 116.39775550083061, Lat: 39.91359571849836}, 2},  // theirs is approximate
	}
	for _, c := range cases {
		got, err := geo.Convert(c.in, c.from, c.to)
		if off := geo.Distance(got, c.want); err != nil || off > c.toleranceMetre {
			t.Errorf("%s → %s: %v %v, off by %g m", c.from, c.to, got, err, off)
		}
	}
	if _, err := geo.Convert(geo.Point{Lon: 116, Lat: 40}, "EPSG:3857", geo.WGS84); err == nil {
		t.Error("unknown source system accepted")
	}
	if _, err := geo.Convert(geo.Point{Lon: 116, Lat: 40}, geo.WGS84, ""); err == nil {
		t.Error("unknown target system accepted")
	}
}

func TestConvertThereAndBack(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	systems := []geo.CRS{geo.WGS84, geo.GCJ02, geo.BD09}
	worst, tested := 0.0, 0
	for tested < 20_000 {
		p := geo.Point{Lon: 76 + random.Float64()*58, Lat: 18 + random.Float64()*35}
		away := geo.Point{Lon: p.Lon + 0.02, Lat: p.Lat + 0.02}
		if !geo.InMainland(p) || !geo.InMainland(away) {
			continue
		}
		tested++
		for _, from := range systems {
			for _, to := range systems {
				there, _ := geo.Convert(p, from, to)
				back, _ := geo.Convert(there, to, from)
				if !geo.InMainland(there) {
					continue
				}
				worst = max(worst, geo.Distance(p, back))
				if shift := geo.Distance(p, there); from != to && (shift < 20 || shift > 2500) {
					t.Fatalf("%s → %s moves %v by %.0f m", from, to, p, shift)
				}
			}
		}
	}
	if worst > 1e-3 {
		t.Errorf("there and back misses by %g m", worst)
	}
	t.Logf("worst of %d places: %.2g m", tested, worst)
}

func TestInMainland(t *testing.T) {
	t.Parallel()
	inside := map[string]geo.Point{
		"石狮": {118.648, 24.732}, "石台": {117.486, 30.210}, "漠河": {122.539, 52.972}, "抚远": {134.308, 48.365},
		"喀什": {75.990, 39.470}, "霍尔果斯": {80.411, 44.214}, "丹东": {124.354, 40.000}, "珲春": {130.366, 42.863},
		"瑞丽": {97.855, 24.013}, "东兴": {107.972, 21.548}, "三亚": {109.512, 18.253}, "永兴岛": {112.338, 16.833},
		"平潭": {119.790, 25.500}, "舟山": {122.207, 29.985}, "深圳罗湖": {114.131, 22.548}, "深圳蛇口": {113.915, 22.480},
		"珠海拱北": {113.552, 22.219}, "横琴": {113.540, 22.130}, "亚东": {88.907, 27.485}, "墨脱": {95.333, 29.325},
		"二连浩特": {111.977, 43.653}, "满洲里": {117.379, 49.598}, "河口": {103.962, 22.508},
	}
	outside := map[string]geo.Point{
		"台北": {121.565, 25.033}, "高雄": {120.301, 22.627}, "澎湖": {119.566, 23.571}, "香港中环": {114.158, 22.281},
		"澳门": {113.559, 22.190}, "首尔": {126.978, 37.567}, "平壤": {125.754, 39.030}, "东京": {139.692, 35.690},
		"乌兰巴托": {106.906, 47.921}, "河内": {105.854, 21.029}, "岘港": {108.202, 16.054}, "马尼拉": {120.984, 14.600},
		"加德满都": {85.324, 27.717}, "廷布": {89.639, 27.473}, "新德里": {77.209, 28.614}, "阿拉木图": {76.929, 43.257},
		"海参崴": {131.885, 43.115}, "伦敦": {-0.128, 51.507}, "未填": {},
	}
	for name, p := range inside {
		if got, _ := geo.Convert(p, geo.WGS84, geo.GCJ02); got == p || !geo.InMainland(p) {
			t.Errorf("%s is left without offset", name)
		}
	}
	for name, p := range outside {
		for _, to := range []geo.CRS{geo.GCJ02, geo.BD09} {
			if got, _ := geo.Convert(p, geo.WGS84, to); got != p {
				t.Errorf("%s is moved to %v", name, got)
			}
		}
	}
}

func square(lon, lat, side float64) geo.Ring {
	return geo.Ring{{lon, lat}, {lon + side, lat}, {lon + side, lat + side}, {lon, lat + side}, {lon, lat}}
}

// cell integrates the area of width degrees of longitude between two latitudes of the ellipsoid numerically: metres of
// meridian times metres of parallel.
func cell(south, north, width float64) float64 {
	const a, e2, steps = 6378137.0, 0.00669438002290, 10_000
	sum, step := 0.0, (north-south)/steps
	for i := range steps {
		sin, cos := math.Sincos((south + (float64(i)+0.5)*step) * math.Pi / 180)
		w := math.Sqrt(1 - e2*sin*sin)
		sum += a / w * cos * a * (1 - e2) / (w * w * w)
	}
	return sum * step * width * math.Pi / 180 * math.Pi / 180
}

func TestArea(t *testing.T) {
	t.Parallel()
	world := geo.Ring{{-180, -90}, {0, -90}, {180, -90}, {180, 90}, {0, 90}, {-180, 90}, {-180, -90}}
	plot := square(117.5, 30.2, 0.001)
	plotArea := cell(30.2, 30.201, 0.001)
	cases := []struct {
		name  string
		shape geo.MultiPolygon
		want  float64
	}{
		{"the earth", geo.MultiPolygon{{world}}, 510_065_621_724_000},
		{"a degree at the equator", geo.MultiPolygon{{square(0, 0, 1)}}, cell(0, 1, 1)},
		{"a plot", geo.MultiPolygon{{plot}}, plotArea},
		{"with a hole", geo.MultiPolygon{{square(0, 0, 1), square(0.2, 0.2, 0.5)}}, cell(0, 1, 1) - cell(0.2, 0.7, 0.5)},
		{"hole of all", geo.MultiPolygon{{plot, plot}}, 0},
		{"two parts", geo.MultiPolygon{{plot}, {plot}}, 2 * plotArea},
		{"nothing", nil, 0},
	}
	for _, c := range cases {
		if got := c.shape.Area(); !near(got, c.want, c.want*1e-9) {
			t.Errorf("%s: %.3f, want %.3f", c.name, got, c.want)
		}
	}
	backwards := geo.Ring{plot[4], plot[3], plot[2], plot[1], plot[0]}
	if a, b := (geo.Polygon{plot}).Area(), (geo.Polygon{backwards}).Area(); !near(a, b, 1e-6) {
		t.Errorf("the direction matters: %f, %f", a, b)
	}
}

func TestContains(t *testing.T) {
	t.Parallel()
	shape := geo.MultiPolygon{
		{square(0, 0, 10), square(4, 4, 2)},
		{geo.Ring{{20, 0}, {30, 0}, {30, 10}, {25, 5}, {20, 10}, {20, 0}}}, // with a notch
	}
	cases := []struct {
		p    geo.Point
		want bool
	}{
		{geo.Point{Lon: 1, Lat: 1}, true}, {geo.Point{Lon: 5, Lat: 5}, false}, {geo.Point{Lon: 11, Lat: 5}, false},
		{geo.Point{Lon: 0, Lat: 0}, true}, {geo.Point{Lon: 10, Lat: 5}, true}, {geo.Point{Lon: 5, Lat: 10}, true}, // border
		{geo.Point{Lon: 4, Lat: 5}, true}, // border of the hole
		{geo.Point{Lon: 3, Lat: 4}, true}, // level with a corner of the hole
		{geo.Point{Lon: 25, Lat: 4.9}, true}, {geo.Point{Lon: 25, Lat: 5.1}, false}, {geo.Point{Lon: 25, Lat: 5}, true},
		{geo.Point{Lon: 15, Lat: 0}, false}, {geo.Point{Lon: math.NaN(), Lat: 1}, false},
	}
	for _, c := range cases {
		if got := shape.Contains(c.p); got != c.want {
			t.Errorf("%v: %t", c.p, got)
		}
	}
	if b := shape.Bounds(); b != (geo.Bounds{Min: geo.Point{}, Max: geo.Point{Lon: 30, Lat: 10}}) {
		t.Errorf("bounds %v", b)
	}
	if (geo.MultiPolygon{}).Bounds().Contains(geo.Point{}) {
		t.Error("an empty box contains something")
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		polygon geo.Polygon
		want    error
	}{
		{"square", geo.Polygon{square(118, 24, 1)}, nil},
		{"triangle", geo.Polygon{{{0, 0}, {1, 0}, {0, 1}, {0, 0}}}, nil},
		{"hole", geo.Polygon{square(118, 24, 1), square(118.2, 24.2, 0.1)}, nil},
		{"tapped twice", geo.Polygon{{{0, 0}, {1, 0}, {1, 0}, {0, 1}, {0, 0}, {0, 0}}}, nil},
		{"straight corner", geo.Polygon{{{0, 0}, {1, 0}, {2, 0}, {2, 2}, {0, 0}}}, nil},
		{"empty", geo.Polygon{}, geo.ErrTooFew},
		{"empty ring", geo.Polygon{{}}, geo.ErrTooFew},
		{"line", geo.Polygon{{{0, 0}, {1, 1}, {0, 0}}}, geo.ErrTooFew},
		{"one point four times", geo.Polygon{{{1, 1}, {1, 1}, {1, 1}, {1, 1}}}, geo.ErrTooFew},
		{"open", geo.Polygon{{{0, 0}, {1, 0}, {1, 1}, {0, 1}}}, geo.ErrNotClosed},
		{"bow tie", geo.Polygon{{{0, 0}, {1, 1}, {1, 0}, {0, 1}, {0, 0}}}, geo.ErrSelfCrossing},
		{"flat", geo.Polygon{{{0, 0}, {1, 0}, {2, 0}, {0, 0}}}, geo.ErrSelfCrossing},
		{"spike", geo.Polygon{{{0, 0}, {2, 0}, {1, 0}, {1, 1}, {0, 0}}}, geo.ErrSelfCrossing},
		{"spike at the start", geo.Polygon{{{1, 0}, {0, 0}, {0, 1}, {2, 0}, {0, 0}, {1, 0}}}, geo.ErrSelfCrossing},
		{"touches itself", geo.Polygon{{{0, 0}, {2, 0}, {2, 2}, {1, 0}, {0, 2}, {0, 0}}}, geo.ErrSelfCrossing},
		{"figure of eight", geo.Polygon{{{0, 0}, {1, 1}, {2, 0}, {2, 2}, {1, 1}, {0, 2}, {0, 0}}}, geo.ErrSelfCrossing},
		{"hole across", geo.Polygon{square(0, 0, 1), square(0.5, 0.5, 1)}, geo.ErrSelfCrossing},
		{"hole elsewhere", geo.Polygon{square(0, 0, 1), square(5, 5, 1)}, geo.ErrHoleOutside},
		{"not a number", geo.Polygon{{{0, 0}, {math.NaN(), 0}, {1, 1}, {0, 0}}}, geo.ErrNotDegrees},
		{"off the earth", geo.Polygon{{{0, 0}, {0, 118}, {1, 118}, {0, 0}}}, geo.ErrNotDegrees},
		{"too many", geo.Polygon{circle(geo.MaxPositions + 1)}, geo.ErrTooMany},
		{"large", geo.Polygon{circle(20_000)}, nil},
	}
	for _, c := range cases {
		if got := c.polygon.Validate(); !errors.Is(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	crossed := circle(5000)
	crossed[2500], crossed[2501] = crossed[2501], crossed[2500]
	if err := (geo.Polygon{crossed}).Validate(); !errors.Is(err, geo.ErrSelfCrossing) || !strings.Contains(err.Error(), "经度 117.0") {
		t.Errorf("crossing among many: %v", err)
	}
	if err := (geo.MultiPolygon{{square(0, 0, 1)}, {square(0, 0, 1)[:4]}}).Validate(); !errors.Is(err, geo.ErrNotClosed) || !strings.Contains(err.Error(), "第 2 块") {
		t.Errorf("second part: %v", err)
	}
	if err := (geo.MultiPolygon{}).Validate(); !errors.Is(err, geo.ErrTooFew) {
		t.Errorf("no parts: %v", err)
	}
}

// circle is a ring of n positions around 118° E 24° N.
func circle(n int) geo.Ring {
	ring := make(geo.Ring, n)
	for i := range n - 1 {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / float64(n-1))
		ring[i] = geo.Point{Lon: 118 + cos, Lat: 24 + sin}
	}
	ring[n-1] = ring[0]
	return ring
}

func TestGeoJSON(t *testing.T) {
	t.Parallel()
	const one = `{"type":"Polygon","coordinates":[[[118,24],[119,24],[119,25],[118,24]]]}`
	const two = `{"type":"MultiPolygon","coordinates":[[[[118,24],[119,24],[119,25],[118,24]]],[[[1,1],[2,1],[2,2],[1,1]]]]}`
	for in, want := range map[string]string{
		one: one,
		two: two,
		`{"type":"Feature","properties":{"name":"石狮"},"geometry":` + one + `}`:            one,
		strings.ReplaceAll(one, "24]", "24,12.5]"):                                        one, // with heights
		`{"type":"MultiPolygon","coordinates":[[[[118,24],[119,24],[119,25],[118,24]]]]}`: one,
	} {
		shape, err := geo.ParseGeoJSON([]byte(in))
		if err != nil || string(shape.GeoJSON()) != want || shape.Validate() != nil {
			t.Errorf("%s: %v, %s", in, err, shape.GeoJSON())
		}
	}
	for in, want := range map[string]error{
		``:                                     geo.ErrGeoJSON,
		`[]`:                                   geo.ErrGeoJSON,
		`{"type":"Point","coordinates":[1,2]}`: geo.ErrGeoJSON,
		`{"type":"Feature","geometry":null}`:   geo.ErrGeoJSON,
		`{"type":"Polygon"}`:                   geo.ErrGeoJSON,
		`{"type":"Polygon","coordinates":[[["118","24"]]]}`:                                            geo.ErrGeoJSON,
		`{"type":"Polygon","coordinates":[[[118]]]}`:                                                   geo.ErrGeoJSON,
		`{"type":"Polygon","coordinates":[[[24,118]]]}`:                                                geo.ErrSwapped,
		`{"type":"Polygon","coordinates":[[[500,500]]]}`:                                               geo.ErrNotDegrees,
		`{"type":"Polygon","coordinates":[[` + strings.Repeat("[1,1],", geo.MaxPositions) + `[1,1]]]}`: geo.ErrTooMany,
	} {
		if _, err := geo.ParseGeoJSON([]byte(in)); !errors.Is(err, want) {
			t.Errorf("%.60s: %v, want %v", in, err, want)
		}
	}
}

func TestMultiPolygonConvert(t *testing.T) {
	t.Parallel()
	shape := geo.MultiPolygon{{square(118, 24, 0.01), square(118.002, 24.002, 0.001)}}
	there, err := shape.Convert(geo.CGCS2000, geo.BD09)
	if err != nil {
		t.Fatal(err)
	}
	if there[0][0][0] == shape[0][0][0] || shape[0][0][0] != (geo.Point{Lon: 118, Lat: 24}) {
		t.Error("not converted, or converted in place")
	}
	if !near(there.Area(), shape.Area(), shape.Area()*0.03) || there.Validate() != nil {
		t.Errorf("area %f became %f", shape.Area(), there.Area())
	}
	if _, err := shape.Convert(geo.CGCS2000, "北京54"); err == nil {
		t.Error("unknown system accepted")
	}
}

func ExampleConvert() {
	p, _ := geo.Convert(geo.Point{Lon: 118.6485, Lat: 24.7316}, geo.CGCS2000, geo.GCJ02)
	fmt.Printf("%.6f, %.6f\n", p.Lon, p.Lat)
	// Output: 118.652983, 24.728627
}

func BenchmarkConvertInverse(b *testing.B) {
	for b.Loop() {
		_, _ = geo.Convert(geo.Point{Lon: 118.6485, Lat: 24.7316}, geo.BD09, geo.WGS84)
	}
}

func BenchmarkValidate(b *testing.B) {
	polygon := geo.Polygon{circle(5000)}
	for b.Loop() {
		_ = polygon.Validate()
	}
}
