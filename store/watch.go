package store

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// keptEvents is how many changes a watcher may be behind before it has to list again.
const keptEvents = 10_000

// ChangeType is what happened to an object.
type ChangeType string

// Types of change, as they stand in a watch.
const (
	Added    ChangeType = "ADDED"
	Modified ChangeType = "MODIFIED"
	Deleted  ChangeType = "DELETED"
)

// Change is one event of a watch.
type Change struct {
	Type   ChangeType
	Object api.Object
}

// change is a Change before its object is decoded for a watcher.
type change struct {
	version   uint64
	key       key
	kind      ChangeType
	data      []byte
	labels    map[string]string
	oldLabels map[string]string
}

// eventLog keeps the last changes in a ring. Watchers read it at their own pace and wait on a channel that is closed
// at the next append, so a slow one costs nobody anything and is told to list again when it fell out of the ring.
type eventLog struct {
	mu     sync.Mutex
	ring   []change
	first  uint64 // sequence number of the oldest change in the ring
	next   uint64 // sequence number of the next change
	oldest uint64 // resource versions above this are all in the ring
	latest uint64
	more   chan struct{}
	closed bool
}

func newEventLog(version uint64) *eventLog {
	return &eventLog{oldest: version, latest: version, more: make(chan struct{})}
}

func (l *eventLog) append(changes []change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range changes {
		if len(l.ring) < keptEvents {
			l.ring = append(l.ring, c)
		} else {
			slot := &l.ring[l.next%keptEvents]
			l.oldest = slot.version
			*slot = c
			l.first++
		}
		l.next++
		l.latest = c.version
	}
	if !l.closed {
		close(l.more)
		l.more = make(chan struct{})
	}
}

func (l *eventLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.more)
	}
}

// position finds where a watch from this version starts.
func (l *eventLog) position(version uint64) (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if version < l.oldest || version > l.latest {
		return 0, false
	}
	at := l.next
	for at > l.first && l.ring[(at-1)%keptEvents].version > version {
		at--
	}
	return at, true
}

// read returns the changes from position at on, and a channel that is closed when there are more.
func (l *eventLog) read(at uint64) (batch []change, more <-chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at < l.first || l.closed {
		return nil, nil, false
	}
	for ; at < l.next; at++ {
		batch = append(batch, l.ring[at%keptEvents])
	}
	return batch, l.more, true
}

// Watch sends every change of a kind after version, in order, until ctx ends. It ends by itself, with the channel
// closed, when the watcher fell more than the kept changes behind or the store was closed. A version that is too old
// is refused with an Expired error (410): list again and watch from there.
func (s *Store) Watch(ctx context.Context, kind string, version uint64, opts ListOptions) (<-chan Change, error) {
	at, ok := s.log.position(version)
	if !ok {
		// A list can show a version that watchers are not told of yet: the write that made it is not quite over.
		s.writing.Lock()
		at, ok = s.log.position(version)
		s.writing.Unlock()
	}
	if !ok {
		return nil, apierrors.NewResourceExpired(fmt.Sprintf(
			"resourceVersion %d is not among the last %d changes: list again and watch from the list's version", version, keptEvents))
	}
	out := make(chan Change)
	go func() {
		defer close(out)
		for {
			batch, more, ok := s.log.read(at)
			if !ok {
				return
			}
			at += uint64(len(batch))
			for _, c := range batch {
				if c.key.kind != kind {
					continue
				}
				ev, ok := c.forWatcher(&opts)
				if !ok {
					continue
				}
				select {
				case out <- ev:
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// forWatcher says what a watcher with these options sees: an object whose labels change into or out of its selector is
// added or deleted to it.
func (c *change) forWatcher(opts *ListOptions) (Change, bool) {
	now := opts.matches(c.key.namespace, c.labels)
	before := c.kind != Added && opts.matches(c.key.namespace, c.oldLabels)
	if !now && !before {
		return Change{}, false
	}
	obj, err := decode(c.key.kind, c.data)
	if err != nil {
		return Change{}, false // what was encoded a moment ago decodes
	}
	kind := c.kind
	switch {
	case kind == Deleted:
	case now && !before:
		kind = Added
	case !now:
		kind = Deleted
	}
	return Change{Type: kind, Object: obj}, true
}
