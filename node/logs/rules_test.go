package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// finder returns one that has looked at lines of a server.
func finder(t testing.TB, own []api.LogRule, lines ...string) *Finder {
	t.Helper()
	f, err := NewFinder(own)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		f.Look(Source{"n1", "server", "vllm-0"}, noon.Add(time.Duration(i)*time.Second).UnixNano(), true, []byte(line))
	}
	return f
}

func rulesIn(found []api.LogFinding) []string {
	var names []string
	for _, f := range found {
		names = append(names, f.Rule)
	}
	return names
}

func TestBuiltinRules(t *testing.T) {
	t.Parallel()
	rules, err := Rules(nil)
	if err != nil {
		t.Fatal(err)
	}
	if errs := api.ValidateLogRules(rules, field.NewPath("rules")); len(errs) > 0 {
		t.Fatalf("the rules themselves: %v", errs.ToAggregate())
	}
	seen := map[string]bool{}
	for _, r := range rules {
		lines, there := printed[r.Name]
		if !there || len(lines.hits) == 0 || len(lines.misses) == 0 {
			t.Errorf("%s: no lines that match and nearly match", r.Name)
			continue
		}
		seen[r.Name] = true
		for _, pattern := range r.Patterns {
			if wordsOf(pattern) == nil {
				t.Errorf("%s: %q has no word of its own, so it is tried on every line", r.Name, pattern)
			}
		}
		for _, line := range lines.hits {
			f := finder(t, nil, line)
			if got := rulesIn(f.Findings()); !slices.Contains(got, r.Name) {
				t.Errorf("%s does not find %q; %v do", r.Name, line, got)
			}
			cause, _ := f.Cause()
			if r.Class != "" && (cause == nil || cause.Name != r.Name) {
				t.Errorf("%s is not what explains %q, but %+v is", r.Name, line, cause)
			}
			if r.Class == "" && cause != nil {
				t.Errorf("%s explains %q, of which %s only warns", cause.Name, line, r.Name)
			}
		}
		for _, line := range lines.misses {
			if got := rulesIn(finder(t, nil, line).Findings()); len(got) > 0 {
				t.Errorf("%q is found by %v", line, got)
			}
		}
	}
	for name := range printed {
		if !seen[name] {
			t.Errorf("lines of %s, which is no rule", name)
		}
	}
}

// What a server prints when all is well must find nothing.
func TestQuietLogsFindNothing(t *testing.T) {
	t.Parallel()
	f := finder(t, nil,
		"INFO 06-01 22:03:08 [api_server.py:1289] vLLM API server version 0.9.0.1",
		"INFO 06-01 22:03:08 [cli_args.py:300] non-default args: {'port': 8001, 'model': 'meta-llama/Llama-2-7b-hf', 'disable_log_requests': True}",
		"INFO 06-01 22:03:23 [__init__.py:243] Automatically detected platform cuda.",
		"INFO 06-01 22:03:30 [parallel_state.py:1004] rank 0 in world size 1 is assigned as DP rank 0, PP rank 0, TP rank 0",
		"INFO 06-01 22:04:01 [kv_cache_utils.py:634] GPU KV cache size: 342,160 tokens",
		"INFO 06-01 22:04:01 [gpu_model_runner.py:1600] Graph capturing finished in 20 secs, took 0.52 GiB",
		"(APIServer pid=1) INFO:     Application startup complete.",
		`time=2025-03-13T10:51:52.727+08:00 level=INFO source=types.go:130 msg="inference compute" id=GPU-1 library=cuda variant=v12 compute=8.0 driver=12.4 name="NVIDIA A100-SXM4-40GB" total="39.4 GiB" available="38.9 GiB"`,
		"2026-01-02 12:00:00,123 INFO usage_lib.py:467 -- Usage stats collection is enabled by default",
		"Ray runtime started.",
		"[rank0]:[W914 04:53:45.615225908 ProcessGroupNCCL.cpp:1476] Warning: WARNING: destroy_process_group() was not called before program exit, which can leak resources.",
		"I0102 12:00:00.123456 1 grpc_server.cc:2466] \"Started GRPCInferenceService at 0.0.0.0:8001\"",
	)
	if found := f.Findings(); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	long := "CUDA out of memory " + strings.Repeat("é", evidenceBytes)
	f := finder(t, nil, "x NCCL WARN a", "CUDA out of memory 1", "nothing", "CUDA out of memory 2", long, "CUDA out of memory 4", "bind: address already in use")
	f.Look(Source{"n0", "server", "vllm-1"}, noon.Add(-time.Second).UnixNano(), false, []byte("CUDA out of memory, earlier"))
	found := f.Findings()
	if diff := cmp.Diff([]string{"CUDAOutOfMemory", "PortInUse", "NCCLWarning"}, rulesIn(found)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	first := found[0]
	if first.Count != 5 || first.Node != "n0" || first.Component != "server" || !first.At.Time.Equal(noon.Add(-time.Second)) || first.Severity != "error" {
		t.Errorf("%+v", first)
	}
	if len(first.Lines) != 3 || first.Lines[0] != "CUDA out of memory 1" || len(first.Lines[2]) > evidenceBytes+3 || !strings.HasSuffix(first.Lines[2], "…") {
		t.Errorf("evidence %q", first.Lines)
	}
	if found[2].Severity != "warning" {
		t.Errorf("%+v", found[2])
	}
}

func TestOwnRules(t *testing.T) {
	t.Parallel()
	own := []api.LogRule{
		{Name: "LicenceServerAway", Patterns: []string{`lmgrd.*refused`, `(?i)x`}, Components: []string{"server"}, Stream: "err", Class: api.FailureInfrastructure, Meaning: "m", NextStep: "n"},
		{Name: "CUDAOutOfMemory", Patterns: []string{"^OOM$"}, Severity: "warning", Meaning: "mine", NextStep: "n"},
	}
	f := finder(t, own, "lmgrd: connection refused", "CUDA out of memory", "OOM", "bind: address already in use")
	if diff := cmp.Diff([]string{"LicenceServerAway", "PortInUse", "CUDAOutOfMemory"}, rulesIn(f.Findings())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if cause, found := f.Cause(); cause == nil || cause.Name != "LicenceServerAway" || found.Count != 1 {
		t.Errorf("one's own rule does not come first: %+v", cause)
	}
	for name, s := range map[string]struct {
		source Source
		stderr bool
	}{
		"another component": {Source{"n1", "client", "a"}, true},
		"another stream":    {Source{"n1", "server", "a"}, false},
		"benchd's own":      {Source{"n1", "server", AgentContainer}, true},
	} {
		f, err := NewFinder(own)
		if err != nil {
			t.Fatal(err)
		}
		f.Look(s.source, 0, s.stderr, []byte("lmgrd: connection refused"))
		if found := f.Findings(); len(found) > 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
	if _, err := NewFinder([]api.LogRule{{Name: "Broken", Patterns: []string{"("}}}); err == nil || !strings.Contains(err.Error(), `rule Broken: pattern "(": `) {
		t.Errorf("a pattern that is none: %v", err)
	}
	agent := []api.LogRule{{Name: "A", Patterns: []string{"disk"}, Components: []string{"agent"}, Meaning: "m", NextStep: "n"}}
	f, err := NewFinder(agent)
	if err != nil {
		t.Fatal(err)
	}
	f.Look(Source{"n1", "server", AgentContainer}, 0, true, []byte("disk"))
	f.Look(Source{"n1", "server", "vllm-0"}, 0, true, []byte("disk"))
	if found := f.Findings(); len(found) != 1 || found[0].Count != 1 {
		t.Errorf("a rule about agents: %+v", found)
	}
}

func TestLookAtEnd(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	far := 2 * lastWords.Seconds()
	write("n1/server-a.log", at(0, "err", "bind: address already in use")+at(far, "err", "CUDA out of memory")+at(far+1, "err", "bye"))
	write("n2/server-b.log", at(0, "err", "NCCL error in: x")+strings.Repeat(at(1, "err", strings.Repeat("x", 1000)), tailBytes/1000+1))
	write("job.out", "slurmstepd: error: Detected 1 oom_kill event in StepId=1.0.\n")
	f := finder(t, nil)
	if err := f.LookAtEnd(root, Source{"n1", "server", "a"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"CUDAOutOfMemory"}, rulesIn(f.Findings())); diff != "" {
		t.Errorf("what lies long before is no reason (-want +got):\n%s", diff)
	}
	f = finder(t, nil)
	if err := f.LookAtJob(root); err != nil {
		t.Fatal(err)
	}
	got := rulesIn(f.Findings())
	slices.Sort(got)
	if diff := cmp.Diff([]string{"CUDAOutOfMemory", "OutOfMemoryKilled"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := finder(t, nil).LookAtEnd(root, Source{"n9", "server", "a"}); err != nil {
		t.Errorf("a log that is not there: %v", err)
	}
	if err := finder(t, nil).LookAtJob(filepath.Join(root, "nowhere")); err != nil {
		t.Errorf("a job without logs: %v", err)
	}
}

// What an agent prints to the job's output of a failure that a rule has explained is no further line of it: the server's own is the
// evidence, with its place and time.
func TestTheAgentsConclusionIsNoEvidence(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"n1/server-a.log": at(1, "err", "torch.OutOfMemoryError: CUDA out of memory."),
		"job.out": "Error: CUDAOutOfMemory: server a on n1: ended by itself: the GPU's memory is not enough; its last lines: CUDA out of memory.\n" +
			"Error: agent n1: NCCL error in: x\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := finder(t, nil)
	if err := f.LookAtJob(root); err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, one := range f.Findings() {
		found[one.Rule+" "+one.Node] = one.Lines
	}
	want := map[string][]string{"CUDAOutOfMemory n1": {"torch.OutOfMemoryError: CUDA out of memory."}, "NCCLError ": {"Error: agent n1: NCCL error in: x"}}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The words of a pattern are never missed by what it matches, and the set finds what strings.Contains does.
func TestWords(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string][]string{
		"CUDA out of memory":          {"cuda out of memory"},
		"(foobar|quux[a-z]+) failed":  {" failed"},
		"(one|three words|x)":         nil,
		"(?:alpha|bravo)+":            {"alpha", "bravo"},
		"a.*b":                        nil,
		"(?i)Address ALREADY":         {"address already"},
		"ab(longer)?c":                nil,
		"x{2,3}middle piece[0-9]*end": {"middle piece"},
		"(":                           nil,
		"ÉCHEC du Serveur":            {"Échec du serveur"},
		"(?i)échec du serveur":        nil,
	} {
		if diff := cmp.Diff(want, wordsOf(pattern)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", pattern, diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		letters := rapid.StringMatching(`[abAB .]{0,6}`)
		owners := rapid.SliceOfN(rapid.SliceOfN(rapid.StringMatching(`[ab .]{1,4}`), 0, 3), 1, 5).Draw(t, "owners")
		text := strings.Join(rapid.SliceOf(letters).Draw(t, "text"), "")
		got := map[int]bool{}
		newWordSet(owners).in([]byte(text), func(owner int) { got[owner] = true })
		want := map[int]bool{}
		for i, words := range owners {
			for _, word := range words {
				if strings.Contains(strings.ToLower(text), word) {
					want[i] = true
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q in %q (-want +got):\n%s", owners, text, diff)
		}
	})
}

// FuzzWords holds the shortcut against the patterns themselves: a line that a pattern matches is never passed over.
func FuzzWords(f *testing.F) {
	for _, lines := range printed {
		for _, line := range slices.Concat(lines.hits, lines.misses) {
			f.Add("", []byte(line))
		}
	}
	f.Add(`(foo|bar+)baz?`, []byte("xxfoobaz barrba"))
	rules, err := Rules(nil)
	if err != nil {
		f.Fatal(err)
	}
	type known struct {
		*regexp.Regexp
		words []string
		set   *wordSet
	}
	learn := func(pattern string) (k known) {
		re, err := regexp.Compile(pattern)
		// Letters beyond ASCII have more forms than the set folds.
		if k.words = wordsOf(pattern); err == nil && k.words != nil && ascii([]byte(pattern)) {
			k.Regexp, k.set = re, newWordSet([][]string{k.words})
		}
		return k
	}
	var builtin []known
	for _, r := range rules {
		for _, pattern := range r.Patterns {
			builtin = append(builtin, learn(pattern))
		}
	}
	f.Fuzz(func(t *testing.T, pattern string, line []byte) {
		patterns := builtin
		if pattern != "" {
			patterns = []known{learn(pattern)}
		}
		for _, k := range patterns {
			if k.Regexp == nil || !ascii(line) || !k.Match(line) {
				continue
			}
			hit := false
			k.set.in(line, func(int) { hit = true })
			if !hit {
				t.Errorf("%s matches %q, which has none of %q", k, line, k.words)
			}
		}
	})
}

func ascii(text []byte) bool {
	return !slices.ContainsFunc(text, func(c byte) bool { return c >= 0x80 })
}

func BenchmarkFinder(b *testing.B) {
	f := finder(b, nil)
	s, line := Source{"n1", "server", "a"}, []byte(benchLine)
	b.ReportAllocs()
	for b.Loop() {
		f.Look(s, 0, false, line)
	}
	perSecond(b, 1)
	if len(f.Findings()) > 0 {
		b.Fatal(fmt.Sprint(f.Findings()))
	}
}

// Words beyond ASCII are found as they are written.
func TestRulesBeyondASCII(t *testing.T) {
	t.Parallel()
	own := []api.LogRule{{Name: "Echec", Patterns: []string{"ÉCHEC du (serveur|client)"}, Meaning: "m", NextStep: "n"}, {Name: "Any", Patterns: []string{"(?i)ärger"}, Meaning: "m", NextStep: "n"}}
	if got := rulesIn(finder(t, own, "ÉCHEC du serveur", "ÄRGER").Findings()); len(got) != 2 {
		t.Errorf("found %v", got)
	}
}
