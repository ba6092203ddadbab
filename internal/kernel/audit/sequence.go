package audit

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/db"
	"anwang/internal/lib/translog"
)

// Start sequences entries as they are committed and signs a checkpoint every CheckpointEvery, until Stop.
func (l *Log) Start(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil {
		return nil
	}
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.done = make(chan struct{})
	go l.run(ctx, l.done)
	return nil
}

// Stop sequences what is waiting, signs a last checkpoint, and ends.
func (l *Log) Stop() {
	l.mu.Lock()
	stop, done := l.stop, l.done
	l.stop = nil
	l.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	<-done
	ctx := context.Background()
	if err := l.Flush(ctx); err != nil {
		l.log.Error("sequence at shutdown", "error", err)
		return
	}
	if _, err := l.Checkpoint(ctx); err != nil {
		l.log.Error("checkpoint at shutdown", "error", err)
	}
}

// linger lets entries gather, so that a busy log is sequenced many at a time.
const linger = 10 * time.Millisecond

func (l *Log) run(ctx context.Context, done chan struct{}) {
	defer close(done)
	poll := time.NewTicker(time.Second) // another process may have written
	defer poll.Stop()
	sign := time.NewTicker(l.CheckpointEvery)
	defer sign.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sign.C:
			if _, err := l.Checkpoint(ctx); err != nil && ctx.Err() == nil {
				l.log.Error("sign checkpoint", "error", err)
			}
			continue
		case <-l.signal:
			select {
			case <-ctx.Done():
				return
			case <-time.After(linger):
			}
		case <-poll.C:
		}
		if err := l.Flush(ctx); err != nil && ctx.Err() == nil {
			l.log.Error("sequence", "error", err)
		}
	}
}

// Flush sequences everything that is committed and waiting.
func (l *Log) Flush(ctx context.Context) error {
	for {
		n, err := l.sequence(ctx)
		if err != nil || n == 0 {
			return err
		}
		l.mu.Lock()
		listeners := l.listeners
		l.mu.Unlock()
		for _, f := range listeners {
			f()
		}
	}
}

// OnSequenced calls f after entries were given their places. f must be quick.
func (l *Log) OnSequenced(f func()) {
	l.mu.Lock()
	l.listeners = append(l.listeners, f)
	l.mu.Unlock()
}

// Sequenced returns up to limit entries in order, with bodies, beginning with the one after the entry numbered after; -1 begins at the start.
func (l *Log) Sequenced(ctx context.Context, after int64, limit int) ([]Row, error) {
	var rows []Row
	err := l.db.Conn(ctx).NewSelect().Model(&rows).Where("seq > ?", after).Order("seq").Limit(int64(limit)).Scan(ctx)
	return rows, err
}

const batch = 500

var errRaced = errors.New("another process sequenced meanwhile")

// sequence gives up to batch waiting entries their places and says how many. Entries are read and hashed before the transaction: they do not change
// once committed, and the writer is held for the update alone. The head's row is the lock between processes.
func (l *Log) sequence(ctx context.Context) (int, error) {
	l.mu.Lock()
	forged := slices.Clone(l.forged)
	l.mu.Unlock()
	var rows []Row
	q := l.db.Conn(ctx).NewSelect().Model(&rows).Where("seq IS NULL").Order("id").Limit(batch)
	if len(forged) > 0 {
		q = q.Where("id NOT IN (?)", bun.List(forged))
	}
	if err := q.Scan(ctx); err != nil || len(rows) == 0 {
		return 0, err
	}
	ids, hashes := make([]string, 0, len(rows)), make([][]byte, 0, len(rows))
	for i := range rows {
		h := l.leafHash(&rows[i])
		if !hmac.Equal(rows[i].MAC, l.mac(h)) {
			l.log.Error("log entry was not written by this program, or was changed: refused", "entry", rows[i].ID)
			l.mu.Lock()
			l.forged = append(l.forged, rows[i].ID)
			l.mu.Unlock()
			continue
		}
		ids, hashes = append(ids, rows[i].ID), append(hashes, h)
	}
	if len(ids) == 0 {
		return len(rows), nil
	}
	err := l.db.Tx(ctx, func(ctx context.Context) error {
		head, err := l.lockHead(ctx)
		if err != nil {
			return err
		}
		size, root, tiles, err := l.keys.Suite.Append(ctx, l, head.Size, hashes)
		if err != nil {
			return err
		}
		if err := l.place(ctx, head.Size, ids); err != nil {
			return err
		}
		for _, t := range tiles {
			if _, err := l.db.Conn(ctx).NewRaw(`INSERT INTO audit_tile (level, idx, hashes) VALUES (?, ?, ?)
				ON CONFLICT (level, idx) DO UPDATE SET hashes = excluded.hashes`, t.Level, t.Index, t.Hashes).Exec(ctx); err != nil {
				return err
			}
		}
		_, err = l.db.Conn(ctx).NewRaw("UPDATE audit_head SET size = ?, root = ? WHERE name = 'log'", size, root).Exec(ctx)
		return err
	})
	if errors.Is(err, errRaced) {
		return 0, nil
	}
	return len(rows), err
}

// place gives the entries consecutive places from first on.
func (l *Log) place(ctx context.Context, first uint64, ids []string) error {
	var values strings.Builder
	for i, id := range ids {
		fmt.Fprintf(&values, ",('%s',%d)", id, first+uint64(i))
	}
	// ids are our own UUIDs, checked by their MAC. The plus keeps SQLite from going through all waiting entries for each of them: it finds them by id.
	res, err := l.db.Conn(ctx).ExecContext(ctx, "WITH v (id, seq) AS (VALUES "+values.String()[1:]+
		") UPDATE audit_entry SET seq = v.seq FROM v WHERE audit_entry.id = v.id AND +audit_entry.seq IS NULL")
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != int64(len(ids)) {
		return errors.Join(err, errRaced)
	}
	return nil
}

type head struct {
	Size uint64
	Root []byte
}

func (l *Log) head(ctx context.Context) (head, error) {
	h := head{Root: l.keys.Suite.EmptyRoot()}
	err := l.db.Conn(ctx).NewRaw("SELECT size, root FROM audit_head WHERE name = 'log'").Scan(ctx, &h.Size, &h.Root)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	return h, err
}

// lockHead reads the head and keeps its row until the transaction ends.
func (l *Log) lockHead(ctx context.Context) (h head, err error) {
	err = l.db.Conn(ctx).NewRaw(`INSERT INTO audit_head (name, size, root, suite) VALUES ('log', 0, ?, ?)
		ON CONFLICT (name) DO UPDATE SET size = audit_head.size RETURNING size, root`, l.keys.Suite.EmptyRoot(), string(l.keys.Suite)).Scan(ctx, &h.Size, &h.Root)
	return h, err
}

// Tile reads a stored tile: it makes the Log a translog.TileStore.
func (l *Log) Tile(ctx context.Context, level, index uint64) ([]byte, error) {
	var hashes []byte
	err := l.db.Conn(ctx).NewRaw("SELECT hashes FROM audit_tile WHERE level = ? AND idx = ?", level, index).Scan(ctx, &hashes)
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil
	}
	return hashes, err
}

// Checkpoint signs the tree as it stands, unless nothing came since the last one, and returns the newest signed note, empty for an
// empty log. It refuses to sign a tree that does not continue the checkpoint kept beside the key.
func (l *Log) Checkpoint(ctx context.Context) (string, error) {
	var note string
	err := l.db.Tx(ctx, func(ctx context.Context) error {
		h, err := l.lockHead(ctx)
		if err != nil || h.Size == 0 {
			return err
		}
		err = l.db.Conn(ctx).NewRaw("SELECT note FROM audit_checkpoint WHERE size = ?", h.Size).Scan(ctx, &note)
		if err == nil || !errors.Is(err, db.ErrNoRows) {
			return err
		}
		if err := l.continues(ctx, h); err != nil {
			return err
		}
		c := translog.Checkpoint{Origin: l.signer.Name(), Size: h.Size, Root: h.Root, Time: l.db.Clock.Now()}
		if note, err = c.Sign(l.signer); err != nil {
			return err
		}
		_, err = l.db.Conn(ctx).NewRaw("INSERT INTO audit_checkpoint (size, at, note) VALUES (?, ?, ?)", h.Size, c.Time, note).Exec(ctx)
		return err
	})
	if err != nil || note == "" || l.keys.Folder == "" {
		return note, err
	}
	return note, writeFile(filepath.Join(l.keys.Folder, "checkpoint.txt"), []byte(note))
}

// continues proves that the tree at h continues the checkpoint kept beside the key.
func (l *Log) continues(ctx context.Context, h head) error {
	kept, ok, err := l.kept()
	if err != nil || !ok {
		return err
	}
	if kept.Size > h.Size {
		return fmt.Errorf("日志比密钥旁保存的检查点短（%d < %d）：数据库被回退或被截断，请运行 anwang audit verify", h.Size, kept.Size)
	}
	proof, err := l.keys.Suite.ConsistencyProof(ctx, l, kept.Size, h.Size)
	if err != nil {
		return err
	}
	if err := l.keys.Suite.VerifyConsistency(kept.Size, h.Size, proof, kept.Root, h.Root); err != nil {
		return fmt.Errorf("日志不是上一检查点的延续，拒绝签名，请运行 anwang audit verify：%w", err)
	}
	return nil
}
