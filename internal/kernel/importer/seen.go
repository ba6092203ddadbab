package importer

import (
	"hash/maphash"

	"anwang/internal/kernel/scope"
)

// seen remembers in which row a key stood first, by a hash whose seed nobody knows: twelve bytes a row instead of the key.
type seen struct {
	seed maphash.Seed
	rows map[uint64]int32
}

func newSeen() *seen { return &seen{maphash.MakeSeed(), map[uint64]int32{}} }

// row is the first row that had the key, which is this row when there was none, or when there is no key.
func (s *seen) row(key string, row int) int {
	if key == "" {
		return row
	}
	h := maphash.String(s.seed, key)
	if first, ok := s.rows[h]; ok {
		return int(first)
	}
	s.rows[h] = int32(row)
	return row
}

// all is the program's own view of runs and their notes.
var all = scope.All("a run is worked on in the name of the person who asked for it, and was loaded in scope then")
