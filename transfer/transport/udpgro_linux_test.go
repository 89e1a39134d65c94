package transport

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"
	"unsafe"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

var (
	_ quic.OOBCapablePacketConn = (*mergingConn)(nil)
	_ interface {
		ReadBatch([]ipv4.Message, int) (int, error)
	} = (*mergingConn)(nil)
)

// udpPair returns a mergingConn and a socket that sends to it.
func udpPair(t *testing.T) (in *mergingConn, out *net.UDPConn) {
	t.Helper()
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	in, ok := merging(pc).(*mergingConn)
	if !ok {
		t.Skip("this kernel has no UDP_GRO")
	}
	in.SetReadDeadline(time.Now().Add(10 * time.Second))
	out, err = net.DialUDP("udp4", nil, pc.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	return in, out
}

// segments is the control message for one sendmsg of many datagrams.
func segments(size uint16) []byte {
	oob := make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(oob[unix.CmsgLen(0):], size)
	return oob
}

// Datagrams that the kernel handed over in one piece come out one by one, as they were sent.
func TestMergedDatagramsComeApart(t *testing.T) {
	in, out := udpPair(t)
	first := bytes.Repeat([]byte("0123456789abcdefghijklmnopq"), 907) // 27 * 907 = 20*1200 + 489
	if _, _, err := out.WriteMsgUDP(first, segments(1200), nil); err != nil {
		t.Skip("this kernel has no UDP_SEGMENT:", err)
	}
	second := []byte("on its own")
	if _, err := out.Write(second); err != nil {
		t.Fatal(err)
	}
	var want [][]byte
	for b := first; len(b) > 0; {
		n := min(1200, len(b))
		want = append(want, b[:n])
		b = b[n:]
	}
	want = append(want, second)

	ms := make([]ipv4.Message, 8)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, 1452)}
		ms[i].OOB = make([]byte, 128)
	}
	calls := 0
	for at := 0; at < len(want); calls++ {
		n, err := in.ReadBatch(ms, 0)
		if err != nil || n == 0 {
			t.Fatalf("%d messages, %v", n, err)
		}
		for _, m := range ms[:n] {
			if at == len(want) || !bytes.Equal(m.Buffers[0][:m.N], want[at]) {
				t.Fatalf("datagram %d: %d bytes that are not what was sent", at, m.N)
			}
			if m.Addr.String() != out.LocalAddr().String() {
				t.Fatalf("datagram %d: from %v", at, m.Addr)
			}
			at++
		}
	}
	if most := (len(want)+7)/8 + 1; calls > most {
		t.Errorf("%d calls, want at most %d", calls, most)
	}
}

// Two senders are never mixed up, and what was handed out of one does not change with the next.
func TestMergedDatagramsOfTwoSenders(t *testing.T) {
	in, a := udpPair(t)
	b, err := net.DialUDP("udp4", nil, in.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	const each = 20
	for i := range each {
		for _, c := range []*net.UDPConn{a, b} {
			if _, err := fmt.Fprintf(c, "%v %02d", c.LocalAddr(), i); err != nil {
				t.Fatal(err)
			}
		}
	}
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 100)}}, {Buffers: [][]byte{make([]byte, 100)}}}
	next := map[string]int{}
	var addrs []net.Addr
	for sum := 0; sum < 2*each; {
		n, err := in.ReadBatch(ms, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms[:n] {
			from := m.Addr.String()
			if got, want := string(m.Buffers[0][:m.N]), fmt.Sprintf("%s %02d", from, next[from]); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
			next[from]++
			addrs = append(addrs, m.Addr)
		}
		sum += n
	}
	of := map[string]int{}
	for _, addr := range addrs {
		of[addr.String()]++
	}
	if of[a.LocalAddr().String()] != each || of[b.LocalAddr().String()] != each {
		t.Errorf("the addresses handed out are now %v", of)
	}
}

// A socket that is closed ends the read.
func TestMergingConnCloses(t *testing.T) {
	in, _ := udpPair(t)
	ended := make(chan error, 1)
	go func() {
		_, err := in.ReadBatch([]ipv4.Message{{Buffers: [][]byte{make([]byte, 100)}}}, 0)
		ended <- err
	}()
	in.Close()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
}
