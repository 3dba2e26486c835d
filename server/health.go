package server

import (
	"io"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// routeHealth serves what supervisors and Prometheus look at.
func (s *Server) routeHealth(mux *http.ServeMux) {
	alive := func(w http.ResponseWriter, _ *http.Request) { answerText(w, http.StatusOK, "ok") }
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /livez", alive)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.opts.Ready(); err != nil {
			answerText(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
		answerText(w, http.StatusOK, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{Registry: s.opts.Registry}))
}

func answerText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text) // a client that went away needs no answer
}

// backup streams a copy of the live store. Were it cut short, the client would see a broken connection and not a short file.
func (s *Server) backup(w http.ResponseWriter, r *request) error {
	w.Header().Set("Content-Type", "application/octet-stream")
	if _, err := s.store.Backup(w); err != nil {
		s.log.ErrorContext(r.Context(), "backup broke off", "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}
