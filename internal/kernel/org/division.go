package org

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/org/changes"
	"anwang/internal/kernel/record"
	"anwang/internal/lib/gbcode"
)

// The kinds of division.
const (
	KindDivision    = "division"         // 行政区划
	KindGrouping    = "grouping"         // 汇总码: 市辖区, 省直辖县级行政区划; left out of names
	KindZone        = "zone"             // 功能区（开发区、园区、港区、景区）: a code of this platform under a real county
	KindStatistical = "statistical_zone" // 统计用功能区: a code that only statistics use
)

// Division is an administrative division or a functional zone. Its code never changes and is never used again; see the package comment.
type Division struct {
	bun.BaseModel `bun:"table:org_division,alias:r" json:"-"`
	record.Head

	Code        string       `bun:"code" json:"code" doc:"12位代码"`
	Name        string       `bun:"name" json:"name" doc:"名称"`
	Level       gbcode.Level `bun:"level" json:"level" doc:"1省 2市 3县 4乡 5村"`
	Parent      string       `bun:"parent" json:"parent" doc:"上级代码，省级为空"`
	Kind        string       `bun:"kind" json:"kind" enum:"division,grouping,zone,statistical_zone"`
	Statistical bool         `bun:"statistical" json:"statistical" doc:"统计用虚拟社区（生活区），没有居委会"`
	ValidFrom   string       `bun:"valid_from" json:"validFrom" doc:"启用日期，空表示自始有效"`
	ValidTo     string       `bun:"valid_to" json:"validTo" doc:"最后有效日期（含当日），空表示现行"`
	// Successors are the codes that took over on the day after ValidTo: one when it was wholly merged, several when it was split, none when
	// nobody has said yet.
	Successors []string `bun:"successors,type:text" json:"successors" doc:"继任代码"`
	// Recoded says that the successor is this very division under a new code, so that posts and functions given for the old code go on.
	Recoded     bool         `bun:"recoded" json:"recoded" doc:"继任代码是同一区划的新代码"`
	FormerNames []FormerName `bun:"former_names,type:text" json:"formerNames" doc:"曾用名，旧的在前"`
	Basis       string       `bun:"basis" json:"basis" doc:"最近一次设立、更名、撤并的依据"`
	Lon         *float64     `bun:"lon" json:"lon,omitempty" doc:"驻地经度，CGCS2000"`
	Lat         *float64     `bun:"lat" json:"lat,omitempty" doc:"驻地纬度，CGCS2000"`
}

// FormerName is what a division was called up to a day.
type FormerName struct {
	Name  string `json:"name"`
	Until string `json:"until" doc:"使用该名称的最后日期"`
}

// NameOn is what the division was called on the day of on.
func (d *Division) NameOn(on time.Time) string {
	day := clock.Date(on)
	for _, f := range d.FormerNames {
		if day <= f.Until {
			return f.Name
		}
	}
	return d.Name
}

// InForce reports whether the division exists on the day of on.
func (d *Division) InForce(on time.Time) bool { return inForce(d.ValidFrom, d.ValidTo, clock.Date(on)) }

// Divisions is all divisions as they were known at one moment. It never changes: hold it for the length of a request, no longer. What it
// returns is shared and read-only.
type Divisions struct {
	byCode   map[string]*Division
	children map[string][]*Division // by parent, in the order of codes
	merged   []*Division            // with exactly one successor
	sorted   []*Division
}

func newDivisions(byCode map[string]*Division) *Divisions {
	s := &Divisions{byCode: byCode, children: make(map[string][]*Division, len(byCode)/8), sorted: make([]*Division, 0, len(byCode))}
	for _, d := range byCode {
		s.sorted = append(s.sorted, d)
	}
	slices.SortFunc(s.sorted, func(a, b *Division) int { return cmp.Compare(a.Code, b.Code) })
	for _, d := range s.sorted {
		s.children[d.Parent] = append(s.children[d.Parent], d)
		if len(d.Successors) == 1 {
			s.merged = append(s.merged, d)
		}
	}
	return s
}

// Len is how many divisions there are, those out of force included.
func (s *Divisions) Len() int { return len(s.sorted) }

// Division is the division with the 12-digit code, in force or not; nil when there is none.
func (s *Divisions) Division(code string) *Division { return s.byCode[code] }

// Children are the divisions right below the code that exist on the day of on, in the order of codes; code "" gives the provinces.
func (s *Divisions) Children(code string, on time.Time) []*Division {
	day := clock.Date(on)
	var out []*Division
	for _, d := range s.children[code] {
		if inForce(d.ValidFrom, d.ValidTo, day) {
			out = append(out, d)
		}
	}
	return out
}

// Chain is the division and what lies above it, from the code itself up to the province. An unknown code gives nothing.
func (s *Divisions) Chain(code string) []*Division {
	var out []*Division
	for d := s.byCode[code]; d != nil && len(out) < 8; d = s.byCode[d.Parent] {
		out = append(out, d)
	}
	return out
}

// Path is the division's names on the day of on, from the province down to itself, without 市辖区 and other groupings: 安徽省, 池州市, 石台县.
// An unknown code gives nothing.
func (s *Divisions) Path(code string, on time.Time) []string {
	chain := s.Chain(code)
	slices.Reverse(chain)
	var names []string
	for _, d := range chain {
		if d.Kind != KindGrouping {
			names = append(names, d.NameOn(on))
		}
	}
	return names
}

// Current follows mergers to the division that answers for the code's territory on the day of on. A division that was split, or that has no
// successor yet, answers for itself. An unknown code comes back as it is.
func (s *Divisions) Current(code string, on time.Time) string {
	day := clock.Date(on)
	for range 100 { // longer than any history, and an end to one that runs in a circle
		d := s.byCode[code]
		if d == nil || d.ValidTo == "" || day <= d.ValidTo || len(d.Successors) != 1 {
			break
		}
		code = d.Successors[0]
	}
	return code
}

// Renumbered follows new codes of the same division to the one in use on the day of on. It stops where a division was merged with others.
func (s *Divisions) Renumbered(code string, on time.Time) string {
	day := clock.Date(on)
	for range 100 {
		d := s.byCode[code]
		if d == nil || !d.Recoded || len(d.Successors) != 1 || d.ValidTo == "" || day <= d.ValidTo {
			break
		}
		code = d.Successors[0]
	}
	return code
}

// Reach is the code and, in addition, every division that by the day of on had been wholly merged into it or into something that lies in it,
// through any number of mergers; what lies in another element of the list is left out. It is what an officer of the division sees.
func (s *Divisions) Reach(code string, on time.Time) []string {
	day := clock.Date(on)
	out := []string{code}
	within := func(c string) bool {
		return slices.ContainsFunc(out, func(o string) bool { return gbcode.Division(c).IsUnder(gbcode.Division(o)) })
	}
	for grew := true; grew; {
		grew = false
		for _, d := range s.merged {
			if d.ValidTo < day && within(d.Successors[0]) && !within(d.Code) {
				// Whatever the list has below the newcomer is now said twice.
				out = slices.DeleteFunc(out, func(o string) bool { return o != code && gbcode.Division(o).IsUnder(gbcode.Division(d.Code)) })
				out = append(out, d.Code)
				grew = true
			}
		}
	}
	return out
}

// Search finds divisions that exist on the day of on by the beginning of their code or by part of their present or former name, best match
// first, at most limit.
func (s *Divisions) Search(q string, on time.Time, limit int) []*Division {
	q = strings.TrimSpace(q)
	if q == "" {
		return nil
	}
	day := clock.Date(on)
	type hit struct {
		d    *Division
		rank int
	}
	var hits []hit
	for _, d := range s.sorted {
		if !inForce(d.ValidFrom, d.ValidTo, day) {
			continue
		}
		switch {
		case d.Name == q:
			hits = append(hits, hit{d, 0})
		case strings.HasPrefix(d.Name, q), strings.HasPrefix(d.Code, q):
			hits = append(hits, hit{d, 1})
		case strings.Contains(d.Name, q):
			hits = append(hits, hit{d, 2})
		case slices.ContainsFunc(d.FormerNames, func(f FormerName) bool { return strings.Contains(f.Name, q) }):
			hits = append(hits, hit{d, 3})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.d.Level, b.d.Level))
	})
	var out []*Division
	for _, h := range hits[:min(limit, len(hits))] {
		out = append(out, h.d)
	}
	return out
}

// staleness is which divisions in memory are no longer those of the database.
type staleness struct {
	mu    sync.Mutex
	all   bool
	codes []string
}

func (s *staleness) hear(subject string) {
	code, ok := strings.CutPrefix(subject, divisionSubject)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case subject == changes.Everything || ok && code == "":
		s.all = true
	case ok:
		s.codes = append(s.codes, code)
	}
}

func (s *staleness) take() (all bool, codes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, codes = s.all, s.codes
	s.all, s.codes = false, nil
	return all, codes
}

func (s *staleness) giveBack(all bool, codes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all, s.codes = s.all || all, append(s.codes, codes...)
}

// Divisions returns the divisions as they are now: with the committed edits of this process, and those of others that are older than a second.
// It costs nothing as long as nothing was edited.
func (o *Directory) Divisions(ctx context.Context) (*Divisions, error) {
	if err := o.feed.Check(ctx); err != nil {
		return nil, err
	}
	o.loading.Lock()
	defer o.loading.Unlock()
	all, codes := o.stale.take()
	if !all && len(codes) == 0 {
		return o.snap, nil
	}
	snap, err := o.load(ctx, all, codes)
	if err != nil {
		o.stale.giveBack(all, codes)
		return nil, fmt.Errorf("load divisions: %w", err)
	}
	o.snap = snap
	return snap, nil
}

// load reads all divisions, or the present ones with those of the codes read anew. It reads what is committed, even when ctx is in a transaction.
func (o *Directory) load(ctx context.Context, all bool, codes []string) (*Divisions, error) {
	var rows []*Division
	q := o.db.Conn(context.Background()).NewSelect().Model(&rows).ExcludeColumn("id", "origin", "version", "created_at", "updated_at")
	byCode := map[string]*Division{}
	if !all && o.snap != nil {
		q = q.Where("code IN (?)", bun.List(codes))
		byCode = make(map[string]*Division, len(o.snap.byCode)+len(codes))
		for code, d := range o.snap.byCode {
			byCode[code] = d
		}
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	for _, d := range rows {
		byCode[d.Code] = d
	}
	return newDivisions(byCode), nil
}
