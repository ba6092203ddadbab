package deadline

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/record"
)

const (
	batchRows = 32   // items that one transaction writes: about 5 ms, so that others who write hardly wait
	pageRows  = 2000 // items that the walk reads at once
)

// Escalation is the Data of the event "deadline.escalated"; its body is the [Item] after the step. Reminders before the end are rungs too.
type Escalation struct {
	Rung    int       `json:"rung"` // counted from 1
	To      Recipient `json:"to"`
	Title   string    `json:"title"`
	At      time.Time `json:"at"` // when the rung was due, which may be long before it was fired
	Due     time.Time `json:"dueAt"`
	Overdue bool      `json:"overdue"` // the rung lies at or after the end
}

// Recomputation is the Data of the event "deadline.recomputed".
type Recomputation struct {
	From            time.Time `json:"from"`
	To              time.Time `json:"to"`
	WasProvisional  bool      `json:"wasProvisional"`
	Provisional     bool      `json:"provisional"`
	CalendarVersion int64     `json:"calendarVersion"`
}

// Sweep moves every deadline past the rungs whose time has come and returns how many rungs that were. It may run in several
// processes at once. On an error what was committed stays, and the next Sweep goes on from there.
func (b *Book) Sweep(ctx context.Context) (int, error) {
	ctx = asSystem(ctx)
	fired := 0
	for {
		n, err := b.sweepBatch(ctx)
		fired += n
		if err != nil || n == 0 {
			return fired, err
		}
	}
}

// sweepBatch fires one rung each of the deadlines that have waited longest. One with several rungs behind time comes again in the next batch.
func (b *Book) sweepBatch(ctx context.Context) (fired int, err error) {
	err = b.db.Tx(ctx, func(ctx context.Context) error {
		s, err := b.steady(ctx)
		if err != nil {
			return err
		}
		// Rows that another process holds are being moved there, or will be found by the next sweep.
		items, err := b.items.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
			return b.hold(b.bornHere(q), "UPDATE SKIP LOCKED").Where("r.next_at <= ?", b.db.Clock.Now()).Order("r.next_at", "r.id").Limit(batchRows)
		})
		if err != nil {
			return err
		}
		steps := make([]Escalation, len(items))
		for i, it := range items {
			ladder, err := s.ladder(it)
			if err != nil {
				return err
			}
			at := it.NextAt
			rung := it.climb(ladder, ladder.times(it.Due, s.calendar))
			steps[i] = Escalation{Rung: it.Rung, To: rung.To, Title: rung.Title, At: at, Due: it.Due, Overdue: !at.Before(it.Due)}
		}
		batch, err := b.items.PrepareUpdate(ctx, items, func(i int, _ *Item) record.Change {
			return record.Change{Fact: "deadline.escalated", Title: steps[i].Title, Data: steps[i]}
		})
		if err != nil {
			return err
		}
		fired = len(items)
		return batch.Write(ctx)
	})
	if err != nil {
		return 0, err
	}
	return fired, nil
}

// Recompute judges the running deadlines by the calendar as it is now, if that has changed since it was last done, and returns how many came
// out differently. It may run in several processes at once, and after being broken off it is simply done again.
func (b *Book) Recompute(ctx context.Context) (int, error) {
	ctx = asSystem(ctx)
	s, err := b.current(ctx)
	if err != nil {
		return 0, err
	}
	var done int64
	if err := b.db.Conn(ctx).NewRaw("SELECT version FROM deadline_state WHERE name = 'recomputed'").Scan(ctx, &done); err != nil || done >= s.version {
		return 0, err
	}
	changed, left, after := 0, 0, ""
	for {
		page, err := b.page(ctx, after)
		if err != nil {
			return changed, err
		}
		var stale []string
		for _, it := range page {
			if differs, err := s.judgeAgain(it, b.db.Clock.Now()); err != nil {
				return changed, err
			} else if differs {
				stale = append(stale, it.ID)
			}
			after = it.ID
		}
		n, held, err := b.rewrite(ctx, stale)
		changed, left = changed+n, left+held
		if err != nil {
			return changed, err
		}
		if len(page) < pageRows {
			break
		}
	}
	if left > 0 {
		return changed, nil // somebody was just writing these: the walk is not done, and the next call does it again
	}
	return changed, b.db.Tx(ctx, func(ctx context.Context) error {
		_, err := b.db.Conn(ctx).NewRaw("UPDATE deadline_state SET version = ? WHERE name = 'recomputed' AND version < ?", s.version, s.version).Exec(ctx)
		return err
	})
}

// page reads what judging needs of the running items after an id.
func (b *Book) page(ctx context.Context, after string) ([]*Item, error) {
	return b.items.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return b.bornHere(q).Column("id", "created_at", "rule_key", "rule_number", "amount", "unit", "no_roll", "start_at", "until_at",
			"ladder", "adjustments", "state", "due_at", "due_day", "provisional", "rung", "next_at").
			Where("r.state IN ('open', 'paused') AND r.id > ?", after).Order("r.id").Limit(pageRows)
	})
}

// judgeAgain schedules the item by the calendar and reports whether that changed anything.
func (s *snapshot) judgeAgain(it *Item, now time.Time) (bool, error) {
	ladder, err := s.ladder(it)
	if err != nil {
		return false, err
	}
	due, provisional, rung, next := it.Due, it.Provisional, it.Rung, it.NextAt
	it.schedule(s.calendar, ladder, now)
	return !it.Due.Equal(due) || it.Provisional != provisional || it.Rung != rung || !it.NextAt.Equal(next), nil
}

// rewrite judges the items again, now with the rows in hand, and writes those that differ. held is how many could not be had.
func (b *Book) rewrite(ctx context.Context, ids []string) (changed, held int, err error) {
	for chunk := range slices.Chunk(ids, batchRows) {
		var items []*Item
		var stale int
		if err := b.db.Tx(ctx, func(ctx context.Context) (err error) {
			// Waiting for a row while holding others could lock out a module that holds that row and waits for one of these.
			items, err = b.items.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
				return b.hold(q, "UPDATE SKIP LOCKED").Where("r.id IN (?)", bun.List(chunk)).Order("r.id")
			})
			if err != nil {
				return err
			}
			stale, err = b.rewriteHeld(ctx, items)
			return err
		}); err != nil {
			return changed, held, err
		}
		changed, held = changed+stale, held+len(chunk)-len(items)
	}
	return changed, held, nil
}

func (b *Book) rewriteHeld(ctx context.Context, items []*Item) (int, error) {
	s, err := b.steady(ctx)
	if err != nil {
		return 0, err
	}
	var stale []*Item
	var how []Recomputation
	for _, it := range items {
		if !it.State.Running() {
			continue
		}
		data := Recomputation{From: it.Due, WasProvisional: it.Provisional, CalendarVersion: s.version}
		differs, err := s.judgeAgain(it, b.db.Clock.Now())
		if err != nil {
			return 0, err
		}
		if differs {
			data.To, data.Provisional = it.Due, it.Provisional
			stale, how = append(stale, it), append(how, data)
		}
	}
	batch, err := b.items.PrepareUpdate(ctx, stale, func(i int, _ *Item) record.Change {
		return record.Change{Fact: "deadline.recomputed", Title: "日历变动，重新计算期限", Data: how[i]}
	})
	if err != nil {
		return 0, err
	}
	return len(stale), batch.Write(ctx)
}

// Sweeper lets the clock run: at start and then every 20 seconds it recomputes, when the calendar has changed, and sweeps. An edit of the calendar in
// this process wakes it at once.
type Sweeper struct {
	book *Book
	log  *slog.Logger

	mu   sync.Mutex
	stop context.CancelFunc
	done chan struct{}
}

// NewSweeper returns a sweeper that does not run yet. One for each Book.
func NewSweeper(b *Book, log *slog.Logger) *Sweeper { return &Sweeper{book: b, log: log} }

const sweepEvery = 20 * time.Second

// Start begins sweeping in the background until Stop, and returns at once. It does nothing when it already runs.
func (s *Sweeper) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		return nil
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.done = make(chan struct{})
	go s.run(ctx, s.done)
	return nil
}

// Stop ends sweeping and waits for the batch in hand. It may be called twice, and before Start.
func (s *Sweeper) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop == nil {
		return
	}
	s.stop()
	<-s.done
	s.stop = nil
}

func (s *Sweeper) run(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.once(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "deadlines not swept, trying again soon", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.book.edited:
		}
	}
}

func (s *Sweeper) once(ctx context.Context) error {
	// First the new ends, so that nobody is pressed by an old one.
	if _, err := s.book.Recompute(ctx); err != nil {
		return fmt.Errorf("recompute: %w", err)
	}
	if _, err := s.book.Sweep(ctx); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}
