package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// What goes wrong besides the errors of the file system, which are reachable as fs.ErrExist, fs.ErrNotExist
// and syscall.Errno by errors.Is.
var (
	// ErrFenced: a newer attempt of the same owner has taken the stage over.
	ErrFenced = errors.New("a newer attempt has taken over")
	// ErrBusy: another process works on this stage, or serves this root. Come again later.
	ErrBusy = errors.New("in use by another process")
	// ErrTaken: another writer has claimed the chunk.
	ErrTaken = errors.New("chunk taken over by another stream")
	// ErrChunkBad: the bytes of a chunk do not have the CV that came with them. Send the chunk again.
	ErrChunkBad = errors.New("chunk does not match its hash")
	// ErrSourceChanged: a chunk that is held came again with other content. The attempt is over.
	ErrSourceChanged = errors.New("source changed while it was sent")
	// ErrMissing: Publish was called while chunks are missing.
	ErrMissing = errors.New("chunks are missing")
	// ErrRootMismatch: the chunks that are held do not make the file that was committed.
	ErrRootMismatch = errors.New("content does not match the committed hash")
	// ErrStageLost: the stage was changed from outside. Begin again.
	ErrStageLost = errors.New("stage is lost")
	// ErrDenied: the rights do not allow it.
	ErrDenied = errors.New("not allowed")
	// ErrBadPath: no name that may be used beneath a root, or one that leads out of it.
	ErrBadPath = errors.New("bad path")
	// ErrIsDir: a directory where a file is wanted.
	ErrIsDir = errors.New("is a directory")
	// ErrNotDir: something else where a directory is wanted.
	ErrNotDir = errors.New("not a directory")
	// ErrTooBig: more than the limits of FORMAT.md.
	ErrTooBig = errors.New("too big")
	// ErrRange: a chunk or an offset that the file does not have, or the wrong number of bytes. A peer that keeps
	// to the protocol never causes it.
	ErrRange = errors.New("outside of the file")
	// ErrMoved: the root is no longer at its place.
	ErrMoved = errors.New("the directory is not where it was")
	// ErrClosed: the Stage was parked, published or discarded, or the Dir is closed.
	ErrClosed = errors.New("already closed")
)

// SyncError is a failed fsync, fdatasync or sync of a directory. What was written before it and not yet
// called durable may be lost although later syncs succeed: nothing more is acknowledged by the Stage, and
// the next Begin asks for those bytes again.
type SyncError struct {
	Op  string // what was synced: "data", "journal", "directory", "done.log"
	Err error
}

func (e *SyncError) Error() string { return fmt.Sprintf("sync of %s: %v", e.Op, e.Err) }

func (e *SyncError) Unwrap() error { return e.Err }

// syncError wraps err unless it is nil or a SyncError already.
func syncError(op string, err error) error {
	var se *SyncError
	if err == nil || errors.As(err, &se) {
		return err
	}
	return &SyncError{Op: op, Err: err}
}

func pathError(op string, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func existError(name string) error { return pathError("publish", name, syscall.EEXIST) }
