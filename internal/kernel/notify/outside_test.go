package notify_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anwang/internal/kernel/db"
	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/notify"
)

// mailServer is a small real SMTP server.
type mailServer struct {
	t        testing.TB
	listener net.Listener
	cert     tls.Certificate
	ca       string // PEM
	implicit bool
	startTLS bool
	auth     string // "PLAIN", "LOGIN" or both
	password string
	rcpt     func(address string) string // answer to RCPT; "" accepts
	silent   atomic.Bool                 // never answers

	mu    sync.Mutex
	mails []received
}

type received struct {
	from, to string
	secure   bool
	user     string
	header   mail.Header
	body     string
}

func newMailServer(t testing.TB, set func(*mailServer)) *mailServer {
	t.Helper()
	s := &mailServer{t: t, auth: "LOGIN PLAIN", password: "口令 secret", startTLS: true}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "self-made"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	s.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if set != nil {
		set(s)
	}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	t.Cleanup(func() { s.listener.Close(); conns.Wait() })
	go func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { defer conn.Close(); s.serve(conn) })
		}
	}()
	return s
}

func (s *mailServer) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

func (s *mailServer) received() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.mails...)
}

func (s *mailServer) serve(conn net.Conn) {
	if s.silent.Load() {
		io.Copy(io.Discard, conn)
		return
	}
	secure := s.implicit
	if secure {
		conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{s.cert}})
	}
	r := bufio.NewReader(conn)
	say := func(format string, args ...any) { fmt.Fprintf(conn, format+"\r\n", args...) }
	line := func() string { l, _ := r.ReadString('\n'); return strings.TrimRight(l, "\r\n") }
	decode := func(text string) string { b, _ := base64.StdEncoding.DecodeString(text); return string(b) }
	say("220 test ESMTP")
	m := received{secure: secure}
	for {
		l := line()
		verb, rest, _ := strings.Cut(l, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			say("250-test")
			if s.startTLS && !m.secure {
				say("250-STARTTLS")
			}
			if s.auth != "" && m.secure {
				say("250-AUTH %s", s.auth)
			}
			say("250 8BITMIME")
		case "STARTTLS":
			say("220 go ahead")
			conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{s.cert}})
			r = bufio.NewReader(conn)
			m.secure = true
		case "AUTH":
			var password string
			if way, first, _ := strings.Cut(rest, " "); way == "PLAIN" {
				f := strings.Split(decode(first), "\x00")
				m.user, password = f[1], f[2]
			} else {
				say("334 %s", base64.StdEncoding.EncodeToString([]byte("Username:")))
				m.user = decode(line())
				say("334 %s", base64.StdEncoding.EncodeToString([]byte("Password:")))
				password = decode(line())
			}
			if password != s.password {
				say("535 5.7.8 authentication failed")
				continue
			}
			say("235 fine")
		case "MAIL":
			m.from = rest
			say("250 fine")
		case "RCPT":
			m.to = strings.TrimSuffix(strings.TrimPrefix(rest, "TO:<"), ">")
			if s.rcpt != nil {
				if answer := s.rcpt(m.to); answer != "" {
					say("%s", answer)
					continue
				}
			}
			say("250 fine")
		case "DATA":
			say("354 go on")
			var b strings.Builder
			for l = line(); l != "."; l = line() {
				b.WriteString(strings.TrimPrefix(l, ".") + "\r\n")
			}
			parsed, err := mail.ReadMessage(strings.NewReader(b.String()))
			if err != nil {
				s.t.Errorf("mail does not parse: %v", err)
				return
			}
			body, _ := io.ReadAll(base64.NewDecoder(base64.StdEncoding, parsed.Body))
			m.header, m.body = parsed.Header, string(body)
			s.mu.Lock()
			s.mails = append(s.mails, m)
			s.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		case "":
			return
		default:
			say("500 what?")
		}
	}
}

func (w *world) mailChannel(s *mailServer, change ...func(*notify.ChannelInput)) error {
	in := notify.ChannelInput{Key: "mail", Kind: notify.Mail, Title: "邮件", Enabled: true, Host: "127.0.0.1", Port: s.port(), Security: notify.StartTLS,
		Username: "aqb@example.cn", Password: ptr(s.password), Sender: "aqb@example.cn", SenderName: "石台县安委办", CA: s.ca}
	for _, f := range change {
		f(&in)
	}
	_, err := w.SaveChannel(sysadmin(w.t.Context()), int64(w.count("SELECT COALESCE(MAX(version), 0) FROM notify_channel WHERE key = 'mail'")), in)
	return err
}

func (w *world) mustMailChannel(s *mailServer, change ...func(*notify.ChannelInput)) {
	w.t.Helper()
	if err := w.mailChannel(s, change...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) deliveries(state notify.State) []notify.DeliveryInfo {
	w.t.Helper()
	got, err := w.Deliveries(sysadmin(w.t.Context()), notify.DeliveriesInput{State: state, Limit: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func (w *world) until(what string, state notify.State, n int) []notify.DeliveryInfo {
	w.t.Helper()
	var got []notify.DeliveryInfo
	kerneltest.Eventually(w.t, what, func() bool { got = w.deliveries(state); return len(got) == n })
	return got
}

func TestMail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server  func(*mailServer)
		channel func(*notify.ChannelInput)
		secure  bool
		user    string
	}{
		"starttls, plain": {func(s *mailServer) { s.auth = "PLAIN" }, func(*notify.ChannelInput) {}, true, "aqb@example.cn"},
		"starttls, login": {func(s *mailServer) { s.auth = "LOGIN" }, func(*notify.ChannelInput) {}, true, "aqb@example.cn"},
		"tls":             {func(s *mailServer) { s.implicit = true }, func(in *notify.ChannelInput) { in.Security = notify.TLS }, true, "aqb@example.cn"},
		"relay": {func(s *mailServer) { s.auth, s.startTLS = "", false }, func(in *notify.ChannelInput) {
			in.Security, in.Username, in.Password = notify.Plain, "", nil
		}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMailServer(t, c.server)
			w := open(t, kerneltest.Open(t, db.SQLite, parts...))
			w.mustMailChannel(s, c.channel)
			w.start()
			no := strings.Repeat("很长的编号", 12)
			w.send(notify.Message{To: []notify.Recipient{{Mail: "zhang.san@example.cn"}, {Mail: "zhang.san@example.cn"}, {Mail: "not an address"}},
				Data: map[string]any{"no": no, "due": "周五\n.\n下班"}, DedupeKey: "e1"})
			sent := w.until("the mail is sent", notify.Sent, 1)
			got := s.received()
			if len(got) != 1 {
				t.Fatalf("%d mails", len(got))
			}
			m := got[0]
			subject, err := new(mime.WordDecoder).DecodeHeader(m.header.Get("Subject"))
			if err != nil || subject != "隐患"+no+"整改通知" {
				t.Errorf("subject %q, %v", subject, err)
			}
			from, err := m.header.AddressList("From")
			if err != nil || from[0].Name != "石台县安委办" || from[0].Address != "aqb@example.cn" {
				t.Errorf("from %v, %v", from, err)
			}
			if m.body != "请于周五\r\n.\r\n下班前完成。\r\n" || m.to != "zhang.san@example.cn" || m.secure != c.secure || m.user != c.user {
				t.Errorf("mail %+v", m)
			}
			if date, err := m.header.Date(); err != nil || !date.Equal(kerneltest.Noon) {
				t.Errorf("date %v, %v", date, err)
			}
			if id := m.header.Get("Message-ID"); id != "<"+sent[0].ID+"@example.cn>" {
				t.Errorf("message id %s", id)
			}
			if sent[0].Address != "z***@example.cn" {
				t.Errorf("address is shown as %s", sent[0].Address)
			}
		})
	}
}

// A server's refusals, failures and silence: what is tried again, what is given up, and that nobody's address reaches the log.
func TestMailTrouble(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		var tries atomic.Int64
		s := newMailServer(t, func(s *mailServer) {
			s.rcpt = func(address string) string {
				switch address {
				case "nobody@example.cn":
					return "550 5.1.1 <nobody@example.cn> no such user"
				case "busy@example.cn":
					if tries.Add(1) <= 2 {
						return "451 4.3.0 busy@example.cn try later"
					}
				case "full@example.cn":
					return "452 4.2.2 full"
				}
				return ""
			}
		})
		w := open(t, d)
		w.mustMailChannel(s)
		w.start()
		w.send(notify.Message{To: []notify.Recipient{{Mail: "nobody@example.cn"}, {Mail: "busy@example.cn"}}, DedupeKey: "e1"})
		failed := w.until("the unknown address is given up", notify.Failed, 1)
		if failed[0].Attempts != 1 || !strings.Contains(failed[0].Error, "550") || strings.Contains(failed[0].Error, "nobody@") {
			t.Errorf("refused: %+v", failed[0])
		}
		waits := func(attempts int) func() bool {
			return func() bool {
				got := w.deliveries(notify.Waiting)
				return len(got) == 1 && got[0].Attempts == attempts
			}
		}
		kerneltest.Eventually(t, "first failure", waits(1))
		if got := w.deliveries(notify.Waiting)[0].NextAt; !got.Equal(d.Clock.Now().Add(30 * time.Second)) {
			t.Errorf("next try at %v", got)
		}
		d.Clock.Advance(30 * time.Second)
		kerneltest.Eventually(t, "second failure", waits(2))
		d.Clock.Advance(2 * time.Minute)
		w.until("third time lucky", notify.Sent, 1)

		w.send(notify.Message{To: []notify.Recipient{{Mail: "full@example.cn"}}, DedupeKey: "e2"})
		for range 8 {
			d.Clock.Advance(13 * time.Hour)
			attempts := w.count("SELECT attempts FROM notify_delivery WHERE address = 'full@example.cn'")
			if w.count("SELECT count(*) FROM notify_delivery WHERE address = 'full@example.cn' AND state = 'failed'") == 1 {
				break
			}
			kerneltest.Eventually(t, "another try", func() bool {
				return w.count("SELECT count(*) FROM notify_delivery WHERE address = 'full@example.cn' AND attempts > ? AND state <> 'sending'", attempts) == 1 ||
					w.count("SELECT count(*) FROM notify_delivery WHERE address = 'full@example.cn' AND state = 'failed'") == 1
			})
		}
		given := w.until("given up after eight attempts", notify.Failed, 2)
		if given[0].Attempts != 8 {
			t.Errorf("given up after %d attempts", given[0].Attempts)
		}
		s.rcpt = nil
		if err := w.Retry(sysadmin(t.Context()), given[0].ID); err != nil {
			t.Fatal(err)
		}
		w.until("an operator tries again", notify.Sent, 2)
		if err := w.Retry(sysadmin(t.Context()), given[0].ID); code(err) != "notify.noDelivery" {
			t.Errorf("sent again what was sent: %v", err)
		}
		if n := w.count("SELECT count(*) FROM audit_entry WHERE kind = 'notify.retried'"); n != 1 {
			t.Errorf("%d retries in the log", n)
		}
		text := w.text.String()
		for _, private := range []string{"nobody", "busy@", "full@", "隐患"} {
			if strings.Contains(text, private) {
				t.Errorf("%q in the program's log:\n%s", private, text)
			}
		}
		if !strings.Contains(text, "smtp 550") {
			t.Errorf("the log does not tell of the failure:\n%s", text)
		}
	})
}

func TestSendTest(t *testing.T) {
	t.Parallel()
	s := newMailServer(t, nil)
	w := open(t, kerneltest.Open(t, db.SQLite, parts...))
	ctx := sysadmin(t.Context())
	if err := w.SendTest(ctx, "mail", "a@example.cn"); code(err) != "record.notFound" {
		t.Errorf("no channel: %v", err)
	}
	w.mustMailChannel(s)
	if err := w.SendTest(ctx, "mail", "a@example.cn"); err != nil || len(s.received()) != 1 {
		t.Errorf("test: %v", err)
	}
	for _, to := range []string{"", "x", "张三@例子.中国", "a@b.c\r\nRCPT TO:<x@y.z>"} {
		if err := w.SendTest(ctx, "mail", to); code(err) != "notify.address" {
			t.Errorf("to %q: %v", to, err)
		}
	}
	for what, change := range map[string]func(*notify.ChannelInput){
		"wrong password":      func(in *notify.ChannelInput) { in.Password = ptr("wrong") },
		"unknown authority":   func(in *notify.ChannelInput) { in.CA = "" },
		"no STARTTLS needed":  func(in *notify.ChannelInput) { in.Security = notify.TLS },
		"nobody listens":      func(in *notify.ChannelInput) { in.Port = 1 },
		"link-local refused":  func(in *notify.ChannelInput) { in.Host, in.Port = "169.254.169.254", 25 },
		"name does not exist": func(in *notify.ChannelInput) { in.Host = "mail.invalid" },
	} {
		w.mustMailChannel(s, change)
		err := w.SendTest(ctx, "mail", "a@example.cn")
		if code(err) != "notify.testFailed" {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s tells the password: %v", what, err)
		}
	}
	w.mustMailChannel(s)
	s.silent.Store(true)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := w.SendTest(short, "mail", "a@example.cn"); code(err) != "notify.testFailed" || !strings.Contains(err.Error(), "没有及时应答") {
		t.Errorf("silent server: %v", err)
	}
	if len(s.received()) != 1 {
		t.Errorf("%d mails", len(s.received()))
	}
	verified(t, w)
}

func TestChannels(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d)
		ctx := sysadmin(t.Context())
		mailIn := func() notify.ChannelInput {
			return notify.ChannelInput{Key: "mail", Kind: notify.Mail, Title: "邮件", Host: "smtp.example.cn", Security: notify.TLS, Username: "u", Password: ptr("SECRETPASSWORD"), Sender: "u@example.cn"}
		}
		hookIn := func() notify.ChannelInput {
			return notify.ChannelInput{Key: "robot", Kind: notify.Webhook, Title: "机器人", URL: ptr("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=SECRETKEY"), Format: notify.WeCom}
		}
		for what, c := range map[string]struct {
			in      notify.ChannelInput
			change  func(*notify.ChannelInput)
			pointer string
		}{
			"no host":               {mailIn(), func(in *notify.ChannelInput) { in.Host = "" }, "/host"},
			"host with port":        {mailIn(), func(in *notify.ChannelInput) { in.Host = "smtp:25" }, "/host"},
			"no security":           {mailIn(), func(in *notify.ChannelInput) { in.Security = "" }, "/security"},
			"password in the clear": {mailIn(), func(in *notify.ChannelInput) { in.Security = notify.Plain }, "/security"},
			"no password":           {mailIn(), func(in *notify.ChannelInput) { in.Password = nil }, "/password"},
			"sender":                {mailIn(), func(in *notify.ChannelInput) { in.Sender = "张三 <a@b.c>" }, "/sender"},
			"other key":             {mailIn(), func(in *notify.ChannelInput) { in.Key = "post" }, "/key"},
			"certificate":           {mailIn(), func(in *notify.ChannelInput) { in.CA = "x" }, "/ca"},
			"header injection":      {mailIn(), func(in *notify.ChannelInput) { in.SenderName = "x\r\nBcc: y@z.a" }, "/senderName"},
			"no address":            {hookIn(), func(in *notify.ChannelInput) { in.URL = nil }, "/url"},
			"file":                  {hookIn(), func(in *notify.ChannelInput) { in.URL = ptr("file:///etc/passwd") }, "/url"},
			"no format":             {hookIn(), func(in *notify.ChannelInput) { in.Format = "" }, "/format"},
			"short secret":          {hookIn(), func(in *notify.ChannelInput) { in.Format, in.Secret = notify.JSON, ptr("short") }, "/secret"},
			"mail's key":            {hookIn(), func(in *notify.ChannelInput) { in.Key = "mail" }, "/key"},
			"in-app":                {hookIn(), func(in *notify.ChannelInput) { in.Kind = notify.InApp }, "/kind"},
		} {
			c.change(&c.in)
			_, err := w.SaveChannel(ctx, 0, c.in)
			if code(err) != "notify.channel" || !strings.Contains(fmt.Sprint(errs.As(err).Fields), c.pointer+" ") {
				t.Errorf("%s: %v", what, err)
			}
		}
		first, err := w.SaveChannel(ctx, 0, mailIn())
		if err != nil || first.Port != 465 || !first.HasPassword || first.Version != 1 {
			t.Fatalf("saved %+v, %v", first, err)
		}
		again := mailIn()
		again.Password, again.Enabled = nil, true
		if _, err := w.SaveChannel(ctx, 0, again); code(err) != "record.stale" {
			t.Errorf("made twice: %v", err)
		}
		second, err := w.SaveChannel(ctx, 1, again)
		if err != nil || !second.HasPassword || !second.Enabled {
			t.Errorf("the password is lost: %+v, %v", second, err)
		}
		again.Kind = notify.Webhook
		if _, err := w.SaveChannel(ctx, 2, again); code(err) != "notify.channel" {
			t.Errorf("another kind: %v", err)
		}
		if _, err := w.SaveChannel(ctx, 0, hookIn()); err != nil {
			t.Fatal(err)
		}
		list, err := w.Channels(ctx)
		if err != nil || len(list) != 2 || list[1].URLHost != "qyapi.weixin.qq.com" {
			t.Errorf("list %+v, %v", list, err)
		}
		shown, _ := json.Marshal(list)
		var bodies []string
		if err := d.Conn(t.Context()).NewRaw("SELECT body || data FROM audit_entry WHERE body IS NOT NULL").Scan(t.Context(), &bodies); err != nil {
			t.Fatal(err)
		}
		if all := string(shown) + strings.Join(bodies, ""); strings.Contains(all, "SECRET") {
			t.Error("a secret is shown or in the log")
		}
		verified(t, w)
	})
}

type hook struct {
	*httptest.Server
	mu    sync.Mutex
	calls []call
	reply func(n int) (int, string)
}

type call struct {
	header http.Header
	query  map[string][]string
	body   []byte
}

func newHook(t testing.TB, reply func(n int) (int, string)) *hook {
	h := &hook{reply: reply}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		h.calls = append(h.calls, call{r.Header, r.URL.Query(), body})
		n := len(h.calls)
		h.mu.Unlock()
		status, text := 200, "{}"
		if h.reply != nil {
			status, text = h.reply(n)
		}
		if status/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) all() []call { h.mu.Lock(); defer h.mu.Unlock(); return append([]call(nil), h.calls...) }

func (w *world) hookChannel(key string, h *hook, format notify.Format, secret string) {
	w.t.Helper()
	_, err := w.SaveChannel(sysadmin(w.t.Context()), 0, notify.ChannelInput{Key: key, Kind: notify.Webhook, Title: key, Enabled: true, URL: ptr(h.URL + "/send?key=SECRETKEY"), Format: format, Secret: &secret})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		w := open(t, d)
		const secret = "0123456789abcdef0123"
		plain, wecom, ding := newHook(t, nil), newHook(t, func(int) (int, string) { return 200, `{"errcode":0,"errmsg":"ok"}` }), newHook(t, func(int) (int, string) { return 200, `{"errcode":0}` })
		w.hookChannel("plain", plain, notify.JSON, secret)
		w.hookChannel("wecom", wecom, notify.WeCom, "")
		w.hookChannel("ding", ding, notify.DingTalk, "SECsecret")
		w.start()
		w.send(notify.Message{To: []notify.Recipient{{Channel: "plain"}, {Channel: "wecom"}, {Channel: "ding"}, {Channel: "nothing"}}, Data: map[string]any{"no": "YH-1", "who": strings.Repeat("长公司名", 300)},
			RecordType: "danger.item", RecordID: "d1", Level: notify.Warning, DedupeKey: "e1"})
		w.until("all are sent", notify.Sent, 3)

		c := plain.all()[0]
		var body notify.WebhookBody
		if err := json.Unmarshal(c.body, &body); err != nil {
			t.Fatal(err)
		}
		if body.Title != "隐患YH-1" || body.RecordID != "d1" || body.RecordType != "danger.item" || body.Level != notify.Warning || body.Template != assigned.Key ||
			!body.At.Equal(d.Clock.Now()) || body.ID != c.header.Get("X-Anwang-Delivery") {
			t.Errorf("body %+v", body)
		}
		at := c.header.Get("X-Anwang-Timestamp")
		if at != strconv.FormatInt(d.Clock.Now().Unix(), 10) || c.header.Get("X-Anwang-Signature") != notify.Sign(secret, at, c.body) {
			t.Errorf("headers %v", c.header)
		}
		// The signature, worked out by other means: echo -n '1.{}' | openssl dgst -sha256 -hmac key
		if got := notify.Sign("key", "1", []byte("{}")); got != "sha256=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224" {
			t.Errorf("signature %s", got)
		}
		for _, h := range []*hook{wecom, ding} {
			var robot struct {
				MsgType string
				Text    struct{ Content string }
			}
			if err := json.Unmarshal(h.all()[0].body, &robot); err != nil || robot.MsgType != "text" || !strings.HasPrefix(robot.Text.Content, "隐患YH-1\n长公司名") {
				t.Errorf("robot %+v, %v", robot, err)
			}
			if h == wecom && (len(robot.Text.Content) > 2048 || !strings.HasSuffix(robot.Text.Content, "…")) {
				t.Errorf("%d bytes to a robot that takes 2048", len(robot.Text.Content))
			}
		}
		if q := ding.all()[0].query; len(q["sign"]) != 1 || q["timestamp"][0] != strconv.FormatInt(d.Clock.Now().UnixMilli(), 10) || q["key"][0] != "SECRETKEY" {
			t.Errorf("query %v", q)
		}
	})
}

func TestWebhookTrouble(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...))
	h := map[string]*hook{
		"gone":     newHook(t, func(int) (int, string) { return 410, "" }),
		"redirect": newHook(t, func(int) (int, string) { return 302, "" }),
		"error":    newHook(t, func(int) (int, string) { return 500, "" }),
		"robot":    newHook(t, func(int) (int, string) { return 200, `{"errcode":45009,"errmsg":"too fast"}` }),
		"html":     newHook(t, func(int) (int, string) { return 200, "<html>" }),
		"dead":     newHook(t, nil),
	}
	h["dead"].Close()
	var recipients []notify.Recipient
	for key, hook := range h {
		format := notify.JSON
		if key == "robot" || key == "html" {
			format = notify.WeCom
		}
		w.hookChannel(key, hook, format, "0123456789abcdef0123")
		recipients = append(recipients, notify.Recipient{Channel: key})
	}
	w.start()
	w.send(notify.Message{To: recipients, DedupeKey: "e1"})
	kerneltest.Eventually(t, "all were tried", func() bool {
		return w.count("SELECT count(*) FROM notify_delivery WHERE attempts = 1 AND state <> 'sending'") == len(h)
	})
	for _, d := range append(w.deliveries(notify.Waiting), w.deliveries(notify.Failed)...) {
		want := map[string]string{"gone": "http 410", "redirect": "http 302", "error": "http 500", "robot": "robot 45009", "html": "robot", "dead": "refused"}[d.Channel]
		if !strings.Contains(d.Error, want) || (d.State == notify.Failed) != (d.Channel == "gone") {
			t.Errorf("%s: %s %q", d.Channel, d.State, d.Error)
		}
		if strings.Contains(d.Error, "SECRET") {
			t.Errorf("%s tells its address: %s", d.Channel, d.Error)
		}
	}
	if n := len(h["redirect"].all()); n != 1 {
		t.Errorf("redirect followed: %d calls", n)
	}
	if strings.Contains(w.text.String(), "SECRET") {
		t.Errorf("log: %s", w.text.String())
	}
}

// Several processes send each delivery once; what a dead process had leased is sent by another.
func TestSeveralProcesses(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		h := newHook(t, nil)
		w := open(t, d)
		w.hookChannel("hook", h, notify.JSON, "0123456789abcdef0123")
		for i := range 60 {
			w.send(notify.Message{To: []notify.Recipient{{Channel: "hook"}}, DedupeKey: fmt.Sprint("e", i)})
		}
		// As a process leaves it that is killed while sending.
		if err := d.Tx(t.Context(), func(ctx context.Context) error {
			_, err := d.Conn(ctx).NewRaw("UPDATE notify_delivery SET state = 'sending', attempts = 1, worker = 'dead', lease_until = ? WHERE event = 'e0'", d.Clock.Now().Add(time.Minute)).Exec(ctx)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		others := []*world{open(t, d), open(t, d)}
		for _, x := range append(others, w) {
			x.start()
			x.start() // twice does no harm
		}
		kerneltest.Eventually(t, "all but the leased one are sent", func() bool { return w.count("SELECT count(*) FROM notify_delivery WHERE state = 'sent'") == 59 })
		d.Clock.Advance(61 * time.Second)
		kerneltest.Eventually(t, "the abandoned one is sent", func() bool { return w.count("SELECT count(*) FROM notify_delivery WHERE state = 'sent'") == 60 })
		ids := map[string]int{}
		for _, c := range h.all() {
			ids[c.header.Get("X-Anwang-Delivery")]++
		}
		if len(ids) != 60 || len(h.all()) != 60 {
			t.Errorf("%d deliveries in %d calls", len(ids), len(h.all()))
		}
		for _, x := range append(others, w) {
			x.Stop()
			x.Stop()
		}
	})
}

// Stop lets what is in progress end, and does not wait for a server that never answers.
func TestStop(t *testing.T) {
	t.Parallel()
	w := open(t, kerneltest.Open(t, db.SQLite, parts...))
	w.Stop() // before Start
	arrived, release := make(chan struct{}), make(chan struct{})
	h := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { close(arrived); <-release }))
	defer h.Close()
	_, err := w.SaveChannel(sysadmin(t.Context()), 0, notify.ChannelInput{Key: "slow", Kind: notify.Webhook, Title: "慢", Enabled: true, URL: &h.URL, Format: notify.JSON, Secret: ptr("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	w.start()
	w.send(notify.Message{To: []notify.Recipient{{Channel: "slow"}}, DedupeKey: "e"})
	<-arrived
	stopped := make(chan struct{})
	go func() { w.Stop(); close(stopped) }()
	close(release)
	<-stopped
	if got := w.deliveries(notify.Sent); len(got) != 1 {
		t.Errorf("in progress at the stop: %+v", w.deliveries(""))
	}
	w.send(notify.Message{To: []notify.Recipient{{Channel: "slow"}}, DedupeKey: "e2"})
	if got := w.deliveries(notify.Waiting); len(got) != 1 {
		t.Errorf("sent after the stop: %+v", got)
	}
}

// A channel that is switched off is passed over, so that no backlog bursts out when it is switched on.
func TestSwitchedOff(t *testing.T) {
	t.Parallel()
	s := newMailServer(t, nil)
	w := open(t, kerneltest.Open(t, db.SQLite, parts...))
	m := notify.Message{To: []notify.Recipient{{Account: "a", Mail: "a@example.cn"}}, DedupeKey: "e1"}
	w.send(m)
	w.mustMailChannel(s, func(in *notify.ChannelInput) { in.Enabled = false })
	m.DedupeKey = "e2"
	w.send(m)
	if n := w.count("SELECT count(*) FROM notify_delivery"); n != 0 {
		t.Errorf("%d deliveries", n)
	}
	if n := len(w.inbox("a", notify.InboxInput{}).Items); n != 2 {
		t.Errorf("%d messages in the program", n)
	}
}
