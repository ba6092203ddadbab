package kerneltest

import (
	"crypto/rand"
	"log/slog"
	"testing"

	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/lib/translog"
)

// NewLog returns the log in d, with keys of its own. d must be migrated with audit.Migrations. It is not started: call its Flush to sequence.
func NewLog(t testing.TB, d *db.DB) *audit.Log {
	t.Helper()
	mac := make([]byte, 32)
	rand.Read(mac) //nolint:errcheck // never fails since Go 1.24
	pem, err := translog.GenerateKey(translog.SHA256Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.New(d, audit.Keys{Suite: translog.SHA256Ed25519, PEM: pem, MAC: mac}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return log
}
