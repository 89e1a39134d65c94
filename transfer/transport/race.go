package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"xfer/crypto"
)

// raceDelay is the Connection Attempt Delay of RFC 8305 8: between the addresses of one transport, and between the
// transports.
const raceDelay = 250 * time.Millisecond

// RaceOptions are how to race. The zero value is ready to use.
type RaceOptions struct {
	// Kinds are the transports to try, the preferred one first: TCP and QUIC. Each one starts 250 ms after the one
	// before, or as soon as that has failed somewhere.
	Kinds []Kind
	// IPv4 and IPv6 leave only addresses of that family; neither (or both) set: all.
	IPv4, IPv6 bool
	// Resolver looks up host; nil: net.DefaultResolver.
	Resolver Resolver
	// Note is called at most once, with a sentence for people, when the preferred transport seems to be blocked and
	// another one is used.
	Note func(string)
	// Timeout is for all together: 10 s.
	Timeout time.Duration
	// Dial are the options of each attempt; Network and Timeout in it are Race's own.
	Dial DialOptions
}

// Resolver is what Race needs of a *net.Resolver.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// RaceError says why every attempt failed.
type RaceError struct {
	Host     string
	Attempts []error // one for each transport and address, in the order in which they failed
}

func (e *RaceError) Error() string {
	var said []string
	for _, err := range e.Attempts {
		if s := err.Error(); !slices.Contains(said, s) {
			said = append(said, s)
		}
	}
	return "cannot connect to " + e.Host + ": " + strings.Join(said, "; ")
}

// Unwrap returns the errors of the attempts.
func (e *RaceError) Unwrap() []error { return e.Attempts }

// Race connects to host at port over whatever transport and address is through the handshake first. Within a
// transport the addresses are tried 250 ms apart, IPv6 and IPv4 in turn (RFC 8305). A failure that is not the
// network's (crypto.IsTrustError, crypto.IsVersionError) ends the race at once with that *TLSError: another way to the
// same server must not hide it. All other attempts are ended and closed before Race returns.
func Race(ctx context.Context, host string, port int, cfg *tls.Config, o RaceOptions) (Conn, error) {
	return raceWith(ctx, host, port, o, func(ctx context.Context, k Kind, to netip.AddrPort, connected func()) (Conn, error) {
		d := o.Dial
		d.Network, d.Timeout, d.connected = "", o.Timeout, connected
		switch k {
		case TCP:
			return DialTCP(ctx, to.String(), cfg, d)
		case QUIC:
			return DialQUIC(ctx, to.String(), cfg, d)
		}
		return nil, fmt.Errorf("unknown transport %q", k)
	})
}

// dialFunc makes one attempt. It calls connected when the peer has answered in any way.
type dialFunc func(ctx context.Context, k Kind, to netip.AddrPort, connected func()) (Conn, error)

// race is the state of one Race. The goroutine of run owns it.
type race struct {
	dial    dialFunc
	ctx     context.Context
	results chan attempt
	running int
	lanes   []*lane
	failed  []error
}

// lane is one transport of a race.
type lane struct {
	kind    Kind
	todo    []netip.AddrPort
	began   time.Time // the first attempt; zero before
	running int
	next    time.Time // of the next attempt
	err     error     // the last failure

	mu        sync.Mutex
	connected bool // the peer answered below TLS
}

type attempt struct {
	lane  *lane
	conn  Conn
	err   error
	began time.Time
}

func raceWith(outer context.Context, host string, port int, o RaceOptions, dial dialFunc) (Conn, error) {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(outer, o.Timeout, silence(fmt.Sprintf("no answer within %v", o.Timeout)))
	defer cancel()
	name := net.JoinHostPort(host, strconv.Itoa(port))
	addrs, err := lookup(ctx, host, o)
	if err != nil {
		return nil, place{addr: name}.wrap("look up", ofContext(ctx, err))
	}
	if port < 1 || port > 65535 {
		return nil, place{addr: name}.wrap("dial", &net.AddrError{Err: "no such port", Addr: strconv.Itoa(port)})
	}
	r := &race{dial: dial, ctx: ctx, results: make(chan attempt)}
	kinds := o.Kinds
	if len(kinds) == 0 {
		kinds = []Kind{TCP, QUIC}
	}
	for i, k := range kinds {
		l := &lane{kind: k, next: time.Now().Add(time.Duration(i) * raceDelay)}
		for _, a := range addrs {
			l.todo = append(l.todo, netip.AddrPortFrom(a, uint16(port)))
		}
		r.lanes = append(r.lanes, l)
	}
	won, err := r.run()
	cancel()
	for ; r.running > 0; r.running-- {
		a := <-r.results
		if a.conn != nil {
			abort(a.conn)
		} else if won == nil {
			r.failed = append(r.failed, a.err)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case won != nil:
	case outer.Err() != nil || len(r.failed) == 0:
		return nil, place{addr: name}.wrap("dial", context.Cause(ctx))
	default:
		return nil, &RaceError{name, r.failed}
	}
	if o.Note != nil {
		if s := r.note(won, name); s != "" {
			o.Note(s)
		}
	}
	return won.conn, nil
}

// lookup gives the addresses to try, in turn of the families, beginning with the family of the resolver's first.
func lookup(ctx context.Context, host string, o RaceOptions) ([]netip.Addr, error) {
	resolver, network := o.Resolver, "ip"
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	if o.IPv4 != o.IPv6 {
		if network = "ip4"; o.IPv6 {
			network = "ip6"
		}
	}
	var addrs []netip.Addr
	if ip, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{ip}
	} else if addrs, err = resolver.LookupNetIP(ctx, network, host); err != nil {
		return nil, err
	}
	var families [2][]netip.Addr // IPv6, IPv4
	first := -1
	for _, a := range addrs {
		a = a.Unmap()
		f := 0
		if a.Is4() {
			f = 1
		}
		if network == "ip4" && f == 0 || network == "ip6" && f == 1 || slices.Contains(families[f], a) {
			continue
		}
		if first < 0 {
			first = f
		}
		families[f] = append(families[f], a)
	}
	if first < 0 {
		return nil, &net.AddrError{Err: "no address of the wanted family", Addr: host}
	}
	var out []netip.Addr
	for len(families[0])+len(families[1]) > 0 {
		for _, f := range [2]int{first, 1 - first} {
			if len(families[f]) > 0 {
				out = append(out, families[f][0])
				families[f] = families[f][1:]
			}
		}
	}
	return out, nil
}

// run starts attempts and waits for them until one wins, one ends it all, or none is left.
func (r *race) run() (*attempt, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		wake := time.Time{}
		for _, l := range r.lanes {
			if len(l.todo) > 0 && !l.next.After(now) {
				r.start(l, now)
			}
			if len(l.todo) > 0 && (wake.IsZero() || l.next.Before(wake)) {
				wake = l.next
			}
		}
		if r.running == 0 && wake.IsZero() {
			return nil, nil
		}
		var tick <-chan time.Time
		if !wake.IsZero() {
			timer.Reset(time.Until(wake))
			tick = timer.C
		}
		select {
		case <-tick:
		case <-r.ctx.Done():
			return nil, nil
		case a := <-r.results:
			r.running--
			a.lane.running--
			if a.err == nil {
				return &a, nil
			}
			if crypto.IsTrustError(a.err) || crypto.IsVersionError(a.err) {
				return nil, a.err
			}
			r.fail(a)
		}
	}
}

// start makes the next attempt of a lane.
func (r *race) start(l *lane, now time.Time) {
	to := l.todo[0]
	l.todo = l.todo[1:]
	l.next = now.Add(raceDelay)
	if l.began.IsZero() {
		l.began = now
	}
	l.running++
	r.running++
	go func() {
		c, err := r.dial(r.ctx, l.kind, to, func() {
			l.mu.Lock()
			l.connected = true
			l.mu.Unlock()
		})
		r.results <- attempt{l, c, err, now}
	}()
}

// fail notes a failed attempt: the lane goes on at once, and the next lane need not wait either.
func (r *race) fail(a attempt) {
	now := time.Now()
	a.lane.err = a.err
	r.failed = append(r.failed, a.err)
	a.lane.next = now
	for _, l := range r.lanes {
		if l.began.IsZero() {
			l.next = now
			break
		}
	}
}

// note says, when another transport than the preferred one won, what seems to be wrong with the preferred one; "" when
// it was just slower.
func (r *race) note(a *attempt, name string) string {
	first, won := r.lanes[0], a.lane
	if won == first {
		return ""
	}
	now := time.Now()
	late := now.Sub(first.began) > 4*now.Sub(a.began)+100*time.Millisecond // than it would be if it was only slower
	first.mu.Lock()
	connected := first.connected
	first.mu.Unlock()
	switch {
	case first.err != nil:
		return fmt.Sprintf("%s does not get through (%v), using %s", label(first.kind), first.err, label(won.kind))
	case !connected && first.kind == TCP:
		return fmt.Sprintf("%s to %s seems to be blocked, using %s", label(first.kind), name, label(won.kind))
	case first.kind == TCP && late:
		return fmt.Sprintf("%s to %s connects and then gets no answer, using %s", label(first.kind), name, label(won.kind))
	case first.kind == QUIC:
		return fmt.Sprintf("%s to %s got no answer within %v, using %s", label(first.kind), name, raceDelay, label(won.kind))
	}
	return ""
}

func label(k Kind) string {
	switch k {
	case TCP:
		return "TCP"
	case QUIC:
		return "QUIC (UDP)"
	}
	return string(k)
}

// abort closes a connection that nobody has used.
func abort(c Conn) {
	if a, ok := c.(interface{ abort() }); ok {
		a.abort()
		return
	}
	c.Close(0, "")
}
