package workload

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// snapshot is what a server's metrics endpoint said at one time.
type snapshot struct {
	started                           float64 // of its process, 0 when not told
	queue, prefill, decode, ttft, e2e ServerTime
	cacheUsage                        float64 // -1 when not told
	any                               bool
}

// vllmMetrics are the names that vLLM gives its own times (docs: Production metrics); older and newer names of the cache.
const (
	vllmQueue   = "vllm:request_queue_time_seconds"
	vllmPrefill = "vllm:request_prefill_time_seconds"
	vllmDecode  = "vllm:request_decode_time_seconds"
	vllmTTFT    = "vllm:time_to_first_token_seconds"
	vllmE2E     = "vllm:e2e_request_latency_seconds"
)

// look reads a server's metrics. A server that has none gives an error, which is no failure of the load.
func look(ctx context.Context, target Target) (snapshot, error) {
	s := snapshot{cacheUsage: -1}
	var page []byte
	if err := ask(ctx, target.URL+"/metrics", "", nil, &page); err != nil {
		return s, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return s, fmt.Errorf("read the metrics of %s: %w", target.Name, err)
	}
	for name, to := range map[string]*ServerTime{vllmQueue: &s.queue, vllmPrefill: &s.prefill, vllmDecode: &s.decode, vllmTTFT: &s.ttft, vllmE2E: &s.e2e} {
		for _, m := range families[name].GetMetric() {
			to.Sum += m.GetHistogram().GetSampleSum()
			to.Count += float64(m.GetHistogram().GetSampleCount())
			s.any = true
		}
	}
	for _, name := range []string{"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"} {
		for _, m := range families[name].GetMetric() {
			s.cacheUsage = max(s.cacheUsage, m.GetGauge().GetValue())
		}
	}
	s.started = gauge(families["process_start_time_seconds"])
	return s, nil
}

func gauge(f *dto.MetricFamily) float64 {
	for _, m := range f.GetMetric() {
		return m.GetGauge().GetValue()
	}
	return 0
}

// since is the growth from an earlier look.
func (s snapshot) since(before snapshot) ServerView {
	grown := func(now, then ServerTime) ServerTime { return ServerTime{now.Sum - then.Sum, now.Count - then.Count} }
	v := ServerView{
		Source: "vllm", Queue: grown(s.queue, before.queue), Prefill: grown(s.prefill, before.prefill),
		Decode: grown(s.decode, before.decode), TTFT: grown(s.ttft, before.ttft), E2E: grown(s.e2e, before.e2e),
	}
	v.Restarted = s.started != before.started || v.E2E.Count < 0 || v.Queue.Count < 0
	return v
}

// lookTimeout bounds a look: the end of a load must not wait for a server that hangs.
const lookTimeout = 2 * time.Second

// viewInterval is how often servers are looked at within the load.
const viewInterval = 5 * time.Second

// watchServers looks at the servers that fall to this node until ctx ends. The function that it returns waits for the
// watching to end and gives what each server told over the measured window.
func (l *Load) watchServers(ctx context.Context) func() map[string]ServerView {
	views := make([]ServerView, len(l.plan.Targets))
	var watching sync.WaitGroup
	for i, target := range l.plan.Targets {
		if i%l.plan.Ranks == l.plan.Rank {
			watching.Go(func() { views[i] = l.watchServer(ctx, target) })
		}
	}
	return func() map[string]ServerView {
		watching.Wait()
		told := map[string]ServerView{}
		for i, v := range views {
			if v.Source != "" {
				told[l.plan.Targets[i].Name] = v
			}
		}
		return told
	}
}

// watchServer looks at the beginning of the measured window, now and then, and at its end.
func (l *Load) watchServer(ctx context.Context, target Target) (view ServerView) {
	begin := l.zero.Add(l.plan.Workload.Warmup.Duration)
	end := begin.Add(l.plan.Workload.Duration.Duration)
	if sleepUntil(ctx, begin) != nil {
		return view
	}
	before, err := look(ctx, target)
	if err != nil {
		return view // a server without metrics
	}
	restarted := false
	for at := begin; ; {
		if at = at.Add(viewInterval); at.After(end) {
			at = end
		}
		over := sleepUntil(ctx, at) != nil
		// What ended the load early ended ctx too: the last look must still be possible.
		brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
		now, err := look(brief, target)
		cancel()
		if err == nil {
			view = now.since(before)
			restarted = restarted || view.Restarted
			view.Restarted = restarted
			if !now.any && !restarted {
				view = ServerView{} // it tells nothing but that it lives
			}
			l.noteCache(target.Name, now.cacheUsage)
		}
		if over || !at.Before(end) {
			return view
		}
	}
}

// sleepUntil waits for an absolute time.
func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
