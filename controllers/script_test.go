package controllers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
)

// canary is the file that a hostile value makes when it is executed.
const canary = "PWNED"

var hostile = []string{
	"$(touch " + canary + ")", "`touch " + canary + "`", "'; touch " + canary + "; '", `"; touch ` + canary + `; "`,
	"x\ntouch " + canary + "\n", "x; touch " + canary, "x | touch " + canary, "x && touch " + canary, "x\x00y", "x\ry",
	strings.Repeat("a", 10<<10), "héllo wörld ✓ 模型", `\`, `a\nb`, "--help", "-x", "a b", "*", "~", "!!", "# x", "%s%n", "${HOME}", "<(touch " + canary + ")",
	"\xff\xfe", "../../etc/passwd", "a=b", "x'y\"z",
}

func validRun() *api.BenchmarkRun {
	run := &api.BenchmarkRun{}
	run.SetGroupVersionKind(api.GroupVersion.WithKind(api.KindBenchmarkRun))
	run.Name, run.UID = "hostile", "5f4dcc3b-5aa7-65d6-1d83-27deb882cf99"
	run.Spec.Service = api.ServiceSpec{Name: "dummy", Model: "dummy", Port: 5000}
	run.Spec.Workload.Duration.Duration = 1e9
	return run
}

// setters returns, for every string that a user can write into the spec, a function that writes it.
func setters(v reflect.Value, path string, set map[string]func(reflect.Value, string)) {
	at := func(get func(reflect.Value) reflect.Value, write func(reflect.Value, string)) func(reflect.Value, string) {
		return func(root reflect.Value, s string) { write(get(root), s) }
	}
	walk(v.Type(), path, func(r reflect.Value) reflect.Value { return r }, func(path string, get func(reflect.Value) reflect.Value, write func(reflect.Value, string)) {
		set[path] = at(get, write)
	})
}

func walk(t reflect.Type, path string, get func(reflect.Value) reflect.Value, found func(string, func(reflect.Value) reflect.Value, func(reflect.Value, string))) {
	switch t.Kind() {
	case reflect.String:
		found(path, get, func(v reflect.Value, s string) { v.SetString(s) })
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			found(path+"[0]", get, func(v reflect.Value, s string) { v.Set(reflect.ValueOf([]string{s})) })
		}
	case reflect.Map:
		if t.Elem().Kind() == reflect.String {
			found(path+"[value]", get, func(v reflect.Value, s string) { v.Set(reflect.ValueOf(map[string]string{"KEY": s})) })
			found(path+"[key]", get, func(v reflect.Value, s string) { v.Set(reflect.ValueOf(map[string]string{s: "value"})) })
		} else {
			element := func(key, value string) func(reflect.Value, string) {
				return func(v reflect.Value, s string) {
					pick := strings.NewReplacer("$", s)
					m, e := reflect.MakeMap(t), reflect.New(t.Elem()).Elem()
					if _, secret := e.Interface().(api.SecretSource); secret {
						e.Set(reflect.ValueOf(api.SecretSource{Env: pick.Replace(value)}))
					} else {
						e.Set(reflect.ValueOf(pick.Replace(value)))
					}
					m.SetMapIndex(reflect.ValueOf(pick.Replace(key)), e)
					v.Set(m)
				}
			}
			found(path+"[value]", get, element("ttftDist", "$"))
			found(path+"[key]", get, element("$", "value"))
		}
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Struct && t.Elem().PkgPath() == reflect.TypeFor[api.BenchmarkRunSpec]().PkgPath() {
			walk(t.Elem(), path, func(r reflect.Value) reflect.Value {
				v := get(r)
				if v.IsNil() {
					v.Set(reflect.New(t.Elem()))
				}
				return v.Elem()
			}, found)
		}
	case reflect.Struct:
		if t.PkgPath() != reflect.TypeFor[api.BenchmarkRunSpec]().PkgPath() {
			return // quantities and durations are no strings to their readers
		}
		for i := range t.NumField() {
			walk(t.Field(i).Type, path+"."+t.Field(i).Name, func(r reflect.Value) reflect.Value { return get(r).Field(i) }, found)
		}
	}
}

// Every hostile value in every string of a run is refused, or the script that is made of it is inert.
func TestHostileValuesAreRefusedOrInert(t *testing.T) {
	t.Parallel()
	set := map[string]func(reflect.Value, string){}
	setters(reflect.ValueOf(api.BenchmarkRunSpec{}), "spec", set)
	if len(set) < 25 {
		t.Fatalf("only %d strings were found in the spec", len(set))
	}
	harness := newHarness(t)
	baseline := harness.script(validRun())
	accepted, run := 0, 0
	for path, write := range set {
		for _, value := range hostile {
			obj := validRun()
			write(reflect.ValueOf(&obj.Spec).Elem(), value)
			api.SetDefaults(obj)
			if len(api.Validate(obj)) > 0 {
				continue
			}
			accepted++
			if script := harness.script(obj); script != baseline {
				run++
				harness.execute(fmt.Sprintf("%s = %q", path, value), script)
			}
		}
	}
	t.Logf("%d strings, %d values: %d combinations were accepted, %d of them are in the script and were run", len(set), len(hostile), accepted, run)
}

// FuzzScript: no value that stands in the script is ever executed, and each arrives as it was written.
func FuzzScript(f *testing.F) {
	for _, value := range hostile {
		f.Add(value)
	}
	harness := newHarness(f)
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsRune(value, 0) {
			return // no path holds one
		}
		harness.tb, harness.binary = t, "/"+value
		harness.execute(fmt.Sprintf("%q", value), harness.script(validRun()))
	})
}

// harness runs scripts in a folder whose own name is hostile, with a srun that only notes what it gets.
type harness struct {
	tb     testing.TB
	folder node.Folder
	bin    string
	binary string // of benchd
}

func newHarness(tb testing.TB) *harness {
	tb.Helper()
	dir := tb.TempDir()
	h := &harness{tb: tb, folder: node.Folder(filepath.Join(dir, "we'ird \"$(touch "+canary+")")), bin: filepath.Join(dir, "bin"), binary: "/opt/ben'chd"}
	for _, d := range []string{string(h.folder), h.bin} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	srun := "#!/bin/bash\nprintf '%s\\0' \"$@\" >args\n"
	if err := os.WriteFile(filepath.Join(h.bin, "srun"), []byte(srun), 0o700); err != nil {
		tb.Fatal(err)
	}
	return h
}

func (h *harness) script(run *api.BenchmarkRun) string {
	api.SetDefaults(run)
	a := NewAllocation(run, run.Name+"-1")
	a.UID = run.UID
	return Script(a, h.folder, h.binary)
}

// execute runs a script and looks for the canary, and whether srun got benchd's path as it is.
func (h *harness) execute(what, script string) {
	h.tb.Helper()
	path := filepath.Join(string(h.folder), "job.sh")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		h.tb.Fatal(err)
	}
	_ = os.Remove(h.folder.Claim())
	// Modules do not exist here: `module` is a function that takes any name.
	cmd := exec.Command("/bin/bash", "-c", "module() { :; }; export -f module; exec /bin/bash \"$0\"", path)
	cmd.Dir = string(h.folder)
	cmd.Env = []string{"PATH=" + h.bin + ":/usr/bin:/bin", "SLURM_JOB_ID=7"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.tb.Errorf("%s: the script failed: %v: %s", what, err, out)
	}
	if found, _ := filepath.Glob(filepath.Join(filepath.Dir(string(h.folder)), "*", canary)); len(found) > 0 {
		h.tb.Fatalf("%s was executed:\n%s", what, script)
	}
	args, err := os.ReadFile(filepath.Join(string(h.folder), "args"))
	if err != nil || !strings.Contains("\x00"+string(args), "\x00"+h.binary+"\x00agent\x00") {
		h.tb.Errorf("%s: srun got %q (%v)", what, args, err)
	}
}

// A second start of the job, or of a duplicate, finds the folder claimed and does not go on.
func TestScriptStartsOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	path := filepath.Join(string(h.folder), "job.sh")
	if err := os.WriteFile(path, []byte(h.script(validRun())), 0o700); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{0, claimedExit} {
		cmd := exec.Command("/bin/bash", path)
		cmd.Dir = string(h.folder)
		cmd.Env = []string{"PATH=" + h.bin + ":/usr/bin:/bin", fmt.Sprintf("SLURM_JOB_ID=%d", 7+i)}
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("start %d: exit code %d, want %d: %s", i+1, got, want, out)
		}
	}
	var claim node.Claim
	if err := node.ReadJSON(h.folder.Claim(), &claim); err != nil || claim.JobID != "7" {
		t.Errorf("claim: %+v, %v", claim, err)
	}
}

// Sites' `module` is a shell function that looks at variables which may not be set.
func TestScriptBearsCarelessModules(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	run := validRun()
	run.Spec.Slurm.Modules = []string{"env/staging"}
	path := filepath.Join(string(h.folder), "job.sh")
	if err := os.WriteFile(path, []byte(h.script(run)), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/bash", "-c", "module() { [ -z \"$NEVER_SET\" ]; }; export -f module; exec /bin/bash \"$0\"", path)
	cmd.Dir = string(h.folder)
	cmd.Env = []string{"PATH=" + h.bin + ":/usr/bin:/bin", "SLURM_JOB_ID=7"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestScriptPassesShellcheck(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("shellcheck")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("shellcheck is not here: hack/install-packages installs it")
		}
		t.Skip("left out: shellcheck is not here")
	}
	run := validRun()
	run.Spec.Slurm.Modules = []string{"Apptainer/1.3.1", "env/staging"}
	run.Spec.Container.Env = map[string]string{"A": "it's", "B": "$(x)", "C": "plain"}
	run.Spec.Nodes.Servers.GPUs, run.Spec.Nodes.Servers.CPUs = 4, 8
	h := newHarness(t)
	for name, script := range map[string]string{"plain": h.script(validRun()), "everything": h.script(run)} {
		path := filepath.Join(t.TempDir(), name+".sh")
		if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(tool, path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
