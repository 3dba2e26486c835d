package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/controllers"
	"github.com/benchd/benchd/slurmadapter"
	"github.com/benchd/benchd/slurmadapter/embedded"
)

// killVariable makes a control plane of the tests kill itself, once, at a named moment.
const killVariable = "BENCHD_E2E_KILL_AT"

// TestMain lets the test binary be benchd: what it starts (control planes, jobs, agents, servers) is the code under test.
func TestMain(m *testing.M) {
	_, isShim := embedded.Shims[filepath.Base(os.Args[0])]
	if isShim || len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		if moment := os.Getenv(killVariable); moment != "" {
			openCluster = func(c *api.Cluster, home, binary string) (controllers.Cluster, error) {
				real, err := controllers.OpenCluster(c, home, binary)
				return &killer{Cluster: real, moment: moment, marker: filepath.Join(home, "killed-"+c.Name)}, err
			}
		}
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// killer is a cluster around which the control plane dies by kill -9 at one moment, once.
type killer struct {
	controllers.Cluster
	moment, marker string
}

func (k *killer) at(moment string) {
	if moment != k.moment {
		return
	}
	f, err := os.OpenFile(k.marker, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return // it has died here before
	}
	_ = f.Close()
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

func (k *killer) Submit(ctx context.Context, spec slurmadapter.JobSpec) (string, error) {
	k.at("before-submit")
	id, err := k.Cluster.Submit(ctx, spec)
	k.at("after-submit")
	return id, err
}

func (k *killer) Release(ctx context.Context, id string) error {
	k.at("before-release")
	err := k.Cluster.Release(ctx, id)
	k.at("after-release")
	return err
}

func (k *killer) Cancel(ctx context.Context, id string) error {
	k.at("before-cancel")
	err := k.Cluster.Cancel(ctx, id)
	k.at("after-cancel")
	return err
}
