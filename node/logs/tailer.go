package logs

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// liveDelay is how far the growing files stay behind: a node's lines that are seen later than that come after those of other nodes,
// until Stop puts all in their order.
const liveDelay = time.Second

// tailer follows the raw logs by looking at them once an interval, for network file systems tell nobody of changes. What it has
// read goes to the outputs, which grow so while the run goes on; at the end they are made anew from the raw logs by Merge, so that
// every line is there, in the order of time over all nodes.
type tailer struct {
	Settings
	merger   *merger
	live     writers
	expected []Source
	ready    atomic.Bool

	// each is shown every line that is read, flushed when a look is over; both may be nil.
	each    func(r *reader, level Level)
	flushed func()

	stop     chan struct{}
	running  sync.WaitGroup
	deployed bool
	broken   bool // nothing more can be written while the run goes on
	warned   map[string]bool
}

func newTailer(s Settings) *tailer {
	return &tailer{Settings: s, stop: make(chan struct{}), warned: map[string]bool{}}
}

// Deploy creates the outputs.
func (t *tailer) Deploy(sources []Source) error {
	t.expected = sources
	t.merger = newMerger(t.Root, t.Window)
	t.deployed = true
	if err := t.live.open(t.Outputs, true); err != nil {
		return fmt.Errorf("create the files of the logs: %w", errors.Join(err, t.live.close(true)))
	}
	return nil
}

// Start looks at the raw logs now and once an interval.
func (t *tailer) Start() {
	t.running.Go(func() {
		tick := time.NewTicker(t.FlushInterval)
		defer tick.Stop()
		for {
			t.look(time.Now().Add(-min(liveDelay, t.FlushInterval)))
			select {
			case <-t.stop:
				return
			case <-tick.C:
			}
		}
	})
}

// Ready says whether all expected sources have been opened.
func (t *tailer) Ready() bool { return t.ready.Load() }

// look writes what is new and not after the given time. What goes wrong is told once: the raw logs are still there at the end.
func (t *tailer) look(until time.Time) {
	err := t.merger.look()
	if err == nil {
		err = t.merger.round(nanos(until), t.take)
	}
	t.warn("follow the logs", errors.Join(err, t.merger.problem()))
	if !t.broken {
		err := t.live.flush()
		t.warn("write the logs while the run goes on: they are written anew at its end", err)
		t.broken = err != nil
	}
	if t.flushed != nil {
		t.flushed()
	}
	if !t.ready.Load() {
		t.ready.Store(t.follows(t.expected))
	}
}

func (t *tailer) take(r *reader) error {
	level := LevelOf(r.text)
	if t.each != nil {
		t.each(r, level)
	}
	if !t.broken {
		err := t.live.write(r, level)
		t.warn("write the logs while the run goes on: they are written anew at its end", err)
		t.broken = err != nil
	}
	return nil
}

// follows says whether all these sources are open.
func (t *tailer) follows(sources []Source) bool {
	open := map[Source]bool{}
	for _, r := range t.merger.readers {
		open[r.Source] = r.file != nil
	}
	for _, s := range sources {
		if !open[s] {
			return false
		}
	}
	return true
}

func (t *tailer) warn(what string, err error) {
	if err != nil && !t.warned[what] {
		t.warned[what] = true
		t.Log.Warn(what, "error", err) //nolint:sloglint // one of a few constants, each told once
	}
}

// Stop reads the rest and makes the outputs final.
func (t *tailer) Stop(until time.Time) (api.LogSummary, error) {
	if !t.deployed {
		return api.LogSummary{}, nil
	}
	close(t.stop)
	t.running.Wait()
	if t.each != nil {
		t.look(until)
	}
	t.merger.close()
	t.warn("close the logs of the run", t.live.close(t.broken))
	window := t.Window
	window.To = until
	sum, err := Merge(t.Root, window, t.Outputs, t.Finder)
	if err == nil && t.Outputs.Compress {
		err = remove(t.Outputs.Stdout, t.Outputs.Stderr, t.Outputs.Aggregated)
	}
	return sum, err
}
