// Package crypto says who a peer is, how TLS is set, and what content is.
//
// It computes and decides: no files, no sockets, and no clock but [crypto/tls.Config.Time]. Keys on disk,
// known peers and invitations are package certs; connections are package transport.
//
//   - Who: [PeerID] is the SHA-256 of a public key. [Identity] is a private key with its current certificate.
//   - TLS: [ServerTLS], [ClientTLS] and [ClientTLSAny] are the only configurations in use: TLS 1.3, both sides
//     with a certificate, ALPN xfer/1, no session tickets, hence no resumption and no 0-RTT. What is trusted is
//     the key, not a chain: certificates are self-signed and short-lived, and a pin survives their renewal.
//   - Channel: [SessionKey], [JoinProof] and the proofs of a [Code] are bound to one TLS channel by its
//     exporter (RFC 8446 7.5), so that they are worth nothing on another one.
//   - Content: [ChunkHasher] gives the chaining value ([CV]) of one chunk, [Joiner] and [RootOf] join them to
//     the [Digest] that b3sum prints for the whole file, [Hasher] does a whole file in one go.
//   - Receipts: [Identity.SignReceipt] and [VerifyReceipt].
//
// THREATMODEL.md says what all this defends against and what it does not, each claim with the name of its test.
//
// The package shares its name with the standard library's crypto and exports no name that one exports, so that
// a wrong import does not compile. A file that needs both imports the standard one as stdcrypto.
package crypto
