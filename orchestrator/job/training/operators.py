"""DeepSpeed's operators, compiled on first use: logs the build, and removes the lock of one that was killed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.job.system import lock
from orchestrator.job.training.session import Session


def load_operators(session: Session, ds_config: Mapping[str, Any], *, cpu: bool) -> None:
    """Loads, and compiles where that was never done on this machine, what DeepSpeed will ask for in this job.

    Raises RuntimeError, with DeepSpeed's own words, when there is no compiler.
    """
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    for name in _needed(ds_config, cpu=cpu):
        builder = get_accelerator().create_op_builder(name)
        if builder is None or not deepspeed.ops.__compatible_ops__.get(builder.NAME, False):
            continue
        directory = _build_directory(builder.NAME)
        with _one_at_a_time(directory):
            if not _is_built(builder.NAME, directory):
                session.records.progress("compiling")
                if session.environment.local_rank == 0:
                    print(f"compiling {builder.NAME} for this machine: once, about half a minute", flush=True)
            builder.load()
    session.records.progress("loading")


def _needed(ds_config: Mapping[str, Any], *, cpu: bool) -> list[str]:
    """Names of the builders. What is forgotten here is compiled by DeepSpeed when it gets there, only unannounced."""
    names = ["ShareMemCommBuilder"] if cpu else []
    zero = ds_config.get("zero_optimization") or {}
    offload = (zero.get("offload_optimizer") or {}).get("device", "none")
    optimizer = ds_config.get("optimizer") or {}
    adam = str(optimizer.get("type", "")).lower() in ("adam", "adamw")
    if adam and not (optimizer.get("params") or {}).get("torch_adam"):
        names.append("CPUAdamBuilder" if offload != "none" else "FusedAdamBuilder")
    if "nvme" in (offload, (zero.get("offload_param") or {}).get("device")):
        names.append("AsyncIOBuilder")
    return names


def _build_directory(name: str) -> str:
    from torch.utils.cpp_extension import _get_build_directory

    return str(_get_build_directory(name, verbose=False))


def _is_built(name: str, directory: str) -> bool:
    from deepspeed.git_version_info import installed_ops

    return bool(installed_ops.get(name)) or os.path.exists(os.path.join(directory, f"{name}.so"))


@contextlib.contextmanager
def _one_at_a_time(directory: str) -> Iterator[None]:
    """Holds a lock that the kernel frees with its holder, around torch's own, which outlives a killed process.

    torch's lock is a file whose mere presence makes every later process wait for ever. The holder of this
    lock knows that no other rank of orch's is building, so a file that is there is such a leftover, and is removed.
    """
    with contextlib.ExitStack() as stack:
        # Not writable: operators built into the image, which nobody builds, so that nothing is left over.
        with contextlib.suppress(OSError):
            stack.enter_context(lock.holding(Path(directory + ".orch-lock")))
            os.unlink(os.path.join(directory, "lock"))
        yield
