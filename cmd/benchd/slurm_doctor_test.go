package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// doctor runs benchd doctor as the ordinary user of a plane, and returns what it told and its exit code.
func (c *slurmCluster) doctor(p *plane, file string, args ...string) (result, int) {
	c.t.Helper()
	path := filepath.Join(string(p.home), "doctor.yaml")
	if err := os.WriteFile(path, []byte(file), 0o644); err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(p.binary, append([]string{"doctor", "--home", string(p.home), "-o", "json", "-f", path}, args...)...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.SysProcAttr = p.attr
	cmd.Dir = "/"
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		c.t.Fatalf("doctor printed %q, %q: %v", stdout.String(), stderr.String(), err)
	}
	return r, cmd.ProcessState.ExitCode()
}

// doctorFile is a run on the test's cluster with some words of Slurm's, and of other parts of its spec.
func doctorFile(slurm, more string) string {
	return fmt.Sprintf(`apiVersion: benchd.dev/v1alpha1
kind: BenchmarkRun
metadata: {name: small}
spec:
  cluster: test
  slurm: {%s}
  service: {name: dummy}
  workload: {duration: 5s}
%s`, slurm, more)
}

func TestSlurmDoctor(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil)
	r, code := c.doctor(p, doctorFile("partition: gpu, account: p200981, qos: short", "  nodes: {servers: {gpus: 4, cpus: 8, memory: 8Gi}}\n"))
	if code != 0 || r.Problems != 0 {
		t.Errorf("exit code %d, %+v", code, r)
	}
	expect(t, r.Checks, "control plane", levelOK, "answers")
	expect(t, r.Checks, "Slurm", levelOK, "cluster mel")
	expect(t, r.Checks, "partition gpu", levelOK, "the default; 4 nodes")
	expect(t, r.Checks, "GRES", levelOK, "gpu:4 on 4 nodes")
	expect(t, r.Checks, "GPUs", levelOK, "4 per node, of 4")
	expect(t, r.Checks, "sbatch", levelOK, "would take the job")
	expect(t, r.Checks, "step on a node", levelLeftOut, "--node")

	for _, tc := range []struct{ check, slurm, more, says string }{
		{"partition", "partition: nope", "", "nope does not exist"},
		{"time limit", "partition: short, timeLimit: '60'", "", "above the 00:02:00 of partition short"},
		{"nodes", "", "  nodes: {clients: {count: 9}}\n", "are more than the 4"},
		{"GPUs", "", "  nodes: {servers: {gpus: 5}}\n", "5 per node"},
		{"node list", "nodelist: mel2099", "", "mel2099"},
		{"sbatch", "extraArgs: ['--constraint=nope']", "", "would not take the job"},
	} {
		r, code := c.doctor(p, doctorFile(tc.slurm, tc.more))
		if code != exitFailure {
			t.Errorf("%s: exit code %d", tc.check, code)
		}
		expect(t, r.Checks, tc.check, levelProblem, tc.says)
	}
	if jobs := c.jobs(p); jobs != "" {
		t.Errorf("jobs were left: %s", jobs)
	}
}

// Accounts are known where there is accounting; the suite runs on a cluster without it too.
func TestSlurmDoctorAccounts(t *testing.T) {
	t.Parallel()
	c := needSlurm(t, false)
	p := newSlurmPlane(c, nil)
	r, code := c.doctor(p, doctorFile("account: p9, qos: nope", ""))
	if !strings.Contains(c.command("scontrol", "show", "config"), "accounting_storage/slurmdbd") {
		expect(t, r.Checks, "accounting", levelWarning, "there is none")
		expect(t, r.Checks, "account", levelLeftOut, "without accounting")
		return
	}
	if code != exitFailure {
		t.Errorf("exit code %d", code)
	}
	expect(t, r.Checks, "account and QOS", levelOK, "p200981 (default)")
	expect(t, r.Checks, "account", levelProblem, "p9 is none of your accounts")
	expect(t, r.Checks, "QOS", levelProblem, "nope does not exist")
}

// Alone, for the step waits for one node and other tests take all.
func TestSlurmDoctorNode(t *testing.T) {
	c := needSlurm(t, true)
	p := newSlurmPlane(c, nil)
	r, code := c.doctor(p, doctorFile("partition: gpu, nodelist: mel2003", ""), "--node")
	if code != 0 || r.Problems != 0 {
		t.Errorf("exit code %d, %+v", code, r)
	}
	expect(t, r.Checks, "step on a node", levelOK, "runs on mel2003")
	expect(t, r.Checks, "shared folder", levelOK, "seen on mel2003")
	expect(t, r.Checks, "clock", levelOK, "mel2003")
	expect(t, r.Checks, "address", levelOK, "10.213.77.")
	expect(t, r.Checks, "server port", levelOK, "5000 is free")

	// What is amiss on a node is told in words.
	r, _ = c.doctor(p, doctorFile("modules: [no-such-module]", ""), "--node")
	expect(t, r.Checks, "step on a node", levelProblem, "no-such-module")

	left, err := filepath.Glob(filepath.Join(string(p.home), "work", ".doctor-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the work folder: %v, %v", left, err)
	}
	p.eventually(30*time.Second, "no step is left", noSteps(c))
}

// noSteps says whether no job of doctor's is in the queue.
func noSteps(c *slurmCluster) func(context.Context) (bool, string) {
	return func(context.Context) (bool, string) {
		out := c.command("squeue", "-h", "-o", "%j|%T")
		return !strings.Contains(out, "benchd-doctor-"), out
	}
}
