package transfer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// fullTree begins a tree of files that never come until the receiver has no room for more of them, and returns how many parts of a thousand
// entries were sent and answered.
func fullTree(t *testing.T, h *host) (p *rawPeer, sent, answered int) {
	t.Helper()
	p = h.raw()
	p.hello()
	_ = p.st.SetWriteDeadline(time.Now().Add(60 * time.Second))
	p.openTree(2, "top", 0)
	enc := tree.NewEncoder()
	for no := uint64(0); ; {
		for ; sent < answered+treeAhead; sent++ {
			var b []byte
			for first := no; no < first+1000; no++ {
				r := tree.Record{Name: fmt.Sprintf("f%08d", no), Kind: tree.File, Size: 1, Mode: 0o644}
				if no == 0 {
					r = tree.Record{Kind: tree.Directory, NoMeta: true}
				}
				var err error
				if b, err = enc.Append(b, &r); err != nil {
					t.Fatal(err)
				}
			}
			p.send(2, wire.TreePart{First: no - 1000, Count: 1000, Records: b})
		}
		if answered == 65 { // of 65,536 entries that may be wanted
			return p, sent, answered
		}
		_ = p.st.SetReadDeadline(time.Now().Add(30 * time.Second))
		if v, ok := p.readTree().(wire.TreeVerdicts); !ok || v.First != uint64(answered)*1000 {
			t.Fatalf("part %d: %#v", answered, v)
		}
		answered++
	}
}

// As many files as are wanted may be given up, each by a message of its own, while the receiver waits: then there is room again.
func TestManyFilesAreGivenUp(t *testing.T) {
	p, sent, answered := fullTree(t, newHost(t, kinds[0]))
	for no := uint64(1); no < uint64(answered)*1000; no++ {
		p.send(2, wire.TreeSkip{Gone: []uint64{no}})
	}
	_ = p.st.SetReadDeadline(time.Now().Add(30 * time.Second))
	for ; answered < sent; answered++ {
		if v, ok := p.readTree().(wire.TreeVerdicts); !ok || v.First != uint64(answered)*1000 {
			t.Fatalf("part %d: %#v", answered, v)
		}
	}
}

// Messages that wait for a receiver which waits itself are bounded in bytes.
func TestWaitingMessagesAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: many files or messages")
	}
	p, _, _ := fullTree(t, newHost(t, kinds[0]))
	path, err := wire.NewPath(strings.Split(strings.Repeat("0123456789abcdef/", 200)+"x", "/")...)
	if err != nil {
		t.Fatal(err)
	}
	m := wire.TreeDelete{}
	for range 250 {
		m.Paths = append(m.Paths, path)
	}
	for range 2 * treeWaiting / queuedBytes(m) {
		p.send(2, m)
	}
	_ = p.st.SetReadDeadline(time.Now().Add(30 * time.Second))
	if code := p.mustEnd(); code != wire.CodeProtocol {
		t.Errorf("the session ended with %v", code)
	}
}
