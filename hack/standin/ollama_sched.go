package main

// Which models an Ollama server has in memory (sources: see ollama.go). One request after the other is looked at; one that
// needs a model loaded anew keeps those behind it waiting, as in the real scheduler.

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/benchd/benchd/simulate"
)

var errMaxQueue = errors.New("server busy, please try again.  maximum pending requests exceeded")

// A runner is a loaded model.
type runner struct {
	name    string
	opts    runnerOptions
	engine  *simulate.Server
	session time.Duration
	refs    int
	dying   bool // to be unloaded when idle
	timer   *time.Timer
	expires time.Time
}

// A scheduler owns the runners.
type scheduler struct {
	*call
	env     ollamaSettings
	turn    chan struct{} // whose request is looked at
	pending chan struct{} // those that wait for it

	mu      sync.Mutex
	loaded  map[string]*runner
	changed chan struct{} // closed when a runner became idle or went
}

func newScheduler(c *call, env ollamaSettings) *scheduler {
	return &scheduler{
		call: c, env: env, turn: make(chan struct{}, 1), pending: make(chan struct{}, max(1, env.maxQueue)),
		loaded: map[string]*runner{}, changed: make(chan struct{}),
	}
}

// acquire returns a runner of the model that fits, loaded now if need be. It is to be released.
func (s *scheduler) acquire(ctx context.Context, name string, opts runnerOptions, keep *keepAlive) (*runner, error) {
	select {
	case s.pending <- struct{}{}:
	default:
		return nil, errMaxQueue
	}
	defer func() { <-s.pending }()
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Canceled
	}
	defer func() { <-s.turn }()
	for {
		run, wait := s.look(name, opts, keep)
		if run != nil {
			return run, nil
		}
		if wait == nil {
			return s.load(ctx, name, opts, keep)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Canceled
		}
	}
}

// look returns a runner that fits, or what to wait for, or neither where the model can be loaded.
func (s *scheduler) look(name string, opts runnerOptions, keep *keepAlive) (*runner, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := cmp.Or(s.env.maxLoaded, 3*max(1, s.env.gpus))
	run := s.loaded[name]
	switch {
	case run != nil && !run.dying && !run.opts.needsReload(opts):
		s.use(run, keep)
		return run, nil
	case run != nil:
		s.expireLocked(run)
	case len(s.loaded) >= limit:
		all := make([]*runner, 0, len(s.loaded))
		for _, r := range s.loaded {
			all = append(all, r)
		}
		s.expireLocked(slices.MinFunc(all, func(a, b *runner) int { // an idle one, else the one that would stay the shortest
			return cmp.Or(cmp.Compare(min(a.refs, 1), min(b.refs, 1)), cmp.Compare(a.session, b.session), cmp.Compare(a.name, b.name))
		}))
	default:
		return nil, nil
	}
	if s.loaded[name] == nil && len(s.loaded) < limit {
		return nil, nil
	}
	return nil, s.changed
}

// use takes a reference.
func (s *scheduler) use(run *runner, keep *keepAlive) {
	run.refs++
	if run.timer != nil {
		run.timer.Stop()
	}
	if keep != nil {
		run.session = keep.d
	}
}

// load loads a model.
func (s *scheduler) load(ctx context.Context, name string, opts runnerOptions, keep *keepAlive) (*runner, error) {
	const unlimited = 1 << 20 // Ollama cuts a prompt that is too long, and refuses none
	engine, err := s.call.engine([]string{strings.TrimSuffix(name, ":latest"), name}, unlimited, max(1, s.env.parallel))
	if err != nil {
		return nil, err
	}
	if s.knobs.load > s.env.loadTimeout || s.knobs.hang == hangLoad {
		if !sleep(ctx, s.env.loadTimeout) {
			return nil, context.Canceled
		}
		return nil, errors.New("timed out waiting for llama runner to start: context deadline exceeded")
	}
	if !sleep(ctx, s.knobs.load) {
		return nil, errors.New("timed out waiting for llama runner to start: context canceled")
	}
	run := &runner{name: name, opts: opts, engine: engine, session: s.env.keepAlive}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded[name] = run
	s.use(run, keep)
	return run, nil
}

// release gives a reference back; an idle model goes when its time is over.
func (s *scheduler) release(run *runner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	run.refs--
	if run.refs > 0 {
		return
	}
	if run.dying || run.session <= 0 {
		s.unload(run)
		return
	}
	run.expires = time.Now().Add(run.session)
	if run.session != forever {
		run.timer = time.AfterFunc(run.session, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if run.refs == 0 && !time.Now().Before(run.expires) {
				s.unload(run)
			}
		})
	}
	s.tell()
}

// expire unloads a model as soon as it is idle.
func (s *scheduler) expire(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if run := s.loaded[name]; run != nil {
		s.expireLocked(run)
	}
}

func (s *scheduler) expireLocked(run *runner) {
	run.dying = true
	if run.refs == 0 {
		s.unload(run)
	}
}

// unload forgets a runner.
func (s *scheduler) unload(run *runner) {
	if s.loaded[run.name] == run {
		delete(s.loaded, run.name)
		_ = run.engine.Close()
		s.tell()
	}
}

// tell wakes who waits.
func (s *scheduler) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// ps lists what is loaded. A model without GPU layers has nothing in video memory.
func (o *ollama) ps(w http.ResponseWriter, _ *http.Request) {
	o.sched.mu.Lock()
	models := []gin{}
	for _, run := range o.sched.loaded {
		vram := int64(0)
		if o.env.gpus > 0 && run.opts.NumGPU != 0 {
			vram = o.env.modelBytes
		}
		expires := run.expires
		if run.session == forever {
			expires = time.Now().AddDate(100, 0, 0)
		}
		models = append(models, gin{
			"name": run.name, "model": run.name, "size": o.env.modelBytes, "size_vram": vram, "expires_at": expires,
			"context_length": run.opts.NumCtx, "details": modelDetails,
		})
	}
	o.sched.mu.Unlock()
	slices.SortFunc(models, func(a, b gin) int { return cmp.Compare(a["name"].(string), b["name"].(string)) }) //nolint:errcheck // put there above
	writeJSON(w, http.StatusOK, gin{"models": models})
}
