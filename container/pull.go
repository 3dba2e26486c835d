package container

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Pull is how an image is fetched.
type Pull struct {
	// Program is the runtime's that does it, Args the command.
	Program string
	Args    []string
	// Target is the file or folder that the image becomes; empty for a runtime with a store of its own.
	Target string
	// Partial is what the command writes; it becomes Target when the command has succeeded.
	Partial string
}

// reference is a registry, a name and a tag or digest, as in docker://ollama/ollama:latest.
var reference = regexp.MustCompile(`^(docker|oras|library)://[A-Za-z0-9][A-Za-z0-9._:@/+-]*$`)

var notInFileNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// PlanPull says how a runtime fetches an image into a folder.
func PlanPull(runtime api.Runtime, ref, dir string) (Pull, error) {
	if !reference.MatchString(ref) {
		return Pull{}, fmt.Errorf("%q is no reference to an image: write one such as docker://ollama/ollama:latest", ref)
	}
	scheme, name, _ := strings.Cut(ref, "://")
	if scheme != "docker" && runtime != api.RuntimeApptainer && runtime != api.RuntimeSingularity {
		return Pull{}, fmt.Errorf("%s fetches docker:// references alone, not %s", runtime, ref)
	}
	file := notInFileNames.ReplaceAllString(name, "_")
	part := func(suffix string) (target, partial string) {
		return filepath.Join(dir, file+suffix), filepath.Join(dir, "."+file+".part"+suffix)
	}
	switch runtime {
	case api.RuntimeApptainer, api.RuntimeSingularity:
		target, partial := part(".sif")
		return Pull{Program: string(runtime), Args: []string{string(runtime), "pull", "--force", partial, ref}, Target: target, Partial: partial}, nil
	case api.RuntimeCharliecloud:
		// ch-image keeps images in a store of its own; the folder that ch-run takes is made of it.
		target, partial := part("")
		script := `set -e; ch-image pull "$1"; rm -rf "$2"; exec ch-convert -o dir "$1" "$2"`
		return Pull{Program: "ch-image", Args: []string{"sh", "-c", script, "pull", name, partial}, Target: target, Partial: partial}, nil
	case api.RuntimePyxis:
		target, partial := part(".sqsh")
		return Pull{Program: "enroot", Args: []string{"enroot", "import", "--output", partial, pyxisImage(ref)}, Target: target, Partial: partial}, nil
	case api.RuntimePodman:
		return Pull{Program: "podman", Args: []string{"podman", "pull", name}}, nil
	}
	return Pull{}, fmt.Errorf("images are fetched by apptainer, singularity, charliecloud, pyxis or podman, not by %q", runtime)
}
