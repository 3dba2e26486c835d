package main

// The personality `python3`: the three ways in which an interpreter is asked to start an inference server.

import (
	"context"
	"path/filepath"
	"strings"
)

// runPython plays `python3`.
func runPython(ctx context.Context, c *call) int {
	args := c.args
	for len(args) > 0 && (args[0] == "-u" || args[0] == "-I") {
		args = args[1:]
	}
	switch {
	case len(args) > 1 && args[0] == "-m" && args[1] == "sglang.launch_server":
		return c.sglangServe(ctx, "launch_server.py", args[2:])
	case len(args) > 1 && args[0] == "-m" && args[1] == "vllm.entrypoints.openai.api_server":
		return c.vllmServe(ctx, args[2:], false)
	case len(args) > 0 && filepath.Base(args[0]) == "main.py" && !strings.HasPrefix(args[0], "-"):
		return c.tritonServe(ctx, args[1:])
	case len(args) > 1 && args[0] == "-m":
		return c.errorf("%s: No module named %s", c.name, args[1])
	case len(args) > 0:
		c.errorf("%s: can't open file %s: [Errno 2] No such file or directory", c.name, quotePython(args[0]))
		return exitUsage
	}
	return c.errorf("standin: there is no interpreter here")
}
