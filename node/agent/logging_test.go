package agent

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/node/logs"
)

// A known failure among a server's last lines is the reason, unless the reason that there is says more.
func TestServerFailureIsExplained(t *testing.T) {
	t.Parallel()
	oom := "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
	own := []api.LogRule{{Name: "Mine", Patterns: []string{"^goodbye$"}, Class: api.FailureInfrastructure, Meaning: "it left", NextStep: "call it back"}}
	for name, tc := range map[string]struct {
		lines  []string
		own    []api.LogRule
		err    error
		class  api.FailureClass
		reason string
		told   string
	}{
		"known":               {[]string{"Traceback", oom, "bye"}, nil, &gateError{reasonHealth, errors.New("not healthy")}, api.FailureUser, "CUDAOutOfMemory", "not healthy: the GPU's memory is not enough"},
		"not known":           {[]string{"bye"}, nil, &gateError{reasonHealth, errors.New("not healthy")}, api.FailureService, reasonHealth, "not healthy"},
		"a reason that knows": {[]string{oom}, nil, &gateError{"RayWorkersMissing", errors.New("1 of 2")}, api.FailureService, "RayWorkersMissing", "1 of 2"},
		"the user's mistake":  {[]string{oom}, nil, mistake(reasonLaunch, "no such program"), api.FailureUser, reasonLaunch, "no such program"},
		"a rule of one's own": {[]string{oom, "goodbye"}, own, errors.New("start"), api.FailureInfrastructure, "Mine", "start: it left: call it back"},
		"a rule that is none": {[]string{oom}, []api.LogRule{{Name: "Broken", Patterns: []string{"("}}}, errors.New("start"), api.FailureUser, "CUDAOutOfMemory", "start"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := node.Folder(t.TempDir())
			for _, dir := range []string{folder.Orders(), folder.Logs("n1")} {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := node.WriteSealed(folder.Order(1), node.Order{Number: 1, Logging: api.LoggingSpec{Rules: tc.own}}); err != nil {
				t.Fatal(err)
			}
			source := logs.Source{Node: "n1", Component: node.RoleServer, Container: "vllm-0"}
			var raw strings.Builder
			for _, line := range tc.lines {
				raw.WriteString(time.Now().UTC().Format(time.RFC3339Nano) + " err " + line + "\n")
			}
			if err := os.WriteFile(filepath.Join(folder.Logs("n1"), source.File()), []byte(raw.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			s := &server{agent: &agent{folder: folder, log: slog.New(slog.DiscardHandler), mask: logs.Mask()}, sources: []logs.Source{source}}
			s.fail(tc.err)
			st := s.status()
			if st.Class != tc.class || st.Reason != tc.reason || !strings.HasPrefix(st.Message, tc.told) {
				t.Errorf("%s %s: %s", st.Class, st.Reason, st.Message)
			}
			if tc.reason == "CUDAOutOfMemory" && (len(st.Evidence) != 1 || st.Evidence[0] != oom) {
				t.Errorf("evidence: %q", st.Evidence)
			}
		})
	}
}
