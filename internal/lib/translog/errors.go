package translog

import (
	"errors"
	"fmt"
)

// What can be wrong with a log, a checkpoint or a proof; test with errors.Is. The full texts add what exactly does not
// match, and may be shown to the person who checks.
var (
	ErrFormat      = errors.New("格式有误")
	ErrTile        = errors.New("透明日志的瓦片与账面不符")
	ErrBody        = errors.New("正文与其摘要不符")
	ErrInclusion   = errors.New("条目不在检查点所载的日志中")
	ErrConsistency = errors.New("后一检查点不是前一检查点的延续")
	ErrSignature   = errors.New("检查点签名无效")
	ErrUntrusted   = errors.New("签名公钥不在受信任之列")
)

// TileError says that a stored tile does not hold the hashes that a tree of the given size has there. It is [ErrTile].
// Tiles can be rebuilt by appending all leaves to an empty tree.
type TileError struct {
	Level, Index uint64
	Want, Have   uint64 // hashes; Have counts whole ones
}

func (e *TileError) Error() string {
	return fmt.Sprintf("%v：第 %d 层第 %d 片应有 %d 个哈希，实有 %d 个；请核对日志大小，或由条目重建瓦片",
		ErrTile, e.Level, e.Index, e.Want, e.Have)
}

// Unwrap makes a TileError an [ErrTile].
func (e *TileError) Unwrap() error { return ErrTile }
