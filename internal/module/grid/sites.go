package grid

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/geo"
	"anwang/internal/module/grid/gridapi"
)

// PlaceKind is the dictionary of the kinds of places other than enterprises.
const PlaceKind = "gridPlaceKind"

// Position is where something is, as somebody typed it or a map gave it.
type Position struct {
	Lon *float64 `json:"lon,omitempty" doc:"经度"`
	Lat *float64 `json:"lat,omitempty" doc:"纬度"`
	CRS geo.CRS  `json:"crs,omitempty" enum:"WGS-84,CGCS2000,GCJ-02,BD-09" doc:"坐标系，默认 WGS-84"`
}

// wgs84 is the position in WGS-84; nil when there is none.
func (p Position) wgs84() (*geo.Point, error) {
	if p.Lon == nil && p.Lat == nil {
		return nil, nil
	}
	if p.Lon == nil || p.Lat == nil {
		return nil, errs.InvalidField("grid.position", "/lon", "经度和纬度应一并填写")
	}
	at := geo.Point{Lon: *p.Lon, Lat: *p.Lat}
	if err := at.Check(); err != nil {
		return nil, errs.InvalidField("grid.position", "/lon", err.Error())
	}
	if p.CRS != "" {
		var err error
		if at, err = geo.Convert(at, p.CRS, geo.WGS84); err != nil {
			return nil, errs.InvalidField("grid.crs", "/crs", err.Error())
		}
	}
	return &at, nil
}

func (s *Site) put(at *geo.Point) {
	s.Lon, s.Lat = nil, nil
	if at != nil {
		s.Lon, s.Lat = &at.Lon, &at.Lat
	}
}

// SiteInput is a place other than an enterprise.
type SiteInput struct {
	GridID   string `json:"gridId,omitempty" maxLength:"36" doc:"所在网格；不填则按坐标划入"`
	Division string `json:"division,omitempty" maxLength:"12" doc:"所在区划；填了网格的可不填"`
	Kind     string `json:"kind" minLength:"1" maxLength:"40" doc:"字典 gridPlaceKind 的代码"`
	Name     string `json:"name" minLength:"1" maxLength:"100"`
	Address  string `json:"address,omitempty" maxLength:"200"`
	Line     string `json:"line,omitempty" maxLength:"40" doc:"监管行业领域"`
	Position
}

// AddSite enters a school, filling station, rented house or the like. Who manages the place may do so anywhere there, an officer in the own grid.
func (s *Service) AddSite(ctx context.Context, in SiteInput) (*Site, error) {
	at, err := in.wgs84()
	if err != nil {
		return nil, err
	}
	name := strings.TrimSpace(in.Name)
	if name == "" {
		return nil, errs.InvalidField("grid.invalid", "/name", "请填写名称")
	}
	if err := s.codes.Valid(PlaceKind, in.Kind, time.Time{}); err != nil {
		return nil, errs.As(err).At("/kind", "请从列表中选择")
	}
	if in.Line != "" {
		if err := s.codes.Valid("line", in.Line, time.Time{}); err != nil {
			return nil, errs.As(err).At("/line", "请从列表中选择")
		}
	}
	site := &Site{Kind: in.Kind, Name: name, Address: strings.TrimSpace(in.Address), State: SiteActive}
	site.put(at)
	err = s.db.Tx(ctx, func(ctx context.Context) error {
		division, how := in.Division, ""
		var g *Item
		if in.GridID != "" {
			if g, _, err = s.walkable(ctx, Act, in.GridID, s.db.Clock.Now()); err != nil {
				return err
			}
			if how = ByHand; division == "" {
				division = g.Division
			}
		}
		if g == nil || division != g.Division {
			if err := s.inReach(ctx, division); err != nil {
				return err
			}
		}
		site.Place = scope.At(division, in.Line, "")
		if g == nil && at != nil {
			if g, err = s.gridAt(ctx, *at, s.today(), division); err != nil {
				return err
			}
			how = ByBoundary
		}
		if g != nil {
			if err := fits(g, site); err != nil {
				return err
			}
			site.GridID, site.Assigned, site.AssignedOn = g.ID, how, s.today()
		}
		return s.sites.Insert(ctx, site, record.Change{Fact: "grid.placeAdded", Title: "登记巡查对象"})
	})
	if err != nil {
		return nil, err
	}
	return site, nil
}

// fits refuses a grid that is retired or lies elsewhere: a site lies in the grid's division, or in the same town without a village.
func fits(g *Item, site *Site) error {
	if g.State != active {
		return errRetired
	}
	if g.TownCode != site.TownCode || g.VillageCode != "" && site.VillageCode != "" && g.VillageCode != site.VillageCode {
		return errs.InvalidField("grid.elsewhere", "/gridId", "“"+site.Name+"”不在网格“"+g.Name+"”所在的区划内")
	}
	return nil
}

// SiteChange changes a site. Of an enterprise only the frequency is changed here; the rest belongs to the enterprise file.
type SiteChange struct {
	flow.Read
	Kind        string `json:"kind,omitempty" maxLength:"40"`
	Name        string `json:"name,omitempty" maxLength:"100"`
	Address     string `json:"address,omitempty" maxLength:"200"`
	Every       Period `json:"every,omitempty" enum:"day,week,halfMonth,month,quarter,halfYear,year,never" doc:"单独规定的频次；不填表示按策略"`
	EveryReason string `json:"everyReason,omitempty" maxLength:"500" doc:"单独规定频次的，须说明理由"`
	Position
}

// ChangeSite changes a site. A frequency of its own holds from the next planned period on.
func (s *Service) ChangeSite(ctx context.Context, id string, in SiteChange) (*Site, error) {
	at, err := in.wgs84()
	if err != nil {
		return nil, err
	}
	switch {
	case in.Every != "" && !slices.Contains(periods, in.Every):
		return nil, errs.InvalidField("grid.invalid", "/every", "请从列表中选择频次")
	case in.Every != "" && strings.TrimSpace(in.EveryReason) == "":
		return nil, errs.InvalidField("grid.invalid", "/everyReason", "单独规定频次的，请说明理由")
	}
	return s.amendSite(ctx, id, in.Version, func(ctx context.Context, site *Site) error {
		if site.Kind == KindEnterprise {
			if in.Kind != "" || in.Name != "" || in.Address != "" || at != nil {
				return errs.Conflict("grid.enterprise", "企业信息请在企业档案中修改，这里只能单独规定巡查频次。")
			}
		} else {
			if in.Kind != "" && in.Kind != site.Kind {
				if err := s.codes.Valid(PlaceKind, in.Kind, time.Time{}); err != nil {
					return errs.As(err).At("/kind", "请从列表中选择")
				}
				site.Kind = in.Kind
			}
			if name := strings.TrimSpace(in.Name); name != "" {
				site.Name = name
			}
			if in.Address != "" {
				site.Address = strings.TrimSpace(in.Address)
			}
			if at != nil {
				site.put(at)
			}
		}
		site.Every, site.EveryReason = in.Every, in.EveryReason
		return s.sites.Update(ctx, site, record.Change{Fact: "grid.placeChanged", Title: "变更巡查对象", Data: in})
	})
}

// amendSite loads a site that the caller manages, at the version that the caller read, and lets act write.
func (s *Service) amendSite(ctx context.Context, id string, version int64, act func(ctx context.Context, site *Site) error) (*Site, error) {
	var site *Site
	err := s.db.Tx(ctx, func(ctx context.Context) (err error) {
		if site, err = s.sites.Load(ctx, scope.For(ctx, Manage), id); err != nil {
			return err
		}
		if err := s.sites.CheckVersion(site, version); err != nil {
			return err
		}
		if site.State != SiteActive {
			return errs.Conflict("grid.placeClosed", "“"+site.Name+"”已关闭，不能再变更。")
		}
		return act(ctx, site)
	})
	if err != nil {
		return nil, err
	}
	return site, nil
}

// ReasonInput gives the reason for a change of one record.
type ReasonInput struct {
	flow.Read
	Reason string `json:"reason" minLength:"2" maxLength:"500"`
}

// CloseSite ends a place: the building site is finished, the house is let no more. Its open tasks fall away. An enterprise ends in its own file.
func (s *Service) CloseSite(ctx context.Context, id string, in ReasonInput) (*Site, error) {
	return s.amendSite(ctx, id, in.Version, func(ctx context.Context, site *Site) error {
		if site.Kind == KindEnterprise {
			return errs.Conflict("grid.enterprise", "企业的停业、注销请在企业档案中办理。")
		}
		site.State = SiteClosed
		if err := s.sites.Update(ctx, site, record.Change{Fact: "grid.placeClosed", Title: "关闭巡查对象", Data: in}); err != nil {
			return err
		}
		return s.follow(ctx, site, in.Reason)
	})
}

// ReleaseSite takes a site out of its grid. Its open tasks fall away.
func (s *Service) ReleaseSite(ctx context.Context, id string, in ReasonInput) (*Site, error) {
	return s.amendSite(ctx, id, in.Version, func(ctx context.Context, site *Site) error {
		if site.GridID == "" {
			return errs.Conflict("grid.unassigned", "“"+site.Name+"”没有划入任何网格。")
		}
		return s.assign(ctx, site, "", "")
	})
}

// AssignInput names the sites that are put into a grid.
type AssignInput struct {
	PlaceIDs []string `json:"placeIds" minItems:"1" maxItems:"200" nullable:"false" doc:"巡查对象"`
}

// Assigned says how many sites came into a grid.
type Assigned struct {
	Count int `json:"count" doc:"新划入的对象数"`
}

// Assign puts sites into a grid by hand, out of whatever grid they are in. Those that are there already are left as they are.
func (s *Service) Assign(ctx context.Context, gridID string, in AssignInput) (Assigned, error) {
	var out Assigned
	err := s.db.Tx(ctx, func(ctx context.Context) error {
		g, err := s.manageable(ctx, gridID)
		if err != nil {
			return err
		}
		for _, id := range in.PlaceIDs {
			site, err := s.sites.Load(ctx, scope.For(ctx, Manage), id)
			if err != nil {
				return err
			}
			if err := fits(g, site); err != nil {
				return err
			}
			if site.GridID == g.ID && site.Assigned == ByHand {
				continue
			}
			if err := s.assign(ctx, site, g.ID, ByHand); err != nil {
				return err
			}
			out.Count++
		}
		return nil
	})
	return out, err
}

// AssignInside puts every site whose coordinates lie in the grid's boundary into the grid, but for those that were put into a grid by hand or lie in a smaller grid.
func (s *Service) AssignInside(ctx context.Context, gridID string) (Assigned, error) {
	var out Assigned
	g, err := s.manageable(ctx, gridID)
	if err != nil {
		return out, err
	}
	b, err := s.openBoundary(ctx, g.ID)
	if err != nil {
		return out, err
	}
	if b == nil {
		return out, errs.Conflict("grid.noBoundary", "该网格还没有划定边界，请先划定边界，或人工划入对象。")
	}
	const page = 100 // keeps SQLite's writer for some 20 ms
	for after := ""; ; {
		var sites []*Site
		err := s.db.Tx(ctx, func(ctx context.Context) (err error) {
			if sites, err = s.looseSites(ctx, scope.For(ctx, Manage), g, b.Shape.Bounds(), after, page); err != nil {
				return err
			}
			for _, site := range sites {
				at, _ := site.Point()
				if !b.Shape.Contains(at) {
					continue
				}
				in, err := s.gridAt(ctx, at, s.today(), site.Division)
				if err != nil {
					return err
				}
				if in == nil || in.ID != g.ID {
					continue
				}
				if err := s.assign(ctx, site, g.ID, ByBoundary); err != nil {
					return err
				}
				out.Count++
			}
			return nil
		})
		if err != nil || len(sites) < page {
			return out, err
		}
		after = sites[page-1].ID
	}
}

// assign puts a site into a grid, or with an empty gridID out of it, and its open tasks with it.
func (s *Service) assign(ctx context.Context, site *Site, gridID, how string) error {
	from := site.GridID
	site.GridID, site.Assigned, site.AssignedOn = gridID, how, s.today()
	if err := s.sites.Update(ctx, site, record.Change{Fact: "grid.placeAssigned", Title: "划入网格", Data: map[string]string{"from": from, "to": gridID, "how": how}}); err != nil {
		return err
	}
	return s.follow(ctx, site, "对象已移出网格")
}

// follow brings a site's running tasks to where the site is now. What was missed stays missed.
func (s *Service) follow(ctx context.Context, site *Site, reason string) error {
	open, err := s.openTasks(ctx, site.ID)
	if err != nil || len(open) == 0 {
		return err
	}
	who, err := s.responsible(ctx, []string{site.GridID}, s.today())
	if err != nil {
		return err
	}
	for _, t := range open {
		switch {
		case t.DueAt.Before(s.db.Clock.Now()):
		case site.GridID == "" || site.State != SiteActive:
			t.State, t.Reason = TaskCancelled, reason
			if err := s.tasks.Update(ctx, t, record.Change{Fact: "grid.taskCancelled", Title: "取消巡查任务"}); err != nil {
				return err
			}
			if _, err := s.deadlines.Cancel(ctx, taskClock(t), reason); err != nil && !errors.Is(err, deadline.ErrNone) {
				return err
			}
		case t.GridID != site.GridID:
			t.GridID = site.GridID
			if err := s.hand(ctx, t, who[site.GridID]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Enterprise is an enterprise as the events of its module tell of it.
type Enterprise struct {
	ID       string
	Version  int64
	Name     string
	Address  string
	Division string
	Line     string
	Class    string
	Grade    string
	Lon, Lat *float64 // WGS-84
	Gone     bool     // closed, merged into another or withdrawn
}

// Learn brings the copy of an enterprise up to date. Versions that are older than what is known change nothing. An enterprise that nobody has put into a grid by hand is put where its
// coordinates lie; one that has moved to another village leaves a grid that does not reach there.
func (s *Service) Learn(ctx context.Context, e Enterprise) error {
	return s.db.Tx(ctx, func(ctx context.Context) error {
		site, err := s.siteOfEnterprise(ctx, e.ID)
		if err != nil {
			return err
		}
		if site == nil {
			site = &Site{Kind: KindEnterprise}
		}
		if site.SourceVersion >= e.Version {
			return nil
		}
		site.Place, site.SourceVersion = scope.At(e.Division, e.Line, e.ID), e.Version
		site.Name, site.Address, site.Class, site.Grade, site.Lon, site.Lat = e.Name, e.Address, e.Class, e.Grade, e.Lon, e.Lat
		site.State = SiteActive
		if e.Gone {
			site.State = SiteClosed
		}
		if site.ID == "" {
			err = s.sites.Insert(ctx, site, record.Change{Fact: "grid.placeAdded", Title: "登记巡查对象"})
		} else {
			err = s.sites.Update(ctx, site, record.Change{Fact: "grid.placeChanged", Title: "变更巡查对象"})
		}
		if err != nil {
			return err
		}
		if e.Gone {
			return s.follow(ctx, site, "企业已注销、合并或撤回")
		}
		return s.settle(ctx, site)
	})
}

// settle puts an enterprise into the grid where it belongs, unless somebody put it elsewhere by hand.
func (s *Service) settle(ctx context.Context, site *Site) error {
	stays := false
	if site.GridID != "" {
		g, err := s.grids.Load(ctx, own, site.GridID)
		if err != nil {
			return err
		}
		stays = fits(g, site) == nil
		if stays && site.Assigned == ByHand {
			return nil
		}
	}
	to, how := "", ""
	if at, ok := site.Point(); ok {
		g, err := s.gridAt(ctx, at, s.today(), site.Division)
		if err != nil {
			return err
		}
		if g != nil {
			to, how = g.ID, ByBoundary
		}
	}
	if to == site.GridID || to == "" && stays {
		return nil
	}
	return s.assign(ctx, site, to, how)
}

// taskClock names the deadline of a task.
func taskClock(t *Task) deadline.Ref {
	return deadline.Ref{RecordType: gridapi.TaskType, RecordID: t.ID, Slot: "patrol"}
}

// SiteDetail is a site with what is known of its patrols.
type SiteDetail struct {
	Site
	KindName string   `json:"kindName"`
	GridName string   `json:"gridName"`
	Every    Period   `json:"effectiveEvery" doc:"现行巡查频次"`
	Visits   []*Visit `json:"visits" nullable:"false" doc:"最近的到访"`
}

// SiteByID is a site that the caller may see.
func (s *Service) SiteByID(ctx context.Context, id string) (*SiteDetail, error) {
	site, err := s.sites.Load(ctx, scope.For(ctx, View), id)
	if err != nil {
		return nil, err
	}
	p, _, err := s.policy.For(ctx, site.Division, s.db.Clock.Now())
	if err != nil {
		return nil, err
	}
	out := &SiteDetail{Site: *site, KindName: s.kindName(site.Kind), Every: p.every(site)}
	if site.GridID != "" {
		g, err := s.grids.Load(ctx, own, site.GridID)
		if err != nil {
			return nil, err
		}
		out.GridName = g.Name
	}
	out.Visits, err = s.lastVisits(ctx, site.ID, 20)
	return out, err
}

func (s *Service) kindName(kind string) string {
	if kind == KindEnterprise {
		return "企业"
	}
	return s.codes.Label(PlaceKind, kind)
}

// divisionOf is the division of a place as it is written into messages.
func divisionOf(p scope.Place) string {
	if p.TownCode != "" {
		return p.TownCode
	}
	return p.Division
}
