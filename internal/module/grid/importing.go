package grid

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/geo"
	"anwang/internal/lib/tabular"
	"anwang/internal/module/grid/gridapi"
)

// ImportOptions say how a file of grids is taken in.
type ImportOptions struct {
	DryRun     bool    // check only
	SkipErrors bool    // take the good rows although others are wrong
	CRS        geo.CRS // of the boundaries; empty: WGS-84
	Progress   func(done, total int)
}

// ImportReport says what an import did, or would do.
type ImportReport struct {
	Rows    int        `json:"rows"`
	Created int        `json:"created" doc:"新设"`
	Updated int        `json:"updated" doc:"更新"`
	Same    int        `json:"same" doc:"无变化"`
	Applied bool       `json:"applied" doc:"已经写入"`
	Errors  []RowError `json:"errors" nullable:"false"`
}

// RowError is something wrong in one row. Rows of a GeoJSON file are its features, counted from 1.
type RowError struct {
	Row     int    `json:"row"`
	Column  string `json:"column"`
	Message string `json:"message"`
}

// maxImport is how many grids one file may hold: more than any county has.
const maxImport = 5000

var importFields = []tabular.Field{
	{Key: "name", Title: "网格名称", Aliases: []string{"名称", "name"}, Required: true},
	{Key: "code", Title: "网格编号", Aliases: []string{"编号", "网格代码", "code"}},
	{Key: "division", Title: "行政区划代码", Aliases: []string{"区划代码", "division"}},
	{Key: "town", Title: "所在乡镇", Aliases: []string{"乡镇", "乡镇街道", "所在乡镇（街道）", "town"}},
	{Key: "village", Title: "所在村", Aliases: []string{"村", "村社区", "所在村（社区）", "village"}},
	{Key: "boundary", Title: "边界", Aliases: []string{"边界坐标", "GeoJSON", "boundary"}},
	{Key: "officer", Title: "网格员", Aliases: []string{"网格员姓名", "officer"}},
	{Key: "officerPhone", Title: "网格员电话", Aliases: []string{"officerPhone"}},
	{Key: "deputy", Title: "代理网格员", Aliases: []string{"副网格员", "deputy"}},
	{Key: "deputyPhone", Title: "代理网格员电话", Aliases: []string{"deputyPhone"}},
}

// importRow is one grid of a file.
type importRow struct {
	number int
	values map[string]string // by key of importFields
	shape  json.RawMessage   // of a GeoJSON file
}

// importPlan is what is to be done for one row.
type importPlan struct {
	importRow
	existing *Item
	division string
	serial   int
	name     string
	shape    Shape
	redraw   bool
	people   map[gridapi.Rank]Person // to be appointed
}

func (p *importPlan) same() bool {
	return p.existing != nil && p.existing.Name == p.name && !p.redraw && len(p.people) == 0
}

// Import takes grids from an XLSX or CSV table or a GeoJSON FeatureCollection. All rows are checked first; with errors nothing is written unless SkipErrors is set. A row with a code that
// exists, or with the name of a grid in the same division, updates that grid. Rows are written some at a time, so that others can work; when the program dies in between, the same import
// again finds what is there and does the rest.
func (s *Service) Import(ctx context.Context, file []byte, opts ImportOptions) (*ImportReport, error) {
	rows, err := readImport(file)
	if err != nil {
		return nil, err
	}
	report := &ImportReport{Rows: len(rows), Errors: []RowError{}}
	var plans []*importPlan
	seen := map[string]int{}
	for _, r := range rows {
		p, bad, err := s.planImport(ctx, r, opts.CRS)
		if err != nil {
			return nil, err
		}
		key := p.values["code"]
		if key == "" {
			key = p.division + " " + p.name
		}
		if first := seen[key]; first > 0 && len(bad) == 0 {
			bad = append(bad, RowError{r.number, "网格名称", fmt.Sprintf("与第 %d 行重复", first)})
		}
		seen[key] = r.number
		if len(bad) > 0 {
			report.Errors = append(report.Errors, bad...)
			continue
		}
		switch {
		case p.same():
			report.Same++
			continue
		case p.existing == nil:
			report.Created++
		default:
			report.Updated++
		}
		plans = append(plans, p)
	}
	if opts.DryRun || len(report.Errors) > 0 && !opts.SkipErrors {
		return report, nil
	}
	const chunk = 20 // keeps SQLite's writer for some 20 ms
	for from := 0; from < len(plans); from += chunk {
		to := min(from+chunk, len(plans))
		err := s.db.Tx(ctx, func(ctx context.Context) error {
			for _, p := range plans[from:to] {
				if err := s.applyImport(ctx, p); err != nil {
					return fmt.Errorf("row %d: %w", p.number, err)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if opts.Progress != nil {
			opts.Progress(to, len(plans))
		}
	}
	report.Applied = true
	return report, nil
}

// planImport checks one row and says what it would do.
func (s *Service) planImport(ctx context.Context, r importRow, crs geo.CRS) (*importPlan, []RowError, error) {
	p := &importPlan{importRow: r, name: r.values["name"], people: map[gridapi.Rank]Person{}}
	var bad []RowError
	wrong := func(column, message string) { bad = append(bad, RowError{r.number, column, message}) }
	refused := func(column string, err error) error { // keeps what a person may read, passes on the rest
		e := errs.As(err)
		if e == nil || e.Kind == errs.KindInternal || e.Kind == errs.KindUnavailable {
			return err
		}
		message := e.Message
		if len(e.Fields) > 0 {
			message = e.Fields[0].Message
		}
		wrong(column, message)
		return nil
	}
	for _, f := range importFields {
		if v := r.values[f.Key]; strings.ContainsRune(v, 0) || !utf8.ValidString(v) {
			wrong(f.Title, "含有不能识别的字符，请重新填写")
			return p, bad, nil
		}
	}
	if n := len([]rune(p.name)); n == 0 || n > 60 {
		wrong("网格名称", "请填写网格名称，不超过 60 字")
	}
	if code := r.values["code"]; code != "" {
		if n, err := fmt.Sscanf(code, "%12s%03d", &p.division, &p.serial); err != nil || n != 2 || len(code) != 15 || p.serial < 1 {
			wrong("网格编号", "应为 12 位区划代码加 3 位顺序号")
			return p, bad, nil
		}
	}
	if d := r.values["division"]; d != "" {
		if p.division != "" && p.division != d {
			wrong("行政区划代码", "与网格编号的前 12 位不一致")
		}
		p.division = d
	}
	column := "行政区划代码"
	if p.division == "" && r.values["town"] != "" {
		column = "所在乡镇"
		codes, err := s.divisions.DivisionsNamed(ctx, r.values["town"], r.values["village"])
		if err != nil {
			return nil, nil, err
		}
		codes = slices.DeleteFunc(codes, func(code string) bool { return !scope.For(ctx, Manage).ReachesDivision(code, "") })
		if len(codes) != 1 {
			wrong(column, "在您的辖区内找不到唯一的“"+r.values["town"]+r.values["village"]+"”，请改填行政区划代码")
			return p, bad, nil
		}
		p.division = codes[0]
	}
	if p.division == "" {
		wrong(column, "请填写网格编号、行政区划代码，或所在乡镇和村")
		return p, bad, nil
	}
	if err := s.inReach(ctx, p.division); err != nil {
		if err = refused(column, err); err != nil {
			return nil, nil, err
		}
		return p, bad, nil // whether a grid exists there is not for the caller to know
	}
	var err error
	if p.serial > 0 {
		p.existing, err = s.gridByCode(ctx, r.values["code"])
	} else {
		p.existing, err = s.gridNamed(ctx, p.division, p.name)
	}
	if err != nil {
		return nil, nil, err
	}
	if p.existing != nil && p.existing.State != active {
		wrong("网格编号", "该网格已撤销，不能再导入")
	}
	raw := r.shape
	if cell := r.values["boundary"]; cell != "" {
		raw = json.RawMessage(cell)
	}
	if p.shape, err = parseShape(raw, crs); err != nil {
		if err = refused("边界", err); err != nil {
			return nil, nil, err
		}
	}
	if p.redraw = p.shape.MultiPolygon != nil; p.redraw && p.existing != nil {
		b, err := s.openBoundary(ctx, p.existing.ID)
		if err != nil {
			return nil, nil, err
		}
		p.redraw = b == nil || !bytes.Equal(b.Shape.GeoJSON(), p.shape.GeoJSON())
	}
	var open []*Duty
	if p.existing != nil {
		if open, err = s.openDuties(ctx, p.existing.ID); err != nil {
			return nil, nil, err
		}
	}
	for _, x := range []struct {
		rank               gridapi.Rank
		name, phone, title string
	}{{gridapi.Officer, r.values["officer"], r.values["officerPhone"], "网格员"}, {gridapi.Deputy, r.values["deputy"], r.values["deputyPhone"], "代理网格员"}} {
		if x.name == "" {
			continue
		}
		found, err := s.people.Named(ctx, x.name, x.phone)
		switch {
		case err != nil:
			return nil, nil, err
		case len(found) == 0:
			wrong(x.title, "没有找到“"+x.name+"”，请先在组织机构中登记，或核对电话")
		case len(found) > 1:
			wrong(x.title, "有 "+fmt.Sprint(len(found))+" 个“"+x.name+"”，请填写电话以便区分")
		default:
			p.people[x.rank] = found[0]
		}
	}
	if o := p.people[gridapi.Officer]; o.ID != "" && o.ID == p.people[gridapi.Deputy].ID {
		wrong("代理网格员", "不能与网格员是同一人")
	}
	for _, d := range open {
		if p.people[d.Kind].ID == d.PersonID {
			delete(p.people, d.Kind)
		}
	}
	return p, bad, nil
}

func (s *Service) applyImport(ctx context.Context, p *importPlan) error {
	const reason = "批量导入"
	g := p.existing
	if g == nil {
		var boundary json.RawMessage
		if p.redraw {
			boundary = p.shape.GeoJSON()
		}
		var err error
		if g, err = s.Create(ctx, GridInput{Division: p.division, Name: p.name, Serial: p.serial, Boundary: boundary, Reason: reason}); err != nil {
			return err
		}
	} else {
		var err error
		if g.Name != p.name {
			if g, err = s.Change(ctx, g.ID, GridChange{Read: flow.Read{Version: g.Version}, Name: p.name}); err != nil {
				return err
			}
		}
		if p.redraw {
			if g, err = s.Redraw(ctx, g.ID, BoundaryInput{Read: flow.Read{Version: g.Version}, Boundary: p.shape.GeoJSON(), Reason: reason}); err != nil {
				return err
			}
		}
	}
	for _, rank := range []gridapi.Rank{gridapi.Officer, gridapi.Deputy} {
		if person := p.people[rank]; person.ID != "" {
			if _, err := s.Appoint(ctx, g.ID, AppointInput{Kind: rank, PersonID: person.ID, Reason: reason}); err != nil {
				return err
			}
		}
	}
	return nil
}

// readImport tells a table from GeoJSON and reads its rows.
func readImport(file []byte) ([]importRow, error) {
	if head := bytes.TrimLeft(bytes.TrimPrefix(file, []byte("\xef\xbb\xbf")), " \t\r\n"); len(head) > 0 && head[0] == '{' {
		return readFeatures(head)
	}
	r, err := tabular.Open(bytes.NewReader(file), int64(len(file)), tabular.Options{MaxRows: maxImport})
	if err != nil {
		return nil, unreadable(err)
	}
	header, err := r.Header(importFields)
	if err != nil {
		return nil, unreadable(err)
	}
	var rows []importRow
	for row, err := range r.Rows() {
		if err != nil {
			return nil, unreadable(err)
		}
		values := map[string]string{}
		for _, f := range importFields {
			values[f.Key] = header.Value(row, f.Key)
		}
		rows = append(rows, importRow{number: row.Number, values: values})
	}
	return rows, nil
}

func readFeatures(file []byte) ([]importRow, error) {
	var c struct {
		Type     string `json:"type"`
		Features []struct {
			Geometry   json.RawMessage `json:"geometry"`
			Properties map[string]any  `json:"properties"`
		} `json:"features"`
	}
	d := json.NewDecoder(bytes.NewReader(file))
	d.UseNumber() // a code is no floating point number
	if err := d.Decode(&c); err != nil || c.Type != "FeatureCollection" {
		return nil, errs.Invalid("grid.import", "不是有效的 GeoJSON FeatureCollection，请检查文件。")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errs.Invalid("grid.import", "GeoJSON 文件末尾有多余的内容，请检查文件。")
	}
	if len(c.Features) > maxImport {
		return nil, errs.Invalid("grid.import", fmt.Sprintf("文件有 %d 个网格，超过 %d 个的上限，请拆成几个文件。", len(c.Features), maxImport))
	}
	rows := make([]importRow, len(c.Features))
	for i, f := range c.Features {
		values := map[string]string{}
		for _, field := range importFields {
			for _, name := range append([]string{field.Key, field.Title}, field.Aliases...) {
				if v, ok := f.Properties[name]; ok && v != nil && values[field.Key] == "" {
					values[field.Key] = strings.TrimSpace(fmt.Sprint(v))
				}
			}
		}
		delete(values, "boundary") // the geometry says it
		rows[i] = importRow{number: i + 1, values: values, shape: f.Geometry}
	}
	return rows, nil
}

// unreadable turns a refusal of the table reader into one that people see.
func unreadable(err error) error {
	return errs.Invalid("grid.import", strings.TrimRight(err.Error(), "。")+"。").Because(err)
}
