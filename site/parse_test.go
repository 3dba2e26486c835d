package site

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// recordedIn names the folder of what the commands of a real cluster said; testdata/record makes it.
const recordedIn = "testdata/22.05"

func recorded(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(recordedIn, name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestRecordedPartitions(t *testing.T) {
	t.Parallel()
	got, err := parsePartitions(recorded(t, "sinfo"))
	if err != nil || len(got) != 4 {
		t.Fatalf("%d partitions, %v", len(got), err)
	}
	group := func(state, node string) Group {
		return Group{State: state, Nodes: node, Count: 1, CPUs: 8, MemoryMiB: 65536, GRES: map[string]int{"gpu": 4}}
	}
	want := Partition{Name: "gpu", Default: true, State: "up", MaxTime: 24 * time.Hour, Groups: []Group{
		group("down*", "mel2004"), group("drained", "mel2003"), group("mixed", "mel2002"), group("allocated", "mel2001"),
	}}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p := got[0]; p.Total() != 4 || p.Nodes((*Group).Usable) != 2 || p.Nodes((*Group).Idle) != 0 || p.GPUs() != 4 || p.CPUs() != 8 || p.MemoryMiB() != 65536 {
		t.Errorf("sums of %+v", p)
	}
	if got[1].MaxTime != 2*time.Minute || got[2].State != "down" || got[3].Default {
		t.Errorf("%+v", got)
	}
	plain, err := parsePartitions(recorded(t, "sinfo-plain"))
	if err != nil {
		t.Fatal(err)
	}
	if hosts, err := plain[0].Hosts(); err != nil || strings.Join(hosts, " ") != "mel2001 mel2002 mel2003 mel2004" {
		t.Errorf("hosts %v, %v", hosts, err)
	}
	if n := plain[0].Nodes((*Group).Idle); n != 4 {
		t.Errorf("%d idle nodes", n)
	}
}

func TestRecordedRules(t *testing.T) {
	t.Parallel()
	got, err := parseRules(recorded(t, "partitions"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]*Rules{
		"gpu":   {OverSubscribe: "NO"},
		"short": {AllowAccounts: []string{"p200981", "p200983"}, AllowQOS: []string{"short"}, MaxNodes: 2, OverSubscribe: "NO"},
		"low":   {OverSubscribe: "NO"},
		"high":  {DenyAccounts: []string{"p200982"}, OverSubscribe: "EXCLUSIVE"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRecordedLimits(t *testing.T) {
	t.Parallel()
	associations, err := parseAssociations(recorded(t, "assoc") + "other|p7||||||||\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Association{
		{Account: "p200982", Partition: "high", QOS: []string{"normal"}},
		{
			Account: "p200981", DefaultQOS: "normal", QOS: []string{"default", "normal", "short"},
			Limits: Limits{MaxJobs: 20, MaxSubmit: 40, MaxWall: 12 * time.Hour, GrpTRES: TRES{"gres/gpu": 8, "node": 4}},
		},
	}
	if diff := cmp.Diff(map[string][]Association{"mel": want, "other": {{Account: "p7"}}}, associations); diff != "" {
		t.Errorf("associations (-want +got):\n%s", diff)
	}
	qos, err := parseQOS(recorded(t, "qos"))
	if err != nil {
		t.Fatal(err)
	}
	wantQOS := []QOS{
		{Name: "normal"},
		{Name: "default", Flags: []string{"PartitionTimeLimit"}, Limits: Limits{MaxWall: 48 * time.Hour}, MaxTRESPerUser: TRES{"cpu": 64}},
		{Name: "short", Limits: Limits{MaxJobs: 2, MaxSubmit: 5, MaxWall: 30 * time.Minute, MaxTRES: TRES{"gres/gpu": 4, "node": 2}}},
	}
	if diff := cmp.Diff(wantQOS, qos); diff != "" {
		t.Errorf("QOS (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{"user": "p200981", "user-stranger": ""} {
		if got, err := parseDefaultAccount(recorded(t, name)); got != want || err != nil {
			t.Errorf("%s: default account %q, %v", name, got, err)
		}
	}
	jobs, err := parseJobs(recorded(t, "jobs"))
	if diff := cmp.Diff([]QueuedJob{
		{"PENDING", "gpu", "p200981", "normal"}, {"RUNNING", "gpu", "p200981", "normal"}, {"RUNNING", "gpu", "p200981", "short"},
	}, jobs); err != nil || diff != "" {
		t.Errorf("jobs: %v (-want +got):\n%s", err, diff)
	}
}

func TestRecordedController(t *testing.T) {
	t.Parallel()
	got, err := parseConfig(recorded(t, "config"))
	want := Slurm{Cluster: "mel", Version: "22.05.8", Database: true, Enforce: []string{"associations", "limits", "qos"}, MinJobAge: 5 * time.Minute}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err = parseConfig(recorded(t, "config-no-accounting")); err != nil || got.Database || len(got.Enforce) > 0 {
		t.Errorf("without accounting: %+v, %v", got, err)
	}
	for name, up := range map[string]bool{"ping": true, "ping-ctld-down": false} {
		if c := parsePing(recorded(t, name)); len(c) != 1 || c[0].Up != up || c[0].Role != "primary" {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestEnforces(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		enforce, rule string
		want          bool
	}{
		{"none", "limits", false},
		{"associations", "associations", true},
		{"associations", "limits", false},
		{"limits", "associations", true},
		{"all", "qos", true},
		{"", "associations", false},
	} {
		s := Slurm{Enforce: list(tc.enforce)}
		if got := s.Enforces(tc.rule); got != tc.want {
			t.Errorf("%q enforces %s: %v", tc.enforce, tc.rule, got)
		}
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	for state, want := range map[string][2]bool{ // usable, idle
		"idle": {true, true}, "idle~": {true, true}, "mixed": {true, false}, "mixed-": {true, false}, "allocated": {true, false}, "allocated+": {true, false},
		"completing": {true, false}, "planned": {true, false}, "powering_up": {true, false}, "down": {}, "down*": {}, "idle*": {}, "drained": {}, "draining": {},
		"drained$": {}, "fail": {}, "failing": {}, "maint": {}, "reserved": {}, "unknown": {}, "future": {}, "inval": {}, "a state to come": {true, false},
	} {
		g := Group{State: state}
		if got := [2]bool{g.Usable(), g.Idle()}; got != want {
			t.Errorf("%s: usable, idle: got %v, want %v", state, got, want)
		}
	}
}

func TestParseGRES(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]map[string]int{
		"(null)": nil, "": nil,
		"gpu:4":                           {"gpu": 4},
		"gpu":                             {"gpu": 1},
		"gpu:a100:4(S:0-1)":               {"gpu": 4, "gpu:a100": 4},
		"gpu:a100:2(S:0),gpu:v100:2(S:1)": {"gpu": 4, "gpu:a100": 2, "gpu:v100": 2},
		"gpu:a100_3g.20gb:2":              {"gpu": 2, "gpu:a100_3g.20gb": 2},
		"gpu:1g.5gb:7":                    {"gpu": 7, "gpu:1g.5gb": 7},
		"gpu:4(IDX:0-3)":                  {"gpu": 4},
		"gpu:4,nvme:no_consume:2K":        {"gpu": 4, "nvme": 2048},
	} {
		if diff := cmp.Diff(want, parseGRES(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestParseTRES(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]TRES{
		"": nil, "cpu=64,gres/gpu=4": {"cpu": 64, "gres/gpu": 4}, "mem=256G": {"mem": 256 << 10}, "mem=1.5T": {"mem": 1536 << 10}, "mem=512M,node=2": {"mem": 512, "node": 2},
		"mem=2048K": {"mem": 2}, "cpu": nil, "cpu=-1": nil, "cpu=many": nil, "billing=0": {"billing": 0},
	} {
		if diff := cmp.Diff(want, parseTRES(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"2:00": 2 * time.Minute, "00:30:00": 30 * time.Minute, "1-00:00:00": 24 * time.Hour, "12:00:00": 12 * time.Hour, "infinite": 0, "UNLIMITED": 0,
		"": 0, "n/a": 0, "Partition_Limit": 0, "100:00": 100 * time.Minute, "5-12:30:05": 132*time.Hour + 30*time.Minute + 5*time.Second,
	} {
		if got, err := parseTime(text); got != want || err != nil {
			t.Errorf("%q: got %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"soon", "1:2:3:4", "-5:00", "1-2", "99999999999:00"} {
		if got, err := parseTime(text); err == nil {
			t.Errorf("%q: got %s, wants an error", text, got)
		}
	}
}

// What cannot be read is an error that shows it, never half an answer.
func TestParsersRefuse(t *testing.T) {
	t.Parallel()
	for name, parse := range map[string]func(string) error{
		"sinfo":                   func(s string) error { _, err := parsePartitions(s); return err },
		"scontrol show partition": func(s string) error { _, err := parseRules(s); return err },
		"squeue":                  func(s string) error { _, err := parseJobs(s); return err },
		"sacctmgr show assoc":     func(s string) error { _, err := parseAssociations(s); return err },
		"sacctmgr show qos":       func(s string) error { _, err := parseQOS(s); return err },
		"sacctmgr show user":      func(s string) error { _, err := parseDefaultAccount(s); return err },
		"scontrol show config":    func(s string) error { _, err := parseConfig(s); return err },
	} {
		if err := parse("welcome to the cluster\n"); err == nil || !strings.Contains(err.Error(), "parse "+name) || !strings.Contains(err.Error(), "welcome") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"sinfo": second(parsePartitions("p|up|soon|1|idle|8|1|(null)|n1\n")), "assoc": second(parseAssociations("c|a||||||soon||\n")),
		"qos": second(parseQOS("q||soon|||||\n")),
	} {
		if err == nil || !strings.Contains(err.Error(), "soon") {
			t.Errorf("%s with a time that is none: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob(recordedIn + "/*.txt")
	if err != nil || len(paths) == 0 {
		f.Fatalf("nothing recorded: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("gpu*|up|1-00:00:00|1|idle|8|65536|gpu:a100:4(S:0-1)|mel[2001-2004]")
	f.Fuzz(func(t *testing.T, text string) {
		partitions, err := parsePartitions(text)
		for i := range partitions {
			p := &partitions[i]
			if err == nil && (p.Total() < 0 || p.GPUs() < 0 || p.MaxTime < 0 || p.Nodes((*Group).Usable) > p.Total()) {
				t.Errorf("%+v", p)
			}
			_, _ = p.Hosts()
		}
		_ = parsePing(text)
		_, _ = parseConfig(text)
		_, _ = parseRules(text)
		_, _ = parseJobs(text)
		_, _ = parseDefaultAccount(text)
		if all, err := parseAssociations(text); err == nil {
			for _, a := range slices.Concat(slices.Collect(maps.Values(all))...) {
				if a.MaxWall < 0 || a.MaxJobs < 0 || a.MaxSubmit < 0 {
					t.Errorf("%+v", a)
				}
			}
		}
		if all, err := parseQOS(text); err == nil {
			for _, q := range all {
				for name, n := range q.MaxTRES {
					if n < 0 {
						t.Errorf("%s=%d", name, n)
					}
				}
			}
		}
	})
}
