package daemon

import (
	"xfer/certs"
	"xfer/transfer"
)

// clientRate is what holds the sessions of one client together: by the configuration, and by the client's own file.
type clientRate struct {
	conf, file *transfer.Bandwidth
	text       string // that file was set from
}

// setRates takes over the limits of a configuration. They hold for live sessions as well.
func (p *policy) setRates(all transfer.Limit, clients map[string]transfer.Limit) {
	p.all.Set(all)
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range clients {
		p.rateOf(name)
	}
	for name, r := range p.rate {
		r.conf.Set(clients[name])
	}
}

// rateOf is called with mu.
func (p *policy) rateOf(name string) *clientRate {
	r := p.rate[name]
	if r == nil {
		r = &clientRate{conf: transfer.NewBandwidth(nil), file: transfer.NewBandwidth(nil)}
		p.rate[name] = r
	}
	return r
}

// rates is all that a session of c keeps to.
func (p *policy) rates(c certs.Client) []*transfer.Bandwidth {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.rateOf(c.Name)
	if r.text != c.BWLimit {
		limit, err := parseBWLimit(c.BWLimit)
		if err != nil { // the file was refused when it was read
			p.log.Error("a bwlimit that is not understood holds nothing back", "client", c.Name, "err", err)
		}
		r.file.Set(limit)
		r.text = c.BWLimit
	}
	return []*transfer.Bandwidth{p.all, r.conf, r.file}
}

// CheckBWLimit tells whether text is a limit as a client's file may have; certs.Options.CheckBWLimit wants such a function.
func CheckBWLimit(text string) error {
	_, err := parseBWLimit(text)
	return err
}

func parseBWLimit(text string) (transfer.Limit, error) {
	if text == "" {
		return nil, nil
	}
	return transfer.ParseLimit(text)
}
