package audit

import (
	"bytes"
	"context"
	"crypto/hmac"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/lib/translog"
)

// Table is a table of records that the log covers.
type Table struct {
	Type  string // as in Entry.RecordType
	Title string
	// Scan calls yield with every stored record, in any order.
	Scan func(ctx context.Context, yield func(id string, version int64, record any) error) error
}

// Finding is something that is not as the log says.
type Finding struct {
	Kind    string `json:"kind"`    // "entry", "missing", "tree", "checkpoint", "record", "forged"
	Subject string `json:"subject"` // which entry, record or checkpoint
	Message string `json:"message"` // Chinese
}

// Report is the outcome of a verification.
type Report struct {
	Leaves      int64         `json:"leaves"`
	Waiting     int64         `json:"waiting"` // committed, not yet in the tree
	Checkpoints int           `json:"checkpoints"`
	Records     int64         `json:"records"`
	Findings    []Finding     `json:"findings" nullable:"false"`
	Cut         bool          `json:"cut"` // more findings than MaxFindings
	Took        time.Duration `json:"took"`
}

// MaxFindings is how many findings a report lists.
const MaxFindings = 1000

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

func (r *Report) add(kind, subject, format string, args ...any) {
	if len(r.Findings) >= MaxFindings {
		r.Cut = true
		return
	}
	r.Findings = append(r.Findings, Finding{kind, subject, fmt.Sprintf(format, args...)})
}

// latest is what the log says of a record: its newest version, and a keyed sum of its content, whose key nobody knows beforehand.
type latest struct {
	version int64
	sum     uint64
}

// Verify recomputes every hash of the log, compares the tree with every signed checkpoint and with the one kept beside the key, and compares every covered
// record with what the log says of it. It reads one unchanging picture of the database and changes nothing. progress may be nil. It needs about 150
// bytes of memory for each record.
func (l *Log) Verify(ctx context.Context, tables []Table, progress func(done, total int64)) (*Report, error) {
	start := time.Now()
	r := &Report{}
	err := l.db.View(ctx, func(ctx context.Context) error {
		known, err := l.verifyTree(ctx, r, progress)
		if err != nil {
			return err
		}
		return l.verifyRecords(ctx, r, tables, known)
	})
	r.Took = time.Since(start)
	return r, err
}

type chunk struct {
	rows   []Row
	hashes [][]byte
	tiles  map[uint64][]byte // the stored hashes from the end of the chunk before to the end of this one, by index
	err    error
}

func (l *Log) verifyTree(ctx context.Context, r *Report, progress func(done, total int64)) (*records, error) {
	h, err := l.head(ctx)
	if err != nil {
		return nil, err
	}
	checkpoints, err := l.checkpoints(ctx, r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The picture is one transaction, and on PostgreSQL one connection, which takes one question at a time.
	var turn sync.Mutex
	chunks := l.read(ctx, &turn)

	known := &records{seed: maphash.MakeSeed(), latest: map[string]latest{}}
	stream := translog.NewStream(l.keys.Suite)
	next := int64(0)
	var tiles map[uint64][]byte
	// stored is the hash that the tree holds for a leaf: with it the tree goes on after an altered entry, so that one alteration is one finding.
	stored := func(seq int64) []byte {
		tile, at := tiles[uint64(seq)/256], int(seq%256)*translog.HashSize
		if at+translog.HashSize > len(tile) {
			return nil
		}
		return tile[at : at+translog.HashSize]
	}
	var grow func(hash []byte)
	missing := func() {
		r.add("missing", fmt.Sprintf("#%d", next), "日志第 %d 条被删除", next)
		hash := stored(next)
		if hash == nil {
			hash = make([]byte, translog.HashSize)
		}
		grow(hash)
	}
	grow = func(hash []byte) {
		stream.Add(hash)
		next++
		for len(checkpoints) > 0 && checkpoints[0].Size == uint64(next) {
			c := checkpoints[0]
			checkpoints = checkpoints[1:]
			if err := stream.Check(c); err != nil {
				r.add("checkpoint", fmt.Sprint(c.Size), "第 %d 条之前的日志与 %s 签名的检查点不符：此前有条目及其散列被一并改动", c.Size, c.Time.In(time.Local).Format(time.DateTime))
			}
		}
	}
	for c := range chunks {
		if c.err != nil {
			return nil, c.err
		}
		tiles = c.tiles
		for i := range c.rows {
			row := &c.rows[i]
			for next < *row.Seq {
				missing()
			}
			hash := stored(next)
			switch {
			case hash == nil:
				r.add("tree", fmt.Sprintf("#%d", next), "散列树缺少第 %d 条的散列", next)
				hash = c.hashes[i]
			case !bytes.Equal(hash, c.hashes[i]):
				r.add("entry", row.ID, "日志第 %d 条（%s %s，%s）被改动：内容与写入时的散列不符", next, row.Title, row.RecordID, row.At)
			}
			grow(hash)
			known.remember(row)
		}
		r.Leaves = next
		if progress != nil {
			progress(next, int64(h.Size))
		}
	}
	if tiles, err = l.tiles(ctx, next, int64(h.Size)); err != nil {
		return nil, err
	}
	for next < int64(h.Size) {
		missing()
	}
	if uint64(next) > h.Size {
		r.add("tree", "head", "日志有 %d 条，而散列树只记到 %d 条：有条目被插入", next, h.Size)
	} else if !bytes.Equal(stream.Root(), h.Root) {
		r.add("tree", "head", "散列树的根与 %d 条日志不符", h.Size)
	}
	for _, c := range checkpoints {
		r.add("checkpoint", fmt.Sprint(c.Size), "检查点签署了 %d 条，现在只有 %d 条：日志被截断或数据库被回退", c.Size, next)
	}
	return known, l.verifyWaiting(ctx, r, known)
}

// records is what the log says of every record.
type records struct {
	seed   maphash.Seed
	latest map[string]latest
}

func (k *records) remember(row *Row) {
	if row.Body == nil {
		return
	}
	key := row.RecordType + "/" + row.RecordID
	if old, ok := k.latest[key]; !ok || row.Version >= old.version {
		k.latest[key] = latest{row.Version, maphash.String(k.seed, *row.Body)}
	}
}

// read streams the sequenced entries with their hashes. Reading and hashing overlap; turn is held while the database is asked.
func (l *Log) read(ctx context.Context, turn *sync.Mutex) <-chan chunk {
	raw, out := make(chan chunk, 4), make(chan chunk, 4)
	go func() {
		defer close(raw)
		for after := int64(-1); ; {
			c := chunk{}
			c.rows, c.err = l.leaves(ctx, after, 1000)
			rows, err := c.rows, c.err
			if err == nil && len(rows) > 0 {
				c.tiles, c.err = l.tiles(ctx, after+1, *rows[len(rows)-1].Seq+1)
			}
			select {
			case raw <- c:
			case <-ctx.Done():
				return
			}
			if err != nil || len(rows) < 1000 {
				return
			}
			after = *rows[len(rows)-1].Seq
		}
	}()
	go func() {
		defer close(out)
		for c := range raw {
			c.hashes = make([][]byte, len(c.rows))
			for i := range c.rows {
				c.hashes[i] = l.leafHash(&c.rows[i])
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// leaves is Sequenced without the MACs, scanned by hand: it is what the time of a verification goes into.
func (l *Log) leaves(ctx context.Context, after int64, limit int) ([]Row, error) {
	rows, err := l.db.Conn(ctx).QueryContext(ctx, `SELECT seq, id, at, node, actor_kind, actor_id, actor_name, unit_name, kind, title, record_type, record_id, version, request_id, data, body
		FROM audit_entry WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make([]Row, 0, limit)
	for rows.Next() {
		var r Row
		var data sql.RawBytes
		if err := rows.Scan(&r.Seq, &r.ID, &r.At, &r.Node, &r.ActorKind, &r.ActorID, &r.ActorName, &r.UnitName, &r.Kind, &r.Title, &r.RecordType, &r.RecordID, &r.Version,
			&r.RequestID, &data, &r.Body); err != nil {
			return nil, err
		}
		r.Data = bytes.Clone(data)
		out = append(out, r)
	}
	return out, rows.Err()
}

// tiles returns the stored leaf tiles that hold the hashes from first up to, not including, end.
func (l *Log) tiles(ctx context.Context, first, end int64) (map[uint64][]byte, error) {
	var rows []struct {
		Idx    uint64
		Hashes []byte
	}
	if err := l.db.Conn(ctx).NewRaw("SELECT idx, hashes FROM audit_tile WHERE level = 0 AND idx >= ? AND idx <= ?", first/256, (end-1)/256).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	tiles := make(map[uint64][]byte, len(rows))
	for _, r := range rows {
		tiles[r.Idx] = r.Hashes
	}
	return tiles, nil
}

// verifyWaiting checks the entries that are not in the tree yet by their MAC.
func (l *Log) verifyWaiting(ctx context.Context, r *Report, known *records) error {
	var rows []Row
	if err := l.db.Conn(ctx).NewSelect().Model(&rows).Where("seq IS NULL").Order("id").Scan(ctx); err != nil {
		return err
	}
	for i := range rows {
		row := &rows[i]
		if !hmac.Equal(row.MAC, l.mac(l.leafHash(row))) {
			r.add("forged", row.ID, "日志条目 %s（%s）不是本程序写入的，或写入后被改动", row.ID, row.Title)
			continue
		}
		r.Waiting++
		known.remember(row)
	}
	return nil
}

// checkpoints returns the stored checkpoints and the one kept beside the key, by size. Those whose signature does not hold are findings.
func (l *Log) checkpoints(ctx context.Context, r *Report) ([]translog.Checkpoint, error) {
	var notes []struct {
		Size uint64
		Note string
	}
	if err := l.db.Conn(ctx).NewRaw("SELECT size, note FROM audit_checkpoint ORDER BY size").Scan(ctx, &notes); err != nil {
		return nil, err
	}
	var out []translog.Checkpoint
	for _, n := range notes {
		c, err := translog.OpenCheckpoint(n.Note, l.Key())
		if err != nil || c.Size != n.Size {
			r.add("checkpoint", fmt.Sprint(n.Size), "检查点 %d 的签名无效：%v", n.Size, err)
			continue
		}
		out = append(out, c)
	}
	r.Checkpoints = len(out)
	kept, ok, err := l.kept()
	if err != nil {
		r.add("checkpoint", "checkpoint.txt", "密钥旁保存的检查点无效：%v", err)
	} else if ok {
		out = append(out, kept)
	}
	slices.SortStableFunc(out, func(a, b translog.Checkpoint) int { return int(int64(a.Size) - int64(b.Size)) })
	return out, nil
}

// kept reads the checkpoint beside the key.
func (l *Log) kept() (c translog.Checkpoint, ok bool, err error) {
	if l.keys.Folder == "" {
		return c, false, nil
	}
	b, err := os.ReadFile(filepath.Join(l.keys.Folder, "checkpoint.txt"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	c, err = translog.OpenCheckpoint(string(b), l.Key())
	return c, err == nil, err
}

func (l *Log) verifyRecords(ctx context.Context, r *Report, tables []Table, known *records) error {
	for _, t := range tables {
		if err := t.Scan(ctx, func(id string, version int64, record any) error {
			r.Records++
			key := t.Type + "/" + id
			said, ok := known.latest[key]
			delete(known.latest, key)
			if !ok {
				r.add("record", key, "%s %s 在日志中没有记载：是绕过程序插入的", t.Title, id)
				return nil
			}
			body, err := json.Marshal(record)
			if err != nil {
				return err
			}
			if maphash.Bytes(known.seed, body) == said.sum {
				return nil
			}
			was, err := l.body(ctx, t.Type, id, said)
			if err != nil {
				return err
			}
			if diff := differences(was, body); len(diff) > 0 {
				r.add("record", key, "%s %s 被绕过程序改动：%s", t.Title, id, strings.Join(diff, "；"))
			}
			return nil
		}); err != nil {
			return fmt.Errorf("verify %s: %w", t.Type, err)
		}
	}
	covered := map[string]string{}
	for _, t := range tables {
		covered[t.Type] = t.Title
	}
	for key := range known.latest {
		typ, id, _ := strings.Cut(key, "/")
		if title, ok := covered[typ]; ok {
			r.add("record", key, "%s %s 被绕过程序删除", title, id)
		}
	}
	return nil
}

func (l *Log) body(ctx context.Context, typ, id string, said latest) (string, error) {
	var body string
	err := l.db.Conn(ctx).NewRaw(`SELECT body FROM audit_entry WHERE record_type = ? AND record_id = ? AND version = ? AND body IS NOT NULL ORDER BY id DESC LIMIT 1`,
		typ, id, said.version).Scan(ctx, &body)
	if errors.Is(err, db.ErrNoRows) {
		return "{}", nil
	}
	return body, err
}

// differences names the fields in which the stored record differs from what the log says. A field that the log does not know came with a newer
// program, and is no difference as long as it is empty.
func differences(logged string, stored []byte) []string {
	was, is := map[string]any{}, map[string]any{}
	if json.Unmarshal([]byte(logged), &was) != nil || json.Unmarshal(stored, &is) != nil {
		return []string{"内容无法解析"}
	}
	var out []string
	for name, v := range is {
		before, ok := was[name]
		if a, b := compact(before), compact(v); a != b && (ok || !empty(v)) {
			out = append(out, fmt.Sprintf("%s 日志为 %s，库中为 %s", name, a, b))
		}
	}
	slices.Sort(out)
	return out
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == "" || v == "0001-01-01T00:00:00Z"
	case float64:
		return v == 0
	case bool:
		return !v
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, x := range v {
			if !empty(x) {
				return false
			}
		}
		return true
	}
	return false
}

func compact(v any) string {
	b, _ := json.Marshal(v)
	if len(b) > 200 {
		return string(bytes.ToValidUTF8(b[:200], nil)) + "…"
	}
	return string(b)
}

// Proof makes the proof file of one entry: its place in the tree of the newest checkpoint. A checkpoint that includes the entry is signed when there is none. With content, the file
// also carries particulars and record, for those who may see the record; without, their hash is proven.
func (l *Log) Proof(ctx context.Context, entryID string, content bool) (*translog.ProofFile, error) {
	if err := l.Flush(ctx); err != nil {
		return nil, err
	}
	note, err := l.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	c, err := translog.OpenCheckpoint(note, l.Key())
	if err != nil {
		return nil, err
	}
	row, err := l.Entry(ctx, entryID)
	if err != nil {
		return nil, err
	}
	if row.Seq == nil || uint64(*row.Seq) >= c.Size {
		return nil, errs.Unavailable("audit.waiting", "该条目还未编入日志，请几秒后重试。", 2*time.Second)
	}
	path, err := l.keys.Suite.InclusionProof(ctx, l, uint64(*row.Seq), c.Size)
	if err != nil {
		return nil, err
	}
	leaf := translog.Leaf{Header: row.Header(), Body: row.Content()}
	leaf.BodyHash = l.keys.Suite.BodyHash(leaf.Body)
	if !content {
		leaf = leaf.Erased()
	}
	return &translog.ProofFile{Suite: l.keys.Suite, Leaf: leaf, Index: uint64(*row.Seq), Path: path, Checkpoint: note, Key: l.Key()}, nil
}

// Entry returns one entry with its body, or a not-found error.
func (l *Log) Entry(ctx context.Context, id string) (*Row, error) {
	var row Row
	err := l.db.Conn(ctx).NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, db.ErrNoRows) {
		return nil, errs.NotFound("audit.notFound", "日志中没有这一条目。")
	}
	return &row, err
}
