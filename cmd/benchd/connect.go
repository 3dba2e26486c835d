package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
		if owner.URL != "" {
			return connectRemote(dir, owner.URL)
		}
		return nil, exitError{exitNoServer, fmt.Errorf("the control plane of %s runs on host %s (process %d) and listens there alone: run benchd there, or start it with --listen", dir, owner.Host, owner.PID)}
	}
	return client.New(client.Endpoint{Socket: socket})
}

// connectRemote connects to a control plane on another host, with the credentials that it left in the home.
func connectRemote(dir home.Dir, url string) (*client.Client, error) {
	folder := filepath.Join(string(dir), "tls")
	token, err := os.ReadFile(filepath.Join(folder, "token"))
	if err != nil {
		return nil, fmt.Errorf("read the token of the control plane at %s: %w", url, err)
	}
	return client.New(client.Endpoint{URL: url, Token: strings.TrimSpace(string(token)), CAFile: filepath.Join(folder, "tls.crt")})
}

// noAnswer says where a control plane was looked for.
func noAnswer(dir home.Dir) error {
	if owner, err := dir.Owner(); err == nil && owner.PID != 0 && !owner.Here() {
		return exitError{exitNoServer, fmt.Errorf("the control plane of %s was started on host %s and does not answer at %s: if it is gone, `benchd serve --take-over` takes the home over", dir, owner.Host, owner.URL)}
	}
	return exitError{exitNoServer, fmt.Errorf("no control plane answers for %s: start one with `benchd serve --detach`", dir)}
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
		return nil, noAnswer(dir)
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
	if owner, err := dir.Owner(); err == nil && owner.PID != 0 && !owner.Here() {
		return nil, dir, noAnswer(dir)
	}
	return c, dir, detach(ctx, dir, serveOptions{}, say)
}
