package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/benchd/benchd/simulate"
)

// outOfMemory is what a CUDA program dies with.
const outOfMemory = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.25 GiB of which 1.12 GiB is free."

// engine makes the part that answers with tokens: names are the model's, the first of which it calls itself.
func (c *call) engine(names []string, contextLength, concurrency int) (*simulate.Server, error) {
	cfg := simulate.Config{
		Model: names[0], Aliases: names[1:], TTFT: max(1, c.knobs.ttft), ITL: max(1, c.knobs.itl),
		OutputTokens: max(1, c.knobs.outputTokens), MaxModelLen: max(contextLength, c.knobs.outputTokens+1), Concurrency: concurrency,
	}
	if c.knobs.hang == hangRequests {
		cfg.Faults.HangRate = 1
	}
	return simulate.New(cfg)
}

// A socket is an address that is taken and not yet listened on: programs that bind before they load a model notice a port
// in use at once, while their clients are refused until the model is there.
type socket struct {
	fd   int
	addr string
}

// bind takes an address.
func bind(host string, port int) (*socket, error) {
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	family, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: port})
	if ip := addr.IP.To4(); ip != nil {
		to = &unix.SockaddrInet4{Port: port, Addr: [4]byte(ip)}
	} else if addr.IP != nil {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Port: port, Addr: [16]byte(addr.IP.To16())}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, to)); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &socket{fd, addr.String()}, nil
}

// listen begins to accept.
func (s *socket) listen() (net.Listener, error) {
	if err := unix.Listen(s.fd, 1024); err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(s.fd), s.addr)
	defer f.Close() // the listener has a copy of its own
	return net.FileListener(f)
}

// loadModel waits as long as a model takes to load; false means that the program was told to end.
func (c *call) loadModel(ctx context.Context) bool {
	if c.knobs.hang == hangLoad {
		<-ctx.Done()
		return false
	}
	return sleep(ctx, c.knobs.load)
}

// serve answers on l until ctx ends, and returns the exit code of the program. The crash that was asked for comes so long
// after ready was called.
func (c *call) serve(ctx context.Context, l net.Listener, h http.Handler, ready func()) int {
	hs := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- hs.Serve(l) }()
	ready()
	var crash <-chan time.Time
	if c.knobs.crashAfter > 0 {
		crash = time.After(c.knobs.crashAfter)
	}
	select {
	case <-crash:
		_ = hs.Close()
		return c.errorf("%s", outOfMemory)
	case err := <-failed:
		return c.errorf("%v", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if hs.Shutdown(grace) != nil {
		_ = hs.Close()
	}
	return exitOK
}

// listen takes and listens on an address at once.
func listen(host string, port int) (net.Listener, error) {
	s, err := bind(host, port)
	if err != nil {
		return nil, err
	}
	return s.listen()
}

// notFound is FastAPI's answer to an unknown path.
func notFound(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusNotFound, map[string]string{"detail": "Not Found"})
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that has gone needs no answer
}

// bearer lets requests through that carry one of the keys, and those that open says need none. Without keys all may pass.
func bearer(h http.Handler, keys []string, open func(path string) bool, refuse http.HandlerFunc) http.Handler {
	if len(keys) == 0 {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		ok := open(r.URL.Path) || r.Method == http.MethodOptions
		for _, key := range keys {
			ok = ok || subtle.ConstantTimeCompare([]byte(given), []byte(key)) == 1
		}
		if !ok {
			refuse(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// unauthorized is the answer of vLLM and SGLang to a wrong key.
func unauthorized(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "Unauthorized"})
}

// okay answers 200 without a body.
func okay(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

// uvicorn prints what uvicorn prints at its start, with the prefix of the program.
func (c *call) uvicorn(prefix, host string, port int) {
	for _, line := range []string{
		fmt.Sprintf("Started server process [%d]", os.Getpid()), "Waiting for application startup.", "Application startup complete.",
		fmt.Sprintf("Uvicorn running on http://%s (Press CTRL+C to quit)", net.JoinHostPort(host, strconv.Itoa(port))),
	} {
		fmt.Fprintf(c.stderr, "%sINFO:     %s\n", prefix, line)
	}
}

// bindFailed is how Python words a failed bind.
func (c *call) bindFailed(err error, host string, port int) int {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return c.raise("socket.gaierror", "[Errno -2] Name or service not known")
	}
	text := errno.Error()
	return c.raise("OSError", "[Errno %d] %s: ('%s', %d)", int(errno), strings.ToUpper(text[:1])+text[1:], host, port)
}
