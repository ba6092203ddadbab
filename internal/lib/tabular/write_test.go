package tabular_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"

	"anwang/internal/lib/tabular"
)

var columns = []tabular.Column{
	{Title: "企业名称*", Width: 30}, {Title: "数量", Kind: tabular.Number}, {Title: "日期", Kind: tabular.Date}, {Title: "时间", Kind: tabular.DateTime},
}

// formulas are texts that a spreadsheet would run if they were let in.
var formulas = []string{`=1+1`, `=HYPERLINK("http://x","y")`, `+86 595`, `-5`, `@SUM(A1)`, "\t=1", `＝1+1`, `＋1`, `－1`, `＠x`, `'=1`, `''+1`, `=cmd|'/c calc'!A1`}

func writeXLSX(t testing.TB, sheet string, sheetRows int, rows ...[]any) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := tabular.NewXLSXWriter(&buf, sheet, columns)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Discard()
	w.SetSheetRows(sheetRows)
	for _, row := range rows {
		if err := w.Write(row...); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestXLSXWriterReadsBack(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 1, 2, 15, 4, 5, 0, time.FixedZone("Asia/Shanghai", 8*3600))
	data := writeXLSX(t, "企业", 100,
		[]any{" 石狮 & <鑫源>\n\"印染\"", 1234.5, at, at},
		[]any{"91350100M000100Y43", int64(42), at},
		[]any{},
		[]any{nil, nil, time.Time{}, ""},
		[]any{"_x000D_", uint8(7), nil, at},
		[]any{true, float32(0.1)},
	)
	expectRows(t, data,
		"1: 企业名称*|数量|日期|时间",
		"2:  石狮 & <鑫源>\n\"印染\"|1234.5|2024-01-02|2024-01-02 15:04:05",
		"3: 91350100M000100Y43|42|2024-01-02",
		"6: _x000D_|7||2024-01-02 15:04:05",
		"7: 是|0.1",
	)
}

func TestXLSXWriterLooks(t *testing.T) {
	t.Parallel()
	f, err := excelize.OpenReader(bytes.NewReader(writeXLSX(t, "企业", 100, []any{"甲", 1})))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if panes, err := f.GetPanes("企业"); err != nil || !panes.Freeze || panes.YSplit != 1 {
		t.Errorf("panes %+v, %v", panes, err)
	}
	for column, want := range map[string]float64{"A": 30, "B": 12} {
		if width, err := f.GetColWidth("企业", column); err != nil || width != want {
			t.Errorf("width of %s: %f, %v", column, width, err)
		}
	}
	id, err := f.GetCellStyle("企业", "A1")
	if err != nil {
		t.Fatal(err)
	}
	if style, err := f.GetStyle(id); err != nil || style.Font == nil || !style.Font.Bold {
		t.Errorf("title style %+v, %v", style, err)
	}
	id, err = f.GetCellStyle("企业", "A2")
	if err != nil {
		t.Fatal(err)
	}
	if style, err := f.GetStyle(id); err != nil || style.NumFmt != 49 { // 49 is @, text
		t.Errorf("text style %+v, %v", style, err)
	}
}

func TestXLSXWriterKeepsFormulasText(t *testing.T) {
	t.Parallel()
	var rows [][]any
	for _, s := range formulas {
		rows = append(rows, []any{s, s})
	}
	data := writeXLSX(t, "=1", 100, rows...)
	f, err := excelize.OpenReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, want := range formulas {
		for _, column := range "AB" {
			cell := fmt.Sprintf("%c%d", column, i+2)
			formula, err := f.GetCellFormula("=1", cell)
			kind, err2 := f.GetCellType("=1", cell)
			value, err3 := f.GetCellValue("=1", cell)
			if formula != "" || value != want || kind != excelize.CellTypeInlineString || errors.Join(err, err2, err3) != nil {
				t.Errorf("%s %q: formula %q, type %v, value %q, %v", cell, want, formula, kind, value, errors.Join(err, err2, err3))
			}
		}
	}
}

func TestXLSXWriterFillsFurtherSheets(t *testing.T) {
	t.Parallel()
	var rows [][]any
	for i := range 7 {
		rows = append(rows, []any{fmt.Sprint("企业", i)})
	}
	name := strings.Repeat("名", 40)
	data := writeXLSX(t, name, 4, rows...) // titles and three rows a sheet
	r, err := open(data, tabular.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{strings.Repeat("名", 31), strings.Repeat("名", 28) + "(2)", strings.Repeat("名", 28) + "(3)"}
	if !reflect.DeepEqual(r.Sheets(), want) {
		t.Fatalf("sheets %q", r.Sheets())
	}
	next := 0
	for _, sheet := range want {
		got, err := readAll(data, tabular.Options{Sheet: sheet})
		if err != nil || len(got) < 2 || got[0] != "1: 企业名称*|数量|日期|时间" {
			t.Fatalf("%s: %q, %v", sheet, got, err)
		}
		for i, row := range got[1:] {
			if row != fmt.Sprintf("%d: 企业%d", i+2, next) {
				t.Errorf("%s: %q, want 企业%d", sheet, row, next)
			}
			next++
		}
	}
	if next != 7 {
		t.Errorf("%d rows in all", next)
	}
}

func TestXLSXWriterSheetNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "Sheet1", " ": "Sheet1", "2024/01 [a]:*?\\'": "2024_01 _a______", "Sheet1": "Sheet1", "𠮷" + strings.Repeat("a", 40): "𠮷" + strings.Repeat("a", 29)} {
		r, err := open(writeXLSX(t, in, 100), tabular.Options{})
		if err != nil || r.Sheet() != want {
			t.Errorf("%q: %q, %v", in, r.Sheet(), err)
		}
	}
}

func TestXLSXWriterCutsLongTexts(t *testing.T) {
	t.Parallel()
	long, fits := strings.Repeat("隐患", 20_000), strings.Repeat("患", 32_767)
	f, err := excelize.OpenReader(bytes.NewReader(writeXLSX(t, "a", 100, []any{long}, []any{fits})))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cut, err := f.GetCellValue("a", "A2")
	if err != nil || utf8.RuneCountInString(cut) != 32_767 || !strings.HasSuffix(cut, "已截断）") || !strings.HasPrefix(cut, long[:90_000]) {
		t.Errorf("%d characters, %v", utf8.RuneCountInString(cut), err)
	}
	if whole, err := f.GetCellValue("a", "A3"); err != nil || whole != fits {
		t.Errorf("%d characters, %v", utf8.RuneCountInString(whole), err)
	}
}

func TestXLSXWriterErrors(t *testing.T) {
	t.Parallel()
	if _, err := tabular.NewXLSXWriter(io.Discard, "a", nil); err == nil {
		t.Error("a table without columns")
	}
	w, err := tabular.NewXLSXWriter(io.Discard, "a", columns)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(1, 2, 3, 4, 5); err == nil {
		t.Error("five cells in four columns")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if w.Write("a") == nil || w.Close() == nil {
		t.Error("written after close")
	}
	w.Discard()

	broken := errors.New("connection is gone")
	if w, err = tabular.NewXLSXWriter(brokenWriter{broken}, "a", columns); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("close into a broken connection: %v", err)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// Many rows spill into a temporary file; TestMain notices if it stays.
func TestXLSXWriterSpills(t *testing.T) {
	t.Parallel()
	row := []any{strings.Repeat("长", 3000)}
	for _, finish := range []func(*tabular.XLSXWriter) error{(*tabular.XLSXWriter).Close, func(w *tabular.XLSXWriter) error { w.Discard(); return nil }} {
		var buf bytes.Buffer
		w, err := tabular.NewXLSXWriter(&buf, "a", columns)
		if err != nil {
			t.Fatal(err)
		}
		for range 4000 {
			if err := w.Write(row...); err != nil {
				t.Fatal(err)
			}
		}
		if err := finish(w); err != nil {
			t.Fatal(err)
		}
		if buf.Len() == 0 {
			continue
		}
		archive, err := zip.NewReader(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
		if err != nil || len(archive.File) < 5 {
			t.Errorf("%v", err)
		}
		if rows, err := readAll(buf.Bytes(), tabular.Options{MaxRatio: 10_000}); err != nil || len(rows) != 4001 {
			t.Errorf("%d rows, %v", len(rows), err)
		}
	}
}

func writeCSV(t testing.TB, rows ...[]any) string {
	t.Helper()
	var buf bytes.Buffer
	w, err := tabular.NewCSVWriter(&buf, columns)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if err := w.Write(row...); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func TestCSVWriter(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 1, 2, 15, 4, 5, 0, time.UTC)
	got := writeCSV(t, []any{`石狮,"鑫源"`, 1234.5, at, at}, []any{"=1+1", -5, nil, true}, []any{"行一\n行二"})
	want := "\ufeff企业名称*,数量,日期,时间\r\n\"石狮,\"\"鑫源\"\"\",1234.5,2024-01-02,2024-01-02 15:04:05\r\n'=1+1,-5,,是\r\n\"行一\r\n行二\",,,\r\n"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	w, err := tabular.NewCSVWriter(io.Discard, columns)
	if err != nil || w.Write(1, 2, 3, 4, 5) == nil {
		t.Errorf("five cells in four columns: %v", err)
	}
	if _, err := tabular.NewCSVWriter(brokenWriter{io.ErrClosedPipe}, columns); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("broken destination: %v", err)
	}
}

func TestCSVInjection(t *testing.T) {
	t.Parallel()
	for _, s := range append(formulas, "\r=1", "\n=1") {
		line := strings.TrimPrefix(strings.SplitN(writeCSV(t, []any{s}), "\r\n", 2)[1], `"`)
		if !strings.HasPrefix(line, "'") {
			t.Errorf("%q is written as %q", s, line)
		}
	}
	for _, s := range []string{"石狮", "1-2", "a=b", "'引号'", ""} {
		if line := strings.SplitN(writeCSV(t, []any{s}), "\r\n", 3)[1]; line != s+",,," {
			t.Errorf("%q is written as %q", s, line)
		}
	}
}

// What the CSV writer writes, the reader reads.
func TestCSVReadsBack(t *testing.T) {
	t.Parallel()
	alphabet := []rune("=+-@'\"＝,;\t\n 石狮a1")
	back := func(picks []uint8) bool {
		var b strings.Builder
		b.WriteString("x") // a first cell that is never empty
		for _, p := range picks {
			b.WriteRune(alphabet[int(p)%len(alphabet)])
		}
		for _, s := range []string{b.String(), b.String()[1:] + "x"} {
			r, err := open([]byte(writeCSV(t, []any{s, "y"})), tabular.Options{})
			if err != nil {
				return false
			}
			var last tabular.Row
			for row, err := range r.Rows() {
				if err != nil {
					return false
				}
				last = row
			}
			if last.Cell(1) != s || last.Cell(2) != "y" {
				t.Logf("%q came back as %q", s, last.Cells)
				return false
			}
		}
		return true
	}
	if err := quick.Check(back, &quick.Config{MaxCount: 500}); err != nil {
		t.Error(err)
	}
}
