package gbcode

import (
	"regexp"
	"strings"
)

const phoneName = "电话号码"

// Phone is a telephone number of the mainland in one of three forms: a mobile number 13812345678, a landline with its
// area code 0595-88886666 and perhaps an extension 0595-88886666-123, or a service number 400-888-6666.
type Phone string

var (
	mobilePattern   = regexp.MustCompile(`^1[3-9]\d{9}$`)
	landlinePattern = regexp.MustCompile(`^(010|02\d|0[3-9]\d{2})([2-9]\d{6,7})(?:#(\d{1,6}))?$`)
	servicePattern  = regexp.MustCompile(`^([48]00)(\d{3})(\d{4})$`)
	landlineAbroad  = regexp.MustCompile(`^(10|2\d|[3-9]\d{2})[2-9]\d{6,7}(\D|$)`) // after +86 the leading zero is left out
	localPattern    = regexp.MustCompile(`^[2-9]\d{6,7}$`)

	// extensionPattern finds the extension at the end, which must not be mistaken for the last group of the number.
	extensionPattern = regexp.MustCompile(`(\d{7,8})(?:转|分机|#|EXT\.?|-)(\d{1,6})$`)
	punctuation      = strings.NewReplacer("-", "", "(", "", ")", "", ".", "")
)

// ParsePhone normalises and checks a telephone number. +86, spaces, hyphens and brackets are accepted. A landline
// without area code is refused, since it means nothing to a neighbouring county.
func ParsePhone(s string) (Phone, error) {
	number := dashes.Replace(normalise(s))
	if scientific.MatchString(number) {
		return "", refuseLength(phoneName, number, 11)
	}
	for _, country := range []string{"+86", "0086"} {
		if rest, ok := strings.CutPrefix(number, country); ok {
			number = strings.TrimPrefix(rest, "-")
			if bare := punctuation.Replace(number); landlineAbroad.MatchString(bare) && !servicePattern.MatchString(bare) {
				number = "0" + number
			}
		}
	}
	// An extension is looked for first: 010-8888666-1 must not become 010-88886661.
	for _, candidate := range []string{extensionPattern.ReplaceAllString(number, "$1#$2"), number} {
		candidate = punctuation.Replace(candidate)
		if mobilePattern.MatchString(candidate) {
			return Phone(candidate), nil
		}
		if m := servicePattern.FindStringSubmatch(candidate); m != nil {
			return Phone(m[1] + "-" + m[2] + "-" + m[3]), nil
		}
		if m := landlinePattern.FindStringSubmatch(candidate); m != nil {
			return Phone(strings.TrimSuffix(m[1]+"-"+m[2]+"-"+m[3], "-")), nil
		}
	}
	number = punctuation.Replace(number)
	if localPattern.MatchString(number) {
		return "", refuse(phoneName, ErrFormat, "缺少区号，请写成 0595-88886666 的样子")
	}
	if strings.HasPrefix(number, "1") && len(number) != 11 && strings.Trim(number, "0123456789") == "" {
		return "", refuse(phoneName, ErrLength, "是手机号的样子，但应为 11 位，实际 %d 位", len(number))
	}
	return "", refuse(phoneName, ErrFormat, "格式不对，应为 11 位手机号，或带区号的固定电话（如 0595-88886666）")
}

// Mobile reports whether the number is a mobile number, which alone can receive short messages.
func (p Phone) Mobile() bool { return mobilePattern.MatchString(string(p)) }

// Mask returns the number for lists and logs: 138****5678, 0595-****6666.
func (p Phone) Mask() string { return MaskPhone(string(p)) }

var landlineForm = regexp.MustCompile(`^(0\d{2,3}-)\d{3,4}(\d{4}(?:-\d{1,6})?)$`)

// MaskPhone masks a number in one of the forms of [Phone]. Whatever has another form is hidden wholly.
func MaskPhone(s string) string {
	switch {
	case mobilePattern.MatchString(s):
		return s[:3] + "****" + s[7:]
	case landlineForm.MatchString(s):
		return landlineForm.ReplaceAllString(s, "${1}****$2")
	}
	return strings.Repeat("*", len([]rune(s)))
}
