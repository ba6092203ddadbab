package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/console"
)

// demoPassword is the password of every account of the demo county. It is public, and never made anywhere else.
const demoPassword = "Anwang-demo-1"

// demoWarning stands wherever demo accounts are shown.
const demoWarning = "演示数据，密码公开，切勿用于正式环境"

// demoAccounts are the accounts that the demo county is shown with: one for each sort of user. There are more, for other towns and departments.
func demoAccounts() []console.DemoAccount {
	return []console.DemoAccount{
		{Account: "sysadmin", Title: "系统管理员"}, {Account: "secadmin", Title: "安全管理员（三员）"}, {Account: "auditor", Title: "审计管理员"},
		{Account: "office", Title: "县安委会办公室（县应急管理局），综合监管"}, {Account: "leader", Title: "县政府分管负责人"},
		{Account: "industry", Title: "县经济和信息化局，工贸行业监管"}, {Account: "officer", Title: "县应急管理局执法人员"},
		{Account: "town", Title: "仁里镇安监站站长"}, {Account: "grid", Title: "仁里镇三增村网格员"},
		{Account: "enterprise", Title: demoFirm + "，安全管理员"}, {Account: "boss", Title: demoFirm + "，主要负责人"}, {Account: "expert", Title: "安全生产专家"},
		{Account: "town2", Title: "七都镇安监站（town3 至 town8 为其余乡镇，park 为工业园区）"},
		{Account: "zhujian", Title: "县住建局（jiaotong、chengguan、wenlv、jiaoti、weijian、nongshui、shangwu 等为其他部门）"},
	}
}

// demo serves a living county. The first start builds it, through the same use cases that people use, as if a year had passed.
func demo(ctx context.Context, e *env, args []string) error {
	size := demoSize{scale: 1}
	cfg, rest, err := configure("demo", args, func(f *flag.FlagSet) {
		f.IntVar(&size.scale, "scale", 1, "规模倍数：企业和隐患的数量为平常的几倍（压力测试用）")
	})
	switch {
	case err != nil:
		return err
	case len(rest) > 0:
		return usageError{fmt.Errorf("多余的参数 %q", rest)}
	case size.scale < 1 || size.scale > 1000:
		return usageError{errors.New("--scale 应在 1 至 1000 之间")}
	}
	cfg.Page = console.Page{Demo: true, Password: demoPassword, Accounts: demoAccounts()}
	l, err := listen(cfg.Listen) // a port in use is better known before the county is built
	if err != nil {
		return err
	}
	l.Close()
	if err := buildDemo(ctx, e, cfg, size, time.Now()); err != nil {
		return err
	}
	return run(ctx, e, cfg, func(_ *App, url string) { showDemo(e.out, url) })
}

func showDemo(w io.Writer, url string) {
	fmt.Fprintf(w, "\n安网演示县（石台县）已启动：%s\n\n", url)
	for _, a := range demoAccounts() {
		fmt.Fprintf(w, "  %-11s %s  %s\n", a.Account, demoPassword, a.Title)
	}
	fmt.Fprintf(w, "\n%s。\n", demoWarning)
}

// demoSize says how much is made.
type demoSize struct {
	scale    int
	fraction int // tests: only every n-th enterprise and danger; 0 is all
}

// of is n at this size, at least 1.
func (s demoSize) of(n int) int { return max(1, n*s.scale/max(1, s.fraction)) }

// unfinished names the file that stands in the data folder while the county is being built.
const unfinished = "demo.unfinished"

// buildDemo makes the demo county in cfg's installation, ending at now, unless it is there already.
func buildDemo(ctx context.Context, e *env, cfg Config, size demoSize, now time.Time) (err error) {
	mark := filepath.Join(cfg.Data, unfinished)
	if _, err := os.Stat(mark); err == nil {
		place := "删除目录 " + cfg.Data
		if cfg.DB != "" {
			place += " 并清空数据库"
		}
		return errors.New("演示数据未生成完整，请" + place + "后重试")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	clk := clock.At(now.AddDate(-1, 0, 0))
	a, err := Open(ctx, cfg, e.version, clk, cfg.logger(e.err))
	if err != nil {
		return err
	}
	defer a.Close()
	system := actor.AsSystem(ctx, "demo")
	accounts, err := a.Kernel.Access.Accounts(system, access.AccountQuery{Limit: 200})
	if err != nil {
		return err
	}
	if slices.ContainsFunc(accounts, func(v *access.AccountView) bool { return v.Name == "office" }) {
		return nil
	}
	if len(accounts) > 0 {
		return fmt.Errorf("目录 %s 中已有一套正式安装，不能在其中生成演示数据，请用 --data 指定另一个目录", cfg.Data)
	}
	if err := os.WriteFile(mark, []byte("演示数据正在生成\n"), 0o600); err != nil {
		return err
	}
	began := time.Now()
	fmt.Fprintln(e.err, "首次启动，正在生成演示数据，约需一分钟 …")
	b := newBuilder(a, clk, size, now, e.err)
	if err := b.build(system); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("已中断。演示数据未生成完整，请删除目录 %s 后重试", cfg.Data)
		}
		return fmt.Errorf("生成演示数据：%w", err)
	}
	if err := os.Remove(mark); err != nil {
		return err
	}
	fmt.Fprintf(e.err, "演示数据已生成：%s，用时 %s。\n", b.summary(), time.Since(began).Round(time.Second))
	return nil
}
