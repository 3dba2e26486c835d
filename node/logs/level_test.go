package logs

import (
	"strings"
	"testing"
)

func TestLevelOf(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]Level{
		// vLLM, with and without the process that it names.
		"INFO 01-02 12:00:00 [loggers.py:127] Engine 000: Avg prompt throughput: 51.2 tokens/s":         LevelInfo,
		"(EngineCore_DP0 pid=18235) ERROR 12-04 11:46:32 [core.py:843] EngineCore failed to start.":     LevelError,
		"(RayWorkerWrapper pid=206994, ip=192.168.10.25) WARNING 03-27 10:29:13 [worker_base.py:620] x": LevelWarning,
		"DEBUG 02-19 15:14:55 [parallel_state.py:179] world_size=3 rank=2":                              LevelDebug,
		"INFO:     127.0.0.1:51234 - \"GET /health HTTP/1.1\" 200 OK":                                   LevelInfo,
		"vllm: error: unrecognized arguments: --x":                                                      LevelError,
		// Python's logging, in the format that most choose.
		"2026-01-02 12:00:00,123 - vllm.engine - CRITICAL - out of everything":    LevelFatal,
		"2022-08-11 17:52:21,412 WARNING worker.py:1799 -- The node with node id": LevelWarning,
		"WARNING:root:something": LevelWarning,
		// slog, Ollama.
		`time=2025-07-23T23:34:46.457+08:00 level=WARN source=gpu.go:434 msg="error looking up nvidia GPU memory"`: LevelWarning,
		`time=2026-11-26T16:22:44.779Z level=INFO msg="agent is up" node=node001`:                                  LevelInfo,
		`level=ERROR+2 msg=x`: LevelError,
		`level="debug" msg=x`: LevelDebug,
		`2025/02/20 12:27:43 routes.go:1186: INFO server config env="map[x]"`:        LevelInfo,
		"[GIN] 2025/02/20 - 12:27:43 | 200 |  1.2ms | 127.0.0.1 | GET \"/api/tags\"": LevelNone,
		// klog, glog, Triton.
		"E0102 12:00:00.123456       1 server.cc:281] failed to load": LevelError,
		"I0102 12:00:00.123456       1 server.cc:281] ok":             LevelInfo,
		"E0102 is a road": LevelNone,
		// JSON of many loggers.
		`{"time":"2026-01-02T12:00:00Z","level":"error","msg":"x"}`: LevelError,
		`{"severity": "FATAL", "source_type":"RAYLET"}`:             LevelFatal,
		`{"level":30,"msg":"pino says info with 30"}`:               LevelWarning, // as Python counts; a number alone does not tell
		`{"levelname":"INFO"}`:                                      LevelInfo,
		`{"message":"level of service"}`:                            LevelNone,
		`{"level":1000}`:                                            LevelNone,
		// NCCL, PyTorch, Ray.
		"mel2109:1234:1250 [0] NCCL WARN Cuda failure 'out of memory'":                                         LevelWarning,
		"mel2109:1234:1250 [0] NCCL INFO Bootstrap : Using ib0":                                                LevelInfo,
		"[rank0]:[W914 04:53:45.615225908 ProcessGroupNCCL.cpp:1476] Warning: destroy_process_group() was not": LevelWarning,
		"[rank1]:[E ProcessGroupNCCL.cpp:537] Some NCCL operations have failed or timed out.":                  LevelError,
		"[2022-09-16 13:13:46,502 C 2116 2116] (raylet) node_manager.cc:999: [Timeout] Exiting":                LevelFatal,
		"[2022-02-16 12:45:44,562 I 149 149] node_manager.cc:620: Sending Python GC request":                   LevelInfo,
		"[01/02/2026-12:00:00] [TRT-LLM] [E] Failed":                                                           LevelError,
		// apptainer, Slurm, llama.cpp.
		"FATAL:   container creation failed: mount hook function failure":    LevelFatal,
		"WARNING: While bind mounting '/scratch:/scratch'":                   LevelWarning,
		"slurmstepd: error: Detected 1 oom_kill event in StepId=11300781.0.": LevelError,
		"srun: error: nid001277: tasks 1-3: Out Of Memory":                   LevelError,
		"llama_model_load: error loading model: unknown":                     LevelNone,
		// Programs that write it as a word of its own.
		"Error: pull model manifest: file does not exist":                             LevelError,
		"Warning: could not connect to a running instance":                            LevelWarning,
		"Error: ServerExited: exit status 3; its last lines: INFO answered: 0 reqs/s": LevelError,
		"/opt/x.py:12: Warning: this will be removed":                                 LevelWarning,
		"Error handling was improved: see the notes":                                  LevelNone,
		"we found in the last of all places Error: of a quote":                        LevelNone,
		// What says nothing.
		"": LevelNone,
		"Loading safetensors checkpoint shards: 100%":     LevelNone,
		"the information desk of INFORMATION":             LevelNone,
		"we saw an ERRORS page":                           LevelNone,
		"A level= of its own":                             LevelNone,
		"I have 3 cats":                                   LevelNone,
		"Traceback (most recent call last):":              LevelNone,
		"tokenizer error: see below, an error: of course": LevelError,
		strings.Repeat("x ", 200) + "ERROR":               LevelNone,
	} {
		if got := LevelOf([]byte(line)); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func TestParseLevel(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Level{"WARN": LevelWarning, "warning": LevelWarning, "Error": LevelError, "critical": LevelFatal, "trace": LevelDebug} {
		if got, err := ParseLevel(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "loud", "information", "inf"} {
		if got, err := ParseLevel(text); err == nil || !strings.Contains(err.Error(), "debug, info, warning, error, fatal") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func FuzzLevelOf(f *testing.F) {
	for _, line := range []string{"INFO x", "[E x", "E0102 12:00:00", `{"level":30`, "level=", "[2022-02-16 12:45:44,562 I 149 149]", "error:", "\xff"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if l := LevelOf(line); l >= levels {
			t.Errorf("%q: level %d", line, l)
		}
	})
}
