package app

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"anwang/internal/lib/translog"
)

// The loop of a general danger through four people, with a photo, a proof of its last step, and what each of them may not do.
func TestGeneralDanger(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, w *world) {
		photo := w.photo("grid", 10)
		a := w.report("grid", map[string]any{"photos": []string{photo}})
		id := a.text("id")
		if a.text("state") != "found" || !strings.HasPrefix(a.text("no"), "YH341722100-2026-") || a.text("enterpriseName") != "石台仁里燃气有限公司" || a.text("line") != "gas" {
			t.Fatalf("found: %s", a.body)
		}
		w.want(200, "town", "GET", "/files/"+photo, nil)
		w.want(200, "gas", "GET", "/files/"+photo+"?variant=small", nil)
		w.want(404, "qidu", "GET", "/files/"+photo, nil)
		w.want(403, "grid", "POST", "/hidden-dangers/"+id+"/order", w.input(a, map[string]any{"requirement": "立即清理遮挡物", "level": "general"}))

		a = w.step("town", a, "order", map[string]any{"requirement": "清理配电箱前杂物，保持一米通道", "level": "general", "dueAt": "2026-03-20"})
		if a.text("state") != "ordered" || a.text("dueAt") != "2026-03-20T16:00:00Z" || a.text("clocks.0.clause") == "" {
			t.Fatalf("ordered: %s", a.body)
		}
		// A stale version, and a step that the state does not allow.
		if s := w.as("town", "POST", "/hidden-dangers/"+id+"/verify", w.input(a, map[string]any{"opinion": "已整改"})); s.status != 409 || s.text("code") != "hiddendanger.wrongState" {
			t.Errorf("verify too early: %d %s", s.status, s.body)
		}
		if s := w.as("gas", "POST", "/hidden-dangers/"+id+"/receive", map[string]any{"version": 1}); s.status != 409 || s.text("code") != "record.stale" {
			t.Errorf("stale: %d %s", s.status, s.body)
		}
		// The town does not rectify for the enterprise.
		w.want(403, "town", "POST", "/hidden-dangers/"+id+"/submit", w.input(a, map[string]any{"measures": "替企业清理完毕了"}))
		a = w.step("gas", a, "receive", nil)
		if s := w.as("gas", "POST", "/hidden-dangers/"+id+"/submit", w.input(a, map[string]any{"measures": "已整改"})); s.status != 422 {
			t.Errorf("an empty phrase was taken for a measure: %d %s", s.status, s.body)
		}
		a = w.step("gas", a, "submit", map[string]any{"measures": "杂物已移至二号库，配电箱前划线一米", "photos": []string{w.photo("gas", 99)}})
		w.want(403, "gas", "POST", "/hidden-dangers/"+id+"/verify", w.input(a, map[string]any{"opinion": "通过"}))
		w.want(403, "gasboss", "POST", "/hidden-dangers/"+id+"/verify", w.input(a, map[string]any{"opinion": "通过"}))
		a = w.step("town", a, "return", map[string]any{"reason": "划线不足一米，请重新施划"})
		if a.text("state") != "rectifying" {
			t.Fatalf("returned: %s", a.body)
		}
		a = w.step("gas", a, "submit", map[string]any{"measures": "已重新划线，实测一米二"})
		a = w.step("town", a, "verify", map[string]any{"opinion": "现场复查合格"})
		a = w.step("town", a, "close", map[string]any{"opinion": "同意销号"})
		if a.text("state") != "closed" || len(a.get("actions").([]any)) != 0 {
			t.Errorf("closed: %s", a.body)
		}

		h := w.want(200, "town", "GET", "/hidden-dangers/"+id+"/history", nil)
		var events []struct{ Entry, Title, By, From, To string }
		w.must(json.Unmarshal(h.body, &events))
		if len(events) != 8 || events[7].Title != "销号" || events[7].By != "测试town" || events[7].To != "已销号" {
			t.Errorf("history: %s", h.body)
		}
		p := w.want(200, "town", "GET", "/hidden-dangers/"+id+"/history/"+events[7].Entry+"/proof", nil)
		proof, err := translog.ParseProof(p.body)
		w.must(err)
		if res, err := proof.Check(w.Kernel.Log.Key()); err != nil || !res.Trusted || !strings.Contains(string(res.Leaf.Body), "同意销号") {
			t.Errorf("proof: %v %+v", err, res)
		}
		// The auditor proves the same step without seeing what it says.
		p = w.want(200, "auditor", "GET", "/audit/entries/"+events[7].Entry+"/proof", nil)
		proof, err = translog.ParseProof(p.body)
		w.must(err)
		if res, err := proof.Check(w.Kernel.Log.Key()); err != nil || res.Leaf.Body != nil || strings.Contains(string(p.body), "销号意见") {
			t.Errorf("auditor's proof: %v", err)
		}
		w.want(403, "auditor", "GET", "/hidden-dangers/"+id, nil)
		w.verify()
	})
}

// A major danger through dual report, plan, listing, suspension, third party, resumption, closing and delisting.
func TestMajorDanger(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, w *world) {
		a := w.report("housing", map[string]any{"source": "inspection", "title": "可燃气体报警装置全部失效", "category": "detect", "location": "灌装间"})
		path := "/hidden-dangers/" + a.text("id") + "/"
		refuse := func(account, step string, in map[string]any, status int, code string) {
			t.Helper()
			if s := w.as(account, "POST", path+step, w.input(a, in)); s.status != status || s.text("code") != code {
				t.Errorf("%s as %s: %d %s", step, account, s.status, s.body)
			}
		}
		refuse("housing", "order", map[string]any{"requirement": "立即停产整改并修复报警", "level": "major"}, 422, "hiddendanger.gradeFirst")
		refuse("housing", "grade", map[string]any{"level": "major", "grounds": "报警失效"}, 422, "hiddendanger.criterion")
		refuse("housing", "grade", map[string]any{"level": "major", "grounds": "报警失效", "criterion": "trade-2017", "item": "第一条"}, 422, "hiddendanger.criterion") // no longer in force
		a = w.step("housing", a, "grade", map[string]any{"level": "major", "grounds": "场站可燃气体报警装置失效", "criterion": "gas-4", "item": "第四条第（三）项"})
		a = w.step("housing", a, "order", map[string]any{"requirement": "停止灌装，修复全部报警装置", "suspend": true, "dueAt": "2026-04-30"})
		a = w.step("gas", a, "receive", nil)
		if a.text("state") != "ordered" {
			t.Errorf("receiving a major danger's order begins the plan, not the work: %s", a.text("state"))
		}
		refuse("gas", "submit", map[string]any{"measures": "全部更换为新的报警器"}, 409, "hiddendanger.planFirst")
		five := map[string]any{"goal": "恢复报警装置功能", "responsibility": "总经理张三负责", "measures": "更换报警器二十台", "funds": "十二万元", "schedule": "四月底前完成", "contingency": "停止灌装，专人值守，配备便携检测仪"}
		short := map[string]any{}
		for k, v := range five {
			short[k] = v
		}
		short["funds"] = "　 "
		refuse("gas", "submit-plan", short, 422, "hiddendanger.five")
		a = w.step("gas", a, "submit-plan", five)
		refuse("housing", "approve-plan", map[string]any{"opinion": "同意"}, 409, "hiddendanger.dualReportFirst")
		for _, to := range []string{"department", "congress"} {
			a = w.step("gas", a, "dual-report", map[string]any{"to": to, "receiver": "住建局 李四", "receipt": w.photo("gas", 50), "content": "报警装置失效，危害较大，已停产，计划四月底前完成"})
		}
		a = w.step("office", a, "list", map[string]any{"level": "county", "unit": "石台县安委会", "dueAt": "2026-05-15", "documentNo": "石安委〔2026〕3号"})
		a = w.step("office", a, "assign", map[string]any{"unit": "县住建局", "leader": "副县长王五", "dueAt": "2026-05-10"})
		a = w.step("housing", a, "receive-assignment", nil)
		a = w.step("housing", a, "approve-plan", map[string]any{"opinion": "同意实施"})
		a = w.step("gas", a, "ask-extension", map[string]any{"reason": "设备供货推迟两周", "until": "2026-05-10", "interim": "继续停产并值守"})
		refuse("gas", "answer-extension", map[string]any{"granted": true, "opinion": "同意"}, 403, "hiddendanger.fourEyes")
		a = w.step("housing", a, "answer-extension", map[string]any{"granted": true, "opinion": "情况属实，同意"})
		if a.text("dueAt") != "2026-05-10T16:00:00Z" {
			t.Errorf("extended to %s", a.text("dueAt"))
		}
		refuse("gas", "ask-extension", map[string]any{"reason": "再延一次可以吗", "until": "2026-06-10", "interim": "继续停产并值守"}, 409, "hiddendanger.extensionsUsed")
		a = w.step("gas", a, "submit", map[string]any{"measures": "更换报警器二十台并联动试验合格", "cost": 118000})
		refuse("housing", "verify", map[string]any{"opinion": "合格"}, 409, "hiddendanger.acceptanceFirst")
		refuse("housing", "record-acceptance", map[string]any{"agency": "安徽某安全评价公司", "agencyCode": "91350100M000100Y44", "conclusion": "passed", "opinion": "符合要求", "report": "x"}, 422, "hiddendanger.agency")
		a = w.step("housing", a, "record-acceptance", map[string]any{"agency": "安徽某安全评价公司", "agencyCode": "91350100M000100Y43", "conclusion": "passed", "opinion": "符合要求", "report": w.photo("housing", 70)})
		a = w.step("housing", a, "verify", map[string]any{"opinion": "现场复查合格"})
		refuse("housing", "close", map[string]any{"opinion": "销号"}, 409, "hiddendanger.stillSuspended")
		a = w.step("gas", a, "ask-resume", map[string]any{"reason": "整改已验收，申请恢复灌装"})
		if due := a.text("clocks.3.dueAt"); !strings.Contains(string(a.body), "第二十三条") {
			t.Errorf("resumption has no clock: %s", due)
		}
		a = w.step("housing", a, "answer-resume", map[string]any{"granted": true, "opinion": "审查合格，同意恢复"})
		a = w.step("housing", a, "close", map[string]any{"opinion": "同意销号"})
		a = w.step("office", a, "delist", map[string]any{"reason": "治理完成，验收合格"})
		a = w.step("office", a, "disclose", map[string]any{"redact": []string{"foundBy"}})
		if a.text("state") != "closed" || a.text("listed") != "" {
			t.Errorf("end: %s", a.body)
		}
		b := w.want(201, "office", "POST", "/danger-bulletins", map[string]any{"division": county, "from": "2026-01-01", "to": "2026-03-31"})
		if b.get("dangers").(float64) != 1 || b.text("lines.0.unit") != "县住建局" {
			t.Errorf("bulletin: %s", b.body)
		}
		w.verify()
	})
}

// Self-check: planned, zero report, findings, silence.
func TestSelfCheck(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, w *world) {
		s := w.all.hiddendanger
		n, err := s.PlanChecks(t.Context())
		w.must(err)
		if n != 2 {
			t.Fatalf("planned %d checks", n)
		}
		if n, err = s.PlanChecks(t.Context()); err != nil || n != 0 {
			t.Fatalf("planned again: %d, %v", n, err)
		}
		list := w.want(200, "gas", "GET", "/self-checks", nil)
		if len(list.get("items").([]any)) != 1 {
			t.Fatalf("the enterprise sees %s", list.body)
		}
		c := w.want(200, "gas", "GET", "/self-checks/"+list.text("items.0.id"), nil)
		if c.text("list.line") != "gas" || c.text("clocks.0.clause") == "" {
			t.Errorf("check: %s", c.body)
		}
		bad := w.as("gas", "POST", "/self-checks/"+c.text("id")+"/submit", w.input(c, map[string]any{"answers": []any{map[string]any{"no": "1", "result": "bad"}, map[string]any{"no": "77", "result": "ok"}}}))
		if bad.status != 422 || len(bad.get("fields").([]any)) != 2 {
			t.Errorf("bad answers: %d %s", bad.status, bad.body)
		}
		done := w.want(200, "gas", "POST", "/self-checks/"+c.text("id")+"/submit", w.input(c, map[string]any{"answers": []any{
			map[string]any{"no": "1", "result": "bad", "title": "紧急切断阀卡涩不动作", "location": "储罐区"}}}))
		if done.text("state") != "done" || done.get("findings").(float64) != 1 {
			t.Errorf("done: %s", done.body)
		}
		danger := w.want(200, "gas", "GET", "/hidden-dangers/"+done.text("answers.0.dangerId"), nil)
		if danger.text("source") != "selfInspection" || danger.text("linkId") != c.text("id") {
			t.Errorf("danger from check: %s", danger.body)
		}
		// The enterprise deals with what it found itself; the head verifies what the manager rectified.
		danger = w.step("gas", danger, "order", map[string]any{"requirement": "更换切断阀执行机构", "level": "general"})
		danger = w.step("gas", danger, "submit", map[string]any{"measures": "更换执行机构并试验三次"})
		danger = w.step("gasboss", danger, "verify", map[string]any{"opinion": "试验合格"})
		w.step("gasboss", danger, "close", map[string]any{"opinion": "销号"})

		w.want(200, "qidu", "GET", "/silent-enterprises", nil)
		w.clock.Advance(days(40))
		if n, err = s.MarkMissed(t.Context()); err != nil || n != 1 {
			t.Fatalf("missed %d, %v", n, err)
		}
		w.tokens = map[string]string{} // the logins have timed out
		silent := w.want(200, "office", "GET", "/silent-enterprises", nil)
		if silent.get("total").(float64) != 1 || silent.text("items.0.enterpriseName") != "石台七都机械有限公司" {
			t.Errorf("silent: %s", silent.body)
		}
		late := w.want(200, "mill", "GET", "/self-checks?state=missed", nil)
		z := w.want(200, "mill", "POST", "/self-checks/"+late.text("items.0.id")+"/submit", map[string]any{"version": late.get("items.0.version")})
		if z.text("state") != "late" || z.get("findings").(float64) != 0 {
			t.Errorf("late zero report: %s", z.body)
		}
		w.verify()
	})
}

// An overdue danger climbs the ladder, and the danger shows how far.
func TestOverdueClimbs(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, w *world) {
		a := w.report("grid", nil)
		a = w.step("town", a, "order", map[string]any{"requirement": "清理配电箱前杂物", "level": "general", "dueAt": "2026-03-13"})
		w.clock.Advance(days(12))
		w.tokens = map[string]string{}
		if _, err := w.Kernel.Deadlines.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(20 * time.Second)
		for {
			b := w.want(200, "town", "GET", "/hidden-dangers/"+a.text("id"), nil)
			if b.text("escalatedTo") == "office" && b.get("overdue") == true {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("not escalated: %s", b.body)
			}
		}
		l := w.want(200, "office", "GET", "/hidden-dangers?view=overdue", nil)
		if l.get("total").(float64) != 1 {
			t.Errorf("overdue list: %s", l.body)
		}
	})
}

// The same key and body give the same answer, however often and however many at once; another body under the key is refused.
func TestIdempotency(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, w *world) {
		in := map[string]any{"source": "patrol", "title": "消防通道被货车占用", "location": "厂区西门", "enterpriseId": w.gas}
		w.token("grid")
		var wg sync.WaitGroup
		ids := make([]string, 12)
		for i := range ids {
			wg.Go(func() {
				a := w.as("grid", "POST", "/hidden-dangers", in, "Idempotency-Key", "phone-1")
				if a.status != 201 {
					t.Errorf("%d %s", a.status, a.body)
				}
				ids[i] = a.text("id")
			})
		}
		wg.Wait()
		for _, id := range ids {
			if id != ids[0] || id == "" {
				t.Fatalf("ids %v", ids)
			}
		}
		if l := w.want(200, "grid", "GET", "/hidden-dangers", nil); l.get("total").(float64) != 1 {
			t.Errorf("list: %s", l.body)
		}
		in["title"] = "消防通道被轿车占用"
		if a := w.as("grid", "POST", "/hidden-dangers", in, "Idempotency-Key", "phone-1"); a.status != 409 || a.text("code") != "request.keyReused" {
			t.Errorf("other body: %d %s", a.status, a.body)
		}
		// A refusal is judged anew.
		in["enterpriseId"] = w.mill
		w.want(422, "grid", "POST", "/hidden-dangers", in, "Idempotency-Key", "phone-2")
		in["enterpriseId"] = w.gas
		w.want(201, "grid", "POST", "/hidden-dangers", in, "Idempotency-Key", "phone-2")
		// A device's own id does the same without a key.
		in["id"] = "01953c7e-0000-7000-8000-000000000001"
		w.want(201, "grid", "POST", "/hidden-dangers", in)
		w.want(201, "grid", "POST", "/hidden-dangers", in)
		if a := w.as("town", "POST", "/hidden-dangers", in); a.status != 409 {
			t.Errorf("taken id: %d %s", a.status, a.body)
		}
		w.verify()
	})
}
