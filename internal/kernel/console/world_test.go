package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/console"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/job"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/module"
	"anwang/internal/kernel/notify"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/policy"
	"anwang/internal/kernel/record"
	"anwang/internal/lib/gm"
)

const (
	shitai = "341722000000"
	renli  = "341722100000"
	qidu   = "341722101000"

	password = "Qiupu-river-26" // of every account that has chosen one
)

type obj = map[string]any

var parts = []db.Migrations{audit.Migrations, httpx.Migrations, org.Migrations, access.Migrations, dict.Migrations, policy.Migrations, deadline.Migrations, file.Migrations, event.Migrations, notify.Migrations, job.Migrations}

// patrolPolicy is a policy as a module would have one.
type patrolPolicy struct {
	Days  int      `json:"days"`
	Kinds []string `json:"kinds"`
}

// world is an installation with its console, right after the first start.
type world struct {
	*module.Kernel
	t   *testing.T
	api *httpx.API
	url string
	// closing tells the server that it begins to stop.
	closing chan struct{}
	first   map[string]string // one-time passwords of the three administrators
	token   map[string]string // of those who have signed in, by login name
}

type gate struct{ *access.Gate }

func (g gate) Authenticate(ctx context.Context, token string) (httpx.Session, error) {
	who, login, err := g.Gate.Authenticate(ctx, token)
	if err != nil {
		return httpx.Session{}, err
	}
	s := httpx.Session{Actor: who}
	if login != nil {
		s.CSRF, s.MustChange, s.MustEnrol = login.CSRF, login.MustChange, login.MustEnrol
	}
	return s, nil
}

func each(t *testing.T, test func(t *testing.T, w *world)) {
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) { test(t, open(t, d)) })
}

func open(t *testing.T, d *db.DB) *world {
	t.Helper()
	ctx := actor.AsSystem(context.Background(), "test")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	seal, err := gm.NewSealer(make([]byte, gm.SealKeySize))
	must(err)
	bucket, err := file.OpenFolder(t.TempDir())
	must(err)
	t.Cleanup(func() { bucket.Close() })
	log, reg := kerneltest.NewLog(t, d), &record.Registry{}
	dir := org.New(d, log, reg, seal)
	k := &module.Kernel{DB: d, Clock: d.Clock, Log: log, Records: reg, Slog: quiet, Org: dir, Access: access.New(d, log, reg, dir, seal), Dict: dict.New(d, log, reg, quiet),
		Policies: policy.New(d, log, reg), Deadlines: deadline.New(d, log, reg), Files: file.New(d, log, reg, bucket, file.Config{Spool: t.TempDir()}, quiet),
		Bus: event.New(d, log, event.Config{StoreDir: t.TempDir(), Log: quiet}), Notify: notify.New(d, log, reg, quiet), Jobs: job.New(d, quiet)}
	k.Policies.Declare(&policy.Policy[patrolPolicy]{Name: "patrol", Title: "巡查策略", Default: patrolPolicy{30, []string{"a"}}, Store: k.Policies})
	k.Notify.Declare(notify.Template{Key: "test.told", Name: "试发", Fields: []notify.Field{{Name: "no", Title: "编号", Sample: "1"}}, Texts: []notify.Text{{Kind: notify.InApp, Title: "事项 {{.no}}", Body: "正文"}}})
	k.Jobs.Declare(job.Kind{Name: "test.count", Title: "清点", Run: func(_ context.Context, r *job.Run) error { return r.SetResult(obj{"n": 3}) }})
	k.Deadlines.Declare(deadline.Rule{Key: "test.reply", Title: "答复期限", Clause: "某法 第一条", Mark: "V", Term: deadline.Term{Amount: 5, Unit: deadline.Workdays}})
	w := &world{Kernel: k, t: t, closing: make(chan struct{}), first: map[string]string{}, token: map[string]string{}}
	w.api = httpx.New(httpx.Config{DB: d, Log: quiet, Auth: gate{k.Access}, Version: "1.2.3"})
	console.Routes(w.api, ledger.Service{API: w.api, Log: log, Label: k.Dict.Label}, k, nil)
	must(console.Pages(w.api, k, "1.2.3", console.Page{Root: "341722", Demo: true, Password: password, Accounts: []console.DemoAccount{{Account: "office", Title: `安委办 <b>"x"</b>`}}}))
	for _, seed := range []func(context.Context) error{func(ctx context.Context) error { return dir.SeedDivisions(ctx, "341722") }, k.Dict.Seed, k.Deadlines.Seed, k.Access.Seed, k.Notify.Seed} {
		must(seed(ctx))
	}
	first, err := k.Access.FirstStart(ctx)
	must(err)
	for _, f := range first {
		w.first[f.Name] = f.Password
	}
	server := httptest.NewUnstartedServer(w.api.Handler())
	server.Config.BaseContext = func(net.Listener) context.Context { return httpx.WithClosing(context.Background(), w.closing) }
	server.Start()
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// do sends a request as the login name; body may be nil. It returns the status and the decoded JSON, which is empty when there is none.
func (w *world) do(who, method, path string, body any) (int, obj) {
	w.t.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	r, err := http.NewRequest(method, w.url+"/api/v1"+path, in)
	if err != nil {
		w.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if t := w.token[who]; t != "" {
		r.Header.Set("Authorization", "Bearer "+t)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	out := obj{}
	json.NewDecoder(resp.Body).Decode(&out) // not every reply is JSON
	return resp.StatusCode, out
}

// must is do that expects a status.
func (w *world) must(status int, who, method, path string, body any) obj {
	w.t.Helper()
	got, out := w.do(who, method, path, body)
	if got != status {
		w.t.Fatalf("%s %s %s: %d, want %d: %v", who, method, path, got, status, out)
	}
	return out
}

// refused expects a problem with the code.
func (w *world) refused(code, who, method, path string, body any) obj {
	w.t.Helper()
	status, out := w.do(who, method, path, body)
	if out["code"] != code || status < 400 {
		w.t.Fatalf("%s %s %s: %d %v, want %s", who, method, path, status, out, code)
	}
	return out
}

func (w *world) signIn(name, password string) obj {
	w.t.Helper()
	in := w.must(200, "", "POST", "/login", obj{"account": name, "password": password})
	w.token[name] = in["token"].(string)
	return in
}

// enter signs in with a one-time password and changes it.
func (w *world) enter(name, once string) {
	w.t.Helper()
	if in := w.signIn(name, once); in["mustChange"] != true {
		w.t.Fatalf("%s need not change the one-time password", name)
	}
	w.refused("login.mustChangePassword", name, "GET", "/me/logins", nil)
	w.must(204, name, "POST", "/me/password", obj{"old": once, "new": password})
}

// administrators signs the three administrators in.
func (w *world) administrators() {
	w.t.Helper()
	for name, once := range w.first {
		w.enter(name, once)
	}
}

// official is somebody with a post in a new department of the division, and an account of that login name, through all hands that it takes. It returns
// the id of the account and of the person.
func (w *world) official(name, role, kind, division string) (account, person string) {
	w.t.Helper()
	dep := w.must(201, "sysadmin", "POST", "/departments", obj{"name": name + "单位", "division": division, "kind": kind})
	p := w.must(201, "sysadmin", "POST", "/persons", obj{"name": "人员" + name, "phone": "13956612345", "certificates": []any{}})
	w.must(201, "sysadmin", "POST", "/posts", obj{"personId": p["id"], "role": role, "title": "站长", "unitKind": "department", "unitId": dep["id"], "validFrom": "2026-01-01"})
	made := w.must(201, "sysadmin", "POST", "/accounts", obj{"name": name, "title": name})
	a := made["account"].(obj)
	account, person = a["id"].(string), p["id"].(string)
	once := made["password"].(string)
	w.refused("access.notActive", "", "POST", "/login", obj{"account": name, "password": once})
	w.refused("permission.denied", "sysadmin", "POST", "/accounts/"+account+"/enable", obj{"version": 1})
	a = w.must(200, "secadmin", "POST", "/accounts/"+account+"/bind", obj{"version": a["version"], "personId": person})
	w.must(200, "secadmin", "POST", "/accounts/"+account+"/enable", obj{"version": a["version"]})
	w.enter(name, once)
	return account, person
}

func items(o obj) []any { return o["items"].([]any) }

func has(o any, text string) bool { return strings.Contains(fmt.Sprint(o), text) }
