package file

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strconv"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/scope"
)

// NearDistance is how many of the 64 bits of two fingerprints may differ for the pictures to count as alike. Saving again costs 0 to 3; pictures of
// different things differ in about 32.
const NearDistance = 5

// Match is an attachment that shows the same picture as another one.
type Match struct {
	Attachment *Attachment
	Distance   int  // bits in which the fingerprints differ, 0 to NearDistance
	Exact      bool // the very same file
}

// SimilarTo lists attachments of other records that show the same picture as the given attachment or upload: the same file, or one whose fingerprint is
// near, the nearest first and among equals the older first. within says whose records are looked through: a check for re-used evidence looks through all, a
// page for a person through what that person may see. Removed attachments count: a photo taken off one record is no news on the next.
func (s *Store) SimilarTo(ctx context.Context, within scope.Filter, id string) ([]Match, error) {
	var self struct {
		Hash, Print, RecordType, RecordID string
	}
	err := s.db.Conn(ctx).NewRaw(`SELECT b.hash, b.print, x.record_type, x.record_id FROM file_blob AS b JOIN (
		SELECT hash, record_type, record_id FROM file_attachment WHERE id = ?0 UNION ALL SELECT hash, '', '' FROM file_upload WHERE id = ?0
		) AS x ON x.hash = b.hash`, id).Scan(ctx, &self)
	if err != nil {
		return nil, fmt.Errorf("similar to %s: %w", id, err)
	}
	near, err := s.near(ctx, self.Hash, self.Print)
	if err != nil {
		return nil, err
	}
	hashes := make([]string, 0, len(near))
	for h := range near {
		hashes = append(hashes, h)
	}
	found, err := s.attached.Find(ctx, within, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.hash IN (?) AND NOT (r.record_type = ? AND r.record_id = ?)", bun.List(hashes), self.RecordType, self.RecordID).Order("r.id")
	})
	if err != nil {
		return nil, err
	}
	out := make([]Match, len(found))
	for i, r := range found {
		out[i] = Match{r, near[r.Hash], r.Hash == self.Hash}
	}
	slices.SortStableFunc(out, func(a, b Match) int { return a.Distance - b.Distance })
	return out, nil
}

// near maps the hashes of alike contents to their distance; the content itself is among them.
//
// Two fingerprints that differ in at most 7 bits have a quarter in which at most one bit differs. So 17 values for each of four indexed columns find
// every candidate, some thousandth of all pictures, and the distance is counted here.
func (s *Store) near(ctx context.Context, hash, print string) (map[string]int, error) {
	near := map[string]int{hash: 0}
	if print == "" {
		return near, nil
	}
	self, err := strconv.ParseUint(print, 16, 64)
	if err != nil {
		return nil, fmt.Errorf("fingerprint of %.12s: %w", hash, err)
	}
	q := s.db.Conn(ctx).NewSelect().Table("file_blob").Column("hash", "print")
	for i, quarter := range quarters(self) {
		values := []int{quarter}
		for bit := range 16 {
			values = append(values, quarter^1<<bit)
		}
		q = q.WhereOr("? IN (?)", bun.Ident("print"+strconv.Itoa(i)), bun.List(values))
	}
	var rows []struct{ Hash, Print string }
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("similar pictures: %w", err)
	}
	for _, r := range rows {
		other, err := strconv.ParseUint(r.Print, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("fingerprint of %.12s: %w", r.Hash, err)
		}
		if d := bits.OnesCount64(self ^ other); d <= NearDistance {
			near[r.Hash] = d
		}
	}
	near[hash] = 0
	return near, nil
}
