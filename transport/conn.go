package transport

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// conn is one connection. It carries one exchange at a time; between two it is kept by its server.
type conn struct {
	server     *Server
	loop       *Loop
	fd         int // -1 for TLS
	serial     int32
	x          *Exchange
	out        []byte // what of the request is not written yet
	connecting bool
	blocked    bool // waits for the socket to take more
	ahead      bool // made before it was needed
	closed     bool
	pump       *pump // for TLS
}

const interest = unix.EPOLLIN | unix.EPOLLRDHUP

// newConn begins to connect.
func newConn(s *Server) (*conn, error) {
	c := &conn{server: s, loop: s.loop, fd: -1}
	if s.secure != nil {
		c.connecting = true
		c.pump = startPump(c)
		s.loop.secure[c] = struct{}{}
		return c, nil
	}
	fd, connecting, err := s.socket()
	if err != nil {
		return nil, err
	}
	c.fd, c.connecting = fd, connecting
	events := uint32(interest)
	if connecting {
		events |= unix.EPOLLOUT
	}
	if err := s.loop.watch(c, events); err != nil {
		c.close()
		return nil, fmt.Errorf("watch a connection to %s: %w", s.addr, err)
	}
	return c, nil
}

// begin puts a request on the connection.
func (c *conn) begin(x *Exchange) {
	c.x, c.out = x, x.request
	if c.connecting {
		return
	}
	if x.fresh {
		x.connected()
	}
	c.write()
}

// ready is told what epoll saw.
func (c *conn) ready(events uint32) {
	if c.connecting {
		if !c.established() {
			return
		}
	} else if events&unix.EPOLLOUT != 0 {
		c.write()
	}
	if !c.closed && events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR|unix.EPOLLRDHUP) != 0 {
		c.readSome()
	}
}

// established finds out how connecting ended.
func (c *conn) established() bool {
	code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err == nil {
		err = c.loop.rewatch(c, interest)
	}
	if err != nil {
		c.fail(fmt.Errorf("connect to %s: %w", c.server.addr, err))
		return false
	}
	c.up()
	return !c.closed
}

// up goes on once the connection stands.
func (c *conn) up() {
	c.connecting = false
	switch {
	case c.x != nil:
		c.x.connected()
		c.write()
	case c.ahead:
		c.ahead = false
		c.server.keep(c)
	}
}

// write writes what it can of the request. The rest waits until the socket takes more.
func (c *conn) write() {
	if c.pump != nil {
		c.pump.send(c.out)
		c.out = nil
		return
	}
	for len(c.out) > 0 {
		n, errno := rawWrite(c.fd, c.out)
		switch errno {
		case 0:
			c.out = c.out[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			c.block(true)
			return
		default:
			// What the server said before it closed may still be there to be read: it explains why.
			c.out = nil
			c.readSome()
			if !c.closed && c.x != nil {
				c.fail(fmt.Errorf("send the request: %w", errno))
			}
			return
		}
	}
	c.block(false)
}

// block waits for the socket to take more, or no longer.
func (c *conn) block(wait bool) {
	if c.blocked == wait {
		return
	}
	c.blocked = wait
	events := uint32(interest)
	if wait {
		events |= unix.EPOLLOUT
	}
	if err := c.loop.rewatch(c, events); err != nil {
		c.fail(fmt.Errorf("watch the connection: %w", err))
	}
}

// readSome reads once: level-triggered events come again while there is more.
func (c *conn) readSome() {
	n, errno := rawRead(c.fd, c.loop.read)
	at := c.loop.Now()
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
	case errno != 0:
		c.fail(fmt.Errorf("read the answer: %w", errno))
	case n == 0:
		c.fail(nil)
	default:
		c.received(c.loop.read[:n], at)
	}
}

func (c *conn) received(data []byte, at int64) {
	if c.x == nil { // nobody asked: a server that speaks first, or after its answer
		c.fail(errors.New("the server sent something unasked"))
		return
	}
	c.x.received(data, at)
}

// fail closes the connection and tells the exchange; err is nil when the server closed it.
func (c *conn) fail(err error) {
	x := c.x
	c.x = nil
	if x == nil {
		c.server.forget(c)
	}
	c.close()
	if x != nil {
		x.broken(err)
	}
}

func (c *conn) close() {
	if c.closed {
		return
	}
	c.closed = true
	if c.pump != nil {
		c.pump.stop()
		delete(c.loop.secure, c)
		return
	}
	if c.fd < len(c.loop.conns) {
		c.loop.conns[c.fd] = nil
	}
	_ = unix.Close(c.fd) // it leaves the epoll set with this
}
