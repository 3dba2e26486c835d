package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/home"
	"github.com/benchd/benchd/manifest"
	"github.com/benchd/benchd/site"
)

// healthySite is a site at which all is well; tests spoil it.
func healthySite(change ...func(*site.Facts)) *site.Facts {
	nodes := func(state, names string, n int) site.Group {
		return site.Group{State: state, Nodes: names, Count: n, CPUs: 8, MemoryMiB: 65536, GRES: map[string]int{"gpu": 4, "gpu:a100": 4}}
	}
	f := &site.Facts{
		User: "ada", Accounting: true, DefaultAccount: "p1", Unknown: map[site.Question]string{},
		Controllers: []site.Controller{{Role: "primary", Host: "a", Up: true}},
		Slurm:       site.Slurm{Cluster: "mel", Version: "22.05.8", Database: true, Enforce: []string{"associations", "limits", "qos"}, MinJobAge: 5 * time.Minute},
		Partitions: []site.Partition{
			{Name: "gpu", Default: true, State: "up", MaxTime: 24 * time.Hour, Groups: []site.Group{nodes("idle", "n[1-3]", 3), nodes("mixed", "n4", 1)}, Rules: &site.Rules{OverSubscribe: "NO"}},
			{Name: "cpu", State: "up", Groups: []site.Group{{State: "idle", Nodes: "c[1-9]", Count: 9, CPUs: 128, MemoryMiB: 262144}}, Rules: &site.Rules{}},
		},
		Associations: []site.Association{{Account: "p1", DefaultQOS: "normal", QOS: []string{"normal", "short"}}, {Account: "p2", Partition: "cpu", QOS: []string{"normal"}}},
		QOS:          []site.QOS{{Name: "normal"}, {Name: "short"}, {Name: "secret"}},
		Runtimes:     []site.Runtime{{Name: "apptainer", Path: "/usr/bin/apptainer"}},
	}
	for _, c := range change {
		c(f)
	}
	return f
}

func unknown(qs ...site.Question) func(*site.Facts) {
	return func(f *site.Facts) {
		for _, q := range qs {
			f.Unknown[q] = "it hung"
		}
	}
}

// seen is the worst finding of a check; nil when the check told nothing.
func seen(all []finding, check string) *finding {
	rank := map[level]int{levelLeftOut: 0, levelOK: 1, levelWarning: 2, levelProblem: 3}
	var worst *finding
	for i := range all {
		if all[i].Check == check && (worst == nil || rank[all[i].Level] > rank[worst.Level]) {
			worst = &all[i]
		}
	}
	return worst
}

// expect compares the worst finding of a check with a level and a part of its text. Whatever is amiss has a next step.
func expect(t *testing.T, all []finding, check string, want level, says string) {
	t.Helper()
	f := seen(all, check)
	if f == nil {
		t.Fatalf("no finding of %s in %+v", check, all)
	}
	if f.Level != want || !strings.Contains(f.Seen+f.Next, says) {
		t.Errorf("%s: got %s %q next %q; want %s with %q", check, f.Level, f.Seen, f.Next, want, says)
	}
	if amiss := f.Level == levelWarning || f.Level == levelProblem; amiss != (f.Next != "") {
		t.Errorf("%s: %s has the next step %q", check, f.Level, f.Next)
	}
}

func TestDoctorSite(t *testing.T) {
	t.Parallel()
	all := []site.Question{site.AskCommands, site.AskController, site.AskPartitions, site.AskRules, site.AskJobs, site.AskHistory, site.AskAssociations, site.AskQOS}
	database := []site.Question{site.AskHistory, site.AskAssociations, site.AskQOS}
	for _, tc := range []struct {
		check  string
		want   level
		says   string
		change func(*site.Facts)
	}{
		{"Slurm", levelOK, "22.05.8 answers", nil},
		{"Slurm", levelWarning, "backup controller on b", func(f *site.Facts) { f.Controllers = append(f.Controllers, site.Controller{Role: "backup", Host: "b"}) }},
		{"Slurm", levelProblem, "module load", unknown(all...)},
		{"Slurm", levelProblem, "it hung", unknown(all[1:5]...)},
		{"Slurm", levelLeftOut, "this machine", func(f *site.Facts) { f.Embedded = true }},
		{"accounting", levelOK, "enforced: associations", nil},
		{"accounting", levelOK, "enforced: nothing", func(f *site.Facts) { f.Slurm.Enforce = nil }},
		{"accounting", levelWarning, "5m0s", func(f *site.Facts) { f.Slurm.Database = false; unknown(database...)(f) }},
		{"accounting", levelProblem, "sacct does not answer: it hung", unknown(database...)},
		{"accounting", levelProblem, "sacctmgr does not answer: it hung", unknown(database[1:]...)},
		{"accounting", levelLeftOut, "", unknown(site.AskController)},
		{"partitions", levelLeftOut, "", unknown(site.AskController, site.AskPartitions)},
		{"partitions", levelProblem, "it hung", unknown(site.AskPartitions)},
		{"partitions", levelProblem, "sinfo shows you none", func(f *site.Facts) { f.Partitions = nil }},
		{"partition gpu", levelOK, "the default; 4 nodes, 4 in service, 3 idle; 8 CPUs, 64 GiB and 4 GPUs each; jobs of at most 1-00:00:00", nil},
		{"partition cpu", levelOK, "any time", nil},
		{"partition gpu", levelWarning, "is drain", func(f *site.Facts) { f.Partitions[0].State = "drain" }},
		{"partition gpu", levelWarning, "no node is in service", func(f *site.Facts) {
			f.Partitions[0].Groups = f.Partitions[0].Groups[:1]
			f.Partitions[0].Groups[0].State = "down*"
		}},
		{"default partition", levelWarning, "slurm.partition", func(f *site.Facts) { f.Partitions[0].Default = false }},
		{"account and QOS", levelOK, "p1 (default) with QOS normal (default), short; p2 in partition cpu with QOS normal", nil},
		{"account and QOS", levelWarning, "no default account", func(f *site.Facts) { f.DefaultAccount = "" }},
		{"account and QOS", levelWarning, "does not enforce", func(f *site.Facts) { f.Associations, f.Slurm.Enforce = nil, nil }},
		{"account and QOS", levelProblem, "user ada has no account", func(f *site.Facts) { f.Associations = nil }},
		{"account and QOS", levelLeftOut, "without accounting", unknown(database...)},
		{"limits", levelOK, "none; you have no jobs", nil},
		{"limits", levelOK, "account p1: MaxJobs 2, MaxWall 12:00:00, GrpTRES node=4", func(f *site.Facts) {
			f.Associations[0].Limits = site.Limits{MaxJobs: 2, MaxWall: 12 * time.Hour, GrpTRES: site.TRES{"node": 4}}
		}},
		{"limits", levelOK, "QOS normal: MaxTRESPerUser cpu=64", func(f *site.Facts) { f.QOS[0].MaxTRESPerUser = site.TRES{"cpu": 64} }},
		{"limits", levelLeftOut, "without accounting", unknown(site.AskQOS)},
		{"MaxSubmit", levelWarning, "QOS short takes no further job: 1 of 1", func(f *site.Facts) {
			f.QOS[1].MaxSubmit, f.Jobs = 1, []site.QueuedJob{{State: "PENDING", Account: "p1", QOS: "short"}}
		}},
		{"GRES", levelOK, "gpu: gpu:a100:4 on 4 nodes", nil},
		{"GRES", levelWarning, "no partition has GPUs", func(f *site.Facts) { f.Partitions = f.Partitions[1:] }},
		{"GRES", levelLeftOut, "", unknown(site.AskPartitions)},
		{"container runtime", levelOK, "apptainer (/usr/bin/apptainer)", nil},
		{"container runtime", levelWarning, "slurm.modules", func(f *site.Facts) { f.Runtimes = nil }},
	} {
		t.Run(tc.check+" "+string(tc.want)+" "+tc.says, func(t *testing.T) {
			t.Parallel()
			f := healthySite()
			if tc.change != nil {
				tc.change(f)
			}
			expect(t, checkSite(f), tc.check, tc.want, tc.says)
		})
	}
}

// doctorRun is a run that the healthy site can carry out.
func doctorRun(change func(*api.BenchmarkRunSpec)) *api.BenchmarkRun {
	run := newRun("r", func(s *api.BenchmarkRunSpec) {
		s.Cluster, s.Workload.Duration = "default", seconds(60)
		s.Nodes.Servers = api.RoleSpec{Count: count(1), GPUs: 4, CPUs: 8}
		if change != nil {
			change(s)
		}
	})
	api.SetDefaults(run)
	admitRun(run.Namespace, &run.Spec, func(string, string) *api.ServiceTemplate { return nil })
	return run
}

func TestDoctorRunAgainstSite(t *testing.T) {
	t.Parallel()
	type spec = api.BenchmarkRunSpec
	for _, tc := range []struct {
		check string
		want  level
		says  string
		run   func(*spec)
		site  func(*site.Facts)
	}{
		{"partition", levelOK, "gpu is up", nil, nil},
		{"partition", levelProblem, "nope does not exist", func(s *spec) { s.Slurm.Partition = "nope" }, nil},
		{"partition", levelProblem, "gpu, cpu", func(s *spec) { s.Slurm.Partition = "nope" }, nil},
		{"partition", levelProblem, "names none", nil, func(f *site.Facts) { f.Partitions[0].Default = false }},
		{"partition", levelProblem, "gpu is down", nil, func(f *site.Facts) { f.Partitions[0].State = "down" }},
		{"partition", levelProblem, "does not admit account p1", nil, func(f *site.Facts) { f.Partitions[0].Rules.AllowAccounts = []string{"p2"} }},
		{"partition", levelProblem, "all but p1", nil, func(f *site.Facts) { f.Partitions[0].Rules.DenyAccounts = []string{"p1"} }},
		{"partition", levelProblem, "does not admit QOS normal", nil, func(f *site.Facts) { f.Partitions[0].Rules.AllowQOS = []string{"short"} }},
		{"partition", levelLeftOut, "several", func(s *spec) { s.Slurm.Partition = "gpu,cpu" }, nil},
		{"partition", levelLeftOut, "it hung", nil, func(f *site.Facts) { unknown(site.AskPartitions)(f); f.Partitions = nil }},
		{"account", levelOK, "p1, your default", nil, nil},
		{"account", levelOK, "p1", func(s *spec) { s.Slurm.Account = "P1" }, nil},
		{"account", levelProblem, "p9 is none of your accounts", func(s *spec) { s.Slurm.Account = "p9" }, nil},
		{"account", levelWarning, "does not enforce", func(s *spec) { s.Slurm.Account = "p9" }, func(f *site.Facts) { f.Slurm.Enforce = nil }},
		{"account", levelProblem, "no default", nil, func(f *site.Facts) { f.DefaultAccount = "" }},
		{"account", levelProblem, "has none", nil, func(f *site.Facts) { f.Associations = nil }},
		{"account", levelProblem, "not use account p2 in partition gpu", func(s *spec) { s.Slurm.Account = "p2" }, nil},
		{"account", levelLeftOut, "", nil, unknown(site.AskAssociations)},
		{"QOS", levelOK, "normal, the default", nil, nil},
		{"QOS", levelOK, "short", func(s *spec) { s.Slurm.QOS = "short" }, nil},
		{"QOS", levelOK, "site's default", nil, func(f *site.Facts) { f.QOS = f.QOS[1:] }},
		{"QOS", levelProblem, "nope does not exist", func(s *spec) { s.Slurm.QOS = "nope" }, nil},
		{"QOS", levelProblem, "account p1 may not use secret", func(s *spec) { s.Slurm.QOS = "secret" }, nil},
		{"QOS", levelLeftOut, "depends on the account", func(s *spec) { s.Slurm.Account = "p9" }, nil},
		{"QOS", levelLeftOut, "without accounting", nil, unknown(site.AskQOS)},
		{"time limit", levelOK, "00:10:00", func(s *spec) { s.Slurm.TimeLimit = "10" }, nil},
		{"time limit", levelProblem, "above the 1-00:00:00 of partition gpu", func(s *spec) { s.Slurm.TimeLimit = "2-00" }, nil},
		{"time limit", levelProblem, "above the MaxWall 00:30:00 of QOS short", func(s *spec) { s.Slurm.TimeLimit, s.Slurm.QOS = "60", "short" }, func(f *site.Facts) { f.QOS[1].MaxWall = 30 * time.Minute }},
		{"time limit", levelWarning, "does not enforce", func(s *spec) { s.Slurm.TimeLimit = "60" }, func(f *site.Facts) { f.Associations[0].MaxWall, f.Slurm.Enforce = time.Minute, nil }},
		{"time limit", levelWarning, "hardly time", func(s *spec) { s.Slurm.TimeLimit = "1" }, nil},
		{"time limit", levelProblem, "correct spec.slurm.timeLimit", func(s *spec) { s.Slurm.TimeLimit = "soon" }, nil},
		{"nodes", levelOK, "2 of the 4 that fit in partition gpu, 3 of them idle", nil, nil},
		{"nodes", levelProblem, "10 are more than the 4", func(s *spec) { s.Nodes.Clients.Count = count(9) }, nil},
		{"nodes", levelProblem, "1 of the 4 of partition gpu are large enough", nil, func(f *site.Facts) { f.Partitions[0].Groups[0].GRES = nil }},
		{"nodes", levelProblem, "above the 1 that", nil, func(f *site.Facts) { f.Partitions[0].Rules.MaxNodes = 1 }},
		{"nodes", levelProblem, "below the 3 that", nil, func(f *site.Facts) { f.Partitions[0].Rules.MinNodes = 3 }},
		{"nodes", levelWarning, "1 of the 4 that fit in partition gpu are in service", nil, func(f *site.Facts) { f.Partitions[0].Groups[0].State = "drained" }},
		{"GPUs", levelOK, "4 per node, of 4", nil, nil},
		{"GPUs", levelOK, "none", func(s *spec) { s.Nodes.Servers.GPUs = 0 }, nil},
		{"GPUs", levelProblem, "that many have: none", func(s *spec) { s.Nodes.Servers.GPUs = 8 }, nil},
		{"GPUs", levelProblem, "that many have: gpu", func(s *spec) { s.Slurm.Partition = "cpu" }, nil},
		{"CPUs and memory", levelOK, "8 CPUs and all memory per node", nil, nil},
		{"CPUs and memory", levelProblem, "9 CPUs", func(s *spec) { s.Nodes.Clients.CPUs = 9 }, nil},
		{"CPUs and memory", levelProblem, "100 GiB per node", func(s *spec) { s.Nodes.Servers.Memory = quantity("100Gi") }, nil},
		{"node list", levelOK, "n1, n2", func(s *spec) { s.Slurm.Nodelist = "n[1-2]" }, nil},
		{"node list", levelProblem, "not in partition gpu: n7", func(s *spec) { s.Slurm.Nodelist = "n[1,7]" }, nil},
		{"node list", levelProblem, "correct spec.", func(s *spec) { s.Slurm.Nodelist = "n[1" }, nil},
		{"node list", levelWarning, "out of service: n4", func(s *spec) { s.Slurm.Nodelist = "n4" }, func(f *site.Facts) { f.Partitions[0].Groups[1].State = "down" }},
		{"node list", levelLeftOut, "", nil, func(f *site.Facts) { f.Partitions[0].Groups[1].Nodes = "n[4" }},
		{"excluded nodes", levelOK, "n1", func(s *spec) { s.Slurm.Exclude = "n1" }, nil},
		{"excluded nodes", levelWarning, "n7", func(s *spec) { s.Slurm.Exclude = "n7" }, nil},
		{"whole nodes", levelOK, "for itself", nil, nil},
		{"whole nodes", levelWarning, "neighbours", func(s *spec) { no := false; s.Slurm.Exclusive = &no }, nil},
		{"whole nodes", levelWarning, "FORCE", nil, func(f *site.Facts) { f.Partitions[0].Rules.OverSubscribe = "FORCE" }},
		{"MaxSubmit", levelOK, "no limit", nil, nil},
		{"MaxSubmit", levelOK, "1 of 2 of account p1", nil, submitted(2)},
		{"MaxSubmit", levelProblem, "account p1 takes no further job: 1 of 1", nil, submitted(1)},
		{"MaxSubmit", levelWarning, "does not enforce", nil, func(f *site.Facts) { submitted(1)(f); f.Slurm.Enforce = nil }},
		{"MaxSubmit", levelLeftOut, "it hung", nil, unknown(site.AskJobs)},
		{"limits", levelLeftOut, "without accounting", nil, unknown(site.AskAssociations)},
		{"size of the job", levelOK, "within", nil, func(f *site.Facts) { f.Associations[0].GrpTRES = site.TRES{"gres/gpu": 8} }},
		{"limit of gres/gpu", levelProblem, "takes 8, and account p1 allows 4", nil, func(f *site.Facts) { f.Associations[0].GrpTRES = site.TRES{"gres/gpu": 4} }},
		{"limit of cpu", levelProblem, "takes 16, and QOS normal allows 9", nil, func(f *site.Facts) { f.QOS[0].MaxTRES = site.TRES{"cpu": 9} }},
		{"limit of node", levelWarning, "does not enforce", nil, func(f *site.Facts) { f.QOS[0].MaxTRES, f.Slurm.Enforce = site.TRES{"node": 1}, nil }},
	} {
		t.Run(tc.check+" "+string(tc.want)+" "+tc.says, func(t *testing.T) {
			t.Parallel()
			f := healthySite()
			if tc.site != nil {
				tc.site(f)
			}
			expect(t, newAsk(doctorRun(tc.run), &api.ClusterSpec{}, f).checkAsk(f), tc.check, tc.want, tc.says)
		})
	}
}

func quantity(text string) *resource.Quantity {
	q := resource.MustParse(text)
	return &q
}

// submitted leaves one job in the queue, and lets the default account have so many.
func submitted(most int) func(*site.Facts) {
	return func(f *site.Facts) {
		f.Associations[0].MaxSubmit, f.Jobs = most, []site.QueuedJob{{State: "RUNNING", Account: "p1", QOS: "normal"}}
	}
}

func TestDoctorControlPlane(t *testing.T) {
	t.Parallel()
	answers, silent := func(context.Context) error { return nil }, func(context.Context) error { return errors.New("connection refused") }
	for name, tc := range map[string]struct {
		change func(*home.Owner)
		held   bool
		ready  func(context.Context) error
		want   level
		says   string
	}{
		"answers":         {nil, true, answers, levelOK, "answers, home "},
		"does not answer": {nil, true, silent, levelProblem, "connection refused"},
		"never started":   {nil, false, silent, levelWarning, "benchd serve --detach"},
		"given back":      {func(o *home.Owner) { o.PID = 0 }, true, silent, levelWarning, "none runs"},
		"died":            {func(o *home.Owner) { o.Start++ }, true, silent, levelWarning, "has ended without a word"},
		"on another host": {func(o *home.Owner) { o.Host = "login02" }, true, silent, levelProblem, "run benchd on login02"},
		"unreadable":      {func(o *home.Owner) { o.PID = -1 }, true, silent, levelProblem, "--take-over"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := home.Dir(t.TempDir())
			if tc.held {
				lease, err := dir.Acquire(false, "")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = lease.Release() })
			}
			if tc.change != nil {
				owner, err := dir.Owner()
				if err != nil {
					t.Fatal(err)
				}
				tc.change(&owner)
				data, err := json.Marshal(owner)
				if err != nil {
					t.Fatal(err)
				}
				if owner.PID < 0 {
					data = []byte("{")
				}
				if err := os.WriteFile(filepath.Join(string(dir), "owner.json"), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			expect(t, []finding{checkPlane(t.Context(), dir, tc.ready)}, "control plane", tc.want, tc.says)
		})
	}
}

func TestDoctorEnvironment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := func(name string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("a secret"), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	private, open := key("private", 0o600), key("open", 0o644)
	for _, tc := range []struct {
		name, value string
		want        level
		says        string
		change      func(*site.Facts)
	}{
		{"MLUX_USER", "", levelLeftOut, "not set", nil},
		{"MLUX_USER", "ada", levelOK, "ada", nil},
		{"MLUX_USER", "bob", levelWarning, "run as ada", nil},
		{"MLUX_ACCOUNT", "", levelLeftOut, "not set", nil},
		{"MLUX_ACCOUNT", "p1", levelOK, "one of your accounts", nil},
		{"MLUX_ACCOUNT", "p9", levelProblem, "none of your accounts (p1, p2)", nil},
		{"MLUX_ACCOUNT", "p1", levelLeftOut, "it hung", unknown(site.AskAssociations)},
		{"MLUX_ACCOUNT", "p1", levelLeftOut, "embedded", func(f *site.Facts) { f.Embedded = true }},
		{"MLUX_KEY", "", levelLeftOut, "not set", nil},
		{"MLUX_KEY", private, levelOK, "mode 0600", nil},
		{"MLUX_KEY", open, levelProblem, "chmod 600 " + open, nil},
		{"MLUX_KEY", dir, levelProblem, "is no file", nil},
		{"MLUX_KEY", filepath.Join(dir, "nope"), levelProblem, "no such file", nil},
	} {
		f := healthySite()
		if tc.change != nil {
			tc.change(f)
		}
		all := checkEnvironment(func(name string) (string, bool) { return tc.value, name == tc.name && tc.value != "" }, f)
		expect(t, all, tc.name, tc.want, tc.says)
		if strings.Contains(fmt.Sprint(all), "a secret") {
			t.Errorf("the key was told: %v", all)
		}
	}
}

func TestDoctorWithin(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	stuck := func(context.Context) []finding { <-hang; return nil }
	expect(t, within(t.Context(), time.Millisecond, "image", "look by hand", stuck), "image", levelProblem, "no answer within 1ms")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	expect(t, within(ctx, time.Minute, "image", "look by hand", stuck), "image", levelLeftOut, "interrupted")
}

func TestDoctorSift(t *testing.T) {
	t.Parallel()
	got := sift([]finding{found("a", "1"), found("b", "1"), found("a", "2"), problem("b", "n", "x"), found("b", "2"), problem("b", "n", "x"), leftOut("c", "1"), found("c", "2")})
	if diff := cmp.Diff([]finding{found("a", "1"), problem("b", "n", "x"), leftOut("c", "1")}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// newExamination is one of a run on a site that is only thought.
func newExamination(t *testing.T, run func(*api.BenchmarkRunSpec), change func(*site.Facts)) *examination {
	t.Helper()
	f := healthySite()
	if change != nil {
		change(f)
	}
	return &examination{
		ctx: t.Context(), dir: home.Dir(t.TempDir()), binary: smallBinary(t), docs: []manifest.Document{{Object: doctorRun(run)}},
		look: func(context.Context, *api.ClusterSpec) site.Facts { return *f },
		stat: func(string) (fileSystem, error) { return fileSystem{"lustre", 1 << 40}, nil },
		env:  func(string) (string, bool) { return "", false },
		find: func(string, string) *api.ServiceTemplate { return nil }, stored: func(string) *api.Cluster { return nil },
	}
}

func TestDoctorSweep(t *testing.T) {
	t.Parallel()
	e := newExamination(t, nil, nil)
	sweep := &api.BenchmarkSweep{Spec: api.BenchmarkSweepSpec{
		Template:   api.RunTemplate{Spec: doctorRun(nil).Spec},
		Parameters: []api.ParameterSpec{{Path: "nodes.clients.count", Values: []any{1, 2, 9}}, {Path: "workload.load.clientsPerNode", Values: []any{1, 2, 4}}},
	}}
	sweep.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkSweep))
	sweep.Name = "s"
	e.docs[0].Object = sweep
	e.open = func(*api.ClusterSpec) (slurm, error) { return &fakeSlurm{}, nil }
	runs, err := runsOf(sweep, e.find)
	if err != nil || len(runs) != 3 {
		t.Fatalf("%d runs that differ in what they ask for, %v; want 3", len(runs), err)
	}
	all := e.all("default")
	expect(t, all, "nodes", levelProblem, "10 are more than the 4")
	n := 0
	for _, f := range all {
		if f.Of == "sweep/s" && f.Check == "nodes" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d lines for the nodes of a sweep, want 1", n)
	}
	sweep.Spec.Parameters[0].Path = "nodes.nope"
	expect(t, e.checkObject(sweep), "runs", levelProblem, "spec.parameters")
}
