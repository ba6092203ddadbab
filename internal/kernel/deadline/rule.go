package deadline

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/record"
)

// Rule is one period of the law: how long, by which clause, and who learns of its end. A module declares its rules in Go; an
// administrator may add later editions.
type Rule struct {
	Key    string `bun:"rule_key" json:"key" pattern:"^[a-z][a-zA-Z0-9]*(\\.[a-z][a-zA-Z0-9]*)+$" maxLength:"80" doc:"规则标识，如 enforcement.service"`
	Title  string `bun:"title" json:"title" minLength:"1" maxLength:"100" doc:"期限名称，如 处罚决定书送达"`
	Clause string `bun:"clause" json:"clause" minLength:"1" maxLength:"200" doc:"依据，如 行政处罚法 第六十一条"`
	// Mark is how sure the handbook is of the rule.
	Mark string `bun:"mark" json:"mark" enum:"V,V2,R,U,P,S0,S1,S2,S3" doc:"可信程度"`
	Term
	Ladder Ladder `bun:"ladder,type:text" json:"ladder" maxItems:"20" doc:"提醒与升级阶梯，按时间先后"`
	// MaxExtensions caps how often one deadline may be extended; 0 sets no cap, NoExtension forbids it.
	MaxExtensions int `bun:"max_extensions" json:"maxExtensions" minimum:"-1" maximum:"100" doc:"最多延长次数，0 不限，-1 不得延长"`
	// MaxExtension caps each extension, in the term's unit; 0 sets no cap.
	MaxExtension int `bun:"max_extension" json:"maxExtension" minimum:"0" doc:"每次最多延长多少，单位同期限，0 不限"`
	// EffectiveFrom and EffectiveTo are the first and last day ("2026-02-01") of the facts to which the rule applies; empty: no limit.
	EffectiveFrom string `bun:"effective_from" json:"effectiveFrom" doc:"施行日期，空表示一直有效"`
	EffectiveTo   string `bun:"effective_to" json:"effectiveTo" doc:"失效日期（含当日），空表示现行"`
}

// NoExtension as MaxExtensions forbids extending.
const NoExtension = -1

// Edition is one dated edition of a rule, as stored. The first one of a key is number 1.
type Edition struct {
	bun.BaseModel `bun:"table:deadline_rule,alias:r"`
	record.Head
	Number int `bun:"number" json:"number" doc:"版次"`
	Rule
}

// Recipient is the level that a rung reaches. Who that is for a certain record is for the module or for notify to find.
type Recipient string

// The recipients, from the bottom up.
const (
	ToResponsible Recipient = "responsible" // the responsible party of the item
	ToTown        Recipient = "town"        // 乡镇（街道）
	ToDepartment  Recipient = "department"  // 主管部门
	ToOffice      Recipient = "office"      // 安委办
	ToUpper       Recipient = "upper"       // 上级
)

// Rung is one step of the ladder: when, measured from the end, and to whom.
type Rung struct {
	Offset int       `json:"offset" doc:"相对期满的时间，负数为期满前"`
	Unit   Unit      `json:"unit" enum:"hour,day,workday" doc:"单位"`
	To     Recipient `json:"to" enum:"responsible,town,department,office,upper" doc:"送达层级"`
	Title  string    `json:"title" minLength:"1" maxLength:"100" doc:"如 即将到期提醒"`
}

// Ladder is the rungs of a rule in the order in which they are climbed.
type Ladder []Rung

// at is when the rung is reached. Working days are counted from the last day of the period.
func (r Rung) at(due time.Time, c *Calendar) time.Time {
	days := r.Offset
	switch r.Unit {
	case Hours:
		return due.Add(time.Duration(r.Offset) * time.Hour)
	case Workdays:
		last := lastDayOf(due)
		days = int(c.advance(last, r.Offset, Workdays) - last)
	}
	return due.In(clock.Zone).AddDate(0, 0, days).UTC()
}

// times is when each rung is reached. A rung is never reached before the one below it, even when offsets in different units cross.
func (l Ladder) times(due time.Time, c *Calendar) []time.Time {
	at := make([]time.Time, len(l))
	for i, r := range l {
		at[i] = r.at(due, c)
		if i > 0 && at[i].Before(at[i-1]) {
			at[i] = at[i-1]
		}
	}
	return at
}

// passed is how many of the rungs, whose times ascend, have come by now.
func passed(times []time.Time, now time.Time) int {
	n, _ := slices.BinarySearchFunc(times, now, func(at, now time.Time) int {
		if at.After(now) {
			return 1
		}
		return -1
	})
	return n
}

func (l Ladder) check() error {
	hours := func(r Rung) int {
		if r.Unit == Hours {
			return r.Offset
		}
		return 24 * r.Offset
	}
	for i, r := range l {
		switch {
		case r.Unit != Hours && r.Unit != Days && r.Unit != Workdays:
			return fmt.Errorf("第 %d 级的单位 %q 无效，应为 hour、day 或 workday", i+1, r.Unit)
		case !slices.Contains([]Recipient{ToResponsible, ToTown, ToDepartment, ToOffice, ToUpper}, r.To):
			return fmt.Errorf("第 %d 级的送达层级 %q 无效", i+1, r.To)
		case strings.TrimSpace(r.Title) == "":
			return fmt.Errorf("第 %d 级没有名称", i+1)
		case hours(r) > 24*3660 || hours(r) < -24*3660:
			return fmt.Errorf("第 %d 级距期满超过十年", i+1)
		case i > 0 && hours(r) < hours(l[i-1]):
			return fmt.Errorf("第 %d 级早于前一级，请按时间先后排列", i+1)
		}
	}
	return nil
}

// check says in Chinese what is wrong with the rule.
func (r *Rule) check() error {
	marks := []string{"V", "V2", "R", "U", "P", "S0", "S1", "S2", "S3"}
	switch {
	case r.Key == "" || r.Title == "" || r.Clause == "":
		return errors.New("规则须有标识、名称和依据")
	case !slices.Contains(marks, r.Mark):
		return fmt.Errorf("可信程度 %q 无效", r.Mark)
	case r.MaxExtensions < NoExtension || r.MaxExtension < 0:
		return errors.New("延长次数或延长时间无效")
	case r.EffectiveFrom != "" && r.EffectiveTo != "" && r.EffectiveTo < r.EffectiveFrom:
		return errors.New("失效日期早于施行日期")
	}
	for _, date := range []string{r.EffectiveFrom, r.EffectiveTo} {
		if _, err := parseDay(date); date != "" && err != nil {
			return err
		}
	}
	return errors.Join(r.Term.check(), r.Ladder.check())
}

func (r *Rule) inForce(date string) bool {
	return r.EffectiveFrom <= date && (r.EffectiveTo == "" || date <= r.EffectiveTo)
}

// choose picks the edition in force on the date: the one that came into force last; of two from one day, the later edition.
// It returns nil when none is in force.
func choose(editions []*Edition, date string) *Edition {
	var best *Edition
	for _, e := range editions {
		if e.inForce(date) && (best == nil || cmp.Or(cmp.Compare(e.EffectiveFrom, best.EffectiveFrom), cmp.Compare(e.Number, best.Number)) > 0) {
			best = e
		}
	}
	return best
}
