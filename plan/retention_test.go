package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// What is needed never goes; what stays is within every bound, and newer than what goes; without a bound nothing goes.
func TestExpire(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		var runs []Finished
		for i := range rapid.IntRange(0, 40).Draw(t, "runs") {
			f := Finished{Name: fmt.Sprint(i), Ended: now.Add(-time.Duration(rapid.IntRange(0, 100).Draw(t, "age")) * time.Hour), Bytes: int64(rapid.IntRange(0, 10).Draw(t, "bytes"))}
			if rapid.IntRange(0, 4).Draw(t, "needed") == 0 {
				f.Needed = "pinned"
			}
			runs = append(runs, f)
		}
		r := &api.RetentionSpec{}
		if rapid.Bool().Draw(t, "after") {
			r.After = &metav1.Duration{Duration: time.Duration(rapid.IntRange(1, 120).Draw(t, "hours")) * time.Hour}
		}
		if rapid.Bool().Draw(t, "keep") {
			n := rapid.Int32Range(0, 40).Draw(t, "n")
			r.Keep = &n
		}
		if rapid.Bool().Draw(t, "size") {
			r.MaxSize = resource.NewQuantity(int64(rapid.IntRange(0, 150).Draw(t, "most")), resource.BinarySI)
		}
		gone := Expire(runs, r, now)
		if r.After == nil && r.Keep == nil && r.MaxSize == nil && len(gone) > 0 {
			t.Fatal("without a bound, runs go")
		}
		names := map[string]bool{}
		for i, f := range gone {
			if f.Needed != "" || names[f.Name] || i > 0 && gone[i-1].Ended.After(f.Ended) {
				t.Fatalf("%+v goes: it is needed, goes twice, or before an older one", f)
			}
			names[f.Name] = true
		}
		kept, size := 0, int64(0)
		for _, f := range runs {
			if f.Needed != "" || names[f.Name] {
				continue
			}
			kept++
			size += f.Bytes
			if r.After != nil && now.Sub(f.Ended) > r.After.Duration {
				t.Fatalf("%+v is too old and stays", f)
			}
			if slices.ContainsFunc(gone, func(g Finished) bool { return g.Ended.After(f.Ended) }) {
				t.Fatalf("%+v stays, and a newer one goes", f)
			}
		}
		if r.Keep != nil && kept > int(*r.Keep) || r.MaxSize != nil && size > r.MaxSize.Value() {
			t.Fatalf("%d runs of %d bytes stay", kept, size)
		}
	})
}
