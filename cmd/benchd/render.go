package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"mvdan.cc/sh/v3/syntax"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
	"github.com/benchd/benchd/container"
	"github.com/benchd/benchd/controllers"
	"github.com/benchd/benchd/home"
	"github.com/benchd/benchd/services"
)

func newRenderCommand(o *options) *cobra.Command {
	var files []string
	var recursive bool
	cmd := &cobra.Command{
		Use:   "render -f FILE",
		Short: "Print the batch script, its sbatch command, the manifest and the servers' commands, without submitting",
		Args:  filesAlone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			docs, err := o.readManifests(cmd, files, recursive)
			if err != nil {
				return err
			}
			dir, err := home.Locate(o.home)
			if err != nil {
				return err
			}
			for _, doc := range docs {
				run, ok := doc.Object.(*api.BenchmarkRun)
				if !ok {
					note(cmd)("%s:%d: %s makes no job", doc.File, doc.Line, display(doc.Object))
					continue
				}
				if err := render(say(cmd), run, dir); err != nil {
					return err
				}
			}
			return nil
		},
	}
	fileFlags(cmd, &files, &recursive)
	return cmd
}

// render prints what would be submitted. What is drawn at that time (the uid, the work folder of the cluster, the name of
// the executable) is shown by stand-ins.
func render(say func(string, ...any), run *api.BenchmarkRun, dir home.Dir) error {
	const uid = "00000000-0000-0000-0000-000000000000"
	workdir := filepath.Join(string(dir), "work")
	run.UID = uid
	a := controllers.NewAllocation(run, run.Name+"-1")
	a.UID = uid
	folder := node.Folder(filepath.Join(workdir, a.Namespace, "allocations", a.Name+"-"+uid[:8]))
	binary := filepath.Join(workdir, "bin", "benchd")
	script := controllers.Script(a, folder, binary)
	job := controllers.NewJobSpec(a, folder, "benchd-"+uid)
	manifest := controllers.NewManifest(a, "", binary)
	data, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	say("# --- submitted with\nsbatch %s\n", quoteWords(job.SubmitArgs()))
	say("# --- %s\n%s", folder.Script(), script)
	say("# --- %s\n%s\n", folder.Manifest(), data)
	return renderServers(say, &manifest, binary, folder)
}

// renderServers prints what runs on each node: the service's own commands, and how their container is run. Addresses, which are
// known on the nodes alone, are shown by stand-ins.
func renderServers(say func(string, ...any), manifest *node.Manifest, binary string, folder node.Folder) error {
	service, err := services.Of(&manifest.Service)
	if err != nil {
		return err
	}
	for _, endpoint := range manifest.Service.Endpoints {
		say("# --- %s runs already", endpoint)
	}
	for _, r := range manifest.Replicas {
		addresses := make([]string, len(r.Ranks))
		for i, rank := range r.Ranks {
			addresses[i] = fmt.Sprintf("ADDRESS-OF-RANK-%d", rank)
		}
		for part, rank := range r.Ranks {
			processes, err := service.Launch(services.Launch{
				Binary: binary, Spec: manifest.Service, Address: addresses[part], Port: r.Port, GPUs: r.GPUs, CPUs: manifest.CPUs, APIKey: "KEY",
				Logs: folder.Logs("NODE"), Scratch: "/tmp/benchd-UID-" + r.Name, Replica: r.Name, Nodes: addresses, Node: part,
			})
			if err != nil {
				return err
			}
			for _, p := range processes {
				if err := renderProcess(say, manifest, r, rank, p); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func renderProcess(say func(string, ...any), manifest *node.Manifest, r node.Replica, rank int, p services.Process) error {
	name := r.Name
	if p.Name != "" {
		name += "-" + p.Name
	}
	say("# --- server %s on rank %d", name, rank)
	if p.Await != "" {
		say("# starts once %s accepts connections", p.Await)
	}
	if p.Gate != nil {
		say("# starts once this is content, and fails when it no more is: %s", quoteWords(p.Gate.Args))
	}
	env := maps.Clone(manifest.Container.Env)
	if env == nil {
		env = map[string]string{}
	}
	for secret := range manifest.Container.Secrets {
		env[secret] = "***"
	}
	if len(r.GPUs) > 0 {
		env["CUDA_VISIBLE_DEVICES"] = strings.Trim(strings.ReplaceAll(fmt.Sprint(r.GPUs), " ", ","), "[]")
	}
	maps.Copy(env, p.Env)
	command, err := container.Describe(&manifest.Container, container.Process{
		Name: name, Args: p.Args, Env: env, Folder: "/tmp/benchd-UID-" + r.Name, GPUs: len(r.GPUs) > 0, Node: "NODE", Shared: len(r.Ranks) > 1,
	})
	if err != nil {
		return err
	}
	for _, variable := range slices.Sorted(maps.Keys(command.Env)) {
		value := command.Env[variable]
		if services.SecretVariable(variable) {
			value = "***"
		}
		say("export %s=%s", variable, quoteWords([]string{value}))
	}
	say("%s\n", quoteWords(command.Args))
	return nil
}

// quoteWords prints an argument list as a shell would take it.
func quoteWords(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		q, err := syntax.Quote(word, syntax.LangBash)
		if err != nil {
			q = strconv.Quote(word) // NUL, which no argument can hold
		}
		quoted[i] = q
	}
	return strings.Join(quoted, " ")
}
