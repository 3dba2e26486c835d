package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/home"
)

// connect returns a client of the home's control plane. Whether it answers is found out by the first call.
func connect(dir home.Dir) (*client.Client, error) {
	owner, err := dir.Owner()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	socket := dir.Socket()
	if err == nil && owner.PID != 0 && !owner.Here() {
		return nil, exitError{exitNoServer, fmt.Errorf("the control plane of %s runs on host %s (process %d): run benchd there", dir, owner.Host, owner.PID)}
	}
	return client.New(client.Endpoint{Socket: socket})
}

// connectRunning connects to a control plane that is to be there already.
func connectRunning(ctx context.Context, named string) (*client.Client, error) {
	dir, err := home.Locate(named)
	if err != nil {
		return nil, err
	}
	c, err := connect(dir)
	if err != nil {
		return nil, err
	}
	if err := c.Ready(ctx); errors.Is(err, client.ErrNoServer) {
		return nil, exitError{exitNoServer, fmt.Errorf("no control plane answers for %s: start one with `benchd serve --detach`", dir)}
	}
	return c, nil
}

// connectOrStart connects, and starts a control plane in the background where none answers.
func connectOrStart(ctx context.Context, named string, say func(string, ...any)) (*client.Client, home.Dir, error) {
	dir, err := home.Locate(named)
	if err != nil {
		return nil, "", err
	}
	c, err := connect(dir)
	if err != nil {
		return nil, dir, err
	}
	if err := c.Ready(ctx); !errors.Is(err, client.ErrNoServer) {
		return c, dir, nil
	}
	return c, dir, detach(ctx, dir, serveOptions{}, say)
}
