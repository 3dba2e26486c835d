package main

// What Ollama takes from its environment and from the options of a request (sources: see ollama.go).

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const forever = time.Duration(math.MaxInt64)

// ollamaSettings is Ollama's environment. A bad value never ends Ollama: it warns and takes the default.
type ollamaSettings struct {
	host, port     string
	models         string
	parallel       int
	keepAlive      time.Duration
	contextLength  int
	maxLoaded      int // 0 is three for each GPU
	maxQueue       int
	loadTimeout    time.Duration
	flashAttention bool
	kvCacheType    string
	gpus           int
	modelBytes     int64
}

func (e ollamaSettings) String() string {
	return fmt.Sprintf("map[OLLAMA_CONTEXT_LENGTH:%d OLLAMA_FLASH_ATTENTION:%t OLLAMA_HOST:http://%s OLLAMA_KEEP_ALIVE:%s OLLAMA_KV_CACHE_TYPE:%s OLLAMA_LOAD_TIMEOUT:%s OLLAMA_MAX_LOADED_MODELS:%d OLLAMA_MAX_QUEUE:%d OLLAMA_MODELS:%s OLLAMA_NUM_PARALLEL:%d]",
		e.contextLength, e.flashAttention, net.JoinHostPort(e.host, e.port), e.keepAlive, e.kvCacheType, e.loadTimeout, e.maxLoaded, e.maxQueue, e.models, e.parallel)
}

// variable is a value without the quotes and spaces around it.
func (c *call) variable(name string) string {
	return strings.Trim(strings.TrimSpace(c.env(name)), "\"'")
}

// ollamaEnv reads the environment.
func (c *call) ollamaEnv() ollamaSettings {
	e := ollamaSettings{
		models: c.variable("OLLAMA_MODELS"), kvCacheType: c.variable("OLLAMA_KV_CACHE_TYPE"),
		parallel: c.uint("OLLAMA_NUM_PARALLEL", 1), contextLength: c.uint("OLLAMA_CONTEXT_LENGTH", 0),
		maxLoaded: c.uint("OLLAMA_MAX_LOADED_MODELS", 0), maxQueue: c.uint("OLLAMA_MAX_QUEUE", 512),
		gpus: c.gpuCount(), modelBytes: c.knobs.modelBytes,
	}
	e.host, e.port = c.ollamaHost()
	if e.models == "" {
		e.models = filepath.Join(c.env("HOME"), ".ollama", "models")
	}
	if e.contextLength == 0 {
		e.contextLength = 4096
	}
	e.keepAlive = seconds(c.variable("OLLAMA_KEEP_ALIVE"), 5*time.Minute)
	e.loadTimeout = seconds(c.variable("OLLAMA_LOAD_TIMEOUT"), 5*time.Minute)
	if e.loadTimeout == 0 {
		e.loadTimeout = forever
	}
	if v := c.variable("OLLAMA_FLASH_ATTENTION"); v != "" {
		on, err := strconv.ParseBool(v)
		e.flashAttention = on || err != nil // what is no boolean counts as true
	}
	switch e.kvCacheType {
	case "", "f16":
	case "q8_0", "q4_0":
		if !e.flashAttention {
			c.slog("WARN", "quantized kv cache requested but flash attention disabled", "type", e.kvCacheType)
		}
	default:
		c.slog("WARN", "kv cache type not supported by model", "type", e.kvCacheType)
	}
	return e
}

// uint reads a number; a bad one is warned about.
func (c *call) uint(name string, def int) int {
	v := c.variable(name)
	if v == "" {
		return def
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		c.slog("WARN", "invalid environment variable, using default", "key", name, "value", v, "default", def)
		return def
	}
	return int(n)
}

// seconds reads a duration or a number of seconds; negative is for ever, and what is neither is the default.
func seconds(v string, def time.Duration) time.Duration {
	d, err := time.ParseDuration(v)
	if err != nil {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return def
		}
		d = time.Duration(n) * time.Second
	}
	if d < 0 {
		return forever
	}
	return d
}

// ollamaHost splits OLLAMA_HOST, which may have a scheme, no port, or no host.
func (c *call) ollamaHost() (host, port string) {
	defaultPort := "11434"
	v := c.variable("OLLAMA_HOST")
	scheme, rest, found := strings.Cut(v, "://")
	switch {
	case !found:
		rest = v
	case scheme == "http":
		defaultPort = "80"
	case scheme == "https":
		defaultPort = "443"
	}
	rest, _, _ = strings.Cut(rest, "/")
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		host, port = "127.0.0.1", defaultPort
		if ip := net.ParseIP(strings.Trim(rest, "[]")); ip != nil {
			host = ip.String()
		} else if rest != "" {
			host = rest
		}
	}
	if n, err := strconv.ParseInt(port, 10, 32); err != nil || n > 65535 || n < 0 {
		c.slog("WARN", "invalid port, using default", "port", port, "default", defaultPort)
		port = defaultPort
	}
	return host, port
}

// runnerOptions are what makes a loaded model fit a request or not.
type runnerOptions struct {
	NumCtx, NumBatch, NumGPU, MainGPU, NumThread int
	UseMMap                                      string
}

// optionTypes are the options of a request, as api.Options has them.
var optionTypes = map[string]string{
	"num_ctx": "integer", "num_batch": "integer", "num_gpu": "integer", "main_gpu": "integer", "num_thread": "integer", "use_mmap": "boolean",
	"num_keep": "integer", "seed": "integer", "num_predict": "integer", "top_k": "integer", "top_p": "float32", "min_p": "float32",
	"typical_p": "float32", "repeat_last_n": "integer", "temperature": "float32", "repeat_penalty": "float32",
	"presence_penalty": "float32", "frequency_penalty": "float32", "stop": "array",
}

// runnerOptions checks the options of a request: unknown names are only warned about, wrong types are errors.
func (e ollamaSettings) runnerOptions(given map[string]any, unknown func(string)) (runnerOptions, error) {
	o := runnerOptions{NumCtx: e.contextLength, NumBatch: 512, NumGPU: -1}
	ints := map[string]*int{"num_ctx": &o.NumCtx, "num_batch": &o.NumBatch, "num_gpu": &o.NumGPU, "main_gpu": &o.MainGPU, "num_thread": &o.NumThread}
	for name, value := range given {
		want, known := optionTypes[name]
		if !known {
			unknown(name)
			continue
		}
		ok := value == nil
		switch v := value.(type) {
		case float64:
			ok = want == "integer" || want == "float32"
			if at := ints[name]; at != nil {
				*at = int(v)
			}
		case bool:
			ok = want == "boolean"
			o.UseMMap = strconv.FormatBool(v)
		case []any:
			ok = want == "array"
		}
		if !ok {
			return o, fmt.Errorf("option %q must be of type %s", name, want)
		}
	}
	o.NumCtx = max(4, o.NumCtx)
	return o, nil
}

// needsReload compares as Ollama does: what asks for no number of GPU layers takes the model as it is.
func (o runnerOptions) needsReload(wanted runnerOptions) bool {
	if wanted.NumGPU < 0 {
		o.NumGPU, wanted.NumGPU = -1, -1
	}
	return o != wanted
}

// A keepAlive is how long a model stays after a request: a number of seconds, or a duration in words.
type keepAlive struct{ d time.Duration }

func (k *keepAlive) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case float64:
		k.d = time.Duration(v * float64(time.Second))
	case string:
		d, err := time.ParseDuration(v)
		if err != nil {
			return err
		}
		k.d = d
	default:
		return errors.New("Unsupported type: " + string(b))
	}
	if k.d < 0 {
		k.d = forever
	}
	return nil
}
