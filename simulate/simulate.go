// Package simulate is an LLM inference server that needs no model: it speaks the OpenAI protocol as vLLM does, sends
// deterministic words at times drawn from its Config, and fails on request.
//
// It is the truth that benchd's measurements are tested against. What it really sent, and when, stands in its own log
// (Config.LogPath, ReadLog), so a test compares a client's numbers with the Records of the server rather than with
// the configuration, which a busy machine cannot always keep.
//
// New checks a Config; Handler serves inside a test, Serve owns a listener. Call Close after use without Serve.
package simulate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Version is what GET /version reports.
const Version = "0.0.0-simulated"

// CrashExitCode is the status a process should exit with when OnCrash is called; no tool of the project uses it
// otherwise, so a supervisor's test can tell the wanted crash from an unwanted one.
const CrashExitCode = 3

// ErrCrashed is returned by Serve after a crash that Faults.CrashAfter asked for.
var ErrCrashed = errors.New("the simulated server crashed as faults.crashAfter asked")

// errStopped ends the requests still open when the server is closed.
var errStopped = errors.New("the simulated server was stopped")

// A Server pretends to be one inference server. It must not be copied.
type Server struct {
	cfg     Config
	ttft    sampler
	itl     sampler
	zero    time.Time // of the monotonic clock that every Record refers to
	created string    // Unix seconds, as in the "created" of answers
	model   string    // cfg.Model quoted as JSON

	handler http.Handler
	queue   *queue
	journal *journal
	metrics *metrics
	conns   conns
	pacer   *pacer // nil until a stream on a TCP connection of Serve's wants one
	paced   sync.Once

	sequence atomic.Uint64 // requests that arrived
	admitted atomic.Int64  // requests that left the queue
	answered atomic.Int64  // requests that were answered, injected faults included

	// life ends with the server, for whatever reason; its cause is ErrCrashed or errStopped. It is kept here because
	// no call spans the time from New to Close.
	life      context.Context
	end       context.CancelCauseFunc
	crashOnce sync.Once
	stopping  chan struct{} // closed when a graceful stop begins: hung requests have nothing to wait for
	stopOnce  sync.Once
}

// New checks cfg and returns a server whose clock and start-up time begin now.
// The error names every field that is wrong, its value and what to set instead.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure the simulated server: %w", err)
	}
	out, closer, err := openLog(cfg)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	s := &Server{
		cfg:      cfg,
		ttft:     newSampler(cfg.TTFTDist, cfg.TTFT, cfg.Spread),
		itl:      newSampler(cfg.ITLDist, cfg.ITL, cfg.Spread),
		zero:     now,
		created:  strconv.FormatInt(now.Unix(), 10),
		model:    quoteJSON(cfg.Model),
		queue:    newQueue(cfg.Concurrency, cfg.QueueLimit),
		journal:  newJournal(out, closer),
		stopping: make(chan struct{}),
	}
	s.life, s.end = context.WithCancelCause(context.Background())
	s.metrics = newMetrics(cfg.Model, s.queue)
	s.handler = s.routes()
	s.journal.write(Start{Event: eventStart, Wall: now, WallUnix: now.UnixNano(), Model: cfg.Model, Seed: cfg.Seed})
	if err := s.journal.flush(); err != nil {
		return nil, errors.Join(fmt.Errorf("write the first line of the simulated server's log: %w", err), s.journal.close())
	}
	return s, nil
}

// openLog returns where the log goes; the closer is nil for a writer that belongs to the caller.
func openLog(cfg Config) (io.Writer, io.Closer, error) {
	if cfg.LogPath == "" {
		return cfg.Log, nil, nil
	}
	// A restarted server appends, so that the truth of its first life is not lost.
	f, err := os.OpenFile(cfg.LogPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("open the simulated server's log: %w; set logPath to a file in an existing, writable directory", err)
	}
	return f, f, nil
}

// Handler serves every endpoint. A cut stream and a crashed server end the connection by panicking with
// http.ErrAbortHandler, as net/http expects; a test that calls it without an http.Server must recover.
func (s *Server) Handler() http.Handler { return s.handler }

// Close ends requests still open, flushes and closes the log, and returns the first error in writing it.
// Serve calls it; calling it again does nothing.
func (s *Server) Close() error {
	s.end(errStopped)
	s.paced.Do(func() {}) // none is started any more
	if s.pacer != nil {
		s.pacer.stop()
	}
	if err := s.journal.close(); err != nil {
		return fmt.Errorf("write the simulated server's log: %w", err)
	}
	return nil
}

// now is the time since New on the monotonic clock.
func (s *Server) now() time.Duration { return time.Since(s.zero) }

// healthy reports what /health answers with: the status code and one word.
func (s *Server) healthy() (int, string) {
	switch f := s.cfg.Faults; {
	case s.starting():
		return http.StatusServiceUnavailable, "starting"
	case f.UnhealthyAfter > 0 && s.answered.Load() >= int64(f.UnhealthyAfter):
		return http.StatusInternalServerError, "unhealthy"
	default:
		return http.StatusOK, "ok"
	}
}

// starting reports whether the pretended model is still loading.
func (s *Server) starting() bool { return s.cfg.Faults.NeverHealthy || s.now() < s.cfg.Startup }

// crash ends every request at once, as a process that dies would. OnCrash comes first: were Serve to return before it,
// a command could exit with another status than the crash's.
func (s *Server) crash() {
	s.crashOnce.Do(func() {
		_ = s.journal.flush() // its error is kept by the journal, for Close
		if s.cfg.OnCrash != nil {
			s.cfg.OnCrash()
		}
		s.end(ErrCrashed)
	})
}
