package access

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// The three administrators (handbook 18.1).
const (
	SystemAdmin   = "system"   // 系统管理员: accounts, organisation, dictionaries, running the system
	SecurityAdmin = "security" // 安全管理员: permissions, enabling, logins, tokens, password rules
	AuditAdmin    = "audit"    // 审计管理员: the log
)

// adminTitles are the administrators' Chinese names.
var adminTitles = map[string]string{SystemAdmin: "系统管理员", SecurityAdmin: "安全管理员", AuditAdmin: "审计管理员"}

// The kinds of role: in which sort of unit it can be held.
const (
	GovernmentRole = "government"
	EnterpriseRole = "enterprise"
	ExpertRole     = "expert" // experts, agencies, insurers: see what they are assigned
	GridRole       = "grid"
)

// Permission is something that may be done. A module declares its own.
type Permission struct {
	Key   string   `json:"key" doc:"模块.动作"`
	Title string   `json:"title"`
	Roles []string `json:"roles" doc:"默认拥有的角色"`
	// Admins are the administrators who hold it, always and unchangeably. A permission with Admins and no Roles can never be given to a role; one
	// without Admins is a business permission, which no administrator holds.
	Admins []string `json:"admins" doc:"固定拥有的管理员"`
}

// The permissions of this package.
const (
	manageAccounts = "access.account"      // create, disable, reset passwords
	enableAccounts = "access.enable"       // enable, bind to a person, unlock, reset one-time passwords
	manageRoles    = "access.role"         // which role may do what
	manageLogins   = "access.login"        // see and end others' logins
	manageTokens   = "access.token"        // approve and revoke API tokens
	manageRules    = "access.rules"        // rules for passwords and logins
	RequestTokens  = "access.requestToken" // ask for an API token with part of one's own rights
)

// ownPermissions are the permissions of access and org, and those by which the administrators keep the other parts of the kernel:
// the three fixed sets on one screen.
var ownPermissions = []Permission{
	{Key: manageAccounts, Title: "创建、停用账号", Admins: []string{SystemAdmin}},
	{Key: org.Manage, Title: "维护机构、人员、任职", Admins: []string{SystemAdmin}},
	{Key: org.View, Title: "查看机构、人员", Admins: []string{SystemAdmin, SecurityAdmin}, Roles: []string{"office", "leader", "industry", "town", "officer", "grid"}},
	{Key: org.Personal, Title: "查看人员完整联系方式和证件号码", Roles: []string{"office", "leader", "town"}},
	{Key: "dict.manage", Title: "维护代码表", Admins: []string{SystemAdmin}},
	{Key: "notify.manage", Title: "维护通知渠道和模板", Admins: []string{SystemAdmin}},
	{Key: "job.operate", Title: "查看和处理后台任务", Admins: []string{SystemAdmin}},
	{Key: "event.operate", Title: "处理搁置的事件", Admins: []string{SystemAdmin}},
	{Key: "backup.run", Title: "备份", Admins: []string{SystemAdmin}},

	{Key: enableAccounts, Title: "启用、绑定、解锁账号", Admins: []string{SecurityAdmin}},
	{Key: manageRoles, Title: "设定角色权限", Admins: []string{SecurityAdmin}},
	{Key: manageLogins, Title: "查看和结束他人的登录", Admins: []string{SecurityAdmin}},
	{Key: manageTokens, Title: "批准、吊销接口令牌", Admins: []string{SecurityAdmin}},
	{Key: manageRules, Title: "设定登录与密码规则", Admins: []string{SecurityAdmin}},
	{Key: RequestTokens, Title: "申请接口令牌", Roles: []string{"office"}},

	{Key: "audit.read", Title: "查看日志", Admins: []string{AuditAdmin}},
	{Key: "audit.verify", Title: "校验日志", Admins: []string{AuditAdmin}},
	{Key: "audit.prove", Title: "出具日志证明", Admins: []string{AuditAdmin}},
	{Key: "audit.export", Title: "导出日志", Admins: []string{AuditAdmin}},
}

// defaultRoles are the roles that every installation has (product.md, "Who uses it"). Titles and permissions can be edited, and roles added.
var defaultRoles = []Role{
	{Name: "office", Title: "安委会办公室（综合监管）", Kind: GovernmentRole},
	{Name: "leader", Title: "党政领导", Kind: GovernmentRole},
	{Name: org.LineRegulator, Title: "行业主管部门（行业监管）", Kind: GovernmentRole},
	{Name: "town", Title: "乡镇（街道）、园区安监站", Kind: GovernmentRole},
	{Name: "grid", Title: "网格员、检查员", Kind: GridRole},
	{Name: "officer", Title: "执法人员", Kind: GovernmentRole},
	{Name: "enterprise.head", Title: "企业主要负责人", Kind: EnterpriseRole},
	{Name: "enterprise.manager", Title: "安全总监、安全管理员", Kind: EnterpriseRole},
	{Name: "enterprise.worker", Title: "班组、岗位人员", Kind: EnterpriseRole},
	{Name: "expert", Title: "专家", Kind: ExpertRole},
	{Name: "insurer", Title: "保险机构", Kind: ExpertRole},
	{Name: "agency", Title: "技术服务机构", Kind: ExpertRole},
}

// Role is a bundle of permissions that a post gives.
type Role struct {
	bun.BaseModel `bun:"table:access_role,alias:r" json:"-"`
	record.Head

	Name        string   `bun:"name" json:"name" doc:"标识，不可更改"`
	Title       string   `bun:"title" json:"title"`
	Kind        string   `bun:"kind" json:"kind" enum:"government,enterprise,expert,grid"`
	Permissions []string `bun:"permissions,type:text" json:"permissions" doc:"权限，已排序"`
	// Offered are the permissions that some version of the program has given to this role by default. One that was taken away again by an edit
	// is in Offered and not in Permissions, and so is not given a second time.
	Offered []string `bun:"offered,type:text" json:"offered" doc:"曾默认赋予的权限"`
	NeedOTP bool     `bun:"need_otp" json:"needOtp" doc:"须用动态口令登录"`
}

// RoleInput describes a role.
type RoleInput struct {
	Name        string   `json:"name,omitempty" pattern:"^[a-z][a-zA-Z0-9.]{1,40}$" doc:"新角色的标识；修改时忽略"`
	Kind        string   `json:"kind,omitempty" enum:"government,enterprise,expert,grid" doc:"新角色的类别；修改时忽略"`
	Title       string   `json:"title" minLength:"1" maxLength:"50"`
	Permissions []string `json:"permissions" maxItems:"2000"`
	NeedOTP     bool     `json:"needOtp,omitempty" doc:"须用动态口令登录"`
}

var (
	permissionKey = regexp.MustCompile(`^[a-z][a-zA-Z0-9]*\.[a-z][a-zA-Z0-9]*$`)
	roleName      = regexp.MustCompile(`^[a-z][a-zA-Z0-9.]{1,40}$`)
)

// DeclarePermissions adds permissions to the catalogue. It is called while the program is put together, before Seed, and panics on a
// key that is malformed or declared twice, and on an unknown role or administrator.
func (g *Gate) DeclarePermissions(ps ...Permission) {
	for _, p := range ps {
		i, taken := slices.BinarySearchFunc(g.permissions, p.Key, func(p Permission, key string) int { return cmp.Compare(p.Key, key) })
		switch {
		case taken:
			panic("access: permission declared twice: " + p.Key)
		case !permissionKey.MatchString(p.Key) || p.Title == "":
			panic("access: permission without a proper key and title: " + p.Key)
		}
		for _, name := range p.Roles {
			if !slices.ContainsFunc(defaultRoles, func(r Role) bool { return r.Name == name }) {
				panic(fmt.Sprintf("access: permission %s: no default role %q", p.Key, name))
			}
		}
		for _, admin := range p.Admins {
			if adminTitles[admin] == "" {
				panic(fmt.Sprintf("access: permission %s: no administrator %q", p.Key, admin))
			}
		}
		p.Roles, p.Admins = slices.Clone(p.Roles), slices.Clone(p.Admins)
		g.permissions = slices.Insert(g.permissions, i, p)
	}
}

// Permissions lists the declared permissions, sorted by key.
func (g *Gate) Permissions() []Permission { return slices.Clone(g.permissions) }

func (g *Gate) permission(key string) (Permission, bool) {
	i, ok := slices.BinarySearchFunc(g.permissions, key, func(p Permission, key string) int { return cmp.Compare(p.Key, key) })
	if !ok {
		return Permission{}, false
	}
	return g.permissions[i], true
}

// reserved reports whether only administrators can hold the permission.
func (p *Permission) reserved() bool { return len(p.Admins) > 0 && len(p.Roles) == 0 }

// adminSet is what an administrator may do: always the same.
func (g *Gate) adminSet(admin string) []string {
	var keys []string
	for _, p := range g.permissions {
		if slices.Contains(p.Admins, admin) {
			keys = append(keys, p.Key)
		}
	}
	return keys
}

// Seed makes the default roles and gives them the permissions that this program declares by default and no earlier one did. Edits stay. It
// is called at every start, after all DeclarePermissions, as the system.
func (g *Gate) Seed(ctx context.Context) error {
	stored, err := g.storedRoles(ctx)
	if err != nil {
		return err
	}
	if len(g.unseeded(stored)) == 0 {
		return nil // the usual start writes nothing
	}
	return g.edit(ctx, rulesSubject, func(ctx context.Context) error {
		stored, err := g.storedRoles(ctx)
		if err != nil {
			return err
		}
		for _, r := range g.unseeded(stored) {
			if r.Version == 0 {
				err = g.roles.Insert(ctx, r, record.Change{Fact: "access.roleSeeded", Title: "建立默认角色"})
			} else {
				err = g.roles.Update(ctx, r, record.Change{Fact: "access.roleSeeded", Title: "补充新版本的默认权限"})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (g *Gate) storedRoles(ctx context.Context) (map[string]*Role, error) {
	rows, err := g.roles.Find(ctx, scope.All("roles are configuration"), func(q *bun.SelectQuery) *bun.SelectQuery { return q })
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*Role, len(rows))
	for _, r := range rows {
		byName[r.Name] = r
	}
	return byName, nil
}

// unseeded returns the default roles that are missing, and those that lack a default permission which nobody has offered them yet, as they should be.
func (g *Gate) unseeded(stored map[string]*Role) []*Role {
	var out []*Role
	for _, def := range defaultRoles {
		r := stored[def.Name]
		if r == nil {
			r = &Role{Name: def.Name, Title: def.Title, Kind: def.Kind, Permissions: []string{}, Offered: []string{}}
		}
		before := len(r.Offered)
		for _, p := range g.permissions {
			if slices.Contains(p.Roles, r.Name) && !slices.Contains(r.Offered, p.Key) {
				r.Offered = append(r.Offered, p.Key)
				r.Permissions = append(r.Permissions, p.Key)
			}
		}
		if r.Version == 0 || len(r.Offered) > before {
			slices.Sort(r.Offered)
			slices.Sort(r.Permissions)
			r.Permissions = slices.Compact(r.Permissions)
			out = append(out, r)
		}
	}
	return out
}

// Roles lists the roles by name. It asks for the security administrator's or the system administrator's permission.
func (g *Gate) Roles(ctx context.Context) ([]*Role, error) {
	if err := org.Need(ctx, manageRoles, manageAccounts); err != nil {
		return nil, err
	}
	return g.roles.Find(ctx, scope.All("roles are configuration"), func(q *bun.SelectQuery) *bun.SelectQuery { return q.Order("r.name") })
}

// AddRole makes a role. It asks for the security administrator. A name that is taken is a conflict.
func (g *Gate) AddRole(ctx context.Context, in RoleInput) (*Role, error) {
	if err := org.Need(ctx, manageRoles); err != nil {
		return nil, err
	}
	if !roleName.MatchString(in.Name) {
		return nil, errs.InvalidField("access.roleName", "/name", "标识应以小写字母开头，只含字母、数字和点，最长 41 个字符。")
	}
	if !slices.Contains([]string{GovernmentRole, EnterpriseRole, ExpertRole, GridRole}, in.Kind) {
		return nil, errs.InvalidField("access.roleKind", "/kind", "请选择角色类别：政府、企业、专家和机构、网格。")
	}
	r := &Role{Name: in.Name, Kind: in.Kind, Offered: []string{}}
	if err := g.fillRole(r, in); err != nil {
		return nil, err
	}
	err := g.edit(ctx, rulesSubject, func(ctx context.Context) error {
		return g.roles.Insert(ctx, r, record.Change{Fact: "access.roleAdded", Title: "新增角色", Data: in})
	})
	if _, taken := db.UniqueViolation(err); taken {
		err = errs.Conflict("access.roleExists", "已有标识为 "+in.Name+" 的角色，请换一个标识。").Because(err)
	}
	return r, err
}

// EditRole changes what a role may do. It asks for the security administrator, and counts for everybody who holds the role at their next request.
func (g *Gate) EditRole(ctx context.Context, id string, version int64, in RoleInput) (*Role, error) {
	if err := org.Need(ctx, manageRoles); err != nil {
		return nil, err
	}
	var r *Role
	err := g.edit(ctx, rulesSubject, func(ctx context.Context) (err error) {
		if r, err = g.roles.Load(ctx, scope.All("roles are configuration"), id); err != nil {
			return err
		}
		if err := g.roles.CheckVersion(r, version); err != nil {
			return err
		}
		was := r.Permissions
		if err := g.fillRole(r, in); err != nil {
			return err
		}
		return g.roles.Update(ctx, r, record.Change{Fact: "access.roleEdited", Title: "修改角色权限", Data: map[string]any{
			"added": without(r.Permissions, was), "removed": without(was, r.Permissions), "needOtp": r.NeedOTP}})
	})
	return r, err
}

func (g *Gate) fillRole(r *Role, in RoleInput) error {
	if strings.TrimSpace(in.Title) == "" {
		return errs.InvalidField("access.roleTitle", "/title", "请填写角色名称。")
	}
	for i, key := range in.Permissions {
		p, ok := g.permission(key)
		if !ok || p.reserved() {
			return errs.InvalidField("access.rolePermission", fmt.Sprintf("/permissions/%d", i), "权限 "+key+" 不存在，或只能由三员持有，不能授予业务角色。")
		}
	}
	r.Title, r.NeedOTP = strings.TrimSpace(in.Title), in.NeedOTP
	r.Permissions = slices.Clone(in.Permissions)
	if r.Permissions == nil {
		r.Permissions = []string{}
	}
	slices.Sort(r.Permissions)
	r.Permissions = slices.Compact(r.Permissions)
	return nil
}

func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}

// unitKinds says in which units a kind of role can be held.
var unitKinds = map[string][]string{
	GovernmentRole: {org.UnitDepartment},
	GridRole:       {org.UnitVillage, org.UnitDepartment},
	EnterpriseRole: {org.UnitEnterprise},
	ExpertRole:     {org.UnitOther},
}

// guardPost refuses a post with an unknown role, in a unit of the wrong sort, or for a person who has an administrator's account.
func (g *Gate) guardPost(ctx context.Context, p *org.Post) error {
	r, err := g.roles.First(ctx, scope.All("roles are configuration"), func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.name = ?", p.Role) })
	if err != nil {
		return err
	}
	if r == nil {
		return errs.InvalidField("access.noRole", "/role", "没有这个角色，请从列表中选择。")
	}
	if !slices.Contains(unitKinds[r.Kind], p.UnitKind) {
		return errs.InvalidField("access.roleUnit", "/role", "角色“"+r.Title+"”不能用于这类单位的任职，请核对角色或单位。")
	}
	a, err := g.accounts.First(ctx, scope.All("the rule of the three administrators"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.person_id = ? AND r.admin <> ''", p.PersonID)
	})
	if err != nil {
		return err
	}
	if a != nil {
		return errs.Conflict("access.adminPost", "此人持有"+adminTitles[a.Admin]+"账号，按三员分立要求不能担任业务职务。请先由安全管理员解除该账号与此人的绑定。")
	}
	return nil
}
