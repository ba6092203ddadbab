package org

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
)

// The kinds of department.
const (
	CommitteeOffice = "committeeOffice" // 安委会办公室
	Regulator       = "regulator"       // 负有安全生产监督管理职责的部门
	TownOffice      = "town"            // 乡镇（街道）
	ParkOffice      = "park"            // 园区、功能区管委会
	Government      = "government"      // 党委、政府
	OtherDepartment = "other"
)

// Integrated is the line of integrated supervision (综合监管): all lines, beside the department that supervises a line directly
// (安全生产法 第十条).
const Integrated = "*"

// Department is a body of party or government.
type Department struct {
	bun.BaseModel `bun:"table:org_department,alias:r" json:"-"`
	record.Head

	Name        string `bun:"name" json:"name" doc:"全称"`
	ShortName   string `bun:"short_name" json:"shortName" doc:"简称"`
	Division    string `bun:"division" json:"division" doc:"所属行政区划代码"`
	Kind        string `bun:"kind" json:"kind" enum:"committeeOffice,regulator,town,park,government,other"`
	ParentID    string `bun:"parent_id" json:"parentId" doc:"上级部门，可空"`
	SuccessorID string `bun:"successor_id" json:"successorId" doc:"撤并后的继任部门，可空"`
	ValidFrom   string `bun:"valid_from" json:"validFrom" doc:"成立日期，空表示自始有效"`
	ValidTo     string `bun:"valid_to" json:"validTo" doc:"最后有效日期（含当日），空表示现行"`
}

// Function is what a department supervises, where and when.
type Function struct {
	bun.BaseModel `bun:"table:org_function,alias:r" json:"-"`
	record.Head

	DepartmentID string `bun:"department_id" json:"departmentId"`
	Line         string `bun:"line" json:"line" doc:"监管行业领域，* 表示综合监管"`
	Division     string `bun:"division" json:"division" doc:"履行职能的区域"`
	ValidFrom    string `bun:"valid_from" json:"validFrom" doc:"起始日期，空表示自始有效"`
	ValidTo      string `bun:"valid_to" json:"validTo" doc:"最后有效日期（含当日），空表示至今"`
	Basis        string `bun:"basis" json:"basis" doc:"依据：三定方案、权责清单、文件"`
}

// DepartmentInput describes a department.
type DepartmentInput struct {
	Name        string `json:"name" minLength:"1" maxLength:"100" doc:"全称"`
	ShortName   string `json:"shortName,omitempty" maxLength:"50" doc:"简称，默认同全称"`
	Division    string `json:"division" minLength:"12" maxLength:"12" doc:"所属行政区划代码"`
	Kind        string `json:"kind" enum:"committeeOffice,regulator,town,park,government,other"`
	ParentID    string `json:"parentId,omitempty" doc:"上级部门"`
	SuccessorID string `json:"successorId,omitempty" doc:"继任部门"`
	ValidFrom   string `json:"validFrom,omitempty" format:"date"`
	ValidTo     string `json:"validTo,omitempty" format:"date"`
}

// FunctionInput assigns a line to a department.
type FunctionInput struct {
	DepartmentID string `json:"departmentId" minLength:"1"`
	Line         string `json:"line" minLength:"1" maxLength:"50" doc:"监管行业领域，* 表示综合监管"`
	Division     string `json:"division,omitempty" doc:"履行职能的区域，默认为部门所属区划"`
	ValidFrom    string `json:"validFrom,omitempty" format:"date"`
	ValidTo      string `json:"validTo,omitempty" format:"date"`
	Basis        string `json:"basis" minLength:"1" maxLength:"500" doc:"依据"`
}

// Competence is a department that answers for a line in a place, and why.
type Competence struct {
	Department Department `json:"department"`
	Function   Function   `json:"function"`
}

// Integrated reports whether the department answers by integrated supervision, not for the line itself.
func (c *Competence) Integrated() bool { return c.Function.Line == Integrated }

// CompetentDepartments says which departments answer for the line at the division on the day of on: the nearest level first, on each level the
// direct supervisor before integrated supervision. For a division that had been merged by then the question is asked of its successor. The
// result is empty when the organisation is not entered. Nobody needs a permission to know who is competent.
func (o *Directory) CompetentDepartments(ctx context.Context, division, line string, on time.Time) ([]Competence, error) {
	snap, err := o.Divisions(ctx)
	if err != nil {
		return nil, err
	}
	nearness := map[string]int{}
	var codes []string
	add := func(code string, i int) { nearness[code], codes = i, append(codes, code) }
	for i, d := range snap.Chain(snap.Current(division, on)) {
		add(d.Code, i)
		for _, old := range snap.merged {
			if snap.Renumbered(old.Code, on) == d.Code {
				add(old.Code, i) // a function given under the old code of the same division goes on
			}
		}
	}
	if len(codes) == 0 {
		return nil, nil
	}
	day := clock.Date(on)
	functions, err := o.functions.Find(ctx, scope.All("competence is public"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.division IN (?) AND r.line IN (?, ?)", bun.List(codes), line, Integrated).Where(during("r"), day, day)
	})
	if err != nil || len(functions) == 0 {
		return nil, err
	}
	var ids []string
	for _, f := range functions {
		ids = append(ids, f.DepartmentID)
	}
	departments, err := o.departments.Find(ctx, scope.All("competence is public"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.id IN (?)", bun.List(ids)).Where(during("r"), day, day)
	})
	if err != nil {
		return nil, err
	}
	byID := map[string]*Department{}
	for _, d := range departments {
		byID[d.ID] = d
	}
	var out []Competence
	for _, f := range functions {
		if d := byID[f.DepartmentID]; d != nil {
			out = append(out, Competence{*d, *f})
		}
	}
	slices.SortFunc(out, func(a, b Competence) int {
		return cmp.Or(cmp.Compare(nearness[a.Function.Division], nearness[b.Function.Division]),
			// '*' sorts before every letter, and stands last here
			-cmp.Compare(a.Function.Line, b.Function.Line), cmp.Compare(a.Department.Name, b.Department.Name))
	})
	return out, nil
}

// AddDepartment enters a department. It asks for Manage.
func (o *Directory) AddDepartment(ctx context.Context, in DepartmentInput) (*Department, error) {
	d := &Department{}
	err := o.edit(ctx, func(ctx context.Context) ([]string, error) {
		if err := o.fillDepartment(ctx, d, in); err != nil {
			return nil, err
		}
		return []string{functionSubject}, departmentTaken(o.departments.Insert(ctx, d, record.Change{Fact: "org.departmentAdded", Title: "登记部门", Data: in}))
	})
	return d, err
}

// EditDepartment changes a department: all of its fields are replaced by those of in. A department that ends keeps its record, with ValidTo and
// SuccessorID set. It asks for Manage.
func (o *Directory) EditDepartment(ctx context.Context, id string, version int64, in DepartmentInput) (*Department, error) {
	var d *Department
	err := o.edit(ctx, func(ctx context.Context) (_ []string, err error) {
		if d, err = o.departments.Load(ctx, scope.All("Manage reaches every department"), id); err != nil {
			return nil, err
		}
		if err := o.departments.CheckVersion(d, version); err != nil {
			return nil, err
		}
		if err := o.fillDepartment(ctx, d, in); err != nil {
			return nil, err
		}
		return []string{functionSubject}, departmentTaken(o.departments.Update(ctx, d, record.Change{Fact: "org.departmentEdited", Title: "修改部门", Data: in}))
	})
	return d, err
}

func departmentTaken(err error) error {
	if _, taken := db.UniqueViolation(err); taken {
		return errs.Conflict("org.departmentExists", "该区划已有同名的现行部门，请核对，或先填写旧部门的截止日期。").Because(err)
	}
	return err
}

func (o *Directory) fillDepartment(ctx context.Context, d *Department, in DepartmentInput) error {
	var f fields
	f.required("/name", in.Name)
	f.oneOf("/kind", in.Kind, CommitteeOffice, Regulator, TownOffice, ParkOffice, Government, OtherDepartment)
	f.period(in.ValidFrom, in.ValidTo)
	for _, link := range []struct{ pointer, id string }{{"/parentId", in.ParentID}, {"/successorId", in.SuccessorID}} {
		if link.id == "" {
			continue
		}
		if link.id == d.ID {
			f.add(link.pointer, "不能是部门自己。")
		} else if other, err := o.department(ctx, link.id); err != nil {
			return err
		} else if other == nil {
			f.add(link.pointer, "没有这个部门，请从列表中选择。")
		}
	}
	if err := f.err(); err != nil {
		return err
	}
	if _, err := o.stored(ctx, "/division", in.Division); err != nil {
		return err
	}
	d.Name, d.Division, d.Kind = strings.TrimSpace(in.Name), in.Division, in.Kind
	d.ShortName = cmp.Or(strings.TrimSpace(in.ShortName), d.Name)
	d.ParentID, d.SuccessorID, d.ValidFrom, d.ValidTo = in.ParentID, in.SuccessorID, in.ValidFrom, in.ValidTo
	return nil
}

func (o *Directory) department(ctx context.Context, id string) (*Department, error) {
	return o.departments.First(ctx, scope.All("departments are no secret inside the house"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.id = ?", id)
	})
}

// AssignFunction says that a department supervises a line in a division. It asks for Manage. The same function twice at once is a conflict.
func (o *Directory) AssignFunction(ctx context.Context, in FunctionInput) (*Function, error) {
	fn := &Function{DepartmentID: in.DepartmentID, Line: in.Line, Division: in.Division, ValidFrom: in.ValidFrom, ValidTo: in.ValidTo, Basis: in.Basis}
	err := o.edit(ctx, func(ctx context.Context) ([]string, error) {
		var f fields
		f.required("/line", in.Line)
		f.required("/basis", in.Basis)
		f.period(in.ValidFrom, in.ValidTo)
		if err := f.err(); err != nil {
			return nil, err
		}
		d, err := o.department(ctx, in.DepartmentID)
		if err != nil {
			return nil, err
		}
		if d == nil {
			return nil, errs.InvalidField("org.noDepartment", "/departmentId", "没有这个部门，请从列表中选择。")
		}
		fn.Division = cmp.Or(fn.Division, d.Division)
		if _, err := o.stored(ctx, "/division", fn.Division); err != nil {
			return nil, err
		}
		err = o.functions.Insert(ctx, fn, record.Change{Fact: "org.functionAssigned", Title: "确定监管职能", Data: in})
		if _, taken := db.UniqueViolation(err); taken {
			err = errs.Conflict("org.functionExists", "该部门在此区域已有这项现行职能。").Because(err)
		}
		return []string{functionSubject}, err
	})
	return fn, err
}

// EndFunction makes lastDay the last day of a function. It asks for Manage.
func (o *Directory) EndFunction(ctx context.Context, id string, version int64, lastDay string) (*Function, error) {
	var fn *Function
	err := o.edit(ctx, func(ctx context.Context) (_ []string, err error) {
		if fn, err = o.functions.Load(ctx, scope.All("Manage reaches every function"), id); err != nil {
			return nil, err
		}
		if err := o.functions.CheckVersion(fn, version); err != nil {
			return nil, err
		}
		var f fields
		f.day("/validTo", lastDay, false)
		f.period(fn.ValidFrom, lastDay)
		if err := f.err(); err != nil {
			return nil, err
		}
		fn.ValidTo = lastDay
		return []string{functionSubject}, o.functions.Update(ctx, fn, record.Change{Fact: "org.functionEnded", Title: "终止监管职能"})
	})
	return fn, err
}

// Departments lists the departments of a division on the day of on, by division, kind and name, those of divisions that were merged into it
// included; below includes those of everything that lies in it. It asks for View or Manage.
func (o *Directory) Departments(ctx context.Context, division string, below bool, on time.Time) ([]*Department, error) {
	if err := Need(ctx, View, Manage); err != nil {
		return nil, err
	}
	snap, err := o.Divisions(ctx)
	if err != nil {
		return nil, err
	}
	day := clock.Date(on)
	return o.departments.Find(ctx, scope.All("departments are no secret inside the house"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where(during("r"), day, day).Order("division", "kind", "name").WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
			for _, code := range snap.Reach(division, on) {
				last := code
				if below {
					prefix := gbcode.Division(code).Prefix()
					last = prefix + "999999999999"[len(prefix):]
				}
				q = q.WhereOr("r.division BETWEEN ? AND ?", code, last)
			}
			return q
		})
	})
}

// Functions lists all functions that a department has or had, the newest first. It asks for View or Manage.
func (o *Directory) Functions(ctx context.Context, departmentID string) ([]*Function, error) {
	if err := Need(ctx, View, Manage); err != nil {
		return nil, err
	}
	return o.functions.Find(ctx, scope.All("functions are no secret inside the house"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.department_id = ?", departmentID).Order("valid_from DESC", "line", "id")
	})
}

// linesOf are the lines that a department supervises directly on a day, sorted, and whether it has integrated supervision as well.
func (o *Directory) linesOf(ctx context.Context, departmentID, day string) (lines []string, integrated bool, err error) {
	if err = o.db.Conn(ctx).NewRaw("SELECT DISTINCT r.line FROM org_function AS r WHERE r.department_id = ? AND "+during("r")+" ORDER BY r.line",
		departmentID, day, day).Scan(ctx, &lines); err != nil {
		return nil, false, err
	}
	if i := slices.Index(lines, Integrated); i >= 0 {
		return slices.Delete(lines, i, i+1), true, nil
	}
	return lines, false, nil
}
