package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
)

// streamName is the stream that holds the events born at this node.
const streamName = "EVENTS"

var errAway = errors.New("NATS is away")

// Config says where NATS is and how events are kept. Only StoreDir or URL is needed.
type Config struct {
	StoreDir string                // folder of the server inside this process; used when URL is empty
	URL      string                // an external NATS server or cluster with JetStream: "nats://host:4222,…"
	Options  func(*server.Options) // adds to the embedded server: listeners, MQTT, leaf nodes, accounts
	Connect  []nats.Option         // adds to the connection: credentials, TLS
	Replicas int                   // copies of the stream in an external cluster; default 1
	MaxAge   time.Duration         // how long the stream keeps an event; default 30 days
	MaxBytes int64                 // how large the stream may grow; default 2 GiB
	// Backoff is the pause before an event is tried again after its nth failed attempt; the default grows from 1 s to 2 min.
	Backoff func(attempt int) time.Duration
	// Silence is after how long a process that says nothing is taken for dead: the relay and the events it was handling pass on to others.
	// Default 10 s.
	Silence time.Duration
	Log     *slog.Logger // default slog.Default()
}

// Bus carries events. It is safe for concurrent use.
type Bus struct {
	db    *db.DB
	log   *audit.Log
	cfg   Config
	owner string // this process, as holder of the relay's lease
	subs  map[string]*subscription
	wake  chan struct{} // holds one wake-up for the relay
	live  live

	trouble atomic.Pointer[string] // why the relay stands still, nil when it runs

	life   sync.Mutex // guards starting and stopping
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu     sync.Mutex // guards server, conn and js
	server *embedded
	conn   *nats.Conn
	js     jetstream.JetStream

	streamMu sync.Mutex       // may be held while waiting for NATS; taken before mu
	stream   jetstream.Stream // nil until it is known to exist
}

// New returns a bus that relays the log of d. Nothing runs before Start. The log must be started for its entries to become events.
func New(d *db.DB, log *audit.Log, cfg Config) *Bus {
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 30 * 24 * time.Hour
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 2 << 30
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if cfg.Silence == 0 {
		cfg.Silence = 10 * time.Second
	}
	if cfg.Backoff == nil {
		cfg.Backoff = backoff
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	b := &Bus{db: d, log: log, cfg: cfg, owner: d.Clock.NewID(), subs: map[string]*subscription{}, wake: make(chan struct{}, 1)}
	log.OnSequenced(func() {
		select {
		case b.wake <- struct{}{}:
		default: // one is already waiting
		}
	})
	return b
}

// backoff sums up to about four minutes over five pauses.
func backoff(attempt int) time.Duration {
	pauses := [...]time.Duration{time.Second, 5 * time.Second, 20 * time.Second, time.Minute, 2 * time.Minute}
	return pauses[min(max(attempt, 1), len(pauses))-1]
}

// Subscribe adds subscriptions. It must be called before Start, and panics on a name used twice or a malformed subscription.
func (b *Bus) Subscribe(subscriptions ...Subscription) {
	for _, s := range subscriptions {
		s.check()
		if b.subs[s.Name] != nil {
			panic("event: two subscriptions named " + s.Name)
		}
		b.subs[s.Name] = newSubscription(b, s)
	}
}

// Start starts the embedded server, or connects to the external one, and begins relaying and delivering. It returns an error when
// the embedded server cannot start; an external server that is away is waited for in the background. After Stop it may be
// called again.
func (b *Bus) Start(ctx context.Context) error {
	b.life.Lock()
	defer b.life.Unlock()
	if b.cancel != nil {
		return errors.New("event: bus started twice")
	}
	if err := b.enrol(ctx); err != nil {
		return fmt.Errorf("event: register subscriptions: %w", err)
	}
	if err := b.connect(); err != nil {
		return err
	}
	// Whoever started the bus ends it with Stop, after the parts that use it.
	ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.run(ctx, "relay", b.relay)
	b.run(ctx, "live", b.feedLive)
	for _, s := range b.subs {
		b.run(ctx, s.Name, s.consume)
	}
	return nil
}

// Stop waits for the handlers that are running, then closes the connection and the embedded server. It may be called twice, or before
// Start.
func (b *Bus) Stop() {
	b.life.Lock()
	defer b.life.Unlock()
	if b.cancel == nil {
		return
	}
	b.cancel()
	b.tasks.Wait()
	b.cancel = nil
	b.live.close()
	b.mu.Lock()
	srv, conn := b.server, b.conn
	b.server, b.conn, b.js = nil, nil, nil
	b.mu.Unlock()
	b.forgetStream()
	conn.Close()
	if srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
}

// Server is the embedded server, nil when the bus uses an external one or is stopped.
func (b *Bus) Server() *server.Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil {
		return nil
	}
	return b.server.Server
}

// Conn is the connection to NATS, nil when the bus is stopped. It reconnects by itself for ever.
func (b *Bus) Conn() *nats.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conn
}

func (b *Bus) connect() (err error) {
	var srv *embedded
	options := []nats.Option{
		nats.Name("anwang"), nats.MaxReconnects(-1), nats.ReconnectWait(500 * time.Millisecond), nats.RetryOnFailedConnect(true),
		// Nothing is published into a buffer while disconnected: it would arrive late and out of order.
		nats.ReconnectBufSize(-1),
	}
	if b.cfg.URL == "" {
		if srv, err = startServer(b.db.Node, b.cfg); err != nil {
			return err
		}
		options = append(options, nats.InProcessServer(srv))
	}
	conn, err := nats.Connect(b.cfg.URL, append(options, b.cfg.Connect...)...)
	if err != nil {
		if srv != nil {
			srv.Shutdown()
		}
		return fmt.Errorf("连接消息服务失败，请检查地址和凭据：%w", err)
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(ackTimeout))
	if err != nil {
		return err // options of ours are wrong
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.server, b.conn, b.js = srv, conn, js
	return nil
}

// run runs a task in the background until Stop, again and again with growing pauses while it fails.
func (b *Bus) run(ctx context.Context, name string, task func(ctx context.Context) error) {
	b.tasks.Go(func() {
		const shortest, longest = 50 * time.Millisecond, 2 * time.Second
		pause, last, lastAt := shortest, "", time.Time{}
		for {
			began := time.Now()
			err := task(ctx)
			if ctx.Err() != nil {
				return
			}
			if time.Since(began) > longest {
				pause = shortest
			}
			// The same trouble again and again is told once a minute.
			if text := fmt.Sprint(err); text != last || time.Since(lastAt) > time.Minute {
				b.cfg.Log.WarnContext(ctx, "event delivery interrupted", "part", name, "error", err)
				last, lastAt = text, time.Now()
			}
			b.recover()
			if wait(ctx, pause); ctx.Err() != nil {
				return
			}
			pause = min(2*pause, longest)
		}
	})
}

// recover prepares the next attempt of a task: the stream may be gone, and an embedded server may have shut its storage.
func (b *Bus) recover() {
	b.forgetStream()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		if err := b.server.reviveJetStream(); err != nil {
			b.cfg.Log.Error("event storage is still down", "error", err)
		}
	}
}

// events returns the stream, made when it does not exist.
func (b *Bus) events(ctx context.Context) (jetstream.Stream, error) {
	b.streamMu.Lock()
	defer b.streamMu.Unlock()
	if b.stream != nil {
		return b.stream, nil
	}
	if !b.Conn().IsConnected() {
		return nil, errAway
	}
	stream, err := b.jetstream().CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        streamName,
		Subjects:    []string{allSubjects(b.db.Node)},
		Storage:     jetstream.FileStorage,
		Compression: jetstream.S2Compression,
		MaxAge:      b.cfg.MaxAge,
		MaxBytes:    b.cfg.MaxBytes,
		Discard:     jetstream.DiscardOld,
		Duplicates:  min(2*time.Minute, b.cfg.MaxAge),
		Replicas:    b.cfg.Replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", streamName, err)
	}
	b.stream = stream
	return stream, nil
}

func (b *Bus) forgetStream() {
	b.streamMu.Lock()
	defer b.streamMu.Unlock()
	b.stream = nil
}

func (b *Bus) jetstream() jetstream.JetStream {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.js
}

// wait waits for d or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
