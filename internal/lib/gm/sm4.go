package gm

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/emmansun/gmsm/sm4"
)

// SealKeySize is the length of a [Sealer]'s key in bytes.
const SealKeySize = 16

// sealedPrefix names the algorithm in front of each ciphertext, so that a later one can stand beside it.
const sealedPrefix = "sm4-gcm:"

// ErrSealed says that a sealed text cannot be opened: made with another key or for another place, altered, or not a
// sealed text at all. Which of these it was cannot be told.
var ErrSealed = errors.New("密文无法解开：密钥不符、存放位置不符或内容被改动")

// Sealer encrypts small secrets at rest (passwords of other systems, one-time-password seeds) with SM4-GCM.
// It is safe for concurrent use. Nonces are random, so one key should seal fewer than 2³² secrets (NIST SP 800-38D §8.3).
type Sealer struct{ aead cipher.AEAD }

// NewSealer makes a Sealer from a key of [SealKeySize] random bytes; a passphrase is not a key.
func NewSealer(key []byte) (*Sealer, error) {
	if len(key) != SealKeySize {
		return nil, fmt.Errorf("SM4 密钥应为 %d 字节，实为 %d 字节", SealKeySize, len(key))
	}
	block, err := sm4.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("set up SM4: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("set up SM4-GCM: %w", err)
	}
	return &Sealer{aead}, nil
}

// Seal encrypts secret and binds it to place, a name of where it is kept (such as "user/42/totp"): opened under any
// other place it fails, so a ciphertext cannot be moved from row to row. The result is one line of ASCII,
// "sm4-gcm:" and the base64 of nonce ‖ ciphertext ‖ tag.
func (s *Sealer) Seal(secret []byte, place string) string {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(secret)+s.aead.Overhead())
	rand.Read(nonce) // never fails: it ends the program when the system has no random numbers
	sealed := s.aead.Seal(nonce, nonce, secret, []byte(place))
	return sealedPrefix + base64.StdEncoding.EncodeToString(sealed)
}

// Open returns the secret that [Sealer.Seal] put into sealed for the same place. Every failure is [ErrSealed].
func (s *Sealer) Open(sealed, place string) ([]byte, error) {
	text, ok := strings.CutPrefix(sealed, sealedPrefix)
	if !ok {
		return nil, ErrSealed
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) < s.aead.NonceSize() {
		return nil, ErrSealed
	}
	nonce, ciphertext := raw[:s.aead.NonceSize()], raw[s.aead.NonceSize():]
	secret, err := s.aead.Open(nil, nonce, ciphertext, []byte(place))
	if err != nil {
		return nil, ErrSealed
	}
	return secret, nil
}
