package app

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
)

// command is one sub-command.
type command struct {
	name, args, help string
	run              func(ctx context.Context, e *env, args []string) error
}

// env is what a command runs in.
type env struct {
	version  string
	in       io.Reader
	out, err io.Writer
}

func commands() []command {
	return []command{
		{"serve", "", "启动服务", serve},
		{"demo", "", "启动演示县（首次启动时生成演示数据）", demo},
		{"migrate", "", "升级数据库后退出", migrate},
		{"openapi", "", "输出接口说明（OpenAPI 3.1）", openapi},
		{"user", "add|passwd|list|unlock 登录名", "在服务器上管理账号", userCommand},
		{"import", "种类 文件", "导入：divisions、enterprises、grids", importCommand},
		{"event", "parked | retry 标识 | replay 订阅 序号", "查看和处理搁置的事件；重放", eventCommand},
		{"backup", "文件.tar.gz", "备份整套安装（可在运行时进行）", backupCommand},
		{"restore", "文件.tar.gz", "恢复到空的数据目录，并核对日志", restoreCommand},
		{"doctor", "", "检查一套安装", doctorCommand},
		{"docs", "", "生成文档中的表格和状态图", docsCommand},
		{"audit", "verify | proof 条目 | check 文件", "校验日志；导出证明；离线核验证明", auditCommand},
		{"version", "", "输出版本", func(_ context.Context, e *env, _ []string) error { fmt.Fprintln(e.out, e.version); return nil }},
	}
}

// Main runs the command that args name and returns the exit status: 0 done, 1 failed, 2 used wrongly.
func Main(ctx context.Context, version string, args []string, in io.Reader, out, err io.Writer) int {
	e := &env{version, in, out, err}
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		usage(out)
		if len(args) == 0 {
			return 2
		}
		return 0
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		failure := c.run(ctx, e, args[1:])
		var wrong usageError
		switch {
		case failure == nil, errors.Is(failure, flag.ErrHelp):
			return 0
		case errors.As(failure, &wrong):
			fmt.Fprintln(err, "用法有误："+failure.Error())
			return 2
		default:
			fmt.Fprintln(err, "失败："+describe(failure))
			return 1
		}
	}
	fmt.Fprintf(err, "没有 %q 这个命令。\n\n", args[0])
	usage(err)
	return 2
}

// describe gives people the message and operators the cause.
func describe(err error) string {
	if e := errs.As(err); e != nil {
		text := e.Message
		for _, f := range e.Fields {
			text += "\n  " + f.Pointer + "：" + f.Message
		}
		return text
	}
	return err.Error()
}

func usage(w io.Writer) {
	fmt.Fprint(w, "安网 Anwang：安全生产与职业健康“一张网”\n\n用法：anwang 命令 [选项]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s %-34s %s\n", c.name, c.args, c.help)
	}
	fmt.Fprint(w, "\n各命令的选项见 anwang 命令 --help；也可写在 --config 文件或 ANWANG_… 环境变量中。\n")
}

func (c Config) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if c.LogDebug {
		opts.Level = slog.LevelDebug
	}
	if c.LogJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// with opens the installation for a command that works on it while no server does, and closes it afterwards.
func with(ctx context.Context, e *env, cfg Config, do func(ctx context.Context, a *App) error) error {
	a, err := Open(ctx, cfg, e.version, clock.System(), cfg.logger(e.err))
	if err != nil {
		return err
	}
	defer a.Close()
	return do(actor.AsSystem(ctx, "command"), a)
}

func serve(ctx context.Context, e *env, args []string) error {
	cfg, rest, err := configure("serve", args, nil)
	if err == nil && len(rest) > 0 {
		err = usageError{fmt.Errorf("多余的参数 %q", rest)}
	}
	if err != nil {
		return err
	}
	return run(ctx, e, cfg, nil)
}

// run opens, seeds, starts and serves until ctx ends. ready may say something once requests are answered.
func run(ctx context.Context, e *env, cfg Config, ready func(a *App, url string)) error {
	l, err := listen(cfg.Listen)
	if err != nil {
		return err
	}
	defer l.Close()
	a, err := Open(ctx, cfg, e.version, clock.System(), cfg.logger(e.err))
	if err != nil {
		return err
	}
	defer a.Close()
	if err := a.Seed(ctx); err != nil {
		return err
	}
	first, err := a.Kernel.Access.FirstStart(actor.AsSystem(ctx, "first start"))
	if err != nil {
		return err
	}
	if len(first) > 0 {
		fmt.Fprintln(e.out, "首次启动，已建立三员账号。以下一次性密码只显示这一次，首次登录须修改：")
		for _, f := range first {
			fmt.Fprintf(e.out, "  %-10s %-8s %s\n", f.Name, f.Title, f.Password)
		}
	}
	if err := a.Start(ctx); err != nil {
		return err
	}
	url := address(l)
	if ready != nil {
		ready(a, url)
	} else {
		fmt.Fprintf(e.out, "安网已启动：%s\n", url)
	}
	return a.Serve(ctx, l)
}

// listen takes the port before anything else is done, so that a second start fails at once and says why.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("端口 %s 已被占用。请停止占用它的程序，或用 --listen 指定别的端口", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("无法监听 %s：%w", addr, err)
	}
	return l, nil
}

func address(l net.Listener) string {
	a := l.Addr().(*net.TCPAddr)
	host := a.IP.String()
	if a.IP.IsUnspecified() {
		host = "localhost"
	}
	return fmt.Sprintf("http://%s", net.JoinHostPort(host, fmt.Sprint(a.Port)))
}

func migrate(ctx context.Context, e *env, args []string) error {
	cfg, _, err := configure("migrate", args, nil)
	if err != nil {
		return err
	}
	return with(ctx, e, cfg, func(ctx context.Context, a *App) error {
		applied, err := a.Kernel.DB.Applied(ctx)
		if err == nil {
			fmt.Fprintf(e.out, "数据库已是最新（%d 个迁移）。\n", len(applied))
		}
		return err
	})
}

// openapi prints the description of the API. It needs no installation: it makes a temporary one.
func openapi(ctx context.Context, e *env, _ []string) error {
	return scratch(ctx, e, func(a *App) error {
		b, err := json.MarshalIndent(a.API.OpenAPI(), "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.out, string(b))
		return err
	})
}

// scratch opens an installation in a temporary folder.
func scratch(ctx context.Context, e *env, do func(a *App) error) error {
	dir, err := os.MkdirTemp("", "anwang-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	cfg, _, err := configure("scratch", []string{"--data", dir}, nil)
	if err != nil {
		return err
	}
	cfg.DB = ""
	// The description must not depend on which build makes it.
	a, err := Open(ctx, cfg, "1", clock.System(), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer a.Close()
	return do(a)
}

func auditCommand(ctx context.Context, e *env, args []string) error {
	if len(args) == 0 {
		return usageError{errors.New("请写 anwang audit verify、proof 条目 或 check 文件")}
	}
	switch args[0] {
	case "verify":
		return auditVerify(ctx, e, args[1:])
	case "proof":
		return auditProof(ctx, e, args[1:])
	case "check":
		return auditCheck(e, args[1:])
	}
	return usageError{fmt.Errorf("没有 audit %s", args[0])}
}
