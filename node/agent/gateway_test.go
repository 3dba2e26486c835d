package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
)

// The first monitor node starts the job's Pushgateway, the lead's where there is none, and nobody where none is asked for.
func TestWhoRunsThePushgateway(t *testing.T) {
	start := &api.PushgatewaySpec{Start: &api.StartPushgatewaySpec{Port: 9091}}
	for name, tc := range map[string]struct {
		to    *api.PushgatewaySpec
		ranks [][]string
		want  int
	}{
		"nobody":            {nil, [][]string{{node.RoleServer}, {node.RoleMonitor}}, -1},
		"one that runs":     {&api.PushgatewaySpec{URL: "http://n:9091"}, [][]string{{node.RoleMonitor}}, -1},
		"the monitor":       {start, [][]string{{node.RoleServer}, {node.RoleClient}, {node.RoleMonitor}, {node.RoleMonitor}}, 2},
		"without a monitor": {start, [][]string{{node.RoleServer}, {node.RoleClient}}, 0},
	} {
		got := -1
		for rank := range tc.ranks {
			a := &agent{opts: Options{Rank: rank}}
			a.manifest.Ranks, a.manifest.Monitor.Pushgateway = tc.ranks, tc.to
			if a.runsGateway() {
				if got >= 0 {
					t.Errorf("%s: ranks %d and %d", name, got, rank)
				}
				got = rank
			}
		}
		if got != tc.want {
			t.Errorf("%s: rank %d, want %d", name, got, tc.want)
		}
	}
}

// The program is taken from the user's folders, from PATH under either of its names, or out of an image in the run's own runtime.
func TestCommandOfThePushgateway(t *testing.T) {
	dir, own := t.TempDir(), t.TempDir()
	for _, path := range []string{filepath.Join(dir, "prometheus-pushgateway"), filepath.Join(own, "pushgateway")} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	command := func(start api.StartPushgatewaySpec, spec api.ContainerSpec) (string, error) {
		a := &agent{folder: node.Folder(t.TempDir()), opts: Options{Node: "n1"}}
		a.manifest.Container, a.manifest.Allocation.UID = spec, "0123456789"
		c, err := a.gatewayCommand(&start, "127.0.0.1:9091")
		return strings.Join(c.Args, " "), err
	}
	t.Setenv("PATH", dir)
	if got, err := command(api.StartPushgatewaySpec{}, api.ContainerSpec{}); err != nil || !strings.HasPrefix(got, filepath.Join(dir, "prometheus-pushgateway")+" --web.listen-address=127.0.0.1:9091") {
		t.Errorf("from PATH: %q, %v", got, err)
	}
	if got, err := command(api.StartPushgatewaySpec{}, api.ContainerSpec{Path: []string{own}}); err != nil || !strings.HasPrefix(got, filepath.Join(own, "pushgateway")+" --web.listen-address=127.0.0.1:9091") {
		t.Errorf("from the user's folder: %q, %v", got, err)
	}
	for runtime, want := range map[api.Runtime]string{api.RuntimeNone: "apptainer", api.RuntimePodman: "podman"} {
		got, err := command(api.StartPushgatewaySpec{Image: "/images/pushgateway.sif"}, api.ContainerSpec{Runtime: runtime, Image: "/images/vllm.sif", Binds: []string{"/scratch:/scratch"}, Args: []string{"--nv"}})
		if words := strings.Fields(got); err != nil || words[0] != want || !slices.Contains(words, "/images/pushgateway.sif") || !strings.Contains(got, " pushgateway --web.listen-address=127.0.0.1:9091") ||
			strings.Contains(got, "vllm") || strings.Contains(got, "scratch") || strings.Contains(got, "--nv") {
			t.Errorf("in an image, %s: %q, %v", runtime, got, err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := command(api.StartPushgatewaySpec{}, api.ContainerSpec{}); err == nil || !strings.Contains(err.Error(), "start.image") {
		t.Errorf("nowhere: %v", err)
	}
}

// A job's Pushgateway keeps nothing on disk: Debian's would bring back what other jobs have pushed, from a file that all share.
func TestGatewayKeepsNothing(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "prometheus-pushgateway")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]*api.StartPushgatewaySpec{"program": {}, "image": {Image: "/images/pushgateway.sif"}} {
		t.Run(name, func(t *testing.T) {
			a := &agent{folder: node.Folder(t.TempDir()), manifest: node.Manifest{Container: api.ContainerSpec{Path: []string{dir}}}}
			command, err := a.gatewayCommand(start, "127.0.0.1:9091")
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"--web.listen-address=127.0.0.1:9091", "--persistence.file="} {
				if !slices.Contains(command.Args, want) {
					t.Errorf("%q is no argument of %q", want, command.Args)
				}
			}
		})
	}
}
