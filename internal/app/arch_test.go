package app

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Who may import whom. Each refusal says why, and so teaches the rule.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "anwang/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, "anwang/") {
				continue
			}
			if why := forbidden(strings.TrimPrefix(p.ImportPath, "anwang/"), strings.TrimPrefix(imp, "anwang/")); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imp, why)
			}
		}
	}
}

// leaves of the kernel import nothing of the kernel but each other; then come org and scope, then the rest.
var leaves = []string{"errs", "clock", "actor", "db"}

func forbidden(from, to string) string {
	kind := func(path string) (layer, name string) {
		parts := strings.Split(path, "/")
		switch {
		case len(parts) > 2 && parts[0] == "internal" && (parts[1] == "lib" || parts[1] == "kernel" || parts[1] == "module"):
			return parts[1], parts[2]
		case len(parts) > 1 && parts[0] == "internal":
			return parts[1], ""
		}
		return parts[0], ""
	}
	fl, fn := kind(from)
	tl, tn := kind(to)
	api := strings.HasSuffix(to, "api") && strings.Count(to, "/") == 3
	switch {
	case tl == "app" && fl != "cmd":
		return "only cmd imports app: app knows everybody, so nobody may know app"
	case fl == "lib" && tl != "lib":
		return "lib has no state, no database, no HTTP: it imports only lib"
	case fl == "kernel" && tl == "module":
		return "the kernel knows no module: declare an interface and let app bind it"
	case fl == "kernel" && tl == "kernel" && slices.Contains(leaves, fn) && !slices.Contains(leaves, tn):
		return "errs, clock, actor and db are leaves of the kernel"
	case fl == "kernel" && fn == "scope" && tl == "kernel" && !slices.Contains(leaves, tn):
		return "scope stands right above the leaves"
	case fl == "module" && strings.HasSuffix(from, "api") && tl == "module" && !api:
		return "an …api package imports no module: otherwise cycles arise"
	case fl == "module" && tl == "module" && fn != tn && !api:
		return "a module sees another module's …api package and nothing else of it"
	case fl == "cmd" && tl != "app":
		return "cmd parses the command and calls app"
	}
	return ""
}

// Every scope.All says why, and in a module it stands only in code: a test lists them for the reader.
func TestScopeAllGivesReasons(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("grep", "-rnE", `scope\.All\(`, "../../internal", "--include=*.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	reason := regexp.MustCompile(`scope\.All\(("[^"]{10,}"|l\.Unscoped)`)
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go") {
			continue
		}
		if !reason.MatchString(line) {
			t.Errorf("scope.All without a reason to read: %s", strings.TrimSpace(line))
		}
	}
}

// No package-level variable holds a database, logger, configuration or clock, and there is no init.
func TestNoGlobals(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("grep", "-rnE", `^func init\(\)|^var [a-zA-Z]+ +(=|\*)? *\*?(db\.DB|bun\.|slog\.Logger|Config\b|clock\.Clock)`, "../../internal", "../../cmd", "--include=*.go").Output()
	if err == nil {
		t.Errorf("globals or init:\n%s", out)
	}
}
