package enterprise

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
)

// GradingPolicy says how enterprises are classed (高危, 一般) and graded (A, the best, to D) in a division: 分类分级监管 (安全生产法 第六十二条; 石狮 15; 湖南 12).
// The law leaves the rule to the places, so every value here is a proposal [P] until the division sets its own.
type GradingPolicy struct {
	HighRiskLines   []string `json:"highRiskLines" doc:"高危行业领域"`
	HighRiskHazards []string `json:"highRiskHazards" doc:"涉及即属高危的重点风险"`
	Scores          []Score  `json:"scores" doc:"计分项"`
	B               int      `json:"b" doc:"从多少分起为 B 级"`
	C               int      `json:"c" doc:"从多少分起为 C 级"`
	D               int      `json:"d" doc:"从多少分起为 D 级"`
}

// Score adds points when its condition holds. There is a closed set of conditions and no formula.
type Score struct {
	When   string `json:"when" enum:"line,hazard,scale,employees,missing,expired" doc:"条件：领域、重点风险、规模、从业人数达到、缺少、证书过期"`
	Value  string `json:"value" doc:"条件的值：代码；从业人数为整数；缺少为 safetyManager、principal、position 之一；证书过期不填"`
	Points int    `json:"points"`
	Reason string `json:"reason" doc:"显示的理由"`
}

// Grading is why an enterprise has its class and grade.
type Grading struct {
	Points  int      `json:"points"`
	Reasons []string `json:"reasons" nullable:"false" doc:"逐条理由"`
	Rule    string   `json:"rule" doc:"分级规则的版本；default 表示内置规则"`
	At      string   `json:"at" doc:"评定日期"`
	// Stated: a person set class and grade against the rule; By and Reason say who and why. Otherwise they follow from the facts and the rule.
	Stated bool   `json:"stated" doc:"人工评定"`
	By     string `json:"by,omitempty" doc:"评定人"`
	Reason string `json:"reason,omitempty" doc:"人工评定的理由"`
}

const (
	highRisk = "highRisk"
	general  = "general"
)

var classTitles = map[string]string{highRisk: "高危", general: "一般"}

// defaultGrading holds where no division has set its own policy [P]. The lines are those of 安全生产法 第二十四条 and of the mandatory liability insurance (第五十一条).
var defaultGrading = GradingPolicy{
	HighRiskLines:   []string{"coalMine", "nonCoalMine", "hazchem", "fireworks", "civilExplosive", "construction", "transport", "waterTransport", "fishery"},
	HighRiskHazards: []string{"majorHazardSource", "metallurgy", "dust"},
	Scores: []Score{
		{"line", "coalMine", 30, "煤矿"}, {"line", "nonCoalMine", 30, "非煤矿山"}, {"line", "hazchem", 30, "危险化学品"}, {"line", "fireworks", 30, "烟花爆竹"},
		{"line", "civilExplosive", 30, "民用爆炸物品"}, {"line", "construction", 20, "建筑施工"}, {"line", "transport", 20, "道路运输"}, {"line", "waterTransport", 20, "水上交通"},
		{"line", "fishery", 20, "渔业船舶"}, {"line", "gas", 20, "城镇燃气"},
		{"hazard", "majorHazardSource", 30, "有重大危险源"}, {"hazard", "metallurgy", 25, "涉及高温熔融金属"}, {"hazard", "dust", 25, "涉爆粉尘"},
		{"hazard", "ammonia", 20, "涉氨制冷"}, {"hazard", "confinedSpace", 15, "有限空间作业"}, {"hazard", "hazchemUse", 15, "使用危险化学品"}, {"hazard", "coalGas", 15, "使用煤气"},
		{"hazard", "hotWork", 5, "动火作业"}, {"hazard", "denseOccupancy", 10, "人员密集"},
		{"employees", "100", 10, "从业人员100人以上"}, {"employees", "300", 10, "从业人员300人以上"},
		{"missing", "safetyManager", 10, "未登记安全生产管理人员"}, {"missing", "principal", 5, "未登记主要负责人"},
		{"expired", "", 10, "有人员证书过期"},
	},
	B: 20, C: 40, D: 60,
}

// validateGrading refuses a policy that cannot be meant.
func validateGrading(g GradingPolicy) error {
	var p problems
	if g.B <= 0 || g.C <= g.B || g.D <= g.C {
		p.add("/value/b", "各级起点应为正数，且 B、C、D 依次增大")
	}
	for i, s := range g.Scores {
		at := fmt.Sprintf("/value/scores/%d", i)
		switch s.When {
		case "line", "hazard", "scale":
		case "employees":
			if _, err := strconv.Atoi(s.Value); err != nil {
				p.add(at+"/value", "从业人数应为整数")
			}
		case "missing":
			if !slices.Contains([]string{SafetyManager, PrincipalRole, "position"}, s.Value) {
				p.add(at+"/value", "只能是 safetyManager、principal 或 position")
			}
		case "expired":
		default:
			p.add(at+"/when", "没有这种条件")
		}
		if s.Reason == "" {
			p.add(at+"/reason", "请填写显示的理由")
		}
	}
	if len(p) > 0 {
		return errs.Invalid("enterprise.invalidGrading", "分级规则有误，请按提示修改。", p...)
	}
	return nil
}

// grade sets class and grade by the policy. The date of an unchanged result stays.
func (e *Enterprise) grade(g *GradingPolicy, version string, now time.Time) {
	was := e.Grading
	class, next := general, Grading{Reasons: []string{}, Rule: version, At: was.At}
	if slices.Contains(g.HighRiskLines, e.Line) || slices.ContainsFunc(e.Hazards, func(h string) bool { return slices.Contains(g.HighRiskHazards, h) }) {
		class = highRisk
	}
	for _, s := range g.Scores {
		if e.meets(s, clock.Date(now)) {
			next.Points += s.Points
			next.Reasons = append(next.Reasons, fmt.Sprintf("%s +%d", s.Reason, s.Points))
		}
	}
	grade := "A"
	switch {
	case next.Points >= g.D:
		grade = "D"
	case next.Points >= g.C:
		grade = "C"
	case next.Points >= g.B:
		grade = "B"
	}
	if next.At == "" || was.Stated || e.Class != class || e.Grade != grade || was.Rule != version || !slices.Equal(was.Reasons, next.Reasons) {
		next.At = clock.Date(now)
	}
	e.Class, e.Grade, e.Grading = class, grade, next
}

func (e *Enterprise) meets(s Score, today string) bool {
	switch s.When {
	case "line":
		return e.Line == s.Value
	case "hazard":
		return slices.Contains(e.Hazards, s.Value)
	case "scale":
		return e.Scale == s.Value
	case "employees":
		n, err := strconv.Atoi(s.Value)
		return err == nil && e.Employees >= n
	case "missing":
		switch s.Value {
		case "position":
			return e.Lon == nil
		case SafetyManager: // a part-timer is enough for small units (安全生产法 第二十四条第二款)
			return e.person(SafetyManager) == nil && e.person(SafetyStaff) == nil && e.person(SafetyDirector) == nil
		}
		return e.person(s.Value) == nil
	case "expired":
		for _, p := range e.People {
			for _, c := range p.Certificates {
				if c.ValidTo != "" && c.ValidTo < today {
					return true
				}
			}
		}
	}
	return false
}
