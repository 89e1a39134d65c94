package transfer

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"time"

	"xfer/crypto"
	"xfer/transfer/sink"
	"xfer/transfer/transport"
)

// BORDER: what cli and daemon may rely on. The engine's author replaces this file.

// Address is a place on a server: the named root ("" = the client's default root) and the components in it.
type Address struct {
	Root       string
	Path       []string
	TrailSlash bool // written with a trailing "/": a directory, made if missing; as a source: its contents
}

// Options of a Client's runs.
type Options struct {
	Streams    int                                  // data streams; 0 = by itself
	Transfers  int                                  // files at once; 0 = by itself
	BWLimit    func(now time.Time) (up, down int64) // payload bytes a second, 0 = no limit; nil = none
	RetryFor   time.Duration                        // without progress, over a bad network or busy server
	Timeout    time.Duration                        // no progress on a live connection
	Checksum   bool
	NoClobber  bool
	Resume     string // auto, verify, never
	Durability string // "", full, batch, none
	Verify     bool   // re-read at the target after publishing
	DryRun     bool
	Receipts   bool          // collect Result.Receipts
	Progress   time.Duration // between progress events, 0 = 100 ms
}

// Client runs transfers with one host.
type Client struct {
	Dial     func(ctx context.Context) (transport.Conn, error) // races, verifies the pin; *Error with KindTrust, KindUnreachable
	Identity *crypto.Identity                                  // signs receipts of get
	Agent    string
	Observe  func(Event) // may be nil
	Options  Options
}

// Source is one local thing to send.
type Source struct {
	Path  string    // as the user named it; trailing "/" = contents
	Stdin io.Reader // instead of Path
}

// Send sends sources to dst. multi: more than one source, so dst is a directory. The error is an *Error.
// func (c *Client) Send(ctx context.Context, src []Source, dst Address) (Result, error)
// Get fetches sources to the local path dst ("-": out gets the bytes of the one file).
// func (c *Client) Get(ctx context.Context, src []Address, dst string, out io.Writer) (Result, error)
// Check compares by content hash; differences go to Observe as EventFile with Action "differs", "missing", "extra"; KindVerify.
// func (c *Client) Check(ctx context.Context, src string, dst Address) (Result, error)
// Remote connects for single operations; it retries as the runs do. The caller closes it.
// func (c *Client) Remote(ctx context.Context) (*Remote, error)
// func (c *Client) Enroll(ctx context.Context, code crypto.Code, name string) (Enrolled, error)

// RemoteEntry is what a server says of one name.
type RemoteEntry struct {
	Name   string // raw bytes
	Kind   sink.Kind
	Size   int64
	Mode   uint32
	MTime  time.Time
	Target string
}

// RootInfo is a root that the server offers us.
type RootInfo struct {
	Name    string
	Rights  []string
	Default bool
}

// Methods of Remote:
//   Roots() []RootInfo ; Name() string (ours there) ; Peer() crypto.PeerID ; Transport() string ; Close() error
//   Stat(ctx, Address) (RemoteEntry, error)
//   List(ctx, Address, func(RemoteEntry) error) error
//   Hash(ctx, Address) (crypto.Digest, int64, error)
//   Cat(ctx, Address, io.Writer) (int64, error)
//   Mkdir(ctx, Address, parents bool) error
//   Rename(ctx, from, to Address, noReplace bool) error
//   Remove(ctx, Address, recursive bool, missingOK bool) error
//   Space(ctx, root string) (free, total int64, err error)
//   Ping(ctx) (rtt time.Duration, err error)

// Enrolled is what enrolment gave.
type Enrolled struct {
	Peer  crypto.PeerID // to be pinned
	Name  string        // ours at the server
	Roots []RootInfo
}

// Receipt is the signed statement that a file is published.
type Receipt struct {
	Transfer   [16]byte
	Root       crypto.Digest
	Size       int64
	Path       string // root name and path, raw bytes: "/NAME/a/b"
	Time       time.Time
	Durability string
	Signer     []byte // SPKI, DER
	Signature  []byte
}

// Verify checks the signature; it does not say whether Signer is somebody we know.
// func (r Receipt) Verify() (crypto.PeerID, error)

// Policy is the server's view of who may do what. Implemented by the daemon. Called concurrently.
type Policy interface {
	// Authorize says what peer may do. An error with KindTrust: unknown, revoked or expired (the text goes to the
	// peer); KindBusy: over a limit, come again after RetryAfter of the *BusyError beneath it.
	// release is called when the session ends.
	Authorize(ctx context.Context, peer crypto.PeerID, certs []*x509.Certificate, remote string) (g Grant, release func(), err error)
	// Enroll finds the secret of an invitation by its id and counts the try; ok says whether the try was right, so that
	// a right one may make peer known and a wrong one be counted. See Enrolment.
	Enroll(ctx context.Context, peer crypto.PeerID, remote string, codeID [2]byte) (Enrolment, error)
}

// Enrolment is one try of a code. Exactly one of its methods is called.
type Enrolment interface {
	Code() crypto.Code
	Accept(name string) (assigned string, roots []RootInfo, err error) // durable before it returns
	Reject()                                                           // counts
}

// BusyError is beneath a KindBusy Error.
type BusyError struct{ RetryAfter time.Duration }

func (e *BusyError) Error() string { return "busy, come again in " + e.RetryAfter.String() }

// Grant is what one principal may do now.
type Grant struct {
	Name  string
	Owner string // stage key; the PeerID's text
	Roots []GrantedRoot
}

// GrantedRoot is one root with rights.
type GrantedRoot struct {
	Name    string
	View    *sink.View
	Rights  []string
	Default bool
}

// Server serves connections. The zero values of the limits are those of DESIGN 14.
type Server struct {
	Identity *crypto.Identity // signs receipts
	Policy   Policy
	Agent    string
	Log      *slog.Logger
	Limits   Limits
	Observe  func(ServerEvent) // may be nil
}

// Limits of a Server.
type Limits struct {
	HelloTimeout time.Duration // 5 s, absolute from the handshake
	JoinTimeout  time.Duration // 5 s
	MaxStreams   int           // data streams a session, 16
	MaxOpen      int           // transfers a session, 1024
	MemoryMax    int64         // bytes buffered over all sessions, 256 MiB
	IdleTimeout  time.Duration // 45 s without a byte
}

// ServerEvent is for the daemon's log and status.
type ServerEvent struct {
	Kind      string // session-start, session-end, published, panic, enrolled, refused
	Session   string
	Client    string
	Remote    string
	Transport string
	Path      string
	Bytes     int64
	Err       error
}

// Serve serves one connection until it ends; JOINs of other connections find their session through the Server. It returns
// when all is parked. Cancelling ctx with a cause ends the session: the cause's Kind goes to the peer as an ERROR.
// func (s *Server) Serve(ctx context.Context, c transport.Conn) error
// Drain sends GOAWAY to every session and waits for them until ctx ends.
// func (s *Server) Drain(ctx context.Context) error
// Sessions is a snapshot for status.
// func (s *Server) Sessions() []SessionInfo
// Panics returns how many panics were caught (must be 0).
// func (s *Server) Panics() int64

// SessionInfo is one live session.
type SessionInfo struct {
	ID, Client, Remote, Transport string
	Peer                          crypto.PeerID
	Since                         time.Time
	Streams                       int
	Transfers                     int
	BytesIn, BytesOut             int64
}
