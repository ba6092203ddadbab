package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"anwang/internal/kernel/errs"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// template is a finding as it is typical for some kinds of enterprise.
type template struct {
	category    string
	kinds       []string // of enterprises; "*" all, "public" places without one
	place, what string
	requirement string
	measures    string
}

func (t *template) fits(kind string) bool {
	if kind == "dining" {
		kind = "inn" // both cook with gas and have guests
	}
	return slices.Contains(t.kinds, kind) || kind != "public" && slices.Contains(t.kinds, "*")
}

// majorTemplate is a major hidden danger with the criterion by which it is one.
type majorTemplate struct {
	template
	line, criterion, item, goal string
	suspend                     bool
}

func generalTemplates() ([]template, error) {
	rows, err := demoRows("dangers.txt", 6)
	var out []template
	for _, r := range rows {
		out = append(out, template{r[0], strings.Split(r[1], ","), r[2], r[3], r[4], r[5]})
	}
	return out, err
}

func majorTemplates() ([]majorTemplate, error) {
	rows, err := demoRows("majors.txt", 11)
	var out []majorTemplate
	for _, r := range rows {
		out = append(out, majorTemplate{template{r[4], []string{r[3]}, r[5], r[6], r[7], r[9]}, r[0], r[1], r[2], r[8], r[10] == "1"})
	}
	return out, err
}

// danger is a hidden danger on its way.
type danger struct {
	ID      string    `json:"id"`
	Version int64     `json:"version"`
	State   string    `json:"state"`
	DueAt   time.Time `json:"dueAt"`

	firm      *firm // nil: no enterprise
	town      *demoTown
	t         *template
	finder    string // accounts
	orderer   string
	rectifier string
	verifier  string
	rest      []beat
}

// beat is one step on a danger's way.
type beat struct {
	days  float64 // after the one before
	who   string
	step  string // of the API; "report" registers
	wants []string
	body  func(files []string) obj
}

// plan puts the next beat of a danger on the agenda.
func (b *builder) plan(d *danger) {
	if len(d.rest) == 0 {
		return
	}
	next := d.rest[0]
	d.rest = d.rest[1:]
	b.after(next.days, next.who, next.wants, func(ctx context.Context, files []string) error {
		body := obj{}
		if next.body != nil {
			body = next.body(files)
		}
		if err := b.take(ctx, d, next, body); err != nil {
			return err
		}
		b.plan(d)
		return nil
	})
}

// take takes a step on a danger. When the night has escalated the danger meanwhile, the person looks at it afresh.
func (b *builder) take(ctx context.Context, d *danger, next beat, body obj) error {
	b.counts.steps++
	if next.step == "report" {
		b.counts.dangers++
		return b.call(ctx, next.who, "POST", "/hidden-dangers", body, d)
	}
	path := "/hidden-dangers/" + d.ID
	for range 3 {
		body["version"] = d.Version
		err := b.call(ctx, next.who, "POST", path+"/"+next.step, body, d)
		var e *errs.Error
		if !errors.As(err, &e) || e.Code != "record.stale" {
			return err
		}
		if err := b.call(ctx, next.who, "GET", path, nil, d); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: still changing", path)
}

// photo is a photo in some percent of the cases.
func (b *builder) photo(percent int, what string) []string {
	if b.chance(percent) {
		return []string{what}
	}
	return nil
}

// finding is the registration of a danger.
func (b *builder) finding(d *danger, source hiddendangerapi.Source) beat {
	body := obj{"source": source, "title": d.t.place + d.t.what, "location": d.t.place, "category": d.t.category, "description": "检查发现：" + d.t.place + d.t.what + "。" + b.pick(observations)}
	if d.firm != nil {
		body["enterpriseId"] = d.firm.id
		if source != hiddendangerapi.SelfInspection {
			body["lon"], body["lat"] = d.firm.lon, d.firm.lat
		}
	} else {
		village := b.pick(d.town.villages)
		body["division"], body["location"] = village, b.villageName[village]+d.t.place
		body["title"] = b.villageName[village] + d.t.place + d.t.what
		body["lon"], body["lat"] = d.town.lon+b.rnd.Float64()*.04-.02, d.town.lat+b.rnd.Float64()*.04-.02
	}
	return beat{who: d.finder, step: "report", wants: b.photo(24, photoBefore), body: func(files []string) obj {
		if len(files) > 0 {
			body["photos"] = files
		}
		return body
	}}
}

func says(o obj) func([]string) obj { return func([]string) obj { return o } }

// submission hands in the rectification.
func (b *builder) submission(d *danger, days float64, step, prefix string) beat {
	who := d.rectifier
	if step == "fix-on-spot" {
		who = d.finder
	}
	cost := float64(b.rnd.IntN(60)*50 + 100)
	return beat{days, who, step, b.photo(16, photoAfter), func(files []string) obj {
		body := obj{"measures": prefix + d.t.measures + "。", "cost": cost}
		if len(files) > 0 {
			body["photos"] = files
		}
		return body
	}}
}

// sendingBack returns a rectification, with a new end when the old one has passed.
func (b *builder) sendingBack(d *danger, days float64) beat {
	reason := b.pick(returnReasons)
	return beat{days, d.verifier, "return", nil, func([]string) obj {
		body := obj{"reason": reason}
		if d.DueAt.Before(b.clk.Now().AddDate(0, 0, 3)) {
			body["dueAt"] = b.inDays(7)
		}
		return body
	}}
}

func (b *builder) ending(d *danger) []beat {
	return []beat{
		{1 + b.rnd.Float64()*3, d.verifier, "verify", nil, says(obj{"opinion": b.pick(verifyOpinions)})},
		{b.rnd.Float64() * 3, d.verifier, "close", nil, says(obj{"opinion": b.pick(closeOpinions)})},
	}
}

// ordered is the way of an ordered general danger, from the order to the end.
func (b *builder) ordered(d *danger, days float64) []beat {
	limit := []int{3, 5, 7, 7, 10, 10, 15, 15, 20, 30}[b.rnd.IntN(10)]
	head := "村（社区）负责人"
	if d.firm != nil {
		head = d.firm.head
	}
	order := beat{days, d.orderer, "order", nil, func([]string) obj {
		return obj{"level": "general", "requirement": d.t.requirement + "。", "dueAt": b.inDays(limit), "responsible": head, "interim": b.pick(interims)}
	}}
	way := []beat{order}
	answerer := d.orderer
	if answerer == d.rectifier {
		answerer = d.verifier // nobody answers himself
	}
	received := 0.0
	if b.chance(85) {
		received = b.rnd.Float64() * min(2, float64(limit)/3)
		way = append(way, beat{received, d.rectifier, "receive", nil, nil})
	}
	left := float64(limit) - received
	switch {
	case b.chance(8): // late: escalated
		return append(append(way, b.submission(d, left+1+b.rnd.Float64()*18, "submit", "逾期整改完成：")), b.ending(d)...)
	case limit >= 7 && b.chance(6):
		asked := left * (.3 + .4*b.rnd.Float64())
		granted := b.chance(75)
		until := 5 + b.rnd.IntN(15)
		way = append(way, beat{asked, d.rectifier, "ask-extension", nil, func([]string) obj {
			return obj{"reason": b.pick(extensionReasons), "until": d.DueAt.AddDate(0, 0, until).Format(time.DateOnly), "interim": "停用相关设备，专人值守，每日巡查"}
		}}, beat{min(1, left-asked), answerer, "answer-extension", nil, says(obj{"granted": granted, "opinion": map[bool]string{true: "理由属实，同意延期，延期期间落实防范措施。", false: "不具备延期条件，请按原期限完成整改。"}[granted]})})
		more := max(.5, left-asked-1)
		if granted {
			more += float64(until) * .6
		}
		return append(append(way, b.submission(d, more*.9, "submit", "")), b.ending(d)...)
	case answerer == d.orderer && b.chance(3):
		result := []string{"refused", "refused", "regrade", "void"}[b.rnd.IntN(4)]
		way = append(way, beat{.5, d.rectifier, "dispute", nil, says(obj{"reason": b.pick(disputeReasons)})},
			beat{1 + b.rnd.Float64()*3, answerer, "answer-dispute", nil, says(obj{"result": result, "opinion": map[string]string{
				"refused": "经现场复核，隐患事实清楚，异议不成立，请按期整改。", "regrade": "异议部分成立，按一般隐患重新定级后整改。", "void": "经复核不构成隐患，予以作废。"}[result]})})
		switch result {
		case "void":
			return way
		case "regrade":
			way = append(way, beat{.5, d.orderer, "order", nil, func([]string) obj {
				return obj{"requirement": d.t.requirement + "。", "dueAt": b.inDays(10), "responsible": head}
			}})
			left = 10
		}
		return append(append(way, b.submission(d, left*.4, "submit", "")), b.ending(d)...)
	}
	way = append(way, b.submission(d, left*(.2+.65*b.rnd.Float64()), "submit", ""))
	if b.chance(6) {
		way = append(way, b.sendingBack(d, 1), b.submission(d, 1+b.rnd.Float64()*2, "submit", "按退回意见补充整改："))
	}
	return append(way, b.ending(d)...)
}

// supervisor is somebody of the authority in charge of the firm: of its line, or an enforcement officer.
func (b *builder) supervisor(f *firm) string {
	if f != nil && b.chance(60) {
		if account := b.regulator[f.line]; account != "" {
			return account
		}
	}
	return b.pick([]string{"officer", "officer.b"})
}

// selfFound is the way of what an enterprise found itself, after it was registered: 自查自改自报.
func (b *builder) selfFound(d *danger) {
	d.finder, d.orderer, d.rectifier, d.verifier = d.firm.manager, d.firm.manager, d.firm.manager, d.town.station
	if d.firm.boss != "" {
		d.verifier = d.firm.boss
	}
	if b.chance(35) {
		d.rest = append([]beat{b.submission(d, b.rnd.Float64()*2, "fix-on-spot", "")}, b.ending(d)...)
	} else {
		d.rest = b.ordered(d, b.rnd.Float64()*2)
	}
	b.plan(d)
}

// found lets somebody find a general danger some days from now, what t says or anything that fits.
func (b *builder) found(days float64, source hiddendangerapi.Source, f *firm, town *demoTown, t *template) *danger {
	d := &danger{firm: f, town: town, t: t}
	kind := "public"
	if f != nil {
		kind, d.rectifier = f.kind, f.manager
	}
	if t == nil {
		d.t = b.templateFor(kind, "")
	}
	d.orderer, d.verifier = town.station, town.deputy()
	switch source {
	case hiddendangerapi.Patrol:
		d.finder = town.grid()
		if town.station == "town" && (f == nil || f.division != demoVillage) {
			d.finder = "grid.b"
		}
	case hiddendangerapi.Inspection, hiddendangerapi.Accident:
		d.finder = b.supervisor(f)
		d.orderer, d.verifier = d.finder, d.finder
	case hiddendangerapi.Alarm:
		d.finder = f.manager
	default:
		d.finder = b.pick([]string{"office", "office.b"})
	}
	if f == nil {
		d.rectifier, d.orderer, d.verifier = town.station, town.deputy(), "officer"
		if d.finder == "park" {
			d.finder = town.deputy()
		}
	}
	report := b.finding(d, source)
	report.days = days
	d.rest = []beat{report}
	switch {
	case source == hiddendangerapi.Patrol && b.chance(28):
		fix := b.submission(d, .02, "fix-on-spot", "现场督促整改：")
		fix.wants = nil
		d.rest = append(d.rest, fix)
		d.rest = append(d.rest, b.ending(d)...)
	case b.chance(2) && d.finder != town.station:
		d.rest = append(d.rest, beat{1, town.station, "void", nil, says(obj{"reason": b.pick(voidReasons)})})
	case b.chance(40) && f != nil:
		d.rest = append(d.rest, beat{.2 + b.rnd.Float64()*2, d.orderer, "grade", nil, says(obj{"level": "general", "grounds": "危害和整改难度较小，发现后能够立即整改排除（总局令第16号第三条）"})})
		d.rest = append(d.rest, b.ordered(d, b.rnd.Float64())...)
	default:
		d.rest = append(d.rest, b.ordered(d, b.rnd.Float64()*2.5)...)
	}
	return d
}

func (b *builder) templateFor(kind, category string) *template {
	var own, all []*template
	for i := range b.general {
		t := &b.general[i]
		if !t.fits(kind) || category != "" && t.category != category {
			continue
		}
		all = append(all, t)
		if !slices.Contains(t.kinds, "*") {
			own = append(own, t)
		}
	}
	if len(own) > 0 && b.chance(60) {
		return own[b.rnd.IntN(len(own))]
	}
	if len(all) == 0 {
		return nil
	}
	return all[b.rnd.IntN(len(all))]
}

// treated is the way of a major danger: grading by a criterion, order, listing, assignment, both reports, plan, treatment, acceptance by a third party, verification, resumption,
// disclosure, closing, delisting (一单四制).
func (b *builder) treated(days float64, m *majorTemplate, f *firm, town *demoTown) *danger {
	d := &danger{firm: f, town: town, t: &m.template, finder: "officer", orderer: "officer", verifier: "officer.b"}
	department, unit := "office.b", "石台县应急管理局"
	source := []hiddendangerapi.Source{hiddendangerapi.Inspection, hiddendangerapi.Expert, hiddendangerapi.Upper, hiddendangerapi.Inspection}[b.rnd.IntN(4)]
	if f != nil {
		d.rectifier = f.manager
		if account := b.regulator[f.line]; account != "" && account != "office" {
			department, unit = account, b.cast[account].Grants[0].UnitName
		}
	} else {
		d.rectifier, department, unit, source = town.station, town.deputy(), b.cast[town.station].Grants[0].UnitName, hiddendangerapi.Patrol
		if d.finder = town.grid(); town.station == "town" {
			d.finder = "grid.b"
		}
	}
	limit := 40 + b.rnd.IntN(50)
	head := unit + "主要负责人"
	if f != nil {
		head = f.head
	}
	report := b.finding(d, source)
	report.days, report.wants = days, []string{photoBefore}
	way := []beat{report, {1, d.orderer, "grade", nil, says(obj{"level": "major", "criterion": m.criterion, "item": m.item, "grounds": "现场情况符合判定标准所列情形：" + m.what})}}
	if f == nil {
		way = append(way, beat{1, "office", "designate", nil, says(obj{"unit": town.name + "（乡镇人民政府）", "documentNo": fmt.Sprintf("石政秘〔%d〕%d号（演示）", b.now.Year(), 10+b.rnd.IntN(80)),
			"fund": float64(10+b.rnd.IntN(90)) * 10000, "fundSource": "县安全生产专项资金"})})
	}
	way = append(way, beat{.5, d.orderer, "order", nil, func([]string) obj {
		body := obj{"requirement": d.t.requirement + "。", "dueAt": b.inDays(limit), "responsible": head, "interim": "撤出危险区域人员，设置警戒，专人24小时值守"}
		if m.suspend && f != nil {
			body["suspend"] = true
		}
		return body
	}})
	way = append(way, beat{1, "office", "list", nil, func([]string) obj {
		return obj{"level": "county", "unit": "石台县安全生产委员会", "documentNo": fmt.Sprintf("石安〔%d〕%d号（演示）", b.clk.Now().Year(), 1+b.rnd.IntN(60)), "dueAt": b.inDays(limit + 20)}
	}}, beat{.3, "office", "assign", nil, func([]string) obj {
		return obj{"unit": unit, "leader": b.cast["leader"].Name, "dueAt": b.inDays(limit + 10)}
	}}, beat{1, department, "receive-assignment", nil, nil})
	if f != nil {
		content := "现状及产生原因：" + m.place + m.what + "。危害程度和整改难易程度：可能造成人员伤亡，整改需专业队伍施工。治理方案：" + m.requirement + "。"
		way = append(way, beat{.5, d.rectifier, "receive", nil, nil})
		for _, to := range [][2]string{{"department", unit + "值班室"}, {"congress", "职工代表大会"}} {
			way = append(way, beat{1, d.rectifier, "dual-report", []string{receipt}, func(files []string) obj {
				return obj{"to": to[0], "receiver": to[1], "receipt": files[0], "content": content}
			}})
		}
	}
	plan := func(days float64) beat {
		return beat{days, d.rectifier, "submit-plan", nil, says(obj{"goal": m.goal, "responsibility": "责任单位负责人" + head + "，安全管理人员具体落实", "measures": m.requirement,
			"funds": fmt.Sprintf("%d万元，自筹", 3+b.rnd.IntN(60)), "schedule": fmt.Sprintf("%d日内完成", limit), "contingency": "编制专项应急预案，配备应急物资，整改期间专人值守并组织演练"})}
	}
	way = append(way, plan(2))
	if b.chance(25) {
		way = append(way, beat{2, department, "return-plan", nil, says(obj{"reason": "治理方案中的资金和应急措施不具体，请补充后重报。"})}, plan(2))
	}
	approver := department
	if approver == d.rectifier {
		approver = "officer"
	}
	way = append(way, beat{2, approver, "approve-plan", nil, says(obj{"opinion": "“五落实”齐全，同意按方案治理。"})})
	if b.chance(60) {
		way = append(way, beat{1, "office", "disclose", nil, says(obj{"redact": []string{"foundBy", "responsible"}})})
	}
	spent := 9.0
	done := (float64(limit) - spent) * (.5 + .45*b.rnd.Float64())
	if b.chance(20) {
		done = float64(limit) - spent + 4 + b.rnd.Float64()*15
	}
	submission := b.submission(d, done, "submit", "")
	submission.wants = []string{photoAfter, photoAfter}
	agency, _ := b.uscc("91")
	way = append(way, submission, beat{4, "office", "record-acceptance", []string{acceptance}, func(files []string) obj {
		return obj{"agency": b.pick(agencies), "agencyCode": agency, "conclusion": "passed", "opinion": "经现场核查和资料审查，治理措施落实，重大隐患已消除，同意通过验收评估。", "report": files[0]}
	}}, beat{2, d.verifier, "verify", nil, says(obj{"opinion": "现场复查，治理到位，第三方验收评估通过。"})})
	if m.suspend && f != nil {
		way = append(way, beat{1, d.rectifier, "ask-resume", nil, says(obj{"reason": "重大隐患已治理完成并通过验收，申请恢复生产经营。"})},
			beat{3, "office", "answer-resume", nil, says(obj{"granted": true, "opinion": "现场审查合格，同意恢复生产经营。"})})
	}
	d.rest = append(way, beat{1, "office", "close", nil, says(obj{"opinion": "治理完成，资料齐全，同意销号。"})}, beat{2, "office", "delist", nil, says(obj{"reason": "重大隐患治理完成并销号，予以摘牌。"})})
	return d
}

// fate decides at the beginning of the year what will be found when. What the enterprises find themselves comes with their self-checks.
func (b *builder) fate() error {
	const aYear = 365
	sources := []struct {
		source hiddendangerapi.Source
		weight int
	}{{hiddendangerapi.Patrol, 46}, {hiddendangerapi.Inspection, 34}, {hiddendangerapi.Report, 6}, {hiddendangerapi.Expert, 6}, {hiddendangerapi.Upper, 4}, {hiddendangerapi.Accident, 2}, {hiddendangerapi.Alarm, 2}}
	for range b.size.of(2000) {
		source := hiddendangerapi.Patrol
		n := b.rnd.IntN(100)
		for _, s := range sources {
			if n -= s.weight; n < 0 {
				source = s.source
				break
			}
		}
		f := b.firms[b.rnd.IntN(len(b.firms))]
		town := f.town
		if source == hiddendangerapi.Patrol && town.station != "park" && b.chance(16) {
			f = nil
		}
		b.plan(b.found(1+b.rnd.Float64()*(aYear-1), source, f, town, nil))
	}
	if err := b.majors(aYear); err != nil {
		return err
	}
	b.finale(aYear)
	b.bulletins()
	return nil
}

func (b *builder) majors(days float64) error {
	for i := range b.size.of(len(b.major)) {
		m := &b.major[i%len(b.major)]
		var f *firm
		town := b.towns[b.rnd.IntN(8)]
		if !m.fits("public") {
			var candidates []*firm
			for _, c := range b.firms {
				if m.fits(c.kind) && c.name != demoFirm {
					candidates = append(candidates, c)
				}
			}
			if len(candidates) == 0 {
				continue // a fraction of the county has no such enterprise
			}
			f = candidates[b.rnd.IntN(len(candidates))]
			town = f.town
		}
		at := 8 + (days-16)*float64(i%len(b.major))/float64(len(b.major)) + b.rnd.Float64()*10
		if i%6 == 5 {
			at = days - 60*b.rnd.Float64() - 4 // some are under way now
		}
		b.counts.major++
		b.plan(b.treated(at, m, f, town))
	}
	return nil
}

// finale makes sure that the accounts that people try first find matters of every sort: at the demo enterprise, in 仁里.
func (b *builder) finale(days float64) {
	i := slices.IndexFunc(b.firms, func(f *firm) bool { return f.name == demoFirm })
	f := b.firms[i]
	type cut struct {
		ago   float64 // days before the end
		limit int
		steps []string
	}
	for n, c := range []cut{
		{1, 0, nil}, {2, 0, []string{"grade"}}, {3, 5, []string{"order"}}, {6, 8, []string{"order", "receive"}}, {12, 7, []string{"order", "receive"}}, {25, 8, []string{"order", "receive"}},
		{9, 15, []string{"order", "receive", "submit"}}, {14, 20, []string{"order", "receive", "submit", "return"}}, {8, 10, []string{"order", "receive", "dispute"}},
		{10, 12, []string{"order", "receive", "ask-extension"}}, {11, 15, []string{"order", "receive", "submit", "verify"}}, {40, 15, []string{"order", "receive", "submit", "verify", "close"}},
	} {
		d := &danger{firm: f, town: f.town, t: b.templateFor(f.kind, ""), finder: "grid", orderer: "town", rectifier: "enterprise", verifier: "town.b"}
		source := hiddendangerapi.Patrol
		if n%3 == 2 {
			d.finder, d.orderer, d.verifier, source = "industry", "industry", "industry", hiddendangerapi.Inspection
		}
		report := b.finding(d, source)
		report.days, report.wants = days-c.ago, []string{photoBefore}
		d.rest = []beat{report}
		for _, step := range c.steps {
			next := beat{days: .4, step: step}
			switch step {
			case "grade":
				next.who, next.body = d.orderer, says(obj{"level": "general", "grounds": "危害和整改难度较小，发现后能够立即整改排除（总局令第16号第三条）"})
			case "order":
				next.who, next.body = d.orderer, func([]string) obj {
					return obj{"level": "general", "requirement": d.t.requirement + "。", "dueAt": b.inDays(c.limit), "responsible": f.head, "interim": b.pick(interims)}
				}
			case "receive":
				next.who = d.rectifier
			case "submit":
				next = b.submission(d, .6*c.ago*.6, "submit", "")
			case "return":
				next = b.sendingBack(d, 1)
			case "dispute":
				next.who, next.body = d.rectifier, says(obj{"reason": disputeReasons[0]})
			case "ask-extension":
				next.who, next.body = d.rectifier, func([]string) obj {
					return obj{"reason": extensionReasons[0], "until": d.DueAt.AddDate(0, 0, 10).Format(time.DateOnly), "interim": "停用相关设备，专人值守，每日巡查"}
				}
			case "verify", "close":
				next.who, next.body = d.verifier, says(obj{"opinion": "现场复查，已整改到位。"})
			}
			d.rest = append(d.rest, next)
		}
		b.plan(d)
	}
	// One major danger of the enterprise under way: reported twice, planned, waiting for approval.
	for i := range b.major {
		if m := &b.major[i]; m.fits("bamboo") {
			d := b.treated(days-14, m, f, f.town)
			cutAt := slices.IndexFunc(d.rest, func(x beat) bool { return x.step == "submit-plan" })
			d.rest = d.rest[:cutAt+1]
			b.counts.major++
			b.plan(d)
			break
		}
	}
	// What the program could not know: which dangers come back at the same place.
	for range b.size.of(40) {
		firm := b.firms[b.rnd.IntN(len(b.firms))]
		at := 5 + b.rnd.Float64()*(days-70)
		first := b.found(at, hiddendangerapi.Inspection, firm, firm.town, nil)
		again := b.found(at+25+b.rnd.Float64()*50, hiddendangerapi.Patrol, firm, firm.town, nil)
		again.t = first.t
		b.plan(first)
		b.plan(again)
	}
}

// bulletins issues the quarterly bulletins on major dangers.
func (b *builder) bulletins() {
	start := b.clk.Now()
	for d := start; d.Before(b.now); d = d.AddDate(0, 0, 1) {
		y, m, day := d.Date()
		if day != 5 || m%3 != 1 {
			continue
		}
		from := time.Date(y, m-3, 1, 0, 0, 0, 0, time.UTC)
		b.after(d.Sub(start).Hours()/24, "office", nil, func(ctx context.Context, _ []string) error {
			return b.call(ctx, "office", "POST", "/danger-bulletins", obj{"division": demoCounty, "from": from.Format(time.DateOnly), "to": from.AddDate(0, 3, -1).Format(time.DateOnly),
				"remark": "请各承办单位对照整改时限加快治理，逾期未完成的由县安委办约谈。"}, nil)
		})
	}
}

// checkItem is an item of a check list that can be answered with a finding.
type checkItem struct {
	No       string `json:"no"`
	Category string `json:"category"`
}

// check is a self-check as its page shows it.
type check struct {
	ID           string    `json:"id"`
	Version      int64     `json:"version"`
	EnterpriseID string    `json:"enterpriseId"`
	DueAt        time.Time `json:"dueAt"`
	ListTitle    string    `json:"listTitle"`
	Answers      []struct {
		No       string `json:"no"`
		DangerID string `json:"dangerId"`
	} `json:"answers"`
	List struct {
		Items []checkItem `json:"items"`
	} `json:"list"`
}

// expectChecks puts the self-checks that were just planned on the agendas of the enterprises. The silent never report, the late ones late.
func (b *builder) expectChecks(ctx context.Context) error {
	firms := map[string]*firm{}
	for _, f := range b.firms {
		firms[f.id] = f
	}
	for cursor := ""; ; {
		var page struct {
			Items []check `json:"items"`
			Next  string  `json:"next"`
		}
		path := "/self-checks?state=due&limit=200"
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		if err := b.call(ctx, "office", "GET", path, nil, &page); err != nil {
			return err
		}
		for _, c := range page.Items {
			f := firms[c.EnterpriseID]
			if f == nil || b.planned[c.ID] {
				continue
			}
			b.planned[c.ID] = true
			left := c.DueAt.Sub(b.clk.Now()).Hours() / 24
			when := left * (.1 + .8*b.rnd.Float64())
			switch {
			case f.conduct == "silent" && b.chance(80) || b.chance(4):
				continue
			case f.conduct == "late" && b.chance(60):
				when = left + 1 + b.rnd.Float64()*12
			}
			b.after(when, f.manager, nil, func(ctx context.Context, _ []string) error { return b.runCheck(ctx, f, c.ID) })
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

// runCheck reports a self-check: mostly nothing found, else one thing or two.
func (b *builder) runCheck(ctx context.Context, f *firm, id string) error {
	var c check
	if err := b.call(ctx, f.manager, "GET", "/self-checks/"+id, nil, &c); err != nil {
		return err
	}
	answers := []obj{}
	found := map[string]*template{}
	if b.chance(46) {
		for range 1 + b.rnd.IntN(2) {
			it := c.List.Items[b.rnd.IntN(len(c.List.Items))]
			t := b.templateFor(f.kind, it.Category)
			if t == nil || found[it.No] != nil {
				continue
			}
			found[it.No] = t
			answers = append(answers, obj{"no": it.No, "result": "bad", "title": t.place + t.what, "location": t.place, "note": "自查发现，" + t.requirement})
		}
	}
	b.counts.checks++
	if err := b.call(ctx, f.manager, "POST", "/self-checks/"+id+"/submit", obj{"version": c.Version, "answers": answers}, &c); err != nil {
		return err
	}
	for _, a := range c.Answers {
		if t := found[a.No]; t != nil && a.DangerID != "" {
			b.counts.dangers++
			b.selfFound(&danger{ID: a.DangerID, Version: 1, firm: f, town: f.town, t: t})
		}
	}
	return nil
}

// What people write.
var (
	observations     = []string{"现场已口头告知负责人。", "已拍照取证。", "询问岗位人员，未掌握处置要求。", "与上次检查情况相比没有改善。", "当时有人员作业。", "已要求先行采取防范措施。"}
	verifyOpinions   = []string{"现场复查，已整改到位。", "经复查，整改措施落实，符合要求。", "查看现场和整改资料，同意通过验收。", "隐患已消除，验收通过。"}
	closeOpinions    = []string{"整改完成，同意销号。", "资料齐全，同意销号归档。", "闭环完成，予以销号。"}
	returnReasons    = []string{"现场仍有部分未整改到位，请按要求补充完成。", "整改资料不齐，缺少检测合格证明。", "防护设施安装不牢固，请重新固定后报验。", "警示标志设置位置不当，请调整。"}
	interims         = []string{"整改期间停用相关设备", "设置警戒线，无关人员不得进入", "安排专人值守，每班巡查一次", "加强巡查，配备应急器材"}
	extensionReasons = []string{"所需配件须由厂家定制，到货时间晚于整改期限", "连续降雨，室外施工无法进行", "检测机构排期靠后，需等待检测报告"}
	disputeReasons   = []string{"该设备已于检查前停用并断电，不属于在用设备，请复核", "检查所依据的条款不适用于本单位规模，请复核", "现场情况与描述不一致，有当日照片为证"}
	voidReasons      = []string{"与已登记的另一条隐患重复，予以作废。", "经核实属于登记对象错误，重新登记到实际责任单位。"}
	agencies         = []string{"池州安评技术服务有限公司（演示）", "皖南安全科技有限公司（演示）", "安徽正源检测评价有限公司（演示）"}
)
