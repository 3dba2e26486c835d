package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Event records that something worth telling happened to obj. The same thing again raises the count of the event that
// stands. Events go with the object that they are about.
func (tx *Tx) Event(obj api.Object, kind, reason, message string) error {
	k := keyOf(obj)
	sum := sha256.Sum256([]byte(string(obj.GetUID()) + "\x00" + kind + "\x00" + reason + "\x00" + message))
	namespace := k.namespace
	if namespace == "" {
		namespace = api.DefaultNamespace
	}
	name := fmt.Sprintf("%.40s.%s", k.name, hex.EncodeToString(sum[:6]))
	now := metav1.NewTime(tx.s.opts.Now())

	stored, err := tx.Get(api.KindEvent, namespace, name)
	if err == nil {
		ev, ok := stored.(*api.Event)
		if !ok {
			return fmt.Errorf("event %s is stored as %T", name, stored)
		}
		ev.Count++
		ev.LastTimestamp = now
		return tx.write(keyOf(ev), ev, Modified, ev.Labels)
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	ev, ok := api.New(api.KindEvent).(*api.Event)
	if !ok {
		return fmt.Errorf("kind %s makes no event", api.KindEvent)
	}
	ev.Namespace, ev.Name = namespace, name
	ev.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: api.GroupVersion.String(), Kind: k.kind, Name: k.name, UID: obj.GetUID(),
	}}
	ev.InvolvedObject = api.ObjectRef{Kind: k.kind, Namespace: k.namespace, Name: k.name, UID: string(obj.GetUID()), APIVersion: api.GroupVersion.String()}
	ev.Type, ev.Reason, ev.Message = kind, reason, message
	ev.Count, ev.FirstTimestamp, ev.LastTimestamp = 1, now, now
	ev.Source.Component = "benchd"
	return tx.Create(ev)
}
