"""Can this node run the job? A refusal has the node's name, what was wanted, what was found and what to do."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping

from orchestrator.job.agent import gpus, hosts
from orchestrator.job.agent.codes import FULL, PREFLIGHT, Ended
from orchestrator.job.checkpoints.verify import size_of
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.files import generations_dir
from orchestrator.job.protocol.jobfile import JobFile

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the mount itself is measured, nothing is put there


@dataclass(frozen=True)
class Device:
    """What the ranks of this node train on; `gpus` is None where they are not counted."""

    name: str
    gpus: int | None = None
    warning: str | None = None

    @property
    def is_cpu(self) -> bool:
        return self.name == "cpu"


def check(job: JobFile, environ: Mapping[str, str]) -> Device:
    """Raises Ended with the first thing that keeps this node from running the job."""
    where = hosts.here()
    check_python(job, where)
    check_write(job.root, where)
    if job.need.disk_bytes:
        remedy = "Free space there, or keep fewer checkpoints."
        _check_room(job.root, job.need.disk_bytes, where, Cause.DISK_FULL, remedy, own=generations_dir(job.root))
    if job.need.shm_bytes and SHARED_MEMORY.is_dir():
        _check_room(
            SHARED_MEMORY,
            job.need.shm_bytes,
            where,
            Cause.SHARED_MEMORY,
            "Raise its size (Kubernetes: an emptyDir of medium Memory), or remove what old processes left there.",
        )
    return choose_device(job, environ, where)


def check_python(job: JobFile, where: str) -> None:
    if job.python is not None and shutil.which(job.python) is None:
        because = f"{where}: no interpreter {job.python}. Set `python` in the cluster's profile to one that has torch."
        raise Ended(PREFLIGHT, Cause.PREFLIGHT, because)


def check_write(root: Path, where: str) -> None:
    """Raises Ended when nothing can be created in `root`."""
    probe = root / f".probe-{os.urandom(6).hex()}"
    try:
        with probe.open("xb") as file:
            file.write(b"orch\n")
            file.flush()
            os.fsync(file.fileno())
        probe.unlink()
    except OSError as error:
        because = (
            f"{where}: cannot write in the checkpoint directory {root}: {error.strerror}. Choose another, or fix it."
        )
        raise Ended(PREFLIGHT, Cause.DISK_FULL if error.errno in FULL else Cause.PREFLIGHT, because) from error


def choose_device(job: JobFile, environ: Mapping[str, str], where: str) -> Device:
    """CPU or GPUs for the ranks of this node. Raises Ended when torch is missing or sees too few GPUs."""
    build = gpus.torch_build(job.python)
    if build is None:
        because = f"{where}: {job.python or sys.executable} has no torch. Set `python` in the cluster's profile."
        raise Ended(PREFLIGHT, Cause.PREFLIGHT, because)
    if job.device == "cpu":
        return Device("cpu")
    if build.accelerator is None:
        if job.device == "cuda":
            because = (
                f"{where}: torch {build.version} is built for the CPU, the job wants GPUs. Install a CUDA build there."
            )
            raise Ended(PREFLIGHT, Cause.PREFLIGHT, because)
        return Device(
            "cpu", warning=f"{where}: torch {build.version} is built for the CPU: training runs on the CPU, slowly."
        )
    if build.accelerator != "cuda":
        return Device(build.accelerator)
    found = gpus.visible_gpus({**environ, **job.env})
    if found < job.ranks_per_node:
        limit = {**environ, **job.env}.get("CUDA_VISIBLE_DEVICES")
        limited = f" (CUDA_VISIBLE_DEVICES is {limit!r})" if limit is not None else ""
        raise Ended(
            PREFLIGHT,
            Cause.PREFLIGHT,
            f"{where}: {job.ranks_per_node} GPUs are wanted on each node, {found} found{limited}, and torch "
            f"{build.version} is a CUDA build. Look at nvidia-smi there; "
            "to train on the CPU set `device: cpu` in the cluster's profile.",
        )
    return Device("cuda", gpus=found)


def _check_room(place: Path, wanted: int, where: str, cause: Cause, remedy: str, *, own: Path | None = None) -> None:
    """`own`: a directory below `place` whose content is part of what is wanted."""
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize
    if free >= wanted:
        return
    used = size_of(own) if own is not None else 0
    if free + used < wanted:
        raise Ended(
            PREFLIGHT,
            cause,
            f"{where}: {place} has {free:,} bytes free, the job needs {wanted - used:,} bytes more there. {remedy}",
        )
