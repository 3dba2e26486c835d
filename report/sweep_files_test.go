package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Lists without entries are lists: who goes through them need not ask first.
func TestSweepWithoutTrialsHasEmptyLists(t *testing.T) {
	files, err := Sweep(aSweepOf(clientsPath), nil).Files()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(files[SweepJSON], &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"axes", "points", "best", "pareto", "scaling", "guidance"} {
		if list, is := got[name].([]any); !is || len(list) > 0 {
			t.Errorf("%s is %v", name, got[name])
		}
	}
}

// What was cancelled has not failed, and the text says why each of both has no numbers.
func TestSweepSaysWhyRunsHaveNoNumbers(t *testing.T) {
	end := func(clients float64, phase api.RunPhase, reason string) Trial {
		return aTrial(api.Values{clientsPath: clients}, 1, func(tr *Trial) { tr.Phase, tr.Reason, tr.Summary = phase, reason, nil })
	}
	trials := []Trial{end(1, api.RunCancelled, "SweepStopped"), end(6, api.RunCancelled, "")}
	for clients := 2.0; clients <= 5; clients++ {
		trials = append(trials, end(clients, api.RunFailed, "ServerUnhealthy"))
	}
	r := Sweep(aSweepOf(clientsPath), trials)
	if r.Failed != 4 || r.Cancelled != 2 || r.Points[0].Cancelled != 1 || r.Points[1].Failed != 1 {
		t.Errorf("%+v", r)
	}
	md := r.Markdown()
	for _, want := range []string{"6 trials: 0 measured, 4 failed, 2 cancelled, 0 not ended.", "- Cancelled: ", "- ServerUnhealthy: ", " and 1 more\n", "- SweepStopped: "} {
		if !strings.Contains(md, want) {
			t.Errorf("%q is not in the text:\n%s", want, md)
		}
	}
}

// A run that failed on the way has numbers, and is not told as one that went well.
func TestSweepSaysWhichRunsWereMeasuredInPart(t *testing.T) {
	md := Sweep(aSweepOf(clientsPath), []Trial{
		aTrial(api.Values{clientsPath: 1.0}, 1, func(tr *Trial) { tr.Phase, tr.Reason = api.RunFailed, "ServerExited" }),
		aTrial(api.Values{clientsPath: 2.0}, 1, func(*Trial) {}),
	}).Markdown()
	for _, want := range []string{"2 trials: 2 measured (1 of them not to the end), 0 failed, 0 not ended.", "- ServerExited, measured until then: "} {
		if !strings.Contains(md, want) {
			t.Errorf("%q is not in the text:\n%s", want, md)
		}
	}
}

// When an axis is no more its plots go too; what is not a plot of the sweep stays.
func TestWriteSweepRemovesOldPlots(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "sweep")
	write := func(path string) {
		t.Helper()
		trials := []Trial{aTrial(api.Values{path: 1.0}, 1, nil), aTrial(api.Values{path: 2.0}, 1, nil)}
		names, err := WriteSweep(folder, Sweep(aSweepOf(path), trials))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
				t.Error(err)
			}
		}
	}
	write(clientsPath)
	mine := filepath.Join(folder, "mine.svg")
	if err := os.WriteFile(mine, []byte("<svg/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(rateConst)
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
	if old, _ := filepath.Glob(filepath.Join(folder, "*clientsPerNode*")); len(old) > 0 {
		t.Errorf("old plots stay: %v", old)
	}
}
