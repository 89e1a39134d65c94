package sink

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"xfer/transfer/durable"
)

// CleanUp removes unfinished stages that made no progress for StageMaxAge, and what crashes have left behind. What is in
// use, by this process or another one, is left alone, and so is what a later version of xfer has written. It is meant to
// run in the background at start, and daily: a stage that nobody asks for costs nothing but its space.
func (d *Dir) CleanUp(ctx context.Context) (removed int, err error) {
	var errs []error
	names, err := d.readNames(stagesDir)
	errs = append(errs, err)
	for _, key := range names {
		n, err := d.cleanKey(ctx, key, stagesDir+"/"+key)
		removed += n
		errs = append(errs, err)
		if ctx.Err() != nil {
			return removed, context.Cause(ctx)
		}
	}
	names, err = d.readNames(awayDir)
	errs = append(errs, err)
	for _, key := range names {
		n, err := d.cleanAway(ctx, key)
		removed += n
		errs = append(errs, err)
		if ctx.Err() != nil {
			return removed, context.Cause(ctx)
		}
	}
	d.sweepTrees("")
	d.cleanTemp()
	return removed, errors.Join(errs...)
}

// readNames returns the names in a directory of our state, none where it is missing.
func (d *Dir) readNames(dir string) ([]string, error) {
	for _, n := range []string{stateDir, dir} {
		fi, err := d.fs.Lstat(n)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !fi.IsDir() {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	entries, err := d.fs.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func isKey(name string) bool {
	return len(name) == 32 && strings.Trim(name, "0123456789abcdef") == ""
}

// cleanKey removes the stages in keyDir that are old. A cheap look comes before the lock.
func (d *Dir) cleanKey(ctx context.Context, key, keyDir string) (removed int, err error) {
	fi, err := d.fs.Lstat(keyDir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if !isKey(key) || !fi.IsDir() {
		return 0, nil // not ours
	}
	old, err := d.oldStages(keyDir)
	if err != nil || old == nil {
		return 0, err
	}
	k, err := d.acquire(ctx, key, nil)
	if err != nil {
		return 0, err
	}
	defer d.release(key, k)
	if d.liveStage(k) != nil {
		return 0, nil
	}
	s := &Stage{d: d, id: stageID{key: key}, keyDir: keyDir}
	s.unlock, err = d.fs.Lock(keyDir + "/lock")
	if errors.Is(err, durable.ErrLocked) || errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer s.close()
	if old, err = d.oldStages(keyDir); err != nil { // again, now that nobody changes it
		return 0, err
	}
	for _, name := range old {
		if err := s.remove(keyDir + "/" + name); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, s.removeKey()
}

// oldStages returns the directories in keyDir that may go. nil means that nothing is to be done; where there is no
// stage at all the result is empty and not nil.
func (d *Dir) oldStages(keyDir string) ([]string, error) {
	entries, err := d.fs.ReadDir(keyDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	old := []string{}
	for _, e := range entries {
		if e.Name() == "lock" {
			continue
		}
		ok, err := d.isOld(keyDir + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, nil
		}
		old = append(old, e.Name())
	}
	return old, nil
}

// isOld tells whether a stage has made no progress for StageMaxAge. The journal's time is that of the last progress.
func (d *Dir) isOld(dir string) (bool, error) {
	fi, err := d.fs.Lstat(dir + "/journal")
	if errors.Is(err, fs.ErrNotExist) || err == nil && !fi.Mode().IsRegular() {
		fi, err = d.fs.Lstat(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return d.o.Now().Sub(fi.ModTime()) > d.o.StageMaxAge && !d.isLater(dir), nil
}

// cleanTemp removes links that were made and not renamed.
func (d *Dir) cleanTemp() {
	names, err := d.readNames(tempDir)
	if err != nil {
		return
	}
	for _, n := range names {
		fi, err := d.fs.Lstat(tempDir + "/" + n)
		if err == nil && d.o.Now().Sub(fi.ModTime()) > time.Hour && d.o.Now().Sub(fi.ModTime()) > 0 && !fi.IsDir() {
			_ = d.fs.Remove(tempDir + "/" + n)
		}
	}
}

// A stage on another device is found again by a file ".xfer/away/KEY", which holds the name of its directory.

func (d *Dir) noteAway(key, keyDir string) error {
	name := awayDir + "/" + key
	if b, err := durable.ReadFile(d.fs, name, maxPathBytes+64); err == nil && string(b) == keyDir {
		return nil
	}
	return durable.WriteFile(d.fs, name, []byte(keyDir), 0o600)
}

func (d *Dir) dropAway(key string) { _ = d.fs.Remove(awayDir + "/" + key) }

func (d *Dir) cleanAway(ctx context.Context, key string) (int, error) {
	name := awayDir + "/" + key
	b, err := durable.ReadFile(d.fs, name, maxPathBytes+64)
	if err != nil {
		return 0, nil
	}
	keyDir := string(b)
	base := keyDir[strings.LastIndexByte(keyDir, '/')+1:]
	if !isKey(key) || base != stateDir+"-"+key[:8] { // whatever wrote this, it was not us
		return 0, nil
	}
	parent, err := d.locate(pathOf(durable.Dir(keyDir)), 0)
	if err != nil || parent.info == nil || parent.name != durable.Dir(keyDir) {
		return 0, nil // not mounted now
	}
	if _, err := d.fs.Lstat(keyDir); errors.Is(err, fs.ErrNotExist) {
		d.dropAway(key)
		return 0, nil
	}
	return d.cleanKey(ctx, key, keyDir)
}

func pathOf(name string) Path {
	if name == "." {
		return Path{}
	}
	return Path{parts: strings.Split(name, "/")}
}
