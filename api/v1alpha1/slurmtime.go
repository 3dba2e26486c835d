package v1alpha1

import (
	"errors"
	"regexp"
	"strconv"
	"time"
)

var slurmTimePattern = regexp.MustCompile(`^(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?$`)

// ParseSlurmTime reads a time limit in the forms that sbatch's manual page gives: minutes, minutes:seconds,
// hours:minutes:seconds, days-hours, days-hours:minutes and days-hours:minutes:seconds.
func ParseSlurmTime(s string) (time.Duration, error) {
	m := slurmTimePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, errors.New("use Slurm's form of a time: 30 (minutes), 02:00:00 or 1-12:00:00")
	}
	n := make([]time.Duration, 4)
	for i, part := range m[1:] {
		v, _ := strconv.Atoi(part) // the pattern lets only digits through
		n[i] = time.Duration(v)
	}
	var d time.Duration
	switch {
	case m[1] != "":
		d = n[0]*24*time.Hour + n[1]*time.Hour + n[2]*time.Minute + n[3]*time.Second
	case m[4] != "":
		d = n[1]*time.Hour + n[2]*time.Minute + n[3]*time.Second
	default:
		d = n[1]*time.Minute + n[2]*time.Second
	}
	if d < time.Minute {
		return 0, errors.New("is under a minute, the shortest limit that Slurm keeps")
	}
	return d, nil
}
