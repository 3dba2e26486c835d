package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// workload makes a workload of the flags of `benchd load`.
func (o *loadOptions) workload() (*api.WorkloadSpec, error) {
	if o.seed == 0 {
		o.seed = rand.Int64N(1 << 53) // a number that survives JSON
	}
	streaming := !o.noStream && o.api != string(api.APIREST)
	w := &api.WorkloadSpec{
		Duration: metaDuration(o.duration), Warmup: metaDuration(o.warmup), Drain: &metav1.Duration{Duration: o.drain},
		RequestTimeout: &metav1.Duration{Duration: o.timeout}, Retries: o.retries, Streaming: &streaming, Seed: &o.seed,
		API: api.API(o.api), Extensions: api.Extensions(o.extensions), Balance: api.Balance(o.balance),
		SLO: api.SLOSpec{TTFT: limit(o.ttft), TPOT: limit(o.tpot), E2E: limit(o.e2e)},
	}
	if o.api == string(api.APIREST) {
		w.REST = &o.rest
	}
	path := o.path
	if path != "" {
		var err error
		if path, err = filepath.Abs(path); err != nil {
			return nil, err
		}
	}
	if err := o.load(&w.Load, path); err != nil {
		return nil, err
	}
	w.Prompts.Source, w.Prompts.Tokenizer = api.PromptSource(o.prompts), api.Counter(o.tokenizer)
	if w.Load.Pattern != api.PatternTrace {
		w.Prompts.Path = path
	}
	if o.tokens != "" {
		var err error
		if w.Prompts.TokenizerPath, err = filepath.Abs(o.tokens); err != nil {
			return nil, err
		}
	}
	if o.prefix > 0 {
		w.Prompts.Prefix = &api.PrefixSpec{Share: o.prefix, Groups: o.groups}
	}
	p, out := &w.Prompts, &w.Output
	if err := parseLengths("--prompt-tokens", o.promptTokens, &p.Tokens, &p.Distribution, &p.Stddev, &p.Min, &p.Max); err != nil {
		return nil, err
	}
	if err := parseLengths("--output-tokens", o.outputTokens, &out.Tokens, &out.Distribution, &out.Stddev, &out.Min, &out.Max); err != nil {
		return nil, err
	}
	out.FromDataset = o.fromDataset
	return w, nil
}

func (o *loadOptions) load(l *api.LoadSpec, path string) error {
	l.Pattern = api.Pattern(o.pattern)
	if l.Pattern == "" {
		l.Pattern = api.PatternClosed
		if o.rate != 0 {
			l.Pattern = api.PatternPoisson
		}
	}
	l.ClientsPerNode, l.ThinkTime, l.Rate, l.Burstiness = o.clients, metaDuration(o.think), o.rate, o.burstiness
	l.Arrivals, l.MaxConcurrency, l.MaxWait = api.Arrivals(o.arrivals), o.maxConcurrency, metaDuration(o.maxWait)
	l.Requests, l.ErrorBudget = o.requests, o.errorBudget
	if o.burst != "" {
		on, off, ok := strings.Cut(o.burst, "/")
		first, err1 := time.ParseDuration(on)
		second, err2 := time.ParseDuration(off)
		if !ok || err1 != nil || err2 != nil {
			return fmt.Errorf("--burst %q: give on and off times such as 5s/10s", o.burst)
		}
		l.Burst = &api.BurstSpec{On: metaDuration(first), Off: metaDuration(second)}
	}
	if o.steps != "" {
		for part := range strings.SplitSeq(o.steps, ",") {
			rate, length, ok := strings.Cut(part, ":")
			r, err1 := strconv.ParseFloat(rate, 64)
			d, err2 := time.ParseDuration(length)
			if !ok || err1 != nil || err2 != nil {
				return fmt.Errorf("--steps: %q: give a rate and a time such as 4:30s", part)
			}
			l.Steps = append(l.Steps, api.StepSpec{Rate: r, Duration: metaDuration(d)})
		}
	}
	if o.ramp != "" {
		from, to, ok := strings.Cut(o.ramp, ":")
		first, err1 := strconv.ParseFloat(from, 64)
		last, err2 := strconv.ParseFloat(to, 64)
		if !ok || err1 != nil || err2 != nil {
			return fmt.Errorf("--ramp %q: give the first and the last rate such as 1:20", o.ramp)
		}
		l.Ramp = &api.RampSpec{From: first, To: last}
	}
	if l.Pattern == api.PatternTrace {
		l.Trace = &api.TraceSpec{Path: path, Speed: o.speed}
	}
	return nil
}

// parseLengths reads N, MIN-MAX or MEAN~STDDEV.
func parseLengths(flag, text string, tokens *int32, d *api.Distribution, stddev, least, most *int32) error {
	number := func(s string) (int32, error) {
		n, err := strconv.ParseInt(s, 10, 32)
		return int32(n), err
	}
	bad := fmt.Errorf("%s %q: give a number of tokens, MIN-MAX or MEAN~STDDEV", flag, text)
	var err1, err2 error
	switch mean, spread, normal := strings.Cut(text, "~"); {
	case normal:
		*d = api.DistributionNormal
		*tokens, err1 = number(mean)
		*stddev, err2 = number(spread)
	default:
		low, high, uniform := strings.Cut(text, "-")
		if !uniform {
			*d = api.DistributionFixed
			*tokens, err1 = number(text)
			break
		}
		*d = api.DistributionUniform
		*least, err1 = number(low)
		*most, err2 = number(high)
		*tokens = *least + (*most-*least)/2
	}
	if err1 != nil || err2 != nil {
		return bad
	}
	return nil
}
