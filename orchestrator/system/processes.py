"""The part of the environment that a process gets which outlives its starter."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# What an agent, a rank or the controller may need of the environment it is started from, and nothing else.
INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "HF_HOME",
    "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "TORCH_HOME",
    "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "CC", "CXX", "MAX_JOBS",
    "OMP_NUM_THREADS", "DS_ACCELERATOR", "COVERAGE_PROCESS_START", "ORCH_HOME", "ORCH_CONFIG",
)  # fmt: skip


def kept(environment: Mapping[str, str], more: Sequence[str] = ()) -> dict[str, str]:
    """The part of an environment that a background process of orch's gets, and the variables named in `more`."""
    return {name: environment[name] for name in (*INHERITED, *more) if name in environment}


def module_path() -> str:
    """The directory that must be on PYTHONPATH for a child to import this very package."""
    return str(Path(sys.modules[__name__.partition(".")[0]].__file__ or "").resolve().parent.parent)
