package audit

import (
	"embed"

	"anwang/internal/kernel/db"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations makes the log's tables.
var Migrations = db.Migrations{Part: "audit", Files: files}

// Log is the log of one installation.
type Log struct {
	db     *db.DB
	signal chan struct{} // holds one wake-up for the sequencer
}

// New returns the log in d. Start begins sequencing.
func New(d *db.DB) *Log {
	return &Log{db: d, signal: make(chan struct{}, 1)}
}

func (l *Log) wake() {
	select {
	case l.signal <- struct{}{}:
	default: // one is already waiting
	}
}
