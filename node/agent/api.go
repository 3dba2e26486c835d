package agent

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/benchd/benchd/api/node"
)

// apiServer is the agent's HTTPS side.
type apiServer struct{ http *http.Server }

func (s apiServer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // what did not end in a second is cut
	}
}

// serveAPI serves the executor API and the agent's own paths to those who have the job's token.
func (a *agent) serveAPI(l net.Listener) (apiServer, error) {
	cert, err := tls.LoadX509KeyPair(a.folder.Cert(), a.folder.Key())
	if err != nil {
		return apiServer{}, fmt.Errorf("serve the executor API: %w", err)
	}
	mux := http.NewServeMux()
	a.exec.Register(mux, a.metrics)
	mux.HandleFunc("GET /status", a.status)
	mux.HandleFunc("GET /clock", a.clock)
	mux.HandleFunc("POST /shutdown", a.end)
	mux.HandleFunc("GET /lead", a.leadView)
	s := &http.Server{
		Handler: a.authenticate(mux), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
		ReadHeaderTimeout: 10 * time.Second, ErrorLog: nil,
	}
	go func() {
		if err := s.ServeTLS(l, "", ""); err != http.ErrServerClosed {
			a.log.Error("the executor API stopped", "error", err)
		}
	}()
	return apiServer{s}, nil
}

func (a *agent) authenticate(next http.Handler) http.Handler {
	want := []byte("Bearer " + a.token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"the job's token is needed: it is in the job folder"}` + "\n")) // the client went away
			return
		}
		if r.Header.Get(node.LeadHeader) != "" {
			a.heard.Store(int64(time.Since(a.zero)))
		}
		next.ServeHTTP(w, r)
	})
}

func (a *agent) status(w http.ResponseWriter, _ *http.Request) {
	st := a.exec.Status()
	for _, s := range a.servers {
		st.Servers = append(st.Servers, s.status())
	}
	answer(w, st)
}

func (a *agent) clock(w http.ResponseWriter, _ *http.Request) {
	now := time.Now()
	answer(w, node.ClockReading{Nanos: int64(now.Sub(a.zero) + a.opts.ClockSkew), Wall: now.Add(a.opts.ClockSkew).UnixNano()})
}

func (a *agent) end(w http.ResponseWriter, _ *http.Request) {
	if a.asked.CompareAndSwap(false, true) {
		close(a.shutdown)
	}
	answer(w, struct{}{})
}

// leadView answers with what the lead knows, for a control plane that wants it sooner than a network file system shows
// it, or when the disk is full.
func (a *agent) leadView(w http.ResponseWriter, _ *http.Request) {
	l := a.lead.Load()
	if l == nil {
		http.Error(w, "this node does not lead, or not yet", http.StatusNotFound)
		return
	}
	answer(w, l.view())
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client went away
}
