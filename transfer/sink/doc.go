// Package sink receives files safely into a directory, and serves what is there: stage, journal,
// verification, publication, metadata, names. Their order is the safety; FORMAT.md has it with the bytes.
//
// A [Dir] is a directory that receives and serves (a root). A [View] is a Dir with the rights of one
// principal; all work for a peer goes through one. [View.Begin] finds or makes the [Stage] of a file: its
// bytes so far and the journal of the chunks that are held, in a private directory ".xfer" of the root.
// Chunks are claimed ([Stage.Claim]), written piece by piece and counted when their hash is right
// ([ChunkWriter.Finish]). [Stage.Checkpoint] makes what is held durable. [Stage.Publish] gives the whole,
// verified file its final name and returns a receipt; [Stage.Park] keeps the rest for later.
//
// A [Tree] ([View.BeginTree]) is a whole directory: its entries are compared with what is there one by one
// ([Tree.Take]), small files come in one piece ([Tree.Put]) and are published in groups, large ones through Stages;
// [Tree.Finish] ends it and makes it durable.
//
// What it promises, whatever a peer sends and whatever a crash leaves behind:
//
//	I1  A published name holds exactly one version, complete, with the root that was committed.
//	I2  A chunk that Checkpoint called durable is still held after power loss.
//	I3  A MARK in a journal implies that the bytes of the records it covers are durable.
//	I4  A receipt implies durable publication; the same transfer id gets the same receipt again.
//	I5  A fenced attempt changes nothing.
//	I6  A chunk is write-once: while it is not held it has one writer, afterwards none.
//	I7  A new fingerprint gets a new data file and a new journal.
//	I8  Nothing is written outside of the root, nor to a final name except by publishing.
//	I11 With NoReplace the set of published (path, content) only grows.
//
// What it does not do: speak to a network, or defend against somebody who writes into ".xfer" as the same
// user while it works, beyond never crashing and never publishing bytes whose hash was not checked when they
// were read last.
package sink
