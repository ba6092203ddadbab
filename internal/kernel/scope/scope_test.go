package scope_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/fstest"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/scope"
)

var places = db.Migrations{Part: "place", Files: fstest.MapFS{"migrations/0001_init.sql": {Data: []byte(`
CREATE TABLE place (id INTEGER PRIMARY KEY, division codetext, province_code codetext, city_code codetext, county_code codetext,
  town_code codetext, village_code codetext, line codetext, enterprise_id codetext);
`)}}}

type row struct {
	ID int `bun:"id,pk"`
	scope.Place
}

// The filter in SQL and the filter on a record in hand say the same, for thousands of places and grants.
func TestSQLAndSeesAgree(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, []db.Migrations{places}, func(t *testing.T, d *db.DB) {
		r := rand.New(rand.NewPCG(1, 2))
		codes := []string{"340000000000", "341700000000", "341722000000", "341722100000", "341722100200", "341722101000", "350000000000",
			"350581000000", "350581001001", "441900003000", "429004000000", "000000000000"}
		lines := []string{"", "gas", "fire", "coalMine"}
		enterprises := []string{"", "e1", "e2"}
		pick := func(from []string) string { return from[r.IntN(len(from))] }
		var rows []row
		for i := range 400 {
			rows = append(rows, row{i + 1, scope.At(pick(codes[:11]), pick(lines), pick(enterprises))})
		}
		ctx := t.Context()
		if err := d.Tx(ctx, func(ctx context.Context) error {
			_, err := d.Conn(ctx).NewInsert().Model(&rows).ModelTableExpr("place").Exec(ctx)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		seen := 0
		for range 500 {
			a := &actor.Actor{Kind: actor.Person}
			for range r.IntN(4) {
				g := actor.Grant{Permissions: []string{"x.view"}}
				if r.IntN(5) == 0 {
					g.Permissions = []string{"x.other"}
				}
				if r.IntN(4) == 0 {
					g.Enterprise = pick(enterprises)
				}
				for range r.IntN(3) {
					g.Divisions = append(g.Divisions, pick(codes))
				}
				for range r.IntN(3) {
					g.Lines = append(g.Lines, pick(lines[1:]))
				}
				a.Grants = append(a.Grants, g)
			}
			f := scope.For(actor.With(ctx, a), "x.view")
			var got []int
			if err := f.Apply(d.Conn(ctx).NewSelect().TableExpr("place AS r").ColumnExpr("r.id"), "r").OrderExpr("r.id").Scan(ctx, &got); err != nil {
				t.Fatal(err)
			}
			var want []int
			for _, x := range rows {
				if f.Sees(x.Place) {
					want = append(want, x.ID)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("grants %+v: SQL %v, Sees %v", a.Grants, got, want)
			}
			seen += len(got)
		}
		if seen == 0 {
			t.Error("nothing was ever seen: the test says nothing")
		}
	})
}

func TestFor(t *testing.T) {
	t.Parallel()
	town := scope.At("341722100200", "gas", "e1")
	for _, c := range []struct {
		name  string
		grant actor.Grant
		want  bool
	}{
		{"own village", actor.Grant{Divisions: []string{"341722100200"}}, true},
		{"town above", actor.Grant{Divisions: []string{"341722100000"}}, true},
		{"province", actor.Grant{Divisions: []string{"340000000000"}}, true},
		{"nation", actor.Grant{Divisions: []string{scope.Nation}}, true},
		{"other town", actor.Grant{Divisions: []string{"341722101000"}}, false},
		{"no territory", actor.Grant{}, false},
		{"broken code", actor.Grant{Divisions: []string{"3417"}}, false},
		{"its line", actor.Grant{Divisions: []string{"341722000000"}, Lines: []string{"fire", "gas"}}, true},
		{"another line", actor.Grant{Divisions: []string{"341722000000"}, Lines: []string{"fire"}}, false},
		{"its enterprise", actor.Grant{Enterprise: "e1"}, true},
		{"another enterprise in the same town", actor.Grant{Enterprise: "e2", Divisions: []string{"341722100000"}}, false},
	} {
		c.grant.Permissions = []string{"x.view"}
		ctx := actor.With(t.Context(), &actor.Actor{Kind: actor.Person, Grants: []actor.Grant{c.grant}})
		if got := scope.For(ctx, "x.view").Sees(town); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if scope.For(ctx, "x.edit").Sees(town) {
			t.Errorf("%s: seen without the permission", c.name)
		}
	}
	if !scope.For(t.Context(), "x.view").Empty() || (scope.Filter{}).Sees(town) {
		t.Error("nobody sees something")
	}
	// The rights of one post do not reach into the territory of the other.
	two := &actor.Actor{Kind: actor.Person, Grants: []actor.Grant{
		{Permissions: []string{"x.view"}, Divisions: []string{"341722101000"}}, {Permissions: []string{"x.edit"}, Divisions: []string{"341722100000"}}}}
	if scope.For(actor.With(t.Context(), two), "x.view").Sees(town) {
		t.Error("a permission leaked from one post into another's territory")
	}
}
