// Package clock tells the time and makes identifiers, so that a test or the demo can hold both still.
//
// Times are UTC inside the program and in storage, cut to milliseconds so that what was stored equals what is read.
// Days begin and end in [Zone].
package clock

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"
	_ "time/tzdata" // Asia/Shanghai must exist on a machine without zone files
)

// Zone is the time zone in which days, working days and everything on screen are counted.
var Zone = mustZone("Asia/Shanghai")

// Clock is the kernel's clock. The zero value is not usable: see System and At.
type Clock struct {
	mu   sync.Mutex
	held *time.Time // nil: the system's time
	last uint64     // last identifier's 60 bits of time and counter
}

// System returns a clock that tells the machine's time.
func System() *Clock { return &Clock{} }

// At returns a clock that stands still at t until Set or Advance moves it.
func At(t time.Time) *Clock {
	t = round(t)
	return &Clock{held: &t}
}

// Now is the present moment in UTC, cut to milliseconds.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

// Set moves a clock made by At to t. It panics on a System clock.
func (c *Clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		panic("clock: Set on the system's clock")
	}
	t = round(t)
	c.held = &t
}

// Advance moves a clock made by At forward by d. It panics on a System clock.
func (c *Clock) Advance(d time.Duration) { c.Set(c.Now().Add(d)) }

// NewID returns a UUIDv7 (RFC 9562) as 36 lower-case characters. Identifiers of one clock sort in the order in which they
// were made, even within one millisecond.
func (c *Clock) NewID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	// 48 bits of milliseconds and 12 bits of counter (rand_a); the counter carries into the milliseconds when it runs over.
	next := uint64(c.now().UnixMilli()) << 12
	if next <= c.last {
		next = c.last + 1
	}
	c.last = next
	var b [16]byte
	ms := next >> 12
	b[0], b[1], b[2], b[3], b[4], b[5] = byte(ms>>40), byte(ms>>32), byte(ms>>24), byte(ms>>16), byte(ms>>8), byte(ms)
	b[6] = 0x70 | byte(next>>8)&0x0f
	b[7] = byte(next)
	rand.Read(b[8:]) //nolint:errcheck // never fails since Go 1.24
	b[8] = 0x80 | b[8]&0x3f
	var s [36]byte
	hex.Encode(s[0:8], b[0:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:36], b[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// Day returns the calendar date of t in Zone, as midnight of that day in Zone.
func Day(t time.Time) time.Time {
	y, m, d := t.In(Zone).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, Zone)
}

// Date formats the calendar date of t in Zone: "2026-11-21".
func Date(t time.Time) string { return t.In(Zone).Format(time.DateOnly) }

func (c *Clock) now() time.Time {
	if c.held != nil {
		return *c.held
	}
	return round(time.Now())
}

func round(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func mustZone(name string) *time.Location {
	zone, err := time.LoadLocation(name)
	if err != nil {
		panic(err) // the zone files are linked in
	}
	return zone
}
