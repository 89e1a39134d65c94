// Package transporttest puts the same test over every transport: memory, TCP and QUIC, each with a network in between
// that can be cut, delayed, garbled and silenced.
//
//	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
//		client, server := f.Connected(t)
//		...
//	})
//
// Inside a testing/synctest bubble, where real sockets hang, [Simulated] gives the fixtures that work.
package transporttest

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/transport"
)

// Fixture is one transport under test.
type Fixture struct {
	Name string
	Kind transport.Kind
	sim  bool // datagrams in memory instead of UDP
}

// Run runs test as a subtest for each transport: memory (TLS over net.Pipe), TCP and QUIC over the loopback.
func Run(t *testing.T, test func(t *testing.T, f Fixture)) {
	t.Helper()
	for _, f := range Fixtures() {
		t.Run(f.Name, func(t *testing.T) { test(t, f) })
	}
}

// Fixtures are those of Run.
func Fixtures() []Fixture {
	return []Fixture{
		{Name: "memory", Kind: transport.Memory},
		{Name: "tcp", Kind: transport.TCP},
		{Name: "quic", Kind: transport.QUIC},
	}
}

// Simulated are the fixtures without a real socket, for testing/synctest: memory, and QUIC over datagrams in memory.
func Simulated() []Fixture {
	return []Fixture{
		{Name: "memory", Kind: transport.Memory},
		{Name: "quic-simulated", Kind: transport.QUIC, sim: true},
	}
}

// Options vary a Pair. The zero value gives two new identities that accept each other.
type Options struct {
	ServerTLS *tls.Config // nil: crypto.ServerTLS that takes any client
	ClientTLS *tls.Config // nil: crypto.ClientTLS that wants the server's key
	Listen    transport.ListenOptions
	Dial      transport.DialOptions // Conn and Packet in it are the Pair's own
}

// Pair is a client's and a server's end with a faulty network in between.
type Pair interface {
	// Dial makes a connection.
	Dial(ctx context.Context) (transport.Conn, error)
	// Accept returns the server's end of the next connection.
	Accept(ctx context.Context) (transport.Conn, error)
	// Faults are those of the network between the two, for all connections of the pair.
	Faults() *Faults
}

// Net is the Pair that a Fixture makes.
type Net struct {
	Client, Server *crypto.Identity

	listener transport.Listener
	dial     func(context.Context) (transport.Conn, error)
	faults   *Faults
	stop     func()

	mu    sync.Mutex // guards the following
	conns []transport.Conn
}

var _ Pair = (*Net)(nil)

// Pair makes a Pair. It, and every connection of it, is closed when the test ends.
func (f Fixture) Pair(t testing.TB) *Net { return f.PairWith(t, Options{}) }

// PairWith is Pair with options.
func (f Fixture) PairWith(t testing.TB, o Options) *Net {
	t.Helper()
	n := &Net{Client: NewIdentity(t), Server: NewIdentity(t), faults: newFaults()}
	if o.ServerTLS == nil {
		o.ServerTLS = crypto.ServerTLS(n.Server, nil)
	}
	if o.ClientTLS == nil {
		o.ClientTLS = crypto.ClientTLS(n.Client, n.Server.ID())
	}
	var err error
	if f.Kind == transport.QUIC {
		err = n.overDatagrams(f.sim, o)
	} else {
		err = n.overStreams(f.Kind, o)
	}
	if err != nil {
		t.Fatalf("transporttest: %v", err)
	}
	t.Cleanup(n.close)
	return n
}

// Connected returns both ends of a new connection of a new Pair.
func (f Fixture) Connected(t testing.TB) (client, server transport.Conn) {
	t.Helper()
	return f.Pair(t).Connect(t)
}

// Connect returns both ends of a new connection.
func (n *Net) Connect(t testing.TB) (client, server transport.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	type result struct {
		c   transport.Conn
		err error
	}
	accepted := make(chan result, 1)
	go func() {
		c, err := n.Accept(ctx)
		accepted <- result{c, err}
	}()
	client, err := n.Dial(ctx)
	if err != nil {
		cancel()
		<-accepted
		t.Fatalf("transporttest: %v", err)
	}
	r := <-accepted
	if r.err != nil {
		t.Fatalf("transporttest: accept: %v", r.err)
	}
	return client, r.c
}

// Dial makes a connection. It belongs to the caller; the end of the test closes it too.
func (n *Net) Dial(ctx context.Context) (transport.Conn, error) { return n.keep(n.dial(ctx)) }

// Accept returns the server's end of the next connection, as Dial does.
func (n *Net) Accept(ctx context.Context) (transport.Conn, error) {
	return n.keep(n.listener.Accept(ctx))
}

// Faults are those of the network in between.
func (n *Net) Faults() *Faults { return n.faults }

// Listener is the server's.
func (n *Net) Listener() transport.Listener { return n.listener }

func (n *Net) keep(c transport.Conn, err error) (transport.Conn, error) {
	if err == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.conns = append(n.conns, c)
	}
	return c, err
}

// close ends everything and waits until it has.
func (n *Net) close() {
	n.mu.Lock()
	conns := n.conns
	n.mu.Unlock()
	for _, c := range conns {
		c.Close(0, "")
	}
	n.faults.heal()
	for _, c := range conns {
		<-c.Done()
	}
	n.listener.Close()
	n.faults.CutNow()
	n.stop()
}

// overStreams connects the two through a relay of byte streams.
func (n *Net) overStreams(kind transport.Kind, o Options) error {
	var back net.Listener
	var dialBack func(context.Context) (net.Conn, error)
	var front func(context.Context, net.Conn) (near, relay net.Conn, err error)
	if kind == transport.Memory {
		m := newPipeListener()
		back, dialBack, front = m, m.dial, pipeFront
	} else {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		back = l
		dialBack = func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		}
		front = tcpFront
	}
	l, err := transport.ListenTCP(back, o.ServerTLS, o.Listen)
	if err != nil {
		return err
	}
	n.listener = l
	var relays sync.WaitGroup
	o.Dial.Conn = func(ctx context.Context, _, _ string) (net.Conn, error) {
		if err := n.faults.pass(ctx); err != nil {
			return nil, err
		}
		far, err := dialBack(ctx)
		if err != nil {
			return nil, err
		}
		near, relay, err := front(ctx, far)
		if err != nil {
			far.Close()
			return nil, err
		}
		n.faults.relay(&relays, relay, far)
		return near, nil
	}
	n.dial = func(ctx context.Context) (transport.Conn, error) {
		return transport.DialTCP(ctx, l.Addr().String(), o.ClientTLS, o.Dial)
	}
	n.stop = relays.Wait
	return nil
}

// overDatagrams connects the two through a network of datagrams, real UDP or memory.
func (n *Net) overDatagrams(sim bool, o Options) error {
	var pc net.PacketConn
	var mem *packetNet
	if sim {
		mem = newPacketNet()
		pc = mem.socket()
	} else {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		pc = c
	}
	l, err := transport.ListenQUIC(pc, o.ServerTLS, o.Listen)
	if err != nil {
		return err
	}
	n.listener = l
	var sockets sync.WaitGroup
	o.Dial.Packet = func(ctx context.Context, network string) (net.PacketConn, error) {
		if sim {
			return n.faults.packets(&sockets, mem.socket()), nil
		}
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, err
		}
		return n.faults.packets(&sockets, c), nil
	}
	n.dial = func(ctx context.Context) (transport.Conn, error) {
		return transport.DialQUIC(ctx, l.Addr().String(), o.ClientTLS, o.Dial)
	}
	n.stop = sockets.Wait
	return nil
}

// NewIdentity makes a key and a certificate for it, good for a day.
func NewIdentity(t testing.TB) *crypto.Identity {
	t.Helper()
	return NewIdentityValid(t, time.Now(), 24*time.Hour)
}

// NewIdentityValid is NewIdentity with a certificate made at a time of choice.
func NewIdentityValid(t testing.TB, made time.Time, life time.Duration) *crypto.Identity {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := crypto.SelfSigned(key, made, life)
	if err != nil {
		t.Fatal(err)
	}
	id, err := crypto.NewIdentity(cert)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
