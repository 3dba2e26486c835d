package slurmadapter

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestExpandHostlist(t *testing.T) {
	for list, want := range map[string][]string{
		"":                        nil,
		"login1":                  {"login1"},
		"mel[2001-2003,2010]":     {"mel2001", "mel2002", "mel2003", "mel2010"},
		"a[08-11],b":              {"a08", "a09", "a10", "a11", "b"},
		"rack[1-2]n[1-2]":         {"rack1n1", "rack1n2", "rack2n1", "rack2n2"},
		"n[1-2]-ib":               {"n1-ib", "n2-ib"},
		"n[5]":                    {"n5"},
		"n[001,7]":                {"n001", "n7"},
		"n[99-101]":               {"n99", "n100", "n101"},
		"a,b,":                    {"a", "b"},
		"gpu-node-1,gpu-node-[2]": {"gpu-node-1", "gpu-node-2"},
	} {
		got, err := ExpandHostlist(list)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", list, err, diff)
		}
	}
	for _, list := range []string{"n[1-2", "n1-2]", "n[]", "n[a-b]", "n[2-1]", "n[1-2-3]", "n[-1]", "n[1,]", "n[1]]", "n[[1]]", "][0]", "n[1-70000]", "n[1-9999][1-9999]", "n[1-60000],m[1-60000]", "n[1-99999999999999999999]"} {
		if got, err := ExpandHostlist(list); err == nil {
			t.Errorf("%q gives %d hosts and no error", list, len(got))
		} else if len(err.Error()) > 300 {
			t.Errorf("%q: an error of %d characters", list, len(err.Error()))
		}
	}
}

// Names that are put into the short form come back as they were.
func TestHostlistRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var words, want []string
		for i := range rapid.IntRange(1, 4).Draw(t, "words") {
			prefix := rapid.StringMatching(`[a-z]{1,4}-?`).Draw(t, "prefix")
			suffix := rapid.SampledFrom([]string{"", "-ib", ".hpc"}).Draw(t, "suffix")
			width := rapid.IntRange(1, 5).Draw(t, "width")
			var ranges []string
			for range rapid.IntRange(1, 3).Draw(t, "ranges") {
				lo := rapid.IntRange(0, 2000).Draw(t, "lo")
				n := rapid.IntRange(0, 20).Draw(t, "more")
				first := fmt.Sprintf("%0*d", width, lo)
				if n == 0 {
					ranges = append(ranges, first)
				} else {
					ranges = append(ranges, fmt.Sprintf("%s-%0*d", first, width, lo+n))
				}
				for k := lo; k <= lo+n; k++ {
					want = append(want, fmt.Sprintf("%s%0*d%s", prefix, width, k, suffix))
				}
			}
			words = append(words, fmt.Sprintf("%s[%s]%s", prefix, strings.Join(ranges, ","), suffix))
			if rapid.Bool().Draw(t, "plain") {
				words, want = append(words, fmt.Sprintf("login%d", i)), append(want, fmt.Sprintf("login%d", i))
			}
		}
		list := strings.Join(words, ",")
		got, err := ExpandHostlist(list)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%s: %v (-want +got):\n%s", list, err, diff)
		}
	})
}

func FuzzExpandHostlist(f *testing.F) {
	for _, s := range []string{"mel[2001-2004,2010],login1", "rack[1-2]n[01-02]", "n[", "]", "[1-65536][1-9]", "a[1-2]b[3-4]c[5-6]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		hosts, err := ExpandHostlist(list)
		if err != nil {
			return
		}
		if len(hosts) > maxHosts {
			t.Errorf("%d hosts", len(hosts))
		}
		for _, h := range hosts {
			if h == "" || strings.ContainsAny(h, "[],") {
				t.Errorf("host %q of %q", h, list)
			}
		}
	})
}
