package gbcode

import (
	"regexp"
	"strings"
)

const casName = "CAS 号"

// CAS is a checked registry number of the Chemical Abstracts Service, with hyphens: 7732-18-5.
type CAS string

var (
	casPattern = regexp.MustCompile(`^0*([1-9]\d{1,6})(-?)(\d{2})(-?)(\d)$`)
	dashes     = strings.NewReplacer("‐", "-", "‑", "-", "‒", "-", "–", "-", "—", "-", "−", "-")
)

// ParseCAS normalises and checks a CAS number: any dash is taken for a hyphen, leading zeros and missing hyphens are
// mended, the check digit must be right.
func ParseCAS(s string) (CAS, error) {
	m := casPattern.FindStringSubmatch(dashes.Replace(normalise(s)))
	if m == nil || m[2] != m[4] {
		return "", refuse(casName, ErrFormat, "格式不对，应形如 7732-18-5")
	}
	digits, sum := m[1]+m[3], 0
	for i, r := range digits {
		sum += int(r-'0') * (len(digits) - i)
	}
	if m[5] != string(rune('0'+sum%10)) {
		return "", refuse(casName, ErrCheck, "校验位不符，请核对是否抄错")
	}
	return CAS(m[1] + "-" + m[3] + "-" + m[5]), nil
}
