package simulate

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// An apiError is a refusal as an OpenAI-compatible server words it.
type apiError struct {
	status  int
	message string
	param   string // the field of the request at fault, if one is
}

var _ error = (*apiError)(nil)

// Error is what the log says of the refusal.
func (e *apiError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.message) }

// refuse makes an apiError about a field; param may be empty.
func refuse(status int, param, format string, args ...any) *apiError {
	return &apiError{status: status, param: param, message: fmt.Sprintf(format, args...)}
}

// kind is the "type" of the error object, in vLLM's words.
func (e *apiError) kind() string {
	switch e.status {
	case http.StatusUnauthorized:
		return "AuthenticationError"
	case http.StatusNotFound:
		return "NotFoundError"
	case http.StatusTooManyRequests:
		return "RateLimitError"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailableError"
	}
	if e.status >= http.StatusInternalServerError {
		return "InternalServerError"
	}
	return "BadRequestError"
}

// appendJSON appends the error object, as it stands in a body and in a stream.
func (e *apiError) appendJSON(b []byte) []byte {
	type detail struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    int     `json:"code"`
	}
	d := detail{Message: e.message, Type: e.kind(), Code: e.status}
	if e.param != "" {
		d.Param = &e.param
	}
	out, err := json.Marshal(map[string]detail{"error": d})
	if err != nil {
		panic(err) // strings and an int always marshal
	}
	return append(b, out...)
}

// write answers with the error object.
func (e *apiError) write(w http.ResponseWriter) {
	if e.status == http.StatusTooManyRequests || e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeBody(w, e.status, e.appendJSON(nil))
}

// writeJSON answers with v, which must marshal.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only values of this package come here
	}
	writeBody(w, status, b)
}

// writeBody answers with a whole JSON body. A client that has gone needs no answer, so a failed write is dropped.
func writeBody(w http.ResponseWriter, status int, body []byte) {
	setBodyHeaders(w, len(body))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// quoteJSON returns s as a JSON string.
func quoteJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return string(b)
}
