package tree

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// lineReader reads a list that is one of rsync: lines that end with a line feed, a carriage return or both, or
// records that end with a NUL. Empty ones are left out.
type lineReader struct {
	r    *bufio.Reader
	zero bool
	max  int // of a line, in bytes
	no   int // of the line that next returned, from 1
	ends int // line feeds, or NULs, so far
	long []byte
}

func newLineReader(r io.Reader, zero bool, max int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), zero: zero, max: max}
}

// next returns the next line without its end, good until the next call, or io.EOF.
func (l *lineReader) next() ([]byte, error) {
	for {
		line, err := l.line()
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		case len(line) > l.max:
			return nil, l.fault(fmt.Errorf("it is longer than %d bytes", l.max))
		case !l.zero && bytes.IndexByte(line, 0) >= 0:
			return nil, l.fault(errors.New("it has a NUL: is this a list for --from0?"))
		case len(line) > 0:
			return line, nil
		case err != nil:
			return nil, err
		}
	}
}

// fault is an error about the last line.
func (l *lineReader) fault(err error) error {
	if l.zero {
		return fmt.Errorf("record %d: %w", l.no, err)
	}
	return fmt.Errorf("line %d: %w", l.no, err)
}

// line returns the bytes up to the next end, or max+1 of them where there are more. It returns io.EOF with those before
// the end of the input.
func (l *lineReader) line() ([]byte, error) {
	l.no = l.ends + 1
	l.long = l.long[:0]
	for {
		if _, err := l.r.Peek(1); err != nil {
			return l.long, err
		}
		have, _ := l.r.Peek(min(l.r.Buffered(), l.max+1-len(l.long)))
		end := l.end(have)
		if end < 0 {
			l.long = append(l.long, have...)
			_, _ = l.r.Discard(len(have))
			if len(l.long) > l.max {
				return l.long, nil
			}
			continue
		}
		if have[end] != '\r' {
			l.ends++
		}
		line := have[:end]
		if len(l.long) > 0 {
			l.long = append(l.long, line...)
			line = l.long
		}
		_, _ = l.r.Discard(end + 1) // what Peek gave stays as it is until the next read
		return line, nil
	}
}

// end returns where the first end of a line is, or -1.
func (l *lineReader) end(b []byte) int {
	if l.zero {
		return bytes.IndexByte(b, 0)
	}
	lf := bytes.IndexByte(b, '\n')
	if lf >= 0 {
		b = b[:lf]
	}
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		return cr
	}
	return lf
}
