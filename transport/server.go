package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/benchd/benchd/protocol"
)

// Endpoint is where a server is and how it is spoken to. It is made once and shared by loops.
type Endpoint struct {
	// Name stands in records.
	Name string
	// Format of requests and answers.
	Format protocol.Format

	secure *tls.Config // nil: plain TCP
	addr   netip.AddrPort
	host   string // as the URL names it
	path   string // what the URL adds before the format's
	key    string
}

// dialTimeout bounds one connection's set-up.
const dialTimeout = 10 * time.Second

// Resolve makes an endpoint of a base URL such as http://node:8000. It connects once, so that a name that cannot be found
// and a port on which nobody listens are told here and not by every request. The API key goes along as a bearer token.
func Resolve(ctx context.Context, name, base, apiKey string, format protocol.Format) (*Endpoint, error) {
	u, err := ParseURL(base)
	if err != nil {
		return nil, err
	}
	if strings.ContainsFunc(apiKey, unicode.IsControl) {
		return nil, errors.New("the API key holds a line end or another control character: give the key alone")
	}
	e := &Endpoint{Name: name, Format: format, host: u.Host, path: strings.TrimSuffix(u.EscapedPath(), "/"), key: apiKey}
	port := u.Port()
	if u.Scheme == "https" {
		e.secure = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w: check that the server runs, and that its address is reached from this machine", base, err)
	}
	e.addr, err = netip.ParseAddrPort(c.RemoteAddr().String())
	_ = c.Close() // it has told what it was asked
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", base, err)
	}
	return e, nil
}

// ParseURL reads a server's base URL, strictly: http or https, a host, no credentials, query or fragment.
func ParseURL(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		shown := base[strings.LastIndexByte(base, '@')+1:] // what stands before may be a password
		return nil, fmt.Errorf("%q is not a URL: use one such as http://localhost:8000", shown)
	case u.User != nil:
		return nil, fmt.Errorf("the URL %s holds credentials, which would end up in logs: leave them out and give an API key instead", u.Redacted())
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, fmt.Errorf("%q is not the address of a server: use one such as http://localhost:8000", base)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the URL %q has a query or a fragment: give the server's address alone, such as http://localhost:8000", base)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("the URL %q has the port %q: use 1 to 65535", base, p)
		}
	}
	return u, nil
}

// AppendRequest appends a whole HTTP request.
func (e *Endpoint) AppendRequest(dst []byte, q *protocol.Question) []byte {
	dst = append(dst, "POST "...)
	dst = append(dst, e.path...)
	dst = append(dst, e.Format.Path()...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, e.host...)
	dst = append(dst, "\r\nUser-Agent: benchd\r\nAccept-Encoding: identity\r\nContent-Type: application/json\r\nX-Request-Id: "...)
	dst = append(dst, q.ID...)
	if e.key != "" {
		dst = append(dst, "\r\nAuthorization: Bearer "...)
		dst = append(dst, e.key...)
	}
	dst = append(dst, "\r\nContent-Length: "...)
	// The length is known only after the body: leave room for it and fill it in.
	const digits = 10
	hole := len(dst)
	dst = append(dst, "          \r\n\r\n"...)
	body := len(dst)
	dst = e.Format.AppendBody(dst, q)
	var number [20]byte
	n := strconv.AppendInt(number[:0], int64(len(dst)-body), 10)
	copy(dst[hole+digits-len(n):], n) // leading blanks are allowed around a value (RFC 9110, section 5.5)
	return dst
}

// socket opens a non-blocking TCP socket and begins to connect it.
func (e *Endpoint) socket() (fd int, connecting bool, err error) {
	family, to := e.sockaddr()
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, false, fmt.Errorf("open a socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // without it only latency suffers
	switch err = unix.Connect(fd, to); err {
	case nil:
		return fd, false, nil
	case unix.EINPROGRESS:
		return fd, true, nil
	}
	_ = unix.Close(fd)
	return -1, false, fmt.Errorf("connect to %s: %w", e.addr, err)
}

// sockaddr is the address in the kernel's words.
func (e *Endpoint) sockaddr() (family int, to unix.Sockaddr) {
	ip, port := e.addr.Addr().Unmap(), int(e.addr.Port())
	if ip.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: ip.As4()}
	}
	six := &unix.SockaddrInet6{Port: port, Addr: ip.As16()}
	if zone := ip.Zone(); zone != "" {
		if i, err := net.InterfaceByName(zone); err == nil {
			six.ZoneId = uint32(i.Index)
		}
	}
	return unix.AF_INET6, six
}

// Server is an endpoint on one loop, with the connections kept to it.
type Server struct {
	*Endpoint
	// Outstanding counts the requests under way.
	Outstanding int

	loop *Loop
	idle []*conn
}

// Server returns the loop's view of an endpoint.
func (l *Loop) Server(e *Endpoint) *Server { return &Server{Endpoint: e, loop: l} }

// Connect opens connections ahead of use, until so many are kept. Those that fail are tried again by the requests that
// need them.
func (s *Server) Connect(n int) {
	for range n - len(s.idle) {
		c, err := newConn(s)
		if err != nil {
			return
		}
		c.ahead = true
	}
}

// take returns a kept connection, the one used last: its caches are warm, and it is the least likely to be closed.
func (s *Server) take() *conn {
	if n := len(s.idle); n > 0 {
		c := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return c
	}
	return nil
}

// Kept is how many connections stand and wait for a request.
func (s *Server) Kept() int { return len(s.idle) }

func (s *Server) keep(c *conn) { s.idle = append(s.idle, c) }

// forget takes a connection that was closed while it was kept out of the list.
func (s *Server) forget(c *conn) {
	for i, k := range s.idle {
		if k == c {
			s.idle = append(s.idle[:i], s.idle[i+1:]...)
			return
		}
	}
}
