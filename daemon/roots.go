package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"xfer/transfer/sink"
)

// rootDir is what the daemon needs of a sink.Dir.
type rootDir interface {
	View(owner string, r sink.Rights) *sink.View
	CleanUp(ctx context.Context) (removed int, err error)
	Space() (free, total int64, err error)
	Here() error
	Close() error
}

// root is one served directory. It is closed when it is out of the configuration and the last session that was
// granted it has ended.
type root struct {
	cfg  RootConfig // as it was opened
	real string     // cfg.Path, absolute and without symbolic links
	dir  rootDir
	refs int // guarded by roots.mu: one of the configuration, one of each grant
}

// named is a root under the name that the configuration gives it now.
type named struct {
	name string
	*root
}

// roots are the directories that are served, in the order of the configuration. Safe for concurrent use.
type roots struct {
	open func(real string, cfg RootConfig) (rootDir, error)

	mu   sync.Mutex
	list []named
}

// get takes a reference of every root, in order; put gives them back.
func (r *roots) get() (list []named, put func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list = slices.Clone(r.list)
	for _, n := range list {
		n.refs++
	}
	return list, sync.OnceFunc(func() { r.put(list) })
}

func (r *roots) put(list []named) error {
	var errs []error
	for _, n := range list {
		r.mu.Lock()
		n.refs--
		last := n.refs == 0
		r.mu.Unlock()
		if last {
			errs = append(errs, n.dir.Close())
		}
	}
	return errors.Join(errs...)
}

// loaded says what load did besides.
type loaded struct {
	made []string // names of roots whose directory was missing
	kept []string // names of roots with other options than before, which hold from the next start on
}

// load puts cfgs in place of what was served. Directories that were open stay so, unless another is in their place now. An
// error changes nothing.
func (r *roots) load(cfgs []RootConfig) (did loaded, err error) {
	old, put := r.get()
	defer put()
	var fresh []named
	next := make([]named, 0, len(cfgs))
	fail := func(err error) (loaded, error) {
		for _, n := range fresh {
			n.dir.Close()
		}
		return loaded{}, err
	}
	for _, cfg := range cfgs {
		real, made, err := realPath(cfg)
		if err != nil {
			return fail(fmt.Errorf("root %q: %w", cfg.Name, err))
		}
		if made {
			did.made = append(did.made, cfg.Name)
		}
		for _, n := range next {
			if within(real, n.real) || within(n.real, real) {
				return fail(fmt.Errorf("roots %q and %q: one lies within the other (%q, %q)", n.name, cfg.Name, n.real, real))
			}
		}
		if i := slices.IndexFunc(old, func(n named) bool { return n.real == real && n.dir.Here() == nil }); i >= 0 {
			n := named{cfg.Name, old[i].root}
			if !sameOptions(n.cfg, cfg) {
				did.kept = append(did.kept, cfg.Name)
			}
			next = append(next, n)
			continue
		}
		dir, err := r.open(real, cfg)
		if err != nil {
			return fail(fmt.Errorf("root %q: %w", cfg.Name, err))
		}
		n := named{cfg.Name, &root{cfg: cfg, real: real, dir: dir}}
		fresh, next = append(fresh, n), append(next, n)
	}
	r.mu.Lock()
	before := r.list
	r.list = next
	for _, n := range next {
		n.refs++
	}
	r.mu.Unlock()
	return did, r.put(before)
}

func sameOptions(a, b RootConfig) bool {
	return a.KeepVersions == b.KeepVersions && a.StageMaxAge == b.StageMaxAge
}

// realPath makes cfg's directory where it is missing and returns its one true name.
func realPath(cfg RootConfig) (real string, made bool, err error) {
	abs, err := filepath.Abs(cfg.Path)
	if err != nil {
		return "", false, err
	}
	if _, err := os.Stat(abs); errors.Is(err, fs.ErrNotExist) {
		made = true
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return "", false, err
	}
	real, err = filepath.EvalSymlinks(abs)
	return real, made, err
}

// close drops what the configuration holds; roots in use by a session are closed by its end.
func (r *roots) close() error {
	r.mu.Lock()
	list := r.list
	r.list = nil
	r.mu.Unlock()
	return r.put(list)
}
