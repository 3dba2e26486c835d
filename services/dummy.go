package services

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/simulate"
)

// dummy is the simulated LLM server: known latencies and faults on demand, no model and no GPU.
var dummy = Service{
	Name:       "dummy",
	Summary:    "simulated LLM server with known latencies and faults on demand; needs no GPU",
	Port:       5000,
	HealthPath: "/health",
	Model:      "dummy",
	Validate: func(spec *api.BenchmarkRunSpec, at *field.Path) field.ErrorList {
		if _, err := ParseDummyConfig(spec.Service.Config); err != nil {
			return field.ErrorList{field.Invalid(at.Child("config"), "", err.Error())}
		}
		if spec.Service.NodesPerReplica != 1 {
			return field.ErrorList{field.Invalid(at.Child("nodesPerReplica"), spec.Service.NodesPerReplica, "a simulated server runs on one node")}
		}
		return nil
	},
	Launch: func(l Launch) (Command, error) {
		config, err := json.Marshal(l.Spec.Config)
		if err != nil {
			return Command{}, fmt.Errorf("encode service.config: %w", err)
		}
		args := []string{
			l.Binary, "simulate", "--listen", net.JoinHostPort(l.Address, strconv.Itoa(int(l.Port))), "--model", l.Spec.Model,
			"--log", filepath.Join(l.Logs, l.Replica+".truth.jsonl"),
		}
		if l.Spec.Config != nil {
			args = append(args, "--config", string(config))
		}
		return Command{Args: append(args, l.Spec.Args...), Env: map[string]string{SimulateKeyVariable: l.APIKey}}, nil
	},
	Prepare: func(ctx context.Context, url, _, apiKey string) (string, error) {
		var answer struct{ Version string }
		if err := getJSON(ctx, url+"/version", apiKey, &answer); err != nil {
			return "", fmt.Errorf("ask the server's version: %w", err)
		}
		return answer.Version, nil
	},
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

// direct asks a server; a proxy that the site sets for the world outside has no place in between.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func getJSON(ctx context.Context, url, apiKey string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if apiKey != "" {
		req.Header.Set("Authorization", "Bearer "+apiKey)
	}
	resp, err := direct.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: HTTP %d", url, resp.StatusCode)
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<20)).Decode(v); err != nil {
		return fmt.Errorf("GET %s: %w", url, err)
	}
	return nil
}
