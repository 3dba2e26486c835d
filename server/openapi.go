package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	openapi "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
)

// openapiDocument is the OpenAPI description in the two encodings that clients ask for.
type openapiDocument struct{ json, proto []byte }

// newOpenAPI describes no more than kubectl looks up before it writes: that dryRun and fieldValidation are honoured.
// Fields are not described; the server checks them strictly itself, and `benchd explain` tells what they mean.
func newOpenAPI(version string) openapiDocument {
	type object = map[string]any
	param := func(name string) object { return object{"name": name, "in": "query", "type": "string"} }
	paths := object{}
	for i := range resources {
		res := &resources[i]
		if res.writers != users {
			continue
		}
		path := res.base() + "/" + res.plural + "/{name}"
		if res.namespaced {
			path = res.base() + "/namespaces/{namespace}/" + res.plural + "/{name}"
		}
		paths[path] = object{"patch": object{
			"parameters":                      []object{param("dryRun"), param("fieldManager"), param("fieldValidation")},
			"responses":                       object{"200": object{"description": "OK"}},
			"x-kubernetes-group-version-kind": object{"group": res.version.Group, "version": res.version.Version, "kind": res.kind},
		}}
	}
	doc, err := encodeOpenAPI(object{"swagger": "2.0", "info": object{"title": "benchd", "version": version}, "paths": paths})
	if err != nil {
		panic(err) // it is made of constants, and a test makes it
	}
	return doc
}

func encodeOpenAPI(document any) (doc openapiDocument, err error) {
	if doc.json, err = json.Marshal(document); err != nil {
		return doc, fmt.Errorf("encode OpenAPI document: %w", err)
	}
	parsed, err := openapi.ParseDocument(doc.json)
	if err != nil {
		return doc, fmt.Errorf("parse OpenAPI document: %w", err)
	}
	if doc.proto, err = proto.Marshal(parsed); err != nil {
		return doc, fmt.Errorf("encode OpenAPI document: %w", err)
	}
	return doc, nil
}

func (s *Server) getOpenAPI(w http.ResponseWriter, r *request) error {
	data, mediaType := s.openapi.json, "application/json"
	if strings.Contains(r.Header.Get("Accept"), "protobuf") {
		data, mediaType = s.openapi.proto, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	}
	w.Header().Set("Content-Type", mediaType)
	_, _ = w.Write(data) // a client that went away needs no answer
	return nil
}
