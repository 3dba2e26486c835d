package agent

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
)

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
