// Package module says what a module is: what it gets from the kernel ([Kernel]) and what it declares ([Module]). The composition root (internal/app) reads the
// declarations and wires them; a module registers nothing by itself.
package module

import (
	"context"
	"io"
	"log/slog"

	"anwang/internal/kernel/access"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/importer"
	"anwang/internal/kernel/job"
	"anwang/internal/kernel/ledger"
	"anwang/internal/kernel/notify"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/policy"
	"anwang/internal/kernel/record"
)

// Kernel is what all modules share. Its parts are ready to be called once the program has started; while modules are being made only constructors and
// declarations may be called.
type Kernel struct {
	DB        *db.DB
	Clock     *clock.Clock
	Log       *audit.Log
	Records   *record.Registry
	Org       *org.Directory
	Access    *access.Gate
	Dict      *dict.Dict
	Policies  *policy.Store
	Deadlines *deadline.Book
	Files     *file.Store
	Bus       *event.Bus
	Notify    *notify.Notifier
	Jobs      *job.Queue
	Imports   *importer.Importer
	Slog      *slog.Logger
}

// Module is what a module declares.
type Module struct {
	Name  string // "hiddendanger": the prefix of its permissions, events, error codes and tables
	Title string // "隐患治理"

	Migrations    db.Migrations
	Permissions   []access.Permission
	Dicts         []dict.Kind
	Rules         []deadline.Rule
	Policies      []policy.Any
	Templates     []notify.Template
	Subscriptions []event.Subscription
	Jobs          []job.Kind
	Schedules     []job.Every
	Menu          []MenuItem
	// Guards say who may see the attachments of the module's records, by record type.
	Guards map[string]file.Guard
	// Routes adds the module's operations and lists.
	Routes func(api *httpx.API, lists ledger.Service)
	// Importers serve "anwang import KIND FILE", by kind.
	Importers map[string]Importer
	// Seed writes what the module needs to be there, such as its check lists. It runs at every start and must change nothing the second time. May be nil.
	Seed func(ctx context.Context) error
}

// MenuItem is an entry of the menu. It is shown to whoever holds Need anywhere.
type MenuItem struct {
	Group string `json:"group"` // "双重预防"
	Title string `json:"title"`
	Path  string `json:"path"` // of the page
	Need  string `json:"need"`
	Order int    `json:"order"`
}

// Importer takes in a file from the command line: a dry run first, then, when apply is set and the dry run found nothing wrong, the import itself.
type Importer struct {
	Title string
	Run   func(ctx context.Context, file io.ReaderAt, size int64, name string, apply bool, progress func(done, total int)) (ImportReport, error)
}

// ImportReport says what an import did or would do.
type ImportReport struct {
	Rows, Created, Updated, Same int
	Errors                       []RowError
}

// RowError is something wrong in one row of a file.
type RowError struct {
	Row     int
	Column  string
	Message string
}
