package crypto

import "golang.org/x/sys/cpu"

// haveLanes tells whether hashLanes may be called.
var haveLanes = cpu.X86.HasAVX512F

// hashLanes compresses blocks blocks of 64 bytes in each lane, one after the other, beginning with BLAKE3's initial chaining
// value. Lane i reads at in + i * stride and has the block counter counters[i] + counters[lanes+i] << 32. flags are
// those of all blocks; the first and the last have more. out may overlap what in points to.
//
//go:noescape
func hashLanes(out *[lanes][32]byte, in *byte, stride, blocks uintptr, counters *[2 * lanes]uint32, flags, first, last uint32)
