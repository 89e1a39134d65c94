package wire

import (
	"encoding/binary"
	"errors"
)

// PackFile is one file in a PACK.
type PackFile struct {
	No      uint64 // of the entry in the manifest, from 1
	Root    Hash   // BLAKE3 of Content; to be checked by who takes it
	Content []byte // aliases the body it was decoded from; may be empty
	// Meta is what the file had when it was read, where that differs from its record in the manifest: both or none of its
	// fields are said. Only then Content may have another length than the record says.
	Meta Meta
}

// PackZstd is a flag of a PACK frame (CapZstd), with the number of DataZstd: behind the number and the count comes one
// zstd frame with all else. The decoder knows it; that it is agreed is for its caller to check.
const PackZstd = DataZstd

const (
	packFixed  = 12        // number u64, count u32
	packEntry  = 8 + 1 + 4 // entry u64, flags u8, length u32
	packMeta   = 2 + 8     // mode u16, mtime i64
	packIsMeta = 0x01      // mode and mtime follow
	packLeast  = packEntry + cvLen
)

// PackHeaderLen is the size of all that stands before the first file of a PACK frame.
const PackHeaderLen = HeaderLen + packFixed

// PackSize returns how many bytes of a PACK a file of n bytes takes at most. The body of a PACK has MaxPack bytes at most,
// of which PackHeaderLen-HeaderLen are taken before.
func PackSize(n int) int { return packLeast + packMeta + n }

// AppendPackHeader appends room for the frame header and the fixed bytes of a PACK to b, which is empty: the frame begins
// with the array. PutPackHeader fills it in at the end. The files follow, or with PackZstd what they are compressed to.
func AppendPackHeader(b []byte) []byte { return append(b, make([]byte, PackHeaderLen)...) }

// PutPackHeader writes the header of the whole frame b, which AppendPackHeader began, for tree id; flags are 0 or PackZstd,
// number is that of the pack in its tree, count how many files it has. It checks nothing: the caller holds the rules of
// [DecodePack].
func PutPackHeader(b []byte, id uint32, flags uint8, number uint64, count int) {
	Header{Type: TPack, Flags: flags, Length: uint32(len(b) - HeaderLen), ID: id}.append(b[:0])
	binary.BigEndian.PutUint64(b[HeaderLen:], number)
	binary.BigEndian.PutUint32(b[HeaderLen+8:], uint32(count))
}

// AppendPackFile appends all of a file but its content, whose n bytes and root follow: the caller appends the content
// and then the 32 bytes of the root. m is left out where it is nil, else both of its fields are told.
func AppendPackFile(b []byte, no uint64, m *Meta, n int) []byte {
	b = binary.BigEndian.AppendUint64(b, no)
	flags := byte(0)
	if m != nil {
		flags = packIsMeta
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	if m != nil {
		b = binary.BigEndian.AppendUint16(b, uint16(m.Mode))
		b = binary.BigEndian.AppendUint64(b, uint64(m.MTimeNS))
	}
	return b
}

// Pack is the body of a PACK frame, to be taken apart with Next; where Compressed is not nil after Expand.
type Pack struct {
	Number uint64 // of the pack in its tree
	Count  int    // files in it, 1 to MaxPart
	zstd   []byte // what rest is made of
	rest   []byte
	done   int
}

// DecodePack begins with the body of a PACK frame, which Next's files alias. The rules: the number of the pack and those of
// its files are below MaxTreeEntries, no file is entry 0, it has 1 to MaxPart files and nothing behind them, and a mode has
// 12 bits. An error of Next comes when the files before have been returned; it is the same again then. With PackZstd the
// files are one zstd frame.
func DecodePack(flags uint8, body []byte) (Pack, error) {
	h := Header{Type: TPack, Flags: flags, Length: uint32(min(len(body), MaxPack+1)), ID: 1}
	if err := h.checkPack(); err != nil {
		return Pack{}, err
	}
	p := Pack{Number: binary.BigEndian.Uint64(body), rest: body[packFixed:]}
	n := binary.BigEndian.Uint32(body[8:])
	switch {
	case p.Number >= MaxTreeEntries:
		return Pack{}, errf(CodeLimit, "PACK %d, the limit is %d", p.Number, uint64(MaxTreeEntries))
	case n == 0:
		return Pack{}, errf(CodeProtocol, "PACK without files")
	case n > MaxPart:
		return Pack{}, errf(CodeLimit, "PACK of %d files, the limit is %d", n, MaxPart)
	}
	p.Count = int(n)
	if flags&PackZstd != 0 {
		p.zstd, p.rest = p.rest, nil
		if err := checkZstd(p.zstd, MaxPack-packFixed); err != nil {
			return Pack{}, err
		}
		return p, nil
	}
	if err := p.checkCount(p.rest); err != nil {
		return Pack{}, err
	}
	return p, nil
}

func (p *Pack) checkCount(files []byte) error {
	if p.Count > len(files)/packLeast {
		return errf(CodeProtocol, "PACK of %d files in %d bytes", p.Count, len(files))
	}
	return nil
}

// Compressed returns the zstd frame to be expanded for Expand; nil when there is none, or it was expanded.
func (p *Pack) Compressed() []byte { return p.zstd }

// Expand goes on with what the caller has expanded Compressed to; Next's files alias files. More than a PACK may have is
// CodeLimit, and p is then as before. For a p that is not compressed it is an error.
func (p *Pack) Expand(files []byte) error {
	if p.zstd == nil {
		return errors.New("wire: Expand called for a PACK that is not compressed")
	}
	if len(files) > MaxPack-packFixed {
		return errf(CodeLimit, "PACK with %d bytes of files, the limit is %d", len(files), MaxPack-packFixed)
	}
	if err := p.checkCount(files); err != nil {
		return err
	}
	p.zstd, p.rest = nil, files
	return nil
}

// Next returns the next file; ok is false when all Count have been returned. What is left of the body then, or is missing
// before, is an error; so is Next before Expand.
func (p *Pack) Next() (f PackFile, ok bool, err error) {
	if p.zstd != nil {
		return f, false, errors.New("wire: Next called for a PACK that is not expanded")
	}
	if p.done == p.Count {
		if len(p.rest) > 0 {
			return f, false, errf(CodeProtocol, "PACK with %d bytes behind its files", len(p.rest))
		}
		return f, false, nil
	}
	b := p.rest
	if len(b) < packLeast {
		return f, false, errf(CodeProtocol, "PACK ends within a file")
	}
	f.No = binary.BigEndian.Uint64(b)
	flags, n := b[8], uint64(binary.BigEndian.Uint32(b[9:]))
	b = b[packEntry:]
	switch {
	case flags&^packIsMeta != 0:
		return PackFile{}, false, errf(CodeProtocol, "PACK with a file with unknown flags %#02x", flags)
	case f.No >= MaxTreeEntries:
		return PackFile{}, false, errf(CodeLimit, "PACK with entry %d, the limit is %d", f.No, uint64(MaxTreeEntries))
	case f.No == 0:
		return PackFile{}, false, errf(CodeProtocol, "PACK with the top directory")
	}
	if flags&packIsMeta != 0 {
		mode := binary.BigEndian.Uint16(b) // a root has more bytes than that, so they are there
		if mode > maxMode {
			return PackFile{}, false, errf(CodeLimit, "PACK with mode %#o", mode)
		}
		f.Meta = Meta{HasMode: true, Mode: uint32(mode), HasMTime: true, MTimeNS: int64(binary.BigEndian.Uint64(b[2:]))}
		b = b[packMeta:]
	}
	if uint64(len(b)) < n+cvLen {
		return PackFile{}, false, errf(CodeProtocol, "PACK ends within a file")
	}
	f.Content = b[:n:n]
	copy(f.Root[:], b[n:])
	p.rest = b[n+cvLen:]
	p.done++
	return f, true, nil
}
