// Package node is the protocol between the control plane and the agents of a job: the files of the shared job folder
// and the messages of the agents' HTTP API.
//
// The folder is the protocol, HTTP only makes it faster. There are three classes of file:
//
//   - sealed: written once to a temporary name, synced, closed, renamed; never rewritten (WriteSealed)
//   - stream: one writer, a valid prefix is readable at any time; finished by a sealed `.done.json`
//   - liveness: replaced by rename and carrying a counter, which the reader judges by its own clock (WriteLiveness)
package node

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// ProtocolVersion of the files and messages here. Control plane and agents speak each other's last version.
const ProtocolVersion = 1

// AddressVariable tells an agent its node's address where no host name does, as on the embedded cluster.
const AddressVariable = "BENCHD_NODE_ADDRESS"

// Roles of a node.
const (
	RoleServer  = "server"
	RoleClient  = "client"
	RoleMonitor = "monitor"
)

// Manifest tells the agents of a job everything that does not change while it lives. It is sealed before the job is
// submitted.
type Manifest struct {
	Protocol   int           `json:"protocol"`
	Allocation api.ObjectRef `json:"allocation"`
	// Binary names the executable that the job uses, for the record.
	Binary string `json:"binary"`
	// Ranks holds the roles of each node, by its rank in the job. Rank 0 also leads.
	Ranks [][]string `json:"ranks"`
	// Replicas are the servers to bring up.
	Replicas  []Replica          `json:"replicas"`
	Service   api.ServiceSpec    `json:"service"`
	Container api.ContainerSpec  `json:"container,omitzero"`
	Monitor   api.MonitoringSpec `json:"monitoring"`
	// ExecutorPort is the first port that agents try.
	ExecutorPort int `json:"executorPort,omitempty"`
	// CPUs of each server node that servers may count on; 0 means that they are not counted.
	CPUs int `json:"cpus,omitempty"`
	// Network is an interface name or CIDR prefix that node addresses are taken from; empty: the host name's address.
	Network string `json:"network,omitempty"`
	// StartTimeout bounds the registration of all agents.
	StartTimeout metav1.Duration `json:"startTimeout"`
	// IdleTimeout is how long the lead keeps the job without an open order before it gives the nodes back.
	IdleTimeout metav1.Duration `json:"idleTimeout"`
	// LeadLostTimeout is how long a member goes on without hearing of its lead.
	LeadLostTimeout metav1.Duration `json:"leadLostTimeout"`
	// GraceTime is how long a process has between SIGTERM and SIGKILL.
	GraceTime metav1.Duration `json:"graceTime"`
	// TimeLimit of the job: no order is begun that cannot end before it.
	TimeLimit metav1.Duration `json:"timeLimit"`
	// Trials are the uids of the runs that orders are to be expected for: when all have ended, so does the job. None means that
	// orders may come at any time, until IdleTimeout.
	Trials []string `json:"trials,omitempty"`
	// Between says what lies between two orders.
	Between api.BetweenSpec `json:"between,omitzero"`
}

// Replica is one server: where it runs and what it is bound to.
type Replica struct {
	Name string `json:"name"`
	// Ranks of the nodes that it spans, the first one answers requests.
	Ranks []int `json:"ranks"`
	Port  int32 `json:"port"`
	// Index among the replicas of its node, and the GPUs (of that node) that it gets.
	Index int   `json:"index"`
	GPUs  []int `json:"gpus,omitempty"`
}

// AgentRecord is how an agent makes itself known; sealed by each agent in agents/.
type AgentRecord struct {
	Protocol int       `json:"protocol"`
	Rank     int       `json:"rank"`
	Node     string    `json:"node"`
	Address  string    `json:"address"`
	Port     int       `json:"port"`
	PID      int       `json:"pid"`
	JobID    string    `json:"jobID"`
	Started  time.Time `json:"started"`
	// Version of the agent, and what its node is made of.
	Version  string `json:"version"`
	CPUs     int    `json:"cpus"`
	CPUModel string `json:"cpuModel,omitempty"`
	// Memory in bytes.
	Memory int64  `json:"memory,omitempty"`
	Kernel string `json:"kernel"`
	OS     string `json:"os,omitempty"`
	// GPUs as their driver names them.
	GPUs []api.GPURecord `json:"gpus,omitempty"`
	// Env holds the variables of the job that matter to what runs in it; secrets are masked.
	Env map[string]string `json:"env,omitempty"`
}

// Secrets are the values that a job's servers and clients are given. They are kept in the job's folder for as long as the job
// is, and nowhere else.
type Secrets struct {
	// Env of the servers.
	Env map[string]string `json:"env,omitempty"`
	// APIKey that servers which benchd does not start ask for.
	APIKey string `json:"apiKey,omitempty"`
}

// LeadPhase says how far the lead has brought the job.
type LeadPhase string

// Phases of a lead.
const (
	LeadStarting  LeadPhase = "Starting"  // waiting for all agents
	LeadPreparing LeadPhase = "Preparing" // servers start, become healthy and are prepared
	LeadReady     LeadPhase = "Ready"     // orders are worked off
	LeadEnding    LeadPhase = "Ending"    // everything is being stopped
	LeadFailed    LeadPhase = "Failed"    // failed; everything is being stopped
)

// LeadStatus is the lead's sign of life.
type LeadStatus struct {
	Counter int64     `json:"counter"`
	JobID   string    `json:"jobID"`
	Phase   LeadPhase `json:"phase"`
	Message string    `json:"message"`
	// Failure says why the phase is Failed.
	Failure *api.Outcome       `json:"failure,omitempty"`
	Nodes   []api.NodeStatus   `json:"nodes,omitempty"`
	Servers []api.ServerStatus `json:"servers,omitempty"`
	// Pushgateway is the address of the one that the job has started.
	Pushgateway string `json:"pushgateway,omitempty"`
	// Order is the one being worked on, or the last one that was; 0 before the first.
	Order int32 `json:"order,omitempty"`
}

// Order asks the lead to carry one attempt of a run through monitoring, launch, execution and teardown. It is sealed
// by the control plane, often long before the lead gets to it.
type Order struct {
	Protocol int           `json:"protocol"`
	Number   int32         `json:"number"`
	Run      api.ObjectRef `json:"run"`
	Attempt  int32         `json:"attempt"`
	// Folder of the attempt on the shared file system; results go there.
	Folder     string             `json:"folder"`
	Workload   api.WorkloadSpec   `json:"workload"`
	Monitoring api.MonitoringSpec `json:"monitoring"`
	Logging    api.LoggingSpec    `json:"logging"`
	Timeouts   api.TimeoutsSpec   `json:"timeouts"`
	// Seed of the attempt: everything random is drawn from it.
	Seed int64 `json:"seed"`
	// MayRepeat: when the load alone fails, another order for the run follows.
	MayRepeat bool `json:"mayRepeat,omitempty"`
}

// Final says whether no further order for the run will come to this job.
func (o *Order) Final(st *OrderStatus) bool {
	return st.Done && st.Outcome != nil && (st.Outcome.Class != api.FailureWorkload || !o.MayRepeat)
}

// OrderStatus is how far an order is. It is a liveness file until Done; then it is never written again.
type OrderStatus struct {
	Counter int64  `json:"counter"`
	Number  int32  `json:"number"`
	RunUID  string `json:"runUID"`
	Attempt int32  `json:"attempt"`
	// Phase is Monitoring, Launching, Executing or TearingDown.
	Phase   api.RunPhase    `json:"phase"`
	Phases  []api.PhaseTime `json:"phases"`
	Message string          `json:"message,omitempty"`
	// Progress of the execution.
	Progress *api.Progress `json:"progress,omitempty"`
	// Outcome is set once, before TearingDown.
	Outcome *api.Outcome `json:"outcome,omitempty"`
	// ReadyToFirstRequest is the time from all servers being healthy (or the order being taken up, if that was later)
	// to the first request sent, in seconds.
	ReadyToFirstRequest float64 `json:"readyToFirstRequest,omitempty"`
	// LoadStart is when the load began, or is to begin, by the lead's wall clock.
	LoadStart *metav1.MicroTime `json:"loadStart,omitempty"`
	// ClockUncertainty of each client node, in seconds, by measurements before and after the load.
	ClockUncertainty map[string]float64 `json:"clockUncertainty,omitempty"`
	// CacheReset says what came of emptying the servers' caches before the load; empty when it was not asked for.
	CacheReset string `json:"cacheReset,omitempty"`
	// Findings are the known failures that the logs of the attempt tell of.
	Findings []api.LogFinding `json:"findings,omitempty"`
	// Logs is what the attempt's log collector brought together.
	Logs *api.LogSummary `json:"logs,omitempty"`
	// Done: nothing more will be written to the attempt's folder.
	Done bool `json:"done"`
}

// ReasonJobEnded is the reason of a failure whose cause the lead does not know: the job was ended from outside. What
// Slurm says of the job tells more.
const ReasonJobEnded = "JobEnded"

// ReasonNotStarted is the reason of an attempt whose turn never came: the job's time was over, or the job was drained. It costs the
// run nothing.
const ReasonNotStarted = "NotStarted"

// ReasonNoRequestSucceeded is the reason of a failure after a load that came to its planned end.
const ReasonNoRequestSucceeded = "NoRequestSucceeded"

// ExitFailed is the reason in an ExitRecord of a lead that failed.
const ExitFailed = "Failed"

// ExitRecord says how the job's agents ended; sealed by the lead.
type ExitRecord struct {
	JobID   string    `json:"jobID"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Time    time.Time `json:"time"`
}

// Claim is what the batch script writes, with O_EXCL, before anything else: only the first start of the first job
// goes on.
type Claim struct {
	JobID   string `json:"jobId"`
	Restart int    `json:"restart"`
}

// StartRequest gives an executor its share of a load. It is idempotent by run and attempt.
type StartRequest struct {
	RunUID  string `json:"runUID"`
	Attempt int32  `json:"attempt"`
	// Rank and Ranks: this client's place among the clients of the run.
	Rank  int `json:"rank"`
	Ranks int `json:"ranks"`
	// Service gives the metrics their prefix.
	Service  string             `json:"service"`
	Model    string             `json:"model"`
	Servers  []api.ServerStatus `json:"servers"`
	APIKey   string             `json:"apiKey,omitempty"`
	Workload api.WorkloadSpec   `json:"workload"`
	Seed     int64              `json:"seed"`
	// Records is the stream file for the requests' records.
	Records string `json:"records"`
	// ClockOffset is this node's monotonic clock minus the lead's, with its uncertainty; T0 is on this node's clock.
	T0          int64 `json:"t0Nanos"`
	ClockOffset int64 `json:"clockOffsetNanos"`
	Uncertainty int64 `json:"clockUncertaintyNanos"`
}

// ExecutorStatus answers GET /status.
type ExecutorStatus struct {
	Node string `json:"node"`
	// State is idle, running, done, stopped or failed.
	State    string        `json:"state"`
	RunUID   string        `json:"runUID,omitempty"`
	Attempt  int32         `json:"attempt,omitempty"`
	Stage    string        `json:"stage,omitempty"`
	Error    string        `json:"error,omitempty"`
	Progress *api.Progress `json:"progress,omitempty"`
	// Bound says what ended sending before its time, as BoundErrorBudget; empty otherwise.
	Bound string `json:"bound,omitempty"`
	// FirstSent is the node's monotonic time of the first request, 0 before.
	FirstSent int64 `json:"firstSentNanos,omitempty"`
	// Servers are the server processes on this node.
	Servers []ServerState `json:"servers,omitempty"`
}

// States of an executor.
const (
	ExecutorIdle    = "idle"
	ExecutorRunning = "running"
	ExecutorDone    = "done"
	ExecutorStopped = "stopped" // ended before its time: asked to, or the job was ended
	ExecutorFailed  = "failed"
)

// BoundErrorBudget says that too many requests failed, so that the load was ended.
const BoundErrorBudget = "errorBudget"

// ServerState is what an agent knows of a server process on its node.
type ServerState struct {
	Name string `json:"name"`
	// Part is this node's place among those of the server; the one of part 0 answers requests.
	Part int    `json:"part,omitempty"`
	URL  string `json:"url"`
	PID  int    `json:"pid"`
	// State is starting, ready, exited or failed.
	State   string `json:"state"`
	Message string `json:"message,omitempty"`
	// Reason is a stable word for a failure, Class says who is to blame for it, Since is when it was seen.
	Reason string           `json:"reason,omitempty"`
	Class  api.FailureClass `json:"class,omitempty"`
	Since  time.Time        `json:"since,omitzero"`
	// Version and Model were found out of the prepared server.
	Version string    `json:"version,omitempty"`
	Model   string    `json:"model,omitempty"`
	Ready   time.Time `json:"ready,omitzero"`
	// Command and Env are what it was started with; secrets in Env are masked.
	Command []string          `json:"command,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	// Evidence holds the last lines of its log.
	Evidence []string `json:"evidence,omitempty"`
}

// States of a server.
const (
	ServerStarting = "starting"
	ServerReady    = "ready"
	ServerExited   = "exited"
	ServerFailed   = "failed"
)

// ClockReading answers GET /clock: the node's monotonic clock, zero at the agent's start.
type ClockReading struct {
	Nanos int64 `json:"nanos"`
	Wall  int64 `json:"wallNanos"`
}

// LeadView is what a lead's agent answers on GET /lead: its own status and that of the orders.
type LeadView struct {
	Lead   LeadStatus    `json:"lead"`
	Orders []OrderStatus `json:"orders,omitempty"`
}
