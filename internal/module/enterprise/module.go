package enterprise

import (
	"context"
	"embed"
	"io"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/importer"
	"anwang/internal/kernel/module"
	"anwang/internal/kernel/policy"
	"anwang/internal/module/enterprise/enterpriseapi"
)

//go:embed migrations/*.sql
var files embed.FS

//go:embed data/*.csv
var data embed.FS

// Migrations makes the module's tables.
var Migrations = db.Migrations{Part: "enterprise", Files: files}

// The dictionaries of codes that are fixed in the program; the tables name them.
const (
	stateKind = "enterprise.state"
	scaleKind = "enterprise.scale"
	classKind = "enterprise.class"
	formKind  = "enterprise.kind"
	roleKind  = "enterprise.role"
)

// Dicts are the module's code tables.
var Dicts = []dict.Kind{
	{Key: enterpriseapi.HazardKind, Title: "企业涉及的重点风险", Seed: dict.CSV(data, "data/hazard.csv")},
	{Key: stateKind, Title: "企业状态", Seed: labels(plain(stateTitles), "active", "suspended", "closed", "merged", "withdrawn")},
	{Key: scaleKind, Title: "企业规模", Seed: labels(scaleTitles, "large", "medium", "small", "micro")},
	{Key: classKind, Title: "企业类别", Seed: labels(classTitles, highRisk, general)},
	{Key: formKind, Title: "组织形式", Seed: labels(kindTitles, "company", "soleTrader", "cooperative", "institution", "government", "social", "other")},
	{Key: roleKind, Title: "企业人员职务", Seed: labels(roleTitles, LegalRepresentative, ActualController, PrincipalRole, SafetyDirector, SafetyManager, SafetyStaff, Contact)},
}

func plain(m map[flow.State]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[string(k)] = v
	}
	return out
}

func labels(titles map[string]string, order ...string) func() ([]dict.Item, error) {
	return func() ([]dict.Item, error) {
		items := make([]dict.Item, len(order))
		for i, code := range order {
			items[i] = dict.Item{Code: code, Label: titles[code], Sort: i + 1}
		}
		return items, nil
	}
}

// Permissions are the module's permissions with the roles that hold them by default.
var Permissions = []access.Permission{
	{Key: View, Title: "查看企业档案", Roles: []string{"office", "leader", "industry", "town", "grid", "officer", "enterprise.head", "enterprise.manager", "enterprise.worker"}},
	{Key: Edit, Title: "登记、变更企业档案", Roles: []string{"office", "industry", "town"}},
	{Key: Import, Title: "批量导入企业", Roles: []string{"office", "industry", "town"}},
	{Key: Merge, Title: "合并重复的企业档案", Roles: []string{"office"}},
	{Key: Grade, Title: "评定企业类别和等级", Roles: []string{"office", "industry"}},
	{Key: Personal, Title: "查看企业人员完整电话", Roles: []string{"office", "industry", "town", "officer", "enterprise.head", "enterprise.manager"}},
	{Key: Self, Title: "更新本企业的联系人、安全人员和坐标", Roles: []string{"enterprise.head", "enterprise.manager"}},
}

// Module declares the module.
func (s *Service) Module() module.Module {
	m := module.Module{
		Name: "enterprise", Title: "企业档案",
		Migrations: Migrations, Permissions: Permissions, Dicts: Dicts,
		Menu: []module.MenuItem{
			{Group: "企业", Title: "企业档案", Path: "/enterprises", Need: View, Order: 10},
			{Group: "企业", Title: "企业导入", Path: "/imports/enterprises", Need: Import, Order: 20},
		},
		Guards: map[string]file.Guard{enterpriseapi.RecordType: s.guard},
		Routes: s.routes, Policies: []policy.Any{&s.policies},
	}
	if s.imports != nil {
		m.Importers = map[string]module.Importer{"enterprises": {Title: "企业", Run: s.runImport}}
	}
	return m
}

// runImport serves "anwang import enterprises FILE".
func (s *Service) runImport(ctx context.Context, file io.ReaderAt, size int64, name string, apply bool, progress func(done, total int)) (module.ImportReport, error) {
	v, wrong, err := s.imports.RunFile(ctx, file, size, name, apply, progress)
	if err != nil {
		return module.ImportReport{}, err
	}
	c := v.Checked
	if v.Applied != (importer.Counts{}) {
		c = v.Applied
	}
	report := module.ImportReport{Rows: c.Rows, Created: c.Create, Updated: c.Update, Same: c.Same}
	for _, f := range wrong {
		for _, p := range f.Problems {
			report.Errors = append(report.Errors, module.RowError{Row: f.Row, Column: p.Title, Message: p.Message})
		}
	}
	return report, nil
}
