package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/org"
)

const (
	demoCounty = "341722000000"
	demoPark   = "341722401000"
	demoSince  = "2024-01-01" // since when the people hold their posts
)

// demoTown is a town of the county with the rough place of its seat.
type demoTown struct {
	code, name string
	lon, lat   float64
	weight     int    // of enterprises, in percent
	station    string // account of its safety station
	villages   []string
}

func demoTowns() []*demoTown {
	return []*demoTown{
		{code: "341722100000", name: "仁里", lon: 117.482, lat: 30.210, weight: 28, station: "town"},
		{code: "341722101000", name: "七都", lon: 117.720, lat: 30.300, weight: 14, station: "town2"},
		{code: "341722102000", name: "仙寓", lon: 117.330, lat: 30.060, weight: 12, station: "town3"},
		{code: "341722103000", name: "丁香", lon: 117.620, lat: 30.230, weight: 11, station: "town4"},
		{code: "341722104000", name: "小河", lon: 117.350, lat: 30.280, weight: 12, station: "town5"},
		{code: "341722105000", name: "横渡", lon: 117.600, lat: 30.130, weight: 8, station: "town6"},
		{code: "341722200000", name: "大演", lon: 117.450, lat: 30.110, weight: 6, station: "town7"},
		{code: "341722201000", name: "矶滩", lon: 117.440, lat: 30.240, weight: 4, station: "town8"},
		{code: demoPark, name: "园区", lon: 117.505, lat: 30.222, weight: 5, station: "park"},
	}
}

// grid is the account of the town's village inspector; the park has none.
func (t *demoTown) grid() string {
	if t.station == "park" {
		return "park"
	}
	return "grid" + strings.TrimPrefix(t.station, "town")
}

// deputy is the second account of the town's station.
func (t *demoTown) deputy() string { return t.station + ".b" }

// member is somebody of the demo county who signs in.
type member struct {
	account string
	posts   []org.PostInput
	admin   string
	title   string // of an administrator
}

// administrators makes the three administrators, and lets passwords live for ever: a demo that nobody can enter after 90 days is none.
func (b *builder) administrators(ctx context.Context) error {
	err := b.enlist(ctx, []member{{account: "sysadmin", admin: access.SystemAdmin, title: "系统管理员"},
		{account: "secadmin", admin: access.SecurityAdmin, title: "安全管理员"}, {account: "auditor", admin: access.AuditAdmin, title: "审计管理员"}})
	if err != nil {
		return err
	}
	settings, err := b.k.Access.Settings(ctx)
	if err != nil {
		return err
	}
	settings.MaxAgeDays = 0
	_, err = b.k.Access.SetSettings(b.as(ctx, "secadmin"), b.today(), settings)
	return err
}

// government enters departments, what they supervise, their people and accounts.
func (b *builder) government(ctx context.Context) error {
	sys := b.as(ctx, "sysadmin")
	rows, err := demoRows("departments.txt", 9)
	if err != nil {
		return err
	}
	// Today's departments first: those that ended name their successors.
	slices.SortStableFunc(rows, func(x, y []string) int { return strings.Compare(x[8], y[8]) })
	ids := map[string]string{}
	var cast []member
	for _, r := range rows {
		name, short, kind, account, lines, basis, from, to, successor := r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8]
		division := demoCounty
		if kind == org.TownOffice || kind == org.ParkOffice {
			i := slices.IndexFunc(b.towns, func(t *demoTown) bool { return t.station == account })
			division = b.towns[i].code
		}
		d, err := b.k.Org.AddDepartment(sys, org.DepartmentInput{Name: name, ShortName: short, Division: division, Kind: kind, ValidFrom: from, ValidTo: to, SuccessorID: ids[successor]})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		ids[name] = d.ID
		if kind == org.TownOffice || kind == org.ParkOffice {
			lines = org.Integrated // 属地监管：负责本辖区安全生产综合监管
		}
		for _, line := range strings.FieldsFunc(lines, func(r rune) bool { return r == ',' }) {
			if _, err := b.k.Org.AssignFunction(sys, org.FunctionInput{DepartmentID: d.ID, Line: line, ValidFrom: from, ValidTo: to, Basis: basis}); err != nil {
				return fmt.Errorf("%s %s: %w", name, line, err)
			}
			if account != "" && line != org.Integrated {
				b.regulator[line] = account
			}
		}
		if account == "" {
			continue
		}
		role := map[string]string{org.CommitteeOffice: "office", org.Regulator: org.LineRegulator, org.TownOffice: "town", org.ParkOffice: "town", org.Government: "leader"}[kind]
		title := map[string]string{"office": "安委办主任", org.LineRegulator: "安全监管股股长", "town": "安监站站长", "leader": "分管副县长"}[role]
		post := func(role, title string) []org.PostInput {
			return []org.PostInput{{Role: role, Title: title + "（演示）", UnitKind: org.UnitDepartment, UnitID: d.ID, ValidFrom: demoSince}}
		}
		cast = append(cast, member{account: account, posts: post(role, title)})
		switch kind {
		case org.CommitteeOffice:
			cast = append(cast, member{account: "office.b", posts: post("office", "安委办科员")},
				member{account: "officer", posts: post("officer", "执法大队大队长")}, member{account: "officer.b", posts: post("officer", "执法大队执法员")})
		case org.TownOffice, org.ParkOffice:
			cast = append(cast, member{account: account + ".b", posts: post("town", "安监员")})
		}
	}
	for _, t := range b.towns {
		if t.grid() == t.station {
			continue
		}
		post := org.PostInput{Role: "grid", Title: "网格长（演示）", UnitKind: org.UnitVillage, UnitID: t.villages[len(t.villages)-1], Divisions: []string{t.code}, ValidFrom: demoSince}
		if t.station == "town" {
			post.Title, post.UnitID = "网格员（演示）", demoVillage
			post.Divisions = nil // 本村
			second := post
			second.Title, second.UnitID, second.Divisions = "网格长（演示）", t.villages[0], []string{t.code}
			cast = append(cast, member{account: "grid.b", posts: []org.PostInput{second}})
		}
		cast = append(cast, member{account: t.grid(), posts: []org.PostInput{post}})
	}
	cast = append(cast, member{account: "expert", posts: []org.PostInput{{Role: "expert", Title: "安全生产专家（演示）", UnitKind: org.UnitOther, UnitID: "demo-experts",
		UnitName: "池州市安全生产专家组（演示）", Division: demoCounty, ValidFrom: demoSince}}})
	return b.enlist(ctx, cast)
}

// enlist enters persons with their posts and accounts, and learns who they are.
func (b *builder) enlist(ctx context.Context, cast []member) error {
	users := make([]access.AddUserInput, len(cast))
	for i, m := range cast {
		users[i] = access.AddUserInput{CreateAccountInput: access.CreateAccountInput{Name: m.account, Title: m.title, Admin: m.admin}, Password: demoPassword, Keep: true}
		if m.admin != "" {
			continue
		}
		users[i].Title = b.name()
		sys := b.as(ctx, "sysadmin")
		err := b.k.DB.Tx(sys, func(sys context.Context) error {
			phone := b.phone()
			p, err := b.k.Org.AddPerson(sys, org.PersonInput{Name: users[i].Title, Phone: &phone})
			if err != nil {
				return err
			}
			users[i].PersonID = p.ID
			for _, post := range m.posts {
				post.PersonID = p.ID
				if _, err := b.k.Org.Appoint(sys, post); err != nil {
					return fmt.Errorf("appoint %s: %w", m.account, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	// Hashing a password is slow by intent: two at a time.
	var wg sync.WaitGroup
	failed := make([]error, len(users))
	slots := make(chan struct{}, 2)
	for i := range users {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			_, _, failed[i] = b.k.Access.AddUser(ctx, users[i])
		})
	}
	wg.Wait()
	for i, u := range users {
		if failed[i] != nil {
			return fmt.Errorf("account %s: %w", u.Name, failed[i])
		}
		who, err := b.k.Access.ActorOf(ctx, u.Name)
		if err != nil {
			return fmt.Errorf("account %s: %w", u.Name, err)
		}
		b.cast[u.Name], b.person[u.Name] = who, u.PersonID
	}
	return nil
}

// as is ctx with one of the cast acting.
func (b *builder) as(ctx context.Context, account string) context.Context {
	who := b.cast[account]
	if who == nil {
		panic("demo: nobody is called " + account)
	}
	return actor.With(ctx, who)
}

// name makes up a person's name.
func (b *builder) name() string { return b.pick(b.surnames) + b.pick(b.given) }

// phone makes up a telephone number in a block that is given to nobody.
func (b *builder) phone() string { return fmt.Sprintf("1990000%04d", b.rnd.IntN(10000)) }
