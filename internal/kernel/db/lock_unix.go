//go:build unix

package db

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// LockDir takes the data folder dir for this process, creating it when absent. It fails at once when another process has it.
// Release gives it back; the operating system does so too when the process dies.
func LockDir(dir string) (release func() error, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("无法创建数据目录 %s，请检查路径和权限：%w", dir, err)
	}
	path := filepath.Join(dir, "anwang.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("数据目录 %s 不可写，请检查权限和磁盘空间：%w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid, _ := os.ReadFile(path)
		f.Close()
		return nil, fmt.Errorf("数据目录 %s 正被另一个安网进程（PID %s）使用；请先停止它，或用 --data 指定别的目录", dir, pid)
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintf(f, "%d", os.Getpid())
	}
	return f.Close, nil
}
