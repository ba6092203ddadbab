package file

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Swept says what a sweep has removed.
type Swept struct {
	Uploads int64 // that nobody attached in time
	Blobs   int64 // contents that nothing uses
	Objects int64 // objects in the bucket
}

// grace is how long an unused content stays, so that clocks of several processes need not agree.
const grace = time.Hour

// Sweep removes what has expired: uploads that were never attached, contents that neither an upload nor an attachment uses, and their
// objects. It may run at any time, in several processes at once, beside uploads; the application schedules it.
func (s *Store) Sweep(ctx context.Context) (Swept, error) {
	var out Swept
	var err error
	if out.Uploads, err = s.chunks(ctx, `DELETE FROM file_upload WHERE id IN (SELECT id FROM file_upload WHERE expires_at <= ?0 LIMIT 500)`, s.db.Clock.Now()); err != nil {
		return out, fmt.Errorf("sweep uploads: %w", err)
	}
	if out.Blobs, err = s.sweepBlobs(ctx); err != nil {
		return out, fmt.Errorf("sweep contents: %w", err)
	}
	if out.Objects, err = s.sweepObjects(ctx); err != nil {
		return out, fmt.Errorf("sweep objects: %w", err)
	}
	return out, nil
}

// chunks repeats a statement, each time in a transaction of its own, until it changes nothing.
func (s *Store) chunks(ctx context.Context, query string, args ...any) (total int64, err error) {
	for {
		var n int64
		err := s.db.Tx(ctx, func(ctx context.Context) (err error) {
			n, err = affected(s.db.Conn(ctx).NewRaw(query, args...).Exec(ctx))
			return err
		})
		if total += n; err != nil || n == 0 {
			return total, err
		}
	}
}

// sweepBlobs turns unused contents into garbage. An upload marks the content that it uses in its own transaction: if it was first, used_at is new when
// this statement gets the row; if this was first, the upload finds no row and writes the content anew.
func (s *Store) sweepBlobs(ctx context.Context) (total int64, err error) {
	for {
		var objects []string
		err := s.db.Tx(ctx, func(ctx context.Context) error {
			now := s.db.Clock.Now()
			err := s.db.Conn(ctx).NewRaw(`DELETE FROM file_blob WHERE used_at < ?0 AND hash IN (
				SELECT b.hash FROM file_blob AS b WHERE b.used_at < ?0
				AND NOT EXISTS (SELECT 1 FROM file_upload AS u WHERE u.hash = b.hash)
				AND NOT EXISTS (SELECT 1 FROM file_attachment AS r WHERE r.hash = b.hash) LIMIT 500) RETURNING object`, now.Add(-grace)).Scan(ctx, &objects)
			if err != nil {
				return err
			}
			for _, o := range objects {
				if err := s.discard(ctx, o, now); err != nil {
					return err
				}
			}
			return nil
		})
		if total += int64(len(objects)); err != nil || len(objects) == 0 {
			return total, err
		}
	}
}

// sweepObjects removes objects that are due, and forgets each once it is gone. One that cannot be removed is left for the next sweep.
func (s *Store) sweepObjects(ctx context.Context) (total int64, err error) {
	for after := ""; ; {
		var due []string
		err := s.db.Conn(ctx).NewRaw("SELECT object FROM file_garbage WHERE remove_after <= ? AND object > ? ORDER BY object LIMIT 100",
			s.db.Clock.Now(), after).Scan(ctx, &due)
		if err != nil || len(due) == 0 {
			return total, err
		}
		for _, o := range due {
			after = o
			// Marked first: an upload that is still writing this object, a day late, then learns that it has lost it.
			if err := s.db.Tx(ctx, func(ctx context.Context) error {
				_, err := s.db.Conn(ctx).NewRaw("UPDATE file_garbage SET remove_after = '' WHERE object = ?", o).Exec(ctx)
				return err
			}); err != nil {
				return total, err
			}
			if err := s.removeObject(ctx, o); err != nil {
				s.log.Warn("file: object not removed, trying again with the next sweep", "object", o, "err", err)
				continue
			}
			if err := s.db.Tx(ctx, func(ctx context.Context) error {
				_, err := s.db.Conn(ctx).NewRaw("DELETE FROM file_garbage WHERE object = ? AND remove_after = ''", o).Exec(ctx)
				return err
			}); err != nil {
				return total, err
			}
			total++
		}
	}
}

func affected(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}
