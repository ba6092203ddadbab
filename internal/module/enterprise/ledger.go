package enterprise

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
	"anwang/internal/module/enterprise/enterpriseapi"
)

// Row is one enterprise in the list.
type Row struct {
	ID           string    `bun:"id" json:"id"`
	Name         string    `bun:"name" json:"name"`
	ShortName    string    `bun:"short_name" json:"shortName"`
	USCC         string    `bun:"uscc" json:"uscc"`
	Number       string    `bun:"number" json:"number"`
	State        string    `bun:"state" json:"state"`
	Division     string    `bun:"division" json:"divisionCode"`
	DivisionName string    `bun:"division_name" json:"divisionName"`
	Line         string    `bun:"line" json:"line"`
	Industry     string    `bun:"industry" json:"industry"`
	Scale        string    `bun:"scale" json:"scale"`
	Class        string    `bun:"class" json:"class"`
	Grade        string    `bun:"grade" json:"grade"`
	Address      string    `bun:"address" json:"address"`
	Lon          *float64  `bun:"lon" json:"lon"`
	Lat          *float64  `bun:"lat" json:"lat"`
	Principal    string    `bun:"principal" json:"principal"`
	Phone        string    `bun:"phone" json:"phone"`
	Employees    int       `bun:"employees" json:"employees"`
	UpdatedAt    time.Time `bun:"updated_at" json:"updatedAt"`

	People []Person `bun:"people,type:text" json:"people,omitempty"` // taken apart by finish and not shown
}

func (s *Service) listSpec() ledger.Spec[Row] {
	return ledger.Spec[Row]{
		Name: "enterprises", Title: "企业台账", Tag: "企业档案", Need: View, From: "enterprise_item AS r", Alias: "r",
		Columns: []ledger.Column{
			{Key: "id", Title: "标识", SQL: "r.id"},
			{Key: "name", Title: "企业名称", SQL: "r.name", Sort: true, Search: true},
			{Key: "shortName", Title: "简称", SQL: "r.short_name", Search: true},
			{Key: "uscc", Title: "统一社会信用代码", SQL: "r.uscc", Filter: ledger.Prefix, Search: true},
			{Key: "number", Title: "平台编号", SQL: "r.number", Filter: ledger.Eq},
			{Key: "state", Title: "状态", SQL: "r.state", Kind: ledger.Code, Dict: stateKind, Filter: ledger.In,
				Values: []string{enterpriseapi.Active, enterpriseapi.Suspended, enterpriseapi.Closed, enterpriseapi.Merged}},
			{Key: "divisionCode", Title: "行政区划代码", SQL: "r.division"},
			{Key: "division", Title: "所在行政区划", SQL: "r", Filter: ledger.Division, Hidden: true},
			{Key: "divisionName", Title: "所在地", SQL: "''"},
			{Key: "line", Title: "监管行业领域", SQL: "r.line", Kind: ledger.Code, Dict: dict.Line, Filter: ledger.In},
			{Key: "industry", Title: "行业", SQL: "r.industry", Kind: ledger.Code, Dict: dict.Industry, Filter: ledger.Prefix},
			{Key: "scale", Title: "规模", SQL: "r.scale", Kind: ledger.Code, Dict: scaleKind, Filter: ledger.In, Values: sortedKeys(scaleTitles)},
			{Key: "class", Title: "类别", SQL: "r.class", Kind: ledger.Code, Dict: classKind, Filter: ledger.In, Values: sortedKeys(classTitles)},
			{Key: "grade", Title: "等级", SQL: "r.grade", Filter: ledger.In, Values: []string{"A", "B", "C", "D"}, Sort: true},
			{Key: "hazard", Title: "涉及的重点风险", SQL: "r.hazards", Dict: enterpriseapi.HazardKind, Filter: ledger.Has, Hidden: true},
			{Key: "address", Title: "经营地址", SQL: "r.address"},
			{Key: "lon", Title: "经度", SQL: "r.lon", Kind: ledger.Number},
			{Key: "lat", Title: "纬度", SQL: "r.lat", Kind: ledger.Number},
			{Key: "hasCoordinates", Title: "有坐标", SQL: "(r.lon IS NOT NULL)", Kind: ledger.Bool, Filter: ledger.Eq, Hidden: true},
			{Key: "principal", Title: "主要负责人", SQL: "''"},
			{Key: "phone", Title: "联系电话", SQL: "''"},
			{Key: "people", Title: "人员", SQL: "r.people", Hidden: true},
			{Key: "employees", Title: "从业人数", SQL: "r.employees", Kind: ledger.Number, Filter: ledger.Between},
			{Key: "importId", Title: "导入批次", SQL: "r.import_id", Filter: ledger.Eq, Hidden: true},
			{Key: "updatedAt", Title: "更新时间", SQL: "r.updated_at", Kind: ledger.Time, Filter: ledger.Between, Sort: true},
		},
		Order:  "-updatedAt",
		Finish: s.finish,
		// What an undone import had brought is no enterprise to anybody; the import's own list still names it.
		Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("r.state <> ?", enterpriseapi.Withdrawn)
		},
		Views: []ledger.View{
			{Key: "working", Title: "在业（含停产停业）", Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery {
				return q.Where("r.state IN (?)", bun.List([]string{enterpriseapi.Active, enterpriseapi.Suspended}))
			}},
			{Key: "highRisk", Title: "高危企业", Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery {
				return q.Where("r.class = ? AND r.state IN (?)", highRisk, bun.List([]string{enterpriseapi.Active, enterpriseapi.Suspended}))
			}},
		},
	}
}

// finish names divisions and takes from the people who answers for safety, with the telephone number as the actor may see it.
func (s *Service) finish(ctx context.Context, rows []Row) error {
	divisions, err := s.org.Divisions(ctx)
	if err != nil {
		return err
	}
	personal, now := scope.For(ctx, Personal), s.db.Clock.Now()
	for i := range rows {
		r := &rows[i]
		if path := divisions.Path(r.Division, now); len(path) > 0 {
			r.DivisionName = path[len(path)-1]
			if gbcode.Division(r.Division).Level() == gbcode.Village {
				r.DivisionName = path[len(path)-2] + r.DivisionName
			}
		}
		e := Enterprise{People: r.People}
		for _, role := range []string{PrincipalRole, LegalRepresentative} {
			if p := e.person(role); p != nil {
				r.Principal, r.Phone = p.Name, p.Phone
				break
			}
		}
		if !personal.Sees(scope.At(r.Division, r.Line, r.ID)) {
			r.Phone = gbcode.MaskPhone(r.Phone)
		}
		r.People = nil
	}
	return nil
}
