package ledger_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/scope"
)

var boxes = db.Migrations{Part: "box", Files: fstest.MapFS{"migrations/0001_init.sql": {Data: []byte(`
CREATE TABLE box (id codetext PRIMARY KEY, division codetext, province_code codetext, city_code codetext, county_code codetext,
  town_code codetext, village_code codetext, line codetext, enterprise_id codetext, name TEXT, weight DOUBLE PRECISION, due_at codetext, tags TEXT);
`)}}}

type stored struct {
	bun.BaseModel `bun:"table:box"`
	ID            string `bun:"id,pk"`
	scope.Place
	Name   string    `bun:"name"`
	Weight float64   `bun:"weight"`
	DueAt  time.Time `bun:"due_at,nullzero"`
	Tags   []string  `bun:"tags,type:text"`
}

type box struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Weight   float64   `json:"weight"`
	DueAt    time.Time `json:"dueAt" bun:",nullzero"`
	Division string    `json:"division"`
}

func spec() ledger.Spec[box] {
	return ledger.Spec[box]{
		Name: "boxes", Title: "盒子", Need: "box.view", From: "box AS r", Alias: "r", Order: "-weight",
		Columns: []ledger.Column{
			{Key: "id", SQL: "r.id"},
			{Key: "name", SQL: "r.name", Search: true, Sort: true, Filter: ledger.Prefix},
			{Key: "weight", SQL: "r.weight", Kind: ledger.Number, Sort: true, Filter: ledger.Between},
			{Key: "dueAt", SQL: "r.due_at", SortBy: "COALESCE(r.due_at, '')", Kind: ledger.Time, Sort: true, Filter: ledger.Between},
			{Key: "division", SQL: "r.division"},
			{Key: "in", SQL: "r", Filter: ledger.Division, Hidden: true},
			{Key: "open", SQL: "r.due_at", Filter: ledger.IsNull, Hidden: true},
			{Key: "tag", SQL: "r.tags", Filter: ledger.Has, Hidden: true},
			{Key: "kind", SQL: "r.line", Filter: ledger.In, Values: []string{"gas", "fire"}, Hidden: true},
		},
		Views: []ledger.View{{Key: "heavy", Title: "重", Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.weight >= 50") }}},
	}
}

func fill(t *testing.T, d *db.DB, n int) []stored {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	towns := []string{"341722100000", "341722101000", "350581001000"}
	rows := make([]stored, n)
	for i := range rows {
		rows[i] = stored{ID: fmt.Sprintf("id%04d", i), Place: scope.At(towns[r.IntN(3)], []string{"gas", "fire"}[r.IntN(2)], ""), Name: fmt.Sprintf("盒%d_%%", r.IntN(40)), Weight: float64(r.IntN(100)), Tags: []string{fmt.Sprint("t", r.IntN(3))}}
		if r.IntN(3) > 0 {
			rows[i].DueAt = kerneltest.Noon.Add(time.Duration(r.IntN(2000)) * time.Hour).UTC()
		}
	}
	if err := d.Tx(t.Context(), func(ctx context.Context) error {
		_, err := d.Conn(ctx).NewInsert().Model(&rows).Exec(ctx)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return rows
}

func reader(ctx context.Context, divisions ...string) context.Context {
	return actor.With(ctx, &actor.Actor{Kind: actor.Person, Grants: []actor.Grant{{Permissions: []string{"box.view"}, Divisions: divisions}}})
}

// Every order, page by page, gives every row once and in order, also with equal and absent sort values.
func TestPaging(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, []db.Migrations{boxes}, func(t *testing.T, d *db.DB) {
		rows := fill(t, d, 700)
		l := ledger.Define(d, spec())
		ctx := reader(t.Context(), "341722000000")
		want := 0
		for _, r := range rows {
			if r.CountyCode == "341722000000" {
				want++
			}
		}
		for _, sort := range []string{"", "weight", "-weight", "name", "-name", "dueAt", "-dueAt"} {
			var got []box
			q := ledger.Query{Sort: sort, Limit: 37}
			for {
				p, err := l.Read(ctx, q)
				if err != nil {
					t.Fatal(err)
				}
				if q.Cursor == "" && (p.Total != want || p.TotalCapped) {
					t.Errorf("total %d, want %d", p.Total, want)
				}
				got = append(got, p.Items...)
				if p.Next == "" {
					break
				}
				q.Cursor = p.Next
			}
			seen := map[string]bool{}
			for _, b := range got {
				seen[b.ID] = true
			}
			if len(got) != want || len(seen) != want {
				t.Errorf("sort %q: %d rows, %d different, want %d", sort, len(got), len(seen), want)
			}
			key := func(b box) string {
				switch strings.TrimPrefix(sort, "-") {
				case "name":
					return b.Name
				case "dueAt":
					if b.DueAt.IsZero() {
						return ""
					}
					return db.FormatTime(b.DueAt)
				}
				return fmt.Sprintf("%08.2f", b.Weight)
			}
			if strings.TrimPrefix(sort, "-") == "name" {
				continue // names sort by the engine's collation
			}
			desc := sort == "" || sort[0] == '-'
			if !slices.IsSortedFunc(got, func(a, b box) int {
				c := strings.Compare(key(a)+"\x00"+a.ID, key(b)+"\x00"+b.ID)
				if desc {
					return -c
				}
				return c
			}) {
				t.Errorf("sort %q: not in order", sort)
			}
		}
	})
}

func TestFilters(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, []db.Migrations{boxes}, func(t *testing.T, d *db.DB) {
		rows := fill(t, d, 300)
		l := ledger.Define(d, spec())
		count := func(keep func(r stored) bool) int {
			n := 0
			for _, r := range rows {
				if keep(r) {
					n++
				}
			}
			return n
		}
		noon := kerneltest.Noon.UTC()
		for _, c := range []struct {
			q    ledger.Query
			want int
		}{
			{ledger.Query{}, 300},
			{ledger.Query{Filters: map[string]string{"in": "341722"}}, count(func(r stored) bool { return r.CountyCode == "341722000000" })},
			{ledger.Query{Filters: map[string]string{"in": "350581001"}}, count(func(r stored) bool { return r.TownCode == "350581001000" })},
			{ledger.Query{Filters: map[string]string{"weight": "10..20"}}, count(func(r stored) bool { return r.Weight >= 10 && r.Weight <= 20 })},
			{ledger.Query{Filters: map[string]string{"weight": "..20"}}, count(func(r stored) bool { return r.Weight <= 20 })},
			{ledger.Query{Filters: map[string]string{"open": "true"}}, count(func(r stored) bool { return r.DueAt.IsZero() })},
			{ledger.Query{Filters: map[string]string{"open": "false"}}, count(func(r stored) bool { return !r.DueAt.IsZero() })},
			{ledger.Query{Filters: map[string]string{"tag": "t1"}}, count(func(r stored) bool { return r.Tags[0] == "t1" })},
			{ledger.Query{Filters: map[string]string{"kind": "gas,fire"}}, 300},
			{ledger.Query{Filters: map[string]string{"kind": "gas"}}, count(func(r stored) bool { return r.Line == "gas" })},
			{ledger.Query{Filters: map[string]string{"name": "盒1"}}, count(func(r stored) bool { return strings.HasPrefix(r.Name, "盒1") })},
			{ledger.Query{Search: "_%"}, 300},
			{ledger.Query{Search: "盒7_"}, count(func(r stored) bool { return strings.Contains(r.Name, "盒7_") })},
			{ledger.Query{Search: "' OR 1=1 --"}, 0},
			{ledger.Query{View: "heavy"}, count(func(r stored) bool { return r.Weight >= 50 })},
			{ledger.Query{Filters: map[string]string{"dueAt": "2026-03-12..2026-03-14"}}, count(func(r stored) bool {
				return !r.DueAt.IsZero() && !r.DueAt.Before(noon.Add(12*time.Hour)) && r.DueAt.Before(noon.Add(84*time.Hour))
			})},
		} {
			p, err := l.Read(reader(t.Context(), scope.Nation), c.q)
			if err != nil {
				t.Errorf("%+v: %v", c.q, err)
				continue
			}
			if p.Total != c.want {
				t.Errorf("%+v: %d, want %d", c.q, p.Total, c.want)
			}
		}
		for _, q := range []ledger.Query{
			{Sort: "division"}, {Sort: "nothing"}, {View: "nothing"}, {Limit: 500}, {Limit: -1}, {Cursor: "garbage"}, {Filters: map[string]string{"in": "34172"}},
			{Filters: map[string]string{"kind": "gas,water"}}, {Filters: map[string]string{"weight": "a..b"}}, {Filters: map[string]string{"dueAt": "yesterday"}},
			{Filters: map[string]string{"open": "perhaps"}}, {Search: strings.Repeat("长", 101)},
		} {
			if _, err := l.Read(reader(t.Context(), scope.Nation), q); errs.KindOf(err) != errs.KindInvalid || len(errs.As(err).Fields) == 0 {
				t.Errorf("%+v: %v", q, err)
			}
		}
		if p, err := l.Read(t.Context(), ledger.Query{}); err != nil || len(p.Items) != 0 {
			t.Errorf("nobody reads %d rows, %v", len(p.Items), err)
		}
	})
}

func TestCountIsCapped(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, []db.Migrations{boxes}, func(t *testing.T, d *db.DB) {
		fill(t, d, ledger.CountCap+200)
		l := ledger.Define(d, spec())
		ctx := reader(t.Context(), scope.Nation)
		if p, err := l.Read(ctx, ledger.Query{}); err != nil || p.Total != ledger.CountCap || !p.TotalCapped {
			t.Errorf("%d %v, %v", p.Total, p.TotalCapped, err)
		}
		if p, err := l.Read(ctx, ledger.Query{Exact: true}); err != nil || p.Total != ledger.CountCap+200 || p.TotalCapped {
			t.Errorf("exact: %d %v, %v", p.Total, p.TotalCapped, err)
		}
	})
}

func TestDefineRefuses(t *testing.T) {
	t.Parallel()
	d := kerneltest.Open(t, db.SQLite, boxes)
	for name, spoil := range map[string]func(s *ledger.Spec[box]){
		"no scope":      func(s *ledger.Spec[box]) { s.Alias = "" },
		"no permission": func(s *ledger.Spec[box]) { s.Need = "" },
		"unknown order": func(s *ledger.Spec[box]) { s.Order = "nothing" },
		"unknown field": func(s *ledger.Spec[box]) { s.Columns = append(s.Columns, ledger.Column{Key: "ghost", SQL: "r.name"}) },
		"no id":         func(s *ledger.Spec[box]) { s.Columns = s.Columns[1:] },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			s := spec()
			spoil(&s)
			ledger.Define(d, s)
		}()
	}
}
