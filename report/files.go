package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
)

// Names of the files in an attempt's report folder.
const (
	SummaryJSON = "summary.json"
	SummaryCSV  = "summary.csv"
	ReportMD    = "report.md"
)

// Write writes summary.json, summary.csv and report.md into dir. The same summary gives the same bytes.
func Write(dir string, s *Summary, story Story) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
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

// toCSV writes one number a line: name, statistic, value, unit-free as in summary.json.
func toCSV(s *Summary) ([]byte, error) {
	var buf bytes.Buffer
	w := csv.NewWriter(&buf)
	rows := [][]string{{"metric", "statistic", "value"}}
	add := func(metric, statistic string, v float64) {
		rows = append(rows, []string{metric, statistic, strconv.FormatFloat(v, 'g', -1, 64)})
	}
	for _, c := range []struct {
		name string
		n    int64
	}{{"attempted", s.Requests.Attempted}, {"succeeded", s.Requests.Succeeded}, {"failed", s.Requests.Failed}, {"cancelled", s.Requests.Cancelled}, {"dropped", s.Requests.Dropped}} {
		add("requests", c.name, float64(c.n))
	}
	add("measuredSeconds", "", s.MeasuredSeconds)
	add("requestThroughput", "", s.RequestThroughput)
	add("outputTokenThroughput", "", s.OutputTokenThroughput)
	add("totalTokenThroughput", "", s.TotalTokenThroughput)
	if s.Goodput != nil {
		add("goodput", "rate", s.Goodput.Rate)
		add("goodput", "fraction", s.Goodput.Fraction)
	}
	add("errorRate", "", s.ErrorRate)
	add("achievedRate", "", s.AchievedRate)
	add("concurrency", "mean", s.Concurrency.Mean)
	add("concurrency", "peak", float64(s.Concurrency.Peak))
	for _, d := range distributions(s) {
		add(d.name, "count", float64(d.d.Count))
		for _, st := range d.d.statistics() {
			if st.value != nil {
				add(d.name, st.name, *st.value)
			}
		}
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("encode summary.csv: %w", err)
	}
	return buf.Bytes(), nil
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
	}
}

type statistic struct {
	name  string
	value *float64
}

func (d *Distribution) statistics() []statistic {
	return []statistic{
		{"mean", d.Mean},
		{"std", d.Std},
		{"min", d.Min},
		{"max", d.Max},
		{"p50", d.P50},
		{"p90", d.P90},
		{"p95", d.P95},
		{"p99", d.P99},
		{"p999", d.P999},
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
	return &api.Summary{
		Requests: s.Requests.Attempted, Failed: s.Requests.Attempted - s.Requests.Succeeded, RequestThroughput: s.RequestThroughput,
		OutputTokenThroughput: s.OutputTokenThroughput, TTFTP50: value(s.TTFT.P50), TTFTP99: value(s.TTFT.P99), TPOTP50: value(s.TPOT.P50),
		E2EP50: value(s.E2E.P50), E2EP99: value(s.E2E.P99), ErrorRate: s.ErrorRate, Verdict: s.Verdict.State,
	}
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
