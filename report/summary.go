// Package report turns the records of an attempt into statistics and files. Every number is computed from the records
// alone, so that a report can be made again at any time with the same result.
package report

// Summary is report/summary.json. Its names are a contract; values are seconds and tokens unless the name says otherwise.
// A number that was not measured, or has too few samples, is null.
type Summary struct {
	Run        string `json:"run"`
	UID        string `json:"uid"`
	Attempt    int32  `json:"attempt"`
	Service    string `json:"service"`
	Model      string `json:"model"`
	BenchdVers string `json:"benchdVersion"`

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

	Errors  map[string]int64       `json:"errors"`
	PerNode map[string]NodeSummary `json:"perNode"`
	// Resources is the place of CPU, GPU, memory and energy; null until they are part of the records.
	Resources map[string]float64 `json:"resources"`
	Verdict   Verdict            `json:"verdict"`
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
	// Source of the counts: server, chunks, or mixed.
	Source string `json:"source"`
	// ShortOfTarget counts answers with fewer output tokens than asked for.
	ShortOfTarget int64 `json:"shortOfTarget"`
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
}

// NodeSummary is what one client node did.
type NodeSummary struct {
	Requests              Requests `json:"requests"`
	RequestThroughput     float64  `json:"requestThroughput"`
	OutputTokenThroughput float64  `json:"outputTokenThroughput"`
	CPUSeconds            float64  `json:"cpuSeconds"`
	ClockUncertainty      float64  `json:"clockUncertainty"`
	// Complete: the node's records were finished; false when it was lost.
	Complete bool `json:"complete"`
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
	"itl":                   "gaps between successive tokens, pooled over requests; only where the tokens per chunk are known to be one",
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
	"errorRate":             "(failed + cancelled + dropped) / attempted",
	"achievedRate":          "requests of the measured window that were sent, per second",
}
