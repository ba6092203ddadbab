// Package geo does the small geometry that places, areas and tracks of a county need: coordinate systems used in China,
// distance, length, area, point in polygon, and checks of what people type and draw.
//
// Coordinates are decimal degrees, longitude first, as in GeoJSON. Except for [Convert], which knows what it is given,
// every function expects CGCS2000 or WGS-84. Shapes across the 180° meridian are not supported.
package geo

import (
	"errors"
	"iter"
	"math"
)

// Point is a position in decimal degrees. Six decimals are about 0.1 m.
type Point struct {
	Lon float64 `json:"lon"`
	Lat float64 `json:"lat"`
}

// What is wrong with a typed position; the text is for the person who typed it.
var (
	ErrSwapped      = errors.New("经纬度可能填反：经度在前（73 至 136），纬度在后（3 至 54）")
	ErrNotDegrees   = errors.New("经纬度不是有效的度数：请填写小数形式的度，如 118.648500、24.731600")
	ErrOutsideChina = errors.New("位置不在我国境内，请核对经纬度")
)

// china is a box around all of China, islands included.
var china = Bounds{Min: Point{73.4, 3.4}, Max: Point{135.2, 53.6}}

// Check says whether p can be a place in China: it returns nil, ErrSwapped, ErrNotDegrees or ErrOutsideChina. It looks at
// a bounding box only, so that a place just across a land border passes.
func (p Point) Check() error {
	switch {
	case china.Contains(p):
		return nil
	case china.Contains(Point{p.Lat, p.Lon}):
		return ErrSwapped
	case !p.onEarth() || p == Point{}:
		return ErrNotDegrees
	}
	return ErrOutsideChina
}

func (p Point) onEarth() bool { return math.Abs(p.Lon) <= 180 && math.Abs(p.Lat) <= 90 } // false for NaN

// meanRadius is the mean radius of the earth in metres (IUGG).
const meanRadius = 6371008.8

// Distance returns the great-circle distance of two points in metres (haversine). It is within 0.5 % of the distance on
// the ellipsoid.
func Distance(a, b Point) float64 {
	latA, latB := radians(a.Lat), radians(b.Lat)
	sinLat, sinLon := math.Sin((latB-latA)/2), math.Sin(radians(b.Lon-a.Lon)/2)
	h := sinLat*sinLat + math.Cos(latA)*math.Cos(latB)*sinLon*sinLon
	return 2 * meanRadius * math.Asin(math.Min(1, math.Sqrt(h)))
}

// Length returns the length of a track in metres, 0 for fewer than two points.
func Length(track []Point) float64 {
	sum := 0.0
	for i := 1; i < len(track); i++ {
		sum += Distance(track[i-1], track[i])
	}
	return sum
}

// Bounds is a bounding box in degrees. Its edges belong to it.
type Bounds struct{ Min, Max Point }

// BoundsOf returns the smallest box around the points. Without points it returns an empty box, which contains nothing.
func BoundsOf(points iter.Seq[Point]) Bounds {
	inf := math.Inf(1)
	b := Bounds{Min: Point{inf, inf}, Max: Point{-inf, -inf}}
	for p := range points {
		b.Min = Point{math.Min(b.Min.Lon, p.Lon), math.Min(b.Min.Lat, p.Lat)}
		b.Max = Point{math.Max(b.Max.Lon, p.Lon), math.Max(b.Max.Lat, p.Lat)}
	}
	return b
}

// Contains reports whether p lies in the box or on its edge.
func (b Bounds) Contains(p Point) bool {
	return b.Min.Lon <= p.Lon && p.Lon <= b.Max.Lon && b.Min.Lat <= p.Lat && p.Lat <= b.Max.Lat
}

func radians(degrees float64) float64 { return degrees * math.Pi / 180 }

func degrees(radians float64) float64 { return radians * 180 / math.Pi }
