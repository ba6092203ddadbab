package console_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/console"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/job"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/notify"
)

func TestFromFirstStartToWork(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.administrators()
		account, person := w.official("renli", "town", "town", renli)

		me := w.must(200, "renli", "GET", "/me", nil)
		if scope := me["scope"].([]any); len(scope) != 1 || !has(scope, renli) || has(me["permissions"], "access.") || !has(me["permissions"], "deadline.view") {
			t.Errorf("me: %v", me)
		}
		if l := items(w.must(200, "sysadmin", "GET", "/accounts?q=renli", nil)); len(l) != 1 || has(l, "argon2") {
			t.Errorf("accounts: %v", l)
		}
		first := w.must(200, "secadmin", "GET", "/accounts?limit=3", nil)
		if rest := w.must(200, "secadmin", "GET", "/accounts?limit=3&after="+first["next"].(string), nil); len(items(rest)) != 1 || rest["next"] != "" {
			t.Errorf("second page: %v", rest)
		}

		// Personal data are masked, and revealed with a reason that is logged.
		if p := w.must(200, "renli", "GET", "/persons/"+person, nil); p["phone"] == "13956612345" {
			t.Errorf("phone in full: %v", p)
		}
		if p := w.must(200, "renli", "POST", "/persons/"+person+"/reveal", obj{"reason": "联系核实"}); p["phone"] != "13956612345" {
			t.Errorf("revealed: %v", p)
		}

		// What a role may do counts at the next request.
		var town obj
		for _, r := range items(w.must(200, "secadmin", "GET", "/roles", nil)) {
			if r.(obj)["name"] == "town" {
				town = r.(obj)
			}
		}
		w.must(200, "renli", "GET", "/deadlines", nil)
		edit := obj{"version": town["version"], "title": "乡镇安监站", "permissions": []string{"org.view", access.RequestTokens}}
		town = w.must(200, "secadmin", "POST", "/roles/"+town["id"].(string)+"/edit", edit)
		w.refused("permission.denied", "renli", "GET", "/deadlines", nil)
		w.refused("record.stale", "secadmin", "POST", "/roles/"+town["id"].(string)+"/edit", edit)
		edit["version"], edit["permissions"] = town["version"], []string{"org.view", "deadline.view", access.RequestTokens}
		town = w.must(200, "secadmin", "POST", "/roles/"+town["id"].(string)+"/edit", edit)

		// A token: asked for here, approved there, shown once, never wider than its owner.
		ask := obj{"name": "数据交换", "permissions": []string{"deadline.view"}, "expiresAt": kerneltest.Noon.AddDate(0, 1, 0)}
		made := w.must(201, "renli", "POST", "/tokens", ask)
		tok := made["token"].(obj)
		w.token["machine"] = made["secret"].(string)
		w.must(401, "machine", "GET", "/deadlines", nil)
		w.refused("permission.denied", "renli", "POST", "/tokens/"+tok["id"].(string)+"/approve", obj{"version": 1})
		tok = w.must(200, "secadmin", "POST", "/tokens/"+tok["id"].(string)+"/approve", obj{"version": tok["version"]})
		w.must(200, "machine", "GET", "/deadlines", nil)
		w.must(403, "machine", "GET", "/persons", nil)
		if l := w.must(200, "renli", "GET", "/tokens", nil); len(items(l)) != 1 || has(l, "sha256:") || has(l, w.token["machine"]) {
			t.Errorf("tokens: %v", l)
		}
		w.must(200, "renli", "POST", "/tokens/"+tok["id"].(string)+"/revoke", obj{"version": tok["version"]})
		w.must(401, "machine", "GET", "/deadlines", nil)

		// A role that asks for one-time passwords: nothing until they are on.
		edit["version"], edit["needOtp"] = town["version"], true
		w.must(200, "secadmin", "POST", "/roles/"+town["id"].(string)+"/edit", edit)
		w.refused("login.mustEnrol", "renli", "GET", "/deadlines", nil)
		if me := w.must(200, "renli", "GET", "/me", nil); me["mustEnrol"] != true {
			t.Errorf("me: %v", me)
		}
		setup := w.must(200, "renli", "POST", "/me/otp/begin", obj{"password": password})
		codes := w.must(200, "renli", "POST", "/me/otp/confirm", obj{"code": totp(t, setup["secret"].(string), kerneltest.Noon)})["codes"].([]any)
		w.must(200, "renli", "GET", "/deadlines", nil)
		w.refused("access.otpRequired", "", "POST", "/login", obj{"account": "renli", "password": password})
		w.must(200, "", "POST", "/login", obj{"account": "renli", "password": password, "otp": codes[0]})

		// Logins: one's own, and by the security administrator.
		logins := items(w.must(200, "renli", "GET", "/me/logins", nil))
		if len(logins) != 2 {
			t.Fatalf("logins: %v", logins)
		}
		w.refused("access.noLogin", "auditor", "POST", "/logins/"+logins[0].(obj)["id"].(string)+"/end", obj{})
		if n := w.must(200, "renli", "POST", "/me/logins/end-others", obj{}); n["count"] != 1.0 {
			t.Errorf("ended: %v", n)
		}
		w.must(200, "secadmin", "POST", "/accounts/"+account+"/end-logins", obj{})
		w.must(401, "renli", "GET", "/me", nil)

		// Too many wrong passwords, and the way back in.
		for range 5 {
			w.do("", "POST", "/login", obj{"account": "renli", "password": "wrong"})
		}
		w.must(429, "", "POST", "/login", obj{"account": "renli", "password": password, "otp": codes[1]})
		w.must(204, "secadmin", "POST", "/accounts/"+account+"/unlock", nil)
		w.must(200, "", "POST", "/login", obj{"account": "renli", "password": password, "otp": codes[1]})

		// A reset takes two hands again; disabling ends it.
		a := items(w.must(200, "sysadmin", "GET", "/accounts?q=renli", nil))[0].(obj)
		reset := w.must(200, "sysadmin", "POST", "/accounts/"+account+"/reset-password", obj{"version": a["version"]})
		a = reset["account"].(obj)
		w.refused("access.notActive", "", "POST", "/login", obj{"account": "renli", "password": reset["password"], "otp": codes[2]})
		a = w.must(200, "secadmin", "POST", "/accounts/"+account+"/reset-otp", obj{"version": a["version"]})
		a = w.must(200, "secadmin", "POST", "/accounts/"+account+"/enable", obj{"version": a["version"]})
		w.signIn("renli", reset["password"].(string))
		w.must(200, "sysadmin", "POST", "/accounts/"+account+"/disable", obj{"version": a["version"], "reason": "调离"})
		w.must(401, "renli", "GET", "/me", nil)

		// Rules for passwords.
		rules := w.must(200, "secadmin", "GET", "/login-rules", nil)
		rules["minLength"] = 12
		w.must(200, "secadmin", "POST", "/login-rules", obj{"validFrom": "2026-03-11", "settings": rules})
		if r := w.must(200, "auditor", "GET", "/login-rules", nil); r["minLength"] != 12.0 {
			t.Errorf("rules: %v", r)
		}
	})
}

// totp is RFC 6238 with the usual parameters, written apart from the program's own.
func totp(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	m := hmac.New(sha1.New, seed)
	binary.Write(m, binary.BigEndian, at.Unix()/30)
	sum := m.Sum(nil)
	o := sum[19] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[o:])&0x7fffffff%1000000)
}

// anybody are the operations that everybody who has signed in may call, because they show or change nothing but one's own, or what is public inside the house.
var anybody = []string{
	"me", "sign-out", "change-password", "own-account", "list-own-logins", "end-other-logins", "end-login", "begin-otp", "confirm-otp", "remove-otp", "login-rules",
	"list-tokens", "revoke-token", "find-divisions", "show-division", "division-path", "competent-departments", "list-dicts", "list-dict-items", "search-dict", "search-industries",
	"show-calendar", "list-deadline-rules", "list-messages", "count-unread-messages", "read-messages", "read-all-messages", "live",
	"upload-file", "download-file", "list-files", "list-jobs", "show-job", "cancel-job",
}

// either are those for which the part asks for one of several permissions.
var either = map[string][]string{"list-accounts": {"access.account", "access.enable"}, "list-roles": {"access.role", "access.account"}}

// TestOutsiders sends those who must not to every operation of the console.
func TestOutsiders(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.administrators()
		w.official("grid", "grid", "town", renli)
		callers := []string{"sysadmin", "secadmin", "auditor", "grid"}
		may := map[string][]string{}
		for _, who := range callers {
			for _, p := range w.must(200, who, "GET", "/me", nil)["permissions"].([]any) {
				may[who] = append(may[who], p.(string))
			}
		}
		declared := map[string]bool{}
		for _, p := range w.Access.Permissions() {
			declared[p.Key] = true
		}
		for _, op := range w.api.Ops() {
			path := regexp.MustCompile(`\{(\w+)\}`).ReplaceAllString(op.Path, "0198c0de-0000-7000-8000-000000000000")
			if op.Public {
				continue
			}
			if status, out := w.do("", op.Method, path, nil); status != 401 {
				t.Errorf("nobody %s: %d %v", op.ID, status, out)
			}
			need := either[op.ID]
			if op.Need != "" {
				need = []string{op.Need}
				if !declared[op.Need] {
					t.Errorf("%s asks for %s, which nobody has declared", op.ID, op.Need)
				}
			}
			if slices.Contains(anybody, op.ID) {
				if len(need) > 0 {
					t.Errorf("%s is for anybody and asks for %v", op.ID, need)
				}
				continue
			}
			if len(need) == 0 {
				t.Errorf("%s asks for no permission and is not among those for anybody", op.ID)
				continue
			}
			refused := 0
			for _, who := range callers {
				if slices.ContainsFunc(need, func(p string) bool { return slices.Contains(may[who], p) }) {
					continue
				}
				refused++
				if status, out := w.do(who, op.Method, path, nil); status != 403 {
					t.Errorf("%s %s: %d %v", who, op.ID, status, out)
				}
			}
			if refused == 0 {
				t.Errorf("nobody is refused %s", op.ID)
			}
		}
	})
}

// TestOtherTown: an operation on one person or post of another town finds nothing.
func TestOtherTown(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.administrators()
		_, person := w.official("renli", "town", "town", renli)
		w.official("qidu", "town", "town", qidu)
		for _, path := range []string{"/persons/" + person, "/persons/" + person + "/reveal"} {
			method, body := "GET", any(nil)
			if strings.HasSuffix(path, "reveal") {
				method, body = "POST", obj{"reason": "好奇"}
			}
			w.refused("record.notFound", "qidu", method, path, body)
		}
		if l := items(w.must(200, "qidu", "GET", "/posts?person="+person, nil)); len(l) != 0 {
			t.Errorf("posts of another town: %v", l)
		}
		if l := items(w.must(200, "qidu", "GET", "/persons", nil)); len(l) != 1 {
			t.Errorf("persons: %v", l)
		}
	})
}

// watch reads a caller's stream; each event is its kind line and data line.
func (w *world) watch(ctx context.Context, who string) <-chan string {
	w.t.Helper()
	r, _ := http.NewRequestWithContext(ctx, "GET", w.url+"/api/v1/live", nil)
	r.Header.Set("Authorization", "Bearer "+w.token[who])
	resp, err := http.DefaultClient.Do(r)
	if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		w.t.Fatalf("stream of %s: %v %v", who, resp, err)
	}
	out := make(chan string, 100)
	lines := bufio.NewScanner(resp.Body)
	lines.Scan() // the greeting: the watching has begun
	go func() {
		defer close(out)
		defer resp.Body.Close()
		kind := ""
		for lines.Scan() {
			if k, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				kind = k
			}
			if d, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				out <- kind + " " + d
			}
		}
	}()
	return out
}

func next(t *testing.T, events <-chan string) string {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the stream has ended")
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
	return ""
}

func TestLive(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if err := w.Log.Start(ctx); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Log.Stop)
		if err := w.Bus.Start(ctx); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Bus.Stop)
		w.administrators()
		_, p1 := w.official("renli", "town", "town", renli)
		_, p2 := w.official("qidu", "town", "town", qidu)
		w.official("county", "office", "committeeOffice", shitai)
		post := func(person string) obj {
			return items(w.must(200, "sysadmin", "GET", "/posts?person="+person, nil))[0].(obj)
		}
		settled := func() bool { lag, err := w.Bus.Lag(ctx); return err == nil && lag.Entries == 0 }
		if err := w.Log.Flush(ctx); err != nil { // nothing of the preparation may still be on its way
			t.Fatal(err)
		}
		kerneltest.Eventually(t, "the relay is through", settled)
		here, there, above, operator, auditor := w.watch(ctx, "renli"), w.watch(ctx, "qidu"), w.watch(ctx, "county"), w.watch(ctx, "sysadmin"), w.watch(ctx, "auditor")

		amend := func(person, title string) string {
			p := post(person)
			p = w.must(200, "sysadmin", "POST", "/posts/"+p["id"].(string)+"/amend", obj{"version": p["version"], "personId": person, "role": "town", "title": title,
				"unitKind": "department", "unitId": p["unitId"], "validFrom": "2026-01-01"})
			return p["id"].(string)
		}
		// Each town hears of its own post, the county of both, in order; the content stays out.
		first, second := amend(p1, "副站长甲"), amend(p2, "副站长乙")
		if e := next(t, here); !has(e, first) || !has(e, "org.postAmended") || has(e, "副站长") {
			t.Errorf("renli: %s", e)
		}
		if e := next(t, there); !has(e, second) {
			t.Errorf("qidu: %s", e)
		}
		for _, id := range []string{first, second} {
			if e := next(t, above); !has(e, id) {
				t.Errorf("county: %s, want %s", e, id)
			}
		}
		// What lies nowhere is for the operator alone.
		w.must(201, "sysadmin", "POST", "/dict-items", obj{"kind": "line", "code": "aerospace", "label": "航天"})
		e := next(t, operator)
		for has(e, "access.passwordChanged") { // the tail of the preparation
			e = next(t, operator)
		}
		if !has(e, "dict.added") {
			t.Errorf("operator: %s", e)
		}
		// The rights are those of the moment: the role loses the view, and the next event passes by. Then the login ends, and the stream with it.
		for _, r := range items(w.must(200, "secadmin", "GET", "/roles", nil)) {
			if r := r.(obj); r["name"] == "town" {
				w.must(200, "secadmin", "POST", "/roles/"+r["id"].(string)+"/edit", obj{"version": r["version"], "title": "乡镇", "permissions": []string{"deadline.view"}})
			}
		}
		third := amend(p1, "站长甲")
		if e := next(t, above); !has(e, third) {
			t.Errorf("county: %s", e)
		}
		w.must(204, "renli", "POST", "/logout", nil)
		amend(p1, "站长")
		if e := next(t, here); !strings.HasPrefix(e, "end ") {
			t.Errorf("renli after the end: %s", e)
		}
		if _, open := <-here; open {
			t.Error("the stream goes on after the login has ended")
		}
		next(t, above)
		for who, events := range map[string]<-chan string{"qidu": there, "auditor": auditor} {
			select {
			case e := <-events:
				t.Errorf("%s heard %s", who, e)
			default:
			}
		}
		close(w.closing)
		select {
		case e, open := <-above:
			if open {
				t.Errorf("county heard %s", e)
			}
		case <-time.After(10 * time.Second):
			t.Error("a stream holds up the stopping server")
		}
	})
}

func TestMasterData(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.administrators()
		w.official("county", "office", "committeeOffice", shitai)

		// Divisions.
		if l := items(w.must(200, "county", "GET", "/divisions?q=仁里", nil)); len(l) == 0 || !has(l[0], "石台县 仁里镇") {
			t.Errorf("search: %v", l)
		}
		if l := items(w.must(200, "county", "GET", "/divisions?parent="+shitai, nil)); len(l) < 8 || !has(l, "矶滩乡") {
			t.Errorf("towns: %v", l)
		}
		if l := items(w.must(200, "county", "GET", "/divisions/"+renli+"/path", nil)); len(l) != 4 {
			t.Errorf("path: %v", l)
		}
		w.refused("org.noDivision", "county", "GET", "/divisions/999999999999", nil)
		zone := w.must(201, "sysadmin", "POST", "/divisions", obj{"name": "石台工业园区", "kind": "zone", "county": "341722", "basis": "县政府批复"})
		w.must(200, "sysadmin", "POST", "/divisions/rename", obj{"code": zone["code"], "name": "石台经济开发区", "on": "2026-04-01", "basis": "省政府批复"})
		if d := w.must(200, "county", "GET", "/divisions/"+zone["code"].(string)+"?on=2026-05-01", nil); d["name"] != "石台经济开发区" {
			t.Errorf("renamed: %v", d)
		}
		w.must(204, "sysadmin", "POST", "/divisions/merge", obj{"from": []string{qidu}, "into": renli, "on": "2026-06-01", "basis": "省民政厅批复"})
		if d := w.must(200, "county", "GET", "/divisions/"+qidu, nil); !has(d["successors"], renli) {
			t.Errorf("merged: %v", d)
		}

		// Departments and what they supervise.
		dep := w.must(201, "sysadmin", "POST", "/departments", obj{"name": "石台县住房和城乡建设局", "shortName": "住建局", "division": shitai, "kind": "regulator"})
		fn := w.must(201, "sysadmin", "POST", "/functions", obj{"departmentId": dep["id"], "line": "construction", "basis": "三定方案", "validFrom": "2019-03-01"})
		if l := items(w.must(200, "auditor", "GET", "/competent-departments?division="+renli+"&line=construction", nil)); len(l) != 1 || !has(l, "住建局") {
			t.Errorf("competent: %v", l)
		}
		w.must(200, "sysadmin", "POST", "/functions/"+fn["id"].(string)+"/end", obj{"version": fn["version"], "lastDay": "2026-03-01"})
		if l := items(w.must(200, "county", "GET", "/competent-departments?division="+renli+"&line=construction", nil)); len(l) != 0 {
			t.Errorf("competent after the end: %v", l)
		}
		w.must(200, "sysadmin", "POST", "/departments/"+dep["id"].(string)+"/edit", obj{"version": dep["version"], "name": "石台县住建局", "division": shitai, "kind": "regulator"})
		if l := items(w.must(200, "county", "GET", "/departments?below=true&division="+shitai, nil)); len(l) != 2 {
			t.Errorf("departments: %v", l)
		}

		// Code tables with a marker.
		req, _ := http.NewRequest("GET", w.url+"/api/v1/dicts/line/items", nil)
		req.Header.Set("Authorization", "Bearer "+w.token["county"])
		fresh := func() (int, string) {
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			req.Header.Set("If-None-Match", resp.Header.Get("ETag"))
			return resp.StatusCode, resp.Header.Get("ETag")
		}
		if s, tag := fresh(); s != 200 || tag == "" {
			t.Errorf("first: %d %s", s, tag)
		}
		if s, _ := fresh(); s != 304 {
			t.Errorf("unchanged: %d", s)
		}
		item := w.must(201, "sysadmin", "POST", "/dict-items", obj{"kind": "line", "code": "aerospace", "label": "航天"})
		if s, _ := fresh(); s != 200 {
			t.Errorf("changed: %d", s)
		}
		w.must(200, "sysadmin", "POST", "/dict-items/"+item["id"].(string)+"/edit", obj{"version": item["version"], "active": false})
		if l := items(w.must(200, "county", "GET", "/dicts/line/search?q=航天", nil)); len(l) != 0 {
			t.Errorf("switched off: %v", l)
		}
		w.refused("dict.forbidden", "county", "GET", "/dicts/line/items?all=true", nil)
		w.refused("dict.noKind", "county", "GET", "/dicts/nothing/items", nil)
		if l := items(w.must(200, "county", "GET", "/industries?q=C2614", nil)); len(l) != 1 || l[0].(obj)["line"] != "hazchem" || !has(l[0].(obj)["path"], "制造业") {
			t.Errorf("industries: %v", l)
		}

		// Calendar.
		y := w.must(200, "county", "GET", "/calendar/2026", nil)
		if y["published"] != true || y["workdays"].(float64) < 240 || y["workdays"].(float64) > 260 {
			t.Errorf("calendar: %v", y)
		}
		w.must(200, "sysadmin", "POST", "/calendar/days", obj{"date": "2026-03-13", "kind": "off", "name": "试验", "source": "县政府通知"})
		if z := w.must(200, "county", "GET", "/calendar/2026", nil); z["workdays"] != y["workdays"].(float64)-1 {
			t.Errorf("workdays %v after %v", z["workdays"], y["workdays"])
		}
		notice := obj{"source": "国办通知", "csv": "date,name,kind\n2027-01-01,元旦,off\n", "dryRun": true}
		if l := items(w.must(200, "sysadmin", "POST", "/calendar/2027/import", notice)); len(l) != 1 {
			t.Errorf("dry run: %v", l)
		}
		if y := w.must(200, "county", "GET", "/calendar/2027", nil); y["published"] != false {
			t.Errorf("dry run published")
		}
		notice["dryRun"] = false
		w.must(200, "sysadmin", "POST", "/calendar/2027/import", notice)
		if y := w.must(200, "county", "GET", "/calendar/2027", nil); y["published"] != true {
			t.Errorf("not published: %v", y)
		}
		rule := items(w.must(200, "county", "GET", "/deadline-rules", nil))[0].(obj)
		edition := w.must(201, "sysadmin", "POST", "/deadline-rules", obj{"key": rule["key"], "title": "答复期限", "clause": "某法（修订） 第一条", "mark": "V", "amount": 7, "unit": "workday",
			"ladder": []any{}, "maxExtensions": 0, "maxExtension": 0, "effectiveFrom": "2026-04-01", "effectiveTo": ""})
		if edition["number"] != 2.0 {
			t.Errorf("edition: %v", edition)
		}

		// Policies by name.
		if l := items(w.must(200, "county", "GET", "/policies", nil)); len(l) != 1 || !has(l, "patrol") {
			t.Errorf("policies: %v", l)
		}
		set := func(value any) obj {
			return obj{"division": shitai, "effectiveFrom": "2026-03-01", "basis": "县安委会文件", "value": value}
		}
		w.must(201, "county", "POST", "/policies/patrol/versions", set(obj{"days": 15}))
		if p := w.must(200, "county", "GET", "/policies/patrol/in-force?division="+renli, nil); fmt.Sprint(p["value"]) != "map[days:15 kinds:[a]]" || p["version"] == "" {
			t.Errorf("in force: %v", p)
		}
		if p := w.must(200, "county", "GET", "/policies/patrol/in-force?on=2026-02-01&division="+renli, nil); p["version"] != "" {
			t.Errorf("before: %v", p)
		}
		w.refused("policy.value", "county", "POST", "/policies/patrol/versions", set(obj{"day": 15}))
		w.refused("policy.value", "county", "POST", "/policies/patrol/versions", set(obj{"days": "many"}))
		w.refused("policy.value", "county", "POST", "/policies/patrol/versions", set([]int{1}))
		w.refused("policy.unknown", "county", "GET", "/policies/other/versions", nil)
		other := set(obj{"days": 1})
		other["division"] = "341721000000"
		w.refused("policy.scope", "county", "POST", "/policies/patrol/versions", other)
		if l := items(w.must(200, "county", "GET", "/policies/patrol/versions", nil)); len(l) != 1 {
			t.Errorf("versions: %v", l)
		}
	})
}

func TestMessages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.administrators()
		account, _ := w.official("county", "office", "committeeOffice", shitai)
		ctx := actor.AsSystem(context.Background(), "test")
		if err := w.DB.Tx(ctx, func(ctx context.Context) error {
			return w.Notify.Send(ctx, notify.Message{Template: "test.told", Level: notify.Warning, DedupeKey: "1", To: []notify.Recipient{{Account: account}}, Data: map[string]any{"no": "7"}})
		}); err != nil {
			t.Fatal(err)
		}
		if n := w.must(200, "county", "GET", "/messages/unread", nil); n["count"] != 1.0 {
			t.Errorf("unread: %v", n)
		}
		box := items(w.must(200, "county", "GET", "/messages?unreadOnly=true", nil))
		if len(box) != 1 || box[0].(obj)["title"] != "事项 7" {
			t.Fatalf("inbox: %v", box)
		}
		w.must(200, "secadmin", "POST", "/messages/read", obj{"ids": []any{box[0].(obj)["id"]}}) // another's: passed over
		if n := w.must(200, "county", "POST", "/messages/read-all", obj{}); n["count"] != 1.0 {
			t.Errorf("read: %v", n)
		}
		c := w.must(200, "sysadmin", "POST", "/channels", obj{"key": "mail", "kind": "mail", "title": "邮件", "enabled": true, "host": "127.0.0.1", "port": 1, "security": "tls", "sender": "a@b.cn", "password": "secret-word", "username": "u"})
		if has(c, "secret-word") || has(w.must(200, "sysadmin", "GET", "/channels", nil), "secret-word") {
			t.Error("a channel shows its password")
		}
		w.refused("notify.testFailed", "sysadmin", "POST", "/channels/mail/test", obj{"to": "x@example.cn"})
		words := obj{"key": "test.told", "kind": "inApp", "title": "新事项 {{.no}}", "body": "", "active": true, "effectiveFrom": "2026-03-12"}
		if r := w.must(200, "sysadmin", "POST", "/templates/preview", words); r["title"] != "新事项 1" {
			t.Errorf("preview: %v", r)
		}
		w.must(201, "sysadmin", "POST", "/templates", words)
		if l := items(w.must(200, "sysadmin", "GET", "/templates", nil)); len(l) != 1 || len(l[0].(obj)["words"].([]any)) != 2 {
			t.Errorf("templates: %v", l)
		}
		w.must(200, "sysadmin", "GET", "/deliveries", nil)
		status := w.must(200, "sysadmin", "GET", "/events/status", nil)
		if !has(status, "lag") || len(items(w.must(200, "sysadmin", "GET", "/parked-events", nil))) != 0 {
			t.Errorf("events: %v", status)
		}
		w.refused("event.notParked", "sysadmin", "POST", "/parked-events/x/retry", nil)
		w.refused("event.noSubscription", "sysadmin", "POST", "/events/replay", obj{"subscription": "a/b", "fromSeq": 0})
	})
}

func TestJobs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.administrators()
		account, _ := w.official("county", "office", "committeeOffice", shitai)
		ctx := actor.With(context.Background(), &actor.Actor{Kind: actor.Person, ID: account})
		enqueue := func(o job.Options) string {
			t.Helper()
			j, err := w.Jobs.Enqueue(ctx, "test.count", obj{}, o)
			if err != nil {
				t.Fatal(err)
			}
			return j.ID
		}
		later, now := enqueue(job.Options{At: kerneltest.Noon.AddDate(0, 0, 1)}), enqueue(job.Options{})
		if j := w.must(200, "county", "POST", "/jobs/"+later+"/cancel", nil); j["state"] != "cancelled" {
			t.Errorf("cancelled: %v", j)
		}
		if err := w.Jobs.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Jobs.Stop)
		kerneltest.Eventually(t, "the job is done", func() bool { return w.must(200, "county", "GET", "/jobs/"+now, nil)["state"] == "done" })
		if j := w.must(200, "county", "GET", "/jobs/"+now, nil); fmt.Sprint(j["result"]) != "map[n:3]" {
			t.Errorf("result: %v", j)
		}
		// The operator sees that it ran, not what it found; others see nothing.
		if j := w.must(200, "sysadmin", "GET", "/jobs/"+now, nil); j["result"] != nil || len(items(w.must(200, "sysadmin", "GET", "/jobs", nil))) != 2 {
			t.Errorf("operator: %v", j)
		}
		w.refused("job.notFound", "auditor", "GET", "/jobs/"+now, nil)
		w.refused("job.notFound", "auditor", "POST", "/jobs/"+now+"/cancel", nil)
		if l := items(w.must(200, "auditor", "GET", "/jobs", nil)); len(l) != 0 {
			t.Errorf("auditor: %v", l)
		}
	})
}

func TestPages(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...))
	fetch := func(path string) (*http.Response, string) {
		resp, err := http.Get(w.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp, string(b)
	}
	for _, path := range []string{"/", "/api/docs"} {
		resp, text := fetch(path)
		csp := resp.Header.Get("Content-Security-Policy")
		if resp.StatusCode != 200 || !has(csp, "default-src 'none'") || has(csp, "unsafe") {
			t.Errorf("%s: %d, policy %q", path, resp.StatusCode, csp)
		}
		if regexp.MustCompile(`<script[^>]*>\s*[^<\s]|\son\w+=|style="|https?://`).MatchString(text) {
			t.Errorf("%s has something inline or from elsewhere", path)
		}
		assets := regexp.MustCompile(`/assets/[0-9a-f]{12}/[a-z.]+`).FindAllString(text, -1)
		if len(assets) < 3 {
			t.Errorf("%s: assets %v", path, assets)
		}
		for _, a := range assets {
			if resp, _ := fetch(a); resp.StatusCode != 200 || !has(resp.Header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s: %d %s", a, resp.StatusCode, resp.Header.Get("Cache-Control"))
			}
		}
	}
	_, text := fetch("/")
	for _, want := range []string{"安徽省池州市石台县", "1.2.3", "演示系统", `data-account="office"`, "安委办 &lt;b&gt;"} {
		if !has(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if resp, _ := fetch("/nothing"); resp.StatusCode != 404 {
		t.Errorf("unknown page: %d", resp.StatusCode)
	}
}

func TestPermissionTable(t *testing.T) {
	t.Parallel()
	got := console.PermissionTable([]access.Permission{{Key: "a.b", Title: "甲", Roles: []string{"office", "town"}}, {Key: "c.d", Title: "乙", Admins: []string{access.SystemAdmin, access.AuditAdmin}}})
	want := "| 权限 | 名称 | 默认角色 | 三员 |\n| --- | --- | --- | --- |\n| `a.b` | 甲 | `office` `town` |  |\n| `c.d` | 乙 |  | 系统管理员、审计管理员 |\n"
	if got != want {
		t.Errorf("got\n%s", got)
	}
}
