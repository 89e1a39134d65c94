package wire

import "strconv"

// Type is the first byte of a frame: which message it is.
type Type uint8

// The messages. 0x13 is reserved (PROTOCOL.md, "Reserved numbers").
const (
	THello   Type = 0x01
	TWelcome Type = 0x02
	TJoin    Type = 0x03
	TJoined  Type = 0x04
	TPing    Type = 0x05
	TPong    Type = 0x06
	TGoAway  Type = 0x07
	TBye     Type = 0x08
	TError   Type = 0x09

	TOpen    Type = 0x10
	TOpened  Type = 0x11
	TPack    Type = 0x12
	TData    Type = 0x14
	TAck     Type = 0x15
	TNack    Type = 0x16
	TCommit  Type = 0x17
	TReceipt Type = 0x18
	TAbort   Type = 0x19
	TZeros   Type = 0x1A

	TGet      Type = 0x20
	TList     Type = 0x21
	TEntries  Type = 0x22
	TStat     Type = 0x23
	TStated   Type = 0x24
	TMkdir    Type = 0x25
	TRemove   Type = 0x26
	TRename   Type = 0x27
	TDone     Type = 0x28
	TSpace    Type = 0x29
	THashes   Type = 0x2A
	THashList Type = 0x2B
	TSymlink  Type = 0x2C
	TSetMeta  Type = 0x2D
	TSpaced   Type = 0x2E

	TTreeOpen     Type = 0x30
	TTreePart     Type = 0x31
	TTreeCommit   Type = 0x32
	TTreeReceipt  Type = 0x33
	TTreeOpened   Type = 0x34
	TTreeVerdicts Type = 0x35
	TTreeSkip     Type = 0x36
	TTreeAck      Type = 0x37
	TTreeExtra    Type = 0x38
	TTreeDelete   Type = 0x39
	TTreeDeleted  Type = 0x3A
	TTreeGet      Type = 0x3B
	TTreeLeft     Type = 0x3C

	TEnroll   Type = 0x40
	TEnrolled Type = 0x41
)

var typeNames = [...]string{
	THello: "HELLO", TWelcome: "WELCOME", TJoin: "JOIN", TJoined: "JOINED", TPing: "PING", TPong: "PONG",
	TGoAway: "GOAWAY", TBye: "BYE", TError: "ERROR",
	TOpen: "OPEN", TOpened: "OPENED", TData: "DATA", TAck: "ACK", TNack: "NACK", TCommit: "COMMIT",
	TReceipt: "RECEIPT", TAbort: "ABORT", TZeros: "ZEROS",
	TGet: "GET", TList: "LIST", TEntries: "ENTRIES", TStat: "STAT", TStated: "STATED", TMkdir: "MKDIR",
	TRemove: "REMOVE", TRename: "RENAME", TDone: "DONE", TSpace: "SPACE", THashes: "HASHES", THashList: "HASHLIST",
	TSymlink: "SYMLINK", TSetMeta: "SETMETA", TSpaced: "SPACED",
	TPack: "PACK", TTreeOpen: "TREE_OPEN", TTreePart: "TREE_PART", TTreeCommit: "TREE_COMMIT", TTreeReceipt: "TREE_RECEIPT",
	TTreeOpened: "TREE_OPENED", TTreeVerdicts: "TREE_VERDICTS", TTreeSkip: "TREE_SKIP", TTreeAck: "TREE_ACK", TTreeExtra: "TREE_EXTRA",
	TTreeDelete: "TREE_DELETE", TTreeDeleted: "TREE_DELETED", TTreeGet: "TREE_GET", TTreeLeft: "TREE_LEFT",
	TEnroll: "ENROLL", TEnrolled: "ENROLLED",
}

// Known tells whether t is a message of this version.
func (t Type) Known() bool { return int(t) < len(typeNames) && typeNames[t] != "" }

// String returns the name as in PROTOCOL.md, or the number in hex.
func (t Type) String() string {
	if t.Known() {
		return typeNames[t]
	}
	return "type 0x" + strconv.FormatUint(0x100|uint64(t), 16)[1:]
}

// Message is a message other than DATA and PACK, as a value: Hello, not *Hello. Only the types of this package are messages.
type Message interface{ Type() Type }

// SessionID names a session; the server draws it.
type SessionID [16]byte

// TransferID names a transfer: one file on its way to one place. The sender draws it; it outlives sessions.
type TransferID [16]byte

// Hash is a BLAKE3 chaining value of a chunk or the root of a file.
type Hash [32]byte
