package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/container"
	"github.com/benchd/benchd/controllers"
	"github.com/benchd/benchd/services"
	"github.com/benchd/benchd/site"
)

// checkFiles looks on this machine for what the run's servers need. What may be on the nodes alone is a warning here.
func (a *ask) checkFiles(ctx context.Context, f *site.Facts, planeHere bool) []finding {
	if len(a.spec.Service.Endpoints) > 0 {
		return append([]finding{leftOut("servers", "they run already: neither program nor image is needed")}, a.checkSecrets(planeHere)...)
	}
	all := []finding{a.checkRuntime(f.Embedded), a.checkProgram(f.Embedded)}
	const next = "look at the file system by hand: what hangs here will hang for servers"
	all = append(all, within(ctx, checkTimeout, "image", next, func(context.Context) []finding { return []finding{a.checkImage(f.Embedded)} })...)
	all = append(all, within(ctx, checkTimeout, "model", next, func(context.Context) []finding { return []finding{a.checkModel()} })...)
	all = append(all, within(ctx, checkTimeout, "binds", next, func(context.Context) []finding { return []finding{a.checkBinds(f.Embedded)} })...)
	return append(all, within(ctx, checkTimeout, "secrets", next, func(context.Context) []finding { return a.checkSecrets(planeHere) })...)
}

func (a *ask) checkRuntime(embedded bool) finding {
	const check = "runtime"
	c := &a.spec.Container
	if c.Runtime == api.RuntimeNone {
		return found(check, "none is needed: the program is started as it is")
	}
	missing := container.CheckRuntime(c)
	switch {
	case missing == nil:
		return found(check, "%s is on PATH here", container.Program(c.Runtime))
	case embedded:
		return problem(check, "install it, or choose another container.runtime", "%s is not on PATH", container.Program(c.Runtime))
	case len(a.spec.Slurm.Modules) > 0:
		return leftOut(check, "%s is not on PATH here; on nodes a module may bring it (%s): `--node` looks there", container.Program(c.Runtime), listed(a.spec.Slurm.Modules))
	}
	return warning(check, "name the module that brings it in spec.slurm.modules; `--node` looks whether nodes have it", "%s is not on PATH here", container.Program(c.Runtime))
}

// program is the executable of the service's server itself, or why it is not known.
func (a *ask) program() (string, error) {
	service, err := services.Of(&a.spec.Service)
	if err != nil {
		return "", err
	}
	if len(a.manifest.Replicas) == 0 {
		return "", fmt.Errorf("the run has no servers")
	}
	r := a.manifest.Replicas[0]
	addresses := make([]string, len(r.Ranks))
	for i := range addresses {
		addresses[i] = "127.0.0.1" // only the program's name is of interest
	}
	processes, err := service.Launch(services.Launch{
		Binary: ownBinary, Spec: a.spec.Service, Address: addresses[0], Port: r.Port, GPUs: r.GPUs, CPUs: a.manifest.CPUs, Replica: r.Name, Nodes: addresses,
	})
	if err != nil || len(processes) == 0 {
		return "", fmt.Errorf("find out the service's program: %w", err)
	}
	return processes[len(processes)-1].Args[0], nil
}

// ownBinary stands for benchd itself, which plays some servers.
const ownBinary = "benchd itself"

func (a *ask) simulated() bool {
	name, err := a.program()
	return err == nil && name == ownBinary
}

func (a *ask) checkProgram(embedded bool) finding {
	const check = "program"
	if a.spec.Container.Runtime != api.RuntimeNone {
		return leftOut(check, "it is in the image")
	}
	name, err := a.program()
	switch {
	case err != nil:
		return problem(check, "correct spec.service", "%v", err)
	case name == ownBinary:
		return found(check, "%s", name)
	}
	if path := findProgram(name, a.spec.Container.Path); path != "" {
		return found(check, "%s", path)
	}
	next := "name the module that brings it in spec.slurm.modules, the folder that holds it in spec.container.path, or an image and a runtime in spec.container"
	switch {
	case embedded:
		return problem(check, next, "%s is not on PATH, nor in container.path", name)
	case len(a.spec.Slurm.Modules) > 0:
		return leftOut(check, "%s is not on PATH here; on nodes a module may bring it (%s): `--node` looks there", name, listed(a.spec.Slurm.Modules))
	case a.node:
		return leftOut(check, "%s is not on PATH here; what the node says counts", name)
	}
	return problem(check, next+"; `--node` looks whether nodes have it", "%s is not on PATH here, nor in container.path, and the run names no module", name)
}

// findProgram looks for a program in folders, then on PATH; empty when there is none.
func findProgram(name string, folders []string) string {
	for _, folder := range folders {
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

func (a *ask) checkImage(embedded bool) finding {
	const check = "image"
	c := &a.spec.Container
	switch {
	case c.Runtime == api.RuntimeNone:
		return leftOut(check, "none is needed")
	case c.Runtime == api.RuntimePodman && !embedded:
		return leftOut(check, "podman's store is each node's own: `--node` looks there")
	}
	if missing := container.CheckImage(c); missing != nil {
		return problem(check, "correct spec."+missing.Field+", or fetch the image", "%s", missing.Text)
	}
	return found(check, "%s", c.Image)
}

// checkModel looks for a model that is a file or folder. One that is a name, the server fetches itself.
func (a *ask) checkModel() finding {
	const check = "model"
	model, c := a.spec.Service.Model, &a.spec.Container
	switch {
	case model == "":
		return leftOut(check, "the service needs none")
	case !filepath.IsAbs(model) && a.simulated():
		return leftOut(check, "none is loaded: the service is simulated")
	case !filepath.IsAbs(model):
		return leftOut(check, "%s is a name: the server looks it up, or fetches it where nodes reach the internet", model)
	}
	path, bound := model, false
	for _, bind := range c.Binds {
		source, destination, _ := container.SplitBind(bind)
		if rest, inside := strings.CutPrefix(model, destination); inside && (rest == "" || rest[0] == '/') {
			path, bound = source+rest, true
		}
	}
	_, err := os.Stat(path)
	switch {
	case err != nil && (bound || c.Runtime != api.RuntimeNone):
		return warning(check, "correct spec.service.model or the bind; it may be on the nodes, or in the image, alone: `--node` looks at binds there", "%s is not seen here: %v", model, err)
	case err != nil:
		return problem(check, "correct spec.service.model: nodes look for it under the same path", "%v", err)
	case c.Runtime != api.RuntimeNone && !bound:
		return warning(check, "bind its folder in spec.container.binds, for not every runtime shows the container the machine's own folders", "%s is there, and no bind brings it into the container", model)
	}
	return found(check, "%s", path)
}

func (a *ask) checkBinds(embedded bool) finding {
	const check = "binds"
	c := &a.spec.Container
	if len(c.Binds) == 0 || c.Runtime == api.RuntimeNone {
		return leftOut(check, "the run has none")
	}
	if missing := container.CheckBinds(c.Binds); missing != nil {
		if embedded {
			return problem(check, "correct spec.container.binds", "%s", missing.Text)
		}
		return warning(check, "correct spec.container.binds; a folder may be on the nodes alone: `--node` looks there", "%s", missing.Text)
	}
	return found(check, "%s", listed(c.Binds))
}

// checkSecrets looks whether the secrets that a run names can be had, by the function that the control plane uses. Of a secret
// nothing but its being there is told.
func (a *ask) checkSecrets(planeHere bool) []finding {
	refs := map[string]api.SecretSource{}
	for name, ref := range a.spec.Container.Secrets {
		refs["spec.container.secrets["+name+"]"] = ref
	}
	if key := a.spec.Service.APIKey; key != nil {
		refs["spec.service.apiKey"] = *key
	}
	if p := a.spec.Monitoring.Pushgateway; p != nil && p.AuthorizationFile != "" {
		refs["spec.monitoring.pushgateway.authorizationFile"] = api.SecretSource{File: p.AuthorizationFile}
	}
	if f := a.logging.Forward; f != nil && f.AuthorizationFile != "" {
		refs["spec.logging.forward.authorizationFile"] = api.SecretSource{File: f.AuthorizationFile}
	}
	if len(refs) == 0 {
		return []finding{leftOut("secrets", "the run names none")}
	}
	all := make([]finding, 0, len(refs))
	for _, field := range slices.Sorted(maps.Keys(refs)) {
		ref := refs[field]
		err := controllers.CheckSecret(field, &ref)
		switch {
		case err == nil && ref.Env != "":
			all = append(all, found("secrets", "%s: the variable %s is set here; the control plane has what was set when it started", field, ref.Env))
		case err == nil:
			all = append(all, found("secrets", "%s: %s, which its owner alone can read", field, ref.File))
		case ref.Env != "" && os.Getenv(ref.Env) != "":
			all = append(all, problem("secrets", "keep it on a single line", "%v", err))
		case ref.Env != "" && planeHere:
			all = append(all, warning("secrets", "when the control plane was started without it: export it, `benchd stop`, and `benchd serve --detach`", "%s: the variable %s is not set here", field, ref.Env))
		case ref.Env != "":
			all = append(all, problem("secrets", "export it before the control plane starts, or keep the secret in a file", "%s: the variable %s is not set", field, ref.Env))
		default:
			all = append(all, problem("secrets", "keep it on a line of its own in a file of mode 0600", "%v", err))
		}
	}
	return all
}
