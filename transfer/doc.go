// Package transfer is the engine: it moves files and trees between two peers so that what it calls done is whole, verified and
// on disk. It knows connections (package transport), messages (package wire) and roots (package sink), and nothing of flags,
// configuration or sockets.
//
// # Roles, not sides
//
// A client dials, a server listens; a sender has the bytes, a receiver stores them. A put is a client that sends, a get a
// client that receives, and both use the same two state machines: sendFile and recvFile. A session is a control stream with
// the data streams that joined it. It holds nothing that can not be rebuilt: what a transfer needs to go on lies in the
// receiver's stage.
//
// # One file's way
//
// Client.Send walks the sources into a queue of tasks. A worker opens a file, remembers what fstat says of it, and sends OPEN.
// The receiver (recvFile, with accept.go for the decision) compares, or begins a stage in its sink, and answers OPENED with
// what it has. The dispatcher hands the missing chunks to the streams as these have room; each is read, hashed and sent piece
// by piece with its hash as a trailer. The receiver hashes and writes the pieces as they come; a chunk counts when its hash
// matched, and is ACKed. When all are there the sender looks at the file once more (a change starts a new attempt), and sends
// COMMIT with the root of the hash tree. The sink checks it, syncs, publishes, and the receiver's signed RECEIPT ends the
// transfer.
//
// When a session is lost, run dials again with growing pauses, started anew by any progress, and every file goes on from
// what its stage holds.
//
// # Invariants
//
// They are those of transfer/sink/FORMAT.md; what the engine adds is that a source which changed under the reader is never
// committed, that frames of an attempt that has ended change nothing, and that memory is bounded by the number of streams.
//
// # Where to look
//
// session.go (frames, requests) and stream.go, dispatch.go, sendfile.go, sendresume.go and sendchunk.go (sender), recvfile.go and
// accept.go (receiver), client.go, run.go, send.go with sendwalk.go and sendplan.go, get.go, sync.go with syncextra.go (what only the target
// has) and syncmount.go, rules.go and getrules.go (what is left out), check.go, remote.go (what a client does),
// server.go and requests.go (what a server does), codes.go (errors on the wire), receiptfile.go, retry.go, limiter.go, meter.go.
package transfer
