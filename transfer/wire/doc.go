// Package wire turns the messages of the xfer protocol into bytes and back, exactly as PROTOCOL.md says.
//
// It is pure: no goroutines, no clock, no disk, and only the io.Reader that a [Reader] is given. It knows nothing
// about what messages are for; the rules that hold for a message by itself (limits, ranges sorted, a path that
// cannot leave its root) are checked here, once, in both directions: what [AppendFrame] refuses to send is what
// [Decode] refuses to take. Rules between messages are the engine's.
//
// To send, append frames to a buffer with [AppendFrame], DATA with [AppendDataHeader], and PACK with [AppendPackHeader],
// [AppendPackFile] and [PutPackHeader]. To receive, loop over [Reader.Next] and then [Reader.Message], [Reader.Data] or
// [Reader.Pack]. Nothing is compressed or expanded here: who reads a compressed piece or PACK expands it and goes on with
// [Data.Expanded] or [Pack.Expand].
//
// The fields of a message carry their place on the wire in their tags: `cbor:"7,keyasint"` is key 7 of the map,
// "omitempty" and "omitzero" say that the key is left out when the field is zero, and `wire:"max=512"` holds the
// limit. The CDDL in PROTOCOL.md is compared with these tags by a test.
//
// Bytes from a peer never panic and never make this package allocate more than a small multiple of what has
// really arrived. Every decoding failure is a [*ProtocolError].
package wire
