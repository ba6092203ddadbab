package translog_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"anwang/internal/lib/translog"
)

const origin = "anwang.example.gov.cn/audit"

func newSigner(t testing.TB, s translog.Suite, name string) *translog.Signer {
	t.Helper()
	text, err := translog.GenerateKey(s)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := translog.NewSigner(s, name, text)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func someCheckpoint() translog.Checkpoint {
	return translog.Checkpoint{
		Origin: origin, Size: 20852163, Root: bytes.Repeat([]byte{7}, translog.HashSize),
		Time: time.Date(2026, 1, 2, 11, 4, 5, 120_000_000, time.FixedZone("", 8*3600)),
	}
}

func sign(t testing.TB, c translog.Checkpoint, signers ...*translog.Signer) string {
	t.Helper()
	text, err := c.Sign(signers...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestCheckpointText(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		signer := newSigner(t, s, origin)
		text := sign(t, someCheckpoint(), signer)
		want := origin + "\n20852163\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\ntime 2026-01-02T03:04:05.12Z\n\n— " + origin + " "
		if !strings.HasPrefix(text, want) || strings.Count(text, "\n") != 6 {
			t.Errorf("note is %q, want it to begin with %q", text, want)
		}
		got, err := translog.OpenCheckpoint(text, newSigner(t, s, origin).VerifierKey(), signer.VerifierKey())
		if err != nil {
			t.Fatal(err)
		}
		c := someCheckpoint()
		if got.Origin != c.Origin || got.Size != c.Size || !bytes.Equal(got.Root, c.Root) || !got.Time.Equal(c.Time) {
			t.Errorf("read back %+v, want %+v", got, c)
		}
	})
}

func TestCheckpointRefusesEachAlteredByte(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		signer := newSigner(t, s, origin)
		text := sign(t, someCheckpoint(), signer)
		for i := range len(text) {
			bad := []byte(text)
			bad[i] ^= 1
			if bytes.Equal(signature(string(bad)), signature(text)) && i > strings.LastIndex(text, " ") {
				continue // the unused bits of the last base64 character: the same note, written otherwise
			}
			_, err := translog.OpenCheckpoint(string(bad), signer.VerifierKey())
			if !errors.Is(err, translog.ErrSignature) && !errors.Is(err, translog.ErrFormat) {
				t.Errorf("byte %d (%q) altered: %v", i, text[i], err)
			}
		}
		for i := range len(text) {
			if _, err := translog.OpenCheckpoint(text[:i], signer.VerifierKey()); err == nil {
				t.Errorf("accepted when cut at %d", i)
			}
		}
	})
}

// signature returns the bytes of a note's last signature, nil when they are not base64.
func signature(text string) []byte {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(text[strings.LastIndex(text, " ")+1:], "\n"))
	if err != nil {
		return nil
	}
	return raw
}

func TestCheckpointNeedsAKeyOfItsLog(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		signer, successor := newSigner(t, s, origin), newSigner(t, s, origin)
		stranger := newSigner(t, s, "elsewhere.example/log")
		text := sign(t, someCheckpoint(), signer)
		for what, keys := range map[string][]translog.VerifierKey{
			"no key":         nil,
			"a newer key":    {successor.VerifierKey()},
			"another's key":  {stranger.VerifierKey()},
			"the zero value": {{}},
		} {
			if _, err := translog.OpenCheckpoint(text, keys...); !errors.Is(err, translog.ErrSignature) {
				t.Errorf("opened with %s: %v", what, err)
			}
		}

		both := sign(t, someCheckpoint(), signer, successor)
		for _, key := range []translog.VerifierKey{signer.VerifierKey(), successor.VerifierKey()} {
			if _, err := translog.OpenCheckpoint(both, key, key); err != nil {
				t.Errorf("signed by two, opened with one: %v", err)
			}
		}

		// A note that another log's key signed about this log.
		foreign, err := note.Sign(&note.Note{Text: text[:strings.Index(text, "\n\n")+1]}, stranger)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := translog.OpenCheckpoint(string(foreign), stranger.VerifierKey()); !errors.Is(err, translog.ErrSignature) {
			t.Errorf("signed by another log: %v", err)
		}
	})
}

func TestSignRefusesWhatCannotBeReadBack(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		signer := newSigner(t, s, origin)
		for what, change := range map[string]func(*translog.Checkpoint){
			"a short root":   func(c *translog.Checkpoint) { c.Root = c.Root[:31] },
			"no root":        func(c *translog.Checkpoint) { c.Root = nil },
			"no time":        func(c *translog.Checkpoint) { c.Time = time.Time{} },
			"the year 10000": func(c *translog.Checkpoint) { c.Time = c.Time.AddDate(8000, 0, 0) },
			"no origin":      func(c *translog.Checkpoint) { c.Origin = "" },
			"another origin": func(c *translog.Checkpoint) { c.Origin = "elsewhere.example/log" },
		} {
			c := someCheckpoint()
			change(&c)
			if text, err := c.Sign(signer); err == nil {
				t.Errorf("signed with %s: %q", what, text)
			}
		}
		if _, err := someCheckpoint().Sign(); err == nil {
			t.Error("signed by nobody")
		}
	})
}

// A validly signed text is still refused unless it is written in the one canonical way.
func TestCheckpointTextIsCanonical(t *testing.T) {
	t.Parallel()
	signer := newSigner(t, translog.SHA256Ed25519, origin)
	root := "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="
	when := "time 2026-01-02T03:04:05Z"
	for _, lines := range [][]string{
		{origin, "1", root},
		{origin, "1", root, when, "more"},
		{origin, "01", root, when},
		{origin, "+1", root, when},
		{origin, "-1", root, when},
		{origin, "18446744073709551616", root, when},
		{origin, "1", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwd=", when}, // stray bits
		{origin, "1", root + "=", when},
		{origin, "1", root, "time 2026-01-02T11:04:05+08:00"},
		{origin, "1", root, "time 2026-01-02T03:04:05.000Z"},
		{origin, "1", root, "Time 2026-01-02T03:04:05Z"},
		{origin, "1", root, "time 2026-02-30T03:04:05Z"},
		{origin + " ", "1", root, when},
	} {
		text, err := note.Sign(&note.Note{Text: strings.Join(lines, "\n") + "\n"}, signer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := translog.OpenCheckpoint(string(text), signer.VerifierKey()); !errors.Is(err, translog.ErrFormat) {
			t.Errorf("%q: %v", lines, err)
		}
	}
}

// The Ed25519 suite is what the world's tools read.
func TestNoteToolsReadEd25519Checkpoints(t *testing.T) {
	t.Parallel()
	signer := newSigner(t, translog.SHA256Ed25519, origin)
	verifier, err := note.NewVerifier(signer.VerifierKey().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open([]byte(sign(t, someCheckpoint(), signer)), note.VerifierList(verifier)); err != nil {
		t.Error(err)
	}
}

func TestVerifierKeyText(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		key := newSigner(t, s, "安网.示例/审计").VerifierKey()
		text := key.String()
		again, err := translog.ParseVerifierKey(text)
		if err != nil || again != key || again.Suite() != s || again.Fingerprint() != key.Fingerprint() {
			t.Fatalf("ParseVerifierKey(%q) = %v, %v", text, again, err)
		}
		if other := newSigner(t, s, key.Name()).VerifierKey(); other == key || other.Fingerprint() == key.Fingerprint() {
			t.Error("two keys are taken for one")
		}
		for i := range len(text) {
			bad := []byte(text)
			bad[i] ^= 1
			if k, err := translog.ParseVerifierKey(string(bad)); !errors.Is(err, translog.ErrFormat) {
				t.Errorf("byte %d altered: %v, %v", i, k, err)
			}
			if _, err := translog.ParseVerifierKey(text[:i]); !errors.Is(err, translog.ErrFormat) {
				t.Errorf("cut at %d: %v", i, err)
			}
		}
	})
}

func TestVerifierKeyNames(t *testing.T) {
	t.Parallel()
	public := append([]byte{1}, make([]byte, 32)...)
	for name, good := range map[string]bool{
		"a": true, "安网/审计": true, "": false, "a b": false, "a\u3000b": false, "a\nb": false, "a\x00b": false, "\xff": false,
	} {
		sum := sha256.Sum256(append([]byte(name+"\n"), public...))
		text := fmt.Sprintf("%s+%x+%s", name, sum[:4], base64.StdEncoding.EncodeToString(public))
		if _, err := translog.ParseVerifierKey(text); (err == nil) != good {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func TestNewSignerRefuses(t *testing.T) {
	t.Parallel()
	keys := make(map[translog.Suite][]byte)
	for _, s := range suites {
		text, err := translog.GenerateKey(s)
		if err != nil {
			t.Fatal(err)
		}
		keys[s] = text
	}
	ed, sm := translog.SHA256Ed25519, translog.SM3SM2
	for what, make := range map[string]func() (*translog.Signer, error){
		"an SM2 key for Ed25519": func() (*translog.Signer, error) { return translog.NewSigner(ed, origin, keys[sm]) },
		"an Ed25519 key for SM2": func() (*translog.Signer, error) { return translog.NewSigner(sm, origin, keys[ed]) },
		"no key":                 func() (*translog.Signer, error) { return translog.NewSigner(ed, origin, nil) },
		"an unknown suite":       func() (*translog.Signer, error) { return translog.NewSigner("md5", origin, keys[ed]) },
		"no name":                func() (*translog.Signer, error) { return translog.NewSigner(ed, "", keys[ed]) },
		"a name with a space":    func() (*translog.Signer, error) { return translog.NewSigner(ed, "a b", keys[ed]) },
		"a name with a plus":     func() (*translog.Signer, error) { return translog.NewSigner(ed, "a+b", keys[ed]) },
		"a name with a newline":  func() (*translog.Signer, error) { return translog.NewSigner(ed, "a\nb", keys[ed]) },
	} {
		if signer, err := make(); err == nil || signer != nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if _, err := translog.GenerateKey("md5"); !errors.Is(err, translog.ErrFormat) {
		t.Errorf("a key for an unknown suite: %v", err)
	}
}
