package httpx_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/kerneltest"
)

type auth struct{}

func (auth) Authenticate(_ context.Context, token string) (httpx.Session, error) {
	who := &actor.Actor{Kind: actor.Person, ID: token, Name: token}
	switch token {
	case "reader":
		who.Grants = []actor.Grant{{Permissions: []string{"box.view"}}}
	case "new":
		return httpx.Session{Actor: who, CSRF: "c", MustChange: true}, nil
	case "gone":
		return httpx.Session{}, errs.Unauthenticated("login.expired", "登录已过期。")
	}
	return httpx.Session{Actor: who, CSRF: "csrf-" + token}, nil
}

type boxIn struct {
	Name   string   `json:"name" minLength:"2" maxLength:"10" doc:"名称"`
	Kind   string   `json:"kind,omitempty" enum:"a,b"`
	Weight int      `json:"weight,omitempty" minimum:"1"`
	Tags   []string `json:"tags,omitempty" maxItems:"2"`
}

func server(t *testing.T, d *db.DB) (*httptest.Server, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	api := httpx.New(httpx.Config{DB: d, Log: slog.New(slog.NewTextHandler(&log, nil)), Auth: auth{}, Version: "1"})
	httpx.Register(api, httpx.Op{ID: "make-box", Method: "POST", Path: "/boxes", Title: "新建", Need: "box.view"},
		func(ctx context.Context, in *httpx.Body[boxIn]) (*httpx.Body[boxIn], error) {
			return httpx.Reply(in.Body), nil
		})
	httpx.Register(api, httpx.Op{ID: "show-box", Method: "GET", Path: "/boxes/{id}", Title: "查看", Need: "box.view"},
		func(ctx context.Context, in *httpx.ByID) (*httpx.Body[boxIn], error) {
			switch in.ID {
			case "secret":
				return nil, errors.New("password=hunter2 at 10.0.0.1")
			case "panic":
				panic("hunter2")
			case "wrapped":
				return nil, errs.Conflict("box.taken", "名称已被使用，请换一个。").Because(errors.New("hunter2"))
			case "busy":
				return nil, errs.TooMany("box.busy", "请稍候。", 1500e6)
			}
			return nil, errs.NotFound("record.notFound", "盒子不存在。")
		})
	httpx.Register(api, httpx.Op{ID: "open", Method: "GET", Path: "/open", Title: "公开", Public: true},
		func(ctx context.Context, in *struct {
			N int `query:"n" minimum:"1"`
		}) (*httpx.Body[string], error) {
			return httpx.Reply(string(actor.From(ctx).Kind)), nil
		})
	s := httptest.NewServer(api.Handler())
	t.Cleanup(s.Close)
	return s, &log
}

func TestDoor(t *testing.T) {
	t.Parallel()
	d := kerneltest.Open(t, db.SQLite, httpx.Migrations)
	s, log := server(t, d)
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		has                      []string
		hasNot                   []string
	}{
		{"nobody is stopped before the body is looked at", "POST", "/boxes", "{garbage", nil, 401, []string{"login.required"}, []string{"JSON"}},
		{"expired token is nobody", "POST", "/boxes", "{}", []string{"Authorization", "Bearer gone"}, 401, nil, nil},
		{"no permission", "POST", "/boxes", "{}", []string{"Authorization", "Bearer other"}, 403, []string{"permission.denied", "新建"}, nil},
		{"password has to be changed first", "POST", "/boxes", "{}", []string{"Authorization", "Bearer new"}, 403, []string{"login.mustChangePassword"}, nil},
		{"cookie without CSRF token", "POST", "/boxes", `{"name":"甲乙"}`, []string{"Cookie", "anwang_login=reader"}, 403, []string{"login.csrf"}, nil},
		{"cookie with CSRF token", "POST", "/boxes", `{"name":"甲乙"}`, []string{"Cookie", "anwang_login=reader", "X-CSRF-Token", "csrf-reader"}, 200, []string{"甲乙"}, []string{"$schema"}},
		{"reading by cookie needs none", "GET", "/boxes/x", "", []string{"Cookie", "anwang_login=reader"}, 404, []string{"record.notFound"}, nil},
		{"broken JSON", "POST", "/boxes", "{garbage", []string{"Authorization", "Bearer reader"}, 400, []string{"JSON"}, nil},
		{"no body", "POST", "/boxes", "", []string{"Authorization", "Bearer reader"}, 400, []string{"请求内容为空"}, nil},
		{"missing field", "POST", "/boxes", `{}`, []string{"Authorization", "Bearer reader"}, 422, []string{"请填写 name"}, nil},
		{"wrong type", "POST", "/boxes", `{"name":5}`, []string{"Authorization", "Bearer reader"}, 422, []string{`"/name"`, "应为文字"}, nil},
		{"too short, unknown value, too small, too many", "POST", "/boxes", `{"name":"甲","kind":"c","weight":0,"tags":["1","2","3"]}`, []string{"Authorization", "Bearer reader"}, 422, []string{"至少 2 个字", "只能是下列之一", "不能小于 1", "最多 2 项"}, nil},
		{"unknown field", "POST", "/boxes", `{"name":"甲乙","x":1}`, []string{"Authorization", "Bearer reader"}, 422, []string{`"/x"`, "没有这一项"}, nil},
		{"NUL", "POST", "/boxes", `{"name":"甲\u0000乙"}`, []string{"Authorization", "Bearer reader"}, 400, []string{"NUL"}, nil},
		{"an escaped backslash before u0000 is text", "POST", "/boxes", `{"name":"a\\u0000"}`, []string{"Authorization", "Bearer reader"}, 200, nil, nil},
		{"GBK", "POST", "/boxes", "{\"name\":\"\xbc\xd7\xd2\xd2\"}", []string{"Authorization", "Bearer reader"}, 400, []string{"UTF-8"}, nil},
		{"huge", "POST", "/boxes", `{"name":"` + strings.Repeat("a", 2<<20) + `"}`, []string{"Authorization", "Bearer reader"}, 413, []string{"request.tooLarge"}, nil},
		{"wrong content type", "POST", "/boxes", `<a/>`, []string{"Authorization", "Bearer reader", "Content-Type", "application/xml"}, 415, []string{"request.mediaType"}, nil},
		{"unknown parameter", "GET", "/open?n=1&x=1", "", nil, 422, []string{"query/x", "没有这个查询条件"}, nil},
		{"bad parameter", "GET", "/open?n=abc", "", nil, 422, []string{"query/n", "应为整数"}, nil},
		{"NUL in the address", "GET", "/boxes/%00", "", []string{"Authorization", "Bearer reader"}, 400, nil, nil},
		{"not UTF-8 in the address", "GET", "/open?n=%ff", "", nil, 400, nil, nil},
		{"unknown address", "GET", "/nothing", "", nil, 404, []string{"request.notFound"}, nil},
		{"cause stays inside", "GET", "/boxes/secret", "", []string{"Authorization", "Bearer reader"}, 500, []string{"incident"}, []string{"hunter2"}},
		{"panic stays inside", "GET", "/boxes/panic", "", []string{"Authorization", "Bearer reader"}, 500, []string{"incident"}, []string{"hunter2"}},
		{"message goes out, cause does not", "GET", "/boxes/wrapped", "", []string{"Authorization", "Bearer reader"}, 409, []string{"名称已被使用"}, []string{"hunter2"}},
		{"when to try again", "GET", "/boxes/busy", "", []string{"Authorization", "Bearer reader"}, 429, nil, nil},
		{"public", "GET", "/open", "", nil, 200, []string{"nobody"}, nil},
		{"description", "GET", "/openapi.json", "", nil, 200, []string{"3.1.0", "x-permission"}, nil},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, s.URL+"/api/v1"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		for i := 0; i+1 < len(c.header); i += 2 {
			req.Header.Set(c.header[i], c.header[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s: %d, want %d: %s", c.name, res.StatusCode, c.status, body)
		}
		for _, x := range c.has {
			if !strings.Contains(string(body), x) {
				t.Errorf("%s: no %q in %s", c.name, x, body)
			}
		}
		for _, x := range c.hasNot {
			if strings.Contains(string(body), x) {
				t.Errorf("%s: %q in %s", c.name, x, body)
			}
		}
		if res.StatusCode >= 400 {
			var p httpx.Problem
			if json.Unmarshal(body, &p) != nil || p.Code == "" || p.Message == "" || res.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: not a problem document: %s %s", c.name, res.Header.Get("Content-Type"), body)
			}
		}
		if res.Header.Get("X-Request-Id") == "" || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", c.name, res.Header)
		}
		if c.status == 429 && res.Header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
		}
	}
	if !strings.Contains(log.String(), "hunter2") {
		t.Error("the cause is not in the log")
	}
}
