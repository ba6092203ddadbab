package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
)

// State is where a delivery stands.
type State string

// The states of a delivery.
const (
	Waiting State = "waiting" // for its time
	Sending State = "sending" // leased by a process
	Sent    State = "sent"
	Failed  State = "failed" // given up; an operator may try again
)

const (
	senders     = 8                // at once, in one process
	poll        = time.Second      // how often due retries are looked for
	sendTimeout = 30 * time.Second // for one delivery, from dialling to the answer
	lease       = 2 * time.Minute  // longer than a sending may take
)

// pauses lie between attempts: after the last one a delivery is given up, some 21 hours after it began.
var pauses = [...]time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour}

// refusal is an answer that will not change by asking again: an address that does not exist, a body that is not understood.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func (n *Notifier) wake() {
	select {
	case n.signal <- struct{}{}:
	default: // one is already waiting
	}
}

// run sends what is due until claiming ends, and returns when the last sending has. sending is the context of those.
func (n *Notifier) run(claiming, sending context.Context) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	free := make(chan struct{}, senders)
	for range senders {
		free <- struct{}{}
	}
	var busy sync.WaitGroup
	defer busy.Wait()
	for {
		select {
		case <-claiming.Done():
			return
		case <-free:
		}
		slots := 1 + len(free) // only this goroutine takes
		due, err := n.claim(sending, slots)
		if err != nil {
			n.log.Warn("notify: deliveries not read, trying again", "err", err)
		}
		for i := range due {
			if i > 0 {
				<-free
			}
			busy.Go(func() {
				defer func() { free <- struct{}{} }()
				n.deliver(sending, &due[i])
			})
		}
		if len(due) == slots {
			continue
		}
		if len(due) == 0 {
			free <- struct{}{}
		}
		select {
		case <-claiming.Done():
			return
		case <-n.signal:
		case <-tick.C:
		}
	}
}

// claim leases up to limit deliveries that are due, or whose process has let its lease run out.
func (n *Notifier) claim(ctx context.Context, limit int) (due []delivery, err error) {
	skip := ""
	if n.db.Engine == db.Postgres {
		skip = " FOR UPDATE SKIP LOCKED"
	}
	err = n.db.Tx(ctx, func(ctx context.Context) error {
		now := n.db.Clock.Now()
		return n.db.Conn(ctx).NewRaw(`WITH due AS MATERIALIZED (SELECT id FROM notify_delivery WHERE next_at <= ?0 AND (state = 'waiting' OR state = 'sending' AND lease_until < ?0)
			ORDER BY next_at LIMIT ?1`+skip+`)
			UPDATE notify_delivery SET state = 'sending', attempts = attempts + 1, lease_until = ?2, worker = ?3 WHERE id IN (SELECT id FROM due)
			RETURNING id, event, channel, address, template, level, title, body, record_type, record_id, state, attempts, next_at, worker, error, created_at`,
			now, limit, now.Add(lease), n.worker).Scan(ctx, &due)
	})
	return due, err
}

// deliver sends one delivery and notes the outcome.
func (n *Notifier) deliver(ctx context.Context, d *delivery) {
	err := n.attempt(ctx, d)
	state, text := Sent, ""
	now := n.db.Clock.Now()
	next := now
	if err != nil {
		var final *refusal
		if errors.As(err, &final) || d.Attempts > len(pauses) {
			state = Failed
		} else {
			state, next = Waiting, now.Add(pauses[d.Attempts-1])
		}
		text = clip(hideAddress(err.Error(), d.Address), 300)
		n.log.Warn("notify: delivery failed", "delivery", d.ID, "channel", d.Channel, "attempt", d.Attempts, "state", state, "err", logText(err))
	}
	err = n.db.Tx(context.WithoutCancel(ctx), func(ctx context.Context) error {
		_, err := n.db.Conn(ctx).NewRaw(`UPDATE notify_delivery SET state = ?, next_at = ?, error = ?, lease_until = NULL, done_at = ?
			WHERE id = ? AND worker = ? AND state = 'sending'`, state, next, text, now, d.ID, n.worker).Exec(ctx)
		return err
	})
	if err != nil {
		n.log.Error("notify: outcome of a delivery not noted: it will be sent again", "delivery", d.ID, "err", err)
	}
}

// attempt sends one delivery by its channel.
func (n *Notifier) attempt(ctx context.Context, d *delivery) error {
	c, err := n.channel(ctx, d.Channel)
	if err != nil {
		return err
	}
	if c == nil || !c.Enabled {
		return errors.New("渠道不存在或已停用")
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if c.Kind == Mail {
		return n.sendMail(ctx, c, d)
	}
	return n.sendWebhook(ctx, c, d)
}

// hideAddress keeps a person's address out of an error's text, in which servers like to repeat it.
func hideAddress(text, address string) string {
	if address == "" {
		return text
	}
	return strings.ReplaceAll(text, address, maskAddress(address))
}

func maskAddress(address string) string {
	local, domain, ok := strings.Cut(address, "@")
	if !ok || local == "" {
		return "***"
	}
	return string([]rune(local)[:1]) + "***@" + domain
}

// logText is what of an error may enter the log: of a server's answer its number alone, since it may quote persons.
func logText(err error) string {
	var answer *answerError
	if errors.As(err, &answer) {
		return answer.short
	}
	return err.Error()
}

// answerError is what a server said.
type answerError struct {
	short string // "smtp 550"
	text  string
}

func (e *answerError) Error() string { return e.short + " " + e.text }

// DeliveryInfo is a delivery as operators see it: the address masked, without the text.
type DeliveryInfo struct {
	ID        string     `bun:"id" json:"id"`
	Channel   string     `bun:"channel" json:"channel"`
	Address   string     `bun:"address" json:"address" doc:"收件地址，已遮盖"`
	Template  string     `bun:"template" json:"template"`
	State     State      `bun:"state" json:"state" enum:"waiting,sending,sent,failed"`
	Attempts  int        `bun:"attempts" json:"attempts"`
	NextAt    time.Time  `bun:"next_at" json:"nextAt" doc:"下次发送时间"`
	Error     string     `bun:"error" json:"error" doc:"最近一次失败的原因"`
	CreatedAt time.Time  `bun:"created_at" json:"createdAt"`
	DoneAt    *time.Time `bun:"done_at" json:"doneAt,omitempty" doc:"最近一次发送的时间"`
}

// DeliveriesInput says which deliveries to list.
type DeliveriesInput struct {
	State  State  `json:"state,omitempty" query:"state" enum:",waiting,sending,sent,failed"`
	Before string `json:"before,omitempty" query:"before" maxLength:"36" doc:"上一页最后一条的 id"`
	Limit  int    `json:"limit,omitempty" query:"limit" minimum:"1" maximum:"100" default:"50"`
}

// Deliveries lists deliveries, the newest first. It asks for the permission Manage.
func (n *Notifier) Deliveries(ctx context.Context, in DeliveriesInput) ([]DeliveryInfo, error) {
	if err := allowed(ctx); err != nil {
		return nil, err
	}
	limit := min(max(in.Limit, 1), 100)
	if in.Limit == 0 {
		limit = 50
	}
	out := []DeliveryInfo{}
	q := n.db.Conn(ctx).NewSelect().TableExpr("notify_delivery AS d").
		Column("id", "channel", "address", "template", "state", "attempts", "next_at", "error", "created_at", "done_at")
	if in.State != "" {
		q = q.Where("d.state = ?", in.State)
	}
	if in.Before != "" {
		q = q.Where("d.id < ?", in.Before)
	}
	if err := q.Order("d.id DESC").Limit(int64(limit)).Scan(ctx, &out); err != nil {
		return nil, fmt.Errorf("deliveries: %w", err)
	}
	for i := range out {
		if out[i].Address != "" {
			out[i].Address = maskAddress(out[i].Address)
		}
	}
	return out, nil
}

// Retry lets a delivery that was given up begin anew, and one that waits go at once. It asks for the permission Manage, and is written into the log.
func (n *Notifier) Retry(ctx context.Context, id string) error {
	if err := allowed(ctx); err != nil {
		return err
	}
	return n.db.Tx(ctx, func(ctx context.Context) error {
		res, err := n.db.Conn(ctx).NewRaw("UPDATE notify_delivery SET state = 'waiting', attempts = 0, next_at = ? WHERE id = ? AND state IN ('failed', 'waiting')",
			n.db.Clock.Now(), id).Exec(ctx)
		if err != nil {
			return fmt.Errorf("retry delivery: %w", err)
		}
		if count, err := res.RowsAffected(); err != nil {
			return err
		} else if count == 0 {
			return errs.NotFound("notify.noDelivery", "没有这条待重发的通知，可能已经发出。")
		}
		n.db.AfterCommit(ctx, n.wake)
		return n.audit.Append(ctx, audit.Entry{Kind: "notify.retried", Title: "重发通知", Data: map[string]string{"delivery": id}})
	})
}

// SendTest sends a test message by a channel at once and says why it did not work. to is a mail address; a webhook needs none. It asks for the permission
// Manage, is written into the log, and must not be called inside a transaction.
func (n *Notifier) SendTest(ctx context.Context, key, to string) error {
	if err := allowed(ctx); err != nil {
		return err
	}
	c, err := n.channel(ctx, key)
	if err != nil {
		return err
	}
	if c == nil {
		return n.channels.Type.NotFound()
	}
	d := &delivery{ID: n.db.Clock.NewID(), Channel: key, Template: "test", Level: Info, Title: "安网测试消息",
		Body: "收到这条消息，说明通知渠道“" + c.Title + "”已经可以使用。", CreatedAt: n.db.Clock.Now()}
	send := n.sendWebhook
	if c.Kind == Mail {
		send = n.sendMail
		if d.Address, err = checkAddress(to); err != nil {
			return err
		}
	}
	within, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	failure := send(within, c, d)
	if err := n.db.Tx(context.WithoutCancel(ctx), func(ctx context.Context) error {
		return n.channels.Note(ctx, c, channelTested(failure == nil))
	}); err != nil {
		return err
	}
	if failure != nil {
		return errs.Conflict("notify.testFailed", "测试消息没有发出："+clip(failure.Error(), 300)+"。请检查渠道设置和网络。").Because(failure)
	}
	return nil
}
