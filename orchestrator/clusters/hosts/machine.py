"""Facts of this machine: processors, memory, GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as nvidia-smi names it; memory in bytes."""

    index: str
    name: str
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """`gpu_count` counts GPUs that may be used from here; `gpus` are those that nvidia-smi could describe."""

    host_memory: int | None
    gpus: tuple[Gpu, ...]
    gpu_count: int

    @property
    def device(self) -> Literal["cuda", "cpu"]:
        return "cuda" if self.gpu_count else "cpu"


def look(environment: Mapping[str, str]) -> Machine:
    """Read the facts; what cannot be read is not known."""
    gpus = _visible(_nvidia_smi(), environment)
    count = len(gpus) or len(_device_files(environment))
    return Machine(host_memory=_memory(), gpus=tuple(gpus), gpu_count=count)


def gpus_of_node(visible: Sequence[str], node: int, per_node: int) -> list[str] | None:
    """The GPUs of a node when several share this machine; None where there are too few to share out."""
    mine = list(visible[node * per_node : (node + 1) * per_node])
    return mine if len(mine) == per_node else None


def parse_nvidia_smi(text: str) -> list[Gpu]:
    """The lines of `nvidia-smi --query-gpu=index,name,memory.total --format=csv,noheader,nounits`."""
    gpus = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 3 and fields[2].isdigit():
            gpus.append(Gpu(index=fields[0], name=fields[1], memory=int(fields[2]) * MIB))
    return gpus


def _nvidia_smi() -> list[Gpu]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_nvidia_smi(done.stdout) if done.returncode == 0 else []


def _visible(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return list(gpus)
    by_index = {gpu.index: gpu for gpu in gpus}
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if any(name not in by_index for name in names):  # by UUID: as many, of the machine's kind
        return list(gpus[: len(names)])
    return [by_index[name] for name in names]


def _device_files(environment: Mapping[str, str]) -> list[str]:
    if environment.get("CUDA_VISIBLE_DEVICES") == "":
        return []
    return sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))


def _memory() -> int | None:
    """Bytes that processes here may use: the machine's, or the limit of this container."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min((limit for limit in limits if limit > 0), default=None)
