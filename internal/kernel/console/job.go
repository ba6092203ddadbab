package console

import (
	"context"
	"encoding/json"
	"time"

	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/job"
	"anwang/internal/kernel/module"
)

const tagJob = "后台任务"

// JobView is a job with its result as JSON.
type JobView struct {
	ID         string          `json:"id"`
	Kind       string          `json:"kind"`
	Title      string          `json:"title"`
	State      job.State       `json:"state" enum:"queued,running,done,failed,cancelled"`
	Progress   int64           `json:"progress"`
	Total      int64           `json:"total" doc:"0 表示未知"`
	Message    string          `json:"message" doc:"当前进展"`
	Result     json.RawMessage `json:"result,omitempty" doc:"结果，只给发起人"`
	Error      string          `json:"error" doc:"失败原因"`
	Attempts   int             `json:"attempts"`
	RunAt      time.Time       `json:"runAt"`
	CreatedBy  string          `json:"createdBy"`
	CreatedAt  time.Time       `json:"createdAt"`
	StartedAt  time.Time       `json:"startedAt,omitzero"`
	FinishedAt time.Time       `json:"finishedAt,omitzero"`
}

func viewJob(j *job.Job, err error) (*JobView, error) {
	if err != nil {
		return nil, err
	}
	return &JobView{ID: j.ID, Kind: j.Kind, Title: j.Title, State: j.State, Progress: j.Progress, Total: j.Total, Message: j.Message, Result: json.RawMessage(j.Result), Error: j.Error,
		Attempts: j.Attempts, RunAt: j.RunAt, CreatedBy: j.CreatedBy, CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, FinishedAt: j.FinishedAt}, nil
}

// JobQuery says how many jobs to list.
type JobQuery struct {
	Limit int `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"最新的几条"`
}

func jobs(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "list-jobs", Path: "/jobs", Title: "后台任务", Tag: tagJob, Doc: "本人发起的；系统管理员见全部，但不见结果。"},
		func(ctx context.Context, in *JobQuery) (Listed[*JobView], error) {
			list, err := k.Jobs.List(ctx, in.Limit)
			views := make([]*JobView, len(list))
			for i, j := range list {
				views[i], _ = viewJob(j, nil)
			}
			return listed(views, err)
		})
	get(api, httpx.Op{ID: "show-job", Path: "/jobs/{id}", Title: "任务进展和结果", Tag: tagJob},
		func(ctx context.Context, in *httpx.ByID) (*JobView, error) { return viewJob(k.Jobs.Get(ctx, in.ID)) })
	post(api, httpx.Op{ID: "cancel-job", Path: "/jobs/{id}/cancel", Title: "取消任务", Tag: tagJob},
		func(ctx context.Context, in *httpx.ByID) (*JobView, error) { return viewJob(k.Jobs.Cancel(ctx, in.ID)) })
}
