package org

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
)

// The lists that the program brings along: provinces, cities and counties of the whole country, towns of Hunan, Jilin, Chizhou and
// Quanzhou, villages of Hunan, Jilin, Shitai and Shishi, from the statistics bureau's codes of 2023 (see the data's README); and the known
// changes of code in those regions [R].
//
//go:embed seed
var seed embed.FS

// chunk is how many divisions one transaction writes: about 50 ms.
const chunk = 500

// SeedDivisions enters, from the lists that the program brings along, everything that an installation rooted at the given codes needs: the
// roots, all above and all below them. The root scope.Nation brings all provinces, cities and counties. What is there stays as it is. It
// may be called at every start, and continues where an earlier call was cut off. It asks for Manage.
func (o *Directory) SeedDivisions(ctx context.Context, roots ...string) error {
	if err := Need(ctx, Manage); err != nil {
		return err
	}
	var codes []gbcode.Division
	for _, r := range roots {
		code := gbcode.Division(scope.Nation)
		if r != scope.Nation {
			var err error
			if code, err = gbcode.ParseDivision(r); err != nil {
				return fmt.Errorf("安装所在区划代码 %q 无效：%w", r, err)
			}
		}
		codes = append(codes, code)
	}
	digest, err := seedDigest(codes)
	if err != nil {
		return err
	}
	var done int
	if err := o.db.Conn(ctx).NewRaw("SELECT count(*) FROM org_seeded WHERE digest = ?", digest).Scan(ctx, &done); err != nil || done > 0 {
		return err
	}
	rows, err := shipped(codes)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return fmt.Errorf("随程序附带的区划表中没有 %s，请用 anwang import divisions 导入", strings.Join(roots, "、"))
	}
	if err := o.enter(ctx, rows, record.Change{Fact: "org.divisionSeeded", Title: "载入随附区划"}, nil); err != nil {
		return err
	}
	return o.db.Tx(ctx, func(ctx context.Context) error {
		_, err := o.db.Conn(ctx).NewRaw("INSERT INTO org_seeded (digest, at) VALUES (?, ?) ON CONFLICT DO NOTHING",
			digest, db.FormatTime(o.db.Clock.Now())).Exec(ctx)
		return err
	})
}

// seedDigest names the shipped lists together with the roots.
func seedDigest(roots []gbcode.Division) (string, error) {
	h := sha256.New()
	entries, err := seed.ReadDir("seed")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		b, err := seed.ReadFile(path.Join("seed", e.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", e.Name(), len(b), b)
	}
	fmt.Fprint(h, slices.Sorted(slices.Values(roots)))
	return hex.EncodeToString(h.Sum(nil)), nil
}

// shipped reads the embedded lists as far as they concern the roots, upper levels first.
func shipped(roots []gbcode.Division) ([]*Division, error) {
	recoded, err := readSeed("recoded.csv")
	if err != nil {
		return nil, err
	}
	all := []*Division{}
	roots = slices.Clone(roots)
	for _, d := range recoded {
		if to := gbcode.Division(d.Successors[0]); concerns(roots, to) || concerns(roots, gbcode.Division(d.Code)) {
			all = append(all, d.Division)
			roots = append(roots, gbcode.Division(d.Code)) // for its ancestors, which may be others than its successor's
		}
	}
	for _, name := range []string{"national.csv", "towns.csv", "villages_22.csv.gz", "villages_43.csv.gz", "villages_341722.csv", "villages_350581.csv"} {
		if digits, ok := strings.CutPrefix(name, "villages_"); ok {
			digits, _, _ = strings.Cut(digits, ".")
			region, err := gbcode.ParseDivision(digits)
			if err != nil {
				return nil, err
			}
			if !concerns(roots, region) {
				continue // no need to unpack half a province for one county
			}
		}
		rows, err := readSeed(name)
		if err != nil {
			return nil, err
		}
		for _, d := range rows {
			if concerns(roots, gbcode.Division(d.Code)) {
				all = append(all, d.Division)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *Division) int { return cmp.Compare(a.Level, b.Level) })
	return all, nil
}

// concerns reports whether an installation with the roots needs the division: a root, or what lies above or below one.
func concerns(roots []gbcode.Division, code gbcode.Division) bool {
	return slices.ContainsFunc(roots, func(r gbcode.Division) bool {
		return code.IsUnder(r) || r.IsUnder(code) || r == scope.Nation && code.Level() <= gbcode.County
	})
}

func readSeed(name string) ([]divisionRow, error) {
	b, err := seed.ReadFile("seed/" + name)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("embedded %s: %w", name, err)
		}
		if b, err = io.ReadAll(z); err != nil {
			return nil, fmt.Errorf("embedded %s: %w", name, err)
		}
	}
	rows, faults, err := readDivisions(bytes.NewReader(b))
	if err == nil && len(faults) > 0 {
		err = fmt.Errorf("row %d: %s", faults[0].Row, faults[0].Message)
	}
	if err != nil {
		return nil, fmt.Errorf("embedded %s: %w", name, err)
	}
	return rows, nil
}

// RowFault is what is wrong with one row of a file.
type RowFault struct {
	Row     int    `json:"row" doc:"行号，标题行为第1行"`
	Column  string `json:"column,omitempty" doc:"列名"`
	Message string `json:"message"`
}

// ImportReport says what an import found or did.
type ImportReport struct {
	Rows    int        `json:"rows" doc:"数据行数"`
	New     int        `json:"new" doc:"新增"`
	Same    int        `json:"same" doc:"已有且相同"`
	Located int        `json:"located" doc:"已有，补充或更新坐标"`
	Faults  []RowFault `json:"faults" doc:"有问题的行，最多1000条"`
	DryRun  bool       `json:"dryRun"`
}

const (
	maxFaults = 1000
	maxImport = 64 << 20 // bytes: all villages of the country are 30 MB
)

// ImportDivisions reads a CSV file of divisions: columns code and name, and optionally kind, valid_from, valid_to, successor, basis,
// lon, lat, in any order; UTF-8 or GB 18030. It reports every faulty row, and writes only when there is none and dryRun is false.
// Divisions that exist keep their name: a row with another name is a fault, because a new name needs a date (Rename). progress may
// be nil. It asks for Manage.
func (o *Directory) ImportDivisions(ctx context.Context, r io.Reader, dryRun bool, progress func(done, total int)) (*ImportReport, error) {
	if err := Need(ctx, Manage); err != nil {
		return nil, err
	}
	rows, faults, err := readDivisions(r)
	if err != nil {
		return nil, err
	}
	snap, err := o.Divisions(ctx)
	if err != nil {
		return nil, err
	}
	rep := &ImportReport{Rows: len(rows) + len(faults), DryRun: dryRun}
	lines := map[string]int{} // by code
	for _, d := range rows {
		if first, twice := lines[d.Code]; twice {
			faults = append(faults, RowFault{d.line, "code", fmt.Sprintf("代码与第 %d 行重复。", first)})
		} else {
			lines[d.Code] = d.line
		}
	}
	var fresh []*Division
	for _, d := range rows {
		have := snap.Division(d.Code)
		switch {
		case have == nil && d.Parent != "" && snap.Division(d.Parent) == nil && lines[d.Parent] == 0:
			faults = append(faults, RowFault{d.line, "code", "上级区划 " + d.Parent + " 既未登记，也不在本文件中。"})
		case have == nil:
			rep.New++
			fresh = append(fresh, d.Division)
		case have.Name != d.Name:
			faults = append(faults, RowFault{d.line, "name", "已登记为“" + have.Name + "”。更名请用“区划更名”，注明生效日期。"})
		case d.Lon != nil && (have.Lon == nil || *have.Lon != *d.Lon || *have.Lat != *d.Lat):
			rep.Located++
			fresh = append(fresh, d.Division)
		default:
			rep.Same++
		}
	}
	slices.SortStableFunc(faults, func(a, b RowFault) int { return cmp.Compare(a.Row, b.Row) })
	rep.Faults = filled(faults[:min(len(faults), maxFaults)])
	if dryRun || len(faults) > 0 {
		return rep, nil
	}
	// Upper levels first, so that no moment shows a village without its town.
	slices.SortStableFunc(fresh, func(a, b *Division) int { return cmp.Compare(a.Level, b.Level) })
	return rep, o.enter(ctx, fresh, record.Change{Fact: "org.divisionImported", Title: "导入区划"}, progress)
}

// enter writes divisions in chunks: those that are missing are inserted, those that exist are only placed on the map.
func (o *Directory) enter(ctx context.Context, rows []*Division, c record.Change, progress func(done, total int)) error {
	done := 0
	for part := range slices.Chunk(rows, chunk) {
		err := o.edit(ctx, func(ctx context.Context) ([]string, error) {
			var subjects []string
			for _, d := range part {
				have, err := o.byCode(ctx, d.Code)
				switch {
				case err != nil:
					return nil, err
				case have == nil:
					err = o.insertDivision(ctx, d, c)
				case d.Lon != nil:
					have.Lon, have.Lat = d.Lon, d.Lat
					err = o.divisions.Update(ctx, have, c)
				default:
					continue
				}
				if err != nil {
					return nil, err
				}
				subjects = append(subjects, divisionSubject+d.Code)
			}
			if len(subjects) > 100 {
				subjects = []string{divisionSubject} // all of them: cheaper than naming each
			}
			return subjects, nil
		})
		if err != nil {
			return err
		}
		done += len(part)
		if progress != nil {
			progress(done, len(rows))
		}
	}
	return nil
}

// divisionRow is a division and the line of the file on which it stands.
type divisionRow struct {
	*Division
	line int
}

// readDivisions reads a CSV file of divisions. Faulty rows are left out of rows and reported; err says that it is no such file at all.
func readDivisions(r io.Reader) (rows []divisionRow, faults []RowFault, err error) {
	b, err := io.ReadAll(io.LimitReader(r, maxImport+1))
	if err != nil {
		return nil, nil, err
	}
	if len(b) > maxImport {
		return nil, nil, errs.Invalid("org.importSize", "文件超过 64 MB，请分省导入。")
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(b) {
		if b, err = simplifiedchinese.GB18030.NewDecoder().Bytes(b); err != nil {
			return nil, nil, errs.Invalid("org.importEncoding", "文件不是 UTF-8 也不是 GBK 编码的 CSV，请另存为“CSV UTF-8”后重试。")
		}
	}
	in := csv.NewReader(bytes.NewReader(b))
	in.FieldsPerRecord = -1
	head, err := in.Read()
	if err != nil {
		return nil, nil, errs.Invalid("org.importHeader", "文件是空的，或不是 CSV 文件。第一行应为列名 code,name,…。")
	}
	column := map[string]int{}
	for i, name := range head {
		column[strings.ToLower(strings.TrimSpace(name))] = i
	}
	for _, name := range []string{"code", "name"} {
		if _, ok := column[name]; !ok {
			return nil, nil, errs.Invalid("org.importHeader", "第一行没有列名 "+name+"。第一行应为 code,name,…，其中 code 为区划代码，name 为名称。")
		}
	}
	for {
		fields, err := in.Read()
		if errors.Is(err, io.EOF) {
			return rows, faults, nil
		}
		var broken *csv.ParseError
		if errors.As(err, &broken) {
			return nil, nil, errs.Invalid("org.importFormat", fmt.Sprintf("第 %d 行的引号不成对，不是有效的 CSV，请检查后重试。", broken.Line))
		}
		if err != nil {
			return nil, nil, err
		}
		line, _ := in.FieldPos(0)
		cell := func(name string) string {
			if i, ok := column[name]; ok && i < len(fields) {
				return strings.TrimSpace(fields[i])
			}
			return ""
		}
		d, fault := divisionOf(cell)
		if fault != nil {
			fault.Row = line
			faults = append(faults, *fault)
			continue
		}
		rows = append(rows, divisionRow{d, line})
	}
}

func divisionOf(cell func(string) string) (*Division, *RowFault) {
	code, err := gbcode.ParseDivision(cell("code"))
	if err != nil {
		return nil, &RowFault{Column: "code", Message: err.Error() + "。"}
	}
	d := &Division{Code: string(code), Name: cell("name"), Level: code.Level(), Parent: string(code.Parent()),
		Kind: cmp.Or(cell("kind"), KindDivision), ValidFrom: cell("valid_from"), ValidTo: cell("valid_to"),
		Basis: cell("basis")}
	var f fields
	f.required("name", d.Name)
	if len([]rune(d.Name)) > 100 {
		f.add("name", "名称不超过 100 字。")
	}
	f.oneOf("kind", d.Kind, KindDivision, KindGrouping, KindZone, KindStatistical)
	f.day("valid_from", d.ValidFrom, true)
	f.day("valid_to", d.ValidTo, true)
	if s := cell("successor"); s != "" {
		to, err := gbcode.ParseDivision(s)
		if err != nil {
			f.add("successor", err.Error()+"。")
		}
		d.Successors, d.Recoded = []string{string(to)}, cell("recoded") == "true"
	}
	if lon, lat := cell("lon"), cell("lat"); lon != "" || lat != "" {
		x, errX := strconv.ParseFloat(lon, 64)
		y, errY := strconv.ParseFloat(lat, 64)
		if errX != nil || errY != nil || x < -180 || x > 180 || y < -90 || y > 90 {
			f.add("lon", "经度、纬度应同时填写，为十进制度数，请检查是否填反。")
		}
		d.Lon, d.Lat = &x, &y
	}
	if len(f) > 0 {
		return nil, &RowFault{Column: f[0].Pointer, Message: f[0].Message}
	}
	// 统计用区划代码 gives industrial parks and farms a village of their own, 498 or 598, where nobody lives in a village.
	d.Statistical = d.Level == gbcode.Village && strings.Contains(d.Name, "虚拟")
	return d, nil
}
