package enterprise

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
	"anwang/internal/module/enterprise/enterpriseapi"
)

// standing are the files that still count. coded is, word for word, the condition of the unique index on the code: SQLite uses the index for queries that repeat it.
const (
	standing = "r.state NOT IN ('merged', 'withdrawn')"
	coded    = "r.uscc <> '' AND " + standing
)

// holder is the file that has a credit code, one of this node before a copy of another's; nil when there is none. Scope is the caller's business.
func (s *Service) holder(ctx context.Context, uscc string) (*Enterprise, error) {
	if uscc == "" {
		return nil, nil
	}
	return s.store.First(ctx, scope.All("whether a code is taken does not depend on who asks; what is told about its holder does"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.uscc = ? AND "+coded, uscc).OrderExpr("CASE WHEN r.origin = ? THEN 0 ELSE 1 END", s.db.Node)
	})
}

// byID returns those of the ids that the filter reaches. The filter is applied in memory: beside a long list of ids, SQLite would rather go through the whole county.
func (s *Service) byID(ctx context.Context, f scope.Filter, ids []string) (map[string]*Enterprise, error) {
	rows, err := s.store.Find(ctx, scope.All("the caller's filter is applied below"), func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("r.id IN (?)", bun.List(ids)) })
	if err != nil {
		return nil, err
	}
	out := make(map[string]*Enterprise, len(rows))
	for _, e := range rows {
		if f.Sees(e.Place) {
			out[e.ID] = e
		}
	}
	return out, nil
}

// similar are up to ten working files of the county whose names are much like e's. Candidates share the first two characters of the key.
func (s *Service) similar(ctx context.Context, e *Enterprise) ([]*Enterprise, error) {
	begin := []rune(e.NameKey)
	if len(begin) > 2 {
		begin = begin[:2]
	}
	rows, err := s.store.Find(ctx, scope.All("a duplicate is one whoever may see it; the answer names only what the actor may see"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.county_code = ? AND r.name_key >= ? AND r.name_key < ? AND r.id <> ? AND "+standing, e.CountyCode, string(begin), string(begin)+"\U0010ffff", e.ID).
			Order("r.name_key").Limit(2000)
	})
	if err != nil {
		return nil, err
	}
	var out []*Enterprise
	for _, other := range rows {
		if e.USCC != "" && other.USCC != "" && other.NameKey != e.NameKey {
			continue // two codes and two names: two enterprises
		}
		if alike(other.NameKey, e.NameKey) >= similar && len(out) < 10 {
			out = append(out, other)
		}
	}
	return out, nil
}

// reserveNumbers takes n platform numbers and returns the first.
func (s *Service) reserveNumbers(ctx context.Context, n int) (first int64, err error) {
	var last int64
	err = s.db.Conn(ctx).NewRaw(`INSERT INTO enterprise_number (node, last) VALUES (?, ?)
		ON CONFLICT (node) DO UPDATE SET last = enterprise_number.last + excluded.last RETURNING last`, s.db.Node, n).Scan(ctx, &last)
	return last - int64(n) + 1, err
}

const pageSize = 1000

func (s *Service) page(ctx context.Context, f scope.Filter, sel enterpriseapi.Selection, after string) ([]*Enterprise, error) {
	in := func(q *bun.SelectQuery, column string, values []string) *bun.SelectQuery {
		if len(values) == 0 {
			return q
		}
		return q.Where("? IN (?)", bun.Ident(column), bun.List(values))
	}
	return s.store.Find(ctx, f, func(q *bun.SelectQuery) *bun.SelectQuery {
		q = q.Where("r.id > ?", after).Order("r.id").Limit(pageSize)
		if len(sel.States) == 0 {
			sel.States = []string{enterpriseapi.Active, enterpriseapi.Suspended}
		}
		q = in(q, "r.state", sel.States)
		q = in(q, "r.line", sel.Lines)
		q = in(q, "r.class", sel.Classes)
		q = in(q, "r.grade", sel.Grades)
		q = in(q, "r.scale", sel.Scales)
		if sel.Division != "" {
			d := gbcode.Division(sel.Division)
			q = q.Where("? = ?", bun.Ident("r."+scope.LevelColumn(int(d.Level()))), sel.Division)
		}
		if sel.Industry != "" {
			q = q.Where("r.industry >= ? AND r.industry < ?", sel.Industry, sel.Industry+"\U0010ffff")
		}
		if sel.Hazard != "" {
			b, _ := json.Marshal(sel.Hazard)
			q = q.Where(`r.hazards LIKE ? ESCAPE '\'`, "%"+strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(string(b))+"%")
		}
		if sel.Located {
			q = q.Where("r.lon IS NOT NULL")
		}
		return q
	})
}
