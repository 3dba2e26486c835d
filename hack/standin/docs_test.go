package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestVariablesAreDocumented holds the code, --help and README.md together.
func TestVariablesAreDocumented(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	help := &watched{}
	usage(help)
	source, err := os.ReadFile("knobs.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`r\.\w+\("(STANDIN_\w+)"`).FindAllStringSubmatch(string(source), -1) {
		if !strings.Contains(help.String(), name[1]+" ") || !strings.Contains(string(readme), "| "+name[1]+" |") {
			t.Errorf("%s is not in --help and README.md", name[1])
		}
	}
}

// TestFilesNameTheirSource wants a source in the header of every personality.
func TestFilesNameTheirSource(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"vllm", "ray", "ollama", "sglang", "llama", "trtllm", "triton", "tgi"} {
		text, err := os.ReadFile(filepath.Join(name + ".go"))
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(text), "import (")
		if !regexp.MustCompile(`// Sources?[:,]`).MatchString(head) || !strings.Contains(head, "Not verified:") {
			t.Errorf("%s.go does not say what it follows, and what was not verified", name)
		}
	}
}
