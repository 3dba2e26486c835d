package monitor

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

var nan = math.NaN()

// Polled is a source that is asked over the network, such as a server for its own metrics. It is asked once an interval, in the
// background; a sample takes the last answer, unless that is older than three intervals.
type Polled struct {
	metrics []Metric
	place   map[string]int

	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	values []float64
	at     time.Time
	old    time.Duration
}

// mostUnasked is how many intervals lie at most between two questions to who does not answer.
const mostUnasked = 10

// NewPolled asks by the function, whose answer holds values by the metrics' names; an error is no answer. An answer is waited for as
// long as an interval, and two seconds at least.
func NewPolled(interval time.Duration, metrics []Metric, ask func(context.Context) (map[string]float64, error)) *Polled {
	ctx, stop := context.WithCancel(context.Background())
	p := &Polled{metrics: metrics, place: map[string]int{}, stop: stop, done: make(chan struct{}), old: 3 * interval}
	for i, m := range metrics {
		p.place[m.Name] = i
	}
	go p.run(ctx, interval, ask)
	return p
}

func (p *Polled) run(ctx context.Context, interval time.Duration, ask func(context.Context) (map[string]float64, error)) {
	defer close(p.done)
	// Who does not answer, or tells nothing of itself, is asked less and less often.
	pauses := backoff.NewExponentialBackOff(backoff.WithInitialInterval(interval), backoff.WithMaxInterval(mostUnasked*interval),
		backoff.WithRandomizationFactor(0), backoff.WithMaxElapsedTime(0))
	next := time.Now()
	for {
		asking, cancel := context.WithTimeout(ctx, max(interval, 2*time.Second))
		told, err := ask(asking)
		cancel()
		pause := interval
		if err == nil {
			p.keep(told)
			pauses.Reset()
		} else {
			pause = pauses.NextBackOff()
		}
		if next = next.Add(pause); next.Before(time.Now()) {
			next = time.Now().Add(pause) // an answer that took longer is not made up for
		}
		if sleepUntil(ctx, next) != nil {
			return
		}
	}
}

func (p *Polled) keep(told map[string]float64) {
	values := nothing(len(p.metrics))
	for name, v := range told {
		if i, known := p.place[name]; known {
			values[i] = v
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.values, p.at = values, time.Now()
}

// Metrics that are asked for.
func (p *Polled) Metrics() []Metric { return p.metrics }

// Read takes the last answer.
func (p *Polled) Read(_ context.Context, values []float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.values != nil && time.Since(p.at) <= p.old {
		copy(values, p.values)
	}
}

// Close ends the asking.
func (p *Polled) Close() error {
	p.stop()
	<-p.done
	return nil
}
