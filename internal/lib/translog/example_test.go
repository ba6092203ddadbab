package translog_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"anwang/internal/lib/translog"
)

// rows stands for the kernel's table of tiles, keyed by (level, index).
type rows map[[2]uint64][]byte

func (r rows) Tile(_ context.Context, level, index uint64) ([]byte, error) {
	return r[[2]uint64{level, index}], nil
}

// The life of one entry: appended, covered by a checkpoint, proved to somebody without access to the system.
func Example() {
	ctx := context.Background()
	const suite = translog.SM3SM2
	pemText, err := translog.GenerateKey(suite)
	if err != nil {
		log.Fatal(err)
	}
	signer, err := translog.NewSigner(suite, "anwang.example.gov.cn/audit", pemText)
	if err != nil {
		log.Fatal(err)
	}

	// In one transaction: append and store the changed tiles.
	header, body := []byte("header"), []byte("body")
	tiles := make(rows)
	size, root, changed, err := suite.Append(ctx, tiles, 0, [][]byte{
		suite.LeafHash([]byte("first"), nil),
		suite.LeafHash(header, body),
		suite.LeafHash([]byte("third"), nil),
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, tile := range changed {
		tiles[[2]uint64{tile.Level, tile.Index}] = tile.Hashes
	}

	// Now and then: sign and publish.
	checkpoint, err := translog.Checkpoint{
		Origin: signer.Name(), Size: size, Root: root, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}.Sign(signer)
	if err != nil {
		log.Fatal(err)
	}

	// When somebody asks for a proof of entry 1.
	path, err := suite.InclusionProof(ctx, tiles, 1, size)
	if err != nil {
		log.Fatal(err)
	}
	proof := translog.ProofFile{
		Suite: suite, Leaf: suite.NewLeaf(header, body), Index: 1, Path: path,
		Checkpoint: checkpoint, Key: signer.VerifierKey(),
	}
	text, err := proof.Encode()
	if err != nil {
		log.Fatal(err)
	}

	// Elsewhere, years later, with the published key.
	received, err := translog.ParseProof(text)
	if err != nil {
		log.Fatal(err)
	}
	result, err := received.Check(signer.VerifierKey())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result)

	received.Index = 2
	_, err = received.Check(signer.VerifierKey())
	fmt.Println(err != nil)
	// Output:
	// 证明成立：日志 anwang.example.gov.cn/audit 在 2026-01-02 03:04:05（协调世界时）共有 3 条，其中序号 1（从 0 起）即本条目。
	// true
}
