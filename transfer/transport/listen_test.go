package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"xfer/crypto"
)

func TestListenOnePort(t *testing.T) {
	id := newIdentity(t)
	for range 10 {
		ls, err := Listen("127.0.0.1:0", []Kind{QUIC, TCP}, crypto.ServerTLS(id, nil), ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, udp, _ := net.SplitHostPort(ls[0].Addr().String())
		_, tcp, _ := net.SplitHostPort(ls[1].Addr().String())
		if udp != tcp || ls[0].Addr().Network() != "udp" || ls[1].Addr().Network() != "tcp" {
			t.Errorf("%v and %v", ls[0].Addr(), ls[1].Addr())
		}
		if _, err := Listen(ls[0].Addr().String(), []Kind{TCP}, crypto.ServerTLS(id, nil), ListenOptions{}); err == nil {
			t.Error("the port was taken")
		}
		for _, l := range ls {
			l.Close()
		}
	}
	for _, kinds := range [][]Kind{nil, {TCP, TCP}, {"carrier pigeon"}, {TCP, QUIC, TCP}} {
		if _, err := Listen("127.0.0.1:0", kinds, crypto.ServerTLS(id, nil), ListenOptions{}); err == nil {
			t.Errorf("%v: no error", kinds)
		}
	}
}

func TestDialClosedPort(t *testing.T) {
	s, err := bindAll("127.0.0.1", 0, []Kind{TCP, QUIC})
	if err != nil {
		t.Fatal(err)
	}
	addr := s.tcp.Addr().String()
	s.close()
	cfg := crypto.ClientTLS(newIdentity(t), crypto.PeerID{})
	for _, dial := range []func(context.Context, string, *tls.Config, DialOptions) (Conn, error){DialTCP, DialQUIC} {
		_, err := dial(context.Background(), addr, cfg, DialOptions{Timeout: 500 * time.Millisecond})
		var ne *NetError
		if !errors.As(err, &ne) || ne.Addr != addr || ne.Op != "dial" || errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
		if ne != nil && ne.Timeout() && runtime.GOOS == "linux" {
			t.Errorf("%v: only the timeout ended it", err)
		}
	}
}

// A restarted server with the same reset key tells its former clients at once.
func TestStatelessReset(t *testing.T) {
	id := newIdentity(t)
	key := [32]byte{1, 2, 3}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ListenQUIC(pc, crypto.ServerTLS(id, nil), ListenOptions{ResetKey: key})
	if err != nil {
		t.Fatal(err)
	}
	addr := pc.LocalAddr().String()
	c, err := DialQUIC(context.Background(), addr, crypto.ClientTLS(newIdentity(t), id.ID()), DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	k, err := l.Accept(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	st, err := c.OpenStream(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if st, err := k.AcceptStream(context.Background()); err == nil {
			io.CopyN(st, st, 1)
		}
	}()
	if _, err := st.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(st, make([]byte, 1)); err != nil { // the handshake is confirmed
		t.Fatal(err)
	}
	l.(*quicListener).t.Close() // as if the process died
	l.Close()
	until(t, "the port is free", func() bool {
		pc, err = net.ListenPacket("udp", addr)
		return err == nil
	})
	if l, err = ListenQUIC(pc, crypto.ServerTLS(id, nil), ListenOptions{ResetKey: key}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write([]byte("anybody there?")); err != nil {
		t.Fatal(err)
	}
	st.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = st.Read(make([]byte, 1))
	var ne *NetError
	if !errors.As(err, &ne) || errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "stateless reset") {
		t.Errorf("got %v", err)
	}
	<-c.Done()
	l.Close()
}
