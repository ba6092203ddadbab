package deadline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

var (
	parts = []db.Migrations{audit.Migrations, deadline.Migrations}
	all   = scope.All("test")
)

// The rules that tests use.
var rules = []deadline.Rule{
	{Key: "enforcement.service", Title: "处罚决定书送达", Clause: "行政处罚法 第六十一条", Mark: "V", Term: term(7, deadline.Workdays), MaxExtensions: deadline.NoExtension},
	{Key: "enforcement.decision", Title: "作出处罚决定", Clause: "行政处罚法 第六十条", Mark: "V", Term: term(90, deadline.Days)},
	{Key: "accident.firstReport", Title: "事故首报", Clause: "国务院令第493号 第九条", Mark: "V2", Term: term(1, deadline.Hours), Ladder: deadline.Ladder{
		{Offset: 0, Unit: deadline.Hours, To: deadline.ToOffice, Title: "逾期未报"},
	}},
	{Key: "accident.investigation", Title: "提交事故调查报告", Clause: "国务院令第493号 第二十九条", Mark: "V2", Term: term(60, deadline.Days), MaxExtensions: 1, MaxExtension: 60},
	{Key: "hiddendanger.rectify", Title: "隐患整改", Clause: "安全生产法 第四十一条", Mark: "P", Term: term(15, deadline.Days), Ladder: deadline.Ladder{
		{Offset: -3, Unit: deadline.Workdays, To: deadline.ToResponsible, Title: "即将到期提醒"},
		{Offset: 0, Unit: deadline.Days, To: deadline.ToTown, Title: "逾期"},
		{Offset: 2, Unit: deadline.Workdays, To: deadline.ToDepartment, Title: "逾期两个工作日"},
		{Offset: 5, Unit: deadline.Workdays, To: deadline.ToOffice, Title: "逾期五个工作日"},
	}},
}

type office struct {
	*deadline.Book
	db  *db.DB
	log *audit.Log
	reg *record.Registry
}

// open returns a seeded book with the test's rules.
func open(t testing.TB, d *db.DB) *office {
	t.Helper()
	o := plain(t, d)
	if err := o.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o
}

// plain is open without holidays, which is quicker.
func plain(t testing.TB, d *db.DB) *office {
	t.Helper()
	o := &office{db: d, log: kerneltest.NewLog(t, d), reg: &record.Registry{}}
	o.Book = deadline.New(d, o.log, o.reg)
	o.Declare(rules...)
	if err := o.SeedRules(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o
}

func each(t *testing.T, test func(t *testing.T, o *office)) {
	t.Helper()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) { test(t, open(t, d)) })
}

func (o *office) set(t testing.TB, now string) { o.db.Clock.Set(at(t, now)) }

// on is the deadline of record number n.
func on(n int) deadline.Ref {
	return deadline.Ref{RecordType: "hiddendanger.item", RecordID: fmt.Sprintf("rec-%06d", n), Slot: "rectify"}
}

var stone = scope.At("341722100000", "industryTrade", "ent-1")

func input(n int, rule string) deadline.StartInput {
	return deadline.StartInput{Ref: on(n), Place: stone, RuleKey: rule, Responsible: deadline.Party{ID: "ent-1", Name: "石台某厂"}}
}

func system(t testing.TB) context.Context { return actor.AsSystem(t.Context(), "test") }

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func refused(t testing.TB, err error, code string) {
	t.Helper()
	if e := errs.As(err); e == nil || e.Code != code {
		t.Errorf("got %v, want the refusal %s", err, code)
	}
}

func due(t testing.TB, it *deadline.Item, want string) {
	t.Helper()
	if it.DueText() != want {
		t.Errorf("due %s, want %s", it.DueText(), want)
	}
}

// entries lists the log of the item's record as "fact" or "fact title".
func (o *office) facts(t testing.TB, id string) []string {
	t.Helper()
	rows := must[[]audit.Row](t)(o.log.History(t.Context(), "deadline.item", id))
	var out []string
	for _, r := range rows {
		out = append(out, strings.TrimPrefix(r.Kind, "deadline."))
	}
	return out
}

func (o *office) entries(t testing.TB, kind string) int {
	t.Helper()
	var n int
	if err := o.db.Conn(t.Context()).NewRaw("SELECT count(*) FROM audit_entry WHERE kind = ?", kind).Scan(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (o *office) reload(t testing.TB, it *deadline.Item) *deadline.Item {
	t.Helper()
	return must[*deadline.Item](t)(o.Load(t.Context(), all, it.ID))
}

// covered fails unless every stored record is what the log says of it.
func (o *office) covered(t testing.TB) {
	t.Helper()
	if err := o.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := must[*audit.Report](t)(o.log.Verify(t.Context(), o.reg.Tables(), nil)); !r.OK() || r.Records == 0 {
		t.Errorf("verified %d records: %+v", r.Records, r.Findings)
	}
}

func TestSeed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		if c := must[*deadline.Calendar](t)(o.Calendar(t.Context())); c.PublishedThrough() != 2026 || c.IsWorkday(at(t, "2026-10-01 12:00")) || !c.IsWorkday(at(t, "2026-10-10 12:00")) {
			t.Errorf("seeded calendar: %d", c.PublishedThrough())
		}
		if n := len(must[[]*deadline.Edition](t)(o.Rules(t.Context()))); n != len(rules) {
			t.Errorf("%d rules", n)
		}
		if y, d := len(must[[]*deadline.YearEntry](t)(o.Years(t.Context()))), o.entries(t, "deadline.daySet"); y != 20 || d != 678 {
			t.Errorf("%d years, %d days", y, d)
		}

		// An edit, then a newer program: the edit stays, what is new comes.
		must[*deadline.DayEntry](t)(o.SetDay(system(t), deadline.DayInput{Day: deadline.Day{Date: "2026-10-10", Kind: deadline.Off, Name: "国庆节", Source: "省政府通知"}}))
		entries := o.entries(t, "deadline.daySet") + o.entries(t, "deadline.yearPublished") + o.entries(t, "deadline.ruleAdded")
		newer := deadline.New(o.db, o.log, &record.Registry{})
		next := rules[0]
		next.EffectiveFrom, next.Amount = "2026-07-01", 5
		newer.Declare(append(rules[:len(rules):len(rules)], next)...)
		for range 2 {
			if err := newer.Seed(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := o.entries(t, "deadline.daySet") + o.entries(t, "deadline.yearPublished") + o.entries(t, "deadline.ruleAdded"); got != entries+1 {
			t.Errorf("seeding again wrote %d entries, want one for the new rule", got-entries)
		}
		if c := must[*deadline.Calendar](t)(newer.Calendar(t.Context())); c.IsWorkday(at(t, "2026-10-10 12:00")) {
			t.Error("seeding undid an edit")
		}
		if e := must[*deadline.Edition](t)(o.RuleOn(t.Context(), "enforcement.service", at(t, "2026-07-01 00:00"))); e.Number != 2 || e.Amount != 5 {
			t.Errorf("in force on 1 July: %+v", e.Rule)
		}
		o.covered(t)
	})
}

func TestSeedByTwoProcessesAtOnce(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		var wg sync.WaitGroup
		for range 4 {
			b := deadline.New(d, kerneltest.NewLog(t, d), &record.Registry{})
			b.Declare(rules...)
			wg.Go(func() {
				if err := b.Seed(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var n int
		if err := d.Conn(t.Context()).NewRaw("SELECT (SELECT count(*) FROM deadline_day) + (SELECT count(*) FROM deadline_rule) + (SELECT count(*) FROM deadline_year)").Scan(t.Context(), &n); err != nil || n != 678+len(rules)+20 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}

func TestSeedRefusesMalformedRules(t *testing.T) {
	t.Parallel()
	d := kerneltest.Open(t, db.SQLite, parts...)
	good := rules[0]
	for name, spoil := range map[string]func(r *deadline.Rule){
		"unit":       func(r *deadline.Rule) { r.Unit = "fortnight" },
		"amount":     func(r *deadline.Rule) { r.Amount = 1 << 40 },
		"clause":     func(r *deadline.Rule) { r.Clause = "" },
		"mark":       func(r *deadline.Rule) { r.Mark = "sure" },
		"date":       func(r *deadline.Rule) { r.EffectiveFrom = "2026-2-30" },
		"dates":      func(r *deadline.Rule) { r.EffectiveFrom, r.EffectiveTo = "2026-02-01", "2026-01-31" },
		"rung to":    func(r *deadline.Rule) { r.Ladder = deadline.Ladder{{Unit: deadline.Days, To: "king", Title: "x"}} },
		"rung unit":  func(r *deadline.Rule) { r.Ladder = deadline.Ladder{{Unit: "month", To: deadline.ToTown, Title: "x"}} },
		"rung title": func(r *deadline.Rule) { r.Ladder = deadline.Ladder{{Unit: deadline.Days, To: deadline.ToTown}} },
		"rungs out of order": func(r *deadline.Rule) {
			r.Ladder = deadline.Ladder{{Unit: deadline.Days, To: deadline.ToTown, Title: "x"}, {Offset: -1, Unit: deadline.Days, To: deadline.ToTown, Title: "y"}}
		},
	} {
		r := good
		spoil(&r)
		b := deadline.New(d, kerneltest.NewLog(t, d), &record.Registry{})
		b.Declare(r)
		if err := b.Seed(t.Context()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	b := deadline.New(d, kerneltest.NewLog(t, d), &record.Registry{})
	b.Declare(good, good)
	if err := b.Seed(t.Context()); err == nil {
		t.Error("the same rule twice: accepted")
	}
}

func TestWhoMayEdit(t *testing.T) {
	t.Parallel()
	d := kerneltest.Open(t, db.SQLite, parts...)
	o := open(t, d)
	day := deadline.DayInput{Day: deadline.Day{Date: "2026-05-06", Kind: deadline.Off, Name: "劳动节", Source: "通知"}}
	year := deadline.ImportInput{Year: 2027, Source: "通知", File: strings.NewReader("date,name,kind\n2027-01-01,元旦,off\n")}
	for name, a := range map[string]*actor.Actor{
		"nobody":  {Kind: actor.Nobody},
		"officer": {Kind: actor.Person, Grants: []actor.Grant{{Permissions: []string{"enforcement.decide"}}}},
	} {
		ctx := actor.With(t.Context(), a)
		_, e1 := o.SetDay(ctx, day)
		_, e2 := o.ImportYear(ctx, year)
		_, e3 := o.AddRule(ctx, rules[0])
		for _, err := range []error{e1, e2, e3} {
			if refused(t, err, "deadline.forbidden"); t.Failed() {
				t.Fatal(name)
			}
		}
	}
	admin := actor.With(t.Context(), &actor.Actor{Kind: actor.Person, Grants: []actor.Grant{{Permissions: []string{deadline.PermCalendar}}}})
	if _, err := o.SetDay(admin, day); err != nil {
		t.Error(err)
	}
	_, err := o.AddRule(admin, rules[0])
	refused(t, err, "deadline.forbidden")
}

func TestSetDay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		ctx := system(t)
		set := func(date string, k deadline.DayKind, source string, version *int64) (*deadline.DayEntry, error) {
			return o.SetDay(ctx, deadline.DayInput{Day: deadline.Day{Date: date, Kind: k, Name: "临时", Source: source}, Version: version})
		}
		_, err := set("2026-13-01", deadline.Off, "x", nil)
		refused(t, err, "deadline.day")
		_, err = set("2026-12-01", "half", "x", nil)
		refused(t, err, "deadline.day")
		_, err = set("2026-12-01", deadline.Off, " ", nil)
		refused(t, err, "deadline.day")

		works := func(date string) bool {
			return must[*deadline.Calendar](t)(o.Calendar(ctx)).IsWorkday(at(t, date+" 12:00"))
		}
		e := must[*deadline.DayEntry](t)(set("2026-12-01", deadline.Off, "县政府通知", nil))
		if works("2026-12-01") {
			t.Error("set off, still works")
		}
		e2 := must[*deadline.DayEntry](t)(set("2026-12-01", deadline.Normal, "通知撤回", &e.Version))
		if !works("2026-12-01") || e2.Version != 2 {
			t.Error("set normal, still off")
		}
		_, err = set("2026-12-01", deadline.Off, "x", &e.Version)
		refused(t, err, "record.stale")
		days := must[[]*deadline.DayEntry](t)(o.Days(ctx, 2026))
		if len(days) != 40 || days[0].Date != "2026-01-01" || days[39].Date != "2026-12-01" {
			t.Errorf("%d days of 2026", len(days))
		}

		// A transaction that is undone leaves nothing behind, neither stored nor remembered.
		boom := errors.New("boom")
		if err := o.db.Tx(ctx, func(ctx context.Context) error {
			if _, err := o.SetDay(ctx, deadline.DayInput{Day: deadline.Day{Date: "2026-12-02", Kind: deadline.Off, Source: "x"}}); err != nil {
				return err
			}
			if c, err := o.Calendar(ctx); err != nil || c.IsWorkday(at(t, "2026-12-02 12:00")) {
				t.Errorf("the transaction does not see its own edit: %v", err)
			}
			return boom
		}); !errors.Is(err, boom) {
			t.Fatal(err)
		}
		if !works("2026-12-02") {
			t.Error("an edit that was undone is remembered")
		}
		o.covered(t)
	})
}

const notice2027 = "\xef\xbb\xbfdate,name,kind,source\n2026-12-31,元旦,off,\n2027-01-01,元旦,off,\n2027-01-02,元旦,放假,\n2027-01-03,元旦,上班,\n2027-03-11,试验,off,省里通知\n"

func TestImportYear(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		ctx := system(t)
		load := func(text string, dry bool) ([]deadline.DayChange, error) {
			return o.ImportYear(ctx, deadline.ImportInput{Year: 2027, Source: "国务院办公厅通知 2026-11-04", File: strings.NewReader(text), DryRun: dry})
		}
		for name, text := range map[string]string{
			"empty":       "",
			"no heading":  "2027-01-01,元旦,off\n",
			"heading":     "date,name,kind\n",
			"bad date":    "date,name,kind\n2027-02-30,x,off\n",
			"bad kind":    "date,name,kind\n2027-01-01,x,holiday\n",
			"twice":       "date,name,kind\n2027-01-01,x,off\n2027-01-01,x,work\n",
			"other year":  "date,name,kind\n2026-10-01,x,off\n",
			"binary":      "PK\x03\x04\x00\x00\"",
			"open quote":  "date,name,kind\n2027-01-01,\"x,off\n",
			"many rows":   "date,name,kind\n" + strings.Repeat("2027-01-01,x,off\n", 3000),
			"short lines": "date,name,kind\n2027-01-01\n",
		} {
			if _, err := load(text, false); errs.As(err) == nil || len(errs.As(err).Fields) == 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
		if c := must[*deadline.Calendar](t)(o.Calendar(ctx)); c.PublishedThrough() != 2026 {
			t.Fatalf("a refused file published %d", c.PublishedThrough())
		}

		preview := must[[]deadline.DayChange](t)(load(notice2027, true))
		if len(preview) != 5 || preview[0] != (deadline.DayChange{Date: "2026-12-31", Name: "元旦", From: deadline.Normal, To: deadline.Off}) {
			t.Errorf("preview %+v", preview)
		}
		if c := must[*deadline.Calendar](t)(o.Calendar(ctx)); c.PublishedThrough() != 2026 || !c.IsWorkday(at(t, "2026-12-31 12:00")) {
			t.Error("a dry run changed the calendar")
		}
		if got := must[[]deadline.DayChange](t)(load(notice2027, false)); fmt.Sprint(got) != fmt.Sprint(preview) {
			t.Errorf("import changed %v, preview said %v", got, preview)
		}
		c := must[*deadline.Calendar](t)(o.Calendar(ctx))
		if c.PublishedThrough() != 2027 || c.IsWorkday(at(t, "2026-12-31 12:00")) || !c.IsWorkday(at(t, "2027-01-03 12:00")) || !c.Settled(at(t, "2026-12-31 12:00")) {
			t.Errorf("after import: %d", c.PublishedThrough())
		}
		days := must[[]*deadline.DayEntry](t)(o.Days(ctx, 2027))
		if len(days) != 4 || days[3].Source != "省里通知" || days[0].Source != "国务院办公厅通知 2026-11-04" {
			t.Errorf("days %+v", days)
		}

		// Again: nothing to do. Corrected: what the notice no longer names is normal; a date set by hand stays.
		if again := must[[]deadline.DayChange](t)(load(notice2027, false)); len(again) != 0 {
			t.Errorf("again changed %v", again)
		}
		must[*deadline.DayEntry](t)(o.SetDay(ctx, deadline.DayInput{Day: deadline.Day{Date: "2027-05-04", Kind: deadline.Off, Source: "县里"}}))
		changes := must[[]deadline.DayChange](t)(load(strings.Replace(notice2027, "2027-03-11", "2027-03-12", 1), false))
		if fmt.Sprint(changes) != "[{2027-03-12 试验 normal off} {2027-03-11 试验 off normal}]" {
			t.Errorf("corrected: %v", changes)
		}
		if c := must[*deadline.Calendar](t)(o.Calendar(ctx)); !c.IsWorkday(at(t, "2027-03-11 12:00")) || c.IsWorkday(at(t, "2027-05-04 12:00")) {
			t.Error("correction went too far, or not far enough")
		}
		if n := len(must[[]*deadline.YearEntry](t)(o.Years(ctx))); n != 21 {
			t.Errorf("%d years", n)
		}
		o.covered(t)
	})
}

func TestRuleEditions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		ctx := system(t)
		old := must[*deadline.Item](t)(o.Start(ctx, input(1, "enforcement.service")))

		next := rules[0]
		next.EffectiveFrom, next.Amount, next.Clause = "2026-03-12", 3, "行政处罚法（新） 第六十二条"
		if e := must[*deadline.Edition](t)(o.AddRule(ctx, next)); e.Number != 2 {
			t.Errorf("edition %d", e.Number)
		}
		bad := next
		bad.Key = "enforcement.serviec"
		_, err := o.AddRule(ctx, bad)
		refused(t, err, "deadline.rule")
		bad = next
		bad.Unit = "moon"
		_, err = o.AddRule(ctx, bad)
		refused(t, err, "deadline.rule")

		o.set(t, "2026-03-12 09:00")
		// The day of the fact chooses, not the day of filing.
		before := input(2, "enforcement.service")
		before.At = at(t, "2026-03-11 23:59")
		late := must[*deadline.Item](t)(o.Start(ctx, before))
		fresh := must[*deadline.Item](t)(o.Start(ctx, input(3, "enforcement.service")))
		if late.RuleNumber != 1 || fresh.RuleNumber != 2 || fresh.Clause != next.Clause {
			t.Errorf("editions %d, %d", late.RuleNumber, fresh.RuleNumber)
		}
		due(t, late, "2026-03-20 24:00")
		due(t, fresh, "2026-03-17 24:00")

		// A running one keeps its edition, whatever happens to it.
		must[int](t)(o.Recompute(ctx))
		must[*deadline.Item](t)(o.Pause(ctx, on(1), time.Time{}, "鉴定"))
		must[*deadline.Item](t)(o.Resume(ctx, on(1), time.Time{}, "鉴定完成"))
		if it := o.reload(t, old); it.RuleNumber != 1 || it.Clause != "行政处罚法 第六十一条" || it.DueDay != "2026-03-20" {
			t.Errorf("the running deadline became %+v", it)
		}

		// A correction from the same day replaces; a rule that has ended is in force no more.
		fix := next
		fix.Amount, fix.EffectiveTo = 4, "2026-03-31"
		must[*deadline.Edition](t)(o.AddRule(ctx, fix))
		if e := must[*deadline.Edition](t)(o.RuleOn(ctx, next.Key, at(t, "2026-03-12 12:00"))); e.Number != 3 {
			t.Errorf("edition %d", e.Number)
		}
		if e := must[*deadline.Edition](t)(o.RuleOn(ctx, next.Key, at(t, "2026-04-01 12:00"))); e.Number != 2 {
			t.Errorf("edition %d", e.Number)
		}
		_, err = o.RuleOn(ctx, "no.such", at(t, "2026-04-01 12:00"))
		refused(t, err, "deadline.noRule")
		o.covered(t)
	})
}

func TestMeet(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		ctx := system(t)
		it := must[*deadline.Item](t)(o.Start(ctx, input(1, "hiddendanger.rectify")))
		due(t, it, "2026-03-26 24:00")
		if it.State != deadline.Open || it.Title != "隐患整改" || it.Clause != "安全生产法 第四十一条" || it.Place != stone || it.Responsible.Name != "石台某厂" {
			t.Errorf("started %+v", it)
		}
		if got := o.reload(t, it); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", it) {
			t.Errorf("stored\n%+v\nreturned\n%+v", got, it)
		}
		_, err := o.Start(ctx, input(1, "enforcement.decision"))
		if !errors.Is(err, deadline.ErrRunning) {
			t.Errorf("second in the same slot: %v", err)
		}
		other := input(1, "enforcement.decision")
		other.Slot = "decide"
		must[*deadline.Item](t)(o.Start(ctx, other))

		o.set(t, "2026-03-26 23:59:59")
		_, err = o.Meet(ctx, on(1), at(t, "2026-03-27 00:01"))
		refused(t, err, "deadline.time")
		if met := must[*deadline.Item](t)(o.Meet(ctx, on(1), time.Time{})); met.State != deadline.Met || !met.NextAt.IsZero() || met.Overdue(o.db.Clock.Now()) {
			t.Errorf("met %+v", met)
		}
		_, err = o.Meet(ctx, on(1), time.Time{})
		if !errors.Is(err, deadline.ErrNone) {
			t.Errorf("met twice: %v", err)
		}

		// The very end is in time, a second later is late; what was done earlier than it is told counts from when it was done.
		for n, tc := range []struct {
			now, done string
			want      deadline.State
		}{
			{"2026-04-11 00:00:00.000", "", deadline.Met},
			{"2026-04-11 00:00:01", "", deadline.Late},
			{"2026-04-13 09:00", "2026-04-10 17:00", deadline.Met},
			{"2026-04-13 09:00", "2026-04-11 09:00", deadline.Late},
		} {
			in := input(100+n, "hiddendanger.rectify")
			in.At = at(t, "2026-03-26 09:00") // due 2026-04-10 24:00
			must[*deadline.Item](t)(o.Start(ctx, in))
			o.set(t, tc.now)
			var done time.Time
			if tc.done != "" {
				done = at(t, tc.done)
			}
			if met := must[*deadline.Item](t)(o.Meet(ctx, on(100+n), done)); met.State != tc.want || met.Overdue(o.db.Clock.Now()) != (tc.want == deadline.Late) {
				t.Errorf("%+v: %s", tc, met.State)
			}
		}

		// The slot is free again, and the record keeps all its deadlines.
		must[*deadline.Item](t)(o.Start(ctx, input(1, "hiddendanger.rectify")))
		must[*deadline.Item](t)(o.Restart(ctx, input(1, "hiddendanger.rectify"), "整改不合格，重新责令"))
		if of := must[[]*deadline.Item](t)(o.Of(ctx, "hiddendanger.item", on(1).RecordID)); len(of) != 4 || of[2].State != deadline.Cancelled || of[3].State != deadline.Open {
			t.Errorf("of: %d", len(of))
		}
		if err := o.CancelAll(ctx, "hiddendanger.item", on(1).RecordID, "结案"); err != nil {
			t.Fatal(err)
		}
		for _, it := range must[[]*deadline.Item](t)(o.Of(ctx, "hiddendanger.item", on(1).RecordID)) {
			if it.State.Running() {
				t.Errorf("still running: %s", it.Slot)
			}
		}
		must[*deadline.Item](t)(o.Restart(ctx, input(1, "hiddendanger.rectify"), "从未开始也可重新开始"))
		must[*deadline.Item](t)(o.Reassign(ctx, on(1), deadline.Party{ID: "ent-2", Name: "另一厂"}))
		moved := must[*deadline.Item](t)(o.Cancel(ctx, on(1), "误报"))
		if got := strings.Join(o.facts(t, moved.ID), " "); got != "started reassigned cancelled" || moved.Responsible.ID != "ent-2" {
			t.Errorf("facts %s", got)
		}
		o.covered(t)
	})
}

func TestExplicitEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		ctx := system(t)
		in := deadline.StartInput{Ref: on(1), Place: stone, Title: "责令限期整改", Due: deadline.EndOfDay(at(t, "2026-03-28 12:00")), Clause: "整改指令书第12号",
			Ladder: deadline.Ladder{{Offset: 1, Unit: deadline.Days, To: deadline.ToUpper, Title: "逾期一日"}}}
		it := must[*deadline.Item](t)(o.Start(ctx, in))
		due(t, it, "2026-03-28 24:00") // a Saturday stays
		if it.Provisional || !it.NextAt.Equal(at(t, "2026-03-30 00:00")) {
			t.Errorf("next %v", it.NextAt)
		}
		if got := o.reload(t, it); len(got.Ladder) != 1 || got.Ladder[0] != in.Ladder[0] {
			t.Errorf("ladder %+v", got.Ladder)
		}
		// By a rule's clause and ladder, to an hour.
		in = input(2, "hiddendanger.rectify")
		in.Due = at(t, "2026-03-20 17:00")
		it = must[*deadline.Item](t)(o.Start(ctx, in))
		due(t, it, "2026-03-20 17:00")
		if it.Clause != "安全生产法 第四十一条" || !it.NextAt.Equal(at(t, "2026-03-17 17:00")) {
			t.Errorf("by rule: %s, next %v", it.Clause, it.NextAt)
		}
		_, err := o.Extend(ctx, on(2), deadline.ExtendInput{By: 3, Reason: "x", Approver: "y"})
		refused(t, err, "deadline.extension") // three what?
		due(t, must[*deadline.Item](t)(o.Extend(ctx, on(2), deadline.ExtendInput{Until: at(t, "2026-03-21 12:00"), Reason: "x", Approver: "y"})), "2026-03-21 12:00")
		// The order's own number of days.
		in = input(3, "hiddendanger.rectify")
		in.Amount = 3
		due(t, must[*deadline.Item](t)(o.Start(ctx, in)), "2026-03-16 24:00")
		// Past the published years an explicit end is not provisional.
		in = deadline.StartInput{Ref: on(4), Place: stone, Title: "x", Clause: "y", Due: deadline.EndOfDay(at(t, "2028-01-01 12:00"))}
		if it := must[*deadline.Item](t)(o.Start(ctx, in)); it.Provisional {
			t.Error("provisional")
		}
		for _, in := range []deadline.StartInput{{}, {Ref: on(9)}, {Ref: on(9), Title: "x", Due: in.Due}, {Ref: on(9), Title: "x", Clause: "y"}} {
			if it, err := o.Start(ctx, in); err == nil || errs.As(err) != nil {
				t.Errorf("%+v: %v, %v", in, it, err)
			}
		}
		long := input(9, "hiddendanger.rectify")
		long.Amount = 1 << 50
		_, err = o.Start(ctx, long)
		refused(t, err, "deadline.term")
		o.covered(t)
	})
}

func TestPause(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		ctx := system(t)
		for n, tc := range []struct {
			name, rule, start, pause, resume, want string
		}{
			{"working days keep working days", "enforcement.service", "2026-03-11 12:00", "2026-03-13 10:00", "2026-03-18 16:00", "2026-03-25 24:00"},                     // due 20 March, left 5
			{"over a holiday, where days would be lost", "enforcement.service", "2026-04-01 12:00", "2026-04-03 10:00", "2026-04-29 10:00", "2026-05-09 24:00"},           // left 5: 30 Apr, 6–9 May
			{"within one day nothing changes", "enforcement.service", "2026-03-11 12:00", "2026-03-13 08:00", "2026-03-13 20:00", "2026-03-20 24:00"},                     // due as before
			{"paused on Saturday, resumed on Sunday", "enforcement.service", "2026-03-11 12:00", "2026-03-14 08:00", "2026-03-15 20:00", "2026-03-20 24:00"},              // no working day lost
			{"on the last day: ends on the day of resuming", "enforcement.service", "2026-03-11 12:00", "2026-03-20 23:00", "2026-03-24 01:00", "2026-03-24 24:00"},       // left 0
			{"and, resumed on a day off, on the next working day", "enforcement.service", "2026-03-11 12:00", "2026-03-20 23:00", "2026-03-28 01:00", "2026-03-30 24:00"}, // left 0
			{"days keep days and roll at the end", "hiddendanger.rectify", "2026-03-11 12:00", "2026-03-16 10:00", "2026-03-18 16:00", "2026-03-30 24:00"},                // nominal 28 March, a Saturday
			{"what the holiday had added is not counted twice", "hiddendanger.rectify", "2026-02-01 12:00", "2026-02-11 10:00", "2026-03-04 10:00", "2026-03-09 24:00"},   // nominal 16 February: left 5
			{"hours keep seconds", "accident.firstReport", "2026-03-11 12:00", "2026-03-11 12:20:30", "2026-03-12 08:00:30", "2026-03-12 08:40"},
		} {
			o.set(t, tc.start)
			must[*deadline.Item](t)(o.Start(ctx, input(n, tc.rule)))
			o.set(t, tc.pause)
			p := must[*deadline.Item](t)(o.Pause(ctx, on(n), time.Time{}, "技术鉴定"))
			if p.State != deadline.Paused || !p.NextAt.IsZero() {
				t.Errorf("%s: paused is %s, next %v", tc.name, p.State, p.NextAt)
			}
			o.set(t, tc.resume)
			it := must[*deadline.Item](t)(o.Resume(ctx, on(n), time.Time{}, "鉴定完成"))
			if it.DueText() != tc.want || it.State != deadline.Open {
				t.Errorf("%s: due %s, want %s", tc.name, it.DueText(), tc.want)
			}
			if a := it.Adjustments[1]; !a.To.Equal(it.Due) || !a.From.Equal(p.Due) || a.Reason != "鉴定完成" {
				t.Errorf("%s: adjustment %+v", tc.name, a)
			}
		}

		o.set(t, "2026-03-16 09:00")
		must[*deadline.Item](t)(o.Start(ctx, input(50, "enforcement.service"))) // due 25 March
		_, err := o.Resume(ctx, on(50), time.Time{}, "x")
		refused(t, err, "deadline.notPaused")
		_, err = o.Pause(ctx, on(50), time.Time{}, " ")
		refused(t, err, "deadline.reason")
		_, err = o.Pause(ctx, on(50), at(t, "2026-03-16 08:59"), "x")
		refused(t, err, "deadline.time")
		_, err = o.Pause(ctx, on(50), at(t, "2026-03-16 09:01"), "x")
		refused(t, err, "deadline.time")
		o.set(t, "2026-03-26 09:00")
		_, err = o.Pause(ctx, on(50), time.Time{}, "x")
		refused(t, err, "deadline.overdue")
		must[*deadline.Item](t)(o.Pause(ctx, on(50), at(t, "2026-03-25 18:00"), "当日已中止，次日补登"))
		_, err = o.Pause(ctx, on(50), time.Time{}, "x")
		refused(t, err, "deadline.paused")
		_, err = o.Extend(ctx, on(50), deadline.ExtendInput{By: 1, Reason: "x", Approver: "y"})
		refused(t, err, "deadline.paused")
		_, err = o.Resume(ctx, on(50), at(t, "2026-03-25 17:59"), "x")
		refused(t, err, "deadline.time")
		o.set(t, "2026-06-01 09:00")
		if met := must[*deadline.Item](t)(o.Meet(ctx, on(50), time.Time{})); met.State != deadline.Met {
			t.Errorf("met under a pause: %s", met.State)
		}
		o.covered(t)
	})
}

func TestExtend(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		ctx := system(t)
		extend := func(n, by int, until string) (*deadline.Item, error) {
			in := deadline.ExtendInput{By: by, Reason: "案情复杂", Approver: "张三"}
			if until != "" {
				in.Until = deadline.EndOfDay(at(t, until+" 12:00"))
			}
			return o.Extend(ctx, on(n), in)
		}
		start := func(n int, rule string) { must[*deadline.Item](t)(o.Start(ctx, input(n, rule))) }

		start(1, "enforcement.service")
		_, err := extend(1, 1, "")
		refused(t, err, "deadline.extension") // not allowed at all

		start(2, "accident.investigation") // 11 March + 60 days = Sunday 10 May, so Monday
		due(t, must[[]*deadline.Item](t)(o.Of(ctx, on(2).RecordType, on(2).RecordID))[0], "2026-05-11 24:00")
		for name, err := range map[string]error{
			"too much": second(extend(2, 61, "")), "too far": second(extend(2, 0, "2026-07-10")), "nothing": second(extend(2, 0, "")),
			"both": second(extend(2, 5, "2026-06-01")), "back": second(extend(2, -5, "")), "not later": second(extend(2, 0, "2026-05-11")),
			"no approver": second(o.Extend(ctx, on(2), deadline.ExtendInput{By: 1, Reason: "x"})),
			"no reason":   second(o.Extend(ctx, on(2), deadline.ExtendInput{By: 1, Approver: "x"})),
		} {
			if refused(t, err, "deadline.extension"); t.Failed() {
				t.Fatal(name)
			}
		}
		it := must[*deadline.Item](t)(extend(2, 60, "")) // from Sunday 10 May: 9 July
		due(t, it, "2026-07-09 24:00")
		if x := it.Extensions(); len(x) != 1 || x[0].Approver != "张三" || x[0].Reason != "案情复杂" || deadline.DueText(x[0].From, it.Unit) != "2026-05-11 24:00" || !x[0].To.Equal(it.Due) {
			t.Errorf("extensions %+v", x)
		}
		_, err = extend(2, 1, "")
		refused(t, err, "deadline.extension") // once only

		start(3, "hiddendanger.rectify")
		must[*deadline.Item](t)(extend(3, 3, ""))                // 26 March + 3 = Sunday: Monday 30
		it = must[*deadline.Item](t)(extend(3, 0, "2026-04-04")) // a Saturday that was named stays
		due(t, it, "2026-04-04 24:00")
		due(t, must[*deadline.Item](t)(extend(3, 1, "")), "2026-04-07 24:00") // counted on: Qingming until 6 April
		_, err = extend(3, 1<<40, "")
		refused(t, err, "deadline.extension")
		_, err = extend(99, 1, "")
		if !errors.Is(err, deadline.ErrNone) {
			t.Error(err)
		}
		o.covered(t)
	})
}

func second[T any](_ T, err error) error { return err }

func TestAModulesTransactionDecides(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		o, ctx := plain(t, d), system(t)
		boom := errors.New("boom")
		if err := o.db.Tx(ctx, func(ctx context.Context) error {
			if _, err := o.Start(ctx, input(1, "hiddendanger.rectify")); err != nil {
				return err
			}
			if _, err := o.Pause(ctx, on(1), time.Time{}, "x"); err != nil {
				return err
			}
			return boom
		}); !errors.Is(err, boom) {
			t.Fatal(err)
		}
		if of := must[[]*deadline.Item](t)(o.Of(ctx, on(1).RecordType, on(1).RecordID)); len(of) != 0 {
			t.Errorf("%d deadlines outlived their transaction", len(of))
		}
	})
}

func TestStartAtOnceByMany(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		o := plain(t, d)
		var wg sync.WaitGroup
		var mu sync.Mutex
		started := 0
		for range 16 {
			wg.Go(func() {
				_, err := o.Start(system(t), input(1, "hiddendanger.rectify"))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					started++
				} else if !errors.Is(err, deadline.ErrRunning) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if started != 1 {
			t.Errorf("%d started", started)
		}
	})
}

func TestWhoSees(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o *office) {
		ctx := system(t)
		for n := range 30 {
			in := input(n, "hiddendanger.rectify")
			in.At = at(t, "2026-03-01 09:00").AddDate(0, 0, n%10)
			if n%3 == 0 {
				in.Place = scope.At("341722101000", "hazchem", "ent-2")
			}
			must[*deadline.Item](t)(o.Start(ctx, in))
		}
		as := func(g actor.Grant) scope.Filter {
			g.Permissions = []string{"deadline.view"}
			return scope.For(actor.With(ctx, &actor.Actor{Kind: actor.Person, Grants: []actor.Grant{g}}), "deadline.view")
		}
		for name, tc := range map[string]struct {
			f    scope.Filter
			want int
		}{
			"county":         {as(actor.Grant{Divisions: []string{"341722000000"}}), 30},
			"town":           {as(actor.Grant{Divisions: []string{"341722101000"}}), 10},
			"line":           {as(actor.Grant{Divisions: []string{"341722000000"}, Lines: []string{"industryTrade"}}), 20},
			"enterprise":     {as(actor.Grant{Enterprise: "ent-2"}), 10},
			"another county": {as(actor.Grant{Divisions: []string{"350581000000"}}), 0},
			"nobody":         {scope.For(t.Context(), "deadline.view"), 0},
		} {
			got := must[[]*deadline.Item](t)(o.Find(ctx, tc.f, deadline.Query{}))
			if n := must[int](t)(o.Count(ctx, tc.f, deadline.Query{})); len(got) != tc.want || n != tc.want {
				t.Errorf("%s sees %d, counts %d; want %d", name, len(got), n, tc.want)
			}
		}
		it := must[[]*deadline.Item](t)(o.Find(ctx, all, deadline.Query{Limit: 1}))[0]
		_, err := o.Load(ctx, as(actor.Grant{Divisions: []string{"350581000000"}}), it.ID)
		refused(t, err, "record.notFound")

		// Pages, each item once, earliest end first.
		var last *deadline.Item
		seen := map[string]bool{}
		for {
			page := must[[]*deadline.Item](t)(o.Find(ctx, all, deadline.Query{Limit: 7, After: last}))
			for _, it := range page {
				if seen[it.ID] || last != nil && it.Due.Before(last.Due) {
					t.Fatalf("%s out of order", it.ID)
				}
				seen[it.ID], last = true, it
			}
			if len(page) < 7 {
				break
			}
		}
		if len(seen) != 30 {
			t.Errorf("paged through %d", len(seen))
		}

		o.set(t, "2026-03-17 09:00")
		must[*deadline.Item](t)(o.Meet(ctx, on(0), time.Time{}))
		must[int](t)(o.Sweep(ctx))
		for name, tc := range map[string]struct {
			q    deadline.Query
			want int
		}{
			"overdue":     {deadline.Query{Overdue: true}, 2}, // number 0, due on the 16th, was met
			"states":      {deadline.Query{States: []deadline.State{deadline.Met, deadline.Late}}, 1},
			"due":         {deadline.Query{DueFrom: at(t, "2026-03-18 00:00"), DueBefore: at(t, "2026-03-19 00:00")}, 3},
			"rule":        {deadline.Query{RuleKey: "hiddendanger.rectify", RecordType: "hiddendanger.item", Slot: "rectify"}, 30},
			"no rule":     {deadline.Query{RuleKey: "x"}, 0},
			"responsible": {deadline.Query{ResponsibleID: "ent-1"}, 30},
			"escalated":   {deadline.Query{EscalatedTo: deadline.ToTown}, 2},
			"provisional": {deadline.Query{Provisional: true}, 0},
		} {
			if n := must[int](t)(o.Count(ctx, all, tc.q)); n != tc.want {
				t.Errorf("%s: %d, want %d", name, n, tc.want)
			}
		}
	})
}
