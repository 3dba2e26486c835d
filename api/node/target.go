package node

import "k8s.io/apimachinery/pkg/types"

// Target is a node of a live Allocation whose agent can be asked, and what is to be known of what it tells.
type Target struct {
	Namespace  string
	Allocation string
	// UID is the Allocation's: names come again.
	UID types.UID
	// Cluster and Service are those of the Allocation.
	Cluster string
	Service string
	// Folder is the Allocation's: it holds what the agent is reached with.
	Folder Folder
	// Node is its name, Roles what it does, Host where its agent listens, as host:port.
	Node  string
	Roles []string
	Host  string
	// Run is the uid of the run that the job is at, or was at last; empty before the first.
	Run string
	// Runs are the names of the Allocation's runs by their uids, as far as they are known: a client goes on showing what it measured
	// last until the next load begins.
	Runs map[string]string
}
