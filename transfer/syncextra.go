package transfer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"

	"xfer/transfer/durable"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// extras are what only the target of a Sync has, and what of the source decides whether that may go.
type extras struct {
	o       SyncOptions
	top     string // the source, for people
	list    []extraEntry
	total   int64           // entries beneath the destination, before
	entries int64           // of the source, beneath its top
	above   string          // where the file system of the source is mounted; "" where that is not known
	mounts  []string        // of the source, beneath its top
	devices []deviceAt      // of the directories that lead to the present entry
	stays   map[string]bool // paths of the source that are left alone at the target, with all beneath
	keeps   keeper
	deleted int64
	refused error // why nothing was deleted, where the rest arrived
	bytes   int64 // of list
	over    int64 // entries of the target that there was no room for in list

	mu     sync.Mutex
	inWay  []inTheWay // in the order of the walk
	second bool       // what was in the way has been removed
	plan   []Event    // of entries with something in their way
}

// maxExtras is how much is deleted in one run, in bytes of the list that is held.
const maxExtras = 512 << 20

// inTheWay is an entry of the source that cannot be stored, since something has its name: a directory where it is none, or something else
// where it is one.
type inTheWay struct {
	path string
	err  error
}

// extraEntry is a name that only the target has.
type extraEntry struct {
	path string // beneath the top, with slashes
	size int64
	dir  bool
}

// begin forgets what an earlier session told.
func (x *extras) begin() {
	x.list, x.total, x.entries, x.mounts, x.devices, x.refused, x.bytes, x.over, x.inWay, x.plan = nil, 0, 0, nil, nil, nil, 0, 0, nil, nil
	x.stays = map[string]bool{}
	if len(x.o.Backup) > 0 {
		x.stays[strings.Join(x.o.Backup, "/")] = true
	}
}

// stays notes an entry of the source that is nothing to send: what the target has by its name is left alone.
func (s *sender) stays(path string) {
	if s.extras != nil {
		s.extras.stays[path] = true
	}
}

// inBackup tells whether an entry of the source would go where what is replaced is kept.
func (x *extras) inBackup(path string) bool {
	return len(x.o.Backup) > 0 && path == strings.Join(x.o.Backup, "/")
}

// told takes what the receiver says of names that only it has.
func (x *extras) told(m wire.TreeExtra) {
	for _, e := range m.Entries {
		x.add(strings.Join(e.Path.Parts(), "/"), e.Size, e.Kind)
	}
	if m.Last {
		x.total = int64(min(m.Total, 1<<62))
	}
}

// add puts a name that may go at the end of the list, as long as there is room.
func (x *extras) add(path string, size uint64, kind wire.Kind) {
	x.bytes += int64(len(path)) + 64
	if x.bytes > maxExtras {
		x.over++
		return
	}
	x.list = append(x.list, extraEntry{path, int64(min(size, 1<<62)), kind == wire.KindDir})
}

// isInTheWay tells whether an entry failed since its name is that of a directory and it is none, or the other way round.
func isInTheWay(err error) bool {
	var pe *PeerError
	return errors.As(err, &pe) && (pe.Code == wire.CodeIsDir || pe.Code == wire.CodeNotDir)
}

// blocked notes that something has the name of an entry which could be stored if that were not there.
func (x *extras) blocked(o *Options, path string, err error) bool {
	if x == nil || !x.o.Delete || path == "" || !isInTheWay(err) || o.Existing || o.NoClobber {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.second {
		return false
	}
	if n := len(x.inWay); n == 0 || !beneath(path, x.inWay[n-1].path) {
		x.inWay = append(x.inWay, inTheWay{path, err})
	}
	return true
}

// plans keeps what is to be told in a dry run of an entry with something in its way, if that may go.
func (x *extras) plans(e Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.plan = append(x.plan, e)
}

// onceMore tells whether something was in the way and is gone, so that its place can be taken.
func (x *extras) onceMore(task *treeTask) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.inWay) == 0 || x.second || x.refused != nil {
		return false
	}
	x.second = true
	task.mu.Lock()
	defer task.mu.Unlock()
	task.redo, task.redone = map[string]bool{}, map[string]bool{}
	for _, w := range x.inWay {
		task.redo[w.path] = true
	}
	return true
}

// addInWay adds what is in the way to the list, with all that is beneath it.
func (s *sender) addInWay(ctx context.Context, cs *clientSession, task *treeTask) error {
	x := s.extras
	for _, w := range x.inWay {
		at := Address{Root: s.root, Path: append(slices.Clone(task.dst), strings.Split(w.path, "/")...)}
		st, err := cs.stat(ctx, at, false)
		if KindOf(err) == KindNotFound && isPeer(err) {
			continue // it is gone already
		}
		if err != nil {
			return err
		}
		e := st.entry
		x.add(w.path, e.Size, e.Kind)
		if e.Kind == wire.KindDir {
			if err := s.addBeneath(ctx, cs, at, w.path); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sender) addBeneath(ctx context.Context, cs *clientSession, at Address, path string) error {
	for after := []byte(nil); ; {
		page, err := cs.list(ctx, at, after)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			below := path + "/" + e.Name
			s.extras.total++
			s.extras.add(below, e.Size, e.Kind)
			if e.Kind == wire.KindDir {
				in := Address{Root: at.Root, Path: append(slices.Clone(at.Path), e.Name)}
				if err := s.addBeneath(ctx, cs, in, below); err != nil {
					return err
				}
			}
		}
		if after = page.Next; len(after) == 0 {
			return nil
		}
	}
}

// stillInWay tells of entries of which what is in the way stays.
func (s *sender) stillInWay(task *treeTask, all bool) {
	x := s.extras
	going := map[string]bool{}
	for _, e := range x.list {
		going[e.path] = true
	}
	stay := slices.DeleteFunc(slices.Clone(x.inWay), func(w inTheWay) bool { return going[w.path] && !all })
	for _, w := range stay {
		shown := task.shownPath(w.path)
		s.m.failed(fileError(w.err, shown))
	}
	x.inWay = slices.DeleteFunc(x.inWay, func(w inTheWay) bool { return !going[w.path] || all })
}

// keepSome takes out of the list what is to stay: what the rules leave out on both sides, what is no business of ours, and the
// directories above that.
func (x *extras) keepSome(s *sender, task *treeTask) error {
	if s.rules.OneFileSystem {
		for _, m := range x.mounts {
			x.stays[m] = true // what is beneath was not looked at
		}
	}
	keep := map[string]bool{}
	inBackup := int64(0)
	backup := strings.Join(x.o.Backup, "/")
	for _, e := range x.list {
		out, err := x.keeps.without(e.path, e.dir)
		if err != nil {
			return localError("read", task.shown, err)
		}
		if backup != "" && beneath(e.path, backup) {
			inBackup++
		}
		if !out && !isBeneath(e.path, x.stays) && !(backup != "" && beneath(backup, e.path)) {
			continue
		}
		for path := e.path; !keep[path]; path = path[:strings.LastIndexByte(path, '/')] {
			keep[path] = true
			if !strings.Contains(path, "/") {
				break
			}
		}
	}
	x.total -= inBackup
	if len(keep) > 0 {
		x.list = slices.DeleteFunc(x.list, func(e extraEntry) bool { return keep[e.path] })
	}
	return nil
}

// beneath tells whether path is top, or beneath it.
func beneath(path, top string) bool {
	rest, ok := strings.CutPrefix(path, top)
	return ok && (rest == "" || rest[0] == '/')
}

// keeper tells what the filter of a Sync leaves out of the target, whose directories may not be in the source.
type keeper struct {
	filter *tree.Filter  // nil: nothing
	top    *sendRoot     // nil: there is none, nor a .gitignore
	levels []keeperLevel // the top, and the directories that lead to the entry before
}

type keeperLevel struct {
	name string
	f    *tree.DirFilter // nil: it is left out, with all beneath
	dir  durable.FS      // in the source; nil where it has none
}

// without tells whether the filter leaves path out. Paths that follow each other in the order of a walk are cheapest.
func (k *keeper) without(path string, dir bool) (bool, error) {
	if k.filter == nil {
		return false, nil
	}
	if len(k.levels) == 0 {
		if err := k.begin(); err != nil {
			return false, err
		}
	}
	parts := strings.Split(path, "/")
	n := 1
	for n < len(k.levels) && n < len(parts) && k.levels[n].name == parts[n-1] {
		n++
	}
	k.leave(n)
	for _, name := range parts[n-1 : len(parts)-1] {
		if err := k.enter(name); err != nil {
			return false, err
		}
	}
	at := k.levels[len(k.levels)-1]
	return at.f == nil || !at.f.Keep(parts[len(parts)-1], dir), nil
}

func (k *keeper) begin() (err error) {
	var at keeperLevel
	open := nothingThere
	if k.top != nil {
		if at.dir, err = k.top.open(); err != nil {
			return err
		}
		open = tree.OpenIn(at.dir)
	}
	if at.f, err = k.filter.Root(open); err != nil {
		if at.dir != nil {
			at.dir.Close()
		}
		return err
	}
	k.levels = append(k.levels, at)
	return nil
}

// enter goes into a directory of the target.
func (k *keeper) enter(name string) (err error) {
	at := k.levels[len(k.levels)-1]
	below := keeperLevel{name: name}
	if at.f != nil && at.f.Keep(name, true) {
		open := nothingThere
		if at.dir != nil {
			if below.dir, err = at.dir.OpenRoot(name); err == nil {
				open = tree.OpenIn(below.dir)
			} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
				return err
			}
		}
		if below.f, err = at.f.Enter(name, open); err != nil {
			return err
		}
	}
	k.levels = append(k.levels, below)
	return nil
}

func (k *keeper) leave(n int) {
	for len(k.levels) > n {
		last := k.levels[len(k.levels)-1]
		if last.dir != nil {
			last.dir.Close()
		}
		k.levels = k.levels[:len(k.levels)-1]
	}
}

func (k *keeper) close() { k.leave(0) }

func nothingThere(name string) (io.ReadCloser, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
