// Package daemon is xfer in the background: it listens on one port number for TCP and UDP, says who may do what, and
// hands each connection to the engine (package transfer).
//
// New checks a Config and opens its roots; Run serves until its context ends, then drains: sessions are told to go,
// what is in flight is parked on disk, and the client that comes back goes on from there.
//
// Who may do what is decided here and enforced below: an authenticated peer gets one sink.View for each root it was
// granted, and nothing else. What is not granted is denied. Access ends while sessions live: a client whose entry is
// removed or narrowed is cut within 10 s, one whose entry or certificate has expired within 60 s.
//
// It does not parse arguments or files of configuration (package cli), speak the protocol (transfer), keep keys
// (certs), or catch signals: the caller cancels Run for SIGTERM and calls Reload for SIGHUP.
package daemon
