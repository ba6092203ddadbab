package grid_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/ledger"
	"anwang/internal/module/grid"
	"anwang/internal/module/grid/gridapi"
)

// door is the module behind the real door.
type door struct {
	*world
	api *httpx.API
	h   http.Handler
}

// fakeLogins knows an actor by the token that is its id.
type fakeLogins struct{}

func (fakeLogins) Authenticate(_ context.Context, token string) (httpx.Session, error) {
	if a := signedIn[token]; a != nil {
		return httpx.Session{Actor: a}, nil
	}
	return httpx.Session{}, errs.Unauthenticated("login.required", "请先登录。")
}

func eachDoor(t *testing.T, test func(t *testing.T, d *door)) {
	t.Helper()
	t.Parallel()
	kerneltest.EachEngine(t, append([]db.Migrations{httpx.Migrations}, parts...), func(t *testing.T, d *db.DB) {
		w := open(t, d)
		api := httpx.New(httpx.Config{DB: d, Log: slog.New(slog.DiscardHandler), Auth: fakeLogins{}})
		w.Serve(api, ledger.Service{API: api, Log: w.log})
		test(t, &door{w, api, api.Handler()})
	})
}

// call sends a request as the actor, nil for nobody, with headers in pairs, and returns status and body.
func (d *door) call(who *actor.Actor, method, path string, body any, headers ...string) (int, string) {
	var b []byte
	switch body := body.(type) {
	case nil:
	case []byte:
		b = body
	default:
		b, _ = json.Marshal(body)
	}
	r := httptest.NewRequest(method, "/api/v1"+path, bytes.NewReader(b))
	if len(b) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	if who != nil {
		r.Header.Set("Authorization", "Bearer "+who.ID)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// ok is call for a request that must succeed; the answer is read into a T.
func ok[T any](t *testing.T, d *door, who *actor.Actor, method, path string, body any, headers ...string) T {
	t.Helper()
	code, text := d.call(who, method, path, body, headers...)
	var out T
	if code != 200 {
		t.Fatalf("%s %s: %d %s", method, path, code, text)
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
	return out
}

type page struct {
	Items []map[string]any
	Total int
}

// A day of a town: draw, appoint, enter, plan, patrol, acknowledge, look at the numbers.
func TestDayOverHTTP(t *testing.T) {
	eachDoor(t, func(t *testing.T, d *door) {
		g := ok[grid.Item](t, d, townOffice, "POST", "/grids", map[string]any{"division": village, "name": "一网格", "boundary": json.RawMessage(box(0))})
		ok[grid.Duty](t, d, townOffice, "POST", "/grids/"+g.ID+"/officers", map[string]any{"kind": "officer", "personId": "p-zhang"})
		site := ok[grid.Site](t, d, officer, "POST", "/grid-places", map[string]any{"gridId": g.ID, "kind": "gasStation", "name": "加油站", "lon": 117.5, "lat": 30.2})
		d.plan(t)
		due := ok[grid.Listing[grid.DueTask]](t, d, officer, "GET", "/patrol-tasks/today", nil)
		if len(due.Items) != 1 || due.Items[0].SiteID != site.ID || due.Items[0].KindName != "种类gasStation" {
			t.Fatalf("today %+v", due)
		}

		in := d.walk(&g, kerneltest.Noon.Add(-time.Hour), 0, site.ID)
		in.Actions = []grid.ActionInput{{ID: d.uuid(), Duty: gridapi.Stop, PlaceID: site.ID, What: "制止吸烟", Result: grid.Refused, At: in.StartedAt.Add(time.Minute)}}
		headers := []string{"Idempotency-Key", "k1", "X-Client-Time", kerneltest.Noon.Add(5 * time.Second).Format(time.RFC3339Nano)}
		p := ok[grid.Patrol](t, d, officer, "POST", "/patrols", in, headers...)
		if p.Skew == nil || *p.Skew != -5000 || p.State != grid.Finished {
			t.Errorf("patrol %+v", p)
		}
		headers[3] = kerneltest.Noon.Add(time.Hour).Format(time.RFC3339Nano) // sent again later: same body, same answer
		if again := ok[grid.Patrol](t, d, officer, "POST", "/patrols", in, headers...); again.Version != p.Version || *again.Skew != -5000 {
			t.Errorf("again %+v", again)
		}
		if again := ok[grid.Patrol](t, d, officer, "POST", "/patrols", in); again.Version != p.Version { // without a key
			t.Errorf("again without a key %+v", again)
		}
		detail := ok[grid.PatrolDetail](t, d, townOffice, "GET", "/patrols/"+p.ID, nil)
		if len(detail.VisitList) != 1 || len(detail.Actions) != 1 || len(d.alerts) != 1 {
			t.Fatalf("detail %+v", detail)
		}
		if view := ok[grid.TrackView](t, d, officer, "GET", "/patrols/"+p.ID+"/track", nil); len(view.Points) < 3 {
			t.Errorf("track %+v", view)
		}
		ok[grid.Action](t, d, townOffice, "POST", "/grid-actions/"+detail.Actions[0].ID+"/acknowledge", map[string]any{"version": 1, "opinion": "已到场处理"})
		if code, text := d.call(townOffice, "POST", "/grid-actions/"+detail.Actions[0].ID+"/acknowledge", map[string]any{"version": 1, "opinion": "再来一次"}); code != 409 || !strings.Contains(text, "他人修改") {
			t.Errorf("twice: %d %s", code, text)
		}

		for path, want := range map[string]int{
			"/grids?officer=x": -1, "/grids?view=active&q=%E5%BC%A0": 1, "/grids?in=" + town: 1, "/grids?in=" + town2: 0, "/grids?view=vacant": 0,
			"/grid-places?view=unassigned": 0, "/grid-places?view=others&gridId=" + g.ID: 1, "/patrol-tasks?view=missed": 0, "/patrol-tasks?state=done&lateArrival=false": 1,
			"/patrols?state=finished&startedAt=2026-03-11..2026-03-11": 1, "/grid-visits?proof=verified": 1, "/grid-visits?view=unproven": 0, "/grid-actions?duty=stop,find&state=acknowledged": 1,
			"/grid-actions?view=waiting": 0,
		} {
			code, text := d.call(townOffice, "GET", path, nil)
			var p page
			if want < 0 {
				if code != 422 {
					t.Errorf("%s: %d %s", path, code, text)
				}
				continue
			}
			if err := json.Unmarshal([]byte(text), &p); err != nil || code != 200 || len(p.Items) != want {
				t.Errorf("%s: %d, %d items, want %d: %s", path, code, len(p.Items), want, text)
			}
		}
		for _, list := range []string{"grids", "grid-places", "patrol-tasks", "patrols", "grid-visits", "grid-actions"} {
			if code, _ := d.call(townOffice, "GET", "/"+list+"/export.xlsx", nil); code != 200 {
				t.Errorf("export of %s: %d", list, code)
			}
		}
		rows := ok[grid.Listing[grid.StatisticsRow]](t, d, townOffice, "GET", "/grid-statistics?by=town&from=2026-03-01&to=2026-03-31", nil)
		if len(rows.Items) != 1 || rows.Items[0].Name != "仁里镇" || rows.Items[0].Done != 1 || rows.Items[0].Refused != 1 {
			t.Errorf("statistics %+v", rows)
		}
		where := ok[gridapi.Answer](t, d, townOffice, "GET", "/grids/locate?lon=117.5&lat=30.2", nil)
		if where.PersonName != "张三" {
			t.Errorf("locate %+v", where)
		}
		maps := ok[grid.Listing[grid.Feature]](t, d, townOffice, "GET", "/grids/map?crs=GCJ-02", nil)
		if len(maps.Items) != 1 || maps.Items[0].Geometry.Type != "Polygon" || strings.Contains(string(maps.Items[0].Geometry.Coordinates), "117.49,") {
			t.Errorf("map %+v", maps)
		}
		if h := ok[grid.Listing[grid.Line]](t, d, townOffice, "GET", "/grids/"+g.ID+"/history", nil); len(h.Items) != 1 || h.Items[0].Actor != "王五" {
			t.Errorf("history %+v", h)
		}
		d.verified(t)
	})
}

// Nobody sees or does anything where no grant of theirs reaches, by whatever operation.
func TestOutsiders(t *testing.T) {
	eachDoor(t, func(t *testing.T, d *door) {
		g := d.grid(t)
		site := d.learn(t, "e1", "highRisk", "A")
		d.plan(t)
		in := d.walk(g, kerneltest.Noon.Add(-time.Hour), 0.003, site.ID)
		in.Actions = []grid.ActionInput{{ID: d.uuid(), Duty: gridapi.Report, PlaceID: site.ID, What: "机密情况", At: in.StartedAt}}
		if _, err := d.Submit(as(t, officer), in); err != nil {
			t.Fatal(err)
		}
		begun := d.uuid()
		if _, err := d.Begin(as(t, officer), grid.StartPatrol{ID: begun, GridID: g.ID, StartedAt: kerneltest.Noon}); err != nil {
			t.Fatal(err)
		}
		detail, err := d.GridByID(as(t, townOffice), g.ID)
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]string{gridapi.ItemType: g.ID, gridapi.PlaceType: site.ID, gridapi.PatrolType: in.ID, gridapi.VisitType: in.Visits[0].ID, gridapi.ActionType: in.Actions[0].ID}
		with := func(more map[string]any) map[string]any {
			out := map[string]any{"version": 1}
			for k, v := range more {
				out[k] = v
			}
			return out
		}
		bodies := map[string]any{
			"create-grid": map[string]any{"division": village, "name": "占"}, "change-grid": with(map[string]any{"name": "改"}), "redraw-grid": with(map[string]any{"reason": "改边界"}),
			"appoint-grid-officer": map[string]any{"kind": "officer", "personId": "p-zhao"}, "dismiss-grid-officer": with(map[string]any{"reason": "免去"}),
			"excuse-grid-officer": map[string]any{"personId": "p-zhang", "from": "2026-03-12", "to": "2026-03-12", "reason": "请假"},
			"assign-grid-places":  map[string]any{"placeIds": []string{site.ID}}, "assign-inside-grid": map[string]any{}, "/grids/{id}/retire": with(map[string]any{"on": "2026-03-11", "reason": "撤销"}),
			"set-grid-policy": map[string]any{"division": village, "effectiveFrom": "2026-03-11", "basis": "依据", "value": grid.DefaultPolicy()},
			"add-grid-place":  map[string]any{"gridId": g.ID, "kind": "school", "name": "占"}, "change-grid-place": with(map[string]any{"every": "day", "everyReason": "占"}),
			"close-grid-place": with(map[string]any{"reason": "关闭"}), "release-grid-place": with(map[string]any{"reason": "移出"}),
			"start-patrol":  map[string]any{"id": d.uuid(), "gridId": g.ID, "startedAt": kerneltest.Noon},
			"submit-patrol": d.walk(g, kerneltest.Noon.Add(-time.Hour), 0), "/patrols/{id}/abandon": with(map[string]any{"reason": "放弃"}), "confirm-grid-visit": with(map[string]any{"reason": "认可"}),
			"record-grid-action":             grid.ActionInput{ID: d.uuid(), GridID: g.ID, Duty: gridapi.Report, Target: "x", What: "假报告", At: kerneltest.Noon},
			"/grid-actions/{id}/acknowledge": with(map[string]any{"opinion": "签收"}),
		}
		queries := map[string]string{"locate-grid": "?lon=117.5&lat=30.2", "grid-statistics": "?from=2026-03-01&to=2026-03-31", "get-grid-policy": "?division=" + village}
		rows := func() string {
			var n []int
			for _, table := range []string{"audit_entry", "grid_item", "grid_place", "grid_duty", "grid_absence", "grid_patrol", "grid_action"} {
				n = append(n, count(t, d.world, table))
			}
			return fmt.Sprint(n)
		}
		before := rows()
		for _, op := range d.api.Ops() {
			id := ids[op.Record]
			if op.Path == "/patrols/{id}/abandon" {
				id = begun
			}
			if strings.Contains(op.Path, "{id}") && id == "" {
				t.Fatalf("%s: no record of type %q", op.ID, op.Record)
			}
			path := strings.NewReplacer("{id}", id, "{duty}", detail.Duties[0].ID).Replace(op.Path) + queries[op.ID]
			body, headers := bodies[op.ID], []string(nil)
			if body == nil {
				body = bodies[op.Path]
			}
			if op.ID == "import-grids" {
				body, headers = []byte("网格名称,行政区划代码\n占,"+village+"\n"), []string{"Content-Type", "application/octet-stream"}
			} else if op.Method == "POST" && body == nil {
				t.Fatalf("%s: no body", op.ID)
			}
			if strings.HasSuffix(op.Path, "export.xlsx") || strings.HasSuffix(op.Path, "/columns") {
				continue // exports are the list, and their own log entry; columns are the same for all
			}
			if code, text := d.call(nil, op.Method, path, body, headers...); code != 401 {
				t.Errorf("nobody %s: %d %s", op.ID, code, text)
			}
			for _, who := range []*actor.Actor{otherTown, otherPatrol, enterprise, sysadmin, secadmin, auditor} {
				code, text := d.call(who, op.Method, path, body, headers...)
				for _, secret := range []string{"企业e1", "张三", "三增", "一网格", "机密", g.ID, site.ID} {
					if strings.Contains(text, secret) {
						t.Errorf("%s %s shows %s: %s", who.ID, op.ID, secret, text)
					}
				}
				if code != 403 && code != 404 && !(code == 200 && id == "" && (op.Method == "GET" || op.ID == "import-grids")) {
					t.Errorf("%s %s: %d %s", who.ID, op.ID, code, text)
				}
				if code == 200 && strings.Contains(text, `"items":[{`) {
					t.Errorf("%s %s lists something: %s", who.ID, op.ID, text)
				}
			}
		}
		if after := rows(); after != before {
			t.Errorf("outsiders left traces: %s before, %s after", before, after)
		}

		// The same operations open to those whose place it is.
		for _, op := range d.api.Ops() {
			if op.Method == "GET" && op.ID != "due-patrol-tasks" {
				path := strings.ReplaceAll(op.Path, "{id}", ids[op.Record]) + queries[op.ID]
				if code, text := d.call(townOffice, "GET", path, nil); code != 200 {
					t.Errorf("the town %s: %d %s", op.ID, code, text)
				}
			}
		}
		// A regulator sees what concerns the enterprises of its line, an enterprise's people what concerns it.
		own := person("own", "企业人", actor.Grant{Permissions: permissions(grid.View), Enterprise: "e1"})
		for _, who := range []*actor.Actor{industry, own} {
			if s, err := d.SiteByID(as(t, who), site.ID); err != nil || len(s.Visits) != 1 {
				t.Errorf("%s: %+v, %v", who.ID, s, err)
			}
			if _, err := d.PatrolByID(as(t, who), in.ID); errs.KindOf(err) != errs.KindNotFound {
				t.Errorf("%s sees the patrol: %v", who.ID, err)
			}
		}
	})
}

func TestImport(t *testing.T) {
	eachDoor(t, func(t *testing.T, d *door) {
		d.grid(t)
		send := func(file []byte, query string) (int, grid.ImportReport, string) {
			code, text := d.call(townOffice, "POST", "/grids/import"+query, file, "Content-Type", "application/octet-stream")
			var r grid.ImportReport
			json.Unmarshal([]byte(text), &r) //nolint:errcheck // a refusal is looked at as text
			return code, r, text
		}
		sheet := func(rows ...[]any) []byte {
			x := excelize.NewFile()
			x.SetSheetRow("Sheet1", "A1", &[]any{"*网格名称", "网格编号", "乡镇", "村", "边界", "网格员", "网格员电话"})
			for i, r := range rows {
				x.SetSheetRow("Sheet1", fmt.Sprintf("A%d", i+2), &r)
			}
			var b bytes.Buffer
			if err := x.Write(&b); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		bad := sheet(
			[]any{"二网格", "", "仁里镇", "杏溪村委会", string(box(2)), "李四"},
			[]any{"", "", "仁里镇", "杏溪村委会"},
			[]any{"三网格", "", "不存在镇"},
			[]any{"四网格", village3 + "001"},
			[]any{"五网格", village2 + "005", "", "", `{"type":"Polygon","coordinates":[]}`},
			[]any{"六网格", village2 + "006", "", "", "", "钱七"},
			[]any{"七网格", village2 + "006"},
			[]any{"八网格", "12"},
			[]any{"九网格", "", "七都镇", "七都村委会"},
			[]any{`=HYPERLINK("x")<script>`, village2 + "010", "", "", "{", "无此人"},
		)
		code, r, text := send(bad, "")
		if code != 200 || r.Applied || r.Created != 1 || r.Rows != 10 {
			t.Fatalf("dry run %d %s", code, text)
		}
		want := map[int]string{3: "网格名称", 4: "不存在镇", 5: "管辖", 6: "边界", 7: "2 个", 8: "重复", 9: "网格编号", 10: "七都", 11: "GeoJSON"}
		for _, e := range r.Errors {
			if w, known := want[e.Row]; known && strings.Contains(e.Column+e.Message, w) {
				delete(want, e.Row)
			}
		}
		if len(want) > 0 {
			t.Errorf("not told: %v in %+v", want, r.Errors)
		}
		if code, r, text := send(bad, "?dryRun=false"); code != 200 || r.Applied || count(t, d.world, "grid_item") != 1 {
			t.Errorf("with errors nothing is written: %d %s", code, text)
		}
		if code, r, text := send(bad, "?dryRun=false&skipErrors=true"); code != 200 || !r.Applied || count(t, d.world, "grid_item") != 2 {
			t.Errorf("the good rows: %d %s", code, text)
		}
		if a, err := d.Locate(t.Context(), 117.70, 30.20, kerneltest.Noon); err != nil || a == nil || a.PersonName != "李四" {
			t.Errorf("imported grid %+v, %v", a, err)
		}
		good := sheet([]any{"二网格", "", "仁里镇", "杏溪村委会", string(box(2)), "李四"}, []any{"一网格改名", village + "001", "", "", string(box(4)), "钱七", "138p-qian2"})
		if _, r, text := send(good, "?dryRun=false"); !r.Applied || r.Same != 1 || r.Updated != 1 || r.Created != 0 {
			t.Errorf("again: %s", text)
		}
		if a, err := d.Locate(t.Context(), 117.90, 30.20, kerneltest.Noon); err != nil || a == nil || a.Name != "一网格改名" || a.PersonID != "p-qian2" {
			t.Errorf("updated grid %+v, %v", a, err)
		}
		collection := fmt.Appendf(nil, `{"type":"FeatureCollection","features":[
			{"type":"Feature","properties":{"name":"图上网格","division":%s},"geometry":%s},
			{"type":"Feature","properties":{"名称":"没有边界","所在乡镇":"仁里镇"},"geometry":null}]}`, village2, box(6))
		if _, r, text := send(collection, "?dryRun=false&crs=GCJ-02"); !r.Applied || r.Created != 2 {
			t.Errorf("GeoJSON: %s", text)
		}
		hostile := []byte(`{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"name":"a\u0000b","division":"341722100201"}},{"properties":{"name":{"x":[1]},"division":["y"]}},{}]}`)
		if code, r, text := send(hostile, "?dryRun=false"); code != 200 || r.Applied || len(r.Errors) < 3 {
			t.Errorf("hostile properties: %d %s", code, text)
		}
		for name, file := range map[string]string{"nothing": "x", "broken": `{"type":"FeatureCollection","features":[`, "no collection": `{"type":"Point"}`, "no header": "a,b\n1,2\n", "picture": "\x89PNG\r\n\x1a\n0000"} {
			if code, _, text := send([]byte(file), ""); code != 422 || !strings.Contains(text, "grid.import") {
				t.Errorf("%s: %d %s", name, code, text)
			}
		}
		if code, _ := d.call(officer, "POST", "/grids/import", []byte("x"), "Content-Type", "application/octet-stream"); code != 403 {
			t.Errorf("an officer imports: %d", code)
		}
		d.verified(t)
	})
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
