package job_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/job"
	"anwang/internal/kernel/kerneltest"
)

const childTarget = "ANWANG_TEST_JOB_TARGET"

func TestMain(m *testing.M) {
	if target := os.Getenv(childTarget); target != "" {
		if err := child(target); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// child works on the queue until it is killed, or its parent ends.
func child(target string) error {
	d, err := db.Open(context.Background(), target, clock.System())
	if err != nil {
		return err
	}
	q := queue(d)
	q.Declare(step(d))
	if err := q.Start(context.Background()); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// step is a job that takes a moment, in which its process may be killed, and says in which attempt it came to its end.
func step(d *db.DB) job.Kind {
	return job.Kind{Name: "test.step", Title: "步骤", MaxAttempts: 100, Run: func(ctx context.Context, r *job.Run) error {
		if err := r.SetResult(r.Attempts); err != nil {
			return err
		}
		r.Report(ctx, 1, 2, "一半")
		timer := time.NewTimer(3 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		}
	}}
}

// A process killed at any moment, again and again, while it works: every job comes to its end, those that were under way in another attempt.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			target := kerneltest.Target(t, engine)
			d, err := db.Open(t.Context(), target, clock.System())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			if err := d.Migrate(t.Context(), "341722", job.Migrations); err != nil {
				t.Fatal(err)
			}
			q := queue(d)
			q.Declare(step(d))
			const all = 400
			if err := d.Tx(as(t.Context(), "a1"), func(ctx context.Context) error {
				for range all {
					if _, err := q.Enqueue(ctx, "test.step", nil, job.Options{}); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			done := func() (n int) {
				if err := d.Conn(t.Context()).NewRaw("SELECT count(*) FROM job_run WHERE state = 'done'").Scan(t.Context(), &n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			kills := 0
			for done() < all {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), childTarget+"="+target)
				cmd.Stderr = os.Stderr
				if _, err := cmd.StdinPipe(); err != nil { // closed when this process ends
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				until := min(done()+70, all)
				for deadline := time.Now().Add(30 * time.Second); done() < until; time.Sleep(2 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("stuck at %d of %d jobs", done(), all)
					}
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() == 1 {
					t.Fatalf("the child ended by itself: %v", err)
				}
				kills++
			}
			var jobs []struct {
				Attempts int
				Result   string
			}
			if err := d.Conn(t.Context()).NewRaw("SELECT attempts, result FROM job_run").Scan(t.Context(), &jobs); err != nil {
				t.Fatal(err)
			}
			again := 0
			for _, j := range jobs {
				if j.Result != fmt.Sprint(j.Attempts) {
					t.Errorf("a job ended in attempt %s of %d", j.Result, j.Attempts)
				}
				if j.Attempts > 1 {
					again++
				}
			}
			if len(jobs) != all || kills < 4 || again == 0 || again > kills*q.Workers {
				t.Errorf("%d jobs, %d kills, %d jobs begun again", len(jobs), kills, again)
			}
		})
	}
}

func benchEngines(b *testing.B, run func(b *testing.B, d *db.DB)) {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		b.Run(string(engine), func(b *testing.B) { run(b, kerneltest.Open(b, engine, job.Migrations)) })
	}
}

func nothing() job.Kind {
	return job.Kind{Name: "test.nothing", Title: "空任务", Run: func(context.Context, *job.Run) error { return nil }}
}

// BenchmarkEnqueue adds jobs one by one, each in its own transaction.
func BenchmarkEnqueue(b *testing.B) {
	benchEngines(b, func(b *testing.B, d *db.DB) {
		q := job.New(d, slog.New(slog.DiscardHandler))
		q.Declare(nothing())
		for b.Loop() {
			if _, err := q.Enqueue(b.Context(), "test.nothing", nil, job.Options{}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	})
}

// BenchmarkRun works off a backlog of jobs that do nothing, with two workers.
func BenchmarkRun(b *testing.B) {
	benchEngines(b, func(b *testing.B, d *db.DB) {
		q := job.New(d, slog.New(slog.DiscardHandler))
		q.Declare(nothing())
		if err := d.Tx(b.Context(), func(ctx context.Context) error {
			for range b.N {
				if _, err := q.Enqueue(ctx, "test.nothing", nil, job.Options{}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		if err := q.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		for left := 1; left > 0; time.Sleep(5 * time.Millisecond) {
			if err := d.Conn(b.Context()).NewRaw("SELECT count(*) FROM job_run WHERE state <> 'done'").Scan(b.Context(), &left); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
		q.Stop()
	})
}
