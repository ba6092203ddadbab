// Package policy keeps what differs from place to place and from year to year: a typed struct per module, per division, with dates.
//
// How many days a general hidden danger may take, how often an enterprise of a class checks itself, whether a second review is needed: such values
// are data with a Go type, not constants and not formulas in the database. Each version names the clause or notice it rests on. The version in force is the
// newest one, at the nearest division upwards, that was effective on the day of the fact; records keep the id of the version they were judged by.
package policy

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the table of policies.
var Migrations = db.Migrations{Part: "policy", Files: files}

// Manage is the permission to set policies.
const Manage = "policy.manage"

// Version is one version of one module's policy in one division.
type Version struct {
	bun.BaseModel `bun:"table:policy_version,alias:r"`
	record.Head
	scope.Place
	Name          string `bun:"name" json:"name" doc:"策略名，如 hiddendanger"`
	EffectiveFrom string `bun:"effective_from" json:"effectiveFrom" doc:"生效日期"`
	Basis         string `bun:"basis" json:"basis" doc:"依据"`
	Value         string `bun:"value" json:"value" doc:"内容（JSON）"`
}

// Store keeps all modules' policies.
type Store struct {
	db       *db.DB
	versions *record.Store[Version, *Version]
	declared []Any // in the order of declaration; fixed once the program is put together
}

// New returns the store in d.
func New(d *db.DB, log *audit.Log, reg *record.Registry) *Store {
	return &Store{db: d, versions: record.NewStore[Version](d, log, reg, record.Type{Name: "policy.version", Title: "策略"})}
}

// Policy is one module's policy, with the value that holds where nobody has set another.
type Policy[T any] struct {
	Name     string
	Title    string
	Default  T
	Validate func(T) error // says what is wrong with a value, as an errs.Error; may be nil
	Store    *Store
}

// For returns the value in force in the division on the day of at, and the id of the version, which is empty for the default.
func (p *Policy[T]) For(ctx context.Context, division string, at time.Time) (value T, version string, err error) {
	codes := []string{scope.Nation}
	for d := gbcode.Division(division); d != ""; d = d.Parent() {
		codes = append(codes, string(d))
	}
	v, err := p.Store.versions.First(ctx, scope.All("policies apply to whoever is below"), func(q *bun.SelectQuery) *bun.SelectQuery {
		// A child's code is greater than its ancestors' as text, so the nearest division comes first.
		return q.Where("r.name = ? AND r.division IN (?) AND r.effective_from <= ?", p.Name, bun.List(codes), clock.Date(at)).
			Order("r.division DESC", "r.effective_from DESC", "r.created_at DESC")
	})
	if err != nil || v == nil {
		return p.Default, "", err
	}
	if value, err = over(p.Default, v.Value); err != nil {
		return p.Default, "", fmt.Errorf("policy %s %s: %w", p.Name, v.ID, err)
	}
	return value, v.ID, nil
}

// over is the stored value; fields that an older version does not know keep their defaults. Decoding straight over the default would write into its slices and maps.
func over[T any](fallback T, stored string) (value T, err error) {
	base, err := json.Marshal(fallback)
	if err != nil {
		return value, err
	}
	fields := map[string]json.RawMessage{}
	if err := errors.Join(json.Unmarshal(base, &fields), json.Unmarshal([]byte(stored), &fields)); err != nil {
		return value, err
	}
	merged, err := json.Marshal(fields)
	if err != nil {
		return value, err
	}
	err = json.Unmarshal(merged, &value)
	return value, err
}

// Set makes a new version for the division, in force from the day effectiveFrom (2026-01-01). The actor needs policy.manage there. Earlier versions stay, for records judged
// by them.
func (p *Policy[T]) Set(ctx context.Context, division, effectiveFrom, basis string, value T) (*Version, error) {
	if _, err := time.Parse(time.DateOnly, effectiveFrom); err != nil {
		return nil, errs.InvalidField("policy.date", "/effectiveFrom", "应为日期，如 2026-01-01")
	}
	if basis == "" {
		return nil, errs.InvalidField("policy.basis", "/basis", "请填写依据（文件名称、文号或条款）")
	}
	if p.Validate != nil {
		if err := p.Validate(value); err != nil {
			return nil, err
		}
	}
	if !scope.For(ctx, Manage).ReachesDivision(division, "") && actor.From(ctx).Kind != actor.System {
		return nil, errs.Forbidden("policy.scope", "只能设定本辖区的策略。")
	}
	b, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	v := &Version{Place: scope.At(division, "", ""), Name: p.Name, EffectiveFrom: effectiveFrom, Basis: basis, Value: string(b)}
	return v, p.Store.db.Tx(ctx, func(ctx context.Context) error {
		return p.Store.versions.Insert(ctx, v, record.Change{Fact: "policy.set", Title: "设定" + p.Title})
	})
}
