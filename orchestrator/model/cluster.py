"""Profile: what the configuration says of a place. Cluster: a profile and what was found there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from orchestrator.model.key import ABSOLUTE, PATH, SET_BY_LAUNCHER, VARIABLE, WORD, Pattern, key
from orchestrator.model.kubernetes import (
    JOB_LABEL,
    LABEL,
    LABEL_VALUE,
    NODE_LABEL,
    OWN_RUNTIME,
    QUANTITY,
    QUEUE,
    RESOURCE,
    RUNTIME,
    SET_BY_QUEUE,
    SUBDOMAIN,
    Gang,
    JobKind,
    Rdma,
)

Kind = Literal["local", "ssh", "slurm", "kubernetes"]
Device = Literal["auto", "cuda", "cpu"]
ContainerRuntime = Literal["pyxis", "apptainer"]
KINDS: tuple[Kind, ...] = ("local", "ssh", "slurm", "kubernetes")


CLUSTER_NAME = Pattern(
    regex="[A-Za-z0-9][-._A-Za-z0-9]{0,62}",
    words="1 to 63 letters, digits, dots, dashes and _, not starting with a dash",
)
_TIME = Pattern(
    regex="([0-9]+-)?[0-9]+(:[0-5]?[0-9]){0,2}", words='a Slurm time like "24:00:00", "2-00:00:00" or "90" (minutes)'
)
_OPTION = Pattern(regex=r"--[a-z][-a-z0-9]*(=[^\x00-\x1f\x7f]*)?", words='an option of sbatch like "--mail-type=END"')
_LOGIN = Pattern(regex=r"[^\s\x00-\x20\x7f-]\S*", words="a host or user@host, as ssh takes it")
_NODE = Pattern(regex=r"[A-Za-z0-9_][-._A-Za-z0-9]*", words="a node's name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The container that the agents and ranks of a Slurm job run in."""

    runtime: ContainerRuntime = field(metadata=key("pyxis (srun's --container-image) or apptainer."))
    image: str = field(metadata=key("The image, as the runtime takes it: a .sqsh or .sif file, or a registry's name."))
    mounts: tuple[str, ...] = field(
        default=(), metadata=key("Directories that it sees beside the shared one: SOURCE or SOURCE:TARGET.")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """Network devices that NCCL and gloo shall use."""

    socket: str | None = field(default=None, metadata=key("Socket interface, as in NCCL_SOCKET_IFNAME.", pattern=WORD))
    hcas: tuple[str, ...] = field(default=(), metadata=key("InfiniBand adapters, as in NCCL_IB_HCA.", pattern=WORD))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One cluster of the configuration. A key that its kind does not read is refused."""

    at_most_one: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("hosts", "hostfile"),
        ("claim", "storage_class"),
        ("memory", "memory_per_gpu"),
    )

    kind: Kind = field(metadata=key("local, ssh, slurm or kubernetes."))
    env: Mapping[str, str] = field(
        default_factory=dict, metadata=key("Environment of every job here.", names=VARIABLE, instead=SET_BY_LAUNCHER)
    )
    interface: Interface = field(default_factory=Interface, metadata=key("Network devices for NCCL and gloo."))
    cache_dir: str | None = field(
        default=None, metadata=key("Directory of compiled operators and the hub cache.", pattern=ABSOLUTE)
    )
    python: str | None = field(
        default=None, metadata=key("The interpreter that has torch and deepspeed.", pattern=PATH)
    )
    device: Device = field(default="auto", metadata=key("auto, cuda or cpu."))
    gpu: str | None = field(default=None, metadata=key("GPU model, as in a100-80gb; gives its memory.", pattern=WORD))
    gpu_memory: int | None = field(default=None, metadata=key("Bytes of one GPU (80GiB).", minimum=1, unit="bytes"))
    host_memory: int | None = field(default=None, metadata=key("Bytes of one node (512GiB).", minimum=1, unit="bytes"))
    shared_dir: str | None = field(
        default=None, metadata=key("A directory that all nodes see.", pattern=ABSOLUTE, kinds=("ssh", "slurm"))
    )
    hosts: tuple[str, ...] = field(default=(), metadata=key("Host names.", pattern=WORD, kinds=("ssh",)))
    hostfile: str | None = field(default=None, metadata=key("A DeepSpeed hostfile.", pattern=ABSOLUTE, kinds=("ssh",)))
    ssh_config: str | None = field(
        default=None,
        metadata=key(
            "A configuration file for ssh, in place of ~/.ssh/config.", pattern=ABSOLUTE, kinds=("ssh", "slurm")
        ),
    )
    exclude: tuple[str, ...] = field(
        default=(), metadata=key("Nodes that are never used.", pattern=_NODE, kinds=("ssh", "slurm"))
    )
    login: str | None = field(
        default=None,
        metadata=key(
            "Where Slurm's commands are run and shared_dir is read, through ssh; absent: on this machine.",
            pattern=_LOGIN,
            kinds=("slurm",),
        ),
    )
    partition: str | None = field(default=None, metadata=key("Slurm partition.", pattern=WORD, kinds=("slurm",)))
    account: str | None = field(default=None, metadata=key("Slurm account.", pattern=WORD, kinds=("slurm",)))
    qos: str | None = field(default=None, metadata=key("Slurm quality of service.", pattern=WORD, kinds=("slurm",)))
    reservation: str | None = field(default=None, metadata=key("Slurm reservation.", pattern=WORD, kinds=("slurm",)))
    constraint: str | None = field(
        default=None, metadata=key("Node features, as sbatch's --constraint takes them.", kinds=("slurm",))
    )
    time_limit: str | None = field(
        default=None, metadata=key("Slurm time limit, as in 24:00:00.", pattern=_TIME, kinds=("slurm",))
    )
    gpu_type: str | None = field(
        default=None,
        metadata=key("Slurm's name of the GPU type, as in gres gpu:TYPE:8.", pattern=_NODE, kinds=("slurm",)),
    )
    gpus_per_node: int | None = field(
        default=None,
        metadata=key(
            "GPUs that a node has; a job that takes them all gets its memory, too.", minimum=1, kinds=("slurm",)
        ),
    )
    cpus_per_gpu: int | None = field(
        default=None, metadata=key("CPUs to ask for with each GPU.", minimum=1, kinds=("slurm",))
    )
    memory_per_gpu: int | None = field(
        default=None,
        metadata=key("Host memory to ask for with each GPU (64GiB).", minimum=1, unit="bytes", kinds=("slurm",)),
    )
    memory: int | None = field(
        default=None,
        metadata=key("Host memory to ask for on each node (512GiB).", minimum=1, unit="bytes", kinds=("slurm",)),
    )
    exclusive: bool = field(default=False, metadata=key("Ask for whole nodes.", kinds=("slurm",)))
    container: Container | None = field(
        default=None, metadata=key("The container that the job runs in.", kinds=("slurm",))
    )
    options: tuple[str, ...] = field(
        default=(), metadata=key("More #SBATCH options, each as in --mail-type=END.", pattern=_OPTION, kinds=("slurm",))
    )
    poll: float | None = field(
        default=None,
        metadata=key("Seconds between two questions to Slurm, at least (5).", minimum=0, kinds=("slurm",)),
    )
    setup: tuple[str, ...] = field(
        default=(), metadata=key("Shell lines run before the job, as in module load cuda.", kinds=("slurm", "ssh"))
    )
    context: str | None = field(
        default=None, metadata=key("Context of the kubeconfig; default: its current one.", kinds=("kubernetes",))
    )
    kubeconfig: str | None = field(
        default=None,
        metadata=key(
            "A kubeconfig, in place of $KUBECONFIG, ~/.kube/config or a pod's own credentials.",
            pattern=ABSOLUTE,
            kinds=("kubernetes",),
        ),
    )
    namespace: str | None = field(
        default=None, metadata=key("Kubernetes namespace.", pattern=LABEL, kinds=("kubernetes",))
    )
    job_kind: Literal["auto", "trainjob", "jobset", "pytorchjob"] = field(
        default="auto",
        metadata=key(
            "What a job is made as; auto: the first of TrainJob, JobSet and PyTorchJob that the cluster serves.",
            kinds=("kubernetes",),
        ),
    )
    runtime: str = field(
        default=OWN_RUNTIME,
        metadata=key("The runtime that a TrainJob refers to.", pattern=RUNTIME, kinds=("kubernetes",)),
    )
    image: str | None = field(default=None, metadata=key("Container image.", pattern=WORD, kinds=("kubernetes",)))
    pull_secrets: tuple[str, ...] = field(
        default=(), metadata=key("Secrets to pull the image with.", pattern=SUBDOMAIN, kinds=("kubernetes",))
    )
    claim: str | None = field(
        default=None, metadata=key("Existing ReadWriteMany claim.", pattern=SUBDOMAIN, kinds=("kubernetes",))
    )
    storage_class: str | None = field(
        default=None, metadata=key("Storage class of a new claim.", pattern=SUBDOMAIN, kinds=("kubernetes",))
    )
    storage: str = field(default="200Gi", metadata=key("Size of a new claim.", pattern=QUANTITY, kinds=("kubernetes",)))
    queue: str | None = field(
        default=None,
        metadata=key("Kueue LocalQueue; the job waits, suspended, for quota.", pattern=QUEUE, kinds=("kubernetes",)),
    )
    workload_priority: str | None = field(
        default=None,
        metadata=key("Kueue WorkloadPriorityClass: its place in the queue.", pattern=QUEUE, kinds=("kubernetes",)),
    )
    priority_class: str | None = field(
        default=None, metadata=key("PriorityClass of the pods.", pattern=SUBDOMAIN, kinds=("kubernetes",))
    )
    gang: Gang | None = field(
        default=None,
        metadata=key("Scheduler that starts all pods of a job or none, by a PodGroup.", kinds=("kubernetes",)),
    )
    gang_queue: str | None = field(
        default=None,
        metadata=key(
            "Volcano's Queue that the PodGroup is in; absent: its default one.",
            pattern=SUBDOMAIN,
            kinds=("kubernetes",),
        ),
    )
    node_selector: Mapping[str, str] = field(
        default_factory=dict,
        metadata=key("Labels that a node must have.", names=NODE_LABEL, values=LABEL_VALUE, kinds=("kubernetes",)),
    )
    tolerations: tuple[Mapping[str, Any], ...] = field(
        default=(),
        metadata=key(
            "Taints that do not matter, each as in {key: gpu, operator: Exists, effect: NoSchedule}.",
            kinds=("kubernetes",),
        ),
    )
    gpu_resource: str = field(
        default="nvidia.com/gpu",
        metadata=key(
            "The resource that a GPU is: nvidia.com/gpu, amd.com/gpu, nvidia.com/mig-1g.10gb.",
            pattern=RESOURCE,
            kinds=("kubernetes",),
        ),
    )
    rdma: Rdma | None = field(
        default=None, metadata=key("RDMA adapters; absent: none are asked for.", kinds=("kubernetes",))
    )
    service_account: str | None = field(
        default=None,
        metadata=key("ServiceAccount of the pods, which get no token of it.", pattern=SUBDOMAIN, kinds=("kubernetes",)),
    )
    labels: Mapping[str, str] = field(
        default_factory=dict,
        metadata=key(
            "Labels of the job and its pods.",
            names=JOB_LABEL,
            values=LABEL_VALUE,
            instead=SET_BY_QUEUE,
            kinds=("kubernetes",),
        ),
    )
    annotations: Mapping[str, str] = field(
        default_factory=dict,
        metadata=key("Annotations of the job and its pods.", names=JOB_LABEL, kinds=("kubernetes",)),
    )
    overlay: Mapping[str, Any] = field(
        default_factory=dict,
        metadata=key(
            "Laid over the rendered job by strategic merge; `orch render --diff` shows what it changes.",
            kinds=("kubernetes",),
        ),
    )
    stuck_after: int = field(
        default=600,
        metadata=key(
            "Seconds after which an attempt ends that cannot start: no such image, refused, no node fits.",
            minimum=1,
            kinds=("kubernetes",),
        ),
    )
    force_delete: bool = field(
        default=False,
        metadata=key("Delete pods of a dead node by force, though they may go on writing.", kinds=("kubernetes",)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BadNodes:
    """When a node of a Slurm, ssh or Kubernetes cluster is left out, and for how long."""

    failures: int = field(
        default=2, metadata=key("Failures in a row, of any runs, that name the node as their cause.", minimum=1)
    )
    hours: float = field(default=24.0, metadata=key("Hours that it is left out after the newest of them.", minimum=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration file: which clusters there are, which is the default."""

    default: str = field(default="local", metadata=key("The cluster of a job that names none."))
    controller: Literal["auto", "external"] = field(
        default="auto", metadata=key("auto: started when none is alive. external: you run `orch controller` yourself.")
    )
    nodes: BadNodes = field(default_factory=BadNodes, metadata=key("Nodes that are left out for a time."))
    clusters: Mapping[str, Profile] = field(
        default_factory=dict,
        metadata=key("Clusters by name; local, ssh, slurm and kubernetes always exist.", names=CLUSTER_NAME),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Facts of one place. None: not known. Memory in bytes, of one GPU and of one node.

    `job_kind`: what a Kubernetes cluster was found to serve of what its profile wants.
    """

    name: str
    profile: Profile
    nodes: int | None = None
    gpus_per_node: int | None = None
    gpu: str | None = None
    gpu_memory: int | None = None
    host_memory: int | None = None
    device: Literal["cuda", "cpu", "auto"] = "auto"
    job_kind: JobKind | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return self.profile.kind

    @classmethod
    def of_profile(cls, name: str, profile: Profile) -> Cluster:
        """What a profile alone says of a place."""
        return cls(
            name=name,
            profile=profile,
            gpus_per_node=profile.gpus_per_node,
            gpu=profile.gpu,
            gpu_memory=profile.gpu_memory,
            host_memory=profile.host_memory,
            device=profile.device,
        )
