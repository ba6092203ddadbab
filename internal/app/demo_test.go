package app

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/kerneltest"
)

// small is a fraction of the county that is built in seconds.
var small = demoSize{scale: 1, fraction: 25}

func demoConfig(t *testing.T, engine db.Engine) (Config, *env) {
	t.Helper()
	cfg, _, err := configure("test", []string{"--data", t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Rate = 0
	if engine == db.Postgres {
		cfg.DB = kerneltest.Target(t, engine)
	}
	return cfg, &env{"test", strings.NewReader(""), io.Discard, io.Discard}
}

// The demo county is whole: every account signs in, matters of every sort are there, everyone sees the own place, the log verifies, and a second start changes nothing.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a county")
	}
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			cfg, e := demoConfig(t, engine)
			if err := buildDemo(t.Context(), e, cfg, small, kerneltest.Noon); err != nil {
				t.Fatal(err)
			}
			leaves := verifyDemo(t, cfg)
			if err := buildDemo(t.Context(), e, cfg, small, kerneltest.Noon); err != nil {
				t.Fatal(err)
			}
			if again := verifyDemo(t, cfg); again != leaves {
				t.Errorf("the log has %d entries after a second start, had %d", again, leaves)
			}
			checkDemo(t, cfg)
		})
	}
}

func openDemo(t *testing.T, cfg Config) *App {
	t.Helper()
	a, err := Open(t.Context(), cfg, "test", clock.At(kerneltest.Noon), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// verifyDemo verifies the log and returns how many entries it has.
func verifyDemo(t *testing.T, cfg Config) int64 {
	t.Helper()
	a := openDemo(t, cfg)
	defer a.Close()
	report, err := a.Kernel.Log.Verify(t.Context(), a.Kernel.Records.Tables(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings[:min(5, len(report.Findings))] {
		t.Errorf("the log does not verify: [%s] %s", f.Kind, f.Message)
	}
	if report.Waiting > 0 || report.Leaves < 1000 {
		t.Errorf("log of %d entries, %d waiting", report.Leaves, report.Waiting)
	}
	return int64(report.Leaves)
}

// checkDemo looks at the county as its people do.
func checkDemo(t *testing.T, cfg Config) {
	t.Helper()
	a := openDemo(t, cfg)
	defer a.Close()
	ctx := actor.AsSystem(t.Context(), "test")
	var accounts []*access.AccountView
	for after := ""; ; {
		page, err := a.Kernel.Access.Accounts(ctx, access.AccountQuery{Limit: 200, After: after})
		if err != nil {
			t.Fatal(err)
		}
		if accounts = append(accounts, page...); len(page) < 200 {
			break
		}
		after = page[199].ID
	}
	tokens := map[string]string{}
	for _, v := range accounts {
		login, token, err := a.Kernel.Access.SignIn(t.Context(), access.SignInInput{Account: v.Name, Password: demoPassword})
		if err != nil || login.MustChange || login.MustEnrol {
			t.Errorf("%s signs in: %v, login %+v", v.Name, err, login)
		}
		tokens[v.Name] = token
	}
	for _, shown := range demoAccounts() {
		if tokens[shown.Account] == "" {
			t.Errorf("there is no account %s", shown.Account)
		}
	}
	type list struct {
		Items []struct {
			ID           string `json:"id"`
			Division     string `json:"division"`
			DivisionCode string `json:"divisionCode"` // as the list of enterprises calls it
			EnterpriseID string `json:"enterpriseId"`
		} `json:"items"`
		Total int `json:"total"`
	}
	read := func(account, path string) (l list) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", "/api/v1"+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+tokens[account])
		w := &reply{header: http.Header{}}
		a.Handler.ServeHTTP(w, r)
		if err := json.Unmarshal(w.Bytes(), &l); err != nil || w.status >= 300 {
			t.Fatalf("%s reads %s: %d %s", account, path, w.status, w)
		}
		return l
	}

	total := 0
	for state, least := range map[string]int{"found": 1, "graded": 1, "ordered": 1, "planned": 1, "rectifying": 3, "submitted": 1, "verified": 1, "disputed": 1, "closed": 60, "void": 1} {
		n := read("office", "/hidden-dangers?limit=1&state="+state).Total
		if n < least {
			t.Errorf("%d dangers are %s, want at least %d", n, state, least)
		}
		total += n
	}
	if all := read("office", "/hidden-dangers?limit=1").Total; all != total {
		t.Errorf("%d dangers, but %d by states", all, total)
	}
	for view, least := range map[string]int{"overdue": 1, "major": 1, "repeated": 1} {
		if n := read("town", "/hidden-dangers?limit=1&view="+view).Total; n < least {
			t.Errorf("仁里 has %d dangers in the view %s, want at least %d", n, view, least)
		}
	}
	if n := read("office", "/hidden-dangers?limit=1&view=overdue").Total; n == 0 {
		t.Error("nothing is overdue")
	}
	for _, state := range []string{"due", "done", "missed", "late"} {
		if read("office", "/self-checks?limit=1&state="+state).Total == 0 {
			t.Errorf("no self-check is %s", state)
		}
	}
	if n := read("office", "/danger-bulletins").Total; n != 4 {
		t.Errorf("%d bulletins in a year, want 4", n)
	}

	towns := 0
	for _, town := range demoTowns() {
		for _, path := range []string{"/hidden-dangers?limit=200", "/enterprises?limit=200", "/self-checks?limit=200"} {
			l := read(town.station, path)
			towns += l.Total
			for _, x := range l.Items {
				if in := x.Division + x.DivisionCode; !strings.HasPrefix(in, town.code[:9]) {
					t.Errorf("%s sees %s %s in %s", town.station, path, x.ID, in)
				}
			}
		}
	}
	if towns == 0 {
		t.Error("the towns see nothing at all")
	}
	own := map[string]bool{}
	for _, x := range read("enterprise", "/hidden-dangers?limit=200").Items {
		own[x.EnterpriseID] = true
	}
	if len(own) != 1 {
		t.Errorf("the safety manager sees the dangers of %d enterprises, want one", len(own))
	}
}

// What was left unfinished, and a real installation, are not touched.
func TestDemoRefuses(t *testing.T) {
	t.Parallel()
	cfg, e := demoConfig(t, db.SQLite)
	if err := os.WriteFile(filepath.Join(cfg.Data, unfinished), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := buildDemo(t.Context(), e, cfg, small, kerneltest.Noon)
	if err == nil || !strings.Contains(err.Error(), "请删除目录") {
		t.Errorf("on a county that was left unfinished: %v", err)
	}

	cfg, e = demoConfig(t, db.SQLite)
	a := openDemo(t, cfg)
	ctx := actor.AsSystem(t.Context(), "test")
	if _, err := a.Kernel.Access.FirstStart(ctx); err != nil {
		t.Fatal(err)
	}
	a.Close()
	if err := buildDemo(t.Context(), e, cfg, small, kerneltest.Noon); err == nil || !strings.Contains(err.Error(), "正式安装") {
		t.Errorf("on a real installation: %v", err)
	}
}

// The findings are typical: enough of them, different, each with a category, and each short enough for a title.
func TestDemoTemplates(t *testing.T) {
	t.Parallel()
	general, err := generalTemplates()
	if err != nil {
		t.Fatal(err)
	}
	major, err := majorTemplates()
	if err != nil {
		t.Fatal(err)
	}
	kinds, err := firmKinds()
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"*", "public"}
	for _, k := range kinds {
		known = append(known, k.key)
	}
	seen := map[string]bool{}
	for _, x := range general {
		if seen[x.place+x.what] {
			t.Errorf("twice: %s%s", x.place, x.what)
		}
		seen[x.place+x.what] = true
	}
	if len(general) < 120 {
		t.Errorf("%d findings, want at least 120", len(general))
	}
	for _, m := range major {
		general = append(general, m.template)
	}
	for _, x := range general {
		if n := len([]rune(x.place + x.what)); n < 4 || n > 90 || x.category == "" || x.requirement == "" || x.measures == "" {
			t.Errorf("malformed: %s", fmt.Sprint(x))
		}
		for _, k := range x.kinds {
			if !slices.Contains(known, k) {
				t.Errorf("%s%s is about %q, which no enterprise is", x.place, x.what, k)
			}
		}
	}
}
