package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
	dto "github.com/prometheus/client_model/go"

	"github.com/benchd/benchd/api/node"
)

// Pusher pushes a node's live metrics to a Pushgateway, for sites whose Prometheus cannot reach compute nodes. One that cannot be
// reached is a warning, once, and never a failure.
type Pusher struct {
	// URL of the Pushgateway.
	URL string
	// AuthorizationFile holds the value of the Authorization header; empty where none is asked for.
	AuthorizationFile string
	// Interval between two pushes.
	Interval time.Duration
	// Job and Instance name the group that the metrics stand in: it is replaced by each push and deleted at the end.
	Job, Instance string
	// Direct says that the gateway is one of the job's own: a proxy that the site sets for the world outside has no place in between.
	Direct bool
	// Source of the metrics. An empty one pushes nothing.
	Source prometheus.Gatherer
	// Log gets what goes wrong.
	Log *slog.Logger
}

// pushTimeout bounds one push, so that a gateway that hangs holds nothing up.
const pushTimeout = 10 * time.Second

// Run pushes until the context ends, and then deletes the group: metrics of a job that is gone would look alive for ever.
func (p *Pusher) Run(ctx context.Context) {
	transport := p.transport()
	defer transport.CloseIdleConnections()
	var families []*dto.MetricFamily // gathered once a push
	gathered := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil })
	gateway := push.New(p.URL, p.Job).Grouping("instance", p.Instance).Gatherer(gathered).Client(authorized{&http.Client{Timeout: pushTimeout, Transport: transport, CheckRedirect: node.KeepMethod}, p.AuthorizationFile})
	tick := time.NewTicker(p.Interval)
	defer tick.Stop()
	pushed, failing := false, false
	for {
		select {
		case <-ctx.Done():
			if pushed {
				if err := gateway.Delete(); err != nil && !p.Direct { // one of the job's own may have ended, and keeps nothing
					p.Log.Warn("delete the metrics at the Pushgateway", "url", p.URL, "error", err)
				}
			}
			return
		case <-tick.C:
		}
		var err error
		families, err = p.Source.Gather()
		if err == nil && len(families) == 0 {
			continue // no load yet
		}
		if err == nil {
			err = gateway.PushContext(ctx)
		}
		if err == nil {
			pushed, failing = true, false
			continue
		}
		// A gateway that was too slow to answer may have taken it.
		var slow net.Error
		pushed = pushed || errors.Is(err, context.Canceled) || errors.As(err, &slow) && slow.Timeout()
		if !failing && ctx.Err() == nil {
			p.Log.Warn("push metrics: benchd goes on trying; see whether the Pushgateway runs and this node can reach it", "url", p.URL, "error", fmt.Sprint(err))
		}
		failing = true
	}
}

// maxSaid is how much is read of what a gateway says about a push that it refuses: what answers may be a proxy with a page of its own.
const maxSaid = 600

// authorized puts what a file holds into each request; it is read each time, so that a new password needs no new job.
type authorized struct {
	*http.Client

	file string
}

func (a authorized) Do(req *http.Request) (*http.Response, error) {
	if err := node.Authorize(req, a.file); err != nil {
		return nil, err
	}
	resp, err := a.Client.Do(req)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxSaid), resp.Body}
	}
	return resp, err
}

func (p *Pusher) transport() *http.Transport {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if p.Direct {
		t.Proxy = nil
	}
	return t
}
