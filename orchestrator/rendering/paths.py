"""Where the relative paths of a job start, and where its run lies, on each kind of cluster."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.model.spec import STDLIB
from orchestrator.rendering.request import RenderRequest

CLAIM_MOUNT = "/shared"  # where a pod sees the claim

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_WILDCARD = re.compile(r"[*?[]")
_OFFLOADS = ("offload_optimizer", "offload_param")


def base(request: RenderRequest) -> str:
    """The directory where relative paths start: job.yaml's where the nodes see it, else the one that all nodes see."""
    if request.cluster.kind == "kubernetes":
        return CLAIM_MOUNT
    profile = request.cluster.profile
    if request.cluster.kind == "local" or profile.shared_dir is None:
        return request.job_dir
    shared = posixpath.normpath(profile.shared_dir)
    inside = profile.login is None and posixpath.commonpath([shared, posixpath.normpath(request.job_dir)]) == shared
    return request.job_dir if inside else profile.shared_dir


def shared_run_dir(request: RenderRequest) -> str | None:
    """The run's directory on the cluster; None where only the start of the job can tell."""
    if request.cluster.kind == "kubernetes":
        return f"{CLAIM_MOUNT}/runs/{request.spec.name}"
    shared = request.cluster.profile.shared_dir
    return posixpath.join(shared, "runs", request.spec.name) if shared else None


def absolute(path: str, start: str) -> str:
    """`path`, with `start` before it where it is relative."""
    return posixpath.normpath(posixpath.join(start, path))


def absolute_glob(pattern: str, start: str) -> str:
    """`absolute` for a glob: what looks like a wildcard in `start` is none."""
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


def ds_config(request: RenderRequest) -> dict[str, Any]:
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
