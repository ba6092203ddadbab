package db

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/uptrace/bun"
)

// Migrations are one part's numbered SQL files ("migrations/0001_init.sql"), up only. A file that was applied is never edited:
// its checksum is remembered.
//
// A file is one text for both engines. Where they must differ, the lines stand side by side behind the marks
// `-- +sqlite`, `-- +postgres` and `-- +both`. Statements end with a semicolon at the end of a line.
type Migrations struct {
	Part  string // "audit", "hiddendanger": the owner of the tables
	Files fs.FS  // holds a folder "migrations"
}

type migration struct {
	part     string
	number   int
	name     string
	checksum string
	text     string
}

const bookkeeping = `
CREATE TABLE IF NOT EXISTS db_migration (
  part TEXT NOT NULL,
  number INTEGER NOT NULL,
  name TEXT NOT NULL,
  checksum TEXT NOT NULL,
  applied_at TEXT NOT NULL,
  PRIMARY KEY (part, number)
);
CREATE TABLE IF NOT EXISTS db_setting (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);
`

const postgresTypes = `DO $$ BEGIN CREATE DOMAIN codetext AS text COLLATE "C"; EXCEPTION WHEN duplicate_object THEN NULL; END $$;`

// Migrate brings the database up to what parts ask for, each file in its own transaction, in the order given. node names this
// installation when the database is new; afterwards the database remembers. It refuses, and changes nothing, when
// an applied file was edited or when the database comes from a newer program.
func (d *DB) Migrate(ctx context.Context, node string, parts ...Migrations) error {
	want, err := readMigrations(parts)
	if err != nil {
		return err
	}
	if err := d.Tx(ctx, func(ctx context.Context) error {
		if d.Engine == Postgres {
			// Two processes that start at once migrate one after the other.
			if _, err := d.Conn(ctx).ExecContext(ctx, "SELECT pg_advisory_xact_lock(7216318)"); err != nil {
				return err
			}
			if _, err := d.Conn(ctx).ExecContext(ctx, postgresTypes); err != nil {
				return err
			}
		}
		if err := d.exec(ctx, bookkeeping); err != nil {
			return err
		}
		if err := d.checkApplied(ctx, want); err != nil {
			return err
		}
		if _, err := d.Conn(ctx).NewRaw("INSERT INTO db_setting (name, value) VALUES ('node', ?) ON CONFLICT DO NOTHING", node).Exec(ctx); err != nil {
			return err
		}
		d.Node, err = d.setting(ctx, "node")
		return err
	}); err != nil {
		return err
	}
	for _, m := range want {
		if err := d.apply(ctx, m); err != nil {
			return fmt.Errorf("migrate %s/%s: %w", m.part, m.name, err)
		}
	}
	return nil
}

// Applied lists the migrations that the database has, as "part/number", sorted.
func (d *DB) Applied(ctx context.Context) ([]string, error) {
	var rows []struct {
		Part   string
		Number int
	}
	if err := d.Conn(ctx).NewRaw("SELECT part, number FROM db_migration ORDER BY part, number").Scan(ctx, &rows); err != nil {
		return nil, err
	}
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = fmt.Sprintf("%s/%04d", r.Part, r.Number)
	}
	return out, nil
}

func (d *DB) checkApplied(ctx context.Context, want []migration) error {
	var rows []struct {
		Part, Name, Checksum string
		Number               int
	}
	if err := d.Conn(ctx).NewRaw("SELECT part, number, name, checksum FROM db_migration ORDER BY part, number").Scan(ctx, &rows); err != nil {
		return err
	}
	for _, r := range rows {
		i := slices.IndexFunc(want, func(m migration) bool { return m.part == r.Part && m.number == r.Number })
		if i < 0 {
			return fmt.Errorf("数据库来自更新的版本（含本程序没有的 %s/%s）。请换用新版程序，或恢复升级前的备份", r.Part, r.Name)
		}
		if want[i].checksum != r.Checksum {
			return fmt.Errorf("迁移文件 %s/%s 在应用之后被改动过，程序与数据库不符，请使用正式发布的程序", r.Part, r.Name)
		}
	}
	return nil
}

func (d *DB) apply(ctx context.Context, m migration) error {
	return d.Tx(ctx, func(ctx context.Context) error {
		if d.Engine == Postgres {
			if _, err := d.Conn(ctx).ExecContext(ctx, "SELECT pg_advisory_xact_lock(7216318)"); err != nil {
				return err
			}
		}
		res, err := d.Conn(ctx).NewRaw("INSERT INTO db_migration (part, number, name, checksum, applied_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
			m.part, m.number, m.name, m.checksum, FormatTime(d.Clock.Now())).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		return d.exec(ctx, m.text)
	})
}

func (d *DB) exec(ctx context.Context, text string) error {
	for _, stmt := range d.statements(text) {
		if _, err := d.Conn(ctx).ExecContext(ctx, "?", bun.Safe(stmt)); err != nil {
			return fmt.Errorf("%w in: %s", err, stmt)
		}
	}
	return nil
}

// statements splits a migration into statements for this engine.
func (d *DB) statements(text string) []string {
	var out []string
	var b strings.Builder
	skip := false
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "-- +both":
			skip = false
			continue
		case strings.HasPrefix(trimmed, "-- +"):
			skip = trimmed != "-- +"+string(d.Engine)
			continue
		case skip || trimmed == "" || strings.HasPrefix(trimmed, "--"):
			continue
		}
		b.WriteString(line)
		if strings.HasSuffix(trimmed, ";") {
			out = append(out, strings.TrimSuffix(strings.TrimSpace(b.String()), ";"))
			b.Reset()
		}
	}
	if rest := strings.TrimSpace(b.String()); rest != "" {
		out = append(out, rest)
	}
	return out
}

func (d *DB) setting(ctx context.Context, name string) (string, error) {
	var value string
	err := d.Conn(ctx).NewRaw("SELECT value FROM db_setting WHERE name = ?", name).Scan(ctx, &value)
	return value, err
}

var migrationName = regexp.MustCompile(`^(\d{4})_[a-z0-9_]+\.sql$`)

func readMigrations(parts []Migrations) ([]migration, error) {
	var all []migration
	for _, p := range parts {
		entries, err := fs.ReadDir(p.Files, "migrations")
		if err != nil {
			return nil, fmt.Errorf("migrations of %s: %w", p.Part, err)
		}
		for i, e := range entries {
			m := migrationName.FindStringSubmatch(e.Name())
			if m == nil {
				return nil, fmt.Errorf("migration %s/%s: name must be NNNN_what.sql", p.Part, e.Name())
			}
			number, _ := strconv.Atoi(m[1])
			if number != i+1 {
				return nil, fmt.Errorf("migration %s/%s: expected number %04d", p.Part, e.Name(), i+1)
			}
			text, err := fs.ReadFile(p.Files, path.Join("migrations", e.Name()))
			if err != nil {
				return nil, err
			}
			sum := sha256.Sum256(text)
			all = append(all, migration{p.Part, number, e.Name(), hex.EncodeToString(sum[:]), string(text)})
		}
	}
	return all, nil
}
