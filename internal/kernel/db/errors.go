package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"anwang/internal/kernel/errs"
)

// ErrNoRows is what a query for one row returns when there is none.
var ErrNoRows = sql.ErrNoRows

// UniqueViolation reports whether err says that a unique key is already taken, and which: the constraint's name on PostgreSQL,
// "table.column, table.column" on SQLite. A store turns it into a conflict, where its meaning is known.
func UniqueViolation(err error) (key string, ok bool) {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return pg.ConstraintName, true
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) && (lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY) {
		_, key, _ = strings.Cut(lite.Error(), "failed: ")
		key, _, _ = strings.Cut(key, " (")
		return key, true
	}
	return "", false
}

// Translate turns an error of the engine that will pass (server gone, disk full, too busy) into an errs.Unavailable; every other
// error comes back as it is.
func Translate(err error) error {
	if err == nil || errs.As(err) != nil {
		return err
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlite3.SQLITE_FULL:
			return errs.Unavailable("db.full", "服务器磁盘空间不足，刚才的内容没有保存。请联系系统管理员清理磁盘后重试。", time.Minute).Because(err)
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return errs.Unavailable("db.busy", "系统正忙，请稍后重试。", 2*time.Second).Because(err)
		}
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case pg.Code == "53100": // disk_full
			return errs.Unavailable("db.full", "服务器磁盘空间不足，刚才的内容没有保存。请联系系统管理员清理磁盘后重试。", time.Minute).Because(err)
		case strings.HasPrefix(pg.Code, "08"), strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "57P"),
			pg.Code == "40001", pg.Code == "40P01", pg.Code == "25006":
			return unavailable(err)
		}
		return err
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.As(err, &connect), errors.As(err, &network), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, sql.ErrTxDone), pgconn.SafeToRetry(err), pgconn.Timeout(err), errors.Is(err, net.ErrClosed),
		strings.Contains(err.Error(), "unexpected EOF"), strings.Contains(err.Error(), "conn closed"):
		if errors.Is(err, context.Canceled) {
			return err
		}
		return unavailable(err)
	}
	return err
}

func unavailable(err error) error {
	return errs.Unavailable("db.unavailable", "数据库暂时不可用，请稍后重试。", 2*time.Second).Because(err)
}

// startError explains why a database file cannot be opened.
func startError(path string, err error) error {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
			return fmt.Errorf("%s 不是安网的数据库文件或已损坏，请用备份恢复（anwang restore）：%w", path, err)
		case sqlite3.SQLITE_FULL:
			return fmt.Errorf("磁盘已满，无法打开 %s，请清理磁盘：%w", path, err)
		case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY:
			return fmt.Errorf("无法打开 %s，请检查文件权限：%w", path, err)
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return fmt.Errorf("%s 正被另一个程序占用，请先停止它：%w", path, err)
		}
	}
	return fmt.Errorf("open %s: %w", path, err)
}
