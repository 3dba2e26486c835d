package report

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Limit is a condition on a comparison, such as `ttft.p99 > +5%`.
type Limit struct {
	text   string
	name   string
	op     string
	value  float64
	signed bool // of a difference
	share  bool // a relative one
}

// timed are the metrics whose values are times; shares are themselves fractions.
var (
	timed = map[string]bool{
		"ttft": true, "ttfat": true, "itl": true, "icl": true, "tpot": true, "e2e": true, "normalizedLatency": true, "scheduleLag": true,
		"capWait": true, "ttftFromIntent": true, "e2eFromIntent": true,
	}
	shares = map[string]bool{"errorRate": true, "goodput.fraction": true}
)

var limitForm = regexp.MustCompile(`^\s*([a-zA-Z][a-zA-Z0-9]*(?:\.[a-zA-Z0-9]+)?)\s*(>=|<=|>|<)\s*([+-])?\s*([0-9]+(?:\.[0-9]+)?)\s*(%|us|ms|s)?\s*$`)

// ParseLimit reads a condition: a metric or metric.statistic under its name in summary.json, > >= < or <=, and a value. With
// a sign or % the value is of the difference to the first result; else of the result itself. Times need us, ms, s or %. Of
// errorRate and goodput.fraction, which are shares, a % without a sign means the value.
func ParseLimit(text string) (*Limit, error) {
	m := limitForm.FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("limit %q: use METRIC OPERATOR VALUE, such as 'ttft.p99 > +5%%', 'requestThroughput < -3%%' or 'e2e.p50 > 800ms'", text)
	}
	v, err := strconv.ParseFloat(m[4], 64)
	if err != nil {
		return nil, fmt.Errorf("limit %q: %w", text, err)
	}
	l := &Limit{text: strings.TrimSpace(text), name: m[1], op: m[2], value: v, signed: m[3] != "" || m[5] == "%", share: m[5] == "%"}
	metric, _, _ := strings.Cut(l.name, ".")
	switch time := timed[metric]; {
	case time && m[5] == "" && v != 0:
		return nil, fmt.Errorf("limit %q: %s is a time: give the value a unit (us, ms or s), or %%", text, l.name)
	case !time && m[5] != "" && m[5] != "%":
		return nil, fmt.Errorf("limit %q: %s is no time: give the value without %s", text, l.name, m[5])
	case shares[l.name] && m[3] == "" && m[5] == "%": // `errorRate > 1%` means the rate itself
		l.signed, l.share = false, false
	}
	switch m[5] {
	case "%":
		l.value /= 100
	case "ms":
		l.value /= 1e3
	case "us":
		l.value /= 1e6
	}
	if m[3] == "-" {
		l.value = -l.value
	}
	return l, nil
}

// Broken says whether a side breaks the limit, and what was seen. With surely, a difference within the noise breaks none;
// one whose noise is not known does. A number that is not there is an error: a limit must not pass for want of it.
func (l *Limit) Broken(c *Comparison, side int, surely bool) (bool, string, error) {
	row := c.row(l.name)
	if row.Values[side] == nil {
		return false, "", fmt.Errorf("limit %q: %s has no %s: the names are those of summary.json, and percentiles want enough samples", l.text, c.Sides[side].Name, l.name)
	}
	if !l.signed {
		return l.holds(*row.Values[side]), fmt.Sprintf("%s: %s is %s in %s", l.text, l.name, Digits(*row.Values[side], 6), c.Sides[side].Name), nil
	}
	d := row.Differences[side-1]
	if d == nil {
		return false, "", fmt.Errorf("limit %q: %s has no %s to compare with", l.text, c.Sides[0].Name, l.name)
	}
	seen, amount := d.Absolute, fmt.Sprintf("%+.6g", d.Absolute)
	if l.share {
		if d.Relative == nil {
			if d.Absolute == 0 {
				return l.holds(0), l.text + ": both are 0", nil
			}
			return l.holds(math.Copysign(math.Inf(1), d.Absolute)), fmt.Sprintf("%s: %s was 0 in %s", l.text, l.name, c.Sides[0].Name), nil
		}
		seen, amount = *d.Relative, fmt.Sprintf("%+.2f %%", 100**d.Relative)
	}
	broken := l.holds(seen)
	if surely && d.Beyond != nil && !*d.Beyond {
		broken = false
		amount += ", within the noise"
	}
	return broken, fmt.Sprintf("%s: %s differs by %s in %s", l.text, l.name, amount, c.Sides[side].Name), nil
}

func (l *Limit) holds(v float64) bool {
	switch l.op {
	case ">":
		return v > l.value
	case ">=":
		return v >= l.value
	case "<":
		return v < l.value
	}
	return v <= l.value
}
