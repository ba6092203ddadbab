package notify

import (
	"context"
	"crypto/x509"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
	"anwang/internal/kernel/scope"
)

// Channel is a way out of the house: the mail server (key "mail"), or a webhook.
type Channel struct {
	bun.BaseModel `bun:"table:notify_channel,alias:r" json:"-"`
	record.Head

	Key     string `bun:"key" json:"key"`
	Kind    Kind   `bun:"kind" json:"kind"`
	Title   string `bun:"title" json:"title"`
	Enabled bool   `bun:"enabled" json:"enabled"`

	Host       string        `bun:"host" json:"host"`
	Port       int           `bun:"port" json:"port"`
	Security   Security      `bun:"security" json:"security"`
	Username   string        `bun:"username" json:"username"`
	Password   record.Secret `bun:"password" json:"password"`
	Sender     string        `bun:"sender" json:"sender"`
	SenderName string        `bun:"sender_name" json:"senderName"`

	CA string `bun:"ca" json:"ca"` // PEM: trusted beside the system's authorities

	URL    record.Secret `bun:"url" json:"url"`
	Format Format        `bun:"format" json:"format"`
	Secret record.Secret `bun:"secret" json:"secret"`
}

// Security says how a mail server is spoken to.
type Security string

// The ways of speaking to a mail server.
const (
	StartTLS Security = "starttls" // plain first, then encrypted; refused when the server does not offer it
	TLS      Security = "tls"      // encrypted from the first byte
	Plain    Security = "none"     // never; for a relay on the same machine or network, without a password
)

// Format is what a webhook's receiver expects.
type Format string

// The formats of webhooks.
const (
	JSON     Format = "json"     // see WebhookBody, signed as Sign says
	WeCom    Format = "wecom"    // 企业微信群机器人
	DingTalk Format = "dingtalk" // 钉钉群机器人
)

// ChannelInput describes a channel. A secret that is nil stays as it is.
type ChannelInput struct {
	Key     string `json:"key" minLength:"1" maxLength:"40" doc:"渠道标识；邮件渠道固定为 mail"`
	Kind    Kind   `json:"kind" enum:"mail,webhook" doc:"类别"`
	Title   string `json:"title" minLength:"1" maxLength:"100" doc:"名称"`
	Enabled bool   `json:"enabled" doc:"是否启用"`

	Host       string   `json:"host,omitempty" maxLength:"255" doc:"邮件服务器"`
	Port       int      `json:"port,omitempty" minimum:"0" maximum:"65535" doc:"端口；空为 465（tls）、587（starttls）或 25"`
	Security   Security `json:"security,omitempty" enum:",starttls,tls,none" doc:"加密方式"`
	Username   string   `json:"username,omitempty" maxLength:"255" doc:"登录名；空表示不登录"`
	Password   *string  `json:"password,omitempty" maxLength:"255" doc:"口令或授权码；不填则不变"`
	Sender     string   `json:"sender,omitempty" maxLength:"255" doc:"发件地址"`
	SenderName string   `json:"senderName,omitempty" maxLength:"100" doc:"发件人名称"`

	CA string `json:"ca,omitempty" maxLength:"100000" doc:"自建证书机构的证书，PEM"`

	URL    *string `json:"url,omitempty" maxLength:"1000" doc:"推送地址；不填则不变"`
	Format Format  `json:"format,omitempty" enum:",json,wecom,dingtalk" doc:"格式"`
	Secret *string `json:"secret,omitempty" maxLength:"255" doc:"签名密钥；不填则不变"`
}

// ChannelInfo is a channel as the administrator sees it: without its secrets.
type ChannelInfo struct {
	ID          string   `json:"id"`
	Version     int64    `json:"version"`
	Key         string   `json:"key"`
	Kind        Kind     `json:"kind"`
	Title       string   `json:"title"`
	Enabled     bool     `json:"enabled"`
	Host        string   `json:"host"`
	Port        int      `json:"port"`
	Security    Security `json:"security"`
	Username    string   `json:"username"`
	HasPassword bool     `json:"hasPassword"`
	Sender      string   `json:"sender"`
	SenderName  string   `json:"senderName"`
	CA          string   `json:"ca"`
	URLHost     string   `json:"urlHost" doc:"推送地址的主机；完整地址不再显示"`
	Format      Format   `json:"format"`
	HasSecret   bool     `json:"hasSecret"`
}

func (c *Channel) info() ChannelInfo {
	u, _ := url.Parse(string(c.URL)) // checked when it was saved
	host := ""
	if u != nil {
		host = u.Host
	}
	return ChannelInfo{ID: c.ID, Version: c.Version, Key: c.Key, Kind: c.Kind, Title: c.Title, Enabled: c.Enabled, Host: c.Host, Port: c.Port, Security: c.Security,
		Username: c.Username, HasPassword: c.Password != "", Sender: c.Sender, SenderName: c.SenderName, CA: c.CA, URLHost: host, Format: c.Format, HasSecret: c.Secret != ""}
}

// Channels lists the channels. It asks for the permission Manage.
func (n *Notifier) Channels(ctx context.Context) ([]ChannelInfo, error) {
	if err := allowed(ctx); err != nil {
		return nil, err
	}
	all, err := n.channels.Find(ctx, scope.All("channels belong to the installation"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.origin = ?", n.db.Node).Order("r.key")
	})
	if err != nil {
		return nil, err
	}
	out := make([]ChannelInfo, len(all))
	for i, c := range all {
		out[i] = c.info()
	}
	return out, nil
}

// SaveChannel changes the channel with the key of in, or makes it; version is the one that was read, 0 for a new one. It asks for the permission Manage.
func (n *Notifier) SaveChannel(ctx context.Context, version int64, in ChannelInput) (*ChannelInfo, error) {
	if err := allowed(ctx); err != nil {
		return nil, err
	}
	var c *Channel
	err := n.db.Tx(ctx, func(ctx context.Context) (err error) {
		if c, err = n.channel(ctx, in.Key); err != nil {
			return err
		}
		fresh := c == nil
		if fresh {
			c = &Channel{Key: in.Key, Kind: in.Kind}
		}
		if c.Version != version {
			return n.channels.Type.Stale()
		}
		if err := c.set(in); err != nil {
			return err
		}
		if fresh {
			err = n.channels.Insert(ctx, c, record.Change{Fact: "notify.channelAdded", Title: "新增通知渠道"})
		} else {
			err = n.channels.Update(ctx, c, record.Change{Fact: "notify.channelEdited", Title: "修改通知渠道"})
		}
		if _, taken := db.UniqueViolation(err); taken {
			return n.channels.Type.Stale()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	info := c.info()
	return &info, nil
}

func (n *Notifier) channel(ctx context.Context, key string) (*Channel, error) {
	return n.channels.First(ctx, scope.All("channels belong to the installation"), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.origin = ? AND r.key = ?", n.db.Node, key)
	})
}

// enabled maps the keys of the channels that are switched on to their kinds.
func (n *Notifier) enabled(ctx context.Context) (map[string]Kind, error) {
	var rows []struct {
		Key  string
		Kind Kind
	}
	err := n.db.Conn(ctx).NewRaw("SELECT key, kind FROM notify_channel WHERE origin = ? AND enabled", n.db.Node).Scan(ctx, &rows)
	on := map[string]Kind{}
	for _, r := range rows {
		on[r.Key] = r.Kind
	}
	return on, err
}

var channelKey = regexp.MustCompile(`^[a-z][A-Za-z0-9-]{0,39}$`)

func (c *Channel) set(in ChannelInput) error {
	var fields []errs.Field
	wrong := func(bad bool, pointer, message string) {
		if bad {
			fields = append(fields, errs.Field{Pointer: pointer, Message: message})
		}
	}
	secret := func(field *record.Secret, value *string) {
		if value != nil {
			*field = record.Secret(*value)
		}
	}
	c.Title, c.Enabled, c.CA = strings.TrimSpace(in.Title), in.Enabled, strings.TrimSpace(in.CA)
	wrong(c.Kind != in.Kind, "/kind", "类别不能更改，请另建一个渠道。")
	wrong(!channelKey.MatchString(in.Key), "/key", "标识应以小写字母开头，只含字母、数字和横线，不超过40个字符。")
	wrong(c.Title == "", "/title", "请填写名称。")
	wrong(c.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(c.CA)), "/ca", "证书应为 PEM 格式。")
	switch in.Kind {
	case Mail:
		c.Host, c.Port, c.Security, c.Username, c.Sender, c.SenderName = strings.TrimSpace(in.Host), in.Port, in.Security, in.Username, strings.TrimSpace(in.Sender), in.SenderName
		secret(&c.Password, in.Password)
		wrong(in.Key != mailChannel, "/key", "邮件渠道的标识固定为 mail。")
		wrong(c.Host == "" || strings.ContainsAny(c.Host, " /@:\r\n"), "/host", "请填写邮件服务器的主机名或地址，不带端口。")
		wrong(c.Port < 0 || c.Port > 65535, "/port", "端口应为1至65535。")
		wrong(!slices.Contains([]Security{StartTLS, TLS, Plain}, c.Security), "/security", "请选择加密方式。")
		wrong(c.Security == Plain && c.Username != "", "/security", "不加密时不能发送口令，请选择 tls 或 starttls。")
		wrong(c.Username != "" && c.Password == "", "/password", "请填写口令或授权码。")
		a, err := mail.ParseAddress(c.Sender)
		wrong(err != nil || a.Address != c.Sender || !ascii(c.Sender), "/sender", "发件地址应形如 aqb@example.gov.cn。")
		wrong(strings.ContainsAny(c.SenderName, "\r\n"), "/senderName", "名称不能换行。")
		if c.Port == 0 {
			c.Port = map[Security]int{TLS: 465, StartTLS: 587, Plain: 25}[c.Security]
		}
	case Webhook:
		secret(&c.URL, in.URL)
		secret(&c.Secret, in.Secret)
		c.Format = in.Format
		u, err := url.Parse(string(c.URL))
		wrong(err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil, "/url", "推送地址应以 https:// 或 http:// 开头。")
		wrong(!slices.Contains([]Format{JSON, WeCom, DingTalk}, c.Format), "/format", "请选择格式。")
		wrong(c.Format == JSON && len(c.Secret) < 16, "/secret", "签名密钥至少16个字符，收到推送的系统用它核对来源。")
		wrong(in.Key == mailChannel, "/key", "mail 是邮件渠道的标识，请另取一个。")
	default:
		wrong(true, "/kind", "类别应为 mail 或 webhook。")
	}
	if len(fields) > 0 {
		return errs.Invalid("notify.channel", "通知渠道填写有误，请改正标出的各项。", fields...)
	}
	return nil
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7e || r < 0x21 })
}
