package app

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/module"
)

//go:embed demodata/*.txt
var demoFiles embed.FS

// builder lets a county live for a year. Its people act through the API's own operations, in process, with their own rights; a simulated clock moves from day to day, and every night
// deadlines are swept and events delivered, as they would have been. What lies beyond the last day is not done: so the county has open matters of every sort.
type builder struct {
	app  *App
	k    *module.Kernel
	all  *modules
	clk  *clock.Clock
	size demoSize
	now  time.Time // when the year ends
	rnd  *rand.Rand
	out  io.Writer

	door            http.Handler
	cast            map[string]*actor.Actor
	person          map[string]string // person by account
	regulator       map[string]string // account by line
	towns           []*demoTown
	villageName     map[string]string
	firms           []*firm
	general         []template
	major           []majorTemplate
	surnames, given []string
	serial          int

	agenda  agenda
	planned map[string]bool // self-checks that are on the agenda
	lists   map[string][]checkItem
	photos  [2][][]byte // before and after
	counts  struct{ checks, dangers, major, steps, photos, patrols int }
}

func newBuilder(a *App, clk *clock.Clock, size demoSize, now time.Time, out io.Writer) *builder {
	b := &builder{app: a, k: a.Kernel, all: a.all, clk: clk, size: size, now: now, rnd: rand.New(rand.NewPCG(341722, 2017)), out: out,
		cast: map[string]*actor.Actor{}, person: map[string]string{}, regulator: map[string]string{}, towns: demoTowns(), villageName: map[string]string{}, planned: map[string]bool{}, lists: map[string][]checkItem{}}
	api := httpx.New(httpx.Config{DB: a.Kernel.DB, Log: a.Slog, Auth: b, Version: a.Version})
	for _, m := range a.all.list {
		if m.Routes != nil {
			m.Routes(api, ledger.Service{API: api, Log: a.Kernel.Log, Label: a.Kernel.Dict.Label})
		}
	}
	b.door = api.Handler()
	return b
}

// Authenticate recognises the cast by name: the builder's own door, which nobody else can reach.
func (b *builder) Authenticate(_ context.Context, account string) (httpx.Session, error) {
	if who := b.cast[account]; who != nil {
		return httpx.Session{Actor: who}, nil
	}
	return httpx.Session{}, fmt.Errorf("demo: nobody is called %s", account)
}

// build makes everything. ctx acts as the system.
func (b *builder) build(ctx context.Context) error {
	if err := b.read(); err != nil {
		return err
	}
	if err := b.app.Seed(ctx); err != nil {
		return err
	}
	if err := b.k.Dict.Start(ctx); err != nil {
		return err
	}
	defer b.k.Dict.Stop()
	if err := b.k.Bus.Start(ctx); err != nil {
		return err
	}
	defer b.k.Bus.Stop()
	divisions, err := b.k.Org.Divisions(ctx)
	if err != nil {
		return err
	}
	for _, t := range b.towns {
		for _, v := range divisions.Children(t.code, b.clk.Now()) {
			t.villages = append(t.villages, v.Code)
			b.villageName[v.Code] = strings.TrimSuffix(strings.TrimSuffix(v.Name, "委会"), "居")
		}
	}
	for _, part := range []struct {
		title string
		make  func(context.Context) error
	}{
		{"三员账号", b.administrators}, {"部门、职能、人员、账号", b.government}, {"企业档案", b.enterprises}, {"一年的业务", b.year},
	} {
		b.say(part.title)
		if err := part.make(ctx); err != nil {
			return fmt.Errorf("%s：%w", part.title, err)
		}
	}
	if err := b.delivered(ctx); err != nil {
		return err
	}
	if err := b.k.Log.Flush(ctx); err != nil {
		return err
	}
	_, err = b.k.Log.Checkpoint(ctx)
	return err
}

func (b *builder) read() (err error) {
	names, err := demoFiles.ReadFile("demodata/names.txt")
	if err != nil {
		return err
	}
	lines := strings.Split(string(names), "\n")
	b.surnames, b.given = strings.Fields(lines[1]), strings.Fields(lines[2])
	if b.general, err = generalTemplates(); err != nil {
		return err
	}
	if b.major, err = majorTemplates(); err != nil {
		return err
	}
	b.photos = demoPictures(b.rnd)
	return nil
}

// year lets the days pass.
func (b *builder) year(ctx context.Context) error {
	if err := b.fate(); err != nil {
		return err
	}
	first := clock.Day(b.clk.Now())
	shown := time.Now()
	for day := first; !day.After(b.now); day = day.AddDate(0, 0, 1) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Since(shown) > 2*time.Second {
			shown = time.Now()
			b.say(fmt.Sprintf("一年的业务 %s，隐患 %d 条", day.Format(time.DateOnly), b.counts.dangers))
		}
		if err := b.night(ctx, day, day.Equal(first)); err != nil {
			return fmt.Errorf("%s: %w", day.Format(time.DateOnly), err)
		}
		if err := b.day(ctx, day); err != nil {
			return fmt.Errorf("%s: %w", day.Format(time.DateOnly), err)
		}
	}
	b.until(b.now)
	return nil
}

// until moves the clock on, never back and never beyond the year.
func (b *builder) until(t time.Time) {
	if t.After(b.now) {
		t = b.now
	}
	if t.After(b.clk.Now()) {
		b.clk.Set(t)
	}
}

// night is what the program itself does every night.
func (b *builder) night(ctx context.Context, day time.Time, first bool) error {
	b.until(day.Add(5 * time.Minute))
	hd := b.all.hiddendanger
	if first || day.Day() == 1 { // no check of these enterprises has a period shorter than a month
		if _, err := hd.PlanChecks(ctx); err != nil {
			return err
		}
		if err := b.expectChecks(ctx); err != nil {
			return err
		}
		if _, err := b.k.Files.Sweep(ctx); err != nil {
			return err
		}
	}
	if _, err := hd.MarkMissed(ctx); err != nil {
		return err
	}
	if day.Day() == 1 || day.Equal(clock.Day(b.now).AddDate(0, 0, -4)) {
		if err := b.readInboxes(ctx); err != nil {
			return err
		}
	}
	began := clock.Day(b.now).AddDate(0, 0, -gridDays)
	if day.Equal(began) {
		if err := b.grids(ctx); err != nil {
			return err
		}
	}
	if !day.Before(began) {
		if err := b.all.grid.Daily(ctx); err != nil {
			return err
		}
		if err := b.walk(ctx); err != nil {
			return err
		}
	}
	mark := b.clk.NewID() // whatever is logged from here on has a greater id
	fired, err := b.k.Deadlines.Sweep(ctx)
	if err != nil || fired == 0 {
		return err
	}
	return b.climbed(ctx, mark)
}

// readInboxes has everybody read what came, so that a year of reminders is not unread in the end.
func (b *builder) readInboxes(ctx context.Context) error {
	return b.k.DB.Tx(ctx, func(ctx context.Context) error {
		for account := range b.cast {
			if _, err := b.k.Notify.MarkAllRead(b.as(ctx, account)); err != nil {
				return err
			}
		}
		return nil
	})
}

// day lets people do what is on the agenda of the day. Photos are uploaded first: an upload is no part of a transaction. The rest of the day is one transaction, which spares the disk.
func (b *builder) day(ctx context.Context, day time.Time) error {
	b.until(day.Add(7*time.Hour + 30*time.Minute))
	end := day.AddDate(0, 0, 1)
	var due []*task
	for len(b.agenda) > 0 && b.agenda[0].at.Before(end) && !b.agenda[0].at.After(b.now) {
		due = append(due, heap.Pop(&b.agenda).(*task))
	}
	for _, t := range due {
		if err := b.upload(ctx, t); err != nil {
			return err
		}
	}
	err := b.k.DB.Tx(ctx, func(ctx context.Context) error {
		for _, t := range due {
			heap.Push(&b.agenda, t)
		}
		for len(b.agenda) > 0 && b.agenda[0].at.Before(end) && !b.agenda[0].at.After(b.now) {
			t := heap.Pop(&b.agenda).(*task)
			b.until(t.at)
			if err := t.do(ctx, t.files); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.until(end.Add(-time.Minute))
	return b.k.Log.Flush(ctx)
}

// task is something that somebody will do.
type task struct {
	at    time.Time
	seq   int
	who   string // whose uploads
	wants []string
	files []string // ids of the uploads
	do    func(ctx context.Context, files []string) error
}

// agenda is a heap of tasks, the next one first.
type agenda []*task

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return cmp.Or(a[i].at.Compare(a[j].at), a[i].seq-a[j].seq) < 0 }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)        { *a = append(*a, x.(*task)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// after puts something on the agenda in working hours, days from now; wants are the files that it needs, which makes it tomorrow at the earliest.
func (b *builder) after(days float64, who string, wants []string, do func(ctx context.Context, files []string) error) {
	now := b.clk.Now()
	at := clock.Day(now.Add(time.Duration(days * float64(24*time.Hour)))).Add(8*time.Hour + time.Duration(b.rnd.IntN(570))*time.Minute)
	if !at.After(now) {
		at = now.Add(time.Duration(15+b.rnd.IntN(60)) * time.Minute)
	}
	if today := clock.Day(now); len(wants) > 0 && at.Before(today.AddDate(0, 0, 1)) {
		at = today.AddDate(0, 0, 1).Add(8*time.Hour + time.Duration(b.rnd.IntN(240))*time.Minute)
	}
	b.serial++
	heap.Push(&b.agenda, &task{at: at, seq: b.serial, who: who, wants: wants, do: do})
}

func (b *builder) upload(ctx context.Context, t *task) error {
	for _, what := range t.wants {
		name, content := b.document(what)
		u, err := b.k.Files.Upload(b.as(ctx, t.who), name, bytes.NewReader(content))
		if err != nil {
			return fmt.Errorf("upload %s: %w", name, err)
		}
		b.counts.photos++
		t.files = append(t.files, u.ID)
	}
	t.wants = nil
	return nil
}

// obj is a JSON object.
type obj = map[string]any

// call calls an operation of the API as one of the cast.
func (b *builder) call(ctx context.Context, account, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, httpx.Prefix+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+account)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	w := &reply{header: http.Header{}}
	b.door.ServeHTTP(w, r)
	if w.status >= 300 {
		var p httpx.Problem
		if err := json.Unmarshal(w.Bytes(), &p); err != nil {
			return fmt.Errorf("%s %s: %d %s", method, path, w.status, w)
		}
		text := p.Message
		for _, f := range p.Fields {
			text += " " + f.Pointer + " " + f.Message
		}
		return &errs.Error{Code: p.Code, Message: fmt.Sprintf("%s 办理 %s：%s", account, path, text)}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(w.Bytes(), out)
}

// reply is what the door answers.
type reply struct {
	bytes.Buffer
	header http.Header
	status int
}

func (r *reply) Header() http.Header    { return r.header }
func (r *reply) WriteHeader(status int) { r.status = status }

// escalation is the subscription that notes on a danger how far its overdue clock has climbed.
const escalation = "hiddendanger/escalated"

// climbed waits until the escalations logged after mark have been handled: were they handled later, clocks would have moved on.
func (b *builder) climbed(ctx context.Context, mark string) error {
	return b.await(ctx, func() (bool, error) {
		var open int
		err := b.k.DB.Conn(ctx).NewRaw(`SELECT count(*) FROM audit_entry AS a WHERE a.id > ? AND a.kind = 'deadline.escalated'
			AND NOT EXISTS (SELECT 1 FROM event_seen AS s WHERE s.event_id = a.id AND s.subscription = ?)`, mark, escalation).Scan(ctx, &open)
		return open == 0, err
	})
}

// delivered waits until every event has been handled.
func (b *builder) delivered(ctx context.Context) error {
	return b.await(ctx, func() (bool, error) {
		lag, err := b.k.Bus.Lag(ctx)
		if err != nil || lag.Entries > 0 {
			return false, err
		}
		status, err := b.k.Bus.Status(ctx)
		for _, s := range status {
			if s.Parked > 0 {
				return false, fmt.Errorf("%d events of %s were parked", s.Parked, s.Name)
			}
			if s.Pending != 0 {
				return false, nil
			}
		}
		return true, err
	})
}

func (b *builder) await(ctx context.Context, done func() (bool, error)) error {
	if err := b.k.Log.Flush(ctx); err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 30*time.Millisecond) {
		if ok, err := done(); err != nil || ok {
			return err
		}
		select {
		case <-time.After(pause):
		case <-patience.Done():
			return errors.New("事件迟迟没有处理完")
		}
	}
}

func (b *builder) say(what string) { fmt.Fprintf(b.out, "  %s\n", what) }

func (b *builder) summary() string {
	return fmt.Sprintf("企业 %d 家、账号 %d 个、自查上报 %d 次、巡查 %d 次、隐患 %d 条（重大 %d 条）、办理步骤 %d 个、附件 %d 个",
		len(b.firms), len(b.cast), b.counts.checks, b.counts.patrols, b.counts.dangers, b.counts.major, b.counts.steps, b.counts.photos)
}

func (b *builder) today() string { return clock.Date(b.clk.Now()) }

// inDays is the date some days from now.
func (b *builder) inDays(n int) string { return clock.Date(b.clk.Now().AddDate(0, 0, n)) }

func (b *builder) chance(percent int) bool { return b.rnd.IntN(100) < percent }

func (b *builder) pick(list []string) string { return list[b.rnd.IntN(len(list))] }

// demoRows reads a table of demodata: fields between bars, lines that begin with # left out.
func demoRows(name string, fields int) ([][]string, error) {
	text, err := demoFiles.ReadFile("demodata/" + name)
	if err != nil {
		return nil, err
	}
	var out [][]string
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		row := strings.Split(line, "|")
		if len(row) != fields {
			return nil, fmt.Errorf("%s line %d: %d fields, want %d", name, i+1, len(row), fields)
		}
		out = append(out, row)
	}
	return out, nil
}
