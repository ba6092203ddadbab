package org_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gm"
)

var parts = []db.Migrations{audit.Migrations, org.Migrations}

type kit struct {
	*org.Directory
	t   *testing.T
	db  *db.DB
	log *audit.Log
	reg *record.Registry
}

func open(t *testing.T, d *db.DB) *kit {
	t.Helper()
	seal, err := gm.NewSealer([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	k := &kit{t: t, db: d, log: kerneltest.NewLog(t, d), reg: &record.Registry{}}
	k.Directory = org.New(d, k.log, k.reg, seal)
	return k
}

func (k *kit) seed(roots ...string) *kit {
	k.t.Helper()
	if err := k.SeedDivisions(sysadmin(k.t), roots...); err != nil {
		k.t.Fatal(err)
	}
	return k
}

func (k *kit) now() *org.Divisions {
	k.t.Helper()
	s, err := k.Divisions(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	return s
}

// verified proves that every row is what the log says of it.
func (k *kit) verified() {
	k.t.Helper()
	if err := k.log.Flush(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	r, err := k.log.Verify(k.t.Context(), k.reg.Tables(), nil)
	if err != nil {
		k.t.Fatal(err)
	}
	if !r.OK() {
		k.t.Errorf("log and rows differ: %+v", r.Findings[:min(3, len(r.Findings))])
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func sysadmin(t *testing.T) context.Context {
	return actor.With(t.Context(), &actor.Actor{Kind: actor.Person, ID: "s", Name: "系统管理员", Admin: "system",
		Grants: []actor.Grant{{Permissions: []string{org.Manage, org.View}}}})
}

func business(t *testing.T, division string, lines []string, permissions ...string) context.Context {
	slices.Sort(permissions)
	return actor.With(t.Context(), &actor.Actor{Kind: actor.Person, ID: "b", Name: "某人",
		Grants: []actor.Grant{{Permissions: permissions, Divisions: []string{division}, Lines: lines}}})
}

func day(s string) time.Time {
	d, err := time.ParseInLocation(time.DateOnly, s, clock.Zone)
	if err != nil {
		panic(err)
	}
	return d
}

func code(err error) string {
	if err == nil {
		return "ok"
	}
	if e := errs.As(err); e != nil {
		return e.Code
	}
	return err.Error()
}

func ptr[T any](v T) *T { return &v }

func codes(ds []*org.Division) (out []string) {
	for _, d := range ds {
		out = append(out, d.Code)
	}
	return out
}

const (
	shitai  = "341722000000"
	renli   = "341722100000" // 仁里镇
	qidu    = "341722101000" // 七都镇
	village = "341722100002" // 马村居委会
)

func TestSeedShitai(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d).seed("341722")
		s := k.now()
		// province, city, county, 9 towns, 85 villages
		if s.Len() != 97 {
			t.Errorf("%d divisions, want 97", s.Len())
		}
		if got := strings.Join(s.Path(village, kerneltest.Noon), "/"); got != "安徽省/池州市/石台县/仁里镇/马村居委会" {
			t.Errorf("path %s", got)
		}
		if n := len(s.Children(shitai, kerneltest.Noon)); n != 9 {
			t.Errorf("%d towns, want 9", n)
		}
		if v := s.Division("341722401498"); v == nil || !v.Statistical {
			t.Error("the statistical village 498 is not marked")
		}
		if v := s.Division(village); v.Statistical {
			t.Error("a real village is marked as statistical")
		}
		if s.Division("350581000000") != nil || s.Path("999999000000", kerneltest.Noon) != nil {
			t.Error("unknown codes are known")
		}
		var entries int
		count := func() int {
			if err := d.Conn(t.Context()).NewRaw("SELECT count(*) FROM audit_entry").Scan(t.Context(), &entries); err != nil {
				t.Fatal(err)
			}
			return entries
		}
		before := count()
		k.seed("341722")
		open(t, d).seed("341722")
		if after := count(); after != before {
			t.Errorf("seeding again wrote %d entries", after-before)
		}
		k.seed("350581") // a second region joins what is there
		if s := k.now(); s.Division("350581000000") == nil || s.Len() != 97+1+1+1+10+129 {
			t.Errorf("after a second root: %d divisions", s.Len())
		}
		k.verified()
		if err := k.SeedDivisions(sysadmin(t), "81x"); err == nil {
			t.Error("a malformed root passed")
		}
		if err := k.SeedDivisions(business(t, shitai, nil, org.View), "43"); code(err) != "access.forbidden" {
			t.Errorf("seeding without permission: %v", err)
		}
	})
}

func TestSeedCutOff(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d)
		// What an interrupted seeding leaves: some of the rows, one of them edited since.
		k.seed("340000") // all of Anhui that the lists have, without towns
		must[*org.Division](t)(k.Rename(sysadmin(t), org.RenameInput{Code: shitai, Name: "石台市", On: "2026-03-01", Basis: "试"}))
		k.seed("341722")
		s := k.now()
		if s.Division(shitai).Name != "石台市" || s.Division(village) == nil {
			t.Error("seeding overwrote an edit or left out the rest")
		}
	})
}

// 公主岭: 220381 under 四平 became 220184 under 长春 in 2020.
func TestReachAfterRecoding(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d).seed("220184")
		s := k.now()
		old, today, changchun, siping, jilin := "220381000000", "220184000000", "220100000000", "220300000000", "220000000000"
		for _, c := range []struct {
			code string
			on   time.Time
			want []string
		}{
			{today, kerneltest.Noon, []string{today, old}},
			{changchun, kerneltest.Noon, []string{changchun, old}},
			{jilin, kerneltest.Noon, []string{jilin}}, // the old code lies in it anyway
			{siping, kerneltest.Noon, []string{siping}},
			{old, kerneltest.Noon, []string{old}},
			{today, day("2020-06-18"), []string{today}}, // the last day of the old code
			{today, day("2020-06-19"), []string{today, old}},
			{scope.Nation, kerneltest.Noon, []string{scope.Nation}},
			{"999999000000", kerneltest.Noon, []string{"999999000000"}},
		} {
			if got := s.Reach(c.code, c.on); !slices.Equal(got, c.want) {
				t.Errorf("reach of %s on %s: %v, want %v", c.code, clock.Date(c.on), got, c.want)
			}
		}
		if s.Renumbered(old, kerneltest.Noon) != today {
			t.Error("the shipped recoding is not marked as such")
		}
		if s.Current(old, kerneltest.Noon) != today || s.Current(old, day("2019-01-01")) != old {
			t.Error("current code of the old one")
		}
		if got := strings.Join(s.Path(old, kerneltest.Noon), "/"); got != "吉林省/四平市/公主岭市" {
			t.Errorf("path of the old code: %s", got)
		}
		// What the officer of the successor sees is decided by these codes and scope.
		f := scope.For(business(t, "", nil), "x")
		if f.Sees(scope.At(old+"", "", "")) {
			t.Error("somebody without territory sees it")
		}
		officer := actor.With(t.Context(), &actor.Actor{Kind: actor.Person, Grants: []actor.Grant{{Permissions: []string{"x"}, Divisions: s.Reach(changchun, kerneltest.Noon)}}})
		if !scope.For(officer, "x").Sees(scope.At("220381101001", "", "")) {
			t.Error("the officer of 长春 does not see what was filed under 220381")
		}
	})
}

func TestMergeTowns(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d).seed("341722")
		ctx := sysadmin(t)
		merge := func(from, into, on string) error {
			return k.Merge(ctx, org.MergeInput{From: []string{from}, Into: into, On: on, Basis: "皖民地函〔2026〕1号"})
		}
		third := "341722102000"
		if err := merge(renli, qidu, "2026-04-01"); err != nil {
			t.Fatal(err)
		}
		if err := merge(qidu, third, "2027-01-01"); err != nil {
			t.Fatal(err)
		}
		s := k.now()
		if got := s.Reach(qidu, day("2026-04-01")); !slices.Equal(got, []string{qidu, renli}) {
			t.Errorf("reach of the successor: %v", got)
		}
		if got := s.Reach(third, day("2026-12-31")); !slices.Equal(got, []string{third}) {
			t.Errorf("before the second merger: %v", got)
		}
		if got := s.Reach(third, day("2027-01-01")); len(got) != 3 {
			t.Errorf("through two mergers: %v", got)
		}
		if got := s.Reach(shitai, day("2027-01-01")); !slices.Equal(got, []string{shitai}) {
			t.Errorf("the county reaches them by itself: %v", got)
		}
		if s.Renumbered(renli, day("2027-06-01")) != renli {
			t.Error("a merger counts as a new code")
		}
		if s.Current(renli, day("2027-06-01")) != third {
			t.Error("current does not follow two mergers")
		}
		if v := s.Division(village); v.ValidTo != "2026-03-31" || len(v.Successors) != 0 {
			t.Errorf("village of the merged town: %+v", v)
		}
		if slices.Contains(codes(s.Children(shitai, day("2026-04-01"))), renli) || !slices.Contains(codes(s.Children(shitai, day("2026-03-31"))), renli) {
			t.Error("the merged town ends on the wrong day")
		}
		// The village gets its successor afterwards, and keeps its last day.
		heir := must[*org.Division](t)(k.AddDivision(ctx, org.DivisionInput{Code: "341722101901", Name: "马村社区", ValidFrom: "2026-04-01"}))
		if err := merge(village, heir.Code, "2026-05-01"); err != nil {
			t.Fatal(err)
		}
		if v := k.now().Division(village); v.ValidTo != "2026-03-31" || !slices.Equal(v.Successors, []string{heir.Code}) {
			t.Errorf("village after its own merger: %+v", v)
		}
		for what, err := range map[string]error{
			"org.merged":        merge(renli, qidu, "2026-06-01"),
			"org.mergeLevel":    merge(third, shitai, "2026-06-01"),
			"org.noDivision":    merge("341722999000", qidu, "2026-06-01"),
			"org.divisionEnded": merge("341722103000", renli, "2026-06-01"),
			"org.invalid":       merge("341722103000", third, "1.6.2026"),
		} {
			if code(err) != what {
				t.Errorf("want %s, got %v", what, err)
			}
		}
		if merge(third, third, "2026-06-01") == nil {
			t.Error("merged into itself")
		}
		k.verified()
	})
}

func TestRecodeMovesWhatLiesBelow(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d).seed("341722")
		ctx := sysadmin(t)
		bureau := must[*org.Department](t)(k.AddDepartment(ctx, org.DepartmentInput{Name: "石台县应急管理局", Division: shitai, Kind: org.Regulator}))
		must[*org.Function](t)(k.AssignFunction(ctx, org.FunctionInput{DepartmentID: bureau.ID, Line: "hazchem", Basis: "三定方案"}))
		must[*org.Division](t)(k.AddDivision(ctx, org.DivisionInput{Code: "341782", Name: "石台市", ValidFrom: "2026-07-01", Basis: "国函〔2026〕1号"}))
		if err := k.Merge(ctx, org.MergeInput{From: []string{shitai}, Into: "341782000000", On: "2026-07-01", Recode: true, Basis: "国函〔2026〕1号"}); err != nil {
			t.Fatal(err)
		}
		s := k.now()
		after := day("2026-07-01")
		if got := s.Current(village, after); got != "341782100002" {
			t.Errorf("the village is now %s", got)
		}
		if got := strings.Join(s.Path("341782100002", after), "/"); got != "安徽省/池州市/石台市/仁里镇/马村居委会" {
			t.Errorf("path %s", got)
		}
		if got := s.Reach("341782100000", after); !slices.Equal(got, []string{"341782100000", renli}) {
			t.Errorf("reach of the recoded town: %v", got)
		}
		if got := s.Reach("341782000000", after); !slices.Equal(got, []string{"341782000000", shitai}) {
			t.Errorf("reach of the recoded county: %v", got)
		}
		// What was given for the old code goes on under the new one.
		if s.Renumbered(renli, after) != "341782100000" || s.Renumbered(renli, day("2026-06-30")) != renli {
			t.Error("the old code is not followed to the new one, or too early")
		}
		if cs := must[[]org.Competence](t)(k.CompetentDepartments(ctx, "341782100002", "hazchem", after)); len(cs) != 1 || cs[0].Department.ID != bureau.ID {
			t.Errorf("competent under the new code: %+v", cs)
		}
		for _, below := range []bool{false, true} {
			if ds := must[[]*org.Department](t)(k.Departments(ctx, "341782000000", below, after)); len(ds) != 1 {
				t.Errorf("departments under the new code: %v", ds)
			}
		}
		if ds := must[[]*org.Department](t)(k.Departments(ctx, renli, true, after)); len(ds) != 0 {
			t.Errorf("departments of a town: %v", ds)
		}
		k.verified()
	})
}

func TestSplit(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d).seed("341722")
		ctx := sysadmin(t)
		a, b := org.DivisionInput{Code: "341722110", Name: "仁里东镇"}, org.DivisionInput{Code: "341722111", Name: "仁里西镇"}
		if err := k.Split(ctx, org.SplitInput{Code: renli, Into: []org.DivisionInput{a, b}, On: "2026-05-01", Basis: "试"}); err != nil {
			t.Fatal(err)
		}
		if err := k.Split(ctx, org.SplitInput{Code: qidu, Into: []org.DivisionInput{{Code: "341722112", Name: "七都新区"}}, Remains: true, On: "2026-05-01", Basis: "试"}); err != nil {
			t.Fatal(err)
		}
		s := k.now()
		if got := s.Reach("341722110000", day("2026-06-01")); len(got) != 1 {
			t.Errorf("a part of a split division reaches the whole: %v", got)
		}
		if s.Current(renli, day("2026-06-01")) != renli || s.Division(renli).ValidTo != "2026-04-30" || len(s.Division(renli).Successors) != 2 {
			t.Errorf("the split division: %+v", s.Division(renli))
		}
		if s.Division(qidu).ValidTo != "" || s.Division("341722112000").ValidFrom != "2026-05-01" {
			t.Error("the division that remains ended")
		}
		if err := k.Split(ctx, org.SplitInput{Code: qidu, Into: []org.DivisionInput{a}, On: "2026-05-01", Basis: "试"}); code(err) != "org.invalid" {
			t.Errorf("split into one: %v", err)
		}
		k.verified()
	})
}

func TestRename(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d).seed("341722")
		ctx := sysadmin(t)
		k.now()
		must[*org.Division](t)(k.Rename(ctx, org.RenameInput{Code: renli, Name: "秋浦镇", On: "2026-04-01", Basis: "试"}))
		s := k.now()
		if s.Division(renli).NameOn(day("2026-03-31")) != "仁里镇" || s.Division(renli).NameOn(day("2026-04-01")) != "秋浦镇" {
			t.Error("the name has the wrong day")
		}
		if got := s.Search("仁里", day("2026-05-01"), 5); len(got) == 0 || got[0].Code != renli {
			t.Errorf("not found by its former name: %v", codes(got))
		}
		if _, err := k.Rename(ctx, org.RenameInput{Code: renli, Name: "别名", On: "2026-02-01", Basis: "试"}); code(err) != "org.renameOrder" {
			t.Errorf("rename before a rename: %v", err)
		}
		k.verified()
	})
}

func TestSearch(t *testing.T) {
	t.Parallel()
	k := open(t, kerneltest.Open(t, db.SQLite, parts...)).seed("341722", scope.Nation)
	s := k.now()
	for q, want := range map[string]string{"石台县": shitai, "341722": shitai, "石台": shitai, "马村居": village, "石狮": "350581000000"} {
		if got := s.Search(q, kerneltest.Noon, 3); len(got) == 0 || got[0].Code != want {
			t.Errorf("search %s: %v", q, codes(got))
		}
	}
	if got := s.Search("县", kerneltest.Noon, 7); len(got) != 7 {
		t.Errorf("limit: %d", len(got))
	}
	if s.Search(" ", kerneltest.Noon, 3) != nil {
		t.Error("an empty question has answers")
	}
	if got := strings.Join(s.Path("110101000000", kerneltest.Noon), ""); got != "北京市东城区" {
		t.Errorf("groupings are named: %s", got)
	}
}

func TestZones(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d).seed("341722")
		ctx := sysadmin(t)
		var wg sync.WaitGroup
		got := make([]string, 8)
		for i := range got {
			wg.Go(func() {
				z, err := k.AddDivision(ctx, org.DivisionInput{Name: fmt.Sprintf("园区%d", i), Kind: org.KindZone, County: "341722"})
				if err != nil {
					t.Errorf("zone: %v", err)
					return
				}
				got[i] = z.Code
			})
		}
		wg.Wait()
		slices.Sort(got)
		if got[0] != "341722900000" || got[7] != "341722907000" || len(slices.Compact(got)) != 8 {
			t.Errorf("zone codes %v", got)
		}
		z := k.now().Division("341722900000")
		if z.Parent != shitai || z.Kind != org.KindZone || scope.At(z.Code, "", "").CountyCode != shitai {
			t.Errorf("a zone does not lie in its county: %+v", z)
		}
		for _, bad := range []org.DivisionInput{
			{Name: "x", Kind: org.KindZone}, {Name: "x", Kind: org.KindZone, County: "3417"}, {Name: "", Code: "341722103"}, {Name: "x", Code: "341799001"},
			{Name: "x", Code: "12345"}, {Name: "x", Code: "341722", Kind: "other"}, {Name: "x", Code: "341722104", Lon: ptr(117.0)},
		} {
			if _, err := k.AddDivision(ctx, bad); errs.As(err) == nil || errs.As(err).Kind != errs.KindInvalid {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		if _, err := k.AddDivision(ctx, org.DivisionInput{Name: "x", Code: "341722100"}); code(err) != "org.divisionExists" {
			t.Errorf("existing code: %v", err)
		}
	})
}

// A second process: what one edits the other sees, at the latest a second later, and itself at once.
func TestSnapshotOfTwoProcesses(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		here, there := open(t, d).seed("341722"), open(t, d)
		ctx := sysadmin(t)
		before := there.now()
		if before != there.now() {
			t.Error("the snapshot is read anew without need")
		}
		must[*org.Division](t)(here.Rename(ctx, org.RenameInput{Code: renli, Name: "秋浦镇", On: "2026-03-01", Basis: "试"}))
		if here.now().Division(renli).Name != "秋浦镇" {
			t.Error("the process that edited does not see it at once")
		}
		if there.now() != before {
			t.Error("the other process asked before its time")
		}
		d.Clock.Advance(time.Second)
		after := there.now()
		if after.Division(renli).Name != "秋浦镇" || before.Division(renli).Name != "仁里镇" {
			t.Error("the other process does not see the edit after a second, or an old snapshot changed")
		}
		if after.Division(qidu) != before.Division(qidu) {
			t.Error("one rename read all divisions anew")
		}
		// Inside a transaction that will be rolled back nothing leaks into the snapshot.
		err := d.Tx(ctx, func(ctx context.Context) error {
			must[*org.Division](t)(here.Rename(ctx, org.RenameInput{Code: qidu, Name: "幻影镇", On: "2026-03-01", Basis: "试"}))
			s, err := here.Divisions(ctx)
			if err != nil || s.Division(qidu).Name != "七都镇" {
				t.Errorf("the snapshot shows what is not committed: %v", err)
			}
			return context.Canceled
		})
		if err == nil || here.now().Division(qidu).Name != "七都镇" {
			t.Error("rolled back edit is seen")
		}
	})
}

func TestImport(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d).seed("341722")
		ctx := sysadmin(t)
		in := func(text string, dry bool) *org.ImportReport {
			t.Helper()
			return must[*org.ImportReport](t)(k.ImportDivisions(ctx, strings.NewReader(text), dry, nil))
		}
		good := "\xef\xbb\xbfName,CODE,lon,lat\n新村,341722120001,117.48,30.21\n新镇,341722120,,\n石台县,341722,117.4865,30.2104\n七都镇,341722101,,\n"
		if r := in(good, true); r.Rows != 4 || r.New != 2 || r.Located != 1 || r.Same != 1 || len(r.Faults) != 0 || k.now().Division("341722120000") != nil {
			t.Errorf("dry run: %+v", r)
		}
		var steps []int
		must[*org.ImportReport](t)(k.ImportDivisions(ctx, strings.NewReader(good), false, func(done, total int) { steps = append(steps, done, total) }))
		s := k.now()
		if s.Division("341722120001") == nil || s.Division(shitai).Lon == nil || *s.Division(shitai).Lat != 30.2104 || !slices.Equal(steps, []int{3, 3}) {
			t.Errorf("imported: %+v, progress %v", s.Division(shitai), steps)
		}
		if r := in(good, false); r.New != 0 || r.Same != 4 {
			t.Errorf("imported twice: %+v", r)
		}
		bad := "code,name,lon,lat\n" +
			"34172X,甲,,\n" + // 2
			"341722130,,,\n" + // 3
			"341722131,乙,30.2,117.4\n" + // 4: exchanged
			"341722101,八都镇,,\n" + // 5: another name
			"341723001,丙,,\n" + // 6: no parent
			"341722132,丁,,\n341722132,丁,,\n" + // 8: twice
			"1.1E+11,戊,,\n" // 9: what a spreadsheet makes of codes
		r := in(bad, false)
		var lines []int
		for _, f := range r.Faults {
			lines = append(lines, f.Row)
		}
		if !slices.Equal(lines, []int{2, 3, 4, 5, 6, 8, 9}) || k.now().Division("341722132000") != nil {
			t.Errorf("faults %+v", r.Faults)
		}
		gbk, err := simplifiedchinese.GB18030.NewEncoder().String("code,name\n341722140,镕镇\n")
		if err != nil {
			t.Fatal(err)
		}
		if r := in(gbk, false); r.New != 1 || k.now().Division("341722140000").Name != "镕镇" {
			t.Errorf("GBK: %+v", r)
		}
		for _, garbage := range []string{"", "a,b\n1,2\n", "code,name\n\"341722150,x\n", "\x00\xff\xfe\x01", "PK\x03\x04zip"} {
			if _, err := k.ImportDivisions(ctx, strings.NewReader(garbage), false, nil); errs.As(err) == nil || errs.As(err).Kind != errs.KindInvalid {
				t.Errorf("%q: %v", garbage, err)
			}
		}
		k.verified()
	})
}

// Handbook 0: 安监局 held work safety and occupational health until 2018; then 应急管理局, 卫生健康委 and 消防救援机构.
func TestCompetentDepartments(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d).seed("341722")
		ctx := sysadmin(t)
		dept := func(name, division, from, to string) string {
			return must[*org.Department](t)(k.AddDepartment(ctx, org.DepartmentInput{Name: name, Division: division, Kind: org.Regulator, ValidFrom: from, ValidTo: to})).ID
		}
		assign := func(department, line, from, to string) {
			must[*org.Function](t)(k.AssignFunction(ctx, org.FunctionInput{DepartmentID: department, Line: line, ValidFrom: from, ValidTo: to, Basis: "三定方案"}))
		}
		old := dept("石台县安全生产监督管理局", shitai, "", "2018-12-31")
		emergency, health, city := dept("石台县应急管理局", shitai, "2019-01-01", ""), dept("石台县卫生健康委员会", shitai, "2019-01-01", ""), dept("池州市应急管理局", "341700000000", "2019-01-01", "")
		assign(old, "hazchem", "", "2018-12-31")
		assign(old, "health", "", "2018-12-31")
		assign(old, org.Integrated, "", "2018-12-31")
		assign(emergency, org.Integrated, "2019-01-01", "")
		assign(emergency, "hazchem", "2019-01-01", "")
		assign(health, "health", "2019-01-01", "")
		assign(city, "hazchem", "2019-01-01", "")
		ask := func(line, on string) string {
			cs := must[[]org.Competence](t)(k.CompetentDepartments(t.Context(), village, line, day(on)))
			var names []string
			for _, c := range cs {
				n := c.Department.Name
				if c.Integrated() {
					n += "*"
				}
				names = append(names, n)
			}
			return strings.Join(names, " ")
		}
		for _, c := range [][3]string{
			{"hazchem", "2018-12-31", "石台县安全生产监督管理局 石台县安全生产监督管理局*"},
			{"health", "2018-06-01", "石台县安全生产监督管理局 石台县安全生产监督管理局*"},
			{"health", "2019-01-01", "石台县卫生健康委员会 石台县应急管理局*"},
			{"hazchem", "2026-03-11", "石台县应急管理局 石台县应急管理局* 池州市应急管理局"},
			{"tourism", "2026-03-11", "石台县应急管理局*"},
		} {
			if got := ask(c[0], c[1]); got != c[2] {
				t.Errorf("%s on %s: %s, want %s", c[0], c[1], got, c[2])
			}
		}
		// After the county got a new code the question about the old one is answered by the new one's departments.
		must[*org.Division](t)(k.AddDivision(ctx, org.DivisionInput{Code: "341782", Name: "石台市", ValidFrom: "2026-07-01"}))
		if err := k.Merge(ctx, org.MergeInput{From: []string{shitai}, Into: "341782000000", On: "2026-07-01", Recode: true, Basis: "试"}); err != nil {
			t.Fatal(err)
		}
		if got := ask("hazchem", "2026-08-01"); got != "石台县应急管理局 石台县应急管理局* 池州市应急管理局" {
			t.Errorf("under the new code the functions go on: %s", got)
		}
		must[*org.Department](t)(k.EditDepartment(ctx, emergency, 1, org.DepartmentInput{Name: "石台县应急管理局", Division: shitai, Kind: org.Regulator, ValidFrom: "2019-01-01", ValidTo: "2026-06-30"}))
		successor := dept("石台市应急管理局", "341782000000", "2026-07-01", "")
		assign(successor, "hazchem", "2026-07-01", "")
		if got := ask("hazchem", "2026-08-01"); got != "石台市应急管理局 池州市应急管理局" {
			t.Errorf("after recoding: %s", got)
		}
		if got, err := k.CompetentDepartments(t.Context(), "999999000000", "hazchem", kerneltest.Noon); err != nil || len(got) != 0 {
			t.Errorf("nowhere: %v %v", got, err)
		}
		fs := must[[]*org.Function](t)(k.Functions(ctx, health))
		if _, err := k.EndFunction(ctx, fs[0].ID, fs[0].Version+1, "2026-01-01"); code(err) != "record.stale" {
			t.Errorf("stale: %v", err)
		}
		must[*org.Function](t)(k.EndFunction(ctx, fs[0].ID, fs[0].Version, "2025-12-31"))
		if got := ask("health", "2026-03-11"); got != "石台县应急管理局*" {
			t.Errorf("after the function ended: %s", got)
		}
		if _, err := k.AddDepartment(ctx, org.DepartmentInput{Name: "石台县卫生健康委员会", Division: shitai, Kind: org.Regulator}); code(err) != "org.departmentExists" {
			t.Errorf("same name twice: %v", err)
		}
		if _, err := k.AssignFunction(ctx, org.FunctionInput{DepartmentID: emergency, Line: "hazchem", Basis: "x"}); code(err) != "org.functionExists" {
			t.Errorf("same function twice: %v", err)
		}
		k.verified()
	})
}

func TestLinesOfPosts(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d).seed("341722")
		ctx := sysadmin(t)
		dept := func(name, kind string, lines ...string) string {
			id := must[*org.Department](t)(k.AddDepartment(ctx, org.DepartmentInput{Name: name, Division: shitai, Kind: kind})).ID
			for _, l := range lines {
				must[*org.Function](t)(k.AssignFunction(ctx, org.FunctionInput{DepartmentID: id, Line: l, ValidTo: "2026-12-31", Basis: "x"}))
			}
			return id
		}
		housing, emergency, office := dept("住建局", org.Regulator, "gas", "construction"), dept("应急局", org.Regulator, org.Integrated, "hazchem"), dept("安委办", org.CommitteeOffice)
		gone := must[*org.Department](t)(k.AddDepartment(ctx, org.DepartmentInput{Name: "旧局", Division: shitai, Kind: org.Government, ValidTo: "2020-12-31"})).ID
		for _, c := range []struct {
			what, role, unitKind, unit string
			lines                      []string
			on                         string
			want                       string
		}{
			{"line regulator", "industry", org.UnitDepartment, housing, nil, "2026-03-11", "construction gas"},
			{"leader of a line regulator", "leader", org.UnitDepartment, housing, nil, "2026-03-11", "construction gas"},
			{"stated lines", "industry", org.UnitDepartment, housing, []string{"gas"}, "2026-03-11", "gas"},
			{"functions that ended", "industry", org.UnitDepartment, housing, nil, "2027-01-01", "none"},
			{"integrated", "leader", org.UnitDepartment, emergency, nil, "2026-03-11", "all"},
			{"direct lines of the integrated one", "industry", org.UnitDepartment, emergency, nil, "2026-03-11", "hazchem"},
			{"committee office", "office", org.UnitDepartment, office, nil, "2026-03-11", "all"},
			{"abolished department", "leader", org.UnitDepartment, gone, nil, "2026-03-11", "no post"},
			{"village", "grid", org.UnitVillage, village, nil, "2026-03-11", "all"},
		} {
			p := must[*org.PersonView](t)(k.AddPerson(ctx, org.PersonInput{Name: c.what}))
			must[*org.Post](t)(k.Appoint(ctx, org.PostInput{PersonID: p.ID, Role: c.role, UnitKind: c.unitKind, UnitID: c.unit, Lines: c.lines, ValidFrom: "2020-01-01"}))
			held := must[[]org.Held](t)(k.PostsOf(t.Context(), p.ID, day(c.on)))
			got := "no post"
			if len(held) == 1 {
				got = "none"
				if held[0].AllLines {
					got = "all"
				} else if len(held[0].Lines) > 0 {
					got = strings.Join(held[0].Lines, " ")
				}
			}
			if got != c.want {
				t.Errorf("%s: %s, want %s", c.what, got, c.want)
			}
		}
	})
}

func TestPersonalData(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d).seed("341722")
		ctx := sysadmin(t)
		const phone, citizen = "13812345678", "11010519491231002X"
		p := must[*org.PersonView](t)(k.AddPerson(ctx, org.PersonInput{Name: "王_小%明", Phone: ptr("138 1234 5678"), CitizenNumber: ptr(strings.ToLower(citizen)),
			Certificates: []org.Certificate{{Kind: "行政执法证", Number: "12030001", ValidTo: "2028-12-31"}}}))
		must[*org.Post](t)(k.Appoint(ctx, org.PostInput{PersonID: p.ID, Role: "grid", Title: "网格员", UnitKind: org.UnitVillage, UnitID: village, Grids: []string{"g1"}, ValidFrom: "2025-01-01"}))
		inTown := business(t, renli, nil, org.View, org.Personal)
		lineRegulator := business(t, shitai, []string{"gas"}, org.View)
		elsewhere := business(t, qidu, nil, org.View, org.Personal)
		for what, ctx := range map[string]context.Context{"system administrator": ctx, "town": inTown, "line regulator": lineRegulator} {
			list := must[[]*org.PersonView](t)(k.People(ctx, org.PersonQuery{Q: "_小%"}))
			if len(list) != 1 || list[0].Phone != "138****5678" || list[0].CitizenNumber != "110105********002X" {
				t.Errorf("%s sees %+v", what, list)
			}
			if len(must[[]*org.Post](t)(k.Posts(ctx, p.ID))) != 1 || len(must[[]*org.Post](t)(k.Staff(ctx, village, kerneltest.Noon))) != 1 {
				t.Errorf("%s does not see the post", what)
			}
		}
		if list := must[[]*org.PersonView](t)(k.People(inTown, org.PersonQuery{Q: phone})); len(list) != 1 {
			t.Error("not found by the whole number")
		}
		if list := must[[]*org.PersonView](t)(k.People(inTown, org.PersonQuery{Q: phone[:9]})); len(list) != 0 {
			t.Error("found by part of the number: the rest can be guessed")
		}
		// Outsiders.
		if list := must[[]*org.PersonView](t)(k.People(elsewhere, org.PersonQuery{})); len(list) != 0 {
			t.Errorf("another town sees %v", list)
		}
		if _, err := k.Person(elsewhere, p.ID); code(err) != "record.notFound" {
			t.Errorf("another town: %v", err)
		}
		if _, err := k.Reveal(elsewhere, p.ID, "好奇"); code(err) != "record.notFound" {
			t.Errorf("another town reveals: %v", err)
		}
		if posts := must[[]*org.Post](t)(k.Posts(elsewhere, p.ID)); len(posts) != 0 {
			t.Error("another town sees the post")
		}
		for what, err := range map[string]error{
			"view":   second(k.People(business(t, renli, nil), org.PersonQuery{})),
			"reveal": second(k.Reveal(lineRegulator, p.ID, "x")),
			"admin":  second(k.Reveal(ctx, p.ID, "x")),
			"phones": second(k.Phones(ctx, []string{p.ID})),
			"edit":   second(k.EditPerson(inTown, p.ID, p.Version, org.PersonInput{Name: "x"})),
		} {
			if code(err) != "access.forbidden" {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := k.People(t.Context(), org.PersonQuery{}); code(err) != "access.signInFirst" {
			t.Errorf("nobody: %v", err)
		}
		full := must[*org.PersonView](t)(k.Reveal(inTown, p.ID, "电话通知整改"))
		if full.Phone != phone || full.CitizenNumber != citizen {
			t.Errorf("revealed %+v", full)
		}
		if _, err := k.Reveal(inTown, p.ID, " "); code(err) != "org.revealReason" {
			t.Errorf("without a reason: %v", err)
		}
		// Neither the row nor the log holds the citizen number; the log has the look.
		var log []string
		if err := d.Conn(t.Context()).NewRaw("SELECT kind || data || COALESCE(body, '') FROM audit_entry").Scan(t.Context(), &log); err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(log, "\n"); strings.Contains(all, citizen) || !strings.Contains(all, "org.personRevealed") || !strings.Contains(all, "电话通知整改") {
			t.Error("the log holds the citizen number, or not the look at it")
		}
		var stored string
		if err := d.Conn(t.Context()).NewRaw("SELECT citizen_number FROM org_person").Scan(t.Context(), &stored); err != nil || strings.Contains(stored, citizen[:17]) || !strings.HasPrefix(stored, "sm4-gcm:") {
			t.Errorf("stored %q, %v", stored, err)
		}
		// A form that does not know the numbers leaves them as they are; an empty one clears.
		p = must[*org.PersonView](t)(k.EditPerson(ctx, p.ID, p.Version, org.PersonInput{Name: "王小明"}))
		if p.CitizenNumber == "" || p.Phone == "" || len(p.Certificates) != 0 {
			t.Errorf("edited: %+v", p)
		}
		p = must[*org.PersonView](t)(k.EditPerson(ctx, p.ID, p.Version, org.PersonInput{Name: "王小明", Phone: ptr(""), CitizenNumber: ptr("")}))
		if p.CitizenNumber != "" || p.Phone != "" {
			t.Errorf("cleared: %+v", p)
		}
		if _, err := k.AddPerson(ctx, org.PersonInput{Name: " ", Phone: ptr("123"), CitizenNumber: ptr("110105194912310021")}); errs.As(err) == nil || len(errs.As(err).Fields) != 3 || strings.Contains(err.Error(), "110105194912310021") {
			t.Errorf("three faults at once, without the number: %v", err)
		}
		k.verified()
	})
}

func second[T any](_ T, err error) error { return err }

func TestPosts(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		k := open(t, d).seed("341722")
		ctx := sysadmin(t)
		p := must[*org.PersonView](t)(k.AddPerson(ctx, org.PersonInput{Name: "李四"}))
		in := org.PostInput{PersonID: p.ID, Role: "enterprise.manager", Title: "安全总监", UnitKind: org.UnitEnterprise, UnitID: "e1", UnitName: "某厂", Division: village, ValidFrom: "2026-01-01"}
		post := must[*org.Post](t)(k.Appoint(ctx, in))
		if post.EnterpriseID != "e1" || post.TownCode != renli || len(post.Divisions) != 0 {
			t.Errorf("enterprise post %+v", post)
		}
		if _, err := k.Appoint(ctx, in); code(err) != "org.postExists" {
			t.Errorf("twice: %v", err)
		}
		territory := in
		territory.Role, territory.Divisions = "enterprise.head", []string{shitai}
		if _, err := k.Appoint(ctx, territory); code(err) != "org.invalid" {
			t.Errorf("an enterprise's post with a territory: %v", err)
		}
		nowhere := in
		nowhere.Role, nowhere.Division = "enterprise.head", "341799000000"
		if _, err := k.Appoint(ctx, nowhere); code(err) != "org.noDivision" {
			t.Errorf("nowhere: %v", err)
		}
		if ok := must[bool](t)(k.HasPosts(t.Context(), p.ID)); !ok {
			t.Error("has no posts")
		}
		in.Title = "安全部长"
		post = must[*org.Post](t)(k.Amend(ctx, post.ID, post.Version, in))
		if _, err := k.Dismiss(ctx, post.ID, post.Version-1, "2026-03-10"); code(err) != "record.stale" {
			t.Errorf("stale: %v", err)
		}
		post = must[*org.Post](t)(k.Dismiss(ctx, post.ID, post.Version, "2026-03-10"))
		if len(must[[]org.Held](t)(k.PostsOf(t.Context(), p.ID, day("2026-03-10")))) != 1 || len(must[[]org.Held](t)(k.PostsOf(t.Context(), p.ID, kerneltest.Noon))) != 0 {
			t.Error("the post ends on the wrong day")
		}
		if must[bool](t)(k.HasPosts(t.Context(), p.ID)) {
			t.Error("an ended post counts")
		}
		refusal := errs.Conflict("x.no", "不行")
		k.GuardPosts(func(_ context.Context, p *org.Post) error {
			if p.Role == "leader" {
				return refusal
			}
			return nil
		})
		if _, err := k.Appoint(ctx, org.PostInput{PersonID: p.ID, Role: "leader", UnitKind: org.UnitVillage, UnitID: village, ValidFrom: "2026-01-01"}); code(err) != "x.no" {
			t.Errorf("the guard was not asked: %v", err)
		}
		k.verified()
	})
}

func TestLoadProvince(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("31,000 divisions")
	}
	d := kerneltest.Open(t, db.SQLite, parts...)
	k := open(t, d)
	start := time.Now()
	k.seed("430000")
	t.Logf("seeded Hunan in %v", time.Since(start))
	start = time.Now()
	s := k.now()
	t.Logf("read %d divisions in %v", s.Len(), time.Since(start))
	if s.Len() < 31_000 || len(s.Children("430000000000", kerneltest.Noon)) != 14 {
		t.Errorf("Hunan has %d divisions, %d of them cities", s.Len(), len(s.Children("430000000000", kerneltest.Noon)))
	}
	if got := s.Reach("430182000000", kerneltest.Noon); !slices.Equal(got, []string{"430182000000", "430124000000"}) {
		t.Errorf("宁乡: %v", got)
	}
	start = time.Now()
	must[*org.Division](t)(k.Rename(sysadmin(t), org.RenameInput{Code: "430182000000", Name: "宁乡", On: "2026-03-01", Basis: "试"}))
	t.Logf("renamed one in %v", time.Since(start))
	start = time.Now()
	k.now()
	t.Logf("refreshed in %v", time.Since(start))
	start = time.Now()
	open(t, d).seed("430000")
	t.Logf("seeded again in %v", time.Since(start))
}

func TestEmbeddedSize(t *testing.T) {
	t.Parallel()
	var total int64
	entries, err := os.ReadDir("seed")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 1_500_000 {
		t.Errorf("the embedded lists have %d bytes", total)
	}
}

func BenchmarkDivisions(b *testing.B) {
	d := kerneltest.Open(b, db.SQLite, parts...)
	seal, _ := gm.NewSealer([]byte("0123456789abcdef"))
	k := org.New(d, kerneltest.NewLog(b, d), &record.Registry{}, seal)
	if err := k.SeedDivisions(actor.AsSystem(b.Context(), "test"), "220000"); err != nil {
		b.Fatal(err)
	}
	s, err := k.Divisions(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("snapshot", func(b *testing.B) {
		for b.Loop() {
			if _, err := k.Divisions(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("path", func(b *testing.B) {
		for b.Loop() {
			s.Path("220184100001", kerneltest.Noon)
		}
	})
	b.Run("reach", func(b *testing.B) {
		for b.Loop() {
			s.Reach("220100000000", kerneltest.Noon)
		}
	})
	b.Run("search", func(b *testing.B) {
		for b.Loop() {
			s.Search("公主岭", kerneltest.Noon, 20)
		}
	})
}
