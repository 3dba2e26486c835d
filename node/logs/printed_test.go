package logs

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
			"OSError: [Errno 12] Cannot allocate memory",
			"/bin/bash: fork: Cannot allocate memory",
			"llama_mmap: mmap failed: Cannot allocate memory",
			"[rank0]: RuntimeError: unable to mmap 4294967296 bytes from file </models/x.safetensors>: Cannot allocate memory (12)",
			"RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 1073741824 bytes.",
		},
		[]string{
			"system memory total=95.6 GiB", "allocate memory for 3 tensors",
			// What it means to lock is locked as far as the job's limit goes; the server starts all the same.
			"warning: failed to mlock 524288000-byte buffer (after previously locking 0 bytes): Cannot allocate memory",
		},
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
		[]string{
			"too many requests",
			// vLLM warns so at its start where the limit is not as high as it wants it, and works.
			"WARNING 01-02 12:00:00 [__init__.py:1990] Found ulimit of 8192 and failed to automatically increase with error not allowed to raise maximum limit. This can cause fd limit errors like `OSError: [Errno 24] Too many open files`. Consider increasing with ulimit -n",
		},
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
