package slurmadapter

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// recordedIn names the folder of what the commands of a real cluster printed.
const recordedIn = "testdata/22.05"

func recorded(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(recordedIn, name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// recordedAs brings recorded lines into the adapter's own columns: the recording has more of them. The last column,
// the name, takes what is left.
func recordedAs(t testing.TB, out, setting, wanted, separator string) string {
	t.Helper()
	script, err := os.ReadFile("testdata/record")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^readonly ` + setting + `='?([^'\n]*)'?$`).FindSubmatch(script)
	if m == nil {
		t.Fatalf("testdata/record sets no %s", setting)
	}
	columns := strings.Split(string(m[1]), separator)
	var b strings.Builder
	for line := range strings.Lines(out) {
		fields := strings.SplitN(strings.TrimRight(line, "\n"), "|", len(columns))
		if len(fields) != len(columns) {
			t.Fatalf("line %q lacks columns of %v", line, columns)
		}
		for i, column := range strings.Split(wanted, separator) {
			if i > 0 {
				b.WriteByte('|')
			}
			if at := slices.Index(columns, column); at >= 0 {
				b.WriteString(fields[at])
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func recordedQueue(t testing.TB, name string) []Job {
	t.Helper()
	jobs, err := parseQueue(recordedAs(t, recorded(t, name), "squeue_format", queueFormat, "|"))
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func recordedHistory(t testing.TB, name string) []Job {
	t.Helper()
	jobs, err := parseHistory(recordedAs(t, recorded(t, name), "sacct_fields", historyFields, ","))
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func byName(jobs []Job) map[string]Job {
	m := map[string]Job{}
	for _, j := range jobs {
		m[j.Name] = j
	}
	return m
}

// looks is what a job looks like to somebody who waits.
type looks struct {
	State  State
	Stage  Stage
	Reason string
	Nodes  bool
}

func looksOf(j Job) looks { return looks{j.State, j.State.Stage(), j.Reason, j.Nodes != ""} }

func TestRecordedQueue(t *testing.T) {
	jobs := byName(recordedQueue(t, "squeue"))
	for name, want := range map[string]looks{
		"completed":             {Completed, StageEnded, "", true},
		"failed":                {Failed, StageEnded, "NonZeroExitCode", true},
		"cancelled":             {Cancelled, StageEnded, "", true},
		"cancelled-held":        {Cancelled, StageEnded, "JobHeldUser", false},
		"timeout":               {Timeout, StageEnded, "TimeLimit", true},
		"deadline":              {Deadline, StageEnded, "DeadLine", false},
		"node-fail":             {NodeFail, StageEnded, "NodeDown", true},
		"preempted":             {Preempted, StageEnded, "", true},
		"running":               {Running, StageOnNodes, "", true},
		"suspended":             {Suspended, StageOnNodes, "", true},
		"held":                  {Pending, StageWaiting, "JobHeldUser", false},
		"held-admin":            {Pending, StageWaiting, "JobHeldAdmin", false},
		"odd name | with a bar": {Pending, StageWaiting, "JobHeldUser", false},
		"launch-failed-held":    {Pending, StageWaiting, "launch failed requeued held", false},
		"too-many-nodes":        {Pending, StageWaiting, "PartitionNodeLimit", false},
		"too-long":              {Pending, StageWaiting, "PartitionTimeLimit", false},
		"dependency-never":      {Pending, StageWaiting, "DependencyNeverSatisfied", false},
	} {
		if diff := cmp.Diff(want, looksOf(jobs[name])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if down := jobs["node-down"]; !strings.HasPrefix(down.Reason, "ReqNodeNotAvail, UnavailableNodes:") {
		t.Errorf("reason %q lost what stands after the comma", down.Reason)
	}
	for name, want := range map[string]bool{"held": true, "odd name | with a bar": true, "held-admin": false, "cancelled-held": false, "running": false} {
		if jobs[name].Held() != want {
			t.Errorf("%s: held is %v", name, !want)
		}
	}
	for name, never := range map[string]bool{
		"too-many-nodes": true, "too-long": true, "dependency-never": true, "launch-failed-held": true, "qos-limit": false,
		"node-down": false, "resources": false, "priority": false, "held": false, "partition-down": false, "later": false,
	} {
		if e := Explain(jobs[name].Reason); e.Never != never || strings.HasPrefix(e.Text, "Slurm says") {
			t.Errorf("%s: reason %q is explained as %+v", name, jobs[name].Reason, e)
		}
	}
}

// Every job of every recorded listing has an id, a known state, and times where it has run.
func TestAllRecordedListings(t *testing.T) {
	for _, name := range files(t, "squeue*") {
		for _, j := range recordedQueue(t, name) {
			checkJob(t, name, j)
		}
	}
	for _, name := range files(t, "sacct*") {
		for _, j := range recordedHistory(t, name) {
			checkJob(t, name, j)
		}
	}
	for _, name := range files(t, "scontrol-show-job-*") {
		j, err := parseControl(recorded(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkJob(t, name, j)
	}
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(recordedIn, pattern+".txt"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recorded %s: %v", pattern, err)
	}
	for i, p := range paths {
		paths[i] = strings.TrimSuffix(filepath.Base(p), ".txt")
	}
	return paths
}

func checkJob(t *testing.T, where string, j Job) {
	t.Helper()
	if _, known := stages[j.State]; !known || j.ID == "" || j.Name == "" {
		t.Errorf("%s: %+v", where, j)
	}
	if _, err := ExpandHostlist(j.Nodes); err != nil {
		t.Errorf("%s: job %s: %v", where, j.ID, err)
	}
	if j.State == Running && j.Started.Before(time.Unix(1_600_000_000, 0)) {
		t.Errorf("%s: job %s runs since %v", where, j.ID, j.Started)
	}
}

// The three commands tell the same story of a job.
func TestCommandsAgree(t *testing.T) {
	queue, history := byName(recordedQueue(t, "squeue")), byName(recordedHistory(t, "sacct-X"))
	for _, name := range []string{"completed", "failed", "killed", "cancelled", "timeout", "deadline", "node-fail", "preempted", "running", "suspended"} {
		control, err := parseControl(recorded(t, "scontrol-show-job-"+name))
		if err != nil {
			t.Fatal(err)
		}
		for which, other := range map[string]Job{"squeue": queue[name], "sacct": history[name]} {
			same := cmpopts.IgnoreFields(Job{}, "Raw", "Reason", "Submitted", "Ended", "Started", "ExitCode")
			if diff := cmp.Diff(control, other, same); diff != "" {
				t.Errorf("%s: scontrol and %s differ (-scontrol +%s):\n%s", name, which, which, diff)
			}
		}
		if name == "failed" && (control.ExitCode != "3:0" || history[name].ExitCode != "3:0") {
			t.Errorf("exit code %q, %q", control.ExitCode, history[name].ExitCode)
		}
	}
	requeued, err := parseControl(recorded(t, "scontrol-show-job-node-fail-requeued"))
	if err != nil || requeued.Restarts != 1 || requeued.State != Pending {
		t.Errorf("a requeued job: %+v, %v", requeued, err)
	}
	held, err := parseControl(recorded(t, "scontrol-show-job-launch-failed-held"))
	if e := Explain(held.Reason); err != nil || !e.Never {
		t.Errorf("scontrol's reason %q is explained as %+v (%v)", held.Reason, e, err)
	}
}

func TestRecordedErrorsAreClassified(t *testing.T) {
	for _, name := range files(t, "err-*") {
		exit, text, _ := strings.Cut(recorded(t, name), "\n")
		if exit == "exit 0" || strings.HasPrefix(name, "err-scontrol-ping") { // the adapter never pings
			continue
		}
		want := ErrRejected
		switch { // the names say what was provoked
		case strings.HasSuffix(name, "-down"), strings.HasSuffix(name, "-stuck"):
			want = ErrOutage
		case strings.HasSuffix(name, "-unknown-job"):
			want = ErrNotFound
		}
		if got := classify(text); got != want {
			t.Errorf("%s: %q is %v, want %v", name, text, got, want)
		}
	}
}

// Texts of slurm_errno.c that the recording cannot provoke.
func TestClassify(t *testing.T) {
	for text, want := range map[string]error{
		"sbatch: error: Batch job submission failed: Socket timed out on send/recv operation":                                                                                             ErrOutage,
		"slurm_load_jobs error: Unable to contact slurm controller (connect failure)":                                                                                                     ErrOutage,
		"scontrol: error: slurm_receive_msg: Zero Bytes were transmitted or received":                                                                                                     ErrOutage,
		"sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to host:db:6819: Connection refused":                                                    ErrOutage,
		"Slurm backup controller in standby mode":                                                                                                                                         ErrOutage,
		"sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying.":                                                                                                   ErrBusy,
		"sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)":   ErrBusy,
		"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)":        ErrBusy,
		"sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)": ErrRejected,
		"sbatch: error: AssocMaxNodePerJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)":       ErrRejected,
		"sbatch: error: Batch job submission failed: Required partition not available (inactive or drain)":                                                                                ErrBusy,
		"slurm_load_jobs error: Invalid job id specified":                                                                                                                                 ErrNotFound,
		"sbatch: error: Batch job submission failed: User's group not permitted to use this partition":                                                                                    ErrRejected,
		"a message of a Slurm to come": ErrRejected,
	} {
		if got := classify(text); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}
