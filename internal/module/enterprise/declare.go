package enterprise

import (
	"embed"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/flow"
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
