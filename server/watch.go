package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

// watchEvent is one line of a watch. Its object is one of the API, a Table with one row, or a Status.
type watchEvent struct {
	Type   string `json:"type"`
	Object any    `json:"object"`
}

// watch streams changes until the client goes, its time is up, or the server stops. Without a version to start from it
// tells first of what there is. Bookmarks are never sent; clients may not count on them.
func (s *Server) watch(w http.ResponseWriter, r *request) error {
	q, err := r.query()
	if err != nil {
		return err
	}
	if r.flag("sendInitialEvents") {
		return statusError(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid,
			"sendInitialEvents is not supported: list, then watch from the list's resourceVersion")
	}
	ctx, cancel, err := r.watchContext()
	if err != nil {
		return err
	}
	defer cancel()

	from, initial := r.URL.Query().Get("resourceVersion"), store.List{}
	if from == "" || from == "0" {
		q.Limit, q.Continue = 0, ""
		if initial, err = s.page(r, q); err != nil {
			return err
		}
		from = initial.ResourceVersion
	}
	version, err := strconv.ParseUint(from, 10, 64)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("resourceVersion=%q: use the one of a list or an object", from))
	}
	changes, err := s.store.Watch(ctx, r.resource.kind, version, q.ListOptions)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	out := watchStream{s: s, r: r, enc: json.NewEncoder(w), flush: http.NewResponseController(w).Flush}
	out.run(ctx, initial.Items, changes, &q)
	return nil
}

// watchContext ends with the request, and after timeoutSeconds where the client gives them.
func (r *request) watchContext() (context.Context, context.CancelFunc, error) {
	text := r.URL.Query().Get("timeoutSeconds")
	if text == "" {
		ctx, cancel := context.WithCancel(r.Context())
		return ctx, cancel, nil
	}
	seconds, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("timeoutSeconds=%q: use a number of seconds", text))
	}
	if seconds == 0 { // to Kubernetes this is "no limit of the client's"
		ctx, cancel := context.WithCancel(r.Context())
		return ctx, cancel, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(seconds)*time.Second)
	return ctx, cancel, nil
}

// watchStream writes events, each flushed as soon as it is written.
type watchStream struct {
	s     *Server
	r     *request
	enc   *json.Encoder
	flush func() error
}

// run ends at the first event that cannot be written: the client is gone, or has to start anew anyway.
func (o *watchStream) run(ctx context.Context, initial []api.Object, changes <-chan store.Change, q *query) {
	if o.flush() != nil {
		return
	}
	for _, obj := range initial {
		if o.send(string(store.Added), obj) != nil {
			return
		}
	}
	for change := range changes {
		if !q.matches(change.Object) {
			continue
		}
		if o.send(string(change.Type), change.Object) != nil {
			return
		}
	}
	if ctx.Err() == nil {
		status := apierrors.NewResourceExpired("this watch fell too far behind, or the server is stopping: list again and watch from there").Status()
		status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		_ = o.write(watchEvent{Type: "ERROR", Object: status}) // the stream ends either way
	}
}

func (o *watchStream) send(kind string, obj api.Object) error {
	ev := watchEvent{Type: kind, Object: o.r.resource.present(obj)}
	if wantsTable(o.r.Request) {
		table, err := o.s.table(o.r, metav1.ListMeta{ResourceVersion: obj.GetResourceVersion()}, obj)
		if err != nil {
			return err
		}
		ev.Object = table
	}
	return o.write(ev)
}

func (o *watchStream) write(ev watchEvent) error {
	if err := o.enc.Encode(ev); err != nil {
		return err
	}
	return o.flush()
}
