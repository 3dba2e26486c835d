package main

import (
	"cmp"
	"context"
	"errors"
	"net"
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

// blockVariable, when set, blocks all HTTP between control planes and nodes: hack/test runs the suite once so.
const blockVariable = "BENCHD_E2E_BLOCK_HTTP"

// TestMain lets the test binary be benchd: what it starts (control planes, jobs, agents, servers) is the code under test.
func TestMain(m *testing.M) {
	// With the race detector a process sleeps for a second before it exits, and the tests start hundreds.
	if err := os.Setenv(raceVariable, cmp.Or(os.Getenv(raceVariable), "atexit_sleep_ms=0")); err != nil {
		panic(err)
	}
	_, isShim := embedded.Shims[filepath.Base(os.Args[0])]
	if isShim || len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		openCluster = func(c *api.Cluster, home, binary string) (controllers.Cluster, error) {
			cluster, err := controllers.OpenCluster(c, home, binary)
			if err != nil {
				return nil, err
			}
			if moment := os.Getenv(killVariable); moment != "" {
				cluster = &killer{Cluster: cluster, moment: moment, marker: filepath.Join(home, "killed-"+c.Name)}
			}
			if os.Getenv(blockVariable) != "" {
				cluster = unreachable{cluster}
			}
			return cluster, nil
		}
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// raceVariable has the race detector's options.
const raceVariable = "GORACE"

// unreachable is a cluster whose nodes the control plane cannot connect to.
type unreachable struct{ controllers.Cluster }

func (unreachable) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("blocked by the test")
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
