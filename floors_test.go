// Package benchd holds no code of its own: this test keeps the house in order.
package benchd

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/benchd/benchd/"

// floors is the architecture: a room may import only rooms on a lower floor. A room within a room stands half a floor
// above it, so the figures are tens. docs/architecture.md tells what lives where.
var floors = map[string]int{
	"api/v1alpha1": 0, "schemas": 0, "config": 0,
	"api/node": 1, "schemas/generate": 1, "config/monitoring/dashboards": 1, "config/monitoring/generate": 2,
	"home": 10, "store": 10, "slurmadapter": 10, "protocol": 10, "simulate": 10, "manifest": 10, "container": 10,
	"slurmadapter/embedded": 11, "store/storetest": 11, "transport": 11, "tokenizer": 10,
	"services": 20, "workload": 20, "node/monitor": 20, "node/logs": 20,
	"report": 30, "recipe": 30, "plan": 30,
	"controllers": 40, "node/executor": 40, "client": 40, "site": 40,
	"server": 50, "node/agent": 50,
	"cmd/benchd": 60, "hack/standin": 60,
}

// unlinked are rooms that must never reach what stands beside them, not even through others.
var unlinked = map[string][]string{
	"node/agent":   {module + "store", module + "controllers", module + "server", module + "slurmadapter", "go.etcd.io/bbolt"},
	"workload":     {module + "store", module + "slurmadapter", "go.etcd.io/bbolt"},
	"slurmadapter": {module + "api/v1alpha1", module + "api/node"},
	"client":       {module + "store", "go.etcd.io/bbolt"},
	"cmd/benchd":   {module + "config/monitoring/dashboards"}, // it carries the files that are made by it
	"report":       {module + "store", module + "slurmadapter"},
}

func TestFloors(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(out))
	seen := map[string]bool{}
	for {
		var pkg struct {
			ImportPath    string
			Imports, Deps []string
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		room, ours := strings.CutPrefix(pkg.ImportPath, module)
		if !ours {
			continue
		}
		seen[room] = true
		floor, known := floors[room]
		if !known {
			t.Errorf("%s stands on no floor: add it to this test and to docs/architecture.md", room)
		}
		for _, path := range pkg.Imports {
			other, ours := strings.CutPrefix(path, module)
			if ours && floors[other] >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports go to a strictly lower floor", room, floor, other, floors[other])
			}
		}
		for _, banned := range unlinked[room] {
			for _, dep := range pkg.Deps {
				if dep == banned {
					t.Errorf("%s links %s, which it does not need", room, banned)
				}
			}
		}
	}
	for room := range floors {
		if !seen[room] && room != "config" && room != "store/storetest" {
			t.Errorf("%s stands on a floor and does not exist", room)
		}
	}
}
