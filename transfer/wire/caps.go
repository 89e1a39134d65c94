package wire

// Capabilities: words of HELLO and WELCOME. What is beneath one may be sent when both sides have listed it.
const (
	CapBLAKE3 = "h.blake3" // nothing more: everybody lists it
	CapTree   = "tree1"    // PACK, the messages of trees, Open.Tree and Open.Entry
	CapZstd   = "zstd"     // DataZstd, and PackZstd with CapTree
	CapZstdOn = "zstd.on"  // in a HELLO: the server is to compress what is worth it, however fast the link is
	CapZero   = "zero1"    // DataZero, OpenSparse, Zeros and Get.Dense
	CapDelta  = "delta1"   // DataOld, Opened.Old, Hashes.Old and what goes with them
	CapExact  = "exact1"   // Meta.Archive, Get.Exact, Stat.Exact and, with CapTree, TreeExact
)
