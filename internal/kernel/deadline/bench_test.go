package deadline_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/record"
)

func engines(b *testing.B, run func(b *testing.B, e db.Engine)) {
	for _, e := range []db.Engine{db.SQLite, db.Postgres} {
		b.Run(string(e), func(b *testing.B) { run(b, e) })
	}
}

func BenchmarkSeed(b *testing.B) {
	engines(b, func(b *testing.B, e db.Engine) {
		for b.Loop() {
			b.StopTimer()
			d := kerneltest.Open(b, e, parts...)
			book := deadline.New(d, kerneltest.NewLog(b, d), &record.Registry{})
			book.Declare(rules...)
			b.StartTimer()
			if err := book.Seed(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkStart(b *testing.B) {
	engines(b, func(b *testing.B, e db.Engine) {
		o := open(b, kerneltest.Open(b, e, parts...))
		n := 0
		for b.Loop() {
			if n++; second(o.Start(system(b), input(n, "hiddendanger.rectify"))) != nil {
				b.Fatal(n)
			}
		}
	})
}

// crowd is a book with 100,000 open deadlines that end on the working days of a year, 400 a day.
func crowd(b *testing.B, e db.Engine) *office {
	b.Helper()
	o := open(b, kerneltest.Open(b, e, parts...))
	const n, chunk = 100_000, 1000
	for first := 0; first < n; first += chunk {
		if err := o.db.Tx(system(b), func(ctx context.Context) error {
			items := make([]*deadline.Item, 0, chunk)
			var sample *deadline.Item
			for i := range chunk {
				if i%250 == 0 { // through the front door, for the rest to be like it
					in := input(first+i, []string{"hiddendanger.rectify", "enforcement.service"}[i/250%2])
					in.At = kerneltest.Noon.AddDate(0, 0, (first+i)/400)
					var err error
					if sample, err = o.Start(ctx, in); err != nil {
						return err
					}
					continue
				}
				it := *sample
				it.ID, it.Ref = o.db.Clock.NewID(), on(first+i)
				items = append(items, &it)
			}
			_, err := o.db.Conn(ctx).NewInsert().Model(&items).Exec(ctx)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := o.Recompute(b.Context()); err != nil {
		b.Fatal(err)
	}
	if _, err := o.Sweep(b.Context()); err != nil {
		b.Fatal(err)
	}
	return o
}

// beside measures the longest wait of somebody else who writes all the time, while work runs.
func beside(b *testing.B, o *office, work func() int) (n int, took, wait time.Duration) {
	b.Helper()
	var longest atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			begun := time.Now()
			if err := o.db.Tx(context.Background(), func(ctx context.Context) error {
				_, err := o.db.Conn(ctx).NewRaw("UPDATE db_setting SET value = ? WHERE name = 'bench'", fmt.Sprint(i)).Exec(ctx)
				return err
			}); err != nil {
				b.Error(err)
			}
			longest.Store(max(longest.Load(), int64(time.Since(begun))))
		}
	}()
	begun := time.Now()
	n = work()
	took = time.Since(begun)
	close(stop)
	<-done
	return n, took, time.Duration(longest.Load())
}

// BenchmarkCrowd sweeps and recomputes 100,000 open deadlines once each; run it with -benchtime 1x.
func BenchmarkCrowd(b *testing.B) {
	engines(b, func(b *testing.B, e db.Engine) {
		o := crowd(b, e)
		sweep := func() int { return must[int](b)(o.Sweep(b.Context())) }
		recompute := func() int { return must[int](b)(o.Recompute(b.Context())) }
		edit := func(date string) func(t *testing.B) {
			return func(b *testing.B) {
				must[*deadline.DayEntry](b)(o.SetDay(system(b), deadline.DayInput{Day: deadline.Day{Date: date, Kind: deadline.Off, Source: "x"}}))
			}
		}
		for _, step := range []struct {
			name string
			prep func(b *testing.B)
			work func() int
		}{
			{"sweep, nothing due", func(*testing.B) {}, sweep},
			{"sweep, a day's rungs", func(b *testing.B) { o.db.Clock.Advance(20 * 24 * time.Hour) }, sweep},
			{"recompute, nothing differs", edit("2026-02-02"), recompute},
			{"recompute, one day off", edit("2026-07-15"), recompute},
			{"recompute, thousands differ", func(b *testing.B) {
				for day := 20; day < 25; day++ {
					edit(fmt.Sprintf("2026-04-%d", day))(b)
				}
			}, recompute},
			{"sweep, four months' standstill", func(b *testing.B) { o.db.Clock.Advance(120 * 24 * time.Hour) }, sweep},
		} {
			b.Run(step.name, func(b *testing.B) {
				for range b.N {
					b.StopTimer()
					step.prep(b)
					b.StartTimer()
					n, took, wait := beside(b, o, step.work)
					b.ReportMetric(float64(n), "moved")
					b.ReportMetric(float64(took.Milliseconds()), "ms")
					b.ReportMetric(float64(wait.Milliseconds()), "ms-longest-wait")
					if n > 0 {
						b.ReportMetric(float64(took.Microseconds())/float64(n), "µs/moved")
					}
				}
			})
		}
	})
}
