package cli

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"xfer/transfer"
	"xfer/transfer/durable"
)

// jsonPath is a name in JSON: path, or path_base64 where it is not valid UTF-8.
type jsonPath struct {
	Path       *string `json:"path,omitempty"`
	PathBase64 *string `json:"path_base64,omitempty"`
}

func pathJSON(name string) jsonPath {
	if utf8.ValidString(name) {
		return jsonPath{Path: &name}
	}
	b := base64.StdEncoding.EncodeToString([]byte(name))
	return jsonPath{PathBase64: &b}
}

type jsonError struct {
	jsonPath
	Code    int    `json:"code"`
	Class   string `json:"class"`
	Message string `json:"message"`
}

type jsonSkipped struct {
	jsonPath
	Reason string `json:"reason"`
}

// jsonResult is the last line of stdout with --json, and what --report keeps.
type jsonResult struct {
	Event        string        `json:"event"`
	Time         string        `json:"time"`
	Verb         string        `json:"verb"`
	Exit         int           `json:"exit"`
	Class        string        `json:"class"`
	Retryable    bool          `json:"retryable"`
	Message      string        `json:"message,omitempty"`
	Files        int64         `json:"files"`
	Bytes        int64         `json:"bytes"`
	BytesSent    int64         `json:"bytes_sent"`
	BytesResumed int64         `json:"bytes_resumed"`
	BytesSkipped int64         `json:"bytes_skipped"`
	FilesSkipped int64         `json:"files_skipped"`
	Deleted      *int64        `json:"deleted,omitempty"` // of sync
	Retries      int64         `json:"retries"`
	Transport    string        `json:"transport"`
	Peer         string        `json:"peer,omitempty"`
	DurationS    float64       `json:"duration_s"`
	ErrorCount   int64         `json:"error_count"`
	Errors       []jsonError   `json:"errors"`
	Skipped      []jsonSkipped `json:"skipped"`
	Unkept       []string      `json:"unkept,omitempty"` // of an archive
	Receipt      *string       `json:"receipt"`
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func resultJSON(verb, host string, res transfer.Result, receipt string, err error) jsonResult {
	code := exitCodeOf(err)
	info := exitInfoOf(code)
	r := jsonResult{
		Event: "result", Time: stamp(time.Now()), Verb: verb, Exit: code, Class: info.class, Retryable: info.retryable,
		Files: res.Files, Bytes: res.Bytes, BytesSent: res.BytesSent, BytesResumed: res.BytesResumed,
		BytesSkipped: res.BytesSkipped, FilesSkipped: res.FilesSkipped, Retries: res.Retries, Transport: res.Transport,
		Peer: res.Peer, DurationS: res.Duration.Seconds(), ErrorCount: res.ErrorCount,
		Errors: []jsonError{}, Skipped: []jsonSkipped{}, Unkept: res.Unkept,
	}
	if verb == "sync" {
		r.Deleted = &res.Deleted
	}
	for _, e := range res.Errors {
		r.Errors = append(r.Errors, errorJSON(e))
	}
	for _, s := range res.Skipped {
		r.Skipped = append(r.Skipped, jsonSkipped{pathJSON(s.Path), clean(s.Reason)})
	}
	if err != nil {
		r.Message = message(verb, host, err)
		if len(r.Errors) == 0 {
			r.Errors = append(r.Errors, runErrorJSON(err, r.Message))
			r.ErrorCount = max(r.ErrorCount, 1)
		}
	}
	if receipt != "" {
		r.Receipt = &receipt
	}
	return r
}

func errorJSON(e *transfer.Error) jsonError {
	code := codeOfKind(e.Kind)
	return jsonError{pathJSON(e.Path), code, exitInfoOf(code).class, clean(e.Error())}
}

// runErrorJSON is an error that is of the whole run, not of one file.
func runErrorJSON(err error, text string) jsonError {
	var te *transfer.Error
	if errors.As(err, &te) {
		return errorJSON(te)
	}
	code := exitCodeOf(err)
	return jsonError{pathJSON(""), code, exitInfoOf(code).class, text}
}

// keepFile puts data under name at once or not at all, durable. What is no regular file (a FIFO, /dev/stdout) is written to.
func keepFile(name string, data []byte) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return localIO(err)
		}
		_, err = f.Write(data)
		return localIO(errors.Join(err, f.Close()))
	}
	dir, err := durable.OpenOS(filepath.Dir(name))
	if err != nil {
		return localIO(err)
	}
	defer dir.Close()
	if err := durable.WriteFile(dir, filepath.Base(name), data, 0o644); err != nil {
		return localIO(fmt.Errorf("write %s: %w", quote(name), err))
	}
	return nil
}

// marshalLine returns v as one line of JSON. What could harm a terminal (C1 and bidirectional controls, which JSON
// allows in strings) is escaped: it stands nowhere but in strings.
func marshalLine(v any) []byte {
	data, err := json.Marshal(v)
	must(err)
	if strings.IndexFunc(string(data), unprintable) >= 0 {
		data = escapeJSON(data)
	}
	return append(data, '\n')
}

func escapeJSON(data []byte) []byte {
	safe := make([]byte, 0, len(data)+64)
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case !unprintable(r):
			safe = append(safe, data[:n]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, high, low)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
		data = data[n:]
	}
	return safe
}
