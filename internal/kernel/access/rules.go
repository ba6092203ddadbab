package access

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// Settings are the rules for passwords and logins. The defaults are what assessors of level 3 usually ask for (GB/T 22239-2019, handbook 18.1 [U]).
type Settings struct {
	MinLength       int  `json:"minLength" minimum:"8" maximum:"64" doc:"密码最短长度"`
	Classes         int  `json:"classes" minimum:"2" maximum:"4" doc:"大写字母、小写字母、数字、其他字符中至少几类"`
	MaxAgeDays      int  `json:"maxAgeDays" minimum:"0" maximum:"365" doc:"密码有效天数，0表示不限"`
	History         int  `json:"history" minimum:"0" maximum:"24" doc:"不得与最近几次用过的密码相同"`
	Failures        int  `json:"failures" minimum:"3" maximum:"20" doc:"连续输错几次后锁定"`
	LockMinutes     int  `json:"lockMinutes" minimum:"5" maximum:"1440" doc:"锁定分钟数"`
	AddressFailures int  `json:"addressFailures" minimum:"10" maximum:"1000" doc:"同一网络地址在锁定分钟数内最多失败次数"`
	IdleMinutes     int  `json:"idleMinutes" minimum:"5" maximum:"240" doc:"无操作多少分钟后退出"`
	AbsoluteHours   int  `json:"absoluteHours" minimum:"1" maximum:"24" doc:"登录最长小时数"`
	AdminOTP        bool `json:"adminOtp" doc:"三员须用动态口令登录"`
}

// defaultSettings hold until the security administrator sets others.
var defaultSettings = Settings{MinLength: 10, Classes: 3, MaxAgeDays: 90, History: 5, Failures: 5, LockMinutes: 10, AddressFailures: 30, IdleMinutes: 30, AbsoluteHours: 12}

func (s *Settings) lock() time.Duration     { return time.Duration(s.LockMinutes) * time.Minute }
func (s *Settings) idle() time.Duration     { return time.Duration(s.IdleMinutes) * time.Minute }
func (s *Settings) absolute() time.Duration { return time.Duration(s.AbsoluteHours) * time.Hour }

// expired reports whether a password set at a moment must be changed by now.
func (s *Settings) expired(set, now time.Time) bool {
	return s.MaxAgeDays > 0 && !now.Before(set.AddDate(0, 0, s.MaxAgeDays))
}

// Rules are the settings that hold from a day on.
type Rules struct {
	bun.BaseModel `bun:"table:access_rules,alias:r" json:"-"`
	record.Head

	ValidFrom string   `bun:"valid_from" json:"validFrom" doc:"施行日期"`
	Settings  Settings `bun:"settings,type:text" json:"settings"`
}

// catalogue is what everybody's rights are computed from, as it was at one moment.
type catalogue struct {
	rules []*Rules // newest first
	roles map[string]*Role
}

// catalogueNow returns the roles and rules as committed.
func (g *Gate) catalogueNow(ctx context.Context) (*catalogue, error) {
	if err := g.feed.Check(ctx); err != nil {
		return nil, err
	}
	g.mu.RLock()
	c, before := g.catalogue, g.generation.Load()
	g.mu.RUnlock()
	if c != nil {
		return c, nil
	}
	committed := context.Background() // not ctx, whose transaction may see what is not committed
	roles, err := g.storedRoles(committed)
	if err != nil {
		return nil, err
	}
	rules, err := g.rules.Find(committed, scope.All("rules are configuration"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Order("r.valid_from DESC")
	})
	if err != nil {
		return nil, err
	}
	c = &catalogue{rules, roles}
	g.mu.Lock()
	if g.generation.Load() == before {
		g.catalogue = c
	}
	g.mu.Unlock()
	return c, nil
}

// settings are the rules in force on the day of now.
func (c *catalogue) settings(now time.Time) *Settings {
	day := clock.Date(now)
	for _, r := range c.rules {
		if r.ValidFrom <= day {
			return &r.Settings
		}
	}
	s := defaultSettings
	return &s
}

// Settings returns the rules for passwords and logins that are in force today. Anybody may know them: a person who chooses a password must.
func (g *Gate) Settings(ctx context.Context) (Settings, error) {
	c, err := g.catalogueNow(ctx)
	if err != nil {
		return Settings{}, err
	}
	return *c.settings(g.db.Clock.Now()), nil
}

// SetSettings makes settings hold from the day validFrom on, today or later. It asks for the security administrator. Settings
// already made for that day are replaced.
func (g *Gate) SetSettings(ctx context.Context, validFrom string, in Settings) (*Rules, error) {
	if err := org.Need(ctx, manageRules); err != nil {
		return nil, err
	}
	if _, err := time.Parse(time.DateOnly, validFrom); err != nil || validFrom < clock.Date(g.db.Clock.Now()) {
		return nil, errs.InvalidField("access.rulesDate", "/validFrom", "应为今天或以后的日期，形如 2026-03-11。")
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	var r *Rules
	err := g.edit(ctx, rulesSubject, func(ctx context.Context) (err error) {
		r, err = g.rules.First(ctx, scope.All("rules are configuration"), func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.valid_from = ?", validFrom) })
		if err != nil {
			return err
		}
		change := record.Change{Fact: "access.rulesSet", Title: "设定登录与密码规则", Data: in}
		if r != nil {
			r.Settings = in
			return g.rules.Update(ctx, r, change)
		}
		r = &Rules{ValidFrom: validFrom, Settings: in}
		return g.rules.Insert(ctx, r, change)
	})
	return r, err
}

// check refuses settings weaker than anybody should run with.
func (s *Settings) check() error {
	var wrong []errs.Field
	for _, f := range []struct {
		name            string
		value, min, max int
	}{
		{"minLength", s.MinLength, 8, 64}, {"classes", s.Classes, 2, 4}, {"maxAgeDays", s.MaxAgeDays, 0, 365}, {"history", s.History, 0, 24},
		{"failures", s.Failures, 3, 20}, {"lockMinutes", s.LockMinutes, 5, 1440}, {"addressFailures", s.AddressFailures, 10, 1000},
		{"idleMinutes", s.IdleMinutes, 5, 240}, {"absoluteHours", s.AbsoluteHours, 1, 24},
	} {
		if f.value < f.min || f.value > f.max {
			wrong = append(wrong, errs.Field{Pointer: "/" + f.name, Message: fmt.Sprintf("应在 %d 到 %d 之间。", f.min, f.max)})
		}
	}
	if len(wrong) > 0 {
		return errs.Invalid("access.rules", "有的数值超出允许范围，请按各栏提示修改。", wrong...)
	}
	return nil
}

//go:embed common.txt
var commonText string

// commonParts are the words and runs of common.txt, longest first.
var commonParts = func() []string {
	var parts []string
	for line := range strings.Lines(commonText) {
		if !strings.HasPrefix(line, "#") {
			parts = append(parts, strings.Fields(line)...)
		}
	}
	for year := 1950; year < 2050; year++ {
		parts = append(parts, fmt.Sprint(year))
	}
	slices.SortStableFunc(parts, func(a, b string) int { return len(b) - len(a) })
	return parts
}()

// lookalikes undoes what people write for letters.
var lookalikes = strings.NewReplacer("@", "a", "0", "o", "$", "s", "3", "e", "1", "i", "!", "i", "5", "s")

// weak reports whether little is left of a password once common words and runs are taken out, as typed and with lookalikes undone.
func weak(password string) bool {
	rest := withoutCommon(strings.ToLower(password))
	return len([]rune(rest)) < 4 || len([]rune(withoutCommon(lookalikes.Replace(rest)))) < 4
}

func withoutCommon(s string) string {
	for _, part := range commonParts {
		s = strings.ReplaceAll(s, part, "")
	}
	return s
}

// maxPassword is the length in bytes beyond which nobody types.
const maxPassword = 256

// checkNew says what is wrong with a new password, all of it.
func (s *Settings) checkNew(password, account, phone string) error {
	var wrong []string
	if n := len([]rune(password)); n < s.MinLength || len(password) > maxPassword {
		wrong = append(wrong, fmt.Sprintf("至少 %d 位，且不超过 %d 字节", s.MinLength, maxPassword))
	}
	var upper, lower, digit, other int
	for _, r := range password {
		switch {
		case unicode.IsUpper(r):
			upper = 1
		case unicode.IsLower(r):
			lower = 1
		case unicode.IsDigit(r):
			digit = 1
		default:
			other = 1
		}
	}
	if upper+lower+digit+other < s.Classes {
		wrong = append(wrong, fmt.Sprintf("应含大写字母、小写字母、数字、其他字符中的至少 %d 类", s.Classes))
	}
	if strings.Contains(strings.ToLower(password), account) {
		wrong = append(wrong, "不能含有账号名")
	}
	if len(phone) >= 7 && strings.Contains(password, phone) {
		wrong = append(wrong, "不能含有本人电话号码")
	}
	if weak(password) {
		wrong = append(wrong, "过于常见，容易被猜到")
	}
	if len(wrong) > 0 {
		return errs.InvalidField("access.weakPassword", "/new", "新密码不符合要求："+strings.Join(wrong, "；")+"。")
	}
	return nil
}
