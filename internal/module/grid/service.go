package grid

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/policy"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
	"anwang/internal/lib/geo"
	"anwang/internal/module/grid/gridapi"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// Person is somebody in the organisation.
type Person struct {
	ID   string
	Name string
}

// People knows the persons of the organisation.
type People interface {
	// Acting is the person in whose name the actor in ctx acts. Its ID is empty for an account that is bound to nobody.
	Acting(ctx context.Context) (Person, error)
	// Person is the person with the id, nil when there is none.
	Person(ctx context.Context, id string) (*Person, error)
	// Named lists the persons of exactly that name, with that telephone number unless it is empty: for imports.
	Named(ctx context.Context, name, phone string) ([]Person, error)
}

// Divisions knows the administrative divisions.
type Divisions interface {
	// DivisionName is what a division in force is called; ok is false when there is none with that code.
	DivisionName(ctx context.Context, code string) (name string, ok bool, err error)
	// DivisionsNamed lists the codes of the villages, or of the towns when village is empty, that are called so.
	DivisionsNamed(ctx context.Context, town, village string) (codes []string, err error)
}

// Codes is the dictionary.
type Codes interface {
	Valid(kind, code string, on time.Time) error
	Label(kind, code string) string
}

// Files hangs uploaded photos on records, in the transaction that ctx is in.
type Files interface {
	Attach(ctx context.Context, ids []string, recordType, recordID, slot string, place scope.Place) error
}

// Alert is something that a town office must hear of at once.
type Alert struct {
	Town       string // 12-digit code; of the grid's own division when it has no town
	Title      string
	Text       string
	RecordType string
	RecordID   string
	Place      scope.Place
}

// Alerts tells the people of the town office whose business it is, in the transaction that ctx is in, and each of them once per record.
type Alerts interface {
	TellTown(ctx context.Context, a Alert) error
}

// Deps is what the module stands on.
type Deps struct {
	DB        *db.DB
	Log       *audit.Log
	Records   *record.Registry
	Policies  *policy.Store
	Deadlines *deadline.Book
	Codes     Codes
	Divisions Divisions
	People    People
	Files     Files
	Alerts    Alerts
	Dangers   hiddendangerapi.Reporter
}

// Service is grid supervision of one installation. It is safe for concurrent use.
type Service struct {
	db        *db.DB
	codes     Codes
	divisions Divisions
	people    People
	files     Files
	alerts    Alerts
	dangers   hiddendangerapi.Reporter
	deadlines *deadline.Book
	policy    *policy.Policy[Policy]
	flows     machines

	grids      *record.Store[Item, *Item]
	boundaries *record.Store[Boundary, *Boundary]
	duties     *record.Store[Duty, *Duty]
	absences   *record.Store[Absence, *Absence]
	sites      *record.Store[Site, *Site]
	tasks      *record.Store[Task, *Task]
	patrols    *record.Store[Patrol, *Patrol]
	visits     *record.Store[Visit, *Visit]
	acts       *record.Store[Action, *Action]
}

// New returns the module's use cases.
func New(d Deps) *Service {
	s := &Service{db: d.DB, codes: d.Codes, divisions: d.Divisions, people: d.People, files: d.Files, alerts: d.Alerts, dangers: d.Dangers, deadlines: d.Deadlines,
		policy:     &policy.Policy[Policy]{Name: "grid", Title: "网格巡查策略", Default: DefaultPolicy(), Validate: Policy.validate, Store: d.Policies},
		grids:      record.NewStore[Item](d.DB, d.Log, d.Records, record.Type{Name: gridapi.ItemType, Title: "网格"}),
		boundaries: record.NewStore[Boundary](d.DB, d.Log, d.Records, record.Type{Name: "grid.boundary", Title: "网格边界"}),
		duties:     record.NewStore[Duty](d.DB, d.Log, d.Records, record.Type{Name: "grid.duty", Title: "网格任职"}),
		absences:   record.NewStore[Absence](d.DB, d.Log, d.Records, record.Type{Name: "grid.absence", Title: "离岗登记"}),
		sites:      record.NewStore[Site](d.DB, d.Log, d.Records, record.Type{Name: gridapi.PlaceType, Title: "巡查对象"}),
		tasks:      record.NewStore[Task](d.DB, d.Log, d.Records, record.Type{Name: gridapi.TaskType, Title: "巡查任务"}),
		patrols:    record.NewStore[Patrol](d.DB, d.Log, d.Records, record.Type{Name: gridapi.PatrolType, Title: "巡查记录"}),
		visits:     record.NewStore[Visit](d.DB, d.Log, d.Records, record.Type{Name: gridapi.VisitType, Title: "到访记录"}),
		acts:       record.NewStore[Action](d.DB, d.Log, d.Records, record.Type{Name: gridapi.ActionType, Title: "履职记录"}),
	}
	s.defineFlows()
	return s
}

// GridInput makes a grid.
type GridInput struct {
	Division string          `json:"division" minLength:"12" maxLength:"12" doc:"所在村（社区）或乡镇（街道）的区划代码"`
	Name     string          `json:"name" minLength:"1" maxLength:"60" doc:"网格名称"`
	Serial   int             `json:"serial,omitempty" minimum:"0" maximum:"999" doc:"顺序号；不填则取下一个"`
	Boundary json.RawMessage `json:"boundary,omitempty" doc:"边界：GeoJSON 的 Polygon 或 MultiPolygon，可以没有"`
	CRS      geo.CRS         `json:"crs,omitempty" enum:"WGS-84,CGCS2000,GCJ-02,BD-09" doc:"边界的坐标系，默认 WGS-84"`
	Reason   string          `json:"reason,omitempty" maxLength:"500" doc:"划定的依据"`
}

// Create makes a grid in a village or town within the caller's reach. Its code is the division's code and a serial number.
func (s *Service) Create(ctx context.Context, in GridInput) (*Item, error) {
	name := strings.TrimSpace(in.Name)
	if name == "" {
		return nil, errs.InvalidField("grid.invalid", "/name", "请填写网格名称")
	}
	if err := s.inReach(ctx, in.Division); err != nil {
		return nil, err
	}
	shape, err := parseShape(in.Boundary, in.CRS)
	if err != nil {
		return nil, err
	}
	var g *Item
	err = s.db.Tx(ctx, func(ctx context.Context) error {
		serial := in.Serial
		if serial == 0 {
			var err error
			if serial, err = s.nextSerial(ctx, in.Division); err != nil {
				return err
			}
		}
		if serial > 999 {
			return errs.Conflict("grid.serial", "该区划的网格顺序号已用完。")
		}
		g = &Item{Place: scope.At(in.Division, "", ""), Code: fmt.Sprintf("%s%03d", in.Division, serial), Name: name, State: active, OpenedOn: s.today()}
		if shape.MultiPolygon != nil {
			g.Area = int64(math.Round(shape.Area()))
		}
		err := s.grids.Insert(ctx, g, record.Change{Fact: "grid.created", Title: "设立网格"})
		if _, taken := db.UniqueViolation(err); taken {
			return errs.Conflict("grid.codeTaken", "网格编号 "+g.Code+" 已被使用，请换一个顺序号或重试。").Because(err)
		}
		if err != nil || shape.MultiPolygon == nil {
			return err
		}
		return s.draw(ctx, g, shape, s.today(), in.Reason)
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// inReach checks that a division can hold grids and that the caller may manage them there.
func (s *Service) inReach(ctx context.Context, division string) error {
	code, err := gbcode.ParseDivision(division)
	if err != nil {
		return errs.InvalidField("grid.division", "/division", err.Error())
	}
	_, ok, err := s.divisions.DivisionName(ctx, division)
	switch {
	case err != nil:
		return err
	case !ok || code.Level() < 4:
		return errs.InvalidField("grid.division", "/division", "应为现行的村（社区）或乡镇（街道）代码")
	case !scope.For(ctx, Manage).ReachesDivision(division, ""):
		return errs.Forbidden("grid.outside", "该区划不在您的管辖范围内，请联系当地乡镇（街道）。")
	}
	return nil
}

// maxBoundary is the largest number of points of a grid's boundary: enough for a village drawn metre by metre, few enough to be checked in a transaction.
const maxBoundary = 5000

// parseShape reads a drawn boundary into WGS-84. No boundary gives a Shape without polygons.
func parseShape(raw json.RawMessage, crs geo.CRS) (Shape, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return Shape{}, nil
	}
	bad := func(err error) (Shape, error) {
		return Shape{}, errs.InvalidField("grid.boundary", "/boundary", err.Error()).Because(err)
	}
	shape, err := geo.ParseGeoJSON(raw)
	if err != nil {
		return bad(err)
	}
	n := 0
	for range shape.Points() {
		n++
	}
	if n > maxBoundary {
		return bad(fmt.Errorf("边界有 %d 个点，超过 %d 个的上限，请先抽稀", n, maxBoundary))
	}
	if n > 0 {
		for _, corner := range []geo.Point{shape.Bounds().Min, shape.Bounds().Max} {
			if err := corner.Check(); err != nil {
				return bad(err)
			}
		}
	}
	if err := shape.Validate(); err != nil {
		return bad(err)
	}
	if crs != "" {
		if shape, err = shape.Convert(crs, geo.WGS84); err != nil {
			return Shape{}, errs.InvalidField("grid.crs", "/crs", err.Error())
		}
	}
	return Shape{shape}, nil
}

// GridChange renames a grid.
type GridChange struct {
	flow.Read
	Name string `json:"name" minLength:"1" maxLength:"60"`
}

// Change renames a grid that is in use.
func (s *Service) Change(ctx context.Context, id string, in GridChange) (*Item, error) {
	name := strings.TrimSpace(in.Name)
	if name == "" {
		return nil, errs.InvalidField("grid.invalid", "/name", "请填写网格名称")
	}
	return s.amend(ctx, id, in.Version, func(ctx context.Context, g *Item) error {
		g.Name = name
		return s.grids.Update(ctx, g, record.Change{Fact: "grid.changed", Title: "变更网格", Data: in})
	})
}

// amend loads a grid in use that the caller manages, at the version that the caller read, and lets act write.
func (s *Service) amend(ctx context.Context, id string, version int64, act func(ctx context.Context, g *Item) error) (*Item, error) {
	var g *Item
	err := s.db.Tx(ctx, func(ctx context.Context) (err error) {
		if g, err = s.grids.Load(ctx, scope.For(ctx, Manage), id); err != nil {
			return err
		}
		if err := s.grids.CheckVersion(g, version); err != nil {
			return err
		}
		if g.State != active {
			return errRetired
		}
		return act(ctx, g)
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

var errRetired = errs.Conflict("grid.retired", "该网格已撤销，不能再变更。")

// BoundaryInput redraws a grid, or with no boundary takes it away.
type BoundaryInput struct {
	flow.Read
	Boundary  json.RawMessage `json:"boundary,omitempty" doc:"GeoJSON；不填或 null 表示取消边界"`
	CRS       geo.CRS         `json:"crs,omitempty" enum:"WGS-84,CGCS2000,GCJ-02,BD-09"`
	ValidFrom string          `json:"validFrom,omitempty" format:"date" doc:"启用日期，不填为今天，不能是将来"`
	Reason    string          `json:"reason" minLength:"2" maxLength:"500" doc:"调整的依据"`
}

// Redraw gives a grid another boundary from a day on. The former one stays for questions about earlier days. Sites that were assigned by boundary are not moved: see AssignInside.
func (s *Service) Redraw(ctx context.Context, id string, in BoundaryInput) (*Item, error) {
	shape, err := parseShape(in.Boundary, in.CRS)
	if err != nil {
		return nil, err
	}
	from, err := s.pastDay("/validFrom", in.ValidFrom)
	if err != nil {
		return nil, err
	}
	return s.amend(ctx, id, in.Version, func(ctx context.Context, g *Item) error {
		g.Area = 0
		if shape.MultiPolygon != nil {
			g.Area = int64(math.Round(shape.Area()))
		}
		if err := s.draw(ctx, g, shape, from, in.Reason); err != nil {
			return err
		}
		return s.grids.Update(ctx, g, record.Change{Fact: "grid.changed", Title: "调整网格边界", Data: map[string]string{"validFrom": from, "reason": in.Reason}})
	})
}

// draw ends the boundary in force and begins a new one, unless the shape is empty.
func (s *Service) draw(ctx context.Context, g *Item, shape Shape, from, reason string) error {
	now, err := s.openBoundary(ctx, g.ID)
	if err != nil {
		return err
	}
	if now != nil {
		if from < now.ValidFrom {
			return errs.InvalidField("grid.boundary", "/validFrom", "不能早于现行边界的启用日期 "+now.ValidFrom)
		}
		now.ValidTo = dayBefore(from)
		if err := s.boundaries.Update(ctx, now, record.Change{Fact: "grid.unbounded", Title: "终止网格边界", Data: map[string]string{"reason": reason}}); err != nil {
			return err
		}
	}
	if shape.MultiPolygon == nil {
		return nil
	}
	box := shape.Bounds()
	return s.boundaries.Insert(ctx, &Boundary{Place: g.Place, GridID: g.ID, Shape: shape, Area: g.Area, ValidFrom: from, Reason: reason,
		MinLon: box.Min.Lon, MinLat: box.Min.Lat, MaxLon: box.Max.Lon, MaxLat: box.Max.Lat}, record.Change{Fact: "grid.bounded", Title: "划定网格边界"})
}

// AppointInput makes a person officer or deputy of a grid.
type AppointInput struct {
	Kind     gridapi.Rank `json:"kind" enum:"officer,deputy"`
	PersonID string       `json:"personId" minLength:"1" maxLength:"36"`
	From     string       `json:"from,omitempty" format:"date" doc:"任职日期，不填为今天，不能是将来"`
	Reason   string       `json:"reason,omitempty" maxLength:"500"`
}

// Appoint makes a person officer or deputy from a day on. Whoever was it before is so up to the day before. Open tasks go to whoever answers now.
func (s *Service) Appoint(ctx context.Context, gridID string, in AppointInput) (*Duty, error) {
	if _, err := s.manageable(ctx, gridID); err != nil {
		return nil, err // before anything is said about what was sent
	}
	if !slices.Contains([]gridapi.Rank{gridapi.Officer, gridapi.Deputy}, in.Kind) {
		return nil, errs.InvalidField("grid.invalid", "/kind", "应为 officer 或 deputy")
	}
	from, err := s.pastDay("/from", in.From)
	if err != nil {
		return nil, err
	}
	person, err := s.people.Person(ctx, in.PersonID)
	if err != nil {
		return nil, err
	}
	if person == nil {
		return nil, errs.InvalidField("grid.person", "/personId", "没有这个人员，请先在组织机构中登记")
	}
	var d *Duty
	err = s.db.Tx(ctx, func(ctx context.Context) error {
		g, err := s.manageable(ctx, gridID)
		if err != nil {
			return err
		}
		open, err := s.openDuties(ctx, g.ID)
		if err != nil {
			return err
		}
		for _, o := range open {
			switch {
			case o.PersonID == person.ID && o.Kind != in.Kind:
				return errs.Conflict("grid.twoRanks", person.Name+"已是该网格的另一种网格员，请先免去原任职。")
			case o.Kind != in.Kind:
				continue
			case o.PersonID == person.ID:
				return errs.Conflict("grid.appointed", person.Name+"已在任。")
			case from < o.ValidFrom:
				return errs.InvalidField("grid.invalid", "/from", "不能早于现任的任职日期 "+o.ValidFrom)
			}
			if err := s.end(ctx, o, dayBefore(from), "由"+person.Name+"接任"); err != nil {
				return err
			}
		}
		d = &Duty{Place: g.Place, GridID: g.ID, PersonID: person.ID, PersonName: person.Name, Kind: in.Kind, ValidFrom: from, Reason: in.Reason}
		if err := s.duties.Insert(ctx, d, record.Change{Fact: "grid.appointed", Title: "任命网格员"}); err != nil {
			return err
		}
		return s.repoint(ctx, g.ID)
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// DismissInput ends a duty.
type DismissInput struct {
	flow.Read
	To     string `json:"to,omitempty" format:"date" doc:"最后一日（含），不填为今天，不能是将来"`
	Reason string `json:"reason" minLength:"2" maxLength:"500"`
}

// Dismiss ends a person's duty in a grid.
func (s *Service) Dismiss(ctx context.Context, gridID, dutyID string, in DismissInput) (*Duty, error) {
	to, err := s.pastDay("/to", in.To)
	if err != nil {
		return nil, err
	}
	var d *Duty
	err = s.db.Tx(ctx, func(ctx context.Context) (err error) {
		if d, err = s.duties.Load(ctx, scope.For(ctx, Manage), dutyID); err != nil {
			return err
		}
		if d.GridID != gridID {
			return s.duties.Type.NotFound()
		}
		if err := s.duties.CheckVersion(d, in.Version); err != nil {
			return err
		}
		switch {
		case d.ValidTo != "":
			return errs.Conflict("grid.dutyEnded", "该任职已于 "+d.ValidTo+" 结束。")
		case to < d.ValidFrom:
			return errs.InvalidField("grid.invalid", "/to", "不能早于任职日期 "+d.ValidFrom)
		}
		if err := s.end(ctx, d, to, in.Reason); err != nil {
			return err
		}
		return s.repoint(ctx, d.GridID)
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (s *Service) end(ctx context.Context, d *Duty, to, reason string) error {
	d.ValidTo = to
	return s.duties.Update(ctx, d, record.Change{Fact: "grid.dutyEnded", Title: "免去网格员", Data: map[string]string{"reason": reason}})
}

// AbsenceInput says that an officer cannot patrol for some days.
type AbsenceInput struct {
	PersonID string `json:"personId" minLength:"1" maxLength:"36"`
	From     string `json:"from" format:"date"`
	To       string `json:"to" format:"date" doc:"最后一日（含）"`
	Reason   string `json:"reason" minLength:"2" maxLength:"500"`
}

// Excuse enters an absence. During it the deputy answers for the person's grids. The person, or whoever manages the grid, may enter it.
func (s *Service) Excuse(ctx context.Context, gridID string, in AbsenceInput) (*Absence, error) {
	for _, f := range []struct{ pointer, day string }{{"/from", in.From}, {"/to", in.To}} {
		if _, err := time.Parse(time.DateOnly, f.day); err != nil {
			return nil, errs.InvalidField("grid.invalid", f.pointer, "应为日期，如 2026-03-11")
		}
	}
	if in.To < in.From || in.To < s.today() {
		return nil, errs.InvalidField("grid.invalid", "/to", "不能早于开始日期，也不能是过去")
	}
	var a *Absence
	err := s.db.Tx(ctx, func(ctx context.Context) error {
		g, err := s.manageable(ctx, gridID)
		if err != nil && errs.KindOf(err) == errs.KindNotFound {
			if g, err = s.grids.Load(ctx, scope.For(ctx, Walk), gridID); err == nil {
				err = s.own(ctx, in.PersonID)
			}
		}
		if err != nil {
			return err
		}
		on, err := s.dutiesOn(ctx, []string{g.ID}, s.today())
		if err != nil {
			return err
		}
		i := slices.IndexFunc(on, func(d *Duty) bool { return d.PersonID == in.PersonID })
		if i < 0 {
			return errs.InvalidField("grid.person", "/personId", "此人目前不是该网格的网格员")
		}
		a = &Absence{Place: g.Place, GridID: g.ID, PersonID: in.PersonID, PersonName: on[i].PersonName, From: in.From, To: in.To, Reason: in.Reason}
		if err := s.absences.Insert(ctx, a, record.Change{Fact: "grid.absent", Title: "登记离岗"}); err != nil {
			return err
		}
		all, err := s.gridsOf(ctx, in.PersonID, s.today())
		if err != nil {
			return err
		}
		for _, id := range all {
			if err := s.repoint(ctx, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// retire is what the step does: officers end, sites go to the successor, tasks follow their sites.
func (s *Service) retire(ctx context.Context, g *Item, in RetireInput) error {
	on, err := s.pastDay("/on", in.On)
	if err != nil {
		return err
	}
	successor := ""
	if in.SuccessorID != "" {
		next, err := s.manageable(ctx, in.SuccessorID)
		if err != nil {
			return err
		}
		if next.ID == g.ID {
			return errs.InvalidField("grid.successor", "/successorId", "承接的网格不能是它自己")
		}
		successor = next.ID
	}
	g.RetiredOn, g.SuccessorID, g.Reason = on, successor, in.Reason
	open, err := s.openDuties(ctx, g.ID)
	if err != nil {
		return err
	}
	for _, d := range open {
		if err := s.end(ctx, d, max(on, dayBefore(d.ValidFrom)), "网格撤销"); err != nil {
			return err
		}
	}
	b, err := s.openBoundary(ctx, g.ID)
	if err != nil {
		return err
	}
	if b != nil {
		b.ValidTo = max(on, dayBefore(b.ValidFrom))
		if err := s.boundaries.Update(ctx, b, record.Change{Fact: "grid.unbounded", Title: "终止网格边界", Data: map[string]string{"reason": in.Reason}}); err != nil {
			return err
		}
	}
	sites, err := s.sitesOf(ctx, g.ID)
	if err != nil {
		return err
	}
	for _, site := range sites {
		how := ByHand
		if successor == "" {
			how = ""
		}
		if err := s.assign(ctx, site, successor, how); err != nil {
			return err
		}
	}
	return nil
}

// Retire ends a grid.
func (s *Service) Retire(ctx context.Context, id string, in RetireInput) (*Item, error) {
	return flow.Fire(ctx, s.flows.grid, s.flows.retire, id, in)
}

// manageable loads a grid in use that the caller manages.
func (s *Service) manageable(ctx context.Context, id string) (*Item, error) {
	g, err := s.grids.Load(ctx, scope.For(ctx, Manage), id)
	if err == nil && g.State != active {
		return nil, errRetired
	}
	return g, err
}

// walkable loads a grid that the caller may serve in with the permission on the day, and says who the caller is: whoever manages the grid, its officer and its
// deputy on that day or today, and whoever's post names the grid.
func (s *Service) walkable(ctx context.Context, permission, id string, at time.Time) (*Item, Person, error) {
	me, err := s.people.Acting(ctx)
	if err != nil {
		return nil, me, err
	}
	g, err := s.grids.Load(ctx, scope.For(ctx, permission), id)
	if err != nil {
		return nil, me, err
	}
	if me.ID == "" {
		return nil, me, errs.Forbidden("grid.noPerson", "您的账号没有绑定人员，不能履行网格员职责，请联系安全管理员。")
	}
	if scope.For(ctx, Manage).Sees(g.Place) {
		return g, me, nil
	}
	for _, grant := range actor.From(ctx).Grants {
		if grant.Has(permission) && slices.Contains(grant.Grids, g.ID) {
			return g, me, nil
		}
	}
	for _, day := range []string{clock.Date(at), s.today()} {
		on, err := s.dutiesOn(ctx, []string{g.ID}, day)
		if err != nil {
			return nil, me, err
		}
		if slices.ContainsFunc(on, func(d *Duty) bool { return d.PersonID == me.ID }) {
			return g, me, nil
		}
	}
	return nil, me, errs.Forbidden("grid.notOfficer", "您不是“"+g.Name+"”的网格员或代理网格员，请联系乡镇（街道）任命后再操作。")
}

// Locate answers for a position, see gridapi.Router.
func (s *Service) Locate(ctx context.Context, lon, lat float64, at time.Time) (*gridapi.Answer, error) {
	g, err := s.gridAt(ctx, geo.Point{Lon: lon, Lat: lat}, clock.Date(at), "")
	if err != nil || g == nil {
		return nil, err
	}
	return s.answer(ctx, g, at)
}

// OfEnterprise answers for an enterprise, see gridapi.Router.
func (s *Service) OfEnterprise(ctx context.Context, enterpriseID string, at time.Time) (*gridapi.Answer, error) {
	site, err := s.siteOfEnterprise(ctx, enterpriseID)
	if err != nil || site == nil || site.GridID == "" {
		return nil, err
	}
	g, err := s.grids.Load(ctx, scope.All("who answers for a place is the same for everybody"), site.GridID)
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, g, at)
}

var _ gridapi.Router = (*Service)(nil)

func (s *Service) answer(ctx context.Context, g *Item, at time.Time) (*gridapi.Answer, error) {
	who, err := s.responsible(ctx, []string{g.ID}, clock.Date(at))
	if err != nil {
		return nil, err
	}
	a := &gridapi.Answer{GridID: g.ID, Code: g.Code, Name: g.Name, Division: g.Division}
	if d := who[g.ID]; d != nil {
		a.PersonID, a.PersonName, a.Rank = d.PersonID, d.PersonName, d.Kind
	}
	return a, nil
}

// responsible says who answers for each grid on a day: the officer, the deputy while the officer is absent, nobody when both are.
func (s *Service) responsible(ctx context.Context, gridIDs []string, day string) (map[string]*Duty, error) {
	on, err := s.dutiesOn(ctx, gridIDs, day)
	if err != nil || len(on) == 0 {
		return nil, err
	}
	persons := make([]string, len(on))
	for i, d := range on {
		persons[i] = d.PersonID
	}
	absent, err := s.absentOn(ctx, persons, day)
	if err != nil {
		return nil, err
	}
	out := map[string]*Duty{}
	for _, d := range on { // officers come before deputies
		if !absent[d.PersonID] && out[d.GridID] == nil {
			out[d.GridID] = d
		}
	}
	return out, nil
}

// SetPolicyInput is a policy for a division from a day on.
type SetPolicyInput struct {
	Division      string `json:"division" minLength:"12" maxLength:"12" doc:"适用的区划，其下级一并适用"`
	EffectiveFrom string `json:"effectiveFrom" format:"date"`
	Basis         string `json:"basis" minLength:"2" maxLength:"200" doc:"依据（文件名称、文号或条款）"`
	Value         Policy `json:"value"`
}

// SetPolicy sets frequencies and thresholds for a division; the caller needs policy.manage there.
func (s *Service) SetPolicy(ctx context.Context, in SetPolicyInput) (*policy.Version, error) {
	return s.policy.Set(ctx, in.Division, in.EffectiveFrom, in.Basis, in.Value)
}

// PolicyOf is the policy in force in a division today.
func (s *Service) PolicyOf(ctx context.Context, division string) (Policy, error) {
	if _, err := gbcode.ParseDivision(division); err != nil {
		return Policy{}, errs.InvalidField("grid.division", "query/division", err.Error())
	}
	p, _, err := s.policy.For(ctx, division, s.db.Clock.Now())
	return p, err
}

func (s *Service) today() string { return clock.Date(s.db.Clock.Now()) }

// pastDay reads a day that is not in the future; empty stands for today.
func (s *Service) pastDay(pointer, day string) (string, error) {
	if day == "" {
		return s.today(), nil
	}
	if _, err := time.Parse(time.DateOnly, day); err != nil || day > s.today() {
		return "", errs.InvalidField("grid.invalid", pointer, "应为不晚于今天的日期，如 2026-03-11")
	}
	return day, nil
}

func dayBefore(day string) string {
	t, _ := time.Parse(time.DateOnly, day) // checked, or made by clock.Date
	return t.AddDate(0, 0, -1).Format(time.DateOnly)
}
