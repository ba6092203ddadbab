package record

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/audit"
)

// Batch is a change of many records that is ready to be written: for imports, where one statement per record would hold the writer too
// long. Each record is covered by a log entry of its own, exactly as Insert and Update do it.
//
//	b, err := store.PrepareInsert(ctx, rows, change)   // outside the transaction: formats, marshals and hashes
//	err = db.Tx(ctx, b.Write)
//
// Keep it to about a thousand records; more take longer to write than other writers should wait.
type Batch[T any, P Pointer[T]] struct {
	store   *Store[T, P]
	count   int
	stmt    string // one statement for all rows
	entries *audit.Batch
}

// PrepareInsert makes new records ready: it gives them their identity and asks change what to write into the log about each. An ID that is
// already set is kept.
func (s *Store[T, P]) PrepareInsert(ctx context.Context, rows []*T, change func(i int, r *T) Change) (*Batch[T, P], error) {
	now := s.db.Clock.Now()
	for _, r := range rows {
		h := P(r).head()
		if h.ID == "" {
			h.ID = s.db.Clock.NewID()
		}
		h.Origin, h.Version, h.CreatedAt, h.UpdatedAt = s.db.Node, 1, now, now
	}
	return s.prepare(ctx, rows, true, change)
}

// PrepareUpdate makes changed records ready, each at the version after the one it was read at. Like Update it refuses records born at another node. The
// rows carry their new version from now on: when the batch is not written, read them again.
func (s *Store[T, P]) PrepareUpdate(ctx context.Context, rows []*T, change func(i int, r *T) Change) (*Batch[T, P], error) {
	now := s.db.Clock.Now()
	for _, r := range rows {
		h := P(r).head()
		if h.Origin != s.db.Node {
			return nil, s.Type.foreign()
		}
		h.Version, h.UpdatedAt = h.Version+1, now
	}
	return s.prepare(ctx, rows, false, change)
}

func (s *Store[T, P]) prepare(ctx context.Context, rows []*T, insert bool, change func(i int, r *T) Change) (*Batch[T, P], error) {
	b := &Batch[T, P]{store: s, count: len(rows)}
	if b.count == 0 {
		return b, nil
	}
	// Without "NULL" bun asks for the nullable columns back, and then counts rows wrongly.
	q := s.db.Conn(ctx).NewInsert().Model(&rows).Returning("NULL")
	if !insert {
		// One statement for rows that each have their own values: an insert that always meets the stored row.
		q = q.On("CONFLICT (id) DO UPDATE").Where("r.version = EXCLUDED.version - 1")
		for _, f := range s.db.Table(reflect.TypeFor[T]()).Fields {
			if f.Name != "id" && f.Name != "origin" && f.Name != "created_at" {
				q = q.Set("? = EXCLUDED.?", bun.Ident(f.Name), bun.Ident(f.Name))
			}
		}
	}
	b.stmt = q.String()
	entries := make([]audit.Entry, len(rows))
	for i, r := range rows {
		entries[i] = s.entry(r, change(i, r))
	}
	var err error
	b.entries, err = s.log.Prepare(ctx, entries)
	return b, err
}

// Write writes the records and their log entries, in the transaction that ctx is in: all, or none and an error. When one of the records was
// changed since it was read, the error is a conflict.
func (b *Batch[T, P]) Write(ctx context.Context) error {
	if b.count == 0 {
		return nil
	}
	res, err := b.store.db.Conn(ctx).ExecContext(ctx, "?", bun.Safe(b.stmt))
	if err != nil {
		return fmt.Errorf("write %d of %s: %w", b.count, b.store.Type.Name, err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n != int64(b.count) {
		return b.store.Type.Stale()
	}
	return b.entries.Append(ctx)
}

// Past returns records as they were at the given versions, read from the log; what the log does not know is left out. A [Secret] comes back as its digest. Whoever
// calls it has loaded the records in scope first. Ask for at most a thousand at once.
func (s *Store[T, P]) Past(ctx context.Context, at []audit.At) (map[audit.At]*T, error) {
	bodies, err := s.log.Bodies(ctx, s.Type.Name, at)
	if err != nil {
		return nil, fmt.Errorf("past of %s: %w", s.Type.Name, err)
	}
	out := make(map[audit.At]*T, len(bodies))
	for key, body := range bodies {
		r := new(T)
		if err := json.Unmarshal([]byte(body), r); err != nil {
			return nil, fmt.Errorf("%s %s at version %d: %w", s.Type.Name, key.ID, key.Version, err)
		}
		out[key] = r
	}
	return out, nil
}
