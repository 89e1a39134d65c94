package sink

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"xfer/transfer/durable"
)

// dirRecord is what is left to be done to a directory at the end. The list has them in the order in which they were left: what
// is beneath a directory comes before it.
type dirRecord struct {
	path     string // beneath the top, "" for the top
	no       uint64
	dev, ino uint64 // 0: not known
	mode     fs.FileMode
	meta     Meta
	loosened bool
	away     bool
}

const (
	recHasMode = 1 << iota
	recHasMTime
	recLoosened
	recAway
	recArchive // what View.allow has found out
	recHasOwner
	recHasXAttrs
)

// record notes that something is left to be done to d.
func (t *Tree) record(d *treeDir) {
	path := strings.Join(d.parts(), "/")
	shared := 0
	for shared < len(path) && shared < len(t.prefix) && path[shared] == t.prefix[shared] {
		shared++
	}
	t.prefix = path
	flags := byte(0)
	m := d.meta
	if d.hasMeta && m.HasMode {
		flags |= recHasMode
	}
	if d.hasMeta && m.HasMTime {
		flags |= recHasMTime
	}
	if d.loosened || d.asked {
		flags |= recLoosened
	}
	if t.cache.isAway(d) {
		flags |= recAway
	}
	if d.hasMeta && m.eff != nil {
		flags |= recArchive
		if m.HasOwner {
			flags |= recHasOwner
		}
		if m.HasXAttrs {
			flags |= recHasXAttrs
		}
	}
	b := binary.AppendUvarint(nil, uint64(shared))
	b = binary.AppendUvarint(b, uint64(len(path)-shared))
	b = append(b, path[shared:]...)
	b = append(b, flags)
	b = binary.AppendUvarint(b, d.no)
	b = binary.AppendUvarint(b, d.id.id.Dev)
	b = binary.AppendUvarint(b, d.id.id.Inode)
	b = binary.AppendUvarint(b, uint64(d.mode))
	if flags&recHasMode != 0 {
		b = binary.AppendUvarint(b, uint64(m.Mode))
	}
	if flags&recHasMTime != 0 {
		b = binary.AppendVarint(b, m.MTime.Unix())
		b = binary.AppendUvarint(b, uint64(m.MTime.Nanosecond()))
	}
	if flags&recArchive != 0 {
		b = m.eff.appendTo(b)
	}
	if _, err := t.dirs.append(b); err != nil {
		t.fault(err)
	}
}

// readRecord reads the record behind the one of the directory prefix. io.EOF is the end.
func readRecord(r *bufio.Reader, prefix string) (rec dirRecord, err error) {
	shared, err := binary.ReadUvarint(r)
	if err != nil {
		return rec, err
	}
	number := func() (n uint64) {
		if err == nil {
			n, err = binary.ReadUvarint(r)
		}
		return n
	}
	n := number()
	if err == nil && shared > uint64(len(prefix)) {
		err = errSpool
	}
	if err != nil {
		return rec, noEOF(err)
	}
	suffix, err := readString(r, n)
	if err != nil {
		return rec, noEOF(err)
	}
	rec.path = prefix[:shared] + suffix
	flags, err := r.ReadByte()
	rec.loosened, rec.away = flags&recLoosened != 0, flags&recAway != 0
	rec.no, rec.dev, rec.ino = number(), number(), number()
	rec.mode = fs.FileMode(number())
	if flags&recHasMode != 0 {
		rec.meta.HasMode, rec.meta.Mode = true, fs.FileMode(number())
	}
	if flags&recHasMTime != 0 && err == nil {
		var sec int64
		sec, err = binary.ReadVarint(r)
		rec.meta.HasMTime, rec.meta.MTime = true, time.Unix(sec, int64(number()))
	}
	if flags&recArchive != 0 && err == nil {
		rec.meta.HasOwner, rec.meta.HasXAttrs = flags&recHasOwner != 0, flags&recHasXAttrs != 0
		rec.meta.eff, err = readEffects(r)
	}
	return rec, noEOF(err)
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Finish ends the manifest: what was Put is published, hard links are made, directories get their mode and time, the deepest
// first and only where they are not right, and then all of it is durable (but with Durability None). What was wanted and
// neither came nor was dropped is counted as missing. Only Close may be called after it.
//
// Errors: *SyncError, after which nothing may be called durable; that of ctx; those of the disk after which directories are not
// what they should be, or not all extra names were told.
func (t *Tree) Finish(ctx context.Context) (TreeResult, error) {
	err := t.finish(ctx)
	t.end(ErrClosed)
	t.dropAll()
	return t.Result(), err
}

func (t *Tree) finish(ctx context.Context) error {
	if err := t.usable(); err != nil {
		return err
	}
	for len(t.levels) > 0 {
		t.leave()
	}
	if err := t.usable(); err != nil {
		return err
	}
	if t.top == nil || t.spec.DryRun {
		return t.notSeen()
	}
	if err := t.group.flush(ctx); err != nil {
		return err
	}
	t.group.stop()
	if err := t.d.Here(); err != nil {
		return err
	}
	if err := t.makeLinks(); err != nil {
		return err
	}
	way, err := t.finishWay()
	if err != nil {
		return err
	}
	w := &dirWalk{t: t}
	defer w.close()
	last, err := t.finishDirs(ctx, w, way)
	if err == nil {
		err = t.finishTop(w, last, way)
	}
	if err != nil {
		return err
	}
	t.finished = true
	return t.notSeen()
}

// notSeen returns why not all extra names were told.
func (t *Tree) notSeen() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unseen
}

// finishWay finds out how to make the end durable.
func (t *Tree) finishWay() (syncWay, error) {
	switch {
	case t.spec.Durability == None, t.top.state != dirPresent, !t.changed.Load() && t.dirs.len() == 0:
		return syncUnknown, nil // nothing to sync
	case t.cache.isAway(t.top):
		return syncEach, nil
	}
	if way := t.group.syncWay(); way != syncUnknown {
		return way, nil
	}
	err := t.syncTree()
	if errors.Is(err, errors.ErrUnsupported) {
		return syncEach, nil
	}
	return syncAll, syncError("file system", err)
}

// syncTree is one syncfs for all that was done. It goes by a descriptor that is older than that.
func (t *Tree) syncTree() error {
	if dir := t.temp.made(); dir != nil {
		return dir.SyncFS()
	}
	dir, err := t.cache.pin(t.top)
	if err != nil {
		return err
	}
	defer t.cache.unpin(t.top)
	return dir.SyncFS()
}

// finishDirs gives the directories beneath the top what they are to have. It returns what is to be done to the top.
func (t *Tree) finishDirs(ctx context.Context, w *dirWalk, way syncWay) (top *dirRecord, err error) {
	r := t.dirs.reader()
	path := ""
	for {
		rec, err := readRecord(r, path)
		if err == io.EOF {
			return nil, nil
		}
		if err == nil && rec.path == "" {
			return &rec, nil
		}
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = t.usable()
		}
		if err == nil {
			path = rec.path
			err = t.finishDir(w, &rec, way)
		}
		if err != nil {
			return nil, err
		}
		t.busy()
	}
}

// finishDir gives one directory its mode and time. What goes wrong with it alone is told.
func (t *Tree) finishDir(w *dirWalk, rec *dirRecord, way syncWay) error {
	dir, fi, err := w.open(rec)
	if err == nil {
		err = t.setDir(dir, fi, rec)
	}
	if err == nil && (way == syncEach || way == syncAll && rec.away) {
		if err := dir.SyncDir("."); err != nil {
			return syncError("directory", err)
		}
	}
	if err != nil {
		t.count(func(r *TreeResult) { r.Failed++ })
		t.tell(rec.no, t.hide(err))
	}
	return nil
}

// setDir sets what of a directory, which is fi, is not as it should be.
func (t *Tree) setDir(dir durable.FS, fi fs.FileInfo, rec *dirRecord) error {
	lack := t.lacking(dir, ".", fi, rec.meta)
	if rec.meta.eff != nil {
		if lack.isEmpty() {
			return nil
		}
		t.changed.Store(true)
		return t.set(lack, dir, ".", false)
	}
	mode := fi.Mode() & (fs.ModePerm | specialBits)
	want := mode
	switch {
	case lack.HasMode:
		want = mode&specialBits | lack.Mode&fs.ModePerm
	case rec.loosened && !rec.meta.HasMode:
		want = rec.mode
	}
	if want != mode {
		t.changed.Store(true)
		if err := dir.Chmod(".", want); err != nil && !unsupported(err) {
			return err
		}
	}
	if lack.HasMTime {
		t.changed.Store(true)
		if err := dir.SetTimes(".", lack.MTime); err != nil && !unsupported(err) {
			return err
		}
	}
	return nil
}

// finishTop ends with the top directory, after our own directory is gone: that may lie in it. Then all is made durable.
func (t *Tree) finishTop(w *dirWalk, rec *dirRecord, way syncWay) error {
	if way == syncAll {
		if err := t.syncTree(); err != nil {
			return syncError("file system", err)
		}
	}
	if err := t.temp.close(t); err != nil {
		return err
	}
	if t.top.isRoot {
		_ = t.d.fs.Remove(treesDir) // these fail while something is in them
		_ = t.d.fs.Remove(tempDir)
		_ = t.d.fs.Remove(stateDir)
	}
	if rec != nil {
		dir, fi, err := w.open(rec)
		if err == nil {
			err = t.setDir(dir, fi, rec)
		}
		if err != nil {
			return err
		}
		if way != syncUnknown {
			if err := dir.SyncDir("."); err != nil {
				return syncError("directory", err)
			}
		}
	}
	if way == syncEach {
		return t.d.syncSpot(t.topSpot)
	}
	return nil
}

// restoreModes gives the directories that we may write into back the mode that they had.
func (t *Tree) restoreModes() error {
	if t.dirs.len() == 0 {
		return nil
	}
	w := &dirWalk{t: t}
	defer w.close()
	r := t.dirs.reader()
	path := ""
	for {
		rec, err := readRecord(r, path)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		path = rec.path
		if !rec.loosened {
			continue
		}
		rec.meta = Meta{}
		if dir, fi, err := w.open(&rec); err == nil {
			_ = t.setDir(dir, fi, &rec)
		}
	}
}

// dirWalk opens the directories of records, one after the other, each from the one that it has in common with the one before.
type dirWalk struct {
	t     *Tree
	top   durable.FS
	names []string
	dirs  []durable.FS
}

func (w *dirWalk) close() {
	w.shorten(0)
	if w.top != nil {
		w.t.cache.unpin(w.t.top)
		w.top = nil
	}
}

func (w *dirWalk) shorten(n int) {
	for len(w.dirs) > n {
		_ = w.dirs[len(w.dirs)-1].Close()
		w.dirs = w.dirs[:len(w.dirs)-1]
	}
	w.names = w.names[:len(w.dirs)]
}

// open opens the directory of rec, if that still is the one. It stays open until the next call.
func (w *dirWalk) open(rec *dirRecord) (durable.FS, fs.FileInfo, error) {
	dir, err := w.walk(rec.path)
	if err != nil {
		return nil, nil, err
	}
	fi, err := dir.Stat(".")
	if err != nil {
		return nil, nil, err
	}
	if id, ok := durable.IDOf(fi); ok && (id.Dev != rec.dev || id.Inode != rec.ino) {
		return nil, nil, pathError("open", rec.path, fmt.Errorf("%w: another directory has its name now", ErrNotDir))
	}
	return dir, fi, nil
}

// walk opens the directory path. Who it is, is for open to say; a link is followed only as Take follows it.
func (w *dirWalk) walk(path string) (durable.FS, error) {
	if w.top == nil {
		var err error
		if w.top, err = w.t.cache.pin(w.t.top); err != nil {
			return nil, err
		}
	}
	var parts []string
	if path != "" {
		parts = strings.Split(path, "/")
	}
	common := 0
	for common < len(parts) && common < len(w.names) && parts[common] == w.names[common] {
		common++
	}
	w.shorten(common)
	dir := w.top
	if common > 0 {
		dir = w.dirs[common-1]
	}
	for i := common; i < len(parts); i++ {
		fi, err := dir.Lstat(parts[i])
		var sub durable.FS
		switch {
		case err != nil:
		case fi.Mode()&fs.ModeSymlink != 0: // Take went through it as well
			sub, err = w.t.d.openPlace(w.t.beneathTop(strings.Join(parts[:i+1], "/")))
		case fi.IsDir():
			sub, err = dir.OpenRoot(parts[i])
		default:
			err = pathError("open", parts[i], ErrNotDir)
		}
		if err != nil {
			return nil, err
		}
		w.names, w.dirs = append(w.names, parts[i]), append(w.dirs, sub)
		dir = sub
	}
	return dir, nil
}
