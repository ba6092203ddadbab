// Package notify tells people what concerns them: in the program, by mail, and to other systems and chat robots by webhook.
//
// # What a message says
//
// A module declares a [Template]: its key, a closed set of fields, and the default words. [Notifier.Seed] writes the words as records, and from
// then on they belong to the administrator, who may edit them, give them dates or switch them off. Words are checked when they
// are saved, by rendering them with the samples of the fields, so that none fails when it matters.
//
// # How it gets there
//
// [Notifier.Send], in the transaction of what is being told, only writes rows: a message that was rolled back is never sent, and a mail server
// that is down holds nobody up. An in-app message is there once for each event, template and account, however often the event
// is delivered. Mail and webhooks go out afterwards, by whichever process leases them, with retries over a day; an operator may try
// again later. They arrive at least once: a process that dies between sending and noting it sends again, with the same Message-ID or
// X-Anwang-Delivery.
//
// # Secrets and persons
//
// Passwords, signing keys and webhook addresses (a robot's address is its key) are record.Secret. Addresses of persons and texts of messages never
// reach the program's log.
package notify

import (
	"context"
	"embed"
	"log/slog"
	"sync"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the tables of this package.
var Migrations = db.Migrations{Part: "notify", Files: files}

// Manage is the permission to edit templates and channels and to look after deliveries: the system administrator's.
const Manage = "notify.manage"

// Kind is a way of reaching people.
type Kind string

// The kinds of channels.
const (
	InApp   Kind = "inApp"
	Mail    Kind = "mail"
	Webhook Kind = "webhook"
)

// Level says how urgent a message is.
type Level string

// The levels.
const (
	Info    Level = "info"
	Warning Level = "warning"
	Urgent  Level = "urgent"
)

// Notifier is the messages of one installation. It is safe for concurrent use.
type Notifier struct {
	db        *db.DB
	audit     *audit.Log
	log       *slog.Logger
	templates *record.Store[Wording, *Wording]
	channels  *record.Store[Channel, *Channel]
	declared  map[string]*Template
	order     []string // keys of declared, as declared
	hooks     []func(account string)

	worker string // names this process in leases
	signal chan struct{}
	life   sync.Mutex
	stop   func()
}

// New returns the messages in d. Nothing leaves the house before Start.
func New(d *db.DB, log *audit.Log, reg *record.Registry, logger *slog.Logger) *Notifier {
	return &Notifier{db: d, audit: log, log: logger, declared: map[string]*Template{}, worker: d.Clock.NewID(), signal: make(chan struct{}, 1),
		templates: record.NewStore[Wording](d, log, reg, record.Type{Name: "notify.template", Title: "消息模板"}),
		channels:  record.NewStore[Channel](d, log, reg, record.Type{Name: "notify.channel", Title: "通知渠道"})}
}

// OnNew registers a function that is called with the account of each new in-app message, once it is on disk. It is called while the program is put
// together; f must be quick.
func (n *Notifier) OnNew(f func(account string)) { n.hooks = append(n.hooks, f) }

func (n *Notifier) today() string { return clock.Date(n.db.Clock.Now()) }

func allowed(ctx context.Context) error {
	if !actor.From(ctx).Can(Manage) {
		return errs.Forbidden("notify.forbidden", "管理通知需要系统管理员权限。")
	}
	return nil
}

// Start begins to send what leaves the house.
func (n *Notifier) Start(ctx context.Context) error {
	n.life.Lock()
	defer n.life.Unlock()
	if n.stop != nil {
		return nil
	}
	ctx = actor.AsSystem(context.WithoutCancel(ctx), "notify")
	claiming, claimNoMore := context.WithCancel(ctx)
	sending, hangUp := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.run(claiming, sending)
	}()
	n.stop = func() {
		claimNoMore()
		patience := time.AfterFunc(stopGrace, hangUp)
		defer patience.Stop()
		<-done
		hangUp()
	}
	return nil
}

// stopGrace is how long Stop lets a sending in progress end.
const stopGrace = 5 * time.Second

// Stop ends the sending: what is in progress may finish within five seconds, the rest waits for the next start. It may be called twice, and before Start.
func (n *Notifier) Stop() {
	n.life.Lock()
	defer n.life.Unlock()
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
}

// Swept says what a sweep has removed.
type Swept struct {
	Messages   int64
	Deliveries int64
}

// Sweep forgets what is old: in-app messages after a year when read and after two in any case, deliveries after thirty days when done and after half a
// year when they were given up. The application schedules it.
func (n *Notifier) Sweep(ctx context.Context) (Swept, error) {
	const day = 24 * time.Hour
	now := n.db.Clock.Now()
	var out Swept
	for _, s := range []struct {
		removed *int64
		query   string
		args    []any
	}{
		{&out.Messages, `DELETE FROM notify_message WHERE id IN (SELECT id FROM notify_message
			WHERE created_at < ? OR (created_at < ? AND read_at IS NOT NULL) LIMIT 1000)`, []any{now.Add(-730 * day), now.Add(-365 * day)}},
		{&out.Deliveries, `DELETE FROM notify_delivery WHERE id IN (SELECT id FROM notify_delivery
			WHERE (state = 'sent' AND created_at < ?) OR (state = 'failed' AND created_at < ?) LIMIT 1000)`, []any{now.Add(-30 * day), now.Add(-180 * day)}},
	} {
		for {
			var removed int64
			err := n.db.Tx(ctx, func(ctx context.Context) error {
				res, err := n.db.Conn(ctx).NewRaw(s.query, s.args...).Exec(ctx)
				if err != nil {
					return err
				}
				removed, err = res.RowsAffected()
				return err
			})
			if err != nil {
				return out, err
			}
			*s.removed += removed
			if removed == 0 {
				break
			}
		}
	}
	return out, nil
}
