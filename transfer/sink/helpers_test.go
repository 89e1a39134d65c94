package sink

import "io/fs"

var errNotExist = fs.ErrNotExist
