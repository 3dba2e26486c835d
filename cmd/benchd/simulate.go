package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/benchd/benchd/services"
	"github.com/benchd/benchd/simulate"
)

// tellActivity prints a line a second while requests are served, as real servers do more or less often.
func tellActivity(ctx context.Context, out io.Writer, server *simulate.Server) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for last := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answered, running, waiting := server.Activity()
		if answered == last && running == 0 {
			continue
		}
		fmt.Fprintf(out, "INFO answered: %d reqs/s, running: %d reqs, waiting: %d reqs\n", answered-last, running, waiting)
		last = answered
	}
}

func newSimulateCommand() *cobra.Command {
	var listen, model, config, logPath string
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run a simulated LLM server with known latencies",
		Long: `Run a simulated LLM server: OpenAI-compatible completions and chat, streaming and not, with a known time to the first
token, known gaps between tokens, and faults on demand. Its log says what it sent when, so that a client's figures can
be compared with the truth. The settings are those of a BenchmarkRun's service.config for the service "dummy", as JSON.`,
		Example: `  benchd simulate --listen 127.0.0.1:5000 --config '{"ttft":"50ms","itl":"10ms"}' --log truth.jsonl`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := withSignals(cmd.Context())
			defer stop()
			settings := map[string]any{}
			if err := json.Unmarshal([]byte(config), &settings); err != nil {
				return exitError{exitInvalid, fmt.Errorf("--config: %w: give a JSON object such as {\"ttft\":\"50ms\"}", err)}
			}
			sim, err := services.ParseDummyConfig(settings)
			if err != nil {
				return exitError{exitInvalid, fmt.Errorf("--config: %w", err)}
			}
			sim.Model, sim.LogPath, sim.APIKey = model, logPath, os.Getenv(services.SimulateKeyVariable)
			sim.ShutdownGrace = time.Second
			sim.OnCrash = func() { os.Exit(3) }
			server, err := simulate.New(sim)
			if err != nil {
				return exitError{exitInvalid, err}
			}
			var lc net.ListenConfig
			l, err := lc.Listen(ctx, "tcp", listen)
			if err != nil {
				return fmt.Errorf("listen: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "simulated LLM server for model %s listens on http://%s\n", model, l.Addr())
			go tellActivity(ctx, cmd.OutOrStdout(), server)
			return server.Serve(ctx, l)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:5000", "address to listen on")
	f.StringVar(&model, "model", "dummy", "name of the model to pretend")
	f.StringVar(&config, "config", "{}", "settings as JSON: ttft, itl, concurrency, startup, faults …")
	f.StringVar(&logPath, "log", "", "file for the log of what was sent when (JSON lines)")
	return cmd
}
