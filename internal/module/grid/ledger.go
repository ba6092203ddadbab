package grid

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/ledger"
)

const tag = "网格化监管"

// gridRow is a line of the list of grids.
type gridRow struct {
	ID       string `bun:"id" json:"id"`
	Version  int64  `bun:"version" json:"version"`
	Code     string `bun:"code" json:"code"`
	Name     string `bun:"name" json:"name"`
	Division string `bun:"division" json:"division"`
	Where    string `bun:"division_name" json:"divisionName"`
	State    string `bun:"state" json:"state"`
	Officer  string `bun:"officer" json:"officer"`
	Deputy   string `bun:"deputy" json:"deputy"`
	Area     int64  `bun:"area" json:"area"`
	Places   int    `bun:"places" json:"places"`
}

type siteRow struct {
	ID           string   `bun:"id" json:"id"`
	Version      int64    `bun:"version" json:"version"`
	Name         string   `bun:"name" json:"name"`
	Kind         string   `bun:"kind" json:"kind"`
	KindName     string   `bun:"kind_name" json:"kindName"`
	Division     string   `bun:"division" json:"division"`
	Line         string   `bun:"line" json:"line"`
	EnterpriseID string   `bun:"enterprise_id" json:"enterpriseId"`
	Address      string   `bun:"address" json:"address"`
	GridID       string   `bun:"grid_id" json:"gridId"`
	GridName     string   `bun:"grid_name" json:"gridName"`
	Assigned     string   `bun:"assigned" json:"assigned"`
	Class        string   `bun:"class" json:"class"`
	Grade        string   `bun:"grade" json:"grade"`
	State        string   `bun:"state" json:"state"`
	Lon          *float64 `bun:"lon" json:"lon"`
	Lat          *float64 `bun:"lat" json:"lat"`
}

type taskRow struct {
	ID          string    `bun:"id" json:"id"`
	SiteID      string    `bun:"site_id" json:"siteId"`
	SiteName    string    `bun:"site_name" json:"siteName"`
	SiteKind    string    `bun:"site_kind" json:"siteKind"`
	KindName    string    `bun:"kind_name" json:"kindName"`
	Division    string    `bun:"division" json:"division"`
	Line        string    `bun:"line" json:"line"`
	GridID      string    `bun:"grid_id" json:"gridId"`
	OfficerID   string    `bun:"officer_id" json:"officerId"`
	OfficerName string    `bun:"officer_name" json:"officerName"`
	FromDay     string    `bun:"from_day" json:"fromDay"`
	ToDay       string    `bun:"to_day" json:"toDay"`
	DueAt       time.Time `bun:"due_at" json:"dueAt"`
	State       string    `bun:"state" json:"state"`
	DoneAt      time.Time `bun:"done_at,nullzero" json:"doneAt,omitzero"`
	LateArrival bool      `bun:"late_arrival" json:"lateArrival"`
	Proof       Proof     `bun:"proof" json:"proof"`
	PatrolID    string    `bun:"patrol_id" json:"patrolId"`
	Clause      string    `bun:"clause" json:"clause"`
}

type patrolRow struct {
	ID          string    `bun:"id" json:"id"`
	Version     int64     `bun:"version" json:"version"`
	Division    string    `bun:"division" json:"division"`
	GridID      string    `bun:"grid_id" json:"gridId"`
	GridName    string    `bun:"grid_name" json:"gridName"`
	OfficerID   string    `bun:"officer_id" json:"officerId"`
	OfficerName string    `bun:"officer_name" json:"officerName"`
	State       string    `bun:"state" json:"state"`
	StartedAt   time.Time `bun:"started_at" json:"startedAt"`
	FinishedAt  time.Time `bun:"finished_at,nullzero" json:"finishedAt,omitzero"`
	ReceivedAt  time.Time `bun:"received_at,nullzero" json:"receivedAt,omitzero"`
	Metres      int       `bun:"metres" json:"metres"`
	Minutes     int       `bun:"minutes" json:"minutes"`
	Visits      int       `bun:"visits" json:"visits"`
	Jumps       int       `bun:"track_jumps" json:"trackJumps"`
}

type visitRow struct {
	ID          string    `bun:"id" json:"id"`
	Version     int64     `bun:"version" json:"version"`
	PatrolID    string    `bun:"patrol_id" json:"patrolId"`
	Division    string    `bun:"division" json:"division"`
	Line        string    `bun:"line" json:"line"`
	GridID      string    `bun:"grid_id" json:"gridId"`
	SiteID      string    `bun:"site_id" json:"siteId"`
	SiteName    string    `bun:"site_name" json:"siteName"`
	OfficerID   string    `bun:"officer_id" json:"officerId"`
	OfficerName string    `bun:"officer_name" json:"officerName"`
	ReckonedAt  time.Time `bun:"reckoned_at" json:"reckonedAt"`
	Result      string    `bun:"result" json:"result"`
	Proof       Proof     `bun:"proof" json:"proof"`
	Distance    *int      `bun:"distance" json:"distance"`
	Note        string    `bun:"note" json:"note"`
}

type actionRow struct {
	ID           string    `bun:"id" json:"id"`
	Version      int64     `bun:"version" json:"version"`
	Division     string    `bun:"division" json:"division"`
	Line         string    `bun:"line" json:"line"`
	EnterpriseID string    `bun:"enterprise_id" json:"enterpriseId"`
	GridID       string    `bun:"grid_id" json:"gridId"`
	PatrolID     string    `bun:"patrol_id" json:"patrolId"`
	Duty         string    `bun:"duty" json:"duty"`
	Target       string    `bun:"target" json:"target"`
	What         string    `bun:"what" json:"what"`
	Result       string    `bun:"result" json:"result"`
	Serious      bool      `bun:"serious" json:"serious"`
	At           time.Time `bun:"at" json:"at"`
	OfficerID    string    `bun:"officer_id" json:"officerId"`
	OfficerName  string    `bun:"officer_name" json:"officerName"`
	Audience     int       `bun:"audience" json:"audience"`
	DangerID     string    `bun:"danger_id" json:"dangerId"`
	State        string    `bun:"state" json:"state"`
}

func where(sql string, args ...any) func(context.Context, *bun.SelectQuery) *bun.SelectQuery {
	return func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery { return q.Where(sql, args...) }
}

var (
	idColumn       = ledger.Column{Key: "id", Title: "标识", SQL: "r.id"}
	versionColumn  = ledger.Column{Key: "version", Title: "版本", SQL: "r.version", Kind: ledger.Number}
	inColumn       = ledger.Column{Key: "in", Title: "辖区", SQL: "r", Filter: ledger.Division, Hidden: true}
	divisionColumn = ledger.Column{Key: "division", Title: "区划代码", SQL: "r.division"}
	lineColumn     = ledger.Column{Key: "line", Title: "监管行业领域", SQL: "r.line", Kind: ledger.Code, Dict: "line", Filter: ledger.In}
	gridColumn     = ledger.Column{Key: "gridId", Title: "网格标识", SQL: "r.grid_id", Filter: ledger.In}
	officerColumn  = ledger.Column{Key: "officerId", Title: "网格员标识", SQL: "r.officer_id", Filter: ledger.In}
	officerName    = ledger.Column{Key: "officerName", Title: "网格员", SQL: "r.officer_name", Search: true}
)

func (s *Service) serveLists(l ledger.Service) {
	held := func(kind string) string {
		return "COALESCE((SELECT MAX(d.person_name) FROM grid_duty d WHERE d.grid_id = r.id AND d.kind = '" + kind + "' AND d.valid_to = ''), '')"
	}
	ledger.Serve(l, ledger.Define(s.db, ledger.Spec[gridRow]{
		Name: "grids", Title: "网格台账", Tag: tag, Need: View, From: "grid_item AS r", Alias: "r", Order: "code",
		Columns: []ledger.Column{idColumn, versionColumn,
			{Key: "code", Title: "网格编号", SQL: "r.code", Filter: ledger.Prefix, Sort: true, Search: true},
			{Key: "name", Title: "网格名称", SQL: "r.name", Sort: true, Search: true},
			divisionColumn, inColumn, {Key: "divisionName", Title: "所在区划", SQL: "''"},
			{Key: "state", Title: "状态", SQL: "r.state", Filter: ledger.Eq, Values: []string{string(active), string(retired)}},
			{Key: "officer", Title: "网格员", SQL: held("officer"), Search: true},
			{Key: "deputy", Title: "代理网格员", SQL: held("deputy")},
			{Key: "area", Title: "面积（平方米）", SQL: "r.area", Kind: ledger.Number, Sort: true},
			{Key: "places", Title: "巡查对象数", SQL: "(SELECT COUNT(*) FROM grid_place p WHERE p.grid_id = r.id AND p.state = 'active')", Kind: ledger.Number},
		},
		Views: []ledger.View{
			{Key: "active", Title: "在用", Where: where("r.state = ?", active)},
			{Key: "vacant", Title: "没有网格员", Where: where("r.state = ? AND NOT EXISTS (SELECT 1 FROM grid_duty d WHERE d.grid_id = r.id AND d.kind = 'officer' AND d.valid_to = '')", active)},
			{Key: "unbounded", Title: "没有边界", Where: where("r.state = ? AND r.area = 0", active)},
		},
		Finish: func(ctx context.Context, rows []gridRow) (err error) {
			for i := range rows {
				if rows[i].Where, _, err = s.divisions.DivisionName(ctx, rows[i].Division); err != nil {
					return err
				}
			}
			return nil
		},
	}))
	ledger.Serve(l, ledger.Define(s.db, ledger.Spec[siteRow]{
		Name: "grid-places", Title: "巡查对象", Tag: tag, Need: View, From: "grid_place AS r LEFT JOIN grid_item AS g ON g.id = r.grid_id", Alias: "r", Order: "name",
		Columns: []ledger.Column{idColumn, versionColumn,
			{Key: "name", Title: "名称", SQL: "r.name", Sort: true, Search: true},
			{Key: "kind", Title: "种类代码", SQL: "r.kind", Filter: ledger.In}, {Key: "kindName", Title: "种类", SQL: "''"},
			divisionColumn, inColumn, lineColumn,
			{Key: "enterpriseId", Title: "企业标识", SQL: "r.enterprise_id", Filter: ledger.Eq},
			{Key: "address", Title: "地址", SQL: "r.address", Search: true},
			gridColumn, {Key: "gridName", Title: "所在网格", SQL: "COALESCE(g.name, '')"},
			{Key: "assigned", Title: "划入方式", SQL: "r.assigned", Filter: ledger.Eq, Values: []string{ByHand, ByBoundary}},
			{Key: "class", Title: "类别", SQL: "r.class", Filter: ledger.In}, {Key: "grade", Title: "等级", SQL: "r.grade", Filter: ledger.In},
			{Key: "state", Title: "状态", SQL: "r.state", Filter: ledger.Eq, Values: []string{SiteActive, SiteClosed}},
			{Key: "lon", Title: "经度", SQL: "r.lon", Kind: ledger.Number, Filter: ledger.IsNull}, {Key: "lat", Title: "纬度", SQL: "r.lat", Kind: ledger.Number},
		},
		Views: []ledger.View{
			{Key: "unassigned", Title: "尚未划入网格", Where: where("r.grid_id = '' AND r.state = ?", SiteActive)},
			{Key: "enterprises", Title: "企业", Where: where("r.kind = ?", KindEnterprise)},
			{Key: "others", Title: "其他场所", Where: where("r.kind <> ?", KindEnterprise)},
		},
		Finish: func(_ context.Context, rows []siteRow) error {
			for i := range rows {
				rows[i].KindName = s.kindName(rows[i].Kind)
			}
			return nil
		},
	}))
	now := func(sql string) func(context.Context, *bun.SelectQuery) *bun.SelectQuery {
		return func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery { return q.Where(sql, s.db.Clock.Now()) }
	}
	ledger.Serve(l, ledger.Define(s.db, ledger.Spec[taskRow]{
		Name: "patrol-tasks", Title: "巡查任务", Tag: tag, Need: View, From: "grid_task AS r", Alias: "r", Order: "dueAt",
		Columns: []ledger.Column{idColumn,
			{Key: "siteId", Title: "对象标识", SQL: "r.site_id", Filter: ledger.Eq},
			{Key: "siteName", Title: "巡查对象", SQL: "r.site_name", Search: true},
			{Key: "siteKind", Title: "种类代码", SQL: "r.site_kind", Filter: ledger.In}, {Key: "kindName", Title: "种类", SQL: "''"},
			divisionColumn, inColumn, lineColumn, gridColumn, officerColumn, officerName,
			{Key: "fromDay", Title: "周期开始", SQL: "r.from_day", Kind: ledger.Day},
			{Key: "toDay", Title: "周期结束", SQL: "r.to_day", Kind: ledger.Day, Filter: ledger.Between},
			{Key: "dueAt", Title: "期满", SQL: "r.due_at", Kind: ledger.Time, Filter: ledger.Between, Sort: true},
			{Key: "state", Title: "状态", SQL: "r.state", Filter: ledger.In, Values: []string{TaskOpen, TaskDone, TaskLate, TaskCancelled}},
			{Key: "doneAt", Title: "到访时间", SQL: "r.done_at", Kind: ledger.Time, Filter: ledger.Between},
			{Key: "lateArrival", Title: "记录迟到", SQL: "r.late_arrival", Kind: ledger.Bool, Filter: ledger.Eq},
			{Key: "proof", Title: "到访核实", SQL: "r.proof", Filter: ledger.In},
			{Key: "patrolId", Title: "巡查标识", SQL: "r.patrol_id"}, {Key: "clause", Title: "依据", SQL: "r.clause"},
		},
		Views: []ledger.View{
			{Key: "running", Title: "应巡", Where: now("r.state = 'open' AND r.due_at >= ?")},
			{Key: "missed", Title: "漏巡", Where: now("r.state = 'open' AND r.due_at < ?")},
			{Key: "unmanned", Title: "无人在岗", Where: now("r.state = 'open' AND r.due_at >= ? AND r.officer_id = ''")},
		},
		Finish: func(_ context.Context, rows []taskRow) error {
			for i := range rows {
				rows[i].KindName = s.kindName(rows[i].SiteKind)
			}
			return nil
		},
	}))
	ledger.Serve(l, ledger.Define(s.db, ledger.Spec[patrolRow]{
		Name: "patrols", Title: "巡查记录", Tag: tag, Need: View, From: "grid_patrol AS r", Alias: "r", Order: "-startedAt",
		Columns: []ledger.Column{idColumn, versionColumn, divisionColumn, inColumn, gridColumn,
			{Key: "gridName", Title: "网格", SQL: "r.grid_name", Search: true}, officerColumn, officerName,
			{Key: "state", Title: "状态", SQL: "r.state", Filter: ledger.In, Values: []string{string(Started), string(Finished), string(Abandoned)}},
			{Key: "startedAt", Title: "开始", SQL: "r.started_at", Kind: ledger.Time, Filter: ledger.Between, Sort: true},
			{Key: "finishedAt", Title: "结束", SQL: "r.finished_at", Kind: ledger.Time},
			{Key: "receivedAt", Title: "收到", SQL: "r.received_at", Kind: ledger.Time},
			{Key: "metres", Title: "里程（米）", SQL: "r.metres", Kind: ledger.Number, Sort: true},
			{Key: "minutes", Title: "用时（分钟）", SQL: "r.minutes", Kind: ledger.Number, Sort: true},
			{Key: "visits", Title: "到访数", SQL: "r.visits", Kind: ledger.Number},
			{Key: "trackJumps", Title: "异常位移", SQL: "r.track_jumps", Kind: ledger.Number, Filter: ledger.Between},
		},
	}))
	ledger.Serve(l, ledger.Define(s.db, ledger.Spec[visitRow]{
		Name: "grid-visits", Title: "到访记录", Tag: tag, Need: View, From: "grid_visit AS r", Alias: "r", Order: "-reckonedAt",
		Columns: []ledger.Column{idColumn, versionColumn, {Key: "patrolId", Title: "巡查标识", SQL: "r.patrol_id", Filter: ledger.Eq}, divisionColumn, inColumn, lineColumn, gridColumn,
			{Key: "siteId", Title: "对象标识", SQL: "r.site_id", Filter: ledger.Eq}, {Key: "siteName", Title: "巡查对象", SQL: "r.site_name", Search: true}, officerColumn, officerName,
			{Key: "reckonedAt", Title: "到访时间", SQL: "r.reckoned_at", Kind: ledger.Time, Filter: ledger.Between, Sort: true},
			{Key: "result", Title: "结果", SQL: "r.result", Filter: ledger.In, Values: []string{Normal, Problem, NotOpen, NotLetIn}},
			{Key: "proof", Title: "到访核实", SQL: "r.proof", Filter: ledger.In, Values: []string{string(Unknown), string(Verified), string(Mismatch), string(Confirmed)}},
			{Key: "distance", Title: "距离（米）", SQL: "r.distance", Kind: ledger.Number}, {Key: "note", Title: "说明", SQL: "r.note"},
		},
		Views: []ledger.View{{Key: "unproven", Title: "待认可", Where: where("r.proof = ?", Mismatch)}},
	}))
	ledger.Serve(l, ledger.Define(s.db, ledger.Spec[actionRow]{
		Name: "grid-actions", Title: "履职记录", Tag: tag, Need: View, From: "grid_action AS r", Alias: "r", Order: "-at",
		Columns: []ledger.Column{idColumn, versionColumn, divisionColumn, inColumn, lineColumn, {Key: "enterpriseId", Title: "企业标识", SQL: "r.enterprise_id", Filter: ledger.Eq}, gridColumn,
			{Key: "patrolId", Title: "巡查标识", SQL: "r.patrol_id", Filter: ledger.Eq},
			{Key: "duty", Title: "职责", SQL: "r.duty", Filter: ledger.In, Values: []string{"find", "dissuade", "stop", "report", "publicise"}},
			{Key: "target", Title: "对象", SQL: "r.target", Search: true}, {Key: "what", Title: "情况", SQL: "r.what", Search: true},
			{Key: "result", Title: "结果", SQL: "r.result", Filter: ledger.In, Values: []string{Complied, Partly, Refused}},
			{Key: "serious", Title: "疑似重大", SQL: "r.serious", Kind: ledger.Bool, Filter: ledger.Eq},
			{Key: "at", Title: "时间", SQL: "r.at", Kind: ledger.Time, Filter: ledger.Between, Sort: true}, officerColumn, officerName,
			{Key: "audience", Title: "宣传人数", SQL: "r.audience", Kind: ledger.Number}, {Key: "dangerId", Title: "隐患标识", SQL: "r.danger_id", Filter: ledger.Eq},
			{Key: "state", Title: "状态", SQL: "r.state", Filter: ledger.In, Values: []string{string(Recorded), string(Escalated), string(Acknowledged)}},
		},
		Views: []ledger.View{{Key: "waiting", Title: "待乡镇签收", Where: where("r.state = ?", Escalated)}},
	}))
}

// Serve adds the module's operations to the API.
func (s *Service) Serve(api *httpx.API, l ledger.Service) {
	s.serveLists(l)
	s.serveGrids(api)
	s.servePlaces(api)
	s.servePatrols(api)
	s.serveActions(api)
}
