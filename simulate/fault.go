package simulate

import "math/rand/v2"

// A Fault is what was done wrong on purpose to one request, as its Record says.
type Fault string

// The faults that Faults can inject. FaultNone is a request that was served well.
const (
	FaultNone        Fault = ""
	FaultError       Fault = "error"
	FaultStall       Fault = "stall"
	FaultCut         Fault = "cut"
	FaultTruncate    Fault = "truncate"
	FaultStreamError Fault = "streamError"
	FaultEmpty       Fault = "empty"
	FaultEarlyStop   Fault = "earlyStop"
	FaultHang        Fault = "hang"
)

// A faultRate ties a fault to its rate and to the name of the rate's field.
type faultRate struct {
	fault Fault
	rate  float64
	field string
}

// rates lists the rates in the order in which draw deals them out; the order is part of what a seed means.
func (f Faults) rates() [8]faultRate {
	return [8]faultRate{
		{FaultError, f.ErrorRate, "faults.errorRate"},
		{FaultStall, f.StallRate, "faults.stallRate"},
		{FaultCut, f.CutRate, "faults.cutRate"},
		{FaultTruncate, f.TruncateRate, "faults.truncateRate"},
		{FaultStreamError, f.StreamErrorRate, "faults.streamErrorRate"},
		{FaultEmpty, f.EmptyRate, "faults.emptyRate"},
		{FaultEarlyStop, f.EarlyStopRate, "faults.earlyStopRate"},
		{FaultHang, f.HangRate, "faults.hangRate"},
	}
}

// draw picks the fault of one request. One number decides, so that the shares are exclusive.
func (f Faults) draw(r *rand.Rand) Fault {
	u := r.Float64()
	for _, fr := range f.rates() {
		if u < fr.rate {
			return fr.fault
		}
		u -= fr.rate
	}
	return FaultNone
}
