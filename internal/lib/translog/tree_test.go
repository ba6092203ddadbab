package translog_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math/rand/v2"
	"testing"

	"anwang/internal/lib/gm"
	"anwang/internal/lib/translog"
)

var suites = []translog.Suite{translog.SHA256Ed25519, translog.SM3SM2}

// eachSuite runs a test for both suites, in parallel.
func eachSuite(t *testing.T, test func(t *testing.T, s translog.Suite)) {
	t.Parallel()
	for _, s := range suites {
		t.Run(string(s), func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

// memory is a store that applies what Append returns.
type memory struct {
	suite translog.Suite
	tiles map[[2]uint64][]byte
	size  uint64
	root  []byte
	reads int
}

func newMemory(s translog.Suite) *memory {
	return &memory{suite: s, tiles: make(map[[2]uint64][]byte)}
}

func (m *memory) Tile(_ context.Context, level, index uint64) ([]byte, error) {
	m.reads++
	return bytes.Clone(m.tiles[[2]uint64{level, index}]), nil
}

func (m *memory) append(t testing.TB, leaves [][]byte) []translog.Tile {
	t.Helper()
	size, root, changed, err := m.suite.Append(t.Context(), m, m.size, leaves)
	if err != nil {
		t.Fatal(err)
	}
	for _, tile := range changed {
		m.tiles[[2]uint64{tile.Level, tile.Index}] = bytes.Clone(tile.Hashes)
	}
	m.size, m.root = size, root
	return changed
}

// oracle is RFC 6962 section 2.1 word for word, over leaf hashes.
type oracle struct {
	newHash func() hash.Hash
	leaves  [][]byte
	known   map[[2]int][]byte
}

func newOracle(s translog.Suite, leaves [][]byte) *oracle {
	o := &oracle{newHash: sha256.New, leaves: leaves, known: make(map[[2]int][]byte)}
	if s == translog.SM3SM2 {
		o.newHash = gm.NewSM3
	}
	return o
}

// split returns the largest power of two below n.
func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}

func (o *oracle) root(from, to int) []byte {
	if sum, ok := o.known[[2]int{from, to}]; ok {
		return sum
	}
	var sum []byte
	switch n := to - from; n {
	case 0:
		sum = o.newHash().Sum(nil)
	case 1:
		sum = o.leaves[from]
	default:
		h := o.newHash()
		h.Write([]byte{1})
		h.Write(o.root(from, from+split(n)))
		h.Write(o.root(from+split(n), to))
		sum = h.Sum(nil)
	}
	o.known[[2]int{from, to}] = sum
	return sum
}

func (o *oracle) inclusion(m, from, to int) [][]byte {
	if to-from == 1 {
		return nil
	}
	middle := from + split(to-from)
	if m < middle {
		return append(o.inclusion(m, from, middle), o.root(middle, to))
	}
	return append(o.inclusion(m, middle, to), o.root(from, middle))
}

func (o *oracle) consistency(m, from, to int, whole bool) [][]byte {
	if m == to {
		if whole {
			return nil
		}
		return [][]byte{o.root(from, to)}
	}
	middle := from + split(to-from)
	if m <= middle {
		return append(o.consistency(m, from, middle, whole), o.root(middle, to))
	}
	return append(o.consistency(m, middle, to, false), o.root(from, middle))
}

func equalPaths(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func someLeaves(s translog.Suite, n int) [][]byte {
	leaves := make([][]byte, n)
	for i := range leaves {
		leaves[i] = s.LeafHash(fmt.Appendf(nil, "header %d", i), fmt.Appendf(nil, "body %d", i*i))
	}
	return leaves
}

func flip(b []byte, bit int) []byte {
	c := bytes.Clone(b)
	c[bit/8%len(c)] ^= 1 << (bit % 8)
	return c
}

// The eight inputs and their roots are the reference data of the Certificate Transparency project for RFC 6962.
func TestReferenceRoots(t *testing.T) {
	t.Parallel()
	inputs := []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	roots := []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	m, stream := newMemory(translog.SHA256Ed25519), translog.NewStream(translog.SHA256Ed25519)
	m.append(t, nil)
	for i, want := range roots {
		if got := hex.EncodeToString(m.root); got != want {
			t.Errorf("Append: root of %d = %s, want %s", i, got, want)
		}
		if got := hex.EncodeToString(stream.Root()); got != want {
			t.Errorf("Stream: root of %d = %s, want %s", i, got, want)
		}
		if i < len(inputs) {
			data, err := hex.DecodeString(inputs[i])
			if err != nil {
				t.Fatal(err)
			}
			leaf := sha256.Sum256(append([]byte{0}, data...))
			stream.Add(leaf[:])
			m.append(t, [][]byte{leaf[:]})
		}
	}
}

func TestLeafHashIsRFC6962OverHeaderAndBodyHash(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		for _, n := range []int{0, 1, 300, 440, 441, 5000} {
			header, body := bytes.Repeat([]byte("h"), n), bytes.Repeat([]byte("体"), n)
			o := newOracle(s, nil)
			h := o.newHash()
			h.Write(body)
			bodyHash := h.Sum(nil)
			h = o.newHash()
			fmt.Fprintf(h, "\x00%s\n%x", header, bodyHash)
			want := h.Sum(nil)

			if got := s.LeafHash(header, body); !bytes.Equal(got, want) {
				t.Errorf("%d bytes: LeafHash = %x, want %x", n, got, want)
			}
			leaf := s.NewLeaf(header, body)
			for _, l := range []translog.Leaf{leaf, leaf.Erased()} {
				if got, err := l.Hash(s); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes: Leaf.Hash = %x, %v, want %x", n, got, err, want)
				}
			}
		}
		if _, err := (translog.Leaf{BodyHash: make([]byte, 31)}).Hash(s); !errors.Is(err, translog.ErrFormat) {
			t.Errorf("body hash of 31 bytes: %v", err)
		}
		// A line break in the header must not let two entries share a leaf.
		if bytes.Equal(s.LeafHash([]byte("a\n"), []byte("b")), s.LeafHash([]byte("a"), []byte("\nb"))) {
			t.Error("two entries share a leaf hash")
		}
	})
}

// Every size from 0 to 600, one leaf at a time: roots and all proofs, against the RFC's recursion.
func TestProofsOfSmallTrees(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		const most = 600
		ctx := t.Context()
		leaves := someLeaves(s, most)
		o := newOracle(s, leaves)
		m := newMemory(s)
		for _, leaf := range leaves {
			m.append(t, [][]byte{leaf})
		}
		// All pairs up to 70 and every 29th pair above, with the edges: the shapes repeat.
		probe := func(i, size int) bool { return size <= 70 || (i+size)%29 == 0 || i == 0 || i >= size-2 }
		for size := range most + 1 {
			root, err := s.Root(ctx, m, uint64(size))
			if err != nil || !bytes.Equal(root, o.root(0, size)) {
				t.Fatalf("Root(%d) = %x, %v, want %x", size, root, err, o.root(0, size))
			}
			for i := range size {
				if !probe(i, size) {
					continue
				}
				path, err := s.InclusionProof(ctx, m, uint64(i), uint64(size))
				if err != nil || !equalPaths(path, o.inclusion(i, 0, size)) {
					t.Fatalf("InclusionProof(%d, %d) is not the RFC's: %v", i, size, err)
				}
				if err := s.VerifyInclusion(uint64(i), uint64(size), leaves[i], path, root); err != nil {
					t.Fatalf("VerifyInclusion(%d, %d): %v", i, size, err)
				}
			}
			for old := range size + 1 {
				if !probe(old, size) {
					continue
				}
				path, err := s.ConsistencyProof(ctx, m, uint64(old), uint64(size))
				var want [][]byte
				if old > 0 {
					want = o.consistency(old, 0, size, true)
				}
				if err != nil || !equalPaths(path, want) {
					t.Fatalf("ConsistencyProof(%d, %d) is not the RFC's: %v", old, size, err)
				}
				if err := s.VerifyConsistency(uint64(old), uint64(size), path, o.root(0, old), root); err != nil {
					t.Fatalf("VerifyConsistency(%d, %d): %v", old, size, err)
				}
			}
		}
	})
}

func TestTamperedProofsFail(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		const most = 600
		ctx := t.Context()
		random := rand.New(rand.NewPCG(1, 2))
		leaves := someLeaves(s, most)
		o := newOracle(s, leaves)
		m := newMemory(s)
		m.append(t, leaves)
		refuseInclusion := func(what string, index, size int, leaf []byte, path [][]byte, root []byte) {
			t.Helper()
			if err := s.VerifyInclusion(uint64(index), uint64(size), leaf, path, root); !errors.Is(err, translog.ErrInclusion) {
				t.Errorf("inclusion of %d in %d with %s: %v", index, size, what, err)
			}
		}
		refuseConsistency := func(what string, old, size int, path [][]byte, root1, root2 []byte) {
			t.Helper()
			err := s.VerifyConsistency(uint64(old), uint64(size), path, root1, root2)
			if !errors.Is(err, translog.ErrConsistency) {
				t.Errorf("consistency of %d and %d with %s: %v", old, size, what, err)
			}
		}
		for range 1500 {
			size := 2 + random.IntN(most-1)
			i, bit := random.IntN(size), random.IntN(256)
			root := o.root(0, size)
			path, err := s.InclusionProof(ctx, m, uint64(i), uint64(size))
			if err != nil {
				t.Fatal(err)
			}
			k := random.IntN(len(path))
			bad := append([][]byte{}, path...)
			bad[k] = flip(path[k], bit)
			refuseInclusion("an altered hash", i, size, leaves[i], bad, root)
			bad[k] = path[k][:31]
			refuseInclusion("a short hash", i, size, leaves[i], bad, root)
			bad[k] = append(bytes.Clone(path[k]), 0)
			refuseInclusion("a long hash", i, size, leaves[i], bad, root)
			refuseInclusion("a hash too few", i, size, leaves[i], append(path[:k:k], path[k+1:]...), root)
			refuseInclusion("a hash too many", i, size, leaves[i], append(path[:len(path):len(path)], root), root)
			refuseInclusion("another leaf", i, size, flip(leaves[i], bit), path, root)
			refuseInclusion("another root", i, size, leaves[i], path, flip(root, bit))
			refuseInclusion("no root", i, size, leaves[i], path, nil)
			refuseInclusion("another index", (i+1)%size, size, leaves[i], path, root)
			refuseInclusion("an index beyond", size, size, leaves[i], path, root)

			old := 1 + random.IntN(size-1)
			oldRoot := o.root(0, old)
			path, err = s.ConsistencyProof(ctx, m, uint64(old), uint64(size))
			if err != nil {
				t.Fatal(err)
			}
			k = random.IntN(len(path))
			bad = append([][]byte{}, path...)
			bad[k] = flip(path[k], bit)
			refuseConsistency("an altered hash", old, size, bad, oldRoot, root)
			bad[k] = path[k][:31]
			refuseConsistency("a short hash", old, size, bad, oldRoot, root)
			refuseConsistency("a hash too few", old, size, append(path[:k:k], path[k+1:]...), oldRoot, root)
			refuseConsistency("a hash too many", old, size, append(path[:len(path):len(path)], root), oldRoot, root)
			refuseConsistency("another old root", old, size, path, flip(oldRoot, bit), root)
			refuseConsistency("another new root", old, size, path, oldRoot, flip(root, bit))
			refuseConsistency("the order reversed", size, old, path, root, oldRoot)
			refuseConsistency("equal sizes and other roots", size, size, nil, flip(root, bit), root)
			refuseConsistency("a false empty root", 0, size, nil, oldRoot, root)
			refuseConsistency("a short new root", 0, size, nil, s.EmptyRoot(), root[:31])
		}
	})
}

// Random appends in random batches leave the same tiles as one append, return the recursion's root each time, and
// continue each other.
func TestRandomBatches(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		const most = 3000
		ctx := t.Context()
		leaves := someLeaves(s, most)
		o := newOracle(s, leaves)
		whole := newMemory(s)
		whole.append(t, leaves)
		for seed := range uint64(8) {
			random := rand.New(rand.NewPCG(seed, 3))
			m, stream := newMemory(s), translog.NewStream(s)
			oldSize, oldRoot := uint64(0), s.EmptyRoot()
			for m.size < most {
				n := min(random.IntN([]int{2, 10, 300, 1000}[random.IntN(4)]), most-int(m.size))
				changed := m.append(t, leaves[m.size:int(m.size)+n])
				if n == 0 && len(changed) > 0 {
					t.Fatal("an empty batch changes tiles")
				}
				if want := o.root(0, int(m.size)); !bytes.Equal(m.root, want) {
					t.Fatalf("seed %d: root at %d = %x, want %x", seed, m.size, m.root, want)
				}
				for stream.Size() < m.size {
					stream.Add(leaves[stream.Size()])
				}
				if err := stream.Check(translog.Checkpoint{Size: m.size, Root: m.root}); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				path, err := s.ConsistencyProof(ctx, m, oldSize, m.size)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.VerifyConsistency(oldSize, m.size, path, oldRoot, m.root); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				oldSize, oldRoot = m.size, m.root
			}
			if len(m.tiles) != len(whole.tiles) {
				t.Fatalf("seed %d: %d tiles, want %d", seed, len(m.tiles), len(whole.tiles))
			}
			for at, tile := range whole.tiles {
				if !bytes.Equal(m.tiles[at], tile) {
					t.Errorf("seed %d: tile %v differs", seed, at)
				}
			}
		}
	})
}

// A tree of three tile levels, and what an append reads there.
func TestThreeLevels(t *testing.T) {
	t.Parallel()
	const s, most = translog.SHA256Ed25519, 1<<16 + 700
	ctx := t.Context()
	leaves := someLeaves(s, most)
	o := newOracle(s, leaves)
	m := newMemory(s)
	for m.size < most {
		m.append(t, leaves[m.size:min(m.size+10_000, most)])
	}
	if !bytes.Equal(m.root, o.root(0, most)) {
		t.Fatal("wrong root")
	}
	for _, i := range []int{0, 255, 256, 40_000, 1<<16 - 1, 1 << 16, most - 1} {
		m.reads = 0
		path, err := s.InclusionProof(ctx, m, uint64(i), most)
		if err != nil || m.reads > 6 {
			t.Fatalf("leaf %d: %d tiles read, %v", i, m.reads, err)
		}
		if err := s.VerifyInclusion(uint64(i), most, leaves[i], path, m.root); err != nil {
			t.Errorf("leaf %d: %v", i, err)
		}
		m.reads = 0
		path, err = s.ConsistencyProof(ctx, m, uint64(i), most)
		if err != nil || m.reads > 6 {
			t.Fatalf("size %d: %d tiles read, %v", i, m.reads, err)
		}
		if err := s.VerifyConsistency(uint64(i), most, path, o.root(0, i), m.root); err != nil {
			t.Errorf("size %d: %v", i, err)
		}
	}
	m.reads = 0
	changed := m.append(t, [][]byte{s.LeafHash([]byte("one"), []byte("more"))})
	if m.reads != 3 || len(changed) != 1 {
		t.Errorf("one leaf: %d tiles read and %d changed, want 3 and 1", m.reads, len(changed))
	}
}

func TestAppendRefusesWhatTilesContradict(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		ctx := t.Context()
		leaves := someLeaves(s, 1000)
		m := newMemory(s)
		m.append(t, leaves)
		for _, size := range []uint64{0, 1, 255, 256, 511, 512, 768, 999, 1001, 1024, 70_000} {
			_, _, changed, err := s.Append(ctx, m, size, leaves[:1])
			var tile *translog.TileError
			if !errors.Is(err, translog.ErrTile) || !errors.As(err, &tile) || changed != nil {
				t.Errorf("append at size %d to a tree of 1000: %v", size, err)
			}
		}
		for _, size := range []int{0, 31, 33} {
			if _, _, _, err := s.Append(ctx, m, 1000, [][]byte{make([]byte, size)}); err == nil {
				t.Errorf("a leaf hash of %d bytes is accepted", size)
			}
		}
	})
}

func TestMissingTilesAndFailingStores(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		ctx := t.Context()
		m := newMemory(s)
		m.append(t, someLeaves(s, 600))
		calls := map[string]func(translog.TileStore) error{
			"Root":             func(st translog.TileStore) error { _, err := s.Root(ctx, st, 600); return err },
			"InclusionProof":   func(st translog.TileStore) error { _, err := s.InclusionProof(ctx, st, 3, 600); return err },
			"ConsistencyProof": func(st translog.TileStore) error { _, err := s.ConsistencyProof(ctx, st, 3, 600); return err },
			"Append": func(st translog.TileStore) error {
				_, _, _, err := s.Append(ctx, st, 600, nil)
				return err
			},
		}
		broken := errors.New("disk on fire")
		short := newMemory(s)
		for at, tile := range m.tiles {
			short.tiles[at] = tile[:len(tile)-1] // the last hash is not whole
		}
		for name, call := range calls {
			if err := call(newMemory(s)); !errors.Is(err, translog.ErrTile) {
				t.Errorf("%s without tiles: %v", name, err)
			}
			if err := call(short); !errors.Is(err, translog.ErrTile) {
				t.Errorf("%s with cut tiles: %v", name, err)
			}
			if err := call(failing{broken}); !errors.Is(err, broken) {
				t.Errorf("%s on a broken store: %v", name, err)
			}
		}
		if _, err := s.InclusionProof(ctx, m, 600, 600); err == nil {
			t.Error("proof of a leaf beyond the size")
		}
		if _, err := s.ConsistencyProof(ctx, m, 601, 600); err == nil {
			t.Error("consistency proof backwards")
		}
	})
}

type failing struct{ err error }

func (f failing) Tile(context.Context, uint64, uint64) ([]byte, error) { return nil, f.err }

func TestStreamFindsEachChange(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		const n = 300
		leaves := someLeaves(s, n)
		c := translog.Checkpoint{Size: n, Root: newOracle(s, leaves).root(0, n)}
		check := func(leaves [][]byte) error {
			v := translog.NewStream(s)
			for _, leaf := range leaves {
				v.Add(leaf)
			}
			return v.Check(c)
		}
		if err := check(leaves); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			altered := append([][]byte{}, leaves...)
			altered[i] = s.LeafHash([]byte("header"), []byte("other"))
			swapped := append([][]byte{}, leaves...)
			swapped[i], swapped[(i+1)%n] = swapped[(i+1)%n], swapped[i]
			for what, list := range map[string][][]byte{
				"altered": altered, "swapped": swapped, "removed": append(leaves[:i:i], leaves[i+1:]...),
				"inserted": append(append(leaves[:i:i], leaves[0]), leaves[i:]...),
			} {
				if err := check(list); !errors.Is(err, translog.ErrConsistency) {
					t.Errorf("leaf %d %s: %v", i, what, err)
				}
			}
		}
	})
}

func TestHashingDoesNotAllocate(t *testing.T) {
	for _, s := range suites {
		v := translog.NewStream(s)
		header, body := make([]byte, 300), make([]byte, 300)
		if n := testing.AllocsPerRun(1000, func() { v.Add(s.LeafHash(header, body)) }); n != 0 {
			t.Errorf("%s: %v allocations per leaf", s, n)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, s := range suites {
		for _, batch := range []int{1, 64, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", s, batch), func(b *testing.B) {
				m := newMemory(s)
				leaves := someLeaves(s, batch)
				m.append(b, someLeaves(s, 70_000)) // three tile levels
				for b.Loop() {
					m.append(b, leaves)
				}
				b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "leaves/s")
			})
		}
	}
}

func BenchmarkStream(b *testing.B) {
	for _, s := range suites {
		b.Run(string(s), func(b *testing.B) {
			header, body := bytes.Repeat([]byte("h"), 150), bytes.Repeat([]byte("b"), 300)
			v := translog.NewStream(s)
			b.ReportAllocs()
			for b.Loop() {
				v.Add(s.LeafHash(header, body))
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leaves/s")
		})
	}
}

func BenchmarkInclusionProof(b *testing.B) {
	for _, s := range suites {
		b.Run(string(s), func(b *testing.B) {
			m := newMemory(s)
			m.append(b, someLeaves(s, 1_000_000))
			random := rand.New(rand.NewPCG(1, 1))
			for b.Loop() {
				if _, err := s.InclusionProof(b.Context(), m, random.Uint64N(m.size), m.size); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
