package sink

import (
	"io/fs"
	"sync"

	"xfer/transfer/durable"
)

// ownDirs remembers which principal made a directory here since we began: whoever may replace nothing may still give it the
// mode that it has at the source, once it is filled.
type ownDirs struct {
	mu   sync.Mutex
	made map[ownDir]string // by whom
}

// ownDir has the name as well: the number of a directory that is gone is soon another's.
type ownDir struct {
	name    string
	dev, no uint64
}

// maxOwnDirs bounds what is remembered. What is forgotten keeps the mode it was made with.
const maxOwnDirs = 1 << 16

func (o *ownDirs) add(fsys durable.FS, owner string, names []string) {
	for _, n := range names {
		fi, err := fsys.Lstat(n)
		if err != nil {
			continue
		}
		o.note(owner, n, fi)
	}
}

// note is add for the directory name, which is what fi says.
func (o *ownDirs) note(owner, name string, fi fs.FileInfo) {
	id, ok := durable.IDOf(fi)
	if !ok || !fi.IsDir() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.made == nil || len(o.made) >= maxOwnDirs {
		o.made = make(map[ownDir]string)
	}
	o.made[ownDir{name, id.Dev, id.Inode}] = owner
}

// has tells whether owner made the directory name, which is what fi says.
func (o *ownDirs) has(owner, name string, fi fs.FileInfo) bool {
	id, ok := durable.IDOf(fi)
	if !ok || !fi.IsDir() {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	who, ok := o.made[ownDir{name, id.Dev, id.Inode}]
	return ok && who == owner
}
