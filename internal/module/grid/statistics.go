package grid

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/scope"
)

// StatisticsQuery asks for counts over the days from..to, both included.
type StatisticsQuery struct {
	By   string `query:"by" enum:"grid,officer,town" default:"grid" doc:"按网格、网格员或乡镇汇总"`
	From string `query:"from" required:"true" format:"date" doc:"开始日期"`
	To   string `query:"to" required:"true" format:"date" doc:"结束日期（含）"`
}

// StatisticsRow is the counts of one grid, officer or town. Tasks count by the day of their end, patrols, visits and actions by the day on which they happened. All of it is counted
// from the records themselves: nothing is entered twice.
type StatisticsRow struct {
	Key  string `bun:"k" json:"key" doc:"网格、网格员或乡镇的标识；网格员为空表示无人在岗"`
	Name string `bun:"name" json:"name"`

	Tasks       int      `bun:"tasks" json:"tasks" doc:"应巡"`
	Done        int      `bun:"done" json:"done" doc:"按期完成"`
	LateArrival int      `bun:"late_arrival" json:"lateArrival" doc:"其中记录迟到"`
	Late        int      `bun:"late" json:"late" doc:"逾期完成"`
	Missed      int      `bun:"missed" json:"missed" doc:"漏巡"`
	Open        int      `bun:"open" json:"open" doc:"未到期"`
	Rate        *float64 `bun:"-" json:"rate,omitempty" doc:"按期完成率：按期完成 ÷ 已到期"`

	Patrols  int `bun:"patrols" json:"patrols" doc:"巡查次数"`
	Metres   int `bun:"metres" json:"metres" doc:"里程（米）"`
	Minutes  int `bun:"minutes" json:"minutes" doc:"用时（分钟）"`
	Visits   int `bun:"visits" json:"visits" doc:"到访"`
	Verified int `bun:"verified" json:"verified" doc:"其中定位核实或经认可"`

	Find      int `bun:"find" json:"find" doc:"发现"`
	Dissuade  int `bun:"dissuade" json:"dissuade" doc:"劝导"`
	Stop      int `bun:"stop" json:"stop" doc:"制止"`
	Report    int `bun:"report" json:"report" doc:"报告"`
	Publicise int `bun:"publicise" json:"publicise" doc:"宣传"`
	Audience  int `bun:"audience" json:"audience" doc:"宣传人数"`
	Refused   int `bun:"refused" json:"refused" doc:"劝导、制止被拒"`
	Dangers   int `bun:"dangers" json:"dangers" doc:"发现并登记的隐患"`
}

// Statistics counts what the caller may see, by grid, officer or town, the lowest rate of completion first.
func (s *Service) Statistics(ctx context.Context, in StatisticsQuery) ([]StatisticsRow, error) {
	from, errFrom := time.ParseInLocation(time.DateOnly, in.From, clock.Zone)
	to, errTo := time.ParseInLocation(time.DateOnly, in.To, clock.Zone)
	if errFrom != nil || errTo != nil || to.Before(from) || to.Sub(from) > 2*366*24*time.Hour {
		return nil, errs.Invalid("grid.statistics", "请填写起止日期，且不超过两年。", errs.Field{Pointer: "query/from", Message: "应为日期，如 2026-01-01"})
	}
	key, name := map[string]string{"": "grid_id", "grid": "grid_id", "officer": "officer_id", "town": "town_code"}[in.By], "''"
	if key == "" {
		return nil, errs.InvalidField("grid.statistics", "query/by", "应为 grid、officer 或 town")
	}
	if key == "officer_id" {
		name = "MAX(r.officer_name)"
	}
	reach, end := scope.For(ctx, View), to.AddDate(0, 0, 1)
	count := func(when string) string { return "COALESCE(SUM(CASE WHEN " + when + " THEN 1 ELSE 0 END), 0)" }
	now := s.db.Clock.Now()
	rows := map[string]*StatisticsRow{}
	for _, q := range []struct {
		table, columns string
		values         []any // of the columns
		where          string
		args           []any
		add            func(to, r *StatisticsRow)
	}{
		{"grid_task", "COUNT(*) AS tasks, " + count("r.state = 'done'") + " AS done, " + count("r.late_arrival") + " AS late_arrival, " + count("r.state = 'late'") + " AS late, " +
			count("r.state = 'open' AND r.due_at < ?") + " AS missed, " + count("r.state = 'open' AND r.due_at >= ?") + " AS open", []any{now, now},
			"r.state <> 'cancelled' AND r.to_day >= ? AND r.to_day <= ?", []any{in.From, in.To},
			func(to, r *StatisticsRow) {
				to.Tasks, to.Done, to.LateArrival, to.Late, to.Missed, to.Open = r.Tasks, r.Done, r.LateArrival, r.Late, r.Missed, r.Open
			}},
		{"grid_patrol", "COUNT(*) AS patrols, COALESCE(SUM(r.metres), 0) AS metres, COALESCE(SUM(r.minutes), 0) AS minutes", nil,
			"r.state = 'finished' AND r.started_at >= ? AND r.started_at < ?", []any{from, end},
			func(to, r *StatisticsRow) { to.Patrols, to.Metres, to.Minutes = r.Patrols, r.Metres, r.Minutes }},
		{"grid_visit", "COUNT(*) AS visits, " + count("r.proof IN ('verified', 'confirmed')") + " AS verified", nil,
			"r.reckoned_at >= ? AND r.reckoned_at < ?", []any{from, end},
			func(to, r *StatisticsRow) { to.Visits, to.Verified = r.Visits, r.Verified }},
		{"grid_action", count("r.duty = 'find'") + " AS find, " + count("r.duty = 'dissuade'") + " AS dissuade, " + count("r.duty = 'stop'") + " AS stop, " + count("r.duty = 'report'") + " AS report, " +
			count("r.duty = 'publicise'") + " AS publicise, COALESCE(SUM(r.audience), 0) AS audience, " + count("r.result = 'refused'") + " AS refused, " +
			"COUNT(DISTINCT CASE WHEN r.duty = 'find' AND r.danger_id <> '' THEN r.danger_id END) AS dangers", nil,
			"r.at >= ? AND r.at < ?", []any{from, end},
			func(to, r *StatisticsRow) {
				to.Find, to.Dissuade, to.Stop, to.Report, to.Publicise = r.Find, r.Dissuade, r.Stop, r.Report, r.Publicise
				to.Audience, to.Refused, to.Dangers = r.Audience, r.Refused, r.Dangers
			}},
	} {
		var found []StatisticsRow
		sel := s.db.Conn(ctx).NewSelect().TableExpr("? AS r", bun.Ident(q.table)).ColumnExpr("r.? AS k, "+name+" AS name", bun.Ident(key)).
			ColumnExpr(q.columns, q.values...).Where(q.where, q.args...).GroupExpr("r.?", bun.Ident(key))
		if err := reach.Apply(sel, "r").Scan(ctx, &found); err != nil {
			return nil, fmt.Errorf("statistics of %s: %w", q.table, err)
		}
		for i := range found {
			r := rows[found[i].Key]
			if r == nil {
				r = &StatisticsRow{Key: found[i].Key, Name: found[i].Name}
				rows[r.Key] = r
			}
			q.add(r, &found[i])
		}
	}
	out := make([]StatisticsRow, 0, len(rows))
	for _, r := range rows {
		if over := r.Tasks - r.Open; over > 0 {
			rate := math.Round(float64(r.Done)/float64(over)*10000) / 10000
			r.Rate = &rate
		}
		out = append(out, *r)
	}
	if err := s.nameRows(ctx, key, out); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b StatisticsRow) int {
		rate := func(r StatisticsRow) float64 {
			if r.Rate == nil {
				return 2
			}
			return *r.Rate
		}
		return cmp.Or(cmp.Compare(rate(a), rate(b)), -cmp.Compare(a.Missed, b.Missed), cmp.Compare(a.Key, b.Key))
	})
	return out, nil
}

// nameRows puts names to grids and towns.
func (s *Service) nameRows(ctx context.Context, key string, rows []StatisticsRow) error {
	names := map[string]string{}
	if key == "grid_id" && len(rows) > 0 {
		ids := make([]string, len(rows))
		for i, r := range rows {
			ids[i] = r.Key
		}
		grids, err := s.grids.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.id IN (?)", bun.List(ids)) })
		if err != nil {
			return err
		}
		for _, g := range grids {
			names[g.ID] = g.Name
		}
	}
	for i := range rows {
		switch r := &rows[i]; {
		case key == "grid_id":
			r.Name = names[r.Key]
		case key == "town_code" && r.Key != "":
			var err error
			if r.Name, _, err = s.divisions.DivisionName(ctx, r.Key); err != nil {
				return err
			}
		case r.Name == "":
			r.Name = "（无人在岗）"
		}
	}
	return nil
}
