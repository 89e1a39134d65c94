package cli

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// places says where things are kept. XFER_HOME=DIR puts all of it under DIR; else the XDG directories, and for root without
// them /etc/xfer, /var/lib/xfer and /run/xfer.
type places struct {
	configs []string // configuration files, the most special first; each may be missing
	trust   string   // identity key, known peers, clients, invitations: 0700
	state   string
	socket  string
}

func findPlaces(env *Env) (places, error) {
	if dir := env.Getenv("XFER_HOME"); dir != "" {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return places{}, usagef("XFER_HOME: %v", err)
		}
		return places{
			configs: []string{filepath.Join(dir, "config.toml")},
			trust:   filepath.Join(dir, "trust"),
			state:   filepath.Join(dir, "state"),
			socket:  filepath.Join(dir, "xfer.sock"),
		}, nil
	}
	config, err := xdgDir(env, "XDG_CONFIG_HOME", "/etc", ".config")
	if err != nil {
		return places{}, err
	}
	state, err := xdgDir(env, "XDG_STATE_HOME", "/var/lib", filepath.Join(".local", "state"))
	if err != nil {
		return places{}, err
	}
	p := places{
		configs: []string{filepath.Join(config, "xfer", "config.toml")},
		trust:   filepath.Join(config, "xfer", "trust"),
		state:   filepath.Join(state, "xfer"),
	}
	if system := "/etc/xfer/config.toml"; runtime.GOOS != "windows" && p.configs[0] != system {
		p.configs = append(p.configs, system)
	}
	switch dir := env.Getenv("XDG_RUNTIME_DIR"); {
	case filepath.IsAbs(dir):
		p.socket = filepath.Join(dir, "xfer", "xfer.sock")
	case isRoot():
		p.socket = "/run/xfer/xfer.sock"
	default:
		p.socket = filepath.Join(p.state, "xfer.sock")
	}
	return p, nil
}

// xdgDir returns the directory of an XDG variable, for root without it the system's, else the one under the home directory.
// The specification wants relative values ignored.
func xdgDir(env *Env, name, system, underHome string) (string, error) {
	if dir := env.Getenv(name); filepath.IsAbs(dir) {
		return dir, nil
	}
	if isRoot() {
		return system, nil
	}
	if home := env.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, underHome), nil
	}
	if runtime.GOOS == "windows" {
		if dir := env.Getenv("LOCALAPPDATA"); filepath.IsAbs(dir) {
			return dir, nil
		}
	}
	return "", usagef("no home directory: set HOME, %s or XFER_HOME", name)
}

func isRoot() bool { return runtime.GOOS != "windows" && os.Geteuid() == 0 }

// openToOthers returns those of our directories in which anybody can put or replace what is ours. The one of the keys is refused
// elsewhere.
func (p places) openToOthers() (dirs []string) {
	if runtime.GOOS == "windows" { // modes tell nothing there
		return nil
	}
	for _, dir := range []string{filepath.Dir(p.configs[0]), filepath.Dir(p.trust), p.state} {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o002 != 0 && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
