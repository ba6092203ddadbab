package httpx

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/time/rate"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/errs"
)

const cookieName = "anwang_login"

// Handler is the finished door. Register nothing after it.
func (a *API) Handler() http.Handler {
	a.mux.Handle("GET /metrics", promhttp.HandlerFor(a.cfg.Metrics, promhttp.HandlerOpts{}))
	a.mux.HandleFunc(Prefix+"/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, fromHuma(http.StatusNotFound, "").(*Problem))
	})
	var h http.Handler = a.mux
	h = a.idempotent(h)
	h = a.limit(h)
	h = a.recognise(h)
	return a.observe(h)
}

// SignInCookie makes the cookie that a browser carries. An empty token makes the cookie that removes it.
func (a *API) SignInCookie(token string) string {
	c := http.Cookie{Name: cookieName, Value: token, Path: "/", HttpOnly: true, Secure: a.cfg.Secure, SameSite: http.SameSiteStrictMode}
	if token == "" {
		c.MaxAge = -1
	}
	return c.String()
}

// statusWriter remembers what was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController flush and set deadlines.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// observe gives the request its id, counts it, logs it without personal data, and turns a panic into an incident.
func (a *API) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get("X-Request-Id")
		if !safeID(id) {
			id = a.cfg.DB.Clock.NewID()
		}
		client, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			client = r.RemoteAddr
		}
		ctx := actor.WithRequest(r.Context(), actor.Request{ID: id, Client: client})
		r = r.WithContext(ctx)
		sw := &statusWriter{ResponseWriter: w}
		h := w.Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		if strings.HasPrefix(r.URL.Path, "/api/") {
			h.Set("Cache-Control", "no-store")
		}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
					panic(p)
				}
				a.cfg.Log.ErrorContext(ctx, "panic", "incident", id, "panic", p, "stack", string(debug.Stack()))
				if sw.status == 0 {
					writeProblem(sw, &Problem{Status: 500, Title: "internal", Code: "internal", Incident: id,
						Message: "系统内部错误，请稍后重试；若仍出现，请把事件编号告诉系统管理员。"})
				}
			}
			_, pattern := a.mux.Handler(r)
			took := time.Since(start)
			a.metrics.observe(pattern, sw.status, took)
			level := slog.LevelDebug
			if sw.status >= 500 {
				level = slog.LevelWarn
			}
			if a.cfg.Log.Enabled(ctx, level) {
				a.cfg.Log.Log(ctx, level, "request", "id", id, "route", pattern, "status", sw.status, "bytes", sw.bytes, "took", took)
			}
		}()
		if query, err := url.QueryUnescape(r.URL.RawQuery); err != nil || strings.ContainsRune(r.URL.Path+query, 0) || !utf8.ValidString(r.URL.Path+query) {
			writeProblem(sw, &Problem{Status: 400, Title: "invalid", Code: "request.invalid", Message: "地址或查询条件含有不能识别的字符，请检查后重试。"})
			return
		}
		next.ServeHTTP(sw, r)
	})
}

func safeID(id string) bool {
	if len(id) < 8 || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

type sessionKey struct{}

// SessionFrom returns the caller's session, empty when nobody is signed in.
func SessionFrom(ctx context.Context) Session {
	s, _ := ctx.Value(sessionKey{}).(Session)
	return s
}

// Token is what the request says its caller's token is, and whether a browser's cookie says so; empty when it says nothing.
func Token(r *http.Request) (token string, byCookie bool) {
	if header, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return header, false
	}
	if c, err := r.Cookie(cookieName); err == nil {
		return c.Value, true
	}
	return "", false
}

type closingKey struct{}

// WithClosing returns a context for requests that says when the server begins to stop. It does not end the requests: those under way may finish.
func WithClosing(ctx context.Context, closing <-chan struct{}) context.Context {
	return context.WithValue(ctx, closingKey{}, closing)
}

// Closing is closed when the server begins to stop. What has no end by itself, such as a stream of events, ends then.
func Closing(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(closingKey{}).(<-chan struct{})
	return c
}

// recognise finds out who is calling. Without a valid token the caller is nobody, and the operation decides what that means.
func (a *API) recognise(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, byCookie := Token(r)
		if token == "" || a.cfg.Auth == nil {
			next.ServeHTTP(w, r)
			return
		}
		session, err := a.cfg.Auth.Authenticate(r.Context(), token)
		if err != nil {
			if errs.KindOf(err) != errs.KindUnauthenticated {
				writeProblem(w, problemOf(r.Context(), a.cfg.Log, err))
				return
			}
			next.ServeHTTP(w, r)
			return
		}
		writes := r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
		if byCookie && writes && subtle.ConstantTimeCompare([]byte(r.Header.Get("X-CSRF-Token")), []byte(session.CSRF)) != 1 {
			writeProblem(w, problemOf(r.Context(), a.cfg.Log, errs.Forbidden("login.csrf", "页面已过期，请刷新后再提交。")))
			return
		}
		ctx := actor.With(r.Context(), session.Actor)
		ctx = context.WithValue(ctx, sessionKey{}, session)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// limiters holds one token bucket per caller and forgets those that were idle.
type limiters struct {
	mu      sync.Mutex
	buckets map[string]*bucket
	swept   time.Time
}

type bucket struct {
	*rate.Limiter
	used time.Time
}

func (l *limiters) allow(key string, perSecond float64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.swept) > time.Minute {
		for k, b := range l.buckets {
			if now.Sub(b.used) > time.Minute {
				delete(l.buckets, k)
			}
		}
		l.swept = now
	}
	b := l.buckets[key]
	if b == nil {
		b = &bucket{Limiter: rate.NewLimiter(rate.Limit(perSecond), int(perSecond*4))}
		l.buckets[key] = b
	}
	b.used = now
	return b.AllowN(now, 1)
}

func (a *API) limit(next http.Handler) http.Handler {
	if a.cfg.RequestsPerSecond <= 0 {
		return next
	}
	l := &limiters{buckets: map[string]*bucket{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := actor.From(r.Context())
		key := who.ID
		if who.Kind == actor.Nobody {
			key = "@" + actor.RequestFrom(r.Context()).Client
		}
		if strings.HasPrefix(r.URL.Path, "/api/") && !l.allow(key, a.cfg.RequestsPerSecond) {
			writeProblem(w, problemOf(r.Context(), a.cfg.Log, errs.TooMany("request.tooMany", "操作过于频繁，请稍候再试。", time.Second)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

type metrics struct {
	requests *prometheus.HistogramVec
}

func newMetrics(reg *prometheus.Registry) *metrics {
	m := &metrics{requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "anwang_http_request_seconds", Help: "Time to answer a request.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"route", "status"})}
	reg.MustRegister(m.requests)
	return m
}

func (m *metrics) observe(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}
