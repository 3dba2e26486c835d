package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
)

// nodeLoad is what a node's sampler last told of it.
type nodeLoad struct {
	// cpu is the share of all cores in use, in percent; memory and memoryTotal are bytes.
	cpu, memory, memoryTotal float64
	// gpus there are; their mean use in percent, memory in bytes and power in watts together.
	gpus                      int
	gpu                       float64
	gpuMemory, gpuTotal, watt float64
}

const (
	// loadsTime bounds asking all nodes, loadsBytes the answer of one, loadsNodes how many are asked.
	loadsTime  = 2 * time.Second
	loadsBytes = 4 << 20
	loadsNodes = 32
)

// nodeLoads asks an Allocation's nodes, by rank, how busy they are. Those that do not answer in time are left out.
func nodeLoads(ctx context.Context, c *client.Client, a *api.Allocation) map[int32]nodeLoad {
	if a == nil || a.Status.Phase.Terminal() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadsTime)
	defer cancel()
	loads := map[int32]nodeLoad{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range a.Status.Nodes[:min(len(a.Status.Nodes), loadsNodes)] {
		wg.Go(func() {
			load, err := askLoad(ctx, c, a, n.Rank)
			if err != nil {
				return // its row says that nothing is known
			}
			mu.Lock()
			loads[n.Rank] = load
			mu.Unlock()
		})
	}
	wg.Wait()
	return loads
}

func askLoad(ctx context.Context, c *client.Client, a *api.Allocation, rank int32) (load nodeLoad, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/metrics/prometheus", nil)
	if err != nil {
		return load, err
	}
	resp, err := c.Node(ctx, a.Namespace, a.Name, fmt.Sprint(rank), req)
	if err != nil {
		return load, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return load, fmt.Errorf("metrics of node %d of allocation %s: %s", rank, a.Name, resp.Status)
	}
	return readLoad(io.LimitReader(resp.Body, loadsBytes))
}

// readLoad reads what a node tells in Prometheus' text format; docs/monitoring.md names the metrics.
func readLoad(text io.Reader) (nodeLoad, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return nodeLoad{}, fmt.Errorf("read a node's metrics: %w", err)
	}
	sum := func(name string) (total float64, count int) {
		for _, m := range families[name].GetMetric() {
			total += value(m)
			count++
		}
		return total, count
	}
	var load nodeLoad
	load.cpu, _ = sum("benchd_node_cpu_percent")
	load.memory, _ = sum("benchd_node_memory_used_bytes")
	load.memoryTotal, _ = sum("benchd_node_memory_total_bytes")
	load.gpu, load.gpus = sum("benchd_gpu_utilization_percent")
	load.gpu /= float64(max(1, load.gpus))
	load.gpuMemory, _ = sum("benchd_gpu_memory_used_bytes")
	load.gpuTotal, _ = sum("benchd_gpu_memory_total_bytes")
	load.watt, _ = sum("benchd_gpu_power_watts")
	return load, nil
}

func value(m *dto.Metric) float64 {
	if m.GetGauge() != nil {
		return m.GetGauge().GetValue()
	}
	return m.GetUntyped().GetValue()
}

// cells of the load in a table: CPU and memory, and of GPUs how busy, memory and power.
func (l nodeLoad) cells() []string {
	cells := []string{fmt.Sprintf("%.0f %%", l.cpu), gigabytes(l.memory, l.memoryTotal), "", "", ""}
	if l.gpus > 0 {
		cells[2], cells[3] = fmt.Sprintf("%d× %.0f %%", l.gpus, l.gpu), gigabytes(l.gpuMemory, l.gpuTotal)
		if l.watt > 0 {
			cells[4] = fmt.Sprintf("%.0f W", l.watt)
		}
	}
	return cells
}

func gigabytes(used, total float64) string {
	return fmt.Sprintf("%.1f/%.0f GiB", used/(1<<30), total/(1<<30))
}
