// Package scope decides which records an actor may see, and so which rows a query returns.
//
// Two lines of authority cross everywhere. Territory (块): a record lies in a division, and is seen from that division
// and from every division above it. Line (条): a line regulator sees only the records of the industries that its department
// supervises. Enterprise people see their own enterprise and nothing else. Whatever no grant reaches does not exist for
// the actor: it is "not found", never "forbidden".
//
// A [Filter] is made from the actor and a permission, and applied to SQL ([Filter.Apply]) or to a record in
// hand ([Filter.Sees]); a test proves that both say the same. The stores of kernel/record and the lists of kernel/ledger ask for a
// Filter in their signature, so a query cannot forget it: the compiler refuses.
package scope

import (
	"context"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/lib/gbcode"
)

// Place is where a record lies: embed it in every record that people may see. The division is the one in which the record was
// filed, and stays when divisions are re-organised. The codes of the levels are columns of their own because an index on
// (county_code, …, due_at) serves a list and a prefix range does not.
type Place struct {
	Division     string `bun:"division" json:"division" doc:"所在行政区划，12位代码"`
	ProvinceCode string `bun:"province_code" json:"provinceCode"`
	CityCode     string `bun:"city_code" json:"cityCode"`
	CountyCode   string `bun:"county_code" json:"countyCode"`
	TownCode     string `bun:"town_code" json:"townCode"`
	VillageCode  string `bun:"village_code" json:"villageCode"`
	Line         string `bun:"line" json:"line" doc:"监管行业领域"`
	EnterpriseID string `bun:"enterprise_id" json:"enterpriseId" doc:"所属企业，空表示不属于任何企业"`
}

// ScopePlace makes every record that embeds Place a [Placed].
func (p *Place) ScopePlace() *Place { return p }

// Placed is a record that lies somewhere.
type Placed interface{ ScopePlace() *Place }

// Columns of a table that embeds Place, for migrations and indexes to agree with.
var Columns = []string{"division", "province_code", "city_code", "county_code", "town_code", "village_code", "line", "enterprise_id"}

// At is the place of a record in the division with the 12-digit code, on a supervised line, of an enterprise; line and
// enterprise may be empty.
func At(division, line, enterprise string) Place {
	l := gbcode.Division(division).Levels()
	return Place{Division: division, ProvinceCode: string(l.Province), CityCode: string(l.City), CountyCode: string(l.County),
		TownCode: string(l.Town), VillageCode: string(l.Village), Line: line, EnterpriseID: enterprise}
}

// Nation is the code above all provinces: who holds it sees every division.
const Nation = "000000000000"

var levelColumns = [...]string{"", "province_code", "city_code", "county_code", "town_code", "village_code"}

// LevelColumn is the column of Place that holds the codes of a level, 1 (province) to 5 (village).
func LevelColumn(level int) string { return levelColumns[level] }

func levelOf(code string) int { return int(gbcode.Division(code).Level()) }

func (p *Place) code(level int) string {
	return [...]string{"", p.ProvinceCode, p.CityCode, p.CountyCode, p.TownCode, p.VillageCode}[level]
}

// reach is what one grant lets its holder see.
type reach struct {
	enterprise string
	divisions  [6][]string // by level, index 0: the nation
	lines      []string    // empty: all
}

// Filter says which records may be seen. The zero value sees nothing.
type Filter struct {
	all     bool
	reaches []reach
}

// For is what the actor in ctx may see by virtue of a permission. Without the permission it sees nothing.
func For(ctx context.Context, permission string) Filter {
	a := actor.From(ctx)
	if a.Kind == actor.System {
		return Filter{all: true}
	}
	var f Filter
	for _, g := range a.Grants {
		if !g.Has(permission) {
			continue
		}
		r := reach{enterprise: g.Enterprise, lines: g.Lines}
		for _, code := range g.Divisions {
			if code == Nation {
				r.divisions[0] = []string{Nation}
			} else if level := levelOf(code); level > 0 {
				r.divisions[level] = append(r.divisions[level], code)
			}
		}
		f.reaches = append(f.reaches, r)
	}
	return f
}

// All sees everything. It is for the program's own work, never for a request; reason is for the reader of the code, and a test lists
// every place that says All.
func All(reason string) Filter {
	if reason == "" {
		panic("scope: All without a reason")
	}
	return Filter{all: true}
}

// Own is what belongs to one enterprise, for the program's own work on behalf of it.
func Own(enterprise string) Filter {
	return Filter{reaches: []reach{{enterprise: enterprise}}}
}

// Empty reports whether the filter sees nothing at all, whatever the rows are.
func (f Filter) Empty() bool { return !f.all && len(f.reaches) == 0 }

// Unlimited reports whether the filter sees everything.
func (f Filter) Unlimited() bool { return f.all }

// Apply adds the filter to q. alias names the table that holds the columns of Place.
func (f Filter) Apply(q *bun.SelectQuery, alias string) *bun.SelectQuery {
	if f.all {
		return q
	}
	sql, args := f.SQL(alias)
	return q.Where(sql, args...)
}

// SQL is the filter as a condition with bun's placeholders, for queries written by hand.
func (f Filter) SQL(alias string) (string, []any) {
	if f.all {
		return "TRUE", nil
	}
	if len(f.reaches) == 0 {
		return "FALSE", nil
	}
	var args []any
	col := func(name string) string { return alias + "." + name }
	in := func(name string, values []string) string {
		if len(values) == 1 {
			args = append(args, values[0])
			return col(name) + " = ?"
		}
		args = append(args, bun.List(values))
		return col(name) + " IN (?)"
	}
	var ors []string
	for _, r := range f.reaches {
		var ands []string
		if r.enterprise != "" {
			ands = append(ands, in("enterprise_id", []string{r.enterprise}))
		} else {
			var places []string
			if len(r.divisions[0]) > 0 {
				places = append(places, "TRUE")
			}
			for level := 1; level <= 5; level++ {
				if codes := r.divisions[level]; len(codes) > 0 {
					places = append(places, in(levelColumns[level], codes))
				}
			}
			if len(places) == 0 {
				continue
			}
			ands = append(ands, or(places))
			if len(r.lines) > 0 {
				ands = append(ands, in("line", r.lines))
			}
		}
		ors = append(ors, strings.Join(ands, " AND "))
	}
	if len(ors) == 0 {
		return "FALSE", nil
	}
	return or(ors), args
}

func or(terms []string) string {
	if len(terms) == 1 {
		return terms[0]
	}
	return "(" + strings.Join(terms, " OR ") + ")"
}

// Sees reports whether a record at p may be seen.
func (f Filter) Sees(p Place) bool {
	if f.all {
		return true
	}
	return slices.ContainsFunc(f.reaches, func(r reach) bool { return r.sees(&p) })
}

func (r *reach) sees(p *Place) bool {
	if r.enterprise != "" {
		return p.EnterpriseID == r.enterprise
	}
	if len(r.lines) > 0 && !slices.Contains(r.lines, p.Line) {
		return false
	}
	if len(r.divisions[0]) > 0 {
		return true
	}
	for level := 1; level <= 5; level++ {
		if slices.Contains(r.divisions[level], p.code(level)) {
			return true
		}
	}
	return false
}

// ReachesDivision reports whether the filter includes everything in the division with the given code on the given line: whether its
// holder may act for that place. An enterprise's own people never do.
func (f Filter) ReachesDivision(division, line string) bool {
	place := At(division, line, "")
	return f.Sees(place)
}
