//go:build !linux

package control

// shorten returns another name of path that fits into a socket address; done ends the name's life.
func shorten(path string) (short string, done func(), err error) {
	if len(path) <= maxName {
		return path, func() {}, nil
	}
	return viaLink(path)
}
