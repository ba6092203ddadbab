// Package ledger turns one declaration into a list: typed filters, search, sorting, paging, an XLSX export, the columns for the page, and a
// scope that cannot be forgotten.
//
// A [Spec] is a Go value. It says which columns there are and what may be done with each; the caller's rights come from the actor. A ledger only
// reads. Filters are a closed set ([Eq], [In], [Between], [Prefix], [Has], [IsNull]); a list that needs more writes its own query.
//
// # Paging
//
// Pages follow a key (the sort value and the id of the last row), so a page deep in a million rows costs what the first one costs, and rows that
// arrive meanwhile shift nothing. The total is counted up to [CountCap]; beyond that the reply says so, unless total=exact is asked for.
package ledger

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
)

// CountCap is how far a total is counted without being asked to.
const CountCap = 1000

// Filter is what may be asked of a column.
type Filter string

// The filters.
const (
	None     Filter = ""
	Eq       Filter = "eq"       // x=v
	In       Filter = "in"       // x=v1,v2
	Between  Filter = "between"  // x=2026-01-01..2026-02-01, either end may be missing, both ends belong to it
	Prefix   Filter = "prefix"   // x=C26: codes that begin so
	Has      Filter = "has"      // x=v: a stored JSON list holds v
	IsNull   Filter = "isNull"   // x=true: has none; x=false: has one
	Division Filter = "division" // x=341722100000: lies in that division, at whatever level; SQL names the table's alias
)

// Kind is how a column's values are shown and exported.
type Kind string

// The kinds.
const (
	Text   Kind = "text"
	Number Kind = "number"
	Time   Kind = "time"
	Day    Kind = "day"
	Bool   Kind = "bool"
	Code   Kind = "code" // shown through the dictionary that Dict names
)

// Column is one column of a list.
type Column struct {
	Key    string // in the API; the Row's field with this JSON name receives the value
	Title  string // Chinese
	SQL    string // "r.due_at"
	Kind   Kind   // empty: Text
	Dict   string // for Code: which dictionary names the values
	Filter Filter
	// Values lists what a filter of kind Eq or In may be; empty: anything.
	Values []string
	Sort   bool   // may be sorted by. The column must not be NULL, or SortSQL must say what stands for NULL
	SortBy string // expression to sort by, empty: SQL
	Search bool   // q looks into it
	Hidden bool   // can be filtered by, is not shown
}

// View is a named part of a list: "overdue".
type View struct {
	Key, Title string
	Where      func(ctx context.Context, q *bun.SelectQuery) *bun.SelectQuery
}

// Spec declares a list of Rows. Row is a struct whose JSON names are the keys of the columns.
type Spec[Row any] struct {
	Name  string // "hidden-dangers": the list lies at /api/v1/hidden-dangers
	Title string // "隐患台账"
	Tag   string // groups the documentation
	Need  string // permission that opens the list and whose reach limits the rows
	From  string // "hiddendanger_item AS r"
	Alias string // the table that holds the columns of scope.Place; empty only when Unscoped says why
	// Unscoped gives the reason why the rows lie nowhere (a dictionary, the accounts); the permission alone decides.
	Unscoped string
	Where    func(ctx context.Context, q *bun.SelectQuery) *bun.SelectQuery // always applied, may be nil
	Columns  []Column
	Views    []View
	Order    string // "-dueAt": a sortable column's key, with - for descending
	// Finish may complete rows after reading (names for codes); it gets one page at a time.
	Finish func(ctx context.Context, rows []Row) error
}

// List is a checked Spec, ready to be read.
type List[Row any] struct {
	Spec[Row]
	db     *db.DB
	fields map[string]field // by column key
}

type field struct {
	index  []int
	column string // name in the result
}

// Define checks the spec and makes a list of it. It panics on a spec that cannot work: without scope, with an unknown order, with a column that Row
// has no field for. So a wrong list stops the program at start, not a user.
func Define[Row any](d *db.DB, s Spec[Row]) *List[Row] {
	l := &List[Row]{Spec: s, db: d, fields: map[string]field{}}
	fail := func(format string, args ...any) { panic("ledger " + s.Name + ": " + fmt.Sprintf(format, args...)) }
	if (s.Alias == "") == (s.Unscoped == "") {
		fail("needs Alias, or Unscoped with a reason")
	}
	if s.Need == "" {
		fail("needs a permission")
	}
	for _, f := range d.Table(reflect.TypeFor[Row]()).Fields {
		name, _, _ := strings.Cut(f.StructField.Tag.Get("json"), ",")
		l.fields[name] = field{f.StructField.Index, f.Name}
	}
	if _, ok := l.column("id"); !ok {
		fail("needs a column id")
	}
	for _, c := range s.Columns {
		if _, ok := l.fields[c.Key]; !ok && !c.Hidden {
			fail("Row has no field with JSON name %q", c.Key)
		}
	}
	if _, _, err := l.order(s.Order); err != nil {
		fail("order %q: %v", s.Order, err)
	}
	return l
}

func (l *List[Row]) column(key string) (Column, bool) {
	i := slices.IndexFunc(l.Columns, func(c Column) bool { return c.Key == key })
	if i < 0 {
		return Column{}, false
	}
	return l.Columns[i], true
}

// Query is what a caller asks of a list.
type Query struct {
	Search  string            // q
	View    string            // one of the spec's views
	Filters map[string]string // by column key, as in the URL
	Sort    string            // "-dueAt"; empty: the spec's order
	Limit   int               // rows per page; 0: 20; at most 200
	Cursor  string            // Next of the page before
	Exact   bool              // count beyond CountCap
	NoTotal bool              // do not count
}

// Page is one page of a list.
type Page[Row any] struct {
	Items       []Row  `json:"items" nullable:"false"`
	Next        string `json:"next" doc:"下一页的游标，空表示没有下一页"`
	Total       int    `json:"total" doc:"总数；续页时为 -1（不重复统计）"`
	TotalCapped bool   `json:"totalCapped" doc:"总数超过统计上限，只数到上限"`
}

// MaxLimit is the largest page.
const MaxLimit = 200

// Read returns the page that q asks for, of what the caller may see.
func (l *List[Row]) Read(ctx context.Context, q Query) (*Page[Row], error) {
	limit := q.Limit
	if limit == 0 {
		limit = 20
	}
	if limit < 1 || limit > MaxLimit {
		return nil, invalid("limit", fmt.Sprintf("每页 1 至 %d 条", MaxLimit))
	}
	base, err := l.filtered(ctx, q)
	if err != nil {
		return nil, err
	}
	sel, err := l.page(base(), q.Sort, q.Cursor)
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, limit+1)
	if err := sel.Limit(int64(limit)+1).Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("list %s: %w", l.Name, err)
	}
	p := &Page[Row]{Items: rows, Total: -1}
	if len(rows) > limit {
		p.Items = rows[:limit]
		p.Next = l.cursorAfter(&rows[limit-1], q.Sort)
	}
	switch {
	case q.NoTotal || q.Cursor != "":
	case p.Next == "":
		p.Total = len(p.Items)
	default:
		count := base().ColumnExpr("1")
		if !q.Exact {
			count = count.Limit(CountCap + 1)
		}
		if err := l.db.Conn(ctx).NewSelect().ColumnExpr("count(*)").TableExpr("(?) AS t", count).Scan(ctx, &p.Total); err != nil {
			return nil, fmt.Errorf("count %s: %w", l.Name, err)
		}
		if !q.Exact && p.Total > CountCap {
			p.Total, p.TotalCapped = CountCap, true
		}
	}
	if l.Finish != nil {
		if err := l.Finish(ctx, p.Items); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// All calls yield with every row of the list that q selects, in its order, a page at a time, up to max rows. It reports whether rows were left out.
func (l *List[Row]) All(ctx context.Context, q Query, max int, yield func(rows []Row) error) (more bool, err error) {
	q.Limit, q.NoTotal, q.Cursor = MaxLimit, true, ""
	for n := 0; ; {
		p, err := l.Read(ctx, q)
		if err != nil {
			return false, err
		}
		if n+len(p.Items) > max {
			return true, yield(p.Items[:max-n])
		}
		n += len(p.Items)
		if err := yield(p.Items); err != nil || p.Next == "" {
			return false, err
		}
		q.Cursor = p.Next
	}
}

// filtered returns a maker of queries with everything applied but columns, order and page.
func (l *List[Row]) filtered(ctx context.Context, q Query) (func() *bun.SelectQuery, error) {
	type cond struct {
		sql  string
		args []any
	}
	var conds []cond
	add := func(sql string, args ...any) { conds = append(conds, cond{sql, args}) }
	var wrong []errs.Field
	for _, c := range l.Columns {
		value, ok := q.Filters[c.Key]
		if !ok || value == "" {
			continue
		}
		sql, args, hint := c.where(value)
		if hint != "" {
			wrong = append(wrong, errs.Field{Pointer: "query/" + c.Key, Message: hint})
			continue
		}
		add(sql, args...)
	}
	if q.Search != "" {
		if len([]rune(q.Search)) > 100 {
			wrong = append(wrong, errs.Field{Pointer: "query/q", Message: "最多 100 个字"})
		}
		pattern := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(q.Search) + "%"
		var ors []string
		var args []any
		for _, c := range l.Columns {
			if c.Search {
				ors = append(ors, c.SQL+` LIKE ? ESCAPE '\'`)
				args = append(args, pattern)
			}
		}
		if len(ors) > 0 {
			add("("+strings.Join(ors, " OR ")+")", args...)
		}
	}
	var view *View
	if q.View != "" {
		i := slices.IndexFunc(l.Views, func(v View) bool { return v.Key == q.View })
		if i < 0 {
			wrong = append(wrong, errs.Field{Pointer: "query/view", Message: "没有这个视图"})
		} else {
			view = &l.Views[i]
		}
	}
	if len(wrong) > 0 {
		return nil, errs.Invalid("list.invalidFilter", "查询条件有误，请检查。", wrong...)
	}
	reach := scope.For(ctx, l.Need)
	if l.Unscoped != "" && actor.From(ctx).Can(l.Need) {
		reach = scope.All(l.Unscoped)
	}
	return func() *bun.SelectQuery {
		sel := reach.Apply(l.db.Conn(ctx).NewSelect().TableExpr(l.From), l.Alias)
		if l.Where != nil {
			sel = l.Where(ctx, sel)
		}
		if view != nil {
			sel = view.Where(ctx, sel)
		}
		for _, c := range conds {
			sel = sel.Where(c.sql, c.args...)
		}
		return sel
	}, nil
}

// where turns a filter's value into a condition, or into a hint about what is wrong with it.
func (c *Column) where(value string) (sql string, args []any, hint string) {
	if len(value) > 2000 {
		return "", nil, "条件过长"
	}
	known := func(values ...string) string {
		for _, v := range values {
			if len(c.Values) > 0 && !slices.Contains(c.Values, v) {
				return "只能是下列之一：" + strings.Join(c.Values, "、")
			}
		}
		return ""
	}
	switch c.Filter {
	case Eq:
		if c.Kind == Bool {
			b, err := strconv.ParseBool(value)
			if err != nil {
				return "", nil, "应为 true 或 false"
			}
			return c.SQL + " = ?", []any{b}, ""
		}
		return c.SQL + " = ?", []any{value}, known(value)
	case In:
		values := strings.Split(value, ",")
		if len(values) == 1 {
			return c.SQL + " = ?", []any{value}, known(value)
		}
		return c.SQL + " IN (?)", []any{bun.List(values)}, known(values...)
	case Prefix:
		// A range, not LIKE: it uses the index on both engines, since codes compare byte by byte.
		return c.SQL + " >= ? AND " + c.SQL + " < ?", []any{value, value + "\U0010ffff"}, ""
	case Has:
		b, _ := json.Marshal(value)
		return c.SQL + ` LIKE ? ESCAPE '\'`, []any{"%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(string(b)) + "%"}, known(value)
	case IsNull:
		switch value {
		case "true":
			return c.SQL + " IS NULL", nil, ""
		case "false":
			return c.SQL + " IS NOT NULL", nil, ""
		}
		return "", nil, "应为 true 或 false"
	case Division:
		d, err := gbcode.ParseDivision(value)
		if err != nil {
			return "", nil, err.Error()
		}
		return c.SQL + "." + scope.LevelColumn(int(d.Level())) + " = ?", []any{string(d)}, ""
	case Between:
		from, to, ok := strings.Cut(value, "..")
		if !ok {
			from, to = value, value
		}
		var parts []string
		for i, end := range []string{from, to} {
			if end == "" {
				continue
			}
			bound, err := c.bound(end, i == 1)
			if err != nil {
				return "", nil, "应形如 2026-01-01..2026-02-01，可省略一端"
			}
			parts = append(parts, c.SQL+[]string{" >= ?", " < ?"}[i])
			if c.Kind == Number && i == 1 {
				parts[len(parts)-1] = c.SQL + " <= ?"
			}
			args = append(args, bound)
		}
		if len(parts) == 0 {
			return "", nil, "应形如 2026-01-01..2026-02-01，可省略一端"
		}
		return strings.Join(parts, " AND "), args, ""
	}
	return "", nil, "不能按此项筛选"
}

// bound reads one end of a range. The upper end of days and times is exclusive: the moment after.
func (c *Column) bound(s string, upper bool) (any, error) {
	if c.Kind == Number {
		return strconv.ParseFloat(s, 64)
	}
	if day, err := time.ParseInLocation(time.DateOnly, s, clock.Zone); err == nil {
		if upper {
			day = day.AddDate(0, 0, 1)
		}
		if c.Kind == Day {
			return day.Format(time.DateOnly), nil
		}
		return day, nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if upper {
		at = at.Add(time.Millisecond)
	}
	return at, err
}

func (l *List[Row]) order(sort string) (c Column, desc bool, err error) {
	key, desc := strings.CutPrefix(sort, "-")
	c, ok := l.column(key)
	if !ok || !c.Sort {
		var can []string
		for _, c := range l.Columns {
			if c.Sort {
				can = append(can, c.Key)
			}
		}
		return c, desc, invalid("sort", "只能按下列之一排序（前加 - 为降序）："+strings.Join(can, "、"))
	}
	if c.SortBy == "" {
		c.SortBy = c.SQL
	}
	return c, desc, nil
}

// page adds columns, order and the place after the cursor.
func (l *List[Row]) page(q *bun.SelectQuery, sort, cursor string) (*bun.SelectQuery, error) {
	if sort == "" {
		sort = l.Order
	}
	by, desc, err := l.order(sort)
	if err != nil {
		return nil, err
	}
	id, _ := l.column("id")
	for _, c := range l.Columns {
		if f, ok := l.fields[c.Key]; ok {
			q = q.ColumnExpr(c.SQL+" AS ?", bun.Ident(f.column))
		}
	}
	direction, after := " ASC", ">"
	if desc {
		direction, after = " DESC", "<"
	}
	if cursor != "" {
		var at [3]string
		b, err := base64.RawURLEncoding.DecodeString(cursor)
		if err != nil || json.Unmarshal(b, &at) != nil || at[0] != sort {
			return nil, invalid("cursor", "翻页位置已失效，请从第一页重新查询")
		}
		var value any = at[1]
		if by.Kind == Number {
			if value, err = strconv.ParseFloat(at[1], 64); err != nil {
				return nil, invalid("cursor", "翻页位置已失效，请从第一页重新查询")
			}
		}
		// A row value compares as one key and uses the index (sort, id) on both engines.
		q = q.Where(fmt.Sprintf("(%s, %s) %s (?, ?)", by.SortBy, id.SQL, after), value, at[2])
	}
	if by.Key == "id" {
		return q.OrderExpr(id.SQL + direction), nil
	}
	return q.OrderExpr(by.SortBy + direction).OrderExpr(id.SQL + direction), nil
}

func (l *List[Row]) cursorAfter(row *Row, sort string) string {
	if sort == "" {
		sort = l.Order
	}
	by, _, _ := l.order(sort)
	b, _ := json.Marshal([3]string{sort, l.text(row, by.Key), l.text(row, "id")})
	return base64.RawURLEncoding.EncodeToString(b)
}

// text is a row's value as it is stored.
func (l *List[Row]) text(row *Row, key string) string {
	v := reflect.ValueOf(row).Elem().FieldByIndex(l.fields[key].index)
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	if t, ok := v.Interface().(time.Time); ok {
		if t.IsZero() {
			return ""
		}
		return db.FormatTime(t)
	}
	return fmt.Sprint(v.Interface())
}

func invalid(name, message string) error {
	return errs.Invalid("list.invalidFilter", "查询条件有误，请检查。", errs.Field{Pointer: "query/" + name, Message: message})
}
