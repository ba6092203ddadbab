package gbcode

import (
	"strings"
	"time"
)

const citizenName = "公民身份号码"

// CitizenNumber is a checked citizen number (公民身份号码, GB 11643-1999), 18 characters, the last may be X.
//
// It is sensitive personal information (个人信息保护法 第二十八条): store it encrypted. Printed with fmt or slog it shows
// itself masked, so that a stray log line gives nothing away; string(n) is the number itself.
type CitizenNumber string

// provinceCodes are the first two digits that a citizen number may have: GB/T 2260 provinces, and 83 of the residence
// permits for residents of Taiwan.
const provinceCodes = "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83"

// ParseCitizenNumber normalises and checks a citizen number: length, characters, province, birth date and check
// character. Old numbers of 15 digits, invalid since 2013, are refused. Whether the birth date lies in the future is
// for the caller, who has a clock, to ask of [CitizenNumber.Birth].
func ParseCitizenNumber(s string) (CitizenNumber, error) {
	code := normalise(s)
	runes := []rune(code)
	if len(runes) == 15 && !scientific.MatchString(code) {
		return "", refuse(citizenName, ErrLength, "是 15 位旧号，已停止使用，请填写 18 位号码")
	}
	if len(runes) != 18 {
		return "", refuseLength(citizenName, code, 18)
	}
	if at, c := firstNonDigit(string(runes[:17])); at > 0 {
		return "", refuseAt(citizenName, at, c, "应为数字")
	}
	if c := runes[17]; c != 'X' && (c < '0' || c > '9') {
		return "", refuseAt(citizenName, 18, c, "应为数字或 X")
	}
	if !strings.Contains(provinceCodes, code[:2]) {
		return "", &Error{citizenName, 1, "前两位不是省级代码，请核对证件类型", ErrFormat}
	}
	birth, err := time.Parse("20060102", code[6:14])
	if err != nil || birth.Year() < 1800 {
		return "", &Error{citizenName, 7, "第 7 至 14 位不是有效的出生日期", ErrDate}
	}
	if citizenCheck(code) != code[17] {
		return "", refuse(citizenName, ErrCheck, "校验位不符，请核对是否抄错")
	}
	return CitizenNumber(code), nil
}

// Birth returns the birth date as midnight UTC, a calendar day without a time zone.
func (n CitizenNumber) Birth() time.Time {
	birth, _ := time.Parse("20060102", string(n[6:14])) // checked when parsed
	return birth
}

// Male reports the sex: an odd 17th digit is male.
func (n CitizenNumber) Male() bool { return n[16]%2 == 1 }

// Division returns the six-digit division code where the number was first issued.
func (n CitizenNumber) Division() string { return string(n[:6]) }

// String returns the number masked, see [MaskCitizenNumber].
func (n CitizenNumber) String() string { return MaskCitizenNumber(string(n)) }

// MaskCitizenNumber hides the birth date: 110105********002X. Whatever does not have 18 characters is hidden wholly.
func MaskCitizenNumber(s string) string {
	runes := []rune(s)
	if len(runes) != 18 {
		return strings.Repeat("*", len(runes))
	}
	return string(runes[:6]) + "********" + string(runes[14:])
}

// citizenCheck computes the check character over the first 17 digits (GB 11643-1999, ISO 7064 MOD 11-2).
func citizenCheck(code string) byte {
	sum := 0
	for i, weight := range [...]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += int(code[i]-'0') * weight
	}
	return "10X98765432"[sum%11]
}
