package hiddendanger

import (
	"context"
	"embed"
	"encoding/csv"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/job"
	"anwang/internal/kernel/module"
	"anwang/internal/kernel/policy"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/module/enterprise/enterpriseapi"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

//go:embed migrations/*.sql data/*.csv
var files embed.FS

// The permissions of this module.
const (
	PermView       = "hiddendanger.view"
	PermReport     = "hiddendanger.report"
	PermGrade      = "hiddendanger.grade"
	PermOrder      = "hiddendanger.order"
	PermRectify    = "hiddendanger.rectify"
	PermVerify     = "hiddendanger.verify"
	PermClose      = "hiddendanger.close"
	PermSupervise  = "hiddendanger.supervise"
	PermAcceptance = "hiddendanger.acceptance"
	PermList       = "hiddendanger.list"
	PermDisclose   = "hiddendanger.disclose"
	PermVoid       = "hiddendanger.void"
	PermSilent     = "hiddendanger.silent"
	PermCheckView  = "hiddendanger.checkView"
	PermCheckRun   = "hiddendanger.checkRun"
	PermListView   = "hiddendanger.checklistView"
	PermListManage = "hiddendanger.checklistManage"
)

// The dictionaries of this module.
const (
	CategoryDict   = "dangerCategory"
	CriterionDict  = "majorCriterion"
	LevelDict      = "dangerLevel"
	StateDict      = "dangerState"
	SourceDict     = "dangerSource"
	CheckStateDict = "checkState"
)

// The record types of this module, beside hiddendangerapi.RecordType.
const (
	CheckType     = "hiddendanger.check"
	CheckListType = "hiddendanger.checklist"
	BulletinType  = "hiddendanger.bulletin"
)

var (
	everybody  = []string{"office", "leader", "industry", "town", "grid", "officer", "enterprise.head", "enterprise.manager", "enterprise.worker", "expert"}
	government = []string{"office", "industry", "town", "officer"}
	enterprise = []string{"enterprise.head", "enterprise.manager"}
)

func permissions() []access.Permission {
	return []access.Permission{
		{Key: PermView, Title: "查看隐患", Roles: everybody},
		{Key: PermReport, Title: "登记隐患", Roles: []string{"office", "industry", "town", "grid", "officer", "enterprise.head", "enterprise.manager", "enterprise.worker", "expert"}},
		{Key: PermGrade, Title: "隐患定级", Roles: append([]string{"expert"}, append(enterprise, government...)...)},
		{Key: PermOrder, Title: "责令整改、审批延期、答复异议", Roles: append(append([]string{}, enterprise...), government...)},
		{Key: PermRectify, Title: "整改", Roles: []string{"enterprise.head", "enterprise.manager", "town", "industry"}},
		{Key: PermVerify, Title: "验收", Roles: append([]string{"enterprise.head"}, government...)},
		{Key: PermClose, Title: "销号", Roles: append([]string{"enterprise.head"}, government...)},
		{Key: PermSupervise, Title: "重大隐患治理方案、恢复生产审查", Roles: government},
		{Key: PermAcceptance, Title: "登记第三方验收评估", Roles: []string{"enterprise.head", "enterprise.manager", "agency", "industry", "office", "town"}},
		{Key: PermList, Title: "挂牌督办、交办、指定责任单位、通报", Roles: []string{"office"}},
		{Key: PermDisclose, Title: "社会公布", Roles: []string{"office", "industry"}},
		{Key: PermVoid, Title: "作废隐患", Roles: []string{"office", "town", "industry"}},
		{Key: PermSilent, Title: "查看未报、迟报企业", Roles: []string{"office", "leader", "industry", "town", "grid"}},
		{Key: PermCheckView, Title: "查看企业自查", Roles: everybody},
		{Key: PermCheckRun, Title: "上报自查", Roles: enterprise},
		{Key: PermListView, Title: "查看排查清单", Roles: everybody},
		{Key: PermListManage, Title: "编制、发布排查清单", Roles: []string{"office", "industry"}},
	}
}

// rules are the clocks. The period of rectification is set by each order; its rule carries clause and ladder: reminder, then department, committee office, next level up.
func rules() []deadline.Rule {
	days := func(n int) deadline.Term { return deadline.Term{Amount: n, Unit: deadline.Days} }
	ladder := deadline.Ladder{
		{Offset: -3, Unit: deadline.Days, To: deadline.ToResponsible, Title: "整改期限将至"},
		{Offset: 0, Unit: deadline.Hours, To: deadline.ToTown, Title: "整改逾期"},
		{Offset: 3, Unit: deadline.Days, To: deadline.ToDepartment, Title: "逾期3日，报主管部门"},
		{Offset: 7, Unit: deadline.Days, To: deadline.ToOffice, Title: "逾期7日，报安委办"},
		{Offset: 15, Unit: deadline.Days, To: deadline.ToUpper, Title: "逾期15日，报上一级"},
	}
	return []deadline.Rule{
		{Key: ruleRectify, Title: "隐患整改期限", Clause: "安全生产法 第六十五条第一款第三项（责令限期整改）", Mark: "V", Term: days(30), Ladder: ladder},
		{Key: ruleVerify, Title: "隐患验收期限", Clause: "本地规定（收到整改报告后及时复查）", Mark: "P", Term: deadline.Term{Amount: 5, Unit: deadline.Workdays},
			Ladder: deadline.Ladder{{Offset: 0, Unit: deadline.Hours, To: deadline.ToTown, Title: "验收超期"}, {Offset: 3, Unit: deadline.Workdays, To: deadline.ToOffice, Title: "验收超期3个工作日"}}},
		{Key: ruleListing, Title: "挂牌督办期限", Clause: "安全生产法 第四十一条第四款（重大事故隐患治理督办制度）", Mark: "V", Term: days(90),
			Ladder: deadline.Ladder{{Offset: -7, Unit: deadline.Days, To: deadline.ToDepartment, Title: "督办期限将至"}, {Offset: 0, Unit: deadline.Hours, To: deadline.ToOffice, Title: "督办逾期"}, {Offset: 7, Unit: deadline.Days, To: deadline.ToUpper, Title: "督办逾期7日，报上一级"}}},
		{Key: ruleAssignment, Title: "交办事项期限", Clause: "湖南省实施意见 十八（一单四制）", Mark: "S2", Term: days(90),
			Ladder: deadline.Ladder{{Offset: -7, Unit: deadline.Days, To: deadline.ToDepartment, Title: "交办期限将至"}, {Offset: 0, Unit: deadline.Hours, To: deadline.ToOffice, Title: "交办逾期"}}},
		{Key: ruleResume, Title: "恢复生产经营现场审查", Clause: "安全生产事故隐患排查治理暂行规定（总局令第16号）第二十三条", Mark: "R", Term: days(10),
			Ladder: deadline.Ladder{{Offset: -2, Unit: deadline.Days, To: deadline.ToTown, Title: "恢复生产审查期限将至"}, {Offset: 0, Unit: deadline.Hours, To: deadline.ToOffice, Title: "恢复生产审查逾期"}}},
		{Key: ruleSelfCheck, Title: "企业隐患自查上报", Clause: "安全生产法 第四十一条第二款；石台县实施意见 二十（自查自改自报）", Mark: "S0", Term: days(30),
			Ladder: deadline.Ladder{{Offset: -3, Unit: deadline.Days, To: deadline.ToResponsible, Title: "自查上报期限将至"}, {Offset: 0, Unit: deadline.Hours, To: deadline.ToTown, Title: "企业逾期未报自查"}, {Offset: 7, Unit: deadline.Days, To: deadline.ToDepartment, Title: "企业逾期7日未报自查"}}},
	}
}

func dicts() []dict.Kind {
	words := func(kind string) func() ([]dict.Item, error) {
		return func() ([]dict.Item, error) {
			rows, err := readCSV("data/words.csv")
			var out []dict.Item
			for _, r := range rows {
				if r["kind"] == kind {
					out = append(out, dict.Item{Code: r["code"], Label: r["label"], Sort: len(out) + 1, Mark: "P"})
				}
			}
			return out, err
		}
	}
	return []dict.Kind{
		{Key: CategoryDict, Title: "隐患类别", Tree: true, Seed: dict.CSV(files, "data/category.csv")},
		{Key: CriterionDict, Title: "重大事故隐患判定标准", Seed: dict.CSV(files, "data/criterion.csv")},
		{Key: LevelDict, Title: "隐患等级", Seed: words("level")},
		{Key: SourceDict, Title: "隐患来源", Seed: words("source")},
		{Key: CheckStateDict, Title: "自查状态", Seed: words("checkState")},
		{Key: StateDict, Title: "隐患状态", Seed: func() ([]dict.Item, error) {
			var out []dict.Item
			for _, s := range stateNames() {
				out = append(out, dict.Item{Code: s, Label: spec.Titles[flow.State(s)], Sort: len(out) + 1, Mark: "P"})
			}
			return out, nil
		}},
	}
}

// New returns the service. It is separate from Module so that the composition root can hand it to modules that report dangers.
func New(k *module.Kernel, enterprises enterpriseapi.Finder) *Service {
	store := func(name, title string) record.Type { return record.Type{Name: name, Title: title} }
	s := &Service{
		db: k.DB, dict: k.Dict, deadlines: k.Deadlines, files: k.Files, enterprises: enterprises, divisions: k.Org,
		items:     record.NewStore[Danger](k.DB, k.Log, k.Records, store(hiddendangerapi.RecordType, "隐患")),
		lists:     record.NewStore[CheckList](k.DB, k.Log, k.Records, store(CheckListType, "排查清单")),
		checks:    record.NewStore[Check](k.DB, k.Log, k.Records, store(CheckType, "自查任务")),
		bulletins: record.NewStore[Bulletin](k.DB, k.Log, k.Records, store(BulletinType, "通报")),
		policy:    &policy.Policy[Policy]{Name: "hiddendanger", Title: "隐患治理策略", Default: DefaultPolicy(), Validate: Policy.validate, Store: k.Policies},
	}
	s.steps = s.declare()
	s.machine = flow.Define(k.DB, s.items, spec, s.steps.ordered()...)
	return s
}

// Migrations makes the module's tables.
var Migrations = db.Migrations{Part: "hiddendanger", Files: files}

// Module declares the module.
func (s *Service) Module(k *module.Kernel) module.Module {
	return module.Module{
		Name: "hiddendanger", Title: "隐患治理",
		Migrations: Migrations, Permissions: permissions(), Rules: rules(), Dicts: dicts(),
		Subscriptions: s.subscriptions(),
		Guards: map[string]file.Guard{hiddendangerapi.RecordType: func(ctx context.Context, _, id string) error {
			_, err := s.items.Load(ctx, scope.For(ctx, PermView), id)
			return err
		}},
		Schedules: []job.Every{
			{Name: "hiddendanger.plan", DailyAt: "00:20", Run: func(ctx context.Context) error { _, err := s.PlanChecks(ctx); return err }},
			{Name: "hiddendanger.missed", Interval: 10 * time.Minute, Run: func(ctx context.Context) error { _, err := s.MarkMissed(ctx); return err }},
		},
		Policies: []policy.Any{s.policy},
		Routes:   s.routes(k.Log),
		Seed:     s.seed,
		Menu: []module.MenuItem{
			{Group: "双重预防", Title: "隐患台账", Path: "/hidden-dangers", Need: PermView, Order: 10},
			{Group: "双重预防", Title: "企业自查", Path: "/self-checks", Need: PermCheckView, Order: 20},
			{Group: "双重预防", Title: "未报、迟报企业", Path: "/silent-enterprises", Need: PermSilent, Order: 30},
			{Group: "双重预防", Title: "排查清单", Path: "/check-lists", Need: PermListView, Order: 40},
			{Group: "双重预防", Title: "重大隐患通报", Path: "/danger-bulletins", Need: PermView, Order: 50},
		},
	}
}

// Diagram draws the states, for docs/modules/hiddendanger.md.
func (s *Service) Diagram() string { return s.machine.Mermaid() }

// seed publishes the check lists that the program ships, unless there is one with that code already.
func (s *Service) seed(ctx context.Context) error {
	rows, err := readCSV("data/checklists.csv")
	if err != nil {
		return err
	}
	ctx = actor.AsSystem(ctx, "hiddendanger")
	var lists []CheckListInput
	for _, r := range rows {
		if n := len(lists); n == 0 || lists[n-1].Code != r["code"] {
			lists = append(lists, CheckListInput{Code: r["code"], Title: r["title"], Line: r["line"], Basis: r["basis"]})
		}
		l := &lists[len(lists)-1]
		l.Items = append(l.Items, CheckItem{No: r["no"], Text: r["text"], Clause: r["clause"], Category: r["category"]})
	}
	for _, in := range lists {
		n, err := s.lists.Count(ctx, scope.All("whether it is there"), func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.code = ?", in.Code) })
		if err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		if err := s.db.Tx(ctx, func(ctx context.Context) error {
			l, err := s.DraftCheckList(ctx, in)
			if err != nil {
				return err
			}
			_, err = s.PublishCheckList(ctx, l.ID, PublishInput{Read: flow.Read{Version: l.Version}, EffectiveFrom: clock.Date(s.db.Clock.Now())})
			return err
		}); err != nil {
			return fmt.Errorf("check list %s: %w", in.Code, err)
		}
	}
	return nil
}

func readCSV(name string) ([]map[string]string, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var out []map[string]string
	for _, row := range all[1:] {
		m := map[string]string{}
		for i, title := range all[0] {
			m[title] = row[i]
		}
		out = append(out, m)
	}
	return out, nil
}
