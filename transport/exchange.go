package transport

import "github.com/benchd/benchd/protocol"

// linger is how long after the answer's last word the end of the response is waited for: only then can its connection be
// used again.
const linger = int64(100e6)

// Exchange is one request and its answer. It is used again for the next one.
type Exchange struct {
	// Result is what it came to.
	Result protocol.Result
	// Done is called on the loop's thread when the request has ended, well or not. It may begin the next one.
	Done func(*Exchange)

	loop      *Loop
	server    *Server
	request   []byte
	maxTokens int
	response  protocol.Response
	answers   map[protocol.Format]protocol.Answer
	conn      *conn
	timer     Timer
	ended     bool
	fresh     bool // on a connection made for it
}

// NewExchange returns an exchange of this loop.
func (l *Loop) NewExchange(done func(*Exchange)) *Exchange {
	x := &Exchange{Done: done, loop: l, answers: map[protocol.Format]protocol.Answer{}, ended: true}
	x.timer.Fire = x.expired
	return x
}

// Prepare renders the request, ahead of its time.
func (x *Exchange) Prepare(s *Server, q *protocol.Question) {
	x.server, x.maxTokens = s, q.MaxTokens
	x.request = s.AppendRequest(x.request[:0], q)
}

// Send sends what Prepare rendered. It fails in the Result after timeout nanoseconds.
func (x *Exchange) Send(timeout int64) {
	x.Result.Reset()
	x.ended, x.fresh = false, false
	answer := x.answers[x.server.Format]
	if answer == nil {
		answer = x.server.Format.NewAnswer()
		x.answers[x.server.Format] = answer
	}
	x.response.Begin(x.server.Format, answer, &x.Result, x.maxTokens)
	x.server.Outstanding++
	x.Result.Sent = x.loop.Now()
	x.loop.Set(&x.timer, x.Result.Sent+timeout)
	x.start()
}

// start puts the request on a kept connection, or on a new one.
func (x *Exchange) start() {
	if c := x.server.take(); c != nil {
		x.conn = c
		c.begin(x)
		return
	}
	x.fresh = true
	c, err := newConn(x.server)
	if err != nil {
		// The end is told by the timer: a Done that sends the next request at once would call itself without end.
		x.Result.Fail(protocol.ClassConnect, "%v", err)
		x.loop.Set(&x.timer, x.loop.Now())
		return
	}
	x.conn = c
	c.begin(x)
}

// Server of the request.
func (x *Exchange) Server() *Server { return x.server }

// Active says whether the request is under way.
func (x *Exchange) Active() bool { return !x.ended }

// Cancel ends a request that is under way.
func (x *Exchange) Cancel() {
	if !x.ended {
		x.abandon(protocol.ClassCancelled, "the load was over")
	}
}

// expired is called by the timer: the request took too long, or the end of a complete answer did, or it could not even
// begin.
func (x *Exchange) expired() {
	what := "no answer"
	switch {
	case x.conn != nil && x.conn.connecting:
		what = "no connection"
	case len(x.Result.Chunks) > 0:
		what = "the answer was not complete"
	}
	x.abandon(protocol.ClassTimeout, what+" within the request's time")
}

// abandon ends a request early. An answer that is complete stays one: only its connection's state was waited for.
func (x *Exchange) abandon(class protocol.Class, message string) {
	if !x.response.Settled() {
		x.Result.End = x.loop.Now()
		x.Result.Fail(class, "%s", message)
		x.response.End()
	}
	x.drop()
	x.finish()
}

// drop closes the connection.
func (x *Exchange) drop() {
	if x.conn != nil {
		x.conn.x = nil
		x.conn.close()
		x.conn = nil
	}
}

// connected is told when a connection made for this request stands.
func (x *Exchange) connected() { x.Result.Connected = x.loop.Now() }

// received takes what a read brought.
func (x *Exchange) received(data []byte, at int64) {
	settled := x.response.Settled()
	x.response.Feed(data, at)
	switch {
	case x.response.Complete():
		x.release()
	case x.response.Settled() && x.Result.Class != "":
		x.drop()
		x.finish()
	case x.response.Settled() && !settled:
		x.loop.Set(&x.timer, at+linger)
	}
}

// release gives the connection back, or closes it, and ends the request.
func (x *Exchange) release() {
	c := x.conn
	if !x.response.Reusable() || len(c.out) > 0 {
		x.drop()
	} else {
		c.x, x.conn = nil, nil
		x.server.keep(c)
	}
	x.finish()
}

// broken is told when the connection is gone: closed by the server (err is nil) or failed.
func (x *Exchange) broken(err error) {
	x.conn = nil
	// A server may close a kept connection at the moment it is used. Nothing of the request was answered, so it goes out
	// once more on a new connection; every HTTP client does so, and the record tells.
	if !x.fresh && !x.response.Began() {
		x.Result.Redials++
		x.fresh = true
		c, dialErr := newConn(x.server)
		if dialErr == nil {
			x.conn = c
			c.begin(x)
			return
		}
		err = dialErr
	}
	x.Result.End = x.loop.Now()
	switch { // a refusal says more than how its connection ended
	case err != nil && x.Result.Status == 0:
		x.Result.Fail(protocol.ClassConnect, "%v", err)
	case err != nil && x.Result.Status == 200 && !x.response.Settled():
		x.Result.Fail(protocol.ClassCut, "the connection broke within the answer: %v", err)
	}
	x.response.End()
	x.finish()
}

// finish ends the request, once.
func (x *Exchange) finish() {
	if x.ended {
		return
	}
	x.ended = true
	x.loop.Unset(&x.timer)
	x.server.Outstanding--
	if x.Result.End == 0 {
		x.Result.End = x.loop.Now()
	}
	x.Done(x)
}
