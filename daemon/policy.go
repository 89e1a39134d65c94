package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"xfer/certs"
	"xfer/crypto"
	"xfer/transfer"
	"xfer/transfer/sink"
)

// book is what the policy asks of the certificate store. Its methods are called concurrently.
type book interface {
	Clients() ([]certs.Client, []error)
	ClientByID(crypto.PeerID) (certs.Client, bool, error)
	Invite(codeID [2]byte) (certs.Invite, bool, error)
	InviteFailed(codeID [2]byte) error
	Redeem(codeID [2]byte, id crypto.PeerID) (certs.Client, error)
}

var _ book = (*certs.Store)(nil)

// policy decides who may do what; it implements transfer.Policy.
type policy struct {
	book     book
	roots    *roots
	sessions *places[crypto.PeerID]
	codes    *places[[2]byte] // one try of a code at a time, so that five are five
	tries    *tries
	log      *slog.Logger
	counts   *counts

	all *transfer.Bandwidth // of all sessions

	mu   sync.Mutex
	rate map[string]*clientRate // by name of the client
	max  int                    // sessions of one client
	wait time.Duration          // for a place
	live map[*grant]struct{}    // of sessions that have not ended
}

var _ transfer.Policy = (*policy)(nil)

func newPolicy(b book, r *roots, l Limits, log *slog.Logger, n *counts) *policy {
	p := &policy{
		book: b, roots: r, log: log, counts: n,
		sessions: newPlaces[crypto.PeerID](l.WaitQueue),
		codes:    newPlaces[[2]byte](l.WaitQueue),
		tries:    newTries(l.FailedEnrolments, time.Minute),
		live:     make(map[*grant]struct{}),
		all:      transfer.NewBandwidth(nil),
		rate:     make(map[string]*clientRate),
	}
	p.setLimits(l)
	return p
}

func (p *policy) setLimits(l Limits) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.max, p.wait = l.Sessions, l.SessionWait
}

// trustError is a refusal for good. Its text reaches the peer.
func trustError(op, format string, args ...any) error {
	return &transfer.Error{Op: op, Kind: transfer.KindTrust, Err: fmt.Errorf(format, args...)}
}

// busyError tells the peer to come again.
func busyError(op string, after time.Duration) error {
	return &transfer.Error{Op: op, Kind: transfer.KindBusy, Err: &transfer.BusyError{RetryAfter: after}}
}

// comeAgain is when one that was told to wait should try again: not all at once.
func comeAgain() time.Duration { return 500*time.Millisecond + rand.N(500*time.Millisecond) }

// known returns peer's entry, or a KindTrust error that says why it has no access.
func (p *policy) known(peer crypto.PeerID) (certs.Client, error) {
	c, ok, err := p.book.ClientByID(peer)
	switch {
	case errors.Is(err, certs.ErrClientExpired):
		return c, accessExpired("authorize", c)
	case err != nil:
		p.log.Error("clients cannot be read", "peer", peer.String(), "err", err)
		return c, &transfer.Error{Op: "authorize", Kind: transfer.KindRemoteIO, Err: errors.New("the server cannot read its list of clients")}
	case !ok:
		return c, trustError("authorize", "this server does not know the key %s: enroll it first", peer)
	}
	return c, nil
}

func accessExpired(op string, c certs.Client) error {
	return trustError(op, "the access of %q expired at %s", c.Name, c.Expires.UTC().Format(time.RFC3339))
}

// granted is one root with the rights of one client in it.
type granted struct {
	named
	rights    sink.Rights
	isDefault bool
}

// resolve returns what c may do in which of list, in the order of list. Default deny: roots that are not served, empty
// rights, and words that are not understood grant nothing; bad tells of the last.
func resolve(c certs.Client, list []named) (got []granted, bad error) {
	for at, n := range list {
		i := slices.IndexFunc(c.Roots, func(g certs.Grant) bool { return g.Root == n.name })
		if i < 0 && at == 0 {
			i = slices.IndexFunc(c.Roots, func(g certs.Grant) bool { return g.Root == certs.DefaultRoot })
		}
		if i < 0 || len(c.Roots[i].Rights) == 0 {
			continue
		}
		rights, err := parseRights(c.Roots[i].Rights)
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("client %q, root %q: %w", c.Name, n.name, err))
			continue
		}
		got = append(got, granted{named: n, rights: rights})
	}
	if len(got) > 0 {
		got[defaultOf(c, got)].isDefault = true
	}
	return got, bad
}

// defaultOf returns the index of c's default root in got: the one it names, else the first of its list that is there.
func defaultOf(c certs.Client, got []granted) int {
	names := []string{c.Default}
	for _, g := range c.Roots {
		names = append(names, g.Root)
	}
	for _, name := range names {
		if i := slices.IndexFunc(got, func(g granted) bool { return g.name == name }); i >= 0 {
			return i
		}
	}
	return 0
}

// Authorize implements transfer.Policy. A session over the limit of its client waits in line for a place.
func (p *policy) Authorize(ctx context.Context, peer crypto.PeerID, _ []*x509.Certificate, _ string) (transfer.Grant, func(), error) {
	c, err := p.known(peer)
	if err != nil {
		return transfer.Grant{}, nil, err
	}
	leave, err := p.place(ctx, c)
	if err != nil {
		return transfer.Grant{}, nil, err
	}
	g, release, err := p.grant(peer)
	if err != nil {
		leave()
		return transfer.Grant{}, nil, err
	}
	return g, sync.OnceFunc(func() { release(); leave() }), nil
}

// place waits for one of the places that c may have.
func (p *policy) place(ctx context.Context, c certs.Client) (leave func(), err error) {
	p.mu.Lock()
	most, wait := p.max, p.wait
	p.mu.Unlock()
	if c.MaxSessions > 0 {
		most = min(most, c.MaxSessions)
	}
	leave, err = p.sessions.take(ctx, c.ID, most, wait)
	if errors.Is(err, errNoPlace) {
		return nil, busyError("authorize", comeAgain())
	}
	return leave, err
}

// grant says what peer has at this moment, and notes it for withdrawn.
func (p *policy) grant(peer crypto.PeerID) (transfer.Grant, func(), error) {
	c, err := p.known(peer) // again: it may have changed while we waited
	if err != nil {
		return transfer.Grant{}, nil, err
	}
	list, put := p.roots.get()
	got, bad := resolve(c, list)
	if bad != nil {
		p.log.Warn("rights that are not understood grant nothing", "err", bad)
	}
	if len(got) == 0 {
		put()
		return transfer.Grant{}, nil, &transfer.Error{Op: "authorize", Kind: transfer.KindDenied,
			Err: fmt.Errorf("%q has no rights in any root that is served here", c.Name)}
	}
	g := &grant{client: c, rights: rightsOf(got)}
	p.mu.Lock()
	p.live[g] = struct{}{}
	p.mu.Unlock()
	out := transfer.Grant{Name: c.Name, Owner: peer.String(), Bandwidth: p.rates(c)}
	for _, r := range got {
		out.Roots = append(out.Roots, transfer.GrantedRoot{
			Name: r.name, View: r.dir.View(out.Owner, r.rights), Rights: rightWords(r.rights), Default: r.isDefault,
		})
	}
	return out, func() {
		p.mu.Lock()
		delete(p.live, g)
		p.mu.Unlock()
		put()
	}, nil
}
