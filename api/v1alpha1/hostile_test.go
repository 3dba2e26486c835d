package v1alpha1

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
)

// free are the fields that hold text of the user's own, which is never part of a shell's input unquoted, each with what
// a hostile string is put behind.
var free = map[string]string{
	"spec.service.model": "", "spec.service.args[0]": "", "spec.service.config[a]": "", "spec.container.env[a]": "",
	"spec.slurm.extraArgs[0]": "--constraint=",
	"spec.monitoring.output":  "x", "spec.monitoring.pushgateway.start.image": "/", "spec.logging.outputs.stdout": "x", "spec.logging.outputs.stderr": "y", "spec.logging.outputs.aggregated": "z",
	"spec.logging.forward.labels[a]": "", "spec.logging.rules[0].meaning": "", "spec.logging.rules[0].nextStep": "", "spec.logging.rules[0].patterns[0]": "xy",
	"spec.container.args[0]": "", "spec.container.image": "/", "spec.service.config": "x", "spec.service.endpoints[0]": "",
	"spec.service.template.command[0]": "", "spec.service.template.env[a]": "", "spec.service.template.image": "",
	"spec.service.template.model": "", "spec.service.template.summary": "", "spec.workload.load.trace.path": "/", "spec.workload.rest.body": "",
	"spec.workload.rest.path": "/", "spec.workload.rest.text": "", "spec.workload.rest.promptTokens": "", "spec.workload.rest.outputTokens": "",
	"spec.workdir": "/", "spec.binDir": "/", "spec.conf": "/",
}

// nowhere is allowed in no field; somewhere only in free ones.
var (
	nowhere   = []string{"a\nb", "a\r", "a\tb", "a\x00b", "\x1b[2J", "\x7f", "a\xff", "\xc3\x28", "a\u0085b", strings.Repeat("x", 10<<10)}
	somewhere = []string{`a"b`, "a'b", "a`b`", "$(x)", "${x}", "a;b", "a&b", "a|b", "a>b", "a b", "é", "漢", `a\b`, "*", "~", "!", "%n"}
)

// eachString visits every string below v, after putting one into each empty list and map. set changes the string.
func eachString(v reflect.Value, at string, visit func(path string, set func(string))) {
	switch v.Kind() {
	case reflect.String:
		visit(at, func(s string) { v.SetString(s) })
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		eachString(v.Elem(), at, visit)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.String {
			visit(at+"[0]", func(s string) { v.Set(reflect.ValueOf([]string{s})) })
			return
		}
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		eachString(v.Index(0), at+"[0]", visit)
	case reflect.Map:
		put := func(key, value string) {
			m, element := reflect.MakeMap(v.Type()), reflect.ValueOf(value)
			if v.Type().Elem() == reflect.TypeFor[SecretSource]() {
				element = reflect.ValueOf(SecretSource{Env: value})
			}
			m.SetMapIndex(reflect.ValueOf(key), element)
			v.Set(m)
		}
		visit(at+"[a]", func(s string) { put("a", s) })
		visit(at, func(s string) { put(s, "a") })
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[resource.Quantity]() {
			return
		}
		for i := range v.NumField() {
			if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); name != "" {
				eachString(v.Field(i), at+"."+name, visit)
			}
		}
	}
}

// fieldsOf names every string of a kind's spec.
func stringsOf(fresh func() (Object, reflect.Value)) []string {
	var all []string
	_, spec := fresh()
	eachString(spec, "spec", func(path string, _ func(string)) { all = append(all, path) })
	return all
}

func TestHostileStrings(t *testing.T) {
	kinds := map[string]func() (Object, reflect.Value){
		KindBenchmarkRun: func() (Object, reflect.Value) { r := validRun(); return r, reflect.ValueOf(&r.Spec).Elem() },
		KindCluster:      func() (Object, reflect.Value) { c := validCluster("c"); return c, reflect.ValueOf(&c.Spec).Elem() },
	}
	unseen := map[string]bool{}
	for path := range free {
		unseen[path] = true
	}
	for kind, fresh := range kinds {
		for _, path := range stringsOf(fresh) {
			prefix, isFree := free[path]
			delete(unseen, path)
			try := func(s string) []string {
				obj, spec := fresh()
				eachString(spec, "spec", func(p string, set func(string)) {
					if p == path {
						set(s)
					}
				})
				var refused []string
				for _, e := range Validate(obj) {
					refused = append(refused, e.Field)
					if len(e.Error()) > 1000 {
						t.Errorf("%s %s: an error of %d bytes", kind, path, len(e.Error()))
					}
				}
				return refused
			}
			for _, s := range nowhere {
				if refused := try(prefix + s); !hits(refused, path) {
					t.Errorf("%s %s takes %.20q (errors in %v)", kind, path, s, refused)
				}
			}
			for _, s := range somewhere {
				refused := try(prefix + s)
				if !isFree && !hits(refused, path) {
					t.Errorf("%s %s takes %q and is not known to be free", kind, path, s)
				}
				if isFree && hits(refused, path) && !strings.Contains(path, ".env") {
					t.Errorf("%s %s is free and refuses %q (errors in %v)", kind, path, s, refused)
				}
			}
		}
	}
	if diff := cmp.Diff(map[string]bool{}, unseen); diff != "" {
		t.Errorf("free fields that do not exist (-want +got):\n%s", diff)
	}
}

// hits says whether an error is about the field or what it is part of.
func hits(refused []string, path string) bool {
	for _, r := range refused {
		if r == path || strings.HasPrefix(r, path+"[") || strings.HasPrefix(path, r+"[") || strings.HasSuffix(path, "]") && strings.HasPrefix(r, path+".") {
			return true
		}
	}
	return false
}

func TestHostileMetadata(t *testing.T) {
	for _, s := range append(append([]string{}, nowhere...), somewhere...) {
		for field, set := range map[string]func(*BenchmarkRun){
			"metadata.name":      func(r *BenchmarkRun) { r.Name = s },
			"metadata.namespace": func(r *BenchmarkRun) { r.Namespace = s },
			"metadata.labels":    func(r *BenchmarkRun) { r.Labels = map[string]string{s: ""} },
			"metadata.labels[a]": func(r *BenchmarkRun) { r.Labels = map[string]string{"a": s} },
		} {
			run := validRun()
			set(run)
			if got := paths(run); fmt.Sprint(got) != fmt.Sprint([]string{field}) {
				t.Errorf("%s takes %.20q (errors in %v)", field, s, got)
			}
		}
	}
}

func TestValidateUpdate(t *testing.T) {
	bound := &AllocationRef{Name: "a", Attempt: 1}
	for name, test := range map[string]struct {
		old    func(*BenchmarkRun)
		change func(*BenchmarkRun)
		want   []string
	}{
		"anything before it has a phase":   {func(*BenchmarkRun) {}, func(r *BenchmarkRun) { r.Spec.Service.Model = "m" }, nil},
		"anything while it is pending":     {phase(RunPending, nil), func(r *BenchmarkRun) { r.Spec.Service.Model = "m" }, nil},
		"nothing once it is bound":         {phase(RunPending, bound), func(r *BenchmarkRun) { r.Spec.Service.Model = "m" }, []string{"spec"}},
		"nothing once it has started":      {phase(RunExecuting, bound), func(r *BenchmarkRun) { r.Spec.Workload.Duration = duration(1) }, []string{"spec"}},
		"nothing once it has ended":        {phase(RunCompleted, bound), func(r *BenchmarkRun) { r.Spec.BackoffLimit = ptr(int32(9)) }, []string{"spec"}},
		"cancelling at any time":           {phase(RunExecuting, bound), func(r *BenchmarkRun) { r.Spec.Cancel = true }, nil},
		"cancelling and changing":          {phase(RunExecuting, bound), func(r *BenchmarkRun) { r.Spec.Cancel, r.Spec.Service.Model = true, "m" }, []string{"spec"}},
		"labels at any time":               {phase(RunExecuting, bound), func(r *BenchmarkRun) { r.Labels = map[string]string{"a": "b"} }, nil},
		"no change at all":                 {phase(RunFailed, bound), func(*BenchmarkRun) {}, nil},
		"the same said with an empty list": {phase(RunFailed, bound), func(r *BenchmarkRun) { r.Spec.Service.Args = []string{} }, nil},
		"the same amount in other units": {func(r *BenchmarkRun) {
			phase(RunFailed, bound)(r)
			r.Spec.Nodes.Servers.Memory = ptr(resource.MustParse("1Gi"))
		}, func(r *BenchmarkRun) { r.Spec.Nodes.Servers.Memory = ptr(resource.MustParse("1024Mi")) }, nil},
		"nobody brings a cancelled run back":      {func(r *BenchmarkRun) { r.Spec.Cancel = true }, func(r *BenchmarkRun) { r.Spec.Cancel = false }, []string{"spec.cancel"}},
		"nor one that has started and something":  {func(r *BenchmarkRun) { phase(RunExecuting, bound)(r); r.Spec.Cancel = true }, func(r *BenchmarkRun) { r.Spec.Cancel, r.Spec.Service.Model = false, "m" }, []string{"spec.cancel", "spec"}},
		"a status does not open a run that ended": {phase(RunCompleted, bound), func(r *BenchmarkRun) { r.Status, r.Spec.Service.Model = BenchmarkRunStatus{}, "m" }, []string{"spec"}},
	} {
		t.Run(name, func(t *testing.T) {
			old, updated := validRun(), validRun()
			test.old(old)
			test.old(updated)
			test.change(updated)
			var got []string
			for _, err := range ValidateUpdate(old, updated) {
				got = append(got, err.Field)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("fields with errors (-want +got):\n%s", diff)
			}
		})
	}
	if errs := ValidateUpdate(validCluster("a"), validCluster("a")); len(errs) > 0 {
		t.Errorf("a cluster: %v", errs)
	}
}

func phase(p RunPhase, ref *AllocationRef) func(*BenchmarkRun) {
	return func(r *BenchmarkRun) { r.Status.Phase, r.Status.AllocationRef = p, ref }
}
