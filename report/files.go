package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
)

// Names of the files in an attempt's report folder.
const (
	Dir         = "report"
	SourceJSON  = "source.json"
	SummaryJSON = "summary.json"
	SummaryCSV  = "summary.csv"
	ReportMD    = "report.md"
)

// source is what a report was made from beside the records; sealed in the report's folder, so that it can be made again
// without a control plane, byte for byte.
type source struct {
	Input Input `json:"input"`
	Story Story `json:"story"`
}

// Make computes the report of an attempt from its records, and writes summary.json, summary.csv, report.md and what they
// were made from. Records that are not there give fs.ErrNotExist.
func Make(attempt string, in Input, story Story) (*Summary, error) {
	from, err := settle(in, story)
	if err != nil {
		return nil, err
	}
	s, err := Compute(filepath.Join(attempt, "results"), from.Input)
	if err != nil {
		return nil, err
	}
	if err := from.seal(attempt); err != nil {
		return nil, err
	}
	return s, write(filepath.Join(attempt, Dir), s, from.Story)
}

// Prepare writes what a report is made from beside the records, and makes none: Remake can at any time. Without records it is what
// there is to tell (Open).
func Prepare(attempt string, in Input, story Story) error {
	from, err := settle(in, story)
	if err != nil {
		return err
	}
	return from.seal(attempt)
}

// settle gives the source as it will be read back, for JSON rounds times: else the report made again could differ.
func settle(in Input, story Story) (from source, err error) {
	data, err := json.Marshal(source{in, story})
	if err := errors.Join(err, json.Unmarshal(data, &from)); err != nil {
		return from, fmt.Errorf("encode report's source: %w", err)
	}
	return from, nil
}

func (s source) seal(attempt string) error {
	dir := filepath.Join(attempt, Dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return node.WriteSealed(filepath.Join(dir, SourceJSON), s)
}

// Remake computes the report of an attempt's folder again, into a folder that is not the attempt's own. The same records give the same
// bytes.
func Remake(attempt, output string) (*Summary, error) {
	if own, err := liesIn(attempt, output); err != nil {
		return nil, fmt.Errorf("make the report again: %w", err)
	} else if own {
		return nil, fmt.Errorf("make the report again: %s is in the attempt's own folder, whose report stays as it was made: name another folder", output)
	}
	var from source
	if err := node.ReadJSON(filepath.Join(attempt, Dir, SourceJSON), &from); err != nil {
		return nil, fmt.Errorf("make the report again: %w: it says what the run was, and is written with the first report", err)
	}
	s, err := Compute(filepath.Join(attempt, "results"), from.Input)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(output, 0o700); err != nil {
		return nil, fmt.Errorf("write report: %w", err)
	}
	return s, write(output, s, from.Story)
}

// liesIn says whether a path is a folder or lies in it.
func liesIn(folder, path string) (bool, error) {
	folder, err1 := filepath.Abs(folder)
	path, err2 := filepath.Abs(path)
	rel, err3 := filepath.Rel(folder, path)
	return rel == "." || filepath.IsLocal(rel), errors.Join(err1, err2, err3)
}

func write(dir string, s *Summary, story Story) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode summary: %w", err)
	}
	table, err := toCSV(s)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		SummaryJSON: append(data, '\n'), SummaryCSV: table, ReportMD: []byte(Markdown(s, story)),
	} {
		if err := node.WriteSealedBytes(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

type named struct {
	name string
	d    *Distribution
}

func distributions(s *Summary) []named {
	return []named{
		{"ttft", &s.TTFT},
		{"itl", &s.ITL},
		{"icl", &s.ICL},
		{"tpot", &s.TPOT},
		{"e2e", &s.E2E},
		{"normalizedLatency", &s.NormalizedLatency},
		{"scheduleLag", &s.ScheduleLag},
		{"capWait", &s.CapWait},
		{"ttftFromIntent", &s.TTFTFromIntent},
		{"e2eFromIntent", &s.E2EFromIntent},
		{"ttfat", &s.TTFAT},
		{"promptTokens", &s.PromptTokens},
		{"outputTokens", &s.OutputTokens},
	}
}

// statistic is one number of a distribution, with its interval where there is one.
type statistic struct {
	name  string
	value *float64
	ci    *Interval
}

func (d *Distribution) statistics() []statistic {
	ci := d.CI95
	if ci == nil {
		ci = &Intervals{}
	}
	return []statistic{
		{"mean", d.Mean, ci.Mean},
		{"std", d.Std, nil},
		{"min", d.Min, nil},
		{"max", d.Max, nil},
		{"p50", d.P50, ci.P50},
		{"p90", d.P90, ci.P90},
		{"p95", d.P95, ci.P95},
		{"p99", d.P99, ci.P99},
		{"p999", d.P999, ci.P999},
	}
}

// Headline picks what `benchd get runs` shows.
func (s *Summary) Headline() *api.Summary {
	value := func(v *float64) float64 {
		if v == nil {
			return 0
		}
		return *v
	}
	var good *float64
	if s.Goodput != nil {
		good = &s.Goodput.Fraction
	}
	queue := 0.0
	if s.ServerView != nil {
		queue = value(s.ServerView.Queue.Mean)
	}
	headline := &api.Summary{
		GoodputShare: good, Saturated: s.Saturated, QueueMean: queue,
		Requests: s.Requests.Attempted, Failed: s.Requests.Attempted - s.Requests.Succeeded, RequestThroughput: s.RequestThroughput,
		OutputTokenThroughput: s.OutputTokenThroughput, TTFTP50: value(s.TTFT.P50), TTFTP99: value(s.TTFT.P99), TPOTP50: value(s.TPOT.P50),
		E2EP50: value(s.E2E.P50), E2EP99: value(s.E2E.P99), ErrorRate: s.ErrorRate, Verdict: s.Verdict.State,
		VerdictReasons: s.Verdict.Reasons,
	}
	s.Resources.headline(headline)
	return headline
}

// ReadSummary reads a report's summary.json.
func ReadSummary(path string) (*Summary, error) {
	var s Summary
	return &s, node.ReadJSON(path, &s)
}

// List finds all files under an attempt's folder, with size and hash. Names that begin with a dot are temporary.
func List(folder string) ([]api.ReportFile, error) {
	var files []api.ReportFile
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		h := sha256.New()
		n, err := io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		files = append(files, api.ReportFile{Path: path, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the files of %s: %w", folder, err)
	}
	return files, nil
}
