package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
)

func newTopCommand(o *options) *cobra.Command {
	var once bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch what is under way: sweeps, jobs, loads with their rates",
		Long: `Watch what is under way: sweeps with their progress, Allocations with what Slurm says of their jobs, and the runs whose load is
being made, with rates and latency of the last ten seconds. j and k, or arrows, move; enter, or a run's number, shows one run with its
phases, servers and nodes, esc leads back, and q ends it. Without a terminal, or with --once, it is printed once as plain text.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < 200*time.Millisecond {
				return exitError{exitInvalid, fmt.Errorf("--interval %s is too short: use 200ms or more", interval)}
			}
			c, err := connectRunning(cmd.Context(), o.home)
			if err != nil {
				return err
			}
			defer c.Close()
			out := cmd.OutOrStdout()
			view := &topView{screen: screenOf(out), rates: map[string]*series{}}
			if once || !drawable(out) {
				view.width, view.height = 0, 0
				return view.printOnce(cmd.Context(), c, out)
			}
			program := &topProgram{topView: view, client: c, interval: interval}
			_, err = tea.NewProgram(program, tea.WithContext(cmd.Context()), tea.WithOutput(out), tea.WithEnvironment(environment())).Run()
			if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramKilled) {
				return nil
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "print it once")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "time between two looks")
	return cmd
}

// sighting is what one look found.
type sighting struct {
	at          time.Time
	sweeps      []*api.BenchmarkSweep
	allocations []*api.Allocation
	runs        []*api.BenchmarkRun // those that are beyond the queue
	waiting     int                 // and how many are not
	err         error
	open        *runSight // of the run whose detail is shown, and why it could not be read
	openErr     error
}

// look asks the control plane for what has not ended. It costs what there is of that.
func look(ctx context.Context, c *client.Client) sighting {
	g := sighting{at: time.Now()}
	list := func(kind string, take func(api.Object)) {
		if g.err != nil {
			return
		}
		found, err := c.List(ctx, kind, client.ListOptions{FieldSelector: "status.live=true"})
		g.err = err
		for _, obj := range found.Items {
			take(obj)
		}
	}
	list(api.KindBenchmarkSweep, func(obj api.Object) {
		if s, ok := obj.(*api.BenchmarkSweep); ok {
			g.sweeps = append(g.sweeps, s)
		}
	})
	list(api.KindAllocation, func(obj api.Object) {
		if a, ok := obj.(*api.Allocation); ok {
			g.allocations = append(g.allocations, a)
		}
	})
	list(api.KindBenchmarkRun, func(obj api.Object) {
		run, ok := obj.(*api.BenchmarkRun)
		switch {
		case !ok:
		case run.Status.Phase == "" || run.Status.Phase == api.RunPending || run.Status.Phase == api.RunInitializing || run.Status.Phase == api.RunDeploying:
			g.waiting++
		default:
			g.runs = append(g.runs, run)
		}
	})
	return g
}

// topProgram is the terminal's side of a topView, a bubbletea model.
type topProgram struct {
	*topView
	client   *client.Client
	interval time.Duration
	looking  bool
	turn     due // of the look that is due next; a key may have brought one forward
}

// Init begins with a look.
func (p *topProgram) Init() tea.Cmd { return p.look() }

// look asks for everything, and for what stands around the run that is open.
func (p *topProgram) look() tea.Cmd {
	p.looking = true
	c, open := p.client, p.open
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		g := look(ctx, c)
		if open == (objectKey{}) || g.err != nil {
			return g
		}
		run, err := getRun(ctx, c, open.namespace, open.name)
		if err != nil {
			g.openErr = err
			return g
		}
		seen := seeAround(ctx, c, run)
		seen.loads = nodeLoads(ctx, c, seen.allocation)
		g.open = &seen
		return g
	}
}

// due says that it is time for the look of that number.
type due int

// Update takes keys, sizes and sightings.
func (p *topProgram) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tea.KeyPressMsg:
		switch key := m.String(); key {
		case "q", "ctrl+c":
			return p, tea.Quit
		case "ctrl+z":
			return p, tea.Suspend
		default:
			if p.press(key) && !p.looking {
				return p, p.look()
			}
		}
	case tea.WindowSizeMsg:
		p.width, p.height = m.Width, m.Height
	case due:
		if m == p.turn && !p.looking {
			return p, p.look()
		}
	case sighting:
		p.looking = false
		p.take(m)
		p.turn++
		next := p.turn
		return p, tea.Tick(p.interval, func(time.Time) tea.Msg { return next })
	}
	return p, nil
}

// View draws on the whole window.
func (p *topProgram) View() tea.View {
	view := tea.NewView(p.picture(p.lines()))
	view.AltScreen = true
	return view
}

func (v *topView) printOnce(ctx context.Context, c *client.Client, out io.Writer) error {
	v.take(look(ctx, c))
	if v.last.err != nil {
		return v.last.err
	}
	_, err := io.WriteString(styled(out), v.picture(v.lines())+"\n")
	return err
}
