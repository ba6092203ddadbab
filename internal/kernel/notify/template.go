package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// Template is a kind of message, declared by the module that sends it.
type Template struct {
	Key    string  `json:"key"`    // "hiddendanger.assigned": module and occasion
	Name   string  `json:"name"`   // "隐患整改下达", for the administrator
	Fields []Field `json:"fields"` // what the words may mention, and nothing else
	Texts  []Text  `json:"texts"`  // the default words, one for each kind of channel that the message may take
}

// Field is something that the words of a template may mention as {{.name}}.
type Field struct {
	Name   string `json:"name"`   // lower camel case
	Title  string `json:"title"`  // "隐患编号"
	Sample string `json:"sample"` // "YH-2026-0001": for the preview and the check
}

// Text is the default words for one kind of channel, in the syntax of text/template: fields {{.no}}, and {{if .due}}…{{else}}…{{end}} with and, or, not, eq and ne.
type Text struct {
	Kind  Kind   `json:"kind"`
	Title string `json:"title"`
	Body  string `json:"body"`
}

// Wording is the words of a template for one kind of channel during one period. Of several in force the one that began last is used.
type Wording struct {
	bun.BaseModel `bun:"table:notify_template,alias:r" json:"-"`
	record.Head

	Key           string `bun:"key" json:"key" doc:"消息模板"`
	Kind          Kind   `bun:"kind" json:"kind" enum:"inApp,mail,webhook" doc:"渠道类别"`
	Title         string `bun:"title" json:"title" doc:"标题"`
	Body          string `bun:"body" json:"body" doc:"正文"`
	EffectiveFrom string `bun:"effective_from" json:"effectiveFrom" doc:"启用日期，空表示自始有效"`
	EffectiveTo   string `bun:"effective_to" json:"effectiveTo" doc:"最后有效日期（含当日），空表示长期有效"`
	Active        bool   `bun:"active" json:"active" doc:"false：不再发送"`
	Shipped       string `bun:"shipped" json:"shipped"` // as in kernel/dict: first day and digest of what the program shipped; empty for people's own
}

const (
	maxTitle = 100   // characters, rendered
	maxBody  = 4000  // characters, rendered
	maxWords = 10000 // characters of a template
)

// Declare adds templates. It is called while the program is put together, before Seed, and panics on a key that is taken or words that are wrong.
func (n *Notifier) Declare(templates ...Template) {
	for _, t := range templates {
		if n.declared[t.Key] != nil {
			panic("notify: template declared twice: " + t.Key)
		}
		for _, text := range t.Texts {
			if _, err := t.render(text.Title, text.Body, t.samples()); err != nil {
				panic(fmt.Sprintf("notify: template %s: %v", t.Key, err))
			}
		}
		n.declared[t.Key] = &t
		n.order = append(n.order, t.Key)
	}
}

func (t *Template) samples() map[string]any {
	data := map[string]any{}
	for _, f := range t.Fields {
		data[f.Name] = f.Sample
	}
	return data
}

func (t *Template) has(field string) bool {
	return slices.ContainsFunc(t.Fields, func(f Field) bool { return f.Name == field })
}

// words is a rendered message.
type words struct{ Title, Body string }

// wordsError is a mistake in the words of a template.
type wordsError struct {
	pointer string // "/title" or "/body"
	message string // Chinese
}

func (e *wordsError) Error() string { return e.pointer + ": " + e.message }

// render fills the words with data, whose names must be fields of the template; what data lacks is empty. The title becomes one line.
func (t *Template) render(title, body string, data map[string]any) (words, error) {
	values := make(map[string]string, len(t.Fields))
	for _, f := range t.Fields {
		values[f.Name] = ""
	}
	for name, v := range data {
		if _, ok := values[name]; !ok {
			return words{}, fmt.Errorf("template %s has no field %q", t.Key, name)
		}
		values[name] = show(v)
	}
	fill := func(pointer, text string) (string, error) {
		if utf8.RuneCountInString(text) > maxWords {
			return "", &wordsError{pointer, fmt.Sprintf("不能超过%d字。", maxWords)}
		}
		tmpl, err := template.New("").Option("missingkey=error").Parse(text)
		if err != nil {
			return "", &wordsError{pointer, "写法有误：" + strings.TrimPrefix(err.Error(), "template: ")}
		}
		if len(tmpl.Templates()) > 1 {
			return "", &wordsError{pointer, "不能定义子模板。"}
		}
		if tmpl.Tree == nil { // nothing but white space
			return "", nil
		}
		if problem := t.checkNode(tmpl.Root); problem != "" {
			return "", &wordsError{pointer, problem}
		}
		var b strings.Builder
		if err := tmpl.Execute(&b, values); err != nil {
			return "", &wordsError{pointer, "写法有误：" + err.Error()}
		}
		return b.String(), nil
	}
	w := words{}
	var err error
	if w.Title, err = fill("/title", title); err != nil {
		return w, err
	}
	if w.Body, err = fill("/body", body); err != nil {
		return w, err
	}
	w.Title = clip(strings.Join(strings.Fields(strings.Map(printable, w.Title)), " "), maxTitle)
	w.Body = clip(strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return printable(r)
	}, w.Body)), maxBody)
	return w, nil
}

func printable(r rune) rune {
	switch {
	case unicode.IsSpace(r):
		return ' '
	case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
		return -1
	}
	return r
}

func clip(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// show is a value as people read it.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.In(clock.Zone).Format("2006年1月2日 15:04")
	}
	return fmt.Sprint(v)
}

// checkNode refuses everything but text, fields of the template, and conditions on them: an administrator's words must not be able to run
// for long or to reach beyond their data. It returns what is wrong, in Chinese.
func (t *Template) checkNode(node parse.Node) string {
	first := func(nodes ...parse.Node) string {
		for _, n := range nodes {
			if problem := t.checkNode(n); problem != "" {
				return problem
			}
		}
		return ""
	}
	switch n := node.(type) {
	case *parse.TextNode, *parse.CommentNode, *parse.StringNode:
		return ""
	case *parse.ListNode:
		if n == nil {
			return ""
		}
		return first(n.Nodes...)
	case *parse.ActionNode:
		return first(n.Pipe)
	case *parse.IfNode:
		return first(n.Pipe, n.List, n.ElseList)
	case *parse.PipeNode:
		if len(n.Decl) > 0 {
			return "不能定义变量。"
		}
		for _, c := range n.Cmds {
			if problem := first(c.Args...); problem != "" {
				return problem
			}
		}
		return ""
	case *parse.IdentifierNode:
		if slices.Contains([]string{"and", "or", "not", "eq", "ne"}, n.Ident) {
			return ""
		}
		return "不能使用函数 " + n.Ident + "。"
	case *parse.FieldNode:
		if len(n.Ident) == 1 && t.has(n.Ident[0]) {
			return ""
		}
		return "没有字段 ." + strings.Join(n.Ident, ".") + "，请使用：" + t.fieldList() + "。"
	}
	return fmt.Sprintf("不能使用 {{%s}}。", clip(node.String(), 40))
}

func (t *Template) fieldList() string {
	var out []string
	for _, f := range t.Fields {
		out = append(out, "."+f.Name+"（"+f.Title+"）")
	}
	return strings.Join(out, "、")
}

// Seed writes the default words that the tables lack, and corrects those that nobody has edited. It may be called at every start, and by several processes
// at once.
func (n *Notifier) Seed(ctx context.Context) error {
	ctx = actor.AsSystem(ctx, "notify")
	for lost := 0; ; lost++ {
		err := n.db.Tx(ctx, n.seed)
		_, taken := db.UniqueViolation(err)
		if err == nil || lost == 100 || !taken && errs.KindOf(err) != errs.KindConflict {
			return err
		}
	}
}

func (n *Notifier) seed(ctx context.Context) error {
	stored, err := n.wordings(ctx)
	if err != nil {
		return err
	}
	for _, key := range n.order {
		for _, text := range n.declared[key].Texts {
			w := &Wording{Key: key, Kind: text.Kind, Title: text.Title, Body: text.Body, Active: true}
			w.Shipped = w.seal()
			i := slices.IndexFunc(stored, func(s *Wording) bool {
				return s.Key == key && s.Kind == text.Kind && (s.EffectiveFrom == "" || strings.HasPrefix(s.Shipped, "#"))
			})
			switch {
			case i < 0:
				err = n.templates.Insert(ctx, w, record.Change{Fact: "notify.templateShipped", Title: "随程序带入消息模板"})
			case stored[i].Shipped != w.Shipped && stored[i].Shipped == stored[i].seal():
				w.Head = stored[i].Head
				err = n.templates.Update(ctx, w, record.Change{Fact: "notify.templateCorrected", Title: "随新版程序更正消息模板"})
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// seal is the first day of the words and a digest of them, see Shipped.
func (w *Wording) seal() string {
	b, err := json.Marshal([]any{w.Key, w.Kind, w.Title, w.Body, w.EffectiveFrom, w.EffectiveTo, w.Active})
	if err != nil {
		panic(err) // strings and a truth value
	}
	sum := sha256.Sum256(b)
	return w.EffectiveFrom + "#" + hex.EncodeToString(sum[:12])
}

func (n *Notifier) wordings(ctx context.Context) ([]*Wording, error) {
	return n.templates.Find(ctx, scope.All("templates belong to the installation"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.origin = ?", n.db.Node).Order("r.key", "r.kind", "r.effective_from DESC")
	})
}

// inForce maps kinds of channels to the words that a template has for them today.
func (n *Notifier) inForce(ctx context.Context, key string) (map[Kind]*Wording, error) {
	today := n.today()
	found, err := n.templates.Find(ctx, scope.All("templates belong to the installation"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.origin = ? AND r.key = ? AND r.active", n.db.Node, key).
			Where("r.effective_from <= ? AND (r.effective_to = '' OR r.effective_to >= ?)", today, today).Order("r.effective_from")
	})
	if err != nil {
		return nil, err
	}
	out := map[Kind]*Wording{}
	for _, w := range found {
		out[w.Kind] = w // the later one wins
	}
	return out, nil
}

// TemplateInfo is a declared template with all its words.
type TemplateInfo struct {
	Key    string     `json:"key"`
	Name   string     `json:"name"`
	Fields []Field    `json:"fields"`
	Words  []*Wording `json:"words"`
}

// Templates lists the declared templates with their words of all periods. It asks for the permission Manage.
func (n *Notifier) Templates(ctx context.Context) ([]TemplateInfo, error) {
	if err := allowed(ctx); err != nil {
		return nil, err
	}
	all, err := n.wordings(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]TemplateInfo, len(n.order))
	for i, key := range n.order {
		t := n.declared[key]
		out[i] = TemplateInfo{Key: key, Name: t.Name, Fields: t.Fields, Words: []*Wording{}}
		for _, w := range all {
			if w.Key == key {
				out[i].Words = append(out[i].Words, w)
			}
		}
	}
	return out, nil
}

// WordsInput is words for a template.
type WordsInput struct {
	Key           string `json:"key" minLength:"1" maxLength:"100" doc:"消息模板"`
	Kind          Kind   `json:"kind" enum:"inApp,mail,webhook" doc:"渠道类别"`
	Title         string `json:"title" minLength:"1" maxLength:"500" doc:"标题"`
	Body          string `json:"body" maxLength:"10000" doc:"正文"`
	EffectiveFrom string `json:"effectiveFrom,omitempty" format:"date" doc:"启用日期"`
	EffectiveTo   string `json:"effectiveTo,omitempty" format:"date" doc:"最后有效日期（含当日）"`
	Active        bool   `json:"active" doc:"false：不再发送"`
}

// Preview renders words with the samples of the template's fields, or says what is wrong with them. It asks for the permission Manage.
func (n *Notifier) Preview(ctx context.Context, in WordsInput) (title, body string, err error) {
	if err := allowed(ctx); err != nil {
		return "", "", err
	}
	w, err := n.check(in)
	return w.Title, w.Body, err
}

func (n *Notifier) check(in WordsInput) (words, error) {
	t := n.declared[in.Key]
	if t == nil {
		return words{}, errs.NotFound("notify.noTemplate", "没有这个消息模板。")
	}
	w, err := t.render(in.Title, in.Body, t.samples())
	var wrong *wordsError
	switch {
	case errors.As(err, &wrong):
		return w, errs.InvalidField("notify.words", wrong.pointer, wrong.message)
	case err != nil:
		return w, err
	case w.Title == "":
		return w, errs.InvalidField("notify.words", "/title", "标题不能为空。")
	case !slices.Contains([]Kind{InApp, Mail, Webhook}, in.Kind):
		return w, errs.InvalidField("notify.kind", "/kind", "渠道类别应为 inApp、mail 或 webhook。")
	case !isDay(in.EffectiveFrom):
		return w, errs.InvalidField("notify.date", "/effectiveFrom", "日期应形如2026-03-11。")
	case !isDay(in.EffectiveTo):
		return w, errs.InvalidField("notify.date", "/effectiveTo", "日期应形如2026-03-11。")
	case in.EffectiveTo != "" && in.EffectiveTo < in.EffectiveFrom:
		return w, errs.InvalidField("notify.date", "/effectiveTo", "最后有效日期不能早于启用日期。")
	}
	return w, nil
}

func isDay(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return s == "" || err == nil
}

// SaveWords changes the words with the id, or adds words for a template when id is empty; version is the one that was read. It asks for the permission Manage.
func (n *Notifier) SaveWords(ctx context.Context, id string, version int64, in WordsInput) (*Wording, error) {
	if err := allowed(ctx); err != nil {
		return nil, err
	}
	if _, err := n.check(in); err != nil {
		return nil, err
	}
	w := &Wording{}
	err := n.db.Tx(ctx, func(ctx context.Context) (err error) {
		if id != "" {
			if w, err = n.templates.Load(ctx, scope.All("whoever may edit templates may edit all"), id); err != nil {
				return err
			}
			if err := n.templates.CheckVersion(w, version); err != nil {
				return err
			}
			if w.Key != in.Key || w.Kind != in.Kind {
				return errs.InvalidField("notify.kind", "/kind", "模板和渠道类别不能更改，请新增一条。")
			}
		}
		w.Key, w.Kind, w.Title, w.Body = in.Key, in.Kind, in.Title, in.Body
		w.EffectiveFrom, w.EffectiveTo, w.Active = in.EffectiveFrom, in.EffectiveTo, in.Active
		if id == "" {
			err = n.templates.Insert(ctx, w, record.Change{Fact: "notify.templateAdded", Title: "新增消息模板"})
		} else {
			err = n.templates.Update(ctx, w, record.Change{Fact: "notify.templateEdited", Title: "修改消息模板"})
		}
		if _, taken := db.UniqueViolation(err); taken {
			return errs.Conflict("notify.sameDay", "该模板已有同日启用的内容，请修改那一条。")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}
