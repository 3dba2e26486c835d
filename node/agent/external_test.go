package agent

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/services"
)

// An endpoint may ask for its key everywhere, and may leave a first question without an answer.
func TestHealthOfAnExternalServer(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	done := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			<-done
		} else if r.Header.Get("Authorization") != "Bearer k" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer srv.Close()
	defer close(done)
	service := &services.Service{Prepare: func(context.Context, services.Server) (services.Prepared, error) {
		return services.Prepared{Version: "1"}, nil
	}}
	s := services.Server{URL: srv.URL, APIKey: "k", Spec: api.ServiceSpec{Health: api.HealthSpec{Endpoint: "/health"}}}
	ctx, cancel := context.WithTimeout(t.Context(), 4*healthPatience)
	defer cancel()
	begun := time.Now()
	if _, err := lookAtExternal(ctx, service, s); err == nil || time.Since(begun) > 2*healthPatience {
		t.Errorf("a server that does not answer: %v after %s", err, time.Since(begun))
	}
	if p, err := lookAtExternal(ctx, service, s); err != nil || p.Version != "1" {
		t.Errorf("a server that wants its key: %v", err)
	}
}

// A key that is refused is the user's to correct; it is told at once, and not tried again until the health timeout.
func TestARefusedKeyIsTheUsers(t *testing.T) {
	t.Parallel()
	var open atomic.Value // a path that asks for no key
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == open.Load() {
			_, _ = w.Write([]byte(`{"version": "1"}`))
			return
		}
		http.Error(w, `{"error": "invalid key"}`, http.StatusUnauthorized)
	}))
	defer srv.Close()
	spec := api.ServiceSpec{Name: "external", Model: "m", Endpoints: []string{srv.URL}}
	service, err := services.Of(&spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ endpoint, open string }{{"", ""}, {"/health", ""}, {"", "/api/version"}} {
		spec.Health.Endpoint = tc.endpoint
		open.Store(tc.open)
		s := services.Server{URL: srv.URL, APIKey: "k", Spec: spec, Progress: func(string, ...any) {}}
		_, err := lookAtExternal(t.Context(), service, s)
		if wrong := (*services.UserError)(nil); !errors.As(err, &wrong) || wrong.Reason != "APIKeyRefused" || !strings.Contains(err.Error(), "service.apiKey") {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}
