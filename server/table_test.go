package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/server"
)

func (f *fixture) table(target string) *metav1.Table {
	f.t.Helper()
	var table metav1.Table
	f.call(http.MethodGet, target, "", "Accept", asTable).want(http.StatusOK).into(&table)
	return &table
}

func TestTables(t *testing.T) {
	f := newFixture(t)
	f.create("new", nil)
	f.create("failed", nil)
	f.setStatus(f.stored("failed"), func(st *api.BenchmarkRunStatus) {
		st.Phase = api.RunFailed
		st.Outcome = &api.Outcome{Result: api.ResultFailed, Reason: "ServerUnhealthy", Message: "no answer"}
		st.Attempts = []api.Attempt{{Number: 1, JobID: "7"}}
	})
	f.create("done", nil)
	f.setStatus(f.stored("done"), func(st *api.BenchmarkRunStatus) {
		st.Phase = api.RunCompleted
		st.Summary = &api.Summary{RequestThroughput: 12.345, OutputTokenThroughput: 1580.4, TTFTP50: 0.0451, TTFTP99: 1.25, ErrorRate: 0.005, Verdict: "Healthy"}
	})
	put(f, api.KindAllocation, "alloc", func(a *api.Allocation) {
		a.Status = api.AllocationStatus{Phase: api.AllocationQueued, JobID: "7", Job: &api.JobStatus{State: "PENDING", Reason: "Resources"}}
	})
	put(f, api.KindCluster, "c", func(c *api.Cluster) { c.Spec.Type = api.ClusterSlurm })
	event(t, f.store, "done")

	for target, want := range map[string][]any{
		runs + "/new":    {"new", "Pending", "", "dummy", "tiny", 2.0, "<none>", "<none>", "<none>", "<none>", "<none>", "<none>", "<none>", "<none>"},
		runs + "/failed": {"failed", "Failed (ServerUnhealthy)", "", "dummy", "tiny", 2.0, "<none>", "<none>", "<none>", "<none>", "<none>", "<none>", "7", "no answer"},
		runs + "/done":   {"done", "Completed", "", "dummy", "tiny", 2.0, "12.3", "1580", "45.1ms", "1.25s", "0.5%", "Healthy", "<none>", "<none>"},
		allocs:           {"alloc", "Queued", "", "7", "PENDING", 0.0, "Resources"},
		clusters:         {"c", "slurm", "<none>", "Unknown", ""},
	} {
		table := f.table(target)
		if len(table.Rows) != 1 {
			t.Fatalf("%s shows %d rows", target, len(table.Rows))
		}
		cells := table.Rows[0].Cells
		age := slices.IndexFunc(table.ColumnDefinitions, func(c metav1.TableColumnDefinition) bool { return c.Name == "Age" })
		cells[age] = ""
		if !slices.Equal(cells, want) {
			t.Errorf("%s shows\n%v, want\n%v", target, cells, want)
		}
	}
	table := f.table(events)
	if got := table.Rows[0].Cells[1:5]; !slices.Equal(got, []any{"Normal", "Queued", "benchmarkrun/done", "the job waits for nodes"}) {
		t.Errorf("events show %v", got)
	}
}

func TestTableObjects(t *testing.T) {
	f := newFixture(t)
	f.create("one", nil)
	for include, want := range map[string]string{"": "PartialObjectMetadata", "Metadata": "PartialObjectMetadata", "Object": "BenchmarkRun", "None": ""} {
		table := f.table(runs + "?includeObject=" + include)
		var head metav1.TypeMeta
		if raw := table.Rows[0].Object.Raw; string(raw) != "null" && raw != nil {
			if err := json.Unmarshal(raw, &head); err != nil {
				t.Fatal(err)
			}
		}
		if head.Kind != want {
			t.Errorf("includeObject=%s comes with a %q", include, head.Kind)
		}
	}
	f.call(http.MethodGet, runs+"?includeObject=Some", "", "Accept", asTable).want(http.StatusBadRequest)
	var list page
	f.call(http.MethodGet, runs, "", "Accept", "application/json,"+asTable).want(http.StatusOK).into(&list)
	if list.Kind != "BenchmarkRunList" {
		t.Errorf("a client that prefers objects gets a %s", list.Kind)
	}
}

func TestRunPhaseColumn(t *testing.T) {
	f := newFixture(t)
	number := 0
	for want, status := range map[string]api.BenchmarkRunStatus{
		"Executing 45%":          {Phase: api.RunExecuting, Progress: &api.Progress{Percent: 45}},
		"TearingDown (NodeLost)": {Phase: api.RunTearingDown, Outcome: &api.Outcome{Result: api.ResultFailed, Reason: "NodeLost"}},
		"Cancelled":              {Phase: api.RunCancelled, Outcome: &api.Outcome{Result: api.ResultCancelled, Reason: "Cancelled"}},
		"Reporting":              {Phase: api.RunReporting, Outcome: &api.Outcome{Result: api.ResultSucceeded, Reason: "Done"}},
		"Deploying, deleting":    {Phase: api.RunDeploying},
	} {
		number++
		run := put(f, api.KindBenchmarkRun, fmt.Sprint("run-", number), func(r *api.BenchmarkRun) {
			r.Status, r.Finalizers = status, []string{api.FinalizerCluster}
		})
		if strings.HasSuffix(want, "deleting") {
			f.call(http.MethodDelete, runs+"/"+run.Name, "").want(http.StatusOK)
		}
		if got := f.table(runs + "/" + run.Name).Rows[0].Cells[1]; got != want {
			t.Errorf("phase shows %q, want %q", got, want)
		}
	}
}

func TestAges(t *testing.T) {
	st := openStore(t)
	srv := server.New(server.Options{Store: st, Now: func() time.Time { return time.Now().Add(3 * time.Hour) }})
	f := &fixture{t: t, store: st, http: srv.Handler()}
	put(f, api.KindCluster, "c", func(*api.Cluster) {})
	table := f.table(clusters)
	if got := table.Rows[0].Cells[4]; got != "3h" && got != "3h0m" {
		t.Errorf("age shows %q", got)
	}
}
