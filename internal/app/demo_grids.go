package app

import (
	"context"
	"fmt"
	"time"

	"anwang/internal/module/grid"
	"anwang/internal/module/grid/gridapi"
)

// gridDays is for how long the county has had grids: long enough for two months' tasks, short enough to be made quickly.
const gridDays = 40

// grids sets up the county's grids one morning: one a village in 仁里, one for each other town, each with the enterprises that lie in it.
func (b *builder) grids(ctx context.Context) error {
	if err := b.delivered(ctx); err != nil { // the grids know the enterprises from events
		return err
	}
	sites := map[string][]string{} // by division
	for cursor := ""; ; {
		var page struct {
			Items []struct {
				ID       string `json:"id"`
				Division string `json:"division"`
			} `json:"items"`
			Next string `json:"next"`
		}
		path := "/grid-places?limit=200"
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		if err := b.call(ctx, "office", "GET", path, nil, &page); err != nil {
			return err
		}
		for _, s := range page.Items {
			sites[s.Division] = append(sites[s.Division], s.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	for _, t := range b.towns {
		if t.grid() == t.station {
			continue
		}
		if t.station != "town" {
			var all []string
			for _, v := range t.villages {
				all = append(all, sites[v]...)
			}
			if err := b.grid(ctx, t, t.code, t.name+"综合网格", t.grid(), all); err != nil {
				return err
			}
			continue
		}
		for _, v := range t.villages {
			officer := "grid.b"
			if v == demoVillage {
				officer = "grid"
			}
			if len(sites[v]) > 0 {
				if err := b.grid(ctx, t, v, b.villageName[v]+"第一网格", officer, sites[v]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *builder) grid(ctx context.Context, t *demoTown, division, name, officer string, sites []string) error {
	station := b.as(ctx, t.station)
	g, err := b.all.grid.Create(station, grid.GridInput{Division: division, Name: name, Reason: "石台县实施意见（十）（演示）"})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := b.all.grid.Appoint(station, g.ID, grid.AppointInput{Kind: gridapi.Officer, PersonID: b.person[officer]}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for len(sites) > 0 {
		n := min(len(sites), 200)
		if _, err := b.all.grid.Assign(station, g.ID, grid.AssignInput{PlaceIDs: sites[:n]}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		sites = sites[n:]
	}
	return nil
}

// walk lets every village inspector go round what is due, on four days of five.
func (b *builder) walk(ctx context.Context) error {
	officers := []string{"grid", "grid.b"}
	for _, t := range b.towns[1:8] {
		officers = append(officers, t.grid())
	}
	for _, officer := range officers {
		if !b.chance(80) {
			continue
		}
		due, err := b.all.grid.Today(b.as(ctx, officer))
		if err != nil {
			return err
		}
		tours := map[string][]grid.DueTask{} // one patrol is in one grid
		var order []string
		for _, d := range due[:min(len(due), 6)] {
			if tours[d.GridID] == nil {
				order = append(order, d.GridID)
			}
			tours[d.GridID] = append(tours[d.GridID], d)
		}
		for i, g := range order {
			b.after(float64(i)*.01, officer, nil, func(ctx context.Context, _ []string) error { return b.patrol(ctx, officer, g, tours[g]) })
		}
	}
	return nil
}

// patrol is a walk that has just ended: past each site, with a track that proves it.
func (b *builder) patrol(ctx context.Context, officer, gridID string, due []grid.DueTask) error {
	end := b.clk.Now()
	at := end.Add(-time.Duration(len(due)*25+10) * time.Minute)
	in := grid.PatrolInput{ID: b.clk.NewID(), GridID: gridID, StartedAt: at, FinishedAt: end, ClientNow: end}
	firms := map[string]*firm{}
	for _, f := range b.firms {
		firms[f.name] = f
	}
	found := map[string]*danger{}
	for _, task := range due {
		if task.Lon == nil {
			continue
		}
		at = at.Add(12 * time.Minute)
		for minute := range 8 {
			in.Track = append(in.Track, grid.TrackPoint{Lon: *task.Lon + (b.rnd.Float64()-.5)*.0003, Lat: *task.Lat + (b.rnd.Float64()-.5)*.0003, At: at.Add(time.Duration(minute) * time.Minute), Accuracy: 8})
		}
		visit := grid.VisitInput{ID: b.clk.NewID(), PlaceID: task.SiteID, ArrivedAt: at, LeftAt: at.Add(7 * time.Minute), Result: grid.Normal}
		f := firms[task.SiteName]
		switch {
		case b.chance(3):
			visit.Result, visit.Note = grid.NotOpen, "未营业，已电话联系负责人。"
		case f != nil && b.chance(9):
			visit.Result = grid.Problem
			d := &danger{ID: b.clk.NewID(), Version: 1, firm: f, town: f.town, t: b.templateFor(f.kind, ""), finder: officer, orderer: f.town.station, rectifier: f.manager, verifier: f.town.deputy()}
			found[d.ID] = d
			in.Actions = append(in.Actions, grid.ActionInput{ID: b.clk.NewID(), Duty: gridapi.Find, PlaceID: task.SiteID, What: d.t.place + d.t.what, At: at.Add(5 * time.Minute),
				Danger: &grid.DangerInput{ID: d.ID, Title: d.t.place + d.t.what, Category: d.t.category, Location: d.t.place, Description: b.pick(observations)}})
		case b.chance(6):
			in.Actions = append(in.Actions, grid.ActionInput{ID: b.clk.NewID(), Duty: gridapi.Dissuade, PlaceID: task.SiteID, What: "劝导清理门前堆放的可燃杂物。", Result: grid.Complied, At: at.Add(5 * time.Minute)})
		case b.chance(5):
			in.Actions = append(in.Actions, grid.ActionInput{ID: b.clk.NewID(), Duty: gridapi.Publicise, PlaceID: task.SiteID, What: "宣传消防和用电用气安全知识。", Audience: 2 + b.rnd.IntN(20), Materials: "安全生产明白纸", At: at.Add(5 * time.Minute)})
		}
		in.Visits = append(in.Visits, visit)
		at = at.Add(9 * time.Minute)
	}
	if len(in.Visits) == 0 {
		return nil
	}
	if _, err := b.all.grid.Submit(b.as(ctx, officer), in); err != nil {
		return fmt.Errorf("patrol of %s: %w", officer, err)
	}
	b.counts.patrols++
	for _, a := range in.Actions {
		if a.Danger == nil {
			continue
		}
		d := found[a.Danger.ID]
		b.counts.dangers++
		d.rest = b.ordered(d, b.rnd.Float64()*2)
		b.plan(d)
	}
	return nil
}
