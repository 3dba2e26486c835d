package logs

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// service plays a log service that answers as it is told, and keeps what it was sent.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	paths  []string
	bodies []string
	answer func(request int) (code int, body string)
}

func newService(t *testing.T, answer func(int) (int, string)) *service {
	t.Helper()
	s := &service{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.paths = append(s.paths, r.URL.Path+" "+r.Header.Get("Content-Type"))
		s.bodies = append(s.bodies, string(body))
		code, said := s.answer(len(s.bodies))
		s.mu.Unlock()
		w.WriteHeader(code)
		_, _ = io.WriteString(w, said)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bodies)
}

func taken(int) (int, string) { return http.StatusNoContent, "" }

// forwardTo runs a forwarder over the stage's logs, in one look at the end.
func (s *stage) forwardTo(url string, format api.ForwardFormat, change func(*forwarder)) api.LogSummary {
	s.t.Helper()
	settings := s.settings()
	settings.Forward = &api.ForwardSpec{URL: url, Format: format}
	settings.Labels = map[string]string{"run": "r", "team": `a "b"`}
	f, err := newForwarder(settings)
	if err != nil {
		s.t.Fatal(err)
	}
	f.backoff = time.Millisecond
	if change != nil {
		change(f)
	}
	if err := f.Deploy(nil); err != nil {
		s.t.Fatal(err)
	}
	f.Start()
	sum, err := f.Stop(noon.Add(time.Minute))
	if err != nil {
		s.t.Fatal(err)
	}
	return sum
}

func TestForwardFormats(t *testing.T) {
	for format, want := range map[api.ForwardFormat]struct{ path, body string }{
		api.ForwardLoki: {
			"/loki/api/v1/push application/json",
			`{"streams":[{"stream":{"run":"r","team":"a \"b\"","node":"n1","component":"server","container":"a","stream":"err","level":"error"},` +
				`"values":[["1767355201000000000","ERROR \"x\""],["1767355203000000000","ERROR y"]]},` +
				`{"stream":{"run":"r","team":"a \"b\"","node":"n2","component":"client","container":"b","stream":"out"},"values":[["1767355202000000000","plain"]]}]}`,
		},
		api.ForwardElasticsearch: {
			"/benchd/_bulk application/x-ndjson",
			`{"create":{}}` + "\n" + `{"@timestamp":"2026-01-02T12:00:01.000000000Z","run":"r","team":"a \"b\"","node":"n1","component":"server","container":"a","stream":"err","level":"error","message":"ERROR \"x\""}` + "\n" +
				`{"create":{}}` + "\n" + `{"@timestamp":"2026-01-02T12:00:02.000000000Z","run":"r","team":"a \"b\"","node":"n2","component":"client","container":"b","stream":"out","message":"plain"}` + "\n" +
				`{"create":{}}` + "\n" + `{"@timestamp":"2026-01-02T12:00:03.000000000Z","run":"r","team":"a \"b\"","node":"n1","component":"server","container":"a","stream":"err","level":"error","message":"ERROR y"}` + "\n",
		},
		api.ForwardFluentBit: {
			"/benchd application/json",
			`[{"timestamp":"2026-01-02T12:00:01.000000000Z","run":"r","team":"a \"b\"","node":"n1","component":"server","container":"a","stream":"err","level":"error","message":"ERROR \"x\""},` +
				`{"timestamp":"2026-01-02T12:00:02.000000000Z","run":"r","team":"a \"b\"","node":"n2","component":"client","container":"b","stream":"out","message":"plain"},` +
				`{"timestamp":"2026-01-02T12:00:03.000000000Z","run":"r","team":"a \"b\"","node":"n1","component":"server","container":"a","stream":"err","level":"error","message":"ERROR y"}]`,
		},
	} {
		t.Run(string(format), func(t *testing.T) {
			s, to := newStage(t), newService(t, taken)
			s.write("n1/server-a.log", at(1, "err", `ERROR "x"`)+at(3, "err", "ERROR y"))
			s.write("n2/client-b.log", at(2, "out", "plain"))
			sum := s.forwardTo(to.URL, format, nil)
			if len(to.bodies) != 1 {
				t.Fatalf("%d requests", len(to.bodies))
			}
			if diff := cmp.Diff([]string{want.path, want.body}, []string{to.paths[0], to.bodies[0]}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for line := range strings.Lines(to.bodies[0]) {
				if !json.Valid([]byte(line)) {
					t.Errorf("no JSON: %s", line)
				}
			}
			if sum.Forwarded != 3 || sum.Dropped != 0 || sum.Lines != 3 {
				t.Errorf("summary %+v", sum)
			}
			s.want(`ERROR "x"`, "plain", "ERROR y")
		})
	}
}

func TestForwardIsRepeatedWhileThatMayHelp(t *testing.T) {
	for name, tc := range map[string]struct {
		answer             func(int) (int, string)
		forwarded, dropped int64
		requests           int
		warned             string
	}{
		"a busy service":      {func(n int) (int, string) { return []int{429, 503, 204}[min(n-1, 2)], "" }, 1, 0, 3, ""},
		"one that refuses":    {func(int) (int, string) { return 400, "no such tenant" }, 0, 1, 1, "HTTP 400: no such tenant"},
		"bulk with one error": {func(int) (int, string) { return 200, `{"errors":true,"items":[{"create":{"status":400}}]}` }, 0, 1, 1, "1 of 1 lines"},
		"bulk without errors": {func(int) (int, string) { return 200, `{"errors":false,"items":[{"create":{"status":201}}]}` }, 1, 0, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, to := newStage(t), newService(t, tc.answer)
			s.write("n1/server-a.log", at(1, "out", "x"))
			sum := s.forwardTo(to.URL+"/own/_bulk", api.ForwardElasticsearch, nil)
			if sum.Forwarded != tc.forwarded || sum.Dropped != tc.dropped || to.requests() != tc.requests {
				t.Errorf("%d sent, %d dropped in %d requests", sum.Forwarded, sum.Dropped, to.requests())
			}
			if !strings.HasPrefix(to.paths[0], "/own/_bulk ") {
				t.Errorf("path %s", to.paths[0])
			}
			if log := s.log.String(); tc.warned == "" && log != "" || !strings.Contains(log, tc.warned) {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// Many lines go in many batches, each once, and the end waits for all of them.
func TestForwardSendsEveryLineOnce(t *testing.T) {
	s, to := newStage(t), newService(t, taken)
	const lines = 3*batchLines + 7
	var raw strings.Builder
	for i := range lines {
		raw.WriteString(at(float64(i)/1000, "out", fmt.Sprint("line ", i)))
	}
	s.write("n1/server-a.log", raw.String())
	sum := s.forwardTo(to.URL, api.ForwardFluentBit, nil)
	if sum.Forwarded != lines || sum.Dropped != 0 || len(to.bodies) != 4 {
		t.Errorf("%d of %d lines in %d requests, %d dropped", sum.Forwarded, lines, len(to.bodies), sum.Dropped)
	}
	next := 0
	for _, body := range to.bodies {
		var got []struct{ Message string }
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		for _, l := range got {
			if l.Message != fmt.Sprint("line ", next) {
				t.Fatalf("%q in the place of line %d", l.Message, next)
			}
			next++
		}
	}
}

// A service that is not there, or hangs, costs lines and a warning, never the run: its own files are whole, and the end comes in time.
func TestForwardToNobody(t *testing.T) {
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hangs.Close()
	defer close(release)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, url := range map[string]string{"closed": closed.URL, "hangs": hangs.URL} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			const lines = (heldBatches + 5) * batchLines
			var raw strings.Builder
			for i := range lines {
				raw.WriteString(at(float64(i)/1000, "out", fmt.Sprint("line ", i)))
			}
			s.write("n1/server-a.log", raw.String())
			sum := s.forwardTo(url, api.ForwardLoki, func(f *forwarder) { f.patient = 50 * time.Millisecond })
			if sum.Forwarded != 0 || sum.Dropped != lines || sum.Lines != lines {
				t.Errorf("summary %+v", sum)
			}
			if n := strings.Count(s.log.String(), "send log lines"); n != 1 {
				t.Errorf("%d warnings: %s", n, &s.log)
			}
			if !strings.Contains(s.log.String(), fmt.Sprintf("dropped=%d", lines)) {
				t.Errorf("the drops are not told: %s", &s.log)
			}
		})
	}
}

// A service that comes back is sent lines again.
func TestForwardGoesOnOnceTheServiceIsBack(t *testing.T) {
	var mu sync.Mutex
	away := true
	s, to := newStage(t), newService(t, func(int) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			return 400, "away"
		}
		return 204, ""
	})
	settings := s.settings()
	settings.FlushInterval = time.Millisecond
	settings.Forward = &api.ForwardSpec{URL: to.URL, Format: api.ForwardLoki}
	f, err := newForwarder(settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Deploy(nil); err != nil {
		t.Fatal(err)
	}
	f.Start()
	s.write("n1/server-a.log", at(1, "out", "lost"))
	await(t, "the first request", func() bool { return f.dropped.Load() == 1 })
	mu.Lock()
	away = false
	mu.Unlock()
	s.write("n1/server-a.log", at(2, "out", "kept"))
	await(t, "the second one", func() bool { return f.forwarded.Load() == 1 })
	sum, err := f.Stop(farOff)
	if err != nil || sum.Forwarded != 1 || sum.Dropped != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	if log := s.log.String(); !strings.Contains(log, "takes lines again") {
		t.Errorf("log: %s", log)
	}
}

func TestForwarderThatWasNeverStarted(t *testing.T) {
	s := newStage(t)
	settings := s.settings()
	settings.Forward = &api.ForwardSpec{URL: "http://127.0.0.1:9", Format: api.ForwardLoki}
	f, err := newForwarder(settings)
	if err != nil {
		t.Fatal(err)
	}
	s.write("n1/server-a.log", at(1, "out", "x"))
	if err := f.Deploy(nil); err != nil {
		t.Fatal(err)
	}
	if sum, err := f.Stop(farOff); err != nil || sum.Lines != 1 || sum.Dropped != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// A service that is away to the end: the warning tells why, not that the sending was ended.
func TestForwardTellsWhyLinesWereDropped(t *testing.T) {
	s, to := newStage(t), newService(t, func(int) (int, string) { return http.StatusServiceUnavailable, "come back later" })
	s.write("n1/server-a.log", at(1, "out", "x"))
	var log strings.Builder
	sum := s.forwardTo(to.URL, api.ForwardLoki, func(f *forwarder) {
		f.patient = 100 * time.Millisecond
		f.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	if sum.Dropped != 1 || !strings.Contains(log.String(), "HTTP 503: come back later") {
		t.Errorf("%+v: %s", sum, log.String())
	}
}

// A login page that a line ends at, or a server that wants TLS, has taken nothing: with such an answer a POST would become a GET, which
// a page answers happily. One that keeps the method is followed.
func TestForwardDoesNotEndAtALoginPage(t *testing.T) {
	for status, want := range map[int]int64{http.StatusFound: 0, http.StatusMovedPermanently: 0, http.StatusSeeOther: 0, http.StatusTemporaryRedirect: 1, http.StatusPermanentRedirect: 1} {
		to := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/login" {
				http.Redirect(w, r, "/login?state=abc", status)
			}
		}))
		s := newStage(t)
		s.write("n1/server-a.log", at(1, "out", "x"))
		sum := s.forwardTo(to.URL, api.ForwardLoki, nil)
		log := s.log.String()
		if sum.Forwarded != want || sum.Dropped != 1-want || strings.Contains(log, to.URL+"/login") == (want == 1) || strings.Contains(log, "abc") {
			t.Errorf("HTTP %d: %+v, %s", status, sum, log)
		}
		to.Close()
	}
}

// A service that asks for a password gets what a private file holds; the file's mode is a reason to send nothing.
func TestForwardWithAuthorization(t *testing.T) {
	to := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer abc" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer to.Close()
	for mode, want := range map[os.FileMode]struct {
		forwarded int64
		log       string
	}{0o600: {1, ""}, 0o644: {0, "chmod 600"}} {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte("Bearer abc\n"), mode); err != nil {
			t.Fatal(err)
		}
		s := newStage(t)
		s.write("n1/server-a.log", at(1, "out", "x"))
		sum := s.forwardTo(to.URL, api.ForwardLoki, func(f *forwarder) { f.secret = file })
		if log := s.log.String(); sum.Forwarded != want.forwarded || sum.Forwarded+sum.Dropped != 1 || !strings.Contains(log, want.log) || strings.Contains(log, "abc") {
			t.Errorf("%04o: %+v, %s", mode, sum, log)
		}
	}
	spec := api.ForwardSpec{URL: to.URL, Format: api.ForwardLoki, AuthorizationFile: "/a/key"}
	if f, err := newForwarder(Settings{Forward: &spec}); err != nil || f.secret != "/a/key" {
		t.Errorf("%v, %v", f, err)
	}
}
