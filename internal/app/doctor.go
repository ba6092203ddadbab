package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/console"
)

// doctorCommand looks at an installation and says what is not as it should be. It changes nothing and may run beside a serving process.
func doctorCommand(ctx context.Context, e *env, args []string) error {
	cfg, _, err := configure("doctor", args, nil)
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.Data); err != nil {
		return fmt.Errorf("数据目录 %s 不存在，请用 --data 指定：%w", cfg.Data, err)
	}
	ctx = actor.AsSystem(ctx, "doctor")
	a := &App{Config: cfg, Version: e.version, Slog: cfg.logger(e.err)}
	defer a.Close()
	bad := 0
	say := func(ok bool, format string, args ...any) {
		mark := "正常"
		if !ok {
			mark = "注意"
			bad++
		}
		fmt.Fprintf(e.out, "[%s] %s\n", mark, fmt.Sprintf(format, args...))
	}
	if err := a.open(ctx, clock.System()); err != nil {
		return err
	}
	k := a.Kernel
	say(true, "数据库：%s，节点 %s", k.DB.Engine, k.DB.Node)
	var disk syscall.Statfs_t
	if err := syscall.Statfs(cfg.Data, &disk); err == nil {
		free := disk.Bavail * uint64(disk.Bsize) >> 30
		say(free >= 2, "数据目录所在磁盘剩余 %d GB", free)
	}
	for _, name := range []string{"log.pem", "entries.key", "seal.key"} {
		stat, err := os.Stat(filepath.Join(cfg.Data, "keys", name))
		say(err == nil && stat.Mode().Perm()&0o077 == 0, "密钥 %s 存在，且只有本账号可读", name)
	}
	calendar, err := k.Deadlines.Calendar(ctx)
	if err != nil {
		return err
	}
	now := k.Clock.Now().In(clock.Zone)
	say(calendar.PublishedThrough() > now.Year() || calendar.PublishedThrough() == now.Year() && now.Month() < time.December, "放假安排已录入至 %d 年", calendar.PublishedThrough())
	lag, err := k.Bus.Lag(ctx)
	if err != nil {
		return err
	}
	say(lag.Entries < 10_000, "待发布的事件 %d 件", lag.Entries)
	parked, err := k.Bus.Parked(ctx, "", "", 200)
	if err != nil {
		return err
	}
	say(len(parked) == 0, "搁置的事件 %d 件（anwang event parked 查看）", len(parked))
	say(true, "日志公钥指纹 %s，请存放在本机之外", k.Log.Key().Fingerprint())
	if bad > 0 {
		return fmt.Errorf("有 %d 处需要注意", bad)
	}
	return nil
}

// docsCommand writes the generated parts of the documents: the permission table and the state diagrams.
func docsCommand(ctx context.Context, e *env, args []string) error {
	f := flag.NewFlagSet("anwang docs", flag.ContinueOnError)
	dir := f.String("dir", "docs", "文档目录")
	if err := f.Parse(args); err != nil {
		return usageError{err}
	}
	return scratch(ctx, e, func(a *App) error {
		if err := os.WriteFile(filepath.Join(*dir, "permissions.md"), []byte(console.PermissionTable(a.Kernel.Access.Permissions())), 0o644); err != nil {
			return err
		}
		return insertDiagram(filepath.Join(*dir, "modules", "hiddendanger.md"), a.all.hiddendanger.Diagram())
	})
}

var diagramPlace = regexp.MustCompile(`(?s)<!-- diagram -->.*<!-- /diagram -->`)

// insertDiagram puts a Mermaid diagram between the marks in a document.
func insertDiagram(path, diagram string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !diagramPlace.Match(text) {
		return errors.New(path + " has no place for its diagram")
	}
	block := "<!-- diagram -->\n```mermaid\n" + diagram + "```\n<!-- /diagram -->"
	out := diagramPlace.ReplaceAllLiteralString(string(text), block)
	return os.WriteFile(path, []byte(strings.TrimRight(out, "\n")+"\n"), 0o644)
}
