"""What the configuration says of a Slurm cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from orchestrator.clusters.profile_keys import EXCLUDE, NODE, SETUP, SHARED_DIR, SSH_CONFIG
from orchestrator.model.cluster import Profile
from orchestrator.model.key import WORD, Pattern, key, option

ContainerRuntime = Literal["pyxis", "apptainer"]

_TIME = Pattern(
    regex="([0-9]+-)?[0-9]+(:[0-5]?[0-9]){0,2}", words='a Slurm time like "24:00:00", "2-00:00:00" or "90" (minutes)'
)
_OPTION = Pattern(regex=r"--[a-z][-a-z0-9]*(=[^\x00-\x1f\x7f]*)?", words='an option of sbatch like "--mail-type=END"')
_LOGIN = Pattern(regex=r"[^\s\x00-\x20\x7f-]\S*", words="a host or user@host, as ssh takes it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The container that the agents and ranks of a Slurm job run in."""

    runtime: ContainerRuntime = field(metadata=key("pyxis (srun's --container-image) or apptainer."))
    image: str = field(metadata=key("The image, as the runtime takes it: a .sqsh or .sif file, or a registry's name."))
    mounts: tuple[str, ...] = option((), "Directories that it sees beside the shared one: SOURCE or SOURCE:TARGET.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmProfile(Profile):
    """A Slurm cluster."""

    at_most_one: ClassVar[tuple[tuple[str, ...], ...]] = (("memory", "memory_per_gpu"),)

    shared_dir: str | None = field(default=None, metadata=SHARED_DIR)
    ssh_config: str | None = field(default=None, metadata=SSH_CONFIG)
    exclude: tuple[str, ...] = field(default=(), metadata=EXCLUDE)
    login: str | None = option(
        None,
        "Where Slurm's commands are run and shared_dir is read, through ssh; absent: on this machine.",
        pattern=_LOGIN,
    )
    partition: str | None = option(None, "Slurm partition.", pattern=WORD)
    account: str | None = option(None, "Slurm account.", pattern=WORD)
    qos: str | None = option(None, "Slurm quality of service.", pattern=WORD)
    reservation: str | None = option(None, "Slurm reservation.", pattern=WORD)
    constraint: str | None = option(None, "Node features, as sbatch's --constraint takes them.")
    time_limit: str | None = option(None, "Slurm time limit, as in 24:00:00.", pattern=_TIME)
    gpu_type: str | None = option(None, "Slurm's name of the GPU type, as in gres gpu:TYPE:8.", pattern=NODE)
    gpus_per_node: int | None = option(
        None, "GPUs that a node has; a job that takes them all gets its memory, too.", minimum=1
    )
    cpus_per_gpu: int | None = option(None, "CPUs to ask for with each GPU.", minimum=1)
    memory_per_gpu: int | None = option(None, "Host memory to ask for with each GPU (64GiB).", minimum=1, unit="bytes")
    memory: int | None = option(None, "Host memory to ask for on each node (512GiB).", minimum=1, unit="bytes")
    exclusive: bool = option(False, "Ask for whole nodes.")
    container: Container | None = option(None, "The container that the job runs in.")
    options: tuple[str, ...] = option((), "More #SBATCH options, each as in --mail-type=END.", pattern=_OPTION)
    poll: float | None = option(None, "Seconds between two questions to Slurm, at least (5).", minimum=0)
    setup: tuple[str, ...] = field(default=(), metadata=SETUP)
