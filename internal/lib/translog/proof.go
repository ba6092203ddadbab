package translog

import (
	"bytes"
	"context"
	"fmt"

	"github.com/transparency-dev/merkle/proof"
)

// InclusionProof returns the hashes that lead from the leaf at index to the root of the tree as it was at size
// (RFC 6962 section 2.1.1), from the leaf upwards; none when size is 1. Index counts from 0 and must be below size.
func (s Suite) InclusionProof(ctx context.Context, store TileStore, index, size uint64) ([][]byte, error) {
	plan, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, fmt.Errorf("inclusion proof: %w", err)
	}
	return s.prove(ctx, store, plan)
}

// ConsistencyProof returns the hashes that show the tree at size2 to continue the tree at size1 (RFC 6962 section
// 2.1.2); none when size1 is 0 or equal to size2. It fails when size1 is above size2.
func (s Suite) ConsistencyProof(ctx context.Context, store TileStore, size1, size2 uint64) ([][]byte, error) {
	plan, err := proof.Consistency(size1, size2)
	if err != nil {
		return nil, fmt.Errorf("consistency proof: %w", err)
	}
	return s.prove(ctx, store, plan)
}

func (s Suite) prove(ctx context.Context, store TileStore, plan proof.Nodes) ([][]byte, error) {
	nodes, err := s.nodes(ctx, store, plan.IDs)
	if err != nil {
		return nil, err
	}
	return plan.Rehash(nodes, logHasher{s}.HashChildren)
}

// VerifyInclusion checks that the leaf with that hash stands at index in the tree of the given size and root. Every
// failure is [ErrInclusion].
//
// The root does not determine the size: both must come from one signed checkpoint.
func (s Suite) VerifyInclusion(index, size uint64, leafHash []byte, path [][]byte, root []byte) error {
	if index >= size {
		return fmt.Errorf("%w：序号 %d 超出检查点的大小 %d", ErrInclusion, index, size)
	}
	if err := checkHashes(ErrInclusion, append(path[:len(path):len(path)], leafHash, root)); err != nil {
		return err
	}
	computed, err := proof.RootFromInclusionProof(logHasher{s}, index, size, leafHash, path)
	if err != nil { // what is left to be wrong is the number of hashes
		return fmt.Errorf("%w：对序号 %d、大小 %d，证明路径不应有 %d 个哈希", ErrInclusion, index, size, len(path))
	}
	if !bytes.Equal(computed, root) {
		return fmt.Errorf("%w：由条目和证明路径算得根 %x，检查点记载 %x；条目头、正文摘要、序号或证明路径有改动",
			ErrInclusion, computed, root)
	}
	return nil
}

// VerifyConsistency checks that the tree (size2, root2) continues the tree (size1, root1): the first size1 leaves of both
// are the same. Every failure is [ErrConsistency].
func (s Suite) VerifyConsistency(size1, size2 uint64, path [][]byte, root1, root2 []byte) error {
	if size1 > size2 {
		return fmt.Errorf("%w：前者大小 %d 大于后者 %d", ErrConsistency, size1, size2)
	}
	if err := checkHashes(ErrConsistency, append(path[:len(path):len(path)], root1, root2)); err != nil {
		return err
	}
	// The module's own check takes any root for an empty tree.
	if size1 == 0 && !bytes.Equal(root1, s.EmptyRoot()) {
		return fmt.Errorf("%w：前者大小为 0，根却不是空树的根", ErrConsistency)
	}
	if err := proof.VerifyConsistency(logHasher{s}, size1, size2, path, root1, root2); err != nil {
		return fmt.Errorf("%w：大小 %d（根 %x）与大小 %d（根 %x）之间的证明不成立",
			ErrConsistency, size1, root1, size2, root2)
	}
	return nil
}

// checkHashes refuses hashes of a wrong length before any is hashed further.
func checkHashes(kind error, hashes [][]byte) error {
	for _, h := range hashes {
		if len(h) != HashSize {
			return fmt.Errorf("%w：哈希应为 %d 字节，实为 %d 字节", kind, HashSize, len(h))
		}
	}
	return nil
}
