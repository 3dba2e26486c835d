package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// Values are what one run measured, by key. What could not be measured is not there.
type values map[string]float64

// set puts a value that may be missing.
func (v values) set(key string, value *float64, scale float64) {
	if value != nil {
		v[key] = *value * scale
	}
}

// A column is one client, or one way to run it.
type column struct {
	name    string
	measure func(ctx context.Context) (values, error)
}

// A measure is a row of a figure's table.
type measure struct {
	label, key, format string
	// over makes the row the ratio of the column `of` to this one, minus the difference.
	over, minus string
	// of is the column the limit is about; empty: the first.
	of    string
	limit *limit
}

// A limit is what a value has to keep; its text stands in the table.
type limit struct {
	min, max float64
	text     string
}

// atMost, atLeast and within make limits.
func atMost(x float64) *limit  { return &limit{-x, x, fmt.Sprintf("≤ %v", x)} }
func atLeast(x float64) *limit { return &limit{x, inf, fmt.Sprintf("≥ %v", x)} }
func within(low, high float64) *limit {
	return &limit{low, high, fmt.Sprintf("%v to %v", low, high)}
}

// A figure is one question, asked of several clients.
type figure struct {
	id, title string
	setup     string // one sentence on how it is measured
	columns   []column
	measures  []measure
}

// Results are what came out of a figure.
type results struct {
	samples map[string]map[string][]float64 // by column and key
	errs    map[string]error                // the last of each column
	took    time.Duration
}

// run runs every column of the figure n times in turn, so that a slow minute of the machine hits all of them; each
// round begins with another.
func (f *figure) run(ctx context.Context, n int, progress io.Writer) results {
	began := time.Now()
	r := results{samples: map[string]map[string][]float64{}, errs: map[string]error{}}
	for round := range n {
		for i := range f.columns {
			c := f.columns[(i+round)%len(f.columns)]
			if ctx.Err() != nil {
				r.errs[c.name] = context.Cause(ctx)
				continue
			}
			got, err := c.measure(ctx)
			fmt.Fprintf(progress, "%s, round %d of %d, %s: %s\n", f.title, round+1, n, c.name, outcome(err))
			r.add(c.name, got, err)
		}
	}
	r.took = time.Since(began)
	return r
}

// outcome is what is said about a run while the figure is measured.
func outcome(err error) string {
	if err != nil {
		return err.Error()
	}
	return "done"
}

// add notes one run.
func (r *results) add(name string, got values, err error) {
	if err != nil {
		r.errs[name] = err
		return
	}
	if r.samples[name] == nil {
		r.samples[name] = map[string][]float64{}
	}
	for key, v := range got {
		r.samples[name][key] = append(r.samples[name][key], v)
	}
}

// median returns the median of a column's values.
func (r *results) median(name, key string) (float64, bool) {
	all := slices.Sorted(slices.Values(r.samples[name][key]))
	if len(all) == 0 {
		return 0, false
	}
	return quantile(all, 0.5), true
}

// value returns what stands in a row and a column.
func (r *results) value(m measure, name, first string) (float64, bool) {
	v, ok := r.median(name, m.key)
	if !m.relative() || !ok {
		return v, ok
	}
	other, ok := r.median(m.over+m.minus, m.key)
	if m.minus != "" {
		return v - other, ok
	}
	return v / other, ok && other != 0
}

// relative is whether the row compares its subject with another column.
func (m measure) relative() bool { return m.over+m.minus != "" }

// subject is the column the limit is about.
func (m measure) subject(first string) string {
	if m.of != "" {
		return m.of
	}
	return first
}
