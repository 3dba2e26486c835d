package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/benchd/benchd/api/node"
)

// member is what the lead knows of one agent, itself included.
type member struct {
	node.AgentRecord
	host   string
	roles  []string
	client *node.Client
	// missing is when it first did not answer; zero while it does.
	missing time.Time
}

func (m *member) call(ctx context.Context, method, path string, in, out any) error {
	return m.callFor(ctx, 5*time.Second, method, path, in, out)
}

// callFor is call with a time of its own, for what takes longer.
func (m *member) callFor(ctx context.Context, longest time.Duration, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if err := m.client.Call(ctx, method, m.host, path, in, out); err != nil {
		return fmt.Errorf("node %s (rank %d): %w", m.Node, m.Rank, err)
	}
	return nil
}

func (m *member) status(ctx context.Context) (node.ExecutorStatus, error) {
	var st node.ExecutorStatus
	err := m.call(ctx, http.MethodGet, "/status", nil, &st)
	switch {
	case err == nil:
		m.missing = time.Time{}
	case m.missing.IsZero():
		m.missing = time.Now()
	}
	return st, err
}

// clockExchanges is how often a clock is read; the exchange with the shortest round trip counts.
const clockExchanges = 10

// clockOffset measures the member's monotonic clock against the lead's zero. The uncertainty is half the round trip.
func (m *member) clockOffset(ctx context.Context, zero time.Time) (offset, uncertainty time.Duration, err error) {
	best := time.Duration(-1)
	var failures error
	for range clockExchanges {
		var reading node.ClockReading
		before := time.Since(zero)
		if err := m.call(ctx, http.MethodGet, "/clock", nil, &reading); err != nil {
			failures = errors.Join(failures, err)
			continue
		}
		after := time.Since(zero)
		if trip := after - before; best < 0 || trip < best {
			best = trip
			offset = time.Duration(reading.Nanos) - (before+after)/2
		}
	}
	if best < 0 {
		return 0, 0, fmt.Errorf("read the clock: %w", failures)
	}
	return offset, best / 2, nil
}

// sameClock is how far apart wall clocks may be and count as one: samples are taken by the second, and what keeps clocks together keeps
// them much closer.
const sameClock = 50 * time.Millisecond

// ahead is how far the member's wall clock is before this node's; none where it is the same, or cannot be told: a node may be gone.
func (m *member) ahead(ctx context.Context) time.Duration {
	best, ahead := time.Duration(-1), time.Duration(0)
	for range clockExchanges {
		var reading node.ClockReading
		before := time.Now()
		if m.call(ctx, http.MethodGet, "/clock", nil, &reading) != nil {
			break
		}
		if trip := time.Since(before); best < 0 || trip < best {
			best, ahead = trip, time.Unix(0, reading.Wall).Sub(before.Add(trip/2))
		}
	}
	if ahead.Abs() <= sameClock+best/2 {
		return 0
	}
	return ahead
}

// gather reads the records of all agents that have registered. It returns those missing by rank.
func gather(folder node.Folder, manifest *node.Manifest, client *node.Client) ([]*member, []int, error) {
	var members []*member
	var missing []int
	for rank, roles := range manifest.Ranks {
		m := &member{roles: roles, client: client}
		err := node.ReadJSON(folder.Agent(rank), &m.AgentRecord)
		if errors.Is(err, node.ErrNotYet) {
			missing = append(missing, rank)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		m.host = net.JoinHostPort(m.Address, strconv.Itoa(m.Port))
		members = append(members, m)
	}
	return members, missing, nil
}
