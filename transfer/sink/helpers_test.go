package sink

import (
	"io/fs"
	"testing"
)

var errNotExist = fs.ErrNotExist

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writeOnly and appendOnly are the rights of those modes.
const (
	appendOnly = Put | Get | RList | RStat | RMkdir | NoReplace
	writeOnly  = Put | RMkdir | NoReplace
)
