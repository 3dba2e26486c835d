package slurmadapter

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseState(t *testing.T) {
	for text, want := range map[string]State{
		"RUNNING": Running, "CANCELLED by 1000": Cancelled, "CANCELLED+": Cancelled, "NODE_FAIL": NodeFail, "OUT_OF_MEMORY": OutOfMemory,
		"OUT_OF_ME+": "OUT_OF_ME", " PENDING ": Pending, "RUNNING,CLOUD": Running, "": Unknown, "TELEPORTED": "TELEPORTED",
	} {
		if got := parseState(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	for _, future := range []State{"TELEPORTED", Unknown, "OUT_OF_ME"} {
		if got := future.Stage(); got != StageOnNodes {
			t.Errorf("state %q has stage %v: what is not known must not count as ended", future, got)
		}
	}
}

func TestEveryStateHasItsStage(t *testing.T) {
	for stage, states := range map[Stage][]State{
		StageWaiting: {Pending, Requeued, RequeueHold, SpecialExit},
		StageOnNodes: {Configuring, Running, Suspended, Stopped, Completing, Unknown},
		StageEnded:   {Completed, Failed, Cancelled, Timeout, NodeFail, Preempted, OutOfMemory, BootFail, Deadline, Revoked, LaunchFailed},
	} {
		for _, s := range states {
			if s.Stage() != stage {
				t.Errorf("%s has stage %v, want %v", s, s.Stage(), stage)
			}
		}
	}
}

func TestParseTime(t *testing.T) {
	local := time.Date(2026, 3, 4, 5, 6, 7, 0, time.Local)
	for text, want := range map[string]time.Time{
		"1795488845": time.Unix(1795488845, 0), "2026-03-04T05:06:07": local, "Unknown": {}, "N/A": {}, "None": {}, "": {}, "0": {}, "-5": {},
		"NONE": {}, "2026-03-04": {}, " 12 ": time.Unix(12, 0),
	} {
		if got := parseTime(text); !got.Equal(want) {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}

func TestLinesThatAreNoJobs(t *testing.T) {
	for _, text := range []string{"slurm_load_jobs error: nothing", "12|RUNNING|None", "Tue is maintenance\n1|RUNNING|a|b|c|d|e|f"} {
		if jobs, err := parseQueue(text); err == nil {
			t.Errorf("squeue: %q gives %v", text, jobs)
		}
		if jobs, err := parseHistory(text); err == nil {
			t.Errorf("sacct: %q gives %v", text, jobs)
		}
	}
	for _, text := range []string{"", "No jobs in the system", "JobId=12", "JobState=RUNNING", "JobId=1 JobState=RUNNING Restarts=x"} {
		if job, err := parseControl(text); err == nil {
			t.Errorf("scontrol: %q gives %v", text, job)
		}
	}
}

func TestParseControlValuesWithSpaces(t *testing.T) {
	got, err := parseControl("JobId=7 JobName=two words UserId=me(1) JobState=PENDING Reason=ReqNodeNotAvail, UnavailableNodes:n[1-2] Dependency=(null) " +
		"Restarts=0 ExitCode=0:0 SubmitTime=10 StartTime=Unknown EndTime=Unknown NodeList=(null) Command=/x --env A=B Comment=JobState=FAILED JobId=9\n")
	want := Job{
		ID: "7", Name: "two words", State: Pending, Raw: "PENDING", Reason: "ReqNodeNotAvail, UnavailableNodes:n[1-2]",
		Submitted: time.Unix(10, 0), ExitCode: "0:0",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestExplain(t *testing.T) {
	for reason, want := range map[string]struct {
		never bool
		part  string
	}{
		"Resources":                         {false, "busy"},
		"(Priority)":                        {false, "priority"},
		"ReqNodeNotAvail, May be reserved":  {false, "down, drained or reserved"},
		"ReqNodeNotAvail,_UnavailableNodes": {false, "down, drained or reserved"},
		"PartitionConfig":                   {true, "lower nodes"},
		"QOSMaxJobsPerUserLimit":            {false, "goes on when other jobs end"},
		"QOSMaxWallDurationPerJobLimit":     {true, "lower nodes"},
		"AssocMaxCpuPerJobLimit":            {true, "lower nodes"},
		"AssocGrpCPUMinutesLimit":           {false, "limit"},
		"QOSNotAllowed":                     {true, "QOS"},
		"launch failed requeued held":       {true, "start failed"},
		"launch_failed_requeued_held":       {true, "start failed"},
		"Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions": {false, "down"},
		"Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions": {false, "down"},
		"JobHeldUser":       {false, "owner"},
		"JobHeldAdmin":      {false, "administrator"},
		"AReasonYetToCome":  {false, "Slurm says AReasonYetToCome"},
		"a_reason_yet_to_x": {false, "a reason yet to x"},
		"":                  {false, "no reason"},
	} {
		if e := Explain(reason); e.Never != want.never || !strings.Contains(e.Text, want.part) {
			t.Errorf("%q: %+v, wants %+v", reason, e, want)
		}
	}
	for reason, e := range reasons {
		if Explain(reason) != e || e.Text == "" {
			t.Errorf("%s is explained as %+v", reason, Explain(reason))
		}
	}
}

func FuzzParseQueue(f *testing.F) {
	f.Add(recordedAs(f, recorded(f, "squeue"), "squeue_format", queueFormat, "|"))
	f.Add("1|RUNNING|None|n1|1|2|3|a|b\r\n")
	f.Fuzz(func(t *testing.T, out string) {
		jobs, err := parseQueue(out)
		if err == nil && len(jobs) > strings.Count(out, "\n")+1 {
			t.Errorf("%d jobs of %q", len(jobs), out)
		}
		for _, j := range jobs {
			if j.State == "" || strings.ContainsAny(string(j.State), " ,") || strings.Contains(j.Name, "\n") || strings.Contains(j.ID, "|") {
				t.Errorf("%+v", j)
			}
		}
	})
}

func FuzzParseHistory(f *testing.F) {
	f.Add(recordedAs(f, recorded(f, "sacct-X"), "sacct_fields", historyFields, ","))
	f.Add("1|CANCELLED by 0|None|Unknown|5|0:15|None assigned|a|b\n\n")
	f.Fuzz(func(t *testing.T, out string) {
		jobs, err := parseHistory(out)
		if err == nil && len(jobs) > strings.Count(out, "\n")+1 {
			t.Errorf("%d jobs of %q", len(jobs), out)
		}
		for _, j := range jobs {
			if j.State == "" || j.Nodes == "None assigned" || strings.Contains(j.ID, "|") {
				t.Errorf("%+v", j)
			}
		}
	})
}

func FuzzParseControl(f *testing.F) {
	for _, name := range []string{"running", "array", "het", "launch-failed-held"} {
		f.Add(recorded(f, "scontrol-show-job-"+name))
	}
	f.Add("JobId=1 JobState=X =y Restarts=1")
	f.Fuzz(func(t *testing.T, out string) {
		job, err := parseControl(out)
		if err == nil && (job.ID == "" || job.State == "") {
			t.Errorf("%+v of %q", job, out)
		}
	})
}
