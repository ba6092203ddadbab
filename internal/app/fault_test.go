package app

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// kills is how often the server is killed in TestKill: 50 as a release asks for, fewer in a short run.
func kills(t *testing.T) int {
	if testing.Short() {
		return 5
	}
	return 50
}

// TestMain lets the test binary be the server that TestKill kills.
func TestMain(m *testing.M) {
	if data := os.Getenv("ANWANG_TEST_CHILD"); data != "" {
		child(data)
		return
	}
	os.Exit(m.Run())
}

// child serves the installation in the folder until it is killed, and counts the effects of events in a table of its own.
func child(data string) {
	cfg, _, err := configure("child", []string{"--data", data, "--rate", "0"}, nil)
	orDie(err)
	cfg.DB = os.Getenv("ANWANG_TEST_CHILD_DB")
	ctx := context.Background()
	a, err := Open(ctx, cfg, "test", clock.System(), slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	orDie(err)
	a.Kernel.Bus.Subscribe(event.Subscription{Name: "test/effects", Kinds: []string{"hiddendanger.found"}, Handle: func(ctx context.Context, e event.Event) error {
		_, err := a.Kernel.DB.Conn(ctx).NewRaw("INSERT INTO test_effect (id) VALUES (?)", e.RecordID).Exec(ctx)
		return err
	}})
	orDie(a.Kernel.DB.Tx(ctx, func(ctx context.Context) error {
		_, err := a.Kernel.DB.Conn(ctx).ExecContext(ctx, "CREATE TABLE IF NOT EXISTS test_effect (id TEXT PRIMARY KEY)")
		return err
	}))
	a.Kernel.Log.CheckpointEvery = 200 * time.Millisecond
	orDie(a.Start(ctx))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	orDie(err)
	fmt.Println("http://" + l.Addr().String())
	orDie(a.Serve(ctx, l))
}

func orDie(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The server is killed at random moments under load, again and again. Nothing that was acknowledged is lost, nothing is half done, the log verifies, and every event took effect once.
func TestKill(t *testing.T) {
	t.Parallel()
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			w := newWorldAt(t, engine, time.Now()) // leases of dead processes end by the clock: it must go on
			grid, gas := w.token("grid"), w.gas
			data, target := w.Config.Data, w.Config.DB
			w.Close()

			var mu sync.Mutex
			acknowledged := map[string]string{} // id by key
			var next atomic.Int64
			r := rand.New(rand.NewPCG(7, uint64(len(engine))))
			for round := range kills(t) {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), "ANWANG_TEST_CHILD="+data, "ANWANG_TEST_CHILD_DB="+target)
				cmd.Stderr = os.Stderr
				out, err := cmd.StdoutPipe()
				w.must(err)
				w.must(cmd.Start())
				url, err := bufio.NewReader(out).ReadString('\n')
				if err != nil {
					t.Fatalf("round %d: the server did not come up: %v", round, err)
				}
				url = strings.TrimSpace(url)
				stop := make(chan struct{})
				var wg sync.WaitGroup
				var answered atomic.Int64
				for range 6 {
					wg.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
							}
							// Some keys are used again after the kill: the phone does not know whether its report arrived.
							n := next.Add(1)
							key := fmt.Sprintf("k%d", n-n%3)
							id, err := send(url, grid, gas, key)
							if err != nil {
								return // killed
							}
							mu.Lock()
							if before := acknowledged[key]; before != "" && before != id {
								t.Errorf("key %s: %s, then %s", key, before, id)
							}
							acknowledged[key] = id
							mu.Unlock()
							answered.Add(1)
						}
					})
				}
				kerneltest.Eventually(t, "the server works", func() bool { return answered.Load() > 3 })
				time.Sleep(time.Duration(r.IntN(150)) * time.Millisecond) // the moment of the kill, not a wait
				w.must(cmd.Process.Kill())
				cmd.Wait() //nolint:errcheck // it was killed
				close(stop)
				wg.Wait()
			}

			cfg := w.Config
			a, err := Open(t.Context(), cfg, "test", clock.System(), slog.New(slog.DiscardHandler))
			w.must(err)
			t.Cleanup(a.Close)
			a.Kernel.Bus.Subscribe(event.Subscription{Name: "test/effects", Kinds: []string{"hiddendanger.found"}, Handle: func(ctx context.Context, e event.Event) error {
				_, err := a.Kernel.DB.Conn(ctx).NewRaw("INSERT INTO test_effect (id) VALUES (?)", e.RecordID).Exec(ctx)
				return err
			}})
			w.must(a.Start(t.Context()))
			d := a.Kernel.DB
			count := func(query string) (n int) {
				w.must(d.Conn(t.Context()).NewRaw(query).Scan(t.Context(), &n))
				return n
			}
			if len(acknowledged) < kills(t) {
				t.Errorf("only %d acknowledged: the test says little", len(acknowledged))
			}
			for key, id := range acknowledged {
				if count("SELECT count(*) FROM hiddendanger_item WHERE id = '"+id+"'") != 1 {
					t.Errorf("acknowledged %s (%s) is lost", id, key)
				}
			}
			stored := count("SELECT count(*) FROM hiddendanger_item")
			if n := count("SELECT count(*) FROM audit_entry WHERE kind = 'hiddendanger.found'"); n != stored {
				t.Errorf("%d dangers, %d log entries", stored, n)
			}
			if n := count("SELECT count(*) FROM httpx_answer"); n != stored {
				t.Errorf("%d dangers, %d remembered answers", stored, n)
			}
			if n := count("SELECT count(DISTINCT no) FROM hiddendanger_item"); n != stored {
				t.Errorf("%d dangers, %d numbers", stored, n)
			}
			// A dead process's hold on the stream is waited out before the backlog of all rounds is delivered.
			for patience := time.Now().Add(2 * time.Minute); count("SELECT count(*) FROM test_effect") != stored; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(patience) {
					t.Fatalf("%d of %d events took effect", count("SELECT count(*) FROM test_effect"), stored)
				}
			}
			if n := count("SELECT count(*) FROM event_parked"); n != 0 {
				t.Errorf("%d events parked: an effect was tried twice", n)
			}
			w.must(a.Kernel.Log.Flush(t.Context()))
			report, err := a.Kernel.Log.Verify(t.Context(), a.Kernel.Records.Tables(), nil)
			w.must(err)
			if !report.OK() || report.Waiting != 0 {
				t.Errorf("log: %+v", report)
			}
			t.Logf("%d acknowledged, %d stored, %d leaves, %d checkpoints", len(acknowledged), stored, report.Leaves, report.Checkpoints)
		})
	}
}

func send(url, token, enterprise, key string) (id string, err error) {
	body, err := json.Marshal(hiddendangerapi.Finding{Source: hiddendangerapi.Patrol, Title: "配电箱前堆放纸箱" + key, Location: "一号库房", EnterpriseID: enterprise})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequest("POST", url+"/api/v1/hidden-dangers", strings.NewReader(string(body)))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode != 201 {
		return "", fmt.Errorf("%d %s", res.StatusCode, b)
	}
	var out struct{ ID string }
	err = json.Unmarshal(b, &out)
	return out.ID, err
}

// PostgreSQL is stopped and started under load: requests fail cleanly with 503 and Retry-After, and the server recovers by itself.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	pg, err := kerneltest.StartPostgres("")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("NOT TESTED: %v", err)
	}
	t.Cleanup(func() { pg.Stop() })
	cfg, _, err := configure("test", []string{"--data", t.TempDir(), "--rate", "0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DB = pg.URL
	w := &world{t: t, tokens: map[string]string{}}
	w.App, err = Open(t.Context(), cfg, "test", clock.System(), slog.New(slog.DiscardHandler))
	w.must(err)
	t.Cleanup(w.Close)
	w.must(w.Seed(t.Context()))
	w.serve()
	w.settle()
	w.must(w.Start(t.Context()))
	grid := w.token("grid")

	var good, unavailable, bad atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				req, err := http.NewRequest("POST", w.server.URL+"/api/v1/hidden-dangers", strings.NewReader(fmt.Sprintf(`{"source":"patrol","title":"配电箱前堆放纸箱%d-%d","location":"一号库房","enterpriseId":"%s"}`, i, n, w.gas)))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+grid)
				req.Header.Set("Content-Type", "application/json")
				if n%2 == 0 {
					req.Header.Set("Idempotency-Key", fmt.Sprintf("%d-%d", i, n))
				}
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Errorf("the server itself went away: %v", err)
					return
				}
				b, _ := io.ReadAll(res.Body)
				res.Body.Close()
				switch {
				case res.StatusCode == 201:
					good.Add(1)
				case res.StatusCode == 503 && res.Header.Get("Retry-After") != "":
					unavailable.Add(1)
				default:
					bad.Add(1)
					t.Errorf("%d %s", res.StatusCode, b)
				}
			}
		})
	}
	for range 2 {
		before := good.Load()
		kerneltest.Eventually(t, "requests succeed", func() bool { return good.Load() > before+20 })
		w.must(pg.Stop())
		before = unavailable.Load()
		kerneltest.Eventually(t, "requests are refused cleanly", func() bool { return unavailable.Load() > before+20 })
		w.must(pg.Start())
	}
	before := good.Load()
	kerneltest.Eventually(t, "requests succeed again", func() bool { return good.Load() > before+20 })
	close(stop)
	wg.Wait()
	if bad.Load() > 0 {
		t.Errorf("%d good, %d unavailable, %d bad", good.Load(), unavailable.Load(), bad.Load())
	}
	w.verify()
}

// The start-up errors that an operator meets say what to do.
func TestStartErrors(t *testing.T) {
	t.Parallel()
	run := func(args ...string) (int, string) {
		var out, errs strings.Builder
		status := Main(t.Context(), "test", args, strings.NewReader(""), &out, &errs)
		return status, out.String() + errs.String()
	}
	dir := t.TempDir()
	release, err := db.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer release() //nolint:errcheck // the test is over
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"serve", "--data", dir, "--listen", "127.0.0.1:0"}, 1, "正被另一个安网进程"},
		{[]string{"serve", "--data", t.TempDir(), "--listen", l.Addr().String()}, 1, "已被占用"},
		{[]string{"serve", "--data", filepath.Join(file, "x"), "--listen", "127.0.0.1:0"}, 1, "无法创建数据目录"},
		{[]string{"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--db", "mysql://x"}, 2, "应为 postgres://"},
		{[]string{"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--db", "postgres://x@127.0.0.1:1/x"}, 1, "连不上 PostgreSQL"},
		{[]string{"serve", "--data", t.TempDir(), "--rate", "fast"}, 2, "RATE"},
		{[]string{"nonsense"}, 2, "没有"},
		{nil, 2, "用法"},
		{[]string{"help"}, 0, "用法"},
		{[]string{"version"}, 0, "test"},
		{[]string{"audit", "check", file}, 1, "格式有误"},
	} {
		if status, text := run(c.args...); status != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%v: %d %s", c.args, status, text)
		}
	}
}
