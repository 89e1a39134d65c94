package wire

import "encoding/binary"

// The form of a zstd frame (RFC 8878, 3.1.1).
const (
	zstdMagic = 0xfd2fb528
	// zstdLeast is what stands before the content of the first block: magic, descriptor, window or size, block header.
	zstdLeast = 4 + 1 + 1 + 3

	zstdSingle   = 1 << 5 // of the descriptor: no window, but the size of the content
	zstdReserved = 1 << 3
	zstdChecksum = 1 << 2
	zstdDict     = 3 << 0

	zstdMaxBlock = 128 << 10
)

// checkZstd checks that b is one zstd frame without the field of a dictionary and nothing else, which does not say that it expands to
// nothing, to more than most bytes, or with a window above MaxZstdWindow. So that what expands b has no second frame, no
// skippable one and no size that comes from outside to think of; whether b expands at all, and to how much, only that knows.
func checkZstd(b []byte, most int) error {
	if len(b) < zstdLeast || binary.LittleEndian.Uint32(b) != zstdMagic {
		return errf(CodeProtocol, "no zstd frame")
	}
	descriptor := b[4]
	if descriptor&(zstdReserved|zstdDict) != 0 {
		return errf(CodeProtocol, "a zstd frame with a dictionary, or a reserved bit: descriptor %#02x", descriptor)
	}
	b = b[5:]
	sizeLen := [4]int{0, 2, 4, 8}[descriptor>>6]
	if descriptor&zstdSingle != 0 {
		sizeLen = max(sizeLen, 1)
	} else {
		if window := zstdWindow(b[0]); window > MaxZstdWindow {
			return errf(CodeLimit, "a zstd frame with a window of %d bytes, the limit is %d", window, MaxZstdWindow)
		}
		b = b[1:]
	}
	if len(b) < sizeLen {
		return errf(CodeProtocol, "a zstd frame that ends within its header")
	}
	if sizeLen > 0 {
		size := zstdSize(b[:sizeLen])
		if size == 0 {
			return errf(CodeProtocol, "a zstd frame of nothing")
		}
		if size > uint64(most) {
			return errf(CodeLimit, "a zstd frame of %d bytes, the limit is %d", size, most)
		}
	}
	rest, err := skipZstdBlocks(b[sizeLen:])
	if err != nil {
		return err
	}
	want := 0
	if descriptor&zstdChecksum != 0 {
		want = 4
	}
	if len(rest) != want {
		return errf(CodeProtocol, "%d bytes behind the blocks of a zstd frame, want %d", len(rest), want)
	}
	return nil
}

// zstdWindow is the size that a window descriptor stands for.
func zstdWindow(d byte) uint64 {
	base := uint64(1) << (10 + d>>3)
	return base + base/8*uint64(d&7)
}

// zstdSize reads a Frame_Content_Size of 1, 2, 4 or 8 bytes.
func zstdSize(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b)) + 256
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// skipZstdBlocks returns what follows the last block.
func skipZstdBlocks(b []byte) ([]byte, error) {
	for {
		if len(b) < 3 {
			return nil, errf(CodeProtocol, "a zstd frame that ends before its last block")
		}
		h := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		last, size := h&1 != 0, int(h>>3)
		if size > zstdMaxBlock {
			return nil, errf(CodeProtocol, "a zstd block of %d bytes, at most %d", size, zstdMaxBlock)
		}
		switch h >> 1 & 3 {
		case 1: // one byte, so many times
			size = 1
		case 3:
			return nil, errf(CodeProtocol, "a zstd block of a reserved type")
		}
		if b = b[3:]; len(b) < size {
			return nil, errf(CodeProtocol, "a zstd frame that ends within a block")
		}
		if b = b[size:]; last {
			return b, nil
		}
	}
}
