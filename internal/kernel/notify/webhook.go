package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
	"unicode/utf8"
)

// WebhookBody is what a webhook of format JSON receives.
type WebhookBody struct {
	ID         string    `json:"id"` // the same when it is sent again; also in the header X-Anwang-Delivery
	Template   string    `json:"template"`
	Level      Level     `json:"level"`
	Title      string    `json:"title"`
	Text       string    `json:"text"`
	RecordType string    `json:"recordType"`
	RecordID   string    `json:"recordId"`
	At         time.Time `json:"at"`
}

// Sign is the value of the header X-Anwang-Signature: "sha256=" and the hexadecimal HMAC-SHA256, under the channel's secret, of the header
// X-Anwang-Timestamp (Unix seconds), a full stop, and the body. A receiver compares it in constant time and refuses old timestamps.
func Sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// sendWebhook posts one delivery to the channel's address. Redirects are not followed, and any answer but 2xx is an error; of a robot's answer the errcode counts.
func (n *Notifier) sendWebhook(ctx context.Context, c *Channel, d *delivery) error {
	target, err := url.Parse(string(c.URL))
	if err != nil {
		return errors.New("推送地址无效")
	}
	now := n.db.Clock.Now()
	var body []byte
	header := http.Header{"Content-Type": {"application/json; charset=utf-8"}, "User-Agent": {"Anwang"}}
	switch c.Format {
	case JSON:
		if body, err = json.Marshal(WebhookBody{d.ID, d.Template, d.Level, d.Title, d.Body, d.RecordType, d.RecordID, d.CreatedAt}); err != nil {
			return err
		}
		at := strconv.FormatInt(now.Unix(), 10)
		header.Set("X-Anwang-Delivery", d.ID)
		header.Set("X-Anwang-Timestamp", at)
		header.Set("X-Anwang-Signature", Sign(string(c.Secret), at, body))
	case WeCom:
		body = robotText(d, 2048)
	case DingTalk:
		body = robotText(d, 20000)
		if c.Secret != "" {
			at := strconv.FormatInt(now.UnixMilli(), 10)
			mac := hmac.New(sha256.New, []byte(c.Secret))
			mac.Write([]byte(at + "\n" + string(c.Secret)))
			q := target.Query()
			q.Set("timestamp", at)
			q.Set("sign", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
			target.RawQuery = q.Encode()
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("推送地址无效")
	}
	req.Header = header
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: (&net.Dialer{Control: noLinkLocal}).DialContext, TLSClientConfig: c.tlsConfig(target.Hostname()),
			DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
	}
	res, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			return u.Err // without the address, which may be a key
		}
		return err
	}
	defer res.Body.Close()
	reply, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // what cannot be read is judged by the status
	if res.StatusCode/100 != 2 {
		err := &answerError{"http " + strconv.Itoa(res.StatusCode), http.StatusText(res.StatusCode)}
		switch res.StatusCode {
		case http.StatusBadRequest, http.StatusGone, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
			return &refusal{err}
		}
		return err
	}
	if c.Format == JSON {
		return nil
	}
	var robot struct {
		Code    int    `json:"errcode"`
		Message string `json:"errmsg"`
	}
	if err := json.Unmarshal(reply, &robot); err != nil {
		return &answerError{"robot", "没有按机器人的格式应答"}
	}
	if robot.Code != 0 {
		return &answerError{"robot " + strconv.Itoa(robot.Code), robot.Message}
	}
	return nil
}

// robotText is a text message for a chat robot, most bytes long at most.
func robotText(d *delivery, most int) []byte {
	text := d.Title
	if d.Body != "" {
		text += "\n" + d.Body
	}
	if len(text) > most {
		text = text[:most-len("…")]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
		text += "…"
	}
	b, err := json.Marshal(map[string]any{"msgtype": "text", "text": map[string]string{"content": text}})
	if err != nil {
		panic(err) // strings
	}
	return b
}

// noLinkLocal keeps a channel's address from reaching what listens on link-local addresses, such as a cloud's metadata service. Private addresses are usual on
// government networks and allowed.
func noLinkLocal(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := a.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return fmt.Errorf("不允许的地址 %s", ip)
	}
	return nil
}
