package tabular_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"anwang/internal/lib/gbcode"
	"anwang/internal/lib/tabular"
)

const benchRows, benchColumns = 100_000, 15

// enterprise is a row as an enterprise ledger has it: codes, names, numbers, dates.
func enterprise(i int) []any {
	uscc, _ := gbcode.USCCWithCheck(fmt.Sprintf("91350581MA%07d", i))
	day := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, i%2000)
	return []any{
		fmt.Sprintf("石狮市鑫源印染有限公司第%d分公司", i), uscc, "C1752", "湖滨街道", fmt.Sprintf("福建省石狮市湖滨街道工业路%d号", i%900),
		"张三", "13812345678", i % 500, float64(i%1000) / 7, day, day, "118.648500", "24.731600", "是", "一般工贸",
	}
}

// benchFile makes a file of 100,000 rows, with inline strings as excelize's stream writer does, or with shared strings
// as Excel and WPS do.
func benchFile(b *testing.B, shared bool) []byte {
	b.Helper()
	var buf bytes.Buffer
	if !shared {
		columns := make([]tabular.Column, benchColumns)
		for i := range columns {
			columns[i].Title = fmt.Sprint("列", i)
		}
		columns[9].Kind, columns[10].Kind = tabular.Date, tabular.Date
		w, err := tabular.NewXLSXWriter(&buf, "企业", columns)
		if err != nil {
			b.Fatal(err)
		}
		for i := range benchRows {
			if err := w.Write(enterprise(i)...); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		return buf.Bytes()
	}
	f := excelize.NewFile()
	defer f.Close()
	for i := range benchRows {
		row := enterprise(i)
		if err := f.SetSheetRow("Sheet1", fmt.Sprintf("A%d", i+1), &row); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Write(&buf); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}

// measure runs read over and over and reports rows a second and the peak of the heap while reading.
func measure(b *testing.B, data []byte, read func() int) {
	b.Helper()
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	peak, stop, done := uint64(0), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapInuse)
			}
		}
	}()
	rows := 0
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		rows += read()
	}
	b.StopTimer()
	close(stop)
	<-done
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(max(peak, before.HeapInuse)-before.HeapInuse)/(1<<20), "peak-MiB")
	b.ReportMetric(float64(len(data))/(1<<20), "file-MiB")
}

func readRows(b *testing.B, data []byte) int {
	r, err := open(data, tabular.Options{MaxBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for row, err := range r.Rows() {
		if err != nil || len(row.Cells) != benchColumns {
			b.Fatal(row, err)
		}
		n++
	}
	return n
}

func BenchmarkReadXLSX(b *testing.B) {
	for _, shared := range []bool{false, true} {
		name := map[bool]string{false: "inline", true: "shared"}[shared]
		b.Run(name, func(b *testing.B) {
			data := benchFile(b, shared)
			measure(b, data, func() int { return readRows(b, data) })
		})
		b.Run(name+"/excelize", func(b *testing.B) {
			data := benchFile(b, shared)
			measure(b, data, func() int {
				f, err := excelize.OpenReader(bytes.NewReader(data), excelize.Options{RawCellValue: true})
				if err != nil {
					b.Fatal(err)
				}
				defer f.Close()
				rows, err := f.Rows(f.GetSheetName(0))
				if err != nil {
					b.Fatal(err)
				}
				defer rows.Close()
				n := 0
				for rows.Next() {
					if _, err := rows.Columns(); err != nil {
						b.Fatal(err)
					}
					n++
				}
				return n
			})
		})
	}
}

func BenchmarkReadCSV(b *testing.B) {
	var text strings.Builder
	for i := range benchRows {
		for j, cell := range enterprise(i) {
			if j > 0 {
				text.WriteByte(',')
			}
			fmt.Fprint(&text, cell)
		}
		text.WriteString("\r\n")
	}
	for name, data := range map[string][]byte{"utf8": []byte(text.String()), "gb18030": gb18030(b, text.String())} {
		b.Run(name, func(b *testing.B) { measure(b, data, func() int { return readRows(b, data) }) })
	}
}

func BenchmarkWriteXLSX(b *testing.B) {
	columns := make([]tabular.Column, benchColumns)
	rows := make([][]any, 1000)
	for i := range rows {
		rows[i] = enterprise(i)
	}
	measure(b, nil, func() int {
		w, err := tabular.NewXLSXWriter(io.Discard, "企业", columns)
		if err != nil {
			b.Fatal(err)
		}
		for i := range benchRows {
			if err := w.Write(rows[i%len(rows)]...); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		return benchRows
	})
}
