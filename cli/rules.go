package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"xfer/transfer"
	"xfer/transfer/tree"
)

// The flags that add rules. They share one list, since the first rule that matches decides.
const (
	flagInclude     = "include"
	flagExclude     = "exclude"
	flagExcludeFrom = "exclude-from"
)

// rule is one --include, --exclude or --exclude-from.
type rule struct{ flag, text string }

// ruleValue is a flag that adds to a list of rules. In the environment each line is one, in the configuration each text of a list.
type ruleValue struct {
	list *[]rule
	flag string
}

func (v ruleValue) String() string {
	if v.list == nil { // pflag makes such a one to find out what is zero
		return ""
	}
	var all []string
	for _, r := range *v.list {
		if r.flag == v.flag {
			all = append(all, r.text)
		}
	}
	return strings.Join(all, "\n")
}

func (v ruleValue) Type() string {
	if v.flag == flagExcludeFrom {
		return "FILE"
	}
	return "PATTERN"
}

func (v ruleValue) Set(s string) error {
	if s == "" {
		return errors.New("want a " + strings.ToLower(v.Type()))
	}
	var err error
	switch v.flag {
	case flagInclude:
		err = tree.NewFilter().Include(s)
	case flagExclude:
		err = tree.NewFilter().Exclude(s)
	}
	if err == nil {
		*v.list = append(*v.list, rule{v.flag, s})
	}
	return err
}

// repeatable are flags that are given once for each of several texts.
type repeatable interface{ setAll(list []string) error }

func (v ruleValue) setAll(list []string) error {
	for _, s := range list {
		if err := v.Set(s); err != nil {
			return fmt.Errorf("%s: %w", quote(s), err)
		}
	}
	return nil
}

// filterFlags say what of the sources goes.
type filterFlags struct {
	list          []rule
	filesFrom     string
	from0         bool
	gitignore     bool
	oneFileSystem bool
	copyLinks     bool

	update, existing, ignoreExisting bool
}

func (f *filterFlags) add(s *pflag.FlagSet) {
	s.BoolVarP(&f.update, "update", "u", false, "leave files alone that are newer at the target")
	s.BoolVar(&f.existing, "existing", false, "make nothing new at the target")
	s.BoolVar(&f.ignoreExisting, "ignore-existing", false, "leave alone what is at the target, whatever it is")
	s.Var(ruleValue{&f.list, flagExclude}, flagExclude, "leave out what matches this pattern, as rsync has them; the first rule that matches decides")
	s.Var(ruleValue{&f.list, flagInclude}, flagInclude, "do not leave out what matches this pattern")
	s.Var(ruleValue{&f.list, flagExcludeFrom}, flagExcludeFrom, "exclude the patterns in this file, one a line; - is stdin")
	s.StringVar(&f.filesFrom, "files-from", "", "take only the names in this file, one a line, relative to the source; - is stdin; with -r also what is beneath its directories")
	s.BoolVar(&f.from0, "from0", false, "what is read by --exclude-from and --files-from ends with NUL bytes, not with lines")
	s.BoolVar(&f.gitignore, "gitignore", false, "leave out what the .gitignore files of the source say")
	s.BoolVarP(&f.copyLinks, "copy-links", "L", false, "take what symbolic links lead to, instead of the links; of a server only within the root")
	s.BoolVarP(&f.oneFileSystem, "one-file-system", "x", false, "leave out what is on file systems that are mounted in the source")
}

// rules reads what the flags name. recurse: the list of files brings what is beneath its directories.
func (f *filterFlags) rules(stdin io.Reader, recurse bool) (transfer.Rules, error) {
	r := transfer.Rules{Recurse: recurse, OneFileSystem: f.oneFileSystem, FollowLinks: f.copyLinks}
	if len(f.list) > 0 || f.gitignore {
		r.Filter = tree.NewFilter()
		r.Filter.Gitignore(f.gitignore)
	}
	usesStdin := 0
	for _, rule := range f.list {
		var err error
		switch rule.flag {
		case flagInclude:
			err = r.Filter.Include(rule.text)
		case flagExclude:
			err = r.Filter.Exclude(rule.text)
		case flagExcludeFrom:
			if rule.text == "-" {
				usesStdin++
			}
			err = readList(flagExcludeFrom, rule.text, stdin, func(in io.Reader) error { return r.Filter.ExcludeFrom(in, f.from0) })
		}
		if err != nil {
			return r, asUsage(err)
		}
	}
	if f.filesFrom == "" {
		return r, nil
	}
	if f.filesFrom == "-" {
		usesStdin++
	}
	if usesStdin > 1 {
		return r, usagef("stdin is read once only: by --exclude-from or by --files-from")
	}
	err := readList("files-from", f.filesFrom, stdin, func(in io.Reader) (err error) {
		r.Files, err = tree.ReadFilesFrom(in, f.from0)
		return err
	})
	return r, asUsage(err)
}

// asUsage makes an error that has no exit code one of the command line.
func asUsage(err error) error {
	var ce *cliError
	if err == nil || errors.As(err, &ce) {
		return err
	}
	return usagef("%v", err)
}

// readList has a file read, or stdin.
func readList(flag, name string, stdin io.Reader, read func(io.Reader) error) error {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return notRead(flag, name, err)
		}
		defer f.Close()
		in = f
	}
	err := read(in)
	var pe *fs.PathError
	switch {
	case errors.As(err, &pe):
		return notRead(flag, name, err)
	case err != nil:
		return usagef("--%s %s: %v", flag, quote(name), err)
	}
	return nil
}

func notRead(flag, name string, err error) error {
	return &cliError{code: exitLocalIO, err: fmt.Errorf("--%s %s: %w", flag, quote(name), cause(err)), hint: "nothing was moved", local: true}
}
