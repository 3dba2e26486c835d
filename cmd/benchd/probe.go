package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/container"
	"github.com/benchd/benchd/node/agent"
)

// probeVerb is how doctor starts this binary on a node.
const probeVerb = "probe"

// probeRequest is what doctor asks of a node, by a file in the work folder.
type probeRequest struct {
	// Nonce is answered, so that an old file is never taken for a new one.
	Nonce string `json:"nonce"`
	// Container whose runtime, image and binds are looked for.
	Container api.ContainerSpec `json:"container"`
	// Program that is looked for where there is no container.
	Program string `json:"program,omitempty"`
	// Ports to listen on for a moment.
	Ports []int `json:"ports,omitempty"`
	// Network of the Cluster object.
	Network string `json:"network,omitempty"`
	// Pushgateway to reach.
	Pushgateway string `json:"pushgateway,omitempty"`
}

// probeReply is what a node answers. Texts of what is amiss are empty where nothing is.
type probeReply struct {
	Nonce string `json:"nonce"`
	// Node is its name, System its kernel and architecture, Version that of the binary that runs there.
	Node    string `json:"node"`
	System  string `json:"system"`
	Version string `json:"version"`
	// Folder says why doctor's file is not seen there. Seen is how long it took to be.
	Folder string        `json:"folder,omitempty"`
	Seen   time.Duration `json:"seen"`
	// Runtimes on PATH there, after the modules of the run.
	Runtimes []string `json:"runtimes,omitempty"`
	// Runtime, Image, Binds, Program and Pushgateway say what is amiss with each.
	Runtime     string `json:"runtime,omitempty"`
	Image       string `json:"image,omitempty"`
	Binds       string `json:"binds,omitempty"`
	Program     string `json:"program,omitempty"`
	Pushgateway string `json:"pushgateway,omitempty"`
	// Taken are ports that cannot be listened on, with why.
	Taken map[int]string `json:"taken,omitempty"`
	// Address that servers and agents would use there, or why there is none.
	Address        string `json:"address,omitempty"`
	AddressProblem string `json:"addressProblem,omitempty"`
}

// Words of the talk between doctor and probe. Lines without the prefix are what a site's profile prints.
const (
	probePrefix = "benchd-probe: "
	probePing   = "ping"
	probeBye    = "bye"
)

// probeRequestFile and probeReplyFile are in the folder that doctor made.
func probeRequestFile(folder string) string { return filepath.Join(folder, "request.json") }
func probeReplyFile(folder string) string   { return filepath.Join(folder, "reply.json") }

func newProbeCommand() *cobra.Command {
	var patience time.Duration
	cmd := &cobra.Command{
		Use:    probeVerb + " FOLDER",
		Short:  "Look at a node for doctor",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := withSignals(cmd.Context())
			defer stop()
			return probe(ctx, args[0], patience, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().DurationVar(&patience, "patience", time.Minute, "how long doctor's file may take to be seen")
	return cmd
}

// probe reads doctor's request, answers it by a file and by a line, and then tells its clock as often as it is asked.
func probe(ctx context.Context, folder string, patience time.Duration, in io.Reader, out io.Writer) error {
	began := time.Now()
	reply := probeReply{Version: version, System: systemName()}
	reply.Node, _ = os.Hostname() // a node without a name answers all the same
	if name := os.Getenv("SLURMD_NODENAME"); name != "" {
		reply.Node = name
	}
	request, err := awaitRequest(ctx, probeRequestFile(folder), patience)
	if err != nil {
		reply.Folder = err.Error()
	} else {
		reply.Seen = time.Since(began)
		lookAround(ctx, request, &reply)
		if err := node.WriteSealed(probeReplyFile(folder), reply); err != nil {
			reply.Folder = fmt.Sprintf("the answer cannot be written: %v", err)
		}
	}
	line, err := json.Marshal(reply)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	if _, err := fmt.Fprintf(out, "%s%s\n", probePrefix, line); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return tellClock(in, out)
}

// awaitRequest waits until doctor's file is seen: network file systems take their time.
func awaitRequest(ctx context.Context, path string, patience time.Duration) (*probeRequest, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		var request probeRequest
		err := node.ReadJSON(path, &request)
		if err == nil {
			return &request, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-over.C:
			return nil, fmt.Errorf("what doctor wrote was not seen within %s: %w", patience, err)
		case <-tick.C:
		}
	}
}

// lookAround answers what was asked.
func lookAround(ctx context.Context, request *probeRequest, reply *probeReply) {
	reply.Nonce = request.Nonce
	for _, r := range api.Runtimes() {
		if r == api.RuntimeNone || r == api.RuntimePyxis {
			continue
		}
		if _, err := exec.LookPath(container.Program(r)); err == nil {
			reply.Runtimes = append(reply.Runtimes, string(r))
		}
	}
	c := &request.Container
	if c.Runtime != api.RuntimeNone && c.Runtime != "" {
		reply.Runtime, reply.Image, reply.Binds = text(container.CheckRuntime(c)), text(container.CheckImage(c)), text(container.CheckBinds(c.Binds))
	}
	if request.Program != "" && findProgram(request.Program, c.Path) == "" {
		reply.Program = fmt.Sprintf("%s is not on PATH there", request.Program)
	}
	var err error
	if reply.Address, err = agent.NodeAddress(request.Network); err != nil {
		reply.AddressProblem = err.Error()
	}
	reply.Taken = takenPorts(reply.Address, request.Ports)
	if request.Pushgateway != "" {
		if err := reach(ctx, request.Pushgateway); err != nil {
			reply.Pushgateway = err.Error()
		}
	}
}

func text(p *container.Problem) string {
	if p == nil {
		return ""
	}
	return p.Text
}

// takenPorts listens on each port for a moment.
func takenPorts(address string, ports []int) map[int]string {
	taken := map[int]string{}
	for _, port := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err != nil {
			taken[port] = err.Error()
			continue
		}
		_ = l.Close()
	}
	return taken
}

// tellClock answers each ping with the time, until told to end or the other side has gone.
func tellClock(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		word, number, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case probePing:
			if _, err := fmt.Fprintf(out, "%spong %s %d\n", probePrefix, number, time.Now().UnixNano()); err != nil {
				return fmt.Errorf("tell the time: %w", err)
			}
		case probeBye:
			return nil
		}
	}
	return lines.Err()
}

// systemName is the kernel and architecture of this machine.
func systemName() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return runtime.GOARCH
	}
	return fmt.Sprintf("%s %s, %s", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), runtime.GOARCH)
}
