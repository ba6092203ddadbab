package hiddendanger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/scope"
	"anwang/internal/lib/gbcode"
	"anwang/internal/module/hiddendanger/hiddendangerapi"
)

// number gives the danger its number: town, year and a count within both, such as YH341722100-2026-00012. A number that a refused registration took is
// not given again, so numbers may have gaps; legal documents, which must not, are numbered elsewhere.
func (s *Service) number(ctx context.Context, d *Danger) error {
	place := d.TownCode
	if place == "" {
		place = d.Division
	}
	year := d.FoundAt.In(clock.Zone).Year()
	var n int
	err := s.db.Conn(ctx).NewRaw(`INSERT INTO hiddendanger_number (place, year, last) VALUES (?, ?, 1)
		ON CONFLICT (place, year) DO UPDATE SET last = hiddendanger_number.last + 1 RETURNING last`, place, year).Scan(ctx, &n)
	if err != nil {
		return fmt.Errorf("number: %w", err)
	}
	d.No = fmt.Sprintf("YH%s-%d-%05d", place[:9], year, n)
	return nil
}

// repeated looks for earlier dangers at the same place and of the same kind within the policy's window.
func (s *Service) repeated(ctx context.Context, d *Danger, p Policy) error {
	if d.Category == "" || p.RepeatDays == 0 {
		return nil
	}
	var earlier struct {
		ID    string
		Count int
	}
	// Everybody's dangers count, whoever asks: a repetition is a repetition.
	q := s.db.Conn(ctx).NewSelect().TableExpr("hiddendanger_item AS r").ColumnExpr("max(r.id) AS id, count(*) AS count").
		Where("r.category = ? AND r.state <> ? AND r.found_at >= ?", d.Category, Void, d.FoundAt.AddDate(0, 0, -p.RepeatDays))
	if d.EnterpriseID != "" {
		q = q.Where("r.enterprise_id = ? AND r.location = ?", d.EnterpriseID, d.Location)
	} else {
		q = q.Where("r.enterprise_id = '' AND r.division = ? AND r.location = ?", d.Division, d.Location)
	}
	var id *string
	if err := q.Scan(ctx, &id, &earlier.Count); err != nil && !errors.Is(err, db.ErrNoRows) {
		return fmt.Errorf("look for repetitions: %w", err)
	}
	if id != nil {
		d.RepeatOf, d.RepeatCount = *id, earlier.Count
	}
	return nil
}

// ofEnterprise returns an enterprise's dangers that are still open.
func (s *Service) ofEnterprise(ctx context.Context, enterpriseID string) ([]*Danger, error) {
	return s.items.Find(ctx, scope.Own(enterpriseID), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.state IN (?)", bun.List(open)).Order("r.id")
	})
}

// published returns the edition of each check list that is in force on the date.
func (s *Service) published(ctx context.Context, date string) ([]*CheckList, error) {
	return s.lists.Find(ctx, scope.All("check lists are public guidance"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.state = ? AND r.effective_from <= ? AND (r.effective_to = '' OR r.effective_to >= ?)", Published, date, date).Order("r.code", "r.edition DESC")
	})
}

// majors returns the major dangers of a division that were open at any time in the period, by number.
func (s *Service) majors(ctx context.Context, f scope.Filter, division string, from, to time.Time) ([]*Danger, error) {
	return s.items.Find(ctx, f, func(q *bun.SelectQuery) *bun.SelectQuery {
		if level := gbcode.Division(division).Level(); level > 0 {
			q = q.Where("r.? = ?", bun.Ident(scope.LevelColumn(int(level))), division)
		}
		return q.Where("r.level = ? AND r.state <> ? AND r.found_at < ? AND (r.closed_at IS NULL OR r.closed_at >= ?)", hiddendangerapi.Major, Void, to, from).Order("r.no")
	})
}
