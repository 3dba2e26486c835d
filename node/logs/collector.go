package logs

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// Collector brings the logs of one run together. The raw logs are there whatever it does: it follows them, and must never hold the
// run up.
type Collector interface {
	// Deploy prepares the outputs. The sources are those that are known to be there; others may come.
	Deploy(sources []Source) error
	// Start begins to collect, in the background.
	Start()
	// Ready says whether every source that Deploy named is being followed.
	Ready() bool
	// Stop ends the collection, makes the outputs final and says what they hold: lines until the given time. It must be called once
	// Deploy was, also when nothing was started.
	Stop(until time.Time) (api.LogSummary, error)
}

// Settings of a collector.
type Settings struct {
	// Root is the folder of the raw logs, NODE/COMPONENT-CONTAINER.log.
	Root string
	// Window of the run, whose end is not known yet.
	Window Window
	// Outputs are files of the run's folder.
	Outputs Outputs
	// FlushInterval is how often what is new is looked for and written.
	FlushInterval time.Duration
	// Forward says where lines are sent to; nil when they are not. Labels go with them.
	Forward *api.ForwardSpec
	Labels  map[string]string
	// Finder is shown every line at the end; nil finds nothing.
	Finder *Finder
	// Log gets what goes wrong.
	Log *slog.Logger
}

// collectors are the types that there are. A new one is a function here and a value of api.Collector.
var collectors = map[api.Collector]func(Settings) (Collector, error){
	api.CollectorTailer:  func(s Settings) (Collector, error) { return newTailer(s), nil },
	api.CollectorForward: func(s Settings) (Collector, error) { return newForwarder(s) },
}

// NewCollector makes a collector of a type. A type that is not known is an error that says which there are.
func NewCollector(kind api.Collector, s Settings) (Collector, error) {
	build, known := collectors[kind]
	if !known {
		var names []string
		for _, k := range slices.Sorted(maps.Keys(collectors)) {
			names = append(names, string(k))
		}
		return nil, fmt.Errorf("log collector %q is not known: use one of %s", kind, strings.Join(names, ", "))
	}
	return build(s)
}
