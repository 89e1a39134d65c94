package crypto

import (
	"os"
	"syscall"
	"testing"
	"unsafe"
)

// Nothing is read in front of or behind the input: a fault would end the program.
func TestLanesStayInBounds(t *testing.T) {
	if !haveLanes {
		t.Skip("this processor has no AVX-512")
	}
	page := os.Getpagesize()
	mem, err := syscall.Mmap(-1, 0, 2*page+max(page, blockSize), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Skip(err)
	}
	defer syscall.Munmap(mem)
	inside := mem[page : len(mem)-page]
	for _, guard := range [][]byte{mem[:page], mem[len(mem)-page:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	var out [lanes][32]byte
	for _, in := range [][]byte{inside, inside[len(inside)-blockSize:]} {
		chunkCVs(&out, (*[blockSize]byte)(in), 0)
	}
	const pairs = 2 * lanes * 32
	for _, in := range [][]byte{inside[:pairs], inside[len(inside)-pairs:]} {
		parentCVs(&out, (*[2 * lanes][32]byte)(unsafe.Pointer(&in[0])))
	}
}
