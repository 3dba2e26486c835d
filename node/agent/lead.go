package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
)

const (
	// leadBeat is how often the lead writes its sign of life.
	leadBeat = time.Second
	// leadPoll is how often it looks at members and for orders.
	leadPoll = 200 * time.Millisecond
	// memberLost is how long a member may not answer before its node counts as lost.
	memberLost = 20 * time.Second
)

// lead is what rank 0 does beside its own roles: it brings the job to Ready and works off orders, alone.
type lead struct {
	agent    *agent
	folder   node.Folder
	manifest *node.Manifest
	started  time.Time
	client   *node.Client
	members  []*member

	mu     sync.Mutex
	status node.LeadStatus
	orders map[int32]node.OrderStatus
	dirty  chan struct{}
	// readyAt is when all servers were healthy and prepared.
	readyAt time.Time

	// What the loop over orders remembers: which are done, which runs have ended, and how many loads were made.
	done     map[int32]bool
	finished map[string]bool
	carried  int
}

func newLead(a *agent) *lead {
	return &lead{
		agent: a, folder: a.folder, manifest: &a.manifest, started: time.Now(), dirty: make(chan struct{}, 1), orders: map[int32]node.OrderStatus{},
		done: map[int32]bool{}, finished: map[string]bool{},
		status: node.LeadStatus{JobID: a.opts.Job, Phase: node.LeadStarting, Message: "waiting for the agents of all nodes"},
	}
}

// failure is an error that ends the job, with who is to blame.
type failure struct{ api.Outcome }

func (f *failure) Error() string { return f.Reason + ": " + f.Message }

func fail(class api.FailureClass, reason, format string, args ...any) *failure {
	return &failure{api.Outcome{Result: api.ResultFailed, Class: class, Reason: reason, Message: fmt.Sprintf(format, args...)}}
}

// on names the node that is to blame.
func (f *failure) on(node string) *failure {
	f.Node = node
	return f
}

// ended is the failure of a job that was told to end from outside: at its time limit, or by somebody's hand, of which
// Slurm knows more than the lead.
func (l *lead) ended(while string) *failure {
	// Slurm may send its warning up to a minute early (sbatch --signal).
	if limit := l.manifest.TimeLimit.Duration; time.Since(l.started) > limit-l.manifest.GraceTime.Duration-time.Minute {
		return fail(api.FailureUser, "TimeLimit", "the job came to its time limit of %s %s: raise slurm.timeLimit, or leave it out to have it computed", limit, while)
	}
	return fail(api.FailureInfrastructure, node.ReasonJobEnded, "the job was ended from outside %s", while)
}

// blame waits a moment before a server or a node is blamed: when a job is ended from outside, its nodes hear of it at
// slightly different times, and what ends first has failed nobody.
func (l *lead) blame(ctx context.Context, f *failure) *failure {
	select {
	case <-ctx.Done():
		return l.ended("while its servers were in use")
	case <-time.After(2 * time.Second):
		return f
	}
}

// run brings the job up, works off orders until none is to be expected, and ends all members.
func (l *lead) run(ctx context.Context) error {
	client, err := node.NewClient(l.folder, nil)
	if err != nil {
		return err
	}
	client.Lead = true
	l.client = client
	defer client.Close()
	beating, stopBeat := context.WithCancel(context.Background())
	var beat sync.WaitGroup
	beat.Go(func() { l.beat(beating) })
	beat.Go(func() { l.keepMembers(beating) })

	reason, err := l.work(ctx)
	var f *failure
	if errors.As(err, &f) {
		l.set(func(st *node.LeadStatus) {
			st.Phase, st.Message, st.Failure = node.LeadFailed, f.Error(), &f.Outcome
		})
	} else {
		l.set(func(st *node.LeadStatus) { st.Phase, st.Message = node.LeadEnding, reason })
	}
	l.endMembers()
	if err := os.Remove(l.folder.Secrets()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.agent.log.Warn("remove the job's secrets", "error", err) // the control plane does it too
	}
	stopBeat()
	beat.Wait()
	record := node.ExitRecord{JobID: l.agent.opts.Job, Reason: reason, Time: time.Now()}
	if err != nil {
		record.Reason, record.Message = node.ExitFailed, err.Error()
	}
	return errors.Join(err, node.WriteSealed(l.folder.Exit(), record))
}

func (l *lead) work(ctx context.Context) (reason string, err error) {
	if err := l.start(ctx); err != nil {
		return "", err
	}
	if err := l.prepare(ctx); err != nil {
		return "", err
	}
	l.readyAt = time.Now()
	l.set(func(st *node.LeadStatus) { st.Phase, st.Message = node.LeadReady, "servers are ready" })
	return l.workOrders(ctx)
}

// set changes the status and has it written soon.
func (l *lead) set(change func(*node.LeadStatus)) {
	l.mu.Lock()
	change(&l.status)
	l.mu.Unlock()
	select {
	case l.dirty <- struct{}{}:
	default:
	}
}

// view is what the lead knows.
func (l *lead) view() node.LeadView {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := node.LeadView{Lead: l.status}
	for _, o := range l.orders {
		v.Orders = append(v.Orders, o)
	}
	return v
}

// beat writes the status now and then, so that it is a sign of life, and at once when it changed.
func (l *lead) beat(ctx context.Context) {
	tick := time.NewTicker(leadBeat)
	defer tick.Stop()
	write := func() {
		l.mu.Lock()
		l.status.Counter++
		if gateway := l.manifest.Monitor.Pushgateway; gateway != nil && gateway.Start != nil && l.status.Pushgateway == "" {
			l.status.Pushgateway = l.agent.startedGateway()
		}
		st := l.status
		l.mu.Unlock()
		if err := node.WriteLiveness(l.folder.Lead(), st); err != nil {
			l.agent.log.Error("write the lead's status", "error", err)
		}
	}
	for {
		write()
		select {
		case <-ctx.Done():
			write()
			return
		case <-tick.C:
		case <-l.dirty:
		}
	}
}

// keepMembers tells the members now and then that their lead lives, whatever else it is busy with.
func (l *lead) keepMembers(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		members := l.members
		l.mu.Unlock()
		for _, m := range members {
			_ = m.call(ctx, http.MethodGet, "/health", nil, nil) // who asks for the status judges
		}
	}
}

// start waits until every agent has registered and answers.
func (l *lead) start(ctx context.Context) error {
	deadline := time.Now().Add(l.manifest.StartTimeout.Duration)
	for {
		members, missing, err := gather(l.folder, l.manifest, l.client)
		if err != nil {
			return err
		}
		problem := fmt.Sprintf("no sign of the agents of rank %v", missing)
		if len(missing) == 0 {
			l.mu.Lock()
			l.members = members
			l.mu.Unlock()
			if problem = l.unreachable(ctx); problem == "" {
				l.describeNodes()
				return nil
			}
		}
		l.set(func(st *node.LeadStatus) { st.Message = "waiting for agents: " + problem })
		if time.Now().After(deadline) {
			return fail(api.FailureInfrastructure, "AgentsMissing",
				"%s after %s: see the job's output, and check that nodes reach each other on the network", problem, l.manifest.StartTimeout.Duration)
		}
		if err := pause(ctx); err != nil {
			return l.ended("while its agents were starting")
		}
	}
}

func (l *lead) unreachable(ctx context.Context) string {
	var problems []string
	for _, m := range l.members {
		if err := m.call(ctx, http.MethodGet, "/health", nil, nil); err != nil {
			problems = append(problems, err.Error())
		}
	}
	return strings.Join(problems, "; ")
}

func (l *lead) describeNodes() {
	l.set(func(st *node.LeadStatus) {
		st.Nodes = nil
		for _, m := range l.members {
			st.Nodes = append(st.Nodes, api.NodeStatus{
				Rank: int32(m.Rank), Name: m.Node, Address: m.Address, Roles: m.roles, Executor: "https://" + m.host,
			})
		}
		st.Phase, st.Message = node.LeadPreparing, "agents are up, servers are starting"
	})
}

// prepare waits until every part of every server is ready. Each agent keeps the health timeout for its own.
func (l *lead) prepare(ctx context.Context) error {
	if len(l.manifest.Service.Endpoints) > 0 {
		return l.prepareExternal(ctx)
	}
	parts := 0
	for _, r := range l.manifest.Replicas {
		parts += len(r.Ranks)
	}
	for {
		states, err := l.serverStates(ctx)
		if err != nil {
			return err
		}
		var waiting []string
		for _, s := range states {
			if s.State != node.ServerReady {
				waiting = append(waiting, strings.TrimSuffix(s.Name+" on "+s.node+": "+s.Message, ": "))
			}
		}
		if len(waiting) == 0 && len(states) == parts {
			return nil
		}
		ready := 0
		l.set(func(st *node.LeadStatus) {
			ready = len(st.Servers)
			st.Message = fmt.Sprintf("%d of %d servers are ready; waiting for %s", ready, len(l.manifest.Replicas), strings.Join(waiting, "; "))
		})
		if pause(ctx) != nil {
			return l.ended("while its servers were starting")
		}
	}
}

// workOrders works off orders in the order of their numbers. It returns why no more are to be expected.
func (l *lead) workOrders(ctx context.Context) (string, error) {
	idleSince := time.Now()
	for {
		if node.Exists(l.folder.Drain()) {
			return "drained: no further runs are to be begun", nil
		}
		number, err := l.nextOrder()
		if err != nil {
			l.agent.log.Warn("look for orders", "error", err)
		}
		if number == 0 {
			if l.allEnded() {
				return "all orders are done", nil
			}
			if _, err := l.serverStates(ctx); err != nil {
				return "", err
			}
			if idle := time.Since(idleSince); idle > l.manifest.IdleTimeout.Duration {
				return fmt.Sprintf("no order for %s", l.manifest.IdleTimeout.Duration), nil
			}
			if pause(ctx) != nil {
				return "the job was ended from outside", nil
			}
			continue
		}
		if err := l.carryOut(ctx, number); err != nil {
			return "", err
		}
		idleSince = time.Now()
	}
}

// allEnded says whether every run that an order was to be expected for has ended.
func (l *lead) allEnded() bool {
	for _, uid := range l.manifest.Trials {
		if !l.finished[uid] {
			return false
		}
	}
	return len(l.manifest.Trials) > 0
}

// nextOrder returns the first order that is not done, 0 when there is none. Only this lead writes what is done: a job starts once.
func (l *lead) nextOrder() (int32, error) {
	numbers, err := l.folder.ListOrders()
	if err != nil {
		return 0, err
	}
	for _, n := range numbers {
		if !l.done[n] {
			return n, nil
		}
	}
	return 0, nil
}

// endMembers tells the others to end. Those that do not hear it end by themselves.
func (l *lead) endMembers() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for _, m := range l.members {
		if m.Rank != 0 {
			wg.Go(func() {
				if err := m.call(ctx, http.MethodPost, "/shutdown", nil, nil); err != nil {
					l.agent.log.Warn("end a member", "error", err)
				}
			})
		}
	}
	wg.Wait()
}

// withRole returns the members that have the role.
func (l *lead) withRole(role string) []*member {
	var out []*member
	for _, m := range l.members {
		if slices.Contains(m.roles, role) {
			out = append(out, m)
		}
	}
	return out
}

// pause waits until it is time to look again.
func pause(ctx context.Context) error {
	timer := time.NewTimer(leadPoll)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
