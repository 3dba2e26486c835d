package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/recipe"
	"github.com/benchd/benchd/site"
)

// siteDefaults are the facts about the site that answers are proposed from. What is not known is empty, and asked for.
type siteDefaults struct {
	// Slurm says that its commands are on this machine.
	Slurm bool
	// Partitions that jobs can be submitted to, the site's default first.
	Partitions []sitePartition
	// Accounts and QOS that the user can charge and ask for, the default ones first.
	Accounts, QOS []string
	// GPUsPerNode of most nodes that have GPUs.
	GPUsPerNode int
	// Runtimes of containers on PATH.
	Runtimes []string
	// Programs of services on PATH, by the name of the service.
	Programs map[string]bool
}

// sitePartition is a partition and what its nodes have.
type sitePartition struct {
	Name      string
	TimeLimit string
	Nodes     int
	CPUs      int
	MemoryMB  int
	GPUs      int
}

// servicePrograms are the programs that say that a service is installed on this machine.
var servicePrograms = map[string]string{
	"ollama": "ollama", "vllm": "vllm", "llama.cpp": "llama-server", "tensorrt-llm": "trtllm-serve", "tgi": "text-generation-launcher", "sglang": "sglang",
}

// siteTimeout bounds the look at the site: nobody waits for proposals.
const siteTimeout = 5 * time.Second

// findSite looks at this machine and its Slurm. What does not answer in time is left out.
func findSite(ctx context.Context) siteDefaults {
	ctx, cancel := context.WithTimeout(ctx, siteTimeout)
	defer cancel()
	facts := site.Look(ctx, &api.ClusterSpec{Type: api.ClusterSlurm})
	s := defaultsOf(&facts)
	s.Programs = map[string]bool{}
	for service, program := range servicePrograms {
		if _, err := exec.LookPath(program); err == nil {
			s.Programs[service] = true
		}
	}
	if account := os.Getenv(recipe.AccountVariable); account != "" {
		s.Accounts = ahead(s.Accounts, account)
	}
	return s
}

// defaultsOf makes proposals of what was found out.
func defaultsOf(f *site.Facts) siteDefaults {
	s := siteDefaults{Slurm: f.Known(site.AskCommands)}
	for _, r := range f.Runtimes {
		if name := r.Name; name != string(api.RuntimePyxis) { // a plug-in, and not to be found on PATH
			s.Runtimes = append(s.Runtimes, name)
		}
	}
	for _, a := range f.Associations {
		if !slices.Contains(s.Accounts, a.Account) {
			s.Accounts = append(s.Accounts, a.Account)
		}
		for _, qos := range a.QOS {
			if !slices.Contains(s.QOS, qos) {
				s.QOS = append(s.QOS, qos)
			}
		}
		if a.DefaultQOS != "" && a.Account == f.DefaultAccount {
			s.QOS = ahead(s.QOS, a.DefaultQOS)
		}
	}
	if f.DefaultAccount != "" {
		s.Accounts = ahead(s.Accounts, f.DefaultAccount)
	}
	gpus := map[int]int{} // nodes by their number of GPUs
	for i := range f.Partitions {
		p := &f.Partitions[i]
		own := sitePartition{
			Name: p.Name, TimeLimit: slurmLimit(p.MaxTime), Nodes: p.Total(), CPUs: p.CPUs(), MemoryMB: int(p.MemoryMiB()), GPUs: p.GPUs(),
		}
		for j := range p.Groups {
			gpus[p.Groups[j].GPUs()] += p.Groups[j].Count
		}
		if p.Default {
			s.Partitions = slices.Insert(s.Partitions, 0, own)
		} else {
			s.Partitions = append(s.Partitions, own)
		}
	}
	s.GPUsPerNode = mostCommon(gpus)
	return s
}

// mostCommon is the number of GPUs that most nodes with any have; of two, the larger.
func mostCommon(gpus map[int]int) int {
	common, most := 0, 0
	for n, nodes := range gpus {
		if n > 0 && (nodes > most || nodes == most && n > common) {
			common, most = n, nodes
		}
	}
	return common
}

// ahead puts a word before the others.
func ahead(words []string, word string) []string {
	return append([]string{word}, slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == word })...)
}

// slurmLimit is a partition's limit in words.
func slurmLimit(d time.Duration) string {
	switch {
	case d == 0:
		return "no limit"
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%d-00:00:00", d/(24*time.Hour))
	}
	return d.String()
}

// partition finds a partition by its name.
func (s *siteDefaults) partition(name string) (sitePartition, bool) {
	for _, p := range s.Partitions {
		if p.Name == name {
			return p, true
		}
	}
	return sitePartition{}, false
}
