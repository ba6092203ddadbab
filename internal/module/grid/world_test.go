package grid_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/policy"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
	"anwang/internal/module/grid"
	"anwang/internal/module/grid/gridapi"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// The places of the tests: two villages of one town and a village of another.
const (
	county   = "341722000000"
	town     = "341722100000"
	village  = "341722100200"
	village2 = "341722100201"
	town2    = "341722101000"
	village3 = "341722101200"
)

var places = map[string]string{town: "仁里镇", village: "三增村委会", village2: "杏溪村委会", town2: "七都镇", village3: "七都村委会"}

// world is the module with everything that it stands on; the parts of the kernel that are not about grids are small fakes.
type world struct {
	*grid.Service
	db        *db.DB
	log       *audit.Log
	deadlines *deadline.Book
	reg       *record.Registry

	alerts   []grid.Alert
	reported []hiddendangerapi.Finding
	attached map[string]string // upload id → record id
}

var parts = []db.Migrations{audit.Migrations, policy.Migrations, deadline.Migrations, grid.Migrations}

func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) { test(t, open(t, d)) })
}

func open(t testing.TB, d *db.DB) *world {
	t.Helper()
	w := &world{db: d, log: kerneltest.NewLog(t, d), reg: &record.Registry{}, attached: map[string]string{}}
	w.deadlines = deadline.New(d, w.log, w.reg)
	w.deadlines.Declare(grid.Rules()...)
	if err := w.deadlines.SeedRules(actor.AsSystem(t.Context(), "test")); err != nil {
		t.Fatal(err)
	}
	w.Service = grid.New(grid.Deps{DB: d, Log: w.log, Records: w.reg, Policies: policy.New(d, w.log, w.reg), Deadlines: w.deadlines,
		Codes: codes{}, Divisions: divisions{}, People: people{}, Files: w, Alerts: w, Dangers: w})
	return w
}

func (w *world) TellTown(_ context.Context, a grid.Alert) error {
	w.alerts = append(w.alerts, a)
	return nil
}

func (w *world) Report(_ context.Context, f hiddendangerapi.Finding) (string, error) {
	if f.Title == "refuse me" {
		return "", errs.InvalidField("hiddendanger.vague", "/title", "请写明什么部位存在什么问题")
	}
	if !slices.ContainsFunc(w.reported, func(o hiddendangerapi.Finding) bool { return o.ID == f.ID }) {
		w.reported = append(w.reported, f)
	}
	return f.ID, nil
}

func (w *world) Attach(_ context.Context, ids []string, _, recordID, _ string, _ scope.Place) error {
	for _, id := range ids {
		if w.attached[id] != "" && w.attached[id] != recordID {
			return errs.InvalidField("file.attached", "/photos", "文件已用于其他记录")
		}
		w.attached[id] = recordID
	}
	return nil
}

type codes struct{}

func (codes) Valid(_, code string, _ time.Time) error {
	if code == "nonsense" {
		return errs.Invalid("dict.unknown", "没有这个代码")
	}
	return nil
}

func (codes) Label(_, code string) string { return "种类" + code }

type divisions struct{}

func (divisions) DivisionName(_ context.Context, code string) (string, bool, error) {
	name, ok := places[code]
	return name, ok, nil
}

func (divisions) DivisionsNamed(_ context.Context, town, village string) ([]string, error) {
	var out []string
	for code, name := range places {
		townOf := places[string(gbcode.Division(code).Levels().Town)]
		if village == "" && name == town || village != "" && name == village && townOf == town {
			out = append(out, code)
		}
	}
	slices.Sort(out)
	return out, nil
}

var persons = []grid.Person{{ID: "p-zhang", Name: "张三"}, {ID: "p-li", Name: "李四"}, {ID: "p-wang", Name: "王五"}, {ID: "p-zhao", Name: "赵六"}, {ID: "p-qian", Name: "钱七"}, {ID: "p-qian2", Name: "钱七"}}

type people struct{}

func (people) Acting(ctx context.Context) (grid.Person, error) {
	for _, p := range persons {
		if "p-"+actor.From(ctx).ID == p.ID {
			return p, nil
		}
	}
	return grid.Person{}, nil
}

func (people) Person(_ context.Context, id string) (*grid.Person, error) {
	for _, p := range persons {
		if p.ID == id {
			return &p, nil
		}
	}
	return nil, nil
}

func (people) Named(_ context.Context, name, phone string) ([]grid.Person, error) {
	var out []grid.Person
	for _, p := range persons {
		if p.Name == name && (phone == "" || phone == "138"+p.ID) {
			out = append(out, p)
		}
	}
	return out, nil
}

func permissions(keys ...string) []string {
	slices.Sort(keys)
	return keys
}

var (
	allOfIt     = permissions(grid.View, grid.Manage, grid.Walk, grid.Act, grid.Track, policy.Manage)
	officerMay  = permissions(grid.View, grid.Walk, grid.Act)
	signedIn    = map[string]*actor.Actor{}
	signedInFor = func(a *actor.Actor) *actor.Actor { signedIn[a.ID] = a; return a }

	townOffice  = signedInFor(person("wang", "王五", actor.Grant{Permissions: allOfIt, Divisions: []string{town}, UnitName: "仁里镇安监站"}))
	office      = signedInFor(person("office", "安委办", actor.Grant{Permissions: permissions(grid.View, grid.Manage), Divisions: []string{county}}))
	officer     = signedInFor(person("zhang", "张三", actor.Grant{Permissions: officerMay, Divisions: []string{village}}))
	deputy      = signedInFor(person("li", "李四", actor.Grant{Permissions: officerMay, Divisions: []string{village}}))
	industry    = signedInFor(person("industry", "住建局", actor.Grant{Permissions: permissions(grid.View), Divisions: []string{county}, Lines: []string{"gas"}}))
	otherTown   = signedInFor(person("zhao", "赵六", actor.Grant{Permissions: allOfIt, Divisions: []string{town2}}))
	otherPatrol = signedInFor(person("qian", "钱七", actor.Grant{Permissions: officerMay, Divisions: []string{village2}}))
	enterprise  = signedInFor(person("boss", "老板", actor.Grant{Permissions: allOfIt, Enterprise: "e-other"}))
	sysadmin    = signedInFor(&actor.Actor{Kind: actor.Person, ID: "sysadmin", Admin: "system", Grants: []actor.Grant{{Permissions: []string{"org.manage"}}}})
	secadmin    = signedInFor(&actor.Actor{Kind: actor.Person, ID: "secadmin", Admin: "security", Grants: []actor.Grant{{Permissions: []string{"access.role"}}}})
	auditor     = signedInFor(&actor.Actor{Kind: actor.Person, ID: "auditor", Admin: "audit", Grants: []actor.Grant{{Permissions: []string{"audit.view"}}}})
)

func person(id, name string, grants ...actor.Grant) *actor.Actor {
	return &actor.Actor{Kind: actor.Person, ID: id, Name: name, Grants: grants}
}

func as(t testing.TB, a *actor.Actor) context.Context { return actor.With(t.Context(), a) }

// box is a square boundary of some 2 km around 117.50, 30.20 and n tenths of a degree east of it.
func box(n int) []byte {
	west := 117.49 + float64(n)/10
	return fmt.Appendf(nil, `{"type":"Polygon","coordinates":[[[%[1]f,30.19],[%[2]f,30.19],[%[2]f,30.21],[%[1]f,30.21],[%[1]f,30.19]]]}`, west, west+0.02)
}

// uuid is a UUIDv7 as a phone makes them.
func (w *world) uuid() string { return w.db.Clock.NewID() }

func ptr[T any](v T) *T { return &v }

// grid makes a grid with a boundary in the first village, Zhang its officer and Li its deputy.
func (w *world) grid(t testing.TB) *grid.Item {
	t.Helper()
	ctx := as(t, townOffice)
	g, err := w.Create(ctx, grid.GridInput{Division: village, Name: "一网格", Boundary: box(0), Reason: "镇政府划定"})
	if err != nil {
		t.Fatal(err)
	}
	for rank, id := range map[gridapi.Rank]string{gridapi.Officer: "p-zhang", gridapi.Deputy: "p-li"} {
		if _, err := w.Appoint(ctx, g.ID, grid.AppointInput{Kind: rank, PersonID: id, From: "2026-01-01"}); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// learn tells the module of an enterprise in the first village, at the centre of the grid.
func (w *world) learn(t *testing.T, id, class, grade string) *grid.SiteDetail {
	t.Helper()
	err := w.Learn(actor.AsSystem(t.Context(), "event"), grid.Enterprise{ID: id, Version: 1, Name: "企业" + id, Division: village, Line: "gas", Class: class, Grade: grade, Lon: ptr(117.50), Lat: ptr(30.20)})
	if err != nil {
		t.Fatal(err)
	}
	return w.siteOf(t, id)
}

func (w *world) siteOf(t *testing.T, enterpriseID string) *grid.SiteDetail {
	t.Helper()
	var id string
	if err := w.db.Conn(t.Context()).NewRaw("SELECT id FROM grid_place WHERE enterprise_id = ?", enterpriseID).Scan(t.Context(), &id); err != nil {
		t.Fatal(err)
	}
	s, err := w.SiteByID(as(t, townOffice), id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) plan(t *testing.T) int {
	t.Helper()
	n, err := w.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

type task struct {
	ID, SiteName, OfficerID, State, Period, GridID, Proof string
	LateArrival                                           bool
	DueAt                                                 time.Time
}

func (w *world) tasks(t *testing.T) []task {
	t.Helper()
	var out []task
	if err := w.db.Conn(t.Context()).NewRaw("SELECT id, site_name, officer_id, state, period, grid_id, proof, late_arrival, due_at FROM grid_task ORDER BY due_at, site_name, id").Scan(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// walk is a patrol of half an hour from start that stands for ten minutes at the centre of the grid, or lon degrees east of it, visiting the sites.
func (w *world) walk(g *grid.Item, start time.Time, east float64, sites ...string) grid.PatrolInput {
	in := grid.PatrolInput{ID: w.uuid(), GridID: g.ID, StartedAt: start, FinishedAt: start.Add(30 * time.Minute)}
	for i := range 90 {
		at := start.Add(time.Duration(i) * 20 * time.Second)
		lon := 117.50 + east
		if i < 30 { // comes from 1 km west
			lon -= 0.01 * float64(30-i) / 30
		}
		in.Track = append(in.Track, grid.TrackPoint{Lon: lon, Lat: 30.20, At: at, Accuracy: 10})
	}
	for _, id := range sites {
		in.Visits = append(in.Visits, grid.VisitInput{ID: w.uuid(), PlaceID: id, ArrivedAt: start.Add(12 * time.Minute), LeftAt: start.Add(20 * time.Minute), Result: grid.Normal})
	}
	return in
}

// verified fails the test when the log and the tables do not agree.
func (w *world) verified(t *testing.T) {
	t.Helper()
	if err := w.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := w.log.Verify(t.Context(), w.reg.Tables(), nil)
	if err != nil || !r.OK() {
		t.Errorf("log and tables differ: %v %+v", err, r)
	}
}

func wantKind(t *testing.T, err error, kind errs.Kind, message string) {
	t.Helper()
	if err == nil || errs.KindOf(err) != kind || !strings.Contains(err.Error()+fmt.Sprint(errs.As(err)), message) {
		e := errs.As(err)
		if e != nil {
			for _, f := range e.Fields {
				if errs.KindOf(err) == kind && strings.Contains(f.Pointer+f.Message, message) {
					return
				}
			}
		}
		t.Helper()
		t.Errorf("got %v, want %v with %q", err, kind, message)
	}
}
