package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	starter "github.com/benchd/benchd/config"
	"github.com/benchd/benchd/home"
)

func newInitCommand(o *options) *cobra.Command {
	var deploy, monitoring bool
	cmd := &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Write a folder to start from: a cluster, a first run, samples for this site",
		Long: `Write a folder to start from, by default into this one: cluster.yaml says how this site's Slurm is used, first-run.yaml is a run
that works at once on this machine, and there is a sample for each service that is found here. README.md names the next three
commands. Files that are there already are left as they are.

With --deploy, write the files that keep a control plane up instead: a systemd user unit, a line for cron or scrontab, and a
batch script for sites that kill daemons on login nodes.

With --monitoring, write the files that show metrics on a laptop instead: Prometheus, Grafana and dashboards, and a copy of the
control plane's certificate and token.`,
		Example: "  benchd init experiments && cd experiments && benchd run -f first-run.yaml\n  benchd init --deploy ~/benchd-deploy\n  benchd init --monitoring ~/benchd-monitoring",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			folder := "."
			if len(args) > 0 {
				folder = args[0]
			}
			if deploy && monitoring {
				return exitError{exitInvalid, fmt.Errorf("--deploy and --monitoring write different files: give one of them")}
			}
			if deploy {
				files, err := embeddedFiles(starter.Deploy, starter.DeployFolder)
				if err != nil {
					return err
				}
				return writeStarter(say(cmd), folder, files)
			}
			if monitoring {
				return writeMonitoring(cmd, o, folder)
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
	cmd.Flags().BoolVar(&monitoring, "monitoring", false, "write the files that show metrics in Grafana")
	return cmd
}

// embeddedFiles are the files of a folder of the binary, by their paths in it.
func embeddedFiles(from fs.FS, folder string) ([]starterFile, error) {
	var files []starterFile
	err := fs.WalkDir(from, folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(from, path)
		files = append(files, starterFile{name: strings.TrimPrefix(path, folder+"/"), text: string(text)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the files: %w", err)
	}
	return files, nil
}

// writeMonitoring writes the files of Prometheus and Grafana, and what lets them in.
func writeMonitoring(cmd *cobra.Command, o *options, folder string) error {
	files, err := embeddedFiles(starter.Monitoring, starter.MonitoringFolder)
	if err != nil {
		return err
	}
	dir, err := home.Locate(o.home)
	if err != nil {
		return err
	}
	credentials, err := monitoringCredentials(string(dir))
	if err != nil {
		return err
	}
	if err := writeStarter(say(cmd), folder, append(files, credentials...)); err != nil {
		return err
	}
	if len(credentials) == 0 {
		say(cmd)("\nNext: put the control plane's tls.crt and token into %s. They are in %s once it was started with\n`benchd serve --listen HOST:PORT`; `benchd init --monitoring` copies them then.",
			filepath.Join(folder, "credentials"), filepath.Join(string(dir), "tls"))
		return nil
	}
	end, listens := tunnelEnd(dir)
	if !listens {
		say(cmd)("\nThe control plane has listened once; it does not listen on a port now: start it with `benchd serve --detach --listen 127.0.0.1:8443`.")
	}
	say(cmd)("\nNext: copy the folder to your laptop (scp -rp), open the tunnel (ssh -fN -L 8443:%s %s) and run `docker compose up -d` in it;\nREADME.md has the commands.", end, hostName())
	return nil
}

// tunnelEnd is where the control plane listens, as its own host sees it; and whether it does.
func tunnelEnd(dir home.Dir) (string, bool) {
	owner, err := dir.Owner()
	if err != nil || owner.URL == "" {
		return "localhost:8443", false
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(owner.URL, "https://"))
	if err != nil {
		return "localhost:8443", false
	}
	if slices.Contains([]string{"", "127.0.0.1", "::1", "0.0.0.0", "::"}, host) {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), true
}

// monitoringCredentials are the files of the home that let Prometheus in; none where the control plane never listened with TLS.
func monitoringCredentials(dir string) ([]starterFile, error) {
	var files []starterFile
	for _, name := range []string{"tls.crt", "token"} {
		text, err := os.ReadFile(filepath.Join(dir, "tls", name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("copy the control plane's credentials: %w", err)
		}
		files = append(files, starterFile{name: filepath.Join("credentials", name), text: string(text), private: true})
	}
	return files, nil
}

// hostName is this machine, as the user may know it.
func hostName() string {
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "LOGIN"
}

// starterFile is a file of the folder.
type starterFile struct {
	name, text string
	private    bool // for its owner alone, with its folder
}

// writeStarter writes what is not there yet, and says what was.
func writeStarter(say func(string, ...any), folder string, files []starterFile) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	for _, file := range files {
		path := filepath.Join(folder, file.name)
		fileMode, folderMode := fs.FileMode(0o644), fs.FileMode(0o755)
		if file.private {
			fileMode, folderMode = 0o600, 0o700
		}
		if err := os.MkdirAll(filepath.Dir(path), folderMode); err != nil {
			return fmt.Errorf("make the folder: %w", err)
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		if errors.Is(err, fs.ErrExist) {
			if err := renew(say, path, file); err != nil {
				return err
			}
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

// renew leaves a file of the folder as it is; but what lets Prometheus in is a copy, which is worth nothing when the control plane has
// made it anew.
func renew(say func(string, ...any), path string, file starterFile) error {
	if file.private {
		old, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read what is there: %w", err)
		}
		if string(old) != file.text {
			if err := os.WriteFile(path, []byte(file.text), 0o600); err != nil {
				return fmt.Errorf("renew what is there: %w", err)
			}
			say("%s is renewed", path)
			return nil
		}
	}
	say("%s was there and is left as it is", path)
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
		files = append(files, starterFile{name: name, text: fit(string(text))})
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
	return append(files, starterFile{name: "README.md", text: starterReadme(samples)}), nil
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
