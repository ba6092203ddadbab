package grid

import (
	"context"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
)

const (
	active  flow.State = "active"
	retired flow.State = "retired"
)

// machines are the three state machines of the module and the steps that others than Define need.
type machines struct {
	grid   *flow.Machine[Item, *Item]
	patrol *flow.Machine[Patrol, *Patrol]
	action *flow.Machine[Action, *Action]

	retire      flow.Step[Item, RetireInput]
	finish      flow.Step[Patrol, finishing]
	abandon     flow.Step[Patrol, AbandonInput]
	acknowledge flow.Step[Action, AcknowledgeInput]
}

// RetireInput ends a grid.
type RetireInput struct {
	flow.Read
	On          string `json:"on" format:"date" doc:"最后有效日期（含当日）"`
	SuccessorID string `json:"successorId,omitempty" maxLength:"36" doc:"承接巡查对象的网格；不填则对象转为未划入"`
	Reason      string `json:"reason" minLength:"2" maxLength:"500" doc:"撤销的原因或依据"`
}

// AbandonInput gives a patrol up.
type AbandonInput struct {
	flow.Read
	Reason string `json:"reason" minLength:"2" maxLength:"500" doc:"未完成的原因"`
}

// AcknowledgeInput is the town's receipt for an act that was reported to it.
type AcknowledgeInput struct {
	flow.Read
	Opinion string `json:"opinion" minLength:"2" maxLength:"2000" doc:"处理意见"`
}

// finishing is the input of the step by which Submit closes a patrol. What the phone sent is in the record; the log need not hold it twice.
type finishing struct {
	flow.Read
	Visits  int `json:"visits"`
	Actions int `json:"actions"`
}

func (s *Service) defineFlows() {
	m := &s.flows
	m.retire = flow.Step[Item, RetireInput]{Name: "retire", Title: "撤销网格", Fact: "grid.retired", Need: Manage, From: []flow.State{active}, To: []flow.State{retired}, Do: s.retire}
	m.grid = flow.Define(s.db, s.grids, flow.Spec{Name: "grid", Title: "网格", Initial: []flow.State{active}, Final: []flow.State{retired},
		Titles: map[flow.State]string{active: "在用", retired: "已撤销"}}, m.retire)

	// An abandoned patrol can still be finished: the phone may have been without a signal for longer than the program waited.
	m.finish = flow.Step[Patrol, finishing]{Name: "finish", Title: "结束巡查", Fact: "grid.patrolFinished", Need: Walk, From: []flow.State{Started, Abandoned}, To: []flow.State{Finished}, Hidden: true}
	m.abandon = flow.Step[Patrol, AbandonInput]{Name: "abandon", Title: "放弃巡查", Fact: "grid.patrolAbandoned", Need: Walk, From: []flow.State{Started}, To: []flow.State{Abandoned},
		Guard: func(ctx context.Context, p *Patrol) error {
			if actor.From(ctx).Kind == actor.System {
				return nil
			}
			return s.own(ctx, p.OfficerID)
		},
		Do: func(_ context.Context, p *Patrol, in AbandonInput) error {
			p.Note = in.Reason
			return nil
		}}
	m.patrol = flow.Define(s.db, s.patrols, flow.Spec{Name: "gridpatrol", Title: "巡查", Initial: []flow.State{Started}, Final: []flow.State{Finished},
		Titles: map[flow.State]string{Started: "进行中", Finished: "已完成", Abandoned: "已放弃"}}, m.finish, m.abandon)

	m.acknowledge = flow.Step[Action, AcknowledgeInput]{Name: "acknowledge", Title: "签收处理", Fact: "grid.actionAcknowledged", Need: Manage, From: []flow.State{Escalated}, To: []flow.State{Acknowledged},
		Guard: func(ctx context.Context, a *Action) error {
			me, err := s.people.Acting(ctx)
			if err != nil {
				return err
			}
			if me.ID != "" && me.ID == a.OfficerID {
				return errs.Forbidden("grid.ownReport", "自己上报的事项由乡镇其他人员签收。")
			}
			return nil
		},
		Do: func(ctx context.Context, a *Action, in AcknowledgeInput) error {
			a.AcknowledgedAt, a.AcknowledgedBy, a.Opinion = s.db.Clock.Now(), actor.From(ctx).Name, in.Opinion
			return nil
		}}
	m.action = flow.Define(s.db, s.acts, flow.Spec{Name: "gridaction", Title: "履职", Initial: []flow.State{Recorded, Escalated}, Final: []flow.State{Recorded, Acknowledged},
		Titles: map[flow.State]string{Recorded: "已记录", Escalated: "已报乡镇", Acknowledged: "乡镇已签收"}}, m.acknowledge)
}

// own refuses whoever is not the person.
func (s *Service) own(ctx context.Context, personID string) error {
	me, err := s.people.Acting(ctx)
	if err != nil {
		return err
	}
	if me.ID == "" || me.ID != personID {
		return errs.Forbidden("grid.notYours", "这是其他网格员的记录，只能由本人操作。")
	}
	return nil
}
