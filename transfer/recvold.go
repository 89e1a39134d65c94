package transfer

import (
	"context"

	"xfer/transfer/sink"
	"xfer/transfer/wire"
)

// findOld opens the version of the file that the new one is about to replace, where the sender may have its hashes: who may not
// read a file learns nothing of what is in it. None is no failure.
func (r receiver) findOld(ctx context.Context, o wire.Open, path sink.Path) *sink.Old {
	noReplace := o.IfExists == wire.IfExistsFail || r.view.Rights()&sink.NoReplace != 0
	if noReplace || r.view.Rights()&sink.Get == 0 || o.Size == wire.UnknownSize || o.Size < deltaLeast {
		return nil
	}
	old, err := r.view.OldVersion(ctx, path)
	if err != nil {
		return nil
	}
	if old.Size() < deltaLeast/2 {
		_ = old.Close()
		return nil
	}
	return old
}

func (a accepted) closeOld() {
	if a.old != nil {
		_ = a.old.Close() // it was only read
	}
}

// oldVersion is what the sender may refer to; nil for none.
func (f *recvFile) oldVersion() *sink.Old {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acc.old
}

// takeHashesOfOld answers HASHES about the old version.
func (f *recvFile) takeHashesOfOld(m wire.Hashes) error {
	f.mu.Lock()
	old, log2, land := f.acc.old, f.open.ChunkLog2, f.land
	f.mu.Unlock()
	if land == nil { // late
		return nil
	}
	if old == nil {
		return protocolError("HASHES of an old version, of which none was told")
	}
	n, err := m.Values(log2, uint64(old.Size()))
	if err != nil {
		return err
	}
	return f.s.handler(func() {
		first, by := int64(m.First), log2
		if m.Groups {
			first, by = first<<(log2-wire.GroupLog2), wire.GroupLog2
		}
		list := wire.HashList{CVs: make([]wire.Hash, n), First: m.First, Old: true, Groups: m.Groups}
		cvs, err := old.CVs(f.s.ctx, first, int64(n), by)
		if err == nil && len(cvs) == n { // else it has changed: nothing is alike
			for i, cv := range cvs {
				list.CVs[i] = wire.Hash(cv)
			}
		}
		f.s.send(f.id, list)
	})
}
