package plan

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func TestDueAt(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Luxembourg")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		t.Helper()
		when, err := time.ParseInLocation("2006-01-02 15:04", text, zone)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for name, tc := range map[string]struct {
		line, made, last, now string
		due, next             string
		earlier               int64
	}{
		"not yet":                       {"0 2 * * *", "2026-03-01 12:00", "", "2026-03-01 13:00", "", "2026-03-02 02:00", 0},
		"the first time":                {"0 2 * * *", "2026-03-01 12:00", "", "2026-03-02 02:00", "2026-03-02 02:00", "2026-03-03 02:00", 0},
		"dealt with":                    {"0 2 * * *", "2026-03-01 12:00", "2026-03-02 02:00", "2026-03-02 09:00", "", "2026-03-03 02:00", 0},
		"three days away":               {"0 2 * * *", "2026-03-01 12:00", "2026-03-02 02:00", "2026-03-05 09:00", "2026-03-05 02:00", "2026-03-06 02:00", 2},
		"an hour that summer time eats": {"30 2 * * *", "2026-03-28 12:00", "", "2026-03-29 12:00", "", "2026-03-30 02:30", 0},
		"an hour that comes twice":      {"30 2 * * *", "2026-10-24 12:00", "", "2026-10-25 12:00", "2026-10-25 02:30", "2026-10-26 02:30", 1},
		"every minute, months away":     {"* * * * *", "2026-01-01 00:00", "", "2026-06-01 00:00", "2026-06-01 00:00", "2026-06-01 00:01", -1},
		"every day, years away":         {"0 2 * * *", "2006-03-01 12:00", "", "2026-03-05 09:00", "2026-03-05 02:00", "2026-03-06 02:00", -1},
		"far behind, first of a day":    {"*/5 9-17 * * 1-5", "2026-02-02 12:00", "", "2026-03-16 09:02", "2026-03-16 09:00", "2026-03-16 09:05", -1},
	} {
		s := &api.BenchmarkSchedule{Spec: api.BenchmarkScheduleSpec{Schedule: tc.line, TimeZone: "Europe/Luxembourg"}}
		s.CreationTimestamp = metav1.NewTime(at(tc.made))
		if tc.last != "" {
			s.Status.LastScheduleTime = &metav1.Time{Time: at(tc.last)}
		}
		d, err := DueAt(s, at(tc.now))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text := func(when time.Time) string {
			if when.IsZero() {
				return ""
			}
			return when.In(zone).Format("2006-01-02 15:04")
		}
		if text(d.At) != tc.due || text(d.Next) != tc.next || tc.earlier >= 0 && d.Earlier != tc.earlier {
			t.Errorf("%s: due %q after %d others, next %q; want %q after %d, %q", name, text(d.At), d.Earlier, text(d.Next), tc.due, tc.earlier, tc.next)
		}
	}
}

func TestCheckSchedule(t *testing.T) {
	for line, good := range map[string]bool{"0 2 * * *": true, "@daily": true, "@every 6h": true, "@every 1m": true, "@every 59s": false, "": false, "0 2 * *": false, "61 2 * * *": false, "0 0 30 2 *": false, "nightly": false, "TZ=UTC 0 2 * * *": false, "CRON_TZ=UTC": false, "TZ=0": false} {
		err := CheckSchedule(line, "UTC")
		if (err == nil) != good {
			t.Errorf("%q: %v", line, err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: the error is more than a line: %v", line, err)
		}
	}
	if err := CheckSchedule("0 25 * * *", "UTC"); err == nil || strings.Contains(err.Error(), "gocron") || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "above maximum (23)") {
		t.Errorf("an hour that is none: %v", err)
	}
	if CheckSchedule("0 2 * * *", "Mars/Olympus") == nil {
		t.Error("a time zone that is none")
	}
}
