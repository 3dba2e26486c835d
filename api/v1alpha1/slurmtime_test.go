package v1alpha1

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var slurmTimes = map[string]time.Duration{ // 0: refused
	"1":                    time.Minute,
	"30":                   30 * time.Minute,
	"90":                   90 * time.Minute,
	"030":                  30 * time.Minute,
	"999999":               999999 * time.Minute,
	"30:15":                30*time.Minute + 15*time.Second,
	"0:60":                 time.Minute,
	"02:00:00":             2 * time.Hour,
	"2:3:4":                2*time.Hour + 3*time.Minute + 4*time.Second,
	"100:00:00":            100 * time.Hour,
	"1-12":                 36 * time.Hour,
	"1-12:30":              36*time.Hour + 30*time.Minute,
	"1-12:30:15":           36*time.Hour + 30*time.Minute + 15*time.Second,
	"0-0:1":                time.Minute,
	"9999-23:59:59":        9999*24*time.Hour + 24*time.Hour - time.Second,
	"":                     0,
	"0":                    0,
	"0:59":                 0,
	"00:00:00":             0,
	"0-0":                  0,
	"-1":                   0,
	"+1":                   0,
	" 1":                   0,
	"1 ":                   0,
	"1\n":                  0,
	"1h":                   0,
	"1.5":                  0,
	"1:":                   0,
	":1":                   0,
	"1:2:3:4":              0,
	"1-":                   0,
	"1-2-3":                0,
	"1-2:3:4:5":            0,
	"1:234":                0,
	"10000-0":              0,
	"1000000":              0,
	"INFINITE":             0,
	"UNLIMITED":            0,
	"１":                    0, // a full-width digit
	"99999999999999999999": 0,
}

func TestParseSlurmTime(t *testing.T) {
	for text, want := range slurmTimes {
		got, err := ParseSlurmTime(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %v (%v), want %v", text, got, err, want)
		}
	}
}

func TestAComputedTimeLimitCoversItsDuration(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(int64(time.Second), int64(365*24*time.Hour)).Draw(t, "duration"))
		got, err := ParseSlurmTime(SlurmTime(d))
		if err != nil || got < d || got >= d+time.Minute {
			t.Fatalf("%v is %q, which is %v (%v)", d, SlurmTime(d), got, err)
		}
	})
	for _, d := range []time.Duration{-1 << 63, -time.Hour, 0, 1<<63 - 1} {
		if got, err := ParseSlurmTime(SlurmTime(d)); err != nil || got < time.Minute {
			t.Errorf("%v is %q, which is %v (%v)", d, SlurmTime(d), got, err)
		}
	}
}

func FuzzParseSlurmTime(f *testing.F) {
	for text := range slurmTimes {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseSlurmTime(text)
		if err != nil {
			return
		}
		if d < time.Minute {
			t.Errorf("%q is %v", text, d)
		}
		if d <= 365*24*time.Hour {
			if again, err := ParseSlurmTime(SlurmTime(d)); err != nil || again < d {
				t.Errorf("%q is %v, which prints as %q: %v (%v)", text, d, SlurmTime(d), again, err)
			}
		}
	})
}
