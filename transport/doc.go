// Package transport carries requests to inference servers and brings their answers back, on one locked thread: an event
// loop over epoll with non-blocking sockets and absolute timers.
//
// The thread that reads a socket also takes the time stamp, parses and sends the next request. Nothing is handed from
// goroutine to goroutine, so a stamp is late by what the kernel takes to wake one thread, and a piece of a stream costs
// one read and a share of one epoll_wait. Go's own network poller costs about a third more for the same and doubles the
// tail at a thousand streams.
//
// A Loop is not safe for concurrent use: but for Post and Now everything is called on its own thread, from the
// functions that it calls. TLS is the exception inside: crypto/tls wants blocking connections, so these are read by a
// goroutine each, which stamps what it reads and posts it.
package transport
