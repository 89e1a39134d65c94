package transfer

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"xfer/transfer/durable"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// treeAsk is what a TREE_GET says of rules. Of a list of files it has so many names as fit into one.
type treeAsk struct {
	rules [][]byte
	names [][]byte
	walk  uint64
	unmet map[string]bool // paths of names that have not come
}

// askBytes is the most that the names of one TREE_GET take.
const askBytes = 256 << 10

// asks makes what there is to ask for a directory, one TREE_GET after the other.
func (r *Rules) asks() ([]*treeAsk, error) {
	usage := func(text string) error { return &Error{Op: "get", Kind: KindUsage, Err: errors.New(text)} }
	var all treeAsk
	if r.FollowLinks {
		all.walk |= wire.TreeFollowLinks
	}
	if r.OneFileSystem {
		all.walk |= wire.TreeOneFileSystem
	}
	if r.Recurse && r.Files != nil {
		all.walk |= wire.TreeRecurse
	}
	size := 0
	for _, line := range r.lines() {
		if line == "gitignore" {
			all.walk |= wire.TreeGitignore
			continue
		}
		size += len(line)
		all.rules = append(all.rules, []byte(line))
	}
	if len(all.rules) > wire.MaxRules || size > tree.MaxSentRuleBytes {
		return nil, usage(fmt.Sprintf("a server takes %d rules of together %d bytes", wire.MaxRules, tree.MaxSentRuleBytes))
	}
	if r.Files == nil {
		return []*treeAsk{&all}, nil
	}
	var list []*treeAsk
	ask := new(treeAsk)
	for name := range r.Files.All() {
		if n := len(ask.names); len(list) == 0 || n == wire.MaxNames || size+len(name) > askBytes {
			one := all
			one.unmet = map[string]bool{}
			ask, size = &one, 0
			list = append(list, ask)
		}
		size += len(name)
		ask.names = append(ask.names, []byte(name))
		if name != "." {
			ask.unmet[strings.TrimSuffix(name, "/")] = true
		}
	}
	return list, nil
}

func (r *Rules) lines() []string {
	if r.Filter == nil {
		return nil
	}
	return r.Filter.Rules()
}

// queueTree queues a directory: a task for each TREE_GET that it takes.
func (g *getter) queueTree(t *getTask, whole *treeTask, name string, contents bool) error {
	asks, err := g.c.Options.Rules.asks()
	if err != nil {
		return withPath(err, t.shown)
	}
	for i, ask := range asks {
		one, w := *t, treeTask{shown: whole.shown, bare: whole.bare, ask: ask}
		if !contents {
			w.named = name
		}
		if one.whole = &w; i > 0 {
			g.m.tree()
		}
		g.queue(&one)
	}
	return nil
}

// unmet tells the names of the list that the server does not have.
func (g *getter) unmet(t *treeTask) {
	k := keeper{filter: g.c.Options.Rules.Filter}
	defer k.close()
	for _, name := range slices.Sorted(maps.Keys(t.ask.unmet)) {
		out, err := k.without(name, false)
		if !out && err == nil {
			out, err = k.without(name, true)
		}
		if !out && err == nil && t.once(name) {
			g.m.failed(&Error{Op: "get", Path: t.shownPath(name), Kind: KindNotFound, Err: errors.New("is in the list of files, but not at the server")})
		}
	}
}

// selectionFor is what of a tree goes that a client asked for; nil for all.
func selectionFor(m wire.TreeGet, root string, top durable.FS) (tree.Selection, error) {
	if len(m.Rules)+len(m.Names) == 0 && m.Walk&wire.TreeGitignore == 0 {
		return nil, nil
	}
	unsupported := func(err error) error { return &wire.ProtocolError{Code: wire.CodeUnsupported, Msg: err.Error()} }
	lines := make([]string, len(m.Rules))
	for i, rule := range m.Rules {
		lines[i] = string(rule)
	}
	f, err := tree.ParseRules(lines)
	if err != nil {
		return nil, unsupported(err)
	}
	f.Gitignore(m.Walk&wire.TreeGitignore != 0)
	if len(m.Names) > 0 {
		list, err := tree.ReadFilesFrom(bytes.NewReader(bytes.Join(m.Names, []byte{0})), true)
		if err != nil {
			return nil, unsupported(err)
		}
		f.Files(list, m.Walk&wire.TreeRecurse != 0)
	}
	name := ""
	if m.Walk&wire.TreeNamed != 0 {
		name = root
		if parts := m.Path.Parts(); len(parts) > 0 {
			name = parts[len(parts)-1]
		}
	}
	d, err := rootFilter(f, name, top)
	if err != nil {
		return nil, err
	}
	return d.Selection(), nil
}
