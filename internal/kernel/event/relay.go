package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
)

const (
	chunk      = 256             // entries read, published and accounted for at a time
	maxPending = 64              // publishes in flight: more costs latency and gains little
	ackTimeout = 5 * time.Second // of one publish
	poll       = time.Second
	seqHeader  = "Anwang-Seq"  // the event's place in the log
	stubHeader = "Anwang-Stub" // the message lacks data and body, which are in the log
)

var (
	errLeaseLost = errors.New("another process took over the relay")
	errFull      = errors.New("the stream is full")
	errReturned  = errors.New("NATS was away: looking what it still has")
)

// Lag says how far the relay is behind the log.
type Lag struct {
	Entries int64     `json:"entries"`          // sequenced entries that are not yet accounted for
	Oldest  time.Time `json:"oldest,omitzero"`  // when the oldest of them was written; zero when there is none
	Trouble string    `json:"trouble,omitzero"` // why this process's relay stands still; empty when it runs or another process relays
}

// Lag tells how far the relay is behind, whichever process runs it.
func (b *Bus) Lag(ctx context.Context) (Lag, error) {
	var lag Lag
	if t := b.trouble.Load(); t != nil {
		lag.Trouble = *t
	}
	var cursor int64
	if err := b.db.Conn(ctx).NewRaw("SELECT seq FROM event_cursor WHERE name = 'relay'").Scan(ctx, &cursor); err != nil {
		return lag, fmt.Errorf("event lag: %w", err)
	}
	oldest, err := b.entry(ctx, cursor+1)
	if err != nil || oldest == nil {
		return lag, err
	}
	lag.Oldest = oldest.Time()
	head, err := b.head(ctx, cursor+1)
	lag.Entries = head - cursor
	return lag, err
}

// relay publishes the log into the stream. It returns an error when it cannot go on; it is then called again.
func (b *Bus) relay(ctx context.Context) error {
	err := b.relayOn(ctx)
	if err != nil && ctx.Err() == nil {
		b.stuck(err)
	}
	return err
}

// stuck notes why the relay does not go on.
func (b *Bus) stuck(err error) {
	text := err.Error()
	b.trouble.Store(&text)
}

func (b *Bus) relayOn(ctx context.Context) error {
	for {
		held, err := b.takeLease(ctx)
		if err != nil {
			return err
		}
		if held {
			break
		}
		b.trouble.Store(nil)
		if wait(ctx, min(poll, b.cfg.Silence/3)); ctx.Err() != nil {
			return nil
		}
	}
	stream, err := b.events(ctx)
	if err != nil {
		return errors.Join(err, b.dropLease(ctx))
	}
	p, err := b.place(ctx, stream)
	if err != nil {
		return errors.Join(err, b.dropLease(ctx))
	}
	err = p.follow(ctx)
	return errors.Join(err, p.save(ctx), b.dropLease(ctx))
}

// follow publishes what the log has and what it gets, until ctx ends or something fails that needs a fresh start.
func (p *position) follow(ctx context.Context) error {
	b := p.bus
	var pruned time.Time
	for ctx.Err() == nil {
		if time.Since(pruned) > time.Hour {
			if err := b.prune(ctx); err != nil {
				return err
			}
			pruned = time.Now()
		}
		if b.Conn().Stats().Reconnects != p.contact {
			return errReturned
		}
		rows, err := b.log.Sequenced(ctx, p.seq, chunk)
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		before := p.seq
		if err := p.publish(ctx, rows); err != nil {
			if errors.Is(err, errFull) {
				if b.trouble.Load() == nil {
					b.cfg.Log.WarnContext(ctx, "event relay waits", "error", err)
				}
				b.stuck(err)
				if err := p.keep(ctx); err != nil {
					return err
				}
				wait(ctx, 100*time.Millisecond)
				continue
			}
			if p.seq == before {
				return err
			}
			if err := p.save(ctx); err != nil {
				return err
			}
			again, placeErr := b.place(ctx, p.stream)
			if placeErr != nil {
				return errors.Join(err, placeErr)
			}
			*p = *again
			continue
		}
		b.trouble.Store(nil)
		if err := p.keep(ctx); err != nil {
			return err
		}
		if len(rows) == 0 || len(rows) < chunk && p.seq == *rows[len(rows)-1].Seq {
			b.sleep(ctx)
		}
	}
	return nil
}

// sleep waits until there may be something to relay.
func (b *Bus) sleep(ctx context.Context) {
	timer := time.NewTimer(min(poll, b.cfg.Silence/3)) // the lease must be renewed in time
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-b.wake:
	case <-timer.C:
	}
}

// Lease. On PostgreSQL several processes may run; on SQLite the process that has the file is the only one (db.LockDir), so
// it need not wait for the lease of its predecessor that was killed.

func (b *Bus) takeLease(ctx context.Context) (held bool, err error) {
	now := b.db.Clock.Now()
	var row struct{ Owner, LeaseUntil string }
	if err := b.db.Conn(ctx).NewRaw("SELECT owner, lease_until FROM event_cursor WHERE name = 'relay'").Scan(ctx, &row); err != nil {
		return false, fmt.Errorf("relay lease: %w", err)
	}
	if b.db.Engine == db.Postgres && row.Owner != b.owner && row.LeaseUntil >= db.FormatTime(now) {
		return false, nil
	}
	err = b.db.Tx(ctx, func(ctx context.Context) error {
		res, err := b.db.Conn(ctx).NewRaw("UPDATE event_cursor SET owner = ?, lease_until = ? WHERE name = 'relay' AND owner = ? AND lease_until = ?",
			b.owner, now.Add(b.cfg.Silence), row.Owner, row.LeaseUntil).Exec(ctx)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		held = n == 1
		return err
	})
	return held, err
}

func (b *Bus) dropLease(ctx context.Context) error {
	return b.db.Tx(context.WithoutCancel(ctx), func(ctx context.Context) error {
		_, err := b.db.Conn(ctx).NewRaw("UPDATE event_cursor SET lease_until = '' WHERE name = 'relay' AND owner = ?", b.owner).Exec(ctx)
		return err
	})
}

// position is where the relay stands in the log and in the stream.
type position struct {
	bus       *Bus
	stream    jetstream.Stream
	seq       int64  // last entry of the log that needs no more care
	published int64  // last entry that is in the stream
	last      uint64 // last sequence of the stream
	room      int64  // bytes that may be published before the stream's size is looked at again
	saved     int64  // seq as it was stored last
	savedAt   time.Time
	contact   uint64 // how often the connection had been re-established
}

// place finds where to go on. The stream itself knows best what is in it: after a crash it may have more than the cursor says, and after
// a power cut less, because it does not wait for the disk at every message.
func (b *Bus) place(ctx context.Context, stream jetstream.Stream) (*position, error) {
	p := &position{bus: b, stream: stream, savedAt: time.Now(), contact: b.Conn().Stats().Reconnects}
	if err := b.db.Conn(ctx).NewRaw("SELECT seq, published FROM event_cursor WHERE name = 'relay'").Scan(ctx, &p.seq, &p.published); err != nil {
		return nil, fmt.Errorf("relay cursor: %w", err)
	}
	p.saved = p.seq
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("stream info: %w", err)
	}
	p.last = info.State.LastSeq

	msg, err := stream.GetLastMsgForSubject(ctx, allSubjects(b.db.Node))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		if p.published < 0 {
			return p, nil
		}
		// Emptied, by age or by accident. What lies within its age is published again; subscriptions know what they have handled.
		start, err := b.firstSince(ctx, b.db.Clock.Now().Add(-b.cfg.MaxAge), p.seq)
		p.seq = min(p.seq, start-1)
		return p, err
	}
	if err != nil {
		return nil, fmt.Errorf("last message: %w", err)
	}
	inStream, err := strconv.ParseInt(msg.Header.Get(seqHeader), 10, 64)
	if err != nil || inStream == p.published {
		return p, nil // not ours (someone published by hand), or as expected
	}
	row, err := b.entry(ctx, inStream)
	if err != nil {
		return nil, err
	}
	if row != nil && row.ID == msg.Header.Get(jetstream.MsgIDHeader) {
		p.seq, p.published = inStream, inStream
	} // else the log was restored from a backup and the stream is from a future that is gone: the cursor counts
	return p, nil
}

// publish publishes the events among rows, or as many of them as the stream should take at once, and advances over what the stream has
// acknowledged. On an error it has advanced over the entries before the one that failed.
func (p *position) publish(ctx context.Context, rows []audit.Row) error {
	var msgs []*nats.Msg
	var seqs []int64
	var done int64 // last entry dealt with here
	size, most := int64(0), min(p.bus.cfg.MaxBytes/8, 8<<20)
	for i := range rows {
		if size > most {
			break
		}
		done = *rows[i].Seq
		if rows[i].Body == nil {
			continue
		}
		msg := p.bus.message(&rows[i])
		msgs, seqs, size = append(msgs, msg), append(seqs, done), size+int64(msg.Size())+64
	}
	if len(msgs) > 0 {
		if err := p.makeRoom(ctx, size); err != nil {
			return err
		}
	}
	js := p.bus.jetstream()
	futures := make([]jetstream.PubAckFuture, 0, len(msgs))
	var failed error
	for i, msg := range msgs {
		// Each message names its predecessor's place: whatever follows one that failed is refused, and so is a second relay.
		f, err := js.PublishMsgAsync(msg, jetstream.WithExpectLastSequence(p.last+uint64(i)), jetstream.WithExpectStream(streamName),
			jetstream.WithStallWait(2*ackTimeout))
		if err != nil {
			failed = err
			break
		}
		futures = append(futures, f)
	}
	for i, f := range futures {
		select {
		case ack := <-f.Ok():
			p.seq, p.published, p.last = seqs[i], seqs[i], max(p.last, ack.Sequence)
		case err := <-f.Err():
			return fmt.Errorf("publish entry %d: %w", seqs[i], err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if failed != nil {
		return fmt.Errorf("publish: %w", failed)
	}
	if len(rows) > 0 {
		p.seq = done
	}
	p.room -= size
	return nil
}

// message makes the message of an event. What is too large for NATS stays in the log, where the receiver gets it.
func (b *Bus) message(r *audit.Row) *nats.Msg {
	e := fromRow(r)
	msg := nats.NewMsg(subject(b.db.Node, r.Kind))
	msg.Header.Set(jetstream.MsgIDHeader, r.ID)
	msg.Header.Set(seqHeader, strconv.FormatInt(e.Seq, 10))
	var err error
	msg.Data, err = json.Marshal(e)
	const headers = 1 << 10
	if err != nil || int64(len(msg.Data)+headers) > b.Conn().MaxPayload() {
		// An error means that someone bent the row: the relay goes on, the receivers will say so.
		e.Data, e.Body = nil, nil
		msg.Header.Set(stubHeader, "1")
		msg.Data, _ = json.Marshal(e)
	}
	return msg
}

// keep stores the position and renews the lease when it is time. The position may lag behind the stream: place finds out.
func (p *position) keep(ctx context.Context) error {
	age := time.Since(p.savedAt)
	if p.seq != p.saved && age > poll || p.bus.db.Engine == db.Postgres && age > p.bus.cfg.Silence/3 {
		return p.save(ctx)
	}
	return nil
}

// save stores the position and renews the lease, unless another relay has taken over.
func (p *position) save(ctx context.Context) error {
	b := p.bus
	err := b.db.Tx(context.WithoutCancel(ctx), func(ctx context.Context) error {
		res, err := b.db.Conn(ctx).NewRaw("UPDATE event_cursor SET seq = ?, published = ?, lease_until = ? WHERE name = 'relay' AND owner = ?",
			p.seq, p.published, b.db.Clock.Now().Add(b.cfg.Silence), b.owner).Exec(ctx)
		if err != nil {
			return fmt.Errorf("relay cursor: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(errLeaseLost, err)
		}
		return nil
	})
	if err == nil {
		p.saved, p.savedAt = p.seq, time.Now()
	}
	return err
}

// makeRoom makes sure that publishing size bytes does not push events out of the stream that a subscription has yet to handle. What all have
// handled it removes; when that is not enough the relay has to wait.
func (p *position) makeRoom(ctx context.Context, size int64) error {
	if p.room >= size {
		return nil
	}
	info, err := p.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("stream info: %w", err)
	}
	// The server counts a little more than we do for each message.
	most := p.bus.cfg.MaxBytes * 9 / 10
	if p.room = most - int64(info.State.Bytes); p.room >= size {
		return nil
	}
	handled, slowest := info.State.LastSeq, ""
	absent := maps.Clone(p.bus.subs) // at a start the consumers may come later than the relay
	consumers := p.stream.ListConsumers(ctx)
	for c := range consumers.Info() {
		delete(absent, strings.ReplaceAll(c.Name, "_", "/"))
		done := c.AckFloor.Stream
		if c.NumPending == 0 && c.NumAckPending == 0 {
			done = info.State.LastSeq // nobody but this relay publishes
		}
		if c.Config.Durable != "" && done < handled {
			handled, slowest = done, c.Name
		}
	}
	if err := consumers.Err(); err != nil {
		return fmt.Errorf("list consumers: %w", err)
	}
	for name := range absent {
		return fmt.Errorf("%w (%d bytes) and waits for subscription %q to begin", errFull, info.State.Bytes, name)
	}
	// The last message stays: it tells place how far the stream is.
	if err := p.stream.Purge(ctx, jetstream.WithPurgeSequence(min(handled+1, info.State.LastSeq))); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if info, err = p.stream.Info(ctx); err != nil {
		return fmt.Errorf("stream info: %w", err)
	}
	if p.room = most - int64(info.State.Bytes); p.room < size && info.State.Msgs > 1 {
		return fmt.Errorf("%w (%d bytes) and waits for subscription %q", errFull, info.State.Bytes, slowest)
	}
	return nil
}

// prune forgets which events were handled once the stream cannot deliver them any more.
func (b *Bus) prune(ctx context.Context) error {
	before := idAt(b.db.Clock.Now().Add(-b.cfg.MaxAge - 24*time.Hour))
	for ctx.Err() == nil {
		var n int64
		err := b.db.Tx(ctx, func(ctx context.Context) error {
			res, err := b.db.Conn(ctx).NewRaw(`DELETE FROM event_seen WHERE event_id < ? AND event_id IN
				(SELECT event_id FROM event_seen WHERE event_id < ? ORDER BY event_id LIMIT 1000)`, before, before).Exec(ctx)
			if err != nil {
				return err
			}
			n, err = res.RowsAffected()
			return err
		})
		if err != nil {
			return fmt.Errorf("prune handled events: %w", err)
		}
		if n == 0 {
			return nil
		}
	}
	return nil
}

// idAt is the smallest UUIDv7 of the moment t.
func idAt(t time.Time) string {
	ms := fmt.Sprintf("%012x", t.UnixMilli())
	return ms[:8] + "-" + ms[8:] + "-7000-8000-000000000000"
}

// Sequence numbers have no holes, so a few reads find any place in the log.

// entry reads the entry with a sequence number, nil when there is none.
func (b *Bus) entry(ctx context.Context, seq int64) (*audit.Row, error) {
	rows, err := b.log.Sequenced(ctx, seq-1, 1)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	if len(rows) == 0 || *rows[0].Seq != seq {
		return nil, nil
	}
	return &rows[0], nil
}

// head finds the last sequence number of the log, given one that exists.
func (b *Bus) head(ctx context.Context, seq int64) (int64, error) {
	var failed error
	missing := func(seq int64) bool {
		row, err := b.entry(ctx, seq)
		failed = errors.Join(failed, err)
		return row == nil
	}
	step := int64(1)
	for failed == nil && !missing(seq+step) {
		seq += step
		step *= 2
	}
	// seq exists and seq+step does not.
	return seq + int64(sort.Search(int(step)-1, func(i int) bool { return missing(seq + 1 + int64(i)) })), failed
}

// firstSince finds the sequence number of the first entry written at or after t, at most last+1.
func (b *Bus) firstSince(ctx context.Context, t time.Time, last int64) (int64, error) {
	at := db.FormatTime(t)
	var failed error
	n := sort.Search(int(last)+1, func(i int) bool {
		row, err := b.entry(ctx, int64(i))
		failed = errors.Join(failed, err)
		return row == nil || row.At >= at
	})
	return int64(n), failed
}
