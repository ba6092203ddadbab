package translog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// proofFormat stands in every proof file; a later format has another name, and this one is read for ever.
const proofFormat = "anwang-proof/v1"

// ProofFile proves offline that one entry is in a log. As a file it is JSON, with byte strings in base64:
//
//	{"format": "anwang-proof/v1", "suite": …, "leaf": {"header": …, "body": …, "bodyHash": …},
//	 "index": …, "path": […], "checkpoint": …, "key": …}
//
// The body may be left out ([Leaf.Erased]); then header and body hash are proved.
type ProofFile struct {
	Suite      Suite       `json:"suite"`
	Leaf       Leaf        `json:"leaf"`
	Index      uint64      `json:"index"`      // of the leaf, from 0
	Path       [][]byte    `json:"path"`       // the inclusion proof for the checkpoint's size
	Checkpoint string      `json:"checkpoint"` // signed note
	Key        VerifierKey `json:"key"`        // one that signed the checkpoint
}

// proofDocument is the file with its format mark.
type proofDocument struct {
	Format string `json:"format"`
	ProofFile
}

// Encode returns the file's text. It does not check the proof; call [ProofFile.Check] before handing one out.
func (p *ProofFile) Encode() ([]byte, error) {
	text, err := json.MarshalIndent(proofDocument{proofFormat, *p}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode proof file: %w", err)
	}
	return append(text, '\n'), nil
}

// ParseProof reads a proof file. It refuses other formats and unknown fields, since a field that nothing checks could be
// taken for proved. Every failure is [ErrFormat]; what the proof is worth, [ProofFile.Check] says.
func ParseProof(text []byte) (*ProofFile, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var document proofDocument
	err := decoder.Decode(&document)
	switch {
	case errors.Is(err, ErrFormat):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w：不是证明文件（%w）", ErrFormat, err)
	case document.Format != proofFormat:
		return nil, fmt.Errorf("%w：证明文件的格式为 %q，本程序只认 %q", ErrFormat, document.Format, proofFormat)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w：证明文件之后还有内容", ErrFormat)
	}
	return &document.ProofFile, nil
}

// Result is what a checked proof proves: the log Origin, as it was at Time with Size entries, had Leaf as entry number
// Index.
type Result struct {
	Suite  Suite
	Origin string
	Size   uint64
	Root   []byte
	Time   time.Time // in UTC
	Index  uint64
	Leaf   Leaf // its body, where carried, is proved through its hash

	// Key verified the checkpoint. When Trusted is false it came from the proof file alone, so anyone could have made
	// the whole file: the reader must compare Key.Fingerprint with what the log's operator publishes.
	Key     VerifierKey
	Trusted bool
}

// Check proves the file: that the body fits its hash, that the entry leads to the checkpoint's root, and that the key
// signed the checkpoint. The key must be one of the trusted ones; with none given, the file's own key is taken and
// [Result].Trusted is false.
//
// The error names everything that does not match, one finding per line, and is one or more of [ErrFormat], [ErrBody],
// [ErrInclusion], [ErrSignature] and [ErrUntrusted]. The Result is empty then.
func (p *ProofFile) Check(trusted ...VerifierKey) (Result, error) {
	if _, err := ParseSuite(string(p.Suite)); err != nil {
		return Result{}, err
	}
	if p.Key.Suite() != p.Suite {
		return Result{}, fmt.Errorf("%w：证明文件的算法套件为 %s，所附公钥的为 %q", ErrFormat, p.Suite, p.Key.Suite())
	}
	claimed, err := readUnverified(p.Checkpoint)
	if err != nil {
		return Result{}, err
	}
	leafHash, err := p.Leaf.Hash(p.Suite)
	if err != nil {
		return Result{}, err
	}

	var found []error
	if len(trusted) > 0 && !slices.Contains(trusted, p.Key) {
		found = append(found, fmt.Errorf("%w：证明文件所附公钥为 %s，指纹 %s", ErrUntrusted, p.Key, p.Key.Fingerprint()))
	}
	if p.Leaf.Body != nil {
		if sum := p.Suite.BodyHash(p.Leaf.Body); !bytes.Equal(sum, p.Leaf.BodyHash) {
			found = append(found, fmt.Errorf("%w：所附正文的摘要为 %x，条目记载 %x", ErrBody, sum, p.Leaf.BodyHash))
		}
	}
	if err := p.Suite.VerifyInclusion(p.Index, claimed.Size, leafHash, p.Path, claimed.Root); err != nil {
		found = append(found, err)
	}
	if _, err := OpenCheckpoint(p.Checkpoint, p.Key); err != nil {
		found = append(found, err)
	}
	if len(found) > 0 {
		return Result{}, errors.Join(found...)
	}
	return Result{
		Suite: p.Suite, Origin: claimed.Origin, Size: claimed.Size, Root: claimed.Root, Time: claimed.Time,
		Index: p.Index, Leaf: p.Leaf, Key: p.Key, Trusted: len(trusted) > 0,
	}, nil
}

// String returns the finding in Chinese, for the person who asked, with the warning where the key was not trusted.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "证明成立：日志 %s 在 %s（协调世界时）共有 %d 条，其中序号 %d（从 0 起）即本条目。",
		r.Origin, r.Time.UTC().Format(time.DateTime), r.Size, r.Index)
	if r.Leaf.Body == nil {
		b.WriteString("\n正文未附：所证明的是条目头和正文的摘要。")
	}
	if !r.Trusted {
		fmt.Fprintf(&b, "\n注意：公钥取自证明文件本身，未经独立信任。请与日志主管单位公布的公钥指纹核对：%s", r.Key.Fingerprint())
	}
	return b.String()
}
