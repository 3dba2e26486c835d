package report

import (
	"strconv"
	"strings"

	"github.com/benchd/benchd/workload"
)

const (
	// foreignMemory is what a GPU may hold of others' processes: a display, a monitoring agent.
	foreignMemory = 256 << 20
	// throttledShare is the share of samples in which a GPU may be slowed down, and one sample may be one in any case: drivers tell of a
	// hardware slow-down also while clocks change (nvml.h, nvmlClocksThrottleReasonHwSlowdown).
	throttledShare = 0.01
	// sidesApart is how far servers' and clients' numbers may lie apart, as a share of the larger one, beyond what sampling explains.
	sidesApart = 0.05
	// flightApart is how many more requests servers may have than clients, as a share, for they are sampled as they come and go.
	flightApart = 0.25
	// sideSamples are needed of each server before its means are held against the clients'.
	sideSamples = 10
)

// judgeGPUs looks for GPUs that did not do what they can. Those of nodes without servers are others' business.
func (a *accumulator) judgeGPUs(v *judgement, t *tracks) {
	if t == nil {
		return
	}
	for _, one := range t.list {
		gpu, name, is := strings.Cut(strings.TrimPrefix(one.name, "gpu"), "_")
		if _, err := strconv.Atoi(gpu); err != nil || !is || !strings.HasPrefix(one.name, "gpu") || !a.in.serves(one.node) {
			continue
		}
		usage, _ := one.usage()
		switch name {
		case "throttled":
			v.suspectIf(usage.Mean > throttledShare && usage.Mean*float64(one.count) > 1, "GPU %s of %s was slowed down by heat, power or its hardware in %.0f %% of the samples", gpu, one.node, 100*usage.Mean)
		case "foreign_memory_bytes":
			v.suspectIf(usage.Mean > foreignMemory, "processes of others held %.1f GiB of GPU %s of %s", usage.Mean/(1<<30), gpu, one.node)
		case "ecc_errors_total":
			v.suspectIf(one.grown > 0, "GPU %s of %s had memory errors that could not be corrected", gpu, one.node)
		case "xid_errors_total":
			v.suspectIf(one.grown > 0, "the driver told of critical errors (XID) of GPU %s of %s: see dmesg there", gpu, one.node)
		}
	}
}

// judgeSides holds what the servers told against what the clients saw. Where they differ, somebody else uses the servers, or one side
// counts wrongly. Servers go on for a while with requests that failed, and those that were sent again count twice there. Of a load that was
// ended before its time nothing is held: a server that died told of itself while it lived alone.
func (a *accumulator) judgeSides(v *judgement, r *Resources) {
	s := &a.sum
	if a.shaped() { // a sample is as old as an interval, and the load was another one then
		return
	}
	if a.in.Interrupted || s.ErrorRate > 0 || s.Client.Retries > 0 {
		return
	}
	if r == nil || len(r.PerServer) == 0 || len(r.PerServer) < len(a.servers) || s.MeasuredSeconds < sideSamples*r.IntervalSeconds {
		return
	}
	tokens, flight, tellTokens, tellFlight := 0.0, 0.0, s.Tokens.Source == workload.CountedByServer, true
	for _, server := range r.PerServer {
		if server.OutputTokens == nil || !server.allTokens {
			tellTokens = false
		} else {
			tokens += *server.OutputTokens
		}
		if server.Running == nil || server.samples < sideSamples {
			tellFlight = false
			continue
		}
		flight += server.Running.Mean
		if server.Waiting != nil {
			flight += server.Waiting.Mean
		}
	}
	switch {
	case tellTokens:
		received := total(a.windowOut)
		v.suspectIf(a.differ(tokens), "the servers generated %.0f tokens in the measured window, the clients received %.0f: %s", tokens, received, whoElse(tokens > received))
	case tellFlight:
		// Fewer in the servers than in flight are no matter: a request is under way before its engine knows of it, and one of a single token
		// is through before it is counted as running.
		slack := max(2, flightApart*flight)
		v.suspectIf(flight-s.Concurrency.Mean > slack, "the servers had %.1f requests on the mean, the clients %.1f in flight: somebody else uses the servers", flight, s.Concurrency.Mean)
	}
}

func whoElse(servers bool) string {
	if servers {
		return "somebody else uses the servers"
	}
	return "something lies between, or one side counts wrongly"
}
