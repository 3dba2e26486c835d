package services

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/simulate"
)

// dummy is the simulated LLM server: known latencies and faults on demand, no model and no GPU.
var dummy = Service{
	Name:        "dummy",
	Summary:     "simulated LLM server with known latencies and faults on demand; needs no GPU",
	Written:     "benchd itself (`benchd simulate`)",
	Port:        5000,
	HealthPath:  "/health",
	MetricsPath: "/metrics",
	Model:       "dummy",
	API:         api.APIChat,
	Settings:    dummySettings,
	Validate: func(spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList {
		if _, err := ParseDummyConfig(spec.Service.Config); err != nil {
			return field.ErrorList{field.Invalid(at.Child("config"), field.OmitValueType{}, err.Error())}
		}
		return nil
	},
	launch: func(l Launch) ([]Process, error) {
		config, err := json.Marshal(l.Spec.Config)
		if err != nil {
			return nil, fmt.Errorf("encode service.config: %w", err)
		}
		args := []string{
			l.Binary, "simulate", "--listen", l.hostPort(), "--model", l.Spec.Model, "--log", filepath.Join(l.Logs, l.Replica+".truth.jsonl"),
		}
		if l.Spec.Config != nil {
			args = append(args, "--config", string(config))
		}
		return []Process{{Args: append(args, l.Spec.Args...), Env: map[string]string{SimulateKeyVariable: l.APIKey}}}, nil
	},
	Prepare: func(ctx context.Context, s Server) (Prepared, error) {
		var answer struct{ Version string }
		if err := s.getJSON(ctx, "/version", &answer); err != nil {
			return Prepared{}, fmt.Errorf("ask the server's version: %w", err)
		}
		return Prepared{Version: answer.Version}, nil
	},
}

var dummyDists = []string{"constant", "exponential", "normal", "uniform", "lognormal"}

// dummySettings are the fields of DummyConfig.
var dummySettings = []Setting{
	{Name: "ttft", Type: SettingTime, Meaning: "time to the first token, such as 50ms"},
	{Name: "itl", Type: SettingTime, Meaning: "time between tokens, such as 10ms"},
	{Name: "ttftDist", Type: SettingWord, Choices: dummyDists, Meaning: "how TTFTs are spread"},
	{Name: "itlDist", Type: SettingWord, Choices: dummyDists, Meaning: "how ITLs are spread"},
	{Name: "spread", Type: SettingFloat, Meaning: "how far: a share of the mean"},
	{Name: "seed", Type: SettingInt, Meaning: "seed of everything drawn"},
	{Name: "concurrency", Type: SettingInt, Meaning: "requests served at once; more wait"},
	{Name: "queueLimit", Type: SettingInt, Meaning: "requests that may wait before one is refused"},
	{Name: "startup", Type: SettingTime, Meaning: "time until it is healthy, such as 20s"},
	{Name: "outputTokens", Type: SettingInt, Meaning: "tokens of an answer when a request names none"},
	{Name: "chunkTokens", Type: SettingInt, Meaning: "tokens in one chunk of a stream"},
	{Name: "writeChunks", Type: SettingInt, Meaning: "chunks in one write"},
	{Name: "maxModelLen", Type: SettingInt, Meaning: "longest prompt and answer together, in tokens"},
	{Name: "faults", Type: SettingGroup, Meaning: "what goes wrong, and how often", Parts: []Setting{
		{Name: "errorRate", Type: SettingFloat, Most: 1, Meaning: "share of requests answered with errorStatus"},
		{Name: "errorStatus", Type: SettingInt, Meaning: "HTTP status of an error"},
		{Name: "stallRate", Type: SettingFloat, Most: 1, Meaning: "share of streams that pause for stall"},
		{Name: "stall", Type: SettingTime, Meaning: "length of the pause"},
		{Name: "cutRate", Type: SettingFloat, Most: 1, Meaning: "share of connections that are cut"},
		{Name: "truncateRate", Type: SettingFloat, Most: 1, Meaning: "share of streams that end without their end mark"},
		{Name: "hangRate", Type: SettingFloat, Most: 1, Meaning: "share of requests that are never answered"},
		{Name: "streamErrorRate", Type: SettingFloat, Most: 1, Meaning: "share of streams with an error in the middle"},
		{Name: "emptyRate", Type: SettingFloat, Most: 1, Meaning: "share of empty answers"},
		{Name: "earlyStopRate", Type: SettingFloat, Most: 1, Meaning: "share of answers shorter than asked for"},
		{Name: "crashAfter", Type: SettingInt, Meaning: "requests after which the server exits"},
		{Name: "hangAfter", Type: SettingInt, Meaning: "requests after which nothing is answered"},
		{Name: "unhealthyAfter", Type: SettingInt, Meaning: "requests after which it is not healthy"},
		{Name: "neverHealthy", Type: SettingBool, Meaning: "it never becomes healthy"},
	}},
}

// SimulateKeyVariable carries the API key of a simulated server, for command lines can be read by all.
const SimulateKeyVariable = "BENCHD_SIMULATE_API_KEY"

// DummyConfig is the `service.config` of a dummy, with durations as people write them.
type DummyConfig struct {
	TTFT         metav1.Duration `json:"ttft,omitzero"`
	ITL          metav1.Duration `json:"itl,omitzero"`
	TTFTDist     string          `json:"ttftDist,omitempty"`
	ITLDist      string          `json:"itlDist,omitempty"`
	Spread       float64         `json:"spread,omitempty"`
	Seed         uint64          `json:"seed,omitempty"`
	Concurrency  int             `json:"concurrency,omitempty"`
	QueueLimit   int             `json:"queueLimit,omitempty"`
	Startup      metav1.Duration `json:"startup,omitzero"`
	OutputTokens int             `json:"outputTokens,omitempty"`
	ChunkTokens  int             `json:"chunkTokens,omitempty"`
	WriteChunks  int             `json:"writeChunks,omitempty"`
	MaxModelLen  int             `json:"maxModelLen,omitempty"`
	Faults       DummyFaults     `json:"faults,omitzero"`
}

// DummyFaults are the faults of a dummy; rates are shares of the requests.
type DummyFaults struct {
	ErrorRate       float64         `json:"errorRate,omitempty"`
	ErrorStatus     int             `json:"errorStatus,omitempty"`
	StallRate       float64         `json:"stallRate,omitempty"`
	Stall           metav1.Duration `json:"stall,omitzero"`
	CutRate         float64         `json:"cutRate,omitempty"`
	TruncateRate    float64         `json:"truncateRate,omitempty"`
	HangRate        float64         `json:"hangRate,omitempty"`
	StreamErrorRate float64         `json:"streamErrorRate,omitempty"`
	EmptyRate       float64         `json:"emptyRate,omitempty"`
	EarlyStopRate   float64         `json:"earlyStopRate,omitempty"`
	CrashAfter      int             `json:"crashAfter,omitempty"`
	HangAfter       int             `json:"hangAfter,omitempty"`
	UnhealthyAfter  int             `json:"unhealthyAfter,omitempty"`
	NeverHealthy    bool            `json:"neverHealthy,omitempty"`
}

// ParseDummyConfig reads a dummy's `service.config`, strictly.
func ParseDummyConfig(config map[string]any) (simulate.Config, error) {
	var c DummyConfig
	data, err := json.Marshal(config)
	if err != nil {
		return simulate.Config{}, fmt.Errorf("encode: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return simulate.Config{}, err
	}
	f := c.Faults
	sim := simulate.Config{
		TTFT: c.TTFT.Duration, ITL: c.ITL.Duration, TTFTDist: c.TTFTDist, ITLDist: c.ITLDist, Spread: c.Spread, Seed: c.Seed,
		Concurrency: c.Concurrency, QueueLimit: c.QueueLimit, Startup: c.Startup.Duration, OutputTokens: c.OutputTokens,
		ChunkTokens: c.ChunkTokens, WriteChunks: c.WriteChunks, MaxModelLen: c.MaxModelLen,
		Faults: simulate.Faults{
			ErrorRate: f.ErrorRate, ErrorStatus: f.ErrorStatus, StallRate: f.StallRate, Stall: f.Stall.Duration, CutRate: f.CutRate,
			TruncateRate: f.TruncateRate, HangRate: f.HangRate,
			StreamErrorRate: f.StreamErrorRate, EmptyRate: f.EmptyRate, EarlyStopRate: f.EarlyStopRate, CrashAfter: f.CrashAfter,
			HangAfter: f.HangAfter, UnhealthyAfter: f.UnhealthyAfter, NeverHealthy: f.NeverHealthy,
		},
	}
	_, err = simulate.New(sim)
	return sim, err
}
