package console

import (
	"context"
	"net/http"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/module"
)

const (
	tagAccount = "账号与权限"
	tagSelf    = "本人账号"
)

// NewAccount is an account with the one-time password that was just made for it.
type NewAccount struct {
	Account  *access.AccountView `json:"account"`
	Password string              `json:"password" doc:"一次性密码，只显示这一次，首次登录须修改"`
}

// NewToken is an API token that was just asked for.
type NewToken struct {
	Token  *access.TokenView `json:"token"`
	Secret string            `json:"secret" doc:"令牌内容，只显示这一次；安全管理员批准后生效"`
}

// PasswordInput proves once more who is at the screen.
type PasswordInput struct {
	Password string `json:"password" minLength:"1" maxLength:"256" doc:"当前密码"`
}

// CodeInput is a one-time password.
type CodeInput struct {
	Code string `json:"code" minLength:"6" maxLength:"12" doc:"手机上显示的 6 位动态口令"`
}

// RecoveryCodes are for the day when the telephone is lost.
type RecoveryCodes struct {
	Codes []string `json:"codes" nullable:"false" doc:"恢复码，只显示这一次，每个只能用一次"`
}

// DisableInput closes an account.
type DisableInput struct {
	Read
	Reason string `json:"reason" minLength:"1" maxLength:"200" doc:"停用原因"`
}

// BindInput says whose account it is.
type BindInput struct {
	Read
	PersonID string `json:"personId" maxLength:"64" doc:"人员，空表示解除绑定"`
}

// EditRoleInput changes a role.
type EditRoleInput struct {
	Read
	access.RoleInput
}

// LoginRulesInput sets the rules for passwords and logins from a day on.
type LoginRulesInput struct {
	ValidFrom string          `json:"validFrom" format:"date" doc:"施行日期，今天或以后"`
	Settings  access.Settings `json:"settings"`
}

// own adds what everybody does with the own account. What hashes a password runs outside a transaction, and what answers with a secret must not be
// remembered under an Idempotency-Key: both are Detached.
func own(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "own-account", Path: "/me/account", Title: "本人账号", Tag: tagSelf},
		func(ctx context.Context, _ *struct{}) (*access.AccountView, error) { return k.Access.Own(ctx) })
	get(api, httpx.Op{ID: "list-own-logins", Path: "/me/logins", Title: "本人的登录", Tag: tagSelf},
		func(ctx context.Context, _ *struct{}) (Listed[access.Login], error) {
			return listed(k.Access.Logins(ctx))
		})
	post(api, httpx.Op{ID: "end-other-logins", Path: "/me/logins/end-others", Title: "结束本人的其他登录", Tag: tagSelf},
		func(ctx context.Context, _ *struct{}) (Ended, error) {
			n, err := k.Access.EndOthers(ctx)
			return Ended{n}, err
		})
	act(api, httpx.Op{ID: "end-login", Path: "/logins/{id}/end", Title: "结束一次登录", Tag: tagSelf, Doc: "本人的；安全管理员可结束任何人的。"},
		func(ctx context.Context, in *httpx.ByID) error { return k.Access.EndLogin(ctx, in.ID) })
	post(api, httpx.Op{ID: "begin-otp", Path: "/me/otp/begin", Title: "准备启用动态口令", Tag: tagSelf, Detached: true},
		func(ctx context.Context, in *httpx.Body[PasswordInput]) (*access.OTPSetup, error) {
			return k.Access.BeginOTP(ctx, in.Body.Password)
		})
	post(api, httpx.Op{ID: "confirm-otp", Path: "/me/otp/confirm", Title: "启用动态口令", Tag: tagSelf, Detached: true},
		func(ctx context.Context, in *httpx.Body[CodeInput]) (RecoveryCodes, error) {
			codes, err := k.Access.ConfirmOTP(ctx, in.Body.Code)
			return RecoveryCodes{codes}, err
		})
	act(api, httpx.Op{ID: "remove-otp", Path: "/me/otp/remove", Title: "停用动态口令", Tag: tagSelf, Detached: true},
		func(ctx context.Context, in *httpx.Body[PasswordInput]) error {
			return k.Access.RemoveOTP(ctx, in.Body.Password)
		})
}

func accounts(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "list-accounts", Path: "/accounts", Title: "账号", Tag: tagAccount, Doc: "系统管理员、安全管理员可用。"},
		func(ctx context.Context, in *struct{ access.AccountQuery }) (Listed[*access.AccountView], error) {
			list, err := k.Access.Accounts(ctx, in.AccountQuery)
			return page(list, err, in.Limit, 20, func(a *access.AccountView) string { return a.ID })
		})
	post(api, httpx.Op{ID: "create-account", Path: "/accounts", Title: "创建账号", Tag: tagAccount, Need: permAccount, Detached: true, Status: http.StatusCreated,
		Doc: "由系统管理员创建，经安全管理员启用后方可登录。"},
		func(ctx context.Context, in *httpx.Body[access.CreateAccountInput]) (NewAccount, error) {
			a, password, err := k.Access.CreateAccount(ctx, in.Body)
			return NewAccount{a, password}, err
		})
	post(api, httpx.Op{ID: "disable-account", Path: "/accounts/{id}/disable", Title: "停用账号", Tag: tagAccount, Need: permAccount},
		func(ctx context.Context, in *httpx.ByIDWith[DisableInput]) (*access.AccountView, error) {
			return k.Access.DisableAccount(ctx, in.ID, in.Body.Version, in.Body.Reason)
		})
	post(api, httpx.Op{ID: "reset-password", Path: "/accounts/{id}/reset-password", Title: "重置密码", Tag: tagAccount, Need: permAccount, Detached: true,
		Doc: "账号转为待启用，由安全管理员再次启用。"},
		func(ctx context.Context, in *httpx.ByIDWith[Read]) (NewAccount, error) {
			a, password, err := k.Access.ResetPassword(ctx, in.ID, in.Body.Version)
			return NewAccount{a, password}, err
		})
	post(api, httpx.Op{ID: "enable-account", Path: "/accounts/{id}/enable", Title: "启用账号", Tag: tagAccount, Need: permEnable},
		func(ctx context.Context, in *httpx.ByIDWith[Read]) (*access.AccountView, error) {
			return k.Access.EnableAccount(ctx, in.ID, in.Body.Version)
		})
	post(api, httpx.Op{ID: "bind-account", Path: "/accounts/{id}/bind", Title: "绑定人员", Tag: tagAccount, Need: permEnable},
		func(ctx context.Context, in *httpx.ByIDWith[BindInput]) (*access.AccountView, error) {
			return k.Access.Bind(ctx, in.ID, in.Body.Version, in.Body.PersonID)
		})
	act(api, httpx.Op{ID: "unlock-account", Path: "/accounts/{id}/unlock", Title: "解除锁定", Tag: tagAccount, Need: permEnable},
		func(ctx context.Context, in *httpx.ByID) error { return k.Access.Unlock(ctx, in.ID) })
	post(api, httpx.Op{ID: "reset-otp", Path: "/accounts/{id}/reset-otp", Title: "重置动态口令", Tag: tagAccount, Need: permEnable},
		func(ctx context.Context, in *httpx.ByIDWith[Read]) (*access.AccountView, error) {
			return k.Access.ResetOTP(ctx, in.ID, in.Body.Version)
		})
	get(api, httpx.Op{ID: "list-account-logins", Path: "/accounts/{id}/logins", Title: "账号的登录", Tag: tagAccount, Need: permLogin},
		func(ctx context.Context, in *httpx.ByID) (Listed[access.Login], error) {
			return listed(k.Access.LoginsOf(ctx, in.ID))
		})
	post(api, httpx.Op{ID: "end-account-logins", Path: "/accounts/{id}/end-logins", Title: "结束账号的全部登录", Tag: tagAccount, Need: permLogin},
		func(ctx context.Context, in *httpx.ByID) (Ended, error) {
			n, err := k.Access.EndLogins(ctx, in.ID)
			return Ended{n}, err
		})
}

func roles(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "list-permissions", Path: "/permissions", Title: "权限目录", Tag: tagAccount, Need: permRole},
		func(context.Context, *struct{}) (Listed[access.Permission], error) {
			return listed(k.Access.Permissions(), nil)
		})
	get(api, httpx.Op{ID: "list-roles", Path: "/roles", Title: "角色", Tag: tagAccount, Doc: "安全管理员、系统管理员可用。"},
		func(ctx context.Context, _ *struct{}) (Listed[*access.Role], error) {
			return listed(k.Access.Roles(ctx))
		})
	post(api, httpx.Op{ID: "add-role", Path: "/roles", Title: "新增角色", Tag: tagAccount, Need: permRole, Status: http.StatusCreated},
		func(ctx context.Context, in *httpx.Body[access.RoleInput]) (*access.Role, error) {
			return k.Access.AddRole(ctx, in.Body)
		})
	post(api, httpx.Op{ID: "edit-role", Path: "/roles/{id}/edit", Title: "修改角色权限", Tag: tagAccount, Need: permRole},
		func(ctx context.Context, in *httpx.ByIDWith[EditRoleInput]) (*access.Role, error) {
			return k.Access.EditRole(ctx, in.ID, in.Body.Version, in.Body.RoleInput)
		})
	get(api, httpx.Op{ID: "login-rules", Path: "/login-rules", Title: "登录与密码规则", Tag: tagAccount, BeforeChange: true},
		func(ctx context.Context, _ *struct{}) (access.Settings, error) { return k.Access.Settings(ctx) })
	post(api, httpx.Op{ID: "set-login-rules", Path: "/login-rules", Title: "设定登录与密码规则", Tag: tagAccount, Need: permRules},
		func(ctx context.Context, in *httpx.Body[LoginRulesInput]) (*access.Rules, error) {
			return k.Access.SetSettings(ctx, in.Body.ValidFrom, in.Body.Settings)
		})
}

func tokens(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "list-tokens", Path: "/tokens", Title: "接口令牌", Tag: tagAccount, Doc: "本人申请的；安全管理员见全部。"},
		func(ctx context.Context, _ *struct{}) (Listed[*access.TokenView], error) {
			return listed(k.Access.Tokens(ctx))
		})
	post(api, httpx.Op{ID: "request-token", Path: "/tokens", Title: "申请接口令牌", Tag: tagAccount, Need: access.RequestTokens, Detached: true, Status: http.StatusCreated},
		func(ctx context.Context, in *httpx.Body[access.TokenInput]) (NewToken, error) {
			t, secret, err := k.Access.RequestToken(ctx, in.Body)
			return NewToken{t, secret}, err
		})
	post(api, httpx.Op{ID: "approve-token", Path: "/tokens/{id}/approve", Title: "批准接口令牌", Tag: tagAccount, Need: permToken},
		func(ctx context.Context, in *httpx.ByIDWith[Read]) (*access.TokenView, error) {
			return k.Access.ApproveToken(ctx, in.ID, in.Body.Version)
		})
	post(api, httpx.Op{ID: "revoke-token", Path: "/tokens/{id}/revoke", Title: "吊销接口令牌", Tag: tagAccount, Doc: "本人的；安全管理员可吊销任何人的。"},
		func(ctx context.Context, in *httpx.ByIDWith[Read]) (*access.TokenView, error) {
			return k.Access.RevokeToken(ctx, in.ID, in.Body.Version)
		})
}
