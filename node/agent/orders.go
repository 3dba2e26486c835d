package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/node/logs"
	"github.com/benchd/benchd/services"
)

// startLead is how far ahead the beginning of a load lies, so that every client has its share by then.
const startLead = 300 * time.Millisecond

// attempt is one order being carried out.
type attempt struct {
	*lead
	order   node.Order
	clients []*member
	taken   time.Time // when it was taken up
	t0      time.Time
	offsets []clockOffset
	// begun: the load was handed out. broken is why the job can take no further order.
	begun  bool
	broken error
	// collector brings the attempt's logs together, finder looks for known failures in them; nil before the monitoring phase.
	collector logs.Collector
	finder    *logs.Finder

	mu     sync.Mutex
	status node.OrderStatus
}

type clockOffset struct{ offset, uncertainty time.Duration }

// carryOut takes one order through monitoring, launch, execution and teardown. It fails when the job cannot go on.
func (l *lead) carryOut(ctx context.Context, number int32) error {
	a := &attempt{lead: l, taken: time.Now(), clients: l.withRole(node.RoleClient)}
	if err := node.ReadJSON(l.folder.Order(number), &a.order); err != nil {
		return fail(api.FailureInfrastructure, "OrderUnreadable", "%v", err)
	}
	a.status = node.OrderStatus{Number: number, RunUID: a.order.Run.UID, Attempt: a.order.Attempt}
	l.set(func(st *node.LeadStatus) { st.Order, st.Message = number, fmt.Sprintf("working on order %d", number) })

	var outcome api.Outcome
	jobErr := a.perform(ctx)
	var f *failure
	switch {
	case jobErr == nil:
		outcome = api.Outcome{Result: api.ResultSucceeded}
	case errors.As(jobErr, &f):
		outcome = f.Outcome
	default:
		outcome = fail(fileClass(jobErr), fileReason(jobErr), "%v", jobErr).Outcome
	}
	a.publish(func(st *node.OrderStatus) { st.Outcome = &outcome })
	a.enter(api.RunTearingDown, "collecting records, logs and metrics")
	if a.begun {
		l.carried++
		tearErr := a.tearDown()
		if tearErr != nil && outcome.Result == api.ResultSucceeded {
			outcome = fail(fileClass(tearErr), fileReason(tearErr), "%v", tearErr).Outcome
		}
	} else if err := a.closeLogs(time.Now()); err != nil {
		a.agent.log.Warn("collect the logs of an attempt whose load was not begun", "error", err)
	}
	a.publish(func(st *node.OrderStatus) { st.Outcome, st.Done, st.Message = &outcome, true, "done" })
	l.settle(&a.order, &a.status)
	l.set(func(st *node.LeadStatus) { st.Message = fmt.Sprintf("order %d is done", number) })
	if f != nil && (f.Class == api.FailureService || f.Class == api.FailureInfrastructure) && f.Reason != node.ReasonNotStarted {
		return f // servers or nodes are gone: the job is of no more use
	}
	return a.broken
}

// settle notes that an order is done, and whether its run is.
func (l *lead) settle(o *node.Order, st *node.OrderStatus) {
	l.done[o.Number] = true
	if o.Final(st) {
		l.finished[o.Run.UID] = true
	}
}

// fileClass and fileReason tell a full or forbidden file system from other failures.
func fileClass(error) api.FailureClass { return api.FailureInfrastructure }

func fileReason(err error) string {
	for _, known := range []struct {
		err    error
		text   string
		reason string
	}{
		{syscall.ENOSPC, "no space left on device", "DiskFull"},
		{syscall.EDQUOT, "disk quota exceeded", "DiskQuotaExceeded"},
		{syscall.EACCES, "permission denied", "FolderNotWritable"},
		{syscall.EROFS, "read-only file system", "FolderNotWritable"},
	} {
		if errors.Is(err, known.err) || strings.Contains(err.Error(), known.text) {
			return known.reason
		}
	}
	return "OrderFailed"
}

func (a *attempt) perform(ctx context.Context) error {
	a.enter(api.RunMonitoring, "samplers and log collection")
	for _, dir := range []string{"logs", "metrics", "results", "report"} {
		if err := os.MkdirAll(filepath.Join(a.order.Folder, dir), 0o700); err != nil {
			return fmt.Errorf("make the attempt's folders: %w", err)
		}
	}
	if err := a.openLogs(ctx); err != nil {
		return err
	}
	if node.Exists(a.folder.OrderCancel(a.order.Number)) {
		return cancelled()
	}
	if err := a.checkTime(); err != nil {
		return err
	}
	if err := a.between(ctx); err != nil {
		return err
	}
	a.begun = true
	a.enter(api.RunLaunching, "handing the load to the clients")
	if err := a.launch(ctx); err != nil {
		return err
	}
	a.enter(api.RunExecuting, "the load is being made")
	if err := a.execute(ctx); err != nil {
		return err
	}
	a.checkClocks(ctx)
	return nil
}

func cancelled() error {
	return &failure{api.Outcome{Result: api.ResultCancelled, Reason: "Cancelled", Message: "cancelled by its user"}}
}

// checkTime sees to it that no load is begun that cannot end before the job does. The first one of a job is its user's error; those
// after it go to the next job.
func (a *attempt) checkTime() error {
	w := &a.order.Workload
	need := w.Warmup.Duration + w.Duration.Duration + w.Drain.Duration
	// Slurm may end the job up to a minute before its grace time begins (sbatch --signal).
	left := a.manifest.TimeLimit.Duration - time.Since(a.started) - a.manifest.GraceTime.Duration - time.Minute
	switch {
	case left >= need:
		return nil
	case a.carried > 0:
		return fail(api.FailureInfrastructure, node.ReasonNotStarted, "%s are left of the job's time limit, the load needs %s: it goes to the next allocation", left.Round(time.Second), need)
	}
	return fail(api.FailureUser, "TimeLimitTooShort",
		"%s are left of the job's time limit, the load needs %s: raise slurm.timeLimit", left.Round(time.Second), need)
}

// between keeps a load apart from the one before it: servers are seen to be well, a pause is made, caches are emptied.
func (a *attempt) between(ctx context.Context) error {
	if a.carried == 0 {
		return nil
	}
	until := time.Now().Add(a.manifest.Between.Pause.Duration)
	for {
		if _, err := a.serverStates(ctx); err != nil {
			// Whatever became of the servers, it was not this run's doing.
			a.agent.log.Warn("the servers did not outlast the load before", "error", err)
			a.broken = err
			return fail(api.FailureInfrastructure, node.ReasonNotStarted, "the servers did not outlast the load before: %v", err)
		}
		if !time.Now().Before(until) {
			break
		}
		if pause(ctx) != nil {
			return fail(api.FailureInfrastructure, node.ReasonNotStarted, "the job was ended from outside before it was this run's turn")
		}
	}
	if a.manifest.Between.ResetCache {
		said := a.resetCaches(ctx)
		a.publish(func(st *node.OrderStatus) { st.CacheReset = said })
	}
	return nil
}

// resetCaches empties the servers' prefix caches. It says what came of it; prompts are new for each run, so a cache that cannot be
// emptied spoils nothing but shared prefixes.
func (a *attempt) resetCaches(ctx context.Context) string {
	service, err := services.Of(&a.manifest.Service)
	if err != nil || service.ResetPath == "" {
		return "not supported by the service"
	}
	a.lead.mu.Lock()
	servers := a.lead.status.Servers
	a.lead.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, s := range servers {
		server := services.Server{URL: s.URL, Spec: a.manifest.Service, APIKey: a.serverKey()}
		if err := service.Reset(ctx, server); err != nil {
			return fmt.Sprintf("server %s: %v", s.Name, err)
		}
	}
	return "done"
}

// serverKey is what the servers ask for.
func (a *attempt) serverKey() string {
	if len(a.manifest.Service.Endpoints) > 0 {
		return a.agent.secrets.APIKey
	}
	return apiKey(a.agent.token)
}

// checkClocks measures the clocks once more. Records carry times by the first measurement, so how far the second differs
// from it counts to what is not known. A node that does not answer keeps the first.
func (a *attempt) checkClocks(ctx context.Context) {
	uncertain := make([]float64, len(a.clients))
	_ = a.each(func(i int, m *member) error { // it never fails
		before := a.offsets[i]
		uncertain[i] = before.uncertainty.Seconds()
		if offset, uncertainty, err := m.clockOffset(ctx, a.agent.zero); err == nil {
			uncertain[i] = max(uncertain[i], ((offset - before.offset).Abs() + uncertainty).Seconds())
		}
		return nil
	})
	a.publish(func(st *node.OrderStatus) {
		st.ClockUncertainty = map[string]float64{}
		for i, m := range a.clients {
			st.ClockUncertainty[m.Node] = uncertain[i]
		}
	})
}

// enter notes a phase and when it began.
func (a *attempt) enter(phase api.RunPhase, message string) {
	a.publish(func(st *node.OrderStatus) {
		st.Phase, st.Message = phase, message
		st.Phases = append(st.Phases, api.PhaseTime{Phase: phase, Since: metav1.NowMicro()})
	})
}

// publish changes the order's status and writes it. A status that cannot be written must not stop the load; the control
// plane asks over HTTPS too.
func (a *attempt) publish(change func(*node.OrderStatus)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.status)
	a.status.Counter++
	a.lead.mu.Lock()
	a.lead.orders[a.status.Number] = a.status
	a.lead.mu.Unlock()
	if err := node.WriteLiveness(a.folder.OrderStatus(a.status.Number), a.status); err != nil {
		a.agent.log.Error("write the order's status", "error", err)
	}
}

// recordsPath is the stream file of one client node, relative names being safe: node names come from Slurm.
func (a *attempt) recordsPath(m *member) string {
	return filepath.Join(a.order.Folder, "results", fmt.Sprintf("records-%04d.jsonl", m.Rank))
}

// launch measures clocks, agrees on a beginning and hands every client its share.
func (a *attempt) launch(ctx context.Context) error {
	if len(a.clients) == 0 {
		return fail(api.FailureUser, "NoClients", "no node has the client role: set nodes.clients.count")
	}
	a.mu.Lock()
	a.offsets = make([]clockOffset, len(a.clients))
	a.mu.Unlock()
	err := a.each(func(i int, m *member) error {
		offset, uncertainty, err := m.clockOffset(ctx, a.agent.zero)
		a.offsets[i] = clockOffset{offset, uncertainty}
		return err
	})
	if err != nil {
		return a.launchFailure(ctx, err)
	}
	a.lead.mu.Lock()
	servers := a.lead.status.Servers
	a.lead.mu.Unlock()
	key := a.serverKey()
	request := func(i int, m *member) node.StartRequest {
		return node.StartRequest{
			RunUID: a.order.Run.UID, Attempt: a.order.Attempt, Rank: i, Ranks: len(a.clients), Service: a.manifest.Service.Name,
			Model: servedModel(&a.manifest.Service, servers), Servers: servers, APIKey: key, Workload: a.order.Workload,
			Seed: a.order.Seed, Records: a.recordsPath(m), ClockOffset: int64(a.offsets[i].offset), Uncertainty: int64(a.offsets[i].uncertainty),
			T0: int64(a.t0.Sub(a.agent.zero) + a.offsets[i].offset),
		}
	}
	// Reading files, counting tokens and connecting take their time; the beginning is agreed on when all are through.
	err = a.each(func(i int, m *member) error {
		return m.callFor(ctx, a.order.Timeouts.Launch.Duration, http.MethodPost, "/prepare", request(i, m), nil)
	})
	if err != nil {
		return a.launchFailure(ctx, err)
	}
	a.t0 = time.Now().Add(startLead)
	began := metav1.NewMicroTime(a.t0)
	a.publish(func(st *node.OrderStatus) { st.LoadStart = &began })
	err = a.each(func(i int, m *member) error {
		return m.call(ctx, http.MethodPost, "/start", request(i, m), nil)
	})
	if err != nil {
		return a.launchFailure(ctx, err)
	}
	return nil
}

// servedModel is the name that requests give the model.
func servedModel(spec *api.ServiceSpec, servers []api.ServerStatus) string {
	for _, s := range servers {
		if s.Model != "" {
			return s.Model
		}
	}
	return spec.Model
}

func (a *attempt) launchFailure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return a.ended("while the load was being handed out")
	}
	if reason := fileReason(err); reason != "OrderFailed" {
		return fail(api.FailureInfrastructure, reason, "%v", err)
	}
	var answer *node.StatusError
	if errors.As(err, &answer) && answer.Code == http.StatusUnprocessableEntity {
		return fail(api.FailureUser, "WorkloadNotUsable", "%v", err)
	}
	return a.serversFirst(ctx, fail(api.FailureInfrastructure, "ClientUnreachable", "%v", err))
}

// serversFirst is f unless a server has failed: one that fell over may be heard of later than the connections and requests that
// failed for it.
func (a *attempt) serversFirst(ctx context.Context, f *failure) error {
	f = a.blame(ctx, f)
	if _, err := a.serverStates(ctx); err != nil {
		return err
	}
	return f
}

// each calls do for every client at the same time.
func (a *attempt) each(do func(i int, m *member) error) error {
	errs := make([]error, len(a.clients))
	var wg sync.WaitGroup
	for i, m := range a.clients {
		wg.Go(func() { errs[i] = do(i, m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// execute follows the load to its end: all clients done, a cancellation, a server or client lost, or the deadline.
func (a *attempt) execute(ctx context.Context) error {
	w := &a.order.Workload
	deadline := a.t0.Add(w.Warmup.Duration + w.Duration.Duration + w.Drain.Duration + a.order.Timeouts.Execution.Duration)
	lastWritten := time.Time{}
	for {
		states, done, err := a.clientStates(ctx)
		if f := (*failure)(nil); errors.As(err, &f) && f.Class == api.FailureWorkload {
			err = a.serversFirst(ctx, f)
		}
		if err != nil {
			return err
		}
		if time.Since(lastWritten) >= time.Second || done {
			lastWritten = time.Now()
			a.publish(func(st *node.OrderStatus) {
				st.Progress = merged(states)
				st.ReadyToFirstRequest = a.readyToFirst(states)
			})
		}
		if done {
			if _, err := a.serverStates(ctx); err != nil {
				return err // one that fell over at the very end
			}
			return a.judge(states)
		}
		if node.Exists(a.folder.OrderCancel(a.order.Number)) {
			return cancelled()
		}
		if _, err := a.serverStates(ctx); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fail(api.FailureWorkload, "ExecutionTimeout", "the clients had not ended %s after the load's planned end", a.order.Timeouts.Execution.Duration)
		}
		if pause(ctx) != nil {
			return a.ended("while the load was being made")
		}
	}
}

func (a *attempt) clientStates(ctx context.Context) (states []node.ExecutorStatus, done bool, err error) {
	done = true
	states = make([]node.ExecutorStatus, len(a.clients)) // in the clients' order; empty for one that does not answer
	for i, m := range a.clients {
		st, err := m.status(ctx)
		if ctx.Err() != nil {
			return nil, false, a.ended("while the load was being made")
		}
		if err != nil {
			if silent := time.Since(m.missing); silent > memberLost || errors.Is(err, syscall.ECONNREFUSED) {
				return nil, false, a.blame(ctx, fail(api.FailureInfrastructure, "ClientLost", "the executor on node %s is gone: %v", m.Node, err).on(m.Node))
			}
			done = false
			continue
		}
		if st.Bound == node.BoundErrorBudget {
			return nil, false, fail(api.FailureWorkload, "ErrorBudgetSpent", "over %.4g %% of the requests of node %s failed: the report lists the errors by class",
				100*a.order.Workload.Load.ErrorBudget, m.Node)
		}
		switch st.State {
		case node.ExecutorFailed:
			class, reason := api.FailureWorkload, fileReason(errors.New(st.Error))
			if reason == "OrderFailed" {
				reason = "LoadFailed"
			} else {
				class = api.FailureInfrastructure
			}
			return nil, false, fail(class, reason, "the executor on node %s: %s", m.Node, st.Error)
		case node.ExecutorStopped:
			// Not by this lead, which stops executors only after the load: its node is being ended.
			return nil, false, a.ended("while the load was being made")
		case node.ExecutorDone:
		default:
			done = false
		}
		states[i] = st
	}
	return states, done, nil
}

// judge decides whether a load that came to its end was one.
func (a *attempt) judge(states []node.ExecutorStatus) error {
	p := merged(states)
	if p.Succeeded == 0 {
		return fail(api.FailureWorkload, node.ReasonNoRequestSucceeded, "%d requests were sent and none succeeded: the report lists the errors by class", p.Sent)
	}
	return nil
}

// merged adds up what the clients tell; of medians the largest is shown.
func merged(states []node.ExecutorStatus) *api.Progress {
	sum := api.Progress{Percent: 100}
	for _, st := range states {
		p := st.Progress
		if p == nil {
			continue
		}
		sum.Stage = p.Stage
		sum.Percent = min(sum.Percent, p.Percent)
		sum.Remaining = max(sum.Remaining, p.Remaining)
		sum.Sent += p.Sent
		sum.Succeeded += p.Succeeded
		sum.Failed += p.Failed
		sum.InFlight += p.InFlight
		sum.RequestRate += p.RequestRate
		sum.TokenRate += p.TokenRate
		sum.TTFTP50 = max(sum.TTFTP50, p.TTFTP50)
		sum.E2EP50 = max(sum.E2EP50, p.E2EP50)
	}
	return &sum
}

// readyToFirst is the time from servers being ready (or the order being taken up) to the first request, in seconds.
func (a *attempt) readyToFirst(states []node.ExecutorStatus) float64 {
	from := a.readyAt
	if a.carried > 0 {
		from = a.taken
	}
	first := time.Duration(-1)
	for i, st := range states {
		if st.FirstSent != 0 {
			at := time.Duration(st.FirstSent) - a.offsets[i].offset
			if first < 0 || at < first {
				first = at
			}
		}
	}
	if first < 0 {
		return 0
	}
	return (first - from.Sub(a.agent.zero)).Seconds()
}
