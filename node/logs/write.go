package logs

import (
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"
)

// stamp is the time format of the merged files.
const stamp = "2006-01-02T15:04:05.000000Z"

// Outputs are the three merged files; Aggregated may be empty.
type Outputs struct {
	Stdout, Stderr, Aggregated string
	// Compress makes the finished files gzip ones, whose names end in .gz.
	Compress bool
}

// compressed is what the names of compressed files end in.
const compressed = ".gz"

// clock writes times, and remembers the second that it wrote last: most lines come in the same one.
type clock struct {
	second int64
	known  bool
	text   []byte
}

// append writes a time with the given number of digits after the second.
func (c *clock) append(to []byte, at int64, digits int) []byte {
	second, rest := at/1e9, at%1e9
	if rest < 0 {
		second, rest = second-1, rest+1e9
	}
	if !c.known || second != c.second {
		c.second, c.known = second, true
		c.text = time.Unix(second, 0).UTC().AppendFormat(c.text[:0], "2006-01-02T15:04:05.")
	}
	to = append(to, c.text...)
	divisor := int64(1e8)
	for range digits {
		to = append(to, byte('0'+rest/divisor%10))
		divisor /= 10
	}
	return append(to, 'Z')
}

// writers are the open outputs. The files get their names when they are finished, or at once when they are to be seen growing.
type writers struct {
	outputs []*output
	stdout  *output
	// stderr and aggregated: as Outputs names them; aggregated may be nil.
	stderr, aggregated *output

	clock clock
	buf   []byte
}

type output struct {
	path, final string
	file        *os.File
	zip         *gzip.Writer
	*bufio.Writer
	written int64
}

// open creates the outputs. What is not live is written under another name until it is whole.
func (w *writers) open(o Outputs, live bool) error {
	for _, out := range []struct {
		path string
		to   **output
	}{{o.Stdout, &w.stdout}, {o.Stderr, &w.stderr}, {o.Aggregated, &w.aggregated}} {
		if out.path == "" {
			continue
		}
		next := &output{path: out.path}
		if !live {
			if next.final = out.path; o.Compress {
				next.final += compressed
			}
			next.path = filepath.Join(filepath.Dir(out.path), "."+filepath.Base(next.final)+".tmp")
		}
		f, err := os.OpenFile(next.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		next.file = f
		var to io.Writer = f
		if o.Compress && !live {
			if next.zip, err = gzip.NewWriterLevel(f, gzip.BestSpeed); err != nil {
				return err
			}
			to = next.zip
		}
		next.Writer = bufio.NewWriterSize(to, 256<<10)
		w.outputs = append(w.outputs, next)
		*out.to = next
	}
	return nil
}

// write puts a line into the files that it belongs to.
func (w *writers) write(r *reader, level Level) error {
	b := append(w.buf[:0], '[')
	b = w.clock.append(b, r.at, 6)
	at := b[1:]
	b = append(append(append(b, r.prefix...), r.text...), '\n')
	err := w.stdout.put(b)
	if err == nil && r.stderr {
		err = w.stderr.put(b)
	}
	if err == nil && w.aggregated != nil {
		text := len(b)
		b = append(append(append(b, `{"timestamp":"`...), at[:len(stamp)]...), r.object...)
		if r.stderr {
			b = append(b, `,"stream":"err"`...)
		} else {
			b = append(b, `,"stream":"out"`...)
		}
		if level != LevelNone {
			b = append(append(append(b, `,"level":"`...), level.String()...), '"')
		}
		b = append(appendQuoted(append(b, `,"message":`...), r.text), '}', '\n')
		err = w.aggregated.put(b[text:])
	}
	w.buf = b
	return err
}

func (o *output) put(b []byte) error {
	o.written += int64(len(b))
	_, err := o.Write(b)
	return err
}

// bytes is how much has been written, before compression.
func (w *writers) bytes() (sum int64) {
	for _, o := range w.outputs {
		sum += o.written
	}
	return sum
}

// flush hands the file system what is held.
func (w *writers) flush() error {
	var errs []error
	for _, o := range w.outputs {
		errs = append(errs, o.Flush())
	}
	return errors.Join(errs...)
}

// close finishes the files. Unless all is well, files under other names are taken away, and what had the names stays.
func (w *writers) close(failed bool) error {
	err := w.flush()
	for _, o := range w.outputs {
		if o.zip != nil {
			err = errors.Join(err, o.zip.Close())
		}
		if o.final != "" {
			err = errors.Join(err, o.file.Sync())
		}
		err = errors.Join(err, o.file.Close())
	}
	for _, o := range w.outputs {
		switch {
		case o.final == "":
		case failed || err != nil:
			_ = os.Remove(o.path) // the failure is told already
		default:
			err = os.Rename(o.path, o.final)
		}
	}
	return err
}

// appendQuoted writes text as a JSON string. Bytes that are no UTF-8 become the replacement character.
func appendQuoted(to, text []byte) []byte {
	const hex = "0123456789abcdef"
	to = append(to, '"')
	start := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		size := 1
		var escaped string
		switch {
		case c == '"':
			escaped = `\"`
		case c == '\\':
			escaped = `\\`
		case c == '\t':
			escaped = `\t`
		case c == '\r':
			escaped = `\r`
		case c < ' ':
			to = append(append(to, text[start:i]...), '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
			start = i
			continue
		default:
			var r rune
			r, size = utf8.DecodeRune(text[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				escaped = `\ufffd`
			case r == '\u2028' || r == '\u2029': // line ends to some readers of lines
				escaped = `\u202` + string(hex[r&15])
			default:
				i += size
				continue
			}
		}
		to = append(append(to, text[start:i]...), escaped...)
		i += size
		start = i
	}
	return append(append(to, text[start:]...), '"')
}

// remove takes away files, as far as they are there.
func remove(paths ...string) error {
	var errs []error
	for _, path := range paths {
		if path == "" {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
