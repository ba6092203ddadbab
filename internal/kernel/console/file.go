package console

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/file"
	"anwang/internal/kernel/httpx"
	"anwang/internal/kernel/module"
)

const tagFile = "附件"

// maxUpload bounds a request; file.Config bounds each type of file.
const maxUpload = 600 << 20

func files(api *httpx.API, k *module.Kernel) {
	api.Handle(httpx.Op{ID: "upload-file", Method: "POST", Path: "/files", Title: "上传附件", Tag: tagFile, Detached: true, Status: http.StatusCreated,
		Doc: "multipart/form-data，字段 file；得到标识后随记录提交。24 小时内未随记录提交的自动清除。"}, nil, reflect.TypeFor[file.Uploaded](),
		func(w http.ResponseWriter, r *http.Request) error {
			r.Body = http.MaxBytesReader(w, r.Body, maxUpload)
			kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
			if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
				return errs.Invalid("file.form", "请用 multipart/form-data 上传，文件放在字段 file 中。")
			}
			form, err := r.MultipartReader()
			if err != nil {
				return errs.Invalid("file.form", "上传的内容无法解析，请重试。").Because(err)
			}
			for {
				part, err := form.NextPart()
				var large *http.MaxBytesError
				switch {
				case errors.Is(err, io.EOF):
					return errs.InvalidField("file.missing", "/file", "请选择要上传的文件")
				case errors.As(err, &large):
					return errs.InvalidField("file.tooLarge", "/file", "文件过大")
				case err != nil:
					return errs.Invalid("file.broken", "上传中断，请重试。").Because(err)
				}
				if part.FormName() != "file" {
					continue
				}
				u, err := k.Files.Upload(r.Context(), part.FileName(), part)
				if err != nil {
					return err
				}
				return writeJSON(w, http.StatusCreated, u)
			}
		})
	api.Handle(httpx.Op{ID: "download-file", Method: "GET", Path: "/files/{id}", Title: "查看附件", Tag: tagFile},
		[]*huma.Param{
			{Name: "id", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}},
			{Name: "variant", In: "query", Description: "shown 查看；small、large 缩略图；original 原件", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"shown", "small", "large", "original"}}},
			{Name: "download", In: "query", Description: "true：作为文件下载", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"true", "false"}}},
		}, nil,
		func(w http.ResponseWriter, r *http.Request) error {
			v := file.Variant(r.URL.Query().Get("variant"))
			switch v {
			case "":
				v = file.Shown
			case file.Shown, file.Small, file.Large, file.Original:
			default:
				return errs.InvalidField("file.variant", "query/variant", "只能是 shown、small、large、original")
			}
			c, err := k.Files.Open(r.Context(), r.PathValue("id"), v)
			if err != nil {
				return err
			}
			defer c.Close()
			c.Serve(w, r, r.URL.Query().Get("download") == "true")
			return nil
		})
	httpx.Register(api, httpx.Op{ID: "list-files", Method: "GET", Path: "/files/of/{type}/{id}", Title: "记录的附件", Tag: tagFile},
		func(ctx context.Context, in *struct {
			httpx.ByID
			Type string `path:"type" maxLength:"60" doc:"记录类型，如 hiddendanger.item"`
		}) (*httpx.Body[[]*file.Attachment], error) {
			list, err := k.Files.Of(ctx, in.Type, in.ID)
			return httpx.Reply(append([]*file.Attachment{}, list...)), err
		})
}
