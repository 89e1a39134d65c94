package transfer

import (
	"context"
	"crypto/rand"
	"errors"

	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/wire"
)

// root finds the root that a request names; "" is the client's default root.
func (ss *serverSession) root(name string) (GrantedRoot, error) {
	for _, r := range ss.grant.Roots {
		if r.Name == name || (name == "" && r.Default) {
			return r, nil
		}
	}
	// A root that is there but not granted looks like one that is not there.
	return GrantedRoot{}, &Error{Op: "root", Kind: KindNotFound, Err: errors.New("no such root for this client")}
}

func (ss *serverSession) place(root string, p wire.Path) (GrantedRoot, sink.Path, error) {
	r, err := ss.root(root)
	if err != nil {
		return r, sink.Path{}, err
	}
	path, err := sink.NewPath(p.Parts()...)
	return r, path, err
}

// message takes what a client asks for.
func (ss *serverSession) message(h wire.Header, m wire.Message) error {
	switch m := m.(type) {
	case wire.Open:
		return ss.takeOpen(h.ID, m)
	case wire.Get:
		return ss.takeGet(h.ID, m)
	case wire.TreeGet:
		return ss.takeTreeGet(h.ID, m)
	case wire.TreeOpen:
		return ss.takeTreeOpen(h.ID, m)
	case wire.List, wire.Stat, wire.Mkdir, wire.Remove, wire.Rename, wire.Space, wire.Symlink, wire.SetMeta:
		return ss.handler(func() {
			defer ss.worksOn(h.ID)()
			answer, err := ss.answer(h.ID, m)
			if err != nil {
				ss.sendError(h.ID, err)
				return
			}
			ss.send(h.ID, answer)
		})
	}
	return protocolError("%v in a session", h.Type)
}

func (ss *serverSession) answer(id uint32, m wire.Message) (wire.Message, error) {
	busy := func() { ss.send(id, wire.Ack{}) }
	switch m := m.(type) {
	case wire.Stat:
		r, p, err := ss.place(m.Root, m.Path)
		if err != nil {
			return nil, err
		}
		e, err := r.View.Stat(p)
		if err != nil {
			return nil, err
		}
		out := wire.Stated{Entry: wireEntry(e)}
		if m.Exact && e.Kind == sink.Link && ss.agreed(wire.CapExact) {
			meta, err := r.View.LinkMeta(p, sink.Keep{Archive: true, Special: true, Owners: &ss.srv.owners})
			if err == nil && meta.HasMTime {
				out.Meta, err = archived(meta)
			}
			if err != nil {
				return nil, err
			}
		}
		if m.WantRoot {
			switch e.Kind {
			case sink.Directory:
				return nil, sink.ErrIsDir
			case sink.Other:
				return nil, durable.ErrNotRegular
			}
			d, n, err := r.View.Hash(ss.ctx, p, busy)
			if err != nil {
				return nil, err
			}
			h := wire.Hash(d)
			out.RootHash, out.Entry.Size = &h, uint64(n)
		}
		return out, nil
	case wire.List:
		return ss.list(m)
	case wire.Mkdir:
		r, p, err := ss.place(m.Root, m.Path)
		if err != nil {
			return nil, err
		}
		meta, err := ss.metaOf(m.Meta)
		if err != nil {
			return nil, err
		}
		return wire.Done{}, r.View.Mkdir(p, m.Parents, m.ExistOK, meta)
	case wire.Remove:
		r, p, err := ss.place(m.Root, m.Path)
		if err != nil {
			return nil, err
		}
		return wire.Done{}, r.View.Remove(p, m.Recursive, m.MissingOK)
	case wire.Rename:
		r, from, err := ss.place(m.Root, m.From)
		if err != nil {
			return nil, err
		}
		to, err := sink.NewPath(m.To.Parts()...)
		if err != nil {
			return nil, err
		}
		return wire.Done{}, r.View.Rename(from, to, m.NoReplace)
	case wire.Space:
		r, err := ss.root(m.Root)
		if err != nil {
			return nil, err
		}
		free, total, err := r.View.Space()
		return wire.Spaced{Free: uint64(max(free, 0)), Total: uint64(max(total, 0))}, err
	case wire.Symlink:
		r, p, err := ss.place(m.Root, m.Path)
		if err != nil {
			return nil, err
		}
		exists := sink.Replace
		if m.IfExists == wire.IfExistsFail {
			exists = sink.Fail
		}
		meta, err := ss.metaOf(m.Meta)
		if err != nil {
			return nil, err
		}
		return wire.Done{}, r.View.Symlink(p, m.Target, exists, meta)
	case wire.SetMeta:
		r, p, err := ss.place(m.Root, m.Path)
		if err != nil {
			return nil, err
		}
		meta, err := ss.metaOf(&m.Meta)
		if err != nil {
			return nil, err
		}
		return wire.Done{}, r.View.SetMeta(p, *meta)
	}
	return nil, protocolError("%v in a session", m.Type())
}

// Bounds of one ENTRIES message.
const (
	listEntries = 2048
	listBytes   = 512 << 10
)

func (ss *serverSession) list(m wire.List) (wire.Message, error) {
	r, p, err := ss.place(m.Root, m.Path)
	if err != nil {
		return nil, err
	}
	if m.Depth != 1 {
		return nil, &wire.ProtocolError{Code: wire.CodeUnsupported, Msg: "LIST of more than one level"}
	}
	list, more, err := r.View.List(ss.ctx, p, string(m.Cursor), listEntries)
	if err != nil {
		return nil, err
	}
	out := wire.Entries{}
	size := 0
	for _, e := range list {
		if size += len(e.Name) + len(e.Target) + 64; size > listBytes {
			more = true
			break
		}
		out.Entries = append(out.Entries, wireEntry(e))
	}
	if more && len(out.Entries) > 0 {
		out.Next = []byte(out.Entries[len(out.Entries)-1].Name)
	}
	return out, nil
}

func (ss *serverSession) takeOpen(id uint32, o wire.Open) error {
	if id == 0 || id%2 != 0 {
		return protocolError("OPEN with handle %d", id)
	}
	f := &recvFile{s: ss.session, id: id}
	var path sink.Path
	var recv receiver
	tr := ss.treeRecvOf(uint32(o.Tree))
	f.accept = func(ctx context.Context, o wire.Open, busy func()) (accepted, error) {
		var r GrantedRoot
		var p sink.Path
		var err error
		var entry *sink.Meta
		if o.Meta.Archive != "" && !ss.agreed(wire.CapExact) {
			o.Meta.Archive = ""
		}
		if o.Tree != 0 {
			r, p, entry, err = tr.place(ss, o.Entry)
		} else {
			r, p, err = ss.place(o.Root, o.Path)
		}
		if err != nil {
			return accepted{}, err
		}
		path = p
		recv = receiver{view: r.View, rootName: r.Name, identity: ss.srv.Identity, delta: ss.agreed(wire.CapDelta), archive: entry}
		acc, err := recv.accept(ctx, o, path, busy)
		if err == nil && o.Tree != 0 {
			tr.lands(&acc, o)
		}
		return acc, err
	}
	f.receiptOf = func(o wire.Open, p sink.Published) (wire.Receipt, error) { return recv.receipt(o, p) }
	f.finished = func(out outcome, err error) {
		if err == nil && out.receipt != nil {
			ss.srv.event(ServerEvent{Kind: "published", Client: ss.grant.Name, Path: "/" + recv.rootName + "/" + path.String(), Bytes: out.size})
		}
	}
	if err := ss.register(id, func() { ss.recvs[id] = f }); err != nil {
		var pe *wire.ProtocolError
		if errors.As(err, &pe) && pe.Code == wire.CodeServerLimit {
			ss.sendError(id, err)
			return nil
		}
		return err
	}
	return ss.handler(func() { f.begin(o) })
}

// register makes id known by put unless it is in use or there are too many.
func (ss *serverSession) register(id uint32, put func()) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return ss.lost()
	}
	if ss.recvs[id] != nil || ss.sends[id] != nil || ss.treeRecvs[id] != nil || ss.treeSends[id] != nil {
		return protocolError("handle %d is in use", id)
	}
	if len(ss.recvs)+len(ss.treeRecvs)+int(ss.gets.Load()) >= ss.srv.Limits.withDefaults().MaxOpen {
		return &wire.ProtocolError{Code: wire.CodeServerLimit, Msg: "too many open transfers"}
	}
	if put != nil {
		put()
	}
	return nil
}

// takeGet answers a GET with an OPEN and sends the file, as a sender like any other.
func (ss *serverSession) takeGet(id uint32, m wire.Get) error {
	if id == 0 || id%2 != 1 || m.Handle != id {
		return protocolError("GET with handle %d", id)
	}
	if err := ss.register(id, nil); err != nil {
		var pe *wire.ProtocolError
		if errors.As(err, &pe) && pe.Code == wire.CodeServerLimit {
			ss.sendError(id, err)
			return nil
		}
		return err
	}
	ss.gets.Add(1)
	ss.goRun(func() {
		defer ss.gets.Add(-1)
		if err := ss.sendTo(id, m); err != nil {
			var lost *lostError
			var pe *PeerError
			if !errors.As(err, &lost) && !errors.As(err, &pe) {
				ss.sendError(id, err)
			}
		}
	})
	return nil
}

func (ss *serverSession) sendTo(id uint32, m wire.Get) error {
	r, p, err := ss.place(m.Root, m.Path)
	if err != nil {
		return err
	}
	file, err := r.View.Open(p)
	if err != nil {
		return err
	}
	src, err := newFileSource(file)
	if err != nil {
		_ = file.Close()
		return err
	}
	defer src.Close()
	log2 := chunking(src.Size())
	if m.ChunkLog2Max >= 18 && log2 > m.ChunkLog2Max && chunkCount(src.Size(), m.ChunkLog2Max) <= 1<<20 {
		log2 = m.ChunkLog2Max
	}
	open := openOf(src, log2)
	if _, err := rand.Read(open.Transfer[:]); err != nil {
		return err
	}
	open.Path = m.Path
	if m.Exact && ss.agreed(wire.CapExact) {
		if open.Meta, err = metaOfFile(sink.Keep{Archive: true, Special: true, Owners: &ss.srv.owners}, file); err != nil {
			return err
		}
	}
	f := ss.newSendFile(id, src, log2)
	f.verify, f.dense = src.Fresh(), m.Dense
	_, err = f.run(ss.ctx, open)
	return err
}

// openOf fills an OPEN with what the source says of itself.
func openOf(src *fileSource, log2 uint8) wire.Open {
	return wire.Open{
		Size: uint64(src.Size()), ChunkLog2: log2, Alg: 1, Fingerprint: src.Fingerprint(),
		Meta: wire.Meta{HasMode: true, HasMTime: true, Mode: modeBits(src.info.Mode()), MTimeNS: unixNano(src.info.ModTime())},
	}
}

func (ss *serverSession) metaOf(m *wire.Meta) (*sink.Meta, error) {
	if m == nil {
		return nil, nil
	}
	told := *m
	if !ss.agreed(wire.CapExact) {
		told.Archive = ""
	}
	out, err := sinkMetaOf(told)
	return &out, err
}

func wireEntry(e sink.Entry) wire.Entry {
	return wire.Entry{
		Name: e.Name, Kind: wire.Kind(e.Kind), Size: uint64(max(e.Size, 0)), Mode: modeBits(e.Mode), MTimeNS: unixNano(e.MTime), Target: e.Target,
	}
}
