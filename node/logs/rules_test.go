package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"pgregory.net/rapid"

	api "github.com/benchd/benchd/api/v1alpha1"
)

// printed are lines that programs print: for each rule such that match it, and near ones that must not match any rule.
var printed = map[string]struct{ hits, misses []string }{
	"ModelAccessRefused": {
		[]string{
			"Cannot access gated repo for url https://huggingface.co/google/gemma-2-2b-it/resolve/main/config.json.",
			"Access to model google/gemma-2-2b-it is restricted. You must have access to it and be authenticated to access it. Please log in.",
			"OSError: You are trying to access a gated repo.",
			"requests.exceptions.HTTPError: 403 Client Error: Forbidden for url: https://huggingface.co/api/models/x",
		},
		[]string{"Access to model registry is fast", "404 Client Error: Not Found for url: https://huggingface.co/api/models/x"},
	},
	"LicenceNotAccepted": {
		[]string{"ERROR: you must accept the license agreement to use this container"},
		[]string{"you must accept connections on port 8000", "the license was accepted"},
	},
	"ModelNotFound": {
		[]string{
			"OSError: mistrl/Mistral-7B is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'",
			"Repository Not Found for url: https://huggingface.co/Qwen/Qwen3.5-27B-AWQ/resolve/main/config.json.",
			`time=2025-01-01T00:00:00Z level=ERROR msg="pull model manifest: file does not exist"`,
			"OSError: /models/llama does not appear to have a file named config.json. Checkout ...",
			"gguf_init_from_file: failed to open GGUF file '/models/x.gguf'",
		},
		[]string{"Repository found", "/models/llama has a file named config.json"},
	},
	"ModelHubUnreachable": {
		[]string{
			`(Caused by NameResolutionError("<urllib3.connection.HTTPSConnection object>: Failed to resolve 'huggingface.co' ([Errno -3] Temporary failure in name resolution)"))`,
			"OSError: We couldn't connect to 'https://huggingface.co' to load the files",
			"huggingface_hub.utils._http.OfflineModeIsEnabled: Cannot reach https://huggingface.co/api/models/bigcode/starcoder: offline mode is enabled. To disable it",
			`Error: pull model manifest: Get "https://registry.ollama.ai/v2/library/llama3/manifests/8b": dial tcp 104.21.75.227:443: i/o timeout`,
		},
		[]string{"Failed to resolve 'weights' to a tensor", "GET https://registry.ollama.ai/v2/library/llama3/manifests/8b 200"},
	},
	"GPUMemoryTaken": {
		[]string{"ValueError: Free memory on device (10.1/23.6 GiB) on startup is less than desired GPU memory utilization (0.9, 21.3 GiB). Decrease GPU memory utilization"},
		[]string{"Free memory on device 0 is 23.6 GiB", "less than desired GPU memory"},
	},
	"KVCacheTooSmall": {
		[]string{
			"ValueError: The model's max seq len (4096) is larger than the maximum number of tokens that can be stored in KV cache (3664). Try increasing `gpu_memory_utilization`",
			"ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
			"ValueError: To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is needed, which is larger than the available KV cache memory (9.5 GiB).",
		},
		[]string{"INFO 01-02 12:00:00 GPU KV cache size: 131,072 tokens", "max seq len (4096)"},
	},
	"MaxModelLenTooLarge": {
		[]string{"ValueError: User-specified max_model_len (65536) is greater than the derived max_model_len (max_position_embeddings=4096 or model_max_length=None in model's config.json)."},
		[]string{"max_model_len (4096)"},
	},
	"CUDAOutOfMemory": {
		[]string{
			"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 350.00 MiB. GPU 0 has a total capacity of 23.68 GiB of which 212.81 MiB is free.",
			"Error: llama runner process: CUDA error: out of memory",
			"ggml_backend_cuda_buffer_type_alloc_buffer: allocating 8192.00 MiB on device 0: cudaMalloc failed: out of memory",
			"RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
		},
		[]string{"PYTORCH_CUDA_ALLOC_CONF avoids out of memory", "CUDA graphs can take additional 1~3 GiB memory per GPU", "cudaMalloc took 3 ms"},
	},
	"GPUFault": {
		[]string{
			"RuntimeError: CUDA error: uncorrectable ECC error encountered",
			"NVRM: Xid (PCI:0000:c1:00): 79, pid=1234, GPU has fallen off the bus.",
			"Unable to determine the device handle for GPU 0000:01:00.0: Unknown Error",
		},
		[]string{"ECC errors: 0 uncorrectable", "the bus has fallen silent"},
	},
	"DriverLibraryMismatch": {
		[]string{"Failed to initialize NVML: Driver/library version mismatch"},
		[]string{"Driver Version: 550.120 CUDA Version: 12.4", "library version mismatch of numpy"},
	},
	"DriverTooOld": {
		[]string{
			"RuntimeError: CUDA driver version is insufficient for CUDA runtime version",
			"RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
		},
		[]string{"CUDA driver version is 12.4", "The NVIDIA driver on your system is new"},
	},
	"NoGPUSeen": {
		[]string{
			"RuntimeError: No CUDA GPUs are available",
			"RuntimeError: Failed to infer device type",
			"INFO:    Could not find any nv files on this host!",
			"RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
			"CUDA error: no CUDA-capable device is detected",
		},
		[]string{"4 CUDA GPUs are available", "INFO 01-02 12:00:00 Automatically detected platform cuda."},
	},
	"GPUNotUsed": {
		[]string{
			`time=2025-03-13T10:51:52.727+08:00 level=INFO source=gpu.go:377 msg="no compatible GPUs were discovered"`,
			`time=2025-03-13T10:51:52.727+08:00 level=INFO source=types.go:130 msg="inference compute" id=0 library=cpu variant=avx2`,
			`level=DEBUG source=memory.go:351 msg="insufficient VRAM to load any model layers"`,
		},
		[]string{`msg="inference compute" id=GPU-a1c8 library=cuda variant=v12`},
	},
	"UnsupportedGPU": {
		[]string{
			"RuntimeError: CUDA error: no kernel image is available for execution on the device",
			"NVIDIA GeForce RTX 5090 with CUDA capability sm_120 is not compatible with the current PyTorch installation.",
		},
		[]string{"kernel image loaded", "the device is compatible with the current PyTorch installation"},
	},
	"UnsupportedDataType": {
		[]string{
			"ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has compute capability 7.5.",
			"ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 89. Current capability: 80.",
		},
		[]string{"dtype=torch.bfloat16, max_seq_len=131072", "The quantization method fp8 is supported"},
	},
	"UnsupportedArchitecture": {
		[]string{
			"ValueError: Model architectures ['NewLMForCausalLM'] are not supported for now. Supported architectures: [...]",
			"error loading model architecture: unknown model architecture: 'newlm'",
			"The checkpoint you are trying to load has model type `x` but Transformers does not recognize this architecture.",
		},
		[]string{"Resolved architecture: LlamaForCausalLM", "architectures ['LlamaForCausalLM']"},
	},
	"ParallelSizeMismatch": {
		[]string{"ValueError: Total number of attention heads (40) must be divisible by tensor parallel size (16)."},
		[]string{"tensor parallel size 4", "attention heads (40)"},
	},
	"UnknownOption": {
		[]string{
			"vllm: error: unrecognized arguments: --max-model-length 7",
			"error: unexpected argument '--foo' found",
			"sglang serve: error: argument --tp: invalid int value: 'x'",
		},
		[]string{"INFO args: Namespace(port=8000)", "the arguments are recognized"},
	},
	"PortInUse": {
		[]string{
			"OSError: [Errno 98] Address already in use",
			"Error: listen tcp 127.0.0.1:11434: bind: address already in use",
			"ERROR: [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use",
		},
		[]string{"the address is in use by us", "port 8000 is used"},
	},
	"CollectiveTimeout": {
		[]string{"[Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=4, OpType=BROADCAST, NumelIn=112, Timeout(ms)=1800000) ran for 1800011 milliseconds before timing out."},
		[]string{"watchdog started", "collective operation ran for 3 ms"},
	},
	"DistributedTimeout": {
		[]string{
			"torch.distributed.DistNetworkError: The client socket has timed out after 600000ms while trying to connect to (172.17.0.9, 46229).",
			"torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined.",
			"torch.distributed.DistStoreError: Socket Timeout",
		},
		[]string{"the client socket is connected", "waiting for clients"},
	},
	"NCCLError": {
		[]string{
			"torch.distributed.DistBackendError: NCCL error in: /pytorch/torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:317, unhandled system error",
			"ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.",
			"RuntimeError: NCCL error: unhandled cuda error",
		},
		[]string{"INFO vLLM is using nccl==2.27.3", "NCCL INFO no error"},
	},
	"NCCLWarning": {
		[]string{"mel2109:1234:1250 [0] misc/ibvwrap.cc:66 NCCL WARN Call to ibv_open_device failed"},
		[]string{"mel2109:1234:1250 [0] NCCL INFO Bootstrap : Using ib0:10.0.0.1<0>"},
	},
	"RayGCSUnreachable": {
		[]string{
			"ConnectionError: Failed to connect to GCS at address 10.0.0.1:6379 within 5 seconds.",
			"RuntimeError: Timed out while waiting for GCS to become available.",
		},
		[]string{"Connected to GCS at 10.0.0.1:6379", "GCS server started"},
	},
	"RayNoResources": {
		[]string{"ValueError: Cannot provide a placement group requiring 8.0 GPUs within 1800 seconds."},
		[]string{"a placement group of 8 GPUs"},
	},
	"RayWorkerLost": {
		[]string{
			"ray.exceptions.WorkerCrashedError: The worker died unexpectedly while executing this task.",
			"The node with node id: 510c08 and address: 10.0.3.192 has been marked dead because the detector has missed too many heartbeats from it.",
			"ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.",
		},
		[]string{"a worker has joined", "the heartbeats are fine"},
	},
	"RayMemoryPressure": {
		[]string{
			"ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
			"(raylet) 3 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed due to other reasons at node",
		},
		[]string{"memory pressure is low", "the node is running low"},
	},
	"OutOfMemoryKilled": {
		[]string{
			"slurmstepd: error: Detected 1 oom_kill event in StepId=11300781.0. Some of the step tasks have been OOM Killed.",
			"slurmstepd: error: Detected 1 oom-kill event(s) in step 3495064.0 cgroup. Some of your processes may have been killed by the cgroup out-of-memory handler.",
			"srun: error: sdumont6156: task 0: Out Of Memory",
		},
		[]string{"oom_kill_disable 0", "task 0: exited"},
	},
	"HostMemoryTooSmall": {
		[]string{
			`level=WARN msg="model requires more system memory (48.2 GiB) than is available (15.3 GiB)"`,
			"terminate called after throwing an instance of 'std::bad_alloc'",
			"RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 1073741824 bytes.",
		},
		[]string{"system memory total=95.6 GiB", "allocate memory for 3 tensors"},
	},
	"SharedMemoryTooSmall": {
		[]string{
			"ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
			"RuntimeError: unable to open shared memory object </torch_1234> in read-write mode: No space left on device (28)",
		},
		[]string{"shared memory of 64 GiB"},
	},
	"DiskQuotaExceeded": {
		[]string{"OSError: [Errno 122] Disk quota exceeded: '/home/u/.cache/huggingface/hub'"},
		[]string{"quota: 10% of the disk is used"},
	},
	"DiskFull": {
		[]string{"OSError: [Errno 28] No space left on device: '/tmp/x'", "write /scratch/x: no space left on device"},
		[]string{"space left on device: 10 GiB"},
	},
	"FolderNotWritable": {
		[]string{"PermissionError: [Errno 13] Permission denied: '/root/.cache'", "OSError: [Errno 30] Read-only file system: '/.cache'"},
		[]string{"Permission granted"},
	},
	"ContainerImageDamaged": {
		[]string{
			"FATAL:   container creation failed: mount hook function failure: mount /proc/self/fd/3, kernel reported a bad superblock for squashfs image partition",
			"FATAL:   container creation failed: squashfuse_ll exited with status 255: Something went wrong trying to read the squashfs image.",
		},
		[]string{"squashfs image of 8 GiB"},
	},
	"ContainerImageMissing": {
		[]string{"FATAL:   could not open image /project/vllm.sif: failed to retrieve path for /project/vllm.sif: lstat /project/vllm.sif: no such file or directory"},
		[]string{"INFO: opened image /project/vllm.sif"},
	},
	"FakerootMissing": {
		[]string{
			"FATAL:   could not use fakeroot: no mapping entry found in /etc/subuid for user",
			"fakeroot: error while starting the `faked' daemon.",
			"FATAL: newuidmap was not found in PATH",
		},
		[]string{"INFO:    User not listed in /etc/subuid, trying root-mapped namespace"},
	},
	"ContainerMountFailed": {
		[]string{
			"FATAL:   container creation failed: mount /proc/self/fd/3->/var/apptainer/mnt/session/rootfs error: while mounting image /proc/self/fd/3: squashfuse_ll exited with status 1: fuse: failed to exec fusermount3: No such file or directory",
			"fusermount3: mount failed: Operation not permitted",
		},
		[]string{"INFO:    Mounting image with squashfuse", "container created"},
	},
	"GLIBCTooOld": {
		[]string{
			"/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by /.singularity.d/libs/libGLX.so.0)",
			"ImportError: libstdc++.so.6: version `GLIBCXX_3.4.30' not found",
		},
		[]string{"ldd (Ubuntu GLIBC 2.35-0ubuntu3.8) 2.35"},
	},
	"SharedLibraryMissing": {
		[]string{
			"python3: error while loading shared libraries: libcudart.so.12: cannot open shared object file: No such file or directory",
			"ImportError: libcudart.so.12: cannot open shared object file: No such file or directory",
		},
		[]string{"loading shared libraries"},
	},
	"CompilerMissing": {
		[]string{"RuntimeError: Failed to find C compiler. Please specify via CC environment variable.", "/tmp/x/main.c:5:10: fatal error: Python.h: No such file or directory"},
		[]string{"found C compiler gcc"},
	},
	"IllegalInstruction": {
		[]string{"bash: line 1: 1234 Illegal instruction     (core dumped)", "SIGILL: illegal instruction"},
		[]string{"an illegal instruction in the prompt is answered with 400"},
	},
	"TooManyOpenFiles": {
		[]string{"OSError: [Errno 24] Too many open files", "accept tcp: accept4: too many open files"},
		[]string{"too many requests"},
	},
	"IllegalMemoryAccess": {
		[]string{"RuntimeError: CUDA error: an illegal memory access was encountered", "/pytorch/aten/src/ATen/native/cuda/Indexing.cu:1290: block: [0,0,0] device-side assert triggered"},
		[]string{"memory access is fast"},
	},
	"RunnerTerminated": {
		[]string{"Error: llama runner process has terminated: exit status 2"},
		[]string{"llama runner started in 1.5 seconds"},
	},
	"SegmentationFault": {
		[]string{"!!!!!!! Segfault encountered !!!!!!! Segmentation fault (core dumped)", "SIGSEGV: segmentation violation"},
		[]string{"the segmentation model is loaded"},
	},
	"KVCachePressure": {
		[]string{"WARNING 01-02 12:00:00 scheduler.py:1481] Sequence group cmpl-1 is preempted by PreemptionMode.RECOMPUTE mode because there is not enough KV cache space."},
		[]string{"the job was preempted"},
	},
}

// finder returns one that has looked at lines of a server.
func finder(t testing.TB, own []api.LogRule, lines ...string) *Finder {
	t.Helper()
	f, err := NewFinder(own)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		f.Look(Source{"n1", "server", "vllm-0"}, noon.Add(time.Duration(i)*time.Second).UnixNano(), true, []byte(line))
	}
	return f
}

func rulesIn(found []api.LogFinding) []string {
	var names []string
	for _, f := range found {
		names = append(names, f.Rule)
	}
	return names
}

func TestBuiltinRules(t *testing.T) {
	t.Parallel()
	rules, err := Rules(nil)
	if err != nil {
		t.Fatal(err)
	}
	if errs := api.ValidateLogRules(rules, field.NewPath("rules")); len(errs) > 0 {
		t.Fatalf("the rules themselves: %v", errs.ToAggregate())
	}
	seen := map[string]bool{}
	for _, r := range rules {
		lines, there := printed[r.Name]
		if !there || len(lines.hits) == 0 || len(lines.misses) == 0 {
			t.Errorf("%s: no lines that match and nearly match", r.Name)
			continue
		}
		seen[r.Name] = true
		for _, pattern := range r.Patterns {
			if wordsOf(pattern) == nil {
				t.Errorf("%s: %q has no word of its own, so it is tried on every line", r.Name, pattern)
			}
		}
		for _, line := range lines.hits {
			f := finder(t, nil, line)
			if got := rulesIn(f.Findings()); !slices.Contains(got, r.Name) {
				t.Errorf("%s does not find %q; %v do", r.Name, line, got)
			}
			cause, _ := f.Cause()
			if r.Class != "" && (cause == nil || cause.Name != r.Name) {
				t.Errorf("%s is not what explains %q, but %+v is", r.Name, line, cause)
			}
			if r.Class == "" && cause != nil {
				t.Errorf("%s explains %q, of which %s only warns", cause.Name, line, r.Name)
			}
		}
		for _, line := range lines.misses {
			if got := rulesIn(finder(t, nil, line).Findings()); len(got) > 0 {
				t.Errorf("%q is found by %v", line, got)
			}
		}
	}
	for name := range printed {
		if !seen[name] {
			t.Errorf("lines of %s, which is no rule", name)
		}
	}
}

// What a server prints when all is well must find nothing.
func TestQuietLogsFindNothing(t *testing.T) {
	t.Parallel()
	f := finder(t, nil,
		"INFO 06-01 22:03:08 [api_server.py:1289] vLLM API server version 0.9.0.1",
		"INFO 06-01 22:03:08 [cli_args.py:300] non-default args: {'port': 8001, 'model': 'meta-llama/Llama-2-7b-hf', 'disable_log_requests': True}",
		"INFO 06-01 22:03:23 [__init__.py:243] Automatically detected platform cuda.",
		"INFO 06-01 22:03:30 [parallel_state.py:1004] rank 0 in world size 1 is assigned as DP rank 0, PP rank 0, TP rank 0",
		"INFO 06-01 22:04:01 [kv_cache_utils.py:634] GPU KV cache size: 342,160 tokens",
		"INFO 06-01 22:04:01 [gpu_model_runner.py:1600] Graph capturing finished in 20 secs, took 0.52 GiB",
		"(APIServer pid=1) INFO:     Application startup complete.",
		`time=2025-03-13T10:51:52.727+08:00 level=INFO source=types.go:130 msg="inference compute" id=GPU-1 library=cuda variant=v12 compute=8.0 driver=12.4 name="NVIDIA A100-SXM4-40GB" total="39.4 GiB" available="38.9 GiB"`,
		"2026-01-02 12:00:00,123 INFO usage_lib.py:467 -- Usage stats collection is enabled by default",
		"Ray runtime started.",
		"[rank0]:[W914 04:53:45.615225908 ProcessGroupNCCL.cpp:1476] Warning: WARNING: destroy_process_group() was not called before program exit, which can leak resources.",
		"I0102 12:00:00.123456 1 grpc_server.cc:2466] \"Started GRPCInferenceService at 0.0.0.0:8001\"",
	)
	if found := f.Findings(); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	long := "CUDA out of memory " + strings.Repeat("é", evidenceBytes)
	f := finder(t, nil, "x NCCL WARN a", "CUDA out of memory 1", "nothing", "CUDA out of memory 2", long, "CUDA out of memory 4", "bind: address already in use")
	f.Look(Source{"n0", "server", "vllm-1"}, noon.Add(-time.Second).UnixNano(), false, []byte("CUDA out of memory, earlier"))
	found := f.Findings()
	if diff := cmp.Diff([]string{"CUDAOutOfMemory", "PortInUse", "NCCLWarning"}, rulesIn(found)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	first := found[0]
	if first.Count != 5 || first.Node != "n0" || first.Component != "server" || !first.At.Time.Equal(noon.Add(-time.Second)) || first.Severity != "error" {
		t.Errorf("%+v", first)
	}
	if len(first.Lines) != 3 || first.Lines[0] != "CUDA out of memory 1" || len(first.Lines[2]) > evidenceBytes+3 || !strings.HasSuffix(first.Lines[2], "…") {
		t.Errorf("evidence %q", first.Lines)
	}
	if found[2].Severity != "warning" {
		t.Errorf("%+v", found[2])
	}
}

func TestOwnRules(t *testing.T) {
	t.Parallel()
	own := []api.LogRule{
		{Name: "LicenceServerAway", Patterns: []string{`lmgrd.*refused`, `(?i)x`}, Components: []string{"server"}, Stream: "err", Class: api.FailureInfrastructure, Meaning: "m", NextStep: "n"},
		{Name: "CUDAOutOfMemory", Patterns: []string{"^OOM$"}, Severity: "warning", Meaning: "mine", NextStep: "n"},
	}
	f := finder(t, own, "lmgrd: connection refused", "CUDA out of memory", "OOM", "bind: address already in use")
	if diff := cmp.Diff([]string{"LicenceServerAway", "PortInUse", "CUDAOutOfMemory"}, rulesIn(f.Findings())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if cause, found := f.Cause(); cause == nil || cause.Name != "LicenceServerAway" || found.Count != 1 {
		t.Errorf("one's own rule does not come first: %+v", cause)
	}
	for name, s := range map[string]struct {
		source Source
		stderr bool
	}{
		"another component": {Source{"n1", "client", "a"}, true},
		"another stream":    {Source{"n1", "server", "a"}, false},
		"benchd's own":      {Source{"n1", "server", AgentContainer}, true},
	} {
		f, err := NewFinder(own)
		if err != nil {
			t.Fatal(err)
		}
		f.Look(s.source, 0, s.stderr, []byte("lmgrd: connection refused"))
		if found := f.Findings(); len(found) > 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
	if _, err := NewFinder([]api.LogRule{{Name: "Broken", Patterns: []string{"("}}}); err == nil || !strings.Contains(err.Error(), `rule Broken: pattern "(": `) {
		t.Errorf("a pattern that is none: %v", err)
	}
	agent := []api.LogRule{{Name: "A", Patterns: []string{"disk"}, Components: []string{"agent"}, Meaning: "m", NextStep: "n"}}
	f, err := NewFinder(agent)
	if err != nil {
		t.Fatal(err)
	}
	f.Look(Source{"n1", "server", AgentContainer}, 0, true, []byte("disk"))
	f.Look(Source{"n1", "server", "vllm-0"}, 0, true, []byte("disk"))
	if found := f.Findings(); len(found) != 1 || found[0].Count != 1 {
		t.Errorf("a rule about agents: %+v", found)
	}
}

func TestLookAtEnd(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	far := 2 * lastWords.Seconds()
	write("n1/server-a.log", at(0, "err", "bind: address already in use")+at(far, "err", "CUDA out of memory")+at(far+1, "err", "bye"))
	write("n2/server-b.log", at(0, "err", "NCCL error in: x")+strings.Repeat(at(1, "err", strings.Repeat("x", 1000)), tailBytes/1000+1))
	write("job.out", "slurmstepd: error: Detected 1 oom_kill event in StepId=1.0.\n")
	f := finder(t, nil)
	if err := f.LookAtEnd(root, Source{"n1", "server", "a"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"CUDAOutOfMemory"}, rulesIn(f.Findings())); diff != "" {
		t.Errorf("what lies long before is no reason (-want +got):\n%s", diff)
	}
	f = finder(t, nil)
	if err := f.LookAtJob(root); err != nil {
		t.Fatal(err)
	}
	got := rulesIn(f.Findings())
	slices.Sort(got)
	if diff := cmp.Diff([]string{"CUDAOutOfMemory", "OutOfMemoryKilled"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := finder(t, nil).LookAtEnd(root, Source{"n9", "server", "a"}); err != nil {
		t.Errorf("a log that is not there: %v", err)
	}
	if err := finder(t, nil).LookAtJob(filepath.Join(root, "nowhere")); err != nil {
		t.Errorf("a job without logs: %v", err)
	}
}

// The words of a pattern are never missed by what it matches, and the set finds what strings.Contains does.
func TestWords(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string][]string{
		"CUDA out of memory":          {"cuda out of memory"},
		"(foobar|quux[a-z]+) failed":  {" failed"},
		"(one|three words|x)":         nil,
		"(?:alpha|bravo)+":            {"alpha", "bravo"},
		"a.*b":                        nil,
		"(?i)Address ALREADY":         {"address already"},
		"ab(longer)?c":                nil,
		"x{2,3}middle piece[0-9]*end": {"middle piece"},
		"(":                           nil,
	} {
		if diff := cmp.Diff(want, wordsOf(pattern)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", pattern, diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		letters := rapid.StringMatching(`[abAB .]{0,6}`)
		owners := rapid.SliceOfN(rapid.SliceOfN(rapid.StringMatching(`[ab .]{1,4}`), 0, 3), 1, 5).Draw(t, "owners")
		text := strings.Join(rapid.SliceOf(letters).Draw(t, "text"), "")
		got := map[int]bool{}
		newWordSet(owners).in([]byte(text), func(owner int) { got[owner] = true })
		want := map[int]bool{}
		for i, words := range owners {
			for _, word := range words {
				if strings.Contains(strings.ToLower(text), word) {
					want[i] = true
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q in %q (-want +got):\n%s", owners, text, diff)
		}
	})
}

// FuzzWords holds the shortcut against the patterns themselves: a line that a pattern matches is never passed over.
func FuzzWords(f *testing.F) {
	for _, lines := range printed {
		for _, line := range slices.Concat(lines.hits, lines.misses) {
			f.Add("", []byte(line))
		}
	}
	f.Add(`(foo|bar+)baz?`, []byte("xxfoobaz barrba"))
	rules, err := Rules(nil)
	if err != nil {
		f.Fatal(err)
	}
	type known struct {
		*regexp.Regexp
		words []string
		set   *wordSet
	}
	learn := func(pattern string) (k known) {
		re, err := regexp.Compile(pattern)
		// Letters beyond ASCII have more forms than the set folds.
		if k.words = wordsOf(pattern); err == nil && k.words != nil && ascii([]byte(pattern)) {
			k.Regexp, k.set = re, newWordSet([][]string{k.words})
		}
		return k
	}
	var builtin []known
	for _, r := range rules {
		for _, pattern := range r.Patterns {
			builtin = append(builtin, learn(pattern))
		}
	}
	f.Fuzz(func(t *testing.T, pattern string, line []byte) {
		patterns := builtin
		if pattern != "" {
			patterns = []known{learn(pattern)}
		}
		for _, k := range patterns {
			if k.Regexp == nil || !ascii(line) || !k.Match(line) {
				continue
			}
			hit := false
			k.set.in(line, func(int) { hit = true })
			if !hit {
				t.Errorf("%s matches %q, which has none of %q", k, line, k.words)
			}
		}
	})
}

func ascii(text []byte) bool {
	return !slices.ContainsFunc(text, func(c byte) bool { return c >= 0x80 })
}

func BenchmarkFinder(b *testing.B) {
	f := finder(b, nil)
	s, line := Source{"n1", "server", "a"}, []byte(benchLine)
	b.ReportAllocs()
	for b.Loop() {
		f.Look(s, 0, false, line)
	}
	perSecond(b, 1)
	if len(f.Findings()) > 0 {
		b.Fatal(fmt.Sprint(f.Findings()))
	}
}
