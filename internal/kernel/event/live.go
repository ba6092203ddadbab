package event

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// KindLost is the kind of the last event that a watcher gets when it was too slow and missed others: it should look afresh and watch again.
const KindLost = "event.lost"

// backlog is how many events a watcher may be behind before it is dropped.
const backlog = 256

// live hands events to the watchers in this process.
type live struct {
	mu       sync.Mutex
	watchers map[chan Event]struct{}
}

// Watch returns the events of this node as they are published, in order, from now on, whatever process caused them. It is for showing that
// something changed, not for acting on it: nothing is delivered again, and a very large record comes without its body. The caller decides
// who may see what. A watcher that falls behind gets a last event of KindLost. The channel is closed after that, when ctx
// ends, and when the bus stops.
func (b *Bus) Watch(ctx context.Context) <-chan Event {
	ch := make(chan Event, backlog+1)
	l := &b.live
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watchers == nil {
		l.watchers = map[chan Event]struct{}{}
	}
	l.watchers[ch] = struct{}{}
	context.AfterFunc(ctx, func() { l.drop(ch) })
	return ch
}

func (l *live) drop(ch chan Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.watchers[ch]; ok {
		delete(l.watchers, ch)
		close(ch)
	}
}

func (l *live) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ch := range l.watchers {
		close(ch)
	}
	l.watchers = nil
}

func (l *live) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.watchers) == 0
}

func (l *live) send(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ch := range l.watchers {
		if len(ch) < backlog {
			ch <- e
		} else {
			l.lose(ch)
		}
	}
}

// loseAll tells every watcher that it may have missed something.
func (l *live) loseAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ch := range l.watchers {
		l.lose(ch)
	}
}

func (l *live) lose(ch chan Event) {
	ch <- Event{Meta: Meta{Kind: KindLost}} // the place kept for it
	delete(l.watchers, ch)
	close(ch)
}

// feedLive follows the stream's end for the watchers.
func (b *Bus) feedLive(ctx context.Context) error {
	stream, err := b.events(ctx)
	if err != nil {
		return err
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer b.live.loseAll()
	defer context.AfterFunc(ctx, messages.Stop)()
	for {
		msg, err := messages.Next()
		if err != nil {
			return err
		}
		if b.live.idle() {
			continue
		}
		var e Event
		if json.Unmarshal(msg.Data(), &e) == nil {
			b.live.send(e)
		}
	}
}
