package console

import (
	"context"
	"net/http"
	"time"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/module"
)

// get adds an operation that reads; post one that answers with what it has made or changed; act one that answers nothing but that it is done.
func get[I, T any](api *httpx.API, op httpx.Op, do func(ctx context.Context, in *I) (T, error)) {
	op.Method = http.MethodGet
	answer(api, op, do)
}

func post[I, T any](api *httpx.API, op httpx.Op, do func(ctx context.Context, in *I) (T, error)) {
	op.Method = http.MethodPost
	answer(api, op, do)
}

func act[I any](api *httpx.API, op httpx.Op, do func(ctx context.Context, in *I) error) {
	op.Method, op.Status = http.MethodPost, http.StatusNoContent
	httpx.Register(api, op, func(ctx context.Context, in *I) (*struct{}, error) { return nil, do(ctx, in) })
}

func answer[I, T any](api *httpx.API, op httpx.Op, do func(ctx context.Context, in *I) (T, error)) {
	httpx.Register(api, op, func(ctx context.Context, in *I) (*httpx.Body[T], error) {
		v, err := do(ctx, in)
		if err != nil {
			return nil, err
		}
		return httpx.Reply(v), nil
	})
}

// Listed is a list, or one page of it.
type Listed[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next" doc:"下一页从何处开始；空表示没有下一页"`
}

// listed wraps what a part has listed in full.
func listed[T any](items []T, err error) (Listed[T], error) {
	if items == nil {
		items = []T{}
	}
	return Listed[T]{Items: items}, err
}

// page wraps one page of limit items (0: the part's own default). id is where the next page begins after.
func page[T any](items []T, err error, limit, usual int, id func(T) string) (Listed[T], error) {
	l, err := listed(items, err)
	if limit == 0 {
		limit = usual
	}
	if len(items) > 0 && len(items) >= limit {
		l.Next = id(items[len(items)-1])
	}
	return l, err
}

// Read says which version of a record the caller has read: a stale one is a conflict.
type Read struct {
	Version int64 `json:"version" minimum:"1" doc:"读到的版本"`
}

// Ended says how many were ended or changed.
type Ended struct {
	Count int `json:"count" doc:"数量"`
}

// On is a question about one day.
type On struct {
	On string `query:"on" format:"date" doc:"哪一天，默认今天"`
}

// moment is noon of the day that is asked about, or now.
func (o On) moment(k *module.Kernel) time.Time {
	day, err := time.ParseInLocation(time.DateOnly, o.On, clock.Zone)
	if err != nil { // empty: the format has been checked
		return k.Clock.Now()
	}
	return day.Add(12 * time.Hour)
}
