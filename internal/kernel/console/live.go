package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/module"
	"anwang/internal/kernel/scope"
)

// heartbeat is how often a stream says that it lives, and looks whether its login still does.
const heartbeat = 15 * time.Second

// Happened is what a stream tells of an event: that something changed, not what it says now. Who wants to know asks for the record.
type Happened struct {
	Kind       string    `json:"kind" doc:"如 hiddendanger.assigned"`
	Title      string    `json:"title"`
	RecordType string    `json:"recordType"`
	RecordID   string    `json:"recordId"`
	Version    int64     `json:"version"`
	At         time.Time `json:"at"`
}

// live streams what happens in the caller's sight. The stream is no use of the login: an open page keeps nobody signed in.
func live(api *httpx.API, k *module.Kernel) {
	api.Handle(httpx.Op{ID: "live", Method: "GET", Path: "/live", Title: "实时变动", Tag: tagEvent,
		Doc: "server-sent events：只含本人可见的记录发生了什么，不含内容。event: lost 表示漏了一些，请重新查询；event: end 表示登录已结束。"}, nil, nil,
		func(w http.ResponseWriter, r *http.Request) error {
			s := &stream{ResponseWriter: w, control: http.NewResponseController(w)}
			token, _ := httpx.Token(r)
			return s.run(r.Context(), k, token)
		})
}

type stream struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (s *stream) run(ctx context.Context, k *module.Kernel, token string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the watching
	events := k.Bus.Watch(ctx)
	s.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	s.Header().Set("X-Accel-Buffering", "no") // a proxy in front passes each line on at once
	s.say("retry: 5000\n: " + k.DB.Node + "\n\n")
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		var e event.Event
		select {
		case <-ctx.Done():
			return nil
		case <-httpx.Closing(ctx):
			return nil
		case <-tick.C:
		case next, ok := <-events:
			if !ok {
				return nil
			}
			e = next
		}
		// The rights are those of this moment, not of when the stream began.
		who, login, err := k.Access.Peek(ctx, token)
		if err != nil || login != nil && login.MustChange {
			s.say("event: end\ndata: {}\n\n")
			return nil
		}
		if !s.tell(actor.With(ctx, who), e) {
			return nil // the caller is gone
		}
	}
}

// tell writes the event if the actor in ctx may know of it, or a sign of life.
func (s *stream) tell(ctx context.Context, e event.Event) bool {
	switch {
	case e.Kind == "":
		return s.say(": \n\n")
	case e.Kind == event.KindLost:
		return s.say("event: lost\ndata: {}\n\n")
	case !mayKnow(ctx, &e):
		return true
	}
	b, err := json.Marshal(Happened{e.Kind, e.Title, e.RecordType, e.RecordID, e.Version, e.At})
	return err == nil && s.say(fmt.Sprintf("id: %d\nevent: change\ndata: %s\n\n", e.Seq, b))
}

func (s *stream) say(text string) bool {
	// A reader who takes nothing for a minute is gone.
	s.control.SetWriteDeadline(time.Now().Add(time.Minute)) //nolint:errcheck // not every connection has one
	_, err := s.Write([]byte(text))
	return err == nil && s.control.Flush() == nil
}

// mayKnow reports whether the actor in ctx may know that an event happened. The record's place decides, by the permission to view the module; a record
// that lies nowhere concerns only whoever operates the installation.
func mayKnow(ctx context.Context, e *event.Event) bool {
	var p scope.Place
	if err := json.Unmarshal(e.Body, &p); err != nil || p.ProvinceCode == "" && p.EnterpriseID == "" {
		return actor.From(ctx).Can(event.PermissionOperate)
	}
	name, _, _ := strings.Cut(e.Kind, ".")
	return scope.For(ctx, name+".view").Sees(p)
}
