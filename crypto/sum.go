package crypto

import "github.com/zeebo/blake3"

// Sum returns the BLAKE3 hash of p, as [Hasher] would: the fast way for what lies in memory whole.
func Sum(p []byte) Digest { return Digest(blake3.Sum256(p)) }
