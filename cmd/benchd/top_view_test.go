package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// busy is a sighting of a sweep, two Allocations and some runs.
func busy(runs int) sighting {
	two := int32(2)
	g := sighting{at: viewStart, waiting: 7}
	g.sweeps = []*api.BenchmarkSweep{{ObjectMeta: metav1.ObjectMeta{Name: "night", UID: "s"}, Status: api.BenchmarkSweepStatus{Phase: api.SweepActive, Total: 10, Succeeded: 4, Failed: 1, Message: "5 of 10 runs have ended"}}}
	for _, phase := range []api.AllocationPhase{api.AllocationQueued, api.AllocationReady} {
		a := &api.Allocation{ObjectMeta: metav1.ObjectMeta{Name: "on-" + strings.ToLower(string(phase)), UID: types.UID(phase)}, Status: api.AllocationStatus{Phase: phase, Message: strings.Repeat("long ", 60)}}
		a.Spec.Nodes.Servers.Count, a.Spec.Service.Replicas = &two, 2
		if phase == api.AllocationReady {
			a.Status.Nodes, a.Status.Servers = make([]api.NodeStatus, 2), make([]api.ServerStatus, 1)
		}
		g.allocations = append(g.allocations, a)
	}
	for i := range runs {
		name := fmt.Sprintf("run-%02d", i+1)
		seen := seenAt(api.RunExecuting, executing)
		seen.run.Name, seen.run.UID = name, types.UID(name)
		g.runs = append(g.runs, seen.run)
	}
	return g
}

func topPicture(p *topProgram) string { return ansi.Strip(p.View().Content) }

func keys(p *topProgram, names ...string) {
	for _, name := range names {
		key := tea.Key{Text: name}
		switch name {
		case "enter":
			key = tea.Key{Code: tea.KeyEnter}
		case "esc":
			key = tea.Key{Code: tea.KeyEscape}
		case "down":
			key = tea.Key{Code: tea.KeyDown}
		}
		p.Update(tea.KeyPressMsg(key))
	}
}

func newTop(width, height int, g sighting) *topProgram {
	p := &topProgram{topView: &topView{rates: map[string]*series{}}, interval: time.Second}
	p.Update(tea.WindowSizeMsg{Width: width, Height: height})
	for i := range 4 {
		g.at = viewStart.Add(time.Duration(i) * time.Second)
		p.Update(g)
	}
	return p
}

// What matters most is there at any width, and the more room there is, the more is told.
func TestTopOverWidths(t *testing.T) {
	t.Parallel()
	for width, c := range map[int]struct{ want, not []string }{
		20:  {[]string{"night", "on-ready", "run-01"}, []string{"MESSAGE", "LOAD"}},
		40:  {[]string{"Executing", "50 %", "1394", "2/2", "1/2", "5/10"}, []string{"TTFT SO FAR"}},
		80:  {[]string{"51.2 ms", "21.87"}, []string{"TTFT SO FAR"}},
		160: {[]string{"██████░░░░░░", "TOK/S SO FAR", "TTFT SO FAR", "████", "0/2", "long long"}, nil},
	} {
		picture := topPicture(newTop(width, 40, busy(2)))
		for _, want := range c.want {
			if !strings.Contains(picture, want) {
				t.Errorf("width %d: %q is not in\n%s", width, want, picture)
			}
		}
		for _, not := range c.not {
			if strings.Contains(picture, not) {
				t.Errorf("width %d: %q is in\n%s", width, not, picture)
			}
		}
		if strings.Index(picture, "on-ready") > strings.Index(picture, "on-queued") {
			t.Errorf("width %d: what is ready is not first:\n%s", width, picture)
		}
	}
}

// What a node answers may be anything.
func FuzzReadLoad(f *testing.F) {
	f.Add("benchd_node_cpu_percent 1\n")
	f.Add("benchd_gpu_utilization_percent{gpu=\"0\"} NaN\n# TYPE x summary\nx{quantile=\"0.5\"} +Inf\n")
	f.Fuzz(func(t *testing.T, text string) {
		load, err := readLoad(strings.NewReader(text))
		if err == nil && len(load.cells()) != 5 {
			t.Errorf("%+v", load)
		}
	})
}

// What does not fit is counted, and keys lead there.
func TestTopScrolls(t *testing.T) {
	t.Parallel()
	p := newTop(80, 14, busy(30))
	if picture := topPicture(p); !strings.Contains(picture, "night") || !strings.Contains(picture, "↑0 ↓27") || strings.Contains(picture, "run-30") {
		t.Errorf("at the top:\n%s", picture)
	}
	for range 40 {
		keys(p, "j", "down")
	}
	if picture := topPicture(p); !strings.Contains(picture, "run-30") || !strings.Contains(picture, "↓0") || strings.Contains(picture, "night") {
		t.Errorf("at the end:\n%s", picture)
	}
	for range 40 {
		keys(p, "k")
	}
	if picture := topPicture(p); !strings.Contains(picture, "SWEEP") || !strings.Contains(picture, "↑0") {
		t.Errorf("at the top again:\n%s", picture)
	}
}

// Enter and numbers open a run, esc leads back, and the run stays chosen when others end before it.
func TestTopOpensARun(t *testing.T) {
	t.Parallel()
	g := busy(3)
	p := newTop(80, 40, g)
	keys(p, "j", "j", "j", "j", "enter")
	if picture := topPicture(p); !strings.Contains(picture, "run/run-02") || !strings.Contains(picture, "▸ Executing") || strings.Contains(picture, "run-03") {
		t.Errorf("enter:\n%s", picture)
	}
	seen := seenAt(api.RunExecuting, executing)
	seen.run.Name, seen.run.UID = "run-02", "run-02"
	seen.allocation = &api.Allocation{Status: api.AllocationStatus{
		Nodes: []api.NodeStatus{{Name: "n7", Roles: []string{"server"}}}, Servers: []api.ServerStatus{{Name: "dummy-0", Node: "n7", URL: "http://n7:5000"}},
	}}
	load, err := readLoad(strings.NewReader(`# TYPE benchd_node_cpu_percent gauge
benchd_node_cpu_percent{node="n7"} 37.4
benchd_node_memory_used_bytes{node="n7"} 8589934592
benchd_node_memory_total_bytes{node="n7"} 549755813888
# TYPE benchd_gpu_utilization_percent gauge
benchd_gpu_utilization_percent{node="n7",gpu="0"} 90
benchd_gpu_utilization_percent{node="n7",gpu="1"} 70
benchd_gpu_memory_used_bytes{node="n7",gpu="0"} 1073741824
benchd_gpu_memory_total_bytes{node="n7",gpu="0"} 42949672960
`))
	if err != nil {
		t.Fatal(err)
	}
	seen.loads = map[int32]nodeLoad{0: load}
	more := g
	more.open = &seen
	p.Update(more)
	if picture := topPicture(p); !strings.Contains(picture, "http://n7:5000") || !strings.Contains(picture, "ROLES") || !strings.Contains(picture, "tok/s    ") {
		t.Errorf("servers, nodes and rates:\n%s", picture)
	} else if !strings.Contains(picture, "37 %  8.0/512 GiB  2× 80 %  1.0/40 GiB") {
		t.Errorf("how busy nodes are:\n%s", picture)
	}
	more.open, more.openErr = nil, errors.New("run run-02 not found")
	p.Update(more)
	if picture := topPicture(p); !strings.Contains(picture, "not found") || !strings.Contains(picture, "run/run-02") {
		t.Errorf("a run that has gone:\n%s", picture)
	}
	keys(p, "esc")
	if picture := topPicture(p); !strings.Contains(picture, "run-03") || !strings.Contains(picture, "SWEEP") {
		t.Errorf("esc:\n%s", picture)
	}
	g.runs = g.runs[1:]
	p.Update(g)
	keys(p, "enter")
	if picture := topPicture(p); !strings.Contains(picture, "run/run-02") {
		t.Errorf("the chosen run is another one after the first has ended:\n%s", picture)
	}
	keys(p, "esc", "2")
	if picture := topPicture(p); !strings.Contains(picture, "run/run-03") {
		t.Errorf("a number:\n%s", picture)
	}
	if _, quit := p.Update(tea.KeyPressMsg(tea.Key{Text: "q"})); quit == nil {
		t.Error("q does not end it")
	}
}

// A look that failed drops nothing of what was known, and what has ended is forgotten.
func TestTopKeepsWhatItKnows(t *testing.T) {
	t.Parallel()
	p := newTop(100, 40, busy(2))
	p.Update(sighting{err: errors.New("gone")})
	if picture := topPicture(p); !strings.Contains(picture, "does not answer: gone") || !strings.Contains(picture, "night") {
		t.Errorf("got\n%s", picture)
	}
	p.Update(sighting{at: viewStart})
	if picture := topPicture(p); !strings.Contains(picture, "nothing is under way") || len(p.rates) > 0 {
		t.Errorf("%d histories of runs that have ended are kept:\n%s", len(p.rates), picture)
	}
}

// Looks come one at a time: a key that asks for one makes the one that was due void.
func TestTopLooksOnce(t *testing.T) {
	t.Parallel()
	p := newTop(80, 40, busy(1))
	stale := p.turn
	p.Update(tea.KeyPressMsg(tea.Key{Text: "1"}))
	p.Update(busy(1))
	if _, look := p.Update(stale); look != nil {
		t.Error("a look that was due before another one is made too")
	}
	if _, look := p.Update(p.turn); look == nil {
		t.Error("the look that is due is not made")
	}
}

// The picture is no wider and no higher than its window whatever stands in it and whichever keys were pressed.
func TestTopFitsItsWindow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := screen{width: rapid.IntRange(20, 250).Draw(t, "width"), height: rapid.IntRange(8, 60).Draw(t, "height"), ascii: rapid.Bool().Draw(t, "ascii")}
		g := busy(rapid.IntRange(0, 20).Draw(t, "runs"))
		for _, run := range g.runs {
			run.Name, run.Status.Message = foreignText().Draw(t, "name"), foreignText().Draw(t, "message")
		}
		p := newTop(s.width, s.height, g)
		p.ascii = s.ascii
		for range rapid.IntRange(0, 30).Draw(t, "keys") {
			keys(p, rapid.SampledFrom([]string{"j", "k", "down", "enter", "esc", "1", "9"}).Draw(t, "key"))
			if p.detail != nil && rapid.Bool().Draw(t, "look") {
				seen := drawnSight(t)
				g.open = &seen
				p.open = keyOf(seen.run)
				p.Update(g)
			}
		}
		assertFits(t, s, p.View().Content)
	})
}
