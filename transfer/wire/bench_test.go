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
	verdicts, mixed := TreeVerdicts{Runs: []Verdicts{{Code: 1, Count: 1000}}}, TreeVerdicts{}
	for i := range uint64(1000) {
		code := uint64(VerdictSame)
		if i%2 == 1 {
			code = uint64(VerdictHash)
			mixed.Hashes = append(mixed.Hashes, make([]byte, cvLen)...)
		}
		mixed.Runs = append(mixed.Runs, Verdicts{Code: code, Count: 1})
	}
	return map[string]Message{
		"part-64KiB":     TreePart{Count: 2000, Records: make([]byte, 64<<10)},
		"verdicts-new":   verdicts,
		"verdicts-mixed": mixed,
		"tree-ack":       TreeAck{Packs: ack.Received[:1], Published: ack.Received},
		"ack-1":          Ack{Received: ack.Received[:1]},
		"ack-32":         ack,
		"opened-8192":    Opened{State: StatePartial, Epoch: 2, Have: have},
		"open":           Open{Path: mustPath(b, "photos", "2024", "IMG_00001.jpeg"), Size: 3 << 20, ChunkLog2: 18, Alg: AlgBLAKE3, Fingerprint: make([]byte, 40)},
		"list-1000":      list,
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

// BenchmarkExpanded is what a compressed piece costs here, besides being expanded.
func BenchmarkExpanded(b *testing.B) {
	raw := make([]byte, MaxPayload-100) // with its blocks it still is a payload
	frame := dataFrame(3, Data{Flags: dataFlags &^ DataZero, RawLen: uint32(len(raw)), Payload: zstdOf(raw)})
	r := NewReader(&loop{b: frame}, MaxControl)
	buf := make([]byte, MaxDataFrame)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		h, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		d, err := r.Data(h, buf)
		if err == nil {
			_, err = d.Expanded(raw)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// benchPack is a PACK of 256 KiB of files of size bytes.
func benchPack(size int) []byte {
	v := packValue{}
	for i := range (256 << 10) / PackSize(size) {
		v.Files = append(v.Files, PackFile{No: uint64(i + 1), Content: make([]byte, size)})
	}
	return packFrame(3, v)
}

func BenchmarkReaderPack(b *testing.B) {
	for _, size := range []int{100, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("files-of-%d", size), func(b *testing.B) {
			frame := benchPack(size)
			r := NewReader(&loop{b: frame}, MaxControl)
			buf := make([]byte, MaxPack)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				h, err := r.Next()
				if err != nil {
					b.Fatal(err)
				}
				p, err := r.Pack(h, buf)
				for ok := true; ok && err == nil; {
					_, ok, err = p.Next()
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendPackFile(b *testing.B) {
	content, root := make([]byte, 4<<10), make([]byte, cvLen)
	buf := AppendPackHeader(make([]byte, 0, MaxPack))
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		if len(buf)+PackSize(len(content)) > 256<<10 {
			buf = AppendPackHeader(buf[:0])
		}
		buf = AppendPackFile(buf, 5, nil, len(content))
		buf = append(append(buf, content...), root...)
	}
}

func BenchmarkAppendDataHeader(b *testing.B) {
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = AppendDataHeader(buf[:0], 2, DataLast, 5, 0, MaxPayload, MaxPayload)
	}
}
