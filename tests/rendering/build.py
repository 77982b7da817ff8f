"""Requests to render, built by hand, with every field of the model within reach."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.bundle import assets
from orchestrator.clusters import KINDS, kind_of
from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.clusters.kubernetes.profile import KubernetesProfile, Rdma
from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.jobfile import Signature
from orchestrator.model.bundle import File
from orchestrator.model.cluster import Cluster, Profile
from orchestrator.model.plan import Batch, Memory, Plan, Term, Topology
from orchestrator.model.spec import Data, Model, Secret, Spec, Training
from orchestrator.rendering import RenderRequest, render

GIB = 2**30

SPEC = Spec(
    name="tiny-llama",
    model=Model(config={"model_type": "llama", "hidden_size": 256}),
    data=Data(files=("corpus/**/*.py",), sequence_length=256),
    training=Training(steps=60, global_batch=16, learning_rate=3e-4, precision="fp32", seed=1),
    env={"TOKENIZERS_PARALLELISM": "false"},
)
SCRIPT = Spec(name="own", code=".", run="train.py --flag 'two words'")
SECRETS = {
    "local": {"HF_TOKEN": Secret(env="HF_TOKEN")},
    "ssh": {"HF_TOKEN": Secret(file="secrets/hf")},
    "slurm": {"HF_TOKEN": Secret(file="/home/me/.hf-token")},
    "kubernetes": {"HF_TOKEN": Secret(kubernetes="hub/token")},
}
PLAN = Plan(
    topology=Topology(nodes=2, ranks_per_node=4, device="cuda"),
    batch=Batch(global_batch=16, micro_batch=2, accumulation=1, data_parallel=8, sequence_length=256),
    zero_stage=2,
    offload="none",
    memory=Memory(
        rank=(Term(name="parameters", bytes=GIB, formula="2 P"),),
        host=(Term(name="processes", bytes=10 * GIB, formula="4 x 2.5 GiB"),),
        rank_limit=None,
        host_limit=None,
    ),
    model=None,
    fits=None,
    ds_config={"zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": 2},
    steps=60,
    epochs=None,
    checkpoint_steps=20,
    checkpoint_seconds=None,
    checkpoint_bytes=3 * 10**9,
)
SIGNATURES = (Signature(Cause.CUDA_OOM, "CUDA out of memory", retry=False),)
PAYLOAD = (assets.as_library([File(path="orchestrator/__init__.py", content=b'"""The library."""\n')]),)
PROFILES = {
    "local": Profile(kind="local", env={"OMP_NUM_THREADS": "1"}),
    "ssh": SshProfile(
        kind="ssh",
        hosts=("gpu1", "gpu2", "spare"),
        shared_dir="/nfs/me",
        python="/nfs/venv/bin/python",
        setup=("module load cuda",),
    ),
    "slurm": SlurmProfile(
        kind="slurm",
        partition="gpu",
        account="ml",
        qos="high",
        time_limit="24:00:00",
        shared_dir="/scratch/me",
        python="/scratch/venv/bin/python",
        setup=("module purge", "module load gcc/12 cuda/12.4"),
    ),
    "kubernetes": KubernetesProfile(
        kind="kubernetes", namespace="train", image="registry.example/train:1", storage_class="nfs", storage="500Gi"
    ),
}
# A Kubernetes profile with everything in it; how a job is made stays open.
RICH = KubernetesProfile(
    kind="kubernetes",
    context="lab",
    kubeconfig="/home/me/.kube/lab",
    namespace="train",
    image="registry.example/train:1",
    pull_secrets=("registry",),
    storage_class="nfs",
    queue="gpus",
    workload_priority="high",
    priority_class="urgent",
    gang="volcano",
    node_selector={"zone": "n", "gpu.example/pool": "a100"},
    tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
    gpu_resource="nvidia.com/mig-1g.10gb",
    rdma=Rdma(resource="rdma/hca_shared_devices_a"),
    service_account="trainer",
    labels={"team": "yes", "cost-center": "0x10"},
    annotations={"example.com/owner": "{{ me }}: 1e3"},
)


def request(kind: str, profile: Profile | None = None, /, **changes) -> RenderRequest:
    """A whole request for a kind of cluster; `changes` are fields of RenderRequest."""
    made = RenderRequest(
        spec=replace(SPEC, secrets=SECRETS[kind]),
        plan=PLAN,
        cluster=Cluster(name=kind, profile=profile or PROFILES[kind], one_machine=kind == "local"),
        kind=kind_of(kind).rendering(),
        kubernetes_secrets=kind_of(kind).kubernetes_secrets,
        run_id="0123456789ab",
        job_dir="/home/me/jobs",
        templates=assets.load_templates(kind),
        payload=PAYLOAD,
        signatures=SIGNATURES,
    )
    return replace(made, **changes)


def bundle(kind: str, profile: Profile | None = None, /, **changes):
    return render(request(kind, profile, **changes))


def nodes(count: int, *, ranks: int = 4, device: str = "cuda") -> Plan:
    return replace(PLAN, topology=Topology(nodes=count, ranks_per_node=ranks, device=device))


ALL_KINDS = tuple(KINDS)
