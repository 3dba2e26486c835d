package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/site"
	"github.com/benchd/benchd/slurmadapter"
)

// fakeSlurm answers queries with nothing, and plays a node by the probe in this process, reading its folder from the script.
type fakeSlurm struct {
	// query and step, when set, are errors instead; asked is what was asked for.
	query, step error
	asked       []string
	// spoil changes the folder that the node sees.
	spoil func(folder string) string
	// noise is what a site's profile prints first.
	noise string
}

func (f *fakeSlurm) UID() string { return "1" }

func (f *fakeSlurm) Query(_ context.Context, name string, args ...string) (string, error) {
	f.asked = append(f.asked, name+" "+strings.Join(args, " "))
	return "", f.query
}

func (f *fakeSlurm) Estimate(ctx context.Context, spec slurmadapter.JobSpec) (time.Time, error) {
	_, err := f.Query(ctx, "sbatch", spec.TestArgs()...)
	return time.Time{}, err
}

func (f *fakeSlurm) Step(ctx context.Context, spec slurmadapter.StepSpec, talk func(io.Writer, io.Reader) error) error {
	f.asked = append(f.asked, strings.Join(spec.Args(), " "))
	if f.step != nil {
		return f.step
	}
	folder := filepath.Dir(spec.Program[len(spec.Program)-1])
	if f.spoil != nil {
		folder = f.spoil(folder)
	}
	toNode, fromDoctor := io.Pipe()
	toDoctor, fromNode := io.Pipe()
	go func() {
		_, _ = io.WriteString(fromNode, f.noise)
		fromNode.CloseWithError(probe(ctx, folder, 20*time.Millisecond, toNode, fromNode))
	}()
	return talk(fromDoctor, toDoctor)
}

// smallBinary stands for benchd where it is only copied.
func smallBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "benchd")
	if err := os.WriteFile(path, []byte("benchd"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDoctorLooksAtANode(t *testing.T) {
	t.Parallel()
	workdir := t.TempDir()
	slurm := &fakeSlurm{noise: "Welcome to the cluster\n"}
	a := newAsk(doctorRun(func(s *api.BenchmarkRunSpec) { s.Slurm.Nodelist = "n[2-3]"; s.Slurm.Modules = []string{"it's"} }), &api.ClusterSpec{}, healthySite())
	look, err := lookAtNode(t.Context(), slurm, a, workdir, "", smallBinary(t), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if !look.heard || !look.visible || look.rounds != clockRounds || look.reply.Folder != "" || look.offset.Abs() > time.Second {
		t.Errorf("%+v", look)
	}
	if !strings.Contains(slurm.asked[0], "--nodelist=n2 /bin/bash -l "+workdir) {
		t.Errorf("srun %s", slurm.asked[0])
	}
	left, err := os.ReadDir(workdir)
	if err != nil || len(left) != 1 || left[0].Name() != "bin" {
		t.Errorf("left in the work folder: %v, %v", left, err)
	}
	if text := probeScript(a.spec, "/w/bin/b", "/w/a b", time.Second); !strings.Contains(text, `module load "it's"`) || !strings.HasSuffix(text, "exec /w/bin/b probe '--patience=1s' '/w/a b'\n") {
		t.Errorf("script:\n%s", text)
	}
}

func TestDoctorNodeDoesNotSeeTheFolder(t *testing.T) {
	t.Parallel()
	a := newAsk(doctorRun(nil), &api.ClusterSpec{}, healthySite())
	elsewhere := t.TempDir()
	look, err := lookAtNode(t.Context(), &fakeSlurm{spoil: func(string) string { return elsewhere }}, a, t.TempDir(), "", smallBinary(t), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	all := judgeNode(look, a)
	expect(t, all, "shared folder", levelProblem, "was not seen within 20ms")
	if seen(all, "server port") != nil {
		t.Error("ports that the node was not asked for are judged")
	}
	// The node answers in a folder that is not the one here: a copy.
	copied := func(folder string) string {
		there := t.TempDir()
		data, err := os.ReadFile(probeRequestFile(folder))
		if err == nil {
			err = os.WriteFile(probeRequestFile(there), data, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
		return there
	}
	look, err = lookAtNode(t.Context(), &fakeSlurm{spoil: copied}, a, t.TempDir(), "", smallBinary(t), 30*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, judgeNode(look, a), "shared folder", levelProblem, "is not seen here")
}

func TestDoctorStepFails(t *testing.T) {
	t.Parallel()
	failed := func(text string) error {
		return fmt.Errorf("srun: exit status 1: the program failed on its node: %s", text)
	}
	for _, tc := range []struct {
		err  error
		want level
		says string
	}{
		{fmt.Errorf("srun: %w: Requested nodes are busy", slurmadapter.ErrBusy), levelWarning, "no node came free"},
		{fmt.Errorf("srun: %w: Unable to contact", slurmadapter.ErrOutage), levelProblem, "Unable to contact"},
		{fmt.Errorf("srun: %w: ", context.DeadlineExceeded), levelProblem, "no end within"},
		{fmt.Errorf("srun: %w: ", context.Canceled), levelLeftOut, "interrupted"},
		{failed(`benchd: cannot load module Nope`), levelProblem, "module avail"},
		{failed("/w/bin/benchd: cannot execute binary file: Exec format error"), levelProblem, "architecture"},
		{failed("/bin/bash: /w/.doctor/probe.sh: No such file or directory"), levelProblem, "spec.workdir"},
		{fmt.Errorf("srun: %w: invalid partition specified: x", slurmadapter.ErrRejected), levelProblem, "invalid partition"},
	} {
		a := newAsk(doctorRun(nil), &api.ClusterSpec{}, healthySite())
		_, err := lookAtNode(t.Context(), &fakeSlurm{step: tc.err}, a, t.TempDir(), "", smallBinary(t), time.Minute)
		if !errors.Is(err, tc.err) {
			t.Fatalf("got %v, want %v", err, tc.err)
		}
		expect(t, []finding{judgeStep(err)}, "step on a node", tc.want, tc.says)
	}
	a := newAsk(doctorRun(nil), &api.ClusterSpec{}, healthySite())
	_, err := lookAtNode(t.Context(), &fakeSlurm{}, a, "/proc/nope", "", smallBinary(t), time.Minute)
	expect(t, []finding{judgeStep(err)}, "step on a node", levelProblem, "spec.workdir")
}

func TestDoctorJudgesANode(t *testing.T) {
	t.Parallel()
	apptainer := func(s *api.BenchmarkRunSpec) {
		s.Service = api.ServiceSpec{Name: "vllm", Model: "m"}
		s.Container = api.ContainerSpec{Runtime: api.RuntimeApptainer, Image: "/i.sif", Binds: []string{"/a:/b"}}
		s.Monitoring.Pushgateway = &api.PushgatewaySpec{URL: "http://g:9091"}
	}
	vllm := func(s *api.BenchmarkRunSpec) {
		s.Service = api.ServiceSpec{Name: "vllm", Model: "m", NodesPerReplica: 2, Config: map[string]any{"tensorParallelSize": 8}}
		s.Nodes.Servers.Count = count(2)
	}
	for _, tc := range []struct {
		check string
		want  level
		says  string
		run   func(*api.BenchmarkRunSpec)
		spoil func(*nodeLook)
	}{
		{"step on a node", levelOK, "benchd v1 runs on n1 (Linux 6, amd64)", nil, nil},
		{"shared folder", levelOK, "after 20ms", nil, nil},
		{"shared folder", levelWarning, "after 40s", nil, func(l *nodeLook) { l.after = 40 * time.Second }},
		{"shared folder", levelProblem, "disk full", nil, func(l *nodeLook) { l.reply.Folder = "disk full" }},
		{"shared folder", levelProblem, "visibilityTimeout", nil, func(l *nodeLook) { l.visible = false }},
		{"clock", levelOK, "2ms off, ± 1ms", nil, nil},
		{"clock", levelOK, "", nil, func(l *nodeLook) { l.offset, l.uncertainty = 2*time.Second, 3*time.Second }},
		{"clock", levelWarning, "-2s off", nil, func(l *nodeLook) { l.offset = -2 * time.Second }},
		{"clock", levelProblem, "credentials expire", nil, func(l *nodeLook) { l.offset = time.Hour }},
		{"clock", levelLeftOut, "did not tell", nil, func(l *nodeLook) { l.rounds = 0 }},
		{"runtime", levelOK, "podman", nil, nil},
		{"runtime", levelOK, "apptainer is there", apptainer, nil},
		{"runtime", levelProblem, "choose one of: podman", apptainer, func(l *nodeLook) { l.reply.Runtime = "apptainer is not on PATH" }},
		{"image", levelOK, "/i.sif, on n1 too", apptainer, nil},
		{"image", levelProblem, "no image", apptainer, func(l *nodeLook) { l.reply.Image = "no image" }},
		{"binds", levelOK, "/a:/b", apptainer, nil},
		{"binds", levelProblem, "no /a", apptainer, func(l *nodeLook) { l.reply.Binds = "no /a" }},
		{"program", levelOK, "vllm, on n1 too", vllm, nil},
		{"program", levelProblem, "spec.slurm.modules", vllm, func(l *nodeLook) { l.reply.Program = "vllm is not on PATH there" }},
		{"server port", levelOK, "5000 is free", nil, nil},
		{"server port", levelProblem, "health.timeout", nil, func(l *nodeLook) { l.reply.Taken = map[int]string{5000: "in use"} }},
		{"executor port", levelOK, "6000 is free", nil, nil},
		{"executor port", levelWarning, "nodes.executorPort", nil, func(l *nodeLook) { l.reply.Taken = map[int]string{6000: "in use"} }},
		{"Ray", levelOK, "is free", vllm, nil},
		{"Ray", levelProblem, "spec.network", vllm, func(l *nodeLook) { l.reply.Taken = map[int]string{6379: "in use"} }},
		{"address", levelOK, "10.0.0.1", nil, nil},
		{"address", levelProblem, "spec.network", nil, func(l *nodeLook) { l.reply.AddressProblem = "none on ib9" }},
		{"Pushgateway", levelOK, "seen from n1", apptainer, nil},
		{"Pushgateway", levelWarning, "firewall", apptainer, func(l *nodeLook) { l.reply.Pushgateway = "connection refused" }},
	} {
		look := &nodeLook{
			heard: true, visible: true, after: 20 * time.Millisecond, offset: 2 * time.Millisecond, uncertainty: time.Millisecond, rounds: clockRounds,
			reply: probeReply{Nonce: "x", Node: "n1", System: "Linux 6, amd64", Version: "v1", Address: "10.0.0.1", Runtimes: []string{"podman"}},
		}
		if tc.spoil != nil {
			tc.spoil(look)
		}
		expect(t, judgeNode(look, newAsk(doctorRun(tc.run), &api.ClusterSpec{}, healthySite())), tc.check, tc.want, tc.says)
	}
}

// What a node looks at can fail there too.
func TestProbeLooksAround(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	port := l.Addr().(*net.TCPAddr).Port
	if taken := takenPorts("127.0.0.1", []int{port, 0}); taken[port] == "" || taken[0] != "" {
		t.Errorf("taken: %v", taken)
	}
	var reply probeReply
	lookAround(t.Context(), &probeRequest{
		Nonce: "n", Program: "no-such-program", Network: "no-such-interface", Pushgateway: "http://127.0.0.1:1",
		Container: api.ContainerSpec{Runtime: api.RuntimeApptainer, Image: "/no/such.sif", Binds: []string{"/no/such:/x"}},
	}, &reply)
	for what, text := range map[string]string{"image": reply.Image, "binds": reply.Binds, "program": reply.Program, "Pushgateway": reply.Pushgateway, "address": reply.AddressProblem} {
		if text == "" {
			t.Errorf("nothing is amiss with the %s: %+v", what, reply)
		}
	}
}

func TestProbeTalk(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]string{"nothing": "", "only noise": "welcome\nbenchd-prob: x\n", "an answer that is none": probePrefix + "{\n"} {
		look := &nodeLook{}
		if err := look.talk(t.Context(), io.Discard, strings.NewReader(said), t.TempDir(), "n", time.Minute); err == nil || look.heard {
			t.Errorf("%s: heard %v, %v", name, look.heard, err)
		}
	}
	look := &nodeLook{}
	if err := look.round(io.Discard, bufio.NewReader(strings.NewReader(probePrefix+"pong 3 5\n")), "4"); err == nil {
		t.Error("an answer to another ping is taken")
	}
}

func TestDoctorAsksSbatch(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]bool{"n1": false, "n[1-2]": true, "": false} { // two nodes are asked for
		a := newAsk(doctorRun(func(s *api.BenchmarkRunSpec) { s.Slurm.Nodelist = list }), &api.ClusterSpec{}, healthySite())
		args := strings.Join(a.job.TestArgs(), " ")
		if got := strings.Contains(args, "--nodelist="); got != want || !strings.HasPrefix(args, "--test-only --hold ") || !strings.HasSuffix(args, " --wrap=true") {
			t.Errorf("%q: sbatch %s", list, args)
		}
	}
}

// The whole of doctor on a site that is only thought.
func TestDoctorExamination(t *testing.T) {
	t.Parallel()
	rejected := fmt.Errorf("sbatch: %w: QOS", slurmadapter.ErrRejected)
	for _, tc := range []struct {
		check string
		want  level
		says  string
		slurm fakeSlurm
		open  error
		node  bool
		site  func(*site.Facts)
		run   func(*api.BenchmarkRunSpec)
	}{
		{check: "sbatch", want: levelOK, says: "would take the job"},
		{check: "sbatch", want: levelProblem, says: "would not take the job", slurm: fakeSlurm{query: rejected}},
		{check: "sbatch", want: levelProblem, says: "no answer", slurm: fakeSlurm{query: fmt.Errorf("sbatch: %w: no answer", slurmadapter.ErrOutage)}},
		{check: "sbatch", want: levelWarning, says: "full", slurm: fakeSlurm{query: fmt.Errorf("sbatch: %w: full", slurmadapter.ErrBusy)}},
		{check: "sbatch", want: levelProblem, says: "would not take the job", slurm: fakeSlurm{query: errors.New(noSuchNodes)}},
		{check: "sbatch", want: levelWarning, says: "would pend", slurm: fakeSlurm{query: errors.New(noSuchNodes)}, site: func(f *site.Facts) { f.Partitions[0].Groups[0].State = "down*" }},
		{check: "sbatch", want: levelLeftOut, says: "mended", run: func(s *api.BenchmarkRunSpec) { s.Slurm.Partition = "nope" }},
		{check: "sbatch", want: levelLeftOut, says: "does not answer", site: unknown(site.AskController)},
		{check: "sbatch", want: levelLeftOut, says: "gone", open: errors.New("gone")},
		{check: "Slurm", want: levelProblem, says: "it hung", site: unknown(site.AskController)},
		{check: "cluster", want: levelProblem, says: "no Cluster object other", run: func(s *api.BenchmarkRunSpec) { s.Cluster = "other" }},
		{check: "step on a node", want: levelLeftOut, says: "--node"},
		{check: "step on a node", want: levelLeftOut, says: "does not answer", node: true, site: unknown(site.AskController)},
		{check: "step on a node", want: levelLeftOut, says: "gone", node: true, open: errors.New("gone")},
		{check: "step on a node", want: levelProblem, says: "srun -N1 hostname", node: true, slurm: fakeSlurm{step: rejected}},
		{check: "step on a node", want: levelOK, says: "runs on", node: true},
	} {
		t.Run(tc.check+" "+string(tc.want)+" "+tc.says, func(t *testing.T) {
			t.Parallel()
			e := newExamination(t, tc.run, tc.site)
			e.node, e.open = tc.node, func(*api.ClusterSpec) (slurm, error) { return &tc.slurm, tc.open }
			all := e.all("default")
			expect(t, all, tc.check, tc.want, tc.says)
			if r := newResult(all); (r.Problems > 0) != (tc.want == levelProblem || tc.says == "mended" || tc.site != nil && tc.says != "would pend") {
				t.Errorf("%d problems: %+v", r.Problems, all)
			}
		})
	}
}
