package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/errs"
)

// InboxMessage is an in-app message.
type InboxMessage struct {
	ID         string     `bun:"id" json:"id"`
	Template   string     `bun:"template" json:"template"`
	Level      Level      `bun:"level" json:"level" enum:"info,warning,urgent"`
	Title      string     `bun:"title" json:"title"`
	Text       string     `bun:"body" json:"text"`
	RecordType string     `bun:"record_type" json:"recordType" doc:"所关联记录的类型，可为空"`
	RecordID   string     `bun:"record_id" json:"recordId"`
	CreatedAt  time.Time  `bun:"created_at" json:"createdAt"`
	ReadAt     *time.Time `bun:"read_at" json:"readAt,omitempty"`
}

// InboxInput says which of one's messages to list.
type InboxInput struct {
	UnreadOnly bool   `json:"unreadOnly,omitempty" query:"unreadOnly" doc:"只列未读"`
	Before     string `json:"before,omitempty" query:"before" maxLength:"36" doc:"上一页的 next"`
	Limit      int    `json:"limit,omitempty" query:"limit" minimum:"1" maximum:"100" default:"20"`
}

// InboxPage is a page of one's messages, the newest first.
type InboxPage struct {
	Items []InboxMessage `json:"items" nullable:"false"`
	Next  string         `json:"next,omitempty" doc:"下一页的 before；空表示没有了"`
}

// Inbox lists the messages of the account that is acting: nobody reads another's.
func (n *Notifier) Inbox(ctx context.Context, in InboxInput) (*InboxPage, error) {
	account, err := self(ctx)
	if err != nil {
		return nil, err
	}
	limit := min(max(in.Limit, 1), 100)
	if in.Limit == 0 {
		limit = 20
	}
	page := &InboxPage{Items: []InboxMessage{}}
	q := n.db.Conn(ctx).NewSelect().TableExpr("notify_message AS m").
		Column("id", "template", "level", "title", "body", "record_type", "record_id", "created_at", "read_at").Where("m.account = ?", account)
	if in.UnreadOnly {
		q = q.Where("m.read_at IS NULL")
	}
	if in.Before != "" {
		q = q.Where("m.id < ?", in.Before)
	}
	if err := q.Order("m.id DESC").Limit(int64(limit)+1).Scan(ctx, &page.Items); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		page.Next = page.Items[limit-1].ID
	}
	return page, nil
}

// MaxUnread is where UnreadCount stops counting.
const MaxUnread = 1000

// UnreadCount says how many messages the acting account has not read, MaxUnread at most.
func (n *Notifier) UnreadCount(ctx context.Context) (count int, err error) {
	account, err := self(ctx)
	if err != nil {
		return 0, err
	}
	err = n.db.Conn(ctx).NewRaw("SELECT count(*) FROM (SELECT 1 FROM notify_message WHERE account = ? AND read_at IS NULL LIMIT ?) AS x", account, MaxUnread).Scan(ctx, &count)
	return count, err
}

// MarkRead marks messages of the acting account as read and says how many were unread. Those of others, and those that do not exist, are passed over.
func (n *Notifier) MarkRead(ctx context.Context, ids []string) (int64, error) {
	if len(ids) == 0 {
		return 0, nil
	}
	return n.markRead(ctx, "id IN (?)", bun.List(ids))
}

// MarkAllRead marks all messages of the acting account as read and says how many were unread.
func (n *Notifier) MarkAllRead(ctx context.Context) (int64, error) { return n.markRead(ctx, "TRUE") }

func (n *Notifier) markRead(ctx context.Context, which string, args ...any) (count int64, err error) {
	account, err := self(ctx)
	if err != nil {
		return 0, err
	}
	err = n.db.Tx(ctx, func(ctx context.Context) error {
		res, err := n.db.Conn(ctx).NewRaw("UPDATE notify_message SET read_at = ? WHERE account = ? AND read_at IS NULL AND "+which,
			append([]any{n.db.Clock.Now(), account}, args...)...).Exec(ctx)
		if err != nil {
			return fmt.Errorf("mark read: %w", err)
		}
		count, err = res.RowsAffected()
		return err
	})
	return count, err
}

func self(ctx context.Context) (string, error) {
	a := actor.From(ctx)
	if a.Kind != actor.Person && a.Kind != actor.Token {
		return "", errs.Unauthenticated("notify.signIn", "请先登录再查看消息。")
	}
	return a.ID, nil
}
