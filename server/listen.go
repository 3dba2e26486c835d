package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// headerTimeout bounds the time to a request's first line and header, and stopTimeout the time that requests get
	// to end once the server is told to stop.
	headerTimeout = 10 * time.Second
	stopTimeout   = 5 * time.Second
	// maxSocketPath is what a Unix socket's address holds.
	maxSocketPath = 107
)

// ErrSocketExists says that the socket's path is taken: by a server that lives, or by one that died.
var ErrSocketExists = errors.New("the socket exists already")

// ListenUnix makes a socket that only its owner can reach: 0600, in a folder of mode 0700. One that is there already
// is replaced only when replace says so, for only the caller knows whether its server still lives.
func ListenUnix(path string, replace bool) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %s: a socket's path can have %d bytes, this one has %d: use a shorter BENCHD_HOME", path, maxSocketPath, len(path))
	}
	if err := privateFolder(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if info, err := os.Lstat(path); err == nil {
		switch {
		case info.Mode()&os.ModeSocket == 0:
			return nil, fmt.Errorf("listen on %s: a file that is no socket is in the way: move it", path)
		case !replace:
			return nil, fmt.Errorf("listen on %s: %w: stop the control plane that made it", path, ErrSocketExists)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replace stale socket: %w", err)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("make socket private: %w", err), l.Close())
	}
	return l, nil
}

// privateFolder makes a folder for its owner alone, and refuses one that others can enter.
func privateFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("others can enter the folder %s (mode %04o): run `chmod 700 %s`", path, mode, path)
	}
	return nil
}

// ServeUnix answers on a listener of ListenUnix until ctx ends, then lets open requests finish and returns nil. It
// also answers /store/backup, which nobody gets over the network.
func (s *Server) ServeUnix(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("/", s.handler)
	mux.Handle("/store/backup", s.endpoint(nil, verbs{http.MethodGet: s.backup, http.MethodPost: s.backup}))
	return s.serve(ctx, l, &http.Server{Handler: mux}, func(hs *http.Server) error { return hs.Serve(l) })
}

// ServeTLS answers on a TCP listener until ctx ends, then lets open requests finish and returns nil. It speaks TLS only
// and answers nothing, not even health, without the bearer token.
func (s *Server) ServeTLS(ctx context.Context, l net.Listener, certFile, keyFile, token string) error {
	if token == "" {
		return errors.Join(fmt.Errorf("serve on %s: a TCP listener needs a token: see MakeCredentials", l.Addr()), l.Close())
	}
	hs := &http.Server{Handler: s.authenticate(token, s.handler), TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	return s.serve(ctx, l, hs, func(hs *http.Server) error { return hs.ServeTLS(l, certFile, keyFile) })
}

// authenticate asks for the bearer token. The hashes are compared, so that time tells not even its length.
func (s *Server) authenticate(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(given))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="benchd"`)
			s.respondError(w, r, apierrors.NewUnauthorized("a valid bearer token is needed: use the token or the kubeconfig that the server wrote"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) serve(ctx context.Context, l net.Listener, hs *http.Server, run func(*http.Server) error) error {
	requests, cancel := context.WithCancel(ctx) // watches last as long as this does
	defer cancel()
	hs.BaseContext = func(net.Listener) context.Context { return requests }
	hs.ReadHeaderTimeout = headerTimeout
	hs.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)

	failed := make(chan error, 1)
	go func() { failed <- run(hs) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancelStop()
	if hs.Shutdown(stop) != nil {
		_ = hs.Close() // a client does not read its answer; nothing is lost by cutting it off
	}
	<-failed
	return nil
}
