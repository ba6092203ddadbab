package org

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
)

// DivisionInput describes a new division.
type DivisionInput struct {
	Code      string   `json:"code,omitempty" doc:"2、4、6、9或12位代码；功能区留空，由系统在所属县级代码下编号" maxLength:"12"`
	Name      string   `json:"name" minLength:"1" maxLength:"100" doc:"名称"`
	Kind      string   `json:"kind,omitempty" enum:"division,grouping,zone,statistical_zone" doc:"默认为行政区划"`
	County    string   `json:"county,omitempty" doc:"功能区所属的县级代码" maxLength:"12"`
	ValidFrom string   `json:"validFrom,omitempty" format:"date" doc:"启用日期，空表示自始有效"`
	Basis     string   `json:"basis,omitempty" maxLength:"500" doc:"设立依据"`
	Lon       *float64 `json:"lon,omitempty" minimum:"-180" maximum:"180"`
	Lat       *float64 `json:"lat,omitempty" minimum:"-90" maximum:"90"`
}

// RenameInput gives a division a new name from a day on.
type RenameInput struct {
	Code  string `json:"code" minLength:"12" maxLength:"12"`
	Name  string `json:"name" minLength:"1" maxLength:"100" doc:"新名称"`
	On    string `json:"on" format:"date" doc:"启用新名称的日期"`
	Basis string `json:"basis" minLength:"1" maxLength:"500" doc:"批准文号"`
}

// MergeInput ends divisions on the day before On and names the one that takes over all of their territory: a merger (撤并), or the same place under
// a new code (改码).
type MergeInput struct {
	From []string `json:"from" minItems:"1" maxItems:"50" doc:"被撤并的代码"`
	Into string   `json:"into" minLength:"12" maxLength:"12" doc:"并入的代码，应已存在"`
	On   string   `json:"on" format:"date" doc:"生效日期"`
	// Recode says that this is the same division under a new code, so that what lies below moves with its last digits unchanged and exists there too.
	// Without it the divisions below end without successor, until they too are merged, one by one.
	Recode bool   `json:"recode,omitempty" doc:"整建制改码：下级代码后几位不变"`
	Basis  string `json:"basis" minLength:"1" maxLength:"500" doc:"批准文号"`
}

// SplitInput divides a division from a day on.
type SplitInput struct {
	Code    string          `json:"code" minLength:"12" maxLength:"12"`
	Into    []DivisionInput `json:"into" minItems:"1" maxItems:"50" doc:"分出的区划；代码已存在的，取其代码"`
	On      string          `json:"on" format:"date" doc:"生效日期"`
	Remains bool            `json:"remains,omitempty" doc:"原区划保留（析出一部分）"`
	Basis   string          `json:"basis" minLength:"1" maxLength:"500" doc:"批准文号"`
}

// LocateInput puts the seat of a division on the map.
type LocateInput struct {
	Code string  `json:"code" minLength:"12" maxLength:"12"`
	Lon  float64 `json:"lon" minimum:"-180" maximum:"180" doc:"经度，CGCS2000"`
	Lat  float64 `json:"lat" minimum:"-90" maximum:"90" doc:"纬度，CGCS2000"`
}

// zoneFirst and zoneLast are the township digits that this platform gives to functional zones. GB/T 10114 uses 001–399 and the statistics bureau
// 400–599 for the like; neither reaches 900.
const (
	zoneFirst = 900
	zoneLast  = 999
)

// AddDivision enters a new division or functional zone. It asks for Manage. A code that exists is a conflict.
func (o *Directory) AddDivision(ctx context.Context, in DivisionInput) (*Division, error) {
	var d *Division
	err := o.edit(ctx, func(ctx context.Context) (subjects []string, err error) {
		d, err = o.addDivision(ctx, in, "")
		return divisionSubjects(d), err
	})
	return d, err
}

// Rename gives a division a new name from in.On; before that day it keeps the old one. It asks for Manage.
func (o *Directory) Rename(ctx context.Context, in RenameInput) (*Division, error) {
	var d *Division
	err := o.edit(ctx, func(ctx context.Context) (_ []string, err error) {
		var f fields
		f.required("/name", in.Name)
		f.day("/on", in.On, false)
		f.required("/basis", in.Basis)
		if err := f.err(); err != nil {
			return nil, err
		}
		if d, err = o.existing(ctx, "/code", in.Code, in.On); err != nil {
			return nil, err
		}
		until := dayBefore(in.On)
		if n := len(d.FormerNames); n > 0 && d.FormerNames[n-1].Until >= until {
			return nil, errs.InvalidField("org.renameOrder", "/on", "该区划在这一天之后已有更名记录，日期应晚于 "+d.FormerNames[n-1].Until+"。")
		}
		d.FormerNames = append(d.FormerNames, FormerName{d.Name, until})
		d.Name, d.Basis = strings.TrimSpace(in.Name), in.Basis
		return divisionSubjects(d), o.divisions.Update(ctx, d, record.Change{Fact: "org.divisionRenamed", Title: "区划更名", Data: in})
	})
	return d, err
}

// Merge ends divisions and says which one took over. It asks for Manage. All codes are of one level. A division that had already ended without a
// successor may still be given one: its own last day stays.
func (o *Directory) Merge(ctx context.Context, in MergeInput) error {
	return o.edit(ctx, func(ctx context.Context) (subjects []string, err error) {
		var f fields
		f.day("/on", in.On, false)
		f.required("/basis", in.Basis)
		if len(in.From) == 0 {
			f.add("/from", "请至少选择一个被撤并的区划。")
		}
		if in.Recode && len(in.From) != 1 {
			f.add("/recode", "整建制改码一次只能办一个区划。")
		}
		if err := f.err(); err != nil {
			return nil, err
		}
		into, err := o.existing(ctx, "/into", in.Into, in.On)
		if err != nil {
			return nil, err
		}
		for i, code := range in.From {
			pointer := fmt.Sprintf("/from/%d", i)
			d, err := o.stored(ctx, pointer, code)
			switch {
			case err != nil:
				return nil, err
			case d.Code == into.Code || d.Level != into.Level:
				return nil, errs.InvalidField("org.mergeLevel", pointer, "只能并入另一个同级的区划。")
			case len(d.Successors) > 0:
				return nil, errs.Conflict("org.merged", d.Name+"已撤并，继任代码为 "+strings.Join(d.Successors, "、")+"。")
			}
			moved, err := o.endDivision(ctx, d, into, in)
			if err != nil {
				return nil, err
			}
			subjects = append(subjects, divisionSubjects(moved...)...)
		}
		return subjects, nil
	})
}

// endDivision ends d in favour of into and everything below d with it, and returns what it changed or made.
func (o *Directory) endDivision(ctx context.Context, d, into *Division, in MergeInput) ([]*Division, error) {
	below, err := o.below(ctx, d)
	if err != nil {
		return nil, err
	}
	moved := []*Division{}
	for _, x := range append([]*Division{d}, below...) {
		heir := into.Code
		if x != d {
			heir = ""
			if in.Recode {
				heir = gbcode.Division(into.Code).Prefix() + x.Code[len(gbcode.Division(d.Code).Prefix()):]
				made, err := o.counterpart(ctx, x, heir, in)
				if err != nil {
					return nil, err
				}
				if made != nil {
					moved = append(moved, made)
				}
			}
		}
		if x.ValidTo == "" || x.ValidTo >= in.On {
			x.ValidTo = dayBefore(in.On)
		}
		if heir != "" {
			x.Successors, x.Recoded = []string{heir}, in.Recode
		}
		x.Basis = in.Basis
		if err := o.divisions.Update(ctx, x, record.Change{Fact: "org.divisionMerged", Title: "区划撤并", Data: in}); err != nil {
			return nil, err
		}
		moved = append(moved, x)
	}
	return moved, nil
}

// counterpart makes the division that x becomes under the new code, unless it exists.
func (o *Directory) counterpart(ctx context.Context, x *Division, code string, in MergeInput) (*Division, error) {
	if have, err := o.byCode(ctx, code); err != nil || have != nil {
		return nil, err
	}
	made := &Division{Code: code, Name: x.Name, Level: x.Level, Parent: string(gbcode.Division(code).Parent()), Kind: x.Kind,
		Statistical: x.Statistical, ValidFrom: in.On, Basis: in.Basis, Lon: x.Lon, Lat: x.Lat}
	return made, o.insertDivision(ctx, made, record.Change{Fact: "org.divisionAdded", Title: "新设区划", Data: in})
}

// Split divides a division. It asks for Manage. Parts that do not exist yet are made. Unless it remains, the divided one ends and all parts are its
// successors; what lies below it ends too, to be merged into its new place one by one.
func (o *Directory) Split(ctx context.Context, in SplitInput) error {
	return o.edit(ctx, func(ctx context.Context) (subjects []string, err error) {
		var f fields
		f.day("/on", in.On, false)
		f.required("/basis", in.Basis)
		if len(in.Into) == 0 || len(in.Into) == 1 && !in.Remains {
			f.add("/into", "请填写分出的各区划；整体并入一个区划请用撤并。")
		}
		if err := f.err(); err != nil {
			return nil, err
		}
		d, err := o.existing(ctx, "/code", in.Code, in.On)
		if err != nil {
			return nil, err
		}
		var parts []string
		for i, part := range in.Into {
			pointer := fmt.Sprintf("/into/%d", i)
			p, err := o.part(ctx, pointer, part, in)
			if err != nil {
				return nil, err
			}
			if p.Code == d.Code || p.Level != d.Level || slices.Contains(parts, p.Code) {
				return nil, errs.InvalidField("org.splitLevel", pointer+"/code", "应为另一个同级的区划，且不重复。")
			}
			parts = append(parts, p.Code)
			subjects = append(subjects, divisionSubjects(p)...)
		}
		change := record.Change{Fact: "org.divisionSplit", Title: "区划分设", Data: in}
		d.Basis = in.Basis
		ended := []*Division{d}
		if !in.Remains {
			below, err := o.below(ctx, d)
			if err != nil {
				return nil, err
			}
			d.Successors = parts
			ended = append(ended, below...)
			for _, x := range ended {
				x.ValidTo, x.Basis = dayBefore(in.On), in.Basis
			}
		}
		for _, x := range ended {
			if err := o.divisions.Update(ctx, x, change); err != nil {
				return nil, err
			}
		}
		return append(subjects, divisionSubjects(ended...)...), nil
	})
}

func (o *Directory) part(ctx context.Context, pointer string, part DivisionInput, in SplitInput) (*Division, error) {
	if code, err := gbcode.ParseDivision(part.Code); err == nil {
		if have, err := o.byCode(ctx, string(code)); err != nil || have != nil {
			return have, err
		}
	}
	if part.ValidFrom == "" {
		part.ValidFrom = in.On
	}
	if part.Basis == "" {
		part.Basis = in.Basis
	}
	return o.addDivision(ctx, part, pointer)
}

// Locate puts the seat of a division on the map. It asks for Manage.
func (o *Directory) Locate(ctx context.Context, in LocateInput) (*Division, error) {
	var d *Division
	err := o.edit(ctx, func(ctx context.Context) (_ []string, err error) {
		if in.Lon < -180 || in.Lon > 180 || in.Lat < -90 || in.Lat > 90 {
			return nil, errs.InvalidField("org.place", "/lon", "经度应在 ±180、纬度应在 ±90 之间，请检查是否填反。")
		}
		if d, err = o.stored(ctx, "/code", in.Code); err != nil {
			return nil, err
		}
		d.Lon, d.Lat = &in.Lon, &in.Lat
		return divisionSubjects(d), o.divisions.Update(ctx, d, record.Change{Fact: "org.divisionLocated", Title: "标注区划驻地", Data: in})
	})
	return d, err
}

// addDivision checks and inserts a new division; base stands before the pointers of what is wrong.
func (o *Directory) addDivision(ctx context.Context, in DivisionInput, base string) (*Division, error) {
	d := &Division{Name: strings.TrimSpace(in.Name), Kind: in.Kind, ValidFrom: in.ValidFrom, Basis: in.Basis, Lon: in.Lon, Lat: in.Lat}
	if d.Kind == "" {
		d.Kind = KindDivision
	}
	var f fields
	f.required(base+"/name", d.Name)
	f.day(base+"/validFrom", d.ValidFrom, true)
	f.oneOf(base+"/kind", d.Kind, KindDivision, KindGrouping, KindZone, KindStatistical)
	if (d.Lon == nil) != (d.Lat == nil) {
		f.add(base+"/lon", "经度和纬度应同时填写。")
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	if d.Kind == KindZone {
		if err := o.nameZone(ctx, d, in.County, base+"/county"); err != nil {
			return nil, err
		}
	} else {
		code, err := gbcode.ParseDivision(in.Code)
		if err != nil {
			return nil, errs.InvalidField("org.divisionCode", base+"/code", err.Error()+"。")
		}
		d.Code, d.Level, d.Parent = string(code), code.Level(), string(code.Parent())
		if d.Parent != "" {
			if _, err := o.stored(ctx, base+"/code", d.Parent); err != nil {
				return nil, errs.InvalidField("org.divisionParent", base+"/code", "上级区划 "+d.Parent+" 尚未登记，请先登记上级。")
			}
		}
	}
	if have, err := o.byCode(ctx, d.Code); err != nil {
		return nil, err
	} else if have != nil {
		return nil, divisionExists(have.Code, have.Name)
	}
	return d, o.insertDivision(ctx, d, record.Change{Fact: "org.divisionAdded", Title: "新设区划", Data: in})
}

// nameZone gives a functional zone the next free code under its county.
func (o *Directory) nameZone(ctx context.Context, d *Division, county, pointer string) error {
	code, err := gbcode.ParseDivision(county)
	if err != nil || code.Level() != gbcode.County {
		return errs.InvalidField("org.zoneCounty", pointer, "请选择功能区所在的县（市、区）。")
	}
	if _, err := o.stored(ctx, pointer, string(code)); err != nil {
		return err
	}
	// Published at once and not at the end: whoever else numbers a zone waits here.
	if err := o.feed.Publish(ctx, divisionSubject+string(code)); err != nil {
		return err
	}
	var taken string
	if err := o.db.Conn(ctx).NewRaw("SELECT COALESCE(MAX(code), '') FROM org_division WHERE parent = ? AND code >= ? AND kind = ?",
		string(code), zoneCode(code, zoneFirst), KindZone).Scan(ctx, &taken); err != nil {
		return err
	}
	next := zoneFirst
	if taken != "" {
		fmt.Sscanf(taken[6:9], "%d", &next) //nolint:errcheck // nine digits that this function wrote
		next++
	}
	if next > zoneLast {
		return errs.Conflict("org.zonesFull", "该县的功能区代码已用完（900–999），请联系开发单位。")
	}
	d.Code, d.Level, d.Parent = zoneCode(code, next), gbcode.Town, string(code)
	return nil
}

func zoneCode(county gbcode.Division, n int) string {
	return fmt.Sprintf("%s%03d000", county.Prefix(), n)
}

func (o *Directory) insertDivision(ctx context.Context, d *Division, c record.Change) error {
	d.Successors, d.FormerNames = filled(d.Successors), filled(d.FormerNames)
	err := o.divisions.Insert(ctx, d, c)
	if _, taken := db.UniqueViolation(err); taken {
		return divisionExists(d.Code, d.Name).Because(err)
	}
	return err
}

func divisionExists(code, name string) *errs.Error {
	return errs.Conflict("org.divisionExists", "代码 "+code+" 已登记为“"+name+"”，请核对代码。")
}

// byCode reads a division in the transaction; nil when there is none.
func (o *Directory) byCode(ctx context.Context, code string) (*Division, error) {
	return o.divisions.First(ctx, scope.All("divisions are public knowledge"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.code = ?", code)
	})
}

// stored is byCode for a division that must exist.
func (o *Directory) stored(ctx context.Context, pointer, code string) (*Division, error) {
	d, err := o.byCode(ctx, code)
	if err == nil && d == nil {
		err = errs.InvalidField("org.noDivision", pointer, "没有代码为 "+code+" 的区划，请从列表中选择。")
	}
	return d, err
}

// existing is stored for a division that must be in force on the day.
func (o *Directory) existing(ctx context.Context, pointer, code, day string) (*Division, error) {
	d, err := o.stored(ctx, pointer, code)
	if err == nil && !inForce(d.ValidFrom, d.ValidTo, day) {
		err = errs.InvalidField("org.divisionEnded", pointer, d.Name+"（"+code+"）在 "+day+" 不是现行区划。")
	}
	return d, err
}

// below is what lies under d and has not ended.
func (o *Directory) below(ctx context.Context, d *Division) ([]*Division, error) {
	prefix := gbcode.Division(d.Code).Prefix()
	return o.divisions.Find(ctx, scope.All("divisions are public knowledge"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.code > ? AND r.code < ? AND r.valid_to = ''", d.Code, prefix+"9999999999"[:12-len(prefix)]).Order("r.code")
	})
}

func divisionSubjects(ds ...*Division) []string {
	var out []string
	for _, d := range ds {
		if d != nil {
			out = append(out, divisionSubject+d.Code)
		}
	}
	return out
}
