package daemon

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// maxTried is the number of addresses whose tries are remembered. Past it the oldest is forgotten: that lets nobody
// guess a code (five wrong tries kill it, and it has 84 secret bits), it only spares an attacker some waiting.
const maxTried = 4096

// tries counts the failed tries of each address within a sliding window. Safe for concurrent use.
type tries struct {
	max    int
	window time.Duration

	mu   sync.Mutex
	seen map[string][]time.Time // oldest first; at most max each
}

func newTries(max int, window time.Duration) *tries {
	return &tries{max: max, window: window, seen: make(map[string][]time.Time)}
}

// begin counts a try as failed before it is made, so that many at once are counted too. Where there were too many it
// says how long to wait. forgive takes the try back: it was a good one.
func (t *tries) begin(from string) (forgive func(), wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	list := t.recent(from, now)
	if len(list) >= t.max {
		t.seen[from] = list
		return nil, list[0].Add(t.window).Sub(now)
	}
	if len(list) == 0 {
		t.makeRoom(now)
	}
	t.seen[from] = append(list, now)
	return sync.OnceFunc(func() { t.take(from, now) }), 0
}

// recent returns from's tries within the window. The caller holds mu.
func (t *tries) recent(from string, now time.Time) []time.Time {
	list := t.seen[from]
	for len(list) > 0 && now.Sub(list[0]) >= t.window {
		list = list[1:]
	}
	return list
}

func (t *tries) take(from string, when time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.seen[from]
	for i, at := range list {
		if at.Equal(when) {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(t.seen, from)
		return
	}
	t.seen[from] = list
}

// makeRoom drops what is out of the window, and the address whose last try is the oldest where that does not help.
// The caller holds mu.
func (t *tries) makeRoom(now time.Time) {
	if len(t.seen) < maxTried {
		return
	}
	var oldest string
	var when time.Time
	for from := range t.seen {
		list := t.recent(from, now)
		if len(list) == 0 {
			delete(t.seen, from)
			continue
		}
		if last := list[len(list)-1]; when.IsZero() || last.Before(when) {
			oldest, when = from, last
		}
	}
	if len(t.seen) >= maxTried {
		delete(t.seen, oldest)
	}
}

// hostOf returns what counts as one address: an IPv4 address, or the /64 of an IPv6 one (a single subscriber has at
// least that many), of a "host:port". Anything else counts as itself.
func hostOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap()
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}
