package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// maxBody bounds a request's body, as Kubernetes does.
const maxBody = 3 << 20

// request is an HTTP request and what its path says.
type request struct {
	*http.Request
	resource  *resource
	namespace string // empty: all of them, or none
	name      string
}

// verb answers a request. It either writes the whole answer or returns an error and has written nothing.
type verb func(w http.ResponseWriter, r *request) error

// verbs maps HTTP methods to what answers them.
type verbs map[string]verb

// endpoint makes a path's handler. Whatever goes wrong is answered with a Status object.
func (s *Server) endpoint(res *resource, answer verbs) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := &request{Request: r, resource: res, namespace: r.PathValue("namespace"), name: r.PathValue("name")}
		if err := s.dispatch(w, req, answer); err != nil {
			s.respondError(w, r, err)
		}
	})
}

func (s *Server) dispatch(w http.ResponseWriter, r *request, answer verbs) error {
	handle, ok := answer[r.Method]
	if !ok && len(answer) == 0 {
		return statusError(http.StatusNotFound, metav1.StatusReasonNotFound,
			fmt.Sprintf("no such path: %s: see /api, /apis and what they list", r.URL.Path))
	}
	if !ok {
		return apierrors.NewMethodNotSupported(r.groupResource(), r.Method)
	}
	if r.namespace != "" && len(validation.IsDNS1123Label(r.namespace)) > 0 {
		return apierrors.NewBadRequest(fmt.Sprintf("namespace %q: use at most 63 lower-case letters, digits and dashes", r.namespace))
	}
	return handle(w, r)
}

func (r *request) groupResource() schema.GroupResource {
	if r.resource == nil {
		return schema.GroupResource{Resource: strings.Trim(r.URL.Path, "/")}
	}
	return r.resource.version.WithResource(r.resource.plural).GroupResource()
}

// flag reads a boolean of the query. What is no boolean counts as set, as it does to Kubernetes.
func (r *request) flag(name string) bool {
	query := r.URL.Query()
	if !query.Has(name) {
		return false
	}
	set, err := strconv.ParseBool(query.Get(name))
	return err != nil || set
}

// dryRun says whether nothing is to be kept of a write.
func (r *request) dryRun() (bool, error) { return isDryRun(r.URL.Query()["dryRun"]) }

func isDryRun(stages []string) (bool, error) {
	for _, stage := range stages {
		if stage != metav1.DryRunAll {
			return false, apierrors.NewBadRequest(fmt.Sprintf("dryRun=%q is not known: use dryRun=%s", stage, metav1.DryRunAll))
		}
	}
	return len(stages) > 0, nil
}

// body reads a whole body of one of the media types and says which it is; none given means the first.
func (r *request) body(w http.ResponseWriter, mediaTypes ...string) ([]byte, string, error) {
	mediaType := mediaTypes[0]
	if header := r.Header.Get("Content-Type"); header != "" {
		got, _, err := mime.ParseMediaType(header)
		if err != nil {
			return nil, "", apierrors.NewBadRequest(fmt.Sprintf("Content-Type %q: %v", header, err))
		}
		mediaType = got
	}
	known := false
	for _, m := range mediaTypes {
		known = known || m == mediaType
	}
	if !known {
		return nil, "", unsupportedMedia(mediaType, mediaTypes)
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return nil, "", apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("the body is longer than the %d bytes that are taken", maxBody))
	}
	if err != nil {
		return nil, "", apierrors.NewBadRequest(fmt.Sprintf("read the body: %v", err))
	}
	return data, mediaType, nil
}

func unsupportedMedia(got string, known []string) error {
	hint := ""
	if strings.HasPrefix(got, "application/apply-patch") {
		hint = "; for kubectl that is `kubectl apply` without --server-side"
	}
	return statusError(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
		fmt.Sprintf("Content-Type %s is not supported: use %s%s", got, strings.Join(known, " or "), hint))
}

// wantsTable says whether the client would rather have rows and columns than objects.
func wantsTable(r *http.Request) bool {
	for accept := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		mediaType, params, err := mime.ParseMediaType(accept)
		if err != nil || mediaType != "application/json" {
			continue
		}
		switch {
		case params["as"] == "":
			return false
		case params["as"] == "Table" && params["g"] == metav1.GroupName && params["v"] == "v1":
			return true
		}
	}
	return false
}

// statusError makes an error that apimachinery has no constructor for.
func statusError(code int32, reason metav1.StatusReason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message}}
}

// respondError answers with a Status object. What is not one already is this side's fault and is logged.
func (s *Server) respondError(w http.ResponseWriter, r *http.Request, err error) {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		s.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	s.respond(w, r, int(status.Code), status)
}

// respond answers with JSON. A client that went away meanwhile needs no answer.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, code int, body any) {
	data, err := json.Marshal(body)
	if pretty := r.URL.Query().Get("pretty"); err == nil && (pretty == "true" || pretty == "1") {
		data, err = json.MarshalIndent(body, "", "  ")
	}
	if err != nil {
		s.log.ErrorContext(r.Context(), "answer cannot be encoded", "path", r.URL.Path, "error", err)
		http.Error(w, "the answer cannot be encoded: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(code)
	_, _ = w.Write(append(data, '\n'))
}

// respondObject answers with one object, or with its Table where the client prefers that.
func (s *Server) respondObject(w http.ResponseWriter, r *request, code int, obj api.Object) error {
	r.resource.present(obj)
	if !wantsTable(r.Request) {
		s.respond(w, r.Request, code, obj)
		return nil
	}
	table, err := s.table(r, metav1.ListMeta{ResourceVersion: obj.GetResourceVersion()}, obj)
	if err != nil {
		return err
	}
	s.respond(w, r.Request, code, table)
	return nil
}

// guard turns a panic into an answer, so that one bad request never ends the control plane.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				s.log.ErrorContext(r.Context(), "request panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				s.respondError(w, r, apierrors.NewInternalError(fmt.Errorf("panic: %v", p)))
			}
		}()
		next.ServeHTTP(w, r)
	})
}
