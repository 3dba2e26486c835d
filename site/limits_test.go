package site

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	f := LookBy(t.Context(), playback{t: t})
	own := LookBy(t.Context(), playback{t: t})
	own.Partition("gpu").Rules.QOS = "short"
	over := LookBy(t.Context(), playback{t: t})
	over.Partition("gpu").Rules.QOS = "short"
	over.FindQOS("default").Flags = []string{"OverPartQOS"}
	for name, tc := range map[string]struct {
		facts                   *Facts
		partition, account, qos string
		wall, time              Bound[time.Duration]
		submit                  []Counted
		tres                    map[string]Bound[int64]
	}{
		"defaults": {
			&f, "", "", "",
			Bound[time.Duration]{12 * time.Hour, "account p200981"},
			Bound[time.Duration]{24 * time.Hour, "partition gpu"},
			[]Counted{{Bound[int]{40, "account p200981"}, 3}},
			map[string]Bound[int64]{"gres/gpu": {8, "account p200981"}, "node": {4, "account p200981"}},
		},
		"a QOS that goes before the account": {
			&f, "gpu", "p200981", "short",
			Bound[time.Duration]{30 * time.Minute, "QOS short"},
			Bound[time.Duration]{24 * time.Hour, "partition gpu"},
			[]Counted{{Bound[int]{5, "QOS short"}, 1}, {Bound[int]{40, "account p200981"}, 3}},
			map[string]Bound[int64]{"gres/gpu": {4, "QOS short"}, "node": {2, "QOS short"}},
		},
		"a QOS that passes the partition over": {
			&f, "gpu", "P200981", "default",
			Bound[time.Duration]{48 * time.Hour, "QOS default"},
			Bound[time.Duration]{},
			[]Counted{{Bound[int]{40, "account p200981"}, 3}},
			map[string]Bound[int64]{"gres/gpu": {8, "account p200981"}, "node": {4, "account p200981"}, "cpu": {64, "QOS default"}},
		},
		"a partition's own QOS": {
			&own, "gpu", "", "default",
			Bound[time.Duration]{30 * time.Minute, "QOS short"},
			Bound[time.Duration]{},
			[]Counted{{Bound[int]{40, "account p200981"}, 3}},
			map[string]Bound[int64]{"gres/gpu": {4, "QOS short"}, "node": {2, "QOS short"}, "cpu": {64, "QOS default"}},
		},
		"a QOS that goes before it": {
			&over, "gpu", "", "default",
			Bound[time.Duration]{48 * time.Hour, "QOS default"},
			Bound[time.Duration]{24 * time.Hour, "partition gpu"},
			[]Counted{{Bound[int]{40, "account p200981"}, 3}},
			map[string]Bound[int64]{"gres/gpu": {4, "QOS short"}, "node": {2, "QOS short"}, "cpu": {64, "QOS default"}},
		},
		"nothing is known": {&Facts{}, "gpu", "a", "q", Bound[time.Duration]{}, Bound[time.Duration]{}, nil, map[string]Bound[int64]{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := tc.facts.Place(tc.partition, tc.account, tc.qos)
			if p.MaxWall() != tc.wall || p.MaxTime() != tc.time {
				t.Errorf("MaxWall %v, MaxTime %v; want %v, %v", p.MaxWall(), p.MaxTime(), tc.wall, tc.time)
			}
			if diff := cmp.Diff(tc.submit, p.MaxSubmit(tc.facts.Jobs)); diff != "" {
				t.Errorf("MaxSubmit (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.tres, p.MaxTRES()); diff != "" {
				t.Errorf("MaxTRES (-want +got):\n%s", diff)
			}
		})
	}
}
