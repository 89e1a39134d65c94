package transfer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"xfer/transfer/durable"
)

// deviceAt is the device of a directory of the walk.
type deviceAt struct {
	depth int
	dev   uint64
}

// mountAbove returns where the file system that src is on is mounted: "." for src itself, else an absolute path, and "" where it is the
// system's root, or the system does not tell.
func mountAbove(src string) (string, error) {
	abs, err := filepath.Abs(src)
	if err != nil {
		return "", err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return "", err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return "", err
	}
	for at := abs; ; {
		above := filepath.Dir(at)
		up, err := os.Stat(above)
		if err != nil {
			return "", nil // it cannot be told; nor will it be the next time
		}
		a, okA := durable.IDOf(info)
		b, okB := durable.IDOf(up)
		switch {
		case !okA || !okB:
			return "", nil
		case above == at:
			return "", nil
		case a.Dev == b.Dev:
			at, info = above, up
		case at == abs:
			return ".", nil
		default:
			return filepath.ToSlash(at), nil
		}
	}
}

// walked looks at an entry of the source, in the order of the walk.
func (x *extras) walked(e *treeEntry) {
	if e.depth > 0 {
		x.entries++
	}
	if e.info == nil || !e.info.IsDir() {
		return
	}
	id, ok := durable.IDOf(e.info)
	if !ok {
		return
	}
	for n := len(x.devices); n > 0 && x.devices[n-1].depth >= e.depth; n-- {
		x.devices = x.devices[:n-1]
	}
	if n := len(x.devices); n > 0 && x.devices[n-1].dev != id.Dev {
		x.mounts = append(x.mounts, e.at)
	}
	x.devices = append(x.devices, deviceAt{e.depth, id.Dev})
}

// mounted tells whether a file system is still mounted where one was at the last sync.
func (x *extras) mounted(m string) bool {
	switch {
	case m == ".":
		return x.above == m
	case strings.HasPrefix(m, "/"): // another one may be mounted beneath it by now, which is nothing to worry about
		return x.above == m || isMount(m)
	}
	return slices.Contains(x.mounts, m)
}

func isMount(dir string) bool {
	above, err := mountAbove(dir)
	return err == nil && above == "."
}

// shownMount is the name of a mount for people.
func (x *extras) shownMount(m string) string {
	switch {
	case m == ".":
		return x.top
	case strings.HasPrefix(m, "/"):
		return m
	}
	return strings.TrimSuffix(x.top, "/") + "/" + m
}

// remembered are the mounts to be kept for the next time. What the rules leave out now, and was mounted the last time, may be looked at
// again then.
func (x *extras) remembered(s *sender) []string {
	list := slices.Clone(x.mounts)
	if x.above != "" {
		list = append(list, x.above)
	}
	k := keeper{filter: s.filter, top: s.roots[0]}
	defer k.close()
	for _, m := range x.o.Mounts {
		if m == "." || strings.HasPrefix(m, "/") || slices.Contains(list, m) {
			continue
		}
		if out, err := k.without(m, true); out || err != nil {
			list = append(list, m)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
