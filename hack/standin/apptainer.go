package main

// The personalities `apptainer` and `singularity`.
//
// Sources: apptainer.org, user guide 1.3, "exec" and "Environment and Metadata", and the command's own help. Only `exec` is played,
// and only the options that benchd and its users are likely to give; any other one is refused.
//
// There is no isolation: the program sees the whole machine, and binds are looked at and not mounted. What is inside an "image" are
// the stand-ins. Not verified: the exact texts of refusals.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const apptainerVersion = "1.3.4"

// apptainerSwitches and apptainerValues are the options of `exec` that take no value, and those that take one.
var (
	apptainerSwitches = []string{"--cleanenv", "-e", "--nv", "--rocm", "--no-home", "--contain", "-c", "--containall", "-C", "--writable-tmpfs", "--compat"}
	apptainerValues   = []string{"--bind", "-B", "--env", "--env-file", "--home", "-H", "--pwd", "--cwd", "--overlay", "--no-mount"}
)

// containerExec is what a command line of exec asks for.
type containerExec struct {
	cleanEnv bool
	binds    []string
	image    string
	command  []string
}

func runApptainer(_ context.Context, c *call) int {
	if len(c.args) == 1 && c.args[0] == "--version" {
		fmt.Fprintf(c.stdout, "%s version %s\n", c.name, apptainerVersion)
		return exitOK
	}
	if len(c.args) == 0 || c.args[0] != "exec" {
		return c.errorf("Error for command %q: unknown command %q for %q", c.name, strings.Join(c.args, " "), c.name)
	}
	e, err := parseExec(c.args[1:])
	if err != nil {
		return c.errorf("Error for command \"exec\": %v", err)
	}
	if _, err := os.Stat(e.image); err != nil {
		c.errorf("FATAL:   could not open image %s: %v", e.image, errors.Unwrap(err))
		return 255
	}
	for _, bind := range e.binds {
		source, _, _ := strings.Cut(bind, ":")
		if _, err := os.Stat(source); err != nil {
			c.errorf("FATAL:   container creation failed: mount %s->%s error: while mounting %s: mount source %s doesn't exist", source, source, source, source)
			return 255
		}
	}
	return c.enter(e)
}

func parseExec(args []string) (containerExec, error) {
	var e containerExec
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		name, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		switch {
		case contains(apptainerSwitches, name) && !joined:
			e.cleanEnv = e.cleanEnv || name == "--cleanenv" || name == "-e"
			continue
		case !contains(apptainerValues, name):
			return e, fmt.Errorf("unknown flag: %s", name)
		case !joined && len(args) == 0:
			return e, fmt.Errorf("flag needs an argument: %s", name)
		case !joined:
			value, args = args[0], args[1:]
		}
		if name == "--bind" || name == "-B" {
			for _, bind := range strings.Split(value, ",") {
				parts := strings.Split(bind, ":")
				if len(parts) > 3 || len(parts) == 3 && parts[2] != "ro" && parts[2] != "rw" {
					return e, fmt.Errorf("while parsing bind path: invalid bind %q", bind)
				}
				e.binds = append(e.binds, bind)
			}
		}
	}
	if len(args) < 2 {
		return e, errors.New("requires at least 2 arg(s), only received " + fmt.Sprint(len(args)))
	}
	e.image, e.command = args[0], args[1:]
	return e, nil
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

// enter becomes the command, which has to be one of the stand-ins: an image holds nothing else. The environment is the node's, or
// none of it, and what has the runtime's prefix.
func (c *call) enter(e containerExec) int {
	name := filepath.Base(e.command[0])
	if _, known := find(name); !known {
		c.errorf("FATAL:   %q: executable file not found in $PATH", e.command[0])
		return 255
	}
	prefix := strings.ToUpper(c.name) + "ENV_"
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + os.Getenv("HOME"), "USER=" + os.Getenv("USER")}
	for _, pair := range os.Environ() {
		own, isOwn := strings.CutPrefix(pair, prefix)
		switch {
		case isOwn:
			env = append(env, own)
		case !e.cleanEnv, strings.HasPrefix(pair, "STANDIN_"):
			env = append(env, pair)
		}
	}
	self, err := os.Executable()
	if err == nil {
		err = syscall.Exec(self, append([]string{name}, e.command[1:]...), env)
	}
	return c.errorf("FATAL:   exec %s failed: %v", e.command[0], err)
}
