package geo

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
)

// Ring is a closed line: the last point repeats the first.
type Ring []Point

// Polygon is an outer ring followed by the rings of its holes, in any direction of turning.
type Polygon []Ring

// MultiPolygon is a shape of several parts, such as a county with an exclave.
type MultiPolygon []Polygon

// MaxPositions is the largest number of points that a shape may have. Checking takes quadratic time at worst: a hostile
// shape of this size costs about a second.
const MaxPositions = 50_000

// What is wrong with a shape; the text of the errors that wrap these is for the person who drew it.
var (
	ErrTooFew       = errors.New("区域的边界至少要有 3 个不同的点")
	ErrTooMany      = fmt.Errorf("区域的边界点过多（上限 %d 个），请先抽稀", MaxPositions)
	ErrNotClosed    = errors.New("区域的边界没有闭合：最后一点应与第一点相同")
	ErrSelfCrossing = errors.New("区域的边界自相交")
	ErrHoleOutside  = errors.New("区域中的空洞超出了外边界")
)

// Points yields every point of the shape, the closing ones included.
func (m MultiPolygon) Points() iter.Seq[Point] {
	return func(yield func(Point) bool) {
		for _, polygon := range m {
			for _, ring := range polygon {
				for _, p := range ring {
					if !yield(p) {
						return
					}
				}
			}
		}
	}
}

// Bounds returns the bounding box of the shape.
func (m MultiPolygon) Bounds() Bounds { return BoundsOf(m.Points()) }

// Contains reports whether p lies in one of the parts or on its border.
func (m MultiPolygon) Contains(p Point) bool {
	return slices.ContainsFunc(m, func(polygon Polygon) bool { return polygon.Contains(p) })
}

// Contains reports whether p lies in the polygon or on its border; the border of a hole belongs to the polygon. Degrees
// are taken for plane coordinates, as maps draw them.
func (g Polygon) Contains(p Point) bool {
	inside := false
	for _, ring := range g {
		for i := 1; i < len(ring); i++ {
			if onSegment(p, ring[i-1], ring[i]) {
				return true
			}
		}
		inside = inside != ring.contains(p)
	}
	return inside
}

// contains counts how often a ray from p to the east crosses the ring; points on the border fall on either side.
func (r Ring) contains(p Point) bool {
	inside := false
	for i := 1; i < len(r); i++ {
		a, b := r[i-1], r[i]
		if (a.Lat > p.Lat) != (b.Lat > p.Lat) && p.Lon < a.Lon+(b.Lon-a.Lon)*(p.Lat-a.Lat)/(b.Lat-a.Lat) {
			inside = !inside
		}
	}
	return inside
}

// Area returns the area in square metres on the ellipsoid of CGCS2000, holes taken off. Edges are taken for straight
// lines on an equal-area map, which for edges below 10 km makes less than one part in a million.
func (m MultiPolygon) Area() float64 {
	sum := 0.0
	for _, polygon := range m {
		sum += polygon.Area()
	}
	return sum
}

// Area returns the area in square metres, see [MultiPolygon.Area].
func (g Polygon) Area() float64 {
	sum := 0.0
	for i, ring := range g {
		if i == 0 {
			sum = ring.area()
		} else {
			sum -= ring.area()
		}
	}
	return sum
}

// area projects the ring on the Lambert cylindrical equal-area map of the ellipsoid and takes the plane area there.
func (r Ring) area() float64 {
	const a, f = 6378137.0, 1 / 298.257222101 // CGCS2000
	const e2 = f * (2 - f)
	e := math.Sqrt(e2)
	northing := func(lat float64) float64 {
		s := math.Sin(radians(lat))
		return a * (1 - e2) / 2 * (s/(1-e2*s*s) + math.Atanh(e*s)/e)
	}
	sum := 0.0
	for i := 1; i < len(r); i++ {
		// Measured from the first point, so that a small ring far from the origin does not drown in rounding.
		west, east := radians(r[i-1].Lon-r[0].Lon), radians(r[i].Lon-r[0].Lon)
		south, north := northing(r[i-1].Lat)-northing(r[0].Lat), northing(r[i].Lat)-northing(r[0].Lat)
		sum += a * (west*north - east*south)
	}
	return math.Abs(sum) / 2
}

// Validate checks each part, see [Polygon.Validate]. Overlapping parts are not noticed.
func (m MultiPolygon) Validate() error {
	if len(m) == 0 {
		return ErrTooFew
	}
	for i, polygon := range m {
		if err := polygon.Validate(); err != nil {
			if len(m) > 1 {
				return fmt.Errorf("第 %d 块：%w", i+1, err)
			}
			return err
		}
	}
	return nil
}

// Validate checks that the polygon encloses an area: every ring is closed, has at least four positions and neither
// crosses nor touches itself or another ring, and holes lie within. A point set twice in a row, as a finger does on a
// phone, is no fault.
func (g Polygon) Validate() error {
	if len(g) == 0 {
		return ErrTooFew
	}
	edges, positions := []edge(nil), 0
	for i, ring := range g {
		for k, p := range ring {
			if !p.onEarth() {
				return fmt.Errorf("第 %d 点：%w", k+1, ErrNotDegrees)
			}
		}
		if positions += len(ring); positions > MaxPositions {
			return ErrTooMany
		}
		points := slices.Compact(slices.Clone(ring))
		if len(points) > 1 && points[0] != points[len(points)-1] {
			return ErrNotClosed
		}
		if len(points) < 4 {
			return ErrTooFew
		}
		for k := 1; k < len(points); k++ {
			edges = append(edges, newEdge(points[k-1], points[k], i, k, len(points)-1))
		}
	}
	if p, crossing := findCrossing(edges); crossing {
		return fmt.Errorf("%w：在经度 %.6f、纬度 %.6f 附近，请调整边界点的顺序或位置", ErrSelfCrossing, p.Lon, p.Lat)
	}
	for _, hole := range g[1:] {
		if !g[0].contains(hole[0]) {
			return ErrHoleOutside
		}
	}
	return nil
}

// edge is one side of a ring: the number-th of count.
type edge struct {
	a, b                Point
	box                 Bounds
	ring, number, count int
}

func newEdge(a, b Point, ring, number, count int) edge {
	return edge{a, b, BoundsOf(slices.Values([]Point{a, b})), ring, number, count}
}

// findCrossing returns a point near a place where two edges meet that should not. Sorting by longitude leaves only
// edges to be compared that lie above one another.
func findCrossing(edges []edge) (Point, bool) {
	slices.SortFunc(edges, func(e, f edge) int {
		switch {
		case e.box.Min.Lon < f.box.Min.Lon:
			return -1
		case e.box.Min.Lon > f.box.Min.Lon:
			return 1
		}
		return 0
	})
	for i := range edges {
		e := &edges[i]
		for j := i + 1; j < len(edges) && edges[j].box.Min.Lon <= e.box.Max.Lon; j++ {
			f := &edges[j]
			if f.box.Min.Lat > e.box.Max.Lat || f.box.Max.Lat < e.box.Min.Lat {
				continue
			}
			if e.meets(f) {
				return f.a, true
			}
		}
	}
	return Point{}, false
}

// meets reports whether two edges have a point in common that they should not have: neighbours share their corner.
func (e *edge) meets(f *edge) bool {
	if e.ring == f.ring {
		switch {
		case e.number%e.count+1 == f.number:
			return onSegment(f.b, e.a, e.b) || onSegment(e.a, f.a, f.b)
		case f.number%f.count+1 == e.number:
			return onSegment(e.b, f.a, f.b) || onSegment(f.a, e.a, e.b)
		}
	}
	return turn(e.a, e.b, f.a)*turn(e.a, e.b, f.b) < 0 && turn(f.a, f.b, e.a)*turn(f.a, f.b, e.b) < 0 ||
		onSegment(f.a, e.a, e.b) || onSegment(f.b, e.a, e.b) || onSegment(e.a, f.a, f.b) || onSegment(e.b, f.a, f.b)
}

// turn is positive when a, b, c turn left, negative when they turn right, and 0 when they lie on a line.
func turn(a, b, c Point) float64 {
	return sign((b.Lon-a.Lon)*(c.Lat-a.Lat) - (b.Lat-a.Lat)*(c.Lon-a.Lon))
}

func sign(v float64) float64 {
	switch {
	case v > 0:
		return 1
	case v < 0:
		return -1
	}
	return 0
}

func onSegment(p, a, b Point) bool {
	return turn(a, b, p) == 0 &&
		math.Min(a.Lon, b.Lon) <= p.Lon && p.Lon <= math.Max(a.Lon, b.Lon) &&
		math.Min(a.Lat, b.Lat) <= p.Lat && p.Lat <= math.Max(a.Lat, b.Lat)
}
