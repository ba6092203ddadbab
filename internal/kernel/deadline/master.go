package deadline

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
)

var (
	daySet        = record.Change{Fact: "deadline.daySet", Title: "设定日历日期"}
	yearPublished = record.Change{Fact: "deadline.yearPublished", Title: "公布年度放假安排"}
	ruleAdded     = record.Change{Fact: "deadline.ruleAdded", Title: "增加期限规则版次"}
)

// Calendar is the calendar in force now.
func (b *Book) Calendar(ctx context.Context) (*Calendar, error) {
	s, err := b.current(ctx)
	if err != nil {
		return nil, err
	}
	return s.calendar, nil
}

// Days lists the dates of a year that differ from the plain week, in order; also those that were set back to Normal.
func (b *Book) Days(ctx context.Context, year int) ([]*DayEntry, error) {
	return b.within(ctx, fmt.Sprintf("%04d-01-01", year), fmt.Sprintf("%04d-12-31", year))
}

func (b *Book) within(ctx context.Context, first, last string) ([]*DayEntry, error) {
	return b.days.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return b.bornHere(q).Where("r.date >= ? AND r.date <= ?", first, last).Order("r.date")
	})
}

// Years lists the years whose notice is in the calendar, in order.
func (b *Book) Years(ctx context.Context) ([]*YearEntry, error) {
	return b.years.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery { return b.bornHere(q).Order("r.year") })
}

// DayInput sets one date.
type DayInput struct {
	Day
	Version *int64 `json:"version,omitempty" doc:"所见版本；日期已在日历中时用于防止覆盖他人修改"`
}

// SetDay makes a date a day off, a working day, or normal again. It needs PermCalendar. Running deadlines are computed again soon after.
func (b *Book) SetDay(ctx context.Context, in DayInput) (*DayEntry, error) {
	if err := need(ctx, PermCalendar, "维护工作日历"); err != nil {
		return nil, err
	}
	in.Source = strings.TrimSpace(in.Source)
	if _, err := parseDay(in.Date); err != nil {
		return nil, errs.InvalidField("deadline.day", "/date", err.Error()+"。")
	}
	if in.Kind != Off && in.Kind != Work && in.Kind != Normal {
		return nil, errs.InvalidField("deadline.day", "/kind", "请选择放假、上班或按星期几。")
	}
	if in.Source == "" {
		return nil, errs.InvalidField("deadline.day", "/source", "请写明依据，如国务院办公厅通知及日期。")
	}
	var entry *DayEntry
	err := b.edit(ctx, func(ctx context.Context) (err error) {
		entry, err = b.setDay(ctx, in.Day, 0, in.Version)
		return err
	})
	return entry, err
}

func (b *Book) setDay(ctx context.Context, d Day, notice int, read *int64) (*DayEntry, error) {
	e, err := b.day(ctx, d.Date)
	if err != nil {
		return nil, err
	}
	if e == nil {
		e = &DayEntry{Day: d, Notice: notice}
		return e, b.days.Insert(ctx, e, daySet)
	}
	if read != nil {
		if err := b.days.CheckVersion(e, *read); err != nil {
			return nil, err
		}
	}
	e.Day, e.Notice = d, notice
	return e, b.days.Update(ctx, e, daySet)
}

func (b *Book) day(ctx context.Context, date string) (*DayEntry, error) {
	return b.days.First(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery { return b.bornHere(q).Where("r.date = ?", date) })
}

func (b *Book) year(ctx context.Context, year int) (*YearEntry, error) {
	return b.years.First(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery { return b.bornHere(q).Where("r.year = ?", year) })
}

// ImportInput is the notice of one year as a table.
type ImportInput struct {
	Year   int
	Source string    // "国务院办公厅通知 2026-11-04": for rows that name no source of their own
	File   io.Reader // CSV in UTF-8: date,name,kind[,source]; kind is off or work
	DryRun bool      // only say what would change
}

// DayChange is one date that an import changes.
type DayChange struct {
	Date string  `json:"date"`
	Name string  `json:"name"`
	From DayKind `json:"from"`
	To   DayKind `json:"to"`
}

// ImportYear enters the notice of a year and so publishes it. It needs PermCalendar. A date of the file replaces whatever the calendar says
// of it, an edit too; a date that an earlier import of the same notice named and the file does not becomes normal. Besides the year itself
// the file may name the last days of the December before. Bad rows are an errs.Invalid with pointers "row/12/date", and then nothing
// changes. Running deadlines are computed again soon after, and lose their provisional mark.
func (b *Book) ImportYear(ctx context.Context, in ImportInput) ([]DayChange, error) {
	if err := need(ctx, PermCalendar, "维护工作日历"); err != nil {
		return nil, err
	}
	if in.Year < 2000 || in.Year > 2200 {
		return nil, errs.InvalidField("deadline.calendarFile", "/year", "请填写通知所属的年份，如 2027。")
	}
	if strings.TrimSpace(in.Source) == "" {
		return nil, errs.InvalidField("deadline.calendarFile", "/source", "请写明依据，如国务院办公厅通知及日期。")
	}
	days, err := parseDays(in.File, strings.TrimSpace(in.Source))
	if err != nil {
		return nil, err
	}
	first, last := fmt.Sprintf("%d-12-20", in.Year-1), fmt.Sprintf("%d-12-31", in.Year)
	var wrong []errs.Field
	for i, d := range days {
		if d.Date < first || d.Date > last {
			wrong = append(wrong, errs.Field{Pointer: fmt.Sprintf("row/%d/date", i+2), Message: fmt.Sprintf("%s 不属于 %d 年的放假安排。", d.Date, in.Year)})
		}
	}
	if len(wrong) > 0 {
		return nil, errs.Invalid("deadline.calendarFile", "文件里有别的年份的日期，请核对年份。", wrong...)
	}
	if in.DryRun {
		_, changes, err := b.compare(ctx, in.Year, days)
		return changes, err
	}
	var changes []DayChange
	err = b.edit(ctx, func(ctx context.Context) error {
		var want []Day
		if want, changes, err = b.compare(ctx, in.Year, days); err != nil {
			return err
		}
		for _, d := range want {
			if _, err := b.setDay(ctx, d, in.Year, nil); err != nil {
				return err
			}
		}
		e, err := b.year(ctx, in.Year)
		if err != nil {
			return err
		}
		if e == nil {
			return b.years.Insert(ctx, &YearEntry{Year: in.Year, Source: in.Source}, yearPublished)
		}
		e.Source = in.Source
		return b.years.Update(ctx, e, yearPublished)
	})
	return changes, err
}

// compare finds which days to write so that the calendar agrees with the notice, and which of them change what is a working day.
func (b *Book) compare(ctx context.Context, year int, notice []Day) (write []Day, changes []DayChange, err error) {
	stored, err := b.days.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return b.bornHere(q).Where("r.notice = ? OR r.date >= ? AND r.date <= ?", year, fmt.Sprintf("%d-12-20", year-1), fmt.Sprintf("%d-12-31", year)).Order("r.date")
	})
	if err != nil {
		return nil, nil, err
	}
	had := map[string]*DayEntry{}
	for _, e := range stored {
		had[e.Date] = e
	}
	note := func(d Day, from DayKind) {
		write = append(write, d)
		if from != d.Kind {
			changes = append(changes, DayChange{Date: d.Date, Name: d.Name, From: from, To: d.Kind})
		}
	}
	for _, d := range notice {
		e := had[d.Date]
		delete(had, d.Date)
		switch {
		case e == nil:
			note(d, Normal)
		case e.Day != d || e.Notice != year:
			note(d, e.Kind)
		}
	}
	for _, e := range stored {
		if had[e.Date] != nil && e.Notice == year && e.Kind != Normal {
			d := e.Day
			d.Kind = Normal
			note(d, e.Kind)
		}
	}
	return write, changes, nil
}

// Rules lists every edition of every rule, by key and number.
func (b *Book) Rules(ctx context.Context) ([]*Edition, error) {
	return b.rules.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery { return b.bornHere(q).Order("r.rule_key", "r.number") })
}

// RuleOn returns the edition of a rule that governs facts of the date of at; treat it as read-only. It fails with errs.NotFound when none is in force
// that day.
func (b *Book) RuleOn(ctx context.Context, key string, at time.Time) (*Edition, error) {
	s, err := b.current(ctx)
	if err != nil {
		return nil, err
	}
	return s.ruleOn(key, at)
}

func (s *snapshot) ruleOn(key string, at time.Time) (*Edition, error) {
	if e := choose(s.rules[key], clock.Date(at)); e != nil {
		return e, nil
	}
	return nil, errs.NotFound("deadline.noRule", fmt.Sprintf("%s 没有现行有效的期限规则“%s”，请联系管理员在期限规则中补充。", clock.Date(at), key))
}

// AddRule adds an edition to a declared rule. It needs PermRules. Facts from the day of its EffectiveFrom on are governed by it; from the same
// day as an earlier edition it replaces that one. Deadlines that already run keep the edition by which they were begun.
func (b *Book) AddRule(ctx context.Context, in Rule) (*Edition, error) {
	if err := need(ctx, PermRules, "维护期限规则"); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, errs.Invalid("deadline.rule", err.Error()+"。").Because(err)
	}
	e := &Edition{Rule: in}
	err := b.edit(ctx, func(ctx context.Context) error {
		latest, err := b.rules.First(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
			return b.bornHere(q).Where("r.rule_key = ?", in.Key).Order("r.number DESC")
		})
		if err != nil {
			return err
		}
		if latest == nil {
			return errs.InvalidField("deadline.rule", "/key", "没有这个期限规则，只能为已有规则增加版次。")
		}
		e.Number = latest.Number + 1
		return b.rules.Insert(ctx, e, ruleAdded)
	})
	return e, err
}

func need(ctx context.Context, permission, what string) error {
	if actor.From(ctx).Can(permission) {
		return nil
	}
	return errs.Forbidden("deadline.forbidden", "您没有"+what+"的权限，如需调整请联系系统管理员。")
}
