package slurmadapter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fake makes a Slurm whose commands are the given shell scripts. Each call is noted in the returned file. Its users must
// not run in parallel: a script that another fork still holds open for writing cannot be started.
func fake(t *testing.T, scripts map[string]string) (*Slurm, string) {
	t.Helper()
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	for _, name := range []string{"sbatch", "squeue", "scontrol", "scancel", "sacct", "srun", "sinfo"} {
		body, ok := scripts[name]
		if !ok {
			body = "echo " + name + " was not expected >&2; exit 1"
		}
		if body == "missing" {
			continue
		}
		text := fmt.Sprintf("#!/bin/sh\necho \"%s $*\" >>'%s'\n%s\n", name, calls, body)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Config{BinDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s, calls
}

func fails(message string) string { return "echo '" + message + "' >&2; exit 1" }

const (
	down    = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
	unknown = "slurm_load_jobs error: Invalid job id specified"
	noSacct = "Slurm accounting storage is disabled"
	dbDown  = "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to host:db:6819: Connection refused"
)

func TestSubmit(t *testing.T) {
	spec := JobSpec{Name: "n", Script: "/s", Nodes: 1, TimeLimit: "10"}
	for name, tc := range map[string]struct {
		sbatch string
		id     string
		err    error
		also   string
	}{
		"an id":                              {"echo 4711", "4711", nil, ""},
		"an id with a cluster":               {"echo '4711;mel'", "4711", nil, ""},
		"a warning beside it":                {"echo 'sbatch: warning: dear' >&2; echo 12", "12", nil, ""},
		"a child of a wrapper that lives on": {"sleep 3 & echo 12", "12", nil, ""},
		"refused":                            {fails("sbatch: error: invalid partition specified: nope"), "", ErrRejected, "nope"},
		"refused without a word":             {"exit 3", "", ErrRejected, "exit status 3"},
		"controller down":                    {fails(down), "", ErrOutage, "connect failure"},
		"killed, perhaps after its work":     {"kill -9 $$", "", ErrOutage, "killed"},
		"at the submit limit":                {fails("sbatch: error: AssocMaxSubmitJobLimit"), "", ErrBusy, ""},
		"an answer that is no id":            {"echo 'welcome to the cluster'", "", nil, "welcome"},
		"no answer at all":                   {"true", "", nil, "not a job id"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := fake(t, map[string]string{"sbatch": tc.sbatch})
			id, err := s.Submit(t.Context(), spec)
			if id != tc.id || tc.err != nil && !errors.Is(err, tc.err) || (tc.id == "") != (err != nil) {
				t.Fatalf("id %q, error %v; want %q, %v", id, err, tc.id, tc.err)
			}
			if err != nil && !strings.Contains(err.Error(), tc.also) {
				t.Errorf("error %q lacks %q", err, tc.also)
			}
			// What cannot be read must not pass for a refusal: the job may be there.
			if tc.err == nil && errors.Is(err, ErrRejected) {
				t.Errorf("error %v counts as a refusal", err)
			}
		})
	}
}

func TestReleaseAndCancel(t *testing.T) {
	for name, tc := range map[string]struct {
		script           string
		release, cancels error
	}{
		"done":            {"true", nil, nil},
		"unknown job":     {fails("Invalid job id specified for job 7"), ErrNotFound, nil},
		"controller down": {fails(down), ErrOutage, ErrOutage},
		"controller down, as scontrol release tells it": {fails("Unexpected message received for job 7"), ErrOutage, ErrOutage},
	} {
		t.Run(name, func(t *testing.T) {
			s, calls := fake(t, map[string]string{"scontrol": tc.script, "scancel": tc.script})
			if err := s.Release(t.Context(), "7"); !errors.Is(err, tc.release) {
				t.Errorf("release: %v, want %v", err, tc.release)
			}
			if err := s.Cancel(t.Context(), "7"); !errors.Is(err, tc.cancels) {
				t.Errorf("cancel: %v, want %v", err, tc.cancels)
			}
			if diff := cmp.Diff("scontrol release 7\nscancel 7\n", read(t, calls)); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestList(t *testing.T) {
	lines := recordedAs(t, recorded(t, "squeue"), "squeue_format", queueFormat, "|")
	s, calls := fake(t, map[string]string{"squeue": "cat <<'END'\n" + lines + "END"})
	jobs, err := s.List(t.Context())
	if err != nil || len(jobs) != strings.Count(lines, "\n") {
		t.Errorf("%d jobs, %v", len(jobs), err)
	}
	if want := fmt.Sprintf("squeue -h --user=%d -t all -o %s\n", os.Getuid(), queueFormat); read(t, calls) != want {
		t.Errorf("calls %q, want %q", read(t, calls), want)
	}
	empty, _ := fake(t, map[string]string{"squeue": "true"})
	if jobs, err := empty.List(t.Context()); err != nil || len(jobs) != 0 {
		t.Errorf("an empty queue: %v, %v", jobs, err)
	}
	gone, _ := fake(t, map[string]string{"squeue": fails(down)})
	if _, err := gone.List(t.Context()); !errors.Is(err, ErrOutage) {
		t.Errorf("controller down: %v", err)
	}
}

func TestLookup(t *testing.T) {
	row := func(state string) string { return "echo '7|" + state + "|10|20|5|0:0|n1|job'" }
	control := func(state string) string { return "echo 'JobId=7 JobName=job JobState=" + state + " Restarts=0'" }
	for name, tc := range map[string]struct {
		sacct, scontrol string
		state           State
		err             error
	}{
		"rule 1: accounting has it ended":                                 {row("COMPLETED"), "", Completed, nil},
		"rule 1: cancelled by somebody":                                   {row("CANCELLED by 0"), "", Cancelled, nil},
		"rule 2: accounting lags behind":                                  {row("RUNNING"), control("COMPLETED"), Completed, nil},
		"rule 2: accounting does not know it yet":                         {"true", control("PENDING"), Pending, nil},
		"rule 2: accounting is off":                                       {fails(noSacct), control("FAILED"), Failed, nil},
		"rule 2: the database is away":                                    {fails(dbDown), control("RUNNING"), Running, nil},
		"rule 2: another job's row":                                       {"echo '70|COMPLETED|10|20|5|0:0|n1|job'", control("RUNNING"), Running, nil},
		"rule 2: the latest of several starts counts":                     {"echo '7|NODE_FAIL|1|2|1|0:0|n1|job'; " + row("RUNNING"), control("RUNNING"), Running, nil},
		"rule 3: the controller forgot it, its end is not in the records": {row("RUNNING"), fails(unknown), Running, nil},
		"rule 4: neither knows it":                                        {"true", fails(unknown), "", ErrNotFound},
		"rule 4: no accounting and the controller forgot it":              {fails(noSacct), fails(unknown), "", ErrNotFound},
		"rule 4: no sacct on this machine":                                {"missing", fails(unknown), "", ErrNotFound},
		"outage of the database alone cannot tell":                        {fails(dbDown), fails(unknown), "", ErrOutage},
		"outage of the controller alone cannot tell":                      {"true", fails(down), "", ErrOutage},
		"outage of the controller, accounting has the end":                {row("TIMEOUT"), fails(down), Timeout, nil},
		"outage of both":                                                  {fails(dbDown), fails(down), "", ErrOutage},
		"an answer of sacct that cannot be read is no proof":              {"echo 'maintenance on Tuesday'", fails(unknown), "", errors.ErrUnsupported},
		"an answer of scontrol that cannot be read is no proof":           {"true", "echo 'maintenance on Tuesday'", "", errors.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := fake(t, map[string]string{"sacct": tc.sacct, "scontrol": tc.scontrol})
			job, err := s.Lookup(t.Context(), "7", time.Now().Add(-time.Hour))
			switch {
			case tc.err == errors.ErrUnsupported: // any error but one that says the job is gone
				if err == nil || errors.Is(err, ErrNotFound) {
					t.Errorf("%v, error %v", job, err)
				}
			case tc.err != nil:
				if !errors.Is(err, tc.err) {
					t.Errorf("error %v, want %v", err, tc.err)
				}
			case err != nil || job.State != tc.state || job.ID != "7":
				t.Errorf("%v, error %v; want %s", job, err, tc.state)
			}
		})
	}
}

func TestLookupAsksFromTheSubmission(t *testing.T) {
	s, calls := fake(t, map[string]string{"sacct": "echo '7|NODE_FAIL|1|2|1|0:0|n1|job'; echo '7|FAILED|3|4|1|1:0|n1|job'"})
	job, err := s.Lookup(t.Context(), "7", time.Now().Add(-48*time.Hour))
	if err != nil || job.Restarts != 1 || job.State != Failed || job.ExitCode != "1:0" {
		t.Errorf("%+v, %v", job, err)
	}
	if got, want := read(t, calls), "sacct -n -P -X -D -j 7 -S now-1764"; !strings.HasPrefix(got, want) {
		t.Errorf("calls %q, want %q…", got, want)
	}
}

func TestHangingCommands(t *testing.T) {
	s, _ := fake(t, map[string]string{"squeue": "exec sleep 600", "sbatch": "sleep 600; echo 12"})
	s.run.timeout = 200 * time.Millisecond
	from := time.Now()
	if _, err := s.List(t.Context()); !errors.Is(err, ErrOutage) || !strings.Contains(err.Error(), "within 200ms") {
		t.Errorf("squeue: %v", err)
	}
	// Its child holds the output open; that must not hold us.
	if _, err := s.Submit(t.Context(), JobSpec{}); !errors.Is(err, ErrOutage) {
		t.Errorf("sbatch: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.List(ctx); err == nil || errors.Is(err, ErrRejected) || errors.Is(err, ErrNotFound) {
		t.Errorf("cancelled: %v", err)
	}
	if d := time.Since(from); d > 20*time.Second {
		t.Errorf("it took %s", d)
	}
}

func TestMissingCommands(t *testing.T) {
	dir := t.TempDir()
	_, err := New(Config{BinDir: dir})
	if !errors.Is(err, ErrMissing) {
		t.Fatalf("error %v", err)
	}
	for _, part := range []string{"sbatch", dir, "load Slurm's module", "spec.binDir", "cluster: embedded"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
	t.Setenv("PATH", dir)
	if _, err := New(Config{}); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "on PATH") {
		t.Errorf("error %v", err)
	}
}

func TestCommandEnv(t *testing.T) {
	for name, tc := range map[string]struct {
		environ []string
		conf    string
		want    []string
	}{
		"what a job or a user's defaults set is taken out": {
			[]string{"PATH=/bin", "HOME=/h", "SLURM_JOB_ID=3", "SBATCH_PARTITION=x", "SQUEUE_FORMAT=y", "SACCT_FORMAT=z", "SCONTROL_ALL=1", "SCANCEL_INTERACTIVE=1", "LANG=de", "LANGUAGE=de", "LC_TIME=de", "SLURM_TIME_FORMAT=relative", "SQUEUE_SORT=i"},
			"",
			[]string{"PATH=/bin", "HOME=/h", "LC_ALL=C", "SLURM_TIME_FORMAT=%s"},
		},
		"the site's SLURM_CONF stays": {
			[]string{"SLURM_CONF=/etc/x"}, "", []string{"SLURM_CONF=/etc/x", "LC_ALL=C", "SLURM_TIME_FORMAT=%s"},
		},
		"a named one replaces it": {
			[]string{"SLURM_CONF=/etc/x", "A=b=c"}, "/my", []string{"A=b=c", "SLURM_CONF=/my", "LC_ALL=C", "SLURM_TIME_FORMAT=%s"},
		},
	} {
		if diff := cmp.Diff(tc.want, commandEnv(tc.environ, tc.conf)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSubmitArgs(t *testing.T) {
	full := JobSpec{
		Name: "benchd-x", Comment: "run x", Script: "/w/job.sh", Folder: "/w", Output: "/w/job.log", Nodes: 3, CPUs: 8, GPUs: 2, MemoryMiB: 64,
		Exclusive: true, TimeLimit: "01:00:00", Grace: 30 * time.Second, Partition: "gpu", Account: "a", QOS: "q", Nodelist: "n[1-3]",
		Exclude: "n9", ExtraArgs: []string{"--reservation=r", "-C a100"},
	}
	head := []string{"--hold", "--no-requeue", "--parsable", "--export=NONE", "--open-mode=append"}
	for name, tc := range map[string]struct {
		spec JobSpec
		want []string
	}{
		"everything": {full, append(slices.Clone(head),
			"--job-name=benchd-x", "--comment=run x", "--chdir=/w", "--output=/w/job.log", "--nodes=3", "--ntasks-per-node=1", "--time=01:00:00",
			"--signal=TERM@30", "--exclusive", "--cpus-per-task=8", "--gres=gpu:2", "--mem=64M", "--partition=gpu", "--account=a", "--qos=q",
			"--nodelist=n[1-3]", "--exclude=n9", "--reservation=r", "-C a100", "/w/job.sh")},
		"an exclusive node gives all its memory": {JobSpec{Name: "x", Script: "s", Nodes: 1, TimeLimit: "5", Exclusive: true, Grace: time.Millisecond}, append(slices.Clone(head),
			"--job-name=x", "--comment=", "--chdir=", "--output=", "--nodes=1", "--ntasks-per-node=1", "--time=5", "--signal=TERM@1", "--exclusive", "--mem=0", "s")},
		"a hostile value stays one argument": {JobSpec{Name: "x; rm -rf /", Comment: "$(id)\n--wrap=x", Script: "s", TimeLimit: "5"}, append(slices.Clone(head),
			"--job-name=x; rm -rf /", "--comment=$(id)\n--wrap=x", "--chdir=", "--output=", "--nodes=0", "--ntasks-per-node=1", "--time=5", "s")},
	} {
		if diff := cmp.Diff(tc.want, tc.spec.SubmitArgs()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestInfo(t *testing.T) {
	for text, want := range map[string]Info{
		"AccountingStorageType   = accounting_storage/slurmdbd\nSLURM_VERSION           = 22.05.8": {"22.05.8", true},
		"AccountingStorageType   = accounting_storage/none\nSLURM_VERSION = 20.11.9":               {"20.11.9", false},
		"AccountingStorageType   = (null)\nSLURM_VERSION = 24.05.1":                                {"24.05.1", false},
	} {
		s, _ := fake(t, map[string]string{"scontrol": "cat <<'END'\n" + text + "\nEND"})
		if got, err := s.Info(t.Context()); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
}
