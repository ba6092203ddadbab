package enterprise

import (
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/module"
	"anwang/internal/module/enterprise/enterpriseapi"
)

// Module declares the module.
func (s *Service) Module() module.Module {
	return module.Module{
		Name: "enterprise", Title: "企业档案",
		Migrations: Migrations, Permissions: Permissions, Dicts: Dicts,
		Menu: []module.MenuItem{
			{Group: "企业", Title: "企业档案", Path: "/enterprises", Need: View, Order: 10},
			{Group: "企业", Title: "企业导入", Path: "/imports/enterprises", Need: Import, Order: 20},
		},
		Guards: map[string]file.Guard{enterpriseapi.RecordType: s.guard},
		Routes: s.routes,
	}
}

// Make returns the service and its declaration over a kernel.
func Make(k *module.Kernel) (*Service, module.Module) {
	s := New(k.DB, k.Log, k.Records, k.Org, k.Dict, k.Policies)
	return s, s.Module()
}
