package translog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anwang/internal/lib/translog"
)

var update = flag.Bool("update", false, "write new proof files into testdata")

// newProof returns the proof of entry 211 of 300, and the key.
func newProof(t testing.TB, s translog.Suite) (*translog.ProofFile, translog.VerifierKey) {
	t.Helper()
	const index, size = 211, 300
	signer := newSigner(t, s, origin)
	leaf := s.NewLeaf([]byte(`{"seq":211,"kind":"enforcement.order","at":"2026-01-02T03:00:00Z"}`), []byte(`{"no":"〔2026〕1 号"}`))
	leaves := someLeaves(s, size)
	leaves[index] = s.LeafHash(leaf.Header, leaf.Body)
	m := newMemory(s)
	m.append(t, leaves)
	path, err := s.InclusionProof(t.Context(), m, index, size)
	if err != nil {
		t.Fatal(err)
	}
	c := translog.Checkpoint{Origin: origin, Size: size, Root: m.root, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	return &translog.ProofFile{
		Suite: s, Leaf: leaf, Index: index, Path: path, Checkpoint: sign(t, c, signer), Key: signer.VerifierKey(),
	}, signer.VerifierKey()
}

// reread returns the proof as it comes out of its file.
func reread(t testing.TB, p *translog.ProofFile) *translog.ProofFile {
	t.Helper()
	text, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := translog.ParseProof(text)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestProofFile(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		p, key := newProof(t, s)
		p = reread(t, p)
		r, err := p.Check(newSigner(t, s, origin).VerifierKey(), key)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Trusted || r.Origin != origin || r.Size != 300 || r.Index != 211 || r.Key != key || r.Suite != s ||
			!bytes.Equal(r.Leaf.Header, p.Leaf.Header) || string(r.Leaf.Body) != `{"no":"〔2026〕1 号"}` {
			t.Errorf("result %+v", r)
		}
		if text := r.String(); strings.Contains(text, "注意") || strings.Contains(text, "正文未附") {
			t.Errorf("a trusted and complete proof warns: %s", text)
		}

		r, err = p.Check()
		if err != nil || r.Trusted {
			t.Fatalf("without trusted keys: %+v, %v", r, err)
		}
		if text := r.String(); !strings.Contains(text, "未经独立信任") || !strings.Contains(text, key.Fingerprint()) {
			t.Errorf("no warning with the fingerprint: %s", text)
		}
	})
}

func TestProofFileWithoutBody(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		p, key := newProof(t, s)
		p.Leaf = p.Leaf.Erased()
		text, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(`"body"`)) {
			t.Error("an erased body is in the file")
		}
		r, err := reread(t, p).Check(key)
		if err != nil || r.Leaf.Body != nil {
			t.Fatalf("body %q, %v", r.Leaf.Body, err)
		}
		if !strings.Contains(r.String(), "正文未附") {
			t.Errorf("the missing body is not mentioned: %s", r)
		}
		// An empty body is there; a missing one is not.
		p.Leaf = s.NewLeaf([]byte("h"), nil)
		if reread(t, p).Leaf.Body == nil {
			t.Error("an empty body got lost")
		}
	})
}

func TestProofFileNamesWhatDoesNotMatch(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		good, key := newProof(t, s)
		other, _ := newProof(t, s)
		all := []error{translog.ErrFormat, translog.ErrBody, translog.ErrInclusion, translog.ErrSignature, translog.ErrUntrusted}
		for _, c := range []struct {
			what   string
			change func(p *translog.ProofFile)
			want   []error
			says   string
		}{
			{"body", func(p *translog.ProofFile) { p.Leaf.Body = []byte("other") }, []error{translog.ErrBody}, "正文与其摘要不符"},
			{"emptied body", func(p *translog.ProofFile) { p.Leaf.Body = []byte{} }, []error{translog.ErrBody}, "正文与其摘要不符"},
			{"body and its hash", func(p *translog.ProofFile) { p.Leaf = s.NewLeaf(p.Leaf.Header, []byte("other")) },
				[]error{translog.ErrInclusion}, "算得根"},
			{"header", func(p *translog.ProofFile) { p.Leaf.Header = append(p.Leaf.Header, ' ') },
				[]error{translog.ErrInclusion}, "算得根"},
			{"body hash", func(p *translog.ProofFile) { p.Leaf.BodyHash = flip(p.Leaf.BodyHash, 9) },
				[]error{translog.ErrBody, translog.ErrInclusion}, "条目记载"},
			{"body hash length", func(p *translog.ProofFile) { p.Leaf.BodyHash = p.Leaf.BodyHash[1:] },
				[]error{translog.ErrFormat}, "正文摘要应为 32 字节"},
			{"index", func(p *translog.ProofFile) { p.Index-- }, []error{translog.ErrInclusion}, "序号"},
			{"index beyond", func(p *translog.ProofFile) { p.Index = 300 }, []error{translog.ErrInclusion}, "序号 300 超出检查点的大小 300"},
			{"path", func(p *translog.ProofFile) { p.Path[3] = flip(p.Path[3], 77) }, []error{translog.ErrInclusion}, "证明路径"},
			{"path length", func(p *translog.ProofFile) { p.Path = p.Path[1:] }, []error{translog.ErrInclusion}, "不应有 8 个哈希"},
			{"path gone", func(p *translog.ProofFile) { p.Path = nil }, []error{translog.ErrInclusion}, "不应有 0 个哈希"},
			{"checkpoint time", func(p *translog.ProofFile) { p.Checkpoint = strings.Replace(p.Checkpoint, "2026", "2025", 1) },
				[]error{translog.ErrSignature}, "验证不通过"},
			{"checkpoint size", func(p *translog.ProofFile) { p.Checkpoint = strings.Replace(p.Checkpoint, "\n300\n", "\n999\n", 1) },
				[]error{translog.ErrSignature, translog.ErrInclusion}, "验证不通过"},
			{"checkpoint of another", func(p *translog.ProofFile) { p.Checkpoint = other.Checkpoint }, []error{translog.ErrSignature}, "没有所给公钥的签名"},
			{"checkpoint gone", func(p *translog.ProofFile) { p.Checkpoint = "" }, []error{translog.ErrFormat}, "检查点不是签名文本"},
			{"key and checkpoint of another", func(p *translog.ProofFile) { p.Checkpoint, p.Key = other.Checkpoint, other.Key },
				[]error{translog.ErrUntrusted}, other.Key.Fingerprint()},
			{"key gone", func(p *translog.ProofFile) { p.Key = translog.VerifierKey{} }, []error{translog.ErrFormat}, "算法套件"},
			{"suite", func(p *translog.ProofFile) { p.Suite = opposite(s) },
				[]error{translog.ErrFormat}, "算法套件"},
			{"suite unknown", func(p *translog.ProofFile) { p.Suite = "md5" }, []error{translog.ErrFormat}, "未知的算法套件"},
			{"everything", func(p *translog.ProofFile) {
				*p = translog.ProofFile{Suite: s, Leaf: s.NewLeaf(nil, nil), Checkpoint: p.Checkpoint, Key: other.Key}
				p.Leaf.Body = []byte("x")
			}, []error{translog.ErrBody, translog.ErrInclusion, translog.ErrSignature, translog.ErrUntrusted}, "\n"},
		} {
			p := *good
			p.Path = append([][]byte{}, good.Path...)
			p.Leaf.Header = bytes.Clone(good.Leaf.Header)
			c.change(&p)
			r, err := p.Check(key)
			for _, kind := range all {
				want := false
				for _, w := range c.want {
					want = want || w == kind
				}
				if errors.Is(err, kind) != want {
					t.Errorf("%s altered: error is %q, want it to be %v", c.what, err, c.want)
				}
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s altered: error %q does not say %q", c.what, err, c.says)
			}
			if r.Origin != "" || r.Trusted {
				t.Errorf("%s altered: result %+v beside an error", c.what, r)
			}
		}
	})
}

func opposite(s translog.Suite) translog.Suite {
	if s == suites[0] {
		return suites[1]
	}
	return suites[0]
}

func TestParseProofRefuses(t *testing.T) {
	t.Parallel()
	p, _ := newProof(t, translog.SM3SM2)
	text, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	with := func(name string, value any) string {
		var document map[string]any
		if err := json.Unmarshal(text, &document); err != nil {
			t.Fatal(err)
		}
		document[name] = value
		out, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for what, bad := range map[string]string{
		"nothing":          "",
		"not JSON":         "<html>",
		"null":             "null",
		"an empty object":  "{}",
		"no format":        with("format", nil),
		"another format":   with("format", "anwang-proof/v2"),
		"an unknown field": with("verified", true),
		"an unknown suite": with("suite", "md5"),
		"a bad key":        with("key", p.Key.String()+"A"),
		"a negative index": with("index", -1),
		"a bad hash":       with("path", []string{"*"}),
		"two documents":    string(text) + string(text),
		"a cut document":   string(text[:len(text)/2]),
	} {
		if _, err := translog.ParseProof([]byte(bad)); !errors.Is(err, translog.ErrFormat) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Proof files that were given out must be readable for ever. Run with -update only to add a format.
func TestProofFilesOfEarlierReleases(t *testing.T) {
	eachSuite(t, func(t *testing.T, s translog.Suite) {
		name := filepath.Join("testdata", fmt.Sprintf("proof-v1-%s.json", s))
		if *update {
			p, _ := newProof(t, s)
			text, err := p.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := translog.ParseProof(text)
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.Check(p.Key)
		if err != nil || r.Size != 300 || r.Index != 211 {
			t.Errorf("%+v, %v", r, err)
		}
		if again, err := p.Encode(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("encoded again it reads %s, %v", again, err)
		}
	})
}

func FuzzParseProof(f *testing.F) {
	for _, s := range suites {
		p, _ := newProof(f, s)
		text, err := p.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := translog.ParseProof(text)
		if err != nil {
			return
		}
		if _, err := p.Check(); err != nil {
			return
		}
		if _, err := reread(t, p).Check(p.Key); err != nil {
			t.Errorf("holds as read, and not when written again: %v", err)
		}
	})
}
