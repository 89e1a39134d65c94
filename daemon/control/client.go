package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// Client asks a running daemon. Safe for concurrent use. Close it when done.
type Client struct {
	http   *http.Client
	socket string
}

// Dial connects to the daemon behind socket, a path of any length, and returns ErrNotRunning (by errors.Is) where
// there is none.
func Dial(socket string) (*Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := connect(ctx, socket)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("%w (socket %q)", ErrNotRunning, socket)
		}
		return nil, fmt.Errorf("connect to %q: %w", socket, err)
	}
	first := make(chan net.Conn, 1) // the connection just made serves the first request
	first <- c
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case c := <-first:
				return c, nil
			default:
				return connect(ctx, socket)
			}
		},
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		IdleConnTimeout:        20 * time.Second,
	}
	return &Client{http: &http.Client{Transport: closer{tr, first}}, socket: socket}, nil
}

// closer also closes a first connection that nobody took.
type closer struct {
	*http.Transport
	first chan net.Conn
}

func (c closer) CloseIdleConnections() {
	select {
	case conn := <-c.first:
		conn.Close()
	default:
	}
	c.Transport.CloseIdleConnections()
}

// Close ends the client's connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Status asks what the daemon is doing.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var st Status
	return st, c.do(ctx, http.MethodGet, "/v1/status", &st)
}

// Reload makes the daemon read its configuration again. An error with the daemon's own words means that the old one
// stays in force.
func (c *Client) Reload(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/v1/reload", &struct{}{})
}

func (c *Client) do(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://daemon"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the daemon at %q: %w", c.socket, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	if len(body) > maxAnswer {
		return fmt.Errorf("the daemon's answer is longer than %d bytes", maxAnswer)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp.Status, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the daemon's answer is not what this version understands: %w", err)
	}
	return nil
}

// refusal is the daemon's reason, in its own words where it gave any.
func refusal(status string, body []byte) error {
	var p problem
	if json.Unmarshal(body, &p) != nil || p.Error == "" {
		return fmt.Errorf("the daemon answered %s", strings.TrimSpace(status))
	}
	if len(p.Error) > maxProblem {
		p.Error = p.Error[:maxProblem]
	}
	return errors.New(p.Error)
}
