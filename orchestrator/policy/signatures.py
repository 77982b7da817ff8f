"""Signatures: what a line of a log says about why a job failed. First match wins; each example line is its row's test.

Rows go into job.json, where the agent applies them to the errors of all ranks, so that it knows what another start
of the same job would fix. `echo`: ranks also print this when *another* rank failed, so it counts only when alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.job.protocol import jobfile
from orchestrator.model.run import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One row. `retry`: whether the same job, started again, may succeed."""

    cause: Cause
    pattern: str
    retry: bool
    example: str
    echo: bool = False


SIGNATURES: tuple[Signature, ...] = (
    # First, for a text of the user's own may follow these words.
    Signature(
        cause=Cause.TIME_LIMIT,
        pattern=r"Job not requeued because: timed-out",
        retry=False,
        example="UncompletedJobError: Job not requeued because: timed-out and not checkpointable.",
    ),
    Signature(
        cause=Cause.USER_ERROR,
        pattern=r"Job not requeued because: (its )?checkpoint",
        retry=False,
        example="UncompletedJobError: Job not requeued because: checkpoint function returned None.",
    ),
    Signature(
        cause=Cause.CUDA_OOM,
        pattern=r"torch\.(cuda\.)?OutOfMemoryError|CUDA out of memory\. Tried to allocate",
        retry=False,
        example="torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total",
    ),
    Signature(
        cause=Cause.HOST_OOM,
        pattern=r"(?m)DefaultCPUAllocator: (can't|not enough)|Cannot allocate memory|^MemoryError\b"
        r"|oom[-_]kill|OOMKilled",
        retry=False,
        example="RuntimeError: [enforce fail at alloc_cpu.cpp:119] data. DefaultCPUAllocator: can't allocate memory",
    ),
    Signature(
        cause=Cause.GPU_FAULT,
        pattern=r"uncorrectable ECC error encountered|CUDA_ERROR_ECC_UNCORRECTABLE|GPU has fallen off the bus"
        r"|uncorrectable NVLink error|CUDA error: unspecified launch failure",
        retry=True,
        example="RuntimeError: CUDA error: uncorrectable ECC error encountered",
    ),
    Signature(
        cause=Cause.SHARED_MEMORY,
        pattern=r"insufficient shared memory \(shm\)|killed by signal: Bus error"
        r"|Couldn't allocate shared memory segment",
        retry=False,
        example="RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error.",
    ),
    Signature(
        cause=Cause.DISK_FULL,
        pattern=r"No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing file"
        r"|inline_container\.cc.*unexpected pos",
        retry=True,
        example="OSError: [Errno 28] No space left on device",
    ),
    Signature(
        cause=Cause.LOSS_SCALE,
        pattern=r"Current loss scale already at minimum",
        retry=False,
        example="Exception: Current loss scale already at minimum - cannot decrease scale anymore. Exiting run.",
    ),
    Signature(
        cause=Cause.WORLD_SIZE,
        pattern=r"The checkpoint being loaded used a DP world size of (\d+) but the current world size is (\d+)",
        retry=False,
        example="ZeRORuntimeException: The checkpoint being loaded used a DP world size of 2"
        " but the current world size is 1. Automatic adjustment is not supported.",
    ),
    Signature(
        cause=Cause.SHAPE,
        pattern=r"size mismatch for .*copying a param with shape"
        r"|The size of tensor a \(\d+\) must match the size of tensor b",
        retry=False,
        example="RuntimeError: The size of tensor a (64) must match the size of tensor b (128) at dimension 0",
    ),
    Signature(
        cause=Cause.CHECKPOINT_DAMAGED,
        pattern=r"PytorchStreamReader failed|failed finding central directory|unexpected EOF"
        r"|Unable to find latest file at|Can't find a valid checkpoint at|failed to resume from checkpoint"
        r"|SafetensorError: Error while deserializing",
        retry=True,
        example="RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory",
    ),
    Signature(
        cause=Cause.OPERATOR_BUILD,
        pattern=r"Error building extension '(\w+)'|Unable to JIT load the (\w+) op|Ninja is required"
        r"|MissingCUDAException|CUDAMismatchException|CUDA_HOME (does not exist|environment variable is not set)"
        r"|async_io requires the dev libaio",
        retry=False,
        example="RuntimeError: Error building extension 'deepspeed_shm_comm'",
    ),
    Signature(
        cause=Cause.CONFIGURATION,
        pattern=r"Check batch related parameters\. train_batch_size is not equal"
        r"|Please correct the following DeepSpeed config values that mismatch|DeepSpeedConfigError"
        r"|Hostfile (contains (multiple entries|a bad entry)|is empty)|No slot '\d+' specified|not found in hostfile"
        r"|launcher '(\w+)' not installed\."
        r"|validation errors? for (DeepSpeed\w+|(CommsLogger|Compile|HybridEngine|TP\w*|WeightQuant|ZenFlow"
        r"|TensorBoard|CSV|Wandb|Comet)\w*Config)\b"
        r"|is not a supported DeepSpeed Optimizer|DeepSpeed does not recognize LR scheduler"
        r"|You are using an untested ZeRO Optimizer|'max_grad_norm' is not supported as an optimizer parameter"
        r"|Either train_batch_size or train_micro_batch_size_per_gpu needs to be provided",
        retry=False,
        example="AssertionError: Check batch related parameters. train_batch_size is not equal to",
    ),
    Signature(
        cause=Cause.PORT,
        pattern=r"The server socket has failed to (listen on any local network address|bind to)|EADDRINUSE|errno: 98"
        r"|another process is utilizing it|\[Errno \d+\].*[Aa]ddress already in use",
        retry=True,
        example="The server socket has failed to listen on any local network address. port: 29500",
    ),
    # A script that cannot be read, or that stops at the same place every time, is reported to its author at once.
    # FileNotFoundError is not among them: a file may be late on a shared file system.
    Signature(
        cause=Cause.USER_ERROR,
        pattern=r"(?m)^(ModuleNotFoundError|ImportError|SyntaxError|IndentationError|TabError|NameError"
        r"|UnboundLocalError): ",
        retry=False,
        example="ModuleNotFoundError: No module named 'transformes'",
    ),
    Signature(
        cause=Cause.USER_ERROR,
        pattern=r"(?m)can't open file '[^']*': \[Errno 2\] No such file or directory|^error: unrecognized arguments: ",
        retry=False,
        example="python: can't open file '/jobs/code/trian.py': [Errno 2] No such file or directory",
    ),
    # Requests to a hub or another server: huggingface_hub, transformers, requests, urllib.
    Signature(
        cause=Cause.NETWORK,
        pattern=r"\b(429 Too Many Requests|(429|5\d\d) (Client|Server) Error: )|Server error '5\d\d "
        r"|HTTP Error (429|5\d\d): |(?m:^[\w.]*(Read|Connect)Timeout(Error)?: )|Read timed out\. \(read timeout="
        r"|LocalEntryNotFoundError: An error happened while trying to locate the file on the Hub"
        r"|We couldn't connect to '[^']*' to load",
        retry=True,
        example="huggingface_hub.errors.HfHubHTTPError: 429 Too Many Requests for url: https://huggingface.co/api/a/b.",
    ),
    Signature(
        cause=Cause.PREEMPTED,
        pattern=r"SignalException|got signal: 15|DUE TO (PREEMPTION|TIME LIMIT|NODE FAILURE)",
        retry=True,
        echo=True,
        example="torch.distributed.elastic.multiprocessing.api.SignalException: Process 7 got signal: 15",
    ),
    Signature(
        cause=Cause.RENDEZVOUS,
        pattern=r"Rendezvous(Timeout|Connection|Closed)Error|The client socket has timed out after"
        r"|Timed out initializing process group in store based barrier|wait timeout after"
        r"|Timed out after \d+ seconds waiting for clients",
        retry=True,
        echo=True,
        example="torch.distributed.DistNetworkError: The client socket has timed out after 60000ms",
    ),
    Signature(
        cause=Cause.NETWORK,
        pattern=r"Watchdog caught collective operation timeout: WorkNCCL\(.*?OpType=(\w+).*?Timeout\(ms\)=(\d+)"
        r"|Connection reset by peer|Connection closed by peer|recvValue failed on|Broken pipe"
        r'|Failed to check the "should dump" flag on TCPStore|Gloo connectFullMesh failed with'
        r"|unhandled (cuda|system) error|ncclUnhandledCudaError|ncclSystemError|ncclRemoteError"
        r"|failed to pass monitoredBarrier|reached monitoredBarrier, but received errors"
        r"|Timed out waiting \d+ms for (recv|send) operation to complete"
        # The name of a pod is gone with the pod.
        r"|Name or service not known|Temporary failure in name resolution|No address associated with hostname"
        r"|nodename nor servname provided|NameResolutionError",
        retry=True,
        echo=True,
        example="RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1",
    ),
)


def rows() -> tuple[jobfile.Signature, ...]:
    """The rows as job.json carries them; the agents apply them."""
    return tuple(
        jobfile.Signature(cause=row.cause, pattern=row.pattern, retry=row.retry, echo=row.echo) for row in SIGNATURES
    )
