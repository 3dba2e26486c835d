package v1alpha1

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateContainer(c *ContainerSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !slices.Contains(Runtimes(), c.Runtime) {
		errs = append(errs, field.NotSupported(at.Child("runtime"), clip(c.Runtime), Runtimes()))
	}
	if g := c.GPU; g != "" && g != GPUNvidia && g != GPUAMD && g != GPUNone {
		errs = append(errs, field.NotSupported(at.Child("gpu"), clip(g), []GPUVendor{GPUNvidia, GPUAMD, GPUNone}))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		if !envName.MatchString(name) {
			errs = append(errs, field.Invalid(at.Child("env"), clip(name), "use letters, digits and underscores"))
		}
		if _, secret := c.Secrets[name]; secret {
			errs = append(errs, field.Duplicate(at.Child("secrets").Key(clip(name)), clip(name)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		if !envName.MatchString(name) {
			errs = append(errs, field.Invalid(at.Child("secrets"), clip(name), "use letters, digits and underscores"))
		}
		ref := c.Secrets[name]
		errs = append(errs, validateSecret(&ref, at.Child("secrets").Key(clip(name)))...)
	}
	for i, bind := range c.Binds {
		errs = append(errs, validateBind(c.Runtime, bind, at.Child("binds").Index(i))...)
	}
	for i, dir := range c.Path {
		if !path.IsAbs(dir) || strings.Contains(dir, ":") {
			errs = append(errs, field.Invalid(at.Child("path").Index(i), clip(dir), "use an absolute path, such as a virtual environment's bin folder"))
		}
	}
	return append(errs, validateImage(c, at)...)
}

// validateImage checks what belongs to a runtime, and what to none.
func validateImage(c *ContainerSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Runtime == RuntimeNone {
		if c.Image != "" || len(c.Binds) > 0 || len(c.Args) > 0 || c.GPU != "" {
			errs = append(errs, field.Forbidden(at, "image, binds, gpu and args need a container runtime, and runtime is none"))
		}
		return errs
	}
	if len(c.Path) > 0 {
		errs = append(errs, field.Forbidden(at.Child("path"), "is for programs of the node (runtime none): an image has a PATH of its own"))
	}
	if c.Image == "" {
		return errs // a template may name one; what is missing is found before the job is submitted
	}
	return append(errs, validateImageName(c.Image, c.Runtime, at.Child("image"))...)
}

func validateImageName(image string, runtime Runtime, at *field.Path) field.ErrorList {
	scheme, _, isReference := strings.Cut(image, "://")
	hint := ""
	switch {
	case isReference && scheme != "docker" && scheme != "oras" && scheme != "library" && scheme != "file":
		hint = "use a path, or a reference such as docker://ollama/ollama:latest"
	case !isReference && !path.IsAbs(image) && runtime != RuntimePodman:
		hint = "use an absolute path, for jobs run in folders of their own, or a reference such as docker://ollama/ollama:latest"
	case strings.HasPrefix(image, "-"):
		hint = "would be taken for an option"
	default:
		return nil
	}
	return field.ErrorList{field.Invalid(at, clip(image), hint)}
}

func validateBind(runtime Runtime, bind string, at *field.Path) field.ErrorList {
	wrong := func(hint string) field.ErrorList { return field.ErrorList{field.Invalid(at, clip(bind), hint)} }
	parts := strings.Split(bind, ":")
	switch {
	case len(parts) > 3 || !path.IsAbs(parts[0]) || len(parts) > 1 && !path.IsAbs(parts[1]):
		return wrong("use source:destination[:mode] with absolute paths, such as /project/models:/models:ro")
	case strings.Contains(bind, ","):
		return wrong("a comma would begin another bind: give each its own line")
	case len(parts) == 3 && parts[2] != "rw" && parts[2] != "ro":
		return wrong(fmt.Sprintf("mode %q is not known: use rw or ro", clip(parts[2])))
	case len(parts) == 3 && parts[2] == "ro" && runtime == RuntimeCharliecloud:
		return wrong("charliecloud mounts for writing alone: leave the mode out")
	}
	return nil
}

func validateSecret(s *SecretSource, at *field.Path) field.ErrorList {
	switch {
	case (s.Env == "") == (s.File == ""):
		return field.ErrorList{field.Invalid(at, "", "say where the secret is kept: env, the name of a variable of the control plane's environment, or file, a path; not the secret itself")}
	case s.Env != "" && !envName.MatchString(s.Env):
		// What stands there may be the secret: it is not repeated.
		return field.ErrorList{field.Invalid(at.Child("env"), field.OmitValueType{}, "is not the name of a variable: name the variable that holds the secret, not the secret itself")}
	case s.File != "" && !path.IsAbs(s.File):
		return field.ErrorList{field.Invalid(at.Child("file"), field.OmitValueType{}, "use the absolute path of a file of mode 0600")}
	}
	return nil
}

func validateTemplate(t *ServiceTemplateSpec, at *field.Path) field.ErrorList {
	errs := validateRange(int64(t.Port), 1024, 65000, at.Child("port"))
	if len(t.Command) == 0 || t.Command[0] == "" {
		errs = append(errs, field.Required(at.Child("command"), "write the argument list that starts a server, such as [my-server, --port, $(port)]"))
	}
	for _, p := range []struct {
		name, value string
		needed      bool
	}{{"healthPath", t.HealthPath, true}, {"versionPath", t.VersionPath, false}, {"metricsPath", t.MetricsPath, false}} {
		if (p.needed || p.value != "") && !urlPath.MatchString(p.value) {
			errs = append(errs, field.Invalid(at.Child(p.name), clip(p.value), "use a path such as /health"))
		}
	}
	for name := range t.Env {
		if !envName.MatchString(name) {
			errs = append(errs, field.Invalid(at.Child("env"), clip(name), "use letters, digits and underscores"))
		}
	}
	if t.API != "" && !slices.Contains(APIs(), t.API) {
		errs = append(errs, field.NotSupported(at.Child("api"), clip(t.API), APIs()))
	}
	return errs
}
