package app

import (
	"context"
	"encoding/json"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/module"
	"anwang/internal/kernel/notify"
	"anwang/internal/kernel/scope"
)

// ladderRoles says who stands on a rung of the ladder: reminder to the responsible enterprise, then town, department, committee office. The next level up is at another node, which hears of it by the event.
var ladderRoles = map[deadline.Recipient][]string{
	deadline.ToResponsible: {"enterprise.head", "enterprise.manager", "grid"},
	deadline.ToTown:        {"town"},
	deadline.ToDepartment:  {"industry"},
	deadline.ToOffice:      {"office"},
}

const clockTemplate = "deadline.rung"

func clockTemplates() []notify.Template {
	return []notify.Template{{
		Key: clockTemplate, Name: "期限提醒与升级",
		Fields: []notify.Field{{Name: "rung", Title: "提醒", Sample: "整改逾期"}, {Name: "title", Title: "事项", Sample: "隐患整改：配电箱前堆放纸箱"}, {Name: "due", Title: "期满", Sample: "2026-03-20 24:00"}, {Name: "clause", Title: "依据", Sample: "安全生产法 第六十五条"}},
		Texts: []notify.Text{
			{Kind: notify.InApp, Title: "{{.rung}}：{{.title}}", Body: "期满时间 {{.due}}。依据：{{.clause}}。请尽快办理。"},
			{Kind: notify.Mail, Title: "{{.rung}}：{{.title}}", Body: "期满时间 {{.due}}。\n依据：{{.clause}}。\n请登录系统办理。"},
			{Kind: notify.Webhook, Title: "{{.rung}}：{{.title}}", Body: "期满时间 {{.due}}。依据：{{.clause}}。"},
		},
	}}
}

// clockSubscriptions tell people when a clock reaches a rung of its ladder.
func clockSubscriptions(k *module.Kernel) []event.Subscription {
	return []event.Subscription{event.On("app/clocks", []string{"deadline.escalated"}, func(ctx context.Context, m event.Meta, item deadline.Item) error {
		roles := ladderRoles[item.EscalatedTo]
		if len(roles) == 0 {
			return nil
		}
		holders, err := k.Access.Holders(ctx, "deadline.view", item.Place, roles...)
		if err != nil || len(holders) == 0 {
			return err
		}
		var to []notify.Recipient
		for _, h := range holders {
			to = append(to, notify.Recipient{Account: h.Account})
		}
		var rung deadline.Escalation
		if err := json.Unmarshal(m.Data, &rung); err != nil {
			return err
		}
		level := notify.Info
		if rung.Overdue {
			level = notify.Urgent
		}
		return k.Notify.Send(ctx, notify.Message{Template: clockTemplate, To: to, Level: level, RecordType: item.RecordType, RecordID: item.RecordID, DedupeKey: m.ID,
			Data: map[string]any{"rung": rung.Title, "title": item.Title, "due": item.DueText(), "clause": item.Clause}})
	})}
}

// towns finds the people of a town office, for the grid's alarms.
type towns struct{ access *access.Gate }

func (t towns) TownRecipients(ctx context.Context, division string) ([]notify.Recipient, error) {
	holders, err := t.access.Holders(ctx, "grid.view", scope.At(division, "", ""), "town")
	if err != nil {
		return nil, err
	}
	var to []notify.Recipient
	for _, h := range holders {
		to = append(to, notify.Recipient{Account: h.Account})
	}
	return to, nil
}
