package deadline

import (
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// Ref names a deadline by what it hangs on. A record may have several at once, one in each slot.
type Ref struct {
	RecordType string `bun:"record_type" json:"recordType" doc:"所属记录的类型，如 hiddendanger.item"`
	RecordID   string `bun:"record_id" json:"recordId" doc:"所属记录"`
	Slot       string `bun:"slot" json:"slot" doc:"同一记录的不同期限，如 rectify、review"`
}

// Party is who has to act in time: a person or a unit, by its id in org or enterprise.
type Party struct {
	ID   string `bun:"id" json:"id"`
	Name string `bun:"name" json:"name"`
}

// State is where a deadline stands. Overdue is not a state: it is Open with Due in the past, see [Item.Overdue].
type State string

// The states. The first two are running, and there is at most one of them for a Ref.
const (
	Open      State = "open"      // 计时中
	Paused    State = "paused"    // 已中止
	Met       State = "met"       // 按期完成
	Late      State = "late"      // 逾期完成
	Cancelled State = "cancelled" // 已终止
)

// Running reports whether the deadline has not ended.
func (s State) Running() bool { return s == Open || s == Paused }

// AdjustmentKind says how the course of a deadline was changed.
type AdjustmentKind string

// The kinds of adjustment.
const (
	Pause  AdjustmentKind = "pause"
	Resume AdjustmentKind = "resume"
	Extend AdjustmentKind = "extend"
)

// Adjustment is one change of a deadline's course. The end is always computed from the start and all adjustments in order.
type Adjustment struct {
	Kind     AdjustmentKind `json:"kind"`
	At       time.Time      `json:"at" doc:"中止、恢复或批准延长的时间"`
	By       int            `json:"by,omitempty" doc:"延长多少，单位同期限"`
	Until    time.Time      `json:"until,omitzero" doc:"延长到的时间，与 by 二者取一"`
	Reason   string         `json:"reason"`
	Approver string         `json:"approver,omitempty" doc:"批准延长的人"`
	From     time.Time      `json:"from" doc:"此前的期满时间"`
	To       time.Time      `json:"to" doc:"此后的期满时间，按当时的日历"`
}

// Item is one deadline of one record. It is itself a record, since a clock is evidence.
type Item struct {
	bun.BaseModel `bun:"table:deadline_item,alias:r"`
	record.Head
	scope.Place
	Ref
	Title       string `bun:"title" json:"title" doc:"期限名称"`
	Responsible Party  `bun:"embed:responsible_" json:"responsible" doc:"责任人或责任单位"`

	RuleKey    string `bun:"rule_key" json:"ruleKey" doc:"所依规则，空表示直接指定的期限"`
	RuleNumber int    `bun:"rule_number" json:"ruleNumber" doc:"规则版次"`
	Clause     string `bun:"clause" json:"clause" doc:"法律依据"`
	Term
	Start       time.Time    `bun:"start_at" json:"startAt" doc:"起算时间"`
	Until       time.Time    `bun:"until_at,nullzero" json:"untilAt,omitzero" doc:"直接指定的期满时间"`
	Ladder      Ladder       `bun:"ladder,type:text" json:"ladder,omitempty" doc:"没有规则时的升级阶梯"`
	Adjustments []Adjustment `bun:"adjustments,type:text" json:"adjustments,omitempty" doc:"中止、恢复、延长"`

	State State `bun:"state" json:"state" enum:"open,paused,met,late,cancelled"`
	// Due is the end. While paused it is where the end would be without the pause.
	Due time.Time `bun:"due_at" json:"dueAt" doc:"期满时间；单位不是小时的，是最后一日24时"`
	// DueDay is the last day: screens show it with "24:00" unless the unit is hours, see DueText.
	DueDay      string    `bun:"due_day" json:"dueDay" doc:"期满日"`
	Provisional bool      `bun:"provisional" json:"provisional" doc:"暂定：次年放假安排公布后重新计算"`
	EndedAt     time.Time `bun:"ended_at,nullzero" json:"endedAt,omitzero" doc:"完成或终止的时间"`

	Rung        int       `bun:"rung" json:"rung" doc:"已经过的阶梯级数"`
	NextAt      time.Time `bun:"next_at,nullzero" json:"nextAt,omitzero" doc:"下一级的时间"`
	EscalatedTo Recipient `bun:"escalated_to" json:"escalatedTo" doc:"最近一级送达的层级"`
}

// Overdue reports whether the deadline was missed as of now: it was met late, or is open and its end has passed.
func (it *Item) Overdue(now time.Time) bool {
	return it.State == Late || it.State == Open && now.After(it.Due)
}

// DueText is the end as people read it: "2026-03-20 24:00".
func (it *Item) DueText() string { return DueText(it.Due, it.Unit) }

// Extensions lists the extensions granted so far.
func (it *Item) Extensions() []Adjustment {
	var out []Adjustment
	for _, a := range it.Adjustments {
		if a.Kind == Extend {
			out = append(out, a)
		}
	}
	return out
}

// judge computes the end from the start and the adjustments.
func (it *Item) judge(c *Calendar) (due time.Time, provisional bool) {
	k := begin(it.Start, it.Term, it.Until, c)
	for _, a := range it.Adjustments {
		switch {
		case a.Kind == Pause:
			k.pause(a.At, c)
		case a.Kind == Resume:
			k.resume(a.At, c)
		case a.Until.IsZero():
			k.extend(a.By, c)
		default:
			k.pin(a.Until)
		}
	}
	return k.due(c)
}

// schedule judges a running item by the calendar and finds its next rung.
func (it *Item) schedule(c *Calendar, ladder Ladder, now time.Time) {
	due, provisional := it.judge(c)
	moved := !due.Equal(it.Due)
	it.Due, it.DueDay, it.Provisional = due, lastDayOf(due).String(), provisional

	times := ladder.times(due, c)
	if ahead := passed(times, now); moved && ahead < it.Rung {
		it.Rung, it.EscalatedTo = ahead, "" // what lies ahead again will fire again, for the new end
	}
	from := it.CreatedAt // for a start in the future, or an event that is counted back from
	if it.Start.Before(from) {
		from = it.Start
	}
	it.Rung = max(it.Rung, passed(times, from)) // there is no reminding before the beginning
	it.aim(times)
}

// climb moves the item past its next rung, which it returns.
func (it *Item) climb(ladder Ladder, times []time.Time) Rung {
	rung := ladder[it.Rung]
	it.Rung++
	it.EscalatedTo = rung.To
	it.aim(times)
	return rung
}

// aim sets when the next rung comes. A paused deadline has none.
func (it *Item) aim(times []time.Time) {
	it.NextAt = time.Time{}
	if it.State == Open && it.Rung < len(times) {
		it.NextAt = times[it.Rung]
	}
}

func (it *Item) end(s State, at time.Time) {
	it.State, it.EndedAt, it.NextAt = s, at, time.Time{}
}
