package main

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	line := "4242 (a) (b) S) R 17 1 1 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 1 0 100 1000 10 0\n"
	p, err := parseStat([]byte(line))
	want := process{pid: 4242, parent: 17, cpu: 1100 * time.Millisecond}
	if err != nil || p != want {
		t.Errorf("got %+v, %v, want %+v", p, err, want)
	}
	for n := range len("4242 (a) (b) S) R 17 1 1 0 -1 4194304 100 0 0 0 11 22 33 ") {
		if p, err := parseStat([]byte(line[:n])); err == nil {
			t.Errorf("%q is %+v", line[:n], p)
		}
	}
}

// TestServerCPUCountsGrandchildren is what the numbers of sshd and rsync rest on: a server whose child's child works counts
// the same while those live and after they have ended.
func TestServerCPUCountsGrandchildren(t *testing.T) {
	if why := installed("sh"); why != "" {
		t.Skip(why)
	}
	// The shell is the server, the middle one its child; the work is that one's child, until it is told to end.
	cmd := exec.Command("sh", "-c", `sh -c '(while :; do :; done) & echo $!; read x; kill $!; wait $!; :'; echo ended; read x`)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer func() {
		in.Close()
		_ = cmd.Wait()
	}()
	pids := []int{cmd.Process.Pid}
	read := func() {
		var b [64]byte
		if _, err := out.Read(b[:]); err != nil {
			t.Fatal(err)
		}
	}
	read()
	const enough = 200 * time.Millisecond
	worked := poll(t.Context(), 5*time.Millisecond, time.Minute, func() bool {
		cpu, ok := serverCPU(pids)
		return ok && cpu >= enough
	})
	if !worked {
		t.Fatal("what a grandchild uses is not counted")
	}
	before, _ := serverCPU(pids)
	_, err = in.Write([]byte("\n"))
	must(t, err)
	read()
	settle(t.Context(), pids)
	if n := len(family(pids)); n != 1 {
		t.Errorf("%d processes are left, want the shell alone", n)
	}
	if after, _ := serverCPU(pids); after < before-3*time.Second/userHZ { // each process is rounded down
		t.Errorf("%v after its children ended, %v before", after, before)
	}
}

func TestPeaksAndRead(t *testing.T) {
	me := os.Getpid()
	if _, err := hasRead(me); err != nil {
		t.Skip("no /proc/PID/io: ", err)
	}
	before, err := hasRead(me)
	must(t, err)
	name := t.TempDir() + "/f"
	must(t, os.WriteFile(name, make([]byte, mib), 0o600))
	_, err = os.ReadFile(name)
	must(t, err)
	if after, err := hasRead(me); err != nil || after < before+mib {
		t.Errorf("read a MiB; counted %d, %v", after-before, err)
	}
	if peak, ok := peaks([]int{me}); !ok || peak < mib {
		t.Errorf("our peak is %d", peak)
	}
}
