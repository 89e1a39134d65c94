package daemon

import (
	"fmt"
	"time"

	"xfer/certs"
	"xfer/crypto"
	"xfer/transfer"
	"xfer/transfer/sink"
)

// grant is what a live session was given.
type grant struct {
	client certs.Client
	rights map[*root]held
}

// held is what a session has in one directory, and under which name.
type held struct {
	name   string
	rights sink.Rights
}

func rightsOf(got []granted) map[*root]held {
	m := make(map[*root]held, len(got))
	for _, r := range got {
		m[r.root] = held{r.name, r.rights}
	}
	return m
}

// review is one look at who may do what, to be compared with what live sessions have.
type review struct {
	cut     map[crypto.PeerID]error // sessions to be ended, and why
	clients map[crypto.PeerID]certs.Client
	errs    []error // of entries that cannot be used
	missing map[crypto.PeerID]bool
	names   map[crypto.PeerID]string // of live sessions' clients
}

// review looks at all clients and returns those whose live sessions have more than they may have now. before is the
// last review, or nil.
//
// An entry that cannot be used grants nothing. But somebody may be writing it at this very moment, so while there
// are such entries, a client that is missing loses its sessions at the second look only.
func (p *policy) review(before *review) *review {
	r := &review{
		cut: make(map[crypto.PeerID]error), clients: make(map[crypto.PeerID]certs.Client),
		missing: make(map[crypto.PeerID]bool), names: make(map[crypto.PeerID]string),
	}
	var all []certs.Client
	all, r.errs = p.book.Clients()
	for _, c := range all {
		r.clients[c.ID] = c
	}
	p.mu.Lock()
	live := make([]*grant, 0, len(p.live))
	for g := range p.live {
		live = append(live, g)
	}
	p.mu.Unlock()
	list, put := p.roots.get()
	defer put()
	now := time.Now()
	for _, g := range live {
		id := g.client.ID
		r.names[id] = g.client.Name
		c, ok := r.clients[id]
		if !ok {
			r.missing[id] = true
			if len(r.errs) == 0 || before != nil && before.missing[id] {
				r.cut[id] = trustError("session", "access was withdrawn")
			}
			continue
		}
		if r.cut[id] == nil {
			if err := g.tooMuch(c, list, now); err != nil {
				r.cut[id] = err
			}
		}
	}
	return r
}

// tooMuch returns why g has to end, if it has: c is what its client may do now.
func (g *grant) tooMuch(c certs.Client, list []named, now time.Time) error {
	if c.Expired(now) {
		return accessExpired("session", c)
	}
	got, _ := resolve(c, list)
	if len(got) == 0 {
		return trustError("session", "access was withdrawn")
	}
	have := rightsOf(got)
	for r, was := range g.rights {
		// A root that is gone is the zero value here: no name, no rights.
		if now := have[r]; now.name != was.name || narrower(was.rights, now.rights) {
			// Something is left: the client comes back at once, and gets that.
			return &transfer.Error{Op: "session", Kind: transfer.KindBusy,
				Err: fmt.Errorf("rights have changed: %w", &transfer.BusyError{})}
		}
	}
	return nil
}
