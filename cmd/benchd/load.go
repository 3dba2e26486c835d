package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/report"
	"github.com/benchd/benchd/transport"
	"github.com/benchd/benchd/workload"
)

// keyVariable carries the API key of the servers under load.
const keyVariable = "BENCHD_API_KEY"

func newLoadCommand() *cobra.Command {
	o := loadOptions{}
	cmd := &cobra.Command{
		Use:   "load --target URL",
		Short: "Put load on servers that run already, from this machine",
		Long: `Put load on servers that run already, from this machine, and print the report: the load engine alone, with the same
records, numbers and files as a BenchmarkRun. It needs no Slurm and no control plane.

The API key is taken from $` + keyVariable + ` or --api-key-file. Ctrl-C ends the load; what was measured is reported.
Only put load on servers that are yours to burden.`,
		Example: `  benchd load --target http://localhost:8000 --clients 16 --duration 1m
  benchd load --target http://localhost:8000 --pattern poisson --rate 8 --duration 2m --warmup 30s --slo-ttft 200ms
  benchd load --target http://localhost:11434 --api ollamaGenerate --model llama3.2 --clients 4 --duration 1m
  benchd load --target http://a:8000 --target http://b:8000 --prompts sharegpt --path $PWD/ShareGPT.json --duration 5m
  benchd load --target http://localhost:8000 --pattern trace --path $PWD/conversation_trace.jsonl --duration 10m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.register(cmd)
	return cmd
}

// loadOptions are the flags of `benchd load`.
type loadOptions struct {
	targets           []string
	model, keyFile    string
	api, extensions   string
	balance           string
	noStream          bool
	pattern           string
	clients           int32
	rate, burstiness  float64
	arrivals          string
	burst, steps      string
	ramp              string
	speed             float64
	think, maxWait    time.Duration
	maxConcurrency    int32
	requests          int64
	errorBudget       float64
	duration, warmup  time.Duration
	drain, timeout    time.Duration
	retries           int32
	prompts, path     string
	promptTokens      string
	outputTokens      string
	fromDataset       bool
	prefix            float64
	groups            int32
	tokenizer, tokens string
	ttft, tpot, e2e   time.Duration
	seed              int64
	rest              api.RESTSpec
	output, format    string
	quiet             bool
	recordsOnly       bool
}

func (o *loadOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.targets, "target", nil, "base URL of a server, such as http://localhost:8000; may be repeated")
	f.StringVar(&o.model, "model", "", "model as the server names it (default: the only one it serves)")
	f.StringVar(&o.keyFile, "api-key-file", "", "file that holds the servers' API key (default $"+keyVariable+")")
	f.StringVar(&o.api, "api", string(api.APIChat), "chat, completions, ollamaChat, ollamaGenerate or rest")
	f.StringVar(&o.extensions, "extensions", string(api.ExtensionsAuto), "vLLM's additions to OpenAI's API: auto, vllm or none")
	f.StringVar(&o.balance, "balance", string(api.BalanceRoundRobin), "over targets: roundRobin, leastOutstanding or pinned")
	f.BoolVar(&o.noStream, "no-stream", false, "take answers in one piece")
	f.StringVar(&o.pattern, "pattern", "", "closed, constant, poisson, gamma, burst, steps, ramp or trace (default closed; poisson with --rate)")
	f.Int32Var(&o.clients, "clients", 0, "concurrent clients of a closed loop (default 1)")
	f.DurationVar(&o.think, "think-time", 0, "pause of a closed client between answer and next request")
	f.Float64Var(&o.rate, "rate", 0, "requests per second of an open loop")
	f.Float64Var(&o.burstiness, "burstiness", 0, "of gamma arrivals: 1 is poisson, less comes in clusters")
	f.StringVar(&o.arrivals, "arrivals", "", "of burst, steps and ramp: poisson, constant or gamma")
	f.StringVar(&o.burst, "burst", "", "on/off times of the rate, such as 5s/10s")
	f.StringVar(&o.steps, "steps", "", "rates and times, such as 2:30s,4:30s,8:1m")
	f.StringVar(&o.ramp, "ramp", "", "first and last rate, such as 1:20")
	f.Float64Var(&o.speed, "speed", 1, "how much faster than recorded a trace is repeated")
	f.Int32Var(&o.maxConcurrency, "max-concurrency", 0, "cap on requests in flight of an open loop")
	f.DurationVar(&o.maxWait, "max-wait", 0, "longest wait for the cap; then an arrival is dropped and counted")
	f.Int64Var(&o.requests, "requests", 0, "end after so many measured requests")
	f.Float64Var(&o.errorBudget, "error-budget", 0, "end when more than this share of the requests failed")
	f.DurationVar(&o.duration, "duration", time.Minute, "measured window")
	f.DurationVar(&o.warmup, "warmup", 0, "load before the measured window")
	f.DurationVar(&o.drain, "drain", 30*time.Second, "longest wait for answers after the last request")
	f.DurationVar(&o.timeout, "request-timeout", 10*time.Minute, "bound on one request")
	f.Int32Var(&o.retries, "retries", 0, "how often a failed request is sent again")
	f.StringVar(&o.prompts, "prompts", string(api.PromptSynthetic), "synthetic, hellaswag, sharegpt or jsonl")
	f.StringVar(&o.path, "path", "", "file of prompts, or the trace")
	f.StringVar(&o.promptTokens, "prompt-tokens", "128", "tokens of a synthetic prompt: N, MIN-MAX (uniform) or MEAN~STDDEV (normal)")
	f.StringVar(&o.outputTokens, "output-tokens", "128", "tokens asked of an answer, in the same forms")
	f.BoolVar(&o.fromDataset, "output-from-dataset", false, "take the length of ShareGPT's answers")
	f.Float64Var(&o.prefix, "prefix-share", 0, "share of a synthetic prompt that is alike in a group")
	f.Int32Var(&o.groups, "prefix-groups", 1, "number of such groups")
	f.StringVar(&o.tokenizer, "tokenizer", string(api.CounterAuto), "how synthetic prompts get their length: auto, server, file, ids or words")
	f.StringVar(&o.tokens, "tokenizer-path", "", "tokenizer.json of --tokenizer file")
	f.DurationVar(&o.ttft, "slo-ttft", 0, "limit on the time to the first token, for goodput")
	f.DurationVar(&o.tpot, "slo-tpot", 0, "limit on the mean time per further token")
	f.DurationVar(&o.e2e, "slo-e2e", 0, "limit on the time to the last token")
	f.Int64Var(&o.seed, "seed", 0, "of everything random; 0 draws one")
	f.StringVar(&o.rest.Path, "rest-path", "", "of --api rest: path to POST to")
	f.StringVar(&o.rest.Body, "rest-body", "", `JSON object with "$prompt" and "$maxTokens" for values`)
	f.StringVar(&o.rest.Text, "rest-text", "", "dotted path of the text in the answer")
	f.StringVar(&o.rest.PromptTokens, "rest-prompt-tokens", "", "dotted path of the count of prompt tokens")
	f.StringVar(&o.rest.OutputTokens, "rest-output-tokens", "", "dotted path of the count of output tokens")
	f.StringVarP(&o.output, "output", "o", "", "folder for records and report, which must be new or empty (default: a new folder benchd-load-TIME)")
	f.StringVar(&o.format, "format", "md", "what to print at the end: md, json, csv, html, vllm-json or none")
	f.BoolVar(&o.recordsOnly, "records-only", false, "make no report; 'benchd report FOLDER --again DIR' makes it later")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "do not show progress")
	_ = cmd.MarkFlagRequired("target") // the flag was just declared
}

func (o *loadOptions) run(cmd *cobra.Command) error {
	_, known := formats[o.format]
	if !known && o.format != formatHTML && o.format != formatVLLM && o.format != "none" {
		return exitError{exitInvalid, fmt.Errorf("format %q is not known: use md, json, csv, html, vllm-json or none", o.format)}
	}
	spec, err := o.spec()
	if err != nil {
		return exitError{exitInvalid, err}
	}
	key, err := o.key()
	if err != nil {
		return exitError{exitInvalid, err}
	}
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	if err := o.findModel(ctx, key); err != nil {
		return err
	}
	plan := workload.Plan{Workload: *spec, Ranks: 1, Seed: *spec.Seed, Model: o.model, APIKey: key, Node: "local", RunID: uuid.NewString()[:8]}
	for i, target := range o.targets {
		plan.Targets = append(plan.Targets, workload.Target{Name: fmt.Sprintf("target-%d", i+1), URL: strings.TrimSuffix(target, "/")})
	}
	load, err := workload.NewLoad(plan)
	if err == nil {
		if err = load.Prepare(ctx); err != nil {
			err = errors.Join(err, load.Close())
		}
	}
	if err != nil {
		if errors.Is(err, workload.ErrInput) {
			return exitError{exitInvalid, err}
		}
		return err
	}
	folder, err := o.folder()
	if err != nil {
		return errors.Join(exitError{exitInvalid, err}, load.Close())
	}
	summary, err := o.measure(ctx, cmd, load, spec, folder, plan.RunID)
	if err != nil {
		return err
	}
	if o.recordsOnly {
		note(cmd)("records are in %s; `benchd report %s --again DIR` makes the report", folder, folder)
	} else {
		note(cmd)("records and report are in %s", folder)
	}
	if o.format != "none" && summary != nil {
		data, err := reportAs(folder, filepath.Join(folder, report.Dir), o.format)
		if err != nil {
			return err
		}
		if _, err := cmd.OutOrStdout().Write(data); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return exitError{code: exitCancelled}
	case load.Bound() == workload.BoundErrorBudget:
		return exitError{exitRunFailed, errors.New("the error budget was spent: the report lists the errors by class")}
	case load.Progress().Succeeded == 0 || summary != nil && summary.Requests.Succeeded == 0:
		return exitError{exitRunFailed, errors.New("no request of the measured window succeeded: the report lists the errors by class")}
	}
	return nil
}

// measure makes the load and its report.
func (o *loadOptions) measure(ctx context.Context, cmd *cobra.Command, load *workload.Load, spec *api.WorkloadSpec, folder, id string) (*report.Summary, error) {
	results := filepath.Join(folder, "results")
	if err := os.MkdirAll(results, 0o700); err != nil {
		return nil, errors.Join(err, load.Close())
	}
	part := filepath.Join(results, "records-0000.jsonl")
	records, err := workload.CreateRecords(part, load.Header(id, 1, 0))
	if err != nil {
		return nil, errors.Join(err, load.Close())
	}
	begun := time.Now()
	showing, shown := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.show(showing, cmd, load)
	}()
	err = load.Run(ctx, begun.Add(50*time.Millisecond), records, nil)
	shown()
	<-done
	if err != nil {
		return nil, err
	}
	if err := workload.Pack([]string{part}, filepath.Join(results, workload.PackedName)); err != nil {
		return nil, err
	}
	full := api.BenchmarkRunSpec{Workload: *spec}
	api.SetVerdictDefaults(&full.Verdict)
	in := report.Input{
		Run: "load " + o.name(folder, id), UID: id, Service: strings.Join(o.targets, " "), Model: o.model, Version: version, Attempt: 1, Clients: 1,
		Interrupted: ctx.Err() != nil, Limits: full.Verdict,
	}
	story := report.Story{Spec: full, End: time.Now(), Folder: folder}
	if o.recordsOnly {
		return nil, report.Prepare(folder, in, story)
	}
	return report.Make(folder, in, story)
}

// show prints how far the load is, now and then.
func (o *loadOptions) show(ctx context.Context, cmd *cobra.Command, load *workload.Load) {
	if o.quiet {
		return
	}
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p := load.Progress()
			note(cmd)("%s", progressText(&p))
		}
	}
}

// key is the API key, which never stands on a command line.
func (o *loadOptions) key() (string, error) {
	if o.keyFile == "" {
		return os.Getenv(keyVariable), nil
	}
	data, err := os.ReadFile(o.keyFile)
	if err != nil {
		return "", fmt.Errorf("read the API key: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// folder makes the folder of the results.
func (o *loadOptions) folder() (string, error) {
	path := o.output
	if path == "" {
		path = "benchd-load-" + time.Now().Format("20060102-150405")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
		return "", fmt.Errorf("--output %s holds files already: name a new folder, so that two loads are never mixed", path)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("make the folder for the results: %w", err)
	}
	return path, nil
}

// name is what a load is called beside others: after its folder, where one was named.
func (o *loadOptions) name(folder, id string) string {
	if o.output == "" {
		return id
	}
	return filepath.Base(folder)
}

// findModel asks the first server which model it serves, where none was named.
func (o *loadOptions) findModel(ctx context.Context, key string) error {
	if o.model != "" || o.api == string(api.APIREST) {
		return nil
	}
	models, err := workload.Models(ctx, strings.TrimSuffix(o.targets[0], "/"), key)
	if err != nil {
		if unreachable := (*net.OpError)(nil); errors.As(err, &unreachable) {
			return fmt.Errorf("%s does not answer: %w", o.targets[0], err)
		}
		return fmt.Errorf("find the model that %s serves: %w: name it with --model", o.targets[0], err)
	}
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = m.ID
	}
	if len(models) != 1 {
		return exitError{exitInvalid, fmt.Errorf("%s serves %d models (%s): name one with --model", o.targets[0], len(models), strings.Join(names, ", "))}
	}
	o.model = names[0]
	return nil
}

// spec makes a workload of the flags and checks it as a run's would be.
func (o *loadOptions) spec() (*api.WorkloadSpec, error) {
	for _, target := range o.targets {
		if _, err := transport.ParseURL(target); err != nil {
			return nil, fmt.Errorf("--target: %w", err)
		}
	}
	w, err := o.workload()
	if err != nil {
		return nil, err
	}
	api.SetWorkloadDefaults(w)
	if errs := api.ValidateWorkload(w, field.NewPath("workload")); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	return w, nil
}

func metaDuration(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }

// limit is nil for a limit that was not set.
func limit(d time.Duration) *metav1.Duration {
	if d == 0 {
		return nil
	}
	return &metav1.Duration{Duration: d}
}
