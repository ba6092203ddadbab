// Package console serves the kernel's own parts: signing in, accounts, organisation, dictionaries, calendar, files, the log, events. Every rule lies in those
// parts; here are only requests, replies and routes.
package console

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/module"
)

// Routes adds the operations of the kernel's parts, and declares the permissions of those parts that do not do so themselves.
func Routes(api *httpx.API, lists ledger.Service, k *module.Kernel, menu []module.MenuItem) {
	k.Access.DeclarePermissions(permissions()...)
	login(api, k, menu)
	own(api, k)
	accounts(api, k)
	roles(api, k)
	tokens(api, k)
	divisions(api, k)
	departments(api, k)
	persons(api, k)
	dicts(api, k)
	deadlines(api, lists, k)
	policies(api, k)
	messages(api, k)
	channels(api, k)
	jobs(api, k)
	events(api, k)
	live(api, k)
	files(api, k)
	logRoutes(api, lists, k)
	health(api, k)
}

const tagLogin = "登录"

// Me is who the caller is and what he may do.
type Me struct {
	AccountID   string            `json:"accountId"`
	Name        string            `json:"name"`
	Admin       string            `json:"admin" doc:"三员之一，空表示业务账号"`
	MustChange  bool              `json:"mustChange" doc:"须先修改密码"`
	MustEnrol   bool              `json:"mustEnrol" doc:"须先启用动态口令"`
	Permissions []string          `json:"permissions" nullable:"false"`
	Scope       []MyGrant         `json:"scope" nullable:"false" doc:"管辖范围，每个岗位一项"`
	Menu        []module.MenuItem `json:"menu" nullable:"false"`
	CSRF        string            `json:"csrf" doc:"浏览器写操作须在 X-CSRF-Token 中带上"`
}

// MyGrant is one of the caller's posts.
type MyGrant struct {
	Role       string   `json:"role"`
	Unit       string   `json:"unit"`
	Divisions  []string `json:"divisions" nullable:"false"`
	Lines      []string `json:"lines" nullable:"false" doc:"监管行业；空为全部"`
	Enterprise string   `json:"enterprise"`
	Grids      []string `json:"grids" nullable:"false"`
}

// SignedIn answers a sign-in.
type SignedIn struct {
	Token      string `json:"token" doc:"程序以 Authorization: Bearer 携带；浏览器用 Cookie，不必理会"`
	CSRF       string `json:"csrf"`
	MustChange bool   `json:"mustChange" doc:"须先修改密码，其他操作暂不可用"`
	MustEnrol  bool   `json:"mustEnrol" doc:"须先启用动态口令，其他操作暂不可用"`
}

type signInReply struct {
	SetCookie string `header:"Set-Cookie"`
	Body      SignedIn
}

func login(api *httpx.API, k *module.Kernel, menu []module.MenuItem) {
	menu = inGroups(menu)

	httpx.Register(api, httpx.Op{ID: "sign-in", Method: "POST", Path: "/login", Title: "登录", Tag: tagLogin, Public: true, Detached: true},
		func(ctx context.Context, in *struct {
			Agent string `header:"User-Agent"`
			Body  access.SignInInput
		}) (*signInReply, error) {
			in.Body.Client = access.Client{Address: actor.RequestFrom(ctx).Client, Agent: in.Agent}
			l, token, err := k.Access.SignIn(ctx, in.Body)
			if err != nil {
				return nil, err
			}
			return &signInReply{SetCookie: api.SignInCookie(token), Body: SignedIn{Token: token, CSRF: l.CSRF, MustChange: l.MustChange, MustEnrol: l.MustEnrol}}, nil
		})
	httpx.Register(api, httpx.Op{ID: "sign-out", Method: "POST", Path: "/logout", Title: "退出登录", Tag: tagLogin, BeforeChange: true},
		func(ctx context.Context, _ *struct{}) (*struct {
			SetCookie string `header:"Set-Cookie"`
		}, error) {
			if err := k.Access.SignOut(ctx); err != nil {
				return nil, err
			}
			return &struct {
				SetCookie string `header:"Set-Cookie"`
			}{api.SignInCookie("")}, nil
		})
	httpx.Register(api, httpx.Op{ID: "me", Method: "GET", Path: "/me", Title: "我的身份、范围、权限和菜单", Tag: tagLogin, BeforeChange: true},
		func(ctx context.Context, _ *struct{}) (*httpx.Body[Me], error) {
			a := actor.From(ctx)
			session := httpx.SessionFrom(ctx)
			me := Me{AccountID: a.ID, Name: a.Name, Admin: a.Admin, MustChange: session.MustChange, MustEnrol: session.MustEnrol, CSRF: session.CSRF,
				Permissions: append([]string{}, a.Permissions()...), Scope: []MyGrant{}, Menu: []module.MenuItem{}}
			for _, g := range a.Grants {
				me.Scope = append(me.Scope, MyGrant{g.Role, g.UnitName, filled(g.Divisions), filled(g.Lines), g.Enterprise, filled(g.Grids)})
			}
			for _, item := range menu {
				if a.Can(item.Need) {
					me.Menu = append(me.Menu, item)
				}
			}
			return httpx.Reply(me), nil
		})
	httpx.Register(api, httpx.Op{ID: "change-password", Method: "POST", Path: "/me/password", Title: "修改密码", Tag: tagLogin, BeforeChange: true, Detached: true, Status: http.StatusNoContent},
		func(ctx context.Context, in *httpx.Body[access.ChangePasswordInput]) (*struct{}, error) {
			return nil, k.Access.ChangePassword(ctx, in.Body)
		})
}

// inGroups sorts the menu: the groups in the order in which modules have declared them, within a group by Order.
func inGroups(menu []module.MenuItem) []module.MenuItem {
	first := map[string]int{}
	for i, m := range menu {
		if _, seen := first[m.Group]; !seen {
			first[m.Group] = i
		}
	}
	menu = slices.Clone(menu)
	slices.SortStableFunc(menu, func(a, b module.MenuItem) int {
		return cmp.Or(first[a.Group]-first[b.Group], a.Order-b.Order)
	})
	return menu
}

func filled(list []string) []string { return append([]string{}, list...) }

// health tells a supervisor whether the process lives, and whether it can do its work.
func health(api *httpx.API, k *module.Kernel) {
	api.Mux().HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok\n")) })
	api.Mux().HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		var one int
		if err := k.DB.Conn(r.Context()).NewRaw("SELECT 1").Scan(r.Context(), &one); err != nil {
			w.Header().Set("Retry-After", "2")
			http.Error(w, "database away", http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ready\n"))
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b)
	return nil
}
