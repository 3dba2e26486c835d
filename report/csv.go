package report

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"
)

// csvRows are the lines of summary.csv: metric, statistic, value.
type csvRows [][]string

func (r *csvRows) add(metric, statistic string, v float64) {
	*r = append(*r, []string{metric, statistic, strconv.FormatFloat(v, 'g', -1, 64)})
}

// toCSV writes one number a line: name, statistic, value, unit-free as in summary.json.
func toCSV(s *Summary) ([]byte, error) {
	rows := csvRows{{"metric", "statistic", "value"}}
	rows.addRates(s)
	rows.addCounts(s)
	rows.addObjectives(s)
	if e := energyOf(s); e != nil {
		rows.add("energy", "joules", e.Joules)
		if e.PerOutputToken != nil {
			rows.add("energy", "joulesPerOutputToken", *e.PerOutputToken)
		}
		rows.add("energy", "gapSeconds", e.GapSeconds)
	}
	for _, d := range distributions(s) {
		rows.addDistribution(d)
	}
	for _, name := range sortedKeys(s.WholeRun) {
		rows.add("wholeRun", name, s.WholeRun[name])
	}
	var buf bytes.Buffer
	if err := csv.NewWriter(&buf).WriteAll(rows); err != nil {
		return nil, fmt.Errorf("encode summary.csv: %w", err)
	}
	return buf.Bytes(), nil
}

func (r *csvRows) addRates(s *Summary) {
	r.add("measuredSeconds", "", s.MeasuredSeconds)
	r.add("requestThroughput", "", s.RequestThroughput)
	r.add("outputTokenThroughput", "", s.OutputTokenThroughput)
	r.add("totalTokenThroughput", "", s.TotalTokenThroughput)
	for _, name := range sortedKeys(s.CI95) {
		if ci := s.CI95[name]; ci != nil {
			r.add(name, "low", ci[0])
			r.add(name, "high", ci[1])
		}
	}
	if s.OfferedRate != nil {
		r.add("offeredRate", "", *s.OfferedRate)
	}
	r.add("achievedRate", "", s.AchievedRate)
	r.add("concurrency", "mean", s.Concurrency.Mean)
	r.add("concurrency", "peak", float64(s.Concurrency.Peak))
}

func (r *csvRows) addCounts(s *Summary) {
	for _, c := range []struct {
		name string
		n    int64
	}{{"attempted", s.Requests.Attempted}, {"succeeded", s.Requests.Succeeded}, {"failed", s.Requests.Failed}, {"cancelled", s.Requests.Cancelled}, {"dropped", s.Requests.Dropped}} {
		r.add("requests", c.name, float64(c.n))
	}
	r.add("errorRate", "", s.ErrorRate)
	for _, class := range sortedKeys(s.Errors) {
		r.add("errors", class, float64(s.Errors[class]))
	}
	r.add("tokens", "prompt", float64(s.Tokens.Prompt))
	r.add("tokens", "output", float64(s.Tokens.Output))
	r.add("tokens", "cached", float64(s.Tokens.Cached))
	r.add("tokens", "shortOfTarget", float64(s.Tokens.ShortOfTarget))
}

func (r *csvRows) addObjectives(s *Summary) {
	if s.Goodput != nil {
		r.add("goodput", "rate", s.Goodput.Rate)
		r.add("goodput", "fraction", s.Goodput.Fraction)
	}
	if s.SLO == nil {
		return
	}
	for _, l := range []struct {
		name string
		of   *Attainment
	}{{"ttft", s.SLO.TTFT}, {"tpot", s.SLO.TPOT}, {"e2e", s.SLO.E2E}} {
		if l.of != nil {
			r.add("slo", l.name, l.of.Fraction)
		}
	}
}

func (r *csvRows) addDistribution(d named) {
	r.add(d.name, "count", float64(d.d.Count))
	for _, st := range d.d.statistics() {
		if st.value != nil {
			r.add(d.name, st.name, *st.value)
		}
		if st.ci != nil {
			r.add(d.name, st.name+".low", st.ci[0])
			r.add(d.name, st.name+".high", st.ci[1])
		}
	}
}
