package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// WorkloadSpec is the load that the clients make.
type WorkloadSpec struct {
	// Duration of the measured window.
	Duration metav1.Duration `json:"duration"`
	// Warmup is load before the measured window, without a pause between them.
	Warmup metav1.Duration `json:"warmup,omitzero"`
	// Drain bounds the wait for answers after the last request was sent.
	Drain *metav1.Duration `json:"drain,omitempty"`
	// Load says when requests are sent.
	Load LoadSpec `json:"load,omitzero"`
	// Balance deals requests out to server replicas: `roundRobin`, `leastOutstanding` or `pinned`.
	Balance Balance `json:"balance,omitempty"`
	// Prompts says what is asked.
	Prompts PromptSpec `json:"prompts,omitzero"`
	// Output says how long answers are to be.
	Output OutputSpec `json:"output,omitzero"`
	// API is the request format: `chat`, `completions`, `ollamaChat`, `ollamaGenerate` or `rest`.
	API API `json:"api,omitempty"`
	// REST describes the format of a service of one's own (api: rest).
	REST *RESTSpec `json:"rest,omitempty"`
	// Extensions says whether to send vLLM's additions to OpenAI's API (ignore_eos, min_tokens, usage in every chunk): `auto`
	// asks the server's list of models, `vllm` sends them, `none` does not.
	Extensions Extensions `json:"extensions,omitempty"`
	// Streaming asks for tokens as they come; without it there is no TTFT.
	Streaming *bool `json:"streaming,omitempty"`
	// RequestTimeout bounds one request.
	RequestTimeout *metav1.Duration `json:"requestTimeout,omitempty"`
	// Retries is how often a request that failed is sent again; the record then spans all tries, from the first one's start.
	Retries int32 `json:"retries,omitempty"`
	// SLO holds limits that a good request meets.
	SLO SLOSpec `json:"slo,omitzero"`
	// Seed of everything drawn at random; by default drawn from the run's uid and attempt.
	Seed *int64 `json:"seed,omitempty"`
}

// Pattern is the shape of a load over time.
type Pattern string

// Patterns of load.
const (
	// PatternClosed: each client sends its next request when the last one was answered.
	PatternClosed Pattern = "closed"
	// PatternConstant: requests are sent at even intervals, whatever the server does.
	PatternConstant Pattern = "constant"
	// PatternPoisson: requests are sent at random, independent of each other, at a mean rate.
	PatternPoisson Pattern = "poisson"
	// PatternGamma: intervals are gamma-distributed, so that burstiness can be chosen.
	PatternGamma Pattern = "gamma"
	// PatternBurst: the rate is switched on and off.
	PatternBurst Pattern = "burst"
	// PatternSteps: the rate changes in steps.
	PatternSteps Pattern = "steps"
	// PatternRamp: the rate grows or falls evenly over the measured window.
	PatternRamp Pattern = "ramp"
	// PatternTrace: requests are sent at the times of a file.
	PatternTrace Pattern = "trace"
)

// Patterns lists all patterns.
func Patterns() []Pattern {
	return []Pattern{
		PatternClosed, PatternConstant, PatternPoisson, PatternGamma, PatternBurst, PatternSteps, PatternRamp, PatternTrace,
	}
}

// Arrivals says how the requests of a rate that changes are spread.
type Arrivals string

// Ways to spread arrivals.
const (
	ArrivalsConstant Arrivals = "constant"
	ArrivalsPoisson  Arrivals = "poisson"
	ArrivalsGamma    Arrivals = "gamma"
)

// Balance deals requests out to server replicas.
type Balance string

// Ways to balance.
const (
	// BalanceRoundRobin asks one server after the other.
	BalanceRoundRobin Balance = "roundRobin"
	// BalanceLeastOutstanding asks the server with the fewest requests of this client node under way.
	BalanceLeastOutstanding Balance = "leastOutstanding"
	// BalancePinned keeps what belongs together (a closed client, a trace's session, a shared prefix) on one server.
	BalancePinned Balance = "pinned"
)

// API is the request format spoken to the servers.
type API string

// Request formats.
const (
	APIChat           API = "chat"
	APICompletions    API = "completions"
	APIOllamaChat     API = "ollamaChat"
	APIOllamaGenerate API = "ollamaGenerate"
	APIREST           API = "rest"
)

// APIs lists all request formats.
func APIs() []API { return []API{APIChat, APICompletions, APIOllamaChat, APIOllamaGenerate, APIREST} }

// Extensions says whether vLLM's additions to OpenAI's API are sent.
type Extensions string

// Ways to decide about extensions.
const (
	ExtensionsAuto Extensions = "auto"
	ExtensionsVLLM Extensions = "vllm"
	ExtensionsNone Extensions = "none"
)

// RESTSpec describes the API of a service of one's own: a JSON object is posted, a JSON object comes back.
type RESTSpec struct {
	// Path to POST to.
	Path string `json:"path,omitempty"`
	// Body is a JSON object in which the string values "$prompt" and "$maxTokens" are replaced.
	Body string `json:"body,omitempty"`
	// Text is the dotted path of the text in the answer, such as choices.0.text.
	Text string `json:"text,omitempty"`
	// PromptTokens and OutputTokens are the dotted paths of the counts of tokens, where the answer tells them.
	PromptTokens string `json:"promptTokens,omitempty"`
	OutputTokens string `json:"outputTokens,omitempty"`
}

// LoadSpec says when requests are sent. Rate, requests and cap are totals over all client nodes.
type LoadSpec struct {
	// Pattern of the load: `closed`, `constant`, `poisson`, `gamma`, `burst`, `steps`, `ramp` or `trace`.
	Pattern Pattern `json:"pattern,omitempty"`
	// ClientsPerNode is the number of concurrent clients on each client node (closed).
	ClientsPerNode int32 `json:"clientsPerNode,omitempty"`
	// ThinkTime is a client's pause between an answer and its next request (closed).
	ThinkTime metav1.Duration `json:"thinkTime,omitzero"`
	// Rate in requests per second over all clients (constant, poisson, gamma; of burst: while it is on).
	Rate float64 `json:"rate,omitempty"`
	// Burstiness of gamma: the shape of the intervals. 1 is poisson, less comes in clusters, more is evener.
	Burstiness float64 `json:"burstiness,omitempty"`
	// Arrivals spreads the requests of burst, steps and ramp: `poisson`, `constant` or `gamma`.
	Arrivals Arrivals `json:"arrivals,omitempty"`
	// Burst says how long the rate is on and off (burst).
	Burst *BurstSpec `json:"burst,omitempty"`
	// Steps are rates, each for a time; the last one goes on to the end (steps). They begin with the measured window; the
	// warm-up has the first one's rate.
	Steps []StepSpec `json:"steps,omitempty"`
	// Ramp is the rate at the measured window's beginning and end (ramp). The warm-up has the first rate.
	Ramp *RampSpec `json:"ramp,omitempty"`
	// Trace is the file whose times, lengths and sessions are repeated (trace).
	Trace *TraceSpec `json:"trace,omitempty"`
	// MaxConcurrency caps the requests in flight; an arrival beyond it waits, and the wait is recorded (not closed).
	MaxConcurrency int32 `json:"maxConcurrency,omitempty"`
	// MaxWait is how long an arrival may wait for the cap before it is dropped and counted; 0 means until sending ends.
	MaxWait metav1.Duration `json:"maxWait,omitzero"`
	// Requests ends sending after so many measured requests; 0 means that the duration alone does.
	Requests int64 `json:"requests,omitempty"`
	// ErrorBudget ends the load when more than this share of a client node's requests failed, after at least 20; 0 means
	// never.
	ErrorBudget float64 `json:"errorBudget,omitempty"`
}

// BurstSpec says how long a rate is on and off.
type BurstSpec struct {
	// On and Off are the lengths of the two parts.
	On  metav1.Duration `json:"on"`
	Off metav1.Duration `json:"off"`
	// OffRate is the rate between bursts.
	OffRate float64 `json:"offRate,omitempty"`
}

// StepSpec is a rate for a time.
type StepSpec struct {
	// Rate in requests per second over all clients.
	Rate float64 `json:"rate"`
	// Duration of the step.
	Duration metav1.Duration `json:"duration"`
}

// RampSpec is the rate at the beginning and at the end, in requests per second over all clients.
type RampSpec struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// TraceSpec names a trace: JSON lines with timestamp (milliseconds), input_length and output_length, as Mooncake's, and
// optionally hash_ids, session and prompt.
type TraceSpec struct {
	// Path of the file, the same on all client nodes.
	Path string `json:"path"`
	// Speed divides the times: 2 sends twice as fast.
	Speed float64 `json:"speed,omitempty"`
}

// PromptSource is where prompts come from.
type PromptSource string

// Sources of prompts.
const (
	// PromptSynthetic makes prompts of random words, each unlike the others.
	PromptSynthetic PromptSource = "synthetic"
	// PromptHellaSwag reads HellaSwag's JSON lines: each context is a prompt.
	PromptHellaSwag PromptSource = "hellaswag"
	// PromptShareGPT reads ShareGPT's JSON: each conversation's first question is a prompt.
	PromptShareGPT PromptSource = "sharegpt"
	// PromptJSONL reads JSON lines with prompt or messages, and optionally output_tokens.
	PromptJSONL PromptSource = "jsonl"
)

// PromptSources lists all sources of prompts.
func PromptSources() []PromptSource {
	return []PromptSource{PromptSynthetic, PromptHellaSwag, PromptShareGPT, PromptJSONL}
}

// Distribution of lengths.
type Distribution string

// Distributions of lengths.
const (
	DistributionFixed   Distribution = "fixed"
	DistributionUniform Distribution = "uniform"
	DistributionNormal  Distribution = "normal"
)

// Counter says how synthetic prompts get their exact number of tokens.
type Counter string

// Ways to count tokens.
const (
	// CounterAuto asks the server's tokenize endpoint, and takes words where there is none.
	CounterAuto Counter = "auto"
	// CounterServer asks the server's tokenize endpoint.
	CounterServer Counter = "server"
	// CounterFile reads a Hugging Face tokenizer.json.
	CounterFile Counter = "file"
	// CounterIDs sends token ids instead of text (api: completions).
	CounterIDs Counter = "ids"
	// CounterWords takes common words, about one token each.
	CounterWords Counter = "words"
)

// PromptSpec says what is asked.
type PromptSpec struct {
	// Source of prompts: `synthetic`, `hellaswag`, `sharegpt` or `jsonl`.
	Source PromptSource `json:"source,omitempty"`
	// Path of the file that prompts are read from, the same on all client nodes.
	Path string `json:"path,omitempty"`
	// Tokens of a synthetic prompt: all of them (fixed), their mean (normal).
	Tokens int32 `json:"tokens,omitempty"`
	// Distribution of lengths around tokens: `fixed`, `uniform` between min and max, or `normal` with stddev, cut at min and max.
	Distribution Distribution `json:"distribution,omitempty"`
	// Stddev of normal, Min and Max of normal and uniform, in tokens.
	Stddev int32 `json:"stddev,omitempty"`
	Min    int32 `json:"min,omitempty"`
	Max    int32 `json:"max,omitempty"`
	// Prefix makes synthetic prompts begin alike, so that prefix caches have something to do.
	Prefix *PrefixSpec `json:"prefix,omitempty"`
	// Tokenizer says how synthetic prompts get their exact length: `auto`, `server`, `file`, `ids` or `words`.
	Tokenizer Counter `json:"tokenizer,omitempty"`
	// TokenizerPath is the tokenizer.json of `file`, the same on all client nodes.
	TokenizerPath string `json:"tokenizerPath,omitempty"`
}

// PrefixSpec makes synthetic prompts begin alike.
type PrefixSpec struct {
	// Share of a prompt's tokens that is shared, 0 to 1.
	Share float64 `json:"share"`
	// Groups is how many different beginnings there are.
	Groups int32 `json:"groups,omitempty"`
}

// OutputSpec says how long answers are to be.
type OutputSpec struct {
	// Tokens asked of each answer: all of them (fixed), their mean (normal).
	Tokens int32 `json:"tokens,omitempty"`
	// Distribution of lengths: `fixed`, `uniform` between min and max, or `normal` with stddev, cut at min and max.
	Distribution Distribution `json:"distribution,omitempty"`
	// Stddev of normal, Min and Max of normal and uniform, in tokens.
	Stddev int32 `json:"stddev,omitempty"`
	Min    int32 `json:"min,omitempty"`
	Max    int32 `json:"max,omitempty"`
	// FromDataset takes the length of the answers in a ShareGPT file; their tokens are counted as those of prompts are.
	FromDataset bool `json:"fromDataset,omitempty"`
}

// SLOSpec holds limits that a good request meets; goodput counts those that meet every one.
type SLOSpec struct {
	// TTFT limits the time to the first token.
	TTFT *metav1.Duration `json:"ttft,omitempty"`
	// TPOT limits the mean time per further token.
	TPOT *metav1.Duration `json:"tpot,omitempty"`
	// E2E limits the time to the last token.
	E2E *metav1.Duration `json:"e2e,omitempty"`
}

// VerdictSpec holds the limits beyond which the numbers of a run are called suspect or invalid. Shares are 0 to 1.
type VerdictSpec struct {
	// InvalidErrorRate and SuspectErrorRate are shares of requests that did not succeed.
	InvalidErrorRate float64 `json:"invalidErrorRate,omitempty"`
	SuspectErrorRate float64 `json:"suspectErrorRate,omitempty"`
	// RateDeviation of the sent rate from the offered one, without a cap; beyond it invalid.
	RateDeviation float64 `json:"rateDeviation,omitempty"`
	// Lag is how far behind its schedule the client may be at the 99th percentile; LagShare of the median TTFT is allowed too.
	Lag      metav1.Duration `json:"lag,omitzero"`
	LagShare float64         `json:"lagShare,omitempty"`
	// ClientCPU is the share of its CPUs, or of one CPU by a thread of the load engine, that a client may use in any 5 s.
	ClientCPU float64 `json:"clientCPU,omitempty"`
	// ShortOutputs is the share of answers that may be shorter than asked for.
	ShortOutputs float64 `json:"shortOutputs,omitempty"`
	// CompletionsPerClient is how many answers each client of a closed loop wants on average.
	CompletionsPerClient int64 `json:"completionsPerClient,omitempty"`
	// ClockUncertainty of a client node, with several of them.
	ClockUncertainty metav1.Duration `json:"clockUncertainty,omitzero"`
	// Drift of requests in flight or of the token rate over the measured window, as a share of their median.
	Drift float64 `json:"drift,omitempty"`
}
