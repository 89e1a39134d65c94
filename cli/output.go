package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"xfer/transfer"
)

// output is where one job's events, notes and result go. Its methods may be called concurrently.
type output struct {
	env  *Env
	job  *job
	conn outFlags

	mu       sync.Mutex // guards all below, and the order of what is printed
	finished bool
	began    time.Time
	started  bool // the start event is out
	last     transfer.Event
	lastJSON time.Time
	progress progress
	stopping bool // no progress any more
	notes    map[string]bool
	res      transfer.Result
	hasRes   bool
	receipt  string // path of the receipt that was written
	report   string // path for the result object
	summary  string // the line at the end of a good run
	extra    any    // fields of the result besides the usual ones: a struct or map
	broken   error  // what the first write to stdout that failed said
	cleanups []func()
	failures int
	differ   int64       // entries that check found to differ
	differs  []jsonError // the first of them, for the result
	held     heldLine
}

// heldLine is what there is to say of the first file that failed. Where that was the only one, the last line of the run says
// it all, so it waits until there is another file.
type heldLine struct {
	err  error
	text string
}

func (o *output) releaseLocked() {
	if o.held.text != "" {
		o.lineLocked(o.held.text)
		o.held = heldLine{}
	}
}

func newOutput(env *Env, j *job) *output {
	o := &output{env: env, job: j, began: time.Now(), notes: map[string]bool{}, progress: noProgress{}}
	if j.conn != nil {
		o.conn = j.conn.outFlags
	}
	return o
}

// json tells whether JSON lines are wanted.
func (o *output) json() bool { return o.conn.json }

func (o *output) jsonWriter() io.Writer {
	if o.job.dataOnStdout {
		return o.env.Stderr
	}
	return o.env.Stdout
}

// emit prints one JSON line.
func (o *output) emit(v any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.emitLocked(v)
}

func (o *output) emitLocked(v any) {
	if o.finished {
		return
	}
	if _, err := o.jsonWriter().Write(marshalLine(v)); err != nil && o.broken == nil {
		o.broken = err
	}
}

// say prints a line to stderr unless --quiet; text is made safe here.
func (o *output) say(format string, args ...any) {
	if o.conn.quiet {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lineLocked(fmt.Sprintf(format, args...))
}

// note is say, once per text.
func (o *output) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	o.mu.Lock()
	seen := o.notes[text]
	o.notes[text] = true
	o.mu.Unlock()
	if !seen {
		o.say("xfer: %s", text)
	}
}

func (o *output) lineLocked(text string) {
	if o.finished {
		return
	}
	o.progress.clear()
	io.WriteString(o.env.Stderr, clean(text)+"\n")
}

// print writes what was asked for to stdout.
func (o *output) print(text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finished {
		return errors.New("the run is over")
	}
	if err := o.writeLocked(text); err != nil {
		return &cliError{code: exitLocalIO, err: fmt.Errorf("write to stdout: %w", cause(err)), hint: noHint, local: true}
	}
	return nil
}

// writeLocked writes to stdout, where a bar may be standing if both are the same terminal.
func (o *output) writeLocked(text string) error {
	o.progress.clear()
	_, err := io.WriteString(o.env.Stdout, text)
	if err != nil && o.broken == nil {
		o.broken = err
	}
	return err
}

// onCleanUp registers f to run when the job is left behind at the second signal, the last one first.
func (o *output) onCleanUp(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cleanups = append(o.cleanups, f)
}

func (o *output) cleanUp() {
	o.mu.Lock()
	list := o.cleanups
	o.cleanups = nil
	o.mu.Unlock()
	for i := len(list) - 1; i >= 0; i-- {
		list[i]()
	}
}

// observe takes the engine's events.
func (o *output) observe(e transfer.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finished {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	switch e.Kind {
	case transfer.EventStart:
		o.startLocked(e)
		if o.conn.verbose {
			o.lineLocked(fmt.Sprintf("xfer: connected to %s by %s", quote(o.job.host), e.Transport))
		}
	case transfer.EventProgress:
		o.progressLocked(e)
	case transfer.EventFile:
		o.fileLocked(e)
	case transfer.EventRetry:
		o.retryLocked(e)
	case transfer.EventPlan:
		o.planLocked(e)
	case transfer.EventNote:
		if key := e.Reason; !o.notes[key] && !o.conn.quiet {
			o.notes[key] = true
			o.lineLocked("xfer: " + e.Reason)
		}
	}
}

type jsonStart struct {
	Event     string `json:"event"`
	Time      string `json:"time"`
	Verb      string `json:"verb"`
	Host      string `json:"host,omitempty"`
	Transport string `json:"transport,omitempty"`
	Peer      string `json:"peer,omitempty"`
}

// startLocked prints the start event, once.
func (o *output) startLocked(e transfer.Event) {
	if o.started {
		return
	}
	o.started = true
	if o.conn.json && !o.job.local {
		o.emitLocked(jsonStart{"start", stamp(o.began), o.job.verb, o.job.host, e.Transport, e.Peer})
	}
}

// start prints the start event of a run that tells something before it is connected.
func (o *output) start() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.startLocked(transfer.Event{})
}

type jsonProgress struct {
	Event      string  `json:"event"`
	Time       string  `json:"time"`
	Bytes      int64   `json:"bytes"`
	BytesTotal int64   `json:"bytes_total"`
	Files      int64   `json:"files"`
	FilesTotal int64   `json:"files_total"`
	BytesSent  int64   `json:"bytes_sent"`
	Resumed    int64   `json:"bytes_resumed"`
	Rate       float64 `json:"rate"`
}

// jsonEvery is the least time between two progress events in JSON.
const jsonEvery = 500 * time.Millisecond

func (o *output) progressLocked(e transfer.Event) {
	o.last = e
	if e.FilesTotal > 1 {
		o.releaseLocked()
	}
	if o.conn.json && e.Time.Sub(o.lastJSON) >= jsonEvery {
		o.startLocked(e)
		o.lastJSON = e.Time
		o.emitLocked(progressJSON(e))
	}
	o.progress.update(e)
}

func progressJSON(e transfer.Event) jsonProgress {
	return jsonProgress{"progress", stamp(e.Time), e.Bytes, e.BytesTotal, e.Files, e.FilesTotal, e.Sent, e.Resumed, e.Rate}
}

type jsonFile struct {
	Event string `json:"event"`
	Time  string `json:"time"`
	jsonPath
	Action  string `json:"action"`
	Bytes   int64  `json:"bytes"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Code    int    `json:"code,omitempty"`
	Hash    string `json:"hash,omitempty"`
}

func (o *output) fileLocked(e transfer.Event) {
	if o.conn.json {
		o.startLocked(e)
		f := jsonFile{Event: "file", Time: stamp(e.Time), jsonPath: pathJSON(e.Path), Action: e.Action, Bytes: e.Size, Reason: clean(e.Reason)}
		if e.Err != nil {
			f.Message, f.Code = clean(e.Err.Error()), exitCodeOf(e.Err)
		}
		o.emitLocked(f)
	}
	switch {
	case e.Err != nil:
		o.failures++
		line := fmt.Sprintf("xfer: %s: %s", quote(e.Path), failureText(e))
		if o.failures == 1 && o.last.FilesTotal <= 1 {
			o.held = heldLine{e.Err, line}
			return
		}
		o.releaseLocked()
		if o.failures <= maxFailureLines {
			o.lineLocked(line)
		} else if o.failures == maxFailureLines+1 {
			o.lineLocked("xfer: more files failed; --json or --report has them")
		}
	case e.Action == "differs" || e.Action == "missing" || e.Action == "extra":
		if o.differ++; o.differ <= maxDiffering {
			o.differs = append(o.differs, jsonError{pathJSON(e.Path), exitVerify, exitInfoOf(exitVerify).class, e.Action})
		}
		if !o.conn.json {
			o.writeLocked(e.Action + " " + quote(e.Path) + "\n")
		}
	case e.Action == "skipped" && e.Reason != "" && !o.conn.quiet:
		o.lineLocked(fmt.Sprintf("xfer: %s: skipped: %s", quote(e.Path), e.Reason))
	case o.conn.verbose && !o.conn.quiet:
		o.lineLocked(fmt.Sprintf("%s %s %s", e.Action, byteText(e.Size), quote(e.Path)))
	}
}

// maxDiffering is how many entries that differ are in a result.
const maxDiffering = 1000

// maxFailureLines is how many failed files are named on stderr.
const maxFailureLines = 100

func failureText(e transfer.Event) string {
	var te *transfer.Error
	if errors.As(e.Err, &te) && te.Err != nil {
		if te.Op == "" || te.Op == "peer" {
			return causeText(te.Err)
		}
		return te.Op + ": " + causeText(te.Err)
	}
	return e.Err.Error()
}

type jsonRetry struct {
	Event   string  `json:"event"`
	Time    string  `json:"time"`
	Attempt int     `json:"attempt"`
	WaitS   float64 `json:"wait_s"`
	Message string  `json:"message"`
}

func (o *output) retryLocked(e transfer.Event) {
	why := "the connection was lost"
	if e.Err != nil {
		why = causeText(e.Err)
	}
	if o.conn.json {
		o.startLocked(e)
		o.emitLocked(jsonRetry{"retry", stamp(e.Time), e.Attempt, e.Wait.Seconds(), clean(why)})
	}
	// The first retry is worth a line at once, a long row of them only now and then.
	if !o.conn.quiet && (e.Attempt <= 1 || o.conn.verbose || e.Attempt%10 == 0) {
		o.lineLocked(fmt.Sprintf("xfer: %s; trying %s again in %s", why, quote(o.job.host), e.Wait.Round(100*time.Millisecond)))
	}
}

type jsonPlan struct {
	Event  string `json:"event"`
	Time   string `json:"time"`
	Action string `json:"action"`
	jsonPath
	Bytes int64 `json:"bytes"`
}

func (o *output) planLocked(e transfer.Event) {
	if o.conn.json {
		o.startLocked(e)
		o.emitLocked(jsonPlan{"plan", stamp(e.Time), e.Action, pathJSON(e.Path), e.Size})
		return
	}
	o.writeLocked(fmt.Sprintf("%-6s %12d %s\n", e.Action, e.Size, quote(e.Path)))
}

// setResult keeps what a run gave, for the result line.
func (o *output) setResult(res transfer.Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.res, o.hasRes = res, true
}

// result adds fields to the result object, for verbs whose whole answer is one object.
func (o *output) result(fields any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.extra = fields
	return nil
}

// resultLine is the result object with the extra fields of a run that went well.
func (o *output) resultLine(r jsonResult) []byte {
	line := marshalLine(r)
	if o.extra == nil || r.Exit != exitOK {
		return line
	}
	all := map[string]any{}
	for _, data := range [][]byte{marshalLine(o.extra), line} { // ours win
		must(json.Unmarshal(data, &all))
	}
	return marshalLine(all)
}

// setSummary says what to print at the end of a good run.
func (o *output) setSummary(s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.summary = s
}

// setReport says where to keep the result object.
func (o *output) setReport(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.report = name
}

// resultLocked is the result object of a run that ended with err.
func (o *output) resultLocked(err error) jsonResult {
	r := resultJSON(o.job.verb, o.job.host, o.res, o.receipt, err)
	if o.differ == 0 {
		return r
	}
	if r.Exit == exitVerify && len(o.res.Errors) == 0 { // that they differ is all that was wrong
		r.Errors, r.ErrorCount = nil, 0
	}
	r.Errors = append(r.Errors, o.differs...)
	r.Errors = r.Errors[:min(len(r.Errors), maxDiffering)]
	r.ErrorCount += o.differ
	return r
}

// brokenOutput is the end of a run of which nobody could be told.
func brokenOutput(err error) error {
	return &cliError{code: exitLocalIO, err: fmt.Errorf("write to stdout: %w", cause(err)), hint: "see to stdout; the run itself went well", local: true}
}

// finish prints the result once and returns the exit code. Nothing is printed after it, whoever is still running.
func (o *output) finish(err error) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.hasRes { // cut short: what the events told
		o.res.Bytes, o.res.Files = o.last.Bytes, o.last.Files
		o.res.BytesSent, o.res.BytesResumed = o.last.Sent, o.last.Resumed
	}
	if o.res.Duration == 0 {
		o.res.Duration = time.Since(o.began)
	}
	o.progress.clear()
	if err != o.held.err { // not errors.Is: what only wraps it says it in other words
		o.releaseLocked()
	}
	host := o.job.host
	if err == nil && o.broken != nil {
		err = brokenOutput(o.broken)
	}
	r := o.resultLocked(err)
	if o.report != "" {
		if werr := keepFile(o.report, marshalLine(r)); werr != nil && err == nil {
			err = fmt.Errorf("--report: %w", werr)
			r = o.resultLocked(err)
		}
	}
	if err != nil {
		io.WriteString(o.env.Stderr, message(o.job.verb, host, err)+"\n")
		var ce *cliError
		if errors.As(err, &ce) && ce.detail != "" {
			io.WriteString(o.env.Stderr, ce.detail+"\n")
		}
	} else if o.summary != "" && !o.conn.quiet {
		io.WriteString(o.env.Stderr, clean(o.summary)+"\n")
	}
	if o.conn.json {
		o.startLocked(transfer.Event{Transport: o.res.Transport, Peer: o.res.Peer})
		if o.last.Kind == transfer.EventProgress && !o.last.Time.Equal(o.lastJSON) {
			o.emitLocked(progressJSON(o.last))
		}
		if _, werr := o.jsonWriter().Write(o.resultLine(r)); werr != nil && r.Exit == exitOK {
			r.Exit = exitLocalIO
			io.WriteString(o.env.Stderr, message(o.job.verb, host, brokenOutput(werr))+"\n")
		}
	}
	o.finished = true
	return r.Exit
}
