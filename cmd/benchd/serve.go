package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/controllers"
	"github.com/benchd/benchd/home"
	"github.com/benchd/benchd/server"
	"github.com/benchd/benchd/store"
)

type serveOptions struct {
	detach   bool
	takeOver bool
	listen   string
	verbose  bool
}

func newServeCommand(shared *options) *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the control plane",
		Long: `Run the control plane: it keeps the objects, drives runs toward what they declare, and answers the other verbs on a
unix socket in BENCHD_HOME. It can be stopped or killed at any moment: jobs go on, and the next start picks everything up.
` + "`benchd apply` and `benchd run`" + ` start one in the background where none answers.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.checkListen(); err != nil {
				return err
			}
			dir, err := home.Locate(shared.home)
			if err != nil {
				return err
			}
			if o.detach {
				return detach(cmd.Context(), dir, o, func(format string, args ...any) {
					fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...)
				})
			}
			ctx, stop := withSignals(cmd.Context())
			defer stop()
			return serve(ctx, dir, o, cmd)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.detach, "detach", false, "start in the background and return when it answers")
	f.BoolVar(&o.takeOver, "take-over", false, "take the home from a control plane on another host that is known to be gone")
	f.StringVar(&o.listen, "listen", "", "also serve TLS with a token on this host:port, for kubectl and other hosts")
	f.BoolVar(&o.verbose, "verbose", false, "log more")
	return cmd
}

// checkListen refuses an address that cannot be one, before anything is started.
func (o *serveOptions) checkListen() error {
	if o.listen == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(o.listen)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return exitError{exitInvalid, fmt.Errorf("--listen %s: %w: use HOST:PORT, such as 127.0.0.1:8443", o.listen, err)}
	}
	return nil
}

// openCluster opens the adapters; tests put faults in between.
var openCluster = controllers.OpenCluster

// serve is the control plane's life: the home is taken, the store opened, the API served, the controllers run. The end
// of any of them ends all.
func serve(ctx context.Context, dir home.Dir, o serveOptions, cmd *cobra.Command) error {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	url := ""
	if o.listen != "" {
		url = "https://" + o.listen
	}
	lease, err := dir.Acquire(o.takeOver, url)
	if err != nil {
		return err
	}
	defer func() {
		if err := lease.Release(); err != nil {
			log.Error("give the home back", "error", err)
		}
	}()
	st, err := store.Open(dir.Store(), store.Options{Guard: lease.Guard, Live: api.Live})
	if err != nil {
		return err
	}
	defer func() {
		if err := st.Close(); err != nil {
			log.Error("close the store", "error", err)
		}
	}()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find benchd's own executable: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	manager, err := controllers.New(controllers.Config{
		Store: st, Admit: func(obj api.Object) field.ErrorList { return admitStored(st)(obj, nil) }, Home: string(dir), Binary: self, Version: version, Guard: lease.Guard, NewCluster: openCluster, Log: log, Registerer: registry,
	})
	if err != nil {
		return err
	}
	apiServer := server.New(server.Options{Store: st, Version: version, Registry: registry, Log: log, Admit: admitStored(st), Nodes: manager.Nodes()})
	return runTogether(ctx, log, dir, o, apiServer, manager, lease)
}

func runTogether(ctx context.Context, log *slog.Logger, dir home.Dir, o serveOptions, apiServer *server.Server, manager *controllers.Manager, lease *home.Lease) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listener, err := server.ListenUnix(dir.Socket(), true)
	if err != nil {
		return err
	}
	parts := []func(context.Context) error{
		func(ctx context.Context) error { return apiServer.ServeUnix(ctx, listener) },
		manager.Run,
		lease.Watch,
	}
	if o.listen != "" {
		credentials, err := server.MakeCredentials(filepath.Join(string(dir), "tls"), "https://"+o.listen)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", o.listen)
		if err != nil {
			return errors.Join(fmt.Errorf("listen on %s: %w", o.listen, err), listener.Close())
		}
		log.Info("serving TLS", "address", l.Addr().String(), "kubeconfig", credentials.Kubeconfig)
		parts = append(parts, func(ctx context.Context) error {
			return apiServer.ServeTLS(ctx, l, credentials.CertFile, credentials.KeyFile, credentials.Token)
		})
	}
	log.Info("control plane is up", "home", string(dir), "socket", dir.Socket(), "version", version)
	errs := make(chan error, len(parts))
	for _, part := range parts {
		go func() {
			err := part(ctx)
			cancel()
			errs <- err
		}()
	}
	var all error
	for range parts {
		all = errors.Join(all, <-errs)
	}
	log.Info("control plane is down")
	return all
}

// startTimeout is how long a control plane in the background may take until it answers.
const startTimeout = 15 * time.Second

// detach starts a control plane in the background and waits until it answers.
func detach(ctx context.Context, dir home.Dir, o serveOptions, say func(string, ...any)) error {
	if c, err := connect(dir); err == nil && !o.takeOver && c.Ready(ctx) == nil {
		owner, err := dir.Owner()
		if err == nil && o.listen != "" && owner.URL != "https://"+o.listen {
			return fmt.Errorf("a control plane runs already (process %d), and does not listen on %s: end it with `benchd stop` first; jobs go on", owner.PID, o.listen)
		}
		say("control plane runs already (process %d, log %s)", owner.PID, dir.Log())
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find benchd's own executable: %w", err)
	}
	log, err := os.OpenFile(dir.Log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start a control plane: %w", err)
	}
	defer log.Close()
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("start a control plane: %w", err)
	}
	args := []string{"serve", "--home", string(dir)}
	if o.listen != "" {
		args = append(args, "--listen", o.listen)
	}
	if o.takeOver {
		args = append(args, "--take-over")
	}
	child := exec.Command(self, args...)
	child.Dir = "/"
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start a control plane: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := connect(dir); err == nil && c.Ready(ctx) == nil {
			owner, err := dir.Owner()
			say("control plane started in the background (process %d, log %s)", owner.PID, dir.Log())
			return err
		}
		select {
		case err := <-ended:
			// Another one may have been quicker: then it is the one that is waited for.
			if owner, ownerErr := dir.Owner(); ownerErr != nil || !owner.Alive() {
				return fmt.Errorf("start a control plane: it ended at once (%w): %s", err, said(dir.Log(), before))
			}
			ended = nil
		case <-ctx.Done():
			return fmt.Errorf("start a control plane: it does not answer after %s: see %s", startTimeout, dir.Log())
		case <-tick.C:
		}
	}
}

// said is what a log has gained since an offset.
func said(path string, since int64) string {
	data, err := os.ReadFile(path)
	if err != nil || since > int64(len(data)) {
		return "see " + path
	}
	return strings.TrimSpace(string(data[since:]))
}
