package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
)

// parsed is a page taken apart as a browser does.
type parsed struct {
	sections, ids []string
	text          string
	elements      map[string]int
}

// parse checks of a page what holds of every one: it stands for itself, and its ids are unique.
func parse(t testing.TB, page []byte) parsed {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	out := parsed{elements: map[string]int{}}
	var texts []string
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		switch n.Type {
		case html.ElementNode:
			out.elements[n.Data]++
			for _, a := range n.Attr {
				switch {
				case a.Key == "id":
					if slices.Contains(out.ids, a.Val) {
						t.Errorf("two elements have the id %q", a.Val)
					}
					out.ids = append(out.ids, a.Val)
					if n.Data == "section" {
						out.sections = append(out.sections, a.Val)
					}
				case a.Key == "href" && strings.HasPrefix(a.Val, "#"):
				case strings.HasPrefix(a.Key, "on"), slices.Contains([]string{"href", "src", "srcset", "action", "data", "poster", "background"}, a.Key):
					t.Errorf("<%s %s=%q> leads out of the page", n.Data, a.Key, a.Val)
				case a.Key == "style" && !strings.HasPrefix(a.Val, "flex-grow: ") && n.Namespace != "svg":
					t.Errorf("<%s style=%q>", n.Data, a.Val)
				}
			}
			if n.Data == "style" {
				if css := n.FirstChild.Data; strings.Contains(css, "url(") || strings.Contains(css, "@import") {
					t.Errorf("the style loads something: %s", css)
				}
				return
			}
		case html.TextNode:
			texts = append(texts, n.Data)
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(root)
	out.text = strings.Join(strings.Fields(strings.Join(texts, " ")), " ")
	for _, banned := range []string{"script", "img", "link", "iframe", "object", "image", "foreignObject", "form", "base"} {
		if out.elements[banned] > 0 {
			t.Errorf("the page has an element %s", banned)
		}
	}
	return out
}

func (p parsed) tells(t testing.TB, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(p.text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestHTMLTellsEverything(t *testing.T) {
	t.Parallel()
	page := htmlOf(t, bigAttempt(t, nil))
	got := parse(t, page)
	want := strings.Fields("findings setup headline latency distributions time resources errors clients servers server-view phases repeat definitions files")
	if diff := cmp.Diff(want, got.sections); diff != "" {
		t.Errorf("sections (-want +got):\n%s", diff)
	}
	got.tells(t,
		"Suspect", "1.5 % of the requests failed, over 1 %", "attempt 2", "2026-03-14 09:07:08 UTC", // the verdict and why
		"4 × NVIDIA A100-SXM4-40GB, 40 GiB, driver 550.54", "64 × AMD EPYC 7452", "mel2011, mel2012", "partition gpu", "sha256:0f3a", // on what
		"vllm serve meta-llama/Llama-2-7b-hf --port 8000 --max-model-len 2048 --served-model-name 'a model'", "CUDA_VISIBLE_DEVICES=0,1 HF_TOKEN=***",
		definitions["goodput"], definitions["requestThroughput"], "Time to first token, p99", "J per output token", "93.40 kJ",
		"HTTP 503 the engine is out of memory <retry later>", "CUDAOutOfMemory", "Lower service.config.gpuMemoryUtilization", "17 lines · first on mel2012 server",
		"GPU power", "KV cache in use", "the job waited for its nodes", "3m32s", "servers and model", "warm-up", "drain", "kind: BenchmarkRun", "seed: 42", "results/records-0000.jsonl",
	)
	if got.elements["figure"] != 4+6+10 {
		t.Errorf("%d figures", got.elements["figure"])
	}
	if strings.Contains(string(page), "hf_secret") {
		t.Error("a secret is told")
	}
	if strings.Index(got.text, "Suspect") > strings.Index(got.text, "Headline numbers") {
		t.Error("the verdict does not come first")
	}
}

// What nobody knows is left out, and what is there stays.
func TestHTMLLeavesOutWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	load := func(t *testing.T) string { // as `benchd load` leaves it
		folder, _ := attemptOf(t, byHand())
		yes := true
		_, err := Make(folder, Input{Run: "load x", Clients: 1, Limits: defaults()}, Story{Spec: api.BenchmarkRunSpec{Workload: api.WorkloadSpec{API: api.APIChat, Streaming: &yes}}, Folder: folder})
		if err != nil {
			t.Fatal(err)
		}
		return folder
	}
	for name, tc := range map[string]struct {
		folder func(*testing.T) string
		want   string
		tells  []string
	}{
		"a load without a run": {load, "setup headline latency time errors clients servers repeat definitions files", []string{"Load report", "benchd load"}},
		"records that are gone": {func(t *testing.T) string {
			folder := load(t)
			if err := os.RemoveAll(filepath.Join(folder, "results")); err != nil {
				t.Fatal(err)
			}
			return folder
		}, "setup headline latency distributions time errors clients servers repeat definitions files", []string{"the records are not in the folder any more"}},
		"records without a report": {func(t *testing.T) string {
			folder := load(t)
			if err := os.Remove(filepath.Join(folder, Dir, SummaryJSON)); err != nil {
				t.Fatal(err)
			}
			return folder
		}, "setup headline latency time errors clients servers repeat definitions files", nil},
		"a run that failed before anything was measured": {func(t *testing.T) string {
			folder := t.TempDir()
			in, story, _ := bigStory(folder)
			story.Outcome = &api.Outcome{Result: api.ResultFailed, Reason: "ServerFailed", Message: "server vllm-0 exited"}
			if err := Prepare(folder, in, story); err != nil {
				t.Fatal(err)
			}
			return folder
		}, "findings setup phases repeat files", []string{"No numbers", "ServerFailed", "server vllm-0 exited", "CUDAOutOfMemory"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := parse(t, htmlOf(t, tc.folder(t)))
			if diff := cmp.Diff(strings.Fields(tc.want), got.sections); diff != "" {
				t.Errorf("sections (-want +got):\n%s", diff)
			}
			got.tells(t, tc.tells...)
		})
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, node.ErrNotYet) {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestHTMLIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	folder := bigAttempt(t, nil)
	one := htmlOf(t, folder)
	if err := os.WriteFile(filepath.Join(folder, Dir, "report.html"), one, 0o600); err != nil {
		t.Fatal(err)
	}
	if two := htmlOf(t, folder); !bytes.Equal(one, two) {
		t.Error("two pages of one folder differ")
	}
	if one, two := sweepHTML(t), sweepHTML(t); !bytes.Equal(one, two) {
		t.Error("two pages of one sweep differ")
	}
}

// Foreign text is shown as it is and does nothing.
func TestHTMLOfHostileTexts(t *testing.T) {
	t.Parallel()
	hosts := htmlOf(t, hostileAttempt(t))
	parse(t, hosts).tells(t, `"><script>document.body.remove()</script><img src=http://evil.example/x onerror=alert(1)>' </style></pre>`, "{{.}} %s &lt;")
	for _, hidden := range []string{"\x1b", "\x00", "\u202e"} {
		if bytes.Contains(hosts, []byte(hidden)) {
			t.Errorf("the page holds %q", hidden)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.String().Draw(rt, "text")
		p := &page{Title: text, Kind: text, Lead: text, Verdict: &judged{State: text, Meaning: text, Reasons: []string{text}}}
		of := &table{Caption: text, Head: []string{text, text}}
		of.add(td{Text: text, Note: text}, code(text))
		svg, err := overTime(&Series{StepSeconds: 1, To: 2, InFlight: []float64{1, 2}}, text, text, 1, []trace{{text, dense([]float64{1, 2})}, {text, dense([]float64{2, 1})}})
		if err != nil {
			rt.Fatal(err)
		}
		p.put("a", text, block{Text: text}, block{Table: of}, block{Code: text}, block{Figures: []drawing{*svg}}, block{Findings: []logged{{Rule: text, Meaning: text, Lines: []string{text}}}})
		data, err := p.render()
		if err != nil {
			rt.Fatal(err)
		}
		parse(t, data)
	})
}

func TestHTMLOfASweep(t *testing.T) {
	t.Parallel()
	got := parse(t, sweepHTML(t))
	if diff := cmp.Diff(strings.Fields("best plots points pareto scaling unmeasured repeat definitions"), got.sections); diff != "" {
		t.Errorf("sections (-want +got):\n%s", diff)
	}
	got.tells(t, "17 runs measured", "of 18, 1 failed", "ServerDied", "clientsPerNode=16", "kind: BenchmarkSweep", "Throughput over clientsPerNode")
	if got.elements["figure"] != 6 {
		t.Errorf("%d figures", got.elements["figure"])
	}
	empty := &SweepResult{Sweep: "later", Total: 2, Open: 2}
	data, err := empty.HTML(aSweepOf(clientsPath), nil)
	if err != nil {
		t.Fatal(err)
	}
	parse(t, data).tells(t, "0 runs measured", "2 not ended")
}

func TestVLLMFile(t *testing.T) {
	t.Parallel()
	folder := bigAttempt(t, nil)
	d, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	data, err := d.VLLM()
	var got map[string]any
	if err := errors.Join(err, json.Unmarshal(data, &got)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"date": "20260314-090708", "backend": "openai-chat", "model_id": "meta-llama/Llama-2-7b-hf", "num_prompts": 3200.0, "completed": 3150.0, "failed": 50.0,
		"request_rate": 40.0, "burstiness": 1.0, "max_concurrency": nil, "total_output_tokens": 3150.0 * 41, "mean_tpot_ms": d.Summary.WholeRun["mean_tpot_ms"],
	} {
		if v, has := got[name]; !has || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	for _, name := range []string{"duration", "request_throughput", "output_throughput", "total_token_throughput", "mean_ttft_ms", "median_ttft_ms", "p99_itl_ms", "std_e2el_ms"} {
		if v, is := got[name].(float64); !is || v <= 0 {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	// Whoever reads vLLM's files reads this one: benchd itself does.
	path := filepath.Join(t.TempDir(), "vllm.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	sides := sides(t, folder, path)
	for _, row := range sides.Rows {
		if row.Values[0] == nil || row.Values[1] == nil || !near(*row.Values[0], *row.Values[1]) {
			t.Errorf("%s differs from the folder's", row.Name)
		}
	}
	if len(sides.Rows) < 10 {
		t.Errorf("%d numbers were read", len(sides.Rows))
	}
	closed := &Document{Input: Input{Clients: 3}, Summary: &Summary{WholeRun: map[string]float64{}}}
	closed.Story.Spec.Workload = api.WorkloadSpec{API: api.APIOllamaChat, Load: api.LoadSpec{Pattern: api.PatternClosed, ClientsPerNode: 5}}
	if data, err = closed.VLLM(); err != nil || !strings.Contains(string(data), `"max_concurrency": 15`) || !strings.Contains(string(data), `"request_rate": "inf"`) {
		t.Errorf("a closed loop: %v %s", err, data)
	}
	if _, err := (&Document{}).VLLM(); err == nil {
		t.Error("numbers of nothing")
	}
}

// More lines than can be told apart are drawn as their mean, least and most; a gap stays a gap.
func TestManyLines(t *testing.T) {
	t.Parallel()
	v := func(f float64) *float64 { return &f }
	var many []trace
	for i := range 9 {
		many = append(many, trace{"n", []*float64{v(float64(i)), nil, v(float64(2 * i))}})
	}
	out := envelope(many)
	if *out[0].values[0] != 4 || *out[1].values[2] != 0 || *out[2].values[2] != 16 || out[0].values[1] != nil {
		t.Errorf("%v", out)
	}
	drawing, err := overTime(&Series{StepSeconds: 1, To: 3, InFlight: make([]float64, 3)}, "x", "y", 1, many)
	if err != nil || len(drawing.Keys) != 3 || !strings.Contains(drawing.Caption, "of 9 together") {
		t.Errorf("%v %+v", err, drawing)
	}
	if got := segments([]*float64{v(1), nil, v(2), v(3)}, 2, 10); len(got) != 2 || got[0][0].X != 0 || got[0][1].X != 2 || got[1][1].Y != 30 {
		t.Errorf("segments %v", got)
	}
	if nothing, err := overTime(&Series{}, "x", "y", 1, []trace{{"n", []*float64{nil}}}); nothing != nil || err != nil {
		t.Errorf("nothing was drawn as %v, %v", nothing, err)
	}
}

func TestColumnsOfSamples(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"cpu_percent": "node||cpu_percent|%", "gpu12_memory_used_bytes": "gpu|gpu12|memory_used_bytes|GiB", "vllm-0_kv_cache_usage_ratio": "server|vllm-0|kv_cache_usage_ratio|%",
		"client_cpu_percent": "node||client_cpu_percent|% of one CPU", "gpu0_utilization_percent": "gpu|gpu0|utilization_percent|%",
		"my_server_requests_running": "server|my_server|requests_running|", "network_received_bytes_total": "node||network_received_bytes_total|MiB/s",
		"gpu0_energy_joules_total": "gpu|gpu0|energy_joules_total|W", "load1": "node||load1|", "sample_gap_seconds_total": "node||sample_gap_seconds_total|s/s",
	} {
		c := columnOf(name)
		unit, _ := measure(c.metric)
		if got := strings.Join([]string{c.class(), c.device, c.metric, unit}, "|"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestMarkdownTellsOfResourcesAndFindings(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(bigAttempt(t, nil), Dir, ReportMD))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- **CUDAOutOfMemory** (error, 17 lines, first on mel2012 server): A GPU had no memory left. Next step: Lower", "  - `torch.OutOfMemoryError",
		"Energy of the GPUs: 93.40 kJ in the measured window, 0.912 J per output token", "| mel2011 | gpu3 | 33.53 (peak 34.46) |", "| vllm-2 | 9 (peak 13) | 1 (peak 2) |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("report.md does not say %q", want)
		}
	}
	if s := summarize(t, Input{}, byHand()); strings.Contains(Markdown(s, story()), "by their own account") {
		t.Error("report.md tells of resources that nobody sampled")
	}
}

// Seconds in milliseconds and the tokens of a big server have five digits and more; they are read by people.
func TestDigits(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0": Digits(0, 4), "0.1276": Digits(0.12756, 4), "51.45": Digits(51.4549, 4), "9999": Digits(9999.4, 4), "10000": Digits(9999.9, 4), "12541": Digits(12541.09, 4),
		"-120": Digits(-120, 2), "1234568": Digits(1234567.8, 4), "1.2e-05": Digits(0.000012, 2), "+Inf": Digits(math.Inf(1), 4),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	s := summarize(t, Input{}, byHand())
	s.MeasuredSeconds, s.SLO = 36000, &SLO{E2E: &Attainment{Limit: 30, Fraction: 0.5}}
	thousands := 128000.0
	s.PromptTokens.Mean = &thousands
	text := Markdown(s, story())
	for _, want := range []string{"measured 36000 s", "e2e ≤ 30000 ms: 50.0 %", " | 128000 | "} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	if text := statText(Stat{Mean: 19687.8, CI95: &Interval{19500, 19900}}); text != "19688 ± 200" {
		t.Errorf("of a sweep: %s", text)
	}
}

// Where no request succeeded nobody has counted tokens.
func TestTokensThatNobodyCounted(t *testing.T) {
	t.Parallel()
	s := summarize(t, Input{}, byHand())
	s.Tokens = Tokens{}
	if text := Markdown(s, story()); !strings.Contains(text, "| tokens | 0 prompt (0 cached), 0 output | 0 answers short of target |") {
		t.Errorf("the report: %s", text)
	}
	for want, tokens := range map[string]Tokens{"": {}, "2 answers were shorter than asked for": {ShortOfTarget: 2}, "counted by: server; 2 answers were shorter than asked for": {Source: "server", ShortOfTarget: 2}} {
		if got := tokensNote(&tokens); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		short(1234567.8): "1,234,568", short(999.96): "1000", short(100): "100", short(12.345): "12.35", short(2): "2", short(0.000123456): "0.000123", short(0): "0",
		span(0.0123): "12.30\u00a0ms", span(60): "60\u00a0s", span(600): "10m", span(7275): "2h1m15s", share(0.0154): "1.54\u00a0%",
		quoted("a b", "it's", "", "--x=1"): `'a b' "it's" '' '--x=1'`, some([]string{"a", "b", "c"}, 2): "a, b and 1 more",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// hostile is what logs, models and servers may bear as names.
const hostile = `"><script>document.body.remove()</script><img src=http://evil.example/x onerror=alert(1)>' </style></pre>` + "\x1b[31m\u202egnp\x00" + `{{.}} %s &lt;`

// hostileAttempt is a run whose every foreign text is hostile.
func hostileAttempt(t testing.TB) string {
	return bigAttempt(t, func(in *Input, story *Story, run *api.BenchmarkRun) {
		in.Run, in.Model, in.Service, in.Version, in.Sweep = "r"+hostile, hostile, hostile, hostile, hostile
		in.Parameters = api.Values{"service.config." + hostile: hostile}
		story.Spec.Service.Name, story.JobID, story.Folder = hostile, hostile, "/w/"+hostile
		story.Outcome = &api.Outcome{Result: api.ResultFailed, Reason: hostile, Message: hostile}
		for i := range story.Findings {
			f := &story.Findings[i]
			f.Rule, f.Meaning, f.NextStep, f.Node, f.Component, f.Lines = hostile, hostile, hostile, hostile, hostile, []string{hostile, hostile}
		}
		r := run.Status.Record
		for i := range r.Nodes {
			r.Nodes[i].Name, r.Nodes[i].CPUModel, r.Nodes[i].OS = hostile, hostile, hostile
		}
		for i := range r.Servers {
			r.Servers[i].Name, r.Servers[i].URL, r.Servers[i].Command, r.Servers[i].Env = hostile, "javascript:"+hostile, []string{hostile}, map[string]string{hostile: hostile}
		}
		run.Spec.Service.Model, run.Labels = hostile, map[string]string{hostile: hostile}
	})
}

// sweepHTML is the page of a small sweep.
func sweepHTML(t testing.TB) []byte {
	t.Helper()
	var trials []Trial
	for _, clients := range []float64{1, 4, 16} {
		for _, n := range []float64{1, 2} {
			for r := range 3 {
				trials = append(trials, aTrial(api.Values{clientsPath: clients, replicasPath: n}, r+1, func(tr *Trial) {
					tr.Summary.OutputTokenThroughput = 90*clients*n - float64(r)
					tr.Summary.TPOTP50 += clients / 1e4
					if clients == 16 && n == 1 && r == 2 {
						tr.Phase, tr.Summary, tr.Reason = api.RunFailed, nil, "ServerDied"
					}
				}))
			}
		}
	}
	s := aSweepOf(clientsPath, replicasPath)
	result := Sweep(s, trials)
	files, err := result.Files()
	if err != nil {
		t.Fatal(err)
	}
	data, err := result.HTML(s, files)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
