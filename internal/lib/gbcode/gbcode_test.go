package gbcode_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/quick"

	"anwang/internal/lib/gbcode"
)

// refusals is a table of codes that must be refused for the stated reason with the stated words.
type refusals []struct {
	in     string
	reason error
	words  string
}

func (table refusals) run(t *testing.T, parse func(string) error) {
	t.Helper()
	for _, c := range table {
		err := parse(c.in)
		var refusal *gbcode.Error
		if !errors.Is(err, c.reason) || !errors.As(err, &refusal) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%q: got %v; want %v with %q", c.in, err, c.reason, c.words)
		}
	}
}

func TestUSCC(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]gbcode.USCC{
		"91350100M000100Y43":     "91350100M000100Y43",
		"91110000600037341L":     "91110000600037341L",
		" 91350100m000100y43\t":  "91350100M000100Y43",
		"9135 0100 M000 100Y 43": "91350100M000100Y43",
		"９１３５０１００Ｍ０００１００ｙ４３":                   "91350100M000100Y43",
		"\ufeff91350100M000100Y43\u200b\u3000": "91350100M000100Y43",
	} {
		if got, err := gbcode.ParseUSCC(in); got != want || err != nil {
			t.Errorf("ParseUSCC(%q) = %q, %v", in, got, err)
		}
	}
	code := gbcode.USCC("91350100M000100Y43")
	if code.Division() != "350100" || code.Organisation() != "M000100Y4" || code.Warning() != "" {
		t.Errorf("parts: %q %q %q", code.Division(), code.Organisation(), code.Warning())
	}

	refusals{
		{"", gbcode.ErrLength, "应为 18 位，实际 0 位"},
		{"91350100M000100Y4", gbcode.ErrLength, "实际 17 位"},
		{"91350100M000100Y433", gbcode.ErrLength, "实际 19 位"},
		{"9.1350100000001E+17", gbcode.ErrLength, "科学计数法"},
		{"9135O100M000100Y43", gbcode.ErrCharacter, "第 5 位“O”不允许使用"},
		{"9135O100M000100Y43", gbcode.ErrCharacter, "是否应为数字 0"},
		{"91350100M000100I43", gbcode.ErrCharacter, "第 16 位“I”"},
		{"91350100M000100Y4Z", gbcode.ErrCharacter, "第 18 位“Z”"},
		{"9135A100M000100Y43", gbcode.ErrCharacter, "第 5 位“A”应为数字（第 3 至 8 位"},
		{"91350100企000100Y43", gbcode.ErrCharacter, "第 9 位“企”不是数字或大写字母"},
		{"91350100M000100Y4企", gbcode.ErrCharacter, "第 18 位“企”"},
		{"91350100M000100Y44", gbcode.ErrCheck, "统一社会信用代码校验位不符，请核对是否抄错"},
	}.run(t, func(s string) error { _, err := gbcode.ParseUSCC(s); return err })
}

// Every single wrong character and every swap of neighbours must be noticed: that is what the check character is for.
func TestUSCCNoticesSlips(t *testing.T) {
	t.Parallel()
	const alphabet, good = "0123456789ABCDEFGHJKLMNPQRTUWXY", "91350100M000100Y43"
	for i := range good {
		for _, r := range alphabet {
			if byte(r) == good[i] {
				continue
			}
			slip := good[:i] + string(r) + good[i+1:]
			if _, err := gbcode.ParseUSCC(slip); err == nil {
				t.Errorf("%s passed", slip)
			}
		}
		if i > 0 && good[i] != good[i-1] {
			swap := good[:i-1] + good[i:i+1] + good[i-1:i] + good[i+1:]
			if _, err := gbcode.ParseUSCC(swap); err == nil {
				t.Errorf("%s passed", swap)
			}
		}
	}
}

func TestUSCCWithCheck(t *testing.T) {
	t.Parallel()
	for _, want := range []string{"91350100M000100Y43", "91110000600037341L"} {
		if got, err := gbcode.USCCWithCheck(want[:17]); got != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	for _, bad := range []string{"", "91350100M000100Y43", "91350100M000100O4"} {
		if got, err := gbcode.USCCWithCheck(bad); err == nil {
			t.Errorf("USCCWithCheck(%q) = %q", bad, got)
		}
	}
	synthetic, _ := gbcode.USCCWithCheck("91350581MA0000000") // its organisation code has a wrong check digit
	code, err := gbcode.ParseUSCC(synthetic)
	if err != nil || code.Warning() == "" {
		t.Errorf("%q: %v, warning %q; want it accepted with a warning", synthetic, err, code.Warning())
	}
}

func TestOrganisation(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"M000100Y4", "M000100Y-4", "600037341", "ｍ000100y－4"} {
		if err := gbcode.CheckOrganisation(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	refusals{
		{"M000100Y", gbcode.ErrLength, "实际 8 位"},
		{"M000100*4", gbcode.ErrCharacter, "第 8 位“*”"},
		{"M000100Y5", gbcode.ErrCheck, "校验位不符"},
	}.run(t, gbcode.CheckOrganisation)
}

func TestCitizenNumber(t *testing.T) {
	t.Parallel()
	cases := []struct {
		in, birth, division string
		male                bool
	}{
		{"11010519491231002X", "1949-12-31", "110105", false},
		{" 11010519491231002ｘ", "1949-12-31", "110105", false},
		{"440524188001010014", "1880-01-01", "440524", true},
	}
	for _, c := range cases {
		n, err := gbcode.ParseCitizenNumber(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if n.Birth().Format("2006-01-02") != c.birth || n.Division() != c.division || n.Male() != c.male {
			t.Errorf("%q: %s %s male=%t", c.in, n.Birth(), n.Division(), n.Male())
		}
	}
	refusals{
		{"1101051949123100", gbcode.ErrLength, "实际 16 位"},
		{"110105491231002", gbcode.ErrLength, "15 位旧号"},
		{"1.1010519491231E+17", gbcode.ErrLength, "科学计数法"},
		{"1101051949123１OO2X", gbcode.ErrCharacter, "第 15 位“O”应为数字"},
		{"11010519491231002Y", gbcode.ErrCharacter, "第 18 位“Y”应为数字或 X"},
		{"00010519491231002X", gbcode.ErrFormat, "省级代码"},
		{"110105194902290026", gbcode.ErrDate, "第 7 至 14 位"},
		{"110105194913310026", gbcode.ErrDate, "出生日期"},
		{"110105194912310021", gbcode.ErrCheck, "校验位不符"},
	}.run(t, func(s string) error { _, err := gbcode.ParseCitizenNumber(s); return err })
}

func TestCitizenNumberStaysHidden(t *testing.T) {
	t.Parallel()
	n, err := gbcode.ParseCitizenNumber("11010519491231002X")
	if err != nil {
		t.Fatal(err)
	}
	const masked = "110105********002X"
	for _, verb := range []string{"%s", "%v", "%q", "%+v"} {
		if got := fmt.Sprintf(verb, n); !strings.Contains(got, masked) || strings.Contains(got, "1949") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if string(n) != "11010519491231002X" {
		t.Error("the value itself is masked")
	}
	for in, want := range map[string]string{"110105491231002": "***************", "": "", "张三": "**"} {
		if got := gbcode.MaskCitizenNumber(in); got != want {
			t.Errorf("mask(%q) = %q", in, got)
		}
	}
	for _, bad := range []string{"110105194912310021", "110105194902290026"} {
		if _, err := gbcode.ParseCitizenNumber(bad); strings.Contains(err.Error(), bad[6:14]) {
			t.Errorf("error repeats the number: %v", err)
		}
	}
}

func TestDivision(t *testing.T) {
	t.Parallel()
	cases := []struct {
		in     string
		want   gbcode.Division
		level  gbcode.Level
		parent gbcode.Division
		levels gbcode.DivisionLevels
	}{
		{"35", "350000000000", gbcode.Province, "",
			gbcode.DivisionLevels{Province: "350000000000"}},
		{"3505", "350500000000", gbcode.City, "350000000000",
			gbcode.DivisionLevels{Province: "350000000000", City: "350500000000"}},
		{"350581", "350581000000", gbcode.County, "350500000000",
			gbcode.DivisionLevels{Province: "350000000000", City: "350500000000", County: "350581000000"}},
		{"350581001", "350581001000", gbcode.Town, "350581000000",
			gbcode.DivisionLevels{Province: "350000000000", City: "350500000000", County: "350581000000", Town: "350581001000"}},
		{"350581001004", "350581001004", gbcode.Village, "350581001000",
			gbcode.DivisionLevels{Province: "350000000000", City: "350500000000", County: "350581000000", Town: "350581001000", Village: "350581001004"}},
		// Padded input keeps its level.
		{"350000", "350000000000", gbcode.Province, "", gbcode.DivisionLevels{Province: "350000000000"}},
		{"３５０５００　", "350500000000", gbcode.City, "350000000000",
			gbcode.DivisionLevels{Province: "350000000000", City: "350500000000"}},
		// A county right under the province, below its statistical group.
		{"469001", "469001000000", gbcode.County, "469000000000",
			gbcode.DivisionLevels{Province: "460000000000", City: "469000000000", County: "469001000000"}},
		// A town right under a city without counties.
		{"441900003", "441900003000", gbcode.Town, "441900000000",
			gbcode.DivisionLevels{Province: "440000000000", City: "441900000000", Town: "441900003000"}},
	}
	for _, c := range cases {
		d, err := gbcode.ParseDivision(c.in)
		if err != nil || d != c.want || d.Level() != c.level || d.Parent() != c.parent || !reflect.DeepEqual(d.Levels(), c.levels) {
			t.Errorf("%q: %q %v, level %v, parent %q, levels %+v", c.in, d, err, d.Level(), d.Parent(), d.Levels())
		}
	}
	refusals{
		{"", gbcode.ErrLength, "实际 0 位"},
		{"35058", gbcode.ErrLength, "应为 2、4、6、9 或 12 位，实际 5 位"},
		{"35O581", gbcode.ErrCharacter, "第 3 位“O”应为数字"},
		{"050581", gbcode.ErrCharacter, "第 1 位"},
		{"3.50581001E+11", gbcode.ErrLength, "科学计数法"},
	}.run(t, func(s string) error { _, err := gbcode.ParseDivision(s); return err })
}

func TestDivisionIsUnder(t *testing.T) {
	t.Parallel()
	cases := []struct {
		code, ancestor gbcode.Division
		want           bool
	}{
		{"350581001004", "350581000000", true},
		{"350581001004", "350500000000", true},
		{"350581001004", "350000000000", true},
		{"350581000000", "350581000000", true},
		{"350500000000", "350581000000", false},
		{"350582000000", "350581000000", false},
		{"441900003000", "441900000000", true},
		{"", "350000000000", false},
		{"350000000000", "", false},
		{"", "", false},
		{"350581", "350581000000", false}, // not twelve digits: grants nothing
	}
	for _, c := range cases {
		if got := c.code.IsUnder(c.ancestor); got != c.want {
			t.Errorf("%q under %q = %t", c.code, c.ancestor, got)
		}
	}
}

// Climbing from any code ends at its province, each step a higher level that contains the code.
func TestDivisionParentsClimb(t *testing.T) {
	t.Parallel()
	climb := func(number uint64) bool {
		d, err := gbcode.ParseDivision(fmt.Sprintf("%012d", 1e11+number%9e11))
		if err != nil {
			return false
		}
		for at := d; at.Parent() != ""; at = at.Parent() {
			if at.Parent().Level() >= at.Level() || !d.IsUnder(at.Parent()) || d.At(at.Level()) != at {
				return false
			}
		}
		return d.IsUnder(d.At(gbcode.Province))
	}
	if err := quick.Check(climb, nil); err != nil {
		t.Error(err)
	}
}

func TestIndustry(t *testing.T) {
	t.Parallel()
	cases := []struct {
		in      string
		want    gbcode.Industry
		level   int
		parents []gbcode.Industry
	}{
		{"2614", "C2614", 4, []gbcode.Industry{"C261", "C26", "C"}},
		{"C2614", "C2614", 4, []gbcode.Industry{"C261", "C26", "C"}},
		{"c２６１４ ", "C2614", 4, []gbcode.Industry{"C261", "C26", "C"}},
		{"261", "C261", 3, []gbcode.Industry{"C26", "C"}},
		{"C26", "C26", 2, []gbcode.Industry{"C"}},
		{"c", "C", 1, nil},
		{"0111", "A0111", 4, []gbcode.Industry{"A011", "A01", "A"}},
	}
	for _, c := range cases {
		got, err := gbcode.ParseIndustry(c.in)
		if err != nil || got != c.want || got.Level() != c.level || !reflect.DeepEqual(got.Parents(), c.parents) {
			t.Errorf("%q: %q %v, level %d, parents %v", c.in, got, err, got.Level(), got.Parents())
		}
	}
	refusals{
		{"", gbcode.ErrLength, "C2614"},
		{"2", gbcode.ErrLength, "2 至 4 位"},
		{"C26141", gbcode.ErrLength, "2 至 4 位"},
		{"B2614", gbcode.ErrFormat, "大类 26 属于门类 C，不属于 B"},
		{"9811", gbcode.ErrFormat, "没有大类 98"},
		{"00", gbcode.ErrFormat, "没有大类 00"},
		{"U26", gbcode.ErrCharacter, "第 1 位“U”"},
		{"C26A", gbcode.ErrCharacter, "第 4 位“A”应为数字"},
	}.run(t, func(s string) error { _, err := gbcode.ParseIndustry(s); return err })
}

func TestIndustrySections(t *testing.T) {
	t.Parallel()
	ranges := []struct {
		section     string
		first, last int
	}{ // GB/T 4754-2017
		{"A", 1, 5}, {"B", 6, 12}, {"C", 13, 43}, {"D", 44, 46}, {"E", 47, 50}, {"F", 51, 52}, {"G", 53, 60},
		{"H", 61, 62}, {"I", 63, 65}, {"J", 66, 69}, {"K", 70, 70}, {"L", 71, 72}, {"M", 73, 75}, {"N", 76, 79},
		{"O", 80, 82}, {"P", 83, 83}, {"Q", 84, 85}, {"R", 86, 90}, {"S", 91, 96}, {"T", 97, 97},
	}
	seen := 0
	for _, r := range ranges {
		for n := r.first; n <= r.last; n++ {
			seen++
			if got, err := gbcode.ParseIndustry(fmt.Sprintf("%02d", n)); err != nil || got.Section() != r.section {
				t.Errorf("%02d: %q %v; want section %s", n, got, err, r.section)
			}
		}
	}
	if seen != 97 {
		t.Errorf("%d divisions tested, want 97", seen)
	}
}

func TestCAS(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]gbcode.CAS{
		"7732-18-5":    "7732-18-5", // water
		"50-00-0":      "50-00-0",   // formaldehyde
		"７７３２－１８－５":    "7732-18-5",
		"7732–18—5":    "7732-18-5",
		"007732-18-5":  "7732-18-5",
		"7732185":      "7732-18-5",
		"1336-21-6":    "1336-21-6", // ammonia water
		"2222298-66-8": "2222298-66-8",
	} {
		if got, err := gbcode.ParseCAS(in); got != want || err != nil {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	refusals{
		{"7732-18-4", gbcode.ErrCheck, "校验位不符"},
		{"7732-185", gbcode.ErrFormat, "7732-18-5"},
		{"773-218-5", gbcode.ErrFormat, "7732-18-5"},
		{"00-00-0", gbcode.ErrFormat, "7732-18-5"},
		{"无", gbcode.ErrFormat, "7732-18-5"},
	}.run(t, func(s string) error { _, err := gbcode.ParseCAS(s); return err })
}

func TestPhone(t *testing.T) {
	t.Parallel()
	cases := []struct {
		in     string
		want   gbcode.Phone
		masked string
	}{
		{"13812345678", "13812345678", "138****5678"},
		{"138 1234 5678", "13812345678", "138****5678"},
		{"138-1234-5678", "13812345678", "138****5678"},
		{"1381234-5678", "13812345678", "138****5678"},
		{"＋８６ １３８１２３４５６７８", "13812345678", "138****5678"},
		{"+86-13812345678", "13812345678", "138****5678"},
		{"008613812345678", "13812345678", "138****5678"},
		{"059588886666", "0595-88886666", "0595-****6666"},
		{"(0595)8888-6666", "0595-88886666", "0595-****6666"},
		{"（０５９５）88886666", "0595-88886666", "0595-****6666"},
		{"0595—88886666", "0595-88886666", "0595-****6666"},
		{"+86 595 88886666", "0595-88886666", "0595-****6666"},
		{"+86 10 88886666", "010-88886666", "010-****6666"},
		{"010-88886666", "010-88886666", "010-****6666"},
		{"0566-6022222", "0566-6022222", "0566-****2222"},
		{"0595-88886666转123", "0595-88886666-123", "0595-****6666-123"},
		{"0595-88886666-8", "0595-88886666-8", "0595-****6666-8"},
		{"400-888-6666", "400-888-6666", "************"},
		{"+86 4008886666", "400-888-6666", "************"},
	}
	for _, c := range cases {
		got, err := gbcode.ParsePhone(c.in)
		if err != nil || got != c.want || got.Mask() != c.masked || got.Mobile() != (len(c.want) == 11) {
			t.Errorf("%q: %q %v, masked %q", c.in, got, err, got.Mask())
		}
		if again, err := gbcode.ParsePhone(string(got)); again != got || err != nil {
			t.Errorf("%q is not stable: %q %v", got, again, err)
		}
	}
	refusals{
		{"", gbcode.ErrFormat, "11 位手机号"},
		{"1381234567", gbcode.ErrLength, "实际 10 位"},
		{"138123456789", gbcode.ErrLength, "实际 12 位"},
		{"12812345678", gbcode.ErrFormat, "11 位手机号"},
		{"88886666", gbcode.ErrFormat, "缺少区号"},
		{"0595-18886666", gbcode.ErrFormat, "0595-88886666"},
		{"1.38E+10", gbcode.ErrLength, "科学计数法"},
		{"张三 13812345678", gbcode.ErrFormat, "格式不对"},
	}.run(t, func(s string) error { _, err := gbcode.ParsePhone(s); return err })
	if got := gbcode.MaskPhone("张三的电话"); got != "*****" {
		t.Errorf("unknown text masked as %q", got)
	}
}

func FuzzParseUSCC(f *testing.F) {
	for _, seed := range []string{"91350100M000100Y43", " 91110000600037341l", "９１３５", "9135O100M000100Y43", "1.1E+17", "企业"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		code, err := gbcode.ParseUSCC(in)
		if err != nil {
			var refusal *gbcode.Error
			if !errors.As(err, &refusal) || code != "" {
				t.Fatalf("%q: %q, %v", in, code, err)
			}
			return
		}
		if whole, err := gbcode.USCCWithCheck(string(code[:17])); whole != string(code) || err != nil {
			t.Fatalf("%q: check character differs: %q %v", code, whole, err)
		}
		if again, err := gbcode.ParseUSCC(string(code)); again != code || err != nil {
			t.Fatalf("%q is not stable: %q %v", code, again, err)
		}
		_, _, _ = code.Division(), code.Organisation(), code.Warning()
	})
}

func FuzzParseCitizenNumber(f *testing.F) {
	for _, seed := range []string{"11010519491231002X", "440524188001010014", "１１０１０５19491231002x", "110105491231002", "1.1E+17", "身份证"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		n, err := gbcode.ParseCitizenNumber(in)
		if err != nil {
			var refusal *gbcode.Error
			if !errors.As(err, &refusal) || n != "" {
				t.Fatalf("%q: %v", in, err)
			}
			return
		}
		if n.Birth().Format("20060102") != string(n[6:14]) {
			t.Fatalf("birth of %q is %s", string(n), n.Birth())
		}
		if again, err := gbcode.ParseCitizenNumber(string(n)); again != n || err != nil {
			t.Fatalf("%q is not stable: %v", string(n), err)
		}
		if masked := n.String(); len(masked) != 18 || strings.Contains(masked, string(n[6:14])) {
			t.Fatalf("masked as %q", masked)
		}
	})
}
