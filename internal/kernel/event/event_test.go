package event_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/kerneltest"
)

func TestEventsReachTheirSubscriptionsInOrder(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		var mu sync.Mutex
		var got []event.Event
		var who *actor.Actor
		var request string
		look := event.Subscription{Name: "test/look", Kinds: []string{"hiddendanger.assigned"}, Handle: func(ctx context.Context, e event.Event) error {
			mu.Lock()
			defer mu.Unlock()
			got, who, request = append(got, e), actor.From(ctx), actor.RequestFrom(ctx).ID
			return nil
		}}
		b := k.bus(event.Config{}, look, k.recorder("test/one", "hiddendanger.assigned"), k.recorder("test/module", "hiddendanger.*"), k.recorder("test/all", ">"))
		k.start(b)
		k.emit("hiddendanger.assigned", span(1, 40)...)
		k.emit("hiddendanger.closed", 41)
		k.emit("permit.issued", 42)
		k.emit("奇怪 的*.kind", 43) // whatever an entry is called, it must not stop the relay
		k.emit("hiddendanger.assigned", 44)

		k.waitItems("test/one", append(span(1, 40), 44)...)
		k.waitItems("test/module", append(span(1, 41), 44)...)
		k.waitItems("test/all", span(1, 44)...)

		mu.Lock()
		defer mu.Unlock()
		e := got[2]
		if e.Seq != 2 || e.Kind != "hiddendanger.assigned" || e.Title != "测试" || e.Node != "341722" || e.RecordType != "test.item" || e.RecordID != "3" ||
			e.Version != 1 || e.Actor != (event.Actor{Kind: "person", ID: "p-1", Name: "张三"}) || string(e.Data) != `{"n":3}` || string(e.Body) != `{"n":3}` ||
			!e.At.Equal(kerneltest.Noon) || len(e.ID) != 36 {
			t.Errorf("event: %+v data %s body %s", e, e.Data, e.Body)
		}
		if who.Kind != actor.System || who.ID != "test/look" || request != got[len(got)-1].ID {
			t.Errorf("handled by %+v on request %q", who, request)
		}
	})
}

func TestEntriesWithoutBodyAreNoEvents(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		b := k.bus(event.Config{}, k.recorder("test/all", ">"))
		k.start(b)
		if err := k.d.Tx(t.Context(), func(ctx context.Context) error {
			return k.log.Append(ctx, audit.Entry{Kind: "login.failed", Title: "登录失败"})
		}); err != nil {
			t.Fatal(err)
		}
		k.emit("x.done", 1)
		k.waitItems("test/all", 1)
		k.waitRelayed(b)
	})
}

// Whoever publishes an event again, in whatever order, changes nothing: each effect happens once.
func TestDeliveredTwiceAndOutOfOrder(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		b := k.bus(event.Config{}, k.recorder("test/all", "x.>"))
		k.start(b)
		k.emit("x.done", span(1, 20)...)
		k.waitItems("test/all", span(1, 20)...)
		rows, err := k.log.Sequenced(t.Context(), -1, 100)
		if err != nil {
			t.Fatal(err)
		}
		publish := func(r audit.Row, n int64) {
			e := event.Event{Meta: event.Meta{ID: r.ID, Seq: *r.Seq, Kind: "x.done"}, Body: fmt.Appendf(nil, `{"n":%d}`, n)}
			payload, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Conn().Publish("ev.341722.x.done", payload); err != nil {
				t.Fatal(err)
			}
		}
		for i := len(rows) - 1; i >= 0; i-- {
			publish(rows[i], *rows[i].Seq+1)
			publish(rows[i], *rows[i].Seq+1)
		}
		// Events of another origin, the later first: both are handled.
		for _, n := range []int64{31, 30} {
			publish(audit.Row{ID: k.d.Clock.NewID(), Seq: &n}, n)
		}
		k.emit("x.done", 21)
		kerneltest.Eventually(t, "all handled", func() bool { return len(k.items("test/all")) >= 23 })
		seen := map[int64]int{}
		for _, n := range k.items("test/all") {
			if seen[n]++; seen[n] > 1 {
				t.Errorf("event %d took effect %d times", n, seen[n])
			}
		}
		for _, n := range []int64{21, 30, 31} {
			if seen[n] != 1 {
				t.Errorf("event %d took effect %d times", n, seen[n])
			}
		}
		kerneltest.Eventually(t, "nothing pending", func() bool { return pending(t, b, "test/all") == 0 })
		if n := len(k.items("test/all")); n != 23 {
			t.Errorf("%d effects, want 23", n)
		}
	})
}

func pending(t testing.TB, b *event.Bus, name string) int64 {
	t.Helper()
	st := status(t, b, name)
	return st.Pending
}

func status(t testing.TB, b *event.Bus, name string) event.Status {
	t.Helper()
	all, err := b.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no subscription %s in %v", name, all)
	return event.Status{}
}

func TestFailingHandlerIsTriedAgainWithoutEffect(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		var tries atomic.Int64
		sub := event.On("test/flaky", []string{"x.done"}, func(ctx context.Context, m event.Meta, it item) error {
			if err := k.effect(ctx, "test/flaky", it.N); err != nil {
				return err
			}
			if it.N == 2 && tries.Add(1) < 4 {
				if tries.Load() == 2 {
					panic("a handler's panic is an error")
				}
				return errors.New("not yet")
			}
			return nil
		})
		b := k.bus(event.Config{}, sub)
		k.start(b)
		k.emit("x.done", 1, 2, 3)
		k.waitItems("test/flaky", 1, 2, 3) // in order, and the failed tries undone
		if tries.Load() != 4 {
			t.Errorf("tried %d times", tries.Load())
		}
	})
}

func TestParkedEventsWaitForAnOperator(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		var broken atomic.Bool
		broken.Store(true)
		sub := event.On("test/picky", []string{"x.done"}, func(ctx context.Context, _ event.Meta, it item) error {
			if it.N%2 == 0 && broken.Load() {
				return fmt.Errorf("no even number: %d", it.N)
			}
			return k.effect(ctx, "test/picky", it.N)
		})
		sub.MaxAttempts = 2
		b := k.bus(event.Config{}, sub)
		k.start(b)
		ctx := operator(t.Context())
		k.emit("x.done", span(1, 9)...)
		k.waitItems("test/picky", 1, 3, 5, 7, 9)
		var list []event.Parked
		kerneltest.Eventually(t, "four parked", func() (ok bool) {
			var err error
			if list, err = b.Parked(ctx, "test/picky", "", 100); err != nil {
				t.Fatal(err)
			}
			return len(list) == 4
		})
		p := list[0]
		if p.RecordID != "2" || p.Attempts != 2 || !strings.Contains(p.Error, "no even number: 2") || p.Subject != "ev.341722.x.done" || p.Kind != "x.done" || p.Seq != 1 {
			t.Errorf("parked: %+v", p)
		}
		if st := status(t, b, "test/picky"); st.Parked != 4 {
			t.Errorf("status: %+v", st)
		}
		if page, err := b.Parked(ctx, "", list[2].ID, 10); err != nil || len(page) != 1 || page[0].RecordID != "8" {
			t.Errorf("second page: %v %v", page, err)
		}

		// Not for everyone.
		for what, err := range map[string]error{
			"retry":   b.Retry(person(t.Context()), p.ID),
			"discard": b.Discard(person(t.Context()), p.ID, "不要"),
			"list":    second(b.Parked(person(t.Context()), "", "", 1)),
			"replay":  third(b.Replay(person(t.Context()), "test/picky", 0)),
			"all":     third(b.RetryAll(person(t.Context()), "")),
		} {
			if err == nil || errs.KindOf(err) != errs.KindForbidden {
				t.Errorf("%s by someone without permission: %v", what, err)
			}
		}

		// Still broken: stays parked.
		if err := b.Retry(ctx, p.ID); err == nil || errs.KindOf(err) != errs.KindConflict {
			t.Errorf("retry of a broken one: %v", err)
		}
		if done, failed, err := b.RetryAll(ctx, "test/picky"); done != 0 || failed != 4 || err != nil {
			t.Errorf("retry all: %d %d %v", done, failed, err)
		}
		if list, _ = b.Parked(ctx, "", "", 100); len(list) != 4 || list[0].Attempts != 4 {
			t.Errorf("after failed retries: %+v", list)
		}

		// Discarded for good, with a reason.
		if err := b.Discard(ctx, list[3].ID, " "); err == nil || errs.KindOf(err) != errs.KindInvalid {
			t.Errorf("discard without a reason: %v", err)
		}
		if err := b.Discard(ctx, list[3].ID, "重复登记"); err != nil {
			t.Error(err)
		}
		broken.Store(false)
		if err := b.Retry(ctx, p.ID); err != nil {
			t.Error(err)
		}
		if err := b.Retry(ctx, p.ID); err == nil || errs.KindOf(err) != errs.KindNotFound {
			t.Errorf("second retry: %v", err)
		}
		if done, failed, err := b.RetryAll(ctx, ""); done != 2 || failed != 0 || err != nil {
			t.Errorf("retry all: %d %d %v", done, failed, err)
		}
		k.waitItems("test/picky", 1, 3, 5, 7, 9, 2, 4, 6)
		if r, d := k.logged("event.retried"), k.logged("event.discarded"); r != 8 || d != 1 {
			t.Errorf("log has %d retries and %d discards", r, d)
		}
	})
}

func second[A any](_ A, err error) error        { return err }
func third[A, B any](_ A, _ B, err error) error { return err }

func TestReplayHandlesThePastOnceMore(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		ctx := operator(t.Context())
		var broken atomic.Int64
		sub := event.On("test/projection", []string{"x.done"}, func(ctx context.Context, _ event.Meta, it item) error {
			if it.N == broken.Load() {
				return errors.New("broken")
			}
			return k.effect(ctx, "test/projection", it.N)
		})
		b := k.bus(event.Config{}, sub)
		k.start(b)
		k.emit("x.done", span(1, 5)...)
		k.emit("y.done", 99)
		k.waitItems("test/projection", 1, 2, 3, 4, 5)
		if n, parked, err := b.Replay(ctx, "test/projection", 2); n != 3 || parked != 0 || err != nil {
			t.Fatalf("replay: %d %d %v", n, parked, err)
		}
		k.waitItems("test/projection", 1, 2, 3, 4, 5, 3, 4, 5)

		// One that fails is parked; replaying again when it works clears it.
		broken.Store(4)
		if n, parked, err := b.Replay(ctx, "test/projection", 2); n != 2 || parked != 1 || err != nil {
			t.Fatalf("replay: %d %d %v", n, parked, err)
		}
		broken.Store(0)
		if list, err := b.Parked(ctx, "", "", 10); err != nil || len(list) != 1 || list[0].RecordID != "4" {
			t.Fatalf("parked: %v %v", list, err)
		}
		if n, parked, err := b.Replay(ctx, "test/projection", 3); n != 2 || parked != 0 || err != nil {
			t.Fatalf("replay: %d %d %v", n, parked, err)
		}
		if list, err := b.Parked(ctx, "", "", 10); err != nil || len(list) != 0 {
			t.Fatalf("parked: %v %v", list, err)
		}
		k.waitItems("test/projection", 1, 2, 3, 4, 5, 3, 4, 5, 3, 5, 4, 5)
		if _, _, err := b.Replay(ctx, "test/none", 0); err == nil || errs.KindOf(err) != errs.KindNotFound {
			t.Errorf("replay of nothing: %v", err)
		}
		if k.logged("event.replayed") != 3 {
			t.Errorf("log has %d replays", k.logged("event.replayed"))
		}

		// It works without the bus, from the log alone.
		b.Stop()
		if n, _, err := b.Replay(ctx, "test/projection", 0); n != 5 || err != nil {
			t.Fatalf("replay while stopped: %d %v", n, err)
		}
	})
}

func TestRestart(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		first := k.bus(event.Config{}, k.recorder("test/all", "x.>"))
		first.Stop() // before Start
		k.start(first)
		if err := first.Start(t.Context()); err == nil {
			t.Error("started twice")
		}
		k.emit("x.done", span(1, 30)...)
		first.Stop() // in the middle
		first.Stop()
		k.emit("x.done", span(31, 60)...)
		k.start(first)
		k.emit("x.done", span(61, 70)...)
		k.waitItems("test/all", span(1, 70)...)
		first.Stop()

		// The next program has one subscription more: it begins with what happens now.
		k.emit("x.done", 71)
		next := k.bus(event.Config{}, k.recorder("test/all", "x.>"), k.recorder("test/new", "x.>"))
		k.start(next)
		k.emit("x.done", 72)
		k.waitItems("test/all", span(1, 72)...)
		kerneltest.Eventually(t, "72 handled", func() bool { n := len(k.items("test/new")); return n > 0 && k.items("test/new")[n-1] == 72 })
		if got := k.items("test/new"); len(got) > 2 { // 71 was not yet relayed when it joined
			t.Errorf("new subscription got %v", got)
		}
		if n, _, err := next.Replay(operator(t.Context()), "test/new", 0); n != 72 || err != nil {
			t.Errorf("replay for the new one: %d %v", n, err)
		}
	})
}

// The stream is a copy: when its files are lost, the relay fills it again from the log and no handler runs twice.
func TestLostStoreIsFilledAgain(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		b := k.bus(event.Config{}, k.recorder("test/all", "x.>"))
		k.start(b)
		k.emit("x.done", span(1, 300)...)
		k.waitItems("test/all", span(1, 300)...)
		b.Stop()
		if err := os.RemoveAll(k.dir); err != nil {
			t.Fatal(err)
		}
		k.emit("x.done", 301)
		k.start(b)
		k.emit("x.done", 302)
		k.waitItems("test/all", span(1, 302)...)
		kerneltest.Eventually(t, "nothing pending", func() bool { return pending(t, b, "test/all") == 0 })
		k.waitItems("test/all", span(1, 302)...)
	})
}

// A power cut takes the stream's newest messages, which are not forced to disk one by one. The relay sees what is missing.
func TestLostTailIsPublishedAgain(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		var held atomic.Bool
		sub := k.recorder("test/all", "x.>")
		sub.MaxAttempts = 1 << 20
		inner := sub.Handle
		sub.Handle = func(ctx context.Context, e event.Event) error {
			if held.Load() {
				return errors.New("held")
			}
			return inner(ctx, e)
		}
		b := k.bus(event.Config{}, sub)
		k.start(b)
		k.emit("x.done", span(1, 10)...)
		k.waitItems("test/all", span(1, 10)...)
		held.Store(true)
		k.emit("x.done", span(11, 20)...)
		k.waitRelayed(b)
		js, err := b.Conn().JetStream()
		if err != nil {
			t.Fatal(err)
		}
		for seq := range uint64(7) {
			if err := js.DeleteMsg("EVENTS", 14+seq); err != nil {
				t.Fatal(err)
			}
		}
		b.Stop()
		held.Store(false)
		k.start(b)
		k.emit("x.done", 21)
		k.waitItems("test/all", span(1, 21)...)
	})
}

// A database restored from a backup is older than the stream: sequence numbers are given a second time, and what they stand for
// now is delivered.
func TestDatabaseOlderThanTheStream(t *testing.T) {
	t.Parallel()
	path := kerneltest.Target(t, db.SQLite)
	open := func() *kit {
		d, err := db.Open(t.Context(), path, clock.At(kerneltest.Noon))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Migrate(t.Context(), "341722", parts...); err != nil {
			t.Fatal(err)
		}
		log, err := openLog(d, filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		k := &kit{t: t, d: d, log: log, dir: filepath.Join(filepath.Dir(path), "events")}
		if err := k.log.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := open()
	b := k.bus(event.Config{}, k.recorder("test/all", "x.>"))
	k.start(b)
	k.emit("x.done", span(1, 10)...)
	k.waitItems("test/all", span(1, 10)...)
	k.waitRelayed(b)
	backup := path + ".backup"
	pool, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.ExecContext(t.Context(), "VACUUM INTO ?", backup); err != nil {
		t.Fatal(err)
	}
	pool.Close()
	k.emit("x.done", span(11, 20)...)
	k.waitItems("test/all", span(1, 20)...)
	b.Stop()
	k.log.Stop()
	k.d.Close()
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.Rename(backup, path); err != nil {
		t.Fatal(err)
	}
	k = open()
	t.Cleanup(func() { k.log.Stop(); k.d.Close() })
	b = k.bus(event.Config{}, k.recorder("test/all", "x.>"))
	k.start(b)
	k.emit("x.done", span(101, 115)...)
	k.waitItems("test/all", append(span(1, 10), span(101, 115)...)...)
}

func TestExternalServerComesAndGoes(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		var held atomic.Bool
		sub := k.recorder("test/all", "x.>")
		sub.MaxAttempts = 1 << 20
		inner := sub.Handle
		sub.Handle = func(ctx context.Context, e event.Event) error {
			if held.Load() {
				return errors.New("held")
			}
			return inner(ctx, e)
		}
		b := k.bus(event.Config{URL: fmt.Sprintf("nats://127.0.0.1:%d", port), Connect: []nats.Option{nats.ReconnectWait(20 * time.Millisecond)}},
			sub)
		k.start(b) // nobody there yet
		if b.Server() != nil {
			t.Error("an embedded server beside the external one")
		}
		k.emit("x.done", span(1, 10)...)
		kerneltest.Eventually(t, "lag is known", func() bool {
			lag, err := b.Lag(t.Context())
			return err == nil && lag.Entries == 10 && lag.Oldest.Equal(kerneltest.Noon) && lag.Trouble != ""
		})
		dir := t.TempDir()
		s := natsServer(t, dir, port)
		k.waitItems("test/all", span(1, 10)...)
		kerneltest.Eventually(t, "no lag", func() bool {
			lag, err := b.Lag(t.Context())
			return err == nil && lag == event.Lag{}
		})

		// Away and back, while events happen.
		k.emit("x.done", span(11, 200)...)
		stopServer(s)
		k.emit("x.done", span(201, 300)...)
		s = natsServer(t, dir, port)
		k.waitItems("test/all", span(1, 300)...)

		// Away and back without its memory: what was not handled comes again, without waiting for a new event.
		held.Store(true)
		k.emit("x.done", span(301, 310)...)
		k.waitRelayed(b)
		stopServer(s)
		natsServer(t, t.TempDir(), port)
		held.Store(false)
		k.waitItems("test/all", span(1, 310)...)
	})
}

// Two processes on one database and one NATS share the work: one relays, each event is handled by one of them.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	d := kerneltest.Open(t, db.Postgres, parts...)
	k := newKit(t, d)
	url := natsServer(t, t.TempDir(), 0).ClientURL()
	var handledBy [2]atomic.Int64
	var buses [2]*event.Bus
	for i := range buses {
		sub := event.On("test/all", []string{"x.>"}, func(ctx context.Context, _ event.Meta, it item) error {
			handledBy[i].Add(1)
			return k.effect(ctx, "test/all", it.N)
		})
		buses[i] = k.bus(event.Config{URL: url, Silence: 2 * time.Second}, sub)
		k.start(buses[i])
	}
	k.emit("x.done", span(1, 200)...)
	k.waitItems("test/all", span(1, 200)...)
	owner := func() (owner, until string) {
		if err := d.Conn(t.Context()).NewRaw("SELECT owner, lease_until FROM event_cursor").Scan(t.Context(), &owner, &until); err != nil {
			t.Fatal(err)
		}
		return owner, until
	}
	before, _ := owner()
	buses[0].Stop()
	k.emit("x.done", span(201, 300)...)
	k.waitItems("test/all", span(1, 300)...)
	k.start(buses[0])
	buses[1].Stop()
	k.emit("x.done", span(301, 400)...)
	k.waitItems("test/all", span(1, 400)...)
	if after, until := owner(); after == "" || until == "" || before == "" {
		t.Errorf("relay was %q, is %q until %q", before, after, until)
	}
	if handledBy[0].Load() == 0 || handledBy[1].Load() == 0 {
		t.Errorf("handled by %d and %d", handledBy[0].Load(), handledBy[1].Load())
	}
	if sum := handledBy[0].Load() + handledBy[1].Load(); sum != 400 {
		t.Errorf("handlers ran %d times", sum)
	}
}

// A relay that died keeps the lease until it runs out.
func TestRelayLeaseRunsOut(t *testing.T) {
	t.Parallel()
	d := kerneltest.Open(t, db.Postgres, parts...)
	k := newKit(t, d)
	if err := d.Tx(t.Context(), func(ctx context.Context) error {
		return second(d.Conn(ctx).NewRaw("UPDATE event_cursor SET owner = 'dead', lease_until = ?", kerneltest.Noon.Add(time.Second)).Exec(ctx))
	}); err != nil {
		t.Fatal(err)
	}
	b := k.bus(event.Config{}, k.recorder("test/all", "x.>"))
	k.start(b)
	k.emit("x.done", 1)
	kerneltest.Eventually(t, "entry sequenced", func() bool {
		lag, err := b.Lag(t.Context())
		return err == nil && lag.Entries == 1
	})
	watch := b.Watch(t.Context())
	select {
	case e := <-watch:
		t.Fatalf("relayed against the lease: %+v", e)
	case <-time.After(1500 * time.Millisecond): // longer than a standby's poll
	}
	d.Clock.Advance(2 * time.Second)
	k.waitItems("test/all", 1)
}

// A full stream makes the relay wait for the slowest subscription; nothing is pushed out unhandled.
func TestFullStreamWaitsForTheSlowest(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		hold := make(chan struct{})
		slow := event.On("test/slow", []string{"x.>"}, func(ctx context.Context, _ event.Meta, it item) error { return k.effect(ctx, "test/slow", it.N) })
		quick := k.recorder("test/quick", "x.>")
		inner := slow.Handle
		slow.MaxAttempts = 1 << 20
		slow.Handle = func(ctx context.Context, e event.Event) error {
			select {
			case <-hold:
				return inner(ctx, e)
			default:
				return errors.New("held")
			}
		}
		b := k.bus(event.Config{MaxBytes: 1 << 20}, slow, quick)
		k.start(b)
		text := strings.Repeat("安全生产责任重于泰山", 300) // 9 kB
		for i := range 40 {
			var items []item
			for n := range 10 {
				items = append(items, item{N: int64(i*10 + n), Text: text + fmt.Sprint(n)})
			}
			k.emitItems("x.done", items...)
		}
		kerneltest.Eventually(t, "relay waits", func() bool {
			lag, err := b.Lag(t.Context())
			return err == nil && strings.Contains(lag.Trouble, "test_slow") && lag.Entries > 100
		})
		close(hold)
		k.waitItems("test/slow", span(0, 399)...)
		k.waitItems("test/quick", span(0, 399)...)
		k.waitRelayed(b)
	})
}

// What is too large for a message is fetched from the log.
func TestLargeRecords(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		var broken atomic.Bool
		broken.Store(true)
		var sizes []int
		var mu sync.Mutex
		sub := event.On("test/large", []string{"x.>"}, func(ctx context.Context, _ event.Meta, it item) error {
			mu.Lock()
			defer mu.Unlock()
			if broken.Load() {
				return errors.New("broken")
			}
			sizes = append(sizes, len(it.Text))
			return nil
		})
		sub.MaxAttempts = 1
		b := k.bus(event.Config{Options: func(o *server.Options) { o.MaxPayload = 16 << 10 }}, sub)
		k.start(b)
		k.emitItems("x.done", item{N: 1, Text: strings.Repeat("<", 10<<10)}) // six bytes each in JSON
		kerneltest.Eventually(t, "parked", func() bool { return status(t, b, "test/large").Parked == 1 })
		broken.Store(false)
		k.emitItems("x.done", item{N: 2, Text: strings.Repeat("a", 100<<10)})
		if done, _, err := b.RetryAll(operator(t.Context()), ""); done != 1 || err != nil {
			t.Errorf("retry: %d %v", done, err)
		}
		kerneltest.Eventually(t, "both handled", func() bool { mu.Lock(); defer mu.Unlock(); return len(sizes) == 2 })
		if sizes[0]+sizes[1] != 110<<10 {
			t.Errorf("sizes: %v", sizes)
		}
	})
}

func TestConcurrency(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		var inside, most atomic.Int64
		met := make(chan struct{})
		sub := event.Subscription{Name: "test/wide", Kinds: []string{"x.>"}, Concurrency: 4, Handle: func(ctx context.Context, e event.Event) error {
			return nil
		}}
		sub.Handle = func(ctx context.Context, e event.Event) error {
			k.d.AfterCommit(ctx, func() { // outside the one writer of SQLite
				if n := inside.Add(1); n == 4 {
					close(met)
				}
				if n := inside.Load(); n > most.Load() {
					most.Store(n)
				}
				select {
				case <-met:
				case <-time.After(10 * time.Second):
				}
				inside.Add(-1)
			})
			return nil
		}
		b := k.bus(event.Config{Silence: time.Minute}, sub)
		k.start(b)
		k.emit("x.done", 1, 2, 3, 4)
		select {
		case <-met:
		case <-time.After(15 * time.Second):
			t.Fatalf("at most %d at once", most.Load())
		}
	})
}

func TestWatch(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		b := k.bus(event.Config{})
		k.start(b)
		ctx, cancel := context.WithCancel(t.Context())
		quick, gone := b.Watch(t.Context()), b.Watch(ctx)
		// The feed itself starts in the background; until it is there nothing is seen.
		n := 0
		kerneltest.Eventually(t, "feed runs", func() bool {
			k.emit("x.tick", n)
			n++
			select {
			case <-quick:
				return true
			default:
				return false
			}
		})
		for len(quick) > 0 {
			<-quick
		}
		k.waitRelayed(b)
		slow := b.Watch(t.Context())
		cancel()
		for want := int64(1); want <= 600; {
			k.emit("x.done", span(int(want), int(want)+99)...)
			for end := want + 100; want < end; {
				select {
				case e, ok := <-quick:
					if !ok || e.Kind == event.KindLost {
						t.Fatalf("the quick one was dropped before %d", want)
					}
					var it item
					if e.Kind == "x.tick" {
						continue
					}
					if err := json.Unmarshal(e.Body, &it); err != nil || it.N != want {
						t.Fatalf("got %s, want %d", e.Body, want)
					}
					want++
				case <-time.After(10 * time.Second):
					t.Fatalf("waited in vain for %d", want)
				}
			}
		}
		last := event.Event{}
		for e := range slow { // ends, since it was dropped
			last = e
		}
		if last.Kind != event.KindLost {
			t.Errorf("the slow one's last event: %+v", last)
		}
		for range gone { // ends, since its context did
		}
		b.Stop()
		for range quick { // ends, since the bus stopped
		}
	})
}

// The database going away is nobody's failure: no event is parked for it.
func TestDatabaseGoesAway(t *testing.T) {
	t.Parallel()
	pg, err := kerneltest.StartPostgres("")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("NOT TESTED ON POSTGRESQL: %v", err)
	}
	t.Cleanup(func() { pg.Stop() }) //nolint:errcheck // its watcher ends it too
	d, err := db.Open(t.Context(), pg.URL, clock.At(kerneltest.Noon))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context(), "341722", parts...); err != nil {
		t.Fatal(err)
	}
	k := newKit(t, d)
	sub := k.recorder("test/all", "x.>")
	sub.MaxAttempts = 1
	var once sync.Once
	stopped := make(chan struct{})
	inner := sub.Handle
	sub.Handle = func(ctx context.Context, e event.Event) error {
		if e.RecordID == "50" {
			once.Do(func() {
				defer close(stopped)
				if err := pg.Stop(); err != nil {
					t.Error(err)
				}
			})
		}
		return inner(ctx, e)
	}
	b := k.bus(event.Config{Silence: 3 * time.Second}, sub)
	k.start(b)
	k.emit("x.done", span(1, 100)...)
	<-stopped
	if _, err := b.Status(t.Context()); err == nil {
		t.Error("the database is still there")
	}
	if err := pg.Start(); err != nil {
		t.Fatal(err)
	}
	k.waitItems("test/all", span(1, 100)...)
	if st := status(t, b, "test/all"); st.Parked != 0 {
		t.Errorf("parked: %+v", st)
	}
}

// The embedded server shuts its storage by itself when the disk is full. The bus opens it again.
func TestStorageShutDown(t *testing.T) {
	eachEngine(t, func(t *testing.T, k *kit) {
		b := k.bus(event.Config{}, k.recorder("test/all", "x.>"))
		k.start(b)
		k.emit("x.done", 1)
		k.waitItems("test/all", 1)
		if err := b.Server().ShutdownJetStream(); err != nil {
			t.Fatal(err)
		}
		k.emit("x.done", 2)
		k.waitItems("test/all", 1, 2)
	})
}

func TestEmbeddedServerSaysWhyItCannotStart(t *testing.T) {
	t.Parallel()
	d := kerneltest.Open(t, db.SQLite, parts...)
	k := newKit(t, d)
	if err := os.WriteFile(k.dir, []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := k.bus(event.Config{})
	if err := b.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "消息服务无法启动") {
		t.Fatalf("start: %v", err)
	}
	if err := os.Remove(k.dir); err != nil {
		t.Fatal(err)
	}
	k.start(b)
}

func TestMalformedSubscriptions(t *testing.T) {
	t.Parallel()
	ok := func(context.Context, event.Event) error { return nil }
	for name, s := range map[string]event.Subscription{
		"no slash":      {Name: "notify", Kinds: []string{"a.b"}, Handle: ok},
		"dot in name":   {Name: "notify/a.b", Kinds: []string{"a.b"}, Handle: ok},
		"no kinds":      {Name: "notify/a", Handle: ok},
		"no handler":    {Name: "notify/a", Kinds: []string{"a.b"}},
		"empty part":    {Name: "notify/a", Kinds: []string{"a..b"}, Handle: ok},
		"half a star":   {Name: "notify/a", Kinds: []string{"a.b*"}, Handle: ok},
		"overlapping":   {Name: "notify/a", Kinds: []string{"a.b", "a.*"}, Handle: ok},
		"rest in midst": {Name: "notify/a", Kinds: []string{"a.>.b"}, Handle: ok},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := kerneltest.Open(t, db.SQLite, parts...)
			b := event.New(d, kerneltest.NewLog(t, d), event.Config{})
			defer func() {
				if recover() == nil {
					t.Error("accepted")
				}
			}()
			b.Subscribe(s)
		})
	}
}
