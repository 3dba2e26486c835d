// Package executor is the load engine's HTTP face on a client node: GET /health, POST /start, GET /status,
// GET /metrics (JSON), GET /metrics/prometheus, POST /stop. Authentication is the caller's.
package executor

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/protocol"
	"github.com/benchd/benchd/workload"
)

// Executor makes one load at a time.
type Executor struct {
	node string
	// zero of the node's monotonic clock.
	zero time.Time
	log  *slog.Logger

	mu      sync.Mutex
	request *node.StartRequest
	load    *workload.Load
	cancel  context.CancelFunc
	done    chan struct{}
	err     error
	stopped bool // the load was ended before its time
	metrics *metrics
}

// New returns an idle executor. The zero is the zero of the node's monotonic clock, on which start times come.
func New(nodeName string, zero time.Time, log *slog.Logger) *Executor {
	return &Executor{node: nodeName, zero: zero, log: log}
}

// Register adds the API's paths.
func (e *Executor) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /health", e.health)
	mux.HandleFunc("POST /start", e.start)
	mux.HandleFunc("POST /stop", e.stop)
	mux.HandleFunc("GET /metrics", e.metricsJSON)
	mux.HandleFunc("GET /metrics/prometheus", e.prometheus)
}

func (e *Executor) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "node": e.node})
}

func (e *Executor) start(w http.ResponseWriter, r *http.Request) {
	var req node.StartRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<20)).Decode(&req); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "decode the workload: " + err.Error()})
		return
	}
	if err := e.Start(req); err != nil {
		writeJSON(w, http.StatusConflict, map[string]string{"error": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, e.Status())
}

func (e *Executor) stop(w http.ResponseWriter, _ *http.Request) {
	e.Stop()
	writeJSON(w, http.StatusOK, e.Status())
}

// Start begins a load. Asked again for the same run and attempt it changes nothing; asked for another while one runs it
// refuses.
func (e *Executor) Start(req node.StartRequest) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.request != nil {
		if e.request.RunUID == req.RunUID && e.request.Attempt == req.Attempt {
			return nil
		}
		if !closed(e.done) {
			return fmt.Errorf("start run %s attempt %d on %s: run %s attempt %d is still under way: stop it first",
				req.RunUID, req.Attempt, e.node, e.request.RunUID, e.request.Attempt)
		}
	}
	if w := &req.Workload; w.Streaming == nil || w.RequestTimeout == nil {
		return fmt.Errorf("start run %s on %s: the workload lacks its defaults", req.RunUID, e.node)
	}
	plan := workload.Plan{
		Workload: req.Workload, Rank: req.Rank, Ranks: req.Ranks, Seed: req.Seed, Targets: targets(&req), Node: e.node,
		RunID: req.RunUID, T0: e.zero.Add(time.Duration(req.T0)),
	}
	if _, err := workload.NewLoad(plan); err != nil { // before there is a file that a second try would find
		return fmt.Errorf("start run %s on %s: %w", req.RunUID, e.node, err)
	}
	records, err := workload.CreateRecords(req.Records, header(&req, e.node))
	if err != nil {
		return fmt.Errorf("start run %s on %s: %w", req.RunUID, e.node, err)
	}
	m := newMetrics(req.Service, req.RunUID, e.node)
	plan.Records, plan.Observe = records, m.observe
	load, err := workload.NewLoad(plan)
	if err != nil {
		return fmt.Errorf("start run %s on %s: %w", req.RunUID, e.node, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.request, e.load, e.cancel, e.done, e.err, e.metrics = &req, load, cancel, make(chan struct{}), nil, m
	go e.run(ctx, load, plan.Targets, e.done)
	return nil
}

func (e *Executor) run(ctx context.Context, load *workload.Load, targets []workload.Target, done chan struct{}) {
	defer close(done)
	err := load.Run(ctx)
	for _, t := range targets {
		t.Client.Close()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err, e.stopped = err, ctx.Err() != nil
	e.cancel()
	if err != nil {
		e.log.Error("the load ended early", "error", err)
	}
}

func targets(req *node.StartRequest) []workload.Target {
	out := make([]workload.Target, 0, len(req.Servers))
	for _, s := range req.Servers {
		out = append(out, workload.Target{Name: s.Name, Client: protocol.NewOpenAI(protocol.OpenAI{
			URL: s.URL, Model: req.Model, Chat: req.Workload.API == api.APIChat, Streaming: *req.Workload.Streaming,
			APIKey: req.APIKey, Timeout: req.Workload.RequestTimeout.Duration,
		})})
	}
	return out
}

func header(req *node.StartRequest, nodeName string) workload.Header {
	w := &req.Workload
	h := workload.Header{
		Format: workload.Format, Run: req.RunUID, Attempt: req.Attempt, Node: nodeName, Rank: req.Rank, Ranks: req.Ranks,
		Seed: req.Seed, Warmup: int64(w.Warmup.Duration), Duration: int64(w.Duration.Duration), Streaming: *w.Streaming,
		ClockUncertainty: req.Uncertainty,
	}
	if w.Load.Pattern == api.PatternClosed {
		h.Concurrency = int64(w.Load.ClientsPerNode) * int64(req.Ranks)
	} else {
		h.OfferedRate = w.Load.Rate
	}
	if s := w.SLO.TTFT; s != nil {
		h.TTFT = int64(s.Duration)
	}
	if s := w.SLO.TPOT; s != nil {
		h.TPOT = int64(s.Duration)
	}
	if s := w.SLO.E2E; s != nil {
		h.E2E = int64(s.Duration)
	}
	return h
}

// Stop ends the load, if one runs, and waits until its records are written.
func (e *Executor) Stop() {
	e.mu.Lock()
	cancel, done := e.cancel, e.done
	e.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

// Status tells what the executor is doing.
func (e *Executor) Status() node.ExecutorStatus {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := node.ExecutorStatus{Node: e.node, State: node.ExecutorIdle}
	if e.request == nil {
		return st
	}
	p := e.load.Progress()
	st.RunUID, st.Attempt, st.Progress, st.Stage = e.request.RunUID, e.request.Attempt, &p, p.Stage
	if first, sent := e.load.FirstSent(); sent {
		st.FirstSent = e.request.T0 + int64(first)
	}
	err := cmp.Or(e.err, e.load.WriteError())
	switch {
	case err != nil:
		st.State, st.Error = node.ExecutorFailed, err.Error()
	case closed(e.done) && e.stopped:
		st.State = node.ExecutorStopped
	case closed(e.done):
		st.State = node.ExecutorDone
	default:
		st.State = node.ExecutorRunning
	}
	return st
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client went away
}
