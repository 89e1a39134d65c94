package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxConfig is the largest configuration file that is read.
const maxConfig = 1 << 20

// config is a configuration file. Keys that it does not have are errors. any is text, a number or a boolean; the flag of the
// same name checks it.
type config struct {
	clientSettings

	Listen     any                    `toml:"listen"`     // text or a list of texts
	Transports any                    `toml:"transports"` // the same
	Root       map[string]rootBlock   `toml:"root"`
	Host       map[string]hostBlock   `toml:"host"`
	Client     map[string]clientBlock `toml:"client"`
	Daemon     daemonBlock            `toml:"daemon"`

	file  string
	order []string // names of the roots as they stand in the file
}

// clientSettings may stand at the top level, for all hosts, and in a host's block.
type clientSettings struct {
	Port       any `toml:"port"`
	Identity   any `toml:"identity"`
	Transport  any `toml:"transport"`
	Timeout    any `toml:"timeout"`
	Contimeout any `toml:"contimeout"`
	RetryFor   any `toml:"retry_for"`
	Streams    any `toml:"streams"`
	Transfers  any `toml:"transfers"`
	BWLimit    any `toml:"bwlimit"`
	Checksum   any `toml:"checksum"`
	NoClobber  any `toml:"no_clobber"`
	Resume     any `toml:"resume"`
	Durability any `toml:"durability"`
	Verify     any `toml:"verify"`
	Archive    any `toml:"archive"`
	Compress   any `toml:"compress"`
	Progress   any `toml:"progress"`
	Stats      any `toml:"stats"`
	Batch      any `toml:"batch"`

	SpecialModes   any `toml:"special_modes"`
	Update         any `toml:"update"`
	Existing       any `toml:"existing"`
	IgnoreExisting any `toml:"ignore_existing"`
	Include        any `toml:"include"`
	Exclude        any `toml:"exclude"`
	ExcludeFrom    any `toml:"exclude_from"`
	FilesFrom      any `toml:"files_from"`
	From0          any `toml:"from0"`
	Gitignore      any `toml:"gitignore"`
	OneFileSystem  any `toml:"one_file_system"`
	CopyLinks      any `toml:"copy_links"`
	Delete         any `toml:"delete"`
	MaxDelete      any `toml:"max_delete"`
	BackupDir      any `toml:"backup_dir"`
}

type hostBlock struct {
	Addr string `toml:"addr"` // HOST or HOST:PORT
	clientSettings
}

type rootBlock struct {
	Path string `toml:"path"`
}

type clientBlock struct {
	BWLimit string `toml:"bwlimit"`
}

type daemonBlock struct {
	BWLimit string `toml:"bwlimit"`
}

// setting is one key of the configuration that is also a flag.
type setting struct {
	flag, key, value string
	list             []string // of a flag that is given several times; else value alone
}

// settings lists the keys that are set.
func (c *clientSettings) settings() ([]setting, error) {
	var all []setting
	for _, kv := range []struct {
		key   string
		value any
	}{
		{"port", c.Port}, {"identity", c.Identity}, {"transport", c.Transport}, {"timeout", c.Timeout},
		{"contimeout", c.Contimeout}, {"retry_for", c.RetryFor}, {"streams", c.Streams}, {"transfers", c.Transfers},
		{"bwlimit", c.BWLimit}, {"checksum", c.Checksum}, {"no_clobber", c.NoClobber}, {"resume", c.Resume},
		{"durability", c.Durability}, {"verify", c.Verify}, {"compress", c.Compress}, {"progress", c.Progress},
		{"stats", c.Stats}, {"batch", c.Batch}, {"archive", c.Archive}, {"special_modes", c.SpecialModes},
		// What is included goes before what is excluded.
		{"include", c.Include}, {"exclude", c.Exclude}, {"exclude_from", c.ExcludeFrom}, {"files_from", c.FilesFrom}, {"from0", c.From0},
		{"gitignore", c.Gitignore}, {"one_file_system", c.OneFileSystem}, {"copy_links", c.CopyLinks},
		{"update", c.Update}, {"existing", c.Existing}, {"ignore_existing", c.IgnoreExisting},
		{"delete", c.Delete}, {"max_delete", c.MaxDelete}, {"backup_dir", c.BackupDir},
	} {
		s := setting{flag: strings.ReplaceAll(kv.key, "_", "-"), key: kv.key}
		switch v := kv.value.(type) {
		case nil:
			continue
		case string:
			s.value = v
		case int64:
			s.value = strconv.FormatInt(v, 10)
		case float64:
			s.value = strconv.FormatFloat(v, 'g', -1, 64)
		case bool:
			s.value = strconv.FormatBool(v)
		case []any:
			var err error
			if s.list, err = texts(v); len(v) == 0 {
				continue
			}
			if err != nil || !slices.Contains([]string{flagInclude, flagExclude, flagExcludeFrom}, s.flag) {
				return nil, fmt.Errorf("%s: %w", kv.key, cmp.Or(err, errNoList))
			}
		default:
			return nil, fmt.Errorf("%s: %w", kv.key, errNoList)
		}
		if s.list == nil {
			s.list = []string{s.value}
		}
		all = append(all, s)
	}
	return all, nil
}

var errNoList = errors.New("want text, a number or true or false")

// readConfig reads the files, the most special first; without explicit, those that are missing are skipped, and so are those of the
// system that are not for us to read, as in a folder that was made by root for its own keys.
func readConfig(files []string, explicit bool) ([]*config, error) {
	var all []*config
	for i, name := range files {
		c, err := readConfigFile(name)
		if err != nil {
			if !explicit && (errors.Is(err, fs.ErrNotExist) || i > 0 && errors.Is(err, fs.ErrPermission)) {
				continue
			}
			var ce *cliError
			if errors.As(err, &ce) {
				return nil, err
			}
			return nil, usagef("configuration: %v", err)
		}
		all = append(all, c)
	}
	return all, nil
}

func readConfigFile(name string) (*config, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxConfig {
		return nil, usagef("%s: a configuration of more than 1 MiB is refused", quote(name))
	}
	return parseConfig(name, data)
}

func parseConfig(name string, data []byte) (*config, error) {
	c := &config{file: name}
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, configError(name, data, err)
	}
	for root, b := range c.Root {
		if b.Path == "" {
			return nil, usagef("%s: [root.%s] has no path", quote(name), quote(root))
		}
	}
	c.order = rootOrder(data, c.Root)
	return c, nil
}

// configError shows the line that is wrong, with a caret beneath the place, in one message.
func configError(name string, data []byte, err error) error {
	var strict *toml.StrictMissingError
	var decode *toml.DecodeError
	why := ""
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		decode = &strict.Errors[0]
		why = "unknown key " + quote(strings.Join(decode.Key(), "."))
	} else if errors.As(err, &decode) {
		why = strings.TrimPrefix(decode.Error(), "toml: ")
	} else {
		return usagef("%s: %v", quote(name), err)
	}
	row, col := decode.Position()
	lines := strings.Split(string(data), "\n")
	text := ""
	if row >= 1 && row <= len(lines) {
		line := []rune(clean(strings.ReplaceAll(strings.TrimRight(lines[row-1], "\r"), "\t", " ")))
		if len(line) > 200 {
			line = line[:200]
		}
		text = "  " + string(line) + "\n  " + strings.Repeat(" ", min(max(col-1, 0), 200)) + "^"
	}
	return &cliError{code: exitUsage, err: fmt.Errorf("%s:%d:%d: %s", quote(name), row, col, why), detail: text, hint: noHint}
}

// rootOrder returns the names of the roots in the order of their blocks: the first is the default root. TOML tables have no
// order, so it looks for the headers; names it does not find come last, sorted.
func rootOrder(data []byte, roots map[string]rootBlock) []string {
	at := func(name string) int {
		for _, form := range []string{"[root." + name + "]", "[root.\"" + name + "\"]", "[root.'" + name + "']"} {
			if i := bytes.Index(data, []byte(form)); i >= 0 {
				return i
			}
		}
		return len(data)
	}
	var names []string
	for name := range roots {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := at(a) - at(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names
}

// texts reads a value that is a text or a list of texts.
func texts(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var all []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, errors.New("want a list of texts")
			}
			all = append(all, s)
		}
		return all, nil
	}
	return nil, errors.New("want text or a list of texts")
}
