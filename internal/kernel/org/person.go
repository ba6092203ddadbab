package org

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
)

// Person is somebody who holds posts. It is the stored record; what people are shown is a [PersonView].
type Person struct {
	bun.BaseModel `bun:"table:org_person,alias:r" json:"-"`
	record.Head

	Name  string `bun:"name" json:"name"`
	Phone string `bun:"phone" json:"phone"`
	// CitizenNumber is sealed, bound to this row: sensitive personal information (个人信息保护法 第二十八条).
	CitizenNumber record.Secret `bun:"citizen_number" json:"citizenNumber"`
	CitizenMask   string        `bun:"citizen_mask" json:"citizenMask"`
	Certificates  []Certificate `bun:"certificates,type:text" json:"certificates"`
}

// Certificate is a person's certificate: law enforcement, special operation, registered safety engineer.
type Certificate struct {
	Kind      string `json:"kind" minLength:"1" maxLength:"50" doc:"证件种类，如 行政执法证、特种作业操作证、注册安全工程师"`
	Number    string `json:"number" minLength:"1" maxLength:"50" doc:"证号"`
	ValidFrom string `json:"validFrom,omitempty" format:"date"`
	ValidTo   string `json:"validTo,omitempty" format:"date" doc:"有效期至"`
}

// PersonView is a person as others see it: telephone and citizen number are masked.
type PersonView struct {
	ID            string        `json:"id"`
	Version       int64         `json:"version"`
	Name          string        `json:"name"`
	Phone         string        `json:"phone" doc:"已脱敏"`
	CitizenNumber string        `json:"citizenNumber" doc:"已脱敏"`
	Certificates  []Certificate `json:"certificates"`
}

func (p *Person) view() *PersonView {
	return &PersonView{ID: p.ID, Version: p.Version, Name: p.Name, Phone: gbcode.MaskPhone(p.Phone), CitizenNumber: p.CitizenMask, Certificates: p.Certificates}
}

// PersonInput describes a person.
type PersonInput struct {
	Name  string  `json:"name" minLength:"1" maxLength:"50"`
	Phone *string `json:"phone,omitempty" maxLength:"30" doc:"手机号，或带区号的固定电话；修改时不填表示不变，空表示清除"`
	// CitizenNumber nil leaves the stored one as it is, so that a form need not know it.
	CitizenNumber *string       `json:"citizenNumber,omitempty" maxLength:"18" doc:"公民身份号码；修改时不填表示不变，空表示清除"`
	Certificates  []Certificate `json:"certificates,omitempty" maxItems:"50"`
}

// The kinds of unit in which a post is held.
const (
	UnitDepartment = "department"
	UnitEnterprise = "enterprise" // the enterprise's record belongs to module enterprise: here are its id and name only
	UnitVillage    = "village"    // 村（社区）: the unit is the division itself
	UnitOther      = "other"      // 专家、技术服务机构、保险机构: sees what it is assigned, no territory of its own
)

// Post is a person's post in a unit, with the role that it gives. The place is where the unit lies, for those who may look at it.
type Post struct {
	bun.BaseModel `bun:"table:org_post,alias:r" json:"-"`
	record.Head
	scope.Place

	PersonID  string   `bun:"person_id" json:"personId"`
	Role      string   `bun:"role" json:"role" doc:"角色"`
	Title     string   `bun:"title" json:"title" doc:"职务"`
	UnitKind  string   `bun:"unit_kind" json:"unitKind" enum:"department,enterprise,village,other"`
	UnitID    string   `bun:"unit_id" json:"unitId"`
	UnitName  string   `bun:"unit_name" json:"unitName"`
	Divisions []string `bun:"divisions,type:text" json:"divisions" doc:"管辖区划"`
	Lines     []string `bun:"lines,type:text" json:"lines" doc:"监管行业领域，空表示按部门职能"`
	Grids     []string `bun:"grids,type:text" json:"grids" doc:"负责的网格"`
	ValidFrom string   `bun:"valid_from" json:"validFrom" doc:"任职日期"`
	ValidTo   string   `bun:"valid_to" json:"validTo" doc:"最后任职日期（含当日），空表示在任"`
}

// PostInput describes a post.
type PostInput struct {
	PersonID  string   `json:"personId" minLength:"1"`
	Role      string   `json:"role" minLength:"1" maxLength:"50" doc:"角色"`
	Title     string   `json:"title" maxLength:"100" doc:"职务"`
	UnitKind  string   `json:"unitKind" enum:"department,enterprise,village,other"`
	UnitID    string   `json:"unitId" minLength:"1" maxLength:"64" doc:"部门或企业的标识；村（社区）为其区划代码"`
	UnitName  string   `json:"unitName,omitempty" maxLength:"200" doc:"企业或机构的名称；部门、村从登记取得"`
	Division  string   `json:"division,omitempty" doc:"企业或机构所在区划；部门、村从登记取得"`
	Divisions []string `json:"divisions,omitempty" maxItems:"500" doc:"管辖区划，默认为部门或村所属区划"`
	Lines     []string `json:"lines,omitempty" maxItems:"50" doc:"监管行业领域，不填则按部门职能"`
	Grids     []string `json:"grids,omitempty" maxItems:"200" doc:"负责的网格"`
	ValidFrom string   `json:"validFrom" format:"date" doc:"任职日期"`
	ValidTo   string   `json:"validTo,omitempty" format:"date"`
}

// Held is a post as it counts on a day.
type Held struct {
	Post
	// AllLines says that the holder sees every line. When it is false Lines are the lines, and no line at all means nothing.
	AllLines bool
}

// AddPerson enters a person. It asks for Manage.
func (o *Directory) AddPerson(ctx context.Context, in PersonInput) (*PersonView, error) {
	p := &Person{Head: record.Head{ID: o.db.Clock.NewID()}} // known already: the sealed number is bound to it
	err := o.edit(ctx, func(ctx context.Context) ([]string, error) {
		if err := o.fillPerson(p, in); err != nil {
			return nil, err
		}
		return []string{PersonChanged(p.ID)}, o.persons.Insert(ctx, p, record.Change{Fact: "org.personAdded", Title: "登记人员"})
	})
	if err != nil {
		return nil, err
	}
	return p.view(), nil
}

// EditPerson changes a person. It asks for Manage.
func (o *Directory) EditPerson(ctx context.Context, id string, version int64, in PersonInput) (*PersonView, error) {
	var p *Person
	err := o.edit(ctx, func(ctx context.Context) (_ []string, err error) {
		if p, err = o.persons.Load(ctx, scope.All("Manage reaches every person"), id); err != nil {
			return nil, err
		}
		if err := o.persons.CheckVersion(p, version); err != nil {
			return nil, err
		}
		if err := o.fillPerson(p, in); err != nil {
			return nil, err
		}
		return []string{PersonChanged(id)}, o.persons.Update(ctx, p, record.Change{Fact: "org.personEdited", Title: "修改人员"})
	})
	if err != nil {
		return nil, err
	}
	return p.view(), nil
}

func (o *Directory) fillPerson(p *Person, in PersonInput) error {
	var f fields
	f.required("/name", in.Name)
	p.Name, p.Certificates = strings.TrimSpace(in.Name), filled(in.Certificates)
	if in.Phone != nil {
		p.Phone = ""
		if *in.Phone != "" {
			phone, err := gbcode.ParsePhone(*in.Phone)
			if err != nil {
				f.add("/phone", err.Error()+"。")
			}
			p.Phone = string(phone)
		}
	}
	if in.CitizenNumber != nil {
		p.CitizenNumber, p.CitizenMask = "", ""
		if *in.CitizenNumber != "" {
			number, err := gbcode.ParseCitizenNumber(*in.CitizenNumber)
			if err != nil {
				f.add("/citizenNumber", err.Error()+"。")
			} else if number.Birth().After(o.db.Clock.Now()) {
				f.add("/citizenNumber", "出生日期在将来，请核对。")
			}
			p.CitizenNumber = record.Secret(o.seal.Seal([]byte(number), citizenPlace(p.ID)))
			p.CitizenMask = number.String()
		}
	}
	for i, c := range p.Certificates {
		at := fmt.Sprintf("/certificates/%d", i)
		f.required(at+"/kind", c.Kind)
		f.required(at+"/number", c.Number)
		f.day(at+"/validFrom", c.ValidFrom, true)
		f.day(at+"/validTo", c.ValidTo, true)
	}
	return f.err()
}

func citizenPlace(id string) string { return "org_person/" + id + "/citizen_number" }

// sight is what the actor may see of persons and posts by virtue of the permissions: the territory counts, not the line, because a
// line regulator must be able to call the town. The administrators who keep the directory see all of it.
func sight(ctx context.Context, permissions ...string) (scope.Filter, error) {
	if err := Need(ctx, permissions...); err != nil {
		return scope.Filter{}, err
	}
	who := actor.From(ctx)
	if who.Admin != "" || who.Kind == actor.System {
		return scope.All("administrators keep the directory and see no business records"), nil
	}
	everyLine := *who
	everyLine.Grants = slices.Clone(who.Grants)
	for i := range everyLine.Grants {
		everyLine.Grants[i].Lines = nil
	}
	return scope.For(actor.With(ctx, &everyLine), permissions[0]), nil
}

// PersonQuery selects persons.
type PersonQuery struct {
	Q     string `query:"q" maxLength:"50" doc:"姓名，或完整的电话号码"`
	Unit  string `query:"unit" doc:"在该单位任职的"`
	After string `query:"after" doc:"上一页最后一人的标识"`
	Limit int    `query:"limit" minimum:"1" maximum:"200" doc:"默认20"`
}

// People lists the persons who hold or held a post in the actor's territory, masked, in the order in which they were entered. It asks for
// View or Manage; administrators see also those without a post.
func (o *Directory) People(ctx context.Context, query PersonQuery) ([]*PersonView, error) {
	f, err := sight(ctx, View, Manage)
	if err != nil {
		return nil, err
	}
	rows, err := o.persons.Find(ctx, scope.All("limited by the posts below"), func(q *bun.SelectQuery) *bun.SelectQuery {
		q = q.Where("r.id > ?", query.After).Order("r.id").Limit(int64(cmp.Or(min(query.Limit, 200), 20)))
		if s := strings.TrimSpace(query.Q); s != "" {
			// A part of a telephone number must not be a way to guess the rest of it.
			if phone, err := gbcode.ParsePhone(s); err == nil {
				q = q.Where("r.phone = ?", string(phone))
			} else {
				q = q.Where("r.name LIKE ? ESCAPE '!'", "%"+strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(s)+"%")
			}
		}
		if query.Unit != "" {
			q = q.Where("EXISTS (SELECT 1 FROM org_post AS u WHERE u.person_id = r.id AND u.unit_id = ?)", query.Unit)
		}
		return visible(q, f)
	})
	if err != nil {
		return nil, err
	}
	views := make([]*PersonView, len(rows))
	for i, p := range rows {
		views[i] = p.view()
	}
	return views, nil
}

// visible limits a query for persons to those with a post that the filter reaches.
func visible(q *bun.SelectQuery, f scope.Filter) *bun.SelectQuery {
	if f.Unlimited() {
		return q
	}
	sql, args := f.SQL("p")
	return q.Where("EXISTS (SELECT 1 FROM org_post AS p WHERE p.person_id = r.id AND "+sql+")", args...)
}

func (o *Directory) person(ctx context.Context, f scope.Filter, id string) (*Person, error) {
	p, err := o.persons.First(ctx, scope.All("limited by the posts below"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return visible(q.Where("r.id = ?", id), f)
	})
	if err == nil && p == nil {
		err = o.persons.Type.NotFound()
	}
	return p, err
}

// Person returns a person, masked. It asks for View or Manage; out of the actor's territory is not found.
func (o *Directory) Person(ctx context.Context, id string) (*PersonView, error) {
	f, err := sight(ctx, View, Manage)
	if err != nil {
		return nil, err
	}
	p, err := o.person(ctx, f, id)
	if err != nil {
		return nil, err
	}
	return p.view(), nil
}

// Reveal returns a person with telephone and citizen number in full. It asks for Personal in the person's territory and for a
// reason, which goes into the log. The program's own work (AsSystem) is logged too.
func (o *Directory) Reveal(ctx context.Context, id, reason string) (*PersonView, error) {
	f, err := sight(ctx, Personal)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(reason) == "" {
		return nil, errs.InvalidField("org.revealReason", "/reason", "请填写查看原因，系统将记入日志。")
	}
	var v *PersonView
	err = o.db.Tx(ctx, func(ctx context.Context) error {
		p, err := o.person(ctx, f, id)
		if err != nil {
			return err
		}
		v = p.view()
		v.Phone = p.Phone
		if p.CitizenNumber != "" {
			number, err := o.seal.Open(string(p.CitizenNumber), citizenPlace(p.ID))
			if err != nil {
				return fmt.Errorf("citizen number of person %s: %w", p.ID, err)
			}
			v.CitizenNumber = string(number)
		}
		return o.persons.Note(ctx, p, record.Change{Fact: "org.personRevealed", Title: "查看人员完整信息", Data: map[string]string{"reason": reason}})
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Phones returns the telephone numbers of persons by person id, for the program's own messages; it refuses everybody else.
func (o *Directory) Phones(ctx context.Context, ids []string) (map[string]string, error) {
	if actor.From(ctx).Kind != actor.System {
		return nil, errs.Forbidden("access.forbidden", "电话号码只供系统发送通知使用。")
	}
	out := map[string]string{}
	if len(ids) == 0 {
		return out, nil
	}
	var rows []struct{ ID, Phone string }
	if err := o.db.Conn(ctx).NewRaw("SELECT id, phone FROM org_person WHERE id IN (?) AND phone <> ''", bun.List(ids)).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	for _, r := range rows {
		out[r.ID] = r.Phone
	}
	return out, nil
}

// LockPerson makes other transactions that lock the same person wait until this one ends. A rule that joins a person's posts with something else
// ("no administrator holds a post") is checked behind it.
func (o *Directory) LockPerson(ctx context.Context, id string) (*Person, error) {
	if _, err := o.db.Conn(ctx).NewRaw("UPDATE org_person SET id = id WHERE id = ?", id).Exec(ctx); err != nil {
		return nil, err
	}
	return o.persons.Load(ctx, scope.All("inside a use case that has checked its permission"), id)
}

// Appoint gives a person a post. It asks for Manage. The guards may refuse it.
func (o *Directory) Appoint(ctx context.Context, in PostInput) (*Post, error) {
	p := &Post{}
	err := o.edit(ctx, func(ctx context.Context) ([]string, error) {
		if err := o.fillPost(ctx, p, in); err != nil {
			return nil, err
		}
		return []string{PersonChanged(p.PersonID)}, postTaken(o.posts.Insert(ctx, p, record.Change{Fact: "org.appointed", Title: "任职", Data: in}))
	})
	return p, err
}

// Amend corrects a post: all of its fields but the person are replaced. A real change of post is Dismiss and Appoint. It asks for Manage.
func (o *Directory) Amend(ctx context.Context, id string, version int64, in PostInput) (*Post, error) {
	var p *Post
	err := o.edit(ctx, func(ctx context.Context) (_ []string, err error) {
		if p, err = o.postToEdit(ctx, id, version); err != nil {
			return nil, err
		}
		in.PersonID = p.PersonID
		if err := o.fillPost(ctx, p, in); err != nil {
			return nil, err
		}
		return []string{PersonChanged(p.PersonID)}, postTaken(o.posts.Update(ctx, p, record.Change{Fact: "org.postAmended", Title: "更正任职", Data: in}))
	})
	return p, err
}

// Dismiss makes lastDay the last day of a post. It asks for Manage.
func (o *Directory) Dismiss(ctx context.Context, id string, version int64, lastDay string) (*Post, error) {
	var p *Post
	err := o.edit(ctx, func(ctx context.Context) (_ []string, err error) {
		if p, err = o.postToEdit(ctx, id, version); err != nil {
			return nil, err
		}
		var f fields
		f.day("/validTo", lastDay, false)
		f.period(p.ValidFrom, lastDay)
		if err := f.err(); err != nil {
			return nil, err
		}
		if _, err := o.LockPerson(ctx, p.PersonID); err != nil {
			return nil, err
		}
		if p.ValidTo != "" && lastDay > p.ValidTo { // the post is prolonged
			if err := o.askGuards(ctx, p); err != nil {
				return nil, err
			}
		}
		p.ValidTo = lastDay
		return []string{PersonChanged(p.PersonID)}, o.posts.Update(ctx, p, record.Change{Fact: "org.dismissed", Title: "免职"})
	})
	return p, err
}

func (o *Directory) postToEdit(ctx context.Context, id string, version int64) (*Post, error) {
	p, err := o.posts.Load(ctx, scope.All("Manage reaches every post"), id)
	if err == nil {
		err = o.posts.CheckVersion(p, version)
	}
	return p, err
}

func postTaken(err error) error {
	if _, taken := db.UniqueViolation(err); taken {
		return errs.Conflict("org.postExists", "此人在该单位已有同一角色的现任职务。").Because(err)
	}
	return err
}

// fillPost checks in against what is stored, locks the person, and asks the guards.
func (o *Directory) fillPost(ctx context.Context, p *Post, in PostInput) error {
	var f fields
	f.required("/role", in.Role)
	f.oneOf("/unitKind", in.UnitKind, UnitDepartment, UnitEnterprise, UnitVillage, UnitOther)
	f.day("/validFrom", in.ValidFrom, false)
	f.period(in.ValidFrom, in.ValidTo)
	if err := f.err(); err != nil {
		return err
	}
	if _, err := o.LockPerson(ctx, in.PersonID); err != nil {
		return err
	}
	p.PersonID, p.Role, p.Title, p.UnitKind, p.UnitID, p.UnitName = in.PersonID, in.Role, strings.TrimSpace(in.Title), in.UnitKind, in.UnitID, in.UnitName
	p.Divisions, p.Lines, p.Grids = filled(in.Divisions), filled(in.Lines), filled(in.Grids)
	p.ValidFrom, p.ValidTo = in.ValidFrom, in.ValidTo
	division, enterprise := in.Division, ""
	switch in.UnitKind {
	case UnitDepartment:
		d, err := o.department(ctx, in.UnitID)
		if err != nil {
			return err
		}
		if d == nil {
			return errs.InvalidField("org.noDepartment", "/unitId", "没有这个部门，请从列表中选择。")
		}
		p.UnitName, division = d.Name, d.Division
	case UnitVillage:
		d, err := o.stored(ctx, "/unitId", in.UnitID)
		if err != nil {
			return err
		}
		p.UnitName, division = d.Name, d.Code
	case UnitEnterprise:
		enterprise = in.UnitID
		f.required("/unitName", in.UnitName)
	case UnitOther:
		f.required("/unitName", in.UnitName)
	}
	if in.UnitKind == UnitDepartment || in.UnitKind == UnitVillage {
		if len(p.Divisions) == 0 {
			p.Divisions = []string{division}
		}
	} else if len(p.Divisions)+len(p.Lines)+len(p.Grids) > 0 {
		f.add("/divisions", "企业和机构的人员没有管辖区划、行业和网格。")
	}
	if err := f.err(); err != nil {
		return err
	}
	for i, code := range append([]string{division}, p.Divisions...) {
		if code == scope.Nation {
			continue
		}
		pointer := "/division"
		if i > 0 {
			pointer = fmt.Sprintf("/divisions/%d", i-1)
		}
		if _, err := o.stored(ctx, pointer, code); err != nil {
			return err
		}
	}
	p.Place = scope.At(division, "", enterprise)
	return o.askGuards(ctx, p)
}

func (o *Directory) askGuards(ctx context.Context, p *Post) error {
	for _, guard := range o.guards {
		if err := guard(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// Posts lists the posts that a person holds or held, as far as the actor's territory reaches, the newest first. It asks for View or Manage.
func (o *Directory) Posts(ctx context.Context, personID string) ([]*Post, error) {
	f, err := sight(ctx, View, Manage)
	if err != nil {
		return nil, err
	}
	return o.posts.Find(ctx, f, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.person_id = ?", personID).Order("r.valid_from DESC", "r.id")
	})
}

// Staff lists the posts held in a unit on the day of on, as far as the actor's territory reaches, by title. It asks for View or Manage.
func (o *Directory) Staff(ctx context.Context, unitID string, on time.Time) ([]*Post, error) {
	f, err := sight(ctx, View, Manage)
	if err != nil {
		return nil, err
	}
	day := clock.Date(on)
	return o.posts.Find(ctx, f, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.unit_id = ?", unitID).Where(during("r"), day, day).Order("r.title", "r.id")
	})
}

// PostsOf returns the posts that a person holds on the day of on, oldest first, with the lines that count that day. It is for building rights, and
// asks for no permission.
//
// A post in a department without integrated supervision, and every post with the role [LineRegulator], sees only the lines of the
// department's functions in force, unless the post states its own. Other posts see all lines. A post in an abolished department counts for nothing.
func (o *Directory) PostsOf(ctx context.Context, personID string, on time.Time) ([]Held, error) {
	day := clock.Date(on)
	posts, err := o.posts.Find(ctx, scope.All("the rights of a person are made of all posts"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.person_id = ?", personID).Where(during("r"), day, day).Order("r.valid_from", "r.id")
	})
	if err != nil {
		return nil, err
	}
	held := make([]Held, 0, len(posts))
	for _, p := range posts {
		h := Held{Post: *p, AllLines: len(p.Lines) == 0}
		if p.UnitKind == UnitDepartment {
			d, err := o.department(ctx, p.UnitID)
			if err != nil {
				return nil, err
			}
			if d == nil || !inForce(d.ValidFrom, d.ValidTo, day) {
				continue // an abolished department has no powers left
			}
			if h.AllLines {
				if h.Lines, h.AllLines, err = o.linesOfPost(ctx, p, d, day); err != nil {
					return nil, err
				}
			}
		}
		held = append(held, h)
	}
	return held, nil
}

func (o *Directory) linesOfPost(ctx context.Context, p *Post, d *Department, day string) (lines []string, all bool, err error) {
	lines, integrated, err := o.linesOf(ctx, p.UnitID, day)
	if err == nil && p.Role != LineRegulator && (integrated || d.Kind != Regulator) {
		return nil, true, nil
	}
	return lines, false, err
}

// HasPosts reports whether a person holds a post today or will hold one.
func (o *Directory) HasPosts(ctx context.Context, personID string) (bool, error) {
	var n int
	err := o.db.Conn(ctx).NewRaw("SELECT count(*) FROM org_post WHERE person_id = ? AND (valid_to = '' OR valid_to >= ?)", personID, o.today()).Scan(ctx, &n)
	return n > 0, err
}

// Holding returns the posts with one of the roles that are held on the day of on, in the order of people, as PostsOf does for one person. It is for finding those who
// have to be told of something, and asks for no permission.
func (o *Directory) Holding(ctx context.Context, roles []string, on time.Time) ([]Held, error) {
	day := clock.Date(on)
	var people []string
	if err := o.db.Conn(ctx).NewSelect().TableExpr("org_post AS r").ColumnExpr("DISTINCT r.person_id").
		Where("r.role IN (?)", bun.List(roles)).Where(during("r"), day, day).OrderExpr("r.person_id").Scan(ctx, &people); err != nil {
		return nil, err
	}
	var out []Held
	for _, id := range people {
		posts, err := o.PostsOf(ctx, id, on)
		if err != nil {
			return nil, err
		}
		for _, p := range posts {
			if slices.Contains(roles, p.Role) {
				out = append(out, p)
			}
		}
	}
	return out, nil
}
