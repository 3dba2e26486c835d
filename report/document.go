package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
)

// LockYAML is the file in an attempt's folder that holds the exact spec and what it was carried out with.
const LockYAML = "run.lock.yaml"

// Document is all that is known of an attempt: what its HTML is made from. It needs the attempt's folder and no control plane.
type Document struct {
	Input Input
	Story Story
	// Summary is nil where nothing was measured.
	Summary *Summary
	// Lock is what the attempt was carried out with; nil where nobody wrote it down, as `benchd load` does not.
	Lock *api.BenchmarkRun
	// Files of the folder, by their paths within it. HTML is left out: it is made of the rest, at any time.
	Files []api.ReportFile

	raw *accumulator // the samples; nil without records
	why string       // there are none
}

// Open reads the folder of an attempt or of a `benchd load`. A folder without source.json gives node.ErrNotYet. Records that are gone or
// damaged cost the distributions alone.
func Open(attempt string) (*Document, error) {
	var from source
	if err := node.ReadJSON(filepath.Join(attempt, Dir, SourceJSON), &from); err != nil {
		return nil, fmt.Errorf("read what the report of %s is made from: %w", attempt, err)
	}
	d := &Document{Input: from.Input, Story: from.Story}
	if d.Story.Spec.Workload.Streaming == nil { // of a spec that nobody completed
		yes := true
		d.Story.Spec.Workload.Streaming = &yes
	}
	var err error
	if d.raw, err = accumulate(filepath.Join(attempt, "results"), from.Input); err != nil {
		d.why = err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			d.why = "the records are not in the folder any more"
		}
	}
	switch d.Summary, err = ReadSummary(filepath.Join(attempt, Dir, SummaryJSON)); {
	case err == nil:
	case errors.Is(err, node.ErrNotYet):
		if d.Summary = nil; d.raw != nil {
			d.Summary = &d.raw.sum
		}
	default:
		return nil, fmt.Errorf("read the numbers of %s: %w", attempt, err)
	}
	if d.Lock, err = readLock(filepath.Join(attempt, LockYAML)); err != nil {
		return nil, err
	}
	return d, d.listFiles(attempt)
}

func readLock(path string) (*api.BenchmarkRun, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var run api.BenchmarkRun
	if err == nil {
		err = yaml.Unmarshal(data, &run)
	}
	if err != nil {
		return nil, fmt.Errorf("read what the attempt was carried out with (%s): %w", path, err)
	}
	return &run, nil
}

func (d *Document) listFiles(attempt string) error {
	files, err := List(attempt)
	if err != nil {
		return err
	}
	for i := range files {
		if inside, err := filepath.Rel(attempt, files[i].Path); err == nil {
			files[i].Path = inside
		}
	}
	d.Files = slices.DeleteFunc(files, func(f api.ReportFile) bool { return strings.HasSuffix(f.Path, ".html") })
	return nil
}

// record is what the attempt was carried out with, or an empty one.
func (d *Document) record() *api.RunRecord {
	if d.Lock == nil || d.Lock.Status.Record == nil {
		return &api.RunRecord{}
	}
	return d.Lock.Status.Record
}

// measured says whether there are numbers to show.
func (d *Document) measured() bool { return d.Summary != nil }

// local says whether `benchd load` made the load, without a run.
func (d *Document) local() bool { return d.Story.Spec.Service.Name == "" }
