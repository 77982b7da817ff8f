"""A process that outlives the one that starts it, and what of the environment it gets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# What an agent, a rank or the controller may need of the environment it is started from, and nothing else.
KEPT = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "HF_HOME",
    "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "TORCH_HOME",
    "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "CC", "CXX", "MAX_JOBS",
    "OMP_NUM_THREADS", "DS_ACCELERATOR", "COVERAGE_PROCESS_START", "ORCH_HOME", "ORCH_CONFIG",
)  # fmt: skip


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


def module_path() -> str:
    """The directory that must be on PYTHONPATH for a child to import this very package."""
    return str(Path(sys.modules[__name__.partition(".")[0]].__file__ or "").resolve().parent.parent)
