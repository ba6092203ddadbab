package hiddendanger

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// Danger is one hidden danger 事故隐患.
type Danger struct {
	bun.BaseModel `bun:"table:hiddendanger_item,alias:r" json:"-"`
	record.Head
	scope.Place

	No             string                 `bun:"no" json:"no" doc:"隐患编号"`
	Title          string                 `bun:"title" json:"title" doc:"隐患名称"`
	Description    string                 `bun:"description" json:"description" doc:"详细情况"`
	Category       string                 `bun:"category" json:"category" doc:"隐患类别"`
	Location       string                 `bun:"location" json:"location" doc:"具体位置"`
	Lon            float64                `bun:"lon" json:"lon" doc:"经度（WGS-84），0 表示未定位"`
	Lat            float64                `bun:"lat" json:"lat" doc:"纬度（WGS-84）"`
	Source         hiddendangerapi.Source `bun:"source" json:"source" doc:"来源"`
	Level          hiddendangerapi.Level  `bun:"level" json:"level" doc:"等级"`
	State          flow.State             `bun:"state" json:"state" doc:"状态"`
	EnterpriseName string                 `bun:"enterprise_name" json:"enterpriseName" doc:"企业名称"`
	LinkType       string                 `bun:"link_type" json:"linkType"`
	LinkID         string                 `bun:"link_id" json:"linkId"`

	FoundAt time.Time              `bun:"found_at" json:"foundAt" doc:"发现时间"`
	FoundBy hiddendangerapi.Person `bun:"found_by,type:text" json:"foundBy" doc:"发现人"`
	// FoundByID is FoundBy's account, as a column of its own for the list "found by me".
	FoundByID string `bun:"found_by_id" json:"foundById"`
	// RepeatOf is the earlier danger at the same place and of the same kind, RepeatCount how many there were within the window.
	RepeatOf    string `bun:"repeat_of" json:"repeatOf" doc:"同一部位、同类的上一条隐患"`
	RepeatCount int    `bun:"repeat_count" json:"repeatCount" doc:"期限内重复出现次数"`
	PolicyID    string `bun:"policy_id" json:"policyId" doc:"所依据的策略版本"`

	DueAt       time.Time `bun:"due_at,nullzero" json:"dueAt,omitzero" doc:"整改期限"`
	Provisional bool      `bun:"provisional" json:"provisional" doc:"期限为暂定"`
	EscalatedTo string    `bun:"escalated_to" json:"escalatedTo" doc:"逾期已升级至"`
	ClosedAt    time.Time `bun:"closed_at,nullzero" json:"closedAt,omitzero" doc:"销号时间"`
	// RectifiedBy and VerifiedBy are accounts; a constraint of the table keeps them apart.
	RectifiedBy string `bun:"rectified_by" json:"rectifiedBy"`
	VerifiedBy  string `bun:"verified_by" json:"verifiedBy"`
	Listed      string `bun:"listed" json:"listed" doc:"挂牌督办级别"`
	Suspended   bool   `bun:"suspended" json:"suspended" doc:"已责令停产停业，尚未准许恢复"`
	Ownerless   bool   `bun:"ownerless" json:"ownerless" doc:"无主体隐患"`
	Disclosed   bool   `bun:"disclosed" json:"disclosed" doc:"已向社会公布"`

	Detail Detail `bun:"detail,type:text" json:"detail" doc:"各环节的内容"`
}

// FlowState points to the state, for kernel/flow.
func (d *Danger) FlowState() *flow.State { return &d.State }

// Detail holds what the steps added.
type Detail struct {
	Grading       *Grading       `json:"grading,omitempty" doc:"定级"`
	Order         *Order         `json:"order,omitempty" doc:"整改指令"`
	Plan          *Plan          `json:"plan,omitempty" doc:"治理方案"`
	Reports       []DualReport   `json:"reports,omitempty" doc:"双报告"`
	Rectification *Rectification `json:"rectification,omitempty" doc:"整改情况"`
	Acceptance    *Acceptance    `json:"acceptance,omitempty" doc:"第三方验收"`
	Verification  *Verification  `json:"verification,omitempty" doc:"验收"`
	Returns       []Return       `json:"returns,omitempty" doc:"退回"`
	Extensions    []Extension    `json:"extensions,omitempty" doc:"延期"`
	Dispute       *Dispute       `json:"dispute,omitempty" doc:"异议"`
	Listing       *Listing       `json:"listing,omitempty" doc:"挂牌督办"`
	Assignment    *Assignment    `json:"assignment,omitempty" doc:"交办"`
	Designation   *Designation   `json:"designation,omitempty" doc:"无主体隐患的责任单位"`
	Resumption    *Resumption    `json:"resumption,omitempty" doc:"恢复生产"`
	Disclosure    *Disclosure    `json:"disclosure,omitempty" doc:"社会公布"`
	Closing       *Closing       `json:"closing,omitempty" doc:"销号"`
	VoidReason    string         `json:"voidReason,omitempty" doc:"作废原因"`
}

// By says who did something and when.
type By struct {
	Person hiddendangerapi.Person `json:"by"`
	At     time.Time              `json:"at"`
}

// Grading is the judgment of the level. A major danger names the criterion and its item.
type Grading struct {
	By
	Level     hiddendangerapi.Level `json:"level"`
	Criterion string                `json:"criterion,omitempty" doc:"判定标准（字典 majorCriterion 的代码）"`
	Item      string                `json:"item,omitempty" doc:"判定标准的条款号"`
	Grounds   string                `json:"grounds" doc:"判定理由"`
}

// Order is the order to rectify 责令整改.
type Order struct {
	By
	Requirement string    `json:"requirement" doc:"整改要求"`
	DueAt       time.Time `json:"dueAt"`
	Responsible string    `json:"responsible" doc:"整改责任人"`
	Interim     string    `json:"interim,omitempty" doc:"整改期间的防范措施"`
	Suspend     bool      `json:"suspend,omitempty" doc:"责令停产停业或停止使用（安全生产法 第六十五条）"`
	Received    *By       `json:"received,omitempty" doc:"签收"`
}

// Five are the five implementations 五落实 of a major danger's plan. None may be empty.
type Five struct {
	Responsibility string `json:"responsibility" minLength:"2" maxLength:"500" doc:"责任：责任单位和责任人"`
	Measures       string `json:"measures" minLength:"4" maxLength:"5000" doc:"措施：治理的方法和措施"`
	Funds          string `json:"funds" minLength:"1" maxLength:"500" doc:"资金：经费和物资"`
	Schedule       string `json:"schedule" minLength:"2" maxLength:"500" doc:"时限：治理的时限和要求"`
	Contingency    string `json:"contingency" minLength:"4" maxLength:"2000" doc:"预案：安全措施和应急预案"`
}

// Plan is the treatment plan 治理方案 of a major danger (总局令第16号 第十五条).
type Plan struct {
	By
	Five
	Goal     string `json:"goal" doc:"治理的目标和任务"`
	Approved *By    `json:"approved,omitempty"`
	Opinion  string `json:"opinion,omitempty" doc:"审核意见"`
}

// DualReport is one of the two reports on a major danger (安全生产法 第四十一条).
type DualReport struct {
	By
	To       string    `json:"to" doc:"department：负有安全监管职责的部门；congress：职工大会或职工代表大会"`
	Receiver string    `json:"receiver" doc:"接收单位和接收人"`
	Reported time.Time `json:"reported" doc:"报告时间"`
	Receipt  string    `json:"receipt,omitempty" doc:"回执（附件标识）"`
	Content  string    `json:"content" doc:"现状及产生原因、危害程度和整改难易程度、治理方案"`
}

// Rectification is what was done.
type Rectification struct {
	By
	Measures string   `json:"measures" doc:"整改措施和完成情况"`
	Cost     float64  `json:"cost,omitempty" doc:"整改投入（元）"`
	Photos   []string `json:"photos,omitempty"`
	OnSpot   bool     `json:"onSpot,omitempty" doc:"现场立即整改"`
	Late     bool     `json:"late,omitempty" doc:"逾期提交"`
}

// Acceptance is the report of the third party that accepted the treatment of a major danger.
type Acceptance struct {
	By
	Agency     string `json:"agency" doc:"第三方机构"`
	AgencyCode string `json:"agencyCode" doc:"第三方机构统一社会信用代码"`
	Conclusion string `json:"conclusion" doc:"passed 通过；failed 未通过"`
	Opinion    string `json:"opinion" doc:"验收评估意见"`
	Report     string `json:"report" doc:"验收评估报告（附件标识）"`
}

// Verification is the review of the rectification on the spot.
type Verification struct {
	By
	Opinion string   `json:"opinion"`
	Photos  []string `json:"photos,omitempty"`
}

// Return is a rectification or a plan sent back.
type Return struct {
	By
	Step   string `json:"step" doc:"退回的环节"`
	Reason string `json:"reason"`
}

// Extension is a request for more time and its answer.
type Extension struct {
	By
	Reason   string    `json:"reason"`
	Until    time.Time `json:"until" doc:"申请延至"`
	Interim  string    `json:"interim" doc:"延期期间的防范措施"`
	Answered *By       `json:"answered,omitempty"`
	Granted  bool      `json:"granted"`
	Opinion  string    `json:"opinion,omitempty"`
}

// Dispute is the addressee's objection and its answer.
type Dispute struct {
	By
	Reason   string `json:"reason"`
	Answered *By    `json:"answered,omitempty"`
	Upheld   bool   `json:"upheld" doc:"异议成立"`
	Opinion  string `json:"opinion,omitempty"`
	// From is the state in which the objection was made, to which the loop returns when it is refused.
	From flow.State `json:"from"`
}

// Listing is the listed supervision 挂牌督办.
type Listing struct {
	By
	Level      string    `json:"level" doc:"county 县级；city 市级；province 省级；state 国家级"`
	Unit       string    `json:"unit" doc:"督办单位"`
	DocumentNo string    `json:"documentNo,omitempty" doc:"挂牌文号"`
	DueAt      time.Time `json:"dueAt" doc:"督办期限"`
	Delisted   *By       `json:"delisted,omitempty"`
	Reason     string    `json:"reason,omitempty" doc:"摘牌理由"`
}

// Assignment hands a major danger on the list to the unit that answers for it (一单四制：交办).
type Assignment struct {
	By
	Unit     string    `json:"unit" doc:"承办单位"`
	Leader   string    `json:"leader" doc:"包保领导"`
	DueAt    time.Time `json:"dueAt"`
	Received *By       `json:"received,omitempty" doc:"签收"`
}

// Designation names the unit that treats an ownerless danger, and the public money for it.
type Designation struct {
	By
	Unit       string  `json:"unit" doc:"县人民政府指定的责任单位"`
	DocumentNo string  `json:"documentNo" doc:"指定文件文号"`
	Fund       float64 `json:"fund" doc:"专项治理资金（元）"`
	FundSource string  `json:"fundSource" doc:"资金来源"`
}

// Resumption is the request to resume production and the review of it.
type Resumption struct {
	By
	Request  string `json:"request" doc:"恢复生产申请"`
	Reviewed *By    `json:"reviewed,omitempty"`
	Granted  bool   `json:"granted"`
	Opinion  string `json:"opinion,omitempty"`
}

// Disclosure marks what the public may see later, with the fields that are withheld.
type Disclosure struct {
	By
	Redact    []string `json:"redact" nullable:"false" doc:"不公开的内容"`
	Reason    string   `json:"reason,omitempty"`
	Withdrawn *By      `json:"withdrawn,omitempty"`
}

// Closing is the end 销号.
type Closing struct {
	By
	Opinion string `json:"opinion"`
}

// Policy is what differs from place to place. All values are proposals or local rules, marked so in the handbook (§3.3).
type Policy struct {
	GeneralDays   int      `json:"generalDays" doc:"一般隐患默认整改天数"`
	MajorDays     int      `json:"majorDays" doc:"重大隐患默认整改天数"`
	RepeatDays    int      `json:"repeatDays" doc:"重复隐患的回溯天数"`
	MaxExtensions int      `json:"maxExtensions" doc:"最多延期次数"`
	VaguePhrases  []string `json:"vaguePhrases" doc:"不能作为隐患名称或整改措施的空话"`
	// CheckMonths is how often an enterprise of a grade has to check itself and report, in months; 0 stands for the grade not listed.
	CheckEveryDays map[string]int `json:"checkEveryDays" doc:"各等级企业自查上报的周期（天），键为企业分级，* 为其他"`
	ThirdParty     bool           `json:"thirdParty" doc:"重大隐患须经第三方验收评估"`
}

// DefaultPolicy holds where no other was set. Marks: generalDays [P]; repeatDays from the 90 days; maxExtensions [P] 手册§3.6.
func DefaultPolicy() Policy {
	return Policy{
		GeneralDays: 30, MajorDays: 90, RepeatDays: 90, MaxExtensions: 1, ThirdParty: true,
		VaguePhrases:   []string{"加强管理", "加强监管", "提高认识", "注意安全", "立即整改", "已整改", "存在隐患", "有隐患", "安全隐患", "不规范", "无"},
		CheckEveryDays: map[string]int{"A": 90, "B": 90, "C": 30, "D": 30, "*": 90},
	}
}

func (p Policy) validate() error {
	if p.GeneralDays < 1 || p.GeneralDays > 3650 || p.MajorDays < 1 || p.MajorDays > 3650 || p.RepeatDays < 0 || p.RepeatDays > 3650 || p.MaxExtensions < 0 {
		return errs.Invalid("hiddendanger.policy", "天数应在 1 至 3650 之间，延期次数不能为负。")
	}
	for grade, days := range p.CheckEveryDays {
		if days < 1 || days > 366 {
			return errs.InvalidField("hiddendanger.policy", "/checkEveryDays/"+grade, "自查周期应在 1 至 366 天之间")
		}
	}
	return nil
}

// vague reports whether text says nothing: a phrase that fits every danger, or hardly any words.
func (p Policy) vague(text string) bool {
	plain := strings.Map(func(r rune) rune {
		if strings.ContainsRune("，。、；：！？,.;:!? \t\n“”\"'()（）", r) {
			return -1
		}
		return r
	}, text)
	return utf8.RuneCountInString(plain) < 4 || slices.Contains(p.VaguePhrases, plain)
}

// complete says which of the five implementations is missing.
func (f Five) complete() []errs.Field {
	var out []errs.Field
	for _, x := range []struct{ name, title, text string }{
		{"responsibility", "责任", f.Responsibility}, {"measures", "措施", f.Measures}, {"funds", "资金", f.Funds},
		{"schedule", "时限", f.Schedule}, {"contingency", "预案", f.Contingency},
	} {
		if strings.TrimSpace(x.text) == "" {
			out = append(out, errs.Field{Pointer: "/" + x.name, Message: "“五落实”缺少" + x.title})
		}
	}
	return out
}

// reportedTo reports whether the danger was reported to one of the two, with a receipt.
func (d *Danger) reportedTo(to string) bool {
	return slices.ContainsFunc(d.Detail.Reports, func(r DualReport) bool { return r.To == to && r.Receipt != "" })
}

// Open reports whether the danger still has to be dealt with.
func (d *Danger) Open() bool { return !slices.Contains(final, d.State) }

// Overdue reports whether rectification is late as of now.
func (d *Danger) Overdue(now time.Time) bool {
	return !d.DueAt.IsZero() && now.After(d.DueAt) && slices.Contains(clockRuns, d.State)
}
