package tabular_test

import (
	"errors"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"

	"anwang/internal/lib/tabular"
)

// FuzzOpen opens hostile files. With inside, the data is the sheet of an otherwise sound XLSX file, since mutated zip
// files seldom get past their checksums.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("企业名称,信用代码\r\n\"石狮\n市\",'=1\r\n"), false)
	f.Add([]byte("\ufeffa;b\n\n1;2\n"), false)
	f.Add(gb18030(f, "企业名称\t地址\n石狮市\t通\n"), false)
	f.Add(utf16(f, unicode.LittleEndian, "企业,地址\n"), false)
	f.Add(pack(f, sheet(`<row r="1"><c r="A1"><v>1</v></c></row>`)), false)
	f.Add(writeXLSX(f, "企业", 3, []any{"甲", 1}, []any{"乙"}, []any{"丙"}), false)
	f.Add([]byte("%PDF-1.7"), false)
	f.Add([]byte(`<worksheet><sheetData><row r="2"><c r="B2" t="s"><v>0</v></c><c s="1"><f>1</f><v>45293.5</v></c></row></sheetData></worksheet>`), true)
	f.Add([]byte(`<sheetData><row><c t="inlineStr"><is><r><t>a_x000D_</t></r><rPh><t>x</t></rPh></is></c><c r="ZZ1" t="d"><v>2024</v></c></row></sheetData>`), true)
	opts := tabular.Options{MaxRows: 50, MaxColumns: 10, MaxCell: 100, MaxUnpacked: 1 << 20, MaxStrings: 1 << 10}
	f.Fuzz(func(t *testing.T, data []byte, inside bool) {
		if inside {
			data = pack(t, map[string]string{
				"xl/worksheets/sheet1.xml": string(data) + " ",
				"xl/sharedStrings.xml":     `<sst><si><t>石狮</t></si></sst>`,
				"xl/styles.xml":            `<styleSheet><cellXfs><xf/><xf numFmtId="14"/></cellXfs></styleSheet>`,
			})
		}
		var refusal *tabular.Error
		r, err := open(data, opts)
		if err != nil {
			if !errors.As(err, &refusal) || !utf8.ValidString(err.Error()) {
				t.Fatalf("open: %v", err)
			}
			return
		}
		rows := 0
		for row, err := range r.Rows() {
			if err != nil {
				if !errors.As(err, &refusal) || !utf8.ValidString(err.Error()) {
					t.Fatalf("row %d: %v", row.Number, err)
				}
				break
			}
			rows++
			if row.Number < 1 || len(row.Cells) == 0 || len(row.Cells) > opts.MaxColumns || row.Cells[len(row.Cells)-1] == "" {
				t.Fatalf("row %d: %q", row.Number, row.Cells)
			}
			for _, cell := range row.Cells {
				if utf8.RuneCountInString(cell) > opts.MaxCell {
					t.Fatalf("row %d: a cell of %d characters", row.Number, utf8.RuneCountInString(cell))
				}
			}
		}
		if p := r.Progress(); rows > opts.MaxRows || p.Rows != int64(rows) || p.Bytes > p.Total {
			t.Fatalf("%d rows, progress %+v", rows, p)
		}
	})
}
