package gm

import (
	"hash"

	"github.com/emmansun/gmsm/sm3"
)

// SM3Size is the length of an SM3 digest in bytes.
const SM3Size = sm3.Size

// NewSM3 returns a running SM3 hash (GB/T 32905-2016). Like every [hash.Hash] it is for one goroutine at a time.
func NewSM3() hash.Hash { return sm3.New() }

// SumSM3 returns the SM3 digest of data without allocating.
func SumSM3(data []byte) [SM3Size]byte { return sm3.Sum(data) }
