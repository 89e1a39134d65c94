package control

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Backend is the daemon behind the socket. Methods are called concurrently.
type Backend interface {
	Status(ctx context.Context) (Status, error)
	// Reload reads everything again; an error means that the old configuration stays in force.
	Reload(ctx context.Context) error
}

// Serve answers requests on l until ctx ends, then closes l, waits for the requests that are under way (at most a
// second) and returns nil. Another error means that l broke. lg gets what net/http has to say; nil drops it.
func Serve(ctx context.Context, l net.Listener, b Backend, lg *slog.Logger) error {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	srv := &http.Server{
		Handler:           Handler(b),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(logWriter{lg}, "", 0),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() {
		served <- srv.Serve(&gated{Listener: l, allow: checkPeer, places: make(chan struct{}, maxClients)})
	}()
	select {
	case err := <-served:
		l.Close()
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		srv.Close()
	}
	if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Handler is the API without its socket.
func Handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		st, err := b.Status(r.Context())
		if err != nil {
			answer(w, http.StatusInternalServerError, problem{err.Error()})
			return
		}
		answer(w, http.StatusOK, st)
	})
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		if err := b.Reload(r.Context()); err != nil {
			answer(w, http.StatusConflict, problem{err.Error()})
			return
		}
		answer(w, http.StatusOK, struct{}{})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNotFound, problem{"no such request: " + r.Method + " " + r.URL.Path})
	})
	return http.MaxBytesHandler(mux, maxRequest)
}

func answer(w http.ResponseWriter, code int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		code, b = http.StatusInternalServerError, []byte(`{"error":"the answer has no JSON form"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	w.Write(append(b, '\n')) // a client that has gone away is not our problem
}

// logWriter hands net/http's own complaints to slog.
type logWriter struct{ lg *slog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.lg.Warn("control", "message", string(p))
	return len(p), nil
}

// gated lets in only whom allow lets in, and only so many at once; the others are closed.
type gated struct {
	net.Listener
	allow  func(net.Conn) error
	places chan struct{}
}

func (g *gated) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if err := g.allow(c); err != nil {
			c.Close()
			continue
		}
		select {
		case g.places <- struct{}{}:
			return &placed{Conn: c, free: g.places}, nil
		default: // more than anybody needs at once
			c.Close()
		}
	}
}
