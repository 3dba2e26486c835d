package controllers

import (
	"fmt"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
)

// Script is the batch script of an Allocation's job: it claims the folder, loads modules and becomes srun, with an agent
// on each node. Every value is quoted; processes of the service are started by the agents, from argument lists.
func Script(a *api.Allocation, folder node.Folder, binary string) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("#!/bin/bash")
	p("# benchd allocation %s/%s", a.Namespace, a.Name)
	p("# Values stand in single quotes on purpose.")
	p("# shellcheck disable=SC2016")
	p("umask 077")
	p("# The steps are to get this script's environment; the job itself was submitted with --export=NONE.")
	p("export SLURM_EXPORT_ENV=ALL")
	p("folder=%s", quote(string(folder)))
	p("")
	p("# Only the first start of the first job goes on: a late duplicate, or a requeue, finds the folder claimed.")
	p(`if ! (set -o noclobber && printf '{"jobId":"%%s","restart":%%s}\n' "$SLURM_JOB_ID" "${SLURM_RESTART_COUNT:-0}" >"$folder/claim"); then`)
	p(`  echo "benchd: job $SLURM_JOB_ID does not start: the folder is claimed by $(cat "$folder/claim")" >&2`)
	p("  exit %d", claimedExit)
	p("fi")
	b.WriteString(ModuleLines(&a.Spec))
	p("")
	args := []string{"srun", "--ntasks-per-node=1", "--kill-on-bad-exit=0", "--wait=0"}
	spec := NewJobSpec(a, folder, "")
	if spec.CPUs > 0 {
		args = append(args, "--cpus-per-task="+strconv.Itoa(spec.CPUs))
	}
	if spec.MemoryMiB > 0 || spec.Exclusive {
		args = append(args, "--mem=0")
	}
	if spec.GPUs > 0 {
		args = append(args, "--gres=gpu:"+strconv.Itoa(spec.GPUs))
	}
	if len(namedHosts(&a.Spec.Nodes)) > 0 {
		p("# Each role names its nodes: tasks are numbered in the order of this file.")
		p(`export SLURM_HOSTFILE="$folder/hosts"`)
		args = append(args, "--distribution=arbitrary")
	}
	p(`exec %s %s agent --folder "$folder"`, strings.Join(args, " "), quote(binary))
	return b.String()
}

// ModuleLines are the lines of a job's script that load what its servers need. They end the script when a named module cannot
// be loaded.
func ModuleLines(a *api.AllocationSpec) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	program, module := usualModule(a.Container.Runtime)
	if len(a.Slurm.Modules) > 0 || program != "" {
		p("")
		p("# Batch shells of some sites do not define `module` by themselves.")
		p("if ! type module >/dev/null 2>&1; then")
		p("  for init in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh /usr/share/lmod/lmod/init/bash; do")
		p("    # shellcheck disable=SC1090")
		p(`    if [ -r "$init" ]; then . "$init"; break; fi`)
		p("  done")
		p("fi")
		for _, module := range a.Slurm.Modules {
			p(`module load %s || { echo "benchd: cannot load module "%s >&2; exit %d; }`, quote(module), quote(module), moduleExit)
		}
	}
	if program != "" {
		p("# The container runtime commonly comes with a module of its name.")
		p("if ! command -v %s >/dev/null 2>&1 && type module >/dev/null 2>&1; then module load %s || true; fi", program, module)
	}
	return b.String()
}

// usualModule is the program of a runtime that sites bring by a module, and the module's usual name.
func usualModule(r api.Runtime) (program, module string) {
	switch r {
	case api.RuntimeApptainer:
		return "apptainer", "Apptainer"
	case api.RuntimeSingularity:
		return "singularity", "Singularity"
	}
	return "", ""
}

// Exit codes of the script, told apart from those of srun.
const (
	claimedExit = 101
	moduleExit  = 102
)

// quote makes a value a single inert word of bash. Only NUL cannot be quoted, and validation lets none through.
func quote(s string) string {
	q, err := syntax.Quote(s, syntax.LangBash)
	if err != nil {
		return "''"
	}
	return q
}
