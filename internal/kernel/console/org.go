package console

import (
	"context"
	"net/http"
	"time"

	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/module"
	"anwang/internal/kernel/org"
)

const tagOrg = "机构与人员"

// The record types of persons and posts, which are seen from the territory of the post.
const (
	personType = "org.person"
	postType   = "org.post"
)

// DivisionView is a division with its full name.
type DivisionView struct {
	Code        string           `json:"code"`
	Name        string           `json:"name"`
	Level       int              `json:"level" doc:"1省 2市 3县 4乡 5村"`
	Parent      string           `json:"parent"`
	Path        []string         `json:"path" nullable:"false" doc:"自省级起的名称"`
	Kind        string           `json:"kind" enum:"division,grouping,zone,statistical_zone"`
	Statistical bool             `json:"statistical" doc:"统计用虚拟社区"`
	ValidFrom   string           `json:"validFrom"`
	ValidTo     string           `json:"validTo"`
	Successors  []string         `json:"successors" nullable:"false" doc:"继任代码"`
	FormerNames []org.FormerName `json:"formerNames" nullable:"false"`
	Basis       string           `json:"basis"`
	Lon         *float64         `json:"lon,omitempty"`
	Lat         *float64         `json:"lat,omitempty"`
}

func viewDivision(all *org.Divisions, d *org.Division, on time.Time) *DivisionView {
	return &DivisionView{Code: d.Code, Name: d.NameOn(on), Level: int(d.Level), Parent: d.Parent, Path: all.Path(d.Code, on), Kind: d.Kind, Statistical: d.Statistical,
		ValidFrom: d.ValidFrom, ValidTo: d.ValidTo, Successors: filled(d.Successors), FormerNames: append([]org.FormerName{}, d.FormerNames...), Basis: d.Basis, Lon: d.Lon, Lat: d.Lat}
}

func viewDivisions(all *org.Divisions, ds []*org.Division, on time.Time) Listed[*DivisionView] {
	l := Listed[*DivisionView]{Items: make([]*DivisionView, len(ds))}
	for i, d := range ds {
		l.Items[i] = viewDivision(all, d, on)
	}
	return l
}

// DivisionQuery looks for divisions by text, or lists those below one.
type DivisionQuery struct {
	On
	Q      string `query:"q" maxLength:"50" doc:"代码开头，或名称、曾用名的一部分"`
	Parent string `query:"parent" maxLength:"12" doc:"不查找时：列出该区划的下一级，空为省级"`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"查找时最多返回几条"`
}

// ByCode is a question about one division.
type ByCode struct {
	On
	Code string `path:"code" maxLength:"12" doc:"12位行政区划代码"`
}

func divisions(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "find-divisions", Path: "/divisions", Title: "查找行政区划", Tag: tagOrg},
		func(ctx context.Context, in *DivisionQuery) (Listed[*DivisionView], error) {
			all, err := k.Org.Divisions(ctx)
			if err != nil {
				return Listed[*DivisionView]{}, err
			}
			on := in.moment(k)
			if in.Q != "" {
				return viewDivisions(all, all.Search(in.Q, on, in.Limit), on), nil
			}
			return viewDivisions(all, all.Children(in.Parent, on), on), nil
		})
	get(api, httpx.Op{ID: "show-division", Path: "/divisions/{code}", Title: "行政区划", Tag: tagOrg},
		func(ctx context.Context, in *ByCode) (*DivisionView, error) {
			all, err := k.Org.Divisions(ctx)
			if err != nil {
				return nil, err
			}
			d := all.Division(in.Code)
			if d == nil {
				return nil, errs.NotFound("org.noDivision", "没有这个行政区划代码，请核对。")
			}
			return viewDivision(all, d, in.moment(k)), nil
		})
	get(api, httpx.Op{ID: "division-path", Path: "/divisions/{code}/path", Title: "行政区划的上级", Tag: tagOrg, Doc: "自本级至省级。"},
		func(ctx context.Context, in *ByCode) (Listed[*DivisionView], error) {
			all, err := k.Org.Divisions(ctx)
			if err != nil {
				return Listed[*DivisionView]{}, err
			}
			return viewDivisions(all, all.Chain(in.Code), in.moment(k)), nil
		})
	post(api, httpx.Op{ID: "add-division", Path: "/divisions", Title: "新增行政区划、功能区", Tag: tagOrg, Need: org.Manage, Status: http.StatusCreated},
		func(ctx context.Context, in *httpx.Body[org.DivisionInput]) (*org.Division, error) {
			return k.Org.AddDivision(ctx, in.Body)
		})
	post(api, httpx.Op{ID: "rename-division", Path: "/divisions/rename", Title: "区划更名", Tag: tagOrg, Need: org.Manage},
		func(ctx context.Context, in *httpx.Body[org.RenameInput]) (*org.Division, error) {
			return k.Org.Rename(ctx, in.Body)
		})
	act(api, httpx.Op{ID: "merge-divisions", Path: "/divisions/merge", Title: "区划撤并、改码", Tag: tagOrg, Need: org.Manage},
		func(ctx context.Context, in *httpx.Body[org.MergeInput]) error { return k.Org.Merge(ctx, in.Body) })
	act(api, httpx.Op{ID: "split-division", Path: "/divisions/split", Title: "区划拆分", Tag: tagOrg, Need: org.Manage},
		func(ctx context.Context, in *httpx.Body[org.SplitInput]) error { return k.Org.Split(ctx, in.Body) })
	post(api, httpx.Op{ID: "locate-division", Path: "/divisions/locate", Title: "标注区划驻地", Tag: tagOrg, Need: org.Manage},
		func(ctx context.Context, in *httpx.Body[org.LocateInput]) (*org.Division, error) {
			return k.Org.Locate(ctx, in.Body)
		})
}

// DepartmentQuery selects departments.
type DepartmentQuery struct {
	On
	Division string `query:"division" required:"true" minLength:"12" maxLength:"12" doc:"行政区划代码"`
	Below    bool   `query:"below" doc:"连同下级区划的部门"`
}

// CompetenceQuery asks who is competent.
type CompetenceQuery struct {
	On
	Division string `query:"division" required:"true" minLength:"12" maxLength:"12" doc:"行政区划代码"`
	Line     string `query:"line" required:"true" maxLength:"50" doc:"监管行业领域"`
}

// EditDepartmentInput changes a department.
type EditDepartmentInput struct {
	Read
	org.DepartmentInput
}

// EndInput ends a function or a post.
type EndInput struct {
	Read
	LastDay string `json:"lastDay" format:"date" doc:"最后一日（含当日）"`
}

func departments(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "list-departments", Path: "/departments", Title: "部门", Tag: tagOrg, Need: org.View},
		func(ctx context.Context, in *DepartmentQuery) (Listed[*org.Department], error) {
			return listed(k.Org.Departments(ctx, in.Division, in.Below, in.moment(k)))
		})
	get(api, httpx.Op{ID: "competent-departments", Path: "/competent-departments", Title: "主管部门查询", Tag: tagOrg, Doc: "某地某行业领域由谁监管，近的在前，直接监管在综合监管之前。"},
		func(ctx context.Context, in *CompetenceQuery) (Listed[org.Competence], error) {
			return listed(k.Org.CompetentDepartments(ctx, in.Division, in.Line, in.moment(k)))
		})
	post(api, httpx.Op{ID: "add-department", Path: "/departments", Title: "登记部门", Tag: tagOrg, Need: org.Manage, Status: http.StatusCreated},
		func(ctx context.Context, in *httpx.Body[org.DepartmentInput]) (*org.Department, error) {
			return k.Org.AddDepartment(ctx, in.Body)
		})
	post(api, httpx.Op{ID: "edit-department", Path: "/departments/{id}/edit", Title: "修改部门", Tag: tagOrg, Need: org.Manage},
		func(ctx context.Context, in *httpx.ByIDWith[EditDepartmentInput]) (*org.Department, error) {
			return k.Org.EditDepartment(ctx, in.ID, in.Body.Version, in.Body.DepartmentInput)
		})
	get(api, httpx.Op{ID: "list-functions", Path: "/departments/{id}/functions", Title: "部门的监管职能", Tag: tagOrg, Need: org.View},
		func(ctx context.Context, in *httpx.ByID) (Listed[*org.Function], error) {
			return listed(k.Org.Functions(ctx, in.ID))
		})
	post(api, httpx.Op{ID: "assign-function", Path: "/functions", Title: "确定监管职能", Tag: tagOrg, Need: org.Manage, Status: http.StatusCreated},
		func(ctx context.Context, in *httpx.Body[org.FunctionInput]) (*org.Function, error) {
			return k.Org.AssignFunction(ctx, in.Body)
		})
	post(api, httpx.Op{ID: "end-function", Path: "/functions/{id}/end", Title: "终止监管职能", Tag: tagOrg, Need: org.Manage},
		func(ctx context.Context, in *httpx.ByIDWith[EndInput]) (*org.Function, error) {
			return k.Org.EndFunction(ctx, in.ID, in.Body.Version, in.Body.LastDay)
		})
}

// EditPersonInput changes a person.
type EditPersonInput struct {
	Read
	org.PersonInput
}

// RevealInput asks for a person's telephone and citizen number in full.
type RevealInput struct {
	Reason string `json:"reason" minLength:"1" maxLength:"200" doc:"查看原因，记入日志"`
}

// PostQuery lists the posts of a person, or those in a unit.
type PostQuery struct {
	On
	Person string `query:"person" maxLength:"64" doc:"某人的全部任职；与 unit 二者取一"`
	Unit   string `query:"unit" maxLength:"64" doc:"某单位在某日的任职"`
}

// AmendPostInput corrects a post.
type AmendPostInput struct {
	Read
	org.PostInput
}

func persons(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "list-persons", Path: "/persons", Title: "人员", Tag: tagOrg, Need: org.View},
		func(ctx context.Context, in *struct{ org.PersonQuery }) (Listed[*org.PersonView], error) {
			list, err := k.Org.People(ctx, in.PersonQuery)
			return page(list, err, in.Limit, 20, func(p *org.PersonView) string { return p.ID })
		})
	get(api, httpx.Op{ID: "show-person", Path: "/persons/{id}", Title: "查看人员", Tag: tagOrg, Need: org.View, Record: personType},
		func(ctx context.Context, in *httpx.ByID) (*org.PersonView, error) { return k.Org.Person(ctx, in.ID) })
	post(api, httpx.Op{ID: "add-person", Path: "/persons", Title: "登记人员", Tag: tagOrg, Need: org.Manage, Status: http.StatusCreated},
		func(ctx context.Context, in *httpx.Body[org.PersonInput]) (*org.PersonView, error) {
			return k.Org.AddPerson(ctx, in.Body)
		})
	post(api, httpx.Op{ID: "edit-person", Path: "/persons/{id}/edit", Title: "修改人员", Tag: tagOrg, Need: org.Manage, Record: personType},
		func(ctx context.Context, in *httpx.ByIDWith[EditPersonInput]) (*org.PersonView, error) {
			return k.Org.EditPerson(ctx, in.ID, in.Body.Version, in.Body.PersonInput)
		})
	// Detached: the answer holds what must not be remembered under an Idempotency-Key.
	post(api, httpx.Op{ID: "reveal-person", Path: "/persons/{id}/reveal", Title: "查看完整联系方式和证件号码", Tag: tagOrg, Need: org.Personal, Record: personType, Detached: true},
		func(ctx context.Context, in *httpx.ByIDWith[RevealInput]) (*org.PersonView, error) {
			return k.Org.Reveal(ctx, in.ID, in.Body.Reason)
		})
	get(api, httpx.Op{ID: "list-posts", Path: "/posts", Title: "任职", Tag: tagOrg, Need: org.View},
		func(ctx context.Context, in *PostQuery) (Listed[*org.Post], error) {
			switch {
			case (in.Person == "") == (in.Unit == ""):
				return Listed[*org.Post]{}, errs.InvalidField("org.postQuery", "query/person", "请按人员或单位查询，二者取一")
			case in.Person != "":
				return listed(k.Org.Posts(ctx, in.Person))
			}
			return listed(k.Org.Staff(ctx, in.Unit, in.moment(k)))
		})
	post(api, httpx.Op{ID: "appoint", Path: "/posts", Title: "任职登记", Tag: tagOrg, Need: org.Manage, Status: http.StatusCreated},
		func(ctx context.Context, in *httpx.Body[org.PostInput]) (*org.Post, error) {
			return k.Org.Appoint(ctx, in.Body)
		})
	post(api, httpx.Op{ID: "amend-post", Path: "/posts/{id}/amend", Title: "更正任职", Tag: tagOrg, Need: org.Manage, Record: postType},
		func(ctx context.Context, in *httpx.ByIDWith[AmendPostInput]) (*org.Post, error) {
			return k.Org.Amend(ctx, in.ID, in.Body.Version, in.Body.PostInput)
		})
	post(api, httpx.Op{ID: "dismiss", Path: "/posts/{id}/dismiss", Title: "免职", Tag: tagOrg, Need: org.Manage, Record: postType},
		func(ctx context.Context, in *httpx.ByIDWith[EndInput]) (*org.Post, error) {
			return k.Org.Dismiss(ctx, in.ID, in.Body.Version, in.Body.LastDay)
		})
}
