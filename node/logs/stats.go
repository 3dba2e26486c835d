package logs

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Stats say what a log holds.
type Stats struct {
	Lines int64 `json:"lines"`
	// StderrLines are those of standard error.
	StderrLines int64            `json:"stderrLines"`
	Nodes       map[string]int64 `json:"nodes"`
	Components  map[string]int64 `json:"components"`
	// Levels count lines; those whose level is not known stand under "unknown".
	Levels map[string]int64 `json:"levels"`
	// First and Last are the times of the first and the last line, Duration what lies between them, in seconds.
	First    metav1.MicroTime `json:"first,omitzero"`
	Last     metav1.MicroTime `json:"last,omitzero"`
	Duration float64          `json:"durationSeconds"`
	// LinesPerSecond is over the whole duration; 0 when that is 0.
	LinesPerSecond float64 `json:"linesPerSecond"`
	// Silence is the longest time without a line, in seconds, and SilenceFrom when it began.
	Silence     float64          `json:"longestSilenceSeconds"`
	SilenceFrom metav1.MicroTime `json:"longestSilenceFrom,omitzero"`
}

// unknownLevel stands for lines that do not say their level.
const unknownLevel = "unknown"

// NewStats are those of no lines.
func NewStats() *Stats {
	return &Stats{Nodes: map[string]int64{}, Components: map[string]int64{}, Levels: map[string]int64{}}
}

// Add counts a line. Lines come in the order of time.
func (s *Stats) Add(l *Line) {
	s.Lines++
	if l.Stderr {
		s.StderrLines++
	}
	s.Nodes[l.Node]++
	s.Components[l.Component]++
	level := l.Level.String()
	if level == "" {
		level = unknownLevel
	}
	s.Levels[level]++
	if s.Lines == 1 {
		s.First = metav1.NewMicroTime(l.At)
	} else if silence := l.At.Sub(s.Last.Time).Seconds(); silence > s.Silence {
		s.Silence, s.SilenceFrom = silence, s.Last
	}
	s.Last = metav1.NewMicroTime(l.At)
	if s.Duration = s.Last.Sub(s.First.Time).Seconds(); s.Duration > 0 {
		s.LinesPerSecond = float64(s.Lines) / s.Duration
	}
}
