// Package actor says who is acting. The actor travels in the context, from the door (a login, an API token, a job) to the
// audit log, and nothing in between can change it.
package actor

import (
	"context"
	"slices"
)

// Kind is the sort of actor.
type Kind string

// The kinds of actor.
const (
	Nobody Kind = "nobody" // not signed in
	Person Kind = "person" // a person's login
	Token  Kind = "token"  // a machine with an API token
	System Kind = "system" // the program itself: a job, an event handler, a migration
)

// Grant is one post's worth of rights: what may be done, and where. A person who holds two posts has two grants, and the
// rights of one never reach into the territory of the other.
type Grant struct {
	Role        string   // the role that gave it, for display
	PostID      string   // the post that gave it, empty for a token
	Unit        string   // the department or enterprise in whose name the holder acts, by id
	UnitName    string   // its name, as it is written into the log
	Permissions []string // sorted
	Divisions   []string // 12-digit codes; the grant reaches everything below them. Empty: no territory at all
	Lines       []string // supervised industries (行业领域); empty: all lines
	Enterprise  string   // set: only this enterprise's records, wherever they lie
	Grids       []string // set: the grids that the holder patrols
}

// Actor is who is acting. Treat it as read-only.
type Actor struct {
	Kind    Kind
	ID      string // account id, token id, or the name of the system part
	Name    string // as written into the log
	Admin   string // "system", "security" or "audit" for one of the three administrators, else empty
	LoginID string // the login session, for ending one's own logins
	Grants  []Grant
}

// Can reports whether the actor holds the permission anywhere at all. Where it reaches is scope's business.
func (a *Actor) Can(permission string) bool {
	if a.Kind == System {
		return true
	}
	for i := range a.Grants {
		if a.Grants[i].Has(permission) {
			return true
		}
	}
	return false
}

// Has reports whether the grant includes the permission.
func (g *Grant) Has(permission string) bool {
	_, ok := slices.BinarySearch(g.Permissions, permission)
	return ok
}

// Permissions lists what the actor may do anywhere, sorted, each once.
func (a *Actor) Permissions() []string {
	var all []string
	for _, g := range a.Grants {
		all = append(all, g.Permissions...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

type key struct{}

var nobody = &Actor{Kind: Nobody}

// With returns a context in which a is acting.
func With(ctx context.Context, a *Actor) context.Context { return context.WithValue(ctx, key{}, a) }

// AsSystem returns a context in which a part of the program is acting; name is written into the log ("deadline").
func AsSystem(ctx context.Context, name string) context.Context {
	return With(ctx, &Actor{Kind: System, ID: name, Name: "系统（" + name + "）"})
}

// From returns who is acting. It is never nil: without a login it is Nobody, who may do nothing.
func From(ctx context.Context) *Actor {
	if a, ok := ctx.Value(key{}).(*Actor); ok {
		return a
	}
	return nobody
}

type requestKey struct{}

// Request is the request that the actor makes.
type Request struct {
	ID     string // request id, also in the log and in the reply
	Client string // the caller's network address; written into sign-in entries only
}

// WithRequest returns a context that carries the request.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// RequestFrom returns the request that ctx serves, empty for the program's own work.
func RequestFrom(ctx context.Context) Request {
	r, _ := ctx.Value(requestKey{}).(Request)
	return r
}
