package tree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"sort"

	"xfer/transfer/durable"
)

// errManyNames is the error of a directory whose names do not fit: 4 GiB of them.
var errManyNames = errors.New("more names than can be held")

// blockBits is the logarithm of the bytes that names lie in together.
const blockBits = 18

// names are those of a directory. They cost their bytes and 6 more each, and growing copies only the numbers.
type names struct {
	blocks [][]byte // of 1<<blockBits bytes, the first may be smaller; each name behind its length in 2 bytes
	refs   []uint32 // where a name begins: block<<blockBits + offset
}

func (n *names) len() int { return len(n.refs) }

// get returns name i; it is valid until reset.
func (n *names) get(i int) []byte { return n.at(n.refs[i]) }

func (n *names) at(ref uint32) []byte {
	b := n.blocks[ref>>blockBits][ref&(1<<blockBits-1):]
	return b[2:][:binary.BigEndian.Uint16(b)]
}

// add is false where there is no room for another name.
func (n *names) add(name string) bool {
	const size = 1 << blockBits
	if len(name) > 1<<16-1 {
		return false
	}
	last := len(n.blocks) - 1
	if last < 0 || len(n.blocks[last])+2+len(name) > size {
		if last+1 == 1<<(32-blockBits) {
			return false
		}
		var block []byte
		if last++; last > 0 {
			block = make([]byte, 0, size)
		}
		n.blocks = append(n.blocks, block)
	}
	b := n.blocks[last]
	n.refs = append(n.refs, uint32(last)<<blockBits+uint32(len(b)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
	n.blocks[last] = append(b, name...)
	return true
}

func (n *names) sort() {
	slices.SortFunc(n.refs, func(a, b uint32) int { return bytes.Compare(n.at(a), n.at(b)) })
}

// from returns the number of the first name that is not before name.
func (n *names) from(name string) int {
	return sort.Search(len(n.refs), func(i int) bool { return string(n.get(i)) >= name })
}

// reset makes n empty. It keeps what a small directory needs.
func (n *names) reset() {
	const small = 64 << 10
	if len(n.blocks) > 0 && cap(n.blocks[0]) <= small {
		n.blocks = append(n.blocks[:0], n.blocks[0][:0])
	} else {
		n.blocks = nil
	}
	if cap(n.refs) > small/4 {
		n.refs = nil
	}
	n.refs = n.refs[:0]
}

// list puts the names in dir, sorted, into n: those before the error, if there is one.
func (n *names) list(dir durable.FS) error {
	d, err := dir.OpenFile(".", os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	err = n.read(d)
	n.sort()
	return err
}

// batch is how many names are read from a directory at a time.
const batch = 1024

func (n *names) read(d durable.File) error {
	more := func() ([]string, error) {
		entries, err := d.ReadDir(batch)
		list := make([]string, len(entries))
		for i, e := range entries {
			list[i] = e.Name()
		}
		return list, err
	}
	if d, ok := d.(interface{ Readdirnames(int) ([]string, error) }); ok { // it makes less garbage
		more = func() ([]string, error) { return d.Readdirnames(batch) }
	}
	for {
		list, err := more()
		for _, name := range list {
			if !n.add(name) {
				return errManyNames
			}
		}
		switch {
		case errors.Is(err, io.EOF), err == nil && len(list) == 0:
			return nil
		case err != nil:
			return err
		}
	}
}
