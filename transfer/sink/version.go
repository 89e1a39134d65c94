package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"xfer/transfer/durable"
)

// placeKeeping keeps what is there as a version, then replaces it.
func (s *Stage) placeKeeping() (placed, error) {
	var p placed
	var kept keptVersion
	for range 10 {
		var old bool
		// Nobody else publishes while it is checked that the kept file is the one that is replaced.
		err := s.underName(&s.d.ns, func(at spot) error {
			p.at = at
			if at.info != nil && (kept.info == nil || !durable.SameFile(kept.info, at.info)) {
				old = true
				return nil
			}
			return s.rename(at, s.d.fs.Rename)
		})
		if err != nil || !old {
			if err == nil && kept.info != nil {
				p.replaced = kept.path
				s.d.pruneVersions(s.spec.Path)
			}
			return p, err
		}
		s.d.dropVersion(kept)
		if kept, err = s.d.keepVersion(s.spec.Path, s.spec.Durability); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
	}
	return p, fmt.Errorf("publish %q: it is being replaced all the time: %w", s.spec.Path.String(), ErrBusy)
}

// keptVersion is an old file that has got a second name.
type keptVersion struct {
	name string
	path Path
	info fs.FileInfo
}

// versionTime names versions so that names sort by time.
const versionTime = "20060102T150405.000000000Z"

// keepVersion links the file at p as a version, durably.
func (d *Dir) keepVersion(p Path, dur Durability) (keptVersion, error) {
	dirs := []string{stateDir, versionsDir}
	for _, c := range p.parts {
		dirs = append(dirs, dirs[len(dirs)-1]+"/"+c)
	}
	if err := d.ensureDirs(dirs...); err != nil {
		return keptVersion{}, fmt.Errorf("keep the old version: %w", err)
	}
	dir := dirs[len(dirs)-1]
	stamp := d.o.Now().UTC().Format(versionTime)
	k := keptVersion{}
	var err error
	for i := range 100 {
		v := stamp
		if i > 0 {
			v = fmt.Sprintf("%s-%02d", stamp, i)
		}
		k.name, k.path = dir+"/"+v, Path{parts: append(p.Parts(), v)}
		if err = d.linkAt(p, k.name); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return keptVersion{}, fmt.Errorf("keep the old version: %w", err)
	}
	if k.info, err = d.fs.Lstat(k.name); err != nil {
		return keptVersion{}, err
	}
	if dur == None {
		return k, nil
	}
	above, err := d.stateAncestors(dirs...)
	if err == nil {
		err = d.syncAbove(above)
	}
	if err == nil {
		err = d.syncDir(dir)
	}
	if err != nil {
		d.dropVersion(k)
		return keptVersion{}, err
	}
	return k, nil
}

// linkAt gives the file at p a second name.
func (d *Dir) linkAt(p Path, name string) error {
	d.ns.RLock()
	defer d.ns.RUnlock()
	at, err := d.resolve(p, 0)
	if err != nil {
		return err
	}
	return d.fs.Link(at.name, name)
}

func (d *Dir) dropVersion(k keptVersion) {
	if k.info != nil {
		_ = d.fs.Remove(k.name)
	}
}

// pruneVersions removes the oldest versions of p beyond KeepVersions. What cannot be removed stays.
func (d *Dir) pruneVersions(p Path) {
	dir := versionsDir + "/" + p.String()
	entries, err := d.fs.ReadDir(dir)
	if err != nil {
		return
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && len(e.Name()) >= len(versionTime) && strings.Contains(e.Name(), "Z") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, n := range names[:max(0, len(names)-d.o.KeepVersions)] {
		_ = d.fs.Remove(dir + "/" + n)
	}
}
