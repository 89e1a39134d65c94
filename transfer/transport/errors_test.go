package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/quic-go/quic-go"

	"xfer/crypto"
)

func TestWrapQUIC(t *testing.T) {
	at := place{QUIC, "192.0.2.1:7419"}
	type want struct {
		net, tls, timeout, trust, version bool
	}
	for _, tc := range []struct {
		err  error
		want want
	}{
		{&quic.IdleTimeoutError{}, want{net: true, timeout: true}},
		{&quic.HandshakeTimeoutError{}, want{net: true, timeout: true}},
		{&quic.StatelessResetError{}, want{net: true}},
		{&quic.ApplicationError{Remote: true, ErrorCode: 3, ErrorMessage: "x"}, want{net: true}},
		{&quic.TransportError{Remote: true, ErrorCode: quic.ConnectionRefused}, want{net: true}},
		{&quic.TransportError{Remote: true, ErrorCode: quic.InternalError}, want{net: true}},
		{&quic.TransportError{Remote: true, ErrorCode: 0x100 + 42}, want{tls: true, trust: true}},
		{&quic.TransportError{Remote: true, ErrorCode: 0x100 + 116}, want{tls: true, trust: true}},
		{&quic.TransportError{Remote: true, ErrorCode: 0x100 + 120}, want{tls: true, version: true}},
		{&quic.TransportError{Remote: true, ErrorCode: 0x100 + 70}, want{tls: true, version: true}},
		{&quic.TransportError{Remote: true, ErrorCode: 0x100 + 80}, want{net: true}},
		{&quic.TransportError{ErrorCode: 0x100 + 42}, want{tls: true, trust: true}},
		{&quic.StreamError{Remote: true}, want{net: true}},
		{quic.ErrTransportClosed, want{net: true}},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("sendmsg", syscall.ENETUNREACH)}, want{net: true}},
		{fmt.Errorf("x: %w", &quic.IdleTimeoutError{}), want{net: true, timeout: true}},
		{context.DeadlineExceeded, want{net: true, timeout: true}},
	} {
		err := wrapQUIC(at, "read", tc.err)
		var ne *NetError
		var te *TLSError
		got := want{net: errors.As(err, &ne), tls: errors.As(err, &te), trust: crypto.IsTrustError(err), version: crypto.IsVersionError(err)}
		got.timeout = got.net && ne.Timeout()
		if got != tc.want {
			t.Errorf("%v: %+v, want %+v (%v)", tc.err, got, tc.want, err)
		}
		if errors.Is(err, net.ErrClosed) {
			t.Errorf("%v became net.ErrClosed", tc.err)
		}
		if got := wrapQUIC(at, "again", err); got != err {
			t.Errorf("wrapped twice: %v", got)
		}
	}
	if err := wrapQUIC(at, "read", &quic.ApplicationError{}); err != net.ErrClosed {
		t.Errorf("our own close: %v", err)
	}
}

func TestWrap(t *testing.T) {
	at := place{TCP, "192.0.2.1:7419"}
	for _, err := range []error{nil, io.EOF} {
		if got := at.wrap("read", err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
	err := at.wrap("dial", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})
	if want := "dial tcp 192.0.2.1:7419: connection refused"; err.Error() != want || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %q, want %q", err, want)
	}
	err = at.wrap("read", net.ErrClosed) // somebody below closed it, not our user
	if errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	err = at.wrap("read", &net.OpError{Op: "remote error", Err: tls.AlertError(42)})
	var te *TLSError
	if !errors.As(err, &te) {
		t.Errorf("got %v", err)
	}
	if got := (&RaceError{"h:1", []error{err, err, io.EOF}}).Error(); got != "cannot connect to h:1: "+err.Error()+"; EOF" {
		t.Errorf("got %q", got)
	}
}
