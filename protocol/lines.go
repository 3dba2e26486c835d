package protocol

import "bytes"

// maxLine bounds one line of a stream, so that a server cannot fill the memory.
const maxLine = 256 << 10

// lines cuts a stream into lines, whatever the pieces in which it comes.
type lines struct{ partial []byte }

// each calls line for every line that data completes, without its end. It returns false when line does, or when a line
// is longer than maxLine.
func (l *lines) each(data []byte, line func([]byte) bool) (more, tooLong bool) {
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			l.partial = append(l.partial, data...)
			return len(l.partial) <= maxLine, len(l.partial) > maxLine
		}
		var one []byte
		one, data = data[:end], data[end+1:]
		if len(l.partial) > 0 {
			l.partial = append(l.partial, one...)
			one = l.partial
			l.partial = l.partial[:0]
		}
		if len(one) > maxLine { // also when it came in one read: the reads' sizes must not decide
			return false, true
		}
		if n := len(one); n > 0 && one[n-1] == '\r' {
			one = one[:n-1]
		}
		if !line(one) {
			return false, false
		}
	}
	return true, false
}

// rest is what came after the last line's end.
func (l *lines) rest() []byte { return bytes.TrimSpace(l.partial) }

func (l *lines) reset() { l.partial = l.partial[:0] }
