package simulate

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// connKey is the context key of the connection a request came on.
type connKey struct{}

// conns follows the connections of Serve, for two things net/http does not do: close a connection that never carried
// a request as soon as the server stops (Shutdown waits seconds for it), and crash only after the last answer left.
type conns struct {
	mu      sync.Mutex
	fresh   map[net.Conn]struct{} // without a request so far
	closing bool
	fatal   net.Conn // carries the answer after which the server crashes
}

// markKey is the context key of a connection's mark.
type markKey struct{}

// withConn makes the connection known to its requests; it is an http.Server's ConnContext.
func (s *Server) withConn(ctx context.Context, c net.Conn) context.Context {
	ctx = context.WithValue(ctx, connKey{}, c)
	if tcp, ok := c.(*net.TCPConn); ok {
		if p := s.pacing(); p != nil {
			ctx = context.WithValue(ctx, markKey{}, p.follow(tcp))
		}
	}
	return ctx
}

// arrival is when a request came in.
func (s *Server) arrival(ctx context.Context) time.Duration {
	if m, ok := ctx.Value(markKey{}).(*mark); ok && m != nil {
		if at := m.arrived.Swap(0); at > 0 {
			return time.Duration(at)
		}
	}
	return s.now()
}

// forgetArrival forgets what was noted while a request was served, which was its own. It is called before the end of the
// answer leaves: only then does the client send the next one.
func forgetArrival(ctx context.Context) {
	if m, ok := ctx.Value(markKey{}).(*mark); ok && m != nil {
		m.arrived.Store(0)
	}
}

// follow notes that c entered a state and reports whether the fatal answer has left.
func (cs *conns) follow(c net.Conn, state http.ConnState) (crash bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if state != http.StateNew {
		delete(cs.fresh, c)
		return c == cs.fatal && (state == http.StateIdle || state == http.StateClosed)
	}
	if cs.closing {
		_ = c.Close() // the client sees a server that is gone
		return false
	}
	if cs.fresh == nil {
		cs.fresh = make(map[net.Conn]struct{})
	}
	cs.fresh[c] = struct{}{}
	return false
}

// closeFresh closes every connection without a request, now and from now on.
func (cs *conns) closeFresh() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closing = true
	for c := range cs.fresh {
		_ = c.Close()
	}
}

// setFatal names the connection of the last answer; false means the request came on none that is followed.
func (cs *conns) setFatal(ctx context.Context) bool {
	c, ok := ctx.Value(connKey{}).(net.Conn)
	if !ok {
		return false
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.fatal = c
	return true
}
