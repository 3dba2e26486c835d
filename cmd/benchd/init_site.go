package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/services"
)

// Values of the samples that sites replace.
const (
	sampleAccount = "p200981"
	sampleScratch = "/project/scratch/" + sampleAccount
)

// clusterFor puts the work folder where it can be: on the project's scratch file system where there is one, else in the home.
func clusterFor(text string, site *siteDefaults, dir string) string {
	scratch := strings.Replace(sampleScratch, sampleAccount, account(site), 1)
	if info, err := os.Stat(scratch); err == nil && info.IsDir() {
		return strings.ReplaceAll(text, sampleAccount, account(site))
	}
	return strings.Replace(text, sampleScratch+"/benchd # change this", filepath.Join(dir, "work")+" # change this where your home is small, or not shared", 1)
}

// account is the one that runs are charged to; the samples' where none is known.
func account(site *siteDefaults) string {
	if len(site.Accounts) > 0 {
		return site.Accounts[0]
	}
	return sampleAccount
}

// runFor puts the site's account, partition and container runtime into a sample.
func runFor(text string, site *siteDefaults, service string) string {
	if len(site.Accounts) > 0 {
		text = strings.ReplaceAll(text, sampleAccount+" # change this", sampleAccount)
		text = strings.ReplaceAll(text, sampleAccount, account(site))
	}
	for _, name := range []string{"gpu", "cpu"} {
		if _, known := site.partition(name); known || len(site.Partitions) == 0 {
			continue
		}
		own := site.Partitions[0].Name
		if name == "gpu" {
			own = presetPartition(site, answers{"service": {service}})
		}
		text = strings.Replace(text, "partition: "+name+"\n", "partition: "+own+"\n", 1)
	}
	switch {
	case len(site.Runtimes) > 0:
		return withRuntime(text, site.Runtimes, service)
	case site.Programs[service]:
		return withoutContainer(text)
	}
	return text
}

// withRuntime names a runtime that is there. Only Apptainer and its predecessor read the sample's image file.
func withRuntime(text string, runtimes []string, service string) string {
	if slices.Contains(runtimes, string(api.RuntimeApptainer)) {
		return text
	}
	text = strings.Replace(text, "runtime: apptainer", "runtime: "+runtimes[0], 1)
	if known, err := services.Get(service); err == nil && runtimes[0] != string(api.RuntimeSingularity) {
		text = editContainer(text, func(key, line string) string {
			if key == "image" {
				return "    image: " + known.Image + " # `benchd image pull` fetches it once\n"
			}
			return line
		})
	}
	if runtimes[0] == string(api.RuntimeCharliecloud) {
		text = strings.ReplaceAll(text, ":ro\"", "\"") // it mounts for writing alone
	}
	return text
}

// withoutContainer leaves out what only containers need, for the program is on PATH.
func withoutContainer(text string) string {
	text = editContainer(text, func(key, line string) string {
		if key == "runtime" || key == "image" || key == "binds" {
			return ""
		}
		return line
	})
	return strings.Replace(text, "  container:\n  workload:", "  workload:", 1)
}

// editContainer changes the lines of a sample's container; key is that of the part that a line belongs to.
func editContainer(text string, edit func(key, line string) string) string {
	var out strings.Builder
	inside, key := false, ""
	for line := range strings.Lines(text) {
		switch indent := len(line) - len(strings.TrimLeft(line, " ")); {
		case indent <= 2:
			inside = strings.HasPrefix(line, "  container:")
			key = ""
		case inside && indent == 4 && !strings.HasPrefix(line, "    #"):
			key, _, _ = strings.Cut(strings.TrimSpace(line), ":")
		}
		if inside && key != "" {
			line = edit(key, line)
		}
		out.WriteString(line)
	}
	return out.String()
}
