package app

import (
	"anwang/internal/kernel/access"
	"anwang/internal/kernel/audit"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/deadline"
	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/event"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/importer"
	"anwang/internal/kernel/job"
	"anwang/internal/kernel/module"
	"anwang/internal/kernel/notify"
	"anwang/internal/kernel/org"
	"anwang/internal/kernel/policy"
	"anwang/internal/module/enterprise"
	"anwang/internal/module/grid"
	"anwang/internal/module/hiddendanger"
)

// migrations lists the owners of tables in the order of migration: the kernel's parts, then the modules.
func migrations() []db.Migrations {
	return []db.Migrations{
		audit.Migrations, httpx.Migrations, org.Migrations, access.Migrations, dict.Migrations, policy.Migrations, deadline.Migrations,
		file.Migrations, event.Migrations, notify.Migrations, job.Migrations, importer.Migrations,
		enterprise.Migrations, hiddendanger.Migrations, grid.Migrations,
	}
}

// modules are the modules of this program.
type modules struct {
	list         []module.Module // in the order of the menu and of seeding
	enterprise   *enterprise.Service
	hiddendanger *hiddendanger.Service
	grid         *grid.Service
}

// build makes the modules. A new module adds its lines here and its migrations above.
func build(k *module.Kernel) *modules {
	var m modules
	add := func(decl module.Module) { m.list = append(m.list, decl) }

	m.enterprise = enterprise.New(k.DB, k.Log, k.Records, k.Org, k.Dict, k.Policies)
	m.enterprise.ImportWith(k.Imports)
	add(m.enterprise.Module())
	m.hiddendanger = hiddendanger.New(k, m.enterprise)
	add(m.hiddendanger.Module(k))
	var decl module.Module
	m.grid, decl = grid.Make(k, m.hiddendanger, grid.Alarm(k.Notify, towns{k.Access}))
	add(decl)
	return &m
}
