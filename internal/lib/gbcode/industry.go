package gbcode

import (
	"strconv"
)

const industryName = "行业代码"

// Industry is a code of GB/T 4754-2017 with its section letter: C (门类), C26 (大类), C261 (中类) or C2614 (小类).
type Industry string

// industrySections holds the last division (大类) of each section A–T of GB/T 4754-2017; the first follows on the
// section before.
var industrySections = [...]int{5, 12, 43, 46, 50, 52, 60, 62, 65, 69, 70, 72, 75, 79, 82, 83, 85, 90, 96, 97}

// ParseIndustry accepts an industry code with or without its section letter and returns it with the letter. It checks
// that the division belongs to the section, not that the class exists.
//
// Beware of columns that a spreadsheet holds as numbers: 0111 (稻谷种植) has become 111 and reads as B111.
func ParseIndustry(s string) (Industry, error) {
	code := normalise(s)
	letter := ""
	if code != "" && code[0] >= 'A' && code[0] <= 'Z' {
		letter, code = code[:1], code[1:]
	}
	if letter > "T" {
		return "", refuseAt(industryName, 1, rune(letter[0]), "不是门类代码（A 至 T）")
	}
	if letter != "" && code == "" {
		return Industry(letter), nil
	}
	if at, c := firstNonDigit(code); at > 0 {
		return "", refuseAt(industryName, at+len(letter), c, "应为数字")
	}
	if len(code) < 2 || len(code) > 4 {
		return "", refuse(industryName, ErrLength, "应为门类字母加 2 至 4 位数字（如 C2614）")
	}
	section := sectionOf(code[:2])
	switch {
	case section == "":
		return "", refuse(industryName, ErrFormat, "没有大类 %s（国民经济行业分类的大类为 01 至 97）", code[:2])
	case letter != "" && letter != section:
		return "", refuse(industryName, ErrFormat, "门类与大类不符：大类 %s 属于门类 %s，不属于 %s", code[:2], section, letter)
	}
	return Industry(section + code), nil
}

func sectionOf(division string) string {
	number, _ := strconv.Atoi(division)
	for i, last := range industrySections {
		if number >= 1 && number <= last {
			return string(rune('A' + i))
		}
	}
	return ""
}

// Level returns 1 for a section (门类), 2 for a division (大类), 3 for a group (中类), 4 for a class (小类).
func (c Industry) Level() int { return max(1, len(c)-1) }

// Section returns the section letter.
func (c Industry) Section() string { return string(c[:1]) }

// Parents returns the codes above c, nearest first: C2614 → C261, C26, C.
func (c Industry) Parents() []Industry {
	var above []Industry
	for n := len(c) - 1; n >= 3; n-- {
		above = append(above, c[:n])
	}
	if len(c) > 1 {
		above = append(above, c[:1])
	}
	return above
}
