package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// short is a number with four figures, and thousands apart.
func short(v float64) string {
	switch abs := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case abs >= 1000:
		return humanize.Comma(int64(math.Round(v)))
	case abs >= 100:
		return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
	case abs >= 1:
		return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 2, 64), ".00")
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// Digits writes a number with so many digits that count and all before the point: never as 1.2e+04, which people do not read.
func Digits(v float64, n int) string {
	text := strconv.FormatFloat(v, 'g', n, 64)
	if abs := math.Abs(v); abs >= 1 && !math.IsInf(v, 0) && strings.Contains(text, "e") {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return text
}

// maybe is a number that may be absent, in another unit.
func maybe(v *float64, scale float64) string {
	if v == nil {
		return ""
	}
	return short(*v * scale)
}

// spread is an interval in another unit.
func spread(ci *Interval, scale float64) string {
	if ci == nil {
		return ""
	}
	return short(ci[0]*scale) + " – " + short(ci[1]*scale)
}

func count(n int64) string { return humanize.Comma(n) }

// nonzero counts what is worth telling.
func nonzero(n int64) string {
	if n == 0 {
		return ""
	}
	return count(n)
}

func share(v float64) string { return short(100*v) + "\u00a0%" }

// span is a time for people. No line breaks between a number and its unit, here and below.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= 2*time.Minute:
		text := d.Round(time.Second).String()
		if whole, is := strings.CutSuffix(text, "m0s"); is {
			return whole + "m"
		}
		return text
	case d >= time.Second:
		return short(d.Seconds()) + "\u00a0s"
	}
	return short(1000*d.Seconds()) + "\u00a0ms"
}

// moment is a time of day, the same wherever it is read.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func bytesOf(n int64) string {
	if n <= 0 {
		return ""
	}
	return humanize.IBytes(uint64(n))
}

// some are the first of many names, and how many more there are.
func some(names []string, most int) string {
	if n := len(names) - most; n > 0 {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(names, ", ")
}

// plural counts things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
