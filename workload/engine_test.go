package workload

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/protocol"
)

// server answers after a time, or refuses at once, and counts.
type server struct {
	answer         time.Duration
	class          protocol.Class
	asked          atomic.Int64
	inFlight, peak atomic.Int64
}

var _ protocol.Client = (*server)(nil)

func (s *server) Do(ctx context.Context, _ protocol.Request) (r protocol.Result) {
	if s.asked.Add(1) > 100_000 {
		<-ctx.Done() // a loop that spins would never end in fake time
	}
	storeMax(&s.peak, s.inFlight.Add(1))
	defer s.inFlight.Add(-1)
	r.Sent, r.Class, r.OutputTokens, r.TokenSource = time.Now(), s.class, 1, protocol.TokensFromServer
	if err := sleepUntil(ctx, r.Sent.Add(s.answer)); err != nil {
		r.Class, r.Message = protocol.ClassCancelled, err.Error()
	}
	r.End = time.Now()
	return r
}

func (s *server) Close() {}

// work is a second of warm-up, four of measurement and two of drain.
func work(load api.LoadSpec) api.WorkloadSpec {
	return api.WorkloadSpec{
		Warmup: metav1.Duration{Duration: time.Second}, Duration: metav1.Duration{Duration: 4 * time.Second},
		Drain: &metav1.Duration{Duration: 2 * time.Second}, Load: load,
		Prompts: api.PromptSpec{Source: api.PromptSynthetic, Tokens: 4}, Output: api.OutputSpec{Tokens: 1},
	}
}

func plan(w api.WorkloadSpec, s *server) Plan {
	return Plan{Workload: w, Ranks: 1, Targets: []Target{{"a", s}}, Node: "n1", RunID: "r", T0: time.Now()}
}

// ended is what a load came to.
type ended struct {
	err     error
	took    time.Duration
	records []Record
	trailer *Trailer
	load    *Load
	end     api.Progress
}

func (e ended) count(class string) int {
	n := 0
	for _, r := range e.records {
		if r.Class == class {
			n++
		}
	}
	return n
}

// runLoad runs a load in a bubble of fake time, in which nothing takes longer than it must.
func runLoad(t *testing.T, w api.WorkloadSpec, s *server, change func(*Plan)) (out ended) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "records-0.jsonl")
	synctest.Test(t, func(t *testing.T) {
		p := plan(w, s)
		records, err := CreateRecords(path, Header{Format: Format, Node: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		p.Records = records
		if change != nil {
			change(&p)
		}
		if out.load, err = NewLoad(p); err != nil {
			t.Fatal(err)
		}
		out.err = out.load.Run(t.Context())
		out.took, out.end = time.Since(p.T0), out.load.Progress()
	})
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = ReadRecords(f, Visitor{
		Header:  func(Header) error { return nil },
		Record:  func(r *Record) error { out.records = append(out.records, *r); return nil },
		Trailer: func(tr Trailer) error { out.trailer = &tr; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestClosedLoop(t *testing.T) {
	s := &server{answer: 90 * time.Millisecond}
	e := runLoad(t, work(api.LoadSpec{Pattern: api.PatternClosed, ClientsPerNode: 3, ThinkTime: metav1.Duration{Duration: 10 * time.Millisecond}}), s, nil)
	if e.err != nil || s.peak.Load() != 3 {
		t.Errorf("peak %d of 3 clients, error %v", s.peak.Load(), e.err)
	}
	// 5 s of 100 ms each: 50 rounds of 3 clients.
	if len(e.records) != 150 || e.count("") != 150 {
		t.Errorf("%d records, %d successes, want 150", len(e.records), e.count(""))
	}
	if e.took > 5*time.Second+90*time.Millisecond {
		t.Errorf("it took %s", e.took)
	}
	ks := map[int64]bool{}
	for _, r := range e.records {
		if r.Intended != r.Sent || r.CapWait != 0 || ks[r.K] || r.Sent >= int64(5*time.Second) {
			t.Errorf("record %+v", r)
		}
		ks[r.K] = true
	}
	if p := e.end; p.Sent != 150 || p.Succeeded != 150 || p.Failed != 0 || p.Stage != StageDone || p.Percent != 100 {
		t.Errorf("progress %+v", p)
	}
	if e.trailer == nil || e.trailer.Node != "n1" || e.trailer.SendEnded > int64(5*time.Second) || e.trailer.Ended < e.trailer.SendEnded {
		t.Errorf("trailer %+v", e.trailer)
	}
	if first, sent := e.load.FirstSent(); !sent || first != 0 {
		t.Errorf("first sent at %s, %v", first, sent)
	}
}

func TestRefusingServerDoesNotMakeAClosedLoopSpin(t *testing.T) {
	s := &server{class: protocol.ClassConnect}
	e := runLoad(t, work(api.LoadSpec{Pattern: api.PatternClosed, ClientsPerNode: 2}), s, nil)
	if got := s.asked.Load(); e.err != nil || got != 2*100 { // 5 s of 50 ms each
		t.Errorf("asked %d times in 5 s: %v", got, e.err)
	}
	if e.count(string(protocol.ClassConnect)) != 200 {
		t.Errorf("%d of %d records are connect errors", e.count("connect"), len(e.records))
	}
}

func TestOpenLoopKeepsItsTimes(t *testing.T) {
	// The server is far slower than the rate: arrivals go on at their times.
	s := &server{answer: 990 * time.Millisecond}
	e := runLoad(t, constant(20, 0), s, nil)
	if e.err != nil || len(e.records) != 100 || e.count("") != 100 {
		t.Fatalf("%d records, %d successes, %v; want 100", len(e.records), e.count(""), e.err)
	}
	slices.SortFunc(e.records, func(a, b Record) int { return int(a.K - b.K) })
	for k, r := range e.records {
		if want := int64(k) * int64(50*time.Millisecond); r.K != int64(k) || r.Intended != want || r.Sent != want || r.CapWait != 0 {
			t.Errorf("record %d: %+v", k, r)
		}
	}
	if s.peak.Load() != 20 {
		t.Errorf("peak %d, want 20", s.peak.Load())
	}
}

func TestCapMakesArrivalsWaitAndDrops(t *testing.T) {
	// Two at a time, 0.3 s each: 6.7 a second of the 20 that arrive.
	s := &server{answer: 300 * time.Millisecond}
	e := runLoad(t, constant(20, 2), s, nil)
	dropped, succeeded := e.count(ClassDropped), e.count("")
	if s.peak.Load() != 2 {
		t.Errorf("peak %d over a cap of 2", s.peak.Load())
	}
	if len(e.records) != 100 || dropped+succeeded != 100 || succeeded < 32 || succeeded > 36 {
		t.Errorf("%d records, %d succeeded, %d dropped; want 100 attempted", len(e.records), succeeded, dropped)
	}
	for _, r := range e.records {
		switch {
		case r.Intended != r.K*int64(50*time.Millisecond):
			t.Errorf("intended start moved: %+v", r)
		case r.Class == ClassDropped && (r.Sent != 0 || r.CapWait != int64(5*time.Second)-r.Intended):
			t.Errorf("a dropped one: %+v", r)
		case r.Class == "" && r.Sent-r.Intended != r.CapWait:
			t.Errorf("the wait for the cap is not all of the delay: %+v", r)
		}
	}
	if p := e.end; p.Sent != int64(succeeded) || p.Failed != int64(dropped) {
		t.Errorf("progress %+v", p)
	}
}

func TestDrainIsBounded(t *testing.T) {
	s := &server{answer: time.Hour}
	e := runLoad(t, constant(10, 0), s, nil)
	if e.err != nil || e.took != 7*time.Second || e.count(string(protocol.ClassCancelled)) != 50 || e.trailer == nil {
		t.Errorf("took %s, %d of %d cancelled: %v", e.took, e.count("cancelled"), len(e.records), e.err)
	}
}

func TestStopEndsTheLoadEarlyAndKeepsEveryRecord(t *testing.T) {
	s := &server{answer: time.Second}
	var e ended
	path := filepath.Join(t.TempDir(), "r.jsonl")
	synctest.Test(t, func(t *testing.T) {
		p := plan(constant(10, 0), s)
		var err error
		if p.Records, err = CreateRecords(path, Header{Format: Format}); err != nil {
			t.Fatal(err)
		}
		if e.load, err = NewLoad(p); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2050*time.Millisecond)
		defer cancel()
		if err := e.load.Run(ctx); err != nil || time.Since(p.T0) != 2050*time.Millisecond {
			t.Errorf("it ended after %s: %v", time.Since(p.T0), err)
		}
	})
	if p := e.load.Progress(); p.Sent != 21 || p.Succeeded != 11 || p.Failed != 10 || p.Stage != StageDone {
		t.Errorf("progress %+v", p)
	}
}

func TestStagesOfALoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := plan(constant(10, 0), &server{answer: 1500 * time.Millisecond})
		p.T0 = time.Now().Add(time.Second)
		var err error
		if p.Records, err = CreateRecords(filepath.Join(t.TempDir(), "r.jsonl"), Header{Format: Format}); err != nil {
			t.Fatal(err)
		}
		l, err := NewLoad(p)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- l.Run(t.Context()) }()
		for _, step := range []struct {
			after   time.Duration
			stage   string
			percent int32
		}{{500 * time.Millisecond, StageWaiting, 0}, {time.Second, StageWarmup, 10}, {time.Second, StageMeasure, 30}, {4 * time.Second, StageDrain, 100}} {
			time.Sleep(step.after) // fake time
			synctest.Wait()
			if got := l.Progress(); got.Stage != step.stage || got.Percent != step.percent {
				t.Errorf("%s %d %%, want %s %d %%", got.Stage, got.Percent, step.stage, step.percent)
			}
		}
		if err := <-done; err != nil || l.InFlight() != 0 {
			t.Errorf("%d in flight, %v", l.InFlight(), err)
		}
	})
}

// A full disk ends the load at once and is the error of it.
func TestRecordsThatCannotBeWritten(t *testing.T) {
	for name, load := range map[string]api.LoadSpec{
		"closed": {Pattern: api.PatternClosed, ClientsPerNode: 3},
		"open":   {Pattern: api.PatternConstant, Rate: 50},
	} {
		t.Run(name, func(t *testing.T) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			s := &server{answer: 100 * time.Millisecond}
			e := runLoad(t, work(load), s, func(p *Plan) {
				_ = p.Records.file.Close()
				p.Records.file = full
			})
			if !errors.Is(e.err, syscall.ENOSPC) || !errors.Is(e.load.WriteError(), syscall.ENOSPC) {
				t.Errorf("error %v, %v", e.err, e.load.WriteError())
			}
			if e.took > 200*time.Millisecond {
				t.Errorf("the load went on for %s", e.took)
			}
			if err := full.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("the file was left open: %v", err)
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "gone", "r.jsonl")
	if _, err := CreateRecords(dir, Header{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestRequestsAreDealtOverTargets(t *testing.T) {
	a, b := &server{}, &server{}
	e := runLoad(t, constant(10, 0), a, func(p *Plan) { p.Targets = append(p.Targets, Target{"b", b}) })
	for _, r := range e.records {
		if want := []string{"a", "b"}[r.K%2]; r.Server != want {
			t.Errorf("request %d went to %s", r.K, r.Server)
		}
	}
	if a.asked.Load() != 25 || b.asked.Load() != 25 {
		t.Errorf("%d and %d requests", a.asked.Load(), b.asked.Load())
	}
}
