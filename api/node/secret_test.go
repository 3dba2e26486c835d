package node

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A request carries what a private file holds, and not to another host that it is sent on to.
func TestAuthorize(t *testing.T) {
	seen := map[string]string{}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen["elsewhere"] = r.Header.Get("Authorization") }))
	defer elsewhere.Close()
	other := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen["first"] = r.Header.Get("Authorization")
		http.Redirect(w, r, other, http.StatusTemporaryRedirect)
	}))
	defer first.Close()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("Bearer abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, first.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := Authorize(req, ""); err != nil || len(req.Header) != 0 {
		t.Fatalf("without a file: %v, %v", req.Header, err)
	}
	if err := Authorize(req, file); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got, told := seen["elsewhere"]; seen["first"] != "Bearer abc" || !told || got != "" {
		t.Errorf("sent: %q", seen)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{file: "chmod 600", file + "x": "no such file", filepath.Dir(file): "no file"} {
		if err := Authorize(req, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
