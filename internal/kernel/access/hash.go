package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"anwang/internal/kernel/errs"
)

// cost is how dear it is to try a password with Argon2id (RFC 9106).
type cost struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// presentCost is OWASP's first choice for Argon2id: 19 MiB, two passes, one lane. It takes about 26 ms of one core (BenchmarkArgon2 on a 2-core Xeon). A
// stored hash made at another cost is made anew at the next sign-in.
var presentCost = cost{memory: 19 << 10, time: 2, threads: 1}

const (
	saltSize = 16
	tagSize  = 32
	// hashSlots is how many passwords are hashed at once, whatever comes: 4 × 19 MiB.
	hashSlots = 4
	// hashPatience is how long a sign-in waits for a slot before it is told to come back.
	hashPatience = 10 * time.Second
)

// hasher hashes passwords, a few at a time.
type hasher struct {
	cost     cost // of new hashes
	slots    chan struct{}
	computed atomic.Int64 // how many computations there were
}

func newHasher() *hasher { return &hasher{cost: presentCost, slots: make(chan struct{}, hashSlots)} }

// make hashes a password into a PHC string: $argon2id$v=19$m=19456,t=2,p=1$salt$tag.
func (h *hasher) make(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt) //nolint:errcheck // never fails since Go 1.24
	tag, err := h.compute(ctx, password, salt, h.cost, tagSize)
	if err != nil {
		return "", err
	}
	return phc(h.cost, salt, tag), nil
}

// verify reports whether the password belongs to the PHC string, and whether the string was made at an old cost.
func (h *hasher) verify(ctx context.Context, stored, password string) (ok, outdated bool, err error) {
	c, salt, want, err := parsePHC(stored)
	if err != nil {
		return false, false, err
	}
	got, err := h.compute(ctx, password, salt, c, uint32(len(want)))
	if err != nil {
		return false, false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1, c != h.cost, nil
}

// decoy is a PHC string at the cost of new hashes that no password belongs to: an account that does not exist costs as much to try as one that does.
func (h *hasher) decoy() string {
	b := make([]byte, saltSize+tagSize)
	rand.Read(b) //nolint:errcheck // never fails since Go 1.24
	return phc(h.cost, b[:saltSize], b[saltSize:])
}

func (h *hasher) compute(ctx context.Context, password string, salt []byte, c cost, size uint32) ([]byte, error) {
	patience := time.NewTimer(hashPatience)
	defer patience.Stop()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-patience.C:
		return nil, errs.Unavailable("access.busy", "登录的人太多，请稍后重试。", 10*time.Second)
	}
	h.computed.Add(1)
	return argon(password, salt, c, size), nil
}

func argon(password string, salt []byte, c cost, size uint32) []byte {
	return argon2.IDKey([]byte(password), salt, c.time, c.memory, c.threads, size)
}

func phc(c cost, salt, tag []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.time, c.threads, b64.EncodeToString(salt), b64.EncodeToString(tag))
}

// errPHC is about what stands in the database, so it never carries the text itself.
var errPHC = errors.New("access: stored password hash is malformed")

func parsePHC(s string) (c cost, salt, tag []byte, err error) {
	var version int
	var rest string
	if _, err := fmt.Sscanf(s, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s", &version, &c.memory, &c.time, &c.threads, &rest); err != nil || version != argon2.Version {
		return cost{}, nil, nil, errPHC
	}
	saltText, tagText, _ := strings.Cut(rest, "$")
	salt, errSalt := base64.RawStdEncoding.DecodeString(saltText)
	tag, errTag := base64.RawStdEncoding.DecodeString(tagText)
	if errSalt != nil || errTag != nil || len(salt) < 8 || len(tag) < 16 || c.time == 0 || c.threads == 0 || c.memory > 1<<20 || c.time > 100 {
		return cost{}, nil, nil, errPHC
	}
	return c, salt, tag, nil
}
