package console

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/http"

	"anwang/internal/kernel/dict"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/module"
)

const tagDict = "代码表"

// DictKind describes a code table.
type DictKind struct {
	Key   string `json:"key"`
	Title string `json:"title"`
	Tree  bool   `json:"tree" doc:"分级"`
}

// ItemQuery selects items of a code table.
type ItemQuery struct {
	On
	Kind    string `path:"kind" maxLength:"64" doc:"代码表"`
	Parent  string `query:"parent" maxLength:"64" doc:"只列该代码的下一级；“-”为顶级"`
	All     bool   `query:"all" doc:"连同停用和不在有效期内的；系统管理员可用"`
	IfMatch string `header:"If-None-Match"`
}

// itemsReply may be "not modified".
type itemsReply struct {
	Status       int
	ETag         string `header:"ETag"`
	CacheControl string `header:"Cache-Control"`
	Body         Listed[*dict.Item]
}

// DictSearch looks for items.
type DictSearch struct {
	Kind  string `path:"kind" maxLength:"64" doc:"代码表"`
	Q     string `query:"q" required:"true" minLength:"1" maxLength:"50" doc:"代码开头，或名称的一部分"`
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
}

// IndustrySearch looks for industries.
type IndustrySearch struct {
	Q     string `query:"q" required:"true" minLength:"1" maxLength:"50" doc:"代码开头，或名称的一部分"`
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
}

// Industry is an industry of GB/T 4754 with the supervised line that it belongs to.
type Industry struct {
	Code     string   `json:"code"`
	Label    string   `json:"label"`
	Path     []string `json:"path" nullable:"false" doc:"门类、大类、中类"`
	Line     string   `json:"line" doc:"对应的监管行业领域"`
	LineName string   `json:"lineName"`
}

func dicts(api *httpx.API, k *module.Kernel) {
	get(api, httpx.Op{ID: "list-dicts", Path: "/dicts", Title: "代码表", Tag: tagDict},
		func(context.Context, *struct{}) (Listed[DictKind], error) {
			l := Listed[DictKind]{Items: []DictKind{}}
			for _, kind := range k.Dict.Kinds() {
				l.Items = append(l.Items, DictKind{kind.Key, kind.Title, kind.Tree})
			}
			return l, nil
		})
	httpx.Register(api, httpx.Op{ID: "list-dict-items", Method: "GET", Path: "/dicts/{kind}/items", Title: "代码", Tag: tagDict, Doc: "带 ETag，可缓存。"},
		func(ctx context.Context, in *ItemQuery) (*itemsReply, error) {
			items, err := items(ctx, k, in)
			if err != nil {
				return nil, err
			}
			l, _ := listed(items, nil)
			r := &itemsReply{Status: http.StatusOK, ETag: etag(items), CacheControl: "private, no-cache", Body: l}
			if in.IfMatch == r.ETag {
				r.Status = http.StatusNotModified
			}
			return r, nil
		})
	get(api, httpx.Op{ID: "search-dict", Path: "/dicts/{kind}/search", Title: "查找代码", Tag: tagDict},
		func(_ context.Context, in *DictSearch) (Listed[*dict.Item], error) {
			return listed(k.Dict.Search(in.Kind, in.Q, in.Limit), known(k, in.Kind))
		})
	get(api, httpx.Op{ID: "search-industries", Path: "/industries", Title: "查找国民经济行业", Tag: tagDict},
		func(_ context.Context, in *IndustrySearch) (Listed[Industry], error) {
			l := Listed[Industry]{Items: []Industry{}}
			for _, i := range k.Dict.Search(dict.Industry, in.Q, in.Limit) {
				l.Items = append(l.Items, industry(k, i))
			}
			return l, nil
		})
	post(api, httpx.Op{ID: "add-dict-item", Path: "/dict-items", Title: "新增代码", Tag: tagDict, Need: dict.Manage, Status: http.StatusCreated},
		func(ctx context.Context, in *httpx.Body[dict.AddInput]) (*dict.Item, error) {
			return k.Dict.Add(ctx, in.Body)
		})
	post(api, httpx.Op{ID: "edit-dict-item", Path: "/dict-items/{id}/edit", Title: "修改代码", Tag: tagDict, Need: dict.Manage},
		func(ctx context.Context, in *httpx.ByIDWith[dict.EditInput]) (*dict.Item, error) {
			return k.Dict.Edit(ctx, in.ID, in.Body)
		})
}

// items are what the query selects.
func items(ctx context.Context, k *module.Kernel, in *ItemQuery) ([]*dict.Item, error) {
	on := in.moment(k)
	switch err := known(k, in.Kind); {
	case err != nil:
		return nil, err
	case in.All:
		return k.Dict.All(ctx, in.Kind)
	case in.Parent == "-":
		return k.Dict.Children(in.Kind, "", on), nil
	case in.Parent != "":
		return k.Dict.Children(in.Kind, in.Parent, on), nil
	}
	return k.Dict.Items(in.Kind, on), nil
}

func known(k *module.Kernel, kind string) error {
	for _, have := range k.Dict.Kinds() {
		if have.Key == kind {
			return nil
		}
	}
	return errs.NotFound("dict.noKind", "没有这个代码表。")
}

// etag changes whenever one of the items does, or another is among them.
func etag(items []*dict.Item) string {
	h := fnv.New64a()
	for _, i := range items {
		fmt.Fprintf(h, "%s %d\n", i.ID, i.Version)
	}
	return fmt.Sprintf(`"%x"`, h.Sum64())
}

func industry(k *module.Kernel, i *dict.Item) Industry {
	line := k.Dict.LineOf(i.Code)
	out := Industry{Code: i.Code, Label: i.Label, Path: []string{}, Line: line}
	if line != "" {
		out.LineName = k.Dict.Label(dict.Line, line)
	}
	for _, above := range k.Dict.Ancestors(dict.Industry, i.Code, k.Clock.Now()) {
		out.Path = append(out.Path, above.Label)
	}
	return out
}
