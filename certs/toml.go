package certs

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
)

// FileError says what is wrong with a file that a person may have written.
type FileError struct {
	Path   string // absolute
	Line   int    // from 1, 0 where no place is known
	Column int    // from 1, in bytes
	Msg    string
	Source string // the line itself, safe to print; empty where it may hold a secret
	Width  int    // of the mark beneath it, in characters
}

// Error is file:line:column and what is wrong, then the line with a caret beneath the place.
func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.Path, e.Msg)
	}
	s := fmt.Sprintf("%s:%d:%d: %s", e.Path, e.Line, e.Column, e.Msg)
	if e.Source == "" {
		return s
	}
	gutter := fmt.Sprintf("%5d | ", e.Line)
	indent := strings.Repeat(" ", len(gutter)-2) + "| " + strings.Repeat(" ", max(e.Column-1, 0))
	return s + "\n" + gutter + e.Source + "\n" + indent + strings.Repeat("^", max(e.Width, 1))
}

// decode reads a TOML document into v, a struct, and refuses keys that it does not have. With secret the
// content stays out of the error.
func decode(path string, data []byte, v any, secret bool) error {
	if !utf8.Valid(data) {
		return &FileError{Path: path, Msg: "not a text in UTF-8"}
	}
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		return nil
	}
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	fe := &FileError{Path: path}
	switch {
	case errors.As(err, &unknown) && len(unknown.Errors) > 0:
		wrong = &unknown.Errors[0]
		key := wrong.Key()
		fe.Msg = fmt.Sprintf("unknown key %q", strings.Join(key, "."))
		if len(key) > 0 {
			fe.Width = len(key[len(key)-1])
		}
	case errors.As(err, &wrong):
		fe.Msg = strings.TrimPrefix(wrong.Error(), "toml: ")
		// The rest names Go types.
		if kind, _, ok := strings.Cut(strings.TrimPrefix(fe.Msg, "cannot decode TOML "), " into "); ok {
			fe.Msg = "a value of the wrong type: " + kind
		}
	default:
		fe.Msg = strings.TrimPrefix(err.Error(), "toml: ")
	}
	if wrong != nil {
		fe.Line, fe.Column = wrong.Position()
	}
	if secret {
		fe.Msg, fe.Width = "damaged", 1
	} else {
		fe.Msg = printable(fe.Msg)
		fe.Source = printable(lineOf(data, fe.Line))
	}
	return fe
}

// lineOf returns line n of data, from 1; "" where there is none.
func lineOf(data []byte, n int) string {
	for ; n > 1; n-- {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return ""
		}
		data = data[i+1:]
	}
	if n < 1 {
		return ""
	}
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		data = data[:i]
	}
	const most = 200
	if len(data) > most {
		data = data[:most]
	}
	return string(data)
}

// printable replaces what is not a plain ASCII character, so that it can neither steer a terminal nor move the caret.
func printable(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

// encode writes v as TOML below a comment.
func encode(comment string, v any) ([]byte, error) {
	b, err := toml.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append([]byte("# "+comment+"\n"), b...), nil
}
