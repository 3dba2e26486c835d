package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Node asks the executor API of an Allocation's node through the server, and returns its answer as it is, of whatever status: a
// server that cannot reach the node answers with 502 and a Status object that says why. The caller closes its body. Of the header,
// only Accept and Content-Type reach the node.
func (c *Client) Node(ctx context.Context, namespace, allocation, node string, r *http.Request) (*http.Response, error) {
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/") + object(api.KindAllocation, namespace, allocation) + "/proxy/" + node + r.URL.Path
	u.RawQuery = r.URL.RawQuery
	var body io.Reader
	if r.Method != http.MethodGet {
		body = r.Body
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("ask node %s: %w", node, err)
	}
	for _, name := range []string{"Accept", "Content-Type", "X-Prometheus-Scrape-Timeout-Seconds"} {
		if value := r.Header.Get(name); value != "" {
			req.Header.Set(name, value)
		}
	}
	if c.endpoint.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.endpoint.Token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	return resp, nil
}
