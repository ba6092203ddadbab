package tabular

import (
	"archive/zip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/xuri/excelize/v2"
)

// Kind says how the cells of a column are shown.
type Kind int

// The kinds of columns. Give codes and numbers of identity the kind Text: spreadsheets then leave their digits alone.
const (
	Text Kind = iota
	Number
	Date     // 2006-01-02
	DateTime // 2006-01-02 15:04:05
)

// Column describes a column to be written.
type Column struct {
	Title string
	Width float64 // in characters of the standard font; 0 takes it from the title
	Kind  Kind
}

func (c Column) width() float64 {
	if c.Width > 0 {
		return min(c.Width, excelize.MaxColumnWidth)
	}
	chinese := float64(len(c.Title)-len([]rune(c.Title))) / 2 // a Chinese character has three bytes and two widths
	return min(max(float64(len([]rune(c.Title)))+chinese+4, 12), 60)
}

// What an export cannot write.
var (
	errClosed  = errors.New("tabular: write after close")
	errTooWide = errors.New("tabular: more cells than columns")
)

// XLSXWriter streams rows into an XLSX file. Strings stay strings, whatever they begin with: no text becomes a formula.
// Rows go to a temporary file while they are many; Close writes the XLSX file out. Not for concurrent use.
type XLSXWriter struct {
	out       io.Writer
	file      *excelize.File
	stream    *excelize.StreamWriter
	sheet     string
	sheets    int
	columns   []Column
	styles    []int // of the columns
	heading   int   // style of the titles
	row       int   // rows written to the current sheet
	sheetRows int
	cells     []any
	failed    error
}

// NewXLSXWriter prepares a file with one sheet, whose first row holds the titles and stays in view. When a sheet is
// full (1,048,576 rows), the next goes on with the titles repeated. Characters that a sheet's name cannot have become
// underscores. The caller calls Close for the file, or Discard to give it up.
func NewXLSXWriter(w io.Writer, sheet string, columns []Column) (*XLSXWriter, error) {
	if len(columns) == 0 || len(columns) > excelize.MaxColumns {
		return nil, fmt.Errorf("tabular: %d columns", len(columns))
	}
	x := &XLSXWriter{
		out: w, file: excelize.NewFile(), sheet: sheetName(sheet), columns: columns,
		styles: make([]int, len(columns)), sheetRows: excelize.TotalRows, cells: make([]any, len(columns)),
	}
	if err := x.prepare(); err != nil {
		x.Discard()
		return nil, err
	}
	return x, nil
}

func (x *XLSXWriter) prepare() error {
	// The zip goes straight to the destination; excelize would first build it in memory.
	x.file.SetZipWriter(func(io.Writer) excelize.ZipWriter { return zip.NewWriter(x.out) })

	line := []excelize.Border{{Type: "bottom", Color: "8EA9DB", Style: 1}}
	var err error
	x.heading, err = x.file.NewStyle(&excelize.Style{
		Font:      &excelize.Font{Bold: true},
		Fill:      excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{"DDEBF7"}},
		Alignment: &excelize.Alignment{Horizontal: "center", Vertical: "center", WrapText: true},
		Border:    line,
	})
	if err != nil {
		return fmt.Errorf("style of titles: %w", err)
	}
	day, second := "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"
	styles := [...]excelize.Style{Text: {NumFmt: 49}, Number: {}, Date: {CustomNumFmt: &day}, DateTime: {CustomNumFmt: &second}}
	for i, c := range x.columns {
		if x.styles[i], err = x.file.NewStyle(&styles[c.Kind]); err != nil {
			return fmt.Errorf("style of column %q: %w", c.Title, err)
		}
	}
	return x.nextSheet()
}

// nextSheet begins the first or a further sheet.
func (x *XLSXWriter) nextSheet() error {
	x.sheets++
	name := x.sheet
	var err error
	if x.sheets == 1 {
		err = x.file.SetSheetName("Sheet1", name)
	} else {
		suffix := fmt.Sprintf("(%d)", x.sheets)
		name = cutUTF16(name, excelize.MaxSheetNameLength-len(suffix)) + suffix
		if err = x.stream.Flush(); err == nil {
			_, err = x.file.NewSheet(name)
		}
	}
	if err != nil {
		return fmt.Errorf("sheet %q: %w", name, err)
	}
	if x.stream, err = x.file.NewStreamWriter(name); err != nil {
		return fmt.Errorf("sheet %q: %w", name, err)
	}
	if err := x.stream.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}); err != nil {
		return fmt.Errorf("freeze titles: %w", err)
	}
	titles := make([]any, len(x.columns))
	for i, c := range x.columns {
		if err := x.stream.SetColWidth(i+1, i+1, c.width()); err != nil {
			return fmt.Errorf("width of column %q: %w", c.Title, err)
		}
		titles[i] = excelize.Cell{StyleID: x.heading, Value: text(c.Title)}
	}
	x.row = 1
	if err := x.stream.SetRow("A1", titles); err != nil {
		return fmt.Errorf("titles: %w", err)
	}
	return nil
}

// Write adds a row: strings, numbers, bools (是, 否), times, and nil for an empty cell; anything else is written as its
// text. Fewer cells than columns leave the rest empty, more are an error. A time is written by its own clock: put it
// into the zone of the screen before. A text longer than a cell may be is cut, and says so.
func (x *XLSXWriter) Write(cells ...any) error {
	if x.failed != nil {
		return x.failed
	}
	if len(cells) > len(x.columns) {
		return errTooWide
	}
	if x.row == x.sheetRows {
		if err := x.nextSheet(); err != nil {
			x.failed = err
			return err
		}
	}
	x.row++
	for i, cell := range cells {
		switch v := plain(cell).(type) {
		case nil:
			x.cells[i] = nil
		case string:
			x.cells[i] = excelize.Cell{StyleID: x.styles[i], Value: text(v)}
		case time.Time:
			if x.columns[i].Kind == Date {
				v = time.Date(v.Year(), v.Month(), v.Day(), 0, 0, 0, 0, v.Location())
			}
			x.cells[i] = excelize.Cell{StyleID: x.styles[i], Value: v}
		default:
			x.cells[i] = excelize.Cell{StyleID: x.styles[i], Value: v}
		}
	}
	if err := x.stream.SetRow("A"+strconv.Itoa(x.row), x.cells[:len(cells)]); err != nil {
		x.failed = fmt.Errorf("row %d: %w", x.row, err)
		return x.failed
	}
	return nil
}

// Close writes the file out and releases the temporary files. It does not close the destination. After an error, and
// after Discard, nothing useful has been written.
func (x *XLSXWriter) Close() error {
	defer x.Discard()
	if x.failed != nil {
		return x.failed
	}
	if err := x.stream.Flush(); err != nil {
		return fmt.Errorf("finish sheet: %w", err)
	}
	if err := x.file.Write(x.out); err != nil {
		return fmt.Errorf("write xlsx: %w", err)
	}
	return nil
}

// Discard releases the temporary files without writing the file. After Close it does nothing, so that it can be deferred.
func (x *XLSXWriter) Discard() {
	if x.file != nil {
		_ = x.file.Close() // nothing but temporary files are left to go wrong
		x.file = nil
	}
	if x.failed == nil {
		x.failed = errClosed
	}
}

var sheetNoise = strings.NewReplacer(":", "_", `\`, "_", "/", "_", "?", "_", "*", "_", "[", "_", "]", "_", "'", "_", "：", "_", "＼", "_", "／", "_", "？", "_", "＊", "_", "［", "_", "］", "_")

func sheetName(name string) string {
	if name = cutUTF16(sheetNoise.Replace(strings.TrimSpace(name)), excelize.MaxSheetNameLength); name == "" {
		return "Sheet1"
	}
	return name
}

const cutMark = "……（超出单元格上限，已截断）"

// text cuts what a cell cannot hold.
func text(s string) string {
	if len(s) <= excelize.TotalCellChars { // no text has more UTF-16 units than bytes
		return s
	}
	if cut := cutUTF16(s, excelize.TotalCellChars); len(cut) < len(s) {
		return cutUTF16(s, excelize.TotalCellChars-len([]rune(cutMark))) + cutMark
	}
	return s
}

// cutUTF16 cuts a text to so many UTF-16 units, by which spreadsheets count.
func cutUTF16(s string, units int) string {
	for i, r := range s {
		if units -= utf16.RuneLen(r); units < 0 {
			return s[:i]
		}
	}
	return s
}

// plain brings a cell to string, an integer or float type, time.Time or nil.
func plain(cell any) any {
	switch v := cell.(type) {
	case nil, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64:
		return v
	case string:
		if v == "" {
			return nil
		}
		return v
	case bool:
		if v {
			return "是"
		}
		return "否"
	case time.Time:
		if v.IsZero() {
			return nil
		}
		return v
	}
	return fmt.Sprint(cell)
}

// CSVWriter writes a CSV file as Excel in China opens it without garbling: UTF-8 with byte order mark, lines ended by
// CR LF. Not for concurrent use.
type CSVWriter struct {
	csv     *csv.Writer
	columns []Column
	record  []string
}

// NewCSVWriter writes the byte order mark and the titles.
func NewCSVWriter(w io.Writer, columns []Column) (*CSVWriter, error) {
	if _, err := io.WriteString(w, "\ufeff"); err != nil {
		return nil, fmt.Errorf("write csv: %w", err)
	}
	c := &CSVWriter{csv.NewWriter(w), columns, make([]string, len(columns))}
	c.csv.UseCRLF = true
	titles := make([]any, len(columns))
	for i, column := range columns {
		titles[i] = column.Title
	}
	return c, c.Write(titles...)
}

// Write adds a row, see [XLSXWriter.Write]; times in a column of kind Date are written as days. A text that a
// spreadsheet would run as a formula gets an apostrophe in front, which [Reader] takes off again; numbers do not.
func (c *CSVWriter) Write(cells ...any) error {
	if len(cells) > len(c.columns) {
		return errTooWide
	}
	clear(c.record)
	for i, cell := range cells {
		switch v := plain(cell).(type) {
		case nil:
		case string:
			c.record[i] = guard(v)
		case float64:
			c.record[i] = strconv.FormatFloat(v, 'f', -1, 64)
		case float32:
			c.record[i] = strconv.FormatFloat(float64(v), 'f', -1, 32)
		case time.Time:
			layout := "2006-01-02 15:04:05"
			if c.columns[i].Kind == Date {
				layout = "2006-01-02"
			}
			c.record[i] = v.Format(layout)
		default:
			c.record[i] = fmt.Sprint(v)
		}
	}
	if err := c.csv.Write(c.record); err != nil {
		return fmt.Errorf("write csv: %w", err)
	}
	return nil
}

// Close writes out what is buffered. It does not close the destination.
func (c *CSVWriter) Close() error {
	c.csv.Flush()
	if err := c.csv.Error(); err != nil {
		return fmt.Errorf("write csv: %w", err)
	}
	return nil
}

// dangerous reports whether a spreadsheet may take a text for a formula: by its first character, full-width ones
// included, or after apostrophes that would be taken off.
func dangerous(s string) bool {
	s = strings.TrimLeft(s, "'")
	return s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(s[:min(len(s), 4)])[0])
}

// guard puts an apostrophe before a dangerous text; unguard takes it off. unguard(guard(s)) is s for every s.
func guard(s string) string {
	if dangerous(s) {
		return "'" + s
	}
	return s
}

func unguard(s string) string {
	if strings.HasPrefix(s, "'") && dangerous(s) {
		return s[1:]
	}
	return s
}
