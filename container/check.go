package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// A Problem is something that a container needs and that is not there. It is an error of the user's.
type Problem struct {
	// Reason is a stable word.
	Reason string
	// Field of the spec that names what is missing, such as container.image.
	Field string
	// Text says what was looked for, what was seen and what to do.
	Text string
}

var _ error = (*Problem)(nil)

func (p *Problem) Error() string { return p.Text }

// Reasons of a Problem.
const (
	ReasonRuntimeMissing = "ContainerRuntimeMissing"
	ReasonImageMissing   = "ContainerImageMissing"
	ReasonBindMissing    = "BindSourceMissing"
)

// Program is the executable of a runtime.
func Program(r api.Runtime) string {
	switch r {
	case api.RuntimeCharliecloud:
		return "ch-run"
	case api.RuntimePyxis:
		return "srun"
	}
	return string(r)
}

// CheckRuntime looks for the runtime's program on this machine's PATH.
func CheckRuntime(spec *api.ContainerSpec) *Problem {
	if spec.Runtime == api.RuntimeNone {
		return nil
	}
	if _, err := exec.LookPath(Program(spec.Runtime)); err != nil {
		return &Problem{ReasonRuntimeMissing, "container.runtime", fmt.Sprintf(
			"the container runtime %s is not to be found: %s is not on PATH; name the module that brings it in slurm.modules, or choose another container.runtime", spec.Runtime, Program(spec.Runtime))}
	}
	return nil
}

// CheckImage looks for the image on this machine. References are looked up by those runtimes that keep a store of their own;
// others would fetch the image anew on each node, so it has to be pulled to a file first.
func CheckImage(spec *api.ContainerSpec) *Problem {
	missing := func(format string, args ...any) *Problem {
		return &Problem{ReasonImageMissing, "container.image", fmt.Sprintf(format, args...)}
	}
	image := Local(spec.Image)
	switch {
	case spec.Runtime == api.RuntimeNone:
		return nil
	case spec.Runtime == api.RuntimePyxis && IsReference(image):
		return nil // srun fetches it
	case spec.Runtime == api.RuntimePodman && !filepath.IsAbs(image):
		name := strings.TrimPrefix(image, "docker://")
		if err := exec.Command("podman", "image", "exists", name).Run(); err != nil {
			return missing("image %s is not in podman's store on this machine (`podman image exists`: %v): `benchd image pull %s --runtime podman` fetches it", name, err, spec.Image)
		}
		return nil
	case IsReference(image):
		return missing("image %s was not pulled: `benchd image pull %s --runtime %s` fetches it once for all nodes and says what to write into container.image", image, image, spec.Runtime)
	}
	_, err := os.Stat(image)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return missing("image %s does not exist%s", image, neighbours(image))
	case err != nil:
		return missing("image %s cannot be read: %v", image, err)
	}
	return nil
}

// neighbours names the images beside one that is not there.
func neighbours(image string) string {
	entries, err := os.ReadDir(filepath.Dir(image))
	if err != nil {
		return fmt.Sprintf(", nor can its folder be read (%v): correct the path, or `benchd image pull` it", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() || slices.Contains([]string{".sif", ".sqsh", ".tar", ".img"}, filepath.Ext(e.Name())) {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return ", and its folder holds no image: `benchd image pull` fetches one"
	}
	return "; its folder holds " + strings.Join(names[:min(len(names), 10)], ", ")
}

// CheckBinds looks for the sources of mounts on this machine.
func CheckBinds(binds []string) *Problem {
	for _, bind := range binds {
		source, _, mode := SplitBind(bind)
		info, err := os.Stat(source)
		if err != nil {
			return &Problem{ReasonBindMissing, "container.binds", fmt.Sprintf("the source of bind %q cannot be mounted: %v; make it, or correct the bind", bind, err)}
		}
		if (mode == "" || mode == "rw") && info.IsDir() {
			if err := unix.Access(source, unix.W_OK|unix.X_OK); err != nil {
				return &Problem{ReasonBindMissing, "container.binds", fmt.Sprintf("bind %q is to be written to, and %s cannot be (%v): correct its permissions, or bind it with :ro", bind, source, err)}
			}
		}
	}
	return nil
}
