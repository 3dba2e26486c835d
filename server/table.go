package server

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// none stands in an empty cell, so that columns stay apart for awk.
const none = "<none>"

// column is one column of a Table. Cells are strings or whole numbers; an empty string shows as none.
type column struct {
	name        string
	description string
	// wide columns show with `-o wide` only.
	wide bool
	cell func(obj api.Object, now time.Time) any
}

// table shows objects in the columns of their kind. kubectl and `benchd get` print it as it is.
func (s *Server) table(r *request, meta metav1.ListMeta, objs ...api.Object) (*metav1.Table, error) {
	include := metav1.IncludeObjectPolicy(r.URL.Query().Get("includeObject"))
	now := s.opts.Now()
	table := &metav1.Table{
		TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"}, ListMeta: meta,
		ColumnDefinitions: make([]metav1.TableColumnDefinition, 0, len(r.resource.columns)), Rows: make([]metav1.TableRow, 0, len(objs)),
	}
	for _, c := range r.resource.columns {
		def := metav1.TableColumnDefinition{Name: c.name, Type: "string", Description: c.description}
		if c.wide {
			def.Priority = 1
		}
		if c.name == "Name" {
			def.Format = "name"
		}
		table.ColumnDefinitions = append(table.ColumnDefinitions, def)
	}
	for _, obj := range objs {
		row := metav1.TableRow{Cells: make([]any, 0, len(r.resource.columns))}
		for _, c := range r.resource.columns {
			cell := c.cell(obj, now)
			if cell == "" {
				cell = none
			}
			row.Cells = append(row.Cells, cell)
		}
		var err error
		if row.Object, err = rowObject(include, r.resource.present(obj)); err != nil {
			return nil, err
		}
		table.Rows = append(table.Rows, row)
	}
	return table, nil
}

// rowObject is what goes with a row: the object's metadata, unless the client asks for more or less.
func rowObject(include metav1.IncludeObjectPolicy, obj api.Object) (raw runtime.RawExtension, err error) {
	var value any = obj
	switch include {
	case metav1.IncludeNone:
		return raw, nil
	case metav1.IncludeObject:
	case metav1.IncludeMetadata, "":
		partial := apimeta.AsPartialObjectMetadata(obj)
		partial.TypeMeta = metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}
		value = partial
	default:
		return raw, apierrors.NewBadRequest(fmt.Sprintf("includeObject=%q: use None, Metadata or Object", include))
	}
	if raw.Raw, err = json.Marshal(value); err != nil {
		return raw, fmt.Errorf("encode %s: %w", obj.GetName(), err)
	}
	return raw, nil
}

// cell adapts a function of one kind to a column's.
func cell[T api.Object](show func(T) any) func(api.Object, time.Time) any {
	return func(obj api.Object, _ time.Time) any {
		if o, ok := obj.(T); ok {
			return show(o)
		}
		return none
	}
}

var (
	nameColumn = column{name: "Name", description: "Name of the object", cell: cell(func(o api.Object) any { return o.GetName() })}
	ageColumn  = column{name: "Age", description: "Time since it was created", cell: func(o api.Object, now time.Time) any { return age(o.GetCreationTimestamp(), now) }}
)

func age(since metav1.Time, now time.Time) string {
	if since.IsZero() {
		return ""
	}
	return duration.HumanDuration(now.Sub(since.Time))
}

// withDeletion adds to a phase that the object is on its way out.
func withDeletion(obj api.Object, phase string) string {
	if obj.GetDeletionTimestamp() != nil {
		return phase + ", deleting"
	}
	return phase
}

func nodesTotal(n *api.NodesSpec) int64 {
	total := int64(0)
	for _, role := range []*api.RoleSpec{&n.Servers, &n.Clients, &n.Monitors} {
		if role.Count != nil {
			total += int64(*role.Count)
		}
	}
	return total
}

// significant prints a number with the three or so digits that a reader compares.
func significant(v float64) string {
	digits := 2
	switch {
	case v >= 100:
		digits = 0
	case v >= 10:
		digits = 1
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// seconds prints a time that is kept in seconds.
func seconds(v float64) string {
	switch {
	case v == 0:
		return ""
	case v < 1:
		return significant(v*1000) + "ms"
	}
	return significant(v) + "s"
}
