package changes_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"anwang/internal/kernel/db"
	"anwang/internal/kernel/kerneltest"
	"anwang/internal/kernel/org/changes"
)

var parts = []db.Migrations{{Part: "note", Files: fstest.MapFS{"migrations/0001_init.sql": {Data: []byte(`
CREATE TABLE note_revision (name codetext PRIMARY KEY, n BIGINT NOT NULL);
INSERT INTO note_revision (name, n) VALUES ('change', 0);
CREATE TABLE note_change (n BIGINT PRIMARY KEY, subject codetext NOT NULL);
`)}}}}

// reader is a process that follows the feed.
type reader struct {
	*changes.Feed
	t     *testing.T
	heard []string
}

func follow(t *testing.T, d *db.DB) *reader {
	r := &reader{Feed: changes.New(d, "note"), t: t}
	r.Follow(func(subject string) { r.heard = append(r.heard, subject) })
	return r
}

// news is what a Check tells.
func (r *reader) news() string {
	r.t.Helper()
	r.heard = nil
	if err := r.Check(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	for i, s := range r.heard {
		if s == changes.Everything {
			r.heard[i] = "*"
		}
	}
	return strings.Join(r.heard, " ")
}

func TestFeed(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		publish := func(f *reader, subjects ...string) {
			t.Helper()
			if err := d.Tx(t.Context(), func(ctx context.Context) error { return f.Publish(ctx, subjects...) }); err != nil {
				t.Fatal(err)
			}
		}
		here, there := follow(t, d), follow(t, d)
		if here.news() != "*" || here.news() != "" {
			t.Error("the first Check must tell everything, the second nothing")
		}
		there.news()
		publish(here, "a", "b")
		publish(here)
		publish(here, "c")
		if got := here.news(); got != "a b c" {
			t.Errorf("here: %q", got)
		}
		if got := there.news(); got != "" {
			t.Errorf("there, at once: %q", got)
		}
		d.Clock.Advance(changes.Patience)
		if got := there.news(); got != "a b c" {
			t.Errorf("there, a second later: %q", got)
		}
		boom := errors.New("boom")
		if err := d.Tx(t.Context(), func(ctx context.Context) error {
			if err := here.Publish(ctx, "undone"); err != nil {
				return err
			}
			if got := here.news(); got != "" {
				t.Errorf("inside the transaction: %q", got)
			}
			return boom
		}); !errors.Is(err, boom) {
			t.Fatal(err)
		}
		d.Clock.Advance(changes.Patience)
		if got := here.news(); got != "" {
			t.Errorf("rolled back: %q", got)
		}
		// A process that slept through more than is kept is told to forget everything.
		for i := range 110 {
			var many []string
			for j := range 100 {
				many = append(many, fmt.Sprint(i, ".", j))
			}
			publish(here, many...)
		}
		d.Clock.Advance(changes.Patience)
		if got := there.news(); got != "*" {
			t.Errorf("after a long sleep: %.40q", got)
		}
		var kept int
		if err := d.Conn(t.Context()).NewRaw("SELECT count(*) FROM note_change").Scan(t.Context(), &kept); err != nil || kept > 11_003 {
			t.Errorf("%d changes are kept, %v", kept, err)
		}
		publish(here, "d")
		d.Clock.Advance(changes.Patience)
		if got := there.news(); got != "d" {
			t.Errorf("afterwards: %q", got)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("published outside a transaction")
				}
			}()
			here.Publish(t.Context(), "x") //nolint:errcheck // it panics
		}()
	})
}

// Whoever publishes knows, after his own next Check, of his own change, whoever else is checking at that moment.
func TestOwnChangeIsToldAtOnce(t *testing.T) {
	t.Parallel()
	kerneltest.EachEngine(t, parts, func(t *testing.T, d *db.DB) {
		f := changes.New(d, "note")
		var mu sync.Mutex
		var heard []string
		f.Follow(func(subject string) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, subject)
		})
		if err := f.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		heard = nil // Everything
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 25 {
					subject := fmt.Sprintf("%d/%d", w, i)
					err := errors.Join(d.Tx(t.Context(), func(ctx context.Context) error { return f.Publish(ctx, subject) }), f.Check(t.Context()))
					mu.Lock()
					known := slices.Contains(heard, subject)
					mu.Unlock()
					if err != nil || !known {
						t.Errorf("%s: told %v, %v", subject, known, err)
					}
				}
			})
		}
		wg.Wait()
	})
}
