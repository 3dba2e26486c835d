package controllers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"

	"github.com/benchd/benchd/api/node"
)

// ErrNodeAccess says that a cluster is declared as one whose nodes are not to be connected to.
var ErrNodeAccess = errors.New("its cluster has `nodeAccess: files`, so that no node is connected to")

// Nodes finds the agents of live Allocations and asks them, for those who want to see what they tell. It is safe for concurrent use.
type Nodes struct {
	store    *store.Store
	clusters *clusters

	mu    sync.Mutex
	known map[types.UID]*nodeMemory
}

// nodeMemory is what is remembered of one Allocation. All of it may be forgotten.
type nodeMemory struct {
	client *node.Client
	order  int32             // the last one that was read
	run    string            // its run's uid
	runs   map[string]string // names by uids; replaced, never changed, for Targets hold it
}

func newNodes(s *store.Store, cs *clusters) *Nodes {
	return &Nodes{store: s, clusters: cs, known: map[types.UID]*nodeMemory{}}
}

// Targets returns the nodes of all live Allocations whose agents have made themselves known, those of an Allocation in rank order.
func (n *Nodes) Targets(ctx context.Context) ([]node.Target, error) {
	list, err := n.store.ListLive(ctx, api.KindAllocation)
	if err != nil {
		return nil, fmt.Errorf("list live allocations: %w", err)
	}
	live := map[types.UID]bool{}
	var targets []node.Target
	for _, obj := range list.Items {
		if a, ok := obj.(*api.Allocation); ok && !a.Status.Phase.Terminal() {
			live[a.UID] = true
			targets = append(targets, n.of(a)...)
		}
	}
	n.forget(func(uid types.UID) bool { return !live[uid] })
	return targets, nil
}

// Find returns one node of an Allocation, by its name or its rank.
func (n *Nodes) Find(ctx context.Context, namespace, allocation, name string) (node.Target, error) {
	a, err := store.Get[*api.Allocation](ctx, n.store, namespace, allocation)
	if err != nil {
		return node.Target{}, err
	}
	if a.Status.Phase.Terminal() {
		n.forget(func(uid types.UID) bool { return uid == a.UID })
		return node.Target{}, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonGone,
			Message: fmt.Sprintf("allocation %s is %s: nothing of its job runs any more", a.Name, a.Status.Phase),
		}}
	}
	var names []string
	for i, t := range n.of(a) {
		if t.Node == name || strconv.Itoa(i) == name {
			return t, nil
		}
		names = append(names, t.Node)
	}
	if len(names) == 0 {
		return node.Target{}, apierrors.NewServiceUnavailable(fmt.Sprintf("allocation %s is %s: its nodes are not known yet", a.Name, a.Status.Phase))
	}
	unknown := apierrors.NewNotFound(api.Resource(api.KindAllocation), allocation+"/"+name)
	unknown.ErrStatus.Message = fmt.Sprintf("allocation %s has no node %s: its nodes are %s", allocation, name, strings.Join(names, ", "))
	return node.Target{}, unknown
}

// of returns the nodes of an Allocation.
func (n *Nodes) of(a *api.Allocation) []node.Target {
	if len(a.Status.Nodes) == 0 {
		return nil
	}
	run, runs := n.runsOf(a)
	targets := make([]node.Target, 0, len(a.Status.Nodes))
	for _, s := range a.Status.Nodes {
		host, _ := strings.CutPrefix(s.Executor, "https://")
		targets = append(targets, node.Target{
			Namespace: a.Namespace, Allocation: a.Name, UID: a.UID, Cluster: a.Spec.Cluster, Service: a.Spec.Service.Name,
			Folder: node.Folder(a.Status.Folder), Node: s.Name, Roles: s.Roles, Host: host, Run: run, Runs: runs,
		})
	}
	return targets
}

// runsOf says which run an Allocation is at, and what its runs are called. An order is sealed, so each is read once.
func (n *Nodes) runsOf(a *api.Allocation) (run string, runs map[string]string) {
	n.mu.Lock()
	m := n.memory(a.UID)
	known := m.order == a.Status.Order
	run, runs = m.run, m.runs
	n.mu.Unlock()
	if known {
		return run, runs
	}
	var order node.Order
	if node.ReadJSON(node.Folder(a.Status.Folder).Order(a.Status.Order), &order) != nil {
		return run, runs // not visible yet: next time
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m = n.memory(a.UID)
	if order.Number >= m.order {
		names := maps.Clone(m.runs)
		names[order.Run.UID] = order.Run.Name
		m.order, m.run, m.runs = order.Number, order.Run.UID, names
	}
	return m.run, m.runs
}

// memory must be called with the lock held.
func (n *Nodes) memory(uid types.UID) *nodeMemory {
	m := n.known[uid]
	if m == nil {
		m = &nodeMemory{runs: map[string]string{}}
		n.known[uid] = m
	}
	return m
}

// Open asks a node's agent, and returns its answer as it is. The caller closes its body, and bounds the time by ctx.
func (n *Nodes) Open(ctx context.Context, t node.Target, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	p, err := n.clusters.get(ctx, t.Cluster)
	if err != nil {
		return nil, err
	}
	if p.spec.NodeAccess == api.NodeAccessFiles {
		return nil, ErrNodeAccess
	}
	client, err := n.client(p, t)
	if err != nil {
		return nil, err
	}
	return client.Open(ctx, method, t.Host, path, header, body)
}

func (n *Nodes) client(p *poller, t node.Target) (*node.Client, error) {
	n.mu.Lock()
	client := n.memory(t.UID).client
	n.mu.Unlock()
	if client != nil {
		return client, nil
	}
	client, err := node.NewClient(t.Folder, p.adapter.Dial)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.memory(t.UID)
	if m.client == nil { // else somebody was quicker; this one has no connections yet
		m.client = client
	}
	return m.client, nil
}

func (n *Nodes) forget(which func(types.UID) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for uid, m := range n.known {
		if !which(uid) {
			continue
		}
		if m.client != nil {
			m.client.Close()
		}
		delete(n.known, uid)
	}
}

func (n *Nodes) close() { n.forget(func(types.UID) bool { return true }) }
