package grid

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/module/grid/gridapi"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// ActionInput is one exercise of a duty.
type ActionInput struct {
	ID        string           `json:"id" minLength:"36" maxLength:"36" doc:"手机生成的标识（UUIDv7）"`
	GridID    string           `json:"gridId,omitempty" maxLength:"36" doc:"单独履职时必填"`
	PatrolID  string           `json:"patrolId,omitempty" maxLength:"36" doc:"所属巡查，可以尚未提交"`
	Duty      gridapi.DutyKind `json:"duty" enum:"find,dissuade,stop,report,publicise" doc:"find 发现，dissuade 劝导，stop 制止，report 报告，publicise 宣传"`
	PlaceID   string           `json:"placeId,omitempty" maxLength:"36" doc:"巡查对象；没有登记的填 target"`
	Target    string           `json:"target,omitempty" maxLength:"200" doc:"对象：场所或人群"`
	What      string           `json:"what" minLength:"2" maxLength:"2000" doc:"情况"`
	Result    string           `json:"result,omitempty" enum:"complied,partly,refused" doc:"劝导、制止必填：complied 听从，partly 部分听从，refused 拒不听从"`
	Serious   bool             `json:"serious,omitempty" doc:"疑似重大隐患或非法生产经营建设，立即报告乡镇"`
	At        time.Time        `json:"at" doc:"手机时钟"`
	Lon       *float64         `json:"lon,omitempty" minimum:"-180" maximum:"180" doc:"手机位置，WGS-84"`
	Lat       *float64         `json:"lat,omitempty" minimum:"-90" maximum:"90"`
	Audience  int              `json:"audience,omitempty" minimum:"0" maximum:"1000000" doc:"宣传人数，宣传必填"`
	Materials string           `json:"materials,omitempty" maxLength:"500" doc:"宣传材料"`
	Photos    []string         `json:"photos,omitempty" maxItems:"20"`
	Danger    *DangerInput     `json:"danger,omitempty" doc:"发现的隐患，同时登记到隐患治理"`
	DangerID  string           `json:"dangerId,omitempty" maxLength:"36" doc:"与已登记的隐患关联"`
	ClientNow time.Time        `json:"-"`
}

// DangerInput is a hidden danger that was found.
type DangerInput struct {
	ID          string   `json:"id" minLength:"36" maxLength:"36" doc:"手机生成的标识（UUIDv7）"`
	Title       string   `json:"title" minLength:"4" maxLength:"100" doc:"什么部位存在什么问题"`
	Description string   `json:"description,omitempty" maxLength:"5000"`
	Category    string   `json:"category,omitempty" maxLength:"40" doc:"字典 dangerCategory 的代码"`
	Location    string   `json:"location,omitempty" maxLength:"200" doc:"具体位置；不填为对象名称"`
	Photos      []string `json:"photos,omitempty" maxItems:"20" doc:"附件标识，挂在隐患上"`
}

// Record records one act. Repeating it changes nothing.
func (s *Service) Record(ctx context.Context, in ActionInput) (*Action, error) {
	var a *Action
	err := s.db.Tx(ctx, func(ctx context.Context) error {
		g, me, err := s.walkable(ctx, Act, in.GridID, in.At)
		if err != nil {
			return err
		}
		pol, _, err := s.policy.For(ctx, g.Division, s.db.Clock.Now())
		if err != nil {
			return err
		}
		if in.PatrolID != "" {
			p, err := s.patrol(ctx, in.PatrolID)
			if err != nil {
				return err
			}
			if !uuid7.MatchString(in.PatrolID) || p != nil && (p.OfficerID != me.ID || p.GridID != g.ID) {
				return errs.InvalidField("grid.patrol", "/patrolId", "不是您在该网格的巡查")
			}
		}
		a, err = s.act(ctx, g, me, in, s.phone(in.ClientNow, pol))
		return err
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// act writes an act of a person in a grid, reports the danger that was found, and tells the town when it must know.
func (s *Service) act(ctx context.Context, g *Item, me Person, in ActionInput, c phoneClock) (*Action, error) {
	if err := in.check(c); err != nil {
		return nil, err
	}
	digest := digestOf(in)
	if known, err := s.action(ctx, in.ID); err != nil || known != nil {
		if err == nil && (known.OfficerID != me.ID || known.Digest != digest) {
			err = errIDTaken
		}
		return known, err
	}
	a := &Action{Place: g.Place, GridID: g.ID, PatrolID: in.PatrolID, Target: strings.TrimSpace(in.Target), Duty: in.Duty, What: strings.TrimSpace(in.What), Result: in.Result, Serious: in.Serious,
		At: stored(in.At), ReceivedAt: c.now, OfficerID: me.ID, OfficerName: me.Name, Audience: in.Audience, Materials: in.Materials, Photos: list(in.Photos), DangerID: in.DangerID, Digest: digest,
		State: Recorded}
	a.ID = in.ID
	if in.Lon != nil && in.Lat != nil {
		a.Position = record.Secret(rawOf([2]float64{*in.Lon, *in.Lat}))
	}
	var site *Site
	if in.PlaceID != "" {
		var err error
		if site, err = s.siteFor(ctx, Act, g.ID, in.PlaceID); err != nil {
			return nil, err
		}
		a.Place, a.SiteID = site.Place, site.ID
		if a.Target == "" {
			a.Target = site.Name
		}
	}
	if in.Danger != nil {
		id, err := s.dangers.Report(ctx, finding(a, site, in))
		if err != nil {
			return nil, under(err, "/danger")
		}
		a.DangerID = id
	}
	change := record.Change{Fact: "grid.actionTaken", Title: dutyNames[a.Duty]}
	if a.urgent() {
		a.State = Escalated
		change = record.Change{Fact: "grid.actionEscalated", Title: dutyNames[a.Duty] + "，报乡镇"}
	}
	if err := s.acts.Insert(ctx, a, change); err != nil {
		return nil, taken(err)
	}
	if err := s.attach(ctx, a.Photos, gridapi.ActionType, a.ID, a.Place); err != nil {
		return nil, err
	}
	if a.State != Escalated {
		return a, nil
	}
	return a, s.alerts.TellTown(ctx, Alert{Town: divisionOf(a.Place), Title: s.alertTitle(a), Text: fmt.Sprintf("%s在“%s”报告：%s。%s", me.Name, g.Name, a.Target, a.What),
		RecordType: gridapi.ActionType, RecordID: a.ID, Place: a.Place})
}

var dutyNames = map[gridapi.DutyKind]string{gridapi.Find: "发现", gridapi.Dissuade: "劝导", gridapi.Stop: "制止", gridapi.Report: "报告", gridapi.Publicise: "宣传"}

func (s *Service) alertTitle(a *Action) string {
	switch {
	case a.Result == Refused:
		return "网格员" + dutyNames[a.Duty] + "被拒，请到场处理"
	case a.Serious:
		return "网格员报告疑似重大隐患或非法生产经营建设"
	}
	return "网格员报告，请处理"
}

// finding is the act as the module of hidden dangers takes it in.
func finding(a *Action, site *Site, in ActionInput) hiddendangerapi.Finding {
	d := in.Danger
	f := hiddendangerapi.Finding{ID: d.ID, Source: hiddendangerapi.Patrol, Title: d.Title, Description: d.Description, Category: d.Category, Location: d.Location,
		Division: a.Division, EnterpriseID: a.EnterpriseID, Line: a.Line, Lon: in.Lon, Lat: in.Lat, FoundAt: a.At, Photos: d.Photos, LinkType: gridapi.ActionType, LinkID: a.ID}
	if f.FoundAt.After(a.ReceivedAt) {
		f.FoundAt = a.ReceivedAt
	}
	if f.Location == "" {
		f.Location = a.Target
	}
	if (f.Lon == nil || f.Lat == nil) && site != nil {
		f.Lon, f.Lat = site.Lon, site.Lat
	}
	return f
}

func (in *ActionInput) check(c phoneClock) error {
	bad := errs.Invalid("grid.action", "履职记录有误，请按提示修改后重新提交。")
	wrong := func(pointer, message string) { bad = bad.At(pointer, message) }
	resists := in.Duty == gridapi.Dissuade || in.Duty == gridapi.Stop
	switch {
	case !uuid7.MatchString(in.ID):
		wrong("/id", notUUID)
	case !slices.Contains(gridapi.Duties, in.Duty):
		wrong("/duty", "应为 find、dissuade、stop、report 或 publicise")
	}
	if in.PlaceID == "" && strings.TrimSpace(in.Target) == "" {
		wrong("/target", "请选择巡查对象，或填写对象名称")
	}
	if strings.TrimSpace(in.What) == "" {
		wrong("/what", "请填写情况")
	}
	if in.At.IsZero() || c.future(in.At) {
		wrong("/at", "不能晚于现在，请检查手机的日期和时间")
	}
	if resists && !slices.Contains([]string{Complied, Partly, Refused}, in.Result) {
		wrong("/result", "劝导、制止请填写结果：complied、partly 或 refused")
	}
	if !resists && in.Result != "" {
		wrong("/result", "只有劝导、制止才填写结果")
	}
	if in.Duty == gridapi.Publicise && in.Audience <= 0 {
		wrong("/audience", "宣传请填写人数")
	}
	if in.Duty == gridapi.Find && in.Danger == nil && in.DangerID == "" {
		wrong("/danger", "发现隐患的，请填写隐患情况")
	}
	if in.Danger != nil && in.DangerID != "" {
		wrong("/dangerId", "新登记的隐患不必再填写关联的隐患")
	}
	if in.Danger != nil && !uuid7.MatchString(in.Danger.ID) {
		wrong("/danger/id", notUUID)
	}
	if len(bad.Fields) > 0 {
		return bad
	}
	return nil
}

// Acknowledge is the town's receipt for what was reported to it, with what it does about it.
func (s *Service) Acknowledge(ctx context.Context, id string, in AcknowledgeInput) (*Action, error) {
	return flow.Fire(ctx, s.flows.action, s.flows.acknowledge, id, in)
}

// ActionDetail is an act with the buttons of its page.
type ActionDetail struct {
	Action
	DutyName string        `json:"dutyName"`
	Where    *[2]float64   `json:"where,omitempty" doc:"履职时手机的经度、纬度；只有本人和经授权的人员可见"`
	Steps    []flow.Action `json:"steps" nullable:"false"`
}

// ActionByID is an act that the caller may see.
func (s *Service) ActionByID(ctx context.Context, id string) (*ActionDetail, error) {
	a, err := s.acts.Load(ctx, scope.For(ctx, View), id)
	if err != nil {
		return nil, err
	}
	out := &ActionDetail{Action: *a, DutyName: dutyNames[a.Duty], Steps: s.flows.action.Actions(ctx, a)}
	if a.Position != "" && (scope.For(ctx, Track).Sees(a.Place) || s.own(ctx, a.OfficerID) == nil) {
		if out.Where, err = position(a.Position); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Service) attach(ctx context.Context, ids []string, recordType, recordID string, place scope.Place) error {
	if len(ids) == 0 {
		return nil
	}
	return s.files.Attach(ctx, ids, recordType, recordID, "photo", place)
}

// under puts the fields of a refusal below the place in the input that they are about.
func under(err error, pointer string) error {
	e := errs.As(err)
	if e == nil {
		return err
	}
	c := *e
	c.Fields = nil
	for _, f := range e.Fields {
		c.Fields = append(c.Fields, errs.Field{Pointer: pointer + f.Pointer, Message: f.Message})
	}
	if len(c.Fields) == 0 {
		c.Fields = []errs.Field{{Pointer: pointer, Message: e.Message}}
	}
	return c.Because(err)
}

// taken turns a used identifier into a conflict.
func taken(err error) error {
	if _, ok := db.UniqueViolation(err); ok {
		return errIDTaken.Because(err)
	}
	return err
}
