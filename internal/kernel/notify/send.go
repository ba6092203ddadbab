package notify

import (
	"context"
	"fmt"
	"net/mail"
	"time"

	"github.com/uptrace/bun"
)

// Message is something to be told.
type Message struct {
	Template   string         // key of a declared template
	To         []Recipient    // duplicates are told once
	Data       map[string]any // by field name; times are shown in Shanghai's
	RecordType string         // what the message is about, for the link; may be empty
	RecordID   string
	Level      Level  // default Info
	DedupeKey  string // usually the id of the event that is being told; required
}

// Recipient is somebody to tell: each address that is set is used, if the template has words for its kind of channel.
type Recipient struct {
	Account string // in-app
	Mail    string // mail address; by the channel "mail"
	Channel string // key of a webhook channel
}

// mailChannel is the key of the channel by which mail leaves.
const mailChannel = "mail"

// message is an in-app message as it is stored.
type message struct {
	bun.BaseModel `bun:"table:notify_message,alias:m"`
	ID            string    `bun:"id,pk"`
	Account       string    `bun:"account"`
	Event         string    `bun:"event"`
	Template      string    `bun:"template"`
	Level         Level     `bun:"level"`
	Title         string    `bun:"title"`
	Body          string    `bun:"body"`
	RecordType    string    `bun:"record_type"`
	RecordID      string    `bun:"record_id"`
	CreatedAt     time.Time `bun:"created_at"`
}

// delivery is a message on its way out.
type delivery struct {
	bun.BaseModel `bun:"table:notify_delivery,alias:d"`
	ID            string    `bun:"id,pk"`
	Event         string    `bun:"event"`
	Channel       string    `bun:"channel"`
	Address       string    `bun:"address"` // empty for a webhook
	Template      string    `bun:"template"`
	Level         Level     `bun:"level"`
	Title         string    `bun:"title"`
	Body          string    `bun:"body"`
	RecordType    string    `bun:"record_type"`
	RecordID      string    `bun:"record_id"`
	State         State     `bun:"state"`
	Attempts      int       `bun:"attempts"`
	NextAt        time.Time `bun:"next_at"`
	Worker        string    `bun:"worker"`
	Error         string    `bun:"error"`
	CreatedAt     time.Time `bun:"created_at"`
}

// Send writes a message for all its recipients, in the transaction that ctx is in or in one of its own. Nothing is sent before the commit, and nothing at all
// when the same DedupeKey has told the same template to the same recipient before. A channel that is missing or switched off is passed over: what could not be
// sent then is not sent months later. Errors are the program's: an undeclared template or field, no DedupeKey.
func (n *Notifier) Send(ctx context.Context, m Message) error {
	t := n.declared[m.Template]
	if t == nil {
		return fmt.Errorf("notify: template %q is not declared", m.Template)
	}
	if m.DedupeKey == "" {
		return fmt.Errorf("notify: message %s without a DedupeKey", m.Template)
	}
	if m.Level == "" {
		m.Level = Info
	}
	return n.db.Tx(ctx, func(ctx context.Context) error {
		forms, err := n.inForce(ctx, m.Template)
		if err != nil {
			return err
		}
		rendered := map[Kind]words{}
		for kind, form := range forms {
			if rendered[kind], err = t.render(form.Title, form.Body, m.Data); err != nil {
				return fmt.Errorf("notify %s: %w", m.Template, err)
			}
		}
		if err := n.writeMessages(ctx, &m, rendered); err != nil {
			return err
		}
		return n.writeDeliveries(ctx, &m, rendered)
	})
}

func (n *Notifier) writeMessages(ctx context.Context, m *Message, rendered map[Kind]words) error {
	w, ok := rendered[InApp]
	if !ok {
		return nil
	}
	var rows []message
	for _, account := range distinct(m.To, func(r Recipient) string { return r.Account }) {
		rows = append(rows, message{ID: n.db.Clock.NewID(), Account: account, Event: m.DedupeKey, Template: m.Template, Level: m.Level, Title: w.Title, Body: w.Body,
			RecordType: m.RecordType, RecordID: m.RecordID, CreatedAt: n.db.Clock.Now()})
	}
	const chunk = 500
	for len(rows) > 0 {
		some := rows[:min(chunk, len(rows))]
		rows = rows[len(some):]
		var told []string
		err := n.db.Conn(ctx).NewInsert().Model(&some).On("CONFLICT (account, event, template) DO NOTHING").Returning("account").Scan(ctx, &told)
		if err != nil {
			return fmt.Errorf("notify %s: %w", m.Template, err)
		}
		n.db.AfterCommit(ctx, func() {
			for _, account := range told {
				for _, f := range n.hooks {
					f(account)
				}
			}
		})
	}
	return nil
}

func (n *Notifier) writeDeliveries(ctx context.Context, m *Message, rendered map[Kind]words) error {
	var rows []delivery
	add := func(kind Kind, channel, address string) {
		w, ok := rendered[kind]
		if !ok {
			return
		}
		now := n.db.Clock.Now()
		rows = append(rows, delivery{ID: n.db.Clock.NewID(), Event: m.DedupeKey, Channel: channel, Address: address, Template: m.Template, Level: m.Level,
			Title: w.Title, Body: w.Body, RecordType: m.RecordType, RecordID: m.RecordID, State: Waiting, NextAt: now, CreatedAt: now})
	}
	mails := distinct(m.To, func(r Recipient) string { return r.Mail })
	hooks := distinct(m.To, func(r Recipient) string { return r.Channel })
	if len(mails)+len(hooks) == 0 {
		return nil
	}
	on, err := n.enabled(ctx)
	if err != nil {
		return err
	}
	for _, address := range mails {
		if a, err := mail.ParseAddress(address); err == nil && on[mailChannel] == Mail {
			add(Mail, mailChannel, a.Address)
		}
	}
	for _, key := range hooks {
		if on[key] == Webhook {
			add(Webhook, key, "")
		} else {
			n.log.Warn("notify: message not sent by webhook: channel missing or switched off", "channel", key, "template", m.Template)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if _, err := n.db.Conn(ctx).NewInsert().Model(&rows).On("CONFLICT (event, template, channel, address) DO NOTHING").Exec(ctx); err != nil {
		return fmt.Errorf("notify %s: %w", m.Template, err)
	}
	n.db.AfterCommit(ctx, n.wake)
	return nil
}

// distinct lists what of returns for the recipients, each once and none empty.
func distinct(to []Recipient, of func(Recipient) string) []string {
	seen := map[string]bool{"": true}
	var out []string
	for _, r := range to {
		if v := of(r); !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}
