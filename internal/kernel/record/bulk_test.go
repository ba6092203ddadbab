package record_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

func all(q *bun.SelectQuery) *bun.SelectQuery { return q }

func made(int, *box) record.Change    { return record.Change{Fact: "box.made", Title: "新增"} }
func changed(int, *box) record.Change { return record.Change{Fact: "box.changed", Title: "修改"} }

// What a Batch writes cannot be told from what Insert and Update write.
func TestBatch(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		var boxes []*box
		for i := range 1300 { // more than Verify reads at once
			boxes = append(boxes, &box{Place: scope.At("341722100000", "gas", ""), Name: fmt.Sprint("盒", i), Tags: []string{`?`, `'"\`}, Hidden: "key"})
		}
		boxes[7].ID = "mine"
		write := func(b *record.Batch[box, *box], err error) error {
			if err != nil {
				return err
			}
			return w.db.Tx(ctx, b.Write)
		}
		if err := write(w.boxes.PrepareInsert(ctx, boxes, made)); err != nil {
			t.Fatal(err)
		}
		load := func(id string) *box {
			t.Helper()
			b, err := w.boxes.Load(ctx, scope.All("test"), id)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		if b := load("mine"); b.Version != 1 || b.Origin != "341722" || b.Name != "盒7" || b.Tags[1] != `'"\` || b.Hidden != "key" {
			t.Errorf("loaded %+v", b)
		}

		for _, b := range boxes {
			b.Name += "新"
		}
		if err := write(w.boxes.PrepareUpdate(ctx, boxes[:200], changed)); err != nil {
			t.Fatal(err)
		}
		if b := load("mine"); b.Version != 2 || b.Name != "盒7新" {
			t.Errorf("updated %+v", b)
		}

		// One that somebody else changed stops all.
		stale := load("mine")
		if err := w.update(ctx, load("mine")); err != nil {
			t.Fatal(err)
		}
		other := load(boxes[8].ID)
		if err := write(w.boxes.PrepareUpdate(ctx, []*box{other, stale}, changed)); errs.KindOf(err) != errs.KindConflict {
			t.Errorf("stale batch: %v", err)
		}
		if b := load(boxes[8].ID); b.Version != 2 {
			t.Errorf("a refused batch left version %d", b.Version)
		}
		foreign := load(boxes[9].ID)
		foreign.Origin = "341700"
		if _, err := w.boxes.PrepareUpdate(ctx, []*box{foreign}, changed); errs.KindOf(err) != errs.KindConflict {
			t.Errorf("foreign record: %v", err)
		}
		if err := write(w.boxes.PrepareInsert(ctx, nil, made)); err != nil {
			t.Errorf("nothing: %v", err)
		}

		rows, err := w.boxes.History(ctx, load("mine"))
		if err != nil || len(rows) != 3 || rows[0].Kind != "box.made" || rows[1].Kind != "box.changed" || rows[1].Version != 2 {
			t.Errorf("history %v, %v", rows, err)
		}
		past, err := w.boxes.Past(ctx, []audit.At{{ID: "mine", Version: 1}, {ID: "mine", Version: 3}, {ID: "mine", Version: 9}, {ID: boxes[8].ID, Version: 2}})
		if err != nil || len(past) != 3 || past[audit.At{ID: "mine", Version: 1}].Name != "盒7" || past[audit.At{ID: "mine", Version: 3}].Version != 3 || past[audit.At{ID: boxes[8].ID, Version: 2}].Name != "盒8新" {
			t.Errorf("past %v, %v", past, err)
		}
		if err := w.log.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if r := w.verify(t); !r.OK() || r.Leaves != 1501 || r.Records != 1300 {
			t.Errorf("verify: %+v", r)
		}
	})
}

func TestBatchNeedsTransaction(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		b, err := w.boxes.PrepareInsert(ctx, []*box{{Name: "甲"}}, made)
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() { _ = recover() }()
			if err := b.Write(ctx); err == nil {
				t.Error("written outside a transaction")
			}
		}()
		if n, err := w.boxes.Count(ctx, scope.All("test"), all); err != nil || n != 0 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}
