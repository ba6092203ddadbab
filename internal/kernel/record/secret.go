package record

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Secret is a stored value that must not be copied out of its row: a password hash, a key. As JSON, and so in the log and in events, it
// is only a digest, which is enough to notice that somebody exchanged it. A Secret read back from JSON is not the secret.
type Secret string

// MarshalJSON gives "sha256:…" of the value, or "" for none.
func (s Secret) MarshalJSON() ([]byte, error) {
	if s == "" {
		return []byte(`""`), nil
	}
	sum := sha256.Sum256([]byte(s))
	return json.Marshal("sha256:" + hex.EncodeToString(sum[:]))
}

// String hides the value from logs and error texts.
func (s Secret) String() string { return "(secret)" }
