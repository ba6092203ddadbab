package enterprise

import (
	"context"
	"slices"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/module/enterprise/enterpriseapi"
)

// The permissions of the module.
const (
	View     = "enterprise.view"
	Edit     = "enterprise.edit"
	Import   = "enterprise.import"
	Merge    = "enterprise.merge"
	Grade    = "enterprise.grade"
	Personal = "enterprise.personal" // see telephone numbers in full
	Self     = "enterprise.self"     // an enterprise's own people: contacts, safety staff, position
)

const (
	active    flow.State = enterpriseapi.Active
	suspended flow.State = enterpriseapi.Suspended
	closed    flow.State = enterpriseapi.Closed
	merged    flow.State = enterpriseapi.Merged
	withdrawn flow.State = enterpriseapi.Withdrawn
)

var stateTitles = map[flow.State]string{active: "在业", suspended: "停产停业", closed: "已注销或关闭", merged: "已并入其他档案", withdrawn: "已撤回（导入撤销）"}

var working = []flow.State{active, suspended}

// ChangeInput changes facts. What is left out stays.
type ChangeInput struct {
	flow.Read
	Name     *string `json:"name,omitempty" minLength:"2" maxLength:"100" doc:"企业名称；改名后原名称留作曾用名"`
	Industry *string `json:"industry,omitempty" maxLength:"10" doc:"行业代码（GB/T 4754-2017），如 C2614"`
	Facts
	Reason string `json:"reason,omitempty" maxLength:"200" doc:"变更原因"`
}

// SelfInput is what an enterprise's own people may change.
type SelfInput struct {
	flow.Read
	People   []Person  `json:"people,omitempty" maxItems:"200" doc:"安全总监、安全生产管理人员、兼职安全员、联系人的全部名单；填写则替换"`
	Position *Position `json:"position,omitempty" doc:"经营地址的坐标"`
}

// MoveInput moves an enterprise to another division.
type MoveInput struct {
	flow.Read
	Division string    `json:"division" minLength:"6" maxLength:"12" doc:"迁入的行政区划代码"`
	Address  *string   `json:"address,omitempty" maxLength:"200" doc:"新的经营地址"`
	Position *Position `json:"position,omitempty" doc:"新址坐标；不填则清除原坐标"`
	Reason   string    `json:"reason" minLength:"1" maxLength:"200" doc:"迁移原因"`
}

// GradeInput states class and grade against the rule; both left out returns to the rule.
type GradeInput struct {
	flow.Read
	Class  string `json:"class,omitempty" enum:"highRisk,general" doc:"类别"`
	Grade  string `json:"grade,omitempty" enum:"A,B,C,D" doc:"等级"`
	Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"理由"`
}

// AssignInput states a competent department; without one the side is left to the directory of functions again.
type AssignInput struct {
	flow.Read
	Side         string `json:"side" enum:"territory,line" doc:"属地监管或行业监管"`
	DepartmentID string `json:"departmentId,omitempty" maxLength:"64" doc:"部门；不填则恢复按职能确定"`
	Reason       string `json:"reason" minLength:"1" maxLength:"200" doc:"理由"`
}

// StateInput changes the state.
type StateInput struct {
	flow.Read
	Reason string `json:"reason" minLength:"1" maxLength:"200" doc:"原因，如 市场监管部门注销登记"`
}

// MergeInput merges a duplicate into the file that stays.
type MergeInput struct {
	flow.Read
	Into        string `json:"into" minLength:"1" maxLength:"64" doc:"保留的企业档案"`
	IntoVersion int64  `json:"intoVersion" minimum:"1" doc:"保留档案所依据的版本"`
	Reason      string `json:"reason" minLength:"1" maxLength:"200" doc:"认定为同一企业的理由"`
}

// withdrawInput is the program's own: the import that brought the enterprise is undone.
type withdrawInput struct {
	flow.Read
	Import string `json:"import"`
}

// steps are all ways to change a file. They are values, so that each has its operation, its permission and its button.
type steps struct {
	change  flow.Step[Enterprise, ChangeInput]
	self    flow.Step[Enterprise, SelfInput]
	move    flow.Step[Enterprise, MoveInput]
	grade   flow.Step[Enterprise, GradeInput]
	assign  flow.Step[Enterprise, AssignInput]
	suspend flow.Step[Enterprise, StateInput]
	resume  flow.Step[Enterprise, StateInput]
	close   flow.Step[Enterprise, StateInput]
	reopen  flow.Step[Enterprise, StateInput]
	merge   flow.Step[Enterprise, MergeInput]
	// withdraw is taken by the undoing of an import, many at a time: see imports.go.
	withdraw flow.Step[Enterprise, withdrawInput]
}

func (s *Service) define() {
	s.steps = steps{
		change: flow.Step[Enterprise, ChangeInput]{Name: "change", Title: "变更登记", Fact: enterpriseapi.EventChanged, Need: Edit,
			From: []flow.State{active, suspended, closed}, Do: s.doChange},
		self: flow.Step[Enterprise, SelfInput]{Name: "self", Title: "更新本企业信息", Fact: enterpriseapi.EventChanged, Need: Self,
			From: working, Do: s.doSelf},
		move: flow.Step[Enterprise, MoveInput]{Name: "move", Title: "迁移", Fact: enterpriseapi.EventMoved, Need: Edit,
			From: working, Do: s.doMove},
		grade: flow.Step[Enterprise, GradeInput]{Name: "grade", Title: "分类分级", Fact: enterpriseapi.EventGraded, Need: Grade,
			From: working, Do: s.doGrade},
		assign: flow.Step[Enterprise, AssignInput]{Name: "assign", Title: "指定监管部门", Fact: enterpriseapi.EventAssigned, Need: Edit,
			From: working, Do: s.doAssign},
		suspend: stateStep("suspend", "登记停产停业", enterpriseapi.EventSuspended, suspended, active),
		resume:  stateStep("resume", "登记恢复生产", enterpriseapi.EventResumed, active, suspended),
		close:   stateStep("close", "登记注销或关闭", enterpriseapi.EventClosed, closed, active, suspended),
		reopen:  stateStep("reopen", "更正为在业", enterpriseapi.EventReopened, active, closed),
		merge: flow.Step[Enterprise, MergeInput]{Name: "merge", Title: "并入其他档案", Fact: enterpriseapi.EventMerged, Need: Merge,
			From: working, To: []flow.State{merged}, Do: s.doMerge},
		withdraw: flow.Step[Enterprise, withdrawInput]{Name: "withdraw", Title: "撤销导入，撤回档案", Fact: enterpriseapi.EventWithdrawn, Need: Import,
			From: working, To: []flow.State{withdrawn}, Hidden: true},
	}
	x := &s.steps
	s.machine = flow.Define(s.db, s.store, flow.Spec{Name: "enterprise", Title: "企业档案", Initial: []flow.State{active}, Final: []flow.State{merged, withdrawn},
		Titles: stateTitles}, x.change, x.self, x.move, x.grade, x.assign, x.suspend, x.resume, x.close, x.reopen, x.merge, x.withdraw)
}

func stateStep(name, title, fact string, to flow.State, from ...flow.State) flow.Step[Enterprise, StateInput] {
	return flow.Step[Enterprise, StateInput]{Name: name, Title: title, Fact: fact, Need: Edit, From: from, To: []flow.State{to},
		Do: func(_ context.Context, e *Enterprise, in StateInput) error {
			var p problems
			e.StateReason = *p.text("/reason", &in.Reason, 1, 200)
			return p.err()
		}}
}

// Change changes facts about an enterprise.
func (s *Service) Change(ctx context.Context, id string, in ChangeInput) (*File, error) {
	return fire(ctx, s, s.steps.change, id, in)
}

// ChangeOwn changes what an enterprise's own people may change.
func (s *Service) ChangeOwn(ctx context.Context, id string, in SelfInput) (*File, error) {
	return fire(ctx, s, s.steps.self, id, in)
}

// Move moves an enterprise to another division. What was filed about it before stays where it was filed.
func (s *Service) Move(ctx context.Context, id string, in MoveInput) (*File, error) {
	return fire(ctx, s, s.steps.move, id, in)
}

// Regrade states class and grade, or grades by the rule again.
func (s *Service) Regrade(ctx context.Context, id string, in GradeInput) (*File, error) {
	return fire(ctx, s, s.steps.grade, id, in)
}

// Assign states which department is competent, or leaves it to the directory of functions again.
func (s *Service) Assign(ctx context.Context, id string, in AssignInput) (*File, error) {
	return fire(ctx, s, s.steps.assign, id, in)
}

// Suspend, Resume, Close and Reopen change the state.
func (s *Service) Suspend(ctx context.Context, id string, in StateInput) (*File, error) {
	return fire(ctx, s, s.steps.suspend, id, in)
}

// Resume: see Suspend.
func (s *Service) Resume(ctx context.Context, id string, in StateInput) (*File, error) {
	return fire(ctx, s, s.steps.resume, id, in)
}

// Close: see Suspend. A closed file stays, with its history; it can be corrected by Reopen.
func (s *Service) Close(ctx context.Context, id string, in StateInput) (*File, error) {
	return fire(ctx, s, s.steps.close, id, in)
}

// Reopen: see Suspend.
func (s *Service) Reopen(ctx context.Context, id string, in StateInput) (*File, error) {
	return fire(ctx, s, s.steps.reopen, id, in)
}

// MergeInto ends the file with the id as a duplicate of another one, which takes over what it lacks, and returns the ended file.
func (s *Service) MergeInto(ctx context.Context, id string, in MergeInput) (*File, error) {
	var out *File
	err := s.db.Tx(ctx, func(ctx context.Context) (err error) {
		if out, err = fire(ctx, s, s.steps.merge, id, in); err != nil {
			return err
		}
		// Now that the duplicate has let go of its code, the other one may take it.
		keep, err := s.store.Load(ctx, scope.For(ctx, Merge), in.Into)
		if err != nil {
			return err
		}
		r, err := s.rules(ctx)
		if err != nil {
			return err
		}
		keep.takeOver(&out.Enterprise, clock.Date(r.now))
		r.derive(keep)
		if r.failed != nil {
			return r.failed
		}
		return s.store.Update(ctx, keep, record.Change{Fact: enterpriseapi.EventChanged, Title: "并入重复档案",
			Data: mergeTrace{Merged: id, Reason: in.Reason}})
	})
	return out, err
}

// mergeTrace is what the log says about the file that stays.
type mergeTrace struct {
	Merged string `json:"merged"`
	Reason string `json:"reason"`
}

func fire[In flow.Input](ctx context.Context, s *Service, step flow.Step[Enterprise, In], id string, in In) (*File, error) {
	// Divisions and code tables are looked at before the transaction begins: they may have to be read anew.
	r, err := s.rules(ctx)
	if err != nil {
		return nil, err
	}
	e, err := flow.Fire(context.WithValue(ctx, rulesKey{}, r), s.machine, step, id, in)
	if err != nil {
		return nil, err
	}
	return s.file(ctx, e, "")
}

type rulesKey struct{}

// edit applies what is stated and checks what only the register knows: that the code is free, and that the enterprise does not leave the caller's reach.
func (s *Service) edit(ctx context.Context, e *Enterprise, need string, in edit) error {
	r := ctx.Value(rulesKey{}).(*rules)
	code := e.USCC
	var p problems
	r.apply(e, in, &p)
	if err := p.err(); err != nil {
		return err
	}
	if r.failed != nil {
		return r.failed
	}
	if e.USCC != code {
		if err := s.free(ctx, e); err != nil {
			return err
		}
	}
	if !scope.For(ctx, need).Sees(e.Place) {
		return errs.Forbidden("enterprise.outOfReach", "变更后该企业将不在您的管辖范围内，请由上级或综合监管部门办理。")
	}
	return nil
}

func (s *Service) doChange(ctx context.Context, e *Enterprise, in ChangeInput) error {
	return s.edit(ctx, e, Edit, edit{Name: in.Name, Industry: in.Industry, Facts: in.Facts})
}

func (s *Service) doSelf(ctx context.Context, e *Enterprise, in SelfInput) error {
	facts := Facts{Position: in.Position}
	if in.People != nil {
		for _, p := range in.People {
			if !slices.Contains(ownRoles, p.Role) {
				return errs.InvalidField("enterprise.notOwn", "/people", "法定代表人、实际控制人、主要负责人的变更请向监管部门申请，此处只填写安全总监、安全管理人员和联系人")
			}
		}
		others := slices.DeleteFunc(slices.Clone(e.People), func(p Person) bool { return slices.Contains(ownRoles, p.Role) })
		facts.People = append(others, in.People...)
	}
	return s.edit(ctx, e, Self, edit{Facts: facts})
}

func (s *Service) doMove(ctx context.Context, e *Enterprise, in MoveInput) error {
	if in.Division == e.Division {
		return errs.InvalidField("enterprise.sameDivision", "/division", "该企业已在此行政区划，请选择迁入地")
	}
	var p problems
	p.text("/reason", &in.Reason, 1, 200)
	if err := p.err(); err != nil {
		return err
	}
	e.Lon, e.Lat, e.GivenCRS = nil, nil, ""
	e.Stated = []StatedDepartment{} // they were stated for the old place
	return s.edit(ctx, e, Edit, edit{Division: &in.Division, Facts: Facts{Address: in.Address, Position: in.Position}})
}

func (s *Service) doGrade(ctx context.Context, e *Enterprise, in GradeInput) error {
	r := ctx.Value(rulesKey{}).(*rules)
	var p problems
	reason := p.text("/reason", &in.Reason, 1, 500)
	if (in.Class == "") != (in.Grade == "") {
		p.add("/grade", "类别和等级请同时填写；都不填则按规则重新评定")
	}
	p.choice("/class", &in.Class, &e.Class, classTitles)
	p.choice("/grade", &in.Grade, &e.Grade, map[string]string{"A": "A", "B": "B", "C": "C", "D": "D"})
	if err := p.err(); err != nil {
		return err
	}
	e.Grading.Stated = in.Class != ""
	if !e.Grading.Stated {
		e.Grading.At = ""
		r.derive(e)
		return r.failed
	}
	policy, version := r.grading(e.Division)
	byRule := *e
	byRule.grade(policy, version, r.now)
	e.Grading = Grading{Points: byRule.Grading.Points, Reasons: byRule.Grading.Reasons, Rule: version, At: clock.Date(r.now),
		Stated: true, By: actor.From(ctx).Name, Reason: *reason}
	return r.failed
}

func (s *Service) doAssign(ctx context.Context, e *Enterprise, in AssignInput) error {
	r := ctx.Value(rulesKey{}).(*rules)
	var p problems
	reason := p.text("/reason", &in.Reason, 1, 200)
	if in.Side != territory && in.Side != lineSide {
		p.add("/side", "只能是 territory（属地监管）或 line（行业监管）")
	}
	var d *org.Department
	if in.DepartmentID != "" {
		var err error
		if d, err = s.department(ctx, r, e.Division, in.DepartmentID); err != nil {
			return err
		}
		if d == nil {
			p.add("/departmentId", "请选择该企业所在地或其上级的现行部门")
		}
	}
	if err := p.err(); err != nil {
		return err
	}
	e.Stated = slices.DeleteFunc(slices.Clone(e.Stated), func(x StatedDepartment) bool { return x.Side == in.Side })
	if d != nil {
		e.Stated = append(e.Stated, StatedDepartment{Side: in.Side, DepartmentID: d.ID, Name: d.Name, Reason: *reason,
			By: actor.From(ctx).Name, Since: clock.Date(r.now)})
	}
	return nil
}

func (s *Service) doMerge(ctx context.Context, e *Enterprise, in MergeInput) error {
	if in.Into == e.ID {
		return errs.InvalidField("enterprise.mergeSelf", "/into", "不能并入自己，请选择另一份档案")
	}
	var p problems
	e.StateReason = *p.text("/reason", &in.Reason, 1, 200)
	if err := p.err(); err != nil {
		return err
	}
	keep, err := s.store.Load(ctx, scope.For(ctx, Merge), in.Into)
	if err != nil {
		return err
	}
	if err := s.store.CheckVersion(keep, in.IntoVersion); err != nil {
		return err
	}
	if !keep.Working() {
		return errs.Conflict("enterprise.mergeIntoEnded", "要保留的档案“"+keep.Name+"”"+stateTitles[keep.State]+"，不能并入，请选择在业的档案。")
	}
	e.MergedInto = keep.ID
	return nil
}

// takeOver fills what e lacks from a duplicate. What e states itself stays.
func (e *Enterprise) takeOver(from *Enterprise, today string) {
	if from.Name != e.Name && !slices.ContainsFunc(e.FormerNames, func(f FormerName) bool { return f.Name == from.Name }) {
		e.FormerNames = append(slices.Clone(e.FormerNames), FormerName{from.Name, today})
	}
	for _, f := range []struct{ mine, theirs *string }{
		{&e.ShortName, &from.ShortName}, {&e.RegisteredAddress, &from.RegisteredAddress}, {&e.Address, &from.Address}, {&e.Scale, &from.Scale}, {&e.Kind, &from.Kind},
	} {
		if *f.mine == "" {
			*f.mine = *f.theirs
		}
	}
	if e.USCC == "" && from.USCC != "" {
		e.IDKind, e.USCC, e.NoUSCCReason = withUSCC, from.USCC, ""
	}
	if e.Lon == nil {
		e.Lon, e.Lat, e.GivenCRS = from.Lon, from.Lat, from.GivenCRS
	}
	if e.Employees == 0 {
		e.Employees = from.Employees
	}
	if len(e.People) == 0 {
		e.People = from.People
	}
	for _, h := range from.Hazards {
		if !slices.Contains(e.Hazards, h) {
			e.Hazards = append(slices.Clone(e.Hazards), h)
		}
	}
	slices.Sort(e.Hazards)
}

var recordType = record.Type{Name: enterpriseapi.RecordType, Title: "企业档案"}
