"""Profile: what the configuration says of a place. Cluster: a profile and what was found there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from orchestrator.model.key import ABSOLUTE, PATH, SET_BY_LAUNCHER, VARIABLE, WORD, Pattern, key, option

Device = Literal["auto", "cuda", "cpu"]


CLUSTER_NAME = Pattern(
    regex="[A-Za-z0-9][-._A-Za-z0-9]{0,62}",
    words="1 to 63 letters, digits, dots, dashes and _, not starting with a dash",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """Network devices that NCCL and gloo shall use."""

    socket: str | None = option(None, "Socket interface, as in NCCL_SOCKET_IFNAME.", pattern=WORD)
    hcas: tuple[str, ...] = option((), "InfiniBand adapters, as in NCCL_IB_HCA.", pattern=WORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One cluster of the configuration. A key that its kind does not read is refused."""

    at_most_one: ClassVar[tuple[tuple[str, ...], ...]] = ()

    kind: str = field(metadata=key("local, ssh, slurm or kubernetes."))
    env: Mapping[str, str] = option(dict, "Environment of every job here.", names=VARIABLE, instead=SET_BY_LAUNCHER)
    interface: Interface = option(Interface, "Network devices for NCCL and gloo.")
    cache_dir: str | None = option(None, "Directory of compiled operators and the hub cache.", pattern=ABSOLUTE)
    python: str | None = option(None, "The interpreter that has torch and deepspeed.", pattern=PATH)
    device: Device = option("auto", "auto, cuda or cpu.")
    gpu: str | None = option(None, "GPU model, as in a100-80gb; gives its memory.", pattern=WORD)
    gpu_memory: int | None = option(None, "Bytes of one GPU (80GiB).", minimum=1, unit="bytes")
    host_memory: int | None = option(None, "Bytes of one node (512GiB).", minimum=1, unit="bytes")

    def problems(self) -> Iterator[tuple[str, str]]:
        """What no key alone can say: a key, and what is wrong with it. A kind's own type has its own."""
        yield from ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BadNodes:
    """When a node of a Slurm, ssh or Kubernetes cluster is left out, and for how long."""

    failures: int = option(2, "Failures in a row, of any runs, that name the node as their cause.", minimum=1)
    hours: float = option(24.0, "Hours that it is left out after the newest of them.", minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration file: which clusters there are, which is the default."""

    default: str = option("local", "The cluster of a job that names none.")
    controller: Literal["auto", "external"] = option(
        "auto", "auto: started when none is alive. external: you run `orch controller` yourself."
    )
    nodes: BadNodes = option(BadNodes, "Nodes that are left out for a time.")
    clusters: Mapping[str, Profile] = option(
        dict, "Clusters by name; local, ssh, slurm and kubernetes always exist.", names=CLUSTER_NAME
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Facts of one place. None: not known. Memory in bytes, of one GPU and of one node.

    `one_machine`: all nodes of a job are groups of processes on one machine. `gpu_slice`: what a GPU of this place is
    where it is a part of one (MIG), of which a process sees one.
    """

    name: str
    profile: Profile
    nodes: int | None = None
    gpus_per_node: int | None = None
    gpu: str | None = None
    gpu_slice: str | None = None
    gpu_memory: int | None = None
    host_memory: int | None = None
    device: Literal["cuda", "cpu", "auto"] = "auto"
    one_machine: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.profile.kind

    @classmethod
    def of_profile(cls, name: str, profile: Profile) -> Cluster:
        """What a profile alone says of a place."""
        return cls(
            name=name,
            profile=profile,
            gpu=profile.gpu,
            gpu_memory=profile.gpu_memory,
            host_memory=profile.host_memory,
            device=profile.device,
        )
