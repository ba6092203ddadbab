package app

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"

	"anwang/internal/kernel/console"
	"anwang/internal/lib/translog"
)

// Config is everything that can be set. Defaults, then the file, then ANWANG_… variables, then flags. Nothing but Data is needed.
type Config struct {
	Data     string
	Listen   string
	DB       string
	NATS     string
	Files    string
	Node     string
	Root     string
	Suite    string
	Secure   bool
	Rate     float64
	LogJSON  bool
	LogDebug bool

	// Page is what the first page says beside what every installation says. No setting sets it: the demo does.
	Page console.Page
}

// setting is one row of the table of settings: its name in the file and the environment (behind ANWANG_), its flag, its default, its meaning.
type setting struct {
	name, flag, value, help string
	set                     func(c *Config, v string) error
}

func text(p func(c *Config) *string) func(c *Config, v string) error {
	return func(c *Config, v string) error { *p(c) = v; return nil }
}

func yesNo(p func(c *Config) *bool) func(c *Config, v string) error {
	return func(c *Config, v string) (err error) { *p(c), err = strconv.ParseBool(v); return err }
}

var settings = []setting{
	{"DATA", "data", "data", "数据目录；一套安装的全部内容都在其中", text(func(c *Config) *string { return &c.Data })},
	{"LISTEN", "listen", ":8080", "HTTP 监听地址", text(func(c *Config) *string { return &c.Listen })},
	{"DB", "db", "", "数据库：空为数据目录中的 SQLite，或 postgres://… 地址", text(func(c *Config) *string { return &c.DB })},
	{"NATS", "nats", "", "外部 NATS 地址；空为内置", text(func(c *Config) *string { return &c.NATS })},
	{"FILES", "files", "", "附件存储：空为数据目录中的 files，或另一个目录", text(func(c *Config) *string { return &c.Files })},
	{"NODE", "node", "", "本节点名称（省、市、县互联时唯一）；首次启动后不可更改；空为 ROOT", text(func(c *Config) *string { return &c.Node })},
	{"ROOT", "root", "341722", "本套系统管辖的行政区划代码；首次启动时据此载入区划", text(func(c *Config) *string { return &c.Root })},
	{"SUITE", "suite", string(translog.SHA256Ed25519), "日志算法：sha256-ed25519 或 sm3-sm2（国密）；首次启动后不可更改", text(func(c *Config) *string { return &c.Suite })},
	{"SECURE", "secure", "false", "经 HTTPS 提供服务（Cookie 只走 HTTPS）", yesNo(func(c *Config) *bool { return &c.Secure })},
	{"RATE", "rate", "100", "每个用户（未登录者按地址）每秒请求上限；0 为不限", func(c *Config, v string) (err error) { c.Rate, err = strconv.ParseFloat(v, 64); return err }},
	{"LOG_JSON", "log-json", "false", "日志用 JSON 格式", yesNo(func(c *Config) *bool { return &c.LogJSON })},
	{"LOG_DEBUG", "log-debug", "false", "记录每个请求", yesNo(func(c *Config) *bool { return &c.LogDebug })},
}

// usageError is a wrong use of the command line: exit status 2.
type usageError struct{ error }

// configure reads the settings for a command that also takes the flags that more adds, and returns the arguments that are left.
func configure(command string, args []string, more func(f *flag.FlagSet)) (Config, []string, error) {
	var c Config
	f := flag.NewFlagSet("anwang "+command, flag.ContinueOnError)
	f.SetOutput(os.Stderr)
	file := f.String("config", os.Getenv("ANWANG_CONFIG"), "设置文件，每行 名称=值")
	given := map[string]*string{}
	for _, s := range settings {
		given[s.name] = f.String(s.flag, s.value, fmt.Sprintf("%s（ANWANG_%s）", s.help, s.name))
	}
	if more != nil {
		more(f)
	}
	if err := f.Parse(args); err != nil {
		return c, nil, usageError{err}
	}
	values, err := readFile(*file)
	if err != nil {
		return c, nil, err
	}
	flags := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { flags[fl.Name] = true })
	for _, s := range settings {
		v, from := s.value, "默认值"
		if x, ok := values[s.name]; ok {
			v, from = x, *file
			delete(values, s.name)
		}
		if x, ok := os.LookupEnv("ANWANG_" + s.name); ok {
			v, from = x, "ANWANG_"+s.name
		}
		if flags[s.flag] {
			v, from = *given[s.name], "--"+s.flag
		}
		if err := s.set(&c, v); err != nil {
			return c, nil, usageError{fmt.Errorf("设置 %s（来自 %s）的值 %q 无效：%s", s.name, from, v, s.help)}
		}
	}
	for name := range values {
		return c, nil, usageError{fmt.Errorf("%s 中没有 %s 这个设置", *file, name)}
	}
	if c.Node == "" {
		c.Node = c.Root
	}
	if c.DB != "" {
		if u, err := url.Parse(c.DB); err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			return c, nil, usageError{errors.New("--db 应为 postgres://用户:密码@主机:端口/库名；留空则使用数据目录中的 SQLite")}
		}
	}
	return c, f.Args(), nil
}

func readFile(name string) (map[string]string, error) {
	values := map[string]string{}
	if name == "" {
		return values, nil
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usageError{fmt.Errorf("没有设置文件 %s", name)}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("%s 第 %d 行应形如 名称=值", name, n)}
		}
		values[strings.TrimPrefix(strings.TrimSpace(k), "ANWANG_")] = strings.Trim(strings.TrimSpace(v), `"`)
	}
	return values, lines.Err()
}
