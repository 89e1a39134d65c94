package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// endless is a stream of one byte for ever; it counts what was taken of it.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	clear(p)
	e.n += len(p)
	return len(p), nil
}

func TestReaderTakesWhatAppendFrameGives(t *testing.T) {
	var stream []byte
	for _, m := range samples(t) {
		stream = mustFrame(t, stream, m)
	}
	for name, src := range map[string]io.Reader{
		"whole":            bytes.NewReader(stream),
		"byte by byte":     iotest.OneByteReader(bytes.NewReader(stream)),
		"EOF with the end": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		r := NewReader(src, MaxControl)
		for _, want := range samples(t) {
			h, err := r.Next()
			if err != nil {
				t.Fatalf("%s: %v: %v", name, want.Type(), err)
			}
			got, err := r.Message(h)
			if err != nil || text(got) != text(want) {
				t.Fatalf("%s: got %s, %v, want %s", name, text(got), err, text(want))
			}
			if reflect.TypeOf(got) != reflect.TypeOf(want) {
				t.Fatalf("%s: got a %T, want a %T", name, got, want)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("%s: at the end %v, want io.EOF", name, err)
		}
	}
}

// A length above the limit is refused when the header is there: nothing more is read and nothing is allocated for it.
func TestReaderRefusesDeclaredLengthAtOnce(t *testing.T) {
	for _, c := range []struct {
		h   Header
		max int
	}{
		{Header{Type: TOpen, Length: 1<<32 - 1, ID: 2}, MaxControl},
		{Header{Type: TOpen, Length: MaxControl + 1, ID: 2}, MaxControl},
		{Header{Type: THello, Length: MaxControlPreAuth + 1}, MaxControlPreAuth},
		{Header{Type: 0x7f, Length: 1<<32 - 1, ID: 2}, MaxControl},
		{Header{Type: 0x7f, Length: MaxControlPreAuth + 1, ID: 2}, MaxControlPreAuth},
		{Header{Type: TData, Length: 1<<32 - 1, ID: 2}, MaxControl},
		{Header{Type: TData, Length: MaxDataFrame + 1, ID: 2}, MaxControl},
		{Header{Type: TPack, Length: 1<<32 - 1, ID: 2}, MaxControl},
		{Header{Type: TPack, Length: MaxPack + 1, ID: 2}, MaxControlPreAuth},
	} {
		src := &endless{}
		r := NewReader(io.MultiReader(bytes.NewReader(c.h.append(nil)), src), c.max)
		var err error
		if n := allocated(func() { _, err = r.Next() }); n > 12<<10 { // with room for what other goroutines allocate meanwhile
			t.Errorf("%+v: %d bytes allocated", c.h, n)
		}
		if got := outcome(t, err); got != "LIMIT" {
			t.Errorf("%+v: got %s (%v), want LIMIT", c.h, got, err)
		}
		if src.n != 0 {
			t.Errorf("%+v: %d bytes read behind the header", c.h, src.n)
		}
		if _, again := r.Next(); again != err {
			t.Errorf("%+v: then %v, want the same error", c.h, again)
		}
	}
}

// allocated returns the bytes that f allocates. Nothing else may run.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A body is paid for as it arrives: a peer that declares a megabyte and sends a little gets little.
func TestReaderAllocatesWhatArrives(t *testing.T) {
	head := Header{Type: TEntries, Length: MaxControl, ID: 2}.append(nil)
	for _, sent := range []int{0, 1, bodyStep, 3 * bodyStep} {
		r := NewReader(io.MultiReader(bytes.NewReader(head), io.LimitReader(&endless{}, int64(sent))), MaxControl)
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		n := allocated(func() { _, err = r.Message(h) })
		if err != io.ErrUnexpectedEOF {
			t.Errorf("%d bytes sent: %v, want unexpected EOF", sent, err)
		}
		if limit := uint64(4*sent + 2*bodyStep); n > limit {
			t.Errorf("%d bytes sent: %d allocated, want at most %d", sent, n, limit)
		}
	}
}

func TestReaderReadsWholeLargeBody(t *testing.T) {
	m := HashList{CVs: make([]Hash, MaxHashes)}
	for i := range m.CVs {
		m.CVs[i] = Hash{byte(i), byte(i >> 8)}
	}
	r := NewReader(iotest.HalfReader(bytes.NewReader(mustFrame(t, mustFrame(t, nil, m), Done{}))), MaxControl)
	h, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Message(h)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("not what was sent: %v", err)
	}
	if cap(r.body) > bodyKeep {
		t.Errorf("%d bytes kept after a large body", cap(r.body))
	}
	if h, err = r.Next(); err != nil || h.Type != TDone {
		t.Errorf("then %v, %v", h, err)
	}
}

func TestReaderReadsNoFurther(t *testing.T) {
	stream := append(mustFrame(t, nil, Join{}), "what follows"...)
	src := bytes.NewReader(stream)
	r := NewReader(src, MaxControlPreAuth)
	h, err := r.Next()
	if err == nil {
		_, err = r.Message(h)
	}
	if rest, _ := io.ReadAll(src); err != nil || string(rest) != "what follows" {
		t.Errorf("%v, left %q", err, rest)
	}
}

// What the caller does not take is skipped, an unknown type as well, and the stream goes on.
func TestReaderSkips(t *testing.T) {
	unknown := append(Header{Type: 0x3d, Flags: 7, Length: 100_000, ID: 8}.append(nil), make([]byte, 100_000)...)
	stream := append(mustFrame(t, nil, Bye{Reason: "skipped"}), unknown...)
	stream = append(stream, unknown...)
	stream = append(stream, dataFrame(3, Data{Flags: DataLast, RawLen: 2, Payload: []byte("xy")})...)
	stream = append(stream, packFrame(3, samplePack())...)
	stream = mustFrame(t, stream, Done{})
	r := NewReader(bytes.NewReader(stream), MaxControl)
	for i, want := range []Type{TBye, 0x3d, 0x3d, TData, TPack, TDone} {
		h, err := r.Next()
		if err != nil || h.Type != want {
			t.Fatalf("frame %d: %v, %v; want %v", i, h, err, want)
		}
		if i == 1 {
			if _, err := r.Message(h); outcome(t, err) != "UNSUPPORTED" {
				t.Fatalf("unknown type: %v", err)
			}
		}
	}
}

// Misuse gives errors and breaks nothing.
func TestReaderMisuse(t *testing.T) {
	frame := dataFrame(3, Data{Flags: DataLast, RawLen: 2, Payload: []byte("xy")})
	buf := make([]byte, MaxDataFrame)
	read := func() (*Reader, Header) {
		r := NewReader(bytes.NewReader(mustFrame(t, bytes.Clone(frame), Done{})), MaxControl)
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		return r, h
	}
	var p *ProtocolError

	r, h := read()
	if _, err := r.Message(h); err == nil || errors.As(err, &p) {
		t.Errorf("Message of DATA: %v", err)
	}
	r, h = read()
	if _, err := r.Data(h, buf[:10]); err == nil || errors.As(err, &p) {
		t.Errorf("Data with a short buffer: %v", err)
	}
	r, h = read()
	if _, err := r.Data(h, buf); err != nil {
		t.Error(err)
	}
	if _, err := r.Data(h, buf); err == nil {
		t.Error("Data twice: no error")
	}
	h, err := r.Next()
	if err != nil || h.Type != TDone {
		t.Fatalf("after misuse: %v, %v", h, err)
	}
	if _, err := r.Data(h, buf); err == nil || errors.As(err, &p) {
		t.Errorf("Data of DONE: %v", err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if _, err := r.Message(h); err == nil {
		t.Error("Message after the end: no error")
	}
}

func TestReaderMisuseOfPack(t *testing.T) {
	buf := make([]byte, MaxPack)
	var p *ProtocolError
	for name, f := range map[string]func(r *Reader, h Header) error{
		"Message of PACK":          func(r *Reader, h Header) error { _, err := r.Message(h); return err },
		"Data of PACK":             func(r *Reader, h Header) error { _, err := r.Data(h, buf); return err },
		"Pack with a short buffer": func(r *Reader, h Header) error { _, err := r.Pack(h, buf[:10]); return err },
		"Pack twice": func(r *Reader, h Header) error {
			if _, err := r.Pack(h, buf); err != nil {
				t.Error(err)
			}
			_, err := r.Pack(h, buf)
			return err
		},
		"Pack of DONE": func(r *Reader, _ Header) error {
			h, err := r.Next()
			if err != nil || h.Type != TDone {
				t.Errorf("%v, %v", h, err)
			}
			_, err = r.Pack(h, buf)
			return err
		},
	} {
		r := NewReader(bytes.NewReader(mustFrame(t, packFrame(3, samplePack()), Done{})), MaxControl)
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := f(r, h); err == nil || errors.As(err, &p) {
			t.Errorf("%s: %v", name, err)
		}
		for err == nil {
			_, err = r.Next()
		}
		if err != io.EOF {
			t.Errorf("%s: at the end %v", name, err)
		}
	}
}

func TestReaderKeepsErrorOfStream(t *testing.T) {
	broken := errors.New("broken")
	frame := mustFrame(t, nil, Bye{Reason: strings.Repeat("x", 100)})
	for _, n := range []int{0, 5, HeaderLen, 40} {
		r := NewReader(io.MultiReader(bytes.NewReader(frame[:n]), iotest.ErrReader(broken), bytes.NewReader(frame)), MaxControl)
		h, err := r.Next()
		if err == nil {
			_, err = r.Message(h)
		}
		if err != broken {
			t.Errorf("after %d bytes: %v", n, err)
		}
		if _, err := r.Next(); err != broken {
			t.Errorf("after %d bytes, then: %v", n, err)
		}
	}
}

// The limit holds from the next frame on, and cannot be set beyond MaxControl.
func TestReaderSetMaxControl(t *testing.T) {
	frame := mustFrame(t, nil, HashList{CVs: make([]Hash, 1000)})
	r := NewReader(bytes.NewReader(frame), MaxControlPreAuth)
	if _, err := r.Next(); outcome(t, err) != "LIMIT" {
		t.Errorf("32000 bytes before the peer is known: %v", err)
	}
	r = NewReader(bytes.NewReader(frame), MaxControlPreAuth)
	r.SetMaxControl(1 << 40)
	if _, err := r.Next(); err != nil {
		t.Error(err)
	}
	if r.maxControl != MaxControl {
		t.Errorf("limit %d, want %d", r.maxControl, MaxControl)
	}
	r.SetMaxControl(-1)
	if r.maxControl != 0 {
		t.Errorf("limit %d, want 0", r.maxControl)
	}
}

// loop gives the same bytes again and again.
type loop struct {
	b []byte
	i int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.i:])
	l.i = (l.i + n) % len(l.b)
	return n, nil
}

// A TREE_PART of the usual size is read into memory that was there; only its records are allocated.
func TestReaderKeepsRoomForParts(t *testing.T) {
	m := TreePart{Count: 1, Records: make([]byte, 64<<10)}
	r := NewReader(&loop{b: mustFrame(t, nil, m)}, MaxControl)
	read := func() {
		h, err := r.Next()
		if err == nil {
			_, err = r.Message(h)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	read()
	if n := allocated(read); n > 80<<10 {
		t.Errorf("%d bytes allocated for a part of %d", n, len(m.Records))
	}
}

func TestReaderPackAllocatesNothing(t *testing.T) {
	v := packValue{}
	for i := range 100 {
		v.Files = append(v.Files, PackFile{No: uint64(i + 1), Content: make([]byte, 1000)})
	}
	r := NewReader(&loop{b: packFrame(3, v)}, MaxControl)
	buf := make([]byte, MaxPack)
	n := testing.AllocsPerRun(20, func() {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.Pack(h, buf)
		files, ok := 0, true
		for ; err == nil && ok; files++ {
			_, ok, err = p.Next()
		}
		if err != nil || files != 101 {
			t.Fatal(files, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

// An error in the middle of a PACK stays, and the files before it are good.
func TestPackKeepsItsError(t *testing.T) {
	v := samplePack()
	body := packFrame(3, v)[HeaderLen:]
	body = body[:len(body)-1]
	p, err := DecodePack(0, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		f, ok, err := p.Next()
		if want := i < 2; ok != want || (err == nil) != want {
			t.Fatalf("file %d: %v, %v", i, ok, err)
		}
		if ok && text(f) != text(v.Files[i]) || !ok && !reflect.ValueOf(f).IsZero() {
			t.Errorf("file %d: %+v", i, f)
		}
	}
}

// A compressed piece and a compressed PACK are read and taken apart without allocating either.
func TestReaderCompressedAllocatesNothing(t *testing.T) {
	v := compressedPack()
	files, piece := packFrame(3, samplePack())[PackHeaderLen:], []byte("hello")
	stream := append(packFrame(3, v), dataFrame(3, Data{Flags: DataFirst | DataZstd, RawLen: 9, Payload: zstdOf(piece)})...)
	r := NewReader(&loop{b: stream}, MaxControl)
	buf := make([]byte, MaxPack)
	n := testing.AllocsPerRun(20, func() {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.Pack(h, buf)
		if err == nil {
			err = p.Expand(files)
		}
		for ok := true; ok && err == nil; {
			_, ok, err = p.Next()
		}
		if err != nil {
			t.Fatal(err)
		}
		if h, err = r.Next(); err != nil {
			t.Fatal(err)
		}
		d, err := r.Data(h, buf)
		if err == nil {
			d, err = d.Expanded(piece)
		}
		if err != nil || string(d.Payload) != "hello" {
			t.Fatal(d, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for two frames", n)
	}
}

func TestReaderDataAllocatesNothing(t *testing.T) {
	payload := bytes.Repeat([]byte("x"), MaxPayload)
	frame := dataFrame(3, Data{Flags: DataFirst | DataLast, RawLen: MaxPayload, Payload: payload})
	r := NewReader(&loop{b: frame}, MaxControl)
	buf := make([]byte, MaxDataFrame)
	var d Data
	n := testing.AllocsPerRun(20, func() {
		h, err := r.Next()
		if err == nil {
			d, err = r.Data(h, buf)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
	if !bytes.Equal(d.Payload, payload) || &d.Payload[0] != &buf[dataFixed] {
		t.Error("the payload is not in the buffer")
	}
	if cap(d.Payload) != len(d.Payload) {
		t.Error("appending to the payload would overwrite the CV")
	}
}
