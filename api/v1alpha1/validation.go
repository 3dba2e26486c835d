package v1alpha1

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits on what an object may hold, so that it fits a file name, a command line and a store.
const (
	maxNameLength   = 63
	maxStringLength = 4096
	maxNodes        = 4096
	maxRate         = 1e6
)

// Validate reports everything that is wrong with the shape of an object whose defaults are set. It returns all errors
// at once, each with its field path and what to write instead.
func Validate(obj Object) field.ErrorList {
	errs := validateMeta(obj)
	switch o := obj.(type) {
	case *BenchmarkRun:
		spec := field.NewPath("spec")
		errs = append(errs, validateStrings(reflect.ValueOf(o.Spec), spec)...)
		errs = append(errs, validateRunSpec(&o.Spec, spec)...)
	case *BenchmarkSweep:
		spec := field.NewPath("spec")
		errs = append(errs, validateStrings(reflect.ValueOf(o.Spec), spec)...)
		errs = append(errs, validateSweepSpec(&o.Spec, spec)...)
	case *BenchmarkSchedule:
		spec := field.NewPath("spec")
		errs = append(errs, validateStrings(reflect.ValueOf(o.Spec), spec)...)
		errs = append(errs, validateScheduleSpec(&o.Spec, spec)...)
	case *ServiceTemplate:
		spec := field.NewPath("spec")
		errs = append(errs, validateStrings(reflect.ValueOf(o.Spec), spec)...)
		errs = append(errs, validateTemplate(&o.Spec, spec)...)
	case *Cluster:
		spec := field.NewPath("spec")
		errs = append(errs, validateStrings(reflect.ValueOf(o.Spec), spec)...)
		errs = append(errs, validateClusterSpec(&o.Spec, spec)...)
	}
	return errs
}

// ValidateUpdate reports which changes of a stored object are not allowed. A run that has left Pending can only be
// cancelled or labelled.
func ValidateUpdate(old, updated Object) field.ErrorList {
	var errs field.ErrorList
	before, ok := old.(*BenchmarkRun)
	if !ok {
		return nil
	}
	after, ok := updated.(*BenchmarkRun)
	if !ok {
		return nil
	}
	spec := field.NewPath("spec")
	if before.Spec.Cancel && !after.Spec.Cancel {
		errs = append(errs, field.Forbidden(spec.Child("cancel"), "a cancelled run cannot be brought back: apply it under a new name"))
	}
	if before.Status.Phase == "" || before.Status.Phase == RunPending && before.Status.AllocationRef == nil {
		return errs
	}
	started := after.Spec
	started.Cancel = before.Spec.Cancel
	if !equality.Semantic.DeepEqual(before.Spec, started) {
		errs = append(errs, field.Forbidden(spec, fmt.Sprintf(
			"run %q has started (phase %s): only cancel and labels can change; use a new name, or apply --replace to delete it and start anew",
			before.Name, before.Status.Phase)))
	}
	return errs
}

func validateMeta(obj Object) field.ErrorList {
	var errs field.ErrorList
	meta := field.NewPath("metadata")
	name := obj.GetName()
	switch {
	case name == "":
		errs = append(errs, field.Required(meta.Child("name"), "give the object a name, such as my-first-run"))
	case len(name) > maxNameLength || len(validation.IsDNS1123Label(name)) > 0:
		errs = append(errs, field.Invalid(meta.Child("name"), clip(name),
			"use at most 63 lower-case letters, digits and dashes, beginning and ending with a letter or digit"))
	}
	if ns := obj.GetNamespace(); ns != "" && len(validation.IsDNS1123Label(ns)) > 0 {
		errs = append(errs, field.Invalid(meta.Child("namespace"), clip(ns), "use at most 63 lower-case letters, digits and dashes"))
	}
	errs = append(errs, validateLabels(obj.GetLabels(), meta.Child("labels"))...)
	size := 0
	for key, value := range obj.GetAnnotations() {
		size += len(key) + len(value)
	}
	if size > 256<<10 {
		errs = append(errs, field.TooLong(meta.Child("annotations"), "", 256<<10))
	}
	return errs
}

func validateLabels(labels map[string]string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for key, value := range labels {
		for _, msg := range validation.IsQualifiedName(key) {
			errs = append(errs, field.Invalid(at, clip(key), msg))
		}
		for _, msg := range validation.IsValidLabelValue(value) {
			errs = append(errs, field.Invalid(at.Key(key), clip(value), msg))
		}
	}
	return errs
}

// validateStrings refuses, in every string of a spec, what has no place in a file name, a command line or a report:
// control characters, text that is not UTF-8, and more than 4 KiB.
func validateStrings(v reflect.Value, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch v.Kind() {
	case reflect.String:
		return validateString(v.String(), at)
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return validateStrings(v.Elem(), at)
		}
	case reflect.Slice:
		for i := range v.Len() {
			errs = append(errs, validateStrings(v.Index(i), at.Index(i))...)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			errs = append(errs, validateString(key.String(), at)...)
			errs = append(errs, validateStrings(v.MapIndex(key), at.Key(clip(key.String())))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || name == "" {
				continue
			}
			errs = append(errs, validateStrings(v.Field(i), at.Child(name))...)
		}
	}
	return errs
}

func validateString(s string, at *field.Path) field.ErrorList {
	switch {
	case !utf8.ValidString(s):
		return field.ErrorList{field.Invalid(at, clip(s), "is not UTF-8 text")}
	case len(s) > maxStringLength:
		return field.ErrorList{field.Invalid(at, clip(s), fmt.Sprintf("is %d bytes long, at most %d are allowed", len(s), maxStringLength))}
	case strings.ContainsFunc(s, unicode.IsControl):
		return field.ErrorList{field.Invalid(at, clip(s), "holds a control character (line break, tab, NUL …): remove it")}
	}
	return nil
}

// clip keeps a hostile value from flooding an error message.
func clip[T ~string](s T) T {
	const most = 80
	if len(s) <= most {
		return s
	}
	return T(strings.ToValidUTF8(string(s[:most]), "") + "…")
}

func validateRunSpec(s *BenchmarkRunSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, validateLabelName(s.Cluster, at.Child("cluster"))...)
	errs = append(errs, validateSlurm(&s.Slurm, at.Child("slurm"))...)
	errs = append(errs, validateNodes(&s.Nodes, at.Child("nodes"))...)
	errs = append(errs, validateService(s, at.Child("service"))...)
	errs = append(errs, validateContainer(&s.Container, at.Child("container"))...)
	errs = append(errs, ValidateWorkload(&s.Workload, at.Child("workload"))...)
	errs = append(errs, validateVerdict(&s.Verdict, at.Child("verdict"))...)
	errs = append(errs, validateMonitoring(s, at.Child("monitoring"))...)
	errs = append(errs, validateLogging(&s.Logging, at.Child("logging"))...)
	errs = append(errs, validateTimeouts(&s.Timeouts, at.Child("timeouts"))...)
	if limit := *s.BackoffLimit; limit < 0 || limit > 100 {
		errs = append(errs, field.Invalid(at.Child("backoffLimit"), limit, "use 0 to 100"))
	}
	if limit, err := ParseSlurmTime(s.Slurm.TimeLimit); err == nil {
		if need := s.Workload.Warmup.Duration + s.Workload.Duration.Duration; limit < need {
			errs = append(errs, field.Invalid(at.Child("slurm", "timeLimit"), s.Slurm.TimeLimit, fmt.Sprintf(
				"is shorter than warm-up and duration together (%s): raise it, or leave it out to have it computed", need)))
		}
	}
	return errs
}

var (
	slurmWord     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@+-]*$`)
	slurmWords    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@+,-]*$`)
	slurmHostlist = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.,\[\]-]*$`)
	slurmModule   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+/-]*$`)
	slurmArg      = regexp.MustCompile(`^--[a-z][a-z0-9-]*(=.*)?$`)
	serviceName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	urlPath       = regexp.MustCompile(`^/[A-Za-z0-9_.~%+@:/-]*$`)
	networkName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:@/-]*$`)
	envName       = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// ownArgs are the sbatch options that benchd sets itself, each with the field that sets it.
var ownArgs = map[string]string{
	"job-name": "", "hold": "", "requeue": "", "no-requeue": "", "parsable": "", "wait": "", "test-only": "", "wrap": "",
	"export": "container.env", "export-file": "container.env", "output": "", "error": "", "open-mode": "", "chdir": "", "array": "",
	"signal": "", "input": "", "quiet": "", "begin": "", "clusters": "cluster", "kill-on-invalid-dep": "", "wckey": "-",
	"partition": "slurm.partition", "account": "slurm.account", "qos": "slurm.qos", "time": "slurm.timeLimit",
	"exclusive": "slurm.exclusive", "nodelist": "slurm.nodelist", "exclude": "slurm.exclude", "nodes": "nodes",
	"ntasks": "nodes", "ntasks-per-node": "nodes", "cpus-per-task": "nodes.*.cpus", "mem": "nodes.*.memory",
	"gres": "nodes.*.gpus", "gpus-per-node": "nodes.*.gpus", "help": "", "usage": "", "version": "", "uid": "", "gid": "",
}

// ownArg finds the own option that sbatch would take a name for: it accepts what an option begins with, too.
func ownArg(name string) (where string, own bool) {
	if where, own = ownArgs[name]; own {
		return where, own
	}
	for _, full := range slices.Sorted(maps.Keys(ownArgs)) {
		if strings.HasPrefix(full, name) {
			return ownArgs[full], true
		}
	}
	return "", false
}

func validateSlurm(s *SlurmSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	match := func(name, value string, re *regexp.Regexp, hint string) {
		if value != "" && !re.MatchString(value) {
			errs = append(errs, field.Invalid(at.Child(name), clip(value), hint))
		}
	}
	match("partition", s.Partition, slurmWords, "use a partition's name (`sinfo` lists them)")
	match("account", s.Account, slurmWord, "use an account's name (`sacctmgr show associations` lists yours)")
	match("qos", s.QOS, slurmWord, "use a QOS's name")
	match("nodelist", s.Nodelist, slurmHostlist, "use a Slurm host list such as mel[2001-2004]")
	match("exclude", s.Exclude, slurmHostlist, "use a Slurm host list such as mel[2001-2004]")
	if _, err := ParseSlurmTime(s.TimeLimit); err != nil {
		errs = append(errs, field.Invalid(at.Child("timeLimit"), clip(s.TimeLimit), err.Error()))
	}
	for i, module := range s.Modules {
		if !slurmModule.MatchString(module) {
			errs = append(errs, field.Invalid(at.Child("modules").Index(i), clip(module), "use a module's name such as Apptainer/1.3.1"))
		}
	}
	for i, arg := range s.ExtraArgs {
		p := at.Child("extraArgs").Index(i)
		if !slurmArg.MatchString(arg) {
			errs = append(errs, field.Invalid(p, clip(arg), "use sbatch's long form, name and value in one string, such as --constraint=a100"))
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if where, own := ownArg(name); own && where != "-" {
			hint := "benchd sets this option itself"
			if where != "" {
				hint += ": use spec." + where
			}
			errs = append(errs, field.Forbidden(p, hint))
		}
	}
	return errs
}

func validateNodes(n *NodesSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	total := int32(0)
	for _, role := range []struct {
		name string
		spec *RoleSpec
	}{{"servers", &n.Servers}, {"clients", &n.Clients}, {"monitors", &n.Monitors}} {
		p := at.Child(role.name)
		errs = append(errs, validateRange(int64(*role.spec.Count), 0, maxNodes, p.Child("count"))...)
		errs = append(errs, validateRange(int64(role.spec.GPUs), 0, 64, p.Child("gpus"))...)
		errs = append(errs, validateRange(int64(role.spec.CPUs), 0, 4096, p.Child("cpus"))...)
		if list := role.spec.Nodelist; list != "" && !slurmHostlist.MatchString(list) {
			errs = append(errs, field.Invalid(p.Child("nodelist"), clip(list), "use a Slurm host list such as mel[2001-2004]"))
		}
		if m := role.spec.Memory; m != nil && m.Sign() <= 0 {
			errs = append(errs, field.Invalid(p.Child("memory"), m.String(), "use an amount such as 64Gi"))
		}
		total += *role.spec.Count
	}
	errs = append(errs, validateRange(int64(n.ExecutorPort), 1024, 65000, at.Child("executorPort"))...)
	if len(errs) == 0 && (total < 1 || total > maxNodes) {
		errs = append(errs, field.Invalid(at, total, fmt.Sprintf("servers, clients and monitors together need 1 to %d nodes", maxNodes)))
	}
	return errs
}

func validateService(s *BenchmarkRunSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	svc := &s.Service
	if svc.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), "name the inference service, such as dummy"))
	} else if !serviceName.MatchString(svc.Name) {
		errs = append(errs, field.Invalid(at.Child("name"), clip(svc.Name), "use a service's name, such as dummy"))
	}
	if svc.Port != 0 {
		errs = append(errs, validateRange(int64(svc.Port), 1024, 65000, at.Child("port"))...)
	}
	errs = append(errs, validateRange(int64(svc.Replicas), 1, 4096, at.Child("replicas"))...)
	errs = append(errs, validateRange(int64(svc.NodesPerReplica), 1, maxNodes, at.Child("nodesPerReplica"))...)
	servers := max(*s.Nodes.Servers.Count, 1)
	if svc.NodesPerReplica > 1 && svc.Replicas*svc.NodesPerReplica != servers {
		errs = append(errs, field.Invalid(at.Child("nodesPerReplica"), svc.NodesPerReplica, fmt.Sprintf(
			"replicas (%d) × nodesPerReplica (%d) = %d server nodes, but nodes.servers.count is %d",
			svc.Replicas, svc.NodesPerReplica, svc.Replicas*svc.NodesPerReplica, servers)))
	}
	errs = append(errs, validateDuration(svc.Health.Timeout, time.Second, 24*time.Hour, at.Child("health", "timeout"))...)
	errs = append(errs, validateDuration(svc.Health.Interval, 10*time.Millisecond, time.Hour, at.Child("health", "interval"))...)
	if svc.APIKey != nil {
		errs = append(errs, validateSecret(svc.APIKey, at.Child("apiKey"))...)
	}
	if svc.Template != nil {
		errs = append(errs, validateTemplate(svc.Template, at.Child("template"))...)
	}
	if e := svc.Health.Endpoint; e != "" && !urlPath.MatchString(e) {
		errs = append(errs, field.Invalid(at.Child("health", "endpoint"), clip(e), "use a path such as /health"))
	}
	return errs
}

func validateMonitoring(s *BenchmarkRunSpec, at *field.Path) field.ErrorList {
	m := &s.Monitoring
	errs := validateDuration(m.Interval, 100*time.Millisecond, time.Hour, at.Child("interval"))
	if p := m.Pushgateway; p != nil {
		to := at.Child("pushgateway")
		u, err := url.Parse(p.URL)
		switch {
		case p.Start != nil && p.URL != "":
			errs = append(errs, field.Forbidden(to.Child("url"), "a Pushgateway is started, and tells its address itself: leave out url, or start"))
		case p.Start != nil:
			errs = append(errs, validateRange(int64(p.Start.Port), 1024, 65535, to.Child("start", "port"))...)
			if p.Start.Port == s.Nodes.ExecutorPort {
				errs = append(errs, field.Invalid(to.Child("start", "port"), p.Start.Port, "it is nodes.executorPort, which the agent of each node listens on: use another"))
			}
			if p.Start.Image != "" {
				errs = append(errs, validateImageName(p.Start.Image, s.Container.Runtime, to.Child("start", "image"))...)
			}
		case p.URL == "":
			errs = append(errs, field.Required(to.Child("url"), "say where the Pushgateway is, such as http://mel2109:9091, or have one started by start: {}"))
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			errs = append(errs, field.Invalid(to.Child("url"), clip(p.URL), "use a URL such as http://mel2109:9091"))
		case u.User != nil:
			errs = append(errs, field.Invalid(to.Child("url"), clip(u.Redacted()), passwordInURL))
		}
		if p.Start != nil && p.AuthorizationFile != "" {
			errs = append(errs, field.Forbidden(to.Child("authorizationFile"), "a Pushgateway that is started for the job asks for no password: leave it out, or start"))
		}
		errs = append(errs, validateAuthorizationFile(p.AuthorizationFile, to.Child("authorizationFile"))...)
		errs = append(errs, validateDuration(p.Interval, time.Second, time.Hour, to.Child("interval"))...)
	}
	return append(errs, validateFileName(m.Output, at.Child("output"))...)
}

func validateTimeouts(t *TimeoutsSpec, at *field.Path) field.ErrorList {
	return validateOptional(at, time.Second, 365*24*time.Hour, optional{"queue", t.Queue}, optional{"start", t.Start},
		optional{"launch", t.Launch}, optional{"execution", t.Execution}, optional{"teardown", t.Teardown}, optional{"report", t.Report})
}

// optional is a duration that may be left out.
type optional struct {
	name  string
	value *metav1.Duration
}

func validateOptional(at *field.Path, least, most time.Duration, durations ...optional) field.ErrorList {
	var errs field.ErrorList
	for _, d := range durations {
		if d.value != nil {
			errs = append(errs, validateDuration(*d.value, least, most, at.Child(d.name))...)
		}
	}
	return errs
}

func validateClusterSpec(s *ClusterSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Type != ClusterSlurm && s.Type != ClusterEmbedded {
		errs = append(errs, field.NotSupported(at.Child("type"), clip(s.Type), []ClusterType{ClusterSlurm, ClusterEmbedded}))
	}
	if s.NodeAccess != NodeAccessAuto && s.NodeAccess != NodeAccessFiles {
		errs = append(errs, field.NotSupported(at.Child("nodeAccess"), clip(s.NodeAccess), []NodeAccess{NodeAccessAuto, NodeAccessFiles}))
	}
	for _, p := range []struct{ name, value string }{{"workdir", s.Workdir}, {"binDir", s.BinDir}, {"conf", s.Conf}} {
		if p.value != "" && !path.IsAbs(p.value) {
			errs = append(errs, field.Invalid(at.Child(p.name), clip(p.value), "use an absolute path"))
		}
	}
	if n := s.Network; n != "" && !networkName.MatchString(n) {
		errs = append(errs, field.Invalid(at.Child("network"), clip(n), "use an interface such as ib0, or a CIDR prefix such as 10.1.0.0/16"))
	}
	errs = append(errs, validateDuration(s.PollInterval, 50*time.Millisecond, time.Hour, at.Child("pollInterval"))...)
	errs = append(errs, validateDuration(s.VisibilityTimeout, time.Second, time.Hour, at.Child("visibilityTimeout"))...)
	errs = append(errs, validateRange(int64(s.MaxQueued), 1, 10_000, at.Child("maxQueued"))...)
	if r := s.Retention; r != nil {
		errs = append(errs, validateRetention(r, at.Child("retention"))...)
	}
	if s.Type == ClusterEmbedded {
		errs = append(errs, validateRange(int64(s.EmbeddedNodes), 1, 250, at.Child("embeddedNodes"))...)
	}
	return errs
}

func validateRetention(r *RetentionSpec, at *field.Path) field.ErrorList {
	errs := oneOf(r.Action, at.Child("action"), RetentionArchive, RetentionDelete)
	errs = append(errs, validateDuration(r.Interval, time.Second, 30*24*time.Hour, at.Child("interval"))...)
	if r.After == nil && r.Keep == nil && r.MaxSize == nil {
		errs = append(errs, field.Required(at, "give at least one bound, such as {after: 2160h}, {keep: 1000} or {maxSize: 500Gi}"))
	}
	if d := r.After; d != nil && d.Duration < time.Minute {
		errs = append(errs, field.Invalid(at.Child("after"), d.Duration.String(), "is less than a minute: nobody could look at a result"))
	}
	if n := r.Keep; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(at.Child("keep"), *n, "use 0 or more"))
	}
	if dir := r.ArchiveDir; dir != "" && !path.IsAbs(dir) {
		errs = append(errs, field.Invalid(at.Child("archiveDir"), clip(dir), "use an absolute path"))
	} else if dir != "" && r.Action == RetentionDelete {
		errs = append(errs, field.Invalid(at.Child("archiveDir"), clip(dir), "has no use where action is delete: leave it out, or use action: archive"))
	}
	if q := r.MaxSize; q != nil && q.Sign() < 0 {
		errs = append(errs, field.Invalid(at.Child("maxSize"), q.String(), "use a size such as 500Gi"))
	}
	return errs
}

func validateLabelName(name string, at *field.Path) field.ErrorList {
	if len(validation.IsDNS1123Label(name)) > 0 {
		return field.ErrorList{field.Invalid(at, clip(name), "use an object's name: lower-case letters, digits and dashes")}
	}
	return nil
}

func validateFileName(name string, at *field.Path) field.ErrorList {
	if name == "" || strings.Contains(name, "/") || len(name) > 200 || strings.HasPrefix(name, ".") {
		return field.ErrorList{field.Invalid(at, clip(name), "use a plain file name without folders")}
	}
	return nil
}

func validateRange(v, least, most int64, at *field.Path) field.ErrorList {
	if v < least || v > most {
		return field.ErrorList{field.Invalid(at, v, fmt.Sprintf("use %d to %d", least, most))}
	}
	return nil
}

func validateDuration(d metav1.Duration, least, most time.Duration, at *field.Path) field.ErrorList {
	if d.Duration < least || d.Duration > most {
		return field.ErrorList{field.Invalid(at, d.Duration.String(), fmt.Sprintf("use a time such as 30s or 5m, from %s to %s", short(least), short(most)))}
	}
	return nil
}

// short prints a time without the zeros behind it: 1h, not 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}
