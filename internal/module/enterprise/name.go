package enterprise

import (
	"strings"
	"unicode"
)

// clean trims a text and takes out what nobody sees: zero-width characters and marks that turn the direction of writing, with which one name can be made to
// look like another. ok is false when it holds control characters.
func clean(s string) (_ string, ok bool) {
	ok = true
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), r == unicode.ReplacementChar:
			ok = false
			return -1
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " "), ok
}

// cleanName writes a name as licences do: full-width brackets, no blanks between Chinese characters. Otherwise every import would bring a "change of name".
func cleanName(s string) string {
	runes := []rune(s)
	han := func(i int) bool { return i >= 0 && i < len(runes) && unicode.Is(unicode.Han, runes[i]) }
	chinese := false
	for i := range runes {
		chinese = chinese || han(i)
	}
	if !chinese {
		return s
	}
	var b strings.Builder
	for i, r := range runes {
		switch {
		case r == ' ' && (han(i-1) || han(i+1)):
		case r == '(':
			b.WriteRune('（')
		case r == ')':
			b.WriteRune('）')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// legalForms are the ends of names that tell nobody apart, in the order in which they are taken off.
var legalForms = []string{"公司", "责任", "有限", "股份", "集团"}

// nameKey is the part of a name that tells enterprises apart: without the names of divisions in front, the legal form at the end, punctuation, width and case. Two
// files with one key in one county are most likely one enterprise. path is where the enterprise lies, from the province down.
func nameKey(name string, path []string) string {
	key := strings.Map(func(r rune) rune {
		if r >= '！' && r <= '～' {
			r -= '！' - '!'
		}
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
	whole := key
	for _, division := range path {
		for _, prefix := range []string{division, bareDivision(division)} {
			if rest, ok := strings.CutPrefix(key, prefix); ok && prefix != "" {
				key = rest
				break
			}
		}
	}
	for _, form := range legalForms {
		key = strings.TrimSuffix(key, form)
	}
	if len([]rune(key)) < 2 {
		return whole
	}
	return key
}

// bareDivision is a division's name as firms write it: 石台 for 石台县. Names of two characters stay whole.
func bareDivision(name string) string {
	runes := []rune(name)
	if len(runes) > 2 && strings.ContainsRune("省市县区镇乡", runes[len(runes)-1]) {
		return string(runes[:len(runes)-1])
	}
	return ""
}

// alike compares two name keys by the pairs of characters that they share (Dice's coefficient): 1 for equal keys, 0 for strangers.
func alike(a, b string) float64 {
	if a == b {
		return 1
	}
	pairs := map[[2]rune]int{}
	count := func(s string, add int) (n, shared int) {
		runes := []rune(s)
		for i := 1; i < len(runes); i++ {
			pair := [2]rune{runes[i-1], runes[i]}
			if add < 0 && pairs[pair] > 0 {
				shared++
			}
			pairs[pair] += add
			n++
		}
		return n, shared
	}
	inA, _ := count(a, 1)
	inB, shared := count(b, -1)
	if inA+inB == 0 {
		return 0
	}
	return 2 * float64(shared) / float64(inA+inB)
}

// similar is from where on two names are shown to be compared by a person.
const similar = 0.75
