package enterprise

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/importer"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/policy"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
	"anwang/internal/module/enterprise/enterpriseapi"
)

// Service is the enterprises of one installation. It is safe for concurrent use, and is the module's enterpriseapi.Finder.
type Service struct {
	db       *db.DB
	log      *audit.Log
	store    *record.Store[Enterprise, *Enterprise]
	org      *org.Directory
	dict     *dict.Dict
	policies policy.Policy[GradingPolicy]
	steps    steps
	machine  *flow.Machine[Enterprise, *Enterprise]
	list     *ledger.List[Row]
	imports  *importer.Kind[row] // nil until Import
}

// New returns the service in d.
func New(d *db.DB, log *audit.Log, reg *record.Registry, dir *org.Directory, tables *dict.Dict, policies *policy.Store) *Service {
	s := &Service{db: d, log: log, store: record.NewStore[Enterprise](d, log, reg, recordType), org: dir, dict: tables,
		policies: policy.Policy[GradingPolicy]{Name: "enterprise.grading", Title: "企业分类分级规则", Default: defaultGrading, Validate: validateGrading, Store: policies}}
	s.define()
	s.list = ledger.Define(d, s.listSpec())
	return s
}

// rules returns what facts are judged by now. Its grading reads policies through ctx, so it serves one call and no other.
func (s *Service) rules(ctx context.Context) (*rules, error) {
	divisions, err := s.org.Divisions(ctx)
	if err != nil {
		return nil, err
	}
	r := &rules{now: s.db.Clock.Now(), dict: s.dict, divisions: divisions}
	type judged struct {
		policy  GradingPolicy
		version string
	}
	known := map[string]*judged{}
	r.grading = func(division string) (*GradingPolicy, string) {
		j := known[division]
		if j == nil {
			j = &judged{}
			j.policy, j.version, err = s.policies.For(ctx, division, r.now)
			if err != nil {
				r.failed = err
			}
			j.version = cmp.Or(j.version, "default")
			known[division] = j
		}
		return &j.policy, j.version
	}
	return r, nil
}

// RegisterInput registers an enterprise.
type RegisterInput struct {
	Name     string `json:"name" minLength:"2" maxLength:"100" doc:"企业名称（营业执照上的全称）"`
	Division string `json:"division" minLength:"6" maxLength:"12" doc:"经营地址所在行政区划代码，县级以下"`
	Industry string `json:"industry" minLength:"2" maxLength:"10" doc:"行业代码（GB/T 4754-2017），如 C2614"`
	Facts
	ConfirmDuplicate bool `json:"confirmDuplicate,omitempty" doc:"已核实与名称相近的企业不是同一家"`

	Demo bool `json:"-"` // made up for a demonstration
}

// Register registers an enterprise where the actor may edit. A credit code that is taken is a conflict, which names the file that has it if the actor may see it. When
// the county has enterprises of a similar name, the conflict enterprise.similar lists them until ConfirmDuplicate says that they were looked at.
func (s *Service) Register(ctx context.Context, in RegisterInput) (*File, error) {
	r, err := s.rules(ctx)
	if err != nil {
		return nil, err
	}
	e := s.blank()
	e.Demo = in.Demo
	var p problems
	r.apply(e, edit{Name: &in.Name, Division: &in.Division, Industry: &in.Industry, Facts: in.Facts}, &p)
	if err := cmp.Or(p.err(), r.failed); err != nil {
		return nil, err
	}
	if !scope.For(ctx, Edit).Sees(e.Place) {
		return nil, errs.InvalidField("enterprise.outOfReach", "/division", "该行政区划或行业不在您的管辖范围内，请由所在地监管部门登记")
	}
	err = s.db.Tx(ctx, func(ctx context.Context) error {
		if err := s.free(ctx, e); err != nil {
			return err
		}
		if !in.ConfirmDuplicate {
			if err := s.noneSimilar(ctx, e); err != nil {
				return err
			}
		}
		if e.IDKind == withoutUSCC {
			last, err := s.reserveNumbers(ctx, 1)
			if err != nil {
				return err
			}
			e.Number = s.number(last)
		}
		return taken(s.store.Insert(ctx, e, record.Change{Fact: enterpriseapi.EventRegistered, Title: "登记企业"}))
	})
	if err != nil {
		return nil, err
	}
	return s.file(ctx, e, "")
}

// blank is a file that is to be filled.
func (s *Service) blank() *Enterprise {
	e := &Enterprise{State: active, FormerNames: []FormerName{}, People: []Person{}, Hazards: []string{}, Stated: []StatedDepartment{}, Source: "manual"}
	e.ID = s.db.Clock.NewID()
	return e
}

// noneSimilar refuses a new enterprise whose name is much like that of one in the county.
func (s *Service) noneSimilar(ctx context.Context, e *Enterprise) error {
	found, err := s.similar(ctx, e)
	if err != nil || len(found) == 0 {
		return err
	}
	refusal := errs.Conflict("enterprise.similar", "本县已有名称相近的企业。请先核对是否为同一家；确认不是，再选择“确认不是重复登记”提交。")
	mine, others := scope.For(ctx, View), 0
	for _, f := range found {
		if !mine.Sees(f.Place) {
			others++
			continue
		}
		refusal = refusal.At("/confirmDuplicate", fmt.Sprintf("%s（%s，%s）", f.Name, f.identified(), cmp.Or(f.Address, "未填地址")))
	}
	if others > 0 {
		refusal = refusal.At("/confirmDuplicate", fmt.Sprintf("另有 %d 家名称相近的企业不在您的管辖范围内", others))
	}
	return refusal
}

// free refuses a credit code that another file at this node has.
func (s *Service) free(ctx context.Context, e *Enterprise) error {
	if e.USCC == "" {
		return nil
	}
	other, err := s.holder(ctx, e.USCC)
	if err != nil || other == nil || other.ID == e.ID {
		return err
	}
	if scope.For(ctx, View).Sees(other.Place) {
		return errs.Conflict("enterprise.usccTaken", "该统一社会信用代码已登记为“"+other.Name+"”，请直接变更该企业的档案。").At("/uscc", "已登记为“"+other.Name+"”")
	}
	return errs.Conflict("enterprise.usccElsewhere", "该统一社会信用代码已由其他地区或部门登记，请联系上级核实。").At("/uscc", "已由其他地区或部门登记")
}

// taken turns a clash with somebody who was faster into a conflict.
func taken(err error) error {
	if _, clash := db.UniqueViolation(err); clash {
		return errs.Conflict("enterprise.usccTaken", "该统一社会信用代码刚刚被登记，请刷新后核对。").Because(err)
	}
	return err
}

// number is the platform number of the n-th enterprise without credit code at this node.
func (s *Service) number(n int64) string { return fmt.Sprintf("%s-N%06d", s.db.Node, n) }

// Read returns the file with the id as the actor may see it. crs says in which system the position is wanted: "" and "wgs84", or "gcj02" for public maps.
func (s *Service) Read(ctx context.Context, id, crs string) (*File, error) {
	e, err := s.store.Load(ctx, scope.For(ctx, View), id)
	if err != nil {
		return nil, err
	}
	return s.file(ctx, e, crs)
}

// Prefill is what is known about a credit code before an enterprise is registered.
type Prefill struct {
	USCC      string `json:"uscc"`
	Warning   string `json:"warning,omitempty" doc:"代码有效但可疑之处"`
	Kind      string `json:"kind,omitempty" doc:"由代码判定的组织形式"`
	Authority string `json:"authority,omitempty" doc:"登记机关所在行政区划名称"`
	Known     bool   `json:"known" doc:"已登记，且在您的管辖范围内：见 enterprise"`
	Elsewhere bool   `json:"elsewhere" doc:"已由其他地区或部门登记"`
	// Enterprise is the file, when the actor may see it.
	Enterprise *enterpriseapi.Enterprise `json:"enterprise,omitempty"`
}

// Lookup says what is known about a credit code.
func (s *Service) Lookup(ctx context.Context, uscc string) (*Prefill, error) {
	code, err := gbcode.ParseUSCC(uscc)
	if err != nil {
		return nil, errs.InvalidField("enterprise.invalid", "query/uscc", err.Error())
	}
	divisions, err := s.org.Divisions(ctx)
	if err != nil {
		return nil, err
	}
	out := &Prefill{USCC: string(code), Warning: code.Warning(), Kind: kindOfCode[string(code[:2])]}
	if path := divisions.Path(code.Division()+"000000", s.db.Clock.Now()); len(path) > 0 {
		out.Authority = path[len(path)-1]
	}
	e, err := s.holder(ctx, string(code))
	if err != nil || e == nil {
		return out, err
	}
	if scope.For(ctx, View).Sees(e.Place) {
		out.Known, out.Enterprise = true, summary(e)
	} else {
		out.Elsewhere = true
	}
	return out, nil
}

// department finds a department of the division, of what lies above it, or of its county (parks and zones lie beside the towns).
func (s *Service) department(ctx context.Context, r *rules, division, id string) (*org.Department, error) {
	ctx = actor.AsSystem(ctx, "enterprise") // departments are no secret; the actor may edit the enterprise
	for _, d := range r.divisions.Chain(division) {
		found, err := s.org.Departments(ctx, d.Code, d.Level == gbcode.County, r.now)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(found, func(x *org.Department) bool { return x.ID == id }); i >= 0 {
			return found[i], nil
		}
	}
	return nil, nil
}

var _ enterpriseapi.Finder = (*Service)(nil)

// Find returns the enterprise with the id, or a not-found error.
func (s *Service) Find(ctx context.Context, f scope.Filter, id string) (*enterpriseapi.Enterprise, error) {
	e, err := s.store.Load(ctx, f, id)
	if err != nil {
		return nil, err
	}
	return summary(e), nil
}

// FindAll returns those of the ids that the filter reaches, by id.
func (s *Service) FindAll(ctx context.Context, f scope.Filter, ids []string) (map[string]*enterpriseapi.Enterprise, error) {
	out := make(map[string]*enterpriseapi.Enterprise, len(ids))
	for some := range slices.Chunk(ids, 500) {
		rows, err := s.byID(ctx, f, some)
		if err != nil {
			return nil, err
		}
		for id, e := range rows {
			out[id] = summary(e)
		}
	}
	return out, nil
}

// ByUSCC returns the enterprise registered under a credit code, or nil.
func (s *Service) ByUSCC(ctx context.Context, f scope.Filter, uscc string) (*enterpriseapi.Enterprise, error) {
	e, err := s.holder(ctx, uscc)
	if err != nil || e == nil || !f.Sees(e.Place) {
		return nil, err
	}
	return summary(e), nil
}

// Each calls yield with every enterprise that the filter reaches and the selection means, in the order of ids.
func (s *Service) Each(ctx context.Context, f scope.Filter, sel enterpriseapi.Selection, yield func(*enterpriseapi.Enterprise) error) error {
	for after := ""; ; {
		page, err := s.page(ctx, f, sel, after)
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := yield(summary(e)); err != nil {
				return err
			}
			after = e.ID
		}
		if len(page) < pageSize {
			return nil
		}
	}
}

func summary(e *Enterprise) *enterpriseapi.Enterprise {
	return &enterpriseapi.Enterprise{ID: e.ID, Origin: e.Origin, Version: e.Version, Place: e.Place, State: string(e.State), Name: e.Name, ShortName: e.ShortName,
		USCC: e.USCC, Number: e.Number, Industry: e.Industry, Scale: e.Scale, Class: e.Class, Grade: e.Grade, Hazards: e.Hazards, Lon: e.Lon, Lat: e.Lat,
		Employees: e.Employees, MergedInto: e.MergedInto}
}
