package grid

import (
	"context"
	"embed"
	"fmt"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
	"anwang/internal/lib/geo"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the module's tables.
var Migrations = db.Migrations{Part: "grid", Files: files}

// All SQL of the module but that of its lists and statistics. What is found here is either in the caller's scope, or goes nowhere but into the program's own decisions.

var own = scope.All("the module's own bookkeeping about a grid that was loaded in scope, or by the program itself")

// nextSerial is the number after the highest serial in a division, 1 for the first grid.
func (s *Service) nextSerial(ctx context.Context, division string) (int, error) {
	var last string
	err := s.db.Conn(ctx).NewRaw("SELECT COALESCE(MAX(code), '') FROM grid_item WHERE code >= ? AND code <= ?", division+"000", division+"999").Scan(ctx, &last)
	if err != nil {
		return 0, fmt.Errorf("next grid serial: %w", err)
	}
	if last == "" {
		return 1, nil
	}
	n, err := strconv.Atoi(last[12:])
	return n + 1, err
}

func (s *Service) gridByCode(ctx context.Context, code string) (*Item, error) {
	return s.grids.First(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.code = ?", code) })
}

func (s *Service) openBoundary(ctx context.Context, gridID string) (*Boundary, error) {
	return s.boundaries.First(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.grid_id = ? AND r.valid_to = ''", gridID)
	})
}

func (s *Service) boundariesOf(ctx context.Context, gridID string) ([]*Boundary, error) {
	return s.boundaries.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.grid_id = ?", gridID).Order("r.id DESC") })
}

// gridAt is the grid whose boundary held p on the day, the smallest of several; nil when there is none. within, unless empty, is the division that the grid must lie in or
// above: an enterprise registered in one village does not fall into the grid of another by a slip of the map.
func (s *Service) gridAt(ctx context.Context, p geo.Point, day, within string) (*Item, error) {
	found, err := s.boundaries.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		q = q.Where("r.min_lon <= ? AND r.max_lon >= ? AND r.min_lat <= ? AND r.max_lat >= ?", p.Lon, p.Lon, p.Lat, p.Lat).
			Where("r.valid_from <= ? AND (r.valid_to = '' OR r.valid_to >= ?)", day, day)
		if within != "" {
			at := scope.At(within, "", "")
			q = q.Where("r.town_code = ? AND r.village_code IN ('', ?)", at.TownCode, at.VillageCode)
		}
		return q.Order("r.area", "r.id")
	})
	if err != nil {
		return nil, err
	}
	for _, b := range found {
		if b.Shape.Contains(p) {
			return s.grids.Load(ctx, own, b.GridID)
		}
	}
	return nil, nil
}

func (s *Service) openDuties(ctx context.Context, gridID string) ([]*Duty, error) {
	return s.duties.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.grid_id = ? AND r.valid_to = ''", gridID).Order("r.kind DESC")
	})
}

func (s *Service) dutiesOf(ctx context.Context, gridID string) ([]*Duty, error) {
	return s.duties.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.grid_id = ?", gridID).Order("r.id DESC") })
}

// dutiesOn lists who is officer or deputy of the grids on a day, officers first.
func (s *Service) dutiesOn(ctx context.Context, gridIDs []string, day string) ([]*Duty, error) {
	if len(gridIDs) == 0 {
		return nil, nil
	}
	return s.duties.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.grid_id IN (?) AND r.valid_from <= ? AND (r.valid_to = '' OR r.valid_to >= ?)", bun.List(gridIDs), day, day).Order("r.kind DESC", "r.id")
	})
}

// gridsOf lists the grids that a person is officer or deputy of on a day.
func (s *Service) gridsOf(ctx context.Context, personID, day string) (ids []string, err error) {
	err = s.db.Conn(ctx).NewRaw("SELECT DISTINCT grid_id FROM grid_duty WHERE person_id = ? AND valid_from <= ? AND (valid_to = '' OR valid_to >= ?) ORDER BY grid_id", personID, day, day).Scan(ctx, &ids)
	return ids, err
}

func (s *Service) absencesOf(ctx context.Context, gridID, day string) ([]*Absence, error) {
	return s.absences.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.person_id IN (SELECT person_id FROM grid_duty WHERE grid_id = ? AND valid_to = '') AND r.to_day >= ?", gridID, day).Order("r.from_day", "r.id")
	})
}

func (s *Service) absentOn(ctx context.Context, persons []string, day string) (map[string]bool, error) {
	var ids []string
	err := s.db.Conn(ctx).NewRaw("SELECT person_id FROM grid_absence WHERE person_id IN (?) AND from_day <= ? AND to_day >= ?", bun.List(persons), day, day).Scan(ctx, &ids)
	if err != nil {
		return nil, fmt.Errorf("absences: %w", err)
	}
	out := map[string]bool{}
	for _, id := range ids {
		out[id] = true
	}
	return out, nil
}

func (s *Service) siteOfEnterprise(ctx context.Context, enterpriseID string) (*Site, error) {
	return s.sites.First(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.enterprise_id = ? AND r.enterprise_id <> ''", enterpriseID)
	})
}

func (s *Service) sitesOf(ctx context.Context, gridID string) ([]*Site, error) {
	return s.sites.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.grid_id = ?", gridID).Order("r.name", "r.id")
	})
}

// looseSites lists up to limit active sites around a grid that are in no grid, or in one by boundary, after an id.
func (s *Service) looseSites(ctx context.Context, f scope.Filter, g *Item, box geo.Bounds, after string, limit int) ([]*Site, error) {
	return s.sites.Find(ctx, f, func(q *bun.SelectQuery) *bun.SelectQuery {
		q = q.Where("r.town_code = ? AND r.state = ? AND r.assigned <> ? AND r.grid_id <> ? AND r.id > ?", g.TownCode, SiteActive, ByHand, g.ID, after).
			Where("r.lon BETWEEN ? AND ? AND r.lat BETWEEN ? AND ?", box.Min.Lon, box.Max.Lon, box.Min.Lat, box.Max.Lat)
		if g.VillageCode != "" {
			q = q.Where("r.village_code IN ('', ?)", g.VillageCode)
		}
		return q.Order("r.id").Limit(int64(limit))
	})
}

// assignedSites lists up to limit active sites that lie in some grid, after an id.
func (s *Service) assignedSites(ctx context.Context, after string, limit int) ([]*Site, error) {
	return s.sites.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.origin = ? AND r.grid_id <> '' AND r.state = ? AND r.id > ?", s.db.Node, SiteActive, after).Order("r.id").Limit(int64(limit))
	})
}

// planned says which of the periods of sites have their task already, as site id + "/" + period.
func (s *Service) planned(ctx context.Context, siteIDs []string, since string) (map[string]bool, error) {
	var rows []struct{ SiteID, Period string }
	err := s.db.Conn(ctx).NewRaw("SELECT site_id, period FROM grid_task WHERE site_id IN (?) AND to_day >= ?", bun.List(siteIDs), since).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("planned tasks: %w", err)
	}
	out := map[string]bool{}
	for _, r := range rows {
		out[r.SiteID+"/"+r.Period] = true
	}
	return out, nil
}

// openTasks lists the open tasks of a site, the earliest end first. They are held until the transaction ends.
func (s *Service) openTasks(ctx context.Context, siteID string) ([]*Task, error) {
	return s.tasks.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return s.hold(ctx, q.Where("r.site_id = ? AND r.state = ?", siteID, TaskOpen).Order("r.due_at", "r.id"))
	})
}

// owedBy reports whether a grid ever owed a site a patrol.
func (s *Service) owedBy(ctx context.Context, gridID, siteID string) (bool, error) {
	n, err := s.tasks.Count(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.site_id = ? AND (r.grid_id = ? OR r.first_grid_id = ?)", siteID, gridID, gridID)
	})
	return n > 0, err
}

// metBy lists the tasks of a site that a visit at a time may end: those that had begun and are open, and those that are held for late although this visit was before
// their end, because a later visit arrived first.
func (s *Service) metBy(ctx context.Context, siteID string, at time.Time) ([]*Task, error) {
	return s.tasks.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return s.hold(ctx, q.Where("r.site_id = ? AND r.from_day <= ?", siteID, clock.Date(at)).
			Where("(r.state = ? OR r.state = ? AND r.due_at >= ?)", TaskOpen, TaskLate, at).Order("r.due_at", "r.id"))
	})
}

// misplaced lists the open tasks of a grid whose end has not passed and that another person than officer answers for.
func (s *Service) misplaced(ctx context.Context, gridID, officer string) ([]*Task, error) {
	return s.tasks.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return s.hold(ctx, q.Where("r.grid_id = ? AND r.state = ? AND r.due_at >= ? AND r.officer_id <> ?", gridID, TaskOpen, s.db.Clock.Now(), officer).Order("r.id"))
	})
}

// busyGrids lists the grids that have open tasks whose end has not passed.
func (s *Service) busyGrids(ctx context.Context) (ids []string, err error) {
	err = s.db.Conn(ctx).NewRaw("SELECT DISTINCT grid_id FROM grid_task WHERE state = ? AND due_at >= ? AND origin = ? ORDER BY grid_id", TaskOpen, s.db.Clock.Now(), s.db.Node).Scan(ctx, &ids)
	return ids, err
}

func (s *Service) patrol(ctx context.Context, id string) (*Patrol, error) {
	return s.patrols.First(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery { return s.hold(ctx, q.Where("r.id = ?", id)) })
}

// forgotten lists patrols that began before a time, as the server saw it, and never ended.
func (s *Service) forgotten(ctx context.Context, before time.Time) ([]*Patrol, error) {
	return s.patrols.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.origin = ? AND r.state = ? AND r.start_received < ?", s.db.Node, Started, before).Order("r.id").Limit(200)
	})
}

func (s *Service) visitsOf(ctx context.Context, patrolID string) ([]*Visit, error) {
	return s.visits.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.patrol_id = ?", patrolID).Order("r.arrived_at", "r.id")
	})
}

func (s *Service) actionsOf(ctx context.Context, patrolID string) ([]*Action, error) {
	return s.acts.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.patrol_id = ?", patrolID).Order("r.at", "r.id")
	})
}

func (s *Service) action(ctx context.Context, id string) (*Action, error) {
	return s.acts.First(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.id = ?", id) })
}

// hold locks the selected rows on PostgreSQL; on SQLite a transaction is alone anyway.
func (s *Service) hold(ctx context.Context, q *bun.SelectQuery) *bun.SelectQuery {
	if s.db.Engine == db.Postgres && s.db.InTx(ctx) {
		return q.For("UPDATE")
	}
	return q
}

func (s *Service) lastVisits(ctx context.Context, siteID string, limit int) ([]*Visit, error) {
	return s.visits.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.site_id = ?", siteID).Order("r.reckoned_at DESC", "r.id").Limit(int64(limit))
	})
}

// dueOf lists the open tasks of a person that end after since and have begun, with what the phone shows.
func (s *Service) dueOf(ctx context.Context, f scope.Filter, personID string, since time.Time) ([]DueTask, error) {
	out := []DueTask{}
	q := s.db.Conn(ctx).NewSelect().TableExpr("grid_task AS r").
		Join("JOIN grid_place AS p ON p.id = r.site_id").Join("JOIN grid_item AS g ON g.id = r.grid_id").
		ColumnExpr("r.id, r.grid_id, g.name AS grid_name, r.site_id, r.site_name, r.site_kind, p.address, p.lon, p.lat, r.from_day, r.to_day, r.due_at, r.clause").
		ColumnExpr("(SELECT MAX(v.reckoned_at) FROM grid_visit v WHERE v.site_id = r.site_id) AS last_visit").
		Where("r.officer_id = ? AND r.state = ? AND r.due_at >= ? AND r.from_day <= ?", personID, TaskOpen, since, s.today()).
		OrderExpr("r.due_at, r.site_name, r.id").Limit(2000)
	if err := f.Apply(q, "r").Scan(ctx, &out); err != nil {
		return nil, fmt.Errorf("due tasks: %w", err)
	}
	return out, nil
}

// maxMap is how many grids one map shows: more than any county has.
const maxMap = 5000

func (s *Service) gridsWithin(ctx context.Context, f scope.Filter, within string) ([]*Item, error) {
	level := 0
	if within != "" {
		code, err := gbcode.ParseDivision(within)
		if err != nil {
			return nil, errs.InvalidField("grid.division", "query/in", err.Error())
		}
		level = int(code.Level())
	}
	return s.grids.Find(ctx, f, func(q *bun.SelectQuery) *bun.SelectQuery {
		if level > 0 {
			q = q.Where("r.? = ?", bun.Ident(scope.LevelColumn(level)), within)
		}
		return q.Where("r.state = ?", active).Order("r.code").Limit(maxMap)
	})
}

func (s *Service) openBoundaries(ctx context.Context, gridIDs []string) (map[string]*Boundary, error) {
	out := map[string]*Boundary{}
	if len(gridIDs) == 0 {
		return out, nil
	}
	found, err := s.boundaries.Find(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.grid_id IN (?) AND r.valid_to = ''", bun.List(gridIDs))
	})
	for _, b := range found {
		out[b.GridID] = b
	}
	return out, err
}

func (s *Service) gridNamed(ctx context.Context, division, name string) (*Item, error) {
	return s.grids.First(ctx, own, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.division = ? AND r.name = ? AND r.state = ?", division, name, active)
	})
}
