package policy_test

import (
	"testing"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/policy"
	"anwang/internal/kernel/record"
)

type values struct {
	Days  int  `json:"days"`
	Third bool `json:"third"`
}

func TestNearestAndDated(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, []db.Migrations{audit.Migrations, policy.Migrations}, func(t *testing.T, d *db.DB) {
		p := &policy.Policy[values]{Name: "x", Title: "试", Default: values{30, true}, Store: policy.New(d, kerneltest.NewLog(t, d), &record.Registry{}),
			Validate: func(v values) error {
				if v.Days < 1 {
					return errs.InvalidField("x.days", "/days", "至少一天")
				}
				return nil
			}}
		on := func(day string) time.Time {
			at, err := time.Parse(time.DateOnly, day)
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		ctx := actor.AsSystem(t.Context(), "test")
		for _, v := range []struct {
			division, from string
			days           int
		}{{"340000000000", "2026-01-01", 20}, {"341722000000", "2026-02-01", 10}, {"341722000000", "2026-03-01", 15}} {
			if _, err := p.Set(ctx, v.division, v.from, "某文件", values{v.days, false}); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			division, day string
			want          int
			ofDefault     bool
		}{
			{"341722100000", "2025-12-31", 30, true},
			{"341722100000", "2026-01-15", 20, false},
			{"341722100200", "2026-02-15", 10, false},
			{"341722100200", "2026-03-15", 15, false},
			{"341721000000", "2026-03-15", 20, false},
			{"430000000000", "2026-03-15", 30, true},
		} {
			v, version, err := p.For(t.Context(), c.division, on(c.day))
			if err != nil || v.Days != c.want || (version == "") != c.ofDefault {
				t.Errorf("%s on %s: %+v %q %v", c.division, c.day, v, version, err)
			}
		}
		if _, err := p.Set(ctx, "341722000000", "2026-05-01", "", values{1, false}); errs.KindOf(err) != errs.KindInvalid {
			t.Errorf("without a basis: %v", err)
		}
		if _, err := p.Set(ctx, "341722000000", "2026-05-01", "某文件", values{0, false}); errs.KindOf(err) != errs.KindInvalid {
			t.Errorf("invalid: %v", err)
		}
		town := actor.With(t.Context(), &actor.Actor{Kind: actor.Person, Grants: []actor.Grant{{Permissions: []string{policy.Manage}, Divisions: []string{"341722100000"}}}})
		if _, err := p.Set(town, "341722000000", "2026-05-01", "某文件", values{1, false}); errs.KindOf(err) != errs.KindForbidden {
			t.Errorf("a town set the county's policy: %v", err)
		}
		if _, err := p.Set(town, "341722100000", "2026-05-01", "某文件", values{1, false}); err != nil {
			t.Error(err)
		}
	})
}
