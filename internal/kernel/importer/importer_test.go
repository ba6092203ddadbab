package importer_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/uptrace/bun"
	"golang.org/x/text/encoding/simplifiedchinese"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/importer"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/tabular"
)

// box is a record that is imported: by its name, in 石台.
type box struct {
	bun.BaseModel `bun:"table:box_item,alias:r"`
	record.Head
	scope.Place
	Name string `bun:"name" json:"name"`
	Size string `bun:"size" json:"size"`
	Gone bool   `bun:"gone" json:"gone"`
}

var boxes = db.Migrations{Part: "box", Files: fstest.MapFS{"migrations/0001_init.sql": {Data: []byte(`
CREATE TABLE box_item (
  id codetext PRIMARY KEY, origin codetext NOT NULL, version BIGINT NOT NULL, created_at codetext NOT NULL, updated_at codetext NOT NULL,
  division codetext NOT NULL, province_code codetext NOT NULL, city_code codetext NOT NULL, county_code codetext NOT NULL,
  town_code codetext NOT NULL, village_code codetext NOT NULL, line codetext NOT NULL, enterprise_id codetext NOT NULL,
  name TEXT NOT NULL, size TEXT NOT NULL, gone BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX box_item_name ON box_item (name) WHERE NOT gone;
`)}}}

var parts = []db.Migrations{audit.Migrations, file.Migrations, httpx.Migrations, importer.Migrations, boxes}

const need = "box.import"

type world struct {
	t       *testing.T
	db      *db.DB
	log     *audit.Log
	reg     *record.Registry
	boxes   *record.Store[box, *box]
	files   *file.Store
	imports *importer.Importer
	kind    *importer.Kind[box]
	handler http.Handler

	mu      sync.Mutex
	waiting []string
	// trip is called before each chunk is prepared; an error stops the work as a crash would.
	trip func(lines int) error
}

func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) { test(t, open(t, d)) })
}

func open(t *testing.T, d *db.DB) *world {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	w := &world{t: t, db: d, log: kerneltest.NewLog(t, d), reg: &record.Registry{}, trip: func(int) error { return nil }}
	bucket, err := file.OpenFolder(filepath.Join(t.TempDir(), "files"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	w.boxes = record.NewStore[box](d, w.log, w.reg, record.Type{Name: "box.item", Title: "盒子"})
	w.files = file.New(d, w.log, w.reg, bucket, file.Config{}, quiet)
	w.imports = importer.New(d, w.log, w.reg, w.files, func(_ context.Context, _, id string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.waiting = append(w.waiting, id)
		return nil
	})
	w.kind = importer.Declare(w.imports, importer.Spec[box]{Kind: "boxes", Title: "盒子", Need: need,
		Columns: []importer.Column{{Key: "name", Title: "名称", Aliases: []string{"盒名"}, Required: true}, {Key: "size", Title: "大小"}},
		Begin:   func(context.Context, string) (importer.Pass[box], error) { return &pass{w}, nil }})
	api := httpx.New(httpx.Config{DB: d, Log: quiet, Auth: w})
	w.kind.Serve(api, ledger.Service{API: api, Log: w.log})
	w.handler = api.Handler()
	return w
}

type pass struct{ *world }

func (p *pass) Read(l *importer.Line[box], c importer.Cells) {
	l.Name, l.Value = c.Value("name"), box{Name: c.Value("name"), Size: c.Value("size")}
	l.Key = l.Name
	if l.Name == "" {
		l.Problem("name", "请填写名称")
	}
	if len(l.Value.Size) > 5 {
		l.Problem("size", "太大")
	}
}

func (p *pass) find(ctx context.Context, where func(q *bun.SelectQuery) *bun.SelectQuery) ([]*box, error) {
	return p.boxes.Find(ctx, scope.For(ctx, need), where)
}

func (p *pass) Judge(ctx context.Context, lines []*importer.Line[box]) error {
	var names []string
	for _, l := range lines {
		names = append(names, l.Name)
	}
	found, err := p.find(ctx, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.name IN (?) AND NOT r.gone", bun.List(names))
	})
	if err != nil {
		return err
	}
	for _, l := range lines {
		i := slices.IndexFunc(found, func(b *box) bool { return b.Name == l.Name })
		switch {
		case i < 0:
			l.Action, l.Value.Place = importer.Create, scope.At("341722000000", "", "")
		case found[i].Size == l.Value.Size:
			l.Action, l.RecordID = importer.Same, found[i].ID
		default:
			l.Action, l.RecordID, l.Version = importer.Update, found[i].ID, found[i].Version
			l.Changes = []importer.Change{{Title: "大小", Before: found[i].Size, After: l.Value.Size}}
			size := l.Value.Size
			l.Value = *found[i]
			l.Value.Size = size
		}
	}
	return nil
}

func (p *pass) Prepare(ctx context.Context, lines []*importer.Line[box]) (func(context.Context) error, error) {
	if err := p.trip(len(lines)); err != nil {
		return nil, err
	}
	var create, update []*box
	for _, l := range lines {
		b := l.Value
		if l.Action == importer.Create {
			create = append(create, &b)
		} else {
			update = append(update, &b)
		}
	}
	c, err := p.boxes.PrepareInsert(ctx, create, func(int, *box) record.Change { return record.Change{Fact: "box.made", Title: "新增"} })
	if err != nil {
		return nil, err
	}
	u, err := p.boxes.PrepareUpdate(ctx, update, func(int, *box) record.Change { return record.Change{Fact: "box.changed", Title: "修改"} })
	if err != nil {
		return nil, err
	}
	for i := 0; len(create) > 0 && i < len(lines); i++ {
		if lines[i].Action == importer.Create {
			lines[i].RecordID, create = create[0].ID, create[1:]
		}
	}
	return func(ctx context.Context) error { return errors.Join(c.Write(ctx), u.Write(ctx)) }, nil
}

func (p *pass) Undo(ctx context.Context, touched []importer.Touched) (func(context.Context) error, map[int]string, error) {
	var ids []string
	var before []audit.At
	for _, t := range touched {
		ids = append(ids, t.RecordID)
		before = append(before, audit.At{ID: t.RecordID, Version: t.Version - 1})
	}
	now, err := p.find(ctx, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.id IN (?)", bun.List(ids)) })
	if err != nil {
		return nil, nil, err
	}
	past, err := p.boxes.Past(ctx, before)
	if err != nil {
		return nil, nil, err
	}
	kept := map[int]string{}
	var rows []*box
	for i, t := range touched {
		j := slices.IndexFunc(now, func(b *box) bool { return b.ID == t.RecordID })
		if j < 0 || now[j].Version != t.Version {
			kept[t.Row] = "导入后有变更"
			continue
		}
		b := now[j]
		if t.Action == importer.Create {
			b.Gone = true
		} else {
			b.Size = past[before[i]].Size
		}
		rows = append(rows, b)
	}
	u, err := p.boxes.PrepareUpdate(ctx, rows, func(int, *box) record.Change { return record.Change{Fact: "box.undone", Title: "撤销"} })
	if err != nil {
		return nil, nil, err
	}
	return u.Write, kept, nil
}

var people = map[string]*actor.Actor{
	"town":     person("town", actor.Grant{Permissions: []string{need}, Divisions: []string{"341722000000"}}),
	"other":    person("other", actor.Grant{Permissions: []string{need}, Divisions: []string{"341721000000"}}),
	"observer": person("observer", actor.Grant{Permissions: []string{"box.view"}, Divisions: []string{"341722000000"}}),
	"admin":    person("admin", actor.Grant{Permissions: []string{"access.role"}}),
}

func person(name string, g actor.Grant) *actor.Actor {
	return &actor.Actor{Kind: actor.Person, ID: "account-" + name, Name: name, Grants: []actor.Grant{g}}
}

func (w *world) Authenticate(_ context.Context, token string) (httpx.Session, error) {
	if a := people[token]; a != nil {
		return httpx.Session{Actor: a}, nil
	}
	return httpx.Session{}, errs.Unauthenticated("login.required", "请先登录。")
}

func (w *world) as(name string) context.Context { return actor.With(w.t.Context(), people[name]) }

// upload uploads a file as the town and returns its id.
func (w *world) upload(name, content string) string {
	w.t.Helper()
	u, err := w.files.Upload(w.as("town"), name, strings.NewReader(content))
	if err != nil {
		w.t.Fatal(err)
	}
	return u.ID
}

// start begins an import and waits for the dry run.
func (w *world) start(name, content string) *importer.View {
	w.t.Helper()
	v, err := w.kind.Start(w.as("town"), importer.StartInput{FileID: w.upload(name, content)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.work()
	return w.read(v.ID)
}

func (w *world) read(id string) *importer.View {
	w.t.Helper()
	v, err := w.kind.Read(w.as("town"), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// work does what waits.
func (w *world) work() {
	w.t.Helper()
	if err := w.tryWork(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tryWork() error {
	w.mu.Lock()
	ids := w.waiting
	w.waiting = nil
	w.mu.Unlock()
	for _, id := range ids {
		if err := w.imports.Work(w.t.Context(), id, nil); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) confirm(v *importer.View, onlyValid bool) *importer.View {
	w.t.Helper()
	if _, err := w.kind.Confirm(w.as("town"), v.ID, importer.ConfirmInput{Read: flow.Read{Version: v.Version}, OnlyValid: onlyValid}); err != nil {
		w.t.Fatal(err)
	}
	w.work()
	return w.read(v.ID)
}

func (w *world) undo(v *importer.View) *importer.View {
	w.t.Helper()
	if _, err := w.kind.Undo(w.as("town"), v.ID, importer.UndoInput{Read: flow.Read{Version: v.Version}, Reason: "导错了"}); err != nil {
		w.t.Fatal(err)
	}
	w.work()
	return w.read(v.ID)
}

func (w *world) findings(v *importer.View, q importer.FindingsQuery) []importer.Finding {
	w.t.Helper()
	f, err := w.kind.Findings(w.as("town"), v.ID, q)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func (w *world) sizes() map[string]string {
	w.t.Helper()
	rows, err := w.boxes.Find(w.t.Context(), scope.All("test"), func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("NOT r.gone") })
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]string{}
	for _, b := range rows {
		out[b.Name] = b.Size
	}
	return out
}

func (w *world) change(name, size string) {
	w.t.Helper()
	if err := w.db.Tx(w.t.Context(), func(ctx context.Context) error {
		b, err := w.boxes.First(ctx, scope.All("test"), func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.name = ?", name) })
		if err != nil {
			return err
		}
		b.Size = size
		return w.boxes.Update(ctx, b, record.Change{Fact: "box.changed", Title: "修改"})
	}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) verify() {
	w.t.Helper()
	if err := w.log.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if r, err := w.log.Verify(w.t.Context(), w.reg.Tables(), nil); err != nil || !r.OK() {
		w.t.Errorf("verify: %v %+v", err, r)
	}
}

// table is a CSV file of n boxes from the first on.
func table(first, n int, size string) string {
	var b strings.Builder
	b.WriteString("名称,大小\n")
	for i := range n {
		fmt.Fprintf(&b, "盒%d,%s\n", first+i, size)
	}
	return b.String()
}

func TestImportAndUndo(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		v := w.start("盒子.csv", table(0, 1203, "1"))
		if v.State != "checked" || v.Checked != (importer.Counts{Rows: 1203, Create: 1203}) || v.FileName != "盒子.csv" || v.Percent != 100 {
			t.Fatalf("dry run: %+v", v)
		}
		if len(w.sizes()) != 0 {
			t.Fatal("the dry run wrote")
		}
		v = w.confirm(v, false)
		if v.State != "applied" || v.Applied.Create != 1203 || len(w.sizes()) != 1203 {
			t.Fatalf("applied: %+v", v)
		}
		if f := w.findings(v, importer.FindingsQuery{Action: importer.Create, After: 1203, Limit: 5}); len(f) != 1 || f[0].Row != 1204 || f[0].Name != "盒1202" || f[0].RecordID == "" {
			t.Errorf("created: %+v", f)
		}

		// A second file: some new, some changed, some the same. The changes are shown beforehand.
		second := w.start("第二批.csv", "盒名;大小;备注\n盒0;2;\n盒1;1;x\n新盒;3;\n")
		if second.Checked != (importer.Counts{Rows: 3, Create: 1, Update: 1, Same: 1}) || fmt.Sprint(second.Unknown) != "[备注]" {
			t.Fatalf("second dry run: %+v", second)
		}
		if f := w.findings(second, importer.FindingsQuery{Action: importer.Update}); len(f) != 1 || f[0].Row != 2 || fmt.Sprint(f[0].Changes) != "[{大小 1 2}]" {
			t.Errorf("updates: %+v", f)
		}
		second = w.confirm(second, false)
		if s := w.sizes(); s["盒0"] != "2" || s["新盒"] != "3" {
			t.Errorf("sizes %v %v", s["盒0"], s["新盒"])
		}

		// Somebody goes on with one record of each sort; undoing keeps those and says so.
		w.change("盒5", "9")
		second = w.undo(second)
		if s := w.sizes(); second.State != "undone" || second.Undone != (importer.Undone{Rows: 2}) || s["盒0"] != "1" || s["新盒"] != "" {
			t.Errorf("second undone: %+v", second)
		}
		v = w.undo(w.read(v.ID))
		if v.Undone != (importer.Undone{Rows: 1201, Kept: 2}) { // 盒0 has been changed and changed back since
			t.Errorf("first undone: %+v", v)
		}
		if s := w.sizes(); len(s) != 2 || s["盒5"] != "9" || s["盒0"] != "1" {
			t.Errorf("left: %v", s)
		}
		if f := w.findings(v, importer.FindingsQuery{Kept: true}); len(f) != 2 || f[1].Name != "盒5" || f[1].Kept != "导入后有变更" {
			t.Errorf("kept: %+v", f)
		}
		if _, err := w.kind.Undo(w.as("town"), v.ID, importer.UndoInput{Read: flow.Read{Version: v.Version}, Reason: "再次"}); errs.KindOf(err) != errs.KindConflict {
			t.Errorf("undone twice: %v", err)
		}
		w.verify()
	})
}

func TestErrors(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		v := w.start("盒.csv", "某单位盒子表\n\n名称,大小,备注\n甲,1,\n,2,没有名称\n乙,123456789,\n甲,3,重复\n丙,4,\n")
		if v.Checked != (importer.Counts{Rows: 5, Create: 2, Wrong: 3}) {
			t.Fatalf("dry run: %+v", v)
		}
		var got []string
		for _, f := range w.findings(v, importer.FindingsQuery{Action: importer.Wrong}) {
			got = append(got, fmt.Sprint(f.Row, f.Problems))
		}
		if s := strings.Join(got, " "); s != "5 [{name 名称 请填写名称}] 6 [{size 大小 太大}] 7 [{  与第 4 行重复，请只保留一行}]" {
			t.Errorf("problems: %s", s)
		}
		// The rows that are wrong, with what is wrong, as a file.
		var b bytes.Buffer
		if err := w.kind.ErrorFile(w.as("town"), v.ID, &b); err != nil {
			t.Fatal(err)
		}
		r, err := tabular.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), tabular.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for row, err := range r.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, strings.Join(row.Cells, "|"))
		}
		if s := strings.Join(lines, "\n"); s != "名称|大小|错误说明\n|2|名称：请填写名称\n乙|123456789|大小：太大\n甲|3|与第 4 行重复，请只保留一行" {
			t.Errorf("error file:\n%s", s)
		}
		if _, err := w.kind.Confirm(w.as("town"), v.ID, importer.ConfirmInput{Read: flow.Read{Version: v.Version}}); errs.As(err) == nil || errs.As(err).Code != "importer.hasErrors" {
			t.Errorf("confirmed with errors: %v", err)
		}
		v = w.confirm(v, true)
		if s := w.sizes(); v.Applied != (importer.Counts{Rows: 5, Create: 2, Wrong: 3}) || len(s) != 2 || s["甲"] != "1" || s["丙"] != "4" {
			t.Errorf("applied: %+v %v", v, s)
		}
		if n := len(w.findings(v, importer.FindingsQuery{Action: importer.Wrong})); n != 3 {
			t.Errorf("%d errors after applying", n)
		}
		// Nothing but errors cannot be confirmed.
		v = w.start("空.csv", "名称\n\n")
		if _, err := w.kind.Confirm(w.as("town"), v.ID, importer.ConfirmInput{Read: flow.Read{Version: v.Version}, OnlyValid: true}); errs.KindOf(err) != errs.KindConflict {
			t.Errorf("nothing confirmed: %v", err)
		}
		v, err = w.kind.Cancel(w.as("town"), v.ID, flow.Read{Version: v.Version})
		if err != nil || v.State != "cancelled" || len(v.Actions) != 0 {
			t.Errorf("cancelled: %+v %v", v, err)
		}
		w.verify()
	})
}

// Files that are no tables, or bad ones, are refused with a text that says what to do.
func TestBadFiles(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		gbk, err := simplifiedchinese.GBK.NewEncoder().String("名称,大小\n盒①,1\n")
		if err != nil {
			t.Fatal(err)
		}
		if v := w.start("gbk.csv", gbk); v.State != "checked" || v.Checked.Create != 1 {
			t.Errorf("GBK: %+v", v)
		}
		var bomb bytes.Buffer
		z := zip.NewWriter(&bomb)
		for _, name := range []string{"[Content_Types].xml", "_rels/.rels", "xl/workbook.xml", "xl/worksheets/sheet1.xml"} {
			f, _ := z.Create(name)
			if strings.HasPrefix(name, "xl/work") {
				io.CopyN(f, zeros{}, 60<<20) //nolint:errcheck // into memory
			}
		}
		z.Close()
		for name, content := range map[string]string{"没有表头.csv": "甲,乙\n1,2\n", "缺列.csv": "大小\n1\n", "重列.csv": "名称,名称\n1,2\n", "炸弹.xlsx": bomb.String()} {
			u, err := w.files.Upload(w.as("town"), name, strings.NewReader(content))
			if err != nil { // the door for files may be stricter still
				if errs.KindOf(err) != errs.KindInvalid {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			v, err := w.kind.Start(w.as("town"), importer.StartInput{FileID: u.ID})
			if err != nil {
				t.Fatal(err)
			}
			w.work()
			if v = w.read(v.ID); v.State != "refused" || v.Message == "" || len(v.Actions) != 0 {
				t.Errorf("%s: %+v", name, v)
			}
		}
		// A file that breaks off in the middle is refused as a whole.
		v := w.start("断.csv", table(0, 700, "1")+"\"没有结束")
		if v.State != "refused" || v.Checked.Create == 0 && v.Message == "" {
			t.Errorf("broken off: %+v", v)
		}
		if _, err := w.kind.Confirm(w.as("town"), v.ID, importer.ConfirmInput{Read: flow.Read{Version: v.Version}, OnlyValid: true}); errs.KindOf(err) != errs.KindConflict {
			t.Errorf("confirmed a refused file: %v", err)
		}
		if len(w.sizes()) != 0 {
			t.Error("something was imported")
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Work that stops anywhere goes on, and in the end every row is in once.
func TestResume(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		crash := errors.New("crash")
		v := w.start("盒.csv", table(0, 2600, "1"))
		if _, err := w.kind.Confirm(w.as("town"), v.ID, importer.ConfirmInput{Read: flow.Read{Version: v.Version}}); err != nil {
			t.Fatal(err)
		}
		for crashes := 0; ; crashes++ {
			chunks := 0
			w.trip = func(int) error {
				if chunks++; chunks > 2 {
					return crash
				}
				return nil
			}
			err := w.imports.Work(t.Context(), v.ID, nil)
			if err == nil {
				if crashes < 2 {
					t.Errorf("only %d crashes", crashes)
				}
				break
			}
			if !errors.Is(err, crash) || crashes > 10 {
				t.Fatal(err)
			}
			if mid := w.read(v.ID); mid.State != "applying" || mid.Done != len(w.sizes()) || mid.Done == 0 {
				t.Errorf("in between: %+v, %d rows", mid, len(w.sizes()))
			}
		}
		if v = w.read(v.ID); v.State != "applied" || v.Applied.Create != 2600 || len(w.sizes()) != 2600 {
			t.Errorf("applied: %+v", v)
		}

		// Two workers on one run: the second notices.
		w.trip = func(int) error { return nil }
		again := w.start("改.csv", table(0, 2600, "2"))
		if _, err := w.kind.Confirm(w.as("town"), again.ID, importer.ConfirmInput{Read: flow.Read{Version: again.Version}}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := w.imports.Work(t.Context(), again.ID, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if again = w.read(again.ID); again.State != "applied" || again.Applied.Update != 2600 || again.Applied.Wrong != 0 {
			t.Errorf("by three: %+v", again)
		}
		for name, size := range w.sizes() {
			if size != "2" {
				t.Fatalf("%s is %s", name, size)
			}
		}
		w.verify()
	})
}

// What changed between the dry run and the import is left out and named, even while the import runs.
func TestChangedMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.confirm(w.start("盒.csv", table(0, 600, "1")), false)
		v := w.start("改.csv", table(0, 601, "2"))
		if v.Checked.Update != 600 || v.Checked.Create != 1 {
			t.Fatalf("%+v", v)
		}
		w.change("盒3", "7") // after the dry run
		w.change("盒4", "2") // to what the file says: nothing is left to do
		raced := false
		w.trip = func(n int) error {
			if !raced {
				raced = true
				w.confirmOther()
			}
			if n > 1 && n < 600 && w.sizes()["盒8"] == "1" {
				w.change("盒8", "8") // after it was judged
			}
			return nil
		}
		v = w.confirm(v, false)
		if v.Applied.Wrong != 3 || v.Applied.Update != 597 || v.Applied.Same != 1 || v.Applied.Create != 0 {
			t.Errorf("applied: %+v", v.Applied)
		}
		if s := w.sizes(); s["盒3"] != "7" || s["盒8"] != "8" || s["盒9"] != "2" || s["盒600"] != "0" {
			t.Errorf("sizes %v %v %v %v", s["盒3"], s["盒8"], s["盒9"], s["盒600"])
		}
		f := w.findings(v, importer.FindingsQuery{Action: importer.Wrong})
		if len(f) != 3 || f[0].Name != "盒3" || !strings.Contains(f[0].Problems[0].Message, "有变化") {
			t.Errorf("left out: %+v", f)
		}
		w.trip = func(int) error { return nil }
		v = w.undo(v)
		if s := w.sizes(); v.Undone != (importer.Undone{Rows: 597}) || s["盒3"] != "7" || s["盒4"] != "2" || s["盒9"] != "1" {
			t.Errorf("undone: %+v", v)
		}
		w.verify()
	})
}

// confirmOther makes the box that the file would make.
func (w *world) confirmOther() {
	if err := w.db.Tx(w.t.Context(), func(ctx context.Context) error {
		return w.boxes.Insert(ctx, &box{Place: scope.At("341722000000", "", ""), Name: "盒600", Size: "0"}, record.Change{Fact: "box.made", Title: "新增"})
	}); err != nil {
		w.t.Error(err)
	}
}

func TestOutsiders(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		v := w.start("盒.csv", "名称\n甲\n\n\n")
		call := func(who, method, path, body string) int {
			req := httptest.NewRequestWithContext(t.Context(), method, httpx.Prefix+path, strings.NewReader(body))
			req.Header.Set("Content-Type", "application/json")
			if who != "" {
				req.Header.Set("Authorization", "Bearer "+who)
			}
			res := httptest.NewRecorder()
			w.handler.ServeHTTP(res, req)
			if strings.Contains(res.Body.String(), "甲") && who != "town" {
				t.Errorf("%s %s as %s shows the row", method, path, who)
			}
			return res.Code
		}
		at := "/imports/boxes/" + v.ID
		for _, c := range []struct{ method, path, body string }{
			{"GET", at, ""}, {"GET", at + "/rows", ""}, {"GET", at + "/errors.xlsx", ""}, {"POST", at + "/confirm", `{"version":2}`}, {"POST", at + "/cancel", `{"version":2}`},
			{"POST", at + "/undo", `{"version":2,"reason":"x"}`}, {"POST", at + "/retry", `{"version":2}`},
		} {
			for who, want := range map[string]int{"": 401, "other": 404, "observer": 403, "admin": 403} {
				if got := call(who, c.method, c.path, c.body); got != want {
					t.Errorf("%s %s as %q: %d, want %d", c.method, c.path, who, got, want)
				}
			}
		}
		for who, want := range map[string]int{"": 401, "observer": 403, "admin": 403, "other": 422} { // the file is the town's
			if got := call(who, "POST", "/imports/boxes", `{"fileId":"`+v.FileID+`"}`); got != want {
				t.Errorf("start as %q: %d, want %d", who, got, want)
			}
		}
		if _, err := w.files.Open(w.as("other"), v.FileID, file.Shown); errs.KindOf(err) != errs.KindNotFound {
			t.Errorf("another opens the file: %v", err)
		}
		for path, want := range map[string]int{at: 200, at + "/rows?action=error": 200, at + "/rows?limit=9999": 422, at + "/errors.xlsx": 200, "/imports/boxes": 200, "/imports/boxes/template.xlsx": 200,
			"/imports/boxes/columns": 200, "/imports/boxes?state=checked": 200, "/imports/boxes/x": 404, "/imports/boxes/x/errors.xlsx": 404} {
			if got := call("town", "GET", path, ""); got != want {
				t.Errorf("%s: %d, want %d", path, got, want)
			}
		}
		if got := call("town", "POST", at+"/confirm", `{"version":1}`); got != 409 {
			t.Errorf("stale confirm: %d", got)
		}
		if got := call("town", "POST", at+"/confirm", fmt.Sprintf(`{"version":%d}`, v.Version)); got != 200 {
			t.Errorf("confirm: %d", got)
		}
		w.work()
		if len(w.sizes()) != 1 {
			t.Errorf("sizes %v", w.sizes())
		}
	})
}
