package hiddendanger

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// Bulletin is a bulletin 通报 on the major dangers of a division in a period: the fourth of the 一单四制. It keeps what it said.
type Bulletin struct {
	bun.BaseModel `bun:"table:hiddendanger_bulletin,alias:r" json:"-"`
	record.Head
	scope.Place
	No      string         `bun:"no" json:"no" doc:"期号"`
	Title   string         `bun:"title" json:"title"`
	From    string         `bun:"period_from" json:"from"`
	To      string         `bun:"period_to" json:"to"`
	Dangers int            `bun:"dangers" json:"dangers" doc:"条数"`
	Lines   []BulletinLine `bun:"lines,type:text" json:"lines"`
	Remark  string         `bun:"remark" json:"remark"`
}

// BulletinLine is one major danger as it stood when the bulletin was issued.
type BulletinLine struct {
	DangerID   string     `json:"dangerId"`
	No         string     `json:"no"`
	Title      string     `json:"title"`
	Enterprise string     `json:"enterprise"`
	Division   string     `json:"division"`
	Unit       string     `json:"unit" doc:"承办单位"`
	Listed     string     `json:"listed"`
	State      flow.State `json:"state"`
	DueAt      time.Time  `json:"dueAt,omitzero"`
	Overdue    bool       `json:"overdue"`
	ClosedAt   time.Time  `json:"closedAt,omitzero"`
}

// BulletinInput asks for a bulletin; everything else the program knows.
type BulletinInput struct {
	Division string `json:"division" minLength:"12" maxLength:"12" doc:"通报范围的行政区划"`
	From     string `json:"from" minLength:"10" maxLength:"10"`
	To       string `json:"to" minLength:"10" maxLength:"10"`
	Title    string `json:"title,omitempty" maxLength:"100" doc:"不填按范围和期间生成"`
	Remark   string `json:"remark,omitempty" maxLength:"5000" doc:"评述"`
}

// IssueBulletin issues a bulletin over the major dangers of a division that were open at any time in the period.
func (s *Service) IssueBulletin(ctx context.Context, in BulletinInput) (*Bulletin, error) {
	from, err1 := time.ParseInLocation(time.DateOnly, in.From, clock.Zone)
	to, err2 := time.ParseInLocation(time.DateOnly, in.To, clock.Zone)
	if err1 != nil || err2 != nil || to.Before(from) {
		return nil, errs.InvalidField("hiddendanger.period", "/to", "起止日期应形如 2026-01-01，且止不早于起")
	}
	f := scope.For(ctx, PermList)
	if !s.inForce(ctx, in.Division) || !f.ReachesDivision(in.Division, "") {
		return nil, errs.InvalidField("hiddendanger.division", "/division", "没有这个行政区划，或不在您的管辖范围内")
	}
	b := &Bulletin{Place: scope.At(in.Division, "", ""), Title: clean(in.Title), From: in.From, To: in.To, Remark: clean(in.Remark)}
	if b.Title == "" {
		b.Title = fmt.Sprintf("重大事故隐患治理情况通报（%s 至 %s）", in.From, in.To)
	}
	err := s.db.Tx(ctx, func(ctx context.Context) error {
		dangers, err := s.majors(ctx, f, in.Division, from, deadline.EndOfDay(to))
		if err != nil {
			return err
		}
		now := s.db.Clock.Now()
		for _, d := range dangers {
			line := BulletinLine{DangerID: d.ID, No: d.No, Title: d.Title, Enterprise: d.EnterpriseName, Division: d.Division, Listed: d.Listed,
				State: d.State, DueAt: d.DueAt, Overdue: d.Overdue(now), ClosedAt: d.ClosedAt}
			if a := d.Detail.Assignment; a != nil {
				line.Unit = a.Unit
			}
			b.Lines = append(b.Lines, line)
		}
		b.Dangers = len(b.Lines)
		n, err := s.bulletins.Count(ctx, scope.All("the number counts the year's bulletins of the division"), func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("r.division = ? AND r.created_at >= ?", in.Division, time.Date(now.In(clock.Zone).Year(), 1, 1, 0, 0, 0, 0, clock.Zone))
		})
		if err != nil {
			return err
		}
		b.No = fmt.Sprintf("%d年第%d期", now.In(clock.Zone).Year(), n+1)
		return s.bulletins.Insert(ctx, b, record.Change{Fact: "hiddendanger.bulletinIssued", Title: "印发通报"})
	})
	return b, err
}

// ShowBulletin returns a bulletin that the caller may see.
func (s *Service) ShowBulletin(ctx context.Context, id string) (*Bulletin, error) {
	return s.bulletins.Load(ctx, scope.For(ctx, PermView), id)
}

// Public is what the public may see of a disclosed danger, redacted. Nothing else of it is public.
type Public struct {
	No         string    `json:"no"`
	Title      string    `json:"title"`
	Level      string    `json:"level"`
	State      string    `json:"state"`
	Enterprise string    `json:"enterprise,omitempty"`
	Location   string    `json:"location,omitempty"`
	Unit       string    `json:"unit,omitempty" doc:"牵头督办部门"`
	Measures   string    `json:"measures,omitempty" doc:"整改要求"`
	DueAt      time.Time `json:"dueAt,omitzero"`
	ClosedAt   time.Time `json:"closedAt,omitzero"`
}

// Redacted is the public view of the danger, for the disclosure that comes with its own issue. It must not be called for a danger that is not disclosed.
func (d *Danger) Redacted() Public {
	p := Public{No: d.No, Title: d.Title, Level: string(d.Level), State: spec.Titles[d.State], Enterprise: d.EnterpriseName, Location: d.Location, DueAt: d.DueAt, ClosedAt: d.ClosedAt}
	if l := d.Detail.Listing; l != nil {
		p.Unit = l.Unit
	}
	if o := d.Detail.Order; o != nil {
		p.Measures = o.Requirement
	}
	for _, what := range d.Detail.Disclosure.Redact {
		switch what {
		case "enterpriseName":
			p.Enterprise = ""
		case "location":
			p.Location = ""
		}
	}
	return p
}
