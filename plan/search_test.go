package plan

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// A search of a service that passes up to some limit finds it within the tolerance, and ends.
func TestSearchFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &api.SearchSpec{Path: rapid.SampledFrom([]string{"workload.load.rate", "workload.load.clientsPerNode"}).Draw(t, "path"), Tolerance: 0.05, MaxTrials: 60}
		s.Min = rapid.Float64Range(1, 10).Draw(t, "min")
		if whole(s.Path) {
			s.Min = float64(int(s.Min))
		}
		s.Max = s.Min * rapid.Float64Range(1, 1000).Draw(t, "span")
		limit := rapid.Float64Range(0.1, 3*s.Max).Draw(t, "limit")
		var probes []Probe
		for {
			next, found := Search(s, probes)
			if next == nil {
				if !found.Done {
					t.Fatalf("nothing more is tried, and it is not done: %+v", found)
				}
				switch {
				case limit < s.Min:
					if found.Passed != nil {
						t.Fatalf("%v passed, the limit is %v", *found.Passed, limit)
					}
				case found.Passed == nil || *found.Passed > limit:
					t.Fatalf("found %+v, the limit is %v", found, limit)
				case found.Failed != nil && *found.Failed-*found.Passed > s.Tolerance**found.Passed+1:
					t.Fatalf("found %v to %v, the limit is %v", *found.Passed, *found.Failed, limit)
				case found.Failed == nil && *found.Passed < s.Max-1:
					t.Fatalf("ended at %v of %v without a failure", *found.Passed, s.Max)
				}
				return
			}
			if *next < s.Min-1e-9 || *next > s.Max+1e-9 {
				t.Fatalf("tries %v outside of %v to %v", *next, s.Min, s.Max)
			}
			for _, p := range probes {
				if p.Value == *next {
					t.Fatalf("tries %v again", *next)
				}
			}
			probes = append(probes, Probe{Value: *next, Ended: true, Passed: *next <= limit})
			if len(probes) > 60 {
				t.Fatal("does not end")
			}
		}
	})
}

func TestSearchWaitsAndGivesUp(t *testing.T) {
	s := &api.SearchSpec{Path: "workload.load.rate", Min: 1, Max: 100, Tolerance: 0.05, MaxTrials: 3}
	if next, found := Search(s, []Probe{{Value: 1}}); next != nil || found.Done {
		t.Errorf("a probe is under way, and %v is tried: %+v", next, found)
	}
	broken := Probe{Value: 1, Ended: true, Broken: true}
	if next, found := Search(s, []Probe{broken}); next != nil || !found.Done || !strings.Contains(found.Why, "ended without numbers") {
		t.Errorf("nothing but a broken run, and it goes on, or says something else: %v, %+v", next, found)
	}
	passed := func(v float64) Probe { return Probe{Value: v, Ended: true, Passed: true} }
	if next, found := Search(s, []Probe{passed(1), {Value: 2}}); next != nil || found.Done || found.Passed == nil || *found.Passed != 1 {
		t.Errorf("what has passed is not known while the next probe is under way: %v, %+v", next, found)
	}
	if next, found := Search(s, []Probe{passed(1), passed(2), passed(4)}); next != nil || !found.Done || *found.Passed != 4 {
		t.Errorf("maxTrials is over, and it goes on: %v, %+v", next, found)
	}
}

// What a node or the job did to a run says nothing of the service: the value is tried again, and neither passed nor failed.
func TestSearchTriesALostValueAgain(t *testing.T) {
	s := &api.SearchSpec{Path: "workload.load.rate", Min: 1, Max: 100, Tolerance: 0.05, MaxTrials: 20}
	passed := Probe{Value: 1, Run: "a", Ended: true, Passed: true}
	lost := Probe{Value: 2, Run: "b", Ended: true, Broken: true, Lost: true}
	if next, found := Search(s, []Probe{passed, lost}); next == nil || *next != 2 || found.Failed != nil {
		t.Errorf("after a lost run the next is not the same: %v, %+v", next, found)
	}
	again := lost
	again.Run = "c"
	if next, found := Search(s, []Probe{passed, lost, again}); next != nil || !found.Done || found.Failed != nil || *found.Passed != 1 ||
		!strings.Contains(found.Why, "runs b and c at 2 were lost") {
		t.Errorf("after two lost runs: %v, %+v", next, found)
	}
	broken := Probe{Value: 1, Run: "d", Ended: true, Broken: true}
	lost.Value = 1
	if next, found := Search(s, []Probe{lost, broken}); next != nil || !found.Done || !strings.Contains(found.Why, "1 runs ended without numbers") {
		t.Errorf("after a lost and a broken run: %v, %+v", next, found)
	}
}

// Fields that take fractions are searched in fractions, whatever their names; counts are not.
func TestSearchOfFractions(t *testing.T) {
	for path, want := range map[string]float64{
		"workload.load.rate": 1.5, "workload.load.trace.speed": 1.5, "workload.load.burst.offRate": 1.5,
		"workload.load.clientsPerNode": 1, "workload.prompts.tokens": 1, "service.config.maxNumSeqs": 1,
	} {
		s := &api.SearchSpec{Path: path, Min: 0.75, Max: 8, Tolerance: 0.05, MaxTrials: 20}
		if next, _ := Search(s, nil); next == nil || *next != 0.75 {
			t.Errorf("%s: the first value is %v, want search.min", path, *next)
		}
		if next, _ := Search(s, []Probe{{Value: 0.75, Ended: true, Passed: true}}); next == nil || *next != want {
			t.Errorf("%s: the second value is %v, want %v", path, *next, want)
		}
	}
}
