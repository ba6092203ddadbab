package app

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/module"
)

// userCommand keeps accounts on the server itself, for the day when nobody can sign in. The log shows it.
func userCommand(ctx context.Context, e *env, args []string) error {
	usage := usageError{errors.New("请写 anwang user add 登录名 | passwd 登录名 | list | unlock 登录名")}
	if len(args) == 0 {
		return usage
	}
	var in access.AddUserInput
	var stdin bool
	cfg, rest, err := configure("user "+args[0], args[1:], func(f *flag.FlagSet) {
		f.StringVar(&in.Title, "title", "", "姓名或用途")
		f.StringVar(&in.Admin, "admin", "", "三员之一：system、security、audit；空为业务账号")
		f.StringVar(&in.PersonID, "person", "", "绑定的人员标识")
		f.BoolVar(&stdin, "password-stdin", false, "从标准输入读取密码；否则生成一次性密码")
	})
	if err != nil {
		return err
	}
	name := ""
	if args[0] != "list" {
		if len(rest) != 1 {
			return usage
		}
		name = rest[0]
	}
	password := ""
	if stdin {
		line, err := bufio.NewReader(e.in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		password = strings.TrimRight(line, "\r\n")
	}
	return with(ctx, e, cfg, func(ctx context.Context, a *App) error {
		gate := a.Kernel.Access
		switch args[0] {
		case "add":
			in.Name, in.Password = name, password
			if in.Title == "" {
				in.Title = name
			}
			account, password, err := gate.AddUser(ctx, in)
			if err != nil {
				return err
			}
			fmt.Fprintf(e.out, "已建立账号 %s。一次性密码：%s\n", account.Name, password)
		case "passwd":
			password, err := gate.SetPassword(ctx, name, password)
			if err != nil {
				return err
			}
			fmt.Fprintf(e.out, "新密码：%s（首次登录须修改）\n", password)
		case "unlock":
			if _, err := gate.UnlockUser(ctx, name); err != nil {
				return err
			}
			fmt.Fprintf(e.out, "账号 %s 已解锁。\n", name)
		case "list":
			accounts, err := gate.Accounts(ctx, access.AccountQuery{})
			if err != nil {
				return err
			}
			for _, u := range accounts {
				fmt.Fprintf(e.out, "%-20s %-10s %-9s %s\n", u.Name, u.State, u.Admin, u.Title)
			}
		default:
			return usage
		}
		return a.Kernel.Log.Flush(ctx)
	})
}

// importCommand takes in a file: first a dry run, then, when nothing is wrong, the import.
func importCommand(ctx context.Context, e *env, args []string) error {
	var dry bool
	cfg, rest, err := configure("import", args, func(f *flag.FlagSet) { f.BoolVar(&dry, "dry-run", false, "只检查，不写入") })
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return usageError{errors.New("请写 anwang import 种类 文件，如 anwang import enterprises 企业.xlsx（选项写在种类之前）")}
	}
	file, err := os.Open(rest[1])
	if err != nil {
		return err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return err
	}
	return with(ctx, e, cfg, func(ctx context.Context, a *App) error {
		if err := a.Seed(ctx); err != nil {
			return err
		}
		kinds := a.importers()
		kind, ok := kinds[rest[0]]
		if !ok {
			var names []string
			for name := range kinds {
				names = append(names, name)
			}
			return usageError{fmt.Errorf("没有 %q 这种导入，可用：%s", rest[0], strings.Join(names, "、"))}
		}
		progress := func(what string) func(done, total int) {
			return func(done, total int) { fmt.Fprintf(e.err, "\r%s %d / %d ", what, done, total) }
		}
		for _, apply := range []bool{false, true} {
			what := "检查"
			if apply {
				what = "写入"
			}
			report, err := kind.Run(ctx, file, stat.Size(), stat.Name(), apply, progress(what))
			fmt.Fprintln(e.err)
			if err != nil {
				return err
			}
			fmt.Fprintf(e.out, "%s：%d 行，新增 %d，更新 %d，相同 %d，错误 %d。\n", what, report.Rows, report.Created, report.Updated, report.Same, len(report.Errors))
			for i, x := range report.Errors {
				if i == 50 {
					fmt.Fprintf(e.out, "  …… 其余 %d 处从略\n", len(report.Errors)-i)
					break
				}
				fmt.Fprintf(e.out, "  第 %d 行 %s：%s\n", x.Row, x.Column, x.Message)
			}
			if len(report.Errors) > 0 {
				return errors.New("文件有误，没有写入任何内容，请修改后重新导入")
			}
			if dry {
				return nil
			}
		}
		return a.Kernel.Log.Flush(ctx)
	})
}

// importers are all importers by kind: the modules' and the divisions'.
func (a *App) importers() map[string]module.Importer {
	out := map[string]module.Importer{"divisions": {Title: "行政区划", Run: func(ctx context.Context, file io.ReaderAt, size int64, _ string, apply bool, progress func(done, total int)) (module.ImportReport, error) {
		r, err := a.Kernel.Org.ImportDivisions(ctx, io.NewSectionReader(file, 0, size), !apply, progress)
		if err != nil {
			return module.ImportReport{}, err
		}
		report := module.ImportReport{Rows: r.Rows, Created: r.New, Updated: r.Located, Same: r.Same}
		for _, f := range r.Faults {
			report.Errors = append(report.Errors, module.RowError{Row: f.Row, Column: f.Column, Message: f.Message})
		}
		return report, nil
	}}}
	for _, m := range a.all.list {
		for kind, i := range m.Importers {
			out[kind] = i
		}
	}
	return out
}

// eventCommand shows and mends the delivery of events.
func eventCommand(ctx context.Context, e *env, args []string) error {
	usage := usageError{errors.New("请写 anwang event parked | retry 标识 | replay 订阅 起始序号")}
	if len(args) == 0 {
		return usage
	}
	cfg, rest, err := configure("event "+args[0], args[1:], nil)
	if err != nil {
		return err
	}
	return with(ctx, e, cfg, func(ctx context.Context, a *App) error {
		bus := a.Kernel.Bus
		switch {
		case args[0] == "parked" && len(rest) == 0:
			parked, err := bus.Parked(ctx, "", "", 200)
			if err != nil {
				return err
			}
			for _, p := range parked {
				fmt.Fprintf(e.out, "%s %-30s %s %s\n", p.ID, p.Subscription, p.Kind, p.Error)
			}
			fmt.Fprintf(e.out, "共 %d 件搁置的事件。\n", len(parked))
			return nil
		case args[0] == "retry" && len(rest) == 1:
			return bus.Retry(ctx, rest[0])
		case args[0] == "replay" && len(rest) == 2:
			from, err := strconv.ParseInt(rest[1], 10, 64)
			if err != nil {
				return usage
			}
			handled, parked, err := bus.Replay(ctx, rest[0], from)
			if err == nil {
				fmt.Fprintf(e.out, "重放 %d 件，其中 %d 件搁置。\n", handled, parked)
			}
			return err
		}
		return usage
	})
}
