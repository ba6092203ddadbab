package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"anwang/internal/kernel/clock"
	"anwang/internal/lib/translog"
)

// auditVerify recomputes the whole log. It may run beside a serving process: it reads one picture of the database and takes no lock.
func auditVerify(ctx context.Context, e *env, args []string) error {
	cfg, _, err := configure("audit verify", args, nil)
	if err != nil {
		return err
	}
	a := &App{Config: cfg, Version: e.version, Slog: cfg.logger(e.err)}
	defer a.Close()
	if _, err := os.Stat(cfg.Data); err != nil {
		return fmt.Errorf("数据目录 %s 不存在，请用 --data 指定：%w", cfg.Data, err)
	}
	if err := a.open(ctx, clock.System()); err != nil {
		return err
	}
	shown := time.Now()
	report, err := a.Kernel.Log.Verify(ctx, a.Kernel.Records.Tables(), func(done, total int64) {
		if time.Since(shown) > time.Second {
			shown = time.Now()
			fmt.Fprintf(e.err, "\r已核对 %d / %d 条", done, total)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "日志 %d 条，检查点 %d 个，业务记录 %d 条，待编入 %d 条，用时 %s（每秒 %.0f 条）。\n",
		report.Leaves, report.Checkpoints, report.Records, report.Waiting, report.Took.Round(time.Millisecond), float64(report.Leaves)/report.Took.Seconds())
	if report.OK() {
		fmt.Fprintln(e.out, "核对无误：没有被改动、删除或插入的内容。")
		return nil
	}
	for _, f := range report.Findings {
		fmt.Fprintf(e.out, "  [%s] %s\n", f.Kind, f.Message)
	}
	if report.Cut {
		fmt.Fprintln(e.out, "  …… 其余从略")
	}
	return fmt.Errorf("发现 %d 处与日志不符", len(report.Findings))
}

// auditProof writes the proof file of one entry.
func auditProof(ctx context.Context, e *env, args []string) error {
	var out string
	cfg, rest, err := configure("audit proof", args, func(f *flag.FlagSet) { f.StringVar(&out, "out", "", "写入的文件；空为屏幕") })
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usageError{errors.New("请写 anwang audit proof 条目标识")}
	}
	return with(ctx, e, cfg, func(ctx context.Context, a *App) error {
		p, err := a.Kernel.Log.Proof(ctx, rest[0], true)
		if err != nil {
			return err
		}
		text, err := p.Encode()
		if err != nil {
			return err
		}
		if out == "" {
			_, err = e.out.Write(append(text, '\n'))
			return err
		}
		return os.WriteFile(out, text, 0o644)
	})
}

// auditCheck verifies a proof file offline: no database, no network.
func auditCheck(e *env, args []string) error {
	f := flag.NewFlagSet("anwang audit check", flag.ContinueOnError)
	key := f.String("key", "", "公布的日志公钥；不给则用文件中的公钥，并提示核对指纹")
	if err := f.Parse(args); err != nil {
		return usageError{err}
	}
	if f.NArg() != 1 {
		return usageError{errors.New("请写 anwang audit check 证明文件")}
	}
	text, err := os.ReadFile(f.Arg(0))
	if err != nil {
		return err
	}
	p, err := translog.ParseProof(text)
	if err != nil {
		return err
	}
	var trusted []translog.VerifierKey
	if *key != "" {
		k, err := translog.ParseVerifierKey(*key)
		if err != nil {
			return err
		}
		trusted = append(trusted, k)
	}
	result, err := p.Check(trusted...)
	if err != nil {
		return err
	}
	result.Time = result.Time.In(clock.Zone)
	fmt.Fprintln(e.out, result.String())
	fmt.Fprintln(e.out, string(result.Leaf.Header))
	return nil
}
