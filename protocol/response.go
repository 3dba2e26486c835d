package protocol

import (
	"bytes"
	"mime"
	"strconv"
	"strings"
)

const (
	// maxHead bounds status line and headers of an answer.
	maxHead = 64 << 10
	// maxExplain is how much of an answer that is none is kept, to say what was seen.
	maxExplain = 512
)

// Response reads one HTTP/1.1 response after the other (RFC 9112): pushed in pieces, it finds head and body, takes the
// chunked coding off, and hands the body to the Answer. It is the client's half of what it needs and no more: no trailers
// are kept, no content coding is undone, for none was asked for.
type Response struct {
	answer Answer
	stream string // content type of a stream, "" when none was asked for
	result *Result

	state     responseState
	head      []byte
	remaining int64
	keep      bool
	settled   bool   // the answer has all it wants
	explain   []byte // of a body that is no answer
	explains  func(text []byte)
	sized     bool // a chunk's size has a digit
}

type responseState uint8

const (
	readHead responseState = iota
	readSized
	readToEnd
	readChunkSize
	readChunkExtension
	readChunkData
	readChunkEnd
	readTrailer
	readTrailerLine
	readComplete
)

// Begin gets ready for a response to a request of the format, of which so many tokens were asked.
func (p *Response) Begin(f Format, a Answer, r *Result, maxTokens int) {
	*p = Response{answer: a, result: r, head: p.head[:0], explain: p.explain[:0]}
	p.stream, _ = f.Streams()
	if _, yes := f.Streams(); !yes {
		p.stream = ""
	}
	a.Begin(r, maxTokens)
}

// Settled says that the result is known: what still comes only matters for the connection.
func (p *Response) Settled() bool { return p.settled }

// Complete says that the response has come to its end.
func (p *Response) Complete() bool { return p.state == readComplete }

// Reusable says whether the connection can carry another request.
func (p *Response) Reusable() bool { return p.state == readComplete && p.keep }

// Began says whether any byte of the response has come.
func (p *Response) Began() bool { return p.state != readHead || len(p.head) > 0 }

// Feed takes what one read brought, and when. Bytes after the response's end make the connection useless.
func (p *Response) Feed(data []byte, at int64) {
	p.result.End = at
	for len(data) > 0 {
		switch p.state {
		case readHead:
			data = p.feedHead(data)
		case readSized:
			n := min(int64(len(data)), p.remaining)
			p.body(data[:n], at)
			data = data[n:]
			if p.remaining -= n; p.remaining == 0 {
				p.complete()
			}
		case readToEnd:
			p.body(data, at)
			data = nil
		case readComplete:
			p.keep = false
			return
		default:
			data = p.feedChunked(data, at)
		}
		if p.result.Class != "" && p.explains == nil {
			p.settle()
			if p.state == readHead { // there is no body to find; what follows is passed over
				p.state = readToEnd
			}
		}
	}
}

// End tells that the connection was closed by the server.
func (p *Response) End() {
	switch {
	case p.state == readComplete:
	case p.state == readHead && len(p.head) == 0:
		p.result.Fail(ClassConnect, "the server closed the connection without an answer")
	case p.state == readHead:
		p.result.Fail(ClassConnect, "the server closed the connection within the head of its answer: %.120q", p.head)
	case p.state != readToEnd && p.stream == "" && p.explains == nil:
		p.result.Fail(ClassCut, "the connection was closed before the answer was complete")
	}
	p.keep = false
	p.settle()
}

func (p *Response) complete() {
	p.state = readComplete
	p.settle()
}

// settle brings the result to its end, once.
func (p *Response) settle() {
	if p.settled {
		return
	}
	p.settled = true
	if p.explains != nil {
		p.explains(p.explain)
		return
	}
	p.answer.End()
}

func (p *Response) body(data []byte, at int64) {
	switch {
	case p.settled:
	case p.explains != nil:
		p.explain = append(p.explain, data[:min(len(data), maxExplain-len(p.explain))]...)
		if len(p.explain) == maxExplain {
			p.settle()
		}
	case !p.answer.Feed(data, at):
		p.settle()
	}
}

// feedHead gathers the head, line by line, until the empty line.
func (p *Response) feedHead(data []byte) []byte {
	for {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			p.head = append(p.head, data...)
			data = nil
		} else {
			p.head = append(p.head, data[:end+1]...)
			data = data[end+1:]
		}
		if len(p.head) > maxHead {
			p.result.Fail(ClassPayload, "a head of over %d bytes", maxHead)
			return nil
		}
		if end < 0 {
			return nil
		}
		if n := len(p.head); bytes.HasSuffix(p.head, []byte("\n\r\n")) || bytes.HasSuffix(p.head, []byte("\n\n")) {
			p.readHead(string(p.head[:n]))
			return data
		}
		if len(p.head) > 5 && string(p.head[:5]) != "HTTP/" {
			p.result.Fail(ClassPayload, "the answer is not HTTP: %.120q", p.head)
			return nil
		}
	}
}

// readHead understands status line and headers and decides how the body is read.
func (p *Response) readHead(head string) {
	status, fields, _ := strings.Cut(head, "\n")
	version, rest, _ := strings.Cut(strings.TrimSpace(status), " ")
	code, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(code)
	if (version != "HTTP/1.1" && version != "HTTP/1.0") || err != nil || n < 100 || n > 999 {
		p.result.Fail(ClassPayload, "the answer is not HTTP/1.1: %.120q", status)
		return
	}
	if n < 200 { // an interim response: the real one follows
		p.head = p.head[:0]
		return
	}
	h := readFields(fields)
	if h.bad != "" {
		p.result.Fail(ClassPayload, "a header that cannot be read: %.120q", h.bad)
		return
	}
	p.result.Status = n
	p.keep = !h.close && (version == "HTTP/1.1" || h.keepAlive)
	p.judge(n, &h)
	switch {
	case n == 204 || n == 304: // no body, whatever the headers say
		p.complete()
	case h.chunked:
		p.state, p.remaining, p.sized = readChunkSize, 0, false
	case h.length == 0:
		p.complete()
	case h.length > 0:
		p.state, p.remaining = readSized, h.length
	default:
		p.state, p.keep = readToEnd, false
	}
}

// judge looks whether the body can be an answer; else it is kept to say what was seen.
func (p *Response) judge(status int, h *fields) {
	kind, _, _ := mime.ParseMediaType(h.contentType)
	switch {
	case status != 200:
		p.explains = func(text []byte) {
			where := ""
			if h.location != "" {
				where = " to " + h.location + ", which is not followed"
			}
			p.result.Fail(ClassStatus, "HTTP %d%s: %s", status, where, clean(text))
		}
	case h.encoding != "" && !strings.EqualFold(h.encoding, "identity"):
		p.explains = func([]byte) {
			p.result.Fail(ClassPayload, "the answer is encoded as %q, which was not asked for", h.encoding)
		}
	case p.stream != "" && kind != p.stream && !(p.stream == "application/x-ndjson" && kind == "application/json"):
		p.explains = func(text []byte) {
			class := ClassPayload
			if hasError(text) {
				class = ClassServer
			}
			p.result.Fail(class, "a stream was asked for, the answer is %q: %.200q", h.contentType, text)
		}
	}
}

// feedChunked takes the chunked coding off (RFC 9112, section 7.1).
//
//nolint:gocognit // a state machine reads best whole, and each byte of an answer goes through it
func (p *Response) feedChunked(data []byte, at int64) []byte {
	if p.state == readChunkData {
		n := min(int64(len(data)), p.remaining)
		p.body(data[:n], at)
		if p.remaining -= n; p.remaining == 0 {
			p.state = readChunkEnd
		}
		return data[n:]
	}
	for i, c := range data {
		switch p.state {
		case readChunkSize:
			digit := hexDigit(c)
			switch {
			case digit >= 0 && p.remaining < 1<<50:
				p.remaining, p.sized = p.remaining<<4|int64(digit), true
			case c == '\n' && p.sized:
				if p.beginChunk(); p.state == readChunkData {
					return data[i+1:]
				}
			case (c == ';' || c == ' ' || c == '\t' || c == '\r') && p.sized:
				p.state = readChunkExtension
			default:
				return p.damaged(data)
			}
		case readChunkExtension:
			if c == '\n' {
				if p.beginChunk(); p.state == readChunkData {
					return data[i+1:]
				}
			}
		case readChunkEnd:
			switch c {
			case '\r':
			case '\n':
				p.state, p.remaining, p.sized = readChunkSize, 0, false
			default:
				return p.damaged(data)
			}
		case readTrailer: // at the beginning of a line
			switch c {
			case '\r':
			case '\n':
				p.complete()
				return data[i+1:]
			default:
				p.state = readTrailerLine
			}
		case readTrailerLine:
			if c == '\n' {
				p.state = readTrailer
			}
			if p.remaining++; p.remaining > maxHead {
				return p.damaged(data)
			}
		}
	}
	return nil
}

func (p *Response) beginChunk() {
	p.state = readChunkData
	if p.remaining == 0 {
		p.state = readTrailer
	}
}

func (p *Response) damaged(data []byte) []byte {
	if !p.settled {
		p.result.Fail(ClassPayload, "the answer's chunked coding is damaged at %.40q", data)
	}
	p.state, p.keep = readToEnd, false
	p.settle()
	return nil
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// fields are the headers that matter.
type fields struct {
	contentType, encoding, location string
	length                          int64 // -1 when not told
	chunked, close, keepAlive       bool
	bad                             string
}

func readFields(text string) fields {
	h := fields{length: -1}
	for line := range strings.SplitSeq(text, "\n") {
		name, value, found := strings.Cut(line, ":")
		if !found {
			if strings.TrimSpace(line) != "" {
				h.bad = line
			}
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "content-type":
			h.contentType = value
		case "content-encoding":
			h.encoding = value
		case "location":
			h.location = value
		case "content-length":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 || h.length >= 0 && h.length != n {
				h.bad = line
			}
			h.length = n
		case "transfer-encoding":
			h.chunked = strings.EqualFold(value, "chunked")
			if !h.chunked && !strings.EqualFold(value, "identity") {
				h.bad = line
			}
		case "connection":
			for option := range strings.SplitSeq(value, ",") {
				option = strings.TrimSpace(option)
				h.close = h.close || strings.EqualFold(option, "close")
				h.keepAlive = h.keepAlive || strings.EqualFold(option, "keep-alive")
			}
		}
	}
	return h
}
