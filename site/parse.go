package site

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/benchd/benchd/slurmadapter"
)

// Formats of the questions: letters and names that are stable since before 20.02. testdata/record asks with the same.
const (
	sinfoFormat  = "%P|%a|%l|%D|%T|%c|%m|%G|%N"
	squeueFormat = "%T|%P|%a|%q"
	assocFields  = "Cluster,Account,Partition,DefaultQOS,QOS,MaxJobs,MaxSubmit,MaxWall,MaxTRES,GrpTRES"
	qosFields    = "Name,Flags,MaxWall,MaxJobsPU,MaxSubmitPU,MaxTRES,MaxTRESPU,GrpTRES"
)

// rows splits what a command printed into lines of n fields. The last field takes what is left of its line.
func rows(out, command string, n int) ([][]string, error) {
	var all [][]string
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" {
			continue
		}
		f := strings.SplitN(line, "|", n)
		if len(f) != n {
			return nil, fmt.Errorf("parse %s: line %.200q has %d fields, wants %d", command, line, len(f), n)
		}
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		all = append(all, f)
	}
	return all, nil
}

var pingLine = regexp.MustCompile(`^Slurmctld\(([^)]*)\) at (\S+) is (\w+)`)

// parsePing reads `scontrol ping`: a line for each controller. Lines of other shapes, as some releases print, are passed over.
func parsePing(out string) []Controller {
	var all []Controller
	for line := range strings.Lines(out) {
		if m := pingLine.FindStringSubmatch(line); m != nil {
			all = append(all, Controller{Role: m[1], Host: m[2], Up: m[3] == "UP"})
		}
	}
	return all
}

// parseConfig reads `scontrol show config`.
func parseConfig(out string) (Slurm, error) {
	var s Slurm
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(line, "=")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "SLURM_VERSION":
			s.Version = value
		case "ClusterName":
			s.Cluster = value
		case "AccountingStorageType":
			s.Database = !strings.HasSuffix(value, "/none") && none(value) != ""
		case "AccountingStorageEnforce":
			s.Enforce = list(value)
		case "MinJobAge":
			seconds, _ := strconv.Atoi(strings.TrimSuffix(value, " sec"))
			s.MinJobAge = time.Duration(max(0, min(seconds, maxSeconds))) * time.Second
		}
	}
	if s.Version == "" {
		return s, fmt.Errorf("parse scontrol show config: no SLURM_VERSION in %.200q", out)
	}
	return s, nil
}

// parsePartitions reads `sinfo -e` in sinfoFormat: a line for each partition and kind of node.
func parsePartitions(out string) ([]Partition, error) {
	lines, err := rows(out, "sinfo", 9)
	if err != nil {
		return nil, err
	}
	var all []Partition
	at := map[string]int{}
	for _, f := range lines {
		name, isDefault := strings.CutSuffix(f[0], "*")
		i, seen := at[name]
		if !seen {
			maxTime, err := parseTime(f[2])
			if err != nil {
				return nil, fmt.Errorf("parse sinfo: time limit of partition %s: %w", name, err)
			}
			i = len(all)
			at[name] = i
			all = append(all, Partition{Name: name, Default: isDefault, State: f[1], MaxTime: maxTime})
		}
		group := Group{State: f[4], Nodes: none(f[8]), Count: number(f[3]), CPUs: number(f[5]), MemoryMiB: int64(number(f[6])), GRES: parseGRES(f[7])}
		if group.Count > 0 {
			all[i].Groups = append(all[i].Groups, group)
		}
	}
	return all, nil
}

// parseRules reads `scontrol show partition -o`: a line of Key=Value words for each partition.
func parseRules(out string) (map[string]*Rules, error) {
	all := map[string]*Rules{}
	for line := range strings.Lines(out) {
		fields := map[string]string{}
		for _, word := range strings.Fields(line) {
			if key, value, ok := strings.Cut(word, "="); ok {
				fields[key] = value
			}
		}
		name := fields["PartitionName"]
		if name == "" {
			if strings.TrimSpace(line) == "" {
				continue
			}
			return nil, fmt.Errorf("parse scontrol show partition: no PartitionName in %.200q", line)
		}
		overSubscribe, _, _ := strings.Cut(fields["OverSubscribe"], ":")
		all[name] = &Rules{
			AllowAccounts: list(fields["AllowAccounts"]), DenyAccounts: list(fields["DenyAccounts"]), AllowQOS: list(fields["AllowQos"]),
			DenyQOS: list(fields["DenyQos"]), AllowGroups: list(fields["AllowGroups"]), MaxNodes: number(fields["MaxNodes"]), MinNodes: number(fields["MinNodes"]),
			QOS: none(fields["QoS"]), OverSubscribe: overSubscribe,
		}
	}
	return all, nil
}

// parseJobs reads squeue in squeueFormat.
func parseJobs(out string) ([]QueuedJob, error) {
	lines, err := rows(out, "squeue", 4)
	if err != nil {
		return nil, err
	}
	jobs := make([]QueuedJob, 0, len(lines))
	for _, f := range lines {
		jobs = append(jobs, QueuedJob{State: f[0], Partition: f[1], Account: none(f[2]), QOS: none(f[3])})
	}
	return jobs, nil
}

// parseAssociations reads `sacctmgr show assoc` in assocFields, by cluster.
func parseAssociations(out string) (map[string][]Association, error) {
	lines, err := rows(out, "sacctmgr show assoc", 10)
	if err != nil {
		return nil, err
	}
	all := map[string][]Association{}
	for _, f := range lines {
		wall, err := parseTime(f[7])
		if err != nil {
			return nil, fmt.Errorf("parse sacctmgr show assoc: MaxWall of account %s: %w", f[1], err)
		}
		all[f[0]] = append(all[f[0]], Association{
			Account: f[1], Partition: f[2], DefaultQOS: f[3], QOS: list(f[4]),
			Limits: Limits{MaxJobs: number(f[5]), MaxSubmit: number(f[6]), MaxWall: wall, MaxTRES: parseTRES(f[8]), GrpTRES: parseTRES(f[9])},
		})
	}
	return all, nil
}

// parseDefaultAccount reads `sacctmgr show user format=User,DefaultAccount`.
func parseDefaultAccount(out string) (string, error) {
	lines, err := rows(out, "sacctmgr show user", 2)
	if err != nil || len(lines) == 0 {
		return "", err
	}
	return lines[0][1], nil
}

// parseQOS reads `sacctmgr show qos` in qosFields.
func parseQOS(out string) ([]QOS, error) {
	lines, err := rows(out, "sacctmgr show qos", 8)
	if err != nil {
		return nil, err
	}
	var all []QOS
	for _, f := range lines {
		wall, err := parseTime(f[2])
		if err != nil {
			return nil, fmt.Errorf("parse sacctmgr show qos: MaxWall of %s: %w", f[0], err)
		}
		all = append(all, QOS{
			Name: f[0], Flags: list(f[1]), MaxTRESPerUser: parseTRES(f[6]),
			Limits: Limits{MaxJobs: number(f[3]), MaxSubmit: number(f[4]), MaxWall: wall, MaxTRES: parseTRES(f[5]), GrpTRES: parseTRES(f[7])},
		})
	}
	return all, nil
}

var (
	inParentheses = regexp.MustCompile(`\([^)]*\)`)
	gresCount     = regexp.MustCompile(`^(\d+)([KMGT]?)$`)
)

// parseGRES reads a node's GRES, such as `gpu:a100:4(S:0-1),shard:8`: name, type if any, count if any, and where they sit.
func parseGRES(text string) map[string]int {
	words := list(inParentheses.ReplaceAllString(text, ""))
	if len(words) == 0 {
		return nil
	}
	counts := map[string]int{}
	for _, word := range words {
		parts := strings.Split(word, ":")
		n := 1
		if m := gresCount.FindStringSubmatch(parts[len(parts)-1]); m != nil && len(parts) > 1 {
			n = min(number(m[1]), maxNumber/units[m[2]]) * units[m[2]]
			parts = parts[:len(parts)-1]
		}
		counts[parts[0]] = min(counts[parts[0]]+n, maxNumber)
		if len(parts) > 1 && parts[1] != "no_consume" {
			name := parts[0] + ":" + parts[1]
			counts[name] = min(counts[name]+n, maxNumber)
		}
	}
	return counts
}

var units = map[string]int{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

// parseTRES reads limits such as `cpu=64,gres/gpu=4,mem=256G`. Memory comes out in MiB, Slurm's own unit.
func parseTRES(text string) TRES {
	var all TRES
	for _, word := range list(text) {
		name, value, ok := strings.Cut(word, "=")
		digits := strings.TrimRight(value, "KMGTP")
		n, err := strconv.ParseFloat(digits, 64)
		if !ok || err != nil || n < 0 || n > maxNumber {
			continue
		}
		switch strings.TrimPrefix(value, digits) {
		case "K":
			n /= 1 << 10
		case "G":
			n *= 1 << 10
		case "T":
			n *= 1 << 20
		case "P":
			n *= 1 << 30
		}
		if all == nil {
			all = TRES{}
		}
		all[name] = int64(n)
	}
	return all
}

const (
	// maxNumber bounds counts that are read: nothing of a site is larger, and sums must not overflow.
	maxNumber = 1 << 40
	// maxSeconds bounds times.
	maxSeconds = 1 << 31
)

// number reads a count; what is no number (UNLIMITED, N/A, empty) is 0. sinfo appends + to the least of several.
func number(s string) int {
	n, err := strconv.Atoi(strings.TrimSuffix(s, "+"))
	if err != nil || n < 0 || n > maxNumber {
		return 0
	}
	return n
}

var timePattern = regexp.MustCompile(`^(?:(\d{1,5})-)?(?:(\d{1,5}):)?(\d{1,6}):(\d{2})$`)

// parseTime reads a time as Slurm's commands print one: [days-][hours:]minutes:seconds. No limit is 0.
func parseTime(s string) (time.Duration, error) {
	switch strings.ToLower(none(s)) {
	case "", "infinite", "unlimited", "partition_limit", "none":
		return 0, nil
	}
	m := timePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%.40q is not a time such as 1-00:00:00", s)
	}
	var d time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		d += time.Duration(number(m[i+1])) * unit
	}
	return d, nil
}

// none is a text, or nothing for the words that stand for it.
func none(s string) string {
	switch s = strings.TrimSpace(s); s {
	case "(null)", "N/A", "n/a", "NONE", "none", "None":
		return ""
	}
	return s
}

// list splits at commas. ALL and what stands for nothing give an empty list.
func list(s string) []string {
	if s = none(s); s == "" || s == "ALL" {
		return nil
	}
	var words []string
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}

// Hosts lists the names of the partition's nodes.
func (p *Partition) Hosts() ([]string, error) {
	var all []string
	for i := range p.Groups {
		names, err := slurmadapter.ExpandHostlist(p.Groups[i].Nodes)
		if err != nil {
			return nil, fmt.Errorf("nodes of partition %s: %w", p.Name, err)
		}
		all = append(all, names...)
	}
	return all, nil
}
