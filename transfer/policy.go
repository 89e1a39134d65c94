package transfer

import (
	"context"
	"crypto/x509"
	"time"

	"xfer/crypto"
	"xfer/transfer/sink"
)

// Policy is the server's view of who may do what. Its methods are called concurrently.
type Policy interface {
	// Authorize says what peer may do. An error with KindTrust means unknown, revoked or expired, and its text goes to the
	// peer; one with KindBusy means over a limit, with a *BusyError beneath it. release is called once, when the session
	// ends.
	Authorize(ctx context.Context, peer crypto.PeerID, certs []*x509.Certificate, remote string) (g Grant, release func(), err error)
	// Enroll finds an invitation by the id of its code. An error with KindBusy goes to the peer; of any other the peer learns
	// only that the code is wrong.
	Enroll(ctx context.Context, peer crypto.PeerID, remote string, codeID [2]byte) (Enrolment, error)
}

// Enrolment is one try of a code. Accept or Reject is called once.
type Enrolment interface {
	Code() crypto.Code
	// Accept makes the peer known under the name of the invitation, durably. name is what the peer calls itself.
	Accept(name string) (assigned string, roots []RootInfo, err error)
	// Reject counts a wrong try.
	Reject()
}

// Enrolled is what an enrolment gave.
type Enrolled struct {
	Peer  crypto.PeerID // the server's identity, to be pinned
	Name  string        // ours at the server
	Roots []RootInfo
}

// BusyError is beneath an Error with KindBusy.
type BusyError struct{ RetryAfter time.Duration }

func (e *BusyError) Error() string { return "busy, come again in " + e.RetryAfter.String() }

// Grant is what one principal may do now.
type Grant struct {
	Name  string
	Owner string // of its stages: the text of its PeerID
	Roots []GrantedRoot
	// Bandwidth is what the session keeps to, all of it; up is what the server sends.
	Bandwidth []*Bandwidth
}

// GrantedRoot is one root with the rights in it.
type GrantedRoot struct {
	Name    string
	View    *sink.View
	Rights  []string
	Default bool
}
