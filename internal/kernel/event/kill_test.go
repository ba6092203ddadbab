package event_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/kerneltest"
)

const (
	childTarget = "ANWANG_TEST_EVENT_TARGET"
	childDir    = "ANWANG_TEST_EVENT_DIR"
	childDeadly = "ANWANG_TEST_EVENT_DEADLY"
	killItems   = 1200
)

func TestMain(m *testing.M) {
	if target := os.Getenv(childTarget); target != "" {
		go func() { // not outlive the test
			io.Copy(io.Discard, os.Stdin) //nolint:errcheck // any end will do
			os.Exit(1)
		}()
		if err := child(target, os.Getenv(childDir)); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// child is an installation that makes events and handles them until it is killed: "x.done" by test/first, which makes a
// "y.done" of each, and by test/wide, several at once and failing now and then; "y.done" by test/second.
func child(target, dir string) error {
	ctx := context.Background()
	d, err := db.Open(ctx, target, clock.System())
	if err != nil {
		return err
	}
	if err := d.Migrate(ctx, "341722", parts...); err != nil {
		return err
	}
	log, err := openLog(d, dir)
	if err != nil {
		return err
	}
	if err := log.Start(ctx); err != nil {
		return err
	}
	k := &kit{d: d, log: log}
	b := event.New(d, log, event.Config{StoreDir: filepath.Join(dir, "events"), Silence: 500 * time.Millisecond,
		Backoff: func(int) time.Duration { return 2 * time.Millisecond }, Log: slog.New(slog.DiscardHandler)})
	entry := func(kind string, n int64) audit.Entry {
		return audit.Entry{Kind: kind, Title: "测试", RecordType: "test.item", RecordID: fmt.Sprint(n), Version: 1, Body: item{N: n}}
	}
	wide := event.On("test/wide", []string{"x.done"}, func(ctx context.Context, m event.Meta, it item) error {
		if err := k.effect(ctx, "test/wide", it.N); err != nil {
			return err
		}
		if strings.HasSuffix(m.ID, "0") && time.Now().UnixNano()%2 == 0 {
			return errors.New("now and then")
		}
		return nil
	})
	wide.Concurrency, wide.MaxAttempts = 3, 1000
	b.Subscribe(wide, k.recorder("test/second", "y.*"), event.On("test/first", []string{"x.done"}, func(ctx context.Context, _ event.Meta, it item) error {
		if err := k.effect(ctx, "test/first", it.N); err != nil {
			return err
		}
		return log.Append(ctx, entry("y.done", it.N))
	}))
	if os.Getenv(childDeadly) != "" {
		b.Subscribe(event.Subscription{Name: "test/deadly", Kinds: []string{"x.done"}, MaxAttempts: 1, Handle: func(ctx context.Context, e event.Event) error {
			os.Exit(9) // as when memory runs out
			return nil
		}})
	}
	if err := b.Start(ctx); err != nil {
		return err
	}
	for {
		var n int64
		if err := d.Conn(ctx).NewRaw("SELECT count(*) FROM audit_entry WHERE kind = 'x.done'").Scan(ctx, &n); err != nil {
			return err
		}
		if n >= killItems {
			select {} // the rest is waiting for the end
		}
		if err := d.Tx(ctx, func(ctx context.Context) error { return log.Append(ctx, entry("x.done", n)) }); err != nil {
			return err
		}
	}
}

// A process killed at any moment, again and again, while it makes events and handles them: in the end each effect is there once.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			target, dir := kerneltest.Target(t, engine), t.TempDir()
			d, err := db.Open(t.Context(), target, clock.System())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			if err := d.Migrate(t.Context(), "341722", parts...); err != nil {
				t.Fatal(err)
			}
			k := &kit{t: t, d: d}
			const each = killItems * 3
			count := func() (n int) {
				if err := d.Conn(t.Context()).NewRaw("SELECT count(*) FROM effect").Scan(t.Context(), &n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			kills := 0
			for life := 1; count() < each; life++ {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), childTarget+"="+target, childDir+"="+dir)
				cmd.Stderr = os.Stderr
				if _, err := cmd.StdinPipe(); err != nil { // closed when this process ends
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				until := count() + 250
				deadline := time.Now().Add(30 * time.Second)
				for n := count(); n < until && n < each; n = count() {
					if time.Now().After(deadline) {
						t.Fatalf("life %d: stuck at %d of %d effects", life, n, each)
					}
					time.Sleep(2 * time.Millisecond)
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() == 1 {
					t.Fatalf("the child ended by itself: %v", err)
				}
				kills++
			}
			for _, sub := range []string{"test/first", "test/second", "test/wide"} {
				times := map[int64]int{}
				for _, n := range k.items(sub) {
					times[n]++
				}
				for n := range int64(killItems) {
					if times[n] != 1 {
						t.Errorf("%s: item %d took effect %d times", sub, n, times[n])
					}
				}
			}
			if first := k.items("test/first"); !isSorted(first) {
				t.Errorf("test/first is out of order: %v", first)
			}
			if kills < 5 {
				t.Errorf("only %d kills: make more items", kills)
			}
		})
	}
}

// An event whose handler ends the process every time does not do so for ever.
func TestDeadlyEventIsParked(t *testing.T) {
	t.Parallel()
	target, dir := kerneltest.Target(t, db.SQLite), t.TempDir()
	d, err := db.Open(t.Context(), target, clock.System())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context(), "341722", parts...); err != nil {
		t.Fatal(err)
	}
	parked := func() (n int) {
		if err := d.Conn(t.Context()).NewRaw("SELECT count(*) FROM event_parked WHERE subscription = 'test/deadly'").Scan(t.Context(), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	lives := 0
	for parked() == 0 {
		if lives++; lives > 20 {
			t.Fatal("it still dies")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), childTarget+"="+target, childDir+"="+dir, childDeadly+"=1")
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }() //nolint:errcheck // how it ends is what the loop looks at
		for parked() == 0 {
			select {
			case <-ended:
			case <-time.After(20 * time.Millisecond):
				continue
			}
			break
		}
		cancel()
		<-ended
	}
	if lives < 3 {
		t.Errorf("parked after %d lives", lives)
	}
}

func isSorted(items []int64) bool {
	for i := range items {
		if items[i] != int64(i) {
			return false
		}
	}
	return true
}
