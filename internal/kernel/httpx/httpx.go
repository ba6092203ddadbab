// Package httpx is the door: it turns Go functions into operations of the HTTP API and says once, for all of them, how a caller is known,
// what an error looks like, how a repeated request is recognised, and what is written down.
//
// A request passes, in this order: request id and access log; recovery from panics; who is calling (cookie or bearer token);
// the CSRF token of cookie callers; the rate limit; the Idempotency-Key; then the operation: signed in at all (401 before anything that was sent is looked
// at), permission, unknown query parameters, types and limits of the body (all from the Go types), and the handler.
//
// Operations are described in OpenAPI 3.1 from the same Go types at /api/v1/openapi.json.
package httpx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
)

// Prefix is where the API lies.
const Prefix = "/api/v1"

// Config is what the door needs to know.
type Config struct {
	DB      *db.DB
	Log     *slog.Logger
	Auth    Authenticator
	Version string
	// Secure marks cookies as HTTPS-only; set it when the program is served behind TLS.
	Secure bool
	// RequestsPerSecond limits each signed-in caller and each network address; 0 means no limit.
	RequestsPerSecond float64
	Metrics           *prometheus.Registry
}

// Session is a caller who has been recognised.
type Session struct {
	Actor *actor.Actor
	// CSRF must come back in X-CSRF-Token on every writing request that is authenticated by cookie.
	CSRF string
	// MustChange: the password has to be changed first; only operations marked BeforeChange are allowed.
	MustChange bool
	// MustEnrol: one-time passwords have to be turned on first; the caller has no rights until then.
	MustEnrol bool
}

// Authenticator recognises callers by token. An unknown or expired token is an errs.Unauthenticated.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (Session, error)
}

// API is the door under construction, then in service. Register operations before Handler is called.
type API struct {
	cfg      Config
	mux      *http.ServeMux
	huma     huma.API
	detached map[string]bool // operation patterns that manage their own transactions
	ops      []Op
	metrics  *metrics
}

// Op describes one operation.
type Op struct {
	ID     string // "assign-hidden-danger", unique
	Method string
	Path   string // below Prefix: "/hidden-dangers/{id}/assign"
	Title  string // Chinese
	Doc    string // longer, optional
	Tag    string // groups the documentation; the module's title

	// Need is the permission without which the operation is refused. Empty: any signed-in caller.
	Need string
	// Public: anybody, without a login.
	Public bool
	// BeforeChange: allowed to a caller whose password has to be changed first.
	BeforeChange bool
	// Detached: the handler may take long or reads a large body, so it is not run inside one transaction when the caller sends an
	// Idempotency-Key; it must be repeatable by itself.
	Detached bool
	// MaxBody limits the request body in bytes; 0 means 1 MiB.
	MaxBody int64
	Status  int // of success; 0 means 200, or 204 without a body

	// Record names the type of the record that {id} in Path means, for the tests that send outsiders to every operation.
	Record string
}

// New returns an API without operations.
func New(cfg Config) *API {
	speakChinese()
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	config := huma.DefaultConfig("安网 Anwang", cfg.Version)
	config.CreateHooks = nil // no "$schema" in replies
	config.RejectUnknownQueryParameters = true
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.Formats = map[string]huma.Format{"application/json": strictJSON, "json": strictJSON}
	config.DefaultFormat = "application/json"
	config.Info.Description = "安全生产与职业健康“一张网”。时间为 UTC（RFC 3339）；错误为 application/problem+json，message 为中文说明，code 供程序判断。" +
		"每个 POST 可带 Idempotency-Key：同一键、同一内容得到同一答复。"
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "POST /api/v1/login 得到的 token，或接口令牌"},
		"cookie": {Type: "apiKey", In: "cookie", Name: cookieName},
	}
	config.Security = []map[string][]string{{"bearer": {}}, {"cookie": {}}}
	a := &API{cfg: cfg, mux: http.NewServeMux(), detached: map[string]bool{}, metrics: newMetrics(cfg.Metrics)}
	a.huma = humago.NewWithPrefix(a.mux, Prefix, config)
	a.mux.HandleFunc("GET "+Prefix+"/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json")
		json.NewEncoder(w).Encode(a.huma.OpenAPI()) //nolint:errcheck // the caller went away
	})
	return a
}

// strictJSON refuses what encoding/json would quietly bend: text that is not UTF-8 (it would come out garbled), and the character NUL, which
// PostgreSQL cannot store.
var strictJSON = huma.Format{
	Marshal: huma.DefaultJSONFormat.Marshal,
	Unmarshal: func(data []byte, v any) error {
		if !utf8.Valid(data) {
			return errors.New("应为 UTF-8 编码")
		}
		for rest := data; ; {
			i := bytes.Index(rest, []byte(`\u0000`))
			if i < 0 {
				break
			}
			slashes := 0
			for j := i - 1; j >= 0 && rest[j] == '\\'; j-- {
				slashes++
			}
			if slashes%2 == 0 {
				return errors.New("含有不能保存的字符（NUL）")
			}
			rest = rest[i+6:]
		}
		return huma.DefaultJSONFormat.Unmarshal(data, v)
	},
}

// Mux is where pages and other things that are not API operations are mounted.
func (a *API) Mux() *http.ServeMux { return a.mux }

// OpenAPI is the description of all operations registered so far.
func (a *API) OpenAPI() *huma.OpenAPI { return a.huma.OpenAPI() }

// Schema returns the schema of a Go type, registering it among the components.
func (a *API) Schema(t reflect.Type) *huma.Schema {
	return a.huma.OpenAPI().Components.Schemas.Schema(t, true, t.Name())
}

// Ops lists the registered operations.
func (a *API) Ops() []Op { return a.ops }

// Register adds an operation. I holds path, query and Body of the request, O the Body (and headers) of the reply, as in huma.
func Register[I, O any](a *API, op Op, handler func(ctx context.Context, in *I) (*O, error)) {
	huma.Register(a.huma, a.operation(op), func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err != nil {
			return nil, problemOf(ctx, a.cfg.Log, err)
		}
		return out, nil
	})
}

// Body is the reply or request of an operation that carries nothing but a body.
type Body[T any] struct{ Body T }

// Reply wraps v as a body.
func Reply[T any](v T) *Body[T] { return &Body[T]{v} }

// ByID is the input of an operation on one record.
type ByID struct {
	ID string `path:"id" doc:"记录标识" maxLength:"64"`
}

// ByIDWith is the input of an operation on one record with a body.
type ByIDWith[T any] struct {
	ByID
	Body T
}

// Handle adds an operation whose parameters are known only when the program starts (the filters of a list). reply is the type of its
// JSON body, nil when the handler writes something else.
func (a *API) Handle(op Op, params []*huma.Param, reply reflect.Type, handler func(w http.ResponseWriter, r *http.Request) error) {
	h := a.operation(op)
	h.Parameters = params
	if reply != nil {
		h.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{"application/json": {Schema: a.Schema(reply)}}}}
	}
	a.huma.OpenAPI().AddOperation(&h)
	known := make([]string, len(params))
	for i, p := range params {
		known[i] = p.Name
	}
	a.huma.Adapter().Handle(&h, h.Middlewares.Handler(func(c huma.Context) {
		r, w := humago.Unwrap(c)
		var unknown []errs.Field
		for name := range r.URL.Query() {
			if !slices.Contains(known, name) && r.PathValue(name) == "" {
				unknown = append(unknown, errs.Field{Pointer: "query/" + name, Message: "没有这个查询条件"})
			}
		}
		err := error(nil)
		if len(unknown) > 0 {
			err = errs.Invalid("request.unknownParameter", "查询条件有误，请检查。", unknown...)
		} else {
			err = handler(w, r)
		}
		if err != nil {
			writeProblem(w, problemOf(r.Context(), a.cfg.Log, err))
		}
	}))
}

func (a *API) operation(op Op) huma.Operation {
	a.ops = append(a.ops, op)
	h := huma.Operation{OperationID: op.ID, Method: op.Method, Path: op.Path, Summary: op.Title, Description: op.Doc,
		Tags: []string{op.Tag}, MaxBodyBytes: op.MaxBody, DefaultStatus: op.Status,
		Middlewares: huma.Middlewares{a.allow(op)}}
	if op.Public {
		h.Security = []map[string][]string{}
	}
	if op.Need != "" {
		h.Extensions = map[string]any{"x-permission": op.Need}
	}
	if op.Detached {
		a.detached[op.Method+" "+Prefix+op.Path] = true
	}
	return h
}

// allow refuses callers before anything that they sent is looked at.
func (a *API) allow(op Op) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		if !op.Public {
			who := actor.From(c.Context())
			var err error
			switch {
			case who.Kind == actor.Nobody:
				err = errNotSignedIn
			case SessionFrom(c.Context()).MustChange && !op.BeforeChange:
				err = errs.Forbidden("login.mustChangePassword", "请先修改初始密码或过期密码，再继续操作。")
			case SessionFrom(c.Context()).MustEnrol && op.Need != "":
				err = errs.Forbidden("login.mustEnrol", "您的角色须用动态口令登录，请先启用动态口令，再继续操作。")
			case op.Need != "" && !who.Can(op.Need):
				err = errs.Forbidden("permission.denied", "您没有“"+op.Title+"”的权限，如有需要请联系安全管理员。")
			}
			if err != nil {
				_, w := humago.Unwrap(c)
				writeProblem(w, problemOf(c.Context(), a.cfg.Log, err))
				return
			}
		}
		next(c)
	}
}

var errNotSignedIn = errs.Unauthenticated("login.required", "请先登录，或登录已过期，请重新登录。")

func writeProblem(w http.ResponseWriter, p *Problem) {
	h := w.Header()
	for k, v := range p.GetHeaders() {
		h[k] = v
	}
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p) //nolint:errcheck // the caller went away
}

// schemaName names a type in the OpenAPI document after its package and its name ("hiddendanger.Item" is HiddendangerItem), so that types of
// one name from two modules do not clash.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := t.Name()
	if name == "" {
		return huma.DefaultSchemaNamer(t, hint)
	}
	if pkg := t.PkgPath(); strings.HasPrefix(pkg, "anwang/") {
		name = pkg[strings.LastIndex(pkg, "/")+1:] + "." + name
	}
	var b strings.Builder
	for _, part := range strings.FieldsFunc(strings.ReplaceAll(name, "[]", "List["), func(r rune) bool { return strings.ContainsRune("[]*, ", r) }) {
		part = part[strings.LastIndex(part, "/")+1:]
		pkg, typ, qualified := strings.Cut(part, ".")
		if !qualified {
			b.WriteString(strings.ToUpper(pkg[:1]) + pkg[1:])
			continue
		}
		if !strings.EqualFold(pkg, typ) && pkg != "httpx" && pkg != "ledger" && pkg != "errs" {
			b.WriteString(strings.ToUpper(pkg[:1]) + pkg[1:])
		}
		b.WriteString(strings.ToUpper(typ[:1]) + typ[1:])
	}
	return b.String()
}
