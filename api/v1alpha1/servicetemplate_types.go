package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ServiceTemplate is an inference service declared without Go. Runs use it by its name; what it says when a run is applied
// is copied into the run, so a later change touches no run that is there.
type ServiceTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec is what the service is like.
	Spec ServiceTemplateSpec `json:"spec"`
}

// ServiceTemplateSpec is what a declared service is like. In command and env, $(NAME) stands for a value of the launch:
// $(model), $(address), $(port), $(gpus) (how many), $(replica), $(logs) (a folder of the node), $(benchd) (benchd itself) and
// $(config.KEY) of the run's service.config; in env also $(apiKey). $$(…) is a literal $(…).
type ServiceTemplateSpec struct {
	// Summary says in a line what the service is.
	Summary string `json:"summary,omitempty"`
	// Command is the argument list that starts a server; the run's service.args follow it. No shell is involved.
	Command []string `json:"command"`
	// Env is added to the server's environment.
	Env map[string]string `json:"env,omitempty"`
	// Port that the first server of a node listens on.
	Port int32 `json:"port"`
	// HealthPath answers 200 once a server is ready.
	HealthPath string `json:"healthPath"`
	// API is the request format that a run uses when it names none.
	API API `json:"api,omitempty"`
	// Model that is served when a run names none.
	Model string `json:"model,omitempty"`
	// Image that is run when a run names a container runtime and no image.
	Image string `json:"image,omitempty"`
	// VersionPath answers a JSON object whose `version` is the server's.
	VersionPath string `json:"versionPath,omitempty"`
	// MetricsPath answers the server's own metrics in Prometheus' format.
	MetricsPath string `json:"metricsPath,omitempty"`
}
