package controllers

import (
	"strings"
	"testing"

	api "github.com/benchd/benchd/api/v1alpha1"
)

func TestServing(t *testing.T) {
	nodes := []api.NodeStatus{{Name: "n1", Address: "10.0.0.1", Roles: []string{"client"}}, {Name: "n2", Address: "10.0.0.2", Roles: []string{"server", "client"}}}
	for name, tc := range map[string]struct {
		endpoints []string
		nodes     []api.NodeStatus
		want      string
		elsewhere bool
	}{
		"started here":        {nil, nodes, "n2", false},
		"nodes are not known": {nil, nil, "", false},
		"elsewhere":           {[]string{"https://api.example.org", "http://[::2]:80"}, nodes[:1], "", true},
		"on this node":        {[]string{"http://n1:8000"}, nodes[:1], "n1", false},
		"by its address":      {[]string{"http://10.0.0.1:8000"}, nodes[:1], "n1", false},
		"on whatever node":    {[]string{"http://localhost:8000"}, nodes[:1], "", false},
		"of version 6":        {[]string{"http://[::1]:8000"}, nodes[:1], "", false},
	} {
		got, elsewhere := serving(tc.endpoints, tc.nodes)
		if strings.Join(got, " ") != tc.want || elsewhere != tc.elsewhere {
			t.Errorf("%s: %v, elsewhere: %t", name, got, elsewhere)
		}
	}
}
