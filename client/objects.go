package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// pageSize bounds what a list holds in the server's memory at once.
const pageSize = 500

// acceptTable asks for rows and columns.
const acceptTable = "application/json;as=Table;v=v1;g=meta.k8s.io"

// ListOptions narrow a list or a watch. The zero value means all.
type ListOptions struct {
	// Namespace; empty means all.
	Namespace string
	// LabelSelector, such as team=inference,tier!=test, and FieldSelector, such as metadata.name=my-run.
	LabelSelector, FieldSelector string
	// Limit of the items returned; 0 means all. A watch has none.
	Limit int64
	// ResourceVersion that a watch starts after; empty means that it first tells of what there is. A list has none.
	ResourceVersion string
}

func (o *ListOptions) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"labelSelector": o.LabelSelector, "fieldSelector": o.FieldSelector,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// List is what a list found, and the version that a watch which goes on from there starts at.
type List struct {
	Items           []api.Object
	ResourceVersion string
}

// collection is the path of a kind's objects; an empty namespace means all.
func collection(kind, namespace string) string {
	base := "/apis/" + api.GroupVersion.String() + "/"
	if namespace != "" && api.Namespaced(kind) {
		base += "namespaces/" + url.PathEscape(namespace) + "/"
	}
	return base + api.Resource(kind).Resource
}

// object is the path of one object; an empty namespace means the default one.
func object(kind, namespace, name string) string {
	if namespace == "" {
		namespace = api.DefaultNamespace
	}
	return collection(kind, namespace) + "/" + url.PathEscape(name)
}

// Get reads one object.
func (c *Client) Get(ctx context.Context, kind, namespace, name string) (api.Object, error) {
	return c.one(ctx, kind, call{method: http.MethodGet, path: object(kind, namespace, name)})
}

// one makes a call that is answered with one object.
func (c *Client) one(ctx context.Context, kind string, call call) (api.Object, error) {
	obj := api.New(kind)
	if obj == nil {
		return nil, fmt.Errorf("%s %s: unknown kind %q", call.method, call.path, kind)
	}
	if err := c.do(ctx, call, obj); err != nil {
		return nil, err
	}
	return obj, nil
}

// List reads objects of a kind, page by page.
func (c *Client) List(ctx context.Context, kind string, opts ListOptions) (List, error) {
	var list List
	var err error
	list.ResourceVersion, err = c.Each(ctx, kind, opts, func(obj api.Object) { list.Items = append(list.Items, obj) })
	return list, err
}

// Each hands the objects of a kind to visit, one page in memory at a time, and returns the version of the last page.
func (c *Client) Each(ctx context.Context, kind string, opts ListOptions, visit func(api.Object)) (version string, err error) {
	err = pages(ctx, c, kind, "", opts, func(page *rawList) (int, error) {
		version = page.ResourceVersion
		for _, raw := range page.Items {
			obj := api.New(kind)
			if err := json.Unmarshal(raw, obj); err != nil {
				return 0, fmt.Errorf("read %s: %w", kind, err)
			}
			visit(obj)
		}
		return len(page.Items), nil
	})
	return version, err
}

type rawList struct {
	metav1.ListMeta `json:"metadata"`
	Items           []json.RawMessage `json:"items"`
}

// Table reads objects of a kind as the server prints them.
func (c *Client) Table(ctx context.Context, kind string, opts ListOptions) (*metav1.Table, error) {
	var table *metav1.Table
	err := pages(ctx, c, kind, acceptTable, opts, func(page *metav1.Table) (int, error) {
		if table == nil {
			table = page
		} else {
			table.Rows = append(table.Rows, page.Rows...)
		}
		return len(page.Rows), nil
	})
	if table != nil {
		table.Continue = ""
	}
	return table, err
}

// listed is what every list and every Table has.
type listed[T any] interface {
	*T
	GetContinue() string
}

// pages asks for page after page, until there are no more or the limit is reached.
func pages[T any, P listed[T]](ctx context.Context, c *Client, kind, accept string, opts ListOptions, add func(P) (int, error)) error {
	if api.New(kind) == nil {
		return fmt.Errorf("list: unknown kind %q", kind)
	}
	query, left := opts.query(), opts.Limit
	for {
		limit := int64(pageSize)
		if opts.Limit > 0 {
			limit = min(limit, left)
		}
		query.Set("limit", strconv.FormatInt(limit, 10))
		page := P(new(T))
		if err := c.do(ctx, call{method: http.MethodGet, path: collection(kind, opts.Namespace), query: query, accept: accept}, page); err != nil {
			return err
		}
		n, err := add(page)
		if err != nil {
			return err
		}
		left -= int64(n)
		if page.GetContinue() == "" || opts.Limit > 0 && left <= 0 {
			return nil
		}
		query.Set("continue", page.GetContinue())
	}
}

// TableOf reads one object as the server prints it.
func (c *Client) TableOf(ctx context.Context, kind, namespace, name string) (*metav1.Table, error) {
	var table metav1.Table
	err := c.do(ctx, call{method: http.MethodGet, path: object(kind, namespace, name), accept: acceptTable}, &table)
	return &table, err
}

// Create stores a new object and returns it as it was stored.
func (c *Client) Create(ctx context.Context, obj api.Object) (api.Object, error) {
	kind, namespace := kindOf(obj), obj.GetNamespace()
	if namespace == "" {
		namespace = api.DefaultNamespace
	}
	return c.one(ctx, kind, call{method: http.MethodPost, path: collection(kind, namespace), body: obj})
}

// Replace stores a whole changed object, all but its status. One that was changed since obj was read is a Conflict,
// unless obj has no resourceVersion.
func (c *Client) Replace(ctx context.Context, obj api.Object) (api.Object, error) {
	kind := kindOf(obj)
	return c.one(ctx, kind, call{method: http.MethodPut, path: object(kind, obj.GetNamespace(), obj.GetName()), body: obj})
}

func kindOf(obj api.Object) string { return obj.GetObjectKind().GroupVersionKind().Kind }

// Patch merges a document, or what encodes to one, into an object (RFC 7386: null removes a field).
func (c *Client) Patch(ctx context.Context, kind, namespace, name string, merge any) (api.Object, error) {
	return c.one(ctx, kind, call{
		method: http.MethodPatch, path: object(kind, namespace, name), contentType: string(types.MergePatchType), body: merge,
	})
}

// Delete deletes an object, of this uid where one is given. It says whether the object is gone already; one that has
// something to clean up goes later, which a watch shows.
func (c *Client) Delete(ctx context.Context, kind, namespace, name, uid string) (gone bool, err error) {
	opts := metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{Kind: "DeleteOptions", APIVersion: "v1"}}
	if uid != "" {
		opts.Preconditions = metav1.NewUIDPreconditions(uid)
	}
	var answer metav1.TypeMeta
	err = c.do(ctx, call{method: http.MethodDelete, path: object(kind, namespace, name), body: opts}, &answer)
	return answer.Kind == "Status", err
}

// DeleteAll deletes what a list with the same options shows, in one namespace.
func (c *Client) DeleteAll(ctx context.Context, kind string, opts ListOptions) error {
	if opts.Namespace == "" {
		opts.Namespace = api.DefaultNamespace
	}
	var answer metav1.Status
	return c.do(ctx, call{method: http.MethodDelete, path: collection(kind, opts.Namespace), query: opts.query()}, &answer)
}
