package plan

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-co-op/gocron/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// maxMissed is how many missed times are counted one by one: a line of every minute and a control plane that was away for months.
const maxMissed = 1000

// Due is what a schedule has to do at a moment.
type Due struct {
	// At is the latest time of the line that has come and was not dealt with; zero when none has.
	At time.Time
	// Earlier is how many others have come before it.
	Earlier int64
	// Next is the first time that has not come; zero for a line that never comes again.
	Next time.Time
}

// CheckSchedule says what is wrong with a cron line.
func CheckSchedule(line, zone string) error {
	now := time.Now()
	c, err := parseCron(line, zone, now)
	if err != nil {
		return err
	}
	if first := c.Next(now); !first.IsZero() {
		if second := c.Next(first); !second.IsZero() && second.Sub(first) < time.Minute {
			return fmt.Errorf("%q comes more than once a minute, and what is made is called after its minute: use @every 1m or more", line)
		}
	}
	return nil
}

func parseCron(line, zone string, now time.Time) (gocron.Cron, error) {
	location := time.Local
	if zone != "" {
		var err error
		if location, err = time.LoadLocation(zone); err != nil {
			return nil, fmt.Errorf("time zone %q is not known: %w", zone, err)
		}
	}
	if strings.Contains(line, "=") { // the parser would take the zone from there, whatever timeZone says, and panics where no line follows
		return nil, fmt.Errorf("%q is no cron line: no field of one has a \"=\"; give the time zone in timeZone", line)
	}
	c := gocron.NewDefaultCron(false)
	if err := c.IsValid(line, location, now); err != nil {
		// What the parser says is in its last line; those above name the parser.
		why := err.Error()
		why = strings.TrimPrefix(why[strings.LastIndex(why, "\n")+1:], "gocron: CronJob: ")
		return nil, fmt.Errorf("%q is no cron line that ever comes (%s): give minute, hour, day, month and weekday, such as \"0 2 * * *\", or @daily", line, why)
	}
	return c, nil
}

// DueAt says which times of a schedule have come after the last one that was dealt with, and after it was made or given its line.
func DueAt(s *api.BenchmarkSchedule, now time.Time) (Due, error) {
	c, err := parseCron(s.Spec.Schedule, s.Spec.TimeZone, now)
	if err != nil {
		return Due{}, err
	}
	from := s.CreationTimestamp.Time
	for _, t := range []*metav1.Time{s.Status.LastScheduleTime, s.Status.LineSince} {
		if t != nil && t.After(from) {
			from = t.Time
		}
	}
	var d Due
	for at := c.Next(from); !at.IsZero(); at = c.Next(at) {
		if at.After(now) {
			d.Next = at
			return d, nil
		}
		if !d.At.IsZero() {
			d.Earlier++
		}
		d.At = at
		if d.Earlier == maxMissed {
			// Far behind: what lies between is not counted, and the latest is looked for from near now.
			if near := c.Next(now.Add(-25 * time.Hour)); near.After(at) && !near.After(now) {
				at, d.At = near, near
				d.Earlier++
			}
		}
	}
	return d, nil
}
