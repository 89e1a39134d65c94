package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
)

// sshService is an sshd of our own, on a free port, with throw-away keys.
type sshService struct {
	server *server
	port   string
	config string // of ssh; the host is called bench
}

const aesGCM = "Ciphers=aes128-gcm@openssh.com"

// sshd starts it when it is needed first. It is never tried a second time.
func (b *bench) sshd(ctx context.Context) (*sshService, error) {
	if b.ssh == nil && b.sshErr == nil {
		b.ssh, b.sshErr = b.startSSHD(ctx)
		if b.sshErr != nil && ctx.Err() == nil {
			b.sshErr = missingf("sshd is not usable here: %v", b.sshErr)
			b.note("%v", b.sshErr)
		}
	}
	return b.ssh, b.sshErr
}

// sshdPath is where sshd is: it wants to be called by an absolute path.
func sshdPath() (string, error) {
	if _, err := os.Stat("/usr/sbin/sshd"); err == nil {
		return "/usr/sbin/sshd", nil
	}
	return exec.LookPath("sshd")
}

func (b *bench) startSSHD(ctx context.Context) (*sshService, error) {
	program, err := sshdPath()
	if err != nil {
		return nil, err
	}
	if why := installed("ssh", "ssh-keygen"); why != "" {
		return nil, errors.New(why)
	}
	u, err := user.Current()
	if err != nil {
		return nil, err
	}
	dir := b.path("ssh")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, key := range []string{"host", "user"} {
		keygen := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", in(key))
		if _, err := b.run(pipeline{keygen}); err != nil {
			return nil, err
		}
	}
	// A port that is free now may be taken in the next moment.
	for range 3 {
		var port string
		if port, err = freePort(); err != nil {
			break
		}
		if err = writeSSHConfig(in, port, u.Username); err != nil {
			break
		}
		cmd := exec.Command(program, "-D", "-e", "-f", in("sshd_config"))
		cmd.Env = b.env()
		var s *server
		if s, _, err = startServer(ctx, cmd, true, "Server listening on"); err != nil {
			continue
		}
		login := exec.CommandContext(ctx, "ssh", "-F", in("ssh_config"), "bench", "exit 0")
		if _, err = b.run(pipeline{login}); err != nil {
			s.stop()
			break
		}
		return &sshService{server: s, port: port, config: in("ssh_config")}, nil
	}
	return nil, err
}

// writeSSHConfig writes the files of both sides. SHLVL keeps a shell's start-up file from doing much.
func writeSSHConfig(in func(string) string, port, login string) error {
	key, err := os.ReadFile(in("host.pub"))
	if err != nil {
		return err
	}
	files := map[string]string{
		"sshd_config": fmt.Sprintf(`Port %s
ListenAddress 127.0.0.1
HostKey %s
AuthorizedKeysFile %s
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv SHLVL=5
Subsystem sftp internal-sftp
`, port, in("host"), in("user.pub")),
		"ssh_config": fmt.Sprintf(`Host bench
HostName 127.0.0.1
Port %s
User %s
IdentityFile %s
IdentitiesOnly yes
UserKnownHostsFile %s
GlobalKnownHostsFile none
StrictHostKeyChecking yes
BatchMode yes
LogLevel ERROR
`, port, login, in("user"), in("known")),
		"known": "* " + strings.Join(strings.Fields(string(key))[:2], " ") + "\n",
	}
	for name, text := range files {
		err = errors.Join(err, os.WriteFile(in(name), []byte(text), 0o600))
	}
	return err
}

// overSSH is a receiver behind sshd.
type overSSH struct {
	*sshService
	b    *bench
	make func(context.Context, *sshService, task) pipeline
}

func (o *overSSH) command(ctx context.Context, t task) pipeline {
	p := o.make(ctx, o.sshService, t)
	for _, c := range p {
		c.Env = o.b.env()
	}
	return p
}

func (o *overSSH) servers() []int { return []int{o.server.pid()} }
func (o *overSSH) close()         {}

// sshContender is one that needs some programs, and sshd.
func (b *bench) sshContender(program string, make func(context.Context, *sshService, task) pipeline) *contender {
	return &contender{why: installed(program, "ssh"), forks: true, open: func(ctx context.Context, _ *site) (receiver, error) {
		s, err := b.sshd(ctx)
		if err != nil {
			return nil, err
		}
		return &overSSH{s, b, make}, nil
	}}
}

func (b *bench) scpContender(aes bool) *contender {
	c := b.sshContender("scp", func(ctx context.Context, s *sshService, t task) pipeline {
		args := []string{"-q", "-r", "-p", "-F", s.config}
		if aes {
			args = append(args, "-o", aesGCM)
		}
		return pipeline{exec.CommandContext(ctx, "scp", append(args, t.src, "bench:"+t.dir+"/")...)}
	})
	c.follows = true
	return c
}

func (b *bench) rsyncSSHContender(aes bool) *contender {
	return b.sshContender("rsync", func(ctx context.Context, s *sshService, t task) pipeline {
		shell := "ssh -F " + s.config
		if t.port != "" {
			shell += " -p " + t.port
		}
		if aes {
			shell += " -o " + aesGCM
		}
		return pipeline{exec.CommandContext(ctx, "rsync", append(rsyncFlags(t), "-e", shell, t.src, "bench:"+t.dir+"/")...)}
	})
}

func (b *bench) tarContender() *contender {
	return b.sshContender("tar", func(ctx context.Context, s *sshService, t task) pipeline {
		return pipeline{
			exec.CommandContext(ctx, "tar", "-C", filepath.Dir(t.src), "-cf", "-", filepath.Base(t.src)),
			exec.CommandContext(ctx, "ssh", "-F", s.config, "bench", "tar -C "+t.dir+" -xpf -"),
		}
	})
}
