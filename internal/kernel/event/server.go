package event

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// embedded is the server inside this process.
type embedded struct {
	*server.Server
	opts *server.Options
}

// startServer starts the server inside this process. It returns when clients can connect and listeners, if any were asked for, are open.
func startServer(node string, cfg Config) (*embedded, error) {
	opts := &server.Options{
		ServerName: token(node),
		JetStream:  true, JetStreamDomain: token(node), StoreDir: cfg.StoreDir,
		// Fixed limits: the server's own are read from the disk and memory of the moment, and refuse streams later on.
		JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: 1 << 40,
		MaxPayload: 8 << 20,
		DontListen: true,
		NoSigs:     true, // signals belong to cmd
	}
	if cfg.Options != nil {
		cfg.Options(opts)
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("event server: %w", err)
	}
	log := &serverLog{log: cfg.Log}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start()
	if fatal := log.fatalError(); fatal != "" {
		srv.Shutdown()
		return nil, fmt.Errorf("消息服务无法启动，请检查数据目录 %s 的权限、磁盘空间以及端口是否被占用：%s", cfg.StoreDir, fatal)
	}
	return &embedded{srv, opts}, nil
}

// reviveJetStream switches JetStream on again after the server switched it off by itself, as it does when the disk is full.
func (e *embedded) reviveJetStream() error {
	if e.JetStreamEnabled() {
		return nil
	}
	return e.EnableJetStream(&server.JetStreamConfig{
		StoreDir: e.opts.StoreDir, Domain: e.opts.JetStreamDomain, SyncInterval: e.opts.SyncInterval, SyncAlways: e.opts.SyncAlways,
		MaxMemory: e.opts.JetStreamMaxMemory, MaxStore: e.opts.JetStreamMaxStore, Strict: !e.opts.NoJetStreamStrict, CompressOK: true,
	})
}

// serverLog passes the server's warnings and errors on to slog. What the server calls fatal ends its start, not this process.
type serverLog struct {
	log   *slog.Logger
	mu    sync.Mutex
	fatal string
}

func (l *serverLog) Noticef(string, ...any) {}
func (l *serverLog) Debugf(string, ...any)  {}
func (l *serverLog) Tracef(string, ...any)  {}

func (l *serverLog) Warnf(format string, v ...any) {
	l.log.Warn("nats: " + fmt.Sprintf(format, v...))
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.log.Error("nats: " + fmt.Sprintf(format, v...))
}

func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == "" {
		l.fatal = fmt.Sprintf(format, v...)
	}
}

func (l *serverLog) fatalError() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
