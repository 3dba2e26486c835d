package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// pump carries a TLS connection: crypto/tls wants a connection that blocks, so one goroutine dials, shakes hands and
// reads, and another writes. What is read is stamped at once and posted to the loop.
type pump struct {
	requests chan []byte
	quit     context.CancelFunc
	once     sync.Once
}

func startPump(c *conn) *pump {
	ctx, quit := context.WithCancel(context.Background())
	p := &pump{requests: make(chan []byte, 1), quit: quit}
	go p.run(ctx, c)
	return p
}

func (p *pump) run(ctx context.Context, c *conn) {
	loop := c.loop
	failed := func(err error) {
		loop.Post(func() {
			if !c.closed {
				c.fail(err)
			}
		})
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: c.server.secure}
	wire, err := dialer.DialContext(ctx, "tcp", c.server.addr.String())
	if err != nil {
		failed(fmt.Errorf("connect to %s: %w", c.server.addr, err))
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = wire.Close() })
	defer func() { // the server may have ended it, and ctx not yet
		stop()
		_ = wire.Close()
	}()
	loop.Post(func() {
		if !c.closed {
			c.up()
		}
	})
	go p.write(ctx, wire, failed)
	buf := make([]byte, 32<<10)
	for {
		n, err := wire.Read(buf)
		at := loop.Now()
		if n > 0 {
			data := bytes.Clone(buf[:n])
			loop.Post(func() {
				if !c.closed {
					c.received(data, at)
				}
			})
		}
		if errors.Is(err, io.EOF) {
			failed(nil)
			return
		}
		if err != nil {
			failed(fmt.Errorf("read the answer: %w", err))
			return
		}
	}
}

// write sends the requests that are handed over.
func (p *pump) write(ctx context.Context, wire io.Writer, failed func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case request := <-p.requests:
			if _, err := wire.Write(request); err != nil {
				failed(fmt.Errorf("send the request: %w", err))
				return
			}
		}
	}
}

// send hands a request over. The connection carries one at a time, so there is room.
func (p *pump) send(request []byte) {
	select {
	case p.requests <- bytes.Clone(request):
	default:
	}
}

func (p *pump) stop() { p.once.Do(p.quit) }
