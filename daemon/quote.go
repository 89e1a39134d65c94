package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLogged and maxStack are the numbers of bytes that one value in a log may have.
const (
	maxLogged = 1024
	maxStack  = 16 << 10
)

// quote makes a string from a peer or a disk fit for a log: no control, C1, bidirectional or invisible character, no
// invalid UTF-8 and no line end gets through, all of them are written as Go escapes. A string of printable characters
// stays as it is, so that it can be searched for.
func quote(s string) string { return quoteAtMost(s, maxLogged) }

func quoteAtMost(s string, most int) string {
	more := ""
	if len(s) > most {
		more = "... (" + strconv.Itoa(len(s)) + " bytes)"
		s = s[:most]
	}
	if !strings.ContainsFunc(s, unprintable) {
		return s + more
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`) + more
}

// unprintable is also true for an invalid byte, which ranges as U+FFFD; a true U+FFFD is escaped with it.
func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// quoting is a slog.Handler that quotes every message and value before the next handler gets it, so that nobody who
// logs has to think of it. (slog's text handler quotes by itself, its JSON handler lets C1 and bidirectional characters
// through.) Keys and groups are names in our own code.
type quoting struct{ slog.Handler }

// Handle implements slog.Handler.
func (q quoting) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, quote(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(quoteAttr(a))
		return true
	})
	return q.Handler.Handle(ctx, out)
}

// WithAttrs implements slog.Handler.
func (q quoting) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quoting{q.Handler.WithAttrs(quoteAttrs(attrs))}
}

// WithGroup implements slog.Handler.
func (q quoting) WithGroup(name string) slog.Handler { return quoting{q.Handler.WithGroup(name)} }

func quoteAttrs(attrs []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = quoteAttr(a)
	}
	return out
}

func quoteAttr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		most := maxLogged
		if a.Key == "stack" {
			most = maxStack
		}
		return slog.String(a.Key, quoteAtMost(v.String(), most))
	case slog.KindGroup:
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(quoteAttrs(v.Group())...)}
	case slog.KindAny:
		if v.Any() == nil {
			return slog.Attr{} // no error, say: nothing to tell
		}
		return slog.String(a.Key, quote(fmt.Sprint(v.Any())))
	}
	return slog.Attr{Key: a.Key, Value: v}
}
