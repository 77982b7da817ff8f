"""The parameters of `update_parameters`: submitit's names, what they are in orch, and why the others are refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

from orchestrator.clusters import PROFILES
from orchestrator.config import configfile
from orchestrator.config.messages import alternatives
from orchestrator.errors import JobError
from orchestrator.model.cluster import Profile
from orchestrator.model.key import SET_BY_LAUNCHER, VARIABLE

GIB = 2**30
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"K": 2**10, "M": 2**20, "": 2**20, "G": 2**30, "T": 2**40}

# Shared by all of submitit's executors: checked as submitit does.
GENERIC: Mapping[str, tuple[type, ...]] = {
    "name": (str,), "timeout_min": (int, float), "mem_gb": (int, float), "nodes": (int,), "cpus_per_task": (int,),
    "gpus_per_node": (int,), "tasks_per_node": (int,), "stderr_to_stdout": (bool,),
}  # fmt: skip
# orch's own. Through AutoExecutor they are written orch_profile and so on; no other executor has a name of these.
OWN: Mapping[str, tuple[type, ...]] = {"profile": (dict,), "code": (str,), "env": (dict,), "max_failures": (int,)}
# sbatch's names that mean one of the shared ones.
_SAME = {
    "time": "timeout_min", "nodes": "nodes", "ntasks_per_node": "tasks_per_node", "gpus_per_node": "gpus_per_node",
    "cpus_per_task": "cpus_per_task", "job_name": "name", "stderr_to_stdout": "stderr_to_stdout",
}  # fmt: skip
_REFUSED = {
    "array_parallelism": "every call is a run of its own, and Slurm decides how many of them run at once",
    "comment": "orch finds its jobs by it",
    "cpus_per_gpu": "use cpus_per_task: orch starts one task for each GPU",
    "dependency": "orch submits a job again after a loss, when what it depended on is gone",
    "gpus_per_task": "orch starts one task for each GPU: use gpus_per_node and tasks_per_node",
    "gres": "use gpus_per_node",
    "mem_per_cpu": "use mem_gb, for a node",
    "num_gpus": "use gpus_per_node",
    "signal_delay_s": "orch asks a job to stop as long before its limit as a save may take",
    "srun_args": "orch starts one agent a node by srun, and the agent starts the tasks",
    "teardown": "an end may come at any line: do it in the function",
    "use_srun": "orch starts one agent a node by srun, and the agent starts the tasks",
    "wckey": "use profile={'options': ['--wckey=...']}",
}
# Keys of a profile that the controller goes by as well, which knows of no executor.
_OF_THE_PLACE = {"kind", "hosts", "hostfile", "login", "poll", "shared_dir", "ssh_config"}

Values: TypeAlias = Mapping[str, Any]  # parameters of submitit, or keys of a profile, by name: checked here


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the parameters ask for. `changes` are keys of the cluster's profile; `timeout` is in seconds."""

    name: str = "submitit"
    nodes: int = 1
    tasks_per_node: int = 1
    gpus_per_node: int = 0
    timeout: float | None = None
    stderr_to_stdout: bool = False
    code: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    max_failures: int = 5
    changes: Values = field(default_factory=dict)


def check(given: Values) -> Values:
    """The parameters by submitit's shared names, `slurm_` names without a shared name left as they are.

    Raises ValueError for a name that means nothing here, as in submitit, and for a value of a wrong type.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue  # submitit: not set
        plain = name.removeprefix("slurm_")
        known = plain if plain in GENERIC or name in OWN else _SAME.get(plain, f"slurm_{plain}")
        if known.startswith("slurm_") and plain not in _SLURM:
            raise ValueError(_unknown(name, plain))
        _check_type(name, value, {**GENERIC, **OWN}.get(known))
        found[known] = value
    return found


def _unknown(name: str, plain: str) -> str:
    if plain in _REFUSED:
        return f"the parameter {name} cannot be given to orch: {_REFUSED[plain]}"
    names = sorted([*GENERIC, *OWN, *(f"slurm_{one}" for one in _SLURM)])
    return f"there is no parameter {name}; there are {alternatives(names, 'and')}"


def _check_type(name: str, value: Any, types: tuple[type, ...] | None) -> None:
    if types is not None and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
        raise ValueError(f"the parameter {name} is {value!r}; wanted {' or '.join(kind.__name__ for kind in types)}")


def read(parameters: Values) -> Asked:
    """What checked parameters ask for. Raises ValueError for a number that is too small or a contradiction."""
    for name, least in (("nodes", 1), ("tasks_per_node", 1), ("gpus_per_node", 0), ("timeout_min", 0)):
        if parameters.get(name, least) < least:
            raise ValueError(f"the parameter {name} is {parameters[name]}; wanted at least {least}")
    tasks, gpus = parameters.get("tasks_per_node", 1), parameters.get("gpus_per_node", 0)
    if gpus not in {0, tasks}:
        raise ValueError(
            f"gpus_per_node is {gpus} and tasks_per_node {tasks}: orch starts one task for each GPU, so give both the "
            "same number, or no GPUs"
        )
    _check_env(parameters.get("env", {}))
    minutes = parameters.get("timeout_min")
    values = {name: parameters[name] for name in ("nodes", "stderr_to_stdout", *OWN) if name in parameters}
    values.pop("profile", None)
    return Asked(
        **values,
        name=parameters.get("name", "submitit"),
        tasks_per_node=tasks,
        gpus_per_node=gpus,
        timeout=None if minutes is None else 60.0 * minutes,
        changes=_changes(parameters),
    )


def _check_env(env: Mapping[str, object]) -> None:
    for name, value in env.items():
        if name in SET_BY_LAUNCHER or name.startswith("SUBMITIT_"):
            raise ValueError(f"the parameter env has {name}, which is set for each task")
        if not re.fullmatch(VARIABLE.regex, name) or not isinstance(value, str):
            raise ValueError(f"the parameter env has {name}: {value!r}; wanted a text under {VARIABLE.words}")


def _changes(parameters: Values) -> Values:
    changes: dict[str, Any] = {}
    for name, value in parameters.items():
        if name.startswith("slurm_"):
            _merge(changes, _SLURM[name.removeprefix("slurm_")](value))
    if "timeout_min" in parameters:
        changes["time_limit"] = str(max(1, math.ceil(parameters["timeout_min"])))
    if "mem_gb" in parameters:
        changes["memory"] = int(parameters["mem_gb"] * GIB)
    if "cpus_per_task" in parameters:
        changes["cpus_per_gpu"] = parameters["cpus_per_task"]
    if not parameters.get("gpus_per_node"):
        changes["device"] = "cpu"
    _merge(changes, parameters.get("profile", {}))
    return changes


def _merge(changes: dict[str, Any], more: Values) -> None:
    for key, value in more.items():
        changes[key] = [*changes[key], *value] if key == "options" and key in changes else value


def changed(name: str, profile: Profile, changes: Values) -> Profile:
    """A cluster's profile with changes laid over it. Raises ValueError for an invalid value.

    Keys that clusters of its kind do not read are left out, as submitit's executors ignore what is another's.
    """
    fixed = sorted(_OF_THE_PLACE & changes.keys())
    if fixed:
        raise ValueError(
            f"the parameters do not suit the cluster {name}: {fixed[0]} is a fact of the place, which the controller"
            " reads in the configuration; add another cluster there"
        )
    own, every = ({of.name for of in fields(one)} for one in (profile, PROFILES.profile))
    read_here = {key: value for key, value in changes.items() if key in own or key not in every}
    document = {"clusters": {name: {"kind": profile.kind, **read_here}}}
    try:
        parsed = configfile.parse(json.dumps(document).encode(), "update_parameters", PROFILES).clusters[name]
    except (JobError, TypeError) as error:
        raise ValueError(f"the parameters do not suit the cluster {name}: {error}") from error
    values = {key: getattr(parsed, key) for key in read_here}
    for key in ("options", "exclude", "setup"):
        if key in values:
            values[key] = (*getattr(profile, key), *values[key])
    for key, other in (("memory", "memory_per_gpu"), ("memory_per_gpu", "memory")):
        if key in values:
            values.setdefault(other, None)
    return replace(profile, **values)


def _one(key: str) -> Callable[[Any], Values]:
    return lambda value: {key: value}


def _listed(value: Any) -> Sequence[str]:
    return [part for part in value.split(",") if part] if isinstance(value, str) else list(value)


def _bytes(key: str) -> Callable[[Any], Values]:
    def read_size(value: Any) -> Values:
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            raise ValueError(f"{value!r} is not an amount of memory; wanted one like 64GB")
        return {key: int(float(match[1]) * _UNITS[match[2].upper()])}

    return read_size


def _option(name: str) -> Callable[[Any], Values]:
    return lambda value: {"options": [f"--{name}={value}"]}


def _options(value: Values) -> Values:
    names = {name.replace("_", "-"): of for name, of in value.items()}
    return {"options": [f"--{name}" if of is True else f"--{name}={of}" for name, of in names.items()]}


# sbatch's names as keys of the profile.
_SLURM: Mapping[str, Callable[[Any], Values]] = {
    "account": _one("account"),
    "additional_parameters": _options,
    "constraint": _one("constraint"),
    "exclude": lambda value: {"exclude": _listed(value)},
    "exclusive": lambda value: {"exclusive": bool(value)},
    "mail_type": _option("mail-type"),
    "mail_user": _option("mail-user"),
    "mem": _bytes("memory"),
    "mem_per_gpu": _bytes("memory_per_gpu"),
    "nodelist": _option("nodelist"),
    "partition": _one("partition"),
    "qos": _one("qos"),
    "reservation": _one("reservation"),
    "setup": lambda value: {"setup": list(value)},
}
