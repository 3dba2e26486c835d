package v1alpha1

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Workloads that are good, and what is wrong with others: the fields that errors name, below spec.workload.
func TestValidateWorkloads(t *testing.T) {
	t.Parallel()
	type w = *WorkloadSpec
	load := func(l LoadSpec) func(w) { return func(w w) { w.Load = l } }
	burst := &BurstSpec{On: duration(time.Second), Off: duration(time.Second)}
	for name, tc := range map[string]struct {
		change func(w)
		want   []string
	}{
		"poisson":               {load(LoadSpec{Pattern: PatternPoisson, Rate: 1}), nil},
		"gamma":                 {load(LoadSpec{Pattern: PatternGamma, Rate: 1}), nil},
		"burst":                 {load(LoadSpec{Pattern: PatternBurst, Rate: 1, Burst: burst}), nil},
		"burst with gamma":      {load(LoadSpec{Pattern: PatternBurst, Rate: 1, Burst: burst, Arrivals: ArrivalsGamma, Burstiness: 2}), nil},
		"steps":                 {load(LoadSpec{Pattern: PatternSteps, Steps: []StepSpec{{Rate: 1, Duration: duration(time.Second)}}}), nil},
		"ramp":                  {load(LoadSpec{Pattern: PatternRamp, Ramp: &RampSpec{To: 5}, Arrivals: ArrivalsConstant}), nil},
		"trace":                 {load(LoadSpec{Pattern: PatternTrace, Trace: &TraceSpec{Path: "/t.jsonl"}}), nil},
		"a cap and a wait":      {load(LoadSpec{Pattern: PatternPoisson, Rate: 1, MaxConcurrency: 4, MaxWait: duration(time.Second)}), nil},
		"uniform lengths":       {func(w w) { w.Prompts.Distribution = DistributionUniform }, nil},
		"normal lengths":        {func(w w) { w.Output.Distribution, w.Output.Stddev = DistributionNormal, 5 }, nil},
		"shared beginnings":     {func(w w) { w.Prompts.Prefix = &PrefixSpec{Share: 0.5} }, nil},
		"hellaswag":             {func(w w) { w.Prompts.Source, w.Prompts.Path = PromptHellaSwag, "/h.jsonl" }, nil},
		"ollama":                {func(w w) { w.API = APIOllamaChat }, nil},
		"rest":                  {func(w w) { w.API = APIREST; w.REST = &RESTSpec{Path: "/g", Body: `{"p":"$prompt"}`, Text: "t"} }, nil},
		"sharegpt with answers": {func(w w) { w.Prompts.Source, w.Prompts.Path, w.Output.FromDataset = PromptShareGPT, "/s", true }, nil},

		"clients of a rate":          {load(LoadSpec{Pattern: PatternConstant, Rate: 1, ClientsPerNode: 1}), []string{"load.clientsPerNode"}},
		"poisson without a rate":     {load(LoadSpec{Pattern: PatternPoisson}), []string{"load.rate"}},
		"gamma that is not a number": {load(LoadSpec{Pattern: PatternGamma, Rate: 1, Burstiness: math.NaN()}), []string{"load.burstiness"}},
		"burstiness of poisson":      {load(LoadSpec{Pattern: PatternPoisson, Rate: 1, Burstiness: 2}), []string{"load.burstiness"}},
		"burst without times":        {load(LoadSpec{Pattern: PatternBurst, Rate: 1}), []string{"load.burst"}},
		"burst of no time":           {load(LoadSpec{Pattern: PatternBurst, Rate: 1, Burst: &BurstSpec{Off: duration(time.Second)}}), []string{"load.burst.on"}},
		"burst of a negative rate":   {load(LoadSpec{Pattern: PatternBurst, Rate: 1, Burst: &BurstSpec{On: burst.On, Off: burst.Off, OffRate: -1}}), []string{"load.burst.offRate"}},
		"unknown arrivals":           {load(LoadSpec{Pattern: PatternBurst, Rate: 1, Burst: burst, Arrivals: "lognormal"}), []string{"load.arrivals"}},
		"no steps":                   {load(LoadSpec{Pattern: PatternSteps}), []string{"load.steps"}},
		"steps of nothing":           {load(LoadSpec{Pattern: PatternSteps, Steps: []StepSpec{{Duration: duration(time.Second)}}}), []string{"load.steps"}},
		"a step of no time":          {load(LoadSpec{Pattern: PatternSteps, Steps: []StepSpec{{Rate: 1}}}), []string{"load.steps[0].duration"}},
		"a rate beside steps":        {load(LoadSpec{Pattern: PatternSteps, Rate: 2, Steps: []StepSpec{{Rate: 1, Duration: duration(time.Second)}}}), []string{"load.rate"}},
		"a ramp of nothing":          {load(LoadSpec{Pattern: PatternRamp, Ramp: &RampSpec{}}), []string{"load.ramp"}},
		"a ramp to NaN":              {load(LoadSpec{Pattern: PatternRamp, Ramp: &RampSpec{To: math.NaN()}}), []string{"load.ramp"}},
		"no ramp":                    {load(LoadSpec{Pattern: PatternRamp}), []string{"load.ramp"}},
		"no trace":                   {load(LoadSpec{Pattern: PatternTrace}), []string{"load.trace"}},
		"a relative trace":           {load(LoadSpec{Pattern: PatternTrace, Trace: &TraceSpec{Path: "t.jsonl"}}), []string{"load.trace.path"}},
		"a trace at no speed":        {load(LoadSpec{Pattern: PatternTrace, Trace: &TraceSpec{Path: "/t", Speed: -1}}), []string{"load.trace.speed"}},
		"a wait without a cap":       {load(LoadSpec{Pattern: PatternPoisson, Rate: 1, MaxWait: duration(time.Second)}), []string{"load.maxWait"}},
		"negative requests":          {func(w w) { w.Load.Requests = -1 }, []string{"load.requests"}},
		"an error budget over 1":     {func(w w) { w.Load.ErrorBudget = 1.5 }, []string{"load.errorBudget"}},
		"negative retries":           {func(w w) { w.Retries = -1 }, []string{"retries"}},
		"unknown extensions":         {func(w w) { w.Extensions = "all" }, []string{"extensions"}},
		"stddev of fixed lengths":    {func(w w) { w.Prompts.Stddev = 3 }, []string{"prompts.distribution"}},
		"bounds that cross":          {func(w w) { w.Output.Distribution, w.Output.Min, w.Output.Max = DistributionUniform, 9, 3 }, []string{"output.max"}},
		"a share over 1":             {func(w w) { w.Prompts.Prefix = &PrefixSpec{Share: 1.1} }, []string{"prompts.prefix.share"}},
		"negative groups":            {func(w w) { w.Prompts.Prefix = &PrefixSpec{Groups: -1} }, []string{"prompts.prefix.groups"}},
		"a prefix of a file":         {func(w w) { w.Prompts.Source, w.Prompts.Path, w.Prompts.Prefix = PromptJSONL, "/p", &PrefixSpec{} }, []string{"prompts.prefix"}},
		"a file without a path":      {func(w w) { w.Prompts.Source = PromptJSONL }, []string{"prompts.path"}},
		"a path of synthetic":        {func(w w) { w.Prompts.Path = "/p" }, []string{"prompts.path"}},
		"ids in a chat":              {func(w w) { w.Prompts.Tokenizer = CounterIDs }, []string{"prompts.tokenizer"}},
		"a tokenizer without a file": {func(w w) { w.Prompts.Tokenizer = CounterFile }, []string{"prompts.tokenizerPath"}},
		"a file without a tokenizer": {func(w w) { w.Prompts.TokenizerPath = "/t" }, []string{"prompts.tokenizerPath"}},
		"answers of other files":     {func(w w) { w.Output.FromDataset = true }, []string{"output.fromDataset"}},
		"rest undescribed":           {func(w w) { w.API = APIREST }, []string{"rest"}},
		"rest streamed": {func(w w) {
			yes := true
			w.Streaming = &yes
			w.API = APIREST
			w.REST = &RESTSpec{Path: "/g", Body: `{"p":"$prompt"}`, Text: "t"}
		}, []string{"rest"}},
		"rest without a place": {func(w w) { w.API = APIREST; w.REST = &RESTSpec{Path: "g", Body: `{}`} }, []string{"rest.body", "rest.path", "rest.text"}},
		"rest beside chat":     {func(w w) { w.REST = &RESTSpec{} }, []string{"rest"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := validRun()
			run.Spec.Workload = WorkloadSpec{Duration: metav1.Duration{Duration: time.Minute}}
			tc.change(&run.Spec.Workload)
			SetDefaults(run)
			var want []string
			for _, path := range tc.want {
				want = append(want, "spec.workload."+path)
			}
			got := paths(run)
			if len(got) == 0 {
				got = nil
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("fields with errors (-want +got):\n%s\n%v", diff, Validate(run))
			}
		})
	}
}

func TestVerdictLimits(t *testing.T) {
	t.Parallel()
	run := validRun()
	run.Spec.Verdict = VerdictSpec{InvalidErrorRate: -1, Drift: math.NaN(), ClientCPU: 2, Lag: duration(-time.Second)}
	SetDefaults(run)
	want := []string{"spec.verdict.clientCPU", "spec.verdict.drift", "spec.verdict.invalidErrorRate", "spec.verdict.lag"}
	if diff := cmp.Diff(want, paths(run)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
