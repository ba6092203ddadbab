package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"anwang/internal/kernel/clock"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
)

func checkAddress(s string) (string, error) {
	a, err := mail.ParseAddress(strings.TrimSpace(s))
	if err != nil || !ascii(a.Address) {
		return "", errs.InvalidField("notify.address", "/to", "请填写收件地址，形如 name@example.com。")
	}
	return a.Address, nil
}

func channelTested(ok bool) record.Change {
	return record.Change{Fact: "notify.channelTested", Title: "测试通知渠道", Data: map[string]bool{"ok": ok}}
}

// tlsConfig trusts the system's authorities and the channel's own.
func (c *Channel) tlsConfig(host string) *tls.Config {
	cfg := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pool.AppendCertsFromPEM([]byte(c.CA))
		cfg.RootCAs = pool
	}
	return cfg
}

// sendMail hands one mail to the channel's server (RFC 5321), over a connection of its own. ctx limits the whole of it.
func (n *Notifier) sendMail(ctx context.Context, c *Channel, d *delivery) error {
	dialer := &net.Dialer{Control: noLinkLocal}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	// net/smtp knows no context: closing the connection ends whatever it waits for.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	err = c.speak(conn, d)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return fmt.Errorf("邮件服务器没有及时应答：%w", cause)
	}
	return err
}

func (c *Channel) speak(conn net.Conn, d *delivery) error {
	if c.Security == TLS {
		conn = tls.Client(conn, c.tlsConfig(c.Host))
	}
	client, err := smtp.NewClient(conn, c.Host)
	if err != nil {
		return answer(err)
	}
	defer client.Close()
	_, domain, _ := strings.Cut(c.Sender, "@")
	if err := client.Hello(domain); err != nil {
		return answer(err)
	}
	if c.Security == StartTLS {
		if ok, _ := client.Extension("STARTTLS"); !ok {
			return errors.New("邮件服务器不支持 STARTTLS，请改用 tls 方式和 465 端口")
		}
		if err := client.StartTLS(c.tlsConfig(c.Host)); err != nil {
			return answer(err)
		}
	}
	if c.Username != "" {
		auth, err := c.auth(client)
		if err != nil {
			return err
		}
		if err := client.Auth(auth); err != nil {
			return answer(err)
		}
	}
	if err := client.Mail(c.Sender); err != nil {
		return answer(err)
	}
	if err := client.Rcpt(d.Address); err != nil {
		return final(answer(err))
	}
	w, err := client.Data()
	if err != nil {
		return answer(err)
	}
	if _, err := w.Write(c.compose(d, domain)); err != nil {
		return answer(err)
	}
	if err := w.Close(); err != nil {
		return final(answer(err))
	}
	client.Quit() //nolint:errcheck // the server has taken the mail
	return nil
}

// compose writes the mail (RFC 5322): a Chinese subject in encoded words, the text in base64. A mail that is sent again has the same Message-ID.
func (c *Channel) compose(d *delivery, domain string) []byte {
	var b strings.Builder
	header := func(name, value string) { b.WriteString(name + ": " + value + "\r\n") }
	header("Date", d.CreatedAt.In(clock.Zone).Format(time.RFC1123Z))
	header("From", (&mail.Address{Name: c.SenderName, Address: c.Sender}).String())
	header("To", (&mail.Address{Address: d.Address}).String())
	header("Subject", mime.BEncoding.Encode("utf-8", d.Title))
	header("Message-ID", "<"+d.ID+"@"+domain+">")
	header("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office answers
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "base64")
	b.WriteString("\r\n")
	text := base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(d.Body, "\n", "\r\n") + "\r\n"))
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	b.WriteString(text + "\r\n")
	return []byte(b.String())
}

// auth chooses the way to sign in that the server offers.
func (c *Channel) auth(client *smtp.Client) (smtp.Auth, error) {
	_, offered := client.Extension("AUTH")
	ways := strings.Fields(strings.ToUpper(offered))
	for _, way := range ways {
		if way == "PLAIN" {
			return smtp.PlainAuth("", c.Username, string(c.Password), c.Host), nil
		}
	}
	for _, way := range ways {
		if way == "LOGIN" {
			return &loginAuth{c.Username, string(c.Password)}, nil
		}
	}
	return nil, fmt.Errorf("邮件服务器不支持口令登录（只支持 %q）", offered)
}

// loginAuth is AUTH LOGIN, which is all that some servers know. It never speaks over an open line.
type loginAuth struct{ username, password string }

func (a *loginAuth) Start(server *smtp.ServerInfo) (string, []byte, error) {
	if !server.TLS {
		return "", nil, errors.New("不加密时不能发送口令")
	}
	return "LOGIN", nil, nil
}

func (a *loginAuth) Next(prompt []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	switch strings.ToLower(strings.TrimSuffix(string(prompt), ":")) {
	case "username", "user name":
		return []byte(a.username), nil
	case "password":
		return []byte(a.password), nil
	}
	return nil, fmt.Errorf("unexpected prompt")
}

// answer marks what the server said, so that it stays out of the log.
func answer(err error) error {
	var t *textproto.Error
	var garbled textproto.ProtocolError
	switch {
	case errors.As(err, &t):
		return &answerError{"smtp " + strconv.Itoa(t.Code), t.Msg}
	case errors.As(err, &garbled):
		return &answerError{"smtp", garbled.Error()}
	}
	return err
}

// final marks a permanent answer (5xx) about the recipient or the text as one that no repetition changes.
func final(err error) error {
	var a *answerError
	if errors.As(err, &a) && strings.HasPrefix(a.short, "smtp 5") {
		return &refusal{err}
	}
	return err
}
