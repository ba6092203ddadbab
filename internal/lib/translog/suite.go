package translog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/transparency-dev/merkle"

	"anwang/internal/lib/gm"
)

// Suite names the algorithms of a log: its hash and its signature. A log keeps its suite for life. The zero value and
// other unknown names have no methods that work: hashing with them panics, so take a Suite from the constants or from
// [ParseSuite].
type Suite string

// The suites there are. The names are stored in databases and proof files and never change.
const (
	SHA256Ed25519 Suite = "sha256-ed25519" // FIPS 180-4 and RFC 8032
	SM3SM2        Suite = "sm3-sm2"        // GB/T 32905 and GB/T 32918.2 with the default identity of GB/T 35276
)

// HashSize is the length in bytes of every hash, in both suites.
const HashSize = 32

// The prefixes of RFC 6962 section 2.1 keep a leaf from being taken for an inner node.
const (
	leafPrefix = 0x00
	nodePrefix = 0x01
)

type digest = [HashSize]byte

// ParseSuite returns the suite of that name, and a Chinese error for any other.
func ParseSuite(name string) (Suite, error) {
	switch s := Suite(name); s {
	case SHA256Ed25519, SM3SM2:
		return s, nil
	}
	return "", fmt.Errorf("%w：未知的算法套件 %q，应为 %s 或 %s", ErrFormat, name, SHA256Ed25519, SM3SM2)
}

// UnmarshalText is [ParseSuite] for decoders.
func (s *Suite) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSuite(string(text))
	return err
}

// EmptyRoot returns the root of the tree without leaves: the hash of nothing.
func (s Suite) EmptyRoot() []byte {
	h := s.sum(nil)
	return h[:]
}

// BodyHash returns the hash by which an entry's body enters its leaf, [HashSize] bytes.
func (s Suite) BodyHash(body []byte) []byte {
	h := s.sum(body)
	return h[:]
}

// LeafHash returns the hash of the leaf that an entry makes, [HashSize] bytes. It is small enough to be inlined, and
// then does not allocate for headers up to some 440 bytes unless the caller keeps the result.
func (s Suite) LeafHash(header, body []byte) []byte {
	h := s.entry(header, body)
	return h[:]
}

// Leaf is one entry of the log, with or without its body.
type Leaf struct {
	Header   []byte `json:"header"`
	Body     []byte `json:"body,omitzero"` // nil when erased or not carried; an empty body is not nil
	BodyHash []byte `json:"bodyHash"`      // HashSize bytes, always there
}

// NewLeaf returns the entry with its body hash. A nil body counts as an empty one.
func (s Suite) NewLeaf(header, body []byte) Leaf {
	if body == nil {
		body = []byte{}
	}
	return Leaf{Header: header, Body: body, BodyHash: s.BodyHash(body)}
}

// Erased returns the entry without its body; its hash stays the same.
func (l Leaf) Erased() Leaf {
	l.Body = nil
	return l
}

// Hash returns the leaf hash from header and BodyHash; it does not look at Body. It fails when BodyHash is not
// [HashSize] bytes.
func (l Leaf) Hash(s Suite) ([]byte, error) {
	if len(l.BodyHash) != HashSize {
		return nil, fmt.Errorf("%w：正文摘要应为 %d 字节，实为 %d 字节", ErrFormat, HashSize, len(l.BodyHash))
	}
	h := s.leaf(l.Header, digest(l.BodyHash))
	return h[:], nil
}

func (s Suite) entry(header, body []byte) digest { return s.leaf(header, s.sum(body)) }

func (s Suite) leaf(header []byte, body digest) digest {
	b := make([]byte, 0, 512) // on the stack
	b = append(b, leafPrefix)
	b = append(b, header...)
	b = append(b, '\n')
	b = hex.AppendEncode(b, body[:])
	return s.sum(b)
}

func (s Suite) node(left, right *digest) digest {
	var b [1 + 2*HashSize]byte
	b[0] = nodePrefix
	copy(b[1:], left[:])
	copy(b[1+HashSize:], right[:])
	return s.sum(b[:])
}

// sum names the two functions instead of keeping one in a field, which would move every input to the heap.
func (s Suite) sum(data []byte) digest {
	switch s {
	case SHA256Ed25519:
		return sha256.Sum256(data)
	case SM3SM2:
		return gm.SumSM3(data)
	}
	panic("translog: unknown suite " + string(s))
}

// logHasher is a Suite as the merkle module wants it.
type logHasher struct{ Suite }

var _ merkle.LogHasher = logHasher{}

func (h logHasher) Size() int { return HashSize }

func (h logHasher) HashLeaf(data []byte) []byte {
	sum := h.sum(append([]byte{leafPrefix}, data...))
	return sum[:]
}

// HashChildren is given hashes whose length has been checked.
func (h logHasher) HashChildren(left, right []byte) []byte {
	sum := h.node((*digest)(left), (*digest)(right))
	return sum[:]
}
