package transfer

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"xfer/transfer/wire"
)

func TestSqueezeAndExpand(t *testing.T) {
	for _, n := range []int{0, 1, 511, 4096, wire.MaxPayload, wire.MaxPack} {
		for _, p := range [][]byte{randomBytes(1, n), []byte(strings.Repeat("what is said twice ", n/19+1))[:n]} {
			z := squeeze([]byte("head"), p)
			if !bytes.HasPrefix(z, []byte("head")) {
				t.Fatal("the beginning is gone")
			}
			got, err := expand([]byte("x"), z[4:], n)
			if err != nil || !bytes.Equal(got[1:], p) {
				t.Fatalf("%d bytes: %v", n, err)
			}
			if n > 0 {
				if _, err := expand(nil, z[4:], n-1); err == nil {
					t.Fatal("more than the limit")
				}
			}
		}
	}
}

// A frame that says little and holds much is refused, and no more memory is used than for an honest one.
func TestBombIsRefused(t *testing.T) {
	bomb := squeeze(nil, make([]byte, 64<<20))
	if len(bomb) > 64<<10 {
		t.Fatalf("a bomb of %d bytes", len(bomb))
	}
	res := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := expand(nil, bomb, wire.MaxPayload); err == nil {
				b.Fatal("expanded")
			}
		}
	})
	if n := res.AllocedBytesPerOp(); n > 8<<20 {
		t.Fatalf("%d bytes were allocated for a bomb", n)
	}
	for _, junk := range [][]byte{nil, {0}, bomb[:len(bomb)/2], randomBytes(3, 1000)} {
		if _, err := expand(nil, junk, wire.MaxPayload); err == nil && len(junk) > 0 {
			t.Fatalf("%x was expanded", junk)
		}
	}
}

func TestCompressionIsChosen(t *testing.T) {
	text, noise := []byte(strings.Repeat("the same words again ", 4000)), randomBytes(2, 64<<10)
	for _, c := range []struct {
		name string
		l    *link
		p    []byte
		want bool
	}{
		{"on, text", &link{mode: "on", agreed: true}, text, true},
		{"on, noise", &link{mode: "on", agreed: true}, noise, false},
		{"off", &link{mode: "off", agreed: true}, text, false},
		{"a peer that does not know it", &link{mode: "on"}, text, false},
		{"slow link", slowed(1<<20, 0.9), text, true},
		{"slow link, noise", slowed(1<<20, 0.9), noise, false},
		{"fast link", slowed(500<<20, 0.9), text, false},
		{"slow source", slowed(1<<20, 0.1), text, false},
	} {
		if got := c.l.wants(c.p); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// slowed is a link that carried so many bytes in the second that has passed, of which streams waited a part.
func slowed(bytes int64, part float64) *link {
	l := &link{agreed: true, streams: func() int { return 1 }}
	l.at = time.Now().Add(-time.Second)
	l.sent.Store(bytes)
	l.blocked.Store(int64(part * float64(time.Second)))
	return l
}

func BenchmarkSqueeze(b *testing.B) {
	text := []byte(strings.Repeat("func (s *session) readLoop(st *stream, r *wire.Reader) error {\n", 5000))[:wire.MaxPayload]
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = squeeze(buf[:0], text)
	}
}

func BenchmarkWorthIt(b *testing.B) {
	p := randomBytes(1, wire.MaxPayload)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		worthIt(p)
	}
}
