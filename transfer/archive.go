package transfer

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// keeps is what we tell of our files. left is told what of them is left out.
func (o *Options) keeps(owners *durable.Owners, left func(sink.Unkept)) sink.Keep {
	return sink.Keep{Archive: o.Archive, Special: o.SpecialModes, Owners: owners, Left: left}
}

// wantsArchive is an error where the peer cannot do what Options.Archive asks for.
func (cs *clientSession) wantsArchive(op, path string) error {
	if cs.c.Options.Archive && !cs.agreed(wire.CapExact) {
		return &Error{Op: op, Path: path, Kind: KindProtocol, Err: fmt.Errorf("the peer is too old for an archive: owners, links and attributes")}
	}
	return nil
}

// hasRight tells whether we have a right in a root; "" is the default root.
func (cs *clientSession) hasRight(root, right string) bool {
	for _, r := range cs.welcome.Roots {
		if r.Name == root || root == "" && r.Default {
			return slices.Contains(r.Rights, right)
		}
	}
	return false
}

// read reads what an archive has of an item besides its content.
func (e *treeEntry) read(k sink.Keep, it *tree.Item) error {
	if it.Info == nil || it.Err != nil || it.Kind == tree.Other {
		return nil
	}
	if blocks, ok := durable.Blocks(it.Info); ok && e.kind == tree.File {
		e.sparse = it.Info.Size() >= leastSparse && blocks*512 < it.Info.Size()
	}
	if !k.Archive {
		return nil
	}
	e.exact = true
	if e.kind == tree.File {
		e.links, _ = durable.Links(it.Info)
		if !k.Special {
			e.bits &^= 0o6000
		}
	}
	dir, base := it.Dir, it.Base
	if it.Self != nil {
		dir, base = it.Self, "."
	}
	if dir == nil {
		return nil
	}
	var m sink.Meta
	err := dir.Do(func(fsys durable.FS) (err error) {
		m, err = k.ReadMetaAt(fsys, base, it.Info)
		return err
	})
	e.owner, e.xattrs = ownerOf(m), attrsOf(m)
	e.caps = slices.ContainsFunc(m.XAttrs, func(a durable.XAttr) bool { return strings.HasPrefix(a.Name, "security.") })
	return err
}

// leastSparse is the size of the smallest file whose holes are worth a word, in bytes.
const leastSparse = 4096

func ownerOf(m sink.Meta) *tree.Owner {
	if !m.HasOwner {
		return nil
	}
	return &tree.Owner{UID: m.UID, GID: m.GID, User: m.User, Group: m.Group}
}

func attrsOf(m sink.Meta) []tree.XAttr {
	out := make([]tree.XAttr, 0, len(m.XAttrs))
	for _, a := range m.XAttrs {
		out = append(out, tree.XAttr(a))
	}
	return out
}

// addArchive adds what a record has of an archive.
func addArchive(m *sink.Meta, owner *tree.Owner, attrs []tree.XAttr) {
	if owner != nil {
		m.HasOwner, m.UID, m.GID, m.User, m.Group = true, owner.UID, owner.GID, owner.User, owner.Group
	}
	m.HasXAttrs, m.XAttrs = true, make([]durable.XAttr, 0, len(attrs))
	for _, a := range attrs {
		m.XAttrs = append(m.XAttrs, durable.XAttr(a))
	}
}

// takeArchive takes owner and attributes of from, unless m has its own.
func takeArchive(m *sink.Meta, from sink.Meta) {
	if m.HasOwner || m.HasXAttrs {
		return
	}
	m.HasOwner, m.UID, m.GID, m.User, m.Group = from.HasOwner, from.UID, from.GID, from.User, from.Group
	m.HasXAttrs, m.XAttrs = from.HasXAttrs, from.XAttrs
}

// archiveRecord is the record that Meta.Archive holds (PROTOCOL.md, "meta").
func archiveRecord() tree.Record { return tree.Record{Kind: tree.Directory, Mode: 0o755} }

// archived is the metadata of a file or link as one message has it.
func archived(m sink.Meta) (wire.Meta, error) {
	out := wire.Meta{HasMode: m.HasMode, HasMTime: m.HasMTime, MTimeNS: unixNano(m.MTime)}
	if m.HasMode {
		out.Mode = modeBits(m.Mode)
	}
	r := archiveRecord()
	r.Owner, r.XAttrs = ownerOf(m), attrsOf(m)
	b, err := tree.NewEncoder().Append(nil, &r)
	out.Archive = string(b)
	return out, err
}

// sinkMetaOf is sinkMeta with what an archive has.
func sinkMetaOf(m wire.Meta) (sink.Meta, error) {
	out := sinkMeta(m)
	if m.Archive == "" {
		return out, nil
	}
	r, rest, err := tree.NewDecoder().Next([]byte(m.Archive))
	if err != nil {
		return out, manifestError(err)
	}
	want := archiveRecord()
	if r.Kind != want.Kind || r.Mode != want.Mode || r.MTime != 0 || r.NoMeta || len(rest) > 0 {
		return out, protocolError("owner and attributes that are not the record of a directory alone")
	}
	addArchive(&out, r.Owner, r.XAttrs)
	return out, nil
}

// metaOfFile is what an archive has of an open file.
func metaOfFile(k sink.Keep, f durable.File) (wire.Meta, error) {
	m, err := k.ReadMeta(f)
	if err != nil {
		return wire.Meta{}, err
	}
	return archived(m)
}

// metaOfName is what an archive has of a name.
func metaOfName(k sink.Keep, fsys durable.FS, name string, fi fs.FileInfo) (wire.Meta, error) {
	m, err := k.ReadMetaAt(fsys, name, fi)
	if err != nil {
		return wire.Meta{}, err
	}
	return archived(m)
}

// unkept makes the number of a message.
func unkept(u sink.Unkept) uint64 {
	out := uint64(0)
	for _, b := range unkeptBits {
		if u&b.here != 0 {
			out |= b.wire
		}
	}
	return out
}

// unkeptOf is the reverse of unkept.
func unkeptOf(n uint64) (u sink.Unkept) {
	for _, b := range unkeptBits {
		if n&b.wire != 0 {
			u |= b.here
		}
	}
	return u
}

var unkeptBits = [...]struct {
	here sink.Unkept
	wire uint64
}{
	{sink.UnkeptMode, wire.UnkeptMode}, {sink.UnkeptTime, wire.UnkeptTime}, {sink.UnkeptOwner, wire.UnkeptOwner},
	{sink.UnkeptSpecial, wire.UnkeptSpecial}, {sink.UnkeptXAttrs, wire.UnkeptXAttrs}, {sink.UnkeptACL, wire.UnkeptACL},
}

// linkTable finds the names of one file among the entries of a tree.
type linkTable struct {
	files map[linkKey]linkGroup
	over  int64 // files whose other names are not looked for
}

type fileNumber struct{ dev, ino uint64 }

// linkKey is what tells a file with several names from others. Its size and time are a part of that: the number of a file that was removed
// during the walk may be another's by now.
type linkKey struct {
	fileNumber
	size, mtime int64
}

// linkGroup is a file of which not all names have come.
type linkGroup struct {
	no   uint64 // entry of the first
	left uint64
}

// maxLinkGroups is how many files wait for further names at a time, of about 100 bytes each. The names of what is beyond are files of their own.
const maxLinkGroups = 1 << 18

// find fills in what r, the record of e, has to say of other names of the file. note follows once the record has its number.
func (t *linkTable) find(e *treeEntry, r *tree.Record, no uint64) {
	key, ok := e.linkKey()
	if !ok {
		return
	}
	if g, known := t.files[key]; known {
		r.Link = g.no
	} else {
		r.Shared = no > 0 && len(t.files) < maxLinkGroups
	}
}

// note remembers the record of e, which is entry no.
func (t *linkTable) note(e *treeEntry, r *tree.Record, no uint64) {
	key, ok := e.linkKey()
	switch {
	case !ok:
	case r.Shared:
		if t.files == nil {
			t.files = map[linkKey]linkGroup{}
		}
		t.files[key] = linkGroup{no: no, left: e.links - 1}
	case r.Link == 0:
		t.over++
	default:
		g := t.files[key]
		if g.left--; g.left == 0 {
			delete(t.files, key)
		} else {
			t.files[key] = g
		}
	}
}

// linkKey is false for a file of one name.
func (e *treeEntry) linkKey() (linkKey, bool) {
	if e.kind != tree.File || e.links < 2 {
		return linkKey{}, false
	}
	id, ok := durable.IDOf(e.info)
	return linkKey{fileNumber{id.Dev, id.Inode}, e.info.Size(), unixNano(e.info.ModTime())}, ok
}
