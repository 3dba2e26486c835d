package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/benchd/benchd/api/node"
)

const (
	// scrapeTimeout bounds a scrape of all nodes: Prometheus gives up after 10 s where it is not told otherwise.
	scrapeTimeout = 8 * time.Second
	// nodeTimeout bounds the answer of one node, nodeBytes its length, allBytes that of all nodes together.
	nodeTimeout = 3 * time.Second
	nodeBytes   = 4 << 20
	allBytes    = 64 << 20
	// scrapesAtOnce bounds how many nodes are asked at the same time, whoever wants it.
	scrapesAtOnce = 64
	// slowFailure is how long a node may take to fail and be asked again at once; one that took longer is left alone for nodePause, for
	// nodes that hang must not take the time of those that answer.
	slowFailure = time.Second
	nodePause   = 30 * time.Second
)

// metricsPath is where agents show their metrics.
const metricsPath = "/metrics/prometheus"

// metricsAccept asks for protocol buffers, which keep native histograms, and else for text.
const metricsAccept = `application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.9,text/plain;version=0.0.4;q=0.5`

// scraper asks nodes for their metrics.
type scraper struct {
	nodes  Nodes
	places chan struct{} // one for each node that is being asked
	asked  *prometheus.CounterVec
	took   prometheus.Histogram

	mu     sync.Mutex
	paused map[string]pause // by who is paused
}

// pause is a node that is left alone for a while, and why.
type pause struct {
	until time.Time
	err   error
}

func newScraper(nodes Nodes, r prometheus.Registerer) *scraper {
	sc := &scraper{
		nodes: nodes, places: make(chan struct{}, scrapesAtOnce), paused: map[string]pause{},
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "benchd_node_scrapes_total", Help: "Nodes that were asked for their metrics, by what came of it: answered or left_out.",
		}, []string{"result"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "benchd_node_scrape_seconds", Help: "Time until a node that answered had told its metrics.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 13),
		}),
	}
	sc.asked.WithLabelValues("answered")
	sc.asked.WithLabelValues("left_out")
	r.MustRegister(sc.asked, sc.took)
	return sc
}

// scrape asks one node and returns its metrics with the labels of the node added, and how many bytes they were.
func (sc *scraper) scrape(ctx context.Context, t node.Target) ([]*dto.MetricFamily, int64, error) {
	families, size, err := sc.ask(ctx, t)
	if err != nil {
		sc.asked.WithLabelValues("left_out").Inc()
		return nil, 0, err
	}
	sc.asked.WithLabelValues("answered").Inc()
	return families, size, nil
}

func (sc *scraper) ask(ctx context.Context, t node.Target) ([]*dto.MetricFamily, int64, error) {
	if err := sc.pausedFor(t); err != nil {
		return nil, 0, err
	}
	select {
	case sc.places <- struct{}{}:
		defer func() { <-sc.places }()
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("its turn did not come in time: %w", ctx.Err())
	}
	begun := time.Now()
	ask, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	families, size, err := sc.read(ask, t)
	took := time.Since(begun)
	if err == nil {
		sc.took.Observe(took.Seconds())
		return families, size, nil
	}
	// A scrape that was called off says nothing about the node.
	if took > slowFailure && !errors.Is(ctx.Err(), context.Canceled) {
		sc.mu.Lock()
		sc.paused[pauseKey(t)] = pause{time.Now().Add(nodePause), err}
		sc.mu.Unlock()
	}
	return nil, 0, err
}

// pauseKey tells agents apart: another job's may get the same address.
func pauseKey(t node.Target) string { return string(t.UID) + " " + t.Host }

// pausedFor is the error of a node that is left alone; pauses that are over are forgotten.
func (sc *scraper) pausedFor(t node.Target) error {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(sc.paused, func(_ string, p pause) bool { return now.After(p.until) })
	if p, ok := sc.paused[pauseKey(t)]; ok {
		return fmt.Errorf("it is asked again in %s: %w", p.until.Sub(now).Round(time.Second), p.err)
	}
	return nil
}

// countingReader counts what is read, and ends with an error where that is too much.
type countingReader struct {
	from io.Reader
	read int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if c.read += int64(n); c.read > nodeBytes {
		return n, fmt.Errorf("its metrics are longer than %d MiB", nodeBytes>>20)
	}
	return n, err
}

func (sc *scraper) read(ctx context.Context, t node.Target) ([]*dto.MetricFamily, int64, error) {
	resp, err := sc.nodes.Open(ctx, t, http.MethodGet, metricsPath, http.Header{"Accept": {metricsAccept}}, nil)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 600)) // what there is of a reason
		return nil, 0, &node.StatusError{Code: resp.StatusCode, Text: string(said)}
	}
	counted := &countingReader{from: resp.Body}
	decoder := expfmt.NewDecoder(counted, expfmt.ResponseFormat(resp.Header))
	var families []*dto.MetricFamily
	for {
		family := &dto.MetricFamily{}
		err := decoder.Decode(family)
		if errors.Is(err, io.EOF) {
			return families, counted.read, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read its metrics: %w", err)
		}
		addLabels(family, t)
		families = append(families, family)
	}
}

// scrapeAll answers with the metrics of all live nodes as one page. A node that does not answer is left out, and counted.
func (s *Server) scrapeAll(w http.ResponseWriter, r *request) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.scrapeTime(r))
	defer cancel()
	targets, err := s.opts.Nodes.Targets(ctx)
	if err != nil {
		return err
	}
	merged := newMerger()
	var mu sync.Mutex
	var wg sync.WaitGroup
	left := int64(allBytes)
	for _, t := range targets {
		wg.Go(func() {
			families, size, err := s.scraper.scrape(ctx, t)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && size > left {
				err = fmt.Errorf("all nodes' metrics together are longer than %d MiB", allBytes>>20)
			}
			if err == nil {
				left -= size
				merged.add(families)
			} else {
				s.log.DebugContext(ctx, "node left out of a scrape", "allocation", t.Allocation, "node", t.Node, "error", err)
			}
			merged.count(t, err == nil)
		})
	}
	wg.Wait()
	respondMetrics(w, r, merged.families())
	return nil
}

// scrapeTime is what Prometheus says that it waits, less what the way takes.
func (s *Server) scrapeTime(r *request) time.Duration {
	seconds, err := strconv.ParseFloat(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64)
	if err != nil || seconds <= 0 || seconds > scrapeTimeout.Seconds() {
		return scrapeTimeout
	}
	return time.Duration(0.9 * seconds * float64(time.Second))
}

// scrapeOne answers with the metrics of one node, its labels added.
func (s *Server) scrapeOne(w http.ResponseWriter, r *request) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.scrapeTime(r))
	defer cancel()
	t, err := s.opts.Nodes.Find(ctx, r.namespace, r.name, r.PathValue("node"))
	if err != nil {
		return err
	}
	families, _, err := s.scraper.scrape(ctx, t)
	if err != nil {
		return unreachable(t, err)
	}
	respondMetrics(w, r, families)
	return nil
}

// respondMetrics writes metrics in the format and compression that the client asks for.
func respondMetrics(w http.ResponseWriter, r *request, families []*dto.MetricFamily) {
	var source prometheus.GathererFunc = func() ([]*dto.MetricFamily, error) { return families, nil }
	promhttp.HandlerFor(source, promhttp.HandlerOpts{}).ServeHTTP(w, r.Request)
}
