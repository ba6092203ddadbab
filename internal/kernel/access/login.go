package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/org"
)

// Login is a session: one sign-in from one place.
type Login struct {
	ID        string    `json:"id"`
	AccountID string    `json:"accountId"`
	CreatedAt time.Time `json:"createdAt"`
	LastSeen  time.Time `json:"lastSeen" doc:"最近活动，精确到分钟"`
	ExpiresAt time.Time `json:"expiresAt" doc:"无论是否活动，到此时退出"`
	Client    string    `json:"client" doc:"网络地址"`
	Agent     string    `json:"agent" doc:"浏览器或程序"`
	Current   bool      `json:"current" doc:"就是本次登录"`
	// CSRF must come back with every writing request that is authenticated by cookie. Only SignIn and Authenticate know it.
	CSRF       string `json:"csrf,omitempty"`
	MustChange bool   `json:"mustChange" doc:"须先修改密码"`
	MustEnrol  bool   `json:"mustEnrol" doc:"须先启用动态口令"`
}

// The kinds of row in access_login.
const (
	sessionKind = "session"
	tokenKind   = "token"
)

type loginRow struct {
	bun.BaseModel `bun:"table:access_login,alias:l"`
	ID            string    `bun:"id,pk"`
	Kind          string    `bun:"kind"`
	AccountID     string    `bun:"account_id"`
	Hash          string    `bun:"hash"`
	CreatedAt     time.Time `bun:"created_at"`
	LastSeen      time.Time `bun:"last_seen"`
	ExpiresAt     time.Time `bun:"expires_at"`
	Client        string    `bun:"client"`
	Agent         string    `bun:"agent"`
}

func (r *loginRow) login() Login {
	return Login{ID: r.ID, AccountID: r.AccountID, CreatedAt: r.CreatedAt, LastSeen: r.LastSeen, ExpiresAt: r.ExpiresAt, Client: r.Client, Agent: r.Agent}
}

// newToken makes a token of 256 random bits and the key under which it is stored.
func newToken(prefix string) (token, key string) {
	b := make([]byte, 32)
	rand.Read(b) //nolint:errcheck // never fails since Go 1.24
	token = prefix + base64.RawURLEncoding.EncodeToString(b)
	sum := sha256.Sum256([]byte(token))
	return token, hex.EncodeToString(sum[:])
}

// csrfOf derives a session's CSRF token from its token, which is not stored either.
func csrfOf(token string) string {
	sum := sha256.Sum256([]byte("csrf\x00" + token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

var (
	errSignInFirst = errs.Unauthenticated("access.signInFirst", "请先登录，或登录已过期，请重新登录。")
	errIdle        = errs.Unauthenticated("access.idle", "长时间没有操作，已自动退出，请重新登录。")
)

// entry is a caller who has been recognised, as held in memory.
type entry struct {
	actor   *actor.Actor
	login   *Login // nil for an API token
	loginID string
	account string
	person  string
	until   time.Time     // the actor must be resolved anew: midnight, when posts begin and end, or the end of the login
	idle    time.Duration // 0: never
	seen    atomic.Int64  // Unix milliseconds of the last request
	written atomic.Int64  // the same as stored, at most seenEvery older
}

const (
	// seenEvery is how exactly the database knows when a login was last seen: so often a request costs a write.
	seenEvery = time.Minute
	minSweep  = 1024
)

// Authenticate recognises a caller by the token of a login or of the API, and returns who is acting with all rights of this moment.
// login is nil for an API token. Both are shared: read them only. An unknown, ended or expired token is unauthenticated.
//
// A login with MustChange or MustEnrol is recognised without any rights.
func (g *Gate) Authenticate(ctx context.Context, token string) (*actor.Actor, *Login, error) {
	now := g.db.Clock.Now()
	e, err := g.caller(ctx, token, now)
	if err != nil {
		return nil, nil, err
	}
	g.touch(ctx, e, now)
	return e.actor, e.login, nil
}

// Peek is Authenticate that does not count as use of the login. A stream that stays open asks with it who is there still: an open page alone keeps
// nobody signed in.
func (g *Gate) Peek(ctx context.Context, token string) (*actor.Actor, *Login, error) {
	e, err := g.caller(ctx, token, g.db.Clock.Now())
	if err != nil {
		return nil, nil, err
	}
	return e.actor, e.login, nil
}

// caller is who has the token, from memory where nothing has changed.
func (g *Gate) caller(ctx context.Context, token string, now time.Time) (*entry, error) {
	if err := g.feed.Check(ctx); err != nil {
		return nil, err
	}
	if err := g.org.Check(ctx); err != nil {
		return nil, err
	}
	key := sha256.Sum256([]byte(token))
	g.mu.RLock()
	e := g.known[key]
	g.mu.RUnlock()
	// An idle login may have been busy at another process: only the database knows.
	if e == nil || !now.Before(e.until) || e.idle > 0 && now.UnixMilli()-e.seen.Load() > e.idle.Milliseconds() {
		return g.recognise(ctx, key, token, now)
	}
	return e, nil
}

// touch remembers that the login is in use.
func (g *Gate) touch(ctx context.Context, e *entry, now time.Time) {
	ms := now.UnixMilli()
	e.seen.Store(ms)
	written := e.written.Load()
	if ms-written < seenEvery.Milliseconds() || !e.written.CompareAndSwap(written, ms) {
		return
	}
	if err := g.db.Tx(ctx, func(ctx context.Context) error {
		_, err := g.db.Conn(ctx).NewRaw("UPDATE access_login SET last_seen = ? WHERE id = ? AND last_seen < ?", now, e.loginID, now).Exec(ctx)
		return err
	}); err != nil && ctx.Err() == nil {
		// Reading must go on when the disk is full; the login may at worst be thought idle a little early by another process.
		slog.WarnContext(ctx, "access: last use of a login not stored", "login", e.loginID, "err", err)
	}
}

// recognise reads a login and builds its actor.
func (g *Gate) recognise(ctx context.Context, key [sha256.Size]byte, token string, now time.Time) (*entry, error) {
	generation := g.generation.Load() // before reading: what is forgotten from here on is not remembered
	c, err := g.catalogueNow(ctx)
	if err != nil {
		return nil, err
	}
	var row loginRow
	err = g.db.Conn(ctx).NewSelect().Model(&row).Where("l.hash = ?", hex.EncodeToString(key[:])).Scan(ctx)
	if errors.Is(err, db.ErrNoRows) || err == nil && !now.Before(row.ExpiresAt) {
		return nil, errSignInFirst
	}
	if err != nil {
		return nil, err
	}
	a, err := g.account(ctx, row.AccountID)
	if err != nil {
		return nil, err
	}
	if a.State != Active {
		return nil, errSignInFirst
	}
	e := &entry{loginID: row.ID, account: a.ID, person: a.PersonID, until: row.ExpiresAt}
	if midnight := clock.Day(now).AddDate(0, 0, 1); midnight.Before(e.until) {
		e.until = midnight
	}
	e.seen.Store(row.LastSeen.UnixMilli())
	e.written.Store(row.LastSeen.UnixMilli())
	if row.Kind == tokenKind {
		e.actor, err = g.tokenActor(ctx, c, a, &row, now)
	} else {
		settings := c.settings(now)
		e.idle = settings.idle()
		if now.Sub(row.LastSeen) > e.idle {
			return nil, errors.Join(errIdle, g.timeOut(a.as(ctx), a, row.ID))
		}
		l := row.login()
		l.Current, l.CSRF = true, csrfOf(token)
		e.login = &l
		e.actor, err = g.personActor(ctx, c, a, e.login, now)
	}
	if err != nil {
		return nil, err
	}
	g.remember(key, e, generation, now)
	return e, nil
}

// timeOut ends a login that was idle for too long: longer hours that are set later shall not bring it back.
func (g *Gate) timeOut(ctx context.Context, a *Account, login string) error {
	return g.edit(ctx, loginSubject+login, func(ctx context.Context) error {
		if n, err := g.endRow(ctx, login, a.ID); err != nil || n == 0 {
			return err
		}
		return g.note(ctx, a, "access.timedOut", "超时退出", map[string]any{"login": login})
	})
}

// personActor is the actor of a session, and says in l what has to be done first.
func (g *Gate) personActor(ctx context.Context, c *catalogue, a *Account, l *Login, now time.Time) (*actor.Actor, error) {
	grants, needOTP, err := g.grants(ctx, c, a, now)
	if err != nil {
		return nil, err
	}
	settings := c.settings(now)
	l.MustChange = a.MustChange || settings.expired(a.PasswordAt, now)
	l.MustEnrol = !a.OTPOn && (needOTP || a.Admin != "" && settings.AdminOTP)
	who := &actor.Actor{Kind: actor.Person, ID: a.ID, Name: a.Title, LoginID: l.ID}
	if !l.MustChange && !l.MustEnrol {
		who.Admin, who.Grants = a.Admin, grants
	}
	return who, nil
}

// grants are an account's rights at a moment: an administrator's fixed set, or what the posts of its person give. needOTP: a role
// asks for one-time passwords.
func (g *Gate) grants(ctx context.Context, c *catalogue, a *Account, now time.Time) (grants []actor.Grant, needOTP bool, err error) {
	if a.Admin != "" {
		return []actor.Grant{{Role: "admin." + a.Admin, UnitName: adminTitles[a.Admin], Permissions: g.adminSet(a.Admin)}}, false, nil
	}
	if a.PersonID == "" {
		return nil, false, nil
	}
	posts, err := g.org.PostsOf(ctx, a.PersonID, now)
	if err != nil {
		return nil, false, err
	}
	divisions, err := g.org.Divisions(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, p := range posts {
		role := c.roles[p.Role]
		if role == nil {
			continue
		}
		needOTP = needOTP || role.NeedOTP
		if gr, ok := g.grantOf(&p, role, divisions, now); ok {
			grants = append(grants, gr)
		}
	}
	return grants, needOTP, nil
}

// grantOf is what one post gives. It gives nothing to a line regulator whose department supervises no line.
func (g *Gate) grantOf(p *org.Held, role *Role, divisions *org.Divisions, now time.Time) (actor.Grant, bool) {
	gr := actor.Grant{Role: p.Role, PostID: p.ID, Unit: p.UnitID, UnitName: p.UnitName}
	for _, key := range role.Permissions { // sorted
		if known, ok := g.permission(key); ok && !known.reserved() {
			gr.Permissions = append(gr.Permissions, key)
		}
	}
	switch p.UnitKind {
	case org.UnitEnterprise:
		gr.Enterprise = p.EnterpriseID
		return gr, gr.Enterprise != "" // an empty one would mean: no limit to one enterprise
	case org.UnitDepartment, org.UnitVillage:
		if !p.AllLines {
			if gr.Lines = p.Lines; len(gr.Lines) == 0 {
				return gr, false // no lines would mean: all lines
			}
		}
		for _, code := range p.Divisions {
			for _, reached := range divisions.Reach(divisions.Renumbered(code, now), now) {
				if !slices.Contains(gr.Divisions, reached) {
					gr.Divisions = append(gr.Divisions, reached)
				}
			}
		}
		gr.Grids = p.Grids
	}
	return gr, true
}

// remember holds a recognised caller, unless something was forgotten while it was being read.
func (g *Gate) remember(key [sha256.Size]byte, e *entry, generation int64, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.generation.Load() != generation {
		return
	}
	g.known[key] = e
	if len(g.known) > g.sweepAt {
		for k, o := range g.known {
			if !now.Before(o.until) || o.idle > 0 && now.UnixMilli()-o.seen.Load() > o.idle.Milliseconds() {
				delete(g.known, k)
			}
		}
		g.sweepAt = max(minSweep, 2*len(g.known))
	}
}

// forget drops the callers that match.
func (g *Gate) forget(match func(e *entry) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.generation.Add(1)
	for k, e := range g.known {
		if match(e) {
			delete(g.known, k)
		}
	}
}

// hear is told what was edited here.
func (g *Gate) hear(subject string) {
	if id, ok := strings.CutPrefix(subject, accountSubject); ok {
		g.forget(func(e *entry) bool { return e.account == id })
		return
	}
	if id, ok := strings.CutPrefix(subject, loginSubject); ok {
		g.forget(func(e *entry) bool { return e.loginID == id })
		return
	}
	g.mu.Lock()
	g.catalogue = nil
	g.mu.Unlock()
	g.forget(func(*entry) bool { return true })
}

// hearOrg is told what was edited in the organisation.
func (g *Gate) hearOrg(subject string) {
	if id, ok := strings.CutPrefix(subject, org.PersonChanged("")); ok {
		g.forget(func(e *entry) bool { return e.person == id })
		return
	}
	g.forget(func(*entry) bool { return true })
}

// SignOut ends the login that ctx acts in. Without one it does nothing.
func (g *Gate) SignOut(ctx context.Context) error {
	who := actor.From(ctx)
	if who.LoginID == "" {
		return nil
	}
	return g.edit(ctx, loginSubject+who.LoginID, func(ctx context.Context) error {
		n, err := g.endRow(ctx, who.LoginID, who.ID)
		if err != nil || n == 0 {
			return err
		}
		return g.noteOf(ctx, who.ID, "access.signedOut", "退出登录", map[string]any{"login": who.LoginID})
	})
}

// Logins lists the open logins of the account that is signed in, the newest first.
func (g *Gate) Logins(ctx context.Context) ([]Login, error) {
	a, err := g.self(ctx)
	if err != nil {
		return nil, err
	}
	return g.loginsOf(ctx, a.ID)
}

// LoginsOf lists the open logins of an account, the newest first. It asks for the security administrator.
func (g *Gate) LoginsOf(ctx context.Context, accountID string) ([]Login, error) {
	if err := org.Need(ctx, manageLogins); err != nil {
		return nil, err
	}
	return g.loginsOf(ctx, accountID)
}

func (g *Gate) loginsOf(ctx context.Context, accountID string) ([]Login, error) {
	settings, err := g.Settings(ctx)
	if err != nil {
		return nil, err
	}
	now := g.db.Clock.Now()
	var rows []loginRow
	if err := g.db.Conn(ctx).NewSelect().Model(&rows).Where("l.account_id = ? AND l.kind = ? AND l.expires_at > ? AND l.last_seen >= ?",
		accountID, sessionKind, now, now.Add(-settings.idle())).Order("l.created_at DESC", "l.id DESC").Limit(200).Scan(ctx); err != nil {
		return nil, err
	}
	logins := make([]Login, len(rows))
	for i := range rows {
		logins[i] = rows[i].login()
		logins[i].Current = rows[i].ID == actor.From(ctx).LoginID
	}
	return logins, nil
}

// EndLogin ends a login: one's own, or anybody's for the security administrator. Another's login is not found.
func (g *Gate) EndLogin(ctx context.Context, id string) error {
	owner, err := ownUnless(ctx, manageLogins)
	if err != nil {
		return err
	}
	return g.edit(ctx, loginSubject+id, func(ctx context.Context) error {
		var accounts []string
		if err := g.db.Conn(ctx).NewRaw("SELECT account_id FROM access_login WHERE id = ? AND kind = ?", id, sessionKind).Scan(ctx, &accounts); err != nil {
			return err
		}
		if len(accounts) == 0 || owner != "" && accounts[0] != owner {
			return errs.NotFound("access.noLogin", "该登录不存在或已结束。")
		}
		if _, err := g.endRow(ctx, id, accounts[0]); err != nil {
			return err
		}
		return g.noteOf(ctx, accounts[0], "access.loginEnded", "结束登录", map[string]any{"login": id})
	})
}

// EndOthers ends all of one's own logins but the present one, and returns how many.
func (g *Gate) EndOthers(ctx context.Context) (int, error) {
	a, err := g.self(ctx)
	if err != nil {
		return 0, err
	}
	return g.endAll(ctx, a.ID, actor.From(ctx).LoginID)
}

// EndLogins ends all logins of an account and returns how many. It asks for the security administrator.
func (g *Gate) EndLogins(ctx context.Context, accountID string) (int, error) {
	if err := org.Need(ctx, manageLogins); err != nil {
		return 0, err
	}
	return g.endAll(ctx, accountID, "")
}

func (g *Gate) endAll(ctx context.Context, accountID, keep string) (n int, err error) {
	err = g.edit(ctx, accountSubject+accountID, func(ctx context.Context) error {
		if n, err = g.endRows(ctx, accountID, keep); err != nil {
			return err
		}
		return g.noteOf(ctx, accountID, "access.loginEnded", "结束登录", map[string]any{"logins": n})
	})
	return n, err
}

// noteOf writes a log entry about the account with the id.
func (g *Gate) noteOf(ctx context.Context, accountID, kind, title string, data map[string]any) error {
	a, err := g.account(ctx, accountID)
	if err != nil {
		return err
	}
	return g.note(ctx, a, kind, title, data)
}

// endSessions ends the sessions of an account but keep, in an edit that has published the account.
func (g *Gate) endSessions(ctx context.Context, accountID, keep string) error {
	_, err := g.endRows(ctx, accountID, keep)
	return err
}

func (g *Gate) endRows(ctx context.Context, accountID, keep string) (int, error) {
	res, err := g.db.Conn(ctx).NewRaw("DELETE FROM access_login WHERE account_id = ? AND kind = ? AND id <> ?", accountID, sessionKind, keep).Exec(ctx)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

func (g *Gate) endRow(ctx context.Context, id, accountID string) (int64, error) {
	res, err := g.db.Conn(ctx).NewRaw("DELETE FROM access_login WHERE id = ? AND account_id = ?", id, accountID).Exec(ctx)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}
