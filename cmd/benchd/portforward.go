package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
)

const (
	// executorPort is the port that the executor API is known by; an agent that finds it taken uses the next free one.
	executorPort = 6000
	// portTries is how many ports are tried when nobody named the local one.
	portTries = 20
	// forwardPoll is how often it is looked whether what is forwarded has ended.
	forwardPoll = time.Second
)

func newPortForwardCommand(o *options) *cobra.Command {
	f := &forward{}
	cmd := &cobra.Command{
		Use:   "port-forward RUN|allocation/NAME [[LOCAL:]6000]",
		Short: "Offer a node's executor API on a local port, as plain HTTP",
		Long: `Offer the executor API of one of a run's nodes on a port of this machine, as plain HTTP: the control plane passes the requests on,
with TLS and the job's token. By default that is the run's first client node, on local port 6000 or the next free one. It ends with
the run, or with ctrl-C.

It listens on 127.0.0.1 and asks for no token, so everybody on this machine can read what the node tells. Only GET is passed on,
unless --allow-writes is given: then everybody on this machine could stop the load too.`,
		Example: "  benchd port-forward my-run &\n  curl http://localhost:6000/metrics/prometheus\n  benchd port-forward allocation/my-run-1 25000:6000 --node mel2120",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, names, err := objectArgs(args[:1])
			if err != nil {
				return err
			}
			if len(names) != 1 || kind != api.KindBenchmarkRun && kind != api.KindAllocation {
				return exitError{exitInvalid, fmt.Errorf("%s has no nodes: name a run, or allocation/NAME", args[0])}
			}
			port, named, err := forwardPort(args[1:])
			if err != nil {
				return err
			}
			ctx, stop := withSignals(cmd.Context())
			defer stop()
			if f.client, err = connectRunning(ctx, o.home); err != nil {
				return err
			}
			defer f.client.Close()
			f.kind, f.namespace, f.name, f.say, f.note = kind, o.namespace, names[0], say(cmd), note(cmd)
			return f.run(ctx, port, named)
		},
	}
	cmd.Flags().StringVar(&f.node, "node", "", "node, by name or rank (default: the first client node)")
	cmd.Flags().BoolVar(&f.writes, "allow-writes", false, "pass POST on too")
	return cmd
}

// forwardPort reads [LOCAL:]6000, and says whether the local port was named.
func forwardPort(args []string) (local int, named bool, err error) {
	if len(args) == 0 {
		return executorPort, false, nil
	}
	first, second, both := strings.Cut(args[0], ":")
	remote := first
	if both {
		remote = second
	}
	if remote != strconv.Itoa(executorPort) {
		return 0, false, exitError{exitInvalid, fmt.Errorf("port %q: a node offers its executor API alone, which goes by %d whatever port it has: use %d or LOCAL:%d", args[0], executorPort, executorPort, executorPort)}
	}
	if !both {
		return executorPort, false, nil
	}
	if local, err = strconv.Atoi(first); err != nil || local < 0 || local > 65535 {
		return 0, false, exitError{exitInvalid, fmt.Errorf("port %q: the local port is a number from 0 (any that is free) to 65535", args[0])}
	}
	return local, true, nil
}

// forward passes requests on to a node of a run or an Allocation.
type forward struct {
	client                *client.Client
	kind, namespace, name string
	node                  string
	writes                bool
	say, note             func(string, ...any)
	to                    atomic.Pointer[forwardTarget] // a run that is tried again gets other nodes
}

// forwardTarget is where requests go.
type forwardTarget struct{ allocation, node string }

func (f *forward) display() string { return word(f.kind) + "/" + f.name }

func (f *forward) run(ctx context.Context, port int, named bool) error {
	over, err := f.look(ctx)
	if err != nil {
		return err
	}
	if over != "" {
		return fmt.Errorf("%s: nothing of it runs any more", over)
	}
	l, err := listenLocal(ctx, port, named)
	if err != nil {
		return err
	}
	to := f.to.Load()
	f.say("Forwarding http://%s to the executor API of node %s (allocation %s)", localName(l), to.node, to.allocation)
	server := &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	ended := f.follow(ctx)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if server.Shutdown(stop) != nil {
		_ = server.Close() // a client does not read its answer
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("forward: %w", err)
	}
	f.say("%s", ended)
	return nil
}

// localName is an address as people type it.
func localName(l net.Listener) string {
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return l.Addr().String()
	}
	return "localhost:" + port
}

// listenLocal listens on this machine alone: on the port that was named, else on the first free one from there.
func listenLocal(ctx context.Context, port int, named bool) (net.Listener, error) {
	var lc net.ListenConfig
	tries := portTries
	if named {
		tries = 1
	}
	var err error
	for i := range tries {
		var l net.Listener
		if l, err = lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i))); err == nil {
			return l, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, fmt.Errorf("listen on this machine: %w: name a free port, such as %d:%d", err, port+1000, executorPort)
}

// follow returns when what is forwarded has ended, or ctx has, and says which. A control plane that does not answer is waited out.
func (f *forward) follow(ctx context.Context) string {
	tick := time.NewTicker(forwardPoll)
	defer tick.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return "Forwarding has ended; " + f.display() + " goes on"
		case <-tick.C:
		}
		before := *f.to.Load()
		over, err := f.look(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil && over != "":
			return over + ": forwarding has ended with it"
		case apierrors.IsNotFound(err):
			return f.display() + " was deleted: forwarding has ended with it"
		case err != nil && !away:
			f.note("waiting: %v", err)
			away = true
		case err == nil:
			away = false
			if now := *f.to.Load(); now != before {
				f.say("Forwarding to node %s (allocation %s) from now on", now.node, now.allocation)
			}
		}
	}
}

// look finds the node that requests go to. It says what has ended, if it has.
func (f *forward) look(ctx context.Context) (over string, err error) {
	allocation := f.name
	if f.kind == api.KindBenchmarkRun {
		obj, err := f.client.Get(ctx, f.kind, f.namespace, f.name)
		if err != nil {
			return "", err
		}
		run, ok := obj.(*api.BenchmarkRun)
		switch {
		case !ok:
			return "", fmt.Errorf("%s is a %T", f.display(), obj)
		case run.Status.Phase.Terminal():
			return fmt.Sprintf("%s has ended (%s)", f.display(), run.Status.Phase), nil
		case run.Status.AllocationRef == nil:
			return "", fmt.Errorf("%s has no nodes yet (%s: %s): try again once `benchd get runs` shows it in a later phase", f.display(), run.Status.Phase, run.Status.Message)
		}
		allocation = run.Status.AllocationRef.Name
	}
	obj, err := f.client.Get(ctx, api.KindAllocation, f.namespace, allocation)
	if err != nil {
		return "", err
	}
	a, ok := obj.(*api.Allocation)
	if !ok {
		return "", fmt.Errorf("allocation/%s is a %T", allocation, obj)
	}
	if a.Status.Phase.Terminal() && f.kind == api.KindAllocation {
		return fmt.Sprintf("%s has ended (%s)", f.display(), a.Status.Phase), nil
	}
	name, err := forwardNode(a, f.node)
	if err != nil {
		return "", err
	}
	f.to.Store(&forwardTarget{a.Name, name})
	return "", nil
}

// forwardNode chooses a node: the one that is named, or the first that makes load.
func forwardNode(a *api.Allocation, named string) (string, error) {
	if len(a.Status.Nodes) == 0 {
		return "", fmt.Errorf("allocation/%s has no nodes yet (%s: %s): try again once its agents are up", a.Name, a.Status.Phase, a.Status.Message)
	}
	var names []string
	client := a.Status.Nodes[0].Name
	for _, n := range slices.Backward(a.Status.Nodes) {
		if named != "" && (n.Name == named || strconv.Itoa(int(n.Rank)) == named) {
			return n.Name, nil
		}
		if slices.Contains(n.Roles, node.RoleClient) {
			client = n.Name
		}
		names = append(names, fmt.Sprintf("%s (%s)", n.Name, strings.Join(n.Roles, ", ")))
	}
	if named == "" {
		return client, nil
	}
	slices.Reverse(names)
	return "", exitError{exitInvalid, fmt.Errorf("allocation/%s has no node %s: its nodes are %s", a.Name, named, strings.Join(names, ", "))}
}

// ServeHTTP passes a request on. Only requests to this machine by its own names are: a web page that a name of its own leads here
// would otherwise read along.
func (f *forward) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	switch {
	case host != "localhost" && host != "127.0.0.1":
		http.Error(w, fmt.Sprintf("this port answers to localhost and 127.0.0.1, not to %q", host), http.StatusForbidden)
		return
	case r.Method != http.MethodGet && !(f.writes && r.Method == http.MethodPost):
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, r.Method+" is not passed on: start port-forward with --allow-writes for POST", http.StatusMethodNotAllowed)
		return
	}
	to := f.to.Load()
	resp, err := f.client.Node(r.Context(), f.namespace, to.allocation, to.node, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	copyAnswer(w, resp)
}

// copyAnswer passes an answer back.
func copyAnswer(w http.ResponseWriter, resp *http.Response) {
	if value := resp.Header.Get("Content-Type"); value != "" {
		w.Header().Set("Content-Type", value)
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // the client went away, or the control plane did
}
