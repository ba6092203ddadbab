package deadline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/record"
)

// data returns what the item's log entries of a kind carry, oldest first.
func data[T any](t testing.TB, o *office, id, kind string) []T {
	t.Helper()
	var out []T
	for _, r := range must[[]audit.Row](t)(o.log.History(t.Context(), "deadline.item", id)) {
		if r.Kind != kind {
			continue
		}
		var v T
		if err := json.Unmarshal(r.Data, &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

func titles(es []deadline.Escalation) string {
	var out []string
	for _, e := range es {
		out = append(out, fmt.Sprintf("%d%s", e.Rung, e.Title))
	}
	return strings.Join(out, " ")
}

// sweep sets the clock and sweeps.
func (o *office) sweep(t testing.TB, now string) int {
	t.Helper()
	o.set(t, now)
	return must[int](t)(o.Sweep(t.Context()))
}

func TestLadder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		ctx := system(t)
		it := must[*deadline.Item](t)(o.Start(ctx, input(1, "hiddendanger.rectify"))) // due Thursday 26 March
		for _, step := range []struct {
			now   string
			fired int
			to    deadline.Recipient
			next  string
		}{
			{"2026-03-23 23:59:59", 0, "", "2026-03-24 00:00"},
			{"2026-03-24 00:00", 1, deadline.ToResponsible, "2026-03-27 00:00"}, // three working days remain
			{"2026-03-24 00:01", 0, deadline.ToResponsible, "2026-03-27 00:00"},
			{"2026-03-27 00:00", 1, deadline.ToTown, "2026-03-31 00:00"},
			{"2026-03-31 08:00", 1, deadline.ToDepartment, "2026-04-03 00:00"},
			{"2026-04-03 08:00", 1, deadline.ToOffice, ""},
			{"2026-06-03 08:00", 0, deadline.ToOffice, ""},
		} {
			if n := o.sweep(t, step.now); n != step.fired {
				t.Errorf("%s: %d rungs fired, want %d", step.now, n, step.fired)
			}
			got := o.reload(t, it)
			next := ""
			if !got.NextAt.IsZero() {
				next = got.NextAt.In(clock.Zone).Format("2006-01-02 15:04")
			}
			if got.EscalatedTo != step.to || next != step.next || got.State != deadline.Open {
				t.Errorf("%s: escalated to %q, next %s; want %q, %s", step.now, got.EscalatedTo, next, step.to, step.next)
			}
		}
		es := data[deadline.Escalation](t, o, it.ID, "deadline.escalated")
		if titles(es) != "1即将到期提醒 2逾期 3逾期两个工作日 4逾期五个工作日" {
			t.Errorf("escalations %s", titles(es))
		}
		if e := es[0]; e.Overdue || e.To != deadline.ToResponsible || !e.Due.Equal(it.Due) || !e.At.Equal(at(t, "2026-03-24 00:00")) || !es[1].Overdue {
			t.Errorf("first %+v", e)
		}
		rows := must[[]audit.Row](t)(o.log.History(ctx, "deadline.item", it.ID))
		if r := rows[1]; r.ActorKind != "system" || r.ActorID != "deadline" || r.Title != "即将到期提醒" {
			t.Errorf("entry %+v", r)
		}
		o.covered(t)
	})
}

func TestLadderAfterALongStandstill(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		ctx := system(t)
		it := must[*deadline.Item](t)(o.Start(ctx, input(1, "hiddendanger.rectify")))
		quiet := must[*deadline.Item](t)(o.Start(ctx, input(2, "enforcement.decision"))) // has no ladder
		met := must[*deadline.Item](t)(o.Start(ctx, input(3, "hiddendanger.rectify")))
		must[*deadline.Item](t)(o.Meet(ctx, on(3), time.Time{}))
		paused := must[*deadline.Item](t)(o.Start(ctx, input(4, "hiddendanger.rectify")))
		must[*deadline.Item](t)(o.Pause(ctx, on(4), time.Time{}, "不可抗力"))
		told := input(5, "hiddendanger.rectify") // the fact is told late: everything passed already
		told.At = at(t, "2026-02-01 09:00")
		old := must[*deadline.Item](t)(o.Start(ctx, told))
		short := input(6, "hiddendanger.rectify")
		short.Amount = 2 // due 13 March: three working days before that it had not begun
		brief := must[*deadline.Item](t)(o.Start(ctx, short))
		copied := must[*deadline.Item](t)(o.Start(ctx, input(7, "hiddendanger.rectify"))) // another node's clock is that node's business
		if err := o.db.Tx(ctx, func(ctx context.Context) error {
			_, err := o.db.Conn(ctx).NewRaw("UPDATE deadline_item SET origin = '350581' WHERE id = ?", copied.ID).Exec(ctx)
			return err
		}); err != nil {
			t.Fatal(err)
		}

		if n := o.sweep(t, "2026-12-01 08:00"); n != 11 {
			t.Errorf("%d rungs fired", n)
		}
		for _, tc := range []struct {
			it   *deadline.Item
			want string
		}{
			{it, "1即将到期提醒 2逾期 3逾期两个工作日 4逾期五个工作日"},
			{quiet, ""}, {met, ""}, {paused, ""}, {copied, ""},
			{old, "1即将到期提醒 2逾期 3逾期两个工作日 4逾期五个工作日"},
			{brief, "2逾期 3逾期两个工作日 4逾期五个工作日"},
		} {
			if got := titles(data[deadline.Escalation](t, o, tc.it.ID, "deadline.escalated")); got != tc.want {
				t.Errorf("%s: fired %q, want %q", tc.it.RecordID, got, tc.want)
			}
		}
	})
}

func TestLadderAfterTheEndMoved(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		ctx := system(t)
		it := must[*deadline.Item](t)(o.Start(ctx, input(1, "hiddendanger.rectify")))
		o.sweep(t, "2026-03-27 09:00") // reminded, and overdue
		ext := must[*deadline.Item](t)(o.Extend(ctx, on(1), deadline.ExtendInput{Until: deadline.EndOfDay(at(t, "2026-04-15 12:00")), Reason: "设备未到货", Approver: "李四"}))
		if ext.EscalatedTo != "" || !ext.NextAt.Equal(at(t, "2026-04-11 00:00")) {
			t.Errorf("extended: escalated to %q, next %v", ext.EscalatedTo, ext.NextAt)
		}
		o.sweep(t, "2026-04-11 09:00")
		must[*deadline.Item](t)(o.Pause(ctx, on(1), time.Time{}, "停产"))
		o.sweep(t, "2026-05-20 09:00")
		must[*deadline.Item](t)(o.Resume(ctx, on(1), time.Time{}, "复产")) // 4 days left: Sunday 24 May, so Monday
		due(t, o.reload(t, it), "2026-05-25 24:00")
		o.sweep(t, "2026-05-21 09:00") // three working days remain, again
		o.sweep(t, "2026-05-26 09:00")
		if got := titles(data[deadline.Escalation](t, o, it.ID, "deadline.escalated")); got != "1即将到期提醒 2逾期 1即将到期提醒 1即将到期提醒 2逾期" {
			t.Errorf("fired %s", got)
		}
		// An edit that leaves the end alone does not repeat a reminder, though it moves the reminder's time ahead again.
		second := must[*deadline.Item](t)(o.Start(ctx, input(2, "hiddendanger.rectify"))) // due 10 June, reminder at the end of the 5th
		o.sweep(t, "2026-06-06 09:00")
		must[*deadline.DayEntry](t)(o.SetDay(ctx, deadline.DayInput{Day: deadline.Day{Date: "2026-06-07", Kind: deadline.Work, Source: "调休"}}))
		must[int](t)(o.Recompute(ctx))
		o.sweep(t, "2026-06-10 09:00")
		if got := titles(data[deadline.Escalation](t, o, second.ID, "deadline.escalated")); got != "1即将到期提醒" {
			t.Errorf("fired %s", got)
		}
		o.covered(t)
	})
}

func TestRecompute(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		ctx := system(t)
		start := func(n int, rule, when string) *deadline.Item {
			in := input(n, rule)
			in.At = at(t, when)
			return must[*deadline.Item](t)(o.Start(ctx, in))
		}
		workdays := start(1, "enforcement.service", "2026-03-11 12:00") // 20 March
		rolled := start(2, "hiddendanger.rectify", "2026-03-06 12:00")  // Saturday 21, so Monday 23 March
		hours := start(3, "accident.firstReport", "2026-03-11 12:00")
		paused := start(4, "enforcement.service", "2026-03-11 11:00")
		must[*deadline.Item](t)(o.Pause(ctx, on(4), time.Time{}, "鉴定"))
		ended := start(5, "enforcement.service", "2026-03-11 12:00")
		must[*deadline.Item](t)(o.Meet(ctx, on(5), time.Time{}))
		plain := start(6, "enforcement.decision", "2026-03-11 12:00") // 9 June
		far := start(7, "enforcement.decision", "2026-11-10 12:00")   // 8 February 2027
		edge := start(8, "enforcement.service", "2026-12-21 12:00")   // 30 December, which the notice of 2027 may move
		if !far.Provisional || !edge.Provisional || plain.Provisional || workdays.Provisional {
			t.Errorf("provisional: %v %v %v %v", far.Provisional, edge.Provisional, plain.Provisional, workdays.Provisional)
		}
		must[int](t)(o.Recompute(ctx))

		// Another process edits; this one learns of it.
		other := deadline.New(o.db, o.log, &record.Registry{})
		off := deadline.DayInput{Day: deadline.Day{Date: "2026-03-16", Kind: deadline.Off, Name: "防汛停工", Source: "省政府通知"}}
		must[*deadline.DayEntry](t)(other.SetDay(ctx, off))
		off.Date = "2026-03-23"
		must[*deadline.DayEntry](t)(other.SetDay(ctx, off))
		if n := must[int](t)(o.Recompute(ctx)); n != 3 {
			t.Errorf("%d recomputed, want 3", n)
		}
		if n := must[int](t)(o.Recompute(ctx)); n != 0 {
			t.Errorf("%d recomputed again", n)
		}
		for _, tc := range []struct {
			it      *deadline.Item
			want    string
			version int64
		}{
			{workdays, "2026-03-24 24:00", 2}, {rolled, "2026-03-24 24:00", 2}, {hours, "2026-03-11 13:00", 1}, {paused, "2026-03-24 24:00", 3},
			{ended, "2026-03-20 24:00", 2}, {plain, "2026-06-09 24:00", 1}, {far, "2027-02-08 24:00", 1}, {edge, "2026-12-30 24:00", 1},
		} {
			if got := o.reload(t, tc.it); got.DueText() != tc.want || got.Version != tc.version || got.DueDay != tc.want[:10] {
				t.Errorf("%s: due %s (%s), version %d; want %s, %d", tc.it.RecordID, got.DueText(), got.DueDay, got.Version, tc.want, tc.version)
			}
		}
		if d := data[deadline.Recomputation](t, o, workdays.ID, "deadline.recomputed"); len(d) != 1 || !d[0].From.Equal(workdays.Due) || deadline.DueText(d[0].To, deadline.Days) != "2026-03-24 24:00" || d[0].CalendarVersion == 0 {
			t.Errorf("entry %+v", d)
		}
		due(t, must[*deadline.Item](t)(o.Resume(ctx, on(4), time.Time{}, "完成")), "2026-03-24 24:00") // resumed on the day of the pause

		// The notice of 2027: no longer provisional, and moved where it says so.
		must[[]deadline.DayChange](t)(o.ImportYear(ctx, deadline.ImportInput{Year: 2027, Source: "国务院办公厅通知", File: strings.NewReader(
			"date,name,kind\n2026-12-30,元旦,off\n2026-12-31,元旦,off\n2027-01-01,元旦,off\n2027-02-08,春节,off\n2027-02-09,春节,off\n")}))
		if n := must[int](t)(o.Recompute(ctx)); n != 2 {
			t.Errorf("%d recomputed, want 2", n)
		}
		for it, want := range map[*deadline.Item]string{far: "2027-02-10 24:00", edge: "2027-01-04 24:00"} {
			if got := o.reload(t, it); got.Provisional || got.DueText() != want {
				t.Errorf("%s: due %s, provisional %v; want %s", it.RecordID, got.DueText(), got.Provisional, want)
			}
		}
		if d := data[deadline.Recomputation](t, o, far.ID, "deadline.recomputed"); len(d) != 1 || !d[0].WasProvisional || d[0].Provisional {
			t.Errorf("entry %+v", d)
		}
		o.covered(t)
	})
}

// TestRecomputeLeavesWhatIsHeld: on PostgreSQL a module may hold a row for longer; the walk does not wait, and comes again.
func TestRecomputeLeavesWhatIsHeld(t *testing.T) {
	t.Parallel()
	o := open(t, kerneltest.Open(t, db.Postgres, parts...))
	ctx := system(t)
	held := must[*deadline.Item](t)(o.Start(ctx, input(1, "enforcement.service")))
	free := must[*deadline.Item](t)(o.Start(ctx, input(2, "enforcement.service")))
	must[*deadline.DayEntry](t)(o.SetDay(ctx, deadline.DayInput{Day: deadline.Day{Date: "2026-03-16", Kind: deadline.Off, Source: "x"}}))
	if err := o.db.Tx(ctx, func(tx context.Context) error {
		if _, err := o.db.Conn(tx).NewRaw("SELECT id FROM deadline_item WHERE id = ? FOR UPDATE", held.ID).Exec(tx); err != nil {
			return err
		}
		if n := must[int](t)(o.Recompute(ctx)); n != 1 {
			t.Errorf("%d recomputed beside the held one", n)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := must[int](t)(o.Recompute(ctx)); n != 1 {
		t.Errorf("%d recomputed after it was let go", n)
	}
	for _, it := range []*deadline.Item{held, free} {
		due(t, o.reload(t, it), "2026-03-23 24:00")
	}
}

// TestBegunBeforeAnEditAndCommittedAfter: what is begun in a transaction that an edit overtakes does not keep the old calendar.
func TestBegunBeforeAnEditAndCommittedAfter(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		o := plain(t, d)
		ctx := system(t)
		edited := make(chan struct{})
		if err := d.Tx(ctx, func(tx context.Context) error {
			if _, err := o.Start(tx, input(1, "enforcement.service")); err != nil {
				return err
			}
			go func() {
				defer close(edited)
				if _, err := o.SetDay(ctx, deadline.DayInput{Day: deadline.Day{Date: "2026-03-16", Kind: deadline.Off, Source: "x"}}); err != nil {
					t.Error(err)
				}
				if _, err := o.Recompute(ctx); err != nil {
					t.Error(err)
				}
			}()
			if d.Engine == db.SQLite {
				return nil // the edit waits for the one writer
			}
			kerneltest.Eventually(t, "the edit is done, or waits", func() bool {
				select {
				case <-edited:
					return true
				default:
				}
				var waiting int
				err := d.Conn(ctx).NewRaw("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(ctx, &waiting)
				return err == nil && waiting > 0
			})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		<-edited
		must[int](t)(o.Recompute(ctx))
		due(t, must[[]*deadline.Item](t)(o.Of(ctx, on(1).RecordType, on(1).RecordID))[0], "2026-03-23 24:00")
	})
}

// TestBegunWhileTheCalendarIsEdited: many at once, and nobody is left with the old calendar or locked out.
func TestBegunWhileTheCalendarIsEdited(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		o := plain(t, d)
		other := deadline.New(d, o.log, &record.Registry{})
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(w), 7))
				for i := range 60 {
					in := input(w*1000+i, []string{"enforcement.service", "hiddendanger.rectify", "enforcement.decision"}[random.IntN(3)])
					in.At = at(t, "2026-03-01 09:00").AddDate(0, 0, random.IntN(20))
					if _, err := o.Start(system(t), in); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() {
			random := rand.New(rand.NewPCG(9, 7))
			for range 30 {
				day := at(t, "2026-03-01 09:00").AddDate(0, 0, random.IntN(40)).Format(time.DateOnly)
				kind := []deadline.DayKind{deadline.Off, deadline.Work, deadline.Normal}[random.IntN(3)]
				if _, err := other.SetDay(system(t), deadline.DayInput{Day: deadline.Day{Date: day, Kind: kind, Source: "x"}}); err != nil {
					t.Error(err)
				}
				if _, err := other.Recompute(system(t)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		for range 3 { // one walk, unless the edits' own walks met rows that were being written
			must[int](t)(o.Recompute(t.Context()))
		}
		c := must[*deadline.Calendar](t)(o.Calendar(t.Context()))
		items := must[[]*deadline.Item](t)(o.Find(t.Context(), all, deadline.Query{Limit: 1000}))
		if len(items) != 240 {
			t.Fatalf("%d items", len(items))
		}
		for _, it := range items {
			if want, _ := deadline.Compute(it.Start, it.Term, c); !it.Due.Equal(want) {
				t.Errorf("%s: due %s, the calendar says %s", it.RecordID, it.DueText(), deadline.DueText(want, it.Unit))
			}
		}
	})
}

// again opens the database once more, as another process would.
func again(t testing.TB, target string, now time.Time) *office {
	t.Helper()
	d, err := db.Open(t.Context(), target, clock.At(now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context(), "341722", parts...); err != nil {
		t.Fatal(err)
	}
	return plain(t, d)
}

func eachTarget(t *testing.T, test func(t *testing.T, target string)) {
	for _, e := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			test(t, kerneltest.Target(t, e))
		})
	}
}

// once fails unless each of n items has fired exactly the rungs want, in this order.
func (o *office) once(t testing.TB, n int, want string) {
	t.Helper()
	items := must[[]*deadline.Item](t)(o.Find(t.Context(), all, deadline.Query{Limit: 1000}))
	if len(items) != n {
		t.Fatalf("%d items", len(items))
	}
	for _, it := range items {
		if got := titles(data[deadline.Escalation](t, o, it.ID, "deadline.escalated")); got != want {
			t.Fatalf("%s fired %q, want %q", it.RecordID, got, want)
		}
	}
}

const wholeLadder = "1即将到期提醒 2逾期 3逾期两个工作日 4逾期五个工作日"

func TestTwoProcessesSweep(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, target string) {
		a := again(t, target, kerneltest.Noon)
		const n = 300
		for i := range n {
			must[*deadline.Item](t)(a.Start(system(t), input(i, "hiddendanger.rectify")))
		}
		b := again(t, target, at(t, "2026-12-01 08:00"))
		a.set(t, "2026-12-01 08:00")
		fired := make([]int, 4)
		var wg sync.WaitGroup
		for i, o := range []*office{a, b, a, b} {
			wg.Go(func() {
				var err error
				if fired[i], err = o.Sweep(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if sum := fired[0] + fired[1] + fired[2] + fired[3] + must[int](t)(a.Sweep(t.Context())); sum != 4*n {
			t.Errorf("%v rungs fired, want %d", fired, 4*n)
		}
		a.once(t, n, wholeLadder)
	})
}

// TestModuleAndSweepMeet: a module's step is not refused because the clock moved the item at the same moment.
func TestModuleAndSweepMeet(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		o := plain(t, d)
		const n = 120
		for i := range n {
			must[*deadline.Item](t)(o.Start(system(t), input(i, "hiddendanger.rectify")))
		}
		o.set(t, "2026-12-01 08:00")
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, err := o.Sweep(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			for i := n - 1; i >= 0; i-- {
				if _, err := o.Meet(system(t), on(i), time.Time{}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		if late := must[int](t)(o.Count(t.Context(), all, deadline.Query{States: []deadline.State{deadline.Late}})); late != n {
			t.Errorf("%d met", late)
		}
		if n := must[int](t)(o.Sweep(t.Context())); n != 0 {
			t.Errorf("%d rungs fired after the end", n)
		}
		o.covered(t)
	})
}

const childEnv = "ANWANG_TEST_SWEEP_TARGET"

// TestSweepChild is the process that TestKill kills.
func TestSweepChild(t *testing.T) {
	target := os.Getenv(childEnv)
	if target == "" {
		t.Skip("runs only as the child of TestKill")
	}
	o := again(t, target, at(t, "2026-12-01 08:00"))
	for {
		must[int](t)(o.Sweep(t.Context()))
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, target string) {
		o := again(t, target, kerneltest.Noon)
		const n = 900
		for first := range n / 100 {
			if err := o.db.Tx(system(t), func(ctx context.Context) error {
				for i := range 100 {
					if _, err := o.Start(ctx, input(first*100+i, "hiddendanger.rectify")); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		for round := 1; round <= 2; round++ {
			child := exec.Command(os.Args[0], "-test.run=^TestSweepChild$")
			child.Env = append(os.Environ(), childEnv+"="+target)
			var out bytes.Buffer
			child.Stdout, child.Stderr = &out, &out
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			kerneltest.Eventually(t, "the child sweeps", func() bool { return o.entries(t, "deadline.escalated") > 600*round })
			child.Process.Kill() //nolint:errcheck // it is awaited next
			if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("child ended by itself: %v: %s", err, &out)
			}
		}
		before := o.entries(t, "deadline.escalated")
		if before >= 4*n {
			t.Fatalf("the child was not killed in the middle: %d", before)
		}
		if rest := o.sweep(t, "2026-12-01 08:00"); before+rest != 4*n {
			t.Errorf("%d + %d rungs fired, want %d", before, rest, 4*n)
		}
		o.once(t, n, wholeLadder)
	})
}

func TestSweeper(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, target string) {
		o := again(t, target, kerneltest.Noon)
		ctx := system(t)
		it := must[*deadline.Item](t)(o.Start(ctx, input(1, "hiddendanger.rectify")))

		s := deadline.NewSweeper(o.Book, slog.New(slog.DiscardHandler))
		s.Stop() // before Start
		o.set(t, "2026-03-24 09:00")
		starting, cancel := context.WithCancel(t.Context())
		for range 2 {
			if err := s.Start(starting); err != nil {
				t.Fatal(err)
			}
		}
		cancel() // what starts the program is not what runs it
		rung := func(o *office, n int) func() bool {
			return func() bool { return o.reload(t, it).Rung == n }
		}
		kerneltest.Eventually(t, "the first rung", rung(o, 1))
		// An edit wakes it: 26 March is a day off, so the end is a day later.
		must[*deadline.DayEntry](t)(o.SetDay(ctx, deadline.DayInput{Day: deadline.Day{Date: "2026-03-26", Kind: deadline.Off, Source: "x"}}))
		kerneltest.Eventually(t, "recomputation", func() bool { return o.reload(t, it).DueDay == "2026-03-27" })
		s.Stop()
		s.Stop()

		// The program is down while two rungs pass. A new process finds them.
		p := again(t, target, at(t, "2026-04-01 09:00"))
		s = deadline.NewSweeper(p.Book, slog.New(slog.DiscardHandler))
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer s.Stop()
		kerneltest.Eventually(t, "the rungs that passed meanwhile", rung(p, 3))
		if got := p.facts(t, it.ID); !slices.Equal(got, []string{"started", "escalated", "recomputed", "escalated", "escalated"}) {
			t.Errorf("facts %v", got)
		}
	})
}

func TestSweepWithoutADatabase(t *testing.T) {
	t.Parallel()
	o := open(t, kerneltest.Open(t, db.SQLite, parts...))
	o.db.Close()
	if _, err := o.Sweep(t.Context()); err == nil {
		t.Error("no error")
	}
	var log lines
	s := deadline.NewSweeper(o.Book, slog.New(slog.NewTextHandler(&log, nil)))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	kerneltest.Eventually(t, "a line in the log", func() bool { return strings.Contains(log.String(), "deadlines not swept") })
	s.Stop()
	if _, err := o.Start(system(t), input(1, "hiddendanger.rectify")); err == nil || errors.Is(err, deadline.ErrRunning) {
		t.Error(err)
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
