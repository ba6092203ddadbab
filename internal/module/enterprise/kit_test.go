package enterprise

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/importer"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/policy"
	"anwang/internal/kernel/record"
	"anwang/internal/lib/gbcode"
	"anwang/internal/lib/gm"
	"anwang/internal/module/enterprise/enterpriseapi"
)

// The places of the tests.
const (
	county      = "341722000000" // 石台县
	town        = "341722100000" // 仁里镇
	otherTown   = "341722101000" // 七都镇
	village     = "341722100002" // 马村
	otherCounty = "341721000000" // 东至县
)

var parts = []db.Migrations{audit.Migrations, org.Migrations, dict.Migrations, policy.Migrations, httpx.Migrations, file.Migrations, importer.Migrations, Migrations}

// world is an installation of 石台 with the module.
type world struct {
	*Service
	t        testing.TB
	db       *db.DB
	log      *audit.Log
	reg      *record.Registry
	org      *org.Directory
	policies *policy.Store
	api      *httpx.API
	handler  http.Handler
	sessions map[string]*actor.Actor // by token
	files    *file.Store
	importer *importer.Importer
	waiting  []string // imports whose work is to be done
}

func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) { test(t, open(t, d)) })
}

func open(t testing.TB, d *db.DB) *world {
	t.Helper()
	seal, err := gm.NewSealer([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	w := &world{t: t, db: d, log: kerneltest.NewLog(t, d), reg: &record.Registry{}, sessions: map[string]*actor.Actor{}}
	w.org = org.New(d, w.log, w.reg, seal)
	tables := dict.New(d, w.log, w.reg, quiet)
	tables.Declare(Dicts...)
	w.policies = policy.New(d, w.log, w.reg)
	w.Service = New(d, w.log, w.reg, w.org, tables, w.policies)
	bucket, err := file.OpenFolder(filepath.Join(t.TempDir(), "files"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	w.files = file.New(d, w.log, w.reg, bucket, file.Config{}, quiet)
	w.importer = importer.New(d, w.log, w.reg, w.files, func(_ context.Context, _, run string) error {
		w.waiting = append(w.waiting, run)
		return nil
	})
	w.ImportWith(w.importer)
	ctx := actor.AsSystem(context.Background(), "test")
	if err := w.org.SeedDivisions(ctx, "341722", "341721"); err != nil {
		t.Fatal(err)
	}
	if err := tables.Seed(ctx); err != nil {
		t.Fatal(err)
	}
	w.api = httpx.New(httpx.Config{DB: d, Log: quiet, Auth: w})
	w.routes(w.api, ledger.Service{API: w.api, Log: w.log, Label: tables.Label})
	w.handler = w.api.Handler()
	all := []string{View, Edit, Import, Merge, Grade, Personal}
	w.sign("office", actor.Grant{Permissions: all, Divisions: []string{county}})
	w.sign("town", actor.Grant{Permissions: []string{View, Edit, Import, Personal}, Divisions: []string{town}})
	w.sign("otherTown", actor.Grant{Permissions: []string{View, Edit, Import, Personal}, Divisions: []string{otherTown}})
	w.sign("trade", actor.Grant{Permissions: []string{View, Edit, Import, Grade}, Divisions: []string{county}, Lines: []string{"industryTrade"}})
	w.sign("gas", actor.Grant{Permissions: all, Divisions: []string{county}, Lines: []string{"gas"}})
	w.sign("otherCounty", actor.Grant{Permissions: all, Divisions: []string{otherCounty}})
	w.sign("grid", actor.Grant{Permissions: []string{View}, Divisions: []string{village}})
	for _, admin := range []string{"system", "security", "audit"} {
		w.sign(admin, actor.Grant{Permissions: []string{"dict.manage", "audit.read", "access.role"}}).Admin = admin
	}
	return w
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(string(b))
	return len(b), nil
}

// sign makes an actor who signs in with a token of the same name.
func (w *world) sign(token string, g actor.Grant) *actor.Actor {
	slices.Sort(g.Permissions)
	g.UnitName = token + "单位"
	w.sessions[token] = &actor.Actor{Kind: actor.Person, ID: "account-" + token, Name: token, Grants: []actor.Grant{g}}
	return w.sessions[token]
}

// ofEnterprise signs in the safety manager of an enterprise.
func (w *world) ofEnterprise(token, id string) {
	w.sign(token, actor.Grant{Permissions: []string{View, Self, Personal}, Enterprise: id})
}

func (w *world) Authenticate(_ context.Context, token string) (httpx.Session, error) {
	if a := w.sessions[token]; a != nil {
		return httpx.Session{Actor: a}, nil
	}
	return httpx.Session{}, errs.Unauthenticated("login.required", "请先登录。")
}

func (w *world) as(token string) context.Context { return actor.With(w.t.Context(), w.sessions[token]) }

// call sends a request and returns the status and the decoded reply.
func (w *world) call(token, method, path string, body any, headers ...string) (int, map[string]any) {
	w.t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req := httptest.NewRequestWithContext(w.t.Context(), method, httpx.Prefix+path, r)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res := httptest.NewRecorder()
	w.handler.ServeHTTP(res, req)
	var out map[string]any
	if strings.Contains(res.Header().Get("Content-Type"), "json") {
		if err := json.Unmarshal(res.Body.Bytes(), &out); err != nil {
			w.t.Fatalf("%s %s: %v: %s", method, path, err, res.Body)
		}
	}
	return res.Code, out
}

// must is call with an expected status.
func (w *world) must(status int, token, method, path string, body any, headers ...string) map[string]any {
	w.t.Helper()
	got, out := w.call(token, method, path, body, headers...)
	if got != status {
		w.t.Fatalf("%s %s as %s: status %d, want %d: %v", method, path, token, got, status, out)
	}
	return out
}

// code makes a valid credit code out of a number.
func code(n int) string {
	s, err := gbcode.USCCWithCheck(fmt.Sprintf("91341722%09d", n))
	if err != nil {
		panic(err)
	}
	return s
}

func urlQuery(s string) string { return url.QueryEscape(s) }

type obj = map[string]any

// factory is a registration that is right.
func factory(n int, more ...obj) obj {
	o := obj{"name": fmt.Sprintf("石台县第%d金属制品有限公司", n), "division": town, "industry": "C3311", "uscc": code(n), "address": fmt.Sprintf("仁里镇和平路%d号", n), "confirmDuplicate": true}
	for _, m := range more {
		for k, v := range m {
			o[k] = v
		}
	}
	return o
}

// register registers a factory as the office and returns its id.
func (w *world) register(n int, more ...obj) string {
	w.t.Helper()
	return w.must(201, "office", "POST", "/enterprises", factory(n, more...))["id"].(string)
}

func (w *world) load(id string) *Enterprise {
	w.t.Helper()
	e, err := w.store.Load(actor.AsSystem(w.t.Context(), "test"), w.systemScope(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// facts are the kinds of the events of an enterprise, oldest first.
func (w *world) facts(id string) []string {
	w.t.Helper()
	rows, err := w.log.History(w.t.Context(), enterpriseapi.RecordType, id)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, r := range rows {
		out = append(out, r.Kind)
	}
	return out
}

func (w *world) verify() {
	w.t.Helper()
	if err := w.log.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	r, err := w.log.Verify(w.t.Context(), w.reg.Tables(), nil)
	if err != nil || !r.OK() {
		w.t.Errorf("verify: %v %+v", err, r)
	}
}
