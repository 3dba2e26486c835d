package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Folder is an Allocation's folder on the shared file system:
//
//	job.sh manifest.json claim token tls/{cert,key}.pem
//	secrets.json           what spec.container.secrets and spec.service.apiKey refer to; removed with the job's end
//	agents/RANK.json       one per agent, sealed
//	drain                  end after the order that is under way
//	lead.json              the lead's sign of life
//	orders/NNNN.json       sealed by the control plane
//	orders/NNNN.cancel     stop that order
//	orders/NNNN.status.json
//	logs/NODE/COMPONENT    raw logs and samples of each node, streams
//	exit.json              how the agents ended, sealed
type Folder string

// Script is the batch script.
func (f Folder) Script() string { return f.at("job.sh") }

// Output is what the batch script itself prints.
func (f Folder) Output() string { return f.at("logs", "job.out") }

// Manifest is the file of a Manifest.
func (f Folder) Manifest() string { return f.at("manifest.json") }

// Claim is the file that the first start of the job holds.
func (f Folder) Claim() string { return f.at("claim") }

// Token is the secret that agents ask for.
func (f Folder) Token() string { return f.at("token") }

// Cert and Key are what agents speak TLS with.
func (f Folder) Cert() string { return f.at("tls", "cert.pem") }

// Key is the private key that belongs to Cert.
func (f Folder) Key() string { return f.at("tls", "key.pem") }

// Secrets is the file of the Secrets, which its owner alone can read.
func (f Folder) Secrets() string { return f.at("secrets.json") }

// Hosts is the file of node names, one a line, for jobs whose nodes are named role by role.
func (f Folder) Hosts() string { return f.at("hosts") }

// Agents holds the AgentRecords.
func (f Folder) Agents() string { return f.at("agents") }

// Agent is the file of one AgentRecord.
func (f Folder) Agent(rank int) string { return f.at("agents", strconv.Itoa(rank)+".json") }

// Lead is the file of the LeadStatus.
func (f Folder) Lead() string { return f.at("lead.json") }

// Pushgateway holds the address of the one that the job has started; sealed by the agent that did.
func (f Folder) Pushgateway() string { return f.at("pushgateway.json") }

// Drain is the file that ends the job after the order that is under way.
func (f Folder) Drain() string { return f.at("drain") }

// Exit is the file of the ExitRecord.
func (f Folder) Exit() string { return f.at("exit.json") }

// Logs is where a node's raw logs and samples go.
func (f Folder) Logs(node string) string { return f.at("logs", node) }

// Orders holds the orders.
func (f Folder) Orders() string { return f.at("orders") }

// Order is the file of one Order.
func (f Folder) Order(n int32) string { return f.at("orders", fmt.Sprintf("%04d.json", n)) }

// OrderStatus is the file of one OrderStatus.
func (f Folder) OrderStatus(n int32) string {
	return f.at("orders", fmt.Sprintf("%04d.status.json", n))
}

// OrderCancel is the file that stops an order.
func (f Folder) OrderCancel(n int32) string { return f.at("orders", fmt.Sprintf("%04d.cancel", n)) }

func (f Folder) at(elem ...string) string {
	return filepath.Join(append([]string{string(f)}, elem...)...)
}

var orderName = regexp.MustCompile(`^(\d{4,})\.json$`)

// LogRules are the rules of its own that the job's first run brings along, as far as its orders can be read. Servers are shared by runs
// whose logging may differ, and start before any of them: the first one's say counts for them.
func (f Folder) LogRules() []api.LogRule {
	numbers, err := f.ListOrders()
	if err != nil {
		return nil
	}
	for _, n := range numbers {
		var o Order
		if ReadJSON(f.Order(n), &o) == nil {
			return o.Logging.Rules
		}
	}
	return nil
}

// ListOrders returns the numbers of the orders written so far, ascending.
func (f Folder) ListOrders() ([]int32, error) {
	entries, err := os.ReadDir(f.Orders())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	var numbers []int32
	for _, e := range entries {
		if m := orderName.FindStringSubmatch(e.Name()); m != nil {
			n, err := strconv.ParseInt(m[1], 10, 32)
			if err == nil {
				numbers = append(numbers, int32(n))
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
