package controllers

import (
	"os"
	"path/filepath"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// A secret is a single line, wherever it comes from: logs are masked by lines, and HTTP headers hold one.
func TestSecretsAreSingleLines(t *testing.T) {
	for text, want := range map[string]string{"hf_one": "hf_one", "hf_one\n": "hf_one", "hf_one\r\n": "hf_one", "one\ntwo": "", "": "", "\n": ""} {
		t.Setenv("A_SECRET", text)
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for place, ref := range map[string]api.SecretSource{"variable": {Env: "A_SECRET"}, "file": {File: file}} {
			if got, err := resolveSecret("x", &ref); got != want || (err == nil) != (want != "") {
				t.Errorf("%s %q: %q, %v", place, text, got, err)
			}
		}
	}
}
