package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Of three finished runs the newest and the pinned one stay; the other is packed, with its records and the object, and is gone.
func TestRetentionArchives(t *testing.T) {
	t.Parallel()
	p := newPlane(t).ready()
	for _, name := range []string{"old", "pinned", "new"} {
		p.create(newRun(name, func(s *api.BenchmarkRunSpec) { s.Workload.Duration = seconds(0.5) }))
		p.until(name, time.Minute, api.RunCompleted)
		<-time.After(time.Second) // ends are told to the second
	}
	pin := map[string]any{"metadata": map[string]any{"annotations": map[string]any{api.AnnotationPin: "yes"}}}
	if _, err := p.api.Patch(t.Context(), api.KindBenchmarkRun, "default", "pinned", pin); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Dir(p.run("old").Status.Folder)
	keep := map[string]any{"spec": map[string]any{"retention": map[string]any{"keep": 1, "interval": "1s"}}}
	if _, err := p.api.Patch(t.Context(), api.KindCluster, "", "embedded", keep); err != nil {
		t.Fatal(err)
	}
	p.eventually(30*time.Second, "the oldest is gone", func(ctx context.Context) (bool, string) {
		_, err := p.tryRun(ctx, "old")
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder stays: %v", err)
	}
	for _, name := range []string{"pinned", "new"} {
		if run := p.run(name); run.Status.Phase != api.RunCompleted {
			t.Errorf("%s is %s", name, run.Status.Phase)
		}
	}
	archive := filepath.Join(filepath.Dir(filepath.Dir(folder)), "archive", filepath.Base(folder)+".tar.gz")
	got := strings.Join(archived(t, archive), " ")
	for _, want := range []string{"/run.json", "/attempt-1/results/records.jsonl.gz", "/attempt-1/report/summary.json", "/attempt-1/logs/aggregated.jsonl"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in the archive: %s", want, got)
		}
	}
}

func archived(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for in := tar.NewReader(zipped); ; {
		head, err := in.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, head.Name)
	}
}
