package grid

import (
	"context"
	"slices"

	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/geo"
	"anwang/internal/module/grid/gridapi"
)

// GridDetail is a grid with everything that its page shows.
type GridDetail struct {
	Item
	DivisionName string          `json:"divisionName"`
	Boundary     *Boundary       `json:"boundary,omitempty" doc:"现行边界"`
	Former       []Former        `json:"formerBoundaries" nullable:"false" doc:"以前的边界"`
	Duties       []*Duty         `json:"duties" nullable:"false" doc:"历任网格员，新的在前"`
	Absences     []*Absence      `json:"absences" nullable:"false" doc:"现任网格员当前和今后的离岗"`
	Today        *gridapi.Answer `json:"today" doc:"今天负责的人"`
	Places       []*Site         `json:"places" nullable:"false" doc:"巡查对象"`
	Steps        []flow.Action   `json:"steps" nullable:"false"`
}

// GridByID is a grid that the caller may see, with the places in it that the caller may see.
func (s *Service) GridByID(ctx context.Context, id string) (*GridDetail, error) {
	f := scope.For(ctx, View)
	g, err := s.grids.Load(ctx, f, id)
	if err != nil {
		return nil, err
	}
	out := &GridDetail{Item: *g, Former: []Former{}, Places: []*Site{}, Steps: s.flows.grid.Actions(ctx, g)}
	if out.DivisionName, _, err = s.divisions.DivisionName(ctx, g.Division); err != nil {
		return nil, err
	}
	drawn, err := s.boundariesOf(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, b := range drawn {
		switch {
		case b.ValidTo == "":
			out.Boundary = b
			continue
		case b.ValidTo < b.ValidFrom:
			continue // replaced on the day it was drawn
		}
		out.Former = append(out.Former, Former{b.ID, b.ValidFrom, b.ValidTo, b.Area, b.Reason})
	}
	if out.Duties, err = s.dutiesOf(ctx, id); err != nil {
		return nil, err
	}
	out.Duties = slices.DeleteFunc(out.Duties, func(d *Duty) bool { return d.ValidTo != "" && d.ValidTo < d.ValidFrom }) // replaced on the day of appointment
	if out.Absences, err = s.absencesOf(ctx, id, s.today()); err != nil {
		return nil, err
	}
	if out.Today, err = s.answer(ctx, g, s.db.Clock.Now()); err != nil {
		return nil, err
	}
	sites, err := s.sitesOf(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, site := range sites {
		if f.Sees(site.Place) {
			out.Places = append(out.Places, site)
		}
	}
	out.Duties, out.Absences = list(out.Duties), list(out.Absences)
	return out, nil
}

// Former is a former boundary without its shape.
type Former struct {
	ID        string `json:"id"`
	ValidFrom string `json:"validFrom"`
	ValidTo   string `json:"validTo"`
	Area      int64  `json:"area"`
	Reason    string `json:"reason"`
}

// History is what happened to a grid.
func (s *Service) History(ctx context.Context, id string) (Listing[Line], error) {
	g, err := s.grids.Load(ctx, scope.For(ctx, View), id)
	if err != nil {
		return Listing[Line]{}, err
	}
	rows, err := s.grids.History(ctx, g)
	return lines(rows), err
}

// Map lists the grids in use that the caller may see, with their boundaries and who answers today. within, unless empty, limits them to a division.
func (s *Service) Map(ctx context.Context, within string) ([]*Item, map[string]*Boundary, map[string]*Duty, error) {
	grids, err := s.gridsWithin(ctx, scope.For(ctx, View), within)
	if err != nil {
		return nil, nil, nil, err
	}
	ids := make([]string, len(grids))
	for i, g := range grids {
		ids[i] = g.ID
	}
	shapes, err := s.openBoundaries(ctx, ids)
	if err != nil {
		return nil, nil, nil, err
	}
	who, err := s.responsible(ctx, ids, s.today())
	return grids, shapes, who, err
}

// LocateFor answers for a position within the caller's reach: not found where no grid is, or none that the caller may see.
func (s *Service) LocateFor(ctx context.Context, at geo.Point) (*gridapi.Answer, error) {
	g, err := s.gridAt(ctx, at, s.today(), "")
	if err != nil {
		return nil, err
	}
	if g == nil || !scope.For(ctx, View).Sees(g.Place) {
		return nil, s.grids.Type.NotFound()
	}
	return s.answer(ctx, g, s.db.Clock.Now())
}
