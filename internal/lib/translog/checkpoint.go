package translog

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Checkpoint is the state of a log at one time. Signed, it is a note of C2SP tlog-checkpoint:
//
//	anwang.example.gov.cn/audit
//	20852163
//	CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//	time 2026-01-02T03:04:05Z
//
//	— anwang.example.gov.cn/audit Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5…
type Checkpoint struct {
	Origin string    // the log's name, that of its key
	Size   uint64    // number of leaves
	Root   []byte    // of the tree with these leaves, HashSize bytes
	Time   time.Time // by the log's own clock; kept to the nanosecond, in UTC
}

// Sign returns the checkpoint as a signed note. With several signers, keys of the same log, each adds its signature: so
// a new key is introduced by the old one. It refuses what [OpenCheckpoint] would not read back: a root of a wrong
// length, no time, a signer of another log.
func (c Checkpoint) Sign(signers ...*Signer) (string, error) {
	text := c.text()
	if _, err := parseText(text); err != nil {
		return "", fmt.Errorf("sign checkpoint: %w", err)
	}
	if len(signers) == 0 {
		return "", errors.New("sign checkpoint: no signer")
	}
	keys := make([]note.Signer, len(signers))
	for i, signer := range signers {
		if signer.Name() != c.Origin {
			return "", fmt.Errorf("sign checkpoint of %q with the key of %q", c.Origin, signer.Name())
		}
		keys[i] = signer
	}
	signed, err := note.Sign(&note.Note{Text: text}, keys...)
	if err != nil {
		return "", fmt.Errorf("sign checkpoint: %w", err)
	}
	return string(signed), nil
}

// OpenCheckpoint reads a signed checkpoint. One of the keys, of the same name as the checkpoint's origin, must have
// signed it; a bad signature by any of the keys is refused even beside a good one. Signatures of others are ignored.
// Failures are [ErrFormat] and [ErrSignature].
func OpenCheckpoint(signed string, keys ...VerifierKey) (Checkpoint, error) {
	opened, err := note.Open([]byte(signed), keyring(keys))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		return Checkpoint{}, fmt.Errorf("%w：没有所给公钥的签名，只有 %s 的", ErrSignature, signers(unverified.Note.UnverifiedSigs))
	case errors.As(err, &invalid):
		return Checkpoint{}, fmt.Errorf("%w：公钥 %s+%08x 验证不通过，检查点内容或签名有改动", ErrSignature, invalid.Name, invalid.Hash)
	case err != nil:
		return Checkpoint{}, fmt.Errorf("%w：检查点不是签名文本（signed note）", ErrFormat)
	}
	c, err := parseText(opened.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	for _, signature := range opened.Sigs {
		if signature.Name == c.Origin {
			return c, nil
		}
	}
	return Checkpoint{}, fmt.Errorf("%w：检查点属于日志 %s，签名却出自 %s", ErrSignature, c.Origin, signers(opened.Sigs))
}

// readUnverified returns what a signed checkpoint claims.
func readUnverified(signed string) (Checkpoint, error) {
	_, err := note.Open([]byte(signed), nil)
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return Checkpoint{}, fmt.Errorf("%w：检查点不是签名文本（signed note）", ErrFormat)
	}
	return parseText(unverified.Note.Text)
}

func (c Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\ntime %s\n", c.Origin, c.Size,
		base64.StdEncoding.EncodeToString(c.Root), c.Time.UTC().Format(time.RFC3339Nano))
}

// parseText takes only what text writes, byte for byte, so that one checkpoint has one text.
func parseText(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 {
		return Checkpoint{}, fmt.Errorf("%w：检查点应有名称、大小、根、时间四行", ErrFormat)
	}
	c := Checkpoint{Origin: lines[0]}
	if err := checkName(c.Origin); err != nil {
		return Checkpoint{}, err
	}
	var err error
	if c.Size, err = strconv.ParseUint(lines[1], 10, 64); err != nil {
		return Checkpoint{}, fmt.Errorf("%w：检查点的大小 %q 不是数字", ErrFormat, lines[1])
	}
	if c.Root, err = base64.StdEncoding.DecodeString(lines[2]); err != nil || len(c.Root) != HashSize {
		return Checkpoint{}, fmt.Errorf("%w：检查点的根 %q 不是 %d 字节的 base64", ErrFormat, lines[2], HashSize)
	}
	if c.Time, err = time.Parse("time "+time.RFC3339Nano, lines[3]); err != nil || c.Time.IsZero() {
		return Checkpoint{}, fmt.Errorf("%w：检查点的时间 %q 应形如“time 2026-01-02T03:04:05Z”", ErrFormat, lines[3])
	}
	if c.text() != text {
		return Checkpoint{}, fmt.Errorf("%w：检查点的写法不规范", ErrFormat)
	}
	return c, nil
}

// keyring finds the known keys for package note.
type keyring []VerifierKey

func (ring keyring) Verifier(name string, hash uint32) (note.Verifier, error) {
	for _, key := range ring {
		if key.name == name && key.KeyHash() == hash {
			return key, nil
		}
	}
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
}

func signers(list []note.Signature) string {
	names := make([]string, len(list))
	for i, signature := range list {
		names[i] = fmt.Sprintf("%s+%08x", signature.Name, signature.Hash)
	}
	return strings.Join(names, "、")
}
