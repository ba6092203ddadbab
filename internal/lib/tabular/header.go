package tabular

import (
	"fmt"
	"slices"
	"strings"
)

// Field is a column that an import knows.
type Field struct {
	Key      string   // by which the program asks for it
	Title    string   // as templates name it
	Aliases  []string // other titles that are met
	Required bool     // whether the column must be there; cells may still be empty
}

// Header maps the columns of a table to fields.
type Header struct {
	Row     int      // number of the row with the titles
	Unknown []string // titles that match no field, to be shown as a warning
	columns map[string]int
}

// HeaderError says, all at once, why no row serves as header. Its text is Chinese and fit for the screen.
type HeaderError struct {
	Sheet      string   // name of the sheet, "" for a text file
	Row        int      // number of the row that comes closest, 0 when none has any known title
	Missing    []string // titles of required fields that are not there
	Duplicated []string // titles that stand over several columns, with the columns' letters
}

func (e *HeaderError) Error() string {
	where, faults := "前几行中没有找到表头：", []string(nil)
	if e.Row > 0 {
		where = fmt.Sprintf("第 %d 行的表头：", e.Row)
	}
	if e.Sheet != "" {
		where = fmt.Sprintf("工作表“%s”", e.Sheet) + where
	}
	if len(e.Missing) > 0 {
		faults = append(faults, "缺少列 "+strings.Join(e.Missing, "、"))
	}
	if len(e.Duplicated) > 0 {
		faults = append(faults, "列重复 "+strings.Join(e.Duplicated, "、"))
	}
	return where + strings.Join(faults, "；") + "。请对照模板修改表头后再上传"
}

// Unwrap returns ErrUnsupported.
func (e *HeaderError) Unwrap() error { return ErrUnsupported }

// headerWithin is how many rows may stand above the header: the name of the table, the unit that fills it in, notes.
const headerWithin = 10

// Header reads rows up to the one that holds the titles: the first that has all required fields and at least one. It
// looks at ten rows. Ranging over Rows then yields the rows below. Titles are compared without spaces, width, case,
// asterisks and marks like （必填）. If no row will do, or one that would has a field twice, the error is a *HeaderError;
// what stops reading gives an *Error.
func (r *Reader) Header(fields []Field) (*Header, error) {
	closest, most := &HeaderError{Sheet: r.sheet, Missing: requiredTitles(fields)}, 0
	seen := 0
	for row, err := range r.Rows() {
		if err != nil {
			return nil, err
		}
		header, problem := matchHeader(fields, row)
		found := len(header.columns)
		if found > 0 && len(problem.Missing) == 0 {
			if len(problem.Duplicated) == 0 {
				return header, nil
			}
			problem.Sheet = r.sheet
			return nil, problem
		}
		if found > most {
			closest, most = problem, found
			closest.Sheet = r.sheet
		}
		if seen++; seen == headerWithin {
			break
		}
	}
	return nil, closest
}

func requiredTitles(fields []Field) []string {
	var titles []string
	for _, f := range fields {
		if f.Required {
			titles = append(titles, f.Title)
		}
	}
	return titles
}

func matchHeader(fields []Field, row Row) (*Header, *HeaderError) {
	byTitle := map[string]Field{}
	for _, f := range slices.Backward(fields) { // of two fields with one title the first wins
		for _, title := range append([]string{f.Title}, f.Aliases...) {
			byTitle[titleKey(title)] = f
		}
	}
	header := &Header{Row: row.Number, columns: map[string]int{}}
	problem := &HeaderError{Row: row.Number}
	places := map[string][]string{}
	for i, cell := range row.Cells {
		title := titleKey(cell)
		field, known := byTitle[title]
		switch {
		case title == "":
		case !known:
			header.Unknown = append(header.Unknown, strings.TrimSpace(cell))
		default:
			places[field.Key] = append(places[field.Key], ColumnName(i+1))
			if header.columns[field.Key] == 0 {
				header.columns[field.Key] = i + 1
			}
		}
	}
	for _, f := range fields {
		switch n := len(places[f.Key]); {
		case n == 0 && f.Required:
			problem.Missing = append(problem.Missing, f.Title)
		case n > 1:
			problem.Duplicated = append(problem.Duplicated, fmt.Sprintf("%s（%s 列）", f.Title, strings.Join(places[f.Key], "、")))
		}
	}
	return header, problem
}

var titleNoise = strings.NewReplacer(" ", "", "*", "", ":", "", "(必填)", "", "(选填)", "", "[必填]", "", "[选填]", "", "【必填】", "", "【选填】", "")

func titleKey(title string) string { return strings.ToLower(titleNoise.Replace(halfWidth(title))) }

// Has reports whether the table has the column.
func (h *Header) Has(key string) bool { return h.columns[key] > 0 }

// Column returns the letters of a field's column for messages, "" if the table does not have it.
func (h *Header) Column(key string) string { return ColumnName(h.columns[key]) }

// Value returns a field of a row without blanks around it, "" if the table does not have the column.
func (h *Header) Value(row Row, key string) string {
	return strings.Trim(row.Cell(h.columns[key]), " \t\r\n\u00a0\u3000\u200b\ufeff")
}
