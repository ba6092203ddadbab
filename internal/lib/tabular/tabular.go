// Package tabular reads rows out of table files that people upload, and writes tables for them to download.
//
// Reading trusts nothing: the kind of file is told from its content, an XLSX file is measured before it is unpacked,
// and every length is bounded. Nothing is lost in silence: a file that cannot be read to its end gives an error, and so
// do characters that cannot be decoded and formulas that were never computed. All errors are *Error with a Chinese text
// that says what to do.
//
// The sheet is streamed. Memory holds one row and, of an XLSX file, its shared strings (at most Options.MaxStrings).
// XLSX is read by this package itself and not by excelize, because excelize's row reader takes a broken sheet for one
// that ends there; writing is excelize's.
//
// Known weaknesses: a CSV file in Big5 or Shift-JIS is taken for GB18030; cells that Excel merged have their value in
// the first cell only.
package tabular

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync/atomic"
	"unicode/utf8"
)

// Why a file cannot be read, for errors.Is.
var (
	ErrUnsupported = errors.New("不是可以读取的表格文件")
	ErrTooLarge    = errors.New("表格超过上限")
	ErrDamaged     = errors.New("表格文件已损坏")
)

// Error says why a file was refused or reading stopped. Its text is Chinese and fit for the screen.
type Error struct {
	Row     int    // number of the row as the spreadsheet shows it, 0 when the whole file is meant
	Column  int    // 1-based, 0 when the whole row is meant
	Message string // what is wrong and what to do
	reason  error
	cause   error
}

func (e *Error) Error() string {
	switch {
	case e.Row > 0 && e.Column > 0:
		return fmt.Sprintf("第 %d 行 %s 列：%s", e.Row, ColumnName(e.Column), e.Message)
	case e.Row > 0:
		return fmt.Sprintf("第 %d 行：%s", e.Row, e.Message)
	}
	return e.Message
}

// Unwrap returns one of the Err… values of this package and, for the log, the technical cause if there is one.
func (e *Error) Unwrap() []error {
	if e.cause != nil {
		return []error{e.reason, e.cause}
	}
	return []error{e.reason}
}

func unsupported(message string) error { return &Error{Message: message, reason: ErrUnsupported} }

func tooLarge(format string, args ...any) *Error {
	return &Error{Message: fmt.Sprintf(format, args...), reason: ErrTooLarge}
}

func damaged(message string, cause error) *Error {
	return &Error{Message: message, reason: ErrDamaged, cause: cause}
}

// Options choose the sheet and set the bounds of reading. Zero values stand for the defaults given here.
type Options struct {
	Sheet       string // name of the sheet of an XLSX file; "" for the first visible one
	MaxBytes    int64  // of the file: 50 MiB
	MaxRows     int    // that are not empty: 200,000
	MaxColumns  int    // 200
	MaxCell     int    // characters of a cell: 32,767, as in Excel
	MaxEntries  int    // parts of an XLSX file: 2,000
	MaxUnpacked int64  // bytes of all parts of an XLSX file: 512 MiB
	MaxRatio    int64  // MaxUnpacked at most so many times the size of the file: 200
	MaxStrings  int64  // bytes of the shared strings of an XLSX file: 64 MiB
}

func (o Options) withDefaults() Options {
	return Options{
		Sheet:       o.Sheet,
		MaxBytes:    cmp.Or(o.MaxBytes, 50<<20),
		MaxRows:     cmp.Or(o.MaxRows, 200_000),
		MaxColumns:  cmp.Or(o.MaxColumns, 200),
		MaxCell:     cmp.Or(o.MaxCell, 32_767),
		MaxEntries:  cmp.Or(o.MaxEntries, 2_000),
		MaxUnpacked: cmp.Or(o.MaxUnpacked, 512<<20),
		MaxRatio:    cmp.Or(o.MaxRatio, 200),
		MaxStrings:  cmp.Or(o.MaxStrings, 64<<20),
	}
}

// Row is one row that is not empty.
type Row struct {
	Number int      // as the spreadsheet shows it, from 1, empty rows counted
	Cells  []string // without empty cells at the end; rows differ in length; the slice is the caller's
}

// Cell returns the cell of a 1-based column, "" beyond the end.
func (r Row) Cell(column int) string {
	if column < 1 || column > len(r.Cells) {
		return ""
	}
	return r.Cells[column-1]
}

// Format is the kind of a table file, told from its content.
type Format string

// The kinds of table files that can be read.
const (
	XLSX Format = "XLSX"
	CSV  Format = "CSV"
	TSV  Format = "TSV"
)

// Reader yields the rows of one table, once. It holds nothing but memory and need not be closed. Only Progress may be
// called while another goroutine reads.
type Reader struct {
	format Format
	sheet  string
	sheets []string
	source source
	opts   Options
	rows   atomic.Int64
	bytes  *atomic.Int64
	total  int64
	err    error
}

// source is the part of a reader that differs between kinds of files. next returns io.EOF at the end; empty rows may be
// left out, but are counted in the number.
type source interface {
	next() (Row, error)
}

// Open tells from the content what a file is and prepares to read it. The file must stay readable until the last row is
// read. A file that is not a table, too large or damaged gives an *Error.
func Open(file io.ReaderAt, size int64, opts Options) (*Reader, error) {
	opts = opts.withDefaults()
	if size <= 0 {
		return nil, unsupported("文件是空的")
	}
	if size > opts.MaxBytes {
		return nil, tooLarge("文件有 %d MB，超过 %d MB 的上限，请拆成几个文件分别上传", size>>20, opts.MaxBytes>>20)
	}
	head := make([]byte, min(size, 4096))
	if _, err := file.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read the head of a table: %w", err)
	}
	if err := refuseForeign(head); err != nil {
		return nil, err
	}
	if isZip(head) {
		return openXLSX(file, size, opts)
	}
	return openText(file, size, opts)
}

// Format returns the kind of the file.
func (r *Reader) Format() Format { return r.format }

// Sheet returns the name of the sheet that is read, "" for a text file.
func (r *Reader) Sheet() string { return r.sheet }

// Sheets returns the names of the visible sheets, none for a text file.
func (r *Reader) Sheets() []string { return r.sheets }

// Rows yields the rows in order. An error is the last thing that it yields. After a break, ranging again goes on with
// the next row.
func (r *Reader) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for {
			row, err := r.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

func (r *Reader) next() (Row, error) {
	for r.err == nil {
		row, err := r.source.next()
		if err == nil {
			row.Cells = trimEnd(row.Cells)
			if len(row.Cells) == 0 {
				continue
			}
			if err = r.check(row); err == nil {
				r.rows.Add(1)
				return row, nil
			}
		}
		r.err = err
	}
	return Row{}, r.err
}

func (r *Reader) check(row Row) error {
	if r.rows.Load() >= int64(r.opts.MaxRows) {
		return tooLarge("表格超过 %d 行的上限，请拆成几个文件分别上传", r.opts.MaxRows)
	}
	if len(row.Cells) > r.opts.MaxColumns {
		return tooManyColumns(row.Number, r.opts)
	}
	for i, cell := range row.Cells {
		if len(cell) > r.opts.MaxCell && utf8.RuneCountInString(cell) > r.opts.MaxCell {
			return &Error{row.Number, i + 1, fmt.Sprintf("内容超过 %d 字的上限", r.opts.MaxCell), ErrTooLarge, nil}
		}
	}
	return nil
}

func tooManyColumns(row int, opts Options) error {
	return &Error{Row: row, Message: fmt.Sprintf("超过 %d 列的上限，请删去多余的列", opts.MaxColumns), reason: ErrTooLarge}
}

func trimEnd(cells []string) []string {
	for len(cells) > 0 && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1]
	}
	return slices.Clip(cells)
}

// Progress tells how far reading has come.
type Progress struct {
	Rows  int64 // read so far
	Bytes int64 // read so far, of the sheet unpacked or of the text file
	Total int64 // bytes to read, the end not needing to be reached exactly
}

// Progress returns how far reading has come. It may be called from another goroutine at any time.
func (r *Reader) Progress() Progress {
	return Progress{Rows: r.rows.Load(), Bytes: r.bytes.Load(), Total: r.total}
}

// meter counts what is read through it, and bounds how much one piece (a token of XML, a record of CSV) may take, so
// that a piece without end stops before it fills the memory.
type meter struct {
	r     io.Reader
	count *atomic.Int64
	left  int64
}

// errPieceTooLong is what a meter returns when a piece is longer than its bound.
var errPieceTooLong = errors.New("a single piece of the table is too long")

func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, errPieceTooLong
	}
	n, err := m.r.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	m.count.Add(int64(n))
	return n, err
}
