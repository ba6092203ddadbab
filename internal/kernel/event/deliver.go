package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
)

// crashes is how many deliveries beyond its attempts an event gets. Failed attempts never use them, so an event that does
// has ended the process each time.
const crashes = 5

var errCrashed = errors.New("处理该事件时进程多次中断，未再尝试")

// subscription is a Subscription at work in this process.
type subscription struct {
	Subscription
	bus   *Bus
	since int64        // entries up to here are older than the subscription
	gate  sync.RWMutex // read while delivering, written by Replay
}

func newSubscription(b *Bus, s Subscription) *subscription {
	return &subscription{Subscription: s, bus: b}
}

// Status is how one subscription is doing.
type Status struct {
	Name    string   `json:"name"`
	Kinds   []string `json:"kinds"`
	Pending int64    `json:"pending"` // events in the stream that it has not yet handled; -1 when NATS cannot be asked
	Parked  int64    `json:"parked"`  // events that wait for an operator
}

// Status tells how the subscriptions of this program are doing, by name.
func (b *Bus) Status(ctx context.Context) ([]Status, error) {
	var parked []struct {
		Subscription string
		N            int64
	}
	if err := b.db.Conn(ctx).NewRaw("SELECT subscription, count(*) AS n FROM event_parked GROUP BY subscription").Scan(ctx, &parked); err != nil {
		return nil, fmt.Errorf("event status: %w", err)
	}
	out := make([]Status, 0, len(b.subs))
	for _, s := range b.subs {
		st := Status{Name: s.Name, Kinds: s.Kinds, Pending: -1}
		for _, p := range parked {
			if p.Subscription == s.Name {
				st.Parked = p.N
			}
		}
		if js := b.jetstream(); js != nil {
			if c, err := js.Consumer(ctx, streamName, s.durable()); err == nil {
				info := c.CachedInfo()
				st.Pending = int64(info.NumPending) + int64(info.NumAckPending)
			}
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// enrol remembers since when the installation has each subscription.
func (b *Bus) enrol(ctx context.Context) error {
	var known []struct {
		Name     string
		SinceSeq int64
	}
	if err := b.db.Conn(ctx).NewRaw("SELECT name, since_seq FROM event_subscription").Scan(ctx, &known); err != nil {
		return err
	}
	fresh := maps.Clone(b.subs)
	for _, k := range known {
		if s := fresh[k.Name]; s != nil {
			s.since = k.SinceSeq
			delete(fresh, k.Name)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	return b.db.Tx(ctx, func(ctx context.Context) error {
		for _, s := range fresh {
			if err := b.db.Conn(ctx).NewRaw(`INSERT INTO event_subscription (name, since_seq)
				SELECT ?, seq FROM event_cursor WHERE name = 'relay' ON CONFLICT (name) DO UPDATE SET name = EXCLUDED.name RETURNING since_seq`,
				s.Name).Scan(ctx, &s.since); err != nil {
				return err
			}
		}
		return nil
	})
}

// durable is the consumer's name: NATS allows no slash.
func (s *subscription) durable() string { return strings.ReplaceAll(s.Name, "/", "_") }

func (s *subscription) filters() []string {
	out := make([]string, len(s.Kinds))
	for i, k := range s.Kinds {
		out[i] = filter(s.bus.db.Node, k)
	}
	return out
}

// wants reports whether the subscription is about events of the kind.
func (s *subscription) wants(kind string) bool {
	subject := subject(s.bus.db.Node, kind)
	return slices.ContainsFunc(s.filters(), func(f string) bool { return server.SubjectMatchesFilter(subject, f) })
}

// consume delivers the stream's events to the handler. It returns an error when it cannot go on; it is then called again.
func (s *subscription) consume(ctx context.Context) error {
	stream, err := s.bus.events(ctx)
	if err != nil {
		return err
	}
	consumer, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable:        s.durable(),
		FilterSubjects: s.filters(),
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        s.bus.cfg.Silence,
		MaxDeliver:     -1, // parking is ours
		// What is being handled or waits for its next attempt blocks the rest: this keeps the order.
		MaxAckPending: s.Concurrency,
		// A subscription that a newer program dropped does not hold up the stream for ever.
		InactiveThreshold: s.bus.cfg.MaxAge,
	})
	if err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	heartbeat := max(s.bus.cfg.Silence/4, 500*time.Millisecond) // the shortest that NATS allows
	messages, err := consumer.Messages(jetstream.PullMaxMessages(s.Concurrency), jetstream.PullExpiry(8*heartbeat), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	defer messages.Stop()
	// Not Drain: it would wait for a server that is away. A message that was just handed over comes again after Silence.
	defer context.AfterFunc(ctx, messages.Stop)()

	var workers sync.WaitGroup
	failed := make([]error, s.Concurrency)
	for i := range s.Concurrency {
		workers.Go(func() {
			defer messages.Stop() // one that cannot go on ends them all
			for {
				msg, err := messages.Next()
				if err != nil {
					failed[i] = err
					return
				}
				s.deliver(ctx, msg)
			}
		})
	}
	workers.Wait()
	return errors.Join(failed...)
}

// deliver has one message handled and answers for it.
func (s *subscription) deliver(ctx context.Context, msg jetstream.Msg) {
	b := s.bus
	if ctx.Err() != nil {
		b.answer(msg.Nak())
		return
	}
	defer s.keepAlive(msg)()
	s.gate.RLock()
	defer s.gate.RUnlock()

	attempt := 1
	if meta, err := msg.Metadata(); err == nil {
		attempt = int(meta.NumDelivered)
	}
	e, err := b.receive(ctx, msg)
	switch {
	case err != nil:
		// tried again, and parked in the end
	case e.Seq <= s.since:
	case attempt > s.MaxAttempts+crashes:
		err = errCrashed
	default:
		err = s.handlePatiently(ctx, e)
	}
	if err == nil {
		b.answer(msg.Ack())
		return
	}
	if ctx.Err() != nil {
		b.answer(msg.Nak())
		return
	}
	log := b.cfg.Log.With("subscription", s.Name, "event", e.ID, "kind", e.Kind, "attempt", attempt, "error", err)
	if attempt >= s.MaxAttempts {
		parkErr := s.park(ctx, e, msg.Subject(), msg.Data(), attempt, err)
		if parkErr == nil {
			log.ErrorContext(ctx, "event parked")
			b.answer(msg.Term())
			return
		}
		log = log.With("park", parkErr)
	}
	log.WarnContext(ctx, "event handler failed")
	b.answer(msg.NakWithDelay(b.cfg.Backoff(attempt)))
}

// answer notes an answer that did not go out. NATS then delivers the event again, and the repeat does nothing.
func (b *Bus) answer(err error) {
	if err != nil {
		b.cfg.Log.Debug("event not acknowledged", "error", err)
	}
}

// keepAlive tells NATS that the message is being worked on, until the returned function is called.
func (s *subscription) keepAlive(msg jetstream.Msg) (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(s.bus.cfg.Silence / 3)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				s.bus.answer(msg.InProgress())
			}
		}
	}()
	return func() { close(done) }
}

// receive reads an event from a message, and from the log what the message lacks.
func (b *Bus) receive(ctx context.Context, msg jetstream.Msg) (Event, error) {
	var e Event
	if err := json.Unmarshal(msg.Data(), &e); err != nil || !validID(e.ID) {
		return Event{}, errors.Join(fmt.Errorf("message on %s is no event", msg.Subject()), err)
	}
	if msg.Headers().Get(stubHeader) == "" {
		return e, nil
	}
	row, err := b.entry(ctx, e.Seq)
	if err != nil || row == nil || row.ID != e.ID {
		return e, errors.Join(fmt.Errorf("entry %d of event %s is not in the log", e.Seq, e.ID), err)
	}
	return fromRow(row), nil
}

// handlePatiently handles e, and waits here while the database is away: that is not the event's failure and uses up no attempt.
func (s *subscription) handlePatiently(ctx context.Context, e Event) error {
	pause := 100 * time.Millisecond
	for {
		err := s.handle(ctx, e, nil)
		if err == nil || ctx.Err() != nil || !s.bus.databaseAway(ctx, err) {
			return err
		}
		wait(ctx, pause)
		pause = min(2*pause, 5*time.Second)
	}
}

// databaseAway reports whether err is the database's and the database still cannot write.
func (b *Bus) databaseAway(ctx context.Context, err error) bool {
	e := errs.As(db.Translate(err))
	if e == nil || !strings.HasPrefix(e.Code, "db.") {
		return false
	}
	return b.db.Tx(ctx, func(ctx context.Context) error {
		_, err := b.db.Conn(ctx).NewRaw("UPDATE event_subscription SET name = name WHERE name = ''").Exec(ctx)
		return err
	}) != nil
}

// handle runs the handler once, in a transaction that remembers that it did: a repeat does nothing. also, when given, runs in the same transaction,
// repeat or not.
func (s *subscription) handle(ctx context.Context, e Event, also func(ctx context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.bus.cfg.Log.ErrorContext(ctx, "event handler panicked", "subscription", s.Name, "event", e.ID, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	operator := ctx
	ctx = actor.AsSystem(ctx, s.Name)
	ctx = actor.WithRequest(ctx, actor.Request{ID: e.ID})
	return s.bus.db.Tx(ctx, func(ctx context.Context) error {
		conn := s.bus.db.Conn(ctx)
		res, err := conn.NewRaw("INSERT INTO event_seen (event_id, subscription) VALUES (?, ?) ON CONFLICT DO NOTHING", e.ID, s.Name).Exec(ctx)
		if err != nil {
			return fmt.Errorf("remember event: %w", err)
		}
		fresh, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if fresh == 1 {
			if err := s.Handle(ctx, e); err != nil {
				return err
			}
		}
		if also != nil {
			return also(actor.WithRequest(actor.With(ctx, actor.From(operator)), actor.RequestFrom(operator)))
		}
		return nil
	})
}

func validID(id string) bool {
	return len(id) == 36 && strings.Trim(id, "0123456789abcdef-") == ""
}
