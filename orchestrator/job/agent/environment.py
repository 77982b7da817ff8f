"""The environment of launchers and ranks."""

from __future__ import annotations

import ipaddress
import os
import shutil
import sys
from pathlib import Path
from typing import Mapping

from orchestrator.job.agent import hosts
from orchestrator.job.agent.codes import HOPELESS, Ended
from orchestrator.job.agent.options import Options
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.files import DS_CONFIG, LIBRARY, checkpoints_dir, generation_dir
from orchestrator.job.protocol.jobfile import JobFile, SecretSource
from orchestrator.job.protocol.records import Claim
from orchestrator.job.system.atomic import read_json

CPU = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}


def read_secrets(job: JobFile, environ: Mapping[str, str], handed_over: Path) -> dict[str, str]:
    """The values of the job's secrets, on this machine. Raises Ended naming all that are missing.

    Those of kind env are in the file `handed_over` where a controller has submitted the job, by the job's names for
    them, else in the environment.
    """
    given: Mapping[str, object] = read_json(handed_over) or {}
    found, missing = {}, []
    for name, source in sorted(job.secrets.items()):
        # A Kubernetes secret is put into the container's environment under the name that the job gives it.
        variable = source.env or (name if source.kubernetes else None)
        try:
            value = _secret(name, variable, source, environ, given)
        except (OSError, ValueError) as error:
            missing.append(f"{name} (file {source.file}: {getattr(error, 'strerror', None) or 'not text'})")
            continue
        if value is None:
            missing.append(f"{name} (environment variable {variable} is not set)")
        else:
            found[name] = value
    if missing:
        raise Ended(HOPELESS, Cause.SECRET_MISSING, f"Missing on {hosts.here()}: {', '.join(missing)}.")
    return found


def _secret(
    name: str, variable: str | None, source: SecretSource, environ: Mapping[str, str], given: Mapping[str, object]
) -> str | None:
    if variable is None:
        return Path(source.file or "").expanduser().read_text().rstrip("\r\n")
    if source.env and isinstance(given.get(name), str):
        return str(given[name])
    return environ.get(variable)


def make(
    job: JobFile, options: Options, claim: Claim, *, base: Mapping[str, str], secrets: Mapping[str, str], cpu: bool
) -> dict[str, str]:
    """All variables of a rank, but those that its launcher sets."""
    root, bundle = job.root, options.bundle
    library = str(bundle / LIBRARY)
    wanted = [*job.env.get("PYTHONPATH", "").split(os.pathsep), *base.get("PYTHONPATH", "").split(os.pathsep)]
    path = [library, *dict.fromkeys(entry for entry in wanted if entry and entry != library)]
    resume = {"ORCH_RESUME_FROM": str(root / claim.resume.path)} if claim.resume else {}
    search = job.env.get("PATH") or base.get("PATH") or os.defpath
    inherited = {key: value for key, value in base.items() if key != "ORCH_RESUME_FROM"}
    return {
        # A machine's own name may resolve to an address that it can't reach itself.
        **({"GLOO_SOCKET_IFNAME": "lo"} if _is_loopback(claim.address) else {}),
        **inherited,
        **_profile(job),
        **(CPU if cpu else {}),
        **job.env,
        **secrets,
        **resume,
        "PATH": _with_interpreter(search, job.python or sys.executable),
        "PYTHONPATH": os.pathsep.join(path),
        "ORCH_RUN": job.name,
        "ORCH_RUN_ID": job.run_id,
        "ORCH_RUN_DIR": str(options.run_dir),
        "ORCH_ATTEMPT": str(options.attempt),
        "ORCH_GENERATION": str(claim.generation),
        "ORCH_NODE": str(options.node),
        "ORCH_GENERATION_DIR": str(generation_dir(root, claim.generation)),
        "ORCH_CHECKPOINT_DIR": str(checkpoints_dir(root, claim.generation)),
        "ORCH_RESUME_STEP": str(claim.resume.step if claim.resume else 0),
        "ORCH_BUNDLE": str(bundle),
        "ORCH_DS_CONFIG": str(bundle / DS_CONFIG),
        "ORCH_AGENT_PID": str(os.getpid()),
    }


def _with_interpreter(search: str, python: str) -> str:
    """PATH with the interpreter's directory: DeepSpeed compiles with the ninja that is installed beside it.

    First, but where it is there already: a system's directory must not come before the compilers of a site's modules.
    """
    found = shutil.which(python, path=search)
    directory = os.path.dirname(os.path.abspath(found)) if found else ""
    return search if not directory or directory in search.split(os.pathsep) else os.pathsep.join((directory, search))


def _profile(job: JobFile) -> dict[str, str]:
    """What the cluster's profile says, as variables; the job's own environment may override it."""
    found = {}
    if job.cache_dir:
        found["TORCH_EXTENSIONS_DIR"] = str(Path(job.cache_dir) / "torch_extensions")
        found["HF_HOME"] = str(Path(job.cache_dir) / "huggingface")
    if job.interface.socket:
        found["NCCL_SOCKET_IFNAME"] = found["GLOO_SOCKET_IFNAME"] = job.interface.socket
    if job.interface.hcas:
        found["NCCL_IB_HCA"] = ",".join(job.interface.hcas)
    return found


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
