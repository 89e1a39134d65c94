package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xfer/certs"
	"xfer/crypto"
	"xfer/daemon/control"
	"xfer/transfer"
	"xfer/transfer/transport"
)

// finding is one check of the doctor.
type finding struct {
	Event  string `json:"event"`
	Time   string `json:"time"`
	Check  string `json:"check"`
	State  string `json:"state"` // ok, note, bad
	Text   string `json:"text"`
	Fix    string `json:"fix,omitempty"`
	code   int
	ending bool // what comes after it cannot be checked
}

const (
	stateOK   = "ok"
	stateNote = "note"
	stateBad  = "bad"
)

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [HOST]",
		Short: "what is wrong, and the one thing to fix first",
		Long: `doctor checks, in this order: configuration, keys and their permissions, clock, daemon, buffers; and for HOST: its name in DNS,
TCP, UDP, its key, our rights and the space there. It ends with the one thing to fix first, and the exit code of that.`,
		Args: operands(0, 1, "at most one HOST"),
	}
	f := dialFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var addr *address
		host := ""
		if len(args) == 1 {
			parsed, err := parseAddress(args[0])
			if err != nil {
				return err
			}
			addr, host = &parsed, parsed.host
		}
		return a.prepare(cmd, f, host, func(ctx context.Context, o *output) error {
			d := &doctor{app: a, o: o, f: f}
			return d.run(ctx, addr)
		})
	}
	return cmd
}

type doctor struct {
	app   *app
	o     *output
	f     *connFlags
	first *finding // the first bad one
}

func (d *doctor) report(list ...finding) (goOn bool) {
	for _, x := range list {
		x.Event, x.Time, x.Text, x.Fix = "check", stamp(time.Now()), clean(x.Text), clean(x.Fix)
		if d.o.json() {
			d.o.emit(x)
		} else {
			line := fmt.Sprintf("%-5s %-12s %s\n", x.State, x.Check, x.Text)
			if x.Fix != "" {
				line += fmt.Sprintf("%-5s %-12s %s\n", "", "", x.Fix)
			}
			d.o.print(line)
		}
		if x.State == stateBad && d.first == nil {
			d.first = &x
		}
		if x.ending {
			return false
		}
	}
	return true
}

func (d *doctor) run(ctx context.Context, addr *address) error {
	t, p, ok := d.local(ctx, addr)
	if ok && addr != nil {
		d.remote(ctx, p, t)
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if d.first == nil {
		if !d.o.json() {
			d.o.print("all is well\n")
		}
		return nil
	}
	fix := d.first.Fix
	if fix == "" {
		fix = noHint
	}
	return failf(d.first.code, fix, "fix this first: %s: %s", d.first.Check, d.first.Text)
}

// local checks this machine.
func (d *doctor) local(ctx context.Context, addr *address) (t target, p places, ok bool) {
	a := d.app
	p, err := findPlaces(&a.env)
	if err != nil {
		d.report(finding{Check: "config", State: stateBad, Text: causeText(err), code: exitUsage, ending: true})
		return t, p, false
	}
	configs, err := d.f.configs(p)
	if err == nil {
		t, err = d.f.settle(configs, addr)
	}
	if err != nil {
		var ce *cliError
		text := causeText(err)
		if errors.As(err, &ce) && ce.detail != "" {
			text += " (" + strings.Join(strings.Fields(strings.SplitN(ce.detail, "\n", 2)[0]), " ") + ")"
		}
		d.report(finding{Check: "config", State: stateBad, Text: text, Fix: "mend that line", code: exitUsage, ending: true})
		return t, p, false
	}
	var names []string
	for _, c := range configs {
		names = append(names, quote(c.file))
	}
	text := strings.Join(names, ", ")
	if text == "" {
		text = "none, defaults are in force"
	}
	d.report(finding{Check: "config", State: stateOK, Text: text})
	for _, dir := range p.openToOthers() {
		d.report(finding{Check: "directory", State: stateNote, Text: "others can write to " + quote(dir), Fix: "chmod o-w " + quote(dir)})
	}
	if !d.keys(p) {
		return t, p, false
	}
	d.clock()
	d.localDaemon(ctx, p)
	if note := transport.UDPBufferNote(); note != "" {
		d.report(finding{Check: "udp buffers", State: stateNote, Text: note})
	} else {
		d.report(finding{Check: "udp buffers", State: stateOK, Text: "large enough for QUIC"})
	}
	return t, p, true
}

func (d *doctor) keys(p places) bool {
	s, err := openStore(p)
	if err != nil {
		return d.report(keyFinding(err))
	}
	defer s.Close()
	id, err := d.app.identityOf(d.f, s)
	if err != nil {
		return d.report(keyFinding(err))
	}
	d.report(finding{Check: "keys", State: stateOK, Text: quote(s.Dir()) + ", we are " + id.ID().Grouped()})
	return true
}

func keyFinding(err error) finding {
	text, fix := causeText(err), ""
	var perm *certs.PermError
	if errors.As(err, &perm) {
		if before, run, ok := strings.Cut(perm.Error(), ". Run: "); ok {
			text, fix = before, run
		}
	}
	return finding{Check: "keys", State: stateBad, Text: text, Fix: fix, code: exitCodeOf(err), ending: true}
}

// earliest is a time that no right clock can be before: that of this program's making.
func earliest() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func (d *doctor) clock() {
	now := time.Now()
	if now.Before(earliest()) {
		d.report(finding{Check: "clock", State: stateBad, Text: "the clock says " + now.Format(time.RFC3339), Fix: "set the clock: certificates are checked against it", code: exitTrust})
		return
	}
	d.report(finding{Check: "clock", State: stateOK, Text: now.Format(time.RFC3339)})
}

func (d *doctor) localDaemon(ctx context.Context, p places) {
	c, err := control.Dial(p.socket)
	if err != nil {
		state := finding{Check: "daemon", State: stateNote, Text: "none is running here"}
		if !errors.Is(err, control.ErrNotRunning) {
			state.Text = causeText(err)
		}
		d.report(state)
		return
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	st, err := c.Status(ctx)
	if err != nil {
		d.report(finding{Check: "daemon", State: stateBad, Text: controlText(err), Fix: "look at its log, then restart it", code: exitError})
		return
	}
	var at []string
	for _, l := range st.Listeners {
		at = append(at, l.Transport+" "+l.Address)
	}
	d.report(finding{Check: "daemon", State: stateOK, Text: fmt.Sprintf("running, pid %d, %s", st.PID, strings.Join(at, ", "))})
	for _, r := range st.Roots {
		if r.Error != "" {
			d.report(finding{Check: "root", State: stateBad, Text: quote(r.Name) + ": " + r.Error, code: exitLocalIO})
		} else if r.Total > 0 && r.Free < r.Total/100 {
			d.report(finding{Check: "root", State: stateBad, Text: quote(r.Name) + ": " + byteText(r.Free) + " free", Fix: "make room in " + quote(r.Path), code: exitNoSpace})
		}
	}
}

// remote checks the way to a host.
func (d *doctor) remote(ctx context.Context, p places, t target) {
	if !d.names(ctx, t) {
		return
	}
	s, err := openStore(p)
	if err != nil {
		d.report(keyFinding(err))
		return
	}
	defer s.Close()
	id, err := d.app.identityOf(d.f, s)
	if err != nil {
		d.report(keyFinding(err))
		return
	}
	peer, known, err := s.KnownPeer(t.hostPort())
	if err != nil {
		d.report(keyFinding(storeError(err)))
		return
	}
	reached, trusted := false, true
	for _, k := range []transport.Kind{transport.TCP, transport.QUIC} {
		if want := d.f.transport.s; want != "auto" && want != string(k) {
			continue
		}
		r, ok := d.dial(ctx, t, k, id, peer, known)
		reached = reached || r
		trusted = trusted && ok
	}
	switch {
	case ctx.Err() != nil:
	case !reached:
		d.report(finding{Check: "connection", State: stateBad, Text: "neither TCP nor UDP gets through to " + t.hostPort(), code: exitUnreachable,
			Fix: "is \"xfer daemon\" running there, and does a firewall let port " + strconv.Itoa(t.port) + " through, TCP and UDP?"})
	case !known:
		d.report(finding{Check: "trust", State: stateBad, Text: "not enrolled with " + quote(t.name), code: exitTrust,
			Fix: "run \"xfer invite --name NAME\" there and \"xfer enroll " + quote(t.name) + portFlag(t) + "\" here"})
	case trusted:
		d.session(ctx, p, t)
	}
}

func (d *doctor) names(ctx context.Context, t target) bool {
	if ip, err := netip.ParseAddr(t.host); err == nil {
		return d.report(finding{Check: "dns", State: stateOK, Text: ip.String() + " is an address"})
	}
	ctx, cancel := context.WithTimeout(ctx, d.f.contimeout.d)
	defer cancel()
	found := map[string][]string{}
	var last error
	for _, family := range []string{"ip4", "ip6"} {
		ips, err := net.DefaultResolver.LookupNetIP(ctx, family, t.host)
		if err != nil {
			last = err
		}
		for _, ip := range ips {
			found[family] = append(found[family], ip.Unmap().String())
		}
	}
	if len(found) == 0 {
		return d.report(finding{Check: "dns", State: stateBad, Text: fmt.Sprintf("%s has no address: %v", quote(t.host), last), code: exitUnreachable, ending: true,
			Fix: "check the name, or give its address in [host." + quote(t.name) + "] addr of the configuration"})
	}
	text := func(family string) string {
		if len(found[family]) == 0 {
			return "none"
		}
		return strings.Join(found[family], " ")
	}
	return d.report(finding{Check: "dns", State: stateOK, Text: "IPv4 " + text("ip4") + ", IPv6 " + text("ip6")})
}

// dial tries one transport. reached: an xfer answered. trusted: nothing was wrong with its key.
func (d *doctor) dial(ctx context.Context, t target, k transport.Kind, id *crypto.Identity, peer certs.Peer, known bool) (reached, trusted bool) {
	name := "tcp"
	if k == transport.QUIC {
		name = "udp (quic)"
	}
	var seen crypto.PeerID
	cfg := crypto.ClientTLSAny(id, func(id crypto.PeerID) { seen = id })
	if known {
		cfg = crypto.ClientTLS(id, peer.ID)
	}
	began := time.Now()
	c, err := transport.Race(ctx, t.host, t.port, cfg, transport.RaceOptions{Kinds: []transport.Kind{k}, IPv4: d.f.ipv4, IPv6: d.f.ipv6, Timeout: d.f.contimeout.d})
	if err == nil {
		remote := c.RemoteAddr().String()
		c.Close(0, "")
		text := fmt.Sprintf("%s answers in %s", remote, time.Since(began).Round(time.Millisecond))
		if !known {
			text += ", its key is " + seen.Grouped()
		}
		d.report(finding{Check: name, State: stateOK, Text: text})
		return true, true
	}
	switch dialKind(ctx, err) {
	case transfer.KindTrust:
		d.report(finding{Check: name, State: stateBad, Text: causeText(err), code: exitTrust,
			Fix: "if the key was changed on purpose: xfer trust rm " + quote(t.name) + ", then enroll again"})
		return true, false
	case transfer.KindProtocol:
		d.report(finding{Check: name, State: stateBad, Text: causeText(err), code: exitProtocol, Fix: "is there an xfer behind this port, and of which version?"})
		return true, false
	}
	d.report(finding{Check: name, State: stateNote, Text: "blocked or not served: " + causeText(err)})
	return false, true
}

// session checks what the server says to us: rights and space.
func (d *doctor) session(ctx context.Context, p places, t target) {
	d.f.retryFor.d = 0
	c, err := d.app.newClient(d.o, d.f, p, t)
	if err != nil {
		d.report(finding{Check: "session", State: stateBad, Text: causeText(err), code: exitCodeOf(err)})
		return
	}
	r, err := c.Remote(ctx)
	if err != nil {
		fix := ""
		if transfer.KindOf(err) == transfer.KindTrust {
			fix = "our key is not known there any more: run \"xfer invite\" there and \"xfer enroll " + quote(t.name) + portFlag(t) + "\" here"
		}
		d.report(finding{Check: "session", State: stateBad, Text: causeText(err), Fix: fix, code: exitCodeOf(err)})
		return
	}
	defer r.Close()
	text := "we are " + quote(r.Name()) + " there, over " + r.Transport()
	if rtt, err := r.Ping(ctx); err == nil {
		text += fmt.Sprintf(", %s away", rtt.Round(10*time.Microsecond))
	}
	d.report(finding{Check: "session", State: stateOK, Text: text})
	if len(r.Roots()) == 0 {
		d.report(finding{Check: "rights", State: stateBad, Text: "none, in no root", Fix: "ask for an invitation to a root", code: exitRefused})
	}
	for _, root := range r.Roots() {
		d.report(finding{Check: "rights", State: stateOK, Text: quote(root.Name) + ": " + strings.Join(root.Rights, ",")})
		free, total, err := r.Space(ctx, root.Name)
		switch {
		case err != nil:
			d.report(finding{Check: "space", State: stateNote, Text: quote(root.Name) + ": not told"})
		case total > 0 && free < total/100:
			d.report(finding{Check: "space", State: stateBad, Text: quote(root.Name) + ": " + byteText(free) + " free", Fix: "make room there", code: exitNoSpace})
		default:
			d.report(finding{Check: "space", State: stateOK, Text: quote(root.Name) + ": " + byteText(free) + " free of " + byteText(total)})
		}
	}
}
