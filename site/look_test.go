package site

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// playback answers as the recorded cluster did, in one of the states that it was recorded in.
type playback struct {
	t     *testing.T
	state string
	// hung are commands that do not come back.
	hung []string
}

func (p playback) UID() string { return "1000" }

func (p playback) Query(ctx context.Context, name string, args ...string) (string, error) {
	line := name + " " + strings.Join(args, " ")
	for _, prefix := range p.hung {
		if strings.HasPrefix(line, prefix) {
			return "", fmt.Errorf("%s: Slurm does not answer within 20s", name)
		}
	}
	for prefix, file := range map[string]string{
		"scontrol ping": "ping", "scontrol show config": "config", "scontrol show partition -o": "partitions", "sinfo -h -e -o " + sinfoFormat: "sinfo",
		"squeue -h -r --user=1000 -o " + squeueFormat: "jobs", "sacct -n -P -X": "sacct", "sacctmgr -n -P show assoc user=": "assoc",
		"sacctmgr -n -P show qos format=" + qosFields: "qos", "sacctmgr -n -P show user ": "user",
	} {
		if !strings.HasPrefix(line, prefix) {
			continue
		}
		out := recorded(p.t, file+p.state)
		if code, text, failed := strings.Cut(out, "\n"); failed && strings.HasPrefix(code, "exit ") {
			if file == "ping" { // it tells on standard output
				return text, errors.New(name + ": exit status 1")
			}
			return "", fmt.Errorf("%s: %s", name, strings.TrimSpace(text))
		}
		return out, nil
	}
	p.t.Errorf("%q was not expected", line)
	return "", errors.New("not expected")
}

func TestLook(t *testing.T) {
	t.Parallel()
	controllers := []Question{AskController, AskJobs, AskPartitions, AskRules}
	database := []Question{AskAssociations, AskHistory, AskQOS}
	for name, tc := range map[string]struct {
		play       playback
		unknown    []Question
		partitions int
		account    string
		says       string
	}{
		"all answer":                {playback{}, nil, 4, "p200981", ""},
		"the controller is down":    {playback{state: "-ctld-down"}, controllers, 0, "p200981", "no controller is up (primary on vm)"},
		"the database is down":      {playback{state: "-dbd-down"}, database, 4, "", "Connection refused"},
		"no accounting":             {playback{state: "-no-accounting"}, database, 4, "", "accounting"},
		"ping hangs":                {playback{hung: []string{"scontrol ping"}}, controllers, 0, "p200981", "within 20s"},
		"the configuration hangs":   {playback{hung: []string{"scontrol show config"}}, controllers, 0, "p200981", "within 20s"},
		"sinfo hangs":               {playback{hung: []string{"sinfo"}}, []Question{AskPartitions}, 0, "p200981", "within 20s"},
		"scontrol show partition":   {playback{hung: []string{"scontrol show partition"}}, []Question{AskRules}, 4, "p200981", "within 20s"},
		"squeue hangs":              {playback{hung: []string{"squeue"}}, []Question{AskJobs}, 4, "p200981", "within 20s"},
		"sacct hangs":               {playback{hung: []string{"sacct "}}, []Question{AskHistory}, 4, "p200981", "within 20s"},
		"the QOS hang":              {playback{hung: []string{"sacctmgr -n -P show qos"}}, []Question{AskQOS}, 4, "p200981", "within 20s"},
		"the associations hang":     {playback{hung: []string{"sacctmgr -n -P show assoc"}}, []Question{AskAssociations}, 4, "p200981", "within 20s"},
		"the default account hangs": {playback{hung: []string{"sacctmgr -n -P show user"}}, []Question{AskAssociations}, 4, "", "within 20s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.play.t = t
			f := LookBy(t.Context(), tc.play)
			if diff := cmp.Diff(tc.unknown, slices.Sorted(maps.Keys(f.Unknown))); diff != "" {
				t.Errorf("unknown (-want +got):\n%s", diff)
			}
			if len(f.Partitions) != tc.partitions || f.DefaultAccount != tc.account {
				t.Errorf("%d partitions, default account %q", len(f.Partitions), f.DefaultAccount)
			}
			if all := fmt.Sprint(f.Unknown); !strings.Contains(all, tc.says) {
				t.Errorf("the reasons %s lack %q", all, tc.says)
			}
			if f.Accounting == slices.Contains(tc.unknown, AskHistory) || f.Known(AskController) == slices.Contains(tc.unknown, AskController) {
				t.Errorf("accounting %v, unknown %v", f.Accounting, f.Unknown)
			}
		})
	}
}

func TestFactsFind(t *testing.T) {
	t.Parallel()
	f := LookBy(t.Context(), playback{t: t})
	if p := f.Partition(""); p == nil || p.Name != "gpu" || p.Rules == nil {
		t.Errorf("default partition %+v", p)
	}
	if p := f.Partition("short"); p == nil || p.Rules.MaxNodes != 2 {
		t.Errorf("partition short %+v", p)
	}
	if f.Partition("nope") != nil || f.FindQOS("nope") != nil || f.Association("nope", "") != nil {
		t.Error("what is not there was found")
	}
	if diff := cmp.Diff([]string{"p200981", "p200982"}, f.Accounts()); diff != "" {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
	if a := f.Association("", "gpu"); a == nil || a.Account != "p200981" {
		t.Errorf("default association %+v", a)
	}
	if f.Association("p200982", "gpu") != nil || f.Association("p200982", "high") == nil {
		t.Error("an association that is bound to a partition holds there alone")
	}
}

func TestLookWithoutCommands(t *testing.T) {
	t.Parallel()
	f := Look(t.Context(), &api.ClusterSpec{Type: api.ClusterSlurm, BinDir: t.TempDir()})
	if f.Known(AskCommands) || f.Known(AskQOS) || !strings.Contains(f.Unknown[AskCommands], "load Slurm's module") {
		t.Errorf("%+v", f.Unknown)
	}
	if f = Look(t.Context(), &api.ClusterSpec{Type: api.ClusterEmbedded}); !f.Embedded || f.Known(AskController) || len(f.Unknown) > 0 {
		t.Errorf("embedded: %+v", f)
	}
}

func TestRuntimes(t *testing.T) {
	t.Parallel()
	got := runtimes(func(name string) (string, error) {
		if name == "ch-run" || name == "podman" {
			return "/opt/bin/" + name, nil
		}
		return "", errors.New("not there")
	})
	want := []Runtime{{"podman", "/opt/bin/podman"}, {"charliecloud", "/opt/bin/ch-run"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
