package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/flow"
	"anwang/internal/lib/tabular"
)

// chunkRows is how many rows are judged and written at once: some 25 ms of the writer's time, so that others hardly wait.
const chunkRows = 250

// maxTries is how often a chunk is judged anew because somebody was faster.
const maxTries = 5

func (k *Kind[R]) work(ctx context.Context, run *Run, report Progress) error {
	var err error
	switch run.State {
	case checking:
		err = k.check(ctx, run, report)
	case applying:
		err = k.apply(ctx, run, report)
	case undoing:
		err = k.takeBack(ctx, run, report)
	}
	if errors.Is(err, errElsewhere) {
		return nil // another worker goes on with it, or the run was cancelled
	}
	return err
}

// source is an opened file. Close it.
type source struct {
	*tabular.Reader
	header *tabular.Header
	copy   *os.File
}

func (s *source) Close() {
	s.copy.Close()           //nolint:errcheck // only read from
	os.Remove(s.copy.Name()) //nolint:errcheck // the system's temporary folder
}

// open copies the run's file to where it can be read at random, and reads up to the header. What is wrong with the file itself is a *tabular.Error or *tabular.HeaderError.
func (k *Kind[R]) open(ctx context.Context, run *Run) (_ *source, err error) {
	content, err := k.files.Open(ctx, run.FileID, file.Shown)
	if err != nil {
		return nil, err
	}
	defer content.Close() //nolint:errcheck // only read from
	s := &source{}
	if s.copy, err = os.CreateTemp("", "anwang-import-*"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	size, err := io.Copy(s.copy, content)
	if err != nil {
		return nil, fmt.Errorf("copy import file: %w", err)
	}
	if s.Reader, err = tabular.Open(s.copy, size, tabular.Options{Sheet: run.Sheet}); err != nil {
		return nil, err
	}
	s.header, err = s.Header(k.fields())
	return s, err
}

// lines reads the rows after the one numbered after, and calls yield with a chunk of lines at a time. Reading goes on while yield works.
func (k *Kind[R]) lines(ctx context.Context, s *source, pass Pass[R], after int, yield func(lines []*Line[R]) error) error {
	group, ctx := errgroup.WithContext(ctx)
	chunks := make(chan []*Line[R], 2)
	group.Go(func() error {
		defer close(chunks)
		lines := make([]*Line[R], 0, chunkRows)
		send := func() error {
			select {
			case chunks <- lines:
				lines = make([]*Line[R], 0, chunkRows)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for row, err := range s.Rows() {
			if err != nil {
				return err
			}
			if row.Number <= after {
				continue
			}
			line := &Line[R]{Row: row.Number, columns: k.Columns}
			pass.Read(line, Cells{s.header, row})
			if lines = append(lines, line); len(lines) == chunkRows {
				if err := send(); err != nil {
					return err
				}
			}
		}
		if len(lines) > 0 {
			return send()
		}
		return nil
	})
	group.Go(func() error {
		for lines := range chunks {
			if err := yield(lines); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// check is the dry run. It begins anew whenever it is called.
func (k *Kind[R]) check(ctx context.Context, run *Run, report Progress) error {
	if err := k.db.Tx(ctx, func(ctx context.Context) error {
		for _, table := range []string{"importer_row", "importer_progress"} {
			if _, err := k.db.Conn(ctx).NewRaw("DELETE FROM ? WHERE run_id = ?", bun.Ident(table), run.ID).Exec(ctx); err != nil {
				return err
			}
		}
		return k.stage(ctx, run)
	}); err != nil {
		return err
	}
	result := checkResult{Unknown: []string{}}
	err := k.checkFile(ctx, run, &result, report)
	var unreadable *tabular.Error
	var headless *tabular.HeaderError
	switch {
	case errors.As(err, &unreadable), errors.As(err, &headless):
		result.Message = err.Error()
		return k.end(ctx, run, func(ctx context.Context, run *Run) error {
			return flow.Apply(ctx, k.machine, k.steps.refuse, run, result)
		})
	case err != nil:
		return err
	}
	return k.end(ctx, run, func(ctx context.Context, run *Run) error {
		return flow.Apply(ctx, k.machine, k.steps.checked, run, result)
	})
}

func (k *Kind[R]) checkFile(ctx context.Context, run *Run, result *checkResult, report Progress) error {
	src, err := k.open(ctx, run)
	if err != nil {
		return err
	}
	defer src.Close()
	result.Unknown = filled(src.header.Unknown)
	pass, err := k.Begin(ctx, run.ID)
	if err != nil {
		return err
	}
	first := newSeen()
	last := 0
	return k.lines(ctx, src, pass, 0, func(lines []*Line[R]) error {
		for _, l := range lines {
			if row := first.row(l.Key, l.Row); row != l.Row {
				l.Problem("", "与第 %d 行重复，请只保留一行", row)
			}
		}
		if err := k.judge(ctx, pass, lines); err != nil {
			return err
		}
		for _, l := range lines { // rows that say different things may yet mean one record
			if l.Action == Update || l.Action == Same {
				if row := first.row("record "+l.RecordID, l.Row); row != l.Row {
					l.Problem("", "与第 %d 行对应同一条已登记的记录，请只保留一行", row)
					l.Action = Wrong
				}
			}
		}
		var found []entry
		for _, l := range lines {
			result.Counts.add(l.Action)
			if l.Action == Wrong || l.Action == Update {
				found = append(found, k.entry(run, l))
			}
		}
		at := progress{Row: lines[len(lines)-1].Row, Done: result.Counts.Rows}
		if p := src.Progress(); p.Total > 0 {
			at.Percent = int(min(99, p.Bytes*100/p.Total))
		}
		report(at.Done, 0)
		err := k.db.Tx(ctx, func(ctx context.Context) error {
			if err := k.advance(ctx, run, last, at); err != nil || len(found) == 0 {
				return err
			}
			return k.note(ctx, found)
		})
		last = at.Row
		return err
	})
}

// judge compares the good ones among lines with the register. Afterwards every line has its action.
func (k *Kind[R]) judge(ctx context.Context, pass Pass[R], lines []*Line[R]) error {
	good := make([]*Line[R], 0, len(lines))
	for _, l := range lines {
		if l.OK() {
			good = append(good, l)
		}
	}
	if len(good) > 0 {
		if err := pass.Judge(ctx, good); err != nil {
			return err
		}
	}
	for _, l := range lines {
		if !l.OK() {
			l.Action = Wrong
		}
	}
	return nil
}

func (k *Kind[R]) entry(run *Run, l *Line[R]) entry {
	return entry{RunID: run.ID, Row: l.Row, Action: l.Action, Name: l.Name, RecordID: l.RecordID, Version: l.Version, Detail: detail{l.Problems, l.Changes}}
}

func (k *Kind[R]) note(ctx context.Context, found []entry) error {
	_, err := k.db.Conn(ctx).NewInsert().Model(&found).Returning("NULL").
		On("CONFLICT (run_id, row_no) DO UPDATE").Set("action = EXCLUDED.action").Set("detail = EXCLUDED.detail").Exec(ctx)
	return err
}

// stage makes the place where the progress of the run's stage is kept, if there is none.
func (k *Kind[R]) stage(ctx context.Context, run *Run) error {
	_, err := k.db.Conn(ctx).NewRaw(`INSERT INTO importer_progress (run_id, stage, row_no, done, percent, counts) VALUES (?, ?, 0, 0, 0, '{}') ON CONFLICT DO NOTHING`, run.ID, run.State).Exec(ctx)
	return err
}

// advance moves the progress on, from the row where this worker believes it to be. When it is elsewhere, another worker has taken over, or the run was cancelled.
func (k *Kind[R]) advance(ctx context.Context, run *Run, from int, to progress) error {
	res, err := k.db.Conn(ctx).NewRaw("UPDATE importer_progress SET row_no = ?, done = ?, percent = ?, counts = ? WHERE run_id = ? AND stage = ? AND row_no = ?",
		to.Row, to.Done, to.Percent, to.Counts, run.ID, run.State, from).Exec(ctx)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, errElsewhere)
	}
	return nil
}

// end takes the last step of a stage, unless somebody else has.
func (k *Kind[R]) end(ctx context.Context, run *Run, step func(ctx context.Context, run *Run) error) error {
	return k.db.Tx(ctx, func(ctx context.Context) error {
		fresh, err := k.runs.Load(ctx, all, run.ID)
		if err != nil {
			return err
		}
		if fresh.State != run.State {
			return errElsewhere
		}
		return step(ctx, fresh)
	})
}

// apply writes the rows. It goes on after the last chunk that was written.
func (k *Kind[R]) apply(ctx context.Context, run *Run, report Progress) error {
	at, counts, err := k.resume(ctx, run)
	if err != nil {
		return err
	}
	src, err := k.open(ctx, run)
	if err != nil {
		return err
	}
	defer src.Close()
	pass, err := k.Begin(ctx, run.ID)
	if err != nil {
		return err
	}
	w := &writing[R]{Kind: k, run: run, pass: pass, at: at, counts: counts}
	err = errors.Join(k.lines(ctx, src, pass, at.Row, func(lines []*Line[R]) error {
		report(w.at.Done, run.Checked.Rows)
		return w.chunk(ctx, lines)
	}), w.finish(ctx))
	if err != nil {
		return err
	}
	return k.end(ctx, run, func(ctx context.Context, run *Run) error {
		return flow.Apply(ctx, k.machine, k.steps.applied, run, applyResult{Counts: w.counts})
	})
}

// resume is where the stage has come to.
func (k *Kind[R]) resume(ctx context.Context, run *Run) (at progress, counts Counts, err error) {
	if err = k.db.Tx(ctx, func(ctx context.Context) error { return k.stage(ctx, run) }); err != nil {
		return at, counts, err
	}
	if at, err = k.progress(ctx, run.ID, run.State); err != nil {
		return at, counts, err
	}
	return at, counts, json.Unmarshal([]byte(at.Counts), &counts)
}

// writing writes one chunk while the next one is read, judged and prepared.
type writing[R any] struct {
	*Kind[R]
	run     *Run
	pass    Pass[R]
	at      progress // of what is written
	counts  Counts
	lines   []*Line[R] // being written
	pending chan error // nil when nothing is
}

// chunk judges and prepares lines, waits for the chunk before, and begins to write this one.
func (w *writing[R]) chunk(ctx context.Context, lines []*Line[R]) error {
	write, err := w.prepare(ctx, lines)
	if err != nil {
		return err
	}
	if err := w.finish(ctx); err != nil {
		return err
	}
	w.lines, w.pending = lines, make(chan error, 1)
	go func(done chan<- error) { done <- w.write(ctx, lines, write) }(w.pending)
	return nil
}

// finish waits for the chunk that is being written. When somebody else has changed one of its records meanwhile, it is judged anew.
func (w *writing[R]) finish(ctx context.Context) error {
	if w.pending == nil {
		return nil
	}
	err := <-w.pending
	w.pending = nil
	for try := 1; conflict(err) && try < maxTries; try++ {
		var write func(ctx context.Context) error
		if write, err = w.prepare(ctx, w.lines); err != nil {
			return err
		}
		err = w.write(ctx, w.lines, write)
	}
	if err != nil {
		return err
	}
	for _, l := range w.lines {
		w.counts.add(l.Action)
	}
	w.at = w.after(w.lines)
	return nil
}

func conflict(err error) bool {
	if err == nil || errors.Is(err, errElsewhere) {
		return false
	}
	if _, taken := db.UniqueViolation(err); taken {
		return true
	}
	return errs.KindOf(err) == errs.KindConflict
}

// prepare judges lines and prepares those that are to be written as the dry run announced.
func (w *writing[R]) prepare(ctx context.Context, lines []*Line[R]) (func(ctx context.Context) error, error) {
	var announced []entry
	if err := w.db.Conn(ctx).NewSelect().Model(&announced).Column("row_no", "action", "record_id", "version", "detail").
		Where("x.run_id = ? AND x.row_no BETWEEN ? AND ?", w.run.ID, lines[0].Row, lines[len(lines)-1].Row).Scan(ctx); err != nil {
		return nil, err
	}
	was := make(map[int]entry, len(announced))
	for _, e := range announced {
		was[e.Row] = e
	}
	good := make([]*Line[R], 0, len(lines))
	for _, l := range lines {
		e := was[l.Row]
		l.Action, l.RecordID, l.Version, l.announced = "", "", 0, e.Action
		if e.Action == Wrong {
			l.Problems = e.Detail.Problems
		}
		if l.OK() {
			good = append(good, l)
		} else {
			l.Action = Wrong
		}
	}
	if err := w.judge(ctx, w.pass, good); err != nil {
		return nil, err
	}
	ready := good[:0]
	for _, l := range good {
		e := was[l.Row]
		switch {
		case l.Action == Wrong, l.Action == Same:
		case l.Action == Create && l.announced == "", l.Action == Update && l.announced == Update && e.RecordID == l.RecordID && e.Version == l.Version:
			ready = append(ready, l)
		default:
			l.Problem("", "预检之后登记信息有变化，未导入；请重新上传核对")
			l.Action = Wrong
		}
	}
	if len(ready) == 0 {
		return func(context.Context) error { return nil }, nil
	}
	return w.pass.Prepare(ctx, ready)
}

func (w *writing[R]) write(ctx context.Context, lines []*Line[R], write func(ctx context.Context) error) error {
	counts := w.counts
	var notes []entry
	for _, l := range lines {
		counts.add(l.Action)
		// What became of an announced update otherwise is noted too: undoing goes by these notes.
		if l.Action == Create || l.announced == Update && l.Action != Update || l.announced == "" && l.Action == Wrong {
			notes = append(notes, w.entry(w.run, l))
		}
	}
	to := w.after(lines)
	b, err := json.Marshal(counts)
	if err != nil {
		return err
	}
	to.Counts = string(b)
	return w.db.Tx(ctx, func(ctx context.Context) error {
		if err := w.advance(ctx, w.run, w.at.Row, to); err != nil {
			return err
		}
		if err := write(ctx); err != nil {
			return err
		}
		if len(notes) == 0 {
			return nil
		}
		return w.note(ctx, notes)
	})
}

// after is the progress once lines are written.
func (w *writing[R]) after(lines []*Line[R]) progress {
	done := w.at.Done + len(lines)
	return progress{Row: lines[len(lines)-1].Row, Done: done, Percent: min(99, done*100/max(1, w.run.Checked.Rows))}
}

// takeBack undoes an import. It goes on after the last chunk that was undone.
func (k *Kind[R]) takeBack(ctx context.Context, run *Run, report Progress) error {
	at, _, err := k.resume(ctx, run)
	if err != nil {
		return err
	}
	var result Undone
	if err := json.Unmarshal([]byte(at.Counts), &result); err != nil {
		return err
	}
	pass, err := k.Begin(ctx, run.ID)
	if err != nil {
		return err
	}
	total := run.Applied.Create + run.Applied.Update
	for {
		touched, err := k.touched(ctx, run, at.Row)
		if err != nil {
			return err
		}
		if len(touched) == 0 {
			break
		}
		var next progress
		for try := 1; ; try++ {
			next, err = k.takeBackChunk(ctx, run, pass, touched, at, &result)
			if !conflict(err) || try == maxTries {
				break
			}
		}
		if err != nil {
			return err
		}
		at = next
		report(at.Done, total)
	}
	return k.end(ctx, run, func(ctx context.Context, run *Run) error {
		return flow.Apply(ctx, k.machine, k.steps.undone, run, undoResult{Undone: result})
	})
}

// touched are the next records that the import wrote.
func (k *Kind[R]) touched(ctx context.Context, run *Run, after int) ([]Touched, error) {
	var rows []entry
	err := k.db.Conn(ctx).NewSelect().Model(&rows).Column("row_no", "action", "record_id", "version").
		Where("x.run_id = ? AND x.row_no > ? AND x.action <> ? AND x.action <> ?", run.ID, after, Wrong, Same).Order("x.row_no").Limit(chunkRows).Scan(ctx)
	out := make([]Touched, len(rows))
	for i, r := range rows {
		out[i] = Touched{r.Row, r.Action, r.RecordID, r.Version + 1}
	}
	return out, err
}

func (k *Kind[R]) takeBackChunk(ctx context.Context, run *Run, pass Pass[R], touched []Touched, at progress, result *Undone) (progress, error) {
	write, kept, err := pass.Undo(ctx, touched)
	if err != nil {
		return at, err
	}
	then := Undone{Rows: result.Rows + len(touched) - len(kept), Kept: result.Kept + len(kept)}
	b, err := json.Marshal(then)
	if err != nil {
		return at, err
	}
	done := at.Done + len(touched)
	to := progress{Row: touched[len(touched)-1].Row, Done: done, Percent: min(99, done*100/max(1, run.Applied.Create+run.Applied.Update)), Counts: string(b)}
	err = k.db.Tx(ctx, func(ctx context.Context) error {
		if err := k.advance(ctx, run, at.Row, to); err != nil {
			return err
		}
		if err := write(ctx); err != nil {
			return err
		}
		for row, reason := range kept {
			if _, err := k.db.Conn(ctx).NewRaw("UPDATE importer_row SET kept = ? WHERE run_id = ? AND row_no = ?", reason, run.ID, row).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return at, err
	}
	*result = then
	return to, nil
}
