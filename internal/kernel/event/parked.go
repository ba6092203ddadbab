package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
)

// PermissionOperate is what an operator needs to see parked events and to act on them.
const PermissionOperate = "event.operate"

// Parked is an event that a subscription could not handle. Its content is not shown: it may hold personal data.
type Parked struct {
	ID           string    `bun:"id" json:"id"`
	Subscription string    `bun:"subscription" json:"subscription"`
	EventID      string    `bun:"event_id" json:"eventId"`
	Seq          int64     `bun:"seq" json:"seq"`
	Subject      string    `bun:"subject" json:"subject"`
	Kind         string    `bun:"kind" json:"kind"`
	Title        string    `bun:"title" json:"title"`
	RecordType   string    `bun:"record_type" json:"recordType"`
	RecordID     string    `bun:"record_id" json:"recordId"`
	Error        string    `bun:"error" json:"error"` // of the last attempt
	Attempts     int       `bun:"attempts" json:"attempts"`
	At           time.Time `bun:"at" json:"at"` // of the last attempt
}

type parkedRow struct {
	bun.BaseModel `bun:"table:event_parked,alias:p"`
	Parked
	Payload string `bun:"payload"`
}

// Parked lists parked events in the order in which they were parked, of one subscription or of all when it is empty: up to limit of
// those after the id after. It needs PermissionOperate.
func (b *Bus) Parked(ctx context.Context, subscription, after string, limit int) ([]Parked, error) {
	if err := mayOperate(ctx); err != nil {
		return nil, err
	}
	var rows []parkedRow
	q := b.db.Conn(ctx).NewSelect().Model(&rows).ExcludeColumn("payload").Where("p.id > ?", after).Order("p.id").Limit(int64(limit))
	if subscription != "" {
		q = q.Where("p.subscription = ?", subscription)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list parked events: %w", err)
	}
	out := make([]Parked, len(rows))
	for i := range rows {
		out[i] = rows[i].Parked
	}
	return out, nil
}

// Retry has a parked event handled now. When the handler fails again the event stays parked and Retry returns a conflict. It needs
// PermissionOperate.
func (b *Bus) Retry(ctx context.Context, id string) error {
	if err := mayOperate(ctx); err != nil {
		return err
	}
	row, err := b.loadParked(ctx, id)
	if err != nil {
		return err
	}
	s := b.subs[row.Subscription]
	if s == nil {
		return errs.Conflict("event.subscriptionGone", "当前程序中已没有“"+row.Subscription+"”这项处理，请放弃该事件。")
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	e, err := row.event(ctx, b)
	if err == nil {
		err = s.handle(ctx, e, func(ctx context.Context) error {
			if err := b.unpark(ctx, row.Subscription, row.EventID); err != nil {
				return err
			}
			return b.note(ctx, "event.retried", "重试搁置的事件", row.Parked, map[string]any{"done": true})
		})
	}
	if err == nil {
		return nil
	}
	saveErr := b.db.Tx(ctx, func(ctx context.Context) error {
		if _, err := b.db.Conn(ctx).NewRaw("UPDATE event_parked SET attempts = attempts + 1, error = ?, at = ? WHERE id = ?",
			errorText(err), b.db.Clock.Now(), id).Exec(ctx); err != nil {
			return err
		}
		return b.note(ctx, "event.retried", "重试搁置的事件", row.Parked, map[string]any{"done": false})
	})
	return errs.Conflict("event.retryFailed", "重试未成功，事件仍被搁置。请查看失败原因，处理后再试。").Because(errors.Join(err, saveErr))
}

// RetryAll retries every event that is parked for a subscription, or for any when it is empty, each once and in the order of the log. It returns how many
// were handled and how many failed again. It needs PermissionOperate.
func (b *Bus) RetryAll(ctx context.Context, subscription string) (done, failed int, err error) {
	if err := mayOperate(ctx); err != nil {
		return 0, 0, err
	}
	var ids []string
	q := b.db.Conn(ctx).NewSelect().Table("event_parked").Column("id").Order("seq", "id")
	if subscription != "" {
		q = q.Where("subscription = ?", subscription)
	}
	if err := q.Scan(ctx, &ids); err != nil {
		return 0, 0, fmt.Errorf("list parked events: %w", err)
	}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return done, failed, err
		}
		switch err := b.Retry(ctx, id); {
		case err == nil:
			done++
		case errors.Is(err, errNotParked):
			// another operator was faster
		case errs.KindOf(err) == errs.KindConflict:
			failed++
		default:
			return done, failed, err
		}
	}
	return done, failed, nil
}

// Discard gives a parked event up for good: its subscription will never handle it. The reason goes into the log. It needs PermissionOperate.
func (b *Bus) Discard(ctx context.Context, id, reason string) error {
	if err := mayOperate(ctx); err != nil {
		return err
	}
	if reason = strings.TrimSpace(reason); reason == "" {
		return errs.InvalidField("event.reasonMissing", "/reason", "请填写放弃该事件的理由。")
	}
	return b.db.Tx(ctx, func(ctx context.Context) error {
		row, err := b.loadParked(ctx, id)
		if err != nil {
			return err
		}
		if _, err := b.db.Conn(ctx).NewRaw("INSERT INTO event_seen (event_id, subscription) VALUES (?, ?) ON CONFLICT DO NOTHING",
			row.EventID, row.Subscription).Exec(ctx); err != nil {
			return fmt.Errorf("discard event: %w", err)
		}
		if err := b.unpark(ctx, row.Subscription, row.EventID); err != nil {
			return err
		}
		return b.note(ctx, "event.discarded", "放弃搁置的事件", row.Parked, map[string]any{"reason": reason})
	})
}

// Replay has a subscription handle the events of the log from fromSeq on once more, whether it had handled them or not, and returns how many it
// did. Events whose handler fails are parked and counted. Live delivery to the subscription in this process waits meanwhile. The bus need
// not be started. It needs PermissionOperate.
func (b *Bus) Replay(ctx context.Context, subscription string, fromSeq int64) (handled, parked int, err error) {
	if err := mayOperate(ctx); err != nil {
		return 0, 0, err
	}
	s := b.subs[subscription]
	if s == nil {
		return 0, 0, errs.NotFound("event.noSubscription", "没有“"+subscription+"”这项事件处理，请核对名称。")
	}
	if err := b.db.Tx(ctx, func(ctx context.Context) error {
		return b.log.Append(ctx, audit.Entry{Kind: "event.replayed", Title: "重放事件",
			Data: map[string]any{"subscription": subscription, "fromSeq": fromSeq}})
	}); err != nil {
		return 0, 0, err
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	for after := fromSeq - 1; ; {
		rows, err := b.log.Sequenced(ctx, after, chunk)
		if err != nil {
			return handled, parked, fmt.Errorf("read log: %w", err)
		}
		for i := range rows {
			after = *rows[i].Seq
			if rows[i].Body == nil || !s.wants(rows[i].Kind) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return handled, parked, err
			}
			ok, err := s.replay(ctx, fromRow(&rows[i]))
			if err != nil {
				return handled, parked, err
			}
			if ok {
				handled++
			} else {
				parked++
			}
		}
		if len(rows) < chunk {
			return handled, parked, nil
		}
	}
}

// replay handles e even if it was handled before, and parks it when that fails.
func (s *subscription) replay(ctx context.Context, e Event) (ok bool, err error) {
	b := s.bus
	forget := func(ctx context.Context) error {
		_, err := b.db.Conn(ctx).NewRaw("DELETE FROM event_seen WHERE event_id = ? AND subscription = ?", e.ID, s.Name).Exec(ctx)
		return err
	}
	failure := b.db.Tx(ctx, func(ctx context.Context) error {
		if err := forget(ctx); err != nil {
			return err
		}
		return s.handle(ctx, e, func(ctx context.Context) error { return b.unpark(ctx, s.Name, e.ID) })
	})
	if failure == nil {
		return true, nil
	}
	if b.databaseAway(ctx, failure) {
		return false, db.Translate(failure)
	}
	payload, err := json.Marshal(e)
	if err != nil {
		return false, err
	}
	return false, b.db.Tx(ctx, func(ctx context.Context) error {
		if err := forget(ctx); err != nil {
			return err
		}
		return s.park(ctx, e, subject(b.db.Node, e.Kind), payload, 1, failure)
	})
}

// park keeps an event for the operators.
func (s *subscription) park(ctx context.Context, e Event, subject string, payload []byte, attempts int, cause error) error {
	b := s.bus
	if e.ID == "" { // not one of our events: someone published by hand
		e.ID = "?" + b.db.Clock.NewID()
	}
	return b.db.Tx(ctx, func(ctx context.Context) error {
		_, err := b.db.Conn(ctx).NewInsert().Model(&parkedRow{Parked: Parked{
			ID: b.db.Clock.NewID(), Subscription: s.Name, EventID: e.ID, Seq: e.Seq, Subject: subject, Kind: e.Kind, Title: e.Title,
			RecordType: e.RecordType, RecordID: e.RecordID, Error: errorText(cause), Attempts: attempts, At: b.db.Clock.Now(),
		}, Payload: clean(string(payload))}).
				On("CONFLICT (subscription, event_id) DO UPDATE SET error = EXCLUDED.error, attempts = EXCLUDED.attempts, at = EXCLUDED.at").
				Exec(ctx)
		return err
	})
}

func (b *Bus) unpark(ctx context.Context, subscription, eventID string) error {
	_, err := b.db.Conn(ctx).NewRaw("DELETE FROM event_parked WHERE subscription = ? AND event_id = ?", subscription, eventID).Exec(ctx)
	return err
}

var errNotParked = errs.NotFound("event.notParked", "该事件已不在搁置之列，可能已被处理，请刷新。")

func (b *Bus) loadParked(ctx context.Context, id string) (*parkedRow, error) {
	row := new(parkedRow)
	err := b.db.Conn(ctx).NewSelect().Model(row).Where("p.id = ?", id).Scan(ctx)
	if errors.Is(err, db.ErrNoRows) {
		return nil, errNotParked
	}
	if err != nil {
		return nil, fmt.Errorf("load parked event: %w", err)
	}
	return row, nil
}

// event is the parked event with its content, from the log when the message was a stub.
func (r *parkedRow) event(ctx context.Context, b *Bus) (Event, error) {
	var e Event
	if err := json.Unmarshal([]byte(r.Payload), &e); err != nil {
		return e, err
	}
	if e.Body != nil {
		return e, nil
	}
	row, err := b.entry(ctx, e.Seq)
	if err != nil || row == nil || row.ID != e.ID {
		return e, errors.Join(fmt.Errorf("entry %d of event %s is not in the log", e.Seq, e.ID), err)
	}
	return fromRow(row), nil
}

// note writes an operator's act on a parked event into the log.
func (b *Bus) note(ctx context.Context, kind, title string, p Parked, more map[string]any) error {
	more["subscription"], more["eventId"], more["seq"], more["eventKind"] = p.Subscription, p.EventID, p.Seq, p.Kind
	return b.log.Append(ctx, audit.Entry{Kind: kind, Title: title, RecordType: "event.parked", RecordID: p.ID, Data: more})
}

func mayOperate(ctx context.Context) error {
	if !actor.From(ctx).Can(PermissionOperate) {
		return errs.Forbidden("event.forbidden", "您没有事件运维权限，请联系系统管理员。")
	}
	return nil
}

func errorText(err error) string {
	const most = 2000
	text := []rune(clean(err.Error()))
	return string(text[:min(len(text), most)])
}

// clean makes s storable: PostgreSQL refuses what is not UTF-8, and zero bytes.
func clean(s string) string { return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "?") }
