package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6238 as every authenticator application speaks it
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"anwang/internal/kernel/errs"
	"anwang/internal/kernel/record"
)

const (
	otpPeriod     = 30 // seconds, RFC 6238 section 5.2
	otpSeedSize   = 20 // bytes, RFC 4226 section 4
	recoveryCodes = 10
)

var base32Plain = base32.StdEncoding.WithPadding(base32.NoPadding)

// hotp is the one-time password of a counter (RFC 4226): the last digits of a piece of an HMAC.
func hotp(seed []byte, counter int64, digits int) string {
	mac := hmac.New(sha1.New, seed)
	binary.Write(mac, binary.BigEndian, counter) //nolint:errcheck // a hash never fails
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0x0f
	n := binary.BigEndian.Uint32(sum[at:]) & 0x7fffffff
	mod := uint32(1)
	for range digits {
		mod *= 10
	}
	return fmt.Sprintf("%0*d", digits, n%mod)
}

// otpStep finds the time step around now whose password is code: the present one, or a neighbour for a clock that is slow or fast.
func otpStep(seed []byte, now time.Time, code string) (step int64, ok bool) {
	present := now.Unix() / otpPeriod
	for s := present - 1; s <= present+1; s++ {
		if subtle.ConstantTimeCompare([]byte(hotp(seed, s, 6)), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

func otpPlace(accountID string) string { return "access_account/" + accountID + "/otp" }

// useOTP reports whether code is the account's one-time password of now, never used before, or one of its recovery codes, which it uses up.
func (g *Gate) useOTP(ctx context.Context, a *Account, code string) (bool, error) {
	code = strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(code))
	if len(code) == 6 {
		return g.useStep(ctx, a, code)
	}
	sum := sha256.Sum256([]byte(code))
	used := hex.EncodeToString(sum[:])
	found := false
	err := g.db.Tx(a.as(ctx), func(ctx context.Context) error {
		fresh, err := g.account(ctx, a.ID)
		if err != nil {
			return err
		}
		codes := strings.Fields(string(fresh.Recovery))
		i := slices.Index(codes, used)
		if i < 0 {
			return nil
		}
		found = true
		fresh.Recovery = record.Secret(strings.Join(slices.Delete(codes, i, i+1), "\n"))
		return g.accounts.Update(ctx, fresh, record.Change{Fact: "access.recoveryUsed", Title: "使用恢复码", Data: map[string]int{"left": len(codes) - 1}})
	})
	if e := errs.As(err); e != nil && e.Kind == errs.KindConflict {
		return false, nil // used at the same moment elsewhere
	}
	return found && err == nil, err
}

func (g *Gate) useStep(ctx context.Context, a *Account, code string) (bool, error) {
	seed, err := g.seal.Open(string(a.OTP), otpPlace(a.ID))
	if err != nil {
		return false, fmt.Errorf("one-time password of account %s: %w", a.ID, err)
	}
	step, ok := otpStep(seed, g.db.Clock.Now(), code)
	if !ok {
		return false, nil
	}
	err = g.db.Tx(ctx, func(ctx context.Context) error {
		res, err := g.db.Conn(ctx).NewRaw(`INSERT INTO access_otp AS t (account_id, step) VALUES (?, ?)
			ON CONFLICT (account_id) DO UPDATE SET step = excluded.step WHERE t.step < excluded.step`, a.ID, step).Exec(ctx)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		ok = n == 1 // else this step, or a later one, has been used: a replay
		return err
	})
	return ok && err == nil, err
}

// OTPSetup is what an authenticator application needs. It is shown once.
type OTPSetup struct {
	Secret string `json:"secret" doc:"手工输入用的密钥（Base32）"`
	URI    string `json:"uri" doc:"otpauth 地址，显示为二维码"`
}

// BeginOTP makes a new seed for the account that is signed in, which counts only after ConfirmOTP. It asks for the password once
// more. It refuses when one-time passwords are already on.
func (g *Gate) BeginOTP(ctx context.Context, password string) (*OTPSetup, error) {
	a, err := g.proveSelf(ctx, password, "/password")
	if err != nil {
		return nil, err
	}
	if a.OTPOn {
		return nil, errs.Conflict("access.otpOn", "动态口令已启用。更换手机请先停用，或请安全管理员重置。")
	}
	seed := make([]byte, otpSeedSize)
	rand.Read(seed) //nolint:errcheck // never fails since Go 1.24
	if _, err := g.change(ctx, a.ID, a.Version, record.Change{Fact: "access.otpBegun", Title: "准备启用动态口令"}, func(_ context.Context, a *Account) error {
		a.OTP = record.Secret(g.seal.Seal(seed, otpPlace(a.ID)))
		return nil
	}); err != nil {
		return nil, err
	}
	secret := base32Plain.EncodeToString(seed)
	return &OTPSetup{Secret: secret, URI: "otpauth://totp/" + url.PathEscape("安网:"+a.Name) + "?" + url.Values{"secret": {secret}, "issuer": {"安网"}}.Encode()}, nil
}

// ConfirmOTP turns one-time passwords on once the application shows the right one, and returns recovery codes for the day when the
// telephone is lost. They are shown once; each works once.
func (g *Gate) ConfirmOTP(ctx context.Context, code string) (recovery []string, err error) {
	a, err := g.self(ctx)
	if err != nil {
		return nil, err
	}
	if a.OTPOn || a.OTP == "" {
		return nil, errs.Conflict("access.otpNotBegun", "请先点“启用动态口令”，用手机扫描二维码。")
	}
	ok, err := g.useStep(ctx, a, strings.ReplaceAll(code, " ", ""))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errs.InvalidField("access.otpWrong", "/code", "动态口令不正确，请核对手机时间后输入最新的 6 位数字。")
	}
	var sums []string
	for range recoveryCodes {
		c := rand.Text()[:12] // 60 bits
		sum := sha256.Sum256([]byte(c))
		sums = append(sums, hex.EncodeToString(sum[:]))
		recovery = append(recovery, c[:4]+"-"+c[4:8]+"-"+c[8:])
	}
	_, err = g.change(ctx, a.ID, a.Version, record.Change{Fact: "access.otpOn", Title: "启用动态口令"}, func(_ context.Context, a *Account) error {
		a.OTPOn, a.Recovery = true, record.Secret(strings.Join(sums, "\n"))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return recovery, nil
}

// RemoveOTP turns one-time passwords off for the account that is signed in. It asks for the password once more. Where a role demands
// them the next request asks to turn them on again.
func (g *Gate) RemoveOTP(ctx context.Context, password string) error {
	a, err := g.proveSelf(ctx, password, "/password")
	if err != nil {
		return err
	}
	_, err = g.change(ctx, a.ID, a.Version, record.Change{Fact: "access.otpOff", Title: "停用动态口令"}, func(_ context.Context, a *Account) error {
		a.OTP, a.OTPOn, a.Recovery = "", false, ""
		return nil
	})
	return err
}
