package event_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/kerneltest"
)

func benchEngines(b *testing.B, run func(b *testing.B, k *kit)) {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		b.Run(string(engine), func(b *testing.B) { run(b, newKit(b, kerneltest.Open(b, engine, parts...))) })
	}
}

// fill commits b.N entries with bodies of about half a kilobyte and waits until they are sequenced.
func (k *kit) fill(b *testing.B) {
	text := "某企业危险化学品仓库未按规定设置防静电接地装置，责令限期整改。"
	text += text + text + text
	for done := 0; done < b.N; {
		n := min(500, b.N-done)
		if err := k.d.Tx(b.Context(), func(ctx context.Context) error {
			for i := range n {
				if err := k.log.Append(ctx, audit.Entry{Kind: "x.done", Title: "测试", RecordType: "test.item", RecordID: "1", Version: 1,
					Body: item{N: int64(done + i), Text: text}}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		done += n
	}
	if err := k.log.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRelay publishes a backlog of the log into the stream.
func BenchmarkRelay(b *testing.B) {
	benchEngines(b, func(b *testing.B, k *kit) {
		k.fill(b)
		bus := k.bus(event.Config{})
		b.ResetTimer()
		k.start(bus)
		js, err := bus.Conn().JetStream()
		if err != nil {
			b.Fatal(err)
		}
		for {
			if info, err := js.StreamInfo("EVENTS"); err == nil && info.State.Msgs == uint64(b.N) {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
}

// BenchmarkHandle relays a backlog and has it handled by one subscription, one at a time, then by one that takes 16 at once.
func BenchmarkHandle(b *testing.B) {
	for name, concurrency := range map[string]int{"one": 1, "sixteen": 16} {
		b.Run(name, func(b *testing.B) {
			benchEngines(b, func(b *testing.B, k *kit) {
				k.fill(b)
				var handled atomic.Int64
				all := make(chan struct{})
				bus := k.bus(event.Config{}, event.Subscription{Name: "test/all", Kinds: []string{">"}, Concurrency: concurrency,
					Handle: func(ctx context.Context, _ event.Event) error {
						k.d.AfterCommit(ctx, func() {
							if handled.Add(1) == int64(b.N) {
								close(all)
							}
						})
						return nil
					}})
				b.ResetTimer()
				k.start(bus)
				<-all
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		})
	}
}

// BenchmarkLatency is the time from the start of a transaction to the effect of its event.
func BenchmarkLatency(b *testing.B) {
	benchEngines(b, func(b *testing.B, k *kit) {
		done := make(chan struct{}, 1)
		bus := k.bus(event.Config{}, event.Subscription{Name: "test/all", Kinds: []string{">"}, Handle: func(ctx context.Context, _ event.Event) error {
			k.d.AfterCommit(ctx, func() { done <- struct{}{} })
			return nil
		}})
		k.start(bus)
		k.emit("x.done", 1)
		<-done
		for b.Loop() {
			k.emit("x.done", 1)
			<-done
		}
	})
}

// BenchmarkStart is the time that Start takes with 50 subscriptions, and until all of them are ready.
func BenchmarkStart(b *testing.B) {
	k := newKit(b, kerneltest.Open(b, db.SQLite, parts...))
	var subs []event.Subscription
	var got sync.WaitGroup
	for i := range 50 {
		subs = append(subs, event.Subscription{Name: "test/s" + string(rune('a'+i%26)) + string(rune('a'+i/26)), Kinds: []string{"x.done"},
			Handle: func(ctx context.Context, _ event.Event) error { k.d.AfterCommit(ctx, got.Done); return nil }})
	}
	bus := k.bus(event.Config{}, subs...)
	for b.Loop() {
		k.start(bus)
		b.StopTimer()
		got.Add(len(subs))
		k.emit("x.done", 1)
		got.Wait()
		bus.Stop()
		b.StartTimer()
	}
}
