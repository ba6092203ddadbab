package record_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/translog"
)

type box struct {
	bun.BaseModel `bun:"table:box_item,alias:r"`
	record.Head
	scope.Place
	Name   string        `bun:"name" json:"name"`
	Tags   []string      `bun:"tags,type:text" json:"tags"`
	DueAt  time.Time     `bun:"due_at,nullzero" json:"dueAt,omitzero"`
	Hidden record.Secret `bun:"hidden" json:"hidden"`
}

var boxes = db.Migrations{Part: "box", Files: fstest.MapFS{"migrations/0001_init.sql": {Data: []byte(`
CREATE TABLE box_item (
  id codetext PRIMARY KEY, origin codetext NOT NULL, version BIGINT NOT NULL, created_at codetext NOT NULL, updated_at codetext NOT NULL,
  division codetext NOT NULL, province_code codetext NOT NULL, city_code codetext NOT NULL, county_code codetext NOT NULL,
  town_code codetext NOT NULL, village_code codetext NOT NULL, line codetext NOT NULL, enterprise_id codetext NOT NULL,
  name TEXT NOT NULL, tags TEXT, due_at codetext, hidden TEXT NOT NULL
);
`)}}}

type world struct {
	db    *db.DB
	log   *audit.Log
	reg   *record.Registry
	boxes *record.Store[box, *box]
}

func open(t *testing.T, d *db.DB, suite translog.Suite) *world {
	t.Helper()
	mac := make([]byte, 32)
	rand.Read(mac) //nolint:errcheck // never fails since Go 1.24
	pem, err := translog.GenerateKey(suite)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.New(d, audit.Keys{Suite: suite, PEM: pem, MAC: mac, Folder: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	reg := &record.Registry{}
	return &world{d, log, reg, record.NewStore[box](d, log, reg, record.Type{Name: "box.item", Title: "盒子"})}
}

func (w *world) insert(ctx context.Context, b *box) error {
	return w.db.Tx(ctx, func(ctx context.Context) error {
		return w.boxes.Insert(ctx, b, record.Change{Fact: "box.made", Title: "新增"})
	})
}

func (w *world) update(ctx context.Context, b *box) error {
	return w.db.Tx(ctx, func(ctx context.Context) error {
		return w.boxes.Update(ctx, b, record.Change{Fact: "box.changed", Title: "修改"})
	})
}

func (w *world) verify(t *testing.T) *audit.Report {
	t.Helper()
	r, err := w.log.Verify(t.Context(), w.reg.Tables(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var parts = []db.Migrations{audit.Migrations, boxes}

func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) { test(t, open(t, d, translog.SHA256Ed25519)) })
}

func TestStore(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		b := &box{Place: scope.At("341722100000", "gas", "e1"), Name: "甲", Tags: []string{"a", "b"}, DueAt: kerneltest.Noon.Add(123456), Hidden: "key"}
		if err := w.insert(ctx, b); err != nil {
			t.Fatal(err)
		}
		all := scope.All("test")
		got, err := w.boxes.Load(ctx, all, b.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != "甲" || len(got.Tags) != 2 || !got.DueAt.Equal(kerneltest.Noon) || got.Hidden != "key" || got.Version != 1 || got.Origin != "341722" || got.CountyCode != "341722000000" {
			t.Errorf("loaded %+v", got)
		}
		if err := w.log.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if r := w.verify(t); !r.OK() {
			t.Errorf("a time in another zone, or finer than stored, does not verify: %+v", r.Findings)
		}
		first, second := *got, *got
		first.Name = "乙"
		if err := w.update(ctx, &first); err != nil || first.Version != 2 {
			t.Fatal(err, first.Version)
		}
		second.Name = "丙"
		if err := w.update(ctx, &second); errs.KindOf(err) != errs.KindConflict || second.Version != 1 {
			t.Errorf("stale update: %v, version %d", err, second.Version)
		}
		nobody := scope.For(ctx, "box.view")
		if _, err := w.boxes.Load(ctx, nobody, b.ID); errs.KindOf(err) != errs.KindNotFound {
			t.Errorf("nobody loads: %v", err)
		}
		rows, err := w.boxes.History(ctx, got)
		if err != nil || len(rows) != 2 || rows[0].Kind != "box.made" || rows[1].Version != 2 {
			t.Errorf("history %v, %v", rows, err)
		}
		entry, err := w.log.Entry(ctx, rows[0].ID)
		if err != nil || strings.Contains(*entry.Body, `"key"`) || !strings.Contains(*entry.Body, "sha256:") {
			t.Errorf("body %s", *entry.Body)
		}
	})
}

func TestVerifyNamesWhatWasBent(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := actor.With(t.Context(), &actor.Actor{Kind: actor.Person, ID: "a1", Name: "王五"})
		var items []*box
		for i := range 600 {
			b := &box{Place: scope.At("341722100000", "", ""), Name: fmt.Sprint("盒", i)}
			if err := w.insert(ctx, b); err != nil {
				t.Fatal(err)
			}
			items = append(items, b)
			if i == 300 {
				if err := w.log.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				if _, err := w.log.Checkpoint(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		items[7].Name = "新名"
		if err := w.update(ctx, items[7]); err != nil {
			t.Fatal(err)
		}
		if err := w.log.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := w.log.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
		if r := w.verify(t); !r.OK() || r.Leaves != 601 || r.Records != 600 || r.Checkpoints != 2 {
			t.Fatalf("clean log: %+v", r)
		}
		change := func(stmts ...string) {
			t.Helper()
			if err := w.db.Tx(ctx, func(ctx context.Context) error {
				for _, s := range stmts {
					if _, err := w.db.Conn(ctx).ExecContext(ctx, s); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			name       string
			bend, mend []string
			subject    string
			message    string
		}{
			{"record changed", []string{"UPDATE box_item SET name = 'x' WHERE id = '" + items[7].ID + "'"}, []string{"UPDATE box_item SET name = '新名' WHERE id = '" + items[7].ID + "'"}, items[7].ID, `name 日志为 "新名"，库中为 "x"`},
			{"secret changed", []string{"UPDATE box_item SET hidden = 'x' WHERE id = '" + items[8].ID + "'"}, []string{"UPDATE box_item SET hidden = '' WHERE id = '" + items[8].ID + "'"}, items[8].ID, "hidden"},
			{"scope column changed", []string{"UPDATE box_item SET town_code = '' WHERE id = '" + items[8].ID + "'"}, []string{"UPDATE box_item SET town_code = '341722100000' WHERE id = '" + items[8].ID + "'"}, items[8].ID, "townCode"},
			{"record deleted", []string{"CREATE TABLE keep AS SELECT * FROM box_item WHERE id = '" + items[9].ID + "'", "DELETE FROM box_item WHERE id = '" + items[9].ID + "'"}, []string{"INSERT INTO box_item SELECT * FROM keep", "DROP TABLE keep"}, items[9].ID, "删除"},
			{"record inserted", []string{"INSERT INTO box_item SELECT 'zz', origin, version, created_at, updated_at, division, province_code, city_code, county_code, town_code, village_code, line, enterprise_id, name, tags, due_at, hidden FROM box_item WHERE id = '" + items[0].ID + "'"}, []string{"DELETE FROM box_item WHERE id = 'zz'"}, "zz", "插入"},
			{"entry changed", []string{"UPDATE audit_entry SET actor_name = '赵六' WHERE seq = 5"}, []string{"UPDATE audit_entry SET actor_name = '王五' WHERE seq = 5"}, "", "第 5 条"},
			{"entry body changed", []string{"UPDATE audit_entry SET body = replace(body, '盒6', '盒9') WHERE seq = 6"}, []string{"UPDATE audit_entry SET body = replace(body, '盒9', '盒6') WHERE seq = 6"}, "", "第 6 条"},
			{"entry deleted", []string{"CREATE TABLE keep AS SELECT * FROM audit_entry WHERE seq = 400", "DELETE FROM audit_entry WHERE seq = 400"}, []string{"INSERT INTO audit_entry SELECT * FROM keep", "DROP TABLE keep"}, "#400", "第 400 条被删除"},
			{"last entry deleted", []string{"CREATE TABLE keep AS SELECT * FROM audit_entry WHERE seq = 600", "DELETE FROM audit_entry WHERE seq = 600"}, []string{"INSERT INTO audit_entry SELECT * FROM keep", "DROP TABLE keep"}, "#600", "第 600 条被删除"},
			{"tree tile changed", []string{"CREATE TABLE keep AS SELECT * FROM audit_tile", "UPDATE audit_tile SET hashes = (SELECT hashes FROM keep WHERE level = 0 AND idx = 0) WHERE level = 0 AND idx = 1"}, []string{"DELETE FROM audit_tile", "INSERT INTO audit_tile SELECT * FROM keep", "DROP TABLE keep"}, "", "第 256 条"},
			{"checkpoint forged", []string{"CREATE TABLE keep AS SELECT * FROM audit_checkpoint", "UPDATE audit_checkpoint SET note = replace(note, '301', '300') WHERE size = 301"}, []string{"DELETE FROM audit_checkpoint", "INSERT INTO audit_checkpoint SELECT * FROM keep", "DROP TABLE keep"}, "301", "签名无效"},
			{"rolled back", []string{"CREATE TABLE keep AS SELECT * FROM audit_checkpoint", "CREATE TABLE keep2 AS SELECT * FROM audit_head", "DELETE FROM audit_checkpoint WHERE size = 601", "UPDATE audit_head SET size = 301"}, []string{"DELETE FROM audit_checkpoint", "INSERT INTO audit_checkpoint SELECT * FROM keep", "DELETE FROM audit_head", "INSERT INTO audit_head SELECT * FROM keep2", "DROP TABLE keep", "DROP TABLE keep2"}, "head", "插入"},
		} {
			change(c.bend...)
			r := w.verify(t)
			found := false
			for _, f := range r.Findings {
				found = found || strings.Contains(f.Subject, c.subject) && strings.Contains(f.Message, c.message)
			}
			if !found {
				t.Errorf("%s: findings %+v", c.name, r.Findings)
			}
			change(c.mend...)
			if r := w.verify(t); !r.OK() {
				t.Fatalf("%s: not mended: %+v", c.name, r.Findings)
			}
		}
		// An entry smuggled in is refused by the sequencer and named.
		change("INSERT INTO audit_entry SELECT 'smuggled', NULL, at, node, actor_kind, actor_id, actor_name, unit_name, kind, title, record_type, record_id, version, request_id, data, body, mac FROM audit_entry WHERE seq = 3")
		if err := w.log.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if r := w.verify(t); len(r.Findings) != 1 || r.Findings[0].Kind != "forged" || r.Findings[0].Subject != "smuggled" || r.Leaves != 601 {
			t.Errorf("smuggled entry: %+v", r)
		}
	})
}

func TestProof(t *testing.T) {
	t.Parallel()
	for _, suite := range []translog.Suite{translog.SHA256Ed25519, translog.SM3SM2} {
		t.Run(string(suite), func(t *testing.T) {
			t.Parallel()
			kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
				w := open(t, d, suite)
				var b *box
				for range 20 {
					b = &box{Name: "甲"}
					if err := w.insert(t.Context(), b); err != nil {
						t.Fatal(err)
					}
				}
				rows, err := w.boxes.History(t.Context(), b)
				if err != nil {
					t.Fatal(err)
				}
				p, err := w.log.Proof(t.Context(), rows[0].ID, true)
				if err != nil {
					t.Fatal(err)
				}
				text, err := p.Encode()
				if err != nil {
					t.Fatal(err)
				}
				again, err := translog.ParseProof(text)
				if err != nil {
					t.Fatal(err)
				}
				if res, err := again.Check(w.log.Key()); err != nil || !res.Trusted || res.Index != 19 {
					t.Errorf("check: %+v, %v", res, err)
				}
				again.Leaf.Header = []byte(strings.Replace(string(again.Leaf.Header), "新增", "修改", 1))
				if _, err := again.Check(w.log.Key()); !errors.Is(err, translog.ErrInclusion) {
					t.Errorf("bent proof: %v", err)
				}
				if r := w.verify(t); !r.OK() {
					t.Errorf("verify: %+v", r.Findings)
				}
			})
		})
	}
}

// Many writers, two sequencers on one database: every entry gets one place, the places have no gap.
func TestSequencersShare(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		if err := w.log.Start(ctx); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					if err := w.insert(ctx, &box{Name: "x"}); err != nil {
						t.Error(err)
					}
					if err := w.log.Flush(ctx); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		w.log.Stop()
		w.log.Stop()
		if r := w.verify(t); !r.OK() || r.Leaves != 400 || r.Waiting != 0 || r.Checkpoints == 0 {
			t.Errorf("%+v", r)
		}
	})
}
