package report

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// trial stores a run of 1,000 requests whose time to the first token scatters around a mean in milliseconds.
func trial(t *testing.T, name string, ttft float64, seed uint64) string {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	c := client{header: header("n1")}
	for i := range int64(1000) {
		at := 1000 + i*10
		first := at + int64(ttft+5*r.NormFloat64())
		c.records = append(c.records, streamed(at, at, first, first+20, first+20, 5, 3, 10, 10))
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "results"), 0o700); err != nil {
		t.Fatal(err)
	}
	storeIn(t, filepath.Join(dir, "results"), c)
	in := Input{Run: name, Clients: 1}
	api.SetVerdictDefaults(&in.Limits)
	streaming := true
	if _, err := Make(dir, in, Story{Spec: api.BenchmarkRunSpec{Workload: api.WorkloadSpec{Streaming: &streaming}}}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func sides(t *testing.T, paths ...string) *Comparison {
	t.Helper()
	var all []*Side
	for _, path := range paths {
		s, err := OpenSide(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	c, err := Compare(all)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompare(t *testing.T) {
	t.Parallel()
	a, b, slower := trial(t, "a", 50, 1), trial(t, "b", 50, 2), trial(t, "slower", 52, 3)
	c := sides(t, a, b, slower)
	row := c.row("ttft.p50")
	same, worse := row.Differences[0], row.Differences[1]
	if *same.Beyond || *same.P < 0.01 {
		t.Errorf("two like results differ: %+v, p %g", same, *same.P)
	}
	if !*worse.Beyond || *worse.P > 0.001 || worse.Absolute < 0.001 || worse.Absolute > 0.003 || worse.CI95[0] > worse.Absolute || worse.CI95[1] < worse.Absolute {
		t.Errorf("2 ms more: %+v, p %g, interval %v", worse, *worse.P, worse.CI95)
	}
	if d := c.row("ttft.p999").Differences[0]; d != nil {
		t.Errorf("a percentile that both lack has a difference: %+v", d)
	}
	for text, tc := range map[string]struct {
		surely bool
		broken []bool // by each further side
	}{
		"ttft.p50 > +1%":           {false, []bool{false, true}},
		"ttft.p50 > +10%":          {false, []bool{false, false}},
		"ttft.p50 > +1ms":          {false, []bool{false, true}},
		"ttft.p50 > 48ms":          {false, []bool{true, true}},
		"ttft.p99 >= 1s":           {false, []bool{false, false}},
		"e2e.p50 > 20000us":        {false, []bool{true, true}},
		"requestThroughput < -3%":  {false, []bool{false, false}},
		"errorRate > 0":            {false, []bool{false, false}},
		"errorRate > +0%":          {false, []bool{false, false}},
		"ttft.mean < +1000%":       {false, []bool{true, true}},
		"ttft.mean  <+1000 %":      {true, []bool{false, true}},
		"errorRate > 1%":           {false, []bool{false, false}},
		"ttft.p50 > 0":             {false, []bool{true, true}},
		"concurrency.mean <= +20%": {false, []bool{true, true}},
	} {
		l, err := ParseLimit(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for i, want := range tc.broken {
			if got, seen, err := l.Broken(c, i+1, tc.surely); err != nil || got != want {
				t.Errorf("%s: side %d: broken %v (%s), %v; want %v", text, i+1, got, seen, err, want)
			}
		}
	}
	for _, text := range []string{"ttft.p999 > +1%", "nothing.p50 > 1", "ttft > 1s"} {
		l, err := ParseLimit(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.Broken(c, 1, false); err == nil {
			t.Errorf("%s: a number that is not there breaks no limit and gives no error", text)
		}
	}
	for _, text := range []string{"", "ttft.p50", "ttft.p50 > ", "ttft.p50 = 5", "ttft.p50 > five", "ttft.p50 > 5 parsec", "1 > ttft.p50", "ttft.p50.x > 1", "ttft.p99 > 800", "ttft.p99 > +5", "requestThroughput < 3s"} {
		if _, err := ParseLimit(text); err == nil {
			t.Errorf("%q is a limit", text)
		}
	}
}

// Two runs of one seed are as independent as any: their draws must not meet block by block.
func TestCompareWithOneSeed(t *testing.T) {
	t.Parallel()
	c := sides(t, trial(t, "a", 50, 1), trial(t, "b", 50, 1))
	if d := c.row("ttft.mean").Differences[0]; d.Absolute != 0 || d.CI95[0] >= 0 || d.CI95[1] <= 0 {
		t.Errorf("the same data twice: %+v, interval %v", d, d.CI95)
	}
}

func TestCompareWithVLLM(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vllm.json")
	text := `{"date":"x","request_throughput":50.5,"output_throughput":300,"total_token_throughput":800,"mean_ttft_ms":40,"median_ttft_ms":41.5,
"p99_ttft_ms":60,"mean_itl_ms":10.5,"ttfts":[0.04,0.05],"completed":2}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := sides(t, trial(t, "ours", 50, 1), path)
	row := c.row("ttft.p50")
	if !c.WholeRun || row.Differences[0] == nil || *row.Values[1] != 0.0415 || row.Differences[0].Beyond != nil {
		t.Errorf("%+v", row)
	}
	if row := c.row("icl.mean"); !near(*row.Values[1], 0.0105) || !near(*row.Values[0], 0.01) {
		t.Errorf("what vLLM calls itl: %+v", row)
	}
	for name, text := range map[string]string{"no JSON": "hello", "another file": `{"a":1}`, "a list": `[1]`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSide(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, path := range []string{"/nowhere", t.TempDir()} {
		if _, err := OpenSide(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// The example of Mann and Whitney's paper in spirit: values worked out by hand.
func TestRankTest(t *testing.T) {
	t.Parallel()
	up := []float64{1, 2, 3, 4, 5, 6, 7, 8}
	apart := []float64{11, 12, 13, 14, 15, 16, 17, 18}
	if p := rankTest(up, apart); p == nil || *p > 0.001 || *p < 0.0005 { // U is 0: z = −31.5/9.522
		t.Errorf("apart: %v", p)
	}
	if p := rankTest(up, up); p == nil || *p < 0.99 {
		t.Errorf("the same: %v", p)
	}
	if p := rankTest(make([]float64, 8), make([]float64, 8)); p == nil || *p != 1 {
		t.Errorf("all ties: %v", p)
	}
	if p := rankTest(up[:7], apart); p != nil {
		t.Errorf("too few: %v", *p)
	}
}
