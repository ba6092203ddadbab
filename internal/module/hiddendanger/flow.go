package hiddendanger

import (
	"context"
	"slices"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// The states of a hidden danger.
const (
	Found      flow.State = "found"      // 待定级
	Graded     flow.State = "graded"     // 已定级
	Ordered    flow.State = "ordered"    // 已责令整改
	Planned    flow.State = "planned"    // 治理方案待审
	Rectifying flow.State = "rectifying" // 整改中
	Submitted  flow.State = "submitted"  // 待验收
	Verified   flow.State = "verified"   // 已验收
	Disputed   flow.State = "disputed"   // 有异议
	Closed     flow.State = "closed"     // 已销号
	Void       flow.State = "void"       // 已作废
)

var (
	final     = []flow.State{Closed, Void}
	clockRuns = []flow.State{Ordered, Planned, Rectifying}
	open      = []flow.State{Found, Graded, Ordered, Planned, Rectifying, Submitted, Verified, Disputed}
)

var spec = flow.Spec{
	Name: "hiddendanger", Title: "隐患治理", Initial: []flow.State{Found}, Final: final,
	Titles: map[flow.State]string{
		Found: "待定级", Graded: "已定级", Ordered: "已责令整改", Planned: "治理方案待审", Rectifying: "整改中",
		Submitted: "待验收", Verified: "已验收", Disputed: "有异议", Closed: "已销号", Void: "已作废",
	},
}

// The inputs of the steps.
type (
	// GradeInput judges the level.
	GradeInput struct {
		flow.Read
		Level     hiddendangerapi.Level `json:"level" enum:"general,major" doc:"等级"`
		Criterion string                `json:"criterion,omitempty" maxLength:"60" doc:"重大隐患的判定标准（字典 majorCriterion）"`
		Item      string                `json:"item,omitempty" maxLength:"60" doc:"判定标准的条款号，如 第四条第（二）项"`
		Grounds   string                `json:"grounds" minLength:"2" maxLength:"1000" doc:"判定理由"`
	}
	// OrderInput orders rectification.
	OrderInput struct {
		flow.Read
		Level       hiddendangerapi.Level `json:"level,omitempty" enum:"general,major" doc:"尚未定级时可一并定为一般隐患"`
		Requirement string                `json:"requirement" minLength:"4" maxLength:"2000" doc:"整改要求"`
		DueAt       string                `json:"dueAt,omitempty" maxLength:"10" doc:"整改期限（日期，当日24时止）；不填按本地规定"`
		Responsible string                `json:"responsible,omitempty" maxLength:"50" doc:"整改责任人；不填为企业主要负责人"`
		Interim     string                `json:"interim,omitempty" maxLength:"1000" doc:"整改期间的防范措施"`
		Suspend     bool                  `json:"suspend,omitempty" doc:"责令停产停业或停止使用相关设施（安全生产法 第六十五条）"`
	}
	// PlainInput carries nothing but the version.
	PlainInput struct {
		flow.Read
	}
	// PlanInput submits the plan of a major danger.
	PlanInput struct {
		flow.Read
		Goal string `json:"goal" minLength:"4" maxLength:"2000" doc:"治理的目标和任务"`
		Five
	}
	// OpinionInput carries an opinion.
	OpinionInput struct {
		flow.Read
		Opinion string `json:"opinion" minLength:"2" maxLength:"2000" doc:"意见"`
	}
	// ReasonInput carries a reason.
	ReasonInput struct {
		flow.Read
		Reason string `json:"reason" minLength:"4" maxLength:"2000" doc:"理由"`
	}
	// DualReportInput records one of the two reports on a major danger.
	DualReportInput struct {
		flow.Read
		To       string    `json:"to" enum:"department,congress" doc:"department 主管部门；congress 职工大会或职代会"`
		Receiver string    `json:"receiver" minLength:"2" maxLength:"100" doc:"接收单位和接收人"`
		Reported time.Time `json:"reported,omitzero" doc:"报告时间；不填为现在"`
		Receipt  string    `json:"receipt" minLength:"1" maxLength:"36" doc:"回执（附件标识）"`
		Content  string    `json:"content" minLength:"10" maxLength:"5000" doc:"现状及产生原因；危害程度和整改难易程度；治理方案"`
	}
	// SubmitInput submits a rectification.
	SubmitInput struct {
		flow.Read
		Measures string   `json:"measures" minLength:"4" maxLength:"5000" doc:"采取的措施和完成情况"`
		Cost     float64  `json:"cost,omitempty" minimum:"0" maximum:"100000000000" doc:"整改投入（元）"`
		Photos   []string `json:"photos,omitempty" maxItems:"20" doc:"整改后照片（附件标识）"`
	}
	// AcceptanceInput records the third party's report.
	AcceptanceInput struct {
		flow.Read
		Agency     string `json:"agency" minLength:"4" maxLength:"100" doc:"第三方机构名称"`
		AgencyCode string `json:"agencyCode" minLength:"18" maxLength:"18" doc:"统一社会信用代码"`
		Conclusion string `json:"conclusion" enum:"passed,failed" doc:"结论"`
		Opinion    string `json:"opinion" minLength:"4" maxLength:"2000" doc:"验收评估意见"`
		Report     string `json:"report" minLength:"1" maxLength:"36" doc:"验收评估报告（附件标识）"`
	}
	// VerifyInput confirms a rectification.
	VerifyInput struct {
		flow.Read
		Opinion string   `json:"opinion" minLength:"2" maxLength:"2000" doc:"验收意见"`
		Photos  []string `json:"photos,omitempty" maxItems:"20" doc:"现场照片（附件标识）"`
	}
	// ReturnInput sends a rectification back.
	ReturnInput struct {
		flow.Read
		Reason string `json:"reason" minLength:"4" maxLength:"2000" doc:"退回理由：哪里没有整改到位"`
		DueAt  string `json:"dueAt,omitempty" maxLength:"10" doc:"新的整改期限；原期限已过时必填"`
	}
	// ExtendInput asks for more time.
	ExtendInput struct {
		flow.Read
		Reason  string `json:"reason" minLength:"4" maxLength:"2000" doc:"延期理由"`
		Until   string `json:"until" minLength:"10" maxLength:"10" doc:"申请延至（日期）"`
		Interim string `json:"interim" minLength:"4" maxLength:"1000" doc:"延期期间的防范措施"`
	}
	// AnswerInput grants or refuses.
	AnswerInput struct {
		flow.Read
		Granted bool   `json:"granted" doc:"是否同意"`
		Opinion string `json:"opinion" minLength:"2" maxLength:"2000" doc:"意见"`
	}
	// DisputeAnswerInput answers an objection.
	DisputeAnswerInput struct {
		flow.Read
		Result  string `json:"result" enum:"refused,regrade,void" doc:"refused 异议不成立，继续整改；regrade 重新定级；void 不构成隐患，作废"`
		Opinion string `json:"opinion" minLength:"4" maxLength:"2000" doc:"复核意见"`
	}
	// ListInput puts a major danger under listed supervision.
	ListInput struct {
		flow.Read
		Level      string `json:"level" enum:"county,city,province,state" doc:"督办级别"`
		Unit       string `json:"unit" minLength:"2" maxLength:"100" doc:"督办单位"`
		DocumentNo string `json:"documentNo,omitempty" maxLength:"60" doc:"挂牌文号"`
		DueAt      string `json:"dueAt" minLength:"10" maxLength:"10" doc:"督办期限（日期）"`
	}
	// AssignInput hands a major danger over.
	AssignInput struct {
		flow.Read
		Unit   string `json:"unit" minLength:"2" maxLength:"100" doc:"承办单位"`
		Leader string `json:"leader" minLength:"2" maxLength:"50" doc:"包保领导"`
		DueAt  string `json:"dueAt" minLength:"10" maxLength:"10" doc:"办理期限（日期）"`
	}
	// DesignateInput names the unit for an ownerless danger.
	DesignateInput struct {
		flow.Read
		Unit       string  `json:"unit" minLength:"2" maxLength:"100" doc:"指定的责任单位"`
		DocumentNo string  `json:"documentNo" minLength:"2" maxLength:"60" doc:"指定文件文号"`
		Fund       float64 `json:"fund" minimum:"0" maximum:"100000000000" doc:"专项治理资金（元）"`
		FundSource string  `json:"fundSource" minLength:"2" maxLength:"100" doc:"资金来源"`
	}
	// DiscloseInput marks a danger for publication.
	DiscloseInput struct {
		flow.Read
		Redact []string `json:"redact,omitempty" maxItems:"20" enum:"foundBy,photos,location,description,responsible,enterpriseName" doc:"不公开的内容"`
	}
)

// steps are all steps of the machine, by their Go names.
type steps struct {
	grade         flow.Step[Danger, GradeInput]
	order         flow.Step[Danger, OrderInput]
	receive       flow.Step[Danger, PlainInput]
	fixOnSpot     flow.Step[Danger, SubmitInput]
	dualReport    flow.Step[Danger, DualReportInput]
	submitPlan    flow.Step[Danger, PlanInput]
	approvePlan   flow.Step[Danger, OpinionInput]
	returnPlan    flow.Step[Danger, ReasonInput]
	submit        flow.Step[Danger, SubmitInput]
	acceptance    flow.Step[Danger, AcceptanceInput]
	verify        flow.Step[Danger, VerifyInput]
	sendBack      flow.Step[Danger, ReturnInput]
	close         flow.Step[Danger, OpinionInput]
	askExtension  flow.Step[Danger, ExtendInput]
	answerExt     flow.Step[Danger, AnswerInput]
	dispute       flow.Step[Danger, ReasonInput]
	answerDispute flow.Step[Danger, DisputeAnswerInput]
	list          flow.Step[Danger, ListInput]
	delist        flow.Step[Danger, ReasonInput]
	assign        flow.Step[Danger, AssignInput]
	receiveAssign flow.Step[Danger, PlainInput]
	designate     flow.Step[Danger, DesignateInput]
	suspend       flow.Step[Danger, ReasonInput]
	askResume     flow.Step[Danger, ReasonInput]
	answerResume  flow.Step[Danger, AnswerInput]
	disclose      flow.Step[Danger, DiscloseInput]
	withdraw      flow.Step[Danger, ReasonInput]
	void          flow.Step[Danger, ReasonInput]
}

func (s *Service) declare() steps {
	return steps{
		grade: flow.Step[Danger, GradeInput]{Name: "grade", Title: "定级", Fact: "hiddendanger.graded", Need: PermGrade,
			From: []flow.State{Found, Graded}, To: []flow.State{Graded}, Do: s.doGrade},
		order: flow.Step[Danger, OrderInput]{Name: "order", Title: "责令整改", Fact: "hiddendanger.ordered", Need: PermOrder,
			From: []flow.State{Found, Graded}, To: []flow.State{Ordered}, Guard: ownCase, Do: s.doOrder},
		receive: flow.Step[Danger, PlainInput]{Name: "receive", Title: "签收", Fact: "hiddendanger.received", Need: PermRectify,
			From: []flow.State{Ordered}, To: []flow.State{Rectifying, Ordered}, Guard: all(addressee, notReceived), Do: s.doReceive},
		fixOnSpot: flow.Step[Danger, SubmitInput]{Name: "fix-on-spot", Title: "登记现场整改", Fact: "hiddendanger.rectified", Need: PermReport,
			From: []flow.State{Found, Graded}, To: []flow.State{Submitted}, Guard: notMajor, Do: s.doFixOnSpot},
		dualReport: flow.Step[Danger, DualReportInput]{Name: "dual-report", Title: "登记双报告", Fact: "hiddendanger.reportedTwice", Need: PermRectify,
			From: []flow.State{Graded, Ordered, Planned, Rectifying}, Guard: all(isMajor, addressee), Do: s.doDualReport},
		submitPlan: flow.Step[Danger, PlanInput]{Name: "submit-plan", Title: "提交治理方案", Fact: "hiddendanger.planned", Need: PermRectify,
			From: []flow.State{Ordered}, To: []flow.State{Planned}, Guard: all(isMajor, addressee), Do: s.doSubmitPlan},
		approvePlan: flow.Step[Danger, OpinionInput]{Name: "approve-plan", Title: "批准治理方案", Fact: "hiddendanger.planApproved", Need: PermSupervise,
			From: []flow.State{Planned}, To: []flow.State{Rectifying}, Guard: s.mayApprovePlan, Do: s.doApprovePlan},
		returnPlan: flow.Step[Danger, ReasonInput]{Name: "return-plan", Title: "退回治理方案", Fact: "hiddendanger.planReturned", Need: PermSupervise,
			From: []flow.State{Planned}, To: []flow.State{Ordered}, Do: s.doReturnPlan},
		submit: flow.Step[Danger, SubmitInput]{Name: "submit", Title: "提交整改结果", Fact: "hiddendanger.rectified", Need: PermRectify,
			From: []flow.State{Ordered, Rectifying}, To: []flow.State{Submitted}, Guard: all(addressee, planFirst), Do: s.doSubmit},
		acceptance: flow.Step[Danger, AcceptanceInput]{Name: "record-acceptance", Title: "登记第三方验收评估", Fact: "hiddendanger.accepted", Need: PermAcceptance,
			From: []flow.State{Submitted}, Guard: isMajor, Do: s.doAcceptance},
		verify: flow.Step[Danger, VerifyInput]{Name: "verify", Title: "验收通过", Fact: "hiddendanger.verified", Need: PermVerify,
			From: []flow.State{Submitted}, To: []flow.State{Verified}, Guard: s.mayVerify, Do: s.doVerify},
		sendBack: flow.Step[Danger, ReturnInput]{Name: "return", Title: "退回重新整改", Fact: "hiddendanger.returned", Need: PermVerify,
			From: []flow.State{Submitted}, To: []flow.State{Rectifying}, Guard: notRectifier, Do: s.doReturn},
		close: flow.Step[Danger, OpinionInput]{Name: "close", Title: "销号", Fact: "hiddendanger.closed", Need: PermClose,
			From: []flow.State{Verified}, To: []flow.State{Closed}, Guard: all(notRectifier, resumed), Do: s.doClose},
		askExtension: flow.Step[Danger, ExtendInput]{Name: "ask-extension", Title: "申请延期", Fact: "hiddendanger.extensionAsked", Need: PermRectify,
			From: []flow.State{Ordered, Rectifying}, Guard: all(addressee, noPendingExtension), Do: s.doAskExtension},
		answerExt: flow.Step[Danger, AnswerInput]{Name: "answer-extension", Title: "审批延期", Fact: "hiddendanger.extensionAnswered", Need: PermOrder,
			From: []flow.State{Ordered, Rectifying}, Guard: mayAnswerExtension, Do: s.doAnswerExtension},
		dispute: flow.Step[Danger, ReasonInput]{Name: "dispute", Title: "提出异议", Fact: "hiddendanger.disputed", Need: PermRectify,
			From: []flow.State{Ordered, Rectifying}, To: []flow.State{Disputed}, Guard: all(addressee, notDisputedBefore), Do: s.doDispute},
		answerDispute: flow.Step[Danger, DisputeAnswerInput]{Name: "answer-dispute", Title: "答复异议", Fact: "hiddendanger.disputeAnswered", Need: PermOrder,
			From: []flow.State{Disputed}, To: []flow.State{Ordered, Rectifying, Graded, Void}, Guard: mayAnswerDispute, Do: s.doAnswerDispute},
		list: flow.Step[Danger, ListInput]{Name: "list", Title: "挂牌督办", Fact: "hiddendanger.listed", Need: PermList,
			From: []flow.State{Graded, Ordered, Planned, Rectifying, Submitted}, Guard: all(isMajor, notListed), Do: s.doList},
		delist: flow.Step[Danger, ReasonInput]{Name: "delist", Title: "摘牌", Fact: "hiddendanger.delisted", Need: PermList,
			From: []flow.State{Verified, Closed}, Guard: isListed, Do: s.doDelist},
		assign: flow.Step[Danger, AssignInput]{Name: "assign", Title: "交办", Fact: "hiddendanger.assigned", Need: PermList,
			From: []flow.State{Graded, Ordered, Planned, Rectifying}, Guard: isMajor, Do: s.doAssign},
		receiveAssign: flow.Step[Danger, PlainInput]{Name: "receive-assignment", Title: "签收交办", Fact: "hiddendanger.assignmentReceived", Need: PermSupervise,
			From: []flow.State{Graded, Ordered, Planned, Rectifying}, Guard: assignmentWaiting, Do: s.doReceiveAssignment},
		designate: flow.Step[Danger, DesignateInput]{Name: "designate", Title: "指定责任单位", Fact: "hiddendanger.designated", Need: PermList,
			From: []flow.State{Found, Graded}, Guard: noEnterprise, Do: s.doDesignate},
		suspend: flow.Step[Danger, ReasonInput]{Name: "suspend", Title: "责令停产停业", Fact: "hiddendanger.suspended", Need: PermOrder,
			From: []flow.State{Graded, Ordered, Planned, Rectifying, Submitted}, Guard: all(isMajor, notSuspended, hasEnterprise), Do: s.doSuspend},
		askResume: flow.Step[Danger, ReasonInput]{Name: "ask-resume", Title: "申请恢复生产", Fact: "hiddendanger.resumptionAsked", Need: PermRectify,
			From: []flow.State{Rectifying, Submitted, Verified}, Guard: all(isSuspended, addressee, noPendingResumption), Do: s.doAskResume},
		answerResume: flow.Step[Danger, AnswerInput]{Name: "answer-resume", Title: "恢复生产审查", Fact: "hiddendanger.resumptionReviewed", Need: PermSupervise,
			From: []flow.State{Rectifying, Submitted, Verified}, Guard: mayAnswerResumption, Do: s.doAnswerResume},
		disclose: flow.Step[Danger, DiscloseInput]{Name: "disclose", Title: "列入社会公布", Fact: "hiddendanger.disclosed", Need: PermDisclose,
			From: []flow.State{Graded, Ordered, Planned, Rectifying, Submitted, Verified, Closed}, Guard: notDisclosed, Do: s.doDisclose},
		withdraw: flow.Step[Danger, ReasonInput]{Name: "withdraw-disclosure", Title: "撤回公布", Fact: "hiddendanger.disclosureWithdrawn", Need: PermDisclose,
			From: []flow.State{Graded, Ordered, Planned, Rectifying, Submitted, Verified, Closed}, Guard: isDisclosed, Do: s.doWithdraw},
		void: flow.Step[Danger, ReasonInput]{Name: "void", Title: "作废", Fact: "hiddendanger.voided", Need: PermVoid,
			From: []flow.State{Found, Graded, Ordered}, To: []flow.State{Void}, Guard: notFinder, Do: s.doVoid},
	}
}

// ordered lists the steps as the page shows them.
func (st *steps) ordered() []flow.Any[Danger] {
	return []flow.Any[Danger]{st.grade, st.order, st.fixOnSpot, st.receive, st.dualReport, st.submitPlan, st.approvePlan, st.returnPlan, st.submit,
		st.acceptance, st.verify, st.sendBack, st.close, st.askExtension, st.answerExt, st.dispute, st.answerDispute, st.list, st.delist, st.assign,
		st.receiveAssign, st.designate, st.suspend, st.askResume, st.answerResume, st.disclose, st.withdraw, st.void}
}

// The guards. Each says why not, and what to do instead.

type guard = func(ctx context.Context, d *Danger) error

func all(guards ...guard) guard {
	return func(ctx context.Context, d *Danger) error {
		for _, g := range guards {
			if err := g(ctx, d); err != nil {
				return err
			}
		}
		return nil
	}
}

// when makes a guard of a condition.
func when(ok func(d *Danger) bool, code, message string) guard {
	return func(_ context.Context, d *Danger) error {
		if ok(d) {
			return nil
		}
		return errs.Conflict("hiddendanger."+code, message)
	}
}

var (
	isMajor             = when(func(d *Danger) bool { return d.Level == hiddendangerapi.Major }, "notMajor", "只有重大隐患需要这一步。")
	notMajor            = when(func(d *Danger) bool { return d.Level != hiddendangerapi.Major }, "major", "重大隐患须按治理方案整改，不能登记为现场整改。")
	notReceived         = when(func(d *Danger) bool { return d.Detail.Order == nil || d.Detail.Order.Received == nil }, "received", "整改指令已签收。")
	planFirst           = when(func(d *Danger) bool { return d.Level != hiddendangerapi.Major || d.State == Rectifying }, "planFirst", "重大隐患须先提交治理方案（五落实）并经批准，才能提交整改结果。")
	notListed           = when(func(d *Danger) bool { return d.Listed == "" }, "listed", "该隐患已挂牌督办。")
	isListed            = when(func(d *Danger) bool { return d.Listed != "" }, "notListed", "该隐患没有挂牌，或已摘牌。")
	noEnterprise        = when(func(d *Danger) bool { return d.EnterpriseID == "" }, "hasEnterprise", "该隐患有责任企业，不属于无主体隐患。")
	hasEnterprise       = when(func(d *Danger) bool { return d.EnterpriseID != "" }, "noEnterprise", "该隐患没有责任企业。")
	isSuspended         = when(func(d *Danger) bool { return d.Suspended }, "notSuspended", "没有责令停产停业，不需要这一步。")
	notSuspended        = when(func(d *Danger) bool { return !d.Suspended }, "suspended", "已经责令停产停业。")
	resumed             = when(func(d *Danger) bool { return !d.Suspended }, "stillSuspended", "停产停业尚未经审查同意恢复，不能销号。请先办理恢复生产审查（安全生产法 第六十五条）。")
	isDisclosed         = when(func(d *Danger) bool { return d.Disclosed }, "notDisclosed", "该隐患没有公布。")
	notDisclosed        = when(func(d *Danger) bool { return !d.Disclosed }, "disclosed", "该隐患已经公布。")
	assignmentWaiting   = when(func(d *Danger) bool { return d.Detail.Assignment != nil && d.Detail.Assignment.Received == nil }, "noAssignment", "没有待签收的交办。")
	notDisputedBefore   = when(func(d *Danger) bool { return d.Detail.Dispute == nil }, "disputedBefore", "异议已经答复过一次，请按答复整改，或依法申请行政复议。")
	noPendingExtension  = when(func(d *Danger) bool { return d.pendingExtension() == nil }, "extensionPending", "已有延期申请等待审批。")
	noPendingResumption = when(func(d *Danger) bool { return d.Detail.Resumption == nil || d.Detail.Resumption.Reviewed != nil }, "resumptionPending", "恢复生产申请正在审查。")
)

func (d *Danger) pendingExtension() *Extension {
	for i := range d.Detail.Extensions {
		if d.Detail.Extensions[i].Answered == nil {
			return &d.Detail.Extensions[i]
		}
	}
	return nil
}

// other refuses the one who did the step before: nobody answers himself.
func other(ctx context.Context, by string, message string) error {
	if by != "" && by == actor.From(ctx).ID {
		return errs.Forbidden("hiddendanger.fourEyes", message)
	}
	return nil
}

// inGovernment reports whether the actor acts for an authority rather than an enterprise.
func inGovernment(ctx context.Context, permission string) bool {
	return slices.ContainsFunc(actor.From(ctx).Grants, func(g actor.Grant) bool { return g.Has(permission) && g.Enterprise == "" })
}

// addressee lets an enterprise's own people act for its dangers, and authorities for dangers without an enterprise: an office does not rectify for an enterprise.
func addressee(ctx context.Context, d *Danger) error {
	if d.EnterpriseID != "" && actor.From(ctx).Kind != actor.System &&
		!slices.ContainsFunc(actor.From(ctx).Grants, func(g actor.Grant) bool { return g.Has(PermRectify) && g.Enterprise == d.EnterpriseID }) {
		return errs.Forbidden("hiddendanger.notAddressee", "应由责任企业办理。")
	}
	return nil
}

// ownCase lets an enterprise order its own people to rectify what it found itself (自查自改); what an authority found, an authority orders.
func ownCase(ctx context.Context, d *Danger) error {
	if inGovernment(ctx, PermOrder) || actor.From(ctx).Kind == actor.System || d.Source == hiddendangerapi.SelfInspection && d.Level != hiddendangerapi.Major {
		return nil
	}
	return errs.Forbidden("hiddendanger.authorityOnly", "由监管部门发现的隐患和重大隐患，须由监管部门责令整改。")
}

// notRectifier keeps the one who rectified from verifying: 谁整改、谁不得验收.
func notRectifier(ctx context.Context, d *Danger) error {
	if err := other(ctx, d.RectifiedBy, "整改人不能验收自己的整改，请由其他人员办理。"); err != nil {
		return err
	}
	if inGovernment(ctx, PermVerify) || actor.From(ctx).Kind == actor.System {
		return nil
	}
	if d.Level == hiddendangerapi.Major || d.Source != hiddendangerapi.SelfInspection {
		return errs.Forbidden("hiddendanger.authorityOnly", "该隐患须由监管部门验收。")
	}
	return nil
}

func (s *Service) mayVerify(ctx context.Context, d *Danger) error {
	if err := notRectifier(ctx, d); err != nil || d.Level != hiddendangerapi.Major {
		return err
	}
	policy, _, err := s.policy.For(ctx, d.Division, d.FoundAt)
	if err != nil {
		return err
	}
	if a := d.Detail.Acceptance; policy.ThirdParty && (a == nil || a.Conclusion != "passed") {
		return errs.Conflict("hiddendanger.acceptanceFirst", "重大隐患须先登记第三方机构“通过”的验收评估报告（石台县实施意见 二十一）。")
	}
	return nil
}

func (s *Service) mayApprovePlan(ctx context.Context, d *Danger) error {
	if d.Detail.Plan != nil {
		if err := other(ctx, d.Detail.Plan.Person.ID, "不能批准自己提交的治理方案。"); err != nil {
			return err
		}
	}
	if d.EnterpriseID != "" && (!d.reportedTo("department") || !d.reportedTo("congress")) {
		return errs.Conflict("hiddendanger.dualReportFirst", "须先完成“双报告”并有回执：报告主管部门和职工大会（职代会）（安全生产法 第四十一条第三款）。")
	}
	return nil
}

func mayAnswerExtension(ctx context.Context, d *Danger) error {
	e := d.pendingExtension()
	if e == nil {
		return errs.Conflict("hiddendanger.noExtension", "没有待审批的延期申请。")
	}
	if err := other(ctx, e.Person.ID, "不能审批自己的延期申请。"); err != nil {
		return err
	}
	return ownCase(ctx, d)
}

func mayAnswerDispute(ctx context.Context, d *Danger) error {
	if d.Detail.Dispute != nil {
		if err := other(ctx, d.Detail.Dispute.Person.ID, "不能答复自己提出的异议。"); err != nil {
			return err
		}
	}
	return ownCase(ctx, d)
}

func mayAnswerResumption(ctx context.Context, d *Danger) error {
	r := d.Detail.Resumption
	if r == nil || r.Reviewed != nil {
		return errs.Conflict("hiddendanger.noResumption", "没有待审查的恢复生产申请。")
	}
	return other(ctx, r.Person.ID, "不能审查自己的恢复生产申请。")
}

func notFinder(ctx context.Context, d *Danger) error {
	return other(ctx, d.FoundBy.ID, "登记人不能作废自己登记的隐患，请由其他有权人员核实后作废。")
}
