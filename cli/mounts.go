package cli

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// maxMounts is the largest file of mounts that is read.
const maxMounts = 1 << 20

// mountMemory is where the mounts of a source are kept that the last sync to a place has seen: a small file under the state folder for
// each (source, host, place).
type mountMemory struct {
	dir, name string
	of        mountFile // without Mounts
}

// mountFile is the content. A file system that was there the last time and is not now would look as if all of it had been removed.
type mountFile struct {
	Source jsonPath   `json:"source"`
	Host   string     `json:"host"`
	Place  jsonPath   `json:"place"`
	Mounts []jsonPath `json:"mounts"`
}

func newMountMemory(p places, source, host, place string) *mountMemory {
	if abs, err := filepath.Abs(source); err == nil {
		source = abs
	}
	h := crypto.NewHasher()
	h.Write([]byte(strings.Join([]string{source, host, place}, "\x00")))
	sum := h.Sum()
	return &mountMemory{
		dir: filepath.Join(p.state, "mounts"), name: hex.EncodeToString(sum[:16]) + ".json",
		of: mountFile{Source: pathJSON(source), Host: host, Place: pathJSON(place)},
	}
}

// read returns what is remembered. What is missing, damaged or of another sync is no memory.
func (m *mountMemory) read() ([]string, error) {
	f, err := os.Open(filepath.Join(m.dir, m.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, localIO(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMounts))
	if err != nil {
		return nil, localIO(err)
	}
	var got mountFile
	if json.Unmarshal(data, &got) != nil || got.Source.raw() != m.of.Source.raw() || got.Host != m.of.Host || got.Place.raw() != m.of.Place.raw() {
		return nil, nil
	}
	var mounts []string
	for _, p := range got.Mounts {
		if s := p.raw(); s != "" {
			mounts = append(mounts, s)
		}
	}
	return mounts, nil
}

// write remembers what a good sync has seen, at once or not at all.
func (m *mountMemory) write(was, mounts []string) error {
	if slices.Equal(was, mounts) {
		return nil
	}
	now := m.of
	now.Mounts = []jsonPath{}
	for _, s := range mounts {
		now.Mounts = append(now.Mounts, pathJSON(s))
	}
	err := os.MkdirAll(m.dir, 0o700)
	if err == nil {
		err = m.put(marshalLine(now))
	}
	if err != nil {
		return &cliError{code: exitLocalIO, err: fmt.Errorf("all was synced, but what is mounted in the source could not be remembered: %w", err), local: true}
	}
	return nil
}

func (m *mountMemory) put(data []byte) error {
	fsys, err := durable.OpenOS(m.dir)
	if err != nil {
		return err
	}
	defer fsys.Close()
	return durable.WriteFile(fsys, m.name, data, 0o600)
}

// raw is the name; "" for none, or one that is damaged.
func (p jsonPath) raw() string {
	switch {
	case p.Path != nil:
		return *p.Path
	case p.PathBase64 != nil:
		b, err := base64.StdEncoding.DecodeString(*p.PathBase64)
		if err == nil {
			return string(b)
		}
	}
	return ""
}
