package transport_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/transport"
	"xfer/transfer/transport/transporttest"
)

// firstRead does what a client does: dial, say something, listen. In TLS 1.3 a refusal of the client shows only here,
// and it has to come within a second, on a machine that may have other things to do. The server must not have handed
// out the connection.
func firstRead(t *testing.T, n *transporttest.Net) (err error) {
	t.Helper()
	fastest := time.Hour
	for range 3 {
		start := time.Now()
		err = firstReadOnce(t, n)
		if fastest = min(fastest, time.Since(start)); fastest < time.Second {
			break
		}
	}
	if fastest > time.Second {
		t.Errorf("refused after %v at best", fastest)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if c, err := n.Accept(ctx); err == nil {
		c.Close(0, "")
		t.Error("the server handed out the connection")
	}
	return err
}

func firstReadOnce(t *testing.T, n *transporttest.Net) error {
	c, err := n.Dial(soon(t))
	if err != nil {
		return err
	}
	st, err := c.OpenStream(soon(t))
	if err != nil {
		return err
	}
	if _, err := st.Write(random(100 << 10)); err != nil && !crypto.IsTrustError(err) {
		t.Errorf("the write says %v", err)
	}
	_, err = st.Read(make([]byte, 1))
	return err
}

func mustBeTLSError(t *testing.T, err error, is func(error) bool) {
	t.Helper()
	var te *transport.TLSError
	var ne *transport.NetError
	if !is(err) || !errors.As(err, &te) || errors.As(err, &ne) || errors.Is(err, net.ErrClosed) {
		t.Fatalf("got %T: %v", err, err)
	}
}

func TestClientIsRefused(t *testing.T) {
	stranger := func(crypto.PeerID, []*x509.Certificate) error { return errors.New("who is that") }
	for _, tc := range []struct {
		name string
		tls  func(t *testing.T, server *crypto.Identity) (client, srv *tls.Config)
	}{
		{"without a certificate", func(t *testing.T, server *crypto.Identity) (*tls.Config, *tls.Config) {
			c := crypto.ClientTLS(transporttest.NewIdentity(t), server.ID())
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
			return c, crypto.ServerTLS(server, nil)
		}},
		{"with an expired certificate", func(t *testing.T, server *crypto.Identity) (*tls.Config, *tls.Config) {
			id := transporttest.NewIdentityValid(t, time.Now().Add(-48*time.Hour), 24*time.Hour)
			return crypto.ClientTLS(id, server.ID()), crypto.ServerTLS(server, nil)
		}},
		{"with the certificate of a stranger", func(t *testing.T, server *crypto.Identity) (*tls.Config, *tls.Config) {
			return crypto.ClientTLS(transporttest.NewIdentity(t), server.ID()), crypto.ServerTLS(server, crypto.VerifierFunc(stranger))
		}},
		{"with a certificate of another kind", func(t *testing.T, server *crypto.Identity) (*tls.Config, *tls.Config) {
			c := crypto.ClientTLS(transporttest.NewIdentity(t), server.ID())
			other := ecdsaCert(t)
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &other, nil }
			return c, crypto.ServerTLS(server, nil)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
				client, srv := tc.tls(t, transporttest.NewIdentity(t))
				n := f.PairWith(t, transporttest.Options{ClientTLS: client, ServerTLS: srv})
				mustBeTLSError(t, firstRead(t, n), crypto.IsTrustError)
			})
		})
	}
}

func TestServerIsRefused(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		client, server, other := transporttest.NewIdentity(t), transporttest.NewIdentity(t), transporttest.NewIdentity(t)
		n := f.PairWith(t, transporttest.Options{
			ServerTLS: crypto.ServerTLS(server, nil), ClientTLS: crypto.ClientTLS(client, other.ID()),
		})
		_, err := n.Dial(soon(t))
		mustBeTLSError(t, err, crypto.IsTrustError)
		var pin *crypto.PinError
		if !errors.As(err, &pin) || pin.Want != other.ID() || pin.Got != server.ID() {
			t.Errorf("got %v", err)
		}

		old := transporttest.NewIdentityValid(t, time.Now().Add(-48*time.Hour), 24*time.Hour)
		n = f.PairWith(t, transporttest.Options{
			ServerTLS: crypto.ServerTLS(old, nil), ClientTLS: crypto.ClientTLS(client, old.ID()),
		})
		_, err = n.Dial(soon(t))
		mustBeTLSError(t, err, crypto.IsTrustError)
		var cert *crypto.CertError
		if !errors.As(err, &cert) || cert.Reason != crypto.CertExpired {
			t.Errorf("got %v", err)
		}
	})
}

func TestNoCommonProtocol(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		client, server := transporttest.NewIdentity(t), transporttest.NewIdentity(t)
		cfg := crypto.ClientTLS(client, server.ID())
		cfg.NextProtos = []string{"xfer/9"}
		cfg.VerifyConnection = nil
		n := f.PairWith(t, transporttest.Options{ServerTLS: crypto.ServerTLS(server, nil), ClientTLS: cfg})
		mustBeTLSError(t, firstRead(t, n), crypto.IsVersionError)
	})
}

// Go's TLS server lets a client pass that offers no protocol at all.
func TestNoProtocolAtAll(t *testing.T) {
	client, server := transporttest.NewIdentity(t), transporttest.NewIdentity(t)
	srv := crypto.ServerTLS(server, nil)
	srv.VerifyConnection = nil // it would have noticed too
	cfg := crypto.ClientTLS(client, server.ID())
	cfg.NextProtos, cfg.VerifyConnection = nil, nil
	n := transporttest.Fixture{Kind: transport.TCP}.PairWith(t, transporttest.Options{ServerTLS: srv, ClientTLS: cfg})
	if err := firstRead(t, n); err == nil {
		t.Fatal("no error")
	}
}

func TestTLS12IsRefused(t *testing.T) {
	client, server := transporttest.NewIdentity(t), transporttest.NewIdentity(t)
	old := func(c *tls.Config) *tls.Config {
		c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		c.VerifyConnection = nil
		return c
	}
	for _, o := range []transporttest.Options{
		{ServerTLS: crypto.ServerTLS(server, nil), ClientTLS: old(crypto.ClientTLS(client, server.ID()))},
		{ServerTLS: old(crypto.ServerTLS(server, nil)), ClientTLS: crypto.ClientTLS(client, server.ID())},
		{ServerTLS: old(crypto.ServerTLS(server, nil)), ClientTLS: old(crypto.ClientTLS(client, server.ID()))},
	} {
		for _, f := range transporttest.Fixtures()[:2] { // QUIC knows no other version
			mustBeTLSError(t, firstRead(t, f.PairWith(t, o)), crypto.IsVersionError)
		}
	}
}

// What listens on the port is something else.
func TestNotTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"))
			c.Close()
		}
	}()
	id := transporttest.NewIdentity(t)
	_, err = transport.DialTCP(soon(t), l.Addr().String(), crypto.ClientTLS(id, id.ID()), transport.DialOptions{})
	var te *transport.TLSError
	if !errors.As(err, &te) {
		t.Fatalf("got %v", err)
	}
}

func ecdsaCert(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
