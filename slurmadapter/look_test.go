package slurmadapter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestQuery(t *testing.T) {
	s, calls := fake(t, map[string]string{"sinfo": "echo gpu", "scontrol": "echo 'Slurmctld(primary) at a is DOWN'; exit 1", "squeue": "sleep 60"})
	if out, err := s.Query(t.Context(), "sinfo", "-h"); out != "gpu\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	if out, err := s.Query(t.Context(), "scontrol", "ping"); err == nil || !strings.Contains(out, "DOWN") {
		t.Errorf("a command that tells on standard output and fails: got %q, %v", out, err)
	}
	if diff := cmp.Diff("sinfo -h\nscontrol ping\n", read(t, calls)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	s.run.timeout = 50 * time.Millisecond
	if _, err := s.Query(t.Context(), "squeue"); !errors.Is(err, ErrOutage) || !strings.Contains(err.Error(), "within 50ms") {
		t.Errorf("a command that hangs: %v", err)
	}
}

var errProgram = errors.New("an error of the program's")

func TestStep(t *testing.T) {
	spec := StepSpec{Name: "n", Program: []string{"/p", "x"}, Wait: time.Minute, Partition: "gpu", Account: "a", QOS: "q", Nodelist: "n1"}
	args := "--job-name=n --immediate=60 --nodes=1 --ntasks=1 --time=2 --mem=256M --chdir=/ --quiet --export=HOME,USER,LOGNAME,SHELL " +
		"--partition=gpu --account=a --qos=q --nodelist=n1 /p x"
	for name, tc := range map[string]struct {
		srun string
		err  error
		also string
	}{
		"it answers":          {`read line; echo "got $line"`, nil, ""},
		"no node in time":     {fails("srun: error: Unable to allocate resources: Requested nodes are busy"), ErrBusy, "busy"},
		"refused":             {fails("srun: error: invalid partition specified: nope"), ErrRejected, "nope"},
		"the program failed":  {fails("srun: error: n1: task 0: Exited with exit code 7"), errProgram, "failed on its node: srun: error: n1"},
		"it ended in silence": {"exit 7", errProgram, "exit status 7"},
		"controller down":     {fails("srun: error: Unable to allocate resources: Unable to contact slurm controller (connect failure)"), ErrOutage, "contact"},
	} {
		t.Run(name, func(t *testing.T) {
			s, calls := fake(t, map[string]string{"srun": tc.srun, "scancel": "true"})
			heard := ""
			err := s.Step(t.Context(), spec, func(in io.Writer, out io.Reader) error {
				fmt.Fprintln(in, "hello")
				line, err := bufio.NewReader(out).ReadString('\n')
				heard = line
				return err
			})
			if tc.err == errProgram { // no refusal of Slurm's
				if err == nil || errors.Is(err, ErrRejected) || !strings.Contains(err.Error(), tc.also) {
					t.Errorf("error %v; want one with %q", err, tc.also)
				}
			} else if tc.err == nil && (err != nil || heard != "got hello\n") || !errors.Is(err, tc.err) || err != nil && !strings.Contains(err.Error(), tc.also) {
				t.Errorf("heard %q, error %v; want %v with %q", heard, err, tc.err, tc.also)
			}
			if diff := cmp.Diff("srun "+args+"\nscancel --user="+s.UID()+" --name=n\n", read(t, calls)); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// A step whose caller has waited long enough is ended, and its job cancelled all the same.
func TestStepIsEnded(t *testing.T) {
	s, calls := fake(t, map[string]string{"srun": `trap 'echo ended >&2; exit 1' TERM; echo up; while :; do sleep 0.05; done`, "scancel": "true"})
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Step(ctx, StepSpec{Name: "n", Program: []string{"/p"}}, func(_ io.Writer, out io.Reader) error {
		r := bufio.NewReader(out)
		_, _ = r.ReadString('\n') // it is up
		cancel()
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "ended") {
		t.Errorf("got %v", err)
	}
	if !strings.HasSuffix(read(t, calls), "scancel --user="+s.UID()+" --name=n\n") {
		t.Errorf("calls: %s", read(t, calls))
	}
}

func TestStepWithoutSrun(t *testing.T) {
	s, _ := fake(t, map[string]string{"srun": "missing"})
	if err := s.Step(t.Context(), StepSpec{Name: "n"}, nil); !errors.Is(err, ErrMissing) {
		t.Errorf("got %v", err)
	}
}
