package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// Kind is a declared kind of import.
type Kind[R any] struct {
	Spec[R]
	*Importer
	machine *flow.Machine[Run, *Run]
	steps   steps
	list    *ledger.List[Row]
}

// steps are the ways of a run; the last four are the program's.
type steps struct {
	confirm flow.Step[Run, ConfirmInput]
	cancel  flow.Step[Run, flow.Read]
	undo    flow.Step[Run, UndoInput]
	retry   flow.Step[Run, flow.Read]
	checked flow.Step[Run, checkResult]
	refuse  flow.Step[Run, checkResult]
	applied flow.Step[Run, applyResult]
	undone  flow.Step[Run, undoResult]
}

// ConfirmInput confirms what the dry run announced.
type ConfirmInput struct {
	flow.Read
	OnlyValid bool `json:"onlyValid,omitempty" doc:"只导入无误的行；有误的行不导入"`
}

// UndoInput takes an import back.
type UndoInput struct {
	flow.Read
	Reason string `json:"reason" minLength:"1" maxLength:"200" doc:"撤销的原因"`
}

type checkResult struct {
	flow.Read
	Counts  Counts   `json:"counts"`
	Unknown []string `json:"unknown"`
	Message string   `json:"message,omitempty"`
}

type applyResult struct {
	flow.Read
	Counts Counts `json:"counts"`
}

type undoResult struct {
	flow.Read
	Undone Undone `json:"undone"`
}

// Declare adds a kind of import. It panics on a kind that is taken.
func Declare[R any](i *Importer, spec Spec[R]) *Kind[R] {
	if i.kinds[spec.Kind] != nil {
		panic("importer: two kinds " + spec.Kind)
	}
	k := &Kind[R]{Spec: spec, Importer: i}
	k.steps = steps{
		confirm: flow.Step[Run, ConfirmInput]{Name: "confirm", Title: "确认导入", Fact: "importer.confirmed", Need: spec.Need, From: []flow.State{checked}, To: []flow.State{applying},
			Guard: k.hasSomething, Do: k.doConfirm},
		cancel: flow.Step[Run, flow.Read]{Name: "cancel", Title: "放弃导入", Fact: "importer.cancelled", Need: spec.Need, From: []flow.State{checking, checked}, To: []flow.State{cancelled}, Do: k.doCancel},
		undo:   flow.Step[Run, UndoInput]{Name: "undo", Title: "撤销导入", Fact: "importer.undoing", Need: spec.Need, From: []flow.State{applied}, To: []flow.State{undoing}, Do: k.doUndo},
		retry: flow.Step[Run, flow.Read]{Name: "retry", Title: "继续处理", Fact: "importer.retried", Need: spec.Need, From: []flow.State{checking, applying, undoing},
			Do: func(ctx context.Context, r *Run, _ flow.Read) error { return k.begin(ctx, r) }},
		checked: flow.Step[Run, checkResult]{Name: "checked", Title: "完成预检", Fact: "importer.checked", Need: spec.Need, From: []flow.State{checking}, To: []flow.State{checked}, Hidden: true, Do: doChecked},
		refuse:  flow.Step[Run, checkResult]{Name: "refuse", Title: "文件不能导入", Fact: "importer.refused", Need: spec.Need, From: []flow.State{checking}, To: []flow.State{refused}, Hidden: true, Do: doChecked},
		applied: flow.Step[Run, applyResult]{Name: "applied", Title: "完成导入", Fact: "importer.applied", Need: spec.Need, From: []flow.State{applying}, To: []flow.State{applied}, Hidden: true,
			Do: func(_ context.Context, r *Run, in applyResult) error { r.Applied = in.Counts; return nil }},
		undone: flow.Step[Run, undoResult]{Name: "undone", Title: "完成撤销", Fact: "importer.undone", Need: spec.Need, From: []flow.State{undoing}, To: []flow.State{undone}, Hidden: true,
			Do: func(_ context.Context, r *Run, in undoResult) error { r.Undone = in.Undone; return nil }},
	}
	s := k.steps
	k.machine = flow.Define(i.db, i.runs, flow.Spec{Name: "importer", Title: "导入", Initial: []flow.State{checking}, Final: []flow.State{refused, cancelled, undone}, Titles: stateTitles},
		s.confirm, s.cancel, s.undo, s.retry, s.checked, s.refuse, s.applied, s.undone)
	k.list = ledger.Define(i.db, k.listSpec())
	i.kinds[spec.Kind] = k
	return k
}

func (k *Kind[R]) need() string { return k.Need }

// View is a run as its page shows it.
type View struct {
	ID         string        `json:"id"`
	Version    int64         `json:"version"`
	Kind       string        `json:"kind"`
	State      flow.State    `json:"state"`
	StateTitle string        `json:"stateTitle"`
	FileID     string        `json:"fileId"`
	FileName   string        `json:"fileName"`
	Uploader   string        `json:"uploader"`
	Unknown    []string      `json:"unknownColumns" nullable:"false" doc:"没有用到的列"`
	Checked    Counts        `json:"checked" doc:"预检结果"`
	Applied    Counts        `json:"applied" doc:"导入结果"`
	Undone     Undone        `json:"undone" doc:"撤销结果"`
	OnlyValid  bool          `json:"onlyValid"`
	Message    string        `json:"message,omitempty" doc:"文件不能导入的原因"`
	Done       int           `json:"done" doc:"当前阶段已处理的行数"`
	Percent    int           `json:"percent" doc:"当前阶段的进度"`
	Actions    []flow.Action `json:"actions" nullable:"false"`
}

// StartInput begins an import of an uploaded file.
type StartInput struct {
	FileID string `json:"fileId" minLength:"1" maxLength:"64" doc:"上传文件得到的标识"`
	Sheet  string `json:"sheet,omitempty" maxLength:"100" doc:"工作表名称，默认第一个"`
}

// Start takes an uploaded file and has it checked. Nothing is imported before Confirm.
func (k *Kind[R]) Start(ctx context.Context, in StartInput) (*View, error) {
	if !actor.From(ctx).Can(k.Need) {
		return nil, errs.Forbidden("importer.forbidden", "您没有导入"+k.Title+"的权限。")
	}
	who := actingNow(ctx, k.Need)
	run := &Run{Place: placeOf(&who, k.Need, k.db.Node), Kind: k.Kind, State: checking, Sheet: strings.TrimSpace(in.Sheet), Uploader: who.Name, Unknown: []string{}}
	run.ID = k.db.Clock.NewID()
	err := k.db.Tx(ctx, func(ctx context.Context) error {
		got, err := k.files.Attach(ctx, file.AttachInput{RecordType: RecordType, RecordID: run.ID, Slot: "file", Place: run.Place, IDs: []string{in.FileID}})
		if err != nil {
			return err
		}
		run.FileID, run.FileName, run.Acting = got[0].ID, got[0].Name, who
		if err := k.runs.Insert(ctx, run, record.Change{Fact: "importer.started", Title: "上传" + k.Title + "导入文件"}); err != nil {
			return err
		}
		return k.begin(ctx, run)
	})
	if err != nil {
		return nil, err
	}
	return k.view(ctx, run)
}

// begin has the work of the run's stage done once this transaction is committed.
func (k *Kind[R]) begin(ctx context.Context, run *Run) error {
	run.Acting = actingNow(ctx, k.Need)
	if ctx.Value(foreground{}) != nil {
		return nil
	}
	return k.later(ctx, k.Kind, run.ID)
}

// Confirm has the rows imported as the dry run announced.
func (k *Kind[R]) Confirm(ctx context.Context, id string, in ConfirmInput) (*View, error) {
	return fire(ctx, k, k.steps.confirm, id, in)
}

// Cancel gives an import up that has not been confirmed.
func (k *Kind[R]) Cancel(ctx context.Context, id string, in flow.Read) (*View, error) {
	return fire(ctx, k, k.steps.cancel, id, in)
}

// Undo has an import taken back.
func (k *Kind[R]) Undo(ctx context.Context, id string, in UndoInput) (*View, error) {
	return fire(ctx, k, k.steps.undo, id, in)
}

// Retry goes on with work that had to be given up.
func (k *Kind[R]) Retry(ctx context.Context, id string, in flow.Read) (*View, error) {
	return fire(ctx, k, k.steps.retry, id, in)
}

func fire[R any, In flow.Input](ctx context.Context, k *Kind[R], step flow.Step[Run, In], id string, in In) (*View, error) {
	run, err := k.load(ctx, id)
	if err != nil {
		return nil, err
	}
	if run, err = flow.Fire(ctx, k.machine, step, run.ID, in); err != nil {
		return nil, err
	}
	return k.view(ctx, run)
}

// load returns the run of this kind in the actor's reach.
func (k *Kind[R]) load(ctx context.Context, id string) (*Run, error) {
	run, err := k.runs.Load(ctx, scope.For(ctx, k.Need), id)
	if err == nil && run.Kind != k.Kind {
		return nil, runType.NotFound()
	}
	return run, err
}

func (k *Kind[R]) hasSomething(_ context.Context, r *Run) error {
	if r.Checked.Create+r.Checked.Update == 0 {
		return errs.Conflict("importer.nothing", "文件中没有可以导入的行。请按错误说明修改后重新上传。")
	}
	return nil
}

func (k *Kind[R]) doConfirm(ctx context.Context, r *Run, in ConfirmInput) error {
	if r.Checked.Wrong > 0 && !in.OnlyValid {
		return errs.Conflict("importer.hasErrors", fmt.Sprintf("有 %d 行有误。请下载错误清单，修改后重新上传；或选择“只导入无误的行”。", r.Checked.Wrong))
	}
	r.OnlyValid = in.OnlyValid
	return k.begin(ctx, r)
}

func (k *Kind[R]) doCancel(ctx context.Context, r *Run, _ flow.Read) error {
	_, err := k.db.Conn(ctx).NewRaw("DELETE FROM importer_progress WHERE run_id = ?", r.ID).Exec(ctx) // the dry run notices
	return err
}

func (k *Kind[R]) doUndo(ctx context.Context, r *Run, in UndoInput) error {
	if strings.TrimSpace(in.Reason) == "" {
		return errs.InvalidField("importer.reason", "/reason", "请填写撤销的原因")
	}
	return k.begin(ctx, r)
}

func doChecked(_ context.Context, r *Run, in checkResult) error {
	r.Checked, r.Unknown, r.Message = in.Counts, in.Unknown, in.Message
	return nil
}

// Read returns the run with the id.
func (k *Kind[R]) Read(ctx context.Context, id string) (*View, error) {
	run, err := k.load(ctx, id)
	if err != nil {
		return nil, err
	}
	return k.view(ctx, run)
}

func (k *Kind[R]) view(ctx context.Context, r *Run) (*View, error) {
	v := &View{ID: r.ID, Version: r.Version, Kind: r.Kind, State: r.State, StateTitle: stateTitles[r.State], FileID: r.FileID, FileName: r.FileName, Uploader: r.Uploader,
		Unknown: r.Unknown, Checked: r.Checked, Applied: r.Applied, Undone: r.Undone, OnlyValid: r.OnlyValid, Message: r.Message, Actions: k.machine.Actions(ctx, r)}
	if slices.Contains([]flow.State{checking, applying, undoing}, r.State) {
		p, err := k.progress(ctx, r.ID, r.State)
		if err != nil {
			return nil, err
		}
		v.Done, v.Percent = p.Done, p.Percent
	} else {
		v.Percent = 100
	}
	return v, nil
}

// Finding is what a run found in a row, or did with it.
type Finding struct {
	Row      int       `json:"row" doc:"文件中的行号"`
	Action   Action    `json:"action" enum:"create,update,error"`
	Name     string    `json:"name"`
	RecordID string    `json:"recordId"`
	Problems []Problem `json:"problems" nullable:"false"`
	Changes  []Change  `json:"changes" nullable:"false"`
	Kept     string    `json:"kept,omitempty" doc:"撤销时保留的原因"`
}

// FindingsQuery selects findings.
type FindingsQuery struct {
	Action Action // "" for all
	Kept   bool   // only those that undoing kept
	After  int    // row after which to begin
	Limit  int    // at most 200; 0: 50
}

// Findings returns what a run found, in the order of rows. New records are listed once they are written.
func (k *Kind[R]) Findings(ctx context.Context, id string, q FindingsQuery) ([]Finding, error) {
	run, err := k.load(ctx, id)
	if err != nil {
		return nil, err
	}
	if q.Limit <= 0 || q.Limit > 200 {
		q.Limit = 50
	}
	return k.findings(ctx, run.ID, q)
}

// progress is how far a stage has come.
type progress struct {
	Row     int
	Done    int
	Percent int
	Counts  string
}

func (k *Kind[R]) progress(ctx context.Context, run string, stage flow.State) (progress, error) {
	var p progress
	err := k.db.Conn(ctx).NewRaw("SELECT row_no AS row, done, percent, counts FROM importer_progress WHERE run_id = ? AND stage = ?", run, stage).Scan(ctx, &p)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	return p, err
}

// entry is a row of importer_row.
type entry struct {
	bun.BaseModel `bun:"table:importer_row,alias:x"`
	RunID         string `bun:"run_id,pk"`
	Row           int    `bun:"row_no,pk"`
	Action        Action `bun:"action"`
	Name          string `bun:"name"`
	RecordID      string `bun:"record_id"`
	Version       int64  `bun:"version"`
	Detail        detail `bun:"detail,type:text"`
	Kept          string `bun:"kept"`
}

type detail struct {
	Problems []Problem `json:"problems,omitempty"`
	Changes  []Change  `json:"changes,omitempty"`
}

func (k *Kind[R]) findings(ctx context.Context, run string, q FindingsQuery) ([]Finding, error) {
	var rows []entry
	sel := k.db.Conn(ctx).NewSelect().Model(&rows).Where("x.run_id = ? AND x.row_no > ?", run, q.After).Order("x.row_no").Limit(int64(q.Limit))
	if q.Action != "" {
		sel = sel.Where("x.action = ?", q.Action)
	}
	if q.Kept {
		sel = sel.Where("x.kept <> ''")
	}
	if err := sel.Scan(ctx); err != nil {
		return nil, err
	}
	out := make([]Finding, len(rows))
	for i, r := range rows {
		out[i] = Finding{Row: r.Row, Action: r.Action, Name: r.Name, RecordID: r.RecordID, Problems: filled(r.Detail.Problems), Changes: filled(r.Detail.Changes), Kept: r.Kept}
	}
	return out, nil
}

func filled[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// foreground marks work that is done by whoever asked for it, and not later.
type foreground struct{}

// RunFile takes a file in at once, for the command line: the dry run, and when apply is set and the dry run found nothing wrong, the import. It returns the run and the rows that are wrong. A file that
// cannot be read is an invalid errs.Error.
func (k *Kind[R]) RunFile(ctx context.Context, table io.ReaderAt, size int64, name string, apply bool, report Progress) (*View, []Finding, error) {
	ctx = context.WithValue(ctx, foreground{}, true)
	up, err := k.files.Upload(ctx, name, io.NewSectionReader(table, 0, size))
	if err != nil {
		return nil, nil, err
	}
	v, err := k.Start(ctx, StartInput{FileID: up.ID})
	if err != nil {
		return nil, nil, err
	}
	if v, err = k.workNow(ctx, v.ID, report); err != nil {
		return nil, nil, err
	}
	if v.State == refused {
		return nil, nil, errs.Invalid("importer.refused", v.Message)
	}
	if apply && v.Checked.Wrong == 0 && v.Checked.Create+v.Checked.Update > 0 {
		if _, err := k.Confirm(ctx, v.ID, ConfirmInput{Read: flow.Read{Version: v.Version}}); err != nil {
			return nil, nil, err
		}
		if v, err = k.workNow(ctx, v.ID, report); err != nil {
			return nil, nil, err
		}
	}
	var wrong []Finding
	for after := 0; ; after = wrong[len(wrong)-1].Row {
		page, err := k.findings(ctx, v.ID, FindingsQuery{Action: Wrong, After: after, Limit: chunkRows})
		if err != nil {
			return nil, nil, err
		}
		if wrong = append(wrong, page...); len(page) < chunkRows {
			break
		}
	}
	if v.State == checked {
		if _, err := k.Cancel(ctx, v.ID, flow.Read{Version: v.Version}); err != nil {
			return nil, nil, err
		}
	}
	return v, wrong, nil
}

func (k *Kind[R]) workNow(ctx context.Context, id string, report Progress) (*View, error) {
	if err := k.Work(ctx, id, report); err != nil {
		return nil, err
	}
	return k.Read(ctx, id)
}
