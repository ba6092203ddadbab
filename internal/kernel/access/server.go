package access

import (
	"context"
	"github.com/uptrace/bun"

	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
)

// What is done on the server itself, by whoever may run the program there: the first start, and `anwang user`. The context acts as
// the system, and the log shows it.

// FirstAccount is an account that FirstStart made, with the password to be printed once.
type FirstAccount struct {
	Name, Title, Admin, Password string
}

// FirstStart makes the three administrators, each with a one-time password that must be changed at the first sign-in, when there is
// no account at all. Otherwise it does nothing and returns nothing. Of several processes that start at once, one makes them.
func (g *Gate) FirstStart(ctx context.Context) ([]FirstAccount, error) {
	if err := mustBeSystem(ctx); err != nil {
		return nil, err
	}
	if n, err := g.countAccounts(ctx); err != nil || n > 0 {
		return nil, err
	}
	first := []FirstAccount{{Name: "sysadmin", Admin: SystemAdmin}, {Name: "secadmin", Admin: SecurityAdmin}, {Name: "auditor", Admin: AuditAdmin}}
	accounts := make([]*Account, len(first))
	for i := range first {
		f := &first[i]
		f.Title, f.Password = adminTitles[f.Admin], oneTimePassword()
		hash, err := g.hash.make(ctx, f.Password)
		if err != nil {
			return nil, err
		}
		accounts[i] = &Account{Name: f.Name, Title: f.Title, Admin: f.Admin, State: Active}
		accounts[i].setPassword(hash, g.db.Clock.Now(), true)
	}
	err := g.edit(ctx, rulesSubject, func(ctx context.Context) error {
		if n, err := g.countAccounts(ctx); err != nil || n > 0 {
			first = nil
			return err
		}
		for _, a := range accounts {
			if err := g.accounts.Insert(ctx, a, record.Change{Fact: "access.accountCreated", Title: "首次启动建立三员账号"}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return first, nil
}

func (g *Gate) countAccounts(ctx context.Context) (int, error) {
	return g.accounts.Count(ctx, everyone(), func(q *bun.SelectQuery) *bun.SelectQuery { return q.Model((*Account)(nil)) })
}

// AddUserInput describes an account made on the server.
type AddUserInput struct {
	CreateAccountInput
	PersonID string // whose it is, optional
	Password string // empty: a one-time password is made. One that is given must satisfy the rules
	// Keep leaves the given password in use; otherwise it must be changed at the first sign-in. It is for the demo.
	Keep bool
}

// AddUser makes an account that may sign in at once, and returns its password. It is for the command line: the two administrators
// take CreateAccount and EnableAccount.
func (g *Gate) AddUser(ctx context.Context, in AddUserInput) (*AccountView, string, error) {
	if err := mustBeSystem(ctx); err != nil {
		return nil, "", err
	}
	password := in.Password
	if password == "" {
		password = oneTimePassword()
	} else {
		settings, err := g.Settings(ctx)
		if err != nil {
			return nil, "", err
		}
		if err := settings.checkNew(password, normalName(in.Name), ""); err != nil {
			return nil, "", err
		}
	}
	a, err := g.newAccount(ctx, in.CreateAccountInput, password, in.Password == "" || !in.Keep)
	if err != nil {
		return nil, "", err
	}
	a.State = Active
	err = g.db.Tx(ctx, func(ctx context.Context) error {
		if err := g.bind(ctx, a, in.PersonID); err != nil {
			return err
		}
		return g.insert(ctx, a)
	})
	if err != nil {
		return nil, "", err
	}
	return a.view(), password, nil
}

// SetPassword gives the account with the login name a new password, which must be changed at the next sign-in, ends its logins and
// returns it; an empty password stands for a one-time one. It is for the command line.
func (g *Gate) SetPassword(ctx context.Context, name, password string) (string, error) {
	if err := mustBeSystem(ctx); err != nil {
		return "", err
	}
	a, err := g.named(ctx, name)
	if err != nil {
		return "", err
	}
	if password == "" {
		password = oneTimePassword()
	}
	return password, g.setOwnPassword(ctx, a, password, true, "")
}

// UnlockUser forgets the failed sign-ins of the account with the login name, and enables it when it was not active. It is for the command line.
func (g *Gate) UnlockUser(ctx context.Context, name string) (*AccountView, error) {
	if err := mustBeSystem(ctx); err != nil {
		return nil, err
	}
	a, err := g.named(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := g.Unlock(ctx, a.ID); err != nil {
		return nil, err
	}
	if a.State == Active {
		return a.view(), nil
	}
	return g.EnableAccount(ctx, a.ID, a.Version)
}

func (g *Gate) named(ctx context.Context, name string) (*Account, error) {
	a, err := g.accountNamed(ctx, normalName(name))
	if err == nil && a == nil {
		err = errs.NotFound("access.noAccount", "没有登录名为 "+name+" 的账号，用 anwang user list 查看。")
	}
	return a, err
}
