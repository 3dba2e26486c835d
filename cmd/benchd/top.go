package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/term"
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
being made, with rates and latency of the last ten seconds. q ends it. Without a terminal, or with --once, it is printed once.`,
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
			view := &topView{client: c, interval: interval, history: map[string][]float64{}, width: 100, height: 40}
			if out, isFile := cmd.OutOrStdout().(*os.File); once || !isFile || !term.IsTerminal(out.Fd()) {
				view.width, view.height = 0, 0
				return view.printOnce(cmd.Context(), cmd.OutOrStdout())
			}
			_, err = tea.NewProgram(view, tea.WithContext(cmd.Context())).Run()
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

// topView is the terminal's picture, a bubbletea model.
type topView struct {
	client        *client.Client
	interval      time.Duration
	last          sighting
	history       map[string][]float64 // token rates of a run, newest last
	width, height int
}

// historyLength is how many looks a sparkline shows.
const historyLength = 24

func (v *topView) Init() tea.Cmd { return v.fetch }

func (v *topView) fetch() tea.Msg {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return look(ctx, v.client)
}

// tick is when the next look is due.
type tick struct{}

func (v *topView) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tea.KeyPressMsg:
		if key := m.String(); key == "q" || key == "esc" || key == "ctrl+c" {
			return v, tea.Quit
		}
	case tea.WindowSizeMsg:
		v.width, v.height = m.Width, m.Height
	case tick:
		return v, v.fetch
	case sighting:
		v.take(m)
		return v, tea.Tick(v.interval, func(time.Time) tea.Msg { return tick{} })
	}
	return v, nil
}

// take keeps what was sighting. What a failed look does not tell stays as it was.
func (v *topView) take(g sighting) {
	if g.err != nil {
		v.last.err = g.err
		return
	}
	v.last = g
	running := map[string]bool{}
	for _, run := range g.runs {
		running[run.Name] = true
		if p := run.Status.Progress; p != nil && run.Status.Phase == api.RunExecuting {
			h := append(v.history[run.Name], p.TokenRate)
			v.history[run.Name] = h[max(0, len(h)-historyLength):]
		}
	}
	for name := range v.history {
		if !running[name] {
			delete(v.history, name)
		}
	}
}

func (v *topView) View() tea.View {
	view := tea.NewView(v.picture())
	view.AltScreen = true
	return view
}

func (v *topView) printOnce(ctx context.Context, out io.Writer) error {
	v.take(look(ctx, v.client))
	if v.last.err != nil {
		return v.last.err
	}
	_, err := io.WriteString(out, v.picture()+"\n")
	return err
}

var (
	headStyle = lipgloss.NewStyle().Bold(true)
	dimStyle  = lipgloss.NewStyle().Faint(true)
	badStyle  = lipgloss.NewStyle().Foreground(lipgloss.Color("1"))
)

// picture is the whole of it as text, no wider than the window, with what does not fit counted.
func (v *topView) picture() string {
	g := &v.last
	var lines []string
	add := func(style lipgloss.Style, format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		if v.width == 0 { // no terminal: plain text
			lines = append(lines, line)
			return
		}
		lines = append(lines, style.MaxWidth(v.width).Render(line))
	}
	plain := lipgloss.NewStyle()
	add(headStyle, "benchd  %s   %d sweeps, %d Allocations, %d runs under way, %d waiting", g.at.Format(time.TimeOnly), len(g.sweeps), len(g.allocations), len(g.runs), g.waiting)
	if g.err != nil {
		add(badStyle, "the control plane does not answer: %v", g.err)
	}
	if len(g.sweeps) > 0 {
		add(dimStyle, "\n%-24s %-10s %-22s %7s %8s  %s", "SWEEP", "PHASE", "PROGRESS", "FAILED", "NODE-H", "MESSAGE")
		for _, s := range g.sweeps {
			st := &s.Status
			share := float64(st.Ended()) / float64(max(1, st.Total))
			add(plain, "%-24s %-10s %s %4.0f%% %7d %8.4g  %s", cut(s.Name, 24), st.Phase, bar(share, 16), 100*share, st.Failed, st.NodeHours, st.Message)
		}
	}
	if len(g.allocations) > 0 {
		add(dimStyle, "\n%-24s %-10s %-10s %-12s %s", "ALLOCATION", "PHASE", "JOB", "STATE", "MESSAGE")
		for _, a := range byPhase(g.allocations) {
			state := ""
			if a.Status.Job != nil {
				state = a.Status.Job.State
			}
			add(plain, "%-24s %-10s %-10s %-12s %s", cut(a.Name, 24), a.Status.Phase, a.Status.JobID, state, a.Status.Message)
		}
	}
	if len(g.runs) > 0 {
		add(dimStyle, "\n%-36s %-12s %-20s %9s %9s %9s  %s", "RUN", "PHASE", "LOAD", "REQ/S", "TOK/S", "TTFT", "TOK/S SO FAR")
		for _, run := range g.runs {
			add(plain, "%s", v.runLine(run))
		}
	}
	if len(g.sweeps)+len(g.allocations)+len(g.runs) == 0 {
		add(dimStyle, "\nnothing is under way: benchd apply -f FILE")
	}
	text := strings.Join(lines, "\n")
	if all := strings.Split(text, "\n"); v.height > 2 && len(all) > v.height {
		text = strings.Join(all[:v.height-1], "\n") + fmt.Sprintf("\n… %d more lines: make the window higher", len(all)-v.height+1)
	}
	return text
}

func (v *topView) runLine(run *api.BenchmarkRun) string {
	line := fmt.Sprintf("%-36s %-12s", cut(run.Name, 36), run.Status.Phase)
	p := run.Status.Progress
	if p == nil || run.Status.Phase != api.RunExecuting {
		return line + " " + run.Status.Message
	}
	return line + fmt.Sprintf(" %s %3d%% %9.4g %9.4g %7.4gms  %s", bar(float64(p.Percent)/100, 14), p.Percent, p.RequestRate, p.TokenRate, 1000*p.TTFTP50, sparkline(v.history[run.Name]))
}

// byPhase puts what is on nodes first.
func byPhase(all []*api.Allocation) []*api.Allocation {
	rank := func(a *api.Allocation) int {
		return slices.Index([]api.AllocationPhase{api.AllocationReady, api.AllocationPreparing, api.AllocationStarting, api.AllocationReleasing, api.AllocationQueued}, a.Status.Phase)
	}
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b *api.Allocation) int {
		x, y := rank(a), rank(b)
		if (x < 0) != (y < 0) {
			return y - x // what has no rank comes last
		}
		return x - y
	})
	return sorted
}

func bar(share float64, width int) string {
	full := int(max(0, min(1, share)) * float64(width))
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

// sparkline draws values from zero to their maximum.
func sparkline(values []float64) string {
	const levels = "▁▂▃▄▅▆▇█"
	most := 0.0
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	for _, v := range values {
		at := 0
		if most > 0 {
			at = int(v / most * 7.99)
		}
		b.WriteRune([]rune(levels)[at])
	}
	return b.String()
}

func cut(text string, width int) string {
	if r := []rune(text); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return text
}
