package wire

import (
	"fmt"
	"testing"
)

func benchMessages(b *testing.B) map[string]Message {
	ack := Ack{}
	for i := range uint64(32) {
		ack.Received = append(ack.Received, Range{Start: 1_000_000 + 3*i, Count: 2})
	}
	have := make(Ranges, MaxRanges)
	for i := range have {
		have[i] = Range{Start: uint64(2 * i), Count: 1}
	}
	list := Entries{}
	for i := range 1000 {
		list.Entries = append(list.Entries, Entry{Name: fmt.Sprintf("IMG_%05d.jpeg", i), Kind: KindFile, Size: 3 << 20, Mode: 0o644, MTimeNS: 1_700_000_000_000_000_000})
	}
	return map[string]Message{
		"ack-1":       Ack{Received: ack.Received[:1]},
		"ack-32":      ack,
		"opened-8192": Opened{State: StatePartial, Epoch: 2, Have: have},
		"open":        Open{Path: mustPath(b, "photos", "2024", "IMG_00001.jpeg"), Size: 3 << 20, ChunkLog2: 18, Alg: AlgBLAKE3, Fingerprint: make([]byte, 40)},
		"list-1000":   list,
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	for name, m := range benchMessages(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = AppendFrame(buf[:0], 2, m); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}

func BenchmarkReaderMessage(b *testing.B) {
	for name, m := range benchMessages(b) {
		b.Run(name, func(b *testing.B) {
			frame := mustFrame(b, nil, m)
			r := NewReader(&loop{b: frame}, MaxControl)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				h, err := r.Next()
				if err == nil {
					_, err = r.Message(h)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReaderData(b *testing.B) {
	for _, n := range []int{16 << 10, MaxPayload} {
		b.Run(fmt.Sprintf("%dKiB", n>>10), func(b *testing.B) {
			frame := dataFrame(3, Data{Flags: DataFirst | DataLast, RawLen: uint32(n), Payload: make([]byte, n)})
			r := NewReader(&loop{b: frame}, MaxControl)
			buf := make([]byte, MaxDataFrame)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				h, err := r.Next()
				if err == nil {
					_, err = r.Data(h, buf)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendDataHeader(b *testing.B) {
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = AppendDataHeader(buf[:0], 2, DataLast, 5, 0, MaxPayload, MaxPayload)
	}
}
