package console

import (
	"context"
	"net/http"

	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/module"
	"anwang/internal/kernel/notify"
)

const tagNotify = "消息"

// Unread counts unread messages.
type Unread struct {
	Count int `json:"count" doc:"未读条数，最多数到 1000"`
}

// ReadInput names messages.
type ReadInput struct {
	IDs []string `json:"ids" minItems:"1" maxItems:"200" doc:"消息标识"`
}

// SaveChannelInput makes or changes a channel.
type SaveChannelInput struct {
	Version int64 `json:"version,omitempty" minimum:"0" doc:"读到的版本；新增为 0"`
	notify.ChannelInput
}

// TestInput says where a test message goes.
type TestInput struct {
	To string `json:"to,omitempty" maxLength:"255" doc:"收件地址；推送渠道不填"`
}

// SaveWordsInput makes or changes the words of a template.
type SaveWordsInput struct {
	ID      string `json:"id,omitempty" maxLength:"64" doc:"要修改的文字；空为新增"`
	Version int64  `json:"version,omitempty" minimum:"0" doc:"读到的版本；新增为 0"`
	notify.WordsInput
}

// Rendered is a message as it would read.
type Rendered struct {
	Title string `json:"title"`
	Body  string `json:"body"`
}

func messages(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "list-messages", Path: "/messages", Title: "我的消息", Tag: tagNotify},
		func(ctx context.Context, in *struct{ notify.InboxInput }) (*notify.InboxPage, error) {
			return k.Notify.Inbox(ctx, in.InboxInput)
		})
	get(api, httpx.Op{ID: "count-unread-messages", Path: "/messages/unread", Title: "未读消息数", Tag: tagNotify},
		func(ctx context.Context, _ *struct{}) (Unread, error) {
			n, err := k.Notify.UnreadCount(ctx)
			return Unread{n}, err
		})
	post(api, httpx.Op{ID: "read-messages", Path: "/messages/read", Title: "标为已读", Tag: tagNotify},
		func(ctx context.Context, in *httpx.Body[ReadInput]) (Ended, error) {
			n, err := k.Notify.MarkRead(ctx, in.Body.IDs)
			return Ended{int(n)}, err
		})
	post(api, httpx.Op{ID: "read-all-messages", Path: "/messages/read-all", Title: "全部标为已读", Tag: tagNotify},
		func(ctx context.Context, _ *struct{}) (Ended, error) {
			n, err := k.Notify.MarkAllRead(ctx)
			return Ended{int(n)}, err
		})
}

func channels(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "list-channels", Path: "/channels", Title: "通知渠道", Tag: tagNotify, Need: notify.Manage},
		func(ctx context.Context, _ *struct{}) (Listed[notify.ChannelInfo], error) {
			return listed(k.Notify.Channels(ctx))
		})
	post(api, httpx.Op{ID: "save-channel", Path: "/channels", Title: "设定通知渠道", Tag: tagNotify, Need: notify.Manage},
		func(ctx context.Context, in *httpx.Body[SaveChannelInput]) (*notify.ChannelInfo, error) {
			return k.Notify.SaveChannel(ctx, in.Body.Version, in.Body.ChannelInput)
		})
	act(api, httpx.Op{ID: "test-channel", Path: "/channels/{key}/test", Title: "发送测试消息", Tag: tagNotify, Need: notify.Manage, Detached: true},
		func(ctx context.Context, in *struct {
			Key  string `path:"key" maxLength:"40"`
			Body TestInput
		}) error {
			return k.Notify.SendTest(ctx, in.Key, in.Body.To)
		})
	get(api, httpx.Op{ID: "list-deliveries", Path: "/deliveries", Title: "发送记录", Tag: tagNotify, Need: notify.Manage},
		func(ctx context.Context, in *struct{ notify.DeliveriesInput }) (Listed[notify.DeliveryInfo], error) {
			list, err := k.Notify.Deliveries(ctx, in.DeliveriesInput)
			return page(list, err, in.Limit, 50, func(d notify.DeliveryInfo) string { return d.ID })
		})
	act(api, httpx.Op{ID: "retry-delivery", Path: "/deliveries/{id}/retry", Title: "重新发送", Tag: tagNotify, Need: notify.Manage},
		func(ctx context.Context, in *httpx.ByID) error { return k.Notify.Retry(ctx, in.ID) })
	get(api, httpx.Op{ID: "list-templates", Path: "/templates", Title: "消息模板", Tag: tagNotify, Need: notify.Manage},
		func(ctx context.Context, _ *struct{}) (Listed[notify.TemplateInfo], error) {
			return listed(k.Notify.Templates(ctx))
		})
	post(api, httpx.Op{ID: "preview-template", Path: "/templates/preview", Title: "预览消息", Tag: tagNotify, Need: notify.Manage},
		func(ctx context.Context, in *httpx.Body[notify.WordsInput]) (Rendered, error) {
			title, body, err := k.Notify.Preview(ctx, in.Body)
			return Rendered{title, body}, err
		})
	post(api, httpx.Op{ID: "save-template", Path: "/templates", Title: "设定消息模板", Tag: tagNotify, Need: notify.Manage, Status: http.StatusCreated},
		func(ctx context.Context, in *httpx.Body[SaveWordsInput]) (*notify.Wording, error) {
			return k.Notify.SaveWords(ctx, in.Body.ID, in.Body.Version, in.Body.WordsInput)
		})
}
