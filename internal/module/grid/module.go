package grid

import (
	"context"
	"fmt"
	"io"

	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/job"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/module"
	"anwang/internal/kernel/policy"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// Make returns the service and its declaration over a kernel. dangers takes in what officers find, alerts tells the town offices: see [Alarm].
func Make(k *module.Kernel, dangers hiddendangerapi.Reporter, alerts Alerts) (*Service, module.Module) {
	dir := directory{k.Org, k.Access, k.Clock}
	s := New(Deps{DB: k.DB, Log: k.Log, Records: k.Records, Policies: k.Policies, Deadlines: k.Deadlines, Codes: k.Dict, Divisions: dir, People: dir, Files: attachments{k.Files},
		Alerts: alerts, Dangers: dangers})
	return s, s.Module()
}

// Module declares the module.
func (s *Service) Module() module.Module {
	return module.Module{
		Name: "grid", Title: tag,
		Migrations: Migrations, Permissions: Permissions(), Dicts: []dict.Kind{{Key: PlaceKind, Title: "巡查场所种类", Seed: placeKinds}}, Rules: Rules(),
		Subscriptions: []event.Subscription{event.On("grid/enterprises", enterpriseEvents, func(ctx context.Context, _ event.Meta, e told) error { return s.Learn(ctx, e.learn()) })},
		Menu: []module.MenuItem{
			{Group: tag, Title: "今日应巡", Path: "/patrol-today", Need: Walk, Order: 10},
			{Group: tag, Title: "网格", Path: "/grids", Need: View, Order: 20},
			{Group: tag, Title: "巡查对象", Path: "/grid-places", Need: View, Order: 30},
			{Group: tag, Title: "巡查任务", Path: "/patrol-tasks", Need: View, Order: 40},
			{Group: tag, Title: "巡查记录", Path: "/patrols", Need: View, Order: 50},
			{Group: tag, Title: "履职记录", Path: "/grid-actions", Need: View, Order: 60},
			{Group: tag, Title: "巡查统计", Path: "/grid-statistics", Need: View, Order: 70},
		},
		Templates: Templates(), Policies: []policy.Any{s.policy},
		Schedules: []job.Every{{Name: "grid.daily", DailyAt: "00:10", Run: s.Daily}},
		Guards:    s.guards(),
		Routes:    func(api *httpx.API, lists ledger.Service) { s.Serve(api, lists) },
		Importers: map[string]module.Importer{"grids": {Title: "网格", Run: func(ctx context.Context, file io.ReaderAt, size int64, _ string, apply bool, progress func(done, total int)) (module.ImportReport, error) {
			return s.importFile(ctx, file, size, apply, progress)
		}}},
	}
}

func (s *Service) importFile(ctx context.Context, file io.ReaderAt, size int64, apply bool, progress func(done, total int)) (module.ImportReport, error) {
	const most = 50 << 20
	if size > most {
		return module.ImportReport{}, fmt.Errorf("文件有 %d MB，超过 %d MB 的上限", size>>20, most>>20)
	}
	all, err := io.ReadAll(io.NewSectionReader(file, 0, size))
	if err != nil {
		return module.ImportReport{}, err
	}
	r, err := s.Import(ctx, all, ImportOptions{DryRun: !apply, Progress: progress})
	if err != nil {
		return module.ImportReport{}, err
	}
	out := module.ImportReport{Rows: r.Rows, Created: r.Created, Updated: r.Updated, Same: r.Same}
	for _, e := range r.Errors {
		out.Errors = append(out.Errors, module.RowError(e))
	}
	return out, nil
}

// Diagrams draws the states of grids, patrols and acts, for docs/modules/grid.md.
func (s *Service) Diagrams() []string {
	return []string{s.flows.grid.Mermaid(), s.flows.patrol.Mermaid(), s.flows.action.Mermaid()}
}
