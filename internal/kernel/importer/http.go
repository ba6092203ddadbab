package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/ledger"
	"anwang/internal/lib/tabular"
)

// Row is one run in the list of imports.
type Row struct {
	ID        string     `bun:"id" json:"id"`
	State     flow.State `bun:"state" json:"state"`
	FileName  string     `bun:"file_name" json:"fileName"`
	Uploader  string     `bun:"uploader" json:"uploader"`
	Checked   Counts     `bun:"checked,type:text" json:"checked"`
	Applied   Counts     `bun:"applied,type:text" json:"applied"`
	Undone    Undone     `bun:"undone,type:text" json:"undone"`
	CreatedAt time.Time  `bun:"created_at" json:"createdAt"`
}

// name is the list's name, and the beginning of all paths.
func (k *Kind[R]) name() string { return "imports/" + k.Kind }

func (k *Kind[R]) listSpec() ledger.Spec[Row] {
	states := []string{}
	for _, s := range []flow.State{checking, checked, refused, cancelled, applying, applied, undoing, undone} {
		states = append(states, string(s))
	}
	return ledger.Spec[Row]{
		Name: k.name(), Title: k.Title + "导入批次", Tag: "导入", Need: k.Need, From: "importer_run AS r", Alias: "r",
		Where: func(_ context.Context, q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.kind = ?", k.Kind) },
		Columns: []ledger.Column{
			{Key: "id", Title: "标识", SQL: "r.id"},
			{Key: "createdAt", Title: "上传时间", SQL: "r.created_at", Kind: ledger.Time, Filter: ledger.Between, Sort: true},
			{Key: "fileName", Title: "文件", SQL: "r.file_name", Search: true},
			{Key: "uploader", Title: "上传人", SQL: "r.uploader", Search: true},
			{Key: "state", Title: "状态", SQL: "r.state", Filter: ledger.In, Values: states},
			{Key: "checked", Title: "预检", SQL: "r.checked"},
			{Key: "applied", Title: "导入", SQL: "r.applied"},
			{Key: "undone", Title: "撤销", SQL: "r.undone"},
		},
		Order: "-createdAt",
	}
}

type findingsInput struct {
	httpx.ByID
	Action string `query:"action" enum:"create,update,error" doc:"只看新增、更新或有误的行"`
	Kept   bool   `query:"kept" doc:"只看撤销时保留的"`
	After  int    `query:"after" minimum:"0" doc:"从此行之后开始"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type findingsReply struct {
	Items []Finding `json:"items" nullable:"false"`
	Next  int       `json:"next" doc:"下一页的 after；0 表示没有"`
}

// Serve adds the operations of the kind below /imports/{kind}.
func (k *Kind[R]) Serve(api *httpx.API, lists ledger.Service) {
	path, tag := "/"+k.name(), "导入"
	ledger.Serve(lists, k.list)
	op := func(id, method, rest, title string) httpx.Op {
		o := httpx.Op{ID: id + "-" + k.Kind + "-import", Method: method, Path: path + rest, Title: title, Tag: tag, Need: k.Need}
		if strings.Contains(rest, "{id}") {
			o.Record = RecordType
		}
		return o
	}
	start := op("start", "POST", "", "导入"+k.Title+"：上传并预检")
	start.Status = 201
	httpx.Register(api, start, func(ctx context.Context, in *httpx.Body[StartInput]) (*httpx.Body[*View], error) {
		return reply(k.Start(ctx, in.Body))
	})
	httpx.Register(api, op("read", "GET", "/{id}", k.Title+"导入批次"), func(ctx context.Context, in *httpx.ByID) (*httpx.Body[*View], error) {
		return reply(k.Read(ctx, in.ID))
	})
	httpx.Register(api, op("list-rows-of", "GET", "/{id}/rows", k.Title+"导入的逐行结果"), func(ctx context.Context, in *findingsInput) (*httpx.Body[findingsReply], error) {
		items, err := k.Findings(ctx, in.ID, FindingsQuery{Action(in.Action), in.Kept, in.After, in.Limit})
		out := findingsReply{Items: items}
		if len(items) == in.Limit {
			out.Next = items[len(items)-1].Row
		}
		return reply(out, err)
	})
	flow.Serve(api, path, tag, RecordType, k.steps.confirm, k.Confirm)
	flow.Serve(api, path, tag, RecordType, k.steps.cancel, k.Cancel)
	flow.Serve(api, path, tag, RecordType, k.steps.undo, k.Undo)
	flow.Serve(api, path, tag, RecordType, k.steps.retry, k.Retry)
	api.Handle(op("download-errors-of", "GET", "/{id}/errors.xlsx", k.Title+"导入的错误清单"), nil, nil, func(w http.ResponseWriter, r *http.Request) error {
		return k.serveFile(w, r, k.Title+"导入错误清单.xlsx", func(w io.Writer) error { return k.ErrorFile(r.Context(), r.PathValue("id"), w) })
	})
	api.Handle(op("download-template-of", "GET", "/template.xlsx", k.Title+"导入模板"), nil, nil, func(w http.ResponseWriter, r *http.Request) error {
		return k.serveFile(w, r, k.Title+"导入模板.xlsx", k.Template)
	})
}

func reply[T any](v T, err error) (*httpx.Body[T], error) {
	if err != nil {
		return nil, err
	}
	return httpx.Reply(v), nil
}

// serveFile streams a file. What goes wrong before the first byte becomes a proper refusal; afterwards the connection breaks, so that nobody takes half a file for a whole one.
func (k *Kind[R]) serveFile(w http.ResponseWriter, _ *http.Request, name string, write func(w io.Writer) error) error {
	late := &lateHeader{w: w, name: name}
	err := write(late)
	if err != nil && late.begun {
		panic(http.ErrAbortHandler)
	}
	return err
}

type lateHeader struct {
	w     http.ResponseWriter
	name  string
	begun bool
}

func (l *lateHeader) Write(b []byte) (int, error) {
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
		l.w.Header().Set("Content-Disposition", file.Disposition("attachment", l.name))
	}
	return l.w.Write(b)
}

// Template writes an empty file with the titles of all columns; those that must be there have an asterisk.
func (k *Kind[R]) Template(w io.Writer) error {
	columns := make([]tabular.Column, len(k.Columns))
	for i, c := range k.Columns {
		columns[i] = tabular.Column{Title: c.Title}
		if c.Required {
			columns[i].Title += "*"
		}
	}
	x, err := tabular.NewXLSXWriter(w, k.Title, columns)
	if err != nil {
		return err
	}
	defer x.Discard()
	return x.Close()
}

const explanation = "错误说明"

// ErrorFile writes the rows that are wrong, as they stand in the file, with a further column that says what is wrong: to be corrected and uploaded again.
func (k *Kind[R]) ErrorFile(ctx context.Context, id string, w io.Writer) error {
	run, err := k.load(ctx, id)
	if err != nil {
		return err
	}
	src, err := k.open(ctx, run)
	if err != nil {
		return unreadable(err)
	}
	defer src.Close()
	columns := []tabular.Column{}
	for _, c := range k.Columns {
		if src.header.Has(c.Key) {
			columns = append(columns, tabular.Column{Title: c.Title})
		}
	}
	x, err := tabular.NewXLSXWriter(w, k.Title, append(columns, tabular.Column{Title: explanation, Width: 60}))
	if err != nil {
		return err
	}
	defer x.Discard()
	var page []Finding
	after := 0
	for row, err := range src.Rows() {
		if err != nil {
			return unreadable(err)
		}
		if len(page) == 0 && after >= 0 {
			if page, err = k.findings(ctx, run.ID, FindingsQuery{Action: Wrong, After: after, Limit: chunkRows}); err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].Row
		}
		if row.Number != page[0].Row {
			continue
		}
		cells := []any{}
		for _, c := range k.Columns {
			if src.header.Has(c.Key) {
				cells = append(cells, src.header.Value(row, c.Key))
			}
		}
		var texts []string
		for _, p := range page[0].Problems {
			if p.Title != "" {
				p.Message = p.Title + "：" + p.Message
			}
			texts = append(texts, p.Message)
		}
		if err := x.Write(append(cells, strings.Join(texts, "；"))...); err != nil {
			return err
		}
		page = page[1:]
	}
	return x.Close()
}

func unreadable(err error) error {
	var bad *tabular.Error
	if errors.As(err, &bad) || errors.Is(err, tabular.ErrUnsupported) {
		return errs.Conflict("importer.unreadable", fmt.Sprintf("原文件读不出来：%v。", err))
	}
	return err
}
