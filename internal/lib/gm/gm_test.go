package gm_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"anwang/internal/lib/gm"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The two messages are the examples of GB/T 32905-2016 annex A.
func TestSM3KnownAnswers(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"abc":                      "66c7f0f4 62eeedd9 d1f2d46b dc10e4e2 4167c487 5cf2f7a2 297da02b 8f4ba8e0",
		strings.Repeat("abcd", 16): "debe9ff9 2275b8a1 38604889 c18e5a4d 6fdb70e5 387e5765 293dcba3 9c0c5732",
	} {
		sum := gm.SumSM3([]byte(message))
		if !bytes.Equal(sum[:], unhex(t, want)) {
			t.Errorf("SumSM3(%q) = %x, want %s", message, sum, want)
		}
		h := gm.NewSM3()
		for _, c := range []byte(message) {
			h.Write([]byte{c})
		}
		if got := h.Sum(nil); !bytes.Equal(got, sum[:]) {
			t.Errorf("NewSM3 over %q byte by byte = %x, want %x", message, got, sum)
		}
	}
}

// The example of GB/T 32918.5-2017 annex A.2: the identity is the default one, the message "message digest".
func TestSM2KnownAnswer(t *testing.T) {
	t.Parallel()
	public, err := gm.ParsePublicKey(unhex(t, "04"+
		"09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"+
		"CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"))
	if err != nil {
		t.Fatal(err)
	}
	signature := unhex(t, "3046"+
		"022100 F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"+
		"022100 B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA")
	if !public.Verify([]byte("message digest"), signature) {
		t.Error("the standard's example signature is refused")
	}
	if public.Verify([]byte("message digesT"), signature) {
		t.Error("the standard's example signature is accepted for another message")
	}
}

func TestSM2SignVerify(t *testing.T) {
	t.Parallel()
	key, other := newKey(t), newKey(t)
	message := []byte("责令限期整改指令书 〔2026〕1 号")
	signature, err := key.Sign(message)
	if err != nil {
		t.Fatal(err)
	}
	if !key.Public().Verify(message, signature) {
		t.Fatal("own signature refused")
	}
	if other.Public().Verify(message, signature) {
		t.Error("accepted by another key")
	}
	if key.Public().Verify(append(message, ' '), signature) {
		t.Error("accepted for a longer message")
	}
	for i := range signature {
		bad := bytes.Clone(signature)
		bad[i] ^= 1
		if key.Public().Verify(message, bad) {
			t.Errorf("accepted with byte %d altered", i)
		}
	}
	if key.Public().Verify(message, nil) || key.Public().Verify(message, append(signature, 0)) {
		t.Error("accepted an empty or a prolonged signature")
	}
}

func TestSM2KeysSurviveEncoding(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	message := []byte("m")

	text, err := key.PEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := gm.ParsePrivateKeyPEM(text)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := again.Sign(message)
	if err != nil {
		t.Fatal(err)
	}

	fromBytes, err := gm.ParsePublicKey(key.Public().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	text, err = key.Public().PEM()
	if err != nil {
		t.Fatal(err)
	}
	fromPEM, err := gm.ParsePublicKeyPEM(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, public := range map[string]gm.PublicKey{"original": key.Public(), "bytes": fromBytes, "PEM": fromPEM} {
		if !public.Verify(message, signature) {
			t.Errorf("public key from %s refuses the reread key's signature", name)
		}
	}
}

// Made by OpenSSL 3: openssl genpkey -algorithm SM2, and openssl pkey -pubout.
func TestSM2ReadsOpenSSL(t *testing.T) {
	t.Parallel()
	key, err := gm.ParsePrivateKeyPEM([]byte(opensslPrivate))
	if err != nil {
		t.Fatal(err)
	}
	public, err := gm.ParsePublicKeyPEM([]byte(opensslPublic))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(key.Public().Bytes(), public.Bytes()) {
		t.Error("the private key's public half is not OpenSSL's")
	}
	// openssl pkeyutl -sign -rawin -digest sm3 -pkeyopt distid:1234567812345678
	if !public.Verify([]byte("abc"), unhex(t, opensslSignature)) {
		t.Error("OpenSSL's signature is refused")
	}
}

func TestSM2RefusesBadKeys(t *testing.T) {
	t.Parallel()
	good, err := newKey(t).PEM()
	if err != nil {
		t.Fatal(err)
	}
	public, err := newKey(t).Public().PEM()
	if err != nil {
		t.Fatal(err)
	}
	order, _ := new(big.Int).SetString("FFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123", 16)
	for name, text := range map[string][]byte{
		"empty":      nil,
		"not PEM":    []byte("hello"),
		"public":     public,
		"cut":        append(bytes.Clone(good[:60]), "\n-----END PRIVATE KEY-----\n"...),
		"P-256":      []byte(p256Private),
		"zero":       withScalar(t, good, new(big.Int)),
		"n minus 1":  withScalar(t, good, new(big.Int).Sub(order, big.NewInt(1))),
		"order":      withScalar(t, good, order),
		"other type": bytes.ReplaceAll(good, []byte("PRIVATE KEY"), []byte("EC PRIVATE KEY")),
	} {
		if _, err := gm.ParsePrivateKeyPEM(text); !errors.Is(err, gm.ErrPrivateKey) {
			t.Errorf("%s private key: error %v", name, err)
		}
	}
	raw := newKey(t).Public().Bytes()
	off := bytes.Clone(raw)
	off[64] ^= 1
	for name, point := range map[string][]byte{
		"empty": nil, "short": raw[:64], "long": append(bytes.Clone(raw), 0), "off the curve": off, "infinity": {0},
		"compressed": append([]byte{2}, raw[1:33]...),
	} {
		if _, err := gm.ParsePublicKey(point); !errors.Is(err, gm.ErrPublicKey) {
			t.Errorf("%s public key: error %v", name, err)
		}
	}
	for name, text := range map[string][]byte{"empty": nil, "private": good, "P-256": []byte(p256Public)} {
		if _, err := gm.ParsePublicKeyPEM(text); !errors.Is(err, gm.ErrPublicKey) {
			t.Errorf("%s public PEM: error %v", name, err)
		}
	}
}

// The vector of RFC 8998 appendix A.1, read as a sealed text.
func TestSM4GCMKnownAnswer(t *testing.T) {
	t.Parallel()
	sealer, err := gm.NewSealer(unhex(t, "0123456789ABCDEFFEDCBA9876543210"))
	if err != nil {
		t.Fatal(err)
	}
	sealed := "sm4-gcm:" + base64.StdEncoding.EncodeToString(unhex(t, "00001234567800000000ABCD"+
		"17F399F08C67D5EE19D0DC9969C4BB7D5FD46FD3756489069157B282BB200735"+
		"D82710CA5C22F0CCFA7CBF93D496AC15A56834CBCF98C397B4024A2691233B8D"+
		"83DE3541E4C2B58177E065A9BF7B62EC"))
	got, err := sealer.Open(sealed, string(unhex(t, "FEEDFACEDEADBEEFFEEDFACEDEADBEEFABADDAD2")))
	want := unhex(t, "AAAAAAAAAAAAAAAABBBBBBBBBBBBBBBBCCCCCCCCCCCCCCCCDDDDDDDDDDDDDDDD"+
		"EEEEEEEEEEEEEEEEFFFFFFFFFFFFFFFFEEEEEEEEEEEEEEEEAAAAAAAAAAAAAAAA")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("Open = %x, %v, want %x", got, err, want)
	}
}

func TestSealOpen(t *testing.T) {
	t.Parallel()
	sealer := newSealer(t, 1)
	for _, secret := range []string{"", "p", "数据库口令", strings.Repeat("long ", 1000)} {
		sealed := sealer.Seal([]byte(secret), "setting/sms")
		if got, err := sealer.Open(sealed, "setting/sms"); err != nil || string(got) != secret {
			t.Errorf("Open(Seal(%.10q)) = %.10q, %v", secret, got, err)
		}
		if sealer.Seal([]byte(secret), "setting/sms") == sealed {
			t.Error("two seals of one secret are equal: the nonce repeats")
		}
	}

	sealed := sealer.Seal([]byte("secret"), "user/1")
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sealed, "sm4-gcm:"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 0x80
		if _, err := sealer.Open("sm4-gcm:"+base64.StdEncoding.EncodeToString(bad), "user/1"); !errors.Is(err, gm.ErrSealed) {
			t.Errorf("byte %d altered: error %v", i, err)
		}
	}
	for name, open := range map[string]func() ([]byte, error){
		"other key":   func() ([]byte, error) { return newSealer(t, 2).Open(sealed, "user/1") },
		"other place": func() ([]byte, error) { return sealer.Open(sealed, "user/2") },
		"empty":       func() ([]byte, error) { return sealer.Open("", "user/1") },
		"no prefix":   func() ([]byte, error) { return sealer.Open(strings.TrimPrefix(sealed, "sm4-gcm:"), "user/1") },
		"not base64":  func() ([]byte, error) { return sealer.Open("sm4-gcm:密", "user/1") },
		"too short":   func() ([]byte, error) { return sealer.Open("sm4-gcm:AAAA", "user/1") },
	} {
		if got, err := open(); !errors.Is(err, gm.ErrSealed) || got != nil {
			t.Errorf("%s: Open = %q, %v", name, got, err)
		}
	}
	for _, size := range []int{0, 15, 17, 32} {
		if _, err := gm.NewSealer(make([]byte, size)); err == nil {
			t.Errorf("a key of %d bytes is accepted", size)
		}
	}
}

func newKey(t *testing.T) gm.PrivateKey {
	t.Helper()
	key, err := gm.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newSealer(t *testing.T, seed byte) *gm.Sealer {
	t.Helper()
	sealer, err := gm.NewSealer(bytes.Repeat([]byte{seed}, gm.SealKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

// withScalar returns the PKCS #8 PEM key with its 32-byte private number replaced.
func withScalar(t *testing.T, text []byte, d *big.Int) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	head := unhex(t, "020101 0420") // ECPrivateKey: version 1, then an octet string of 32 bytes (RFC 5915)
	at := bytes.Index(block.Bytes, head)
	if at < 0 {
		t.Fatal("no ECPrivateKey in the key")
	}
	d.FillBytes(block.Bytes[at+len(head):][:32])
	return pem.EncodeToMemory(block)
}

const (
	opensslPrivate = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqBHM9VAYItBG0wawIBAQQgP8uVU/lkxXiu+Qit
FUNwOa38nHd4zCRCEzqqbH3drYChRANCAARbRWm/oPUlUtsjGtXjlT3atpuqc8VD
uOfNl63PU7yffzLaAlvMO//qNfAKGhb4JBnROdKQIOIkbv+ljbIkbZNY
-----END PRIVATE KEY-----
`
	opensslPublic = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAEW0Vpv6D1JVLbIxrV45U92rabqnPF
Q7jnzZetz1O8n38y2gJbzDv/6jXwChoW+CQZ0TnSkCDiJG7/pY2yJG2TWA==
-----END PUBLIC KEY-----
`
	opensslSignature = "30450220324a99eabb7afe632d350cbbaa9dbabf9db213a567d726427770365655866180" +
		"022100c8b9e1c5ab0b713de92820b83855c900e60248253f5be73554c28b889c0a6b8f"
	p256Public = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEgXRFNFWP978RlzzjIy+ePKPTW68D
IPc3ZTu8Fz22X1QUwQrQtVsSzP6NHSGDlwStLmRBSZ39/KyE37sD0X3pPw==
-----END PUBLIC KEY-----
`
	p256Private = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgGfifC8d362mqZbof
q3Uu98hgrmx1POcrG/gbXsJiTb2hRANCAASBdEU0VY/3vxGXPOMjL548o9NbrwMg
9zdlO7wXPbZfVBTBCtC1WxLM/o0dIYOXBK0uZEFJnf38rITfuwPRfek/
-----END PRIVATE KEY-----
`
)
