package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/procfs"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/node/monitor"
	"github.com/benchd/benchd/services"
)

// monitor samples this node from now on, and pushes what it tells where that is asked for. What it returns ends both; what was pushed is
// taken away again.
func (a *agent) monitor(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	spec := &a.manifest.Monitor
	if *spec.Enabled {
		s := monitor.NewSampler(a.opts.Node, samplesPath(a.folder, a.opts.Node), spec.Interval.Duration, a.log, a.sources()...)
		if a.opts.ClockSkew != 0 {
			s.Skew(a.opts.ClockSkew)
		}
		if err := a.metrics.Register(s); err != nil {
			a.log.Warn("samples are not shown as metrics", "error", err)
		}
		running.Go(func() {
			if err := s.Run(ctx); err != nil {
				a.log.Warn("sampling stopped", "error", err)
			}
		})
	}
	if to := spec.Pushgateway; to != nil {
		running.Go(func() { a.push(ctx, to) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// push pushes what this node tells, until ctx ends.
func (a *agent) push(ctx context.Context, to *api.PushgatewaySpec) {
	url, err := a.gatewayURL(ctx, to)
	if err != nil {
		if ctx.Err() == nil {
			a.log.Warn("live metrics are not pushed", "error", err)
		}
		return
	}
	p := monitor.Pusher{
		URL: url, AuthorizationFile: to.AuthorizationFile, Interval: to.Interval.Duration, Job: "benchd-" + a.manifest.Allocation.Name, Instance: a.opts.Node, Direct: to.Start != nil,
		Source: prometheus.Gatherers{a.exec, a.metrics}, Log: a.log,
	}
	p.Run(ctx)
}

// sources are what this node is sampled by. One that does not work is told, and left out.
func (a *agent) sources() []monitor.Source {
	var sources []monitor.Source
	add := func(source monitor.Source, err error) {
		if err != nil {
			a.log.Warn("not sampled", "error", err)
		}
		if source != nil {
			sources = append(sources, source)
		}
	}
	add(monitor.NewMachine("", ""))
	role := node.RoleMonitor
	if slices.Contains(a.manifest.Ranks[a.opts.Rank], node.RoleClient) {
		role = node.RoleClient
	}
	add(monitor.NewRoles(role))
	add(monitor.GPUs(os.Getenv, isOurs))
	service, err := services.Of(&a.manifest.Service)
	if err != nil {
		add(nil, err)
		return sources
	}
	for _, s := range a.observedServers() {
		if len(service.Observations()) > 0 {
			add(a.observe(service, s), nil)
		}
	}
	return sources
}

// observed is a server that this node asks what it tells of itself.
type observed struct{ name, url, key string }

// observedServers are those whose first part is here; those that benchd does not start are asked by the first node.
func (a *agent) observedServers() []observed {
	var list []observed
	for _, s := range a.servers {
		if s.part == 0 {
			list = append(list, observed{s.replica.Name, s.url, apiKey(a.token)})
		}
	}
	if a.opts.Rank == 0 {
		for i, endpoint := range a.manifest.Service.Endpoints {
			list = append(list, observed{externalName(&a.manifest.Service, i), strings.TrimSuffix(endpoint, "/"), a.secrets.APIKey})
		}
	}
	return list
}

func (a *agent) observe(service *services.Service, s observed) monitor.Source {
	var metrics []monitor.Metric
	for _, o := range service.Observations() {
		metrics = append(metrics, monitor.Metric{Family: monitor.FamilyServer, Subject: s.name, Name: o.Name, Help: o.Help})
	}
	server := services.Server{URL: s.url, Spec: a.manifest.Service, APIKey: s.key}
	return monitor.NewPolled(a.manifest.Monitor.Interval.Duration, metrics, func(ctx context.Context) (map[string]float64, error) {
		return service.Observe(ctx, server)
	})
}

// isOurs says whether a process is the job's. Containers that Slurm starts (Pyxis) are steps of the job beside the agent's, not below it.
func isOurs(pid int) bool {
	if descends(pid) {
		return true
	}
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return false
	}
	groups, err := proc.Cgroups()
	return err == nil && inJob(groups, os.Getenv("SLURM_JOB_ID"))
}

// inJob says whether control groups are of a Slurm job (Slurm: cgroup_v2.html, …/job_ID/step_ID/…).
func inJob(groups []procfs.Cgroup, job string) bool {
	return job != "" && slices.ContainsFunc(groups, func(g procfs.Cgroup) bool {
		return slices.Contains(strings.Split(g.Path, "/"), "job_"+job)
	})
}

// descends says whether a process was started by this one, or by one that was.
func descends(pid int) bool {
	self := os.Getpid()
	for range 64 { // deeper than any tree of processes here
		if pid == self {
			return true
		}
		proc, err := procfs.NewProc(pid)
		if err != nil {
			return false
		}
		stat, err := proc.Stat()
		if err != nil || stat.PPID <= 1 {
			return false
		}
		pid = stat.PPID
	}
	return false
}

func samplesPath(f node.Folder, name string) string {
	return filepath.Join(f.Logs(name), "samples.csv")
}
