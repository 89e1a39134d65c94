package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

const chunk18 = 1 << 18

// content makes size bytes from a seed.
func content(seed uint64, size int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i+8 <= size; i += 8 {
		v := r.Uint64()
		for k := range 8 {
			b[i+k] = byte(v >> (8 * k))
		}
	}
	return b
}

func digest(b []byte) crypto.Digest {
	h := crypto.NewHasher()
	h.Write(b)
	return h.Sum()
}

// chunkCV returns what a sender says of chunk i of b.
func chunkCV(b []byte, i int64, log2 uint8, unknown bool) (crypto.CV, []byte) {
	size := int64(1) << log2
	p := b[i*size : min((i+1)*size, int64(len(b)))]
	h := crypto.NewChunkHasher()
	h.Reset(uint64(i), log2)
	h.Write(p)
	if int64(len(b)) <= size && !unknown {
		return crypto.CV(h.Root()), p
	}
	return h.CV(), p
}

func mustPath(t testing.TB, parts ...string) Path {
	t.Helper()
	p, err := NewPath(parts...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func specOf(t testing.TB, b []byte, parts ...string) Spec {
	return Spec{
		Transfer:    [16]byte{1, 2, 3, byte(len(b))},
		Path:        mustPath(t, parts...),
		Size:        int64(len(b)),
		ChunkLog2:   18,
		Fingerprint: []byte(digest(b).String()[:40]),
		Meta:        Meta{Mode: 0o640, HasMode: true, MTime: time.Unix(1700000000, 123456789), HasMTime: true},
	}
}

func sign(p Published) ([]byte, error) {
	return []byte("receipt of " + p.Path.String() + " " + p.Root.String()), nil
}

func commitOf(b []byte) Commit {
	return Commit{Root: digest(b), Size: int64(len(b)), Sign: sign}
}

// put writes chunk i of b.
func put(s *Stage, b []byte, i int64) error {
	cv, p := chunkCV(b, i, s.spec.ChunkLog2, s.spec.Size < 0)
	w, err := s.Claim(i, 0)
	if err != nil {
		return err
	}
	for len(p) > 0 {
		n := min(len(p), 100_000)
		if err := w.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	_, err = w.Finish(cv)
	return err
}

// sendRest puts all that is missing and publishes.
func sendRest(s *Stage, b []byte) ([]byte, error) { return sendAll(s, b, commitOf(b)) }

func sendAll(s *Stage, b []byte, c Commit) ([]byte, error) {
	n := chunksOf(int64(len(b)), s.chunkSize)
	for i := range n {
		s.mu.Lock()
		held := s.held.has(i)
		s.mu.Unlock()
		if !held {
			if err := put(s, b, i); err != nil {
				return nil, err
			}
		}
	}
	return s.Publish(context.Background(), c)
}

func readAll(fsys durable.FS, name string) ([]byte, error) {
	f, err := durable.OpenRegular(fsys, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, fi.Size())
	_, err = io.ReadFull(f, b)
	return b, err
}

func openDir(t testing.TB, path string, o Options) *Dir {
	t.Helper()
	d, err := OpenDir(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func mustBegin(t testing.TB, v *View, sp Spec) (*Stage, Found) {
	t.Helper()
	s, f, err := v.Begin(context.Background(), sp)
	if err != nil {
		t.Fatal("begin:", err)
	}
	return s, f
}

func TestSendAndPublish(t *testing.T) {
	for _, size := range []int{0, 1, chunk18 - 1, chunk18, chunk18 + 1, 5*chunk18 + 77} {
		for _, unknown := range []bool{false, true} {
			t.Run(fmt.Sprint(size, unknown), func(t *testing.T) {
				dir := t.TempDir()
				d := openDir(t, dir, Options{KeepDoneLog: true})
				v := d.View("alice", All)
				b := content(1, size)
				sp := specOf(t, b, "a", "b", "file")
				if unknown {
					sp.Size = -1
				}
				s, f := mustBegin(t, v, sp)
				if f.State != StateNew || f.Epoch != 1 {
					t.Fatalf("found %+v", f)
				}
				r, err := sendRest(s, b)
				if err != nil {
					t.Fatal(err)
				}
				got, err := readAll(d.fs, "a/b/file")
				if err != nil || !bytes.Equal(got, b) {
					t.Fatal("content", err)
				}
				fi, _ := d.fs.Stat("a/b/file")
				if fi.Mode().Perm() != 0o640 || !fi.ModTime().Equal(sp.Meta.MTime) {
					t.Error("meta", fi.Mode(), fi.ModTime())
				}
				again, err := s.Publish(context.Background(), commitOf(b))
				if err != nil || !bytes.Equal(again, r) {
					t.Error("second commit", again, err)
				}
				s2, f, err := v.Begin(context.Background(), sp)
				if err != nil || s2 != nil || f.State != StateDone || !bytes.Equal(f.Receipt, r) {
					t.Errorf("replay: %+v %v", f, err)
				}
				if es, _ := d.fs.ReadDir(stagesDir); len(es) != 0 {
					t.Error("stages are left", es)
				}
			})
		}
	}
}

func TestResume(t *testing.T) {
	for _, same := range []bool{true, false} {
		t.Run(fmt.Sprint("same process ", same), func(t *testing.T) {
			dir := t.TempDir()
			d := openDir(t, dir, Options{})
			b := content(2, 6*chunk18+5)
			sp := specOf(t, b, "file")
			s, _ := mustBegin(t, d.View("alice", All), sp)
			for _, i := range []int64{0, 2, 3, 6} {
				if err := put(s, b, i); err != nil {
					t.Fatal(err)
				}
			}
			w, err := s.Claim(1, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Write(b[chunk18 : chunk18+1000]); err != nil {
				t.Fatal(err)
			}
			w.Park()
			if err := s.Park(); err != nil {
				t.Fatal(err)
			}
			if !same {
				d.Close()
				d = openDir(t, dir, Options{})
			}
			s, f := mustBegin(t, d.View("alice", All), sp)
			if f.State != StatePartial || f.Epoch != 2 || fmt.Sprint(f.Have) != "[{0 1} {2 2} {6 1}]" || fmt.Sprint(f.Parts) != "[{1 1000}]" {
				t.Fatalf("found %+v", f)
			}
			w, err = s.Claim(1, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Write(b[chunk18+1000 : 2*chunk18]); err != nil {
				t.Fatal(err)
			}
			cv, _ := chunkCV(b, 1, 18, false)
			if dup, err := w.Finish(cv); err != nil || dup {
				t.Fatal(dup, err)
			}
			if _, err := sendRest(s, b); err != nil {
				t.Fatal(err)
			}
			got, err := readAll(d.fs, "file")
			if err != nil || !bytes.Equal(got, b) {
				t.Fatal("content", err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = openDir(t, dir, Options{})
			if _, err := d.fs.Lstat(stateDir); !errors.Is(err, errNotExist) {
				t.Error(".xfer is left", err)
			}
		})
	}
}
