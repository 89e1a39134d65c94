package transfer

import "time"

// EventKind tells what an Event is about.
type EventKind string

// The events, in the words of the JSON lines (CLI.md).
const (
	EventStart    EventKind = "start"    // connected: Transport and Peer are set
	EventProgress EventKind = "progress" // totals so far, at most ten a second
	EventFile     EventKind = "file"     // one file is done, skipped or failed
	EventRetry    EventKind = "retry"    // the connection is lost; trying again after Wait
	EventPlan     EventKind = "plan"     // dry run: what would be done
	EventNote     EventKind = "note"     // something worth a line that is no error (fell back to TCP ...)
)

// Event is something that happened. Observe functions are called from many goroutines, one at a time, and
// must not block for long.
type Event struct {
	Kind EventKind
	Time time.Time

	Path   string // the file as the user named it: raw bytes, quote before printing
	Action string // plan: new, update, meta, delete, skip. file: sent, received, skipped, made (directory, link), deleted, failed
	Reason string // why skipped, what the note is
	Err    error  // file: failed; retry: why
	Size   int64  // file, plan

	Bytes      int64 // progress: of the sources, done so far: sent, resumed and skipped
	BytesTotal int64 // 0 while the walk goes on
	BytesFound int64 // what the walk has found so far
	Files      int64
	FilesTotal int64
	FilesFound int64
	Sent       int64 // payload that crossed the wire in this run
	Resumed    int64
	Rate       float64        // payload bytes a second, smoothed
	Large      []FileProgress // progress: large files under way, those first that began first; at most 4

	Wait      time.Duration // retry
	Attempt   int           // retry: since the last progress
	Transport string
	Peer      string // PeerID
}

// FileProgress is how far one file is.
type FileProgress struct {
	Path  string // as the user named it: raw bytes, quote before printing
	Bytes int64  // done so far, with what was there already
	Size  int64
}

// Skipped is an entry that was left alone, with the reason.
type Skipped struct {
	Path   string
	Reason string
}

// Result is what a run did. It is valid also where the run ended with an error.
type Result struct {
	Files, Bytes int64 // of the sources: arrived or found equal
	BytesSent    int64 // payload that crossed the wire
	BytesResumed int64 // was there from an earlier run
	BytesSkipped int64 // of unchanged files
	FilesSkipped int64
	Deleted      int64 // entries that a Sync removed at the target
	Retries      int64
	Transport    string
	Errors       []*Error // per file, at most 1000; ErrorCount has all
	ErrorCount   int64
	Skipped      []Skipped // special files, at most 1000
	Receipts     []Receipt // only with Options.Receipts, as the next
	Trees        []TreeReceipt
	Tree         bool // a directory was among the sources
	// Unkept says what of the metadata of any entry is not there as it was told: words of sink.Unkept (mode, time, owner, special-modes, xattrs, acls).
	Unkept   []string
	Duration time.Duration
	Peer     string
}
