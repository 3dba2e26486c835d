package executor

import (
	"time"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/workload"
)

const (
	// tellMost is how many lines a load has about its progress, at the most, beside those of its stages; tellLeast is the least time
	// between two.
	tellMost  = 60
	tellLeast = time.Second
)

// tell logs how a load goes: its beginning, each of its stages, its progress now and then, and its end.
func (e *Executor) tell(req *node.StartRequest, load *workload.Load, done <-chan struct{}, told chan<- struct{}) {
	defer close(told)
	log := e.log.With("run", req.RunUID, "attempt", req.Attempt)
	w := &req.Workload
	planned := w.Warmup.Duration + w.Duration.Duration + w.Drain.Duration
	log.Info("load begins", "servers", len(req.Servers), "model", req.Model, "client", req.Rank+1, "clients", req.Ranks, "planned", planned)
	tick := time.NewTicker(max(tellLeast, planned/tellMost))
	defer tick.Stop()
	stage := ""
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		case <-tick.C:
		}
		p := load.Progress()
		if p.Stage != stage && !ended {
			stage = p.Stage
			log.Info("stage begins", "stage", stage)
		}
		tell := log.With("stage", p.Stage, "percent", p.Percent, "sent", p.Sent, "succeeded", p.Succeeded, "failed", p.Failed,
			"in_flight", p.InFlight, "requests_per_s", int64(p.RequestRate), "tokens_per_s", int64(p.TokenRate))
		if ended {
			tell.Info("load has ended")
		} else {
			tell.Info("load goes on")
		}
	}
}
