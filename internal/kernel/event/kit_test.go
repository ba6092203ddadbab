package event_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/lib/translog"
)

// effects is what handlers do in these tests: each run leaves a row, so that running twice shows.
var effects = db.Migrations{Part: "effect", Files: fstest.MapFS{"migrations/0001_init.sql": &fstest.MapFile{Data: []byte(`
CREATE TABLE effect (n BIGINT NOT NULL, subscription TEXT NOT NULL, item BIGINT NOT NULL);
`)}}}

var parts = []db.Migrations{audit.Migrations, event.Migrations, effects}

// kit is an installation.
type kit struct {
	t   testing.TB
	d   *db.DB
	log *audit.Log
	dir string
}

func newKit(t testing.TB, d *db.DB) *kit {
	k := &kit{t: t, d: d, log: kerneltest.NewLog(t, d), dir: filepath.Join(t.TempDir(), "events")}
	if err := k.log.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.log.Stop)
	return k
}

// openLog opens the log with the keys in dir, so that a second process or a second life can go on with it.
func openLog(d *db.DB, dir string) (*audit.Log, error) {
	keys, err := audit.LoadKeys(filepath.Join(dir, "keys"), translog.SHA256Ed25519)
	if err != nil {
		return nil, err
	}
	keys.Folder = ""
	return audit.New(d, keys, slog.New(slog.DiscardHandler))
}

func eachEngine(t *testing.T, test func(t *testing.T, k *kit)) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) { test(t, newKit(t, d)) })
}

// bus makes a bus with quick retries that is stopped when the test ends.
func (k *kit) bus(cfg event.Config, subs ...event.Subscription) *event.Bus {
	if cfg.URL == "" {
		cfg.StoreDir = k.dir
	}
	if cfg.Backoff == nil {
		cfg.Backoff = func(int) time.Duration { return 5 * time.Millisecond }
	}
	if cfg.Silence == 0 {
		cfg.Silence = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := event.New(k.d, k.log, cfg)
	b.Subscribe(subs...)
	k.t.Cleanup(b.Stop)
	return b
}

func (k *kit) start(b *event.Bus) {
	k.t.Helper()
	if err := b.Start(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
}

type item struct {
	N    int64  `json:"n"`
	Text string `json:"text,omitempty"`
}

// emit commits one entry per number, in one transaction.
func (k *kit) emit(kind string, numbers ...int) {
	k.t.Helper()
	items := make([]item, len(numbers))
	for i, n := range numbers {
		items[i].N = int64(n)
	}
	k.emitItems(kind, items...)
}

func (k *kit) emitItems(kind string, items ...item) {
	k.t.Helper()
	err := k.d.Tx(person(k.t.Context()), func(ctx context.Context) error {
		for _, it := range items {
			if err := k.log.Append(ctx, audit.Entry{Kind: kind, Title: "测试", RecordType: "test.item", RecordID: fmt.Sprint(it.N),
				Version: 1, Data: map[string]int64{"n": it.N}, Body: it}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) effect(ctx context.Context, sub string, n int64) error {
	_, err := k.d.Conn(ctx).NewRaw("INSERT INTO effect (n, subscription, item) SELECT count(*), ?, ? FROM effect", sub, n).Exec(ctx)
	return err
}

// recorder is a subscription that leaves an effect for each event.
func (k *kit) recorder(name string, kinds ...string) event.Subscription {
	return event.On(name, kinds, func(ctx context.Context, _ event.Meta, it item) error { return k.effect(ctx, name, it.N) })
}

// items lists the effects of a subscription in the order in which they happened.
func (k *kit) items(sub string) []int64 {
	k.t.Helper()
	var items []int64
	if err := k.d.Conn(k.t.Context()).NewRaw("SELECT item FROM effect WHERE subscription = ? ORDER BY n", sub).Scan(k.t.Context(), &items); err != nil {
		k.t.Fatal(err)
	}
	return items
}

func (k *kit) waitItems(sub string, want ...int) {
	k.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		got := k.items(sub)
		if slices.EqualFunc(got, want, func(g int64, w int) bool { return g == int64(w) }) {
			return
		}
		if time.Now().After(deadline) || len(got) > len(want) {
			i := 0
			for i < min(len(got), len(want)) && got[i] == int64(want[i]) {
				i++
			}
			k.t.Fatalf("%s handled %d items, want %d; they differ at %d: %v", sub, len(got), len(want), i, got[i:min(i+10, len(got))])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// waitRelayed waits until the relay has done with all that is committed.
func (k *kit) waitRelayed(b *event.Bus) {
	k.t.Helper()
	kerneltest.Eventually(k.t, "relay caught up", func() bool {
		var waiting int
		if err := k.d.Conn(k.t.Context()).NewRaw("SELECT count(*) FROM audit_entry WHERE seq IS NULL").Scan(k.t.Context(), &waiting); err != nil {
			return false
		}
		lag, err := b.Lag(k.t.Context())
		return err == nil && lag.Entries == 0 && waiting == 0
	})
}

// kinds lists the kinds in the log, oldest first.
func (k *kit) logged(kind string) (n int) {
	k.t.Helper()
	if err := k.d.Conn(k.t.Context()).NewRaw("SELECT count(*) FROM audit_entry WHERE kind = ?", kind).Scan(k.t.Context(), &n); err != nil {
		k.t.Fatal(err)
	}
	return n
}

func person(ctx context.Context) context.Context {
	return actor.With(ctx, &actor.Actor{Kind: actor.Person, ID: "p-1", Name: "张三"})
}

func operator(ctx context.Context) context.Context {
	return actor.With(ctx, &actor.Actor{Kind: actor.Person, ID: "op", Name: "管理员", Grants: []actor.Grant{{Permissions: []string{event.PermissionOperate}}}})
}

func span(from, to int) []int {
	var out []int
	for i := from; i <= to; i++ {
		out = append(out, i)
	}
	return out
}

// natsServer starts an external NATS server on a loopback port; port 0 means any.
func natsServer(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{ServerName: "external", Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("external NATS server does not start")
	}
	t.Cleanup(func() { stopServer(s) })
	return s
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}
