package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// ListOptions narrow a list or a watch. The zero value means all.
type ListOptions struct {
	// Namespace; empty means all.
	Namespace string
	// Selector on labels; nil means all.
	Selector labels.Selector
	// Limit of the items returned at once; 0 means no limit. Continue takes up where an earlier page ended.
	Limit    int64
	Continue string
}

func (o *ListOptions) matches(namespace string, set map[string]string) bool {
	return (o.Namespace == "" || o.Namespace == namespace) && (o.Selector == nil || o.Selector.Matches(labels.Set(set)))
}

// List is one page of objects, in the order of namespace and name.
type List struct {
	Items []api.Object
	// ResourceVersion is what a watch that continues from this list starts at.
	ResourceVersion string
	// Continue asks for the next page; empty on the last.
	Continue string
}

// Get reads one object by its Go type, such as Get[*api.BenchmarkRun].
func Get[T api.Object](ctx context.Context, s *Store, namespace, name string) (T, error) {
	var typed T
	kind := api.KindOf(typed)
	obj, err := s.Get(ctx, kind, namespace, name)
	if err != nil {
		return typed, err
	}
	typed, ok := obj.(T)
	if !ok {
		return typed, fmt.Errorf("%s %s/%s is stored as %T", kind, namespace, name, obj)
	}
	return typed, nil
}

// Get reads one object.
func (s *Store) Get(ctx context.Context, kind, namespace, name string) (obj api.Object, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		obj, err = getFrom(tx.Bucket(bucketObjects), key{kind, namespace, name})
		return err
	})
	return obj, err
}

// List reads objects of a kind. A page costs what its items cost, however many objects there are.
func (s *Store) List(ctx context.Context, kind string, opts ListOptions) (List, error) {
	var list List
	if err := ctx.Err(); err != nil {
		return list, err
	}
	start, err := decodeContinue(opts)
	if err != nil {
		return list, err
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		version := readVersion(tx.Bucket(bucketMeta))
		list.ResourceVersion = strconv.FormatUint(version, 10)
		bucket := tx.Bucket(bucketObjects).Bucket([]byte(kind))
		if bucket == nil {
			return fmt.Errorf("list %s: unknown kind", kind)
		}
		prefix := []byte(opts.Namespace + "/")
		cursor := bucket.Cursor()
		for k, value := cursor.Seek(start); k != nil; k, value = cursor.Next() {
			if opts.Namespace != "" && !bytes.HasPrefix(k, prefix) {
				break
			}
			obj, ok, err := s.decodeMatching(parseKey(kind, k), value, version, &opts)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if opts.Limit > 0 && int64(len(list.Items)) == opts.Limit {
				list.Continue = base64.RawURLEncoding.EncodeToString(k)
				return nil
			}
			list.Items = append(list.Items, obj)
		}
		return nil
	})
	return list, err
}

// ListLive reads the objects of a kind that are live (Options.Live). It costs what these cost, however many others there are.
func (s *Store) ListLive(ctx context.Context, kind string) (List, error) {
	var list List
	if err := ctx.Err(); err != nil {
		return list, err
	}
	err := s.db.View(func(tx *bolt.Tx) error {
		list.ResourceVersion = strconv.FormatUint(readVersion(tx.Bucket(bucketMeta)), 10)
		objects, index := tx.Bucket(bucketObjects).Bucket([]byte(kind)), tx.Bucket(bucketLive).Bucket([]byte(kind))
		if objects == nil || index == nil {
			return fmt.Errorf("list %s: unknown kind", kind)
		}
		return index.ForEach(func(k, _ []byte) error {
			obj, err := decode(kind, objects.Get(k))
			if err == nil {
				list.Items = append(list.Items, obj)
			}
			return err
		})
	})
	return list, err
}

// decodeMatching looks at the row first, for decoding is what costs. A row that is older or newer than the snapshot
// being read says nothing; then what is decoded decides.
func (s *Store) decodeMatching(k key, value []byte, version uint64, opts *ListOptions) (api.Object, bool, error) {
	if opts.Selector != nil && !opts.Selector.Empty() {
		s.mu.RLock()
		r, known := s.rows[k]
		known = known && s.published >= version && r.version <= version
		s.mu.RUnlock()
		if known && !opts.matches(k.namespace, r.labels) {
			return nil, false, nil
		}
	}
	obj, err := decode(k.kind, value)
	if err != nil {
		return nil, false, err
	}
	return obj, opts.matches(k.namespace, obj.GetLabels()), nil
}

func decodeContinue(opts ListOptions) ([]byte, error) {
	if opts.Continue == "" {
		return []byte(opts.Namespace + map[bool]string{true: "/", false: ""}[opts.Namespace != ""]), nil
	}
	start, err := base64.RawURLEncoding.DecodeString(opts.Continue)
	if namespace, _, ok := strings.Cut(string(start), "/"); err != nil || !ok || opts.Namespace != "" && opts.Namespace != namespace {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("continue token %q was not made for this list: list from the start", opts.Continue))
	}
	return start, nil
}

// Owned lists the objects that the owner with this uid owns.
func (s *Store) Owned(ctx context.Context, uid string) ([]api.Object, error) {
	s.mu.RLock()
	keys := make([]key, 0, len(s.owned[uid]))
	for k := range s.owned[uid] {
		keys = append(keys, k)
	}
	s.mu.RUnlock()
	var objs []api.Object
	for _, k := range keys {
		obj, err := s.Get(ctx, k.kind, k.namespace, k.name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		objs = append(objs, obj)
	}
	return objs, nil
}
