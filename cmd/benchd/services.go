package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/client"
	"github.com/benchd/benchd/services"
)

// isServices says whether a word on the command line means the services, which are no objects of the store.
func isServices(word string) bool { return word == "services" || word == "service" || word == "svc" }

// serviceRow is one service as `get services` lists it.
type serviceRow struct {
	Name    string `json:"name"`
	Port    int32  `json:"port,omitempty"`
	Health  string `json:"health,omitempty"`
	API     string `json:"api,omitempty"`
	Nodes   string `json:"nodesPerServer"`
	Source  string `json:"source"`
	Summary string `json:"summary"`
}

// printServices lists the services that are built in and, where a control plane is up, those that templates declare.
func (g *getOptions) printServices(cmd *cobra.Command, names []string) error {
	var rows []serviceRow
	for _, name := range services.Names() {
		s, err := services.Get(name)
		if err != nil {
			return err
		}
		rows = append(rows, rowOf(s, "built in"))
	}
	templates, note := g.storedTemplates(cmd)
	for _, t := range templates {
		s, err := services.Of(&api.ServiceSpec{Name: t.Name, Template: &t.Spec})
		if err != nil {
			return err
		}
		rows = append(rows, rowOf(s, "template "+t.Namespace+"/"+t.Name))
	}
	if len(names) > 0 {
		var wanted []serviceRow
		for _, name := range names {
			found := false
			for _, row := range rows {
				if row.Name == name {
					wanted, found = append(wanted, row), true
				}
			}
			if !found {
				_, err := services.Get(name)
				return exitError{exitInvalid, err}
			}
		}
		rows = wanted
	}
	if err := g.printRows(cmd.OutOrStdout(), rows); err != nil {
		return err
	}
	if note != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), note)
	}
	return nil
}

// storedTemplates reads the templates of the control plane. Without one, the services that are built in are all that is known.
func (g *getOptions) storedTemplates(cmd *cobra.Command) (templates []*api.ServiceTemplate, note string) {
	c, err := connectRunning(cmd.Context(), g.home)
	if err != nil {
		return nil, "no control plane is running: services that ServiceTemplates declare are not shown"
	}
	defer c.Close()
	opts := client.ListOptions{Namespace: g.namespace}
	if g.allNamespaces {
		opts.Namespace = ""
	}
	list, err := c.List(cmd.Context(), api.KindServiceTemplate, opts)
	if err != nil {
		return nil, fmt.Sprintf("services that ServiceTemplates declare are not shown: %v", err)
	}
	for _, item := range list.Items {
		if t, ok := item.(*api.ServiceTemplate); ok {
			templates = append(templates, t)
		}
	}
	return templates, ""
}

func rowOf(s *services.Service, source string) serviceRow {
	row := serviceRow{Name: s.Name, Port: s.Port, Health: s.HealthPath, API: string(s.API), Nodes: "1", Source: source, Summary: s.Summary}
	switch {
	case s.External:
		row.Nodes = "0"
	case s.SpansNodes:
		row.Nodes = "1+"
	}
	return row
}

func (g *getOptions) printRows(out io.Writer, rows []serviceRow) error {
	switch g.output {
	case "json":
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(rows)
	case "yaml":
		data, err := yaml.Marshal(rows)
		if err != nil {
			return err
		}
		_, err = out.Write(data)
		return err
	case "name":
		for _, row := range rows {
			fmt.Fprintln(out, row.Name)
		}
		return nil
	case "", "wide":
	default:
		return exitError{exitInvalid, fmt.Errorf("services are printed as a table, wide, json, yaml or name, not as %q", g.output)}
	}
	w := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	if !g.noHeaders {
		fmt.Fprintln(w, "NAME\tPORT\tHEALTH\tAPI\tNODES\tSUMMARY")
	}
	for _, row := range rows {
		port := "<none>"
		if row.Port > 0 {
			port = strconv.Itoa(int(row.Port))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", row.Name, port, orNone(row.Health), orNone(row.API), row.Nodes, row.Summary)
	}
	return w.Flush()
}

// explainService says how a service is started, what its settings are and what is known of it.
func (o *options) explainService(cmd *cobra.Command, name string) error {
	s, err := services.Get(name)
	if err != nil {
		if t := o.storedTemplate(cmd.Context(), api.DefaultNamespace, name); t != nil {
			s, err = services.Of(&api.ServiceSpec{Name: name, Template: &t.Spec})
		}
	}
	if err != nil {
		return exitError{exitInvalid, err}
	}
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s %s\n", name+":", value)
		}
	}
	line("SERVICE", s.Name)
	line("SUMMARY", s.Summary)
	line("FOR", s.Written)
	line("SOURCE", s.Source)
	if s.Port > 0 {
		line("PORT", strconv.Itoa(int(s.Port)))
	}
	line("HEALTH", get(s.HealthPath))
	line("METRICS", get(s.MetricsPath))
	line("API", string(s.API))
	line("IMAGE", s.Image)
	switch {
	case s.External:
		line("NODES", "none: its servers run already; name them in service.endpoints")
	case s.SpansNodes:
		line("NODES", "one or several for each server (service.nodesPerReplica)")
	default:
		line("NODES", "one for each server")
	}
	if len(s.Settings) > 0 {
		b.WriteString("\nSETTINGS (service.config):\n")
		w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
		explainSettings(w, s.Settings, "  ")
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if !s.External {
		b.WriteString("\nAny other option of the program goes into service.args. `benchd render -f FILE` shows what is started.\n")
	}
	_, err = io.WriteString(cmd.OutOrStdout(), b.String())
	return err
}

func get(path string) string {
	if path == "" {
		return ""
	}
	return "GET " + path
}

func explainSettings(w io.Writer, settings []services.Setting, indent string) {
	for _, s := range settings {
		kind := string(s.Type)
		switch {
		case len(s.Choices) > 0:
			kind = strings.Join(s.Choices, " | ")
		case s.Most > 0:
			kind += fmt.Sprintf(" %v to %v", s.Least, s.Most)
		}
		meaning := s.Meaning
		if s.Flag != "" {
			meaning += " (" + s.Flag + ")"
		}
		fmt.Fprintf(w, "%s%s\t<%s>\t%s\n", indent, s.Name, kind, meaning)
		explainSettings(w, s.Parts, indent+"  ")
	}
}
