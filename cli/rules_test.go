package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ruleTexts are the rules of a command line as they stand in the list.
func ruleTexts(f *runFlags) []string {
	var all []string
	for _, r := range f.list {
		all = append(all, r.flag+" "+r.text)
	}
	return all
}

// The first rule that matches decides, so the order of a command line is kept, and what is included elsewhere goes first.
func TestOrderOfRules(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		env    map[string]string
		config []string
		want   []string
	}{
		{name: "command line", args: []string{"--exclude", "a", "--include=b", "--exclude-from", "f", "--exclude", "c, d"},
			want: []string{"exclude a", "include b", "exclude-from f", "exclude c, d"}},
		{name: "environment, one a line", env: map[string]string{"XFER_EXCLUDE": "*.o\n{a,b}\n", "XFER_INCLUDE": "keep.o", "XFER_EXCLUDE_FROM": "f"},
			want: []string{"include keep.o", "exclude *.o", "exclude {a,b}", "exclude-from f"}},
		{name: "configuration", config: []string{"exclude = [\"*.o\", \"a b\"]\nexclude_from = \"f\"\ninclude = [\"keep.o\"]\n"},
			want: []string{"include keep.o", "exclude *.o", "exclude a b", "exclude-from f"}},
		{name: "each flag overrides what is weaker, and no other", args: []string{"--exclude", "a"}, env: map[string]string{"XFER_EXCLUDE": "b", "XFER_INCLUDE": "c"},
			config: []string{"exclude = \"d\"\nexclude_from = \"f\"\n"}, want: []string{"exclude a", "include c", "exclude-from f"}},
		{name: "host before all hosts", config: []string{"exclude = \"a\"\ninclude = \"b\"\n[host.nas]\nexclude = [\"c\"]\n"}, want: []string{"exclude c", "include b"}},
		{name: "an empty list is none", config: []string{"exclude = []\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, _, err := settled(t, c.env, c.config, "nas:", c.args...)
			if got := ruleTexts(f); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("rules %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestRulesThatAreNone(t *testing.T) {
	for _, c := range []struct {
		env    map[string]string
		config []string
		want   string
	}{
		{env: map[string]string{"XFER_EXCLUDE": "a\n\nb"}, want: `XFER_EXCLUDE="a\n\nb": "": want a pattern`},
		{env: map[string]string{"XFER_INCLUDE": strings.Repeat("x", 5000)}, want: "longer than"},
		{config: []string{"exclude = [1]\n"}, want: "exclude: want a list of texts"},
		{config: []string{"streams = [\"1\"]\n"}, want: "streams: want text, a number or true or false"},
		{config: []string{"exclude = \"- \"\n"}, want: "there is no pattern"},
	} {
		if f, _, err := settled(t, c.env, c.config, "nas:"); err == nil || exitCodeOf(err) != exitUsage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %v: %v, rules %q, want %q", c.env, c.config, err, ruleTexts(f), c.want)
		}
	}
}

// A flag of sync in the environment or the configuration is no mistake of another verb.
func TestSyncFlagsOfOtherVerbs(t *testing.T) {
	for _, line := range []string{"send a nas:", "get nas:a b"} {
		a := &app{env: Env{Args: append(strings.Fields(line), "-q"), Getenv: func(k string) string {
			return map[string]string{"XFER_DELETE": "true", "XFER_MAX_DELETE": "5", "XFER_BACKUP_DIR": "old"}[k]
		}}}
		root := a.rootCommand()
		root.SetArgs(a.env.Args)
		if err := root.Execute(); err != nil {
			t.Fatalf("xfer %s: %v", line, err)
		}
		if err := a.job.conn.apply([]setting{{flag: "delete", key: "delete", value: "true"}, {flag: "max-delete", key: "max_delete", value: "5"}}, "c.toml"); err != nil {
			t.Errorf("xfer %s: %v", line, err)
		}
	}
}

func TestRulesOfFiles(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	lines, nul := put("lines", "# nothing\n*.o\n\n+ a b\n"), put("nul", "one\x00two\nlines\x00")
	for _, c := range []struct {
		name  string
		f     filterFlags
		stdin string
		rules []string
		files []string
		code  int
	}{
		{name: "none"},
		{name: "a file between others", f: filterFlags{list: []rule{{flagExclude, "a"}, {flagExcludeFrom, lines}, {flagInclude, "b"}}}, rules: []string{"- a", "- *.o", "+ a b", "+ b"}},
		{name: "ends with NUL", f: filterFlags{list: []rule{{flagExcludeFrom, nul}}, from0: true}, rules: []string{"- one", "- two\nlines"}},
		{name: "stdin", f: filterFlags{list: []rule{{flagExcludeFrom, "-"}}}, stdin: "x\n", rules: []string{"- x"}},
		{name: "a list of files", f: filterFlags{filesFrom: "-"}, stdin: "b/c\na/\nb/c\n", files: []string{"a/", "b/c"}},
		{name: "stdin twice", f: filterFlags{list: []rule{{flagExcludeFrom, "-"}}, filesFrom: "-"}, code: exitUsage},
		{name: "missing", f: filterFlags{list: []rule{{flagExcludeFrom, filepath.Join(dir, "missing")}}}, code: exitLocalIO},
		{name: "a missing list", f: filterFlags{filesFrom: filepath.Join(dir, "missing")}, code: exitLocalIO},
		{name: "a directory", f: filterFlags{filesFrom: dir}, code: exitLocalIO},
		{name: "a name that leads out", f: filterFlags{filesFrom: "-"}, stdin: "a\n../b\n", code: exitUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := c.f.rules(strings.NewReader(c.stdin), false)
			if exitCodeOf(err) != c.code {
				t.Fatalf("%v, want exit %d", err, c.code)
			}
			if err != nil {
				return
			}
			var rules, files []string
			if r.Filter != nil {
				rules = r.Filter.Rules()
			}
			if r.Files != nil {
				files = slices.Collect(r.Files.All())
			}
			if !slices.Equal(rules, c.rules) || !slices.Equal(files, c.files) {
				t.Errorf("rules %q, files %q, want %q, %q", rules, files, c.rules, c.files)
			}
		})
	}
}
