package access

import (
	"context"
	"time"
)

// Computed is how many passwords have been hashed.
func (g *Gate) Computed() int64 { return g.hash.computed.Load() }

// HOTP is the one-time password of a counter.
func HOTP(seed []byte, counter int64, digits int) string { return hotp(seed, counter, digits) }

// OTPNow is what an authenticator application shows at a moment.
func OTPNow(secret string, now time.Time) string {
	seed, err := base32Plain.DecodeString(secret)
	if err != nil {
		panic(err)
	}
	return hotp(seed, now.Unix()/otpPeriod, 6)
}

// CheckNew says what is wrong with a password.
func (s *Settings) CheckNew(password, account, phone string) error {
	return s.checkNew(password, account, phone)
}

// DefaultSettings are the rules of a new installation.
func DefaultSettings() Settings { return defaultSettings }

// CheapHash is a PHC string of the password at a cost that is out of date.
func CheapHash(password string) string {
	salt := []byte("0123456789abcdef")
	return phc(cheap, salt, argon(password, salt, cheap, tagSize))
}

// ParsePHC reads a stored password hash.
func ParsePHC(s string) error {
	_, _, _, err := parsePHC(s)
	return err
}

// Cached is how many callers are held in memory.
func (g *Gate) Cached() int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.known)
}

// Forget drops all callers held in memory.
func (g *Gate) Forget() { g.forget(func(*entry) bool { return true }) }

// Hash hashes a password.
func (g *Gate) Hash(ctx context.Context, password string) error {
	_, err := g.hash.make(ctx, password)
	return err
}

// Cheap makes hashing cost next to nothing.
func (g *Gate) Cheap() { g.hash.cost = cheap }

var cheap = cost{memory: 8, time: 1, threads: 1}

// Dear makes hashing cost what it costs in service.
func (g *Gate) Dear() { g.hash.cost = presentCost }
