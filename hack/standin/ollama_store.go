package main

// The models of an Ollama server: files under OLLAMA_MODELS, laid out as the real one's, so that a second server and a
// restarted one find them (sources: see ollama.go).

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// registryHost is the host that errors name. Nothing is ever asked of it.
const registryHost = "registry.example"

// libraryPath is where models without a namespace lie.
var libraryPath = filepath.Join("manifests", "registry.ollama.ai")

// A modelStore is the folder OLLAMA_MODELS.
type modelStore struct{ dir string }

// A storedModel is one of its models.
type storedModel struct {
	name     string
	digest   string
	size     int64
	modified time.Time
}

func (s modelStore) prepare() error {
	for _, sub := range []string{"manifests", "blobs"} {
		if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o755); err != nil {
			return err
		}
	}
	return nil
}

var modelName = regexp.MustCompile(`^(?:([\w][\w.-]*)/)?([\w][\w.-]*)(?::([\w][\w.-]*))?$`)

// parseModel completes a name: library and latest are what is meant where nothing is said.
func parseModel(name string) (namespace, model, tag string, ok bool) {
	m := modelName.FindStringSubmatch(name)
	if m == nil {
		return "", "", "", false
	}
	namespace, model, tag = m[1], m[2], m[3]
	if namespace == "" {
		namespace = "library"
	}
	if tag == "" {
		tag = "latest"
	}
	return namespace, model, tag, true
}

// display is the name as Ollama shows it.
func display(namespace, model, tag string) string {
	name := model + ":" + tag
	if namespace != "library" {
		name = namespace + "/" + name
	}
	return name
}

// find returns the full name of a model that is there.
func (s modelStore) find(name string) (string, bool) {
	namespace, model, tag, ok := parseModel(name)
	if !ok {
		return "", false
	}
	_, err := os.Stat(filepath.Join(s.dir, libraryPath, namespace, model, tag))
	return display(namespace, model, tag), err == nil
}

// list returns the models, newest first.
func (s modelStore) list() []storedModel {
	out := []storedModel{}
	root := filepath.Join(s.dir, libraryPath)
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // what cannot be read is not listed
		}
		rel, err := filepath.Rel(root, path)
		parts := strings.Split(rel, string(filepath.Separator))
		if err != nil || len(parts) != 3 {
			return nil
		}
		data, err := os.ReadFile(path)
		info, statErr := entry.Info()
		var m manifest
		if err == nil && statErr == nil && json.Unmarshal(data, &m) == nil && len(m.Layers) > 0 {
			sum := sha256.Sum256(data)
			out = append(out, storedModel{display(parts[0], parts[1], parts[2]), hex.EncodeToString(sum[:]), m.Layers[0].Size, info.ModTime()})
		}
		return nil
	})
	slices.SortFunc(out, func(a, b storedModel) int { return b.modified.Compare(a.modified) })
	return out
}

// A manifest says what a model is made of.
type manifest struct {
	SchemaVersion int     `json:"schemaVersion"`
	MediaType     string  `json:"mediaType"`
	Config        layer   `json:"config"`
	Layers        []layer `json:"layers"`
}

type layer struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// add stores a model; its weights are a file of its name.
func (s modelStore) add(name, digest string, size int64) error {
	namespace, model, tag, _ := parseModel(name)
	dir := filepath.Join(s.dir, libraryPath, namespace, model)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	blob := filepath.Join(s.dir, "blobs", strings.Replace(digest, ":", "-", 1))
	if err := os.WriteFile(blob, []byte(name+"\n"), 0o644); err != nil {
		return err
	}
	data, err := json.Marshal(manifest{
		SchemaVersion: 2, MediaType: "application/vnd.docker.distribution.manifest.v2+json",
		Config: layer{"application/vnd.docker.container.image.v1+json", digest, 1},
		Layers: []layer{{"application/vnd.ollama.image.model", digest, size}},
	})
	if err != nil {
		return err
	}
	part := filepath.Join(dir, tag+".part") // a pull that is killed leaves no model
	if err := os.WriteFile(part, data, 0o644); err != nil {
		return err
	}
	return os.Rename(part, filepath.Join(dir, tag))
}

var modelDetails = gin{"parent_model": "", "format": "gguf", "family": "llama", "families": []string{"llama"}, "parameter_size": "1.2B", "quantization_level": "Q4_K_M"}

func (o *ollama) tags(w http.ResponseWriter, _ *http.Request) {
	models := []gin{}
	for _, m := range o.store.list() {
		models = append(models, gin{"name": m.name, "model": m.name, "modified_at": m.modified, "size": m.size, "digest": m.digest, "details": modelDetails})
	}
	writeJSON(w, http.StatusOK, gin{"models": models})
}

// named reads a request that is about one model.
func (o *ollama) named(w http.ResponseWriter, r *http.Request) (asked string, stream, ok bool) {
	var req struct {
		Model  string `json:"model"`
		Name   string `json:"name"` // before 0.2
		Stream *bool  `json:"stream"`
	}
	if _, ok := o.read(w, r, &req); !ok {
		return "", false, false
	}
	if req.Model == "" {
		req.Model = req.Name
	}
	return req.Model, req.Stream == nil || *req.Stream, true
}

func (o *ollama) show(w http.ResponseWriter, r *http.Request) {
	asked, _, ok := o.named(w, r)
	switch name, found := o.store.find(asked); {
	case !ok:
	case asked == "":
		o.fail(w, http.StatusBadRequest, "model is required")
	case !found:
		o.fail(w, http.StatusNotFound, "model '%s' not found", asked)
	default:
		writeJSON(w, http.StatusOK, gin{
			"modelfile": "FROM " + name, "parameters": "", "template": "{{ .Prompt }}", "details": modelDetails, "capabilities": []string{"completion"},
			"model_info": gin{"general.architecture": "llama", "llama.context_length": o.knobs.contextLength, "llama.block_count": 16},
		})
	}
}

func (o *ollama) remove(w http.ResponseWriter, r *http.Request) {
	asked, _, ok := o.named(w, r)
	if !ok {
		return
	}
	name, found := o.store.find(asked)
	if !found {
		o.fail(w, http.StatusNotFound, "model '%s' not found", asked)
		return
	}
	namespace, model, tag, _ := parseModel(name)
	if err := os.Remove(filepath.Join(o.store.dir, libraryPath, namespace, model, tag)); err != nil {
		o.fail(w, http.StatusInternalServerError, "%v", err)
	}
	o.sched.expire(name)
}

// pull serves /api/pull: lines of progress, with an error as the last of them. As the first line has gone out by then, its
// status is 200 nevertheless; a request that wants no stream gets a 500.
func (o *ollama) pull(w http.ResponseWriter, r *http.Request) {
	asked, stream, ok := o.named(w, r)
	if !ok {
		return
	}
	namespace, model, tag, valid := parseModel(asked)
	if !valid {
		o.fail(w, http.StatusBadRequest, "invalid model name")
		return
	}
	name := display(namespace, model, tag)
	var last gin
	say := func(line gin) {
		last = line
		if stream {
			if w.Header().Get("Content-Type") == "" {
				w.Header().Set("Content-Type", "application/x-ndjson")
			}
			_ = json.NewEncoder(w).Encode(line)
			_ = http.NewResponseController(w).Flush()
		}
	}
	err := o.download(r.Context(), name, fmt.Sprintf("https://%s/v2/%s/%s/manifests/%s", registryHost, namespace, model, tag), say)
	switch {
	case err != nil && stream:
		say(gin{"error": err.Error()})
	case err != nil:
		o.fail(w, http.StatusInternalServerError, "%v", err)
	case !stream:
		writeJSON(w, http.StatusOK, last)
	}
}

// download fetches a model from the registry that STANDIN_REGISTRY describes.
func (o *ollama) download(ctx context.Context, name, url string, say func(gin)) error {
	say(gin{"status": "pulling manifest"})
	switch k := o.knobs; {
	case k.registry == "online":
	case k.registry == "offline":
		return fmt.Errorf("pull model manifest: Get %q: dial tcp: lookup %s: no such host", url, registryHost)
	case !slices.ContainsFunc(strings.Split(k.registry, ","), func(has string) bool {
		namespace, model, tag, ok := parseModel(strings.TrimSpace(has))
		return ok && display(namespace, model, tag) == name
	}):
		return fmt.Errorf("pull model manifest: file does not exist")
	}
	sum := sha256.Sum256([]byte(name))
	digest := "sha256:" + hex.EncodeToString(sum[:])
	const parts = 4
	size := o.knobs.modelBytes
	for part := range int64(parts + 1) {
		say(gin{"status": "pulling " + digest[7:19], "digest": digest, "total": size, "completed": size * part / parts})
		if part < parts && !sleep(ctx, o.knobs.pull/parts) {
			return ctx.Err()
		}
	}
	say(gin{"status": "verifying sha256 digest"})
	say(gin{"status": "writing manifest"})
	if err := o.store.add(name, digest, size); err != nil {
		return err
	}
	say(gin{"status": "success"})
	return nil
}
