package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
)

// TokenPrefix begins every API token, so that one that leaked into a repository or a log is recognised for what it is.
const TokenPrefix = "aw_"

// The states of an API token.
const (
	Pending  = "pending" // waits for the security administrator
	Approved = "approved"
	Revoked  = "revoked"
)

const maxTokenLife = 366 * 24 * time.Hour

// Token lets a machine act with part of the rights of the account that asked for it. At every use its rights are what both allow: its own limits, and
// what the account may do at that moment.
type Token struct {
	bun.BaseModel `bun:"table:access_token,alias:r" json:"-"`
	record.Head

	AccountID    string        `bun:"account_id" json:"accountId"`
	Name         string        `bun:"name" json:"name" doc:"用途"`
	Permissions  []string      `bun:"permissions,type:text" json:"permissions"`
	Divisions    []string      `bun:"divisions,type:text" json:"divisions" doc:"空表示与申请人相同"`
	Lines        []string      `bun:"lines,type:text" json:"lines" doc:"空表示与申请人相同"`
	EnterpriseID string        `bun:"enterprise_id" json:"enterpriseId" doc:"空表示与申请人相同"`
	State        string        `bun:"state" json:"state" enum:"pending,approved,revoked"`
	Hash         record.Secret `bun:"hash" json:"hash"`
	ExpiresAt    time.Time     `bun:"expires_at" json:"expiresAt"`
}

// TokenView is an API token as people see it.
type TokenView struct {
	ID           string     `json:"id"`
	Version      int64      `json:"version"`
	AccountID    string     `json:"accountId" doc:"申请人的账号"`
	Name         string     `json:"name" doc:"用途"`
	Permissions  []string   `json:"permissions"`
	Divisions    []string   `json:"divisions" doc:"空表示与申请人相同"`
	Lines        []string   `json:"lines" doc:"空表示与申请人相同"`
	EnterpriseID string     `json:"enterpriseId" doc:"空表示与申请人相同"`
	State        string     `json:"state" enum:"pending,approved,revoked"`
	CreatedAt    time.Time  `json:"createdAt"`
	ExpiresAt    time.Time  `json:"expiresAt"`
	LastUsed     *time.Time `json:"lastUsed,omitempty" doc:"最近使用，精确到分钟"`
}

func (t *Token) view() *TokenView {
	return &TokenView{ID: t.ID, Version: t.Version, AccountID: t.AccountID, Name: t.Name, Permissions: t.Permissions, Divisions: t.Divisions,
		Lines: t.Lines, EnterpriseID: t.EnterpriseID, State: t.State, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt}
}

// TokenInput asks for an API token.
type TokenInput struct {
	Name         string    `json:"name" minLength:"1" maxLength:"100" doc:"用途，如 与省平台数据交换"`
	Permissions  []string  `json:"permissions" minItems:"1" maxItems:"500" doc:"不超出本人权限"`
	Divisions    []string  `json:"divisions,omitempty" maxItems:"100" doc:"不超出本人管辖区划，空表示相同"`
	Lines        []string  `json:"lines,omitempty" maxItems:"50" doc:"不超出本人监管行业，空表示相同"`
	EnterpriseID string    `json:"enterpriseId,omitempty" doc:"企业人员只能是本企业"`
	ExpiresAt    time.Time `json:"expiresAt" doc:"失效时间，最长一年"`
}

// RequestToken asks for an API token with part of one's own rights, and returns it. It is shown once, and works after the security
// administrator has approved it: who approves never sees it, who has it cannot approve it. It asks for RequestTokens.
func (g *Gate) RequestToken(ctx context.Context, in TokenInput) (*TokenView, string, error) {
	who := actor.From(ctx)
	if err := org.Need(ctx, RequestTokens); err != nil {
		return nil, "", err
	}
	if who.Kind != actor.Person {
		return nil, "", errs.Forbidden("access.tokenPerson", "接口令牌只能由人申请。")
	}
	now := g.db.Clock.Now()
	var wrong []errs.Field
	add := func(pointer, message string) { wrong = append(wrong, errs.Field{Pointer: pointer, Message: message}) }
	if strings.TrimSpace(in.Name) == "" {
		add("/name", "请填写用途。")
	}
	if !in.ExpiresAt.After(now) || in.ExpiresAt.After(now.Add(maxTokenLife)) {
		add("/expiresAt", "应在今后一年之内。")
	}
	if len(in.Permissions) == 0 {
		add("/permissions", "请至少选择一项权限。")
	}
	t := &Token{AccountID: who.ID, Name: strings.TrimSpace(in.Name), Permissions: sorted(in.Permissions), Divisions: sorted(in.Divisions),
		Lines: sorted(in.Lines), EnterpriseID: in.EnterpriseID, State: Pending, ExpiresAt: in.ExpiresAt.UTC().Truncate(time.Millisecond)}
	// Each limit must lie within what the applicant may do, so that nobody approves more than the token can ever give.
	for i, p := range in.Permissions {
		if known, ok := g.permission(p); !ok || known.reserved() || !who.Can(p) {
			add(fmt.Sprintf("/permissions/%d", i), "您没有这项权限。")
		}
	}
	within := func(match func(g *actor.Grant) bool) bool {
		return slices.ContainsFunc(who.Grants, func(g actor.Grant) bool { return match(&g) })
	}
	for i, code := range in.Divisions {
		if !within(func(g *actor.Grant) bool { return g.Enterprise == "" && coveredBy(code, g.Divisions) }) {
			add(fmt.Sprintf("/divisions/%d", i), "不在您的管辖范围内。")
		}
	}
	for i, line := range in.Lines {
		if !within(func(g *actor.Grant) bool {
			return g.Enterprise == "" && (len(g.Lines) == 0 || slices.Contains(g.Lines, line))
		}) {
			add(fmt.Sprintf("/lines/%d", i), "不是您监管的行业领域。")
		}
	}
	if in.EnterpriseID != "" && !within(func(g *actor.Grant) bool { return g.Enterprise == in.EnterpriseID }) {
		add("/enterpriseId", "只能是您任职的企业。")
	}
	if len(wrong) > 0 {
		return nil, "", errs.Invalid("access.token", "填写有误，请按各栏提示修改。", wrong...)
	}
	secret, key := newToken(TokenPrefix)
	t.Hash = record.Secret(key)
	if err := g.db.Tx(ctx, func(ctx context.Context) error {
		return g.tokens.Insert(ctx, t, record.Change{Fact: "access.tokenRequested", Title: "申请接口令牌", Data: in})
	}); err != nil {
		return nil, "", err
	}
	return t.view(), secret, nil
}

// ApproveToken puts an API token into force. It asks for the security administrator.
func (g *Gate) ApproveToken(ctx context.Context, id string, version int64) (*TokenView, error) {
	if err := org.Need(ctx, manageTokens); err != nil {
		return nil, err
	}
	return g.changeToken(ctx, id, version, "", record.Change{Fact: "access.tokenApproved", Title: "批准接口令牌"}, func(ctx context.Context, t *Token) error {
		now := g.db.Clock.Now()
		if t.State != Pending || !t.ExpiresAt.After(now) {
			return errs.Conflict("access.tokenState", "只能批准待批且未过期的令牌，请申请人重新申请。")
		}
		t.State = Approved
		_, err := g.db.Conn(ctx).NewInsert().Model(&loginRow{ID: t.ID, Kind: tokenKind, AccountID: t.AccountID, Hash: string(t.Hash),
			CreatedAt: now, LastSeen: never, ExpiresAt: t.ExpiresAt}).Exec(ctx)
		return err
	})
}

// RevokeToken ends an API token: one's own, or anybody's for the security administrator.
func (g *Gate) RevokeToken(ctx context.Context, id string, version int64) (*TokenView, error) {
	owner, err := ownUnless(ctx, manageTokens)
	if err != nil {
		return nil, err
	}
	return g.changeToken(ctx, id, version, owner, record.Change{Fact: "access.tokenRevoked", Title: "吊销接口令牌"}, func(ctx context.Context, t *Token) error {
		if t.State == Revoked {
			return errs.Conflict("access.tokenState", "该令牌已吊销。")
		}
		t.State = Revoked
		_, err := g.endRow(ctx, t.ID, t.AccountID)
		return err
	})
}

// changeToken edits a token that the caller read at version, and that belongs to owner unless that is empty.
func (g *Gate) changeToken(ctx context.Context, id string, version int64, owner string, c record.Change, fn func(ctx context.Context, t *Token) error) (*TokenView, error) {
	var t *Token
	err := g.edit(ctx, loginSubject+id, func(ctx context.Context) (err error) {
		if t, err = g.tokens.Load(ctx, scope.All("the use case has checked whose token it is"), id); err != nil {
			return err
		}
		if owner != "" && t.AccountID != owner {
			return g.tokens.Type.NotFound()
		}
		if err := g.tokens.CheckVersion(t, version); err != nil {
			return err
		}
		if err := fn(ctx, t); err != nil {
			return err
		}
		return g.tokens.Update(ctx, t, c)
	})
	if err != nil {
		return nil, err
	}
	return t.view(), nil
}

// Tokens lists one's own API tokens, or everybody's for the security administrator, the newest first.
func (g *Gate) Tokens(ctx context.Context) ([]*TokenView, error) {
	owner, err := ownUnless(ctx, manageTokens)
	if err != nil {
		return nil, err
	}
	rows, err := g.tokens.Find(ctx, scope.All("limited to the owner below"), func(q *bun.SelectQuery) *bun.SelectQuery {
		if owner != "" {
			q = q.Where("r.account_id = ?", owner)
		}
		return q.Order("r.created_at DESC", "r.id DESC").Limit(500)
	})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	views := make([]*TokenView, len(rows))
	ids := make([]string, len(rows))
	for i, t := range rows {
		views[i], ids[i] = t.view(), t.ID
	}
	var used []loginRow
	if err := g.db.Conn(ctx).NewSelect().Model(&used).Where("l.id IN (?) AND l.last_seen > ?", bun.List(ids), never).Scan(ctx); err != nil {
		return nil, err
	}
	for i := range used {
		views[slices.Index(ids, used[i].ID)].LastUsed = &used[i].LastSeen
	}
	return views, nil
}

// ownUnless is the account to which a use case is limited: the one that is signed in, or none for whoever holds the permission over all.
func ownUnless(ctx context.Context, permission string) (owner string, err error) {
	err = org.Need(ctx, permission)
	if who := actor.From(ctx); err != nil && who.Kind == actor.Person {
		return who.ID, nil
	}
	return "", err
}

// tokenActor is the actor of an API token: what the token's limits leave of its account's rights of now.
func (g *Gate) tokenActor(ctx context.Context, c *catalogue, a *Account, row *loginRow, now time.Time) (*actor.Actor, error) {
	t, err := g.tokens.Load(ctx, scope.All("whoever has the token may act by it"), row.ID)
	if err != nil {
		return nil, err
	}
	// access_login is bookkeeping that the log does not cover; the record is covered, so the hash must be its own.
	if t.State != Approved || string(t.Hash) != row.Hash || t.AccountID != a.ID || a.Admin != "" {
		return nil, errSignInFirst
	}
	grants, _, err := g.grants(ctx, c, a, now)
	if err != nil {
		return nil, err
	}
	who := &actor.Actor{Kind: actor.Token, ID: t.ID, Name: "接口令牌（" + t.Name + "，" + a.Title + "）"}
	for _, gr := range grants {
		if limited, ok := t.limit(gr); ok {
			who.Grants = append(who.Grants, limited)
		}
	}
	return who, nil
}

// limit is what the token leaves of a grant; nothing when one of its limits leaves nothing.
func (t *Token) limit(gr actor.Grant) (actor.Grant, bool) {
	out := gr
	out.Permissions = common(gr.Permissions, t.Permissions)
	if len(out.Permissions) == 0 || t.EnterpriseID != "" && gr.Enterprise != t.EnterpriseID {
		return out, false
	}
	if gr.Enterprise != "" {
		return out, len(t.Divisions) == 0 && len(t.Lines) == 0 // limits of territory leave nothing of an enterprise's rights
	}
	if len(t.Divisions) > 0 {
		out.Divisions = nil
		for _, code := range t.Divisions {
			if coveredBy(code, gr.Divisions) {
				out.Divisions = append(out.Divisions, code)
			}
		}
		for _, code := range gr.Divisions {
			if coveredBy(code, t.Divisions) && !slices.Contains(out.Divisions, code) {
				out.Divisions = append(out.Divisions, code)
			}
		}
		if len(out.Divisions) == 0 {
			return out, false
		}
	}
	switch {
	case len(t.Lines) == 0:
	case len(gr.Lines) == 0:
		out.Lines = t.Lines
	default:
		if out.Lines = common(gr.Lines, t.Lines); len(out.Lines) == 0 {
			return out, false // no lines would mean: all lines
		}
	}
	return out, true
}

// coveredBy reports whether the division is, or lies in, one of the list.
func coveredBy(code string, list []string) bool {
	return slices.ContainsFunc(list, func(above string) bool {
		return above == scope.Nation || gbcode.Division(code).IsUnder(gbcode.Division(above))
	})
}

// common are the elements of the sorted list a that are also in b.
func common(a, b []string) []string {
	var out []string
	for _, s := range a {
		if slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}

// sorted is a sorted copy of list, each element once; never nil, so that its JSON is [] everywhere.
func sorted(list []string) []string {
	out := append([]string{}, list...)
	slices.Sort(out)
	return slices.Compact(out)
}
