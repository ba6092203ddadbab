package grid

import (
	"context"
	"encoding/json"
	"time"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/policy"
	"anwang/internal/lib/geo"
	"anwang/internal/module/grid/gridapi"
)

// post is a POST that takes a body to a use case.
func post[In, Out any](api *httpx.API, op httpx.Op, do func(ctx context.Context, in In) (Out, error)) {
	op.Method, op.Tag = "POST", tag
	httpx.Register(api, op, func(ctx context.Context, in *httpx.Body[In]) (*httpx.Body[Out], error) {
		out, err := do(ctx, in.Body)
		if err != nil {
			return nil, err
		}
		return httpx.Reply(out), nil
	})
}

// postTo is a POST that takes a body to a use case on one record.
func postTo[In, Out any](api *httpx.API, op httpx.Op, do func(ctx context.Context, id string, in In) (Out, error)) {
	op.Method, op.Tag = "POST", tag
	httpx.Register(api, op, func(ctx context.Context, in *httpx.ByIDWith[In]) (*httpx.Body[Out], error) {
		out, err := do(ctx, in.ID, in.Body)
		if err != nil {
			return nil, err
		}
		return httpx.Reply(out), nil
	})
}

// get is a GET of one record.
func get[Out any](api *httpx.API, op httpx.Op, do func(ctx context.Context, id string) (Out, error)) {
	op.Method, op.Tag = "GET", tag
	httpx.Register(api, op, func(ctx context.Context, in *httpx.ByID) (*httpx.Body[Out], error) {
		out, err := do(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return httpx.Reply(out), nil
	})
}

func (s *Service) serveGrids(api *httpx.API) {
	post(api, httpx.Op{ID: "create-grid", Path: "/grids", Title: "设立网格", Need: Manage}, s.Create)
	get(api, httpx.Op{ID: "get-grid", Path: "/grids/{id}", Title: "网格", Need: View, Record: gridapi.ItemType}, s.GridByID)
	get(api, httpx.Op{ID: "grid-history", Path: "/grids/{id}/history", Title: "网格沿革", Need: View, Record: gridapi.ItemType}, s.History)
	postTo(api, httpx.Op{ID: "change-grid", Path: "/grids/{id}/change", Title: "变更网格", Need: Manage, Record: gridapi.ItemType}, s.Change)
	postTo(api, httpx.Op{ID: "redraw-grid", Path: "/grids/{id}/boundary", Title: "调整网格边界", Need: Manage, Record: gridapi.ItemType}, s.Redraw)
	postTo(api, httpx.Op{ID: "appoint-grid-officer", Path: "/grids/{id}/officers", Title: "任命网格员", Need: Manage, Record: gridapi.ItemType}, s.Appoint)
	httpx.Register(api, httpx.Op{ID: "dismiss-grid-officer", Method: "POST", Path: "/grids/{id}/officers/{duty}/dismiss", Title: "免去网格员", Tag: tag, Need: Manage, Record: gridapi.ItemType},
		func(ctx context.Context, in *struct {
			httpx.ByIDWith[DismissInput]
			Duty string `path:"duty" maxLength:"64"`
		}) (*httpx.Body[*Duty], error) {
			d, err := s.Dismiss(ctx, in.ID, in.Duty, in.Body)
			return &httpx.Body[*Duty]{Body: d}, err
		})
	postTo(api, httpx.Op{ID: "excuse-grid-officer", Path: "/grids/{id}/absences", Title: "登记离岗", Need: Walk, Record: gridapi.ItemType}, s.Excuse)
	postTo(api, httpx.Op{ID: "assign-grid-places", Path: "/grids/{id}/places", Title: "划入巡查对象", Need: Manage, Record: gridapi.ItemType}, s.Assign)
	postTo(api, httpx.Op{ID: "assign-inside-grid", Path: "/grids/{id}/places/inside", Title: "按边界划入巡查对象", Need: Manage, Detached: true, Record: gridapi.ItemType},
		func(ctx context.Context, id string, _ struct{}) (Assigned, error) { return s.AssignInside(ctx, id) })
	flow.Serve(api, "/grids", tag, gridapi.ItemType, s.flows.retire, s.Retire)
	httpx.Register(api, httpx.Op{ID: "map-grids", Method: "GET", Path: "/grids/map", Title: "网格地图", Tag: tag, Need: View}, s.serveMap)
	httpx.Register(api, httpx.Op{ID: "locate-grid", Method: "GET", Path: "/grids/locate", Title: "按位置查找网格和网格员", Tag: tag, Need: View}, s.serveLocate)
	httpx.Register(api, httpx.Op{ID: "import-grids", Method: "POST", Path: "/grids/import", Title: "导入网格", Tag: tag, Need: Manage, Detached: true, MaxBody: 50 << 20,
		Doc: "GeoJSON FeatureCollection、XLSX 或 CSV。默认只校验（dryRun），不写入。"}, s.serveImport)
	httpx.Register(api, httpx.Op{ID: "grid-statistics", Method: "GET", Path: "/grid-statistics", Title: "网格巡查统计", Tag: tag, Need: View},
		func(ctx context.Context, in *StatisticsQuery) (*httpx.Body[Listing[StatisticsRow]], error) {
			rows, err := s.Statistics(ctx, *in)
			return httpx.Reply(Listing[StatisticsRow]{rows}), err
		})
	httpx.Register(api, httpx.Op{ID: "get-grid-policy", Method: "GET", Path: "/grid-policy", Title: "现行巡查策略", Tag: tag, Need: View},
		func(ctx context.Context, in *struct {
			Division string `query:"division" required:"true" maxLength:"12"`
		}) (*httpx.Body[Policy], error) {
			p, err := s.PolicyOf(ctx, in.Division)
			return httpx.Reply(p), err
		})
	post(api, httpx.Op{ID: "set-grid-policy", Path: "/grid-policy", Title: "设定巡查策略", Need: policy.Manage}, s.SetPolicy)
}

// Listing is a list that is not paged.
type Listing[T any] struct {
	Items []T `json:"items" nullable:"false"`
}

// Feature is a grid on the map.
type Feature struct {
	ID         string    `json:"id"`
	Code       string    `json:"code"`
	Name       string    `json:"name"`
	PersonName string    `json:"personName" doc:"今天负责的网格员"`
	Geometry   *geometry `json:"geometry"`
}

// geometry is a GeoJSON geometry as the OpenAPI document describes it.
type geometry struct {
	Type        string          `json:"type" enum:"Polygon,MultiPolygon"`
	Coordinates json.RawMessage `json:"coordinates"`
}

func geometryOf(shape Shape, crs geo.CRS) (*geometry, error) {
	out := shape.MultiPolygon
	if crs != "" {
		var err error
		if out, err = out.Convert(geo.WGS84, crs); err != nil {
			return nil, errs.InvalidField("grid.crs", "query/crs", err.Error())
		}
	}
	g := new(geometry)
	return g, json.Unmarshal(out.GeoJSON(), g)
}

type mapQuery struct {
	In  string  `query:"in" maxLength:"12" doc:"只看该区划"`
	CRS geo.CRS `query:"crs" enum:"WGS-84,GCJ-02,BD-09" doc:"返回坐标的坐标系，默认 WGS-84"`
}

func (s *Service) serveMap(ctx context.Context, in *mapQuery) (*httpx.Body[Listing[Feature]], error) {
	grids, shapes, who, err := s.Map(ctx, in.In)
	if err != nil {
		return nil, err
	}
	out := Listing[Feature]{Items: []Feature{}}
	for _, g := range grids {
		f := Feature{ID: g.ID, Code: g.Code, Name: g.Name}
		if b := shapes[g.ID]; b != nil {
			if f.Geometry, err = geometryOf(b.Shape, in.CRS); err != nil {
				return nil, err
			}
		}
		if d := who[g.ID]; d != nil {
			f.PersonName = d.PersonName
		}
		out.Items = append(out.Items, f)
	}
	return httpx.Reply(out), nil
}

type locateQuery struct {
	Lon float64 `query:"lon" required:"true"`
	Lat float64 `query:"lat" required:"true"`
	CRS geo.CRS `query:"crs" enum:"WGS-84,CGCS2000,GCJ-02,BD-09"`
}

func (s *Service) serveLocate(ctx context.Context, in *locateQuery) (*httpx.Body[*gridapi.Answer], error) {
	at, err := Position{Lon: &in.Lon, Lat: &in.Lat, CRS: in.CRS}.wgs84()
	if err != nil {
		return nil, err
	}
	a, err := s.LocateFor(ctx, *at)
	return &httpx.Body[*gridapi.Answer]{Body: a}, err
}

type importRequest struct {
	DryRun     bool    `query:"dryRun" default:"true" doc:"只校验，不写入"`
	SkipErrors bool    `query:"skipErrors" doc:"只导入无误的行"`
	CRS        geo.CRS `query:"crs" enum:"WGS-84,CGCS2000,GCJ-02,BD-09" doc:"文件中坐标的坐标系，默认 WGS-84"`
	RawBody    []byte  `contentType:"application/octet-stream"`
}

func (s *Service) serveImport(ctx context.Context, in *importRequest) (*httpx.Body[*ImportReport], error) {
	r, err := s.Import(ctx, in.RawBody, ImportOptions{DryRun: in.DryRun, SkipErrors: in.SkipErrors, CRS: in.CRS})
	return &httpx.Body[*ImportReport]{Body: r}, err
}

func (s *Service) servePlaces(api *httpx.API) {
	post(api, httpx.Op{ID: "add-grid-place", Path: "/grid-places", Title: "登记巡查对象", Need: Act}, s.AddSite)
	get(api, httpx.Op{ID: "get-grid-place", Path: "/grid-places/{id}", Title: "巡查对象", Need: View, Record: gridapi.PlaceType}, s.SiteByID)
	postTo(api, httpx.Op{ID: "change-grid-place", Path: "/grid-places/{id}/change", Title: "变更巡查对象", Need: Manage, Record: gridapi.PlaceType}, s.ChangeSite)
	postTo(api, httpx.Op{ID: "close-grid-place", Path: "/grid-places/{id}/close", Title: "关闭巡查对象", Need: Manage, Record: gridapi.PlaceType}, s.CloseSite)
	postTo(api, httpx.Op{ID: "release-grid-place", Path: "/grid-places/{id}/release", Title: "移出网格", Need: Manage, Record: gridapi.PlaceType}, s.ReleaseSite)
}

// ClientTime is the phone's clock at the moment of sending. It is a header because a repeated request must have the same body.
type ClientTime struct {
	At time.Time `header:"X-Client-Time" timeFormat:"2006-01-02T15:04:05Z07:00" doc:"发送时手机的时钟（RFC 3339），用于校正手机时间"`
}

type timedBody[T any] struct {
	ClientTime
	Body T
}

func (s *Service) servePatrols(api *httpx.API) {
	httpx.Register(api, httpx.Op{ID: "due-patrol-tasks", Method: "GET", Path: "/patrol-tasks/today", Title: "今日应巡", Tag: tag, Need: Walk},
		func(ctx context.Context, _ *struct{}) (*httpx.Body[Listing[DueTask]], error) {
			rows, err := s.Today(ctx)
			return httpx.Reply(Listing[DueTask]{rows}), err
		})
	httpx.Register(api, httpx.Op{ID: "start-patrol", Method: "POST", Path: "/patrols/start", Title: "开始巡查", Tag: tag, Need: Walk},
		func(ctx context.Context, in *timedBody[StartPatrol]) (*httpx.Body[*Patrol], error) {
			in.Body.ClientNow = in.At
			p, err := s.Begin(ctx, in.Body)
			return &httpx.Body[*Patrol]{Body: p}, err
		})
	httpx.Register(api, httpx.Op{ID: "submit-patrol", Method: "POST", Path: "/patrols", Title: "提交巡查", Tag: tag, Need: Walk, MaxBody: 4 << 20},
		func(ctx context.Context, in *timedBody[PatrolInput]) (*httpx.Body[*Patrol], error) {
			in.Body.ClientNow = in.At
			p, err := s.Submit(ctx, in.Body)
			return &httpx.Body[*Patrol]{Body: p}, err
		})
	get(api, httpx.Op{ID: "get-patrol", Path: "/patrols/{id}", Title: "巡查记录", Need: View, Record: gridapi.PatrolType}, s.PatrolByID)
	get(api, httpx.Op{ID: "get-patrol-track", Path: "/patrols/{id}/track", Title: "巡查轨迹", Need: View, Record: gridapi.PatrolType,
		Doc: "只有本人和有 grid.track 权限的人员可以查看，他人查看记入日志。"}, s.TrackOf)
	flow.Serve(api, "/patrols", tag, gridapi.PatrolType, s.flows.abandon, s.Abandon)
	postTo(api, httpx.Op{ID: "confirm-grid-visit", Path: "/grid-visits/{id}/confirm", Title: "认可到访", Need: Manage, Record: gridapi.VisitType}, s.ConfirmVisit)
}

func (s *Service) serveActions(api *httpx.API) {
	httpx.Register(api, httpx.Op{ID: "record-grid-action", Method: "POST", Path: "/grid-actions", Title: "登记履职", Tag: tag, Need: Act},
		func(ctx context.Context, in *timedBody[ActionInput]) (*httpx.Body[*Action], error) {
			in.Body.ClientNow = in.At
			a, err := s.Record(ctx, in.Body)
			return &httpx.Body[*Action]{Body: a}, err
		})
	get(api, httpx.Op{ID: "get-grid-action", Path: "/grid-actions/{id}", Title: "履职记录", Need: View, Record: gridapi.ActionType}, s.ActionByID)
	flow.Serve(api, "/grid-actions", tag, gridapi.ActionType, s.flows.acknowledge, s.Acknowledge)
}

// Line is one line of a record's history.
type Line struct {
	At      time.Time       `json:"at"`
	Version int64           `json:"version"`
	Title   string          `json:"title"`
	Actor   string          `json:"actor"`
	Unit    string          `json:"unit"`
	Data    json.RawMessage `json:"data"`
}

func lines(rows []audit.Row) Listing[Line] {
	out := Listing[Line]{Items: []Line{}}
	for _, r := range rows {
		out.Items = append(out.Items, Line{r.Time(), r.Version, r.Title, r.ActorName, r.UnitName, r.Data})
	}
	return out
}
