package v1alpha1

import (
	"encoding/json"
	"fmt"
	"math"
	"path"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxTokens bounds a prompt and an answer.
const maxTokens = 1 << 20

// ValidateWorkload reports what is wrong with a workload whose defaults are set, each mistake with its field under at.
func ValidateWorkload(w *WorkloadSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, validateDuration(w.Duration, 100*time.Millisecond, 7*24*time.Hour, at.Child("duration"))...)
	errs = append(errs, validateDuration(w.Warmup, 0, 24*time.Hour, at.Child("warmup"))...)
	errs = append(errs, validateDuration(*w.Drain, 0, 24*time.Hour, at.Child("drain"))...)
	errs = append(errs, validateDuration(*w.RequestTimeout, 10*time.Millisecond, 24*time.Hour, at.Child("requestTimeout"))...)
	errs = append(errs, validateLoad(&w.Load, at.Child("load"))...)
	errs = append(errs, validateOneOf(w.Balance, at.Child("balance"), BalanceRoundRobin, BalanceLeastOutstanding, BalancePinned)...)
	errs = append(errs, validateOneOf(w.API, at.Child("api"), APIs()...)...)
	errs = append(errs, validateOneOf(w.Extensions, at.Child("extensions"), ExtensionsAuto, ExtensionsVLLM, ExtensionsNone)...)
	errs = append(errs, validateRange(int64(w.Retries), 0, 100, at.Child("retries"))...)
	errs = append(errs, validateREST(w, at)...)
	errs = append(errs, validatePrompts(w, at.Child("prompts"))...)
	errs = append(errs, validateLengths(lengths{w.Output.Tokens, w.Output.Distribution, w.Output.Stddev, w.Output.Min, w.Output.Max}, at.Child("output"))...)
	if w.Output.FromDataset && w.Prompts.Source != PromptShareGPT {
		errs = append(errs, field.Forbidden(at.Child("output", "fromDataset"), "only prompts.source: sharegpt holds answers to take the length of; JSON lines and traces carry their own length"))
	}
	errs = append(errs, validateOptional(at.Child("slo"), time.Microsecond, 24*time.Hour,
		optional{"ttft", w.SLO.TTFT}, optional{"tpot", w.SLO.TPOT}, optional{"e2e", w.SLO.E2E})...)
	if w.SLO.TTFT != nil && !*w.Streaming {
		errs = append(errs, field.Forbidden(at.Child("slo", "ttft"), "without streaming there is no time to first token: set streaming: true or drop this limit"))
	}
	return errs
}

// validateOneOf reports a word that is none of those known.
func validateOneOf[T ~string](v T, at *field.Path, known ...T) field.ErrorList {
	for _, k := range known {
		if v == k {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(at, clip(v), known)}
}

func validateREST(w *WorkloadSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if w.API != APIREST {
		if w.REST != nil {
			errs = append(errs, field.Forbidden(at.Child("rest"), "it describes the format of api: rest"))
		}
		return errs
	}
	at = at.Child("rest")
	r := w.REST
	if r == nil {
		return field.ErrorList{field.Required(at, `say how the service is asked: path, body such as {"prompt": "$prompt", "max_tokens": "$maxTokens"}, and text, the path of the text in its answer`)}
	}
	if *w.Streaming {
		errs = append(errs, field.Forbidden(at, "api: rest reads answers in one piece: set streaming: false"))
	}
	if !urlPath.MatchString(r.Path) {
		errs = append(errs, field.Invalid(at.Child("path"), clip(r.Path), "use a path such as /generate"))
	}
	if !json.Valid([]byte(r.Body)) || !strings.HasPrefix(strings.TrimSpace(r.Body), "{") {
		errs = append(errs, field.Invalid(at.Child("body"), clip(r.Body), `use a JSON object such as {"prompt": "$prompt", "max_tokens": "$maxTokens"}`))
	} else if !strings.Contains(r.Body, `"$prompt"`) {
		errs = append(errs, field.Invalid(at.Child("body"), clip(r.Body), `give one value as "$prompt": the prompt takes its place`))
	}
	if r.Text == "" {
		errs = append(errs, field.Required(at.Child("text"), "name the path of the text in the answer, such as text or choices.0.text"))
	}
	return errs
}

func validateLoad(l *LoadSpec, at *field.Path) field.ErrorList {
	errs := validateOneOf(l.Pattern, at.Child("pattern"), Patterns()...)
	if len(errs) > 0 {
		return errs
	}
	errs = append(errs, validateForeign(l, at)...)
	switch l.Pattern {
	case PatternClosed:
		errs = append(errs, validateRange(int64(l.ClientsPerNode), 1, 100_000, at.Child("clientsPerNode"))...)
		errs = append(errs, validateDuration(l.ThinkTime, 0, time.Hour, at.Child("thinkTime"))...)
	case PatternConstant, PatternPoisson, PatternGamma:
		errs = append(errs, validateRate(l.Rate, at.Child("rate"))...)
	case PatternBurst:
		errs = append(errs, validateRate(l.Rate, at.Child("rate"))...)
		errs = append(errs, validateBurst(l.Burst, at.Child("burst"))...)
	case PatternSteps:
		errs = append(errs, validateSteps(l.Steps, at.Child("steps"))...)
	case PatternRamp:
		errs = append(errs, validateRamp(l.Ramp, at.Child("ramp"))...)
	case PatternTrace:
		errs = append(errs, validateTrace(l.Trace, at.Child("trace"))...)
	}
	if usesGamma(l) && !(l.Burstiness > 0.001 && l.Burstiness <= 1e6) {
		errs = append(errs, field.Invalid(at.Child("burstiness"), l.Burstiness, "use more than 0.001: 1 is poisson, less comes in clusters, more is evener"))
	}
	errs = append(errs, validateRange(int64(l.MaxConcurrency), 0, 1_000_000, at.Child("maxConcurrency"))...)
	errs = append(errs, validateDuration(l.MaxWait, 0, 24*time.Hour, at.Child("maxWait"))...)
	if l.MaxWait.Duration > 0 && l.MaxConcurrency == 0 {
		errs = append(errs, field.Forbidden(at.Child("maxWait"), "without maxConcurrency no arrival ever waits"))
	}
	errs = append(errs, validateRange(l.Requests, 0, 1e12, at.Child("requests"))...)
	if !(l.ErrorBudget >= 0 && l.ErrorBudget <= 1) {
		errs = append(errs, field.Invalid(at.Child("errorBudget"), l.ErrorBudget, "use a share of the requests, 0 to 1"))
	}
	return errs
}

func usesGamma(l *LoadSpec) bool {
	shaped := l.Pattern == PatternBurst || l.Pattern == PatternSteps || l.Pattern == PatternRamp
	return l.Pattern == PatternGamma || shaped && l.Arrivals == ArrivalsGamma
}

// validateForeign reports fields that belong to another pattern: they would be ignored in silence.
func validateForeign(l *LoadSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	shaped := []Pattern{PatternBurst, PatternSteps, PatternRamp}
	open := Patterns()[1:]
	for _, f := range []struct {
		name  string
		set   bool
		of    []Pattern
		extra string
	}{
		{"clientsPerNode", l.ClientsPerNode != 0, []Pattern{PatternClosed}, ": an open loop sends at its rate, and maxConcurrency caps it"},
		{"thinkTime", l.ThinkTime.Duration != 0, []Pattern{PatternClosed}, ""},
		{"rate", l.Rate != 0, []Pattern{PatternConstant, PatternPoisson, PatternGamma, PatternBurst}, ": a closed loop has no rate of its own, steps and ramp have theirs in each step"},
		{"arrivals", l.Arrivals != "", shaped, ""},
		{"burst", l.Burst != nil, []Pattern{PatternBurst}, ""},
		{"steps", l.Steps != nil, []Pattern{PatternSteps}, ""},
		{"ramp", l.Ramp != nil, []Pattern{PatternRamp}, ""},
		{"trace", l.Trace != nil, []Pattern{PatternTrace}, ""},
		{"maxConcurrency", l.MaxConcurrency != 0, open, ": in a closed loop clientsPerNode is the concurrency"},
		{"maxWait", l.MaxWait.Duration != 0, open, ""},
		{"burstiness", l.Burstiness != 0 && !usesGamma(l), []Pattern{PatternGamma}, " and arrivals: gamma"},
	} {
		allowed := false
		for _, p := range f.of {
			allowed = allowed || p == l.Pattern
		}
		if f.set && (!allowed || f.name == "burstiness") {
			words := make([]string, len(f.of))
			for i, p := range f.of {
				words[i] = string(p)
			}
			errs = append(errs, field.Forbidden(at.Child(f.name), fmt.Sprintf("it belongs to pattern %s%s", strings.Join(words, ", "), f.extra)))
		}
	}
	if shapedPattern := l.Pattern == PatternBurst || l.Pattern == PatternSteps || l.Pattern == PatternRamp; shapedPattern {
		errs = append(errs, validateOneOf(l.Arrivals, at.Child("arrivals"), ArrivalsPoisson, ArrivalsConstant, ArrivalsGamma)...)
	}
	return errs
}

func validRate(rate float64, zero bool) bool {
	return !math.IsNaN(rate) && (rate > 0 || zero && rate == 0) && rate <= maxRate
}

func validateRate(rate float64, at *field.Path) field.ErrorList {
	if !validRate(rate, false) {
		return field.ErrorList{field.Invalid(at, rate, "give the requests per second over all clients, above 0 and at most 1e6")}
	}
	return nil
}

func validateBurst(b *BurstSpec, at *field.Path) field.ErrorList {
	if b == nil {
		return field.ErrorList{field.Required(at, "say how long the rate is on and off, such as {on: 5s, off: 10s}")}
	}
	errs := validateDuration(b.On, time.Millisecond, 24*time.Hour, at.Child("on"))
	errs = append(errs, validateDuration(b.Off, time.Millisecond, 24*time.Hour, at.Child("off"))...)
	if !validRate(b.OffRate, true) {
		errs = append(errs, field.Invalid(at.Child("offRate"), b.OffRate, "give requests per second, 0 to 1e6"))
	}
	return errs
}

func validateSteps(steps []StepSpec, at *field.Path) field.ErrorList {
	if len(steps) == 0 || len(steps) > 1000 {
		return field.ErrorList{field.Required(at, "give 1 to 1000 steps, such as - {rate: 5, duration: 30s}")}
	}
	var errs field.ErrorList
	positive := false
	for i, s := range steps {
		if !validRate(s.Rate, true) {
			errs = append(errs, field.Invalid(at.Index(i).Child("rate"), s.Rate, "give requests per second over all clients, 0 to 1e6"))
		}
		positive = positive || s.Rate > 0
		errs = append(errs, validateDuration(s.Duration, time.Millisecond, 7*24*time.Hour, at.Index(i).Child("duration"))...)
	}
	if !positive && len(errs) == 0 {
		errs = append(errs, field.Invalid(at, len(steps), "at least one step needs a rate above 0"))
	}
	return errs
}

func validateRamp(r *RampSpec, at *field.Path) field.ErrorList {
	if r == nil {
		return field.ErrorList{field.Required(at, "give the rates at the beginning and at the end, such as {from: 1, to: 20}")}
	}
	if !validRate(r.From, true) || !validRate(r.To, true) || r.From == 0 && r.To == 0 {
		return field.ErrorList{field.Invalid(at, fmt.Sprintf("%g to %g", r.From, r.To), "give requests per second, 0 to 1e6, not both 0")}
	}
	return nil
}

func validateTrace(t *TraceSpec, at *field.Path) field.ErrorList {
	if t == nil {
		return field.ErrorList{field.Required(at, "name the file, such as {path: /project/traces/conversation.jsonl}")}
	}
	errs := validatePath(t.Path, at.Child("path"))
	if !(t.Speed > 0 && t.Speed <= 1e6) {
		errs = append(errs, field.Invalid(at.Child("speed"), t.Speed, "use a factor above 0: 2 sends twice as fast"))
	}
	return errs
}

func validatePath(p string, at *field.Path) field.ErrorList {
	if !path.IsAbs(p) {
		return field.ErrorList{field.Invalid(at, clip(p), "use an absolute path that the client nodes see")}
	}
	return nil
}

func validatePrompts(w *WorkloadSpec, at *field.Path) field.ErrorList {
	p := &w.Prompts
	errs := validateOneOf(p.Source, at.Child("source"), PromptSources()...)
	errs = append(errs, validateLengths(lengths{p.Tokens, p.Distribution, p.Stddev, p.Min, p.Max}, at)...)
	errs = append(errs, validateOneOf(p.Tokenizer, at.Child("tokenizer"), CounterAuto, CounterServer, CounterFile, CounterIDs, CounterWords)...)
	if p.Source == PromptSynthetic {
		if p.Path != "" {
			errs = append(errs, field.Forbidden(at.Child("path"), "synthetic prompts are made, not read: name a source such as jsonl"))
		}
	} else {
		errs = append(errs, validatePath(p.Path, at.Child("path"))...)
		if w.Load.Pattern == PatternTrace {
			errs = append(errs, field.Forbidden(at.Child("source"), "a trace says itself how long prompts are: leave source at synthetic"))
		}
	}
	if x := p.Prefix; x != nil {
		if p.Source != PromptSynthetic {
			errs = append(errs, field.Forbidden(at.Child("prefix"), "only synthetic prompts can be made to begin alike"))
		}
		if !(x.Share >= 0 && x.Share <= 1) {
			errs = append(errs, field.Invalid(at.Child("prefix", "share"), x.Share, "use a share of the tokens, 0 to 1"))
		}
		errs = append(errs, validateRange(int64(x.Groups), 1, 1_000_000, at.Child("prefix", "groups"))...)
	}
	if p.Tokenizer == CounterIDs && w.API != APICompletions {
		errs = append(errs, field.Forbidden(at.Child("tokenizer"), "only api: completions takes token ids"))
	}
	switch {
	case p.Tokenizer == CounterFile:
		errs = append(errs, validatePath(p.TokenizerPath, at.Child("tokenizerPath"))...)
	case p.TokenizerPath != "":
		errs = append(errs, field.Forbidden(at.Child("tokenizerPath"), "it belongs to tokenizer: file"))
	}
	return errs
}

// lengths is what prompts and outputs have in common.
type lengths struct {
	tokens           int32
	distribution     Distribution
	stddev, min, max int32
}

func validateLengths(l lengths, at *field.Path) field.ErrorList {
	errs := validateOneOf(l.distribution, at.Child("distribution"), DistributionFixed, DistributionUniform, DistributionNormal)
	errs = append(errs, validateRange(int64(l.tokens), 1, maxTokens, at.Child("tokens"))...)
	if l.distribution == DistributionFixed {
		if l.stddev != 0 || l.min != 0 || l.max != 0 {
			errs = append(errs, field.Forbidden(at.Child("distribution"), "stddev, min and max need distribution: uniform or normal"))
		}
		return errs
	}
	errs = append(errs, validateRange(int64(l.min), 1, maxTokens, at.Child("min"))...)
	errs = append(errs, validateRange(int64(l.max), int64(max(l.min, 1)), maxTokens, at.Child("max"))...)
	if l.distribution == DistributionNormal {
		errs = append(errs, validateRange(int64(l.stddev), 0, maxTokens, at.Child("stddev"))...)
	}
	return errs
}

func validateVerdict(v *VerdictSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, f := range []struct {
		name  string
		value float64
		most  float64
	}{
		{"invalidErrorRate", v.InvalidErrorRate, 1},
		{"suspectErrorRate", v.SuspectErrorRate, 1},
		{"rateDeviation", v.RateDeviation, 1},
		{"lagShare", v.LagShare, 1},
		{"clientCPU", v.ClientCPU, 1},
		{"shortOutputs", v.ShortOutputs, 1},
		{"drift", v.Drift, 100},
	} {
		if !(f.value > 0 && f.value <= f.most) {
			errs = append(errs, field.Invalid(at.Child(f.name), f.value, fmt.Sprintf("use a share above 0 and at most %g", f.most)))
		}
	}
	errs = append(errs, validateDuration(v.Lag, time.Microsecond, time.Hour, at.Child("lag"))...)
	errs = append(errs, validateDuration(v.ClockUncertainty, time.Microsecond, time.Hour, at.Child("clockUncertainty"))...)
	return append(errs, validateRange(v.CompletionsPerClient, 1, 1_000_000, at.Child("completionsPerClient"))...)
}
