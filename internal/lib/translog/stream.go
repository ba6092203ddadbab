package translog

import (
	"bytes"
	"fmt"
	"math/bits"
)

// Stream computes the root of a growing tree from its leaf hashes in order, in constant memory and without allocating.
// It is how a whole log is verified: feed every entry, and [Stream.Check] each checkpoint when its size is reached.
// It is for one goroutine.
type Stream struct {
	suite Suite
	size  uint64
	// full[n] is the root of a perfect subtree of 2ⁿ leaves, and valid when bit n of size is set: these subtrees,
	// from the largest to the smallest, make up the tree (a compact range).
	full [64]digest
}

// NewStream returns the tree without leaves.
func NewStream(s Suite) *Stream { return &Stream{suite: s} }

// Add appends a leaf by its hash, which is copied. It panics unless the hash has [HashSize] bytes.
func (v *Stream) Add(leafHash []byte) {
	if len(leafHash) != HashSize {
		panic(fmt.Sprintf("translog: leaf hash of %d bytes", len(leafHash)))
	}
	h := digest(leafHash)
	level := bits.TrailingZeros64(^v.size) // as many carries as there are trailing ones
	for n := range level {
		h = v.suite.node(&v.full[n], &h)
	}
	v.full[level] = h
	v.size++
}

// Size returns the number of leaves added.
func (v *Stream) Size() uint64 { return v.size }

// Root returns the root over the leaves added so far. More may be added afterwards.
func (v *Stream) Root() []byte {
	if v.size == 0 {
		return v.suite.EmptyRoot()
	}
	return v.join(nil)
}

// Check compares the tree with a checkpoint, whose signature is checked elsewhere ([OpenCheckpoint]). A tree of another
// size or with another root is [ErrConsistency].
func (v *Stream) Check(c Checkpoint) error {
	if c.Size != v.size {
		return fmt.Errorf("%w：检查点的大小为 %d，已计算到 %d", ErrConsistency, c.Size, v.size)
	}
	if root := v.Root(); !bytes.Equal(root, c.Root) {
		return fmt.Errorf("%w：大小为 %d 时，由条目算得根 %x，检查点记载 %x", ErrConsistency, v.size, root, c.Root)
	}
	return nil
}

// join returns the root of the tree whose leaves are v's, and to the right of them those under rest, unless that is nil.
// It returns nil when there are none at all.
func (v *Stream) join(rest []byte) []byte {
	var h digest
	have := rest != nil
	if have {
		h = digest(rest)
	}
	for left := v.size; left != 0; left &= left - 1 {
		n := bits.TrailingZeros64(left)
		if have {
			h = v.suite.node(&v.full[n], &h)
		} else {
			h, have = v.full[n], true
		}
	}
	if !have {
		return nil
	}
	return h[:]
}
