package app

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/org"
	"anwang/internal/lib/gbcode"
	"anwang/internal/module/enterprise"
)

const (
	demoVillage = "341722100200" // 三增村, where the enterprise of the demo accounts lies
	demoFirm    = "石台县秋浦竹业有限公司"
)

// firm is an enterprise of the demo county.
type firm struct {
	id, name, kind, line, grade string
	town                        *demoTown
	division                    string
	head                        string // 主要负责人
	manager, boss               string // accounts; boss may be empty
	conduct                     string // how it reports: diligent, late or silent
	lon, lat                    float64
}

// firmKind is one row of firms.txt.
type firmKind struct {
	key, industry, line, reason string
	count                       int
	scale                       string
	least, most                 int
	hazards                     []string
	form                        string
	ends                        []string
}

func firmKinds() ([]firmKind, error) {
	rows, err := demoRows("firms.txt", 11)
	if err != nil {
		return nil, err
	}
	var out []firmKind
	for _, r := range rows {
		k := firmKind{key: r[0], industry: r[1], line: r[2], reason: r[3], scale: r[5], form: r[9], ends: strings.Split(r[10], ",")}
		k.count, _ = strconv.Atoi(r[4])
		k.least, _ = strconv.Atoi(r[6])
		k.most, _ = strconv.Atoi(r[7])
		if r[8] != "" {
			k.hazards = strings.Split(r[8], ",")
		}
		out = append(out, k)
	}
	return out, nil
}

// The words of made-up names.
var (
	firmWords = strings.Fields("秋浦 牯牛 醉山 翠岭 云岭 富硒 仙源 龙泉 青峰 银杏 源泉 雁鸣 金钱 鸿渡 贡溪 缘溪 雾里 石泉 梓桐 榉林 杉岭 清溪 秀水 同心 永福 瑞丰 恒达 鑫源 宏远 兴盛 惠民 众联 江南 皖南 绿野 山乡 竹海 怪潭 慈云 蓬莱 古徽 渔亭")
	firmMore  = strings.Fields("泰 隆 和 顺 昌 达 诚 信 安 康 福 禄 春 秋 明 辉 景 祥 瑞 丰 盛 源 林 峰 岭 溪 谷 野 友 邦")
)

// enterprises registers the county's enterprises, each by the safety station of its town, and gives them people.
func (b *builder) enterprises(ctx context.Context) error {
	kinds, err := firmKinds()
	if err != nil {
		return err
	}
	used := map[string]bool{demoFirm: true}
	for _, k := range kinds {
		for i := range b.size.of(k.count) {
			f := &firm{kind: k.key, conduct: "diligent"}
			switch n := b.rnd.IntN(100); {
			case n < 14:
				f.conduct = "late"
			case n < 24:
				f.conduct = "silent"
			}
			f.town = b.townFor(k.key)
			f.division = b.pick(f.town.villages)
			f.name = b.firmName(k, f.town, used)
			if k.key == "bamboo" && i == 0 {
				f.town, f.division, f.name, f.conduct = b.towns[0], demoVillage, demoFirm, "diligent"
			}
			b.firms = append(b.firms, f)
			if err := b.register(ctx, k, f); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	return b.staff(ctx)
}

func (b *builder) townFor(kind string) *demoTown {
	for {
		n := b.rnd.IntN(100)
		for _, t := range b.towns {
			if n -= t.weight; n >= 0 {
				continue
			}
			if t.code == demoPark && !slices.Contains([]string{"silica", "bamboo", "tea", "food", "water"}, kind) {
				break // the park takes industry only
			}
			return t
		}
	}
}

func (b *builder) firmName(k firmKind, t *demoTown, used map[string]bool) string {
	for {
		place := "石台县"
		if b.chance(50) && t.code != demoPark {
			place += t.name
		}
		word := b.pick(firmWords)
		if used[place+word+k.ends[0]] || b.chance(60) {
			word += b.pick(firmMore)
		}
		name := place + word + b.pick(k.ends)
		if !used[name] {
			used[name] = true
			return name
		}
	}
}

func (b *builder) register(ctx context.Context, k firmKind, f *firm) error {
	distance, angle := 0.4+b.rnd.Float64()*3.2, b.rnd.Float64()*2*math.Pi // km from the seat
	f.lon = f.town.lon + distance*math.Cos(angle)/96.2
	f.lat = f.town.lat + distance*math.Sin(angle)/111.2
	f.head = b.name()
	employees := k.least + b.rnd.IntN(k.most-k.least+1)
	if f.name == demoFirm {
		employees = 86
	}
	uscc, err := b.uscc(k.form)
	if err != nil {
		return err
	}
	hazards := k.hazards
	if f.name != demoFirm && len(hazards) > 0 && b.chance(45) {
		hazards = hazards[:b.rnd.IntN(len(hazards))]
	}
	address := b.villageName[f.division] + b.pick([]string{"", "工业小区", "新街", "老街", "村民组"}) + fmt.Sprintf("%d号", 1+b.rnd.IntN(180))
	facts := enterprise.Facts{USCC: &uscc, Scale: &k.scale, Address: &address, RegisteredAddress: &address, Employees: &employees, Hazards: hazards,
		Position: &enterprise.Position{Lon: f.lon, Lat: f.lat}, People: b.staffOf(f, employees)}
	if k.line != "" {
		facts.Line, facts.LineReason = &k.line, &k.reason
	}
	file, err := b.all.enterprise.Register(b.as(ctx, f.town.station), enterprise.RegisterInput{Name: f.name, Division: f.division, Industry: k.industry, Facts: facts, ConfirmDuplicate: true, Demo: true})
	if err != nil {
		return err
	}
	f.id, f.line, f.grade = file.ID, file.Line, file.Grade
	return nil
}

// staffOf is who answers for safety, with certificates of which some have expired.
func (b *builder) staffOf(f *firm, employees int) []enterprise.Person {
	certificate := func() []enterprise.Certificate {
		expires := b.now.AddDate(0, 0, b.rnd.IntN(1000)-90)
		return []enterprise.Certificate{{Kind: "安全生产知识和管理能力考核合格证", Number: fmt.Sprintf("皖R%08d", b.rnd.IntN(100000000)), ValidTo: clock.Date(expires)}}
	}
	people := []enterprise.Person{{Role: enterprise.LegalRepresentative, Name: f.head, Phone: b.phone()}, {Role: enterprise.PrincipalRole, Name: f.head, Phone: b.phone(), Certificates: certificate()}}
	switch {
	case employees >= 100:
		people = append(people, enterprise.Person{Role: enterprise.SafetyDirector, Name: b.name(), Phone: b.phone(), Certificates: certificate()},
			enterprise.Person{Role: enterprise.SafetyManager, Name: b.name(), Phone: b.phone(), Certificates: certificate()})
	case employees >= 20:
		people = append(people, enterprise.Person{Role: enterprise.SafetyManager, Name: b.name(), Phone: b.phone(), Certificates: certificate()})
	case b.chance(80):
		people = append(people, enterprise.Person{Role: enterprise.SafetyStaff, Name: b.name(), Phone: b.phone()})
	}
	return people
}

// uscc makes up a unified social credit code that is valid, its organisation code included.
func (b *builder) uscc(form string) (string, error) {
	for {
		digits := fmt.Sprintf("MA9%05d", b.serial) // MA: given since 2015
		b.serial++
		for _, check := range "0123456789X" {
			if gbcode.CheckOrganisation(digits+string(check)) == nil {
				return gbcode.USCCWithCheck(form + "341722" + digits + string(check))
			}
		}
	}
}

// staff gives the enterprises people who sign in: the one of the demo accounts its own, the riskier ones a safety manager each; the small ones of a town share
// safety managers whom a service provides (安全生产法 第二十四条第二款).
func (b *builder) staff(ctx context.Context) error {
	post := func(f *firm, role, title string) org.PostInput {
		return org.PostInput{Role: role, Title: title + "（演示）", UnitKind: org.UnitEnterprise, UnitID: f.id, UnitName: f.name, Division: f.division, ValidFrom: demoSince}
	}
	var cast []member
	shared := map[*demoTown][]*firm{}
	own := 0
	byRisk := slices.Clone(b.firms)
	slices.SortStableFunc(byRisk, func(x, y *firm) int { return cmp.Compare(y.grade, x.grade) })
	for _, f := range byRisk {
		switch {
		case f.name == demoFirm:
			f.manager, f.boss = "enterprise", "boss"
			cast = append(cast, member{account: "enterprise", posts: []org.PostInput{post(f, "enterprise.manager", "安全管理员")}},
				member{account: "boss", posts: []org.PostInput{post(f, "enterprise.head", "总经理")}})
		case own < b.size.of(30):
			own++
			f.manager = fmt.Sprintf("firm%03d", own)
			cast = append(cast, member{account: f.manager, posts: []org.PostInput{post(f, "enterprise.manager", "安全管理员")}})
		default:
			shared[f.town] = append(shared[f.town], f)
		}
	}
	n := 0
	for _, t := range b.towns {
		for some := range slices.Chunk(shared[t], 15) {
			n++
			m := member{account: fmt.Sprintf("service%03d", n)}
			for _, f := range some {
				f.manager = m.account
				m.posts = append(m.posts, post(f, "enterprise.manager", "托管安全员"))
			}
			cast = append(cast, m)
		}
	}
	return b.enlist(ctx, cast)
}
