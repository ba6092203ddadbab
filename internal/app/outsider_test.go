package app

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"anwang/internal/kernel/actor"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// insiders makes one record of every type that an operation names, all of the gas company in 仁里, and returns their ids by type.
func (w *world) insiders() map[string]string {
	w.t.Helper()
	ids := map[string]string{"enterprise.item": w.gas}
	danger := w.report("grid", nil)
	ids[hiddendangerapi.RecordType] = danger.text("id")
	_, err := w.all.hiddendanger.PlanChecks(actor.AsSystem(w.t.Context(), "test"))
	w.must(err)
	ids["hiddendanger.check"] = w.want(200, "gas", "GET", "/self-checks", nil).text("items.0.id")
	ids["hiddendanger.bulletin"] = w.want(201, "office", "POST", "/danger-bulletins", map[string]any{"division": renli, "from": "2026-01-01", "to": "2026-03-31"}).text("id")
	w.insidersOfOthers(ids)
	return ids
}

// Whoever stands outside sees nothing: another town, another line, another enterprise, another village's officer, each administrator, nobody. Every operation of the API is
// called, with a body that its schema accepts, so that a new operation is tested the day it is added.
func TestOutsiders(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, w *world) {
		ids := w.insiders()
		paths := w.API.OpenAPI().Paths
		outsiders := []string{"qidu", "trade", "mill", "gridqidu"}
		administrators := []string{"sysadmin", "secadmin", "auditor"}
		for _, op := range w.API.Ops() {
			path := op.Path
			if op.Record != "" {
				id, ok := ids[op.Record]
				if !ok {
					t.Errorf("%s: no record of type %s to try: add one to insiders()", op.ID, op.Record)
					continue
				}
				path = strings.Replace(path, "{id}", id, 1)
			}
			for strings.Contains(path, "{") { // other parameters: anything
				a, b := strings.Index(path, "{"), strings.Index(path, "}")
				path = path[:a] + "x" + path[b+1:]
			}
			body := w.sample(paths[op.Path], op.Method)
			if a := w.as("", op.Method, path, body); !op.Public && a.status != 401 {
				t.Errorf("nobody: %s %s: %d %s", op.Method, path, a.status, a.body)
			}
			business := op.Need != "" && isBusiness(op.Need)
			if business {
				for _, who := range administrators {
					if a := w.as(who, op.Method, path, body); a.status != 403 {
						t.Errorf("%s: %s %s: %d %s", who, op.Method, path, a.status, cut(a.body))
					}
				}
			}
			if op.Public || op.Need == "" && op.Record == "" {
				continue
			}
			for _, who := range outsiders {
				switch {
				case strings.HasPrefix(op.Record, "org.") && who == "trade" && op.Method == "GET":
					// Who holds which post is known to every department of the county, without telephone and citizen number.
				case op.Record != "":
					if a := w.as(who, op.Method, path, body); a.status != 404 && a.status != 403 || strings.Contains(string(a.body), "仁里") {
						t.Errorf("%s: %s %s: %d %s", who, op.Method, path, a.status, cut(a.body))
					}
				case strings.HasPrefix(op.ID, "list-"):
					a := w.as(who, op.Method, path, nil)
					if a.status >= 500 {
						t.Errorf("%s: %s %s: %d %s", who, op.Method, path, a.status, cut(a.body))
					}
					for _, secret := range []string{w.gas, ids[hiddendangerapi.RecordType], "石台仁里燃气", "\"341722100"} {
						if strings.Contains(string(a.body), secret) {
							t.Errorf("%s: %s shows %s: %s", who, path, secret, cut(a.body))
						}
					}
				}
			}
		}
		// And those inside do see it, so that the test above does not pass because nothing is there.
		for _, who := range []string{"office", "housing", "town", "grid", "gas"} {
			w.want(200, who, "GET", "/hidden-dangers/"+ids[hiddendangerapi.RecordType], nil)
			if l := w.want(200, who, "GET", "/hidden-dangers", nil); l.get("total").(float64) != 1 {
				t.Errorf("%s sees %s", who, l.body)
			}
		}
	})
}

func cut(b []byte) string {
	if len(b) > 300 {
		b = b[:300]
	}
	return string(b)
}

// isBusiness reports whether the permission is one that no administrator may hold.
func isBusiness(need string) bool {
	for _, kernel := range []string{"access.", "org.", "dict.", "audit.", "event.", "job.", "backup.", "deadline.calendar", "deadline.rules", "notify.", "policy.", "importer."} {
		if strings.HasPrefix(need, kernel) {
			return false
		}
	}
	return true
}

// sample makes a request body that the operation's schema accepts; nil when there is none.
func (w *world) sample(item *huma.PathItem, method string) any {
	op := map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete}[method]
	if op == nil || op.RequestBody == nil {
		return nil
	}
	media := op.RequestBody.Content["application/json"]
	if media == nil {
		return nil
	}
	text, err := json.Marshal(w.value(media.Schema, 0))
	w.must(err)
	return string(text)
}

func (w *world) value(s *huma.Schema, depth int) any {
	if s.Ref != "" {
		s = w.API.OpenAPI().Components.Schemas.SchemaFromRef(s.Ref)
	}
	if len(s.Enum) > 0 {
		return s.Enum[0]
	}
	switch s.Type {
	case "object":
		out := map[string]any{}
		for name, p := range s.Properties {
			if slices.Contains(s.Required, name) && depth < 6 {
				out[name] = w.value(p, depth+1)
			}
		}
		return out
	case "array":
		out := []any{}
		for range ptrOr(s.MinItems, 0) {
			out = append(out, w.value(s.Items, depth+1))
		}
		return out
	case "integer", "number":
		if s.Minimum != nil {
			return *s.Minimum
		}
		return 1
	case "boolean":
		return true
	case "string":
		switch {
		case s.Format == "date":
			return "2026-03-12"
		case s.Format == "date-time":
			return "2026-03-12T00:00:00Z"
		case s.Pattern != "":
			return strings.Repeat("a", max(ptrOr(s.MinLength, 3), 3))
		case ptrOr(s.MinLength, 0) == 10 && ptrOr(s.MaxLength, 0) == 10:
			return "2026-03-12"
		}
		return strings.Repeat("甲", max(ptrOr(s.MinLength, 1), 1))
	}
	return fmt.Sprint(s.Type)
}

func ptrOr(p *int, otherwise int) int {
	if p == nil {
		return otherwise
	}
	return *p
}

// insidersOfOthers adds the records of grids and of the kernel.
func (w *world) insidersOfOthers(ids map[string]string) {
	w.t.Helper()
	noon := "2026-03-11T11:00:00+08:00"
	id := func(n int) string { return fmt.Sprintf("01953c7e-0000-7000-8000-0000000000%02d", n) }
	ids["grid.item"] = w.want(200, "office", "POST", "/grids", map[string]any{"division": renliVill, "name": "三增第一网格"}).text("id")
	person := w.people["grid"]
	w.want(200, "office", "POST", "/grids/"+ids["grid.item"]+"/officers", map[string]any{"kind": "officer", "personId": person, "from": "2026-03-01"})
	ids["grid.place"] = w.want(200, "town", "POST", "/grid-places", map[string]any{"division": renliVill, "name": "三增小学", "kind": "school", "gridId": ids["grid.item"]}).text("id")
	w.want(200, "grid", "POST", "/patrols", map[string]any{"id": id(1), "gridId": ids["grid.item"], "startedAt": noon, "finishedAt": "2026-03-11T11:40:00+08:00",
		"visits": []any{map[string]any{"id": id(2), "placeId": ids["grid.place"], "arrivedAt": noon, "leftAt": "2026-03-11T11:10:00+08:00", "result": "normal"}}})
	ids["grid.patrol"], ids["grid.visit"] = id(1), id(2)
	w.want(200, "grid", "POST", "/grid-actions", map[string]any{"id": id(3), "gridId": ids["grid.item"], "duty": "publicise", "what": "发放防火宣传单", "at": noon, "audience": 20, "target": "村民"})
	ids["grid.action"] = id(3)
	ids["org.person"], ids["org.post"] = person, w.posts["grid"]
	items, err := w.Kernel.Deadlines.Of(w.t.Context(), "hiddendanger.check", ids["hiddendanger.check"])
	w.must(err)
	ids["deadline.item"] = items[0].ID
	table := "企业名称,行业代码,行政区划代码,无信用代码原因\n石台仁里茶厂,C1530,341722100000,个体经营\n"
	file := w.upload("town", "企业.csv", []byte(table))
	ids["importer.run"] = w.want(201, "town", "POST", "/imports/enterprises", map[string]any{"fileId": file}).text("id")
}
