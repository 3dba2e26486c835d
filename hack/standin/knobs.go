package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// What STANDIN_HANG can ask for.
const (
	hangLoad     = "load"     // the model is never loaded
	hangRequests = "requests" // healthy, but requests for tokens are never answered
	hangStop     = "stop"     // SIGTERM and SIGINT are ignored
)

// knobs are what the STANDIN_ variables ask for beyond the real program's own command line and environment.
type knobs struct {
	ttft, itl, load     time.Duration
	crashAfter          time.Duration // 0 is never
	hang                string
	gpus                int // of the machine; -1 when not said
	outputTokens        int
	rayLost, rayConnect time.Duration
	pgTimeout, dist     time.Duration
	registry            string
	pull                time.Duration
	modelBytes          int64
	contextLength       int
}

// A knobText documents one variable.
type knobText struct{ name, help string }

var knobHelp = []knobText{
	{"STANDIN_LOAD", "how long a model takes to load (200ms)"},
	{"STANDIN_TTFT", "time to the first token (5ms)"},
	{"STANDIN_ITL", "time between tokens (1ms)"},
	{"STANDIN_OUTPUT_TOKENS", "length of an answer whose request gives no limit (16)"},
	{"STANDIN_CRASH_AFTER", "so long after it was ready a server dies of CUDA out of memory, exit 1 (never)"},
	{"STANDIN_HANG", "load: never ready; requests: healthy but no answers; stop: signals are ignored"},
	{"STANDIN_GPUS", "GPUs of this machine; CUDA_VISIBLE_DEVICES chooses among them (as many as it names, else 0)"},
	{"STANDIN_CONTEXT_LENGTH", "context length of models that have no config.json (32768)"},
	{"STANDIN_REGISTRY", "Ollama's registry: online (has every model), offline, or a comma separated list of its models (online)"},
	{"STANDIN_PULL", "how long Ollama downloads a model (50ms)"},
	{"STANDIN_MODEL_BYTES", "size that Ollama's models report (1000000000)"},
	{"STANDIN_RAY_LOST", "so long after its connection broke a Ray node is no longer listed, and a node without head ends (1s)"},
	{"STANDIN_RAY_CONNECT", "how long Ray tries to reach a head that is not there (35s)"},
	{"STANDIN_PG_TIMEOUT", "how long vLLM waits for a placement group (30m)"},
	{"STANDIN_DIST_TIMEOUT", "how long the nodes of one server wait for each other (5m)"},
}

// readKnobs reads the variables; a bad value is an error, for a test that misspells one would test something else.
func readKnobs(lookup func(string) (string, bool)) (knobs, error) {
	r := knobReader{lookup: lookup}
	k := knobs{
		load: r.duration("STANDIN_LOAD", 200*time.Millisecond),
		ttft: r.duration("STANDIN_TTFT", 5*time.Millisecond), itl: r.duration("STANDIN_ITL", time.Millisecond),
		outputTokens:  int(r.number("STANDIN_OUTPUT_TOKENS", 16)),
		crashAfter:    r.duration("STANDIN_CRASH_AFTER", 0),
		hang:          r.choice("STANDIN_HANG", hangLoad, hangRequests, hangStop),
		gpus:          int(r.number("STANDIN_GPUS", -1)),
		contextLength: int(r.number("STANDIN_CONTEXT_LENGTH", 32768)),
		registry:      r.text("STANDIN_REGISTRY", "online"),
		pull:          r.duration("STANDIN_PULL", 50*time.Millisecond),
		modelBytes:    r.number("STANDIN_MODEL_BYTES", 1_000_000_000),
		rayLost:       r.duration("STANDIN_RAY_LOST", time.Second),
		rayConnect:    r.duration("STANDIN_RAY_CONNECT", 35*time.Second),
		pgTimeout:     r.duration("STANDIN_PG_TIMEOUT", 30*time.Minute),
		dist:          r.duration("STANDIN_DIST_TIMEOUT", 5*time.Minute),
	}
	return k, r.err
}

// A knobReader keeps the first error.
type knobReader struct {
	lookup func(string) (string, bool)
	err    error
}

func (r *knobReader) text(name, def string) string {
	if v, _ := r.lookup(name); v != "" {
		return v
	}
	return def
}

func (r *knobReader) fail(name, want string) {
	if v, _ := r.lookup(name); r.err == nil {
		r.err = fmt.Errorf("%s is %q: want %s", name, v, want)
	}
}

func (r *knobReader) duration(name string, def time.Duration) time.Duration {
	v := r.text(name, "")
	if v == "" {
		return def
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		r.fail(name, "a duration such as 200ms")
	}
	return d
}

func (r *knobReader) number(name string, def int64) int64 {
	v := r.text(name, "")
	if v == "" {
		return def
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		r.fail(name, "a number of 0 or more")
	}
	return n
}

func (r *knobReader) choice(name string, choices ...string) string {
	v := r.text(name, "")
	for _, c := range choices {
		if v == c {
			return v
		}
	}
	if v != "" {
		r.fail(name, "one of "+strings.Join(choices, ", "))
	}
	return ""
}

// gpuCount is how many GPUs a CUDA program would see. CUDA reads its list up to the first entry that it does not know, and
// sees nothing at all when one is named twice.
func (c *call) gpuCount() int {
	list, named := c.lookup("CUDA_VISIBLE_DEVICES")
	if !named {
		return max(0, c.knobs.gpus)
	}
	seen := map[string]bool{}
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		index, err := strconv.Atoi(entry)
		switch {
		case err == nil && (index < 0 || c.knobs.gpus >= 0 && index >= c.knobs.gpus):
			return len(seen)
		case err != nil && !strings.HasPrefix(entry, "GPU-") && !strings.HasPrefix(entry, "MIG-"):
			return len(seen)
		case seen[entry]:
			return 0
		}
		seen[entry] = true
	}
	return len(seen)
}
