// Package app is the composition root: the only place that knows every module. It opens the kernel, mounts the modules, and starts and stops all parts in order.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/console"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/importer"
	"anwang/internal/kernel/job"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/module"
	"anwang/internal/kernel/notify"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/policy"
	"anwang/internal/kernel/record"
	"anwang/internal/lib/gm"
	"anwang/internal/lib/translog"
)

// App is one installation in this process.
type App struct {
	Config  Config
	Version string
	Slog    *slog.Logger
	Kernel  *module.Kernel
	API     *httpx.API
	Handler http.Handler
	// First are the accounts made at the very first start, with their one-time passwords.
	First []access.FirstAccount

	all     *modules
	parts   []part // in the order of starting
	started int
	close   []func() // in the order of opening
}

// part is something that runs in the background.
type part struct {
	name  string
	start func(ctx context.Context) error
	stop  func()
}

// Open opens the installation that cfg names: locks its folder, opens and migrates its database, loads its keys, puts kernel and modules together. Nothing runs
// before Start. The caller calls Close.
func Open(ctx context.Context, cfg Config, version string, clk *clock.Clock, log *slog.Logger) (*App, error) {
	a := &App{Config: cfg, Version: version, Slog: log}
	release, err := db.LockDir(cfg.Data)
	if err != nil {
		return nil, err
	}
	a.close = append(a.close, func() { release() }) //nolint:errcheck // the process gives it back anyway
	if err := a.open(ctx, clk); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// target is where the database is.
func (c Config) target() string {
	if c.DB != "" {
		return c.DB
	}
	return filepath.Join(c.Data, "anwang.db")
}

func (a *App) open(ctx context.Context, clk *clock.Clock) error {
	cfg := a.Config
	d, err := db.Open(ctx, cfg.target(), clk)
	if err != nil {
		return err
	}
	a.close = append(a.close, func() { d.Close() })
	if err := d.Migrate(ctx, cfg.Node, migrations()...); err != nil {
		return err
	}
	log, err := openLog(cfg, d, a.Slog)
	if err != nil {
		return err
	}
	sealer, err := openSealer(filepath.Join(cfg.Data, "keys", "seal.key"))
	if err != nil {
		return err
	}
	folder := cfg.Files
	if folder == "" {
		folder = filepath.Join(cfg.Data, "files")
	}
	bucket, err := file.OpenFolder(folder)
	if err != nil {
		return err
	}
	a.close = append(a.close, func() { bucket.Close() })

	reg := &record.Registry{}
	directory := org.New(d, log, reg, sealer)
	k := &module.Kernel{
		DB: d, Clock: clk, Log: log, Records: reg, Slog: a.Slog,
		Org: directory, Access: access.New(d, log, reg, directory, sealer),
		Dict: dict.New(d, log, reg, a.Slog), Policies: policy.New(d, log, reg), Deadlines: deadline.New(d, log, reg),
		Files:  file.New(d, log, reg, bucket, file.Config{Spool: os.TempDir()}, a.Slog),
		Bus:    event.New(d, log, event.Config{StoreDir: filepath.Join(cfg.Data, "nats"), URL: cfg.NATS, Log: a.Slog}),
		Notify: notify.New(d, log, reg, a.Slog), Jobs: job.New(d, a.Slog),
	}
	a.Kernel = k
	k.Imports = importer.New(d, log, reg, k.Files, func(ctx context.Context, kind, run string) error {
		_, err := k.Jobs.Enqueue(ctx, importJob, run, job.Options{})
		return err
	})
	k.Jobs.Declare(job.Kind{Name: importJob, Title: "导入", Run: func(ctx context.Context, r *job.Run) error {
		var id string
		if err := r.Decode(&id); err != nil {
			return err
		}
		return k.Imports.Work(ctx, id, func(done, total int) { r.Report(ctx, int64(done), int64(total), "") })
	}})
	a.all = build(k)
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.API = httpx.New(httpx.Config{DB: d, Log: a.Slog, Auth: gate{k.Access}, Version: a.Version, Secure: cfg.Secure, RequestsPerSecond: cfg.Rate, Metrics: metrics})
	lists := ledger.Service{API: a.API, Log: log, Label: k.Dict.Label}
	var menu []module.MenuItem
	for _, m := range a.all.list {
		k.Access.DeclarePermissions(m.Permissions...)
		k.Dict.Declare(m.Dicts...)
		k.Deadlines.Declare(m.Rules...)
		k.Policies.Declare(m.Policies...)
		k.Notify.Declare(m.Templates...)
		k.Jobs.Declare(m.Jobs...)
		k.Jobs.Schedule(m.Schedules...)
		k.Bus.Subscribe(m.Subscriptions...)
		for recordType, g := range m.Guards {
			k.Files.Guard(recordType, g)
		}
		menu = append(menu, m.Menu...)
	}
	k.Notify.Declare(clockTemplates()...)
	k.Bus.Subscribe(clockSubscriptions(k)...)
	k.Jobs.Schedule(housekeeping(a)...)
	console.Routes(a.API, lists, k, menu)
	page := cfg.Page
	page.Root = cfg.Root
	if err := console.Pages(a.API, k, a.Version, page); err != nil {
		return err
	}
	for _, m := range a.all.list {
		if m.Routes != nil {
			m.Routes(a.API, lists)
		}
	}
	a.Handler = a.API.Handler()
	clocks := deadline.NewSweeper(k.Deadlines, a.Slog)
	a.parts = []part{
		{"log", log.Start, log.Stop},
		{"dict", k.Dict.Start, k.Dict.Stop},
		{"notify", k.Notify.Start, k.Notify.Stop},
		{"events", k.Bus.Start, k.Bus.Stop},
		{"clocks", clocks.Start, clocks.Stop},
		{"jobs", k.Jobs.Start, k.Jobs.Stop},
	}
	return nil
}

const importJob = "importer.work"

// housekeeping is the kernel's own work that comes round.
func housekeeping(a *App) []job.Every {
	k := a.Kernel
	return []job.Every{
		{Name: "file.sweep", Interval: time.Hour, Run: func(ctx context.Context) error { _, err := k.Files.Sweep(ctx); return err }},
		{Name: "notify.sweep", DailyAt: "03:10", Run: func(ctx context.Context) error { _, err := k.Notify.Sweep(ctx); return err }},
		{Name: "httpx.forget", DailyAt: "03:20", Run: func(ctx context.Context) error { return a.API.ForgetAnswers(ctx, 30*24*time.Hour) }},
		{Name: "job.sweep", DailyAt: "03:30", Run: func(ctx context.Context) error { return k.Jobs.Sweep(ctx, 30*24*time.Hour) }},
	}
}

// Seed writes what the program brings along: divisions, dictionaries, calendar and rules, roles, check lists; and at the very first start the three administrators. It changes
// nothing the second time.
func (a *App) Seed(ctx context.Context) error {
	ctx = actor.AsSystem(ctx, "seed")
	k := a.Kernel
	for _, s := range []struct {
		what string
		seed func(ctx context.Context) error
	}{
		{"divisions", func(ctx context.Context) error { return k.Org.SeedDivisions(ctx, a.Config.Root) }},
		{"dictionaries", k.Dict.Seed}, {"calendar and rules", k.Deadlines.Seed}, {"roles", k.Access.Seed}, {"message templates", k.Notify.Seed},
	} {
		if err := s.seed(ctx); err != nil {
			return fmt.Errorf("seed %s: %w", s.what, err)
		}
	}
	for _, m := range a.all.list {
		if m.Seed == nil {
			continue
		}
		if err := m.Seed(ctx); err != nil {
			return fmt.Errorf("seed %s: %w", m.Name, err)
		}
	}
	return nil
}

// Start starts the background parts in order.
func (a *App) Start(ctx context.Context) error {
	for _, p := range a.parts[a.started:] {
		if err := p.start(ctx); err != nil {
			return fmt.Errorf("start %s: %w", p.name, err)
		}
		a.started++
	}
	return nil
}

// Stop stops the background parts in the reverse order. It may be called twice.
func (a *App) Stop() {
	for ; a.started > 0; a.started-- {
		a.parts[a.started-1].stop()
	}
}

// Close stops everything and gives the folder back.
func (a *App) Close() {
	a.Stop()
	for i := len(a.close) - 1; i >= 0; i-- {
		a.close[i]()
	}
	a.close = nil
}

// Serve answers requests on the listener until ctx ends, then lets the requests under way finish.
func (a *App) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: a.Handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context {
			return httpx.WithClosing(context.WithoutCancel(ctx), ctx.Done())
		},
		ErrorLog: slog.NewLogLogger(a.Slog.Handler(), slog.LevelDebug)}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(patience); err != nil {
		return server.Close()
	}
	return nil
}

func openLog(cfg Config, d *db.DB, log *slog.Logger) (*audit.Log, error) {
	suite, err := translog.ParseSuite(cfg.Suite)
	if err != nil {
		return nil, err
	}
	keys, err := audit.LoadKeys(filepath.Join(cfg.Data, "keys"), suite)
	if err != nil {
		return nil, err
	}
	return audit.New(d, keys, log)
}

func openSealer(path string) (*gm.Sealer, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 16)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		err = os.WriteFile(path, key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("加密密钥 %s：%w", path, err)
	}
	return gm.NewSealer(key)
}

// gate lets the door recognise callers by kernel/access.
type gate struct{ access *access.Gate }

func (g gate) Authenticate(ctx context.Context, token string) (httpx.Session, error) {
	who, login, err := g.access.Authenticate(ctx, token)
	if err != nil {
		return httpx.Session{}, err
	}
	s := httpx.Session{Actor: who}
	if login != nil {
		s.CSRF, s.MustChange, s.MustEnrol = login.CSRF, login.MustChange, login.MustEnrol
	}
	return s, nil
}
