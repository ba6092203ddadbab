package grid

import (
	"context"
	"strings"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/notify"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/scope"
	"anwang/internal/module/enterprise/enterpriseapi"
)

// What the module asks of the kernel's parts, said in their terms.

// directory answers for persons and divisions out of the organisation. Persons are looked up with the caller's own rights: whoever appoints an officer must be allowed to see
// that person.
type directory struct {
	org   *org.Directory
	gate  *access.Gate
	clock *clock.Clock
}

func (d directory) Acting(ctx context.Context) (Person, error) {
	who := actor.From(ctx)
	if who.Kind != actor.Person || who.Admin != "" {
		return Person{}, nil
	}
	account, err := d.gate.Own(ctx)
	if err != nil {
		return Person{}, err
	}
	return Person{ID: account.PersonID, Name: who.Name}, nil
}

func (d directory) Person(ctx context.Context, id string) (*Person, error) {
	p, err := d.org.Person(ctx, id)
	switch {
	case err != nil && errs.KindOf(err) == errs.KindNotFound:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &Person{ID: p.ID, Name: p.Name}, nil
}

func (d directory) Named(ctx context.Context, name, phone string) ([]Person, error) {
	query := name
	if phone != "" {
		query = phone // a complete telephone number finds its owner
	}
	found, err := d.org.People(ctx, org.PersonQuery{Q: query, Limit: 200})
	var out []Person
	for _, p := range found {
		if p.Name == name {
			out = append(out, Person{ID: p.ID, Name: p.Name})
		}
	}
	return out, err
}

func (d directory) DivisionName(ctx context.Context, code string) (string, bool, error) {
	all, err := d.org.Divisions(ctx)
	if err != nil {
		return "", false, err
	}
	now := d.clock.Now()
	if found := all.Division(code); found != nil && found.InForce(now) {
		return found.NameOn(now), true, nil
	}
	return "", false, nil
}

func (d directory) DivisionsNamed(ctx context.Context, town, village string) ([]string, error) {
	all, err := d.org.Divisions(ctx)
	if err != nil {
		return nil, err
	}
	var codes []string
	for _, t := range all.Search(town, d.clock.Now(), 1000) {
		switch {
		case t.Level != 4 || t.Name != town:
		case village == "":
			codes = append(codes, t.Code)
		default:
			for _, v := range all.Children(t.Code, d.clock.Now()) {
				if v.Name == village || villageName(v.Name) == villageName(village) {
					codes = append(codes, v.Code)
				}
			}
		}
	}
	return codes, nil
}

// villageName is a village's name without the word for its committee, which tables write or leave out.
func villageName(name string) string {
	for _, suffix := range []string{"村民委员会", "居民委员会", "社区居委会", "村委会", "居委会", "社区", "村"} {
		if bare, ok := strings.CutSuffix(name, suffix); ok && bare != "" {
			return bare
		}
	}
	return name
}

type attachments struct{ *file.Store }

func (a attachments) Attach(ctx context.Context, ids []string, recordType, recordID, slot string, place scope.Place) error {
	_, err := a.Store.Attach(ctx, file.AttachInput{RecordType: recordType, RecordID: recordID, Slot: slot, Place: place, IDs: ids})
	return err
}

// Towns says whom to tell at a town office: the office of the division with the code, or of the one above it that has an office.
type Towns interface {
	TownRecipients(ctx context.Context, division string) ([]notify.Recipient, error)
}

const alertTemplate = "grid.alert"

// Templates are the messages that the module sends.
func Templates() []notify.Template {
	return []notify.Template{{
		Key: alertTemplate, Name: "网格员急报",
		Fields: []notify.Field{{Name: "title", Title: "标题", Sample: "网格员制止被拒，请到场处理"}, {Name: "text", Title: "情况", Sample: "张三在“一网格”报告：河边施工队。非法挖沙，拒不停止"}},
		Texts: []notify.Text{
			{Kind: notify.InApp, Title: "{{.title}}", Body: "{{.text}}"},
			{Kind: notify.Mail, Title: "{{.title}}", Body: "{{.text}}\n请登录系统签收处理。"},
			{Kind: notify.Webhook, Title: "{{.title}}", Body: "{{.text}}"},
		},
	}}
}

// Alarm tells town offices by kernel/notify, which must have the module's [Templates].
func Alarm(n *notify.Notifier, towns Towns) Alerts { return alarm{n, towns} }

type alarm struct {
	notifier *notify.Notifier
	towns    Towns
}

func (a alarm) TellTown(ctx context.Context, alert Alert) error {
	to, err := a.towns.TownRecipients(ctx, alert.Town)
	if err != nil {
		return err
	}
	return a.notifier.Send(ctx, notify.Message{Template: alertTemplate, To: to, Level: notify.Urgent, RecordType: alert.RecordType, RecordID: alert.RecordID, DedupeKey: alert.RecordID,
		Data: map[string]any{"title": alert.Title, "text": clip(alert.Text, 1000)}})
}

// clip keeps a message within what a channel takes.
func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// enterpriseEvents are the events that change what is known of an enterprise here.
var enterpriseEvents = []string{
	enterpriseapi.EventRegistered, enterpriseapi.EventChanged, enterpriseapi.EventMoved, enterpriseapi.EventGraded, enterpriseapi.EventSuspended, enterpriseapi.EventResumed,
	enterpriseapi.EventClosed, enterpriseapi.EventReopened, enterpriseapi.EventMerged, enterpriseapi.EventWithdrawn,
}

// told is an enterprise as an event tells of it.
type told struct {
	enterpriseapi.Enterprise
	Address string `json:"address"`
}

func (e told) learn() Enterprise {
	return Enterprise{ID: e.ID, Version: e.Version, Name: e.Name, Address: e.Address, Division: e.Division, Line: e.Line, Class: e.Class, Grade: e.Grade, Lon: e.Lon, Lat: e.Lat, Gone: !e.Working()}
}

// Permissions are the module's, with the roles that hold them by default.
func Permissions() []access.Permission {
	return []access.Permission{
		{Key: View, Title: "查看网格、巡查和履职", Roles: []string{"office", "leader", "industry", "town", "grid", "officer"}},
		{Key: Manage, Title: "划分网格、任命网格员、认可到访、签收报告", Roles: []string{"office", "town"}},
		{Key: Walk, Title: "巡查", Roles: []string{"grid", "town"}},
		{Key: Act, Title: "发现、劝导、制止、报告、宣传", Roles: []string{"grid", "town", "office"}},
		{Key: Track, Title: "查看网格员行动轨迹（敏感个人信息）", Roles: []string{"town"}},
	}
}

// guards let whoever sees a record see its photos.
func (s *Service) guards() map[string]file.Guard {
	return map[string]file.Guard{
		s.patrols.Type.Name: func(ctx context.Context, _, id string) error {
			_, err := s.patrols.Load(ctx, scope.For(ctx, View), id)
			return err
		},
		s.visits.Type.Name: func(ctx context.Context, _, id string) error {
			_, err := s.visits.Load(ctx, scope.For(ctx, View), id)
			return err
		},
		s.acts.Type.Name: func(ctx context.Context, _, id string) error {
			_, err := s.acts.Load(ctx, scope.For(ctx, View), id)
			return err
		},
	}
}
