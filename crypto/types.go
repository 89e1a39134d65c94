package crypto

// PeerID is who a peer is: the SHA-256 of its public key as a DER SubjectPublicKeyInfo.
type PeerID [32]byte

// CV is the BLAKE3 chaining value of one chunk of a file (PROTOCOL.md, "The hash tree").
type CV [32]byte

// Digest is the BLAKE3 hash of a whole file: what b3sum prints for it.
type Digest [32]byte
