package plan

import (
	"cmp"
	"slices"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Finished is a finished run, as far as retention goes.
type Finished struct {
	Namespace, Name, UID string
	Ended                time.Time
	// Bytes of its result folder.
	Bytes int64
	// Needed says why it must stay, whatever its age: pinned, referred to, of a sweep that goes on. Empty for no reason.
	Needed string
}

// Expire says which finished runs are beyond what a cluster is to keep, the oldest first. What is needed stays, and does not count
// against how many are kept, nor does its size against the largest.
func Expire(runs []Finished, r *api.RetentionSpec, now time.Time) []Finished {
	free := slices.DeleteFunc(slices.Clone(runs), func(f Finished) bool { return f.Needed != "" })
	slices.SortFunc(free, func(a, b Finished) int { // the newest first
		return cmp.Or(b.Ended.Compare(a.Ended), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	most := int64(-1)
	if r.MaxSize != nil {
		most = r.MaxSize.Value()
	}
	var expired []Finished
	size := int64(0)
	for i, f := range free {
		size += f.Bytes
		old := r.After != nil && now.Sub(f.Ended) > r.After.Duration
		many := r.Keep != nil && i >= int(*r.Keep)
		large := most >= 0 && size > most
		if old || many || large {
			expired = append(expired, f)
		}
	}
	slices.Reverse(expired)
	return expired
}
