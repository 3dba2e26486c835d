package logs

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// encoder is how a service wants its lines.
type encoder struct {
	contentType string
	// append appends a request's body.
	append func(to []byte, b *batch) []byte
	// refused counts the lines that an answer of success says were not taken; nil when it says nothing.
	refused func(answer []byte) int
}

// format is an encoder to be made with a run's labels, and the path for URLs that have none.
type format struct {
	path   string
	encode func(labels map[string]string) encoder
}

var formats = map[api.ForwardFormat]format{
	// https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
	api.ForwardLoki: {"/loki/api/v1/push", func(labels map[string]string) encoder {
		return encoder{"application/json", func(to []byte, b *batch) []byte { return appendLoki(to, labels, b) }, nil}
	}},
	// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk; data streams take only `create`.
	api.ForwardElasticsearch: {"/benchd/_bulk", func(labels map[string]string) encoder {
		fields := appendFields(nil, labels)
		return encoder{"application/x-ndjson", func(to []byte, b *batch) []byte { return appendBulk(to, fields, b) }, refusedByBulk}
	}},
	// https://docs.fluentbit.io/manual/data-pipeline/inputs/http: the path is the tag.
	api.ForwardFluentBit: {"/benchd", func(labels map[string]string) encoder {
		fields := appendFields(nil, labels)
		return encoder{"application/json", func(to []byte, b *batch) []byte { return appendArray(to, fields, b) }, nil}
	}},
}

// appendFields writes labels as `"name":"value",`.
func appendFields(to []byte, labels map[string]string) []byte {
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		to = append(appendQuoted(append(appendQuoted(to, []byte(name)), ':'), []byte(labels[name])), ',')
	}
	return to
}

// appendLoki groups the lines by what Loki knows streams by.
func appendLoki(to []byte, labels map[string]string, b *batch) []byte {
	type stream struct {
		Source
		stderr bool
		level  Level
	}
	var order []stream
	lines := map[stream][]sentLine{}
	for _, l := range b.lines {
		s := stream{l.Source, l.stderr, l.level}
		if lines[s] == nil {
			order = append(order, s)
		}
		lines[s] = append(lines[s], l)
	}
	to = append(to, `{"streams":[`...)
	for i, s := range order {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(to, `{"stream":{`...)
		to = appendFields(to, labels)
		to = appendSource(to, lines[s][0])
		to = append(to, `},"values":[`...)
		for j, l := range lines[s] {
			if j > 0 {
				to = append(to, ',')
			}
			to = append(strconv.AppendInt(append(to, `["`...), l.at, 10), `",`...)
			to = append(appendQuoted(to, b.textOf(l)), ']')
		}
		to = append(to, `]}`...)
	}
	return append(to, `]}`...)
}

// appendSource writes what is known of a line but its text and time, without a comma at the end.
func appendSource(to []byte, l sentLine) []byte {
	to = appendQuoted(append(to, `"node":`...), []byte(l.Node))
	to = appendQuoted(append(to, `,"component":`...), []byte(l.Component))
	to = appendQuoted(append(to, `,"container":`...), []byte(l.Container))
	to = append(append(append(to, `,"stream":"`...), l.stream()...), '"')
	if l.level != LevelNone {
		to = append(append(append(to, `,"level":"`...), l.level.String()...), '"')
	}
	return to
}

func appendBulk(to, fields []byte, b *batch) []byte {
	var c clock
	for _, l := range b.lines {
		to = append(to, "{\"create\":{}}\n{\"@timestamp\":\""...)
		to = append(append(c.append(to, l.at, 9), `",`...), fields...)
		to = append(appendSource(to, l), `,"message":`...)
		to = append(appendQuoted(to, b.textOf(l)), '}', '\n')
	}
	return to
}

// refusedByBulk counts the items of a bulk answer that have an error.
func refusedByBulk(answer []byte) (refused int) {
	var said struct {
		Errors bool
		Items  []map[string]struct{ Status int }
	}
	if json.Unmarshal(answer, &said) != nil || !said.Errors {
		return 0 // what stands in between may answer anything
	}
	for _, item := range said.Items {
		for _, outcome := range item {
			if outcome.Status >= 300 {
				refused++
			}
		}
	}
	return refused
}

func appendArray(to, fields []byte, b *batch) []byte {
	var c clock
	to = append(to, '[')
	for i, l := range b.lines {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(to, `{"timestamp":"`...)
		to = append(append(c.append(to, l.at, 9), `",`...), fields...)
		to = append(appendSource(to, l), `,"message":`...)
		to = append(appendQuoted(to, b.textOf(l)), '}')
	}
	return append(to, ']')
}
