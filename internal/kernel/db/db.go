// Package db opens the store of records and runs transactions on it, with one code path over two engines: SQLite inside
// the process, or PostgreSQL.
//
// # One way in
//
// [DB.Tx] is the only way to write, [DB.Conn] the only way to reach SQL. Inside a transaction Conn gives that transaction
// (it travels in the context), outside it gives a read-only connection: a write that forgot its transaction fails on
// both engines. A Tx inside a Tx joins it.
//
// # SQLite: one writer, shared commits
//
// SQLite has one writer connection, and commits with synchronous=FULL: what was acknowledged survives a power cut. So that the
// price of a commit is not paid once per request, transactions that queue up while one is running share a commit: each
// runs in its own savepoint, the last in the queue commits for all, and none is acknowledged before that
// commit is on disk. A function that fails rolls back to its savepoint and takes nobody with it.
//
// # Types
//
// The same column types on both engines, so that one query text serves both (docs/decisions/0002): times are text of
// fixed width in UTC ("2026-11-21T09:46:23.123Z", see [TimeLayout]), identifiers, codes and times are declared `codetext`, which is
// text in C collation on PostgreSQL and plain text on SQLite. Go structs hold time.Time; the dialects translate.
//
// # Known weakness
//
// Statements are formatted by bun with their arguments inside. They are escaped, but not prepared: a hot loop of
// small statements pays for parsing. On PostgreSQL the simple protocol is used for the same reason.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"github.com/uptrace/bun/schema"
	_ "modernc.org/sqlite" // the "sqlite" driver

	"anwang/internal/kernel/clock"
)

// Engine names a database engine.
type Engine string

// The engines.
const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
)

// TimeLayout is how a time is stored: UTC, milliseconds, fixed width, so that text order is time order.
const TimeLayout = "2006-01-02T15:04:05.000Z"

// DB is an open database. It is safe for concurrent use.
type DB struct {
	Engine Engine
	Clock  *clock.Clock
	// Node is this installation's name among the nodes of county, city and province: the origin of every record born here.
	// Migrate sets it.
	Node string

	reader *bun.DB
	writer *bun.DB
	line   writerLine // SQLite only
}

// Open opens the database that target names: a postgres:// URL, or the path of an SQLite file, which is created when absent.
// It does not migrate.
func Open(ctx context.Context, target string, clk *clock.Clock) (*DB, error) {
	if strings.HasPrefix(target, "postgres://") || strings.HasPrefix(target, "postgresql://") {
		return openPostgres(ctx, target, clk)
	}
	return openSQLite(ctx, target, clk)
}

func openSQLite(ctx context.Context, path string, clk *clock.Clock) (*DB, error) {
	if err := writable(filepath.Dir(path)); err != nil {
		return nil, err
	}
	open := func(conns int, pragmas ...string) (*bun.DB, error) {
		q := url.Values{"_pragma": append([]string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)",
			"foreign_keys(1)", "cache_size(-65536)", "temp_store(MEMORY)"}, pragmas...), "_txlock": {"immediate"}}
		pool, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
		if err != nil {
			return nil, err
		}
		pool.SetMaxOpenConns(conns)
		pool.SetMaxIdleConns(conns)
		if err := pool.PingContext(ctx); err != nil {
			pool.Close()
			return nil, startError(path, err)
		}
		return bun.NewDB(pool, sqliteDialect{sqlitedialect.New()}), nil
	}
	writer, err := open(1)
	if err != nil {
		return nil, err
	}
	reader, err := open(8, "query_only(1)", "mmap_size(268435456)")
	if err != nil {
		writer.Close()
		return nil, err
	}
	return &DB{Engine: SQLite, Clock: clk, reader: reader, writer: writer}, nil
}

func openPostgres(ctx context.Context, target string, clk *clock.Clock) (*DB, error) {
	open := func(conns int, readOnly string) (*bun.DB, error) {
		cfg, err := pgx.ParseConfig(target)
		if err != nil {
			return nil, fmt.Errorf("数据库地址无效，应形如 postgres://用户@主机/库名：%w", err)
		}
		cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
		cfg.RuntimeParams["default_transaction_read_only"] = readOnly
		cfg.RuntimeParams["application_name"] = "anwang"
		cfg.RuntimeParams["standard_conforming_strings"] = "on"
		cfg.RuntimeParams["statement_timeout"] = "60s"
		if cfg.ConnectTimeout == 0 {
			cfg.ConnectTimeout = 5 * time.Second
		}
		pool := stdlib.OpenDB(*cfg)
		pool.SetMaxOpenConns(conns)
		pool.SetMaxIdleConns(conns)
		pool.SetConnMaxIdleTime(5 * time.Minute)
		if err := pool.PingContext(ctx); err != nil {
			pool.Close()
			return nil, fmt.Errorf("连不上 PostgreSQL，请检查地址、账号和网络：%w", err)
		}
		return bun.NewDB(pool, postgresDialect{pgdialect.New()}), nil
	}
	writer, err := open(16, "off")
	if err != nil {
		return nil, err
	}
	reader, err := open(24, "on")
	if err != nil {
		writer.Close()
		return nil, err
	}
	return &DB{Engine: Postgres, Clock: clk, reader: reader, writer: writer}, nil
}

// Close closes all connections. SQLite folds its write-ahead log into the file.
func (d *DB) Close() error { return errors.Join(d.reader.Close(), d.writer.Close()) }

type txKey struct{}

// txState is one Tx call's share of a transaction.
type txState struct {
	owner *DB
	conn  bun.Tx
	after []func()
}

// Conn gives the transaction that ctx is in, or a read-only connection.
func (d *DB) Conn(ctx context.Context) bun.IDB {
	if s, ok := ctx.Value(txKey{}).(*txState); ok && s.owner == d {
		return s.conn
	}
	return d.reader
}

// Table describes how the fields of a struct type map to columns.
func (d *DB) Table(t reflect.Type) *schema.Table { return d.reader.Table(t) }

// InTx reports whether ctx is inside a transaction of this database.
func (d *DB) InTx(ctx context.Context) bool {
	s, ok := ctx.Value(txKey{}).(*txState)
	return ok && s.owner == d
}

// Tx runs fn in a transaction that may write, and commits when fn returns nil. Everything fn did is undone when it returns an
// error or panics. When Tx returns nil the work is on disk. Called inside a transaction it joins it, and then an error
// of fn must be passed on: the outermost Tx decides for all.
//
// fn must not wait for another goroutine that also writes: on SQLite there is one writer.
func (d *DB) Tx(ctx context.Context, fn func(ctx context.Context) error) error {
	if d.InTx(ctx) {
		return fn(ctx)
	}
	if d.Engine == SQLite {
		return d.line.run(ctx, d, fn)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// Not cancellable inside, as on SQLite: a caller that hangs up in the middle costs pgx the whole connection.
	s := &txState{owner: d}
	err := d.writer.RunInTx(context.WithoutCancel(ctx), nil, func(ctx context.Context, tx bun.Tx) error {
		s.conn = tx
		return fn(context.WithValue(ctx, txKey{}, s))
	})
	if err != nil {
		return err
	}
	s.committed()
	return nil
}

// View runs fn on one unchanging picture of the database: Conn in fn's context reads from a single read-only transaction.
func (d *DB) View(ctx context.Context, fn func(ctx context.Context) error) error {
	if d.InTx(ctx) {
		return fn(ctx)
	}
	level := sql.LevelRepeatableRead
	if d.Engine == SQLite {
		level = sql.LevelDefault // a read transaction on a write-ahead log is a snapshot
	}
	tx, err := d.reader.BeginTx(ctx, &sql.TxOptions{Isolation: level, ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	return fn(context.WithValue(ctx, txKey{}, &txState{owner: d, conn: tx}))
}

// AfterCommit calls f once the transaction that ctx is in is on disk, and never when it is rolled back. Outside a
// transaction it calls f at once. f must be quick and must not fail.
func (d *DB) AfterCommit(ctx context.Context, f func()) {
	if s, ok := ctx.Value(txKey{}).(*txState); ok && s.owner == d {
		s.after = append(s.after, f)
		return
	}
	f()
}

func (s *txState) committed() {
	for _, f := range s.after {
		f()
	}
}

// writerLine is SQLite's queue of writers. The one who holds mu runs its function in a savepoint of the open batch; the batch
// is committed by the last in line, or when it has grown old.
type writerLine struct {
	mu      sync.Mutex
	waiting atomic.Int64
	batch   *batch // the open transaction, nil when none; guarded by mu
}

type batch struct {
	tx      bun.Tx
	size    int
	started time.Time
	broken  error         // SQLite itself rolled the transaction back
	done    chan struct{} // closed after commit or rollback
	err     error         // valid after done
}

const (
	batchSize = 256
	batchAge  = 20 * time.Millisecond
)

func (l *writerLine) run(ctx context.Context, d *DB, fn func(ctx context.Context) error) (err error) {
	l.waiting.Add(1)
	l.mu.Lock()
	l.waiting.Add(-1)

	state := &txState{owner: d}
	var b *batch
	func() {
		defer func() {
			// The lock is passed on even when fn panics; the batch is closed by whoever is last.
			p := recover()
			if b != nil && p != nil {
				b.undo(ctx)
			}
			if l.batch != nil && (l.waiting.Load() == 0 || l.batch.full()) {
				l.batch.commit()
				l.batch = nil
			}
			l.mu.Unlock()
			if p != nil {
				panic(p)
			}
		}()
		if err = ctx.Err(); err != nil {
			return
		}
		if l.batch == nil {
			// Background: one caller's cancelled request must not roll back its neighbours.
			tx, beginErr := d.writer.BeginTx(context.Background(), nil)
			if beginErr != nil {
				err = beginErr
				return
			}
			l.batch = &batch{tx: tx, started: time.Now(), done: make(chan struct{})}
		}
		b = l.batch
		b.size++
		// A cancelled INSERT makes SQLite roll back the whole transaction, so fn's statements are not cancellable.
		inner := context.WithValue(context.WithoutCancel(ctx), txKey{}, state)
		state.conn = b.tx
		if b.broken == nil {
			if _, err = b.tx.ExecContext(inner, "SAVEPOINT work"); err != nil {
				b.broken = err
				return
			}
		}
		if err = fn(inner); err != nil {
			b.undo(inner)
			return
		}
		if _, err = b.tx.ExecContext(inner, "RELEASE work"); err != nil {
			b.broken = err
		}
	}()
	if err != nil {
		return err
	}
	<-b.done
	if b.err != nil {
		return b.err
	}
	state.committed()
	return nil
}

func (b *batch) full() bool { return b.size >= batchSize || time.Since(b.started) > batchAge }

// undo rolls back to the savepoint. When that fails SQLite has already thrown the whole transaction away (disk full, I/O error).
func (b *batch) undo(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	if _, err := b.tx.ExecContext(ctx, "ROLLBACK TO work"); err != nil {
		b.broken = err
		return
	}
	if _, err := b.tx.ExecContext(ctx, "RELEASE work"); err != nil {
		b.broken = err
	}
}

func (b *batch) commit() {
	if b.broken != nil {
		b.tx.Rollback() //nolint:errcheck // already gone
		b.err = fmt.Errorf("transaction lost: %w", b.broken)
	} else if b.err = b.tx.Commit(); b.err != nil {
		b.tx.Rollback() //nolint:errcheck // the commit's error is the one to tell
	}
	close(b.done)
}

// The dialects differ from bun's in one thing: times have a fixed width.

type sqliteDialect struct{ *sqlitedialect.Dialect }

func (sqliteDialect) AppendTime(b []byte, t time.Time) []byte { return appendTime(b, t) }

type postgresDialect struct{ *pgdialect.Dialect }

func (postgresDialect) AppendTime(b []byte, t time.Time) []byte { return appendTime(b, t) }

func appendTime(b []byte, t time.Time) []byte {
	b = append(b, '\'')
	b = t.UTC().AppendFormat(b, TimeLayout)
	return append(b, '\'')
}

var (
	_ schema.Dialect = sqliteDialect{}
	_ schema.Dialect = postgresDialect{}
)

// FormatTime formats t as it is stored.
func FormatTime(t time.Time) string { return t.UTC().Format(TimeLayout) }

func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("数据目录 %s 不可写，请检查权限和磁盘空间：%w", dir, err)
	}
	_, werr := f.WriteString("probe")
	cerr := f.Close()
	if err := errors.Join(werr, cerr, os.Remove(f.Name())); err != nil {
		return fmt.Errorf("数据目录 %s 写入失败，磁盘可能已满：%w", dir, err)
	}
	return nil
}

// Snapshot writes a copy of the database as it stands into a new file, while others read and write. It is for SQLite; PostgreSQL has its own tools.
func (d *DB) Snapshot(ctx context.Context, path string) error {
	if d.Engine != SQLite {
		return errors.New("PostgreSQL 数据库请用 pg_dump 备份")
	}
	// Not through Tx: VACUUM runs outside transactions. It reads, and so does not wait for the writer.
	_, err := d.writer.ExecContext(ctx, "VACUUM INTO ?", path)
	return err
}
