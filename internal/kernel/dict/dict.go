// Package dict keeps the code tables: what may be chosen from a list, what a code is called, and from when to when it holds.
//
// A module declares its tables in Go ([Kind]) and ships their items; [Dict.Seed] writes them as records, and from then on they belong to
// the people who keep them: an edit is a logged, versioned change that no newer program undoes. Nothing is deleted. A code that is out
// of use ends on a date, so that an old record keeps the label and the clause that it was judged by.
//
// Reading is done in memory, from a [Dict] that holds all tables and is renewed when this process edits them, and within two seconds
// when another does.
package dict

import (
	"context"
	"embed"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the table of items.
var Migrations = db.Migrations{Part: "dict", Files: files}

// Manage is the permission to edit code tables: the system administrator's.
const Manage = "dict.manage"

// Kind is one code table, declared by the module that owns its meaning.
type Kind struct {
	Key   string // "line": names the table in code, in the API and in the log
	Title string // "监管行业领域"
	Tree  bool   // items may have a parent
	// Seed gives the items that the program ships, see CSV. Nil: people fill the table.
	Seed func() ([]Item, error)
}

// Item is one code during one period. Codes of a kind may return with another label later: then there are several items with
// one code, whose periods do not overlap. Items that Dict hands out are shared: treat them as read-only.
type Item struct {
	bun.BaseModel `bun:"table:dict_item,alias:r" json:"-"`
	record.Head

	Kind          string            `bun:"kind" json:"kind" doc:"代码表"`
	Code          string            `bun:"code" json:"code" doc:"代码"`
	Parent        string            `bun:"parent" json:"parent" doc:"上级代码，空表示顶级"`
	Label         string            `bun:"label" json:"label" doc:"名称"`
	Sort          int               `bun:"sort" json:"sort" doc:"同级中的次序，小的在前"`
	EffectiveFrom string            `bun:"effective_from" json:"effectiveFrom" doc:"生效日期，空表示自始有效"`
	EffectiveTo   string            `bun:"effective_to" json:"effectiveTo" doc:"最后有效日期（含当日），空表示长期有效"`
	Clause        string            `bun:"clause" json:"clause" doc:"依据的法律条款或标准条文"`
	Mark          string            `bun:"mark" json:"mark" doc:"可信度标记：V V2 R U P S0-S3"`
	Extra         map[string]string `bun:"extra,type:text" json:"extra" doc:"该代码表特有的属性"`
	Active        bool              `bun:"active" json:"active" doc:"停用的代码不能再选"`

	// Shipped is the seal of what the program last shipped for this item, empty for an item that people added: see seal.
	Shipped string `bun:"shipped" json:"shipped"`
}

// InForce reports whether the item may be chosen on the day ("2026-03-11").
func (i *Item) InForce(day string) bool {
	return i.Active && i.EffectiveFrom <= day && (i.EffectiveTo == "" || day <= i.EffectiveTo)
}

// Dict is the code tables of one installation. It is safe for concurrent use.
type Dict struct {
	db    *db.DB
	items *record.Store[Item, *Item]
	log   *slog.Logger
	kinds []Kind // in the order of declaration; fixed once Seed has run

	loading sync.Mutex // one reload at a time
	now     atomic.Pointer[snapshot]

	life   sync.Mutex
	cancel context.CancelFunc
	done   chan struct{}
}

// New returns the code tables in d: those that come with the kernel, until modules Declare theirs. Before Seed or Refresh they are empty.
func New(d *db.DB, log *audit.Log, reg *record.Registry, logger *slog.Logger) *Dict {
	dict := &Dict{db: d, items: record.NewStore[Item](d, log, reg, record.Type{Name: "dict.item", Title: "代码"}), log: logger}
	dict.now.Store(newSnapshot(0, nil))
	dict.Declare(Kind{Key: Industry, Title: "国民经济行业分类（GB/T 4754-2017）", Tree: true, Seed: industryItems},
		Kind{Key: Line, Title: "监管行业领域", Seed: CSV(data, "data/line.csv")},
		Kind{Key: IndustryLine, Title: "国民经济行业与监管行业领域的对应", Seed: industryLineItems})
	return dict
}

// Declare adds code tables. It is called while the program is put together, before Seed, and panics on a key that is taken.
func (d *Dict) Declare(kinds ...Kind) {
	for _, k := range kinds {
		if _, taken := d.kind(k.Key); taken {
			panic("dict: kind declared twice: " + k.Key)
		}
		d.kinds = append(d.kinds, k)
	}
}

// Kinds lists the declared code tables in the order of declaration.
func (d *Dict) Kinds() []Kind { return append([]Kind(nil), d.kinds...) }

func (d *Dict) kind(key string) (Kind, bool) {
	for _, k := range d.kinds {
		if k.Key == key {
			return k, true
		}
	}
	return Kind{}, false
}

// Refresh reads the tables anew if anything has changed. It sees what is committed, even when ctx is inside a transaction.
func (d *Dict) Refresh(ctx context.Context) error {
	if d.db.InTx(ctx) {
		ctx = context.Background() // the snapshot is everybody's: what may yet be rolled back has no place in it
	}
	d.loading.Lock()
	defer d.loading.Unlock()
	state, err := d.state(ctx)
	if err != nil || state == d.now.Load().state {
		return err
	}
	items, err := d.items.Find(ctx, scope.All("code tables are public knowledge"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.origin = ?", d.db.Node).Order("kind", "sort", "code", "effective_from DESC")
	})
	if err != nil {
		return err
	}
	d.now.Store(newSnapshot(state, items))
	return nil
}

// state is a number that every write makes larger.
func (d *Dict) state(ctx context.Context) (n int64, err error) {
	if err := d.db.Conn(ctx).NewRaw("SELECT COALESCE(SUM(version), 0) FROM dict_item WHERE origin = ?", d.db.Node).Scan(ctx, &n); err != nil {
		return 0, fmt.Errorf("dict: %w", err)
	}
	return n, nil
}

// changed renews the tables once the transaction that ctx is in is on disk.
func (d *Dict) changed(ctx context.Context) {
	d.db.AfterCommit(ctx, func() { d.refresh(context.Background()) })
}

func (d *Dict) refresh(ctx context.Context) {
	if err := d.Refresh(ctx); err != nil && ctx.Err() == nil {
		d.log.Warn("dict: code tables not renewed, trying again", "err", err)
	}
}

const poll = 2 * time.Second

// Start begins to watch for edits made by other processes.
func (d *Dict) Start(ctx context.Context) error {
	if err := d.Refresh(ctx); err != nil {
		return err
	}
	d.life.Lock()
	defer d.life.Unlock()
	if d.cancel != nil {
		return nil
	}
	ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.done = make(chan struct{})
	go d.watch(ctx, d.done)
	return nil
}

// Stop ends the watching and waits for its end. It may be called twice, and before Start.
func (d *Dict) Stop() {
	d.life.Lock()
	defer d.life.Unlock()
	if d.cancel != nil {
		d.cancel()
		<-d.done
		d.cancel = nil
	}
}

func (d *Dict) watch(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.refresh(ctx)
		}
	}
}

// day is the calendar date of on, of today when on is zero.
func (d *Dict) day(on time.Time) string {
	if on.IsZero() {
		on = d.db.Clock.Now()
	}
	return clock.Date(on)
}
