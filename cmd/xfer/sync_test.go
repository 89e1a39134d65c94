package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// syncTree is a tree on disk, made of random entries of a small set of names, so that two of them meet in every way.
func syncTree(t *testing.T, r *rand.Rand, top string, depth int, links []string) {
	t.Helper()
	if err := os.MkdirAll(top, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b.o", "c", "d", "e"} {
		at := filepath.Join(top, name)
		content := []string{"", "one", "two", "three"}[r.IntN(4)]
		switch kind := r.IntN(7); {
		case kind < 3:
			if err := os.WriteFile(at, []byte(content), fs.FileMode(0o600|r.IntN(2)*0o44)); err != nil {
				t.Fatal(err)
			}
		case kind == 3:
			if err := os.Symlink(links[r.IntN(len(links))], at); err != nil {
				t.Fatal(err)
			}
			continue
		case kind == 4 && depth > 0:
			syncTree(t, r, at, depth-1, links)
			if err := os.Chmod(at, fs.FileMode(0o755-r.IntN(2)*0o55)); err != nil {
				t.Fatal(err)
			}
		default:
			continue
		}
		when := time.Unix(1700000000+int64(r.IntN(2)), 0)
		if err := os.Chtimes(at, when, when); err != nil {
			t.Fatal(err)
		}
	}
	when := time.Unix(1700000000+int64(r.IntN(2)), 0)
	if err := os.Chtimes(top, when, when); err != nil {
		t.Fatal(err)
	}
}

// state is what there is to see of an entry: the content, and the rest.
type state struct{ content, meta string }

func statesBeneath(t *testing.T, top string) map[string]state {
	t.Helper()
	all := map[string]state{}
	err := filepath.WalkDir(top, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(top, name)
		s := state{e.Type().String(), fmt.Sprint(info.Mode(), info.ModTime().UnixNano())}
		switch {
		case e.Type().IsRegular():
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			s.content = "file " + string(b)
		case e.Type() == fs.ModeSymlink:
			to, err := os.Readlink(name)
			if err != nil {
				return err
			}
			s = state{"link " + to, fmt.Sprint(info.ModTime().UnixNano())}
		}
		all[rel] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// changes tells what a run did, in the words of a plan. What is as it was is left out.
func changes(before, after map[string]state) map[string]string {
	done := map[string]string{}
	for name, was := range before {
		now, ok := after[name]
		switch {
		case !ok:
			done[name] = "delete"
		case now.content != was.content:
			done[name] = "update"
		case now.meta != was.meta:
			done[name] = "meta"
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			done[name] = "new"
		}
	}
	return done
}

// planned reads the plan of -n --json. A name that is deleted and new is an update.
func planned(t *testing.T, o outcome, src string) map[string]string {
	t.Helper()
	plan := map[string]string{}
	for line := range strings.Lines(o.stdout) {
		var e struct{ Event, Action, Path string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Event != "plan" {
			continue
		}
		name, err := filepath.Rel(src, e.Path)
		if err != nil {
			t.Fatal(err)
		}
		switch was := plan[name]; {
		case was == "":
			plan[name] = e.Action
		case was == "delete" && e.Action == "new", was == "new" && e.Action == "delete":
			plan[name] = "update"
		default:
			t.Errorf("%s is planned twice: %s, %s", name, was, e.Action)
		}
	}
	return plan
}

// syncFlags are some flags that change what is done.
func syncFlags(r *rand.Rand) (flags []string) {
	for _, flag := range []string{"--update", "--existing", "--ignore-existing", "--checksum", "--exclude=*.o", "--no-clobber"} {
		if r.IntN(5) == 0 {
			flags = append(flags, flag)
		}
	}
	return flags
}

// checkPlan wants the plan of a command to be what it then does, no more and no less, to dst. shown is how the plan names the source, src.
func checkPlan(t *testing.T, c *side, src, shown, dst string, args []string) {
	t.Helper()
	before := statesBeneath(t, dst)
	plan := c.run("", append(args, "-n")...)
	if now := statesBeneath(t, dst); !maps.Equal(now, before) {
		t.Fatalf("%q -n changed something: %v", args, changes(before, now))
	}
	run := c.run("", args...)
	done, want := changes(before, statesBeneath(t, dst)), planned(t, plan, shown)
	if plan.code != run.code && !slices.Contains([]int{4, 23}, plan.code) || (plan.code == 0) != (run.code == 0) {
		t.Errorf("%q: -n exits %d, the run %d\n%s%s", args, plan.code, run.code, plan.stderr, run.stderr)
	}
	source := statesBeneath(t, src)
	maps.DeleteFunc(want, func(_, action string) bool { return action == "skip" })
	maps.DeleteFunc(done, func(name, action string) bool { // a directory that stays for what is left out
		_, sent := source[name]
		return action == "meta" && (!sent || name == "." && args[0] == "get") // of a get it is the user's own
	})
	for name, action := range done {
		if action == "meta" && want[name] == "update" { // it was sent, and happened to be the same
			done[name] = "update"
		}
	}
	if !maps.Equal(done, want) {
		t.Errorf("%q:\nplanned %v\ndone    %v\n%s", args, want, done, run.stderr)
	}
}

func TestSyncPlanIsWhatIsDone(t *testing.T) {
	d := startDaemon(t)
	c := d.enrolled()
	for seed := range uint64(count(12)) {
		r := rand.New(rand.NewPCG(seed, 1))
		src, name := filepath.Join(t.TempDir(), fmt.Sprint("src", seed)), fmt.Sprint("dst", seed)
		args := append([]string{"sync", src, d.host(name), "--json"}, syncFlags(r)...)
		links := []string{"nowhere", "gone"}
		if r.IntN(4) > 0 {
			args, links = append(args, "--delete", "--max-delete=100%"), append(links, "a", "c") // else they may serve as directories
		}
		syncTree(t, r, src, 2, links)
		syncTree(t, r, d.inbox(name), 2, links)
		checkPlan(t, c, src, src, d.inbox(name), args)
	}
}

func TestGetPlanIsWhatIsDone(t *testing.T) {
	d := startDaemon(t)
	c := d.enrolled()
	for seed := range uint64(count(12)) {
		r := rand.New(rand.NewPCG(seed, 2))
		dst, name := filepath.Join(t.TempDir(), fmt.Sprint("dst", seed)), fmt.Sprint("src", seed)
		syncTree(t, r, d.inbox(name), 2, []string{"nowhere"})
		syncTree(t, r, dst, 2, []string{"nowhere", "gone"})
		checkPlan(t, c, d.inbox(name), name, dst, append([]string{"get", d.host(name + "/"), dst, "--json"}, syncFlags(r)...))
	}
}
