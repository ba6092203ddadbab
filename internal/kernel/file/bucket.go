package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/gcerrors"

	"anwang/internal/kernel/errs"
)

// OpenFolder opens a folder of this machine as a bucket, creating it when absent.
func OpenFolder(dir string) (*blob.Bucket, error) {
	b, err := fileblob.OpenBucket(dir, &fileblob.Options{CreateDir: true, DirFileMode: 0o750, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return nil, fmt.Errorf("附件目录 %s 无法打开，请检查权限和磁盘：%w", dir, err)
	}
	return b, nil
}

// put writes an object. When it returns nil the object is on disk (in a folder), or acknowledged by the service (elsewhere).
func (s *Store) put(ctx context.Context, key, mime string, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var f *os.File
	w, err := s.bucket.NewWriter(ctx, key, &blob.WriterOptions{ContentType: mime, BeforeWrite: func(as func(any) bool) error {
		as(&f) // stays nil when the bucket is no folder
		return nil
	}})
	if err != nil {
		return storeError(err)
	}
	_, err = io.Copy(w, r)
	if err == nil && f != nil {
		err = f.Sync()
	}
	if err != nil {
		cancel() // so that Close gives up the object
		return storeError(errors.Join(err, w.Close()))
	}
	if err := w.Close(); err != nil {
		return storeError(err)
	}
	if f != nil {
		// The renamed file's folder, and the one above in case the folder is new.
		folder := filepath.Dir(f.Name())
		return storeError(errors.Join(syncFolder(folder), syncFolder(filepath.Dir(folder))))
	}
	return nil
}

func syncFolder(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// storeError explains why a file could not be kept.
func storeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errs.Unavailable("file.full", "服务器磁盘空间不足，文件没有保存。请联系系统管理员清理磁盘后重试。", time.Minute).Because(err)
	}
	return errs.Unavailable("file.unavailable", "文件存储暂时不可用，文件没有保存，请稍后重试。", 5*time.Second).Because(err)
}

func notThere(err error) bool { return gcerrors.Code(err) == gcerrors.NotFound }

// removeObject removes an object and everything beside it: thumbnails, and what a crash left half written.
func (s *Store) removeObject(ctx context.Context, key string) error {
	list := s.bucket.List(&blob.ListOptions{Prefix: key})
	for {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.bucket.Delete(ctx, o.Key); err != nil && !notThere(err) {
			return err
		}
	}
}
