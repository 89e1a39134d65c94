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
