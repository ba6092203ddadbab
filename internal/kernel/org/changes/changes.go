// Package changes tells every process of an installation which things were edited, so that what is held in memory is as fresh as the
// database without asking it for every look-up.
//
// Whoever edits calls [Feed.Publish] in the transaction of the edit. Whoever reads a cache calls [Feed.Check] first: it costs
// nothing most of the time, asks the database for news at most once per [Patience], and at once when this process itself has
// published something since. So an edit is seen at once by the process that made it, and within Patience by all others.
//
// A part that uses a feed makes two tables in its migration, part_revision and part_change:
//
//	CREATE TABLE part_revision (name codetext PRIMARY KEY, n BIGINT NOT NULL);
//	INSERT INTO part_revision (name, n) VALUES ('change', 0);
//	CREATE TABLE part_change (n BIGINT PRIMARY KEY, subject codetext NOT NULL);
//
// Publish holds the one row of part_revision until its transaction ends. That gives the changes numbers in the order of their commits,
// and makes the edits of a part wait for each other on PostgreSQL: a feed is for what people administer, not for what flows.
package changes

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/db"
)

// Patience is how long another process may go on with what it knew.
const Patience = time.Second

// Everything is the subject that stands for all of them: the reader cannot tell what changed and must forget it all.
const Everything = ""

// kept is how many changes stay in the table. A process that has missed more is told Everything.
const kept = 10_000

// Feed is the news of one part. It is safe for concurrent use.
type Feed struct {
	db               *db.DB
	revision, change bun.Ident

	committed atomic.Int64 // how many changes this process has committed
	told      atomic.Int64 // how many of them were committed before Check last asked; whoever is behind waits for the one who asks
	checked   atomic.Int64 // when Check last asked, in Unix milliseconds

	mu        sync.Mutex // guards what follows, and makes Checks wait for each other
	last      int64      // number of the last change that was told; -1 before the first Check
	followers []func(subject string)
}

// New returns the feed kept in the tables part_revision and part_change.
func New(d *db.DB, part string) *Feed {
	return &Feed{db: d, revision: bun.Ident(part + "_revision"), change: bun.Ident(part + "_change"), last: -1}
}

// Follow has f called, inside some later Check, with the subject of every change. f must be quick and must not call the feed.
func (f *Feed) Follow(follower func(subject string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followers = append(f.followers, follower)
}

// Publish tells all processes, once the transaction that ctx is in has committed, that the subjects have changed. Until then no other
// transaction of this part can publish: call it first where a rule must hold across rows ("the last administrator stays").
func (f *Feed) Publish(ctx context.Context, subjects ...string) error {
	if !f.db.InTx(ctx) {
		panic("changes: Publish outside a transaction")
	}
	if len(subjects) == 0 {
		return nil
	}
	var n int64
	err := f.db.Conn(ctx).NewRaw("UPDATE ? SET n = n + ? WHERE name = 'change' RETURNING n", f.revision, len(subjects)).Scan(ctx, &n)
	if err != nil {
		return fmt.Errorf("publish change: %w", err)
	}
	for i, subject := range subjects {
		at := n - int64(len(subjects)-1-i)
		if _, err := f.db.Conn(ctx).NewRaw("INSERT INTO ? (n, subject) VALUES (?, ?)", f.change, at, subject).Exec(ctx); err != nil {
			return fmt.Errorf("publish change: %w", err)
		}
		if at%1000 == 0 {
			if _, err := f.db.Conn(ctx).NewRaw("DELETE FROM ? WHERE n <= ?", f.change, at-kept).Exec(ctx); err != nil {
				return fmt.Errorf("forget old changes: %w", err)
			}
		}
	}
	f.db.AfterCommit(ctx, func() { f.committed.Add(1) })
	return nil
}

// Check calls the followers for every change that this process has not heard of, when it is time to ask. It sees committed changes only,
// also when ctx is in a transaction.
func (f *Feed) Check(ctx context.Context) error {
	if !f.due() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.due() {
		return nil
	}
	now, committed := f.db.Clock.Now().UnixMilli(), f.committed.Load() // before asking: what commits from here on is news again
	if err := f.read(ctx); err != nil {
		return fmt.Errorf("read changes: %w", err)
	}
	f.checked.Store(now)
	f.told.Store(committed)
	return nil
}

func (f *Feed) due() bool {
	if f.told.Load() < f.committed.Load() {
		return true
	}
	since := f.db.Clock.Now().UnixMilli() - f.checked.Load()
	return since >= Patience.Milliseconds() || since < 0 // the clock was set back
}

func (f *Feed) read(ctx context.Context) error {
	conn := f.db.Conn(context.Background()) // not in ctx, whose transaction sees what is not committed yet
	var now int64
	if err := conn.NewRaw("SELECT n FROM ? WHERE name = 'change'", f.revision).Scan(ctx, &now); err != nil {
		return err
	}
	var subjects []string
	switch {
	case now == f.last:
	case f.last < 0, now-f.last >= kept-1000:
		subjects = []string{Everything}
	default:
		if err := conn.NewRaw("SELECT subject FROM ? WHERE n > ? AND n <= ? ORDER BY n", f.change, f.last, now).Scan(ctx, &subjects); err != nil {
			return err
		}
	}
	f.last = now
	for _, s := range subjects {
		for _, tell := range f.followers {
			tell(s)
		}
	}
	return nil
}
