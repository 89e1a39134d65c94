package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"xfer/transfer/transport"
)

// connFlags are those of every verb that dials. Values are final only after settle.
type connFlags struct {
	set        *pflag.FlagSet
	port       portValue
	config     string
	identity   string
	ipv4, ipv6 bool
	transport  choiceValue
	timeout    durationValue
	contimeout durationValue
	retryFor   durationValue
	keylog     bool
	dial       transport.DialOptions // below the connections; only demo sets it
	outFlags
	// origin of each flag that is not at its default: "flag", "environment XFER_X", "config.toml [host.nas]" ...
	origin map[string]string
}

// outFlags say how to talk.
type outFlags struct {
	json, quiet, verbose bool
}

func (f *outFlags) add(s *pflag.FlagSet) {
	s.BoolVar(&f.json, "json", false, "JSON lines on stdout, the last one the result")
	s.BoolVarP(&f.quiet, "quiet", "q", false, "only errors")
	s.BoolVarP(&f.verbose, "verbose", "v", false, "a line for each file and event")
}

// localFlags are those of verbs that do not dial.
func localFlags(cmd *cobra.Command) *connFlags {
	f := &connFlags{set: cmd.Flags(), origin: map[string]string{}}
	f.set.StringVarP(&f.config, "config", "F", "", "read this configuration file and no other")
	f.outFlags.add(f.set)
	return f
}

func dialFlags(cmd *cobra.Command) *connFlags {
	f := localFlags(cmd)
	f.transport = choiceValue{s: "auto", from: []string{"auto", "tcp", "quic"}}
	f.timeout = durationValue{30 * time.Second}
	f.contimeout = durationValue{10 * time.Second}
	f.retryFor = durationValue{15 * time.Minute}
	s := f.set
	s.VarP(&f.port, "port", "P", "port of the host, TCP and UDP (default 7419)")
	s.StringVarP(&f.identity, "identity", "i", "", "use this key file instead of our own")
	s.BoolVarP(&f.ipv4, "ipv4", "4", false, "IPv4 only")
	s.BoolVarP(&f.ipv6, "ipv6", "6", false, "IPv6 only")
	s.Var(&f.transport, "transport", "how to connect")
	s.Var(&f.timeout, "timeout", "give a live connection up after this long without progress")
	s.Var(&f.contimeout, "contimeout", "give a dial up after this long")
	s.Var(&f.retryFor, "retry-for", "keep trying this long without progress over a bad network or a busy server")
	s.BoolVar(&f.keylog, "insecure-keylog", false, "write TLS secrets to $SSLKEYLOGFILE")
	must(s.MarkHidden("insecure-keylog"))
	return f
}

// runFlags are those of send, get and sync.
type runFlags struct {
	*connFlags
	filterFlags
	streams    countValue
	transfers  countValue
	recursive  bool
	preserve   bool
	archive    bool
	special    bool
	compress   choiceValue
	checksum   bool
	noClobber  bool
	dryRun     bool
	bwlimit    rateValue
	resume     choiceValue
	progress   choiceValue
	stats      durationValue
	report     string
	batch      bool
	durability choiceValue
	verify     bool
	receipt    string
}

func transferFlags(cmd *cobra.Command) *runFlags {
	f := &runFlags{connFlags: dialFlags(cmd)}
	f.streams.max, f.transfers.max = 16, 64
	f.compress = choiceValue{s: "auto", from: []string{"auto", "on", "off"}}
	f.resume = choiceValue{s: "auto", from: []string{"auto", "verify", "never"}}
	f.progress = choiceValue{s: "auto", from: []string{"auto", "bar", "line", "none"}}
	f.durability = choiceValue{s: "", from: []string{"full", "batch", "none"}}
	f.stats = durationValue{time.Minute}
	s := f.set
	s.Var(&f.streams, "streams", "streams in one file")
	s.VarP(&f.transfers, "transfers", "j", "files at once")
	s.BoolVarP(&f.recursive, "recursive", "r", true, "accepted: directories are always sent whole; with --files-from those of the list too")
	s.BoolVarP(&f.preserve, "preserve", "p", true, "accepted: mode and times are always kept")
	s.BoolVarP(&f.archive, "archive", "a", false, "keep owner, group, hard links, xattrs and ACLs too, and the mode exactly")
	s.BoolVar(&f.special, "special-modes", false, "with -a: setuid and setgid of files, and capabilities, where the right special-modes is there too")
	s.Var(&f.compress, "compress", "piece by piece, with zstd; auto: what is worth it, where the link is slower than the compressor")
	s.BoolVarP(&f.checksum, "checksum", "c", false, "compare contents, not size and time, to tell what is unchanged")
	s.BoolVar(&f.noClobber, "no-clobber", false, "never replace a file")
	s.BoolVarP(&f.dryRun, "dry-run", "n", false, "show what would be done and move nothing")
	s.Var(&f.bwlimit, "bwlimit", "payload bytes a second: 2M, UP:DOWN, or \"08:00,512k 19:00,off\"")
	s.Var(&f.resume, "resume", "what is there already: take it, hash it again, or start over")
	s.Var(&f.progress, "progress", "auto is a bar on a terminal and lines elsewhere")
	s.Var(&f.stats, "stats", "time between progress lines")
	s.StringVar(&f.report, "report", "", "write the result object to this file")
	s.BoolVarP(&f.batch, "batch", "B", false, "for scripts: no prompt, progress lines, one run at a time, patience of 24h")
	s.Var(&f.durability, "durability", "what done means: full for single files and batch for trees if not given")
	s.BoolVar(&f.verify, "verify", false, "read the files again at the target")
	s.StringVar(&f.receipt, "receipt", "", "keep the signed receipt in this file")
	f.filterFlags.add(s)
	return f
}

// laterFlag is a flag that a later release will have.
type laterFlag struct {
	name, short string
	value       bool // takes a value
}

// laterValue refuses whatever it is given.
type laterValue struct{ name string }

func (v laterValue) String() string { return "" }
func (v laterValue) Type() string   { return "string" }
func (v laterValue) Set(s string) error {
	if s == "false" || s == "0" {
		return nil // switched off is what it is
	}
	return notBuilt("--" + v.name)
}

func notBuilt(what string) error {
	return &cliError{code: exitUsage, err: fmt.Errorf("%s is not built yet", what), hint: noHint}
}

// addLaterFlags makes flags known that are not built yet: they answer so, with any value.
func addLaterFlags(s *pflag.FlagSet, flags ...laterFlag) {
	for _, l := range flags {
		f := s.VarPF(laterValue{l.name}, l.name, l.short, "not built yet")
		if !l.value {
			f.NoOptDefVal = "true"
		}
		f.Hidden = true
	}
}

// laterTransferFlags are the flags of send, get and sync that are known and not built.
func laterTransferFlags() []laterFlag {
	return []laterFlag{
		{"snapshot", "", true}, {"max-duration", "", true}, {"stop-at", "", true},
		{"lock", "", true}, {"lock-wait", "", true}, {"queue", "Q", false}, {"wait", "", false}, {"priority", "", true}, {"exec", "", true},
	}
}

// syncOnly refuses a flag of sync on the command line of another verb. In the environment it is none of theirs.
type syncOnly struct{ name string }

func (v syncOnly) String() string { return "" }
func (v syncOnly) Type() string   { return "string" }
func (v syncOnly) Set(string) error {
	return &cliError{code: exitUsage, err: fmt.Errorf("--%s is for sync only: xfer sync SRC HOST:PATH", v.name), hint: noHint}
}

// refuseSyncFlags makes flags known that only sync has.
func refuseSyncFlags(s *pflag.FlagSet) {
	for _, name := range []string{"delete", "max-delete", "backup-dir"} {
		f := s.VarPF(syncOnly{name}, name, "", "for sync only")
		f.Hidden = true
		if name == "delete" {
			f.NoOptDefVal = "true"
		}
	}
}

// environment gives every flag that is not on the command line its XFER_NAME.
func (f *connFlags) environment(env *Env) error {
	var first error
	var all []*pflag.Flag
	f.set.VisitAll(func(fl *pflag.Flag) { all = append(all, fl) })
	// What is included goes before what is excluded: the first rule that matches decides.
	slices.SortStableFunc(all, func(a, b *pflag.Flag) int {
		return cmp.Compare(rank(a.Name == flagInclude), rank(b.Name == flagInclude))
	})
	for _, fl := range all {
		f.fromEnvironment(env, fl, &first)
	}
	return first
}

// rank puts what comes first before the rest.
func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}

func (f *connFlags) fromEnvironment(env *Env, fl *pflag.Flag, first *error) {
	if fl.Changed {
		f.origin[fl.Name] = "flag"
		return
	}
	name := "XFER_" + strings.ToUpper(strings.ReplaceAll(fl.Name, "-", "_"))
	value := env.Getenv(name)
	if _, ok := fl.Value.(syncOnly); ok || value == "" || fl.Name == "help" || *first != nil {
		return
	}
	if fl.Name == "transport" && slices.Contains([]string{"tcp,quic", "quic,tcp"}, value) {
		value = "auto" // what a daemon on the same machine is told
	}
	var err error
	if many, ok := fl.Value.(pflag.SliceValue); ok {
		err = many.Replace(splitList(value))
	} else if many, ok := fl.Value.(repeatable); ok {
		err = many.setAll(strings.Split(strings.TrimSuffix(value, "\n"), "\n"))
	} else {
		err = setFlag(fl, value)
	}
	var ce *cliError
	switch {
	case errors.As(err, &ce):
		*first = err
	case err != nil:
		*first = usagef("%s=%s: %v", name, quote(value), err)
	default:
		f.origin[fl.Name] = "environment " + name
	}
}

// setFlag sets a flag, with an error for people.
func setFlag(fl *pflag.Flag, value string) error {
	err := fl.Value.Set(value)
	if err != nil && fl.Value.Type() == "bool" {
		return errBool
	}
	return err
}

// errBool is in place of the words of package strconv.
var errBool = errors.New("want true or false, or 1 or 0")

// flagError is an error of a flag on the command line, with its words as setFlag has them.
func flagError(err error) error {
	var value *pflag.InvalidValueError
	if errors.As(err, &value) && value.GetFlag().Value.Type() == "bool" {
		return fmt.Errorf("--%s=%s: %w", value.GetFlag().Name, quote(value.GetValue()), errBool)
	}
	return err
}

// splitList splits the value of a repeatable flag in the environment: by newlines where there are any, else by commas.
func splitList(s string) []string {
	if strings.Contains(s, "\n") {
		return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	}
	return strings.Split(s, ",")
}

// apply sets flags from the configuration that nothing stronger has set.
func (f *connFlags) apply(settings []setting, origin string) error {
	for _, kv := range settings {
		fl := f.set.Lookup(kv.flag)
		if fl == nil || f.origin[kv.flag] != "" {
			continue // a key for another verb, or overridden
		}
		if _, ok := fl.Value.(syncOnly); ok {
			continue
		}
		err := error(nil)
		if many, ok := fl.Value.(repeatable); ok {
			err = many.setAll(kv.list)
		} else {
			err = setFlag(fl, kv.value)
		}
		if err != nil {
			var ce *cliError
			if errors.As(err, &ce) {
				return err
			}
			return usagef("%s: %s = %s: %v", origin, kv.key, quote(kv.value), err)
		}
		f.origin[kv.flag] = origin
	}
	return nil
}

// given tells whether the flag was set by anybody.
func (f *connFlags) given(name string) bool { return f.origin[name] != "" }

func must(err error) {
	if err != nil {
		panic("cli: " + err.Error())
	}
}
