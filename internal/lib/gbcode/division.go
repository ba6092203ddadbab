package gbcode

import "strings"

const divisionName = "行政区划代码"

// Division is a division code in the twelve-digit statistical form: province 2, city 2 and county 2 digits (GB/T 2260),
// township 3 (GB/T 10114), village 3 (National Bureau of Statistics), filled up with zeros on the right. Twelve digits
// at every level let codes of all levels stand in one column and be compared as text. Anything but twelve digits, the
// zero value among them, has no level, no parent, and neither lies under nor contains a division.
type Division string

// Level is the level of a division, from province to village.
type Level int

// The levels, highest first. A smaller number is a higher level.
const (
	Province Level = 1 + iota
	City
	County
	Town
	Village
)

// String returns the Chinese name of the level.
func (l Level) String() string {
	if l < Province || l > Village {
		return "未知"
	}
	return [...]string{"省级", "市级", "县级", "乡级", "村级"}[l-Province]
}

// divisionDigits[l] is how many digits a code needs down to level l.
var divisionDigits = [...]int{Province: 2, City: 4, County: 6, Town: 9, Village: 12}

// ParseDivision accepts a division code of 2, 4, 6, 9 or 12 digits and returns it in twelve. It does not know which
// codes exist: counties right under a province (429004, 469001), towns right under a city (441900003) and the codes
// that statistics give to development zones (7x in the third pair) all pass.
func ParseDivision(s string) (Division, error) {
	code := normalise(s)
	if scientific.MatchString(code) {
		return "", refuseLength(divisionName, code, 12)
	}
	if at, c := firstNonDigit(code); at > 0 {
		return "", refuseAt(divisionName, at, c, "应为数字")
	}
	switch len(code) {
	case 2, 4, 6, 9, 12:
	default:
		return "", refuse(divisionName, ErrLength, "应为 2、4、6、9 或 12 位，实际 %d 位", len(code))
	}
	if code[0] == '0' {
		return "", refuseAt(divisionName, 1, '0', "不能是 0")
	}
	return pad(code), nil
}

func pad(digits string) Division { return Division(digits + "000000000000"[len(digits):]) }

// Level returns the level of the division: the lowest one whose digits are not all zero.
func (d Division) Level() Level {
	if len(d) != divisionDigits[Village] {
		return 0
	}
	for l := Village; l > Province; l-- {
		if strings.Trim(string(d[divisionDigits[l-1]:divisionDigits[l]]), "0") != "" {
			return l
		}
	}
	return Province
}

// Prefix returns the significant digits, those down to the division's own level: 350581 for 350581000000. Exactly the
// codes that begin with it lie in the division.
func (d Division) Prefix() string { return string(d[:divisionDigits[d.Level()]]) }

// At returns the division at level l that d is or lies in. It is "" when l is below d's own level, and when d has none
// at l: a town of Dongguan (441900003000) belongs to no county.
func (d Division) At(l Level) Division {
	if d.Level() < l {
		return ""
	}
	above := pad(string(d[:divisionDigits[l]]))
	if above.Level() != l {
		return ""
	}
	return above
}

// Parent returns the next division above, or "" for a province. For a county right under a province this is the
// statistical group 省直辖县级行政区划 (469001 → 469000), which the dictionaries list like a city.
func (d Division) Parent() Division {
	for l := d.Level() - 1; l >= Province; l-- {
		if above := d.At(l); above != "" {
			return above
		}
	}
	return ""
}

// IsUnder reports whether d is the ancestor itself or lies in it, which is what an access scope asks.
func (d Division) IsUnder(ancestor Division) bool {
	return d.Level() > 0 && ancestor.Level() > 0 && strings.HasPrefix(string(d), ancestor.Prefix())
}

// DivisionLevels are the codes of one division at each level, as tables store them to be indexed; see [Division.At].
type DivisionLevels struct {
	Province, City, County, Town, Village Division
}

// Levels splits d into the codes of its levels, each of twelve digits.
func (d Division) Levels() DivisionLevels {
	return DivisionLevels{d.At(Province), d.At(City), d.At(County), d.At(Town), d.At(Village)}
}
