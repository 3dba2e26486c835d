package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Trial is one run that a sweep is to have.
type Trial struct {
	Values api.Values
	// Point is the digest of the values; of a control run it says that.
	Point string
	// Repeat counts the measurements of a point from 1.
	Repeat int
	// Control marks a run that shows drift.
	Control bool
	// Position in the order of the sweep, from 0.
	Position int

	// names are those of the sweep's fields, where they were gathered for all trials at once.
	names *fieldNames
}

// ID tells a trial from all others of its sweep, whatever becomes of the sweep's spec.
func (t *Trial) ID() string { return fmt.Sprintf("%s-r%d", t.Point, t.Repeat) }

// controlPoint is the point of control runs.
const controlPoint = "control"

// Trials are the runs of a sweep in their order. A search has none here: what it tries depends on what it finds.
func Trials(s *api.BenchmarkSweepSpec) []Trial {
	if s.Strategy == api.StrategySearch {
		return nil
	}
	points := Points(s)
	repeats := int(max(1, s.Repeats))
	trials := make([]Trial, 0, len(points)*repeats)
	if s.Order == api.OrderDeclared {
		for _, v := range points {
			for r := range repeats {
				trials = append(trials, Trial{Values: v, Repeat: r + 1})
			}
		}
	} else {
		for r := range repeats {
			for _, v := range points {
				trials = append(trials, Trial{Values: v, Repeat: r + 1})
			}
		}
	}
	if s.Order == api.OrderShuffled {
		r := rand.New(rand.NewPCG(uint64(s.Seed), 0x5eed))
		r.Shuffle(len(trials), func(i, j int) { trials[i], trials[j] = trials[j], trials[i] })
	}
	for i := range trials {
		trials[i].Point = Digest(trials[i].Values)
	}
	if s.Control != nil && len(trials) > 0 {
		trials = withControls(trials, points[0], s.Control)
	}
	if most := int(s.Limits.Trials); most > 0 && len(trials) > most {
		trials = trials[:most]
	}
	names := namesOf(s)
	for i := range trials {
		trials[i].Position, trials[i].names = i, names
	}
	return trials
}

// withControls puts a control run before the first trial, and another one after every so many. It is that of the first point that is
// declared, whatever the order: what a shuffle puts first changes with every point that is added, and drift is told of like runs alone.
func withControls(trials []Trial, first api.Values, c *api.ControlSpec) []Trial {
	values := with(first, c.Values)
	out := make([]Trial, 0, len(trials)+len(trials)/int(c.Every)+1)
	for i, t := range trials {
		if i%int(c.Every) == 0 {
			out = append(out, Trial{Values: values, Point: controlPoint, Repeat: i/int(c.Every) + 1, Control: true})
		}
		out = append(out, t)
	}
	return out
}

// Run makes the run of a trial. What it is a trial of stands in its labels, the exact values in an annotation.
func Run(s *api.BenchmarkSweep, t Trial) (*api.BenchmarkRun, error) {
	spec, err := withValues(&s.Spec.Template.Spec, t.Values)
	if err != nil {
		return nil, fmt.Errorf("run %s of sweep %s: %w", t.ID(), s.Name, err)
	}
	values, err := json.Marshal(t.Values)
	if err != nil {
		return nil, fmt.Errorf("run %s of sweep %s: %w", t.ID(), s.Name, err)
	}
	run := &api.BenchmarkRun{Spec: *spec}
	run.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkRun))
	run.Namespace, run.Name = s.Namespace, RunName(s, t)
	run.Labels = map[string]string{}
	maps.Copy(run.Labels, s.Spec.Template.Labels)
	names := t.fieldNames(s)
	for path, value := range t.Values {
		if text := labelValue(value); text != "" {
			run.Labels[api.LabelParameter+names.label(path)] = text
		}
	}
	run.Labels[api.LabelSweep], run.Labels[api.LabelTrial] = label(s.Name), t.ID()
	run.Labels[api.LabelPoint], run.Labels[api.LabelRepeat] = t.Point, strconv.Itoa(t.Repeat)
	if t.Control {
		run.Labels[api.LabelControl] = "true"
	}
	run.Annotations = map[string]string{api.AnnotationParameters: string(values), api.AnnotationPosition: strconv.Itoa(t.Position)}
	run.Finalizers = []string{api.FinalizerCluster}
	if s.UID != "" {
		run.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(s, api.GroupVersion.WithKind(api.KindBenchmarkSweep))}
	}
	return run, nil
}

// maxName is the length of a run's name: Allocations and folders are named after it.
const maxName = 63

// RunName says what the run is a trial of, as far as a name can: the sweep, each value after its field's name, the repeat. Where
// that would not tell two points apart, or is too long, their digest does.
func RunName(s *api.BenchmarkSweep, t Trial) string {
	suffix := ""
	if s.Spec.Repeats > 1 || t.Control {
		suffix = fmt.Sprintf("-r%d", t.Repeat)
	}
	if t.Control {
		return fit(s.Name, "-control"+suffix)
	}
	name, exact := "", true
	names := t.fieldNames(s)
	for _, path := range names.order(t.Values) {
		text, same := slug(t.Values[path])
		name += "-" + strings.ToLower(field(path)) + text
		exact = exact && same
	}
	exact = exact && len(names.count) == len(names.paths) // no two fields of the same name
	if full := s.Name + name + suffix; exact && len(full) <= maxName {
		return full
	}
	digest := "-" + Digest(t.Values) + suffix
	return fit(fit(s.Name, name+digest), "") // the tail tells more than the middle
}

// DistinctName is a run's name with what tells its trial from all others of its sweep.
func DistinctName(name, id string) string { return fit(strings.TrimSuffix(name, "-"+id), "-"+id) }

// fit shortens what comes before the suffix, so that both are a name.
func fit(name, suffix string) string {
	if over := len(name) + len(suffix) - maxName; over > 0 {
		if over >= len(name) {
			return strings.TrimLeft(suffix[len(suffix)-maxName:], "-")
		}
		name = strings.TrimRight(name[:len(name)-over], "-")
	}
	return name + suffix
}

// fieldNames are all fields that a sweep sets, parameters first, and how many of them have the same last part, whatever its case.
type fieldNames struct {
	paths []string
	count map[string]int
}

func namesOf(s *api.BenchmarkSweepSpec) *fieldNames {
	names, known := &fieldNames{count: map[string]int{}}, map[string]bool{}
	add := func(path string) {
		if !known[path] {
			known[path] = true
			names.paths = append(names.paths, path)
			names.count[strings.ToLower(field(path))]++
		}
	}
	for _, p := range s.Parameters {
		add(p.Path)
	}
	if l := s.Search; l != nil {
		add(l.Path)
	}
	for _, v := range s.Include {
		for _, path := range slices.Sorted(maps.Keys(v)) {
			add(path)
		}
	}
	return names
}

func (t *Trial) fieldNames(s *api.BenchmarkSweep) *fieldNames {
	if t.names != nil {
		return t.names
	}
	return namesOf(&s.Spec)
}

// order is that of the sweep's parameters; what else has values comes after them.
func (n *fieldNames) order(v api.Values) []string {
	var out []string
	for _, path := range n.paths {
		if _, has := v[path]; has {
			out = append(out, path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(v)) {
		if !slices.Contains(out, path) {
			out = append(out, path)
		}
	}
	return out
}

// label is the field's name, or the whole path where another field has the same name and a label can hold it.
func (n *fieldNames) label(path string) string {
	if n.count[strings.ToLower(field(path))] > 1 && len(path) <= 63 {
		return path
	}
	return field(path)
}

// field is the last part of a path.
func field(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

var (
	plain     = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	notPlain  = regexp.MustCompile(`[^a-z0-9]+`)
	notLabel  = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)
	labelEdge = "-_."
)

// slug is a value as part of a name, and whether it tells the value from all others.
func slug(value any) (text string, exact bool) {
	text = fmt.Sprint(value)
	if plain.MatchString(text) {
		return text, true
	}
	return strings.Trim(notPlain.ReplaceAllString(strings.ToLower(text), "-"), "-"), false
}

func labelValue(value any) string {
	switch value.(type) {
	case map[string]any, []any, nil:
		return ""
	}
	return label(notLabel.ReplaceAllString(fmt.Sprint(value), "_"))
}

// label shortens a text to what a label may have.
func label(text string) string {
	return strings.Trim(text[:min(len(text), 63)], labelEdge)
}

// withValues sets fields of a spec by their paths.
func withValues(template *api.BenchmarkRunSpec, values api.Values) (*api.BenchmarkRunSpec, error) {
	data, err := json.Marshal(template)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, err
	}
	for path, value := range values {
		steps := strings.Split(path, ".")
		err := spelled(reflect.TypeFor[api.BenchmarkRunSpec](), steps)
		if err == nil {
			err = set(tree, steps, value)
		}
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", path, err)
		}
	}
	if data, err = json.Marshal(tree); err != nil {
		return nil, err
	}
	var spec api.BenchmarkRunSpec
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields() // a path that leads nowhere would vary nothing
	if err := strict.Decode(&spec); err != nil {
		return nil, err
	}
	return &spec, nil
}

// spelled refuses a field in the wrong case. What decodes JSON would take it for the right one, and where the template has that too it
// would be chance which of the two a run is made with.
func spelled(t reflect.Type, path []string) error {
	for _, step := range path {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return nil // maps have keys of their own; what has no fields is told when it is decoded
		}
		var next reflect.Type
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if name == step {
				next = t.Field(i).Type
			} else if strings.EqualFold(name, step) {
				return fmt.Errorf("unknown field %q: write %q", step, name)
			}
		}
		if next == nil {
			return nil
		}
		t = next
	}
	return nil
}

func set(tree map[string]any, path []string, value any) error {
	if len(path) == 1 {
		tree[path[0]] = value
		return nil
	}
	child, exists := tree[path[0]]
	if !exists || child == nil {
		child = map[string]any{}
		tree[path[0]] = child
	}
	inner, ok := child.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is a %T, it has no fields", path[0], child)
	}
	return set(inner, path[1:], value)
}

// Kept says whether a run still has a point's value for a parameter: a zero is taken for a field that was not given.
func Kept(spec *api.BenchmarkRunSpec, path string, value any) bool {
	var tree any
	data, err := json.Marshal(spec)
	if err == nil {
		err = json.Unmarshal(data, &tree)
	}
	for _, step := range strings.Split(path, ".") {
		object, _ := tree.(map[string]any)
		tree = object[step]
	}
	if text, ok := value.(string); ok && text != "" {
		if d, wrong := time.ParseDuration(text); wrong == nil && d == 0 {
			value = d.String() // as a spec has it
		}
	}
	switch value {
	case 0.0, "", false, "0s":
		return err == nil && (tree == nil || tree == value)
	}
	return true
}
