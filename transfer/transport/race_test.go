package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xfer/crypto"
)

// course is a network for races: what happens to a dial of each transport and address.
type course struct {
	outcome func(k Kind, ip netip.Addr) outcome

	mu     sync.Mutex
	start  time.Time
	starts []string // "tcp 192.0.2.1 250ms"
	open   int      // connections not closed
}

type outcome struct {
	after     time.Duration
	connected bool // the peer answers at after/2
	err       error
}

var blocked = outcome{after: time.Hour}

// fakeConn is a Conn of which only its closing matters.
type fakeConn struct {
	Conn
	kind Kind
	ip   netip.Addr
	c    *course
}

func (f *fakeConn) Kind() Kind { return f.kind }
func (f *fakeConn) Close(uint64, string) error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.c.open--
	return nil
}

func (c *course) dial(ctx context.Context, k Kind, to netip.AddrPort, connected func()) (Conn, error) {
	c.mu.Lock()
	c.starts = append(c.starts, fmt.Sprintf("%s %v %v", k, to.Addr(), time.Since(c.start)))
	c.mu.Unlock()
	o := c.outcome(k, to.Addr())
	at := place{k, to.String()}
	for _, step := range []bool{true, false} {
		select {
		case <-time.After(o.after / 2):
		case <-ctx.Done():
			return nil, at.wrap("dial", context.Cause(ctx))
		}
		if step && o.connected {
			connected()
		}
	}
	if o.err != nil {
		return nil, at.wrap("dial", o.err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	return &fakeConn{kind: k, ip: to.Addr(), c: c}, nil
}

// names is a Resolver.
type names []string

func (n names) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	if host != "host.example" {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var out []netip.Addr
	for _, s := range n {
		a := netip.MustParseAddr(s)
		if network == "ip" || (network == "ip4") == a.Is4() {
			out = append(out, a)
		}
	}
	return out, nil
}

const (
	v4a, v4b = "192.0.2.1", "192.0.2.2"
	v6a, v6b = "2001:db8::1", "2001:db8::2"
)

func TestRace(t *testing.T) {
	good := func(d time.Duration) outcome { return outcome{after: d, connected: true} }
	refused := outcome{after: time.Millisecond, err: syscall.ECONNREFUSED}
	pin := outcome{after: 10 * time.Millisecond, connected: true, err: &crypto.PinError{}}
	version := outcome{after: 10 * time.Millisecond, connected: true, err: tls.AlertError(120)}
	byKind := func(tcp, quic outcome) func(Kind, netip.Addr) outcome {
		return func(k Kind, _ netip.Addr) outcome {
			if k == TCP {
				return tcp
			}
			return quic
		}
	}
	for _, tc := range []struct {
		name    string
		names   names
		o       RaceOptions
		outcome func(Kind, netip.Addr) outcome
		won     string // "tcp 192.0.2.1", "" for an error
		after   time.Duration
		starts  []string
		note    string
		err     func(error) bool
	}{
		{name: "both work: TCP, and QUIC is not even tried", names: names{v4a},
			outcome: byKind(good(100*time.Millisecond), good(time.Millisecond)),
			won:     "tcp " + v4a, after: 100 * time.Millisecond, starts: []string{"tcp 192.0.2.1 0s"}},
		{name: "UDP is blocked: TCP without delay", names: names{v4a},
			outcome: byKind(good(100*time.Millisecond), blocked),
			won:     "tcp " + v4a, after: 100 * time.Millisecond, starts: []string{"tcp 192.0.2.1 0s"}},
		{name: "UDP is blocked on a slow line", names: names{v4a},
			outcome: byKind(good(600*time.Millisecond), blocked),
			won:     "tcp " + v4a, after: 600 * time.Millisecond,
			starts: []string{"tcp 192.0.2.1 0s", "quic 192.0.2.1 250ms"}},
		{name: "SYNs vanish: QUIC after 250 ms", names: names{v4a},
			outcome: byKind(blocked, good(50*time.Millisecond)),
			won:     "quic " + v4a, after: 300 * time.Millisecond,
			starts: []string{"tcp 192.0.2.1 0s", "quic 192.0.2.1 250ms"}, note: "blocked"},
		{name: "TCP is refused: QUIC at once", names: names{v4a},
			outcome: byKind(refused, good(50*time.Millisecond)),
			won:     "quic " + v4a, after: 51 * time.Millisecond,
			starts: []string{"tcp 192.0.2.1 0s", "quic 192.0.2.1 1ms"}, note: "connection refused"},
		{name: "TCP has answered but is slower: no note", names: names{v4a},
			outcome: byKind(good(500*time.Millisecond), good(100*time.Millisecond)),
			won:     "quic " + v4a, after: 350 * time.Millisecond,
			starts: []string{"tcp 192.0.2.1 0s", "quic 192.0.2.1 250ms"}},
		{name: "TCP connects and is silent", names: names{v4a},
			outcome: byKind(good(400*time.Millisecond), good(20*time.Millisecond)),
			won:     "quic " + v4a, after: 270 * time.Millisecond,
			starts: []string{"tcp 192.0.2.1 0s", "quic 192.0.2.1 250ms"}, note: "connects and then gets no answer"},
		{name: "QUIC is preferred and blocked", names: names{v4a}, o: RaceOptions{Kinds: []Kind{QUIC, TCP}},
			outcome: byKind(good(100*time.Millisecond), blocked),
			won:     "tcp " + v4a, after: 350 * time.Millisecond,
			starts: []string{"quic 192.0.2.1 0s", "tcp 192.0.2.1 250ms"}, note: "QUIC (UDP)"},
		{name: "one transport only", names: names{v4a}, o: RaceOptions{Kinds: []Kind{QUIC}},
			outcome: byKind(good(0), good(100*time.Millisecond)),
			won:     "quic " + v4a, after: 100 * time.Millisecond, starts: []string{"quic 192.0.2.1 0s"}},
		{name: "families in turn, 250 ms apart", names: names{v6a, v6b, v4a, v4b}, o: RaceOptions{Kinds: []Kind{TCP}},
			outcome: func(_ Kind, ip netip.Addr) outcome {
				if ip.String() == v4b {
					return good(10 * time.Millisecond)
				}
				return blocked
			},
			won: "tcp " + v4b, after: 760 * time.Millisecond,
			starts: []string{"tcp 2001:db8::1 0s", "tcp 192.0.2.1 250ms", "tcp 2001:db8::2 500ms", "tcp 192.0.2.2 750ms"}},
		{name: "IPv6 is broken at once", names: names{v6a, v4a}, o: RaceOptions{Kinds: []Kind{TCP}},
			outcome: func(_ Kind, ip netip.Addr) outcome {
				if ip.Is6() {
					return outcome{after: time.Millisecond, err: syscall.ENETUNREACH}
				}
				return good(10 * time.Millisecond)
			},
			won: "tcp " + v4a, after: 11 * time.Millisecond,
			starts: []string{"tcp 2001:db8::1 0s", "tcp 192.0.2.1 1ms"}},
		{name: "IPv4 only", names: names{v6a, v4a}, o: RaceOptions{Kinds: []Kind{TCP}, IPv4: true},
			outcome: byKind(good(0), blocked), won: "tcp " + v4a, starts: []string{"tcp 192.0.2.1 0s"}},
		{name: "IPv6 only", names: names{v4a, v6a}, o: RaceOptions{Kinds: []Kind{TCP}, IPv6: true},
			outcome: byKind(good(0), blocked), won: "tcp " + v6a, starts: []string{"tcp 2001:db8::1 0s"}},
		{name: "no address of the family", names: names{v4a}, o: RaceOptions{IPv6: true},
			outcome: byKind(good(0), good(0)), err: isNet},
		{name: "a wrong key ends it at once", names: names{v4a},
			outcome: byKind(pin, good(time.Millisecond)), after: 10 * time.Millisecond,
			starts: []string{"tcp 192.0.2.1 0s"}, err: crypto.IsTrustError},
		{name: "a wrong key over QUIC ends it too", names: names{v4a},
			outcome: byKind(good(time.Second), pin), after: 260 * time.Millisecond,
			starts: []string{"tcp 192.0.2.1 0s", "quic 192.0.2.1 250ms"}, err: crypto.IsTrustError},
		{name: "another protocol ends it at once", names: names{v4a},
			outcome: byKind(version, good(time.Millisecond)), after: 10 * time.Millisecond,
			starts: []string{"tcp 192.0.2.1 0s"}, err: crypto.IsVersionError},
		{name: "everything is refused", names: names{v4a, v4b},
			outcome: byKind(refused, refused), after: 3 * time.Millisecond,
			starts: []string{"tcp 192.0.2.1 0s", "quic 192.0.2.1 1ms", "tcp 192.0.2.2 1ms", "quic 192.0.2.2 2ms"},
			err: func(err error) bool {
				var re *RaceError
				return errors.As(err, &re) && len(re.Attempts) == 4 && errors.Is(err, syscall.ECONNREFUSED) &&
					strings.Count(err.Error(), v4a) == 2 && strings.Count(err.Error(), v4b) == 2
			}},
		{name: "nobody answers", names: names{v4a}, o: RaceOptions{Timeout: 3 * time.Second},
			outcome: byKind(blocked, blocked), after: 3 * time.Second,
			starts: []string{"tcp 192.0.2.1 0s", "quic 192.0.2.1 250ms"},
			err: func(err error) bool {
				var re *RaceError
				var ne *NetError
				return errors.As(err, &re) && len(re.Attempts) == 2 && errors.As(err, &ne) && ne.Timeout() &&
					strings.Contains(err.Error(), "dial tcp") && strings.Contains(err.Error(), "dial quic")
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &course{outcome: tc.outcome, start: time.Now()}
				var notes []string
				o := tc.o
				o.Resolver = tc.names
				o.Note = func(s string) { notes = append(notes, s) }
				conn, err := raceWith(t.Context(), "host.example", 7419, o, c.dial)
				if d := time.Since(c.start); d != tc.after {
					t.Errorf("took %v, want %v", d, tc.after)
				}
				got := ""
				if f, ok := conn.(*fakeConn); ok {
					got = fmt.Sprintf("%s %v", f.kind, f.ip)
				}
				if got != tc.won || (err == nil) != (tc.won != "") || tc.err != nil && !tc.err(err) {
					t.Errorf("won %q, want %q, error %v", got, tc.won, err)
				}
				slices.Sort(c.starts)
				slices.Sort(tc.starts)
				if !slices.Equal(c.starts, tc.starts) {
					t.Errorf("started %q, want %q", c.starts, tc.starts)
				}
				if n := strings.Join(notes, ""); len(notes) > 1 || (n == "") != (tc.note == "") || !strings.Contains(n, tc.note) {
					t.Errorf("notes %q, want one with %q", notes, tc.note)
				}
				if want := min(len(tc.won), 1); c.open != want {
					t.Errorf("%d connections left open, want %d", c.open, want)
				}
			})
		})
	}
}

func isNet(err error) bool {
	var ne *NetError
	return errors.As(err, &ne)
}

// Two are through at the same moment: one is handed out, the other one closed.
func TestRaceClosesTheLoser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &course{start: time.Now(), outcome: func(k Kind, _ netip.Addr) outcome {
			if k == TCP {
				return outcome{after: 300 * time.Millisecond}
			}
			return outcome{after: 50 * time.Millisecond}
		}}
		conn, err := raceWith(t.Context(), "host.example", 7419, RaceOptions{Resolver: names{v4a}}, c.dial)
		if err != nil || conn == nil {
			t.Fatal(err)
		}
		if c.open != 1 {
			t.Errorf("%d connections left open", c.open)
		}
	})
}

func TestRaceCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &course{start: time.Now(), outcome: func(Kind, netip.Addr) outcome { return blocked }}
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		_, err := raceWith(ctx, "host.example", 7419, RaceOptions{Resolver: names{v4a}}, c.dial)
		var re *RaceError
		if !errors.Is(err, why) || errors.As(err, &re) || time.Since(c.start) != time.Second {
			t.Errorf("after %v: %v", time.Since(c.start), err)
		}
	})
}

func TestRaceBadHost(t *testing.T) {
	for _, tc := range []struct {
		host string
		port int
	}{{"nowhere.example", 7419}, {"host.example", 0}, {"host.example", 65536}} {
		_, err := raceWith(context.Background(), tc.host, tc.port, RaceOptions{Resolver: names{v4a}}, nil)
		if !isNet(err) {
			t.Errorf("%v: %v", tc, err)
		}
	}
}

// The real thing, on the loopback.
func TestRaceForReal(t *testing.T) {
	id := newIdentity(t)
	ls, err := Listen("127.0.0.1:0", []Kind{TCP, QUIC}, crypto.ServerTLS(id, nil), ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	port := ls[0].Addr().(*net.TCPAddr).Port
	cfg := crypto.ClientTLS(newIdentity(t), id.ID())
	race := func(cfg *tls.Config) (Kind, string, error) {
		var note string
		c, err := Race(context.Background(), "127.0.0.1", port, cfg, RaceOptions{Note: func(s string) { note += s }})
		if err != nil {
			return "", note, err
		}
		c.Close(0, "")
		<-c.Done()
		return c.Kind(), note, nil
	}
	if k, note, err := race(cfg); k != TCP && k != QUIC || k == TCP && note != "" || err != nil {
		t.Errorf("both: %v, %q, %v", k, note, err)
	}
	if _, _, err := race(crypto.ClientTLS(newIdentity(t), crypto.PeerID{})); !crypto.IsTrustError(err) {
		t.Errorf("wrong key: %v", err)
	}
	ls[0].Close()
	if k, note, err := race(cfg); k != QUIC || !strings.Contains(note, "refused") || err != nil {
		t.Errorf("TCP is refused: %v, %q, %v", k, note, err)
	}
	ls[1].Close()
	var re *RaceError
	if _, _, err := race(cfg); !errors.As(err, &re) || len(re.Attempts) != 2 {
		t.Errorf("nobody: %v", err)
	}
}
