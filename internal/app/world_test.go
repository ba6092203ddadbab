package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/org"
	"anwang/internal/lib/gbcode"
	"anwang/internal/module/enterprise"
)

const password = "Anwang-test-1"

// The places of the test county.
const (
	county    = "341722000000"
	renli     = "341722100000" // 仁里镇
	qidu      = "341722101000" // 七都镇
	renliVill = "341722100200" // 三增村
	qiduVill  = "341722101200"
)

// world is a small county in a real installation, driven over HTTP.
type world struct {
	*App
	t      testing.TB
	clock  *clock.Clock
	server *httptest.Server
	tokens map[string]string // by account
	people map[string]string // person by account
	posts  map[string]string // post by account
	// The enterprises: one in 仁里 that sells gas, one in 七都 of industry and trade.
	gas, mill string
}

// eachEngine runs test on a county on SQLite and on one on PostgreSQL.
func eachEngine(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, engine))
		})
	}
}

func newWorld(t testing.TB, engine db.Engine) *world { return newWorldAt(t, engine, kerneltest.Noon) }

// newWorldAt makes the county at a time, at which its clock stands still.
func newWorldAt(t testing.TB, engine db.Engine, now time.Time) *world {
	t.Helper()
	cfg, _, err := configure("test", []string{"--data", t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Rate = 0
	if engine == db.Postgres {
		cfg.DB = kerneltest.Target(t, engine)
	}
	w := &world{t: t, clock: clock.At(now), tokens: map[string]string{}}
	w.App, err = Open(t.Context(), cfg, "test", w.clock, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	if err := w.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.serve()
	w.settle()
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) serve() {
	w.server = httptest.NewServer(w.Handler)
	w.t.Cleanup(w.server.Close)
}

// settle makes organisation, accounts and enterprises.
func (w *world) settle() {
	w.t.Helper()
	ctx := actor.AsSystem(w.t.Context(), "test")
	k := w.Kernel
	w.people, w.posts = map[string]string{}, map[string]string{}
	department := func(name, kind, division string, lines ...string) string {
		d, err := k.Org.AddDepartment(ctx, org.DepartmentInput{Name: name, Division: division, Kind: kind})
		w.must(err)
		for _, line := range lines {
			_, err := k.Org.AssignFunction(ctx, org.FunctionInput{DepartmentID: d.ID, Line: line, Basis: "三定方案", Division: division})
			w.must(err)
		}
		return d.ID
	}
	office := department("石台县安委会办公室", "committeeOffice", county, org.Integrated)
	housing := department("石台县住房和城乡建设局", "regulator", county, "construction", "gas")
	trade := department("石台县经济和信息化局", "regulator", county, "industryTrade")
	stationRenli := department("仁里镇安监站", "town", renli, org.Integrated)
	stationQidu := department("七都镇安监站", "town", qidu, org.Integrated)

	register := func(name, division, industry string, line *string) string {
		seq := len(name) + int(division[8])
		code, err := gbcode.USCCWithCheck(fmt.Sprintf("91341722MA2%06d", seq*7919%1000000))
		w.must(err)
		if line == nil {
			line = new(string)
		}
		reason := "按主营业务"
		e, err := w.all.enterprise.Register(ctx, enterprise.RegisterInput{Name: name, Division: division, Industry: industry, ConfirmDuplicate: true,
			Facts: enterprise.Facts{USCC: &code, Line: line, LineReason: &reason}})
		w.must(err)
		return e.ID
	}
	gas, industryTrade := "gas", "industryTrade"
	w.gas = register("石台仁里燃气有限公司", renli, "D4511", &gas)
	w.mill = register("石台七都机械有限公司", qidu, "C3311", &industryTrade)

	for _, p := range []struct {
		account, role, kind, unit, name, division string
	}{
		{"office", "office", org.UnitDepartment, office, "", ""},
		{"office2", "office", org.UnitDepartment, office, "", ""},
		{"housing", "industry", org.UnitDepartment, housing, "", ""},
		{"trade", "industry", org.UnitDepartment, trade, "", ""},
		{"town", "town", org.UnitDepartment, stationRenli, "", ""},
		{"town2", "town", org.UnitDepartment, stationRenli, "", ""},
		{"qidu", "town", org.UnitDepartment, stationQidu, "", ""},
		{"grid", "grid", org.UnitVillage, renliVill, "", ""},
		{"gridqidu", "grid", org.UnitVillage, qiduVill, "", ""},
		{"gas", "enterprise.manager", org.UnitEnterprise, w.gas, "石台仁里燃气有限公司", renli},
		{"gasboss", "enterprise.head", org.UnitEnterprise, w.gas, "石台仁里燃气有限公司", renli},
		{"mill", "enterprise.manager", org.UnitEnterprise, w.mill, "石台七都机械有限公司", qidu},
	} {
		person, err := k.Org.AddPerson(ctx, org.PersonInput{Name: "测试" + p.account})
		w.must(err)
		in := org.PostInput{PersonID: person.ID, Role: p.role, Title: "工作人员", UnitKind: p.kind, UnitID: p.unit, UnitName: p.name, Division: p.division, ValidFrom: "2020-01-01"}
		if p.account == "grid" || p.account == "gridqidu" {
			in.Divisions = []string{renli}
			if p.account == "gridqidu" {
				in.Divisions = []string{qidu}
			}
		}
		post, err := k.Org.Appoint(ctx, in)
		w.must(err)
		w.people[p.account], w.posts[p.account] = person.ID, post.ID
		w.account(ctx, p.account, "", person.ID)
	}
	w.account(ctx, "sysadmin", "system", "")
	w.account(ctx, "secadmin", "security", "")
	w.account(ctx, "auditor", "audit", "")
}

func (w *world) account(ctx context.Context, name, admin, person string) {
	w.t.Helper()
	_, _, err := w.Kernel.Access.AddUser(ctx, access.AddUserInput{CreateAccountInput: access.CreateAccountInput{Name: name, Title: "测试" + name, Admin: admin}, PersonID: person, Password: password, Keep: true})
	w.must(err)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(describe(err), err)
	}
}

// answer is a reply over HTTP.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// get reads a value of the JSON body by path: "items.0.id".
func (a answer) get(path string) any {
	var v any
	if json.Unmarshal(a.body, &v) != nil {
		return nil
	}
	for _, step := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (a answer) text(path string) string {
	s, _ := a.get(path).(string)
	return s
}

func (a answer) version() int64 {
	f, _ := a.get("version").(float64)
	return int64(f)
}

// as calls the API as an account; "" is nobody. body is marshalled unless it is a string.
func (w *world) as(account, method, path string, body any, headers ...string) answer {
	w.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		w.must(err)
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+"/api/v1"+path, r)
	w.must(err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if account != "" {
		req.Header.Set("Authorization", "Bearer "+w.token(account))
	}
	res, err := http.DefaultClient.Do(req)
	w.must(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	w.must(err)
	return answer{res.StatusCode, res.Header, b}
}

func (w *world) token(account string) string {
	w.t.Helper()
	if w.tokens[account] == "" {
		ctx := actor.WithRequest(w.t.Context(), actor.Request{ID: "test", Client: "127.0.0.1"})
		_, token, err := w.Kernel.Access.SignIn(ctx, access.SignInInput{Account: account, Password: password})
		w.must(err)
		w.tokens[account] = token
	}
	return w.tokens[account]
}

// want calls the API and fails unless the status is as wanted.
func (w *world) want(status int, account, method, path string, body any, headers ...string) answer {
	w.t.Helper()
	a := w.as(account, method, path, body, headers...)
	if a.status != status {
		w.t.Fatalf("%s %s as %s: %d, want %d: %s", method, path, account, a.status, status, a.body)
	}
	return a
}

// photo uploads a small picture and returns its id.
func (w *world) photo(account string, shade uint8) string {
	w.t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 64, 48))
	for x := range 64 {
		for y := range 48 {
			img.Set(x, y, color.RGBA{shade, uint8(x * 4), uint8(y * 5), 255})
		}
	}
	var picture bytes.Buffer
	w.must(png.Encode(&picture, img))
	return w.upload(account, "现场照片.png", picture.Bytes())
}

// upload uploads a file and returns its id.
func (w *world) upload(account, name string, content []byte) string {
	w.t.Helper()
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	part, err := m.CreateFormFile("file", name)
	w.must(err)
	_, err = part.Write(content)
	w.must(err)
	w.must(m.Close())
	return w.want(201, account, "POST", "/files", form.String(), "Content-Type", m.FormDataContentType()).text("id")
}

// report reports a danger of the gas company as the account and returns its id.
func (w *world) report(account string, more map[string]any) answer {
	w.t.Helper()
	in := map[string]any{"source": "patrol", "title": "配电箱前堆放纸箱遮挡", "location": "一号库房东侧", "category": "electric", "enterpriseId": w.gas}
	for k, v := range more {
		in[k] = v
	}
	return w.want(201, account, "POST", "/hidden-dangers", in)
}

// step takes a step on a danger at the version of a, and returns it afterwards.
func (w *world) step(account string, a answer, step string, in map[string]any) answer {
	w.t.Helper()
	return w.want(200, account, "POST", "/hidden-dangers/"+a.text("id")+"/"+step, w.input(a, in))
}

func (w *world) input(a answer, in map[string]any) map[string]any {
	out := map[string]any{"version": a.version()}
	for k, v := range in {
		out[k] = v
	}
	return out
}

func (w *world) verify() {
	w.t.Helper()
	w.must(w.Kernel.Log.Flush(w.t.Context()))
	r, err := w.Kernel.Log.Verify(w.t.Context(), w.Kernel.Records.Tables(), nil)
	w.must(err)
	if !r.OK() {
		w.t.Errorf("log does not verify: %+v", r.Findings)
	}
}

func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
