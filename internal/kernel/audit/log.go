package audit

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"anwang/internal/kernel/db"
	"anwang/internal/lib/translog"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the log's tables.
var Migrations = db.Migrations{Part: "audit", Files: files}

// Keys are what the log needs beside the database: the checkpoints' signing key, the entries' MAC key, and the place where
// the newest checkpoint is kept a second time.
type Keys struct {
	Suite  translog.Suite
	PEM    []byte // signing key, PKCS #8
	MAC    []byte // 32 bytes
	Folder string // holds checkpoint.txt; empty: none is kept
}

// LoadKeys reads the keys in dir, and makes them on the first call. The suite is chosen when they are made and stays.
func LoadKeys(dir string, suite translog.Suite) (Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Keys{}, fmt.Errorf("无法创建密钥目录 %s：%w", dir, err)
	}
	k := Keys{Folder: dir}
	read := func(name string, make func() ([]byte, error)) ([]byte, error) {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			if b, err = make(); err == nil {
				err = writeFile(path, b)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("日志密钥 %s：%w", path, err)
		}
		return b, nil
	}
	name, err := read("suite", func() ([]byte, error) { return []byte(suite), nil })
	if err != nil {
		return Keys{}, err
	}
	if k.Suite, err = translog.ParseSuite(string(name)); err != nil {
		return Keys{}, err
	}
	if k.PEM, err = read("log.pem", func() ([]byte, error) { return translog.GenerateKey(k.Suite) }); err != nil {
		return Keys{}, err
	}
	k.MAC, err = read("entries.key", func() ([]byte, error) {
		b := make([]byte, 32)
		_, err := rand.Read(b)
		return b, err
	})
	return k, err
}

// writeFile replaces path in one go, and is on disk when it returns.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Log is the log of one installation. It is safe for concurrent use.
type Log struct {
	db     *db.DB
	keys   Keys
	signer *translog.Signer
	log    *slog.Logger
	signal chan struct{} // holds one wake-up for the sequencer

	mu        sync.Mutex
	forged    []string // ids of entries that the sequencer refused
	listeners []func()
	stop      context.CancelFunc
	done      chan struct{}

	// CheckpointEvery is how often a checkpoint is signed while entries come. Set it before Start.
	CheckpointEvery time.Duration
}

// New returns the log in d, which must be migrated: the log is named after the node. Start begins sequencing.
func New(d *db.DB, keys Keys, log *slog.Logger) (*Log, error) {
	signer, err := translog.NewSigner(keys.Suite, "anwang/"+d.Node, keys.PEM)
	if err != nil {
		return nil, fmt.Errorf("日志签名密钥不可用：%w", err)
	}
	return &Log{db: d, keys: keys, signer: signer, log: log, signal: make(chan struct{}, 1), CheckpointEvery: time.Minute}, nil
}

// Key is the public key that verifies this log's checkpoints: what the operator publishes.
func (l *Log) Key() translog.VerifierKey { return l.signer.VerifierKey() }

func (l *Log) wake() {
	select {
	case l.signal <- struct{}{}:
	default: // one is already waiting
	}
}

func (l *Log) leafHash(r *Row) []byte { return l.keys.Suite.LeafHash(r.Header(), r.Content()) }

func (l *Log) mac(leafHash []byte) []byte {
	m := hmac.New(sha256.New, l.keys.MAC)
	m.Write(leafHash)
	return m.Sum(nil)[:16]
}
