package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	starter "github.com/benchd/benchd/config"
	"github.com/benchd/benchd/home"
)

func newInitCommand(o *options) *cobra.Command {
	var deploy bool
	cmd := &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Write a folder to start from: a cluster, a first run, samples for this site",
		Long: `Write a folder to start from, by default into this one: cluster.yaml says how this site's Slurm is used, first-run.yaml is a run
that works at once on this machine, and there is a sample for each service that is found here. README.md names the next three
commands. Files that are there already are left as they are.

With --deploy, write the files that keep a control plane up instead: a systemd user unit, a line for cron or scrontab, and a
batch script for sites that kill daemons on login nodes.`,
		Example: "  benchd init experiments && cd experiments && benchd run -f first-run.yaml\n  benchd init --deploy ~/benchd-deploy",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			folder := "."
			if len(args) > 0 {
				folder = args[0]
			}
			if deploy {
				files, err := deployFiles()
				if err != nil {
					return err
				}
				return writeStarter(say(cmd), folder, files)
			}
			dir, err := home.Locate(o.home)
			if err != nil {
				return err
			}
			files, err := starterFiles(findSite(cmd.Context()), string(dir))
			if err != nil {
				return err
			}
			if err := writeStarter(say(cmd), folder, files); err != nil {
				return err
			}
			say(cmd)("\nNext: benchd run -f %s", quoteWords([]string{filepath.Join(folder, "first-run.yaml")}))
			return nil
		},
	}
	cmd.Flags().BoolVar(&deploy, "deploy", false, "write the files that keep a control plane up")
	return cmd
}

// deployFiles are the files that keep a control plane up.
func deployFiles() ([]starterFile, error) {
	entries, err := starter.Deploy.ReadDir(starter.DeployFolder)
	if err != nil {
		return nil, fmt.Errorf("read the files: %w", err)
	}
	var files []starterFile
	for _, e := range entries {
		text, err := starter.Deploy.ReadFile(starter.DeployFolder + "/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read the files: %w", err)
		}
		files = append(files, starterFile{e.Name(), string(text)})
	}
	return files, nil
}

// starterFile is a file of the folder.
type starterFile struct {
	name, text string
}

// writeStarter writes what is not there yet, and says what was.
func writeStarter(say func(string, ...any), folder string, files []starterFile) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	for _, file := range files {
		path := filepath.Join(folder, file.name)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			say("%s was there and is left as it is", path)
			continue
		}
		if err != nil {
			return fmt.Errorf("write the folder: %w", err)
		}
		_, err = f.WriteString(file.text)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("write the folder: %w", err)
		}
		say("%s is written", path)
	}
	return nil
}

// starterFiles are the samples that fit the site, with its values in place of the samples'.
func starterFiles(site siteDefaults, dir string) ([]starterFile, error) {
	var files []starterFile
	add := func(name, sample string, fit func(string) string) error {
		text, err := starter.Samples.ReadFile(starter.Folder + "/" + sample)
		if err != nil {
			return fmt.Errorf("read the sample: %w", err)
		}
		files = append(files, starterFile{name, fit(string(text))})
		return nil
	}
	err := errors.Join(
		add("cluster.yaml", "cluster.yaml", func(text string) string { return clusterFor(text, &site, dir) }),
		add("first-run.yaml", "dummy-embedded.yaml", func(text string) string { return strings.Replace(text, "name: demo", "name: first-run", 1) }),
	)
	samples := starterServices(&site)
	for _, service := range samples {
		err = errors.Join(err, add(service+".yaml", service+".yaml", func(text string) string { return runFor(text, &site, service) }))
	}
	if err != nil {
		return nil, err
	}
	return append(files, starterFile{"README.md", starterReadme(samples)}), nil
}

// starterServices are the services that can be run here: those whose program is on PATH, and the most used ones where there are
// containers, or a Slurm, whose nodes commonly have them.
func starterServices(site *siteDefaults) []string {
	var all []string
	for _, name := range []string{"ollama", "vllm", "sglang", "llama.cpp", "tensorrt-llm", "tgi"} {
		common := name == "ollama" || name == "vllm"
		if site.Programs[name] || common && (site.Slurm || len(site.Runtimes) > 0) {
			all = append(all, name)
		}
	}
	return all
}

// starterReadme names the next three commands.
func starterReadme(samples []string) string {
	own := "`benchd create` asks what is to be benchmarked, and writes the file."
	last := "benchd create run.yaml && benchd run -f run.yaml"
	if len(samples) > 0 {
		own = fmt.Sprintf("In `%s.yaml`, change what says `change this`, and the paths of images and models.", samples[0])
		last = fmt.Sprintf("benchd run -f %s.yaml", samples[0])
	}
	return fmt.Sprintf("# Benchmarks\n\nThe next three commands:\n\n```console\n$ benchd run -f first-run.yaml\n$ benchd apply -f cluster.yaml\n$ %s\n```\n\n"+
		"1. A simulated server on this machine: no Slurm, no GPU. It takes about 15 s and prints its report.\n"+
		"2. How Slurm is used here. Correct the work folder first: login and compute nodes have to share it.\n"+
		"3. A benchmark of your own. %s\n   `benchd validate -f FILE` checks a file, `benchd render -f FILE` shows the job.\n\n"+
		"`benchd list` shows the files of this folder, `benchd get runs` what became of them, `benchd create` asks and writes another\none.\n", last, own)
}
