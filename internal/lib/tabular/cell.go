package tabular

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// ColumnName returns the letters of a 1-based column as spreadsheets show them: 1 → A, 28 → AB.
func ColumnName(column int) string {
	name := ""
	for ; column > 0; column = (column - 1) / 26 {
		name = string(rune('A'+(column-1)%26)) + name
	}
	return name
}

// columnOf returns the 1-based column of a cell reference such as AB12, 0 when it has none.
func columnOf(reference string) int {
	column := 0
	for _, c := range reference {
		if c < 'A' || c > 'Z' || column > 1<<20 {
			break
		}
		column = column*26 + int(c-'A') + 1
	}
	return column
}

// ErrDate says that a cell is not a date that [ParseDate] understands.
var ErrDate = errors.New("无法识别的日期，请写成 2024-01-02 的样子")

var (
	dateText    = regexp.MustCompile(`^(\d{4})(?:-|/|\.|年)(\d{1,2})(?:-|/|\.|月)(\d{1,2})日?(?:[ T]?\d{1,2}:\d{2}.*)?$`)
	dateCompact = regexp.MustCompile(`^(\d{4})(\d{2})(\d{2})$`)
	dateSerial  = regexp.MustCompile(`^[1-9]\d{4}(?:\.\d+)?$`)
)

// ParseDate reads a calendar day out of a cell, as midnight UTC: 2024-01-02, 2024/1/2, 2024.1.2, 2024年1月2日, 20240102,
// or 45293, the number by which Excel stores it. A time of day after the date is dropped. Other texts, and days that do
// not exist, give an error that wraps ErrDate.
func ParseDate(cell string) (time.Time, error) {
	text := strings.Trim(halfWidth(cell), " ")
	if dateSerial.MatchString(text) {
		serial, _ := strconv.ParseFloat(text, 64)
		return serialTime(math.Floor(serial), false), nil
	}
	for _, pattern := range []*regexp.Regexp{dateText, dateCompact} {
		if m := pattern.FindStringSubmatch(text); m != nil {
			year, _ := strconv.Atoi(m[1])
			month, _ := strconv.Atoi(m[2])
			day, _ := strconv.Atoi(m[3])
			date := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
			if date.Day() == day && int(date.Month()) == month {
				return date, nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("“%.40s”%w", cell, ErrDate)
}

// halfWidth turns full-width characters into half-width ones, every kind of space into a blank, and drops invisible ones.
func halfWidth(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '！' && r <= '～':
			return r - ('！' - '!')
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsGraphic(r):
			return -1
		}
		return r
	}, s)
}

// numberStyle says how the number of a cell is shown, as far as it changes what the number means.
type numberStyle struct {
	date bool
	pad  int // leading zeros up to so many digits, as in codes
}

// number returns the text of a numeric cell. Dates become 2024-01-02 or 2024-01-02 15:04:05. Other numbers have the 15
// digits that Excel keeps, without its binary noise; from 1E+15 on, where digits have been lost, they are left in
// scientific notation so that a code typed as a number is noticed.
func number(raw string, style numberStyle, date1904 bool) string {
	value, err := strconv.ParseFloat(raw, 64)
	switch {
	case err != nil || math.IsInf(value, 0) || math.IsNaN(value):
		return raw
	case style.date && value >= 0 && value < 2_958_466: // the end of the year 9999
		t := serialTime(value, date1904)
		switch {
		case value < 1 && !date1904:
			return t.Format("15:04:05")
		case t.Equal(t.Truncate(24 * time.Hour)):
			return t.Format("2006-01-02")
		}
		return t.Format("2006-01-02 15:04:05")
	case style.pad > 0 && value >= 0 && value == math.Trunc(value) && value < 1e15:
		return fmt.Sprintf("%0*d", style.pad, int64(value))
	case math.Abs(value) >= 1e15:
		return strconv.FormatFloat(value, 'E', 14, 64)
	}
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(value, 'g', 15, 64), 64)
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}

// serialTime converts the serial number of a day and its fraction, rounded to seconds. Excel believes that 1900 was a
// leap year: numbers before 1900-03-01 are one off.
func serialTime(serial float64, date1904 bool) time.Time {
	days := math.Floor(serial)
	seconds := int(math.Round((serial - days) * 86400))
	switch {
	case date1904:
		days += 1462
	case days > 0 && days < 60:
		days++
	}
	return time.Date(1899, 12, 30+int(days), 0, 0, seconds, 0, time.UTC)
}

var formatNoise = regexp.MustCompile(`"[^"]*"|\\.|_.|\*.|\[[^\]]*\]`)

// styleOf tells what a number format of ECMA-376 part 1, 18.8.30 does to a number; code is "" for the built-in ones.
func styleOf(id int, code string) numberStyle {
	if code == "" {
		// 27–36 and 50–58 are the built-in dates of Chinese, Japanese and Korean editions.
		return numberStyle{date: id >= 14 && id <= 22 || id >= 27 && id <= 36 || id == 45 || id == 47 || id >= 50 && id <= 58}
	}
	code, _, _ = strings.Cut(strings.ToLower(code), ";")
	if strings.Contains(code, "[h") || strings.Contains(code, "[m") && !strings.Contains(code, "[magenta") || strings.Contains(code, "[s") {
		return numberStyle{} // a duration, not a time of day
	}
	bare := formatNoise.ReplaceAllString(code, "")
	if len(bare) > 1 && strings.Trim(bare, "0") == "" && bare == code {
		return numberStyle{pad: len(bare)}
	}
	return numberStyle{date: strings.ContainsAny(bare, "ymdhs") && !strings.Contains(bare, "general") || strings.Contains(bare, "aaa")}
}

var escapedCharacter = regexp.MustCompile(`_x([0-9A-Fa-f]{4})_`)

// unescape undoes the _x000D_ by which Office writes characters that XML cannot hold (ECMA-376 part 1, 22.9.2.19).
func unescape(s string) string {
	return escapedCharacter.ReplaceAllStringFunc(s, func(m string) string {
		code, _ := strconv.ParseUint(m[2:6], 16, 16)
		return string(rune(code))
	})
}
