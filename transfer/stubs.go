package transfer

import (
	"context"
	"errors"
	"io"
	"time"

	"xfer/crypto"
	"xfer/transfer/transport"
)

// BORDER: signatures for those who call the engine while it is written.

var errStub = errors.New("engine under construction")

func (c *Client) Send(ctx context.Context, src []Source, dst Address) (Result, error) {
	return Result{}, errStub
}
func (c *Client) Get(ctx context.Context, src []Address, dst string, out io.Writer) (Result, error) {
	return Result{}, errStub
}
func (c *Client) Check(ctx context.Context, src string, dst Address) (Result, error) {
	return Result{}, errStub
}
func (c *Client) Remote(ctx context.Context) (*Remote, error) { return nil, errStub }
func (c *Client) Enroll(ctx context.Context, code crypto.Code, name string) (Enrolled, error) {
	return Enrolled{}, errStub
}

type Remote struct{}

func (r *Remote) Roots() []RootInfo   { return nil }
func (r *Remote) Name() string        { return "" }
func (r *Remote) Peer() crypto.PeerID { return crypto.PeerID{} }
func (r *Remote) Transport() string   { return "" }
func (r *Remote) Close() error        { return nil }
func (r *Remote) Stat(ctx context.Context, a Address) (RemoteEntry, error) {
	return RemoteEntry{}, errStub
}
func (r *Remote) List(ctx context.Context, a Address, each func(RemoteEntry) error) error {
	return errStub
}
func (r *Remote) Hash(ctx context.Context, a Address) (crypto.Digest, int64, error) {
	return crypto.Digest{}, 0, errStub
}
func (r *Remote) Cat(ctx context.Context, a Address, w io.Writer) (int64, error) { return 0, errStub }
func (r *Remote) Mkdir(ctx context.Context, a Address, parents bool) error       { return errStub }
func (r *Remote) Rename(ctx context.Context, from, to Address, noReplace bool) error {
	return errStub
}
func (r *Remote) Remove(ctx context.Context, a Address, recursive, missingOK bool) error {
	return errStub
}
func (r *Remote) Space(ctx context.Context, root string) (free, total int64, err error) {
	return 0, 0, errStub
}
func (r *Remote) Ping(ctx context.Context) (time.Duration, error) { return 0, errStub }

// ReceiptOf / wire form for receipt files: one receipt as it was signed.
func (r Receipt) Verify() (crypto.PeerID, error)    { return crypto.PeerID{}, errStub }
func EncodeReceipts(list []Receipt) ([]byte, error) { return nil, errStub }
func DecodeReceipts(data []byte) ([]Receipt, error) { return nil, errStub }

func (s *Server) Serve(ctx context.Context, c transport.Conn) error { return errStub }
func (s *Server) Drain(ctx context.Context) error                   { return errStub }
func (s *Server) Sessions() []SessionInfo                           { return nil }
func (s *Server) Panics() int64                                     { return 0 }
