// Package translog is a transparency log without storage: an append-only Merkle tree (RFC 6962) whose state is signed
// now and then in a checkpoint, so that anyone who holds a checkpoint can prove later that an entry was there, and that
// nothing before it was changed. The kernel keeps entries and tree in its own tables; this package computes.
//
// # Entries and leaves
//
// An entry is a header (who, what, when, on which record; no personal data) and a body. Its leaf data is
//
//	header ‖ 0x0a ‖ hex(hash(body))
//
// and its leaf hash is hash(0x00 ‖ leaf data). As the body enters through its hash alone, it can be erased when the law
// demands it (个人信息保护法 第四十七条): header and body hash stay, and every proof stands. The last 65 bytes of leaf data have
// a fixed form, so two different entries never have the same leaf data, whatever bytes the header holds.
//
// # Tree and tiles
//
// Leaf hashes are the nodes of level 0; a node of level n+1 is hash(0x01 ‖ left ‖ right). Only the levels 0, 8, 16, … are
// stored, in tiles of 256 neighbouring hashes each; what lies between is recomputed. Tile level L holds tree level 8·L.
// The last tile of a level is partial until it is full; a full tile never changes. Storage is about 32.13 bytes per
// entry. [Suite.Append] reads one row per level (three levels serve 16 million entries) and returns the rows to upsert;
// a proof reads two rows per level at most. Damaged tiles never make a false proof hold, and are rebuilt by appending
// the leaf hashes of all entries to an empty tree.
//
// # Checkpoints
//
// A [Checkpoint] is a signed note in the form of C2SP tlog-checkpoint and signed-note: readable text, so that it can be
// printed, mailed or published in a newspaper. Two suites exist: SHA-256 with Ed25519, which the world's tools
// understand, and SM3 with SM2 (商用密码). A log keeps its suite for life.
//
// A [ProofFile] carries one entry with its inclusion proof, the checkpoint and the verifying key. [ProofFile.Check] needs
// nothing else: no network, no database.
//
// # Duties of the caller
//
//   - Append is for one writer: read the size, append, upsert the tiles and store the new size in one transaction.
//     Append refuses a size that the stored tiles contradict, so that a stale size cannot fork the log.
//   - Before signing, prove the new tree consistent with the last signed checkpoint ([Suite.ConsistencyProof] and
//     [Suite.VerifyConsistency]). Keep that checkpoint beside the key and not only in the database: the rule of
//     transparency logs is never to sign two trees of which one does not continue the other.
//   - If bodies are guessable (a yes or a no, a telephone number), put 16 random bytes into each body. Otherwise the hash
//     that remains after erasure can be reversed by trying all bodies.
//
// # Weaknesses
//
//   - The log shows that an entry was changed, removed or inserted; it cannot restore it, and it cannot show that
//     something was never entered.
//   - A key that lives on the same machine as the database protects against those who can write the database but not
//     read the key: a database administrator, an injected statement, a doctored backup. Who has both can write another
//     history and sign it. Then only checkpoints that others already hold betray him: publish them daily. Witnesses
//     that countersign (C2SP tlog-witness) come later; the note format has room for their signatures.
//   - Entries since the last checkpoint are not yet protected: sign often.
//   - The time in a checkpoint is the log's own clock, not a trusted time stamp (GB/T 20520).
//   - A proof that is checked with the key found inside it shows only that file and key fit together. See [Result].
//   - A checkpoint's extension line (the time) is covered by the signature but unknown to general C2SP tools, which
//     ignore it.
package translog
