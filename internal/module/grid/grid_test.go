package grid_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/scope"
	"anwang/internal/module/grid"
	"anwang/internal/module/grid/gridapi"
)

func TestPeriods(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		every            grid.Period
		day, first, last string
	}{
		{grid.Daily, "2026-03-11", "2026-03-11", "2026-03-11"},
		{grid.Weekly, "2026-03-11", "2026-03-09", "2026-03-15"},
		{grid.Weekly, "2026-03-09", "2026-03-09", "2026-03-15"},
		{grid.Weekly, "2026-03-15", "2026-03-09", "2026-03-15"},
		{grid.Weekly, "2026-01-01", "2025-12-29", "2026-01-04"},
		{grid.HalfMonthly, "2026-02-15", "2026-02-01", "2026-02-15"},
		{grid.HalfMonthly, "2028-02-16", "2028-02-16", "2028-02-29"},
		{grid.Monthly, "2026-12-31", "2026-12-01", "2026-12-31"},
		{grid.Quarterly, "2026-05-31", "2026-04-01", "2026-06-30"},
		{grid.HalfYearly, "2026-07-01", "2026-07-01", "2026-12-31"},
		{grid.Yearly, "2026-07-01", "2026-01-01", "2026-12-31"},
	} {
		for _, hour := range []string{" 00:00", " 23:59"} {
			at, _ := time.ParseInLocation("2006-01-02 15:04", c.day+hour, clock.Zone)
			first, last, ok := c.every.Around(at.UTC())
			if got := clock.Date(first) + " " + clock.Date(last); !ok || got != c.first+" "+c.last {
				t.Errorf("%s around %s%s: %s, want %s %s", c.every, c.day, hour, got, c.first, c.last)
			}
		}
	}
	if _, _, ok := grid.Never.Around(time.Now()); ok {
		t.Error("never has a period")
	}
}

func TestGridsAndOfficers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := as(t, townOffice)
		g := w.grid(t)
		if g.Code != village+"001" || g.Area < 3_000_000 || g.Area > 5_000_000 || g.VillageCode != village {
			t.Errorf("grid %+v", g)
		}
		second, err := w.Create(ctx, grid.GridInput{Division: village, Name: "二网格", Boundary: box(1)})
		if err != nil || second.Code != village+"002" {
			t.Fatal(second, err)
		}

		// Refusals say what is wrong.
		crossing := json.RawMessage(`{"type":"Polygon","coordinates":[[[117.49,30.19],[117.51,30.21],[117.51,30.19],[117.49,30.21],[117.49,30.19]]]}`)
		swapped := json.RawMessage(`{"type":"Polygon","coordinates":[[[30.19,117.49],[30.19,117.51],[30.21,117.51],[30.19,117.49]]]}`)
		for _, c := range []struct {
			in      grid.GridInput
			kind    errs.Kind
			message string
		}{
			{grid.GridInput{Division: village, Name: "x", Boundary: crossing}, errs.KindInvalid, "自相交"},
			{grid.GridInput{Division: village, Name: "x", Boundary: swapped}, errs.KindInvalid, "填"},
			{grid.GridInput{Division: village, Name: "x", Boundary: json.RawMessage(`"x"`)}, errs.KindInvalid, "GeoJSON"},
			{grid.GridInput{Division: village, Name: " "}, errs.KindInvalid, "网格名称"},
			{grid.GridInput{Division: village, Name: "x", Serial: 1}, errs.KindConflict, "已被使用"},
			{grid.GridInput{Division: county, Name: "x"}, errs.KindInvalid, "村"},
			{grid.GridInput{Division: "341722100999", Name: "x"}, errs.KindInvalid, "现行"},
			{grid.GridInput{Division: village3, Name: "x"}, errs.KindForbidden, "管辖"},
		} {
			_, err := w.Create(ctx, c.in)
			wantKind(t, err, c.kind, c.message)
		}

		// GCJ-02 is stored as WGS-84: some hundred metres aside.
		moved, err := w.Create(ctx, grid.GridInput{Division: village2, Name: "高德画的", Boundary: box(3), CRS: "GCJ-02"})
		if err != nil {
			t.Fatal(err)
		}
		d, err := w.GridByID(ctx, moved.ID)
		if err != nil || d.Boundary == nil || d.Boundary.MinLon == 117.79 || d.Boundary.MinLon < 117.78 || d.Boundary.MinLon > 117.79 {
			t.Errorf("converted boundary %+v, %v", d.Boundary, err)
		}

		// Who answers where, now and before.
		a, err := w.Locate(t.Context(), 117.50, 30.20, kerneltest.Noon)
		if err != nil || a == nil || a.GridID != g.ID || a.PersonID != "p-zhang" || a.Rank != gridapi.Officer {
			t.Fatalf("answer %+v, %v", a, err)
		}
		if a, err := w.Locate(t.Context(), 110, 30, kerneltest.Noon); a != nil || err != nil {
			t.Errorf("nowhere: %+v, %v", a, err)
		}
		w.db.Clock.Advance(48 * time.Hour)
		g, err = w.Redraw(ctx, g.ID, grid.BoundaryInput{Read: flow.Read{Version: g.Version}, Boundary: box(5), Reason: "村组调整"})
		if err != nil {
			t.Fatal(err)
		}
		if a, _ := w.Locate(t.Context(), 117.50, 30.20, w.db.Clock.Now()); a != nil {
			t.Errorf("the old ground still answers: %+v", a)
		}
		if a, _ := w.Locate(t.Context(), 117.50, 30.20, kerneltest.Noon); a == nil || a.GridID != g.ID {
			t.Errorf("the old boundary is forgotten: %+v", a)
		}
		_, err = w.Redraw(ctx, g.ID, grid.BoundaryInput{Read: flow.Read{Version: 1}, Reason: "旧版本"})
		wantKind(t, err, errs.KindConflict, "他人修改")

		// Officers follow each other; one person holds one rank.
		_, err = w.Appoint(ctx, g.ID, grid.AppointInput{Kind: gridapi.Officer, PersonID: "p-li"})
		wantKind(t, err, errs.KindConflict, "免去")
		_, err = w.Appoint(ctx, g.ID, grid.AppointInput{Kind: gridapi.Officer, PersonID: "p-nobody"})
		wantKind(t, err, errs.KindInvalid, "登记")
		if _, err := w.Appoint(ctx, g.ID, grid.AppointInput{Kind: gridapi.Officer, PersonID: "p-wang"}); err != nil {
			t.Fatal(err)
		}
		if d, err = w.GridByID(ctx, g.ID); err != nil || len(d.Duties) != 3 || d.Today.PersonID != "p-wang" || len(d.Former) != 1 {
			t.Errorf("detail %+v, %v", d, err)
		}
		if a, _ := w.Locate(t.Context(), 117.50, 30.20, kerneltest.Noon); a.PersonID != "p-zhang" {
			t.Errorf("who answered on Noon: %+v", a)
		}
		w.verified(t)
	})
}

func TestRetireHandsOver(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := as(t, townOffice)
		g := w.grid(t)
		site := w.learn(t, "e1", "highRisk", "A")
		next, err := w.Create(ctx, grid.GridInput{Division: village, Name: "二网格"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Appoint(ctx, next.ID, grid.AppointInput{Kind: gridapi.Officer, PersonID: "p-wang"}); err != nil {
			t.Fatal(err)
		}
		if n := w.plan(t); n != 1 {
			t.Fatalf("%d tasks", n)
		}
		_, err = w.Retire(ctx, g.ID, grid.RetireInput{Read: flow.Read{Version: g.Version}, On: "2026-03-11", SuccessorID: g.ID, Reason: "并网"})
		wantKind(t, err, errs.KindInvalid, "自己")
		g, err = w.Retire(ctx, g.ID, grid.RetireInput{Read: flow.Read{Version: g.Version}, On: "2026-03-11", SuccessorID: next.ID, Reason: "并网"})
		if err != nil {
			t.Fatal(err)
		}
		if s := w.siteOf(t, "e1"); s.GridID != next.ID || s.ID != site.ID {
			t.Errorf("site %+v", s)
		}
		if ts := w.tasks(t); ts[0].GridID != next.ID || ts[0].OfficerID != "p-wang" || ts[0].State != grid.TaskOpen {
			t.Errorf("tasks %+v", ts)
		}
		items, err := w.deadlines.Of(t.Context(), gridapi.TaskType, w.tasks(t)[0].ID)
		if err != nil || len(items) != 1 || items[0].Responsible.ID != "p-wang" || items[0].Clause != "石台县实施意见（十）" {
			t.Errorf("deadline %+v, %v", items, err)
		}
		_, err = w.Change(ctx, g.ID, grid.GridChange{Read: flow.Read{Version: g.Version}, Name: "改名"})
		wantKind(t, err, errs.KindConflict, "撤销")
		w.verified(t)
	})
}

func TestSites(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := as(t, townOffice)
		g := w.grid(t)

		// By coordinates, by hand, unassigned.
		if s := w.learn(t, "e1", "", ""); s.GridID != g.ID || s.Assigned != grid.ByBoundary || s.Every != grid.Monthly {
			t.Errorf("by coordinates: %+v", s)
		}
		far := grid.Enterprise{ID: "e2", Version: 1, Name: "远方", Division: village, Line: "gas"}
		sys := actor.AsSystem(t.Context(), "event")
		if err := w.Learn(sys, far); err != nil {
			t.Fatal(err)
		}
		e2 := w.siteOf(t, "e2")
		if e2.GridID != "" {
			t.Errorf("without coordinates: %+v", e2)
		}
		for range 2 { // twice: the second changes nothing
			n, err := w.Assign(ctx, g.ID, grid.AssignInput{PlaceIDs: []string{e2.ID}})
			if err != nil || n.Count > 1 {
				t.Fatal(n, err)
			}
		}
		if s := w.siteOf(t, "e2"); s.GridID != g.ID || s.Assigned != grid.ByHand || s.Version != 2 {
			t.Errorf("by hand: %+v", s)
		}

		// Old news changes nothing, new news does; what was put by hand stays, unless the enterprise moves away.
		far.Version, far.Name = 3, "新名"
		if err := w.Learn(sys, far); err != nil {
			t.Fatal(err)
		}
		far.Version, far.Name = 2, "旧名"
		if err := w.Learn(sys, far); err != nil {
			t.Fatal(err)
		}
		if s := w.siteOf(t, "e2"); s.Name != "新名" || s.GridID != g.ID {
			t.Errorf("after news: %+v", s)
		}
		far.Version, far.Division = 4, village2
		if err := w.Learn(sys, far); err != nil {
			t.Fatal(err)
		}
		if s := w.siteOf(t, "e2"); s.GridID != "" {
			t.Errorf("after moving away: %+v", s)
		}
		_, err := w.Assign(ctx, g.ID, grid.AssignInput{PlaceIDs: []string{e2.ID}})
		wantKind(t, err, errs.KindInvalid, "不在网格")

		// A boundary that comes later collects what lies inside.
		if err := w.Learn(sys, grid.Enterprise{ID: "e3", Version: 1, Name: "三", Division: village, Lon: ptr(117.70), Lat: ptr(30.20)}); err != nil {
			t.Fatal(err)
		}
		other, err := w.Create(ctx, grid.GridInput{Division: village, Name: "二网格"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.AssignInside(ctx, other.ID)
		wantKind(t, err, errs.KindConflict, "边界")
		if other, err = w.Redraw(ctx, other.ID, grid.BoundaryInput{Read: flow.Read{Version: other.Version}, Boundary: box(2), Reason: "划定"}); err != nil {
			t.Fatal(err)
		}
		if n, err := w.AssignInside(ctx, other.ID); err != nil || n.Count != 1 || w.siteOf(t, "e3").GridID != other.ID {
			t.Errorf("inside: %+v, %v", n, err)
		}

		// Other places: the officer may enter one in the own grid only.
		school := grid.SiteInput{GridID: g.ID, Kind: "school", Name: "三增小学", Position: grid.Position{Lon: ptr(117.501), Lat: ptr(30.201)}}
		s, err := w.AddSite(as(t, officer), school)
		if err != nil || s.GridID != g.ID || s.VillageCode != village {
			t.Fatal(s, err)
		}
		school.GridID = other.ID
		_, err = w.AddSite(as(t, officer), school)
		wantKind(t, err, errs.KindForbidden, "不是")
		_, err = w.AddSite(as(t, otherPatrol), school)
		wantKind(t, err, errs.KindNotFound, "")
		school.Kind = "nonsense"
		_, err = w.AddSite(ctx, school)
		wantKind(t, err, errs.KindInvalid, "/kind")
		if free, err := w.AddSite(ctx, grid.SiteInput{Division: village, Kind: "reservoir", Name: "水库", Position: grid.Position{Lon: ptr(117.701), Lat: ptr(30.2)}}); err != nil || free.GridID != other.ID {
			t.Errorf("by coordinates: %+v, %v", free, err)
		}
		_, err = w.AddSite(ctx, grid.SiteInput{Division: village, Kind: "reservoir", Name: "水库", Position: grid.Position{Lon: ptr(30.2), Lat: ptr(117.7)}})
		wantKind(t, err, errs.KindInvalid, "填")

		// Changes, release, closing.
		_, err = w.ChangeSite(ctx, s.ID, grid.SiteChange{Read: flow.Read{Version: s.Version}, Every: grid.Weekly})
		wantKind(t, err, errs.KindInvalid, "理由")
		if s, err = w.ChangeSite(ctx, s.ID, grid.SiteChange{Read: flow.Read{Version: s.Version}, Name: "中心小学", Every: grid.Weekly, EveryReason: "学生多"}); err != nil || s.Name != "中心小学" {
			t.Fatal(s, err)
		}
		if n := w.plan(t); n != 4 {
			t.Errorf("%d tasks", n)
		}
		if s, err = w.ReleaseSite(ctx, s.ID, grid.ReasonInput{Read: flow.Read{Version: s.Version}, Reason: "划错"}); err != nil || s.GridID != "" {
			t.Fatal(s, err)
		}
		for _, x := range w.tasks(t) {
			if want := map[bool]string{true: grid.TaskCancelled, false: grid.TaskOpen}[x.SiteName == "中心小学"]; x.State != want {
				t.Errorf("after release %+v", x)
			}
		}
		e1 := w.siteOf(t, "e1")
		_, err = w.CloseSite(ctx, e1.ID, grid.ReasonInput{Read: flow.Read{Version: e1.Version}, Reason: "关门"})
		wantKind(t, err, errs.KindConflict, "企业档案")
		if err := w.Learn(sys, grid.Enterprise{ID: "e1", Version: 9, Name: "一", Division: village, Gone: true}); err != nil {
			t.Fatal(err)
		}
		if e1 = w.siteOf(t, "e1"); e1.State != grid.SiteClosed {
			t.Errorf("after closing: %+v", e1)
		}
		w.verified(t)
	})
}

func TestPlan(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := as(t, townOffice)
		g := w.grid(t)
		w.learn(t, "e1", "highRisk", "A")
		w.learn(t, "e2", "general", "A")
		if n := w.plan(t); n != 2 {
			t.Fatalf("%d tasks", n)
		}
		if n := w.plan(t); n != 0 {
			t.Errorf("planned again: %d", n)
		}
		ts := w.tasks(t)
		if ts[0].Period != "week:2026-03-09" || ts[1].Period != "month:2026-03-01" || !ts[0].DueAt.Equal(time.Date(2026, 3, 16, 0, 0, 0, 0, clock.Zone)) || ts[0].OfficerID != "p-zhang" {
			t.Errorf("tasks %+v", ts)
		}
		if mine, err := w.Today(as(t, officer)); err != nil || len(mine) != 2 || mine[0].Missed || *mine[0].Lon != 117.50 || mine[0].GridName != "一网格" {
			t.Errorf("today %+v, %v", mine, err)
		}
		if mine, _ := w.Today(as(t, deputy)); len(mine) != 0 {
			t.Errorf("the deputy has work while the officer is there: %+v", mine)
		}

		// The deputy covers, from the first day of the absence to the last.
		if _, err := w.Excuse(as(t, officer), g.ID, grid.AbsenceInput{PersonID: "p-li", From: "2026-03-12", To: "2026-03-13", Reason: "住院"}); errs.KindOf(err) != errs.KindForbidden {
			t.Errorf("excuse for another: %v", err)
		}
		if _, err := w.Excuse(as(t, officer), g.ID, grid.AbsenceInput{PersonID: "p-zhang", From: "2026-03-12", To: "2026-03-13", Reason: "住院"}); err != nil {
			t.Fatal(err)
		}
		for day, want := range []string{"p-zhang", "p-li", "p-li", "p-zhang"} {
			w.plan(t)
			for _, x := range w.tasks(t) {
				if x.OfficerID != want {
					t.Errorf("day %d: %+v, want %s", day, x, want)
				}
			}
			items, _ := w.deadlines.Find(t.Context(), scope.All("test"), deadline.Query{ResponsibleID: want})
			if len(items) != 2 {
				t.Errorf("day %d: %d deadlines are %s's", day, len(items), want)
			}
			w.db.Clock.Advance(24 * time.Hour)
		}

		// A new week, another policy: the high risk enterprise daily from Monday on.
		if _, err := w.SetPolicy(ctx, grid.SetPolicyInput{Division: town, EffectiveFrom: "2026-03-16", Basis: "镇政府〔2026〕3号", Value: grid.Policy{
			Frequencies: []grid.Frequency{{Classes: []string{"highRisk"}, Every: grid.Daily}}, Radius: 50, SkewSeconds: 60, AbandonHours: 24}}); err != nil {
			t.Fatal(err)
		}
		_, err := w.SetPolicy(ctx, grid.SetPolicyInput{Division: town2, EffectiveFrom: "2026-03-16", Basis: "依据", Value: grid.DefaultPolicy()})
		wantKind(t, err, errs.KindForbidden, "辖区")
		_, err = w.SetPolicy(ctx, grid.SetPolicyInput{Division: town, EffectiveFrom: "2026-03-16", Basis: "依据", Value: grid.Policy{Radius: 1}})
		wantKind(t, err, errs.KindInvalid, "/radius")
		if n := w.plan(t); n != 0 {
			t.Errorf("Sunday: %d", n)
		}
		w.db.Clock.Advance(24 * time.Hour)
		if n := w.plan(t); n != 1 {
			t.Errorf("Monday: %d", n)
		}
		if mine, _ := w.Today(as(t, officer)); len(mine) != 3 || !mine[0].Missed || mine[1].ToDay != "2026-03-16" {
			t.Errorf("Monday's list %+v", mine)
		}

		// What comes late in the period begins with the next one.
		w.db.Clock.Set(time.Date(2026, 4, 29, 9, 0, 0, 0, clock.Zone))
		w.plan(t)
		if err := w.Learn(actor.AsSystem(t.Context(), "event"), grid.Enterprise{ID: "e9", Version: 1, Name: "新企业", Division: village2, Class: "general"}); err != nil {
			t.Fatal(err)
		}
		g2, err := w.Create(ctx, grid.GridInput{Division: village2, Name: "杏溪"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.SetPolicy(ctx, grid.SetPolicyInput{Division: village2, EffectiveFrom: "2026-04-01", Basis: "村", Value: grid.DefaultPolicy()}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Assign(ctx, g2.ID, grid.AssignInput{PlaceIDs: []string{w.siteOf(t, "e9").ID}}); err != nil {
			t.Fatal(err)
		}
		if n := w.plan(t); n != 0 {
			t.Errorf("two days before the month's end: %d", n)
		}
		w.db.Clock.Set(time.Date(2026, 5, 1, 0, 10, 0, 0, clock.Zone))
		if n := w.plan(t); n != 2 { // e1's day and e9's month
			t.Errorf("in May: %d", n)
		}
		w.verified(t)
	})
}

// Two processes plan at once: every task is there once.
func TestPlanTwiceAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.grid(t)
		for _, id := range strings.Fields("a b c d e f g h") {
			w.learn(t, id, "highRisk", "")
		}
		done := make(chan error)
		for range 4 {
			go func() {
				_, err := w.Plan(t.Context())
				done <- err
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if ts := w.tasks(t); len(ts) != 8 {
			t.Errorf("%d tasks", len(ts))
		}
		w.verified(t)
	})
}
