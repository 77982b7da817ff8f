"""The output of Slurm's commands as SlurmFacts. Only formats that every release since 20.11 shares. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.clusters.findings import Answer, last_line

INFINITE = float("inf")
_GONE = frozenset(
    ["down", "drain", "drng", "drained", "fail", "failg", "unk", "unknown", "inval", "err", "error", "maint", "futr"]
)
_PAIR = re.compile(r"([A-Za-z][\w/:]*)=(.*?)(?=\s+[A-Za-z][\w/:]*=|\s*$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroup:
    """Nodes of a partition that are alike. `gpus` by Slurm's name of their type, "" for none; memory in bytes."""

    partition: str
    nodes: int
    state: str
    gpus: Mapping[str, int]
    cpus: int
    memory: int

    @property
    def usable(self) -> bool:
        return "*" not in self.state and self.state.rstrip("~#!%$@^-+") not in _GONE

    @property
    def gpu_count(self) -> int:
        return sum(self.gpus.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """slurm.conf as slurmctld has it. Seconds, and MiB of memory; 0 where a value is not a number."""

    auth_type: str = ""
    accounting_type: str = ""
    accounting_enforce: str = ""
    controller_parameters: str = ""
    process_tracking: str = ""
    preempt_type: str = "preempt/none"
    preempt_mode: str = "OFF"
    requeue: bool = False
    node_timeout: float = 0
    job_age: float = 0
    memory_per_cpu: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """`preempt_mode` is None where it is that of the cluster; `grace`: seconds before a preempted job is killed."""

    is_default: bool
    state: str
    max_time: str
    default_time: str
    preempt_mode: str | None
    grace: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    account: str
    partition: str
    qos: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Qos:
    """A quality of service. `mode`: what happens to its preempted jobs; "cluster": as in slurm.conf."""

    mode: str
    grace: float  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmFacts:
    """`trouble`: why slurmctld did not answer, "" where it did; `accounting`: the same for sacct."""

    version: str | None
    trouble: str
    config: Config = field(default_factory=Config)
    partitions: Mapping[str, Partition] = field(default_factory=dict)
    groups: tuple[NodeGroup, ...] = ()
    reservations: frozenset[str] = frozenset()
    accounting: str = ""
    associations: tuple[Association, ...] | None = None  # None: not known
    qos: Mapping[str, Qos] | None = None  # None: not known
    munge: str | None = None  # the user by munge; None: not known

    @property
    def default(self) -> str | None:
        """The partition of a job that names none."""
        return next((name for name, one in self.partitions.items() if one.is_default), None)

    def groups_of(self, partition: str | None) -> tuple[NodeGroup, ...]:
        return tuple(group for group in self.groups if group.partition == partition)


def facts_of(answers: Mapping[str, Answer]) -> SlurmFacts:
    """The facts in the answers, which are by the name of their question."""
    version = answers["version"]
    config = answers["config"]
    if version.status != 0 or config.status != 0:
        silent = version if version.status != 0 else config
        return SlurmFacts(version=_version(version), trouble=last_line(silent))
    accounting = answers["accounting"]
    return SlurmFacts(
        version=_version(version),
        trouble="",
        config=config_of(config.stdout),
        partitions=partitions_of(answers["partitions"].stdout),
        groups=groups_of(answers["nodes"].stdout),
        reservations=frozenset(
            record["ReservationName"]
            for record in records_of(answers["reservations"].stdout)
            if "ReservationName" in record
        ),
        accounting="" if accounting.status == 0 else last_line(accounting),
        associations=associations_of(answers["associations"]),
        qos=qos_of(answers["qos"]),
        munge=_munge(answers["munge"]),
    )


def _version(answer: Answer) -> str | None:
    match = re.search(r"\d+\.\d+(?:\.\d+)?\S*", answer.stdout)
    return match.group() if answer.status == 0 and match else None


def config_of(text: str) -> Config:
    """`scontrol show config`: lines of Key = value; the first of a key counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() and " " not in name.strip():
            found.setdefault(name.strip(), value.strip())
    return Config(
        auth_type=found.get("AuthType", ""),
        accounting_type=found.get("AccountingStorageType", ""),
        accounting_enforce=found.get("AccountingStorageEnforce", ""),
        controller_parameters=found.get("SlurmctldParameters", ""),
        process_tracking=found.get("ProctrackType", ""),
        preempt_type=found.get("PreemptType", "preempt/none"),
        preempt_mode=found.get("PreemptMode", "OFF"),
        requeue=found.get("JobRequeue") == "1",
        node_timeout=_number(found.get("SlurmdTimeout", "")),
        job_age=_number(found.get("MinJobAge", "")),
        memory_per_cpu=_number(found.get("DefMemPerCPU", "")),
    )


def partitions_of(text: str) -> dict[str, Partition]:
    """`scontrol -o show partition`, by name."""
    return {
        record["PartitionName"]: Partition(
            is_default=record.get("Default") == "YES",
            state=record.get("State", "unknown"),
            max_time=record.get("MaxTime", "UNLIMITED"),
            default_time=record.get("DefaultTime", "NONE"),
            preempt_mode=record.get("PreemptMode"),
            grace=_number(record.get("GraceTime", "")),
        )
        for record in records_of(text)
        if "PartitionName" in record
    }


def records_of(text: str) -> list[dict[str, str]]:
    """`scontrol -o show ...`: lines of Key=value separated by blanks, which values may contain, too."""
    return [record for line in text.splitlines() if (record := dict(_PAIR.findall(line)))]


def groups_of(text: str) -> tuple[NodeGroup, ...]:
    """`sinfo -h -o %P|%D|%t|%G|%c|%m`."""
    found = []
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) == 6:
            partition, count, state, gres, cpus, memory = fields
            found.append(
                NodeGroup(
                    partition=partition.rstrip("*"),
                    nodes=_number(count),
                    state=state.lower(),
                    gpus=gpus_of(gres),
                    cpus=_number(cpus),
                    memory=_number(memory) * 2**20,
                )
            )
    return tuple(found)


def gpus_of(gres: str) -> dict[str, int]:
    """The GPUs of a node by type: `gpu:a100:4(S:0-1),gpu:8,shard:16`."""
    found: dict[str, int] = {}
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *rest = entry.split(":")
        if name == "gpu":
            kind = rest[0] if rest and not rest[0].isdigit() else ""
            count = int(rest[-1]) if rest and rest[-1].isdigit() else 1
            found[kind] = found.get(kind, 0) + count
    return found


def seconds_of(text: str) -> float:
    """A Slurm time: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes[:seconds]."""
    if not text or not text[0].isdigit():
        return INFINITE  # UNLIMITED, infinite, NONE
    days, dash, rest = text.partition("-")
    parts = [int(part) for part in (rest if dash else days).split(":")]
    if dash:
        hours, minutes, seconds = [*parts, 0, 0][:3]
        return int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
    if len(parts) == 3:
        return parts[0] * 3600 + parts[1] * 60 + parts[2]
    return parts[0] * 60 + (parts[1] if len(parts) == 2 else 0)


def associations_of(answer: Answer) -> tuple[Association, ...] | None:
    """`sacctmgr -nP show assoc user=... format=account,partition,qos`."""
    if answer.status != 0:
        return None
    rows = [line.split("|") for line in answer.stdout.splitlines() if line.count("|") >= 2]
    return tuple(Association(account=row[0], partition=row[1], qos=frozenset(row[2].split(","))) for row in rows)


def qos_of(answer: Answer) -> dict[str, Qos] | None:
    """`sacctmgr -nP show qos format=name,preemptmode,gracetime`."""
    rows = [line.strip().split("|") for line in answer.stdout.splitlines() if line.count("|") == 2]
    if answer.status != 0 or not rows:
        return None
    return {name: Qos(mode=mode, grace=seconds_of(grace)) for name, mode, grace in rows}


def _munge(answer: Answer) -> str | None:
    match = re.search(r"^UID:\s*(\S+)", answer.stdout, re.MULTILINE)
    if match and answer.status == 0:
        return match.group(1)
    return None


def _number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match.group()) if match else 0
