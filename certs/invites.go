package certs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"xfer/crypto"
)

// inviteTries is how many wrong proofs a code survives, plus one.
const inviteTries = 5

// inviteKept is how long the rest of an invitation stays after its end, to say what became of it.
const inviteKept = 7 * 24 * time.Hour

// Why an invitation is of no use. A peer that has proven nothing should be told none of this.
var (
	ErrInviteUnknown = errors.New("there is no invitation with this code")
	ErrInviteExpired = errors.New("the invitation has expired")
	ErrInviteUsed    = errors.New("the invitation has been used")
	ErrInviteBurnt   = errors.New("the invitation is dead after too many wrong tries")
)

// Invite is an invitation that somebody may still take.
type Invite struct {
	Code      crypto.Code // secret
	Name      string      // of the client to be
	Roots     []Grant
	Made      time.Time
	Expires   time.Time
	TriesLeft int // wrong ones, until it is dead
}

// inviteTOML is a file in invites.d.
type inviteTOML struct {
	Code      string         `toml:"code,omitempty"` // gone once used or burnt
	Name      string         `toml:"name"`
	Made      time.Time      `toml:"made"`
	Expires   time.Time      `toml:"expires"`
	TriesLeft int            `toml:"tries_left"`
	UsedBy    *crypto.PeerID `toml:"used_by,omitempty"`
	Root      []rootTOML     `toml:"root"`
}

func inviteFile(id [2]byte) string { return invitesDir + "/" + hex.EncodeToString(id[:]) + fileSuffix }

// parseInvite reads the file of an invitation and says whether it is still good. path is for messages. The
// file's content counts as well when it is not: it is returned with ErrInviteUsed, ErrInviteBurnt and ErrInviteExpired.
func (s *Store) parseInvite(id [2]byte, path string, data []byte) (Invite, error) {
	var t inviteTOML
	if err := decode(path, data, &t, true); err != nil {
		return Invite{}, err
	}
	bad := func(msg string) (Invite, error) { return Invite{}, &FileError{Path: path, Msg: msg} }
	inv := Invite{
		Name:      t.Name,
		Roots:     grantsOf(t.Root),
		Made:      t.Made,
		Expires:   t.Expires,
		TriesLeft: t.TriesLeft,
	}
	if err := CheckName(t.Name); err != nil {
		return bad("damaged: " + printable(err.Error()))
	}
	if err := s.checkGrants(inv.Roots); err != nil {
		return bad("damaged: " + printable(err.Error()))
	}
	if len(inv.Roots) == 0 {
		return bad("damaged: no root in it")
	}
	if t.Expires.IsZero() || t.TriesLeft < 0 || t.TriesLeft > inviteTries {
		return bad("damaged: expires or tries_left is missing or out of range")
	}
	switch {
	case t.UsedBy != nil:
		return inv, ErrInviteUsed
	case t.TriesLeft == 0:
		return inv, ErrInviteBurnt
	}
	code, err := crypto.ParseCode(t.Code)
	if err != nil {
		return bad("damaged: the code cannot be read")
	}
	if code.ID() != id {
		return bad("damaged: the code is another's")
	}
	inv.Code = code
	if !s.opts.Now().Before(t.Expires) {
		inv.Code = crypto.Code{}
		return inv, ErrInviteExpired
	}
	return inv, nil
}

// invite returns an invitation as parseInvite does. A missing one is ErrInviteUnknown.
func (s *Store) invite(id [2]byte) (Invite, error) {
	data, _, err := s.read(inviteFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return Invite{}, ErrInviteUnknown
	}
	if err != nil {
		return Invite{}, err
	}
	return s.parseInvite(id, s.path(inviteFile(id)), data)
}

// putInvite writes an invitation. The lock is held.
func (s *Store) putInvite(id [2]byte, inv Invite, usedBy *crypto.PeerID) error {
	t := inviteTOML{
		Name:      inv.Name,
		Made:      inv.Made.UTC(),
		Expires:   inv.Expires.UTC(),
		TriesLeft: inv.TriesLeft,
		UsedBy:    usedBy,
		Root:      rootsOf(inv.Roots),
	}
	if usedBy == nil && inv.TriesLeft > 0 {
		t.Code = inv.Code.String()
	}
	data, err := encode("An invitation. The code in it is secret.", t)
	if err != nil {
		return err
	}
	return s.write(inviteFile(id), data)
}

// NewInvite makes an invitation for one client that shall be called name and have these grants, good for life. No other
// invitation that is still remembered has a code with the same ID. A client of that name is ErrClientExists.
func (s *Store) NewInvite(name string, grants []Grant, life time.Duration) (crypto.Code, error) {
	if err := CheckName(name); err != nil {
		return crypto.Code{}, fmt.Errorf("invitation: %w", err)
	}
	if len(grants) == 0 {
		return crypto.Code{}, errors.New("invitation: no root is given, so the client could do nothing")
	}
	if err := s.checkGrants(grants); err != nil {
		return crypto.Code{}, fmt.Errorf("invitation: %w", err)
	}
	if life <= 0 {
		return crypto.Code{}, fmt.Errorf("invitation: a life of %v is none", life)
	}
	var code crypto.Code
	err := s.locked(func() error {
		s.sweepInvites()
		if err := s.nameFree(name); err != nil {
			return err
		}
		var err error
		if code, err = s.freeCode(); err != nil {
			return err
		}
		now := s.opts.Now()
		return s.putInvite(code.ID(), Invite{
			Code:      code,
			Name:      name,
			Roots:     grants,
			Made:      now,
			Expires:   now.Add(life),
			TriesLeft: inviteTries,
		}, nil)
	})
	if err != nil {
		return crypto.Code{}, fmt.Errorf("invitation: %w", err)
	}
	return code, nil
}

// nameFree tells whether no client has the name, nor a file that cannot be read.
func (s *Store) nameFree(name string) error {
	_, err := s.fs.Lstat(clientFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("client %q: %w; choose another name, or remove %s first", name, ErrClientExists, s.path(clientFile(name)))
}

// freeCode returns a new code whose ID no file has, whatever that file holds.
func (s *Store) freeCode() (crypto.Code, error) {
	const tries = 1000 // for a store with 65,000 invitations that is likely not enough; that is too many
	for range tries {
		code, err := crypto.NewCode()
		if err != nil {
			return crypto.Code{}, err
		}
		_, err = s.fs.Lstat(inviteFile(code.ID()))
		if errors.Is(err, fs.ErrNotExist) {
			return code, nil
		}
		if err != nil {
			return crypto.Code{}, err
		}
	}
	return crypto.Code{}, fmt.Errorf("%s holds too many invitations", s.path(invitesDir))
}

// sweepInvites removes what ended long ago. The lock is held.
func (s *Store) sweepInvites() {
	ids, err := s.inviteIDs()
	if err != nil {
		return // a courtesy
	}
	for _, id := range ids {
		inv, err := s.invite(id)
		gone := err == nil || errors.Is(err, ErrInviteUsed) || errors.Is(err, ErrInviteBurnt) || errors.Is(err, ErrInviteExpired)
		if gone && s.opts.Now().Sub(inv.Expires) > inviteKept {
			_ = s.fs.Remove(inviteFile(id))
		}
	}
}

// Invite returns the invitation whose code has the ID. Where it is of no use it is false, with ErrInviteUnknown,
// ErrInviteExpired, ErrInviteUsed, ErrInviteBurnt, or what is wrong with its file.
func (s *Store) Invite(codeID [2]byte) (Invite, bool, error) {
	inv, err := s.invite(codeID)
	if err != nil {
		return Invite{}, false, err
	}
	return inv, true, nil
}

// Invites returns all invitations that somebody may still take.
func (s *Store) Invites() ([]Invite, error) {
	ids, err := s.inviteIDs()
	if err != nil {
		return nil, err
	}
	var all []Invite
	for _, id := range ids {
		if inv, err := s.invite(id); err == nil {
			all = append(all, inv)
		}
	}
	return all, nil
}

// inviteIDs returns the ids that have a file, whatever is in it.
func (s *Store) inviteIDs() (ids [][2]byte, err error) {
	dir, err := s.fs.OpenRoot(invitesDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path(invitesDir), cause(err))
	}
	defer dir.Close()
	names, err := s.list(dir, invitesDir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if b, err := hex.DecodeString(name); err == nil && len(b) == 2 {
			ids = append(ids, [2]byte(b))
		}
	}
	return ids, nil
}

// InviteFailed counts a wrong proof for the code with the ID. At the fifth the code is dead for good, and gone from the
// disk. It is durable when it returns. An invitation of no use is an error as from Invite.
func (s *Store) InviteFailed(codeID [2]byte) error {
	return s.locked(func() error {
		inv, err := s.invite(codeID)
		if err != nil {
			return err
		}
		inv.TriesLeft--
		return s.putInvite(codeID, inv, nil)
	})
}

// Redeem makes the peer id, which has proven to know the code with the ID, the client that the invitation is for. Of any
// number of calls, in any number of processes, one succeeds. A key that is a client already stays what it is, under its name and
// with its rights, and uses the code; ErrClientExists where its time is over. First the code is marked used, then the client is
// written, both durably: a crash in between costs the invitation and gives nothing.
func (s *Store) Redeem(codeID [2]byte, id crypto.PeerID) (Client, error) {
	var c Client
	err := s.locked(func() error {
		inv, err := s.invite(codeID)
		if err != nil {
			return err
		}
		if old, ok := s.ownerOf(id); ok {
			if old.Expired(s.opts.Now()) {
				return fmt.Errorf("this key: %w, called %q, whose time is over", ErrClientExists, old.Name)
			}
			c = old
			return s.putInvite(codeID, inv, &id)
		}
		if err := s.nameFree(inv.Name); err != nil {
			return err
		}
		c = Client{
			Name:    inv.Name,
			ID:      id,
			Roots:   inv.Roots,
			Default: inv.Roots[0].Root,
			Added:   s.opts.Now().UTC().Truncate(time.Second),
		}
		if err := s.checkClient(c); err != nil {
			return err
		}
		if err := s.putInvite(codeID, inv, &id); err != nil {
			return err
		}
		return s.putClient(c)
	})
	if err != nil {
		return Client{}, fmt.Errorf("enrolment: %w", err)
	}
	return c, nil
}
