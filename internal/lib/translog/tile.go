package translog

import (
	"context"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/compact"
)

const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// Tile is one stored row of the tree: up to 256 neighbouring hashes of tree level 8·Level, the first of which is number
// 256·Index of that level. Its key is (Level, Index).
type Tile struct {
	Level, Index uint64
	Hashes       []byte // 1 to 256 hashes of HashSize bytes each
}

// TileStore reads tiles. It is bound to the transaction of the caller where there is one.
type TileStore interface {
	// Tile returns the hashes of a tile, all that are stored, and nil when there is no such tile. It may return more
	// than a caller needs who asks about an older tree. The caller does not change the slice.
	Tile(ctx context.Context, level, index uint64) ([]byte, error)
}

// Append adds leaves, given by their hashes ([Suite.LeafHash]), to a tree of the given size. It returns the new size and
// root and every tile that is new or longer than before, which the caller upserts together with the size in one
// transaction. Store is only read: the last tile of each level.
//
// It fails with a [TileError] when these tiles hold fewer or more hashes than size says, so a stale size cannot
// overwrite what others appended. With no leaves it returns the present root.
func (s Suite) Append(ctx context.Context, store TileStore, size uint64, leaves [][]byte) (newSize uint64, root []byte, changed []Tile, err error) {
	fresh := make([]byte, 0, len(leaves)*HashSize) // what is new at the present level
	for i, leaf := range leaves {
		if len(leaf) != HashSize {
			return 0, nil, nil, fmt.Errorf("append to log: leaf hash %d has %d bytes", i, len(leaf))
		}
		fresh = append(fresh, leaf...)
	}
	for level := uint64(0); len(fresh) > 0 || countAt(size, level) > 0; level++ {
		count := countAt(size, level)
		index, width := count/tileWidth, count%tileWidth
		edge, err := store.Tile(ctx, level, index)
		if err != nil {
			return 0, nil, nil, fmt.Errorf("read tile %d/%d: %w", level, index, err)
		}
		if uint64(len(edge)) != width*HashSize {
			return 0, nil, nil, &TileError{Level: level, Index: index, Want: width, Have: uint64(len(edge)) / HashSize}
		}
		hashes := slices.Concat(edge, fresh)
		grew := len(fresh) > 0
		fresh = nil
		for ; len(hashes) >= tileWidth*HashSize; index++ {
			full := hashes[: tileWidth*HashSize : tileWidth*HashSize]
			hashes = hashes[tileWidth*HashSize:]
			changed = append(changed, Tile{Level: level, Index: index, Hashes: full})
			fresh = append(fresh, s.fold(full, nil)...)
		}
		if grew && len(hashes) > 0 {
			changed = append(changed, Tile{Level: level, Index: index, Hashes: hashes})
		}
		root = s.fold(hashes, root)
	}
	if root == nil {
		root = s.EmptyRoot()
	}
	return size + uint64(len(leaves)), root, changed, nil
}

// Root returns the root of the tree as it was at size. It reads the one tile per level that was the last one then.
func (s Suite) Root(ctx context.Context, store TileStore, size uint64) ([]byte, error) {
	nodes, err := s.nodes(ctx, store, compact.RangeNodes(0, size, nil))
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return s.EmptyRoot(), nil
	}
	hasher := logHasher{s}
	root := nodes[len(nodes)-1]
	for i := len(nodes) - 2; i >= 0; i-- {
		root = hasher.HashChildren(nodes[i], root)
	}
	return root, nil
}

// countAt returns how many hashes a tree of that size has at a tile level.
func countAt(size, level uint64) uint64 { return size >> (tileHeight * level) }

// fold returns the root of the tree whose leaves are the given hashes, and to the right of them those under rest, unless
// that is nil.
func (s Suite) fold(hashes, rest []byte) []byte {
	v := NewStream(s)
	for h := range slices.Chunk(hashes, HashSize) {
		v.Add(h)
	}
	return v.join(rest)
}

// nodes returns the hashes of perfect subtrees, computed from the tiles below them. Each tile is read once.
func (s Suite) nodes(ctx context.Context, store TileStore, ids []compact.NodeID) ([][]byte, error) {
	type key struct{ level, index uint64 }
	seen := make(map[key][]byte)
	nodes := make([][]byte, len(ids))
	for i, id := range ids {
		level, rise := uint64(id.Level/tileHeight), id.Level%tileHeight
		first, count := id.Index<<rise, uint64(1)<<rise // of the tile level, all in one tile
		at := key{level, first / tileWidth}
		hashes, ok := seen[at]
		if !ok {
			var err error
			if hashes, err = store.Tile(ctx, at.level, at.index); err != nil {
				return nil, fmt.Errorf("read tile %d/%d: %w", at.level, at.index, err)
			}
			seen[at] = hashes
		}
		from := first % tileWidth
		if have := uint64(len(hashes)) / HashSize; have < from+count {
			return nil, &TileError{Level: at.level, Index: at.index, Want: from + count, Have: have}
		}
		nodes[i] = s.fold(hashes[from*HashSize:(from+count)*HashSize], nil)
	}
	return nodes, nil
}
