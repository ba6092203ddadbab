package access

import (
	"context"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/scope"
)

// Holder is an account whose holder answers for a place in some role.
type Holder struct {
	Account string
	Name    string
	Role    string
}

// Holders lists the active accounts that hold the permission at the place by a post with one of the roles: those who have to be told of something there, each once. It is for
// the program's own work and asks for no permission.
func (g *Gate) Holders(ctx context.Context, permission string, place scope.Place, roles ...string) ([]Holder, error) {
	now := g.db.Clock.Now()
	posts, err := g.org.Holding(ctx, roles, now)
	if err != nil || len(posts) == 0 {
		return nil, err
	}
	c, err := g.catalogueNow(ctx)
	if err != nil {
		return nil, err
	}
	divisions, err := g.org.Divisions(ctx)
	if err != nil {
		return nil, err
	}
	roleOf := map[string]string{} // by person
	var people []string
	for i := range posts {
		p := &posts[i]
		role := c.roles[p.Role]
		if role == nil || roleOf[p.PersonID] != "" {
			continue
		}
		grant, ok := g.grantOf(p, role, divisions, now)
		who := actor.With(ctx, &actor.Actor{Kind: actor.Person, Grants: []actor.Grant{grant}})
		if ok && scope.For(who, permission).Sees(place) {
			roleOf[p.PersonID] = p.Role
			people = append(people, p.PersonID)
		}
	}
	if len(people) == 0 {
		return nil, nil
	}
	accounts, err := g.accounts.Find(ctx, everyone(), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.person_id IN (?) AND r.state = ? AND r.admin = ''", bun.List(people), Active).Order("r.name")
	})
	if err != nil {
		return nil, err
	}
	out := make([]Holder, len(accounts))
	for i, a := range accounts {
		out[i] = Holder{a.ID, a.Title, roleOf[a.PersonID]}
	}
	return out, nil
}
