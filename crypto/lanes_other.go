//go:build !amd64

package crypto

// haveLanes tells whether hashLanes may be called: not here.
var haveLanes = false

func hashLanes(*[lanes][32]byte, *byte, uintptr, uintptr, *[2 * lanes]uint32, uint32, uint32, uint32) {
	panic("crypto: no lanes")
}
