package cli

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestParseConfig(t *testing.T) {
	c, err := parseConfig("c.toml", []byte(`
listen = [":7419", "[::1]:7420"]
transports = "tcp"
retry_for = "1h"
timeout = 45

[root.zeta]
path = "/srv/z"
[root.alpha]
path = "/srv/a"
[root."b.c"]
path = "/srv/b"

[host.nas]
addr = "nas.example:7500"
streams = 4
checksum = true
bwlimit = "2M"
`))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"zeta", "alpha", "b.c"}; !slices.Equal(c.order, want) {
		t.Errorf("roots in the order %v, want %v", c.order, want)
	}
	if got, err := texts(c.Listen); err != nil || !slices.Equal(got, []string{":7419", "[::1]:7420"}) {
		t.Errorf("listen = %v, %v", got, err)
	}
	if c.Host["nas"].Addr != "nas.example:7500" {
		t.Errorf("addr = %q", c.Host["nas"].Addr)
	}
}

func TestConfigErrorsShowThePlace(t *testing.T) {
	for _, c := range []struct {
		name, text, where, line string
		caret                   int // column of the caret
	}{
		{"unknown key", "retry_for = \"1h\"\nretri = 5\n", "c.toml:2:1: unknown key retri", "retri = 5", 0},
		{"unknown key in a block", "[host.nas]\n  adr = \"x\"\n", "c.toml:2:3: unknown key host.nas.adr", "  adr = \"x\"", 2},
		{"unknown block", "[hots.nas]\naddr = \"x\"\n", "c.toml:1:", "[hots.nas]", -1},
		{"syntax", "a = \n", "c.toml:1:", "a = ", -1},
		{"wrong type", "[host.nas]\naddr = 5\n", "c.toml:2:", "addr = 5", -1},
		{"escape sequence", "\x1b = 5\n", "c.toml:1:", `\x1b = 5`, -1},
	} {
		_, err := parseConfig("c.toml", []byte(c.text))
		var ce *cliError
		if !errors.As(err, &ce) || ce.code != exitUsage {
			t.Errorf("%s: %v, want exit 2", c.name, err)
			continue
		}
		if !strings.HasPrefix(ce.Error(), c.where) {
			t.Errorf("%s: %q, want %q", c.name, ce.Error(), c.where)
		}
		lines := strings.Split(ce.detail, "\n")
		if len(lines) != 2 || lines[0] != "  "+c.line || strings.TrimLeft(lines[1], " ") != "^" {
			t.Errorf("%s: shows %q", c.name, ce.detail)
		} else if at := len(lines[1]) - 3; c.caret >= 0 && at != c.caret {
			t.Errorf("%s: caret under column %d, want %d", c.name, at, c.caret)
		}
		if !printable(strings.ReplaceAll(ce.detail, "\n", "")) {
			t.Errorf("%s: %q is not fit to print", c.name, ce.detail)
		}
	}
}

func TestRootWithoutPathIsRefused(t *testing.T) {
	if _, err := parseConfig("c.toml", []byte("[root.a]\n")); err == nil {
		t.Error("accepted")
	}
}

// settled returns the flags of a send after everything was put together.
func settled(t *testing.T, env map[string]string, files []string, host string, args ...string) (*runFlags, target, error) {
	t.Helper()
	cmd := &cobra.Command{Use: "send", RunE: func(*cobra.Command, []string) error { return nil }}
	f := transferFlags(cmd)
	addLaterFlags(cmd.Flags(), laterTransferFlags()...)
	cmd.SetArgs(args)
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	e := Env{Getenv: func(k string) string { return env[k] }}
	if err := f.environment(&e); err != nil {
		return f, target{}, err
	}
	var names []string
	for _, text := range files {
		name := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	configs, err := readConfig(names, true)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := parseAddress(host)
	if err != nil {
		t.Fatal(err)
	}
	where, err := f.settle(configs, &addr)
	return f, where, err
}

func TestOrderOfSettings(t *testing.T) {
	file := []string{"timeout = 50\n[host.nas]\ntimeout = 40\n", "timeout = 60\ncontimeout = 7\n[host.nas]\nretry_for = 9\n"}
	for _, c := range []struct {
		name string
		env  map[string]string
		file []string
		args []string
		want time.Duration
	}{
		{"default", nil, nil, nil, 30 * time.Second},
		{"global block", nil, []string{"timeout = 50\n"}, nil, 50 * time.Second},
		{"host block beats global block", nil, file, nil, 40 * time.Second},
		{"environment beats host block", map[string]string{"XFER_TIMEOUT": "20"}, file, nil, 20 * time.Second},
		{"flag beats environment", map[string]string{"XFER_TIMEOUT": "20"}, file, []string{"--timeout", "10s"}, 10 * time.Second},
		{"an empty variable is none", map[string]string{"XFER_TIMEOUT": ""}, file, nil, 40 * time.Second},
	} {
		f, _, err := settled(t, c.env, c.file, "nas:", c.args...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if f.timeout.d != c.want {
			t.Errorf("%s: timeout %v, want %v", c.name, f.timeout.d, c.want)
		}
	}
	f, _, err := settled(t, nil, file, "nas:")
	if err != nil || f.contimeout.d != 7*time.Second || f.retryFor.d != 9*time.Second {
		t.Errorf("the second file: contimeout %v, retry-for %v, %v", f.contimeout.d, f.retryFor.d, err)
	}
	if f, _, _ := settled(t, nil, file, "other:"); f.timeout.d != 50*time.Second {
		t.Errorf("another host has timeout %v", f.timeout.d)
	}
}

func TestEnvironmentOfEveryKindOfFlag(t *testing.T) {
	f, _, err := settled(t, map[string]string{
		"XFER_CHECKSUM": "1", "XFER_STREAMS": "3", "XFER_BWLIMIT": "1M", "XFER_IPV4": "true", "XFER_RECEIPT": "/x", "XFER_NO_CLOBBER": "true",
		"XFER_ARCHIVE": "1", "XFER_SPECIAL_MODES": "1",
	}, nil, "nas:")
	if err != nil || !f.checksum || f.streams.n != 3 || f.bwlimit.limit == nil || !f.ipv4 || f.receipt != "/x" || !f.noClobber || !f.archive || !f.special {
		t.Errorf("%+v, %v", f, err)
	}
	for _, c := range []string{"XFER_STREAMS=0", "XFER_TRANSPORT=carrier pigeon", "XFER_CHECKSUM=perhaps", "XFER_PORT=x", "XFER_RETRY_FOR=soon", "XFER_SNAPSHOT=x"} {
		name, value, _ := strings.Cut(c, "=")
		_, _, err := settled(t, map[string]string{name: value}, nil, "nas:")
		if exitCodeOf(err) != exitUsage {
			t.Errorf("%s: %v", c, err)
		}
	}
}

func TestWhereAHostIs(t *testing.T) {
	file := []string{"[host.nas]\naddr = \"nas.example:7500\"\n[host.six]\naddr = \"[::1]\"\nport = 99\n[host.both]\naddr = \"b:1\"\nport = 2\n"}
	for _, c := range []struct {
		in   string
		args []string
		env  map[string]string
		want string
	}{
		{"nas:a", nil, nil, "nas.example:7500"},
		{"nas:a", []string{"-P", "1"}, nil, "nas.example:1"},
		{"nas:a", nil, map[string]string{"XFER_PORT": "3"}, "nas.example:3"},
		{"xfer://nas:5/r/a", nil, nil, "nas.example:5"},
		{"six:a", nil, nil, "[::1]:99"},
		{"both:a", nil, nil, "b:1"},
		{"Other.Example:a", nil, nil, "other.example:7419"},
		{"[2001:db8::1]:a", nil, nil, "[2001:db8::1]:7419"},
	} {
		_, got, err := settled(t, c.env, file, c.in, c.args...)
		if err != nil || got.hostPort() != c.want {
			t.Errorf("%s %v %v is %s, %v, want %s", c.in, c.args, c.env, got.hostPort(), err, c.want)
		}
	}
	if _, _, err := settled(t, nil, nil, "xfer://nas:5/r", "-P", "6"); exitCodeOf(err) != exitUsage {
		t.Errorf("two ports: %v", err)
	}
	if _, _, err := settled(t, nil, []string{"[host.nas]\naddr = \"a/b\"\n"}, "nas:"); exitCodeOf(err) != exitUsage {
		t.Errorf("a bad addr: %v", err)
	}
	if _, _, err := settled(t, nil, []string{"[host.nas]\nstreams = \"many\"\n"}, "nas:"); exitCodeOf(err) != exitUsage {
		t.Errorf("a bad value: %v", err)
	}
}

func TestFamilyAndAddressMustAgree(t *testing.T) {
	for _, c := range []struct {
		host, flag string
		ok         bool
	}{{"[::1]:a", "-4", false}, {"127.0.0.1:a", "-6", false}, {"[::1]:a", "-6", true}, {"127.0.0.1:a", "-4", true}, {"nas:a", "-6", true}} {
		_, _, err := settled(t, nil, nil, c.host, c.flag)
		if (err == nil) != c.ok {
			t.Errorf("%s %s: %v", c.flag, c.host, err)
		}
	}
	if _, _, err := settled(t, nil, nil, "nas:", "-4", "-6"); exitCodeOf(err) != exitUsage {
		t.Errorf("-4 -6: %v", err)
	}
}

func TestBatch(t *testing.T) {
	terminal, pipe := Env{StdinTerminal: true, StderrTerminal: true}, Env{}
	for _, c := range []struct {
		name  string
		env   Env
		vars  map[string]string
		file  []string
		args  []string
		batch bool
		retry time.Duration
	}{
		{name: "a person", env: terminal, retry: 15 * time.Minute},
		{name: "stdin alone is a pipe", env: Env{StderrTerminal: true}, retry: 15 * time.Minute},
		{name: "nobody watches", env: pipe, batch: true, retry: 15 * time.Minute},
		{name: "--batch", env: terminal, args: []string{"-B"}, batch: true, retry: 24 * time.Hour},
		{name: "--batch with a patience", env: pipe, args: []string{"--batch", "--retry-for", "5"}, batch: true, retry: 5 * time.Second},
		{name: "XFER_BATCH", env: terminal, vars: map[string]string{"XFER_BATCH": "1"}, batch: true, retry: 24 * time.Hour},
		{name: "patience of the configuration", env: terminal, file: []string{"retry_for = 7\n"}, args: []string{"-B"}, batch: true, retry: 7 * time.Second},
	} {
		f, _, err := settled(t, c.vars, c.file, "nas:", c.args...)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.settleBatch(&c.env); got != c.batch || f.retryFor.d != c.retry {
			t.Errorf("%s: batch %v, patience %v, want %v, %v", c.name, got, f.retryFor.d, c.batch, c.retry)
		}
	}
}

func TestPlaces(t *testing.T) {
	get := func(env map[string]string) places {
		t.Helper()
		p, err := findPlaces(&Env{Getenv: func(k string) string { return env[k] }})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := get(map[string]string{"XFER_HOME": "/x", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"})
	for _, dir := range append(slices.Clone(p.configs), p.trust, p.state, p.socket) {
		if !strings.HasPrefix(dir, "/x/") {
			t.Errorf("XFER_HOME=/x, but %s", dir)
		}
	}
	if len(p.configs) != 1 {
		t.Errorf("XFER_HOME=/x reads %v", p.configs)
	}
	p = get(map[string]string{"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"})
	if p.configs[0] != "/c/xfer/config.toml" || p.state != "/s/xfer" || p.socket != "/r/xfer/xfer.sock" || !strings.HasPrefix(p.trust, "/c/xfer/") {
		t.Errorf("XDG directories: %+v", p)
	}
	p = get(map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "relative"})
	want := "/h/.config/xfer/config.toml"
	if isRoot() {
		want = "/etc/xfer/config.toml"
	}
	if p.configs[0] != want {
		t.Errorf("without XDG directories: %+v, want %s", p, want)
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, s := range []string{"listen = \":1\"\n[root.a]\npath = \"/a\"\n", "[host.nas]\naddr = 5\n", "retri = 1", "a = [[\x1b", "[root.a.b]\npath=1", "\u202e = 1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig("c.toml", data)
		if err != nil {
			var ce *cliError
			if !errors.As(err, &ce) || ce.code != exitUsage {
				t.Fatalf("%q: %v", data, err)
			}
			if !printable(strings.ReplaceAll(ce.detail, "\n", "")) || strings.Count(ce.detail, "\n") > 1 || !printable(clean(ce.Error())) {
				t.Fatalf("%q: %q, %q", data, ce.Error(), ce.detail)
			}
			return
		}
		if len(c.order) != len(c.Root) {
			t.Fatalf("%q: %d roots, %v", data, len(c.Root), c.order)
		}
	})
}

// A folder of the system that is not for us to read, since root has its keys in it, is no reason to do nothing.
func TestConfigurationThatIsNotForUsToRead(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	dir := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(dir, 0); err != nil {
		t.Fatal(err)
	}
	system := filepath.Join(dir, "config.toml")
	if all, err := readConfig([]string{filepath.Join(t.TempDir(), "none"), system}, false); err != nil || len(all) != 0 {
		t.Errorf("%d files, %v", len(all), err)
	}
	if _, err := readConfig([]string{system}, false); err == nil {
		t.Error("our own file, which is not for us to read, is passed over")
	}
	if _, err := readConfig([]string{filepath.Join(t.TempDir(), "none"), system}, true); err == nil {
		t.Error("a file that was named is passed over")
	}
}
