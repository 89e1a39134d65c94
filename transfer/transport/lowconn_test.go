package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xfer/crypto"
)

// countingConn counts the writes, and fails all from the one numbered last on after half of it.
type countingConn struct {
	net.Conn
	writes atomic.Int64
	last   int64
}

var errFull = errors.New("the cable is full")

func (c *countingConn) Write(p []byte) (int, error) {
	if n := c.writes.Add(1); c.last > 0 && n >= c.last {
		if n > c.last {
			return 0, errFull
		}
		n, _ := c.Conn.Write(p[:len(p)/2])
		return n, errFull
	}
	return c.Conn.Write(p)
}

// overPipe returns the streams of a connection over net.Pipe. What the client writes goes through out.
func overPipe(t *testing.T) (client, server Stream, out *countingConn) {
	t.Helper()
	id := newIdentity(t)
	near, far := net.Pipe()
	out = &countingConn{Conn: near}
	made := make(chan Conn, 1)
	go func() {
		c, err := NewTCPConn(t.Context(), far, crypto.ServerTLS(id, nil), true)
		if err != nil {
			t.Error(err)
		}
		made <- c
	}()
	c, err := NewTCPConn(t.Context(), out, crypto.ClientTLS(newIdentity(t), id.ID()), false)
	if err != nil {
		t.Fatal(err)
	}
	s := <-made
	t.Cleanup(func() {
		c.Close(0, "")
		s.Close(0, "")
		<-c.Done()
		<-s.Done()
	})
	if client, err = c.OpenStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	if server, err = s.AcceptStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	return client, server, out
}

// The records of one Write go out together, whole ones one after the other.
func TestOneWriteForManyRecords(t *testing.T) {
	client, server, out := overPipe(t)
	for _, size := range []int{1, recordPayload, recordPayload + 1, 256<<10 + 60, togetherBytes, 3 * togetherBytes} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i * i >> 7)
		}
		before := out.writes.Load()
		sent := make(chan error, 1)
		go func() {
			n, err := client.Write(data)
			if n != size && err == nil {
				err = io.ErrShortWrite
			}
			sent <- err
		}()
		got := make([]byte, size)
		if _, err := io.ReadFull(server, got); err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, data) {
			t.Fatalf("%d bytes: others arrived", size)
		}
		if n, most := out.writes.Load()-before, int64(size/(togetherBytes-recordPayload)+1); n > most {
			t.Errorf("%d bytes: %d writes, want at most %d", size, n, most)
		}
	}
}

// What is cut in the middle of a record is followed by nothing: the peer must not take a goodbye for the end of the data.
func TestNothingFollowsACutWrite(t *testing.T) {
	client, server, out := overPipe(t)
	out.last = out.writes.Load() + 2 // the second 264 KiB
	sent := make(chan error, 1)
	go func() {
		_, err := client.Write(make([]byte, 600<<10))
		if err == nil {
			err = errors.New("no error")
		}
		_, again := client.Write([]byte("more"))
		if again == nil {
			err = errors.New("no error at the second write")
		}
		client.CloseWrite()
		client.Close()
		sent <- err
	}()
	n, err := io.Copy(io.Discard, server)
	if err == nil {
		t.Errorf("%d bytes arrived, and then the end as if that was all", n)
	}
	if err := <-sent; !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}

// A Write that waits is ended by its deadline, and by Close.
func TestManyRecordsAndNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _, _ := overPipe(t)
		client.SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := client.Write(make([]byte, 256<<10)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
		client, _, _ = overPipe(t)
		ended := make(chan error, 1)
		go func() {
			_, err := client.Write(make([]byte, 256<<10))
			ended <- err
		}()
		synctest.Wait()
		client.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}
