package deadline

import (
	"fmt"
	"time"

	"anwang/internal/kernel/clock"
)

// Unit is the unit in which a period runs.
type Unit string

// The units.
const (
	Hours    Unit = "hour"    // calendar hours from the moment itself (民法典 第二百零一条)
	Days     Unit = "day"     // calendar days
	Workdays Unit = "workday" // working days
	Months   Unit = "month"   // to the day with the same number (民法典 第二百零二条)
	Years    Unit = "year"
)

// Term is the length of a period.
type Term struct {
	Amount int  `bun:"amount" json:"amount" doc:"期限数量；负数从起算事实往前倒算，如听证七日前"`
	Unit   Unit `bun:"unit" json:"unit" enum:"hour,day,workday,month,year" doc:"hour 小时，day 日，workday 工作日，month 月，year 年"`
	// NoRoll switches off the legal default that a period whose last day is a day off ends on the next working day. It says
	// nothing about hours, which never roll, and working days, which cannot end on a day off.
	NoRoll bool `bun:"no_roll" json:"noRoll" required:"false" doc:"期满日逢休息日不顺延"`
}

// longest bounds each unit at about a century, so that counting ends.
var longest = map[Unit]int{Hours: 900_000, Days: 36_600, Workdays: 25_000, Months: 1200, Years: 100}

func (t Term) check() error {
	limit, ok := longest[t.Unit]
	if !ok {
		return fmt.Errorf("期限单位 %q 无效", t.Unit)
	}
	if t.Amount > limit || t.Amount < -limit {
		return fmt.Errorf("期限 %d 超出允许范围（%d 以内）", t.Amount, limit)
	}
	return nil
}

// String is the term in Chinese: "7个工作日".
func (t Term) String() string {
	name := map[Unit]string{Hours: "小时", Days: "日", Workdays: "个工作日", Months: "个月", Years: "年"}[t.Unit]
	if t.Amount < 0 {
		return fmt.Sprintf("%d%s前", -t.Amount, name)
	}
	return fmt.Sprintf("%d%s", t.Amount, name)
}

// Compute is the end of the period t that the fact at start begins, as the UTC instant, and whether it may still move because the calendar
// reaches no further. See the package comment for the rules of counting. For a term in working days, and for one that rolls, c
// decides; for hours c is not asked.
func Compute(start time.Time, t Term, c *Calendar) (due time.Time, provisional bool) {
	k := begin(start, t, time.Time{}, c)
	return k.due(c)
}

// DueText is how an end is written on paper and on screen: a period in days "2026-03-20 24:00", never the midnight of the next day.
func DueText(due time.Time, u Unit) string {
	if u == Hours {
		return due.In(clock.Zone).Format("2006-01-02 15:04")
	}
	return lastDayOf(due).String() + " 24:00"
}

// course is a period while its adjustments are applied to it one after the other.
type course struct {
	term    Term
	pinned  bool      // the end was set as such and not counted: it stays, also on a day off
	at      time.Time // Hours: the end
	last    day       // other units: the last day, before it is moved off a day off
	reach   day       // the latest day that counting has asked the calendar about, besides last
	left    time.Duration
	leftDay int
}

func begin(start time.Time, t Term, until time.Time, c *Calendar) course {
	k := course{term: t}
	switch {
	case !until.IsZero():
		k.pin(until)
	case t.Unit == Hours:
		k.at = start.Add(time.Duration(t.Amount) * time.Hour).Truncate(time.Second)
	default:
		k.reach = dayOf(start) // counting backwards from an event
		k.last = c.advance(k.reach, t.Amount, t.Unit)
	}
	return k
}

func (k *course) pin(until time.Time) {
	k.pinned = true
	if k.term.Unit == Hours {
		k.at = until.Truncate(time.Second)
		return
	}
	k.last = lastDayOf(until)
}

func (k *course) pause(at time.Time, c *Calendar) {
	if k.term.Unit == Hours {
		k.left = max(0, k.at.Sub(at))
		return
	}
	k.leftDay = c.count(dayOf(at), k.last, k.term.Unit)
}

func (k *course) resume(at time.Time, c *Calendar) {
	k.pinned = false
	if k.term.Unit == Hours {
		k.at = at.Add(k.left)
		return
	}
	unit := Days // what is left of months and years was counted in days
	if k.term.Unit == Workdays {
		unit = Workdays
	}
	k.last = c.advance(dayOf(at), k.leftDay, unit)
}

func (k *course) extend(by int, c *Calendar) {
	k.pinned = false
	if k.term.Unit == Hours {
		k.at = k.at.Add(time.Duration(by) * time.Hour)
		return
	}
	k.last = c.advance(k.last, by, k.term.Unit)
}

func (k *course) due(c *Calendar) (due time.Time, provisional bool) {
	switch {
	case k.term.Unit == Hours:
		return k.at.UTC(), false
	case k.pinned || k.term.NoRoll && k.term.Unit != Workdays:
		return k.last.end().UTC(), false
	}
	step := day(1)
	if k.term.Amount < 0 {
		step = -1 // counted backwards, the safe side is the earlier one
	}
	last := c.roll(k.last, step)
	reach := max(last, k.last)
	if k.term.Unit == Workdays {
		reach = max(reach, k.reach)
	}
	return last.end().UTC(), reach > c.settled
}
