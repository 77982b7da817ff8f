"""Processes of this machine: start one that outlives its parent, find those that carry a mark, read who is alive.

Nothing here is meant to be asked of another machine: a process id says nothing there. What must hold across machines is
a claim or a heartbeat in the checkpoint directory, or a lease's counter in the store.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# What an agent, a rank or the controller may need of the environment it is started from, and nothing else.
KEPT = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "XDG_CONFIG_HOME",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_ENDPOINT",
    "TORCH_HOME",
    "TORCH_EXTENSIONS_DIR",
    "TRITON_CACHE_DIR",
    "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES",
    "CC",
    "CXX",
    "MAX_JOBS",
    "OMP_NUM_THREADS",
    "DS_ACCELERATOR",
    "COVERAGE_PROCESS_START",
    "ORCH_HOME",
    "ORCH_CONFIG",
)


def kept(environment: Mapping[str, str], more: Sequence[str] = ()) -> dict[str, str]:
    """The part of an environment that a background process of orch's gets, and the variables named in `more`."""
    return {name: environment[name] for name in (*KEPT, *more) if name in environment}


def start_detached(argv: Sequence[str], *, environment: Mapping[str, str], directory: str, output: Path) -> int:
    """Start a program in a session of its own, as nobody's child, its output appended to a file; its process id.

    Raises OSError when the program cannot be started.
    """
    read_end, write_end = os.pipe()
    # The fork in the middle leaves at once, so that the program is adopted by init and never becomes a zombie of ours.
    middle = os.fork()
    if middle == 0:
        os.close(read_end)
        _start_and_leave(argv, environment, directory, output, write_end)
    os.close(write_end)
    with os.fdopen(read_end) as answers:
        answer = answers.read()
    os.waitpid(middle, 0)
    word, _, value = answer.partition(" ")
    if word == "pid":
        return int(value)
    raise OSError(f"cannot start {argv[0]}: {value or 'the starting process died'}")


def _start_and_leave(
    argv: Sequence[str], environment: Mapping[str, str], directory: str, output: Path, answers: int
) -> None:
    answer = "error"
    try:
        with output.open("ab") as log:
            process = subprocess.Popen(
                list(argv),
                env=dict(environment),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        answer = f"pid {process.pid}"
    except OSError as error:
        answer = f"error {error}"
    finally:
        os.write(answers, answer.encode())
        os._exit(0)


LOOKS = 10
KERNEL = "2"  # the parent of the kernel's own threads, which have no environment


def boot_id() -> str:
    """Names this kernel's present boot: processes with the same one see the same file locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return os.uname().nodename


def carries(pid: int, mark: str) -> bool:
    """Whether a process lives and was started with `mark` (NAME=value) in its environment, or with NAME=value/more."""
    wanted = mark.encode()
    for _ in range(LOOKS):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            return False
        if state in "ZX" or parent == KERNEL:
            return False
        if environment:
            return any(entry == wanted or entry.startswith(wanted + b"/") for entry in environment.split(b"\0"))
        time.sleep(0.001)  # it executes another program, and has no environment for an instant
    return False


def carriers(mark: str) -> Iterator[int]:
    """Ids of all living processes of this machine that carry a mark."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid() and carries(int(entry.name), mark):
            yield int(entry.name)


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False when the process is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def module_path() -> str:
    """The directory that must be on PYTHONPATH for a child to import this very package."""
    return str(Path(sys.modules[__name__.partition(".")[0]].__file__ or "").resolve().parent.parent)
