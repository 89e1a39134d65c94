package certs

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"xfer/crypto"
)

func mustIdentity(t testing.TB, s *Store) *crypto.Identity {
	t.Helper()
	id, err := s.Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// helperEnv makes TestHelperProcess do something: "identity DIR" or "redeem DIR CODE N".
const helperEnv = "XFER_CERTS_TEST_HELPER"

// TestHelperProcess is what the other processes of these tests run. It says that it is ready, waits for its stdin to
// end and prints one line.
func TestHelperProcess(t *testing.T) {
	job := strings.Split(os.Getenv(helperEnv), "\n")
	if len(job) < 2 {
		t.Skip("for other tests")
	}
	answer := func() string {
		s, err := Open(job[1], Options{})
		if err != nil {
			return err.Error()
		}
		defer s.Close()
		os.Stdout.WriteString("ready\n")
		io.Copy(io.Discard, os.Stdin)
		switch job[0] {
		case "identity":
			id, err := s.Identity()
			if err != nil {
				return err.Error()
			}
			return id.ID().String()
		default:
			code, err := crypto.ParseCode(job[2])
			if err != nil {
				return err.Error()
			}
			if _, err := s.Redeem(code.ID(), peerID(job[3][0])); err != nil {
				return err.Error()
			}
			return "redeemed"
		}
	}
	os.Stdout.WriteString("answer " + answer() + "\n")
}

// inProcesses runs jobs in a process each, all at once, and returns what each answered.
func inProcesses(t *testing.T, jobs ...[]string) []string {
	t.Helper()
	type process struct {
		cmd *exec.Cmd
		in  io.Closer
		out *bufio.Scanner
	}
	var all []process
	for _, job := range jobs {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$")
		cmd.Env = append(os.Environ(), helperEnv+"="+strings.Join(job, "\n"))
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, process{cmd, in, bufio.NewScanner(out)})
	}
	for _, p := range all {
		if !p.out.Scan() || p.out.Text() != "ready" {
			t.Errorf("the process says %q", p.out.Text())
		}
	}
	for _, p := range all {
		p.in.Close()
	}
	var answers []string
	for _, p := range all {
		for p.out.Scan() {
			if a, ok := strings.CutPrefix(p.out.Text(), "answer "); ok {
				answers = append(answers, a)
			}
		}
		if err := p.cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if len(answers) != len(jobs) {
		t.Fatalf("%d answers of %d processes: %q", len(answers), len(jobs), answers)
	}
	return answers
}

func TestFirstUseMakesOneIdentity(t *testing.T) {
	t.Run("goroutines", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "keys")
		const n = 16
		var ids [n]crypto.PeerID
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range n {
			s := mustOpen(t, dir, Options{})
			wg.Go(func() {
				<-start
				if id, err := s.Identity(); err != nil {
					t.Error(err)
				} else {
					ids[i] = id.ID()
				}
			})
		}
		close(start)
		wg.Wait()
		for _, id := range ids {
			if id != ids[0] || id.IsZero() {
				t.Fatalf("different identities: %v", ids)
			}
		}
		if got := mustIdentity(t, mustOpen(t, dir, Options{})).ID(); got != ids[0] {
			t.Errorf("later it is %v, want %v", got, ids[0])
		}
	})
	t.Run("processes", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "keys")
		job := []string{"identity", dir}
		answers := inProcesses(t, job, job, job, job)
		want := mustIdentity(t, mustOpen(t, dir, Options{})).ID().String()
		for _, a := range answers {
			if a != want {
				t.Fatalf("got %q, want %v from each", answers, want)
			}
		}
	})
}

func TestIdentityStays(t *testing.T) {
	s, c := newStore(t)
	first := mustIdentity(t, s)
	key, cert := mustRead(t, s, keyFile), mustRead(t, s, certFile)
	again := mustIdentity(t, s)
	if again.ID() != first.ID() || mustRead(t, s, keyFile) != key || mustRead(t, s, certFile) != cert {
		t.Error("a second call changes something")
	}
	if want := c.Now().Add(90 * 24 * time.Hour); !first.NotAfter().Equal(want) {
		t.Errorf("the certificate ends at %v, want %v", first.NotAfter(), want)
	}
	// Whatever is there instead of the certificate, the key makes a new one.
	for name, junk := range map[string]string{
		"empty": "", "truncated": cert[:len(cert)/2], "junk": "\x00\xff\x00", "the key": key,
		"two": cert + cert, "another key's": mustRead(t, otherStore(t), certFile),
	} {
		mustWrite(t, s, certFile, junk)
		id, err := s.Identity()
		if err != nil || id.ID() != first.ID() {
			t.Errorf("%s: %v", name, err)
		} else if id.NotAfter() != first.NotAfter() {
			t.Errorf("%s: the certificate ends at %v", name, id.NotAfter())
		}
		if mustRead(t, s, certFile) == junk {
			t.Errorf("%s: the certificate was not replaced", name)
		}
	}
	if err := os.Remove(s.path(certFile)); err != nil {
		t.Fatal(err)
	}
	if mustIdentity(t, s).ID() != first.ID() {
		t.Error("without the certificate it is another identity")
	}
}

func otherStore(t *testing.T) *Store {
	t.Helper()
	s, _ := newStore(t)
	mustIdentity(t, s)
	return s
}

// TestDamagedKeyIsNeverReplaced shows that an identity is not lost by the attempt to use it.
func TestDamagedKeyIsNeverReplaced(t *testing.T) {
	s, _ := newStore(t)
	mustIdentity(t, s)
	key := mustRead(t, s, keyFile)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(key))
	encode := func(b pem.Block) string { return string(pem.EncodeToMemory(&b)) }
	bad := map[string]string{
		"empty":               "",
		"binary junk":         "\x00\x01\xff\xfe",
		"another algorithm":   encode(pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"another block":       encode(pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: block.Bytes}),
		"a certificate":       mustRead(t, s, certFile),
		"with headers":        encode(pem.Block{Type: "PRIVATE KEY", Bytes: block.Bytes, Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}}),
		"with something more": key + key,
		"trailing bytes":      encode(pem.Block{Type: "PRIVATE KEY", Bytes: append(bytes.Clone(block.Bytes), 0)}),
	}
	for i := range len(key) - 1 {
		bad["truncated to "+key[:i]] = key[:i]
	}
	for name, data := range bad {
		mustWrite(t, s, keyFile, data)
		if id, err := s.Identity(); err == nil {
			t.Errorf("%q: is the identity %v", name, id.ID())
		} else if !strings.Contains(err.Error(), s.path(keyFile)) {
			t.Errorf("%q: the error %q does not name the file", name, err)
		}
		if mustRead(t, s, keyFile) != data {
			t.Fatalf("%q: the file was changed", name)
		}
		if _, err := LoadIdentityFile(s.path(keyFile), time.Now()); err == nil {
			t.Errorf("%q: is an identity file", name)
		}
	}
	mustWrite(t, s, keyFile, key+"\r\n \n")
	mustIdentity(t, s)
}

func TestCertificateIsRenewed(t *testing.T) {
	s, c := newStore(t)
	id := mustIdentity(t, s)
	other := mustOpen(t, s.Dir(), Options{Now: c.Now})
	otherID := mustIdentity(t, other)
	first := id.NotAfter()

	renew := func(s *Store, id *crypto.Identity, want bool) {
		t.Helper()
		if did, err := s.RenewIfDue(id); err != nil || did != want {
			t.Fatalf("at %v: %v, %v, want %v", c.Now(), did, err, want)
		}
	}
	renew(s, id, false)
	c.add(60*24*time.Hour - time.Second)
	renew(s, id, false)
	c.add(2 * time.Second)
	renew(s, id, true)
	if want := c.Now().Add(certLife); !id.NotAfter().Equal(want) || !id.NotAfter().After(first) {
		t.Errorf("the new certificate ends at %v, want %v", id.NotAfter(), want)
	}
	renew(s, id, false)
	// The daemon's neighbour takes the one that is there by now.
	c.add(time.Hour)
	renew(other, otherID, true)
	if otherID.NotAfter() != id.NotAfter() || otherID.ID() != id.ID() {
		t.Error("two processes have made a certificate each")
	}
	if mustIdentity(t, s).NotAfter() != id.NotAfter() {
		t.Error("the renewed certificate is not on the disk")
	}
	// One that was made when the clock was far ahead is of no use to anybody now.
	c.add(-365 * 24 * time.Hour)
	renew(s, id, true)
	if got := mustIdentity(t, s).Certificate().Leaf; got.NotBefore.After(c.Now()) {
		t.Errorf("the certificate begins at %v", got.NotBefore)
	}
	if err := crypto.CheckCertificate(id.Certificate().Leaf, c.Now()); err != nil {
		t.Error(err)
	}
}

// TestExpiredCertificateIsReplacedAtStart is a host that was off for a year.
func TestExpiredCertificateIsReplacedAtStart(t *testing.T) {
	s, c := newStore(t)
	before := mustIdentity(t, s)
	c.add(365 * 24 * time.Hour)
	after := mustIdentity(t, s)
	if after.ID() != before.ID() {
		t.Error("another identity")
	}
	if err := crypto.CheckCertificate(after.Certificate().Leaf, c.Now()); err != nil {
		t.Error(err)
	}
}

func TestLoadIdentityFile(t *testing.T) {
	s, c := newStore(t)
	want := mustIdentity(t, s).ID()
	path := filepath.Join(t.TempDir(), "my.key")
	if err := os.WriteFile(path, []byte(mustRead(t, s, keyFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := LoadIdentityFile(path, c.Now())
	if err != nil || id.ID() != want {
		t.Fatalf("got %v, want %v", err, want)
	}
	if err := crypto.CheckCertificate(id.Certificate().Leaf, c.Now()); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("something was written beside the key: %v", entries)
	}
	link := filepath.Join(t.TempDir(), "link.key")
	if err := os.Symlink(path, link); err == nil {
		if id, err := LoadIdentityFile(link, c.Now()); err != nil || id.ID() != want {
			t.Errorf("through a link: %v", err)
		}
	}
	for _, bad := range []string{filepath.Dir(path), path + ".missing", s.path(certFile)} {
		if _, err := LoadIdentityFile(bad, c.Now()); err == nil {
			t.Errorf("%s is an identity", bad)
		}
	}
	if modesCount {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := LoadIdentityFile(link, c.Now())
		resolved, rerr := filepath.EvalSymlinks(path)
		if rerr != nil {
			t.Fatal(rerr)
		}
		wantPermError(t, err, resolved, "chmod 600")
	}
}
