package job_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/job"
	"anwang/internal/kernel/kerneltest"
)

func queue(d *db.DB) *job.Queue {
	q := job.New(d, slog.New(slog.DiscardHandler))
	q.Lease = 300 * time.Millisecond
	return q
}

func as(ctx context.Context, id string, permissions ...string) context.Context {
	return actor.With(ctx, &actor.Actor{Kind: actor.Person, ID: id, Grants: []actor.Grant{{Permissions: permissions}}})
}

func each(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Parallel()
	kerneltest.EachEngine(t, []db.Migrations{job.Migrations}, func(t *testing.T, d *db.DB) {
		d.Clock = clock.System()
		test(t, d)
	})
}

func await(t *testing.T, q *job.Queue, ctx context.Context, id string, want job.State) *job.Job {
	t.Helper()
	var j *job.Job
	kerneltest.Eventually(t, "job becomes "+string(want), func() bool {
		var err error
		if j, err = q.Get(ctx, id); err != nil {
			t.Fatal(err)
		}
		return j.State == want
	})
	return j
}

func TestRun(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		q := queue(d)
		var tries atomic.Int32
		q.Declare(
			job.Kind{Name: "sum", Title: "求和", Run: func(ctx context.Context, r *job.Run) error {
				var args struct{ A, B int }
				if err := r.Decode(&args); err != nil {
					return err
				}
				r.Report(ctx, 1, 2, "一半")
				return r.SetResult(args.A + args.B)
			}},
			job.Kind{Name: "refuse", Run: func(context.Context, *job.Run) error { return errs.Invalid("x.bad", "文件有误。") }},
			job.Kind{Name: "flaky", MaxAttempts: 2, Run: func(context.Context, *job.Run) error {
				if tries.Add(1) == 1 {
					panic("first time")
				}
				return nil
			}},
			job.Kind{Name: "broken", MaxAttempts: 1, Run: func(context.Context, *job.Run) error { return errors.New("hunter2") }},
		)
		if err := q.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(q.Stop)
		ctx := as(t.Context(), "a1")
		put := func(kind string, args any) *job.Job {
			j, err := q.Enqueue(ctx, kind, args, job.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return j
		}
		if j := await(t, q, ctx, put("sum", map[string]int{"A": 2, "B": 3}).ID, job.Done); j.Result != "5" || j.Progress != j.Total {
			t.Errorf("sum: %+v", j)
		}
		if j := await(t, q, ctx, put("refuse", nil).ID, job.Failed); j.Error != "文件有误。" || j.Attempts != 1 {
			t.Errorf("refuse: %+v", j)
		}
		if j := await(t, q, ctx, put("broken", nil).ID, job.Failed); j.Error == "" || j.Error == "hunter2" {
			t.Errorf("broken: %+v", j)
		}
		if j := await(t, q, ctx, put("flaky", nil).ID, job.Done); j.Attempts != 2 {
			t.Errorf("flaky: %+v", j)
		}
		if _, err := q.Enqueue(ctx, "unknown", nil, job.Options{}); err == nil {
			t.Error("an unknown kind was taken")
		}
		if err := d.Tx(ctx, func(ctx context.Context) error {
			if _, err := q.Enqueue(ctx, "sum", nil, job.Options{}); err != nil {
				return err
			}
			return errors.New("rolled back")
		}); err == nil {
			t.Error("no error")
		}
		if jobs, err := q.List(ctx, 100); err != nil || len(jobs) != 4 {
			t.Errorf("%d jobs, %v: a job outlived its transaction", len(jobs), err)
		}
	})
}

func TestOwnersAndKeys(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		q := queue(d)
		q.Declare(job.Kind{Name: "wait", Run: func(ctx context.Context, r *job.Run) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		mine, other, operator := as(t.Context(), "a1"), as(t.Context(), "a2"), as(t.Context(), "a3", job.Operate)
		j, err := q.Enqueue(mine, "wait", nil, job.Options{Key: "one"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.Enqueue(mine, "wait", nil, job.Options{Key: "one"}); !errors.Is(err, job.ErrQueued) {
			t.Errorf("same key: %v", err)
		}
		if _, err := q.Get(other, j.ID); errs.KindOf(err) != errs.KindNotFound {
			t.Errorf("another's job: %v", err)
		}
		if _, err := q.Cancel(other, j.ID); errs.KindOf(err) != errs.KindNotFound {
			t.Errorf("another's cancel: %v", err)
		}
		if _, err := q.Get(t.Context(), j.ID); errs.KindOf(err) != errs.KindNotFound {
			t.Errorf("nobody: %v", err)
		}
		if jobs, err := q.List(other, 10); err != nil || len(jobs) != 0 {
			t.Errorf("another's list: %v %v", jobs, err)
		}
		if jobs, err := q.List(operator, 10); err != nil || len(jobs) != 1 {
			t.Errorf("operator's list: %v %v", jobs, err)
		}
		if err := q.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(q.Stop)
		await(t, q, mine, j.ID, job.Running)
		if _, err := q.Cancel(mine, j.ID); err != nil {
			t.Fatal(err)
		}
		await(t, q, mine, j.ID, job.Cancelled)
		if _, err := q.Enqueue(mine, "wait", nil, job.Options{Key: "one"}); err != nil {
			t.Errorf("the key is free again: %v", err)
		}
	})
}

// A worker that falls silent loses its job to another; one that is stopped gives it back.
func TestTakeOver(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		ctx := as(t.Context(), "a1")
		started := make(chan struct{}, 10)
		block := func(ctx context.Context, _ *job.Run) error {
			started <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
		first := queue(d)
		first.Declare(job.Kind{Name: "long", Run: block})
		j, err := first.Enqueue(ctx, "long", nil, job.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-started
		first.Stop()
		first.Stop()
		if j, err = first.Get(ctx, j.ID); err != nil || j.State != job.Queued || j.Attempts != 0 {
			t.Errorf("after stop: %+v, %v", j, err)
		}
		// As after kill -9: the row says running, and nobody renews.
		if err := d.Tx(ctx, func(ctx context.Context) error {
			_, err := d.Conn(ctx).NewRaw("UPDATE job_run SET state = 'running', worker = 'dead', lease_until = ?", db.FormatTime(time.Now().Add(200*time.Millisecond))).Exec(ctx)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		second := queue(d)
		second.Declare(job.Kind{Name: "long", Run: func(context.Context, *job.Run) error { return nil }})
		if err := second.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(second.Stop)
		await(t, second, ctx, j.ID, job.Done)
	})
}

// Each job runs once, however many workers in however many processes.
func TestManyWorkers(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		var mu sync.Mutex
		ran := map[string]int{}
		var queues []*job.Queue
		for range 3 {
			q := job.New(d, slog.New(slog.DiscardHandler))
			q.Workers = 4
			q.Declare(job.Kind{Name: "count", Run: func(_ context.Context, r *job.Run) error {
				mu.Lock()
				defer mu.Unlock()
				ran[r.ID]++
				return nil
			}})
			queues = append(queues, q)
		}
		ctx := as(t.Context(), "a1")
		for range 60 {
			if _, err := queues[0].Enqueue(ctx, "count", nil, job.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, q := range queues {
			if err := q.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(q.Stop)
		}
		kerneltest.Eventually(t, "all jobs ran", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(ran) == 60
		})
		for id, n := range ran {
			if n != 1 {
				t.Errorf("%s ran %d times", id, n)
			}
		}
	})
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, []db.Migrations{job.Migrations}, func(t *testing.T, d *db.DB) {
		n := 0
		daily := job.Every{Name: "daily", DailyAt: "03:00", Run: func(context.Context) error { n++; return nil }}
		q := queue(d)
		q.Schedule(daily)
		tick := func(want int, what string) {
			t.Helper()
			for range 3 {
				if err := q.Tick(t.Context(), daily); err != nil {
					t.Fatal(err)
				}
			}
			if n != want {
				t.Errorf("%s: ran %d times, want %d", what, n, want)
			}
		}
		tick(1, "at first")
		d.Clock.Advance(14 * time.Hour)
		tick(1, "before three")
		d.Clock.Advance(2 * time.Hour)
		tick(2, "after three")
		d.Clock.Advance(100 * time.Hour)
		tick(3, "after four days away")
		failing := job.Every{Name: "failing", Interval: time.Hour, Run: func(context.Context) error { panic("no") }}
		if err := q.Tick(t.Context(), failing); err == nil {
			t.Error("a panic was swallowed")
		}
	})
}
