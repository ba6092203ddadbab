package audit

import (
	"context"
	"fmt"
	"slices"

	"github.com/uptrace/bun"
)

// Batch is entries that are complete: identified, marshalled, hashed and authenticated. They are in the log once Append has returned and the
// transaction is committed.
type Batch struct {
	log   *Log
	kind  string // of the first, for errors
	count int
	stmt  string // one statement for all
}

// Prepare does everything that Append does short of writing, for many entries at once, so that an import holds the writer only while it
// writes. Who, when and on which request are taken from ctx now. It needs no transaction.
func (l *Log) Prepare(ctx context.Context, entries []Entry) (*Batch, error) {
	b := &Batch{log: l, count: len(entries)}
	if b.count == 0 {
		return b, nil
	}
	rows := make([]Row, len(entries))
	for i, e := range entries {
		row, err := l.complete(ctx, e)
		if err != nil {
			return nil, err
		}
		rows[i] = row
	}
	b.kind, b.stmt = rows[0].Kind, l.db.Conn(ctx).NewInsert().Model(&rows).ExcludeColumn("seq").String()
	return b, nil
}

// Append writes the entries into the log, in the transaction that ctx is in. Like [Log.Append] it panics outside one.
func (b *Batch) Append(ctx context.Context) error {
	if b.count == 0 {
		return nil
	}
	if !b.log.db.InTx(ctx) {
		panic("audit: Append outside a transaction: " + b.kind)
	}
	if _, err := b.log.db.Conn(ctx).ExecContext(ctx, "?", bun.Safe(b.stmt)); err != nil {
		return fmt.Errorf("audit %s and %d more: %w", b.kind, b.count-1, err)
	}
	b.log.db.AfterCommit(ctx, b.log.wake)
	return nil
}

// At names a record at one of its versions.
type At struct {
	ID      string
	Version int64
}

// Bodies returns the records of a type as the log says they were at the given versions, as JSON; what it does not know is left out. Whoever calls it
// has decided that the actor may see them. Ask for at most a thousand at once.
func (l *Log) Bodies(ctx context.Context, recordType string, at []At) (map[At]string, error) {
	if len(at) == 0 {
		return nil, nil
	}
	ids, versions, wanted := make([]string, len(at)), make([]int64, len(at)), make(map[At]bool, len(at))
	for i, a := range at {
		ids[i], versions[i], wanted[a] = a.ID, a.Version, true
	}
	slices.Sort(versions)
	var rows []Row
	// More than was asked for may come: every record at every one of the versions.
	err := l.db.Conn(ctx).NewSelect().Model(&rows).Column("record_id", "version", "body").
		Where("record_type = ? AND record_id IN (?) AND version IN (?) AND body IS NOT NULL", recordType, bun.List(ids), bun.List(slices.Compact(versions))).Scan(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[At]string, len(at))
	for _, r := range rows {
		if key := (At{r.RecordID, r.Version}); wanted[key] {
			out[key] = *r.Body
		}
	}
	return out, nil
}
