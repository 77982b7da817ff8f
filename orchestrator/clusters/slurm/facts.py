"""What Slurm's commands print -> SlurmFacts. In formats that every release since 20.11 shares. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.clusters.findings import Answer, last_line

INFINITE = float("inf")
_GONE = (
    "down",
    "drain",
    "drng",
    "drained",
    "fail",
    "failg",
    "unk",
    "unknown",
    "inval",
    "err",
    "error",
    "maint",
    "futr",
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
class Qos:
    """A quality of service: what happens to its jobs when they are preempted, "cluster" as everywhere."""

    mode: str
    grace: float  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmFacts:
    """`trouble` is what the controller's silence was; "" where it answered. `accounting`: the same for sacct."""

    version: str | None
    trouble: str
    config: Mapping[str, str] = field(default_factory=dict)
    partitions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    groups: tuple[NodeGroup, ...] = ()
    reservations: frozenset[str] = frozenset()
    accounting: str = ""
    associations: tuple[tuple[str, str, frozenset[str]], ...] | None = None  # account, partition, qos; None: not known
    qos: Mapping[str, Qos] | None = None  # None: not known
    munge: str | None = None  # the user that munge names, None where it was not asked

    @property
    def default(self) -> str | None:
        """The partition of a job that names none."""
        return next((name for name, facts in self.partitions.items() if facts.get("Default") == "YES"), None)

    def groups_of(self, partition: str | None) -> tuple[NodeGroup, ...]:
        return tuple(group for group in self.groups if group.partition == partition)


def facts_of(answers: Mapping[str, Answer]) -> SlurmFacts:
    """Everything that was asked, by name of the question."""
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
        partitions={record["PartitionName"]: record for record in records_of(answers["partitions"].stdout)},
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


def config_of(text: str) -> dict[str, str]:
    """`scontrol show config`: Key = value, a line each; the first of a name counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() and " " not in name.strip():
            found.setdefault(name.strip(), value.strip())
    return found


def records_of(text: str) -> list[dict[str, str]]:
    """`scontrol -o show ...`: a line each, Key=value apart by blanks, which a value may hold too."""
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


def associations_of(answer: Answer) -> tuple[tuple[str, str, frozenset[str]], ...] | None:
    """`sacctmgr -nP show assoc user=... format=account,partition,qos`."""
    if answer.status != 0:
        return None
    rows = [line.split("|") for line in answer.stdout.splitlines() if line.count("|") >= 2]
    return tuple((row[0], row[1], frozenset(row[2].split(","))) for row in rows)


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
