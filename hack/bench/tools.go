package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A tool is a program that is run, or the reason why it cannot be.
type tool struct {
	path string
	err  error
}

// modules are the peers that are built from Go modules, at the versions of go.mod. fortio stays at 1.68: later releases
// link an interpreter whose module not every proxy hands out.
var modules = map[string]string{
	"vegeta": "github.com/tsenart/vegeta/v12",
	"fortio": "fortio.org/fortio",
}

// tool returns the path of a program, or why there is none. It is built or looked up when it is first wanted.
func (b *bench) tool(ctx context.Context, name string) (string, error) {
	t, ok := b.tools[name]
	if !ok {
		t = b.find(ctx, name)
		b.tools[name] = t
	}
	return t.path, t.err
}

// find builds or looks up a program.
func (b *bench) find(ctx context.Context, name string) tool {
	switch name {
	case "benchd":
		return found(b.benchdPath)
	case "reader", "server":
		return b.compile(ctx, name)
	case "vegeta", "fortio":
		return b.build(ctx, name, modules[name])
	}
	t := found(name)
	if t.err != nil {
		t.err = fmt.Errorf("%w: run hack/bench/install as root on Debian", t.err)
	}
	return t
}

// found looks a program up.
func found(name string) tool {
	path, err := exec.LookPath(name)
	if err != nil {
		return tool{err: err}
	}
	path, err = filepath.Abs(path)
	return tool{path, err}
}

// compile compiles one of our C programs into the temporary folder.
func (b *bench) compile(ctx context.Context, name string) tool {
	out := filepath.Join(b.dir, name)
	return built(out, exec.CommandContext(ctx, "gcc", "-O2", "-Wall", "-o", out, filepath.Join(b.source, name+".c")))
}

// build builds a Go program of go.mod into the temporary folder.
func (b *bench) build(ctx context.Context, name, pkg string) tool {
	out := filepath.Join(b.dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	cmd.Dir = b.source
	return built(out, cmd)
}

// built runs a compiler.
func built(out string, cmd *exec.Cmd) tool {
	if text, err := cmd.CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		return tool{err: fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, first)}
	}
	return tool{path: out}
}

// newDir makes an empty folder below the temporary one.
func (b *bench) newDir(name string) (string, error) {
	return os.MkdirTemp(b.dir, name+"-")
}
