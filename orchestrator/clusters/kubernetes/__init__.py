"""Kubernetes: an attempt is a PyTorchJob, TrainJob or JobSet; its state is read from its pods' logs."""

from dataclasses import replace

from orchestrator.clusters.kind import Kind, Manifests, later, load
from orchestrator.clusters.kubernetes.profile import KubernetesProfile

KIND = Kind(
    name="kubernetes",
    profile=KubernetesProfile,
    open=later("orchestrator.clusters.kubernetes.backend:KubernetesBackend"),
    rendering=lambda: load("orchestrator.clusters.kubernetes.render:RENDERING"),
    check=later("orchestrator.clusters.kubernetes.examine:check"),
    excludes=True,
    kubernetes_secrets=True,
    look_up=later("orchestrator.clusters.kubernetes.examine:look_up"),
    missing=later("orchestrator.clusters.kubernetes.examine:missing"),
    manifests=Manifests(
        stream=later("orchestrator.clusters.kubernetes.render:stream"),
        job_object=later("orchestrator.clusters.kubernetes.render:job_object"),
        made_as=lambda profile, job_kind: replace(profile, job_kind=job_kind),
        without_overlay=lambda profile: replace(profile, overlay={}),
    ),
)
