package control

import (
	"errors"
	"time"
)

// ErrRunning is returned by Listen when another process serves the socket.
var ErrRunning = errors.New("another daemon is running here")

// ErrNotRunning is returned by Dial when nobody serves the socket.
var ErrNotRunning = errors.New("no daemon is running here")

// Status is what a daemon says of itself. Names that came from a peer or a disk are raw: quote before printing.
type Status struct {
	Version         string     `json:"version"`
	Identity        string     `json:"identity"` // PeerID, 52 letters
	PID             int        `json:"pid"`
	Started         time.Time  `json:"started"`
	UptimeS         int64      `json:"uptime_s"`
	Listeners       []Listener `json:"listeners"`
	Transports      []string   `json:"transports"`
	Sessions        []Session  `json:"sessions"`
	Connections     int        `json:"connections"`      // live ones, of sessions or not yet
	Waiting         int        `json:"waiting"`          // sessions that wait for a place of their client
	Rates           Rates      `json:"rates"`            // of all sessions
	Roots           []Root     `json:"roots"`            // in the order of the configuration, the default first
	Clients         int        `json:"clients"`          // enrolled and not expired
	CertificateEnd  time.Time  `json:"certificate_end"`  // of the certificate in use; renewed by itself
	CertificateDays int        `json:"certificate_days"` // whole days left, negative when expired
	Totals          Totals     `json:"totals"`           // since the start
	Panics          int64      `json:"panics"`           // caught; anything but 0 is a bug
	Draining        bool       `json:"draining"`         // the daemon is about to stop
}

// Listener is one address that is served.
type Listener struct {
	Transport string `json:"transport"` // tcp or quic
	Address   string `json:"address"`   // host:port
}

// Session is one live session.
type Session struct {
	ID        string    `json:"id"`
	Client    string    `json:"client"` // its name here
	Peer      string    `json:"peer"`   // PeerID
	Remote    string    `json:"remote"` // address
	Transport string    `json:"transport"`
	Since     time.Time `json:"since"`
	Streams   int       `json:"streams"`
	Transfers int       `json:"transfers"`
	BytesIn   int64     `json:"bytes_in"`
	BytesOut  int64     `json:"bytes_out"`
}

// Rates are bytes a second, averaged over the last few seconds.
type Rates struct {
	In  float64 `json:"in"`
	Out float64 `json:"out"`
}

// Root is one directory that is served.
type Root struct {
	Name  string `json:"name"`
	Path  string `json:"path"`
	Free  int64  `json:"free"`            // bytes; 0 with Error
	Total int64  `json:"total"`           // bytes; 0 with Error
	Error string `json:"error,omitempty"` // why free and total are not known
}

// Totals count what happened since the daemon started.
type Totals struct {
	Sessions  int64 `json:"sessions"`
	Published int64 `json:"published"` // files
	Enrolled  int64 `json:"enrolled"`
	Refused   int64 `json:"refused"` // sessions and enrolments that were turned away
	BytesIn   int64 `json:"bytes_in"`
	BytesOut  int64 `json:"bytes_out"`
}

// problem is the body of every answer that is not a good one.
type problem struct {
	Error string `json:"error"`
}

// Limits of both sides.
const (
	maxAnswer  = 8 << 20  // bytes of an answer that a client reads
	maxRequest = 64 << 10 // bytes of a request's body
	maxHeader  = 16 << 10
	maxClients = 64 // connections served at once
	maxProblem = 2048
)
