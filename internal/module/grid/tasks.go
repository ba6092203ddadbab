package grid

import (
	"context"
	"errors"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// RuleKey names the deadline rule of patrols. Its end is always the last day of the task's period; the rule gives clause and ladder.
const RuleKey = "grid.patrol"

// Rules are the deadline rules that the module declares.
func Rules() []deadline.Rule {
	return []deadline.Rule{{
		Key: RuleKey, Title: "网格巡查", Clause: "石台县实施意见（十）", Mark: "S0", Term: deadline.Term{Amount: 1, Unit: deadline.Months, NoRoll: true}, MaxExtensions: deadline.NoExtension,
		Ladder: deadline.Ladder{
			{Offset: -1, Unit: deadline.Days, To: deadline.ToResponsible, Title: "巡查即将到期"},
			{Offset: 0, Unit: deadline.Hours, To: deadline.ToTown, Title: "漏巡"},
		},
	}}
}

// Daily is the module's work of a day, soon after midnight: it plans what is owed, hands running tasks to whoever answers today, and gives up patrols that were forgotten. It may
// run at any time, and twice.
func (s *Service) Daily(ctx context.Context) error {
	if _, err := s.Plan(ctx); err != nil {
		return err
	}
	return s.GiveUp(ctx)
}

// Plan makes the tasks of the periods around today that do not exist yet, and gives running tasks to whoever answers today. It may run at any time,
// twice, and in two processes at once.
func (s *Service) Plan(ctx context.Context) (made int, err error) {
	ctx = actor.AsSystem(ctx, "grid")
	const page = 50 // with its deadlines some 30 ms of SQLite's writer
	policies := map[string]dated{}
	for after, lost := "", 0; ; {
		var sites []*Site
		n := 0
		err := s.db.Tx(ctx, func(ctx context.Context) (err error) {
			if sites, err = s.assignedSites(ctx, after, page); err == nil && len(sites) > 0 {
				n, err = s.plan(ctx, sites, policies)
			}
			return err
		})
		if _, taken := db.UniqueViolation(err); taken && lost < 10 {
			lost++ // another process plans too: look again at what is there
			continue
		}
		if err != nil {
			return made, err
		}
		made += n
		if len(sites) < page {
			break
		}
		after = sites[page-1].ID
	}
	busy, err := s.busyGrids(ctx)
	if err != nil {
		return made, err
	}
	for _, id := range busy {
		if err := s.db.Tx(ctx, func(ctx context.Context) error { return s.repoint(ctx, id) }); err != nil {
			return made, err
		}
	}
	return made, nil
}

// dated is a policy with its version.
type dated struct {
	Policy
	version string
}

func (s *Service) plan(ctx context.Context, sites []*Site, policies map[string]dated) (int, error) {
	now := s.db.Clock.Now()
	var ids, grids []string
	var owed []*Task
	for _, site := range sites {
		p, ok := policies[site.Division]
		if !ok {
			var err error
			if p.Policy, p.version, err = s.policy.For(ctx, site.Division, now); err != nil {
				return 0, err
			}
			policies[site.Division] = p
		}
		if t := p.owed(site, now); t != nil {
			t.PolicyID = p.version
			owed, ids, grids = append(owed, t), append(ids, site.ID), append(grids, site.GridID)
		}
	}
	if len(owed) == 0 {
		return 0, nil
	}
	known, err := s.planned(ctx, ids, s.today())
	if err != nil {
		return 0, err
	}
	who, err := s.responsible(ctx, grids, s.today())
	if err != nil {
		return 0, err
	}
	made := 0
	for _, t := range owed {
		if known[t.SiteID+"/"+t.Period] {
			continue
		}
		t.ID = s.db.Clock.NewID()
		if d := who[t.GridID]; d != nil {
			t.OfficerID, t.OfficerName = d.PersonID, d.PersonName
		}
		clk, err := s.deadlines.Start(ctx, deadline.StartInput{Ref: taskClock(t), Place: t.Place, Title: "巡查“" + t.SiteName + "”",
			Responsible: deadline.Party{ID: t.OfficerID, Name: t.OfficerName}, RuleKey: RuleKey, Due: t.DueAt})
		if err != nil {
			return made, err
		}
		t.Clause = clk.Clause
		if err := s.tasks.Insert(ctx, t, record.Change{Fact: "grid.taskPlanned", Title: "安排巡查"}); err != nil {
			return made, err
		}
		made++
	}
	return made, nil
}

// repoint gives the running tasks of a grid to whoever answers for it today.
func (s *Service) repoint(ctx context.Context, gridID string) error {
	who, err := s.responsible(ctx, []string{gridID}, s.today())
	if err != nil {
		return err
	}
	officer := ""
	if d := who[gridID]; d != nil {
		officer = d.PersonID
	}
	tasks, err := s.misplaced(ctx, gridID, officer)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if err := s.hand(ctx, t, who[gridID]); err != nil {
			return err
		}
	}
	return nil
}

// hand gives a task to a person, nil for nobody, and the clock of it too.
func (s *Service) hand(ctx context.Context, t *Task, to *Duty) error {
	t.OfficerID, t.OfficerName = "", ""
	if to != nil {
		t.OfficerID, t.OfficerName = to.PersonID, to.PersonName
	}
	if err := s.tasks.Update(ctx, t, record.Change{Fact: "grid.taskReassigned", Title: "变更责任网格员"}); err != nil {
		return err
	}
	_, err := s.deadlines.Reassign(ctx, taskClock(t), deadline.Party{ID: t.OfficerID, Name: t.OfficerName})
	if errors.Is(err, deadline.ErrNone) {
		return nil
	}
	return err
}

// complete ends the tasks that a visit fulfils. A visit that was elsewhere fulfils none. One that arrives after the end of a task is in time only when the track proves it.
func (s *Service) complete(ctx context.Context, v *Visit, jumps int) error {
	if v.Proof == Mismatch {
		return nil
	}
	tasks, err := s.metBy(ctx, v.SiteID, v.ReckonedAt)
	if err != nil {
		return err
	}
	proven := v.Proof == Confirmed || v.Proof == Verified && jumps == 0
	for _, t := range tasks {
		inTime := !v.ReckonedAt.After(t.DueAt)
		late := v.ReceivedAt.After(t.DueAt)
		was := t.State
		title := "按期巡查"
		t.State, t.LateArrival = TaskDone, late
		switch {
		case !inTime, late && !proven:
			t.State, t.LateArrival, title = TaskLate, false, "逾期巡查"
		case late:
			title = "按期巡查，记录迟到"
		}
		if t.State == was {
			continue // held for late already, and this visit proves nothing better
		}
		t.DoneAt, t.ArrivedAt, t.Proof, t.PatrolID, t.VisitID = v.ReckonedAt, v.ReceivedAt, v.Proof, v.PatrolID, v.ID
		if err := s.tasks.Update(ctx, t, record.Change{Fact: "grid.taskDone", Title: title}); err != nil {
			return err
		}
		at := v.ReckonedAt
		if t.State == TaskLate && inTime {
			at = time.Time{} // not proven: it counts from now
		}
		if _, err := s.deadlines.Meet(ctx, taskClock(t), at); err != nil && !errors.Is(err, deadline.ErrNone) {
			return err
		}
	}
	return nil
}

// DueTask is a task as the phone of its officer needs it, also without a signal.
type DueTask struct {
	ID        string    `bun:"id" json:"id"`
	GridID    string    `bun:"grid_id" json:"gridId"`
	GridName  string    `bun:"grid_name" json:"gridName"`
	SiteID    string    `bun:"site_id" json:"siteId"`
	SiteName  string    `bun:"site_name" json:"siteName"`
	SiteKind  string    `bun:"site_kind" json:"siteKind"`
	KindName  string    `bun:"-" json:"kindName"`
	Address   string    `bun:"address" json:"address"`
	Lon       *float64  `bun:"lon" json:"lon,omitempty" doc:"经度，WGS-84"`
	Lat       *float64  `bun:"lat" json:"lat,omitempty"`
	FromDay   string    `bun:"from_day" json:"fromDay"`
	ToDay     string    `bun:"to_day" json:"toDay"`
	DueAt     time.Time `bun:"due_at" json:"dueAt"`
	Clause    string    `bun:"clause" json:"clause"`
	Missed    bool      `bun:"-" json:"missed" doc:"已漏巡，尚可补巡"`
	LastVisit time.Time `bun:"last_visit,nullzero" json:"lastVisit,omitzero" doc:"上次到访"`
}

// Today lists what the caller has to patrol today 今日应巡: the open tasks of the running periods, the nearest end first, and before them what was missed in the last 31 days.
// During an absence of the officer they stand in the deputy's list.
func (s *Service) Today(ctx context.Context) ([]DueTask, error) {
	me, err := s.people.Acting(ctx)
	if err != nil {
		return nil, err
	}
	if me.ID == "" {
		return []DueTask{}, nil
	}
	now := s.db.Clock.Now()
	out, err := s.dueOf(ctx, scope.For(ctx, Walk), me.ID, now.AddDate(0, 0, -31))
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].KindName, out[i].Missed = s.kindName(out[i].SiteKind), out[i].DueAt.Before(now)
	}
	return out, nil
}

// ConfirmVisit takes an officer's word for a visit that the phone did not prove: satellites are blind in a mine, coordinates may be wrong. What the visit then fulfils is
// fulfilled. Nobody confirms a visit of their own.
func (s *Service) ConfirmVisit(ctx context.Context, id string, in ReasonInput) (*Visit, error) {
	var v *Visit
	err := s.db.Tx(ctx, func(ctx context.Context) (err error) {
		if v, err = s.visits.Load(ctx, scope.For(ctx, Manage), id); err != nil {
			return err
		}
		if err := s.visits.CheckVersion(v, in.Version); err != nil {
			return err
		}
		if v.Proof != Mismatch && v.Proof != Unknown {
			return errs.Conflict("grid.proven", "该到访已经核实，无需认可。")
		}
		me, err := s.people.Acting(ctx)
		if err != nil {
			return err
		}
		if me.ID == v.OfficerID {
			return errs.Forbidden("grid.ownVisit", "自己的到访由乡镇其他人员认可。")
		}
		v.Proof, v.ConfirmedBy, v.Reason = Confirmed, actor.From(ctx).Name, in.Reason
		if err := s.visits.Update(ctx, v, record.Change{Fact: "grid.visitConfirmed", Title: "认可到访", Data: in}); err != nil {
			return err
		}
		return s.complete(ctx, v, 0)
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// GiveUp abandons patrols that were begun and never finished: see Daily.
func (s *Service) GiveUp(ctx context.Context) error {
	ctx = actor.AsSystem(ctx, "grid")
	now := s.db.Clock.Now()
	return s.db.Tx(ctx, func(ctx context.Context) error {
		old, err := s.forgotten(ctx, now.Add(-time.Hour))
		if err != nil {
			return err
		}
		for _, p := range old {
			pol, _, err := s.policy.For(ctx, p.Division, p.StartReceived)
			if err != nil {
				return err
			}
			if now.Sub(p.StartReceived) < time.Duration(pol.AbandonHours)*time.Hour {
				continue
			}
			if err := s.giveUp(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
}
