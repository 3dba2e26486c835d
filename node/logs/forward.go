package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
)

const (
	// batchLines and batchBytes bound what is sent at once; heldBatches is how many wait at most, so that memory is bounded.
	batchLines  = 2000
	batchBytes  = 1 << 20
	heldBatches = 8
	// sendTimeout bounds one request, sendPatience the tries of one batch.
	sendTimeout  = 10 * time.Second
	sendPatience = 30 * time.Second
	// stopPatience is how long the end of a run waits for what is still to be sent.
	stopPatience = 10 * time.Second
)

// batch is what is sent at once.
type batch struct {
	lines []sentLine
	text  []byte // of all lines
}

// sentLine is a line of a batch; its text lies between two places of the batch's.
type sentLine struct {
	Source
	at         int64
	stderr     bool
	level      Level
	start, end int
}

func (b *batch) textOf(l sentLine) []byte { return b.text[l.start:l.end] }

func (l sentLine) stream() string {
	if l.stderr {
		return "err"
	}
	return "out"
}

// forwarder is a tailer that sends every line to a log service too. The service may be slow: then the reading waits, for the raw logs
// are a buffer without bounds. It may be away: then lines are dropped and counted, and the run knows nothing of it.
type forwarder struct {
	*tailer
	url     string
	secret  string // the file with the Authorization header
	encode  encoder
	client  *http.Client
	backoff time.Duration // before the first repeat
	patient time.Duration // for the rest at the end

	current *batch
	queue   chan *batch
	sending sync.WaitGroup
	ctx     context.Context //nolint:containedctx // of the sending, which Stop ends
	cancel  context.CancelFunc

	away               atomic.Bool
	forwarded, dropped atomic.Int64
}

func newForwarder(s Settings) (*forwarder, error) {
	if s.Forward == nil {
		return nil, errors.New("forward logs: it is not said where to: set logging.forward")
	}
	format, known := formats[s.Forward.Format]
	if !known {
		return nil, fmt.Errorf("forward logs: format %q is not known: use loki, elasticsearch or fluentbit", s.Forward.Format)
	}
	to, err := url.Parse(s.Forward.URL)
	if err != nil {
		return nil, fmt.Errorf("forward logs: %w", err)
	}
	if to.Path == "" || to.Path == "/" {
		to.Path = format.path
	}
	f := &forwarder{
		tailer: newTailer(s), url: to.String(), secret: s.Forward.AuthorizationFile, encode: format.encode(s.Labels), client: &http.Client{Timeout: sendTimeout, CheckRedirect: node.KeepMethod},
		backoff: backoff.DefaultInitialInterval, patient: stopPatience, current: &batch{}, queue: make(chan *batch, heldBatches),
	}
	f.each, f.flushed = f.add, f.offer
	return f, nil
}

// Start begins to follow and to send.
func (f *forwarder) Start() {
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.sending.Go(f.send)
	f.tailer.Start()
}

// add puts a line to the batch.
func (f *forwarder) add(r *reader, level Level) {
	b := f.current
	start := len(b.text)
	b.text = append(b.text, r.text...)
	b.lines = append(b.lines, sentLine{Source: r.Source, at: r.at, stderr: r.stderr, level: level, start: start, end: len(b.text)})
	if len(b.lines) >= batchLines || len(b.text) >= batchBytes {
		f.offer()
	}
}

// offer hands the batch to the sender. While the service takes lines it waits until there is room.
func (f *forwarder) offer() {
	b := f.current
	if len(b.lines) == 0 {
		return
	}
	f.current = &batch{}
	if f.ctx == nil { // stopped before it was started
		f.dropped.Add(int64(len(b.lines)))
		return
	}
	if !f.away.Load() {
		select {
		case f.queue <- b:
			return
		case <-f.ctx.Done():
		case <-time.After(sendPatience):
		}
	}
	select {
	case f.queue <- b:
	default:
		f.dropped.Add(int64(len(b.lines)))
	}
}

// send sends batches until there are no more to come.
func (f *forwarder) send() {
	defer f.client.CloseIdleConnections()
	for b := range f.queue {
		refused, err := f.deliver(b)
		taken := int64(len(b.lines) - refused)
		if err != nil {
			taken = 0
		}
		f.forwarded.Add(taken)
		f.dropped.Add(int64(len(b.lines)) - taken)
		switch was := f.away.Swap(err != nil); {
		case err != nil && !was:
			f.Log.Warn("send log lines: they are dropped until the service takes them again; see whether it runs and this node reaches it", "url", f.url, "error", err)
		case err == nil && was:
			f.Log.Info("the log service takes lines again", "url", f.url, "dropped", f.dropped.Load())
		}
		if refused > 0 {
			f.warn("the log service refused lines: see its own log", fmt.Errorf("%d of %d lines of a batch", refused, len(b.lines)))
		}
	}
}

// deliver sends a batch, again and again while that may help. A service that was away is asked once only.
func (f *forwarder) deliver(b *batch) (refused int, err error) {
	body := f.encode.append(nil, b)
	if f.away.Load() {
		return f.post(body)
	}
	tries := backoff.NewExponentialBackOff(backoff.WithInitialInterval(f.backoff), backoff.WithMaxElapsedTime(sendPatience))
	var last error
	refused, err = backoff.RetryWithData(func() (int, error) {
		refused, err := f.post(body)
		if err != nil && f.ctx.Err() == nil {
			last = err
		}
		return refused, err
	}, backoff.WithContext(tries, f.ctx))
	if err != nil && last != nil { // that the sending was ended tells nothing of the service
		err = last
	}
	return refused, err
}

// post makes one request. An answer that the next try would get as well is permanent.
func (f *forwarder) post(body []byte) (refused int, err error) {
	req, err := http.NewRequestWithContext(f.ctx, http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		return 0, backoff.Permanent(err)
	}
	req.Header.Set("Content-Type", f.encode.contentType)
	if err := node.Authorize(req, f.secret); err != nil {
		return 0, backoff.Permanent(err)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	switch {
	case err != nil:
		return 0, err
	case resp.StatusCode < 300 && f.encode.refused != nil:
		return f.encode.refused(said), nil
	case resp.StatusCode < 300:
		return 0, nil
	}
	err = fmt.Errorf("HTTP %d%s: %.200s", resp.StatusCode, elsewhere(resp), bytes.TrimSpace(said))
	if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusRequestTimeout {
		return 0, backoff.Permanent(err)
	}
	return 0, err
}

// elsewhere says where an answer points that takes nothing. What stands behind the path may be a secret.
func elsewhere(resp *http.Response) string {
	to, err := resp.Location()
	if err != nil {
		return ""
	}
	return " (see " + to.Scheme + "://" + to.Host + to.EscapedPath() + ")"
}

// Stop sends what is left, for a while, and makes the outputs final.
func (f *forwarder) Stop(until time.Time) (api.LogSummary, error) {
	if f.ctx == nil {
		sum, err := f.tailer.Stop(until)
		sum.Dropped = f.dropped.Load()
		return sum, err
	}
	late := time.AfterFunc(f.patient, f.cancel)
	sum, err := f.tailer.Stop(until)
	close(f.queue)
	f.sending.Wait()
	late.Stop()
	f.cancel()
	sum.Forwarded, sum.Dropped = f.forwarded.Load(), f.dropped.Load()
	if sum.Dropped > 0 {
		f.Log.Warn("the log service was not sent all lines: the run's own files have them", "url", f.url, "sent", sum.Forwarded, "dropped", sum.Dropped)
	}
	return sum, err
}
