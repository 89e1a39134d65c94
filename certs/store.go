package certs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"xfer/transfer/durable"
)

const (
	keyFile     = "identity.key"
	certFile    = "identity.crt"
	hostsFile   = "known_hosts.toml"
	clientsDir  = "clients.d"
	invitesDir  = "invites.d"
	lockFile    = "lock"
	fileSuffix  = ".toml"
	maxFileSize = 64 << 10
	maxHosts    = 4 << 20 // known_hosts.toml: some 25,000 servers

	filePerm fs.FileMode = 0o600
	dirPerm  fs.FileMode = 0o700

	// lockWait is how long a change waits for another process to finish its own, which takes milliseconds.
	lockWait = 10 * time.Second
)

// modesCount tells whether the permission bits of a file mean anything here.
const modesCount = runtime.GOOS != "windows"

// Options of Open. The zero value is ready to use.
type Options struct {
	// Now is the clock, nil for time.Now. Certificates, invitations and clients are dated by it.
	Now func() time.Time
	// CheckRights returns an error for words that a file may not grant. nil allows any.
	CheckRights func(words []string) error
	// CheckBWLimit returns an error for the text of a limit that is not understood. nil allows any.
	CheckBWLimit func(text string) error
}

// Store is an open directory of keys. Its methods may be called concurrently, and several Stores, in this and
// other processes, may have the same directory open. Close it when done.
type Store struct {
	dir  string
	fs   durable.FS
	opts Options

	mu      sync.Mutex // guards clients
	clients map[string]cachedClient
}

// Open opens the directory dir, which it makes if missing. A *PermError says that others may enter the directory or
// read one of its files.
func Open(dir string, o Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open key store: %w", err)
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("open key store: %w", err)
	}
	fsys, err := durable.OpenOS(dir)
	if err != nil {
		return nil, fmt.Errorf("open key store: %w", err)
	}
	s, err := openFS(dir, fsys, o)
	if err != nil {
		fsys.Close()
		return nil, err
	}
	return s, nil
}

// openFS opens the store in fsys, which it takes over when it succeeds. dir is for messages only.
func openFS(dir string, fsys durable.FS, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.CheckBWLimit == nil {
		o.CheckBWLimit = func(string) error { return nil }
	}
	if o.CheckRights == nil {
		o.CheckRights = func([]string) error { return nil }
	}
	s := &Store{dir: dir, fs: fsys, opts: o, clients: make(map[string]cachedClient)}
	for _, name := range []string{".", clientsDir, invitesDir, keyFile, certFile, hostsFile} {
		fi, err := fsys.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open key store: %w", err)
		}
		if !fi.IsDir() && !fi.Mode().IsRegular() {
			return nil, fmt.Errorf("open key store: %s: %w", s.path(name), durable.ErrNotRegular)
		}
		if err := s.checkMode(name, fi); err != nil {
			return nil, err
		}
	}
	s.sweep()
	return s, nil
}

// Close releases the directory.
func (s *Store) Close() error { return s.fs.Close() }

// Dir returns the absolute path of the directory.
func (s *Store) Dir() string { return s.dir }

// path is the full name of a file, for messages.
func (s *Store) path(name string) string {
	if name == "." {
		return s.dir
	}
	return filepath.Join(s.dir, filepath.FromSlash(name))
}

// makeDir makes dir and what is missing above it, 0700 and durable.
func makeDir(dir string) error {
	fi, err := os.Stat(dir)
	switch {
	case err == nil && fi.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return err
	}
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	p, err := durable.OpenOS(parent)
	if err != nil {
		return nil // not ours to read, so not ours to sync
	}
	defer p.Close()
	return p.SyncDir(".")
}

// PermError says that others have access to a file or directory of keys.
type PermError struct {
	Path string // absolute
	Mode fs.FileMode
	Want fs.FileMode
}

func (e *PermError) Error() string {
	what := "others may read %s (mode %04o)"
	if e.Want == dirPerm {
		what = "others may enter %s (mode %04o)"
	}
	return fmt.Sprintf(what+"; keys are not safe there. Run: chmod %o %s", shellWord(e.Path), e.Mode.Perm(), e.Want, shellWord(e.Path))
}

// shellWord quotes s for a POSIX shell where it must be.
func shellWord(s string) string {
	plain := strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,:@%", r))
	}) < 0
	if plain && s != "" {
		return s
	}
	// A control character would reach the terminal: show it escaped rather than usable.
	if strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\uFFFD' || r >= 0x80 && r < 0xa0 }) >= 0 {
		return fmt.Sprintf("%+q", s)
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// checkMode refuses a file or directory to which anybody but the owner has access.
func (s *Store) checkMode(name string, fi fs.FileInfo) error {
	want := filePerm
	if fi.IsDir() {
		want = dirPerm
	}
	return checkMode(s.path(name), fi, want)
}

func checkMode(path string, fi fs.FileInfo, want fs.FileMode) error {
	if modesCount && fi.Mode().Perm()&0o077 != 0 {
		return &PermError{Path: path, Mode: fi.Mode().Perm(), Want: want}
	}
	return nil
}

// read returns the content of a file after it was found to be a regular one of ours, not too large and closed to
// others. A missing one is fs.ErrNotExist. fi is of the file that was read.
func (s *Store) read(name string) (data []byte, fi fs.FileInfo, err error) {
	return readPrivate(s.fs, name, s.path(name))
}

// readPrivate reads name in fsys; path is for messages.
func readPrivate(fsys durable.FS, name, path string) ([]byte, fs.FileInfo, error) {
	f, err := durable.OpenRegular(fsys, name)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, cause(err))
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, cause(err))
	}
	if err := checkMode(path, fi, filePerm); err != nil {
		return nil, nil, err
	}
	most := limitOf(name)
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, cause(err))
	}
	if len(data) > most {
		return nil, nil, &FileError{Path: path, Msg: fmt.Sprintf("larger than %d KiB", most>>10)}
	}
	return data, fi, nil
}

// limitOf is how many bytes file name may have.
func limitOf(name string) int {
	if name == hostsFile {
		return maxHosts
	}
	return maxFileSize
}

// cause drops the path that an error repeats.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// write replaces a file, atomically and durably. The lock is held.
func (s *Store) write(name string, data []byte) error {
	if most := limitOf(name); len(data) > most {
		return fmt.Errorf("write %s: would be larger than %d KiB", s.path(name), most>>10)
	}
	if dir := durable.Dir(name); dir != "." {
		if err := durable.MkdirAll(s.fs, dir, dirPerm); err != nil {
			return fmt.Errorf("write %s: %w", s.path(name), cause(err))
		}
	}
	if err := durable.WriteFile(s.fs, name, data, filePerm); err != nil {
		return fmt.Errorf("write %s: %w", s.path(name), cause(err))
	}
	return nil
}

// locked calls f while no other process and no other call changes anything. f must not call locked.
func (s *Store) locked(f func() error) (err error) {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return f()
}

// lock waits for the lock, at most lockWait.
func (s *Store) lock() (unlock func() error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		unlock, err := s.fs.Lock(lockFile)
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, durable.ErrLocked) {
			return nil, fmt.Errorf("lock %s: %w", s.path(lockFile), cause(err))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: held by another process for %v", s.path(lockFile), lockWait)
		}
	}
}

// sweep removes what crashes left behind of files that were being written. Every write holds the lock, so with
// the lock in hand none is in use. It is a courtesy: that it cannot be done is no error.
func (s *Store) sweep() {
	unlock, err := s.fs.Lock(lockFile)
	if err != nil {
		return
	}
	defer func() { _ = unlock() }()
	for _, dir := range []string{".", clientsDir, invitesDir} {
		entries, err := s.fs.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), durable.TempPrefix) {
				_ = s.fs.Remove(dir + "/" + e.Name())
			}
		}
	}
}

// list returns the names, without suffix, of the files in a directory, opened as fsys, that end in ".toml", in order.
// Others (an editor's backups) are none of ours.
func (s *Store) list(fsys durable.FS, dir string) ([]string, error) {
	entries, err := fsys.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path(dir), cause(err))
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if base, ok := strings.CutSuffix(e.Name(), fileSuffix); ok && base != "" && base[0] != '.' {
			names = append(names, base)
		}
	}
	slices.Sort(names)
	return names, nil
}
