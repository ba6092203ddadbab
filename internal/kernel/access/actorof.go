package access

import (
	"context"

	"anwang/internal/kernel/actor"
)

// ActorOf returns who the account with the login name is today, with the rights that a sign-in would give it now, and without a login. It is for what the program does in
// somebody's name on the server, such as building the demo county; it asks for the system. An account that may not sign in is refused.
func (g *Gate) ActorOf(ctx context.Context, name string) (*actor.Actor, error) {
	if err := mustBeSystem(ctx); err != nil {
		return nil, err
	}
	a, err := g.named(ctx, name)
	if err != nil {
		return nil, err
	}
	if a.State != Active {
		return nil, errNotActive
	}
	c, err := g.catalogueNow(ctx)
	if err != nil {
		return nil, err
	}
	grants, _, err := g.grants(ctx, c, a, g.db.Clock.Now())
	if err != nil {
		return nil, err
	}
	return &actor.Actor{Kind: actor.Person, ID: a.ID, Name: a.Title, Admin: a.Admin, Grants: grants}, nil
}
