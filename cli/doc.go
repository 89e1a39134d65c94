// Package cli is the user's side of xfer: arguments, configuration, progress, JSON lines, messages and exit codes.
//
// Main runs one command line. It parses everything first (a mistake there is exit 2 with an empty stdout), then reads the
// configuration, then runs the verb, and prints exactly one result: a line for people on stderr, or with --json the last line
// of stdout. The work itself is in package transfer; nothing here knows about frames or stages.
//
// What goes where: stdout has what was asked for (names, hashes, a file's bytes, JSON lines) and nothing else; stderr has
// progress, notes and at most one error line. When a file's bytes go to stdout ("xfer cat", "xfer get HOST:FILE -"), --json
// lines go to stderr. No name, host or text of a peer is printed without quoting, so that no control, C1 or bidirectional
// character and no invalid UTF-8 reaches a terminal or a log.
//
// # Exit codes
//
//	0   ok               everything is at the destination, verified and durable
//	1   error            other error
//	2   usage            usage or configuration
//	3   not-found        source missing or destination not selectable; nothing moved
//	4   refused          refused by the peer: rights, conflict, append-only, no-clobber
//	5   trust            unknown or changed key, certificate, failed enrolment
//	10  unreachable      host unreachable or refusing, after --retry-for (retry)
//	11  local-io         local file I/O
//	12  protocol         the peer is not an xfer, or one too old or new
//	20  interrupted      state kept: the same command goes on (retry)
//	23  partial          some files failed, the rest arrived
//	24  vanished         some source files vanished meanwhile, the rest arrived
//	25  max-delete       --max-delete stopped the deletions
//	26  verify           verification or comparison failed
//	27  source-changed   the source kept changing while it was read
//	28  no-space         no space or quota at the target (retry)
//	30  stalled          connected, but no progress within --timeout and --retry-for (retry)
//	40  stopped          by --max-duration or --stop-at (retry)
//	75  locked           another run holds the lock (retry)
package cli
