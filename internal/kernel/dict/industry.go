package dict

import (
	"embed"
	"fmt"
	"strings"
	"time"

	"anwang/internal/lib/gbcode"
)

// The code tables that come with the kernel.
const (
	// Industry is GB/T 4754-2017, a tree of four levels. Codes carry the section letter at every level, as they are stored in
	// records: C, C26, C261, C2614.
	Industry = "industry"
	// Line is the supervised lines (监管行业领域), by which departments divide their work: another classification than Industry. Its clause
	// is the document that says which hidden dangers of the line are major ones.
	Line = "line"
	// IndustryLine says which line supervises an industry by default: code is a prefix of industry codes, extra.line the line. The
	// longest prefix wins. Places differ; the table is theirs to edit.
	IndustryLine = "industryLine"
)

//go:embed data/*.csv
var data embed.FS

func industryItems() ([]Item, error) {
	rows, err := readCSV(data, "data/gbt4754_2017.csv")
	if err != nil {
		return nil, err
	}
	items := make([]Item, len(rows))
	for n, row := range rows {
		code, err := gbcode.ParseIndustry(row["code"])
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", n+2, err)
		}
		i := Item{Code: string(code), Label: row["name"], Sort: n + 1, Clause: "GB/T 4754-2017", Mark: "V2", Extra: map[string]string{}}
		if above := code.Parents(); len(above) > 0 {
			i.Parent = string(above[0])
		}
		if row["note"] != "" {
			i.Extra["note"] = row["note"]
		}
		items[n] = i
	}
	return items, nil
}

func industryLineItems() ([]Item, error) {
	industries, err := industryItems()
	if err != nil {
		return nil, err
	}
	labels := make(map[string]string, len(industries))
	for _, i := range industries {
		labels[i.Code] = i.Label
	}
	items, err := CSV(data, "data/industry_line.csv")()
	for n := range items {
		items[n].Label, items[n].Mark = labels[items[n].Code], "P"
	}
	return items, err
}

// LineOf is the supervised line that an industry code belongs to today, by the table IndustryLine; empty for what is no industry code, and for
// what no row of the table covers. The code may lack its section letter.
func (d *Dict) LineOf(industryCode string) string {
	code, err := gbcode.ParseIndustry(strings.TrimSpace(industryCode))
	if err != nil {
		return ""
	}
	day := d.day(time.Time{})
	t := d.table(IndustryLine)
	for n := len(code); n > 0; n-- {
		if i := t.on(string(code[:n]), day); i != nil {
			return i.Extra["line"]
		}
	}
	return ""
}
