package transport

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// quiet takes what net/http says of connections that were broken on purpose.
var quiet = log.New(io.Discard, "", 0)

// Whatever became of requests, nothing is left open: no socket of theirs, and nothing of the loop. It is not parallel, so
// that no other test opens anything.
func TestNothingIsLeftOpen(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would close forgotten connections
	round := func(t *testing.T) {
		l := newLab(t)
		for _, serve := range []func(net.Conn){
			always(goodStream), func(net.Conn) {}, once(reset), once(func(c net.Conn) { write(c, streamHead+hello) }),
			once(func(c net.Conn) { write(c, "nonsense\r\n\r\n"); gone(c) }), once(func(c net.Conn) { write(c, streamHead+hello+done) }),
		} {
			s := l.Server(to(t, listen(t, serve), chat))
			l.ask(s)
			l.ask(s)
		}
		l.ask(l.Server(to(t, nowhere, chat)))
		l.ask(l.Server(to(t, refusing(t), chat)))
		l.send(l.Server(to(t, deaf(t), chat)), time.Millisecond, question).result()
		e, _ := secured(t, chat, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if bytes.Equal([]byte(r.Header.Get("X-Request-Id")), []byte("close")) {
				w.Header().Set("Connection", "close")
			}
			streaming(w, hello, done)
			if r.Header.Get("X-Request-Id") == "cut" {
				panic(http.ErrAbortHandler)
			}
		})
		s := l.Server(e)
		for _, id := range []string{"keep", "close", "cut", "close"} {
			q := question
			q.ID = id
			l.send(s, patience, q).result()
		}
		// What is under way, connecting or kept at the loop's end is closed too.
		l.send(l.Server(to(t, listen(t, once(gone)), chat)), patience, question)
		l.send(l.Server(to(t, unread(t), chat)), patience, big)
		l.send(l.Server(to(t, deaf(t), chat)), patience, question)
		l.on(func() { s.Connect(2) })
	}
	if !t.Run("warm up", round) { // the runtime's own poller, and the like
		return
	}
	before := descriptors(t)
	t.Run("again", round)
	var left []string
	for begin := time.Now(); time.Since(begin) < patience; time.Sleep(time.Millisecond) { // connections close beside the test
		if left = slices.DeleteFunc(descriptors(t), func(d string) bool { return slices.Contains(before, d) }); len(left) == 0 {
			return
		}
	}
	t.Errorf("left open: %v", fmt.Sprint(left))
}
