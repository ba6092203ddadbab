package hiddendanger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/policy"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
	"anwang/internal/lib/geo"
	"anwang/internal/module/enterprise/enterpriseapi"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// Divisions knows which divisions there are: *org.Directory.
type Divisions interface {
	Divisions(ctx context.Context) (*org.Divisions, error)
}

// Service runs the use cases of hidden dangers and check lists.
type Service struct {
	db          *db.DB
	items       *record.Store[Danger, *Danger]
	lists       *record.Store[CheckList, *CheckList]
	checks      *record.Store[Check, *Check]
	bulletins   *record.Store[Bulletin, *Bulletin]
	policy      *policy.Policy[Policy]
	deadlines   *deadline.Book
	files       *file.Store
	dict        *dict.Dict
	enterprises enterpriseapi.Finder
	divisions   Divisions

	steps   steps
	machine *flow.Machine[Danger, *Danger]
}

var _ hiddendangerapi.Reporter = (*Service)(nil)

// Report takes a finding in: see hiddendangerapi.Reporter.
func (s *Service) Report(ctx context.Context, f hiddendangerapi.Finding) (string, error) {
	d, err := s.Register(ctx, f)
	if err != nil {
		return "", err
	}
	return d.ID, nil
}

// Register takes a finding in and returns the danger. The actor must be allowed to report at its place. When the finding's ID is already registered, that danger comes back unchanged.
func (s *Service) Register(ctx context.Context, f hiddendangerapi.Finding) (*Danger, error) {
	var d *Danger
	err := s.db.Tx(ctx, func(ctx context.Context) (err error) {
		if f.ID != "" {
			if d, err = s.known(ctx, f.ID); d != nil || err != nil {
				return err
			}
		}
		var p Policy
		if d, p, err = s.fromFinding(ctx, f); err != nil {
			return err
		}
		if err := s.number(ctx, d); err != nil {
			return err
		}
		if err := s.repeated(ctx, d, p); err != nil {
			return err
		}
		if err := s.items.Insert(ctx, d, record.Change{Fact: "hiddendanger.found", Title: "登记隐患", Data: f}); err != nil {
			return err
		}
		return s.attach(ctx, d, "found", "photos", f.Photos)
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// known returns the danger that a device registered before under the same id.
func (s *Service) known(ctx context.Context, id string) (*Danger, error) {
	if !uuidV7(id) {
		return nil, errs.InvalidField("hiddendanger.id", "/id", "标识应为 UUIDv7")
	}
	d, err := s.items.First(ctx, scope.All("whether the id is taken does not depend on who asks"), byID(id))
	if err != nil || d == nil {
		return nil, err
	}
	if d.FoundBy.ID != actor.From(ctx).ID {
		return nil, errs.Conflict("hiddendanger.idTaken", "该标识已被使用，请重新生成后上报。")
	}
	return d, nil
}

func (s *Service) fromFinding(ctx context.Context, f hiddendangerapi.Finding) (*Danger, Policy, error) {
	now := s.db.Clock.Now()
	reach := scope.For(ctx, PermReport)
	d := &Danger{
		Head: record.Head{ID: f.ID}, Title: clean(f.Title), Description: clean(f.Description), Category: f.Category, Location: clean(f.Location),
		Source: f.Source, State: Found, FoundAt: f.FoundAt, FoundBy: s.me(ctx), LinkType: f.LinkType, LinkID: f.LinkID,
	}
	d.FoundByID = d.FoundBy.ID
	var wrong []errs.Field
	bad := func(pointer, message string) { wrong = append(wrong, errs.Field{Pointer: pointer, Message: message}) }
	if d.FoundAt.IsZero() {
		d.FoundAt = now
	}
	if d.FoundAt.After(now.Add(10 * time.Minute)) {
		bad("/foundAt", "发现时间不能晚于现在，请检查设备时钟")
	}
	d.FoundAt = d.FoundAt.UTC().Truncate(time.Millisecond)
	if f.EnterpriseID != "" {
		e, err := s.enterprises.Find(ctx, reach, f.EnterpriseID)
		if errs.As(err) != nil && errs.KindOf(err) == errs.KindNotFound {
			return nil, Policy{}, errs.InvalidField("hiddendanger.enterprise", "/enterpriseId", "企业不存在，或不在您的管辖范围内")
		} else if err != nil {
			return nil, Policy{}, err
		}
		d.EnterpriseName = e.Name
		d.Place = e.Place
		d.EnterpriseID = e.ID
		if !e.Working() {
			bad("/enterpriseId", "该企业已注销、合并或撤销，不能登记新的隐患")
		}
		if f.Division != "" && f.Division != e.Place.Division {
			if !gbcode.Division(f.Division).IsUnder(gbcode.Division(e.Place.CountyCode)) || !s.inForce(ctx, f.Division) {
				bad("/division", "与企业不在同一县（市、区），请核对")
			}
			d.Place = scope.At(f.Division, e.Place.Line, e.ID)
		}
	} else {
		switch {
		case f.Division == "":
			bad("/division", "请选择所在行政区划，或选择所属企业")
		case !s.inForce(ctx, f.Division):
			bad("/division", "没有这个行政区划，请从列表选择")
		}
		d.Place = scope.At(f.Division, f.Line, "")
		if f.Line != "" && s.dict.Valid(dict.Line, f.Line, d.FoundAt) != nil {
			bad("/line", "没有这个监管行业领域")
		}
		d.Ownerless = true
	}
	if f.Category != "" && s.dict.Valid(CategoryDict, f.Category, d.FoundAt) != nil {
		bad("/category", "没有这个隐患类别，请从列表选择")
	}
	if (f.Lon == nil) != (f.Lat == nil) {
		bad("/lon", "经度和纬度须同时填写")
	} else if f.Lon != nil {
		d.Lon, d.Lat = *f.Lon, *f.Lat
		if err := (geo.Point{Lon: d.Lon, Lat: d.Lat}).Check(); err != nil {
			bad("/lon", err.Error())
		}
	}
	p, version, err := s.policy.For(ctx, d.Division, d.FoundAt)
	if err != nil {
		return nil, Policy{}, err
	}
	d.PolicyID = version
	if p.vague(d.Title) {
		bad("/title", "请写明什么部位存在什么问题，不要只写“"+d.Title+"”")
	}
	if len(wrong) > 0 {
		return nil, Policy{}, errs.Invalid("hiddendanger.invalid", "隐患信息填写有误，请按提示修改。", wrong...)
	}
	if !reach.Sees(d.Place) {
		return nil, Policy{}, errs.InvalidField("hiddendanger.place", "/division", "该地点不在您的管辖范围内")
	}
	return d, p, nil
}

// View is a hidden danger as its page shows it.
type View struct {
	Danger
	StateTitle   string           `json:"stateTitle" doc:"状态名称"`
	DivisionPath string           `json:"divisionPath,omitempty"`
	Overdue      bool             `json:"overdue" doc:"整改已逾期"`
	Actions      []flow.Action    `json:"actions" nullable:"false" doc:"当前可办理的步骤"`
	Clocks       []*deadline.Item `json:"clocks" nullable:"false" doc:"期限"`
}

// Show returns a danger that the caller may see, with the steps that he may take.
func (s *Service) Show(ctx context.Context, id string) (*View, error) {
	d, err := s.items.Load(ctx, scope.For(ctx, PermView), id)
	if err != nil {
		return nil, err
	}
	return s.view(ctx, d)
}

func (s *Service) view(ctx context.Context, d *Danger) (*View, error) {
	clocks := []*deadline.Item{}
	if d.Version > 1 { // no clock runs before the first step
		of, err := s.deadlines.Of(ctx, hiddendangerapi.RecordType, d.ID)
		if err != nil {
			return nil, err
		}
		clocks = append(clocks, of...)
	}
	return &View{Danger: *d, StateTitle: spec.Titles[d.State], Overdue: d.Overdue(s.db.Clock.Now()), Actions: s.machine.Actions(ctx, d), Clocks: clocks}, nil
}

// take takes a step and returns the danger as its page shows it.
func take[In flow.Input](s *Service, step flow.Step[Danger, In]) func(ctx context.Context, id string, in In) (*View, error) {
	return func(ctx context.Context, id string, in In) (v *View, err error) {
		err = s.db.Tx(ctx, func(ctx context.Context) error {
			d, err := flow.Fire(ctx, s.machine, step, id, in)
			if err != nil {
				return err
			}
			v, err = s.view(ctx, d)
			return err
		})
		return v, err
	}
}

// What the steps do. They run inside the step's transaction, on a record that is in scope and in a state that allows it.

func (s *Service) doGrade(ctx context.Context, d *Danger, in GradeInput) error {
	if in.Level == hiddendangerapi.Major {
		var wrong []errs.Field
		if in.Criterion == "" || s.dict.Valid(CriterionDict, in.Criterion, d.FoundAt) != nil {
			wrong = append(wrong, errs.Field{Pointer: "/criterion", Message: "请选择发现之日有效的重大隐患判定标准"})
		}
		if strings.TrimSpace(in.Item) == "" {
			wrong = append(wrong, errs.Field{Pointer: "/item", Message: "请填写判定标准的条款号"})
		}
		if len(wrong) > 0 {
			return errs.Invalid("hiddendanger.criterion", "重大隐患须写明判定标准和条款。", wrong...)
		}
	}
	d.Level = in.Level
	d.Detail.Grading = &Grading{By: s.by(ctx), Level: in.Level, Criterion: in.Criterion, Item: in.Item, Grounds: clean(in.Grounds)}
	return nil
}

func (s *Service) doOrder(ctx context.Context, d *Danger, in OrderInput) error {
	p, _, err := s.policy.For(ctx, d.Division, d.FoundAt)
	if err != nil {
		return err
	}
	if d.Level == hiddendangerapi.Ungraded {
		if in.Level != hiddendangerapi.General {
			return errs.InvalidField("hiddendanger.gradeFirst", "/level", "尚未定级：一般隐患可在此一并定级，重大隐患请先办理“定级”")
		}
		d.Level = in.Level
		d.Detail.Grading = &Grading{By: s.by(ctx), Level: in.Level, Grounds: "责令整改时定为一般隐患"}
	}
	days := p.GeneralDays
	if d.Level == hiddendangerapi.Major {
		days = p.MajorDays
	}
	due := deadline.EndOfDay(s.db.Clock.Now().AddDate(0, 0, days))
	if in.DueAt != "" {
		if due, err = s.day(in.DueAt, "/dueAt"); err != nil {
			return err
		}
	}
	if p.vague(in.Requirement) {
		return errs.InvalidField("hiddendanger.vague", "/requirement", "请写明要整改什么、整改到什么程度")
	}
	responsible := clean(in.Responsible)
	if responsible == "" && d.EnterpriseID != "" {
		responsible = "主要负责人" // 安全生产法 第二十一条第五项
	}
	if d.Ownerless && d.Level == hiddendangerapi.Major && d.Detail.Designation == nil {
		return errs.Conflict("hiddendanger.designateFirst", "无主体的重大隐患须先由县级人民政府指定责任单位（石台县实施意见 二十一）。")
	}
	d.Detail.Order = &Order{By: s.by(ctx), Requirement: clean(in.Requirement), DueAt: due, Responsible: responsible, Interim: clean(in.Interim), Suspend: in.Suspend}
	if in.Suspend {
		if d.EnterpriseID == "" || d.Level != hiddendangerapi.Major {
			return errs.InvalidField("hiddendanger.suspend", "/suspend", "只有企业的重大隐患可以责令停产停业")
		}
		d.Suspended = true
	}
	d.Detail.Dispute = nil
	return s.runClock(ctx, d, due, responsible)
}

func (s *Service) doReceive(ctx context.Context, d *Danger, _ PlainInput) error {
	by := s.by(ctx)
	d.Detail.Order.Received = &by
	if d.Level != hiddendangerapi.Major {
		d.State = Rectifying
	}
	return nil
}

func (s *Service) doFixOnSpot(ctx context.Context, d *Danger, in SubmitInput) error {
	if d.Level == hiddendangerapi.Ungraded {
		d.Level = hiddendangerapi.General
		d.Detail.Grading = &Grading{By: s.by(ctx), Level: d.Level, Grounds: "现场立即整改"}
	}
	if err := s.rectified(ctx, d, in); err != nil {
		return err
	}
	d.Detail.Rectification.OnSpot = true
	return nil
}

func (s *Service) doDualReport(ctx context.Context, d *Danger, in DualReportInput) error {
	r := DualReport{By: s.by(ctx), To: in.To, Receiver: clean(in.Receiver), Reported: in.Reported, Receipt: in.Receipt, Content: clean(in.Content)}
	if r.Reported.IsZero() {
		r.Reported = r.At
	}
	if r.Reported.After(r.At.Add(time.Minute)) {
		return errs.InvalidField("hiddendanger.future", "/reported", "报告时间不能晚于现在")
	}
	d.Detail.Reports = append(d.Detail.Reports, r)
	return s.attach(ctx, d, "receipt", "receipt", []string{in.Receipt})
}

func (s *Service) doSubmitPlan(ctx context.Context, d *Danger, in PlanInput) error {
	if missing := in.complete(); len(missing) > 0 {
		return errs.Invalid("hiddendanger.five", "治理方案的“五落实”不完整，请补齐后提交。", missing...)
	}
	d.Detail.Plan = &Plan{By: s.by(ctx), Five: in.Five, Goal: clean(in.Goal)}
	return nil
}

func (s *Service) doApprovePlan(ctx context.Context, d *Danger, in OpinionInput) error {
	by := s.by(ctx)
	d.Detail.Plan.Approved, d.Detail.Plan.Opinion = &by, clean(in.Opinion)
	return nil
}

func (s *Service) doReturnPlan(ctx context.Context, d *Danger, in ReasonInput) error {
	d.Detail.Returns = append(d.Detail.Returns, Return{By: s.by(ctx), Step: "plan", Reason: clean(in.Reason)})
	return nil
}

func (s *Service) doSubmit(ctx context.Context, d *Danger, in SubmitInput) error {
	if err := s.rectified(ctx, d, in); err != nil {
		return err
	}
	item, err := s.deadlines.Meet(ctx, ref(d, slotRectify), time.Time{})
	if errors.Is(err, deadline.ErrNone) {
		return nil
	} else if err != nil {
		return err
	}
	d.Detail.Rectification.Late = item.State == deadline.Late
	return s.awaitReview(ctx, d)
}

// rectified notes what was done and by whom.
func (s *Service) rectified(ctx context.Context, d *Danger, in SubmitInput) error {
	p, _, err := s.policy.For(ctx, d.Division, d.FoundAt)
	if err != nil {
		return err
	}
	if p.vague(in.Measures) {
		return errs.InvalidField("hiddendanger.vague", "/measures", "请写明采取了什么措施、完成情况如何")
	}
	by := s.by(ctx)
	d.RectifiedBy, d.VerifiedBy = by.Person.ID, ""
	d.Detail.Rectification = &Rectification{By: by, Measures: clean(in.Measures), Cost: in.Cost, Photos: in.Photos}
	d.Detail.Acceptance, d.Detail.Verification = nil, nil
	return s.attach(ctx, d, "rectified", "photos", in.Photos)
}

func (s *Service) doAcceptance(ctx context.Context, d *Danger, in AcceptanceInput) error {
	if _, err := gbcode.ParseUSCC(in.AgencyCode); err != nil {
		return errs.InvalidField("hiddendanger.agency", "/agencyCode", err.Error())
	}
	d.Detail.Acceptance = &Acceptance{By: s.by(ctx), Agency: clean(in.Agency), AgencyCode: in.AgencyCode, Conclusion: in.Conclusion, Opinion: clean(in.Opinion), Report: in.Report}
	return s.attach(ctx, d, "acceptance", "report", []string{in.Report})
}

func (s *Service) doVerify(ctx context.Context, d *Danger, in VerifyInput) error {
	by := s.by(ctx)
	d.VerifiedBy = by.Person.ID
	d.Detail.Verification = &Verification{By: by, Opinion: clean(in.Opinion), Photos: in.Photos}
	if err := s.attach(ctx, d, "verified", "photos", in.Photos); err != nil {
		return err
	}
	return s.met(ctx, d, slotVerify)
}

func (s *Service) doReturn(ctx context.Context, d *Danger, in ReturnInput) error {
	now := s.db.Clock.Now()
	due := d.DueAt
	if in.DueAt != "" {
		var err error
		if due, err = s.day(in.DueAt, "/dueAt"); err != nil {
			return err
		}
	}
	if !due.After(now) {
		return errs.InvalidField("hiddendanger.due", "/dueAt", "原整改期限已过，请填写新的整改期限")
	}
	d.Detail.Returns = append(d.Detail.Returns, Return{By: s.by(ctx), Step: "rectification", Reason: clean(in.Reason)})
	d.RectifiedBy = ""
	if err := s.met(ctx, d, slotVerify); err != nil {
		return err
	}
	responsible := ""
	if d.Detail.Order != nil {
		responsible = d.Detail.Order.Responsible
	}
	return s.runClock(ctx, d, due, responsible)
}

func (s *Service) doClose(ctx context.Context, d *Danger, in OpinionInput) error {
	by := s.by(ctx)
	d.ClosedAt = by.At
	d.Detail.Closing = &Closing{By: by, Opinion: clean(in.Opinion)}
	if l := d.Detail.Listing; l != nil && d.Listed != "" {
		if err := s.met(ctx, d, slotListing); err != nil {
			return err
		}
	}
	return s.deadlines.CancelAll(ctx, hiddendangerapi.RecordType, d.ID, "隐患已销号")
}

func (s *Service) doAskExtension(ctx context.Context, d *Danger, in ExtendInput) error {
	p, _, err := s.policy.For(ctx, d.Division, d.FoundAt)
	if err != nil {
		return err
	}
	granted := 0
	for _, e := range d.Detail.Extensions {
		if e.Granted {
			granted++
		}
	}
	if granted >= p.MaxExtensions {
		return errs.Conflict("hiddendanger.extensionsUsed", fmt.Sprintf("最多延期 %d 次，已用完。确有困难的，请与监管部门协商后续处置。", p.MaxExtensions))
	}
	until, err := s.day(in.Until, "/until")
	if err != nil {
		return err
	}
	if !until.After(d.DueAt) {
		return errs.InvalidField("hiddendanger.due", "/until", "应晚于现在的整改期限")
	}
	d.Detail.Extensions = append(d.Detail.Extensions, Extension{By: s.by(ctx), Reason: clean(in.Reason), Until: until, Interim: clean(in.Interim)})
	return nil
}

func (s *Service) doAnswerExtension(ctx context.Context, d *Danger, in AnswerInput) error {
	e := d.pendingExtension()
	by := s.by(ctx)
	e.Answered, e.Granted, e.Opinion = &by, in.Granted, clean(in.Opinion)
	if !in.Granted {
		return nil
	}
	item, err := s.deadlines.Extend(ctx, ref(d, slotRectify), deadline.ExtendInput{Until: e.Until, Reason: e.Reason, Approver: by.Person.Name})
	if err != nil {
		return err
	}
	d.DueAt, d.Provisional, d.EscalatedTo = item.Due, item.Provisional, ""
	return nil
}

func (s *Service) doDispute(ctx context.Context, d *Danger, in ReasonInput) error {
	d.Detail.Dispute = &Dispute{By: s.by(ctx), Reason: clean(in.Reason), From: d.State}
	_, err := s.deadlines.Pause(ctx, ref(d, slotRectify), time.Time{}, "当事人提出异议")
	return ignoreOverdue(err)
}

func (s *Service) doAnswerDispute(ctx context.Context, d *Danger, in DisputeAnswerInput) error {
	by := s.by(ctx)
	x := d.Detail.Dispute
	x.Answered, x.Upheld, x.Opinion = &by, in.Result != "refused", clean(in.Opinion)
	switch in.Result {
	case "refused":
		d.State = x.From
		item, err := s.deadlines.Resume(ctx, ref(d, slotRectify), time.Time{}, "异议不成立")
		if err != nil {
			return ignoreOverdue(err)
		}
		d.DueAt, d.Provisional = item.Due, item.Provisional
		return nil
	case "regrade":
		d.State, d.Level, d.DueAt = Graded, hiddendangerapi.General, time.Time{}
		d.Detail.Grading = &Grading{By: by, Level: d.Level, Grounds: "异议成立：" + x.Opinion}
	default:
		d.State, d.Detail.VoidReason = Void, "异议成立，不构成隐患："+x.Opinion
	}
	return s.deadlines.CancelAll(ctx, hiddendangerapi.RecordType, d.ID, "异议成立")
}

func (s *Service) doList(ctx context.Context, d *Danger, in ListInput) error {
	due, err := s.day(in.DueAt, "/dueAt")
	if err != nil {
		return err
	}
	d.Listed = in.Level
	d.Detail.Listing = &Listing{By: s.by(ctx), Level: in.Level, Unit: clean(in.Unit), DocumentNo: clean(in.DocumentNo), DueAt: due}
	_, err = s.deadlines.Restart(ctx, deadline.StartInput{Ref: ref(d, slotListing), Place: d.Place, RuleKey: ruleListing, Due: due,
		Title: "挂牌督办", Responsible: deadline.Party{Name: clean(in.Unit)}}, "重新挂牌")
	return err
}

func (s *Service) doDelist(ctx context.Context, d *Danger, in ReasonInput) error {
	by := s.by(ctx)
	d.Detail.Listing.Delisted, d.Detail.Listing.Reason = &by, clean(in.Reason)
	d.Listed = ""
	return s.met(ctx, d, slotListing)
}

func (s *Service) doAssign(ctx context.Context, d *Danger, in AssignInput) error {
	due, err := s.day(in.DueAt, "/dueAt")
	if err != nil {
		return err
	}
	d.Detail.Assignment = &Assignment{By: s.by(ctx), Unit: clean(in.Unit), Leader: clean(in.Leader), DueAt: due}
	_, err = s.deadlines.Restart(ctx, deadline.StartInput{Ref: ref(d, slotAssignment), Place: d.Place, RuleKey: ruleAssignment, Due: due,
		Title: "交办事项", Responsible: deadline.Party{Name: clean(in.Unit)}}, "重新交办")
	return err
}

func (s *Service) doReceiveAssignment(ctx context.Context, d *Danger, _ PlainInput) error {
	by := s.by(ctx)
	d.Detail.Assignment.Received = &by
	return nil
}

func (s *Service) doDesignate(ctx context.Context, d *Danger, in DesignateInput) error {
	d.Ownerless = true
	d.Detail.Designation = &Designation{By: s.by(ctx), Unit: clean(in.Unit), DocumentNo: clean(in.DocumentNo), Fund: in.Fund, FundSource: clean(in.FundSource)}
	return nil
}

func (s *Service) doSuspend(ctx context.Context, d *Danger, in ReasonInput) error {
	d.Suspended = true
	d.Detail.Resumption = nil
	return nil
}

func (s *Service) doAskResume(ctx context.Context, d *Danger, in ReasonInput) error {
	d.Detail.Resumption = &Resumption{By: s.by(ctx), Request: clean(in.Reason)}
	_, err := s.deadlines.Start(ctx, deadline.StartInput{Ref: ref(d, slotResume), Place: d.Place, RuleKey: ruleResume})
	return err
}

func (s *Service) doAnswerResume(ctx context.Context, d *Danger, in AnswerInput) error {
	by := s.by(ctx)
	r := d.Detail.Resumption
	r.Reviewed, r.Granted, r.Opinion = &by, in.Granted, clean(in.Opinion)
	d.Suspended = !in.Granted
	return s.met(ctx, d, slotResume)
}

func (s *Service) doDisclose(ctx context.Context, d *Danger, in DiscloseInput) error {
	d.Disclosed = true
	redact := in.Redact
	if redact == nil {
		redact = []string{"foundBy"}
	}
	d.Detail.Disclosure = &Disclosure{By: s.by(ctx), Redact: redact}
	return nil
}

func (s *Service) doWithdraw(ctx context.Context, d *Danger, in ReasonInput) error {
	by := s.by(ctx)
	d.Disclosed = false
	d.Detail.Disclosure.Withdrawn, d.Detail.Disclosure.Reason = &by, clean(in.Reason)
	return nil
}

func (s *Service) doVoid(ctx context.Context, d *Danger, in ReasonInput) error {
	d.Detail.VoidReason = clean(in.Reason)
	return s.deadlines.CancelAll(ctx, hiddendangerapi.RecordType, d.ID, "隐患已作废")
}

// The clocks.

const (
	slotRectify    = "rectify"
	slotVerify     = "verify"
	slotListing    = "listing"
	slotAssignment = "assignment"
	slotResume     = "resume"

	ruleRectify    = "hiddendanger.rectify"
	ruleVerify     = "hiddendanger.verify"
	ruleListing    = "hiddendanger.listing"
	ruleAssignment = "hiddendanger.assignment"
	ruleResume     = "hiddendanger.resume"
	ruleSelfCheck  = "hiddendanger.selfCheck"
)

func ref(d *Danger, slot string) deadline.Ref {
	return deadline.Ref{RecordType: hiddendangerapi.RecordType, RecordID: d.ID, Slot: slot}
}

// runClock starts the clock of rectification with the end that the order names.
func (s *Service) runClock(ctx context.Context, d *Danger, due time.Time, responsible string) error {
	item, err := s.deadlines.Restart(ctx, deadline.StartInput{Ref: ref(d, slotRectify), Place: d.Place, RuleKey: ruleRectify, Due: due,
		Title: "隐患整改：" + d.Title, Responsible: deadline.Party{ID: d.EnterpriseID, Name: responsible}}, "重新责令整改")
	if err != nil {
		return err
	}
	d.DueAt, d.Provisional, d.EscalatedTo = item.Due, item.Provisional, ""
	return nil
}

// awaitReview starts the clock of those who have to verify.
func (s *Service) awaitReview(ctx context.Context, d *Danger) error {
	_, err := s.deadlines.Restart(ctx, deadline.StartInput{Ref: ref(d, slotVerify), Place: d.Place, RuleKey: ruleVerify, Title: "隐患验收：" + d.Title}, "重新提交验收")
	return err
}

func (s *Service) met(ctx context.Context, d *Danger, slot string) error {
	_, err := s.deadlines.Meet(ctx, ref(d, slot), time.Time{})
	if errors.Is(err, deadline.ErrNone) {
		return nil
	}
	return err
}

// ignoreOverdue lets a dispute go on when its clock has run out: there is nothing left to pause.
func ignoreOverdue(err error) error {
	if e := errs.As(err); e != nil && (e.Code == "deadline.overdue" || e.Code == "deadline.notPaused" || errors.Is(err, deadline.ErrNone)) {
		return nil
	}
	return err
}

// day reads a date of an input as the end of that day; it must not be past.
func (s *Service) day(text, pointer string) (time.Time, error) {
	day, err := time.ParseInLocation(time.DateOnly, text, clock.Zone)
	if err != nil {
		return time.Time{}, errs.InvalidField("hiddendanger.date", pointer, "应为日期，如 2026-12-31")
	}
	end := deadline.EndOfDay(day)
	now := s.db.Clock.Now()
	if !end.After(now) {
		return time.Time{}, errs.InvalidField("hiddendanger.date", pointer, "不能早于今天")
	}
	if end.After(now.AddDate(10, 0, 0)) {
		return time.Time{}, errs.InvalidField("hiddendanger.date", pointer, "不能超过十年")
	}
	return end, nil
}

func (s *Service) me(ctx context.Context) hiddendangerapi.Person {
	a := actor.From(ctx)
	p := hiddendangerapi.Person{ID: a.ID, Name: a.Name}
	if len(a.Grants) > 0 {
		p.Unit = a.Grants[0].UnitName
	}
	return p
}

func (s *Service) by(ctx context.Context) By { return By{s.me(ctx), s.db.Clock.Now()} }

func (s *Service) attach(ctx context.Context, d *Danger, slot, field string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := s.files.Attach(ctx, file.AttachInput{RecordType: hiddendangerapi.RecordType, RecordID: d.ID, Slot: slot, Place: d.Place, IDs: ids})
	if e := errs.As(err); e != nil && e.Kind == errs.KindInvalid {
		return errs.InvalidField("hiddendanger.attachment", "/"+field, e.Message)
	}
	return err
}

// inForce reports whether the code is a division of today.
func (s *Service) inForce(ctx context.Context, code string) bool {
	all, err := s.divisions.Divisions(ctx)
	if err != nil {
		return false // the database is away: whatever comes next says so
	}
	d := all.Division(code)
	return d != nil && d.InForce(s.db.Clock.Now())
}

func byID(id string) func(*bun.SelectQuery) *bun.SelectQuery {
	return func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.id = ?", id) }
}

// clean trims a text and drops what no text should hold: control characters but line breaks, and marks that turn the direction of writing.
func clean(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return -1
		}
		return r
	}, s))
}

func uuidV7(s string) bool {
	if len(s) != 36 || s[14] != '7' || !slices.Contains([]byte("89ab"), s[19]) {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}
