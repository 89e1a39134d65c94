package sink

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"xfer/transfer/durable"
)

// The log of finished transfers: FORMAT.md, "done.log".
const (
	doneName      = stateDir + "/done.log"
	doneLock      = stateDir + "/done.lock"
	doneHeadLen   = 8       // u32 length of the payload, u32 its crc32c
	doneFixed     = 16 + 16 // transfer id, key
	maxReceiptLen = 64 << 10
	maxDoneLog    = 64 << 20 // a file; then it is rotated
	keepDoneLogs  = 4
	maxDoneIndex  = 100_000
)

// doneEntry is where a receipt is.
type doneEntry struct {
	file int   // number of the file, growing
	off  int64 // of the payload
	len  uint32
}

// doneFile is the log that is appended to.
type doneFile struct {
	f      durable.File
	size   int64
	users  int  // syncs in progress
	old    bool // rotated away; who uses it last closes it
	failed bool // a write or sync failed: nothing more goes there
}

// doneLog finds receipts by transfer id. It is opened when it is needed first.
type doneLog struct {
	d *Dir

	mu     sync.Mutex // guards what follows
	open   bool
	unlock func() error
	now    *doneFile
	number int // of now; older files count down
	index  map[[16]byte]doneEntry
	ring   [][16]byte // the ids in index, oldest at next
	next   int
}

func (l *doneLog) init(d *Dir) { l.d, l.index = d, make(map[[16]byte]doneEntry) }

func doneFileName(age int) string {
	if age == 0 {
		return doneName
	}
	return fmt.Sprintf("%s.%d", doneName, age)
}

// find returns the receipt of a transfer that was published for the same owner and path. Where another process serves
// the root the error is ErrBusy.
func (l *doneLog) find(id [16]byte, key string) ([]byte, bool, error) {
	if !l.d.o.KeepDoneLog {
		return nil, false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ready(); err != nil {
		return nil, false, err
	}
	e, ok := l.index[id]
	if !ok {
		return nil, false, nil
	}
	p, err := l.read(e)
	if err != nil || [16]byte(p[:16]) != id || hex.EncodeToString(p[16:doneFixed]) != key {
		// Damaged since, or of somebody else: then the file is sent again, no more.
		return nil, false, nil
	}
	return p[doneFixed:], true, nil
}

// read returns a payload. l.mu is held.
func (l *doneLog) read(e doneEntry) ([]byte, error) {
	f := l.now.f
	if e.file != l.number {
		old, err := durable.OpenRegular(l.d.fs, doneFileName(l.number-e.file))
		if err != nil {
			return nil, err
		}
		defer old.Close()
		f = old
	}
	b := make([]byte, doneHeadLen+int(e.len))
	if _, err := f.ReadAt(b, e.off-doneHeadLen); err != nil {
		return nil, err
	}
	if _, err := checkDone(b[:doneHeadLen], b[doneHeadLen:]); err != nil {
		return nil, err
	}
	return b[doneHeadLen:], nil
}

var errDone = errors.New("done.log is damaged")

// doneLen reads the length of an entry's payload from its head.
func doneLen(head []byte) (uint32, bool) {
	n := binary.BigEndian.Uint32(head)
	return n, n >= doneFixed && n <= doneFixed+maxReceiptLen
}

func checkDone(head, payload []byte) ([16]byte, error) {
	n, ok := doneLen(head)
	if !ok || int(n) != len(payload) || binary.BigEndian.Uint32(head[4:]) != checksum(payload) {
		return [16]byte{}, errDone
	}
	return [16]byte(payload), nil
}

func appendDone(b []byte, id [16]byte, key []byte, receipt []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, id[:]...)
	b = append(b, key...)
	b = append(b, receipt...)
	payload := b[at+doneHeadLen:]
	binary.BigEndian.PutUint32(b[at:], uint32(len(payload)))
	binary.BigEndian.PutUint32(b[at+4:], checksum(payload))
	return b
}

// scanDone calls visit for each entry of r, in order, and returns where the last valid one ends.
func scanDone(r io.Reader, visit func(id [16]byte, off int64, n uint32)) (end int64) {
	var head [doneHeadLen]byte
	buf := make([]byte, 0, 4096)
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return end
		}
		n, ok := doneLen(head[:])
		if !ok {
			return end
		}
		if cap(buf) < int(n) {
			buf = make([]byte, n)
		}
		buf = buf[:n]
		if _, err := io.ReadFull(r, buf); err != nil {
			return end
		}
		id, err := checkDone(head[:], buf)
		if err != nil {
			return end
		}
		visit(id, end+doneHeadLen, n)
		end += doneHeadLen + int64(n)
	}
}

// ready opens the log, takes its lock, cuts a torn tail off and fills the index. l.mu is held.
func (l *doneLog) ready() error {
	if l.open {
		return nil
	}
	d := l.d
	if err := d.ensureDirs(stateDir); err != nil {
		return err
	}
	unlock, err := d.lock(doneLock)
	if errors.Is(err, durable.ErrLocked) {
		return fmt.Errorf("the directory is served by another process: %w", ErrBusy)
	}
	if err != nil {
		return err
	}
	l.number = keepDoneLogs
	clear(l.index)
	l.ring, l.next = nil, 0
	for age := keepDoneLogs - 1; age > 0; age-- {
		if f, err := durable.OpenRegular(d.fs, doneFileName(age)); err == nil {
			l.fill(f, l.number-age)
			f.Close()
		}
	}
	now, err := l.openNow()
	if err != nil {
		return errors.Join(err, unlock())
	}
	l.now, l.unlock, l.open = now, unlock, true
	return nil
}

// openNow opens or makes the file that is appended to.
func (l *doneLog) openNow() (*doneFile, error) {
	fsys := l.d.fs
	f, err := openOwn(fsys, doneName)
	if err != nil {
		// Not there, or nothing that we may write to.
		if err := fsys.RemoveAll(doneName); err != nil {
			return nil, err
		}
		f, err = fsys.OpenFile(doneName, os.O_RDWR|os.O_CREATE|os.O_EXCL|durable.NoFollow, 0o600)
		if err != nil {
			return nil, err
		}
	}
	// What another process wrote and did not sync, or failed to, must not be replayed before it is durable.
	_ = f.DropCache()
	now := &doneFile{f: f, size: l.fill(f, l.number)}
	fi, err := f.Stat()
	if err == nil && fi.Size() > now.size {
		err = f.Truncate(now.size)
	}
	if err == nil {
		err = syncError("done.log", f.SyncData())
	}
	if err == nil {
		var above []ancestor
		if above, err = l.d.stateAncestors(stateDir); err == nil {
			err = l.d.syncAbove(above)
		}
	}
	if err == nil {
		err = l.d.syncDir(stateDir)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return now, nil
}

func (l *doneLog) fill(f durable.File, number int) int64 {
	r := io.NewSectionReader(f, 0, maxDoneLog+doneHeadLen+doneFixed+maxReceiptLen)
	return scanDone(newBuffered(r), func(id [16]byte, off int64, n uint32) {
		l.put(id, doneEntry{file: number, off: off, len: n})
	})
}

// put adds to the index, in place of the oldest when it is full. l.mu is held.
func (l *doneLog) put(id [16]byte, e doneEntry) {
	if _, ok := l.index[id]; !ok {
		if len(l.ring) < maxDoneIndex {
			l.ring = append(l.ring, id)
		} else {
			delete(l.index, l.ring[l.next])
			l.ring[l.next] = id
			l.next = (l.next + 1) % maxDoneIndex
		}
	}
	l.index[id] = e
}

// add writes a receipt; with sync it is durable when add returns. Many callers share an fsync.
func (l *doneLog) add(id [16]byte, key string, receipt []byte, sync bool) error {
	k, err := hex.DecodeString(key)
	if err != nil || len(k) != 16 || len(receipt) > maxReceiptLen {
		return fmt.Errorf("done.log: %w: receipt of %d bytes", ErrTooBig, len(receipt))
	}
	b := appendDone(nil, id, k, receipt)
	l.mu.Lock()
	f, e, err := l.write(b)
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("done.log: %w", err)
	}
	if sync {
		name := fmt.Sprintf("%s#%d", doneName, e.file)
		err = syncError("done.log", l.d.syncs.do(name, f.f.SyncData))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.users--; f.old && f.users == 0 {
		_ = f.f.Close()
	}
	if err != nil {
		f.failed = true
		return err
	}
	l.put(id, e)
	return nil
}

// write appends b and counts the caller as a user of the file. l.mu is held.
func (l *doneLog) write(b []byte) (*doneFile, doneEntry, error) {
	if err := l.ready(); err != nil {
		return nil, doneEntry{}, err
	}
	if l.now.failed || l.now.size+int64(len(b)) > maxDoneLog {
		if err := l.rotate(); err != nil {
			return nil, doneEntry{}, err
		}
	}
	f := l.now
	if err := writeAt(f.f, b, f.size); err != nil {
		if f.f.Truncate(f.size) != nil {
			f.failed = true
		}
		return nil, doneEntry{}, err
	}
	e := doneEntry{file: l.number, off: f.size + doneHeadLen, len: uint32(len(b) - doneHeadLen)}
	f.size += int64(len(b))
	f.users++
	return f, e, nil
}

// rotate begins a new file. l.mu is held.
func (l *doneLog) rotate() error {
	fsys := l.d.fs
	for age := keepDoneLogs - 2; age >= 0; age-- {
		if err := fsys.Rename(doneFileName(age), doneFileName(age+1)); err != nil && age == 0 {
			return err
		}
	}
	old := l.now
	l.number++
	now, err := l.openNow()
	if err != nil {
		l.open = false // all is read again by the next one
		err = errors.Join(err, l.unlock())
	}
	if old.old = true; old.users == 0 {
		_ = old.f.Close()
	}
	l.now = now
	return err
}

// close closes the log. An empty one is removed.
func (l *doneLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		return nil
	}
	l.open = false
	if l.now.size == 0 {
		_ = l.d.fs.Remove(doneName)
	}
	err := l.now.f.Close()
	_ = l.d.fs.Remove(doneLock)
	return errors.Join(err, l.unlock())
}
