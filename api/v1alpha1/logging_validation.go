package v1alpha1

import (
	"errors"
	"net/url"
	"path"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// LogsReadyFile is the file beside a run's logs that says when the collector followed every log.
const LogsReadyFile = "loggers_ready"

const (
	// maxLogRules bounds the rules of one's own, maxPatterns the patterns of one: every line is held against them.
	maxLogRules = 100
	maxPatterns = 20
	// maxLogLabels bounds the labels that are sent with every line; log services keep an index of them.
	maxLogLabels = 15
)

var (
	collectorTypes = []Collector{CollectorTailer, CollectorForward}
	forwardFormats = []ForwardFormat{ForwardLoki, ForwardElasticsearch, ForwardFluentBit}
	logComponents  = []string{"server", "client", "monitor", "agent", "job"}
	labelName      = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	ruleName       = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,62}$`)
)

func validateLogging(l *LoggingSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !slices.Contains(collectorTypes, l.Type) {
		errs = append(errs, field.NotSupported(at.Child("type"), clip(l.Type), collectorTypes))
	}
	errs = append(errs, validateDuration(l.FlushInterval, 100*time.Millisecond, time.Hour, at.Child("flushInterval"))...)
	outputs := at.Child("outputs")
	seen := map[string]bool{}
	for _, f := range []struct{ name, value string }{
		{"stdout", l.Outputs.Stdout}, {"stderr", l.Outputs.Stderr}, {"aggregated", l.Outputs.Aggregated},
	} {
		errs = append(errs, validateFileName(f.value, outputs.Child(f.name))...)
		switch {
		case f.value == LogsReadyFile:
			errs = append(errs, field.Invalid(outputs.Child(f.name), f.value, "the collector writes this file itself: use another name"))
		case strings.HasSuffix(f.value, ".gz"): // such a name stands for the compressed form of another
			errs = append(errs, field.Invalid(outputs.Child(f.name), clip(f.value), "leave .gz out: logging.compress adds it"))
		}
		if seen[f.value] {
			errs = append(errs, field.Duplicate(outputs.Child(f.name), f.value))
		}
		seen[f.value] = true
	}
	switch {
	case l.Type == CollectorForward && l.Forward == nil:
		errs = append(errs, field.Required(at.Child("forward"), "say where lines are sent to: url and format"))
	case l.Type != CollectorForward && l.Forward != nil:
		errs = append(errs, field.Invalid(at.Child("type"), clip(l.Type), "lines are sent to logging.forward by type forward alone: use it, or leave logging.forward out"))
	}
	if l.Forward != nil {
		errs = append(errs, validateForward(l.Forward, at.Child("forward"))...)
	}
	return append(errs, ValidateLogRules(l.Rules, at.Child("rules"))...)
}

const passwordInURL = "a password in a URL would be stored and shown: put `Basic` and the base64 of user:password into a file, and name it in authorizationFile"

func validateAuthorizationFile(file string, at *field.Path) field.ErrorList {
	if file != "" && !path.IsAbs(file) { // what stands there may be the secret: it is not repeated
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "use the absolute path of a file of mode 0600, which the nodes see too; not the secret itself")}
	}
	return nil
}

func validateForward(f *ForwardSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	u, err := url.Parse(f.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		errs = append(errs, field.Invalid(at.Child("url"), clip(f.URL), "use a URL such as http://loki:3100"))
	case u.User != nil:
		errs = append(errs, field.Invalid(at.Child("url"), clip(u.Redacted()), passwordInURL))
	}
	errs = append(errs, validateAuthorizationFile(f.AuthorizationFile, at.Child("authorizationFile"))...)
	if !slices.Contains(forwardFormats, f.Format) {
		errs = append(errs, field.NotSupported(at.Child("format"), clip(f.Format), forwardFormats))
	}
	if len(f.Labels) > maxLogLabels {
		errs = append(errs, field.TooMany(at.Child("labels"), len(f.Labels), maxLogLabels))
	}
	for _, name := range sortedNames(f.Labels) {
		to := at.Child("labels").Key(clip(name))
		switch {
		case !labelName.MatchString(name):
			errs = append(errs, field.Invalid(to, clip(name), "use letters, digits and underscores"))
		case slices.Contains([]string{"run", "namespace", "node", "component", "container", "stream", "level", "message", "timestamp"}, name):
			errs = append(errs, field.Invalid(to, clip(name), "benchd sets this label itself: use another name"))
		}
	}
	return errs
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ValidateLogRules reports what is wrong with rules that find failures in logs: each error has its rule's place, and says of a regular
// expression where it goes wrong.
func ValidateLogRules(rules []LogRule, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(rules) > maxLogRules {
		errs = append(errs, field.TooMany(at, len(rules), maxLogRules))
	}
	names := map[string]bool{}
	for i := range rules {
		r, here := &rules[i], at.Index(i)
		if !ruleName.MatchString(r.Name) {
			errs = append(errs, field.Invalid(here.Child("name"), clip(r.Name), "use a word in CamelCase, such as CUDAOutOfMemory"))
		}
		if names[r.Name] {
			errs = append(errs, field.Duplicate(here.Child("name"), clip(r.Name)))
		}
		names[r.Name] = true
		errs = append(errs, validateLogRule(r, here)...)
	}
	return errs
}

// wrongPattern says what is wrong with a regular expression, and of one in Perl's syntax what Go's does not have.
func wrongPattern(err error) string {
	var wrong *syntax.Error
	if errors.As(err, &wrong) && (wrong.Code == syntax.ErrInvalidPerlOp || wrong.Code == syntax.ErrInvalidEscape) {
		return clip(err.Error()) + ": Go's syntax (RE2) has no lookahead and no backreferences"
	}
	return clip(err.Error())
}

func validateLogRule(r *LogRule, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Patterns) == 0 {
		errs = append(errs, field.Required(at.Child("patterns"), "a rule needs a regular expression"))
	}
	if len(r.Patterns) > maxPatterns {
		errs = append(errs, field.TooMany(at.Child("patterns"), len(r.Patterns), maxPatterns))
	}
	for i, pattern := range r.Patterns {
		re, err := regexp.Compile(pattern)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(at.Child("patterns").Index(i), clip(pattern), wrongPattern(err)))
		case re.MatchString(""):
			errs = append(errs, field.Invalid(at.Child("patterns").Index(i), clip(pattern), "it matches every line: say more"))
		}
	}
	for i, component := range r.Components {
		if !slices.Contains(logComponents, component) {
			errs = append(errs, field.NotSupported(at.Child("components").Index(i), clip(component), logComponents))
		}
	}
	for _, f := range []struct {
		name, value string
		known       []string
	}{
		{"stream", r.Stream, []string{"out", "err"}},
		{"severity", r.Severity, []string{"error", "warning"}},
		{"class", string(r.Class), []string{string(FailureUser), string(FailureService), string(FailureInfrastructure)}},
	} {
		if f.value != "" && !slices.Contains(f.known, f.value) {
			errs = append(errs, field.NotSupported(at.Child(f.name), clip(f.value), f.known))
		}
	}
	if r.Class != "" && r.Severity == "warning" {
		errs = append(errs, field.Invalid(at.Child("class"), r.Class, "a warning explains no failure: leave class out, or make it severity error"))
	}
	for name, value := range map[string]string{"meaning": r.Meaning, "nextStep": r.NextStep} {
		if value == "" {
			errs = append(errs, field.Required(at.Child(name), "say it in a sentence: it stands in messages and reports"))
		}
	}
	return errs
}
