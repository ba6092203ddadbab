package geo

import (
	"fmt"
	"math"
)

// CRS names a coordinate reference system. A stored position always carries one, and never GCJ-02 or BD-09 silently.
type CRS string

// The systems met in China. CGCS2000 is the legal frame; it differs from WGS-84, that of satellite receivers, by
// centimetres and is treated as equal. GCJ-02 is the encrypted frame of public maps (Amap, Tencent), BD-09 that of Baidu.
const (
	CGCS2000 CRS = "CGCS2000"
	WGS84    CRS = "WGS-84"
	GCJ02    CRS = "GCJ-02"
	BD09     CRS = "BD-09"
)

// Convert returns p, given in one system, in another. Going back and forth changes a point by less than a millimetre.
// Outside mainland China, and in Hong Kong, Macao and Taiwan, all systems are equal. The only error is an unknown system.
//
// Known weakness: the mainland is a coarse outline some kilometres beyond the border, so that no place in the mainland
// is ever left without its offset; a strip of foreign land along the border, and the New Territories north of
// 22.45° N, are shifted though they should not be.
func Convert(p Point, from, to CRS) (Point, error) {
	source, err := from.offset()
	if err != nil {
		return Point{}, err
	}
	target, err := to.offset()
	if err != nil {
		return Point{}, err
	}
	if from == to || !InMainland(p) {
		return p, nil
	}
	return target(invert(source, p)), nil
}

// Convert returns the shape in another system, see the function [Convert].
func (m MultiPolygon) Convert(from, to CRS) (MultiPolygon, error) {
	out := make(MultiPolygon, len(m))
	for i, polygon := range m {
		out[i] = make(Polygon, len(polygon))
		for j, ring := range polygon {
			out[i][j] = make(Ring, len(ring))
			for k, p := range ring {
				converted, err := Convert(p, from, to)
				if err != nil {
					return nil, err
				}
				out[i][j][k] = converted
			}
		}
	}
	return out, nil
}

// offset returns the function that takes WGS-84 into the system.
func (c CRS) offset() (func(Point) Point, error) {
	switch c {
	case CGCS2000, WGS84:
		return func(p Point) Point { return p }, nil
	case GCJ02:
		return toGCJ02, nil
	case BD09:
		return func(p Point) Point { return toBD09(toGCJ02(p)) }, nil
	}
	return nil, fmt.Errorf("未知坐标系“%s”", c)
}

// invert finds the point that offset takes to want. The offsets have no exact inverse, but vary so slowly from place to
// place that each step takes the error down to a few per cent of what it was.
func invert(offset func(Point) Point, want Point) Point {
	p := want
	for range 20 {
		got := offset(p)
		dLon, dLat := want.Lon-got.Lon, want.Lat-got.Lat
		p = Point{p.Lon + dLon, p.Lat + dLat}
		if math.Abs(dLon) < 1e-11 && math.Abs(dLat) < 1e-11 {
			break
		}
	}
	return p
}

// toGCJ02 is the published approximation of the state offset, on the Krassowsky ellipsoid.
func toGCJ02(p Point) Point {
	const a, e2 = 6378245.0, 0.00669342162296594323
	x, y := p.Lon-105, p.Lat-35
	wave := func(v, amplitude, period float64) float64 { return amplitude * math.Sin(v*math.Pi/period) * 2 / 3 }

	ripple := wave(x, 20, 1.0/6) + wave(x, 20, 0.5)
	north := -100 + 2*x + 3*y + 0.2*y*y + 0.1*x*y + 0.2*math.Sqrt(math.Abs(x)) + ripple +
		wave(y, 20, 1) + wave(y, 40, 3) + wave(y, 160, 12) + wave(y, 320, 30)
	east := 300 + x + 2*y + 0.1*x*x + 0.1*x*y + 0.1*math.Sqrt(math.Abs(x)) + ripple +
		wave(x, 20, 1) + wave(x, 40, 3) + wave(x, 150, 12) + wave(x, 300, 30)

	sin, cos := math.Sincos(radians(p.Lat))
	w := math.Sqrt(1 - e2*sin*sin)
	meridian, parallel := a*(1-e2)/(w*w*w), a/w*cos // radii of curvature: metres to radians
	return Point{p.Lon + degrees(east/parallel), p.Lat + degrees(north/meridian)}
}

// toBD09 takes GCJ-02 into BD-09: a turn, a stretch and a shift.
func toBD09(p Point) Point {
	const turns = math.Pi * 3000 / 180
	r := math.Hypot(p.Lon, p.Lat) + 0.00002*math.Sin(p.Lat*turns)
	angle := math.Atan2(p.Lat, p.Lon) + 0.000003*math.Cos(p.Lon*turns)
	sin, cos := math.Sincos(angle)
	return Point{r*cos + 0.0065, r*sin + 0.006}
}

// InMainland reports whether p lies where the offsets of GCJ-02 and BD-09 apply, see [Convert] for its precision.
func InMainland(p Point) bool {
	return mainland.contains(p) && !hongKong.Contains(p) && !macao.Contains(p)
}

// The boxes leave out the rims towards Shenzhen and Zhuhai, where no box can tell the two sides apart.
var (
	hongKong = Bounds{Min: Point{113.84, 22.15}, Max: Point{114.42, 22.45}}
	macao    = Bounds{Min: Point{113.556, 22.11}, Max: Point{113.60, 22.205}}
)

// mainland is a coarse outline of the mainland and the islands of the South China Sea, drawn outside the border. It
// passes west of Taiwan and Penghu.
var mainland = Ring{
	// west and north
	{73.2, 39.3}, {73.6, 40.2}, {75.5, 40.9}, {78.0, 41.6}, {79.7, 42.4}, {80.1, 43.2}, {79.7, 45.0}, {82.2, 45.7},
	{82.1, 47.4}, {85.0, 47.4}, {85.3, 48.7}, {86.8, 49.5}, {88.2, 49.3}, {90.2, 48.1}, {91.3, 46.9}, {91.0, 45.5},
	{93.8, 45.3}, {95.6, 44.6}, {96.5, 43.1}, {101.0, 43.0}, {105.0, 42.0}, {107.5, 42.8}, {110.0, 43.1}, {111.1, 44.3},
	{111.5, 45.3}, {114.0, 45.4}, {116.3, 46.6}, {118.6, 46.9}, {117.3, 47.3}, {115.3, 47.3}, {115.3, 48.3}, {116.3, 50.2},
	{119.0, 50.1}, {119.8, 53.5}, {123.5, 53.9}, {126.2, 53.3}, {128.0, 50.3}, {130.9, 49.3}, {135.4, 48.8},
	// east
	{134.9, 47.4}, {133.3, 44.8}, {131.4, 44.6}, {131.6, 43.0}, {130.8, 42.1}, {129.6, 42.2}, {128.2, 41.2}, {126.9, 41.3},
	{124.6, 39.6}, {123.3, 37.6}, {122.3, 36.0}, {123.4, 30.5}, {121.9, 27.0}, {120.2, 25.7}, {119.0, 24.2}, {117.8, 22.9},
	// South China Sea
	{117.6, 20.2}, {118.6, 16.0}, {118.6, 14.8}, {116.5, 11.5}, {115.5, 8.2}, {112.5, 3.7}, {110.0, 5.0}, {110.2, 12.0},
	{110.6, 15.6}, {109.0, 17.6}, {108.2, 18.3},
	// south and south-west
	{108.1, 21.4}, {106.6, 21.4}, {106.4, 22.6}, {105.3, 22.9}, {104.0, 22.4}, {102.5, 22.2}, {101.8, 21.0}, {101.0, 21.0},
	{100.0, 21.3}, {98.8, 22.0}, {98.4, 23.8}, {97.4, 23.7}, {97.4, 25.0}, {97.9, 25.7}, {98.5, 27.4}, {97.0, 27.6},
	{95.5, 26.9}, {93.5, 26.7}, {91.8, 26.6}, {91.3, 27.7}, {89.6, 28.0}, {89.1, 27.0}, {88.6, 27.1}, {88.4, 27.8},
	{86.0, 27.6}, {84.0, 28.4}, {82.0, 29.6}, {80.8, 29.8}, {78.3, 31.0}, {78.2, 32.5}, {77.7, 35.2}, {76.0, 35.5},
	{74.2, 36.8}, {73.6, 38.2}, {73.2, 39.3},
}
