package services

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A page that is longer than is read gives no numbers: the last one may be cut in two.
func TestObserveAPageWithoutEnd(t *testing.T) {
	const line = "\nvllm:num_requests_running 12345\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("#\n", (maxAnswer-len(line))/2+2) + line))
	}))
	defer server.Close()
	service := &Service{External: true}
	told, err := service.Observe(t.Context(), Server{URL: server.URL})
	if err == nil || len(told) != 0 {
		t.Errorf("%v, %v", told, err)
	}
}
