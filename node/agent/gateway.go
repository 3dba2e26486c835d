package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/container"
	"github.com/benchd/benchd/node/logs"
)

// gatewayRecord is how the agent that started a Pushgateway makes its address known to the others.
type gatewayRecord struct {
	URL string `json:"url"`
}

// gatewayTimeout bounds the start of a Pushgateway, an image's first unpacking included.
const gatewayTimeout = 2 * time.Minute

// runsGateway says whether this node is the one to start the job's Pushgateway: the first with the monitor role, else the lead's.
func (a *agent) runsGateway() bool {
	to := a.manifest.Monitor.Pushgateway
	if to == nil || to.Start == nil {
		return false
	}
	rank := slices.IndexFunc(a.manifest.Ranks, func(roles []string) bool { return slices.Contains(roles, node.RoleMonitor) })
	return a.opts.Rank == max(0, rank)
}

// startGateway starts the job's Pushgateway and tells its address. That none comes up is a warning: the samples are in the CSV.
func (a *agent) startGateway(ctx context.Context, processes *processes) {
	if !a.runsGateway() {
		return
	}
	url, err := a.bringUpGateway(ctx, processes)
	if err == nil {
		err = node.WriteSealed(a.folder.Pushgateway(), gatewayRecord{url})
	}
	switch {
	case err == nil:
		a.log.Info("the Pushgateway is up", "url", url)
	case ctx.Err() == nil:
		a.log.Warn("no Pushgateway: live metrics are not pushed", "error", err)
	}
}

func (a *agent) bringUpGateway(ctx context.Context, processes *processes) (url string, err error) {
	start := a.manifest.Monitor.Pushgateway.Start
	address := net.JoinHostPort(a.address, strconv.Itoa(int(start.Port)))
	probe, err := net.Listen("tcp", address)
	if err != nil {
		return "", fmt.Errorf("port %d of %s is not free (%w): choose another monitoring.pushgateway.start.port", start.Port, a.opts.Node, err)
	}
	if err := probe.Close(); err != nil {
		return "", err
	}
	command, err := a.gatewayCommand(start, address)
	if err != nil {
		return "", err
	}
	capture, err := a.newCapture(logs.Source{Component: node.RoleMonitor, Container: "pushgateway"})
	if err != nil {
		return "", err
	}
	proc, err := processes.start(command.Args, a.environment(command.Env), capture)
	if err != nil {
		return "", errors.Join(err, capture.Close())
	}
	return "http://" + address, awaitGateway(ctx, proc, "http://"+address+"/-/ready")
}

// gatewayCommand finds the program, under its maker's name or Debian's, or runs it in its image. It keeps nothing on disk: Debian's
// would otherwise bring back what other jobs have pushed, from a file that all share.
func (a *agent) gatewayCommand(start *api.StartPushgatewaySpec, address string) (container.Command, error) {
	flags := []string{"--web.listen-address=" + address, "--persistence.file="}
	if start.Image == "" {
		for _, name := range []string{"pushgateway", "prometheus-pushgateway"} {
			for _, dir := range append(slices.Clone(a.manifest.Container.Path), "") {
				if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
					return container.Command{Args: append([]string{found}, flags...)}, nil
				}
			}
		}
		return container.Command{}, errors.New("neither pushgateway nor prometheus-pushgateway is in container.path or on PATH: name its folder, or monitoring.pushgateway.start.image")
	}
	spec := a.manifest.Container
	spec.Image, spec.Binds, spec.Args = start.Image, nil, nil
	if spec.Runtime == "" || spec.Runtime == api.RuntimeNone {
		spec.Runtime = api.RuntimeApptainer
	}
	return container.Wrap(&spec, container.Process{
		Name: fmt.Sprintf("benchd-%.8s-pushgateway", a.manifest.Allocation.UID), Args: append([]string{"pushgateway"}, flags...),
		Folder: a.folder.Logs(a.opts.Node), Node: a.opts.Node,
	})
}

// awaitGateway waits until the Pushgateway answers.
func awaitGateway(ctx context.Context, proc *process, url string) error {
	ctx, cancel := context.WithTimeout(ctx, gatewayTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := direct.Do(req); err == nil {
			_ = resp.Body.Close() // nothing of it is read
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-proc.exited:
			return fmt.Errorf("the Pushgateway ended: %w%s", errors.Join(proc.err), evidence(proc.capture.Last()))
		default:
		}
		if pause(ctx) != nil {
			return fmt.Errorf("the Pushgateway does not answer: %w", ctx.Err())
		}
	}
}

// startedGateway is the address of the Pushgateway that the job has started; empty before it is up.
func (a *agent) startedGateway() string {
	var record gatewayRecord
	if err := node.ReadJSON(a.folder.Pushgateway(), &record); err != nil {
		return ""
	}
	return record.URL
}

// gatewayURL is where this node pushes to: what the user named, or what the job has started, which is waited for.
func (a *agent) gatewayURL(ctx context.Context, to *api.PushgatewaySpec) (string, error) {
	if to.Start == nil {
		return to.URL, nil
	}
	for {
		if url := a.startedGateway(); url != "" {
			return url, nil
		}
		if pause(ctx) != nil {
			return "", ctx.Err()
		}
	}
}
