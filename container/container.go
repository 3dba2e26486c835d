// Package container turns a process into one that runs in a container: an argument list of the runtime's, its environment,
// and what can be known to be missing before anything is started. Runtimes are driven by their command lines alone.
package container

import (
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Process is what is to run, and what its node gives it.
type Process struct {
	// Name is unique on the node, for runtimes that name containers.
	Name string
	Args []string
	// Env is what the process needs beside the container's own environment; it may hold secrets.
	Env map[string]string
	// Folder is a private folder of the node (0700) for files of the runtime's.
	Folder string
	// Binds are mounts beside the user's, as source:destination[:mode].
	Binds []string
	// GPUs says that the process is given GPUs.
	GPUs bool
	// Node is the node's name in Slurm, for a runtime that Slurm starts.
	Node string
	// Shared says that several containers of one server have to meet on the node, over /tmp and shared memory.
	Shared bool
}

// Command is the argument list and the environment of a process in its container.
type Command struct {
	Args []string
	Env  map[string]string
	// CleanUp is a command that takes away what a container leaves when its process is killed; none for most runtimes.
	CleanUp []string
}

// passed are variables of the node that a container is given although its environment is its own: which GPUs it may use,
// what its network libraries were told, and how the world outside is reached.
var passed = []string{
	"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "TZ",
}

// passedPrefixes are families of such variables.
var passedPrefixes = []string{"NCCL_", "UCX_", "GLOO_", "RCCL_"}

// Environment is what a contained process gets: the node's variables that concern it, and its own, which win.
func Environment(node []string, own map[string]string) map[string]string {
	env := map[string]string{}
	for _, pair := range node {
		name, value, _ := strings.Cut(pair, "=")
		if slices.Contains(passed, name) || slices.ContainsFunc(passedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			env[name] = value
		}
	}
	maps.Copy(env, own)
	return env
}

// Wrap makes the command that runs a process as the spec says. Values of variables, which may be secrets, never stand in the
// argument list.
func Wrap(spec *api.ContainerSpec, p Process) (Command, error) {
	if spec.Runtime == api.RuntimeCharliecloud {
		if err := writeEnvironment(p); err != nil {
			return Command{}, err
		}
	}
	return Describe(spec, p)
}

// Describe is Wrap without writing anything.
func Describe(spec *api.ContainerSpec, p Process) (Command, error) {
	image := Local(spec.Image)
	switch spec.Runtime {
	case api.RuntimeNone, "":
		return Command{Args: p.Args, Env: p.Env}, nil
	case api.RuntimeApptainer:
		return apptainer("apptainer", "APPTAINERENV_", spec, image, p), nil
	case api.RuntimeSingularity:
		return apptainer("singularity", "SINGULARITYENV_", spec, image, p), nil
	case api.RuntimePodman:
		return podman(spec, image, p), nil
	case api.RuntimeCharliecloud:
		return charliecloud(spec, image, p), nil
	case api.RuntimePyxis:
		return pyxis(spec, image, p), nil
	}
	return Command{}, fmt.Errorf("container runtime %q is not known", spec.Runtime)
}

// Local is a docker:// reference as the path or name under which a runtime finds what was pulled; a path stays as it is.
func Local(image string) string {
	if path, ok := strings.CutPrefix(image, "file://"); ok {
		return path
	}
	return image
}

// IsReference says whether an image is a reference to a registry and not a path.
func IsReference(image string) bool {
	scheme, _, found := strings.Cut(image, "://")
	return found && scheme != "file"
}

// vendor is whose GPUs the process gets.
func vendor(spec *api.ContainerSpec, p *Process) api.GPUVendor {
	switch {
	case !p.GPUs && spec.GPU == "":
		return api.GPUNone
	case spec.GPU == "":
		return api.GPUNvidia
	}
	return spec.GPU
}

// apptainer runs an image file or folder in this process's place. The environment is the image's and what is passed on, so
// that a module or virtual environment of the user's shell does not leak in; it goes by prefixed variables.
func apptainer(program, prefix string, spec *api.ContainerSpec, image string, p Process) Command {
	args := []string{program, "exec", "--cleanenv"}
	switch vendor(spec, &p) {
	case api.GPUNvidia:
		args = append(args, "--nv")
	case api.GPUAMD:
		args = append(args, "--rocm")
	}
	for _, bind := range slices.Concat(spec.Binds, p.Binds) {
		args = append(args, "--bind", bind)
	}
	args = append(args, spec.Args...)
	env := map[string]string{}
	for name, value := range p.Env {
		env[prefix+name] = value
	}
	return Command{Args: append(append(args, image), p.Args...), Env: env}
}

// podman runs an image of this node's store, with the node's network. Without cgroups of its own the container stays in the
// job's, and ends with it. Its processes are children of conmon, which the agent inherits.
func podman(spec *api.ContainerSpec, image string, p Process) Command {
	args := []string{"podman", "run", "--rm", "--replace", "--name", "benchd-" + p.Name, "--network=host", "--cgroups=disabled", "--pull=never", "--ipc=host", "--entrypoint="}
	switch vendor(spec, &p) {
	case api.GPUNvidia:
		args = append(args, "--device=nvidia.com/gpu=all", "--security-opt=label=disable")
	case api.GPUAMD:
		args = append(args, "--device=/dev/kfd", "--device=/dev/dri", "--security-opt=label=disable", "--group-add=keep-groups")
	}
	for _, bind := range mounts(spec, &p) {
		args = append(args, "--volume="+bind)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		args = append(args, "--env="+name) // the value is taken from podman's own environment
	}
	args = append(args, spec.Args...)
	if path, archive := strings.CutPrefix(image, "docker://"); archive {
		image = path
	} else if strings.HasSuffix(image, ".tar") {
		image = "docker-archive:" + image
	} else if info, err := os.Stat(image); err == nil && info.IsDir() {
		args = append(args, "--rootfs")
		image += ":O" // an overlay, so that no run changes the image
	}
	return Command{
		Args: append(append(args, image), p.Args...), Env: p.Env,
		CleanUp: []string{"podman", "rm", "--force", "--ignore", "--time=0", "benchd-" + p.Name},
	}
}

// charliecloud runs an image folder in this process's place. Variables go by a file that its owner alone can read.
func charliecloud(spec *api.ContainerSpec, image string, p Process) Command {
	args := []string{"ch-run", "--unset-env=*", "--set-env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if own := filepath.Join(image, "ch", "environment"); fileExists(own) {
		args = append(args, "--set-env="+own) // the image's own variables, PATH above all
	}
	args = append(args, "--env-no-expand", "--set-env="+p.environmentFile())
	for _, bind := range slices.Concat(spec.Binds, p.Binds) {
		source, destination, _ := SplitBind(bind)
		args = append(args, "--bind="+source+":"+destination)
	}
	args = append(args, spec.Args...)
	return Command{Args: append(append(args, image, "--"), p.Args...), Env: whoami()}
}

// whoami is what ch-run insists on and a job's environment may lack.
func whoami() map[string]string {
	if os.Getenv("USER") != "" {
		return nil
	}
	me, err := user.Current()
	if err != nil {
		return nil // ch-run will say so
	}
	return map[string]string{"USER": me.Username}
}

func (p *Process) environmentFile() string { return filepath.Join(p.Folder, p.Name+".env") }

// writeEnvironment writes the variables of a process in charliecloud's format: NAME='VALUE', one a line.
func writeEnvironment(p Process) error {
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		if strings.ContainsAny(p.Env[name], "\n") {
			return fmt.Errorf("variable %s holds a line break, which charliecloud's files of variables cannot", name)
		}
		fmt.Fprintf(&lines, "%s='%s'\n", name, p.Env[name])
	}
	if err := os.WriteFile(p.environmentFile(), []byte(lines.String()), 0o600); err != nil {
		return fmt.Errorf("write the container's environment: %w", err)
	}
	return nil
}

// pyxis has Slurm start the container, as a step of the job that runs beside the agent's on this node.
func pyxis(spec *api.ContainerSpec, image string, p Process) Command {
	args := []string{
		"srun", "--overlap", "--nodes=1", "--ntasks=1", "--nodelist=" + p.Node, "--mem=0", "--kill-on-bad-exit=1",
		"--container-image=" + pyxisImage(image), "--no-container-mount-home",
	}
	var cleanUp []string
	if p.Shared {
		name := filepath.Base(p.Folder) // the server's own: a container of this name that is there already would be used in place of the image
		args = append(args, "--container-name="+name)
		cleanUp = []string{"enroot", "remove", "--force", "pyxis_" + name}
	}
	if binds := mounts(spec, &p); len(binds) > 0 {
		args = append(args, "--container-mounts="+strings.Join(binds, ","))
	}
	if len(p.Env) > 0 {
		// A step inherits the environment; the names say that it wins over the image's.
		args = append(args, "--container-env="+strings.Join(slices.Sorted(maps.Keys(p.Env)), ","))
	}
	args = append(args, spec.Args...)
	return Command{Args: append(args, p.Args...), Env: p.Env, CleanUp: cleanUp}
}

// pyxisImage writes a reference as enroot does: the registry's host ends with a number sign.
func pyxisImage(image string) string {
	rest, isReference := strings.CutPrefix(image, "docker://")
	if !isReference {
		return image
	}
	host, name, hasHost := strings.Cut(rest, "/")
	if hasHost && strings.ContainsAny(host, ".:") {
		return "docker://" + host + "#" + name
	}
	return image
}

// mounts are all binds, each with its destination: podman would take a lone path for a new volume.
func mounts(spec *api.ContainerSpec, p *Process) []string {
	var all []string
	for _, bind := range slices.Concat(spec.Binds, p.Binds) {
		source, destination, mode := SplitBind(bind)
		whole := source + ":" + destination
		if mode != "" {
			whole += ":" + mode
		}
		all = append(all, whole)
	}
	return all
}

// SplitBind takes a bind apart. The destination is the source where none is named, the mode empty where none is.
func SplitBind(bind string) (source, destination, mode string) {
	parts := strings.SplitN(bind, ":", 3)
	source, destination = parts[0], parts[0]
	if len(parts) > 1 && parts[1] != "" {
		destination = parts[1]
	}
	if len(parts) > 2 {
		mode = parts[2]
	}
	return source, destination, mode
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
