package slurmadapter

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// queueFormat is squeue's -o: id, state, reason, node list, start, submit, end, name. The name comes last for it alone
// may hold the separator.
const queueFormat = "%i|%T|%r|%N|%S|%V|%e|%j"

// parseQueue reads the lines that squeue prints in queueFormat.
func parseQueue(out string) ([]Job, error) {
	var jobs []Job
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		f := strings.SplitN(line, "|", 8)
		if len(f) != 8 {
			return nil, fmt.Errorf("parse squeue: line %q has %d fields, wants 8", line, len(f))
		}
		jobs = append(jobs, Job{
			ID: f[0], State: parseState(f[1]), Raw: f[1], Reason: trimReason(f[2]), Nodes: trimNodes(f[3]),
			Started: parseTime(f[4]), Submitted: parseTime(f[5]), Ended: parseTime(f[6]), Name: f[7],
		})
	}
	return jobs, nil
}

// historyFields are sacct's -o; all exist since long before 20.02.
const historyFields = "JobIDRaw,State,Start,End,Submit,ExitCode,NodeList,JobName"

// parseHistory reads the lines that sacct prints with -P for historyFields.
func parseHistory(out string) ([]Job, error) {
	var jobs []Job
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		f := strings.SplitN(line, "|", 8)
		if len(f) != 8 {
			return nil, fmt.Errorf("parse sacct: line %q has %d fields, wants 8", line, len(f))
		}
		jobs = append(jobs, Job{
			ID: f[0], State: parseState(f[1]), Raw: f[1], Started: parseTime(f[2]), Ended: parseTime(f[3]),
			Submitted: parseTime(f[4]), ExitCode: f[5], Nodes: trimNodes(f[6]), Name: f[7],
		})
	}
	return jobs, nil
}

// parseControl reads one job of `scontrol show job -o`: words of the form Key=Value. Values may hold spaces, so a word
// that is no pair belongs to the value before it; the keys read here have values without `=`.
func parseControl(out string) (Job, error) {
	fields := controlFields(out)
	if fields["JobId"] == "" || fields["JobState"] == "" {
		return Job{}, fmt.Errorf("parse scontrol show job: no JobId or JobState in %.200q", out)
	}
	restarts, err := strconv.Atoi(fields["Restarts"])
	if err != nil && fields["Restarts"] != "" {
		return Job{}, fmt.Errorf("parse scontrol show job: Restarts=%q", fields["Restarts"])
	}
	return Job{
		ID: fields["JobId"], Name: fields["JobName"], State: parseState(fields["JobState"]), Raw: fields["JobState"],
		Reason: trimReason(fields["Reason"]), Nodes: trimNodes(fields["NodeList"]), ExitCode: fields["ExitCode"], Restarts: restarts,
		Submitted: parseTime(fields["SubmitTime"]), Started: parseTime(fields["StartTime"]), Ended: parseTime(fields["EndTime"]),
	}, nil
}

func controlFields(out string) map[string]string {
	fields := map[string]string{}
	last := ""
	for _, word := range strings.Fields(out) {
		key, value, ok := strings.Cut(word, "=")
		if ok && isControlKey(key) {
			if _, seen := fields[key]; !seen {
				fields[key], last = value, key
			}
			continue
		}
		if last != "" {
			fields[last] += " " + word
		}
	}
	return fields
}

func isControlKey(key string) bool {
	for i, r := range key {
		if (r < 'A' || r > 'Z') && (i == 0 || (r < 'a' || r > 'z') && r != ':' && r != '/' && (r < '0' || r > '9')) {
			return false
		}
	}
	return key != ""
}

// parseState reads a state as squeue and sacct print it: `CANCELLED by 1000`, `NODE_FAIL`, `CANCELLED+` (cut short).
func parseState(s string) State {
	word, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	word, _, _ = strings.Cut(word, ",") // newer releases append flags
	state := State(strings.TrimSuffix(word, "+"))
	if state == "" {
		return Unknown
	}
	return state
}

func trimReason(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 1 && s[0] == '(' && s[len(s)-1] == ')' {
		s = s[1 : len(s)-1]
	}
	if s == "None" {
		return ""
	}
	return s
}

func trimNodes(s string) string {
	switch s = strings.TrimSpace(s); s {
	case "(null)", "None assigned", "None", "N/A":
		return ""
	}
	return s
}

// parseTime reads epoch seconds (SLURM_TIME_FORMAT=%s) and, for a site that forces its own, Slurm's standard form. What
// stands for "not known" gives the zero time.
func parseTime(s string) time.Time {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 {
		return time.Unix(n, 0)
	}
	if t, err := time.ParseInLocation("2006-01-02T15:04:05", s, time.Local); err == nil {
		return t
	}
	return time.Time{}
}
