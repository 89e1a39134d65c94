package sink

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// Options of a Dir; the zero value is good.
type Options struct {
	GroupBytes   int64            // whoever calls Checkpoint does so at the latest after so many bytes, 64 MiB
	GroupEvery   time.Duration    // ... or so long, 2 s
	StageMaxAge  time.Duration    // unfinished stages without progress go after this, 14 days
	Path         string           // where the directory must be found whenever it is used, else ErrMoved; "" = wherever it goes
	KeepDoneLog  bool             // a served root keeps done.log (receipts are replayed); a get does not
	KeepVersions int              // of one path, for IfExists Version, 10
	Now          func() time.Time // time.Now; for receipts, names of versions and ages
}

func (o Options) withDefaults() Options {
	if o.GroupBytes <= 0 {
		o.GroupBytes = 64 << 20
	}
	if o.GroupEvery <= 0 {
		o.GroupEvery = 2 * time.Second
	}
	if o.StageMaxAge <= 0 {
		o.StageMaxAge = 14 * 24 * time.Hour
	}
	if o.KeepVersions <= 0 {
		o.KeepVersions = 10
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Names of our state beneath the root: FORMAT.md, "Layout".
const (
	stateDir    = ".xfer"
	stagesDir   = stateDir + "/stage"
	versionsDir = stateDir + "/versions"
	awayDir     = stateDir + "/away"
	tempDir     = stateDir + "/tmp"
	treesDir    = stateDir + "/tree"
)

// Dir is a directory that receives and serves files: a root. Safe for concurrent use.
type Dir struct {
	fs      durable.FS
	o       Options
	process [16]byte   // random: tells our EPOCH records from those of other processes
	root    durable.ID // of the root directory; zero where the system has none

	// ns is held for reading from the resolving of a peer's path until the use of the name that was found, and
	// for writing by what may turn a name into a symbolic link. Nothing is synced under it.
	ns sync.RWMutex

	trees  treeLimits
	own    ownDirs
	owners durable.Owners
	self   actor
	syncs  group // of directories, by name
	done   doneLog
	pool   sync.Pool // *crypto.ChunkHasher

	mu     sync.Mutex // guards what follows
	closed bool
	keys   map[string]*stageKey // by key, those in use
	notes  map[string]parkNote  // by directory of the stage
	lost   map[string]bool      // directories of stages whose failed sync could not be noted in them
	synced map[string]ancestor  // whose entry is durable in the directory above
	away   map[string]bool      // directories that turned out not to take a rename from our stages
}

// stageKey is one (owner, path) in use: who has sem may open, end or replace its Stage.
type stageKey struct {
	sem   chan struct{}
	refs  int
	stage *Stage // live; nil when parked. Guarded by Dir.mu
}

// OpenDir is Open over the directory path of the operating system.
func OpenDir(path string, o Options) (*Dir, error) {
	fsys, err := durable.OpenOS(path)
	if err != nil {
		return nil, err
	}
	d, err := Open(fsys, o)
	if err != nil {
		fsys.Close()
	}
	return d, err
}

// Open returns a Dir over fsys, which Close closes. Nothing is made on the disk before it is needed.
func Open(fsys durable.FS, o Options) (*Dir, error) {
	fi, err := fsys.Stat(".")
	if err != nil {
		return nil, err
	}
	d := &Dir{
		fs:     fsys,
		o:      o.withDefaults(),
		keys:   make(map[string]*stageKey),
		notes:  make(map[string]parkNote),
		lost:   make(map[string]bool),
		synced: make(map[string]ancestor),
		away:   make(map[string]bool),
		self:   thisProcess(),
		trees:  defaultTreeLimits(),
	}
	d.root, _ = durable.IDOf(fi)
	rand.Read(d.process[:])
	d.done.init(d)
	d.pool.New = func() any { return crypto.NewChunkHasher() }
	return d, nil
}

// View returns what the principal owner sees with rights r. owner is part of the key of its stages: at most
// 1024 bytes.
func (d *Dir) View(owner string, r Rights) *View { return &View{d: d, owner: owner, rights: r} }

// Here returns ErrMoved where the directory is no longer at Options.Path: it was removed or renamed, or a file system was mounted
// over it. What would be stored then is nowhere that anybody looks.
func (d *Dir) Here() error {
	if d.o.Path == "" || d.root == (durable.ID{}) {
		return nil
	}
	fi, err := os.Stat(d.o.Path)
	if err == nil {
		if id, ok := durable.IDOf(fi); ok && id.Dev == d.root.Dev && id.Inode == d.root.Inode {
			return nil
		}
		err = errors.New("another directory is there")
	}
	return fmt.Errorf("%s: %w: %v", d.o.Path, ErrMoved, err)
}

// Options returns the options with defaults filled in.
func (d *Dir) Options() Options { return d.o }

// Space returns what may still be written, and the size of the file system, in bytes.
func (d *Dir) Space() (free, total int64, err error) { return d.fs.Space() }

// Close parks the live stages, removes ".xfer" when nothing is left in it, and closes the FS. The first error is
// returned; the Dir is closed in any case.
func (d *Dir) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	var keys []string
	for name := range d.keys {
		keys = append(keys, name)
	}
	d.mu.Unlock()

	var errs []error
	for _, name := range keys {
		k, err := d.acquire(context.Background(), name, nil)
		if err != nil {
			return err
		}
		if s := d.liveStage(k); s != nil {
			errs = append(errs, s.end(ErrClosed))
		}
		d.release(name, k)
	}
	errs = append(errs, d.done.close())
	for _, name := range []string{tempDir, treesDir, awayDir, versionsDir, stagesDir} {
		_ = d.fs.Remove(name) // fails while something is in it
	}
	// The root may have got the time of a source: that our own directory goes is no change of it.
	fi, err := d.fs.Stat(".")
	if d.fs.Remove(stateDir) == nil && err == nil {
		_ = d.fs.SetTimes(".", fi.ModTime())
	}
	errs = append(errs, d.fs.Close())
	return errors.Join(errs...)
}

// acquire waits until nobody else opens or ends a Stage of key. busy, if not nil, is called each second.
func (d *Dir) acquire(ctx context.Context, key string, busy func()) (*stageKey, error) {
	d.mu.Lock()
	k := d.keys[key]
	if k == nil {
		k = &stageKey{sem: make(chan struct{}, 1)}
		d.keys[key] = k
	}
	k.refs++
	d.mu.Unlock()
	err := waiting(busy, func(tick <-chan time.Time) (bool, error) {
		select {
		case k.sem <- struct{}{}:
			return true, nil
		case <-ctx.Done():
			return true, context.Cause(ctx)
		case <-tick:
			return false, nil
		}
	})
	if err != nil {
		d.mu.Lock()
		d.dropRef(key, k)
		d.mu.Unlock()
		return nil, err
	}
	return k, nil
}

// waiting calls step until it says that it is done, and busy after each tick of a second.
func waiting(busy func(), step func(tick <-chan time.Time) (done bool, err error)) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		done, err := step(t.C)
		if done {
			return err
		}
		if busy != nil {
			busy()
		}
	}
}

func (d *Dir) release(key string, k *stageKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	<-k.sem
	d.dropRef(key, k)
}

// dropRef is called with d.mu held.
func (d *Dir) dropRef(key string, k *stageKey) {
	if k.refs--; k.refs == 0 && k.stage == nil {
		delete(d.keys, key)
	}
}

// liveStage returns the Stage of k, nil for none. A Stage may end by itself at any time; none begins while the caller
// holds k.
func (d *Dir) liveStage(k *stageKey) *Stage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return k.stage
}

// forget is called by a Stage that has ended.
func (d *Dir) forget(s *Stage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.keys[s.id.key]
	if k != nil && k.stage == s {
		k.stage = nil
		if k.refs == 0 {
			delete(d.keys, s.id.key)
		}
	}
}

// ensureDir makes directory name of our state if it is missing. Anything else of that name is removed, but for
// ".xfer" itself, which may belong to somebody.
func (d *Dir) ensureDir(name string) error {
	err := d.fs.Mkdir(name, 0o700)
	if err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	fi, err := d.fs.Lstat(name)
	if err != nil {
		return err
	}
	if fi.IsDir() {
		return nil
	}
	if name == stateDir {
		return fmt.Errorf("%q is in the way: %w", name, ErrNotDir)
	}
	if err := d.fs.Remove(name); err != nil {
		return err
	}
	return d.fs.Mkdir(name, 0o700)
}

// ensureDirs makes the directories names, of which each is above the next. Another process may remove empty ones
// meanwhile.
func (d *Dir) ensureDirs(names ...string) error {
	var err error
	for range 10 {
		err = nil
		for _, n := range names {
			if err = d.ensureDir(n); err != nil {
				break
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// syncDir makes the entries of directory name durable, together with whoever wants the same at this time.
func (d *Dir) syncDir(name string) error {
	return syncError("directory", d.syncs.do(name, func() error { return d.fs.SyncDir(name) }))
}

const maxSynced = 1 << 16

// syncAbove makes the entries of dirs durable in the directories above them, unless this process has done so and
// nothing has changed in the directory above since.
func (d *Dir) syncAbove(dirs []ancestor) error {
	for _, a := range dirs {
		now := ancestor{name: a.name, id: durable.ID{Dev: a.id.Dev, Inode: a.id.Inode}, known: a.known, above: a.above}
		d.mu.Lock()
		ok := d.synced[a.name] == now && a.known
		d.mu.Unlock()
		if ok {
			continue
		}
		if err := d.syncDir(durable.Dir(a.name)); err != nil {
			return err
		}
		d.mu.Lock()
		if len(d.synced) >= maxSynced {
			clear(d.synced)
		}
		d.synced[a.name] = now
		d.mu.Unlock()
	}
	return nil
}

// stateAncestors are directories of our state, for syncAbove.
func (d *Dir) stateAncestors(names ...string) ([]ancestor, error) {
	var as []ancestor
	for _, n := range names {
		above, err := d.fs.Stat(durable.Dir(n))
		if err != nil {
			return nil, err
		}
		fi, err := d.fs.Lstat(n)
		if err != nil {
			return nil, err
		}
		up, _ := durable.IDOf(above)
		id, ok := durable.IDOf(fi)
		as = append(as, ancestor{name: n, id: id, known: ok, above: up.CTime})
	}
	return as, nil
}

// View is a Dir with rights: what one principal sees. Safe for concurrent use.
type View struct {
	d      *Dir
	owner  string
	rights Rights
}

// Rights returns what the principal may do.
func (v *View) Rights() Rights { return v.rights }

// Owner returns the principal's name.
func (v *View) Owner() string { return v.owner }

// Space returns what may still be written, and the size of the file system, in bytes.
func (v *View) Space() (free, total int64, err error) { return v.d.Space() }

// Dir returns the directory beneath v.
func (v *View) Dir() *Dir { return v.d }
