package grid

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"anwang/internal/lib/geo"
)

// TrackPoint is one position that a phone noted.
type TrackPoint struct {
	Lon      float64   `json:"lon" doc:"经度，WGS-84"`
	Lat      float64   `json:"lat" doc:"纬度，WGS-84"`
	At       time.Time `json:"at" doc:"手机时钟"`
	Accuracy float64   `json:"accuracy,omitempty" minimum:"0" doc:"精度（米）"`
}

func (p TrackPoint) point() geo.Point { return geo.Point{Lon: p.Lon, Lat: p.Lat} }

// What makes a position useless or a movement unbelievable.
const (
	worstAccuracy = 200.0 // metres: a position of a cell tower says nothing about a visit
	trustedError  = 50.0  // metres of stated inaccuracy that count in favour of the officer
	fastest       = 50.0  // metres a second: nobody patrols at 180 km/h
	jumpFrom      = 300.0 // metres: below, satellites jump by themselves
	tolerance     = 10.0  // metres by which the stored track may deviate
	slack         = time.Minute
)

// track is what a phone noted on a patrol, checked.
type track struct {
	hash     string       // of all that was sent
	sent     int          // number of points that were sent
	points   []TrackPoint // the usable ones, in the order of time
	thinned  []TrackPoint // as stored
	jumps    int
	lengthOf float64
}

// readTrack checks what a phone sent. Points outside the patrol's time or outside China and those without accuracy are dropped, not refused: one glitch of a
// satellite receiver must not cost the patrol. The hash is over all points as sent, see trackHash.
func readTrack(sent []TrackPoint, from, to time.Time) track {
	t := track{hash: trackHash(sent), sent: len(sent)}
	for _, p := range sent {
		if p.point().Check() == nil && p.Accuracy <= worstAccuracy && !p.At.Before(from.Add(-slack)) && !p.At.After(to.Add(slack)) {
			t.points = append(t.points, p)
		}
	}
	slices.SortStableFunc(t.points, func(a, b TrackPoint) int { return a.At.Compare(b.At) })
	for i := 1; i < len(t.points); i++ {
		a, b := t.points[i-1], t.points[i]
		if d := geo.Distance(a.point(), b.point()); d > jumpFrom && d > fastest*b.At.Sub(a.At).Seconds() {
			t.jumps++
		}
	}
	t.thinned = thin(t.points)
	way := make([]geo.Point, len(t.thinned)) // the thinned way: standing still in jitter is no distance
	for i, p := range t.thinned {
		way[i] = p.point()
	}
	t.lengthOf = geo.Length(way)
	return t
}

// trackHash is SHA-256 over one line "lon,lat,milliseconds,accuracy\n" per point, numbers in their shortest decimal form, so that a phone can show the same.
func trackHash(points []TrackPoint) string {
	h := sha256.New()
	var line []byte
	number := func(f float64) []byte { return strconv.AppendFloat(line, f, 'f', -1, 64) }
	for _, p := range points {
		line = append(number(p.Lon), ',')
		line = append(number(p.Lat), ',')
		line = append(strconv.AppendInt(line, p.At.UnixMilli(), 10), ',')
		line = append(number(p.Accuracy), '\n')
		h.Write(line)
		line = line[:0]
	}
	return hex.EncodeToString(h.Sum(nil))
}

// thin leaves out points from which the rest tells within tolerance where the phone was at that time (Douglas and Peucker, in space and time). It works in blocks,
// so that a hostile track costs no quadratic time.
func thin(points []TrackPoint) []TrackPoint {
	const block = 128
	if len(points) < 3 {
		return points
	}
	keep := make([]bool, len(points))
	keep[0], keep[len(points)-1] = true, true
	for from := 0; from < len(points)-1; from += block {
		to := min(from+block, len(points)-1)
		keep[from], keep[to] = true, true
		mark(points, keep, from, to)
	}
	out := make([]TrackPoint, 0, len(points)/4)
	for i, p := range points {
		if keep[i] {
			out = append(out, p)
		}
	}
	return out
}

func mark(points []TrackPoint, keep []bool, from, to int) {
	at, worst := 0, tolerance
	for i := from + 1; i < to; i++ {
		if d := off(points[i], points[from], points[to]); d > worst {
			at, worst = i, d
		}
	}
	if at > 0 {
		keep[at] = true
		mark(points, keep, from, at)
		mark(points, keep, at, to)
	}
}

// off is how many metres p lies off where the phone would have been at that moment, had it gone straight and evenly from a to b. So a halt stays visible.
func off(p, a, b TrackPoint) float64 {
	share := 0.0
	if whole := b.At.Sub(a.At); whole > 0 {
		share = float64(p.At.Sub(a.At)) / float64(whole)
	}
	return geo.Distance(p.point(), geo.Point{Lon: a.Lon + share*(b.Lon-a.Lon), Lat: a.Lat + share*(b.Lat-a.Lat)})
}

// near says whether the phone was within radius metres of the site between from and to (phone clock, with a minute of slack), and how near it came. Without positions in that time
// the proof is Unknown and the distance nil.
func (t *track) near(site geo.Point, from, to time.Time, radius int) (Proof, *int) {
	nearest := math.Inf(1)
	for _, p := range t.points {
		if !p.At.Before(from.Add(-slack)) && !p.At.After(to.Add(slack)) {
			nearest = min(nearest, max(0, geo.Distance(p.point(), site)-min(p.Accuracy, trustedError)))
		}
	}
	if math.IsInf(nearest, 1) {
		return Unknown, nil
	}
	metres := int(math.Round(nearest))
	if nearest <= float64(radius) {
		return Verified, &metres
	}
	return Mismatch, &metres
}

// pack writes points for storage: [[lon,lat,milliseconds,accuracy],…].
func pack(points []TrackPoint) string {
	rows := make([][4]float64, len(points))
	for i, p := range points {
		rows[i] = [4]float64{p.Lon, p.Lat, float64(p.At.UnixMilli()), p.Accuracy}
	}
	return string(rawOf(rows))
}

// unpack reads what pack wrote.
func unpack(s string) ([]TrackPoint, error) {
	out := []TrackPoint{}
	if s == "" {
		return out, nil
	}
	var rows [][4]float64
	if err := json.Unmarshal([]byte(s), &rows); err != nil {
		return nil, fmt.Errorf("stored track: %w", err)
	}
	for _, r := range rows {
		out = append(out, TrackPoint{Lon: r[0], Lat: r[1], At: time.UnixMilli(int64(r[2])).UTC(), Accuracy: r[3]})
	}
	return out, nil
}
