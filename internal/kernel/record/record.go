// Package record stores what the 57 systems keep: records that have one author node, a version, a place, and a history that
// cannot be bent.
//
// A record type embeds [Head], and [scope.Place] when people may see it. Its [Store] is the only way to write it, and each write does
// three things in one transaction: the row, compared with the version it was read at; the log entry that covers it
// with the whole record at its new version; and by that entry the event that other modules and nodes receive. None of the three can be
// forgotten, because there is no call that does only one.
//
// Reading asks for a [scope.Filter]. What the filter does not reach is "not found".
package record

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/scope"
)

// Head is what every record has. Embed it first. The store fills it.
type Head struct {
	ID        string    `bun:"id,pk" json:"id" doc:"记录标识，UUIDv7"`
	Origin    string    `bun:"origin" json:"origin" doc:"记录产生的节点"`
	Version   int64     `bun:"version" json:"version" doc:"版本，每次修改加一"`
	CreatedAt time.Time `bun:"created_at" json:"createdAt"`
	UpdatedAt time.Time `bun:"updated_at" json:"updatedAt"`
}

func (h *Head) head() *Head { return h }

// Header is a record: a struct that embeds Head.
type Header interface{ head() *Head }

// Pointer is the pointer type of a record struct T.
type Pointer[T any] interface {
	*T
	Header
}

// HeadOf returns the head of a record.
func HeadOf[T any, P Pointer[T]](r *T) *Head { return P(r).head() }

// Type names a kind of record.
type Type struct {
	Name  string // "hiddendanger.item": module and noun; it names the record in the log and in links
	Title string // "隐患"
}

// Change says what is being done to a record, for the log and the event stream.
type Change struct {
	Fact  string // the event's name, past tense: "hiddendanger.assigned"
	Title string // the act in Chinese: "下达整改"
	Data  any    // particulars, such as the step's input; may be nil
}

// Store keeps the records of one type in one table.
type Store[T any, P Pointer[T]] struct {
	Type   Type
	db     *db.DB
	log    *audit.Log
	placed bool
	times  [][]int // the fields of T that hold times
}

// NewStore returns the store of records of type T, whose table is the one in T's bun tag with the alias "r". It registers the table
// with reg, so that verification covers it.
func NewStore[T any, P Pointer[T]](d *db.DB, log *audit.Log, reg *Registry, typ Type) *Store[T, P] {
	_, placed := any(P(new(T))).(scope.Placed)
	s := &Store[T, P]{Type: typ, db: d, log: log, placed: placed}
	for _, f := range d.Table(reflect.TypeFor[T]()).Fields {
		if f.StructField.Type == reflect.TypeFor[time.Time]() {
			s.times = append(s.times, f.Index)
		}
	}
	reg.add(audit.Table{Type: typ.Name, Title: typ.Title, Scan: s.Scan})
	return s
}

// NotFound is the answer for a record that does not exist or lies outside the caller's scope: the two look the same.
func (t Type) NotFound() error {
	return errs.NotFound("record.notFound", t.Title+"不存在，或不在您的管辖范围内。")
}

// Stale is the answer when the record was changed by somebody else since the caller read it.
func (t Type) Stale() error {
	return errs.Conflict("record.stale", "该"+t.Title+"刚刚被他人修改，请刷新后再操作。")
}

// foreign is the answer when somebody wants to change a copy.
func (t Type) foreign() error {
	return errs.Conflict("record.foreign", "该"+t.Title+"由下级节点登记，请向登记单位交办，不能直接修改。")
}

// Load returns the record with the id when the filter reaches it, else a not-found error.
func (s *Store[T, P]) Load(ctx context.Context, f scope.Filter, id string) (*T, error) {
	r, err := s.First(ctx, f, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.id = ?", id) })
	if err == nil && r == nil {
		err = s.Type.NotFound()
	}
	return r, err
}

// First returns the first record that the filter reaches and where selects, or nil when there is none.
func (s *Store[T, P]) First(ctx context.Context, f scope.Filter, where func(*bun.SelectQuery) *bun.SelectQuery) (*T, error) {
	r := new(T)
	err := where(s.Query(ctx, f).Model(r)).Limit(1).Scan(ctx)
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", s.Type.Name, err)
	}
	return r, nil
}

// Find returns all records that the filter reaches and where selects. where also says order and limit; the table's alias is "r".
func (s *Store[T, P]) Find(ctx context.Context, f scope.Filter, where func(*bun.SelectQuery) *bun.SelectQuery) ([]*T, error) {
	var rows []*T
	if err := where(s.Query(ctx, f).Model(&rows)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("find %s: %w", s.Type.Name, err)
	}
	return rows, nil
}

// Count returns how many records the filter reaches and where selects.
func (s *Store[T, P]) Count(ctx context.Context, f scope.Filter, where func(*bun.SelectQuery) *bun.SelectQuery) (int, error) {
	n, err := where(s.Query(ctx, f).Model((*T)(nil))).Count(ctx)
	return int(n), err
}

// Query begins a query that the filter already limits. The caller gives it a model whose alias is "r".
func (s *Store[T, P]) Query(ctx context.Context, f scope.Filter) *bun.SelectQuery {
	q := s.db.Conn(ctx).NewSelect()
	if s.placed {
		return f.Apply(q, "r")
	}
	if !f.Unlimited() {
		return q.Where("FALSE") // nothing says where such records lie, so no scope reaches them
	}
	return q
}

// Insert writes a new record at version 1 and its log entry. It gives the record its identity; an ID that is already set is kept,
// for records whose key is made elsewhere (the phone). It must be called inside db.Tx.
func (s *Store[T, P]) Insert(ctx context.Context, r *T, c Change) error {
	h := P(r).head()
	now := s.db.Clock.Now()
	if h.ID == "" {
		h.ID = s.db.Clock.NewID()
	}
	h.Origin, h.Version, h.CreatedAt, h.UpdatedAt = s.db.Node, 1, now, now
	if _, err := s.db.Conn(ctx).NewInsert().Model(r).Exec(ctx); err != nil {
		return fmt.Errorf("insert %s %s: %w", s.Type.Name, h.ID, err)
	}
	return s.append(ctx, r, c)
}

// Update writes the record at its next version and its log entry, if the stored version is still the one that was read; otherwise it
// returns a conflict. A record born at another node is not changed here. It must be called inside db.Tx.
func (s *Store[T, P]) Update(ctx context.Context, r *T, c Change) error {
	h := P(r).head()
	if h.Origin != s.db.Node {
		return s.Type.foreign()
	}
	read := h.Version
	h.Version, h.UpdatedAt = read+1, s.db.Clock.Now()
	res, err := s.db.Conn(ctx).NewUpdate().Model(r).ExcludeColumn("id", "origin", "created_at").
		Where("r.id = ? AND r.version = ?", h.ID, read).Exec(ctx)
	if err != nil {
		return fmt.Errorf("update %s %s: %w", s.Type.Name, h.ID, err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		h.Version = read
		return s.Type.Stale()
	}
	return s.append(ctx, r, c)
}

// Note writes a log entry about a record that does not change it: a look at protected data, an export, a refused attempt.
func (s *Store[T, P]) Note(ctx context.Context, r *T, c Change) error {
	h := P(r).head()
	return s.log.Append(ctx, audit.Entry{Kind: c.Fact, Title: c.Title, RecordType: s.Type.Name, RecordID: h.ID, Version: h.Version, Data: c.Data})
}

// History returns the record's log entries, oldest first.
func (s *Store[T, P]) History(ctx context.Context, r *T) ([]audit.Row, error) {
	return s.log.History(ctx, s.Type.Name, P(r).head().ID)
}

// CheckVersion refuses a caller who read another version than the one that is stored now.
func (s *Store[T, P]) CheckVersion(r *T, read int64) error {
	if P(r).head().Version != read {
		return s.Type.Stale()
	}
	return nil
}

func (s *Store[T, P]) append(ctx context.Context, r *T, c Change) error {
	return s.log.Append(ctx, s.entry(r, c))
}

// entry is the log entry that covers the record as it is now. Its times are cut to what the columns hold, so that the log says what the row says.
func (s *Store[T, P]) entry(r *T, c Change) audit.Entry {
	v := reflect.ValueOf(r).Elem()
	for _, index := range s.times {
		if t := v.FieldByIndex(index).Addr().Interface().(*time.Time); !t.IsZero() {
			*t = t.UTC().Truncate(time.Millisecond)
		}
	}
	h := P(r).head()
	return audit.Entry{Kind: c.Fact, Title: c.Title, RecordType: s.Type.Name, RecordID: h.ID, Version: h.Version, Data: c.Data, Body: r}
}

// Scan calls yield with each stored record in the order of ids: its id, its version, and its JSON as the log would write it now.
func (s *Store[T, P]) Scan(ctx context.Context, yield func(id string, version int64, r any) error) error {
	const page = 1000
	after := ""
	for {
		rows, err := s.Find(ctx, scope.All("verification covers every row"), func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("r.id > ?", after).Order("r.id").Limit(page)
		})
		if err != nil {
			return err
		}
		for _, r := range rows {
			h := P(r).head()
			if err := yield(h.ID, h.Version, r); err != nil {
				return err
			}
			after = h.ID
		}
		if len(rows) < page {
			return nil
		}
	}
}

// Registry lists every store, so that verification leaves out no table.
type Registry struct {
	tables []audit.Table
}

func (reg *Registry) add(t audit.Table) {
	for _, o := range reg.tables {
		if o.Type == t.Type {
			panic("record: two stores of " + t.Type)
		}
	}
	reg.tables = append(reg.tables, t)
}

// Tables lists the covered tables in the order in which their stores were made.
func (reg *Registry) Tables() []audit.Table { return reg.tables }
