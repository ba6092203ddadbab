package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/httpx"
	"anwang/internal/lib/tabular"
)

// MaxExport is how many rows one export file holds. A larger list asks for narrower filters.
const MaxExport = 200_000

// Service is what serving lists needs beside the door.
type Service struct {
	API *httpx.API
	Log *audit.Log
	// Label names a dictionary's code for exports; it returns the code when it knows none. May be nil.
	Label func(dict, code string) string
}

// Meta describes a list to the page that shows it.
type Meta struct {
	Name    string       `json:"name"`
	Title   string       `json:"title"`
	Columns []MetaColumn `json:"columns" nullable:"false"`
	Views   []MetaView   `json:"views" nullable:"false"`
	Order   string       `json:"order" doc:"默认排序"`
	Search  bool         `json:"search" doc:"是否支持关键词 q"`
}

// MetaColumn describes a column to the page.
type MetaColumn struct {
	Key    string   `json:"key"`
	Title  string   `json:"title"`
	Kind   Kind     `json:"kind"`
	Dict   string   `json:"dict,omitempty"`
	Filter Filter   `json:"filter,omitempty"`
	Values []string `json:"values,omitempty"`
	Sort   bool     `json:"sort"`
	Hidden bool     `json:"hidden"`
}

// MetaView is a named part of the list.
type MetaView struct {
	Key   string `json:"key"`
	Title string `json:"title"`
}

// Meta describes the list.
func (l *List[Row]) Meta() Meta {
	m := Meta{Name: l.Name, Title: l.Title, Columns: []MetaColumn{}, Views: []MetaView{}, Order: l.Order}
	for _, c := range l.Columns {
		kind := c.Kind
		if kind == "" {
			kind = Text
		}
		m.Columns = append(m.Columns, MetaColumn{c.Key, c.Title, kind, c.Dict, c.Filter, c.Values, c.Sort, c.Hidden})
		m.Search = m.Search || c.Search
	}
	for _, v := range l.Views {
		m.Views = append(m.Views, MetaView{v.Key, v.Title})
	}
	return m
}

// Serve adds the list's three operations: the list, its description for the page, and its export.
func Serve[Row any](s Service, l *List[Row]) {
	path, id := "/"+l.Name, strings.ReplaceAll(l.Name, "/", "-")
	params := l.params()
	s.API.Handle(httpx.Op{ID: "list-" + id, Method: "GET", Path: path, Title: l.Title, Tag: l.Tag, Need: l.Need}, params, reflect.TypeFor[Page[Row]](),
		func(w http.ResponseWriter, r *http.Request) error {
			q, err := l.parse(r.URL.Query())
			if err != nil {
				return err
			}
			page, err := l.Read(r.Context(), q)
			if err != nil {
				return err
			}
			var b bytes.Buffer
			if err := json.NewEncoder(&b).Encode(page); err != nil {
				return err
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(b.Bytes()) // the caller went away
			return nil
		})
	httpx.Register(s.API, httpx.Op{ID: "describe-" + id, Method: "GET", Path: path + "/columns", Title: l.Title + "：列与筛选", Tag: l.Tag, Need: l.Need},
		func(ctx context.Context, _ *struct{}) (*httpx.Body[Meta], error) { return httpx.Reply(l.Meta()), nil })
	s.API.Handle(httpx.Op{ID: "export-" + id, Method: "GET", Path: path + "/export.xlsx", Title: "导出" + l.Title, Tag: l.Tag, Need: l.Need}, params, nil,
		func(w http.ResponseWriter, r *http.Request) error {
			q, err := l.parse(r.URL.Query())
			if err != nil {
				return err
			}
			return l.export(r.Context(), s, w, q, r.URL.RawQuery)
		})
}

func (l *List[Row]) params() []*huma.Param {
	str := func(name, doc string) *huma.Param {
		return &huma.Param{Name: name, In: "query", Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	out := []*huma.Param{
		str("q", "关键词"), str("sort", "排序列，前加 - 为降序；默认 "+l.Order), str("cursor", "上一页返回的 next"),
		{Name: "limit", In: "query", Description: "每页条数", Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: ptr(1.0), Maximum: ptr(float64(MaxLimit)), Default: 20}},
		{Name: "total", In: "query", Description: "exact：精确统计总数；none：不统计", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"exact", "none"}}},
	}
	if len(l.Views) > 0 {
		p := str("view", "预设视图")
		for _, v := range l.Views {
			p.Schema.Enum = append(p.Schema.Enum, v.Key)
			p.Description += "；" + v.Key + "：" + v.Title
		}
		out = append(out, p)
	}
	for _, c := range l.Columns {
		if c.Filter == None {
			continue
		}
		p := str(c.Key, c.Title+filterDoc[c.Filter])
		for _, v := range c.Values {
			if c.Filter == Eq {
				p.Schema.Enum = append(p.Schema.Enum, v)
			}
		}
		if c.Filter == In && len(c.Values) > 0 {
			p.Description += "：" + strings.Join(c.Values, "、")
		}
		out = append(out, p)
	}
	return out
}

var filterDoc = map[Filter]string{
	Eq: "", In: "（可用逗号列出多个）", Between: "（起..止，含两端，可省略一端）", Prefix: "（以此开头）", Has: "（含有）", IsNull: "为空（true/false）", Division: "（该区划及其下级）",
}

func ptr[T any](v T) *T { return &v }

// parse reads a query from a URL. Unknown names were refused before.
func (l *List[Row]) parse(values url.Values) (Query, error) {
	q := Query{Search: values.Get("q"), View: values.Get("view"), Sort: values.Get("sort"), Cursor: values.Get("cursor"), Filters: map[string]string{}}
	if s := values.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return q, invalid("limit", fmt.Sprintf("每页 1 至 %d 条", MaxLimit))
		}
		q.Limit = n
	}
	switch values.Get("total") {
	case "":
	case "exact":
		q.Exact = true
	case "none":
		q.NoTotal = true
	default:
		return q, invalid("total", "只能是 exact 或 none")
	}
	for _, c := range l.Columns {
		if v := values.Get(c.Key); v != "" && c.Filter != None {
			q.Filters[c.Key] = v
		}
	}
	for name, v := range values {
		if len(v) > 1 {
			return q, invalid(name, "同一条件只能出现一次，多个值请用逗号隔开")
		}
		if strings.ContainsRune(v[0], 0) {
			return q, invalid(name, "含有不能识别的字符")
		}
	}
	return q, nil
}

// export writes the list as an XLSX file, after noting in the log who took what.
func (l *List[Row]) export(ctx context.Context, s Service, w http.ResponseWriter, q Query, asked string) error {
	var columns []Column
	var heads []tabular.Column
	for _, c := range l.Columns {
		if c.Hidden || c.Key == "id" {
			continue
		}
		columns = append(columns, c)
		kind := map[Kind]tabular.Kind{Number: tabular.Number, Day: tabular.Date, Time: tabular.DateTime}[c.Kind]
		heads = append(heads, tabular.Column{Title: c.Title, Kind: kind})
	}
	var file bytes.Buffer
	x, err := tabular.NewXLSXWriter(&file, l.Title, heads)
	if err != nil {
		return err
	}
	defer x.Discard()
	n := 0
	more, err := l.All(ctx, q, MaxExport, func(rows []Row) error {
		n += len(rows)
		for i := range rows {
			v := reflect.ValueOf(&rows[i]).Elem()
			cells := make([]any, len(columns))
			for j, c := range columns {
				cells[j] = s.cell(c, v.FieldByIndex(l.fields[c.Key].index).Interface())
			}
			if err := x.Write(cells...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if more {
		return errs.Invalid("list.exportTooLarge", fmt.Sprintf("符合条件的记录超过 %d 条，请缩小范围后分次导出。", MaxExport))
	}
	if err := x.Close(); err != nil {
		return err
	}
	if err := l.db.Tx(ctx, func(ctx context.Context) error {
		return s.Log.Append(ctx, audit.Entry{Kind: "ledger.exported", Title: "导出" + l.Title, Data: map[string]any{"list": l.Name, "query": asked, "rows": n}})
	}); err != nil {
		return err
	}
	name := l.Title + time.Now().In(clock.Zone).Format("20060102") + ".xlsx"
	h := w.Header()
	h.Set("Content-Type", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
	h.Set("Content-Disposition", `attachment; filename="export.xlsx"; filename*=UTF-8''`+url.PathEscape(name))
	_, _ = w.Write(file.Bytes()) // the caller went away
	return nil
}

func (s Service) cell(c Column, v any) any {
	switch v := v.(type) {
	case time.Time:
		if v.IsZero() {
			return nil
		}
		return v.In(clock.Zone)
	case *time.Time:
		if v == nil || v.IsZero() {
			return nil
		}
		return v.In(clock.Zone)
	case string:
		if c.Dict != "" && s.Label != nil {
			return s.Label(c.Dict, v)
		}
		if c.Kind == Day && v != "" {
			if day, err := time.ParseInLocation(time.DateOnly, v, clock.Zone); err == nil {
				return day
			}
		}
		return v
	case []string:
		return strings.Join(slices.Clone(v), "、")
	}
	if v := reflect.ValueOf(v); v.Kind() == reflect.String {
		return s.cell(c, v.String())
	}
	return v
}
