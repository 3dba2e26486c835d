package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// RunRecord is what a run was carried out with and on: what somebody needs to repeat it, or to find out why another one's numbers
// differ. It stands in the run.lock.yaml of an attempt's folder, beside the exact spec.
type RunRecord struct {
	// Benchd is the version of benchd.
	Benchd string `json:"benchd"`
	// Attempt that the record is of.
	Attempt int32 `json:"attempt"`
	// Time when the record was made.
	Time metav1.Time `json:"time"`
	// Seed that everything random was drawn from.
	Seed int64 `json:"seed"`
	// Cluster and the version of its Slurm.
	Cluster      string `json:"cluster"`
	SlurmVersion string `json:"slurmVersion,omitempty"`
	// Image that the servers ran.
	Image *ImageRecord `json:"image,omitempty"`
	// Servers with their versions and what they were started with; secrets are masked.
	Servers []ServerStatus `json:"servers,omitempty"`
	// Nodes of the job and what they are made of.
	Nodes []NodeRecord `json:"nodes,omitempty"`
	// Job is Slurm's record of the job, in its own words.
	Job map[string]string `json:"job,omitempty"`
}

// ImageRecord identifies a container image.
type ImageRecord struct {
	// Image as the spec names it.
	Image string `json:"image"`
	// Digest of the image: sha256 of a file, or what the runtime's own store says.
	Digest string `json:"digest,omitempty"`
	// Size in bytes and time of the last change of a file.
	Size     int64        `json:"size,omitempty"`
	Modified *metav1.Time `json:"modified,omitempty"`
	// Note says why there is no digest.
	Note string `json:"note,omitempty"`
}

// NodeRecord is one node of a job and what it is made of.
type NodeRecord struct {
	Rank    int32    `json:"rank"`
	Name    string   `json:"name"`
	Address string   `json:"address,omitempty"`
	Roles   []string `json:"roles,omitempty"`
	// CPUs that the agent may use.
	CPUs     int    `json:"cpus,omitempty"`
	CPUModel string `json:"cpuModel,omitempty"`
	// Memory in bytes.
	Memory int64  `json:"memory,omitempty"`
	Kernel string `json:"kernel,omitempty"`
	OS     string `json:"os,omitempty"`
	// GPUs with their driver.
	GPUs []GPURecord `json:"gpus,omitempty"`
	// Env holds the variables of the job that matter to what runs in it; secrets are masked.
	Env map[string]string `json:"env,omitempty"`
}

// GPURecord is one GPU of a node.
type GPURecord struct {
	Name   string `json:"name"`
	Driver string `json:"driver,omitempty"`
	// MemoryMiB in MiB.
	MemoryMiB int64 `json:"memoryMiB,omitempty"`
}
