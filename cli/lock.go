package cli

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// lockRun takes the lock of one (source, destination) under the state folder, so that a script that is started again while it
// still runs does not do the work twice. A flock ends with its process, so it is never stale. parts is what tells this run
// from others.
func lockRun(p places, parts ...string) (unlock func(), err error) {
	h := crypto.NewHasher()
	h.Write([]byte(strings.Join(parts, "\x00")))
	sum := h.Sum()
	dir := filepath.Join(p.state, "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, localIO(err)
	}
	fsys, err := durable.OpenOS(dir)
	if err != nil {
		return nil, localIO(err)
	}
	release, err := fsys.Lock(hex.EncodeToString(sum[:16]) + ".lock")
	if err != nil {
		fsys.Close()
		if errors.Is(err, durable.ErrLocked) {
			return nil, failf(exitLocked, "wait for it to end", "another run of the same source and destination is at work")
		}
		return nil, localIO(err)
	}
	return func() { release(); fsys.Close() }, nil
}
