// Package control is the local door of a running daemon: HTTP/1.1 with JSON bodies over a unix socket.
//
//	GET  /v1/status   what the daemon is doing now: a Status
//	POST /v1/reload   read configuration, roots and clients again; an empty object, or the reason why not
//
// Every answer but a good one is {"error": "..."} with a status of 4xx or 5xx. New fields may be added to an answer
// at any time, fields are never renamed or removed within /v1.
//
// The socket is the authority: who may connect may ask. It is made with mode 0600, and on Linux the peer's
// credentials are checked as well: the daemon's own user and root are served, nobody else. Neither the client nor the
// server has a limit on the length of the socket's path, although the system's socket address has one of 108 bytes.
//
// A daemon begins with Listen (which also tells that another one is running), then Serve. A client begins with Dial.
package control
