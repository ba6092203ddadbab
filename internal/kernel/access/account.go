package access

import (
	"cmp"
	"context"
	"crypto/rand"
	"regexp"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// The states of an account.
const (
	Inactive = "inactive" // created, or its password was reset: waits for the security administrator
	Active   = "active"
	Disabled = "disabled"
)

// Account is who may sign in. It is the stored record; what people are shown is an [AccountView].
type Account struct {
	bun.BaseModel `bun:"table:access_account,alias:r" json:"-"`
	record.Head

	Name       string        `bun:"name" json:"name"`
	Title      string        `bun:"title" json:"title"`
	Admin      string        `bun:"admin" json:"admin"`
	PersonID   string        `bun:"person_id" json:"personId"`
	State      string        `bun:"state" json:"state"`
	Password   record.Secret `bun:"password" json:"password"` // PHC string
	PasswordAt time.Time     `bun:"password_at" json:"passwordAt"`
	MustChange bool          `bun:"must_change" json:"mustChange"`
	Former     record.Secret `bun:"former" json:"former"` // PHC strings of the last passwords, the present one first, one a line
	OTP        record.Secret `bun:"otp" json:"otp"`       // sealed seed
	OTPOn      bool          `bun:"otp_on" json:"otpOn"`
	Recovery   record.Secret `bun:"recovery" json:"recovery"` // SHA-256 of unused recovery codes, one a line
}

// AccountView is an account as people see it.
type AccountView struct {
	ID          string     `json:"id"`
	Version     int64      `json:"version"`
	Name        string     `json:"name" doc:"登录名"`
	Title       string     `json:"title" doc:"姓名或用途"`
	Admin       string     `json:"admin" enum:",system,security,audit" doc:"三员之一，空表示业务账号"`
	PersonID    string     `json:"personId"`
	State       string     `json:"state" enum:"inactive,active,disabled"`
	MustChange  bool       `json:"mustChange" doc:"须先修改密码"`
	OTPOn       bool       `json:"otpOn" doc:"已启用动态口令"`
	PasswordAt  time.Time  `json:"passwordAt"`
	LockedUntil *time.Time `json:"lockedUntil,omitempty" doc:"因输错密码锁定至"`
}

func (a *Account) view() *AccountView {
	return &AccountView{ID: a.ID, Version: a.Version, Name: a.Name, Title: a.Title, Admin: a.Admin, PersonID: a.PersonID, State: a.State,
		MustChange: a.MustChange, OTPOn: a.OTPOn, PasswordAt: a.PasswordAt}
}

// setPassword makes the hash the account's password and remembers it among the former ones.
func (a *Account) setPassword(hash string, now time.Time, mustChange bool) {
	former := strings.Fields(string(a.Former))
	former = append([]string{hash}, former[:min(len(former), 24)]...) // 24: the longest history that Settings allow
	a.Password, a.PasswordAt, a.MustChange = record.Secret(hash), now, mustChange
	a.Former = record.Secret(strings.Join(former, "\n"))
}

// CreateAccountInput describes a new account.
type CreateAccountInput struct {
	Name  string `json:"name" pattern:"^[a-z][a-z0-9._-]{2,31}$" doc:"登录名：小写字母开头，3至32位"`
	Title string `json:"title" minLength:"1" maxLength:"50" doc:"姓名或用途"`
	Admin string `json:"admin,omitempty" enum:",system,security,audit" doc:"三员之一，空表示业务账号；创建后不可更改"`
}

// AccountQuery selects accounts.
type AccountQuery struct {
	Q     string `query:"q" maxLength:"50" doc:"登录名或姓名的一部分"`
	State string `query:"state" enum:",inactive,active,disabled"`
	Admin string `query:"admin" enum:",system,security,audit"`
	After string `query:"after" doc:"上一页最后一个账号的标识"`
	Limit int    `query:"limit" minimum:"1" maximum:"200" doc:"默认20"`
}

// A login name holds no capital, so that a name never depends on case, and begins with a letter, so that it is no telephone number.
var accountName = regexp.MustCompile(`^[a-z][a-z0-9._-]{2,31}$`)

func normalName(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// everyone is the filter of this package's use cases, each of which has checked its permission.
func everyone() scope.Filter {
	return scope.All("accounts lie in no territory; the use case has checked its permission")
}

// account loads an account by id.
func (g *Gate) account(ctx context.Context, id string) (*Account, error) {
	return g.accounts.Load(ctx, everyone(), id)
}

// accountNamed loads an account by login name; nil when there is none.
func (g *Gate) accountNamed(ctx context.Context, name string) (*Account, error) {
	if !accountName.MatchString(name) {
		return nil, nil
	}
	return g.accounts.First(ctx, everyone(), func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.name = ?", name) })
}

// Accounts lists accounts in the order in which they were made. It asks for the system or the security administrator.
func (g *Gate) Accounts(ctx context.Context, query AccountQuery) ([]*AccountView, error) {
	if err := org.Need(ctx, manageAccounts, enableAccounts); err != nil {
		return nil, err
	}
	rows, err := g.accounts.Find(ctx, everyone(), func(q *bun.SelectQuery) *bun.SelectQuery {
		q = q.Where("r.id > ?", query.After).Order("r.id").Limit(int64(cmp.Or(min(query.Limit, 200), 20)))
		if query.Q != "" {
			like := "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(query.Q) + "%"
			q = q.Where("r.name LIKE ? ESCAPE '!' OR r.title LIKE ? ESCAPE '!'", like, like)
		}
		if query.State != "" {
			q = q.Where("r.state = ?", query.State)
		}
		if query.Admin != "" {
			q = q.Where("r.admin = ?", query.Admin)
		}
		return q
	})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	keys := make([]string, len(rows))
	for i, a := range rows {
		keys[i] = nameKey(a.Name)
	}
	locks, err := g.locks(ctx, keys)
	if err != nil {
		return nil, err
	}
	views := make([]*AccountView, len(rows))
	for i, a := range rows {
		views[i] = a.view()
		views[i].LockedUntil = locks[keys[i]]
	}
	return views, nil
}

// Own returns the account that is signed in.
func (g *Gate) Own(ctx context.Context) (*AccountView, error) {
	a, err := g.self(ctx)
	if err != nil {
		return nil, err
	}
	return a.view(), nil
}

// CreateAccount makes an account and returns its one-time password, which is shown once. The account is inactive until the security
// administrator enables it. It asks for the system administrator. A name that is taken is a conflict. It hashes a password: not
// inside a transaction.
func (g *Gate) CreateAccount(ctx context.Context, in CreateAccountInput) (*AccountView, string, error) {
	if err := org.Need(ctx, manageAccounts); err != nil {
		return nil, "", err
	}
	password := oneTimePassword()
	a, err := g.newAccount(ctx, in, password, true)
	if err != nil {
		return nil, "", err
	}
	// A new account changes nobody's rights: there is nothing to publish.
	if err := g.db.Tx(ctx, func(ctx context.Context) error { return g.insert(ctx, a) }); err != nil {
		return nil, "", err
	}
	return a.view(), password, nil
}

// newAccount is an inactive account as in describes it, not stored yet.
func (g *Gate) newAccount(ctx context.Context, in CreateAccountInput, password string, mustChange bool) (*Account, error) {
	g.outside(ctx)
	a := &Account{Name: normalName(in.Name), Title: strings.TrimSpace(in.Title), Admin: in.Admin, State: Inactive}
	switch {
	case !accountName.MatchString(a.Name):
		return nil, errs.InvalidField("access.accountName", "/name", "登录名应为 3 至 32 位，小写字母开头，只含小写字母、数字和 . _ -。")
	case a.Title == "":
		return nil, errs.InvalidField("access.accountTitle", "/title", "请填写使用人姓名或用途。")
	case a.Admin != "" && adminTitles[a.Admin] == "":
		return nil, errs.InvalidField("access.accountAdmin", "/admin", "应为系统管理员、安全管理员、审计管理员之一，或留空。")
	}
	hash, err := g.hash.make(ctx, password)
	if err != nil {
		return nil, err
	}
	a.setPassword(hash, g.db.Clock.Now(), mustChange)
	return a, nil
}

func (g *Gate) insert(ctx context.Context, a *Account) error {
	return taken(a, g.accounts.Insert(ctx, a, record.Change{Fact: "access.accountCreated", Title: "创建账号"}))
}

// taken turns the violation of a unique key into what it means.
func taken(a *Account, err error) error {
	key, ok := db.UniqueViolation(err)
	switch {
	case !ok:
		return err
	case strings.Contains(key, "person"):
		return errs.Conflict("access.personBound", "此人已有账号。一人一号，请先解除原账号的绑定。").Because(err)
	}
	return errs.Conflict("access.accountExists", "登录名 "+a.Name+" 已被使用，请换一个。").Because(err)
}

// DisableAccount closes an account and ends its logins. It asks for the system administrator. The last active administrator of a kind stays.
func (g *Gate) DisableAccount(ctx context.Context, id string, version int64, reason string) (*AccountView, error) {
	if err := org.Need(ctx, manageAccounts); err != nil {
		return nil, err
	}
	return g.change(ctx, id, version, record.Change{Fact: "access.accountDisabled", Title: "停用账号", Data: map[string]string{"reason": reason}},
		func(ctx context.Context, a *Account) error {
			if err := g.notLast(ctx, a); err != nil {
				return err
			}
			a.State = Disabled
			return g.endSessions(ctx, a.ID, "")
		})
}

// ResetPassword gives an account a new one-time password, which is shown once, and ends its logins. The account is inactive until the security
// administrator has enabled it again, so that neither of the two can take over an account alone. It asks for the system administrator. It hashes a
// password: not inside a transaction.
func (g *Gate) ResetPassword(ctx context.Context, id string, version int64) (*AccountView, string, error) {
	if err := org.Need(ctx, manageAccounts); err != nil {
		return nil, "", err
	}
	g.outside(ctx)
	password := oneTimePassword()
	hash, err := g.hash.make(ctx, password)
	if err != nil {
		return nil, "", err
	}
	v, err := g.change(ctx, id, version, record.Change{Fact: "access.passwordReset", Title: "重置密码"}, func(ctx context.Context, a *Account) error {
		if a.State == Active {
			if err := g.notLast(ctx, a); err != nil {
				return err
			}
			a.State = Inactive
		}
		a.setPassword(hash, g.db.Clock.Now(), true)
		return g.endSessions(ctx, a.ID, "")
	})
	if err != nil {
		return nil, "", err
	}
	return v, password, nil
}

// EnableAccount lets an account sign in. It asks for the security administrator.
func (g *Gate) EnableAccount(ctx context.Context, id string, version int64) (*AccountView, error) {
	if err := org.Need(ctx, enableAccounts); err != nil {
		return nil, err
	}
	return g.change(ctx, id, version, record.Change{Fact: "access.accountEnabled", Title: "启用账号"}, func(_ context.Context, a *Account) error {
		if a.State == Active {
			return errs.Conflict("access.alreadyActive", "该账号已经启用。")
		}
		a.State = Active
		return nil
	})
}

// Bind says whose account this is: from now on it has the rights of that person's posts. An empty personID takes the person away. A
// person has one account at most, and an administrator's account can only be bound to a person without posts. It asks for the
// security administrator.
func (g *Gate) Bind(ctx context.Context, id string, version int64, personID string) (*AccountView, error) {
	if err := org.Need(ctx, enableAccounts); err != nil {
		return nil, err
	}
	return g.change(ctx, id, version, record.Change{Fact: "access.accountBound", Title: "绑定人员", Data: map[string]string{"person": personID}},
		func(ctx context.Context, a *Account) error { return g.bind(ctx, a, personID) })
}

// bind gives an account its person, whose row it locks: see guardPost for the other side of the rule.
func (g *Gate) bind(ctx context.Context, a *Account, personID string) error {
	a.PersonID = personID
	if personID == "" {
		return nil
	}
	p, err := g.org.LockPerson(ctx, personID)
	if err != nil {
		return err
	}
	a.Title = p.Name
	if a.Admin == "" {
		return nil
	}
	if busy, err := g.org.HasPosts(ctx, personID); err != nil {
		return err
	} else if busy {
		return errs.Conflict("access.adminPost", "此人担任业务职务，按三员分立要求不能绑定"+adminTitles[a.Admin]+"账号。请先办理免职，或换人。")
	}
	return nil
}

// Unlock lets an account try again that too many wrong passwords have locked. It asks for the security administrator.
func (g *Gate) Unlock(ctx context.Context, id string) error {
	if err := org.Need(ctx, enableAccounts); err != nil {
		return err
	}
	return g.db.Tx(ctx, func(ctx context.Context) error {
		a, err := g.account(ctx, id)
		if err != nil {
			return err
		}
		return g.unlock(ctx, a)
	})
}

func (g *Gate) unlock(ctx context.Context, a *Account) error {
	if err := g.forgive(ctx, a.Name); err != nil {
		return err
	}
	return g.note(ctx, a, "access.unlocked", "解除锁定", nil)
}

// ResetOTP takes the one-time passwords of an account away, for a lost telephone, and ends its logins. It asks for the security administrator.
func (g *Gate) ResetOTP(ctx context.Context, id string, version int64) (*AccountView, error) {
	if err := org.Need(ctx, enableAccounts); err != nil {
		return nil, err
	}
	return g.change(ctx, id, version, record.Change{Fact: "access.otpReset", Title: "重置动态口令"}, func(ctx context.Context, a *Account) error {
		a.OTP, a.OTPOn, a.Recovery = "", false, ""
		return g.endSessions(ctx, a.ID, "")
	})
}

// change edits an account that the caller read at version.
func (g *Gate) change(ctx context.Context, id string, version int64, c record.Change, fn func(ctx context.Context, a *Account) error) (*AccountView, error) {
	var a *Account
	err := g.edit(ctx, accountSubject+id, func(ctx context.Context) (err error) {
		if a, err = g.account(ctx, id); err != nil {
			return err
		}
		if err := g.accounts.CheckVersion(a, version); err != nil {
			return err
		}
		if err := fn(ctx, a); err != nil {
			return err
		}
		return taken(a, g.accounts.Update(ctx, a, c))
	})
	if err != nil {
		return nil, err
	}
	return a.view(), nil
}

// notLast refuses to take the last active administrator of a kind out of service. It holds against parallel calls because edits wait for each other.
func (g *Gate) notLast(ctx context.Context, a *Account) error {
	if a.Admin == "" || a.State != Active {
		return nil
	}
	others, err := g.accounts.Count(ctx, everyone(), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Model((*Account)(nil)).Where("r.admin = ? AND r.state = ? AND r.id <> ?", a.Admin, Active, a.ID)
	})
	if err != nil {
		return err
	}
	if others == 0 {
		return errs.Conflict("access.lastAdmin", "这是最后一个可用的"+adminTitles[a.Admin]+"账号，不能停用或重置。请先启用另一个"+adminTitles[a.Admin]+"账号，或在服务器上使用 anwang user 命令。")
	}
	return nil
}

// oneTimePassword makes a password of four groups, without characters that look alike, that has all four classes: about 90 bits.
func oneTimePassword() string {
	const lower, upper, digit = "abcdefghjkmnpqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789"
	const all = lower + upper + digit
	for {
		var groups []string
		for range 4 {
			var group []byte
			for len(group) < 4 {
				var b [1]byte
				rand.Read(b[:])                                  //nolint:errcheck // never fails since Go 1.24
				if i := int(b[0]); i < len(all)*(256/len(all)) { // the rest would favour the first characters
					group = append(group, all[i%len(all)])
				}
			}
			groups = append(groups, string(group))
		}
		password := strings.Join(groups, "-")
		if strings.ContainsAny(password, lower) && strings.ContainsAny(password, upper) && strings.ContainsAny(password, digit) {
			return password
		}
	}
}

// mustBeSystem refuses everybody but the program itself: the command line on the server.
func mustBeSystem(ctx context.Context) error {
	if actor.From(ctx).Kind != actor.System {
		return errs.Forbidden("access.forbidden", "此操作只能在服务器上用 anwang user 命令进行。")
	}
	return nil
}
