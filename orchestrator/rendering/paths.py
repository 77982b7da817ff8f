"""Where the relative paths of a job start, and where its run lies."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.model.plan import DsConfig
from orchestrator.model.spec import STDLIB
from orchestrator.rendering.request import RenderRequest

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_WILDCARD = re.compile(r"[*?[]")
_OFFLOADS = ("offload_optimizer", "offload_param")


def base(request: RenderRequest) -> str:
    """The directory where relative paths start: job.yaml's where the nodes see it, else the one that all nodes see."""
    return request.kind.base(request)


def below(shared: str | None, job_dir: str, *, same_machine: bool = True) -> str:
    """Where relative paths start where nodes share a directory; `same_machine`: this one sees it under that name."""
    if shared is None:
        return job_dir
    start = posixpath.normpath(shared)
    inside = same_machine and posixpath.commonpath([start, posixpath.normpath(job_dir)]) == start
    return job_dir if inside else shared


def run_dir_below(shared: str | None, name: str) -> str | None:
    """The run's directory where nodes share a directory; None where none is named."""
    return posixpath.join(shared, "runs", name) if shared else None


def absolute(path: str, start: str) -> str:
    """`path`, with `start` before it where it is relative."""
    return posixpath.normpath(posixpath.join(start, path))


def absolute_glob(pattern: str, start: str) -> str:
    """`absolute` for a glob: wildcards in `start` are escaped."""
    if pattern.startswith(STDLIB):
        return pattern
    return absolute(pattern, _WILDCARD.sub(r"[\g<0>]", start))


def hub_or_path(name: str | None, request: RenderRequest) -> str | None:
    """A hub id as it is, a directory as an absolute path.

    What is spelled as a hub id (`name` or `owner/name`) is one, unless the caller saw a directory of that name.
    """
    if name is None or (_HUB_ID.fullmatch(name) and name not in request.present):
        return name
    return absolute(name, base(request))


def ds_config(request: RenderRequest) -> DsConfig:
    """The plan's ds_config with absolute nvme paths."""
    config = dict(request.plan.ds_config)
    zero = config.get("zero_optimization")
    if isinstance(zero, Mapping):
        config["zero_optimization"] = {
            key: _with_absolute_nvme(value, request) if key in _OFFLOADS else value for key, value in zero.items()
        }
    return config


def _with_absolute_nvme(offload: Any, request: RenderRequest) -> Any:
    path = offload.get("nvme_path") if isinstance(offload, Mapping) else None
    if not isinstance(path, str):
        return offload
    return {**offload, "nvme_path": absolute(path, base(request))}
