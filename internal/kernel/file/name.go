package file

import (
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const maxName = 120 // characters, with the ending

// cleanName makes a name that is safe to show, to store and to save on any system: the last part of a path, without control
// characters, without characters that turn the direction of writing (with which "exe.jpg" can be shown for "gpj.exe"), with the ending
// that fits the type.
func cleanName(name string, t *filetype) string {
	name = strings.ToValidUTF8(name, "")
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = norm.NFC.String(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp):
			return -1
		case strings.ContainsRune(`<>:"|?*`, r):
			return '_'
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, name))
	base, ending := name, ""
	if e := path.Ext(name); t.accepts(e) {
		base, ending = strings.TrimSuffix(name, e), strings.ToLower(e)
	} else {
		ending = t.endings[0]
		if len(e) <= 6 { // an ending that lies about the type
			base = strings.TrimSuffix(name, e)
		}
	}
	base = strings.Trim(base, ". ")
	if most := maxName - utf8.RuneCountInString(ending); utf8.RuneCountInString(base) > most {
		base = strings.TrimRight(string([]rune(base)[:most]), ". ")
	}
	if base == "" || reserved(base) {
		base = "文件" + base
	}
	return base + ending
}

// reserved reports whether Windows keeps the name for a device.
func reserved(base string) bool {
	stem, _, _ := strings.Cut(strings.ToUpper(base), ".")
	switch stem {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	return len(stem) == 4 && (strings.HasPrefix(stem, "COM") || strings.HasPrefix(stem, "LPT")) && stem[3] >= '0' && stem[3] <= '9'
}

// Disposition is the value of the header Content-Disposition for a file name (RFC 6266, RFC 5987): the name in ASCII for old programs,
// and in UTF-8 for all others. kind is "inline" or "attachment".
func Disposition(kind, name string) string {
	ascii := strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || strings.ContainsRune(`"\%;`, r) {
			return '_'
		}
		return r
	}, name)
	return kind + `; filename="` + ascii + `"; filename*=UTF-8''` + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
}
