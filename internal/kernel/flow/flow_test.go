package flow_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

type door struct {
	bun.BaseModel `bun:"table:door_item,alias:r"`
	record.Head
	scope.Place
	State flow.State `bun:"state" json:"state"`
	Note  string     `bun:"note" json:"note"`
}

func (d *door) FlowState() *flow.State { return &d.State }

var doors = db.Migrations{Part: "door", Files: fstest.MapFS{"migrations/0001_init.sql": {Data: []byte(`
CREATE TABLE door_item (
  id codetext PRIMARY KEY, origin codetext NOT NULL, version BIGINT NOT NULL, created_at codetext NOT NULL, updated_at codetext NOT NULL,
  division codetext NOT NULL, province_code codetext NOT NULL, city_code codetext NOT NULL, county_code codetext NOT NULL,
  town_code codetext NOT NULL, village_code codetext NOT NULL, line codetext NOT NULL, enterprise_id codetext NOT NULL,
  state codetext NOT NULL, note TEXT NOT NULL
);
`)}}}

type knock struct {
	flow.Read
	Word string `json:"word"`
}

var open = flow.Step[door, knock]{Name: "open", Title: "开门", Fact: "door.opened", Need: "door.open", From: []flow.State{"shut"}, To: []flow.State{"open"},
	Guard: func(ctx context.Context, d *door) error {
		if actor.From(ctx).ID == "thief" {
			return errs.Forbidden("door.thief", "不给开。")
		}
		return nil
	},
	Do: func(_ context.Context, d *door, in knock) error {
		if in.Word == "" {
			return errs.InvalidField("door.word", "/word", "请说口令")
		}
		d.Note = in.Word
		return nil
	}}

var shut = flow.Step[door, knock]{Name: "shut", Title: "关门", Fact: "door.shut", Need: "door.open", From: []flow.State{"open"}, To: []flow.State{"shut"}}
var brick = flow.Step[door, knock]{Name: "brick", Title: "砌死", Fact: "door.bricked", Need: "door.brick", From: []flow.State{"shut"}, To: []flow.State{"gone"}}

var spec = flow.Spec{Name: "door", Title: "门", Initial: []flow.State{"shut"}, Final: []flow.State{"gone"},
	Titles: map[flow.State]string{"shut": "关着", "open": "开着", "gone": "已砌死"}}

func as(ctx context.Context, id string, permissions ...string) context.Context {
	return actor.With(ctx, &actor.Actor{Kind: actor.Person, ID: id, Name: id, Grants: []actor.Grant{{Permissions: permissions, Divisions: []string{"341722000000"}}}})
}

func TestFire(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, []db.Migrations{audit.Migrations, doors}, func(t *testing.T, d *db.DB) {
		log := kerneltest.NewLog(t, d)
		store := record.NewStore[door](d, log, &record.Registry{}, record.Type{Name: "door.item", Title: "门"})
		m := flow.Define(d, store, spec, open, shut, brick)
		item := &door{Place: scope.At("341722100000", "", ""), State: "shut"}
		if err := d.Tx(t.Context(), func(ctx context.Context) error {
			return store.Insert(ctx, item, record.Change{Fact: "door.made", Title: "新建"})
		}); err != nil {
			t.Fatal(err)
		}
		ctx := as(t.Context(), "owner", "door.open")
		in := func(v int64, word string) knock { return knock{flow.Read{Version: v}, word} }
		fire := func(ctx context.Context, s flow.Step[door, knock], k knock) error {
			_, err := flow.Fire(ctx, m, s, item.ID, k)
			return err
		}
		code := func(err error) string {
			if e := errs.As(err); e != nil {
				return e.Code
			}
			return ""
		}
		for _, c := range []struct {
			name string
			err  error
			want string
		}{
			{"nobody", fire(t.Context(), open, in(1, "芝麻")), "record.notFound"},
			{"without the permission", fire(as(t.Context(), "x", "door.brick"), open, in(1, "芝麻")), "record.notFound"},
			{"stale", fire(ctx, open, in(7, "芝麻")), "record.stale"},
			{"wrong state", fire(ctx, shut, in(1, "")), "door.wrongState"},
			{"guard", fire(as(t.Context(), "thief", "door.open"), open, in(1, "芝麻")), "door.thief"},
			{"refused by Do", fire(ctx, open, in(1, "")), "door.word"},
		} {
			if code(c.err) != c.want {
				t.Errorf("%s: %v", c.name, c.err)
			}
		}
		if rows, err := store.History(t.Context(), item); err != nil || len(rows) != 1 {
			t.Errorf("refusals left traces: %d rows, %v", len(rows), err)
		}
		if a := m.Actions(ctx, item); len(a) != 1 || a[0].Name != "open" {
			t.Errorf("actions %v", a)
		}
		if a := m.Actions(as(t.Context(), "thief", "door.open"), item); len(a) != 0 {
			t.Errorf("the thief is offered %v", a)
		}
		if err := fire(ctx, open, in(1, "芝麻开门")); err != nil {
			t.Fatal(err)
		}
		got, err := store.Load(t.Context(), scope.All("the test looks"), item.ID)
		if err != nil || got.State != "open" || got.Note != "芝麻开门" || got.Version != 2 {
			t.Errorf("%+v, %v", got, err)
		}
		rows, err := store.History(t.Context(), got)
		if err != nil || len(rows) != 2 {
			t.Fatal(rows, err)
		}
		if trace, ok := flow.ParseTrace(rows[1].Data); !ok || trace.From != "shut" || trace.To != "open" || rows[1].Kind != "door.opened" || rows[1].ActorName != "owner" {
			t.Errorf("%+v %+v", trace, rows[1])
		}
	})
}

func TestDefineRefuses(t *testing.T) {
	t.Parallel()
	d := kerneltest.Open(t, db.SQLite, audit.Migrations, doors)
	with := func(s flow.Step[door, knock], change func(s *flow.Step[door, knock])) flow.Step[door, knock] {
		change(&s)
		return s
	}
	for want, steps := range map[string][]flow.Any[door]{
		"cannot be reached": {shut, brick},
		"dead end":          {open, brick},
		"needs a name":      {with(open, func(s *flow.Step[door, knock]) { s.Need = "" }), shut, brick},
		"two steps":         {open, open, shut, brick},
		"no title":          {with(open, func(s *flow.Step[door, knock]) { s.To = []flow.State{"ajar"} }), shut, brick},
		"final state": {open, shut, brick, with(brick, func(s *flow.Step[door, knock]) {
			s.Name, s.From, s.To = "x", []flow.State{"gone"}, []flow.State{"shut"}
		})},
	} {
		func() {
			defer func() {
				if p, _ := recover().(string); !strings.Contains(p, want) {
					t.Errorf("%s: %v", want, p)
				}
			}()
			store := record.NewStore[door](d, kerneltest.NewLog(t, d), &record.Registry{}, record.Type{Name: "door.item", Title: "门"})
			flow.Define(d, store, spec, steps...)
			panic(errors.New("accepted").Error())
		}()
	}
}
