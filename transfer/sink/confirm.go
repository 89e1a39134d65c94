package sink

import (
	"context"
	"fmt"
	"io/fs"

	"xfer/transfer/durable"
)

// sameContent finds at p a file with the content of c and makes it durable; any other is fs.ErrExist.
func (d *Dir) sameContent(ctx context.Context, p Path, c Commit, dur Durability, busy func()) (spot, error) {
	at, f, err := d.openSame(p, c.Size)
	if err != nil {
		return spot{}, err
	}
	defer f.Close()
	root, size, err := hashFile(ctx, f, busy)
	if err != nil {
		return spot{}, err
	}
	if root != c.Root || size != c.Size {
		return spot{}, existError(p.String())
	}
	if dur != None {
		if err := f.Sync(); err != nil && !unsupported(err) {
			return spot{}, syncError("data", err)
		}
	}
	own, err := f.Stat()
	if err != nil {
		return spot{}, err
	}
	if now, err := d.fs.Lstat(at.name); err != nil || !durable.SameFile(own, now) {
		return spot{}, existError(p.String())
	}
	return at, nil
}

// openSame opens the regular file at p if it has size bytes.
func (d *Dir) openSame(p Path, size int64) (spot, durable.File, error) {
	d.ns.RLock()
	defer d.ns.RUnlock()
	at, err := d.resolve(p, 0)
	switch {
	case err != nil:
	case at.info == nil:
		err = pathError("publish", p.String(), fs.ErrNotExist)
	case at.info.IsDir():
		err = pathError("publish", p.String(), ErrIsDir)
	case !at.info.Mode().IsRegular() || at.info.Size() != size:
		err = existError(p.String())
	}
	if err != nil {
		return spot{}, nil, err
	}
	f, err := durable.OpenRegular(d.fs, at.name)
	return at, f, err
}

// Confirm makes a receipt for a file that is there already with the content of c: nothing was sent, or need be. It needs
// the right to put, since it tells no more than sending the content again would. Another content is fs.ErrExist,
// no file fs.ErrNotExist. Of sp it uses Transfer, Path, Durability and Busy.
func (v *View) Confirm(ctx context.Context, sp Spec, c Commit) ([]byte, error) {
	if err := v.need("put", Put); err != nil {
		return nil, err
	}
	if sp.Path.IsRoot() {
		return nil, pathError("publish", ".", ErrIsDir)
	}
	at, err := v.d.sameContent(ctx, sp.Path, c, sp.Durability, sp.Busy)
	if err != nil {
		return nil, err
	}
	if sp.Durability != None {
		if err := v.d.syncSpot(at); err != nil {
			return nil, err
		}
	}
	p := Published{Path: sp.Path, Root: c.Root, Size: c.Size, Time: v.d.o.Now()}
	return v.d.record(sp.Transfer, stageIDOf(v.owner, &sp).key, sp.Durability, p, c.Sign)
}

// Existing says what is at p, as Stat does, to who may put there: so that a file that may not be replaced need not
// be sent to learn that. Missing is fs.ErrNotExist.
func (v *View) Existing(p Path) (Entry, error) {
	if err := v.need("put", Put); err != nil {
		return Entry{}, err
	}
	return v.d.stat(p)
}

// record makes the receipt and writes it to done.log.
func (d *Dir) record(id [16]byte, key string, dur Durability, p Published, sign func(Published) ([]byte, error)) ([]byte, error) {
	var receipt []byte
	if sign != nil {
		var err error
		if receipt, err = sign(p); err != nil {
			return nil, fmt.Errorf("receipt: %w", err)
		}
	}
	if !d.o.KeepDoneLog {
		return receipt, nil
	}
	if err := d.done.add(id, key, receipt, dur != None); err != nil {
		return nil, err
	}
	return receipt, nil
}
