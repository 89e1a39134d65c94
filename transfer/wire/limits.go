package wire

// Limits of the protocol (PROTOCOL.md, "Limits"). All sizes are in bytes.
const (
	// MaxControl is the largest body of a control frame.
	MaxControl = 1 << 20
	// MaxControlPreAuth is the largest body of a control frame before the peer is known.
	MaxControlPreAuth = 16 << 10
	// MaxPayload is the most content that one DATA frame carries, compressed and expanded.
	MaxPayload = 256 << 10
	// MaxDataFrame is the largest body of a DATA frame: the fixed part, the payload and the CV.
	MaxDataFrame = dataFixed + MaxPayload + cvLen

	// MinChunkLog2 and MaxChunkLog2 bound the chunk size, which is 1<<ChunkLog2.
	MinChunkLog2 = 18
	MaxChunkLog2 = 24
	// GroupLog2 is the size of a group, 1<<GroupLog2: a part of a chunk that has a CV of its own in HASHLIST.
	GroupLog2 = 14
	// MaxChunks is the most chunks that a file has.
	MaxChunks = 1 << 24
	// MaxFileSize is the largest file.
	MaxFileSize = 1 << 48
	// UnknownSize in Open.Size means that the size is not known before the end (a pipe); COMMIT tells it.
	UnknownSize = ^uint64(0)

	// MaxRanges is the most ranges, or parts, in one message.
	MaxRanges = 8192
	// MaxHashes is the most chaining values asked for, or told, at once.
	MaxHashes = 8192
	// MaxEntries is the most entries in one ENTRIES.
	MaxEntries = 4096
	// MaxPart is the most entries in one TREE_PART, files in one PACK, and elements of every list about them.
	MaxPart = 4096
	// MaxRecords is the most bytes of records in one TREE_PART.
	MaxRecords = 256 << 10
	// MaxAhead is the most parts that may be without verdicts at a time.
	MaxAhead = 1024
	// MaxTreeEntries is above the number of every entry and pack of a tree.
	MaxTreeEntries = 1 << 40
	// MaxPack is the largest body of a PACK frame, compressed and expanded, MaxSmall the largest file that surely fits into
	// one.
	MaxPack  = 1 << 20
	MaxSmall = MaxPack - packFixed - packLeast - packMeta
	// MaxZstdWindow is the largest window that a zstd frame may ask for (RFC 8878, 3.1.1.1.2, recommends it).
	MaxZstdWindow = 8 << 20
	// MaxRules is the most rules in one TREE_GET, MaxRule the longest one.
	MaxRules = 4096
	MaxRule  = 4352
	// MaxNames is the most names in the list of one TREE_GET, MaxListed the longest one.
	MaxNames  = 4096
	MaxListed = 4096
	// MaxCursor is the longest cursor of a listing.
	MaxCursor = 4096

	// MaxPath is the longest path with a '/' between components, MaxName the longest component, and MaxDepth
	// the most components.
	MaxPath  = 4096
	MaxName  = 255
	MaxDepth = 256
	// MaxTarget is the longest target of a symbolic link.
	MaxTarget = 4095

	// MaxText is the longest agent, reason or error text.
	MaxText = 512
	// MaxLabel is the longest name of a root or a client.
	MaxLabel = 255
	// MaxCaps is the most capabilities, MaxCap the longest one. They bound rights as well.
	MaxCaps = 64
	MaxCap  = 64
	// MaxRoots is the most roots that a server offers.
	MaxRoots = 256
	// MaxVersions is the most minor versions in a HELLO.
	MaxVersions = 64
	// MaxFingerprint is the longest fingerprint of a source.
	MaxFingerprint = 64
	// MaxSigner is the longest public key (SubjectPublicKeyInfo, DER) in a receipt.
	MaxSigner = 128
	// MaxMillis is the longest span of time in a message, in milliseconds (49 days).
	MaxMillis = 1<<32 - 1

	// maxInt is the largest number that a consumer may keep in an int64: sizes and counts that are not bounded
	// otherwise.
	maxInt = 1<<63 - 1
	// maxMode is all permission bits with setuid, setgid and sticky.
	maxMode = 0o7777

	// What a body may hold at all, unknown keys included.
	maxNesting  = 8
	maxElements = 16384
	maxPairs    = 64
)
