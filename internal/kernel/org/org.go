// Package org is the organisation as data, with dates: the administrative divisions (行政区划), the departments and what each of them
// supervises (职能), the persons and the posts they hold.
//
// # Everything has a period
//
// Nothing is deleted. A division, department, function or post is in force from ValidFrom to ValidTo, calendar days in Shanghai
// ("2006-01-02"), both included; empty means since ever, or until further notice. Who was competent on a day, and what a village was
// called then, stays answerable. Questions take a moment `on` and mean its day.
//
// # Divisions change, records do not
//
// Codes are re-organised every year (GB/T 2260; handbook 17.3): towns merge, a county becomes a city under another prefecture. A record keeps
// the code under which it was filed. That the officers of the successor see it is brought about by [Divisions.Reach], which
// adds to a code all those that were wholly merged into it. The old superior keeps seeing what was filed under it.
// A division that was split has no single successor, so its old records stay with the levels above it, which see both parts.
//
// # Territory and line
//
// Which department is competent is data, not code: work safety moved from 安监局 to 应急管理局 in 2018, occupational health to
// 卫生健康委, fire to 消防救援机构. See [Directory.CompetentDepartments].
//
// # Who may
//
// [Manage] (the system administrator) edits; [View] reads. Departments, functions and divisions are no secret inside the house;
// persons and posts are seen from the territory in which the post lies. Telephone and citizen numbers are masked everywhere but in
// [Directory.Reveal], which asks for [Personal] and leaves a log entry.
//
// # Known weaknesses
//
// Divisions are read into memory: about 0.5 kB each, 20 MB for two whole provinces with their villages. Citizen numbers are sealed
// with a random nonce, so two persons with the same number are not noticed.
package org

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/org/changes"
	"anwang/internal/kernel/record"
	"anwang/internal/lib/gm"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the tables of the organisation.
var Migrations = db.Migrations{Part: "org", Files: files}

// The permissions of the organisation.
const (
	Manage   = "org.manage"   // edit everything here
	View     = "org.view"     // read it, personal data masked
	Personal = "org.personal" // see a person's telephone and citizen number in full, each time with a log entry
)

// LineRegulator is the role key of a line regulator (行业监管): whoever holds it sees only the lines that the department itself
// supervises, also in a department that has integrated supervision as well.
const LineRegulator = "industry"

// Directory is the organisation of one installation. It is safe for concurrent use.
type Directory struct {
	db   *db.DB
	seal *gm.Sealer
	feed *changes.Feed

	divisions   *record.Store[Division, *Division]
	departments *record.Store[Department, *Department]
	functions   *record.Store[Function, *Function]
	persons     *record.Store[Person, *Person]
	posts       *record.Store[Post, *Post]

	guards []Guard

	loading sync.Mutex // one loads, the others wait
	snap    *Divisions // guarded by loading
	stale   staleness
}

// New returns the directory in d. seal encrypts citizen numbers.
func New(d *db.DB, log *audit.Log, reg *record.Registry, seal *gm.Sealer) *Directory {
	o := &Directory{db: d, seal: seal, feed: changes.New(d, "org"),
		divisions:   record.NewStore[Division](d, log, reg, record.Type{Name: "org.division", Title: "行政区划"}),
		departments: record.NewStore[Department](d, log, reg, record.Type{Name: "org.department", Title: "部门"}),
		functions:   record.NewStore[Function](d, log, reg, record.Type{Name: "org.function", Title: "监管职能"}),
		persons:     record.NewStore[Person](d, log, reg, record.Type{Name: "org.person", Title: "人员"}),
		posts:       record.NewStore[Post](d, log, reg, record.Type{Name: "org.post", Title: "任职"}),
	}
	o.feed.Follow(o.stale.hear)
	return o
}

// Guard may refuse a post that is about to be written, inside its transaction, in which the person's row is locked.
type Guard func(ctx context.Context, p *Post) error

// GuardPosts has every appointment and amendment ask g first. Call it while the program is put together.
func (o *Directory) GuardPosts(g Guard) { o.guards = append(o.guards, g) }

// Check tells the followers what was edited since, in this process at once, in others within a second. Caches that rest on the directory call it
// before they answer.
func (o *Directory) Check(ctx context.Context) error { return o.feed.Check(ctx) }

// Follow has f called inside Check with what was edited: [PersonChanged] of a person's id when only that person's posts are
// concerned, anything else when everybody's may be.
func (o *Directory) Follow(f func(subject string)) { o.feed.Follow(f) }

// The subjects of the feed.
const (
	personSubject   = "person/"
	divisionSubject = "division/"
	functionSubject = "function"
)

// PersonChanged is the subject under which Follow hears that a person's posts were edited.
func PersonChanged(id string) string { return personSubject + id }

// Need refuses an actor in ctx who holds none of the permissions.
func Need(ctx context.Context, permissions ...string) error {
	who := actor.From(ctx)
	switch {
	case slices.ContainsFunc(permissions, who.Can):
		return nil
	case who.Kind == actor.Nobody:
		return errs.Unauthenticated("access.signInFirst", "请先登录。")
	}
	return errs.Forbidden("access.forbidden", "您没有此项操作的权限。如工作需要，请联系安全管理员。")
}

// edit runs a use case that changes the organisation: permission, one transaction, and the news of it.
func (o *Directory) edit(ctx context.Context, fn func(ctx context.Context) (subjects []string, err error)) error {
	if err := Need(ctx, Manage); err != nil {
		return err
	}
	return o.db.Tx(ctx, func(ctx context.Context) error {
		subjects, err := fn(ctx)
		if err != nil {
			return err
		}
		return o.feed.Publish(ctx, subjects...)
	})
}

// inForce reports whether a day lies in the period from..to, both included, either open when empty.
func inForce(from, to, day string) bool { return from <= day && (to == "" || day <= to) }

const inForceSQL = "%[1]s.valid_from <= ? AND (%[1]s.valid_to = '' OR %[1]s.valid_to >= ?)"

// during is inForce as a condition on the table with the alias, with two placeholders for the day.
func during(alias string) string { return fmt.Sprintf(inForceSQL, alias) }

func dayBefore(day string) string {
	t, _ := time.Parse(time.DateOnly, day) // checked by fields.day
	return t.AddDate(0, 0, -1).Format(time.DateOnly)
}

func (o *Directory) today() string { return clock.Date(o.db.Clock.Now()) }

// fields collects what is wrong with an input, so that a person sees all of it at once.
type fields []errs.Field

func (f *fields) add(pointer, message string) {
	*f = append(*f, errs.Field{Pointer: pointer, Message: message})
}

func (f *fields) required(pointer, value string) {
	if strings.TrimSpace(value) == "" {
		f.add(pointer, "必填。")
	}
}

// day checks a calendar day; an empty one is allowed when optional.
func (f *fields) day(pointer, value string, optional bool) {
	if value == "" && optional {
		return
	}
	if _, err := time.Parse(time.DateOnly, value); err != nil {
		f.add(pointer, "应为日期，形如 2026-03-11。")
	}
}

func (f *fields) period(from, to string) {
	f.day("/validFrom", from, true)
	f.day("/validTo", to, true)
	if from != "" && to != "" && to < from {
		f.add("/validTo", "不能早于起始日期。")
	}
}

func (f *fields) oneOf(pointer, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		f.add(pointer, "应为以下之一："+strings.Join(allowed, "、")+"。")
	}
}

func (f fields) err() error {
	if len(f) == 0 {
		return nil
	}
	return errs.Invalid("org.invalid", "填写有误，请按各栏提示修改。", f...)
}

// filled is list without nil, so that its JSON is [] in the log, in the row and in the reply alike.
func filled[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
