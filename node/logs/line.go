package logs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Line is one line of a log.
type Line struct {
	// At is zero for what a job's script prints.
	At time.Time
	Source
	// Stderr: it came on standard error.
	Stderr bool
	Level  Level
	Text   string
}

// Stream is out or err.
func (l *Line) Stream() string {
	if l.Stderr {
		return "err"
	}
	return "out"
}

// String prints the line as the merged stdout.log does.
func (l *Line) String() string {
	if l.At.IsZero() {
		return fmt.Sprintf("[%s] %s", l.Component, l.Text)
	}
	return fmt.Sprintf("[%s] [%s] [%s] %s", l.At.UTC().Format(stamp), l.Node, l.Component, l.Text)
}

// JSON is the line as the aggregated file has it.
func (l *Line) JSON() []byte {
	at := ""
	if !l.At.IsZero() {
		at = l.At.UTC().Format(stamp)
	}
	b := append(appendQuoted([]byte(`{"timestamp":`), []byte(at)), `,"node":`...)
	b = append(appendQuoted(b, []byte(l.Node)), `,"component":`...)
	b = append(appendQuoted(b, []byte(l.Component)), `,"stream":"`...)
	b = append(append(b, l.Stream()...), '"')
	if l.Level != LevelNone {
		b = append(append(append(b, `,"level":"`...), l.Level.String()...), '"')
	}
	return append(appendQuoted(append(b, `,"message":`...), []byte(l.Text)), '}')
}

// Components are those that lines can be of.
var Components = []string{"server", "client", "monitor", ComponentJob}

// Filter chooses lines; what is not set chooses all.
type Filter struct {
	Node, Component string
	// Stream is out or err.
	Stream string
	// Level is the least one; lines without a level are then left out.
	Level Level
	// Since is the earliest time; lines without a time are then left out.
	Since time.Time
	Grep  *regexp.Regexp
}

// Match says whether the filter chooses the line.
func (f *Filter) Match(l *Line) bool {
	return (f.Node == "" || l.Node == f.Node) &&
		(f.Component == "" || l.Component == f.Component) &&
		(f.Stream == "" || l.Stream() == f.Stream) &&
		l.Level >= f.Level &&
		!l.At.Before(f.Since) &&
		(f.Grep == nil || f.Grep.MatchString(l.Text))
}

// ParseSince reads a time to begin at: a duration before now, or a time with or without its day, in this machine's zone.
func ParseSince(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		if d < 0 {
			d = -d
		}
		return now.Add(-d), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	for _, layout := range []string{time.TimeOnly, "15:04"} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			since := time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), at.Second(), 0, now.Location())
			if since.After(now) { // nothing is logged later than now: yesterday's is meant
				since = since.AddDate(0, 0, -1)
			}
			return since, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: use a duration such as 5m, or a time such as 14:30, 2026-01-31 14:30:00 or 2026-01-31T14:30:00Z", text)
}

// Tail reads all raw logs of a job, again and again, each line once.
type Tail struct{ merger *merger }

// NewTail reads the raw logs under a root, NODE/COMPONENT-CONTAINER.log.
func NewTail(root string) *Tail { return &Tail{newMerger(root, Window{})} }

// Next hands on what is new since the last call, in the order of time.
func (t *Tail) Next(each func(*Line) error) error {
	if err := t.merger.look(); err != nil {
		return err
	}
	err := t.merger.round(nanos(farOff), func(r *reader) error {
		return each(&Line{At: time.Unix(0, r.at), Source: r.Source, Stderr: r.stderr, Level: LevelOf(r.text), Text: string(r.text)})
	})
	if err != nil {
		return err
	}
	return t.merger.problem()
}

// Nodes are the names of the nodes that have logs so far, in order.
func (t *Tail) Nodes() []string {
	var names []string
	for _, r := range t.merger.readers {
		names = append(names, r.Node)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Close frees the files.
func (t *Tail) Close() { t.merger.close() }

var farOff = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// ScriptTail reads what a job's script and Slurm have printed, again and again, each line once.
type ScriptTail struct {
	path   string
	offset int64
}

// NewScriptTail reads a job's ScriptOutput.
func NewScriptTail(path string) *ScriptTail { return &ScriptTail{path: path} }

// Next hands on the whole lines that are new since the last call. They have no time. A file that is not there is fs.ErrNotExist.
func (t *ScriptTail) Next(each func(*Line) error) error {
	f, err := os.Open(t.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(t.offset, io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return ignoreEnd(err) // the rest of the line is still being written
		}
		t.offset += int64(len(line))
		line = strings.TrimRight(line, "\r\n")
		if err := each(&Line{Source: Source{Component: ComponentJob}, Level: LevelOf([]byte(line)), Text: line}); err != nil {
			return err
		}
	}
}
