package enterprise

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
	"anwang/internal/lib/geo"
)

// File is one enterprise's file as its page shows it.
type File struct {
	Enterprise
	StateTitle   string       `json:"stateTitle"`
	DivisionPath []string     `json:"divisionPath" nullable:"false" doc:"行政区划名称，由省到本级"`
	IndustryName string       `json:"industryName"`
	LineName     string       `json:"lineName" doc:"监管行业领域名称"`
	Position     *Position    `json:"position" doc:"坐标，按 crs 参数给出"`
	Competent    []Competence `json:"competentDepartments" nullable:"false" doc:"监管主体：属地与行业"`
	// Actions are the steps that the caller may take now.
	Actions  []flow.Action `json:"actions" nullable:"false"`
	Timeline []Happening   `json:"timeline" nullable:"false" doc:"最近的变更，新的在前"`
	Warning  string        `json:"warning,omitempty" doc:"有效但可疑之处"`
}

// Competence is a department that supervises the enterprise, and why: 明确每个生产经营单位安全生产监督和管理主体.
type Competence struct {
	Side         string `json:"side" enum:"territory,line" doc:"属地监管或行业监管"`
	DepartmentID string `json:"departmentId"`
	Name         string `json:"name"`
	Division     string `json:"division" doc:"部门所属行政区划"`
	Basis        string `json:"basis" doc:"职能依据，或指定的理由"`
	Since        string `json:"since,omitempty"`
	Stated       bool   `json:"stated" doc:"人工指定，不是按职能确定"`
	By           string `json:"by,omitempty" doc:"指定人"`
}

// Happening is one entry of an enterprise's history.
type Happening struct {
	ID      string        `json:"id"`
	At      time.Time     `json:"at"`
	Kind    string        `json:"kind" doc:"事件"`
	Title   string        `json:"title"`
	Actor   string        `json:"actor" doc:"何人"`
	Unit    string        `json:"unit" doc:"以何单位名义"`
	Version int64         `json:"version"`
	Reason  string        `json:"reason,omitempty"`
	Changes []FieldChange `json:"changes" nullable:"false"`
}

// FieldChange is what one field was before and is after.
type FieldChange struct {
	Field  string `json:"field"`
	Title  string `json:"title"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

const timelineLength = 20

// file completes a record for the actor. The record itself stays as it is.
func (s *Service) file(ctx context.Context, e *Enterprise, crs string) (*File, error) {
	divisions, err := s.org.Divisions(ctx)
	if err != nil {
		return nil, err
	}
	now := s.db.Clock.Now()
	f := &File{Enterprise: *e, StateTitle: stateTitles[e.State], DivisionPath: divisions.Path(e.Division, now),
		IndustryName: s.dict.Label(dict.Industry, e.Industry), LineName: s.dict.Label(dict.Line, e.Line), Actions: s.machine.Actions(ctx, e)}
	if e.USCC != "" {
		f.Warning = gbcode.USCC(e.USCC).Warning()
	}
	f.People = s.shown(ctx, e.Place, e.People)
	if f.Position, err = e.positionIn(crs); err != nil {
		return nil, err
	}
	if f.Competent, err = s.competent(ctx, e, now); err != nil {
		return nil, err
	}
	f.Timeline, err = s.history(ctx, e, timelineLength)
	return f, err
}

// shown masks the telephone numbers of an enterprise at p for an actor who may not see them.
func (s *Service) shown(ctx context.Context, p scope.Place, people []Person) []Person {
	if scope.For(ctx, Personal).Sees(p) {
		return people
	}
	out := slices.Clone(people)
	for i := range out {
		out[i].Phone = gbcode.MaskPhone(out[i].Phone)
	}
	return out
}

func (e *Enterprise) positionIn(crs string) (*Position, error) {
	to, ok := systems[crs]
	if !ok {
		return nil, errs.InvalidField("enterprise.crs", "query/crs", "只能是 wgs84、cgcs2000、gcj02 或 bd09")
	}
	if e.Lon == nil || e.Lat == nil {
		return nil, nil
	}
	at, err := geo.Convert(geo.Point{Lon: *e.Lon, Lat: *e.Lat}, geo.WGS84, to)
	if err != nil {
		return nil, err
	}
	return &Position{Lon: round(at.Lon), Lat: round(at.Lat), CRS: cmp.Or(crs, "wgs84")}, nil
}

// competent says who supervises the enterprise today: from the line and from the territory, on each side what the directory of functions says unless
// somebody has stated another department.
func (s *Service) competent(ctx context.Context, e *Enterprise, now time.Time) ([]Competence, error) {
	found, err := s.org.CompetentDepartments(ctx, e.Division, e.Line, now)
	if err != nil {
		return nil, err
	}
	out := []Competence{}
	stated := map[string]bool{}
	for _, d := range e.Stated {
		stated[d.Side] = true
		out = append(out, Competence{Side: d.Side, DepartmentID: d.DepartmentID, Name: d.Name, Division: e.Division, Basis: d.Reason, Since: d.Since, Stated: true, By: d.By})
	}
	for i := range found {
		c := &found[i]
		side := lineSide
		if c.Integrated() || c.Department.Kind == org.TownOffice || c.Department.Kind == org.ParkOffice {
			side = territory
		}
		if !stated[side] {
			out = append(out, Competence{Side: side, DepartmentID: c.Department.ID, Name: c.Department.Name, Division: c.Department.Division, Basis: c.Function.Basis, Since: c.Function.ValidFrom})
		}
	}
	return out, nil
}

// History returns what happened to the enterprise, the newest first, at most limit entries.
func (s *Service) History(ctx context.Context, id string, limit int) ([]Happening, error) {
	e, err := s.store.Load(ctx, scope.For(ctx, View), id)
	if err != nil {
		return nil, err
	}
	return s.history(ctx, e, limit)
}

func (s *Service) history(ctx context.Context, e *Enterprise, limit int) ([]Happening, error) {
	rows, err := s.store.History(ctx, e)
	if err != nil {
		return nil, err
	}
	// One more than is shown, to compare the oldest one with.
	rows = rows[max(0, len(rows)-limit-1):]
	at := make([]audit.At, len(rows))
	for i, r := range rows {
		at[i] = audit.At{ID: e.ID, Version: r.Version}
	}
	bodies, err := s.log.Bodies(ctx, recordType.Name, at)
	if err != nil {
		return nil, err
	}
	personal := scope.For(ctx, Personal).Sees(e.Place)
	out := make([]Happening, 0, len(rows))
	var before map[string]json.RawMessage
	for i := range rows {
		var after map[string]json.RawMessage // nil when the log has been made to forget the content
		if body := bodies[at[i]]; body != "" {
			if err := json.Unmarshal([]byte(body), &after); err != nil {
				return nil, fmt.Errorf("history of enterprise %s, version %d: %w", e.ID, rows[i].Version, err)
			}
		}
		h := happening(&rows[i])
		if before != nil && after != nil {
			h.Changes = compare(before, after, personal)
		}
		before = after
		out = append(out, h)
	}
	slices.Reverse(out)
	return out[:min(limit, len(out))], nil
}

func happening(r *audit.Row) Happening {
	h := Happening{ID: r.ID, At: r.Time(), Kind: r.Kind, Title: r.Title, Actor: r.ActorName, Unit: r.UnitName, Version: r.Version, Changes: []FieldChange{}}
	var said struct {
		Reason string `json:"reason"`
		Input  struct {
			Reason string `json:"reason"`
		} `json:"input"`
	}
	if json.Unmarshal(r.Data, &said) == nil {
		h.Reason = cmp.Or(said.Input.Reason, said.Reason)
	}
	return h
}

// titled are the facts of a file in the order of the type, with their titles.
var titled = titlesOf(reflect.TypeFor[Enterprise]())

type titledField struct{ key, title string }

func titlesOf(t reflect.Type) []titledField {
	out := []titledField{{"division", "行政区划"}, {"line", "监管行业领域"}}
	for i := range t.NumField() {
		f := t.Field(i)
		title, _, _ := strings.Cut(f.Tag.Get("doc"), "，")
		if key := f.Tag.Get("json"); title != "" {
			out = append(out, titledField{key, title})
		}
	}
	return out
}

// compare lists the facts in which two versions of a file differ.
func compare(before, after map[string]json.RawMessage, personal bool) []FieldChange {
	out := []FieldChange{}
	for _, f := range titled {
		if bytes.Equal(before[f.key], after[f.key]) {
			continue
		}
		c := FieldChange{Field: f.key, Title: f.title, Before: value(before[f.key]), After: value(after[f.key])}
		if f.key == "people" && !personal {
			c.Before, c.After = maskedPeople(before[f.key]), maskedPeople(after[f.key])
		}
		out = append(out, c)
	}
	return out
}

func value(raw json.RawMessage) (v any) {
	_ = json.Unmarshal(raw, &v) // written by the log: it is JSON, or absent
	return v
}

func maskedPeople(raw json.RawMessage) []Person {
	var people []Person
	_ = json.Unmarshal(raw, &people)
	for i := range people {
		people[i].Phone = gbcode.MaskPhone(people[i].Phone)
	}
	return people
}

// guard lets those see an enterprise's attachments who may see the enterprise.
func (s *Service) guard(ctx context.Context, _, id string) error {
	if actor.From(ctx).Kind == actor.Nobody {
		return recordType.NotFound()
	}
	_, err := s.store.Load(ctx, scope.For(ctx, View), id)
	return err
}
