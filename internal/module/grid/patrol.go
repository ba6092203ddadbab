package grid

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/module/grid/gridapi"
)

// StartPatrol begins a patrol while the phone has a signal.
type StartPatrol struct {
	ID        string    `json:"id" minLength:"36" maxLength:"36" doc:"手机生成的标识（UUIDv7）"`
	GridID    string    `json:"gridId" minLength:"1" maxLength:"36"`
	StartedAt time.Time `json:"startedAt" doc:"手机时钟"`
	ClientNow time.Time `json:"-"`
}

// PatrolInput is a whole patrol, begun before or not.
type PatrolInput struct {
	ID         string        `json:"id" minLength:"36" maxLength:"36" doc:"手机生成的标识（UUIDv7）"`
	GridID     string        `json:"gridId" minLength:"1" maxLength:"36"`
	StartedAt  time.Time     `json:"startedAt" doc:"手机时钟"`
	FinishedAt time.Time     `json:"finishedAt" doc:"手机时钟"`
	Track      []TrackPoint  `json:"track,omitempty" maxItems:"10000"`
	Visits     []VisitInput  `json:"visits,omitempty" maxItems:"300"`
	Actions    []ActionInput `json:"actions,omitempty" maxItems:"100" doc:"途中的履职记录；gridId 和 patrolId 不必填"`
	Photos     []string      `json:"photos,omitempty" maxItems:"50" doc:"附件标识"`
	Note       string        `json:"note,omitempty" maxLength:"2000"`
	// ClientNow is the phone's clock at the moment of sending; zero when it did not say. It comes in a header, so that a repeat has the same body.
	ClientNow time.Time `json:"-"`
}

// VisitInput is one site on the way.
type VisitInput struct {
	ID        string    `json:"id" minLength:"36" maxLength:"36" doc:"手机生成的标识（UUIDv7）"`
	PlaceID   string    `json:"placeId" minLength:"1" maxLength:"36" doc:"巡查对象"`
	ArrivedAt time.Time `json:"arrivedAt"`
	LeftAt    time.Time `json:"leftAt"`
	Result    string    `json:"result" enum:"normal,problem,notOpen,notLetIn" doc:"normal 正常，problem 发现问题，notOpen 未营业或无人，notLetIn 拒绝检查"`
	Note      string    `json:"note,omitempty" maxLength:"2000"`
	Photos    []string  `json:"photos,omitempty" maxItems:"20"`
}

// Begin records the start of a patrol. Repeating it changes nothing, also after the patrol has ended.
func (s *Service) Begin(ctx context.Context, in StartPatrol) (*Patrol, error) {
	if !uuid7.MatchString(in.ID) {
		return nil, errs.InvalidField("grid.id", "/id", notUUID)
	}
	var p *Patrol
	err := s.db.Tx(ctx, func(ctx context.Context) error {
		g, me, err := s.walkable(ctx, Walk, in.GridID, in.StartedAt)
		if err != nil {
			return err
		}
		pol, _, err := s.policy.For(ctx, g.Division, s.db.Clock.Now())
		if err != nil {
			return err
		}
		c := s.phone(in.ClientNow, pol)
		if c.future(in.StartedAt) {
			return errs.InvalidField("grid.clock", "/startedAt", "晚于现在，请检查手机的日期和时间")
		}
		p, err = s.ensure(ctx, g, me, in.ID, in.StartedAt)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// ensure returns the patrol with the phone's id, begun if it did not exist. It refuses an id that stands for somebody else's patrol or another grid's.
func (s *Service) ensure(ctx context.Context, g *Item, me Person, id string, startedAt time.Time) (*Patrol, error) {
	p, err := s.patrol(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case p == nil:
		if g.State != active && clock.Date(startedAt) > g.RetiredOn {
			return nil, errRetired
		}
		p = &Patrol{Place: g.Place, GridID: g.ID, GridName: g.Name, OfficerID: me.ID, OfficerName: me.Name, State: Started,
			StartedAt: stored(startedAt), StartReceived: s.db.Clock.Now(), Photos: []string{}}
		p.ID = id
		return p, s.patrols.Insert(ctx, p, record.Change{Fact: "grid.patrolStarted", Title: "开始巡查"})
	case p.OfficerID != me.ID || p.GridID != g.ID:
		return nil, errIDTaken
	}
	return p, nil
}

var errIDTaken = errs.Conflict("grid.idTaken", "该标识已用于另一条记录，请更新手机端后重新提交。")

// Submit takes a whole patrol in, with its visits and actions, in one transaction. What was taken in before is recognised: the same content again returns what is stored, other
// content under the same id is refused.
func (s *Service) Submit(ctx context.Context, in PatrolInput) (*Patrol, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	way := readTrack(in.Track, in.StartedAt, in.FinishedAt)
	digest := digestOf(in)
	var p *Patrol
	err := s.db.Tx(ctx, func(ctx context.Context) error {
		g, me, err := s.walkable(ctx, Walk, in.GridID, in.StartedAt)
		if err != nil {
			return err
		}
		if p, err = s.ensure(ctx, g, me, in.ID, in.StartedAt); err != nil {
			return err
		}
		if p.State == Finished {
			if p.Digest != digest {
				return errs.Conflict("grid.patrolFinished", "这次巡查已经提交过，内容不同的不能再次提交。如需补充，请另行登记履职记录。")
			}
			return nil
		}
		pol, _, err := s.policy.For(ctx, g.Division, in.StartedAt)
		if err != nil {
			return err
		}
		c := s.phone(in.ClientNow, pol)
		if c.future(in.FinishedAt) {
			return errs.InvalidField("grid.clock", "/finishedAt", "晚于现在，请检查手机的日期和时间")
		}
		p.StartedAt, p.FinishedAt, p.ReceivedAt, p.Skew = stored(in.StartedAt), stored(in.FinishedAt), c.now, c.skewMillis()
		p.Track, p.TrackHash, p.TrackPoints, p.TrackDropped, p.TrackJumps = record.Secret(pack(way.thinned)), way.hash, way.sent, way.sent-len(way.points), way.jumps
		p.Metres, p.Minutes, p.Visits = int(math.Round(way.lengthOf)), int(in.FinishedAt.Sub(in.StartedAt).Minutes()), len(in.Visits)
		p.Photos, p.Note, p.Digest = list(in.Photos), in.Note, digest
		if err := flow.Apply(ctx, s.flows.patrol, s.flows.finish, p, finishing{Visits: len(in.Visits), Actions: len(in.Actions)}); err != nil {
			return err
		}
		if err := s.attach(ctx, p.Photos, gridapi.PatrolType, p.ID, p.Place); err != nil {
			return err
		}
		for i, v := range in.Visits {
			if err := s.visit(ctx, p, v, &way, c, pol); err != nil {
				return under(err, fmt.Sprintf("/visits/%d", i))
			}
		}
		for i, a := range in.Actions {
			a.GridID, a.PatrolID = g.ID, p.ID
			if _, err := s.act(ctx, g, me, a, c); err != nil {
				return under(err, fmt.Sprintf("/actions/%d", i))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (in *PatrolInput) check() error {
	bad := errs.Invalid("grid.patrol", "巡查记录有误，请按提示修改后重新提交。")
	wrong := func(pointer, message string) { bad = bad.At(pointer, message) }
	if !uuid7.MatchString(in.ID) {
		wrong("/id", notUUID)
	}
	if in.FinishedAt.Before(in.StartedAt) || in.FinishedAt.Sub(in.StartedAt) > 24*time.Hour {
		wrong("/finishedAt", "应晚于开始时间，且一次巡查不超过 24 小时")
	}
	seen := map[string]bool{}
	for i, v := range in.Visits {
		at := fmt.Sprintf("/visits/%d/", i)
		if !uuid7.MatchString(v.ID) || seen[v.ID] {
			wrong(at+"id", notUUID)
		}
		seen[v.ID] = true
		if v.LeftAt.Before(v.ArrivedAt) || v.ArrivedAt.Before(in.StartedAt.Add(-slack)) || v.LeftAt.After(in.FinishedAt.Add(slack)) {
			wrong(at+"arrivedAt", "到达和离开的时间应在巡查起止时间之内")
		}
		if !slices.Contains([]string{Normal, Problem, NotOpen, NotLetIn}, v.Result) {
			wrong(at+"result", "应为 normal、problem、notOpen 或 notLetIn")
		}
	}
	for i, a := range in.Actions {
		if seen[a.ID] {
			wrong(fmt.Sprintf("/actions/%d/id", i), notUUID)
		}
		seen[a.ID] = true
	}
	if len(bad.Fields) > 0 {
		return bad
	}
	return nil
}

func (s *Service) visit(ctx context.Context, p *Patrol, in VisitInput, way *track, c phoneClock, pol Policy) error {
	site, err := s.siteFor(ctx, Walk, p.GridID, in.PlaceID)
	if err != nil {
		return err
	}
	v := &Visit{Place: site.Place, PatrolID: p.ID, GridID: p.GridID, SiteID: site.ID, SiteName: site.Name, OfficerID: p.OfficerID, OfficerName: p.OfficerName,
		ArrivedAt: stored(in.ArrivedAt), LeftAt: stored(in.LeftAt), ReceivedAt: c.now, ReckonedAt: c.reckon(in.ArrivedAt), Result: in.Result, Note: in.Note, Proof: Unknown, Photos: list(in.Photos)}
	v.ID = in.ID
	if at, ok := site.Point(); ok {
		v.Proof, v.Distance = way.near(at, in.ArrivedAt, in.LeftAt, pol.Radius)
	}
	if err := s.visits.Insert(ctx, v, record.Change{Fact: "grid.visited", Title: "到访"}); err != nil {
		return taken(err)
	}
	if err := s.attach(ctx, v.Photos, gridapi.VisitType, v.ID, v.Place); err != nil {
		return err
	}
	return s.complete(ctx, v, p.TrackJumps)
}

// siteFor loads a site that the caller may act on with the permission, or that the grid owed a patrol: while a phone was without a signal, the site may have moved out
// of its officer's reach, and what was done there still counts.
func (s *Service) siteFor(ctx context.Context, permission, gridID, id string) (*Site, error) {
	site, err := s.sites.Load(ctx, scope.For(ctx, permission), id)
	if err == nil || errs.KindOf(err) != errs.KindNotFound {
		return site, err
	}
	owed, err := s.owedBy(ctx, gridID, id)
	if err != nil {
		return nil, err
	}
	if !owed {
		return nil, errs.InvalidField("grid.place", "/placeId", "巡查对象不存在，或不在您的管辖范围内")
	}
	return s.sites.Load(ctx, own, id)
}

// Abandon gives a patrol up, by its officer. Its phone may still finish it.
func (s *Service) Abandon(ctx context.Context, id string, in AbandonInput) (*Patrol, error) {
	return flow.Fire(ctx, s.flows.patrol, s.flows.abandon, id, in)
}

func (s *Service) giveUp(ctx context.Context, p *Patrol) error {
	return flow.Apply(ctx, s.flows.patrol, s.flows.abandon, p, AbandonInput{Reason: "长时间未提交"})
}

// PatrolDetail is a patrol with what was done on it.
type PatrolDetail struct {
	Patrol
	VisitList   []*Visit      `json:"visitList" nullable:"false"`
	Actions     []*Action     `json:"actions" nullable:"false"`
	Steps       []flow.Action `json:"steps" nullable:"false"`
	TrackOpen   bool          `json:"trackOpen" doc:"可以查看轨迹"`
	LateArrival bool          `json:"lateArrival" doc:"结束一小时以后才收到"`
}

// PatrolByID is a patrol that the caller may see, without its track.
func (s *Service) PatrolByID(ctx context.Context, id string) (*PatrolDetail, error) {
	p, err := s.patrols.Load(ctx, scope.For(ctx, View), id)
	if err != nil {
		return nil, err
	}
	out := &PatrolDetail{Patrol: *p, Steps: s.flows.patrol.Actions(ctx, p), TrackOpen: s.maySeeTrack(ctx, p) == nil,
		LateArrival: !p.FinishedAt.IsZero() && p.ReceivedAt.Sub(p.FinishedAt) > time.Hour}
	if out.VisitList, err = s.visitsOf(ctx, id); err != nil {
		return nil, err
	}
	out.Actions, err = s.actionsOf(ctx, id)
	out.VisitList, out.Actions = list(out.VisitList), list(out.Actions)
	return out, err
}

// TrackView is a track as it is shown.
type TrackView struct {
	Points []TrackPoint `json:"points" nullable:"false" doc:"抽稀后的轨迹（任一时刻偏差不超过 10 米）"`
	Hash   string       `json:"hash" doc:"原始轨迹的 SHA-256"`
	Sent   int          `json:"sent" doc:"原始点数"`
	Jumps  int          `json:"jumps" doc:"不合常理的位移次数"`
}

// TrackOf is where the officer walked: for the officer, and with grid.track for others, each look of whom is in the log.
func (s *Service) TrackOf(ctx context.Context, id string) (*TrackView, error) {
	p, err := s.patrols.Load(ctx, scope.For(ctx, View), id)
	if err != nil {
		return nil, err
	}
	if err := s.maySeeTrack(ctx, p); err != nil {
		return nil, err
	}
	points, err := unpack(string(p.Track))
	if err != nil {
		return nil, err
	}
	if s.own(ctx, p.OfficerID) != nil {
		note := record.Change{Fact: "grid.trackViewed", Title: "查看巡查轨迹"}
		if err := s.db.Tx(ctx, func(ctx context.Context) error { return s.patrols.Note(ctx, p, note) }); err != nil {
			return nil, err
		}
	}
	return &TrackView{Points: points, Hash: p.TrackHash, Sent: p.TrackPoints, Jumps: p.TrackJumps}, nil
}

func (s *Service) maySeeTrack(ctx context.Context, p *Patrol) error {
	if scope.For(ctx, Track).Sees(p.Place) || s.own(ctx, p.OfficerID) == nil {
		return nil
	}
	return errs.Forbidden("grid.trackProtected", "网格员的行动轨迹属于敏感个人信息，只有本人、所在乡镇（街道）和经授权的人员可以查看。")
}

// phoneClock is what is known of a phone's clock at the moment of sending.
type phoneClock struct {
	now       time.Time
	skew      time.Duration // server minus phone
	known     bool
	tolerance time.Duration
}

func (s *Service) phone(clientNow time.Time, p Policy) phoneClock {
	c := phoneClock{now: s.db.Clock.Now(), tolerance: time.Duration(p.SkewSeconds) * time.Second}
	if !clientNow.IsZero() {
		c.skew, c.known = c.now.Sub(clientNow), true
	}
	return c
}

func (c phoneClock) skewMillis() *int64 {
	if !c.known {
		return nil
	}
	ms := c.skew.Milliseconds()
	return &ms
}

// corrected is a time of the phone's clock by the server's, where the phone is wrong by more than is tolerated.
func (c phoneClock) corrected(t time.Time) time.Time {
	if c.skew.Abs() > c.tolerance {
		t = t.Add(c.skew)
	}
	return stored(t)
}

// future reports whether a time lies ahead, by more than clocks may differ.
func (c phoneClock) future(t time.Time) bool {
	return c.corrected(t).After(c.now.Add(c.tolerance + time.Second))
}

// reckon is the time that counts: corrected, and never later than now.
func (c phoneClock) reckon(t time.Time) time.Time {
	if t = c.corrected(t); t.After(c.now) {
		return c.now
	}
	return t
}

var uuid7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

const notUUID = "应为手机生成的 UUIDv7，各条不能相同"

// stored is a time as the database keeps it; what is in the log must equal what is in the row.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// list is l without nil, so that its JSON is [] in the log, in the row and in the reply alike.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func digestOf(v any) string {
	sum := sha256.Sum256(rawOf(v))
	return hex.EncodeToString(sum[:])
}
