package cli

import (
	"slices"
	"strings"
	"testing"

	"xfer/transfer"
)

func TestParseAddress(t *testing.T) {
	at := func(root, path string, slash bool) transfer.Address {
		a := transfer.Address{Root: root, TrailSlash: slash}
		if path != "" {
			a.Path = strings.Split(path, "|")
		}
		return a
	}
	for _, c := range []struct {
		in   string
		host string
		port int
		user string
		top  bool
		at   transfer.Address
	}{
		{in: "nas", host: "nas"},
		{in: "nas:", host: "nas"},
		{in: "nas:/", host: "nas", top: true, at: at("", "", true)},
		{in: "nas:///", host: "nas", top: true, at: at("", "", true)},
		{in: "nas:a", host: "nas", at: at("", "a", false)},
		{in: "nas:a/b c", host: "nas", at: at("", "a|b c", false)},
		{in: "nas:a/", host: "nas", at: at("", "a", true)},
		{in: "nas:a//b/./c", host: "nas", at: at("", "a|b|c", false)},
		{in: "nas:a/.", host: "nas", at: at("", "a", true)},
		{in: "nas:.", host: "nas", at: at("", "", true)},
		{in: "nas:/music", host: "nas", at: at("music", "", false)},
		{in: "nas:/music/", host: "nas", at: at("music", "", true)},
		{in: "nas:/music/a/b", host: "nas", at: at("music", "a|b", false)},
		{in: "nas:a:b", host: "nas", at: at("", "a:b", false)},
		{in: "nas:a@b", host: "nas", at: at("", "a@b", false)},
		{in: "nas:...", host: "nas", at: at("", "...", false)},
		{in: "nas:..a/b..", host: "nas", at: at("", "..a|b..", false)},
		{in: "nas:\xff\n\x1b", host: "nas", at: at("", "\xff\n\x1b", false)},
		{in: "nas:-x", host: "nas", at: at("", "-x", false)},
		{in: "nas:%2e%2e/x", host: "nas", at: at("", "%2e%2e|x", false)},
		{in: "me@nas:a", host: "nas", user: "me", at: at("", "a", false)},
		{in: "me@nas", host: "nas", user: "me"},
		{in: "192.0.2.1:a", host: "192.0.2.1", at: at("", "a", false)},
		{in: "[::1]:a/b", host: "::1", at: at("", "a|b", false)},
		{in: "[::1]", host: "::1"},
		{in: "[fe80::1%eth0]:a", host: "fe80::1%eth0", at: at("", "a", false)},
		{in: "me@[2001:DB8::1]:/r/x", host: "2001:db8::1", user: "me", at: at("r", "x", false)},
		{in: "xfer://nas", host: "nas"},
		{in: "xfer://nas/", host: "nas", top: true, at: at("", "", true)},
		{in: "xfer://nas:7420/r/a", host: "nas", port: 7420, at: at("r", "a", false)},
		{in: "xfer://me@nas/r/a/", host: "nas", user: "me", at: at("r", "a", true)},
		{in: "xfer://[::1]:99/r/a:b", host: "::1", port: 99, at: at("r", "a:b", false)},
		{in: "büro:a", host: "büro", at: at("", "a", false)},
	} {
		got, err := parseAddress(c.in)
		if err != nil {
			t.Errorf("parseAddress(%q): %v", c.in, err)
			continue
		}
		if got.host != c.host || got.port != c.port || got.user != c.user || got.top != c.top {
			t.Errorf("parseAddress(%q) = host %q port %d user %q top %v, want %q %d %q %v", c.in, got.host, got.port, got.user, got.top, c.host, c.port, c.user, c.top)
		}
		if got.at.Root != c.at.Root || !slices.Equal(got.at.Path, c.at.Path) || got.at.TrailSlash != c.at.TrailSlash {
			t.Errorf("parseAddress(%q) at %+v, want %+v", c.in, got.at, c.at)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, in := range []string{
		"", ":", ":a", "@:a", "me@:a", "-oProxy:a", ".:a", "..:a", "dir/x", "./a:b", "/abs", "na s:a", "na\x1bs:a", "na\xffs:a",
		"nas:..", "nas:a/..", "nas:../a", "nas:/..", "nas:/r/../s", "xfer://nas/r/..", "nas:a/../..",
		"nas:a\x00b", "nas:" + strings.Repeat("x", 256), "nas:" + strings.Repeat("x/", 257), "nas:" + strings.Repeat("xxxx/", 1000),
		"[::1", "[::1]a", "[nas]:a", "[]:a", "[127.0.0.1]:a", "::1", "::1:a",
		"xfer://", "xfer:///r/a", "xfer://nas:0/r", "xfer://nas:65536/r", "xfer://nas:x/r", "xfer://[::1/r", "xfer://[::1]9/r", "xfer://a:b@c:d/",
		strings.Repeat("h", 300) + ":a",
	} {
		if got, err := parseAddress(in); err == nil {
			t.Errorf("parseAddress(%q) = %+v, want an error", in, got)
		} else if exitCodeOf(err) != exitUsage {
			t.Errorf("parseAddress(%q): exit %d, want %d", in, exitCodeOf(err), exitUsage)
		} else if text := err.Error(); clean(text) != text {
			t.Errorf("parseAddress(%q): the message %q is not fit to print", in, text)
		}
	}
}

func TestIsRemote(t *testing.T) {
	for in, want := range map[string]bool{
		"a": false, "a/b": false, "./a:b": false, "/a:b": false, "a/b:c": false, "-": false, "": false,
		"a:": true, "a:b": true, "me@a:b": true, "[::1]:a": true, "me@[::1]:a": true, "xfer://a/b": true, "a:/b": true,
		"[x]/y:z": false,
	} {
		if got := isRemote(in); got != want {
			t.Errorf("isRemote(%q) = %v, want %v", in, got, want)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"nas:a/b", "me@[::1]:/r/x", "xfer://nas:7420/r/a", "nas:..", "a:b:c", "[fe80::1%eth0]:a", "[1:1::1% 0]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseAddress(s)
		if err != nil {
			if text := err.Error(); clean(text) != text {
				t.Fatalf("parseAddress(%q): the message %q is not fit to print", s, text)
			}
			return
		}
		if a.host == "" || strings.ContainsAny(a.host, "/@[] \x00\n\x1b") || a.host[0] == '-' {
			t.Fatalf("parseAddress(%q): host %q", s, a.host)
		}
		for _, c := range append(slices.Clone(a.at.Path), a.at.Root) {
			if c == "." || c == ".." || strings.ContainsAny(c, "/\x00") || len(c) > 255 {
				t.Fatalf("parseAddress(%q): component %q", s, c)
			}
		}
		if slices.Contains(a.at.Path, "") {
			t.Fatalf("parseAddress(%q): an empty component", s)
		}
	})
}
