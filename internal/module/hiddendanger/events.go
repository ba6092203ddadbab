package hiddendanger

import (
	"context"
	"slices"

	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/module/enterprise/enterpriseapi"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// subscriptions are what this module does when others' events arrive. Each may come twice and late.
func (s *Service) subscriptions() []event.Subscription {
	return []event.Subscription{
		event.On("hiddendanger/escalated", []string{"deadline.escalated"}, s.escalated),
		event.On("hiddendanger/recomputed", []string{"deadline.recomputed"}, s.recomputed),
		event.On("hiddendanger/enterprise", []string{enterpriseapi.EventChanged, enterpriseapi.EventMerged}, s.followed),
	}
}

// escalated notes on the danger how far up its overdue clock has climbed, so that lists can show it.
func (s *Service) escalated(ctx context.Context, _ event.Meta, item deadline.Item) error {
	return s.mirror(ctx, item, func(d *Danger) (record.Change, bool) {
		to := string(item.EscalatedTo)
		// An event that comes after an extension or a new order speaks of an end that no longer holds.
		if !d.DueAt.Equal(item.Due) || !slices.Contains(clockRuns, d.State) {
			return record.Change{}, false
		}
		if item.Overdue(s.db.Clock.Now()) && d.EscalatedTo != to && to != string(deadline.ToResponsible) {
			d.EscalatedTo = to
			return record.Change{Fact: "hiddendanger.escalated", Title: "逾期升级"}, true
		}
		return record.Change{}, false
	})
}

// recomputed follows the clock when the calendar changed.
func (s *Service) recomputed(ctx context.Context, _ event.Meta, item deadline.Item) error {
	return s.mirror(ctx, item, func(d *Danger) (record.Change, bool) {
		if d.DueAt.Equal(item.Due) && d.Provisional == item.Provisional {
			return record.Change{}, false
		}
		d.DueAt, d.Provisional = item.Due, item.Provisional
		return record.Change{Fact: "hiddendanger.dueChanged", Title: "期限重新计算"}, true
	})
}

func (s *Service) mirror(ctx context.Context, item deadline.Item, change func(d *Danger) (record.Change, bool)) error {
	if item.RecordType != hiddendangerapi.RecordType || item.Slot != slotRectify {
		return nil
	}
	d, err := s.items.Load(ctx, scope.All("the clock hangs on this danger"), item.RecordID)
	if errs.As(err) != nil && errs.KindOf(err) == errs.KindNotFound {
		return nil
	} else if err != nil {
		return err
	}
	if c, changed := change(d); changed {
		return s.items.Update(ctx, d, c)
	}
	return nil
}

// followed follows an enterprise's name in its open dangers, and its dangers to the file that it was merged into; closed ones keep the name of their time.
func (s *Service) followed(ctx context.Context, _ event.Meta, e enterpriseapi.Enterprise) error {
	dangers, err := s.ofEnterprise(ctx, e.ID)
	if err != nil || len(dangers) == 0 {
		return err
	}
	to := &e
	if e.MergedInto != "" {
		if to, err = s.enterprises.Find(ctx, scope.All("the file that stands for the merged one"), e.MergedInto); err != nil {
			return err
		}
	}
	for _, d := range dangers {
		if d.EnterpriseName == to.Name && d.EnterpriseID == to.ID {
			continue
		}
		d.EnterpriseName, d.EnterpriseID = to.Name, to.ID
		if err := s.items.Update(ctx, d, record.Change{Fact: "hiddendanger.enterpriseFollowed", Title: "企业更名或并档"}); err != nil {
			return err
		}
	}
	return nil
}
