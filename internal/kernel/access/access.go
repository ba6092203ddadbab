// Package access says who may come in and with which rights: accounts, sign-in, logins, API tokens, roles.
//
// # From an account to rights
//
// An account is bound to a person of kernel/org. At every sign-in and after every edit the rights are built anew from the posts that the person holds
// that day: the post's role says what may be done, the post itself says where (see [Gate.Authenticate]). Rights are nowhere stored, so that none can
// be left over.
//
// # The three administrators 三员
//
// GB/T 22239-2019 level 3 parts the keeping of the system, of its permissions and of its log (handbook 18.1). An account has one
// field admin with one value, so none can hold two of the three. An administrator's account holds that fixed set of permissions and
// nothing else: its person may hold no post, checked when a post is given and when an account is bound, both behind a lock on the
// person; and even a post that got past both would not be looked at. Who creates an account or resets a password (system) cannot use
// it before the other one (security) has enabled it.
//
// # Sign-in
//
// Attempts are counted before the password is tried, by the name as typed whether it exists or not, so that parallel guesses cannot outrun the
// lock and unknown names behave like known ones: same answer, same lock, one Argon2 computation. At most a few passwords are hashed at once.
//
// # Logins and API tokens
//
// Only the SHA-256 of a token is stored. Resolved actors are held in memory; kernel/org/changes makes an edit count at once in the process
// that made it and within a second in all others.
//
// # Known weaknesses
//
// Anybody can lock an account out for some minutes by typing wrong passwords; the address limit only slows that down. Whoever can run
// `anwang user` on the server stands above the two-person rule; the log shows it.
package access

import (
	"context"
	"crypto/sha256"
	"embed"
	"sync"
	"sync/atomic"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/org/changes"
	"anwang/internal/kernel/record"
	"anwang/internal/lib/gm"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the tables of access.
var Migrations = db.Migrations{Part: "access", Files: files}

// Gate is the way into one installation. It is safe for concurrent use.
type Gate struct {
	db   *db.DB
	log  *audit.Log
	org  *org.Directory
	seal *gm.Sealer
	feed *changes.Feed

	accounts *record.Store[Account, *Account]
	roles    *record.Store[Role, *Role]
	rules    *record.Store[Rules, *Rules]
	tokens   *record.Store[Token, *Token]

	permissions []Permission // by key
	hash        *hasher
	turns       [64]chan struct{} // one sign-in at a time for one name

	mu         sync.RWMutex
	generation atomic.Int64                 // grows with every forgetting; written under mu
	known      map[[sha256.Size]byte]*entry // by hash of the token
	sweepAt    int                          // size of known at which the outdated are thrown out
	catalogue  *catalogue                   // roles and rules in memory, nil when to be read
}

// New returns the gate of the installation in d. seal encrypts the seeds of one-time passwords. New makes dir refuse posts for administrators.
func New(d *db.DB, log *audit.Log, reg *record.Registry, dir *org.Directory, seal *gm.Sealer) *Gate {
	g := &Gate{db: d, log: log, org: dir, seal: seal, feed: changes.New(d, "access"),
		accounts: record.NewStore[Account](d, log, reg, record.Type{Name: "access.account", Title: "账号"}),
		roles:    record.NewStore[Role](d, log, reg, record.Type{Name: "access.role", Title: "角色"}),
		rules:    record.NewStore[Rules](d, log, reg, record.Type{Name: "access.rules", Title: "登录与密码规则"}),
		tokens:   record.NewStore[Token](d, log, reg, record.Type{Name: "access.token", Title: "接口令牌"}),
		hash:     newHasher(),
		known:    map[[sha256.Size]byte]*entry{},
		sweepAt:  minSweep,
	}
	for i := range g.turns {
		g.turns[i] = make(chan struct{}, 1)
	}
	g.DeclarePermissions(ownPermissions...)
	g.feed.Follow(g.hear)
	dir.Follow(g.hearOrg)
	dir.GuardPosts(g.guardPost)
	return g
}

// The subjects of the feed.
const (
	accountSubject = "account/"
	loginSubject   = "login/"
	rulesSubject   = "rules" // roles, permissions, settings: everybody's rights
)

// edit runs a use case that changes accounts or rights: one transaction that begins by publishing the subjects. Edits of access wait for each other
// there, so that a rule over several rows holds.
func (g *Gate) edit(ctx context.Context, subject string, fn func(ctx context.Context) error) error {
	return g.db.Tx(ctx, func(ctx context.Context) error {
		if err := g.feed.Publish(ctx, subject); err != nil {
			return err
		}
		return fn(ctx)
	})
}

// note writes a log entry about an account, in ctx's transaction.
func (g *Gate) note(ctx context.Context, a *Account, kind, title string, data map[string]any) error {
	e := audit.Entry{Kind: kind, Title: title, Data: data}
	if a != nil {
		e.RecordType, e.RecordID, e.Version = g.accounts.Type.Name, a.ID, a.Version
	}
	return g.log.Append(ctx, e)
}

// as is ctx with the account acting: sign-in and sign-out are its own acts.
func (a *Account) as(ctx context.Context) context.Context {
	return actor.With(ctx, &actor.Actor{Kind: actor.Person, ID: a.ID, Name: a.Title, Admin: a.Admin})
}

// self returns the account that acts in ctx. A token, the program and nobody have none.
func (g *Gate) self(ctx context.Context) (*Account, error) {
	who := actor.From(ctx)
	if who.Kind != actor.Person {
		return nil, errs.Unauthenticated("access.signInFirst", "请先用账号和密码登录。")
	}
	return g.account(ctx, who.ID)
}
