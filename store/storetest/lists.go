package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/store"
)

func selecting(selector string) store.ListOptions {
	parsed, err := labels.Parse(selector)
	if err != nil {
		panic(err)
	}
	return store.ListOptions{Selector: parsed}
}

var listTests = map[string]func(*suite){
	"a list narrows by kind, namespace and labels": func(s *suite) {
		s.create(
			NewRun("b", "two", map[string]string{"team": "x"}), NewRun("a", "two", map[string]string{"team": "y"}),
			NewRun("a", "one", map[string]string{"team": "x", "n": "1"}), NewRun("ab", "one", nil), NewAllocation("a", "alloc"), NewCluster("c"),
		)
		in := func(namespace string, opts store.ListOptions) store.ListOptions {
			opts.Namespace = namespace
			return opts
		}
		for name, test := range map[string]struct {
			kind string
			opts store.ListOptions
			want []string
		}{
			"all, in order":         {api.KindBenchmarkRun, store.ListOptions{}, []string{"a/one", "a/two", "ab/one", "b/two"}},
			"of another kind":       {api.KindAllocation, store.ListOptions{}, []string{"a/alloc"}},
			"without a namespace":   {api.KindCluster, store.ListOptions{}, []string{"/c"}},
			"of a namespace":        {api.KindBenchmarkRun, in("a", store.ListOptions{}), []string{"a/one", "a/two"}},
			"of an empty namespace": {api.KindBenchmarkRun, in("aa", store.ListOptions{}), nil},
			"by label":              {api.KindBenchmarkRun, selecting("team=x"), []string{"a/one", "b/two"}},
			"by a missing label":    {api.KindBenchmarkRun, selecting("!team"), []string{"ab/one"}},
			"by set":                {api.KindBenchmarkRun, selecting("team in (x,y),!n"), []string{"a/two", "b/two"}},
			"by all of it":          {api.KindBenchmarkRun, in("b", selecting("team=x")), []string{"b/two"}},
			"everything selected":   {api.KindBenchmarkRun, selecting(""), []string{"a/one", "a/two", "ab/one", "b/two"}},
		} {
			s.same(name, test.want, s.names(test.kind, test.opts))
		}
		if _, err := s.List(s.Context(), "Sweep", store.ListOptions{}); err == nil {
			s.Error("an unknown kind was listed")
		}
	},
	"pages of any size add up to the list": func(s *suite) {
		var want []string
		for i := range 7 {
			for _, ns := range []string{"a", "b"} {
				s.create(NewRun(ns, fmt.Sprint("run-", i), map[string]string{"odd": fmt.Sprint(i % 2)}))
			}
		}
		for _, opts := range []store.ListOptions{{}, {Namespace: "b"}, selecting("odd=1")} {
			want = s.names(api.KindBenchmarkRun, opts)
			for limit := int64(1); limit <= int64(len(want))+1; limit++ {
				var got []string
				page := opts
				page.Limit = limit
				for {
					list, err := s.List(s.Context(), api.KindBenchmarkRun, page)
					s.must(err)
					if int64(len(list.Items)) > limit || len(list.Items) == 0 {
						s.Fatalf("a page of %d has %d items", limit, len(list.Items))
					}
					got = append(got, namesOf(list.Items)...)
					if page.Continue = list.Continue; page.Continue == "" {
						break
					}
				}
				s.same(fmt.Sprintf("pages of %d", limit), want, got)
			}
		}
	},
	"what stays is listed once while objects come and go between pages": func(s *suite) {
		for i := range 20 {
			s.create(NewRun("a", fmt.Sprintf("run-%02d", i), nil))
		}
		var got []string
		opts := store.ListOptions{Limit: 3}
		for page := 0; ; page++ {
			list, err := s.List(s.Context(), api.KindBenchmarkRun, opts)
			s.must(err)
			got = append(got, namesOf(list.Items)...)
			if opts.Continue = list.Continue; opts.Continue == "" {
				break
			}
			last := list.Items[len(list.Items)-1]
			s.delete(last)                                              // behind the page
			s.create(NewRun("a", last.GetName()+"-behind", nil))        // may be seen or not
			s.create(NewRun("a", fmt.Sprint("aaa-before-", page), nil)) // is not seen any more
			if obj, err := s.Get(s.Context(), api.KindBenchmarkRun, "a", fmt.Sprintf("run-%02d", len(got))); err == nil && page < 3 {
				s.delete(obj) // exactly where the next page begins
			}
		}
		slices.Sort(got)
		s.same("listed twice", len(got), len(slices.Compact(slices.Clone(got))))
		for _, name := range s.names(api.KindBenchmarkRun, store.ListOptions{}) {
			if len(name) == len("a/run-00") && !slices.Contains(got, name) {
				s.Errorf("%s was there all the time and is not listed", name)
			}
		}
	},
	"a continue token of another list is refused": func(s *suite) {
		for _, ns := range []string{"a", "b"} {
			s.create(NewRun(ns, "one", nil), NewRun(ns, "two", nil))
		}
		list, err := s.List(s.Context(), api.KindBenchmarkRun, store.ListOptions{Namespace: "a", Limit: 1})
		s.must(err)
		for what, opts := range map[string]store.ListOptions{
			"not base64":         {Continue: "%"},
			"not a key":          {Continue: "YWJj"},
			"of other namespace": {Namespace: "b", Continue: list.Continue},
		} {
			if _, err := s.List(s.Context(), api.KindBenchmarkRun, opts); !apierrors.IsBadRequest(err) {
				s.Errorf("%s: %v", what, err)
			}
		}
	},
	"nothing is done for a caller who has gone": func(s *suite) {
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		_, getErr := s.Get(ctx, api.KindBenchmarkRun, "a", "x")
		_, listErr := s.List(ctx, api.KindBenchmarkRun, store.ListOptions{})
		for _, err := range []error{getErr, listErr, s.Create(ctx, NewRun("a", "x", nil))} {
			if !errors.Is(err, context.Canceled) {
				s.Errorf("got %v", err)
			}
		}
	},
}
