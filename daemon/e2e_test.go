package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xfer/certs"
	"xfer/certs/certstest"
	"xfer/crypto"
	"xfer/transfer"
	"xfer/transfer/transport"
)

// live is a daemon with everything real: sockets, engine, disk.
type live struct {
	*Server
	t     *testing.T
	store *certs.Store
	dir   string // of the root "data"
	info  ReadyInfo
	log   *buffer
	stop  func() error
}

func startLive(t *testing.T, change func(*Config)) *live {
	t.Helper()
	store, err := certs.Open(filepath.Join(t.TempDir(), "keys"), certs.Options{CheckRights: CheckRights})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	l := &live{t: t, store: store, dir: filepath.Join(t.TempDir(), "data")}
	l.start(change)
	return l
}

// start runs a daemon; after stop it is another one over the same state and address.
func (l *live) start(change func(*Config)) {
	l.t.Helper()
	l.log = &buffer{}
	cfg := Config{
		Listen: []string{"127.0.0.1:0"}, Roots: []RootConfig{{Name: "data", Path: l.dir}}, Version: "test",
		Log: slog.New(slog.NewJSONHandler(l.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if len(l.info.Listen) > 0 {
		cfg.Listen = l.info.Listen
	}
	ready := make(chan ReadyInfo, 1)
	cfg.Ready = func(i ReadyInfo) { ready <- i }
	if change != nil {
		change(&cfg)
	}
	var s *Server
	var cancel context.CancelFunc
	done := make(chan error, 1)
	for try := 0; ; try++ {
		var err error
		if s, err = New(cfg, l.store); err != nil {
			l.t.Fatal(err)
		}
		var ctx context.Context
		ctx, cancel = context.WithCancel(context.Background())
		go func() { done <- s.Run(ctx) }()
		select {
		case l.info = <-ready:
		case err = <-done:
		}
		if err == nil {
			break
		}
		cancel()
		if !errors.Is(err, syscall.EADDRINUSE) || try == 100 { // somebody dials from the port that was given back
			l.t.Fatalf("Run: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	l.Server = s
	once := sync.OnceValue(func() error { cancel(); return <-done })
	l.stop = once
	l.t.Cleanup(func() {
		if err := once(); err != nil {
			l.t.Errorf("Run: %v", err)
		}
		if n := s.Status().Panics; n != 0 {
			l.t.Errorf("%d panics", n)
		}
		if l.t.Failed() {
			l.t.Logf("the daemon's log:\n%s", l.log)
		}
	})
}

// client is one that knows the daemon's key.
func (l *live) client(id *crypto.Identity, k transport.Kind) *transfer.Client {
	info := l.info
	return &transfer.Client{
		Identity: id, Agent: "test",
		Options: transfer.Options{RetryFor: 2 * time.Minute},
		Dial: func(ctx context.Context) (transport.Conn, error) {
			dial := transport.DialTCP
			if k == transport.QUIC {
				dial = transport.DialQUIC
			}
			c, err := dial(ctx, info.Listen[0], crypto.ClientTLS(id, info.Identity), transport.DialOptions{})
			if err != nil {
				kind := transfer.KindUnreachable
				if crypto.IsTrustError(err) {
					kind = transfer.KindTrust
				}
				return nil, &transfer.Error{Op: "dial", Kind: kind, Err: err}
			}
			return c, nil
		},
	}
}

func overBoth(t *testing.T, f func(t *testing.T, k transport.Kind)) {
	for _, k := range []transport.Kind{transport.TCP, transport.QUIC} {
		t.Run(string(k), func(t *testing.T) { t.Parallel(); f(t, k) })
	}
}

func randomFile(t *testing.T, size int) (name string, content []byte) {
	t.Helper()
	content = make([]byte, size)
	rand.Read(content)
	name = filepath.Join(t.TempDir(), "file.bin")
	if err := os.WriteFile(name, content, 0o640); err != nil {
		t.Fatal(err)
	}
	return name, content
}

func mustHold(t *testing.T, name string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes, %v; want the %d sent", name, len(got), err, len(want))
	}
}

func TestFromInvitationToFile(t *testing.T) {
	overBoth(t, func(t *testing.T, k transport.Kind) {
		l := startLive(t, nil)
		id := certstest.New(t)
		c := l.client(id, k)
		_, err := c.Remote(t.Context())
		kind(t, err, transfer.KindTrust)

		code, err := l.store.NewInvite("laptop", grants("data", "all"), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		wrong, _ := crypto.NewCode()
		_, err = c.Enroll(t.Context(), wrong, "host")
		kind(t, err, transfer.KindTrust)
		got, err := c.Enroll(t.Context(), code, "host")
		if err != nil || got.Name != "laptop" || got.Peer != l.info.Identity || len(got.Roots) != 1 || !got.Roots[0].Default {
			t.Fatalf("enrolled: %+v, %v", got, err)
		}
		_, err = l.client(certstest.New(t), k).Enroll(t.Context(), code, "thief")
		kind(t, err, transfer.KindTrust)

		src, content := randomFile(t, 3<<20)
		if _, err := c.Send(t.Context(), []transfer.Source{{Path: src}}, transfer.Address{}); err != nil {
			t.Fatal(err)
		}
		mustHold(t, filepath.Join(l.dir, "file.bin"), content)
		back := filepath.Join(t.TempDir(), "back")
		if _, err := c.Get(t.Context(), []transfer.Address{{Root: "data", Path: []string{"file.bin"}}}, back, nil); err != nil {
			t.Fatal(err)
		}
		mustHold(t, back, content)

		if err := l.stop(); err != nil {
			t.Fatal(err)
		}
		st := l.Status()
		if st.Totals.Published != 1 || st.Totals.Enrolled != 1 || st.Totals.Sessions < 2 || st.Totals.Refused < 3 {
			t.Errorf("totals: %+v", st.Totals)
		}
		if n := int64(len(content)); st.Totals.BytesIn < n || st.Totals.BytesIn > 2*n || st.Totals.BytesOut < n || st.Totals.BytesOut > 2*n {
			t.Errorf("of %d bytes each way, %d in and %d out are counted", n, st.Totals.BytesIn, st.Totals.BytesOut)
		}
		for _, want := range []string{`"msg":"enrolled"`, `"msg":"published"`, `"msg":"session start"`, `"msg":"session end"`, `"msg":"refused"`, `"path":"/data/file.bin"`} {
			if !strings.Contains(l.log.String(), want) {
				t.Errorf("the log has no %s", want)
			}
		}
	})
}

// Rights hold where names are linked, not only where requests are read.
func TestRightsAreEnforced(t *testing.T) {
	overBoth(t, func(t *testing.T, k transport.Kind) {
		l := startLive(t, nil)
		src, content := randomFile(t, 1000)
		name := filepath.Join(l.dir, "file.bin")
		for rights, may := range map[string]struct{ put, replace, get, list, remove bool }{
			"all":        {true, true, true, true, true},
			"append":     {true, false, true, true, false},
			"write-only": {true, false, false, false, false},
			"get":        {false, false, true, true, false},
			"put":        {true, true, false, false, false},
			"list":       {false, false, false, true, false},
		} {
			id := certstest.New(t)
			if err := l.store.PutClient(certs.Client{Name: rights, ID: id.ID(), Roots: grants("data", rights)}); err != nil {
				t.Fatal(err)
			}
			c := l.client(id, k)
			to := transfer.Address{Root: "data", Path: []string{"file.bin"}}
			check := func(what string, may bool, err error) {
				t.Helper()
				kind := transfer.KindOf(err)
				if may && err != nil || !may && kind != transfer.KindDenied && kind != transfer.KindExists {
					t.Errorf("%s: %s: %v, want allowed %v", rights, what, err, may)
				}
			}
			os.Remove(name)
			_, err := c.Send(t.Context(), []transfer.Source{{Path: src}}, to)
			check("put", may.put, err)

			os.WriteFile(name, []byte("an older one"), 0o600)
			_, err = c.Send(t.Context(), []transfer.Source{{Path: src}}, to)
			check("replace", may.replace, err)
			if may.replace {
				mustHold(t, name, content)
			} else {
				mustHold(t, name, []byte("an older one"))
			}

			_, err = c.Get(t.Context(), []transfer.Address{to}, filepath.Join(t.TempDir(), "back"), nil)
			check("get", may.get, err)
			r, err := c.Remote(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			check("list", may.list, r.List(t.Context(), transfer.Address{Root: "data"}, func(transfer.RemoteEntry) error { return nil }))
			check("remove", may.remove, r.Remove(t.Context(), to, false, false))
			r.Close()
			if _, err := os.Stat(name); (err == nil) == may.remove {
				t.Errorf("%s: after remove: %v", rights, err)
			}
		}
	})
}

// Over the limit clients wait and come again by themselves; all are served in the end.
func TestManyClientsOfOneIdentityAtOnce(t *testing.T) {
	overBoth(t, func(t *testing.T, k transport.Kind) {
		const many = 200
		l := startLive(t, nil)
		id := certstest.New(t)
		if err := l.store.PutClient(certs.Client{Name: "c", ID: id.ID(), Roots: grants("data", "all")}); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range many {
			all.Go(func() {
				r, err := l.client(id, k).Remote(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Close()
				if _, err := r.Stat(t.Context(), transfer.Address{Root: "data"}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := l.Status().Totals.Sessions; n < many {
			t.Errorf("%d sessions, want %d", n, many)
		}
	})
}

func TestRevocationCutsALiveSession(t *testing.T) {
	overBoth(t, func(t *testing.T, k transport.Kind) {
		l := startLive(t, nil)
		id := certstest.New(t)
		if err := l.store.PutClient(certs.Client{Name: "c", ID: id.ID(), Roots: grants("data", "all")}); err != nil {
			t.Fatal(err)
		}
		// A transfer that would take a minute.
		src, _ := randomFile(t, 8<<20)
		c := l.client(id, k)
		c.Options.BWLimit = func(time.Time) (up, down int64) { return 128 << 10, 0 }
		moving := make(chan struct{})
		once := sync.OnceFunc(func() { close(moving) })
		c.Observe = func(e transfer.Event) {
			if e.Sent > 0 {
				once()
			}
		}
		end := make(chan error, 1)
		go func() {
			_, err := c.Send(t.Context(), []transfer.Source{{Path: src}}, transfer.Address{})
			end <- err
		}()
		<-moving
		start := time.Now()
		if _, err := l.store.RemoveClient("c"); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-end:
			kind(t, err, transfer.KindTrust)
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("cut after %v", d)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the session lives on")
		}
		if err := l.stop(); err != nil {
			t.Fatal(err)
		}
		if log := l.log.String(); !strings.Contains(log, `"msg":"session end"`) || !strings.Contains(log, "access was withdrawn") {
			t.Errorf("the log does not say why the session ended:\n%s", log)
		}
	})
}

// A daemon that is restarted costs a client nothing but a moment.
func TestATransferGoesOnAcrossARestart(t *testing.T) {
	overBoth(t, func(t *testing.T, k transport.Kind) {
		l := startLive(t, nil)
		id := certstest.New(t)
		if err := l.store.PutClient(certs.Client{Name: "c", ID: id.ID(), Roots: grants("data", "all")}); err != nil {
			t.Fatal(err)
		}
		src, content := randomFile(t, 8<<20)
		c := l.client(id, k)
		c.Options.BWLimit = func(time.Time) (up, down int64) { return 2 << 20, 0 }
		moving := make(chan struct{})
		once := sync.OnceFunc(func() { close(moving) })
		c.Observe = func(e transfer.Event) {
			if e.Sent > 3<<20 {
				once()
			}
		}
		type outcome struct {
			r   transfer.Result
			err error
		}
		end := make(chan outcome, 1)
		go func() {
			r, err := c.Send(t.Context(), []transfer.Source{{Path: src}}, transfer.Address{})
			end <- outcome{r, err}
		}()
		<-moving
		start := time.Now()
		if err := l.stop(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("the drain took %v", d)
		}
		l.start(nil)
		got := <-end
		if got.err != nil {
			t.Fatal(got.err)
		}
		mustHold(t, filepath.Join(l.dir, "file.bin"), content)
		if again := got.r.BytesSent - int64(len(content)); again > 2<<20 {
			t.Errorf("%d bytes were sent twice", again)
		}
	})
}
