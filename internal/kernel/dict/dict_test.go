package dict_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/record"
)

var parts = []db.Migrations{audit.Migrations, dict.Migrations}

var quiet = slog.New(slog.DiscardHandler)

func open(t testing.TB, d *db.DB, kinds ...dict.Kind) *dict.Dict {
	t.Helper()
	x := dict.New(d, kerneltest.NewLog(t, d), &record.Registry{}, quiet)
	x.Declare(kinds...)
	if err := x.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	return x
}

func sysadmin(ctx context.Context) context.Context {
	return actor.With(ctx, &actor.Actor{Kind: actor.Person, ID: "a1", Name: "系统管理员", Admin: "system",
		Grants: []actor.Grant{{Permissions: []string{dict.Manage}}}})
}

func csvKind(key string, tree bool, text string) dict.Kind {
	return dict.Kind{Key: key, Title: "测试表", Tree: tree, Seed: dict.CSV(fstest.MapFS{"x.csv": {Data: []byte(text)}}, "x.csv")}
}

func code(err error) string {
	if e := errs.As(err); e != nil {
		return e.Code
	}
	return fmt.Sprint(err)
}

func codes(items []*dict.Item) string {
	var out []string
	for _, i := range items {
		out = append(out, i.Code)
	}
	return strings.Join(out, " ")
}

func entries(t *testing.T, d *db.DB, kind string) (n int) {
	t.Helper()
	if err := d.Conn(t.Context()).NewRaw("SELECT count(*) FROM audit_entry WHERE kind = ?", kind).Scan(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func ptr[T any](v T) *T { return &v }

func day(s string) time.Time {
	t, err := time.ParseInLocation(time.DateOnly, s, clock.Zone)
	if err != nil {
		panic(err)
	}
	return t
}

func TestShipped(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		x := open(t, d)
		if n := len(x.Items(dict.Industry, time.Time{})); n != 1971 {
			t.Errorf("%d industries", n)
		}
		if n := entries(t, d, "dict.shipped"); n != 1971+22+61 {
			t.Errorf("%d log entries", n)
		}
		if got := x.Label(dict.Industry, "C2614"); got != "有机化学原料制造" {
			t.Errorf("label %q", got)
		}
		if got := codes(x.Ancestors(dict.Industry, "C2614", time.Time{})); got != "C C26 C261" {
			t.Errorf("ancestors %q", got)
		}
		if got := codes(x.Children(dict.Industry, "", time.Time{})); got != "A B C D E F G H I J K L M N O P Q R S T" {
			t.Errorf("sections %q", got)
		}
		if got := codes(x.Children(dict.Industry, "C267", time.Time{})); got != "C2671 C2672" {
			t.Errorf("children %q", got)
		}
		// Every row of the mapping leads from an industry to a line, and every industry leads somewhere.
		for _, i := range x.Items(dict.IndustryLine, time.Time{}) {
			if err := errors.Join(x.Valid(dict.Industry, i.Code, time.Time{}), x.Valid(dict.Line, i.Extra["line"], time.Time{})); err != nil || i.Label == "" {
				t.Errorf("%s → %v: %v", i.Code, i.Extra, err)
			}
		}
		for _, i := range x.Items(dict.Industry, time.Time{}) {
			if x.LineOf(i.Code) == "" {
				t.Errorf("no line for %s %s", i.Code, i.Label)
			}
		}
	})
}

func TestLineOf(t *testing.T) {
	t.Parallel()
	x := open(t, kerneltest.Open(t, db.SQLite, parts...))
	for industry, line := range map[string]string{
		"C2614": "hazchem", "2614": "hazchem", "C": "industryTrade", "C1311": "industryTrade", "C2671": "civilExplosive", "C2672": "fireworks",
		"C267": "hazchem", "B0610": "coalMine", "B1110": "coalMine", "B0810": "nonCoalMine", "G5942": "hazchem", "G5920": "commerce",
		"P8334": "education", "4511": "gas", "": "", "X": "", "Z99": "", "C0111": "", "有": "",
	} {
		if got := x.LineOf(industry); got != line {
			t.Errorf("LineOf(%q) = %q, want %q", industry, got, line)
		}
	}
}

// A second start changes nothing; a newer program adds, corrects what nobody touched, and leaves every edit alone.
func TestSeedAgain(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		old := "code,label,from\na,甲,\nb,乙,\nc,丙,\n"
		x := open(t, d, csvKind("k", false, old))
		edit := func(code string, in dict.EditInput) {
			t.Helper()
			i := x.Item("k", code, time.Time{})
			in.Version = i.Version
			if _, err := x.Edit(sysadmin(t.Context()), i.ID, in); err != nil {
				t.Fatal(err)
			}
		}
		edit("b", dict.EditInput{Label: ptr("乙（本县）")})
		edit("c", dict.EditInput{EffectiveFrom: ptr("2026-01-01")})
		if _, err := x.Add(sysadmin(t.Context()), dict.AddInput{Kind: "k", Code: "d", Label: "丁（本县）"}); err != nil {
			t.Fatal(err)
		}
		before := entries(t, d, "dict.shipped")
		open(t, d, csvKind("k", false, old))
		if n := entries(t, d, "dict.shipped") + entries(t, d, "dict.corrected"); n != before {
			t.Errorf("seeding again wrote %d entries", n-before)
		}
		x = open(t, d, csvKind("k", false, "code,label,from,note\na,甲（更正）,,n\nb,乙（更正）,,\nc,丙（更正）,,\nd,丁,,\ne,戊,,\n"))
		var got []string
		for _, i := range x.Items("k", time.Time{}) {
			got = append(got, i.Code+i.Label+i.EffectiveFrom+i.Extra["note"])
		}
		slices.Sort(got)
		if want := "[a甲（更正）n b乙（本县） c丙2026-01-01 d丁（本县） e戊]"; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
	})
}

func TestSeedInSeveralProcesses(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				x := dict.New(d, kerneltest.NewLog(t, d), &record.Registry{}, quiet)
				if err := x.Seed(context.Background()); err != nil {
					t.Error(err)
				}
				if n := len(x.Items(dict.Industry, time.Time{})); n != 1971 {
					t.Errorf("%d industries", n)
				}
			})
		}
		wg.Wait()
	})
}

func TestPeriods(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		x := open(t, d, csvKind("k", false, "code,label,from,to,clause\nm,旧名,2020-01-01,2026-03-10,旧法\nm,新名,2026-03-11,,新法\nz,将来,2027-01-01,,\ny,过去,,2026-03-11,\n"))
		for _, c := range []struct{ code, on, label, problem string }{
			{"m", "2026-03-10", "旧名", ""}, {"m", "2026-03-11", "新名", ""}, {"m", "2019-12-31", "旧名", "dict.notYet"},
			{"z", "2026-12-31", "将来", "dict.notYet"}, {"z", "2027-01-01", "将来", ""},
			{"y", "2026-03-11", "过去", ""}, {"y", "2026-03-12", "过去", "dict.expired"},
			{"nothing", "2026-03-11", "nothing", "dict.unknown"},
		} {
			if got := x.LabelOn("k", c.code, day(c.on)); got != c.label {
				t.Errorf("%s on %s is called %q, want %q", c.code, c.on, got, c.label)
			}
			err := x.Valid("k", c.code, day(c.on))
			if (err == nil) != (c.problem == "") || (err != nil && code(err) != c.problem) {
				t.Errorf("%s on %s: %v, want %q", c.code, c.on, err, c.problem)
			}
		}
		// The last moment of the last day in Shanghai still belongs to it.
		if err := x.Valid("k", "y", day("2026-03-12").Add(-time.Second)); err != nil {
			t.Error(err)
		}
		if got := x.Item("k", "m", day("2026-03-10")); got.Clause != "旧法" {
			t.Errorf("clause %q", got.Clause)
		}
		if got := x.Label("k", "m"); got != "新名" {
			t.Errorf("label %q", got)
		}
	})
}

func TestSearch(t *testing.T) {
	t.Parallel()
	x := open(t, kerneltest.Open(t, db.SQLite, parts...))
	if got := codes(x.Search(dict.Industry, "c261", 3)); got != "C261 C2611 C2612" {
		t.Errorf("by code: %q", got)
	}
	if got := codes(x.Search(dict.Industry, "焰火", 10)); got != "C2672 C267" {
		t.Errorf("by label: %q", got)
	}
	if got := x.Search(dict.Industry, " ", 10); got != nil {
		t.Errorf("empty: %v", codes(got))
	}
	if got := x.Search("nothing", "a", 10); got != nil {
		t.Errorf("unknown table: %v", codes(got))
	}
}

func TestEdit(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		x := open(t, d, csvKind("tree", true, "code,label,parent\na,甲,\nb,乙,a\nc,丙,b\n"), csvKind("flat", false, "code,label\nx,子\n"))
		ctx := sysadmin(t.Context())
		for _, c := range []struct {
			what string
			in   dict.AddInput
			want string
		}{
			{"fine", dict.AddInput{Kind: "tree", Code: "d", Label: "丁", Parent: "c", Extra: map[string]string{"k": "'; --"}}, ""},
			{"again", dict.AddInput{Kind: "tree", Code: "d", Label: "丁"}, "dict.overlap"},
			{"later while open", dict.AddInput{Kind: "tree", Code: "d", Label: "丁", EffectiveFrom: "2027-01-01"}, "dict.overlap"},
			{"no such table", dict.AddInput{Kind: "none", Code: "d", Label: "丁"}, "dict.noKind"},
			{"no such parent", dict.AddInput{Kind: "tree", Code: "e", Label: "戊", Parent: "q"}, "dict.noParent"},
			{"parent in flat", dict.AddInput{Kind: "flat", Code: "e", Label: "戊", Parent: "x"}, "dict.invalid"},
			{"no label", dict.AddInput{Kind: "flat", Code: "e", Label: " "}, "dict.invalid"},
			{"bad code", dict.AddInput{Kind: "flat", Code: "e e", Label: "戊"}, "dict.invalid"},
			{"bad date", dict.AddInput{Kind: "flat", Code: "e", Label: "戊", EffectiveFrom: "2026-02-30"}, "dict.invalid"},
			{"ends before it begins", dict.AddInput{Kind: "flat", Code: "e", Label: "戊", EffectiveFrom: "2026-02-02", EffectiveTo: "2026-02-01"}, "dict.invalid"},
			{"bad mark", dict.AddInput{Kind: "flat", Code: "e", Label: "戊", Mark: "sure"}, "dict.invalid"},
		} {
			_, err := x.Add(ctx, c.in)
			if (err == nil) != (c.want == "") || (err != nil && code(err) != c.want) {
				t.Errorf("%s: %v, want %q", c.what, err, c.want)
			}
		}
		if got := x.Item("tree", "d", time.Time{}); got == nil || got.Extra["k"] != "'; --" {
			t.Fatalf("own edit not seen: %+v", got)
		}

		a := x.Item("tree", "a", time.Time{})
		if _, err := x.Edit(ctx, a.ID, dict.EditInput{Version: a.Version, Parent: ptr("c")}); code(err) != "dict.cycle" {
			t.Errorf("cycle: %v", err)
		}
		if _, err := x.Edit(ctx, a.ID, dict.EditInput{Version: a.Version, Active: ptr(false)}); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Edit(ctx, a.ID, dict.EditInput{Version: a.Version, Label: ptr("x")}); code(err) != "record.stale" {
			t.Errorf("stale edit: %v", err)
		}
		if _, err := x.Edit(ctx, "no-such-id", dict.EditInput{Version: 1}); errs.KindOf(err) != errs.KindNotFound {
			t.Errorf("unknown id: %v", err)
		}
		if err := x.Valid("tree", "a", time.Time{}); code(err) != "dict.inactive" {
			t.Errorf("inactive: %v", err)
		}
		if got := x.Label("tree", "a"); got != "甲" {
			t.Errorf("label of an inactive code: %q", got)
		}
		if got := codes(x.Ancestors("tree", "c", time.Time{})); got != "a b" {
			t.Errorf("ancestors through an inactive code: %q", got)
		}
		all, err := x.All(ctx, "tree")
		if err != nil || codes(all) != "a b c d" && codes(all) != "d a b c" {
			t.Errorf("all: %q %v", codes(all), err)
		}
		if entries(t, d, "dict.added") != 1 || entries(t, d, "dict.edited") != 1 {
			t.Error("edits are not in the log")
		}
	})
}

func TestOutsider(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		x := open(t, d, csvKind("k", false, "code,label\na,甲\n"))
		i := x.Item("k", "a", time.Time{})
		officer := actor.With(t.Context(), &actor.Actor{Kind: actor.Person, ID: "o", Grants: []actor.Grant{{Permissions: []string{"hiddendanger.view"}}}})
		for _, ctx := range []context.Context{t.Context(), officer} {
			_, add := x.Add(ctx, dict.AddInput{Kind: "k", Code: "b", Label: "乙"})
			_, edit := x.Edit(ctx, i.ID, dict.EditInput{Version: 1, Label: ptr("改")})
			_, all := x.All(ctx, "k")
			for _, err := range []error{add, edit, all} {
				if err == nil || errs.KindOf(err) != errs.KindForbidden {
					t.Errorf("outsider: %v", err)
				}
			}
		}
		if x.Label("k", "a") != "甲" || x.Item("k", "b", time.Time{}) != nil {
			t.Error("an outsider changed the table")
		}
	})
}

// What is rolled back never enters the tables in memory, and what another process commits soon does.
func TestRefresh(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		kind := csvKind("k", false, "code,label\na,甲\n")
		here, there := open(t, d, kind), open(t, d, kind)
		if err := there.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer there.Stop()
		ctx := sysadmin(t.Context())
		stop := errors.New("rolled back")
		err := d.Tx(ctx, func(ctx context.Context) error {
			if _, err := here.Add(ctx, dict.AddInput{Kind: "k", Code: "ghost", Label: "无"}); err != nil {
				return err
			}
			if err := here.Refresh(ctx); err != nil {
				return err
			}
			return stop
		})
		if !errors.Is(err, stop) || here.Item("k", "ghost", time.Time{}) != nil {
			t.Errorf("rolled back: %v, seen: %v", err, here.Item("k", "ghost", time.Time{}))
		}
		if _, err := here.Add(ctx, dict.AddInput{Kind: "k", Code: "b", Label: "乙"}); err != nil {
			t.Fatal(err)
		}
		kerneltest.Eventually(t, "the other process sees the new code", func() bool { return there.Item("k", "b", time.Time{}) != nil })
		there.Stop()
	})
}

func TestDeclareTwice(t *testing.T) {
	t.Parallel()
	d := kerneltest.Open(t, db.SQLite, parts...)
	defer func() {
		if recover() == nil {
			t.Error("declared twice")
		}
	}()
	dict.New(d, kerneltest.NewLog(t, d), &record.Registry{}, quiet).Declare(dict.Kind{Key: dict.Line})
}

// What is read back is what the log was told, for shipped, added and edited items alike.
func TestVerified(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		reg, log := &record.Registry{}, kerneltest.NewLog(t, d)
		x := dict.New(d, log, reg, quiet)
		if err := x.Seed(t.Context()); err != nil {
			t.Fatal(err)
		}
		i, err := x.Add(sysadmin(t.Context()), dict.AddInput{Kind: dict.Line, Code: "railway", Label: "铁路", EffectiveFrom: "2026-01-01", Extra: map[string]string{"b": "2", "a": "\u2028<&"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Edit(sysadmin(t.Context()), i.ID, dict.EditInput{Version: 1, Sort: ptr(7)}); err != nil {
			t.Fatal(err)
		}
		if err := log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		report, err := log.Verify(t.Context(), reg.Tables(), nil)
		if err != nil || !report.OK() || report.Records != 1971+22+61+1 {
			t.Errorf("%+v, %v", report, err)
		}
	})
}

func BenchmarkLabel(b *testing.B) {
	x := open(b, kerneltest.Open(b, db.SQLite, parts...))
	for b.Loop() {
		x.Label(dict.Industry, "C2614")
	}
}

func BenchmarkSearch(b *testing.B) {
	x := open(b, kerneltest.Open(b, db.SQLite, parts...))
	for b.Loop() {
		x.Search(dict.Industry, "制造", 20)
	}
}

func BenchmarkSeed(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		d := kerneltest.Open(b, db.SQLite, parts...)
		b.StartTimer()
		open(b, d)
	}
}
