package services

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// An Observation is one thing that servers tell of themselves, under a name of ours, for each calls it otherwise.
type Observation struct {
	// Name with its unit; a counter's ends in _total. Help says in a sentence what it is.
	Name, Help string
	// from are the names in Prometheus' format that servers give it; of several in one page the first counts.
	from []string
	// largest of its samples counts, and not their sum: a share of something.
	largest bool
}

// observations are all that is asked for. Sources: vLLM docs/usage/metrics and vllm/v1/metrics/loggers.py, SGLang
// docs/references/production_metrics, llama.cpp tools/server/README, TGI docs/reference/metrics, Triton docs/user_guide/metrics,
// Ollama docs/api (ps).
var observations = []Observation{
	{"requests_running", "Requests that the server is working on.", []string{
		"vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing", "tgi_batch_current_size",
	}, false},
	{"requests_waiting", "Requests that wait in the server's queue.", []string{
		"vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred", "tgi_queue_size", "nv_inference_pending_request_count",
	}, false},
	{"kv_cache_usage_ratio", "Share of the KV cache in use, of the engine whose is fullest.", []string{
		"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage", "llamacpp:kv_cache_usage_ratio",
	}, true},
	{"preemptions_total", "Requests that were put off because the KV cache was full.", []string{"vllm:num_preemptions_total"}, false},
	{"prefix_cache_queries_total", "Prompt tokens that were looked for in the prefix cache.", []string{
		"vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total",
	}, false},
	{"prefix_cache_hits_total", "Prompt tokens that were found there.", []string{
		"vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total", "sglang:cached_tokens_total",
	}, false},
	{"prompt_tokens_total", "Prompt tokens that the server has worked on.", []string{
		"vllm:prompt_tokens_total", "sglang:prompt_tokens_total", "llamacpp:prompt_tokens_total",
	}, false},
	{"generation_tokens_total", "Tokens that the server has generated.", []string{
		"vllm:generation_tokens_total", "sglang:generation_tokens_total", "llamacpp:tokens_predicted_total", "tgi_request_generated_tokens_sum",
	}, false},
	{"loaded_models", "Models that Ollama holds in memory.", nil, false},
	{"model_memory_bytes", "Memory of the models that Ollama holds.", nil, false},
	{"model_vram_bytes", "What of that is on GPUs.", nil, false},
}

// observed tells by a family's name what it is told for, and how much it is preferred: the less, the more.
var observed = func() map[string]struct{ place, rank int } {
	all := map[string]struct{ place, rank int }{}
	for place, o := range observations {
		for rank, name := range o.from {
			all[name] = struct{ place, rank int }{place, rank}
		}
	}
	return all
}()

// Observations are what servers of this service may tell of themselves; none when they tell nothing.
func (s *Service) Observations() []Observation {
	if s.observe == nil && s.MetricsPath == "" && !s.External {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(observations), func(o Observation) bool { return (o.from == nil) != (s.observe != nil) })
}

// Observe asks a server what it tells of itself: values by the names of Observations, as far as it tells them.
func (s *Service) Observe(ctx context.Context, server Server) (map[string]float64, error) {
	if s.observe != nil {
		return s.observe(ctx, server)
	}
	path := s.MetricsPath
	if path == "" {
		path = "/metrics"
	}
	var told map[string]float64
	err := server.exchange(ctx, http.MethodGet, path, nil, func(page io.Reader) (err error) {
		limited := &io.LimitedReader{R: page, N: maxAnswer}
		if told, err = readObservations(limited); err == nil && limited.N <= 0 {
			told, err = nil, fmt.Errorf("the server's metrics are over %d MiB: its last lines, and a number that is cut in two, would be taken for all", maxAnswer>>20)
		}
		return err
	})
	return told, err
}

// readObservations picks what is asked for out of a page in Prometheus' text format. All else is passed over unread: a page of vLLM's has
// a thousand lines, and is read every second.
func readObservations(page io.Reader) (map[string]float64, error) {
	told := map[string]float64{}
	ranks := map[string]int{}
	lines := bufio.NewScanner(page)
	lines.Buffer(make([]byte, 0, 16<<10), 1<<20)
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		end := strings.IndexAny(string(line), "{ \t")
		if end < 0 {
			continue
		}
		is, asked := observed[string(line[:end])]
		if !asked {
			continue
		}
		v, err := sampleValue(string(line[end:]))
		if err != nil || math.IsNaN(v) {
			continue
		}
		o := &observations[is.place]
		had, known := told[o.Name]
		switch {
		case known && is.rank > ranks[o.Name]:
			continue // told under a better name
		case !known || is.rank < ranks[o.Name]:
			told[o.Name], ranks[o.Name] = v, is.rank
		case o.largest:
			told[o.Name] = max(had, v)
		default:
			told[o.Name] = had + v
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the server's metrics: %w", err)
	}
	return told, nil
}

// sampleValue is the value in what follows a sample's name: labels, the value, and perhaps a time
// (https://prometheus.io/docs/instrumenting/exposition_formats/).
func sampleValue(rest string) (float64, error) {
	if cut := strings.LastIndexByte(rest, '}'); cut >= 0 {
		rest = rest[cut+1:]
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return strconv.ParseFloat(fields[0], 64)
}
