package dict

import (
	"context"
	"maps"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// AddInput is a new item of a code table.
type AddInput struct {
	Kind          string            `json:"kind" minLength:"1" maxLength:"64" doc:"代码表"`
	Code          string            `json:"code" minLength:"1" maxLength:"64" doc:"代码，只含字母、数字、点、横线和下划线"`
	Parent        string            `json:"parent,omitempty" maxLength:"64" doc:"上级代码"`
	Label         string            `json:"label" minLength:"1" maxLength:"200" doc:"名称"`
	Sort          int               `json:"sort,omitempty" doc:"同级中的次序，小的在前"`
	EffectiveFrom string            `json:"effectiveFrom,omitempty" format:"date" doc:"生效日期"`
	EffectiveTo   string            `json:"effectiveTo,omitempty" format:"date" doc:"最后有效日期（含当日）"`
	Clause        string            `json:"clause,omitempty" maxLength:"500" doc:"依据"`
	Mark          string            `json:"mark,omitempty" enum:",V,V2,R,U,P,S0,S1,S2,S3" doc:"可信度标记"`
	Extra         map[string]string `json:"extra,omitempty" doc:"特有属性"`
}

// EditInput changes an item. What is nil stays; kind and code never change.
type EditInput struct {
	Version       int64             `json:"version" minimum:"1" doc:"读到的版本"`
	Parent        *string           `json:"parent,omitempty" maxLength:"64"`
	Label         *string           `json:"label,omitempty" minLength:"1" maxLength:"200"`
	Sort          *int              `json:"sort,omitempty"`
	EffectiveFrom *string           `json:"effectiveFrom,omitempty" format:"date"`
	EffectiveTo   *string           `json:"effectiveTo,omitempty" format:"date"`
	Clause        *string           `json:"clause,omitempty" maxLength:"500"`
	Mark          *string           `json:"mark,omitempty" enum:",V,V2,R,U,P,S0,S1,S2,S3"`
	Extra         map[string]string `json:"extra,omitempty"`
	Active        *bool             `json:"active,omitempty" doc:"false 为停用"`
}

// Add puts a new item into a declared code table. It asks for the permission Manage. A period that overlaps another one of the same code is a
// conflict.
func (d *Dict) Add(ctx context.Context, in AddInput) (*Item, error) {
	i := &Item{Kind: in.Kind, Code: strings.TrimSpace(in.Code), Parent: in.Parent, Label: strings.TrimSpace(in.Label), Sort: in.Sort,
		EffectiveFrom: in.EffectiveFrom, EffectiveTo: in.EffectiveTo, Clause: in.Clause, Mark: in.Mark, Extra: in.Extra, Active: true}
	i.normalise()
	err := d.edit(ctx, func(ctx context.Context) error {
		if err := d.checkStored(ctx, i); err != nil {
			return err
		}
		err := d.items.Insert(ctx, i, record.Change{Fact: "dict.added", Title: "新增代码"})
		if _, taken := db.UniqueViolation(err); taken {
			return overlap(i)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return i, nil
}

// Edit changes the item with the id. It asks for the permission Manage; a version that is not the stored one is a conflict.
func (d *Dict) Edit(ctx context.Context, id string, in EditInput) (*Item, error) {
	var i *Item
	err := d.edit(ctx, func(ctx context.Context) (err error) {
		if i, err = d.items.Load(ctx, scope.All("whoever may edit code tables may edit all"), id); err != nil {
			return err
		}
		if err := d.items.CheckVersion(i, in.Version); err != nil {
			return err
		}
		set(&i.Parent, in.Parent)
		set(&i.Label, in.Label)
		set(&i.Sort, in.Sort)
		set(&i.EffectiveFrom, in.EffectiveFrom)
		set(&i.EffectiveTo, in.EffectiveTo)
		set(&i.Clause, in.Clause)
		set(&i.Mark, in.Mark)
		set(&i.Active, in.Active)
		if in.Extra != nil {
			i.Extra = maps.Clone(in.Extra)
		}
		if err := d.checkStored(ctx, i); err != nil {
			return err
		}
		err = d.items.Update(ctx, i, record.Change{Fact: "dict.edited", Title: "修改代码", Data: in})
		if _, taken := db.UniqueViolation(err); taken {
			return overlap(i)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return i, nil
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// All lists every item of a code table, also those out of force, for the page on which it is kept. It asks for the permission Manage.
func (d *Dict) All(ctx context.Context, kind string) ([]*Item, error) {
	if err := allowed(ctx); err != nil {
		return nil, err
	}
	return d.table(kind).items, nil
}

func (d *Dict) edit(ctx context.Context, fn func(ctx context.Context) error) error {
	if err := allowed(ctx); err != nil {
		return err
	}
	return d.db.Tx(ctx, func(ctx context.Context) error {
		d.changed(ctx)
		return fn(ctx)
	})
}

func allowed(ctx context.Context) error {
	if !actor.From(ctx).Can(Manage) {
		return errs.Forbidden("dict.forbidden", "维护代码表需要系统管理员权限。")
	}
	return nil
}

// checkStored checks an item by itself and against what is stored.
func (d *Dict) checkStored(ctx context.Context, i *Item) error {
	k, ok := d.kind(i.Kind)
	if !ok {
		return errs.NotFound("dict.noKind", "没有这个代码表。")
	}
	if problem := check(k, i); problem != nil {
		return problem
	}
	others, err := d.items.Find(ctx, scope.All("whoever may edit code tables may edit all"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.origin = ? AND r.kind = ? AND r.code IN (?)", d.db.Node, i.Kind, bun.List([]string{i.Code, i.Parent}))
	})
	if err != nil {
		return err
	}
	parent := i.Parent == ""
	for _, o := range others {
		parent = parent || o.Code == i.Parent
		if o.Code == i.Code && o.ID != i.ID && i.overlaps(o) {
			return overlap(i)
		}
	}
	if !parent {
		return errs.InvalidField("dict.noParent", "/parent", "上级代码不存在，请先新增上级。")
	}
	for _, above := range d.Ancestors(i.Kind, i.Parent, time.Time{}) {
		if above.Code == i.Code {
			return errs.InvalidField("dict.cycle", "/parent", "上级不能是自己的下级。")
		}
	}
	return nil
}

func (i *Item) overlaps(o *Item) bool {
	return (i.EffectiveTo == "" || o.EffectiveFrom <= i.EffectiveTo) && (o.EffectiveTo == "" || i.EffectiveFrom <= o.EffectiveTo)
}

func overlap(i *Item) error {
	return errs.Conflict("dict.overlap", "代码“"+i.Code+"”在这段时间内已经存在，请修改原有一项，或先设定它的最后有效日期。")
}

var codePattern = regexp.MustCompile(`^[\p{Han}A-Za-z0-9._-]{1,64}$`)

// check refuses an item that is wrong whatever is stored.
func check(k Kind, i *Item) error {
	var fields []errs.Field
	wrong := func(bad bool, pointer, message string) {
		if bad {
			fields = append(fields, errs.Field{Pointer: pointer, Message: message})
		}
	}
	wrong(!codePattern.MatchString(i.Code), "/code", "代码应为1至64个字母、数字、汉字、点、横线或下划线。")
	wrong(i.Label == "" || len([]rune(i.Label)) > 200 || strings.ContainsFunc(i.Label, unicode.IsControl), "/label", "名称应为1至200个字。")
	wrong(i.Parent != "" && !k.Tree, "/parent", "该代码表不分级，不能有上级。")
	wrong(i.Parent != "" && i.Parent == i.Code, "/parent", "上级不能是自己。")
	wrong(!isDay(i.EffectiveFrom), "/effectiveFrom", "日期应形如2026-03-11。")
	wrong(!isDay(i.EffectiveTo), "/effectiveTo", "日期应形如2026-03-11。")
	wrong(i.EffectiveTo != "" && i.EffectiveTo < i.EffectiveFrom, "/effectiveTo", "最后有效日期不能早于生效日期。")
	wrong(len([]rune(i.Clause)) > 500, "/clause", "依据不能超过500字。")
	wrong(!marks[i.Mark], "/mark", "可信度标记应为 V、V2、R、U、P、S0 至 S3 之一。")
	if len(fields) > 0 {
		return errs.Invalid("dict.invalid", "代码填写有误，请改正标出的各项。", fields...)
	}
	return nil
}

var marks = map[string]bool{"": true, "V": true, "V2": true, "R": true, "U": true, "P": true, "S0": true, "S1": true, "S2": true, "S3": true}

func isDay(s string) bool {
	if s == "" {
		return true
	}
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}
