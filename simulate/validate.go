package simulate

import (
	"errors"
	"fmt"
	"time"
)

// validate returns every mistake in c, each naming the field as it is spelled in JSON, its value and what to set.
func (c Config) validate() error {
	return errors.Join(
		c.validateTimes(),
		c.validateSizes(),
		c.Faults.validate(),
		check(c.Log == nil || c.LogPath == "", "logPath", c.LogPath, "a file or a writer, not both: leave one of LogPath and Log empty"),
	)
}

func (c Config) validateTimes() error {
	errs := []error{
		checkDist("ttftDist", c.TTFTDist, c.Spread),
		checkDist("itlDist", c.ITLDist, c.Spread),
		check(c.Spread >= 0, "spread", c.Spread, "a relative standard deviation, 0 or more"),
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"ttft", c.TTFT}, {"itl", c.ITL}, {"startup", c.Startup}, {"shutdownGrace", c.ShutdownGrace}, {"faults.stall", c.Faults.Stall},
	} {
		errs = append(errs, check(d.value >= 0, d.field, d.value, "a duration of 0 or more"))
	}
	return errors.Join(errs...)
}

func (c Config) validateSizes() error {
	return errors.Join(
		check(c.OutputTokens > 0, "outputTokens", c.OutputTokens, "1 or more; 0 means the default"),
		check(c.WriteChunks > 0, "writeChunks", c.WriteChunks, "1 or more; 0 means the default"),
		check(c.ChunkTokens > 0, "chunkTokens", c.ChunkTokens, "1 or more; 0 means the default"),
		check(c.MaxModelLen > c.OutputTokens, "maxModelLen", c.MaxModelLen, "more than outputTokens, so that a prompt fits too"),
		check(c.Concurrency >= 0, "concurrency", c.Concurrency, "0 (no limit) or more"),
		check(c.QueueLimit >= 0, "queueLimit", c.QueueLimit, "0 (no limit) or more"),
		check(c.QueueLimit <= 0 || c.Concurrency != 0, "queueLimit", c.QueueLimit, "0, or set concurrency: without it nothing ever waits"),
	)
}

func (f Faults) validate() error {
	var errs []error
	sum := 0.0
	for _, r := range f.rates() {
		errs = append(errs, check(r.rate >= 0 && r.rate <= 1, r.field, r.rate, "a share from 0 to 1"))
		sum += r.rate
	}
	for _, n := range []struct {
		field string
		value int
	}{
		{"faults.hangAfter", f.HangAfter}, {"faults.crashAfter", f.CrashAfter}, {"faults.unhealthyAfter", f.UnhealthyAfter},
	} {
		errs = append(errs, check(n.value >= 0, n.field, n.value, "a number of requests, 0 to turn it off"))
	}
	const rounding = 1e-9 // 0.1 ten times is a little over 1
	errs = append(errs,
		check(sum <= 1+rounding, "faults", sum, "rates that add up to at most 1: a request has one fault"),
		check(f.StallRate <= 0 || f.Stall > 0, "faults.stall", f.Stall, "how long to stall, since stallRate is set"),
		check(f.ErrorStatus >= 400 && f.ErrorStatus <= 599, "faults.errorStatus", f.ErrorStatus, "an HTTP status from 400 to 599"),
	)
	return errors.Join(errs...)
}

// check returns an error that names the field, its value and what is wanted, unless ok. A NaN fails every comparison
// and thus every check.
func check(ok bool, field string, value any, want string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%s is %v: want %s", field, value, want)
}
