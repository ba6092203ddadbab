// Package audit is the log that nobody can quietly rewrite. Every sign-in, step, change, export and administration act is an
// [Entry], written in the transaction of what it records, and a leaf of a Merkle tree whose root is signed.
//
// # The log is the outbox
//
// An entry of a change carries the whole record at its new version. So the log is at once the history of each record, the evidence
// of each step, and the outbox from which kernel/event publishes: one fact, written once (docs/decisions/0003).
//
// # Two moments
//
// [Log.Append] writes the entry in the caller's transaction. A moment later the sequencer gives the committed entries
// their places in the tree, many at a time; a tree that every writer had to lock would make
// all of them wait for each other's disk. Until then an entry is "waiting". It carries a MAC whose key is not in the database, so that
// the sequencer takes in nothing that the program did not write.
//
// # What is proven, and what is not
//
// A signed checkpoint fixes every entry before it. Changing, deleting or inserting an entry, or a record that entries cover,
// is found by [Log.Verify] and named. Whoever can write the database and read the signing key can sign a forged tree:
// keep checkpoints elsewhere too (docs/operations.md), and let the higher level witness them.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
)

// Entry is one line of the log as the program writes it. Who, when, where and on which request are taken from the context.
type Entry struct {
	Kind       string // what happened: "hiddendanger.assigned", "login.failed". For a change: the event's name
	Title      string // the same in Chinese, as people read it: "下达整改"
	RecordType string // "hiddendanger.item"; empty when the entry is about no record
	RecordID   string
	Version    int64 // of the record after the change
	Data       any   // particulars: the step's input, from which state to which; marshalled to JSON, may be nil
	Body       any   // the whole record after the change, marshalled to JSON; nil when nothing changed
}

// Row is one line of the log as it is stored. Its JSON is the leaf's header: who did what to which record, when. Particulars and record are the leaf's
// content, which enters it as a hash, so that it can be shown apart, withheld from those who may not see it, or erased.
type Row struct {
	bun.BaseModel `bun:"table:audit_entry,alias:e" json:"-"`

	ID         string `bun:"id,pk" json:"id"`
	At         string `bun:"at" json:"at"` // as stored, see db.TimeLayout: the hash is over this text
	Node       string `bun:"node" json:"node"`
	ActorKind  string `bun:"actor_kind" json:"actorKind"`
	ActorID    string `bun:"actor_id" json:"actorId"`
	ActorName  string `bun:"actor_name" json:"actorName"`
	UnitName   string `bun:"unit_name" json:"unitName"`
	Kind       string `bun:"kind" json:"kind"`
	Title      string `bun:"title" json:"title"`
	RecordType string `bun:"record_type" json:"recordType"`
	RecordID   string `bun:"record_id" json:"recordId"`
	Version    int64  `bun:"version" json:"version"`
	RequestID  string `bun:"request_id" json:"requestId"`

	Data json.RawMessage `bun:"data,type:text" json:"-"`
	Body *string         `bun:"body" json:"-"` // the record after the change; nil when nothing changed
	Seq  *int64          `bun:"seq" json:"-"`
	MAC  []byte          `bun:"mac" json:"-"`
}

// Time is when the entry was written.
func (r *Row) Time() time.Time {
	t, _ := time.Parse(db.TimeLayout, r.At) // written by Append
	return t
}

// Header is the part of the leaf that names the act.
func (r *Row) Header() []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("audit: entry %s: %v", r.ID, err)) // strings and numbers always marshal
	}
	return b
}

// Content is the part of the leaf that holds particulars and record: {"data":…,"record":…}, byte for byte as stored.
func (r *Row) Content() []byte {
	n := len(r.Data) + 32
	if r.Body != nil {
		n += len(*r.Body)
	}
	b := append(append(make([]byte, 0, n), `{"data":`...), r.Data...)
	if r.Body != nil {
		b = append(append(b, `,"record":`...), *r.Body...)
	}
	return append(b, '}')
}

// Append writes e into the log, in the transaction that ctx is in. It panics outside a transaction: an act and its entry are one.
func (l *Log) Append(ctx context.Context, e Entry) error {
	if !l.db.InTx(ctx) {
		panic("audit: Append outside a transaction: " + e.Kind)
	}
	row, err := l.complete(ctx, e)
	if err != nil {
		return err
	}
	if err := l.insert(ctx, &row); err != nil {
		return fmt.Errorf("audit %s: %w", e.Kind, err)
	}
	l.db.AfterCommit(ctx, l.wake)
	return nil
}

// complete makes the row of an entry, with its MAC.
func (l *Log) complete(ctx context.Context, e Entry) (Row, error) {
	a := actor.From(ctx)
	row := Row{
		ID: l.db.Clock.NewID(), At: db.FormatTime(l.db.Clock.Now()), Node: l.db.Node,
		ActorKind: string(a.Kind), ActorID: a.ID, ActorName: a.Name, UnitName: unitOf(a),
		Kind: e.Kind, Title: e.Title, RecordType: e.RecordType, RecordID: e.RecordID, Version: e.Version,
		RequestID: actor.RequestFrom(ctx).ID, Data: json.RawMessage("{}"),
	}
	if e.Data != nil {
		b, err := json.Marshal(e.Data)
		if err != nil {
			return Row{}, fmt.Errorf("audit %s: data: %w", e.Kind, err)
		}
		row.Data = b
	}
	if e.Body != nil {
		b, err := json.Marshal(e.Body)
		if err != nil {
			return Row{}, fmt.Errorf("audit %s: body: %w", e.Kind, err)
		}
		s := string(b)
		row.Body = &s
	}
	row.MAC = l.mac(l.leafHash(&row))
	return row, nil
}

func (l *Log) insert(ctx context.Context, r *Row) error {
	_, err := l.db.Conn(ctx).NewRaw(`INSERT INTO audit_entry (id, at, node, actor_kind, actor_id, actor_name, unit_name, kind, title,
		record_type, record_id, version, request_id, data, body, mac) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ID, r.At, r.Node, r.ActorKind, r.ActorID, r.ActorName, r.UnitName, r.Kind, r.Title,
		r.RecordType, r.RecordID, r.Version, r.RequestID, string(r.Data), r.Body, r.MAC).Exec(ctx)
	return err
}

// History returns the entries of one record in the order of its versions, without bodies. Whoever calls it has loaded the record in
// scope first.
func (l *Log) History(ctx context.Context, recordType, recordID string) ([]Row, error) {
	var rows []Row
	err := l.db.Conn(ctx).NewSelect().Model(&rows).ExcludeColumn("body", "mac").
		Where("record_type = ? AND record_id = ?", recordType, recordID).
		Order("version", "id").Scan(ctx)
	return rows, err
}

func unitOf(a *actor.Actor) string {
	if len(a.Grants) > 0 {
		return a.Grants[0].UnitName
	}
	return ""
}
