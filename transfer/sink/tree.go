package sink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"xfer/crypto"
)

// TreeCompare says when a file that is there is the one that would be sent.
type TreeCompare uint8

// The ways.
const (
	ByTime    TreeCompare = iota // size and time are equal
	ByContent                    // the content is: files of equal size are hashed here, and the sender compares
)

// TreeSpec is a directory to come.
type TreeSpec struct {
	ID         [16]byte
	Path       Path // the top directory at the target. It is made if it is missing
	Durability Durability
	Compare    TreeCompare
	// NoClobber: nothing is replaced. Rights with NoReplace imply it.
	NoClobber bool
	// As rsync has them: what is there is skipped; what is not there is; so is a file that is newer here.
	IgnoreExisting, Existing, Update bool
	// NoFollow: a symbolic link where a directory is to be is in the way (ErrNotDir), wherever it leads. Else one to a directory within
	// the root serves as that.
	NoFollow bool
	// DryRun: the verdicts are what they would be, and nothing is done.
	DryRun bool
	// Backup is the directory where what is replaced goes, under the name that it has beneath Path; the root: it does not.
	Backup Path
	// Extra is told every name at the target that the manifest does not have, a directory before what is in it, by Take and
	// Finish. It needs the right to list. nil: nobody looks for them.
	Extra func(p Path, kind Kind, size int64)
	// Published is told what became of an entry after its verdict: a file that was Put has its final name, a hard link
	// was made (err nil), or not. It may be called from several goroutines, and may call no method of the Tree but Drop.
	Published func(no uint64, err error)
	// Small is the size, in bytes, of the largest file that is Put. When nothing is awaited of files up to it, what has come is
	// published soon, not only when there is more of it. 0: when there is more, or after a second.
	Small int64
	// There is told each file that is there as the manifest says, with its hash: what was Put, was Decided to be the same, has
	// Arrived, and hard links; not what Came. The path is the one beneath Path, with slashes. It needs ByContent, and may be called
	// from several goroutines. nil: nobody wants to know.
	There func(path string, size int64, root crypto.Digest)
	// Busy is called about once a second while something takes long. It may be called from several goroutines. May be nil.
	Busy func()
}

// TreeEntry is one entry of a manifest. Entry 0 is the top directory, with an empty name. Names in a directory come in
// ascending order of their bytes, a directory right before what is in it.
type TreeEntry struct {
	No     uint64
	Up     int // directories that are left before it
	Name   string
	Kind   Kind  // File, Directory or Link
	Size   int64 // of a file, bytes
	NoMeta bool  // of a directory: Meta is not told
	Meta   Meta
	Target string // of a symbolic link
	Link   uint64 // of a file: the number of an earlier one that it is a hard link to; 0: none
	Sparse bool   // of a file: blocks of zeros become holes
	// Shared: a later entry may be a hard link to this file. Only then its name is remembered. A link to any other entry is a
	// file like those without links.
	Shared bool
	stands uint64 // the entry that it is in the place of, for links to that: a rule has left that one as it was
}

// VerdictCode is what becomes of an entry.
type VerdictCode uint8

// The codes.
const (
	VerdictSame   VerdictCode = 1 + iota // nothing to do
	VerdictNew                           // a file that is wanted: nothing is there
	VerdictUpdate                        // a file that is wanted: another is there
	VerdictMeta                          // the content is the same, its metadata is set (of a directory by Finish)
	VerdictMade                          // a directory or symbolic link: made
	VerdictLinked                        // a hard link: Finish makes it, and Published tells
	VerdictSkip                          // left out by a rule of the TreeSpec
	VerdictFailed                        // Verdict.Err
	VerdictHash                          // Verdict.Root is that of the file that is there: compare, and call Decide
)

// Verdict is the answer to an entry.
type Verdict struct {
	Code VerdictCode
	Root crypto.Digest // of VerdictHash
	Err  error         // of VerdictFailed
}

// TreeResult counts what became of the entries of a tree.
type TreeResult struct {
	Published, PublishedBytes uint64 // files that were Put, or dropped as published
	Same, SameBytes           uint64 // files, directories and links that were there; bytes of files
	Meta                      uint64 // those of which only the metadata was set
	Made                      uint64 // directories and symbolic links
	Linked                    uint64 // hard links
	Skipped                   uint64
	Failed                    uint64 // those too that were dropped
	Missing                   uint64 // files that were wanted and neither came nor were dropped
}

// treeLimits bounds a tree. They are fields of the Dir so that tests reach them.
type treeLimits struct {
	wanted      int           // entries that are wanted, and directories above them
	dirs        int           // open directories
	spool       int           // bytes of a list in memory
	groupFiles  int           // of a group
	openFiles   int           // of a group whose files stay open
	groupBytes  int64         // of a group
	groupEvery  time.Duration // after its first file
	groupQuiet  time.Duration // after its newest file, if no other is awaited
	young       time.Duration // of files that may not be durable
	leftBehind  time.Duration // after which a file ".xfer-tmp-..." is nobody's
	syncWorkers int
}

func defaultTreeLimits() treeLimits {
	return treeLimits{
		wanted: 1 << 16, dirs: 128, spool: 4 << 20,
		groupFiles: 1024, openFiles: 128, groupBytes: 32 << 20, groupEvery: time.Second, groupQuiet: 20 * time.Millisecond,
		young: time.Hour, leftBehind: time.Hour, syncWorkers: 16,
	}
}

// Tree is a directory that is being received. One goroutine calls Take and at the end Finish; all else may be called
// concurrently. Whoever got it ends it with Finish and Close, or with Close.
type Tree struct {
	d    *Dir
	v    *View
	spec TreeSpec
	ctx  context.Context // of BeginTree: the tree lives no longer
	max  treeLimits
	key  string // of owner and path

	blind      bool // the client may not learn what is there
	appendOnly bool // nothing that is there may be changed
	noReplace  bool // nothing that is there may be replaced
	backup     bool

	temp  treeTemp
	cache dirCache
	group committer

	// Of the goroutine that calls Take and Finish.
	levels   []*level
	top      *treeDir // nil until entry 0
	topSpot  spot
	pinned   bool // the top is, until the end
	last     uint64
	dirs     *spool
	links    *spool
	prefix   string // path of the directory that is the newest in dirs
	linkSeq  uint64 // of temporary names
	before   int64  // names that were listed
	settled  bool   // what came is durable, so that names may be removed
	finished bool   // Finish has come to its end

	mayGo  mayGo
	shared sharedFiles

	youngAfter int64        // the change time, in ns, after which something may not be durable
	changed    atomic.Bool  // something was written, so that there is something to sync
	beat       atomic.Int64 // when Busy was called last
	unkept     atomic.Uint32

	mu     sync.Mutex // guards what follows
	ended  error      // why nothing more is taken
	wanted map[uint64]*wanted
	small  int           // of wanted: small files that have not been Put
	live   int           // directories that somebody refers to
	attrs  int64         // bytes of the attributes of both
	free   chan struct{} // closed and made anew when there is more room
	waits  bool          // somebody waits for that
	result TreeResult
	broken error // nothing more can be done
	unseen error // not all extra names were told
	closed bool
}

// BeginTree begins to receive a directory. ctx ends it: when it is done, everything fails but Close.
//
// Put is needed, and RList with Extra. Errors: ErrDenied, ErrBadPath, ErrMoved. What is wrong at the target is told of
// entry 0. With rights that let the client see nothing of what is there (NoReplace without RStat and Get)
// IgnoreExisting and Update mean nothing, and Existing is ErrDenied.
func (v *View) BeginTree(ctx context.Context, spec TreeSpec) (*Tree, error) {
	if err := v.need("tree", Put); err != nil {
		return nil, err
	}
	if len(v.owner) > maxOwnerLen {
		return nil, fmt.Errorf("tree: %w: owner of %d bytes", ErrTooBig, len(v.owner))
	}
	t := &Tree{
		d: v.d, v: v, spec: spec, ctx: ctx, max: v.d.trees,
		key:        treeKey(v.owner, spec.Path),
		appendOnly: v.rights&NoReplace != 0,
		noReplace:  spec.NoClobber || v.rights&NoReplace != 0, // guard of I11
		blind:      v.rights&NoReplace != 0 && v.rights&(RStat|Get) == 0,
		wanted:     make(map[uint64]*wanted),
		free:       make(chan struct{}),
	}
	t.youngAfter = v.d.o.Now().Add(-t.max.young).UnixNano()
	t.backup = !spec.Backup.IsRoot() && !t.noReplace
	if spec.Extra != nil {
		if err := v.need("tree", RList); err != nil {
			return nil, err
		}
	}
	if t.blind {
		if spec.Existing {
			return nil, fmt.Errorf("tree: %w", ErrDenied)
		}
		t.spec.IgnoreExisting, t.spec.Update, t.spec.Compare = false, false, ByTime
	}
	t.cache.init(t)
	t.group.init(t)
	t.dirs, t.links = t.newSpool("dirs"), t.newSpool("links")
	t.mayGo = newMayGo()
	t.shared.init(t)
	t.beat.Store(time.Now().UnixNano())
	if !spec.DryRun {
		v.d.sweepTrees(t.key)
	}
	return t, nil
}

func treeKey(owner string, p Path) string {
	b := lengthPrefixed(nil, "xfer stage key v1", owner)
	return shortHash(lengthPrefixed(b, p.parts...))
}

// usable returns why nothing more is taken.
func (t *Tree) usable() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended != nil:
		return t.ended
	case t.broken != nil:
		return t.broken
	case t.ctx.Err() != nil:
		return context.Cause(t.ctx)
	}
	return nil
}

// fault notes an error after which nothing more can be done. It returns it.
func (t *Tree) fault(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil {
		t.broken = err
	}
	return err
}

func (t *Tree) end(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended == nil {
		t.ended = why
		close(t.free)
	}
}

// Result returns the counts so far.
func (t *Tree) Result() TreeResult {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.result
}

// Unkept returns what could not be kept so far of the metadata of any entry.
func (t *Tree) Unkept() Unkept { return Unkept(t.unkept.Load()) }

func (t *Tree) noteUnkept(u Unkept) {
	if u != 0 {
		t.unkept.Or(uint32(u))
	}
}

// count changes the counts.
func (t *Tree) count(f func(r *TreeResult)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.result)
}

// tell calls Published.
func (t *Tree) tell(no uint64, err error) {
	if t.spec.Published != nil {
		t.spec.Published(no, err)
	}
}

// busy calls Busy if that was not done for a second.
func (t *Tree) busy() {
	if t.spec.Busy == nil {
		return
	}
	now, last := time.Now().UnixNano(), t.beat.Load()
	if now-last >= int64(time.Second) && t.beat.CompareAndSwap(last, now) {
		t.spec.Busy()
	}
}

// Close ends the tree. What was Put is published first, unless Finish has done so; nothing else is done but to give
// directories back the mode that they had. After Finish there is nothing left to do. Not while Take or Finish runs.
func (t *Tree) Close() error {
	t.mu.Lock()
	closed := t.closed
	t.closed = true
	t.mu.Unlock()
	if closed {
		return nil
	}
	t.end(ErrClosed)
	t.group.stop()
	for len(t.levels) > 0 {
		t.leave()
	}
	var err error
	if !t.finished {
		err = t.restoreModes()
	}
	t.dropAll()
	if t.pinned {
		t.cache.unpin(t.top)
	}
	t.cache.close()
	return errors.Join(err, t.temp.close(t))
}

// dropAll forgets what was wanted and has not come.
func (t *Tree) dropAll() {
	t.mu.Lock()
	var left []uint64
	for no := range t.wanted {
		left = append(left, no)
	}
	t.mu.Unlock()
	for _, no := range left {
		if w := t.forget(no, nil); w != nil {
			t.count(func(r *TreeResult) { r.Missing++ })
		}
	}
}
