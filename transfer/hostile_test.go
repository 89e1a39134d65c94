package transfer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"xfer/certs/certstest"
	"xfer/crypto"
	"xfer/transfer/transport"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// rawPeer speaks frames by hand.
type rawPeer struct {
	t  testing.TB
	c  transport.Conn
	st transport.Stream
	r  *wire.Reader
}

func (h *host) raw() *rawPeer {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := h.dial(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close(0, "") })
	st, err := c.OpenStream(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	_ = st.SetReadDeadline(time.Now().Add(10 * time.Second))
	_ = st.SetWriteDeadline(time.Now().Add(10 * time.Second))
	return &rawPeer{t: h.t, c: c, st: st, r: wire.NewReader(st, wire.MaxControl)}
}

// hello begins a session.
func (p *rawPeer) hello() wire.Welcome {
	p.t.Helper()
	p.send(0, wire.Hello{Versions: []uint64{0}, Agent: "raw", TimeNS: 1})
	m, ok := p.read().(wire.Welcome)
	if !ok {
		p.t.Fatal("no WELCOME")
	}
	return m
}

func (p *rawPeer) send(id uint32, m wire.Message) {
	p.t.Helper()
	b, err := wire.AppendFrame(nil, id, m)
	if err != nil {
		p.t.Fatal(err)
	}
	_, _ = p.st.Write(b)
}

// bareFrame is a frame whose body wire would refuse to make.
func bareFrame(t wire.Type, id uint32, body ...byte) []byte {
	b := make([]byte, 12, 12+len(body))
	b[0] = byte(t)
	binary.BigEndian.PutUint32(b[4:], uint32(len(body)))
	binary.BigEndian.PutUint32(b[8:], id)
	return append(b, body...)
}

func (p *rawPeer) bare(t wire.Type, id uint32, body ...byte) {
	_, _ = p.st.Write(bareFrame(t, id, body...))
}

func (p *rawPeer) data(id uint32, flags uint8, chunk uint64, off, rawLen uint32, payload []byte, cv crypto.CV) {
	b := wire.AppendDataHeader(nil, id, flags, chunk, off, rawLen, uint32(len(payload)))
	b = append(b, payload...)
	if flags&wire.DataLast != 0 {
		b = append(b, cv[:]...)
	}
	_, _ = p.st.Write(b)
}

// read returns the next message that is no keep-alive; nil at the end of the stream.
func (p *rawPeer) read() wire.Message {
	p.t.Helper()
	for {
		h, err := p.r.Next()
		if err != nil {
			return nil
		}
		m, err := p.r.Message(h)
		if err != nil {
			p.t.Fatal(err)
		}
		switch m := m.(type) {
		case wire.Ping, wire.Pong:
		case wire.Ack:
			if len(m.Received) > 0 {
				return m
			}
		default:
			return m
		}
	}
}

// mustEnd reads until the session is over and returns the code of the last ERROR.
func (p *rawPeer) mustEnd() wire.Code {
	p.t.Helper()
	var code wire.Code
	for {
		m := p.read()
		if m == nil {
			return code
		}
		if e, ok := m.(wire.Error); ok {
			code = e.Code
		}
	}
}

func (p *rawPeer) open(id uint32, name string, size uint64) wire.Message {
	p.t.Helper()
	p.send(id, openMessage(p.t, name, size))
	return p.read()
}

func openMessage(t testing.TB, name string, size uint64) wire.Open {
	t.Helper()
	path, err := wire.NewPath(strings.Split(name, "/")...)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Open{Transfer: wire.TransferID{1, byte(len(name))}, Path: path, Size: size, ChunkLog2: 18, Alg: 1, Fingerprint: []byte("v1")}
}

func (h *host) mustServe() {
	h.t.Helper()
	src := filepath.Join(h.t.TempDir(), "still-alive")
	mustWrite(h.t, src, []byte("alive"), 0o644)
	h.mustSend(Options{}, "", src)
	if n := h.srv.Panics(); n != 0 {
		h.t.Fatalf("%d panics", n)
	}
}

func TestHostileFramesEndTheSessionOnly(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		chunk := make([]byte, 256<<10)
		for name, attack := range map[string]func(p *rawPeer){
			"a length of 2^32-1": func(p *rawPeer) {
				b := make([]byte, 12)
				b[0] = byte(wire.TOpen)
				binary.BigEndian.PutUint32(b[4:], 1<<32-1)
				_, _ = p.st.Write(b)
			},
			"data of a length of 2^32-1": func(p *rawPeer) {
				b := make([]byte, 12)
				b[0] = byte(wire.TData)
				binary.BigEndian.PutUint32(b[4:], 1<<32-1)
				_, _ = p.st.Write(b)
			},
			"a second HELLO": func(p *rawPeer) { p.send(0, wire.Hello{Versions: []uint64{0}}) },
			"a WELCOME": func(p *rawPeer) {
				p.send(0, wire.Welcome{Window: 1 << 20, Limits: wire.PeerLimits{Streams: 1, Open: 1, Requests: 1}})
			},
			"OPEN, odd handle":    func(p *rawPeer) { p.send(7, openMessage(p.t, "x", 1)) },
			"OPEN, handle 0":      func(p *rawPeer) { p.bare(wire.TOpen, 0, 0xa0) },
			"OPEN twice":          func(p *rawPeer) { p.send(2, openMessage(p.t, "x", 1<<20)); p.send(2, openMessage(p.t, "y", 1<<20)) },
			"GET with a PUT's id": func(p *rawPeer) { p.bare(wire.TGet, 2, 0xa1, 0x05, 0x02) },
			"data without FIRST":  func(p *rawPeer) { p.data(2, 0, 0, 0, 10, chunk[:5], crypto.CV{}) },
			"a chunk beyond the file": func(p *rawPeer) {
				p.open(2, "x", 1<<20)
				p.data(2, wire.DataFirst, 1<<40, 0, 256<<10, chunk[:5], crypto.CV{})
			},
			"a wrong chunk length": func(p *rawPeer) {
				p.open(2, "x", 1<<20)
				p.data(2, wire.DataFirst, 0, 0, 5, chunk[:5], crypto.CV{})
			},
			"an offset beyond the chunk": func(p *rawPeer) {
				p.open(2, "x", 1<<20)
				p.data(2, wire.DataFirst, 0, 256<<10, 256<<10, chunk[:5], crypto.CV{})
			},
			"more than the chunk": func(p *rawPeer) {
				p.open(2, "x", 1<<20)
				p.data(2, wire.DataFirst, 0, 0, 256<<10, chunk[:5], crypto.CV{})
				p.data(2, 0, 0, 5, 256<<10, chunk, crypto.CV{})
			},
			"LAST too early": func(p *rawPeer) {
				p.open(2, "x", 1<<20)
				p.data(2, wire.DataFirst|wire.DataLast, 0, 0, 256<<10, chunk[:5], crypto.CV{})
			},
			"an empty piece": func(p *rawPeer) {
				p.open(2, "x", 1<<20)
				p.data(2, wire.DataFirst, 0, 0, 256<<10, nil, crypto.CV{})
			},
			"HASHES beyond the file": func(p *rawPeer) { p.open(2, "x", 1<<20); p.send(2, wire.Hashes{First: 3, Count: 8000}) },
		} {
			p := h.raw()
			p.hello()
			attack(p)
			if code := p.mustEnd(); code.Class() != 5 && code != wire.CodeUnsupported {
				t.Errorf("%s: ended with %v", name, code)
			}
		}
		h.mustServe()
	})
}

func TestHostileRequestsAreAnswered(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		p := h.raw()
		p.hello()
		for _, size := range []uint64{1 << 48, 1<<48 - 1, 1 << 42} {
			o := openMessage(t, "huge", size)
			o.ChunkLog2 = 24
			if size == 1<<48 {
				o.Size = 1<<48 + 1
				if _, err := wire.AppendFrame(nil, 2, o); err == nil {
					t.Error("a file of more than 256 TiB is encoded")
				}
				continue
			}
			p.send(uint32(size>>40)*2, o)
			if e, ok := p.read().(wire.Error); !ok || (e.Code != wire.CodeNoSpace && e.Code != wire.CodeTooBig) {
				t.Errorf("%d bytes: %+v", size, e)
			}
		}
		if e, ok := p.open(100, "still-alive/x/y", 1).(wire.Opened); !ok {
			t.Errorf("a harmless OPEN: %+v", e)
		}
		// A COMMIT of what is not there, of another size, and of a root that is wrong.
		for i, c := range []wire.Commit{{Size: 1}, {Size: 1 << 20}, {Size: 0}} {
			id := uint32(200 + 2*i)
			if _, ok := p.open(id, "c", uint64(i+1)<<10).(wire.Opened); !ok {
				t.Fatal("no OPENED")
			}
			p.send(id, c)
			if e, ok := p.read().(wire.Error); !ok || e.Code.Class() != 3 {
				t.Errorf("commit %d: %+v", i, e)
			}
			if _, err := os.Lstat(h.path("c")); !errors.Is(err, os.ErrNotExist) {
				t.Fatal("it was published")
			}
		}
		// A chunk with a wrong hash is asked for again, the right one is taken, and a late frame of an ended handle is dropped.
		payload := randomBytes(3, 1000)
		var good crypto.CV
		hash := crypto.NewChunkHasher()
		hash.Reset(0, 18)
		_, _ = hash.Write(payload)
		good = crypto.CV(hash.Root())
		if _, ok := p.open(300, "n", 1000).(wire.Opened); !ok {
			t.Fatal("no OPENED")
		}
		p.data(300, wire.DataFirst|wire.DataLast, 0, 0, 1000, payload, crypto.CV{1})
		if n, ok := p.read().(wire.Nack); !ok || n.Chunk != 0 {
			t.Fatalf("instead of a NACK: %+v", n)
		}
		p.data(300, wire.DataFirst|wire.DataLast, 0, 0, 1000, payload, good)
		if _, ok := p.read().(wire.Ack); !ok {
			t.Fatal("no ACK")
		}
		p.send(300, wire.Commit{RootHash: wire.Hash(good), Size: 1000})
		if r, ok := p.read().(wire.Receipt); !ok || r.RootHash != wire.Hash(good) {
			t.Fatal("no RECEIPT")
		}
		p.data(300, wire.DataFirst|wire.DataLast, 0, 0, 1000, randomBytes(4, 1000), good)
		if got, _ := os.ReadFile(h.path("n")); !bytes.Equal(got, payload) {
			t.Fatal("a late frame changed a published file")
		}
		p.send(0, wire.Bye{})
		h.mustServe()
	})
}

// A chunk that is held and comes again with other content ends the attempt, and what is held stays (I6).
func TestChunkIsWrittenOnce(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		p := h.raw()
		p.hello()
		send := func(id uint32, data []byte) {
			hash := crypto.NewChunkHasher()
			hash.Reset(0, 18)
			_, _ = hash.Write(data)
			p.data(id, wire.DataFirst|wire.DataLast, 0, 0, 256<<10, data, hash.CV())
		}
		one, two := randomBytes(1, 256<<10), randomBytes(2, 256<<10)
		if _, ok := p.open(2, "w", 512<<10).(wire.Opened); !ok {
			t.Fatal("no OPENED")
		}
		send(2, one)
		send(2, one) // the same again is ACKed
		if _, ok := p.read().(wire.Ack); !ok {
			t.Fatal("no ACK")
		}
		send(2, two)
		for {
			m := p.read()
			if _, ok := m.(wire.Ack); ok {
				continue
			}
			if e, ok := m.(wire.Error); !ok || e.Code != wire.CodeSourceChanged {
				t.Fatalf("other content: %+v", m)
			}
			break
		}
		o, ok := p.open(4, "w", 512<<10).(wire.Opened)
		if !ok || len(o.Have) != 1 || o.Have[0] != (wire.Range{Start: 0, Count: 1}) {
			t.Fatalf("what was held: %+v", o)
		}
		p.send(4, wire.Hashes{First: 0, Count: 1})
		hash := crypto.NewChunkHasher()
		hash.Reset(0, 18)
		_, _ = hash.Write(one)
		if l, ok := p.read().(wire.HashList); !ok || len(l.CVs) != 1 || l.CVs[0] != wire.Hash(hash.CV()) {
			t.Fatalf("its hash: %+v", l)
		}
	})
}

// A newer attempt of the same principal fences the older one, whose frames change nothing any more (I5).
func TestNewestAttemptWins(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		old, next := h.raw(), h.raw()
		old.hello()
		next.hello()
		if _, ok := old.open(2, "f", 512<<10).(wire.Opened); !ok {
			t.Fatal("no OPENED")
		}
		if _, ok := next.open(2, "f", 512<<10).(wire.Opened); !ok {
			t.Fatal("no OPENED for the newer one")
		}
		data := randomBytes(1, 256<<10)
		hash := crypto.NewChunkHasher()
		hash.Reset(0, 18)
		_, _ = hash.Write(data)
		old.data(2, wire.DataFirst|wire.DataLast, 0, 0, 256<<10, data, hash.CV())
		if e, ok := old.read().(wire.Error); !ok || e.Code != wire.CodeFenced {
			t.Fatalf("the older attempt: %+v", e)
		}
		if o, ok := next.open(4, "f", 512<<10).(wire.Opened); !ok || len(o.Have) != 0 {
			t.Fatalf("the stale frame left something: %+v", o)
		}
	})
}

func TestJoinNeedsTheSessionKey(t *testing.T) {
	h := newHost(t, transport.TCP)
	p := h.raw()
	w := p.hello()
	for name, mac := range map[string][]byte{"no proof": nil, "a made-up proof": make([]byte, 32)} {
		q := h.raw()
		q.send(0, wire.Join{Session: w.Session, MAC: mac, Counter: 9})
		if code := q.mustEnd(); code != wire.CodeAuth {
			t.Errorf("%s: %v", name, code)
		}
	}
	// The right proof of one connection is of no use on another, nor to another client.
	key, err := crypto.SessionKey(p.c)
	if err != nil {
		t.Fatal(err)
	}
	a, b := h.raw(), h.raw()
	mac, err := crypto.JoinProof(key, a.c, 9)
	if err != nil {
		t.Fatal(err)
	}
	b.send(0, wire.Join{Session: w.Session, MAC: mac, Counter: 9})
	if code := b.mustEnd(); code != wire.CodeAuth {
		t.Errorf("a proof of another connection: %v", code)
	}
	a.send(0, wire.Join{Session: w.Session, MAC: mac, Counter: 9})
	if _, ok := a.read().(wire.Joined); !ok {
		t.Error("the right proof is refused")
	}
	mine := h.client
	h.client = certstest.New(t)
	o := h.raw()
	h.client = mine
	if mac, err = crypto.JoinProof(key, o.c, 9); err != nil {
		t.Fatal(err)
	}
	o.send(0, wire.Join{Session: w.Session, MAC: mac, Counter: 9})
	if code := o.mustEnd(); code != wire.CodeAuth {
		t.Errorf("another client: %v", code)
	}
}

// On QUIC a stream of the control connection needs no proof, and carries chunks. Our own client dials instead.
func TestJoinOnTheControlConnection(t *testing.T) {
	h := newHost(t, transport.QUIC)
	p := h.raw()
	w := p.hello()
	if o, ok := p.open(2, "f", 256<<10).(wire.Opened); !ok || o.State != wire.StateNew {
		t.Fatalf("OPENED: %+v", o)
	}
	stream := func() *rawPeer {
		st, err := p.c.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = st.SetReadDeadline(time.Now().Add(10 * time.Second))
		return &rawPeer{t: t, c: p.c, st: st, r: wire.NewReader(st, wire.MaxControl)}
	}
	q := stream()
	q.send(0, wire.Join{Session: w.Session, MAC: make([]byte, 32), Counter: 1})
	if code := q.mustEnd(); code != wire.CodeAuth {
		t.Errorf("with a proof: %v", code)
	}
	q = stream()
	q.send(0, wire.Join{Session: w.Session, Counter: 2})
	if _, ok := q.read().(wire.Joined); !ok {
		t.Fatal("no JOINED")
	}
	data := randomBytes(1, 256<<10)
	hash := crypto.NewChunkHasher()
	hash.Reset(0, 18)
	_, _ = hash.Write(data)
	q.data(2, wire.DataFirst|wire.DataLast, 0, 0, 256<<10, data, crypto.CV(hash.Root()))
	if a, ok := p.read().(wire.Ack); !ok || len(a.Received) != 1 {
		t.Errorf("ACK: %+v", a)
	}
}

// Random frames, well formed and not, end sessions and nothing else.
func TestRandomFramesDoNotPanic(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 1))
		types := []wire.Type{
			wire.THello, wire.TWelcome, wire.TJoin, wire.TJoined, wire.TPing, wire.TPong, wire.TGoAway, wire.TBye, wire.TError, wire.TOpen, wire.TOpened,
			wire.TAck, wire.TNack, wire.TCommit, wire.TReceipt, wire.TAbort, wire.TGet, wire.TList, wire.TEntries, wire.TStat, wire.TStated, wire.TMkdir,
			wire.TRemove, wire.TRename, wire.TDone, wire.TSpace, wire.THashes, wire.THashList, wire.TSymlink, wire.TSetMeta, wire.TEnroll, wire.TEnrolled,
		}
		for range 60 {
			p := h.raw()
			p.hello()
			p.open(2, "r", 1<<20)
			for range 20 {
				switch r.IntN(4) {
				case 0:
					b := make([]byte, 12+r.IntN(40))
					for i := range b {
						b[i] = byte(r.Uint32())
					}
					b[0], b[1], b[2], b[3] = byte(types[r.IntN(len(types))]), 0, 0, 0
					binary.BigEndian.PutUint32(b[4:], uint32(len(b)-12))
					_, _ = p.st.Write(b)
				case 1:
					n := r.IntN(1000)
					p.data(uint32(r.IntN(4)), uint8(r.IntN(4)), uint64(r.IntN(5)), uint32(r.IntN(2000)), uint32(r.IntN(300<<10)), make([]byte, n), crypto.CV{})
				case 2:
					p.send(uint32(1+r.IntN(4)), wire.Commit{Size: uint64(r.IntN(2 << 20))})
				case 3:
					p.send(uint32(1+r.IntN(4)), wire.Abort{Keep: r.IntN(2) == 0, Code: wire.CodeStreamLost})
				}
			}
			_ = p.c.Close(0, "")
		}
		h.mustServe()
	})
}

// hostileServer takes the place of h's server and answers a client's messages with what play sends.
func hostileServer(t *testing.T, h *host, play func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer)) *Client {
	t.Helper()
	l, err := transport.Listen("127.0.0.1:0", []transport.Kind{h.kind}, crypto.ServerTLS(h.server, nil), transport.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); _ = l[0].Close() })
	go func() {
		for {
			c, err := l[0].Accept(ctx)
			if err != nil {
				return
			}
			go hostileSession(ctx, c, play)
		}
	}()
	evil := &host{t: t, kind: h.kind, server: h.server, client: h.client, addr: l[0].Addr().String()}
	return evil.newClient(Options{RetryFor: 300 * time.Millisecond, Timeout: time.Second})
}

func hostileSession(ctx context.Context, c transport.Conn, play func(uint32, wire.Message, func(uint32, wire.Message), io.Writer)) {
	defer c.Close(0, "")
	st, err := c.AcceptStream(ctx)
	if err != nil {
		return
	}
	send := func(id uint32, m wire.Message) {
		if b, err := wire.AppendFrame(nil, id, m); err == nil {
			_, _ = st.Write(b)
		}
	}
	r := wire.NewReader(st, wire.MaxControl)
	for {
		h, err := r.Next()
		if err != nil {
			return
		}
		if h.Type == wire.TData {
			if _, err := r.Data(h, make([]byte, wire.MaxPayload+64)); err != nil {
				return
			}
			continue
		}
		m, err := r.Message(h)
		if err != nil {
			return
		}
		if _, ok := m.(wire.Hello); ok {
			send(0, wire.Welcome{Window: 1 << 20, Caps: []string{wire.CapTree}, Roots: []wire.RootInfo{{Name: "inbox", Default: true}}, Limits: wire.PeerLimits{Streams: 4, Open: 64, Requests: 64}})
			continue
		}
		play(h.ID, m, send, st)
	}
}

// What a server answers to a GET is written nowhere but where the user said, and a lie ends the run with a code.
func TestHostileServerOnGet(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		file := wire.Stated{Entry: wire.Entry{Name: "f", Kind: wire.KindFile, Size: 5}}
		dir := wire.Stated{Entry: wire.Entry{Name: "d", Kind: wire.KindDir}}
		hello := crypto.NewChunkHasher()
		hello.Reset(0, 18)
		_, _ = hello.Write([]byte("hello"))
		sendHello := func(id uint32, raw io.Writer) {
			b := wire.AppendDataHeader(nil, id, wire.DataFirst|wire.DataLast, 0, 0, 5, 5)
			b = append(b, "hello"...)
			root := hello.Root()
			_, _ = raw.Write(append(b, root[:]...))
		}
		for name, c := range map[string]struct {
			play func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer)
			kind Kind
		}{
			"a file nobody asked for": {func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
				o := openMessage(t, "elsewhere", 5)
				send(id+100, o)
				sendHello(id+100, raw)
				send(2, o)
			}, KindProtocol},
			"an OPEN for another path lands where it was asked for": {func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
				switch m := m.(type) {
				case wire.Stat:
					send(id, file)
				case wire.Get:
					send(id, openMessage(t, "else/where", 5))
				case wire.Opened:
					sendHello(id, raw)
					send(id, wire.Commit{RootHash: wire.Hash(hello.Root()), Size: 5})
				default:
					_ = m
				}
			}, 255},
			"a root that is not that of the chunks": {func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
				switch m.(type) {
				case wire.Stat:
					send(id, file)
				case wire.Get:
					send(id, openMessage(t, "f", 5))
				case wire.Opened:
					sendHello(id, raw)
					send(id, wire.Commit{RootHash: wire.Hash{9}, Size: 5})
				}
			}, KindVerify},
			"chunks that are missing at the COMMIT": {func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
				switch m.(type) {
				case wire.Stat:
					send(id, file)
				case wire.Get:
					send(id, openMessage(t, "f", 5))
				case wire.Opened:
					send(id, wire.Commit{RootHash: wire.Hash(hello.Root()), Size: 5})
				}
			}, KindVerify},
			"a name that leads upwards": {func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
				switch m.(type) {
				case wire.Stat:
					send(id, dir)
				case wire.TreeGet:
					send(id, wire.TreeOpen{Tree: wire.TransferID{1}})
				case wire.TreeOpened:
					good := manifestOf(t, tree.Record{Name: "zz", Kind: tree.File, Size: 5})
					send(id, wire.TreePart{Count: 2, Last: true, Records: bytes.Replace(good, []byte("zz"), []byte(".."), 1)})
				}
			}, KindProtocol},
			"an answer of a later version": {func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
				_, _ = raw.Write(bareFrame(0x13, id, 0xa0))
			}, KindProtocol},
			"directories without end": {func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
				switch m.(type) {
				case wire.Stat:
					send(id, dir)
				case wire.TreeGet:
					send(id, wire.TreeOpen{Tree: wire.TransferID{1}})
				case wire.TreeOpened:
					var records []tree.Record
					for range 15 {
						records = append(records, tree.Record{Name: "d", Kind: tree.Directory, Mode: 0o755})
					}
					good := manifestOf(t, records...)
					one := tree.Record{Name: "d", Kind: tree.Directory, Mode: 0o755}
					more := manifestOf(t, append(records, one)...)[len(good):] // as any further one is
					for range 300 {
						good = append(good, more...)
					}
					send(id, wire.TreePart{Count: 316, Records: good})
				}
			}, KindProtocol},
			"two OPENs for one GET": {func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
				switch m.(type) {
				case wire.Stat:
					send(id, file)
				case wire.Get:
					send(id, openMessage(t, "f", 5))
					send(id, openMessage(t, "f", 5))
				}
			}, KindProtocol},
			"two TREE_OPENs for one TREE_GET": {func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
				switch m.(type) {
				case wire.Stat:
					send(id, dir)
				case wire.TreeGet:
					send(id, wire.TreeOpen{Tree: wire.TransferID{1}})
					send(id, wire.TreeOpen{Tree: wire.TransferID{1}})
				}
			}, KindProtocol},
			"a tree nobody asked for": {func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
				send(id+100, wire.TreeOpen{Tree: wire.TransferID{1}})
				send(2, wire.TreeOpen{Tree: wire.TransferID{1}})
			}, KindProtocol},
			"a commit before the end": {func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
				switch m.(type) {
				case wire.Stat:
					send(id, dir)
				case wire.TreeGet:
					send(id, wire.TreeOpen{Tree: wire.TransferID{1}})
				case wire.TreeOpened:
					send(id, wire.TreePart{Count: 2, Records: manifestOf(t, tree.Record{Name: "f", Kind: tree.File, Size: 5})})
					send(id, wire.TreeCommit{Entries: 2})
				}
			}, KindProtocol},
			"a stage of ours as a name": {func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
				switch m.(type) {
				case wire.Stat:
					send(id, dir)
				case wire.TreeGet:
					send(id, wire.TreeOpen{Tree: wire.TransferID{1}})
				case wire.TreeOpened:
					good := manifestOf(t, tree.Record{Name: "zxfer-01234567", Kind: tree.Symlink, Target: "/tmp"})
					send(id, wire.TreePart{Count: 2, Last: true, Records: bytes.Replace(good, []byte("zxfer"), []byte(".xfer"), 1)})
				}
			}, KindProtocol},
			"silence": {func(uint32, wire.Message, func(uint32, wire.Message), io.Writer) {}, KindStalled},
		} {
			base := t.TempDir()
			client := hostileServer(t, h, c.play)
			_, err := client.Get(context.Background(), []Address{addrOf("x")}, filepath.Join(base, "in", "here"), nil)
			if c.kind == 255 {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if got, _ := os.ReadFile(filepath.Join(base, "in", "here")); string(got) != "hello" {
					t.Errorf("%s: %q", name, got)
				}
				continue
			}
			if err == nil || KindOf(err) != c.kind {
				t.Errorf("%s: kind %d, %v", name, KindOf(err), err)
			}
			for n := range snapshot(t, base) {
				if n != "in" && n != "in/here" && !strings.HasPrefix(n, "in/here/d") {
					t.Errorf("%s: wrote %q", name, n)
				}
			}
		}
	})
}

// A receipt that is forged, or for other content, is no success.
func TestForgedReceiptIsRefused(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "f")
		mustWrite(t, src, []byte("hello"), 0o644)
		stranger := certstest.New(t)
		elsewhere := openMessage(t, "g", 1).Path
		for name, forge := range map[string]func(c wire.Commit, r *wire.Receipt) *crypto.Identity{
			"":                        func(wire.Commit, *wire.Receipt) *crypto.Identity { return h.server }, // a good one
			"for another file":        func(_ wire.Commit, r *wire.Receipt) *crypto.Identity { r.Path = elsewhere; return h.server },
			"in another root":         func(_ wire.Commit, r *wire.Receipt) *crypto.Identity { r.RootName = "other"; return h.server },
			"of another transfer":     func(_ wire.Commit, r *wire.Receipt) *crypto.Identity { r.Transfer[3]++; return h.server },
			"signed by somebody else": func(_ wire.Commit, r *wire.Receipt) *crypto.Identity { return stranger },
			"for other content":       func(_ wire.Commit, r *wire.Receipt) *crypto.Identity { r.RootHash = wire.Hash{1}; return h.server },
			"of another size":         func(_ wire.Commit, r *wire.Receipt) *crypto.Identity { r.Size = 6; return h.server },
			"not signed":              func(wire.Commit, *wire.Receipt) *crypto.Identity { return nil },
		} {
			var transfer wire.TransferID
			client := hostileServer(t, h, func(id uint32, m wire.Message, send func(uint32, wire.Message), _ io.Writer) {
				switch m := m.(type) {
				case wire.Stat:
					send(id, wireError(os.ErrNotExist))
				case wire.Open:
					transfer = m.Transfer
					send(id, wire.Opened{State: wire.StateNew, Epoch: 1})
				case wire.Commit:
					r := wire.Receipt{Transfer: transfer, RootName: "inbox", RootHash: m.RootHash, Size: m.Size, Path: openMessage(t, "f", 1).Path, Signer: h.server.SPKI()}
					if who := forge(m, &r); who != nil {
						r.Signer = who.SPKI()
						r.Signature, _ = who.SignReceipt(wire.ReceiptBytes(r))
					}
					send(id, r)
				}
			})
			if _, err := client.Send(context.Background(), []Source{{Path: src}}, addrOf("f")); name == "" && err != nil || name != "" && KindOf(err) != KindVerify {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A name that is not allowed, and a message of a later version, fail by themselves: the session goes on.
func TestRefusedMessageIsAnswered(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		p := h.raw()
		p.hello()
		for name, c := range map[string]struct {
			t    wire.Type
			body []byte
			want wire.Code
		}{
			"a path of ..": {wire.TStat, []byte{0xa2, 0x01, 0x60, 0x03, 0x81, 0x42, '.', '.'}, wire.CodeBadPath},
			"an odd key":   {wire.TStat, []byte{0xa3, 0x01, 0x60, 0x03, 0x80, 0x19, 0x01, 0x01, 0x00}, wire.CodeUnsupported},
			"a later type": {0x13, []byte{0xa0}, wire.CodeUnsupported},
		} {
			p.bare(c.t, 8, c.body...)
			if e, ok := p.read().(wire.Error); !ok || e.Code != c.want {
				t.Errorf("%s: %+v", name, e)
			}
		}
		p.send(10, wire.Stat{})
		if s, ok := p.read().(wire.Stated); !ok || s.Entry.Kind != wire.KindDir {
			t.Errorf("the session afterwards: %+v", s)
		}
	})
}

// What a server lists waits there until what was listed before is done: memory here is bounded whatever is listed there.
func TestListingWaitsForTheFiles(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		var parts, answers atomic.Int64
		var no uint64
		enc := tree.NewEncoder()
		part := func(send func(uint32, wire.Message), id uint32) {
			var b []byte
			first := no
			for range 4096 {
				r := tree.Record{Name: fmt.Sprintf("%010d", no), Kind: tree.File, Size: 5}
				if no == 0 {
					r = tree.Record{Kind: tree.Directory, NoMeta: true}
				}
				var err error
				if b, err = enc.Append(b, &r); err != nil {
					t.Error(err)
				}
				no++
			}
			send(id, wire.TreePart{First: first, Count: no - first, Records: b})
			parts.Add(1)
		}
		client := hostileServer(t, h, func(id uint32, m wire.Message, send func(uint32, wire.Message), _ io.Writer) {
			switch m.(type) {
			case wire.Stat:
				send(id, wire.Stated{Entry: wire.Entry{Name: "d", Kind: wire.KindDir}})
			case wire.TreeGet:
				send(id, wire.TreeOpen{Tree: wire.TransferID{1}})
			case wire.TreeOpened:
				for range 4 {
					part(send, id)
				}
			case wire.TreeVerdicts:
				answers.Add(1)
				part(send, id)
			} // no content ever comes
		})
		_, err := client.Get(t.Context(), []Address{addrOf("x")}, t.TempDir(), nil)
		if KindOf(err) != KindStalled {
			t.Error(err)
		}
		if n := answers.Load(); n > 20 {
			t.Errorf("%d parts were taken while not a file came", n)
		}
	})
}

// A transfer that was published, but whose receipt was lost, is not taken for done where the source is another by now, with the time of
// the old one or not.
func TestSourceReplacedBeforeTheReceipt(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, src string, was os.FileInfo){
		"its time is new": func(*testing.T, string, os.FileInfo) {},
		"its time is put back": func(t *testing.T, src string, was os.FileInfo) {
			if err := os.Chtimes(src, was.ModTime(), was.ModTime()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			overAll(t, func(t *testing.T, h *host) {
				src := filepath.Join(t.TempDir(), "f")
				mustWrite(t, src, []byte("the first one"), 0o644)
				was, err := os.Stat(src)
				if err != nil {
					t.Fatal(err)
				}
				h.onDial = func(n int64, c transport.Conn) transport.Conn {
					if n > 1 {
						return c
					}
					return &noReceipt{Conn: c, published: func() bool {
						_, err := os.Stat(h.path("f"))
						return err == nil
					}, then: func() {
						mustWrite(t, src, []byte("another one!!"), 0o644)
						change(t, src, was)
					}}
				}
				if res := h.mustSend(Options{}, "f", src); res.Retries == 0 {
					t.Error("the link was not lost")
				}
				mustEqualFile(t, h.path("f"), src)
			})
		})
	}
}

// noReceipt is a connection that is lost when the file is published: of what comes then nothing is read.
type noReceipt struct {
	transport.Conn
	published func() bool
	then      func()
}

func (c *noReceipt) OpenStream(ctx context.Context) (transport.Stream, error) {
	s, err := c.Conn.OpenStream(ctx)
	return &noReceiptStream{s, c}, err
}

type noReceiptStream struct {
	transport.Stream
	c *noReceipt
}

func (s *noReceiptStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if s.c.published() {
		s.c.then()
		_ = s.c.Conn.Close(1, "lost")
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// What belongs to a capability that we have not listed is refused, however well it is made.
func TestWhatWasNotAgreedIsRefused(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		zstd := append([]byte("\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00"), "hello"...)
		for name, try := range map[string]func(p *rawPeer) wire.Code{
			"compressed DATA": func(p *rawPeer) wire.Code {
				p.data(2, wire.DataFirst|wire.DataZstd, 0, 0, 256<<10, zstd, crypto.CV{})
				return p.mustEnd()
			},
			"DATA of zeros": func(p *rawPeer) wire.Code {
				p.data(2, wire.DataFirst|wire.DataLast|wire.DataZero, 0, 0, 256<<10, nil, crypto.CV{})
				return p.mustEnd()
			},
			"DATA beside an old version": func(p *rawPeer) wire.Code {
				p.data(2, wire.DataFirst|wire.DataOld, 0, 9, 256<<10, []byte("hello"), crypto.CV{})
				return p.mustEnd()
			},
			"HASHES of an old version": func(p *rawPeer) wire.Code {
				p.send(2, wire.Hashes{Count: 1, Old: true})
				return p.mustEnd()
			},
			"ZEROS": func(p *rawPeer) wire.Code {
				p.send(2, wire.Zeros{Chunks: wire.Ranges{{Start: 0, Count: 1}}})
				return p.mustEnd()
			},
			"OPEN with holes": func(p *rawPeer) wire.Code {
				o := openMessage(p.t, "y", 1<<20)
				o.Flags = wire.OpenSparse
				p.send(4, o)
				e, _ := p.read().(wire.Error)
				return e.Code
			},
		} {
			p := h.raw()
			p.hello()
			if o, ok := p.open(2, name, 1<<20).(wire.Opened); !ok || o.Old != 0 {
				t.Fatalf("%s: OPENED %+v", name, o)
			}
			if code := try(p); code != wire.CodeUnsupported {
				t.Errorf("%s: %v", name, code)
			}
		}
		h.mustServe()
	})
}
