package deadline

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the tables of calendar, rules and deadlines.
var Migrations = db.Migrations{Part: "deadline", Files: files}

// Permissions of this package, for the catalogue of kernel/access. Whoever lists deadlines brings the filter of their own permission.
const (
	PermCalendar = "deadline.calendar" // 维护工作日历
	PermRules    = "deadline.rules"    // 维护期限规则
)

// DayEntry is a date of the calendar as stored.
type DayEntry struct {
	bun.BaseModel `bun:"table:deadline_day,alias:r"`
	record.Head
	Day
	Notice int `bun:"notice" json:"notice" doc:"来自哪一年的放假通知，0 表示人工设定"`
}

// YearEntry says that a year's notice is in the calendar.
type YearEntry struct {
	bun.BaseModel `bun:"table:deadline_year,alias:r"`
	record.Head
	Year   int    `bun:"year" json:"year"`
	Source string `bun:"source" json:"source"`
}

// Book keeps the calendar, the rules and the deadlines of one installation.
type Book struct {
	db    *db.DB
	days  *record.Store[DayEntry, *DayEntry]
	years *record.Store[YearEntry, *YearEntry]
	rules *record.Store[Edition, *Edition]
	items *record.Store[Item, *Item]

	edited chan struct{} // holds one wake-up for the Sweeper

	mu       sync.Mutex
	declared []Rule
	last     *snapshot
}

// New returns the book kept in d.
func New(d *db.DB, log *audit.Log, reg *record.Registry) *Book {
	return &Book{
		db:     d,
		days:   record.NewStore[DayEntry](d, log, reg, record.Type{Name: "deadline.day", Title: "日历日期"}),
		years:  record.NewStore[YearEntry](d, log, reg, record.Type{Name: "deadline.year", Title: "日历年度"}),
		rules:  record.NewStore[Edition](d, log, reg, record.Type{Name: "deadline.rule", Title: "期限规则"}),
		items:  record.NewStore[Item](d, log, reg, record.Type{Name: "deadline.item", Title: "期限"}),
		edited: make(chan struct{}, 1),
	}
}

// Declare adds the default rules of a module, to be stored by Seed. A key may be declared in several dated editions.
func (b *Book) Declare(rules ...Rule) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.declared = append(b.declared, rules...)
}

// Seed stores the shipped calendar and the declared rules, where they are missing, and is called at each start. It leaves alone a year that is
// already published, a date that somebody has set, and a rule of which there is an edition from the same day; so edits stay, and
// a newer program adds what it brings. It fails when a declared rule is malformed.
func (b *Book) Seed(ctx context.Context) error {
	published, err := b.Years(ctx)
	if err != nil {
		return err
	}
	days, years := shippedDays()
	for _, year := range years {
		if slices.ContainsFunc(published, func(e *YearEntry) bool { return e.Year == year }) {
			continue
		}
		if err := b.seedYear(asSystem(ctx), year, days); err != nil {
			return fmt.Errorf("seed calendar %d: %w", year, err)
		}
	}
	return b.SeedRules(ctx)
}

func (b *Book) seedYear(ctx context.Context, year int, days []Day) error {
	return b.edit(ctx, func(ctx context.Context) error {
		if e, err := b.year(ctx, year); e != nil || err != nil { // another process was faster
			return err
		}
		set, err := b.within(ctx, fmt.Sprintf("%d-12-20", year-1), fmt.Sprintf("%d-12-31", year))
		if err != nil {
			return err
		}
		var fresh []*DayEntry
		source := ""
		for _, d := range days {
			if noticeOf(d) != year {
				continue
			}
			source = d.Source
			if !slices.ContainsFunc(set, func(e *DayEntry) bool { return e.Date == d.Date }) { // else somebody knew better
				fresh = append(fresh, &DayEntry{Day: d, Notice: year})
			}
		}
		batch, err := b.days.PrepareInsert(ctx, fresh, func(int, *DayEntry) record.Change { return daySet })
		if err != nil {
			return err
		}
		if err := batch.Write(ctx); err != nil {
			return err
		}
		return b.years.Insert(ctx, &YearEntry{Year: year, Source: source}, yearPublished)
	})
}

// SeedRules is the half of Seed that is about rules, for tests of modules that need no holidays: then each week is plain and every end that depends
// on working days is provisional.
func (b *Book) SeedRules(ctx context.Context) error {
	ctx = asSystem(ctx)
	b.mu.Lock()
	declared := slices.Clone(b.declared)
	b.mu.Unlock()
	slices.SortStableFunc(declared, func(x, y Rule) int { return strings.Compare(x.identity(), y.identity()) })
	for i := range declared {
		if err := declared[i].check(); err != nil {
			return fmt.Errorf("rule %s: %w", declared[i].Key, err)
		}
		if i > 0 && declared[i].identity() == declared[i-1].identity() {
			return fmt.Errorf("rule %s is declared twice from %q", declared[i].Key, declared[i].EffectiveFrom)
		}
	}
	missing := func(ctx context.Context) (rules []Rule, numbers map[string]int, err error) {
		stored, err := b.Rules(ctx)
		known := map[string]bool{}
		numbers = map[string]int{}
		for _, e := range stored {
			known[e.identity()] = true
			numbers[e.Key] = max(numbers[e.Key], e.Number)
		}
		for _, r := range declared {
			if !known[r.identity()] {
				rules = append(rules, r)
			}
		}
		return rules, numbers, err
	}
	if rules, _, err := missing(ctx); err != nil || len(rules) == 0 {
		return err
	}
	return b.edit(ctx, func(ctx context.Context) error {
		rules, numbers, err := missing(ctx)
		if err != nil {
			return err
		}
		for _, r := range rules {
			numbers[r.Key]++
			if err := b.rules.Insert(ctx, &Edition{Number: numbers[r.Key], Rule: r}, ruleAdded); err != nil {
				return fmt.Errorf("seed rule %s: %w", r.Key, err)
			}
		}
		return nil
	})
}

func (r *Rule) identity() string { return r.Key + " " + r.EffectiveFrom }

// snapshot is calendar and rules as they stood at one version.
type snapshot struct {
	version  int64
	calendar *Calendar
	rules    map[string][]*Edition
}

// current returns calendar and rules as they are now, also when another process has just edited them: it costs one read of one row.
func (b *Book) current(ctx context.Context) (*snapshot, error) {
	return b.read(ctx, func(q *bun.SelectQuery) *bun.SelectQuery { return q })
}

// steady is current for a transaction that writes what follows from it: nothing is edited before that transaction ends.
func (b *Book) steady(ctx context.Context) (*snapshot, error) {
	return b.read(ctx, func(q *bun.SelectQuery) *bun.SelectQuery { return b.hold(q, "SHARE") })
}

func (b *Book) read(ctx context.Context, lock func(*bun.SelectQuery) *bun.SelectQuery) (*snapshot, error) {
	s := &snapshot{rules: map[string][]*Edition{}}
	q := lock(b.db.Conn(ctx).NewSelect().Table("deadline_state").Column("version").Where("name = 'master'"))
	if err := q.Scan(ctx, &s.version); err != nil {
		return nil, fmt.Errorf("version of the calendar: %w", err)
	}
	b.mu.Lock()
	last := b.last
	b.mu.Unlock()
	if last != nil && last.version == s.version {
		return last, nil
	}

	// The version was read first: should an edit come between, the next call sees a newer version and loads again.
	days, err := b.days.Find(ctx, own, b.bornHere)
	if err != nil {
		return nil, err
	}
	years, err := b.years.Find(ctx, own, b.bornHere)
	if err != nil {
		return nil, err
	}
	editions, err := b.Rules(ctx)
	if err != nil {
		return nil, err
	}
	special := make([]Day, len(days))
	for i, d := range days {
		special[i] = d.Day
	}
	published := make([]int, len(years))
	for i, y := range years {
		published[i] = y.Year
	}
	if s.calendar, err = NewCalendar(special, published); err != nil {
		return nil, err
	}
	for _, e := range editions {
		s.rules[e.Key] = append(s.rules[e.Key], e)
	}
	// Not before the commit: what was loaded may be this very transaction's own edit, which may yet be undone.
	b.db.AfterCommit(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.last == nil || b.last.version < s.version {
			b.last = s
		}
	})
	return s, nil
}

// ladder is the ladder that the item climbs: that of the edition by which it was begun, or its own.
func (s *snapshot) ladder(it *Item) (Ladder, error) {
	if it.RuleKey == "" {
		return it.Ladder, nil
	}
	e, err := s.edition(it)
	if err != nil {
		return nil, err
	}
	return e.Ladder, nil
}

func (s *snapshot) edition(it *Item) (*Edition, error) {
	for _, e := range s.rules[it.RuleKey] {
		if e.Number == it.RuleNumber {
			return e, nil
		}
	}
	return nil, fmt.Errorf("deadline %s: no edition %d of rule %s", it.ID, it.RuleNumber, it.RuleKey)
}

// edit runs fn in a transaction that changes calendar or rules. Editors come one after the other, and no deadline is begun meanwhile.
func (b *Book) edit(ctx context.Context, fn func(ctx context.Context) error) error {
	return b.db.Tx(ctx, func(ctx context.Context) error {
		// First, since on PostgreSQL this row is the lock.
		if _, err := b.db.Conn(ctx).NewRaw("UPDATE deadline_state SET version = version + 1 WHERE name = 'master'").Exec(ctx); err != nil {
			return err
		}
		b.db.AfterCommit(ctx, func() {
			select {
			case b.edited <- struct{}{}:
			default: // one is already waiting
			}
		})
		return fn(ctx)
	})
}

// own reaches the records that belong to no place or whose use is not a person's.
var own = scope.All("calendar and rules are for everybody; the clock runs for everybody")

// bornHere leaves out copies of other nodes' records.
func (b *Book) bornHere(q *bun.SelectQuery) *bun.SelectQuery {
	return q.Where("r.origin = ?", b.db.Node)
}

func asSystem(ctx context.Context) context.Context { return actor.AsSystem(ctx, "deadline") }
