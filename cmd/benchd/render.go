package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"mvdan.cc/sh/v3/syntax"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
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
		Args:  cobra.NoArgs,
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
	words := []string{"sbatch"}
	for _, arg := range job.SubmitArgs() {
		quoted, err := syntax.Quote(arg, syntax.LangBash)
		if err != nil {
			return fmt.Errorf("quote %q: %w", arg, err)
		}
		words = append(words, quoted)
	}
	manifest := controllers.NewManifest(a, "", binary)
	data, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	say("# --- submitted with\n%s\n", strings.Join(words, " "))
	say("# --- %s\n%s", folder.Script(), script)
	say("# --- %s\n%s\n", folder.Manifest(), data)
	return renderServers(say, &manifest, binary, folder)
}

func renderServers(say func(string, ...any), manifest *node.Manifest, binary string, folder node.Folder) error {
	service, err := services.Get(manifest.Service.Name)
	if err != nil {
		return err
	}
	for _, r := range manifest.Replicas {
		command, err := service.Launch(services.Launch{
			Binary: binary, Spec: manifest.Service, Address: "ADDRESS", Port: r.Port, GPUs: r.GPUs, APIKey: "KEY",
			Logs: folder.Logs("NODE"), Replica: r.Name,
		})
		if err != nil {
			return err
		}
		data, err := json.Marshal(command.Args)
		if err != nil {
			return err
		}
		say("# --- server %s on rank %v\n%s", r.Name, r.Ranks, data)
	}
	return nil
}
