package grid_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/module/grid"
	"anwang/internal/module/grid/gridapi"
)

func TestPatrol(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := as(t, officer)
		g := w.grid(t)
		site := w.learn(t, "e1", "highRisk", "A")
		w.plan(t)
		in := w.walk(g, kerneltest.Noon.Add(-time.Hour), 0, site.ID)
		in.Photos, in.Visits[0].Photos = []string{"up1"}, []string{"up2"}
		danger := &grid.DangerInput{ID: w.uuid(), Title: "配电箱门缺失", Photos: []string{"up3"}}
		in.Actions = []grid.ActionInput{
			{ID: w.uuid(), Duty: gridapi.Find, PlaceID: site.ID, What: "配电箱门缺失", At: in.StartedAt.Add(15 * time.Minute), Lon: ptr(117.5), Lat: ptr(30.2), Danger: danger},
			{ID: w.uuid(), Duty: gridapi.Publicise, Target: "村民", What: "用电安全", At: in.StartedAt.Add(25 * time.Minute), Audience: 12, Materials: "明白纸"},
		}
		in.ClientNow = kerneltest.Noon.Add(-3 * time.Second)
		begun, err := w.Begin(ctx, grid.StartPatrol{ID: in.ID, GridID: g.ID, StartedAt: in.StartedAt})
		if err != nil || begun.State != grid.Started {
			t.Fatal(begun, err)
		}
		p, err := w.Submit(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if p.State != grid.Finished || p.Visits != 1 || p.Minutes != 30 || p.Metres < 900 || p.Metres > 1000 || *p.Skew != 3000 || p.TrackPoints != 90 || p.TrackJumps != 0 || len(p.TrackHash) != 64 {
			t.Errorf("patrol %+v", p)
		}
		d, err := w.PatrolByID(ctx, p.ID)
		if err != nil || len(d.VisitList) != 1 || len(d.Actions) != 2 || !d.TrackOpen {
			t.Fatalf("detail %+v, %v", d, err)
		}
		if v := d.VisitList[0]; v.Proof != grid.Verified || *v.Distance > 20 || !v.ReckonedAt.Equal(in.Visits[0].ArrivedAt) || v.EnterpriseID != "e1" || v.Line != "gas" {
			t.Errorf("visit %+v", v)
		}
		if ts := w.tasks(t); ts[0].State != grid.TaskDone || ts[0].LateArrival || ts[0].Proof != string(grid.Verified) {
			t.Errorf("task %+v", ts)
		}
		if items, _ := w.deadlines.Of(t.Context(), gridapi.TaskType, w.tasks(t)[0].ID); len(items) != 1 || items[0].State != deadline.Met {
			t.Errorf("deadline %+v", items)
		}
		find := d.Actions[0]
		if len(w.reported) != 1 || find.DangerID != danger.ID || w.reported[0].LinkID != find.ID || w.reported[0].LinkType != gridapi.ActionType || w.reported[0].EnterpriseID != "e1" || w.reported[0].Location != "企业e1" || *w.reported[0].Lon != 117.5 {
			t.Errorf("reported %+v", w.reported)
		}
		if w.attached["up1"] != p.ID || w.attached["up2"] != d.VisitList[0].ID || w.attached["up3"] != "" {
			t.Errorf("attached %v", w.attached)
		}

		// The phone, or a court, can work out the same hash.
		sum := sha256.New()
		for _, x := range in.Track {
			fmt.Fprintf(sum, "%v,%v,%d,%v\n", x.Lon, x.Lat, x.At.UnixMilli(), x.Accuracy)
		}
		if want := hex.EncodeToString(sum.Sum(nil)); p.TrackHash != want {
			t.Errorf("hash %s, want %s", p.TrackHash, want)
		}

		// Repetition and disorder hurt nothing.
		again, err := w.Submit(ctx, in)
		if err != nil || again.Version != p.Version {
			t.Errorf("again: %+v, %v", again, err)
		}
		if again, err := w.Begin(ctx, grid.StartPatrol{ID: in.ID, GridID: g.ID, StartedAt: in.StartedAt}); err != nil || again.State != grid.Finished {
			t.Errorf("begin after the end: %+v, %v", again, err)
		}
		other := in
		other.Note = "改过"
		_, err = w.Submit(ctx, other)
		wantKind(t, err, errs.KindConflict, "提交过")
		other.ID, other.Photos = w.uuid(), nil // the same visits under another patrol
		_, err = w.Submit(ctx, other)
		wantKind(t, err, errs.KindConflict, "标识")
		_, err = w.Submit(as(t, deputy), in)
		wantKind(t, err, errs.KindConflict, "标识")

		w.verified(t)
	})
}

// The whole patrol was made without a signal and arrives after the task has ended.
func TestPatrolArrivesLate(t *testing.T) {
	saturday := time.Date(2026, 3, 14, 10, 0, 0, 0, clock.Zone)
	tuesday := time.Date(2026, 3, 17, 9, 0, 0, 0, clock.Zone)
	for name, c := range map[string]struct {
		change func(in *grid.PatrolInput)
		state  string
		late   bool
		clock  deadline.State
	}{
		"proven by the track":   {func(*grid.PatrolInput) {}, grid.TaskDone, true, deadline.Met},
		"phone clock untold":    {func(in *grid.PatrolInput) { in.ClientNow = time.Time{} }, grid.TaskDone, true, deadline.Met},
		"without a track":       {func(in *grid.PatrolInput) { in.Track = nil }, grid.TaskLate, false, deadline.Late},
		"track that jumps":      {func(in *grid.PatrolInput) { in.Track[60].Lon += 0.1 }, grid.TaskLate, false, deadline.Late},
		"track of another time": {func(in *grid.PatrolInput) { shift(in.Track, 72*time.Hour) }, grid.TaskLate, false, deadline.Late},
		// The phone's clock is four days slow: what it calls Saturday was Wednesday the 18th less a day, after the end.
		"phone clock four days slow": {func(in *grid.PatrolInput) { in.ClientNow = in.FinishedAt.Add(time.Hour) }, grid.TaskLate, false, deadline.Late},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				g := w.grid(t)
				site := w.learn(t, "e1", "highRisk", "A")
				w.plan(t)
				in := w.walk(g, saturday, 0, site.ID)
				w.db.Clock.Set(tuesday)
				in.ClientNow = tuesday
				c.change(&in)
				if _, err := w.Submit(as(t, officer), in); err != nil {
					t.Fatal(err)
				}
				if ts := w.tasks(t); ts[0].State != c.state || ts[0].LateArrival != c.late {
					t.Errorf("task %+v", ts[0])
				}
				if items, _ := w.deadlines.Of(t.Context(), gridapi.TaskType, w.tasks(t)[0].ID); items[0].State != c.clock {
					t.Errorf("deadline %s", items[0].State)
				}
				w.verified(t)
			})
		})
	}
}

func shift(track []grid.TrackPoint, by time.Duration) {
	for i := range track {
		track[i].At = track[i].At.Add(by)
	}
}

// A later patrol arrives first and ends the missed task late; then the earlier one arrives and shows that it was done in time.
func TestPatrolsOutOfOrder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := as(t, officer)
		g := w.grid(t)
		site := w.learn(t, "e1", "highRisk", "A")
		w.plan(t)
		first := w.walk(g, time.Date(2026, 3, 14, 10, 0, 0, 0, clock.Zone), 0, site.ID)
		second := w.walk(g, time.Date(2026, 3, 17, 8, 0, 0, 0, clock.Zone), 0, site.ID)
		w.db.Clock.Set(time.Date(2026, 3, 17, 9, 0, 0, 0, clock.Zone))
		w.plan(t)
		if _, err := w.Submit(ctx, second); err != nil {
			t.Fatal(err)
		}
		if ts := w.tasks(t); ts[0].State != grid.TaskLate || ts[1].State != grid.TaskDone {
			t.Fatalf("after the second %+v", ts)
		}
		if _, err := w.Submit(ctx, first); err != nil {
			t.Fatal(err)
		}
		if ts := w.tasks(t); ts[0].State != grid.TaskDone || !ts[0].LateArrival || ts[1].State != grid.TaskDone {
			t.Errorf("after the first %+v", ts)
		}
		w.verified(t)
	})
}

// While the phone was without a signal the enterprise moved to another village: the visit counts all the same.
func TestSiteMovedMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		g := w.grid(t)
		site := w.learn(t, "e1", "highRisk", "A")
		w.plan(t)
		in := w.walk(g, kerneltest.Noon.Add(-time.Hour), 0, site.ID)
		if err := w.Learn(actor.AsSystem(t.Context(), "event"), grid.Enterprise{ID: "e1", Version: 2, Name: "搬走了", Division: village3, Line: "gas", Class: "highRisk"}); err != nil {
			t.Fatal(err)
		}
		if ts := w.tasks(t); ts[0].State != grid.TaskCancelled {
			t.Errorf("task %+v", ts)
		}
		p, err := w.Submit(as(t, officer), in)
		if err != nil || p.Visits != 1 {
			t.Errorf("%+v, %v", p, err)
		}
		w.verified(t)
	})
}

func TestVisitElsewhere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		g := w.grid(t)
		site := w.learn(t, "e1", "highRisk", "A")
		w.plan(t)
		in := w.walk(g, kerneltest.Noon.Add(-time.Hour), 0.003, site.ID) // 290 m aside
		p, err := w.Submit(as(t, officer), in)
		if err != nil {
			t.Fatal(err)
		}
		v := mustPatrol(t, w, p.ID).VisitList[0]
		if v.Proof != grid.Mismatch || *v.Distance < 250 || *v.Distance > 300 || w.tasks(t)[0].State != grid.TaskOpen {
			t.Fatalf("visit %+v", v)
		}
		_, err = w.ConfirmVisit(as(t, officer), v.ID, grid.ReasonInput{Read: flow.Read{Version: 1}, Reason: "我去了"})
		wantKind(t, err, errs.KindNotFound, "")
		_, err = w.ConfirmVisit(as(t, otherTown), v.ID, grid.ReasonInput{Read: flow.Read{Version: 1}, Reason: "不相干"})
		wantKind(t, err, errs.KindNotFound, "")
		if v, err = w.ConfirmVisit(as(t, townOffice), v.ID, grid.ReasonInput{Read: flow.Read{Version: 1}, Reason: "企业坐标有误"}); err != nil || v.Proof != grid.Confirmed || v.ConfirmedBy != "王五" {
			t.Fatal(v, err)
		}
		if ts := w.tasks(t); ts[0].State != grid.TaskDone || ts[0].Proof != string(grid.Confirmed) {
			t.Errorf("task %+v", ts[0])
		}
		_, err = w.ConfirmVisit(as(t, townOffice), v.ID, grid.ReasonInput{Read: flow.Read{Version: 2}, Reason: "再来"})
		wantKind(t, err, errs.KindConflict, "核实")
		w.verified(t)
	})
}

func mustPatrol(t *testing.T, w *world, id string) *grid.PatrolDetail {
	t.Helper()
	p, err := w.PatrolByID(as(t, townOffice), id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPatrolRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		g := w.grid(t)
		site := w.learn(t, "e1", "highRisk", "A")
		start := kerneltest.Noon.Add(-time.Hour)
		ctx := as(t, officer)
		for name, c := range map[string]struct {
			who     *actor.Actor
			change  func(in *grid.PatrolInput)
			kind    errs.Kind
			message string
		}{
			"id of another sort":   {officer, func(in *grid.PatrolInput) { in.ID = "00000000-0000-4000-8000-000000000000" }, errs.KindInvalid, "UUIDv7"},
			"end before start":     {officer, func(in *grid.PatrolInput) { in.FinishedAt = in.StartedAt.Add(-time.Minute) }, errs.KindInvalid, "/finishedAt"},
			"from the future":      {officer, func(in *grid.PatrolInput) { in.FinishedAt = kerneltest.Noon.Add(time.Hour) }, errs.KindInvalid, "/finishedAt"},
			"visit outside":        {officer, func(in *grid.PatrolInput) { in.Visits[0].LeftAt = kerneltest.Noon }, errs.KindInvalid, "/visits/0/arrivedAt"},
			"visit of nothing":     {officer, func(in *grid.PatrolInput) { in.Visits[0].PlaceID = "none" }, errs.KindInvalid, "/visits/0/placeId"},
			"two visits of one id": {officer, func(in *grid.PatrolInput) { in.Visits = append(in.Visits, in.Visits[0]) }, errs.KindInvalid, "/visits/1/id"},
			"action of no duty": {officer, func(in *grid.PatrolInput) {
				in.Actions = []grid.ActionInput{{ID: w.uuid(), Duty: "sleep", Target: "x", What: "x", At: start}}
			}, errs.KindInvalid, "/actions/0/duty"},
			"danger that is vague":  {officer, func(in *grid.PatrolInput) { in.Actions = []grid.ActionInput{find(w, start, "refuse me")} }, errs.KindInvalid, "/actions/0/danger/title"},
			"grid of nobody":        {officer, func(in *grid.PatrolInput) { in.GridID = "none" }, errs.KindNotFound, ""},
			"another village's":     {otherPatrol, func(*grid.PatrolInput) {}, errs.KindNotFound, ""},
			"another town":          {otherTown, func(*grid.PatrolInput) {}, errs.KindNotFound, ""},
			"bound to nobody":       {person("x", "某", officer.Grants...), func(*grid.PatrolInput) {}, errs.KindForbidden, "绑定"},
			"not of this grid":      {person("qian2", "钱七", officer.Grants...), func(*grid.PatrolInput) {}, errs.KindForbidden, "任命"},
			"industry regulator":    {industry, func(*grid.PatrolInput) {}, errs.KindNotFound, ""},
			"an enterprise":         {enterprise, func(*grid.PatrolInput) {}, errs.KindNotFound, ""},
			"system administrator":  {sysadmin, func(*grid.PatrolInput) {}, errs.KindNotFound, ""},
			"used photo":            {officer, func(in *grid.PatrolInput) { w.attached["used"] = "elsewhere"; in.Photos = []string{"used"} }, errs.KindInvalid, "/photos"},
			"visit of foreign site": {officer, func(in *grid.PatrolInput) { in.Visits[0].PlaceID = foreign(t, w) }, errs.KindInvalid, "/visits/0/placeId"},
		} {
			in := w.walk(g, start, 0, site.ID)
			c.change(&in)
			_, err := w.Submit(as(t, c.who), in)
			if err == nil {
				t.Errorf("%s: accepted", name)
				continue
			}
			wantKind(t, err, c.kind, c.message)
		}
		// Nothing of the refused ones is left.
		if n := count(t, w, "grid_patrol") + count(t, w, "grid_visit") + count(t, w, "grid_action"); n != 0 {
			t.Errorf("%d rows are left", n)
		}
		// Whose post names the grid may patrol it, whoever is officer.
		named := person("qian", "钱七", actor.Grant{Permissions: officerMay, Divisions: []string{village}, Grids: []string{g.ID}})
		if _, err := w.Submit(as(t, named), w.walk(g, start, 0, site.ID)); err != nil {
			t.Error(err)
		}
		if _, err := w.Submit(ctx, w.walk(g, start, 0)); err != nil {
			t.Error(err)
		}
		w.verified(t)
	})
}

func find(w *world, at time.Time, title string) grid.ActionInput {
	return grid.ActionInput{ID: w.uuid(), Duty: gridapi.Find, Target: "路边", What: "隐患", At: at, Danger: &grid.DangerInput{ID: w.uuid(), Title: title}}
}

func foreign(t *testing.T, w *world) string {
	t.Helper()
	s, err := w.AddSite(as(t, otherTown), grid.SiteInput{Division: village3, Kind: "school", Name: "外镇小学"})
	if err != nil {
		t.Fatal(err)
	}
	return s.ID
}

func count(t *testing.T, w *world, table string) (n int) {
	t.Helper()
	if err := w.db.Conn(t.Context()).NewRaw("SELECT COUNT(*) FROM "+table).Scan(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Where an officer walked is for the officer and whoever holds grid.track there; it is nowhere in the log.
func TestTrackIsProtected(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		g := w.grid(t)
		site := w.learn(t, "e1", "highRisk", "A")
		in := w.walk(g, kerneltest.Noon.Add(-time.Hour), 0.004217, site.ID)
		in.Actions = []grid.ActionInput{{ID: w.uuid(), Duty: gridapi.Publicise, Target: "村民", What: "宣传", At: in.StartedAt, Audience: 3, Lon: ptr(117.504217), Lat: ptr(30.2)}}
		p, err := w.Submit(as(t, officer), in)
		if err != nil {
			t.Fatal(err)
		}
		var bodies []string
		if err := w.db.Conn(t.Context()).NewRaw("SELECT COALESCE(body, '') || data FROM audit_entry").Scan(t.Context(), &bodies); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.Join(bodies, ""), "117.504217") {
			t.Error("a position is in the log")
		}
		looks := func() (n int) {
			if err := w.db.Conn(t.Context()).NewRaw("SELECT COUNT(*) FROM audit_entry WHERE kind = 'grid.trackViewed'").Scan(t.Context(), &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		own, err := w.TrackOf(as(t, officer), p.ID)
		if err != nil || own.Sent != 90 || len(own.Points) < 3 || len(own.Points) > 20 || looks() != 0 || own.Hash != p.TrackHash {
			t.Errorf("own track %+v, %v", own, err)
		}
		if seen, err := w.TrackOf(as(t, townOffice), p.ID); err != nil || !slices.Equal(seen.Points, own.Points) || looks() != 1 {
			t.Errorf("town: %v, %d looks", err, looks())
		}
		for _, who := range []*actor.Actor{office, deputy} {
			_, err := w.TrackOf(as(t, who), p.ID)
			wantKind(t, err, errs.KindForbidden, "敏感")
			if d, err := w.PatrolByID(as(t, who), p.ID); err != nil || d.TrackOpen || d.Metres == 0 || !strings.HasPrefix(mustJSON(t, d.Track), `"sha256:`) {
				t.Errorf("others see counts: %+v, %v", d, err)
			}
			a, err := w.ActionByID(as(t, who), in.Actions[0].ID)
			if err != nil || a.Where != nil {
				t.Errorf("position of an act: %+v, %v", a, err)
			}
		}
		if a, err := w.ActionByID(as(t, townOffice), in.Actions[0].ID); err != nil || a.Where == nil || a.Where[0] != 117.504217 {
			t.Errorf("position for the town: %+v, %v", a, err)
		}
		for _, who := range []*actor.Actor{otherTown, otherPatrol, enterprise, industry, sysadmin, secadmin, auditor, {Kind: actor.Nobody}} {
			_, err := w.TrackOf(as(t, who), p.ID)
			wantKind(t, err, errs.KindNotFound, "")
		}
		w.verified(t)
	})
}

// What a phone sends that went wrong is dropped and counted, and does not cost the patrol.
func TestBadTrack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		g := w.grid(t)
		site := w.learn(t, "e1", "highRisk", "A")
		start := kerneltest.Noon.Add(-2 * time.Hour)
		in := w.walk(g, start, 0, site.ID)
		in.Track = append(in.Track, grid.TrackPoint{At: start}, grid.TrackPoint{Lon: 30.2, Lat: 117.5, At: start}, grid.TrackPoint{Lon: 117.5, Lat: 30.2, At: start.Add(-time.Hour)},
			grid.TrackPoint{Lon: 117.5, Lat: 30.2, At: start, Accuracy: 2000}, grid.TrackPoint{Lon: math.MaxFloat64, Lat: -1e300, At: start})
		slices.Reverse(in.Track)
		p, err := w.Submit(as(t, officer), in)
		if err != nil || p.TrackPoints != 95 || p.TrackDropped != 5 || p.TrackJumps != 0 || p.Metres > 1000 {
			t.Errorf("%+v, %v", p, err)
		}
		zigzag := w.walk(g, start, 0)
		zigzag.Track = nil
		for i := range 10_000 {
			zigzag.Track = append(zigzag.Track, grid.TrackPoint{Lon: 117.5 + float64(i%2)/1000, Lat: 30.2 + float64(i)/1e6, At: start.Add(time.Duration(i) * 150 * time.Millisecond)})
		}
		if p, err = w.Submit(as(t, officer), zigzag); err != nil || p.TrackPoints != 10_000 || p.TrackDropped != 0 {
			t.Errorf("%+v, %v", p, err)
		}
		w.verified(t)
	})
}

func TestAbandon(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := as(t, officer)
		g := w.grid(t)
		in := w.walk(g, kerneltest.Noon, 0)
		p, err := w.Begin(ctx, grid.StartPatrol{ID: in.ID, GridID: g.ID, StartedAt: in.StartedAt})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Abandon(as(t, townOffice), p.ID, grid.AbandonInput{Read: flow.Read{Version: 1}, Reason: "别人的"})
		wantKind(t, err, errs.KindForbidden, "本人")
		w.db.Clock.Advance(71 * time.Hour)
		if err := w.GiveUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := mustPatrol(t, w, p.ID); p.State != grid.Started {
			t.Errorf("given up too early: %+v", p)
		}
		w.db.Clock.Advance(2 * time.Hour)
		if err := w.GiveUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := mustPatrol(t, w, p.ID); p.State != grid.Abandoned {
			t.Errorf("not given up: %+v", p)
		}
		// The phone comes out of the mountains.
		if p, err := w.Submit(ctx, in); err != nil || p.State != grid.Finished {
			t.Errorf("after all: %+v, %v", p, err)
		}
		w.verified(t)
	})
}

func TestFiveDuties(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := as(t, officer)
		g := w.grid(t)
		site := w.learn(t, "e1", "highRisk", "A")
		at := kerneltest.Noon.Add(-time.Minute)
		patrol := w.uuid() // not here yet: an act may arrive before its patrol
		for name, c := range map[string]struct {
			in        grid.ActionInput
			escalated bool
		}{
			"find":            {find(w, at, "堆放可燃物"), false},
			"find serious":    {serious(find(w, at, "违法建设")), true},
			"dissuade":        {grid.ActionInput{Duty: gridapi.Dissuade, PlaceID: site.ID, What: "劝其停止动火", Result: grid.Complied}, false},
			"dissuade refuse": {grid.ActionInput{Duty: gridapi.Dissuade, PlaceID: site.ID, What: "劝其停止动火", Result: grid.Refused, PatrolID: patrol}, true},
			"stop partly":     {grid.ActionInput{Duty: gridapi.Stop, Target: "河边施工队", What: "制止挖沙", Result: grid.Partly}, false},
			"stop refuse":     {grid.ActionInput{Duty: gridapi.Stop, Target: "河边施工队", What: "制止挖沙", Result: grid.Refused}, true},
			"report":          {grid.ActionInput{Duty: gridapi.Report, Target: "无名作坊", What: "非法生产"}, true},
			"publicise":       {grid.ActionInput{Duty: gridapi.Publicise, Target: "二组村民", What: "防溺水", Audience: 30}, false},
		} {
			c.in.GridID, c.in.At = g.ID, at
			if c.in.ID == "" {
				c.in.ID = w.uuid()
			}
			before := len(w.alerts)
			a, err := w.Record(ctx, c.in)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if (a.State == grid.Escalated) != c.escalated || len(w.alerts) != before+map[bool]int{true: 1}[c.escalated] {
				t.Errorf("%s: %s, %d alerts", name, a.State, len(w.alerts)-before)
			}
			if c.escalated && (w.alerts[before].Town != town || w.alerts[before].RecordID != a.ID) {
				t.Errorf("%s: alert %+v", name, w.alerts[before])
			}
			if again, err := w.Record(ctx, c.in); err != nil || again.ID != a.ID || len(w.alerts) != before+map[bool]int{true: 1}[c.escalated] {
				t.Errorf("%s again: %v", name, err)
			}
			c.in.What = "改过的内容"
			_, err = w.Record(ctx, c.in)
			wantKind(t, err, errs.KindConflict, "标识")
		}
		for name, in := range map[string]grid.ActionInput{
			"/target": {Duty: gridapi.Publicise, What: "x", Audience: 1}, "/result": {Duty: gridapi.Stop, Target: "x", What: "x"},
			"/audience": {Duty: gridapi.Publicise, Target: "x", What: "x"}, "/danger": {Duty: gridapi.Find, Target: "x", What: "x"}, "/what": {Duty: gridapi.Report, Target: "x"},
		} {
			in.ID, in.GridID, in.At = w.uuid(), g.ID, at
			_, err := w.Record(ctx, in)
			wantKind(t, err, errs.KindInvalid, name)
		}

		// The patrol of the early act arrives; it is the act's.
		p := w.walk(g, kerneltest.Noon.Add(-time.Hour), 0, site.ID)
		p.ID = patrol
		if _, err := w.Submit(ctx, p); err != nil {
			t.Fatal(err)
		}
		d := mustPatrol(t, w, patrol)
		if len(d.Actions) != 1 || d.Actions[0].Result != grid.Refused {
			t.Fatalf("acts of the patrol %+v", d.Actions)
		}

		// The town acknowledges what was reported to it, not its officer.
		a := d.Actions[0]
		_, err := w.Acknowledge(ctx, a.ID, grid.AcknowledgeInput{Read: flow.Read{Version: 1}, Opinion: "知道了"})
		wantKind(t, err, errs.KindNotFound, "")
		detail, err := w.ActionByID(as(t, townOffice), a.ID)
		if err != nil || len(detail.Steps) != 1 {
			t.Errorf("buttons %+v, %v", detail, err)
		}
		done, err := w.Acknowledge(as(t, townOffice), a.ID, grid.AcknowledgeInput{Read: flow.Read{Version: 1}, Opinion: "已派员到场"})
		if err != nil || done.State != grid.Acknowledged || done.AcknowledgedBy != "王五" {
			t.Errorf("acknowledged %+v, %v", done, err)
		}

		rows, err := w.Statistics(as(t, townOffice), grid.StatisticsQuery{By: "officer", From: "2026-03-01", To: "2026-03-31"})
		if err != nil || len(rows) != 1 {
			t.Fatal(rows, err)
		}
		if r := rows[0]; r.Key != "p-zhang" || r.Name != "张三" || r.Find != 2 || r.Dissuade != 2 || r.Stop != 2 || r.Report != 1 || r.Publicise != 1 || r.Audience != 30 || r.Refused != 2 || r.Dangers != 2 || r.Patrols != 1 || r.Visits != 1 || r.Verified != 1 {
			t.Errorf("statistics %+v", r)
		}
		w.verified(t)
	})
}

func serious(a grid.ActionInput) grid.ActionInput {
	a.Serious = true
	return a
}

func TestStatistics(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		g := w.grid(t)
		var sites []string
		for _, id := range []string{"a", "b", "c", "d"} {
			sites = append(sites, w.learn(t, id, "highRisk", "").ID)
		}
		w.plan(t)
		if _, err := w.Submit(as(t, officer), w.walk(g, kerneltest.Noon.Add(-time.Hour), 0, sites[0])); err != nil {
			t.Fatal(err)
		}
		w.db.Clock.Set(time.Date(2026, 3, 16, 12, 0, 0, 0, clock.Zone)) // the week is over
		w.plan(t)
		if _, err := w.Submit(as(t, officer), w.walk(g, time.Date(2026, 3, 16, 11, 0, 0, 0, clock.Zone), 0, sites[1])); err != nil {
			t.Fatal(err)
		}
		for by, key := range map[string]string{"grid": g.ID, "officer": "p-zhang", "town": town} {
			rows, err := w.Statistics(as(t, townOffice), grid.StatisticsQuery{By: by, From: "2026-03-01", To: "2026-03-31"})
			if err != nil || len(rows) != 1 {
				t.Fatal(by, rows, err)
			}
			// Eight tasks of two weeks: a in time, b late and its second in time, c and d missed, three open.
			if r := rows[0]; r.Key != key || r.Name == "" || r.Tasks != 8 || r.Done != 2 || r.Late != 1 || r.Missed != 2 || r.Open != 3 || r.Patrols != 2 || r.Rate == nil || *r.Rate != 0.4 {
				t.Errorf("by %s: %+v", by, r)
			}
		}
		if rows, err := w.Statistics(as(t, industry), grid.StatisticsQuery{By: "grid", From: "2026-03-01", To: "2026-03-31"}); err != nil || len(rows) != 1 || rows[0].Tasks != 8 || rows[0].Patrols != 0 {
			t.Errorf("the regulator sees the tasks at the enterprises of its line: %+v, %v", rows, err)
		}
		for _, who := range []*actor.Actor{otherTown, otherPatrol, enterprise, sysadmin, secadmin, auditor} {
			if rows, err := w.Statistics(as(t, who), grid.StatisticsQuery{By: "grid", From: "2026-03-01", To: "2026-03-31"}); err != nil || len(rows) != 0 {
				t.Errorf("%s sees %+v, %v", who.ID, rows, err)
			}
		}
		_, err := w.Statistics(as(t, townOffice), grid.StatisticsQuery{By: "grid", From: "2026-03-31", To: "2026-03-01"})
		wantKind(t, err, errs.KindInvalid, "起止")
	})
}
