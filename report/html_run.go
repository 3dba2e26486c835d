package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// HTML is the report of an attempt as one file that stands for itself: it can be sent around, printed, and read without a network. The
// same document gives the same bytes.
func (d *Document) HTML() ([]byte, error) {
	p := &page{Title: d.Input.Run, Kind: d.kind(), Verdict: d.verdict(), Foot: d.foot()}
	if d.measured() {
		p.Lead = d.lead()
	}
	d.putFindings(p)
	d.putSetup(p)
	if d.measured() {
		d.putHeadline(p)
		d.putLatency(p)
		if err := d.putDistributions(p); err != nil {
			return nil, err
		}
		if err := d.putOverTime(p); err != nil {
			return nil, err
		}
		if err := d.putResources(p); err != nil {
			return nil, err
		}
		d.putErrors(p)
		d.putParts(p)
	}
	d.putPhases(p)
	d.putRepeat(p)
	if d.measured() {
		d.putDefinitions(p)
	}
	d.putFiles(p)
	return p.render()
}

func (d *Document) kind() string {
	what := "Benchmark report"
	if d.local() {
		what = "Load report"
	}
	parts := []string{what}
	if d.Input.Attempt > 1 {
		parts = append(parts, fmt.Sprintf("attempt %d", d.Input.Attempt))
	}
	if d.Input.Sweep != "" {
		parts = append(parts, "a trial of sweep "+d.Input.Sweep)
	}
	if at := moment(d.Story.End); at != "" {
		parts = append(parts, at)
	}
	return strings.Join(parts, " · ")
}

func (d *Document) foot() string {
	return fmt.Sprintf("Made by benchd %s from the records of %s.", cmp.Or(d.Input.Version, "?"), cmp.Or(d.Story.Folder, "the attempt's folder"))
}

// verdict is how it ended and whether the numbers can be used, the worse of both.
func (d *Document) verdict() *judged {
	v := &judged{State: "No numbers", Class: "bad", Meaning: "nothing was measured"}
	if s := d.Summary; s != nil {
		v = map[string]*judged{
			Valid:   {Class: "good", Meaning: "the numbers can be used"},
			Suspect: {Class: "doubtful", Meaning: "the numbers are to be taken with care"},
			Invalid: {Class: "bad", Meaning: "the numbers cannot be used"},
		}[s.Verdict.State]
		if v == nil {
			v = &judged{Meaning: "this version does not know the verdict"}
		}
		v.State, v.Reasons = s.Verdict.State, s.Verdict.Reasons
		if s.Saturated {
			v.Reasons = append(slices.Clone(v.Reasons), "saturated: "+definitions["saturated"])
		}
	}
	if o := d.Story.Outcome; o != nil && o.Result != api.ResultSucceeded {
		v.Class = "bad"
		v.Meaning = sentence(fmt.Sprintf("%s: the attempt %s (%s)", v.Meaning, strings.ToLower(string(o.Result)), cmp.Or(o.Reason, "no reason is known")), o.Message)
	}
	if len(d.Story.Findings) > 0 {
		v.Link = "findings"
	}
	return v
}

// lead says in two or three sentences what was measured and what came out.
func (d *Document) lead() string {
	s, w := d.Summary, &d.Story.Spec.Workload
	what := cmp.Or(s.Service, "the server")
	if s.Model != "" && s.Model != s.Service {
		what += " with model " + s.Model
	}
	servers := ""
	if n := len(d.record().Servers); n > 0 {
		servers = " (" + plural(n, "server") + ")"
	}
	asked := fmt.Sprintf("%s%s was measured for %s under this load: %s", what, servers, span(s.MeasuredSeconds), describeLoad(&w.Load)+bounds(w))
	got := fmt.Sprintf("It completed %s requests and %s output tokens a second", short(s.RequestThroughput), short(s.OutputTokenThroughput))
	if s.TTFT.P50 != nil {
		got += fmt.Sprintf("; half of the answers began within %s ms", maybe(s.TTFT.P50, 1000))
		if s.TTFT.P99 != nil {
			got += fmt.Sprintf(", 99 %% within %s ms", maybe(s.TTFT.P99, 1000))
		}
	} else if s.E2E.P50 != nil {
		got += fmt.Sprintf("; half of the answers were there within %s ms", maybe(s.E2E.P50, 1000))
	}
	failed := "no request failed"
	if n := s.Requests.Attempted - s.Requests.Succeeded; n > 0 {
		failed = fmt.Sprintf("%s of %s requests came to nothing (%s)", count(n), count(s.Requests.Attempted), share(s.ErrorRate))
	}
	return sentence(asked, got+"; "+failed)
}

// putFindings shows what the logs tell of known failures, errors first.
func (d *Document) putFindings(p *page) {
	var list []logged
	for _, f := range slices.SortedStableFunc(slices.Values(d.Story.Findings), func(a, b api.LogFinding) int { return cmp.Compare(a.Severity, b.Severity) }) {
		t := logged{Class: "doubtful", Severity: cmp.Or(f.Severity, "finding"), Rule: f.Rule, Meaning: f.Meaning, NextStep: f.NextStep, Lines: f.Lines}
		if f.Severity == "error" {
			t.Class = "bad"
		}
		where := []string{plural(int(f.Count), "line")}
		if f.Node != "" || f.Component != "" {
			where = append(where, "first on "+strings.TrimSpace(f.Node+" "+f.Component))
		}
		if at := moment(f.At.Time); at != "" {
			where = append(where, at)
		}
		t.Where = strings.Join(where, " · ")
		list = append(list, t)
	}
	p.put("findings", "What the logs tell", block{Findings: list})
}

func (d *Document) putErrors(p *page) {
	t := &table{Head: []string{"class", "requests", "share of attempted", "such as"}}
	for _, class := range sortedKeys(d.Summary.Errors) {
		n := d.Summary.Errors[class]
		example := ""
		if d.raw != nil {
			example = strings.Join(d.raw.examples[class], "; ")
		}
		t.add(word(class), figureOf(count(n)), figureOf(share(float64(n)/float64(max(1, d.Summary.Requests.Attempted)))), word(example))
	}
	p.put("errors", "Errors by class", block{Text: "Requests of the measured window that did not succeed."}, block{Table: t})
}

func (d *Document) putDefinitions(p *page) {
	t := &table{Head: []string{"name", "meaning"}}
	for _, name := range sortedKeys(d.Summary.Definitions) {
		t.add(code(name), word(d.Summary.Definitions[name]))
	}
	p.put("definitions", "Definitions", block{Text: "Names are those of summary.json. A request belongs to the window in which it was meant to start. Percentiles are interpolated over the raw samples of all clients together; one with fewer than 10/(1−q) samples is left out. Intervals are of 95 %."}, block{Table: t})
}

func (d *Document) putFiles(p *page) {
	t := &table{Head: []string{"file", "bytes", "SHA-256"}}
	for _, f := range d.Files {
		t.add(code(f.Path), figureOf(count(f.Size)), code(f.SHA256))
	}
	p.put("files", "Files", block{Text: d.Story.Folder}, block{Table: t})
}
