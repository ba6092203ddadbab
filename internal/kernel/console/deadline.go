package console

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/module"
	"anwang/internal/kernel/scope"
)

const tagDeadline = "期限与日历"

// CalendarYear is one year of the working calendar.
type CalendarYear struct {
	Year             int                   `json:"year"`
	Published        bool                  `json:"published" doc:"该年放假安排已录入；否则工作日为暂定"`
	PublishedThrough int                   `json:"publishedThrough" doc:"放假安排已录入到哪一年"`
	Workdays         int                   `json:"workdays" doc:"全年工作日数"`
	Days             []*deadline.DayEntry  `json:"days" nullable:"false" doc:"与平常周次不同的日期"`
	Years            []*deadline.YearEntry `json:"years" nullable:"false" doc:"已录入的年度及依据"`
}

// ByYear names a year.
type ByYear struct {
	Year int `path:"year" minimum:"2000" maximum:"2200"`
}

// ImportYearInput is the notice of one year.
type ImportYearInput struct {
	Source string `json:"source" minLength:"1" maxLength:"200" doc:"依据，如国务院办公厅通知及日期"`
	CSV    string `json:"csv" minLength:"1" maxLength:"100000" doc:"表头 date,name,kind[,source]；kind 为 off（放假）或 work（上班）"`
	DryRun bool   `json:"dryRun,omitempty" doc:"只试算，不写入"`
}

// DeadlineRow is a deadline in the list.
type DeadlineRow struct {
	ID              string    `json:"id"`
	RecordType      string    `json:"recordType"`
	RecordID        string    `json:"recordId"`
	Slot            string    `json:"slot"`
	Title           string    `json:"title"`
	ResponsibleID   string    `json:"responsibleId"`
	ResponsibleName string    `json:"responsibleName"`
	Clause          string    `json:"clause"`
	State           string    `json:"state"`
	StartAt         time.Time `json:"startAt"`
	DueAt           time.Time `json:"dueAt"`
	DueDay          string    `json:"dueDay"`
	Provisional     bool      `json:"provisional"`
	EscalatedTo     string    `json:"escalatedTo"`
	Division        string    `json:"division"`
	Line            string    `json:"line"`
	EnterpriseID    string    `json:"enterpriseId"`
	RuleKey         string    `json:"ruleKey"`
	Version         int64     `json:"version"`
}

func deadlineList(k *module.Kernel) ledger.Spec[DeadlineRow] {
	where := func(sql string, args func() []any) func(context.Context, *bun.SelectQuery) *bun.SelectQuery {
		return func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery { return q.Where(sql, args()...) }
	}
	none := func() []any { return nil }
	return ledger.Spec[DeadlineRow]{
		Name: "deadlines", Title: "期限台账", Tag: tagDeadline, Need: permDeadline, From: "deadline_item AS r", Alias: "r",
		Columns: []ledger.Column{
			{Key: "id", Title: "标识", SQL: "r.id"},
			{Key: "title", Title: "期限", SQL: "r.title", Search: true},
			{Key: "state", Title: "状态", SQL: "r.state", Filter: ledger.In, Values: []string{"open", "paused", "met", "late", "cancelled"}},
			{Key: "dueAt", Title: "期满时间", SQL: "r.due_at", Kind: ledger.Time, Filter: ledger.Between, Sort: true},
			{Key: "dueDay", Title: "期满日", SQL: "r.due_day", Kind: ledger.Day},
			{Key: "provisional", Title: "暂定", SQL: "r.provisional", Kind: ledger.Bool, Filter: ledger.Eq},
			{Key: "responsibleName", Title: "责任人（单位）", SQL: "r.responsible_name", Search: true},
			{Key: "responsibleId", Title: "责任人标识", SQL: "r.responsible_id", Filter: ledger.Eq},
			{Key: "escalatedTo", Title: "升级至", SQL: "r.escalated_to", Filter: ledger.In, Values: []string{"responsible", "town", "department", "office", "upper"}},
			{Key: "clause", Title: "依据", SQL: "r.clause"},
			{Key: "recordType", Title: "记录类型", SQL: "r.record_type", Filter: ledger.In},
			{Key: "recordId", Title: "记录", SQL: "r.record_id", Filter: ledger.Eq},
			{Key: "slot", Title: "期限种类", SQL: "r.slot", Filter: ledger.Eq},
			{Key: "division", Title: "行政区划", SQL: "r.division"},
			{Key: "in", Title: "辖区", SQL: "r", Filter: ledger.Division, Hidden: true},
			{Key: "line", Title: "监管行业", SQL: "r.line", Kind: ledger.Code, Dict: "line", Filter: ledger.In},
			{Key: "enterpriseId", Title: "企业标识", SQL: "r.enterprise_id", Filter: ledger.Eq},
			{Key: "ruleKey", Title: "期限规则", SQL: "r.rule_key", Filter: ledger.Eq},
			{Key: "startAt", Title: "起算时间", SQL: "r.start_at", Kind: ledger.Time, Filter: ledger.Between, Sort: true},
			{Key: "version", Title: "版本", SQL: "r.version", Kind: ledger.Number},
		},
		Views: []ledger.View{
			{Key: "running", Title: "计时中", Where: where("r.state IN ('open', 'paused')", none)},
			{Key: "overdue", Title: "已逾期", Where: where("r.state = 'open' AND r.due_at < ?", func() []any { return []any{k.Clock.Now()} })},
			{Key: "dueThisWeek", Title: "本周到期", Where: where("r.state = 'open' AND r.due_at >= ? AND r.due_at <= ?", func() []any {
				now := k.Clock.Now()
				return []any{now, weekEnd(now)}
			})},
			{Key: "provisional", Title: "暂定期限", Where: where("r.state IN ('open', 'paused') AND r.provisional", none)},
			{Key: "escalated", Title: "已升级", Where: where("r.state = 'open' AND r.escalated_to NOT IN ('', 'responsible')", none)},
		},
		Order: "dueAt",
	}
}

// weekEnd is the midnight that ends the Sunday of t's week.
func weekEnd(t time.Time) time.Time {
	day := clock.Day(t)
	return day.AddDate(0, 0, 7-(int(day.Weekday())+6)%7).UTC()
}

func deadlines(api *httpx.API, lists ledger.Service, k *module.Kernel) {
	ledger.Serve(lists, ledger.Define(k.DB, deadlineList(k)))
	get(api, httpx.Op{ID: "show-deadline", Path: "/deadlines/{id}", Title: "查看期限", Tag: tagDeadline, Need: permDeadline, Record: "deadline.item"},
		func(ctx context.Context, in *httpx.ByID) (*deadline.Item, error) {
			return k.Deadlines.Load(ctx, scope.For(ctx, permDeadline), in.ID)
		})
	get(api, httpx.Op{ID: "show-calendar", Path: "/calendar/{year}", Title: "工作日历", Tag: tagDeadline},
		func(ctx context.Context, in *ByYear) (*CalendarYear, error) { return calendarYear(ctx, k, in.Year) })
	post(api, httpx.Op{ID: "set-calendar-day", Path: "/calendar/days", Title: "设定日期", Tag: tagDeadline, Need: deadline.PermCalendar, Doc: "计时中的期限随即重新计算。"},
		func(ctx context.Context, in *httpx.Body[deadline.DayInput]) (*deadline.DayEntry, error) {
			return k.Deadlines.SetDay(ctx, in.Body)
		})
	post(api, httpx.Op{ID: "import-calendar-year", Path: "/calendar/{year}/import", Title: "录入年度放假安排", Tag: tagDeadline, Need: deadline.PermCalendar},
		func(ctx context.Context, in *struct {
			ByYear
			Body ImportYearInput
		}) (Listed[deadline.DayChange], error) {
			return listed(k.Deadlines.ImportYear(ctx, deadline.ImportInput{Year: in.Year, Source: in.Body.Source, File: strings.NewReader(in.Body.CSV), DryRun: in.Body.DryRun}))
		})
	get(api, httpx.Op{ID: "list-deadline-rules", Path: "/deadline-rules", Title: "期限规则", Tag: tagDeadline, Doc: "每条规则的全部版次。"},
		func(ctx context.Context, _ *struct{}) (Listed[*deadline.Edition], error) {
			return listed(k.Deadlines.Rules(ctx))
		})
	post(api, httpx.Op{ID: "add-deadline-rule", Path: "/deadline-rules", Title: "增加规则版次", Tag: tagDeadline, Need: deadline.PermRules, Status: http.StatusCreated},
		func(ctx context.Context, in *httpx.Body[deadline.Rule]) (*deadline.Edition, error) {
			return k.Deadlines.AddRule(ctx, in.Body)
		})
}

func calendarYear(ctx context.Context, k *module.Kernel, year int) (*CalendarYear, error) {
	c, err := k.Deadlines.Calendar(ctx)
	if err != nil {
		return nil, err
	}
	days, err := k.Deadlines.Days(ctx, year)
	if err != nil {
		return nil, err
	}
	years, err := k.Deadlines.Years(ctx)
	if err != nil {
		return nil, err
	}
	first := time.Date(year, 1, 1, 0, 0, 0, 0, clock.Zone)
	y := &CalendarYear{Year: year, PublishedThrough: c.PublishedThrough(), Workdays: c.WorkdaysBetween(first.AddDate(0, 0, -1), first.AddDate(1, 0, -1)),
		Days: append([]*deadline.DayEntry{}, days...), Years: append([]*deadline.YearEntry{}, years...)}
	for _, e := range years {
		y.Published = y.Published || e.Year == year
	}
	return y, nil
}
