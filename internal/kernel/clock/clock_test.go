package clock_test

import (
	"sync"
	"testing"
	"time"

	"anwang/internal/kernel/clock"
)

func TestNewID(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 11, 4, 0, 0, 123456789, time.UTC)
	c := clock.At(at)
	last := ""
	for range 10_000 { // more than the counter holds in one millisecond
		id := c.NewID()
		if len(id) != 36 || id[14] != '7' || id[19] < '8' || id[19] > 'b' || id <= last {
			t.Fatalf("%q after %q", id, last)
		}
		last = id
	}
	if first := clock.At(at).NewID(); first[:13] != "019cdb0d-2e7b" {
		t.Errorf("time part of %s", first)
	}
	if !c.Now().Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("now %v", c.Now())
	}
	c.Advance(time.Hour)
	if id := c.NewID(); id <= last {
		t.Error("a later identifier sorts before an earlier one")
	}
}

func TestNewIDIsUnique(t *testing.T) {
	t.Parallel()
	c := clock.System()
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				id := c.NewID()
				mu.Lock()
				if seen[id] {
					t.Errorf("%s twice", id)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestDay(t *testing.T) {
	t.Parallel()
	late := time.Date(2026, 3, 10, 16, 30, 0, 0, time.UTC) // 00:30 on the 11th in Shanghai
	if clock.Date(late) != "2026-03-11" || !clock.Day(late).Equal(time.Date(2026, 3, 10, 16, 0, 0, 0, time.UTC)) {
		t.Errorf("%s %v", clock.Date(late), clock.Day(late))
	}
}
