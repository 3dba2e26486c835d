package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/container"
	"github.com/benchd/benchd/report"
	"github.com/benchd/benchd/store"
)

// LockName is the file in an attempt's folder that holds the exact spec and what it was carried out with. It can be applied.
const LockName = report.LockYAML

// writeLock writes the lock of the current attempt, once.
func (s *runPass) writeLock() error {
	attempt := s.attempt()
	path := filepath.Join(attempt.Folder, LockName)
	if attempt.Folder == "" || node.Exists(path) {
		return nil
	}
	a, err := s.bound()
	if err != nil || a == nil {
		return err
	}
	data, err := yaml.Marshal(lockOf(s.run, s.record(a)))
	if err != nil {
		return fmt.Errorf("encode the run's lock: %w", err)
	}
	head := "# What this attempt was carried out with. `benchd apply -f` repeats it, with the same prompts; `benchd diff` compares two.\n"
	return node.WriteSealedBytes(path, append([]byte(head), data...), 0o600)
}

// lockOf is what repeats a run. A repetition is no run of the sweep that made this one, and does not count as one of its trials.
func lockOf(run *api.BenchmarkRun, record *api.RunRecord) *api.BenchmarkRun {
	locked := &api.BenchmarkRun{TypeMeta: run.TypeMeta, Spec: run.Spec, Status: api.BenchmarkRunStatus{Record: record}}
	locked.Name, locked.Namespace, locked.Labels, locked.Annotations = run.Name, run.Namespace, maps.Clone(run.Labels), maps.Clone(run.Annotations)
	for _, label := range []string{api.LabelSweep, api.LabelTrial, api.LabelPoint, api.LabelRepeat, api.LabelControl} {
		delete(locked.Labels, label)
	}
	delete(locked.Annotations, api.AnnotationPosition)
	locked.Spec.Workload.Seed, locked.Spec.Cancel = &record.Seed, false
	return locked
}

// record gathers what the attempt was carried out with. What cannot be found out is left out.
func (s *runPass) record(a *api.Allocation) *api.RunRecord {
	r := &api.RunRecord{
		Benchd: s.version, Attempt: s.attempt().Number, Time: metav1.Now(), Seed: s.seed(), Cluster: a.Spec.Cluster,
		Servers: a.Status.Servers, Image: s.image(&a.Spec.Container),
	}
	folder := node.Folder(a.Status.Folder)
	for _, n := range a.Status.Nodes {
		record := api.NodeRecord{Rank: n.Rank, Name: n.Name, Address: n.Address, Roles: n.Roles}
		var agent node.AgentRecord
		if node.ReadJSON(folder.Agent(int(n.Rank)), &agent) == nil {
			record.CPUs, record.CPUModel, record.Memory, record.Kernel, record.OS = agent.CPUs, agent.CPUModel, agent.Memory, agent.Kernel, agent.OS
			record.GPUs, record.Env = agent.GPUs, agent.Env
		}
		r.Nodes = append(r.Nodes, record)
	}
	if c, err := store.Get[*api.Cluster](s.ctx, s.store, "", a.Spec.Cluster); err == nil {
		r.SlurmVersion = c.Status.Version
	}
	r.Job = s.jobRecord(a)
	return r
}

// detailsTimeout bounds the look at a job's record: it is worth having, and not worth waiting for.
const detailsTimeout = 15 * time.Second

// jobRecord is what the cluster says of the job, or what was last seen of it.
func (s *runPass) jobRecord(a *api.Allocation) map[string]string {
	if p, err := s.clusters.get(s.ctx, a.Spec.Cluster); err == nil && a.Status.JobID != "" {
		ctx, cancel := context.WithTimeout(s.ctx, detailsTimeout)
		defer cancel()
		if details, err := p.adapter.Details(ctx, a.Status.JobID); err == nil {
			return details
		}
	}
	st := a.Status.Job
	if st == nil {
		return nil
	}
	return map[string]string{"JobId": a.Status.JobID, "JobState": st.State, "Reason": st.Reason, "ExitCode": st.ExitCode, "NodeList": st.Nodes}
}

// image identifies the image that the servers ran. A file's digest is kept beside it in the work folder, for images are large and
// many runs use one.
func (s *runPass) image(spec *api.ContainerSpec) *api.ImageRecord {
	if spec.Runtime == api.RuntimeNone || spec.Image == "" {
		return nil
	}
	r := &api.ImageRecord{Image: spec.Image}
	path := container.Local(spec.Image)
	if !filepath.IsAbs(path) {
		r.Note = "the digest is known to the runtime's store alone"
		return r
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		r.Note = err.Error()
	case info.IsDir():
		r.Note = "a folder has no digest"
	default:
		modified := metav1.NewTime(info.ModTime())
		r.Size, r.Modified = info.Size(), &modified
		if r.Digest, err = s.fileDigest(path, info); err != nil {
			r.Note = err.Error()
		}
	}
	return r
}

// fileDigest is the SHA-256 of a file, read once for each of its versions.
func (s *runPass) fileDigest(path string, info os.FileInfo) (string, error) {
	p, err := s.clusters.get(s.ctx, s.run.Spec.Cluster)
	if err != nil {
		return "", err
	}
	version := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d", path, info.Size(), info.ModTime().UnixNano()))
	dir := filepath.Join(p.workdir(), "images", "digests")
	kept := filepath.Join(dir, hex.EncodeToString(version[:8]))
	if data, err := os.ReadFile(kept); err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("read image %s: %w", path, err)
	}
	digest := "sha256:" + hex.EncodeToString(h.Sum(nil))
	if err := ensureDir(dir); err != nil {
		return digest, nil
	}
	_ = node.WriteSealedBytes(kept, []byte(digest+"\n"), 0o600) // the next run reads the image again
	return digest, nil
}
