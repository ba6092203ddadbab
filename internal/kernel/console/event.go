package console

import (
	"context"

	"anwang/internal/kernel/event"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/module"
)

const tagEvent = "事件"

// EventStatus is how the delivery of events is doing.
type EventStatus struct {
	Lag           event.Lag      `json:"lag" doc:"发布落后于日志多少"`
	Subscriptions []event.Status `json:"subscriptions" nullable:"false"`
}

// ParkedQuery selects parked events.
type ParkedQuery struct {
	Subscription string `query:"subscription" maxLength:"100" doc:"某项处理，空为全部"`
	After        string `query:"after" maxLength:"64" doc:"上一页的 next"`
	Limit        int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// RetryAllInput says what to retry.
type RetryAllInput struct {
	Subscription string `json:"subscription,omitempty" maxLength:"100" doc:"某项处理，空为全部"`
}

// Retried says how a retry or a replay went.
type Retried struct {
	Done   int `json:"done" doc:"已处理"`
	Failed int `json:"failed" doc:"未成功，搁置"`
}

// DiscardInput gives an event up.
type DiscardInput struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"放弃的理由，记入日志"`
}

// ReplayInput says what to replay.
type ReplayInput struct {
	Subscription string `json:"subscription" minLength:"1" maxLength:"100" doc:"哪项处理"`
	FromSeq      int64  `json:"fromSeq" minimum:"0" doc:"从日志的哪一条起"`
}

// events adds the operators' operations. Handling an event decides its own transaction, so those that handle are Detached; a repeat finds the event gone.
func events(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "event-status", Path: "/events/status", Title: "事件处理状态", Tag: tagEvent, Need: event.PermissionOperate},
		func(ctx context.Context, _ *struct{}) (EventStatus, error) {
			lag, err := k.Bus.Lag(ctx)
			if err != nil {
				return EventStatus{}, err
			}
			subscriptions, err := k.Bus.Status(ctx)
			return EventStatus{lag, subscriptions}, err
		})
	get(api, httpx.Op{ID: "list-parked-events", Path: "/parked-events", Title: "搁置的事件", Tag: tagEvent, Need: event.PermissionOperate},
		func(ctx context.Context, in *ParkedQuery) (Listed[event.Parked], error) {
			list, err := k.Bus.Parked(ctx, in.Subscription, in.After, in.Limit)
			return page(list, err, in.Limit, 50, func(p event.Parked) string { return p.ID })
		})
	act(api, httpx.Op{ID: "retry-parked-event", Path: "/parked-events/{id}/retry", Title: "重试搁置的事件", Tag: tagEvent, Need: event.PermissionOperate, Detached: true},
		func(ctx context.Context, in *httpx.ByID) error { return k.Bus.Retry(ctx, in.ID) })
	post(api, httpx.Op{ID: "retry-parked-events", Path: "/parked-events/retry", Title: "重试全部搁置的事件", Tag: tagEvent, Need: event.PermissionOperate, Detached: true},
		func(ctx context.Context, in *httpx.Body[RetryAllInput]) (Retried, error) {
			done, failed, err := k.Bus.RetryAll(ctx, in.Body.Subscription)
			return Retried{done, failed}, err
		})
	act(api, httpx.Op{ID: "discard-parked-event", Path: "/parked-events/{id}/discard", Title: "放弃搁置的事件", Tag: tagEvent, Need: event.PermissionOperate},
		func(ctx context.Context, in *httpx.ByIDWith[DiscardInput]) error {
			return k.Bus.Discard(ctx, in.ID, in.Body.Reason)
		})
	post(api, httpx.Op{ID: "replay-events", Path: "/events/replay", Title: "重放事件", Tag: tagEvent, Need: event.PermissionOperate, Detached: true},
		func(ctx context.Context, in *httpx.Body[ReplayInput]) (Retried, error) {
			done, failed, err := k.Bus.Replay(ctx, in.Body.Subscription, in.Body.FromSeq)
			return Retried{done, failed}, err
		})
}
