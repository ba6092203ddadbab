package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/scope"
)

// View is the permission to read policies.
const View = "policy.view"

// Any is a Policy of whatever type, for the page on which all of them are kept. Its values are JSON.
type Any interface {
	Describe() Description
	ForJSON(ctx context.Context, division string, at time.Time) (value json.RawMessage, version string, err error)
	SetJSON(ctx context.Context, division, effectiveFrom, basis string, value json.RawMessage) (*Version, error)
}

// Description says what a policy is called and what holds where nobody has set another value.
type Description struct {
	Name    string          `json:"name"`
	Title   string          `json:"title"`
	Default json.RawMessage `json:"default" doc:"程序自带的取值"`
	Type    reflect.Type    `json:"-"` // of the value
}

// Declare adds policies that may be kept by name. It is called while the program is put together, and panics on a name that is taken.
func (s *Store) Declare(policies ...Any) {
	for _, p := range policies {
		if name := p.Describe().Name; s.named(name) != nil {
			panic("policy: declared twice: " + name)
		}
		s.declared = append(s.declared, p)
	}
}

// Declared lists the declared policies in the order of declaration.
func (s *Store) Declared() []Any { return slices.Clone(s.declared) }

// Named returns the declared policy with the name; an unknown name is not found.
func (s *Store) Named(name string) (Any, error) {
	if p := s.named(name); p != nil {
		return p, nil
	}
	return nil, errs.NotFound("policy.unknown", "没有这项策略，请从列表中选择。")
}

func (s *Store) named(name string) Any {
	for _, p := range s.declared {
		if p.Describe().Name == name {
			return p
		}
	}
	return nil
}

// Versions lists all versions of a policy in all divisions, the newest first. It asks for View or Manage.
func (s *Store) Versions(ctx context.Context, name string) ([]*Version, error) {
	if who := actor.From(ctx); !who.Can(View) && !who.Can(Manage) {
		return nil, errs.Forbidden("policy.forbidden", "您没有查看策略的权限，如有需要请联系安全管理员。")
	}
	return s.versions.Find(ctx, scope.All("policies apply to whoever is below"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.name = ?", name).Order("r.effective_from DESC", "r.created_at DESC", "r.id DESC").Limit(500)
	})
}

// Describe is the policy without its type.
func (p *Policy[T]) Describe() Description {
	b, err := json.Marshal(p.Default)
	if err != nil {
		panic("policy " + p.Name + ": " + err.Error()) // a plain struct
	}
	return Description{Name: p.Name, Title: p.Title, Default: b, Type: reflect.TypeFor[T]()}
}

// ForJSON is For with the value as JSON.
func (p *Policy[T]) ForJSON(ctx context.Context, division string, at time.Time) (json.RawMessage, string, error) {
	value, version, err := p.For(ctx, division, at)
	if err != nil {
		return nil, "", err
	}
	b, err := json.Marshal(value)
	return b, version, err
}

// SetJSON is Set with the value as JSON. Fields that are missing take the defaults; fields that the policy does not have are refused.
func (p *Policy[T]) SetJSON(ctx context.Context, division, effectiveFrom, basis string, value json.RawMessage) (*Version, error) {
	strict := json.NewDecoder(bytes.NewReader(value))
	strict.DisallowUnknownFields()
	var unchecked T
	if err := strict.Decode(&unchecked); err != nil {
		return nil, refuse(err)
	}
	complete, err := over(p.Default, string(value))
	if err != nil {
		return nil, refuse(err)
	}
	return p.Set(ctx, division, effectiveFrom, basis, complete)
}

// refuse says in Chinese which field of a value is wrong.
func refuse(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return errs.InvalidField("policy.value", "/value/"+strings.ReplaceAll(wrong.Field, ".", "/"), "类型不对，请参照默认取值填写。")
	}
	if _, field, ok := strings.Cut(err.Error(), "unknown field "); ok {
		return errs.InvalidField("policy.value", "/value/"+strings.Trim(field, `"`), "没有这一项，请删除。")
	}
	return errs.InvalidField("policy.value", "/value", "应为 JSON 对象，请参照默认取值填写。")
}
