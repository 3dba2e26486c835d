package controllers

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"

	"github.com/benchd/benchd/api/node"
)

const (
	// leadRetry is how long HTTPS to a lead that did not answer is left alone; the files go on telling.
	leadRetry = 30 * time.Second
	// leadTimeout bounds one question to a lead.
	leadTimeout = time.Second
	// leadSilent is how long a lead's sign of life may stand still while its job runs.
	leadSilent = 90 * time.Second
)

// leads observes what the leads of running jobs say: by the files of the job folder, and sooner by HTTPS where the
// nodes can be reached.
type leads struct {
	clusters *clusters
	mu       sync.Mutex
	known    map[types.UID]*leadMemory
}

// leadMemory is what is remembered of one lead. All of it may be forgotten.
type leadMemory struct {
	client  *node.Client
	retryAt time.Time
	last    node.LeadStatus
	movedAt time.Time
}

func newLeads(cs *clusters) *leads { return &leads{clusters: cs, known: map[types.UID]*leadMemory{}} }

func (ls *leads) close() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, m := range ls.known {
		if m.client != nil {
			m.client.Close()
		}
	}
}

func (ls *leads) forget(uid types.UID) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if m := ls.known[uid]; m != nil && m.client != nil {
		m.client.Close()
	}
	delete(ls.known, uid)
}

// noNews says that a liveness file tells nothing: it is not there yet, or its writer died over it.
func noNews(err error) bool { return errors.Is(err, node.ErrNotYet) || errors.Is(err, node.ErrDamaged) }

// lead returns what the Allocation's lead last said, and how long its sign of life has stood still. ErrNotYet means
// that there was none. Files and HTTPS may overtake each other; what was newest stays.
func (ls *leads) lead(ctx context.Context, p *poller, a *api.Allocation) (node.LeadStatus, time.Duration, error) {
	var st node.LeadStatus
	err := node.ReadJSON(node.Folder(a.Status.Folder).Lead(), &st)
	if err != nil && !noNews(err) {
		return st, 0, err
	}
	if view, ok := ls.ask(ctx, p, a); ok && view.Lead.Counter > st.Counter {
		st = view.Lead
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	m := ls.memory(a.UID)
	if st.Counter > m.last.Counter {
		m.last, m.movedAt = st, time.Now()
	}
	if m.last.Counter == 0 {
		return st, 0, node.ErrNotYet
	}
	return m.last, time.Since(m.movedAt), nil
}

// order returns how far an order is. ErrNotYet means that the lead has not taken it up.
func (ls *leads) order(ctx context.Context, p *poller, a *api.Allocation, number int32) (node.OrderStatus, error) {
	var st node.OrderStatus
	err := node.ReadJSON(node.Folder(a.Status.Folder).OrderStatus(number), &st)
	if err != nil && !noNews(err) {
		return st, err
	}
	if !st.Done {
		if view, ok := ls.ask(ctx, p, a); ok {
			for _, o := range view.Orders {
				if o.Number == number && o.Counter > st.Counter {
					st = o
				}
			}
		}
	}
	if st.Counter == 0 {
		return st, node.ErrNotYet
	}
	return st, nil
}

// memory must be called with the lock held.
func (ls *leads) memory(uid types.UID) *leadMemory {
	m := ls.known[uid]
	if m == nil {
		m = &leadMemory{}
		ls.known[uid] = m
	}
	return m
}

// ask asks the lead over HTTPS, when the cluster allows it and it answered of late.
func (ls *leads) ask(ctx context.Context, p *poller, a *api.Allocation) (node.LeadView, bool) {
	var view node.LeadView
	if p.spec.NodeAccess != api.NodeAccessAuto || a.Status.Phase.Terminal() {
		return view, false
	}
	ls.mu.Lock()
	m := ls.memory(a.UID)
	client, wait := m.client, time.Now().Before(m.retryAt)
	ls.mu.Unlock()
	if wait {
		return view, false
	}
	folder := node.Folder(a.Status.Folder)
	var record node.AgentRecord
	if node.ReadJSON(folder.Agent(0), &record) != nil {
		return view, false
	}
	ctx, cancel := context.WithTimeout(ctx, leadTimeout)
	defer cancel()
	var err error
	if client == nil {
		client, err = node.NewClient(folder, p.adapter.Dial)
	}
	if err == nil {
		err = client.Call(ctx, http.MethodGet, net.JoinHostPort(record.Address, strconv.Itoa(record.Port)), "/lead", nil, &view)
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	m = ls.memory(a.UID)
	if client != nil && m.client == nil {
		m.client = client
	}
	if err != nil {
		m.retryAt = time.Now().Add(leadRetry)
		return view, false
	}
	return view, true
}
