package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/services"
)

// prepareExternal finds the servers that run already healthy and able to serve the model.
func (l *lead) prepareExternal(ctx context.Context) error {
	spec := &l.manifest.Service
	service, err := services.Of(spec)
	if err != nil {
		return fail(api.FailureUser, reasonLaunch, "%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, spec.Health.Timeout.Duration)
	defer cancel()
	var ready []api.ServerStatus
	for i, endpoint := range spec.Endpoints {
		s := services.Server{
			URL: strings.TrimSuffix(endpoint, "/"), Spec: *spec, APIKey: l.agent.secrets.APIKey,
			Progress: func(format string, args ...any) {
				said := l.agent.mask.Replace(fmt.Sprintf(format, args...)) // some servers repeat the key that they refuse
				l.set(func(st *node.LeadStatus) { st.Message = endpoint + ": " + said })
			},
		}
		p, err := l.awaitExternal(ctx, service, s)
		if err != nil {
			return err
		}
		ready = append(ready, api.ServerStatus{Name: externalName(spec, i), Node: "external", URL: s.URL, Version: p.Version, Model: p.Model})
	}
	l.set(func(st *node.LeadStatus) { st.Servers = ready })
	return nil
}

// awaitExternal repeats the look at a server until it is well or the health timeout is over.
func (l *lead) awaitExternal(ctx context.Context, service *services.Service, s services.Server) (services.Prepared, error) {
	for {
		p, err := lookAtExternal(ctx, service, s)
		if err == nil {
			return p, nil
		}
		if wrong := (*services.UserError)(nil); errors.As(err, &wrong) {
			return p, fail(api.FailureUser, wrong.Reason, "%s: %s", s.URL, l.agent.mask.Replace(err.Error()))
		}
		if ctx.Err() == nil {
			s.Progress("%v", err)
		}
		wait := time.NewTimer(max(time.Second, s.Spec.Health.Interval.Duration))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return p, l.ended("while the external servers were looked at")
			}
			return p, fail(api.FailureService, reasonHealth, "%s is not well after %s: %s: see whether it runs and can be reached from the job's nodes, or raise service.health.timeout",
				s.URL, s.Spec.Health.Timeout.Duration, l.agent.mask.Replace(err.Error()))
		}
	}
}

func lookAtExternal(ctx context.Context, service *services.Service, s services.Server) (services.Prepared, error) {
	if s.Spec.Health.Endpoint != "" {
		err := askHealth(ctx, s.URL, s.Spec.Health.Endpoint, s.APIKey)
		if unwell := (*healthError)(nil); errors.As(err, &unwell) {
			err = cmp.Or(services.KeyRefused(unwell.code, err), err)
		}
		if err != nil {
			return services.Prepared{}, err
		}
	}
	return service.Prepare(ctx, s)
}

// externalName is what an external server is told by.
func externalName(spec *api.ServiceSpec, i int) string { return fmt.Sprintf("%s-%d", spec.Name, i) }
