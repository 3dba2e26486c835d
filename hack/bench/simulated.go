package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/benchd/benchd/simulate"
)

// simulateCommand is the first argument with which this program is a simulated server: the one of `benchd simulate`,
// with the times of all chunks in its log, and the same whichever benchd is measured.
const simulateCommand = "simulate"

// simSettings are the settings of simulate.Config that matter here, under its names.
type simSettings struct {
	TTFT        time.Duration `json:"ttft"`
	ITL         time.Duration `json:"itl"`
	WriteChunks int           `json:"writeChunks,omitempty"` // so many events in one write
	LogChunks   bool          `json:"logChunks,omitempty"`
}

// none is the shortest time of a simulated server: as fast as it goes.
const none = time.Nanosecond

// serveSimulated is a simulated server until it is told to end. Its arguments: address, settings, log.
func serveSimulated(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want an address, settings and a log, got %q", args)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var config simulate.Config
	settings := json.NewDecoder(bytes.NewReader([]byte(args[1])))
	settings.DisallowUnknownFields()
	if err := settings.Decode(&config); err != nil {
		return fmt.Errorf("the simulated server has no such setting yet: %w", err)
	}
	config.LogPath, config.ShutdownGrace = args[2], time.Second
	server, err := simulate.New(config)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", args[0])
	if err != nil {
		return err
	}
	return server.Serve(ctx, l)
}
