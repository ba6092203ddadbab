package grid

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/geo"
	"anwang/internal/module/grid/gridapi"
)

// The permissions of the module.
const (
	View   = "grid.view"   // see grids, tasks, patrols (without tracks) and actions
	Manage = "grid.manage" // draw grids, appoint officers, assign places, confirm and acknowledge
	Walk   = "grid.patrol" // patrol the grids that one is officer or deputy of
	Act    = "grid.act"    // record the five duties there
	Track  = "grid.track"  // see other officers' tracks
)

// Item is a grid 网格: a part of a village or town with one officer who answers for it.
type Item struct {
	bun.BaseModel `bun:"table:grid_item,alias:r" json:"-"`
	record.Head
	scope.Place

	Code        string     `bun:"code" json:"code" doc:"网格编号：12位区划代码加3位顺序号"`
	Name        string     `bun:"name" json:"name" doc:"网格名称"`
	State       flow.State `bun:"state" json:"state" enum:"active,retired" doc:"active 在用，retired 已撤销"`
	Area        int64      `bun:"area" json:"area" doc:"面积（平方米），0 表示没有边界"`
	OpenedOn    string     `bun:"opened_on" json:"openedOn" doc:"启用日期"`
	RetiredOn   string     `bun:"retired_on" json:"retiredOn" doc:"撤销日期"`
	SuccessorID string     `bun:"successor_id" json:"successorId" doc:"承接的网格"`
	Reason      string     `bun:"reason" json:"reason" doc:"撤销原因"`
}

// FlowState points to the state, for kernel/flow.
func (g *Item) FlowState() *flow.State { return &g.State }

// Shape is an area. As JSON it is a GeoJSON geometry in WGS-84.
type Shape struct{ geo.MultiPolygon }

// MarshalJSON writes a Polygon or a MultiPolygon.
func (s Shape) MarshalJSON() ([]byte, error) {
	if s.MultiPolygon == nil {
		return []byte("null"), nil
	}
	return s.GeoJSON(), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Shape) UnmarshalJSON(b []byte) (err error) {
	if string(b) == "null" {
		s.MultiPolygon = nil
		return nil
	}
	s.MultiPolygon, err = geo.ParseGeoJSON(b)
	return err
}

// Boundary is the area of a grid during a period.
type Boundary struct {
	bun.BaseModel `bun:"table:grid_boundary,alias:r" json:"-"`
	record.Head
	scope.Place

	GridID    string  `bun:"grid_id" json:"gridId"`
	Shape     Shape   `bun:"shape,type:text" json:"shape" doc:"GeoJSON，WGS-84"`
	Area      int64   `bun:"area" json:"area" doc:"面积（平方米）"`
	MinLon    float64 `bun:"min_lon" json:"minLon"`
	MinLat    float64 `bun:"min_lat" json:"minLat"`
	MaxLon    float64 `bun:"max_lon" json:"maxLon"`
	MaxLat    float64 `bun:"max_lat" json:"maxLat"`
	ValidFrom string  `bun:"valid_from" json:"validFrom" doc:"启用日期"`
	ValidTo   string  `bun:"valid_to" json:"validTo" doc:"最后有效日期（含当日），空表示现行"`
	Reason    string  `bun:"reason" json:"reason" doc:"划定或调整的依据"`
}

// Duty is a person's time as officer or deputy of a grid.
type Duty struct {
	bun.BaseModel `bun:"table:grid_duty,alias:r" json:"-"`
	record.Head
	scope.Place

	GridID     string       `bun:"grid_id" json:"gridId"`
	PersonID   string       `bun:"person_id" json:"personId"`
	PersonName string       `bun:"person_name" json:"personName"`
	Kind       gridapi.Rank `bun:"kind" json:"kind" enum:"officer,deputy" doc:"officer 网格员，deputy 代理网格员"`
	ValidFrom  string       `bun:"valid_from" json:"validFrom"`
	ValidTo    string       `bun:"valid_to" json:"validTo" doc:"最后一日（含），空表示在任"`
	Reason     string       `bun:"reason" json:"reason"`
}

// Absence is a time in which a person cannot patrol and the deputy covers, in all the person's grids.
type Absence struct {
	bun.BaseModel `bun:"table:grid_absence,alias:r" json:"-"`
	record.Head
	scope.Place

	GridID     string `bun:"grid_id" json:"gridId" doc:"由哪个网格登记"`
	PersonID   string `bun:"person_id" json:"personId"`
	PersonName string `bun:"person_name" json:"personName"`
	From       string `bun:"from_day" json:"from"`
	To         string `bun:"to_day" json:"to" doc:"最后一日（含）"`
	Reason     string `bun:"reason" json:"reason"`
}

// KindEnterprise is the kind of a site that is an enterprise. All other kinds are codes of the dictionary [PlaceKind].
const KindEnterprise = "enterprise"

// How a site came into its grid.
const (
	ByHand     = "hand"     // somebody put it there: it stays whatever the boundary says
	ByBoundary = "boundary" // its coordinates lie in the boundary
)

// The states of a site.
const (
	SiteActive = "active"
	SiteClosed = "closed"
)

// Site is what is patrolled 巡查对象: an enterprise, or a school, filling station, rented house, building site, reservoir. The table is grid_place; the Go name
// differs because every record embeds a scope.Place.
type Site struct {
	bun.BaseModel `bun:"table:grid_place,alias:r" json:"-"`
	record.Head
	scope.Place

	GridID      string   `bun:"grid_id" json:"gridId" doc:"所在网格，空表示尚未划入"`
	Assigned    string   `bun:"assigned" json:"assigned" doc:"hand 人工划入，boundary 按边界划入，空表示尚未划入"`
	AssignedOn  string   `bun:"assigned_on" json:"assignedOn" doc:"划入日期"`
	Kind        string   `bun:"kind" json:"kind" doc:"enterprise 企业；其他为字典 gridPlaceKind 的代码"`
	Name        string   `bun:"name" json:"name"`
	Address     string   `bun:"address" json:"address"`
	Class       string   `bun:"class" json:"class" doc:"企业类别"`
	Grade       string   `bun:"grade" json:"grade" doc:"企业等级"`
	Every       Period   `bun:"every" json:"every" doc:"单独规定的巡查频次，空表示按策略"`
	EveryReason string   `bun:"every_reason" json:"everyReason" doc:"单独规定频次的理由"`
	Lon         *float64 `bun:"lon" json:"lon,omitempty" doc:"经度，WGS-84"`
	Lat         *float64 `bun:"lat" json:"lat,omitempty" doc:"纬度，WGS-84"`
	State       string   `bun:"state" json:"state" enum:"active,closed"`
	// SourceVersion is the version of the enterprise that the copy was made from.
	SourceVersion int64 `bun:"source_version" json:"sourceVersion"`
}

// Point is where the site is; ok is false when nobody knows.
func (s *Site) Point() (p geo.Point, ok bool) {
	if s.Lon == nil || s.Lat == nil {
		return p, false
	}
	return geo.Point{Lon: *s.Lon, Lat: *s.Lat}, true
}

// Proof says whether the phone was where the visit says.
type Proof string

// The proofs of a visit.
const (
	Unknown   Proof = "unknown"   // no coordinates of the site, or no positions at that time
	Verified  Proof = "verified"  // within the radius
	Mismatch  Proof = "mismatch"  // elsewhere
	Confirmed Proof = "confirmed" // elsewhere or unknown, and the town took the reason
)

// The states of a task.
const (
	TaskOpen      = "open"
	TaskDone      = "done" // in time
	TaskLate      = "late" // after the end, or not proven to be in time
	TaskCancelled = "cancelled"
)

// Task is one patrol that is owed to a site in a period.
type Task struct {
	bun.BaseModel `bun:"table:grid_task,alias:r" json:"-"`
	record.Head
	scope.Place

	GridID      string    `bun:"grid_id" json:"gridId"`
	FirstGridID string    `bun:"first_grid_id" json:"firstGridId" doc:"安排任务时对象所在的网格"`
	SiteID      string    `bun:"site_id" json:"siteId"`
	SiteName    string    `bun:"site_name" json:"siteName"`
	SiteKind    string    `bun:"site_kind" json:"siteKind"`
	OfficerID   string    `bun:"officer_id" json:"officerId" doc:"责任网格员，空表示网格无人在岗"`
	OfficerName string    `bun:"officer_name" json:"officerName"`
	Period      string    `bun:"period" json:"period" doc:"巡查周期，如 week:2026-03-09"`
	FromDay     string    `bun:"from_day" json:"fromDay"`
	ToDay       string    `bun:"to_day" json:"toDay"`
	DueAt       time.Time `bun:"due_at" json:"dueAt" doc:"期满时间：最后一日24时"`
	Clause      string    `bun:"clause" json:"clause" doc:"依据"`
	PolicyID    string    `bun:"policy_id" json:"policyId" doc:"所依据的策略版本，空表示默认策略"`
	State       string    `bun:"state" json:"state" enum:"open,done,late,cancelled" doc:"open 未巡，done 按期完成，late 逾期完成，cancelled 取消；open 且已期满为漏巡"`
	DoneAt      time.Time `bun:"done_at,nullzero" json:"doneAt,omitzero" doc:"到访时间"`
	ArrivedAt   time.Time `bun:"arrived_at,nullzero" json:"arrivedAt,omitzero" doc:"记录到达服务器的时间"`
	LateArrival bool      `bun:"late_arrival" json:"lateArrival" doc:"按期完成，记录迟到"`
	Proof       Proof     `bun:"proof" json:"proof"`
	PatrolID    string    `bun:"patrol_id" json:"patrolId"`
	VisitID     string    `bun:"visit_id" json:"visitId"`
	Reason      string    `bun:"reason" json:"reason" doc:"取消的原因"`
}

// The states of a patrol.
const (
	Started   flow.State = "started"
	Finished  flow.State = "finished"
	Abandoned flow.State = "abandoned"
)

// Patrol is one walk through a grid. Its track is not part of its JSON.
type Patrol struct {
	bun.BaseModel `bun:"table:grid_patrol,alias:r" json:"-"`
	record.Head
	scope.Place

	GridID      string     `bun:"grid_id" json:"gridId"`
	GridName    string     `bun:"grid_name" json:"gridName"`
	OfficerID   string     `bun:"officer_id" json:"officerId"`
	OfficerName string     `bun:"officer_name" json:"officerName"`
	State       flow.State `bun:"state" json:"state" enum:"started,finished,abandoned"`
	// The phone's clock and the server's.
	StartedAt     time.Time `bun:"started_at" json:"startedAt" doc:"开始时间（手机时钟）"`
	StartReceived time.Time `bun:"start_received" json:"startReceived" doc:"服务器收到开始的时间"`
	FinishedAt    time.Time `bun:"finished_at,nullzero" json:"finishedAt,omitzero" doc:"结束时间（手机时钟）"`
	ReceivedAt    time.Time `bun:"received_at,nullzero" json:"receivedAt,omitzero" doc:"服务器收到全部记录的时间"`
	Skew          *int64    `bun:"skew" json:"skew,omitempty" doc:"服务器时钟减手机时钟，毫秒；缺少表示未知"`

	Track        record.Secret `bun:"track" json:"track" doc:"轨迹的摘要；轨迹本身须另行查看"`
	TrackHash    string        `bun:"track_hash" json:"trackHash" doc:"原始轨迹的 SHA-256"`
	TrackPoints  int           `bun:"track_points" json:"trackPoints" doc:"原始轨迹点数"`
	TrackDropped int           `bun:"track_dropped" json:"trackDropped" doc:"不可用的轨迹点数"`
	TrackJumps   int           `bun:"track_jumps" json:"trackJumps" doc:"不合常理的位移次数"`
	Metres       int           `bun:"metres" json:"metres" doc:"里程（米）"`
	Minutes      int           `bun:"minutes" json:"minutes" doc:"用时（分钟）"`
	Visits       int           `bun:"visits" json:"visits" doc:"到访数"`
	Photos       []string      `bun:"photos,type:text" json:"photos" nullable:"false" doc:"照片附件"`
	Note         string        `bun:"note" json:"note"`
	Digest       string        `bun:"digest" json:"digest" doc:"手机提交内容的摘要，用于识别重复提交"`
}

// FlowState points to the state, for kernel/flow.
func (p *Patrol) FlowState() *flow.State { return &p.State }

// The results of a visit.
const (
	Normal   = "normal"   // 正常
	Problem  = "problem"  // 发现问题
	NotOpen  = "notOpen"  // 未营业、无人
	NotLetIn = "notLetIn" // 拒绝检查
)

// Visit is one site on a patrol. Where the phone was is not kept, only how far from the site.
type Visit struct {
	bun.BaseModel `bun:"table:grid_visit,alias:r" json:"-"`
	record.Head
	scope.Place

	PatrolID    string    `bun:"patrol_id" json:"patrolId"`
	GridID      string    `bun:"grid_id" json:"gridId"`
	SiteID      string    `bun:"site_id" json:"siteId"`
	SiteName    string    `bun:"site_name" json:"siteName"`
	OfficerID   string    `bun:"officer_id" json:"officerId"`
	OfficerName string    `bun:"officer_name" json:"officerName"`
	ArrivedAt   time.Time `bun:"arrived_at" json:"arrivedAt" doc:"到达时间（手机时钟）"`
	LeftAt      time.Time `bun:"left_at" json:"leftAt" doc:"离开时间（手机时钟）"`
	ReceivedAt  time.Time `bun:"received_at" json:"receivedAt" doc:"服务器收到的时间"`
	ReckonedAt  time.Time `bun:"reckoned_at" json:"reckonedAt" doc:"认定的到达时间：手机时钟误差超过允许值时经校正"`
	Result      string    `bun:"result" json:"result" enum:"normal,problem,notOpen,notLetIn"`
	Note        string    `bun:"note" json:"note"`
	Proof       Proof     `bun:"proof" json:"proof" enum:"unknown,verified,mismatch,confirmed"`
	Distance    *int      `bun:"distance" json:"distance,omitempty" doc:"手机位置与对象坐标的最近距离（米）"`
	ConfirmedBy string    `bun:"confirmed_by" json:"confirmedBy" doc:"认可到访的乡镇人员"`
	Reason      string    `bun:"reason" json:"reason" doc:"认可的理由"`
	Photos      []string  `bun:"photos,type:text" json:"photos" nullable:"false"`
}

// The states of an action.
const (
	Recorded     flow.State = "recorded"
	Escalated    flow.State = "escalated"
	Acknowledged flow.State = "acknowledged"
)

// The results of dissuading and stopping.
const (
	Complied = "complied" // 已听从、已停止
	Partly   = "partly"   // 部分听从
	Refused  = "refused"  // 拒不听从
)

// Action is one exercise of a duty of the village inspector.
type Action struct {
	bun.BaseModel `bun:"table:grid_action,alias:r" json:"-"`
	record.Head
	scope.Place

	GridID         string           `bun:"grid_id" json:"gridId"`
	PatrolID       string           `bun:"patrol_id" json:"patrolId" doc:"所属巡查，空表示单独履职"`
	SiteID         string           `bun:"site_id" json:"siteId" doc:"巡查对象，空表示其他对象"`
	Target         string           `bun:"target" json:"target" doc:"对象：企业、场所或人群"`
	Duty           gridapi.DutyKind `bun:"duty" json:"duty" enum:"find,dissuade,stop,report,publicise" doc:"find 发现，dissuade 劝导，stop 制止，report 报告，publicise 宣传"`
	What           string           `bun:"what" json:"what" doc:"情况"`
	Result         string           `bun:"result" json:"result" doc:"劝导、制止的结果：complied 听从，partly 部分听从，refused 拒不听从"`
	Serious        bool             `bun:"serious" json:"serious" doc:"疑似重大隐患或非法生产经营建设"`
	At             time.Time        `bun:"at" json:"at" doc:"发生时间（手机时钟）"`
	ReceivedAt     time.Time        `bun:"received_at" json:"receivedAt"`
	Position       record.Secret    `bun:"position" json:"position" doc:"履职时手机位置的摘要"`
	OfficerID      string           `bun:"officer_id" json:"officerId"`
	OfficerName    string           `bun:"officer_name" json:"officerName"`
	Audience       int              `bun:"audience" json:"audience" doc:"宣传人数"`
	Materials      string           `bun:"materials" json:"materials" doc:"宣传材料"`
	Photos         []string         `bun:"photos,type:text" json:"photos" nullable:"false"`
	DangerID       string           `bun:"danger_id" json:"dangerId" doc:"关联的隐患"`
	State          flow.State       `bun:"state" json:"state" enum:"recorded,escalated,acknowledged" doc:"escalated 已报乡镇，acknowledged 乡镇已签收"`
	AcknowledgedAt time.Time        `bun:"acknowledged_at,nullzero" json:"acknowledgedAt,omitzero"`
	AcknowledgedBy string           `bun:"acknowledged_by" json:"acknowledgedBy"`
	Opinion        string           `bun:"opinion" json:"opinion" doc:"乡镇处理意见"`
	Digest         string           `bun:"digest" json:"digest" doc:"手机提交内容的摘要，用于识别重复提交"`
}

// FlowState points to the state, for kernel/flow.
func (a *Action) FlowState() *flow.State { return &a.State }

// urgent reports whether the town office must hear of the act at once: 重大安全隐患、非法生产经营建设行为及时向镇（街道）报告（石狮市实施意见 九）,
// and whoever does not listen to the village has to listen to the town.
func (a *Action) urgent() bool {
	return a.Serious || a.Duty == gridapi.Report || a.Result == Refused
}

// position reads a stored position: longitude, latitude.
func position(stored record.Secret) (*[2]float64, error) {
	var p [2]float64
	if err := json.Unmarshal([]byte(stored), &p); err != nil {
		return nil, fmt.Errorf("stored position: %w", err)
	}
	return &p, nil
}

// rawOf is v as JSON, for digests and stored positions.
func rawOf(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // inputs are strings, numbers and times
	}
	return b
}
