package geo

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ErrGeoJSON says that a text is not a GeoJSON area.
var ErrGeoJSON = errors.New("不是有效的 GeoJSON 区域（Polygon 或 MultiPolygon）")

// geometry is what of a GeoJSON object (RFC 7946) is read: a geometry itself, or a Feature around one.
type geometry struct {
	Type        string          `json:"type"`
	Coordinates json.RawMessage `json:"coordinates"`
	Geometry    *geometry       `json:"geometry,omitempty"`
}

// ParseGeoJSON reads a Polygon, a MultiPolygon, or a Feature with one of them. Heights are dropped. The shape is not yet
// validated, because official borders with small faults must be readable too: call Validate on what people draw.
// A refused text gives an error that wraps ErrGeoJSON, ErrTooMany, ErrSwapped or ErrNotDegrees.
func ParseGeoJSON(data []byte) (MultiPolygon, error) {
	var g geometry
	if err := json.Unmarshal(data, &g); err != nil {
		return nil, ErrGeoJSON
	}
	if g.Type == "Feature" && g.Geometry != nil {
		g = *g.Geometry
	}
	var parts [][][][]float64
	var err error
	switch g.Type {
	case "Polygon":
		parts = make([][][][]float64, 1)
		err = json.Unmarshal(g.Coordinates, &parts[0])
	case "MultiPolygon":
		err = json.Unmarshal(g.Coordinates, &parts)
	default:
		return nil, fmt.Errorf("%w：类型为“%.30s”", ErrGeoJSON, g.Type)
	}
	if err != nil {
		return nil, ErrGeoJSON
	}
	return fromCoordinates(parts)
}

func fromCoordinates(parts [][][][]float64) (MultiPolygon, error) {
	shape, positions := make(MultiPolygon, len(parts)), 0
	for i, rings := range parts {
		shape[i] = make(Polygon, len(rings))
		for j, ring := range rings {
			if positions += len(ring); positions > MaxPositions {
				return nil, ErrTooMany
			}
			shape[i][j] = make(Ring, len(ring))
			for k, position := range ring {
				if len(position) < 2 {
					return nil, fmt.Errorf("%w：第 %d 点不是一对经纬度", ErrGeoJSON, k+1)
				}
				p := Point{position[0], position[1]}
				if !p.onEarth() {
					return nil, fmt.Errorf("第 %d 点：%w", k+1, p.Check())
				}
				shape[i][j][k] = p
			}
		}
	}
	return shape, nil
}

// GeoJSON returns the shape as a GeoJSON geometry: a Polygon when it has one part, else a MultiPolygon.
func (m MultiPolygon) GeoJSON() []byte {
	parts := make([][][][2]float64, len(m))
	for i, polygon := range m {
		parts[i] = make([][][2]float64, len(polygon))
		for j, ring := range polygon {
			parts[i][j] = make([][2]float64, len(ring))
			for k, p := range ring {
				parts[i][j][k] = [2]float64{p.Lon, p.Lat}
			}
		}
	}
	out := struct {
		Type        string `json:"type"`
		Coordinates any    `json:"coordinates"`
	}{"MultiPolygon", parts}
	if len(parts) == 1 {
		out.Type, out.Coordinates = "Polygon", parts[0]
	}
	data, _ := json.Marshal(out) // floats of a parsed or converted shape are finite
	return data
}
