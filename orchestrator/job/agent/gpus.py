"""What the job's interpreter and this node offer, found without importing torch."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping

from orchestrator.job.visible import visible_devices

_ASK = "import importlib.util as u; s = u.find_spec('torch'); print(s.origin if s and s.origin else '')"
_ASK_SECONDS = 60.0  # a cold interpreter on a network file system


@dataclass(frozen=True)
class TorchBuild:
    """`accelerator` is "cuda", "rocm", "xpu" or None: a build for the CPU alone."""

    version: str
    accelerator: str | None


def torch_build(python: str | None) -> TorchBuild | None:
    """The torch of the job's interpreter (None: this one); None when it has none."""
    origin = _origin_here() if python is None or _is_this(python) else _origin_of(python)
    if not origin:
        return None
    try:
        return parse_version(Path(origin).with_name("version.py").read_text())
    except OSError:
        return None


def parse_version(text: str) -> TorchBuild:
    """A TorchBuild from the text of torch/version.py."""
    values = dict(re.findall(r"^(\w+)\s*(?::[^=\n]*)?=\s*(.+)$", text, re.MULTILINE))
    version = values.get("__version__", "").strip("'\" ")
    present = {name: values.get(name, "None").strip() not in ("None", "''", '""') for name in ("cuda", "hip", "xpu")}
    accelerator = "rocm" if present["hip"] else "cuda" if present["cuda"] else "xpu" if present["xpu"] else None
    return TorchBuild(version, accelerator)


def visible_gpus(environ: Mapping[str, str]) -> int:
    """NVIDIA GPUs that processes with this environment may use."""
    present = _count_nvml()
    if present is None:
        present = _count_nvidia_smi()
    return allowed(environ.get("CUDA_VISIBLE_DEVICES"), present=present)


def allowed(visible: str | None, *, present: int) -> int:
    """How many of `present` devices CUDA_VISIBLE_DEVICES leaves."""
    return present if visible is None else min(present, len(visible_devices(visible)))


def _count_nvml() -> int | None:
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    if library.nvmlInit_v2() != 0:
        return None
    number = ctypes.c_uint(0)
    failed = library.nvmlDeviceGetCount_v2(ctypes.byref(number))
    library.nvmlShutdown()
    return None if failed else number.value


def _count_nvidia_smi() -> int:
    if shutil.which("nvidia-smi") is None:
        return 0
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def _is_this(python: str) -> bool:
    found = shutil.which(python)
    # Not resolved: an environment's interpreter is a link to another one that has other packages.
    return found is not None and Path(found).absolute() == Path(sys.executable).absolute()


def _origin_here() -> str:
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError):
        return ""
    return spec.origin or "" if spec else ""


def _origin_of(python: str) -> str:
    try:
        done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, timeout=_ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
