package enterprise

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
	"anwang/internal/lib/geo"
	"anwang/internal/module/enterprise/enterpriseapi"
)

// Enterprise is the file 一企一档 of one production or business unit 生产经营单位. It lies in the division where it does business, and
// its place names itself as the enterprise, so that its own people reach it. Fields with a doc tag are facts; a change of them shows in the history under
// that title.
type Enterprise struct {
	bun.BaseModel `bun:"table:enterprise_item,alias:r" json:"-"`
	record.Head
	scope.Place

	State       flow.State `bun:"state" json:"state" enum:"active,suspended,closed,merged,withdrawn" doc:"状态"`
	StateReason string     `bun:"state_reason" json:"stateReason" doc:"状态变更原因"`

	Name        string       `bun:"name" json:"name" doc:"企业名称"`
	NameKey     string       `bun:"name_key" json:"nameKey"` // see nameKey
	ShortName   string       `bun:"short_name" json:"shortName" doc:"简称"`
	FormerNames []FormerName `bun:"former_names,type:text" json:"formerNames" doc:"曾用名"`

	// IDKind is USCC, or NO_USCC with a platform number and the reason (handbook 17.6).
	IDKind       string `bun:"id_kind" json:"idKind" enum:"USCC,NO_USCC"`
	USCC         string `bun:"uscc" json:"uscc" doc:"统一社会信用代码"`
	Number       string `bun:"number" json:"number" doc:"平台编号"`
	NoUSCCReason string `bun:"no_uscc_reason" json:"noUsccReason" doc:"无统一社会信用代码的原因"`

	Kind              string   `bun:"kind" json:"kind" doc:"组织形式"`
	Industry          string   `bun:"industry" json:"industry" doc:"行业代码"`
	LineReason        string   `bun:"line_reason" json:"lineReason" doc:"指定监管行业领域的理由"` // empty: the line follows from the industry
	Scale             string   `bun:"scale" json:"scale" doc:"企业规模"`
	RegisteredAddress string   `bun:"registered_address" json:"registeredAddress" doc:"注册地址"`
	Address           string   `bun:"address" json:"address" doc:"经营地址"`
	Lon               *float64 `bun:"lon" json:"lon" doc:"经度（WGS-84）"`
	Lat               *float64 `bun:"lat" json:"lat" doc:"纬度（WGS-84）"`
	GivenCRS          string   `bun:"given_crs" json:"givenCrs"` // the system in which the position was given
	Employees         int      `bun:"employees" json:"employees" doc:"从业人数"`
	People            []Person `bun:"people,type:text" json:"people" doc:"人员"`
	Hazards           []string `bun:"hazards,type:text" json:"hazards" doc:"涉及的重点风险"`

	Class   string  `bun:"class" json:"class" enum:"highRisk,general" doc:"类别"`
	Grade   string  `bun:"grade" json:"grade" enum:"A,B,C,D" doc:"等级"`
	Grading Grading `bun:"grading,type:text" json:"grading"`

	Stated []StatedDepartment `bun:"departments,type:text" json:"statedDepartments" doc:"指定的监管部门"`

	MergedInto string `bun:"merged_into" json:"mergedInto" doc:"并入的企业"`
	Source     string `bun:"source" json:"source" enum:"manual,import"`
	ImportID   string `bun:"import_id" json:"importId"`
	Demo       bool   `bun:"demo" json:"demo"`
}

// FlowState makes an Enterprise a flow.Record.
func (e *Enterprise) FlowState() *flow.State { return &e.State }

// The identification kinds.
const (
	withUSCC    = "USCC"
	withoutUSCC = "NO_USCC"
)

// FormerName is a name that the enterprise had until a day.
type FormerName struct {
	Name  string `json:"name"`
	Until string `json:"until" doc:"使用该名称的最后日期"`
}

// The roles that a person may have in an enterprise.
const (
	LegalRepresentative = "legalRepresentative" // 法定代表人
	ActualController    = "actualController"    // 实际控制人
	PrincipalRole       = "principal"           // 主要负责人（安全生产法 第五条）
	SafetyDirector      = "safetyDirector"      // 安全总监
	SafetyManager       = "safetyManager"       // 专职安全生产管理人员（安全生产法 第二十四条）
	SafetyStaff         = "safetyStaff"         // 兼职安全生产管理人员
	Contact             = "contact"             // 联系人
)

var roleTitles = map[string]string{LegalRepresentative: "法定代表人", ActualController: "实际控制人", PrincipalRole: "主要负责人",
	SafetyDirector: "安全总监", SafetyManager: "安全生产管理人员", SafetyStaff: "兼职安全员", Contact: "联系人"}

// single are the roles that one person has.
var single = []string{LegalRepresentative, PrincipalRole, SafetyDirector}

// ownRoles are the roles about which an enterprise's own people decide; the others are facts of the licence.
var ownRoles = []string{SafetyDirector, SafetyManager, SafetyStaff, Contact}

// Person is somebody in the enterprise who answers for safety.
type Person struct {
	Role         string        `json:"role" enum:"legalRepresentative,actualController,principal,safetyDirector,safetyManager,safetyStaff,contact" doc:"职务"`
	Name         string        `json:"name" minLength:"1" maxLength:"50" doc:"姓名"`
	Phone        string        `json:"phone,omitempty" maxLength:"40" doc:"电话；带 * 号表示保持原号码不变"`
	Certificates []Certificate `json:"certificates,omitempty" maxItems:"20" doc:"持有的证书"`
}

// Certificate is a certificate of competence that a person holds.
type Certificate struct {
	Kind    string `json:"kind" minLength:"1" maxLength:"50" doc:"证书种类，如 安全生产知识和管理能力考核合格证"`
	Number  string `json:"number,omitempty" maxLength:"50" doc:"证书编号"`
	ValidTo string `json:"validTo,omitempty" format:"date" doc:"有效期至"`
}

// The organisation forms, and the first two characters of the credit code that speak for them (GB 32100-2015, 表1 and 表2).
var kindTitles = map[string]string{"company": "企业", "soleTrader": "个体工商户", "cooperative": "农民专业合作社", "institution": "事业单位",
	"government": "机关", "social": "社会组织", "other": "其他"}

var kindOfCode = map[string]string{"91": "company", "92": "soleTrader", "93": "cooperative", "11": "government", "12": "institution",
	"51": "social", "52": "social", "53": "social"}

// scaleTitles are the scales of 《统计上大中小微型企业划分办法（2017）》.
var scaleTitles = map[string]string{"large": "大型", "medium": "中型", "small": "小型", "micro": "微型"}

// StatedDepartment is a competent department that a person named against what the directory of functions says.
type StatedDepartment struct {
	Side         string `json:"side" enum:"territory,line" doc:"属地监管或行业监管"`
	DepartmentID string `json:"departmentId"`
	Name         string `json:"name"`
	Reason       string `json:"reason" doc:"指定的理由"`
	By           string `json:"by" doc:"指定人"`
	Since        string `json:"since" doc:"指定日期"`
}

// The two sides from which an enterprise is supervised: 块 and 条.
const (
	territory = "territory" // 属地监管
	lineSide  = "line"      // 行业监管
)

// Position is where something is, in the system that a map or a receiver gave it in.
type Position struct {
	Lon float64 `json:"lon" minimum:"-180" maximum:"180" doc:"经度，度"`
	Lat float64 `json:"lat" minimum:"-180" maximum:"180" doc:"纬度，度"`
	CRS string  `json:"crs,omitempty" enum:"wgs84,cgcs2000,gcj02,bd09" doc:"坐标系，默认 wgs84；高德、腾讯地图取点为 gcj02，百度为 bd09"`
}

var systems = map[string]geo.CRS{"": geo.WGS84, "wgs84": geo.WGS84, "cgcs2000": geo.CGCS2000, "gcj02": geo.GCJ02, "bd09": geo.BD09}

// Facts are what may be stated about an enterprise beside its name, industry and division. What is left out stays as it is.
type Facts struct {
	ShortName         *string   `json:"shortName,omitempty" maxLength:"50" doc:"简称"`
	USCC              *string   `json:"uscc,omitempty" maxLength:"40" doc:"统一社会信用代码（GB 32100）"`
	NoUSCCReason      *string   `json:"noUsccReason,omitempty" maxLength:"200" doc:"没有统一社会信用代码时填写原因，由平台编号"`
	Kind              *string   `json:"kind,omitempty" enum:"company,soleTrader,cooperative,institution,government,social,other" doc:"组织形式，默认由信用代码判定"`
	Line              *string   `json:"line,omitempty" maxLength:"50" doc:"监管行业领域；不填则由行业代码推出，填空恢复推出"`
	LineReason        *string   `json:"lineReason,omitempty" maxLength:"200" doc:"指定的监管行业领域与推出的不同时，填写理由"`
	Scale             *string   `json:"scale,omitempty" enum:"large,medium,small,micro" doc:"企业规模"`
	RegisteredAddress *string   `json:"registeredAddress,omitempty" maxLength:"200" doc:"注册地址"`
	Address           *string   `json:"address,omitempty" maxLength:"200" doc:"经营地址"`
	Position          *Position `json:"position,omitempty" doc:"经营地址的坐标"`
	Employees         *int      `json:"employees,omitempty" minimum:"0" maximum:"10000000" doc:"从业人数"`
	People            []Person  `json:"people,omitempty" maxItems:"200" doc:"全部人员；填写则替换原有名单"`
	Hazards           []string  `json:"hazards,omitempty" maxItems:"50" doc:"涉及的重点风险，字典 enterprise.hazard；填写则替换"`
}

// edit is Facts with what identifies an enterprise.
type edit struct {
	Name     *string
	Industry *string
	Division *string
	Facts
}

// problems collects what is wrong with an input, so that a person sees all of it at once.
type problems []errs.Field

func (p *problems) add(pointer, format string, args ...any) {
	*p = append(*p, errs.Field{Pointer: pointer, Message: fmt.Sprintf(format, args...)})
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return errs.Invalid("enterprise.invalid", "填写有误，请按各栏提示修改。", p...)
}

// text cleans a text and checks its length; nil stays nil.
func (p *problems) text(pointer string, value *string, least, most int) *string {
	if value == nil {
		return nil
	}
	s, ok := clean(*value)
	n := len([]rune(s))
	switch {
	case !ok:
		p.add(pointer, "含有不能识别的字符，请重新输入")
	case n < least && n == 0:
		p.add(pointer, "请填写")
	case n < least:
		p.add(pointer, "至少 %d 个字", least)
	case n > most:
		p.add(pointer, "最多 %d 个字", most)
	}
	return &s
}

// rules is what facts are judged by: code tables, divisions and grading policies as they are at one moment.
type rules struct {
	now       time.Time
	dict      *dict.Dict
	divisions *org.Divisions
	grading   func(division string) (policy *GradingPolicy, version string)
	failed    error // why grading could not read a policy
}

// apply changes e by what is stated, and then everything that follows from it: keys, line, class and grade. e has its origin and, when it is stored, its
// id. It says what is wrong, but not whether others have the same code.
func (r *rules) apply(e *Enterprise, in edit, p *problems) {
	if name := p.text("/name", in.Name, 2, 100); name != nil {
		r.rename(e, cleanName(*name))
	}
	r.place(e, in, p)
	r.identity(e, in, p)
	for _, f := range []struct {
		pointer string
		value   *string
		field   *string
		most    int
	}{
		{"/shortName", in.ShortName, &e.ShortName, 50},
		{"/registeredAddress", in.RegisteredAddress, &e.RegisteredAddress, 200},
		{"/address", in.Address, &e.Address, 200},
	} {
		if s := p.text(f.pointer, f.value, 0, f.most); s != nil {
			*f.field = *s
		}
	}
	p.choice("/kind", in.Kind, &e.Kind, kindTitles)
	p.choice("/scale", in.Scale, &e.Scale, scaleTitles)
	if in.Employees != nil {
		if *in.Employees < 0 || *in.Employees > 10_000_000 {
			p.add("/employees", "应为 0 至 10000000 的整数")
		}
		e.Employees = *in.Employees
	}
	if in.Position != nil {
		r.position(e, *in.Position, p)
	}
	if in.People != nil {
		e.People = p.people(in.People, e.People)
	}
	if in.Hazards != nil {
		e.Hazards = r.hazards(in.Hazards, e.Hazards, p)
	}
	r.derive(e)
}

// derive brings up to date what follows from other facts.
func (r *rules) derive(e *Enterprise) {
	e.Place = scope.At(e.Division, e.Line, e.ID)
	e.NameKey = nameKey(e.Name, r.divisions.Path(e.Division, r.now))
	if !e.Grading.Stated {
		policy, version := r.grading(e.Division)
		e.grade(policy, version, r.now)
	}
}

func (r *rules) rename(e *Enterprise, name string) {
	if e.Name != "" && e.Name != name {
		e.FormerNames = append(slices.Clone(e.FormerNames), FormerName{e.Name, clock.Date(r.now)})
	}
	e.Name = name
}

// place decides division, industry and supervised line.
func (r *rules) place(e *Enterprise, in edit, p *problems) {
	if in.Division != nil {
		switch d := r.divisions.Division(*in.Division); {
		case d == nil:
			p.add("/division", "没有这个行政区划，请从列表中选择")
		case !d.InForce(r.now):
			p.add("/division", "“%s”已撤并，请选择现行的行政区划", d.Name)
		case d.Level < gbcode.County:
			p.add("/division", "请选择到县级以下，最好选到乡镇（街道）或村（社区）")
		default:
			e.Division = d.Code
		}
	}
	if in.Industry != nil {
		e.Industry = r.industry(*in.Industry, e.Industry, p)
	}
	r.line(e, in, p)
}

func (r *rules) industry(value, stored string, p *problems) string {
	code, err := gbcode.ParseIndustry(value)
	switch {
	case err != nil:
		p.add("/industry", "%s", err.Error())
	case code.Level() < 2:
		p.add("/industry", "行业代码至少写到大类（门类字母加两位数字，如 C26）")
	default:
		problem := errs.As(r.dict.Valid(dict.Industry, string(code), r.now))
		if problem == nil {
			return string(code)
		}
		p.add("/industry", "%s", problem.Message)
	}
	return stored
}

// line decides the supervised line: the one that follows from the industry, unless another is stated with a reason.
func (r *rules) line(e *Enterprise, in edit, p *problems) {
	derived := cmp.Or(r.dict.LineOf(e.Industry), "other")
	reason := p.text("/lineReason", in.LineReason, 0, 200)
	line, stated := e.Line, e.LineReason != ""
	if in.Line != nil {
		line, stated = *in.Line, *in.Line != ""
	}
	switch {
	case !stated || line == derived:
		e.Line, e.LineReason = derived, ""
	case r.dict.Item(dict.Line, line, r.now) == nil:
		p.add("/line", "没有这个监管行业领域，请从列表中选择")
	case reason != nil && *reason != "":
		e.Line, e.LineReason = line, *reason
	case line != e.Line:
		p.add("/lineReason", "由行业代码推出的监管行业领域是“%s”，指定其他领域请填写理由", r.dict.Label(dict.Line, derived))
	}
}

// identity decides by what the enterprise is identified: credit code, or platform number with the reason. The number itself is given when it is stored.
func (r *rules) identity(e *Enterprise, in edit, p *problems) {
	if in.USCC != nil && strings.TrimSpace(*in.USCC) != "" {
		code, err := gbcode.ParseUSCC(*in.USCC)
		if err != nil {
			p.add("/uscc", "%s", err.Error())
			return
		}
		e.IDKind, e.USCC, e.NoUSCCReason = withUSCC, string(code), ""
		if e.Kind == "" {
			e.Kind = kindOfCode[e.USCC[:2]]
		}
		return
	}
	reason := p.text("/noUsccReason", in.NoUSCCReason, 0, 200)
	switch {
	case in.USCC != nil && e.USCC != "":
		p.add("/uscc", "已登记的统一社会信用代码不能清空，如有错误请改为正确的代码")
	case e.USCC != "":
	case reason != nil && *reason != "":
		e.IDKind, e.NoUSCCReason = withoutUSCC, *reason
	case e.IDKind == "":
		p.add("/uscc", "请填写统一社会信用代码；确实没有的，请填写原因")
	}
}

func (p *problems) choice(pointer string, value, field *string, titles map[string]string) {
	if value == nil || *value == "" {
		return
	}
	if titles[*value] == "" {
		p.add(pointer, "只能是下列之一：%s", strings.Join(sortedKeys(titles), "、"))
		return
	}
	*field = *value
}

// position converts to WGS-84 and refuses what cannot be right.
func (r *rules) position(e *Enterprise, in Position, p *problems) {
	crs, ok := systems[strings.ToLower(in.CRS)]
	if !ok {
		p.add("/position/crs", "坐标系只能是 wgs84、cgcs2000、gcj02 或 bd09")
		return
	}
	at := geo.Point{Lon: in.Lon, Lat: in.Lat}
	if err := at.Check(); err != nil {
		p.add("/position", "%s", err.Error())
		return
	}
	at, err := geo.Convert(at, crs, geo.WGS84)
	if err != nil {
		p.add("/position", "%s", err.Error())
		return
	}
	if near, far := r.far(e.Division, at); far > 0 {
		p.add("/position", "距%s约 %.0f 公里，请核对经纬度和坐标系", near, far/1000)
		return
	}
	lon, lat := round(at.Lon), round(at.Lat)
	e.Lon, e.Lat, e.GivenCRS = &lon, &lat, strings.ToLower(in.CRS)
	if e.GivenCRS == "" {
		e.GivenCRS = "wgs84"
	}
}

// far says from what a position is implausibly far, and how many metres: the nearest division, up to the county, whose seat is known. A county of the west may
// reach far beyond its seat, a town does not.
func (r *rules) far(division string, at geo.Point) (name string, metres float64) {
	for _, d := range r.divisions.Chain(division) {
		if d.Level < gbcode.County {
			break
		}
		if d.Lon == nil || d.Lat == nil {
			continue
		}
		limit := 100e3
		if d.Level == gbcode.County {
			limit = 300e3
		}
		if m := geo.Distance(at, geo.Point{Lon: *d.Lon, Lat: *d.Lat}); m > limit {
			return d.Name, m
		}
		break
	}
	return "", 0
}

// round keeps seven decimals, about a centimetre: conversion makes more, which mean nothing.
func round(degrees float64) float64 {
	const unit = 1e7
	if degrees < 0 {
		return float64(int64(degrees*unit-0.5)) / unit
	}
	return float64(int64(degrees*unit+0.5)) / unit
}

// people checks a list of persons. A phone that is the mask of the one stored for the same person is that one: whoever may not see the number can still
// send the list back.
func (p *problems) people(list, stored []Person) []Person {
	if len(list) > 200 {
		p.add("/people", "最多 200 人")
		return stored
	}
	out := make([]Person, 0, len(list))
	count := map[string]int{}
	for i, in := range list {
		at := fmt.Sprintf("/people/%d", i)
		person := Person{Role: in.Role, Name: *p.text(at+"/name", &in.Name, 1, 50)}
		if roleTitles[in.Role] == "" {
			p.add(at+"/role", "只能是下列之一：%s", strings.Join(sortedKeys(roleTitles), "、"))
		}
		if count[in.Role]++; count[in.Role] == 2 && slices.Contains(single, in.Role) {
			p.add(at+"/role", "%s只能有一人", roleTitles[in.Role])
		}
		person.Phone = p.phone(at+"/phone", in.Phone, person, stored)
		if len(in.Certificates) > 20 {
			p.add(at+"/certificates", "最多 20 本证书")
			in.Certificates = nil
		}
		for j, c := range in.Certificates {
			cat := fmt.Sprintf("%s/certificates/%d", at, j)
			cert := Certificate{Kind: *p.text(cat+"/kind", &c.Kind, 1, 50), Number: *p.text(cat+"/number", &c.Number, 0, 50), ValidTo: c.ValidTo}
			if _, err := time.Parse(time.DateOnly, c.ValidTo); err != nil && c.ValidTo != "" {
				p.add(cat+"/validTo", "应为日期，如 2026-01-31")
			}
			person.Certificates = append(person.Certificates, cert)
		}
		out = append(out, person)
	}
	return out
}

func (p *problems) phone(pointer, number string, of Person, stored []Person) string {
	if strings.TrimSpace(number) == "" {
		return ""
	}
	if strings.Contains(number, "*") {
		for _, s := range stored {
			if s.Role == of.Role && s.Name == of.Name && gbcode.MaskPhone(s.Phone) == number {
				return s.Phone
			}
		}
		p.add(pointer, "请填写完整的电话号码")
		return ""
	}
	phone, err := gbcode.ParsePhone(number)
	if err != nil {
		p.add(pointer, "%s", err.Error())
	}
	return string(phone)
}

// hazards checks the flags; one that has gone out of use may stay where it is.
func (r *rules) hazards(list, stored []string, p *problems) []string {
	out := make([]string, 0, len(list))
	for i, code := range list {
		if slices.Contains(out, code) {
			continue
		}
		if problem := errs.As(r.dict.Valid(enterpriseapi.HazardKind, code, r.now)); problem != nil && !slices.Contains(stored, code) {
			p.add(fmt.Sprintf("/hazards/%d", i), "%s", problem.Message)
			continue
		}
		out = append(out, code)
	}
	slices.Sort(out)
	return out
}

// person is the first person with the role, nil when there is none.
func (e *Enterprise) person(role string) *Person {
	i := slices.IndexFunc(e.People, func(p Person) bool { return p.Role == role })
	if i < 0 {
		return nil
	}
	return &e.People[i]
}

// Working reports whether the enterprise is supervised now.
func (e *Enterprise) Working() bool {
	return e.State == enterpriseapi.Active || e.State == enterpriseapi.Suspended
}

// identified names the enterprise by its code, for messages.
func (e *Enterprise) identified() string {
	if e.USCC != "" {
		return e.USCC
	}
	return e.Number
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
