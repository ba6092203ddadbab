package app

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
)

// backupCommand writes one file that holds the whole installation: a snapshot of the database, the keys, the attachments. It may run beside a serving process. The event stream is not in it: it is
// filled again from the log. On PostgreSQL the database is left to pg_dump.
func backupCommand(ctx context.Context, e *env, args []string) (err error) {
	cfg, rest, err := configure("backup", args, nil)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usageError{errors.New("请写 anwang backup 文件.tar.gz")}
	}
	if _, err := os.Stat(filepath.Join(cfg.Data, "keys")); err != nil {
		return fmt.Errorf("%s 不是安网的数据目录，请用 --data 指定：%w", cfg.Data, err)
	}
	// The file appears under its name only when it is complete and on disk.
	f, err := os.CreateTemp(filepath.Dir(rest[0]), ".backup-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	z := gzip.NewWriter(f)
	t := tar.NewWriter(z)
	start := time.Now()
	if cfg.DB == "" {
		if err := backupDatabase(ctx, cfg, t); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(e.out, "数据库在 PostgreSQL 中，请另用 pg_dump 备份；本文件只含密钥和附件。")
	}
	n := 0
	for dir, root := range map[string]string{"keys": filepath.Join(cfg.Data, "keys"), "files": cmp.Or(cfg.Files, filepath.Join(cfg.Data, "files"))} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			n++
			return addFile(t, path, filepath.Join(dir, name))
		})
		if err != nil {
			return err
		}
	}
	if err := errors.Join(t.Close(), z.Close(), f.Sync()); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err := errors.Join(err, f.Close(), os.Rename(f.Name(), rest[0])); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "已备份到 %s：%d 个文件，%d MB，用时 %s。\n", rest[0], n, size>>20, time.Since(start).Round(time.Millisecond))
	return nil
}

func backupDatabase(ctx context.Context, cfg Config, t *tar.Writer) error {
	d, err := db.Open(ctx, cfg.target(), clock.System())
	if err != nil {
		return err
	}
	defer d.Close()
	dir, err := os.MkdirTemp(cfg.Data, ".snapshot-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	copied := filepath.Join(dir, "anwang.db")
	if err := d.Snapshot(ctx, copied); err != nil {
		return err
	}
	return addFile(t, copied, "anwang.db")
}

func addFile(t *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: int64(stat.Mode().Perm()), Size: stat.Size(), ModTime: stat.ModTime()}); err != nil {
		return err
	}
	_, err = io.CopyN(t, f, stat.Size())
	return err
}

// restoreCommand unpacks a backup into an empty data folder and verifies the log in it.
func restoreCommand(ctx context.Context, e *env, args []string) error {
	cfg, rest, err := configure("restore", args, nil)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usageError{errors.New("请写 anwang restore 文件.tar.gz")}
	}
	if there, err := os.ReadDir(cfg.Data); err == nil && len(there) > 0 {
		return fmt.Errorf("数据目录 %s 不是空的。为免覆盖，请用 --data 指定一个新目录，核对无误后再换用", cfg.Data)
	}
	if err := unpack(rest[0], cfg.Data); err != nil {
		return fmt.Errorf("备份文件 %s 无法恢复：%w", rest[0], err)
	}
	fmt.Fprintf(e.out, "已恢复到 %s，正在核对日志。\n", cfg.Data)
	return auditVerify(ctx, e, args[:len(args)-1])
}

func unpack(file, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // nothing is written outside, whatever the names in the file are
	if err != nil {
		return err
	}
	defer root.Close()
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if i := strings.LastIndex(h.Name, "/"); i > 0 {
			if err := root.MkdirAll(h.Name[:i], 0o750); err != nil {
				return err
			}
		}
		out, err := root.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(h.Mode)&0o777)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, t)
		if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
			return err
		}
	}
}
