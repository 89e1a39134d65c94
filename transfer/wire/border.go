package wire

// BORDER: the names and fields here are settled; the wire author splits this file (one file a message),
// adds encoding, limits, docs. Odd keys must be understood, even keys may be ignored.

type Type uint8

const (
	THello, TWelcome, TJoin, TJoined      Type = 0x01, 0x02, 0x03, 0x04
	TPing, TPong, TGoAway, TBye, TError   Type = 0x05, 0x06, 0x07, 0x08, 0x09
	TOpen, TOpened                        Type = 0x10, 0x11
	TData, TAck, TNack, TCommit, TReceipt Type = 0x14, 0x15, 0x16, 0x17, 0x18
	TAbort                                Type = 0x19
	TGet, TList, TEntries, TStat, TStated Type = 0x20, 0x21, 0x22, 0x23, 0x24
	TMkdir, TRemove, TRename, TDone       Type = 0x25, 0x26, 0x27, 0x28
	TSpace, THashes, THashList            Type = 0x29, 0x2A, 0x2B
	TSymlink, TSetMeta, TSpaced           Type = 0x2C, 0x2D, 0x2E
	TEnroll, TEnrolled                    Type = 0x40, 0x41
)

type Message interface{ Type() Type }

// Header is the 12 bytes before every frame.
type Header struct {
	Type   Type
	Flags  uint8
	Length uint32
	ID     uint32
}

// Path is a list of components, checked when made. The zero value is the root itself.
type Path struct{ parts []string }

type TransferID [16]byte
type SessionID [16]byte
type Hash [32]byte // a CV or a root

// Range is Count chunks from Start. Ranges in a message are sorted, non-empty and do not touch.
type Range struct{ Start, Count uint64 }
type Ranges []Range

type Part struct{ Chunk, Bytes uint64 }

type Hello struct { // c->s
	Versions []uint64 // 1 minor versions
	Agent    string   // 2
	Caps     []string // 4
	TimeNS   int64    // 6 wall clock
}
type Welcome struct { // s->c
	Minor   uint64     // 1
	Session SessionID  // 3
	Limits  PeerLimits // 5
	Window  uint64     // 7 bytes sent and not ACKed per session
	Caps    []string   // 4
	Roots   []RootInfo // 8
	TimeNS  int64      // 12
	Name    string     // 14 the client's name as the server knows it
}
type PeerLimits struct {
	Streams  uint64 // 1 data streams per session
	Open     uint64 // 2 open transfers per session
	Requests uint64 // 4 requests in progress per session
}
type RootInfo struct {
	Name    string   // 1
	Rights  []string // 2
	Default bool     // 4
}
type Join struct { // c->s
	Session SessionID // 1
	MAC     []byte    // 3 empty on a stream of the control connection, else 32 bytes
	Counter uint64    // 5
}
type Joined struct{ Stream uint64 } // 1
type Ping struct{ Opaque [8]byte }  // 8
type Pong struct{ Opaque [8]byte }  // 8
type GoAway struct {
	DeadlineMS uint64 // 1
	Reason     string // 2
}
type Bye struct{ Reason string } // 2
type Error struct {
	Code         Code   // 1
	Class        uint8  // 3
	Text         string // 2
	RetryAfterMS uint64 // 4
	Path         Path   // 6
}

// UnknownSize in Open.Size: stdin; the size comes in COMMIT.
const UnknownSize = ^uint64(0)

type IfExists uint8   // 0 replace, 1 fail, 2 version
type Durability uint8 // 0 full, 1 batch, 2 none
type Compare uint8    // 0 always send, 1 same size and mtime is same, 2 same size and root is same (Root must be set)

const (
	OpenFresh = 1 << 0 // discard what is held of this (principal, path); start over
)

type Open struct { // sender->receiver
	Transfer    TransferID // 1
	Root        string     // 3 name of the root, "" = the client's default; "" in an OPEN that answers GET
	Path        Path       // 5
	Size        uint64     // 7
	ChunkLog2   uint8      // 9
	Alg         uint8      // 11, 1 = BLAKE3
	Fingerprint []byte     // 13, at most 64
	IfExists    IfExists   // 15
	Durability  Durability // 17
	Compare     Compare    // 19
	Flags       uint64     // 21 OpenFresh
	Meta        Meta       // 4
	RootHash    *Hash      // 6 for Compare 2
	Priority    uint8      // 8
	JobID       []byte     // 12, 0 or 16 bytes
}

// Meta is what is kept of a file besides its bytes.
type Meta struct {
	Mode              uint32 // 1 Unix permission bits (12 bits: with setuid, setgid, sticky)
	MTimeNS           int64  // 2
	HasMode, HasMTime bool   // presence of the keys 1 and 2
}

type OpenState uint8 // of Opened
const (
	StateNew     OpenState = 1
	StatePartial OpenState = 2
	StateChanged OpenState = 3
	StateSame    OpenState = 4 // nothing to send; Receipt set where the content was compared
	StateDone    OpenState = 5 // this transfer id was published before; Receipt set
	StateExists  OpenState = 6 // a file of that size is there and may not be replaced: COMMIT its root (no data): equal = RECEIPT, else ERROR EXISTS
)

type Opened struct { // receiver->sender
	State   OpenState // 1
	Epoch   uint64    // 3
	Have    Ranges    // 5
	Parts   []Part    // 4
	Receipt *Receipt  // 8
}

// Data flags.
const (
	DataFirst = 0x01
	DataLast  = 0x02
	DataZstd  = 0x04 // reserved for later: refused now
	DataZero  = 0x08 // reserved for later: refused now
)

type Data struct { // fixed binary body: chunk u64, offset u32, raw length u32, payload, [CV 32 if LAST]
	Flags   uint8
	Chunk   uint64
	Offset  uint32
	RawLen  uint32 // of the whole chunk
	Payload []byte // aliases the buffer given to the reader
	CV      Hash   // with DataLast
}

type Ack struct {
	Received Ranges // 1
	Durable  Ranges // 2
} // empty = still at work (verifying a stage): resets the sender's stall timer
type Nack struct {
	Chunk uint64 // 1
	Code  Code   // 3
}
type Commit struct {
	RootHash    Hash   // 1
	Size        uint64 // 3
	Fingerprint []byte // 5
	Meta        *Meta  // 4
}
type Receipt struct {
	Transfer   TransferID // 1
	RootHash   Hash       // 3
	Size       uint64     // 5
	Path       Path       // 7 as published
	TimeNS     int64      // 9
	Durability Durability // 11
	Signature  [64]byte   // 13
	RootName   string     // 15
	Signer     []byte     // 17 SPKI DER of the receiver's key, at most 128
	Replaced   Path       // 4 where the old version was kept; empty = none
}
type Abort struct {
	Keep bool // 1
	Code Code // 3
}
type Get struct { // c->s; server answers by OPEN on Handle (odd), or ERROR with id = Handle
	Root         string // 1
	Path         Path   // 3
	Handle       uint32 // 5
	ChunkLog2Max uint8  // 7
}
type List struct {
	Root   string // 1
	Path   Path   // 3
	Depth  uint64 // 5: 1 = this directory
	Cursor []byte // 2, at most 4096
}
type Kind uint8 // 1 file, 2 directory, 3 symlink, 4 other
type Entry struct {
	Name    string // 1 bytes; one component
	Kind    Kind   // 3
	Size    uint64 // 5
	Mode    uint32 // 7
	MTimeNS int64  // 9
	Target  string // 4 bytes; symlink, at most 4095
}
type Entries struct {
	Entries []Entry // 1, at most 4096
	Next    []byte  // 2; empty = the end
}
type Stat struct {
	Root     string // 1
	Path     Path   // 3
	WantRoot bool   // 2
}
type Stated struct {
	Entry    Entry // 1 (Name may be empty for a root)
	RootHash *Hash // 2
}
type Mkdir struct {
	Root    string // 1
	Path    Path   // 3
	ExistOK bool   // 2
	Parents bool   // 4
	Meta    *Meta  // 6
}
type Remove struct {
	Root      string // 1
	Path      Path   // 3
	MissingOK bool   // 2
	Recursive bool   // 5
}
type Rename struct {
	Root      string // 1
	From      Path   // 3
	To        Path   // 5
	NoReplace bool   // 7
}
type Done struct{}
type Space struct{ Root string }         // 1
type Spaced struct{ Free, Total uint64 } // 1, 3
type Hashes struct {                     // s->r: CVs of held chunks of an open transfer (id = its handle)
	First uint64 // 1
	Count uint64 // 3, at most 8192
}
type HashList struct{ CVs []Hash } // 1
type Symlink struct {
	Root     string   // 1
	Path     Path     // 3
	Target   string   // 5 bytes
	IfExists IfExists // 7
	Meta     *Meta    // 2
}
type SetMeta struct {
	Root string // 1
	Path Path   // 3
	Meta Meta   // 5
}
type Enroll struct {
	CodeID []byte // 1, 2 bytes
	MAC    []byte // 3, 32 bytes
	Name   string // 2 the client's host name, for the server's list
}
type Enrolled struct {
	MAC   []byte     // 1
	Name  string     // 2
	Roots []RootInfo // 4
}

// Code is an error code on the wire. Class says what the other side does about it.
type Code uint16

const ( // class 1: retry now
	CodeStreamLost Code = 0x0101 + iota
	CodeGoAway
	CodeChunkBad
	CodeFenced
	CodeTimeout
)
const ( // class 2: retry later
	CodeBusy Code = 0x0201 + iota
	CodeNoSpace
	CodeQuota
	CodeRate
	CodeServerLimit
	CodeIOError
	CodeDraining
)
const ( // class 3: restart the transfer
	CodeSourceChanged Code = 0x0301 + iota
	CodeRootMismatch
	CodeStageLost
)
const ( // class 4: permanent
	CodeDenied Code = 0x0401 + iota
	CodeBadPath
	CodeExists
	CodeUnsupported
	CodeTooBig
	CodeNotFound
	CodeBadName
	CodeIsDir
	CodeNotDir
	CodeNotEmpty
	CodeInternal
)
const ( // class 5: the session is over
	CodeProtocol Code = 0x0501 + iota
	CodeLimit
	CodeAuth
	CodeVersion
	CodeRevoked
	CodeExpired
)
