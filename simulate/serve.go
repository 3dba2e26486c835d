package simulate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	// headerTimeout bounds how long a connection may take to send the header of its first request.
	headerTimeout = time.Minute
	// endTimeout bounds how long requests that were told to end may take to do so.
	endTimeout = time.Second
)

// Serve answers on l until ctx ends, then stops within Config.ShutdownGrace and about a second: it closes l, lets open
// requests finish, cuts the rest, and closes the log. It returns nil after such a stop, ErrCrashed after a crash, and
// otherwise why l failed. It may be called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	hs := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		ConnContext:       s.withConn,
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateClosed && s.pacer != nil {
				s.pacer.forget(c)
			}
			if s.conns.follow(c, state) {
				s.crash()
			}
		},
	}
	failed := make(chan error, 1)
	go func() { failed <- hs.Serve(l) }()

	var err error
	select {
	case err = <-failed:
		err = fmt.Errorf("serve on %s: %w", l.Addr(), err)
		s.endAll(hs)
	case <-s.life.Done():
		if errors.Is(context.Cause(s.life), ErrCrashed) {
			err = ErrCrashed
		}
		s.endAll(hs)
		<-failed
	case <-ctx.Done():
		s.shutdown(hs)
		<-failed
	}
	return errors.Join(err, s.Close())
}

// shutdown stops hs: gracefully, then firmly.
func (s *Server) shutdown(hs *http.Server) {
	s.stopOnce.Do(func() { close(s.stopping) })
	s.conns.closeFresh()
	if !shutdownWithin(hs, s.cfg.ShutdownGrace) {
		s.endAll(hs)
	}
}

// endAll cuts every request still open and waits until their records are in the log.
func (s *Server) endAll(hs *http.Server) {
	s.end(errStopped)
	s.conns.closeFresh()
	if !shutdownWithin(hs, endTimeout) {
		_ = hs.Close() // a handler is stuck in a write to a client that does not read; this frees it
	}
}

// shutdownWithin reports whether every request ended in time.
func shutdownWithin(hs *http.Server, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return hs.Shutdown(ctx) == nil
}

// Activity tells how many requests were answered so far, and how many are being served and are waiting.
func (s *Server) Activity() (answered int64, running, waiting int) {
	running, waiting = s.queue.counts()
	return s.answered.Load(), running, waiting
}

// countAnswer counts an answered request and crashes after the one Faults.CrashAfter names: once its answer has left
// where the connection is Serve's, at once elsewhere.
func (s *Server) countAnswer(ctx context.Context) {
	if n := s.answered.Add(1); n != int64(s.cfg.Faults.CrashAfter) {
		return
	}
	if !s.conns.setFatal(ctx) {
		s.crash()
	}
}
