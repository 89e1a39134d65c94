package daemon

import (
	"slices"
	"strings"
	"testing"

	"xfer/transfer/sink"
)

func TestRights(t *testing.T) {
	const read = sink.Get | sink.RList | sink.RStat
	for in, want := range map[string]sink.Rights{
		"get":               read,
		"put":               sink.Put,
		"list":              sink.RList,
		"stat":              sink.RStat,
		"mkdir":             sink.RMkdir,
		"delete":            sink.RDelete,
		"rename":            sink.RRename,
		"get,put":           read | sink.Put,
		"put,put":           sink.Put,
		"list,stat,delete":  sink.RList | sink.RStat | sink.RDelete,
		"all":               sink.All,
		"append":            read | sink.Put | sink.RMkdir | sink.NoReplace,
		"write-only":        sink.Put | sink.RMkdir | sink.NoReplace,
		"get,put,mkdir":     read | sink.Put | sink.RMkdir,
		"mkdir,rename,stat": sink.RMkdir | sink.RRename | sink.RStat,

		"put,special-modes":        sink.Put | sink.SpecialModes,
		"all,special-modes":        sink.All | sink.SpecialModes,
		"special-modes,append":     read | sink.Put | sink.RMkdir | sink.NoReplace | sink.SpecialModes,
		"write-only,special-modes": sink.Put | sink.RMkdir | sink.NoReplace | sink.SpecialModes,
	} {
		if got, err := parseRights(strings.Split(in, ",")); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "GET", "read", "get,", "append,delete", "get,all", "write-only,get", "no-replace", "all,all", "all,special-modes,put", "all,special-modes,append"} {
		if got, err := parseRights(strings.Split(in, ",")); err == nil || got != 0 {
			t.Errorf("%q: got %v, %v; want nothing and an error", in, got, err)
		}
	}
	if got, err := parseRights(nil); err == nil || got != 0 {
		t.Errorf("nothing: got %v, %v; want nothing and an error", got, err)
	}
}

func TestRightWords(t *testing.T) {
	for in, want := range map[string]string{
		"all":        "get put list stat mkdir delete rename",
		"get":        "get list stat",
		"append":     "append get put list stat mkdir",
		"write-only": "write-only put mkdir",
		"put,mkdir":  "put mkdir",

		"special-modes,append": "append get put list stat mkdir special-modes",
	} {
		r, err := parseRights(strings.Split(in, ","))
		if err != nil {
			t.Fatal(err)
		}
		if got := rightWords(r); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: got %v, want %s", in, got, want)
		}
	}
}

func TestNarrower(t *testing.T) {
	for _, c := range []struct {
		was, now string
		want     bool
	}{
		{"all", "all", false},
		{"all", "append", true},
		{"append", "all", false},
		{"get", "all", false},
		{"all", "get", true},
		{"put,mkdir", "write-only", true},
		{"write-only", "put,mkdir", false},
		{"append", "write-only", true},
		{"write-only", "append", false},
		{"get", "put", true},
		{"all,special-modes", "all", true},
		{"all", "all,special-modes", false},
	} {
		was, _ := parseRights(strings.Split(c.was, ","))
		now, _ := parseRights(strings.Split(c.now, ","))
		if got := narrower(was, now); got != c.want {
			t.Errorf("%s to %s: got %v, want %v", c.was, c.now, got, c.want)
		}
	}
}
