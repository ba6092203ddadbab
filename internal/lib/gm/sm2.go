package gm

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"

	"github.com/emmansun/gmsm/ecdh"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// gmsm v0.15.5 knows keys only by the number fields of crypto/ecdsa, which Go 1.26 calls deprecated; hence the linter's
// marks below. They touch no key that was not checked.

// defaultUserID is the signer's identity that GB/T 35276 prescribes where two parties have agreed on no other.
// GB/T 32918.2 clause 5.5 mixes it into every signature; the whole of Anwang uses this one.
const defaultUserID = "1234567812345678"

const (
	privateBlock = "PRIVATE KEY" // PKCS #8 (RFC 5208)
	publicBlock  = "PUBLIC KEY"  // SubjectPublicKeyInfo (RFC 5280)
)

// Errors of key and ciphertext parsing; test with errors.Is. The texts may be shown to the person who gave the input.
var (
	ErrPrivateKey = errors.New("不是有效的 SM2 私钥，应为 PKCS#8 PEM（BEGIN PRIVATE KEY）")
	ErrPublicKey  = errors.New("不是有效的 SM2 公钥")
)

// PrivateKey signs with SM2. It is immutable and safe for concurrent use. Make one with [GenerateKey] or
// [ParsePrivateKeyPEM]; the zero value cannot be used.
type PrivateKey struct{ key *sm2.PrivateKey }

// PublicKey verifies SM2 signatures. It is immutable and safe for concurrent use. It comes from
// [PrivateKey.Public], [ParsePublicKey] or [ParsePublicKeyPEM], all of which make sure that the point lies on the
// curve; the zero value cannot be used.
type PublicKey struct{ key *ecdsa.PublicKey }

// GenerateKey makes a new SM2 key from the random numbers of the operating system.
func GenerateKey() (PrivateKey, error) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("generate SM2 key: %w", err)
	}
	return PrivateKey{key}, nil
}

// ParsePrivateKeyPEM reads the first PEM block, which must be an unencrypted PKCS #8 key on the SM2 curve, as OpenSSL 3
// and this package write it. Every failure is [ErrPrivateKey].
func ParsePrivateKeyPEM(text []byte) (PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != privateBlock {
		return PrivateKey{}, ErrPrivateKey
	}
	parsed, err := smx509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("%w: %w", ErrPrivateKey, err)
	}
	key, ok := parsed.(*sm2.PrivateKey)
	if !ok {
		return PrivateKey{}, ErrPrivateKey
	}
	// GB/T 32918.1 clause 6.1 takes d from [1, n-2]; n-1 has no inverse of 1+d, and the parser lets it and 0 pass.
	limit := new(big.Int).Sub(key.Params().N, big.NewInt(1))
	if key.D.Sign() <= 0 || key.D.Cmp(limit) >= 0 { //nolint:staticcheck // SA1019, see above
		return PrivateKey{}, ErrPrivateKey
	}
	return PrivateKey{key}, nil
}

// PEM returns the key as an unencrypted PKCS #8 PEM block, to be stored where only the service can read it.
func (k PrivateKey) PEM() ([]byte, error) {
	der, err := smx509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("encode SM2 private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}), nil
}

// Public returns the key that verifies what k signs.
func (k PrivateKey) Public() PublicKey { return PublicKey{&k.key.PublicKey} }

// Sign signs the message itself, not a digest: GB/T 32918.2 hashes the default user identity and the public key in
// front of it. The signature is the ASN.1 SM2Signature of GB/T 35276. Two signatures of one message differ.
func (k PrivateKey) Sign(message []byte) ([]byte, error) {
	return k.key.SignWithSM2(rand.Reader, []byte(defaultUserID), message)
}

// Verify reports whether signature, as [PrivateKey.Sign] makes it, is k's over message.
func (k PublicKey) Verify(message, signature []byte) bool {
	return sm2.VerifyASN1WithSM2(k.key, []byte(defaultUserID), message, signature)
}

// Bytes returns the uncompressed point, 0x04 ‖ X ‖ Y, 65 bytes (GB/T 32918.1 clause 4.2.9).
func (k PublicKey) Bytes() []byte {
	raw := make([]byte, 65)
	raw[0] = 4
	k.key.X.FillBytes(raw[1:33]) //nolint:staticcheck // SA1019, see above
	k.key.Y.FillBytes(raw[33:])  //nolint:staticcheck // SA1019, see above
	return raw
}

// ParsePublicKey reads what [PublicKey.Bytes] writes. Compressed points, points off the curve and the point at infinity
// are [ErrPublicKey].
func ParsePublicKey(raw []byte) (PublicKey, error) {
	if _, err := ecdh.P256().NewPublicKey(raw); err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	return PublicKey{&ecdsa.PublicKey{
		Curve: sm2.P256(),
		X:     new(big.Int).SetBytes(raw[1:33]), //nolint:staticcheck // gmsm takes an SM2 key in this form only
		Y:     new(big.Int).SetBytes(raw[33:]),  //nolint:staticcheck // likewise
	}}, nil
}

// PEM returns the key as a SubjectPublicKeyInfo PEM block, the form that other tools read.
func (k PublicKey) PEM() ([]byte, error) {
	der, err := smx509.MarshalPKIXPublicKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("encode SM2 public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der}), nil
}

// ParsePublicKeyPEM reads the first PEM block, which must be a SubjectPublicKeyInfo of the SM2 curve. Every failure is
// [ErrPublicKey].
func ParsePublicKeyPEM(text []byte) (PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != publicBlock {
		return PublicKey{}, ErrPublicKey
	}
	parsed, err := smx509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || !sm2.IsSM2PublicKey(key) {
		return PublicKey{}, ErrPublicKey
	}
	return PublicKey{key}, nil
}
