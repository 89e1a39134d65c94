package certs

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// Client is somebody who may come in.
type Client struct {
	Name        string // that of its file
	ID          crypto.PeerID
	Roots       []Grant   // in this order; none = may do nothing
	Default     string    // one of Roots, empty = the first
	Expires     time.Time // zero = never
	MaxSessions int       // zero = the daemon's limit
	BWLimit     string    // as in the configuration; empty = none
	Added       time.Time
}

// DefaultRoot as the root of a Grant is the daemon's default root, whatever it is called: an invitation may be made before
// anybody knows.
const DefaultRoot = "@default"

// Grant is what a client may do in one root. Rights are words such as put or append; none = nothing.
type Grant struct {
	Root   string // its name, or DefaultRoot
	Rights []string
}

// Expired tells whether the client's time is over.
func (c Client) Expired(now time.Time) bool { return !c.Expires.IsZero() && !now.Before(c.Expires) }

var (
	// ErrClientExists says that the name, or the key, is already that of a client.
	ErrClientExists = errors.New("there is such a client already")
	// ErrClientExpired says that the client's time is over.
	ErrClientExpired = errors.New("the client's access has expired")
)

// clientTOML is a file in clients.d.
type clientTOML struct {
	ID          crypto.PeerID `toml:"id"`
	Default     string        `toml:"default,omitempty"`
	Expires     *time.Time    `toml:"expires,omitempty"`
	MaxSessions int           `toml:"max_sessions,omitempty"`
	BWLimit     string        `toml:"bwlimit,omitempty"`
	Added       time.Time     `toml:"added"`
	Root        []rootTOML    `toml:"root"`
}

type rootTOML struct {
	Name   string   `toml:"name"`
	Rights []string `toml:"rights"`
}

func grantsOf(t []rootTOML) (g []Grant) {
	for _, r := range t {
		g = append(g, Grant{Root: r.Name, Rights: r.Rights})
	}
	return g
}

func rootsOf(g []Grant) (t []rootTOML) {
	for _, r := range g {
		t = append(t, rootTOML{Name: r.Root, Rights: r.Rights})
	}
	return t
}

// parseClient reads the file of the client name. path is for messages.
func (s *Store) parseClient(name, path string, data []byte) (Client, error) {
	var t clientTOML
	if err := decode(path, data, &t, false); err != nil {
		return Client{}, err
	}
	c := Client{
		Name:        name,
		ID:          t.ID,
		Roots:       grantsOf(t.Root),
		Default:     t.Default,
		MaxSessions: t.MaxSessions,
		BWLimit:     t.BWLimit,
		Added:       t.Added,
	}
	if t.Expires != nil {
		if t.Expires.IsZero() {
			return Client{}, &FileError{Path: path, Msg: "expires: the year 1"}
		}
		c.Expires = *t.Expires
	}
	if err := s.checkClient(c); err != nil {
		return Client{}, &FileError{Path: path, Msg: printable(err.Error())}
	}
	return c, nil
}

// checkClient checks all that can be wrong with a client by itself.
func (s *Store) checkClient(c Client) error {
	if err := CheckName(c.Name); err != nil {
		return err
	}
	if c.ID.IsZero() {
		return errors.New("the id is missing")
	}
	if err := s.checkGrants(c.Roots); err != nil {
		return err
	}
	if c.Default != "" {
		found := false
		for _, g := range c.Roots {
			found = found || g.Root == c.Default
		}
		if !found {
			return fmt.Errorf("default: %q is not one of the roots", c.Default)
		}
	}
	if c.MaxSessions < 0 {
		return fmt.Errorf("max_sessions: %d is less than none", c.MaxSessions)
	}
	if len(c.BWLimit) > maxBWLimit {
		return fmt.Errorf("bwlimit: more than %d characters", maxBWLimit)
	}
	if c.BWLimit != "" {
		if err := s.opts.CheckBWLimit(c.BWLimit); err != nil {
			return fmt.Errorf("bwlimit: %w", err)
		}
	}
	return nil
}

// cachedClient is what a file held when it was read.
type cachedClient struct {
	stamp  stamp
	client Client
	err    error // of its content; how it was read is never cached
}

// stamp changes when a file does.
type stamp struct {
	size  int64
	mtime time.Time
	mode  fs.FileMode
	id    durable.ID
}

// racy is how long after its last change a file may change again without another stamp: the coarsest step of times in
// common file systems.
const racy = 2 * time.Second

// stampOf returns fi's stamp, and whether it can be trusted to tell a later change.
func stampOf(fi fs.FileInfo, now time.Time) (stamp, bool) {
	st := stamp{size: fi.Size(), mtime: fi.ModTime(), mode: fi.Mode()}
	changed := st.mtime
	if id, ok := durable.IDOf(fi); ok {
		st.id = id
		if c := time.Unix(0, id.CTime); c.After(changed) {
			changed = c
		}
	}
	return st, now.Sub(changed) > racy
}

func clientFile(name string) string { return clientsDir + "/" + name + fileSuffix }

// client returns one client, whose file has the name file in fsys, from memory where that is the one that was read.
// fs.ErrNotExist: there is none.
func (s *Store) client(fsys durable.FS, file, name string) (Client, error) {
	if err := CheckName(name); err != nil {
		return Client{}, &FileError{Path: s.path(clientsDir), Msg: printable(err.Error())}
	}
	path := s.path(clientFile(name))
	fi, err := fsys.Lstat(file)
	if err != nil {
		s.forget(name)
		return Client{}, fmt.Errorf("read %s: %w", path, cause(err))
	}
	st, _ := stampOf(fi, time.Now())
	s.mu.Lock()
	cached, ok := s.clients[name]
	s.mu.Unlock()
	if ok && cached.stamp == st {
		return cached.client.clone(), cached.err
	}
	data, fi, err := readPrivate(fsys, file, path)
	if err != nil {
		s.forget(name)
		return Client{}, err
	}
	// The file system's clock is the wall clock, whatever Options.Now is.
	st, trusted := stampOf(fi, time.Now())
	c, err := s.parseClient(name, path, data)
	if trusted {
		s.mu.Lock()
		s.clients[name] = cachedClient{stamp: st, client: c.clone(), err: err}
		s.mu.Unlock()
	}
	return c, err
}

func (s *Store) forget(name string) {
	s.mu.Lock()
	delete(s.clients, name)
	s.mu.Unlock()
}

// clone keeps callers from changing what is cached.
func (c Client) clone() Client {
	c.Roots = cloneGrants(c.Roots)
	return c
}

func cloneGrants(g []Grant) []Grant {
	if g == nil {
		return nil
	}
	out := make([]Grant, len(g))
	for i, r := range g {
		out[i] = Grant{Root: r.Root, Rights: append([]string(nil), r.Rights...)}
	}
	return out
}

// Clients returns all clients in order of their names, expired ones too, and an error for each file that cannot be
// used: that client is refused, the others are not. Two files with the same key are both refused, since which one
// counts would be a guess.
func (s *Store) Clients() ([]Client, []error) {
	all, errs := s.readClients()
	files := make(map[crypto.PeerID]int, len(all)) // how many have that key
	for _, c := range all {
		files[c.ID]++
	}
	good := all[:0]
	for _, c := range all {
		if files[c.ID] > 1 {
			errs = append(errs, &FileError{Path: s.path(clientFile(c.Name)), Msg: "another client has the same id; remove one of them"})
			continue
		}
		good = append(good, c)
	}
	return good, errs
}

// readClients returns the client of each file that can be used by itself, and what is wrong with the others.
func (s *Store) readClients() (all []Client, errs []error) {
	// The directory is opened once: a name of one part is the cheapest to look at, and there may be many.
	dir, err := s.fs.OpenRoot(clientsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, []error{fmt.Errorf("read %s: %w", s.path(clientsDir), cause(err))}
	}
	defer dir.Close()
	names, err := s.list(dir, clientsDir)
	if err != nil {
		return nil, []error{err}
	}
	for _, name := range names {
		c, err := s.client(dir, name+fileSuffix, name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			errs = append(errs, err)
		default:
			all = append(all, c)
		}
	}
	return all, errs
}

// ownerOf returns the name of a client that has the key.
func (s *Store) ownerOf(id crypto.PeerID) (Client, bool) {
	clients, _ := s.readClients()
	for _, c := range clients {
		if c.ID == id {
			return c, true
		}
	}
	return Client{}, false
}

// ClientByID returns the client with that key. Where it may not come in it is false: with no error when nobody has that
// key, with ErrClientExpired, and the client, when its time is over. Files that are damaged count as not there; that a
// file could not be read at all, so that nobody knows whose key is in it, is another error.
func (s *Store) ClientByID(id crypto.PeerID) (Client, bool, error) {
	if id.IsZero() {
		return Client{}, false, nil
	}
	clients, errs := s.Clients()
	for _, c := range clients {
		if c.ID == id {
			return s.admit(c)
		}
	}
	for _, err := range errs {
		if !isFileFault(err) {
			return Client{}, false, err
		}
	}
	return Client{}, false, nil
}

// isFileFault tells an error that lies in a file, and will be there until somebody mends it, from one of reading.
func isFileFault(err error) bool {
	var fe *FileError
	var pe *PermError
	return errors.As(err, &fe) || errors.As(err, &pe) || errors.Is(err, durable.ErrNotRegular)
}

// ClientByName returns the client of that name, otherwise as ClientByID. A file that cannot be used is an error here.
func (s *Store) ClientByName(name string) (Client, bool, error) {
	if err := CheckName(name); err != nil {
		return Client{}, false, err
	}
	c, err := s.client(s.fs, clientFile(name), name)
	if errors.Is(err, fs.ErrNotExist) {
		return Client{}, false, nil
	}
	if err != nil {
		return Client{}, false, err
	}
	return s.admit(c)
}

func (s *Store) admit(c Client) (Client, bool, error) {
	if c.Expired(s.opts.Now()) {
		return c, false, fmt.Errorf("%s: %w", c.Name, ErrClientExpired)
	}
	return c, true, nil
}

// PutClient writes the file of a client, over one of the same name. A key that is another client's already is
// ErrClientExists.
func (s *Store) PutClient(c Client) error {
	if err := s.checkClient(c); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return s.locked(func() error { return s.putClient(c) })
}

// putClient writes a checked client. The lock is held.
func (s *Store) putClient(c Client) error {
	clients, _ := s.readClients()
	for _, other := range clients {
		if other.ID == c.ID && other.Name != c.Name {
			return fmt.Errorf("the key of client %q: %w, called %q", c.Name, ErrClientExists, other.Name)
		}
	}
	t := clientTOML{
		ID:          c.ID,
		Default:     c.Default,
		MaxSessions: c.MaxSessions,
		BWLimit:     c.BWLimit,
		Added:       c.Added.UTC().Truncate(time.Second),
		Root:        rootsOf(c.Roots),
	}
	if !c.Expires.IsZero() {
		e := c.Expires.UTC().Truncate(time.Second)
		t.Expires = &e
	}
	data, err := encode("A client of this server. Changes count at once; removing the file ends its access.", t)
	if err != nil {
		return err
	}
	// What is written must be readable again, or the client would be refused for reasons nobody sees here.
	if _, err := s.parseClient(c.Name, s.path(clientFile(c.Name)), data); err != nil {
		return err
	}
	return s.write(clientFile(c.Name), data)
}

// RemoveClient ends the access of a client, whatever its file holds, and tells whether there was one. Sessions that live
// the daemon ends.
func (s *Store) RemoveClient(name string) (removed bool, err error) {
	if err := CheckName(name); err != nil {
		return false, err
	}
	err = s.locked(func() error {
		err := s.fs.Remove(clientFile(name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", s.path(clientFile(name)), cause(err))
		}
		removed = true
		return s.fs.SyncDir(clientsDir)
	})
	s.forget(name)
	return removed, err
}
