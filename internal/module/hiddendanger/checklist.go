package hiddendanger

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/module/enterprise/enterpriseapi"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// The states of a check list's edition.
const (
	Draft     flow.State = "draft"     // 草稿
	Published flow.State = "published" // 已发布
)

// CheckList is one edition of a check list 隐患排查清单 for a line of business.
type CheckList struct {
	bun.BaseModel `bun:"table:hiddendanger_checklist,alias:r" json:"-"`
	record.Head
	Code          string      `bun:"code" json:"code" doc:"清单代码，各版次相同"`
	Edition       int         `bun:"edition" json:"edition" doc:"版次"`
	Title         string      `bun:"title" json:"title"`
	Line          string      `bun:"line" json:"line" doc:"适用的监管行业领域；空为通用"`
	Basis         string      `bun:"basis" json:"basis" doc:"编制依据"`
	EffectiveFrom string      `bun:"effective_from" json:"effectiveFrom"`
	EffectiveTo   string      `bun:"effective_to" json:"effectiveTo"`
	State         flow.State  `bun:"state" json:"state"`
	Items         []CheckItem `bun:"items,type:text" json:"items"`
}

// CheckItem is one thing to look at.
type CheckItem struct {
	No       string `json:"no" minLength:"1" maxLength:"20" doc:"序号"`
	Text     string `json:"text" minLength:"4" maxLength:"500" doc:"检查内容"`
	Clause   string `json:"clause" maxLength:"200" doc:"依据条款"`
	Category string `json:"category,omitempty" maxLength:"40" doc:"隐患类别"`
}

// CheckListInput makes or replaces a draft.
type CheckListInput struct {
	Code  string      `json:"code" minLength:"2" maxLength:"40" pattern:"^[a-zA-Z][a-zA-Z0-9-]*$" doc:"清单代码"`
	Title string      `json:"title" minLength:"4" maxLength:"100" doc:"清单名称"`
	Line  string      `json:"line,omitempty" maxLength:"40" doc:"适用的监管行业领域；空为通用"`
	Basis string      `json:"basis" minLength:"2" maxLength:"500" doc:"编制依据"`
	Items []CheckItem `json:"items" minItems:"1" maxItems:"500"`
}

// The states of an enterprise's check.
const (
	CheckDue    flow.State = "due"    // 待自查
	CheckDone   flow.State = "done"   // 已上报
	CheckMissed flow.State = "missed" // 逾期未报
	CheckLate   flow.State = "late"   // 逾期补报
)

// Check is one check that an enterprise has to run and report, by a date, with an edition of a check list.
type Check struct {
	bun.BaseModel `bun:"table:hiddendanger_check,alias:r" json:"-"`
	record.Head
	scope.Place
	EnterpriseName string     `bun:"enterprise_name" json:"enterpriseName"`
	ListID         string     `bun:"list_id" json:"listId" doc:"清单版次"`
	ListCode       string     `bun:"list_code" json:"listCode"`
	ListTitle      string     `bun:"list_title" json:"listTitle"`
	Period         string     `bun:"period" json:"period" doc:"所属周期，如 2026-03、2026Q1"`
	DueAt          time.Time  `bun:"due_at" json:"dueAt"`
	State          flow.State `bun:"state" json:"state"`
	DoneAt         time.Time  `bun:"done_at,nullzero" json:"doneAt,omitzero"`
	DoneBy         string     `bun:"done_by" json:"doneBy"`
	Findings       int        `bun:"findings" json:"findings" doc:"发现隐患数；已上报而为 0 即零报告"`
	Answers        []Answer   `bun:"answers,type:text" json:"answers"`
}

// FlowState points to the state, for kernel/flow.
func (c *Check) FlowState() *flow.State { return &c.State }

// Answer is what was seen for one item.
type Answer struct {
	No       string `json:"no"`
	Result   string `json:"result" enum:"ok,bad,na" doc:"ok 符合；bad 不符合；na 不涉及"`
	Note     string `json:"note,omitempty"`
	DangerID string `json:"dangerId,omitempty" doc:"由此登记的隐患"`
}

// AnswerLine answers one item, with the finding when it is bad.
type AnswerLine struct {
	No       string   `json:"no" minLength:"1" maxLength:"20" doc:"序号"`
	Result   string   `json:"result" enum:"ok,bad,na" doc:"ok 符合；bad 不符合；na 不涉及"`
	Note     string   `json:"note,omitempty" maxLength:"500" doc:"说明"`
	Title    string   `json:"title,omitempty" maxLength:"100" doc:"不符合时：什么部位存在什么问题；不填用检查内容"`
	Location string   `json:"location,omitempty" maxLength:"200" doc:"不符合时：具体位置"`
	Photos   []string `json:"photos,omitempty" maxItems:"20" doc:"照片（附件标识）"`
}

// CheckSubmitInput reports a check. Items that are not mentioned are ok: a zero report needs no typing.
type CheckSubmitInput struct {
	flow.Read
	Answers []AnswerLine `json:"answers,omitempty" maxItems:"500"`
}

// DraftCheckList makes the next edition of a check list as a draft, or replaces the draft that there is.
func (s *Service) DraftCheckList(ctx context.Context, in CheckListInput) (*CheckList, error) {
	if in.Line != "" && s.dict.Valid(dict.Line, in.Line, s.db.Clock.Now()) != nil {
		return nil, errs.InvalidField("hiddendanger.line", "/line", "没有这个监管行业领域")
	}
	seen := map[string]bool{}
	for i, it := range in.Items {
		if seen[it.No] {
			return nil, errs.InvalidField("hiddendanger.itemNo", fmt.Sprintf("/items/%d/no", i), "序号重复")
		}
		seen[it.No] = true
	}
	var out *CheckList
	err := s.db.Tx(ctx, func(ctx context.Context) error {
		last, err := s.lists.First(ctx, scope.All("check lists are public guidance"), func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("r.code = ?", in.Code).Order("r.edition DESC")
		})
		if err != nil {
			return err
		}
		l := &CheckList{Code: in.Code, Edition: 1, Title: clean(in.Title), Line: in.Line, Basis: clean(in.Basis), State: Draft, Items: in.Items}
		out = l
		switch {
		case last == nil:
		case last.State == Draft:
			l.Head, l.Edition = last.Head, last.Edition
			return s.lists.Update(ctx, l, record.Change{Fact: "hiddendanger.checkListChanged", Title: "修改清单草稿"})
		default:
			l.Edition = last.Edition + 1
		}
		return s.lists.Insert(ctx, l, record.Change{Fact: "hiddendanger.checkListDrafted", Title: "起草清单"})
	})
	return out, err
}

// PublishInput says from when an edition holds.
type PublishInput struct {
	flow.Read
	EffectiveFrom string `json:"effectiveFrom" minLength:"10" maxLength:"10" doc:"施行日期"`
}

// PublishCheckList puts a draft into force from a date. The edition before ends on the day before; checks that are under way keep theirs.
func (s *Service) PublishCheckList(ctx context.Context, id string, in PublishInput) (*CheckList, error) {
	from, err := time.ParseInLocation(time.DateOnly, in.EffectiveFrom, clock.Zone)
	if err != nil {
		return nil, errs.InvalidField("hiddendanger.date", "/effectiveFrom", "应为日期，如 2026-12-31")
	}
	var l *CheckList
	err = s.db.Tx(ctx, func(ctx context.Context) error {
		all := scope.All("check lists are public guidance")
		if l, err = s.lists.Load(ctx, all, id); err != nil {
			return err
		}
		if err := s.lists.CheckVersion(l, in.Version); err != nil {
			return err
		}
		if l.State != Draft {
			return errs.Conflict("hiddendanger.published", "该版次已发布；要修改请起草新版次。")
		}
		before, err := s.lists.First(ctx, all, func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("r.code = ? AND r.state = ? AND r.effective_to = ''", l.Code, Published)
		})
		if err != nil {
			return err
		}
		if before != nil {
			if in.EffectiveFrom <= before.EffectiveFrom {
				return errs.InvalidField("hiddendanger.date", "/effectiveFrom", "应晚于上一版次的施行日期 "+before.EffectiveFrom)
			}
			before.EffectiveTo = from.AddDate(0, 0, -1).Format(time.DateOnly)
			if err := s.lists.Update(ctx, before, record.Change{Fact: "hiddendanger.checkListEnded", Title: "清单版次停止施行"}); err != nil {
				return err
			}
		}
		l.State, l.EffectiveFrom = Published, in.EffectiveFrom
		return s.lists.Update(ctx, l, record.Change{Fact: "hiddendanger.checkListPublished", Title: "发布清单"})
	})
	return l, err
}

// period names the period of length days that t lies in, and its end.
func period(t time.Time, days int) (name string, end time.Time) {
	day := clock.Day(t)
	y, m, _ := day.Date()
	switch {
	case days >= 360:
		return fmt.Sprint(y), time.Date(y+1, 1, 1, 0, 0, 0, 0, clock.Zone)
	case days >= 85:
		q := (int(m) - 1) / 3
		return fmt.Sprintf("%dQ%d", y, q+1), time.Date(y, time.Month(q*3+4), 1, 0, 0, 0, 0, clock.Zone)
	case days >= 28:
		return day.Format("2006-01"), time.Date(y, m+1, 1, 0, 0, 0, 0, clock.Zone)
	case days >= 7:
		iso, week := day.ISOWeek()
		return fmt.Sprintf("%dW%02d", iso, week), day.AddDate(0, 0, 7-(int(day.Weekday())+6)%7)
	}
	return clock.Date(t), day.AddDate(0, 0, 1)
}

// PlanChecks makes the checks of the present period for every active enterprise that has none yet, and says how many it made. It may run as often as one likes.
func (s *Service) PlanChecks(ctx context.Context) (int, error) {
	now := s.db.Clock.Now()
	lists, err := s.published(ctx, clock.Date(now))
	if err != nil || len(lists) == 0 {
		return 0, err
	}
	made := 0
	// A few enterprises per transaction: the writer is not held for long.
	var some []*enterpriseapi.Enterprise
	plan := func() error {
		return s.db.Tx(ctx, func(ctx context.Context) error {
			for _, e := range some {
				ok, err := s.planCheck(ctx, e, lists, now)
				if err != nil {
					return err
				}
				if ok {
					made++
				}
			}
			some = some[:0]
			return nil
		})
	}
	err = s.enterprises.Each(ctx, scope.All("every enterprise checks itself"), enterpriseapi.Selection{States: []string{enterpriseapi.Active}}, func(e *enterpriseapi.Enterprise) error {
		if e.Origin != s.db.Node {
			return nil // its own node plans for it
		}
		if some = append(some, e); len(some) < 20 {
			return nil
		}
		return plan()
	})
	if err == nil {
		err = plan()
	}
	return made, err
}

func (s *Service) planCheck(ctx context.Context, e *enterpriseapi.Enterprise, lists []*CheckList, now time.Time) (bool, error) {
	list := choose(lists, e.Place.Line)
	if list == nil {
		return false, nil
	}
	p, _, err := s.policy.For(ctx, e.Place.Division, now)
	if err != nil {
		return false, err
	}
	days, ok := p.CheckEveryDays[e.Grade]
	if !ok {
		if days = p.CheckEveryDays["*"]; days == 0 {
			return false, nil
		}
	}
	name, end := period(now, days)
	found, err := s.checks.Count(ctx, scope.Own(e.ID), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.list_code = ? AND r.period = ?", list.Code, name)
	})
	if err != nil || found > 0 {
		return false, err
	}
	c := &Check{Place: e.Place, EnterpriseName: e.Name, ListID: list.ID, ListCode: list.Code, ListTitle: list.Title, Period: name, DueAt: end, State: CheckDue}
	c.EnterpriseID = e.ID
	if err := s.checks.Insert(ctx, c, record.Change{Fact: "hiddendanger.checkPlanned", Title: "下达自查任务"}); err != nil {
		if _, taken := db.UniqueViolation(err); taken {
			return false, errs.Conflict("hiddendanger.checkPlanned", "该周期的自查任务已存在。").Because(err)
		}
		return false, err
	}
	_, err = s.deadlines.Start(ctx, deadline.StartInput{Ref: checkRef(c), Place: c.Place, RuleKey: ruleSelfCheck, Due: end,
		Title: "隐患自查上报：" + name, Responsible: deadline.Party{ID: e.ID, Name: e.Name}})
	return err == nil, err
}

func checkRef(c *Check) deadline.Ref {
	return deadline.Ref{RecordType: CheckType, RecordID: c.ID, Slot: "report"}
}

// choose picks the list for a line: its own, else the general one.
func choose(lists []*CheckList, line string) *CheckList {
	var general *CheckList
	for _, l := range lists {
		if l.Line == line {
			return l
		}
		if l.Line == "" && general == nil {
			general = l
		}
	}
	return general
}

// MarkMissed marks the checks that nobody reported in time, and says how many.
func (s *Service) MarkMissed(ctx context.Context) (int, error) {
	marked := 0
	for {
		late, err := s.checks.Find(ctx, scope.All("silence is noticed for everybody"), func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("r.state = ? AND r.due_at < ? AND r.origin = ?", CheckDue, s.db.Clock.Now(), s.db.Node).Order("r.due_at").Limit(50)
		})
		if err != nil || len(late) == 0 {
			return marked, err
		}
		if err := s.db.Tx(ctx, func(ctx context.Context) error {
			for _, c := range late {
				c.State = CheckMissed
				err := s.checks.Update(ctx, c, record.Change{Fact: "hiddendanger.checkMissed", Title: "逾期未报"})
				if e := errs.As(err); e != nil && e.Code == "record.stale" {
					continue // it was reported this very moment
				}
				if err != nil {
					return err
				}
				marked++
			}
			return nil
		}); err != nil {
			return marked, err
		}
	}
}

// CheckView is a check with its list, as the page shows it.
type CheckView struct {
	Check
	List    *CheckList       `json:"list"`
	Overdue bool             `json:"overdue"`
	Clocks  []*deadline.Item `json:"clocks" nullable:"false"`
}

// ShowCheck returns a check that the caller may see.
func (s *Service) ShowCheck(ctx context.Context, id string) (*CheckView, error) {
	c, err := s.checks.Load(ctx, scope.For(ctx, PermCheckView), id)
	if err != nil {
		return nil, err
	}
	return s.checkView(ctx, c)
}

func (s *Service) checkView(ctx context.Context, c *Check) (*CheckView, error) {
	l, err := s.lists.Load(ctx, scope.All("check lists are public guidance"), c.ListID)
	if err != nil {
		return nil, err
	}
	clocks, err := s.deadlines.Of(ctx, CheckType, c.ID)
	if err != nil {
		return nil, err
	}
	if clocks == nil {
		clocks = []*deadline.Item{}
	}
	return &CheckView{*c, l, slices.Contains([]flow.State{CheckMissed, CheckLate}, c.State) || c.State == CheckDue && s.db.Clock.Now().After(c.DueAt), clocks}, nil
}

// SubmitCheck reports a check. What is bad becomes a hidden danger in the same transaction.
func (s *Service) SubmitCheck(ctx context.Context, id string, in CheckSubmitInput) (v *CheckView, err error) {
	err = s.db.Tx(ctx, func(ctx context.Context) error {
		c, err := s.checks.Load(ctx, scope.For(ctx, PermCheckRun), id)
		if err != nil {
			return err
		}
		if err := s.checks.CheckVersion(c, in.Version); err != nil {
			return err
		}
		if c.State != CheckDue && c.State != CheckMissed {
			return errs.Conflict("hiddendanger.checkDone", "本期自查已经上报，不能重复上报。新发现的隐患请单独登记。")
		}
		l, err := s.lists.Load(ctx, scope.All("check lists are public guidance"), c.ListID)
		if err != nil {
			return err
		}
		if err := s.answer(ctx, c, l, in.Answers); err != nil {
			return err
		}
		now := s.db.Clock.Now()
		c.State, c.DoneAt, c.DoneBy = CheckDone, now, s.me(ctx).Name
		title := "上报自查结果"
		if c.Findings == 0 {
			title = "零报告"
		}
		if now.After(c.DueAt) {
			c.State, title = CheckLate, title+"（逾期补报）"
		}
		if err := s.checks.Update(ctx, c, record.Change{Fact: "hiddendanger.checkReported", Title: title}); err != nil {
			return err
		}
		if _, err := s.deadlines.Meet(ctx, checkRef(c), now); err != nil && errs.KindOf(err) != errs.KindNotFound {
			return err
		}
		v, err = s.checkView(ctx, c)
		return err
	})
	return v, err
}

// answer fills in the answers; items that are not mentioned are ok.
func (s *Service) answer(ctx context.Context, c *Check, l *CheckList, lines []AnswerLine) error {
	given := map[string]int{}
	var wrong []errs.Field
	for i, a := range lines {
		if _, twice := given[a.No]; twice {
			wrong = append(wrong, errs.Field{Pointer: fmt.Sprintf("/answers/%d/no", i), Message: "同一项填了两次"})
		}
		given[a.No] = i
		if !slices.ContainsFunc(l.Items, func(it CheckItem) bool { return it.No == a.No }) {
			wrong = append(wrong, errs.Field{Pointer: fmt.Sprintf("/answers/%d/no", i), Message: "清单中没有这一项"})
		}
		if a.Result == "bad" && strings.TrimSpace(a.Location) == "" {
			wrong = append(wrong, errs.Field{Pointer: fmt.Sprintf("/answers/%d/location", i), Message: "请填写具体位置"})
		}
	}
	if len(wrong) > 0 {
		return errs.Invalid("hiddendanger.answers", "自查结果填写有误，请按提示修改。", wrong...)
	}
	c.Answers, c.Findings = nil, 0
	for _, it := range l.Items {
		i, ok := given[it.No]
		if !ok {
			c.Answers = append(c.Answers, Answer{No: it.No, Result: "ok"})
			continue
		}
		a := lines[i]
		out := Answer{No: it.No, Result: a.Result, Note: clean(a.Note)}
		if a.Result == "bad" {
			title := a.Title
			if strings.TrimSpace(title) == "" {
				title = "不符合：" + cutRunes(it.Text, 90)
			}
			id, err := s.Report(ctx, hiddendangerapi.Finding{Source: hiddendangerapi.SelfInspection, Title: title, Description: a.Note, Category: it.Category,
				Location: a.Location, EnterpriseID: c.EnterpriseID, Photos: a.Photos, LinkType: CheckType, LinkID: c.ID})
			if e := errs.As(err); e != nil && e.Kind == errs.KindInvalid {
				for _, f := range e.Fields {
					wrong = append(wrong, errs.Field{Pointer: fmt.Sprintf("/answers/%d%s", i, f.Pointer), Message: f.Message})
				}
				continue
			} else if err != nil {
				return err
			}
			out.DangerID = id
			c.Findings++
		}
		c.Answers = append(c.Answers, out)
	}
	if len(wrong) > 0 {
		return errs.Invalid("hiddendanger.answers", "自查结果填写有误，请按提示修改。", wrong...)
	}
	return nil
}

func cutRunes(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
