// Package importer takes table files in: divisions, enterprises, grids, accounts, whatever a module declares a [Spec] for.
//
// # The way of a file
//
// Somebody uploads it ([Kind.Start]). A job reads every row and says what would happen (dry run): created, updated with which changes, the same, or wrong in which column
// and why. The person looks at that and confirms ([Kind.Confirm]). A second job writes the rows in small transactions and can be undone ([Kind.Undo]). The states are those of [Run], kept with
// kernel/flow, so each decision is in the log.
//
// # What holds
//
//   - Rows with errors stop an import, unless the person says to import only the others. What was confirmed is what happens: a row whose outcome would differ from the dry run's,
//     because somebody changed the register meanwhile, is left out and named.
//   - Each chunk of rows, what is noted about it, and how far the run has come are one transaction. After a crash or a restart the work goes on after the last chunk; two workers on one run
//     notice each other. So in the end every valid row is in, once.
//   - The work is done in the name of the person who asked for it, with the rights held at that moment; every record has its log entry.
//   - Undoing takes back what the import wrote, except what was changed since: that is kept and listed.
//   - The file is streamed each time it is read. Memory holds a few chunks, and during the dry run one hash for each row.
//
// # Known weaknesses
//
// While an import runs, its first rows are already seen. The notes of a run (importer_row) are kept for good: undoing may be asked for at any time.
package importer

import (
	"context"
	"embed"
	"fmt"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
	"anwang/internal/lib/tabular"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the tables of imports.
var Migrations = db.Migrations{Part: "importer", Files: files}

// RecordType names a run in the log and in links.
const RecordType = "importer.run"

// Column is a column that an import knows.
type Column struct {
	Key      string   // by which the program asks for it
	Title    string   // as the template names it
	Aliases  []string // other titles that are met
	Required bool     // the file must have the column; whether a cell may be empty is for Pass.Read to say
}

// Action is what an import does with a row.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
	Same   Action = "same"
	Wrong  Action = "error"
)

// Problem is something wrong in a row.
type Problem struct {
	Column  string `json:"column" doc:"列，空表示整行"`
	Title   string `json:"title"`
	Message string `json:"message"`
}

// Change is what an import would change in a record.
type Change struct {
	Title  string `json:"title"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// Line is one row of a file on its way into the register.
type Line[R any] struct {
	Row   int    // number in the file, as the spreadsheet shows it
	Key   string // no two rows of a file may have the same; empty: not compared
	Name  string // what people know it by
	Value R      // what Pass.Read made of the row

	// Judge decides these.
	Action   Action
	RecordID string   // of the record that the row means; of a new one after Prepare
	Version  int64    // at which Judge saw the record to be updated
	Changes  []Change // for the person to look at before confirming
	Problems []Problem

	columns   []Column
	announced Action // by the dry run; empty for Create and Same
}

// Problem says what is wrong in a column. A line with problems is left out.
func (l *Line[R]) Problem(column, format string, args ...any) {
	p := Problem{Column: column, Message: fmt.Sprintf(format, args...)}
	for _, c := range l.columns {
		if c.Key == column {
			p.Title = c.Title
		}
	}
	l.Problems = append(l.Problems, p)
}

// OK reports whether nothing is wrong with the line.
func (l *Line[R]) OK() bool { return len(l.Problems) == 0 }

// Cells are the cells of one row.
type Cells struct {
	header *tabular.Header
	row    tabular.Row
}

// Value is a cell without blanks around it, "" when the file does not have the column.
func (c Cells) Value(column string) string { return c.header.Value(c.row, column) }

// Has reports whether the file has the column.
func (c Cells) Has(column string) bool { return c.header.Has(column) }

// Touched is a record that an import has written, at the version that the import left it at.
type Touched struct {
	Row      int
	Action   Action // Create or Update
	RecordID string
	Version  int64
}

// Pass is one pass over a file, or over what an import touched, in the name of the actor that Begin saw. A new one is begun for each.
type Pass[R any] interface {
	// Read makes a line of a row: it sets Key, Name and Value, and says what is wrong by itself. It asks no database. It is called from another goroutine than the rest.
	Read(line *Line[R], cells Cells)
	// Judge compares good lines with the register and sets Action, RecordID, Version and Changes, or adds problems. It only reads.
	Judge(ctx context.Context, lines []*Line[R]) error
	// Prepare does the slow part of writing lines, whose actions are Create or Update, and returns what remains to be done inside a transaction. It sets the RecordID of new
	// ones; a new record begins at version 1, an updated one is at the next version after Line.Version. What it returns may fail with a conflict when somebody was faster: then the lines are
	// judged and prepared again.
	Prepare(ctx context.Context, lines []*Line[R]) (write func(ctx context.Context) error, err error)
	// Undo is Prepare for taking back. It says of which rows the record is kept, and why: usually because it is no longer at the version at which the import left it.
	Undo(ctx context.Context, touched []Touched) (write func(ctx context.Context) error, kept map[int]string, err error)
}

// Spec declares a kind of import.
type Spec[R any] struct {
	Kind    string // "enterprises": `anwang import enterprises FILE`; paths begin with /imports/enterprises
	Title   string // "企业"
	Need    string // permission to import
	Columns []Column
	// Begin begins a pass for the actor in ctx.
	Begin func(ctx context.Context, run string) (Pass[R], error)
}

func (s *Spec[R]) fields() []tabular.Field {
	out := make([]tabular.Field, len(s.Columns))
	for i, c := range s.Columns {
		out[i] = tabular.Field(c)
	}
	return out
}

// Counts are how many rows an import has, and what happens to them.
type Counts struct {
	Rows   int `json:"rows" doc:"数据行数"`
	Create int `json:"create" doc:"新增"`
	Update int `json:"update" doc:"更新"`
	Same   int `json:"same" doc:"无变化"`
	Wrong  int `json:"errors" doc:"有误"`
}

func (c *Counts) add(a Action) {
	c.Rows++
	switch a {
	case Create:
		c.Create++
	case Update:
		c.Update++
	case Same:
		c.Same++
	default:
		c.Wrong++
	}
}

// Undone is what undoing has done.
type Undone struct {
	Rows int `json:"rows" doc:"已撤销"`
	Kept int `json:"kept" doc:"导入后又有变更，予以保留"`
}

// The states of a run.
const (
	checking  flow.State = "checking"
	checked   flow.State = "checked"
	refused   flow.State = "refused"
	cancelled flow.State = "cancelled"
	applying  flow.State = "applying"
	applied   flow.State = "applied"
	undoing   flow.State = "undoing"
	undone    flow.State = "undone"
)

var stateTitles = map[flow.State]string{checking: "预检中", checked: "待确认", refused: "文件不能导入", cancelled: "已放弃", applying: "导入中",
	applied: "已导入", undoing: "撤销中", undone: "已撤销"}

// Run is one file that somebody imports. It is seen by those who may import the kind where its uploader may.
type Run struct {
	bun.BaseModel `bun:"table:importer_run,alias:r" json:"-"`
	record.Head
	scope.Place

	Kind      string      `bun:"kind" json:"kind"`
	State     flow.State  `bun:"state" json:"state"`
	FileID    string      `bun:"file_id" json:"fileId"`
	FileName  string      `bun:"file_name" json:"fileName"`
	Sheet     string      `bun:"sheet" json:"sheet"`
	Uploader  string      `bun:"uploader" json:"uploader"`
	Acting    actor.Actor `bun:"acting,type:text" json:"acting"` // in whose name the present stage is done, with the rights of that moment
	Unknown   []string    `bun:"unknown,type:text" json:"unknown"`
	Checked   Counts      `bun:"checked,type:text" json:"checked"`
	Applied   Counts      `bun:"applied,type:text" json:"applied"`
	Undone    Undone      `bun:"undone,type:text" json:"undone"`
	OnlyValid bool        `bun:"only_valid" json:"onlyValid"`
	Message   string      `bun:"message" json:"message"`
}

// FlowState makes a Run a flow.Record.
func (r *Run) FlowState() *flow.State { return &r.State }

var runType = record.Type{Name: RecordType, Title: "导入批次"}

// Importer keeps the imports of one installation. It is safe for concurrent use.
type Importer struct {
	db    *db.DB
	log   *audit.Log
	runs  *record.Store[Run, *Run]
	files *file.Store
	later Later
	kinds map[string]worker
}

// Later has the work of a run done in the background, once the transaction that ctx is in is committed: [Importer.Work] with the id, until it returns nil.
type Later func(ctx context.Context, kind, run string) error

// New returns the imports in d. It guards the files of runs.
func New(d *db.DB, log *audit.Log, reg *record.Registry, store *file.Store, later Later) *Importer {
	i := &Importer{db: d, log: log, runs: record.NewStore[Run](d, log, reg, runType), files: store, later: later, kinds: map[string]worker{}}
	store.Guard(RecordType, i.guard)
	return i
}

// worker is a kind without its rows' type.
type worker interface {
	need() string
	work(ctx context.Context, run *Run, progress Progress) error
}

// Progress is told how many rows of how many are done; total is 0 while it is not known.
type Progress func(done, total int)

// Work does what is to be done for a run in its present state: the dry run, the import or the undoing. It returns nil when that is finished, or when nothing is to be done; after
// an error it may be called again and goes on where it stopped.
func (i *Importer) Work(ctx context.Context, id string, progress Progress) error {
	run, err := i.runs.First(ctx, scope.All("the work of a run was asked for by somebody who may"), func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.id = ?", id) })
	if err != nil || run == nil {
		return err
	}
	k := i.kinds[run.Kind]
	if k == nil {
		return fmt.Errorf("import %s: no kind %q in this program", id, run.Kind)
	}
	if progress == nil {
		progress = func(int, int) {}
	}
	acting := run.Acting
	return k.work(actor.With(ctx, &acting), run, progress)
}

// guard lets those see a run's file who may see the run.
func (i *Importer) guard(ctx context.Context, _, id string) error {
	run, err := i.runs.First(ctx, scope.All("the kind's permission decides below"), func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.id = ?", id) })
	if err != nil {
		return err
	}
	if run == nil || i.kinds[run.Kind] == nil || !scope.For(ctx, i.kinds[run.Kind].need()).Sees(run.Place) {
		return runType.NotFound()
	}
	return nil
}

// placeOf is where a run of an actor lies: where the post lies that lets the actor import.
func placeOf(a *actor.Actor, need, node string) scope.Place {
	for _, g := range a.Grants {
		if !g.Has(need) {
			continue
		}
		first := func(list []string) string {
			if len(list) == 0 {
				return ""
			}
			return list[0]
		}
		return scope.At(first(g.Divisions), first(g.Lines), g.Enterprise)
	}
	d, _ := gbcode.ParseDivision(node) // a node that is named otherwise lies nowhere
	return scope.At(string(d), "", "")
}

// actingNow is the actor with those rights that the work needs.
func actingNow(ctx context.Context, need string) actor.Actor {
	a := *actor.From(ctx)
	a.LoginID = ""
	var grants []actor.Grant
	for _, g := range a.Grants {
		if g.Has(need) {
			grants = append(grants, g)
		}
	}
	a.Grants = grants
	return a
}

var errElsewhere = errs.Conflict("importer.elsewhere", "该导入正由另一进程处理。")
