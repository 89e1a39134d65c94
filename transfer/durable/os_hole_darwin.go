package durable

import "errors"

// APFS may call a hole what was written a moment ago (github.com/coreutils/coreutils/pull/68; GNU cp does not ask it
// either), so all is data.
func (f *osFile) seekKind(int64, bool) (int64, error) { return 0, errors.ErrUnsupported }

// F_PUNCHHOLE wants whole blocks, and has no form in the system library's bindings.
func (f *osFile) punch(int64, int64) error { return errors.ErrUnsupported }
