# Every target is run from the root of the project. GO can be set to another toolchain.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# What resolves names and users is Go's own, so that with cgo the binary needs the C library alone.
BUILD := $(GO) build -trimpath -tags netgo,osusergo -ldflags "-s -w -X main.version=$(VERSION)"
# cgo is for NVML, which knows more of GPUs than nvidia-smi. `make build CGO_ENABLED=0` makes a static binary. Warnings of foreign
# headers are nobody's business here.
export CGO_ENABLED ?= $(if $(shell command -v $(or $(CC),cc) 2>/dev/null),1,0)
export CGO_CFLAGS ?= -Wno-deprecated-declarations
FUZZ_TIME ?= 20s

.DEFAULT_GOAL := help
.PHONY: help build demo test unit slurm-packages chaos bench fuzz check generate verify clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/benchd
	$(BUILD) -o bin/benchd ./cmd/benchd

demo: build ## run a sample benchmark on this machine and print its report
	@hack/demo

test: slurm-packages ## every test, those on a real Slurm cluster included where one can be set up
	hack/test

unit: ## the tests that need no Slurm
	BENCHD_TEST_SLURM=off $(GO) test -race ./...

slurm-packages: # as root on Debian without a Slurm of its own: install what the tests need, start nothing
	@hack/install-packages || [ $$? -eq 3 ]

chaos: slurm-packages ## the long survival tests: 200 kills of the control plane on embedded and on Slurm
	BENCHD_CHAOS=full hack/test -run 'Chaos' -timeout 80m ./cmd/benchd

bench: build ## the load engine beside its peers, a table for each figure (15 min); then what steps, sweeps and watching cost (35 min)
	@hack/bench/install || [ $$? -eq 3 ]
	cd hack/bench && $(GO) run . -benchd ../../bin/benchd
	$(GO) test -run '^$$' -bench . -benchmem ./store ./controllers ./slurmadapter ./report ./plan ./node/logs ./node/monitor
	$(GO) test -run '^$$' -bench 'SweepOf|HomeOf|Apply|EffectOf' -benchtime 1x -v ./cmd/benchd
	BENCHD_RACE= BENCHD_BENCH_PER_TRIAL=1 hack/test -run '^$$' -bench 'SharedAllocations|IdleWithQueued' -benchtime 1x -timeout 60m -v ./cmd/benchd

fuzz: ## run every fuzz target for FUZZ_TIME
	hack/fuzz $(FUZZ_TIME)

check: ## format, vet, lint
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else echo "golangci-lint is not here: lint left out"; fi
	@if command -v shellcheck >/dev/null; then shellcheck hack/demo hack/test hack/fuzz hack/install-packages hack/slurm-cluster hack/bench/install config/deploy/serve.sbatch .ci/run; fi

generate: ## write the JSON Schemas from the Go types
	$(GO) generate ./...

verify: generate ## fail when generated files or go.mod are not up to date
	$(GO) mod tidy
	git diff --exit-code

clean: ## remove what was built
	rm -rf bin
