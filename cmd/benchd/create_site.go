package main

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/container"
	"github.com/benchd/benchd/recipe"
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

// findSite looks at this machine. It never takes long: a Slurm that does not answer is left out.
func findSite(ctx context.Context) siteDefaults {
	s := siteDefaults{Programs: map[string]bool{}}
	for _, r := range api.Runtimes() {
		if r == api.RuntimeNone || r == api.RuntimePyxis { // the latter is a plug-in, and not to be found on PATH
			continue
		}
		if _, err := exec.LookPath(container.Program(r)); err == nil {
			s.Runtimes = append(s.Runtimes, string(r))
		}
	}
	for service, program := range servicePrograms {
		if _, err := exec.LookPath(program); err == nil {
			s.Programs[service] = true
		}
	}
	if account := os.Getenv(recipe.AccountVariable); account != "" {
		s.Accounts = []string{account}
	}
	if _, err := exec.LookPath("sbatch"); err == nil {
		s.Slurm = true
	}
	s.askSlurm(ctx)
	return s
}

// askSlurm has sinfo list partitions, for at most three seconds.
func (s *siteDefaults) askSlurm(ctx context.Context) {
	path, err := exec.LookPath("sinfo")
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-h", "-o", "%P|%l|%D|%c|%m|%G")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return
	}
	s.Slurm = true
	s.readPartitions(string(out))
}

// readPartitions reads lines such as "gpu*|2-00:00:00|200|64|515000|gpu:a100:4(S:0-1)". A partition of several kinds of nodes has
// several lines: the first one counts, with the most GPUs of all.
func (s *siteDefaults) readPartitions(text string) {
	gpus := map[int]int{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || cells[0] == "" {
			continue
		}
		name, isDefault := strings.CutSuffix(cells[0], "*")
		p := sitePartition{Name: name, TimeLimit: cells[1], Nodes: leadingInt(cells[2]), CPUs: leadingInt(cells[3]), MemoryMB: leadingInt(cells[4]), GPUs: gresGPUs(cells[5])}
		gpus[p.GPUs] += p.Nodes
		at := slices.IndexFunc(s.Partitions, func(other sitePartition) bool { return other.Name == name })
		switch {
		case at >= 0:
			known := &s.Partitions[at]
			known.Nodes, known.GPUs = known.Nodes+p.Nodes, max(known.GPUs, p.GPUs)
		case isDefault:
			s.Partitions = slices.Insert(s.Partitions, 0, p)
		default:
			s.Partitions = append(s.Partitions, p)
		}
	}
	most := 0
	for n, nodes := range gpus {
		if n > 0 && (nodes > most || nodes == most && n > s.GPUsPerNode) {
			s.GPUsPerNode, most = n, nodes
		}
	}
}

// leadingInt reads the number that a text begins with: sinfo prints "64+" where nodes differ.
func leadingInt(text string) int {
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	n, _ := strconv.Atoi(text[:end]) // none is 0
	return n
}

// gresGPUs counts the GPUs of a node in Slurm's GRES, such as gpu:4, gpu:a100:4(S:0-1) or gpu:a100:2,gpu:v100:2.
func gresGPUs(gres string) int {
	total := 0
	for _, part := range strings.Split(gres, ",") {
		part, _, _ = strings.Cut(part, "(")
		kind, rest, ok := strings.Cut(part, ":")
		if !ok || kind != "gpu" {
			continue
		}
		total += leadingInt(rest[strings.LastIndex(rest, ":")+1:])
	}
	return total
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
