// Package job does work in the background that outlives the request that asked for it, and the process too.
//
// A job is a row. A worker takes it with a lease, which it renews while it works; when the process dies the lease runs out and another worker begins the job again,
// so a [Kind]'s Run must be repeatable. A failed run is tried again with growing pauses, up to MaxAttempts. [Every] makes work that comes round by
// the clock: of several processes one does it, and what was missed while none ran is done once.
//
// Jobs are bookkeeping: what they change is covered by the log where they change it. The actor of a job is the program ("系统（…）"), acting for the account in
// [Run.CreatedBy]; a Run that acts in a person's name checks that person's rights when it is enqueued.
package job

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the tables of jobs.
var Migrations = db.Migrations{Part: "job", Files: files}

// State is where a job stands.
type State string

// The states.
const (
	Queued    State = "queued"    // 等待
	Running   State = "running"   // 进行中
	Done      State = "done"      // 已完成
	Failed    State = "failed"    // 失败
	Cancelled State = "cancelled" // 已取消
)

// Kind is a sort of job.
type Kind struct {
	Name        string // "enterprise.import"
	Title       string // "导入企业"
	Timeout     time.Duration
	MaxAttempts int // 0: 3
	// Run does the work. It may be called again after a crash or an error. An errs.Error's message is shown to the owner.
	Run func(ctx context.Context, r *Run) error
}

// Every is work that comes round.
type Every struct {
	Name     string // "file.sweep"
	Interval time.Duration
	DailyAt  string // "03:00" in clock.Zone; used when Interval is zero
	Run      func(ctx context.Context) error
}

// Job is a job as people see it.
type Job struct {
	bun.BaseModel `bun:"table:job_run,alias:r" json:"-"`

	ID         string    `bun:"id,pk" json:"id"`
	Kind       string    `bun:"kind" json:"kind"`
	Title      string    `bun:"title" json:"title"`
	Key        string    `bun:"key" json:"-"`
	Args       string    `bun:"args" json:"-"`
	State      State     `bun:"state" json:"state" enum:"queued,running,done,failed,cancelled"`
	Progress   int64     `bun:"progress" json:"progress"`
	Total      int64     `bun:"total" json:"total" doc:"0 表示未知"`
	Message    string    `bun:"message" json:"message" doc:"当前进展"`
	Result     string    `bun:"result" json:"result" doc:"结果（JSON），空表示没有"`
	Error      string    `bun:"error" json:"error" doc:"失败原因"`
	Attempts   int       `bun:"attempts" json:"attempts"`
	RunAt      time.Time `bun:"run_at" json:"runAt"`
	LeaseUntil string    `bun:"lease_until" json:"-"`
	Worker     string    `bun:"worker" json:"-"`
	CreatedBy  string    `bun:"created_by" json:"createdBy"`
	CreatedAt  time.Time `bun:"created_at" json:"createdAt"`
	StartedAt  time.Time `bun:"started_at,nullzero" json:"startedAt,omitzero"`
	FinishedAt time.Time `bun:"finished_at,nullzero" json:"finishedAt,omitzero"`
}

// Options say how a job is enqueued.
type Options struct {
	At  time.Time // not before; zero: at once
	Key string    // at most one job of a kind with this key waits or runs; empty: no limit
}

// Run is a job under way.
type Run struct {
	Job
	queue *Queue

	mu      sync.Mutex
	written time.Time
	result  string
}

// Decode reads the arguments into v.
func (r *Run) Decode(v any) error { return json.Unmarshal([]byte(r.Args), v) }

// Report says how far the work has come; total 0 means unknown. It is cheap: it is written down at most twice a second.
func (r *Run) Report(ctx context.Context, done, total int64, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.written) < 500*time.Millisecond {
		return
	}
	r.written = time.Now()
	err := r.queue.exec(context.WithoutCancel(ctx), `UPDATE job_run SET progress = ?, total = ?, message = ? WHERE id = ? AND worker = ?`, done, total, message, r.ID, r.queue.worker)
	if err != nil {
		r.queue.log.WarnContext(ctx, "job progress", "job", r.ID, "error", err)
	}
}

// SetResult keeps a result for the owner; it is marshalled to JSON and stored when the run succeeds.
func (r *Run) SetResult(v any) error {
	b, err := json.Marshal(v)
	r.mu.Lock()
	r.result = string(b)
	r.mu.Unlock()
	return err
}

// Queue is the jobs of one installation. It is safe for concurrent use.
type Queue struct {
	db     *db.DB
	log    *slog.Logger
	worker string
	kinds  map[string]Kind
	every  []Every
	wake   chan struct{}

	mu      sync.Mutex
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	running map[string]context.CancelCauseFunc

	// Lease is how long a worker may be silent before its job is taken over. Set it before Start.
	Lease time.Duration
	// Workers is how many jobs run at once in this process. Set it before Start.
	Workers int
}

// New returns the queue in d. Declare kinds and schedules before Start.
func New(d *db.DB, log *slog.Logger) *Queue {
	return &Queue{db: d, log: log, worker: d.Clock.NewID(), kinds: map[string]Kind{}, wake: make(chan struct{}, 1),
		running: map[string]context.CancelCauseFunc{}, Lease: 30 * time.Second, Workers: 2}
}

// Declare adds kinds of jobs. It panics on a name that is taken.
func (q *Queue) Declare(kinds ...Kind) {
	for _, k := range kinds {
		if _, taken := q.kinds[k.Name]; taken || k.Run == nil {
			panic("job: kind " + k.Name + " twice or without Run")
		}
		if k.MaxAttempts == 0 {
			k.MaxAttempts = 3
		}
		q.kinds[k.Name] = k
	}
}

// Schedule adds work that comes round. It panics on a name that is taken or a time that is none.
func (q *Queue) Schedule(every ...Every) {
	for _, e := range every {
		if slices.ContainsFunc(q.every, func(o Every) bool { return o.Name == e.Name }) {
			panic("job: two schedules " + e.Name)
		}
		if _, err := time.Parse("15:04", e.DailyAt); e.Interval <= 0 && err != nil {
			panic("job: schedule " + e.Name + " has neither interval nor time of day")
		}
		q.every = append(q.every, e)
	}
}

// ErrQueued says that a job with the same key waits or runs already.
var ErrQueued = errs.Conflict("job.queued", "同样的任务正在进行，请等它完成。")

// Enqueue adds a job for the actor in ctx, in the transaction that ctx is in, or in one of its own.
func (q *Queue) Enqueue(ctx context.Context, kind string, args any, o Options) (*Job, error) {
	k, ok := q.kinds[kind]
	if !ok {
		return nil, fmt.Errorf("job kind %q is not declared", kind)
	}
	b, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", kind, err)
	}
	now := q.db.Clock.Now()
	if o.At.IsZero() {
		o.At = now
	}
	j := &Job{ID: q.db.Clock.NewID(), Kind: kind, Title: k.Title, Key: o.Key, Args: string(b), State: Queued, RunAt: o.At, CreatedBy: actor.From(ctx).ID, CreatedAt: now}
	err = q.db.Tx(ctx, func(ctx context.Context) error {
		if o.Key != "" { // asked before, since a violated key would spoil the caller's transaction
			n, err := q.db.Conn(ctx).NewSelect().Model((*Job)(nil)).Where("kind = ? AND key = ? AND state IN ('queued', 'running')", kind, o.Key).Count(ctx)
			if err != nil || n > 0 {
				return errors.Join(err, ErrQueued)
			}
		}
		_, err := q.db.Conn(ctx).NewInsert().Model(j).Exec(ctx)
		if _, taken := db.UniqueViolation(err); taken {
			return ErrQueued.Because(err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	q.db.AfterCommit(ctx, q.poke)
	return j, nil
}

func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default: // one is already waiting
	}
}

// Get returns the job with the id, if the actor owns it or may operate all of them; otherwise a not-found error.
func (q *Queue) Get(ctx context.Context, id string) (*Job, error) {
	j := new(Job)
	err := q.db.Conn(ctx).NewSelect().Model(j).Where("r.id = ?", id).Scan(ctx)
	if errors.Is(err, db.ErrNoRows) || err == nil && !q.mine(ctx, j) {
		return nil, errs.NotFound("job.notFound", "没有这个任务，或不是您发起的。")
	}
	return j, err
}

// Operate is the permission to see and cancel everybody's jobs (their metadata, not their results).
const Operate = "job.operate"

func (q *Queue) mine(ctx context.Context, j *Job) bool {
	a := actor.From(ctx)
	if a.Can(Operate) {
		if j.CreatedBy != a.ID {
			j.Result = "" // what a job brought to light is its owner's business
		}
		return true
	}
	return a.ID != "" && j.CreatedBy == a.ID
}

// List returns the newest jobs: the actor's own, or everybody's for an operator.
func (q *Queue) List(ctx context.Context, limit int) ([]*Job, error) {
	jobs := []*Job{}
	s := q.db.Conn(ctx).NewSelect().Model(&jobs).Order("r.created_at DESC").Limit(int64(min(max(limit, 1), 200)))
	if !actor.From(ctx).Can(Operate) {
		s = s.Where("r.created_by = ?", actor.From(ctx).ID)
	}
	if err := s.Scan(ctx); err != nil {
		return nil, err
	}
	for _, j := range jobs {
		q.mine(ctx, j)
	}
	return jobs, nil
}

// Cancel ends a job that waits or runs. A running one is told at its next renewal at the latest.
func (q *Queue) Cancel(ctx context.Context, id string) (*Job, error) {
	j, err := q.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if j.State != Queued && j.State != Running {
		return nil, errs.Conflict("job.ended", "任务已经结束，不能取消。")
	}
	now := q.db.Clock.Now()
	if err := q.exec(ctx, `UPDATE job_run SET state = 'cancelled', finished_at = ? WHERE id = ? AND state IN ('queued', 'running')`, now, id); err != nil {
		return nil, err
	}
	q.stop(id)
	return q.Get(ctx, id)
}

func (q *Queue) stop(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if cancel := q.running[id]; cancel != nil {
		cancel(errCancelled)
	}
}

func (q *Queue) exec(ctx context.Context, stmt string, args ...any) error {
	return q.db.Tx(ctx, func(ctx context.Context) error {
		_, err := q.db.Conn(ctx).NewRaw(stmt, args...).Exec(ctx)
		return err
	})
}

// Start begins to work. Stop interrupts what runs, which another worker, or this one after a restart, begins again.
func (q *Queue) Start(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.cancel != nil {
		return nil
	}
	ctx, q.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for range q.Workers {
		q.tasks.Go(func() { q.work(ctx) })
	}
	q.tasks.Go(func() { q.tick(ctx) })
	return nil
}

// Stop ends the workers and waits for them.
func (q *Queue) Stop() {
	q.mu.Lock()
	cancel := q.cancel
	q.cancel = nil
	q.mu.Unlock()
	if cancel != nil {
		cancel()
		q.tasks.Wait()
	}
}

func (q *Queue) work(ctx context.Context) {
	poll := time.NewTicker(time.Second)
	defer poll.Stop()
	for ctx.Err() == nil {
		j, err := q.claim(ctx)
		if err != nil && ctx.Err() == nil {
			q.log.WarnContext(ctx, "claim job", "error", err)
		}
		if j != nil {
			q.poke() // there may be more, for the other workers
			q.run(ctx, j)
			continue
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-poll.C:
		}
	}
}

// claim takes the next job that waits, or whose worker has fallen silent.
func (q *Queue) claim(ctx context.Context) (*Job, error) {
	now := q.db.Clock.Now()
	// Reading first keeps an idle queue from writing once a second.
	var waiting int
	const due = `kind IN (?) AND ((state = 'queued' AND run_at <= ?) OR (state = 'running' AND lease_until < ?))`
	kinds := bun.List(slices.Collect(maps.Keys(q.kinds))) // what a newer program enqueued is for the newer program
	if len(q.kinds) == 0 {
		return nil, nil
	}
	if err := q.db.Conn(ctx).NewRaw(`SELECT count(*) FROM (SELECT 1 FROM job_run WHERE `+due+` LIMIT 1) AS t`,
		kinds, now, lease(time.Now())).Scan(ctx, &waiting); err != nil || waiting == 0 {
		return nil, err
	}
	skip := ""
	if q.db.Engine == db.Postgres {
		skip = "FOR UPDATE SKIP LOCKED"
	}
	j := new(Job)
	err := q.db.Tx(ctx, func(ctx context.Context) error {
		return q.db.Conn(ctx).NewRaw(`UPDATE job_run SET state = 'running', worker = ?, lease_until = ?, attempts = attempts + 1, started_at = ?, error = ''
			WHERE id = (SELECT id FROM job_run WHERE `+due+` ORDER BY run_at, id LIMIT 1 `+skip+`)
			RETURNING *`, q.worker, lease(time.Now().Add(q.Lease)), now, kinds, now, lease(time.Now())).Scan(ctx, j)
	})
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil
	}
	return j, err
}

// lease formats the end of a lease. Leases run by the machine's own time, even when the program's clock is held.
func lease(t time.Time) string { return db.FormatTime(t) }

var (
	errCancelled = errors.New("cancelled by its owner")
	errLost      = errors.New("the lease was lost to another worker")
)

func (q *Queue) run(ctx context.Context, j *Job) {
	k := q.kinds[j.Kind]
	if j.Attempts > k.MaxAttempts {
		// Its process died each time, so nobody was left to say that it failed.
		q.finish(ctx, j, Failed, "", "任务多次中断，已停止重试，请联系系统管理员（任务 "+j.ID+"）。")
		return
	}
	work, cancel := context.WithCancelCause(actor.AsSystem(ctx, j.Kind))
	if k.Timeout > 0 {
		var stop context.CancelFunc
		work, stop = context.WithTimeout(work, k.Timeout)
		defer stop()
	}
	q.mu.Lock()
	q.running[j.ID] = cancel
	q.mu.Unlock()
	renewed := make(chan struct{})
	go q.renew(work, j, cancel, renewed)
	r := &Run{Job: *j, queue: q}
	err := safely(work, k.Run, r)
	cause := context.Cause(work)
	cancel(nil)
	<-renewed
	q.mu.Lock()
	delete(q.running, j.ID)
	q.mu.Unlock()

	switch {
	case err == nil:
		q.finish(ctx, j, Done, r.result, "")
	case errors.Is(cause, errCancelled), errors.Is(cause, errLost):
		// the row says already what became of it
	case ctx.Err() != nil:
		// The process stops: give the job back at once, and do not count the attempt.
		q.settle(context.WithoutCancel(ctx), j, `UPDATE job_run SET state = 'queued', lease_until = '', attempts = attempts - 1 WHERE id = ? AND worker = ? AND state = 'running'`, j.ID, q.worker)
	default:
		q.failed(ctx, j, k, err)
	}
}

func safely(ctx context.Context, run func(ctx context.Context, r *Run) error, r *Run) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return run(ctx, r)
}

// renew keeps the lease while the job runs, and notices a cancellation by another process.
func (q *Queue) renew(ctx context.Context, j *Job, cancel context.CancelCauseFunc, done chan struct{}) {
	defer close(done)
	t := time.NewTicker(q.Lease / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		var state State
		var worker string
		err := q.db.Tx(context.WithoutCancel(ctx), func(ctx context.Context) error {
			return q.db.Conn(ctx).NewRaw(`UPDATE job_run SET lease_until = ? WHERE id = ? RETURNING state, worker`, lease(time.Now().Add(q.Lease)), j.ID).Scan(ctx, &state, &worker)
		})
		switch {
		case err != nil:
			q.log.WarnContext(ctx, "renew job", "job", j.ID, "error", err)
		case state == Cancelled:
			cancel(errCancelled)
		case worker != q.worker:
			cancel(errLost)
		}
	}
}

func (q *Queue) failed(ctx context.Context, j *Job, k Kind, err error) {
	q.log.WarnContext(ctx, "job failed", "job", j.ID, "kind", j.Kind, "attempt", j.Attempts, "error", err)
	message := "系统内部错误，请联系系统管理员（任务 " + j.ID + "）。"
	e := errs.As(db.Translate(err))
	if e != nil {
		message = e.Message
	}
	final := e != nil && e.Kind != errs.KindUnavailable && e.Kind != errs.KindInternal // trying again will not help
	if final || j.Attempts >= k.MaxAttempts {
		q.finish(ctx, j, Failed, "", message)
		return
	}
	pause := time.Second << min(j.Attempts*2, 10)
	q.settle(ctx, j, `UPDATE job_run SET state = 'queued', lease_until = '', run_at = ?, error = ? WHERE id = ? AND worker = ? AND state = 'running'`,
		q.db.Clock.Now().Add(pause), message, j.ID, q.worker)
}

func (q *Queue) finish(ctx context.Context, j *Job, s State, result, message string) {
	q.settle(context.WithoutCancel(ctx), j, `UPDATE job_run SET state = ?, result = ?, error = ?, lease_until = '', finished_at = ?, progress = CASE WHEN ? = 'done' THEN total ELSE progress END
		WHERE id = ? AND worker = ? AND state = 'running'`, s, result, message, q.db.Clock.Now(), s, j.ID, q.worker)
}

// settle writes what became of a job. When the database is away the lease runs out and the job is begun again: it is repeatable.
func (q *Queue) settle(ctx context.Context, j *Job, stmt string, args ...any) {
	if err := q.exec(ctx, stmt, args...); err != nil {
		q.log.ErrorContext(ctx, "settle job", "job", j.ID, "error", err)
	}
}

// tick runs what comes round.
func (q *Queue) tick(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		for _, e := range q.every {
			if ctx.Err() != nil {
				return
			}
			if err := q.Tick(ctx, e); err != nil && ctx.Err() == nil {
				q.log.WarnContext(ctx, "scheduled work", "name", e.Name, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// overdue is after how long a scheduled run that did not say it was done is taken for dead, and is begun again.
const overdue = 30 * time.Minute

// Tick runs e if it is due and no other process took it; a run that fails is tried again after five minutes. It is called by the queue itself; a test or the demo with a held clock calls it to do what has come due.
func (q *Queue) Tick(ctx context.Context, e Every) error {
	now := q.db.Clock.Now()
	var next string
	err := q.db.Conn(ctx).NewRaw("SELECT next_at FROM job_schedule WHERE name = ?", e.Name).Scan(ctx, &next)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return err
	}
	if next > db.FormatTime(now) {
		return nil
	}
	taken := false
	if err := q.db.Tx(ctx, func(ctx context.Context) error {
		res, err := q.db.Conn(ctx).NewRaw(`INSERT INTO job_schedule (name, next_at) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET next_at = excluded.next_at WHERE job_schedule.next_at = ?`, e.Name, now.Add(overdue), next).Exec(ctx)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		taken = n == 1
		return err
	}); err != nil || !taken {
		return err
	}
	failure := safely(actor.AsSystem(ctx, e.Name), func(ctx context.Context, _ *Run) error { return e.Run(ctx) }, nil)
	again := e.next(now)
	if failure != nil {
		again = now.Add(5 * time.Minute)
	}
	return errors.Join(failure, q.exec(context.WithoutCancel(ctx), `UPDATE job_schedule SET next_at = ? WHERE name = ?`, again, e.Name))
}

// next is when e comes round after now.
func (e Every) next(now time.Time) time.Time {
	if e.Interval > 0 {
		return now.Add(e.Interval)
	}
	at, _ := time.Parse("15:04", e.DailyAt) // checked by Schedule
	day := clock.Day(now)
	for {
		if t := time.Date(day.Year(), day.Month(), day.Day(), at.Hour(), at.Minute(), 0, 0, clock.Zone); t.After(now) {
			return t.UTC()
		}
		day = day.AddDate(0, 0, 1)
	}
}

// Sweep forgets jobs that ended longer than age ago.
func (q *Queue) Sweep(ctx context.Context, age time.Duration) error {
	return q.exec(ctx, `DELETE FROM job_run WHERE state IN ('done', 'failed', 'cancelled') AND finished_at < ?`, q.db.Clock.Now().Add(-age))
}
