package deadline

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// Refusals that a module may want to tell apart with errors.Is.
var (
	ErrNone    = errs.NotFound("deadline.none", "没有正在计时的期限，请刷新后再操作。")
	ErrRunning = errs.Conflict("deadline.running", "该事项已有正在计时的期限，请先完成或终止原期限。")
)

// StartInput begins a deadline: by a rule, by an explicit end, or by both.
type StartInput struct {
	Ref
	Place       scope.Place // copied from the record that it hangs on
	Title       string      // empty: the rule's title
	Responsible Party
	// At is when the fact happened that starts the clock; zero: now. It also chooses the edition of the rule.
	At time.Time
	// RuleKey names the rule. Without it Due and Clause must be set.
	RuleKey string
	// Amount replaces the rule's amount, in the rule's unit, for an order that sets its own number of days; 0: the rule's.
	Amount int
	// Due is an explicit end, such as the last day that an order names: see EndOfDay. It is not moved off a day off. Clause, ladder and cap of
	// extensions are the rule's when there is one.
	Due    time.Time
	Clause string
	Ladder Ladder // only without a rule
}

// Start begins a deadline. It fails with ErrRunning when one already runs in the slot, and with errs.NotFound when no edition of the
// rule is in force on the date of the starting fact.
func (b *Book) Start(ctx context.Context, in StartInput) (*Item, error) {
	var it *Item
	err := b.db.Tx(ctx, func(ctx context.Context) error {
		s, err := b.steady(ctx)
		if err != nil {
			return err
		}
		if it, err = s.begin(in, b.db.Clock.Now()); err != nil {
			return err
		}
		err = b.items.Insert(ctx, it, record.Change{Fact: "deadline.started", Title: "开始计时"})
		if _, taken := db.UniqueViolation(err); taken {
			return ErrRunning.Because(err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return it, nil
}

func (s *snapshot) begin(in StartInput, now time.Time) (*Item, error) {
	if in.At.IsZero() {
		in.At = now
	}
	it := &Item{
		Head: record.Head{CreatedAt: now}, Place: in.Place, Ref: in.Ref, Title: in.Title, Responsible: in.Responsible,
		Clause: in.Clause, Start: second(in.At), State: Open,
	}
	var ladder Ladder
	switch {
	case in.RecordType == "" || in.RecordID == "":
		return nil, fmt.Errorf("deadline %q hangs on no record", in.Title)
	case in.RuleKey != "":
		rule, err := s.ruleOn(in.RuleKey, in.At)
		if err != nil {
			return nil, err
		}
		it.RuleKey, it.RuleNumber, it.Clause, it.Term, ladder = rule.Key, rule.Number, rule.Clause, rule.Term, rule.Ladder
		if it.Title == "" {
			it.Title = rule.Title
		}
		if in.Amount != 0 {
			it.Amount = in.Amount
		}
	case in.Due.IsZero() || in.Clause == "" || in.Title == "":
		return nil, fmt.Errorf("deadline of %s %s: neither a rule nor an end with title and clause", in.RecordType, in.RecordID)
	default:
		if err := in.Ladder.check(); err != nil {
			return nil, fmt.Errorf("deadline of %s %s: %w", in.RecordType, in.RecordID, err)
		}
		it.Unit, it.Ladder, ladder = Days, in.Ladder, in.Ladder
	}
	if err := it.Term.check(); err != nil {
		return nil, errs.InvalidField("deadline.term", "/amount", err.Error()+"。").Because(err)
	}
	if !in.Due.IsZero() {
		it.Until, it.Amount = second(in.Due), 0
		if !EndOfDay(it.Until.Add(-1)).Equal(it.Until) {
			it.Unit = Hours // an end within a day runs by the clock
		}
	}
	it.schedule(s.calendar, ladder, now)
	return it, nil
}

// Meet ends the deadline of ref: what was due was done at the given time, zero meaning now. The state tells whether that was in time;
// under a pause it was. It fails with ErrNone when no deadline runs.
func (b *Book) Meet(ctx context.Context, ref Ref, at time.Time) (*Item, error) {
	return b.change(ctx, ref, func(it *Item, _ *snapshot, now time.Time) (record.Change, error) {
		at, err := happened(at, now)
		if err != nil {
			return record.Change{}, err
		}
		if it.State == Open && at.After(it.Due) {
			it.end(Late, at)
			return record.Change{Fact: "deadline.met", Title: "逾期完成"}, nil
		}
		it.end(Met, at)
		return record.Change{Fact: "deadline.met", Title: "按期完成"}, nil
	})
}

// Cancel ends the deadline of ref without its having been met: the matter fell away. It fails with ErrNone when no deadline runs.
func (b *Book) Cancel(ctx context.Context, ref Ref, reason string) (*Item, error) {
	return b.change(ctx, ref, func(it *Item, _ *snapshot, now time.Time) (record.Change, error) {
		it.end(Cancelled, second(now))
		return record.Change{Fact: "deadline.cancelled", Title: "终止计时", Data: because{reason}}, nil
	})
}

// CancelAll ends every running deadline of a record, in whatever slot: the case is closed.
func (b *Book) CancelAll(ctx context.Context, recordType, recordID, reason string) error {
	return b.db.Tx(ctx, func(ctx context.Context) error {
		items, err := b.Of(ctx, recordType, recordID)
		if err != nil {
			return err
		}
		for _, it := range items {
			if !it.State.Running() {
				continue
			}
			if _, err := b.Cancel(ctx, it.Ref, reason); err != nil {
				return err
			}
		}
		return nil
	})
}

// Restart begins a deadline anew from a new fact. One that runs in the slot is cancelled and stays as evidence.
func (b *Book) Restart(ctx context.Context, in StartInput, reason string) (*Item, error) {
	var it *Item
	err := b.db.Tx(ctx, func(ctx context.Context) error {
		running, err := b.running(ctx, in.Ref)
		if err != nil {
			return err
		}
		if running != nil {
			if _, err := b.Cancel(ctx, in.Ref, reason); err != nil {
				return err
			}
		}
		it, err = b.Start(ctx, in)
		return err
	})
	return it, err
}

// Pause stops the clock of ref at the given time, zero meaning now; the package comment says what is kept. A time in the past must not lie
// before the last adjustment. A deadline that had already passed at that time cannot be paused.
func (b *Book) Pause(ctx context.Context, ref Ref, at time.Time, reason string) (*Item, error) {
	return b.adjust(ctx, ref, Adjustment{Kind: Pause, At: at, Reason: reason}, "中止计时", func(it *Item, a *Adjustment) error {
		switch {
		case it.State != Open:
			return errs.Conflict("deadline.paused", "期限已经中止，无需再次中止。")
		case a.At.After(it.Due):
			return errs.Conflict("deadline.overdue", "期限已于 "+it.DueText()+" 届满，不能中止。")
		}
		it.State = Paused
		return nil
	})
}

// Resume lets the paused clock of ref run on from the given time, zero meaning now.
func (b *Book) Resume(ctx context.Context, ref Ref, at time.Time, reason string) (*Item, error) {
	return b.adjust(ctx, ref, Adjustment{Kind: Resume, At: at, Reason: reason}, "恢复计时", func(it *Item, _ *Adjustment) error {
		if it.State != Paused {
			return errs.Conflict("deadline.notPaused", "期限没有中止，无需恢复。")
		}
		it.State = Open
		return nil
	})
}

// ExtendInput extends a deadline by an amount or to an end: one of the two.
type ExtendInput struct {
	By       int       // in the unit of the term, on top of the period before it was moved off a day off
	Until    time.Time // an end, see EndOfDay; it is not moved off a day off
	Reason   string    // required
	Approver string    // required: who allowed it, as shown on screen
}

// Extend extends the running deadline of ref. It refuses what the rule does not allow, and an end that is not later than the present
// one. A paused deadline must be resumed first. Whether the approver may approve is the module's business.
func (b *Book) Extend(ctx context.Context, ref Ref, in ExtendInput) (*Item, error) {
	a := Adjustment{Kind: Extend, By: in.By, Until: second(in.Until), Reason: in.Reason, Approver: strings.TrimSpace(in.Approver)}
	if in.Until.IsZero() {
		a.Until = time.Time{}
	}
	return b.change(ctx, ref, func(it *Item, s *snapshot, now time.Time) (record.Change, error) {
		a.At = second(now)
		switch {
		case strings.TrimSpace(a.Reason) == "":
			return record.Change{}, errs.InvalidField("deadline.extension", "/reason", "请填写延期理由。")
		case a.Approver == "":
			return record.Change{}, errs.InvalidField("deadline.extension", "/approver", "请填写批准人。")
		case a.Until.IsZero() == (a.By <= 0):
			return record.Change{}, errs.InvalidField("deadline.extension", "/by", "请填写延长多少，或延长到哪一天。")
		case it.State == Paused:
			return record.Change{}, errs.Conflict("deadline.paused", "期限正在中止，请先恢复计时再延长。")
		}
		if err := s.mayExtend(it, a); err != nil {
			return record.Change{}, err
		}
		return s.apply(it, a, now, "延长期限")
	})
}

// mayExtend asks the rule.
func (s *snapshot) mayExtend(it *Item, a Adjustment) error {
	if err := (Term{Amount: a.By, Unit: it.Unit}).check(); err != nil {
		return errs.InvalidField("deadline.extension", "/by", err.Error()+"。")
	}
	if it.RuleKey == "" {
		return nil
	}
	rule, err := s.edition(it)
	if err != nil {
		return err
	}
	granted := len(it.Extensions())
	switch {
	case a.By > 0 && it.Unit != rule.Unit:
		return errs.InvalidField("deadline.extension", "/until", "该期限按钟点指定，请填写延长到的时间。")
	case rule.MaxExtensions == NoExtension:
		return errs.Conflict("deadline.extension", "依据"+rule.Clause+"，该期限不得延长。")
	case rule.MaxExtensions > 0 && granted >= rule.MaxExtensions:
		return errs.Conflict("deadline.extension", fmt.Sprintf("依据%s，该期限最多延长 %d 次，已延长 %d 次。", rule.Clause, rule.MaxExtensions, granted))
	}
	if rule.MaxExtension > 0 {
		most := *it
		most.Unit = rule.Unit
		most.Adjustments = append(most.Adjustments[:len(most.Adjustments):len(most.Adjustments)], Adjustment{Kind: Extend, By: rule.MaxExtension})
		limit, _ := most.judge(s.calendar)
		if a.By > rule.MaxExtension || a.Until.After(limit) {
			return errs.InvalidField("deadline.extension", "/by", fmt.Sprintf("依据%s，每次最多延长%s。", rule.Clause, Term{Amount: rule.MaxExtension, Unit: rule.Unit}))
		}
	}
	return nil
}

// Reassign gives the running deadline of ref to another responsible party, whom the following rungs reach.
func (b *Book) Reassign(ctx context.Context, ref Ref, to Party) (*Item, error) {
	return b.change(ctx, ref, func(it *Item, _ *snapshot, _ time.Time) (record.Change, error) {
		it.Responsible = to
		return record.Change{Fact: "deadline.reassigned", Title: "变更责任人", Data: to}, nil
	})
}

// adjust pauses or resumes.
func (b *Book) adjust(ctx context.Context, ref Ref, a Adjustment, title string, act func(it *Item, a *Adjustment) error) (*Item, error) {
	return b.change(ctx, ref, func(it *Item, s *snapshot, now time.Time) (c record.Change, err error) {
		if strings.TrimSpace(a.Reason) == "" {
			return c, errs.InvalidField("deadline.reason", "/reason", "请填写理由。")
		}
		if a.At, err = happened(a.At, now); err != nil {
			return c, err
		}
		last := it.Start
		if n := len(it.Adjustments); n > 0 {
			last = it.Adjustments[n-1].At
		}
		if a.At.Before(last) {
			return c, errs.InvalidField("deadline.time", "/at", "时间不能早于上一次计时变动。")
		}
		if err := act(it, &a); err != nil {
			return c, err
		}
		return s.apply(it, a, now, title)
	})
}

// apply adds an adjustment and schedules the item anew.
func (s *snapshot) apply(it *Item, a Adjustment, now time.Time, title string) (record.Change, error) {
	ladder, err := s.ladder(it)
	if err != nil {
		return record.Change{}, err
	}
	a.From = it.Due
	it.Adjustments = append(it.Adjustments, a)
	it.schedule(s.calendar, ladder, now)
	last := &it.Adjustments[len(it.Adjustments)-1]
	last.To = it.Due
	if a.Kind == Extend && !it.Due.After(a.From) {
		return record.Change{}, errs.InvalidField("deadline.extension", "/until", "延长后的期限须晚于现在的 "+DueText(a.From, it.Unit)+"。")
	}
	fact := map[AdjustmentKind]string{Pause: "deadline.paused", Resume: "deadline.resumed", Extend: "deadline.extended"}[a.Kind]
	return record.Change{Fact: fact, Title: title, Data: *last}, nil
}

type because struct {
	Reason string `json:"reason"`
}

// change loads the running deadline of ref, lets act change it, and writes it.
func (b *Book) change(ctx context.Context, ref Ref, act func(it *Item, s *snapshot, now time.Time) (record.Change, error)) (*Item, error) {
	var it *Item
	err := b.db.Tx(ctx, func(ctx context.Context) error {
		s, err := b.steady(ctx)
		if err != nil {
			return err
		}
		if it, err = b.running(ctx, ref); err != nil {
			return err
		}
		if it == nil {
			return ErrNone
		}
		c, err := act(it, s, b.db.Clock.Now())
		if err != nil {
			return err
		}
		return b.items.Update(ctx, it, c)
	})
	if err != nil {
		return nil, err
	}
	return it, nil
}

// running loads the running deadline of ref, or nil. It holds the row, so that a sweep in between makes nobody's step stale.
func (b *Book) running(ctx context.Context, ref Ref) (*Item, error) {
	return b.items.First(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return b.hold(q, "UPDATE").Where("r.record_type = ? AND r.record_id = ? AND r.slot = ? AND r.state IN ('open', 'paused')", ref.RecordType, ref.RecordID, ref.Slot)
	})
}

// hold locks the selected rows on PostgreSQL; on SQLite a transaction is alone anyway.
func (b *Book) hold(q *bun.SelectQuery, how string) *bun.SelectQuery {
	if b.db.Engine == db.Postgres {
		return q.For(how)
	}
	return q
}

// Of lists all deadlines of a record, oldest first. Whoever calls it has loaded the record in scope.
func (b *Book) Of(ctx context.Context, recordType, recordID string) ([]*Item, error) {
	return b.items.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.record_type = ? AND r.record_id = ?", recordType, recordID).Order("r.id")
	})
}

// Load returns the deadline with the id if the filter reaches it, else a not-found error.
func (b *Book) Load(ctx context.Context, f scope.Filter, id string) (*Item, error) {
	return b.items.Load(ctx, f, id)
}

// Query selects deadlines. Empty fields select all.
type Query struct {
	States        []State
	Overdue       bool // open, and the end has passed
	Provisional   bool
	RecordType    string
	Slot          string
	RuleKey       string
	ResponsibleID string
	EscalatedTo   Recipient
	DueFrom       time.Time // inclusive
	DueBefore     time.Time // exclusive
	After         *Item     // the last one of the page before
	Limit         int       // 0: 100; at most 1000
}

// Find lists the deadlines that the filter reaches and q selects, the earliest end first.
func (b *Book) Find(ctx context.Context, f scope.Filter, q Query) ([]*Item, error) {
	return b.items.Find(ctx, f, func(s *bun.SelectQuery) *bun.SelectQuery {
		s = b.where(s, q).Order("r.due_at", "r.id")
		if q.After != nil {
			s = s.Where("(r.due_at, r.id) > (?, ?)", q.After.Due, q.After.ID)
		}
		if q.Limit <= 0 {
			q.Limit = 100
		}
		return s.Limit(int64(min(q.Limit, 1000)))
	})
}

// Count counts the deadlines that the filter reaches and q selects, over all pages.
func (b *Book) Count(ctx context.Context, f scope.Filter, q Query) (int, error) {
	return b.items.Count(ctx, f, func(s *bun.SelectQuery) *bun.SelectQuery { return b.where(s, q) })
}

func (b *Book) where(s *bun.SelectQuery, q Query) *bun.SelectQuery {
	if len(q.States) > 0 {
		s = s.Where("r.state IN (?)", bun.List(q.States))
	}
	if q.Overdue {
		s = s.Where("r.state = 'open' AND r.due_at < ?", b.db.Clock.Now())
	}
	if q.Provisional {
		s = s.Where("r.provisional")
	}
	equal := func(column, value string) {
		if value != "" {
			s = s.Where("r.? = ?", bun.Ident(column), value)
		}
	}
	equal("record_type", q.RecordType)
	equal("slot", q.Slot)
	equal("rule_key", q.RuleKey)
	equal("responsible_id", q.ResponsibleID)
	equal("escalated_to", string(q.EscalatedTo))
	if !q.DueFrom.IsZero() {
		s = s.Where("r.due_at >= ?", q.DueFrom)
	}
	if !q.DueBefore.IsZero() {
		s = s.Where("r.due_at < ?", q.DueBefore)
	}
	return s
}

// second cuts t to whole seconds.
func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// happened is when something happened that was told now: now itself when nothing else is said, and never later.
func happened(at, now time.Time) (time.Time, error) {
	if at.IsZero() {
		return second(now), nil
	}
	if at.After(now) {
		return at, errs.InvalidField("deadline.time", "/at", "时间不能晚于现在。")
	}
	return second(at), nil
}
