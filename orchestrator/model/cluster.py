"""Profile: what the configuration says of a place. Cluster: a profile and what was found there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["local", "ssh", "slurm", "kubernetes"]
Device = Literal["auto", "cuda", "cpu"]
KINDS: tuple[Kind, ...] = ("local", "ssh", "slurm", "kubernetes")


def _key(help: str, **constraints: Any) -> dict[str, Any]:
    return {"help": help, **constraints}


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """Network devices that NCCL and gloo shall use."""

    socket: str | None = field(default=None, metadata=_key("Socket interface, as in NCCL_SOCKET_IFNAME."))
    hcas: tuple[str, ...] = field(default=(), metadata=_key("InfiniBand adapters, as in NCCL_IB_HCA."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One cluster of the configuration. Keys that a kind does not read are refused for that kind by configfile."""

    kind: Kind = field(metadata=_key("local, ssh, slurm or kubernetes."))
    env: Mapping[str, str] = field(default_factory=dict, metadata=_key("Environment of every job here."))
    interface: Interface = field(default_factory=Interface, metadata=_key("Network devices for NCCL and gloo."))
    cache_dir: str | None = field(default=None, metadata=_key("Directory of compiled operators and the hub cache."))
    python: str | None = field(default=None, metadata=_key("The interpreter that has torch and deepspeed."))
    device: Device = field(default="auto", metadata=_key("auto, cuda or cpu."))
    gpu: str | None = field(default=None, metadata=_key("GPU model, as in a100-80gb; gives its memory."))
    gpu_memory: int | None = field(default=None, metadata=_key("Bytes of one GPU (80GiB).", minimum=1, unit="bytes"))
    host_memory: int | None = field(default=None, metadata=_key("Bytes of one node (512GiB).", minimum=1, unit="bytes"))
    shared_dir: str | None = field(default=None, metadata=_key("A directory that all nodes see.", kinds=("ssh", "slurm")))
    hosts: tuple[str, ...] = field(default=(), metadata=_key("Host names.", kinds=("ssh",)))
    hostfile: str | None = field(default=None, metadata=_key("A DeepSpeed hostfile.", kinds=("ssh",)))
    partition: str | None = field(default=None, metadata=_key("Slurm partition.", kinds=("slurm",)))
    account: str | None = field(default=None, metadata=_key("Slurm account.", kinds=("slurm",)))
    qos: str | None = field(default=None, metadata=_key("Slurm quality of service.", kinds=("slurm",)))
    time_limit: str | None = field(default=None, metadata=_key("Slurm time limit, as in 24:00:00.", kinds=("slurm",)))
    setup: tuple[str, ...] = field(
        default=(), metadata=_key("Shell lines run before the job, as in module load cuda.", kinds=("slurm", "ssh"))
    )
    namespace: str | None = field(default=None, metadata=_key("Kubernetes namespace.", kinds=("kubernetes",)))
    image: str | None = field(default=None, metadata=_key("Container image.", kinds=("kubernetes",)))
    claim: str | None = field(default=None, metadata=_key("Existing ReadWriteMany claim.", kinds=("kubernetes",)))
    storage_class: str | None = field(default=None, metadata=_key("Storage class of a new claim.", kinds=("kubernetes",)))
    storage: str = field(default="200Gi", metadata=_key("Size of a new claim.", kinds=("kubernetes",)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration file: which clusters there are, which is the default."""

    default: str = "local"
    controller: Literal["auto", "external"] = "auto"
    clusters: Mapping[str, Profile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Facts of one place. None: not known. Memory in bytes, of one GPU and of one node."""

    name: str
    profile: Profile
    nodes: int | None = None
    gpus_per_node: int | None = None
    gpu: str | None = None
    gpu_memory: int | None = None
    host_memory: int | None = None
    device: Literal["cuda", "cpu", "auto"] = "auto"
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return self.profile.kind
