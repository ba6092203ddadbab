package enterprise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/importer"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
	"anwang/internal/module/enterprise/enterpriseapi"
)

// ImportWith has enterprises imported from table files. It is called once, before Module. A row is one enterprise, found again by its credit code, or without one by its name in the
// county. Empty cells leave what is registered as it is.
func (s *Service) ImportWith(i *importer.Importer) {
	s.imports = importer.Declare(i, importer.Spec[row]{Kind: "enterprises", Title: "企业", Need: Import, Columns: columns, Begin: s.beginImport})
}

var columns = []importer.Column{
	{Key: "name", Title: "企业名称", Aliases: []string{"单位名称", "企业全称", "生产经营单位名称", "名称", "企业（单位）名称"}, Required: true},
	{Key: "uscc", Title: "统一社会信用代码", Aliases: []string{"社会信用代码", "信用代码", "统一信用代码", "营业执照号"}},
	{Key: "noUsccReason", Title: "无信用代码原因"},
	{Key: "shortName", Title: "简称", Aliases: []string{"企业简称"}},
	{Key: "industry", Title: "行业代码", Aliases: []string{"国民经济行业代码", "行业", "所属行业", "国民经济行业"}},
	{Key: "line", Title: "监管行业领域", Aliases: []string{"监管领域", "监管行业"}},
	{Key: "lineReason", Title: "指定监管领域理由"},
	{Key: "division", Title: "行政区划代码", Aliases: []string{"区划代码", "所在区划代码"}},
	{Key: "place", Title: "所在乡镇/村", Aliases: []string{"所在乡镇", "乡镇", "乡镇（街道）", "所属乡镇", "镇街", "所在地", "所在区域", "属地"}},
	{Key: "village", Title: "村（社区）", Aliases: []string{"村", "社区", "所在村"}},
	{Key: "address", Title: "经营地址", Aliases: []string{"地址", "详细地址", "生产经营地址", "经营场所"}},
	{Key: "registeredAddress", Title: "注册地址", Aliases: []string{"住所", "登记住所"}},
	{Key: "lon", Title: "经度"},
	{Key: "lat", Title: "纬度"},
	{Key: "crs", Title: "坐标系"},
	{Key: "scale", Title: "企业规模", Aliases: []string{"规模"}},
	{Key: "kind", Title: "组织形式", Aliases: []string{"企业类型", "主体类型"}},
	{Key: "legal", Title: "法定代表人", Aliases: []string{"法人代表", "法人", "法人姓名"}},
	{Key: "legalPhone", Title: "法定代表人电话", Aliases: []string{"法人电话"}},
	{Key: "principal", Title: "主要负责人", Aliases: []string{"负责人", "主要负责人姓名"}},
	{Key: "phone", Title: "联系电话", Aliases: []string{"电话", "手机", "主要负责人电话", "负责人电话", "联系方式"}},
	{Key: "controller", Title: "实际控制人"},
	{Key: "director", Title: "安全总监"},
	{Key: "safety", Title: "安全管理人员", Aliases: []string{"安全员", "安全管理员", "专职安全管理人员", "安全负责人"}},
	{Key: "safetyPhone", Title: "安全管理人员电话", Aliases: []string{"安全员电话"}},
	{Key: "employees", Title: "从业人数", Aliases: []string{"职工人数", "员工人数", "从业人员", "人数"}},
	{Key: "hazards", Title: "涉及的重点风险", Aliases: []string{"重点风险", "涉及风险"}},
}

// row is what a row of the file says.
type row struct {
	edit
	people map[string]string // by column: legal, legalPhone, …
	place  string            // the column that says where
	key    string            // see nameKey; empty when the division is not known

	e     *Enterprise // Judge: the file as it will be
	moved bool        // to another division
}

// importing is one pass.
type importing struct {
	*Service
	rules  *rules
	run    string
	mine   scope.Filter
	titles map[string]map[string]string // by dictionary: the code of a label, or of itself
	places *places
}

func (s *Service) beginImport(ctx context.Context, run string) (importer.Pass[row], error) {
	r, err := s.rules(ctx)
	if err != nil {
		return nil, err
	}
	p := &importing{Service: s, rules: r, run: run, mine: scope.For(ctx, Import), titles: map[string]map[string]string{}, places: newPlaces(ctx, s.db.Node, r)}
	for _, kind := range []string{dict.Industry, dict.Line, enterpriseapi.HazardKind, scaleKind, formKind} {
		p.titles[kind] = map[string]string{}
		for _, i := range s.dict.Items(kind, r.now) {
			p.titles[kind][i.Label], p.titles[kind][i.Code] = i.Code, i.Code
		}
	}
	for label, code := range map[string]string{"大": "large", "中": "medium", "小": "small", "微": "micro"} {
		p.titles[scaleKind][label] = code
	}
	return p, nil
}

// Read makes an edit of a row.
func (p *importing) Read(l *importer.Line[row], c importer.Cells) {
	v := &l.Value
	text := func(column string) *string {
		if cell := c.Value(column); cell != "" {
			return &cell
		}
		return nil
	}
	v.Name, v.USCC, v.NoUSCCReason, v.ShortName = text("name"), text("uscc"), text("noUsccReason"), text("shortName")
	v.LineReason, v.Address, v.RegisteredAddress = text("lineReason"), text("address"), text("registeredAddress")
	if v.Name == nil {
		l.Problem("name", "请填写")
		return
	}
	name, _ := clean(*v.Name)
	l.Name = cleanName(name)
	v.Industry = p.coded(l, c, "industry", dict.Industry)
	v.Line = p.coded(l, c, "line", dict.Line)
	v.Scale = p.coded(l, c, "scale", scaleKind)
	v.Kind = p.coded(l, c, "kind", formKind)
	v.Division = p.division(l, c)
	v.Position = position(l, c)
	if cell := c.Value("employees"); cell != "" {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.ReplaceAll(cell, ",", ""), "人"))
		if err != nil {
			l.Problem("employees", "应为整数")
		}
		v.Employees = &n
	}
	if cell := c.Value("hazards"); cell != "" {
		v.Hazards = []string{}
		for _, label := range split(cell) {
			if code := p.titles[enterpriseapi.HazardKind][label]; code != "" {
				v.Hazards = append(v.Hazards, code)
			} else {
				l.Problem("hazards", "“%.20s”不在“企业涉及的重点风险”代码表中", label)
			}
		}
	}
	for _, column := range peopleColumns {
		if cell := c.Value(column); cell != "" {
			if v.people == nil {
				v.people = map[string]string{}
			}
			v.people[column] = cell
		}
	}
	if v.USCC != nil {
		if code, err := gbcode.ParseUSCC(*v.USCC); err == nil {
			l.Key = string(code)
		}
	} else if v.Division != nil {
		v.key = nameKey(l.Name, p.rules.divisions.Path(*v.Division, p.rules.now))
		l.Key = string(gbcode.Division(*v.Division).At(gbcode.County)) + "/" + v.key
	}
}

var peopleColumns = []string{"legal", "legalPhone", "principal", "phone", "controller", "director", "safety", "safetyPhone"}

// coded reads a cell that holds a code or its label. What is neither is left for the rules to refuse when it is the code of an industry, which has forms of its own.
func (p *importing) coded(l *importer.Line[row], c importer.Cells, column, kind string) *string {
	cell := c.Value(column)
	if cell == "" {
		return nil
	}
	if code := p.titles[kind][cell]; code != "" {
		return &code
	}
	if kind != dict.Industry {
		l.Problem(column, "“%.20s”不在代码表中", cell)
		return nil
	}
	return &cell
}

// division is the division of a row: its code, or its name within the actor's reach.
func (p *importing) division(l *importer.Line[row], c importer.Cells) *string {
	l.Value.place = "place"
	if cell := c.Value("division"); cell != "" {
		l.Value.place = "division"
		d, err := gbcode.ParseDivision(cell)
		if err != nil {
			l.Problem("division", "%s", err.Error())
			return nil
		}
		code := string(d)
		return &code
	}
	cell := c.Value("place") + c.Value("village")
	if cell == "" {
		if p.places.home == "" {
			return nil
		}
		return &p.places.home
	}
	code, problem := p.places.find(cell)
	if problem != "" {
		l.Problem("place", "%s", problem)
		return nil
	}
	return &code
}

func position(l *importer.Line[row], c importer.Cells) *Position {
	lon, lat := c.Value("lon"), c.Value("lat")
	if lon == "" && lat == "" {
		return nil
	}
	x, errLon := strconv.ParseFloat(lon, 64)
	y, errLat := strconv.ParseFloat(lat, 64)
	if errLon != nil {
		l.Problem("lon", "应为小数形式的度，如 117.486500；经度和纬度应同时填写")
	}
	if errLat != nil {
		l.Problem("lat", "应为小数形式的度，如 30.210300；经度和纬度应同时填写")
	}
	if errLon != nil || errLat != nil {
		return nil
	}
	crs, ok := crsNames[strings.ToLower(crsNoise.Replace(c.Value("crs")))]
	if !ok {
		l.Problem("crs", "应为 WGS-84、CGCS2000、GCJ-02（高德、腾讯）或 BD-09（百度）")
		return nil
	}
	return &Position{Lon: x, Lat: y, CRS: crs}
}

var crsNoise = strings.NewReplacer("-", "", " ", "", "_", "")

var crsNames = map[string]string{"": "wgs84", "wgs84": "wgs84", "gps": "wgs84", "cgcs2000": "cgcs2000", "国家2000": "cgcs2000", "2000国家大地坐标系": "cgcs2000",
	"gcj02": "gcj02", "高德": "gcj02", "腾讯": "gcj02", "火星": "gcj02", "火星坐标": "gcj02", "bd09": "bd09", "百度": "bd09"}

// split takes a cell with several entries apart.
func split(cell string) []string {
	return strings.FieldsFunc(cell, func(r rune) bool { return strings.ContainsRune("、,，;；/\n ", r) })
}

// staff are the people of an enterprise after a row: whom the row names takes the place of whoever had the role, and keeps number and certificates when it is the same person. lost
// is the column of a number that would belong to nobody.
func (v *row) staff(have []Person) (people []Person, lost string) {
	if v.people == nil {
		return nil, ""
	}
	people = slices.Clone(have)
	appoint := func(role string, names []string) {
		if len(names) == 0 {
			return
		}
		people = slices.DeleteFunc(people, func(h Person) bool { return h.Role == role })
		for _, name := range names {
			person := Person{Role: role, Name: name}
			if i := slices.IndexFunc(have, func(h Person) bool { return h.Role == role && h.Name == name }); i >= 0 {
				person = have[i]
			}
			people = append(people, person)
		}
	}
	for column, role := range roleColumns {
		if name := v.people[column]; name != "" && column != "safety" {
			appoint(role, []string{name})
		}
	}
	appoint(SafetyManager, split(v.people["safety"]))
	reach := func(number string, roles ...string) bool { // the first who has one of the roles gets the number
		for _, role := range roles {
			if i := slices.IndexFunc(people, func(h Person) bool { return h.Role == role }); i >= 0 {
				people[i].Phone = number
				return true
			}
		}
		return false
	}
	for _, c := range []struct {
		column string
		roles  []string
	}{{"phone", []string{PrincipalRole, LegalRepresentative}}, {"legalPhone", []string{LegalRepresentative}}, {"safetyPhone", []string{SafetyManager}}} {
		if number := v.people[c.column]; number != "" && !reach(number, c.roles...) {
			lost = c.column
		}
	}
	slices.SortStableFunc(people, func(a, b Person) int { return slices.Index(roleOrder, a.Role) - slices.Index(roleOrder, b.Role) })
	return people, lost
}

var (
	roleColumns = map[string]string{"legal": LegalRepresentative, "principal": PrincipalRole, "controller": ActualController, "director": SafetyDirector, "safety": SafetyManager}
	roleOrder   = []string{LegalRepresentative, PrincipalRole, ActualController, SafetyDirector, SafetyManager, SafetyStaff, Contact}
)

// columnOf is the column that a complaint of the rules is about.
func columnOf(pointer string, people []Person) string {
	parts := strings.Split(pointer, "/")
	switch {
	case parts[1] == "position":
		return "lon"
	case parts[1] != "people":
		return parts[1]
	case len(parts) < 3:
		return ""
	}
	i, err := strconv.Atoi(parts[2])
	if err != nil || i >= len(people) {
		return ""
	}
	for column, role := range roleColumns {
		switch {
		case role != people[i].Role:
		case !strings.HasSuffix(pointer, "/phone"):
			return column
		case column == "principal":
			return "phone"
		default:
			return column + "Phone"
		}
	}
	return ""
}

// Judge finds out which rows are registered already, and what would change.
func (p *importing) Judge(ctx context.Context, lines []*importer.Line[row]) error {
	known, err := p.registered(ctx, lines)
	if err != nil {
		return err
	}
	for _, l := range lines {
		p.judge(l, known)
	}
	return p.rules.failed
}

func (p *importing) judge(l *importer.Line[row], known *register) {
	v := &l.Value
	before, problem := known.find(l)
	if problem != "" {
		l.Problem("uscc", "%s", problem)
		return
	}
	in := v.edit
	if before == nil {
		v.e = p.blank()
		v.e.Source, v.e.ImportID = "import", p.run
		if in.Division == nil {
			l.Problem("place", "请填写所在乡镇/村，或行政区划代码")
			return
		}
		if in.Industry == nil {
			l.Problem("industry", "请填写")
			return
		}
	} else {
		switch {
		case !p.mine.Sees(before.Place):
			l.Problem("uscc", "已由其他地区或部门登记，请联系上级核实")
			return
		case before.Origin != p.db.Node:
			l.Problem("uscc", "由下级平台登记，请由下级修改")
			return
		case !before.Working():
			l.Problem("uscc", "该企业%s，如已恢复请先更正状态", stateTitles[before.State])
			return
		}
		e := *before
		v.e = &e
		if in.Division != nil && gbcode.Division(e.Division).IsUnder(gbcode.Division(*in.Division)) {
			in.Division = nil // the register knows it more precisely
		}
		if v.moved = in.Division != nil; v.moved {
			e.Lon, e.Lat, e.GivenCRS, e.Stated = nil, nil, "", []StatedDepartment{}
		}
	}
	var lost string
	if in.People, lost = v.staff(v.e.People); lost != "" {
		l.Problem(lost, "没有填写是谁的电话，请同时填写姓名")
		return
	}
	var wrong problems
	p.rules.apply(v.e, in, &wrong)
	for _, w := range wrong {
		l.Problem(columnOf(w.Pointer, in.People), "%s", w.Message)
	}
	if len(wrong) > 0 {
		return
	}
	if !p.mine.Sees(v.e.Place) {
		l.Problem(v.place, "该地区或行业不在您的管辖范围内")
		return
	}
	l.Action = importer.Create
	if before != nil {
		l.Action, l.RecordID, l.Version = importer.Update, before.ID, before.Version
		if l.Changes = p.changes(before, v.e); len(l.Changes) == 0 {
			l.Action = importer.Same
		}
	}
}

// register is what is registered of the enterprises of some rows.
type register struct {
	byCode map[string]*Enterprise
	byName map[string][]*Enterprise // by county and name key
}

// find is the file that a row is about, nil for a new one.
func (r *register) find(l *importer.Line[row]) (*Enterprise, string) {
	v := &l.Value
	if v.USCC != nil {
		if e := r.byCode[l.Key]; e != nil {
			return e, ""
		}
	}
	if v.key == "" {
		return nil, ""
	}
	var found []*Enterprise
	for _, e := range r.byName[string(gbcode.Division(*v.Division).At(gbcode.County))+"/"+v.key] {
		if v.USCC == nil || e.USCC == "" { // a code may be added to a file that had none, never exchanged
			found = append(found, e)
		}
	}
	switch len(found) {
	case 0:
		return nil, ""
	case 1:
		return found[0], ""
	}
	return nil, fmt.Sprintf("本县有 %d 家企业名称相同，请填写统一社会信用代码加以区分", len(found))
}

// registered reads what is registered of the enterprises of the rows, in two questions.
func (p *importing) registered(ctx context.Context, lines []*importer.Line[row]) (*register, error) {
	var codes, keys, counties []string
	for _, l := range lines {
		v := &l.Value
		if v.USCC != nil {
			codes = append(codes, l.Key)
		}
		if v.Division != nil {
			if v.key == "" {
				v.key = nameKey(l.Name, p.rules.divisions.Path(*v.Division, p.rules.now))
			}
			keys = append(keys, v.key)
			if county := string(gbcode.Division(*v.Division).At(gbcode.County)); !slices.Contains(counties, county) {
				counties = append(counties, county)
			}
		}
	}
	out := &register{map[string]*Enterprise{}, map[string][]*Enterprise{}}
	everything := scope.All("whether an enterprise is registered does not depend on who imports; a row about one out of reach is refused without particulars")
	if len(codes) > 0 {
		found, err := p.store.Find(ctx, everything, func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("r.uscc IN (?) AND "+coded, bun.List(codes)).OrderExpr("CASE WHEN r.origin = ? THEN 1 ELSE 0 END", p.db.Node)
		})
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			out.byCode[e.USCC] = e
		}
	}
	if len(keys) > 0 {
		found, err := p.store.Find(ctx, everything, func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("r.county_code IN (?) AND r.name_key IN (?) AND "+standing, bun.List(counties), bun.List(keys))
		})
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			key := e.CountyCode + "/" + e.NameKey
			out.byName[key] = append(out.byName[key], e)
		}
	}
	return out, nil
}

// changes are what an import would change, for people to look at.
func (p *importing) changes(before, after *Enterprise) []importer.Change {
	var out []importer.Change
	add := func(title, was, is string) {
		if was != is {
			out = append(out, importer.Change{Title: title, Before: was, After: is})
		}
	}
	label := func(kind string) func(string) string {
		return func(code string) string {
			if code == "" {
				return ""
			}
			return p.dict.Label(kind, code)
		}
	}
	add("企业名称", before.Name, after.Name)
	add("统一社会信用代码", before.USCC, after.USCC)
	add("无信用代码原因", before.NoUSCCReason, after.NoUSCCReason)
	add("简称", before.ShortName, after.ShortName)
	add("行业", before.Industry, after.Industry)
	add("监管行业领域", label(dict.Line)(before.Line), label(dict.Line)(after.Line))
	add("指定监管领域理由", before.LineReason, after.LineReason)
	add("所在地", p.placeName(before.Division), p.placeName(after.Division))
	add("经营地址", before.Address, after.Address)
	add("注册地址", before.RegisteredAddress, after.RegisteredAddress)
	add("坐标", before.where(), after.where())
	add("企业规模", scaleTitles[before.Scale], scaleTitles[after.Scale])
	add("组织形式", kindTitles[before.Kind], kindTitles[after.Kind])
	add("从业人数", strconv.Itoa(before.Employees), strconv.Itoa(after.Employees))
	add("涉及的重点风险", joined(before.Hazards, label(enterpriseapi.HazardKind)), joined(after.Hazards, label(enterpriseapi.HazardKind)))
	for _, role := range []string{LegalRepresentative, PrincipalRole, ActualController, SafetyDirector, SafetyManager} {
		if !slices.EqualFunc(before.all(role), after.all(role), func(a, b Person) bool { return a.Name == b.Name && a.Phone == b.Phone }) {
			out = append(out, importer.Change{Title: roleTitles[role], Before: named(before.all(role)), After: named(after.all(role))})
		}
	}
	return out
}

func (p *importing) placeName(code string) string {
	return strings.Join(p.rules.divisions.Path(code, p.rules.now), "")
}

func (e *Enterprise) where() string {
	if e.Lon == nil || e.Lat == nil {
		return ""
	}
	return fmt.Sprintf("%.6f, %.6f", *e.Lon, *e.Lat)
}

func (e *Enterprise) all(role string) []Person {
	return slices.DeleteFunc(slices.Clone(e.People), func(p Person) bool { return p.Role != role })
}

// named lists people with masked numbers: the list of changes is kept.
func named(people []Person) string {
	var out []string
	for _, p := range people {
		out = append(out, strings.TrimSpace(p.Name+" "+gbcode.MaskPhone(p.Phone)))
	}
	return strings.Join(out, "、")
}

func joined(codes []string, label func(string) string) string {
	var out []string
	for _, c := range codes {
		out = append(out, label(c))
	}
	return strings.Join(out, "、")
}

// importTrace is what the log says about a record that an import wrote.
type importTrace struct {
	Import string `json:"import"`
	Row    int    `json:"row"`
	Reason string `json:"reason,omitempty"`
}

// Prepare makes rows ready to be written.
func (p *importing) Prepare(ctx context.Context, lines []*importer.Line[row]) (func(ctx context.Context) error, error) {
	var create, update []*Enterprise
	var created, updated []*importer.Line[row]
	var unnumbered []*Enterprise
	for _, l := range lines {
		if l.Action == importer.Update {
			update, updated = append(update, l.Value.e), append(updated, l)
			continue
		}
		create, created = append(create, l.Value.e), append(created, l)
		l.RecordID = l.Value.e.ID
		if l.Value.e.IDKind == withoutUSCC {
			unnumbered = append(unnumbered, l.Value.e)
		}
	}
	if len(unnumbered) > 0 {
		err := p.db.Tx(ctx, func(ctx context.Context) error {
			first, err := p.reserveNumbers(ctx, len(unnumbered))
			for i, e := range unnumbered {
				e.Number = p.number(first + int64(i))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	inserts, err := p.store.PrepareInsert(ctx, create, func(i int, _ *Enterprise) record.Change {
		return record.Change{Fact: enterpriseapi.EventRegistered, Title: "导入登记", Data: importTrace{Import: p.run, Row: created[i].Row}}
	})
	if err != nil {
		return nil, err
	}
	updates, err := p.store.PrepareUpdate(ctx, update, func(i int, _ *Enterprise) record.Change {
		c := record.Change{Fact: enterpriseapi.EventChanged, Title: "导入更新", Data: importTrace{Import: p.run, Row: updated[i].Row}}
		if updated[i].Value.moved {
			c.Fact, c.Title = enterpriseapi.EventMoved, "导入更新（迁移）"
		}
		return c
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return errors.Join(inserts.Write(ctx), updates.Write(ctx)) }, nil
}

// Undo withdraws what an import brought and restores what it changed, unless somebody has gone on with it since.
func (p *importing) Undo(ctx context.Context, touched []importer.Touched) (func(ctx context.Context) error, map[int]string, error) {
	ids, before := make([]string, len(touched)), make([]audit.At, 0, len(touched))
	for i, t := range touched {
		ids[i] = t.RecordID
		if t.Action == importer.Update {
			before = append(before, audit.At{ID: t.RecordID, Version: t.Version - 1})
		}
	}
	now, err := p.byID(ctx, p.mine, ids)
	if err != nil {
		return nil, nil, err
	}
	past, err := p.store.Past(ctx, before)
	if err != nil {
		return nil, nil, err
	}
	kept := map[int]string{}
	var write []*Enterprise
	var of []importer.Touched
	for _, t := range touched {
		e := now[t.RecordID]
		switch {
		case e == nil:
			kept[t.Row] = "不在您的管辖范围内，请由所在地监管部门处理"
			continue
		case e.Version != t.Version:
			kept[t.Row] = "导入后又有变更，请人工核对"
			continue
		case t.Action == importer.Create:
			e.State, e.StateReason = withdrawn, "导入被撤销"
		default:
			was := past[audit.At{ID: t.RecordID, Version: t.Version - 1}]
			if was == nil {
				return nil, nil, fmt.Errorf("enterprise %s: the log has no version %d", t.RecordID, t.Version-1)
			}
			if was.USCC != e.USCC {
				if other, err := p.holder(ctx, was.USCC); err != nil {
					return nil, nil, err
				} else if other != nil {
					kept[t.Row] = "原统一社会信用代码已登记为其他企业，请人工核对"
					continue
				}
			}
			was.Version = e.Version
			e = was
		}
		write, of = append(write, e), append(of, t)
	}
	batch, err := p.store.PrepareUpdate(ctx, write, func(i int, e *Enterprise) record.Change {
		c := record.Change{Fact: enterpriseapi.EventChanged, Title: "撤销导入，恢复原值", Data: importTrace{Import: p.run, Row: of[i].Row}}
		if e.State == withdrawn {
			c.Fact, c.Title = enterpriseapi.EventWithdrawn, "撤销导入，撤回档案"
		}
		return c
	})
	if err != nil {
		return nil, nil, err
	}
	return batch.Write, kept, nil
}
