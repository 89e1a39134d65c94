package daemon

import (
	"fmt"
	"slices"
	"strings"

	"xfer/transfer/sink"
)

// The words of a client's rights. get, put and the rest may be combined; all, append and write-only stand alone, but for
// special-modes, which none of them contains.
const (
	wordAll       = "all"
	wordAppend    = "append"
	wordWriteOnly = "write-only"
	wordSpecial   = "special-modes"
)

// word is one right by its name.
type word struct {
	name   string
	rights sink.Rights // what it grants
	bit    sink.Rights // what it is named after
}

// words are the rights that may be combined, in the order in which they are shown. get implies list and stat; put
// implies making missing parents, which the sink does under Put.
var words = [...]word{
	{"get", sink.Get | sink.RList | sink.RStat, sink.Get},
	{"put", sink.Put, sink.Put},
	{"list", sink.RList, sink.RList},
	{"stat", sink.RStat, sink.RStat},
	{"mkdir", sink.RMkdir, sink.RMkdir},
	{"delete", sink.RDelete, sink.RDelete},
	{"rename", sink.RRename, sink.RRename},
	{wordSpecial, sink.SpecialModes, sink.SpecialModes},
}

// CheckRights tells whether words may be the rights of a client in a root; certs.Options.CheckRights wants such a
// function. None at all is fine: it grants nothing.
func CheckRights(words []string) error {
	if len(words) == 0 {
		return nil
	}
	_, err := parseRights(words)
	return err
}

// parseRights turns the words of a client's entry into rights. Nothing is granted by an empty list, an unknown word,
// or a mode beside other words: those are errors.
func parseRights(list []string) (sink.Rights, error) {
	if len(list) == 0 {
		return 0, fmt.Errorf("no rights")
	}
	var r sink.Rights
	for _, w := range list {
		switch w {
		case wordAll, wordAppend, wordWriteOnly:
			if slices.ContainsFunc(list, func(o string) bool { return o != w && o != wordSpecial }) || count(list, w) > 1 {
				return 0, fmt.Errorf("rights %q: %q stands alone", strings.Join(list, ","), w)
			}
			r |= mode(w)
			continue
		}
		i := slices.IndexFunc(words[:], func(k word) bool { return k.name == w })
		if i < 0 {
			return 0, fmt.Errorf("unknown right %q", w)
		}
		r |= words[i].rights
	}
	return r, nil
}

func count(list []string, word string) (n int) {
	for _, w := range list {
		if w == word {
			n++
		}
	}
	return n
}

func mode(word string) sink.Rights {
	switch word {
	case wordAppend:
		return sink.Put | sink.Get | sink.RList | sink.RStat | sink.RMkdir | sink.NoReplace
	case wordWriteOnly:
		return sink.Put | sink.RMkdir | sink.NoReplace
	}
	return sink.All
}

// rightWords is what a client is told it may do: every right by its word, after the mode's where it is one.
func rightWords(r sink.Rights) []string {
	var list []string
	for _, w := range []string{wordAppend, wordWriteOnly} {
		if r&^sink.SpecialModes == mode(w) {
			list = append(list, w)
		}
	}
	for _, k := range words {
		if r&k.bit != 0 {
			list = append(list, k.name)
		}
	}
	return list
}

// narrower tells whether now takes anything away from was.
func narrower(was, now sink.Rights) bool {
	if was&^now&^sink.NoReplace != 0 {
		return true
	}
	return now&sink.NoReplace != 0 && was&sink.NoReplace == 0
}
