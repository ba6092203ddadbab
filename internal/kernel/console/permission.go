package console

import (
	"fmt"
	"strings"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/policy"
)

// The permissions that kernel/access declares for itself and for the parts below it, as the operations here ask for them.
const (
	permAccount  = "access.account"
	permEnable   = "access.enable"
	permRole     = "access.role"
	permLogin    = "access.login"
	permToken    = "access.token"
	permRules    = "access.rules"
	permDeadline = "deadline.view"
)

var government = []string{"office", "leader", "industry", "town", "officer"}

// permissions are those of the parts that declare none themselves.
func permissions() []access.Permission {
	return []access.Permission{
		{Key: permDeadline, Title: "查看期限", Roles: append([]string{"grid", "enterprise.head", "enterprise.manager"}, government...)},
		{Key: deadline.PermCalendar, Title: "维护工作日历", Admins: []string{access.SystemAdmin}},
		{Key: deadline.PermRules, Title: "维护期限规则", Admins: []string{access.SystemAdmin}},
		{Key: policy.View, Title: "查看策略", Roles: government},
		{Key: policy.Manage, Title: "设定本辖区的策略", Roles: []string{"office"}},
	}
}

// PermissionTable renders the catalogue of permissions as a Markdown table, for docs/permissions.md.
func PermissionTable(list []access.Permission) string {
	admins := map[string]string{access.SystemAdmin: "系统管理员", access.SecurityAdmin: "安全管理员", access.AuditAdmin: "审计管理员"}
	var b strings.Builder
	b.WriteString("| 权限 | 名称 | 默认角色 | 三员 |\n| --- | --- | --- | --- |\n")
	for _, p := range list {
		var holders []string
		for _, a := range p.Admins {
			holders = append(holders, admins[a])
		}
		var roles []string
		for _, r := range p.Roles {
			roles = append(roles, "`"+r+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", p.Key, p.Title, strings.Join(roles, " "), strings.Join(holders, "、"))
	}
	return b.String()
}
