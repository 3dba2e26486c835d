package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Event is one change that a watch saw. Err is set on the last one of a watch that broke; where apierrors.IsResourceExpired
// says so of it, list again and watch from there.
type Event struct {
	Type   watch.EventType
	Object api.Object
	Err    error
}

// TableEvent is one change as the server prints it, a Table of one row.
type TableEvent struct {
	Type  watch.EventType
	Table *metav1.Table
	Err   error
}

// Watch sends changes until ctx ends or the server ends the stream; the channel is closed then. Whoever stops reading
// earlier has to end ctx.
func (c *Client) Watch(ctx context.Context, kind string, opts ListOptions) (<-chan Event, error) {
	if api.New(kind) == nil {
		return nil, fmt.Errorf("watch: unknown kind %q", kind)
	}
	return stream(ctx, c, kind, "", opts, func(line rawEvent, err error) Event {
		ev := Event{Type: line.Type, Err: err}
		if err == nil {
			ev.Object = api.New(kind)
			ev.Err = json.Unmarshal(line.Object, ev.Object)
		}
		return ev
	})
}

// WatchTable is Watch for those who print.
func (c *Client) WatchTable(ctx context.Context, kind string, opts ListOptions) (<-chan TableEvent, error) {
	return stream(ctx, c, kind, acceptTable, opts, func(line rawEvent, err error) TableEvent {
		ev := TableEvent{Type: line.Type, Err: err}
		if err == nil {
			ev.Table = &metav1.Table{}
			ev.Err = json.Unmarshal(line.Object, ev.Table)
		}
		return ev
	})
}

type rawEvent struct {
	Type   watch.EventType
	Object json.RawMessage
}

// stream opens a watch and sends what convert makes of each of its lines.
func stream[T any](ctx context.Context, c *Client, kind, accept string, opts ListOptions, convert func(rawEvent, error) T) (<-chan T, error) {
	query := opts.query()
	query.Set("watch", "true")
	if opts.ResourceVersion != "" {
		query.Set("resourceVersion", opts.ResourceVersion)
	}
	//nolint:bodyclose // the goroutine below closes it at the watch's end
	resp, err := c.open(ctx, call{method: http.MethodGet, path: collection(kind, opts.Namespace), query: query, accept: accept})
	if err != nil {
		return nil, err
	}
	out := make(chan T)
	go func() {
		defer close(out)
		defer func() { _ = resp.Body.Close() }() // all that matters of it was read
		lines := json.NewDecoder(resp.Body)
		for {
			line, err := readEvent(lines)
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return
			}
			select {
			case out <- convert(line, err):
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out, nil
}

// readEvent reads one line. io.EOF means that the server ended the stream as it should.
func readEvent(lines *json.Decoder) (rawEvent, error) {
	var line rawEvent
	if err := lines.Decode(&line); errors.Is(err, io.EOF) {
		return line, io.EOF
	} else if err != nil {
		return rawEvent{Type: watch.Error}, fmt.Errorf("watch broke off: %w", err)
	}
	if line.Type != watch.Error {
		return line, nil
	}
	var status metav1.Status
	if err := json.Unmarshal(line.Object, &status); err != nil {
		return line, fmt.Errorf("watch failed, and its reason cannot be read: %w", err)
	}
	return line, &apierrors.StatusError{ErrStatus: status}
}
