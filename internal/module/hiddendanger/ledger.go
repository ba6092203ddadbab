package hiddendanger

import (
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/ledger"
)

// Row is a hidden danger in the list.
type Row struct {
	ID             string    `json:"id"`
	No             string    `json:"no"`
	Title          string    `json:"title"`
	Level          string    `json:"level"`
	State          string    `json:"state"`
	Source         string    `json:"source"`
	Category       string    `json:"category"`
	EnterpriseID   string    `json:"enterpriseId"`
	EnterpriseName string    `json:"enterpriseName"`
	Division       string    `json:"division"`
	Line           string    `json:"line"`
	Location       string    `json:"location"`
	FoundAt        time.Time `json:"foundAt"`
	DueAt          time.Time `json:"dueAt,omitzero" bun:",nullzero"`
	EscalatedTo    string    `json:"escalatedTo"`
	Listed         string    `json:"listed"`
	RepeatCount    int       `json:"repeatCount"`
	UpdatedAt      time.Time `json:"updatedAt"`
	Version        int64     `json:"version"`
}

func (s *Service) dangers() ledger.Spec[Row] {
	return ledger.Spec[Row]{
		Name: "hidden-dangers", Title: "隐患台账", Tag: "隐患治理", Need: PermView,
		From: "hiddendanger_item AS r", Alias: "r",
		Columns: []ledger.Column{
			{Key: "id", Title: "标识", SQL: "r.id"},
			{Key: "no", Title: "编号", SQL: "r.no", Search: true, Filter: ledger.Eq},
			{Key: "title", Title: "隐患名称", SQL: "r.title", Search: true},
			{Key: "level", Title: "等级", SQL: "r.level", Kind: ledger.Code, Dict: LevelDict, Filter: ledger.In, Values: []string{"general", "major"}},
			{Key: "state", Title: "状态", SQL: "r.state", Kind: ledger.Code, Dict: StateDict, Filter: ledger.In, Values: stateNames()},
			{Key: "source", Title: "来源", SQL: "r.source", Kind: ledger.Code, Dict: SourceDict, Filter: ledger.In},
			{Key: "category", Title: "类别", SQL: "r.category", Kind: ledger.Code, Dict: CategoryDict, Filter: ledger.In},
			{Key: "enterpriseName", Title: "企业", SQL: "r.enterprise_name", Search: true},
			{Key: "enterpriseId", Title: "企业标识", SQL: "r.enterprise_id", Filter: ledger.Eq},
			{Key: "division", Title: "行政区划", SQL: "r.division"},
			{Key: "in", Title: "辖区", SQL: "r", Filter: ledger.Division, Hidden: true},
			{Key: "line", Title: "监管行业", SQL: "r.line", Kind: ledger.Code, Dict: dict.Line, Filter: ledger.In},
			{Key: "location", Title: "位置", SQL: "r.location", Search: true},
			{Key: "foundAt", Title: "发现时间", SQL: "r.found_at", Kind: ledger.Time, Filter: ledger.Between, Sort: true},
			{Key: "dueAt", Title: "整改期限", SQL: "r.due_at", SortBy: "COALESCE(r.due_at, '')", Kind: ledger.Time, Filter: ledger.Between, Sort: true},
			{Key: "escalatedTo", Title: "升级至", SQL: "r.escalated_to", Filter: ledger.In},
			{Key: "listed", Title: "挂牌督办", SQL: "r.listed", Filter: ledger.In, Values: []string{"county", "city", "province", "state"}},
			{Key: "repeatCount", Title: "重复次数", SQL: "r.repeat_count", Kind: ledger.Number, Filter: ledger.Between},
			{Key: "updatedAt", Title: "更新时间", SQL: "r.updated_at", Kind: ledger.Time, Filter: ledger.Between, Sort: true},
			{Key: "version", Title: "版本", SQL: "r.version", Kind: ledger.Number},
		},
		Views: []ledger.View{
			{Key: "open", Title: "未销号", Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery {
				return q.Where("r.state IN (?)", bun.List(open))
			}},
			{Key: "overdue", Title: "整改逾期", Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery {
				return q.Where("r.state IN (?) AND r.due_at < ?", bun.List(clockRuns), s.db.Clock.Now())
			}},
			{Key: "major", Title: "重大隐患清单", Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery {
				return q.Where("r.level = 'major' AND r.state <> ?", Void)
			}},
			{Key: "listed", Title: "挂牌督办", Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.listed <> ''") }},
			{Key: "ownerless", Title: "无主体隐患", Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery {
				return q.Where("r.ownerless AND r.state <> ?", Void)
			}},
			{Key: "repeated", Title: "重复隐患", Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.repeat_count > 0") }},
			{Key: "mine", Title: "我发现的", Where: func(ctx context.Context, q *bun.SelectQuery) *bun.SelectQuery {
				return q.Where("r.found_by_id = ?", actor.From(ctx).ID)
			}},
		},
		Order: "-foundAt",
	}
}

func stateNames() []string {
	var out []string
	for _, s := range slices.Concat(open, final) {
		out = append(out, string(s))
	}
	return out
}

// CheckRow is a check in the list.
type CheckRow struct {
	ID             string    `json:"id"`
	EnterpriseID   string    `json:"enterpriseId"`
	EnterpriseName string    `json:"enterpriseName"`
	Division       string    `json:"division"`
	Line           string    `json:"line"`
	ListTitle      string    `json:"listTitle"`
	Period         string    `json:"period"`
	DueAt          time.Time `json:"dueAt"`
	State          string    `json:"state"`
	DoneAt         time.Time `json:"doneAt,omitzero" bun:",nullzero"`
	Findings       int       `json:"findings"`
	Version        int64     `json:"version"`
}

func checkColumns() []ledger.Column {
	return []ledger.Column{
		{Key: "id", Title: "标识", SQL: "r.id"},
		{Key: "enterpriseName", Title: "企业", SQL: "r.enterprise_name", Search: true},
		{Key: "enterpriseId", Title: "企业标识", SQL: "r.enterprise_id", Filter: ledger.Eq},
		{Key: "division", Title: "行政区划", SQL: "r.division"},
		{Key: "in", Title: "辖区", SQL: "r", Filter: ledger.Division, Hidden: true},
		{Key: "line", Title: "监管行业", SQL: "r.line", Kind: ledger.Code, Dict: dict.Line, Filter: ledger.In},
		{Key: "listTitle", Title: "清单", SQL: "r.list_title"},
		{Key: "period", Title: "周期", SQL: "r.period", Filter: ledger.Eq},
		{Key: "dueAt", Title: "上报期限", SQL: "r.due_at", Kind: ledger.Time, Filter: ledger.Between, Sort: true},
		{Key: "state", Title: "状态", SQL: "r.state", Kind: ledger.Code, Dict: CheckStateDict, Filter: ledger.In, Values: []string{"due", "done", "missed", "late"}},
		{Key: "doneAt", Title: "上报时间", SQL: "r.done_at", Kind: ledger.Time, Filter: ledger.Between},
		{Key: "findings", Title: "发现隐患", SQL: "r.findings", Kind: ledger.Number, Filter: ledger.Between},
		{Key: "version", Title: "版本", SQL: "r.version", Kind: ledger.Number},
	}
}

func checkList() ledger.Spec[CheckRow] {
	return ledger.Spec[CheckRow]{
		Name: "self-checks", Title: "企业自查台账", Tag: "隐患治理", Need: PermCheckView, From: "hiddendanger_check AS r", Alias: "r",
		Columns: checkColumns(), Order: "-dueAt",
		Views: []ledger.View{{Key: "zero", Title: "零报告", Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("r.state IN ('done', 'late') AND r.findings = 0")
		}}},
	}
}

// silent lists who reported nothing, or late, without anybody asking (非现场监管，石狮市实施意见).
func silent() ledger.Spec[CheckRow] {
	return ledger.Spec[CheckRow]{
		Name: "silent-enterprises", Title: "未报、迟报企业", Tag: "隐患治理", Need: PermSilent, From: "hiddendanger_check AS r", Alias: "r",
		Columns: checkColumns(), Order: "-dueAt",
		Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("r.state IN ('missed', 'late')")
		},
		Views: []ledger.View{{Key: "silent", Title: "至今未报", Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("r.state = 'missed'")
		}}},
	}
}

// ListRow is an edition of a check list in the list of check lists.
type ListRow struct {
	ID            string    `json:"id"`
	Code          string    `json:"code"`
	Edition       int       `json:"edition"`
	Title         string    `json:"title"`
	Line          string    `json:"line"`
	State         string    `json:"state"`
	EffectiveFrom string    `json:"effectiveFrom"`
	EffectiveTo   string    `json:"effectiveTo"`
	UpdatedAt     time.Time `json:"updatedAt"`
	Version       int64     `json:"version"`
}

func checkLists() ledger.Spec[ListRow] {
	return ledger.Spec[ListRow]{
		Name: "check-lists", Title: "隐患排查清单", Tag: "隐患治理", Need: PermListView, From: "hiddendanger_checklist AS r", Unscoped: "check lists are public guidance",
		Columns: []ledger.Column{
			{Key: "id", Title: "标识", SQL: "r.id"},
			{Key: "code", Title: "代码", SQL: "r.code", Search: true, Filter: ledger.Eq, Sort: true},
			{Key: "edition", Title: "版次", SQL: "r.edition", Kind: ledger.Number},
			{Key: "title", Title: "名称", SQL: "r.title", Search: true},
			{Key: "line", Title: "适用行业", SQL: "r.line", Kind: ledger.Code, Dict: dict.Line, Filter: ledger.In},
			{Key: "state", Title: "状态", SQL: "r.state", Filter: ledger.In, Values: []string{"draft", "published"}},
			{Key: "effectiveFrom", Title: "施行日期", SQL: "r.effective_from", Kind: ledger.Day, Filter: ledger.Between},
			{Key: "effectiveTo", Title: "停止施行", SQL: "r.effective_to", Kind: ledger.Day},
			{Key: "updatedAt", Title: "更新时间", SQL: "r.updated_at", Kind: ledger.Time, Sort: true},
			{Key: "version", Title: "版本", SQL: "r.version", Kind: ledger.Number},
		},
		Order: "code",
	}
}

// BulletinRow is a bulletin in the list.
type BulletinRow struct {
	ID        string    `json:"id"`
	No        string    `json:"no"`
	Title     string    `json:"title"`
	Division  string    `json:"division"`
	From      string    `json:"from" bun:"period_from"`
	To        string    `json:"to" bun:"period_to"`
	Dangers   int       `json:"dangers"`
	CreatedAt time.Time `json:"createdAt"`
}

func bulletins() ledger.Spec[BulletinRow] {
	return ledger.Spec[BulletinRow]{
		Name: "danger-bulletins", Title: "重大隐患通报", Tag: "隐患治理", Need: PermView, From: "hiddendanger_bulletin AS r", Alias: "r",
		Columns: []ledger.Column{
			{Key: "id", Title: "标识", SQL: "r.id"}, {Key: "no", Title: "期号", SQL: "r.no", Search: true}, {Key: "title", Title: "标题", SQL: "r.title", Search: true},
			{Key: "division", Title: "行政区划", SQL: "r.division"}, {Key: "from", Title: "起", SQL: "r.period_from", Kind: ledger.Day}, {Key: "to", Title: "止", SQL: "r.period_to", Kind: ledger.Day},
			{Key: "dangers", Title: "条数", SQL: "r.dangers", Kind: ledger.Number}, {Key: "createdAt", Title: "印发时间", SQL: "r.created_at", Kind: ledger.Time, Sort: true},
		},
		Order: "-createdAt",
	}
}
