package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Tx is one write transaction: all of it becomes durable and visible, or nothing does.
type Tx struct {
	s       *Store
	objects *bolt.Bucket
	live    *bolt.Bucket
	version uint64
	changes []change
	rows    map[key]*row // nil: removed in this transaction
}

// Update runs write in one transaction. Objects handed to its methods are brought up to date in place.
func (s *Store) Update(ctx context.Context, write func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// Held until watchers are told, so that versions reach them in order and only once durable.
	s.writing.Lock()
	defer s.writing.Unlock()
	var tx *Tx
	err := s.db.Update(func(btx *bolt.Tx) error {
		if err := s.opts.Guard(); err != nil {
			return err
		}
		meta := btx.Bucket(bucketMeta)
		tx = &Tx{s: s, objects: btx.Bucket(bucketObjects), live: btx.Bucket(bucketLive), version: readVersion(meta), rows: map[key]*row{}}
		if err := write(tx); err != nil {
			return err
		}
		if len(tx.changes) == 0 {
			return errNothing
		}
		return meta.Put(keyVersion, binary.BigEndian.AppendUint64(nil, tx.version))
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	if err != nil {
		return err
	}
	s.commits.Add(1)
	s.publish(tx)
	return nil
}

// errNothing rolls a transaction back that changed nothing, which spares its two syncs.
var errNothing = errors.New("nothing to write")

func (s *Store) publish(tx *Tx) {
	s.mu.Lock()
	s.published = tx.version
	for k, r := range tx.rows {
		if r == nil {
			s.dropRow(k)
		} else {
			s.setRow(k, *r)
		}
	}
	s.mu.Unlock()
	s.log.append(tx.changes)
}

// Create stores a new object and gives it uid, version, generation and time.
func (s *Store) Create(ctx context.Context, obj api.Object) error {
	return s.Update(ctx, func(tx *Tx) error { return tx.Create(obj) })
}

// Put stores a changed spec and metadata; the status stays as it is. The object's resourceVersion, when set, must be
// the stored one.
func (s *Store) Put(ctx context.Context, obj api.Object) error {
	return s.Update(ctx, func(tx *Tx) error { return tx.Put(obj) })
}

// PutStatus stores a changed status; all else stays as it is.
func (s *Store) PutStatus(ctx context.Context, obj api.Object) error {
	return s.Update(ctx, func(tx *Tx) error { return tx.PutStatus(obj) })
}

// Delete removes an object and what it owns. One with finalizers only gets its deletionTimestamp, and goes when the last
// finalizer does. A uid that is not empty must be the stored one.
func (s *Store) Delete(ctx context.Context, kind, namespace, name, uid string) (obj api.Object, err error) {
	err = s.Update(ctx, func(tx *Tx) error {
		obj, err = tx.Delete(kind, namespace, name, uid)
		return err
	})
	return obj, err
}

// Get reads an object as this transaction sees it.
func (tx *Tx) Get(kind, namespace, name string) (api.Object, error) {
	return getFrom(tx.objects, key{kind, namespace, name})
}

func getFrom(objects *bolt.Bucket, k key) (api.Object, error) {
	bucket := objects.Bucket([]byte(k.kind))
	if bucket == nil {
		return nil, apierrors.NewNotFound(api.Resource(k.kind), k.name)
	}
	data := bucket.Get(k.bytes())
	if data == nil {
		return nil, apierrors.NewNotFound(api.Resource(k.kind), k.name)
	}
	return decode(k.kind, data)
}

// Owned reads the objects that the owner with this uid owns, as this transaction sees them.
func (tx *Tx) Owned(uid string) ([]api.Object, error) {
	var owned []api.Object
	for _, k := range tx.ownedBy(uid) {
		obj, err := getFrom(tx.objects, k)
		if err != nil {
			return nil, err
		}
		owned = append(owned, obj)
	}
	return owned, nil
}

// Create stores a new object.
func (tx *Tx) Create(obj api.Object) error {
	k := keyOf(obj)
	if tx.objects.Bucket([]byte(k.kind)) == nil {
		return fmt.Errorf("create %s: unknown kind %q", k.name, k.kind)
	}
	if _, err := tx.Get(k.kind, k.namespace, k.name); err == nil {
		return apierrors.NewAlreadyExists(api.Resource(k.kind), k.name)
	} else if !apierrors.IsNotFound(err) {
		return err
	}
	if err := tx.checkOwners(k, obj, nil); err != nil {
		return err
	}
	obj.SetUID(types.UID(uuid.NewString()))
	obj.SetGeneration(1)
	obj.SetCreationTimestamp(metav1.NewTime(tx.s.opts.Now()).Rfc3339Copy())
	obj.SetDeletionTimestamp(nil)
	return tx.write(k, obj, Added, nil)
}

// checkOwners refuses owners that do not exist, unless known already: nothing would ever collect the object.
func (tx *Tx) checkOwners(k key, obj api.Object, known []metav1.OwnerReference) error {
	for _, ref := range obj.GetOwnerReferences() {
		same := func(other metav1.OwnerReference) bool { return other.UID == ref.UID }
		if !slices.ContainsFunc(known, same) && !tx.exists(ref.Kind, k.namespace, ref.Name, ref.UID) {
			return apierrors.NewConflict(api.Resource(k.kind), k.name,
				fmt.Errorf("its owner %s %s (uid %s) does not exist", ref.Kind, ref.Name, ref.UID))
		}
	}
	return nil
}

func (tx *Tx) exists(kind, namespace, name string, uid types.UID) bool {
	if !api.Namespaced(kind) {
		namespace = ""
	}
	owner, err := tx.Get(kind, namespace, name)
	return err == nil && owner.GetUID() == uid
}

// Put stores a changed spec and metadata.
func (tx *Tx) Put(obj api.Object) error {
	return tx.replace(obj, func(old, updated document) document {
		updated["status"] = old["status"]
		return updated
	})
}

// PutStatus stores a changed status.
func (tx *Tx) PutStatus(obj api.Object) error {
	return tx.replace(obj, func(old, updated document) document {
		old["status"] = updated["status"]
		return old
	})
}

// document is an object's parts, still encoded.
type document map[string]json.RawMessage

// replace merges obj into the stored object, by what merge takes of each, and writes it when that differs.
func (tx *Tx) replace(obj api.Object, merge func(old, updated document) document) error {
	k := keyOf(obj)
	old, err := tx.Get(k.kind, k.namespace, k.name)
	if err != nil {
		return err
	}
	if v := obj.GetResourceVersion(); v != "" && v != old.GetResourceVersion() {
		return apierrors.NewConflict(api.Resource(k.kind), k.name,
			fmt.Errorf("it was changed meanwhile (version %s, yours is %s): read it again and repeat the change", old.GetResourceVersion(), v))
	}
	if uid := obj.GetUID(); uid != "" && uid != old.GetUID() {
		return apierrors.NewConflict(api.Resource(k.kind), k.name, errors.New("it was deleted and made anew: read it again"))
	}
	keepSystemFields(old, obj)

	before, err := split(old)
	if err != nil {
		return err
	}
	after, err := split(obj)
	if err != nil {
		return err
	}
	merged := merge(clone(before), after)
	specChanged := !bytes.Equal(before["spec"], merged["spec"])
	if !specChanged && bytes.Equal(before["metadata"], merged["metadata"]) && bytes.Equal(before["status"], merged["status"]) {
		return copyInto(obj, old)
	}
	result := api.New(k.kind)
	if err := json.Unmarshal(mustJoin(merged), result); err != nil {
		return fmt.Errorf("merge %s %s: %w", k.kind, k.name, err)
	}
	if specChanged {
		result.SetGeneration(old.GetGeneration() + 1)
	}
	if err := tx.checkOwners(k, result, old.GetOwnerReferences()); err != nil {
		return err
	}
	if result.GetDeletionTimestamp() != nil && len(result.GetFinalizers()) == 0 {
		err = tx.remove(k, result, old.GetLabels())
	} else {
		err = tx.write(k, result, Modified, old.GetLabels())
	}
	if err != nil {
		return err
	}
	return copyInto(obj, result)
}

// keepSystemFields puts back what no writer may change.
func keepSystemFields(old, obj api.Object) {
	obj.SetUID(old.GetUID())
	obj.SetGeneration(old.GetGeneration())
	obj.SetCreationTimestamp(old.GetCreationTimestamp())
	obj.SetDeletionTimestamp(old.GetDeletionTimestamp())
	obj.SetResourceVersion(old.GetResourceVersion())
}

func split(obj api.Object) (document, error) {
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", obj.GetName(), err)
	}
	doc := document{}
	return doc, json.Unmarshal(data, &doc)
}

func clone(d document) document {
	c := make(document, len(d))
	for k, v := range d {
		c[k] = v
	}
	return c
}

// mustJoin encodes parts that came out of split; they cannot fail to encode.
func mustJoin(d document) []byte {
	for k, v := range d {
		if v == nil {
			delete(d, k)
		}
	}
	data, err := json.Marshal(d)
	if err != nil {
		panic(err)
	}
	return data
}

// copyInto makes dst, an object of the same kind, equal to src.
func copyInto(dst, src api.Object) error {
	data, err := json.Marshal(src)
	if err != nil {
		return err
	}
	reflect.ValueOf(dst).Elem().SetZero()
	return json.Unmarshal(data, dst)
}

func (tx *Tx) write(k key, obj api.Object, kind ChangeType, oldLabels map[string]string) error {
	tx.version++
	obj.SetResourceVersion(strconv.FormatUint(tx.version, 10))
	data, err := json.Marshal(obj)
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", k.kind, k.name, err)
	}
	if err := tx.objects.Bucket([]byte(k.kind)).Put(k.bytes(), data); err != nil {
		return fmt.Errorf("write %s %s: %w", k.kind, k.name, err)
	}
	if err := tx.setLive(k, tx.s.opts.Live(obj)); err != nil {
		return err
	}
	r := rowOf(obj, tx.version)
	tx.rows[k] = &r
	tx.changes = append(tx.changes, change{
		version: tx.version, key: k, kind: kind, data: data, labels: r.labels, oldLabels: maps.Clone(oldLabels),
	})
	return nil
}

func (tx *Tx) setLive(k key, live bool) error {
	index := tx.live.Bucket([]byte(k.kind))
	if live {
		return index.Put(k.bytes(), []byte{})
	}
	return index.Delete(k.bytes())
}

// Delete removes an object and what it owns.
func (tx *Tx) Delete(kind, namespace, name, uid string) (api.Object, error) {
	obj, err := tx.Get(kind, namespace, name)
	if err != nil {
		return nil, err
	}
	if uid != "" && uid != string(obj.GetUID()) {
		return nil, apierrors.NewConflict(api.Resource(kind), name, fmt.Errorf("its uid is %s, not %s", obj.GetUID(), uid))
	}
	k := keyOf(obj)
	if len(obj.GetFinalizers()) == 0 {
		return obj, tx.remove(k, obj, obj.GetLabels())
	}
	if obj.GetDeletionTimestamp() != nil {
		return obj, nil
	}
	now := metav1.NewTime(tx.s.opts.Now()).Rfc3339Copy()
	obj.SetDeletionTimestamp(&now)
	obj.SetGeneration(obj.GetGeneration() + 1)
	return obj, tx.write(k, obj, Modified, obj.GetLabels())
}

// remove takes an object out and deletes what it owned. Watchers go by the labels that it had.
func (tx *Tx) remove(k key, obj api.Object, labels map[string]string) error {
	tx.version++
	if err := tx.objects.Bucket([]byte(k.kind)).Delete(k.bytes()); err != nil {
		return fmt.Errorf("delete %s %s: %w", k.kind, k.name, err)
	}
	if err := tx.setLive(k, false); err != nil {
		return err
	}
	obj.SetResourceVersion(strconv.FormatUint(tx.version, 10))
	data, err := json.Marshal(obj)
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", k.kind, k.name, err)
	}
	tx.rows[k] = nil
	labels = maps.Clone(labels)
	tx.changes = append(tx.changes, change{version: tx.version, key: k, kind: Deleted, data: data, labels: labels, oldLabels: labels})
	for _, child := range tx.ownedBy(string(obj.GetUID())) {
		if _, err := tx.Delete(child.kind, child.namespace, child.name, ""); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func (tx *Tx) ownedBy(uid string) []key {
	tx.s.mu.RLock()
	defer tx.s.mu.RUnlock()
	var keys []key
	for k := range tx.s.owned[uid] {
		if r, changed := tx.rows[k]; !changed || r != nil && slices.Contains(r.owners, uid) {
			keys = append(keys, k)
		}
	}
	for k, r := range tx.rows {
		if r != nil && slices.Contains(r.owners, uid) && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}
