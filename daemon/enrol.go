package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"xfer/certs"
	"xfer/crypto"
	"xfer/transfer"
)

// errCode is all that a peer is told of a code that did not work; our log knows more.
func errCode() error {
	return trustError("enroll", "the code is wrong, used, expired, or dead after too many wrong tries")
}

// useless tells whether err says that a code is of no use, as opposed to a store that cannot be read.
func useless(err error) bool {
	return errors.Is(err, certs.ErrInviteUnknown) || errors.Is(err, certs.ErrInviteUsed) ||
		errors.Is(err, certs.ErrInviteExpired) || errors.Is(err, certs.ErrInviteBurnt)
}

// enrolWait is how long a try waits for another one of the same code.
const enrolWait = 3 * time.Second

// Enroll implements transfer.Policy: one try of an enrolment code. Failed tries are limited by address here and by code
// in the store; every outcome is logged.
func (p *policy) Enroll(ctx context.Context, peer crypto.PeerID, remote string, codeID [2]byte) (transfer.Enrolment, error) {
	log := p.log.With("peer", peer.String(), "remote", remote)
	forgive, wait := p.tries.begin(hostOf(remote))
	if wait > 0 {
		log.Warn("enrolment refused: too many failed tries from this address", "wait", wait.Round(time.Second).String())
		return nil, busyError("enroll", wait)
	}
	leave, err := p.codes.take(ctx, codeID, 1, enrolWait)
	if err != nil {
		log.Warn("enrolment refused: too many tries of one code at once")
		return nil, busyError("enroll", comeAgain())
	}
	inv, ok, err := p.book.Invite(codeID)
	if !ok {
		leave()
		if err == nil || useless(err) {
			log.Warn("enrolment refused", "why", err)
			return nil, errCode()
		}
		forgive() // our own failure
		log.Error("enrolment failed: the invitation cannot be read", "err", err)
		return nil, &transfer.Error{Op: "enroll", Kind: transfer.KindRemoteIO, Err: errors.New("the server cannot read its invitations")}
	}
	// Accept or Reject follows at once. Should the connection end instead, the code must not stay blocked.
	stop := context.AfterFunc(ctx, leave)
	done := sync.OnceFunc(func() { stop(); leave() })
	return &enrolment{p: p, id: codeID, inv: inv, peer: peer, log: log.With("client", inv.Name), forgive: forgive, done: done}, nil
}

// enrolment is one try of one code.
type enrolment struct {
	p       *policy
	id      [2]byte
	inv     certs.Invite
	peer    crypto.PeerID
	log     *slog.Logger
	forgive func()
	done    func()
}

var _ transfer.Enrolment = (*enrolment)(nil)

// Code implements transfer.Enrolment.
func (e *enrolment) Code() crypto.Code { return e.inv.Code }

// Accept implements transfer.Enrolment: the peer knew the code. What it is told when that does not help may be
// plain, it has proven to be whom we invited.
func (e *enrolment) Accept(host string) (string, []transfer.RootInfo, error) {
	defer e.done()
	e.forgive()
	c, err := e.p.book.Redeem(e.id, e.peer)
	switch {
	case err == nil:
	case useless(err): // it ended between the look and the redemption
		e.log.Warn("enrolment refused", "why", err)
		return "", nil, errCode()
	case errors.Is(err, certs.ErrClientExists):
		e.log.Warn("enrolment refused", "why", err)
		return "", nil, trustError("enroll", "this key or the name %q is that of a client already", e.inv.Name)
	default:
		e.log.Error("enrolment failed", "err", err)
		return "", nil, &transfer.Error{Op: "enroll", Kind: transfer.KindRemoteIO, Err: errors.New("the server cannot store the new client")}
	}
	if c.Name != e.inv.Name {
		e.log.Warn("the key is that of a client already, whose name and rights stay as they are", "called", c.Name)
	}
	e.p.counts.enrolled.Add(1)
	list, put := e.p.roots.get()
	defer put()
	got, bad := resolve(c, list)
	roots := make([]transfer.RootInfo, 0, len(got))
	for _, r := range got {
		roots = append(roots, transfer.RootInfo{Name: r.name, Rights: rightWords(r.rights), Default: r.isDefault})
	}
	e.log.Info("enrolled", "host", host, "roots", len(roots))
	if bad != nil || len(roots) < len(c.Roots) {
		e.log.Warn("some roots of the new client are not served here, or its rights are not understood", "granted", len(roots), "named", len(c.Roots))
	}
	return c.Name, roots, nil
}

// Reject implements transfer.Enrolment: the peer did not know the code.
func (e *enrolment) Reject() {
	defer e.done()
	if err := e.p.book.InviteFailed(e.id); err != nil && !useless(err) {
		e.log.Error("a wrong try of a code could not be counted", "err", err)
	}
	e.log.Warn("enrolment refused", "why", "wrong code", "tries_left", max(e.inv.TriesLeft-1, 0))
}
