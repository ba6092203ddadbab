package httpx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
)

// Problem is the body of every reply that is not a success, application/problem+json (RFC 9457).
type Problem struct {
	Status  int          `json:"status" doc:"HTTP 状态码"`
	Title   string       `json:"title" doc:"错误种类"`
	Code    string       `json:"code" doc:"稳定的错误代码，供程序判断"`
	Message string       `json:"message" doc:"给操作者的中文说明"`
	Fields  []errs.Field `json:"fields,omitempty" doc:"逐项错误"`
	// Incident finds the log line of an internal error.
	Incident string `json:"incident,omitempty" doc:"事件编号，报修时请提供"`

	retryAfter int
}

func (p *Problem) Error() string { return p.Code + ": " + p.Message }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes the reply application/problem+json.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders adds Retry-After where it is known when to try again.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	return h
}

var statusOf = map[errs.Kind]int{
	errs.KindInternal: 500, errs.KindInvalid: 422, errs.KindUnauthenticated: 401, errs.KindForbidden: 403,
	errs.KindNotFound: 404, errs.KindConflict: 409, errs.KindTooMany: 429, errs.KindUnavailable: 503,
}

// problemOf turns any error into the reply for it. What is not an errs.Error becomes "internal": its text goes to the log under an incident
// number and nowhere else.
func problemOf(ctx context.Context, log *slog.Logger, err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	e := errs.As(db.Translate(err))
	if e == nil || e.Kind == errs.KindInternal {
		incident := actor.RequestFrom(ctx).ID
		log.ErrorContext(ctx, "internal error", "incident", incident, "error", err)
		return &Problem{Status: 500, Title: "internal", Code: "internal", Incident: incident,
			Message: "系统内部错误，请稍后重试；若仍出现，请把事件编号告诉系统管理员。"}
	}
	if e.Kind == errs.KindUnavailable {
		log.WarnContext(ctx, "unavailable", "code", e.Code, "error", err)
	}
	return &Problem{Status: statusOf[e.Kind], Title: e.Kind.String(), Code: e.Code, Message: e.Message, Fields: e.Fields,
		retryAfter: int(math.Ceil(e.RetryAfter.Seconds()))}
}

// fromHuma turns huma's own refusals (broken JSON, wrong types, missing fields) into problems in Chinese.
func fromHuma(status int, msg string, details ...error) huma.StatusError {
	var ours *Problem
	if len(details) == 1 && errors.As(details[0], &ours) {
		return ours
	}
	p := &Problem{Status: status, Code: "request.invalid", Title: errs.KindInvalid.String(), Message: "提交的内容有误，请按提示修改后重新提交。"}
	for _, err := range details {
		var d huma.ErrorDetailer
		if !errors.As(err, &d) {
			continue
		}
		detail := d.ErrorDetail()
		p.Fields = append(p.Fields, errs.Field{Pointer: pointer(detail.Location), Message: chinese(detail.Message)})
	}
	switch status {
	case http.StatusBadRequest:
		p.Message = "请求无法解析，请检查格式（应为 UTF-8 编码的 JSON）。"
		if strings.Contains(msg, "body is required") {
			p.Message = "请求内容为空，请填写后提交。"
		}
	case http.StatusRequestEntityTooLarge:
		p.Code, p.Message = "request.tooLarge", "提交的内容过大，请减少内容或分次提交。"
	case http.StatusUnsupportedMediaType:
		p.Code, p.Message = "request.mediaType", "不支持的内容类型，请使用 application/json。"
	case http.StatusRequestTimeout:
		p.Code, p.Message = "request.timeout", "网络过慢，内容没有收全，请重试。"
	case http.StatusNotFound:
		p.Code, p.Title, p.Message = "request.notFound", "notFound", "地址不存在，请检查链接。"
	case http.StatusMethodNotAllowed:
		p.Code, p.Message = "request.method", "该地址不支持这种操作。"
	case http.StatusNotAcceptable:
		p.Code, p.Message = "request.accept", "无法按要求的格式返回，请接受 application/json。"
	default:
		if status >= 500 {
			// huma's own failure: its text stays out of the reply.
			p.Code, p.Title, p.Fields, p.Message = "internal", "internal", nil, "系统内部错误，请稍后重试。"
		}
	}
	return p
}

// pointer turns huma's "body.items[3].name" into "/items/3/name" and "query.limit" into "query/limit".
func pointer(location string) string {
	location = strings.NewReplacer("[", ".", "]", "").Replace(location)
	parts := strings.Split(location, ".")
	if parts[0] == "body" {
		return "/" + strings.Join(parts[1:], "/")
	}
	return strings.Join(parts, "/")
}

var humaTexts sync.Once

// speakChinese sets huma's message texts and error type. huma keeps them in package variables and offers no other way; they are set
// once, before the first API is made, and to the same values for all.
func speakChinese() {
	humaTexts.Do(func() {
		huma.NewError = fromHuma
		huma.NewErrorWithContext = func(_ huma.Context, status int, msg string, details ...error) huma.StatusError {
			return fromHuma(status, msg, details...)
		}
		validation.MsgUnexpectedProperty = "没有这一项，请删除"
		validation.MsgExpectedRFC3339DateTime = "应为时间，如 2026-11-21T09:30:00+08:00"
		validation.MsgExpectedRFC3339Date = "应为日期，如 2026-11-21"
		validation.MsgExpectedRFC3339Time = "应为时刻，如 09:30:00"
		validation.MsgExpectedRFC5322Email = "应为电子邮箱地址"
		validation.MsgExpectedRFC3986URI = "应为网址"
		validation.MsgExpectedRFC4122UUID = "应为记录标识（UUID）"
		validation.MsgExpectedBoolean = "应为是或否（true/false）"
		validation.MsgExpectedNumber = "应为数字"
		validation.MsgExpectedInteger = "应为整数"
		validation.MsgExpectedString = "应为文字"
		validation.MsgExpectedBase64String = "应为 base64 编码"
		validation.MsgExpectedArray = "应为列表"
		validation.MsgExpectedObject = "应为一组内容（JSON 对象）"
		validation.MsgExpectedArrayItemsUnique = "不能有重复项"
		validation.MsgExpectedOneOf = "只能是下列之一：%s"
		validation.MsgExpectedMinimumNumber = "不能小于 %v"
		validation.MsgExpectedExclusiveMinimumNumber = "应大于 %v"
		validation.MsgExpectedMaximumNumber = "不能大于 %v"
		validation.MsgExpectedExclusiveMaximumNumber = "应小于 %v"
		validation.MsgExpectedNumberBeMultipleOf = "应为 %v 的倍数"
		validation.MsgExpectedMinLength = "至少 %d 个字"
		validation.MsgExpectedMaxLength = "最多 %d 个字"
		validation.MsgExpectedBePattern = "格式应为%s"
		validation.MsgExpectedMatchPattern = "格式不符（%s）"
		validation.MsgExpectedMinItems = "至少 %d 项"
		validation.MsgExpectedMaxItems = "最多 %d 项"
		validation.MsgExpectedMinProperties = "至少 %d 项"
		validation.MsgExpectedMaxProperties = "最多 %d 项"
		validation.MsgExpectedRequiredProperty = "请填写 %s"
		validation.MsgExpectedDependentRequiredProperty = "请填写 %s（已填写 %s）"
	})
}

// chinese translates the few texts that huma writes outside package validation.
func chinese(msg string) string {
	switch {
	case strings.HasPrefix(msg, "unknown query parameter"):
		return "没有这个查询条件"
	case strings.HasPrefix(msg, "required ") && strings.HasSuffix(msg, "parameter is missing"):
		return "请填写"
	case strings.HasPrefix(msg, "invalid integer"):
		return "应为整数"
	case strings.HasPrefix(msg, "invalid float"), strings.HasPrefix(msg, "invalid number"):
		return "应为数字"
	case strings.HasPrefix(msg, "invalid boolean"):
		return "应为 true 或 false"
	case strings.HasPrefix(msg, "invalid date/time"):
		return "应为时间，如 2026-11-21T09:30:00+08:00"
	case strings.Contains(msg, "invalid character"), strings.Contains(msg, "unexpected end of JSON"), strings.Contains(msg, "cannot unmarshal"):
		return "JSON 格式错误"
	}
	for _, r := range msg {
		if r > 0x2e80 { // already Chinese
			return msg
		}
	}
	return fmt.Sprintf("格式不正确（%s）", msg)
}
