// Package report turns the records of an attempt into statistics and files. Every number is computed from the records
// alone, so that a report can be made again at any time with the same result.
package report

import api "github.com/benchd/benchd/api/v1alpha1"

// Summary is report/summary.json. Its names are a contract; values are seconds and tokens unless the name says otherwise.
// A number that was not measured, or has too few samples, is null.
type Summary struct {
	Run        string `json:"run"`
	UID        string `json:"uid"`
	Attempt    int32  `json:"attempt"`
	Service    string `json:"service"`
	Model      string `json:"model"`
	BenchdVers string `json:"benchdVersion"`
	// Sweep that the run is a trial of, and the values of its parameters there, by their paths.
	Sweep      string     `json:"sweep,omitempty"`
	Parameters api.Values `json:"parameters,omitempty"`

	Requests              Requests    `json:"requests"`
	MeasuredSeconds       float64     `json:"measuredSeconds"`
	RequestThroughput     float64     `json:"requestThroughput"`
	OutputTokenThroughput float64     `json:"outputTokenThroughput"`
	TotalTokenThroughput  float64     `json:"totalTokenThroughput"`
	Goodput               *Goodput    `json:"goodput"`
	ErrorRate             float64     `json:"errorRate"`
	OfferedRate           *float64    `json:"offeredRate"`
	AchievedRate          float64     `json:"achievedRate"`
	Concurrency           Concurrency `json:"concurrency"`
	Tokens                Tokens      `json:"tokens"`

	TTFT              Distribution `json:"ttft"`
	ITL               Distribution `json:"itl"`
	ICL               Distribution `json:"icl"`
	TPOT              Distribution `json:"tpot"`
	E2E               Distribution `json:"e2e"`
	NormalizedLatency Distribution `json:"normalizedLatency"`
	ScheduleLag       Distribution `json:"scheduleLag"`
	CapWait           Distribution `json:"capWait"`
	TTFTFromIntent    Distribution `json:"ttftFromIntent"`
	E2EFromIntent     Distribution `json:"e2eFromIntent"`

	// TTFAT is the time to the first answer token: kept where there was reasoning before it.
	TTFAT Distribution `json:"ttfat"`
	// PromptTokens and OutputTokens are the lengths as they came out.
	PromptTokens Distribution `json:"promptTokens"`
	OutputTokens Distribution `json:"outputTokens"`
	// CI95 holds the intervals of the throughputs; those of distributions stand in each.
	CI95 map[string]*Interval `json:"ci95"`

	Errors    map[string]int64         `json:"errors"`
	PerNode   map[string]NodeSummary   `json:"perNode"`
	PerServer map[string]ServerSummary `json:"perServer"`
	// ServerView is what servers told of the same requests; null when none did.
	ServerView *ServerView `json:"serverView"`
	// SLO says how many of the attempted requests met each limit; null without limits.
	SLO *SLO `json:"slo"`
	// Steady tells whether the measured window was one state.
	Steady Steady `json:"steady"`
	// Saturated (open loop): requests in flight grew to the end of the window, so the offered rate is more than the servers
	// take. It is a finding about them and stands apart from the verdict.
	Saturated bool `json:"saturated"`
	// Client says what making the load took.
	Client Client `json:"client"`
	// Resources is what nodes, GPUs and servers did meanwhile; null where nothing was sampled.
	Resources *Resources `json:"resources"`
	// Bound says what ended sending before the time was over: requests, trace, errorBudget or stopped; empty when the time did.
	Bound   string  `json:"bound"`
	Series  *Series `json:"series"`
	Verdict Verdict `json:"verdict"`
	// WholeRun holds the conventional numbers over the whole run, under vllm bench serve's key names; milliseconds where
	// the name says so.
	WholeRun map[string]float64 `json:"wholeRun"`
	// Definitions says in a sentence what each number means.
	Definitions map[string]string `json:"definitions"`
}

// Requests counts the measured population: attempted = succeeded + failed + cancelled + dropped, always.
type Requests struct {
	Attempted int64 `json:"attempted"`
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
	Cancelled int64 `json:"cancelled"`
	Dropped   int64 `json:"dropped"`
}

// Goodput counts requests that meet every SLO.
type Goodput struct {
	// Rate per second of the measured window; Fraction of the attempted requests.
	Rate     float64 `json:"rate"`
	Fraction float64 `json:"fraction"`
}

// Concurrency is the number of requests in flight during the measured window.
type Concurrency struct {
	Mean float64 `json:"mean"`
	Peak int64   `json:"peak"`
}

// Tokens of the requests that succeeded.
type Tokens struct {
	Prompt int64 `json:"prompt"`
	Output int64 `json:"output"`
	// Cached prompt tokens, as the server told: what its prefix cache had already.
	Cached int64 `json:"cached"`
	// Source of the counts: server, chunks, or mixed.
	Source string `json:"source"`
	// PromptSource says how prompts got their length: server, file, ids, words (about one token each) or dataset.
	PromptSource string `json:"promptSource"`
	// ShortOfTarget counts answers with fewer output tokens than asked for. LengthForced: the server was asked to go on to
	// the target.
	ShortOfTarget int64 `json:"shortOfTarget"`
	LengthForced  bool  `json:"lengthForced"`
}

// Interval is a 95 % confidence interval: its lower and upper end.
type Interval [2]float64

// Intervals are those of a distribution's statistics; null where there are too few samples.
type Intervals struct {
	Mean *Interval `json:"mean"`
	P50  *Interval `json:"p50"`
	P90  *Interval `json:"p90"`
	P95  *Interval `json:"p95"`
	P99  *Interval `json:"p99"`
	P999 *Interval `json:"p999"`
}

// Distribution of one quantity over all clients together. Percentiles are linear interpolations over raw samples; one
// with fewer than 10/(1−q) samples is null.
type Distribution struct {
	Count int64    `json:"count"`
	Mean  *float64 `json:"mean"`
	Std   *float64 `json:"std"`
	Min   *float64 `json:"min"`
	Max   *float64 `json:"max"`
	P50   *float64 `json:"p50"`
	P90   *float64 `json:"p90"`
	P95   *float64 `json:"p95"`
	P99   *float64 `json:"p99"`
	P999  *float64 `json:"p999"`
	// CI95 by a block bootstrap over time; absent with too few samples.
	CI95 *Intervals `json:"ci95,omitempty"`
}

// NodeSummary is what one client node did.
type NodeSummary struct {
	Requests              Requests `json:"requests"`
	RequestThroughput     float64  `json:"requestThroughput"`
	OutputTokenThroughput float64  `json:"outputTokenThroughput"`
	TTFTP50               *float64 `json:"ttftP50"`
	E2EP50                *float64 `json:"e2eP50"`
	CPUSeconds            float64  `json:"cpuSeconds"`
	// PeakCPU and PeakThread are the largest shares, in any 5 s, of its CPUs and of one CPU by a thread of the load engine.
	PeakCPU          float64 `json:"peakCPU"`
	PeakThread       float64 `json:"peakThread"`
	ClockUncertainty float64 `json:"clockUncertainty"`
	// Complete: the node's records were finished; false when it was lost.
	Complete bool `json:"complete"`
}

// ServerSummary is what one server did, as the clients saw it.
type ServerSummary struct {
	Requests              Requests `json:"requests"`
	RequestThroughput     float64  `json:"requestThroughput"`
	OutputTokenThroughput float64  `json:"outputTokenThroughput"`
	TTFTP50               *float64 `json:"ttftP50"`
	TTFTP99               *float64 `json:"ttftP99"`
	E2EP50                *float64 `json:"e2eP50"`
}

// ServerView is the servers' own account of where the time went. Of a server that tells sums alone (vLLM's metrics, growth
// over the measured window) there are counts and means; of one that tells for each request (Ollama) there is all.
type ServerView struct {
	// Source is vllm or ollama.
	Source  string       `json:"source"`
	Queue   Distribution `json:"queue"`
	Load    Distribution `json:"load"`
	Prefill Distribution `json:"prefill"`
	Decode  Distribution `json:"decode"`
	TTFT    Distribution `json:"ttft"`
	E2E     Distribution `json:"e2e"`
}

// SLO says how many requests met each limit, as fractions of all attempted; null for a limit that was not set.
type SLO struct {
	TTFT *Attainment `json:"ttft"`
	TPOT *Attainment `json:"tpot"`
	E2E  *Attainment `json:"e2e"`
}

// Attainment of one limit.
type Attainment struct {
	Limit    float64 `json:"limit"`
	Fraction float64 `json:"fraction"`
}

// Steady tells whether the measured window was one state: whether requests in flight or the token rate moved.
type Steady struct {
	// State is steady, unsteady, or unknown in a window of fewer than ten seconds, and of a load that was ended before its time.
	State string `json:"state"`
	// InFlight and TokenRate are the trends of the series of 1 s; of answers that are not streamed, completions stand for tokens.
	InFlight  *Trend `json:"inFlight"`
	TokenRate *Trend `json:"tokenRate"`
}

// States of steadiness.
const (
	SteadyState   = "steady"
	UnsteadyState = "unsteady"
	UnknownState  = "unknown"
)

// Client says what making the load took.
type Client struct {
	CPUSeconds float64 `json:"cpuSeconds"`
	// SharedReads is the share of reads with more than one chunk; many of them say that the client, or a proxy, was behind.
	SharedReads float64 `json:"sharedReads"`
	// Redials counts connections that the server closed while they were kept; Retries requests that were sent again.
	Redials int64 `json:"redials"`
	Retries int64 `json:"retries"`
	// Connect is the time to set up the connections that were made within the load.
	Connect Distribution `json:"connect"`
}

// Verdict says whether the numbers can be used.
type Verdict struct {
	// State is Valid, Suspect or Invalid.
	State   string   `json:"state"`
	Reasons []string `json:"reasons"`
}

// States of a verdict.
const (
	Valid   = "Valid"
	Suspect = "Suspect"
	Invalid = "Invalid"
)

// definitions are printed beside the numbers.
var definitions = map[string]string{
	"ttft":                  "time from handing a request to the transport to the first chunk with text",
	"itl":                   "gaps between successive tokens, pooled over requests; a chunk of k tokens after a gap g gives k gaps of g/k; only where k is known",
	"ttfat":                 "time from sending to the first token that is not reasoning; only where there was reasoning",
	"promptTokens":          "prompt tokens of a request, as the server counted them",
	"outputTokens":          "output tokens of a request",
	"ci95":                  "95 % confidence interval by a block bootstrap: whole stretches of the window are drawn with replacement",
	"serverView":            "where the time went as the servers tell it themselves",
	"saturated":             "requests in flight grew to the end of the window: the offered rate is more than the servers take",
	"connect":               "time to set up a connection; it is part of the ttft of the request that needed it",
	"icl":                   "gaps between successive chunks with text, pooled over requests",
	"tpot":                  "(last token − first token) / (output tokens − 1), one value per request with more than one token",
	"e2e":                   "time from sending to the last token (not streamed: to the end of the answer)",
	"normalizedLatency":     "e2e divided by the number of output tokens",
	"scheduleLag":           "actual minus intended start, without waiting for a concurrency cap",
	"capWait":               "time an arrival waited for the concurrency cap",
	"ttftFromIntent":        "ttft counted from the intended start",
	"e2eFromIntent":         "e2e counted from the intended start",
	"requestThroughput":     "completions inside the measured window per second, whoever began them",
	"outputTokenThroughput": "output tokens that arrived inside the measured window per second",
	"totalTokenThroughput":  "the same with prompt tokens, placed at the first token",
	"goodput":               "requests that meet every SLO, per second and as a fraction of all attempted",
	"concurrency":           "requests in flight during the measured window, mean over time and peak",
	"energy":                "energy of the GPUs of all server nodes in the measured window, by their counters or by integrated power; gaps are not made up for",
	"kvCacheUsage":          "share of the servers' KV cache in use, as they tell themselves",
	"errorRate":             "(failed + cancelled + dropped) / attempted",
	"achievedRate":          "requests of the measured window that were sent, per second",
}
