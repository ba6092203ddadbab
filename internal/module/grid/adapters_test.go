package grid

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"testing"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/notify"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/record"
	"anwang/internal/lib/gm"
)

type office struct{}

func (office) TownRecipients(context.Context, string) ([]notify.Recipient, error) {
	return []notify.Recipient{{Account: "a1"}, {Account: "a2"}}, nil
}

// The module's wishes, granted by the real parts of the kernel.
func TestAdapters(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, []db.Migrations{audit.Migrations, org.Migrations, access.Migrations, notify.Migrations}, func(t *testing.T, d *db.DB) {
		ctx := actor.AsSystem(t.Context(), "test")
		log, reg := kerneltest.NewLog(t, d), &record.Registry{}
		seal, err := gm.NewSealer(make([]byte, gm.SealKeySize))
		if err != nil {
			t.Fatal(err)
		}
		o := org.New(d, log, reg, seal)
		if err := o.SeedDivisions(ctx, "341722"); err != nil {
			t.Fatal(err)
		}
		dir := directory{o, access.New(d, log, reg, o, seal), d.Clock}

		if name, ok, err := dir.DivisionName(ctx, "341722100200"); name != "三增村委会" || !ok || err != nil {
			t.Errorf("division %q, %v, %v", name, ok, err)
		}
		if _, ok, err := dir.DivisionName(ctx, "341722100999"); ok || err != nil {
			t.Errorf("no division: %v, %v", ok, err)
		}
		for _, c := range [][3]string{{"仁里镇", "", "341722100000"}, {"仁里镇", "三增村", "341722100200"}, {"仁里镇", "三增村民委员会", "341722100200"}, {"仁里镇", "马村社区", "341722100002"}, {"仁里镇", "无此村", ""}, {"无此镇", "", ""}} {
			got, err := dir.DivisionsNamed(ctx, c[0], c[1])
			if want := []string{c[2]}; err != nil || c[2] == "" && len(got) > 0 || c[2] != "" && !slices.Equal(got, want) {
				t.Errorf("%s %s: %v, %v", c[0], c[1], got, err)
			}
		}

		phone := "13800138000"
		p, err := o.AddPerson(ctx, org.PersonInput{Name: "张三", Phone: &phone})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.AddPerson(ctx, org.PersonInput{Name: "张三"}); err != nil {
			t.Fatal(err)
		}
		for phone, want := range map[string]int{"": 2, "13800138000": 1, "13800138001": 0} {
			if got, err := dir.Named(ctx, "张三", phone); err != nil || len(got) != want {
				t.Errorf("named with %q: %v, %v", phone, got, err)
			}
		}
		if got, err := dir.Person(ctx, p.ID); err != nil || got.Name != "张三" {
			t.Errorf("person %v, %v", got, err)
		}
		if got, err := dir.Person(ctx, "none"); got != nil || err != nil {
			t.Errorf("nobody %v, %v", got, err)
		}
		if me, err := dir.Acting(ctx); me.ID != "" || err != nil {
			t.Errorf("the program is %v, %v", me, err)
		}

		n := notify.New(d, log, reg, slog.New(slog.DiscardHandler))
		n.Declare(Templates()...)
		if err := n.Seed(ctx); err != nil {
			t.Fatal(err)
		}
		bell := Alarm(n, office{})
		for range 2 { // a repeat tells nobody twice
			if err := bell.TellTown(ctx, Alert{Town: "341722100000", Title: "网格员报告", Text: "情况", RecordType: "grid.action", RecordID: "r1"}); err != nil {
				t.Fatal(err)
			}
		}
		var told int
		if err := d.Conn(ctx).NewRaw("SELECT COUNT(*) FROM notify_message WHERE level = 'urgent' AND record_id = 'r1'").Scan(ctx, &told); err != nil || told != 2 {
			t.Errorf("%d told, %v", told, err)
		}
	})
}

func TestEventsOfEnterprises(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]Enterprise{
		`{"id":"e","version":3,"state":"suspended","name":"甲","address":"路1号","division":"341722100200","line":"gas","class":"highRisk","grade":"D","people":[{"x":1}]}`: {ID: "e", Version: 3, Name: "甲", Address: "路1号", Division: "341722100200", Line: "gas", Class: "highRisk", Grade: "D"},
		`{"id":"e","version":4,"state":"merged","name":"甲","mergedInto":"f"}`:                                                                                            {ID: "e", Version: 4, Name: "甲", Gone: true},
	} {
		var e told
		if err := json.Unmarshal([]byte(body), &e); err != nil {
			t.Fatal(err)
		}
		if got := e.learn(); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	kinds, err := placeKinds()
	if err != nil || len(kinds) < 10 {
		t.Fatal(kinds, err)
	}
	seen := map[string]bool{}
	for _, k := range kinds {
		if seen[k.Code] || k.Label == "" {
			t.Errorf("kind %+v", k)
		}
		seen[k.Code] = true
	}
}
