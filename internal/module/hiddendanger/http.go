package hiddendanger

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/translog"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

const tag = "隐患治理"

// routes adds the module's operations, in the order of the loop.
func (s *Service) routes(log *audit.Log) func(api *httpx.API, lists ledger.Service) {
	return func(api *httpx.API, lists ledger.Service) {
		const path = "/hidden-dangers"
		ledger.Serve(lists, ledger.Define(s.db, s.dangers()))
		httpx.Register(api, httpx.Op{ID: "report-hidden-danger", Method: "POST", Path: path, Title: "登记隐患", Tag: tag, Need: PermReport, Status: http.StatusCreated},
			func(ctx context.Context, in *httpx.Body[hiddendangerapi.Finding]) (*httpx.Body[*View], error) {
				d, err := s.Register(ctx, in.Body)
				if err != nil {
					return nil, err
				}
				v, err := s.view(ctx, d)
				return httpx.Reply(v), err
			})
		httpx.Register(api, httpx.Op{ID: "show-hidden-danger", Method: "GET", Path: path + "/{id}", Title: "查看隐患", Tag: tag, Need: PermView, Record: hiddendangerapi.RecordType},
			func(ctx context.Context, in *httpx.ByID) (*httpx.Body[*View], error) {
				v, err := s.Show(ctx, in.ID)
				return httpx.Reply(v), err
			})
		httpx.Register(api, httpx.Op{ID: "hidden-danger-history", Method: "GET", Path: path + "/{id}/history", Title: "办理过程", Tag: tag, Need: PermView, Record: hiddendangerapi.RecordType},
			func(ctx context.Context, in *httpx.ByID) (*httpx.Body[[]Event], error) {
				h, err := s.History(ctx, in.ID)
				return httpx.Reply(h), err
			})
		httpx.Register(api, httpx.Op{ID: "hidden-danger-proof", Method: "GET", Path: path + "/{id}/history/{entry}/proof", Title: "导出存证证明", Tag: tag, Need: PermView, Record: hiddendangerapi.RecordType},
			func(ctx context.Context, in *struct {
				httpx.ByID
				Entry string `path:"entry" maxLength:"64" doc:"日志条目"`
			}) (*httpx.Body[json.RawMessage], error) {
				p, err := s.proof(ctx, log, in.ID, in.Entry)
				if err != nil {
					return nil, err
				}
				text, err := p.Encode()
				return httpx.Reply(json.RawMessage(text)), err
			})
		s.serveSteps(api, path)

		ledger.Serve(lists, ledger.Define(s.db, checkLists()))
		ledger.Serve(lists, ledger.Define(s.db, checkList()))
		ledger.Serve(lists, ledger.Define(s.db, silent()))
		ledger.Serve(lists, ledger.Define(s.db, bulletins()))
		httpx.Register(api, httpx.Op{ID: "draft-check-list", Method: "POST", Path: "/check-lists", Title: "起草清单", Tag: tag, Need: PermListManage, Status: http.StatusCreated},
			func(ctx context.Context, in *httpx.Body[CheckListInput]) (*httpx.Body[*CheckList], error) {
				l, err := s.DraftCheckList(ctx, in.Body)
				return httpx.Reply(l), err
			})
		httpx.Register(api, httpx.Op{ID: "show-check-list", Method: "GET", Path: "/check-lists/{id}", Title: "查看清单", Tag: tag, Need: PermListView},
			func(ctx context.Context, in *httpx.ByID) (*httpx.Body[*CheckList], error) {
				l, err := s.lists.Load(ctx, scope.All("check lists are public guidance"), in.ID)
				return httpx.Reply(l), err
			})
		httpx.Register(api, httpx.Op{ID: "publish-check-list", Method: "POST", Path: "/check-lists/{id}/publish", Title: "发布清单", Tag: tag, Need: PermListManage},
			func(ctx context.Context, in *httpx.ByIDWith[PublishInput]) (*httpx.Body[*CheckList], error) {
				l, err := s.PublishCheckList(ctx, in.ID, in.Body)
				return httpx.Reply(l), err
			})
		httpx.Register(api, httpx.Op{ID: "show-self-check", Method: "GET", Path: "/self-checks/{id}", Title: "查看自查任务", Tag: tag, Need: PermCheckView, Record: CheckType},
			func(ctx context.Context, in *httpx.ByID) (*httpx.Body[*CheckView], error) {
				v, err := s.ShowCheck(ctx, in.ID)
				return httpx.Reply(v), err
			})
		httpx.Register(api, httpx.Op{ID: "submit-self-check", Method: "POST", Path: "/self-checks/{id}/submit", Title: "上报自查结果", Tag: tag, Need: PermCheckRun, Record: CheckType},
			func(ctx context.Context, in *httpx.ByIDWith[CheckSubmitInput]) (*httpx.Body[*CheckView], error) {
				v, err := s.SubmitCheck(ctx, in.ID, in.Body)
				return httpx.Reply(v), err
			})
		httpx.Register(api, httpx.Op{ID: "issue-danger-bulletin", Method: "POST", Path: "/danger-bulletins", Title: "印发通报", Tag: tag, Need: PermList, Status: http.StatusCreated},
			func(ctx context.Context, in *httpx.Body[BulletinInput]) (*httpx.Body[*Bulletin], error) {
				b, err := s.IssueBulletin(ctx, in.Body)
				return httpx.Reply(b), err
			})
		httpx.Register(api, httpx.Op{ID: "show-danger-bulletin", Method: "GET", Path: "/danger-bulletins/{id}", Title: "查看通报", Tag: tag, Need: PermView, Record: BulletinType},
			func(ctx context.Context, in *httpx.ByID) (*httpx.Body[*Bulletin], error) {
				b, err := s.ShowBulletin(ctx, in.ID)
				return httpx.Reply(b), err
			})
	}
}

func (s *Service) serveSteps(api *httpx.API, path string) {
	st := &s.steps
	serve(s, api, path, st.grade)
	serve(s, api, path, st.order)
	serve(s, api, path, st.receive)
	serve(s, api, path, st.fixOnSpot)
	serve(s, api, path, st.dualReport)
	serve(s, api, path, st.submitPlan)
	serve(s, api, path, st.approvePlan)
	serve(s, api, path, st.returnPlan)
	serve(s, api, path, st.submit)
	serve(s, api, path, st.acceptance)
	serve(s, api, path, st.verify)
	serve(s, api, path, st.sendBack)
	serve(s, api, path, st.close)
	serve(s, api, path, st.askExtension)
	serve(s, api, path, st.answerExt)
	serve(s, api, path, st.dispute)
	serve(s, api, path, st.answerDispute)
	serve(s, api, path, st.list)
	serve(s, api, path, st.delist)
	serve(s, api, path, st.assign)
	serve(s, api, path, st.receiveAssign)
	serve(s, api, path, st.designate)
	serve(s, api, path, st.suspend)
	serve(s, api, path, st.askResume)
	serve(s, api, path, st.answerResume)
	serve(s, api, path, st.disclose)
	serve(s, api, path, st.withdraw)
	serve(s, api, path, st.void)
}

func serve[In flow.Input](s *Service, api *httpx.API, path string, step flow.Step[Danger, In]) {
	flow.Serve(api, path, tag, hiddendangerapi.RecordType, step, take(s, step))
}

// Event is one entry of a danger's history.
type Event struct {
	Entry   string          `json:"entry" doc:"日志条目，可据以导出存证证明"`
	At      time.Time       `json:"at"`
	Title   string          `json:"title"`
	By      string          `json:"by"`
	Unit    string          `json:"unit"`
	Version int64           `json:"version"`
	From    string          `json:"from,omitempty"`
	To      string          `json:"to,omitempty"`
	Input   json.RawMessage `json:"input,omitempty" doc:"当时填写的内容"`
}

// History returns what was done to a danger that the caller may see, oldest first.
func (s *Service) History(ctx context.Context, id string) ([]Event, error) {
	d, err := s.items.Load(ctx, scope.For(ctx, PermView), id)
	if err != nil {
		return nil, err
	}
	rows, err := s.items.History(ctx, d)
	if err != nil {
		return nil, err
	}
	out := []Event{}
	for _, r := range rows {
		e := Event{Entry: r.ID, At: r.Time(), Title: r.Title, By: r.ActorName, Unit: r.UnitName, Version: r.Version, Input: r.Data}
		if t, ok := flow.ParseTrace(r.Data); ok {
			e.From, e.To = spec.Titles[t.From], spec.Titles[t.To]
			e.Input, _ = json.Marshal(t.Input) // it was read from JSON
		}
		out = append(out, e)
	}
	return out, nil
}

// proof makes the proof of one entry of a danger that the caller may see, with its content.
func (s *Service) proof(ctx context.Context, log *audit.Log, id, entry string) (*translog.ProofFile, error) {
	d, err := s.items.Load(ctx, scope.For(ctx, PermView), id)
	if err != nil {
		return nil, err
	}
	row, err := log.Entry(ctx, entry)
	if err != nil {
		return nil, err
	}
	if row.RecordType != hiddendangerapi.RecordType || row.RecordID != d.ID {
		return nil, errs.NotFound("audit.notFound", "日志中没有这一条目。")
	}
	return log.Proof(ctx, entry, true)
}
