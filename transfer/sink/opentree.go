package sink

import "xfer/transfer/durable"

// OpenTree opens directory p for reading, with all that is beneath it. The caller closes it. Get and RList are needed.
func (v *View) OpenTree(p Path) (durable.FS, error) {
	if err := v.need("get", Get); err != nil {
		return nil, err
	}
	if err := v.need("list", RList); err != nil {
		return nil, err
	}
	dir, _, err := v.d.openList(p)
	return dir, err
}
