package simulate

import (
	"encoding/json"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNewNamesTheWrongField(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		want string // field, value and the start of the fix
	}{
		"negative ttft":                 {Config{TTFT: -time.Second}, "ttft is -1s: want a duration"},
		"negative itl":                  {Config{ITL: -1}, "itl is -1ns: want a duration"},
		"negative startup":              {Config{Startup: -1}, "startup is -1ns: want a duration"},
		"negative grace":                {Config{ShutdownGrace: -1}, "shutdownGrace is -1ns: want a duration"},
		"unknown distribution":          {Config{ITLDist: "pareto"}, "itlDist is pareto: want one of constant"},
		"normal without spread":         {Config{TTFTDist: "normal"}, `spread is 0: want above 0 and at most 0.25 with "normal"`},
		"normal too wide":               {Config{TTFTDist: "normal", Spread: 0.5}, "spread is 0.5: want above 0"},
		"uniform too wide":              {Config{ITLDist: "uniform", Spread: 1}, "spread is 1: want above 0"},
		"lognormal without spread":      {Config{ITLDist: "lognormal"}, "spread is 0: want above 0"},
		"negative spread":               {Config{Spread: -1}, "spread is -1: want a relative standard deviation"},
		"no output":                     {Config{OutputTokens: -1}, "outputTokens is -1: want 1 or more"},
		"no chunk":                      {Config{ChunkTokens: -1}, "chunkTokens is -1: want 1 or more"},
		"context too short":             {Config{MaxModelLen: 128}, "maxModelLen is 128: want more than outputTokens"},
		"negative concurrency":          {Config{Concurrency: -1}, "concurrency is -1: want 0"},
		"negative queue":                {Config{Concurrency: 1, QueueLimit: -1}, "queueLimit is -1: want 0"},
		"queue limit without a queue":   {Config{QueueLimit: 5}, "queueLimit is 5: want 0, or set concurrency"},
		"rate over 1":                   {Config{Faults: Faults{CutRate: 1.5}}, "faults.cutRate is 1.5: want a share"},
		"rate not a number":             {Config{Faults: Faults{ErrorRate: math.NaN()}}, "faults.errorRate is NaN: want a share"},
		"rates that exceed 1":           {Config{Faults: Faults{CutRate: 0.75, EmptyRate: 0.5}}, "faults is 1.25: want rates that add up"},
		"stall without a length":        {Config{Faults: Faults{StallRate: 0.1}}, "faults.stall is 0s: want how long"},
		"negative stall":                {Config{Faults: Faults{Stall: -1}}, "faults.stall is -1ns: want a duration"},
		"error status that is none":     {Config{Faults: Faults{ErrorStatus: 200}}, "faults.errorStatus is 200: want an HTTP status"},
		"negative crash count":          {Config{Faults: Faults{CrashAfter: -1}}, "faults.crashAfter is -1: want a number"},
		"negative hang count":           {Config{Faults: Faults{HangAfter: -1}}, "faults.hangAfter is -1: want a number"},
		"negative unhealthy count":      {Config{Faults: Faults{UnhealthyAfter: -1}}, "faults.unhealthyAfter is -1: want a number"},
		"two logs":                      {Config{LogPath: "a", Log: &strings.Builder{}}, "logPath is a: want a file or a writer"},
		"log in a directory not there":  {Config{LogPath: filepath.Join(t.TempDir(), "no", "log")}, "set logPath to a file in an existing"},
		"every mistake, not only one 1": {Config{TTFT: -1, ChunkTokens: -1}, "ttft is -1ns"},
		"every mistake, not only one 2": {Config{TTFT: -1, ChunkTokens: -1}, "chunkTokens is -1"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(c.cfg)
			if err == nil {
				s.Close()
				t.Fatalf("accepted; want an error with %q", c.want)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want it to contain %q", err, c.want)
			}
		})
	}
}

func TestNewAcceptsRatesThatAddUpToOne(t *testing.T) {
	s, err := New(Config{Faults: Faults{ErrorRate: 0.1, CutRate: 0.2, EmptyRate: 0.3, HangRate: 0.1, EarlyStopRate: 0.3}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestConfigKeepsItsNamesInJSON(t *testing.T) {
	got, err := json.Marshal(Config{TTFT: time.Millisecond, Seed: 7, QueueLimit: 2, Faults: Faults{CutRate: 0.5, NeverHealthy: true}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"ttft":1000000,"seed":7,"queueLimit":2,"faults":{"cutRate":0.5,"neverHealthy":true}}`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
