package tabular_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"anwang/internal/lib/tabular"
)

var fields = []tabular.Field{
	{Key: "name", Title: "企业名称", Aliases: []string{"单位名称", "生产经营单位名称"}, Required: true},
	{Key: "uscc", Title: "统一社会信用代码", Aliases: []string{"信用代码", "USCC"}, Required: true},
	{Key: "phone", Title: "联系电话"},
}

func TestHeader(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		table   string
		row     int
		name    string
		unknown []string
		phone   string // letter of the column
	}{
		"first row":       {"企业名称,统一社会信用代码,联系电话\n甲,91,1\n", 1, "甲", nil, "C"},
		"noise":           {"*企业 名称＊,统一社会信用代码（必填）：,\"联系\n电话\"\n　甲\u00a0,91,1\n", 1, "甲", nil, "C"},
		"aliases":         {"uscc,单位名称\n91,甲\n", 1, "甲", nil, ""},
		"below a title":   {"石狮市企业台账,,\n填报单位：安监局,,2017年\n\n序号,企业名称*,信用代码\n1,甲,91\n", 4, "甲", []string{"序号"}, ""},
		"unknown columns": {"备注,企业名称,,统一社会信用代码,经办人\n无,甲,,91,乙\n", 1, "甲", []string{"备注", "经办人"}, ""},
	}
	for name, c := range cases {
		r, err := open([]byte(c.table), tabular.Options{})
		if err != nil {
			t.Fatal(err)
		}
		h, err := r.Header(fields)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if h.Row != c.row || !reflect.DeepEqual(h.Unknown, c.unknown) || h.Column("phone") != c.phone || h.Has("phone") != (c.phone != "") {
			t.Errorf("%s: row %d, unknown %q, phone in %q", name, h.Row, h.Unknown, h.Column("phone"))
		}
		rows := 0
		for row, err := range r.Rows() {
			rows++
			if err != nil || h.Value(row, "name") != c.name || h.Value(row, "uscc") != "91" || h.Value(row, "none") != "" {
				t.Errorf("%s: %q, %v", name, row.Cells, err)
			}
		}
		if rows != 1 {
			t.Errorf("%s: %d rows below the header", name, rows)
		}
	}
}

func TestHeaderErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		table string
		want  tabular.HeaderError
		words string
	}{
		"missing": {"台账\n企业名称,备注\n甲,\n", tabular.HeaderError{Row: 2, Missing: []string{"统一社会信用代码"}},
			"第 2 行的表头：缺少列 统一社会信用代码。请对照模板"},
		"all missing": {"甲,乙\n丙,丁\n", tabular.HeaderError{Missing: []string{"企业名称", "统一社会信用代码"}},
			"没有找到表头：缺少列 企业名称、统一社会信用代码。"},
		"no rows": {" ,\n", tabular.HeaderError{Missing: []string{"企业名称", "统一社会信用代码"}}, "没有找到表头"},
		"duplicated": {"企业名称,信用代码,单位名称\n甲,91,乙\n", tabular.HeaderError{Row: 1, Duplicated: []string{"企业名称（A、C 列）"}},
			"第 1 行的表头：列重复 企业名称（A、C 列）。"},
		"both": {"企业名称*,企业名称\n甲,91\n", tabular.HeaderError{Row: 1, Missing: []string{"统一社会信用代码"}, Duplicated: []string{"企业名称（A、B 列）"}},
			"缺少列 统一社会信用代码；列重复 企业名称（A、B 列）。"},
		"too far down": {strings.Repeat("说明\n", 10) + "企业名称,信用代码\n", tabular.HeaderError{Missing: []string{"企业名称", "统一社会信用代码"}}, "前几行中没有找到表头"},
	}
	for name, c := range cases {
		r, err := open([]byte(c.table), tabular.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Header(fields)
		var got *tabular.HeaderError
		if !errors.As(err, &got) || !errors.Is(err, tabular.ErrUnsupported) || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: %#v", name, err)
			continue
		}
		if !strings.Contains(got.Error(), c.words) {
			t.Errorf("%s: %s", name, got)
		}
	}
	r, err := open([]byte("企业名称\n\"a"), tabular.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Header(fields); !errors.Is(err, tabular.ErrDamaged) {
		t.Errorf("damaged table: %v", err)
	}
}
