package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
)

// SignInInput is what a person types.
type SignInInput struct {
	Account  string `json:"account" minLength:"1" maxLength:"64" doc:"登录名"`
	Password string `json:"password" minLength:"1" maxLength:"256" doc:"密码"`
	OTP      string `json:"otp,omitempty" maxLength:"32" doc:"6位动态口令，或恢复码；答复 access.otpRequired 之后再填"`
	Client   Client `json:"-"`
}

// Client is from where somebody signs in.
type Client struct {
	Address string // network address, without port
	Agent   string // what the browser or program calls itself
}

// What a sign-in answers. The first two are the same for accounts that exist and that do not.
var (
	errBadCredentials = errs.Unauthenticated("access.badCredentials", "账号或密码不正确，请核对后重试。连续输错多次将被锁定。")
	errLocked         = errs.TooMany("access.locked", "输错次数过多，已暂时锁定。请稍后再试，或联系安全管理员解锁。", 0)
	errAddress        = errs.TooMany("access.addressLimit", "此网络地址登录失败次数过多，请稍后再试。", 0)
	errOTPRequired    = errs.Unauthenticated("access.otpRequired", "请输入动态口令应用上的 6 位数字。")
	errNotActive      = errs.Forbidden("access.notActive", "账号尚未启用或已停用，请联系安全管理员。")
)

func after(e *errs.Error, wait time.Duration) error {
	c := *e
	c.RetryAfter = wait
	return &c
}

// SignIn opens a login and returns it with its token, which is nowhere stored. When the password has expired or was set by somebody
// else the login has MustChange, and no rights until it is changed. Like everything that tries a password it must not be called
// inside a transaction, which would undo the count of a failure, and panics there.
func (g *Gate) SignIn(ctx context.Context, in SignInInput) (*Login, string, error) {
	name := normalName(in.Account)
	release, err := g.takeTurn(ctx, name)
	if err != nil {
		return nil, "", err
	}
	defer release()
	t, err := g.beginTrial(ctx, name, in.Client)
	if err != nil {
		return nil, "", err
	}
	a, err := g.accountNamed(ctx, name)
	if err != nil {
		return nil, "", errors.Join(err, t.takeBack(ctx))
	}
	outdated, err := t.password(ctx, a, in.Password)
	if err != nil {
		return nil, "", err
	}
	if a.State != Active {
		return nil, "", t.refuse(ctx, a, errNotActive)
	}
	if a.OTPOn {
		if in.OTP == "" {
			return nil, "", errors.Join(errOTPRequired, t.takeBack(ctx))
		}
		ok, err := g.useOTP(ctx, a, in.OTP)
		if err != nil {
			return nil, "", errors.Join(err, t.takeBack(ctx))
		}
		if !ok {
			return nil, "", t.fail(ctx, a, "otp")
		}
	}
	rehashed := ""
	if outdated {
		if rehashed, err = g.hash.make(ctx, in.Password); err != nil {
			return nil, "", errors.Join(err, t.takeBack(ctx))
		}
	}
	return t.admit(ctx, a, rehashed)
}

// outside panics inside a transaction: hashing would hold up all writers, and a failed try would be forgotten.
func (g *Gate) outside(ctx context.Context) {
	if g.db.InTx(ctx) {
		panic("access: passwords are not tried or hashed inside a transaction")
	}
}

// takeTurn makes sign-ins under one name wait for each other in this process.
func (g *Gate) takeTurn(ctx context.Context, name string) (release func(), err error) {
	sum := sha256.Sum256([]byte(name))
	turn := g.turns[int(sum[0])%len(g.turns)]
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// trial is one try of a password, counted as a failure until it turns out to be none. So guesses made in parallel by several
// processes cannot outrun the lock.
type trial struct {
	g        *Gate
	settings *Settings
	name     string
	client   Client
	count    int // failures in a row with this one
}

func nameKey(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "account/" + hex.EncodeToString(sum[:16])
}

func addressKey(address string) string { return "address/" + clip(address, 64) }

// beginTrial counts a try, or refuses it when the name is locked or the address has failed too often.
func (g *Gate) beginTrial(ctx context.Context, name string, client Client) (*trial, error) {
	g.outside(ctx)
	c, err := g.catalogueNow(ctx)
	if err != nil {
		return nil, err
	}
	now := g.db.Clock.Now()
	t := &trial{g: g, settings: c.settings(now), name: name, client: client}
	var locked time.Time
	err = g.db.Tx(ctx, func(ctx context.Context) error {
		conn := g.db.Conn(ctx)
		var seen []struct {
			Failures int
			At       time.Time
		}
		if err := conn.NewRaw("SELECT failures, at FROM access_attempt WHERE key = ?", addressKey(client.Address)).Scan(ctx, &seen); err != nil {
			return err
		}
		if len(seen) > 0 && seen[0].Failures >= t.settings.AddressFailures {
			if wait := seen[0].At.Add(t.settings.lock()).Sub(now); wait > 0 {
				return after(errAddress, wait)
			}
		}
		var row struct {
			Failures    int
			LockedUntil time.Time
		}
		// A name that nobody has tried for as long as a lock lasts begins at one again.
		if err := conn.NewRaw(`INSERT INTO access_attempt AS t (key, failures, at, locked_until) VALUES (?, 1, ?, ?)
			ON CONFLICT (key) DO UPDATE SET
				failures = CASE WHEN t.locked_until > excluded.at THEN t.failures WHEN t.at <= ? THEN 1 ELSE t.failures + 1 END,
				at = CASE WHEN t.locked_until > excluded.at THEN t.at ELSE excluded.at END
			RETURNING failures, locked_until`,
			nameKey(name), now, never, now.Add(-t.settings.lock())).Scan(ctx, &row); err != nil {
			return err
		}
		t.count, locked = row.Failures, row.LockedUntil
		if !locked.After(now) && t.count > t.settings.Failures { // tries that nobody finished: a process died
			locked = now.Add(t.settings.lock())
			return g.lock(ctx, name, locked)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if locked.After(now) {
		return nil, after(errLocked, locked.Sub(now))
	}
	return t, nil
}

// never is a lock that has long passed.
var never = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (g *Gate) lock(ctx context.Context, name string, until time.Time) error {
	_, err := g.db.Conn(ctx).NewRaw("UPDATE access_attempt SET locked_until = ? WHERE key = ?", until, nameKey(name)).Exec(ctx)
	return err
}

// forgive forgets the failures under a name.
func (g *Gate) forgive(ctx context.Context, name string) error {
	_, err := g.db.Conn(ctx).NewRaw("DELETE FROM access_attempt WHERE key = ?", nameKey(name)).Exec(ctx)
	return err
}

// locks tells which of the keys are locked, and until when.
func (g *Gate) locks(ctx context.Context, keys []string) (map[string]*time.Time, error) {
	var rows []struct {
		Key         string
		LockedUntil time.Time
	}
	if err := g.db.Conn(ctx).NewRaw("SELECT key, locked_until FROM access_attempt WHERE key IN (?) AND locked_until > ?", bun.List(keys), g.db.Clock.Now()).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	out := map[string]*time.Time{}
	for _, r := range rows {
		out[r.Key] = &r.LockedUntil
	}
	return out, nil
}

// password tries the password. For an account that does not exist it computes as much. When it returns an error the trial is over.
func (t *trial) password(ctx context.Context, a *Account, password string) (outdated bool, err error) {
	stored := t.g.hash.decoy()
	if a != nil {
		stored = string(a.Password)
	}
	if len(password) > maxPassword {
		password = "" // no password is empty, and nobody shall make us hash a megabyte
	}
	ok, outdated, err := t.g.hash.verify(ctx, stored, password)
	if err != nil {
		return false, errors.Join(err, t.takeBack(ctx))
	}
	if !ok {
		return false, t.fail(ctx, a, "password")
	}
	return outdated, nil
}

// takeBack makes the trial not count: it ended without an answer about the password, or the password was right. It does not reset the count: who
// knows the password would otherwise have as many tries at the one-time password as he likes.
func (t *trial) takeBack(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return t.g.db.Tx(ctx, func(ctx context.Context) error {
		_, err := t.g.db.Conn(ctx).NewRaw("UPDATE access_attempt SET failures = failures - 1 WHERE key = ? AND failures > 0", nameKey(t.name)).Exec(ctx)
		return err
	})
}

// fail ends the trial as a failure and returns what the person is told.
func (t *trial) fail(ctx context.Context, a *Account, what string) error {
	ctx = context.WithoutCancel(ctx) // hanging up does not undo it
	g := t.g
	now := g.db.Clock.Now()
	answer := error(errBadCredentials)
	err := g.db.Tx(ctx, func(ctx context.Context) error {
		data := map[string]any{"account": masked(a, t.name), "client": t.client.Address, "wrong": what, "inARow": t.count}
		if err := g.note(ctx, a, "access.signInFailed", "登录失败", data); err != nil {
			return err
		}
		if t.count >= t.settings.Failures {
			answer = after(errLocked, t.settings.lock())
			if err := g.lock(ctx, t.name, now.Add(t.settings.lock())); err != nil {
				return err
			}
			if err := g.note(ctx, a, "access.locked", "账号锁定", map[string]any{"account": masked(a, t.name), "client": t.client.Address, "minutes": t.settings.LockMinutes}); err != nil {
				return err
			}
		}
		return t.blame(ctx, now)
	})
	if err != nil {
		return err
	}
	return answer
}

// blame counts a failure against the network address. Its count begins anew when the first failure is as old as a lock lasts.
func (t *trial) blame(ctx context.Context, now time.Time) error {
	forget := now.Add(-t.settings.lock())
	var failures int
	if err := t.g.db.Conn(ctx).NewRaw(`INSERT INTO access_attempt AS t (key, failures, at, locked_until) VALUES (?, 1, ?, ?)
		ON CONFLICT (key) DO UPDATE SET
			failures = CASE WHEN t.at <= ? THEN 1 ELSE t.failures + 1 END,
			at = CASE WHEN t.at <= ? THEN excluded.at ELSE t.at END
		RETURNING failures`, addressKey(t.client.Address), now, never, forget, forget).Scan(ctx, &failures); err != nil {
		return err
	}
	if failures != t.settings.AddressFailures {
		return nil
	}
	return t.g.note(ctx, nil, "access.addressLimited", "网络地址暂停登录", map[string]any{"client": t.client.Address, "failures": failures})
}

// masked is the name as the log may know it: what is typed into the name field of an account that does not exist is now and then a password.
func masked(a *Account, typed string) string {
	if a != nil {
		return a.Name
	}
	r := []rune(typed)
	return string(r[:min(2, len(r))]) + "…"
}

// refuse ends a trial whose password was right but whose account may not come in.
func (t *trial) refuse(ctx context.Context, a *Account, answer error) error {
	ctx = context.WithoutCancel(ctx)
	if err := t.takeBack(ctx); err != nil {
		return err
	}
	if err := t.g.db.Tx(ctx, func(ctx context.Context) error {
		return t.g.note(ctx, a, "access.signInRefused", "登录被拒绝", map[string]any{"account": a.Name, "client": t.client.Address, "state": a.State})
	}); err != nil {
		return err
	}
	return answer
}

// admit ends the trial with a login.
func (t *trial) admit(ctx context.Context, a *Account, rehashed string) (*Login, string, error) {
	g := t.g
	token, key := newToken("")
	l := &loginRow{ID: g.db.Clock.NewID(), Kind: sessionKind, AccountID: a.ID, Hash: key, Client: clip(t.client.Address, 64), Agent: clip(t.client.Agent, 300)}
	err := g.db.Tx(a.as(ctx), func(ctx context.Context) error {
		now := g.db.Clock.Now()
		l.CreatedAt, l.LastSeen, l.ExpiresAt = now, now, now.Add(t.settings.absolute())
		fresh, err := g.account(ctx, a.ID)
		if err != nil {
			return err
		}
		if fresh.State != Active || fresh.Password != a.Password {
			return errBadCredentials // changed while the password was being tried
		}
		if rehashed != "" {
			former := strings.Replace(string(fresh.Former), string(fresh.Password), rehashed, 1)
			fresh.Password, fresh.Former = record.Secret(rehashed), record.Secret(former)
			if err := g.accounts.Update(ctx, fresh, record.Change{Fact: "access.passwordRehashed", Title: "更新密码散列参数"}); err != nil {
				return err
			}
		}
		if err := g.forgive(ctx, t.name); err != nil {
			return err
		}
		if err := g.sweep(ctx, now); err != nil {
			return err
		}
		if _, err := g.db.Conn(ctx).NewInsert().Model(l).Exec(ctx); err != nil {
			return err
		}
		a = fresh
		return g.note(ctx, a, "access.signedIn", "登录", map[string]any{"account": a.Name, "client": t.client.Address, "login": l.ID})
	})
	if err != nil {
		return nil, "", err
	}
	_, login, err := g.Authenticate(ctx, token) // which says whether anything must be done first
	if err != nil {
		return nil, "", err
	}
	return login, token, nil
}

func clip(s string, n int) string {
	r := []rune(strings.ToValidUTF8(s, ""))
	return strings.ReplaceAll(string(r[:min(n, len(r))]), "\x00", "")
}

// sweep removes logins that have expired and failures that no longer count.
func (g *Gate) sweep(ctx context.Context, now time.Time) error {
	if _, err := g.db.Conn(ctx).NewRaw("DELETE FROM access_login WHERE expires_at <= ?", now).Exec(ctx); err != nil {
		return err
	}
	_, err := g.db.Conn(ctx).NewRaw("DELETE FROM access_attempt WHERE at < ? AND locked_until < ?", now.AddDate(0, 0, -2), now).Exec(ctx)
	return err
}

// ChangePasswordInput is a person's own change of password.
type ChangePasswordInput struct {
	Old string `json:"old" minLength:"1" maxLength:"256" doc:"原密码"`
	New string `json:"new" minLength:"1" maxLength:"256" doc:"新密码"`
}

// ChangePassword changes the password of the account that is signed in, ends its other logins, and gives this login its rights when
// they were withheld. A wrong old password counts as a failed sign-in.
func (g *Gate) ChangePassword(ctx context.Context, in ChangePasswordInput) error {
	a, err := g.proveSelf(ctx, in.Old, "/old")
	if err != nil {
		return err
	}
	return g.setOwnPassword(ctx, a, in.New, false, actor.From(ctx).LoginID)
}

// setOwnPassword checks a new password against the rules and stores it; keep is the login that goes on.
func (g *Gate) setOwnPassword(ctx context.Context, a *Account, password string, mustChange bool, keep string) error {
	g.outside(ctx)
	settings, err := g.Settings(ctx)
	if err != nil {
		return err
	}
	phone := ""
	if a.PersonID != "" {
		phones, err := g.org.Phones(actor.AsSystem(ctx, "access"), []string{a.PersonID})
		if err != nil {
			return err
		}
		phone = phones[a.PersonID]
	}
	if err := settings.checkNew(password, a.Name, phone); err != nil {
		return err
	}
	former := strings.Fields(string(a.Former))
	for _, hash := range former[:min(len(former), settings.History)] {
		used, _, err := g.hash.verify(ctx, hash, password)
		if err != nil {
			return err
		}
		if used {
			return errs.InvalidField("access.usedPassword", "/new", fmt.Sprintf("新密码不能与最近 %d 次用过的密码相同。", settings.History))
		}
	}
	hash, err := g.hash.make(ctx, password)
	if err != nil {
		return err
	}
	_, err = g.change(ctx, a.ID, a.Version, record.Change{Fact: "access.passwordChanged", Title: "修改密码"}, func(ctx context.Context, a *Account) error {
		a.setPassword(hash, g.db.Clock.Now(), mustChange)
		return g.endSessions(ctx, a.ID, keep)
	})
	return err
}

// proveSelf returns the account that is signed in, after its password has been given once more: a login left open is not enough to
// change how one signs in.
func (g *Gate) proveSelf(ctx context.Context, password, pointer string) (*Account, error) {
	a, err := g.self(ctx)
	if err != nil {
		return nil, err
	}
	release, err := g.takeTurn(ctx, a.Name)
	if err != nil {
		return nil, err
	}
	defer release()
	t, err := g.beginTrial(ctx, a.Name, Client{Address: actor.RequestFrom(ctx).Client})
	if err != nil {
		return nil, err
	}
	if _, err := t.password(ctx, a, password); err != nil {
		if errors.Is(err, errBadCredentials) {
			err = errs.InvalidField("access.wrongPassword", pointer, "密码不正确，请重新输入。")
		}
		return nil, err
	}
	return a, t.takeBack(ctx)
}
