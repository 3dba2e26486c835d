package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
)

// follower follows one run to its end, in a view that is redrawn in place or in lines.
type follower struct {
	cmd    *cobra.Command
	client *client.Client
	run    *api.BenchmarkRun
	place  string
}

// errTurnedAway says that the user has turned away while the run goes on.
var errTurnedAway = errors.New("left by the user")

// lines follows in lines, or in silence.
func (f *follower) lines(ctx context.Context, quiet bool) (waited, error) {
	progress := &progressLine{say: note(f.cmd), quiet: quiet, started: time.Now()}
	return f.follow(ctx, func(run *api.BenchmarkRun) { progress.show(run) })
}

func (f *follower) follow(ctx context.Context, show func(*api.BenchmarkRun)) (waited, error) {
	return waitFor(ctx, f.client, api.KindBenchmarkRun, f.run.Namespace, f.run.Name, func(w waited) (bool, error) {
		run, ok := w.obj.(*api.BenchmarkRun)
		if !ok {
			return false, errors.New("it was deleted")
		}
		show(run)
		return w.ended, nil
	})
}

// live follows in a view on the terminal behind out. The view is gone when it returns.
func (f *follower) live(ctx context.Context, out io.Writer) (waited, error) {
	following, stop := context.WithCancel(ctx)
	defer stop()
	model := &runProgram{view: runView{screen: screenOf(out), place: f.place, now: time.Now()}}
	program := tea.NewProgram(model, tea.WithOutput(out), tea.WithEnvironment(environment()), tea.WithoutSignalHandler())
	var last waited
	var failed error
	over := make(chan struct{})
	go func() {
		defer close(over)
		last, failed = f.follow(following, func(run *api.BenchmarkRun) { program.Send(seeAround(following, f.client, run)) })
		program.Send(gone{})
	}()
	_, err := program.Run()
	stop()
	<-over
	if model.left {
		return last, errTurnedAway
	}
	if err != nil {
		return last, fmt.Errorf("draw on the terminal: %w; --plain prints lines instead", err)
	}
	return last, failed
}

// seeAround looks at what stands around a run. What cannot be read is left out: the run itself tells what matters.
func seeAround(ctx context.Context, c *client.Client, run *api.BenchmarkRun) runSight {
	seen := runSight{at: time.Now(), run: run}
	if ref := run.Status.AllocationRef; ref != nil {
		if obj, err := c.Get(ctx, api.KindAllocation, run.Namespace, ref.Name); err == nil {
			seen.allocation, _ = obj.(*api.Allocation)
		}
	}
	about := []api.Object{run}
	if seen.allocation != nil {
		about = append(about, seen.allocation)
	}
	for _, obj := range about {
		list, err := c.List(ctx, api.KindEvent, client.ListOptions{Namespace: run.Namespace, FieldSelector: "involvedObject.uid=" + string(obj.GetUID())})
		if err != nil {
			continue
		}
		for _, item := range list.Items {
			if e, ok := item.(*api.Event); ok && e.Type == api.EventWarning {
				seen.warnings = append(seen.warnings, e)
			}
		}
	}
	slices.SortStableFunc(seen.warnings, func(a, b *api.Event) int {
		return cmp.Or(a.FirstTimestamp.Compare(b.FirstTimestamp.Time), compareVersions(a.ResourceVersion, b.ResourceVersion))
	})
	return seen
}

// runProgram is the terminal's side of a runView, a bubbletea model.
type runProgram struct {
	view       runView
	left, over bool
}

// gone says that there is nothing more to follow, beat that time goes on.
type (
	gone struct{}
	beat time.Time
)

func nextBeat() tea.Cmd {
	return tea.Tick(500*time.Millisecond, func(at time.Time) tea.Msg { return beat(at) })
}

// Init begins the beat.
func (p *runProgram) Init() tea.Cmd { return nextBeat() }

// Update takes keys, sizes and what was seen.
func (p *runProgram) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tea.KeyPressMsg:
		switch m.String() {
		case "ctrl+c", "q":
			p.left, p.over = true, true
			return p, tea.Quit
		case "ctrl+z":
			return p, tea.Suspend
		}
	case tea.WindowSizeMsg:
		p.view.width, p.view.height = m.Width, m.Height
	case runSight:
		p.view.take(m)
		p.view.now = m.at
	case beat:
		p.view.now = time.Time(m)
		return p, nextBeat()
	case gone:
		p.over = true
		return p, tea.Quit
	}
	return p, nil
}

// View draws. At the end it clears what was drawn: the summary takes its place.
func (p *runProgram) View() tea.View {
	if p.over {
		return tea.NewView("")
	}
	v := p.view
	v.height = max(2, v.height-1)
	lines := append(v.lines(), dimStyle.Render("Ctrl-C leaves it going"))
	return tea.NewView(v.picture(lines))
}
