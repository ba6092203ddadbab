package console

import (
	"context"
	"encoding/json"
	"time"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/module"
)

const tagLog = "审计"

// EntryRow is a log entry in the list. What it says of the record is not among it: an auditor sees who did what to which record and when, not business data.
type EntryRow struct {
	ID         string `json:"id"`
	Seq        int64  `json:"seq"`
	At         string `json:"at"`
	ActorKind  string `json:"actorKind"`
	ActorID    string `json:"actorId"`
	ActorName  string `json:"actorName"`
	UnitName   string `json:"unitName"`
	Kind       string `json:"kind"`
	Title      string `json:"title"`
	RecordType string `json:"recordType"`
	RecordID   string `json:"recordId"`
	Version    int64  `json:"version"`
	RequestID  string `json:"requestId"`
}

func entries() ledger.Spec[EntryRow] {
	return ledger.Spec[EntryRow]{
		Name: "audit-entries", Title: "日志", Tag: tagLog, Need: "audit.read", From: "audit_entry AS r",
		Unscoped: "the auditor answers for the whole installation's log; entries show no business data",
		Columns: []ledger.Column{
			{Key: "id", Title: "条目", SQL: "r.id", Filter: ledger.Eq},
			{Key: "seq", Title: "序号", SQL: "COALESCE(r.seq, -1)", SortBy: "COALESCE(r.seq, -1)", Kind: ledger.Number, Filter: ledger.Between},
			{Key: "at", Title: "时间", SQL: "r.at", Kind: ledger.Time, Filter: ledger.Between, Sort: true},
			{Key: "actorKind", Title: "操作者类别", SQL: "r.actor_kind", Filter: ledger.In},
			{Key: "actorId", Title: "操作者账号", SQL: "r.actor_id", Filter: ledger.Eq},
			{Key: "actorName", Title: "操作者", SQL: "r.actor_name", Search: true},
			{Key: "unitName", Title: "单位", SQL: "r.unit_name", Search: true},
			{Key: "kind", Title: "事项代码", SQL: "r.kind", Filter: ledger.Prefix},
			{Key: "title", Title: "事项", SQL: "r.title", Search: true},
			{Key: "recordType", Title: "记录类型", SQL: "r.record_type", Filter: ledger.Eq},
			{Key: "recordId", Title: "记录", SQL: "r.record_id", Filter: ledger.Eq},
			{Key: "version", Title: "版本", SQL: "r.version", Kind: ledger.Number},
			{Key: "requestId", Title: "请求", SQL: "r.request_id", Filter: ledger.Eq},
		},
		Order: "-at",
	}
}

// LogStatus is the state of the log.
type LogStatus struct {
	Key         string `json:"key" doc:"日志公钥，用于离线核验"`
	Fingerprint string `json:"fingerprint" doc:"公钥指纹"`
	Checkpoint  string `json:"checkpoint" doc:"最新签名检查点"`
}

func logRoutes(api *httpx.API, lists ledger.Service, k *module.Kernel) {
	ledger.Serve(lists, ledger.Define(k.DB, entries()))
	httpx.Register(api, httpx.Op{ID: "audit-proof", Method: "GET", Path: "/audit/entries/{id}/proof", Title: "出具条目证明", Tag: tagLog, Need: "audit.prove",
		Doc: "证明文件可用 anwang audit check 离线核验。不含业务内容，只含其散列。"},
		func(ctx context.Context, in *httpx.ByID) (*httpx.Body[json.RawMessage], error) {
			p, err := k.Log.Proof(ctx, in.ID, false)
			if err != nil {
				return nil, err
			}
			if err := k.DB.Tx(ctx, func(ctx context.Context) error {
				return k.Log.Append(ctx, audit.Entry{Kind: "audit.proved", Title: "出具日志证明", Data: map[string]string{"entry": in.ID}})
			}); err != nil {
				return nil, err
			}
			text, err := p.Encode()
			return httpx.Reply(json.RawMessage(text)), err
		})
	httpx.Register(api, httpx.Op{ID: "audit-status", Method: "GET", Path: "/audit/status", Title: "日志状态和公钥", Tag: tagLog, Need: "audit.read"},
		func(ctx context.Context, _ *struct{}) (*httpx.Body[LogStatus], error) {
			note, err := k.Log.Checkpoint(ctx)
			key := k.Log.Key()
			return httpx.Reply(LogStatus{Key: key.String(), Fingerprint: key.Fingerprint(), Checkpoint: note}), err
		})
	httpx.Register(api, httpx.Op{ID: "audit-verify", Method: "POST", Path: "/audit/verify", Title: "校验日志", Tag: tagLog, Need: "audit.verify", Detached: true,
		Doc: "重新计算全部散列，并与签名检查点和业务记录核对。"},
		func(ctx context.Context, _ *struct{}) (*httpx.Body[*audit.Report], error) {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
			defer cancel()
			r, err := k.Log.Verify(ctx, k.Records.Tables(), nil)
			if err != nil {
				return nil, err
			}
			if r.Findings == nil {
				r.Findings = []audit.Finding{}
			}
			return httpx.Reply(r), k.DB.Tx(ctx, func(ctx context.Context) error {
				return k.Log.Append(ctx, audit.Entry{Kind: "audit.verified", Title: "校验日志", Data: map[string]any{"leaves": r.Leaves, "records": r.Records, "findings": len(r.Findings)}})
			})
		})
}
