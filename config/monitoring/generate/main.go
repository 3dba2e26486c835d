// Command generate writes the dashboards of config/monitoring from the package dashboards beside it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/benchd/benchd/config/monitoring/dashboards"
)

func main() {
	if err := write(filepath.Join("monitoring", "grafana", "dashboards")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, d := range dashboards.Set() {
		data, err := dashboards.Encode(d)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
