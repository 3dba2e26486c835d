package main

import (
	"errors"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// The picture is no wider and no higher than its window, and says what does not fit.
func TestTopFitsItsWindow(t *testing.T) {
	t.Parallel()
	g := sighting{waiting: 7}
	g.sweeps = []*api.BenchmarkSweep{{ObjectMeta: metav1.ObjectMeta{Name: "night"}, Status: api.BenchmarkSweepStatus{Phase: api.SweepActive, Total: 10, Succeeded: 4, Failed: 1, Message: "5 of 10 runs have ended"}}}
	for _, phase := range []api.AllocationPhase{api.AllocationQueued, api.AllocationReady} {
		g.allocations = append(g.allocations, &api.Allocation{ObjectMeta: metav1.ObjectMeta{Name: string(phase)}, Status: api.AllocationStatus{Phase: phase, Message: strings.Repeat("long ", 60)}})
	}
	for i := range 40 {
		g.runs = append(g.runs, &api.BenchmarkRun{
			ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("n", 20+i)},
			Status:     api.BenchmarkRunStatus{Phase: api.RunExecuting, Progress: &api.Progress{Percent: int32(i), TokenRate: float64(i), RequestRate: 3, TTFTP50: 0.02}},
		})
	}
	v := &topView{history: map[string][]float64{}}
	for range 30 {
		v.take(g)
	}
	for _, size := range [][2]int{{0, 0}, {20, 5}, {80, 24}, {200, 80}} {
		v.width, v.height = size[0], size[1]
		picture := v.picture()
		lines := strings.Split(picture, "\n")
		if v.height > 0 && len(lines) > v.height {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, line := range lines {
			if v.width > 0 && lipgloss.Width(line) > v.width && !strings.HasPrefix(line, "… ") {
				t.Errorf("%v: a line of %d columns: %q", size, lipgloss.Width(line), line)
			}
		}
		if size[0] == 0 && (strings.Contains(picture, "\x1b") || strings.Index(picture, "Ready") > strings.Index(picture, "Queued")) {
			t.Errorf("plain text has escapes, or what is ready is not first:\n%s", picture)
		}
		if size[0] == 80 && !strings.Contains(picture, "more lines: make the window higher") {
			t.Errorf("what does not fit is not said:\n%s", picture)
		}
	}
	v.take(sighting{err: errors.New("gone")})
	v.width, v.height = 0, 0
	if p := v.picture(); !strings.Contains(p, "does not answer: gone") || !strings.Contains(p, "night") {
		t.Errorf("a look that failed drops what was known:\n%s", p)
	}
	for range 50 {
		v.take(sighting{})
	}
	if len(v.history) > 0 {
		t.Error("histories of runs that have ended are kept")
	}
}
