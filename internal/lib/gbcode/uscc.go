package gbcode

import (
	"strings"
)

const usccName = "统一社会信用代码"

// usccAlphabet holds the 31 characters of GB 32100-2015; a character's value is its index.
const usccAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// USCC is a unified social credit code (统一社会信用代码, GB 32100-2015): 18 capital letters and digits, checked.
type USCC string

// ParseUSCC normalises and checks a unified social credit code. Its errors tell apart a wrong length (ErrLength), a
// character that cannot stand where it stands (ErrCharacter) and a wrong check character (ErrCheck). The right check
// character is not revealed: whoever copied wrongly must look at the licence again.
func ParseUSCC(s string) (USCC, error) {
	code := normalise(s)
	if len([]rune(code)) != 18 {
		return "", refuseLength(usccName, code, 18)
	}
	want, err := usccCheck([]rune(code)[:17])
	if err != nil {
		return "", err
	}
	if last := []rune(code)[17]; !strings.ContainsRune(usccAlphabet, last) {
		return "", refuseUSCC(18, last)
	}
	if code[17] != want {
		return "", refuse(usccName, ErrCheck, "校验位不符，请核对是否抄错")
	}
	return USCC(code), nil
}

// USCCWithCheck appends the check character to the first 17 characters, for synthetic codes in demonstrations and tests.
func USCCWithCheck(first17 string) (string, error) {
	code := normalise(first17)
	if len([]rune(code)) != 17 {
		return "", refuseLength(usccName+"的前段", code, 17)
	}
	check, err := usccCheck([]rune(code))
	if err != nil {
		return "", err
	}
	return code + string(check), nil
}

// Division returns the six-digit division code of the registering authority, positions 3–8. It is where the
// enterprise was registered, which is often not where it produces.
func (c USCC) Division() string { return string(c[2:8]) }

// Organisation returns the nine-character organisation code, positions 9–17, without a hyphen.
func (c USCC) Organisation() string { return string(c[8:17]) }

// Warning returns a Chinese remark on a code that is valid but looks odd, or "". The organisation code inside has a
// check character of its own (GB 11714), which some registrars have got wrong: it never justifies a refusal.
func (c USCC) Warning() string {
	if CheckOrganisation(c.Organisation()) != nil {
		return "其中的组织机构代码校验位不符，请核对营业执照；确认无误可以保存"
	}
	return ""
}

// usccCheck computes the check character over 17 characters: weights are 3^i mod 31 (GB 32100-2015, 附录).
func usccCheck(first17 []rune) (byte, error) {
	sum, weight := 0, 1
	for i, r := range first17 {
		value := strings.IndexRune(usccAlphabet, r)
		if value < 0 || i >= 2 && i < 8 && value > 9 {
			return 0, refuseUSCC(i+1, r)
		}
		sum += value * weight
		weight = weight * 3 % 31
	}
	return usccAlphabet[(31-sum%31)%31], nil
}

func refuseUSCC(position int, c rune) error {
	lookAlikes := map[rune]string{'I': "数字 1", 'O': "数字 0", 'S': "数字 5", 'V': "字母 U 或 Y", 'Z': "数字 2"}
	if like, ok := lookAlikes[c]; ok {
		return refuseAt(usccName, position, c, "不允许使用（代码中没有字母 I、O、S、V、Z），请核对是否应为"+like)
	}
	if position >= 3 && position <= 8 {
		return refuseAt(usccName, position, c, "应为数字（第 3 至 8 位是登记机关的行政区划码）")
	}
	return refuseAt(usccName, position, c, "不是数字或大写字母")
}

const organisationName = "组织机构代码"

// CheckOrganisation checks a nine-character organisation code (组织机构代码, GB 11714), with or without the hyphen
// before its check character. Use the result as a warning only, see [USCC.Warning].
func CheckOrganisation(s string) error {
	code := []rune(strings.ReplaceAll(normalise(s), "-", ""))
	if len(code) != 9 {
		return refuseLength(organisationName, string(code), 9)
	}
	sum := 0
	for i, weight := range [...]int{3, 7, 9, 10, 5, 8, 4, 2} {
		switch r := code[i]; {
		case r >= '0' && r <= '9':
			sum += int(r-'0') * weight
		case r >= 'A' && r <= 'Z':
			sum += int(r-'A'+10) * weight
		default:
			return refuseAt(organisationName, i+1, r, "不是数字或大写字母")
		}
	}
	if check := "0X987654321"[sum%11]; code[8] != rune(check) {
		return refuse(organisationName, ErrCheck, "校验位不符，请核对是否抄错")
	}
	return nil
}
