package grid

import (
	"fmt"
	"slices"
	"time"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
)

// Period is how often a site is patrolled: once in each such period of the calendar.
type Period string

// The periods. Never switches patrols off.
const (
	Daily       Period = "day"
	Weekly      Period = "week"      // Monday to Sunday
	HalfMonthly Period = "halfMonth" // 1st to 15th, 16th to the end
	Monthly     Period = "month"
	Quarterly   Period = "quarter"
	HalfYearly  Period = "halfYear"
	Yearly      Period = "year"
	Never       Period = "never"
)

var periods = []Period{Daily, Weekly, HalfMonthly, Monthly, Quarterly, HalfYearly, Yearly, Never}

// Around is the period that day lies in: its first and last day. Never has none.
func (p Period) Around(day time.Time) (first, last time.Time, ok bool) {
	y, m, d := day.In(clock.Zone).Date()
	date := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, clock.Zone) }
	months := func(n int) (time.Time, time.Time, bool) {
		from := date(y, (m-1)/time.Month(n)*time.Month(n)+1, 1)
		return from, from.AddDate(0, n, -1), true
	}
	switch p {
	case Daily:
		return date(y, m, d), date(y, m, d), true
	case Weekly:
		from := date(y, m, d-(int(date(y, m, d).Weekday())+6)%7)
		return from, from.AddDate(0, 0, 6), true
	case HalfMonthly:
		if d <= 15 {
			return date(y, m, 1), date(y, m, 15), true
		}
		return date(y, m, 16), date(y, m+1, 0), true
	case Monthly:
		return months(1)
	case Quarterly:
		return months(3)
	case HalfYearly:
		return months(6)
	case Yearly:
		return months(12)
	}
	return first, last, false
}

// Frequency says how often sites of some kinds, classes and grades are patrolled. An empty list stands for all.
type Frequency struct {
	Kinds   []string `json:"kinds,omitempty" maxItems:"50" doc:"对象种类：enterprise 或字典 gridPlaceKind 的代码"`
	Classes []string `json:"classes,omitempty" maxItems:"50" doc:"企业类别"`
	Grades  []string `json:"grades,omitempty" maxItems:"20" doc:"企业等级"`
	Every   Period   `json:"every" enum:"day,week,halfMonth,month,quarter,halfYear,year,never" doc:"频次"`
}

func (f *Frequency) covers(s *Site) bool {
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	return in(f.Kinds, s.Kind) && in(f.Classes, s.Class) && in(f.Grades, s.Grade)
}

// Policy is what differs from place to place: how often, and what counts as having been there.
type Policy struct {
	Frequencies []Frequency `json:"frequencies" maxItems:"100" nullable:"false" doc:"从上到下，第一条相符的生效；都不相符的不安排巡查"`
	// Radius is how near the phone must have been.
	Radius int `json:"radius" minimum:"10" maximum:"5000" doc:"到访认定半径（米）"`
	// SkewSeconds is how wrong a phone's clock may be before its times are corrected.
	SkewSeconds int `json:"skewSeconds" minimum:"0" maximum:"86400" doc:"手机时钟允许误差（秒）"`
	// AbandonHours is when a patrol that was begun and never finished is given up.
	AbandonHours int `json:"abandonHours" minimum:"1" maximum:"720" doc:"巡查开始后多少小时未结束视为放弃"`
}

// DefaultPolicy holds where nobody has set another. No text gives numbers: all of them are proposals [P].
func DefaultPolicy() Policy {
	return Policy{
		Frequencies: []Frequency{
			{Kinds: []string{KindEnterprise}, Classes: []string{"highRisk"}, Every: Weekly},
			{Kinds: []string{KindEnterprise}, Grades: []string{"D"}, Every: Weekly},
			{Kinds: []string{KindEnterprise}, Grades: []string{"C"}, Every: HalfMonthly},
			{Every: Monthly},
		},
		Radius: 100, SkewSeconds: 120, AbandonHours: 72,
	}
}

func (p Policy) validate() error {
	bad := errs.Invalid("grid.policy", "巡查策略填写有误，请按提示修改。")
	for i, f := range p.Frequencies {
		if !slices.Contains(periods, f.Every) {
			bad = bad.At(fmt.Sprintf("/frequencies/%d/every", i), "频次应为 day、week、halfMonth、month、quarter、halfYear、year 或 never")
		}
	}
	for _, n := range []struct {
		name             string
		value, low, high int
	}{{"radius", p.Radius, 10, 5000}, {"skewSeconds", p.SkewSeconds, 0, 86400}, {"abandonHours", p.AbandonHours, 1, 720}} {
		if n.value < n.low || n.value > n.high {
			bad = bad.At("/"+n.name, fmt.Sprintf("应在 %d 至 %d 之间", n.low, n.high))
		}
	}
	if len(bad.Fields) > 0 {
		return bad
	}
	return nil
}

// every is how often the site is patrolled.
func (p Policy) every(s *Site) Period {
	if s.Every != "" {
		return s.Every
	}
	for i := range p.Frequencies {
		if p.Frequencies[i].covers(s) {
			return p.Frequencies[i].Every
		}
	}
	return Never
}

// owed is the task that the site owes in the period around the day, without who and where; nil when it owes none. A site that came into its grid when two thirds of
// the period were over begins with the next one, so that nobody is blamed for a day's notice.
func (p Policy) owed(s *Site, day time.Time) *Task {
	every := p.every(s)
	first, last, ok := every.Around(day)
	if !ok || s.State != SiteActive || s.GridID == "" {
		return nil
	}
	days := int(last.Sub(first).Hours()/24) + 1
	if s.AssignedOn > clock.Date(first.AddDate(0, 0, days*2/3)) {
		return nil
	}
	return &Task{
		Place: s.Place, GridID: s.GridID, FirstGridID: s.GridID, SiteID: s.ID, SiteName: s.Name, SiteKind: s.Kind,
		Period: string(every) + ":" + clock.Date(first), FromDay: clock.Date(first), ToDay: clock.Date(last), DueAt: last.AddDate(0, 0, 1).UTC(),
		State: TaskOpen, Proof: Unknown,
	}
}
