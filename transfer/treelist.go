package transfer

import (
	"context"
	"errors"
	"sync"

	"xfer/crypto"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// treeList is what is known of the files of one attempt at a tree: what there will be a receipt for. Safe for concurrent use;
// a nil one keeps nothing.
type treeList struct {
	mu     sync.Mutex
	files  []ListedFile
	came   int // of files, at its beginning: those that were sent
	roots  map[uint64]ListedFile
	linked []linkedFile
	lost   map[string]bool // of linked
}

// linkedFile is a hard link to an earlier entry.
type linkedFile struct {
	path string
	to   uint64
	// empty: it has no content
	empty bool
}

// settled notes an entry that is there.
func (l *treeList) settled(e *treeEntry, code wire.VerdictCode) {
	if l == nil || e.kind != tree.File {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch code {
	case wire.VerdictUpdate, wire.VerdictSame, wire.VerdictMeta, wire.VerdictMade:
	default:
		return
	}
	if e.linked != 0 && !e.asked {
		l.linked = append(l.linked, linkedFile{e.at, e.linked, e.size() == 0})
		return
	}
	f := ListedFile{Root: e.root, Size: e.length, Path: e.at}
	if e.shared {
		l.roots[e.no] = f
	}
	if _, known := l.roots[e.linked]; e.linked != 0 && !known { // it stands for one that a rule has left as it was
		l.roots[e.linked] = f
	}
	l.add(f, code == wire.VerdictUpdate)
}

// add adds a file. l.mu is held.
func (l *treeList) add(f ListedFile, came bool) {
	l.files = append(l.files, f)
	if came {
		n := len(l.files) - 1
		l.files[n], l.files[l.came] = l.files[l.came], l.files[n]
		l.came++
	}
}

// there notes a file of a tree that we receive.
func (l *treeList) there(f ListedFile, came bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(f, came)
}

// failed notes an entry that is not there after all.
func (l *treeList) failed(path string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost == nil {
		l.lost = map[string]bool{}
	}
	l.lost[path] = true
}

// sent returns the files that were sent.
func (l *treeList) sent() []ListedFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.files[:l.came:l.came]
}

// all returns all files that are there.
func (l *treeList) all() ([]ListedFile, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, link := range l.linked {
		if l.lost[link.path] {
			continue
		}
		f, ok := l.roots[link.to]
		if !ok && link.empty { // it was there as a file of its own
			f, ok = ListedFile{Root: crypto.Sum(nil)}, true
		}
		if !ok {
			return nil, &Error{Op: "check the receipt", Path: link.path, Kind: KindVerify, Err: errors.New("it is a hard link to what was not sent")}
		}
		f.Path = link.path
		l.files = append(l.files, f)
	}
	l.linked = nil
	return l.files, nil
}

// verifying is how many files are read again at a time.
const verifying = 16

// eachFile calls f for each of the files, several at a time, until the first error.
func eachFile(ctx context.Context, files []ListedFile, f func(context.Context, ListedFile) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan ListedFile)
	var wg sync.WaitGroup
	for range min(verifying, len(files)) {
		wg.Go(func() {
			for file := range next {
				if err := f(ctx, file); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, file := range files {
		select {
		case next <- file:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}
