package enterprise

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/scope"
	"anwang/internal/module/enterprise/enterpriseapi"
)

func (w *world) systemScope() scope.Filter { return scope.All("test") }

func TestRegister(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		e := w.must(201, "town", "POST", "/enterprises", obj{
			"name": "石台县 金鑫(集团)有限公司", "division": village, "industry": "2614", "uscc": strings.ToLower(code(1)), "scale": "small",
			"address": "仁里镇和平路1号", "employees": 120,
			"position": obj{"lon": 117.4931, "lat": 30.2097, "crs": "gcj02"},
			"people":   []obj{{"role": "legalRepresentative", "name": "王小明", "phone": "138 1234 5678"}, {"role": "safetyManager", "name": "赵一", "phone": "0566-6022222", "certificates": []obj{{"kind": "考核合格证", "number": "皖1", "validTo": "2025-01-01"}}}},
			"hazards":  []string{"dust", "confinedSpace", "dust"},
		})
		id := e["id"].(string)
		for key, want := range (obj{"name": "石台县金鑫（集团）有限公司", "industry": "C2614", "line": "hazchem", "uscc": code(1), "kind": "company", "state": "active", "class": "highRisk",
			"townCode": town, "villageCode": village, "enterpriseId": id, "industryName": "有机化学原料制造", "lineName": "危险化学品", "version": 1.0, "givenCrs": "gcj02", "source": "manual"}) {
			if e[key] != want {
				t.Errorf("%s = %v, want %v", key, e[key], want)
			}
		}
		// GCJ-02 in, WGS-84 stored, either out.
		p := e["position"].(obj)
		if lon := p["lon"].(float64); lon > 117.4931-0.003 || lon < 117.4931-0.008 || p["crs"] != "wgs84" {
			t.Errorf("position %v", p)
		}
		p = w.must(200, "town", "GET", "/enterprises/"+id+"?crs=gcj02", nil)["position"].(obj)
		if p["lon"] != 117.4931 || p["lat"] != 30.2097 || p["crs"] != "gcj02" {
			t.Errorf("position %v", p)
		}
		if e["grade"] != "D" || len(e["grading"].(obj)["reasons"].([]any)) != 6 { // hazchem, dust, confined space, 100 employees, no principal, an expired certificate
			t.Errorf("grade %v %v", e["grade"], e["grading"])
		}
		if path := e["divisionPath"].([]any); fmt.Sprint(path) != "[安徽省 池州市 石台县 仁里镇 马村居委会]" {
			t.Errorf("path %v", path)
		}

		// The code is taken: the office is told by whom, another county is not.
		r := w.must(409, "office", "POST", "/enterprises", factory(1))
		if r["code"] != "enterprise.usccTaken" || !strings.Contains(r["message"].(string), "金鑫") {
			t.Errorf("taken: %v", r)
		}
		r = w.must(409, "otherCounty", "POST", "/enterprises", factory(1, obj{"division": otherCounty}))
		if r["code"] != "enterprise.usccElsewhere" || strings.Contains(fmt.Sprint(r), "金鑫") {
			t.Errorf("elsewhere: %v", r)
		}

		// A name much like it has to be confirmed.
		like := obj{"name": "金鑫集团股份有限公司", "division": otherTown, "industry": "C3311", "noUsccReason": "正在办理", "confirmDuplicate": false}
		r = w.must(409, "office", "POST", "/enterprises", like)
		if r["code"] != "enterprise.similar" || !strings.Contains(fmt.Sprint(r["fields"]), code(1)) {
			t.Errorf("similar: %v", r)
		}
		r = w.must(409, "otherTown", "POST", "/enterprises", like)
		if r["code"] != "enterprise.similar" || strings.Contains(fmt.Sprint(r), code(1)) || !strings.Contains(fmt.Sprint(r), "1 家") {
			t.Errorf("similar out of reach: %v", r)
		}
		like["confirmDuplicate"] = true
		r = w.must(201, "otherTown", "POST", "/enterprises", like)
		if r["number"] != "341722-N000001" || r["idKind"] != "NO_USCC" || r["uscc"] != "" {
			t.Errorf("without code: %v", r)
		}

		// Repeating a keyed request makes no second file.
		first := w.must(201, "office", "POST", "/enterprises", factory(7), "Idempotency-Key", "k7")
		again := w.must(201, "office", "POST", "/enterprises", factory(7), "Idempotency-Key", "k7")
		if first["id"] != again["id"] {
			t.Error("the repeat made another file")
		}
		// And a refusal inside a keyed request is the refusal.
		w.must(409, "office", "POST", "/enterprises", factory(7), "Idempotency-Key", "k8")

		look := w.must(200, "office", "GET", "/enterprises/lookup?uscc="+code(1), nil)
		if look["known"] != true || look["enterprise"].(obj)["id"] != id || look["authority"] != "石台县" {
			t.Errorf("lookup %v", look)
		}
		look = w.must(200, "otherCounty", "GET", "/enterprises/lookup?uscc="+code(1), nil)
		if look["known"] != false || look["elsewhere"] != true || look["enterprise"] != nil {
			t.Errorf("lookup elsewhere %v", look)
		}
		w.verify()
	})
}

// Whatever is typed is refused at its field, in Chinese, and never breaks anything.
func TestHostileInput(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const nul = "a\u0000b"
		long := strings.Repeat("长", 5000)
		for _, c := range []struct {
			field string
			value any
			at    string // pointer of the complaint
		}{
			{"name", "", "/name"}, {"name", "厂", "/name"}, {"name", long, "/name"}, {"name", "甲\u0001乙厂", "/name"}, {"name", 5, "/name"}, {"name", "\u200b\u202e ", "/name"},
			{"uscc", "91341722000000001", "/uscc"}, {"uscc", strings.Replace(code(3), "9", "8", 1), "/uscc"}, {"uscc", "91341722'; DROP TABLE", "/uscc"}, {"uscc", "", "/uscc"},
			{"division", "341722999000", "/division"}, {"division", "340000000000", "/division"}, {"division", "'", "/division"}, {"division", otherCounty, "/division"},
			{"industry", "C9999", "/industry"}, {"industry", "C", "/industry"}, {"industry", "Z12", "/industry"}, {"industry", "A26", "/industry"},
			{"line", "nonsense", "/line"}, {"line", "gas", "/lineReason"},
			{"scale", "huge", "/scale"}, {"kind", "x", "/kind"}, {"employees", -1, "/employees"}, {"employees", 1.5, "/employees"}, {"employees", "many", "/employees"},
			{"address", long, "/address"}, {"shortName", long, "/shortName"},
			{"position", obj{"lon": 30.2, "lat": 117.5}, "/position"}, {"position", obj{"lon": 0, "lat": 0}, "/position"}, {"position", obj{"lon": 2.35, "lat": 48.85}, "/position"},
			{"position", obj{"lon": 117.5, "lat": 30.2, "crs": "mars"}, "/position/crs"},
			{"people", []obj{{"role": "boss", "name": "王"}}, "/people/0/role"}, {"people", []obj{{"role": "principal", "name": ""}}, "/people/0/name"},
			{"people", []obj{{"role": "principal", "name": "王", "phone": "12345"}}, "/people/0/phone"}, {"people", []obj{{"role": "principal", "name": "王", "phone": "138****5678"}}, "/people/0/phone"},
			{"people", []obj{{"role": "principal", "name": "王"}, {"role": "principal", "name": "李"}}, "/people/1/role"},
			{"people", []obj{{"role": "safetyManager", "name": "王", "certificates": []obj{{"kind": "证", "validTo": "明年"}}}}, "/people/0/certificates/0/validTo"},
			{"hazards", []string{"unicorn"}, "/hazards/0"},
			{"unknown", 1, "/unknown"},
		} {
			status, r := w.call("office", "POST", "/enterprises", factory(3, obj{c.field: c.value}))
			if status != 422 || !strings.Contains(fmt.Sprint(r["fields"]), c.at+" ") && !strings.Contains(fmt.Sprint(r["fields"]), c.at+"]") {
				t.Errorf("%s = %.40q: status %d, %v", c.field, fmt.Sprint(c.value), status, r)
			}
			for _, f := range r["fields"].([]any) {
				if m := f.(obj)["message"].(string); !chinese(m) {
					t.Errorf("%s: not Chinese: %q", c.field, m)
				}
			}
		}
		if status, _ := w.call("office", "POST", "/enterprises", factory(3, obj{"name": nul})); status < 400 || status >= 500 {
			t.Errorf("NUL: status %d", status)
		}
		for _, name := range []string{`Robert'); DROP TABLE enterprise_item;--`, `<script>alert(1)</script>厂`, `"\\"?厂`, "=cmd|' /C calc'!A0", "𠮷野家", "A ? B $1 %s {{.}}"} {
			e := w.must(201, "office", "POST", "/enterprises", factory(100+len(name), obj{"name": name, "address": name, "people": []obj{{"role": "principal", "name": name}}}))
			id := e["id"].(string)
			if got := w.load(id); got.Address != name || got.People[0].Name != name {
				t.Errorf("%q became %q, %q", name, got.Address, got.People[0].Name)
			}
			if l := w.must(200, "office", "GET", "/enterprises?q="+urlQuery(cleanName(name)), nil); l["total"] != 1.0 {
				t.Errorf("%q is not found by its name: %v", name, l)
			}
		}
		for _, id := range []string{"x", "'", "%27%20OR%201=1", strings.Repeat("9", 64)} {
			w.must(404, "office", "GET", "/enterprises/"+id, nil)
		}
		w.verify()
	})
}

func chinese(s string) bool {
	for _, r := range s {
		if r >= 0x4e00 && r <= 0x9fff {
			return true
		}
	}
	return false
}

func TestChangeAndHistory(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		id := w.register(1, obj{"people": []obj{{"role": "principal", "name": "王小明", "phone": "13812345678"}}})
		at := "/enterprises/" + id

		w.db.Clock.Advance(24 * 3600e9)
		e := w.must(200, "town", "POST", at+"/change", obj{"version": 1, "name": "石台县新名金属有限公司", "scale": "medium", "employees": 320, "reason": "年度核查"})
		if e["version"] != 2.0 || e["scale"] != "medium" || fmt.Sprint(e["formerNames"]) != "[map[name:石台县第1金属制品有限公司 until:2026-03-12]]" || e["grade"] != "B" {
			t.Errorf("changed %v", e)
		}
		if r := w.must(409, "town", "POST", at+"/change", obj{"version": 1, "scale": "large"}); r["code"] != "record.stale" {
			t.Errorf("stale: %v", r)
		}

		// The trade regulator sees masked numbers, and may send them back without harm.
		e = w.must(200, "trade", "GET", at, nil)
		if people := fmt.Sprint(e["people"]); !strings.Contains(people, "138****5678") || strings.Contains(people, "13812345678") {
			t.Errorf("people %v", people)
		}
		e = w.must(200, "trade", "POST", at+"/change", obj{"version": 2, "people": append(e["people"].([]any), obj{"role": "safetyManager", "name": "赵一", "phone": "13900000000"})})
		if p := w.load(id).People; p[0].Phone != "13812345678" || p[1].Phone != "13900000000" {
			t.Errorf("people %+v", p)
		}

		// History: field by field, masked for the same actor.
		h := w.must(200, "trade", "GET", at+"/history", nil)["items"].([]any)
		if len(h) != 3 {
			t.Fatalf("history %v", h)
		}
		text := fmt.Sprint(h)
		if strings.Contains(text, "13812345678") || strings.Contains(text, "13900000000") || !strings.Contains(text, "139****0000") {
			t.Errorf("history shows numbers: %v", text)
		}
		second := h[1].(obj)
		if second["reason"] != "年度核查" || second["actor"] != "town" || second["unit"] != "town单位" || second["title"] != "变更登记" {
			t.Errorf("second entry %v", second)
		}
		changes := map[string]obj{}
		for _, c := range second["changes"].([]any) {
			changes[c.(obj)["field"].(string)] = c.(obj)
		}
		if c := changes["scale"]; c["title"] != "企业规模" || c["before"] != "" || c["after"] != "medium" {
			t.Errorf("change of scale %v", changes)
		}
		if changes["name"] == nil || changes["employees"] == nil || changes["grade"] == nil || changes["formerNames"] == nil || len(changes) != 5 {
			t.Errorf("changes %v", changes)
		}
		if strings.Contains(fmt.Sprint(w.must(200, "town", "GET", at+"/history", nil)), "****") {
			t.Error("a holder of enterprise.personal sees masks")
		}
		if items := w.must(200, "town", "GET", at+"/history?limit=1", nil)["items"].([]any); len(items) != 1 || items[0].(obj)["version"] != 3.0 || len(items[0].(obj)["changes"].([]any)) == 0 {
			t.Errorf("newest entry %v", items)
		}

		// A line can be stated with a reason, and left to the rule again.
		e = w.must(200, "office", "POST", at+"/change", obj{"version": 3, "line": "gas", "lineReason": "厂内经营气站"})
		if e["line"] != "gas" || e["lineReason"] != "厂内经营气站" {
			t.Errorf("line %v", e)
		}
		if r := w.must(403, "gas", "POST", at+"/change", obj{"version": 4, "line": ""}); r["code"] != "enterprise.outOfReach" {
			t.Errorf("a regulator pushed an enterprise off: %v", r)
		}
		e = w.must(200, "office", "POST", at+"/change", obj{"version": 4, "line": ""})
		if e["line"] != "industryTrade" || e["lineReason"] != "" {
			t.Errorf("line %v", e)
		}
		w.verify()
	})
}

func TestSteps(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		id := w.register(1, obj{"position": obj{"lon": 117.49, "lat": 30.21}})
		at := "/enterprises/" + id
		version := 1
		step := func(status int, who, name string, in obj) obj {
			t.Helper()
			in["version"] = version
			out := w.must(status, who, "POST", at+"/"+name, in)
			if status == 200 {
				version++
			}
			return out
		}
		if e := step(200, "town", "suspend", obj{"reason": "季节性停产"}); e["state"] != "suspended" || e["stateTitle"] != "停产停业" {
			t.Errorf("%v", e)
		}
		if r := step(409, "town", "suspend", obj{"reason": "再停"}); r["code"] != "enterprise.wrongState" {
			t.Errorf("%v", r)
		}
		step(422, "town", "resume", obj{"reason": ""})
		step(200, "town", "resume", obj{"reason": "复产验收通过"})
		step(200, "town", "close", obj{"reason": "市场监管部门注销登记"})
		step(409, "town", "move", obj{"division": village, "reason": "x"})
		e := step(200, "office", "reopen", obj{"reason": "误登记"})
		actions := fmt.Sprint(e["actions"])
		for _, want := range []string{"change", "move", "grade", "assign", "suspend", "close", "merge"} {
			if !strings.Contains(actions, want) {
				t.Errorf("the office is not offered %s: %s", want, actions)
			}
		}
		if strings.Contains(actions, "withdraw") || strings.Contains(actions, "self") {
			t.Errorf("offered %s", actions)
		}

		// A town may not move an enterprise into another's territory; the county may. The position belonged to the old place.
		step(403, "town", "move", obj{"division": otherTown, "reason": "搬迁"})
		step(422, "office", "move", obj{"division": town, "reason": "搬迁"})
		e = step(200, "office", "move", obj{"division": otherTown, "reason": "搬迁", "address": "七都镇1号"})
		if e["townCode"] != otherTown || e["position"] != nil || e["address"] != "七都镇1号" {
			t.Errorf("moved %v", e)
		}
		w.must(404, "town", "GET", at, nil)
		w.must(200, "otherTown", "GET", at, nil)

		e = step(200, "office", "grade", obj{"class": "highRisk", "grade": "C", "reason": "连续两年发生事故"})
		if e["class"] != "highRisk" || e["grade"] != "C" || e["grading"].(obj)["stated"] != true || e["grading"].(obj)["by"] != "office" {
			t.Errorf("graded %v", e["grading"])
		}
		step(422, "office", "grade", obj{"grade": "C", "reason": "x"})
		e = step(200, "office", "change", obj{"hazards": []string{"hotWork"}})
		if e["grade"] != "C" {
			t.Error("a stated grade was overruled by a change")
		}
		e = step(200, "office", "grade", obj{"reason": "恢复按规则"})
		if e["grade"] != "B" || e["class"] != "general" || e["grading"].(obj)["stated"] != false {
			t.Errorf("regraded %v %v", e["grade"], e["grading"])
		}
		if got := strings.Join(w.facts(id), " "); got != "enterprise.registered enterprise.suspended enterprise.resumed enterprise.closed enterprise.reopened enterprise.moved enterprise.graded enterprise.changed enterprise.graded" {
			t.Errorf("facts %s", got)
		}
		w.verify()
	})
}

func TestDepartments(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := actor.AsSystem(t.Context(), "test")
		department := func(name, division, kind, line string) string {
			t.Helper()
			d, err := w.org.AddDepartment(ctx, org.DepartmentInput{Name: name, Division: division, Kind: kind})
			if err != nil {
				t.Fatal(err)
			}
			if line != "" {
				if _, err := w.org.AssignFunction(ctx, org.FunctionInput{DepartmentID: d.ID, Line: line, Basis: name + "三定方案", ValidFrom: "2019-03-01"}); err != nil {
					t.Fatal(err)
				}
			}
			return d.ID
		}
		department("石台县应急管理局", county, org.CommitteeOffice, org.Integrated)
		economy := department("石台县经济和信息化局", county, org.Regulator, "industryTrade")
		department("仁里镇人民政府", town, org.TownOffice, org.Integrated)
		park := department("石台经济开发区管委会", county, org.ParkOffice, "")
		elsewhere := department("东至县经信局", otherCounty, org.Regulator, "industryTrade")

		id := w.register(1)
		at := "/enterprises/" + id
		who := func(e obj) string {
			var out []string
			for _, c := range e["competentDepartments"].([]any) {
				c := c.(obj)
				out = append(out, fmt.Sprintf("%s %s（%s）", c["side"], c["name"], c["basis"]))
			}
			return strings.Join(out, "; ")
		}
		e := w.must(200, "town", "GET", at, nil)
		if got := who(e); got != "territory 仁里镇人民政府（仁里镇人民政府三定方案）; line 石台县经济和信息化局（石台县经济和信息化局三定方案）; territory 石台县应急管理局（石台县应急管理局三定方案）" {
			t.Errorf("by function: %s", got)
		}
		w.must(422, "office", "POST", at+"/assign", obj{"version": 1, "side": "line", "departmentId": elsewhere, "reason": "x"})
		w.must(422, "office", "POST", at+"/assign", obj{"version": 1, "side": "line", "departmentId": "none", "reason": "x"})
		e = w.must(200, "office", "POST", at+"/assign", obj{"version": 1, "side": "territory", "departmentId": park, "reason": "位于开发区内"})
		if got := who(e); got != "territory 石台经济开发区管委会（位于开发区内）; line 石台县经济和信息化局（石台县经济和信息化局三定方案）" {
			t.Errorf("stated: %s", got)
		}
		e = w.must(200, "office", "POST", at+"/assign", obj{"version": 2, "side": "line", "departmentId": economy, "reason": "县政府明确"})
		if c := e["competentDepartments"].([]any)[1].(obj); c["stated"] != true || c["by"] != "office" {
			t.Errorf("stated: %v", c)
		}
		e = w.must(200, "office", "POST", at+"/assign", obj{"version": 3, "side": "territory", "reason": "恢复"})
		if got := who(e); !strings.Contains(got, "仁里镇") || !strings.Contains(got, "县政府明确") {
			t.Errorf("left to the rules: %s", got)
		}
		h := w.must(200, "office", "GET", at+"/history", nil)["items"].([]any)[0].(obj)
		if c := h["changes"].([]any)[0].(obj); c["title"] != "指定的监管部门" || h["reason"] != "恢复" {
			t.Errorf("history %v", h)
		}
		w.verify()
	})
}

func TestOwnPeople(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		id := w.register(1, obj{"people": []obj{{"role": "legalRepresentative", "name": "王小明", "phone": "13812345678"}, {"role": "contact", "name": "旧人"}}})
		other := w.register(2)
		w.ofEnterprise("own", id)
		at := "/enterprises/" + id
		e := w.must(200, "own", "GET", at, nil)
		if a := fmt.Sprint(e["actions"]); a != "[map[name:self title:更新本企业信息]]" || !strings.Contains(fmt.Sprint(e["people"]), "13812345678") {
			t.Errorf("own file: %v", e)
		}
		e = w.must(200, "own", "POST", at+"/self", obj{"version": 1, "people": []obj{{"role": "safetyManager", "name": "赵一", "phone": "13911112222"}}, "position": obj{"lon": 117.49, "lat": 30.21}})
		if p := w.load(id).People; len(p) != 2 || p[0].Name != "王小明" || p[1].Name != "赵一" || e["position"] == nil {
			t.Errorf("people %+v", p)
		}
		w.must(422, "own", "POST", at+"/self", obj{"version": 2, "people": []obj{{"role": "legalRepresentative", "name": "别人"}}})
		w.must(403, "own", "POST", at+"/change", obj{"version": 2, "scale": "large"})
		w.must(404, "own", "POST", "/enterprises/"+other+"/self", obj{"version": 1})
		w.must(404, "own", "GET", "/enterprises/"+other, nil)
		if l := w.must(200, "own", "GET", "/enterprises", nil); l["total"] != 1.0 {
			t.Errorf("own list: %v", l)
		}
	})
}

func TestMerge(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		keep := w.register(1, obj{"uscc": "", "noUsccReason": "未提供", "hazards": []string{"dust"}})
		drop := w.register(2, obj{"people": []obj{{"role": "principal", "name": "王小明"}}, "hazards": []string{"paint"}, "position": obj{"lon": 117.49, "lat": 30.21}})
		into := func(id, target string, v, tv int) (int, obj) {
			return w.call("office", "POST", "/enterprises/"+id+"/merge", obj{"version": v, "into": target, "intoVersion": tv, "reason": "同一家企业"})
		}
		for _, c := range []struct {
			id, target string
			v, tv      int
			status     int
		}{{drop, drop, 1, 1, 422}, {drop, "none", 1, 1, 404}, {drop, keep, 1, 9, 409}, {drop, keep, 9, 1, 409}} {
			if status, r := into(c.id, c.target, c.v, c.tv); status != c.status {
				t.Errorf("%+v: status %d %v", c, status, r)
			}
		}
		w.must(403, "town", "POST", "/enterprises/"+drop+"/merge", obj{"version": 1, "into": keep, "intoVersion": 1, "reason": "x"})
		status, r := into(drop, keep, 1, 1)
		if status != 200 || r["state"] != "merged" || r["mergedInto"] != keep {
			t.Fatalf("merge: %d %v", status, r)
		}
		k := w.load(keep)
		if k.USCC != code(2) || k.IDKind != withUSCC || k.Lon == nil || len(k.People) != 1 || strings.Join(k.Hazards, ",") != "dust,paint" || k.FormerNames[0].Name != "石台县第2金属制品有限公司" || k.Version != 2 {
			t.Errorf("kept %+v", k)
		}
		if f := w.facts(drop); f[len(f)-1] != enterpriseapi.EventMerged {
			t.Errorf("facts %v", f)
		}
		if status, _ := into(drop, keep, 2, 2); status != 409 {
			t.Errorf("merged twice: %d", status)
		}
		if status, _ := into(keep, drop, 2, 2); status != 409 {
			t.Errorf("merged into an ended file: %d", status)
		}
		w.must(409, "office", "POST", "/enterprises", factory(2))
		h := w.must(200, "office", "GET", "/enterprises/"+keep+"/history", nil)["items"].([]any)[0].(obj)
		if h["title"] != "并入重复档案" || h["reason"] != "同一家企业" {
			t.Errorf("history of the kept file %v", h)
		}
		w.verify()
	})
}

func TestOutsidersSeeNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		id, other := w.register(1), w.register(2, obj{"division": otherTown})
		w.ofEnterprise("neighbour", other)
		bodies := map[string]obj{
			"change": {"version": 1, "scale": "large"}, "self": {"version": 1}, "move": {"version": 1, "division": village, "reason": "x"}, "grade": {"version": 1, "reason": "x"},
			"assign": {"version": 1, "side": "line", "reason": "x"}, "suspend": {"version": 1, "reason": "x"}, "resume": {"version": 1, "reason": "x"}, "close": {"version": 1, "reason": "x"},
			"reopen": {"version": 1, "reason": "x"}, "merge": {"version": 1, "into": other, "intoVersion": 1, "reason": "x"},
		}
		operations := 0
		for _, op := range w.api.Ops() {
			if op.Record != enterpriseapi.RecordType {
				continue
			}
			operations++
			path := strings.Replace(op.Path, "{id}", id, 1)
			var body any
			if op.Method == "POST" {
				name := path[strings.LastIndex(path, "/")+1:]
				if bodies[name] == nil {
					t.Fatalf("no body for %s", op.ID)
				}
				body = bodies[name]
			}
			for _, who := range []string{"otherTown", "gas", "otherCounty", "neighbour", "system", "security", "audit", ""} {
				status, r := w.call(who, op.Method, path, body)
				want := 404
				switch {
				case who == "":
					want = 401
				case !w.sessions[who].Can(op.Need):
					want = 403
				}
				if status != want || strings.Contains(fmt.Sprint(r), "金属制品") {
					t.Errorf("%s as %q: status %d, want %d: %v", op.ID, who, status, want, r)
				}
			}
		}
		if operations != 12 {
			t.Errorf("%d operations on one enterprise", operations)
		}
		if e := w.load(id); e.Version != 1 {
			t.Errorf("an outsider changed it: %+v", e)
		}
		for who, want := range map[string]float64{"office": 2, "town": 1, "otherTown": 1, "trade": 2, "gas": 0, "otherCounty": 0, "neighbour": 1, "grid": 0} {
			for _, query := range []string{"", "?q=" + urlQuery("金属"), "?hasCoordinates=false", "?division=" + county} {
				if l := w.must(200, who, "GET", "/enterprises"+query, nil); l["total"] != want {
					t.Errorf("%s lists %v with %q, want %v", who, l["total"], query, want)
				}
			}
		}
		for _, who := range []string{"system", "security", "audit"} {
			w.must(403, who, "GET", "/enterprises", nil)
			w.must(403, who, "POST", "/enterprises", factory(9))
			w.must(403, who, "GET", "/enterprises/lookup?uscc="+code(1), nil)
		}
		w.must(401, "", "GET", "/enterprises", nil)
		w.must(401, "", "POST", "/enterprises", obj{"garbage": 1})
		// A town registers nothing in another's territory, a line regulator nothing on another's line.
		w.must(422, "town", "POST", "/enterprises", factory(5, obj{"division": otherTown}))
		w.must(422, "gas", "POST", "/enterprises", factory(5))
		w.must(403, "neighbour", "POST", "/enterprises", factory(5))
	})
}

func TestList(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.register(1, obj{"scale": "small", "people": []obj{{"role": "principal", "name": "王小明", "phone": "13812345678"}}})
		w.register(2, obj{"division": village, "industry": "C2614", "hazards": []string{"dust"}, "position": obj{"lon": 117.49, "lat": 30.21}})
		w.register(3, obj{"division": otherTown, "employees": 50, "shortName": "三厂"})
		for query, want := range map[string]float64{
			"": 3, "?division=" + town: 2, "?division=" + village: 1, "?line=hazchem": 1, "?line=hazchem,gas,industryTrade": 3, "?industry=C33": 2, "?industry=C2": 1,
			"?scale=small": 1, "?grade=A": 2, "?grade=B": 0, "?grade=C,D": 1, "?state=active": 3, "?state=closed,merged": 0, "?hasCoordinates=true": 1, "?hasCoordinates=false": 2,
			"?q=" + urlQuery("第2"): 1, "?q=" + code(3): 1, "?q=" + urlQuery("三厂"): 1, "?q=%25": 0, "?hazard=dust": 1, "?class=highRisk": 1, "?view=working": 3, "?employees=10..": 1, "?sort=grade": 3, "?sort=-name": 3,
		} {
			if l := w.must(200, "office", "GET", "/enterprises"+query, nil); l["total"] != want {
				t.Errorf("%s: %v, want %v", query, l["total"], want)
			}
		}
		for _, query := range []string{"?unknown=1", "?sort=phone", "?division=xx", "?scale=huge", "?hasCoordinates=maybe"} {
			w.must(422, "office", "GET", "/enterprises"+query, nil)
		}
		row := w.must(200, "office", "GET", "/enterprises?scale=small", nil)["items"].([]any)[0].(obj)
		if row["principal"] != "王小明" || row["phone"] != "13812345678" || row["divisionName"] != "仁里镇" || row["people"] != nil {
			t.Errorf("row %v", row)
		}
		row = w.must(200, "trade", "GET", "/enterprises?scale=small", nil)["items"].([]any)[0].(obj)
		if row["phone"] != "138****5678" {
			t.Errorf("row for who may not see numbers %v", row)
		}
		w.must(200, "office", "GET", "/enterprises/export.xlsx", nil)
		w.must(200, "office", "GET", "/enterprises/columns", nil)
	})
}

func TestFinder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.register(1, obj{"hazards": []string{"dust"}, "position": obj{"lon": 117.49, "lat": 30.21}}), w.register(2, obj{"division": otherTown, "industry": "C2614"})
		var finder enterpriseapi.Finder = w.Service
		ctx := w.as("town")
		mine, all := scope.For(ctx, View), scope.All("test")
		if e, err := finder.Find(ctx, mine, a); err != nil || e.Name != "石台县第1金属制品有限公司" || e.TownCode != town || !e.Working() || e.Label() != e.Name {
			t.Errorf("%+v %v", e, err)
		}
		if _, err := finder.Find(ctx, mine, b); errs.KindOf(err) != errs.KindNotFound {
			t.Errorf("out of reach: %v", err)
		}
		if m, err := finder.FindAll(ctx, mine, []string{a, b, "x"}); err != nil || len(m) != 1 || m[a] == nil {
			t.Errorf("%v %v", m, err)
		}
		if e, err := finder.ByUSCC(ctx, mine, code(2)); err != nil || e != nil {
			t.Errorf("%v %v", e, err)
		}
		if e, err := finder.ByUSCC(ctx, all, code(2)); err != nil || e == nil || e.ID != b {
			t.Errorf("%v %v", e, err)
		}
		for i, c := range []struct {
			s    enterpriseapi.Selection
			want int
		}{{enterpriseapi.Selection{}, 2}, {enterpriseapi.Selection{Division: otherTown}, 1}, {enterpriseapi.Selection{Lines: []string{"hazchem"}}, 1}, {enterpriseapi.Selection{Industry: "C33"}, 1},
			{enterpriseapi.Selection{Hazard: "dust", Located: true}, 1}, {enterpriseapi.Selection{States: []string{"closed"}}, 0}, {enterpriseapi.Selection{Grades: []string{"C", "D"}, Classes: []string{"highRisk"}}, 2}} {
			n := 0
			if err := finder.Each(ctx, all, c.s, func(*enterpriseapi.Enterprise) error { n++; return nil }); err != nil || n != c.want {
				t.Errorf("selection %d: %d, want %d, %v", i, n, c.want, err)
			}
		}
		// An event's body can be read as the api's type.
		rows, err := w.log.History(ctx, enterpriseapi.RecordType, a)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := w.log.Entry(ctx, rows[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		var body enterpriseapi.Enterprise
		want, _ := finder.Find(ctx, all, a)
		if err := json.Unmarshal([]byte(*entry.Body), &body); err != nil || fmt.Sprint(body.Place, body.Name, *body.Lon, body.State, body.Grade, body.Hazards) != fmt.Sprint(want.Place, want.Name, *want.Lon, want.State, want.Grade, want.Hazards) {
			t.Errorf("body %+v, want %+v, %v", body, want, err)
		}
	})
}

func TestGradingPolicy(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.sign("boss", actor.Grant{Permissions: []string{"policy.manage", View}, Divisions: []string{county}})
		rule := GradingPolicy{Scores: []Score{{"missing", "position", 15, "未标注位置"}}, B: 10, C: 20, D: 30}
		set, err := w.Service.policies.Set(w.as("boss"), town, "2026-01-01", "仁里镇〔2026〕1号", rule)
		if err != nil {
			t.Fatal(err)
		}
		version := set.ID
		rule.C = 5
		if _, err := w.Service.policies.Set(w.as("boss"), town, "2026-01-01", "x", rule); errs.KindOf(err) != errs.KindInvalid {
			t.Errorf("a rule without sense: %v", err)
		}
		e := w.must(200, "office", "GET", "/enterprises/"+w.register(1, obj{"hazards": []string{"dust"}}), nil)
		if g := e["grading"].(obj); e["grade"] != "B" || e["class"] != "general" || g["rule"] != version || fmt.Sprint(g["reasons"]) != "[未标注位置 +15]" {
			t.Errorf("by the town's rule: %v %v", e["grade"], g)
		}
		e = w.must(200, "office", "GET", "/enterprises/"+w.register(2, obj{"division": otherTown, "hazards": []string{"dust"}}), nil)
		if g := e["grading"].(obj); e["class"] != "highRisk" || g["rule"] != "default" {
			t.Errorf("by the built-in rule: %v", g)
		}
	})
}
