// Package executor is the load engine's HTTP face on a client node: GET /health, POST /prepare, POST /start, GET /status,
// GET /metrics (JSON), GET /metrics/prometheus, POST /stop. Authentication is the caller's.
package executor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/workload"
)

// Executor makes one load at a time.
type Executor struct {
	node string
	// zero of the node's monotonic clock.
	zero time.Time
	log  *slog.Logger

	turn     sync.Mutex // one of Prepare, Start and Stop at a time
	prepared *prepared  // of whose turn it is

	mu      sync.Mutex // of what follows
	request *node.StartRequest
	load    *workload.Load
	cancel  context.CancelFunc
	done    chan struct{}
	told    chan struct{} // its end stands in the log
	err     error
	stopped bool // the load was ended before its time
	metrics *metrics
}

// New returns an idle executor. The zero is the zero of the node's monotonic clock, on which start times come.
func New(nodeName string, zero time.Time, log *slog.Logger) *Executor {
	return &Executor{node: nodeName, zero: zero, log: log}
}

// Register adds the API's paths. What others tell of the node is shown beside the load's metrics.
func (e *Executor) Register(mux *http.ServeMux, others ...prometheus.Gatherer) {
	mux.HandleFunc("GET /health", e.health)
	mux.HandleFunc("POST /prepare", e.begin(e.Prepare))
	mux.HandleFunc("POST /start", e.begin(e.Start))
	mux.HandleFunc("POST /stop", e.stop)
	mux.HandleFunc("GET /metrics", e.metricsJSON)
	mux.Handle("GET /metrics/prometheus", promhttp.HandlerFor(append(prometheus.Gatherers{e}, others...), promhttp.HandlerOpts{}))
}

func (e *Executor) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "node": e.node})
}

// begin answers a request that carries a workload.
func (e *Executor) begin(do func(context.Context, node.StartRequest) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req node.StartRequest
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<20)).Decode(&req); err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": "decode the workload: " + err.Error()})
			return
		}
		if err := do(r.Context(), req); err != nil {
			code := http.StatusConflict
			if errors.Is(err, workload.ErrInput) {
				code = http.StatusUnprocessableEntity
			}
			writeJSON(w, code, map[string]string{"error": err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, e.Status())
	}
}

func (e *Executor) stop(w http.ResponseWriter, _ *http.Request) {
	e.Stop()
	writeJSON(w, http.StatusOK, e.Status())
}

// Prepare makes a load ready that Start will begin: it reads files, asks servers and connects, which may take a while. It
// is idempotent as Start is, and Start does it where nobody did. An error that wraps workload.ErrInput is the user's.
func (e *Executor) Prepare(ctx context.Context, req node.StartRequest) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	if known, err := e.known(&req); known || err != nil {
		return err
	}
	if e.prepared != nil && e.prepared.same(&req) {
		return nil
	}
	e.forget()
	load, err := e.newLoad(ctx, &req)
	if err != nil {
		return err
	}
	e.prepared = &prepared{req, load}
	return nil
}

// forget frees a load that was prepared and never begun.
func (e *Executor) forget() {
	if e.prepared != nil {
		_ = e.prepared.load.Close() // nothing was written
		e.prepared = nil
	}
}

// prepared is a load that waits for its beginning.
type prepared struct {
	request node.StartRequest
	load    *workload.Load
}

func (p *prepared) same(req *node.StartRequest) bool {
	return p.request.RunUID == req.RunUID && p.request.Attempt == req.Attempt
}

// known says whether the load of this run and attempt has begun; another that is under way is an error.
func (e *Executor) known(req *node.StartRequest) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.request == nil {
		return false, nil
	}
	if e.request.RunUID == req.RunUID && e.request.Attempt == req.Attempt {
		return true, nil
	}
	if !closed(e.done) {
		return false, fmt.Errorf("start run %s attempt %d on %s: run %s attempt %d is still under way: stop it first",
			req.RunUID, req.Attempt, e.node, e.request.RunUID, e.request.Attempt)
	}
	return false, nil
}

func (e *Executor) newLoad(ctx context.Context, req *node.StartRequest) (*workload.Load, error) {
	plan := workload.Plan{
		Workload: req.Workload, Rank: req.Rank, Ranks: req.Ranks, Seed: req.Seed, Node: e.node, RunID: req.RunUID,
		Model: req.Model, APIKey: req.APIKey,
	}
	for _, s := range req.Servers {
		plan.Targets = append(plan.Targets, workload.Target{Name: s.Name, URL: s.URL})
	}
	load, err := workload.NewLoad(plan)
	if err == nil {
		if err = load.Prepare(ctx); err != nil {
			err = errors.Join(err, load.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("prepare run %s on %s: %w", req.RunUID, e.node, err)
	}
	return load, nil
}

// Start begins a load. Asked again for the same run and attempt it changes nothing; asked for another while one runs it
// refuses.
func (e *Executor) Start(ctx context.Context, req node.StartRequest) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	if known, err := e.known(&req); known || err != nil {
		return err
	}
	if e.prepared == nil || !e.prepared.same(&req) {
		e.forget()
		load, err := e.newLoad(ctx, &req)
		if err != nil {
			return err
		}
		e.prepared = &prepared{req, load}
	}
	load := e.prepared.load
	e.prepared = nil
	records, err := workload.CreateRecords(req.Records, load.Header(req.RunUID, req.Attempt, req.Uncertainty))
	if err != nil {
		return errors.Join(fmt.Errorf("start run %s on %s: %w", req.RunUID, e.node, err), load.Close())
	}
	m := newMetrics(req.Service, req.RunUID, e.node)
	running, cancel := context.WithCancel(context.Background())
	e.mu.Lock()
	defer e.mu.Unlock()
	e.request, e.load, e.cancel, e.done, e.err, e.stopped, e.metrics = &req, load, cancel, make(chan struct{}), nil, false, m
	go e.run(running, load, m, e.zero.Add(time.Duration(req.T0)), records, e.done)
	e.told = make(chan struct{})
	go e.tell(&req, load, e.done, e.told)
	return nil
}

func (e *Executor) run(ctx context.Context, load *workload.Load, m *metrics, t0 time.Time, records *workload.Writer, done chan struct{}) {
	defer close(done)
	err := load.Run(ctx, t0, records, m.observe)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err, e.stopped = err, ctx.Err() != nil
	e.cancel()
	if err != nil {
		e.log.Error("the load ended early", "error", err)
	}
}

// Stop ends the load, if one runs, and waits until its records are written.
func (e *Executor) Stop() {
	e.turn.Lock()
	defer e.turn.Unlock()
	e.forget()
	e.mu.Lock()
	cancel, done, told := e.cancel, e.done, e.told
	e.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
		<-told
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
	st.Bound = e.load.Bound()
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
