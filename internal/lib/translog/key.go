package translog

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"anwang/internal/lib/gm"
)

// The first bytes of an encoded public key tell its type (C2SP signed-note). SM2 has no number there, so it takes the
// way left open for others: 0xff and a name of one's own, then the uncompressed point of 65 bytes.
const (
	ed25519Type = "\x01"
	sm2Type     = "\xffanwang/sm2"
)

const pemType = "PRIVATE KEY" // PKCS #8

// VerifierKey is the public half of a log's key together with the log's name (origin). Keys are compared with ==.
// The zero value is no key: it verifies nothing.
type VerifierKey struct {
	name   string
	suite  Suite
	public string // type and public key as above
}

var _ note.Verifier = VerifierKey{}

// ParseVerifierKey reads the form that [VerifierKey.String] writes. Every failure is [ErrFormat].
func ParseVerifierKey(text string) (VerifierKey, error) {
	name, rest, _ := strings.Cut(text, "+")
	_, encoded, _ := strings.Cut(rest, "+")
	public, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return VerifierKey{}, fmt.Errorf("%w：公钥 %q 应形如“名称+标识+base64”", ErrFormat, text)
	}
	key := VerifierKey{name: name, public: string(public)}
	switch {
	case strings.HasPrefix(key.public, ed25519Type) && len(public) == len(ed25519Type)+ed25519.PublicKeySize:
		key.suite = SHA256Ed25519
	case strings.HasPrefix(key.public, sm2Type):
		if _, err := gm.ParsePublicKey(public[len(sm2Type):]); err != nil {
			return VerifierKey{}, fmt.Errorf("%w：公钥 %q：%w", ErrFormat, text, err)
		}
		key.suite = SM3SM2
	default:
		return VerifierKey{}, fmt.Errorf("%w：公钥 %q 的类型未知或长度不对", ErrFormat, text)
	}
	if err := checkName(name); err != nil {
		return VerifierKey{}, err
	}
	if key.String() != text { // one key has one text, and a mistyped one is noticed
		return VerifierKey{}, fmt.Errorf("%w：公钥 %q 与其标识不符，应为 %q", ErrFormat, text, key.String())
	}
	return key, nil
}

// String returns the text to publish: name, key hash in hex and key in base64, joined by "+".
func (k VerifierKey) String() string {
	return fmt.Sprintf("%s+%08x+%s", k.name, k.KeyHash(), base64.StdEncoding.EncodeToString([]byte(k.public)))
}

// MarshalText is [VerifierKey.String] for encoders.
func (k VerifierKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is [ParseVerifierKey] for decoders.
func (k *VerifierKey) UnmarshalText(text []byte) (err error) {
	*k, err = ParseVerifierKey(string(text))
	return err
}

// Name returns the log's name, which is the origin of its checkpoints.
func (k VerifierKey) Name() string { return k.name }

// Suite returns the suite that the key belongs to.
func (k VerifierKey) Suite() Suite { return k.suite }

// KeyHash returns the short number that marks the key's signatures in a note. It identifies and does not protect, so it
// is cut from SHA-256 in both suites, as C2SP signed-note recommends.
func (k VerifierKey) KeyHash() uint32 {
	sum := sha256.Sum256([]byte(k.name + "\n" + k.public))
	return binary.BigEndian.Uint32(sum[:])
}

// Fingerprint returns what two people compare to know that they mean the same key: the suite's hash of
// [VerifierKey.String] in hexadecimal groups, with the hash's name in front.
func (k VerifierKey) Fingerprint() string {
	name := "SHA-256"
	if k.suite == SM3SM2 {
		name = "SM3"
	}
	sum := k.suite.sum([]byte(k.String()))
	var groups []string
	for group := range slices.Chunk(sum[:], 4) {
		groups = append(groups, hex.EncodeToString(group))
	}
	return name + ":" + strings.Join(groups, " ")
}

// Verify reports whether signature is the key's over text.
func (k VerifierKey) Verify(text, signature []byte) bool {
	switch k.suite {
	case SHA256Ed25519:
		return ed25519.Verify([]byte(k.public[len(ed25519Type):]), text, signature)
	case SM3SM2:
		public, err := gm.ParsePublicKey([]byte(k.public[len(sm2Type):]))
		return err == nil && public.Verify(text, signature)
	}
	return false
}

// Signer signs the checkpoints of one log. It is immutable and safe for concurrent use.
type Signer struct {
	key  VerifierKey
	sign func(text []byte) ([]byte, error)
}

var _ note.Signer = (*Signer)(nil)

// GenerateKey makes a signing key for the suite, as an unencrypted PKCS #8 PEM block. Keep it outside the database.
func GenerateKey(s Suite) ([]byte, error) {
	switch s {
	case SHA256Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generate Ed25519 key: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("encode Ed25519 key: %w", err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
	case SM3SM2:
		key, err := gm.GenerateKey()
		if err != nil {
			return nil, err
		}
		return key.PEM()
	}
	_, err := ParseSuite(string(s))
	return nil, err
}

// NewSigner returns the signer of the log called origin, with the suite's key from its PKCS #8 PEM text. The origin is
// the log's identity for life, best a host name and path such as "anwang.example.gov.cn/audit"; it holds no
// space and no "+". A key of the other suite is refused.
func NewSigner(s Suite, origin string, pemText []byte) (*Signer, error) {
	if err := checkName(origin); err != nil {
		return nil, err
	}
	switch s {
	case SHA256Ed25519:
		key, err := parseEd25519(pemText)
		if err != nil {
			return nil, err
		}
		public := ed25519Type + string(key.Public().(ed25519.PublicKey))
		sign := func(text []byte) ([]byte, error) { return ed25519.Sign(key, text), nil }
		return &Signer{VerifierKey{origin, s, public}, sign}, nil
	case SM3SM2:
		key, err := gm.ParsePrivateKeyPEM(pemText)
		if err != nil {
			return nil, err
		}
		return &Signer{VerifierKey{origin, s, sm2Type + string(key.Public().Bytes())}, key.Sign}, nil
	}
	_, err := ParseSuite(string(s))
	return nil, err
}

// Name returns the log's origin.
func (s *Signer) Name() string { return s.key.name }

// KeyHash returns [VerifierKey.KeyHash] of the public half.
func (s *Signer) KeyHash() uint32 { return s.key.KeyHash() }

// Sign signs a text. Use [Checkpoint.Sign], which knows what the text must be.
func (s *Signer) Sign(text []byte) ([]byte, error) { return s.sign(text) }

// VerifierKey returns the public half.
func (s *Signer) VerifierKey() VerifierKey { return s.key }

func parseEd25519(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return nil, errPrivateKey
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errPrivateKey // the cause might quote the key
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, errPrivateKey
	}
	return private, nil
}

var errPrivateKey = errors.New("不是有效的 Ed25519 私钥，应为 PKCS#8 PEM（BEGIN PRIVATE KEY）")

// checkName holds a log's name to the rules of C2SP signed-note for key names.
func checkName(name string) error {
	bad := func(r rune) bool { return r == '+' || unicode.IsSpace(r) || unicode.IsControl(r) }
	if name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%w：日志名称 %q 不得为空，不得含空白、控制字符或加号", ErrFormat, name)
	}
	return nil
}
