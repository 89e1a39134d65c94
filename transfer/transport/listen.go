package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// listenTries is how often Listen looks for a port number that is free for TCP and UDP.
const listenTries = 16

// Listen listens on addr ("host:port", host may be empty) with all the kinds, TCP, QUIC or both, under one port number
// and common limits. With port 0 the system chooses a number that is free for all. The listeners are in the order of
// kinds.
func Listen(addr string, kinds []Kind, cfg *tls.Config, o ListenOptions) ([]Listener, error) {
	if len(kinds) == 0 || len(kinds) > 2 || len(kinds) == 2 && kinds[0] == kinds[1] {
		return nil, fmt.Errorf("listen: want TCP, QUIC or both, not %q", kinds)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s, err := bindAll(host, number, kinds)
	if err != nil {
		return nil, err
	}
	o = o.withDefaults() // the admission in it is common to all
	var ls []Listener
	for _, k := range kinds {
		var l Listener
		if k == TCP {
			l, err = ListenTCP(s.tcp, cfg, o)
			s.tcp = nil
		} else {
			l, err = ListenQUIC(s.udp, cfg, o)
			s.udp = nil
		}
		if err != nil {
			s.close()
			for _, l := range ls {
				l.Close()
			}
			return nil, err
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// sockets are those of one port number.
type sockets struct {
	tcp net.Listener
	udp net.PacketConn
}

func (s *sockets) close() {
	if s.tcp != nil {
		s.tcp.Close()
	}
	if s.udp != nil {
		s.udp.Close()
	}
}

// bindAll binds the sockets for kinds. With number 0 and two kinds, the number that one got may be taken for the
// other: then it tries again.
func bindAll(host string, number int, kinds []Kind) (*sockets, error) {
	var last error
	for range listenTries {
		s, err := bindOnce(host, number, kinds)
		if err == nil {
			return s, nil
		}
		if number != 0 || len(kinds) == 1 {
			return nil, err
		}
		last = err
	}
	return nil, fmt.Errorf("listen: no port number is free for TCP and UDP: %w", last)
}

func bindOnce(host string, number int, kinds []Kind) (*sockets, error) {
	s := &sockets{}
	for _, k := range kinds {
		var err error
		var at net.Addr
		addr := net.JoinHostPort(host, strconv.Itoa(number))
		switch k {
		case TCP:
			if s.tcp, err = net.Listen("tcp", addr); err == nil {
				at = s.tcp.Addr()
			} else {
				s.tcp = nil
			}
		case QUIC:
			if s.udp, err = net.ListenPacket("udp", addr); err == nil {
				at = s.udp.LocalAddr()
			} else {
				s.udp = nil
			}
		default:
			err = errors.New("unknown transport " + strconv.Quote(string(k)))
		}
		if err != nil {
			s.close()
			return nil, fmt.Errorf("listen %s %s: %w", k, addr, trim(err))
		}
		switch at := at.(type) {
		case *net.TCPAddr:
			number = at.Port
		case *net.UDPAddr:
			number = at.Port
		}
	}
	return s, nil
}
