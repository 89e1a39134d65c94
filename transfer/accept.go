package transfer

import (
	"context"
	"errors"
	"io/fs"

	"xfer/crypto"
	"xfer/transfer/sink"
	"xfer/transfer/wire"
)

// receiver says where an OPEN may land and signs for what is published. Both sides use it: a server for what
// is put, a client for what it gets.
type receiver struct {
	view     *sink.View
	rootName string // in receipts; "" at a client
	identity *crypto.Identity
	delta    bool // the sender may refer to the old version
	// archive has owner and attributes of the file, where the OPEN does not tell them; nil: none.
	archive *sink.Meta
}

// accept decides about an OPEN of the file at path: nothing to do, compare, or send.
func (r receiver) accept(ctx context.Context, o wire.Open, path sink.Path, busy func()) (accepted, error) {
	if o.Alg != 1 {
		return accepted{}, &wire.ProtocolError{Code: wire.CodeUnsupported, Msg: "hash algorithm"}
	}
	if b, ok := r.view.Done([16]byte(o.Transfer), path); ok {
		rec, err := wire.DecodeReceipt(b)
		if err == nil {
			return accepted{state: wire.StateDone, receipt: &rec}, nil
		}
	}
	size := int64(-1)
	if o.Size != wire.UnknownSize {
		size = int64(o.Size)
	}
	meta, err := sinkMetaOf(o.Meta)
	if err != nil {
		return accepted{}, err
	}
	if r.archive != nil {
		takeArchive(&meta, *r.archive)
	}
	meta.Unkept = new(sink.Unkept)
	spec := sink.Spec{
		Transfer: [16]byte(o.Transfer), Path: path, Size: size, ChunkLog2: o.ChunkLog2, Fingerprint: o.Fingerprint,
		Fresh: o.Flags&wire.OpenFresh != 0, Sparse: o.Flags&wire.OpenSparse != 0, Meta: meta, Busy: busy,
	}
	switch o.IfExists {
	case wire.IfExistsFail:
		spec.IfExists = sink.Fail
	case wire.IfExistsVersion:
		spec.IfExists = sink.Version
	}
	switch o.Durability {
	case wire.DurabilityBatch:
		spec.Durability = sink.Batch
	case wire.DurabilityNone:
		spec.Durability = sink.None
	}
	noReplace := o.IfExists == wire.IfExistsFail || r.view.Rights()&sink.NoReplace != 0
	// Who may neither replace nor read learns of a file that is there only whether it is the one that it would send.
	blind := r.view.Rights()&sink.NoReplace != 0 && r.view.Rights()&(sink.RStat|sink.Get) == 0
	if blind {
		o.Compare, o.RootHash = wire.CompareNone, nil
	}
	have, err := r.view.Existing(path)
	if err == nil {
		switch {
		case have.Kind == sink.Directory:
			return accepted{}, sink.ErrIsDir
		case have.Kind == sink.File:
			acc, ok, err := r.same(ctx, o, spec, have, noReplace)
			if ok || err != nil {
				return acc, err
			}
			if noReplace && size >= 0 && (blind || have.Size == size) {
				return accepted{state: wire.StateExists, meta: meta, exists: func(ctx context.Context, root crypto.Digest, n int64) (*wire.Receipt, error) {
					return r.confirm(ctx, o, spec, root, n)
				}}, nil
			}
		}
		if noReplace && size >= 0 { // a link, or what is no file
			return accepted{}, fs.ErrExist
		}
	}
	st, found, err := r.view.Begin(ctx, spec)
	if err != nil {
		return accepted{}, err
	}
	acc := accepted{found: found, meta: meta}
	switch found.State {
	case sink.StateDone:
		rec, err := wire.DecodeReceipt(found.Receipt)
		if err != nil {
			return accepted{}, err
		}
		return accepted{state: wire.StateDone, receipt: &rec}, nil
	case sink.StatePartial:
		acc.state = wire.StatePartial
	case sink.StateChanged:
		acc.state = wire.StateChanged
	default:
		acc.state = wire.StateNew
	}
	acc.land = stageLanding{st}
	if r.delta {
		acc.old = r.findOld(ctx, o, path)
	}
	return acc, nil
}

// same answers whether what is there is what would be sent, as the OPEN asks it to be compared.
func (r receiver) same(ctx context.Context, o wire.Open, spec sink.Spec, have sink.Entry, noReplace bool) (accepted, bool, error) {
	if spec.Size < 0 || have.Size != spec.Size {
		return accepted{}, false, nil
	}
	acc := accepted{state: wire.StateSame, meta: spec.Meta}
	switch o.Compare {
	case wire.CompareMTime:
		if !o.Meta.HasMTime || unixNano(have.MTime) != o.Meta.MTimeNS {
			return accepted{}, false, nil
		}
	case wire.CompareRoot:
		if o.RootHash == nil {
			return accepted{}, false, protocolError("OPEN compares by root without one")
		}
		rec, err := r.confirm(ctx, o, spec, crypto.Digest(*o.RootHash), spec.Size)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			return accepted{}, false, nil
		}
		if err != nil {
			return accepted{}, false, err
		}
		acc.receipt = rec
	default:
		return accepted{}, false, nil
	}
	if m := spec.Meta; !noReplace && (m.HasOwner || m.HasXAttrs || (m.HasMode && m.Mode.Perm() != have.Mode.Perm()) || (m.HasMTime && !m.MTime.Equal(have.MTime))) {
		if err := r.view.SetMeta(spec.Path, m); err != nil {
			return accepted{}, false, err
		}
	}
	return acc, true, nil
}

// confirm signs for the file that is there where its root is the one given; any other is fs.ErrExist.
func (r receiver) confirm(ctx context.Context, o wire.Open, spec sink.Spec, root crypto.Digest, size int64) (*wire.Receipt, error) {
	b, err := r.view.Confirm(ctx, spec, sink.Commit{Root: root, Size: size, Sign: func(p sink.Published) ([]byte, error) {
		rec, err := r.receipt(o, p)
		if err != nil {
			return nil, err
		}
		return wire.EncodeReceipt(rec), nil
	}})
	if err != nil {
		return nil, err
	}
	rec, err := wire.DecodeReceipt(b)
	return &rec, err
}

// receipt makes the signed statement that p is published.
func (r receiver) receipt(o wire.Open, p sink.Published) (wire.Receipt, error) {
	path, err := wire.NewPath(p.Path.Parts()...)
	if err != nil {
		return wire.Receipt{}, err
	}
	rec := wire.Receipt{
		Transfer: o.Transfer, RootHash: wire.Hash(p.Root), Size: uint64(p.Size), Path: path, TimeNS: p.Time.UnixNano(),
		Durability: o.Durability, RootName: r.rootName, Signer: r.identity.SPKI(),
	}
	if kept := p.Replaced.Parts(); len(kept) > 0 {
		// The old version lies under .xfer, which no path on the wire may name: what is told is the part below it.
		if rec.Replaced, err = wire.NewPath(kept[1:]...); err != nil {
			return wire.Receipt{}, err
		}
	}
	rec.Signature, err = r.identity.SignReceipt(wire.ReceiptBytes(rec))
	return rec, err
}

// unixMode makes the permission bits, setuid, setgid and sticky of a Unix mode.
func unixMode(m uint32) fs.FileMode {
	out := fs.FileMode(m & 0o777)
	if m&0o4000 != 0 {
		out |= fs.ModeSetuid
	}
	if m&0o2000 != 0 {
		out |= fs.ModeSetgid
	}
	if m&0o1000 != 0 {
		out |= fs.ModeSticky
	}
	return out
}

// modeBits is the reverse of unixMode.
func modeBits(m fs.FileMode) uint32 {
	out := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		out |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		out |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		out |= 0o1000
	}
	return out
}
