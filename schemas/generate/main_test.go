package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUpToDate holds the checked-in schemas to the Go types.
func TestUpToDate(t *testing.T) {
	t.Chdir("..") // where go generate runs
	out := t.TempDir()
	if err := generate("../api/v1alpha1", out); err != nil {
		t.Fatal(err)
	}
	names := func(dir string) []string {
		paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range paths {
			paths[i] = filepath.Base(paths[i])
		}
		return paths
	}
	if diff := cmp.Diff(names(out), names(".")); diff != "" {
		t.Fatalf("files (-want +got):\n%s", diff)
	}
	for _, name := range names(out) {
		want, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is stale: run `go generate ./schemas` (-want +got):\n%s", name, diff)
		}
	}
}

// A comment over several fields that names them is the description of each.
func TestSharedComments(t *testing.T) {
	dir := t.TempDir()
	code := "package v1alpha1\n\ntype T struct {\n\t// Min and Max bound it.\n\tMin int\n\tMax int\n\tMaximal int\n\t// Other is alone.\n\tOther int\n\tMin2 int\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "t.go"), []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &source{comments: map[string]string{}, enums: map[string][]any{}}
	if err := s.readFiles(dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"v1alpha1.T.Max": "Min and Max bound it."}, s.comments); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
