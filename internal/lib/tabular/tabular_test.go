package tabular_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"anwang/internal/lib/tabular"
)

func open(data []byte, opts tabular.Options) (*tabular.Reader, error) {
	return tabular.Open(bytes.NewReader(data), int64(len(data)), opts)
}

// readAll returns all rows as "number: cell|cell", and the error that ended reading.
func readAll(data []byte, opts tabular.Options) ([]string, error) {
	r, err := open(data, opts)
	if err != nil {
		return nil, err
	}
	var rows []string
	for row, err := range r.Rows() {
		if err != nil {
			return rows, err
		}
		rows = append(rows, fmt.Sprintf("%d: %s", row.Number, strings.Join(row.Cells, "|")))
	}
	return rows, nil
}

func expectRows(t *testing.T, data []byte, want ...string) {
	t.Helper()
	got, err := readAll(data, tabular.Options{})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
}

// pack makes an XLSX file of the given parts; those that every file needs are added.
func pack(t testing.TB, parts map[string]string) []byte {
	t.Helper()
	all := map[string]string{
		"[Content_Types].xml": `<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>`,
		"_rels/.rels":         `<Relationships><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>`,
		"xl/workbook.xml":     `<workbook xmlns:r="x"><sheets><sheet name="企业" sheetId="1" r:id="rId1"/></sheets></workbook>`,
		"xl/_rels/workbook.xml.rels": `<Relationships>
			<Relationship Id="rId1" Type="http://purl.oclc.org/ooxml/officeDocument/relationships/worksheet" Target="worksheets/sheet1.xml"/>
			<Relationship Id="rId2" Type="http://purl.oclc.org/ooxml/officeDocument/relationships/styles" Target="/xl/styles.xml"/>
			<Relationship Id="rId3" Type="http://purl.oclc.org/ooxml/officeDocument/relationships/sharedStrings" Target="sharedStrings.xml"/></Relationships>`,
		"xl/styles.xml":        `<styleSheet/>`,
		"xl/sharedStrings.xml": `<sst/>`,
	}
	for name, content := range parts {
		all[name] = content
	}
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, content := range all {
		if content == "" {
			continue // left out
		}
		part, err := w.Create(name)
		if err == nil {
			_, err = io.WriteString(part, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func sheet(rows string) map[string]string {
	return map[string]string{"xl/worksheets/sheet1.xml": `<?xml version="1.0" encoding="UTF-8"?><worksheet><sheetData>` + rows + `</sheetData><mergeCells/></worksheet>`}
}

func with(parts map[string]string, name, content string) map[string]string {
	parts[name] = content
	return parts
}

func gb18030(t testing.TB, s string) []byte {
	t.Helper()
	b, err := simplifiedchinese.GB18030.NewEncoder().Bytes([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func utf16(t testing.TB, order unicode.Endianness, s string) []byte {
	t.Helper()
	b, err := unicode.UTF16(order, unicode.UseBOM).NewEncoder().Bytes([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEncodings(t *testing.T) {
	t.Parallel()
	const table = "企业名称,地址\r\n石狮市鑫源印染有限公司,湖滨街道①号\r\n㐂𬭎𠮷,镕喆\r\n"
	want := []string{"1: 企业名称|地址", "2: 石狮市鑫源印染有限公司|湖滨街道①号", "3: 㐂𬭎𠮷|镕喆"}
	for name, data := range map[string][]byte{
		"UTF-8":          []byte(table),
		"UTF-8 with BOM": []byte("\ufeff" + table),
		"UTF-16 LE":      utf16(t, unicode.LittleEndian, table),
		"UTF-16 BE":      utf16(t, unicode.BigEndian, table),
		"GB18030":        gb18030(t, table),
	} {
		got, err := readAll(data, tabular.Options{})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	gbk, err := simplifiedchinese.GBK.NewEncoder().Bytes([]byte("名称,备注\n石台县,镕\n"))
	if err != nil {
		t.Fatal(err)
	}
	expectRows(t, gbk, "1: 名称|备注", "2: 石台县|镕")

	// The classic: these GBK bytes are valid UTF-8.
	expectRows(t, gb18030(t, "a,b\n通,台\n"), "1: a|b", "2: 通|台")
	// Signs of Latin-1 in UTF-8 are no GBK.
	expectRows(t, []byte("t\n20°C ±1\n"), "1: t", "2: 20°C ±1")
	// GBK that only begins after much plain text, at every place relative to a buffer's end.
	for pad := range 4 {
		ascii := strings.Repeat("x", 64<<10-3+pad)
		for _, data := range [][]byte{gb18030(t, ascii+"\n石狮\n"), []byte(ascii + "\n石狮\n")} {
			got, err := readAll(data, tabular.Options{MaxCell: 1 << 20})
			if err != nil || len(got) != 2 || got[1] != "2: 石狮" {
				t.Errorf("pad %d: %.20q, %v", pad, got, err)
			}
		}
	}
}

func TestNeverGarbled(t *testing.T) {
	t.Parallel()
	chinese := strings.Repeat("石狮市湖滨街道企业,", 20)
	for name, c := range map[string]struct {
		data  []byte
		words string
	}{
		"damaged UTF-8":          {[]byte(chinese + "\xe7\x9f,\n"), "UTF-8 编码，但有"},
		"damaged UTF-8 with BOM": {[]byte("\ufeff企业\xff\n"), "UTF-8 编码，但有 1 处"},
		"not GB18030":            {[]byte("\xff\xff\xff,\xfe\xfe\n"), "编码"},
		"cut GB18030":            {gb18030(t, chinese+"石")[:len(gb18030(t, chinese))+1], "编码"},
		"lone surrogate":         {[]byte("\xff\xfe\x00\xd8a\x00\n\x00"), "编码"},
		"zero bytes":             {[]byte("a,b\x00\n"), "不是文字"},
	} {
		if rows, err := readAll(c.data, tabular.Options{}); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %q, %v", name, rows, err)
		}
	}
}

func TestForeignFilesAreRefused(t *testing.T) {
	t.Parallel()
	zipOf := func(name string) []byte {
		return pack(t, map[string]string{name: "x", "xl/workbook.xml": "", "_rels/.rels": ""})
	}
	archive := pack(t, map[string]string{"[Content_Types].xml": "", "安全台账.xlsx": "x"})
	for name, c := range map[string]struct {
		data  []byte
		words string
	}{
		"empty":    {nil, "空的"},
		"xls":      {[]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + strings.Repeat("\x00", 600)), "另存为 .xlsx"},
		"PDF":      {[]byte("%PDF-1.7\n%\xe2\xe3\xcf\xd3"), "PDF"},
		"JPEG":     {[]byte("\xff\xd8\xff\xe0\x00\x10JFIF"), "图片"},
		"PNG":      {[]byte("\x89PNG\r\n\x1a\n"), "图片"},
		"RAR":      {[]byte("Rar!\x1a\x07"), "压缩包"},
		"HTML xls": {[]byte("\ufeff\r\n<html xmlns:x=\"urn:schemas-microsoft-com:office:excel\"><table>"), "网页"},
		"XML xls":  {[]byte("<?xml version=\"1.0\"?><Workbook>"), "另存为 .xlsx"},
		"docx":     {zipOf("word/document.xml"), "Word"},
		"pptx":     {zipOf("ppt/presentation.xml"), "演示文稿"},
		"xlsb":     {zipOf("xl/workbook.bin"), ".xlsb"},
		"ods":      {zipOf("mimetype"), ".ods"},
		"zip":      {archive, "解压"},
		"program":  {[]byte("\x7fELF\x02\x01\x01\x00\x00"), "不是表格"},
	} {
		if _, err := open(c.data, tabular.Options{}); !errors.Is(err, tabular.ErrUnsupported) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Text that happens to begin like one of them is a table.
	expectRows(t, []byte("<10人,是\n"), "1: <10人|是")
}

func TestCSV(t *testing.T) {
	t.Parallel()
	cases := map[string][]string{
		"a,b\n1,2\n":                     {"1: a|b", "2: 1|2"},
		"a;b\n1,5;2\n1,6;3\n":            {"1: a|b", "2: 1,5|2", "3: 1,6|3"},
		"a\tb\n1\t2\n":                   {"1: a|b", "2: 1|2"},
		"台账\n名称,地址,\n甲,\"x,y\"\n":        {"1: 台账", "2: 名称|地址", "3: 甲|x,y"},
		"\n\na,b\n\n,,\n\n1,2":           {"3: a|b", "7: 1|2"}, // numbered as on the screen
		"a,\"1\n2\n3\",b\r\n\r\nc,d\r\n": {"1: a|1\n2\n3|b", "3: c|d"},
		"a,\"say \"\"hi\"\"\"\n":         {"1: a|say \"hi\""},
		"'=1+1,'+86,'普通,'',-5\n":         {"1: =1+1|+86|'普通|''|-5"},
		"one column\nonly\n":             {"1: one column", "2: only"},
		"\ufeff":                         nil,
		" \n":                            {"1:  "},
	}
	for in, want := range cases {
		got, err := readAll([]byte(in), tabular.Options{})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
	for in, format := range map[string]tabular.Format{"a,b\n": tabular.CSV, "a\tb\n": tabular.TSV} {
		if r, err := open([]byte(in), tabular.Options{}); err != nil || r.Format() != format {
			t.Errorf("%q: %v, %v", in, r.Format(), err)
		}
	}
}

func TestCSVErrors(t *testing.T) {
	t.Parallel()
	endless := "a,b\n1,\"" + strings.Repeat("没有收尾的引号\n", 500_000)
	for name, c := range map[string]struct {
		in    string
		opts  tabular.Options
		kind  error
		words string
		rows  int
	}{
		"bare quote":     {"a,b\n\n1,6\"管\n", tabular.Options{}, tabular.ErrDamaged, "第 3 行：双引号不成对", 1},
		"quote unclosed": {"a,b\n1,\"2\n", tabular.Options{}, tabular.ErrDamaged, "第 2 行：双引号不成对", 1},
		"quote endless":  {endless, tabular.Options{}, tabular.ErrTooLarge, "第 2 行：这一行过长", 1},
		"too many rows":  {"a\nb\n\nc\n", tabular.Options{MaxRows: 2}, tabular.ErrTooLarge, "2 行的上限", 2},
		"too many cells": {"a\na,b,,,\na,b,c\n", tabular.Options{MaxColumns: 2}, tabular.ErrTooLarge, "第 3 行：超过 2 列", 2},
		"cell too long":  {"a\na,石狮市\na,石狮市政\n", tabular.Options{MaxCell: 3}, tabular.ErrTooLarge, "第 3 行 B 列：内容超过 3 字", 2},
		"file too large": {strings.Repeat("a\n", 3<<19), tabular.Options{MaxBytes: 1 << 20}, tabular.ErrTooLarge, "3 MB，超过 1 MB", 0},
	} {
		rows, err := readAll([]byte(c.in), c.opts)
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) || len(rows) != c.rows {
			t.Errorf("%s: %d rows, %v", name, len(rows), err)
		}
	}
}

// What comes from excelize's two ways of writing, shared strings and inline strings, must read the same.
func TestXLSXFromExcelize(t *testing.T) {
	t.Parallel()
	shared := excelize.NewFile()
	defer shared.Close()
	styleOf := func(format string) int {
		id, err := shared.NewStyle(&excelize.Style{CustomNumFmt: &format})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	set := func(cell string, value any, format string) {
		t.Helper()
		err := shared.SetCellValue("Sheet1", cell, value)
		if err == nil && format != "" {
			err = shared.SetCellStyle("Sheet1", cell, cell, styleOf(format))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set("A1", "企业名称", "")
	set("C1", "企业名称", "")
	set("A3", " 石狮 & <鑫源>\n印染 ", "")
	set("B3", 13812345678, "")
	set("C3", 0.1+0.2, "0.0")
	set("D3", true, "")
	set("E3", 45293, "yyyy-mm-dd")
	set("F3", 45293.5, "yyyy/m/d h:mm")
	set("G3", 45293, `yyyy"年"m"月"d"日";@`)
	set("H3", 45293, "")
	set("I3", 0.75, "h:mm")
	set("J3", 1.5, "[h]:mm")
	set("K3", 1234, "000000")
	set("L3", 110105194912310021, "")
	set("M3", 0.5, "0%")
	set("N3", 1234.5, `¥#,##0.00;[Red]-¥#,##0.00`)
	set("O3", -3, "")
	if err := shared.SetCellFormula("Sheet1", "P3", "B3*2"); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := shared.Write(&buf); err != nil {
		t.Fatal(err)
	}
	_, err := readAll(buf.Bytes(), tabular.Options{})
	if !errors.Is(err, tabular.ErrDamaged) || !strings.Contains(err.Error(), "第 3 行 P 列：公式没有计算结果") {
		t.Errorf("formula without value: %v", err)
	}

	set("P3", nil, "")
	buf.Reset()
	if err := shared.Write(&buf); err != nil {
		t.Fatal(err)
	}
	expectRows(t, buf.Bytes(), "1: 企业名称||企业名称", "3:  石狮 & <鑫源>\n印染 |13812345678|0.3|TRUE|2024-01-02|2024-01-02 12:00:00|"+
		"2024-01-02|45293|18:00:00|1.5|001234|1.10105194912310E+17|0.5|1234.5|-3")

	inline := excelize.NewFile()
	defer inline.Close()
	stream, err := inline.NewStreamWriter("Sheet1")
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range [][]any{{"企业名称", "备注"}, {" 石狮 & <鑫源>\n印染 ", nil, "x_x000D_y"}} {
		if err := stream.SetRow(fmt.Sprintf("A%d", i+1), row); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.Flush(); err != nil {
		t.Fatal(err)
	}
	buf.Reset()
	if err := inline.Write(&buf); err != nil {
		t.Fatal(err)
	}
	expectRows(t, buf.Bytes(), "1: 企业名称|备注", "2:  石狮 & <鑫源>\n印染 ||x_x000D_y")
}

// Cells as Excel, WPS and export libraries save them.
func TestXLSXCells(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		`<row r="5"><c r="B5" t="s"><v>0</v></c><c r="D5" t="s"><v>1</v></c></row>`:                                                "5: |石狮|| 富文本 ",
		`<row><c t="s"><v>2</v></c><c><v>1</v></c></row>`:                                                                          "1: 行一\r行二|1", // no references
		`<x:row r="2"><x:c r="A2" t="str"><x:f>B2&amp;C2</x:f><x:v>甲乙</x:v></x:c></x:row>`:                                         "2: 甲乙",       // prefixed; cached formula
		`<row r="1"><c r="A1" t="str"><f>""</f><v></v></c><c r="B1"><v>1</v></c></row>`:                                            "1: |1",       // formula with empty result
		`<row r="1"><c r="A1"><f>1+1</f><v>2</v></c><c r="B1" t="e"><v>#N/A</v></c></row>`:                                         "1: 2|#N/A",
		`<row r="1"><c r="A1" t="inlineStr"><is><r><t>甲</t></r><r><t>乙</t></r></is></c></row>`:                                     "1: 甲乙",
		`<row r="1"><c r="A1" t="d"><v>2024-01-02T00:00:00</v></c><c r="B1" t="b"><v>0</v></c></row>`:                              "1: 2024-01-02|FALSE",
		`<row r="1"><c r="A1"><v>1.3812345678E10</v></c><c r="B1"><v>45293.0</v></c><c r="C1"><v>1.1000000000000001</v></c></row>`: "1: 13812345678|45293|1.1",
		`<row r="1"><c r="A1" s="1"><v>45293</v></c><c r="B1" s="2"><v>45293.999999</v></c><c r="C1" s="3"><v>1</v></c></row>`:     "1: 2024-01-02|2024-01-03|1900-01-01",
		`<row r="1"><c r="A1"><v>1</v></c></row><row r="2"><c r="A2" s="1"/></row><row r="9"/>`:                                    "1: 1", // formatted, empty
		`<row r="1"><c r="A1"><v>1</v></c><c r="XFD1" s="1"/></row>`:                                                               "1: 1",
		`<row r="1"><c r="A1" t="inlineStr"><is><t>a&#x4E2D;&amp;<![CDATA[<b>]]></t></is></c></row>`:                               "1: a中&<b>",
	}
	for rows, want := range cases {
		parts := sheet(rows)
		parts["xl/sharedStrings.xml"] = `<sst><si><t>石狮</t></si>
			<si><r><rPr><b/></rPr><t xml:space="preserve"> 富文</t></r><r><t xml:space="preserve">本 </t></r><rPh sb="0" eb="1"><t>フ</t></rPh></si>
			<si><t>行一_x000D_行二</t></si></sst>`
		parts["xl/styles.xml"] = `<styleSheet><numFmts><numFmt numFmtId="176" formatCode="yyyy\-mm\-dd;@"/></numFmts>
			<cellStyleXfs><xf numFmtId="0"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="176"/><xf numFmtId="31"/></cellXfs></styleSheet>`
		expectRows(t, pack(t, parts), want)
	}
	date1904 := sheet(`<row r="1"><c r="A1" s="0"><v>43831</v></c></row>`)
	date1904["xl/styles.xml"] = `<styleSheet><cellXfs><xf numFmtId="14"/></cellXfs></styleSheet>`
	date1904["xl/workbook.xml"] = `<workbook xmlns:r="x"><workbookPr date1904="1"/><sheets><sheet name="a" r:id="rId1"/></sheets></workbook>`
	expectRows(t, pack(t, date1904), "1: 2024-01-02")
}

func TestXLSXSheets(t *testing.T) {
	t.Parallel()
	parts := map[string]string{
		"xl/workbook.xml": `<workbook xmlns:r="x"><sheets><sheet name="字典" state="hidden" r:id="rId1"/>
			<sheet name="图" r:id="rId4"/><sheet name="填报" r:id="rId2"/><sheet name="说明" r:id="rId3"/></sheets></workbook>`,
		"xl/_rels/workbook.xml.rels": `<Relationships><Relationship Id="rId1" Type="t/worksheet" Target="worksheets/sheet1.xml"/>
			<Relationship Id="rId2" Type="t/worksheet" Target="/xl/Worksheets/Sheet2.xml"/><Relationship Id="rId3" Type="t/worksheet" Target="worksheets/sheet3.xml"/>
			<Relationship Id="rId4" Type="t/chartsheet" Target="chartsheets/sheet1.xml"/></Relationships>`,
	}
	for i := 1; i <= 3; i++ {
		parts[fmt.Sprintf("xl/worksheets/sheet%d.xml", i)] = fmt.Sprintf(`<worksheet><sheetData><row r="1"><c r="A1"><v>%d</v></c></row></sheetData></worksheet>`, i)
	}
	data := pack(t, parts)
	for name, want := range map[string]string{"": "1: 2", "填报": "1: 2", " 说明": "1: 3", "字典": "1: 1"} {
		r, err := open(data, tabular.Options{Sheet: name})
		if err != nil || !reflect.DeepEqual(r.Sheets(), []string{"填报", "说明"}) {
			t.Errorf("%q: %v, %v", name, r, err)
			continue
		}
		if rows, err := readAll(data, tabular.Options{Sheet: name}); err != nil || rows[0] != want || r.Format() != tabular.XLSX {
			t.Errorf("%q: %q %v", name, rows, err)
		}
	}
	if _, err := open(data, tabular.Options{Sheet: "台账"}); !errors.Is(err, tabular.ErrUnsupported) || !strings.Contains(err.Error(), "现有：填报、说明") {
		t.Errorf("unknown sheet: %v", err)
	}
	expectRows(t, pack(t, map[string]string{"xl/worksheets/sheet1.xml": `<worksheet><sheetData/></worksheet>`, "xl/styles.xml": ""}), []string(nil)...)
}

// A sheet that cannot be read to its end must say so: an import that stops early without a word loses enterprises.
func TestXLSXDamageIsNoticed(t *testing.T) {
	t.Parallel()
	const row = `<row r="1"><c r="A1"><v>1</v></c></row>`
	good := pack(t, sheet(strings.Repeat(row, 1000)))
	corrupt := bytes.Clone(good)
	at := bytes.Index(corrupt, []byte("xl/worksheets/sheet1.xml")) + len("xl/worksheets/sheet1.xml") + 40
	corrupt[at] ^= 0x55
	cases := map[string]struct {
		data  []byte
		words string
	}{
		"cut in the sheet":      {pack(t, map[string]string{"xl/worksheets/sheet1.xml": `<worksheet><sheetData>` + row + `<row r="2"><c`}), "第 2 行"},
		"cut between rows":      {pack(t, map[string]string{"xl/worksheets/sheet1.xml": `<worksheet><sheetData>` + row}), "读不出来"},
		"control character":     {pack(t, sheet(row+"<row r=\"2\"><c r=\"B2\" t=\"inlineStr\"><is><t>a\x0bb</t></is></c></row>")), "第 2 行 B 列"},
		"unknown entity":        {pack(t, sheet(row+`<row r="2"><c r="A2" t="inlineStr"><is><t>&lol;</t></is></c></row>`)), "第 2 行"},
		"shared string missing": {pack(t, sheet(`<row r="1"><c r="A1" t="s"><v>7</v></c></row>`)), "第 1 行 A 列"},
		"shared string wrong":   {pack(t, sheet(`<row r="1"><c r="A1" t="s"><v>-1</v></c></row>`)), "第 1 行 A 列"},
		"shared strings cut":    {pack(t, with(sheet(row), "xl/sharedStrings.xml", `<sst><si><t>x`)), "读不出来"},
		"no sheet part":         {pack(t, nil), "缺少部件"},
		"no workbook part":      {pack(t, with(sheet(row), "xl/workbook.xml", "")), "缺少部件"},
		"broken workbook":       {pack(t, with(sheet(row), "xl/workbook.xml", "<workbook><sheets>")), "读不出来"},
		"file cut":              {good[:len(good)-30], "不完整"},
		"bytes flipped":         {corrupt, ""},
	}
	for name, c := range cases {
		if rows, err := readAll(c.data, tabular.Options{}); !errors.Is(err, tabular.ErrDamaged) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %d rows, %v", name, len(rows), err)
		}
	}
	if _, err := readAll(pack(t, with(sheet(row), "xl/workbook.xml", "<workbook/>")), tabular.Options{}); !errors.Is(err, tabular.ErrUnsupported) {
		t.Errorf("no sheets: %v", err)
	}
}

func TestXLSXLimits(t *testing.T) {
	t.Parallel()
	cell := func(text string) string {
		return `<row r="1"><c r="A1" t="inlineStr"><is><t>` + text + `</t></is></c></row>`
	}
	many := sheet(cell("x"))
	for i := range 30 {
		many[fmt.Sprintf("xl/media/image%d.png", i)] = "x"
	}
	shared := sheet(`<row r="1"><c r="A1" t="s"><v>0</v></c></row>`)
	shared["xl/sharedStrings.xml"] = `<sst>` + strings.Repeat(`<si><t>石狮市湖滨街道</t></si>`, 1000) + `</sst>`
	for name, c := range map[string]struct {
		data  []byte
		opts  tabular.Options
		words string
	}{
		"parts":               {pack(t, many), tabular.Options{MaxEntries: 20}, "个部件"},
		"unpacked size":       {pack(t, sheet(cell(strings.Repeat("x", 5<<20)))), tabular.Options{MaxUnpacked: 4 << 20}, "展开后超过 4 MB"},
		"ratio":               {pack(t, sheet(cell(strings.Repeat("x", 20<<20)))), tabular.Options{}, "倍"},
		"shared strings":      {pack(t, shared), tabular.Options{MaxStrings: 10_000}, "文字超过"},
		"rows":                {pack(t, sheet(`<row r="1"><c><v>1</v></c></row><row r="4"><c><v>1</v></c></row>`)), tabular.Options{MaxRows: 1}, "1 行的上限"},
		"columns":             {pack(t, sheet(`<row r="7"><c r="A7"><v>1</v></c><c r="XFD7"><v>1</v></c></row>`)), tabular.Options{}, "第 7 行：超过 200 列"},
		"cell":                {pack(t, sheet(cell("石狮市政"))), tabular.Options{MaxCell: 3}, "第 1 行 A 列：内容超过 3 字"},
		"cell of megabytes":   {pack(t, sheet(cell(strings.Repeat("x", 8<<20)))), tabular.Options{}, "第 1 行 A 列：内容超过 32767 字"},
		"cell in many pieces": {pack(t, sheet(cell(strings.Repeat("<b/>xxxxxxxxxxxxxxxx", 1<<18)))), tabular.Options{}, "第 1 行 A 列：内容超过 32767 字"},
		"far column":          {pack(t, sheet(`<row r="1"><c r="ZZZZZZZZZZZZ1"><v>1</v></c></row>`)), tabular.Options{}, "超过 200 列"},
	} {
		if rows, err := readAll(c.data, c.opts); !errors.Is(err, tabular.ErrTooLarge) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %d rows, %v", name, len(rows), err)
		}
	}
}

// storeWithSize makes a zip file whose sheet claims another size than it has.
func storeWithSize(t *testing.T, parts map[string]string, claimed uint64) []byte {
	t.Helper()
	honest := pack(t, parts)
	in, err := zip.NewReader(bytes.NewReader(honest), int64(len(honest)))
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	out := zip.NewWriter(&buf)
	for _, f := range in.File {
		header := f.FileHeader
		if strings.Contains(f.Name, "sheet1") {
			header.UncompressedSize64 = claimed
			header.CRC32 = crc32.ChecksumIEEE(nil)
		}
		header.Flags &^= 8 // no data descriptor: the sizes stand in the header
		w, err := out.CreateRaw(&header)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := f.OpenRaw()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestXLSXLiesAboutItsSize(t *testing.T) {
	t.Parallel()
	rows := sheet(strings.Repeat(`<row><c><v>1</v></c></row>`, 400_000))
	for _, claimed := range []uint64{0, 1000, 1 << 62, 1<<64 - 1} {
		got, err := readAll(storeWithSize(t, rows, claimed), tabular.Options{MaxRows: 1_000_000})
		if err == nil || len(got) > 1000 {
			t.Errorf("claims %d bytes: %d rows, %v", claimed, len(got), err)
		}
	}
}

// archive/zip keeps all entries that it finds; the count in the file says nothing about how many that are.
func TestXLSXEndlessDirectory(t *testing.T) {
	t.Parallel()
	const entries = 65536 + 1
	var data []byte
	data = append(data, "PK\x03\x04"...)
	entry := append([]byte("PK\x01\x02"), make([]byte, 42+60)...)
	binary.LittleEndian.PutUint16(entry[28:], 60) // length of the name
	start := len(data)
	for range entries {
		data = append(data, entry...)
	}
	end := append([]byte("PK\x05\x06"), make([]byte, 18)...)
	binary.LittleEndian.PutUint16(end[8:], 1)
	binary.LittleEndian.PutUint16(end[10:], 1)
	binary.LittleEndian.PutUint32(end[12:], uint32(len(data)-start))
	binary.LittleEndian.PutUint32(end[16:], uint32(start))
	data = append(data, end...)
	if _, err := open(data, tabular.Options{}); !errors.Is(err, tabular.ErrTooLarge) || !strings.Contains(err.Error(), "部件过多") {
		t.Errorf("%v", err)
	}
}

func TestReadErrorsAreNotBlamedOnTheFile(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk is gone")
	data := []byte(strings.Repeat("a,b\n", 100_000))
	for _, after := range []int64{0, 1000, 70_000} {
		file := &failingReaderAt{bytes.NewReader(data), after, broken}
		if _, err := tabular.Open(file, int64(len(data)), tabular.Options{}); !errors.Is(err, broken) || errors.Is(err, tabular.ErrDamaged) {
			t.Errorf("failing after %d: %v", after, err)
		}
	}
}

type failingReaderAt struct {
	io.ReaderAt
	after int64
	err   error
}

func (f *failingReaderAt) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > f.after {
		return iotest.ErrReader(f.err).Read(p)
	}
	return f.ReaderAt.ReadAt(p, at)
}

func TestRowsGoOnAfterABreak(t *testing.T) {
	t.Parallel()
	data := []byte("a\nb\nc\n")
	r, err := open(data, tabular.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for range 4 {
		for row, err := range r.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, row.Cell(1)+row.Cell(2)+row.Cell(0))
			break
		}
	}
	if strings.Join(seen, "") != "abc" {
		t.Errorf("%q", seen)
	}
	if p := r.Progress(); p.Rows != 3 || p.Bytes != int64(len(data)) || p.Total != int64(len(data)) {
		t.Errorf("progress %+v", p)
	}
}

func TestProgressOfXLSX(t *testing.T) {
	t.Parallel()
	r, err := open(pack(t, sheet(strings.Repeat(`<row><c><v>1</v></c></row>`, 5000))), tabular.Options{})
	if err != nil {
		t.Fatal(err)
	}
	last := r.Progress()
	if last.Rows != 0 || last.Bytes != 0 || last.Total < 100_000 {
		t.Errorf("before: %+v", last)
	}
	for _, err := range r.Rows() {
		now := r.Progress()
		if err != nil || now.Rows != last.Rows+1 || now.Bytes < last.Bytes || now.Total != last.Total {
			t.Fatalf("%+v after %+v, %v", now, last, err)
		}
		last = now
	}
	if end := r.Progress(); end.Rows != 5000 || end.Bytes != end.Total {
		t.Errorf("after: %+v", end)
	}
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"2024-01-02": "2024-01-02", "2024/1/2": "2024-01-02", "2024.1.2": "2024-01-02", "2024年1月2日": "2024-01-02",
		"２０２４年１月２日": "2024-01-02", " 2024-01-02 ": "2024-01-02", "20240102": "2024-01-02", "45293": "2024-01-02",
		"45293.75": "2024-01-02", "2024-01-02 23:59:59": "2024-01-02", "2024-01-02T08:00:00+08:00": "2024-01-02",
		"2024/1/2 8:30": "2024-01-02", "2024-02-29": "2024-02-29", "2024年12月31": "2024-12-31", "36526": "2000-01-01",
	} {
		if got, err := tabular.ParseDate(in); err != nil || got.Format("2006-01-02") != want || got.Unix()%86400 != 0 {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "2024", "2024-02-30", "2023-02-29", "2024-13-01", "24-1-2", "1-2-2024", "2024年1月", "2024-01-021", "长期", "123456", "20241332", "00045293"} {
		if got, err := tabular.ParseDate(in); !errors.Is(err, tabular.ErrDate) || !strings.Contains(err.Error(), "2024-01-02") {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestColumnName(t *testing.T) {
	t.Parallel()
	for column, want := range map[int]string{1: "A", 26: "Z", 27: "AA", 28: "AB", 702: "ZZ", 703: "AAA", 16384: "XFD", 0: ""} {
		if got := tabular.ColumnName(column); got != want {
			t.Errorf("%d: %q", column, got)
		}
	}
}

func TestMain(m *testing.M) {
	// Anything left in the temporary directory is a leak.
	dir, err := os.MkdirTemp("", "tabular")
	if err != nil {
		panic(err)
	}
	os.Setenv("TMPDIR", dir)
	code := m.Run()
	if left, _ := os.ReadDir(dir); len(left) > 0 && code == 0 {
		fmt.Println("temporary files are left:", left)
		code = 1
	}
	os.RemoveAll(dir)
	os.Exit(code)
}
