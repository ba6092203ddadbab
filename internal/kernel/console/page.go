package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"path"
	"strings"

	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/module"
	"anwang/internal/lib/gbcode"
)

//go:embed page
var pageFiles embed.FS

// Page is what the first page says of an installation.
type Page struct {
	Root     string // the division that the installation serves, as in its setting ROOT
	Demo     bool   // says on every page that nothing here is real
	Password string // of the demo's accounts
	Accounts []DemoAccount
}

// DemoAccount is an account that the first page of a demo offers.
type DemoAccount struct {
	Account string // login name
	Title   string // "安委会办公室"
}

// contentPolicy lets the pages load their own files and nothing else: no inline script, no other site, no frame.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Pages adds the first page and the documentation of the API. Their files carry a digest in the address, so that a browser keeps each for good and asks for
// a newer program's at once.
func Pages(api *httpx.API, k *module.Kernel, version string, p Page) error {
	address := map[string]string{}
	entries, err := pageFiles.ReadDir("page")
	if err != nil {
		return err
	}
	for _, e := range entries {
		b, err := pageFiles.ReadFile("page/" + e.Name())
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		address[e.Name()] = "/assets/" + hex.EncodeToString(sum[:6]) + "/" + e.Name()
		if path.Ext(e.Name()) != ".html" {
			api.Mux().HandleFunc("GET "+address[e.Name()], asset(e.Name(), b))
		}
	}
	pages, err := template.New("").Funcs(template.FuncMap{"asset": func(name string) (string, error) {
		if address[name] == "" {
			return "", fmt.Errorf("no asset %q", name)
		}
		return address[name], nil
	}}).ParseFS(pageFiles, "page/*.html")
	if err != nil {
		return err
	}
	show := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var b bytes.Buffer
			where := place(r.Context(), k, p.Root)
			if err := pages.ExecuteTemplate(&b, name, struct {
				Page
				Version, Place, Name string
			}{p, version, strings.Join(where, ""), last(where)}); err != nil {
				k.Slog.ErrorContext(r.Context(), "page", "name", name, "error", err)
				http.Error(w, "系统暂时无法访问，请稍后重试。", http.StatusInternalServerError)
				return
			}
			h := w.Header()
			h.Set("Content-Type", "text/html; charset=utf-8")
			h.Set("Content-Security-Policy", contentPolicy)
			h.Set("Cache-Control", "no-cache")
			w.Write(b.Bytes())
		}
	}
	api.Mux().HandleFunc("GET /{$}", show("index.html"))
	api.Mux().HandleFunc("GET /api/docs", show("docs.html"))
	return nil
}

func asset(name string, b []byte) http.HandlerFunc {
	kind := mime.TypeByExtension(path.Ext(name))
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		w.Write(b)
	}
}

// place is the division that the installation serves, by its names from the province down; empty when it is not known yet.
func place(ctx context.Context, k *module.Kernel, root string) []string {
	code, err := gbcode.ParseDivision(root)
	if err != nil {
		return nil
	}
	all, err := k.Org.Divisions(ctx)
	if err != nil {
		return nil
	}
	return all.Path(string(code), k.Clock.Now())
}

func last(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}
