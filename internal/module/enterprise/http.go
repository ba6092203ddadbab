package enterprise

import (
	"context"

	"anwang/internal/kernel/flow"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/ledger"
	"anwang/internal/module/enterprise/enterpriseapi"
)

const (
	path = "/enterprises"
	tag  = "企业档案"
)

type readInput struct {
	httpx.ByID
	CRS string `query:"crs" enum:"wgs84,cgcs2000,gcj02,bd09" doc:"坐标系，默认 wgs84；高德、腾讯地图用 gcj02"`
}

type historyInput struct {
	httpx.ByID
	Limit int `query:"limit" minimum:"1" maximum:"200" default:"100" doc:"最多返回的条数"`
}

type historyReply struct {
	Items []Happening `json:"items" nullable:"false"`
}

type lookupInput struct {
	USCC string `query:"uscc" required:"true" maxLength:"40" doc:"统一社会信用代码"`
}

func (s *Service) routes(api *httpx.API, lists ledger.Service) {
	ledger.Serve(lists, s.list)
	httpx.Register(api, httpx.Op{ID: "lookup-enterprise", Method: "GET", Path: path + "/lookup", Title: "按统一社会信用代码查找", Tag: tag, Need: Edit},
		func(ctx context.Context, in *lookupInput) (*httpx.Body[*Prefill], error) {
			return reply(s.Lookup(ctx, in.USCC))
		})
	httpx.Register(api, httpx.Op{ID: "register-enterprise", Method: "POST", Path: path, Title: "登记企业", Tag: tag, Need: Edit, Status: 201},
		func(ctx context.Context, in *httpx.Body[RegisterInput]) (*httpx.Body[*File], error) {
			return reply(s.Register(ctx, in.Body))
		})
	httpx.Register(api, httpx.Op{ID: "read-enterprise", Method: "GET", Path: path + "/{id}", Title: "企业档案", Tag: tag, Need: View, Record: enterpriseapi.RecordType},
		func(ctx context.Context, in *readInput) (*httpx.Body[*File], error) {
			return reply(s.Read(ctx, in.ID, in.CRS))
		})
	httpx.Register(api, httpx.Op{ID: "read-enterprise-history", Method: "GET", Path: path + "/{id}/history", Title: "企业档案变更历史", Tag: tag, Need: View, Record: enterpriseapi.RecordType},
		func(ctx context.Context, in *historyInput) (*httpx.Body[historyReply], error) {
			items, err := s.History(ctx, in.ID, in.Limit)
			return reply(historyReply{items}, err)
		})
	serve(api, s.steps.change, s.Change)
	serve(api, s.steps.self, s.ChangeOwn)
	serve(api, s.steps.move, s.Move)
	serve(api, s.steps.grade, s.Regrade)
	serve(api, s.steps.assign, s.Assign)
	serve(api, s.steps.suspend, s.Suspend)
	serve(api, s.steps.resume, s.Resume)
	serve(api, s.steps.close, s.Close)
	serve(api, s.steps.reopen, s.Reopen)
	serve(api, s.steps.merge, s.MergeInto)
	if s.imports != nil {
		s.imports.Serve(api, lists)
	}
}

func serve[In flow.Input](api *httpx.API, step flow.Step[Enterprise, In], do func(ctx context.Context, id string, in In) (*File, error)) {
	flow.Serve(api, path, tag, enterpriseapi.RecordType, step, do)
}

func reply[T any](v T, err error) (*httpx.Body[T], error) {
	if err != nil {
		return nil, err
	}
	return httpx.Reply(v), nil
}
