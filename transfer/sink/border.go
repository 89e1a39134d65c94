package sink

import (
	"context"
	"io"
	"io/fs"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// BORDER: names and meaning are settled; the sink author replaces this file by the real ones. Everything
// beneath "implemented by the author" is signature only.

// Path is a checked name beneath a root: components of 1-255 bytes, not "." or "..", without '/' and NUL, first one
// not ".xfer" (also none that begins with ".xfer-"), at most 4096 bytes and 256 components in all.
// An empty Path is the root itself.
type Path struct{ parts []string }

// func NewPath(parts ...string) (Path, error)
// func (p Path) Parts() []string
// func (p Path) String() string // "a/b", "." for the root; raw bytes, not for a terminal

// Rights is what a principal may do beneath a root. Enforced here, where names are linked, opened and removed.
type Rights uint16

const (
	Get Rights = 1 << iota
	Put
	RList
	RStat
	RMkdir
	RDelete
	RRename
	NoReplace // append, write-only: put never replaces, nothing is removed or renamed over
	All       = Get | Put | RList | RStat | RMkdir | RDelete | RRename
)

type IfExists uint8

const (
	Replace IfExists = iota
	Fail
	Version
)

type Durability uint8

const (
	Full Durability = iota
	Batch
	None
)

// Options of a Dir; the zero value is good.
type Options struct {
	GroupBytes   int64         // a checkpoint at the latest after so much, 64 MiB
	GroupEvery   time.Duration // ... or so long, 2 s   (who calls Checkpoint: the engine)
	StageMaxAge  time.Duration // unfinished stages without progress go after this, 14 days
	KeepDoneLog  bool          // a served root keeps done.log (receipts are replayed); a get does not
	KeepVersions int           // for IfExists Version, 10
	Now          func() time.Time
}

// Dir is a directory that receives and serves files: a root. Safe for concurrent use.
type Dir struct{}

// View is a Dir with rights: what one principal sees. All remote work goes through it.
//
//	func Open(fsys durable.FS, o Options) (*Dir, error)   // makes nothing until it is needed
//	func OpenDir(path string, o Options) (*Dir, error)    // durable.OpenOS(path) and Open
//	func (d *Dir) View(owner string, r Rights) *View      // owner: the principal's name in stage keys
//	func (d *Dir) Close() error                           // removes .xfer when nothing is left in it
//	func (d *Dir) CleanUp(ctx) (removed int, err error)   // abandoned stages; run in the background at start, and daily
//	func (d *Dir) Space() (free, total int64, err error)
type View struct{}

// Spec is one file to come.
type Spec struct {
	Transfer    [16]byte
	Path        Path
	Size        int64 // -1 = unknown; then the size comes with Publish
	ChunkLog2   uint8 // 18..24
	Fingerprint []byte
	Fresh       bool // discard what is held of this (owner, path)
	IfExists    IfExists
	Durability  Durability
	Meta        Meta
	// Busy is called now and then while Begin re-hashes what a stage claims. May be nil.
	Busy func()
}

type Meta struct {
	Mode     fs.FileMode // permission bits
	MTime    time.Time
	HasMode  bool
	HasMTime bool
}

type Range struct{ Start, Count int64 }
type Part struct{ Chunk, Bytes int64 }

type State uint8

const (
	StateNew State = iota
	StatePartial
	StateChanged // there was a stage with another fingerprint: gone, this one is fresh
	StateDone    // published before under this transfer id: Found.Receipt, and the *Stage is nil
)

type Found struct {
	State   State
	Epoch   uint64
	Have    []Range
	Parts   []Part
	Receipt []byte
}

type Published struct {
	Path     Path
	Root     crypto.Digest
	Size     int64
	Time     time.Time
	Replaced Path // empty: none kept
}

type Commit struct {
	Root crypto.Digest
	Size int64
	Meta *Meta // final metadata, nil = as in Spec
	// Sign makes the receipt. It is called after the file is durable under its final name; what it returns is
	// written to done.log (durable) before Publish returns it.
	Sign func(Published) ([]byte, error)
}

// Stage methods (author):
//   func (v *View) Begin(ctx, Spec) (*Stage, Found, error)
//        another live Stage of the same owner and path is fenced (its methods return ErrFenced); of another owner: ErrBusy
//   func (s *Stage) Claim(chunk, offset int64) (*ChunkWriter, error)
//        offset 0, or the bytes of a kept Part. Takes the chunk over from another writer (waits for its write in
//        progress, its later calls return ErrTaken). On a held chunk the writer only hashes, and Finish compares.
//   func (w *ChunkWriter) Write(p []byte) error
//   func (w *ChunkWriter) Finish(cv crypto.CV) (dup bool, err error)  // ErrChunkBad, ErrSourceChanged (I6), ErrFenced, I/O
//   func (w *ChunkWriter) Park()            // stream lost: remembers the prefix as a Part
//   func (s *Stage) CVs(first, count int64) ([]crypto.CV, error)      // of held chunks; zero CV for others
//   func (s *Stage) Held() (chunks, bytes int64)
//   func (s *Stage) Have() ([]Range, []Part)
//   func (s *Stage) Checkpoint(ctx) (durable []Range, err error)      // all that is durable now; group commit
//   func (s *Stage) Dirty() (bytes int64, since time.Time)            // not yet covered by a MARK
//   func (s *Stage) Publish(ctx, Commit) (receipt []byte, err error)  // ErrMissing, ErrRootMismatch, fs.ErrExist, ENOSPC ...
//   func (s *Stage) Park() error                                      // checkpoint, close; the stage stays on disk
//   func (s *Stage) Discard() error
// For an unknown size (Spec.Size -1) chunks are claimed in any order and the last one may be short.

// Name space (author), each checking Rights:
//
//	func (v *View) Stat(Path) (Entry, error)
//	func (v *View) List(ctx, Path, after string, max int) ([]Entry, more bool, error)  // sorted by name bytes
//	func (v *View) Mkdir(Path, parents, existOK bool, *Meta) error
//	func (v *View) Remove(Path, recursive, missingOK bool) error
//	func (v *View) Rename(from, to Path, noReplace bool) error
//	func (v *View) Symlink(Path, target string, IfExists, *Meta) error   // same link there already = success; atomic replace
//	func (v *View) SetMeta(Path, Meta) error                             // directories and files
//	func (v *View) Hash(ctx, Path, busy func()) (crypto.Digest, int64, error)
//	func (v *View) Open(Path) (durable.File, error)                      // regular files only (O_NONBLOCK, then fstat)
//	func (v *View) Rights() Rights ; Space()
type Entry struct {
	Name   string
	Kind   Kind
	Size   int64
	Mode   fs.FileMode
	MTime  time.Time
	Target string
}

type Kind uint8

const (
	File Kind = 1 + iota
	Directory
	Link
	Other
)

var (
	_ context.Context
	_ io.Reader
	_ durable.FS
)

// Errors (author): ErrFenced, ErrBusy, ErrTaken, ErrChunkBad, ErrSourceChanged, ErrMissing, ErrRootMismatch, ErrDenied,
// ErrBadPath, ErrIsDir, ErrNotDir, ErrTooBig, *SyncError (after it nothing is acknowledged); fs.ErrExist, fs.ErrNotExist and
// syscall.Errno reachable by errors.Is.
