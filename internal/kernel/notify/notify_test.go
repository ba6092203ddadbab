package notify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/notify"
	"anwang/internal/kernel/record"
)

var parts = []db.Migrations{audit.Migrations, notify.Migrations}

var assigned = notify.Template{Key: "danger.assigned", Name: "隐患整改下达",
	Fields: []notify.Field{{"no", "编号", "YH-1"}, {"due", "期限", "2026年3月20日 12:00"}, {"who", "责任单位", "甲公司"}},
	Texts: []notify.Text{
		{notify.InApp, "隐患{{.no}}已下达整改", "请于{{.due}}前完成。{{if .who}}责任单位：{{.who}}{{else}}责任单位待定{{end}}"},
		{notify.Mail, "隐患{{.no}}整改通知", "请于{{.due}}前完成。"},
		{notify.Webhook, "隐患{{.no}}", "{{.who}}"},
	}}

type world struct {
	*notify.Notifier
	t    testing.TB
	db   *db.DB
	log  *audit.Log
	reg  *record.Registry
	text *syncBuffer // the program's log
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

// open returns a process on the database: each call is another one.
func open(t testing.TB, d *db.DB, templates ...notify.Template) *world {
	t.Helper()
	w := &world{t: t, db: d, log: kerneltest.NewLog(t, d), reg: &record.Registry{}, text: &syncBuffer{}}
	w.Notifier = notify.New(d, w.log, w.reg, slog.New(slog.NewTextHandler(w.text, nil)))
	w.Declare(assigned)
	w.Declare(templates...)
	if err := w.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w
}

func (w *world) start() {
	w.t.Helper()
	if err := w.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) send(m notify.Message) {
	w.t.Helper()
	if m.Template == "" {
		m.Template = assigned.Key
	}
	if err := w.Send(w.t.Context(), m); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	if err := w.db.Conn(w.t.Context()).NewRaw(query, args...).Scan(w.t.Context(), &n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func account(ctx context.Context, id string) context.Context {
	return actor.With(ctx, &actor.Actor{Kind: actor.Person, ID: id, Name: id})
}

func sysadmin(ctx context.Context) context.Context {
	return actor.With(ctx, &actor.Actor{Kind: actor.Person, ID: "sysadmin", Name: "系统管理员", Admin: "system",
		Grants: []actor.Grant{{Permissions: []string{notify.Manage}}}})
}

func to(accounts ...string) (out []notify.Recipient) {
	for _, a := range accounts {
		out = append(out, notify.Recipient{Account: a})
	}
	return out
}

func code(err error) string {
	if e := errs.As(err); e != nil {
		return e.Code
	}
	return fmt.Sprint(err)
}

func ptr[T any](v T) *T { return &v }

func (w *world) inbox(id string, in notify.InboxInput) *notify.InboxPage {
	w.t.Helper()
	page, err := w.Inbox(account(w.t.Context(), id), in)
	if err != nil {
		w.t.Fatal(err)
	}
	return page
}

func TestInbox(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d)
		var mu sync.Mutex
		told := map[string]int{}
		w.OnNew(func(a string) { mu.Lock(); told[a]++; mu.Unlock() })
		due := time.Date(2026, 3, 20, 4, 0, 0, 0, time.UTC)
		w.send(notify.Message{To: to("a", "b", "a", ""), Data: map[string]any{"no": "YH-7", "due": due}, RecordType: "danger.item", RecordID: "d7", DedupeKey: "e1", Level: notify.Urgent})
		w.send(notify.Message{To: to("a", "c"), Data: map[string]any{"no": "YH-7", "due": due}, DedupeKey: "e1"}) // the event comes again
		w.send(notify.Message{To: to("a"), Data: map[string]any{"no": 8, "who": "乙公司"}, DedupeKey: "e2"})

		page := w.inbox("a", notify.InboxInput{})
		if len(page.Items) != 2 || page.Next != "" {
			t.Fatalf("inbox of a: %+v", page)
		}
		m := page.Items[1]
		if m.Title != "隐患YH-7已下达整改" || m.Text != "请于2026年3月20日 12:00前完成。责任单位待定" || m.Level != notify.Urgent || m.RecordType != "danger.item" || m.RecordID != "d7" ||
			m.ReadAt != nil || !m.CreatedAt.Equal(d.Clock.Now()) {
			t.Errorf("message %+v", m)
		}
		if got := page.Items[0].Text; got != "请于前完成。责任单位：乙公司" {
			t.Errorf("second message %q", got)
		}
		mu.Lock()
		if fmt.Sprint(told) != "map[a:2 b:1 c:1]" {
			t.Errorf("told %v", told)
		}
		mu.Unlock()

		unread := func(id string) int {
			n, err := w.UnreadCount(account(t.Context(), id))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		ids := []string{page.Items[0].ID, w.inbox("b", notify.InboxInput{}).Items[0].ID, "no-such-id"}
		if n, err := w.MarkRead(account(t.Context(), "a"), ids); err != nil || n != 1 {
			t.Errorf("marked %d, %v", n, err)
		}
		if unread("a") != 1 || unread("b") != 1 {
			t.Error("somebody else's message was marked")
		}
		if got := w.inbox("a", notify.InboxInput{UnreadOnly: true}).Items; len(got) != 1 || got[0].ID != m.ID {
			t.Errorf("unread: %+v", got)
		}
		if n, err := w.MarkAllRead(account(t.Context(), "a")); err != nil || n != 1 || unread("a") != 0 || unread("b") != 1 {
			t.Errorf("marked all %d, %v", n, err)
		}
		for _, ctx := range []context.Context{t.Context(), actor.AsSystem(t.Context(), "x")} {
			_, e1 := w.Inbox(ctx, notify.InboxInput{})
			_, e2 := w.UnreadCount(ctx)
			_, e3 := w.MarkRead(ctx, ids)
			_, e4 := w.MarkAllRead(ctx)
			for _, err := range []error{e1, e2, e3, e4} {
				if code(err) != "notify.signIn" {
					t.Errorf("nobody: %v", err)
				}
			}
		}
	})
}

func TestPages(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d)
		for i := range 45 {
			w.send(notify.Message{To: to("a"), Data: map[string]any{"no": i}, DedupeKey: fmt.Sprint("e", i)})
		}
		var seen []string
		in := notify.InboxInput{}
		for {
			page := w.inbox("a", in)
			for _, m := range page.Items {
				seen = append(seen, m.Title)
			}
			if in.Before = page.Next; in.Before == "" {
				break
			}
		}
		if len(seen) != 45 || seen[0] != "隐患44已下达整改" || seen[44] != "隐患0已下达整改" {
			t.Errorf("%d messages: %v", len(seen), seen)
		}
	})
}

func TestManyRecipients(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d)
		var all []string
		for i := range 2300 {
			all = append(all, fmt.Sprint("a", i))
		}
		w.send(notify.Message{To: to(all[:600]...), DedupeKey: "e"})
		var mu sync.Mutex
		told := 0
		w.OnNew(func(string) { mu.Lock(); told++; mu.Unlock() })
		w.send(notify.Message{To: to(all...), DedupeKey: "e"})
		if n := w.count("SELECT count(*) FROM notify_message"); n != 2300 || told != 1700 {
			t.Errorf("%d messages, %d told", n, told)
		}
	})
}

// A message is told with the transaction or not at all, and the same event told by two at once is told once.
func TestSendInTransaction(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d)
		var mu sync.Mutex
		told := 0
		w.OnNew(func(string) { mu.Lock(); told++; mu.Unlock() })
		stop := errors.New("stop")
		err := d.Tx(t.Context(), func(ctx context.Context) error {
			if err := w.Send(ctx, notify.Message{Template: assigned.Key, To: to("a"), DedupeKey: "e"}); err != nil {
				return err
			}
			if told != 0 {
				t.Error("told before the commit")
			}
			return stop
		})
		if !errors.Is(err, stop) || told != 0 || len(w.inbox("a", notify.InboxInput{}).Items) != 0 {
			t.Errorf("rolled back: %v, told %d", err, told)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := w.Send(t.Context(), notify.Message{Template: assigned.Key, To: to("a", "b"), DedupeKey: "e"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := w.count("SELECT count(*) FROM notify_message"); n != 2 || told != 2 {
			t.Errorf("%d messages, %d told", n, told)
		}
	})
}

func TestSendErrors(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...))
	for what, m := range map[string]notify.Message{
		"undeclared template": {Template: "nothing", DedupeKey: "e", To: to("a")},
		"undeclared field":    {Template: assigned.Key, DedupeKey: "e", To: to("a"), Data: map[string]any{"nothing": 1}},
		"no key":              {Template: assigned.Key, To: to("a")},
	} {
		if err := w.Send(t.Context(), m); err == nil || errs.As(err) != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Hostile data cannot break a title into two lines, turn its direction, or reach the template engine.
	w.send(notify.Message{To: to("a"), DedupeKey: "h", Data: map[string]any{"no": "1\r\nBcc: x@y.z\u202e{{.due}}\x00", "who": strings.Repeat("长", 9000)}})
	m := w.inbox("a", notify.InboxInput{}).Items[0]
	if m.Title != "隐患1 Bcc: x@y.z{{.due}}已下达整改" || len([]rune(m.Text)) != 4000 {
		t.Errorf("%q, %d characters", m.Title, len([]rune(m.Text)))
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d)
		ctx := sysadmin(t.Context())
		words := func(title, body string) notify.WordsInput {
			return notify.WordsInput{Key: assigned.Key, Kind: notify.InApp, Title: title, Body: body, Active: true}
		}
		for body, ok := range map[string]bool{
			"{{.no}}": true, "{{if and .no (not .due)}}a{{else if eq .who \"x\"}}b{{end}}": true, "{{/* note */}}x": true, "": true, "{{.no | not}}": true,
			"{{.nothing}}": false, "{{.no.x}}": false, "{{.}}": false, "{{$}}": false, "{{$x := .no}}{{$x}}": false, "{{range .no}}{{end}}": false, "{{with .no}}{{.}}{{end}}": false,
			"{{printf \"%999999999d\" 1}}": false, "{{html .no}}": false, "{{call .no}}": false, "{{define \"x\"}}{{end}}": false, "{{template \"x\"}}": false,
			"{{block \"x\" .}}{{end}}": false, "{{.no": false, "{{if .no}}": false, "{{1}}": false, "{{nil}}": false, "{{len .no}}": false, "{{index . \"no\"}}": false,
			strings.Repeat("x", 10_001): false,
		} {
			_, _, err := w.Preview(ctx, words("x", body))
			if (err == nil) != ok {
				t.Errorf("%.40q: %v", body, err)
			}
			if err != nil && (code(err) != "notify.words" || errs.As(err).Fields[0].Pointer != "/body") {
				t.Errorf("%.40q: %v", body, err)
			}
		}
		title, body, err := w.Preview(ctx, words("隐患{{.no}}", "{{.due}}前"))
		if err != nil || title != "隐患YH-1" || body != "2026年3月20日 12:00前" {
			t.Errorf("preview %q %q %v", title, body, err)
		}

		list, err := w.Templates(ctx)
		if err != nil || len(list) != 1 || len(list[0].Words) != 3 || len(list[0].Fields) != 3 {
			t.Fatalf("templates %+v, %v", list, err)
		}
		var shipped *notify.Wording
		for _, x := range list[0].Words {
			if x.Kind == notify.InApp {
				shipped = x
			}
		}
		later := words("自四月起：{{.no}}", "")
		later.EffectiveFrom = "2026-04-01"
		if _, err := w.SaveWords(ctx, "", 0, later); err != nil {
			t.Fatal(err)
		}
		if _, err := w.SaveWords(ctx, "", 0, later); code(err) != "notify.sameDay" {
			t.Errorf("twice on one day: %v", err)
		}
		w.send(notify.Message{To: to("a"), Data: map[string]any{"no": 1}, DedupeKey: "e1"})
		if _, err := w.SaveWords(ctx, shipped.ID, shipped.Version, words("改过：{{.no}}", "")); err != nil {
			t.Fatal(err)
		}
		if _, err := w.SaveWords(ctx, shipped.ID, shipped.Version, words("又改：{{.no}}", "")); code(err) != "record.stale" {
			t.Errorf("stale: %v", err)
		}
		w.send(notify.Message{To: to("a"), Data: map[string]any{"no": 2}, DedupeKey: "e2"})
		d.Clock.Set(time.Date(2026, 3, 31, 16, 0, 0, 0, time.UTC)) // 1 April in Shanghai
		w.send(notify.Message{To: to("a"), Data: map[string]any{"no": 3}, DedupeKey: "e3"})
		var titles []string
		for _, m := range w.inbox("a", notify.InboxInput{}).Items {
			titles = append(titles, m.Title)
		}
		if got := strings.Join(titles, " "); got != "自四月起：3 改过：2 隐患1已下达整改" {
			t.Errorf("titles %s", got)
		}

		// A newer program corrects what nobody edited, and leaves the rest.
		newer := assigned
		newer.Texts = []notify.Text{{notify.InApp, "新版{{.no}}", ""}, {notify.Mail, "新版邮件{{.no}}", ""}}
		x := &world{t: t, db: d, log: w.log, reg: &record.Registry{}, text: &syncBuffer{}}
		x.Notifier = notify.New(d, w.log, x.reg, slog.New(slog.DiscardHandler))
		x.Declare(newer)
		for range 2 {
			if err := x.Seed(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		list, _ = x.Templates(ctx)
		got := map[string]int{}
		for _, x := range list[0].Words {
			got[x.Title]++
		}
		if fmt.Sprint(got) != "map[改过：{{.no}}:1 新版邮件{{.no}}:1 自四月起：{{.no}}:1 隐患{{.no}}:1]" {
			t.Errorf("after the newer program: %v", got)
		}

		// Switched off, nothing is said.
		for _, y := range list[0].Words {
			off := notify.WordsInput{Key: y.Key, Kind: y.Kind, Title: y.Title, Body: y.Body, EffectiveFrom: y.EffectiveFrom}
			if _, err := w.SaveWords(ctx, y.ID, y.Version, off); err != nil {
				t.Fatal(err)
			}
		}
		w.send(notify.Message{To: to("a"), DedupeKey: "e4"})
		if n := len(w.inbox("a", notify.InboxInput{}).Items); n != 3 {
			t.Errorf("%d messages after switching off", n)
		}
		for _, c := range []struct {
			change func(*notify.WordsInput)
			want   string
		}{
			{func(in *notify.WordsInput) { in.Key = "nothing" }, "notify.noTemplate"},
			{func(in *notify.WordsInput) { in.Kind = "sms" }, "notify.kind"},
			{func(in *notify.WordsInput) { in.Title = " " }, "notify.words"},
			{func(in *notify.WordsInput) { in.EffectiveFrom = "soon" }, "notify.date"},
			{func(in *notify.WordsInput) { in.EffectiveFrom, in.EffectiveTo = "2026-02-02", "2026-02-01" }, "notify.date"},
		} {
			in := words("x", "x")
			c.change(&in)
			if _, err := w.SaveWords(ctx, "", 0, in); code(err) != c.want {
				t.Errorf("%+v: %v, want %s", in, err, c.want)
			}
		}
		verified(t, w)
	})
}

func verified(t *testing.T, w *world) {
	t.Helper()
	if err := w.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	report, err := w.log.Verify(t.Context(), w.reg.Tables(), nil)
	if err != nil || !report.OK() || report.Records == 0 {
		t.Errorf("verification: %+v, %v", report, err)
	}
}

func TestDeclareWrong(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...))
	for what, x := range map[string]notify.Template{
		"twice":       assigned,
		"wrong words": {Key: "x", Texts: []notify.Text{{notify.InApp, "{{.nothing}}", ""}}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", what)
				}
			}()
			w.Declare(x)
		}()
	}
}

func TestOutsider(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d)
		for _, ctx := range []context.Context{t.Context(), account(t.Context(), "officer")} {
			_, e1 := w.Templates(ctx)
			_, _, e2 := w.Preview(ctx, notify.WordsInput{})
			_, e3 := w.SaveWords(ctx, "", 0, notify.WordsInput{})
			_, e4 := w.Channels(ctx)
			_, e5 := w.SaveChannel(ctx, 0, notify.ChannelInput{})
			_, e6 := w.Deliveries(ctx, notify.DeliveriesInput{})
			for i, err := range []error{e1, e2, e3, e4, e5, e6, w.Retry(ctx, "x"), w.SendTest(ctx, "mail", "a@b.c")} {
				if code(err) != "notify.forbidden" {
					t.Errorf("call %d: %v", i+1, err)
				}
			}
		}
	})
}

func TestSweep(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d)
		w.send(notify.Message{To: to("a", "b"), DedupeKey: "e1"})
		if _, err := w.MarkAllRead(account(t.Context(), "a")); err != nil {
			t.Fatal(err)
		}
		d.Clock.Advance(366 * 24 * time.Hour)
		w.send(notify.Message{To: to("a"), DedupeKey: "e2"})
		if s, err := w.Sweep(t.Context()); err != nil || s != (notify.Swept{Messages: 1}) {
			t.Errorf("after a year: %+v, %v", s, err)
		}
		d.Clock.Advance(365 * 24 * time.Hour)
		if s, err := w.Sweep(t.Context()); err != nil || s != (notify.Swept{Messages: 1}) {
			t.Errorf("after two: %+v, %v", s, err)
		}
	})
}

func BenchmarkSend(b *testing.B) {
	w := open(b, kerneltest.Open(b, db.SQLite, parts...))
	n := 0
	for b.Loop() {
		n++
		w.send(notify.Message{To: to("a", "b", "c"), Data: map[string]any{"no": n}, DedupeKey: fmt.Sprint(n)})
	}
}
