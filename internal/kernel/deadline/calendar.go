package deadline

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
)

// DayKind says what the calendar makes of a date.
type DayKind string

// The kinds of day.
const (
	Off    DayKind = "off"    // 放假: a day off, whatever weekday it is
	Work   DayKind = "work"   // 调休上班: a working day, whatever weekday it is
	Normal DayKind = "normal" // as its weekday: an earlier entry was taken back
)

// Day is one date that the calendar names.
type Day struct {
	Date   string  `bun:"date" json:"date" format:"date" doc:"日期，如 2026-10-01"`
	Kind   DayKind `bun:"kind" json:"kind" enum:"off,work,normal" doc:"off 放假，work 调休上班，normal 按星期几"`
	Name   string  `bun:"name" json:"name" maxLength:"50" doc:"节日名称"`
	Source string  `bun:"source" json:"source" minLength:"1" maxLength:"200" doc:"依据，如国务院办公厅通知及日期"`
}

// Calendar tells working days from days off. It never changes, so a caller may keep it for the length of one computation. Dates are those
// of Shanghai.
type Calendar struct {
	special   map[day]bool // true: works
	published int
	settled   day
}

// NewCalendar makes a calendar from the days that differ from the plain week, and the years whose notice is out.
// A date that occurs twice takes its last entry.
func NewCalendar(days []Day, published []int) (*Calendar, error) {
	c := &Calendar{special: make(map[day]bool, len(days))}
	for _, e := range days {
		d, err := parseDay(e.Date)
		if err != nil {
			return nil, err
		}
		delete(c.special, d)
		if e.Kind != Normal {
			c.special[d] = e.Kind == Work
		}
	}
	years := slices.Sorted(slices.Values(published))
	for i, y := range years {
		if i > 0 && y > c.published+1 {
			break // a gap: what lies behind it is not known day by day
		}
		c.published = y
	}
	// The next notice may still move the last days of December.
	c.settled = dateOf(c.published, time.December, reachBack-1)
	return c, nil
}

// reachBack is the earliest day of December that a notice for the following year has ever moved.
const reachBack = 29

// PublishedThrough is the last year, counted without a gap from the first one known, whose notice is in the calendar; 0 when none is.
func (c *Calendar) PublishedThrough() int { return c.published }

// Settled reports whether the notices that can touch t's date are all in the calendar.
func (c *Calendar) Settled(t time.Time) bool { return dayOf(t) <= c.settled }

// IsWorkday reports whether t's date is a working day.
func (c *Calendar) IsWorkday(t time.Time) bool { return c.works(dayOf(t)) }

// AddWorkdays returns the midnight at which the n-th working day after t's date begins; for a negative n, the n-th before it.
// t's date itself is not counted. For n = 0 it is t's date, working day or not.
func (c *Calendar) AddWorkdays(t time.Time, n int) time.Time {
	return c.advance(dayOf(t), n, Workdays).start()
}

// NextWorkday returns the midnight at which the first working day after t's date begins.
func (c *Calendar) NextWorkday(t time.Time) time.Time { return c.AddWorkdays(t, 1) }

// WorkdaysBetween counts the working days after from's date up to and including to's date; 0 when to is not later.
func (c *Calendar) WorkdaysBetween(from, to time.Time) int {
	return c.count(dayOf(from), dayOf(to), Workdays)
}

func (c *Calendar) works(d day) bool {
	if works, named := c.special[d]; named {
		return works
	}
	w := d.weekday()
	return w != time.Saturday && w != time.Sunday
}

// advance counts n units on from d, or back when n is negative; d itself is not counted.
func (c *Calendar) advance(d day, n int, u Unit) day {
	switch u {
	case Workdays:
		step := day(1)
		if n < 0 {
			step, n = -1, -n
		}
		for n > 0 {
			d += step
			if c.works(d) {
				n--
			}
		}
		return d
	case Months:
		return d.addMonths(n)
	case Years:
		return d.addMonths(12 * n)
	default:
		return d + day(n)
	}
}

// count is how many days, or working days, lie after from up to and including to.
func (c *Calendar) count(from, to day, u Unit) int {
	if u != Workdays {
		return max(0, int(to-from))
	}
	n := 0
	for d := from + 1; d <= to; d++ {
		if c.works(d) {
			n++
		}
	}
	return n
}

// roll moves d off a day off, in the direction of step.
func (c *Calendar) roll(d, step day) day {
	for !c.works(d) {
		d += step
	}
	return d
}

// day is a calendar date in Shanghai, as the number of days since 1970-01-01.
type day int

const dayLength = 24 * 60 * 60

func dateOf(y int, m time.Month, d int) day {
	return day(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / dayLength)
}

func dayOf(t time.Time) day { return dateOf(t.In(clock.Zone).Date()) }

// lastDayOf is the last day of a period that ends at t: midnight still belongs to the day before, as its 24:00.
func lastDayOf(t time.Time) day { return dayOf(t.Add(-1)) }

func parseDay(s string) (day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("日期 %q 无效，应形如 2026-10-01", s)
	}
	return dateOf(t.Date()), nil
}

func (d day) utc() time.Time        { return time.Unix(int64(d)*dayLength, 0).UTC() }
func (d day) weekday() time.Weekday { return time.Weekday(((int(d)+4)%7 + 7) % 7) } // 1970-01-01 was a Thursday
func (d day) String() string        { return d.utc().Format(time.DateOnly) }
func (d day) start() time.Time {
	return time.Date(1970, time.January, 1+int(d), 0, 0, 0, 0, clock.Zone)
}
func (d day) end() time.Time { return (d + 1).start() }

func (d day) addMonths(n int) day {
	y, m, dom := d.utc().Date()
	last := time.Date(y, m+time.Month(n)+1, 0, 0, 0, 0, 0, time.UTC)
	return dateOf(last.Year(), last.Month(), min(dom, last.Day()))
}

// EndOfDay is 24:00 of t's date in Shanghai: the end of a period whose last day it is.
func EndOfDay(t time.Time) time.Time { return dayOf(t).end().UTC() }

//go:embed holidays.csv
var shippedCSV []byte

// Shipped is the calendar that comes with the program: 2007 to 2026. It is for tests and documents; what is in force is [Book.Calendar].
func Shipped() *Calendar {
	days, years := shippedDays()
	c, err := NewCalendar(days, years)
	if err != nil {
		panic("deadline: holidays.csv: " + err.Error()) // embedded, and tested
	}
	return c
}

func shippedDays() (days []Day, years []int) {
	days, err := parseDays(bytes.NewReader(shippedCSV), "")
	if err != nil {
		panic("deadline: holidays.csv: " + err.Error()) // embedded, and tested
	}
	for _, d := range days {
		years = append(years, noticeOf(d))
	}
	return days, slices.Compact(slices.Sorted(slices.Values(years)))
}

// noticeOf is the year whose notice named the day: New Year's holiday may begin in the old year.
func noticeOf(d Day) int {
	year, _ := strconv.Atoi(d.Date[:4])
	if d.Date[5:] >= "12-20" && strings.Contains(d.Name, "元旦") {
		return year + 1
	}
	return year
}

// maxRows bounds an imported table; a year's notice names about forty days.
const maxRows = 2000

// parseDays reads a table with the columns date, name, kind and, optionally, source, in any order, as UTF-8 with or without a byte order
// mark. It reports every bad row: as errs.Invalid with pointers "row/12/date", row 1 being the heading.
func parseDays(r io.Reader, source string) ([]Day, error) {
	raw, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read calendar: %w", err)
	}
	in := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))))
	in.FieldsPerRecord = -1
	in.TrimLeadingSpace = true
	head, err := in.Read()
	if err != nil {
		return nil, badFile("row/1", "文件为空或不是 CSV，首行应为 date,name,kind,source。")
	}
	column := func(row []string, name string) string {
		if i := slices.Index(head, name); i >= 0 && i < len(row) {
			return strings.TrimSpace(row[i])
		}
		return ""
	}
	for _, name := range []string{"date", "name", "kind"} {
		if !slices.Contains(head, name) {
			return nil, badFile("row/1", "首行缺少列 "+name+"，应为 date,name,kind,source。")
		}
	}
	var days []Day
	var wrong []errs.Field
	seen := map[string]bool{}
	for n := 2; ; n++ {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		at := func(field string) string { return fmt.Sprintf("row/%d/%s", n, field) }
		if err != nil || n > maxRows {
			wrong = append(wrong, errs.Field{Pointer: at("date"), Message: "此行无法读取，或文件超过 2000 行。"})
			break
		}
		d := Day{Date: column(row, "date"), Name: column(row, "name"), Kind: kindOf(column(row, "kind")), Source: column(row, "source")}
		if d.Source == "" {
			d.Source = source
		}
		if _, err := parseDay(d.Date); err != nil {
			wrong = append(wrong, errs.Field{Pointer: at("date"), Message: err.Error() + "。"})
		} else if seen[d.Date] {
			wrong = append(wrong, errs.Field{Pointer: at("date"), Message: "日期 " + d.Date + " 重复。"})
		}
		if d.Kind == "" {
			wrong = append(wrong, errs.Field{Pointer: at("kind"), Message: "类别应为 off（放假）或 work（上班）。"})
		}
		seen[d.Date] = true
		days = append(days, d)
	}
	if len(wrong) > 0 {
		return nil, errs.Invalid("deadline.calendarFile", "节假日文件有错误，请按提示改正后重新导入。", wrong...)
	}
	if len(days) == 0 {
		return nil, badFile("row/2", "文件里没有日期。")
	}
	return days, nil
}

func badFile(pointer, message string) error {
	return errs.InvalidField("deadline.calendarFile", pointer, message)
}

func kindOf(s string) DayKind {
	switch s {
	case "off", "放假", "休":
		return Off
	case "work", "上班", "班":
		return Work
	default:
		return ""
	}
}
