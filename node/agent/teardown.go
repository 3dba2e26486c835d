package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/benchd/benchd/node/monitor"
	"github.com/benchd/benchd/workload"
)

// tearDown stops the executors and brings what all nodes have into the attempt's folder: records, logs, metrics. It
// does what it can of it: what is left of a failed attempt is worth having.
func (a *attempt) tearDown() error {
	ctx, cancel := context.WithTimeout(context.Background(), a.order.Timeouts.Teardown.Duration)
	defer cancel()
	err := a.each(func(_ int, m *member) error {
		return m.call(ctx, http.MethodPost, "/stop", nil, nil)
	})
	if err != nil {
		a.agent.log.Warn("stop the executors", "error", err)
	}
	to := time.Now()
	var parts []string
	for _, m := range a.clients {
		parts = append(parts, a.recordsPath(m))
	}
	errs := []error{a.closeLogs(to), a.sliceMetrics(to)}
	if len(parts) > 0 {
		errs = append(errs, workload.Pack(parts, filepath.Join(a.order.Folder, "results", workload.PackedName)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("collect what the attempt left: %w", err)
	}
	return nil
}

func (a *attempt) sliceMetrics(to time.Time) error {
	if !*a.order.Monitoring.Enabled {
		return nil
	}
	files := make([]monitor.File, len(a.members))
	for i, ahead := range a.clocks(context.Background()) {
		files[i] = monitor.File{Path: samplesPath(a.folder, a.members[i].Node), Ahead: ahead}
	}
	return monitor.Slice(files, a.taken, to, filepath.Join(a.order.Folder, "metrics", a.order.Monitoring.Output))
}

// clocksTimeout bounds how long all nodes together are asked for their clocks.
const clocksTimeout = 5 * time.Second

// clocks says of each member how far its clock is before this node's.
func (a *attempt) clocks(ctx context.Context) []time.Duration {
	ctx, cancel := context.WithTimeout(ctx, clocksTimeout)
	defer cancel()
	ahead := make([]time.Duration, len(a.members))
	var wg sync.WaitGroup
	for i, m := range a.members {
		wg.Go(func() { ahead[i] = m.ahead(ctx) })
	}
	wg.Wait()
	return ahead
}
