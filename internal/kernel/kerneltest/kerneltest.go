// Package kerneltest is the kit that tests of the kernel and the modules share: a database of each engine, a clock that stands still,
// actors.
package kerneltest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
)

// Noon is when tests begin: Wednesday 2026-03-11 12:00 in Shanghai.
var Noon = time.Date(2026, 3, 11, 12, 0, 0, 0, clock.Zone)

// EachEngine runs test once on SQLite and once on PostgreSQL, in parallel, each with an empty database of its own, migrated with
// parts, node "341722" and a clock that stands at Noon.
func EachEngine(t *testing.T, parts []db.Migrations, test func(t *testing.T, d *db.DB)) {
	t.Helper()
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			test(t, Open(t, engine, parts...))
		})
	}
}

// Open returns an empty database of the engine, migrated with parts. It is closed when the test ends.
func Open(t testing.TB, engine db.Engine, parts ...db.Migrations) *db.DB {
	t.Helper()
	ctx := context.Background()
	d, err := db.Open(ctx, Target(t, engine), clock.At(Noon))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(ctx, "341722", parts...); err != nil {
		t.Fatal(err)
	}
	return d
}

// Target returns where an empty database of the engine is: a file in a folder of the test, or the URL of a PostgreSQL database
// that is dropped when the test ends.
func Target(t testing.TB, engine db.Engine) string {
	t.Helper()
	if engine == db.SQLite {
		return filepath.Join(t.TempDir(), "anwang.db")
	}
	server := postgresServer(t)
	name := "t_" + randomHex(8)
	admin(t, server, "CREATE DATABASE "+name)
	t.Cleanup(func() { admin(t, server, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

func admin(t testing.TB, server, stmt string) {
	t.Helper()
	pool, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(stmt); err != nil {
		t.Fatalf("%s: %v", stmt, err)
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never fails since Go 1.24
	return hex.EncodeToString(b)
}

var shared struct {
	once sync.Once
	url  string
	err  error
}

// postgresServer returns the server named by ANWANG_TEST_POSTGRES (make test starts one for the whole run), else starts
// one for this test process from the local binaries. Without either the test is skipped, loudly; in CI it fails.
func postgresServer(t testing.TB) string {
	t.Helper()
	if u := os.Getenv("ANWANG_TEST_POSTGRES"); u != "" {
		return u
	}
	shared.once.Do(func() {
		s, err := StartPostgres("")
		if err != nil {
			shared.err = err
			return
		}
		shared.url = s.URL
		// The server outlives the tests of this process by the watcher that StartPostgres leaves behind.
	})
	if shared.err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("PostgreSQL is required in CI: %v", shared.err)
		}
		t.Skipf("NOT TESTED ON POSTGRESQL: %v (make test installs it)", shared.err)
	}
	return shared.url
}

// Postgres is a throw-away PostgreSQL server.
type Postgres struct {
	URL  string // of the database "postgres"
	Dir  string
	Port int
	bin  string
}

// StartPostgres starts a throw-away server from the local binaries with its data in dir, or in a temporary folder when dir is empty. It
// is stopped by Stop, or by a watcher soon after this process has died.
func StartPostgres(dir string) (*Postgres, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "anwang-pg-"); err != nil {
			return nil, err
		}
	}
	s := &Postgres{Dir: dir, bin: bin}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	if cred := unprivileged(); cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err != nil {
		if out, err := s.command("initdb", "-D", filepath.Join(dir, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("initdb: %w: %s", err, out)
		}
	}
	if s.Port, err = freePort(); err != nil {
		return nil, err
	}
	s.URL = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.Port)
	if err := s.Start(); err != nil {
		return nil, err
	}
	watch := exec.Command("sh", "-c", fmt.Sprintf("while kill -0 %d 2>/dev/null; do sleep 1; done; kill -QUIT $(head -1 %s/data/postmaster.pid); sleep 1; rm -rf %s", os.Getpid(), dir, dir))
	watch.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return s, watch.Start()
}

// Start starts a server that Stop has stopped, on the same port and data.
func (s *Postgres) Start() error {
	opts := fmt.Sprintf("-p %d -k %s -c listen_addresses=127.0.0.1 -c max_connections=400 -c shared_buffers=256MB -c full_page_writes=off", s.Port, s.Dir)
	if out, err := s.command("pg_ctl", "-D", filepath.Join(s.Dir, "data"), "-l", filepath.Join(s.Dir, "log"), "-o", opts, "-w", "start").CombinedOutput(); err != nil {
		return fmt.Errorf("pg_ctl start: %w: %s", err, out)
	}
	return nil
}

// Stop stops the server at once, as a crash would; its data stay.
func (s *Postgres) Stop() error {
	if out, err := s.command("pg_ctl", "-D", filepath.Join(s.Dir, "data"), "-m", "immediate", "-w", "stop").CombinedOutput(); err != nil {
		return fmt.Errorf("pg_ctl stop: %w: %s", err, out)
	}
	return nil
}

func (s *Postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.Dir
	if cred := unprivileged(); cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	}
	return cmd
}

func postgresBin() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(p), nil
	}
	return "", fmt.Errorf("no PostgreSQL server found on this machine")
}

// unprivileged is the user to run PostgreSQL as, which refuses to run as root; nil when this process is not root.
func unprivileged() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.ParseUint(u.Uid, 10, 32)
			gid, _ := strconv.ParseUint(u.Gid, 10, 32)
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	return strconv.Atoi(port)
}

// Eventually waits until ok returns true and fails the test after ten seconds.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
