package sink

import (
	"io/fs"

	"xfer/transfer/durable"
)

// OpenTree opens directory p for reading, with all that is beneath it. The caller closes it. Get and RList are needed.
func (v *View) OpenTree(p Path) (durable.FS, error) {
	if err := v.mayRead(); err != nil {
		return nil, err
	}
	dir, _, err := v.d.openList(p)
	return dir, err
}

// OpenAll opens the root for reading, and tells where in it directory p is, with no link on the way: so that what links lead to
// can be found. The caller closes it, and keeps out of our own state. Get and RList are needed.
func (v *View) OpenAll(p Path) (root durable.FS, at string, err error) {
	if err := v.mayRead(); err != nil {
		return nil, "", err
	}
	spot, err := v.d.locate(p, followLast)
	switch {
	case err != nil:
		return nil, "", err
	case spot.info == nil:
		return nil, "", pathError("list", p.String(), fs.ErrNotExist)
	case !spot.info.IsDir():
		return nil, "", pathError("list", p.String(), ErrNotDir)
	}
	root, err = v.d.fs.OpenRoot(".")
	return root, spot.name, err
}

func (v *View) mayRead() error {
	if err := v.need("get", Get); err != nil {
		return err
	}
	return v.need("list", RList)
}
