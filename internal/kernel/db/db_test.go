package db_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/kerneltest"
)

func part(texts ...string) db.Migrations {
	files := fstest.MapFS{}
	for i, text := range texts {
		files[fmt.Sprintf("migrations/%04d_step.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	return db.Migrations{Part: "note", Files: files}
}

const noteTable = `CREATE TABLE note (
  id codetext PRIMARY KEY,
  at codetext NOT NULL,
  gone_at codetext,
  text TEXT NOT NULL,
  ok BOOLEAN NOT NULL,
  raw BYTEA
);
`

type note struct {
	bun.BaseModel `bun:"table:note,alias:r"`
	ID            string    `bun:"id,pk"`
	At            time.Time `bun:"at"`
	GoneAt        time.Time `bun:"gone_at,nullzero"`
	Text          string    `bun:"text"`
	OK            bool      `bun:"ok"`
	Raw           []byte    `bun:"raw"`
}

func put(ctx context.Context, d *db.DB, id, text string) error {
	_, err := d.Conn(ctx).NewInsert().Model(&note{ID: id, At: d.Clock.Now(), Text: text, OK: true, Raw: []byte{0, 1}}).Exec(ctx)
	return err
}

func count(t *testing.T, d *db.DB) int {
	t.Helper()
	var n int
	if err := d.Conn(t.Context()).NewRaw("SELECT count(*) FROM note").Scan(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, []db.Migrations{part(noteTable)}, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		hostile := "'; DROP TABLE note; -- ? ?0 \\ \" 㐂𬭎\u202e\n"
		if err := d.Tx(ctx, func(ctx context.Context) error { return put(ctx, d, "a", hostile) }); err != nil {
			t.Fatal(err)
		}
		var n note
		if err := d.Conn(ctx).NewSelect().Model(&n).Where("r.id = ?", "a").Scan(ctx); err != nil {
			t.Fatal(err)
		}
		if n.Text != hostile || !n.OK || string(n.Raw) != "\x00\x01" || !n.At.Equal(d.Clock.Now()) || !n.GoneAt.IsZero() {
			t.Errorf("read back %+v", n)
		}
		var at string
		if err := d.Conn(ctx).NewRaw("SELECT at FROM note").Scan(ctx, &at); err != nil || at != "2026-03-11T04:00:00.000Z" {
			t.Errorf("stored time %q, %v", at, err)
		}
	})
}

func TestTx(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, []db.Migrations{part(noteTable)}, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		boom := errors.New("boom")
		after := 0
		err := d.Tx(ctx, func(ctx context.Context) error {
			d.AfterCommit(ctx, func() { after++ })
			if err := put(ctx, d, "a", ""); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) || count(t, d) != 0 || after != 0 {
			t.Errorf("failed transaction left %d rows, %d callbacks, error %v", count(t, d), after, err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("panic was swallowed")
				}
			}()
			d.Tx(ctx, func(ctx context.Context) error { //nolint:errcheck // it panics
				if err := put(ctx, d, "a", ""); err != nil {
					return err
				}
				panic("boom")
			})
		}()
		if count(t, d) != 0 {
			t.Error("panic left a row")
		}
		// Joined: the outer one decides for the inner one.
		err = d.Tx(ctx, func(ctx context.Context) error {
			if err := d.Tx(ctx, func(ctx context.Context) error { return put(ctx, d, "a", "") }); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) || count(t, d) != 0 {
			t.Error("inner transaction outlived the outer one")
		}
		if err := put(ctx, d, "a", ""); err == nil {
			t.Error("a write outside a transaction was allowed")
		}
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		if err := d.Tx(cancelled, func(ctx context.Context) error { return put(ctx, d, "a", "") }); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if err := d.Tx(ctx, func(ctx context.Context) error { return put(ctx, d, "a", "") }); err != nil {
			t.Errorf("after all that: %v", err)
		}
		err = d.Tx(ctx, func(ctx context.Context) error { return put(ctx, d, "a", "") })
		if key, ok := db.UniqueViolation(err); !ok || !strings.Contains(key, "note") {
			t.Errorf("unique violation: %q %v (%v)", key, ok, err)
		}
	})
}

// A failing neighbour, a panicking one and a cancelled one share commits with forty good ones and take none of them along.
func TestSharedCommit(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, []db.Migrations{part(noteTable)}, func(t *testing.T, d *db.DB) {
		var wg sync.WaitGroup
		const writers, each = 40, 25
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					id := fmt.Sprintf("%d-%d", w, i)
					if err := d.Tx(t.Context(), func(ctx context.Context) error { return put(ctx, d, id, "") }); err != nil {
						t.Errorf("%s: %v", id, err)
					}
					ctx, cancel := context.WithCancel(t.Context())
					d.Tx(ctx, func(ctx context.Context) error { //nolint:errcheck // meant to fail
						if err := put(ctx, d, "bad"+id, ""); err != nil {
							return err
						}
						cancel()
						return errors.New("no")
					})
					func() {
						defer func() { recover() }()                        //nolint:errcheck // meant to panic
						d.Tx(t.Context(), func(ctx context.Context) error { //nolint:errcheck // meant to panic
							put(ctx, d, "panic"+id, "") //nolint:errcheck // meant to panic
							panic("no")
						})
					}()
				}
			})
		}
		wg.Wait()
		if n := count(t, d); n != writers*each {
			t.Errorf("%d rows, want %d", n, writers*each)
		}
	})
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			d, err := db.Open(ctx, kerneltest.Target(t, engine), clock.At(kerneltest.Noon))
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			step2 := "ALTER TABLE note ADD COLUMN extra TEXT;\n-- +sqlite\nINSERT INTO note (id, at, text, ok) VALUES ('s', '', 'sqlite', TRUE);\n-- +postgres\nINSERT INTO note (id, at, text, ok) VALUES ('p', '', 'postgres', TRUE);\n-- +both\n"
			migrate := func(texts ...string) error { return d.Migrate(ctx, "n1", part(texts...)) }
			if err := migrate(noteTable); err != nil {
				t.Fatal(err)
			}
			if err := d.Migrate(ctx, "n2", part(noteTable, step2)); err != nil {
				t.Fatal(err)
			}
			if d.Node != "n1" {
				t.Errorf("node is now %q: the database must remember its name", d.Node)
			}
			var text string
			if err := d.Conn(ctx).NewRaw("SELECT text FROM note").Scan(ctx, &text); err != nil || text != string(engine) {
				t.Errorf("ran the lines of %q, %v", text, err)
			}
			if err := migrate(noteTable); err == nil || !strings.Contains(err.Error(), "更新的版本") {
				t.Errorf("older program on newer database: %v", err)
			}
			if err := migrate(noteTable+"-- x\n", step2); err == nil || !strings.Contains(err.Error(), "改动") {
				t.Errorf("edited migration: %v", err)
			}
			if err := migrate(noteTable, step2, "CREATE TABLE half (id TEXT);\nNONSENSE;\n"); err == nil {
				t.Error("broken migration passed")
			}
			if err := d.Conn(ctx).NewRaw("SELECT id FROM half").Scan(ctx, &text); err == nil || errors.Is(err, db.ErrNoRows) {
				t.Error("broken migration left half of itself")
			}
			if applied, err := d.Applied(ctx); err != nil || len(applied) != 2 {
				t.Errorf("applied %v, %v", applied, err)
			}
		})
	}
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	release, err := db.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.LockDir(dir); err == nil || !strings.Contains(err.Error(), "正被另一个安网进程") {
		t.Errorf("second process: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if release, err = db.LockDir(dir); err != nil {
		t.Errorf("after release: %v", err)
	} else {
		release() //nolint:errcheck // the test is over
	}
	if err := os.WriteFile(filepath.Join(dir, "anwang.db"), []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Open(t.Context(), filepath.Join(dir, "anwang.db"), clock.System()); err == nil || !strings.Contains(err.Error(), "已损坏") {
		t.Errorf("garbage file: %v", err)
	}
	if _, err := db.Open(t.Context(), filepath.Join(dir, "missing", "anwang.db"), clock.System()); err == nil || !strings.Contains(err.Error(), "不可写") {
		t.Errorf("no folder: %v", err)
	}
	if _, err := db.Open(t.Context(), "postgres://postgres@127.0.0.1:1/none?sslmode=disable", clock.System()); err == nil || !strings.Contains(err.Error(), "连不上") {
		t.Errorf("no server: %v", err)
	}
}

func BenchmarkTx(b *testing.B) {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			d := kerneltest.Open(b, engine, part(noteTable))
			d.Clock = clock.System()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := d.Tx(b.Context(), func(ctx context.Context) error { return put(ctx, d, d.Clock.NewID(), "x") }); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
