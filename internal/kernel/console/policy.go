package console

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/module"
	"anwang/internal/kernel/policy"
	"anwang/internal/kernel/scope"
)

const tagPolicy = "策略"

// PolicyVersion is one version of a policy.
type PolicyVersion struct {
	ID            string          `json:"id"`
	Division      string          `json:"division"`
	EffectiveFrom string          `json:"effectiveFrom"`
	Basis         string          `json:"basis"`
	CreatedAt     time.Time       `json:"createdAt"`
	Value         json.RawMessage `json:"value"`
}

func viewPolicy(v *policy.Version) *PolicyVersion {
	return &PolicyVersion{ID: v.ID, Division: v.Division, EffectiveFrom: v.EffectiveFrom, Basis: v.Basis, CreatedAt: v.CreatedAt, Value: json.RawMessage(v.Value)}
}

// PolicyInForce is what holds somewhere on a day.
type PolicyInForce struct {
	Version string          `json:"version" doc:"所依版本；空表示程序自带的取值"`
	Value   json.RawMessage `json:"value"`
}

// ByName names a policy.
type ByName struct {
	Name string `path:"name" maxLength:"64" doc:"策略名"`
}

// PolicyQuery asks what holds somewhere on a day.
type PolicyQuery struct {
	ByName
	On
	Division string `query:"division" maxLength:"12" doc:"行政区划代码，默认全国"`
}

// PolicyInput sets a policy for a division from a day on.
type PolicyInput struct {
	Division      string          `json:"division" minLength:"12" maxLength:"12" doc:"适用的行政区划及其下级"`
	EffectiveFrom string          `json:"effectiveFrom" format:"date" doc:"生效日期"`
	Basis         string          `json:"basis" minLength:"1" maxLength:"200" doc:"依据：文件名称、文号或条款"`
	Value         json.RawMessage `json:"value" doc:"内容；不填的项取默认值"`
}

func policies(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "list-policies", Path: "/policies", Title: "策略目录", Tag: tagPolicy, Need: policy.View},
		func(context.Context, *struct{}) (Listed[policy.Description], error) {
			l := Listed[policy.Description]{Items: []policy.Description{}}
			for _, p := range k.Policies.Declared() {
				l.Items = append(l.Items, p.Describe())
			}
			return l, nil
		})
	get(api, httpx.Op{ID: "list-policy-versions", Path: "/policies/{name}/versions", Title: "策略的各版本", Tag: tagPolicy, Need: policy.View},
		func(ctx context.Context, in *ByName) (Listed[*PolicyVersion], error) {
			if _, err := k.Policies.Named(in.Name); err != nil {
				return Listed[*PolicyVersion]{}, err
			}
			versions, err := k.Policies.Versions(ctx, in.Name)
			l := Listed[*PolicyVersion]{Items: []*PolicyVersion{}}
			for _, v := range versions {
				l.Items = append(l.Items, viewPolicy(v))
			}
			return l, err
		})
	get(api, httpx.Op{ID: "policy-in-force", Path: "/policies/{name}/in-force", Title: "现行策略", Tag: tagPolicy, Need: policy.View},
		func(ctx context.Context, in *PolicyQuery) (PolicyInForce, error) {
			p, err := k.Policies.Named(in.Name)
			if err != nil {
				return PolicyInForce{}, err
			}
			if in.Division == "" {
				in.Division = scope.Nation
			}
			value, version, err := p.ForJSON(ctx, in.Division, in.moment(k))
			return PolicyInForce{version, value}, err
		})
	post(api, httpx.Op{ID: "set-policy", Path: "/policies/{name}/versions", Title: "设定策略", Tag: tagPolicy, Need: policy.Manage, Status: http.StatusCreated,
		Doc: "新版本自生效日起适用；此前的记录仍按原版本。"},
		func(ctx context.Context, in *struct {
			ByName
			Body PolicyInput
		}) (*PolicyVersion, error) {
			p, err := k.Policies.Named(in.Name)
			if err != nil {
				return nil, err
			}
			v, err := p.SetJSON(ctx, in.Body.Division, in.Body.EffectiveFrom, in.Body.Basis, in.Body.Value)
			if err != nil {
				return nil, err
			}
			return viewPolicy(v), nil
		})
}
