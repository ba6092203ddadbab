// Package gbcode reads, checks and masks the codes that Chinese national standards define and that people type,
// paste and import all day: unified social credit codes, citizen numbers, division codes, industry codes, CAS numbers
// and telephone numbers.
//
// Every Parse function first normalises what a keyboard, a form or Excel does to a code (full-width characters, lower
// case, spaces), then checks it. A refusal is an *Error whose Chinese text names the place that is wrong, and which
// never repeats the whole code: credit codes of persons, citizen numbers and telephone numbers must not reach a log.
//
// What is checked is form and check digit. Whether a division, an industry or an enterprise exists is answered by the
// dictionaries, which change every year, not here.
package gbcode

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// What is wrong with a code, for errors.Is.
var (
	ErrLength    = errors.New("位数不对")
	ErrCharacter = errors.New("有不允许的字符")
	ErrCheck     = errors.New("校验位不符")
	ErrDate      = errors.New("日期不存在")
	ErrFormat    = errors.New("格式不对")
)

// Error says why a code was refused. Its text is Chinese and fit for the screen.
type Error struct {
	Name     string // which kind of code, in Chinese: 统一社会信用代码
	Position int    // 1-based place of the offending character after normalisation; 0 when the whole code is meant
	Message  string // what is wrong and what to do, without Name
	reason   error
}

func (e *Error) Error() string { return e.Name + e.Message }

// Unwrap returns one of the Err… values of this package.
func (e *Error) Unwrap() error { return e.reason }

func refuse(name string, reason error, format string, args ...any) error {
	return &Error{Name: name, Message: fmt.Sprintf(format, args...), reason: reason}
}

func refuseAt(name string, position int, c rune, hint string) error {
	message := fmt.Sprintf("第 %d 位“%c”%s", position, c, hint)
	return &Error{Name: name, Position: position, Message: message, reason: ErrCharacter}
}

// normalise turns full-width characters into half-width ones and small letters into capitals, and drops spaces and
// invisible characters, which copying out of Word, WeChat and web pages leaves behind.
func normalise(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '！' && r <= '～' {
			r -= '！' - '!'
		}
		if unicode.IsSpace(r) || !unicode.IsGraphic(r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, s)
}

// firstNonDigit reports the first place in s that is not a digit, or 0.
func firstNonDigit(s string) (position int, c rune) {
	for i, r := range []rune(s) {
		if r < '0' || r > '9' {
			return i + 1, r
		}
	}
	return 0, 0
}

var scientific = regexp.MustCompile(`^\d(\.\d+)?E\+?\d+$`)

// refuseLength refuses a code of the wrong length, and recognises the commonest cause in imports: Excel keeps 15 digits
// of a number, shows the rest as zeros or 1.1E+17, and has lost them for good.
func refuseLength(name, code string, want int) error {
	if scientific.MatchString(code) {
		return refuse(name, ErrLength, "被表格软件变成了科学计数法，末几位已经丢失：请把该列设为“文本”格式后重新填写")
	}
	return refuse(name, ErrLength, "应为 %d 位，实际 %d 位", want, len([]rune(code)))
}
