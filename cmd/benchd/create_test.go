package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/services"
	"github.com/benchd/benchd/site"
)

// noTemplates is the admission of a place without ServiceTemplates.
func noTemplates(obj api.Object, _ []api.Object) field.ErrorList {
	return admit(obj, func(string, string) *api.ServiceTemplate { return nil })
}

func testBuilder() *builder {
	s := defaultsOf(&site.Facts{
		DefaultAccount: "p200981", Associations: []site.Association{{Account: "p200981"}}, Runtimes: []site.Runtime{{Name: "apptainer"}},
		Partitions: []site.Partition{partition("cpu", 573, 128, 0), partition("gpu", 200, 64, 4)},
	})
	return newBuilder(s, api.DefaultNamespace, noTemplates)
}

func partition(name string, nodes, cpus, gpus int) site.Partition {
	g := site.Group{State: "idle", Count: nodes, CPUs: cpus, MemoryMiB: 510000}
	if gpus > 0 {
		g.GRES = map[string]int{"gpu": gpus, "gpu:a100": gpus}
	}
	return site.Partition{Name: name, State: "up", MaxTime: 48 * time.Hour, Groups: []site.Group{g}}
}

func TestDefaultsOfASite(t *testing.T) {
	two := partition("gpu", 150, 64, 4)
	two.Groups = append(two.Groups, partition("", 50, 32, 2).Groups...)
	byDefault := partition("cpu", 10, 128, 0)
	byDefault.Default, byDefault.MaxTime = true, 0
	s := defaultsOf(&site.Facts{
		DefaultAccount: "b", Associations: []site.Association{{Account: "a", QOS: []string{"low"}}, {Account: "b", QOS: []string{"low", "high"}, DefaultQOS: "high"}},
		Runtimes: []site.Runtime{{Name: "apptainer"}, {Name: "pyxis"}}, Partitions: []site.Partition{two, byDefault},
	})
	want := siteDefaults{
		Slurm: true, Accounts: []string{"b", "a"}, QOS: []string{"high", "low"}, GPUsPerNode: 4, Runtimes: []string{"apptainer"},
		Partitions: []sitePartition{
			{Name: "cpu", TimeLimit: "no limit", Nodes: 10, CPUs: 128, MemoryMB: 510000},
			{Name: "gpu", TimeLimit: "2-00:00:00", Nodes: 200, CPUs: 64, MemoryMB: 510000, GPUs: 4},
		},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	nothing := defaultsOf(&site.Facts{Unknown: map[site.Question]string{site.AskCommands: "not here"}})
	if nothing.Slurm || nothing.Partitions != nil {
		t.Errorf("of nothing: %+v", nothing)
	}
}

// What is proposed for every service, with nothing but a model said, makes a file that is valid and holds no default.
func TestProposalsMakeValidFiles(t *testing.T) {
	for _, service := range services.Names() {
		t.Run(service, func(t *testing.T) {
			b := testBuilder()
			a := answers{"service": {service}, "model": {"org/model"}}
			switch service {
			case "external":
				a["endpoint"] = []string{"http://10.1.2.3:8000"}
			case "triton":
				a["model-repository"] = []string{"/models"}
			}
			b.complete(a)
			text, err := b.file(a)
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"executorPort", "backoffLimit", "synthetic", "closed", "exclusive", "tokens: 128"} {
				if strings.Contains(string(text), word) {
					t.Errorf("the file holds the default %q:\n%s", word, text)
				}
			}
		})
	}
}

// Each question with a path writes a field that exists: a wrong value there is refused, and told of that question.
func TestFaultsAreToldOfTheirQuestion(t *testing.T) {
	base := answers{"service": {"vllm"}, "model": {"m"}}
	for name, tc := range map[string]struct {
		with answers
		want string
	}{
		"service":          {answers{"service": {"vlm"}}, `did you mean "vllm"?`},
		"name":             {answers{"name": {"A b"}}, "use at most 63 lower-case letters"},
		"cluster":          {answers{"cluster": {"no such"}}, "use an object's name"},
		"partition":        {answers{"partition": {"gpu;rm"}}, "use a partition's name"},
		"account":          {answers{"account": {"p 1"}}, "use an account's name"},
		"qos":              {answers{"qos": {"-"}}, "use a QOS's name"},
		"servers":          {answers{"servers": {"9999"}}, "use 0 to 4096"},
		"clients":          {answers{"clients": {"two"}}, "wants an integer"},
		"monitors":         {answers{"monitors": {"-1"}}, "0"},
		"nodes-per-server": {answers{"servers": {"3"}, "nodes-per-server": {"2"}}, "but nodes.servers.count is 3"},
		"backend":          {answers{"servers": {"2"}, "nodes-per-server": {"2"}, "backend": {"mpi"}}, `did you mean "mp"?`},
		"server-gpus":      {answers{"server-gpus": {"100"}}, "use 0 to 64"},
		"server-cpus":      {answers{"server-cpus": {"x"}}, "wants an integer"},
		"server-memory":    {answers{"server-memory": {"64 gigs"}}, "64Gi"},
		"model":            {answers{"model": {""}}, "name the model to serve"},
		"set":              {answers{"set": {"maxModelLen=0"}}, "use 1 or more"},
		"duration":         {answers{"duration": {"soon"}}, "is not a time"},
		"warmup":           {answers{"warmup": {"30"}}, "without a unit"},
		"pattern":          {answers{"pattern": {"closd"}}, `did you mean "closed"?`},
		"clients-per-node": {answers{"clients-per-node": {"0.5"}}, "integer"},
		"rate":             {answers{"pattern": {"poisson"}, "rate": {"-1"}}, "above 0"},
		"burst":            {answers{"pattern": {"burst"}, "rate": {"1"}, "burst": {"10s"}}, "is no ON/OFF"},
		"steps":            {answers{"pattern": {"steps"}, "steps": {"1m"}}, "is no RATE/TIME"},
		"ramp":             {answers{"pattern": {"ramp"}, "ramp": {"1-2"}}, "is no FROM/TO"},
		"prompt-tokens":    {answers{"prompt-tokens": {"-5"}}, "use 1"},
		"prompts-path":     {answers{"prompts": {"sharegpt"}, "prompts-path": {"x/y"}}, "path"},
		"slo-ttft":         {answers{"slo-ttft": {"200"}}, "without a unit"},
		"runtime":          {answers{"runtime": {"docker"}}, "apptainer"},
		"image":            {answers{"runtime": {"apptainer"}, "image": {"x.sif"}}, "use an absolute path"},
		"bind":             {answers{"runtime": {"apptainer"}, "bind": {"/a:/b:rx"}}, "mode"},
		"secret":           {answers{"secret": {"hf token"}}, "letters, digits and underscores"},
		"module":           {answers{"module": {"a;b"}}, "use a module's name"},
		"time-limit":       {answers{"time-limit": {"soon"}}, ""},
		"label":            {answers{"label": {"a"}}, "is no KEY=VALUE"},
	} {
		a := answers{}
		for _, from := range []answers{base, tc.with} {
			for k, v := range from {
				a[k] = v
			}
		}
		err := testBuilder().check(a, questionNamed(name), a[name])
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("--%s %q: %v, want %q", name, a[name], err, tc.want)
		}
	}
}

// No answer to one question is held against another one that has not been asked yet.
func TestFirstAnswersAreNotFaulted(t *testing.T) {
	for _, service := range services.Names() {
		if faults := testBuilder().faults(answers{"service": {service}}); len(faults) > 0 {
			t.Errorf("%s: %v", service, faults[0].err)
		}
	}
}

// scripted answers pages with what a test says, and takes what is proposed for the rest.
type scripted struct {
	told   []string
	values map[string][]string
	pages  []string
	back   string // page at which to go back once,
	backAt int    // when it comes for this time
	leave  string // page at which to leave
}

func (s *scripted) say(text string) { s.told = append(s.told, text) }
func (s *scripted) close()          {}
func (s *scripted) ask(_ context.Context, p page) error {
	var names []string
	for _, one := range p.prompts {
		names = append(names, one.name)
	}
	key := strings.Join(names, " ")
	s.pages = append(s.pages, key)
	if s.back == key {
		if s.backAt--; s.backAt <= 0 {
			s.back = ""
			return errBack
		}
	}
	if s.leave == key {
		return errLeft
	}
	for _, one := range p.prompts {
		if left := s.values[one.name]; len(left) > 0 {
			one.value, s.values[one.name] = left[0], left[1:]
		}
		if err := one.check(one.value); err != nil {
			return errors.New(one.name + ": " + err.Error())
		}
	}
	return nil
}

func runWizard(t *testing.T, s *scripted, given answers) (string, error) {
	t.Helper()
	b := testBuilder()
	w := &wizard{builder: b, by: s, answers: given, target: "-", render: b.file}
	text, err := w.run(t.Context())
	return string(text), err
}

// The order of the pages, a step back, and a change at the end that asks no more than it has to.
func TestWizardOrder(t *testing.T) {
	s := &scripted{
		values: map[string][]string{"service": {"vllm"}, "servers": {"2"}, "nodes-per-server": {"2"}, "model": {"m"}, "pattern": {"closed", "closed", "ramp"}, "then": {"change Workload"}},
		back:   "clients-per-node prompts",
	}
	text, err := runWizard(t, s, answers{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"service", "name cluster", "partition account qos", "servers nodes-per-server clients monitors", "backend",
		"server-gpus server-cpus server-memory client-cpus client-memory",
		"model set", "duration warmup pattern", "clients-per-node prompts", "duration warmup pattern", "clients-per-node prompts",
		"prompt-tokens output-tokens", "slo-ttft slo-tpot slo-e2e", "runtime", "image bind secret module", "then",
		"model set", "duration warmup pattern", "ramp prompts", "prompt-tokens output-tokens", "slo-ttft slo-tpot slo-e2e", "then",
	}
	if diff := cmp.Diff(want, s.pages); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !strings.Contains(text, "pattern: ramp") || strings.Contains(text, "clientsPerNode") {
		t.Errorf("the change is not in the file:\n%s", text)
	}
}

// Back out of a change at the end leaves everything as it was.
func TestWizardBackOutOfAChange(t *testing.T) {
	s := &scripted{values: map[string][]string{"service": {"ollama"}, "model": {"m"}, "then": {"change Nodes", "change Workload", "write"}}, back: "servers clients monitors"}
	s.backAt = 2
	text, err := runWizard(t, s, answers{})
	if err != nil || !strings.Contains(text, "model: m\n") {
		t.Fatalf("%v\n%s", err, text)
	}
	want := []string{"then", "servers clients monitors", "then", "model set", "duration warmup pattern", "clients-per-node prompts", "prompt-tokens output-tokens", "slo-ttft slo-tpot slo-e2e", "then"}
	if diff := cmp.Diff(want, s.pages[len(s.pages)-len(want):]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Another service does away with what was said of the first one.
func TestWizardForgetsTheServiceBefore(t *testing.T) {
	s := &scripted{values: map[string][]string{"service": {"vllm", "ollama"}, "model": {"org/m", "llama3"}, "then": {"change Service"}}}
	text, err := runWizard(t, s, answers{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "docker://ollama/ollama") || !strings.Contains(text, "model: llama3\n") || !strings.Contains(text, "name: ollama\n") {
		t.Errorf("not all of it speaks of ollama:\n%s", text)
	}
}

func TestWizardIsLeft(t *testing.T) {
	for _, s := range []*scripted{{leave: "partition account qos"}, {values: map[string][]string{"then": {"leave"}}}} {
		if text, err := runWizard(t, s, answers{}); !errors.Is(err, errLeft) || text != "" {
			t.Errorf("%v, %q", err, text)
		}
	}
}
